/* SPDX-License-Identifier: MIT */
/*
 * Looking for what cannot be. Everything that the format promises about a ring at rest is asked of
 * the bytes: header, control, peer rows, and every record or slot. A ring in use passes through
 * states in which figures that belong together have not all been written yet, so there a finding
 * counts only if a second look, a little later, has it again.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ring/guard.h"
#include "ring/heap.h"
#include "ring/slot.h"
#include "ring/view.h"

#define SETTLE_NS 30000000 /* between the two looks */
#define LAG_MAX   64u      /* tickets by which MPMC hints may be behind, besides those in flight */

static uint64_t load(const _Atomic uint64_t *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

static uint32_t load32(const _Atomic uint32_t *p)
{
	return atomic_load_explicit(p, memory_order_acquire);
}

/* ---- control -------------------------------------------------------------------------------- */

static void check_event(const struct quoit_inspect *v, const struct quoit__event *e,
			const char *which, struct quoit__report *r)
{
	uint64_t word = load(&e->word);
	uint32_t ahead = (uint32_t)word - (uint32_t)(word >> 32);
	uint32_t unknown = load32(&e->backends) & ~(((1u << (QUOIT_WAIT_EVENTFD + 1)) - 1) & ~1u);

	if (ahead > 1)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &e->word),
			       "%s event: the word 0x%016" PRIx64 " has its halves %" PRIu32
			       " apart, not 0 or 1",
			       which, word, ahead);
	if (unknown != 0)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &e->backends),
			       "%s event: bits 0x%" PRIx32 " are no way to wait", which, unknown);
}

static void check_side(const struct quoit_inspect *v, const char *which,
		       const _Atomic uint32_t *stream, const _Atomic uint64_t *deaths,
		       const _Atomic uint64_t *told, struct quoit__report *r)
{
	uint64_t heard = load(told), died = load(deaths); /* told of only after they were counted */

	if (quoit__fate(load32(stream)) > QUOIT__DIED)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, stream),
			       "control: %s: state %" PRIu32 " is none", which, load32(stream));
	if ((int64_t)(died - heard) < 0)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, told),
			       "control: %s: %" PRIu64 " deaths told of, but %" PRIu64 " counted",
			       which, heard, died);
}

static void check_control(const struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__control *c = v->control;

	check_event(v, &c->readable, "readable", r);
	check_event(v, &c->writable, "writable", r);
	check_side(v, "producers", &c->produced, &c->producer_deaths, &c->producer_deaths_told, r);
	check_side(v, "consumers", &c->consumed, &c->consumer_deaths, &c->consumer_deaths_told, r);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static const char *role_name(uint32_t role)
{
	return role == QUOIT_ROLE_PRODUCER ? "producer" : "consumer";
}

static void check_row(const struct quoit_inspect *v, uint32_t id, struct quoit__report *r)
{
	const struct quoit__row *row = &v->rows[id];
	uint32_t state = load32(&row->state), role = load32(&row->role);
	uint32_t expected = id == 0 ? QUOIT_ROLE_PRODUCER : QUOIT_ROLE_CONSUMER;

	if (state > QUOIT__ROW_CLOSING)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &row->state),
			       "peer %" PRIu32 ": state %" PRIu32 " is none", id, state);
	if (role > QUOIT_ROLE_CONSUMER || (state != QUOIT__ROW_FREE && role == QUOIT_ROLE_NONE))
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &row->role),
			       "peer %" PRIu32 ": role %" PRIu32 " is none", id, role);
	else if (v->geo.kind == QUOIT_SPSC && role != QUOIT_ROLE_NONE && role != expected)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &row->role),
			       "peer %" PRIu32 ": a %s in the place of the %s", id, role_name(role),
			       role_name(expected));
	if (load32(&row->sleeping) > 1)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &row->sleeping),
			       "peer %" PRIu32 ": sleeping is %" PRIu32 ", not 0 or 1", id,
			       load32(&row->sleeping));
	if (state == QUOIT__ROW_FREE)
		return;
	if (state == QUOIT__ROW_OPEN &&
	    (load32(&row->wait) < QUOIT_WAIT_SPIN || load32(&row->wait) > QUOIT_WAIT_EVENTFD))
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &row->wait),
			       "peer %" PRIu32 ": way to wait %" PRIu32 " is none", id,
			       load32(&row->wait));
	if (quoit__view_peer_state(v, id) == QUOIT_PEER_DEAD)
		quoit__problem(r, QUOIT__REPAIRABLE, quoit__view_offset(v, row),
			       "peer %" PRIu32 ": the %s of pid %" PRId32
			       " died and has not been cleaned up after",
			       id, role_name(role),
			       atomic_load_explicit(&row->pid, memory_order_relaxed));
}

