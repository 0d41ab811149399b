/* SPDX-License-Identifier: MIT */
/*
 * Pollsets in one process: what is ready and what is not, who holds it, in which turn; event loops.
 */
#include "unit/pollset_support.h"

#include <fcntl.h>
#include <sys/epoll.h>

TestSuite(pollset, .fini = test_cleanup, .timeout = 60);

/* ---- what is ready -------------------------------------------------------------------------- */

static void ready_when_a_record_comes(enum quoit_kind kind)
{
	struct gang g;
	struct quoit_ready r[4];

	gang_open(&g, 3, kind);
	cr_expect_eq(quoit_pollset_count(g.set), 3);
	for (int settled = 0; settled < 2; settled++) {
		cr_expect_eq(quoit_pollset_poll(g.set, r, 4), 0);
		cr_assert_eq(test_put(g.p[1], 7), 0);
		cr_assert_eq(poll_for(g.set, r, 4, 1000), 1);
		cr_expect_eq(gang_number(&g, &r[0]), 1);
		cr_expect_eq(r[0].member, g.m[1]);
		cr_expect_null(r[0].producer);
		cr_expect_eq(empty_and_done(g.set, &r[0]), 1);
		settle(g.set);
	}
	gang_close(&g);
}

Test(pollset, spsc_member_is_ready_when_a_record_comes)
{
	ready_when_a_record_comes(QUOIT_SPSC);
}

Test(pollset, mpmc_member_is_ready_when_a_record_comes)
{
	ready_when_a_record_comes(QUOIT_MPMC);
}

Test(pollset, takes_every_backend)
{
	struct gang g = {0};
	struct quoit_ready r[8];

	cr_assert_eq(quoit_pollset_create(NULL, &g.set), 0);
	for (unsigned b = 0; b < TEST_COUNT(test_backends); b++) {
		struct quoit_consumer *c = gang_ring(&g, test_backends[b], QUOIT_SPSC);
		struct quoit_producer *p;

		MUST(quoit_producer_open(g.ring[g.n].q, &p) == 0);
		gang_join(&g, c);
		g.p[g.n - 1] = p;
	}
	settle(g.set);
	for (unsigned i = 0; i < g.n; i++)
		cr_assert_eq(test_put(g.p[i], i), 0);
	cr_expect_eq(poll_for(g.set, r, 8, 1000), (int)g.n);
	gang_close(&g);
}

Test(pollset, end_of_stream_and_removal_make_a_member_ready)
{
	struct gang g;
	struct quoit_ready r[4];
	struct quoit_msg msg;

	gang_open(&g, 3, QUOIT_SPSC);
	settle(g.set);
	quoit_producer_close(g.p[0]);
	g.p[0] = NULL;
	cr_assert_eq(wait_for(g.set, r, 4, 5000), 1);
	cr_expect_eq(gang_number(&g, &r[0]), 0);
	cr_expect_eq(quoit_peek(r[0].consumer, &msg), 0);
	cr_assert_eq(quoit_pollset_remove(g.set, r[0].member), 0);
	cr_assert_eq(quoit_pollset_done(g.set, &r[0]), 0);
	cr_expect_eq(quoit_pollset_count(g.set), 2);
	settle(g.set);
	cr_assert_eq(quoit_remove(g.ring[2].made), 0);
	test_forget(g.ring[2].made);
	cr_assert_eq(wait_for(g.set, r, 4, 5000), 1);
	cr_expect_eq(gang_number(&g, &r[0]), 2);
	cr_expect_eq(quoit_peek(r[0].consumer, &msg), -EIDRM);
	cr_assert_eq(quoit_pollset_done(g.set, &r[0]), 0);
	cr_assert_eq(quoit_pollset_poll(g.set, r, 4), 1, "an error stays");
	cr_assert_eq(quoit_pollset_done(g.set, &r[0]), 0);
	cr_assert_eq(quoit_pollset_remove(g.set, g.m[2]), 0);
	settle(g.set);
	gang_close(&g);
}

Test(pollset, a_record_that_came_before_the_member_did_is_seen)
{
	struct gang g = {0};
	struct quoit_ready r;
	struct quoit_consumer *c;
	struct quoit_producer *p;

	cr_assert_eq(quoit_pollset_create(NULL, &g.set), 0);
	c = gang_ring(&g, QUOIT_SHM, QUOIT_SPSC);
	MUST(quoit_producer_open(g.ring[0].q, &p) == 0);
	cr_assert_eq(test_put(p, 1), 0);
	gang_join(&g, c);
	g.p[0] = p;
	cr_expect_eq(quoit_pollset_poll(g.set, &r, 1), 1);
	gang_close(&g);
}

