/* SPDX-License-Identifier: MIT */
/*
 * The SPSC ring, reading: what the inline path in quoit/inline.h does not do: emptiness, padding,
 * damage, batches, handing memory back, resuming after a death. docs/DESIGN.md, "SPSC".
 */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/spsc.h"

#define MILESTONE 1024 /* bytes */

int quoit__spsc_consumer_open(struct quoit_consumer *c)
{
	struct quoit *q = c->ep.ring;
	struct quoit__consumer_hot *h = &c->hot;
	uint64_t head = atomic_load_explicit(&q->control->head, memory_order_relaxed);
	/* S2: pairs with the predecessor's advance. */
	uint64_t position = atomic_load_explicit(&c->ep.row->position, memory_order_acquire);

	if (!quoit__position_valid(&q->geo, head, position))
		return -EBADMSG;
	h->data = q->data;
	h->mask = q->geo.capacity - 1;
	h->shift = quoit__lap_shift(q->geo.capacity);
	h->line = (struct quoit__line *)(void *)&c->ep.row->position;
	h->records = atomic_load_explicit(&c->ep.row->counters[0], memory_order_relaxed);
	h->bytes = atomic_load_explicit(&c->ep.row->counters[1], memory_order_relaxed);
	h->position = position;
	c->published = head;
	quoit__spsc_publish_head(c);
	quoit__spsc_milestone(c);
	return 0;
}

/* Tell the producer how far its memory is free again: every quarter of the ring, and whenever there
 * is nothing to read. One store for many records, and one wake-up for a quarter of a ring. */
void quoit__spsc_publish_head(struct quoit_consumer *c)
{
	struct quoit__consumer_hot *h = &c->hot;
	struct quoit *q = c->ep.ring;

	if (c->published == h->position)
		return;
	c->published = h->position;
	/* S3: everything before it has been read; pairs with reserve. */
	atomic_store_explicit(&q->control->head, h->position, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst); /* E1; rare enough to pay for */
	if (sync_announced(atomic_load_explicit(c->ep.wakes->word, memory_order_relaxed)))
		quoit__wake(&c->ep, c->ep.wakes, QUOIT_ROLE_PRODUCER);
}

/* Every KiB or so: is it time to hand back, and how far is the producer? Its line is read this
 * rarely, for it is written at every commit. */
void quoit__spsc_milestone(struct quoit_consumer *c)
{
	struct quoit__consumer_hot *h = &c->hot;
	struct quoit *q = c->ep.ring;

	if (h->position - c->published >= q->geo.capacity / 4)
		quoit__spsc_publish_head(c);
	/* Relaxed: only says where fetching ahead pays. */
	h->ahead = atomic_load_explicit(&q->rows[0].position, memory_order_relaxed);
	h->milestone =
		h->position + (q->geo.capacity / 4 < MILESTONE ? q->geo.capacity / 4 : MILESTONE);
}

/* The record in the heap at our position, whose header word has been seen. Looked at once: its
 * descriptor lies in shared memory. */
static int look_heap(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	struct quoit__consumer_hot *h = &c->hot;
	struct quoit *q = c->ep.ring;
	struct quoit__heap_record record;

	if (c->heap_msg.data == NULL || c->heap_msg.cookie != h->position) {
		memcpy(&record, h->data + (h->position & h->mask) + 8, sizeof(record));
		if (!quoit__heap_record_valid(&q->geo, &record))
			return quoit__consumer_fail(c, -EBADMSG);
		c->heap_msg = (struct quoit_msg){.data = q->heap + record.offset,
						 .len = (uint32_t)record.length,
						 .type = record.type,
						 .cookie = h->position};
	}
	*ret_msg = c->heap_msg;
	return 1;
}

int quoit__spsc_advance_heap(struct quoit_consumer *c, const struct quoit_msg *msg)
{
	struct quoit__consumer_hot *h = &c->hot;

	if (c->heap_msg.data == NULL || c->heap_msg.cookie != h->position ||
	    msg->data != c->heap_msg.data)
		return -EINVAL;
	quoit__own_payload(msg->data, c->heap_msg.len);
	h->position += quoit__footprint(sizeof(struct quoit__heap_record));
	h->records++;
	h->bytes += c->heap_msg.len;
	c->heap_msg.data = NULL;
	/* S2: gives the block back to its owner as well. */
	__atomic_store_n(&h->line->position, h->position, __ATOMIC_RELEASE);
	__atomic_store_n(&h->line->records, h->records, __ATOMIC_RELAXED);
	__atomic_store_n(&h->line->bytes, h->bytes, __ATOMIC_RELAXED);
	/* At once: the producer may wait for this block with most of the ring free. */
	quoit__spsc_publish_head(c);
	if ((int64_t)(h->position - h->milestone) >= 0)
		quoit__spsc_milestone(c);
	return 0;
}

