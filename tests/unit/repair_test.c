/* SPDX-License-Identifier: MIT */
/* Repair looks first: nothing is touched in a ring that is corrupt, or that has been remade. */
#include <criterion/criterion.h>
#include <pthread.h>

#include <quoit/inspect.h>

#include "unit/heap_support.h"

TestSuite(repair, .fini = test_cleanup, .timeout = 60);

#define EACH_KIND(kind) for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC; kind++)

/* ---- corrupt rings -------------------------------------------------------------------------- */

static int open_and_die(void *arg)
{
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(arg, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(heap_put(p, UNIT, 0) == 0);
	return raise(SIGKILL);
}

/* What a repair would see to: a dead producer, and a unit that nobody refers to. */
static void leave_work(const struct test_ring *r)
{
	cr_assert_eq(test_wait(test_spawn(open_and_die, (void *)(uintptr_t)r->name)),
		     128 + SIGKILL);
	atomic_store(&r->q->units[3], quoit__unit_word(0, QUOIT__UNIT_ORPHAN, 0));
}

static struct quoit__heap_record *first_record(const struct quoit *q)
{
	return q->geo.kind == QUOIT_SPSC
		       ? (struct quoit__heap_record *)(void *)(q->data + 8)
		       : (struct quoit__heap_record *)(void *)quoit__slot_at(q, 0)->payload;
}

struct heard {
	unsigned repairable, corrupt;
};

static void hear(void *arg, int severity, uint64_t offset, const char *text)
{
	struct heard *h = arg;

	(void)offset, (void)text;
	h->repairable += severity == 2;
	h->corrupt += severity == 3;
}

Test(repair, touches_nothing_in_a_ring_that_is_corrupt)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct heard heard = {0};
		struct test_ring r;
		unsigned char *before;
		uint64_t size;

		test_ring_make(&r, QUOIT_SHM, &o);
		leave_work(&r);
		first_record(r.q)->offset = UINT64_C(1) << 40;
		size = r.q->seg.size;
		before = malloc(size);
		MUST(before != NULL);
		memcpy(before, r.q->seg.base, size);
		cr_expect_eq(quoit_repair(r.name, 0, hear, &heard), -EBADMSG);
		cr_expect_eq(memcmp(before, r.q->seg.base, size), 0, "%s", quoit_kind_name(kind));
		cr_expect_gt(heard.corrupt, 0);
		cr_expect_eq(heard.repairable, 0, "said that it had mended something");
		cr_expect_eq(quoit_repair(r.name, 1, NULL, NULL), -EBADMSG, "nor would it");

		first_record(r.q)->offset = 0;
		cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 2, "%s", quoit_kind_name(kind));
		cr_expect_eq(heap_stats(r.q).orphaned, UNIT, "what its record is in");
		free(before);
		test_ring_drop(&r);
	}
}

/* ---- rings that are remade ------------------------------------------------------------------ */

struct remaking {
	const char *name;
	_Atomic bool stop;
	unsigned times;
};

static void *remake(void *arg)
{
	struct quoit_options o = test_options(QUOIT_SPSC);
	struct remaking *m = arg;
	struct quoit *q;

	o.capacity = 1024;
	while (!atomic_load(&m->stop)) {
		if (quoit_remove(m->name) != 0 || quoit_create(m->name, &o, &q) != 0)
			return NULL;
		quoit_detach(q);
		m->times++;
	}
	return m;
}

Test(repair, tries_again_if_the_ring_was_remade_meanwhile)
{
	struct quoit_options o = test_options(QUOIT_SPSC);
	struct remaking m = {0};
	struct test_ring r;
	pthread_t thread;
	void *well;

	o.capacity = 65536;
	test_ring_make(&r, QUOIT_SHM, &o);
	m.name = r.made;
	MUST(pthread_create(&thread, NULL, remake, &m) == 0);
	for (int64_t end = test_now_ns() + 1000000000; test_now_ns() < end;) {
		int result = quoit_repair(m.name, 0, NULL, NULL);

		cr_assert(result == 0 || result == -ENOENT || result == -EIDRM, "%s",
			  quoit_strerror(result));
	}
	atomic_store(&m.stop, true);
	pthread_join(thread, &well);
	cr_expect_not_null(well);
	cr_expect_gt(m.times, 10);
	test_ring_drop(&r);
}
