/* SPDX-License-Identifier: MIT */
/*
 * Figures: what a ring says of itself, the counters of endpoints, and the state of a stream.
 */
#include <criterion/criterion.h>

#include "support.h"

TestSuite(stats, .fini = test_cleanup, .timeout = 30);

Test(stats, the_size_in_front_is_looked_at)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct quoit_stats stats = {.size = 0};
	struct quoit_info info = {.size = 0};
	struct test_ring r;

	test_ring_make(&r, QUOIT_MEMFD, &opt);
	cr_expect_eq(quoit_get_info(r.q, &info), -EINVAL);
	cr_expect_eq(quoit_get_stats(r.q, &stats), -EINVAL);
	info.size = sizeof(info);
	stats.size = sizeof(stats);
	cr_expect_eq(quoit_get_info(r.q, &info), 0);
	cr_expect_eq(quoit_get_stats(r.q, &stats), 0);
	cr_expect_eq(info.size, sizeof(info));
	cr_expect_eq(stats.size, sizeof(stats));
	test_ring_drop(&r);
}

Test(stats, of_a_new_ring_are_all_zero)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		static const struct quoit_counters none;
		struct quoit_stats stats;
		struct test_ring r;

		test_ring_make(&r, QUOIT_MEMFD, &opt);
		stats = test_stats(r.q);
		cr_expect_eq(stats.state, QUOIT_STATE_NEW);
		cr_expect_eq(stats.producers, 0);
		cr_expect_eq(stats.consumers, 0);
		cr_expect_eq(stats.head, 0);
		cr_expect_eq(stats.tail, 0);
		cr_expect_eq(stats.used, 0);
		cr_expect_eq(stats.capacity, test_kinds[k] == QUOIT_MPMC ? test_info(r.q).slots
									 : test_info(r.q).capacity);
		cr_expect_eq(memcmp(&stats.produced, &none, sizeof(none)), 0);
		cr_expect_eq(memcmp(&stats.consumed, &none, sizeof(none)), 0);
		test_ring_drop(&r);
	}
}

Test(stats, count_records_and_payload_bytes_on_both_sides)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		_Alignas(8) char buf[8192] = {0};
		struct quoit_counters produced, consumed;
		struct quoit_msg msgs[8] = {0};
		struct quoit_stats stats;
		struct test_rig rig;
		void *payload;

		test_rig_open(&rig, QUOIT_MEMFD, &opt);
		for (unsigned i = 0; i < 10; i++)
			cr_assert_eq(quoit_send(rig.p, buf, i, 0, QUOIT_NOWAIT), 0);
		cr_assert_eq(quoit_reserve(rig.p, 100, &payload), 0);
		cr_assert_eq(quoit_commit(rig.p, payload, 55, 0), 0);
		for (unsigned i = 0; i < 4; i++)
			msgs[i] = (struct quoit_msg){.data = buf, .len = 100};
		cr_assert_eq(quoit_send_batch(rig.p, msgs, 4, QUOIT_NOWAIT), 4);
		quoit_producer_counters(rig.p, &produced);
		cr_expect_eq(produced.records, 15);
		cr_expect_eq(produced.bytes, 45 + 55 + 400);
		cr_assert_eq(quoit_recv(rig.c, buf, 256, msgs, QUOIT_NOWAIT), 1);
		cr_assert_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 8, QUOIT_NOWAIT), 8);
		cr_assert_eq(quoit_peek(rig.c, msgs), 1);
		cr_assert_eq(quoit_advance(rig.c, msgs), 0);
		cr_assert_eq(quoit_peek_batch(rig.c, msgs, 4), 4);
		quoit_consumer_counters(rig.c, &consumed);
		cr_expect_eq(consumed.records, 10, "peeked is not taken");
		cr_expect_eq(consumed.bytes, 45);
		cr_assert_eq(quoit_advance_batch(rig.c, msgs, 4), 0);
		quoit_consumer_counters(rig.c, &consumed);
		cr_expect_eq(consumed.records, 14);
		cr_expect_eq(consumed.bytes, 45 + 55 + 300);
		stats = test_stats(rig.r.q);
		cr_expect_eq(stats.produced.records, 15);
		cr_expect_eq(stats.produced.bytes, 500);
		cr_expect_eq(stats.consumed.records, 14);
		cr_expect_eq(stats.consumed.bytes, 400);
		test_rig_close(&rig);
	}
}

