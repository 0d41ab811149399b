/* SPDX-License-Identifier: MIT */
/* A producer without jemalloc: every record takes whole units, and consumers need nothing. */
#include "tests/unit/heap_support.h"

TestSuite(heap_plain, .fini = test_cleanup, .timeout = 60);

/* Weak here as in the library: if somebody links jemalloc to this program, it tests nothing. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));

Test(heap_plain, without_jemalloc_each_record_takes_whole_units)
{
	static const uint32_t lens[] = {2100, 3000, UNIT - 8, UNIT, UNIT + 1, 4 * UNIT - 40000};

	cr_assert(mallocx == NULL);
	for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC;
	     kind = (enum quoit_kind)(kind + 1)) {
		struct test_rig rig = heap_rig(kind, 8);
		void *payload;

		for (uint32_t i = 0; i < 100; i++) {
			uint32_t len = lens[i % TEST_COUNT(lens)];

			cr_assert_eq(heap_put(rig.p, len, i), 0, "%u", len);
			cr_expect_eq(heap_stats(rig.r.q).used, (len + UNIT - 1) / UNIT * UNIT, "%u",
				     len);
			cr_assert(heap_take(rig.c, len, i));
		}
		for (uint32_t i = 0; i < 8; i++)
			cr_assert_eq(heap_put(rig.p, 3000, i), 0);
		cr_expect_eq(heap_put(rig.p, 3000, 8), -EAGAIN);
		for (uint32_t i = 0; i < 8; i++)
			cr_assert(heap_take(rig.c, 3000, i));
		cr_assert_eq(quoit_reserve(rig.p, UNIT + 1, &payload), 0);
		cr_assert_eq(quoit_discard(rig.p, payload), 0);
		cr_expect(heap_whole(rig.p, 8));
		test_rig_close(&rig);
	}
}
