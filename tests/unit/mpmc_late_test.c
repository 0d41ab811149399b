/* SPDX-License-Identifier: MIT */
/*
 * A consumer that has waited while others took many laps of records must still see the next one
 * that is left for it, however far behind its own ticket lies; and a producer the room that there
 * is.
 */
#include <criterion/criterion.h>

#include "support.h"

TestSuite(mpmc_late, .fini = test_cleanup, .timeout = 30);

Test(mpmc_late, a_consumer_many_laps_behind_sees_the_next_record)
{
	static const unsigned laps[] = {1, 2, 3, 5, 100};
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_consumer *other;
	struct quoit_msg msg;
	struct test_rig rig;
	uint64_t value = 0, buf;

	opt.slot_size = 8;
	opt.capacity = 1024;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_eq(quoit_consumer_open(rig.r.q, &other), 0);
	for (size_t i = 0; i < sizeof(laps) / sizeof(laps[0]); i++) {
		struct timespec deadline;

		for (uint64_t k = 0; k < laps[i] * test_info(rig.r.q).slots + 7; k++) {
			value++;
			cr_assert_eq(quoit_send(rig.p, &value, 8, 0, QUOIT_NOWAIT), 0);
			cr_assert_eq(quoit_recv(other, &buf, 8, &msg, QUOIT_NOWAIT), 1);
			cr_assert_eq(buf, value);
		}
		value++;
		cr_assert_eq(quoit_send(rig.p, &value, 8, 0, QUOIT_NOWAIT), 0);
		deadline = quoit_deadline_ms(5000);
		cr_assert_eq(quoit_consumer_wait(rig.c, &deadline), 0, "%u laps behind", laps[i]);
		cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), 1);
		cr_assert_eq(buf, value);
	}
	quoit_consumer_close(other);
}

Test(mpmc_late, a_producer_many_laps_behind_sees_the_room)
{
	static const unsigned laps[] = {1, 2, 3, 5, 100};
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_producer *other;
	struct quoit_msg msg;
	struct test_rig rig;
	uint64_t value = 0, buf;

	opt.slot_size = 8;
	opt.capacity = 1024;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_eq(quoit_producer_open(rig.r.q, &other), 0);
	for (size_t i = 0; i < sizeof(laps) / sizeof(laps[0]); i++) {
		struct timespec deadline;

		for (uint64_t k = 0; k < laps[i] * test_info(rig.r.q).slots + 7; k++) {
			value++;
			cr_assert_eq(quoit_send(other, &value, 8, 0, QUOIT_NOWAIT), 0);
			cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), 1);
			cr_assert_eq(buf, value);
		}
		deadline = quoit_deadline_ms(5000);
		cr_assert_eq(quoit_producer_wait(rig.p, 8, &deadline), 0, "%u laps behind",
			     laps[i]);
		cr_assert_eq(quoit_send(rig.p, &value, 8, 0, QUOIT_NOWAIT), 0);
		cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), 1);
	}
	quoit_producer_close(other);
}

Test(mpmc_late, a_record_given_back_behind_the_shared_hint_is_found_by_who_waits)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_consumer *other;
	struct quoit_msg msg;
	struct test_rig rig;
	uint64_t value, buf;
	struct timespec deadline;

	opt.slot_size = 8;
	opt.capacity = 4096;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_eq(quoit_consumer_open(rig.r.q, &other), 0);
	cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), -EAGAIN);
	for (value = 0; value < 16; value++)
		cr_assert_eq(quoit_send(rig.p, &value, 8, 0, QUOIT_NOWAIT), 0);
	for (value = 0; value < 15; value++) {
		cr_assert_eq(quoit_recv(other, &buf, 8, &msg, QUOIT_NOWAIT), 1);
		cr_assert_eq(buf, value);
	}
	cr_assert_eq(quoit_peek(other, &msg), 1, "the last is on loan");
	quoit_consumer_close(other); /* gives it back */
	deadline = quoit_deadline_ms(1000);
	cr_assert_eq(quoit_consumer_wait(rig.c, &deadline), 0);
	cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), 1);
	cr_assert_eq(buf, 15);
	quoit_producer_close(rig.p);
	rig.p = NULL;
	cr_assert_eq(quoit_recv(rig.c, &buf, 8, &msg, QUOIT_NOWAIT), 0, "the end, after it");
}
