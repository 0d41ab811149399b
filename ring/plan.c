/* SPDX-License-Identifier: MIT */
/* From options to a header: kinds, sizes, and where the sections of a new ring lie. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "ring/heap.h"
#include "ring/plan.h"
#include "ring/slot.h"

#define PAGE         UINT64_C(4096)
#define CAPACITY_MAX (UINT64_C(1) << 40)

static uint64_t power_of_two_from(uint64_t x)
{
	uint64_t p = 1;

	while (p < x)
		p <<= 1;
	return p;
}

int quoit__options_read(const struct quoit_options *opt, struct quoit_options *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (opt == NULL)
		return 0;
	if (opt->size < offsetof(struct quoit_options, capacity))
		return -EINVAL;
	if (opt->size > sizeof(*ret)) {
		const unsigned char *tail = (const unsigned char *)opt;

		for (uint32_t i = sizeof(*ret); i < opt->size; i++)
			if (tail[i] != 0)
				return -E2BIG;
	}
	memcpy(ret, opt, opt->size < sizeof(*ret) ? opt->size : sizeof(*ret));
	return 0;
}

/* A heap is for records that the ring does not take, so with it a ring takes longer ones than
 * without; where its user has said himself what goes there, longer ones than that. */
static bool heap_helps(const struct quoit__header *h, const struct quoit__heap_header *heap,
		       const struct quoit_options *o, uint64_t most)
{
	if (o->kind == QUOIT_MPMC)
		return heap->size > h->slot_size;
	return o->heap_share != 0 ? heap->size > heap->share : heap->size >= most;
}

/* Units: few enough that the whole table can be looked at, or copied to the stack. */
static int plan_heap(struct quoit__header *h, struct quoit__heap_header *heap,
		     const struct quoit_options *o)
{
	uint64_t most = o->kind == QUOIT_SPSC ? h->capacity / 2 - 16 : 0;
	uint64_t share = o->heap_share != 0 ? o->heap_share : h->capacity / 8;
	uint64_t table;

	most = most < QUOIT_RECORD_MAX ? most : QUOIT_RECORD_MAX;
	if (o->heap_size == 0)
		return o->heap_share == 0 ? 0 : -EINVAL;
	if (o->heap_size > CAPACITY_MAX || o->heap_share > most)
		return -EINVAL;
	if (share < sizeof(struct quoit__heap_record)) /* what stands for a record in the heap */
		share = sizeof(struct quoit__heap_record);
	share = (share + 7) & ~UINT64_C(7);
	heap->share = o->kind == QUOIT_SPSC ? (share < most ? share : most) : 0;
	heap->unit = power_of_two_from((o->heap_size + QUOIT__UNITS_MAX - 1) / QUOIT__UNITS_MAX);
	if (heap->unit < QUOIT__UNIT_MIN)
		heap->unit = QUOIT__UNIT_MIN;
	heap->size = (o->heap_size + heap->unit - 1) & ~(heap->unit - 1);
	if (!heap_helps(h, heap, o, most))
		return -EINVAL;
	table = heap->size / heap->unit * sizeof(uint64_t);
	heap->table_offset = (h->segment_size + PAGE - 1) & ~(PAGE - 1);
	heap->offset = (heap->table_offset + table + PAGE - 1) & ~(PAGE - 1);
	heap->checksum = quoit__heap_checksum(heap);
	h->segment_size = heap->offset + heap->size;
	h->incompat |= QUOIT__INCOMPAT_HEAP;
	return 0;
}

static int plan_spsc(struct quoit__header *h, const struct quoit_options *o)
{
	h->incompat = QUOIT__INCOMPAT_SPSC;
	h->capacity = power_of_two_from(o->capacity);
	h->peers = 2;
	return o->start % 8 == 0 ? 0 : -EINVAL;
}

static int plan_mpmc(struct quoit__header *h, const struct quoit_options *o)
{
	uint64_t slot_size = o->slot_size ? o->slot_size : 256;

	if (slot_size < 8 || slot_size > QUOIT_RECORD_MAX)
		return -EINVAL;
	/* Every slot takes the descriptor of a record in the heap. */
	if (o->heap_size != 0 && slot_size < sizeof(struct quoit__heap_record))
		slot_size = sizeof(struct quoit__heap_record);
	h->incompat = QUOIT__INCOMPAT_MPMC;
	h->slot_size = (uint32_t)slot_size;
	h->slot_stride = (uint32_t)(sizeof(struct quoit__slot) + ((slot_size + 7) & ~UINT64_C(7)));
	h->slots = power_of_two_from((o->capacity + h->slot_stride - 1) / h->slot_stride);
	if (h->slots < 2)
		h->slots = 2;
	h->capacity = h->slots * h->slot_stride;
	h->peers = o->peers ? o->peers : 128;
	return h->peers >= 2 && h->peers <= QUOIT_PEERS_MAX ? 0 : -EINVAL;
}

int quoit__plan_ring(const struct quoit__name *name, struct quoit_options *o,
		     struct quoit__header *h, struct quoit__heap_header *heap)
{
	struct timespec now;
	uint64_t table;
	int r;

	o->kind = o->kind ? o->kind : QUOIT_SPSC;
	o->wait = o->wait ? o->wait : QUOIT_WAIT_FUTEX;
	o->capacity = o->capacity ? o->capacity : UINT64_C(1) << 20;
	o->mode = o->mode ? o->mode : 0600;
	if (o->wait > QUOIT_WAIT_EVENTFD || o->mode > 0777 || o->capacity < 1024 ||
	    o->capacity > CAPACITY_MAX || (o->kind != QUOIT_SPSC && o->kind != QUOIT_MPMC) ||
	    (o->flags & (QUOIT_READONLY | ~0x7fu)) != 0 || o->reserved != 0)
		return -EINVAL;
	memset(h, 0, sizeof(*h));
	memset(heap, 0, sizeof(*heap));
	r = o->kind == QUOIT_SPSC ? plan_spsc(h, o) : plan_mpmc(h, o);
	if (r != 0)
		return r;
	table = (uint64_t)h->peers * sizeof(struct quoit__row);
	h->magic = QUOIT__MAGIC;
	h->version = QUOIT__LAYOUT_VERSION;
	h->endian = QUOIT__ENDIAN;
	h->header_size = sizeof(*h);
	h->compat = o->flags & QUOIT_PERSISTENT ? QUOIT__COMPAT_PERSISTENT : 0;
	h->kind = o->kind;
	h->wait = o->wait;
	h->backend = name->backend;
	h->control_offset = QUOIT__CONTROL_OFFSET;
	h->peers_offset = QUOIT__PEERS_OFFSET;
	h->data_offset = (QUOIT__PEERS_OFFSET + table + PAGE - 1) & ~(PAGE - 1);
	h->segment_size = h->data_offset + h->capacity;
	r = plan_heap(h, heap, o);
	if (r != 0)
		return r;
	h->row_stride = sizeof(struct quoit__row);
	h->start = o->start;
	clock_gettime(CLOCK_REALTIME, &now);
	h->created_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	h->creator_pid = getpid();
	h->sem_id = -1;
	if (getrandom(h->uuid, sizeof(h->uuid), 0) != (ssize_t)sizeof(h->uuid))
		return -EIO;
	memcpy(h->name, name->canonical, sizeof(h->name));
	return 0;
}
