/* SPDX-License-Identifier: MIT */
/*
 * Peers that are killed with SIGKILL: the other side is told once, nothing committed is lost, a
 * successor goes on where the ring says, and nothing that the dead left behind is in its way.
 */
#include <criterion/criterion.h>

#include "support.h"
#include "unit/victim.h"

TestSuite(death, .fini = test_cleanup, .timeout = 60);

/* Take everything; -EOWNERDEAD is counted and must come when nothing is left. */
struct taken {
	uint64_t count, next;
	unsigned deaths;
	int last;
};

static struct taken take_all(struct quoit_consumer *c, uint64_t first)
{
	struct taken t = {.next = first};
	uint64_t value;

	for (;;) {
		t.last = test_take(c, &value);
		if (t.last == -EOWNERDEAD) {
			t.deaths++;
			continue;
		}
		if (t.last != 1)
			return t;
		cr_assert_eq(value, t.next, "in order, none missing: %llu, not %llu",
			     (unsigned long long)value, (unsigned long long)t.next);
		t.next++;
		t.count++;
	}
}

Test(death, of_a_producer_loses_nothing_committed_and_is_told_once)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct victim v = {.count = 100, .reserve = 1};
			struct quoit_consumer *c;
			struct test_ring r;
			struct taken t;

			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			v.name = r.name;
			start_and_kill(victim_producer, &v);
			t = take_all(c, 0);
			cr_expect_eq(t.count, 100);
			cr_expect_eq(t.last, -EAGAIN, "a crash is no end of stream: %d", t.last);
			/* Death may be noticed a moment later than the last record. */
			if (t.deaths == 0) {
				struct timespec soon = quoit_deadline_ms(5000);
				struct quoit_msg msg;
				uint64_t value;

				cr_expect_eq(quoit_recv(c, &value, 8, &msg, &soon), -EOWNERDEAD);
				t = take_all(c, 100);
				t.deaths++;
			}
			cr_expect_eq(t.deaths, 1);
			cr_expect_eq(t.last, -EAGAIN);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(death, of_a_producer_is_told_to_each_consumer_once)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct victim v = {.count = 0};
	struct quoit_consumer *c[3];
	struct test_ring r;

	test_ring_make(&r, QUOIT_SHM, &opt);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(quoit_consumer_open(r.q, &c[i]), 0);
	v.name = r.name;
	start_and_kill(victim_producer, &v);
	for (unsigned i = 0; i < 3; i++) {
		struct timespec soon = quoit_deadline_ms(5000);
		struct timespec later;
		struct quoit_msg msg;
		uint64_t value;

		cr_expect_eq(quoit_recv(c[i], &value, 8, &msg, &soon), -EOWNERDEAD);
		later = quoit_deadline_ms(100);
		cr_expect_eq(quoit_recv(c[i], &value, 8, &msg, &later), -ETIMEDOUT);
	}
	for (unsigned i = 0; i < 3; i++)
		quoit_consumer_close(c[i]);
	test_ring_drop(&r);
}

Test(death, of_a_producer_is_told_to_a_consumer_that_comes_afterwards)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct timespec soon = quoit_deadline_ms(5000);
			struct victim v = {.count = 5};
			struct quoit_consumer *c;
			struct test_ring r;
			struct quoit_msg msg;
			uint64_t value;
			int result;

			test_ring_make(&r, test_backends[i], &opt);
			v.name = r.name;
			start_and_kill(victim_producer, &v);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			for (uint64_t n = 0; n < 5; n++) {
				cr_assert_eq(test_take(c, &value), 1);
				cr_expect_eq(value, n);
			}
			result = quoit_recv(c, &value, 8, &msg, &soon);
			cr_expect_eq(result, -EOWNERDEAD, "%s %s: %d",
				     quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]), result);
			cr_expect_eq(test_take(c, &value), -EAGAIN);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(death, of_one_producer_does_not_end_the_stream_of_another)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct victim v = {.count = 3, .reserve = 2};
	struct test_rig rig;
	uint64_t value, sum = 0;
	unsigned deaths = 0, records = 0;
	int result;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	v.name = rig.r.name;
	v.first = 1000;
	start_and_kill(victim_producer, &v);
	for (uint64_t i = 0; i < 1000; i++)
		cr_assert_eq(test_put(rig.p, 1), 0);
	quoit_producer_close(rig.p);
	rig.p = NULL;
	while ((result = test_take(rig.c, &value)) != 0) {
		cr_assert(result == 1 || result == -EOWNERDEAD || result == -EAGAIN, "%d", result);
		if (result == -EOWNERDEAD)
			deaths++;
		if (result != 1)
			continue;
		records++;
		sum += value;
	}
	cr_expect_eq(records, 1003);
	cr_expect_eq(sum, 1000 + 1000 + 1001 + 1002);
	cr_expect_eq(deaths, 1);
	test_rig_close(&rig);
}

