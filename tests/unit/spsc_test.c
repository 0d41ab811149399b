/* SPDX-License-Identifier: MIT */
/*
 * Records through an SPSC ring, both ends in one thread: in place and copying, of every size, and
 * every error that a wrong call gives. Batches are in spsc_batch_test.c; what needs laps is in
 * wrap_test.c.
 */
#include "spsc_support.h"

TestSuite(spsc, .fini = test_cleanup, .timeout = 30);

Test(spsc, a_record_carries_its_bytes_length_and_type_in_place)
{
	struct test_rig rig = spsc_rig(4096);
	struct quoit_msg msg;
	void *payload;

	cr_assert_eq(quoit_reserve(rig.p, 100, &payload), 0);
	cr_expect_eq((uintptr_t)payload % 8, 0);
	memset(payload, 'a', 100);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN, "a reservation is not seen");
	cr_assert_eq(quoit_commit(rig.p, payload, 100, 0xdeadbeef), 0);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_expect_eq(msg.len, 100);
	cr_expect_eq(msg.type, 0xdeadbeef);
	cr_expect_eq((uintptr_t)msg.data % 8, 0);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(((char *)msg.data)[i], 'a');
	cr_expect_eq(quoit_advance(rig.c, &msg), 0);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN);
	test_rig_close(&rig);
}

Test(spsc, less_may_be_committed_than_was_reserved)
{
	struct test_rig rig = spsc_rig(4096);
	struct quoit_msg msg;
	uint64_t value;
	void *payload;

	for (uint32_t len = 0; len <= 64; len++) {
		cr_assert_eq(quoit_reserve(rig.p, 64, &payload), 0);
		memset(payload, (int)len, len);
		cr_assert_eq(quoit_commit(rig.p, payload, len, len), 0);
		cr_assert_eq(test_put(rig.p, 12345), 0, "a neighbour behind it");
		cr_assert_eq(quoit_peek(rig.c, &msg), 1);
		cr_expect_eq(msg.len, len);
		cr_expect_eq(msg.type, len);
		cr_expect_eq(quoit_advance(rig.c, &msg), 0);
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(value, 12345);
	}
	test_rig_close(&rig);
}

Test(spsc, more_than_was_reserved_cannot_be_committed)
{
	struct test_rig rig = spsc_rig(4096);
	struct quoit_msg msg;
	void *payload;

	cr_assert_eq(quoit_reserve(rig.p, 64, &payload), 0);
	cr_expect_eq(quoit_commit(rig.p, payload, 128, 0), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, payload, UINT32_MAX, 0), -EINVAL);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN);
	cr_expect_eq(quoit_commit(rig.p, payload, 64, 0), 0, "the reservation is still there");
	test_rig_close(&rig);
}

Test(spsc, only_what_is_reserved_can_be_committed_or_discarded)
{
	struct test_rig rig = spsc_rig(4096);
	char elsewhere[64];
	struct quoit_msg msg;
	void *payload;

	cr_expect_eq(quoit_commit(rig.p, elsewhere, 8, 0), -EINVAL);
	cr_expect_eq(quoit_discard(rig.p, elsewhere), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, NULL, 8, 0), -EINVAL);
	cr_expect_eq(quoit_discard(rig.p, NULL), -EINVAL);
	cr_assert_eq(quoit_reserve(rig.p, 64, &payload), 0);
	cr_expect_eq(quoit_commit(rig.p, elsewhere, 8, 0), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, (char *)payload + 8, 8, 0), -EINVAL);
	cr_expect_eq(quoit_commit(rig.p, payload, 64, 0), 0);
	cr_expect_eq(quoit_commit(rig.p, payload, 64, 0), -EINVAL, "a second time");
	cr_expect_eq(quoit_discard(rig.p, payload), -EINVAL);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_assert_eq(quoit_advance(rig.c, &msg), 0);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN, "one record, not more");
	test_rig_close(&rig);
}

