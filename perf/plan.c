/* SPDX-License-Identifier: MIT */
/* Counts what is to be measured, and tells how much of it is left. */
#include "perf/plan.h"

#include <stdio.h>

struct perf_plan perf_plan;

/* Heats see every way to wait; of each system and mode one or two are left for the rounds. */
static unsigned finalists(const struct perf_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < set->n; i++) {
		unsigned same = 0;

		for (unsigned k = 0; k < i && !set->all_policies; k++)
			same += (unsigned)perf_same_but_policy(&set->entries[i], &set->entries[k]);
		n += same == 0;
	}
	return n;
}

static void cost(const struct perf_set *set, double *ret_fixed, double *ret_scaled)
{
	double itself = 0;
	unsigned n = finalists(set), rounds = perf_config.rounds;

	*ret_fixed = *ret_scaled = 0;
	for (unsigned i = 0; i < set->n; i++)
		itself += set->entries[i].measure ? set->entries[i].seconds : 0;
	if (itself > 0) {
		*ret_fixed = itself * rounds;
		return;
	}
	*ret_fixed = (double)n * rounds * PERF_OVERHEAD_S;
	*ret_scaled = (double)n * rounds * perf_set_share(set);
	if (perf_set_has_heats(set)) {
		*ret_fixed += set->n * PERF_OVERHEAD_S;
		*ret_scaled += set->n * perf_set_share(set) * PERF_HEAT_SHARE;
	}
}

void perf_plan_count(const struct perf_set *set)
{
	double fixed, scaled;

	cost(set, &fixed, &scaled);
	perf_plan.fixed += fixed;
	perf_plan.scaled += scaled;
}

double perf_plan_set(const struct perf_set *set)
{
	double fixed, scaled;

	cost(set, &fixed, &scaled);
	return fixed + scaled * perf_config.seconds;
}

double perf_plan_total(void)
{
	return perf_plan.fixed + perf_plan.scaled * perf_config.seconds;
}

const char *perf_plan_left(const struct perf_set *set, double fraction)
{
	static char text[64];
	double total = perf_plan_total(), done = perf_plan.done + fraction * perf_plan_set(set);
	double passed = (double)(perf_now_ns() - perf_plan.start_ns) / 1e9, left;

	text[0] = 0;
	if (total <= 0 || done > total)
		return text;
	/* At first by the plan, then more and more by what it took so far. */
	left = (total - done) * (passed + 10) / (done + 10);
	if (left < 90)
		snprintf(text, sizeof(text), "%.0f %%, %.0f s left: ", done / total * 100, left);
	else
		snprintf(text, sizeof(text), "%.0f %%, %.0f min left: ", done / total * 100,
			 left / 60);
	return text;
}
