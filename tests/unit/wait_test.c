/* SPDX-License-Identifier: MIT */
/*
 * Waiting: deadlines, signals, and being woken, for every way to wait, every backend, both kinds
 * and both sides. Naps hide lost wake-ups by waking the sleeper a little later, so the wake-ups are
 * timed.
 */
#include <criterion/criterion.h>
#include <sys/time.h>

#include "support.h"

TestSuite(deadlines, .fini = test_cleanup, .timeout = 60);
TestSuite(wakeups, .fini = test_cleanup, .timeout = 120);
TestSuite(signals, .fini = test_cleanup, .timeout = 60);

static struct test_rig small_rig(enum quoit_backend backend, enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);
	struct test_rig rig;

	opt.capacity = 1024;
	opt.slot_size = kind == QUOIT_MPMC ? 8 : 0;
	test_rig_open(&rig, backend, &opt);
	return rig;
}

static void fill_up(struct quoit_producer *p)
{
	while (test_put(p, 1) == 0)
		;
}

Test(deadlines, nowait_gives_eagain_and_a_passed_one_etimedout)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig = small_rig(QUOIT_MEMFD, test_kinds[k]);
		struct timespec passed = {.tv_sec = 1, .tv_nsec = 5};
		uint64_t value = 0;
		struct quoit_msg msg = {.data = &value, .len = 8};

		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_recv_batch(rig.c, &value, 8, &msg, 1, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_recv_batch(rig.c, &value, 8, &msg, 1, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_consumer_wait(rig.c, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_consumer_wait(rig.c, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_producer_wait(rig.p, 8, QUOIT_NOWAIT), 0);
		cr_expect_eq(quoit_producer_wait(rig.p, 8, &passed), 0);
		cr_expect_eq(msg.len, 8, "outputs stay untouched");
		cr_expect_eq(quoit_send(rig.p, &value, 8, 0, &passed), 0, "there is room");
		fill_up(rig.p);
		cr_expect_eq(quoit_send(rig.p, &value, 8, 0, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_send(rig.p, &value, 8, 0, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_send_batch(rig.p, &msg, 1, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_send_batch(rig.p, &msg, 1, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_producer_wait(rig.p, 8, QUOIT_NOWAIT), -EAGAIN);
		cr_expect_eq(quoit_producer_wait(rig.p, 8, &passed), -ETIMEDOUT);
		cr_expect_eq(quoit_consumer_wait(rig.c, QUOIT_NOWAIT), 0);
		cr_expect_eq(quoit_consumer_wait(rig.c, NULL), 0);
		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &passed), 1, "there is a record");
		test_rig_close(&rig);
	}
}

Test(deadlines, that_are_no_time_are_refused)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig = small_rig(QUOIT_MEMFD, test_kinds[k]);
		struct timespec bad = {.tv_sec = 1, .tv_nsec = 1000000000};
		struct timespec negative = {.tv_sec = 1, .tv_nsec = -1};
		struct quoit_msg msg;
		uint64_t value = 0;

		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &bad), -EINVAL);
		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &negative), -EINVAL);
		fill_up(rig.p);
		cr_expect_eq(quoit_send(rig.p, &value, 8, 0, &bad), -EINVAL);
		cr_expect_eq(quoit_send(rig.p, &value, 8, 0, &negative), -EINVAL);
		test_rig_close(&rig);
	}
}

/* How long a wait of 60 ms took, in ms; it must end with -ETIMEDOUT. */
static int wait_60_ms(struct test_rig *rig, enum quoit_wait wait, bool producer, const char *what)
{
	struct timespec deadline = quoit_deadline_ms(60);
	int64_t begin = test_now_ns();
	struct quoit_msg msg;
	uint64_t value = 0;
	int result;

	if (producer)
		result = quoit_send(rig->p, &value, 8, 0, &deadline);
	else
		result = quoit_recv(rig->c, &value, 8, &msg, &deadline);
	cr_expect_eq(result, -ETIMEDOUT, "%s %s %s: %d", what, quoit_wait_name(wait),
		     producer ? "producer" : "consumer", result);
	return (int)((test_now_ns() - begin) / 1000000);
}

/* Never too early; and not much too late either, unless the machine was busy with others: then it
 * may try again. */
