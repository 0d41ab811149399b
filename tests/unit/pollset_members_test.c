/* SPDX-License-Identifier: MIT */
/*
 * Pollsets in one process: members that come and go, forks, every error, and peers that write what
 * they like into the ring and onto the board.
 */
#include "unit/pollset_support.h"

#include <dirent.h>
#include <sys/resource.h>

#include "ring/pollset.h"

TestSuite(pollset_members, .fini = test_cleanup, .timeout = 60);

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

/* ---- coming and going ----------------------------------------------------------------------- */

Test(pollset_members, needs_no_more_descriptors_for_more_members)
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

Test(pollset_members, a_removed_member_is_closed_at_once_or_when_it_is_given_back)
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

Test(pollset_members, a_member_outlives_the_handle_of_its_ring)
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

/* ---- errors --------------------------------------------------------------------------------- */

Test(pollset_members, create_refuses_what_it_cannot_do)
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

Test(pollset_members, create_without_descriptors_leaves_none)
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

Test(pollset_members, add_refuses_what_it_cannot_take)
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
	test_forget(g.ring[2].made);
	cr_assert_eq(quoit_peek(c, &msg), -EIDRM);
	cr_expect_eq(quoit_pollset_add_consumer(g.set, c, NULL, NULL), -EIDRM);
	quoit_consumer_close(c);
	quoit_producer_close(p);
	quoit_pollset_destroy(small);
	gang_close(&g);
}

Test(pollset_members, calls_with_bad_parameters_are_refused)
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

Test(pollset_members, does_not_survive_a_fork_and_the_parents_does_not_notice)
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

/* ---- hostile peers -------------------------------------------------------------------------- */

Test(pollset_members, false_bits_on_the_board_are_looked_at_and_found_empty)
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

Test(pollset_members, wakers_survive_what_a_row_may_say)
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
			cr_expect_eq(wait_for(g.set, &r, 1, 1000), 1, "the nap finds it");
			cr_expect_eq(empty_and_done(g.set, &r), 1);
			atomic_store(&row->set_bit, 1);
			atomic_store(&row->set[0], id);
		}
	}
	gang_close(&g);
}
