/* SPDX-License-Identifier: MIT */
/*
 * The eventcount between processes, with every waiting backend: announcing, waking, sleeping,
 * deaths at the worst moments, signals. What races does tests/stress/wakeup.c.
 */
#include "unit/sync_support.h"

#include <sys/time.h>

TestSuite(eventcount, .init = set_up, .fini = tear_down, .timeout = 60);
TestSuite(sleep, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- announce and wake ---------------------------------------------------------------------- */

Test(eventcount, begins_with_nobody_announced)
{
	uint32_t called = 77;

	cr_assert_not(sync_announced(atomic_load(&shared->word)));
	cr_assert_not(sync_wake(&event, 1, &called));
	cr_assert_eq(called, 0);
	cr_assert_eq(atomic_load(&shared->word), 1);
}

Test(eventcount, announcing_makes_the_halves_equal_and_sets_the_backends_bit)
{
	cr_assert_eq(sync_announce(&event, SYNC_FUTEX), 1);
	cr_assert_eq(atomic_load(&shared->word), announced_at(1));
	cr_assert_eq(sync_announce(&event, SYNC_SEM), 1);
	cr_assert_eq(atomic_load(&shared->word), announced_at(1));
	cr_assert_eq(atomic_load(&shared->backends), 1u << SYNC_FUTEX | 1u << SYNC_SEM);
}

Test(eventcount, a_wake_bumps_the_sequence_once)
{
	uint32_t called = 0;

	sync_announce(&event, SYNC_FUTEX);
	cr_assert_not(sync_wake(&event, 1, &called));
	cr_assert_eq(called, 1);
	cr_assert_eq(atomic_load(&shared->word), UINT64_C(1) << 32 | 2);
	cr_assert_not(sync_wake(&event, 1, &called));
	cr_assert_eq(called, 0);
	cr_assert_eq(sequence(), 2);
}

Test(eventcount, wake_tells_whether_an_eventfd_sleeper_may_be_there)
{
	uint32_t called;

	sync_announce(&event, SYNC_EVENTFD);
	cr_assert(sync_wake(&event, 1, &called));
	sync_announce(&event, SYNC_FUTEX);
	cr_assert(sync_wake(&event, 1, &called), "the bit stays");
}

Test(eventcount, an_announcement_for_spinning_makes_the_other_side_look)
{
	uint32_t called = 77;

	sync_announce(&event, SYNC_SPIN);
	cr_assert(sync_announced(atomic_load(&shared->word)));
	cr_assert_not(sync_wake(&event, 1, &called));
	cr_assert_eq(called, 0);
}

Test(eventcount, the_sequence_wraps_around_without_touching_the_other_half)
{
	uint32_t called;

	atomic_store(&shared->word, UINT64_C(0xfffffffc) << 32 | 0xfffffffd);
	for (uint32_t seq = 0xfffffffd; seq != 3; seq++) {
		cr_assert_not(sync_announced(atomic_load(&shared->word)));
		cr_assert_eq(sync_announce(&event, SYNC_FUTEX), seq);
		cr_assert_eq(atomic_load(&shared->word), announced_at(seq));
		sync_wake(&event, 1, &called);
		cr_assert_eq(atomic_load(&shared->word), (uint64_t)seq << 32 | (uint32_t)(seq + 1));
	}
}

Test(eventcount, one_wake_wakes_all_whatever_they_sleep_on)
{
	static const enum sync_backend mixed[SLEEPERS] = {SYNC_FUTEX,   SYNC_SEM,    SYNC_SYSVSEM,
							  SYNC_EVENTFD, SYNC_FUTEX,  SYNC_SEM,
							  SYNC_SYSVSEM, SYNC_EVENTFD};
	pid_t pids[SLEEPERS];

	for (uint32_t i = 0; i < SLEEPERS; i++)
		pids[i] = start_sleeper(mixed[i], i);
	await_sleepers(SLEEPERS);
	atomic_store(&shared->published, 1);
	cr_assert(wake(SLEEPERS));
	for (int i = 0; i < SLEEPERS; i++)
		cr_assert_eq(exit_status(pids[i]), 0, "sleeper %d", i);
}

/* ---- every backend that sleeps -------------------------------------------------------------- */

EACH_BACKEND(ends_when_another_process_wakes)
{
	pid_t pid = start_sleeper(*backend, 3);

	await_sleepers(1);
	atomic_store(&shared->published, 1);
	cr_assert(wake(1));
	cr_assert_eq(exit_status(pid), 0);
}

EACH_BACKEND(ends_also_when_the_sequence_wraps)
{
	pid_t pid;

	atomic_store(&shared->word, UINT64_C(0xfffffffe) << 32 | 0xffffffff);
	pid = start_sleeper(*backend, 3);
	await_sleepers(1);
	atomic_store(&shared->published, 1);
	cr_assert(wake(1));
	cr_assert_eq(sequence(), 0);
	cr_assert_eq(exit_status(pid), 0);
}

EACH_BACKEND(does_not_begin_after_the_wake)
{
	struct sync_pollable *p = make_pollable(*backend, 3);
	uint32_t seq = sync_announce(&event, *backend);
	int64_t start = now_ns();

	cr_assert(wake(1));
	cr_assert_eq(sync_sleep(&event, *backend, seq, LONG_NAP, p), 0);
	cr_assert_lt(now_ns() - start, LONG_NAP / 2);
	sync_pollable_free(p);
}

EACH_BACKEND(ends_with_its_nap)
{
	struct sync_pollable *p = make_pollable(*backend, 3);
	uint32_t seq = sync_announce(&event, *backend);
	int64_t start = now_ns(), took;

	cr_assert_eq(sync_sleep(&event, *backend, seq, SHORT_NAP, p), -ETIMEDOUT);
	took = now_ns() - start;
	cr_assert_geq(took, SHORT_NAP);
	cr_assert_lt(took, LONG_NAP / 2);
	cr_assert_eq(sync_sleep(&event, *backend, seq, 0, p), -ETIMEDOUT);
	cr_assert_eq(sync_sleep(&event, *backend, seq, -1, p), -ETIMEDOUT);
	sync_pollable_free(p);
}

static void on_alarm(int signo)
{
	(void)signo;
}

EACH_BACKEND(ends_with_a_signal_even_where_calls_are_restarted)
{
	struct sync_pollable *p = make_pollable(*backend, 3);
	struct itimerval soon = {.it_value = {.tv_usec = 50000}};

	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = flags};
		uint32_t seq = sync_announce(&event, *backend);

		cr_assert_eq(sigaction(SIGALRM, &sa, NULL), 0);
		cr_assert_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
		cr_assert_eq(sync_sleep(&event, *backend, seq, LONG_NAP, p), -EINTR);
	}
	sync_pollable_free(p);
}

