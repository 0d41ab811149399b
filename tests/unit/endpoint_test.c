/* SPDX-License-Identifier: MIT */
/*
 * Endpoints: how many there may be, what opening and closing does, and the ends of a stream that
 * nobody died in: end of stream, broken pipe, persistent rings.
 */
#include <criterion/criterion.h>
#include <fcntl.h>

#include "support.h"

TestSuite(endpoints, .fini = test_cleanup, .timeout = 30);
TestSuite(stream_end, .fini = test_cleanup, .timeout = 30);

Test(endpoints, an_spsc_ring_takes_one_producer_and_one_consumer)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct quoit_producer *p = NULL;
		struct quoit_consumer *c = NULL;
		struct test_rig rig;
		struct quoit *q;

		test_rig_open(&rig, test_backends[i], &opt);
		cr_assert_eq(quoit_attach(rig.r.name, NULL, &q), 0);
		cr_expect_eq(quoit_producer_open(rig.r.q, &p), -EBUSY);
		cr_expect_eq(quoit_producer_open(q, &p), -EBUSY);
		cr_expect_eq(quoit_consumer_open(rig.r.q, &c), -EBUSY);
		cr_expect_eq(quoit_consumer_open(q, &c), -EBUSY);
		cr_expect_null(p);
		cr_expect_null(c);
		/* The refused ones have not harmed those that are there. */
		cr_expect_eq(test_put(rig.p, 5), 0);
		uint64_t value = 0;
		cr_expect_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(value, 5);
		quoit_detach(q);
		test_rig_close(&rig);
	}
}

static int open_and_expect_busy(void *arg)
{
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(arg, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == -EBUSY);
	return 0;
}

Test(endpoints, a_second_spsc_producer_in_another_process_gets_ebusy)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_rig rig;

		test_rig_open(&rig, test_backends[i], &opt);
		cr_expect_eq(test_wait(test_spawn(open_and_expect_busy, rig.r.name)), 0);
		test_rig_close(&rig);
	}
}

Test(endpoints, are_reopened_after_closing_and_the_stream_goes_on)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		test_rig_open(&rig, QUOIT_SHM, &opt);
		for (uint64_t i = 0; i < 50; i++) {
			cr_assert_eq(test_put(rig.p, 2 * i), 0);
			cr_assert_eq(test_put(rig.p, 2 * i + 1), 0);
			quoit_producer_close(rig.p);
			cr_assert_eq(test_take(rig.c, &value), 1);
			cr_assert_eq(value, i);
			quoit_consumer_close(rig.c);
			cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
			cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
		}
		for (uint64_t i = 50; i < 100; i++) {
			cr_assert_eq(test_take(rig.c, &value), 1);
			cr_assert_eq(value, i);
		}
		cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
		test_rig_close(&rig);
	}
}

Test(endpoints, outlive_the_detached_ring)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_MPMC);
		struct test_rig rig;
		uint64_t value = 0;
		int fd;

		test_rig_open(&rig, test_backends[i], &opt);
		fd = quoit_fd(rig.r.q);
		quoit_detach(rig.r.q);
		cr_expect(fd == -ENOTSUP || (fcntl(fd, F_GETFD) == -1 && errno == EBADF),
			  "%s: its descriptor is closed", quoit_backend_name(test_backends[i]));
		cr_expect_eq(test_put(rig.p, 77), 0);
		cr_expect_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(value, 77);
		quoit_producer_close(rig.p);
		quoit_consumer_close(rig.c);
	}
}

