/* SPDX-License-Identifier: MIT */
/* What those who left, or died, leave in the heap: it stays for as long as a record refers to it,
 * and then serves others. */
#include <quoit/inspect.h>

#include "tests/unit/heap_support.h"

TestSuite(heap_death, .fini = test_cleanup, .timeout = 60);

#define EACH_KIND(kind)                                                                            \
	for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC;                                \
	     kind = (enum quoit_kind)(kind + 1))

Test(heap_death, what_a_closed_producer_committed_can_be_read_and_is_free_after_that)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 8);
		struct quoit_producer *next;

		for (uint64_t i = 0; i < 3; i++)
			cr_assert_eq(heap_put(rig.p, UNIT, i), 0);
		cr_assert_eq(heap_put(rig.p, 2500, 3), 0);
		cr_assert_eq(heap_put(rig.p, 2500, 4), 0);
		cr_assert(heap_take(rig.c, UNIT, 0));
		quoit_producer_close(rig.p);
		rig.p = NULL;
		cr_expect_eq(heap_stats(rig.r.q).orphaned, 3 * UNIT, "what was taken is free");
		MUST(quoit_producer_open(rig.r.q, &next) == 0);
		for (uint64_t i = 5; i < 10; i++)
			cr_assert_eq(heap_put(next, UNIT, i), 0);
		cr_assert_eq(heap_put(next, UNIT, 10), -EAGAIN, "the rest is in use");
		cr_assert(heap_take(rig.c, UNIT, 1));
		cr_assert_eq(heap_put(next, UNIT, 10), 0, "and now less of it");
		cr_assert(heap_take(rig.c, UNIT, 2));
		cr_assert(heap_take(rig.c, 2500, 3));
		cr_assert_eq(heap_put(next, UNIT, 11), 0);
		cr_assert_eq(heap_put(next, UNIT, 12), -EAGAIN, "one unit with two records");
		cr_assert(heap_take(rig.c, 2500, 4));
		cr_assert_eq(heap_put(next, UNIT, 12), 0);
		for (uint64_t i = 5; i < 13; i++)
			cr_assert(heap_take(rig.c, UNIT, i));
		cr_expect(heap_whole(next, 8));
		cr_expect_eq(heap_stats(rig.r.q).free, 8 * UNIT);
		quoit_producer_close(next);
		test_rig_close(&rig);
	}
}

/* A child that commits some, reserves one more, and stays. */
struct victim {
	const char *name;
	_Atomic uint32_t *ready;
};

