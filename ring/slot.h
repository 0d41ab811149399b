/* SPDX-License-Identifier: MIT */
/*
 * The MPMC slot word. FORMAT.md, "Slot".
 *
 *   63 ... S  turn | S-1 ... 16  zero | 15 ... 4  owner | 3 ... 0  phase        S = max(16, log2
 * slots)
 *
 * The turn of ticket T is T >> log2(slots), cut off at the top: with S at least log2(slots) the cut
 * wraps exactly where tickets do. Turns are compared by signed difference, so half the range may
 * lie between two that are compared. Every transition is a compare-and-swap of the whole word by
 * the one who may make it; docs/DESIGN.md has the table, tests/model/mpmc.pml the model.
 */
#ifndef QUOIT_SLOT_H
#define QUOIT_SLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "ring/ring.h"

#define QUOIT__AHEAD      16    /* slots that are fetched ahead */
#define QUOIT__JUMP_AFTER 4     /* passed tickets before asking the shared hint */
#define QUOIT__LOOKS      65536 /* ahead in one call, and one lap */

enum quoit__phase {
	QUOIT__FREE = 0,      /* may be claimed for the word's turn */
	QUOIT__WRITING = 1,   /* owner fills it */
	QUOIT__COMMITTED = 2, /* READY in the documents */
	QUOIT__READING = 3,   /* owner looks at it */
	QUOIT__VOIDW = 4,     /* the turn is void; owner, a producer, still has the memory */
	QUOIT__VOIDR = 5,     /* the turn is void; owner, a consumer, still has the memory */
	QUOIT__PENDING = 6,   /* the turn is void, the record complete: whoever comes by at this
				 slot's next ticket publishes it there for its owner */
};

static inline enum quoit__phase quoit__phase(uint64_t word)
{
	return (enum quoit__phase)(word & 15);
}

static inline uint32_t quoit__owner(uint64_t word)
{
	return (uint32_t)(word >> 4 & 0xfff);
}

/* The turn of a ticket, in place. */
static inline uint64_t quoit__turn(const struct quoit__geometry *g, uint64_t ticket)
{
	return ticket >> g->slots_log2 << g->turn_shift;
}

/* The turn of a word, in place. */
static inline uint64_t quoit__word_turn(const struct quoit__geometry *g, uint64_t word)
{
	return word >> g->turn_shift << g->turn_shift;
}

static inline uint64_t quoit__next_turn(const struct quoit__geometry *g, uint64_t turn)
{
	return turn + (UINT64_C(1) << g->turn_shift);
}

static inline uint64_t quoit__word(uint64_t turn, enum quoit__phase phase, uint32_t owner)
{
	return turn | (uint64_t)owner << 4 | (uint64_t)phase;
}

/* < 0: the word is of an earlier lap than the ticket; 0: of the same; > 0: of a later one. */
static inline int64_t quoit__laps_ahead(const struct quoit__geometry *g, uint64_t word,
					uint64_t ticket)
{
	return (int64_t)(quoit__word_turn(g, word) - quoit__turn(g, ticket));
}

static inline struct quoit__slot *quoit__slot_at(const struct quoit *q, uint64_t ticket)
{
	uint64_t index = ticket & (q->geo.slots - 1);

	return (struct quoit__slot *)(void *)(q->data + index * q->geo.slot_stride);
}

/* Move a shared hint forward, if it is behind. Relaxed: see ring/mpmc.c. */
static inline void quoit__help(_Atomic uint64_t *hint, uint64_t to)
{
	uint64_t now = atomic_load_explicit(hint, memory_order_relaxed);

	while ((int64_t)(to - now) > 0 &&
	       !atomic_compare_exchange_weak_explicit(hint, &now, to, memory_order_relaxed,
						      memory_order_relaxed))
		;
}

static inline bool quoit__owned(uint64_t w, enum quoit__phase phase, uint32_t id)
{
	return quoit__phase(w) == phase && quoit__owner(w) == id;
}

/* May producers of the next lap step over this word of an earlier lap? */
static inline bool quoit__steppable(uint64_t w, bool writers_too)
{
	switch (quoit__phase(w)) {
	case QUOIT__READING:
	case QUOIT__VOIDR:
	case QUOIT__VOIDW:
		return true;
	case QUOIT__WRITING:
		return writers_too;
	default:
		return false;
	}
}

/* Fetch a line for writing, ahead of its use. Compilers turn __builtin_prefetch(p, 1) into a fetch
 * for reading unless told of a newer processor than the baseline; prefetchw is on every x86-64 that
 * is worth a thought, and does nothing on those that lack it. */
static inline void quoit__fetch_own(const void *p)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

#endif
