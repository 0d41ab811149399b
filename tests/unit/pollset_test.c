/* SPDX-License-Identifier: MIT */
/*
 * Pollsets in one process: what is ready and what is not, who holds it, in which turn, members that
 * come and go, and every error.
 */
#include "unit/pollset_support.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>

TestSuite(pollset, .fini = test_cleanup, .timeout = 60);

static int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	cr_assert_not_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

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

/* ---- coming and going ----------------------------------------------------------------------- */

Test(pollset, needs_no_more_descriptors_for_more_members)
{
	struct gang g = {0};
	struct quoit_consumer *c[50];
	int before;

	for (g.n = 0; g.n < 50; g.n++)
		c[g.n] = gang_ring(&g, QUOIT_SHM, QUOIT_SPSC);
	before = open_descriptors();
	cr_assert_eq(quoit_pollset_create(NULL, &g.set), 0);
	for (unsigned i = 0; i < g.n; i++)
		cr_assert_eq(quoit_pollset_add_consumer(g.set, c[i], NULL, NULL), 0);
	settle(g.set);
	cr_expect_leq(open_descriptors() - before, 5);
	quoit_pollset_destroy(g.set);
	cr_expect_lt(open_descriptors(), before, "members are closed with the set");
	g.set = NULL;
	gang_close(&g);
}

Test(pollset, a_removed_member_is_closed_at_once_or_when_it_is_given_back)
{
	struct gang g;
	struct quoit_ready r;
	struct quoit_consumer *c;

	gang_open(&g, 2, QUOIT_SPSC);
	cr_assert_eq(quoit_pollset_remove(g.set, g.m[0]), 0);
	cr_expect_eq(test_stats(g.ring[0].q).consumers, 0);
	cr_assert_eq(test_put(g.p[1], 1), 0);
	cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
	cr_assert_eq(quoit_pollset_remove(g.set, g.m[1]), 0);
	cr_expect_eq(test_stats(g.ring[1].q).consumers, 1, "held");
	cr_expect_eq(quoit_pollset_count(g.set), 0);
	cr_assert_eq(quoit_pollset_done(g.set, &r), 0);
	cr_expect_eq(test_stats(g.ring[1].q).consumers, 0);
	cr_expect_eq(quoit_pollset_poll(g.set, &r, 1), 0);
	/* Its place is free for another. */
	MUST(quoit_consumer_open(g.ring[1].q, &c) == 0);
	cr_assert_eq(quoit_pollset_add_consumer(g.set, c, NULL, NULL), 0);
	cr_expect_eq(quoit_pollset_poll(g.set, &r, 1), 1, "the record is delivered again");
	gang_close(&g);
}

