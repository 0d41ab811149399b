/* SPDX-License-Identifier: MIT */
/*
 * What becomes of one MPMC ring with more and more endpoints, and with more and more processors.
 * The waits are those that leave the processor to others; spinning is for those who have one each.
 */
#include "perf/bench.h"

#include <stdio.h>

/* In place the memory is the same, and so are the lines that all fight for. */
static int is_copying(const struct perf_entry *e)
{
	return e->job.cell.mode == PERF_COPY;
}

static int run_cell(uint32_t producers, uint32_t consumers, const char *mode)
{
	static const uint32_t sizes[] = {64, 0}, depths[] = {1024, 0};
	struct perf_set set = {.bench = "scale",
			       .metrics = perf_rate_metrics,
			       .n_metrics = 1,
			       .all_policies = 1,
			       .share = 0.4};
	struct perf_cell cell = {.kind = PERF_MPMC,
				 .size = perf_values(&perf_options.sizes, sizes)[0],
				 .depth = perf_values(&perf_options.depths, depths)[0],
				 .batch = 1,
				 .producers = producers,
				 .consumers = consumers};
	int failed = perf_add_systems(&set, &cell, PERF_FLOW, PERF_GROUP(PERF_QUOIT),
				      1u << PERF_YIELD | 1u << PERF_FUTEX);

	perf_keep(&set, is_copying);
	for (unsigned i = 0; i < set.n; i++)
		set.entries[i].mode = mode;
	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

int bench_scale(void)
{
	unsigned all = perf_config.cpus;
	uint32_t most = perf_options.endpoints ? perf_options.endpoints : 64;
	char mode[32];
	int failed = 0;

	for (uint32_t n = 1; n <= most; n *= 2) {
		failed += run_cell(n, n, "n:n");
		if (n > 1) {
			failed += run_cell(n, 1, "n:1");
			failed += run_cell(1, n, "1:n");
		}
	}
	for (unsigned cpus = 1; cpus <= all; cpus = cpus < all && 2 * cpus > all ? all : 2 * cpus) {
		uint32_t sides = all < 4 ? 2 : (all + 1) / 2;

		sides = sides < most ? sides : most;

		snprintf(mode, sizeof(mode), "%u cpus", cpus);
		perf_config.cpus = cpus;
		failed += run_cell(sides, sides, mode);
	}
	perf_config.cpus = all;
	return failed;
}
