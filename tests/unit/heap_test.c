/* SPDX-License-Identifier: MIT */
/*
 * Records in the heap, both ends in one process: of every size, in place and copying, and when
 * their memory comes back. heap_death_test.c has what is left of the dead, heap_check_test.c
 * damage.
 */
#include "tests/unit/heap_support.h"

TestSuite(heap, .fini = test_cleanup, .timeout = 60);

#define EACH_KIND(kind)                                                                            \
	for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC;                                \
	     kind = (enum quoit_kind)(kind + 1))

Test(heap, carries_records_of_any_size_in_place_and_in_copies)
{
	static const uint32_t sizes[] = {
		8,      9,        63,     64,     65,       300,           2047,
		2048,   2049,     4096,   10000,  65535,    65536,         65537,
		100000, 4 * UNIT, 300000, 555555, 1u << 20, 16 * UNIT - 1, 16 * UNIT};
	unsigned char *buf = malloc(16 * UNIT);

	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 16);
		struct quoit_info info = test_info(rig.r.q);
		struct quoit_msg msg;

		cr_assert_eq(info.max_record, 16 * UNIT);
		cr_assert_eq(info.heap_size, 16 * UNIT);
		for (uint64_t i = 0; i < 8 * TEST_COUNT(sizes); i++) {
			uint32_t len = sizes[i % TEST_COUNT(sizes)], type, producer;
			uint64_t seq;

			if (i % 2 == 0) {
				cr_assert_eq(heap_put(rig.p, len, i), 0, "%u", len);
			} else {
				type = test_record_fill(buf, len, 1, i);
				cr_assert_eq(quoit_send(rig.p, buf, len, type, QUOIT_NOWAIT), 0);
			}
			if (i % 3 == 0) {
				cr_assert_eq(quoit_recv(rig.c, buf, 16 * UNIT, &msg, QUOIT_NOWAIT),
					     1);
				cr_assert(heap_is(&msg, len, i));
				cr_assert_eq(msg.data, buf);
				continue;
			}
			cr_assert_eq(quoit_peek(rig.c, &msg), 1);
			cr_assert_eq(in_heap(rig.r.q, msg.data), len > info.heap_share);
			cr_assert_eq((uintptr_t)msg.data % 8, 0);
			cr_assert(test_record_check(msg.data, msg.len, msg.type, &producer, &seq) &&
				  msg.len == len && seq == i);
			cr_assert_eq(quoit_peek(rig.c, &msg), 1, "the same again");
			cr_assert(heap_is(&msg, len, i));
			cr_assert_eq(quoit_advance(rig.c, &msg), 0);
			cr_assert_neq(quoit_advance(rig.c, &msg), 0, "but once");
		}
		cr_expect_eq(test_stats(rig.r.q).produced.bytes,
			     test_stats(rig.r.q).consumed.bytes);
		test_rig_close(&rig);
	}
	free(buf);
}

Test(heap, less_may_be_committed_than_was_reserved_even_nothing)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 4);
		struct quoit_msg msg;
		void *payload;

		for (uint32_t len = 0; len < 70000; len += 9999) {
			cr_assert_eq(quoit_reserve(rig.p, 100000, &payload), 0);
			cr_assert(in_heap(rig.r.q, payload));
			cr_assert_eq(quoit_commit(rig.p, payload, 100001, 0), -EINVAL);
			cr_assert_eq(quoit_commit(rig.p, payload, len, len), 0);
			cr_assert_eq(quoit_peek(rig.c, &msg), 1);
			cr_expect_eq(msg.len, len);
			cr_expect_eq(msg.type, len);
			cr_expect_eq(msg.data, payload);
			cr_assert_eq(quoit_advance(rig.c, &msg), 0);
		}
		test_rig_close(&rig);
	}
}

Test(heap, records_of_ring_and_heap_come_in_the_order_of_their_commits)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 16);
		uint64_t seed = 7, sent = 0, taken = 0;
		uint32_t len[16];

		while (taken < 20000) {
			uint32_t n =
				8 + test_random_below(&seed, 2) * test_random_below(&seed, 20000);

			if (sent - taken < 16 && test_random_below(&seed, 2) == 0 &&
			    heap_put(rig.p, n, sent) == 0)
				len[sent++ % 16] = n;
			if (taken < sent && test_random_below(&seed, 2) == 0) {
				cr_assert(heap_take(rig.c, len[taken % 16], taken), "%d: %llu",
					  (int)kind, (unsigned long long)taken);
				taken++;
			}
		}
		test_rig_close(&rig);
	}
}

