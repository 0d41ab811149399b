/* SPDX-License-Identifier: MIT */
/*
 * Records through an MPMC ring, all ends in one thread: copies, several peeked records at a time,
 * batches, and every error that a wrong call gives. What is reserved and not committed yet is in
 * mpmc_reserve_test.c.
 */
#include "mpmc_support.h"

TestSuite(mpmc, .fini = test_cleanup, .timeout = 30);

Test(mpmc, a_record_carries_its_bytes_length_and_type_in_place)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_msg msg;
	struct test_rig rig;
	void *payload;

	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (uint32_t len = 0; len <= 256; len++) {
		cr_assert_eq(quoit_reserve(rig.p, 256, &payload), 0);
		cr_expect_eq((uintptr_t)payload % 8, 0);
		memset(payload, (int)len, len);
		cr_assert_eq(quoit_peek(rig.c, &msg), -EAGAIN, "a reservation is not seen");
		cr_assert_eq(quoit_commit(rig.p, payload, len, ~len), 0);
		cr_assert_eq(quoit_peek(rig.c, &msg), 1);
		cr_assert_eq(msg.len, len);
		cr_assert_eq(msg.type, ~len);
		cr_expect_eq((uintptr_t)msg.data % 8, 0);
		for (uint32_t i = 0; i < len; i++)
			cr_assert_eq(((unsigned char *)msg.data)[i], (unsigned char)len);
		cr_assert_eq(quoit_advance(rig.c, &msg), 0);
	}
	test_rig_close(&rig);
}

Test(mpmc, records_of_every_length_are_copied_through)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	unsigned char in[100], out[100];
	struct test_rig rig;

	opt.slot_size = 100;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (unsigned i = 0; i < 100; i++)
		in[i] = (unsigned char)(i * 7);
	for (uint32_t len = 0; len <= 100; len++) {
		struct quoit_msg msg = {0};

		cr_assert_eq(quoit_send(rig.p, len == 0 ? NULL : in, len, len, QUOIT_NOWAIT), 0);
		memset(out, 0xee, 100);
		cr_assert_eq(quoit_recv(rig.c, out, len, &msg, QUOIT_NOWAIT), 1);
		cr_assert_eq(msg.len, len);
		cr_assert_eq(msg.type, len);
		cr_assert_eq(msg.data, out);
		cr_assert_eq(memcmp(in, out, len), 0);
		if (len < 100)
			cr_assert_eq(out[len], 0xee, "not a byte more");
	}
	test_rig_close(&rig);
}

Test(mpmc, a_record_longer_than_a_slot_gives_emsgsize)
{
	struct test_rig rig = mpmc_rig(8);
	uint32_t max = rig.r.max_record;
	char buf[64] = {0};
	struct quoit_msg msg = {.data = buf, .len = max + 1};
	void *payload = NULL;

	cr_assert_lt(max, sizeof(buf));
	cr_expect_eq(quoit_reserve(rig.p, max + 1, &payload), -EMSGSIZE);
	cr_expect_eq(quoit_reserve(rig.p, UINT32_MAX, &payload), -EMSGSIZE);
	cr_expect_null(payload);
	cr_expect_eq(quoit_send(rig.p, buf, max + 1, 0, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_send_batch(rig.p, &msg, 1, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_producer_wait(rig.p, max + 1, NULL), -EMSGSIZE);
	cr_assert_eq(quoit_reserve(rig.p, 4, &payload), 0);
	cr_expect_eq(quoit_commit(rig.p, payload, max + 1, 0), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, payload, 4, 0), 0);
	test_rig_close(&rig);
}

Test(mpmc, reserve_returns_eagain_when_every_slot_is_full)
{
	struct test_rig rig = mpmc_rig(8);
	uint64_t slots = test_info(rig.r.q).slots, value;
	void *payload = NULL;

	for (unsigned lap = 0; lap < 5; lap++) {
		for (uint64_t i = 0; i < slots; i++)
			cr_assert_eq(test_put(rig.p, i), 0);
		cr_expect_eq(test_put(rig.p, 0), -EAGAIN);
		cr_expect_eq(quoit_reserve(rig.p, 8, &payload), -EAGAIN);
		cr_expect_null(payload);
		for (uint64_t i = 0; i < slots; i++) {
			cr_assert_eq(test_take(rig.c, &value), 1);
			cr_assert_eq(value, i);
		}
		cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
	}
	test_rig_close(&rig);
}

Test(mpmc, peek_gives_the_same_record_until_it_is_advanced_over)
{
	struct test_rig rig = mpmc_rig(8);
	struct quoit_msg a, b, batch[4];

	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_peek(rig.c, &a), 1);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(a.data, b.data);
	cr_expect_eq(quoit_peek_batch(rig.c, batch, 4), 3);
	cr_expect_eq(batch[0].data, a.data);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(b.data, a.data);
	cr_assert_eq(quoit_advance(rig.c, &b), 0);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(b.data, batch[1].data);
	test_rig_close(&rig);
}

