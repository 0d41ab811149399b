/* SPDX-License-Identifier: MIT */
/* What a producer knows of its blocks, reserved and out: between ring/heap.c and heap_blocks.c. */
#ifndef QUOIT_HEAP_BLOCKS_H
#define QUOIT_HEAP_BLOCKS_H

#include "ring/heap.h"

struct quoit__heap {
	struct quoit__holding *holding;
	struct quoit__arena *arena; /* NULL until needed */
	bool no_arena;              /* there is no jemalloc: whole units for everything */
	uint32_t hint;              /* where to look for units */
	uint32_t n_reserved;
	struct quoit__block reserved[QUOIT__RESERVATIONS_MAX]; /* SPSC: one at most */
	struct quoit__block *out; /* committed, and not known to have been taken */
	uint64_t n_out, room, cursor;
	/* When there was no room: */
	uint64_t searches, news;      /* times that all was searched; the news at the last */
	int64_t searched_ns, next_ns; /* when that was, and may be again */
	int64_t short_ns,
		reclaim_ns; /* since when; when others' units may be looked at. 0: never */
	uint32_t short_len; /* of this */
};

/* The serial number of our arena; 0: there is none. */
static inline uint64_t quoit__arena_of(const struct quoit__heap *heap)
{
	return heap->arena != NULL ? quoit__arena_serial(heap->arena) : 0;
}

/* A block; 0, -EAGAIN, -ENOMEM, -EBADMSG. Looks for what has come back first at a few blocks, and
 * if that does not do everywhere. */
int quoit__block_new(struct quoit_producer *p, uint32_t len, struct quoit__block *ret);
/* It has not been committed. */
void quoit__block_discard(struct quoit_producer *p, const struct quoit__block *b);
/* Look at up to n blocks that are out, each once. Returns how many came back, or -EBADMSG. */
int quoit__heap_collect(struct quoit_producer *p, uint64_t n);

#endif