Test(endpoints, of_an_mpmc_ring_fill_the_peer_table_and_no_more)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_MPMC);
		struct quoit_producer *p[8] = {0}, *more = NULL;
		struct quoit_consumer *none = NULL;
		bool seen[8] = {false};
		struct test_ring r;

		opt.peers = 8;
		test_ring_make(&r, test_backends[i], &opt);
		for (unsigned j = 0; j < 8; j++) {
			cr_assert_eq(quoit_producer_open(r.q, &p[j]), 0);
			cr_assert_lt(quoit_producer_id(p[j]), 8);
			cr_assert_not(seen[quoit_producer_id(p[j])], "ids are distinct");
			seen[quoit_producer_id(p[j])] = true;
		}
		cr_expect_eq(quoit_producer_open(r.q, &more), -ENOSPC);
		cr_expect_eq(quoit_consumer_open(r.q, &none), -ENOSPC);
		cr_expect_null(more);
		cr_expect_null(none);
		quoit_producer_close(p[3]);
		cr_expect_eq(quoit_consumer_open(r.q, &none), 0, "a closed row is used again");
		quoit_consumer_close(none);
		for (unsigned j = 0; j < 8; j++)
			if (j != 3)
				quoit_producer_close(p[j]);
		test_ring_drop(&r);
	}
}

Test(endpoints, of_an_mpmc_ring_can_be_256)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_producer *p[128];
	struct quoit_consumer *c[128];
	struct test_ring r;
	uint64_t sum = 0, value;

	opt.peers = 256;
	test_ring_make(&r, QUOIT_SHM, &opt);
	for (unsigned i = 0; i < 128; i++) {
		cr_assert_eq(quoit_producer_open(r.q, &p[i]), 0);
		cr_assert_eq(quoit_consumer_open(r.q, &c[i]), 0);
		cr_assert_eq(test_put(p[i], i), 0);
	}
	for (unsigned i = 0; i < 128; i++) {
		cr_assert_eq(test_take(c[127 - i], &value), 1);
		sum += value;
		quoit_producer_close(p[i]);
	}
	cr_expect_eq(sum, 127 * 128 / 2);
	for (unsigned i = 0; i < 128; i++) {
		cr_expect_eq(test_take(c[i], &value), 0);
		quoit_consumer_close(c[i]);
	}
	test_ring_drop(&r);
}

Test(endpoints, wait_as_told_and_refuse_what_is_no_way_to_wait)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;

	test_rig_open(&rig, QUOIT_SYSV, &opt);
	for (unsigned i = 0; i < TEST_COUNT(test_waits); i++) {
		cr_expect_eq(quoit_producer_set_wait(rig.p, test_waits[i]), 0, "%s",
			     quoit_wait_name(test_waits[i]));
		cr_expect_eq(quoit_consumer_set_wait(rig.c, test_waits[i]), 0, "%s",
			     quoit_wait_name(test_waits[i]));
	}
	cr_expect_eq(quoit_producer_set_wait(rig.p, QUOIT_WAIT_DEFAULT), 0);
	cr_expect_eq(quoit_producer_set_wait(rig.p, (enum quoit_wait)7), -EINVAL);
	cr_expect_eq(quoit_consumer_set_wait(rig.c, (enum quoit_wait)99), -EINVAL);
	test_rig_close(&rig);
}

Test(endpoints, sleep_on_system_v_semaphores_where_the_ring_has_some)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		int expected = test_backends[i] == QUOIT_SYSV ? 0 : -ENOTSUP;
		struct test_rig rig;

		test_rig_open(&rig, test_backends[i], &opt);
		cr_expect_eq(quoit_producer_set_wait(rig.p, QUOIT_WAIT_SYSVSEM), expected);
		cr_expect_eq(quoit_consumer_set_wait(rig.c, QUOIT_WAIT_SYSVSEM), expected);
		test_rig_close(&rig);
		opt.wait = QUOIT_WAIT_SYSVSEM;
		test_rig_open(&rig, test_backends[i], &opt);
		cr_expect_eq(quoit_producer_set_wait(rig.p, QUOIT_WAIT_SYSVSEM), 0, "%s",
			     quoit_backend_name(test_backends[i]));
		cr_expect_eq(quoit_consumer_set_wait(rig.c, QUOIT_WAIT_SYSVSEM), 0);
		test_rig_close(&rig);
	}
}

/* How many System V semaphore sets there are on this machine. */
static int semaphore_sets(void)
{
	FILE *f = fopen("/proc/sysvipc/sem", "re");
	char line[256];
	int n = -1; /* the heading */

	MUST(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, " ") != NULL;
	fclose(f);
	return n;
}

