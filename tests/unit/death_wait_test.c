/* SPDX-License-Identifier: MIT */
/* Death met in waiting: whoever waits for a peer that dies is told, whatever it waits on; and a
 * peer that dies asleep is in nobody's way. */
#include <criterion/criterion.h>

#include "support.h"
#include "unit/victim.h"

TestSuite(death_wait, .fini = test_cleanup, .timeout = 60);

/* How long does a peer that waits for ever take to learn of a death? */
static void expect_told_while_blocked(enum quoit_backend backend, enum quoit_kind kind,
				      enum quoit_wait wait, bool victim_produces)
{
	struct quoit_options opt = test_options(kind);
	struct victim v = {.count = 0};
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct test_ring r;
	struct quoit_msg msg;
	uint64_t value = 0;
	int64_t begin;
	int result;
	pid_t pid;

	opt.capacity = 4096;
	opt.wait = wait;
	test_ring_make(&r, backend, &opt);
	v.name = r.name;
	if (victim_produces) {
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		cr_assert_eq(quoit_consumer_set_wait(c, wait), 0);
		pid = start(victim_producer, &v);
	} else {
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
		cr_assert_eq(quoit_producer_set_wait(p, wait), 0);
		pid = start(victim_consumer, &v);
		while (test_put(p, 1) == 0)
			;
	}
	/* The child dies while we wait: it kills itself through a helper that sleeps first. */
	pid_t killer = fork();

	if (killer == 0) {
		test_sleep_ms(20);
		kill(pid, SIGKILL);
		_exit(0);
	}
	begin = test_now_ns();
	struct timespec end = quoit_deadline_ms(5000);

	if (victim_produces)
		result = quoit_recv(c, &value, 8, &msg, &end);
	else
		result = quoit_send(p, &value, 8, 0, &end);
	cr_expect_eq(result, -EOWNERDEAD, "%s %s %s %s: %d", quoit_backend_name(backend),
		     quoit_kind_name(kind), quoit_wait_name(wait),
		     victim_produces ? "consumer" : "producer", result);
	cr_expect_lt(test_now_ns() - begin, INT64_C(3000000000), "told soon");
	test_wait(killer);
	test_wait(pid);
	munmap(v.ready, 4096);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	test_ring_drop(&r);
}

Test(death_wait, is_told_to_a_blocked_peer_whatever_it_waits_on)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
				expect_told_while_blocked(test_backends[i], test_kinds[k],
							  test_waits[w], true);
				expect_told_while_blocked(test_backends[i], test_kinds[k],
							  test_waits[w], false);
			}
		}
	}
}

Test(death_wait, while_asleep_does_not_hinder_a_successor)
{
	for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct victim v = {.count = 0, .block = true, .wait = test_waits[w]};
			struct quoit_producer *p;
			struct quoit_consumer *c;
			struct test_ring r;
			uint64_t value;
			pid_t pid;

			opt.capacity = 4096;
			test_ring_make(&r, QUOIT_SYSV, &opt);
			v.name = r.name;
			pid = start(victim_consumer, &v);
			test_sleep_ms(10);
			test_kill(pid);
			munmap(v.ready, 4096);
			pid = start(victim_producer, &v);
			test_sleep_ms(10);
			test_kill(pid);
			munmap(v.ready, 4096);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			cr_assert_eq(quoit_producer_open(r.q, &p), 0);
			for (uint64_t n = 0; test_take(c, &value) == 1; n++)
				cr_assert_eq(value, n);
			cr_expect_eq(test_put(p, 1), 0);
			while (test_take(c, &value) == -EOWNERDEAD)
				;
			cr_expect_eq(value, 1);
			quoit_producer_close(p);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}
