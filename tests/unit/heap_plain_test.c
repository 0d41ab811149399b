/* SPDX-License-Identifier: MIT */
/* A producer without jemalloc: blocks that fill their units are to be had, others not; and
 * consumers need nothing. */
#include "tests/unit/heap_support.h"

TestSuite(heap_plain, .fini = test_cleanup, .timeout = 60);

/* Weak here as in the library: if somebody links jemalloc to this program, it tests nothing. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));

Test(heap_plain, without_jemalloc_only_whole_units_are_to_be_had)
{
	cr_assert(mallocx == NULL);
	for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC;
	     kind = (enum quoit_kind)(kind + 1)) {
		struct test_rig rig = heap_rig(kind, 8);
		void *payload, *buf = calloc(1, UNIT + 1);

		cr_expect_eq(quoit_reserve(rig.p, 3000, &payload), -ENOTSUP);
		cr_expect_eq(quoit_send(rig.p, buf, UNIT + 1, 0, NULL), -ENOTSUP);
		for (uint32_t i = 0; i < 100; i++) {
			uint32_t len = (1 + i % 8) * UNIT - 8 * i;

			cr_assert_eq(heap_put(rig.p, len, i), 0, "%u", len);
			cr_assert(heap_take(rig.c, len, i));
		}
		cr_expect(heap_whole(rig.p, 8));
		free(buf);
		test_rig_close(&rig);
	}
}
