/* SPDX-License-Identifier: MIT */
/*
 * The ways to wait.
 *
 * busy: both sides have work all the time. What does being able to sleep cost, in records a second
 * and in system calls a record?
 *
 * idle: a consumer waits and nothing comes. How much of a processor does it burn?
 *
 * wake: both sides sleep between any two records. Round trip, beside bare kernel primitives.
 */
#include "perf/bench.h"

#include <math.h>
#include <string.h>

#define THINK_NS 200000 /* long enough for every peer to have gone to sleep */

/* Needs the raw_syscalls tracepoint: tracefs mounted, and the right to use it. */
static double get_syscalls(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return o->syscalls == UINT64_MAX ? NAN : (double)o->syscalls / (double)o->records;
}

/* The calls that the library counts itself. */
static double get_sleeps(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return (double)(o->sleeps + o->wakes) / (double)o->records;
}

static double get_producer_cpu(const struct perf_job *job, const struct perf_outcome *o)
{
	return (double)o->producer_cpu_ns / 1e7 / o->seconds / job->cell.producers;
}

static double get_consumer_cpu(const struct perf_job *job, const struct perf_outcome *o)
{
	return (double)o->consumer_cpu_ns / 1e7 / o->seconds / job->cell.consumers;
}

static const struct perf_metric busy_metrics[] = {
	{NULL, "M/s", 1, perf_get_rate},
	{"syscalls", "1/record", 0, get_syscalls},
	{"sleeps+wakes", "1/record", 0, get_sleeps},
	{"producer", "% cpu", 0, get_producer_cpu},
	{"consumer", "% cpu", 0, get_consumer_cpu},
};

static const struct perf_metric idle_metrics[] = {
	{"consumer", "% cpu", 0, get_consumer_cpu},
};

static int is_copying(const struct perf_entry *e)
{
	return e->job.cell.mode == PERF_COPY;
}

/* What the library could have built its sleeping on, and no more. */
static int is_worth_waking(const struct perf_entry *e)
{
	static const char *const names[] = {"quoit", "futex", "eventfd", "posix-sem", "sysv-sem"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(e->job.system->name, names[i]) == 0)
			return is_copying(e);
	}
	return 0;
}

static int run_waits(const char *bench, enum perf_kind kind, enum perf_shape shape,
		     const struct perf_metric *metrics, unsigned n_metrics, uint32_t policies)
{
	static const uint32_t sizes[] = {64, 0}, depths[] = {1024, 0};
	struct perf_set set = {
		.bench = bench,
		.metrics = metrics,
		.n_metrics = n_metrics,
		.all_policies = 1,
		/* A consumer wakes now and then to look about: see it several times. */
		.share = shape == PERF_WAITING ? 2 : 1,
		.against_policy = shape == PERF_FLOW ? "spin" : NULL};
	struct perf_cell cell = {.kind = kind,
				 .size = perf_values(&perf_options.sizes, sizes)[0],
				 .depth = perf_values(&perf_options.depths, depths)[0],
				 .batch = 1,
				 .producers = 1,
				 .consumers = 1};
	int failed = perf_add_systems(&set, &cell, shape, PERF_GROUP(PERF_QUOIT), policies);

	perf_keep(&set, is_copying);
	for (unsigned i = 0; i < set.n; i++)
		set.entries[i].job.count_syscalls = 1;
	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

static int run_wakes(enum perf_kind kind)
{
	struct perf_set set = {.bench = "waits-wake",
			       .metrics = perf_latency_metrics,
			       .n_metrics = PERF_LATENCY_METRICS,
			       .all_policies = 1,
			       .against_system = "futex",
			       .cdf = 1};
	struct perf_cell cell = {.kind = kind,
				 .size = 8,
				 .depth = 1024,
				 .batch = 1,
				 .producers = 1,
				 .consumers = 1,
				 .think_ns = THINK_NS};
	/* Bare primitives hand over one word. */
	struct perf_cell bare = cell;
	int error;

	bare.kind = PERF_SPSC;
	bare.depth = 1;
	error = perf_add_systems(&set, &bare, PERF_ECHO, PERF_GROUP(PERF_KERNEL), 1u << PERF_BLOCK);
	if (error == 0)
		error = perf_add_systems(&set, &cell, PERF_ECHO, PERF_GROUP(PERF_QUOIT),
					 PERF_WAITS_ALL & ~(1u << PERF_SPIN | 1u << PERF_YIELD));
	perf_keep(&set, is_worth_waking);
	if (error == 0)
		error = perf_set_run(&set);
	perf_set_free(&set);
	return error;
}

int bench_waits(void)
{
	int failed = 0;

	for (int k = PERF_SPSC; k <= PERF_MPMC; k++) {
		enum perf_kind kind = (enum perf_kind)k;

		if (!perf_kind_wanted(kind))
			continue;
		failed += run_waits("waits-busy", kind, PERF_FLOW, busy_metrics, 5, PERF_WAITS_ALL);
		failed += run_waits("waits-idle", kind, PERF_WAITING, idle_metrics, 1,
				    PERF_WAITS_ALL);
		failed += run_wakes(kind);
	}
	return failed;
}