Test(mpmc, peeked_records_are_advanced_over_in_any_order)
{
	struct test_rig rig = mpmc_rig(16);
	struct quoit_msg batch[8];
	uint64_t value;

	for (unsigned round = 0; round < 100; round++) {
		for (uint64_t i = 0; i < 8; i++)
			cr_assert_eq(test_put(rig.p, i), 0);
		cr_assert_eq(quoit_peek_batch(rig.c, batch, 8), 8);
		for (unsigned i = 0; i < 8; i++)
			cr_assert_eq(number(&batch[i]), i);
		for (unsigned i = 0; i < 8; i++) {
			cr_assert_eq(quoit_advance(rig.c, &batch[(i * 3 + round) % 8]), 0);
			if (i < 7)
				cr_assert_eq(quoit_peek(rig.c, &(struct quoit_msg){0}), 1);
		}
		cr_assert_eq(test_take(rig.c, &value), -EAGAIN);
	}
	test_rig_close(&rig);
}

Test(mpmc, consumers_that_look_at_records_do_not_see_each_others)
{
	struct test_rig rig = mpmc_rig(8);
	struct quoit_consumer *other;
	struct quoit_msg mine, theirs;
	uint64_t value;

	cr_assert_eq(quoit_consumer_open(rig.r.q, &other), 0);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_peek(rig.c, &mine), 1);
	cr_assert_eq(quoit_peek(other, &theirs), 1);
	cr_expect_eq(number(&mine), 0);
	cr_expect_eq(number(&theirs), 1);
	cr_assert_eq(quoit_advance(other, &theirs), 0);
	cr_assert_eq(test_take(other, &value), 1);
	cr_expect_eq(value, 2);
	cr_expect_eq(test_take(other, &value), -EAGAIN);
	cr_assert_eq(quoit_advance(rig.c, &mine), 0);
	quoit_consumer_close(other);
	test_rig_close(&rig);
}

Test(mpmc, a_slow_reader_costs_its_slot_and_not_the_ring)
{
	struct test_rig rig = mpmc_rig(16);
	uint64_t slots = test_info(rig.r.q).slots, value;
	struct quoit_consumer *slow;
	struct quoit_msg held[3];

	cr_assert_eq(quoit_consumer_open(rig.r.q, &slow), 0);
	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(test_put(rig.p, 1000 + i), 0);
	cr_assert_eq(quoit_peek_batch(slow, held, 3), 3);
	for (uint64_t i = 0; i < 10 * slots; i++) {
		struct timespec soon = quoit_deadline_ms(5000);
		struct quoit_msg msg;

		cr_assert_eq(quoit_send(rig.p, &i, 8, 0, &soon), 0, "record %d", (int)i);
		cr_assert_eq(quoit_recv(rig.c, &value, 8, &msg, &soon), 1, "record %d", (int)i);
		cr_assert_eq(value, i);
	}
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(number(&held[i]), 1000 + i, "lent memory is not written over");
	cr_expect_eq(quoit_advance_batch(slow, held, 3), 0);
	for (uint64_t i = 0; i < slots; i++)
		cr_assert_eq(test_put(rig.p, i), 0, "all slots are back");
	quoit_consumer_close(slow);
	test_rig_close(&rig);
}