Test(pollset, a_member_outlives_the_handle_of_its_ring)
{
	struct gang g;
	struct quoit_ready r;

	gang_open(&g, 1, QUOIT_SPSC);
	quoit_detach(g.ring[0].q);
	g.ring[0].q = NULL;
	cr_assert_eq(test_put(g.p[0], 1), 0);
	cr_assert_eq(quoit_pollset_poll(g.set, &r, 1), 1);
	cr_expect_eq(empty_and_done(g.set, &r), 1);
	quoit_producer_close(g.p[0]);
	g.p[0] = NULL;
	cr_assert_eq(quoit_pollset_remove(g.set, g.m[0]), 0);
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

/* ---- errors --------------------------------------------------------------------------------- */

Test(pollset, create_refuses_what_it_cannot_do)
{
	struct quoit_pollset_options opt = {.size = sizeof(opt)};
	struct quoit_pollset *set = NULL;
	struct {
		struct quoit_pollset_options known;
		uint32_t more;
	} newer = {.known.size = sizeof(newer)};

	cr_expect_eq(quoit_pollset_create(&opt, NULL), -EINVAL);
	opt.size = 0;
	cr_expect_eq(quoit_pollset_create(&opt, &set), -EINVAL);
	opt.size = sizeof(opt);
	opt.members = QUOIT_POLLSET_MEMBERS_MAX + 1;
	cr_expect_eq(quoit_pollset_create(&opt, &set), -EINVAL);
	newer.more = 1;
	cr_expect_eq(quoit_pollset_create(&newer.known, &set), -E2BIG);
	cr_expect_null(set);
	newer.more = 0;
	cr_expect_eq(quoit_pollset_create(&newer.known, &set), 0);
	quoit_pollset_destroy(set);
	quoit_pollset_destroy(NULL);
}

Test(pollset, create_without_descriptors_leaves_none)
{
	struct quoit_pollset *set = NULL;
	struct rlimit limit;
	int before = open_descriptors(), unused = dup(0);

	close(unused);
	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	for (rlim_t more = 0; more < 5; more++) {
		limit.rlim_cur = (rlim_t)unused + more;
		MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		cr_expect_eq(quoit_pollset_create(NULL, &set), -EMFILE);
		cr_expect_null(set);
	}
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	cr_expect_eq(open_descriptors(), before);
}

Test(pollset, add_refuses_what_it_cannot_take)
{
	struct quoit_pollset_options opt = {.size = sizeof(opt), .members = 2};
	struct quoit_pollset *small;
	struct quoit_consumer *c;
	struct quoit_producer *p;
	struct quoit_msg msg;
	struct gang g;

	gang_open(&g, 3, QUOIT_MPMC);
	cr_assert_eq(quoit_pollset_create(&opt, &small), 0);
	cr_expect_eq(quoit_pollset_add_consumer(NULL, NULL, NULL, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_add_consumer(small, NULL, NULL, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_add_producer(small, NULL, 0, NULL, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_add_producer(small, g.p[0], 65, NULL, NULL), -EMSGSIZE);
	for (int i = 0; i < 2; i++) {
		MUST(quoit_consumer_open(g.ring[i].q, &c) == 0);
		cr_expect_eq(quoit_pollset_add_consumer(small, c, NULL, NULL), 0);
		cr_expect_eq(quoit_pollset_add_consumer(small, c, NULL, NULL), -EBUSY);
		cr_expect_eq(quoit_pollset_add_consumer(g.set, c, NULL, NULL), -EBUSY);
	}
	MUST(quoit_consumer_open(g.ring[2].q, &c) == 0);
	MUST(quoit_producer_open(g.ring[2].q, &p) == 0);
	cr_expect_eq(quoit_pollset_add_consumer(small, c, NULL, NULL), -ENOSPC);
	MUST(quoit_remove(g.ring[2].made) == 0);
	cr_assert_eq(quoit_peek(c, &msg), -EIDRM);
	cr_expect_eq(quoit_pollset_add_consumer(g.set, c, NULL, NULL), -EIDRM);
	quoit_consumer_close(c);
	quoit_producer_close(p);
	quoit_pollset_destroy(small);
	gang_close(&g);
}

Test(pollset, calls_with_bad_parameters_are_refused)
{
	struct quoit_ready r = {0};
	struct gang g, other;

	gang_open(&g, 1, QUOIT_SPSC);
	gang_open(&other, 1, QUOIT_SPSC);
	cr_expect_eq(quoit_pollset_poll(NULL, &r, 1), -EINVAL);
	cr_expect_eq(quoit_pollset_poll(g.set, NULL, 1), -EINVAL);
	cr_expect_eq(quoit_pollset_poll(g.set, &r, 0), -EINVAL);
	cr_expect_eq(quoit_pollset_poll(g.set, &r, QUOIT_BATCH_MAX + 1), -EINVAL);
	cr_expect_eq(quoit_pollset_wait(g.set, &r, 0, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_wait(g.set, &r, 1, &(struct timespec){.tv_nsec = -1}), -EINVAL);
	cr_expect_eq(quoit_pollset_wait(g.set, &r, 1, QUOIT_NOWAIT), -EAGAIN);
	cr_expect_eq(wait_for(g.set, &r, 1, 1), -ETIMEDOUT);
	cr_expect_eq(quoit_pollset_done(g.set, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_done(g.set, &r), -EINVAL);
	r.member = g.m[0];
	cr_expect_eq(quoit_pollset_done(g.set, &r), -EINVAL, "not held");
	cr_expect_eq(quoit_pollset_remove(g.set, NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_remove(other.set, g.m[0]), -EINVAL, "another set's");
	cr_expect_eq(quoit_pollset_fd(NULL), -EINVAL);
	cr_expect_eq(quoit_pollset_arm(NULL), -EINVAL);
	gang_close(&g);
	gang_close(&other);
}

static int in_a_child(void *arg)
{
	struct gang *g = arg;
	struct quoit_ready r = {.member = g->m[0]};
	struct gang own;

	CHILD_CHECK(quoit_pollset_poll(g->set, &r, 1) == -EBADF);
	CHILD_CHECK(quoit_pollset_wait(g->set, &r, 1, NULL) == -EBADF);
	CHILD_CHECK(quoit_pollset_done(g->set, &r) == -EBADF);
	CHILD_CHECK(quoit_pollset_remove(g->set, g->m[0]) == -EBADF);
	CHILD_CHECK(quoit_pollset_add_consumer(g->set, NULL, NULL, NULL) == -EBADF);
	CHILD_CHECK(quoit_pollset_fd(g->set) == -EBADF);
	CHILD_CHECK(quoit_pollset_arm(g->set) == -EBADF);
	quoit_pollset_destroy(g->set);
	/* It may have one of its own. */
	gang_open(&own, 2, QUOIT_SPSC);
	CHILD_CHECK(test_put(own.p[1], 1) == 0);
	CHILD_CHECK(quoit_pollset_poll(own.set, &r, 1) == 1);
	CHILD_CHECK(quoit_pollset_remove(own.set, own.m[0]) == 0);
	gang_close(&own);
	return 0;
}

Test(pollset, does_not_survive_a_fork_and_the_parents_does_not_notice)
{
	struct gang g;
	struct quoit_ready r;

	gang_open(&g, 2, QUOIT_SPSC);
	settle(g.set);
	cr_assert_eq(test_wait(test_spawn(in_a_child, &g)), 0);
	cr_assert_eq(test_put(g.p[1], 1), 0);
	cr_assert_eq(wait_for(g.set, &r, 1, 5000), 1);
	cr_expect_eq(empty_and_done(g.set, &r), 1);
	gang_close(&g);
}
