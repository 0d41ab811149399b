/* SPDX-License-Identifier: MIT */
/*
 * The descriptors of endpoints in event loops, beside other descriptors and between processes that
 * share nothing but the ring.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include "support.h"

TestSuite(epoll, .fini = test_cleanup, .timeout = 60);

static bool readable(int fd, int ms)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};

	return poll(&one, 1, ms) == 1 && (one.revents & POLLIN) != 0;
}

Test(epoll, the_descriptor_is_the_endpoints_and_closed_with_it)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	int in, out;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	in = quoit_consumer_fd(rig.c);
	out = quoit_producer_fd(rig.p);
	cr_assert_geq(in, 0);
	cr_assert_geq(out, 0);
	cr_expect_neq(in, out);
	cr_expect_eq(quoit_consumer_fd(rig.c), in, "the same every time");
	cr_expect_eq(quoit_producer_fd(rig.p), out);
	cr_expect_eq(fcntl(in, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	cr_expect_eq(fcntl(out, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	quoit_consumer_close(rig.c);
	cr_expect_eq(fcntl(in, F_GETFD), -1);
	quoit_producer_close(rig.p);
	cr_expect_eq(fcntl(out, F_GETFD), -1);
	rig.c = NULL;
	rig.p = NULL;
	test_rig_close(&rig);
}

Test(epoll, arming_says_whether_to_sleep)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		opt.capacity = 1024;
		opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
		test_rig_open(&rig, QUOIT_SHM, &opt);
		cr_assert_geq(quoit_consumer_fd(rig.c), 0);
		cr_assert_geq(quoit_producer_fd(rig.p), 0);
		cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
		cr_expect_eq(quoit_consumer_arm(rig.c), 0, "empty");
		cr_expect_eq(quoit_producer_arm(rig.p, 8), 1, "room");
		cr_assert_eq(test_put(rig.p, 1), 0);
		cr_expect_eq(quoit_consumer_arm(rig.c), 1, "a record");
		while (test_put(rig.p, 1) == 0)
			;
		cr_expect_eq(quoit_producer_arm(rig.p, 8), 0, "full");
		while (test_take(rig.c, &value) == 1)
			;
		cr_expect_eq(quoit_producer_arm(rig.p, 8), 1, "room again");
		quoit_producer_close(rig.p);
		rig.p = NULL;
		cr_expect_eq(quoit_consumer_arm(rig.c), 1, "the end of the stream is news");
		test_rig_close(&rig);
	}
}

Test(epoll, a_record_makes_an_armed_descriptor_readable)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct test_rig rig;
			uint64_t value;
			int fd;

			test_rig_open(&rig, test_backends[i], &opt);
			fd = quoit_consumer_fd(rig.c);
			for (unsigned round = 0; round < 20; round++) {
				cr_assert_eq(test_take(rig.c, &value), -EAGAIN);
				cr_assert_eq(quoit_consumer_arm(rig.c), 0);
				cr_assert_eq(test_put(rig.p, round), 0);
				cr_assert(readable(fd, 5), "%s %s round %u",
					  quoit_backend_name(test_backends[i]),
					  quoit_kind_name(test_kinds[k]), round);
				cr_assert(readable(fd, 0), "level-triggered");
				cr_assert_eq(test_take(rig.c, &value), 1);
				cr_assert_eq(value, round);
			}
			test_rig_close(&rig);
		}
	}
}

Test(epoll, room_makes_an_armed_descriptor_readable)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;
		int fd;

		opt.capacity = 1024;
		opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
		test_rig_open(&rig, QUOIT_SHM, &opt);
		fd = quoit_producer_fd(rig.p);
		for (unsigned round = 0; round < 20; round++) {
			while (test_put(rig.p, 1) == 0)
				;
			cr_assert_eq(quoit_producer_arm(rig.p, 8), 0);
			while (test_take(rig.c, &value) == 1)
				;
			cr_assert(readable(fd, 5), "%s round %u", quoit_kind_name(test_kinds[k]),
				  round);
		}
		test_rig_close(&rig);
	}
}

struct loop_peer {
	const char *name;
	int pipe;
	uint64_t records;
	bool die;
};

/* Sends records and pipe bytes in turn, with pauses in which the other side falls asleep. */
static int feed(void *arg)
{
	struct loop_peer *peer = arg;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(peer->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	for (uint64_t i = 0; i < peer->records; i++) {
		if (i % 5 == 0)
			test_sleep_ms(2);
		if (i % 7 == 0)
			CHILD_CHECK(write(peer->pipe, "x", 1) == 1);
		CHILD_CHECK(quoit_send(p, &i, 8, 0, NULL) == 0);
	}
	if (peer->die)
		raise(SIGKILL);
	quoit_producer_close(p);
	return 0;
}

struct seen {
	uint64_t records, bytes, waits;
	int last; /* what ended the loop */
};

/* The loop of the header's comment. */
static struct seen run_loop(struct quoit_consumer *c, int pipe)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event of_ring = {.events = EPOLLIN, .data.u32 = 1};
	struct epoll_event of_pipe = {.events = EPOLLIN, .data.u32 = 2};
	struct seen seen = {0};
	uint64_t value;

	MUST(loop >= 0);
	MUST(epoll_ctl(loop, EPOLL_CTL_ADD, quoit_consumer_fd(c), &of_ring) == 0);
	MUST(epoll_ctl(loop, EPOLL_CTL_ADD, pipe, &of_pipe) == 0);
	for (;;) {
		struct epoll_event events[2];
		char bytes[64];
		int n;

		while ((seen.last = test_take(c, &value)) == 1)
			cr_assert_eq(value, seen.records++);
		if (seen.last != -EAGAIN)
			break;
		n = quoit_consumer_arm(c);
		cr_assert_geq(n, 0);
		if (n == 1)
			continue;
		n = epoll_wait(loop, events, 2, 5000);
		cr_assert_gt(n, 0, "nothing for five seconds");
		seen.waits++;
		for (int i = 0; i < n; i++)
			if (events[i].data.u32 == 2)
				seen.bytes += (uint64_t)read(pipe, bytes, sizeof(bytes));
	}
	close(loop);
	return seen;
}

