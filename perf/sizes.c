/* SPDX-License-Identifier: MIT */
/*
 * From 8 B to 1 MiB, copying and in place, beside the raw stream of the same pieces through the
 * same amount of memory: what a ring costs over moving the bytes.
 */
#include "perf/bench.h"

#include <string.h>

#define SMALL_RING (1u << 20) /* bytes: within the caches */
#define LARGE_RING (16u << 20)

/* What takes records of any length. */
static int takes_any(const struct perf_entry *e)
{
	return e->job.system->group != PERF_PEER || strcmp(e->job.system->name, "libqb") == 0;
}

int bench_sizes(void)
{
	static const uint32_t sizes[] = {8,     32,    64,     256,     1024, 4096,
					 16384, 65536, 262144, 1048576, 0};
	int failed = 0;

	for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++) {
		for (uint32_t bytes = SMALL_RING; bytes <= LARGE_RING; bytes *= 16) {
			struct perf_set set = {.bench = "sizes",
					       .metrics = perf_rate_metrics,
					       .n_metrics = 2,
					       .compare = 1};
			struct perf_cell cell = {.kind = PERF_SPSC,
						 .size = *s,
						 .depth = bytes / *s,
						 .batch = 1,
						 .producers = 1,
						 .consumers = 1};
			int error;

			/* At least four pieces; and small records do not need the large ring. */
			if (perf_options.depths.n)
				cell.depth = perf_options.depths.value[0];
			else if (bytes / *s < 4 || (bytes == LARGE_RING && *s < 4096))
				continue;
			error = perf_add_systems(&set, &cell, PERF_FLOW,
						 PERF_GROUP(PERF_QUOIT) | PERF_GROUP(PERF_PEER) |
							 PERF_GROUP(PERF_LIMIT),
						 PERF_WAITS_USUAL);
			perf_keep(&set, takes_any);
			failed += error ? error : perf_set_run(&set);
			perf_set_free(&set);
			if (perf_options.depths.n)
				break;
		}
	}
	return failed;
}