/* ---- producers ------------------------------------------------------------------------------ */

struct sender {
	struct quoit_pollset *set;
	struct test_rig rig;
	struct quoit_member *m;
};

static void sender_open(struct sender *s, enum quoit_kind kind, uint32_t room)
{
	struct quoit_options opt = test_options(kind);

	opt.capacity = 1024;
	opt.slot_size = kind == QUOIT_MPMC ? 64 : 0;
	cr_assert_eq(quoit_pollset_create(NULL, &s->set), 0);
	test_rig_open(&s->rig, QUOIT_SHM, &opt);
	cr_assert_eq(quoit_pollset_add_producer(s->set, s->rig.p, room, s, &s->m), 0);
}

static void sender_close(struct sender *s)
{
	quoit_pollset_destroy(s->set);
	quoit_consumer_close(s->rig.c);
	test_ring_drop(&s->rig.r);
}

static void ready_when_there_is_room(enum quoit_kind kind)
{
	struct sender s;
	struct quoit_ready r;
	uint64_t value;

	sender_open(&s, kind, 8);
	for (int lap = 0; lap < 3; lap++) {
		cr_assert_eq(wait_for(s.set, &r, 1, 5000), 1);
		cr_expect_null(r.consumer);
		cr_expect_eq(r.room, 8);
		while (test_put(r.producer, 1) == 0)
			;
		cr_assert_eq(quoit_pollset_done(s.set, &r), 0);
		settle(s.set);
		while (test_take(s.rig.c, &value) == 1)
			;
	}
	sender_close(&s);
}

Test(pollset, spsc_producer_is_ready_when_there_is_room)
{
	ready_when_there_is_room(QUOIT_SPSC);
}

Test(pollset, mpmc_producer_is_ready_when_there_is_room)
{
	ready_when_there_is_room(QUOIT_MPMC);
}

Test(pollset, a_producer_that_wants_no_room_is_told_when_its_consumers_are_gone)
{
	struct sender s;
	struct quoit_ready r;

	sender_open(&s, QUOIT_SPSC, QUOIT_POLLSET_NO_ROOM);
	settle(s.set);
	quoit_consumer_close(s.rig.c);
	s.rig.c = NULL;
	cr_assert_eq(wait_for(s.set, &r, 1, 5000), 1);
	cr_expect_eq(test_put(r.producer, 1), -EPIPE);
	sender_close(&s);
}

static int read_until_killed(void *arg)
{
	struct sender *s = arg;
	struct quoit_consumer *c;

	CHILD_CHECK(quoit_consumer_open(s->rig.r.q, &c) == 0);
	kill(getpid(), SIGKILL);
	return 0;
}

/* There is room all the time, so no send would ever say so. */
Test(pollset, a_producer_that_wants_no_room_is_told_once_of_its_consumers_death)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct sender s;
		struct quoit_ready r;

		sender_open(&s, test_kinds[k], QUOIT_POLLSET_NO_ROOM);
		quoit_consumer_close(s.rig.c);
		s.rig.c = NULL;
		cr_expect_eq(test_wait(test_spawn(read_until_killed, &s)), 128 + SIGKILL);
		cr_assert_eq(wait_for(s.set, &r, 1, 5000), 1);
		cr_expect_eq(test_put(r.producer, 1), 0);
		cr_expect_eq(quoit_producer_wait(r.producer, QUOIT_POLLSET_NO_ROOM, QUOIT_NOWAIT),
			     -EOWNERDEAD);
		cr_expect_eq(quoit_producer_wait(r.producer, QUOIT_POLLSET_NO_ROOM, QUOIT_NOWAIT),
			     -EAGAIN);
		cr_assert_eq(quoit_pollset_done(s.set, &r), 0);
		settle(s.set);
		sender_close(&s);
	}
}

Test(pollset, room_may_be_changed_while_it_is_held)
{
	struct sender s;
	struct quoit_ready r;

	sender_open(&s, QUOIT_SPSC, 8);
	cr_assert_eq(quoit_pollset_poll(s.set, &r, 1), 1);
	r.room = QUOIT_POLLSET_NO_ROOM;
	cr_assert_eq(quoit_pollset_done(s.set, &r), 0);
	settle(s.set);
	sender_close(&s);
}

/* ---- holding, and turns --------------------------------------------------------------------- */

