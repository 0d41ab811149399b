/* SPDX-License-Identifier: MIT */
/*
 * A *set* of entries that are to be compared is measured in interleaved rounds, A B C, B C A, ...,
 * and reported: medians with minimum and maximum, near and far apart, and ratios taken round by
 * round. A short heat comes first: of a system's ways to wait those that are clearly slower are
 * left out as long as the processors stay where they were then, and systems that are far behind
 * take part in a few rounds only.
 */
#ifndef PERF_ROUNDS_H
#define PERF_ROUNDS_H

#include "perf/measure.h"

#define PERF_METRICS_MAX 12
#define PERF_ROUNDS_MAX  200
#define PERF_FEW_ROUNDS  3   /* of those that are far behind */
#define PERF_HEAT_SHARE  0.2 /* length of a heat, in intervals */

struct perf_entry;

/* One figure of an interval. */
struct perf_metric {
	const char *stat; /* NULL, or which: "p50" */
	const char *unit;
	int higher; /* more is better */
	/* NaN: cannot be had here. NULL where the entry measures itself. */
	double (*get)(const struct perf_job *job, const struct perf_outcome *outcome);
};

struct perf_sample {
	double value[PERF_METRICS_MAX];
	double canary;
	enum perf_placement placement;
	int valid;
};

struct perf_entry {
	struct perf_job job;
	/* Instead of a job: gives the metrics' values itself. 0 or negative errno. */
	int (*measure)(const struct perf_entry *e, double *values, char *why, size_t why_size);
	const char *name; /* of the system, when there is no job */
	const char *mode; /* shown instead of copy or inplace */
	double seconds;   /* measure(): about how long it takes */
	int local;        /* measure(): where the processors are does not matter */
	/* Filled in. */
	struct perf_sample heat;
	unsigned rounds; /* 0: as many as the others; else only the first few */
	int out;         /* beaten in the heat by another way to wait, in that placement */
	struct perf_sample sample[PERF_ROUNDS_MAX];
	struct perf_histogram *merged; /* all rounds of the placement seen most; for a CDF */
	uint64_t disorder;
	int failed;
};

struct perf_set {
	const char *bench;
	const struct perf_metric *metrics; /* the first decides which policy is the better */
	unsigned n_metrics;
	struct perf_entry *entries;
	unsigned n;
	int all_policies;           /* report every policy, not each system's best; no heats */
	double share;               /* length of its intervals, of a usual one; 0 means 1 */
	int compare;                /* ratios of quoit's rows to all others */
	const char *against_system; /* ratios of all rows to those of this system */
	const char *against_policy; /* ratios of all rows to the same with this policy */
	int cdf;                    /* print the distributions */
};

/* Measure and report, or, while a plan is made, only count. Returns how many entries failed. */
int perf_set_run(struct perf_set *set);
int perf_set_has_heats(const struct perf_set *set);
int perf_same_but_policy(const struct perf_entry *a, const struct perf_entry *b);
/* Add a zeroed entry. NULL when out of memory, which is told. */
struct perf_entry *perf_set_add(struct perf_set *set);
void perf_set_free(struct perf_set *set);

#endif
