/* SPDX-License-Identifier: MIT */
/*
 * How long it will take. Every command is run twice: first only to count what it would measure,
 * then for real. The count gives the time left in the progress line, and lets `all` end when it was
 * asked to: before each set the length of its intervals is chosen anew, from the time that is left,
 * what is left to be measured, and how much slower than planned it went so far.
 */
#ifndef PERF_PLAN_H
#define PERF_PLAN_H

#include "perf/rounds.h"

struct perf_plan {
	int counting;
	double budget; /* seconds for all; 0: intervals are as long as they were asked to be */
	double fixed, scaled; /* of all sets: seconds, and intervals (of a share of 1) */
	double fixed_done, scaled_done;
	double set_fixed, set_scaled; /* of the set that is being measured */
	double planned;               /* seconds that what is done should have taken */
	double base;                  /* length of an interval, before its set's share of it */
	uint64_t start_ns;
	int late; /* not even the shortest intervals will do: no more than the rounds asked for */
};
extern struct perf_plan perf_plan;

/* Add what the set will take. */
void perf_plan_count(const struct perf_set *set);
/* Count is over: now it is for real, within so many seconds; 0: whatever it takes. */
void perf_plan_start(double budget);
/* Before and after a set. Sets perf_config.seconds, the length of the set's intervals. */
void perf_plan_begin(const struct perf_set *set);
void perf_plan_end(void);
/* Seconds that all will take, with intervals as they are now. */
double perf_plan_total(void);
/* Percent done and minutes left, while the set is at this fraction; "" without a plan. */
const char *perf_plan_left(double fraction);

#endif
