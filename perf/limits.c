/* SPDX-License-Identifier: MIT */
/*
 * What the machine can do at best: a cache line to and fro, bytes streamed between two processors
 * by the grain of the hand-over, and what single instructions and calls cost.
 */
#include "perf/bench.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- primitives ----------------------------------------------------------------------------- */

static uint64_t word;

static void do_cmpxchg(void)
{
	uint64_t expected = __atomic_load_n(&word, __ATOMIC_RELAXED);

	__atomic_compare_exchange_n(&word, &expected, expected + 1, 0, __ATOMIC_SEQ_CST,
				    __ATOMIC_RELAXED);
}

static void do_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void do_pause(void)
{
	perf_cpu_pause();
}

static void do_ticks(void)
{
	(void)perf_ticks();
}

static void do_clock(void)
{
	(void)perf_now_ns();
}

static void do_syscall(void)
{
	syscall(SYS_getppid);
}

static void do_futex_wake(void)
{
	static uint32_t futex;

	syscall(SYS_futex, &futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Other processors are idle then, but for the canary's partner, which sleeps. */
static void do_membarrier(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

/* Forced inline for each, so that what is timed is the operation. */
static inline __attribute__((always_inline)) double time_of(void (*once)(void), unsigned loops)
{
	uint64_t end = perf_now_ns() + (uint64_t)(perf_config.seconds * 1e9 / 5);
	double best = 1e18;

	do {
		uint64_t t0 = perf_now_ns();
		double ns;

		for (unsigned i = 0; i < loops; i++)
			once();
		ns = (double)(perf_now_ns() - t0) / loops;
		if (ns < best)
			best = ns;
	} while (perf_now_ns() < end);
	return best;
}

/* X(operation, name, calls at a time) */
#define PRIMITIVES(X)                                                                              \
	X(cmpxchg, "compare-exchange", 100000)                                                     \
	X(fence, "seq-cst-fence", 100000)                                                          \
	X(pause, "pause", 100000)                                                                  \
	X(ticks, "tick-counter", 100000)                                                           \
	X(clock, "clock_gettime", 100000)                                                          \
	X(syscall, "system-call", 20000)                                                           \
	X(futex_wake, "futex-wake-nobody", 20000)                                                  \
	X(membarrier, "membarrier-idle", 5000)

#define TIMER(OPERATION, NAME, LOOPS)                                                              \
	static double time_##OPERATION(void)                                                       \
	{                                                                                          \
		return time_of(do_##OPERATION, LOOPS);                                             \
	}
PRIMITIVES(TIMER)

static const struct {
	const char *name;
	double (*time)(void);
} primitives[] = {
#define ROW(OPERATION, NAME, LOOPS) {NAME, time_##OPERATION},
	PRIMITIVES(ROW)};

static int measure_primitive(const struct perf_entry *e, double *values, char *why, size_t size)
{
	(void)why;
	(void)size;
	for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++) {
		if (strcmp(e->name, primitives[i].name) == 0)
			values[0] = primitives[i].time();
	}
	return 0;
}

static const struct perf_metric nanoseconds[] = {{NULL, "ns", 0, NULL}};

static int limits_primitives(void)
{
	struct perf_set set = {.bench = "limits", .metrics = nanoseconds, .n_metrics = 1};
	int failed;

	syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
	for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++) {
		struct perf_entry *e = perf_set_add(&set);

		if (e == NULL)
			return 1;
		e->name = primitives[i].name;
		e->mode = "once";
		e->measure = measure_primitive;
		e->local = 1;
		e->seconds = perf_config.seconds / 5;
	}
	failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

/* ---- memcpy on one processor ---------------------------------------------------------------- */

/* The same memory again and again: it comes from the smallest cache that holds both halves. */
static int measure_memcpy(const struct perf_entry *e, double *values, char *why, size_t why_size)
{
	size_t half = e->job.cell.size / 2;
	uint64_t end = perf_now_ns() + (uint64_t)(perf_config.seconds * 1e9 / 5);
	char *p = aligned_alloc(4096, e->job.cell.size);
	double best = 0;

	if (p == NULL) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	memset(p, 1, e->job.cell.size);
	do {
		unsigned loops = (unsigned)((16u << 20) / half) + 1;
		uint64_t t0 = perf_now_ns();
		double rate;

		for (unsigned i = 0; i < loops; i++) {
			memcpy(p + half, p, half);
			__asm__ volatile("" : : "r"(p) : "memory");
		}
		rate = (double)half * loops / (double)(perf_now_ns() - t0);
		if (rate > best)
			best = rate;
	} while (perf_now_ns() < end);
	values[0] = best;
	free(p);
	return 0;
}

static const struct perf_metric gigabytes[] = {{NULL, "GB/s", 1, NULL}};

static int limits_memcpy(void)
{
	static const uint32_t sizes[] = {16u << 10, 512u << 10, 8u << 20, 512u << 20};
	struct perf_set set = {.bench = "limits", .metrics = gigabytes, .n_metrics = 1};
	int failed;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct perf_entry *e = perf_set_add(&set);

		if (e == NULL)
			return 1;
		e->name = "memcpy";
		e->mode = "local";
		e->job.cell.size = sizes[i];
		e->measure = measure_memcpy;
		e->local = 1;
		e->seconds = perf_config.seconds / 5;
	}
	failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

/* ---- between processors --------------------------------------------------------------------- */

static int limits_line(void)
{
	struct perf_set set = {.bench = "limits",
			       .metrics = perf_latency_metrics,
			       .n_metrics = PERF_LATENCY_METRICS,
			       .all_policies = 1,
			       .cdf = 1};
	struct perf_cell cell = {.size = 8, .depth = 1, .batch = 1, .producers = 1, .consumers = 1};
	int failed =
		perf_add_systems(&set, &cell, PERF_ECHO, PERF_GROUP(PERF_LIMIT), PERF_WAITS_TRYING);

	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

static int limits_stream(uint32_t piece, uint32_t total)
{
	struct perf_set set = {.bench = "limits", .metrics = perf_rate_metrics, .n_metrics = 2};
	struct perf_cell cell = {
		.size = piece, .depth = total / piece, .batch = 1, .producers = 1, .consumers = 1};
	int failed =
		perf_add_systems(&set, &cell, PERF_FLOW, PERF_GROUP(PERF_LIMIT), PERF_WAITS_TRYING);

	if (failed == 0)
		failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}

int bench_limits(void)
{
	static const uint32_t pieces[] = {64, 4096, 65536, 0};
	static const uint32_t totals[] = {64u << 10, 1u << 20, 4u << 20, 16u << 20, 0};
	int failed = limits_line() + limits_primitives() + limits_memcpy();

	for (const uint32_t *p = perf_values(&perf_options.sizes, pieces); *p; p++) {
		for (const uint32_t *t = totals; *t; t++) {
			if (*t / *p >= 2)
				failed += limits_stream(*p, *t);
		}
	}
	return failed;
}
