/* SPDX-License-Identifier: MIT */
/*
 * Reservations in an MPMC ring, all ends in one thread: several at a time, committed in any order,
 * stepped over by others, discarded.
 */
#include "mpmc_support.h"

TestSuite(mpmc_reserve, .fini = test_cleanup, .timeout = 30);

Test(mpmc_reserve, sixty_four_reservations_may_be_open_and_no_more)
{
	struct test_rig rig = mpmc_rig(128);
	void *payload[64], *more = NULL;
	uint64_t value;

	for (unsigned i = 0; i < 64; i++) {
		cr_assert_eq(quoit_reserve(rig.p, 8, &payload[i]), 0);
		for (unsigned j = 0; j < i; j++)
			cr_assert_neq(payload[i], payload[j]);
	}
	cr_expect_eq(quoit_reserve(rig.p, 8, &more), -EBUSY);
	cr_expect_null(more);
	for (unsigned i = 0; i < 64; i++)
		commit_number(rig.p, payload[i], i);
	for (unsigned i = 0; i < 64; i++) {
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_assert_eq(value, i);
	}
	cr_expect_eq(quoit_reserve(rig.p, 8, &more), 0);
	test_rig_close(&rig);
}

Test(mpmc_reserve, a_producer_that_commits_in_the_order_of_its_reservations_is_read_in_that_order)
{
	/* Also when others had to step over some of them, one lap or two. */
	struct test_rig rig = mpmc_rig(64);
	struct quoit_producer *other;
	uint64_t seed = 11, value, next = 0;
	void *payload[8];

	cr_assert_eq(quoit_producer_open(rig.r.q, &other), 0);
	for (unsigned round = 0; round < 300; round++) {
		unsigned n = 1 + test_random_below(&seed, 8), first = 0;
		struct timespec soon = quoit_deadline_ms(2000);
		struct quoit_msg msg;

		for (unsigned i = 0; i < n; i++)
			cr_assert_eq(quoit_reserve(rig.p, 8, &payload[i]), 0);
		for (unsigned i = 0; i < 40 * (round % 3); i++) {
			cr_assert_eq(test_put(other, UINT64_MAX), 0);
			cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1);
			cr_assert_eq(value, UINT64_MAX);
			if (first == n || test_random_below(&seed, 16) != 0)
				continue;
			commit_number(rig.p, payload[first++], next);
			cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1);
			cr_assert_eq(value, next++);
		}
		for (unsigned i = first; i < n; i++)
			commit_number(rig.p, payload[i], next + i - first);
		for (unsigned i = first; i < n; i++) {
			cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1);
			cr_assert_eq(value, next++, "round %u", round);
		}
	}
	quoit_producer_close(other);
	test_rig_close(&rig);
}

Test(mpmc_reserve,
     commits_out_of_order_all_arrive_once_and_in_the_order_of_reservation_if_nobody_looked)
{
	struct test_rig rig = mpmc_rig(64);
	uint64_t seed = 12, value;
	void *payload[8];

	for (unsigned round = 0; round < 500; round++) {
		unsigned order[8] = {0, 1, 2, 3, 4, 5, 6, 7}, seen = 0;

		for (unsigned i = 0; i < 8; i++)
			cr_assert_eq(quoit_reserve(rig.p, 8, &payload[i]), 0);
		for (unsigned i = 7; i > 0; i--) {
			unsigned j = test_random_below(&seed, i + 1), swap = order[i];

			order[i] = order[j];
			order[j] = swap;
		}
		for (unsigned i = 0; i < 8; i++) {
			commit_number(rig.p, payload[order[i]], order[i]);
			/* Sometimes a reader comes in between, and finds what it may have. */
			if (round % 4 == 0 && test_take(rig.c, &value) == 1)
				seen |= 1u << value;
		}
		while (seen != 0xff) {
			struct timespec soon = quoit_deadline_ms(5000);
			struct quoit_msg msg;

			cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1, "%x", seen);
			cr_assert_lt(value, 8);
			cr_assert_eq(seen & 1u << value, 0, "twice");
			if (round % 4 != 0)
				cr_assert_eq(seen, (1u << value) - 1, "in order");
			seen |= 1u << value;
		}
		cr_assert_eq(test_take(rig.c, &value), -EAGAIN);
	}
	test_rig_close(&rig);
}

