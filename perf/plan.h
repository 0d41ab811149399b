/* SPDX-License-Identifier: MIT */
/*
 * How long it will take. Every command is run twice: first only to count what it would measure,
 * then for real. The count gives the time left in the progress line, and lets `all` choose the
 * length of its intervals so that it ends when it was asked to.
 */
#ifndef PERF_PLAN_H
#define PERF_PLAN_H

#include "perf/rounds.h"

#define PERF_OVERHEAD_S                                                                            \
	0.03 /* of an interval: processes, rings, canaries; measured, two processors */

struct perf_plan {
	int counting;
	double fixed;  /* seconds that do not depend on the length of an interval */
	double scaled; /* how many times that length */
	double done;   /* seconds, of what the plan says */
	uint64_t start_ns;
};
extern struct perf_plan perf_plan;

/* Add what the set will take. */
void perf_plan_count(const struct perf_set *set);
/* Seconds that the set, or all that was counted, takes by plan. */
double perf_plan_set(const struct perf_set *set);
double perf_plan_total(void);
/* Percent done and minutes left, while the set is at this fraction; "" without a plan. */
const char *perf_plan_left(const struct perf_set *set, double fraction);

#endif