/* ---- SPSC ----------------------------------------------------------------------------------- */

/* Walk from the oldest record on; returns where it ended, or 0 with *bad set. */
static uint64_t walk_records(struct quoit_inspect *v, struct quoit__report *r, bool *bad)
{
	uint64_t most = v->geo.capacity / 8, missed = 0;
	struct quoit_record record;
	int k = 0;

	quoit_inspect_rewind(v);
	/* As many as fit, so that writers who are faster cannot lead us on for ever. */
	for (uint64_t i = 0; i <= most; i++) {
		k = quoit_inspect_next(v, &record, &missed);
		if (k != 1)
			break;
		if (record.state != QUOIT_RECORD_PADDING && record.data == NULL &&
		    record.len != 0 && v->data_size < v->geo.capacity)
			break; /* told as cut off */
	}
	*bad = k < 0;
	if (k < 0) {
		uint64_t at = v->cursor & (v->geo.capacity - 1), word = 0;

		if (at + 8 <= v->data_size)
			memcpy(&word, v->data + at, 8);
		quoit__problem(r, QUOIT__CORRUPT, v->geo.data_offset + at,
			       "record at position %" PRIu64 ": header 0x%016" PRIx64
			       " leaves the ring",
			       v->cursor, word);
	}
	return v->cursor;
}

static void check_spsc(struct quoit_inspect *v, struct quoit__report *r)
{
	const struct quoit__row *rows = v->rows;
	uint64_t capacity = v->geo.capacity;
	/* In this order: each was at most the next when it was read. */
	uint64_t head = load(&v->control->head), consumer = load(&rows[1].position);
	uint64_t producer = load(&rows[0].position), end;
	bool bad;

	if (head % 8 != 0 || consumer - head > capacity)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &v->control->head),
			       "control: head %" PRIu64 " cannot be: the consumer is at %" PRIu64,
			       head, consumer);
	if (consumer % 8 != 0)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &rows[1].position),
			       "consumer: position %" PRIu64 " is not a multiple of 8", consumer);
	/* A producer that was killed after publishing leaves its position behind, by a batch at
	 * most; so does one that is running, if only now. */
	if (producer % 8 != 0 ||
	    ((int64_t)(producer - consumer) > 0 && producer - consumer > capacity) ||
	    (int64_t)(consumer - producer) > (int64_t)capacity)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &rows[0].position),
			       "producer: position %" PRIu64
			       " cannot be: the consumer is at %" PRIu64,
			       producer, consumer);
	if (v->data == NULL || head % 8 != 0)
		return;
	end = walk_records(v, r, &bad);
	if (!bad && (int64_t)(producer - end) > 0 && producer - consumer <= capacity &&
	    v->data_size == capacity)
		quoit__problem(r, QUOIT__CORRUPT, v->geo.data_offset + (end & (capacity - 1)),
			       "record at position %" PRIu64
			       " is missing: the producer is at %" PRIu64,
			       end, producer);
}

/* ---- MPMC ----------------------------------------------------------------------------------- */