Test(mpmc_reserve, an_open_reservation_holds_nobody_up)
{
	struct test_rig rig = mpmc_rig(16);
	uint64_t slots = test_info(rig.r.q).slots;
	struct quoit_producer *other;
	uint64_t value;
	void *payload;

	cr_assert_eq(quoit_producer_open(rig.r.q, &other), 0);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	for (uint64_t i = 0; i < 10 * slots; i++) {
		struct timespec soon = quoit_deadline_ms(5000);
		struct quoit_msg msg;
		uint64_t number = i;

		cr_assert_eq(quoit_send(other, &number, 8, 0, &soon), 0, "record %d", (int)i);
		cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1, "record %d", (int)i);
		cr_assert_eq(value, i);
	}
	commit_number(rig.p, payload, 777);
	cr_assert_eq(test_take(rig.c, &value), 1, "late, but it comes");
	cr_expect_eq(value, 777);
	cr_expect_eq(test_take(rig.c, &value), -EAGAIN, "once");
	quoit_producer_close(other);
	test_rig_close(&rig);
}

Test(mpmc_reserve, a_stepped_over_reservation_waits_for_room)
{
	struct test_rig rig = mpmc_rig(16);
	uint64_t slots = test_info(rig.r.q).slots;
	struct quoit_producer *other;
	uint64_t value, sent = 0, seen = 0;
	void *payload;
	int result;

	cr_assert_eq(quoit_producer_open(rig.r.q, &other), 0);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	for (uint64_t i = 0; i < 3 * slots; i++) {
		struct timespec soon = quoit_deadline_ms(5000);
		struct quoit_msg msg;

		cr_assert_eq(quoit_send(other, &i, 8, 0, &soon), 0);
		cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1);
	}
	while (test_put(other, sent) == 0)
		sent++;
	value = 999;
	memcpy(payload, &value, 8);
	result = quoit_commit(rig.p, payload, 8, 0);
	cr_assert_eq(result, -EAGAIN, "no room for its new place: %d", result);
	/* Its slot's next ticket comes round once the records before it are taken. */
	while (result == -EAGAIN) {
		cr_assert_eq(test_take(rig.c, &value), 1, "the reservation stays for ever");
		cr_assert_eq(value, seen++);
		result = quoit_commit(rig.p, payload, 8, 0);
	}
	cr_assert_eq(result, 0, "%d", result);
	for (; test_take(rig.c, &value) == 1 && value != 999; seen++)
		cr_assert_eq(value, seen);
	cr_expect_eq(value, 999, "last");
	cr_expect_eq(seen, sent);
	cr_expect_eq(test_take(rig.c, &value), -EAGAIN, "once");
	quoit_producer_close(other);
	test_rig_close(&rig);
}

Test(mpmc_reserve, discarded_reservations_leave_nothing)
{
	struct test_rig rig = mpmc_rig(8);
	uint64_t slots = test_info(rig.r.q).slots, value;
	void *payload[4];

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 4; i++)
			cr_assert_eq(quoit_reserve(rig.p, 8, &payload[i]), 0);
		cr_assert_eq(quoit_discard(rig.p, payload[1]), 0);
		cr_expect_eq(quoit_discard(rig.p, payload[1]), -EINVAL, "twice");
		cr_expect_eq(quoit_commit(rig.p, payload[1], 8, 0), -EINVAL, "it is gone");
		commit_number(rig.p, payload[2], 2);
		cr_assert_eq(quoit_discard(rig.p, payload[0]), 0);
		commit_number(rig.p, payload[3], 3);
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_assert_eq(value, 2);
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_assert_eq(value, 3);
		cr_assert_eq(test_take(rig.c, &value), -EAGAIN);
	}
	for (uint64_t i = 0; i < slots; i++)
		cr_assert_eq(test_put(rig.p, i), 0, "the whole ring is there");
	test_rig_close(&rig);
}

Test(mpmc_reserve, only_ones_own_can_be_committed_discarded_and_advanced_over)
{
	struct test_rig rig = mpmc_rig(8);
	struct quoit_producer *other_p;
	struct quoit_consumer *other_c;
	struct quoit_msg msg, bent;
	char elsewhere[8] = {0};
	void *payload;

	cr_assert_eq(quoit_producer_open(rig.r.q, &other_p), 0);
	cr_assert_eq(quoit_consumer_open(rig.r.q, &other_c), 0);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	cr_expect_eq(quoit_commit(other_p, payload, 8, 0), -EINVAL);
	cr_expect_eq(quoit_discard(other_p, payload), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, elsewhere, 8, 0), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, NULL, 0, 0), -EINVAL);
	cr_expect_eq(quoit_discard(rig.p, NULL), -EINVAL);
	commit_number(rig.p, payload, 1);
	cr_expect_eq(quoit_commit(rig.p, payload, 8, 0), -EINVAL);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_expect_eq(quoit_advance(other_c, &msg), -EINVAL);
	bent = msg;
	bent.data = elsewhere;
	cr_expect_eq(quoit_advance(rig.c, &bent), -EINVAL);
	cr_expect_eq(quoit_advance(rig.c, &msg), 0);
	cr_expect_eq(quoit_advance(rig.c, &msg), -EINVAL, "twice");
	quoit_producer_close(other_p);
	quoit_consumer_close(other_c);
	test_rig_close(&rig);
}
