/* SPDX-License-Identifier: MIT */
/*
 * The SPSC ring: variable-length records in a byte ring, news and record in one line. What the
 * inline path in quoit/inline.h does not do: running out of room, wrapping, emptiness, damage,
 * batches, resuming after a death. docs/DESIGN.md, "SPSC".
 */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"

#define MILESTONE  1024
#define MARK_REACH 65536 /* bytes */

static _Atomic uint64_t *word_at(const struct quoit *q, uint64_t position)
{
	return (_Atomic uint64_t *)(void *)(q->data + (position & (q->geo.capacity - 1)));
}

static uint32_t lap_shift(const struct quoit *q)
{
	return 63 - (uint32_t)__builtin_ctzll(q->geo.capacity);
}

static uint64_t pack(uint64_t position, uint32_t shift, uint64_t flags, uint64_t len, uint32_t type)
{
	return quoit__tag(position, shift) | flags | len << 32 | type;
}

static bool is_there(uint64_t word, uint64_t position, uint32_t shift)
{
	return ((word ^ quoit__tag(position, shift)) & QUOIT__TAG) == 0;
}

/* Make sure that the word at `position` does not look like a header of its lap. Only the producer
 * calls it, on words that no consumer looks at before the next S1. */
static void clear_header(const struct quoit *q, uint64_t position, uint32_t shift)
{
	_Atomic uint64_t *word = word_at(q, position);
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	if (is_there(old, position, shift))
		atomic_store_explicit(word, old ^ QUOIT__TAG, memory_order_relaxed);
}

void quoit__spsc_init(struct quoit *q, uint64_t start)
{
	atomic_store_explicit(&q->control->head, start, memory_order_relaxed);
	atomic_store_explicit(&q->rows[0].position, start, memory_order_relaxed);
	atomic_store_explicit(&q->rows[1].position, start, memory_order_relaxed);
	for (unsigned i = 0; i < 2; i++)
		atomic_store_explicit(&q->rows[0].mark[i].position, start, memory_order_relaxed);
	clear_header(q, start, lap_shift(q));
}

/* ---- producer ------------------------------------------------------------------------------- */

/*
 * Write down what has been sent up to here. Position and counters are three stores of the hot line,
 * and a death between them leaves counters that miss records; a successor counts anew from a mark.
 * A mark's position is written last, so one that was cut off is not the further one.
 */
static void set_mark(struct quoit_producer *p)
{
	const struct quoit__producer_hot *h = &p->hot;
	struct quoit__row *row = p->ep.row;
	struct quoit__mark *mark;

	if (atomic_load_explicit(&row->mark[p->mark].position, memory_order_relaxed) == h->position)
		return;
	p->mark ^= 1;
	mark = &row->mark[p->mark];
	atomic_store_explicit(&mark->records, h->records, memory_order_relaxed);
	atomic_store_explicit(&mark->bytes, h->bytes, memory_order_relaxed);
	/* S5: after the two. */
	atomic_store_explicit(&mark->position, h->position, memory_order_release);
}

/* How far a producer may go from a mark: what a successor may have to walk, and may not have been
 * written over. */
static uint64_t mark_reach(const struct quoit *q)
{
	return q->geo.capacity / 4 < MARK_REACH ? q->geo.capacity / 4 : MARK_REACH;
}

static uint64_t take_mark(struct quoit_producer *p)
{
	struct quoit__mark *mark = p->ep.row->mark;
	/* S5: before the two. */
	uint64_t a = atomic_load_explicit(&mark[0].position, memory_order_acquire);
	uint64_t b = atomic_load_explicit(&mark[1].position, memory_order_acquire);

	p->mark = (int64_t)(b - a) > 0;
	mark += p->mark;
	p->hot.records = atomic_load_explicit(&mark->records, memory_order_relaxed);
	p->hot.bytes = atomic_load_explicit(&mark->bytes, memory_order_relaxed);
	return p->mark == 1 ? b : a;
}

