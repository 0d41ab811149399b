/* SPDX-License-Identifier: MIT */
/*
 * Walking over records without taking them. The ring may move while it is looked at, so a record is
 * copied first and believed afterwards (a seqlock without a lock; the reader is the only one who
 * pays): SPSC, if its memory was not free to be overwritten by then; MPMC, if its slot still has
 * the same turn. A walk that was overrun goes to the oldest record there is, once, and says how
 * much it missed; it never chases the writers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring/guard.h"
#include "ring/heap.h"
#include "ring/slot.h"
#include "ring/spsc.h"
#include "ring/view.h"

#define PATIENCE_NS INT64_C(100000000) /* for a claimed slot with committed ones behind it */
#define LOOKAHEAD   1024u

enum { LOOK_END = 0, LOOK_RECORD = 1, LOOK_PASSED = 2 };

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* A private copy of len bytes at p, or NULL. */
static const void *copy_out(struct quoit_inspect *v, const unsigned char *p, uint32_t len)
{
	if (v->copy == NULL || v->copy_size < len) {
		size_t size = len < 4096 ? 4096 : len;
		unsigned char *more = realloc(v->copy, size);

		if (more == NULL)
			return NULL;
		v->copy = more;
		v->copy_size = size;
	}
	memcpy(v->copy, p, len);
	return v->copy;
}

/* What a heap record says, as of a record that is being looked at. False: it cannot be. */
static bool describe_heap(struct quoit_inspect *v, const struct quoit__heap_record *heap,
			  struct quoit_record *record)
{
	if (!quoit__heap_record_valid(&v->geo, heap))
		return false;
	record->len = (uint32_t)heap->length;
	record->type = heap->type;
	record->heap = v->geo.heap_offset + heap->offset;
	if (v->heap != NULL)
		record->data = copy_out(v, v->heap + heap->offset, record->len);
	return true;
}

/* ---- SPSC ----------------------------------------------------------------------------------- */

/* What lies before this may be overwritten. In a copy that is cut off so early, head will do. */
static const _Atomic uint64_t *spsc_oldest(const struct quoit_inspect *v)
{
	return v->rows != NULL ? &v->rows[1].position : &v->control->head;
}

/* The record at the cursor, as it seems: LOOK_RECORD, LOOK_END or -EBADMSG. *size is its footprint.
 */
static int spsc_look(struct quoit_inspect *v, uint64_t *size, struct quoit_record *ret)
{
	const struct quoit__geometry *g = &v->geo;
	uint64_t at = v->cursor & (g->capacity - 1), w, len;

	if (v->cursor % 8 != 0)
		return -EBADMSG;
	if (at + 8 > v->data_size)
		return LOOK_END; /* cut off here */
	/* S1: pairs with commit. */
	w = atomic_load_explicit((_Atomic uint64_t *)(void *)(v->data + at), memory_order_acquire);
	len = w >> 32 & QUOIT__LENGTH_MASK;
	*size = quoit__footprint((uint32_t)len);
	if (!quoit__is_there(w, v->cursor, quoit__lap_shift(g->capacity)))
		return LOOK_END;
	if (at + *size > g->capacity)
		return -EBADMSG;
	*ret = (struct quoit_record){.position = v->cursor,
				     .offset = quoit__view_offset(v, v->data + at),
				     .len = (uint32_t)len,
				     .type = (uint32_t)w,
				     .state = QUOIT_RECORD_PADDING,
				     .owner = UINT32_MAX};
	if (quoit__heap_word(w) && g->heap_size != 0) {
		struct quoit__heap_record heap;

		if (at + *size > v->data_size)
			return LOOK_END;
		ret->state = QUOIT_RECORD_READY;
		memcpy(&heap, v->data + at + 8, sizeof(heap));
		return describe_heap(v, &heap, ret) ? LOOK_RECORD : -EBADMSG;
	}
	if ((w & QUOIT__PADDING) != 0)
		return at + *size == g->capacity && len % 8 == 0 ? LOOK_RECORD : -EBADMSG;
	if (len > g->ring_record)
		return -EBADMSG;
	ret->state = QUOIT_RECORD_READY;
	if (at + *size <= v->data_size)
		ret->data = copy_out(v, v->data + at + 8, (uint32_t)len);
	return LOOK_RECORD;
}