/* Each role: one dies, another closes before anybody else has looked. The death comes first. */
Test(death, of_a_producer_is_told_before_the_end_that_another_makes_by_closing)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct victim v = {.count = 3};
	struct test_rig rig;
	struct taken t;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	v.name = rig.r.name;
	start_and_kill(victim_producer, &v);
	quoit_producer_close(rig.p);
	rig.p = NULL;
	t = take_all(rig.c, 0);
	cr_expect_eq(t.count, 3);
	cr_expect_eq(t.deaths, 1);
	cr_expect_eq(t.last, 0, "then the end, for nobody is left: %d", t.last);
	test_rig_close(&rig);
}

Test(death, of_a_consumer_is_no_news_once_another_has_closed_after_it)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct victim v = {.hold = 0};
	struct test_rig rig;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	v.name = rig.r.name;
	start_and_kill(victim_consumer, &v);
	quoit_consumer_close(rig.c);
	rig.c = NULL;
	while (test_put(rig.p, 1) == 0)
		;
	cr_expect_eq(test_put(rig.p, 1), -EPIPE, "the last one closed");
	test_rig_close(&rig);
}

Test(death, of_a_producer_lets_a_successor_open_at_once_and_go_on)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct quoit_consumer *c;
			struct quoit_producer *p;
			struct test_ring r;
			uint64_t next = 0, value;
			unsigned deaths = 0;
			int result;

			opt.capacity = 4096;
			opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			for (unsigned life = 0; life < 30; life++) {
				struct victim v = {.name = r.name,
						   .first = life * 7,
						   .count = 7,
						   .reserve = life & 1};
				struct taken t;

				start_and_kill(victim_producer, &v);
				if (life % 3 == 2)
					continue; /* let some pile up */
				t = take_all(c, next);
				next = t.next;
				deaths += t.deaths;
			}
			result = quoit_producer_open(r.q, &p);
			cr_assert_eq(result, 0, "%s %s: %d", quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]), result);
			for (uint64_t n = 210; n < 220; n++) {
				result = test_put(p, n);
				cr_assert_eq(result, 0, "%s %s: %d",
					     quoit_backend_name(test_backends[i]),
					     quoit_kind_name(test_kinds[k]), result);
			}
			quoit_producer_close(p);
			while ((result = test_take(c, &value)) != 0) {
				deaths += result == -EOWNERDEAD;
				if (result == 1)
					cr_assert_eq(value, next++);
			}
			cr_expect_eq(next, 220);
			cr_expect_leq(deaths, 30);
			cr_expect_geq(deaths, 1);
			cr_expect_eq(test_stats(r.q).producer_deaths, 30);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(death, of_a_consumer_redelivers_what_it_looked_at_and_nothing_else)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct victim v = {.count = 10, .hold = 3};
			struct quoit_producer *p;
			struct quoit_consumer *c;
			unsigned seen[32] = {0};
			struct test_ring r;
			uint64_t value;
			int result;

			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_producer_open(r.q, &p), 0);
			for (uint64_t n = 0; n < 20; n++)
				cr_assert_eq(test_put(p, n), 0);
			v.name = r.name;
			start_and_kill(victim_consumer, &v);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			quoit_producer_close(p);
			while ((result = test_take(c, &value)) != 0) {
				cr_assert_eq(result, 1, "%s %s: %d",
					     quoit_backend_name(test_backends[i]),
					     quoit_kind_name(test_kinds[k]), result);
				cr_assert_lt(value, 20);
				seen[value]++;
			}
			for (unsigned n = 0; n < 20; n++)
				cr_expect_eq(seen[n], n < 10 ? 0 : 1, "record %u: %u times", n,
					     seen[n]);
			cr_expect_eq(test_stats(r.q).consumer_deaths, 1);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(death, of_one_mpmc_consumer_gives_its_records_to_a_survivor)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct victim v = {.count = 0, .hold = 5};
	struct test_rig rig;
	struct quoit_msg msg;
	uint64_t value, sum = 0;

	opt.capacity = 1024;
	opt.slot_size = 8;
	test_rig_open(&rig, QUOIT_SHM, &opt);
	for (uint64_t i = 0; i < 8; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	v.name = rig.r.name;
	start_and_kill(victim_consumer, &v);
	for (unsigned i = 0; i < 8; i++) {
		struct timespec soon = quoit_deadline_ms(5000);

		cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1, "record %u of 8", i);
		sum += value;
	}
	cr_expect_eq(sum, 28);
	cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
	cr_expect_eq(test_stats(rig.r.q).consumed.redelivered, 5, "counted");
	test_rig_close(&rig);
}