Test(endpoints, leave_no_semaphores_behind_when_the_ring_goes)
{
	/* Others may make or remove sets meanwhile, but hardly one for each of ours. */
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		int before = semaphore_sets(), after;

		for (unsigned n = 0; n < 20; n++) {
			struct quoit_options opt = test_options(QUOIT_SPSC);
			struct test_rig rig;

			opt.wait = QUOIT_WAIT_SYSVSEM;
			test_rig_open(&rig, test_backends[i], &opt);
			test_rig_close(&rig);
		}
		after = semaphore_sets();
		cr_expect_lt(after, before + 15, "%s: %d sets before, %d after",
			     quoit_backend_name(test_backends[i]), before, after);
	}
}

Test(endpoints, closing_gives_reservations_and_peeked_records_back)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_msg msgs[4];
	struct test_rig rig;
	uint64_t value, slots;
	void *payload;

	opt.capacity = 1024;
	opt.slot_size = 8;
	test_rig_open(&rig, QUOIT_SHM, &opt);
	slots = test_info(rig.r.q).slots;
	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	cr_assert_eq(quoit_peek_batch(rig.c, msgs, 4), 4);
	cr_assert_eq(quoit_advance(rig.c, &msgs[0]), 0);
	quoit_consumer_close(rig.c);
	quoit_producer_close(rig.p);
	cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
	for (uint64_t i = 1; i < 4; i++) {
		cr_assert_eq(test_take(rig.c, &value), 1);
		cr_expect(value >= 1 && value < 4);
	}
	cr_expect_eq(test_take(rig.c, &value), 0);
	cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
	for (uint64_t i = 0; i < slots; i++)
		cr_assert_eq(test_put(rig.p, i), 0, "slot %d of %d", (int)i, (int)slots);
	cr_expect_eq(test_put(rig.p, 0), -EAGAIN);
	test_rig_close(&rig);
}

Test(endpoints, an_spsc_record_peeked_but_not_advanced_over_is_the_next_consumers_first)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	struct quoit_msg msg;
	uint64_t value;
	void *payload;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	cr_assert_eq(test_put(rig.p, 1), 0);
	cr_assert_eq(test_put(rig.p, 2), 0);
	cr_assert_eq(quoit_reserve(rig.p, 100, &payload), 0);
	quoit_producer_close(rig.p);
	cr_assert_eq(test_take(rig.c, &value), 1);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	quoit_consumer_close(rig.c);
	cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
	cr_assert_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(value, 2);
	cr_expect_eq(test_take(rig.c, &value), 0, "the open reservation has left no trace");
	cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
	test_rig_close(&rig);
}

Test(stream_end, before_the_first_producer_comes_a_consumer_waits)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct timespec soon = quoit_deadline_ms(30);
		struct quoit_consumer *c;
		struct quoit_msg msg;
		struct test_ring r;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		cr_expect_eq(quoit_peek(c, &msg), -EAGAIN);
		cr_expect_eq(quoit_consumer_wait(c, &soon), -ETIMEDOUT);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

Test(stream_end, is_zero_once_every_producer_has_closed_and_the_ring_is_drained)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_producer *second;
	struct quoit_msg msg;
	struct test_rig rig;
	uint64_t value;

	test_rig_open(&rig, QUOIT_SHM, &opt);
	cr_assert_eq(quoit_producer_open(rig.r.q, &second), 0);
	cr_assert_eq(test_put(rig.p, 1), 0);
	quoit_producer_close(rig.p);
	cr_expect_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(test_take(rig.c, &value), -EAGAIN, "one producer is left");
	cr_assert_eq(test_put(second, 2), 0);
	quoit_producer_close(second);
	cr_expect_eq(test_take(rig.c, &value), 1);
	cr_expect_eq(value, 2);
	for (unsigned i = 0; i < 3; i++) {
		cr_expect_eq(quoit_peek(rig.c, &msg), 0, "again and again");
		cr_expect_eq(test_take(rig.c, &value), 0);
		cr_expect_eq(quoit_peek_batch(rig.c, &msg, 1), 0);
		cr_expect_eq(quoit_consumer_wait(rig.c, QUOIT_NOWAIT), 0);
	}
	rig.p = NULL;
	test_rig_close(&rig);
}