Test(spsc, a_discarded_reservation_leaves_nothing)
{
	struct test_rig rig = spsc_rig(4096);
	void *payload, *again;
	struct quoit_msg msg;
	uint64_t value;

	for (unsigned i = 0; i < 1000; i++) {
		cr_assert_eq(quoit_reserve(rig.p, 500, &payload), 0);
		memset(payload, 0xff, 500);
		cr_assert_eq(quoit_discard(rig.p, payload), 0);
	}
	cr_expect_eq(quoit_commit(rig.p, payload, 8, 0), -EINVAL, "it is gone");
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN);
	cr_assert_eq(quoit_reserve(rig.p, 8, &again), 0);
	cr_expect_eq(again, payload, "the same room again");
	cr_assert_eq(quoit_discard(rig.p, again), 0);
	cr_assert_eq(test_put(rig.p, 6), 0);
	cr_expect_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(value, 6);
	test_rig_close(&rig);
}

Test(spsc, a_second_reservation_replaces_the_first)
{
	struct test_rig rig = spsc_rig(4096);
	void *first, *second;
	struct quoit_msg msg;

	cr_assert_eq(quoit_reserve(rig.p, 16, &first), 0);
	memset(first, 0xff, 16);
	cr_assert_eq(quoit_reserve(rig.p, 1000, &second), 0);
	memset(second, 'b', 1000);
	cr_assert_eq(quoit_commit(rig.p, second, 1000, 2), 0);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_expect_eq(msg.len, 1000);
	cr_expect_eq(msg.type, 2);
	cr_expect_eq(((char *)msg.data)[0], 'b');
	cr_assert_eq(quoit_advance(rig.c, &msg), 0);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN);
	test_rig_close(&rig);
}

Test(spsc, records_of_every_length_up_to_the_longest_go_through_every_call)
{
	struct test_rig rig = spsc_rig(4096);
	uint32_t max = rig.r.max_record;
	unsigned char *in = malloc(max), *out = malloc(max);

	MUST(in != NULL && out != NULL);
	cr_expect_geq(max, 1024, "a quarter of the ring at the least");
	for (uint32_t i = 0; i < max; i++)
		in[i] = (unsigned char)(i * 7);
	for (uint32_t len = 0; len <= max; len++) {
		struct quoit_msg msg = {0};

		cr_assert_eq(quoit_send(rig.p, in, len, len, QUOIT_NOWAIT), 0, "%u bytes", len);
		memset(out, 0xee, max);
		cr_assert_eq(quoit_recv(rig.c, out, len, &msg, QUOIT_NOWAIT), 1);
		cr_assert_eq(msg.len, len);
		cr_assert_eq(msg.type, len);
		cr_assert_eq(msg.data, out);
		cr_assert_eq(memcmp(in, out, len), 0);
		if (len < max)
			cr_assert_eq(out[len], 0xee, "not a byte more");
	}
	free(in);
	free(out);
	test_rig_close(&rig);
}

