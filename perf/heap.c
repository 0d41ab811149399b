/* SPDX-License-Identifier: MIT */
/*
 * Large records: in the heap section, in the ring itself, and the raw stream of the same pieces
 * through the same amount of memory by memcpy, in one interleaved run.
 */
#include "perf/bench.h"

#define PIECES 4 /* that there is room for */

/* Two ways to spin and one to sleep say enough. */
#define POLICIES (PERF_WAITS_TRYING | 1u << PERF_SPIN | 1u << PERF_FUTEX)

int bench_heap(void)
{
	/* The first in blocks by jemalloc, the others in whole units. */
	static const uint32_t sizes[] = {1u << 14, 1u << 16, 1u << 20, 1u << 24, 0};
	static const uint32_t depths[] = {PIECES, 0};
	int failed = 0;

	for (int kind = PERF_SPSC; kind <= PERF_MPMC; kind++) {
		if (!perf_kind_wanted((enum perf_kind)kind))
			continue;
		for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++) {
			struct perf_set set = {.bench = "heap",
					       .metrics = perf_rate_metrics,
					       .n_metrics = 2,
					       .compare = 1};
			struct perf_cell cell = {
				.kind = (enum perf_kind)kind,
				.size = *s,
				.depth = perf_values(&perf_options.depths, depths)[0],
				.batch = 1,
				.producers = 1,
				.consumers = 1};
			int error =
				perf_add_systems(&set, &cell, PERF_FLOW,
						 PERF_GROUP(PERF_QUOIT) | PERF_GROUP(PERF_HEAP) |
							 PERF_GROUP(PERF_LIMIT),
						 POLICIES);

			failed += error ? error : perf_set_run(&set);
			perf_set_free(&set);
		}
	}
	return failed;
}
