/* SPDX-License-Identifier: MIT */
/*
 * The heap section: payloads that no slot holds. docs/DESIGN.md, "Heap".
 *
 * A record whose payload lies here carries a struct quoit__heap_record in the ring, and the ring is
 * the only truth about which blocks live: a block comes back to its owner when the record that
 * carries it has been advanced over. Consumers do nothing for it.
 *
 * The section is handed out in *units*, each with one word in the heap table:
 *
 *   63            20 19         4 3       0
 *   +---------------+------------+---------+
 *   |  generation   |   owner    |  state  |      +1 in generation when it is freed, and when a
 *   +---------------+------------+---------+      lent one is taken back
 *
 * Every transition is a compare-and-swap of the whole word. Within its units an owner allocates by
 * itself: large blocks are runs of units, others come from a jemalloc arena whose extents lie in
 * units of the owner. All that is kept about that is private memory of the owner.
 *
 * Edges: H1 a freed unit to its next owner; H2 an orphaned or lent unit to the sweeper; S2 and M2
 * give the memory of a block back to its owner. docs/ORDERING.md.
 */
#ifndef QUOIT_HEAP_H
#define QUOIT_HEAP_H

#include "ring/ring.h"

#define QUOIT__UNIT_MIN    (UINT64_C(64) << 10)
#define QUOIT__UNITS_MAX   4096u
#define QUOIT__HEAP_ALIGN  64u        /* of every block: a cache line */
#define QUOIT__HEAP_LENGTH UINT32_MAX /* MPMC: the length in the descriptor of a heap record */

enum quoit__unit_state {
	QUOIT__UNIT_FREE = 0,
	QUOIT__UNIT_OWNED = 1,  /* owner: the row of a producer */
	QUOIT__UNIT_ORPHAN = 2, /* its owner has gone; free when no record refers to it */
	QUOIT__UNIT_LENT = 3,   /* MPMC: all that its owner put there is committed. Whoever finds no
				   room may free it when no record refers to it */
};

static inline enum quoit__unit_state quoit__unit_state(uint64_t word)
{
	return (enum quoit__unit_state)(word & 15);
}

static inline uint32_t quoit__unit_owner(uint64_t word)
{
	return (uint32_t)(word >> 4 & 0xffff);
}

/* Does a row have it: that of a producer which is there, or not reaped yet? */
static inline bool quoit__unit_has_owner(uint64_t word)
{
	return quoit__unit_state(word) == QUOIT__UNIT_OWNED ||
	       quoit__unit_state(word) == QUOIT__UNIT_LENT;
}

/* The same generation in another state. */
static inline uint64_t quoit__unit_word(uint64_t word, enum quoit__unit_state state, uint32_t owner)
{
	return (word & ~UINT64_C(0xfffff)) | (uint64_t)owner << 4 | (uint64_t)state;
}

static inline uint64_t quoit__unit_generation(uint64_t word)
{
	return word >> 20;
}

/* In this state one generation on. */
static inline uint64_t quoit__unit_next(uint64_t word, enum quoit__unit_state state, uint32_t owner)
{
	return quoit__unit_word(word, state, owner) + (UINT64_C(1) << 20);
}

/* SPSC: is this header word that of a record in the heap? */
static inline bool quoit__heap_word(uint64_t w)
{
	return (w & QUOIT__PADDING) != 0 && (uint32_t)w == QUOIT__HEAP_MARK &&
	       (w >> 32 & QUOIT__LENGTH_MASK) == sizeof(struct quoit__heap_record);
}

/* A block that was handed out. */
struct quoit__block {
	uint64_t offset;          /* in the section */
	uint64_t position;        /* SPSC: of its record */
	struct quoit__slot *slot; /* MPMC: of its record */
	uint64_t serial;          /* of its run, or of its arena */
	uint32_t len;             /* reserved */
	bool run;                 /* of units claimed for it alone; else it is of the arena */
};

/* ring/heap_units.c: the table, and what the ring refers to */

/* Claim n neighbouring free units for a row; the search begins at *hint and leaves it behind them.
 * The first unit, or UINT32_MAX. */
uint32_t quoit__units_claim(const struct quoit *q, uint32_t row, uint32_t n, uint32_t *hint);
/* The holder of this row has closed or died, and its slots have been given back: its units serve
 * others when the last record that refers to them has been taken. Idempotent. */
unsigned quoit__heap_orphan(const struct quoit *q, uint32_t row);
/* Free the orphaned units that no record refers to. Returns how many. */
unsigned quoit__heap_sweep(const struct quoit *q);
/* The same, and those that others than this row have lent: they may never come back for them. */
unsigned quoit__heap_reclaim(const struct quoit *q, uint32_t row);
/* The orphaned units that no record refers to: their words in seen, 0 for all others. Returns how
 * many. */