struct tickets {
	uint64_t head, tail; /* read before the slots: neither leads */
};

#define SLOT_PROBLEM(text, ...)                                                                    \
	quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, slot), "slot %" PRIu64 ": " text,  \
		       (quoit__view_offset(v, slot) - v->geo.data_offset) / v->geo.slot_stride,    \
		       ##__VA_ARGS__)

/* Does the word of this slot agree with the tickets? `ticket` is the slot's one of [tail,
 * tail+slots). */
static void check_turn(const struct quoit_inspect *v, struct quoit__report *r,
		       const struct tickets *t, const struct quoit__slot *slot, uint64_t ticket,
		       uint64_t word)
{
	const struct quoit__geometry *g = &v->geo;
	enum quoit__phase phase = quoit__phase(word);
	int64_t lap = INT64_C(1) << g->turn_shift;
	int64_t laps = quoit__laps_ahead(g, word, ticket) / lap;
	int64_t most = 2 + (int64_t)((LAG_MAX + g->peers) / g->slots);
	uint64_t now = load(&v->control->tail);
	uint64_t behind = t->head - 1 - ((t->head - 1 - ticket) & (g->slots - 1));

	if (laps < -1)
		SLOT_PROBLEM("is %" PRId64 " laps behind the tail", -laps);
	else if (laps == -1 && phase == QUOIT__FREE)
		SLOT_PROBLEM("is free, though the tail has passed it");
	else if (laps > most &&
		 quoit__laps_ahead(g, word, now + ((ticket - now) & (g->slots - 1))) / lap > most)
		SLOT_PROBLEM("is %" PRId64 " laps ahead of the tail", laps);
	/* `behind` is its ticket in [head-slots, head): that has been passed too. */
	else if (quoit__laps_ahead(g, word, behind) == 0 && phase == QUOIT__COMMITTED &&
		 load(&v->control->redeliveries) == 0)
		SLOT_PROBLEM("is committed, but the head has passed it");
	else if (quoit__laps_ahead(g, word, behind) == 0 && phase == QUOIT__WRITING)
		SLOT_PROBLEM("is being written, but the head has passed it");
}

static void check_slot(const struct quoit_inspect *v, struct quoit__report *r,
		       const struct tickets *t, uint64_t index)
{
	const struct quoit__geometry *g = &v->geo;
	struct quoit__slot *slot = quoit__view_slot(v, index);
	uint64_t word = load(&slot->word), desc = load(&slot->desc);
	enum quoit__phase phase = quoit__phase(word);
	uint32_t owner = quoit__owner(word);
	bool owned = phase == QUOIT__WRITING || phase == QUOIT__READING || phase == QUOIT__VOIDW ||
		     phase == QUOIT__VOIDR || phase == QUOIT__PENDING;

	if (load(&slot->word) != word)
		return; /* on the move; whoever moves it checks it */
	if (phase > QUOIT__PENDING)
		SLOT_PROBLEM("phase %u is none", phase);
	else if (owned && owner >= g->peers)
		SLOT_PROBLEM("owner %" PRIu32 " is none", owner);
	else if (owned && load32(&v->rows[owner].state) == QUOIT__ROW_FREE &&
		 load(&slot->word) == word)
		quoit__problem(r, QUOIT__REPAIRABLE, quoit__view_offset(v, slot),
			       "slot %" PRIu64 ": belongs to peer %" PRIu32 ", which is not there",
			       index, owner);
	else if (!owned && owner != 0)
		SLOT_PROBLEM("has an owner, %" PRIu32 ", though it is nobody's", owner);
	else if ((phase == QUOIT__COMMITTED || phase == QUOIT__READING ||
		  phase == QUOIT__PENDING) &&
		 desc >> 32 > g->slot_size &&
		 (desc >> 32 != QUOIT__HEAP_LENGTH || g->heap_size == 0) &&
		 load(&slot->word) == word)
		SLOT_PROBLEM("length %" PRIu64 " does not fit", desc >> 32);
	else
		check_turn(v, r, t, slot, t->tail + ((index - t->tail) & (g->slots - 1)), word);
}

