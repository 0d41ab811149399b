/* SPDX-License-Identifier: MIT */
/*
 * Heats and rounds. The placement of the processors changes under us: every sample carries the one
 * it was taken in, and an interval during which it changed is repeated. summary.c makes figures of
 * them.
 */
#include "perf/rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perf/plan.h"
#include "perf/summary.h"

#define RETRIES    6    /* of an interval whose canaries disagree */
#define CLEARLY    1.25 /* so much slower than another way to wait is out */
#define FAR_BEHIND 5    /* so much slower than the best system needs few rounds */

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

/* Where the processors were when we last looked. */
static enum perf_placement last_placement = PERF_UNSTEADY;

/* ---- measuring ------------------------------------------------------------------------------ */

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

	for (int i = 0; i < RETRIES && !perf_stopped; i++) {
		int error = e->measure ? measure_itself(e, s, why, sizeof(why))
				       : measure_job(set, e, s, outcome, why, sizeof(why));

		if (error != 0) {
			if (!perf_stopped)
				perf_entry_fail(set, e, why);
			return -1;
		}
		s->valid = s->placement != PERF_UNSTEADY;
		last_placement = s->placement;
		if (s->valid)
			break;
	}
	return 0;
}

static void take_round(const struct perf_set *set, struct perf_entry *e, unsigned round)
{
	static struct perf_outcome outcome;
	double fraction = (double)round / perf_config.rounds;

	if (perf_stopped)
		return;
	perf_progress("%s%s: round %u of %u: %s %s", perf_plan_left(fraction < 1 ? fraction : 1),
		      set->bench, round + 1, perf_config.rounds, perf_entry_name(e),
		      e->measure ? "" : perf_entry_policy(e));
	e->job.seconds = perf_config.seconds;
	if (take_sample(set, e, &e->sample[round], &outcome) != 0 || !set->cdf || e->measure ||
	    !e->sample[round].valid)
		return;
	if (e->merged == NULL)
		e->merged = calloc(PERF_PLACEMENTS, sizeof(*e->merged));
	if (e->merged)
		perf_hist_merge(&e->merged[e->sample[round].placement], &outcome.histogram);
}

/* ---- heats ---------------------------------------------------------------------------------- */

int perf_same_but_policy(const struct perf_entry *a, const struct perf_entry *b)
{
	const struct perf_cell *x = &a->job.cell, *y = &b->job.cell;

	if (a->measure || b->measure)
		return 0;
	return a->job.system == b->job.system && x->kind == y->kind && x->mode == y->mode &&
	       x->size == y->size && x->depth == y->depth && x->batch == y->batch &&
	       x->producers == y->producers && x->consumers == y->consumers && x->rate == y->rate;
}

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

		if (perf_stopped)
			return;
		perf_progress("%s%s: heat: %s %s", perf_plan_left(0), set->bench,
			      perf_entry_name(e), perf_entry_policy(e));
		e->job.seconds = perf_config.seconds * PERF_HEAT_SHARE;
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

/* Another way to wait may be the better where the processors are now. */
static int is_out(const struct perf_entry *e)
{
	return e->out && (last_placement == PERF_UNSTEADY || last_placement == e->heat.placement);
}

static unsigned run_rounds(struct perf_set *set)
{
	unsigned round = 0;

	/* More rounds than asked for, until one placement has them; not when time is short. */
	unsigned most = perf_plan.late ? perf_config.rounds : perf_config.max_rounds;

	while (!perf_stopped && round < most && round < PERF_ROUNDS_MAX && !enough(set, round)) {
		for (unsigned k = 0; k < set->n; k++) {
			struct perf_entry *e = &set->entries[(round + k) % set->n];

			if (!e->failed && !is_out(e) && (e->rounds == 0 || round < e->rounds))
				take_round(set, e, round);
		}
		round++;
	}
	return round;
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
	if (perf_stopped)
		return 0;
	perf_plan_begin(set);
	run_heats(set);
	rounds = run_rounds(set);
	perf_plan_end();
	/* What has not had its rounds is no result. */
	if (perf_stopped)
		return 0;
	perf_summary_print(set, rounds);
	for (unsigned i = 0; i < set->n; i++) {
		if (!set->entries[i].failed && !set->entries[i].out &&
		    !is_seen(&set->entries[i], rounds))
			perf_entry_fail(
				set, &set->entries[i],
				"no interval without the processors moving; is the machine busy?");
		failed += set->entries[i].failed;
	}
	return failed;
}
