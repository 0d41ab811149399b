/* SPDX-License-Identifier: MIT */
/*
 * Records a second from one producer to one consumer, by kind, size, depth and batch; and with as
 * many producers and consumers as is too much.
 */
#include "perf/bench.h"

static int run_cell(const char *bench, const struct perf_cell *cell, uint32_t policies)
{
	struct perf_set set = {
		.bench = bench, .metrics = perf_rate_metrics, .n_metrics = 1, .compare = 1};
	int failed = perf_add_systems(&set, cell, PERF_FLOW,
				      PERF_GROUP(PERF_QUOIT) | PERF_GROUP(PERF_PEER), policies);

	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

/* Deep rings of large records measure memory: for the many they add nothing. */
static int is_too_much(enum perf_kind kind, uint32_t size, uint32_t depth)
{
	return kind == PERF_MPMC && perf_options.depths.n == 0 && (uint64_t)size * depth > 4u << 20;
}

static int run_batch(enum perf_kind kind, uint32_t batch)
{
	static const uint32_t spsc_sizes[] = {8, 64, 256, 1024, 4096, 0};
	static const uint32_t mpmc_sizes[] = {8, 64, 0};
	static const uint32_t depths[] = {1024, 65536, 0};
	const uint32_t *sizes =
		perf_values(&perf_options.sizes, kind == PERF_MPMC ? mpmc_sizes : spsc_sizes);
	int failed = 0;

	for (const uint32_t *s = sizes; *s; s++) {
		for (const uint32_t *d = perf_values(&perf_options.depths, depths); *d; d++) {
			struct perf_cell cell = {.kind = kind,
						 .size = *s,
						 .depth = *d,
						 .batch = batch,
						 .producers = 1,
						 .consumers = 1};

			if (!is_too_much(kind, *s, *d))
				failed += run_cell("throughput", &cell, PERF_WAITS_USUAL);
		}
	}
	return failed;
}

int bench_throughput(void)
{
	static const uint32_t batches[] = {1, 32, 0};
	int failed = 0;

	for (int kind = PERF_SPSC; kind <= PERF_MPMC; kind++) {
		if (!perf_kind_wanted((enum perf_kind)kind))
			continue;
		for (const uint32_t *b = perf_values(&perf_options.batches, batches); *b; b++)
			failed += run_batch((enum perf_kind)kind, *b);
	}
	return failed;
}

int bench_oversubscribe(void)
{
	static const uint32_t sizes[] = {8, 0}, depths[] = {1024, 0}, batches[] = {1, 32, 0};
	int failed = 0;

	for (const uint32_t *b = perf_values(&perf_options.batches, batches); *b; b++) {
		for (const uint32_t *s = perf_values(&perf_options.sizes, sizes); *s; s++) {
			for (uint32_t sides = 1; sides <= 4; sides *= 2) {
				struct perf_cell cell = {
					.kind = PERF_MPMC,
					.size = *s,
					.depth = perf_values(&perf_options.depths, depths)[0],
					.batch = *b,
					.producers = sides,
					.consumers = sides};

				failed += run_cell("oversubscribe", &cell,
						   PERF_WAITS_USUAL | 1u << PERF_YIELD);
			}
		}
	}
	return failed;
}
