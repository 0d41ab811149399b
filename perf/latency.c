/* SPDX-License-Identifier: MIT */
/*
 * Round trips: one record there, its echo back over a second ring, the next when it has come. And
 * the open loop: records sent on a schedule, each counted from the time it was due, so that a stall
 * counts for all it delayed.
 */
#include "perf/bench.h"

int bench_latency(void)
{
	static const uint32_t sizes[] = {8, 64, 0}, depths[] = {1024, 0};
	int failed = 0;

	for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++) {
		for (int kind = PERF_SPSC; kind <= PERF_MPMC; kind++) {
			struct perf_set set = {.bench = "latency",
					       .metrics = perf_latency_metrics,
					       .n_metrics = PERF_LATENCY_METRICS,
					       .compare = 1,
					       .cdf = 1};
			struct perf_cell cell = {.kind = (enum perf_kind)kind,
						 .size = *s,
						 .batch = 1,
						 .producers = 1,
						 .consumers = 1};
			/* The bare line, which is one word deep and of no kind, in both. */
			struct perf_cell line = cell;
			int error;

			if (!perf_kind_wanted((enum perf_kind)kind))
				continue;
			line.kind = PERF_SPSC;
			line.size = 8;
			line.depth = 1;
			cell.depth = perf_values(&perf_options.depths, depths)[0];
			error = perf_add_systems(&set, &line, PERF_ECHO, PERF_GROUP(PERF_LIMIT),
						 PERF_WAITS_TRYING);
			if (error == 0)
				error = perf_add_systems(&set, &cell, PERF_ECHO,
							 PERF_GROUP(PERF_QUOIT) |
								 PERF_GROUP(PERF_PEER),
							 PERF_WAITS_USUAL);
			failed += error ? error : perf_set_run(&set);
			perf_set_free(&set);
		}
	}
	return failed;
}

int bench_openloop(void)
{
	static const uint32_t sizes[] = {64, 0}, depths[] = {1024, 0};
	static const double rates[] = {1e5, 1e6, 4e6, 0};
	const double given[] = {perf_options.rate, 0};
	int failed = 0;

	for (const double *r = perf_options.rate > 0 ? given : rates; *r > 0; r++) {
		struct perf_set set = {.bench = "openloop",
				       .metrics = perf_latency_metrics,
				       .n_metrics = PERF_LATENCY_METRICS,
				       .compare = 1,
				       .cdf = 1};
		struct perf_cell cell = {.kind = PERF_SPSC,
					 .size = perf_values(&perf_options.sizes, sizes)[0],
					 .depth = perf_values(&perf_options.depths, depths)[0],
					 .batch = 1,
					 .producers = 1,
					 .consumers = 1,
					 .rate = *r};
		unsigned groups = PERF_GROUP(PERF_QUOIT) | PERF_GROUP(PERF_PEER);
		int error;

		/* The record carries the time it was due. */
		if (cell.size < 24)
			cell.size = 24;
		/* Kernel mechanisms would drown at a million a second: that is no latency. */
		if (*r <= 1e5)
			groups |= PERF_GROUP(PERF_KERNEL);
		error = perf_add_systems(&set, &cell, PERF_OPENLOOP, groups, PERF_WAITS_USUAL);
		failed += error ? error : perf_set_run(&set);
		perf_set_free(&set);
	}
	return failed;
}