static int producer(void *arg)
{
	struct victim *v = arg;
	struct quoit_producer *p;
	struct quoit *q;
	void *payload;

	CHILD_CHECK(quoit_attach(v->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(heap_put(p, UNIT, 0) == 0);
	CHILD_CHECK(heap_put(p, 5000, 1) == 0);
	CHILD_CHECK(quoit_reserve(p, 2 * UNIT, &payload) == 0);
	atomic_store(v->ready, 1);
	for (;;)
		pause();
}

static void kill_producer(const char *name)
{
	struct victim v = {.name = name, .ready = test_shared(4096)};
	pid_t pid = test_spawn(producer, &v);

	cr_assert(test_wait_flag(v.ready, 1, 5000));
	test_kill(pid);
	munmap(v.ready, 4096);
}

Test(heap_death, what_a_killed_producer_committed_can_be_read_and_is_free_after_that)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;

		test_ring_make(&r, QUOIT_MEMFD, &o);
		MUST(quoit_consumer_open(r.q, &c) == 0);
		for (int deaths = 0; deaths < 5; deaths++) {
			kill_producer(r.name);
			MUST(quoit_producer_open(r.q, &p) == 0);
			/* Whose row it has taken. */
			cr_expect_eq(heap_stats(r.q).orphaned, 4 * UNIT);
			cr_assert_eq(heap_put(p, 2 * UNIT, 2), 0, "what was only reserved");
			cr_expect_eq(heap_stats(r.q).orphaned, 2 * UNIT);
			cr_assert(heap_take(c, UNIT, 0));
			cr_assert(heap_take(c, 5000, 1));
			cr_assert(heap_take(c, 2 * UNIT, 2));
			cr_assert(heap_whole(p, 4));
			quoit_producer_close(p);
			cr_expect_eq(quoit_peek(c, &(struct quoit_msg){0}), -EOWNERDEAD);
		}
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

static int consumer(void *arg)
{
	struct quoit_msg msgs[3];
	struct victim *v = arg;
	struct quoit_consumer *c;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(v->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	CHILD_CHECK(quoit_peek_batch(c, msgs, 3) >= 1);
	atomic_store(v->ready, 1);
	for (;;)
		pause();
}

Test(heap_death, what_a_dead_consumer_held_is_delivered_again_and_comes_back)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;
		struct victim v = {.ready = test_shared(4096)};
		pid_t pid;

		test_ring_make(&r, QUOIT_MEMFD, &o);
		MUST(quoit_producer_open(r.q, &p) == 0);
		for (uint64_t i = 0; i < 3; i++)
			cr_assert_eq(heap_put(p, UNIT + 100 * (uint32_t)i * (i == 2), i), 0);
		v.name = r.name;
		pid = test_spawn(consumer, &v);
		cr_assert(test_wait_flag(v.ready, 1, 5000));
		cr_assert_eq(heap_put(p, 2 * UNIT, 9), -EAGAIN, "all on loan");
		test_kill(pid);
		MUST(quoit_consumer_open(r.q, &c) == 0);
		for (uint64_t i = 0; i < 3; i++)
			cr_assert(heap_take(c, UNIT + 100 * (uint32_t)i * (i == 2), i), "%d", kind);
		cr_assert(heap_whole(p, 4));
		munmap(v.ready, 4096);
		quoit_consumer_close(c);
		quoit_producer_close(p);
		test_ring_drop(&r);
	}
}

static int forked(void *arg)
{
	struct test_rig *rig = arg;
	void *payload;

	CHILD_CHECK(quoit_reserve(rig->p, UNIT, &payload) == -EBADF);
	quoit_producer_close(rig->p);
	quoit_consumer_close(rig->c);
	return 0;
}

Test(heap_death, a_forked_child_that_closes_its_copy_leaves_the_parents_blocks_alone)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 8);

		cr_assert_eq(heap_put(rig.p, UNIT, 0), 0);
		cr_assert_eq(heap_put(rig.p, 3000, 1), 0);
		cr_expect_eq(test_wait(test_spawn(forked, &rig)), 0);
		cr_expect_eq(heap_stats(rig.r.q).used, 2 * UNIT);
		cr_assert(heap_take(rig.c, UNIT, 0));
		cr_assert(heap_take(rig.c, 3000, 1));
		cr_expect(heap_whole(rig.p, 8));
		test_rig_close(&rig);
	}
}

Test(heap_death, repair_frees_what_no_record_refers_to)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct quoit_consumer *c;
		struct test_ring r;
		int done;

		test_ring_make(&r, QUOIT_SHM, &o);
		MUST(quoit_consumer_open(r.q, &c) == 0);
		kill_producer(r.name);
		cr_expect_eq(quoit_repair(r.name, 1, NULL, NULL), 1, "one dead peer");
		cr_expect_eq(heap_stats(r.q).used, 4 * UNIT, "only said");
		done = quoit_repair(r.name, 0, NULL, NULL);
		cr_expect_eq(done, 2, "and its reservation: %d", done);
		cr_expect_eq(heap_stats(r.q).orphaned, 2 * UNIT);
		cr_expect_eq(heap_stats(r.q).free, 2 * UNIT);
		cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 0);
		cr_assert(heap_take(c, UNIT, 0));
		cr_assert(heap_take(c, 5000, 1));
		cr_expect_eq(quoit_repair(r.name, 1, NULL, NULL), 1);
		cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 1);
		cr_expect_eq(heap_stats(r.q).free, 4 * UNIT);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

/* Between closing and freeing its row, and anywhere in reaping, a process may die: what it leaves
 * are units owned by a row, or orphans. */
Test(heap_death, units_of_a_row_that_is_free_are_found_and_mended)
{
	struct quoit_options o = heap_options(QUOIT_MPMC, 4);
	struct quoit_inspect *v;
	struct test_ring r;

	test_ring_make(&r, QUOIT_SHM, &o);
	atomic_store(&r.q->units[2], quoit__unit_word(0, QUOIT__UNIT_OWNED, 3));
	MUST(quoit_inspect_open(r.name, NULL, NULL, &v) == 0);
	cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 1);
	cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 2, "orphaned, and freed");
	cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 0);
	cr_expect_eq(heap_stats(r.q).free, 4 * UNIT);
	quoit_inspect_close(v);
	test_ring_drop(&r);
}