Test(death, of_the_only_consumer_is_told_to_the_producer_once_and_a_successor_goes_on)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct victim v = {.count = 0};
			struct timespec soon;
			struct quoit_producer *p;
			struct quoit_consumer *c;
			struct test_ring r;
			uint64_t sent = 0, value;
			unsigned deaths = 0;
			int result;

			opt.capacity = 4096;
			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_producer_open(r.q, &p), 0);
			v.name = r.name;
			start_and_kill(victim_consumer, &v);
			soon = quoit_deadline_ms(500);
			for (;;) {
				result = quoit_send(p, &sent, 8, 0, &soon);
				sent += result == 0;
				deaths += result == -EOWNERDEAD;
				if (result != 0 && result != -EOWNERDEAD)
					break;
			}
			cr_expect_eq(result, -ETIMEDOUT, "dead is not closed: %d", result);
			cr_expect_eq(deaths, 1, "%s %s", quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]));
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			for (uint64_t n = 0; n < sent; n++) {
				cr_assert_eq(test_take(c, &value), 1);
				cr_assert_eq(value, n);
			}
			cr_expect_eq(test_put(p, 5), 0);
			quoit_producer_close(p);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(death, of_many_peers_gives_the_whole_peer_table_and_ring_back)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_MPMC);
		struct quoit_producer *p[6];
		struct test_ring r;
		uint64_t slots;

		opt.peers = 6;
		opt.slot_size = 8;
		opt.capacity = 1024;
		test_ring_make(&r, test_backends[i], &opt);
		slots = test_info(r.q).slots;
		for (unsigned j = 0; j < 20; j++) {
			struct victim v = {.name = r.name, .reserve = 1 + j % 5};

			start_and_kill(victim_producer, &v);
		}
		for (unsigned j = 0; j < 6; j++)
			cr_assert_eq(quoit_producer_open(r.q, &p[j]), 0, "endpoint %u", j);
		for (uint64_t n = 0; n < slots; n++)
			cr_assert_eq(test_put(p[n % 6], n), 0, "slot %d of %d", (int)n, (int)slots);
		cr_expect_eq(test_stats(r.q).producer_deaths, 20);
		for (unsigned j = 0; j < 6; j++)
			quoit_producer_close(p[j]);
		test_ring_drop(&r);
	}
}

Test(death, is_not_what_a_stopped_process_is)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct timespec soon;
		struct victim v = {.count = 1};
		struct quoit_producer *second = NULL;
		struct quoit_consumer *c;
		struct test_ring r;
		struct quoit_msg msg;
		uint64_t value;
		pid_t pid;

		test_ring_make(&r, test_backends[i], &opt);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		v.name = r.name;
		pid = start(victim_producer, &v);
		cr_assert_eq(kill(pid, SIGSTOP), 0);
		cr_assert_eq(test_take(c, &value), 1);
		soon = quoit_deadline_ms(200);
		cr_expect_eq(quoit_recv(c, &value, 8, &msg, &soon), -ETIMEDOUT);
		cr_expect_eq(quoit_producer_open(r.q, &second), -EBUSY);
		test_kill(pid);
		soon = quoit_deadline_ms(5000);
		cr_expect_eq(quoit_recv(c, &value, 8, &msg, &soon), -EOWNERDEAD);
		munmap(v.ready, 4096);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}
