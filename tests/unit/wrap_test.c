/* SPDX-License-Identifier: MIT */
/*
 * Laps: records at every offset of the ring, and positions, tickets and turns that run through
 * their ends. One random mixture of all calls is held against a plain queue, from many starts.
 */
#include <criterion/criterion.h>

#include "support.h"

TestSuite(wrap, .fini = test_cleanup, .timeout = 60);

/* ---- a reference queue ---------------------------------------------------------------------- */

#define QUEUE_MAX 1024u

struct queue {
	uint64_t first,
		next; /* sequence numbers; a record's length is queue.len[seq % QUEUE_MAX] */
	uint32_t len[QUEUE_MAX];
};

struct mixture {
	struct test_rig rig;
	struct queue queue;
	uint64_t seed;
	uint32_t max; /* longest payload to use */
};

static uint32_t random_len(struct mixture *m)
{
	switch (test_random_below(&m->seed, 4)) {
	case 0:
		return TEST_RECORD_MIN;
	case 1:
		return TEST_RECORD_MIN + test_random_below(&m->seed, m->max - TEST_RECORD_MIN + 1);
	default:
		return TEST_RECORD_MIN + test_random_below(&m->seed, (m->max + 7) / 8);
	}
}

static void put_in(struct queue *q, uint32_t len)
{
	cr_assert_lt(q->next - q->first, QUEUE_MAX);
	q->len[q->next++ % QUEUE_MAX] = len;
}

static void take_out(struct queue *q, const struct quoit_msg *msg)
{
	uint32_t producer;
	uint64_t seq;

	cr_assert_neq(q->first, q->next, "a record out of nowhere");
	cr_assert(test_record_check(msg->data, msg->len, msg->type, &producer, &seq),
		  "record %llu is damaged", (unsigned long long)q->first);
	cr_assert_eq(seq, q->first);
	cr_assert_eq(msg->len, q->len[seq % QUEUE_MAX]);
	q->first++;
}

static void produce_one(struct mixture *m)
{
	unsigned char buf[4096];
	uint32_t len = random_len(m), type;
	void *payload;
	int result;

	if (test_random_below(&m->seed, 2) == 0) {
		type = test_record_fill(buf, len, 1, m->queue.next);
		result = quoit_send(m->rig.p, buf, len, type, QUOIT_NOWAIT);
		cr_assert(result == 0 || result == -EAGAIN, "%d", result);
		if (result == 0)
			put_in(&m->queue, len);
		return;
	}
	result = quoit_reserve(m->rig.p, m->max, &payload);
	cr_assert(result == 0 || result == -EAGAIN, "%d", result);
	if (result != 0)
		return;
	type = test_record_fill(payload, len, 1, m->queue.next);
	if (test_random_below(&m->seed, 8) == 0) {
		cr_assert_eq(quoit_discard(m->rig.p, payload), 0);
		return;
	}
	cr_assert_eq(quoit_commit(m->rig.p, payload, len, type), 0);
	put_in(&m->queue, len);
}

static void produce_batch(struct mixture *m)
{
	static unsigned char buf[8][4096];
	struct quoit_msg msgs[8];
	unsigned n = 1 + test_random_below(&m->seed, 8);
	int result;

	for (unsigned i = 0; i < n; i++) {
		msgs[i].data = buf[i];
		msgs[i].len = random_len(m);
		msgs[i].type = test_record_fill(buf[i], msgs[i].len, 1, m->queue.next + i);
	}
	result = quoit_send_batch(m->rig.p, msgs, n, QUOIT_NOWAIT);
	cr_assert(result == -EAGAIN || (result > 0 && result <= (int)n), "%d", result);
	for (int i = 0; i < result; i++)
		put_in(&m->queue, msgs[i].len);
}

static void consume_one(struct mixture *m)
{
	_Alignas(8) unsigned char buf[4096];
	struct quoit_msg msg;
	int result;

	if (test_random_below(&m->seed, 2) == 0) {
		result = quoit_recv(m->rig.c, buf, sizeof(buf), &msg, QUOIT_NOWAIT);
	} else {
		result = quoit_peek(m->rig.c, &msg);
	}
	if (m->queue.first == m->queue.next) {
		cr_assert_eq(result, -EAGAIN, "%d", result);
		return;
	}
	cr_assert_eq(result, 1, "%d", result);
	take_out(&m->queue, &msg);
	if (msg.data != buf)
		cr_assert_eq(quoit_advance(m->rig.c, &msg), 0);
}

