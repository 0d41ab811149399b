/* SPDX-License-Identifier: MIT */
/*
 * Runs one interval: sides that are processes of their own, pinned, set up and waiting before the
 * clock starts, with a canary before and after. docs/PERFORMANCE.md, "Method".
 */
#ifndef PERF_MEASURE_H
#define PERF_MEASURE_H

#include <signal.h>

#include "perf/perf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the two processors of the canary are, as far as a cache line can tell. */
enum perf_placement { PERF_NEAR, PERF_FAR, PERF_UNSTEADY, PERF_PLACEMENTS };

enum perf_shape {
	PERF_FLOW,     /* producers and consumers */
	PERF_ECHO,     /* ping and pong, two rings */
	PERF_OPENLOOP, /* schedule and collect */
	PERF_WAITING,  /* a consumer waits in vain, the producer sends only the end */
};

struct perf_job {
	const struct perf_system *system;
	struct perf_cell cell;
	enum perf_shape shape;
	double seconds;
	int count_syscalls;
};

/* What an interval gave. */
struct perf_outcome {
	double seconds; /* first producer's start to last consumer's end */
	uint64_t records, disorder;
	uint64_t producer_cpu_ns, consumer_cpu_ns;  /* sums */
	uint64_t syscalls, switches, sleeps, wakes; /* sums; syscalls UINT64_MAX: not countable */
	double canary[2];                           /* ns one way, before and after */
	enum perf_placement placement;
	struct perf_histogram histogram, blocks; /* ticks */
};

struct perf_config {
	double seconds;
	unsigned rounds, max_rounds;
	unsigned cpus, cpu[PERF_SIDES_MAX];
	double near_ns;  /* a canary below this is "near" */
	double patience; /* seconds until a side that does not finish is given up */
	int verbose;
};
extern struct perf_config perf_config;
/* Set by a signal: what is being measured is ended and put away, and nothing more begins. */
extern volatile sig_atomic_t perf_stopped;

/* Fork the canary's partner. Once, before any thread. 0 or negative errno. */
int perf_measure_start(void);
void perf_measure_stop(void);
/* One-way time of a cache line between the first two processors, ns; 0 if there is only one. */
double perf_canary(void);
enum perf_placement perf_placement(double before, double after);
const char *perf_placement_name(enum perf_placement placement);
void perf_pin(unsigned cpu);
void perf_unpin(void); /* to all processors that may be used */

/* 0, or a negative errno and a sentence in why. */
int perf_interval(const struct perf_job *job, struct perf_outcome *ret, char *why, size_t why_size);
/* Shared, zeroed memory, touched by the caller. NULL when there is none. */
void *perf_shared(size_t size);
void perf_touch(void *area, size_t size);

#ifdef __cplusplus
}
#endif

#endif