static void expect_kept(struct test_rig *rig, enum quoit_wait wait, bool producer, const char *what)
{
	int took = 0;

	for (unsigned tries = 0; tries < 4; tries++) {
		took = wait_60_ms(rig, wait, producer, what);
		cr_expect_geq(took, 59, "%s %s: %d ms", what, quoit_wait_name(wait), took);
		if (took < 200)
			return;
	}
	cr_expect_lt(took, 200, "%s %s: %d ms", what, quoit_wait_name(wait), took);
}

Test(deadlines, in_the_future_are_kept_by_every_way_to_wait)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct test_rig rig = small_rig(test_backends[i], test_kinds[k]);
			const char *what = quoit_backend_name(test_backends[i]);

			for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
				if (!test_can_wait(test_backends[i], test_waits[w]))
					continue;
				cr_assert_eq(quoit_consumer_set_wait(rig.c, test_waits[w]), 0);
				expect_kept(&rig, test_waits[w], false, what);
			}
			fill_up(rig.p);
			for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
				if (!test_can_wait(test_backends[i], test_waits[w]))
					continue;
				cr_assert_eq(quoit_producer_set_wait(rig.p, test_waits[w]), 0);
				expect_kept(&rig, test_waits[w], true, what);
			}
			test_rig_close(&rig);
		}
	}
}

/* ---- being woken ---------------------------------------------------------------------------- */

#define WAKE_ROUNDS 9

struct sleeper {
	const char *name;
	enum quoit_wait wait;
	bool producer;
	_Atomic int64_t *woken_ns; /* WAKE_ROUNDS of them */
	_Atomic uint32_t *round;   /* waits for this round's event */
};

/* Sleep until a record (room) comes, note the time, again. */
static int sleep_and_note(void *arg)
{
	struct sleeper *s = arg;
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct quoit_msg msg;
	uint64_t value = 0;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(s->name, NULL, &q) == 0);
	if (s->producer) {
		CHILD_CHECK(quoit_producer_open(q, &p) == 0);
		CHILD_CHECK(quoit_producer_set_wait(p, s->wait) == 0);
		fill_up(p);
	} else {
		CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
		CHILD_CHECK(quoit_consumer_set_wait(c, s->wait) == 0);
	}
	for (unsigned i = 0; i < WAKE_ROUNDS; i++) {
		atomic_store(s->round, i + 1);
		if (s->producer) {
			CHILD_CHECK(quoit_send(p, &value, 8, 0, NULL) == 0);
			atomic_store(&s->woken_ns[i], test_now_ns());
			fill_up(p);
		} else {
			CHILD_CHECK(quoit_recv(c, &value, 8, &msg, NULL) == 1);
			atomic_store(&s->woken_ns[i], test_now_ns());
		}
	}
	/* Wait to be killed: closing would end the stream under the waker. */
	for (;;)
		pause();
}

static int compare_ns(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

/* The median time from the event to the sleeper's noting it, ns. */
static int64_t median_wakeup(enum quoit_backend backend, enum quoit_kind kind, enum quoit_wait wait,
			     bool producer)
{
	struct quoit_options opt = test_options(kind);
	struct sleeper s = {.wait = wait, .producer = producer};
	int64_t late[WAKE_ROUNDS];
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct test_ring r;
	uint64_t value;
	void *shared = test_shared(4096);
	pid_t pid;

	opt.wait = wait;
	opt.capacity = 1024;
	opt.slot_size = kind == QUOIT_MPMC ? 8 : 0;
	test_ring_make(&r, backend, &opt);
	s.name = r.name;
	s.round = shared;
	s.woken_ns = (_Atomic int64_t *)((char *)shared + 64);
	if (producer)
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
	else
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
	pid = test_spawn(sleep_and_note, &s);
	for (unsigned i = 0; i < WAKE_ROUNDS; i++) {
		int64_t event;

		cr_assert(test_wait_flag(s.round, i + 1, 5000), "%s %s %s %s: round %u",
			  quoit_backend_name(backend), quoit_kind_name(kind), quoit_wait_name(wait),
			  producer ? "producer" : "consumer", i);
		/* Long enough to be asleep, and not a multiple of a nap. */
		test_sleep_ms(3 + 4 * (i % 3));
		event = test_now_ns();
		if (producer) {
			/* A ring's worth: SPSC consumers publish room in batches. */
			while (test_take(c, &value) == 1)
				;
		} else {
			cr_assert_eq(test_put(p, i), 0);
		}
		for (unsigned t = 0; t < 5000 && atomic_load(&s.woken_ns[i]) == 0; t++)
			test_sleep_ms(1);
		cr_assert_neq(atomic_load(&s.woken_ns[i]), 0, "%s %s %s: never woken",
			      quoit_backend_name(backend), quoit_kind_name(kind),
			      quoit_wait_name(wait));
		late[i] = atomic_load(&s.woken_ns[i]) - event;
	}
	test_kill(pid);
	munmap(shared, 4096);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	test_ring_drop(&r);
	qsort(late, WAKE_ROUNDS, sizeof(late[0]), compare_ns);
	return late[WAKE_ROUNDS / 2];
}

/* A sleeper that only its nap wakes takes 40 ms: it fell asleep 3 to 11 ms before. */
#define WOKEN_NS 15000000

static void expect_woken(enum quoit_backend backend, bool producer)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			int64_t ns = WOKEN_NS;

			/* On a machine that is busy with others it may be late, but not always. */
			for (unsigned tries = 0; tries < 4 && ns >= WOKEN_NS; tries++)
				ns = median_wakeup(backend, test_kinds[k], test_waits[w], producer);
			cr_expect_lt(ns, WOKEN_NS, "%s %s %s: woken after %d us",
				     quoit_backend_name(backend), quoit_kind_name(test_kinds[k]),
				     quoit_wait_name(test_waits[w]), (int)(ns / 1000));
		}
	}
}

