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
	atomic_store(&r.q->units[3], quoit__unit_word(0, QUOIT__UNIT_LENT, 3));
	MUST(quoit_inspect_open(r.name, NULL, NULL, &v) == 0);
	cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 2);
	cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 2, "orphaned, and freed");
	cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 0);
	cr_expect_eq(heap_stats(r.q).free, 4 * UNIT);
	quoit_inspect_close(v);
	test_ring_drop(&r);
}

/* ---- the idle, and the waiting -------------------------------------------------------------- */

/* Fill the section with records of p until there is no room. */
static uint64_t fill(struct quoit_producer *p, uint32_t len, uint64_t seq)
{
	int r;

	while ((r = heap_put(p, len, seq)) == 0)
		seq++;
	cr_assert_eq(r, -EAGAIN);
	return seq;
}

static uint64_t drain(struct quoit_consumer *c, uint32_t len, uint64_t seq)
{
	struct quoit_msg msg;

	while (quoit_peek(c, &msg) == 1) {
		cr_assert(heap_is(&msg, len, seq));
		cr_assert_eq(quoit_advance(c, &msg), 0);
		seq++;
	}
	return seq;
}

/* What was taken of a producer that does not come back is of use to the others. */
Test(heap_death, an_idle_producer_keeps_nothing_that_was_taken)
{
	static const uint32_t lens[] = {UNIT, 3000, 100000, 3 * UNIT};
	uint64_t a = 0, b = 1u << 20, seen = 0;
	struct test_rig rig = heap_rig(QUOIT_MPMC, 16);
	struct quoit_producer *other;

	MUST(quoit_producer_open(rig.r.q, &other) == 0);
	for (int lap = 0; lap < 24; lap++) {
		uint32_t len = lens[lap % TEST_COUNT(lens)];
		struct timespec deadline = quoit_deadline_ms(5000);
		uint64_t from = a;

		a = fill(rig.p, len, a);
		cr_assert_gt(a, from);
		cr_assert_eq(drain(rig.c, len, seen), a, "lap %d", lap);
		seen = a;
		cr_assert_eq(quoit_producer_wait(other, 16 * UNIT, &deadline), 0, "lap %d", lap);
		cr_assert_eq(heap_put(other, 16 * UNIT - 8, b), 0);
		cr_assert(heap_take(rig.c, 16 * UNIT - 8, b++));
		/* Now that one is idle, in its turn. */
		deadline = quoit_deadline_ms(5000);
		cr_assert_eq(quoit_producer_wait(rig.p, len, &deadline), 0);
	}
	quoit_producer_close(other);
	cr_expect(heap_whole(rig.p, 16));
	test_rig_close(&rig);
}

/* And of use to itself: what it sends later takes no more units than that needs. */
Test(heap_death, a_producer_that_goes_on_gives_back_what_was_taken)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 32);
		uint64_t n;

		for (n = 0; n < 100; n++)
			cr_assert_eq(heap_put(rig.p, 9000, n), 0);
		cr_assert_eq(drain(rig.c, 9000, 0), n);
		cr_expect_geq(heap_stats(rig.r.q).used, 14 * UNIT, "nobody has looked");
		for (uint64_t end = n + 40; n < end; n++) {
			cr_assert_eq(heap_put(rig.p, 9000, n), 0);
			cr_assert(heap_take(rig.c, 9000, n));
		}
		cr_expect_leq(heap_stats(rig.r.q).used, 2 * UNIT);
		test_rig_close(&rig);
	}
}

/* The same while some of it is still out, or only reserved: that stays, and is whole. */
Test(heap_death, others_leave_alone_what_an_idle_producer_still_has_out)
{
	struct test_rig rig = heap_rig(QUOIT_MPMC, 16);
	struct quoit_producer *other;
	uint64_t seed = 5, n = 0;

	MUST(quoit_producer_open(rig.r.q, &other) == 0);
	for (int lap = 0; lap < 12; lap++) {
		void *small, *large, *taken[60];
		struct timespec deadline;
		struct quoit_msg held[8];
		unsigned n_taken;
		uint32_t type;

		for (uint64_t i = 0; i < 8; i++) {
			uint32_t len = 2500 + test_random_below(&seed, 60000);

			cr_assert_eq(heap_put(rig.p, len, n + i), 0);
		}
		cr_assert_eq(quoit_reserve(rig.p, 2500, &small), 0);
		cr_assert_eq(quoit_reserve(rig.p, UNIT, &large), 0);
		type = test_record_fill(small, 2500, 1, n + 8);
		cr_assert_eq(quoit_peek_batch(rig.c, held, 8), 8);
		for (int i = 0; i < 8; i += 2)
			cr_assert_eq(quoit_advance(rig.c, &held[i]), 0);
		/* All that can be had, after time enough to look at what was lent. */
		deadline = quoit_deadline_ms(60);
		cr_assert_eq(quoit_producer_wait(other, 16 * UNIT, &deadline), -ETIMEDOUT);
		for (n_taken = 0; n_taken < TEST_COUNT(taken); n_taken++) {
			if (quoit_reserve(other, 20000, &taken[n_taken]) != 0)
				break;
			memset(taken[n_taken], 0xee, 20000);
		}
		cr_assert(n_taken > 5 && n_taken < TEST_COUNT(taken), "%u", n_taken);
		while (n_taken-- != 0)
			cr_assert_eq(quoit_discard(other, taken[n_taken]), 0);
		for (int i = 1; i < 8; i += 2) {
			cr_assert(heap_is(&held[i], held[i].len, n + (uint64_t)i), "lap %d", lap);
			cr_assert_eq(quoit_advance(rig.c, &held[i]), 0);
		}
		cr_assert_eq(quoit_commit(rig.p, small, 2500, type), 0);
		type = test_record_fill(large, UNIT, 1, n + 9);
		cr_assert_eq(quoit_commit(rig.p, large, UNIT, type), 0);
		cr_assert(heap_take(rig.c, 2500, n + 8), "lap %d", lap);
		cr_assert(heap_take(rig.c, UNIT, n + 9), "lap %d", lap);
		n += 10;
	}
	quoit_producer_close(other);
	cr_expect(heap_whole(rig.p, 16));
	cr_expect_eq(heap_stats(rig.r.q).free, 16 * UNIT);
	test_rig_close(&rig);
}

