/* SPDX-License-Identifier: MIT */
/*
 * A view: one segment, or a copy of one, looked at and never written to. Unlike an attached ring a
 * view may be of anything that begins with the magic: its header is copied once, every figure in it
 * that cannot be is reported and replaced by what it most likely was, and sections that do not lie
 * in the bytes at hand are NULL.
 */
#ifndef QUOIT_VIEW_H
#define QUOIT_VIEW_H

#include <quoit/inspect.h>

#include "ring/ring.h"

struct quoit_inspect {
	struct quoit__segment
		seg; /* a ring: mapped by its backend. .fd also of an image, if kept */
	bool mapped; /* an image: mapped here; else its bytes were read into memory */
	bool image;
	bool live;  /* locks may be asked for: these bytes are a ring's, not a copy */
	char *name; /* as given, without "image:" */
	unsigned char
		*base; /* readable only; the pointer is not const because atomics want it so */
	uint64_t size;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	struct quoit__header header;           /* private copy */
	struct quoit__heap_header heap_header; /* the same; zero: not in these bytes */
	struct quoit__geometry geo;            /* of it, mended where it could not be */
	struct quoit__control *control;        /* or NULL */
	struct quoit__row *rows;               /* or NULL; geo.peers of them */
	unsigned char *data;                   /* or NULL */
	uint64_t data_size;      /* bytes of it at hand; less than the capacity if cut off */
	unsigned char *heap;     /* the heap section, or NULL: none, or cut off */
	_Atomic uint64_t *units; /* its table, or NULL */

	/* The walk over records. */
	uint64_t cursor;  /* next position or ticket */
	uint64_t floor;   /* MPMC: tickets from here on that are gone count as missed */
	bool at_end;      /* MPMC: everything before the cursor has been seen */
	bool following;   /* MPMC: wait for claimed slots to be committed instead of showing them */
	uint64_t stuck;   /* MPMC: ticket that the walk waits for, */
	int64_t stuck_ns; /* and since when, CLOCK_MONOTONIC; 0: none */
	unsigned char *copy;
	size_t copy_size;
};

/* Problems on their way to the caller: at once, or collected so that two looks can be compared. */
struct quoit__finding {
	int severity;
	uint64_t offset;
	const char *format; /* tells findings apart; the text may hold figures that move */
	char *text;
};
struct quoit__report {
	quoit_problem_fn *fn; /* NULL: collect in found */
	void *arg;
	int least;         /* severity; what is less is not told of */
	unsigned problems; /* of severity 2 and 3 */
	struct quoit__finding *found;
	size_t count, room;
};
enum { QUOIT__NOTE = 1, QUOIT__REPAIRABLE = 2, QUOIT__CORRUPT = 3 };

void quoit__problem(struct quoit__report *r, int severity, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* ring/view_header.c: read the header into v->header and find the sections. 0 or -EPROTO. */
int quoit__view_header(struct quoit_inspect *v, struct quoit__report *r);

/* ring/inspect.c: as much of a handle as reading takes. */
struct quoit quoit__view_ring(const struct quoit_inspect *v);

/* ring/check.c: as quoit_inspect_check(), but only of what no repair mends. */
int quoit__check_corrupt(struct quoit_inspect *v, quoit_problem_fn *report, void *arg);

/* ring/check_heap.c: the heap section, and what the ring says of it. */
void quoit__check_heap(const struct quoit_inspect *v, struct quoit__report *r);

/* ring/inspect.c: enum quoit_peer_state of a row that is in use. */
uint32_t quoit__view_peer_state(const struct quoit_inspect *v, uint32_t row);

/* Offset of something in the view's bytes. */
static inline uint64_t quoit__view_offset(const struct quoit_inspect *v, const volatile void *p)
{
	return (uint64_t)((const volatile unsigned char *)p - v->base);
}

/* A slot of the MPMC ring, or NULL where the image is cut off. */
static inline struct quoit__slot *quoit__view_slot(const struct quoit_inspect *v, uint64_t ticket)
{
	uint64_t offset = (ticket & (v->geo.slots - 1)) * v->geo.slot_stride;

	if (offset + v->geo.slot_stride > v->data_size)
		return NULL;
	return (struct quoit__slot *)(void *)(v->data + offset);
}

#endif