int quoit__spsc_producer_open(struct quoit_producer *p)
{
	struct quoit *q = p->ep.ring;
	struct quoit__producer_hot *h = &p->hot;
	/* S2: pairs with the consumer's advance: what lies before is ours. */
	uint64_t head = atomic_load_explicit(&q->rows[1].position, memory_order_acquire);
	uint64_t told = atomic_load_explicit(&p->ep.row->position, memory_order_relaxed);
	uint64_t position = take_mark(p);
	uint32_t shift = lap_shift(q);

	/* The consumer may have gone past the mark since, by as much as there was. */
	if (!quoit__position_valid(&q->geo, head, position) &&
	    !quoit__position_valid(&q->geo, position, head))
		return -EBADMSG;
	h->data = q->data;
	h->mask = q->geo.capacity - 1;
	h->shift = shift;
	h->event = (uint64_t *)(void *)&q->control->readable.word;
	h->line = (struct quoit__line *)(void *)&p->ep.row->position;
	h->fence = quoit__fence_needed();
	/* Walk on over what is there: since then nobody has written. S1: acquire pairs with the
	 * predecessor's commit. */
	for (;;) {
		uint64_t w = atomic_load_explicit(word_at(q, position), memory_order_acquire);
		uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;
		uint64_t size = quoit__footprint((uint32_t)len);

		if (position == head + q->geo.capacity || !is_there(w, position, shift))
			break;
		if ((position & h->mask) + size > q->geo.capacity ||
		    (int64_t)(position + size - head) > (int64_t)q->geo.capacity)
			return -EBADMSG;
		if ((w & QUOIT__PADDING) == 0) {
			h->records++;
			h->bytes += len;
		} else if (quoit__heap_word(w) && q->heap != NULL) {
			struct quoit__heap_record record;

			memcpy(&record, h->data + (position & h->mask) + 8, sizeof(record));
			h->records++;
			h->bytes += record.length;
		}
		position += size;
	}
	/* What had been told of has been there. */
	if ((int64_t)(position - head) < 0 || (int64_t)(position - told) < 0)
		return -EBADMSG;
	p->head = head;
	h->position = h->end = position;
	atomic_store_explicit(&p->ep.row->position, position, memory_order_relaxed);
	atomic_store_explicit(&p->ep.row->counters[0], h->records, memory_order_relaxed);
	atomic_store_explicit(&p->ep.row->counters[1], h->bytes, memory_order_relaxed);
	set_mark(p);
	return 0;
}

/* Skip to the start of the ring: a record of its own, that readers step over. */
static void publish_padding(struct quoit_producer *p, uint64_t lap_end)
{
	struct quoit__producer_hot *h = &p->hot;

	clear_header(p->ep.ring, lap_end, h->shift);
	/* S1 */
	atomic_store_explicit(
		word_at(p->ep.ring, h->position),
		pack(h->position, h->shift, QUOIT__PADDING, lap_end - h->position - 8, 0),
		memory_order_release);
	h->position = lap_end;
	__atomic_store_n(&h->line->position, lap_end, __ATOMIC_RELAXED);
}

/* Full: say so, and make sure that a sleeping consumer is not what we wait for. */
static int no_room(struct quoit_producer *p)
{
	atomic_thread_fence(memory_order_seq_cst); /* E1, for padding published above */
	if (sync_announced(atomic_load_explicit(p->ep.wakes->word, memory_order_relaxed)))
		quoit__wake_consumers(p);
	return quoit__producer_idle(p);
}

/* Learn from `word` up to where the producer may write. S3, S2: what lies before has been read;
 * pairs with the consumer's publish_head and advance. False: nonsense in shared memory. */
