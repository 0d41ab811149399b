/* SPDX-License-Identifier: MIT */
/*
 * What the programs share that put records of all sizes into a heap: such sizes, records that prove
 * themselves even if they are a byte long, and a look at what becomes of the section meanwhile.
 */
#ifndef QUOIT_TESTS_HEAP_MIX_H
#define QUOIT_TESTS_HEAP_MIX_H

#include "support.h"

/* 1 to max, every octave as often as any other. */
static inline uint32_t mix_len(uint64_t *seed, uint64_t max)
{
	unsigned octaves = 64 - (unsigned)__builtin_clzll(max);
	uint64_t low = UINT64_C(1) << test_random_below(seed, octaves);
	uint64_t len = low + test_random(seed) % low;

	return (uint32_t)(len <= max ? len : max);
}

/* A record's type says which it is; its payload is a pattern made from that. */
static inline void mix_fill(unsigned char *p, uint32_t len, uint32_t id)
{
	uint64_t word = test_mix((uint64_t)id + 1);
	uint32_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t x = word + i;

		memcpy(p + i, &x, 8);
	}
	for (; i < len; i++)
		p[i] = (unsigned char)(word + i);
}

static inline bool mix_whole(const unsigned char *p, uint32_t len, uint32_t id)
{
	uint64_t word = test_mix((uint64_t)id + 1);
	uint32_t i = 0;

	for (; i + 8 <= len; i += 8) {
		uint64_t x;

		memcpy(&x, p + i, 8);
		if (x != word + i)
			return false;
	}
	for (; i < len; i++)
		if (p[i] != (unsigned char)(word + i))
			return false;
	return true;
}

/* What was seen of the section, and of those that waited for room in it. */
struct mix_watch {
	uint64_t looks;
	double used, fragmented, worst, orphaned;
};

static inline void mix_look(struct mix_watch *w, const struct quoit *q)
{
	struct quoit_heap_stats h = {.size = sizeof(h)};
	double f;

	MUST(quoit_get_heap_stats(q, &h) == 0);
	f = h.free != 0 ? 1 - (double)h.largest / (double)h.free : 0;
	w->looks++;
	w->used += 1 - (double)h.free / (double)h.total;
	w->orphaned += (double)h.orphaned / (double)h.total;
	w->fragmented += f;
	w->worst = f > w->worst ? f : w->worst;
}

static inline void mix_add(struct mix_watch *to, const struct mix_watch *from)
{
	to->looks += from->looks;
	to->used += from->used;
	to->orphaned += from->orphaned;
	to->fragmented += from->fragmented;
	to->worst = from->worst > to->worst ? from->worst : to->worst;
}

static inline void mix_print(const struct mix_watch *w)
{
	double n = w->looks != 0 ? (double)w->looks : 1;

	printf("units owned %.0f %%, orphaned %.1f %% of all; free ones outside the longest "
	       "stretch %.0f %% on average, %.0f %% at worst",
	       100 * w->used / n, 100 * w->orphaned / n, 100 * w->fragmented / n, 100 * w->worst);
}

#endif