Test(heap, records_longer_than_the_section_are_refused)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 2);
		unsigned char *buf = calloc(1, 2 * UNIT + 1);
		struct quoit_msg msg = {.data = buf, .len = 2 * UNIT + 1};
		void *payload;

		cr_expect_eq(quoit_reserve(rig.p, 2 * UNIT + 1, &payload), -EMSGSIZE);
		cr_expect_eq(quoit_reserve(rig.p, UINT32_MAX, &payload), -EMSGSIZE);
		cr_expect_eq(quoit_send(rig.p, buf, 2 * UNIT + 1, 0, QUOIT_NOWAIT), -EMSGSIZE);
		cr_expect_eq(quoit_send_batch(rig.p, &msg, 1, QUOIT_NOWAIT), -EMSGSIZE);
		cr_expect_eq(quoit_producer_wait(rig.p, 2 * UNIT + 1, QUOIT_NOWAIT), -EMSGSIZE);
		cr_expect(heap_whole(rig.p, 2));
		free(buf);
		test_rig_close(&rig);
	}
}

Test(heap, is_full_when_its_units_are_out_and_free_when_they_have_been_taken)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 8);
		struct timespec soon;
		uint64_t value;

		for (int lap = 0; lap < 50; lap++) {
			for (uint64_t i = 0; i < 8; i++)
				cr_assert_eq(heap_put(rig.p, UNIT, i), 0);
			cr_assert_eq(heap_put(rig.p, UNIT, 8), -EAGAIN);
			cr_assert_eq(heap_put(rig.p, 3000, 8), -EAGAIN);
			cr_assert_eq(test_put(rig.p, 8), 0, "the ring itself has room");
			cr_expect_eq(heap_stats(rig.r.q).free, 0);
			for (uint64_t i = 0; i < 3; i++)
				cr_assert(heap_take(rig.c, UNIT, i));
			cr_assert_eq(heap_put(rig.p, 3 * UNIT, 9), 0);
			for (uint64_t i = 3; i < 8; i++)
				cr_assert(heap_take(rig.c, UNIT, i));
			cr_assert_eq(test_take(rig.c, &value), 1);
			cr_assert(heap_take(rig.c, 3 * UNIT, 9));
			cr_assert(heap_whole(rig.p, 8), "lap %d", lap);
		}
		for (uint64_t i = 0; i < 8; i++)
			cr_assert_eq(heap_put(rig.p, UNIT, i), 0);
		soon = quoit_deadline_ms(20);
		cr_expect_eq(quoit_producer_wait(rig.p, UNIT, &soon), -ETIMEDOUT);
		test_rig_close(&rig);
	}
}

static int late_consumer(void *arg)
{
	struct quoit_consumer *c;
	struct quoit_msg msg;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(arg, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	for (int i = 0; i < 20; i++) {
		struct timespec deadline = quoit_deadline_ms(5000);

		CHILD_CHECK(quoit_consumer_wait(c, &deadline) == 0);
		CHILD_CHECK(quoit_peek(c, &msg) == 1);
		test_sleep_ms(5);
		CHILD_CHECK(quoit_advance(c, &msg) == 0);
	}
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

Test(heap, a_producer_asleep_on_a_full_heap_is_woken_by_each_block_that_comes_back)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 2);
		int64_t begin = test_now_ns();
		struct quoit_producer *p;
		unsigned char *buf = calloc(1, UNIT);
		struct test_ring r;
		pid_t child;

		test_ring_make(&r, QUOIT_MEMFD, &o);
		MUST(quoit_producer_open(r.q, &p) == 0);
		child = test_spawn(late_consumer, r.name);
		for (int i = 0; i < 20; i++) {
			struct timespec deadline = quoit_deadline_ms(5000);

			cr_assert_eq(quoit_send(p, buf, UNIT, 0, &deadline), 0);
		}
		quoit_producer_close(p);
		cr_expect_eq(test_wait(child), 0);
		/* By naps of 50 ms alone it would take longer. */
		cr_expect_lt(test_now_ns() - begin, INT64_C(900000000));
		free(buf);
		test_ring_drop(&r);
	}
}

