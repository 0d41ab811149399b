/* SPDX-License-Identifier: MIT */
/*
 * DPDK's rte_ring, the header functions over a ring initialised in our shared memory; no EAL. Three
 * systems: the default (SP/SC for SPSC; MP/MC), and its relaxed and serialised tail modes, RTS and
 * HTS. Batches are bursts.
 */
#include <rte_ring.h>

#include "perf/systems/loops.h"

static int rte_supports(const struct perf_cell *cell)
{
	if (cell->mode != PERF_COPY || cell->depth < 4 || (cell->depth & (cell->depth - 1)) != 0)
		return 0;
	return cell->size == 8 || cell->size == 64 || cell->size == 256 || cell->size == 1024 ||
	       cell->size == 4096;
}

static int mode_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_MPMC && rte_supports(cell);
}

static size_t rte_size(const struct perf_cell *cell)
{
	return (size_t)rte_ring_get_memsize_elem(cell->size, cell->depth);
}

static int open_with(struct perf_context *x, unsigned flags)
{
	for (unsigned i = 0; i < x->rings; i++) {
		int error = rte_ring_init(x->area[i], "perf", x->cell->depth, flags);

		if (error != 0)
			return error;
	}
	return 0;
}

static int open_default(struct perf_context *x)
{
	return open_with(x, x->cell->kind == PERF_SPSC ? RING_F_SP_ENQ | RING_F_SC_DEQ : 0);
}

static int open_rts(struct perf_context *x)
{
	return open_with(x, RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ);
}

static int open_hts(struct perf_context *x)
{
	return open_with(x, RING_F_MP_HTS_ENQ | RING_F_MC_HTS_DEQ);
}

/* MODE names our functions, PREFIX rte_ring's. */
#define RTE_SIZED(SIZE, MODE, PREFIX)                                                              \
	PERF_INLINE int push_##MODE##_##SIZE(void *tx, const uint64_t *record)                     \
	{                                                                                          \
		return rte_ring_##PREFIX##_enqueue_bulk_elem(tx, record, SIZE, 1, NULL) == 1;      \
	}                                                                                          \
	PERF_INLINE int push_many_##MODE##_##SIZE(void *tx, const uint64_t *records, unsigned n)   \
	{                                                                                          \
		return (int)rte_ring_##PREFIX##_enqueue_burst_elem(tx, records, SIZE, n, NULL);    \
	}

#define RTE_GET(SIZE, MODE, PREFIX)                                                                \
	PERF_INLINE const uint64_t *get_##MODE##_##SIZE(void *rx, uint64_t *buf)                   \
	{                                                                                          \
		return rte_ring_##PREFIX##_dequeue_bulk_elem(rx, buf, SIZE, 1, NULL) == 1 ? buf    \
											  : NULL;  \
	}                                                                                          \
	PERF_INLINE int get_many_##MODE##_##SIZE(void *rx, uint64_t *buf, unsigned n)              \
	{                                                                                          \
		return (int)rte_ring_##PREFIX##_dequeue_burst_elem(rx, buf, SIZE, n, NULL);        \
	}                                                                                          \
	static void run_##MODE##_##SIZE(struct perf_side *s)                                       \
	{                                                                                          \
		const struct perf_ops ops = {.size = SIZE,                                         \
					     .push = push_##MODE##_##SIZE,                         \
					     .get = get_##MODE##_##SIZE,                           \
					     .push_many = push_many_##MODE##_##SIZE,               \
					     .get_many = get_many_##MODE##_##SIZE};                \
                                                                                                   \
		perf_run_trying(s, &ops, KIND_##MODE);                                             \
	}

#define KIND_spsc PERF_SPSC
#define KIND_mpmc PERF_MPMC
#define KIND_rts  PERF_MPMC
#define KIND_hts  PERF_MPMC

#define RTE_MODE(MODE, ENQUEUE, DEQUEUE)                                                           \
	RTE_SIZED(8, MODE, ENQUEUE)                                                                \
	RTE_SIZED(64, MODE, ENQUEUE)                                                               \
	RTE_SIZED(256, MODE, ENQUEUE)                                                              \
	RTE_SIZED(1024, MODE, ENQUEUE)                                                             \
	RTE_SIZED(4096, MODE, ENQUEUE)                                                             \
	RTE_GET(8, MODE, DEQUEUE)                                                                  \
	RTE_GET(64, MODE, DEQUEUE)                                                                 \
	RTE_GET(256, MODE, DEQUEUE)                                                                \
	RTE_GET(1024, MODE, DEQUEUE)                                                               \
	RTE_GET(4096, MODE, DEQUEUE)                                                               \
	static void run_##MODE(struct perf_side *s)                                                \
	{                                                                                          \
		if (s->cell->size == 8)                                                            \
			run_##MODE##_8(s);                                                         \
		else if (s->cell->size == 64)                                                      \
			run_##MODE##_64(s);                                                        \
		else if (s->cell->size == 256)                                                     \
			run_##MODE##_256(s);                                                       \
		else if (s->cell->size == 1024)                                                    \
			run_##MODE##_1024(s);                                                      \
		else                                                                               \
			run_##MODE##_4096(s);                                                      \
	}

RTE_MODE(spsc, sp, sc)
RTE_MODE(mpmc, mp, mc)
RTE_MODE(rts, mp_rts, mc_rts)
RTE_MODE(hts, mp_hts, mc_hts)

static void run_default(struct perf_side *s)
{
	if (s->cell->kind == PERF_MPMC)
		run_mpmc(s);
	else
		run_spsc(s);
}

#define RTE_SYSTEM(VARIABLE, NAME, SUPPORTS, OPEN, RUN, NOTE)                                      \
	const struct perf_system VARIABLE = {                                                      \
		.name = NAME,                                                                      \
		.group = PERF_PEER,                                                                \
		.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD,                \
		.note = NOTE,                                                                      \
		.supports = SUPPORTS,                                                              \
		.area_size = rte_size,                                                             \
		.open = OPEN,                                                                      \
		.run = RUN,                                                                        \
	}

RTE_SYSTEM(perf_rte, "rte_ring", rte_supports, open_default, run_default,
	   "DPDK; SP/SC and MP/MC, bursts, between processes");
RTE_SYSTEM(perf_rte_rts, "rte_ring-rts", mode_supports, open_rts, run_rts,
	   "DPDK, relaxed tail sync; MPMC, bursts, between processes");
RTE_SYSTEM(perf_rte_hts, "rte_ring-hts", mode_supports, open_hts, run_hts,
	   "DPDK, head/tail sync; MPMC, bursts, between processes");
