/* SPDX-License-Identifier: MIT */
/* Rows on stdout, as text or as JSON, one object a line; progress on stderr. */
#ifndef PERF_OUTPUT_H
#define PERF_OUTPUT_H

#include "perf/rounds.h"

struct perf_row {
	const char *bench, *system, *kind, *mode, *policy, *placement, *stat, *unit, *against;
	uint32_t size, depth, batch, producers, consumers; /* 0: does not apply */
	double min, median, max, canary, rate;
	double seconds; /* length of an interval */
	unsigned rounds;
	int threads;       /* measured between threads, not processes */
	uint64_t disorder; /* records out of their producer's order */
};

extern int perf_json;

void perf_print_row(const struct perf_row *row);
void perf_print_cdf(const struct perf_row *row, const struct perf_histogram *h);
void perf_print_failure(const struct perf_row *row, const char *why);
/* A line that overwrites itself on a terminal. */
void perf_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void perf_progress_end(void);

#endif
