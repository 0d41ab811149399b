/* SPDX-License-Identifier: MIT */
/*
 * All distrust of a segment's header lives here: what passes may be relied on, for it is copied
 * into private memory and the shared copy is never read again.
 */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"

static bool power_of_two(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

/* FNV-1a, 64 bits (Fowler, Noll, Vo), of bytes [from, end). */
static uint64_t fnv1a(const void *start, size_t from, size_t end)
{
	const unsigned char *bytes = start;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = from; i < end; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

uint64_t quoit__checksum(const struct quoit__header *h)
{
	return fnv1a(h, offsetof(struct quoit__header, version),
		     offsetof(struct quoit__header, checksum));
}

uint64_t quoit__heap_checksum(const struct quoit__heap_header *heap)
{
	return fnv1a(heap, 0, offsetof(struct quoit__heap_header, checksum));
}

/* Does [offset, offset + size) lie in the segment? */
static bool inside(const struct quoit__header *h, uint64_t offset, uint64_t size)
{
	return offset <= h->segment_size && size <= h->segment_size - offset;
}

static bool spsc_sane(const struct quoit__header *h)
{
	return (h->incompat & ~QUOIT__INCOMPAT_HEAP) == QUOIT__INCOMPAT_SPSC &&
	       power_of_two(h->capacity) && h->capacity >= 1024 && h->peers == 2 &&
	       h->start % 8 == 0 && h->slots == 0;
}

static bool mpmc_sane(const struct quoit__header *h)
{
	return (h->incompat & ~QUOIT__INCOMPAT_HEAP) == QUOIT__INCOMPAT_MPMC &&
	       power_of_two(h->slots) && h->slots >= 2 && h->slots <= UINT64_C(1) << 40 &&
	       h->slot_size >= 8 && h->slot_size <= QUOIT_RECORD_MAX && h->slot_stride % 8 == 0 &&
	       h->slot_stride >= sizeof(struct quoit__slot) + (uint64_t)h->slot_size &&
	       h->capacity / h->slot_stride == h->slots && h->capacity % h->slot_stride == 0 &&
	       h->peers >= 2 && h->peers <= QUOIT_PEERS_MAX;
}

static bool sections_sane(const struct quoit__header *h)
{
	return h->control_offset >= sizeof(*h) && h->control_offset % QUOIT__STRIDE == 0 &&
	       inside(h, h->control_offset, sizeof(struct quoit__control)) &&
	       h->peers_offset >= h->control_offset + sizeof(struct quoit__control) &&
	       h->peers_offset % QUOIT__STRIDE == 0 &&
	       inside(h, h->peers_offset, (uint64_t)h->peers * sizeof(struct quoit__row)) &&
	       h->data_offset >= h->peers_offset + (uint64_t)h->peers * sizeof(struct quoit__row) &&
	       h->data_offset % 4096 == 0 && inside(h, h->data_offset, h->capacity);
}

static uint32_t log2_of(uint64_t x)
{
	return 63 - (uint32_t)__builtin_clzll(x);
}

int quoit__validate_header(const struct quoit__header *h, uint64_t mapped,
			   struct quoit__geometry *ret)
{
	struct quoit__geometry g = {0};

	if (h->magic != QUOIT__MAGIC || h->version != QUOIT__LAYOUT_VERSION ||
	    h->endian != QUOIT__ENDIAN || h->header_size != sizeof(*h) ||
	    h->row_stride != sizeof(struct quoit__row) ||
	    (h->incompat & ~QUOIT__INCOMPAT_KNOWN) != 0)
		return -EPROTO;
	if (h->checksum != quoit__checksum(h))
		return -EBADMSG;
	if (h->segment_size > mapped)
		return -EPROTO;
	if (!sections_sane(h) || h->wait < QUOIT_WAIT_SPIN || h->wait > QUOIT_WAIT_EVENTFD)
		return -EBADMSG;
	if (h->kind == QUOIT_SPSC ? !spsc_sane(h) : h->kind != QUOIT_MPMC || !mpmc_sane(h))
		return -EBADMSG;

	g.kind = (enum quoit_kind)h->kind;
	g.wait = (enum quoit_wait)h->wait;
	g.persistent = (h->compat & QUOIT__COMPAT_PERSISTENT) != 0;
	g.peers = h->peers;
	g.control_offset = h->control_offset;
	g.peers_offset = h->peers_offset;
	g.data_offset = h->data_offset;
	g.capacity = h->capacity;
	g.segment_size = h->segment_size;
	g.sem_id = h->sem_id;
	if (g.kind == QUOIT_SPSC) {
		/* Half the ring: then it always fits into an empty one, padding and all. */
		g.max_record = h->capacity / 2 - 16 < QUOIT_RECORD_MAX
				       ? (uint32_t)(h->capacity / 2 - 16)
				       : QUOIT_RECORD_MAX;
	} else {
		g.slots = h->slots;
		g.slot_stride = h->slot_stride;
		g.slot_size = h->slot_size;
		g.max_record = h->slot_size;
		g.slots_log2 = log2_of(h->slots);
		g.turn_shift = g.slots_log2 > 16 ? g.slots_log2 : 16;
	}
	g.ring_record = g.max_record;
	*ret = g;
	return 0;
}

int quoit__validate_heap(const struct quoit__header *h, const struct quoit__heap_header *heap,
			 struct quoit__geometry *g)
{
	uint64_t data_end = h->data_offset + h->capacity, longest;

	if (heap->checksum != quoit__heap_checksum(heap) || h->control_offset < sizeof(*h) ||
	    h->control_offset - sizeof(*h) < sizeof(*heap))
		return -EBADMSG;
	if (!power_of_two(heap->unit) || heap->unit < QUOIT__UNIT_MIN || heap->size == 0 ||
	    heap->size % heap->unit != 0 || heap->size / heap->unit > QUOIT__UNITS_MAX ||
	    heap->table_offset < data_end || heap->table_offset % QUOIT__STRIDE != 0 ||
	    !inside(h, heap->table_offset, heap->size / heap->unit * 8) ||
	    heap->offset < heap->table_offset + heap->size / heap->unit * 8 ||
	    heap->offset % 4096 != 0 || !inside(h, heap->offset, heap->size))
		return -EBADMSG;
	if (g->kind == QUOIT_SPSC
		    ? heap->share < sizeof(struct quoit__heap_record) || heap->share % 8 != 0 ||
			      heap->share > g->max_record
		    : heap->share != 0 || h->slot_size < sizeof(struct quoit__heap_record))
		return -EBADMSG;
	longest = heap->size < QUOIT_RECORD_MAX ? heap->size : QUOIT_RECORD_MAX;
	if (g->kind == QUOIT_SPSC)
		g->ring_record = (uint32_t)heap->share;
	g->max_record = longest > g->ring_record ? (uint32_t)longest : g->ring_record;
	g->heap_table = heap->table_offset;
	g->heap_offset = heap->offset;
	g->heap_size = heap->size;
	g->heap_unit = heap->unit;
	return 0;
}

bool quoit__heap_record_valid(const struct quoit__geometry *g, const struct quoit__heap_record *r)
{
	return r->offset % 8 == 0 && r->offset < g->heap_size &&
	       r->length <= g->heap_size - r->offset && r->length <= g->max_record && r->zero == 0;
}

bool quoit__position_valid(const struct quoit__geometry *g, uint64_t position, uint64_t end)
{
	return (position | end) % 8 == 0 && end - position <= g->capacity;
}
