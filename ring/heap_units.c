/* SPDX-License-Identifier: MIT */
/*
 * The heap table, and the sweep: what of a dead owner no record refers to any more.
 *
 * A process that was killed anywhere in here leaves units that are owned or lent by it, which its
 * reaper turns into orphans; or orphans, which the next sweep finds.
 */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/slot.h"
#include "ring/spsc.h"

#define TRIES    64 /* looks at a slot that is on the move */
#define NOT_LENT UINT32_MAX

static uint32_t units_of(const struct quoit *q)
{
	return (uint32_t)(q->geo.heap_size / q->geo.heap_unit);
}

/* ---- claiming and freeing ------------------------------------------------------------------- */

static bool turn_owned(_Atomic uint64_t *unit, uint32_t row)
{
	uint64_t w = atomic_load_explicit(unit, memory_order_relaxed);

	/* H1: whoever had it before has done with it. */
	return quoit__unit_state(w) == QUOIT__UNIT_FREE &&
	       atomic_compare_exchange_strong_explicit(unit, &w,
						       quoit__unit_word(w, QUOIT__UNIT_OWNED, row),
						       memory_order_acquire, memory_order_relaxed);
}

static void turn_free(_Atomic uint64_t *unit, uint32_t row)
{
	uint64_t w = atomic_load_explicit(unit, memory_order_relaxed);

	/* H1: passes on what we acquired with it. */
	if (quoit__unit_state(w) == QUOIT__UNIT_OWNED && quoit__unit_owner(w) == row)
		(void)atomic_compare_exchange_strong_explicit(
			unit, &w, quoit__unit_next(w, QUOIT__UNIT_FREE, 0), memory_order_release,
			memory_order_relaxed);
}

/* All n from `first`, or none; *met is the one that somebody else has. */
static bool claim_run(const struct quoit *q, uint32_t row, uint32_t first, uint32_t n,
		      uint32_t *met)
{
	for (uint32_t i = 0; i < n; i++) {
		if (turn_owned(&q->units[first + i], row))
			continue;
		*met = first + i;
		while (i-- != 0)
			turn_free(&q->units[first + i], row);
		return false;
	}
	return true;
}

/* First fit from `from` on, ending before `end`. */
static uint32_t claim_between(const struct quoit *q, uint32_t row, uint32_t n, uint32_t from,
			      uint32_t end)
{
	uint32_t run = 0, met;

	for (uint32_t i = from; i < end; i++) {
		/* Relaxed: claiming looks again. */
		uint64_t w = atomic_load_explicit(&q->units[i], memory_order_relaxed);

		run = quoit__unit_state(w) == QUOIT__UNIT_FREE ? run + 1 : 0;
		if (run < n)
			continue;
		if (claim_run(q, row, i + 1 - n, n, &met))
			return i + 1 - n;
		i = met;
		run = 0;
	}
	return UINT32_MAX;
}

uint32_t quoit__units_claim(const struct quoit *q, uint32_t row, uint32_t n, uint32_t *hint)
{
	uint32_t all = units_of(q), from = *hint < all ? *hint : 0, first, end;

	if (n == 0 || n > all)
		return UINT32_MAX;
	first = claim_between(q, row, n, from, all);
	if (first == UINT32_MAX && from != 0) {
		end = from + n - 1 < all ? from + n - 1 : all;
		first = claim_between(q, row, n, 0, end);
	}
	if (first != UINT32_MAX)
		*hint = first + n;
	return first;
}

/* ---- what the ring refers to ---------------------------------------------------------------- */

/*
 * The words of a heap record, which somebody may be writing over at this moment: who calls this
 * looks again at what says whether they were whole. As in a seqlock the race is meant;
 * ThreadSanitizer is told so.
 */
#if defined(__SANITIZE_THREAD__)
#define RACY __attribute__((no_sanitize("thread"), noinline))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACY __attribute__((no_sanitize("thread"), noinline))
#endif
#endif
#ifndef RACY
#define RACY
#endif

RACY static void racy_record(struct quoit__heap_record *to, const void *from)
{
	const volatile uint64_t *words = from;
	uint64_t types;

	to->offset = words[0];
	to->length = words[1];
	types = words[2];
	to->type = (uint32_t)types;
	to->zero = (uint32_t)(types >> 32);
}

