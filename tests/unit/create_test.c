/* SPDX-License-Identifier: MIT */
/*
 * A creator that fails in its last step, when the ring can be found already: nothing is left of it.
 * The linker puts functions of this file in front of those that the library calls.
 */
#include <criterion/criterion.h>
#include <sys/sem.h>

#include "ring/ring.h"
#include "support.h"

TestSuite(create, .fini = test_cleanup, .timeout = 60);

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __real_quoit__sem_set_new(uint32_t nsems, mode_t mode, int32_t *ret_id);
int __wrap_quoit__sem_set_new(uint32_t nsems, mode_t mode, int32_t *ret_id);

static bool no_handle; /* there is no memory for the handle of a ring */
static int32_t set_made = -1;

void *__wrap_calloc(size_t n, size_t size)
{
	if (no_handle && n == 1 && size == sizeof(struct quoit))
		return NULL;
	return __real_calloc(n, size);
}

int __wrap_quoit__sem_set_new(uint32_t nsems, mode_t mode, int32_t *ret_id)
{
	int r = __real_quoit__sem_set_new(nsems, mode, ret_id);

	if (r == 0)
		set_made = *ret_id;
	return r;
}

static bool set_exists(int32_t id)
{
	return semctl(id, 0, GETVAL) >= 0;
}

Test(create, that_fails_when_all_is_made_leaves_nothing)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		enum quoit_backend backend = test_backends[b];
		struct quoit_options o = test_options(QUOIT_SPSC);
		const char *name = test_name(backend);
		struct quoit *q = NULL, *other;

		o.capacity = 1024;
		o.wait = QUOIT_WAIT_SYSVSEM;
		set_made = -1;
		no_handle = true;
		cr_expect_eq(quoit_create(name, &o, &q), -ENOMEM, "%s", name);
		cr_expect_null(q);
		no_handle = false;
		if (backend != QUOIT_SYSV) {
			cr_expect_geq(set_made, 0, "%s has no set to be left", name);
			cr_expect_not(set_exists(set_made), "%s leaves its set", name);
		}
		if (backend != QUOIT_MEMFD)
			cr_expect_eq(quoit_attach(name, NULL, &other), -ENOENT, "%s", name);

		cr_assert_eq(quoit_create(name, &o, &q), 0, "%s cannot be made again", name);
		cr_expect(backend == QUOIT_SYSV || set_exists(set_made));
		cr_expect(test_carries_a_record(q));
		quoit_detach(q);
		if (backend != QUOIT_MEMFD)
			cr_expect_eq(quoit_remove(name), 0);
		cr_expect_not(backend != QUOIT_SYSV && set_exists(set_made));
		test_forget(name);
	}
}
