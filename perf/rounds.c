/* SPDX-License-Identifier: MIT */
/*
 * Rounds, and what is made of them. The placement of the processors changes under us: every sample
 * carries the one it was taken in, only steady ones count, near and far are never mixed, and a
 * ratio is taken only between two samples of one round and one placement.
 */
#include "perf/rounds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/output.h"
#include "perf/plan.h"

#define RETRIES     6    /* of an interval whose canaries disagree */
#define BRIEF_SHARE 0.4  /* length of a brief set's intervals */
#define CLEARLY     1.25 /* so much slower than another way to wait is out */
#define FAR_BEHIND  5    /* so much slower than the best system needs few rounds */

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

struct perf_entry *perf_set_add(struct perf_set *set)
{
	struct perf_entry *more = realloc(set->entries, (set->n + 1) * sizeof(*more));

	if (more == NULL) {
		fprintf(stderr, "quoit-perf: out of memory\n");
		return NULL;
	}
	set->entries = more;
	memset(&more[set->n], 0, sizeof(*more));
	return &more[set->n++];
}

void perf_set_free(struct perf_set *set)
{
	for (unsigned i = 0; i < set->n; i++)
		free(set->entries[i].merged);
	free(set->entries);
	set->entries = NULL;
	set->n = 0;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static const char *entry_name(const struct perf_entry *e)
{
	return e->name ? e->name : e->job.system->name;
}

static const char *entry_policy(const struct perf_entry *e)
{
	return e->measure ? NULL : perf_policy_name(e->job.cell.policy);
}

static struct perf_row label(const struct perf_set *set, const struct perf_entry *e)
{
	const struct perf_cell *c = &e->job.cell;
	struct perf_row row = {.bench = set->bench, .system = entry_name(e), .mode = e->mode};

	row.size = c->size;
	if (e->measure)
		return row;
	row.kind = c->kind == PERF_MPMC ? "mpmc" : "spsc";
	if (row.mode == NULL)
		row.mode = c->mode == PERF_INPLACE ? "inplace" : "copy";
	row.depth = c->depth;
	row.batch = c->batch;
	row.producers = c->producers;
	row.consumers = c->consumers;
	row.rate = c->rate;
	row.policy = entry_policy(e);
	row.threads = e->job.system->threads;
	row.disorder = e->disorder;
	return row;
}

static void fail(const struct perf_set *set, struct perf_entry *e, const char *why)
{
	struct perf_row row = label(set, e);

	e->failed = 1;
	perf_print_failure(&row, why);
}

double perf_set_share(const struct perf_set *set)
{
	return set->brief ? BRIEF_SHARE : 1;
}

int perf_set_has_heats(const struct perf_set *set)
{
	return !set->all_policies && perf_config.rounds > 1 && set->n && !set->entries[0].measure;
}

/* The time of the system, with the canaries that tell where it was taken. */
static int measure_itself(const struct perf_entry *e, struct perf_sample *s, char *why, size_t size)
{
	double before = perf_canary(), after;
	int error = e->measure(e, s->value, why, size);

	if (error != 0)
		return error;
	after = e->local ? before : perf_canary();
	s->placement = perf_placement(before, after);
	s->canary = (before + after) / 2;
	return 0;
}

static int measure_job(const struct perf_set *set, struct perf_entry *e, struct perf_sample *s,
		       struct perf_outcome *outcome, char *why, size_t size)
{
	int error = perf_interval(&e->job, outcome, why, size);

	if (error != 0)
		return error;
	for (unsigned m = 0; m < set->n_metrics; m++)
		s->value[m] = set->metrics[m].get(&e->job, outcome);
	s->placement = outcome->placement;
	s->canary = (outcome->canary[0] + outcome->canary[1]) / 2;
	e->disorder += outcome->disorder;
	return 0;
}

/* Fill in s from an interval whose canaries agree, if there is one. 0, or the entry has failed. */
static int take_sample(const struct perf_set *set, struct perf_entry *e, struct perf_sample *s,
		       struct perf_outcome *outcome)
{
	char why[160] = "";

	for (int i = 0; i < RETRIES; i++) {
		int error = e->measure ? measure_itself(e, s, why, sizeof(why))
				       : measure_job(set, e, s, outcome, why, sizeof(why));

		if (error != 0) {
			fail(set, e, why);
			return -1;
		}
		s->valid = s->placement != PERF_UNSTEADY;
		if (s->valid)
			break;
	}
	return 0;
}

static void take_round(const struct perf_set *set, struct perf_entry *e, unsigned round)
{
	static struct perf_outcome outcome;
	double fraction = (double)round / perf_config.rounds;

	perf_progress("%s%s: round %u of %u: %s %s",
		      perf_plan_left(set, fraction < 1 ? fraction : 1), set->bench, round + 1,
		      perf_config.rounds, entry_name(e), e->measure ? "" : entry_policy(e));
	e->job.seconds = perf_config.seconds * perf_set_share(set);
	if (take_sample(set, e, &e->sample[round], &outcome) != 0 || !set->cdf || e->measure ||
	    !e->sample[round].valid)
		return;
	if (e->merged == NULL)
		e->merged = calloc(PERF_PLACEMENTS, sizeof(*e->merged));
	if (e->merged)
		perf_hist_merge(&e->merged[e->sample[round].placement], &outcome.histogram);
}

/* ---- heats ---------------------------------------------------------------------------------- */

/* How much better b was than a; 0 if they cannot be compared. */
static double lead(const struct perf_set *set, const struct perf_entry *a,
		   const struct perf_entry *b)
{
	double x = a->heat.value[0], y = b->heat.value[0];

	if (a == b || a->failed || b->failed || !a->heat.valid || !b->heat.valid ||
	    a->heat.placement != b->heat.placement || x <= 0 || y <= 0)
		return 0;
	return set->metrics[0].higher ? y / x : x / y;
}

static void judge_heat(const struct perf_set *set, struct perf_entry *e)
{
	for (unsigned i = 0; i < set->n; i++) {
		const struct perf_entry *other = &set->entries[i];
		double by = lead(set, e, other);

		if (perf_same_but_policy(e, other) && by > CLEARLY)
			e->out = 1;
		/* Ours and the limits are what all others are compared with. */
		if (by > FAR_BEHIND && other->job.system->group != PERF_LIMIT &&
		    (e->job.system->group == PERF_PEER || e->job.system->group == PERF_KERNEL))
			e->rounds = PERF_FEW_ROUNDS;
	}
}

static void run_heats(const struct perf_set *set)
{
	static struct perf_outcome outcome;

	if (!perf_set_has_heats(set))
		return;
	for (unsigned i = 0; i < set->n; i++) {
		struct perf_entry *e = &set->entries[i];

		perf_progress("%s%s: heat: %s %s", perf_plan_left(set, 0), set->bench,
			      entry_name(e), entry_policy(e));
		e->job.seconds = perf_config.seconds * perf_set_share(set) * PERF_HEAT_SHARE;
		(void)take_sample(set, e, &e->heat, &outcome);
	}
	for (unsigned i = 0; i < set->n; i++) {
		if (!set->entries[i].failed)
			judge_heat(set, &set->entries[i]);
	}
}

/* ---- rounds --------------------------------------------------------------------------------- */

/* Every entry has its rounds in one placement at least. */
static int enough(const struct perf_set *set, unsigned rounds)
{
	if (rounds < PERF_FEW_ROUNDS && rounds < perf_config.rounds)
		return 0;
	for (unsigned i = 0; i < set->n; i++) {
		unsigned count[PERF_PLACEMENTS] = {0};

		if (set->entries[i].failed || set->entries[i].out || set->entries[i].rounds)
			continue;
		for (unsigned r = 0; r < rounds; r++) {
			if (set->entries[i].sample[r].valid)
				count[set->entries[i].sample[r].placement]++;
		}
		if (count[PERF_NEAR] < perf_config.rounds && count[PERF_FAR] < perf_config.rounds)
			return 0;
	}
	return 1;
}

static unsigned run_rounds(struct perf_set *set)
{
	unsigned round = 0;

	while (round < perf_config.max_rounds && round < PERF_ROUNDS_MAX && !enough(set, round)) {
		for (unsigned k = 0; k < set->n; k++) {
			struct perf_entry *e = &set->entries[(round + k) % set->n];

			if (!e->failed && !e->out && (e->rounds == 0 || round < e->rounds))
				take_round(set, e, round);
		}
		round++;
	}
	return round;
}

/* ---- reporting ------------------------------------------------------------------------------ */

int perf_same_but_policy(const struct perf_entry *a, const struct perf_entry *b)
{
	const struct perf_cell *x = &a->job.cell, *y = &b->job.cell;

	if (a->measure || b->measure)
		return 0;
	return a->job.system == b->job.system && x->kind == y->kind && x->mode == y->mode &&
	       x->size == y->size && x->depth == y->depth && x->batch == y->batch &&
	       x->producers == y->producers && x->consumers == y->consumers && x->rate == y->rate;
}

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
	struct perf_row row = label(set, e);

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
	struct perf_row row = label(set, a);
	char against[128];

	snprintf(against, sizeof(against), "%s%s%s%s%s", entry_name(b), b->measure ? "" : "/",
		 b->measure ? "" : label(set, b).mode, b->measure ? "" : "/",
		 b->measure ? "" : entry_policy(b));
	row.placement = perf_placement_name(p);
	row.against = against;
	row.unit = "ratio";
	/* For the eye, the first figure is enough. */
	for (unsigned m = 0; m < (perf_json ? set->n_metrics : 1); m++) {
		double v[PERF_ROUNDS_MAX];
		struct summary s;
		unsigned n = 0;

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
		       strcmp(entry_policy(b), set->against_policy) == 0;
	if (set->against_system)
		return strcmp(entry_name(b), set->against_system) == 0;
	return set->compare && !a->measure && !b->measure && a->job.system->group == PERF_QUOIT &&
	       b->job.system->group != PERF_QUOIT;
}

static int is_seen(const struct perf_entry *e, unsigned rounds)
{
	for (unsigned r = 0; r < rounds; r++) {
		if (e->sample[r].valid)
			return 1;
	}
	return 0;
}

int perf_set_run(struct perf_set *set)
{
	unsigned rounds;
	int failed = 0;

	if (perf_plan.counting) {
		perf_plan_count(set);
		return 0;
	}
	run_heats(set);
	rounds = run_rounds(set);
	perf_plan.done += perf_plan_set(set);

	for (int p = PERF_NEAR; p <= PERF_FAR; p++) {
		for (unsigned i = 0; i < set->n; i++) {
			if (!set->entries[i].failed &&
			    (set->all_policies || is_best(set, &set->entries[i], rounds, p)))
				report_entry(set, &set->entries[i], rounds, p);
		}
		for (unsigned i = 0; i < set->n; i++) {
			for (unsigned k = 0; k < set->n; k++) {
				const struct perf_entry *a = &set->entries[i];
				const struct perf_entry *b = &set->entries[k];

				if (is_compared(set, a, b) &&
				    (set->all_policies ||
				     (is_best(set, a, rounds, p) && is_best(set, b, rounds, p))))
					report_ratio(set, a, b, rounds, p);
			}
		}
	}
	for (unsigned i = 0; i < set->n; i++) {
		if (!set->entries[i].failed && !set->entries[i].out &&
		    !is_seen(&set->entries[i], rounds))
			fail(set, &set->entries[i],
			     "no interval without the processors moving; is the machine busy?");
		failed += set->entries[i].failed;
	}
	return failed;
}
