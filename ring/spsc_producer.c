/* SPDX-License-Identifier: MIT */
/*
 * The SPSC ring, writing: variable-length records in a byte ring, news and record in one line. What
 * the inline path in quoit/inline.h does not do: running out of room, wrapping, batches, resuming
 * after a death. docs/DESIGN.md, "SPSC".
 */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/spsc.h"

#define MARK_REACH 65536 /* bytes */

static uint64_t pack(uint64_t position, uint32_t shift, uint64_t flags, uint64_t len, uint32_t type)
{
	return quoit__tag(position, shift) | flags | len << 32 | type;
}

/* Make sure that the word at `position` does not look like a header of its lap. Only the producer
 * calls it, on words that no consumer looks at before the next S1. */
static void clear_header(const struct quoit *q, uint64_t position, uint32_t shift)
{
	_Atomic uint64_t *word = quoit__record_word(q, position);
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	if (quoit__is_there(old, position, shift))
		atomic_store_explicit(word, old ^ QUOIT__TAG, memory_order_relaxed);
}

void quoit__spsc_init(struct quoit *q, uint64_t start)
{
	atomic_store_explicit(&q->control->head, start, memory_order_relaxed);
	atomic_store_explicit(&q->rows[0].position, start, memory_order_relaxed);
	atomic_store_explicit(&q->rows[1].position, start, memory_order_relaxed);
	for (unsigned i = 0; i < 2; i++)
		atomic_store_explicit(&q->rows[0].mark[i].position, start, memory_order_relaxed);
	clear_header(q, start, quoit__lap_shift(q->geo.capacity));
}

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
	uint32_t shift = quoit__lap_shift(q->geo.capacity);

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
		uint64_t w =
			atomic_load_explicit(quoit__record_word(q, position), memory_order_acquire);
		uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;
		uint64_t size = quoit__footprint((uint32_t)len);

		if (position == head + q->geo.capacity || !quoit__is_there(w, position, shift))
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
		quoit__record_word(p->ep.ring, h->position),
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
		quoit__record_word(q, h->position),
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
	atomic_store_explicit(quoit__record_word(q, first),
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