int quoit__spsc_look(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	struct quoit__consumer_hot *h = &c->hot;
	uint64_t capacity = h->mask + 1;

	for (int paddings = 0; paddings < 2; paddings++) {
		uint64_t offset = h->position & h->mask;
		/* S1: pairs with commit. */
		uint64_t w = atomic_load_explicit(quoit__record_word(c->ep.ring, h->position),
						  memory_order_acquire);
		uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;
		uint64_t size = quoit__footprint((uint32_t)len);

		if (!quoit__is_there(w, h->position, h->shift))
			return -EAGAIN;
		if (offset + size > capacity)
			break;
		if ((w & QUOIT__PADDING) == 0) {
			ret_msg->data = h->data + offset + 8;
			ret_msg->len = (uint32_t)len;
			ret_msg->type = (uint32_t)w;
			ret_msg->cookie = h->position;
			return 1;
		}
		if (quoit__heap_word(w) && c->ep.ring->heap != NULL)
			return look_heap(c, ret_msg);
		if (offset + size != capacity || len % 8 != 0)
			break;
		h->position += size;
		/* S2 */
		__atomic_store_n(&h->line->position, h->position, __ATOMIC_RELEASE);
		if ((int64_t)(h->position - h->milestone) >= 0)
			quoit__spsc_milestone(c);
	}
	return quoit__consumer_fail(c, -EBADMSG);
}

int quoit__spsc_peek_batch(struct quoit_consumer *c, struct quoit_msg *ret_msgs, unsigned n)
{
	struct quoit__consumer_hot *h = &c->hot;
	uint64_t position;
	unsigned k = 1;
	int r = quoit_peek(c, &ret_msgs[0]);

	if (r != 1 || ret_msgs[0].data == c->heap_msg.data)
		return r; /* what lies in the heap comes by itself */
	position = h->position + quoit__footprint(ret_msgs[0].len);
	/* Up to the end of the lap; padding and damage are left for the next look. */
	while (k < n && ((position ^ h->position) & ~h->mask) == 0) {
		uint64_t offset = position & h->mask;
		/* S1 */
		uint64_t w = atomic_load_explicit(quoit__record_word(c->ep.ring, position),
						  memory_order_acquire);
		uint32_t len = (uint32_t)(w >> 32 & QUOIT__LENGTH_MASK);

		if (!quoit__is_there(w, position, h->shift) || (w & QUOIT__PADDING) != 0 ||
		    offset + quoit__footprint(len) > h->mask + 1)
			break;
		ret_msgs[k++] = (struct quoit_msg){.data = h->data + offset + 8,
						   .len = len,
						   .type = (uint32_t)w,
						   .cookie = position};
		position += quoit__footprint(len);
	}
	return (int)k;
}

/* n records up to `position` have been read. */
static void passed(struct quoit_consumer *c, uint64_t position, uint64_t n, uint64_t len)
{
	struct quoit__consumer_hot *h = &c->hot;
	struct quoit__line *line = h->line;

	quoit__own_lines(h->data + (h->position & h->mask), position - h->position);
	h->position = position;
	h->records += n;
	h->bytes += len;
	/* S2 */
	__atomic_store_n(&line->position, position, __ATOMIC_RELEASE);
	__atomic_store_n(&line->records, h->records, __ATOMIC_RELAXED);
	__atomic_store_n(&line->bytes, h->bytes, __ATOMIC_RELAXED);
	if ((int64_t)(position - h->milestone) >= 0)
		quoit__spsc_milestone(c);
}

unsigned quoit__spsc_recv_run(struct quoit_consumer *c, unsigned char *to, size_t cap, size_t *used,
			      struct quoit_msg *ret_msgs, unsigned n)
{
	struct quoit__consumer_hot *h = &c->hot;
	unsigned char *data = h->data;
	uint64_t first = h->position, position = first, mask = h->mask, bytes = 0;
	uint64_t ahead = h->ahead;
	uint32_t shift = h->shift;
	size_t at = *used;
	unsigned k = 0;

	while (k < n && ((position ^ first) & ~mask) == 0) {
		uint64_t offset = position & mask;
		/* S1: pairs with commit. */
		uint64_t w = __atomic_load_n((uint64_t *)(void *)(data + offset), __ATOMIC_ACQUIRE);
		uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;
		uint64_t size = quoit__footprint((uint32_t)len);

		if (((w ^ quoit__tag(position, shift)) & (QUOIT__TAG | QUOIT__PADDING)) != 0 ||
		    offset + size > mask + 1 || len > cap - at)
			break;
		if ((int64_t)(ahead - position) > 2 * QUOIT__FETCH)
			__builtin_prefetch(data + ((position + 2 * QUOIT__FETCH) & mask));
		quoit__copy(to + at, data + offset + 8, len);
		ret_msgs[k].data = to + at;
		ret_msgs[k].len = (uint32_t)len;
		ret_msgs[k].type = (uint32_t)w;
		ret_msgs[k].cookie = 0;
		k++;
		bytes += len;
		at = quoit__batch_next(at, len, cap);
		position += size;
	}
	/* A guard that met a lost page in a copy has moved our position (quoit_guard). */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (k == 0 || h->position != first)
		return 0;
	*used = at;
	passed(c, position, k, bytes);
	return k;
}

int quoit__spsc_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs, unsigned n)
{
	struct quoit__consumer_hot *h = &c->hot;
	uint64_t position = h->position, bytes = 0;

	if (n == 1 && msgs[0].data == c->heap_msg.data)
		return quoit__spsc_advance_heap(c, msgs);
	for (unsigned i = 0; i < n; i++) {
		if (msgs[i].cookie != position ||
		    msgs[i].data != h->data + (position & h->mask) + 8)
			return -EINVAL;
		position += quoit__footprint(msgs[i].len);
		bytes += msgs[i].len;
	}
	if (n != 0)
		passed(c, position, n, bytes);
	return 0;
}