static void check_mpmc(const struct quoit_inspect *v, struct quoit__report *r)
{
	struct tickets t = {.head = load(&v->control->head), .tail = load(&v->control->tail)};
	uint64_t apart = t.tail - t.head, most = 2 * v->geo.slots + LAG_MAX + v->geo.peers;

	if (v->data == NULL)
		return;
	if (apart > most && -apart > most)
		quoit__problem(r, QUOIT__CORRUPT, quoit__view_offset(v, &v->control->head),
			       "control: head %" PRIu64 " and tail %" PRIu64 " are too far apart",
			       t.head, t.tail);
	for (uint64_t i = 0; i < v->geo.slots && quoit__view_slot(v, i) != NULL; i++)
		check_slot(v, r, &t, i);
}

/* ---- all ------------------------------------------------------------------------------------ */

static void look_once(struct quoit_inspect *v, struct quoit__report *r)
{
	if (quoit__view_header(v, r) != 0) {
		quoit__problem(r, QUOIT__CORRUPT, 0, "the header was destroyed while it was read");
		return;
	}
	if (v->control == NULL || v->rows == NULL)
		return;
	check_control(v, r);
	for (uint32_t i = 0; i < v->geo.peers; i++)
		check_row(v, i, r);
	if (v->geo.kind == QUOIT_SPSC)
		check_spsc(v, r);
	else if (v->geo.kind == QUOIT_MPMC)
		check_mpmc(v, r);
	quoit__check_heap(v, r);
}

static void forget(struct quoit__report *r)
{
	for (size_t i = 0; i < r->count; i++)
		free(r->found[i].text);
	free(r->found);
	*r = (struct quoit__report){0};
}

static bool found_in(const struct quoit__report *r, const struct quoit__finding *f)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->found[i].format == f->format && r->found[i].severity == f->severity &&
		    r->found[i].offset == f->offset)
			return true;
	return false;
}

/* Only problems of this severity and worse. */
static int check(struct quoit_inspect *v, int least, quoit_problem_fn *report, void *arg)
{
	struct quoit__report first = {.least = least}, second = {.least = least};
	bool twice;
	int problems = 0;

	look_once(v, &first);
	twice = v->live && first.problems != 0;
	if (twice) {
		nanosleep(&(struct timespec){.tv_nsec = SETTLE_NS}, NULL);
		look_once(v, &second);
	}
	if (quoit__guard_lost(v->seg.guarded)) {
		forget(&first);
		forget(&second);
		if (report != NULL)
			report(arg, QUOIT__CORRUPT, 0, "the file was cut off while it was read");
		return 1;
	}
	for (size_t i = 0; i < first.count; i++) {
		const struct quoit__finding *f = &first.found[i];

		if (twice && !found_in(&second, f))
			continue;
		problems += f->severity >= QUOIT__REPAIRABLE;
		if (report != NULL)
			report(arg, f->severity, f->offset, f->text != NULL ? f->text : "");
	}
	/* As many again in both looks: too many to be told one by one. */
	if (first.problems > first.count && (!twice || second.problems > second.count)) {
		problems = (int)(first.problems < INT_MAX ? first.problems : INT_MAX);
		if (report != NULL)
			report(arg, QUOIT__NOTE, 0, "and more problems of these kinds");
	}
	forget(&first);
	forget(&second);
	quoit_inspect_rewind(v);
	return problems;
}

int quoit_inspect_check(struct quoit_inspect *v, quoit_problem_fn *report, void *arg)
{
	return check(v, QUOIT__NOTE, report, arg);
}

int quoit__check_corrupt(struct quoit_inspect *v, quoit_problem_fn *report, void *arg)
{
	return check(v, QUOIT__CORRUPT, report, arg);
}
