/* SPDX-License-Identifier: MIT */
/* Threads that are cancelled while they wait for a set: others go on waiting. */
#include "unit/pollset_support.h"

TestSuite(pollset_cancel, .fini = test_cleanup, .timeout = 60);

struct waiting {
	struct gang *g;
	unsigned ms;
	int result;
};

static void *wait_once(void *arg)
{
	struct waiting *w = arg;
	struct quoit_ready ready;

	w->result = wait_for(w->g->set, &ready, 1, w->ms);
	if (w->result == 1)
		empty_and_done(w->g->set, &ready);
	pthread_testcancel();
	return NULL;
}

static void *send_later(void *arg)
{
	test_sleep_ms(100);
	return test_put(arg, 7) == 0 ? arg : NULL;
}

/* One leads, that is, sleeps for all; others stand in line behind it. Either is cancelled. */
Test(pollset_cancel, a_waiting_thread_holds_up_nobody)
{
	struct waiting w[2] = {{.ms = 300}, {.ms = 300}};
	struct quoit_ready ready;
	pthread_t thread[2], sender;
	struct gang g;
	void *result;
	int64_t start;

#ifdef QUOIT_SANITIZED
	cr_skip("the address sanitizer takes a cancelled thread's stack for damaged");
#endif
	gang_open(&g, 3, QUOIT_SPSC);
	for (int i = 0; i < 2; i++) {
		w[i].g = &g;
		MUST(pthread_create(&thread[i], NULL, wait_once, &w[i]) == 0);
	}
	test_sleep_ms(100);
	for (int i = 0; i < 2; i++)
		pthread_cancel(thread[i]);
	for (int i = 0; i < 2; i++) {
		MUST(pthread_join(thread[i], &result) == 0);
		cr_expect_eq(result, PTHREAD_CANCELED);
		cr_expect_eq(w[i].result, -ETIMEDOUT, "its wait goes to its end: %d", w[i].result);
	}

	MUST(pthread_create(&sender, NULL, send_later, g.p[1]) == 0);
	start = test_now_ns();
	cr_assert_eq(wait_for(g.set, &ready, 1, 10000), 1);
	cr_expect_lt(test_now_ns() - start, INT64_C(5000000000), "nobody leads any more");
	cr_expect_eq(gang_number(&g, &ready), 1);
	cr_expect_eq(empty_and_done(g.set, &ready), 1);
	MUST(pthread_join(sender, &result) == 0);
	cr_expect_not_null(result);
	gang_close(&g);
}