bool quoit__heap_in_slot(const struct quoit__slot *slot, uint64_t w, struct quoit__heap_record *ret)
{
	uint64_t desc = atomic_load_explicit(&slot->desc, memory_order_relaxed);

	racy_record(ret, slot->payload);
	/* V2: what was read before the second look at the word. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->word, memory_order_relaxed) == w &&
	       desc >> 32 == QUOIT__HEAP_LENGTH;
}

/* One slot: tell of the record that it holds. */
static int walk_slot(const struct quoit *q, uint64_t index, quoit__heap_fn *fn, void *arg)
{
	struct quoit__slot *slot = quoit__slot_at(q, index);
	struct quoit__heap_found found = {.at = slot};

	for (int i = 0; i < TRIES; i++) {
		/* M1, and M2: if it was given back, that has been done with. */
		uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire);

		switch (quoit__phase(w)) {
		case QUOIT__COMMITTED:
		case QUOIT__READING:
		case QUOIT__VOIDR:
		case QUOIT__PENDING:
			break;
		default: /* free, or a living writer's, whose units are its own */
			return 0;
		}
		found.key = quoit__word_turn(&q->geo, w) | index;
		if (quoit__heap_in_slot(slot, w, &found.record))
			return fn(arg, &found);
		if (atomic_load_explicit(&slot->word, memory_order_relaxed) == w)
			return 0; /* of another kind */
	}
	return -EAGAIN;
}

static int walk_slots(const struct quoit *q, quoit__heap_fn *fn, void *arg)
{
	for (uint64_t i = 0; i < q->geo.slots; i++) {
		int r = walk_slot(q, i, fn, arg);

		if (r != 0)
			return r;
	}
	return 0;
}

/* From the consumer on, as far as there are records. What it passes meanwhile may be overwritten,
 * and refers to nothing any more. */
static int walk_records(const struct quoit *q, quoit__heap_fn *fn, void *arg)
{
	uint64_t capacity = q->geo.capacity;
	uint32_t shift = quoit__lap_shift(capacity);
	/* S2: what lies before has been done with. */
	uint64_t consumer = atomic_load_explicit(&q->rows[1].position, memory_order_acquire);
	uint64_t position = consumer, steps = capacity / 4;

	while (steps-- != 0 && position - consumer < capacity) {
		uint64_t at = position & (capacity - 1), size, now;
		_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(q->data + at);
		struct quoit__heap_found found = {.at = word, .key = position};
		uint64_t w;
		bool in_heap;
		int r;

		if (position % 8 != 0)
			return -EBADMSG;
		w = atomic_load_explicit(word, memory_order_acquire); /* S1 */
		size = quoit__footprint((uint32_t)(w >> 32 & QUOIT__LENGTH_MASK));
		in_heap = quoit__heap_word(w) && at + size <= capacity;
		if (in_heap)
			racy_record(&found.record, word + 1);
		/* V1: what was read before the second look at the consumer. */
		atomic_thread_fence(memory_order_acquire);
		now = atomic_load_explicit(&q->rows[1].position, memory_order_relaxed);
		if ((int64_t)(now - position) > 0) {
			/* S2: as above. */
			atomic_thread_fence(memory_order_acquire);
			consumer = position = now;
			continue;
		}
		if (!quoit__is_there(w, position, shift))
			return 0;
		if (at + size > capacity)
			return -EBADMSG;
		r = in_heap ? fn(arg, &found) : 0;
		if (r != 0)
			return r;
		position += size;
	}
	return steps == UINT64_MAX ? -EAGAIN : 0;
}

int quoit__heap_walk(const struct quoit *q, quoit__heap_fn *fn, void *arg)
{
	return q->geo.kind == QUOIT_SPSC ? walk_records(q, fn, arg) : walk_slots(q, fn, arg);
}

/* ---- orphans -------------------------------------------------------------------------------- */

unsigned quoit__heap_orphan(const struct quoit *q, uint32_t row)
{
	unsigned n = 0;

	for (uint32_t i = 0; q->units != NULL && i < units_of(q); i++) {
		uint64_t w = atomic_load_explicit(&q->units[i], memory_order_relaxed);

		if (!quoit__unit_has_owner(w) || quoit__unit_owner(w) != row)
			continue;
		/* H2: the owner's slots have been given back; pairs with the sweep. */
		n += atomic_compare_exchange_strong_explicit(
			&q->units[i], &w, quoit__unit_word(w, QUOIT__UNIT_ORPHAN, row),
			memory_order_acq_rel, memory_order_relaxed);
	}
	return n;
}

uint64_t quoit__heap_orphans(const struct quoit *q)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < units_of(q); i++) {
		/* Relaxed: a sweep looks again. */
		uint64_t w = atomic_load_explicit(&q->units[i], memory_order_relaxed);

		if (quoit__unit_state(w) == QUOIT__UNIT_ORPHAN)
			sum += (w + 1) * (2 * i + 1);
	}
	return sum;
}

uint64_t quoit__heap_news(const struct quoit *q)
{
	uint64_t sum;

	if (q->geo.kind == QUOIT_SPSC)
		return atomic_load_explicit(&q->rows[1].position, memory_order_relaxed);
	/* A consumer that dies between taking and counting is counted as dead. */
	sum = atomic_load_explicit(&q->control->consumer_deaths, memory_order_relaxed);
	for (uint32_t i = 0; i < q->geo.peers; i++)
		if (atomic_load_explicit(&q->rows[i].role, memory_order_relaxed) ==
		    QUOIT_ROLE_CONSUMER)
			sum += atomic_load_explicit(&q->rows[i].counters[0], memory_order_relaxed);
	return sum;
}

