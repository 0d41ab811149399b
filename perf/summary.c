/* SPDX-License-Identifier: MIT */
/*
 * What is made of a set's rounds. Only steady samples count, near and far are never mixed, and a
 * ratio is taken only between two samples of one round and one placement.
 */
#include "perf/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct summary {
	double min, median, max;
	unsigned n;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static struct summary summarise(double *v, unsigned n)
{
	struct summary s = {0};

	if (n == 0)
		return s;
	qsort(v, n, sizeof(*v), by_value);
	s.n = n;
	s.min = v[0];
	s.max = v[n - 1];
	s.median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
	return s;
}

/* ---- entries -------------------------------------------------------------------------------- */

const char *perf_entry_name(const struct perf_entry *e)
{
	return e->name ? e->name : e->job.system->name;
}

const char *perf_entry_policy(const struct perf_entry *e)
{
	return e->measure ? NULL : perf_policy_name(e->job.cell.policy);
}

struct perf_row perf_entry_label(const struct perf_set *set, const struct perf_entry *e)
{
	const struct perf_cell *c = &e->job.cell;
	struct perf_row row = {.bench = set->bench, .system = perf_entry_name(e), .mode = e->mode};

	row.size = c->size;
	row.depth = c->depth;
	if (e->measure)
		return row;
	row.kind = c->kind == PERF_MPMC ? "mpmc" : "spsc";
	row.seconds = e->job.seconds;
	if (e->job.system->group == PERF_HEAP) {
		/* The same library and the same calls; what differs is where the records lie. */
		row.system = "quoit";
		row.mode = c->mode == PERF_INPLACE ? "heap" : "heap-copy";
	}
	if (row.mode == NULL)
		row.mode = c->mode == PERF_INPLACE ? "inplace" : "copy";
	row.batch = c->batch;
	row.producers = c->producers;
	row.consumers = c->consumers;
	row.rate = c->rate;
	row.policy = perf_entry_policy(e);
	row.threads = e->job.system->threads;
	row.disorder = e->disorder;
	return row;
}

void perf_entry_fail(const struct perf_set *set, struct perf_entry *e, const char *why)
{
	struct perf_row row = perf_entry_label(set, e);

	e->failed = 1;
	perf_print_failure(&row, why);
}

/* ---- figures -------------------------------------------------------------------------------- */

static struct summary collect(const struct perf_entry *e, unsigned rounds, unsigned metric,
			      enum perf_placement p, double *ret_canary)
{
	double v[PERF_ROUNDS_MAX], canary = 0;
	unsigned n = 0;

	for (unsigned r = 0; r < rounds; r++) {
		if (!e->sample[r].valid || e->sample[r].placement != p ||
		    isnan(e->sample[r].value[metric]))
			continue;
		v[n++] = e->sample[r].value[metric];
		canary += e->sample[r].canary;
	}
	if (ret_canary)
		*ret_canary = n ? canary / n : 0;
	return summarise(v, n);
}

/* Is this entry the best among those that differ only in how they wait? */
static int is_best(const struct perf_set *set, const struct perf_entry *e, unsigned rounds,
		   enum perf_placement p)
{
	struct summary mine = collect(e, rounds, 0, p, NULL);

	if (mine.n == 0)
		return 0;
	for (unsigned i = 0; i < set->n; i++) {
		const struct perf_entry *other = &set->entries[i];
		struct summary theirs;

		if (other == e || other->failed || !perf_same_but_policy(e, other))
			continue;
		theirs = collect(other, rounds, 0, p, NULL);
		if (theirs.n == 0)
			continue;
		if (theirs.median != mine.median
			    ? (theirs.median > mine.median) == set->metrics[0].higher
			    : other < e)
			return 0;
	}
	return 1;
}

static void report_entry(const struct perf_set *set, const struct perf_entry *e, unsigned rounds,
			 enum perf_placement p)
{
	struct perf_row row = perf_entry_label(set, e);