Test(mpmc, batches_are_one_to_256_records_and_go_in_as_far_as_there_is_room)
{
	struct test_rig rig = mpmc_rig(64);
	static struct quoit_msg msgs[QUOIT_BATCH_MAX + 1];
	static uint64_t words[QUOIT_BATCH_MAX + 1];
	static uint64_t buf[QUOIT_BATCH_MAX];
	uint64_t slots = test_info(rig.r.q).slots, next = 0;
	int n;

	cr_assert_lt(slots, QUOIT_BATCH_MAX);
	for (unsigned i = 0; i <= QUOIT_BATCH_MAX; i++) {
		words[i] = i;
		msgs[i] = (struct quoit_msg){.data = &words[i], .len = 8};
	}
	cr_expect_eq(quoit_send_batch(rig.p, msgs, 0, QUOIT_NOWAIT), -EINVAL);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, QUOIT_BATCH_MAX + 1, QUOIT_NOWAIT), -EINVAL);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, QUOIT_BATCH_MAX, QUOIT_NOWAIT), (int)slots);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, 1, QUOIT_NOWAIT), -EAGAIN);
	cr_expect_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 0, QUOIT_NOWAIT), -EINVAL);
	while ((n = quoit_recv_batch(rig.c, buf, 80, msgs, QUOIT_BATCH_MAX, QUOIT_NOWAIT)) > 0) {
		cr_assert_leq(n, 10, "80 bytes take ten records of 8");
		for (int i = 0; i < n; i++)
			cr_assert_eq(number(&msgs[i]), next++);
	}
	cr_expect_eq(n, -EAGAIN);
	cr_expect_eq(next, slots);
	test_rig_close(&rig);
}

Test(mpmc, recv_into_too_small_a_buffer_tells_the_length_and_keeps_the_record)
{
	struct test_rig rig = mpmc_rig(8);
	struct quoit_msg msg = {0};
	uint64_t value = 0;

	cr_assert_eq(test_put(rig.p, 31), 0);
	cr_expect_eq(quoit_recv(rig.c, &value, 7, &msg, QUOIT_NOWAIT), -EMSGSIZE);
	cr_expect_eq(msg.len, 8);
	cr_expect_eq(quoit_recv_batch(rig.c, &value, 7, &msg, 1, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, QUOIT_NOWAIT), 1);
	cr_expect_eq(value, 31);
	test_rig_close(&rig);
}

Test(mpmc, drain_tells_when_every_record_is_taken)
{
	struct test_rig rig = mpmc_rig(8);
	struct quoit_producer *other;
	struct timespec soon;
	uint64_t value;

	cr_assert_eq(quoit_producer_open(rig.r.q, &other), 0);
	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), 0);
	cr_assert_eq(test_put(other, 1), 0);
	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), -EAGAIN, "the ring, not one's own records");
	soon = quoit_deadline_ms(20);
	cr_expect_eq(quoit_drain(rig.p, &soon), -ETIMEDOUT);
	cr_assert_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), 0);
	quoit_producer_close(other);
	test_rig_close(&rig);
}

Test(mpmc, interleaved_producers_keep_their_own_order)
{
	struct test_rig rig = mpmc_rig(64);
	struct quoit_producer *p[4] = {rig.p};
	uint64_t sent[4] = {0}, next[4] = {0}, seed = 3, value;

	for (unsigned i = 1; i < 4; i++)
		cr_assert_eq(quoit_producer_open(rig.r.q, &p[i]), 0);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = test_random_below(&seed, 4);

		if (test_put(p[i], i << 24 | sent[i]) == 0)
			sent[i]++;
		if (test_random_below(&seed, 2) == 0 && test_take(rig.c, &value) == 1)
			cr_assert_eq(value & 0xffffff, next[value >> 24]++);
	}
	while (test_take(rig.c, &value) == 1)
		cr_assert_eq(value & 0xffffff, next[value >> 24]++);
	for (unsigned i = 0; i < 4; i++) {
		cr_expect_eq(next[i], sent[i]);
		if (i > 0)
			quoit_producer_close(p[i]);
	}
	test_rig_close(&rig);
}