static void consume_batch(struct mixture *m)
{
	_Alignas(8) static unsigned char buf[16384];
	struct quoit_msg msgs[16];
	unsigned n = 1 + test_random_below(&m->seed, 16);
	uint64_t there = m->queue.next - m->queue.first;
	int result;

	if (test_random_below(&m->seed, 2) == 0) {
		result = quoit_recv_batch(m->rig.c, buf, sizeof(buf), msgs, n, QUOIT_NOWAIT);
		for (int i = 0; i < result; i++)
			take_out(&m->queue, &msgs[i]);
	} else {
		result = quoit_peek_batch(m->rig.c, msgs, n);
		for (int i = 0; i < result; i++)
			take_out(&m->queue, &msgs[i]);
		if (result > 0)
			cr_assert_eq(quoit_advance_batch(m->rig.c, msgs, (unsigned)result), 0);
	}
	if (there == 0)
		cr_assert_eq(result, -EAGAIN, "%d", result);
	else
		cr_assert(result > 0 && result <= (int)n, "%d", result);
}

/* A successor resumes exactly where its predecessor left off. */
static void reopen(struct mixture *m)
{
	if (test_random_below(&m->seed, 2) == 0) {
		quoit_producer_close(m->rig.p);
		cr_assert_eq(quoit_producer_open(m->rig.r.q, &m->rig.p), 0);
	} else {
		quoit_consumer_close(m->rig.c);
		cr_assert_eq(quoit_consumer_open(m->rig.r.q, &m->rig.c), 0);
	}
}

static void run_mixture(struct mixture *m, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		/* Long swings between empty and full. */
		bool filling = (i / 64) & 1;

		switch (test_random_below(&m->seed, 8)) {
		case 0:
			produce_batch(m);
			break;
		case 1:
			consume_batch(m);
			break;
		case 2:
			if (test_random_below(&m->seed, 8) == 0)
				reopen(m);
			break;
		default:
			if (filling)
				produce_one(m);
			else
				consume_one(m);
			break;
		}
	}
	while (m->queue.first != m->queue.next)
		consume_one(m);
	consume_one(m);
}

static void run_from(enum quoit_kind kind, uint64_t capacity, uint32_t slot_size, uint64_t start,
		     unsigned steps)
{
	struct quoit_options opt = test_options(kind);
	struct mixture m = {.seed = start + capacity};

	opt.flags = QUOIT_PERSISTENT;
	opt.capacity = capacity;
	opt.slot_size = kind == QUOIT_MPMC ? slot_size : 0;
	opt.start = start;
	test_rig_open(&m.rig, QUOIT_MEMFD, &opt);
	m.max = m.rig.r.max_record < 300 ? m.rig.r.max_record : 300;
	run_mixture(&m, steps);
	test_rig_close(&m.rig);
}

Test(wrap, spsc_carries_on_from_every_start_through_the_ends_of_32_and_64_bits)
{
	static const uint64_t starts[] = {0,
					  8,
					  1016,
					  (UINT64_C(1) << 32) - 8,
					  (UINT64_C(1) << 32) - 1024,
					  (UINT64_C(1) << 32) - 8 * 1024,
					  (UINT64_C(1) << 63) - 8,
					  (UINT64_C(1) << 63) - 1024,
					  -UINT64_C(8),
					  -UINT64_C(1024),
					  -UINT64_C(1032),
					  -UINT64_C(8192),
					  -UINT64_C(65536)};

	for (unsigned i = 0; i < TEST_COUNT(starts); i++) {
		run_from(QUOIT_SPSC, 1024, 0, starts[i], 20000);
		run_from(QUOIT_SPSC, 8192, 0, starts[i], 20000);
	}
}

/* How many slots a ring of these options gets. */
static uint64_t slots_of(uint64_t capacity, uint32_t slot_size)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct test_ring r;
	uint64_t slots;

	opt.capacity = capacity;
	opt.slot_size = slot_size;
	test_ring_make(&r, QUOIT_MEMFD, &opt);
	slots = test_info(r.q).slots;
	test_ring_drop(&r);
	return slots;
}

Test(wrap, mpmc_carries_on_from_every_start_through_the_ends_of_32_and_64_bits)
{
	for (uint64_t capacity = 1024; capacity <= 16384; capacity *= 4) {
		uint64_t slots = slots_of(capacity, 64);
		const uint64_t starts[] = {0,
					   1,
					   slots - 1,
					   (UINT64_C(1) << 32) - 3,
					   (UINT64_C(1) << 63) - 3,
					   (UINT64_C(1) << 63) - slots,
					   -UINT64_C(1),
					   -UINT64_C(3),
					   -slots,
					   -3 * slots};

		for (unsigned i = 0; i < TEST_COUNT(starts); i++)
			run_from(QUOIT_MPMC, capacity, 64, starts[i], 20000);
	}
}