	row.placement = perf_placement_name(p);
	for (unsigned m = 0; m < set->n_metrics; m++) {
		struct summary s = collect(e, rounds, m, p, &row.canary);

		if (s.n == 0)
			continue;
		row.stat = set->metrics[m].stat;
		row.unit = set->metrics[m].unit;
		row.min = s.min;
		row.median = s.median;
		row.max = s.max;
		row.rounds = s.n;
		perf_print_row(&row);
	}
	if (e->merged && set->cdf) {
		row.stat = NULL;
		perf_print_cdf(&row, &e->merged[p]);
	}
}

/* The ratio of a to b, round by round: above 1, a is better. */
static void report_ratio(const struct perf_set *set, const struct perf_entry *a,
			 const struct perf_entry *b, unsigned rounds, enum perf_placement p)
{
	struct perf_row row = perf_entry_label(set, a);
	char against[128];

	snprintf(against, sizeof(against), "%s%s%s%s%s", perf_entry_label(set, b).system,
		 b->measure ? "" : "/", b->measure ? "" : perf_entry_label(set, b).mode,
		 b->measure ? "" : "/", b->measure ? "" : perf_entry_policy(b));
	row.placement = perf_placement_name(p);
	row.against = against;
	row.unit = "ratio";
	/* For the eye, the first figure is enough. */
	for (unsigned m = 0; m < (perf_json ? set->n_metrics : 1); m++) {
		double v[PERF_ROUNDS_MAX];
		struct summary s;
		unsigned n = 0;

		/* Records and bytes a second have one ratio. */
		if (m > 0 && set->metrics[m].stat == NULL)
			continue;
		for (unsigned r = 0; r < rounds; r++) {
			const struct perf_sample *x = &a->sample[r], *y = &b->sample[r];
			double num = set->metrics[m].higher ? x->value[m] : y->value[m];
			double den = set->metrics[m].higher ? y->value[m] : x->value[m];

			if (x->valid && y->valid && x->placement == p && y->placement == p &&
			    den > 0)
				v[n++] = num / den;
		}
		if (n == 0)
			continue;
		s = summarise(v, n);
		row.stat = set->metrics[m].stat;
		row.min = s.min;
		row.median = s.median;
		row.max = s.max;
		row.rounds = n;
		perf_print_row(&row);
	}
}

static int is_compared(const struct perf_set *set, const struct perf_entry *a,
		       const struct perf_entry *b)
{
	if (a == b || a->failed || b->failed)
		return 0;
	if (set->against_policy)
		return perf_same_but_policy(a, b) &&
		       strcmp(perf_entry_policy(b), set->against_policy) == 0;
	if (set->against_system)
		return strcmp(perf_entry_name(b), set->against_system) == 0;
	return set->compare && !a->measure && !b->measure && a->job.system->group == PERF_QUOIT &&
	       b->job.system->group != PERF_QUOIT;
}

static void print_placement(const struct perf_set *set, unsigned rounds, enum perf_placement p)
{
	for (unsigned i = 0; i < set->n; i++) {
		if (!set->entries[i].failed &&
		    (set->all_policies || is_best(set, &set->entries[i], rounds, p)))
			report_entry(set, &set->entries[i], rounds, p);
	}
	for (unsigned i = 0; i < set->n; i++) {
		for (unsigned k = 0; k < set->n; k++) {
			const struct perf_entry *a = &set->entries[i], *b = &set->entries[k];

			if (is_compared(set, a, b) &&
			    (set->all_policies ||
			     (is_best(set, a, rounds, p) && is_best(set, b, rounds, p))))
				report_ratio(set, a, b, rounds, p);
		}
	}
}

void perf_summary_print(const struct perf_set *set, unsigned rounds)
{
	print_placement(set, rounds, PERF_NEAR);
	print_placement(set, rounds, PERF_FAR);
}
