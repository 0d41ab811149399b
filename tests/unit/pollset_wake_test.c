/* SPDX-License-Identifier: MIT */
/*
 * Pollsets and other processes and threads: who is woken, how soon, at what price; deaths; wakers
 * that were killed half-way; and peers that write what they like into the ring and onto the board.
 */
#include "unit/pollset_support.h"

#include "ring/ring.h"
#include "ring/pollset.h"

TestSuite(pollset_wake, .fini = test_cleanup, .timeout = 60);

/* Under load a wake may take its time; without one it takes a nap of 50 ms. */
#define SOON_NS  INT64_C(20000000)
#define BOUND_MS 1000

/* ---- producers in other processes ----------------------------------------------------------- */

struct remote {
	struct gang *g;
	_Atomic uint32_t *go, *ready;
	uint64_t wakes; /* shared: what the producer's own counter says at the end */
};

/* Sends one record to ring 0 for each step, and tells its counter of wakes. */
static int step_producer(void *arg)
{
	struct remote *r = arg;
	struct quoit_counters counters;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(r->g->ring[0].made, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	for (uint32_t step = 1;; step++) {
		CHILD_CHECK(test_wait_flag(r->go, step, 30000));
		CHILD_CHECK(test_put(p, (uint64_t)test_now_ns()) == 0);
		quoit_producer_counters(p, &counters);
		r->wakes = counters.wakes;
		atomic_store(r->ready, step);
	}
}

static struct remote *remote_open(struct gang *g, enum quoit_kind kind)
{
	struct remote *r = test_shared(sizeof(*r));

	memset(g, 0, sizeof(*g));
	cr_assert_eq(quoit_pollset_create(NULL, &g->set), 0);
	gang_join(g, gang_ring(g, QUOIT_SHM, kind));
	r->g = g;
	r->go = test_shared(sizeof(*r->go));
	r->ready = test_shared(sizeof(*r->ready));
	return r;
}

static void *let_it_go(void *arg)
{
	test_sleep_ms(10);
	atomic_fetch_add((_Atomic uint32_t *)arg, 1);
	return NULL;
}

static void wakes_a_sleeping_set(enum quoit_kind kind)
{
	struct gang g;
	struct remote *remote = remote_open(&g, kind);
	pid_t pid = test_spawn(step_producer, remote);
	struct quoit_ready r;
	uint64_t sent;
	unsigned soon = 0;

	for (int i = 0; i < 20; i++) {
		pthread_t thread;

		MUST(pthread_create(&thread, NULL, let_it_go, remote->go) == 0);
		cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
		cr_assert_eq(test_take(r.consumer, &sent), 1);
		soon += test_now_ns() - (int64_t)sent < SOON_NS;
		cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
		pthread_join(thread, NULL);
	}
	cr_expect_gt(soon, 15, "by a wake, not by the nap's end: %u of 20", soon);
	test_kill(pid);
	gang_close(&g);
}

Test(pollset_wake, an_spsc_producer_elsewhere_wakes_a_sleeping_set)
{
	wakes_a_sleeping_set(QUOIT_SPSC);
}

Test(pollset_wake, an_mpmc_producer_elsewhere_wakes_a_sleeping_set)
{
	wakes_a_sleeping_set(QUOIT_MPMC);
}

Test(pollset_wake, costs_no_system_call_while_the_set_is_awake)
{
	struct gang g;
	struct remote *remote = remote_open(&g, QUOIT_SPSC);
	pid_t pid = test_spawn(step_producer, remote);
	struct quoit_ready r;

	for (uint32_t step = 1; step <= 50; step++) {
		settle(g.set); /* armed, and nobody asleep */
		atomic_store(remote->go, step);
		cr_assert_eq(poll_for(g.set, &r, 1, 5000), 1);
		cr_assert_eq(empty_and_done(g.set, &r), 1);
		cr_assert(test_wait_flag(remote->ready, step, 5000));
	}
	cr_expect_leq(remote->wakes, 2, "a hello, and marks on the board: %lu calls",
		      remote->wakes);
	test_kill(pid);
	gang_close(&g);
}

/* ---- deaths --------------------------------------------------------------------------------- */

Test(pollset_wake, the_death_of_a_producer_is_told_in_time_among_many)
{
	struct gang g;
	struct remote *remote;
	struct quoit_ready r;
	struct quoit_msg msg;
	int64_t killed, longest = 0;

	for (int round = 0; round < 5; round++) {
		pid_t pid;

		remote = remote_open(&g, QUOIT_SPSC);
		while (g.n < RINGS_MAX)
			gang_join(&g, gang_ring(&g, QUOIT_SHM, QUOIT_SPSC));
		pid = test_spawn(step_producer, remote);
		atomic_store(remote->go, 1);
		cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
		cr_assert_eq(empty_and_done(g.set, &r), 1);
		cr_assert_eq(wait_for(g.set, &r, 1, 60), -ETIMEDOUT);
		test_kill(pid);
		killed = test_now_ns();
		cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
		cr_expect_eq(gang_number(&g, &r), 0);
		cr_expect_eq(quoit_peek(r.consumer, &msg), -EOWNERDEAD);
		longest = test_now_ns() - killed > longest ? test_now_ns() - killed : longest;
		cr_expect_eq(quoit_peek(r.consumer, &msg), -EAGAIN, "once");
		cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
		gang_close(&g);
	}
	cr_expect_lt(longest, BOUND_MS * INT64_C(1000000), "%ld ms", longest / 1000000);
}

Test(pollset_wake, a_waker_killed_before_its_wake_costs_a_nap)
{
	struct gang g;
	struct quoit_ready r;

	gang_open(&g, 3, QUOIT_SPSC);
	settle(g.set);
	/* What it would leave behind: the record, and at times the sequence moved on, and no mark.
	 */
	for (int round = 0; round < 6; round++) {
		_Atomic uint64_t *word = &g.ring[1].q->control->readable.word;
		_Atomic uint32_t *bit = &g.ring[1].q->rows[1].set_bit;
		uint32_t was = atomic_load(bit);
		uint64_t armed = atomic_load(word);

		atomic_store(bit, 0);
		cr_assert_eq(test_put(g.p[1], 1), 0);
		if (round % 2 == 0)
			atomic_store(word, armed);
		atomic_store(bit, was);
		cr_assert_eq(wait_for(g.set, &r, 1, BOUND_MS), 1, "round %d", round);
		cr_expect_eq(gang_number(&g, &r), 1);
		cr_assert_eq(empty_and_done(g.set, &r), 1);
		settle(g.set);
	}
	gang_close(&g);
}

/* ---- threads -------------------------------------------------------------------------------- */

struct crew {
	struct gang *g;
	_Atomic uint32_t inside, taken, stop;
};

static void *wait_and_take(void *arg)
{
	struct crew *crew = arg;
	struct quoit_ready r;

	while (atomic_load(&crew->stop) == 0) {
		atomic_fetch_add(&crew->inside, 1);
		if (wait_for(crew->g->set, &r, 1, 1000) == 1) {
			atomic_fetch_add(&crew->taken, empty_and_done(crew->g->set, &r));
		}
		atomic_fetch_sub(&crew->inside, 1);
	}
	return NULL;
}

Test(pollset_wake, any_number_of_threads_wait_and_each_record_is_taken_once)
{
	struct gang g;
	struct crew crew = {.g = &g};
	pthread_t thread[8];
	uint32_t sent = 0;

	gang_open(&g, 20, QUOIT_SPSC);
	for (int i = 0; i < 8; i++)
		MUST(pthread_create(&thread[i], NULL, wait_and_take, &crew) == 0);
	cr_assert(test_wait_flag(&crew.inside, 8, 5000));
	for (int round = 0; round < 200; round++) {
		for (unsigned i = 0; i < g.n; i += 1 + (unsigned)round % 3)
			sent += test_put(g.p[i], 1) == 0;
		if (round % 10 == 0)
			cr_assert(test_wait_flag(&crew.taken, sent, 5000), "%u of %u", crew.taken,
				  sent);
	}
	cr_assert(test_wait_flag(&crew.taken, sent, 5000), "%u of %u", crew.taken, sent);
	atomic_store(&crew.stop, 1);
	for (int i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	cr_expect_eq(crew.taken, sent);
	gang_close(&g);
}

struct handed {
	struct gang *g;
	struct quoit_ready r;
};

static void *give_back(void *arg)
{
	struct handed *h = arg;

	test_sleep_ms(20); /* the waiter sleeps by now */
	cr_assert_eq(empty_and_done(h->g->set, &h->r), 1);
	cr_assert_eq(test_put(h->g->p[0], (uint64_t)test_now_ns()), 0);
	return NULL;
}

Test(pollset_wake, a_member_given_back_by_another_thread_wakes_the_one_that_waits)
{
	struct gang g;
	struct handed h = {.g = &g};
	unsigned soon = 0;
	uint64_t sent;

	gang_open(&g, 2, QUOIT_SPSC);
	for (int round = 0; round < 10; round++) {
		struct quoit_ready r;
		pthread_t thread;

		cr_assert_eq(test_put(g.p[0], 1), 0);
		cr_assert_eq(wait_for(g.set, &h.r, 1, 5000), 1);
		MUST(pthread_create(&thread, NULL, give_back, &h) == 0);
		cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
		cr_assert_eq(test_take(r.consumer, &sent), 1);
		soon += test_now_ns() - (int64_t)sent < SOON_NS;
		cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
		pthread_join(thread, NULL);
	}
	cr_expect_geq(soon, 8, "%u of 10", soon);
	gang_close(&g);
}

static _Atomic uint32_t alarms;

static void on_alarm(int number)
{
	(void)number;
	atomic_fetch_add(&alarms, 1);
}

Test(pollset_wake, a_signal_ends_the_wait)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct gang g;
	struct quoit_ready r;

	gang_open(&g, 2, QUOIT_SPSC);
	sigaction(SIGALRM, &action, NULL);
	ualarm(20000, 0);
	cr_expect_eq(wait_for(g.set, &r, 1, 20000), -EINTR);
	cr_expect_eq(alarms, 1);
	gang_close(&g);
}

struct churn {
	struct gang *g;
	_Atomic uint32_t stop, polls;
};

static void *poll_on(void *arg)
{
	struct churn *churn = arg;
	struct quoit_ready r[8];

	while (atomic_load(&churn->stop) == 0) {
		int n = quoit_pollset_poll(churn->g->set, r, 8);

		for (int i = 0; i < n; i++)
			empty_and_done(churn->g->set, &r[i]);
		atomic_fetch_add(&churn->polls, 1);
	}
	return NULL;
}

Test(pollset_wake, members_come_and_go_while_others_poll)
{
	struct gang g;
	struct churn churn = {.g = &g};
	pthread_t thread[3];

	gang_open(&g, 20, QUOIT_SPSC);
	for (int i = 0; i < 3; i++)
		MUST(pthread_create(&thread[i], NULL, poll_on, &churn) == 0);
	for (int round = 0; round < 300; round++) {
		unsigned i = (unsigned)round % g.n;
		struct quoit_consumer *c;
		int result;

		cr_assert_eq(test_put(g.p[i], 1), 0);
		cr_assert_eq(quoit_pollset_remove(g.set, g.m[i]), 0);
		/* Whoever held it closes it. */
		while ((result = quoit_consumer_open(g.ring[i].q, &c)) == -EBUSY)
			test_sleep_ms(1);
		cr_assert_eq(result, 0);
		cr_assert_eq(quoit_pollset_add_consumer(g.set, c, &g.ring[i], &g.m[i]), 0);
	}
	atomic_store(&churn.stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	cr_expect_gt(churn.polls, 0);
	gang_close(&g);
}

/* ---- hostile peers -------------------------------------------------------------------------- */

Test(pollset_wake, false_bits_on_the_board_are_looked_at_and_found_empty)
{
	struct gang g;
	struct quoit_ready r[8];

	gang_open(&g, 3, QUOIT_SPSC);
	for (int round = 0; round < 100; round++) {
		for (uint32_t w = 0; w < 1024 / 64; w++)
			atomic_store(&g.set->marked[w], UINT64_MAX);
		cr_assert_eq(quoit_pollset_poll(g.set, r, 8), 0);
	}
	cr_assert_eq(test_put(g.p[2], 1), 0);
	cr_expect_eq(quoit_pollset_poll(g.set, r, 8), 1);
	gang_close(&g);
}

Test(pollset_wake, wakers_survive_what_a_row_may_say)
{
	static const uint32_t bits[] = {2, 3, 1024, 1025, 65536, 65537, UINT32_MAX};
	struct gang g;
	struct quoit_ready r;
	struct quoit__row *row;

	gang_open(&g, 2, QUOIT_SPSC);
	row = &g.ring[0].q->rows[1];
	for (unsigned i = 0; i < TEST_COUNT(bits); i++) {
		for (int strange = 0; strange < 2; strange++) {
			uint64_t id = atomic_load(&row->set[0]);

			settle(g.set);
			atomic_store(&row->set_bit, bits[i]);
			if (strange)
				atomic_store(&row->set[0], UINT64_C(0x0123456789abcdef));
			cr_assert_eq(test_put(g.p[0], 1), 0);
			cr_expect_eq(wait_for(g.set, &r, 1, BOUND_MS), 1, "the nap finds it");
			cr_expect_eq(empty_and_done(g.set, &r), 1);
			atomic_store(&row->set_bit, 1);
			atomic_store(&row->set[0], id);
		}
	}
	gang_close(&g);
}