/* One more record while the first is on loan; and take it. */
static struct quoit_msg put_second(struct test_rig *rig, uint32_t len, uint64_t seq)
{
	struct quoit_msg msgs[2];

	cr_assert_eq(heap_put(rig->p, len, seq), 0);
	cr_assert_eq(quoit_peek_batch(rig->c, msgs, 2), 2);
	cr_assert(heap_is(&msgs[1], len, seq));
	return msgs[1];
}

/* An arena some of whose units were freed by others: it goes on with a new one, whether it meets
 * them by a block of its own, by a run of units, or by claiming them for itself. */
Test(heap_death, units_that_come_back_to_their_former_owner_hold_nothing_of_it)
{
	static const uint32_t next[] = {UNIT, 5000, 100000};
	struct test_rig rig = heap_rig(QUOIT_MPMC, 4);
	struct quoit_producer *other;
	uint64_t n = 0;

	MUST(quoit_producer_open(rig.r.q, &other) == 0);
	for (unsigned lap = 0; lap < 21; lap++) {
		uint64_t first = n;
		struct quoit_msg stays, large, msg;

		/* One record stays, and with it one unit; the others are freed behind our back. */
		n = fill(rig.p, 12000, n);
		cr_assert_eq(quoit_peek(rig.c, &stays), 1);
		for (uint64_t i = first + 1; i < n; i++) {
			struct quoit_msg msgs[2];

			cr_assert_eq(quoit_peek_batch(rig.c, msgs, 2), 2);
			cr_assert(heap_is(&msgs[1], 12000, i));
			cr_assert_eq(quoit_advance(rig.c, &msgs[1]), 0);
		}
		cr_assert_eq(quoit__heap_reclaim(rig.r.q, other->ep.id), 3, "lap %d", lap);
		large = put_second(&rig, next[lap % TEST_COUNT(next)], n);
		for (uint64_t i = 1; i < 30; i++) {
			struct quoit_msg msgs[3];

			cr_assert_eq(heap_put(rig.p, 7000, n + i), 0);
			cr_assert_eq(quoit_peek_batch(rig.c, msgs, 3), 3);
			cr_assert(heap_is(&msgs[2], 7000, n + i), "lap %u", lap);
			cr_assert_eq(quoit_advance(rig.c, &msgs[2]), 0);
		}
		cr_assert(heap_is(&large, next[lap % TEST_COUNT(next)], n), "lap %u", lap);
		cr_assert(heap_is(&stays, 12000, first), "lap %u", lap);
		cr_assert_eq(quoit_advance(rig.c, &large), 0);
		cr_assert_eq(quoit_advance(rig.c, &stays), 0);
		cr_assert_eq(quoit_peek(rig.c, &msg), -EAGAIN);
		cr_assert(heap_whole(rig.p, 4), "lap %u", lap);
		n += 30;
	}
	quoit_producer_close(other);
	test_rig_close(&rig);
}

/* What a dead producer has left is looked for when something has been taken, or once a second: not
 * at every look of a producer that waits, for a look at all of a large ring takes milliseconds. */
Test(heap_death, a_waiting_producer_searches_only_when_there_is_news)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;
		uint64_t looks;

		test_ring_make(&r, QUOIT_MEMFD, &o);
		MUST(quoit_consumer_open(r.q, &c) == 0);
		kill_producer(r.name);
		MUST(quoit_producer_open(r.q, &p) == 0);
		MUST(quoit_producer_set_wait(p, QUOIT_WAIT_YIELD) == 0);
		looks = 0;
		for (int64_t end = test_now_ns() + INT64_C(300000000); test_now_ns() < end; looks++)
			cr_assert_eq(quoit_producer_wait(p, 4 * UNIT, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_gt(looks, 100);
		cr_expect_leq(quoit__heap_searches(p), 3, "%llu searches at %llu looks",
			      (unsigned long long)quoit__heap_searches(p),
			      (unsigned long long)looks);
		cr_assert(heap_take(c, UNIT, 0));
		cr_assert(heap_take(c, 5000, 1));
		{
			struct timespec deadline = quoit_deadline_ms(500);

			cr_expect_eq(quoit_producer_wait(p, 4 * UNIT, &deadline), 0, "%d", kind);
		}
		quoit_producer_close(p);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}
