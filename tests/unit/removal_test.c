/* SPDX-License-Identifier: MIT */
/* A ring that is removed under its peers: whoever runs, and whoever waits in any way, is told. */
#include <criterion/criterion.h>

#include "support.h"

TestSuite(removal, .fini = test_cleanup, .timeout = 30);

/* Send until something else than success happens. */
static int send_until_refused(struct quoit_producer *p, unsigned limit)
{
	int result = 0;

	for (unsigned i = 0; i < limit && result == 0; i++)
		result = test_put(p, i);
	return result;
}

Test(removal, tells_running_peers)
{
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct test_rig rig;
			uint64_t value;
			int result = 1;

			opt.capacity = 4096;
			test_rig_open(&rig, test_backends[i], &opt);
			cr_assert_eq(test_put(rig.p, 1), 0);
			cr_assert_eq(quoit_remove(rig.r.made), 0);
			cr_expect_eq(send_until_refused(rig.p, 100000), -EIDRM, "%s %s",
				     quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]));
			for (unsigned n = 0; n < 100000 && result == 1; n++)
				result = test_take(rig.c, &value);
			cr_expect_eq(result, -EIDRM, "%s %s: %d",
				     quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]), result);
			cr_expect_eq(quoit_consumer_wait(rig.c, NULL), -EIDRM);
			cr_expect_eq(quoit_producer_wait(rig.p, 8, NULL), -EIDRM);
			quoit_producer_close(rig.p);
			quoit_consumer_close(rig.c);
			quoit_detach(rig.r.q);
		}
	}
}

struct blocked {
	const char *name;
	enum quoit_wait wait;
	bool producer;
	_Atomic uint32_t *ready;
};

/* Wait for ever on an empty (full) ring; the ring's removal must end it. */
static int block_until_removed(void *arg)
{
	struct blocked *b = arg;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit *q;
	int result;

	CHILD_CHECK(quoit_attach(b->name, NULL, &q) == 0);
	if (b->producer) {
		CHILD_CHECK(quoit_producer_open(q, &p) == 0);
		CHILD_CHECK(quoit_producer_set_wait(p, b->wait) == 0);
		while ((result = test_put(p, 1)) == 0)
			;
		CHILD_CHECK(result == -EAGAIN);
		atomic_store(b->ready, 1);
		CHILD_CHECK(quoit_send(p, "12345678", 8, 0, NULL) == -EIDRM);
	} else {
		struct quoit_msg msg;
		uint64_t value;

		CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
		CHILD_CHECK(quoit_consumer_set_wait(c, b->wait) == 0);
		atomic_store(b->ready, 1);
		CHILD_CHECK(quoit_recv(c, &value, 8, &msg, NULL) == -EIDRM);
	}
	return 0;
}

static void expect_removal_ends_waiting(enum quoit_backend backend, enum quoit_kind kind,
					enum quoit_wait wait, bool producer)
{
	struct quoit_options opt = test_options(kind);
	struct blocked b = {.wait = wait, .producer = producer};
	struct test_ring r;
	int64_t removed;
	pid_t pid;
	int code;

	opt.capacity = 4096;
	opt.wait = wait;
	test_ring_make(&r, backend, &opt);
	b.name = r.name;
	b.ready = test_shared(4096);
	pid = test_spawn(block_until_removed, &b);
	cr_assert(test_wait_flag(b.ready, 1, 5000));
	test_sleep_ms(5);
	removed = test_now_ns();
	cr_assert_eq(quoit_remove(r.made), 0);
	code = test_wait(pid);
	cr_expect_eq(code, 0, "%s %s %s %s: %d", quoit_backend_name(backend), quoit_kind_name(kind),
		     quoit_wait_name(wait), producer ? "producer" : "consumer", code);
	cr_expect_lt(test_now_ns() - removed, INT64_C(3000000000));
	munmap(b.ready, 4096);
	quoit_detach(r.q);
	test_forget(r.made);
}

Test(removal, ends_every_kind_of_waiting_on_both_sides)
{
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
				expect_removal_ends_waiting(test_backends[i], test_kinds[k],
							    test_waits[w], false);
				expect_removal_ends_waiting(test_backends[i], test_kinds[k],
							    test_waits[w], true);
			}
		}
	}
}
