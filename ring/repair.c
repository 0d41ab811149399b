/* SPDX-License-Identifier: MIT */
/*
 * Cleaning up by hand what endpoints clean up when they notice it: rows and slots of dead peers,
 * and rings that were never finished. Idempotent; whoever repairs may be killed at any point and
 * another goes on. What a living peer holds is protected by its lock, which must be taken first. A
 * ring that is found corrupt is left as it is: what the bytes say to clean up may be the damage.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/slot.h"
#include "ring/view.h"

#define TURNS 16 /* for a ring that is remade all the time */

struct repair {
	quoit_problem_fn *report;
	void *arg;
	bool dry_run;
	bool corrupt;
	int done;
};

static void tell(struct repair *p, uint64_t offset, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void tell(struct repair *p, uint64_t offset, const char *format, ...)
{
	char text[200];
	va_list arguments;

	p->done++;
	if (p->report == NULL)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	p->report(p->arg, QUOIT__REPAIRABLE, offset, text);
}

/* Remember what is beyond repair, and pass it on. */
static void note_corrupt(void *arg, int severity, uint64_t offset, const char *text)
{
	struct repair *p = arg;

	if (severity < QUOIT__CORRUPT)
		return;
	p->corrupt = true;
	if (p->report != NULL)
		p->report(p->arg, severity, offset, text);
}

/* A System V ring whose creator died half-way is in the way of nobody, but takes room. */
static int remove_unfinished(const char *name, struct repair *p)
{
	int r = p->dry_run ? 0 : quoit_remove(name);

	if (r != 0)
		return r;
	tell(p, 0, "its creator died before it was finished: %s",
	     p->dry_run ? "to be removed" : "removed");
	return p->done;
}

static void tell_of_dead(const struct quoit_inspect *v, struct repair *p)
{
	for (uint32_t i = 0; i < v->geo.peers; i++) {
		const struct quoit__row *row = &v->rows[i];

		if (atomic_load_explicit(&row->state, memory_order_acquire) == QUOIT__ROW_FREE ||
		    quoit__view_peer_state(v, i) != QUOIT_PEER_DEAD)
			continue;
		tell(p, quoit__view_offset(v, row),
		     "peer %" PRIu32 ": the %s of pid %" PRId32 " died: %s", i,
		     atomic_load_explicit(&row->role, memory_order_relaxed) == QUOIT_ROLE_PRODUCER
			     ? "producer"
			     : "consumer",
		     atomic_load_explicit(&row->pid, memory_order_relaxed),
		     p->dry_run ? "to be cleaned up after" : "cleaned up after");
	}
}

/* Which rows are stamped in slots though nobody is there? Such slots are lost to everybody. */
static unsigned find_orphans(const struct quoit_inspect *v, uint32_t *slots_of)
{
	unsigned found = 0;

	for (uint64_t i = 0; i < v->geo.slots; i++) {
		const struct quoit__slot *slot = quoit__view_slot(v, i);
		uint64_t word;
		uint32_t owner;

		if (slot == NULL)
			break;
		word = atomic_load_explicit(&slot->word, memory_order_acquire);
		owner = quoit__owner(word);
		if (quoit__phase(word) == QUOIT__FREE || quoit__phase(word) == QUOIT__COMMITTED ||
		    owner >= v->geo.peers ||
		    atomic_load_explicit(&v->rows[owner].state, memory_order_acquire) !=
			    QUOIT__ROW_FREE)
			continue;
		found += slots_of[owner]++ == 0;
	}
	return found;
}

/* q is NULL in a dry run. */
static void mend_orphans(const struct quoit_inspect *v, struct quoit *q,
			 const struct sync_lock *lock, struct repair *p)
{
	uint32_t *slots_of = calloc(v->geo.peers, sizeof(*slots_of));

	if (slots_of == NULL || v->geo.kind != QUOIT_MPMC || find_orphans(v, slots_of) == 0)
		goto out;
	for (uint32_t i = 0; i < v->geo.peers; i++) {
		if (slots_of[i] == 0)
			continue;
		if (q != NULL) {
			if (sync_lock_take(lock, quoit__lock_index(i)) != 0)
				continue; /* somebody has come */
			if (atomic_load_explicit(&q->rows[i].state, memory_order_acquire) ==
			    QUOIT__ROW_FREE)
				(void)quoit__mpmc_give_back(q, i);
			sync_lock_drop(lock, quoit__lock_index(i));
		}
		tell(p, quoit__view_offset(v, &v->rows[i]),
		     "%" PRIu32 " slots of peer %" PRIu32 ", which is not there: %s", slots_of[i],
		     i, p->dry_run ? "to be given back" : "given back");
	}
out:
	free(slots_of);
}

/* Units of the heap that belong to a row which is not there; not left by any death, but in case. */
static void mend_units(const struct quoit_inspect *v, struct quoit *q, const struct sync_lock *lock,
		       struct repair *p)
{
	uint64_t units = v->units != NULL ? v->geo.heap_size / v->geo.heap_unit : 0;
	unsigned found[QUOIT_PEERS_MAX] = {0};

	for (uint64_t i = 0; i < units; i++) {
		uint64_t w = atomic_load_explicit(&v->units[i], memory_order_acquire);
		uint32_t owner = quoit__unit_owner(w);

		if (quoit__unit_has_owner(w) && owner < v->geo.peers &&
		    atomic_load_explicit(&v->rows[owner].state, memory_order_acquire) ==
			    QUOIT__ROW_FREE)
			found[owner]++;
	}
	for (uint32_t i = 0; i < v->geo.peers; i++) {
		if (found[i] == 0)
			continue;
		if (q != NULL) {
			if (sync_lock_take(lock, quoit__lock_index(i)) != 0)
				continue; /* somebody has come */
			if (atomic_load_explicit(&q->rows[i].state, memory_order_acquire) ==
			    QUOIT__ROW_FREE)
				(void)quoit__heap_orphan(q, i);
			sync_lock_drop(lock, quoit__lock_index(i));
		}
		tell(p, quoit__view_offset(v, &v->rows[i]),
		     "%u units of the heap are of peer %" PRIu32 ", which is not there: %s",
		     found[i], i, p->dry_run ? "to be orphaned" : "orphaned");
	}
}

/* What the dead have left in the heap and no record refers to. */
static void mend_heap(const struct quoit_inspect *v, struct quoit *q, struct repair *p)
{
	struct quoit ring = quoit__view_ring(v);
	uint64_t seen[QUOIT__UNITS_MAX];
	unsigned n = 0;

	if (v->units != NULL && v->data != NULL)
		n = q != NULL ? quoit__heap_sweep(q) : quoit__heap_lost(&ring, seen);
	if (n != 0)
		tell(p, v->geo.heap_table,
		     "%u orphaned units of the heap, to which no record refers: %s", n,
		     p->dry_run ? "to be freed" : "freed");
}

/* Attach for mending. -EAGAIN: the name leads to another ring by now. */
static int attach(const char *name, const struct quoit_inspect *v, struct quoit **ret)
{
	struct quoit *q;
	int r = quoit_attach(name, NULL, &q);

	if (r != 0)
		return r;
	if (memcmp(q->uuid, v->header.uuid, sizeof(q->uuid)) != 0)
		r = -EAGAIN;
	/* Its header was read twice: rows that one look has found must be there in the other. */
	else if (q->geo.peers != v->geo.peers)
		r = -EBADMSG;
	if (r != 0)
		quoit_detach(q);
	else
		*ret = q;
	return r;
}

static int mend(const char *name, const struct quoit_inspect *v, struct repair *p)
{
	struct quoit_counters counters = {0};
	struct sync_lock lock;
	struct quoit *q;
	int r = attach(name, v, &q);

	if (r != 0)
		return r;
	r = quoit__lock_open(q, &lock);
	if (r == 0) {
		tell_of_dead(v, p);
		(void)quoit__reap(q, &lock, UINT32_MAX, &counters);
		mend_orphans(v, q, &lock, p);
		mend_units(v, q, &lock, p);
		mend_heap(v, q, p);
		/* Whoever waits learns of deaths, room and records that came back. */
		if (p->done != 0)
			quoit__wake_all(q);
		quoit__lock_close(&lock);
	}
	quoit_detach(q);
	return r;
}

static void only_say(const struct quoit_inspect *v, struct repair *p)
{
	tell_of_dead(v, p);
	mend_orphans(v, NULL, NULL, p);
	mend_units(v, NULL, NULL, p);
	mend_heap(v, NULL, p);
}

/* Looks first: nothing is touched in a ring that cannot be trusted. -EAGAIN: it was remade under
 * our hands, and nothing has been done or told. */
static int repair(const char *name, struct repair *p)
{
	struct quoit_inspect *v;
	int r = quoit_inspect_open(name, note_corrupt, p, &v);

	if (r == -EOWNERDEAD)
		return remove_unfinished(name, p);
	if (r != 0)
		return r;
	if (!v->live || v->image)
		r = -EINVAL; /* a copy; only rings can be mended */
	else if (p->corrupt || v->control == NULL || v->rows == NULL ||
		 quoit__check_corrupt(v, note_corrupt, p) > 0)
		r = -EBADMSG;
	else if (p->dry_run)
		only_say(v, p);
	else
		r = mend(name, v, p);
	if (r == 0 && !p->dry_run && quoit__check_corrupt(v, note_corrupt, p) > 0)
		r = -EBADMSG;
	quoit_inspect_close(v);
	return r == 0 ? p->done : r;
}

int quoit_repair(const char *name, int dry_run, quoit_problem_fn *report, void *arg)
{
	struct repair p = {.report = report, .arg = arg, .dry_run = dry_run != 0};
	int r = -EAGAIN;

	/* The ring may go and come while we look: a few turns. */
	for (int turn = 0; turn < TURNS && r == -EAGAIN; turn++)
		r = repair(name, &p);
	return r;
}
