/* SPDX-License-Identifier: MIT */
/* The benchmarks, and what they have in common. Each returns how many of its entries failed. */
#ifndef PERF_BENCH_H
#define PERF_BENCH_H

#include "perf/rounds.h"

#define PERF_LIST_MAX 32

struct perf_list {
	uint32_t value[PERF_LIST_MAX];
	unsigned n;
};

/* From the command line; an empty list means the benchmark's own. */
struct perf_options {
	struct perf_list sizes, depths, batches;
	double rate;         /* 0: the benchmark's own */
	unsigned endpoints;  /* on one side at most; 0: the benchmark's own */
	const char *systems; /* comma-separated names, NULL: all */
	const char *kinds;   /* "spsc", "mpmc", NULL: both */
	const char *output;  /* folder of `all` */
};
extern struct perf_options perf_options;

#define PERF_WAITS_TRYING (1u << PERF_TIGHT | 1u << PERF_PAUSE)
#define PERF_WAITS_ALL    ((1u << PERF_POLICIES) - 1)
/* What anyone would try first: two ways of spinning, and what the system itself offers. */
#define PERF_WAITS_USUAL (PERF_WAITS_TRYING | 1u << PERF_BLOCK | 1u << PERF_SPIN | 1u << PERF_FUTEX)

#define PERF_GROUP(g) (1u << (g))

/* The command line's list, or these. The array ends with 0. */
const uint32_t *perf_values(const struct perf_list *list, const uint32_t *otherwise);
/* Was this kind asked for? */
int perf_kind_wanted(enum perf_kind kind);
int perf_system_wanted(const struct perf_system *system);
/*
 * Add the cell for every system of the groups that supports it, in each of the policies, and, where
 * the system can, also in place.
 */
int perf_add_systems(struct perf_set *set, const struct perf_cell *cell, enum perf_shape shape,
		     unsigned groups, uint32_t policies);

/* Drop the entries that are not wanted. */
void perf_keep(struct perf_set *set, int (*wanted)(const struct perf_entry *e));

/* Metrics that several benchmarks use. */
double perf_get_rate(const struct perf_job *job, const struct perf_outcome *o);  /* M/s */
double perf_get_bytes(const struct perf_job *job, const struct perf_outcome *o); /* GB/s */
extern const struct perf_metric perf_rate_metrics[2];
/* "typical" is the median of the means of 64 trips in a row; the rest are of single trips. */
#define PERF_LATENCY_METRICS 7
extern const struct perf_metric perf_latency_metrics[PERF_LATENCY_METRICS];

int bench_limits(void);
int bench_throughput(void);
int bench_latency(void);
int bench_openloop(void);
int bench_oversubscribe(void);
int bench_waits(void);
int bench_sizes(void);
int bench_heap(void);
int bench_lifecycle(void);
int bench_pollset(void);
int bench_scale(void);
int bench_kernel(void);
int bench_peers(void);
int bench_instructions(void);

#endif