Test(stream_end, is_told_to_consumers_that_come_later)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;
		uint64_t value;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
		cr_assert_eq(test_put(p, 9), 0);
		quoit_producer_close(p);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		cr_expect_eq(test_take(c, &value), 1);
		cr_expect_eq(test_take(c, &value), 0);
		quoit_consumer_close(c);
		test_ring_drop(&r);
	}
}

Test(stream_end, a_new_producer_reopens_an_ended_stream)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		test_rig_open(&rig, QUOIT_SHM, &opt);
		quoit_producer_close(rig.p);
		cr_expect_eq(test_take(rig.c, &value), 0);
		cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
		cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
		cr_assert_eq(test_put(rig.p, 3), 0);
		cr_expect_eq(test_take(rig.c, &value), 1);
		test_rig_close(&rig);
	}
}

/* Send until something else than success happens. */
static int send_until_refused(struct quoit_producer *p, unsigned limit)
{
	int result = 0;

	for (unsigned i = 0; i < limit && result == 0; i++)
		result = test_put(p, i);
	return result;
}

Test(stream_end, without_a_consumer_yet_a_producer_fills_the_ring_and_waits)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct timespec soon = quoit_deadline_ms(30);
		struct quoit_producer *p;
		struct test_ring r;

		opt.capacity = 4096;
		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
		cr_expect_eq(send_until_refused(p, 100000), -EAGAIN);
		cr_expect_eq(quoit_send(p, "12345678", 8, 0, &soon), -ETIMEDOUT);
		quoit_producer_close(p);
		test_ring_drop(&r);
	}
}

Test(stream_end, a_producer_whose_consumers_have_all_closed_gets_epipe)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct timespec soon = quoit_deadline_ms(2000);
		struct test_rig rig;

		opt.capacity = 4096;
		test_rig_open(&rig, QUOIT_SHM, &opt);
		cr_assert_eq(test_put(rig.p, 1), 0);
		quoit_consumer_close(rig.c);
		rig.c = NULL;
		cr_expect_eq(send_until_refused(rig.p, 100000), -EPIPE);
		cr_expect_eq(test_put(rig.p, 1), -EPIPE, "and it stays so");
		cr_expect_eq(quoit_producer_wait(rig.p, 8, &soon), -EPIPE);
		cr_expect_eq(quoit_send(rig.p, "12345678", 8, 0, &soon), -EPIPE);
		cr_expect_eq(quoit_drain(rig.p, &soon), -EPIPE);
		test_rig_close(&rig);
	}
}

Test(stream_end, a_consumer_that_comes_back_mends_the_pipe)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		opt.capacity = 4096;
		test_rig_open(&rig, QUOIT_SHM, &opt);
		quoit_consumer_close(rig.c);
		cr_assert_eq(send_until_refused(rig.p, 100000), -EPIPE);
		cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
		while (test_take(rig.c, &value) == 1)
			;
		cr_expect_eq(test_put(rig.p, 1234), 0);
		cr_expect_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(value, 1234);
		test_rig_close(&rig);
	}
}

Test(stream_end, never_comes_on_a_persistent_ring)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		struct test_rig rig;
		uint64_t value;

		opt.flags = QUOIT_PERSISTENT;
		opt.capacity = 4096;
		test_rig_open(&rig, QUOIT_SHM, &opt);
		quoit_producer_close(rig.p);
		cr_expect_eq(test_take(rig.c, &value), -EAGAIN);
		quoit_consumer_close(rig.c);
		cr_assert_eq(quoit_producer_open(rig.r.q, &rig.p), 0);
		cr_expect_eq(send_until_refused(rig.p, 100000), -EAGAIN);
		cr_assert_eq(quoit_consumer_open(rig.r.q, &rig.c), 0);
		cr_expect_eq(test_take(rig.c, &value), 1);
		cr_expect_eq(value, 0);
		test_rig_close(&rig);
	}
}
