/* SPDX-License-Identifier: MIT */
/*
 * The heap section, checked: unit words that cannot be, records that leave the section, that
 * overlap, or that lie in free memory.
 *
 * The ring moves while it is looked at. So the records are gathered twice, and the table between
 * the two: those that are there both times all lived at the moment in between, and what is said of
 * them was so.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "ring/heap.h"
#include "ring/view.h"

struct list {
	struct quoit__heap_found *found;
	size_t n, room;
};

static int gather(void *arg, const struct quoit__heap_found *found)
{
	struct list *l = arg;

	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct quoit__heap_found *more = reallocarray(l->found, room, sizeof(*more));

		if (more == NULL)
			return -ENOMEM;
		l->found = more;
		l->room = room;
	}
	l->found[l->n++] = *found;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	uint64_t x = ((const struct quoit__heap_found *)a)->key;
	uint64_t y = ((const struct quoit__heap_found *)b)->key;

	return x < y ? -1 : x > y;
}

static int by_offset(const void *a, const void *b)
{
	uint64_t x = ((const struct quoit__heap_found *)a)->record.offset;
	uint64_t y = ((const struct quoit__heap_found *)b)->record.offset;

	return x < y ? -1 : x > y;
}

/* Keep of the first those that the second has too. */
static void keep_common(struct list *first, struct list *second)
{
	size_t kept = 0;

	if (second->n != 0)
		qsort(second->found, second->n, sizeof(*second->found), by_key);
	for (size_t i = 0; i < first->n && second->n != 0; i++) {
		const struct quoit__heap_found *f = &first->found[i];
		const struct quoit__heap_found *s =
			bsearch(f, second->found, second->n, sizeof(*second->found), by_key);

		if (s != NULL && s->record.offset == f->record.offset &&
		    s->record.length == f->record.length)
			first->found[kept++] = *f;
	}
	first->n = kept;
}

static void check_unit(const struct quoit_inspect *v, struct quoit__report *r, uint64_t i,
		       uint64_t w, uint64_t *orphans)
{
	uint64_t at = v->geo.heap_table + i * 8;
	uint32_t owner = quoit__unit_owner(w);

	if (quoit__unit_state(w) > QUOIT__UNIT_LENT)
		quoit__problem(r, QUOIT__CORRUPT, at, "heap: unit %" PRIu64 ": state %u is none", i,
			       quoit__unit_state(w));
	else if (quoit__unit_state(w) == QUOIT__UNIT_FREE && owner != 0)
		quoit__problem(r, QUOIT__CORRUPT, at,
			       "heap: unit %" PRIu64 " has an owner, %" PRIu32
			       ", though it is nobody's",
			       i, owner);
	else if (owner >= v->geo.peers)
		quoit__problem(r, QUOIT__CORRUPT, at,
			       "heap: unit %" PRIu64 ": owner %" PRIu32 " is none", i, owner);
	else if (quoit__unit_has_owner(w) &&
		 atomic_load_explicit(&v->rows[owner].state, memory_order_acquire) ==
			 QUOIT__ROW_FREE &&
		 atomic_load_explicit(&v->units[i], memory_order_relaxed) == w)
		quoit__problem(r, QUOIT__REPAIRABLE, at,
			       "heap: unit %" PRIu64 " belongs to peer %" PRIu32
			       ", which is not there",
			       i, owner);
	*orphans += quoit__unit_state(w) == QUOIT__UNIT_ORPHAN;
}

/* Records in the order of their offsets: none begins before the one in front of it has ended. */
static void check_records(const struct quoit_inspect *v, struct quoit__report *r,
			  const struct list *l, const uint64_t *words)
{
	uint64_t end = 0, unit = v->geo.heap_unit;

	for (size_t i = 0; i < l->n; i++) {
		const struct quoit__heap_record *record = &l->found[i].record;
		uint64_t at = quoit__view_offset(v, l->found[i].at), last;

		if (!quoit__heap_record_valid(&v->geo, record)) {
			quoit__problem(r, QUOIT__CORRUPT, at,
				       "heap: a record of %" PRIu64 " bytes at offset %" PRIu64
				       " does not lie in the section",
				       record->length, record->offset);
			continue;
		}
		if (record->offset < end && record->length != 0)
			quoit__problem(r, QUOIT__CORRUPT, at,
				       "heap: a record at offset %" PRIu64
				       " overlaps the one in front of it, which ends at %" PRIu64,
				       record->offset, end);
		last = record->offset + (record->length != 0 ? record->length - 1 : 0);
		for (uint64_t k = record->offset / unit; k <= last / unit; k++)
			if (quoit__unit_state(words[k]) == QUOIT__UNIT_FREE) {
				quoit__problem(r, QUOIT__CORRUPT, at,
					       "heap: a record lies in unit %" PRIu64
					       ", which is free",
					       k);
				break;
			}
		end = record->offset + record->length > end ? record->offset + record->length : end;
	}
}

void quoit__check_heap(const struct quoit_inspect *v, struct quoit__report *r)
{
	uint64_t units, orphans = 0, words[QUOIT__UNITS_MAX];
	struct list first = {0}, second = {0};
	struct quoit q = quoit__view_ring(v);

	if (v->units == NULL || v->rows == NULL || v->data == NULL ||
	    v->data_size < v->geo.capacity)
		return; /* there is none, or it is told as cut off */
	units = v->geo.heap_size / v->geo.heap_unit;
	if (quoit__heap_walk(&q, gather, &first) != 0)
		first.n = 0;
	for (uint64_t i = 0; i < units; i++)
		words[i] = atomic_load_explicit(&v->units[i], memory_order_acquire);
	/* Acquire on both sides: between the two in time as well. */
	if (quoit__heap_walk(&q, gather, &second) != 0)
		second.n = 0;
	keep_common(&first, &second);
	if (first.n != 0)
		qsort(first.found, first.n, sizeof(*first.found), by_offset);
	for (uint64_t i = 0; i < units; i++)
		check_unit(v, r, i, words[i], &orphans);
	check_records(v, r, &first, words);
	if (orphans != 0)
		quoit__problem(r, QUOIT__NOTE, v->geo.heap_table,
			       "heap: %" PRIu64
			       " units are orphaned: left by producers that have gone, until a "
			       "producer finds no room, or repair, and no record refers to them",
			       orphans);
	free(first.found);
	free(second.found);
}
