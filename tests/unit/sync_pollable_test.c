/* SPDX-License-Identifier: MIT */
/*
 * Pollable descriptors between processes that share nothing but the ring's id: wakes in an epoll
 * loop, successors, one holder at a time, the nap timer.
 */
#include "unit/sync_pollable_support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

TestSuite(pollable, .init = set_up, .fini = tear_down, .timeout = 60);

/* ---- waking --------------------------------------------------------------------------------- */

Test(pollable, is_not_readable_until_woken_and_after_a_drain)
{
	struct sync_pollable *p = endpoint(1), *w = waker();

	cr_assert_not(readable(p, 0));
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		cr_assert(readable(p, 0));
		cr_assert_eq(sync_pollable_wait(p, LONG_MS * INT64_C(1000000)), 0);
		sync_pollable_drain(p);
		cr_assert_not(readable(p, 0));
		cr_assert_eq(sync_pollable_wait(p, 1000000), -ETIMEDOUT);
	}
	let_go(w);
	let_go(p);
}

Test(pollable, gives_its_eventfd_to_a_waker_that_asked_before)
{
	struct sync_pollable *p = endpoint(1), *w = waker();
	int before = open_descriptors();

	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert_eq(open_descriptors(), before);
	sync_pollable_drain(p);
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert_eq(open_descriptors(), before + 1, "the eventfd has come");
	for (int i = 0; i < 20; i++) {
		sync_pollable_drain(p);
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		cr_assert(readable(p, 0));
	}
	cr_assert_eq(open_descriptors(), before + 1, "and once only");
	sync_pollable_forget(w, 1);
	cr_assert_eq(open_descriptors(), before);
	sync_pollable_drain(p);
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0), "by datagram again");
}

/* An event loop with a pipe beside the pollable; it is through when each has been ready three
 * times. */
static void event_loop(void)
{
	struct sync_pollable *p = endpoint(1);
	int epoll = epoll_create1(0), other[2], seen[2] = {0};
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0};

	if (pipe(other) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, sync_pollable_fd(p), &event) != 0)
		_exit(1);
	event.data.u32 = 1;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, other[0], &event) != 0)
		_exit(2);
	while (seen[0] < 3 || seen[1] < 3) {
		char c;

		atomic_fetch_add(step, 1);
		if (epoll_wait(epoll, &event, 1, LONG_MS) != 1)
			_exit(3);
		seen[event.data.u32]++;
		if (event.data.u32 == 1) {
			if (read(other[0], &c, 1) != 1)
				_exit(4);
		} else {
			sync_pollable_drain(p);
			if (seen[1] < 3 && write(other[1], "x", 1) != 1)
				_exit(5);
		}
	}
}

Test(pollable, serves_an_event_loop_of_an_unrelated_process)
{
	pid_t pid = start(event_loop);
	struct sync_pollable *w;

	await_step(1);
	w = waker();
	for (int i = 0; i < 3; i++) {
		await_step(1 + 2 * i);
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	}
	cr_assert_eq(exit_status(pid), 0);
}

Test(pollable, wakes_in_both_directions_between_two_endpoints)
{
	struct sync_pollable *a = endpoint(1), *b = endpoint(2);

	for (int i = 0; i < 5; i++) {
		cr_assert_eq(sync_pollable_wake(a, 2, 7), 0);
		cr_assert(readable(b, 0));
		sync_pollable_drain(b);
		cr_assert_eq(sync_pollable_wake(b, 1, 7), 0);
		cr_assert(readable(a, 0));
		sync_pollable_drain(a);
	}
}

Test(pollable, keeps_its_own_wake_while_it_wakes_another)
{
	struct sync_pollable *a = endpoint(1), *b = endpoint(2), *w = waker();

	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	/* Looks for an answer of b among the datagrams, and finds the one that woke a. */
	cr_assert_eq(sync_pollable_wake(a, 2, 7), 0);
	cr_assert(readable(a, 0));
	cr_assert(readable(b, 0));
}

Test(pollable, wakes_the_successor_of_a_holder_that_was_killed)
{
	pid_t first = start(hold_row_1), second;
	struct sync_pollable *w = waker();

	await_step(1);
	for (int i = 0; i < 3; i++) { /* so that its eventfd is known */
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		await_step(2 + i);
	}
	kill_and_wait(first);
	cr_assert_eq(sync_pollable_wake(w, 1, 8), -ECONNREFUSED);
	atomic_store(step, 0);
	second = start(hold_row_1);
	await_step(1);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(sync_pollable_wake(w, 1, 8), 0);
		await_step(2 + i);
	}
	kill_and_wait(second);
}