Test(wrap, mpmc_turns_of_48_bits_run_through_their_end)
{
	static const struct {
		uint64_t capacity;
		uint32_t slot_size;
	} shapes[] = {{1024, 400}, {1024, 8}, {4096, 64}, {65536, 8}};

	for (unsigned s = 0; s < TEST_COUNT(shapes); s++) {
		uint64_t slots = slots_of(shapes[s].capacity, shapes[s].slot_size);
		uint64_t end = slots << 48; /* 0 where it is the end of the tickets too */
		const uint64_t starts[] = {end - 3 * slots,        end - slots,   end - 1, end - 5,
					   (end >> 1) - slots - 3, (end >> 1) - 1};

		for (unsigned i = 0; i < TEST_COUNT(starts); i++)
			run_from(QUOIT_MPMC, shapes[s].capacity, shapes[s].slot_size, starts[i],
				 20000);
	}
}

/* Move an empty ring on by bytes, a multiple of 8. */
static void move_on(struct test_rig *rig, uint64_t bytes)
{
	struct quoit_msg msg;

	for (; bytes != 0; bytes -= 8) {
		cr_assert_eq(quoit_send(rig->p, NULL, 0, 0, QUOIT_NOWAIT), 0);
		cr_assert_eq(quoit_recv(rig->c, NULL, 0, &msg, QUOIT_NOWAIT), 1);
	}
}

Test(wrap, spsc_takes_a_record_of_any_length_at_any_offset_when_empty)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	unsigned char buf[1024];
	struct test_rig rig;

	opt.capacity = 1024;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (uint32_t len = 0; len <= rig.r.max_record; len += 1 + len / 16) {
		for (unsigned offset = 0; offset < 128; offset++) {
			struct quoit_msg msg;
			uint64_t before = test_stats(rig.r.q).tail, moved;
			void *payload;

			memset(buf, (int)len + 1, len);
			cr_assert_eq(quoit_send(rig.p, buf, len, len, QUOIT_NOWAIT), 0,
				     "%u bytes at %d", len, (int)(before & 1023));
			cr_assert_eq(quoit_recv(rig.c, buf, len, &msg, QUOIT_NOWAIT), 1);
			cr_assert_eq(msg.len, len);
			for (uint32_t i = 0; i < len; i++)
				cr_assert_eq(buf[i], (unsigned char)(len + 1));
			cr_assert_eq(quoit_reserve(rig.p, len, &payload), 0);
			cr_assert_eq(quoit_discard(rig.p, payload), 0);
			moved = test_stats(rig.r.q).tail - before;
			cr_assert_eq(moved % 8, 0);
			/* One step of 8 further than this time: every offset is met. */
			move_on(&rig, (8 - moved) & 1023);
		}
	}
	test_rig_close(&rig);
}

Test(wrap, the_longest_record_goes_in_place_at_every_offset)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;

	opt.capacity = 2048;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (unsigned round = 0; round < 256; round++) {
		uint32_t max = rig.r.max_record, type, producer;
		struct quoit_msg msg;
		uint64_t seq;
		void *payload;

		cr_assert_eq(quoit_reserve(rig.p, max, &payload), 0, "round %u", round);
		type = test_record_fill(payload, max, 5, round);
		cr_assert_eq(quoit_commit(rig.p, payload, max, type), 0);
		cr_assert_eq(quoit_peek(rig.c, &msg), 1);
		cr_assert(test_record_check(msg.data, msg.len, msg.type, &producer, &seq));
		cr_assert_eq(seq, round);
		cr_assert_eq(quoit_advance(rig.c, &msg), 0);
		move_on(&rig, 8);
	}
	test_rig_close(&rig);
}

Test(wrap, a_small_commit_of_a_large_reservation_at_the_edge_wastes_no_record)
{
	/* The reservation had to skip to the start of the ring; the record is small. */
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	uint64_t value, next = 0;

	opt.capacity = 1024;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (uint64_t round = 0; round < 5000; round++) {
		void *payload;

		cr_assert_eq(quoit_reserve(rig.p, rig.r.max_record, &payload), 0);
		if (round % 3 == 0) {
			cr_assert_eq(quoit_discard(rig.p, payload), 0);
			cr_assert_eq(test_take(rig.c, &value), -EAGAIN);
			cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
		}
		memcpy(payload, &next, 8);
		cr_assert_eq(quoit_commit(rig.p, payload, 8, 0), 0);
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_assert_eq(value, next++);
	}
	test_rig_close(&rig);
}

Test(wrap, used_and_lag_stay_sane_across_the_end_of_64_bits)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct quoit_stats stats;
		struct test_rig rig;
		uint64_t value;

		opt.capacity = 4096;
		opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
		opt.start = -UINT64_C(16);
		test_rig_open(&rig, QUOIT_MEMFD, &opt);
		for (uint64_t i = 0; i < 20; i++)
			cr_assert_eq(test_put(rig.p, i), 0);
		stats = test_stats(rig.r.q);
		cr_expect_eq(stats.tail - stats.head, stats.used);
		cr_expect_eq(stats.used, test_kinds[k] == QUOIT_MPMC ? 20 : 20 * 16);
		for (uint64_t i = 0; i < 20; i++)
			cr_assert_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(test_stats(rig.r.q).used, 0);
		test_rig_close(&rig);
	}
}
