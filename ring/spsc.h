/* SPDX-License-Identifier: MIT */
/*
 * The header word of an SPSC record, for who reads it out of line; quoit/inline.h has the rest.
 * FORMAT.md, "SPSC record space".
 */
#ifndef QUOIT_SPSC_H
#define QUOIT_SPSC_H

#include "ring/ring.h"

/* Moves the bit of a position that tells odd laps from even ones up to the tag. */
static inline uint32_t quoit__lap_shift(uint64_t capacity)
{
	return 63 - (uint32_t)__builtin_ctzll(capacity);
}

static inline _Atomic uint64_t *quoit__record_word(const struct quoit *q, uint64_t position)
{
	return (_Atomic uint64_t *)(void *)(q->data + (position & (q->geo.capacity - 1)));
}

/* Is it the header of a record at this position, in this lap? */
static inline bool quoit__is_there(uint64_t word, uint64_t position, uint32_t shift)
{
	return ((word ^ quoit__tag(position, shift)) & QUOIT__TAG) == 0;
}

#endif