Test(spsc, a_record_longer_than_the_longest_gives_emsgsize)
{
	struct test_rig rig = spsc_rig(4096);
	uint32_t max = rig.r.max_record;
	char *buf = calloc(1, (size_t)max + 1);
	struct quoit_msg msg = {.data = buf, .len = max + 1};
	void *payload = NULL;

	MUST(buf != NULL);
	cr_expect_eq(quoit_reserve(rig.p, max + 1, &payload), -EMSGSIZE);
	cr_expect_eq(quoit_reserve(rig.p, UINT32_MAX, &payload), -EMSGSIZE);
	cr_expect_eq(quoit_reserve(rig.p, UINT32_MAX - 15, &payload), -EMSGSIZE);
	cr_expect_null(payload, "outputs stay untouched");
	cr_expect_eq(quoit_send(rig.p, buf, max + 1, 0, QUOIT_NOWAIT), -EMSGSIZE);
	cr_expect_eq(quoit_send(rig.p, buf, max + 1, 0, NULL), -EMSGSIZE, "and does not wait");
	cr_expect_eq(quoit_send_batch(rig.p, &msg, 1, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_producer_wait(rig.p, max + 1, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_peek(rig.c, &msg), -EAGAIN);
	free(buf);
	test_rig_close(&rig);
}

Test(spsc, empty_records_need_no_buffer)
{
	struct test_rig rig = spsc_rig(1024);
	struct quoit_msg msg;

	for (uint32_t i = 0; i < 1000; i++) {
		cr_assert_eq(quoit_send(rig.p, NULL, 0, i, QUOIT_NOWAIT), 0);
		cr_assert_eq(quoit_recv(rig.c, NULL, 0, &msg, QUOIT_NOWAIT), 1);
		cr_assert_eq(msg.len, 0);
		cr_assert_eq(msg.type, i);
	}
	test_rig_close(&rig);
}

Test(spsc, reserve_returns_eagain_when_full_and_room_comes_back)
{
	struct test_rig rig = spsc_rig(4096);
	uint64_t sent = 0, value;
	void *payload = NULL;
	int result;

	while ((result = test_put(rig.p, sent)) == 0)
		sent++;
	cr_expect_eq(result, -EAGAIN);
	cr_expect_eq(quoit_reserve(rig.p, 8, &payload), -EAGAIN);
	cr_expect_null(payload);
	cr_expect_geq(sent, 4096 / 16 - 2, "16 bytes a record: %d", (int)sent);
	cr_expect_leq(sent, 4096 / 16);
	for (uint64_t i = 0; i < sent; i++) {
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_assert_eq(value, i);
	}
	for (uint64_t i = 0; i < sent; i++)
		cr_assert_eq(test_put(rig.p, i), 0, "record %d of the second lap", (int)i);
	test_rig_close(&rig);
}

Test(spsc, room_comes_back_without_the_consumer_finding_the_ring_empty)
{
	/* After each single advance the producer must sooner or later get in: "full" is no state
	 * that only an idle consumer ends. */
	struct test_rig rig = spsc_rig(1024);
	uint64_t value, sent = 0, taken = 0;

	while (test_put(rig.p, sent) == 0)
		sent++;
	for (unsigned round = 0; round < 10000; round++) {
		unsigned took = 0;

		do {
			cr_assert_eq(test_take(rig.c, &value), 1,
				     "the ring is full for the producer and empty here");
			cr_assert_eq(value, taken++);
			took++;
		} while (test_put(rig.p, sent) != 0);
		sent++;
		cr_assert_leq(took, 64);
	}
	test_rig_close(&rig);
}

Test(spsc, peek_gives_the_same_record_until_it_is_advanced_over)
{
	struct test_rig rig = spsc_rig(4096);
	struct quoit_msg a, b, batch[4];

	for (uint64_t i = 0; i < 3; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_peek(rig.c, &a), 1);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(a.data, b.data);
	cr_expect_eq(a.len, b.len);
	cr_expect_eq(a.cookie, b.cookie);
	cr_expect_eq(quoit_peek_batch(rig.c, batch, 4), 3);
	cr_expect_eq(batch[0].data, a.data);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(b.data, a.data);
	cr_expect_eq(quoit_advance(rig.c, &b), 0);
	cr_assert_eq(quoit_peek(rig.c, &b), 1);
	cr_expect_eq(b.data, batch[1].data);
	test_rig_close(&rig);
}

Test(spsc, records_are_advanced_over_oldest_first_and_once)
{
	struct test_rig rig = spsc_rig(4096);
	struct quoit_msg batch[3], made_up;
	char elsewhere[8];
	uint64_t value;

	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_peek_batch(rig.c, batch, 3), 3);
	cr_expect_eq(quoit_advance(rig.c, &batch[1]), -EINVAL, "the second first");
	cr_expect_eq(quoit_advance(rig.c, &batch[0]), 0);
	cr_expect_eq(quoit_advance(rig.c, &batch[0]), -EINVAL, "twice");
	made_up = batch[1];
	made_up.data = elsewhere;
	cr_expect_eq(quoit_advance(rig.c, &made_up), -EINVAL, "not a record");
	cr_expect_eq(quoit_advance(rig.c, &batch[1]), 0);
	cr_expect_eq(quoit_advance(rig.c, &batch[2]), 0);
	cr_expect_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(value, 3);
	cr_expect_eq(quoit_advance(rig.c, &batch[2]), -EINVAL);
	test_rig_close(&rig);
}

Test(spsc, recv_into_too_small_a_buffer_tells_the_length_and_keeps_the_record)
{
	struct test_rig rig = spsc_rig(4096);
	char in[100], out[100];
	struct quoit_msg msg = {0};

	memset(in, 'z', sizeof(in));
	cr_assert_eq(quoit_send(rig.p, in, 100, 9, QUOIT_NOWAIT), 0);
	cr_expect_eq(quoit_recv(rig.c, out, 99, &msg, QUOIT_NOWAIT), -EMSGSIZE);
	cr_expect_eq(msg.len, 100);
	cr_expect_eq(quoit_recv(rig.c, NULL, 0, &msg, NULL), -EMSGSIZE);
	cr_expect_eq(quoit_recv(rig.c, out, 100, &msg, QUOIT_NOWAIT), 1);
	cr_expect_arr_eq(in, out, 100);
	test_rig_close(&rig);
}

Test(spsc, payload_that_looks_like_headers_is_payload)
{
	/* Every word of the old payload that a later header will be written over is made to look
	 * like a header of either lap. */
	static const uint64_t words[] = {UINT64_MAX,
					 UINT64_C(1) << 63,
					 UINT64_C(0x8000000800000000),
					 UINT64_C(0x0000000800000000),
					 UINT64_C(0xc000000000000000),
					 UINT64_C(0x4000000000000000),
					 0};
	struct test_rig rig = spsc_rig(1024);
	uint64_t seed = 7, sent = 0, taken = 0;

	for (unsigned round = 0; round < 200000; round++) {
		uint64_t record[16];
		uint32_t n = 1 + test_random_below(&seed, 15);
		struct quoit_msg msg;
		int result;

		record[0] = sent;
		for (uint32_t i = 1; i < n; i++)
			record[i] = words[(round + i) % TEST_COUNT(words)];
		result = quoit_send(rig.p, record, n * 8, n, QUOIT_NOWAIT);
		cr_assert(result == 0 || result == -EAGAIN);
		sent += result == 0;
		if (test_random_below(&seed, 3) == 0 && result == 0)
			continue;
		while ((result = quoit_peek(rig.c, &msg)) == 1) {
			cr_assert_eq(msg.len, msg.type * 8);
			cr_assert_eq(*(uint64_t *)msg.data, taken);
			taken++;
			cr_assert_eq(quoit_advance(rig.c, &msg), 0);
		}
		cr_assert_eq(result, -EAGAIN);
		cr_assert_eq(sent, taken);
	}
	test_rig_close(&rig);
}

Test(spsc, drain_tells_when_everything_is_taken)
{
	struct test_rig rig = spsc_rig(4096);
	struct timespec passed = {.tv_sec = 1}, soon;
	uint64_t value;

	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), 0, "nothing was sent");
	cr_assert_eq(test_put(rig.p, 1), 0);
	cr_assert_eq(test_put(rig.p, 2), 0);
	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), -EAGAIN);
	cr_expect_eq(quoit_drain(rig.p, &passed), -ETIMEDOUT);
	cr_assert_eq(test_take(rig.c, &value), 1);
	soon = quoit_deadline_ms(20);
	cr_expect_eq(quoit_drain(rig.p, &soon), -ETIMEDOUT);
	cr_assert_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(quoit_drain(rig.p, QUOIT_NOWAIT), 0);
	test_rig_close(&rig);
}

Test(spsc, a_gigabyte_record_limit_is_kept_for_large_rings)
{
	/* Only address space and reserved pages: nothing of it is written. */
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_ring r;

	opt.capacity = 64u << 20;
	test_ring_make(&r, QUOIT_MEMFD, &opt);
	cr_expect_leq(test_info(r.q).max_record, QUOIT_RECORD_MAX);
	cr_expect_geq(test_info(r.q).max_record, (16u << 20));
	test_ring_drop(&r);
}
