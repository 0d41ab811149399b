/* SPDX-License-Identifier: MIT */
/*
 * Reading a header that may be damaged. Attaching refuses such a header; looking at it must not:
 * each field that cannot be is named, and replaced by what the rest of the header, the size of the
 * segment or this build's layout say it was, so that one flipped bit does not hide the records
 * behind it.
 *
 * A header whose checksum holds means what it says: an unknown version or feature in it is a ring
 * of another build, not damage.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "ring/view.h"

#define PAGE      UINT64_C(4096)
#define AT(field) offsetof(struct quoit__header, field)

static bool power_of_two(uint64_t x)
{
	return x != 0 && (x & (x - 1)) == 0;
}

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

/* Is it a ring of another build? Only if the header is as its writer left it. */
static bool foreign(const struct quoit__header *h)
{
	struct quoit__header known = *h;

	if (h->endian == __builtin_bswap32(QUOIT__ENDIAN))
		return true;
	if (h->version == QUOIT__LAYOUT_VERSION)
		return (h->incompat & ~QUOIT__INCOMPAT_KNOWN) != 0 &&
		       h->checksum == quoit__checksum(h);
	/* Another version may keep its checksum elsewhere, so ask whether it is ours but for that.
	 */
	known.version = QUOIT__LAYOUT_VERSION;
	return h->checksum != quoit__checksum(&known);
}

static void examine_identity(const struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;

	if (h->state == QUOIT__BUILDING)
		quoit__problem(r, QUOIT__REPAIRABLE, AT(state),
			       "the ring is unfinished: its creator is at work, or died");
	else if (h->state == QUOIT__REMOVED)
		quoit__problem(r, QUOIT__NOTE, AT(state), "the ring was removed");
	else if (h->state != QUOIT__READY)
		quoit__problem(r, QUOIT__CORRUPT, AT(state), "header: state %" PRIu32 " is none",
			       h->state);
	if (h->version != QUOIT__LAYOUT_VERSION)
		quoit__problem(r, QUOIT__CORRUPT, AT(version),
			       "header: version %" PRIu32 " cannot be, taken for %u", h->version,
			       QUOIT__LAYOUT_VERSION);
	if (h->endian != QUOIT__ENDIAN)
		quoit__problem(r, QUOIT__CORRUPT, AT(endian),
			       "header: byte order mark 0x%08" PRIx32 " is none", h->endian);
	if (h->header_size != sizeof(*h))
		quoit__problem(r, QUOIT__CORRUPT, AT(header_size),
			       "header: header size %" PRIu32 " is not %zu", h->header_size,
			       sizeof(*h));
	if (h->row_stride != sizeof(struct quoit__row))
		quoit__problem(r, QUOIT__CORRUPT, AT(row_stride),
			       "header: row stride %" PRIu32 " is not %zu", h->row_stride,
			       sizeof(struct quoit__row));
	if (h->compat & ~QUOIT__COMPAT_KNOWN)
		quoit__problem(r, QUOIT__NOTE, AT(compat),
			       "header: features 0x%" PRIx32
			       " are unknown here, and may be ignored",
			       h->compat & ~QUOIT__COMPAT_KNOWN);
	if (h->checksum != quoit__checksum(h))
		quoit__problem(r, QUOIT__CORRUPT, AT(checksum),
			       "header: checksum 0x%016" PRIx64 " does not match 0x%016" PRIx64
			       " of its bytes",
			       h->checksum, quoit__checksum(h));
	if (memchr(h->name, 0, sizeof(h->name)) == NULL)
		quoit__problem(r, QUOIT__CORRUPT, AT(name), "header: the name has no end");
}

