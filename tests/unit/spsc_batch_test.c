/* SPDX-License-Identifier: MIT */
/* Many records in one call through an SPSC ring, both ends in one thread. */
#include "spsc_support.h"

TestSuite(spsc_batch, .fini = test_cleanup, .timeout = 30);

Test(spsc_batch, a_batch_is_advanced_over_in_parts)
{
	struct test_rig rig = spsc_rig(8192);
	struct quoit_msg batch[100];
	uint64_t value, next = 0;

	for (uint64_t i = 0; i < 100; i++)
		cr_assert_eq(test_put(rig.p, i), 0);
	cr_assert_eq(quoit_peek_batch(rig.c, batch, 100), 100);
	for (unsigned i = 0; i < 100; i++) {
		memcpy(&value, batch[i].data, 8);
		cr_assert_eq(value, i);
	}
	cr_expect_eq(quoit_advance_batch(rig.c, batch, 30), 0);
	cr_expect_eq(quoit_advance_batch(rig.c, batch, 30), -EINVAL, "again");
	cr_expect_eq(quoit_advance_batch(rig.c, batch + 31, 5), -EINVAL, "with a gap");
	cr_expect_eq(quoit_peek_batch(rig.c, batch, 10), 10);
	memcpy(&value, batch[0].data, 8);
	cr_expect_eq(value, 30);
	cr_expect_eq(quoit_advance_batch(rig.c, batch, 10), 0);
	for (next = 40; test_take(rig.c, &value) == 1; next++)
		cr_assert_eq(value, next);
	cr_expect_eq(next, 100);
	test_rig_close(&rig);
}

Test(spsc_batch, batches_are_one_to_256_records)
{
	struct test_rig rig = spsc_rig(65536);
	static struct quoit_msg msgs[QUOIT_BATCH_MAX + 1];
	static uint64_t words[QUOIT_BATCH_MAX + 1];
	static char buf[65536];

	for (unsigned i = 0; i <= QUOIT_BATCH_MAX; i++)
		msgs[i] = (struct quoit_msg){.data = &words[i], .len = 8, .type = i};
	cr_expect_eq(quoit_send_batch(rig.p, msgs, 0, QUOIT_NOWAIT), -EINVAL);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, QUOIT_BATCH_MAX + 1, QUOIT_NOWAIT), -EINVAL);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, QUOIT_BATCH_MAX, QUOIT_NOWAIT), QUOIT_BATCH_MAX);
	cr_expect_eq(quoit_peek_batch(rig.c, msgs, 0), -EINVAL);
	cr_expect_eq(quoit_peek_batch(rig.c, msgs, QUOIT_BATCH_MAX + 1), -EINVAL);
	cr_expect_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 0, QUOIT_NOWAIT), -EINVAL);
	cr_expect_eq(
		quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, QUOIT_BATCH_MAX + 1, QUOIT_NOWAIT),
		-EINVAL);
	cr_expect_eq(quoit_peek_batch(rig.c, msgs, QUOIT_BATCH_MAX), QUOIT_BATCH_MAX);
	cr_expect_eq(quoit_advance_batch(rig.c, msgs, QUOIT_BATCH_MAX), 0);
	cr_expect_eq(quoit_peek_batch(rig.c, msgs, 1), -EAGAIN);
	test_rig_close(&rig);
}

Test(spsc_batch, a_batch_that_does_not_fit_goes_in_as_far_as_it_does)
{
	struct test_rig rig = spsc_rig(1024);
	static struct quoit_msg msgs[QUOIT_BATCH_MAX];
	static uint64_t words[QUOIT_BATCH_MAX];
	uint64_t value, in, total = 0;
	int result;

	for (unsigned i = 0; i < QUOIT_BATCH_MAX; i++) {
		words[i] = i;
		msgs[i] = (struct quoit_msg){.data = &words[i], .len = 8};
	}
	result = quoit_send_batch(rig.p, msgs, QUOIT_BATCH_MAX, QUOIT_NOWAIT);
	cr_assert_gt(result, 0);
	cr_assert_leq(result, 1024 / 16);
	cr_expect_eq(quoit_send_batch(rig.p, msgs, 1, QUOIT_NOWAIT), -EAGAIN);
	in = (uint64_t)result;
	while (test_take(rig.c, &value) == 1)
		cr_assert_eq(value, total++);
	cr_expect_eq(total, in);
	test_rig_close(&rig);
}

Test(spsc_batch, recv_batch_lays_records_one_behind_the_other_aligned_to_8)
{
	struct test_rig rig = spsc_rig(8192);
	_Alignas(8) char buf[4096];
	struct quoit_msg msgs[64];
	int n;

	for (uint32_t len = 0; len < 40; len++) {
		char bytes[64];

		memset(bytes, (int)len, sizeof(bytes));
		cr_assert_eq(quoit_send(rig.p, bytes, len, len + 100, QUOIT_NOWAIT), 0);
	}
	n = quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 64, NULL);
	cr_assert_eq(n, 40);
	for (int i = 0; i < n; i++) {
		cr_expect_eq(msgs[i].len, (uint32_t)i);
		cr_expect_eq(msgs[i].type, (uint32_t)i + 100);
		cr_expect_eq((uintptr_t)msgs[i].data % 8, 0);
		cr_expect((char *)msgs[i].data >= buf &&
			  (char *)msgs[i].data + msgs[i].len <= buf + sizeof(buf));
		for (int j = 0; j < i; j++)
			cr_assert_eq(((char *)msgs[i].data)[j], (char)i);
	}
	test_rig_close(&rig);
}

Test(spsc_batch, recv_batch_takes_only_what_fits)
{
	struct test_rig rig = spsc_rig(8192);
	_Alignas(8) char buf[64];
	struct quoit_msg msgs[8];
	char bytes[100] = {0};

	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(quoit_send(rig.p, bytes, 24, i, QUOIT_NOWAIT), 0);
	cr_assert_eq(quoit_send(rig.p, bytes, 100, 3, QUOIT_NOWAIT), 0);
	cr_expect_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 8, QUOIT_NOWAIT), 2);
	cr_expect_eq(msgs[1].type, 1);
	cr_expect_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 8, QUOIT_NOWAIT), 1);
	cr_expect_eq(msgs[0].type, 2);
	cr_expect_eq(quoit_recv_batch(rig.c, buf, sizeof(buf), msgs, 8, QUOIT_NOWAIT), -EMSGSIZE);
	cr_expect_eq(quoit_recv_batch(rig.c, bytes, sizeof(bytes), msgs, 8, QUOIT_NOWAIT), 1);
	cr_expect_eq(msgs[0].len, 100);
	test_rig_close(&rig);
}
