/* SPDX-License-Identifier: MIT */
/*
 * A producer's side of the heap: records that the ring itself does not take are reserved, committed
 * and discarded here; heap_blocks.c has the blocks that they lie in. docs/DESIGN.md, "Heap".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/heap_blocks.h"

static void drop_reserved(struct quoit__heap *heap, uint32_t i)
{
	heap->reserved[i] = heap->reserved[--heap->n_reserved];
}

/* SPSC: a second reservation replaces the first. Room in the ring comes first, for that costs
 * nothing to give back. */
static int reserve_spsc(struct quoit_producer *p, uint32_t len, struct quoit__block *b)
{
	void *unused;
	int r;

	if (p->heap != NULL && p->heap->n_reserved != 0) {
		quoit__block_discard(p, &p->heap->reserved[0]);
		drop_reserved(p->heap, 0);
		if (p->ep.error != 0)
			return p->ep.error;
	}
	r = quoit__spsc_find_room(p, sizeof(struct quoit__heap_record), &unused);
	if (r != 0)
		return r;
	r = quoit__block_new(p, len, b);
	if (r != 0)
		p->hot.reserved = 0;
	b->position = p->hot.position;
	return r;
}

/* MPMC: the block first, for a slot that is given back is a ticket that everybody steps over. */
static int reserve_mpmc(struct quoit_producer *p, uint32_t len, struct quoit__block *b)
{
	int r = p->claims == QUOIT__RESERVATIONS_MAX ? -EBUSY : quoit__block_new(p, len, b);

	if (r != 0)
		return r;
	r = quoit__mpmc_reserve_slot(p, &b->slot);
	if (r != 0) {
		quoit__block_discard(p, b);
		quoit__tell_room(p);
	}
	return p->ep.error != 0 ? p->ep.error : r;
}

int quoit__heap_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	struct quoit *q = p->ep.ring;
	struct quoit__block b = {0};
	int r;

	if (len > q->geo.max_record)
		return -EMSGSIZE;
	r = q->geo.kind == QUOIT_SPSC ? reserve_spsc(p, len, &b) : reserve_mpmc(p, len, &b);
	if (r != 0)
		return r;
	p->heap->reserved[p->heap->n_reserved++] = b;
	*ret_payload = q->heap + b.offset;
	return 0;
}

/* Its place among the reserved ones, or UINT32_MAX. */
static uint32_t find_reserved(const struct quoit_producer *p, const void *payload)
{
	for (uint32_t i = p->heap != NULL ? p->heap->n_reserved : 0; i-- != 0;)
		if (p->ep.ring->heap + p->heap->reserved[i].offset == payload)
			return i;
	return UINT32_MAX;
}

/* SPSC: has no other reservation taken its place in the ring? */
static bool in_place(const struct quoit_producer *p, const struct quoit__block *b)
{
	return p->ep.ring->geo.kind == QUOIT_MPMC ||
	       (b->position == p->hot.position &&
		p->hot.reserved >= quoit__footprint(sizeof(struct quoit__heap_record)));
}

int quoit__heap_commit(struct quoit_producer *p, const void *payload, uint32_t len, uint32_t type)
{
	uint32_t i = find_reserved(p, payload);
	struct quoit__heap_record record;
	struct quoit__block *b;
	int r = 0;

	if (i == UINT32_MAX)
		return -EINVAL;
	b = &p->heap->reserved[i];
	if (len > b->len || !in_place(p, b))
		return -EINVAL;
	record = (struct quoit__heap_record){.offset = b->offset, .length = len, .type = type};
	if (p->ep.ring->geo.kind == QUOIT_SPSC)
		quoit__spsc_publish_heap(p, &record);
	else
		r = quoit__mpmc_commit_heap(p, b->slot, &record);
	if (r != 0)
		return r; /* -EAGAIN: stepped over; still reserved */
	/* After it can be read: from now on others may free what it lies in, once it is gone. */
	quoit__holding_lend(p->heap->holding, b->offset, b->len);
	if (b->run || b->serial == quoit__arena_of(p->heap))
		p->heap->out[p->heap->n_out++] = *b;
	drop_reserved(p->heap, i);
	return 0;
}

int quoit__heap_discard(struct quoit_producer *p, const void *payload)
{
	uint32_t i = find_reserved(p, payload);
	struct quoit__block *b;
	int r = 0;

	if (i == UINT32_MAX)
		return -EINVAL;
	b = &p->heap->reserved[i];
	if (p->ep.ring->geo.kind == QUOIT_MPMC)
		r = quoit__mpmc_discard(p, b->slot->payload);
	else if (in_place(p, b))
		p->hot.reserved = 0;
	else
		r = -EINVAL;
	quoit__block_discard(p, b);
	drop_reserved(p->heap, i);
	quoit__tell_room(p);
	return p->ep.error != 0 ? p->ep.error : r;
}

int quoit__heap_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type)
{
	void *payload;
	int r = quoit__heap_reserve(p, len, &payload);

	if (r != 0)
		return r;
	memcpy(payload, buf, len);
	r = quoit__heap_commit(p, payload, len, type);
	if (r == -EAGAIN)
		(void)quoit__heap_discard(p, payload);
	return r;
}

/* Errors count as room: the call that follows tells them. */
bool quoit__heap_room(struct quoit_producer *p, uint32_t len)
{
	struct quoit__block b;
	int r;

	/* What is reserved is given back by the next reservation, which then says whether that was
	 * enough. To wait here for its room would be to wait for ever. */
	if (p->ep.ring->geo.kind == QUOIT_SPSC && p->heap != NULL && p->heap->n_reserved != 0)
		return true;
	r = quoit__block_new(p, len, &b);
	if (r == 0)
		quoit__block_discard(p, &b);
	return r != -EAGAIN;
}

void quoit__heap_close(struct quoit_producer *p)
{
	struct quoit__heap *heap = p->heap;

	if (heap == NULL)
		return;
	/* Not in a forked child, whose parent's units they are, nor in a ring that cannot be
	 * trusted any more. */
	if (p->ep.error == 0) {
		(void)quoit__heap_collect(p, heap->n_out);
		/* The slots of those that are reserved are given back with the row. */
		for (uint32_t i = 0; i < heap->n_reserved && p->ep.error == 0; i++)
			quoit__block_discard(p, &heap->reserved[i]);
	}
	quoit__arena_drop(heap->arena);
	free(heap->holding);
	free(heap->out);
	free(heap);
	p->heap = NULL;
}