static int spsc_next(struct quoit_inspect *v, struct quoit_record *ret, uint64_t *missed)
{
	struct quoit_record record;

	for (int turn = 0; turn < 2; turn++) {
		/* S2: what lies before the consumer's position may be overwritten, even if head has
		 * not been moved yet. */
		uint64_t head = atomic_load_explicit(spsc_oldest(v), memory_order_acquire);
		uint64_t size = 0;
		int r;

		if ((int64_t)(head - v->cursor) > 0) {
			*missed += head - v->cursor;
			v->cursor = head;
		}
		if (head % 8 != 0 || v->cursor - head > v->geo.capacity)
			return -EBADMSG;
		if (v->cursor - head == v->geo.capacity)
			return LOOK_END;
		r = spsc_look(v, &size, &record);
		/* V1: the copy before the second look. The producer writes there only after it has
		 * seen the consumer move on. */
		atomic_thread_fence(memory_order_acquire);
		head = atomic_load_explicit(spsc_oldest(v), memory_order_relaxed);
		if ((int64_t)(head - v->cursor) > 0)
			continue;
		if (r == LOOK_RECORD) {
			v->cursor += size;
			*ret = record;
		}
		return r;
	}
	return LOOK_END;
}

static void spsc_seek_end(struct quoit_inspect *v)
{
	uint64_t head = atomic_load_explicit(spsc_oldest(v), memory_order_acquire);
	/* S1 is what counts; the row may lag behind it by a batch. */
	uint64_t tail = atomic_load_explicit(&v->rows[0].position, memory_order_acquire);

	v->cursor = quoit__position_valid(&v->geo, head, tail) && tail % 8 == 0 ? tail : head;
	for (unsigned i = 0; i < QUOIT_BATCH_MAX; i++) {
		struct quoit_record record;
		uint64_t size;

		if (v->cursor - head >= v->geo.capacity ||
		    spsc_look(v, &size, &record) != LOOK_RECORD)
			break;
		v->cursor += size;
	}
}

/* ---- MPMC ----------------------------------------------------------------------------------- */

/* Is there a committed record behind this ticket, so that waiting for it holds others up? */
static bool committed_behind(const struct quoit_inspect *v, uint64_t ticket)
{
	const struct quoit__geometry *g = &v->geo;

	for (uint64_t i = 1; i < g->slots && i < LOOKAHEAD; i++) {
		struct quoit__slot *slot = quoit__view_slot(v, ticket + i);
		uint64_t word;

		if (slot == NULL)
			return false;
		word = atomic_load_explicit(&slot->word, memory_order_relaxed);
		if (quoit__laps_ahead(g, word, ticket + i) < 0)
			return false;
		if (quoit__phase(word) == QUOIT__COMMITTED &&
		    quoit__laps_ahead(g, word, ticket + i) == 0)
			return true;
	}
	return false;
}

/* A claimed slot, met by a walk that wants what is committed: wait for it (true) as consumers do.
 */
static bool wait_for_claim(struct quoit_inspect *v, uint64_t ticket)
{
	if (!v->following)
		return false;
	if (v->stuck != ticket || v->stuck_ns == 0) {
		v->stuck = ticket;
		v->stuck_ns = now_ns();
		return true;
	}
	if (now_ns() - v->stuck_ns < PATIENCE_NS || !committed_behind(v, ticket))
		return true;
	v->stuck_ns = 0;
	return false;
}

/* Copy a committed slot; LOOK_PASSED if it was taken meanwhile. */
static int read_slot(struct quoit_inspect *v, struct quoit__slot *slot, uint64_t word,
		     struct quoit_record *record)
{
	uint64_t desc = atomic_load_explicit(&slot->desc, memory_order_relaxed), after;
	bool good, in_heap = desc >> 32 == QUOIT__HEAP_LENGTH && v->geo.heap_size != 0;
	struct quoit__heap_record heap;

	record->len = (uint32_t)(desc >> 32);
	record->type = (uint32_t)desc;
	good = record->len <= v->geo.slot_size;
	if (in_heap) {
		memcpy(&heap, slot->payload, sizeof(heap));
		good = describe_heap(v, &heap, record);
	} else if (good)
		record->data = copy_out(v, slot->payload, record->len);
	/* V2: the copy before the second look at the word. Whoever overwrites it moved the word
	 * first. */
	atomic_thread_fence(memory_order_acquire);
	after = atomic_load_explicit(&slot->word, memory_order_relaxed);
	if (quoit__word_turn(&v->geo, after) != quoit__word_turn(&v->geo, word) ||
	    (quoit__phase(after) != QUOIT__COMMITTED && quoit__phase(after) != QUOIT__READING))
		return LOOK_PASSED;
	return good ? LOOK_RECORD : -EBADMSG;
}

static int mpmc_look(struct quoit_inspect *v, uint64_t ticket, uint64_t tail,
		     struct quoit_record *ret)
{
	struct quoit__slot *slot = quoit__view_slot(v, ticket);
	struct quoit_record record = {.position = ticket, .owner = UINT32_MAX};
	uint64_t word;
	int64_t ahead;
	int r = LOOK_RECORD;

