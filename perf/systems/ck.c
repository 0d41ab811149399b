/* SPDX-License-Identifier: MIT */
/*
 * Concurrency Kit's ck_ring: a bounded ring of elements that are copied; by CK_RING_PROTOTYPE each
 * record size has functions of its own. It holds one element less than its size. No batches.
 */
#include <ck_ring.h>

#include "perf/systems/loops.h"

/* The ring, then its elements. */
#define CK_HEADER 512u

static int ck_supports(const struct perf_cell *cell)
{
	if (cell->mode != PERF_COPY || cell->batch != 1 || cell->depth < 4 ||
	    (cell->depth & (cell->depth - 1)) != 0)
		return 0;
	return cell->size == 8 || cell->size == 64 || cell->size == 256 || cell->size == 1024 ||
	       cell->size == 4096;
}

static size_t ck_size(const struct perf_cell *cell)
{
	return CK_HEADER + (size_t)cell->depth * cell->size;
}

static int ck_open(struct perf_context *x)
{
	_Static_assert(sizeof(ck_ring_t) <= CK_HEADER, "the elements come after it");

	for (unsigned i = 0; i < x->rings; i++)
		ck_ring_init(x->area[i], x->cell->depth);
	return 0;
}

#define CK_SIZED(SIZE)                                                                             \
	struct record_##SIZE {                                                                     \
		uint64_t word[SIZE / 8];                                                           \
	};                                                                                         \
	CK_RING_PROTOTYPE(r##SIZE, record_##SIZE)                                                  \
                                                                                                   \
	PERF_INLINE struct record_##SIZE *elements_##SIZE(void *ring)                              \
	{                                                                                          \
		return (struct record_##SIZE *)(void *)((char *)ring + CK_HEADER);                 \
	}                                                                                          \
	PERF_INLINE int push_spsc_##SIZE(void *tx, const uint64_t *record)                         \
	{                                                                                          \
		/* The element is only read. */                                                    \
		return ck_ring_enqueue_spsc_r##SIZE(tx, elements_##SIZE(tx),                       \
						    (struct record_##SIZE *)(uintptr_t)record);    \
	}                                                                                          \
	PERF_INLINE const uint64_t *get_spsc_##SIZE(void *rx, uint64_t *buf)                       \
	{                                                                                          \
		return ck_ring_dequeue_spsc_r##SIZE(rx, elements_##SIZE(rx),                       \
						    (struct record_##SIZE *)buf)                   \
			       ? buf                                                               \
			       : NULL;                                                             \
	}                                                                                          \
	PERF_INLINE int push_mpmc_##SIZE(void *tx, const uint64_t *record)                         \
	{                                                                                          \
		return ck_ring_enqueue_mpmc_r##SIZE(tx, elements_##SIZE(tx),                       \
						    (struct record_##SIZE *)(uintptr_t)record);    \
	}                                                                                          \
	PERF_INLINE const uint64_t *get_mpmc_##SIZE(void *rx, uint64_t *buf)                       \
	{                                                                                          \
		return ck_ring_dequeue_mpmc_r##SIZE(rx, elements_##SIZE(rx),                       \
						    (struct record_##SIZE *)buf)                   \
			       ? buf                                                               \
			       : NULL;                                                             \
	}                                                                                          \
	static void run_##SIZE(struct perf_side *s)                                                \
	{                                                                                          \
		const struct perf_ops spsc = {                                                     \
			.size = SIZE, .push = push_spsc_##SIZE, .get = get_spsc_##SIZE};           \
		const struct perf_ops mpmc = {                                                     \
			.size = SIZE, .push = push_mpmc_##SIZE, .get = get_mpmc_##SIZE};           \
                                                                                                   \
		if (s->cell->kind == PERF_MPMC)                                                    \
			perf_run_trying(s, &mpmc, PERF_MPMC);                                      \
		else                                                                               \
			perf_run_trying(s, &spsc, PERF_SPSC);                                      \
	}

CK_SIZED(8)
CK_SIZED(64)
CK_SIZED(256)
CK_SIZED(1024)
CK_SIZED(4096)

static void ck_run(struct perf_side *s)
{
	if (s->cell->size == 8)
		run_8(s);
	else if (s->cell->size == 64)
		run_64(s);
	else if (s->cell->size == 256)
		run_256(s);
	else if (s->cell->size == 1024)
		run_1024(s);
	else
		run_4096(s);
}

const struct perf_system perf_ck = {
	.name = "ck_ring",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD,
	.note = "Concurrency Kit; SPSC and MPMC, between processes",
	.supports = ck_supports,
	.area_size = ck_size,
	.open = ck_open,
	.run = ck_run,
};