static void examine_enums(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;
	uint32_t incompat = h->incompat;

	if (h->backend < QUOIT_SHM || h->backend > QUOIT_MEMFD)
		quoit__problem(r, QUOIT__CORRUPT, AT(backend),
			       "header: backend %" PRIu32 " is none", h->backend);
	g->wait = QUOIT_WAIT_FUTEX;
	if (h->wait < QUOIT_WAIT_SPIN || h->wait > QUOIT_WAIT_EVENTFD)
		quoit__problem(r, QUOIT__CORRUPT, AT(wait),
			       "header: way to wait %" PRIu32 " is none", h->wait);
	else
		g->wait = (enum quoit_wait)h->wait;
	g->persistent = (h->compat & QUOIT__COMPAT_PERSISTENT) != 0;
	g->sem_id = h->sem_id;
	if (h->kind == QUOIT_SPSC || h->kind == QUOIT_MPMC)
		g->kind = (enum quoit_kind)h->kind;
	else
		quoit__problem(r, QUOIT__CORRUPT, AT(kind), "header: kind %" PRIu32 " is none",
			       h->kind);
	incompat &= ~QUOIT__INCOMPAT_HEAP;
	if (incompat != QUOIT__INCOMPAT_SPSC && incompat != QUOIT__INCOMPAT_MPMC)
		quoit__problem(r, QUOIT__CORRUPT, AT(incompat),
			       "header: features 0x%" PRIx32 " are no ring's", h->incompat);
	else if (g->kind == 0)
		g->kind = incompat == QUOIT__INCOMPAT_SPSC ? QUOIT_SPSC : QUOIT_MPMC;
	else if (g->kind != (incompat == QUOIT__INCOMPAT_SPSC ? QUOIT_SPSC : QUOIT_MPMC))
		quoit__problem(r, QUOIT__CORRUPT, AT(incompat),
			       "header: kind and features contradict each other");
}

/* Control and peer table; where this build puts them if the header's offsets cannot be. */
static void examine_tables(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;
	uint64_t most = g->kind == QUOIT_MPMC ? QUOIT_PEERS_MAX : 2;

	g->control_offset = h->control_offset;
	if (h->control_offset < sizeof(*h) || h->control_offset % QUOIT__STRIDE != 0 ||
	    h->control_offset > QUOIT__PEERS_OFFSET) {
		quoit__problem(r, QUOIT__CORRUPT, AT(control_offset),
			       "header: control offset %" PRIu64 " cannot be, taken for %u",
			       h->control_offset, QUOIT__CONTROL_OFFSET);
		g->control_offset = QUOIT__CONTROL_OFFSET;
	}
	g->peers_offset = h->peers_offset;
	if (h->peers_offset < g->control_offset + sizeof(struct quoit__control) ||
	    h->peers_offset % QUOIT__STRIDE != 0 || h->peers_offset > 16 * PAGE) {
		quoit__problem(r, QUOIT__CORRUPT, AT(peers_offset),
			       "header: peer table offset %" PRIu64 " cannot be, taken for %u",
			       h->peers_offset, QUOIT__PEERS_OFFSET);
		g->peers_offset = QUOIT__PEERS_OFFSET;
	}
	g->peers = h->peers;
	if (h->peers < 2 || h->peers > most) {
		/* The data begin at the page after the table, so this is at most a few rows too
		 * many, all of them free. */
		uint64_t room =
			h->data_offset > g->peers_offset ? h->data_offset - g->peers_offset : 0;
		uint64_t rows = g->kind == QUOIT_MPMC ? room / sizeof(struct quoit__row) : 2;

		g->peers = rows <= most ? (uint32_t)rows : 0;
		quoit__problem(r, QUOIT__CORRUPT, AT(peers),
			       "header: %" PRIu32 " peers cannot be, taken for %" PRIu32, h->peers,
			       g->peers);
	}
}

static void examine_spsc(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;
	uint64_t rest = v->size > g->data_offset ? v->size - g->data_offset : 0;

	g->capacity = h->capacity;
	if (!power_of_two(h->capacity) || h->capacity < 1024 || h->capacity > UINT64_C(1) << 62) {
		g->capacity = power_of_two(rest) && rest >= 1024 ? rest : 0;
		quoit__problem(r, QUOIT__CORRUPT, AT(capacity),
			       "header: capacity %" PRIu64 " cannot be, taken for %" PRIu64,
			       h->capacity, g->capacity);
	}
	if (h->slots != 0 || h->slot_stride != 0 || h->slot_size != 0)
		quoit__problem(r, QUOIT__CORRUPT, AT(slots), "header: an SPSC ring has no slots");
	if (h->start % 8 != 0)
		quoit__problem(r, QUOIT__CORRUPT, AT(start),
			       "header: first position %" PRIu64 " is not a multiple of 8",
			       h->start);
	/* As quoit__validate_header() has it. */
	if (g->capacity != 0)
		g->max_record = g->capacity / 2 - 16 < QUOIT_RECORD_MAX
					? (uint32_t)(g->capacity / 2 - 16)
					: QUOIT_RECORD_MAX;
}