static bool free_until(struct quoit_producer *p, const _Atomic uint64_t *word, uint64_t *ret_limit)
{
	uint64_t head = atomic_load_explicit(word, memory_order_acquire);

	/* The two words are published apart: one may lag behind what the other has told. */
	if ((int64_t)(head - p->head) < 0)
		head = p->head;
	p->head = head;
	*ret_limit =
		head + p->ep.ring->geo.capacity - 8; /* the next header word must be free too */
	return quoit__position_valid(&p->ep.ring->geo, head, p->hot.position);
}

/* 0, -EAGAIN, -EMSGSIZE, -EBADMSG. */
int quoit__spsc_find_room(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	struct quoit__producer_hot *h = &p->hot;
	struct quoit *q = p->ep.ring;
	uint64_t size = quoit__footprint(len);
	uint64_t lap_end = (h->position | h->mask) + 1;
	bool wraps = lap_end - h->position < size;
	uint64_t end = (wraps ? lap_end : h->position) + size, limit, reach, longest;

	if (len > q->geo.ring_record)
		return -EMSGSIZE;
	if (!free_until(p, &q->control->head, &limit))
		return quoit__producer_fail(p, -EBADMSG);
	/* The consumer hands memory back a quarter of the ring at a time. Who does not want to wait
	 * looks at its own line for how far it really is. */
	if ((int64_t)(limit - end) < 0 && !p->lazy && !free_until(p, &q->rows[1].position, &limit))
		return quoit__producer_fail(p, -EBADMSG);
	h->end = h->position + h->reserved; /* an open reservation keeps its room */
	set_mark(p);
	if (wraps && (int64_t)(limit - lap_end) >= 0) {
		publish_padding(p, lap_end);
		set_mark(p);
		h->reserved = 0; /* where it was there is padding now */
		h->end = h->position;
		lap_end += q->geo.capacity;
	}
	if ((int64_t)(limit - end) < 0)
		return -EAGAIN;
	longest =
		h->position + quoit__footprint(q->geo.ring_record); /* nothing longer goes inline */
	h->end = (int64_t)(limit - lap_end) < 0 ? limit : lap_end;
	h->end = (int64_t)(longest - h->end) < 0 ? longest : h->end;
	reach = size < mark_reach(q) ? mark_reach(q) : size;
	h->end = h->end - h->position > reach ? h->position + reach : h->end;
	h->reserved = (uint32_t)size;
	*ret_payload = h->data + (h->position & h->mask) + 8;
	return 0;
}

int quoit__spsc_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	int r = quoit__heap_wanted(p->ep.ring, len) ? quoit__heap_reserve(p, len, ret_payload)
						    : quoit__spsc_find_room(p, len, ret_payload);

	return r == -EAGAIN ? no_room(p) : r;
}

bool quoit__spsc_learn_head(struct quoit_producer *p)
{
	uint64_t unused;

	return free_until(p, &p->ep.ring->rows[1].position, &unused);
}

/* What a commit does besides its own stores: counters, and whoever sleeps. */
static inline void published(struct quoit_producer *p, uint64_t position, uint64_t records,
			     uint64_t bytes)
{
	struct quoit__producer_hot *h = &p->hot;

	h->position = position;
	h->records += records;
	h->bytes += bytes;
	__atomic_store_n(&h->line->position, position, __ATOMIC_RELAXED);
	__atomic_store_n(&h->line->records, h->records, __ATOMIC_RELAXED);
	__atomic_store_n(&h->line->bytes, h->bytes, __ATOMIC_RELAXED);
	if (h->fence)
		atomic_thread_fence(memory_order_seq_cst); /* E1 */
	else
		atomic_signal_fence(memory_order_seq_cst);
	if (sync_announced(__atomic_load_n(h->event, __ATOMIC_RELAXED)))
		quoit__wake_consumers(p);
}