Test(pollable, of_a_row_that_nobody_holds_is_econnrefused_to_wakers)
{
	struct sync_pollable *w = waker();

	cr_assert_eq(sync_pollable_wake(w, 1, 7), -ECONNREFUSED);
	cr_assert_eq(sync_pollable_wake(w, ROWS, 7), -EINVAL);
	cr_assert_eq(sync_pollable_fd(w), -1);
	cr_assert_eq(sync_pollable_arm(w, 1), -EINVAL);
	cr_assert_eq(sync_pollable_wait(w, 1), -EINVAL);
}

/* ---- one holder at a time ------------------------------------------------------------------- */

Test(pollable, has_one_holder_per_row)
{
	struct sync_pollable *p = endpoint(1), *second = NULL;
	int before = open_descriptors();

	cr_assert_eq(sync_pollable_new(uuid, 1, ROWS, &second), -EADDRINUSE);
	cr_assert_null(second);
	cr_assert_eq(open_descriptors(), before);
	let_go(p);
	second = endpoint(1);
	let_go(second);
	sync_pollable_free(NULL);
}

Test(pollable, waits_for_a_dying_holder_to_let_go)
{
	pid_t holder = start(hold_row_1), killer;

	await_step(1);
	killer = fork();
	cr_assert_geq(killer, 0);
	if (killer == 0) {
		usleep(50000);
		_exit(kill(holder, SIGKILL));
	}
	let_go(endpoint(1));
	cr_assert_eq(exit_status(killer), 0);
	cr_assert_eq(exit_status(holder), 128 + SIGKILL);
}

Test(pollable, goes_on_after_a_child_freed_its_copy)
{
	struct sync_pollable *p = endpoint(1), *w = waker();
	pid_t pid;

	cr_assert_eq(sync_pollable_arm(p, 300 * 1000000), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		sync_pollable_free(p);
		_exit(0);
	}
	cr_assert_eq(exit_status(pid), 0);
	cr_assert(readable(p, LONG_MS), "the timer goes on");
	sync_pollable_drain(p);
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0));
}

Test(pollable, has_descriptors_that_do_not_survive_exec)
{
	bool known[256];
	int found = 0;

	for (int fd = 0; fd < 256; fd++)
		known[fd] = fcntl(fd, F_GETFD) >= 0;
	struct sync_pollable *p = endpoint(1), *w = waker();

	sync_pollable_wake(w, 1, 7);
	sync_pollable_drain(p);
	sync_pollable_wake(w, 1, 7);
	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (known[fd] || flags < 0)
			continue;
		found++;
		cr_assert_eq(flags, FD_CLOEXEC, "descriptor %d", fd);
	}
	cr_assert_eq(found, 6, "epoll, eventfd, timer, two sockets, a copy of the eventfd");
}

/* ---- the nap timer -------------------------------------------------------------------------- */

#define NAP_NS 20000000

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whether the nap was over too early could be seen: not if we came to look after its end. */
static bool nap_once(struct sync_pollable *p)
{
	int64_t begin = now_ns();
	bool early, in_time;

	cr_assert_eq(sync_pollable_arm(p, NAP_NS), 0);
	early = readable(p, 1);
	in_time = now_ns() - begin < NAP_NS;
	cr_assert_not(early && in_time);
	cr_assert(readable(p, LONG_MS));
	cr_assert_geq(now_ns() - begin, NAP_NS);
	sync_pollable_drain(p);
	cr_assert_not(readable(p, 40), "it does not run on");
	return in_time;
}

Test(pollable, becomes_readable_when_its_nap_ends)
{
	struct sync_pollable *p = endpoint(1);
	unsigned seen = 0;

	for (int i = 0; i < 30 && seen < 3; i++)
		seen += nap_once(p);
	cr_assert_gt(seen, 0, "the machine is too busy to see anything");
	cr_assert_eq(sync_pollable_arm(p, 0), 0);
	cr_assert(readable(p, LONG_MS), "a nap that is over already");
}

Test(pollable, has_no_timer_running_after_a_drain)
{
	struct sync_pollable *p = endpoint(1), *w = waker();

	cr_assert_eq(sync_pollable_arm(p, 50 * 1000000), 0);
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0));
	sync_pollable_drain(p);
	cr_assert_not(readable(p, 100));
}