Test(heap, what_was_discarded_or_replaced_is_free_again)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 4);
		void *payload, *other;

		for (int i = 0; i < 100; i++) {
			cr_assert_eq(quoit_reserve(rig.p, 2 * UNIT + 100 * i, &payload), 0);
			cr_expect_eq(quoit_commit(rig.p, (char *)payload + 8, 8, 0), -EINVAL);
			cr_expect_eq(quoit_discard(rig.p, (char *)payload + 8), -EINVAL);
			cr_assert_eq(quoit_discard(rig.p, payload), 0);
			cr_expect_eq(quoit_discard(rig.p, payload), -EINVAL);
			cr_expect_eq(quoit_commit(rig.p, payload, 8, 0), -EINVAL);
		}
		cr_assert(heap_whole(rig.p, 4));
		if (kind == QUOIT_SPSC) {
			cr_assert_eq(quoit_reserve(rig.p, 3 * UNIT, &payload), 0);
			cr_assert_eq(quoit_reserve(rig.p, 4 * UNIT, &other), 0, "replaces it");
			cr_assert_eq(test_put(rig.p, 1), 0, "and this that");
			cr_expect_eq(quoit_commit(rig.p, other, UNIT, 0), -EINVAL);
			cr_assert(heap_whole(rig.p, 4));
		}
		test_rig_close(&rig);
	}
}

/* The next reservation gives it back, so what it takes up is no reason to wait. */
Test(heap, an_open_reservation_of_an_spsc_ring_is_not_waited_for)
{
	struct test_rig rig = heap_rig(QUOIT_SPSC, 4);
	struct timespec soon = quoit_deadline_ms(200);
	void *payload;

	cr_assert_eq(quoit_reserve(rig.p, 2 * UNIT, &payload), 0);
	cr_expect_eq(quoit_producer_wait(rig.p, 4 * UNIT, &soon), 0);
	cr_assert_eq(quoit_commit(rig.p, payload, UNIT, 7), 0, "waiting has not taken it");
	cr_assert_eq(quoit_reserve(rig.p, UNIT, &payload), 0);
	cr_expect_eq(quoit_reserve(rig.p, 4 * UNIT, &payload), -EAGAIN, "a record is there");
	cr_expect_eq(quoit_producer_wait(rig.p, 4 * UNIT, QUOIT_NOWAIT), -EAGAIN);
	test_rig_close(&rig);
}

Test(heap, mpmc_takes_as_many_reservations_as_ever_and_commits_them_in_any_order)
{
	struct test_rig rig = heap_rig(QUOIT_MPMC, 64);
	void *payload[64], *more;
	struct quoit_msg msg;
	uint32_t type[64];

	for (uint32_t i = 0; i < 64; i++) {
		cr_assert_eq(quoit_reserve(rig.p, 1000 + 100 * i, &payload[i]), 0);
		type[i] = test_record_fill(payload[i], 1000 + 100 * i, 1, i);
	}
	cr_expect_eq(quoit_reserve(rig.p, 1000, &more), -EBUSY);
	for (uint32_t i = 64; i-- != 0;)
		cr_assert_eq(quoit_commit(rig.p, payload[i], 1000 + 100 * i, type[i]), 0);
	for (uint32_t i = 0; i < 64; i++) { /* by their slots */
		cr_assert_eq(quoit_peek(rig.c, &msg), 1);
		cr_assert(heap_is(&msg, 1000 + 100 * i, i), "%u", i);
		cr_assert_eq(quoit_advance(rig.c, &msg), 0);
	}
	cr_expect(heap_whole(rig.p, 64));
	test_rig_close(&rig);
}

