/* SPDX-License-Identifier: MIT */
/*
 * The kernel's mechanisms beside quoit: throughput and round trips of those that carry data,
 * hand-over of those that only synchronise. quoit is there both as it waits by default and
 * spinning.
 */
#include "perf/bench.h"

static int run_shape(const char *bench, enum perf_shape shape, uint32_t size, uint32_t depth,
		     unsigned groups)
{
	int echo = shape == PERF_ECHO;
	struct perf_set set = {.bench = bench,
			       .metrics = echo ? perf_latency_metrics : perf_rate_metrics,
			       .n_metrics = echo ? PERF_LATENCY_METRICS : 2,
			       .all_policies = 1,
			       .share = 0.4, /* no close race */
			       .compare = 1,
			       .cdf = echo};
	struct perf_cell cell = {.kind = PERF_SPSC,
				 .size = size,
				 .depth = depth,
				 .batch = 1,
				 .producers = 1,
				 .consumers = 1};
	int failed = perf_add_systems(&set, &cell, shape, groups,
				      1u << PERF_BLOCK | 1u << PERF_SPIN | 1u << PERF_FUTEX);

	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

int bench_kernel(void)
{
	static const uint32_t sizes[] = {64, 4096, 0}, depths[] = {1024, 0};
	uint32_t depth = perf_values(&perf_options.depths, depths)[0];
	unsigned both = PERF_GROUP(PERF_KERNEL) | PERF_GROUP(PERF_QUOIT);
	int failed = 0;

	for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++)
		failed += run_shape("kernel", PERF_FLOW, *s, depth, both);
	for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++)
		failed += run_shape("kernel-echo", PERF_ECHO, *s, depth, both);
	return failed + run_shape("kernel-handover", PERF_ECHO, 8, 1, PERF_GROUP(PERF_KERNEL));
}