/* Of slots, stride, size and capacity each follows from the others. */
static void examine_mpmc(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;
	uint64_t head = sizeof(struct quoit__slot), stride, slots;

	g->slot_stride = h->slot_stride;
	g->slot_size = h->slot_size;
	if (h->slot_size < 8 || h->slot_size > QUOIT_RECORD_MAX) {
		g->slot_size = h->slot_stride > head ? h->slot_stride - (uint32_t)head : 0;
		quoit__problem(r, QUOIT__CORRUPT, AT(slot_size),
			       "header: slot size %" PRIu32 " cannot be, taken for %" PRIu32,
			       h->slot_size, g->slot_size);
	}
	stride = head + round_up(g->slot_size, 8);
	if (h->slot_stride % 8 != 0 || h->slot_stride < head + g->slot_size ||
	    h->slot_stride == 0) {
		g->slot_stride = (uint32_t)stride;
		quoit__problem(r, QUOIT__CORRUPT, AT(slot_stride),
			       "header: slot stride %" PRIu32 " cannot be, taken for %" PRIu64,
			       h->slot_stride, stride);
	}
	slots = g->slot_stride != 0 ? h->capacity / g->slot_stride : 0;
	g->slots = h->slots;
	if (!power_of_two(h->slots) || h->slots < 2 || h->slots > UINT64_C(1) << 40) {
		g->slots =
			power_of_two(slots) && slots >= 2 && slots <= UINT64_C(1) << 40 ? slots : 0;
		quoit__problem(r, QUOIT__CORRUPT, AT(slots),
			       "header: %" PRIu64 " slots cannot be, taken for %" PRIu64, h->slots,
			       g->slots);
	}
	g->capacity = g->slots * g->slot_stride; /* at most 2^40 * 2^32 */
	if (g->slots > UINT64_MAX / 2 / (g->slot_stride ? g->slot_stride : 1))
		g->capacity = g->slots = 0;
	if (h->capacity != g->capacity)
		quoit__problem(r, QUOIT__CORRUPT, AT(capacity),
			       "header: capacity %" PRIu64 " is not that of %" PRIu64
			       " slots of %" PRIu32 " bytes",
			       h->capacity, g->slots, g->slot_stride);
	if (g->slots == 0)
		return;
	g->max_record = g->slot_size;
	g->slots_log2 = 63 - (uint32_t)__builtin_clzll(g->slots);
	g->turn_shift = g->slots_log2 > 16 ? g->slots_log2 : 16;
}

/* The heap header is whole, or the heap is not looked at: its records say where they are, but not
 * where the section is. */
static void examine_heap(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;

	if (v->size < QUOIT__HEAP_HEADER_OFFSET + sizeof(v->heap_header))
		return; /* told as cut off */
	if (quoit__validate_heap(h, &v->heap_header, g) != 0) {
		quoit__problem(r, QUOIT__CORRUPT, QUOIT__HEAP_HEADER_OFFSET,
			       "heap: its header is damaged, the section cannot be looked at");
		return;
	}
	g->segment_size = g->heap_offset + g->heap_size;
	if (h->segment_size != g->segment_size)
		quoit__problem(r, QUOIT__CORRUPT, AT(segment_size),
			       "header: segment size %" PRIu64 " is not %" PRIu64
			       ", where its heap ends",
			       h->segment_size, g->segment_size);
}

static void examine_data(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__header *h = &v->header;
	struct quoit__geometry *g = &v->geo;
	uint64_t table = (uint64_t)g->peers * sizeof(struct quoit__row);

	g->data_offset = h->data_offset;
	if (h->data_offset < g->peers_offset + table || h->data_offset % PAGE != 0 ||
	    h->data_offset > UINT64_C(1) << 62 || h->data_offset >= v->size) {
		g->data_offset = round_up(g->peers_offset + table, PAGE);
		/* A short copy may end before its data without the header being to blame. */
		if (h->data_offset != g->data_offset)
			quoit__problem(r, QUOIT__CORRUPT, AT(data_offset),
				       "header: data offset %" PRIu64
				       " cannot be, taken for %" PRIu64,
				       h->data_offset, g->data_offset);
	}
	if (g->kind == QUOIT_SPSC)
		examine_spsc(v, r);
	else if (g->kind == QUOIT_MPMC)
		examine_mpmc(v, r);
	g->ring_record = g->max_record;
	g->segment_size = g->data_offset + g->capacity;
	if ((h->incompat & QUOIT__INCOMPAT_HEAP) != 0) {
		examine_heap(v, r);
		return;
	}
	if (g->capacity != 0 && h->segment_size != g->segment_size)
		quoit__problem(r, QUOIT__CORRUPT, AT(segment_size),
			       "header: segment size %" PRIu64 " is not %" PRIu64
			       ", where its data end",
			       h->segment_size, g->segment_size);
}