void quoit__spsc_publish_heap(struct quoit_producer *p, const struct quoit__heap_record *record)
{
	struct quoit__producer_hot *h = &p->hot;
	struct quoit *q = p->ep.ring;
	uint64_t next = h->position + quoit__footprint(sizeof(*record));

	memcpy(h->data + (h->position & h->mask) + 8, record, sizeof(*record));
	clear_header(q, next, h->shift);
	h->reserved = 0;
	/* S1 */
	atomic_store_explicit(
		word_at(q, h->position),
		pack(h->position, h->shift, QUOIT__PADDING, sizeof(*record), QUOIT__HEAP_MARK),
		memory_order_release);
	published(p, next, 1, record->length);
}

/* Copies in as many as there is room for without a wrap, at least one; the first header is stored
 * last, so that readers meet the whole batch, and one line transfer brings many. */
static unsigned send_run(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n)
{
	struct quoit__producer_hot *h = &p->hot;
	struct quoit *q = p->ep.ring;
	unsigned char *data = h->data;
	uint64_t first, position, bytes = 0, mask = h->mask, end = h->end;
	uint32_t shift = h->shift;
	unsigned done = 0;

	first = position = h->position;
	while (done < n) {
		const struct quoit_msg *m = &msgs[done];
		uint32_t len = m->len, type = m->type;
		unsigned char *record = data + (position & mask);

		if (end - position < quoit__footprint(len))
			break;
		quoit__copy(record + 8, m->data, len);
		/* Relaxed: no reader gets here before the first header is published. */
		if (position != first)
			__atomic_store_n((uint64_t *)(void *)record,
					 pack(position, shift, 0, len, type), __ATOMIC_RELAXED);
		bytes += len;
		position += quoit__footprint(len);
		done++;
	}
	clear_header(q, position, h->shift);
	/* S1 */
	atomic_store_explicit(word_at(q, first),
			      pack(first, h->shift, 0, msgs[0].len, msgs[0].type),
			      memory_order_release);
	published(p, position, done, bytes);
	return done;
}

int quoit__spsc_send_batch(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n)
{
	unsigned done = 0;
	void *payload;
	int r = quoit_reserve(p, msgs[0].len, &payload);

	if (r != 0)
		return r;
	if (quoit__heap_wanted(p->ep.ring, msgs[0].len)) { /* by itself */
		memcpy(payload, msgs[0].data, msgs[0].len);
		r = quoit_commit(p, payload, msgs[0].len, msgs[0].type);
		return r == 0 ? 1 : r;
	}
	do { /* once more where the lap ends */
		p->hot.reserved = 0;
		done += send_run(p, msgs + done, n - done);
	} while (done < n && p->ep.error == 0 &&
		 quoit__spsc_find_room(p, msgs[done].len, &payload) == 0);
	return (int)done;
}

bool quoit__spsc_head_moved(const struct quoit_producer *p)
{
	/* Relaxed: reserve looks again. */
	return atomic_load_explicit(&p->ep.ring->control->head, memory_order_relaxed) != p->head;
}

bool quoit__spsc_drained(struct quoit_producer *p)
{
	/* Relaxed: the figure alone is of interest. */
	return atomic_load_explicit(&p->ep.ring->rows[1].position, memory_order_relaxed) ==
	       p->hot.position;
}

/* ---- consumer ------------------------------------------------------------------------------- */

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
	h->shift = lap_shift(q);
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
		uint64_t w = atomic_load_explicit(word_at(c->ep.ring, h->position),
						  memory_order_acquire);
		uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;
		uint64_t size = quoit__footprint((uint32_t)len);

		if (!is_there(w, h->position, h->shift))
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
		uint64_t w =
			atomic_load_explicit(word_at(c->ep.ring, position), memory_order_acquire);
		uint32_t len = (uint32_t)(w >> 32 & QUOIT__LENGTH_MASK);

		if (!is_there(w, position, h->shift) || (w & QUOIT__PADDING) != 0 ||
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
		at = (at + len + 7) & ~(size_t)7;
		at = at < cap ? at : cap;
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