unsigned quoit__heap_lost(const struct quoit *q, uint64_t seen[QUOIT__UNITS_MAX]);
/* A figure that changes when records have been taken, or consumers died, since which a block may
 * have come back; and one that changes with the set of orphans, 0 if there are none. */
uint64_t quoit__heap_news(const struct quoit *q);
uint64_t quoit__heap_orphans(const struct quoit *q);
/* Tell of every record that lives in the heap. 0, or what fn returned that was not 0; -EAGAIN: the
 * ring moved too fast; -EBADMSG. */
struct quoit__heap_found {
	const void *at; /* its header or slot */
	uint64_t key;   /* no other record has it: position, or turn and slot */
	struct quoit__heap_record record;
};
typedef int quoit__heap_fn(void *arg, const struct quoit__heap_found *found);
int quoit__heap_walk(const struct quoit *q, quoit__heap_fn *fn, void *arg);
/* The heap record in a slot whose word was seen as w: true if it was there, whole, with that word.
 */
bool quoit__heap_in_slot(const struct quoit__slot *slot, uint64_t w,
			 struct quoit__heap_record *ret);
void quoit__heap_count(const struct quoit *q, struct quoit_heap_stats *ret);

/* ring/heap_holding.c: a producer's units, as it knows them */

struct quoit__holding;
int quoit__holding_new(const struct quoit *q, uint32_t row, struct quoit__holding **ret);
/* A number that no run and no arena of this producer has had. */
uint64_t quoit__holding_serial(struct quoit__holding *h);
/* The same for an arena, the only one that there is. */
uint64_t quoit__holding_arena(struct quoit__holding *h);
/* Has the arena lost units that have been claimed anew since? Then it must not go on, for it takes
 * them for what they were. */
bool quoit__holding_torn(const struct quoit__holding *h);
/* Claim n neighbouring units for a run or an arena. The first, or UINT32_MAX. */
uint32_t quoit__holding_claim(struct quoit__holding *h, uint64_t serial, uint32_t n,
			      uint32_t *hint);
/* A block of this run or arena at [offset, offset + len) is about to be handed out. False: units of
 * it have been given to others meanwhile; the block must not be touched. */
bool quoit__holding_open(struct quoit__holding *h, uint64_t serial, uint64_t offset, uint32_t len);
/* It has been committed, or given up: lend what holds no other open one. */
void quoit__holding_lend(struct quoit__holding *h, uint64_t offset, uint32_t len);
/* Give back n units of a run or an arena, those that are still its. */
void quoit__holding_free(struct quoit__holding *h, uint64_t serial, uint32_t first, uint32_t n);
/* No more blocks of this arena: its units serve anybody when their last record has been taken. */
void quoit__holding_orphan(struct quoit__holding *h, uint64_t serial);
/* The table says what neither we nor others can have done. */
bool quoit__holding_contradicted(const struct quoit__holding *h);

/* ring/heap_arena.c: blocks smaller than units */

struct quoit__arena;
/* -ENOTSUP: no jemalloc 5.3 or later in this process; -ENOMEM. */
int quoit__arena_new(const struct quoit *q, uint32_t row, struct quoit__holding *h,
		     struct quoit__arena **ret);
uint64_t quoit__arena_serial(const struct quoit__arena *a);
/* Offset in the section, or UINT64_MAX: no room. */
uint64_t quoit__arena_alloc(struct quoit__arena *a, uint32_t len);
void quoit__arena_free(struct quoit__arena *a, uint64_t offset);
/* Forget the arena; its units stay as they are. */
void quoit__arena_drop(struct quoit__arena *a);

/* ring/heap.c, ring/heap_blocks.c: a producer's side, called by the ring's kinds */

/* For a record that only the heap takes: as quoit_reserve(), without looking at peers. */
int quoit__heap_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload);
/* -EINVAL: not a block that is reserved. */
int quoit__heap_commit(struct quoit_producer *p, const void *payload, uint32_t len, uint32_t type);
int quoit__heap_discard(struct quoit_producer *p, const void *payload);
/* Copy one record in. */
int quoit__heap_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type);
/* Is there a block of this length to be had? */
bool quoit__heap_room(struct quoit_producer *p, uint32_t len);
/* How often this producer has looked for room everywhere; for tests. */
uint64_t quoit__heap_searches(const struct quoit_producer *p);
/* Before the endpoint closes: give back what can be. The rest is orphaned with the row. */
void quoit__heap_close(struct quoit_producer *p);

/* Does a record of this length go to the heap? */
static inline bool quoit__heap_wanted(const struct quoit *q, uint32_t len)
{
	return len > q->geo.ring_record && len <= q->geo.max_record;
}

#endif