/* Point at the sections that lie in the bytes at hand. */
static void find_sections(struct quoit_inspect *v, struct quoit__report *r)
{
	struct quoit__geometry *g = &v->geo;
	uint64_t table = (uint64_t)g->peers * sizeof(struct quoit__row);

	v->control = NULL;
	v->rows = NULL;
	v->data = NULL;
	v->data_size = 0;
	if (g->control_offset + sizeof(struct quoit__control) <= v->size)
		v->control = (struct quoit__control *)(void *)(v->base + g->control_offset);
	if (g->peers >= 2 && g->peers_offset + table <= v->size)
		v->rows = (struct quoit__row *)(void *)(v->base + g->peers_offset);
	if (g->capacity != 0 && g->data_offset < v->size) {
		v->data = v->base + g->data_offset;
		v->data_size = v->size - g->data_offset;
		if (v->data_size > g->capacity)
			v->data_size = g->capacity;
	}
	v->heap = NULL;
	v->units = NULL;
	if (g->heap_size != 0 && g->heap_table <= v->size &&
	    g->heap_size / g->heap_unit * 8 <= v->size - g->heap_table)
		v->units = (_Atomic uint64_t *)(void *)(v->base + g->heap_table);
	if (g->heap_size != 0 && g->heap_offset <= v->size &&
	    g->heap_size <= v->size - g->heap_offset)
		v->heap = v->base + g->heap_offset;
	if (g->capacity != 0 && g->segment_size > v->size)
		quoit__problem(r, QUOIT__CORRUPT, v->size,
			       "cut off: %" PRIu64 " of %" PRIu64 " bytes are here", v->size,
			       g->segment_size);
	else if (v->control == NULL || v->rows == NULL)
		quoit__problem(r, QUOIT__CORRUPT, v->size, "the peer table is not in these bytes");
}

/* What attaching would make of it. */
static bool attachable(const struct quoit_inspect *v, struct quoit__geometry *ret)
{
	if (quoit__validate_header(&v->header, v->size, ret) != 0)
		return false;
	if ((v->header.incompat & QUOIT__INCOMPAT_HEAP) == 0)
		return true;
	return quoit__validate_heap(&v->header, &v->heap_header, ret) == 0;
}

int quoit__view_header(struct quoit_inspect *v, struct quoit__report *r)
{
	struct quoit__header *h = &v->header;
	unsigned before = r->problems;
	struct quoit__geometry g;

	if (v->size < sizeof(*h))
		return -EPROTO;
	/* L1: pairs with the creator's READY: the rest is there. */
	h->state = atomic_load_explicit(&((struct quoit__header *)(void *)v->base)->state,
					memory_order_acquire);
	memcpy(&h->magic, v->base, sizeof(h->magic));
	memcpy(&h->version, v->base + AT(version), sizeof(*h) - AT(version));
	memset(&v->heap_header, 0, sizeof(v->heap_header));
	/* Once, as the header: sections and geometry must be of the same one. */
	if (v->size >= QUOIT__HEAP_HEADER_OFFSET + sizeof(v->heap_header))
		memcpy(&v->heap_header, v->base + QUOIT__HEAP_HEADER_OFFSET,
		       sizeof(v->heap_header));
	if (h->magic != QUOIT__MAGIC || foreign(h))
		return -EPROTO;
	memset(&v->geo, 0, sizeof(v->geo));
	examine_identity(v, r);
	examine_enums(v, r);
	examine_tables(v, r);
	examine_data(v, r);
	find_sections(v, r);
	/* What attaching would make of it has the last word. */
	if (attachable(v, &g))
		v->geo = g;
	else if (r->problems == before)
		quoit__problem(r, QUOIT__CORRUPT, 0, "header: its figures contradict each other");
	return 0;
}
