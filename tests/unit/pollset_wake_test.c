/* SPDX-License-Identifier: MIT */
/*
 * Pollsets and other processes and threads: who is woken, how soon, at what price; many wakers at
 * once, deaths, and wakers that were killed half-way.
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

/* ---- many wakers at once -------------------------------------------------------------------- */

#define CROWD 40 /* hellos: more than a socket holds where nobody has changed Linux's default */

struct crowd {
	struct remote remote;
	bool closes; /* not a record, but the end */
};

/* Has a producer on every ring, and has news for all of them at one blow. */
static int crowd_producer(void *arg)
{
	struct crowd *crowd = arg;
	struct remote *r = &crowd->remote;
	struct quoit_producer *p[CROWD];
	struct quoit *q;

	for (unsigned i = 0; i < CROWD; i++) {
		CHILD_CHECK(quoit_attach(r->g->ring[i].made, NULL, &q) == 0);
		CHILD_CHECK(quoit_producer_open(q, &p[i]) == 0);
		quoit_detach(q);
	}
	atomic_store(r->ready, 1);
	CHILD_CHECK(test_wait_flag(r->go, 1, 30000));
	for (unsigned i = 0; i < CROWD; i++) {
		if (crowd->closes)
			quoit_producer_close(p[i]);
		else
			CHILD_CHECK(test_put(p[i], i) == 0);
	}
	atomic_store(r->ready, 2);
	for (;;)
		pause();
}

static void one_poll_finds_the_whole_crowd(bool closes)
{
	struct quoit_ready r[CROWD];
	struct crowd crowd = {.closes = closes};
	struct gang g;
	pid_t pid;

	crowd.remote = *remote_open(&g, QUOIT_SPSC);
	while (g.n < CROWD)
		gang_join(&g, gang_ring(&g, QUOIT_SHM, QUOIT_SPSC));
	pid = test_spawn(crowd_producer, &crowd);
	cr_assert(test_wait_flag(crowd.remote.ready, 1, 5000));
	settle(g.set);
	cr_assert_eq(quoit_pollset_arm(g.set), 0); /* has just looked at everyone, too */
	atomic_store(crowd.remote.go, 1);
	cr_assert(test_wait_flag(crowd.remote.ready, 2, 5000));
	cr_expect_eq(quoit_pollset_poll(g.set, r, CROWD), CROWD);
	test_kill(pid);
	gang_close(&g);
}

Test(pollset_wake, hellos_that_the_kernel_turned_away_cost_no_nap)
{
	for (int round = 0; round < 4; round++)
		one_poll_finds_the_whole_crowd(round % 2 != 0);
}

Test(pollset_wake, busy_sets_that_a_thread_polls_in_turn_are_all_looked_after)
{
	struct gang g[2];
	struct quoit_ready r;
	int64_t end;
	bool seen[2] = {false, false};

	for (int i = 0; i < 2; i++) {
		gang_open(&g[i], 2, QUOIT_SPSC);
		settle(g[i].set);
		/* The first wakes of a process are hellos, and read when there is time: but ring 0
		 * shall be busy from the start. */
		cr_assert_eq(test_put(g[i].p[1], 1), 0);
		cr_assert_eq(test_put(g[i].p[0], 1), 0);
		atomic_fetch_or(&g[i].set->marked[0], 1);
	}
	end = test_now_ns() + BOUND_MS * INT64_C(1000000);
	while (!(seen[0] && seen[1]) && test_now_ns() < end) {
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(quoit_pollset_poll(g[i].set, &r, 1), 1);
			seen[i] |= gang_number(&g[i], &r) == 1;
			cr_assert_eq(quoit_pollset_done(g[i].set, &r), 0);
		}
	}
	cr_expect(seen[0] && seen[1]);
	gang_close(&g[0]);
	gang_close(&g[1]);
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

struct waiting {
	struct gang *g;
	_Atomic uint32_t inside;
	int64_t late_ns;
};

static void *wait_for_one(void *arg)
{
	struct waiting *w = arg;
	struct quoit_ready r;
	uint64_t sent;

	atomic_store(&w->inside, 1);
	cr_assert_eq(wait_for(w->g->set, &r, 1, 5000), 1);
	cr_assert_eq(test_take(r.consumer, &sent), 1);
	w->late_ns = test_now_ns() - (int64_t)sent;
	cr_assert_eq(quoit_pollset_done(w->g->set, &r), 0);
	return NULL;
}

Test(pollset_wake, a_poll_in_vain_leaves_nothing_unwatched_beside_one_that_sleeps)
{
	struct gang g;
	unsigned soon = 0;

	gang_open(&g, 2, QUOIT_SPSC);
	for (int round = 0; round < 10; round++) {
		struct waiting w = {.g = &g};
		struct quoit_ready r;
		pthread_t thread;

		cr_assert_eq(test_put(g.p[0], 1), 0);
		cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
		MUST(pthread_create(&thread, NULL, wait_for_one, &w) == 0);
		cr_assert(test_wait_flag(&w.inside, 1, 5000));
		test_sleep_ms(5); /* it sleeps by now */
		cr_assert_eq(empty_and_done(g.set, &r), 1);
		cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 0);
		/* We do something else now; and the other's nap has only just begun. */
		test_sleep_ms(1);
		cr_assert_eq(test_put(g.p[0], (uint64_t)test_now_ns()), 0);
		pthread_join(thread, NULL);
		soon += w.late_ns < SOON_NS;
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
