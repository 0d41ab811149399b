/* SPDX-License-Identifier: MIT */
/*
 * A producer's blocks in the heap: finding one, and getting them back. docs/DESIGN.md, "Heap".
 *
 * Nobody tells a producer that a record of its has been taken: it looks at the ring, for the ring
 * is the only truth. SPSC: the consumer's position has passed the record. MPMC: the record's slot
 * holds another one, or none. A few blocks are looked at whenever one is wanted, so that each of
 * them is looked at again and again; all of them when there is no room, and then what others have
 * left: the dead, and those who have lent units and do not come back for them.
 */
#include <errno.h>
#include <stdlib.h>

#include "ring/heap_blocks.h"
#include "ring/slot.h"

#define LOOKS       8   /* at blocks, for each that is wanted */
#define FEW         256 /* blocks, that may all be looked at at any time */
#define TRIES       8   /* looks at a slot that is on the move */
#define BLOCKS_MORE 64
#define MANY        8192       /* blocks and records: a search for them takes its time */
#define RECORD      32         /* bytes of the ring for one in the heap */
#define SHARE       8          /* of its time that such a search may take: a ninth */
#define SEARCH_NS   1000000000 /* and when it is due though there is no news */
#define PATIENCE_NS 10000000   /* without room, before what others have lent is looked at */

/* ---- blocks --------------------------------------------------------------------------------- */

static uint32_t units_for(const struct quoit *q, uint32_t len)
{
	return (uint32_t)((len + q->geo.heap_unit - 1) / q->geo.heap_unit);
}

/* Runs of units for what fills them well, the arena for the rest. jemalloc rounds large sizes up by
 * as much as a fifth, and a page more: a block of the whole section could never be had from it. */
static bool fills_units(const struct quoit *q, uint32_t len)
{
	return units_for(q, len) * q->geo.heap_unit - len <= len / 8;
}

static int run_find(struct quoit_producer *p, struct quoit__block *b)
{
	struct quoit__heap *heap = p->heap;
	uint32_t units = units_for(p->ep.ring, b->len), first;

	b->run = true;
	b->serial = quoit__holding_serial(heap->holding);
	first = quoit__holding_claim(heap->holding, b->serial, units, &heap->hint);
	if (first == UINT32_MAX)
		return -EAGAIN;
	b->offset = first * p->ep.ring->geo.heap_unit;
	return quoit__holding_open(heap->holding, b->serial, b->offset, b->len) ? 0 : -EBADMSG;
}

/* No more blocks of this arena: others have freed units of it. The blocks of it that are out come
 * back by the sweep. */
static void retire_arena(struct quoit__heap *heap)
{
	uint64_t serial = quoit__arena_of(heap), kept = 0;

	for (uint64_t i = 0; i < heap->n_out; i++)
		if (heap->out[i].serial != serial)
			heap->out[kept++] = heap->out[i];
	heap->n_out = kept;
	quoit__holding_orphan(heap->holding, serial);
	quoit__arena_drop(heap->arena);
	heap->arena = NULL;
}

static int arena_find(struct quoit_producer *p, struct quoit__block *b)
{
	struct quoit__heap *heap = p->heap;

	/* A new arena has only units that it has just claimed: the second time is the last. */
	for (int i = 0; i < 2; i++) {
		int r = heap->arena != NULL ? 0
					    : quoit__arena_new(p->ep.ring, p->ep.id, heap->holding,
							       &heap->arena);

		if (r != 0)
			return r;
		b->serial = quoit__arena_of(heap);
		b->offset = UINT64_MAX;
		if (!quoit__holding_torn(heap->holding))
			b->offset = quoit__arena_alloc(heap->arena, b->len);
		if (b->offset == UINT64_MAX && !quoit__holding_torn(heap->holding))
			return -EAGAIN;
		if (b->offset != UINT64_MAX &&
		    quoit__holding_open(heap->holding, b->serial, b->offset, b->len))
			return 0;
		retire_arena(heap);
	}
	return -EBADMSG;
}

static int block_find(struct quoit_producer *p, uint32_t len, struct quoit__block *ret)
{
	bool fills = fills_units(p->ep.ring, len);
	struct quoit__heap *heap = p->heap;
	struct quoit__block b = {.len = len};
	int r = 0;

	if (!fills && !heap->no_arena) {
		r = arena_find(p, &b);
		heap->no_arena = r == -ENOTSUP;
	}
	if (fills || heap->no_arena)
		r = run_find(p, &b);
	if (quoit__holding_contradicted(heap->holding))
		return quoit__producer_fail(p, -EBADMSG);
	if (r == 0)
		*ret = b;
	return r == -EBADMSG ? quoit__producer_fail(p, r) : r;
}

/* It is committed no more, or never was. */
static void block_free(struct quoit_producer *p, const struct quoit__block *b)
{
	struct quoit__heap *heap = p->heap;
	uint32_t first = (uint32_t)(b->offset / p->ep.ring->geo.heap_unit);

	if (b->run) {
		quoit__holding_free(heap->holding, b->serial, first, units_for(p->ep.ring, b->len));
		/* Lower places first: they are warm. */
		heap->hint = first < heap->hint ? first : heap->hint;
	} else if (b->serial == quoit__arena_of(heap)) {
		quoit__arena_free(heap->arena, b->offset);
	}
	if (quoit__holding_contradicted(heap->holding))
		(void)quoit__producer_fail(p, -EBADMSG);
}

