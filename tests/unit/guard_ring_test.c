/* SPDX-License-Identifier: MIT */
/*
 * The SIGBUS guard, of rings and observers whose file is cut off, and of all that is left as it
 * was: other rings, the name, the parent of the process that lost it.
 */
#include <quoit/inspect.h>

#include "guard_support.h"

TestSuite(guard_ring, .fini = test_cleanup, .timeout = 60);

/* ---- rings, observers ------------------------------------------------------------------------ */

static void expect_ring_to_say_so(struct test_ring *r, off_t size, const char *what)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_producer *p;
	struct quoit_consumer *c;

	MUST(quoit_producer_open(r->q, &p) == 0);
	guard_cut(r, size);
	if (size != 0)
		test_put(p, 1); /* finds out, or dies trying */
	if (size <= 4096) {
		cr_expect_eq(quoit_consumer_open(r->q, &c), -EBADMSG, "%s", what);
		cr_expect_eq(quoit_get_stats(r->q, &stats), -EBADMSG, "%s", what);
	}
	quoit_producer_close(p);
}

Test(guard_ring, a_cut_ring_opens_no_endpoint_and_has_no_figures)
{
	cr_assert_eq(quoit_guard(), 0);
	guard_each_cut(expect_ring_to_say_so);
}

/* 1: a record; 0 or -EBADMSG. Records that nobody sent fail. */
static int walk(struct quoit_inspect *v, const char *what)
{
	struct quoit_record record;
	uint64_t missed = 0;
	unsigned seen = 0;
	int result;

	while ((result = quoit_inspect_next(v, &record, &missed)) == 1 && seen++ < 1000)
		cr_expect(record.state != QUOIT_RECORD_READY || record.data == NULL ||
				  (record.len == 8 && *(const uint64_t *)record.data < 50),
			  "%s: %u bytes", what, record.len);
	return result;
}

static void expect_observer_to_say_so(struct test_ring *r, off_t size, const char *what)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_peer peers[4];
	struct quoit_producer *p;
	struct quoit_inspect *v;

	MUST(quoit_producer_open(r->q, &p) == 0);
	for (uint64_t i = 0; i < 50; i++)
		MUST(test_put(p, i) == 0);
	quoit_producer_close(p);
	cr_assert_eq(quoit_inspect_open(r->name, NULL, NULL, &v), 0, "%s", what);
	cr_expect_eq(walk(v, what), 0, "%s", what);
	quoit_inspect_rewind(v);
	guard_cut(r, size);
	if (size == 8192) { /* what is read lies before the end, or not */
		int result = walk(v, what);

		cr_expect(result == 0 || result == -EBADMSG, "%s: %d", what, result);
	} else {
		cr_expect_eq(walk(v, what), -EBADMSG, "%s", what);
		cr_expect_eq(quoit_inspect_stats(v, &stats), -EBADMSG, "%s", what);
		cr_expect_eq(quoit_inspect_peers(v, peers, 4), -EBADMSG, "%s", what);
		cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 1, "%s", what);
	}
	quoit_inspect_close(v);
	cr_expect_eq(quoit_inspect_open(r->name, NULL, NULL, &v), size == 0 ? -EPROTO : 0, "%s",
		     what);
	if (size != 0)
		quoit_inspect_close(v);
}

Test(guard_ring, an_observer_of_a_cut_ring_gets_ebadmsg_and_no_false_record)
{
	cr_assert_eq(quoit_guard(), 0);
	guard_each_cut(expect_observer_to_say_so);
}

Test(guard_ring, an_observer_of_a_cut_copy_gets_ebadmsg)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	char name[QUOIT_NAME_MAX + 16];
	struct quoit_inspect *v;
	struct test_ring r;

	cr_assert_eq(quoit_guard(), 0);
	opt.capacity = UINT64_C(32) << 20; /* larger than what is read into memory at once */
	test_ring_make(&r, QUOIT_FILE, &opt);
	snprintf(name, sizeof(name), "image:%s", r.name + 5);
	cr_assert_eq(quoit_inspect_open(name, NULL, NULL, &v), 0);
	guard_cut(&r, 0);
	cr_expect_eq(walk(v, "image"), -EBADMSG);
	quoit_inspect_close(v);
	guard_drop(&r);
}

/* ---- everything else stays as it was --------------------------------------------------------- */

Test(guard_ring, other_rings_of_the_process_are_left_alone_however_many_there_are)
{
	struct quoit_options opt = guard_options(QUOIT_SPSC);
	struct test_ring lost, r;
	struct quoit *more[100];
	struct quoit_producer *p;

	opt.flags = QUOIT_CREATE_OR_ATTACH;
	test_ring_make(&r, QUOIT_SHM, &opt);
	/* More than the table has room for at first, and the one that is lost comes last. */
	for (unsigned i = 0; i < TEST_COUNT(more); i++)
		cr_assert_eq(quoit_attach(r.name, NULL, &more[i]), 0);
	test_ring_make(&lost, QUOIT_SHM, &opt);
	cr_assert_eq(quoit_guard(), 0);
	cr_assert_eq(quoit_producer_open(lost.q, &p), 0);
	guard_cut(&lost, 0);
	cr_expect(test_put(p, 1) == 0 || test_put(p, 1) == -EBADMSG);
	cr_expect_eq(test_put(p, 1), -EBADMSG);
	for (unsigned i = 0; i < TEST_COUNT(more); i++) {
		cr_expect(test_carries_a_record(more[i]));
		quoit_detach(more[i]);
	}
	quoit_producer_close(p);
	guard_drop(&lost);
	test_ring_drop(&r);
}

Test(guard_ring, the_name_of_a_cut_ring_can_be_removed_and_used_again)
{
	struct quoit_options opt = guard_options(QUOIT_MPMC);
	struct test_ring r;
	struct quoit *q;

	cr_assert_eq(quoit_guard(), 0);
	test_ring_make(&r, QUOIT_SHM, &opt);
	guard_cut(&r, 0);
	cr_expect_eq(quoit_attach(r.name, NULL, &q), -EPROTO);
	cr_expect_eq(quoit_remove(r.name), 0);
	cr_assert_eq(quoit_create(r.name, &opt, &q), 0);
	cr_expect(test_carries_a_record(q));
	quoit_detach(q);
	test_ring_drop(&r);
}

static int lose_a_ring(void *arg)
{
	struct test_ring *r = arg;
	struct quoit_producer *p;

	CHILD_CHECK(quoit_producer_open(r->q, &p) == 0);
	guard_cut(r, 4096);
	CHILD_CHECK(test_put(p, 1) == 0 || test_put(p, 1) == -EBADMSG);
	CHILD_CHECK(test_put(p, 1) == -EBADMSG);
	quoit_producer_close(p);
	return 0;
}

Test(guard_ring, holds_in_a_child_and_zeros_there_are_the_childs_alone)
{
	struct quoit_options opt = guard_options(QUOIT_SPSC);
	struct test_ring r;

	cr_assert_eq(quoit_guard(), 0);
	test_ring_make(&r, QUOIT_SHM, &opt);
	cr_expect_eq(test_wait(test_spawn(lose_a_ring, &r)), 0);
	/* What was not cut off is still shared with us. */
	cr_expect_eq(test_stats(r.q).producers, 1, "its row was never freed");
	guard_drop(&r);
}