Test(pollset, a_held_member_is_nobody_elses)
{
	struct gang g;
	struct quoit_ready r, other;

	gang_open(&g, 1, QUOIT_SPSC);
	cr_assert_eq(test_put(g.p[0], 1), 0);
	cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(quoit_pollset_poll(g.set, &other, 1), 0);
	cr_assert_eq(test_put(g.p[0], 2), 0);
	cr_expect_eq(quoit_pollset_poll(g.set, &other, 1), 0);
	cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
	cr_expect_eq(quoit_pollset_poll(g.set, &other, 1), 1, "it still has records");
	cr_expect_eq(quoit_pollset_done(g.set, &other), 0);
	cr_expect_eq(quoit_pollset_done(g.set, &other), -EINVAL, "given back already");
	gang_close(&g);
}

Test(pollset, news_that_come_while_it_is_held_are_not_lost)
{
	struct gang g;
	struct quoit_ready r;
	struct quoit_msg msg;

	gang_open(&g, 1, QUOIT_SPSC);
	settle(g.set);
	cr_assert_eq(test_put(g.p[0], 1), 0);
	cr_assert_eq(poll_for(g.set, &r, 1, 1000), 1);
	/* Closing marks the member at once; somebody polls, and cannot have it. */
	quoit_producer_close(g.p[0]);
	g.p[0] = NULL;
	cr_expect_eq(quoit_pollset_poll(g.set, &(struct quoit_ready){0}, 1), 0);
	cr_expect_eq(empty_and_done(g.set, &r), 1);
	cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
	cr_expect_eq(quoit_peek(r.consumer, &msg), 0, "the end");
	gang_close(&g);
}

Test(pollset, ready_members_come_in_turn)
{
	struct gang g;
	struct quoit_ready r;
	unsigned turns[RINGS_MAX] = {0};

	gang_open(&g, RINGS_MAX, QUOIT_SPSC);
	for (unsigned i = 0; i < g.n; i++)
		for (int k = 0; k < 20; k++)
			cr_assert_eq(test_put(g.p[i], 1), 0);
	for (unsigned lap = 1; lap <= 10; lap++) {
		for (unsigned i = 0; i < g.n; i++) {
			cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
			cr_assert_eq(++turns[gang_number(&g, &r)], lap);
			cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
		}
	}
	gang_close(&g);
}

Test(pollset, a_flooding_ring_lets_every_other_have_its_turn)
{
	struct gang g;
	struct quoit_ready r;
	uint64_t value;

	gang_open(&g, RINGS_MAX, QUOIT_SPSC);
	settle(g.set);
	for (unsigned lap = 0; lap < 200; lap++) {
		unsigned late = 1 + lap % (RINGS_MAX - 1);
		bool seen = false;

		while (test_put(g.p[0], 1) == 0)
			;
		cr_assert_eq(test_put(g.p[late], 2), 0);
		/* The flood may have one turn before it, not two. (The first wake is a hello.) */
		if (lap == 0)
			test_sleep_ms(10);
		for (int turn = 0; turn < 2 && !seen; turn++) {
			cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
			seen = gang_number(&g, &r) == late;
			cr_assert_eq(test_take(r.consumer, &value), 1);
			cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
		}
		cr_assert(seen, "lap %u", lap);
	}
	gang_close(&g);
}

/* ---- event loops ---------------------------------------------------------------------------- */

Test(pollset, its_descriptor_wakes_an_event_loop)
{
	struct gang g;
	struct quoit_ready r;
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(0), fd;

	gang_open(&g, 10, QUOIT_SPSC);
	fd = quoit_pollset_fd(g.set);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
	for (unsigned i = 0; i < 30; i++) {
		cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 0);
		cr_assert_eq(quoit_pollset_arm(g.set), 0);
		cr_assert_eq(epoll_wait(epoll, &event, 1, 0), 0, "it sleeps");
		cr_assert_eq(test_put(g.p[i % 10], i), 0);
		cr_assert_eq(epoll_wait(epoll, &event, 1, 20), 1,
			     "woken, long before the nap ends");
		cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
		cr_assert_eq(gang_number(&g, &r), i % 10);
		cr_assert_eq(empty_and_done(g.set, &r), 1);
		cr_assert_eq(test_put(g.p[3], i), 0);
		cr_assert_eq(quoit_pollset_arm(g.set), 1, "there is something");
		cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
		cr_assert_eq(empty_and_done(g.set, &r), 1);
	}
	cr_assert_eq(quoit_pollset_arm(g.set), 0);
	cr_expect_eq(epoll_wait(epoll, &event, 1, 5000), 1, "the nap ends");
	close(epoll);
	gang_close(&g);
}