Test(heap, blocks_come_back_in_whatever_order_their_readers_let_go)
{
	struct test_rig rig = heap_rig(QUOIT_MPMC, 32);
	struct quoit_consumer *c[4];
	struct quoit_msg msgs[4][8];

	for (int i = 0; i < 4; i++)
		MUST(quoit_consumer_open(rig.r.q, &c[i]) == 0);
	for (int lap = 0; lap < 30; lap++) {
		for (uint64_t i = 0; i < 32; i++)
			cr_assert_eq(heap_put(rig.p, UNIT - (i % 3) * 1000, i), 0);
		for (int k = 0; k < 4; k++)
			cr_assert_eq(quoit_peek_batch(c[k], msgs[k], 8), 8);
		for (int i = 7; i >= 0; i--)
			for (int k = 0; k < 4; k++) {
				uint64_t seq = (uint64_t)(8 * k + i);

				cr_assert(heap_is(&msgs[k][i], UNIT - (seq % 3) * 1000, seq));
				cr_assert_eq(quoit_advance(c[k], &msgs[k][i]), 0);
			}
		cr_assert(heap_whole(rig.p, 32), "lap %d", lap);
	}
	for (int i = 0; i < 4; i++)
		quoit_consumer_close(c[i]);
	test_rig_close(&rig);
}

Test(heap, a_buffer_that_is_too_small_leaves_the_record_where_it_is)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 4);
		unsigned char *buf = malloc(UNIT);
		struct quoit_msg msg = {0};

		cr_assert_eq(heap_put(rig.p, UNIT, 1), 0);
		cr_expect_eq(quoit_recv(rig.c, buf, UNIT - 1, &msg, QUOIT_NOWAIT), -EMSGSIZE);
		cr_expect_eq(msg.len, UNIT);
		cr_expect_eq(quoit_recv(rig.c, NULL, 0, &msg, QUOIT_NOWAIT), -EMSGSIZE);
		cr_assert_eq(quoit_recv(rig.c, buf, UNIT, &msg, QUOIT_NOWAIT), 1);
		cr_expect(heap_is(&msg, UNIT, 1));
		cr_expect(heap_whole(rig.p, 4));
		free(buf);
		test_rig_close(&rig);
	}
}

Test(heap, batches_may_hold_records_for_the_heap)
{
	EACH_KIND(kind)
	{
		static const uint32_t len[6] = {8, 40, 20000, 64, 70000, 16};
		struct test_rig rig = heap_rig(kind, 8);
		unsigned char *buf[6], *all = malloc(300000);
		struct quoit_msg msgs[6];
		unsigned sent = 0, taken = 0;

		for (unsigned i = 0; i < 6; i++) {
			buf[i] = malloc(len[i]);
			msgs[i] =
				(struct quoit_msg){.data = buf[i],
						   .len = len[i],
						   .type = test_record_fill(buf[i], len[i], 1, i)};
		}
		for (int calls = 0; sent < 6 && calls < 6; calls++) {
			int n = quoit_send_batch(rig.p, msgs + sent, 6 - sent, QUOIT_NOWAIT);

			cr_assert_gt(n, 0);
			sent += (unsigned)n;
		}
		cr_assert_eq(sent, 6);
		for (int calls = 0; taken < 3 && calls < 3; calls++) {
			int n = quoit_peek_batch(rig.c, msgs, 3 - taken);

			cr_assert_gt(n, 0);
			for (int i = 0; i < n; i++)
				cr_assert(heap_is(&msgs[i], len[taken + i], taken + i));
			cr_assert_eq(quoit_advance_batch(rig.c, msgs, (unsigned)n), 0);
			taken += (unsigned)n;
		}
		cr_assert_eq(taken, 3);
		cr_assert_eq(quoit_recv_batch(rig.c, all, 300000, msgs, 6, QUOIT_NOWAIT), 3);
		for (unsigned i = 0; i < 3; i++)
			cr_assert(heap_is(&msgs[i], len[3 + i], 3 + i));
		for (unsigned i = 0; i < 6; i++)
			free(buf[i]);
		free(all);
		cr_expect(heap_whole(rig.p, 8));
		test_rig_close(&rig);
	}
}

Test(heap, a_record_that_was_stepped_over_keeps_its_block)
{
	struct test_rig rig = heap_rig(QUOIT_MPMC, 8);
	struct quoit_producer *second;
	uint32_t type;
	void *payload;

	MUST(quoit_producer_open(rig.r.q, &second) == 0);
	cr_assert_eq(quoit_reserve(rig.p, UNIT + 5, &payload), 0);
	type = test_record_fill(payload, UNIT + 5, 1, 1);
	cr_assert_eq(heap_put(second, 3 * UNIT, 2), 0);
	/* A later record is ready: the consumer loses its patience with the first. */
	cr_assert(heap_take(rig.c, 3 * UNIT, 2));
	cr_assert_eq(quoit_commit(rig.p, payload, UNIT + 5, type), 0);
	cr_assert_eq(heap_put(rig.p, UNIT, 3), 0);
	cr_assert(heap_take(rig.c, UNIT + 5, 1));
	cr_assert(heap_take(rig.c, UNIT, 3));
	/* The second producer's last block is out until its next call. */
	cr_assert_eq(heap_put(second, UNIT, 4), 0);
	cr_assert(heap_take(rig.c, UNIT, 4));
	quoit_producer_close(second);
	cr_expect(heap_whole(rig.p, 8));
	test_rig_close(&rig);
}

