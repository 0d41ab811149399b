/* SPDX-License-Identifier: MIT */
/*
 * A histogram for latencies from nanoseconds to centuries in 60 KB, without choosing a range
 * beforehand. After Gil Tene's HdrHistogram: values share a bucket when their highest set bit and
 * the 7 bits below it are the same.
 */
#include "common.h"

#include <stdlib.h>

#define STEPS_LOG2 7
#define STEPS      (1u << STEPS_LOG2)
#define BUCKETS    ((64 - STEPS_LOG2 + 1) * STEPS)

struct histogram {
	uint64_t count, max;
	uint64_t bucket[BUCKETS];
};

static unsigned bucket_of(uint64_t value)
{
	unsigned octave;

	if (value < 2 * STEPS)
		return (unsigned)value;
	octave = 63 - STEPS_LOG2 - (unsigned)__builtin_clzll(value);
	return octave * STEPS + (unsigned)(value >> octave);
}

/* The largest value that goes into a bucket. */
static uint64_t bucket_top(unsigned index)
{
	unsigned octave;

	if (index < 2 * STEPS)
		return index;
	octave = index / STEPS - 1;
	return ((uint64_t)(index - octave * STEPS) << octave) + ((UINT64_C(1) << octave) - 1);
}

struct histogram *histogram_new(void)
{
	return calloc(1, sizeof(struct histogram));
}

void histogram_add(struct histogram *h, uint64_t value)
{
	h->bucket[bucket_of(value)]++;
	h->count++;
	if (value > h->max)
		h->max = value;
}

uint64_t histogram_count(const struct histogram *h)
{
	return h->count;
}

uint64_t histogram_max(const struct histogram *h)
{
	return h->max;
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
	double exact = fraction * (double)h->count;
	uint64_t rank = (uint64_t)exact, seen = 0;

	if ((double)rank < exact || rank == 0)
		rank++;
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen >= rank)
			return bucket_top(i) < h->max ? bucket_top(i) : h->max;
	}
	return h->max;
}
