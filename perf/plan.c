/* SPDX-License-Identifier: MIT */
/* Counts what is to be measured, and divides the time among it. */
#include "perf/plan.h"

#include <stdio.h>

/* Measured, two processors: what an interval takes besides itself. */
#define OVERHEAD_S      0.03 /* processes, rings, canaries */
#define OVERHEAD_S_GB   1.0  /* to make a gigabyte of rings, touch it, and give it back */
#define OVERHEAD_SELF_S 0.01 /* canaries alone */

/* `all` measures no longer than this, and no less, however little time it has. */
#define SECONDS_MIN 0.1
#define SECONDS_MAX 0.5
/* By this much more or less it may go as it did so far: until so many seconds have passed. */
#define SLOW_START_S 60

struct perf_plan perf_plan;

/* Heats see every way to wait; of each system and mode one or two are left for the rounds. */
static unsigned finalists(const struct perf_set *set)
{
	unsigned n = 0;

	for (unsigned i = 0; i < set->n; i++) {
		unsigned same = 0;

		for (unsigned k = 0; k < i && perf_set_has_heats(set); k++)
			same += (unsigned)perf_same_but_policy(&set->entries[i], &set->entries[k]);
		n += same == 0;
	}
	return n;
}

static double share(const struct perf_set *set)
{
	return set->share > 0 ? set->share : 1;
}

static double overhead(const struct perf_set *set)
{
	const struct perf_cell *c = &set->entries[0].job.cell;

	return OVERHEAD_S + (double)c->size * c->depth / 1e9 * OVERHEAD_S_GB;
}

/* While perf_config.seconds is as it was when the set was made. ret_scaled: intervals. */
static void cost(const struct perf_set *set, double *ret_fixed, double *ret_scaled)
{
	double n = finalists(set);

	*ret_fixed = *ret_scaled = 0;
	if (set->n == 0)
		return;
	if (set->entries[0].measure) {
		for (unsigned i = 0; i < set->n; i++) {
			*ret_fixed += OVERHEAD_SELF_S * perf_config.rounds;
			*ret_scaled += set->entries[i].seconds / perf_config.seconds *
				       perf_config.rounds * share(set);
		}
		return;
	}
	n *= perf_config.rounds;
	*ret_fixed = n * overhead(set);
	*ret_scaled = n * share(set);
	if (perf_set_has_heats(set)) {
		*ret_fixed += set->n * overhead(set);
		*ret_scaled += set->n * share(set) * PERF_HEAT_SHARE;
	}
}

void perf_plan_count(const struct perf_set *set)
{
	double fixed, scaled;

	cost(set, &fixed, &scaled);
	perf_plan.fixed += fixed;
	perf_plan.scaled += scaled;
}

static double passed(void)
{
	return (double)(perf_now_ns() - perf_plan.start_ns) / 1e9;
}

/* How much longer than planned it took so far. */
static double drag(void)
{
	return (passed() + SLOW_START_S) / (perf_plan.planned + SLOW_START_S);
}

static double fixed_left(void)
{
	return perf_plan.fixed - perf_plan.fixed_done;
}

static double scaled_left(void)
{
	return perf_plan.scaled - perf_plan.scaled_done;
}

static void choose_base(void)
{
	double base = (perf_plan.budget - passed()) / drag() - fixed_left();

	if (perf_plan.budget <= 0)
		return;
	base = scaled_left() > 0 ? base / scaled_left() : SECONDS_MAX;
	perf_plan.late = !(base >= SECONDS_MIN);
	if (perf_plan.late)
		base = SECONDS_MIN;
	perf_plan.base = base < SECONDS_MAX ? base : SECONDS_MAX;
}

void perf_plan_start(double budget)
{
	perf_plan.counting = 0;
	perf_plan.budget = budget;
	perf_plan.base = perf_config.seconds;
	perf_plan.start_ns = perf_now_ns();
	choose_base();
}

void perf_plan_begin(const struct perf_set *set)
{
	cost(set, &perf_plan.set_fixed, &perf_plan.set_scaled);
	choose_base();
	perf_config.seconds = perf_plan.base * share(set);
}

void perf_plan_end(void)
{
	perf_plan.fixed_done += perf_plan.set_fixed;
	perf_plan.scaled_done += perf_plan.set_scaled;
	perf_plan.planned += perf_plan.set_fixed + perf_plan.set_scaled * perf_plan.base;
	perf_config.seconds = perf_plan.base;
}

double perf_plan_total(void)
{
	return perf_plan.fixed + perf_plan.scaled * perf_plan.base;
}

const char *perf_plan_left(double fraction)
{
	static char text[64];
	double left;

	text[0] = 0;
	if (perf_plan.fixed + perf_plan.scaled <= 0)
		return text;
	left = fixed_left() - fraction * perf_plan.set_fixed +
	       (scaled_left() - fraction * perf_plan.set_scaled) * perf_plan.base;
	left = left > 0 ? left * drag() : 0;
	snprintf(text, sizeof(text),
		 left < 90 ? "%.0f %%, %.0f s left: " : "%.0f %%, %.0f min left: ",
		 100 * passed() / (passed() + left + 1e-9), left < 90 ? left : left / 60);
	return text;
}