Test(epoll, a_loop_serves_a_ring_beside_a_pipe)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct loop_peer peer = {.records = 500};
			struct quoit_consumer *c;
			struct test_ring r;
			struct seen seen;
			int64_t begin;
			int pair[2];
			pid_t pid;

			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(pipe(pair), 0);
			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			peer.name = r.name;
			peer.pipe = pair[1];
			begin = test_now_ns();
			pid = test_spawn(feed, &peer);
			seen = run_loop(c, pair[0]);
			cr_expect_eq(test_wait(pid), 0);
			cr_expect_eq(seen.last, 0, "%d", seen.last);
			cr_expect_eq(seen.records, 500);
			cr_expect_geq(seen.bytes, 500 / 7);
			cr_expect_geq(seen.waits, 10, "it did sleep");
			/* 100 pauses of 2 ms; woken by naps alone it would take far longer. */
			cr_expect_lt(test_now_ns() - begin, INT64_C(2500000000));
			close(pair[0]);
			close(pair[1]);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(epoll, a_loop_is_told_of_a_death)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct loop_peer peer = {.records = 20, .die = true};
		struct quoit_consumer *c;
		struct test_ring r;
		struct seen seen;
		int pair[2];
		pid_t pid;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(pipe(pair), 0);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		peer.name = r.name;
		peer.pipe = pair[1];
		pid = test_spawn(feed, &peer);
		seen = run_loop(c, pair[0]);
		cr_expect_eq(seen.last, -EOWNERDEAD, "%d", seen.last);
		cr_expect_eq(seen.records, 20);
		cr_expect_eq(test_wait(pid), 128 + SIGKILL);
		close(pair[0]);
		close(pair[1]);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}