Test(wakeups, reach_a_consumer_that_sleeps_on_posix_shared_memory)
{
	expect_woken(QUOIT_SHM, false);
}

Test(wakeups, reach_a_producer_that_sleeps_on_posix_shared_memory)
{
	expect_woken(QUOIT_SHM, true);
}

Test(wakeups, reach_a_consumer_that_sleeps_on_system_v_memory)
{
	expect_woken(QUOIT_SYSV, false);
}

Test(wakeups, reach_a_producer_that_sleeps_on_system_v_memory)
{
	expect_woken(QUOIT_SYSV, true);
}

Test(wakeups, reach_a_consumer_that_sleeps_on_a_file)
{
	expect_woken(QUOIT_FILE, false);
}

Test(wakeups, reach_a_producer_that_sleeps_on_a_file)
{
	expect_woken(QUOIT_FILE, true);
}

Test(wakeups, reach_a_consumer_that_sleeps_on_a_memfd)
{
	expect_woken(QUOIT_MEMFD, false);
}

Test(wakeups, reach_a_producer_that_sleeps_on_a_memfd)
{
	expect_woken(QUOIT_MEMFD, true);
}

struct answerer {
	const char *request, *answer;
	enum quoit_wait wait;
};

static int answer(void *arg)
{
	struct answerer *a = arg;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit *in, *out;
	struct quoit_msg msg;
	uint64_t value;
	int result;

	CHILD_CHECK(quoit_attach(a->request, NULL, &in) == 0);
	CHILD_CHECK(quoit_attach(a->answer, NULL, &out) == 0);
	CHILD_CHECK(quoit_consumer_open(in, &c) == 0);
	CHILD_CHECK(quoit_producer_open(out, &p) == 0);
	CHILD_CHECK(quoit_consumer_set_wait(c, a->wait) == 0);
	while ((result = quoit_recv(c, &value, 8, &msg, NULL)) == 1)
		CHILD_CHECK(test_put(p, value + 1) == 0);
	CHILD_CHECK(result == 0);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	return 0;
}

