/* SPDX-License-Identifier: MIT */
/*
 * A producer's side of the heap: blocks for records that the ring itself does not take, and getting
 * them back. docs/DESIGN.md, "Heap".
 *
 * Nobody tells a producer that a record of its has been taken: it looks at the ring, for the ring
 * is the only truth. SPSC: the consumer's position has passed the record. MPMC: the record's slot
 * holds another one, or none. A few blocks are looked at whenever one is wanted, so that each of
 * them is looked at again and again; all of them when there is no room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/slot.h"

#define LOOKS       8 /* at blocks, for each that is wanted */
#define TRIES       8 /* looks at a slot that is on the move */
#define BLOCKS_MORE 64

struct quoit__heap {
	struct quoit__arena *arena; /* NULL until needed */
	uint32_t hint;              /* where to look for units */
	uint32_t n_reserved;
	struct quoit__block reserved[QUOIT__RESERVATIONS_MAX]; /* SPSC: one at most */
	struct quoit__block *out; /* committed, and not known to have been taken */
	uint64_t n_out, room, cursor;
};

/* ---- blocks --------------------------------------------------------------------------------- */

/* Runs of units for what fills them well, the arena for the rest. jemalloc rounds large sizes up by
 * as much as a fifth, and a page more: a block of the whole section could never be had from it. */
static uint32_t units_for(const struct quoit *q, uint32_t len)
{
	uint64_t unit = q->geo.heap_unit, units = (len + unit - 1) / unit;

	return units * unit - len <= len / 8 ? (uint32_t)units : 0;
}

static int block_find(struct quoit_producer *p, uint32_t len, struct quoit__block *ret)
{
	struct quoit__heap *heap = p->heap;
	const struct quoit *q = p->ep.ring;
	struct quoit__block b = {.len = len, .units = units_for(q, len)};

	if (b.units != 0) {
		uint32_t first = quoit__units_claim(q, p->ep.id, b.units, &heap->hint);

		if (first == UINT32_MAX)
			return -EAGAIN;
		b.offset = first * q->geo.heap_unit;
	} else {
		int r = heap->arena != NULL ? 0 : quoit__arena_new(q, p->ep.id, &heap->arena);

		if (r != 0)
			return r;
		b.offset = quoit__arena_alloc(heap->arena, len);
		if (b.offset == UINT64_MAX && quoit__arena_contradicted(heap->arena))
			return quoit__producer_fail(p, -EBADMSG);
		if (b.offset == UINT64_MAX)
			return -EAGAIN;
	}
	*ret = b;
	return 0;
}

static void block_free(struct quoit_producer *p, const struct quoit__block *b)
{
	struct quoit__heap *heap = p->heap;
	uint32_t first = (uint32_t)(b->offset / p->ep.ring->geo.heap_unit);
	bool good;

	if (b->units != 0) {
		good = quoit__units_free(p->ep.ring, p->ep.id, first, b->units);
		/* Lower places first: they are warm. */
		heap->hint = first < heap->hint ? first : heap->hint;
	} else {
		good = quoit__arena_free(heap->arena, b->offset);
	}
	if (!good)
		(void)quoit__producer_fail(p, -EBADMSG);
}

/* ---- what has been taken -------------------------------------------------------------------- */

/* Does the slot still hold our record? It does not change its slot, and while it lives nobody else
 * can name its block. */
static bool in_slot(const struct quoit__block *b)
{
	for (int i = 0; i < TRIES; i++) {
		/* M2: pairs with the release: readers have done with the block. */
		uint64_t w = atomic_load_explicit(&b->slot->word, memory_order_acquire);
		enum quoit__phase phase = quoit__phase(w);
		struct quoit__heap_record record;

		if (phase != QUOIT__COMMITTED && phase != QUOIT__READING && phase != QUOIT__VOIDR)
			return false;
		if (quoit__heap_in_slot(b->slot, w, &record))
			return record.offset == b->offset;
		if (atomic_load_explicit(&b->slot->word, memory_order_relaxed) == w)
			return false;
	}
	return true; /* as far as we could see */
}

static bool lives(const struct quoit_producer *p, const struct quoit__block *b)
{
	if (p->ep.ring->geo.kind == QUOIT_SPSC)
		return (int64_t)(p->head - b->position) <= 0;
	return in_slot(b);
}

/* Others may wait for what we have given back. */
static void tell(struct quoit_producer *p)
{
	atomic_thread_fence(memory_order_seq_cst); /* E1 */
	if (sync_announced(atomic_load_explicit(p->ep.sleeps_on->word, memory_order_relaxed)))
		quoit__wake(&p->ep, p->ep.sleeps_on, QUOIT_ROLE_PRODUCER);
}