	if (slot == NULL)
		return (int64_t)(ticket - tail) < 0 ? LOOK_PASSED : LOOK_END; /* cut off here */
	/* M1: pairs with the commit. */
	word = atomic_load_explicit(&slot->word, memory_order_acquire);
	ahead = quoit__laps_ahead(&v->geo, word, ticket);
	if (ahead > 0)
		return LOOK_PASSED;
	/* Not reached yet; the tail is a hint that never leads. */
	if (ahead < 0 || quoit__phase(word) == QUOIT__FREE)
		return (int64_t)(ticket - tail) < 0 ? LOOK_PASSED : LOOK_END;
	record.offset = quoit__view_offset(v, slot);
	if (quoit__phase(word) != QUOIT__COMMITTED)
		record.owner = quoit__owner(word);
	switch (quoit__phase(word)) {
	case QUOIT__COMMITTED:
		record.state = QUOIT_RECORD_READY;
		r = read_slot(v, slot, word, &record);
		break;
	case QUOIT__READING:
		record.state = QUOIT_RECORD_READING;
		r = read_slot(v, slot, word, &record);
		break;
	case QUOIT__WRITING:
		record.state = QUOIT_RECORD_WRITING;
		if (wait_for_claim(v, ticket))
			return LOOK_END;
		break;
	case QUOIT__VOIDW:
	case QUOIT__VOIDR:
	case QUOIT__PENDING:
		record.state = QUOIT_RECORD_VOID;
		break;
	default:
		r = -EBADMSG;
	}
	if (r == LOOK_RECORD)
		*ret = record;
	return r;
}

static int mpmc_next(struct quoit_inspect *v, struct quoit_record *ret, uint64_t *missed)
{
	/* From one lap behind the head to one before the tail, and the hints lag a little; no more
	 * than what is there, whatever the header says. */
	uint64_t there = v->geo.slot_stride != 0 ? v->data_size / v->geo.slot_stride : 0;
	uint64_t most = 3 * (v->geo.slots < there ? v->geo.slots : there) + 256;
	uint64_t head = atomic_load_explicit(&v->control->head, memory_order_acquire);
	uint64_t oldest = v->following ? head : head - v->geo.slots;

	if ((int64_t)(oldest - v->cursor) > 0) {
		if ((int64_t)(oldest - v->floor) > 0)
			*missed += oldest -
				   ((int64_t)(v->cursor - v->floor) > 0 ? v->cursor : v->floor);
		v->cursor = oldest;
	}
	for (uint64_t i = 0; i < most; i++) {
		uint64_t tail = atomic_load_explicit(&v->control->tail, memory_order_acquire);
		int r = mpmc_look(v, v->cursor, tail, ret);

		v->at_end = r == LOOK_END;
		if (r == LOOK_END)
			return 0;
		v->cursor++;
		if (r != LOOK_PASSED)
			return r; /* a record; or a damaged slot, past which the walk goes on */
		if ((int64_t)(v->cursor - 1 - v->floor) >= 0)
			++*missed;
	}
	return 0;
}

/* ---- both ----------------------------------------------------------------------------------- */

void quoit_inspect_rewind(struct quoit_inspect *v)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	if (v->control == NULL)
		return;
	v->cursor = v->floor =
		atomic_load_explicit(v->geo.kind == QUOIT_SPSC ? spsc_oldest(v) : &v->control->head,
				     memory_order_acquire);
	v->at_end = v->following = false;
	if (v->geo.kind != QUOIT_MPMC)
		return;
	/* What was taken before now was not missed, and the hint lags behind that. */
	if (quoit_inspect_stats(v, &stats) == 0)
		v->floor = stats.head;
	/* Records that went back to be delivered again, and slots on loan, lie behind the head. */
	v->cursor -= v->geo.slots;
}

void quoit_inspect_seek_end(struct quoit_inspect *v)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	if (v->control == NULL || v->rows == NULL || v->data == NULL)
		return;
	if (v->geo.kind == QUOIT_SPSC) {
		spsc_seek_end(v);
		return;
	}
	/* A walk that came to the end goes on from there, lest it misses what came since. */
	if (!v->at_end && quoit_inspect_stats(v, &stats) == 0)
		v->cursor = v->floor = stats.tail; /* the hint lags; this has been walked on */
	v->following = true;
	v->stuck_ns = 0;
}

int quoit_inspect_next(struct quoit_inspect *v, struct quoit_record *ret_record,
		       uint64_t *ret_missed)
{
	int r;

	if (v->control == NULL || v->rows == NULL || v->data == NULL)
		return -EBADMSG;
	r = v->geo.kind == QUOIT_SPSC ? spsc_next(v, ret_record, ret_missed)
				      : mpmc_next(v, ret_record, ret_missed);
	return quoit__guard_lost(v->seg.guarded) ? -EBADMSG : r;
}
