/* SPDX-License-Identifier: MIT */
/*
 * What is wrong with options that belong together and do not fit: the library says -EINVAL of all
 * of them. In a header, because quoit create needs it as well as the programs.
 */
#ifndef QUOIT_PRODUCER_EXPLAIN_H
#define QUOIT_PRODUCER_EXPLAIN_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <quoit/quoit.h>

/* Longest record that an SPSC ring of these options takes without a heap. */
static inline uint64_t spsc_takes(const struct quoit_options *o)
{
	uint64_t capacity = 1024;

	while (capacity < (o->capacity != 0 ? o->capacity : UINT64_C(1) << 20))
		capacity <<= 1;
	return capacity / 2 - 16 < QUOIT_RECORD_MAX ? capacity / 2 - 16 : QUOIT_RECORD_MAX;
}

/* The heap section as it would be: whole units, of 64 KiB or a 4096th of it. */
static inline uint64_t heap_made(const struct quoit_options *o)
{
	uint64_t unit = UINT64_C(64) << 10;

	while (unit * 4096 < o->heap_size)
		unit <<= 1;
	return (o->heap_size + unit - 1) / unit * unit;
}

static inline bool explain_mpmc_heap(const struct quoit_options *o, char *text, size_t room)
{
	uint32_t slot = o->slot_size != 0 ? o->slot_size : 256;

	if (heap_made(o) > slot)
		return false;
	snprintf(text, room,
		 "--heap %" PRIu64 " takes no record that a slot of %" PRIu32
		 " bytes does not; make it larger, or leave it out",
		 o->heap_size, slot);
	return true;
}

static inline bool explain_spsc_heap(const struct quoit_options *o, const char *size, char *text,
				     size_t room)
{
	uint64_t takes = spsc_takes(o), heap = heap_made(o);

	if (o->heap_share > takes)
		snprintf(text, room,
			 "--heap-share %" PRIu32 ": the ring itself takes %" PRIu64
			 " bytes at most; make the share smaller, or %s larger",
			 o->heap_share, takes, size);
	else if (o->heap_share != 0 && heap <= o->heap_share)
		snprintf(text, room,
			 "--heap %" PRIu64 " takes no record longer than --heap-share %" PRIu32
			 "; make it larger, or the share smaller",
			 o->heap_size, o->heap_share);
	else if (o->heap_share == 0 && heap < takes)
		snprintf(text, room,
			 "--heap %" PRIu64 " is less than the %" PRIu64
			 " bytes that the ring itself takes in one record; make it larger, or %s "
			 "smaller, or choose a --heap-share",
			 o->heap_size, takes, size);
	else
		return false;
	return true;
}

/* Say why a ring cannot be made so, and what to do. False: that cannot be told. size is the option
 * that sets the capacity. */
static inline bool explain_options(const char *ring, const struct quoit_options *o,
				   const char *size, char *text, size_t room)
{
	if (o->heap_size != 0 && o->kind == QUOIT_MPMC && explain_mpmc_heap(o, text, room))
		return true;
	if (o->heap_size != 0 && o->kind != QUOIT_MPMC && explain_spsc_heap(o, size, text, room))
		return true;
	if (strncmp(ring, "sysv:", 5) == 0 && o->mode != 0 && (o->mode & 0600) != 0600)
		snprintf(text, room,
			 "--mode %04" PRIo32 " would lock its owner out of System V memory; add "
			 "0600",
			 o->mode);
	else if (o->start % 8 != 0 && o->kind != QUOIT_MPMC)
		snprintf(text, room, "--start %" PRIu64 " is not a multiple of 8", o->start);
	else
		return false;
	return true;
}

#endif