Test(stats, of_the_ring_go_on_over_successive_endpoints)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct quoit_counters own;
		struct test_rig rig;
		uint64_t value;

		opt.flags = QUOIT_PERSISTENT;
		test_rig_open(&rig, QUOIT_MEMFD, &opt);
		for (unsigned life = 1; life <= 5; life++) {
			for (unsigned i = 0; i < 10; i++)
				cr_assert_eq(test_put(rig.p, i), 0);
			for (unsigned i = 0; i < 10; i++)
				cr_assert_eq(test_take(rig.c, &value), 1);
			quoit_producer_counters(rig.p, &own);
			cr_expect_eq(own.records, 10, "its own, not its predecessors'");
			quoit_consumer_counters(rig.c, &own);
			cr_expect_eq(own.records, 10);
			quoit_producer_close(rig.p);
			quoit_consumer_close(rig.c);
			cr_expect_eq(test_stats(rig.r.q).produced.records, 10 * life);
			cr_expect_eq(test_stats(rig.r.q).consumed.records, 10 * life);
			cr_expect_eq(test_stats(rig.r.q).consumed.bytes, 80 * life);
			cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
			cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
		}
		test_rig_close(&rig);
	}
}

Test(stats, count_full_and_empty_rings)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		opt.capacity = 1024;
		opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
		test_rig_open(&rig, QUOIT_MEMFD, &opt);
		cr_expect_eq(test_stats(rig.r.q).produced.full, 0);
		for (unsigned lap = 1; lap <= 3; lap++) {
			while (test_put(rig.p, 1) == 0)
				;
			while (test_take(rig.c, &value) == 1)
				;
			cr_expect_eq(test_stats(rig.r.q).produced.full, lap);
			cr_expect_eq(test_stats(rig.r.q).consumed.empty, lap);
		}
		test_rig_close(&rig);
	}
}

static int wake_later(void *arg)
{
	const char *name = arg;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	test_sleep_ms(100);
	CHILD_CHECK(test_put(p, 1) == 0);
	quoit_producer_close(p);
	return 0;
}

Test(stats, count_sleeps_and_wakes)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct timespec soon = quoit_deadline_ms(5000);
		struct quoit_consumer *c;
		struct quoit_stats stats;
		struct quoit_msg msg;
		struct test_ring r;
		uint64_t value;
		pid_t pid;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		pid = test_spawn(wake_later, r.name);
		cr_assert_eq(quoit_recv(c, &value, 8, &msg, &soon), 1);
		cr_assert_eq(test_wait(pid), 0);
		stats = test_stats(r.q);
		cr_expect_geq(stats.consumed.sleeps, 1);
		cr_expect_leq(stats.consumed.sleeps, 50, "asleep, not turning over");
		cr_expect_geq(stats.produced.wakes, 1);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

Test(stats, tell_the_state_of_the_stream)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		cr_expect_eq(test_stats(r.q).state, QUOIT_STATE_NEW);
		cr_expect_eq(test_stats(r.q).consumers, 1);
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
		cr_expect_eq(test_stats(r.q).state, QUOIT_STATE_OPEN);
		cr_expect_eq(test_stats(r.q).producers, 1);
		quoit_producer_close(p);
		cr_expect_eq(test_stats(r.q).state, QUOIT_STATE_ENDED);
		cr_expect_eq(test_stats(r.q).producers, 0);
		cr_assert_eq(quoit_remove(r.made), 0);
		cr_expect_eq(test_stats(r.q).state, QUOIT_STATE_REMOVED);
		quoit_consumer_close(c);
		quoit_detach(r.q);
	}
}

static int open_and_die(void *arg)
{
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(arg, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	raise(SIGKILL);
	return 1;
}

Test(stats, tell_of_a_broken_stream_and_count_deaths)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct quoit_consumer *c;
		struct quoit_counters own;
		struct test_ring r;
		uint64_t value;

		test_ring_make(&r, test_backends[i], &opt);
		cr_assert_eq(test_wait(test_spawn(open_and_die, r.name)), 128 + SIGKILL);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		while (test_take(c, &value) == -EAGAIN)
			;
		cr_expect_eq(test_stats(r.q).state, QUOIT_STATE_BROKEN);
		cr_expect_eq(test_stats(r.q).producer_deaths, 1);
		cr_expect_eq(test_stats(r.q).consumer_deaths, 0);
		cr_expect_eq(test_stats(r.q).producers, 0);
		quoit_consumer_counters(c, &own);
		cr_expect_eq(own.deaths, 1, "found and cleaned up by this one");
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

Test(stats, a_read_only_observer_sees_the_same)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_options readonly = {.size = sizeof(readonly), .flags = QUOIT_READONLY};
	struct quoit_stats mine, theirs;
	struct test_rig rig;
	struct quoit *q;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	for (uint64_t i = 0; i < 33; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_attach(rig.r.name, &readonly, &q), 0);
	mine = test_stats(rig.r.q);
	theirs = test_stats(q);
	cr_expect_eq(memcmp(&mine, &theirs, sizeof(mine)), 0);
	cr_expect_eq(theirs.used, 33);
	quoit_detach(q);
	test_rig_close(&rig);
}