Test(wakeups, between_sides_that_wait_in_different_ways_are_not_lost)
{
	/* Ping-pong: every message finds the other side asleep or just about to be. */
	for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
		enum quoit_wait wait = test_waits[w];
		enum quoit_wait other = test_waits[(w + 3) % TEST_COUNT(test_waits)];
		struct quoit_options opt = test_options(w & 1 ? QUOIT_MPMC : QUOIT_SPSC);
		struct test_ring request, reply;
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct answerer a;
		int64_t begin;
		pid_t pid;

		test_ring_make(&request, QUOIT_SYSV, &opt);
		opt.wait = wait;
		test_ring_make(&reply, QUOIT_SHM, &opt);
		a = (struct answerer){request.name, reply.name, other};
		pid = test_spawn(answer, &a);
		cr_assert_eq(quoit_producer_open(request.q, &p), 0);
		cr_assert_eq(quoit_consumer_open(reply.q, &c), 0);
		cr_assert_eq(quoit_consumer_set_wait(c, wait), 0);
		begin = test_now_ns();
		for (uint64_t i = 0; i < 1000; i++) {
			struct timespec soon = quoit_deadline_ms(5000);
			struct quoit_msg msg;
			uint64_t value;

			cr_assert_eq(test_put(p, i), 0);
			cr_assert_eq(quoit_recv(c, &value, 8, &msg, &soon), 1, "%s/%s round %d",
				     quoit_wait_name(wait), quoit_wait_name(other), (int)i);
			cr_assert_eq(value, i + 1);
		}
		/* 1000 naps would take 25 s. */
		cr_expect_lt(test_now_ns() - begin, INT64_C(8000000000), "%s/%s",
			     quoit_wait_name(wait), quoit_wait_name(other));
		quoit_producer_close(p);
		cr_expect_eq(test_wait(pid), 0);
		quoit_consumer_close(c);
		test_ring_drop(&request);
		test_ring_drop(&reply);
	}
}

/* ---- signals -------------------------------------------------------------------------------- */

static void on_alarm(int number)
{
	(void)number;
}

static void tick_every_ms(unsigned ms)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {{0, (long)ms * 1000}, {0, (long)ms * 1000}};

	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

static void stop_ticking(void)
{
	struct itimerval none = {0};

	MUST(setitimer(ITIMER_REAL, &none, NULL) == 0);
}

Test(signals, end_a_wait_with_eintr)
{
	static const enum quoit_wait sleeping[] = {QUOIT_WAIT_FUTEX, QUOIT_WAIT_SEM,
						   QUOIT_WAIT_SYSVSEM, QUOIT_WAIT_EVENTFD};

	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct test_rig rig = small_rig(test_backends[i], test_kinds[k]);
			struct quoit_msg msg;
			uint64_t value = 0;

			for (unsigned w = 0; w < TEST_COUNT(sleeping); w++) {
				struct timespec end = quoit_deadline_ms(3000);

				if (!test_can_wait(test_backends[i], sleeping[w]))
					continue;
				cr_assert_eq(quoit_consumer_set_wait(rig.c, sleeping[w]), 0);
				tick_every_ms(20);
				cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &end), -EINTR, "%s",
					     quoit_wait_name(sleeping[w]));
				stop_ticking();
			}
			fill_up(rig.p);
			for (unsigned w = 0; w < TEST_COUNT(sleeping); w++) {
				struct timespec end = quoit_deadline_ms(3000);

				if (!test_can_wait(test_backends[i], sleeping[w]))
					continue;
				cr_assert_eq(quoit_producer_set_wait(rig.p, sleeping[w]), 0);
				tick_every_ms(20);
				cr_expect_eq(quoit_send(rig.p, &value, 8, 0, &end), -EINTR, "%s",
					     quoit_wait_name(sleeping[w]));
				stop_ticking();
			}
			test_rig_close(&rig);
		}
	}
}

Test(signals, leave_the_endpoint_usable)
{
	for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
		struct test_rig rig = small_rig(QUOIT_SYSV, QUOIT_SPSC);
		unsigned interrupted = 0, done = 0;
		struct quoit_msg msg;
		uint64_t value;

		cr_assert_eq(quoit_consumer_set_wait(rig.c, test_waits[w]), 0);
		tick_every_ms(1);
		while (done < 100) {
			struct timespec soon = quoit_deadline_ms(2);
			int result = quoit_recv(rig.c, &value, 8, &msg, &soon);

			interrupted += result == -EINTR;
			if (result == -ETIMEDOUT || result == -EINTR) {
				cr_assert_eq(test_put(rig.p, done), 0);
				result = quoit_recv(rig.c, &value, 8, &msg, NULL);
			}
			if (result == -EINTR)
				result = quoit_recv(rig.c, &value, 8, &msg, QUOIT_NOWAIT);
			cr_assert_eq(result, 1);
			cr_assert_eq(value, done++);
		}
		stop_ticking();
		if (test_waits[w] >= QUOIT_WAIT_FUTEX)
			cr_expect_gt(interrupted, 0, "%s", quoit_wait_name(test_waits[w]));
		test_rig_close(&rig);
	}
}
