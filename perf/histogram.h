/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram, as Gil Tene's HdrHistogram: 128 buckets for every power of two, so no
 * value is off by more than 0.8 %. It holds counts of clock ticks, lies in shared memory (one
 * writer) and records in a few instructions. It never drops a value: the last bucket takes what is
 * too large.
 */
#ifndef PERF_HISTOGRAM_H
#define PERF_HISTOGRAM_H

#include <stdint.h>

#define PERF_HIST_SUB_BITS 7
#define PERF_HIST_SUB      (1u << PERF_HIST_SUB_BITS)
#define PERF_HIST_GROUPS   37 /* values below 2^43 ticks: hours */
#define PERF_HIST_BUCKETS  (PERF_HIST_GROUPS * PERF_HIST_SUB)

struct perf_histogram {
	uint64_t total;
	uint64_t max;
	uint64_t count[PERF_HIST_BUCKETS];
};

static inline unsigned perf_hist_index(uint64_t v)
{
	unsigned group;

	if (v < PERF_HIST_SUB)
		return (unsigned)v;
	group = 63 - (unsigned)__builtin_clzll(v) - PERF_HIST_SUB_BITS + 1;
	if (group >= PERF_HIST_GROUPS)
		return PERF_HIST_BUCKETS - 1;
	return group * PERF_HIST_SUB + (unsigned)((v >> (group - 1)) - PERF_HIST_SUB);
}

/* Middle of a bucket. */
static inline double perf_hist_value(unsigned index)
{
	unsigned group = index / PERF_HIST_SUB, sub = index % PERF_HIST_SUB;

	if (group == 0)
		return sub;
	return (double)((uint64_t)(sub + PERF_HIST_SUB) << (group - 1)) +
	       (double)(UINT64_C(1) << (group - 1)) / 2 - 0.5;
}

static inline void perf_hist_add(struct perf_histogram *h, uint64_t v)
{
	h->count[perf_hist_index(v)]++;
	h->total++;
	if (v > h->max)
		h->max = v;
}

static inline void perf_hist_merge(struct perf_histogram *to, const struct perf_histogram *from)
{
	for (unsigned i = 0; i < PERF_HIST_BUCKETS; i++)
		to->count[i] += from->count[i];
	to->total += from->total;
	if (from->max > to->max)
		to->max = from->max;
}

/* The value that a fraction q (0 to 1) of all recorded ones does not exceed. */
static inline double perf_hist_quantile(const struct perf_histogram *h, double q)
{
	uint64_t want = (uint64_t)(q * (double)h->total + 0.5), seen = 0;

	if (h->total == 0)
		return 0;
	if (want < 1)
		want = 1;
	for (unsigned i = 0; i < PERF_HIST_BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= want) {
			double v = perf_hist_value(i);

			return v < (double)h->max ? v : (double)h->max;
		}
	}
	return (double)h->max;
}

#endif