Test(heap, small_blocks_share_units_and_give_them_back_whole)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 8);

		for (int lap = 0; lap < 20; lap++) {
			for (uint64_t i = 0; i < 100; i++)
				cr_assert_eq(heap_put(rig.p, 2100, i), 0);
			cr_expect_geq(heap_stats(rig.r.q).free, 3 * UNIT);
			for (uint64_t i = 0; i < 100; i++)
				cr_assert(heap_take(rig.c, 2100, i));
			cr_assert(heap_whole(rig.p, 8), "lap %d", lap);
			cr_expect_eq(heap_stats(rig.r.q).free, 8 * UNIT);
		}
		test_rig_close(&rig);
	}
}

/* All that is known about blocks is private: whoever may write the section can spoil payloads, and
 * nothing else. */
Test(heap, garbage_in_the_section_leads_no_allocation_astray)
{
	EACH_KIND(kind)
	{
		struct test_rig rig = heap_rig(kind, 16);
		uint64_t seed = 3;

		for (uint64_t i = 0; i < 3000; i++) {
			uint32_t len = 2100 + test_random_below(&seed, 150000);

			memset(rig.r.q->heap, (int)(i * 37), rig.r.q->geo.heap_size);
			cr_assert_eq(heap_put(rig.p, len, i), 0);
			cr_assert(heap_take(rig.c, len, i));
			i += 99;
		}
		test_rig_close(&rig);
	}
}

Test(heap, options_are_checked)
{
	struct quoit_options o = heap_options(QUOIT_SPSC, 4);
	struct test_ring r;

	o.heap_share = 8192; /* more than half of the ring, less 16 */
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL);
	o.heap_share = 1000;
	o.heap_size = 1;
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(test_info(r.q).heap_size, UNIT, "rounded up to a unit");
	cr_expect_eq(test_info(r.q).heap_share, 1000);
	test_ring_drop(&r);
	o.heap_size = 0;
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL, "a share of nothing");
	o.heap_share = 0;
	o.heap_size = (UINT64_C(1) << 40) + 1;
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL);
	o.heap_size = UINT64_MAX;
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL);
	o = heap_options(QUOIT_MPMC, 4);
	o.slot_size = 8;
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(test_info(r.q).slot_size, 24, "room for a descriptor");
	test_ring_drop(&r);
	o = test_options(QUOIT_SPSC);
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(
		quoit_get_heap_stats(
			r.q, &(struct quoit_heap_stats){.size = sizeof(struct quoit_heap_stats)}),
		-ENOTSUP);
	test_ring_drop(&r);
}

/* A heap never makes the longest record shorter, and is never one that nothing can get into. */
Test(heap, one_that_would_not_help_is_refused)
{
	struct quoit_options o = heap_options(QUOIT_SPSC, 7);
	struct test_ring r;

	o.capacity = UINT64_C(1) << 20;
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL, "448K: the ring takes 512K - 16");
	o.heap_size++;
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(r.max_record, 8 * UNIT);
	test_ring_drop(&r);
	o.heap_size = 1;
	o.heap_share = UNIT; /* no block is longer than that */
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL);
	o.heap_share = UNIT - 8; /* who says what goes there knows how long it is */
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(r.max_record, UNIT);
	test_ring_drop(&r);

	o = heap_options(QUOIT_MPMC, 1);
	o.capacity = UINT64_C(1) << 20;
	o.slot_size = UNIT;
	cr_expect_eq(test_ring_try(&r, QUOIT_MEMFD, &o), -EINVAL);
	o.slot_size = UNIT - 1;
	test_ring_make(&r, QUOIT_MEMFD, &o);
	cr_expect_eq(r.max_record, UNIT);
	test_ring_drop(&r);
}