/* Look at up to n blocks that are out, each once. Returns how many came back, or -EBADMSG. */
static int collect(struct quoit_producer *p, uint64_t n)
{
	struct quoit__heap *heap = p->heap;
	int back = 0;

	if (heap->n_out == 0)
		return 0;
	if (p->ep.ring->geo.kind == QUOIT_SPSC && !quoit__spsc_learn_head(p))
		return quoit__producer_fail(p, -EBADMSG);
	n = n < heap->n_out ? n : heap->n_out;
	while (n-- != 0 && heap->n_out != 0 && p->ep.error == 0) {
		struct quoit__block *b;

		heap->cursor = heap->cursor < heap->n_out ? heap->cursor : 0;
		b = &heap->out[heap->cursor];
		if (lives(p, b)) {
			heap->cursor++;
			continue;
		}
		block_free(p, b);
		*b = heap->out[--heap->n_out];
		back++;
	}
	if (back != 0 && p->ep.ring->geo.kind == QUOIT_MPMC)
		tell(p);
	return p->ep.error != 0 ? p->ep.error : back;
}

/* Room in the list for one more block than there are. */
static int make_room(struct quoit__heap *heap)
{
	struct quoit__block *more;

	if (heap->n_out + heap->n_reserved < heap->room)
		return 0;
	more = reallocarray(heap->out, 2 * heap->room + BLOCKS_MORE, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	heap->out = more;
	heap->room = 2 * heap->room + BLOCKS_MORE;
	return 0;
}

static int heap_new(struct quoit_producer *p)
{
	const struct quoit *q = p->ep.ring;

	p->heap = calloc(1, sizeof(*p->heap));
	if (p->heap == NULL)
		return -ENOMEM;
	p->heap->hint = (uint32_t)(q->geo.heap_size / q->geo.heap_unit * p->ep.id / q->geo.peers);
	return 0;
}

/* A block; 0, -EAGAIN, -ENOTSUP, -ENOMEM, -EBADMSG. Looks for what has come back first at a few
 * blocks, and if that does not do at all of them, and at what the dead have left. */
static int block_new(struct quoit_producer *p, uint32_t len, struct quoit__block *ret)
{
	int r = p->heap != NULL ? 0 : heap_new(p);

	if (r == 0)
		r = make_room(p->heap);
	if (r == 0)
		r = collect(p, LOOKS);
	if (r < 0)
		return r;
	r = block_find(p, len, ret);
	if (r != -EAGAIN)
		return r;
	r = collect(p, p->heap->n_out);
	if (r > 0)
		r = block_find(p, len, ret);
	else if (r == 0)
		r = -EAGAIN;
	if (r == -EAGAIN && quoit__heap_sweep(p->ep.ring) != 0)
		r = block_find(p, len, ret);
	return r;
}

/* ---- reserve, commit, discard --------------------------------------------------------------- */

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
		block_free(p, &p->heap->reserved[0]);
		drop_reserved(p->heap, 0);
		if (p->ep.error != 0)
			return p->ep.error;
	}
	r = quoit__spsc_find_room(p, sizeof(struct quoit__heap_record), &unused);
	if (r != 0)
		return r;
	r = block_new(p, len, b);
	if (r != 0)
		p->hot.reserved = 0;
	b->position = p->hot.position;
	return r;
}

/* MPMC: the block first, for a slot that is given back is a ticket that everybody steps over. */
static int reserve_mpmc(struct quoit_producer *p, uint32_t len, struct quoit__block *b)
{
	int r = p->claims == QUOIT__RESERVATIONS_MAX ? -EBUSY : block_new(p, len, b);

	if (r != 0)
		return r;
	r = quoit__mpmc_reserve_slot(p, &b->slot);
	if (r != 0) {
		block_free(p, b);
		tell(p);
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
	block_free(p, b);
	drop_reserved(p->heap, i);
	tell(p);
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
	struct quoit__heap *heap = p->heap;
	struct quoit__block b;
	int r;

	/* One that is reserved is given back first, as the next reservation does. */
	if (p->ep.ring->geo.kind == QUOIT_SPSC && heap != NULL && heap->n_reserved != 0 &&
	    heap->reserved[0].len >= len)
		return true;
	r = block_new(p, len, &b);
	if (r == 0)
		block_free(p, &b);
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
		(void)collect(p, heap->n_out);
		/* The slots of those that are reserved are given back with the row. */
		for (uint32_t i = 0; i < heap->n_reserved && p->ep.error == 0; i++)
			block_free(p, &heap->reserved[i]);
	}
	quoit__arena_drop(heap->arena);
	free(heap->out);
	free(heap);
	p->heap = NULL;
}