struct marking {
	const struct quoit *q;
	uint64_t bits[QUOIT__UNITS_MAX / 64];
};

static int mark(void *arg, const struct quoit__heap_found *found)
{
	const struct quoit__heap_record *record = &found->record;
	struct marking *m = arg;
	uint64_t unit = m->q->geo.heap_unit, last;

	/* Nonsense refers to nothing; whoever reads the record says so. */
	if (!quoit__heap_record_valid(&m->q->geo, record))
		return 0;
	last = record->offset + (record->length != 0 ? record->length - 1 : 0);
	for (uint64_t i = record->offset / unit; i <= last / unit; i++)
		m->bits[i / 64] |= UINT64_C(1) << (i % 64);
	return 0;
}

/* Is it free if no record refers to it? */
static bool of_nobody(uint64_t w, uint32_t self)
{
	return quoit__unit_state(w) == QUOIT__UNIT_ORPHAN ||
	       (quoit__unit_state(w) == QUOIT__UNIT_LENT && self != NOT_LENT &&
		quoit__unit_owner(w) != self);
}

/*
 * References to an orphan can only vanish: its owner's slots had been given back before it became
 * one, and a record never changes its slot. Those to a lent unit as well: its owner takes it back,
 * with another generation, before it puts anything there. So a reference that is there throughout
 * the walk is met by it, and a unit that was such before the walk and is not marked by it is
 * nobody's. The generation tells it from one that has been freed, or taken back, meanwhile.
 */
static unsigned find_lost(const struct quoit *q, uint32_t self, uint64_t seen[QUOIT__UNITS_MAX])
{
	struct marking m = {.q = q};
	unsigned found = 0, lost = 0;

	for (uint32_t i = 0; q->units != NULL && i < units_of(q); i++) {
		/* H2: pairs with orphaning and lending. */
		seen[i] = atomic_load_explicit(&q->units[i], memory_order_acquire);
		if (!of_nobody(seen[i], self))
			seen[i] = 0;
		found += seen[i] != 0;
	}
	if (found == 0 || quoit__heap_walk(q, mark, &m) != 0)
		return 0;
	for (uint32_t i = 0; i < units_of(q); i++) {
		if ((m.bits[i / 64] >> (i % 64) & 1) != 0)
			seen[i] = 0;
		lost += seen[i] != 0;
	}
	return lost;
}

static unsigned free_lost(const struct quoit *q, uint32_t self)
{
	uint64_t seen[QUOIT__UNITS_MAX];
	unsigned freed = 0;

	if (find_lost(q, self, seen) == 0)
		return 0;
	for (uint32_t i = 0; i < units_of(q); i++)
		/* H1: readers have done with it, as the walk has seen. */
		freed += seen[i] != 0 && atomic_compare_exchange_strong_explicit(
						 &q->units[i], &seen[i],
						 quoit__unit_next(seen[i], QUOIT__UNIT_FREE, 0),
						 memory_order_release, memory_order_relaxed);
	return freed;
}

unsigned quoit__heap_lost(const struct quoit *q, uint64_t seen[QUOIT__UNITS_MAX])
{
	return find_lost(q, NOT_LENT, seen);
}

unsigned quoit__heap_sweep(const struct quoit *q)
{
	return free_lost(q, NOT_LENT);
}

unsigned quoit__heap_reclaim(const struct quoit *q, uint32_t row)
{
	return free_lost(q, row);
}

/* ---- figures -------------------------------------------------------------------------------- */

void quoit__heap_count(const struct quoit *q, struct quoit_heap_stats *ret)
{
	struct quoit_heap_stats s = {
		.size = sizeof(s), .unit = (uint32_t)q->geo.heap_unit, .total = q->geo.heap_size};
	uint64_t run = 0;

	for (uint32_t i = 0; i < units_of(q); i++) {
		uint64_t w = atomic_load_explicit(&q->units[i], memory_order_relaxed);

		run = quoit__unit_state(w) == QUOIT__UNIT_FREE ? run + s.unit : 0;
		s.largest = run > s.largest ? run : s.largest;
		if (quoit__unit_state(w) == QUOIT__UNIT_FREE)
			s.free += s.unit;
		else if (quoit__unit_state(w) == QUOIT__UNIT_ORPHAN)
			s.orphaned += s.unit;
		else
			s.used += s.unit;
	}
	*ret = s;
}

int quoit_get_heap_stats(const struct quoit *q, struct quoit_heap_stats *ret_stats)
{
	if (ret_stats->size != sizeof(*ret_stats))
		return -EINVAL;
	if (q->units == NULL)
		return -ENOTSUP;
	quoit__heap_count(q, ret_stats);
	return 0;
}