/* What a waker does that is killed between its bump and its wake. */
static void bump_only(uint32_t seq)
{
	uint64_t word = announced_at(seq);

	cr_assert(atomic_compare_exchange_strong(&shared->word, &word,
						 (uint64_t)seq << 32 | (uint32_t)(seq + 1)));
}

EACH_BACKEND(is_bounded_by_its_nap_when_the_waker_was_killed_before_waking)
{
	struct sync_pollable *p = make_pollable(*backend, 3);
	uint32_t seq = sync_announce(&event, *backend);
	int64_t start = now_ns();
	pid_t waker = fork();
	int r;

	cr_assert_geq(waker, 0);
	if (waker == 0) {
		usleep(30000);
		bump_only(seq);
		raise(SIGKILL);
	}
	r = sync_sleep(&event, *backend, seq, 4 * SHORT_NAP, p);
	cr_assert(r == -ETIMEDOUT || r == 0);
	cr_assert_lt(now_ns() - start, LONG_NAP / 2);
	cr_assert_eq(exit_status(waker), 128 + SIGKILL);
	/* The bump is seen; and one that came before the sleep does not cost even a nap. */
	cr_assert_eq(sequence(), seq + 1);
	cr_assert_eq(sync_sleep(&event, *backend, seq, LONG_NAP, p), 0);
	/* The next wake works as ever. */
	seq = sync_announce(&event, *backend);
	cr_assert(wake(1));
	cr_assert_eq(sync_sleep(&event, *backend, seq, LONG_NAP, p), 0);
	sync_pollable_free(p);
}

EACH_BACKEND(of_one_who_was_killed_costs_one_wake_and_is_gone)
{
	uint32_t called = 77;
	pid_t pid = start_sleeper(*backend, 3);

	await_sleepers(1);
	kill_and_wait(pid);
	cr_assert(sync_announced(atomic_load(&shared->word)));
	cr_assert(wake(1));
	cr_assert_not(sync_announced(atomic_load(&shared->word)));
	sync_wake(&event, 1, &called);
	cr_assert_eq(called, 0);
	/* Its successor sleeps and is woken. */
	atomic_store(&shared->announced, 0);
	pid = start_sleeper(*backend, 3);
	await_sleepers(1);
	atomic_store(&shared->published, 1);
	cr_assert(wake(1));
	cr_assert_eq(exit_status(pid), 0);
}

EACH_BACKEND(lasts_again_and_again_and_is_woken_every_time)
{
	enum { ROUNDS = 200 };
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct sync_pollable *p = make_pollable(*backend, 3);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < ROUNDS; i++) {
			uint32_t seq = sync_announce(&event, *backend);

			atomic_fetch_add(&shared->announced, 1);
			while (sequence() == seq)
				if (sync_sleep(&event, *backend, seq, LONG_NAP, p) != 0)
					_exit(1);
			if (p != NULL)
				sync_pollable_drain(p);
		}
		_exit(0);
	}
	for (int i = 0; i < ROUNDS; i++) {
		while (atomic_load(&shared->announced) <= i)
			usleep(100);
		cr_assert(wake(1));
	}
	cr_assert_eq(exit_status(pid), 0);
}

Test(sleep, by_spinning_or_yielding_returns_at_once)
{
	cr_assert_eq(sync_sleep(&event, SYNC_SPIN, 1, LONG_NAP, NULL), 0);
	cr_assert_eq(sync_sleep(&event, SYNC_YIELD, 1, LONG_NAP, NULL), 0);
}

Test(sleep, by_a_backend_that_does_not_exist_is_einval)
{
	cr_assert_eq(sync_sleep(&event, (enum sync_backend)0, 1, LONG_NAP, NULL), -EINVAL);
	cr_assert_eq(sync_sleep(&event, (enum sync_backend)7, 1, LONG_NAP, NULL), -EINVAL);
}