void quoit__block_discard(struct quoit_producer *p, const struct quoit__block *b)
{
	if (!b->run)
		quoit__holding_lend(p->heap->holding, b->offset, b->len);
	block_free(p, b);
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

int quoit__heap_collect(struct quoit_producer *p, uint64_t n)
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
		quoit__tell_room(p);
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
	struct quoit__heap *heap = calloc(1, sizeof(*heap));
	int r;

	if (heap == NULL)
		return -ENOMEM;
	r = quoit__holding_new(q, p->ep.id, &heap->holding);
	if (r != 0) {
		free(heap);
		return r;
	}
	/* Producers begin at places of their own, so that they do not meet. */
	heap->hint = (uint32_t)(q->geo.heap_size / q->geo.heap_unit * p->ep.id / q->geo.peers);
	p->heap = heap;
	return 0;
}

/* ---- when there is no room ------------------------------------------------------------------ */

/* Is it worth while to search everything? Not if nothing has been taken since the last time, nor if
 * nothing else were done any more: in a large ring a search takes milliseconds. */
static bool search_pays(const struct quoit_producer *p, uint64_t news, int64_t now)
{
	const struct quoit__heap *heap = p->heap;
	const struct quoit__geometry *g = &p->ep.ring->geo;
	uint64_t records = g->kind == QUOIT_SPSC ? g->capacity / RECORD : g->slots;

	if (heap->searches == 0 || now - heap->searched_ns >= SEARCH_NS)
		return true;
	return news != heap->news && (records + heap->n_out <= MANY || now >= heap->next_ns);
}

/* All blocks that are out, and what the dead have left. What they cost depends on the length of the
 * ring, so that is not done at each look of a producer that waits. */
static int search(struct quoit_producer *p, uint32_t len, struct quoit__block *ret, int64_t now)
{
	struct quoit__heap *heap = p->heap;
	uint64_t orphans = quoit__heap_orphans(p->ep.ring), news;
	int r = -EAGAIN, back = 0;

	if (heap->n_out <= FEW)
		back = quoit__heap_collect(p, heap->n_out);
	if (back > 0)
		r = block_find(p, len, ret);
	if (back < 0 || r != -EAGAIN || (heap->n_out <= FEW && orphans == 0))
		return back < 0 ? back : r;
	/* Before looking: what happens meanwhile is news for the next time. */
	news = quoit__heap_news(p->ep.ring) + orphans;
	if (!search_pays(p, news, now))
		return -EAGAIN;
	heap->news = news;
	heap->searches++;
	back = quoit__heap_collect(p, heap->n_out);
	if (orphans != 0 && back >= 0) {
		unsigned swept = quoit__heap_sweep(p->ep.ring);

		back += (int)swept;
		if (swept != 0)
			quoit__tell_room(p);
	}
	if (back > 0)
		r = block_find(p, len, ret);
	heap->searched_ns = quoit__now_ns();
	heap->next_ns = heap->searched_ns + SHARE * (heap->searched_ns - now);
	return back < 0 ? back : r;
}

/* What others have lent and their readers have given back, after some patience: they get it back
 * themselves as long as they are at work. */
static int reclaim(struct quoit_producer *p, uint32_t len, struct quoit__block *ret, int64_t now)
{
	struct quoit__heap *heap = p->heap;
	int64_t end;
	int r = -EAGAIN;

	if (p->ep.ring->geo.kind == QUOIT_SPSC)
		return -EAGAIN;
	if (heap->short_ns == 0) {
		heap->short_ns = now;
		heap->short_len = len;
		heap->reclaim_ns = now + PATIENCE_NS;
	}
	if (now < heap->reclaim_ns)
		return -EAGAIN;
	if (quoit__heap_reclaim(p->ep.ring, p->ep.id) != 0) {
		quoit__tell_room(p);
		r = block_find(p, len, ret);
	}
	end = quoit__now_ns();
	heap->reclaim_ns = end + PATIENCE_NS + SHARE * (end - now);
	return r;
}

int quoit__block_new(struct quoit_producer *p, uint32_t len, struct quoit__block *ret)
{
	struct quoit__heap *heap;
	int64_t now;
	int r = p->heap != NULL ? 0 : heap_new(p);

	heap = p->heap;
	if (r == 0)
		r = make_room(heap);
	if (r == 0)
		r = quoit__heap_collect(p, LOOKS);
	if (r < 0)
		return r;
	r = block_find(p, len, ret);
	if (r == -EAGAIN) {
		now = quoit__now_ns();
		r = search(p, len, ret, now);
		if (r == -EAGAIN)
			r = reclaim(p, len, ret, now);
	}
	if (r == 0 && len >= heap->short_len)
		heap->short_ns = 0;
	return r;
}

uint64_t quoit__heap_searches(const struct quoit_producer *p)
{
	return p->heap != NULL ? p->heap->searches : 0;
}
