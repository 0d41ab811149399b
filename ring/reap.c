/* SPDX-License-Identifier: MIT */
/*
 * The dead. Whoever notices a row in use whose lock is free takes the lock, gives back what the
 * dead one held, and frees the row: under no lock that a second death could orphan, and from the
 * start again if the reaper dies too.
 */
#include "ring/heap.h"
#include "ring/peers.h"

bool quoit__role_present(const struct quoit *q, enum quoit_role role)
{
	for (uint32_t i = 0; i < q->geo.peers; i++)
		/* P1: pairs with the release of a row: what its holder did before is visible. */
		if (atomic_load_explicit(&q->rows[i].state, memory_order_acquire) !=
			    QUOIT__ROW_FREE &&
		    atomic_load_explicit(&q->rows[i].role, memory_order_relaxed) == (uint32_t)role)
			return true;
	return false;
}

/* P3 */
void quoit__leave(_Atomic uint32_t *word, enum quoit__stream how)
{
	uint32_t fate = atomic_load_explicit(word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(word, &fate,
						      (fate & ~QUOIT__STREAM_MASK) | (uint32_t)how,
						      memory_order_release, memory_order_relaxed))
		;
}

unsigned quoit__reap_row(struct quoit *q, uint32_t id)
{
	struct quoit__row *row = &q->rows[id];
	struct quoit__control *c = q->control;
	uint32_t state = atomic_load_explicit(&row->state, memory_order_acquire);
	bool producer =
		atomic_load_explicit(&row->role, memory_order_relaxed) == QUOIT_ROLE_PRODUCER;
	unsigned redelivered = 0;

	if (q->geo.kind == QUOIT_MPMC && state != QUOIT__ROW_OPENING)
		redelivered = quoit__mpmc_give_back(q, id);
	/* After its slots: nothing can refer to its units any more that does not already. */
	if (producer && state != QUOIT__ROW_OPENING)
		(void)quoit__heap_orphan(q, id);
	atomic_store_explicit(&row->sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(&row->set_bit, 0, memory_order_relaxed);
	if (state == QUOIT__ROW_OPEN) {
		/* Relaxed: published by P1 below and P2 after it. A reaper that dies between these
		 * and FREE makes its successor count the death twice: told twice is better than
		 * never. */
		quoit__leave(producer ? &c->produced : &c->consumed, QUOIT__DIED);
		/* P2: the death; pairs with the idle checks. */
		atomic_fetch_add_explicit(producer ? &c->producer_deaths : &c->consumer_deaths, 1,
					  memory_order_release);
	} else if (state == QUOIT__ROW_CLOSING) {
		/* It had closed but for giving the row back. */
		quoit__leave(producer ? &c->produced : &c->consumed, QUOIT__CLOSED);
	}
	/* P1 */
	atomic_store_explicit(&row->state, QUOIT__ROW_FREE, memory_order_release);
	return redelivered;
}

/* Relaxed: whoever reaps looks again, under the lock. */
static bool seems_dead(const struct quoit *q, const struct sync_lock *lock, uint32_t id)
{
	return atomic_load_explicit(&q->rows[id].state, memory_order_relaxed) != QUOIT__ROW_FREE &&
	       sync_lock_held(lock, quoit__lock_index(id)) == 0;
}

bool quoit__any_dead(const struct quoit *q, const struct sync_lock *lock, uint32_t self)
{
	for (uint32_t i = 0; i < q->geo.peers; i++)
		if (i != self && seems_dead(q, lock, i))
			return true;
	return false;
}

unsigned quoit__reap(struct quoit *q, const struct sync_lock *lock, uint32_t self,
		     struct quoit_counters *ret_counters)
{
	unsigned reaped = 0;

	for (uint32_t i = 0; i < q->geo.peers; i++) {
		struct quoit__row *row = &q->rows[i];

		if (i == self || !seems_dead(q, lock, i) ||
		    sync_lock_take(lock, quoit__lock_index(i)) != 0)
			continue;
		/* Under the lock: it may have been reaped since. */
		if (atomic_load_explicit(&row->state, memory_order_acquire) != QUOIT__ROW_FREE) {
			uint32_t state = atomic_load_explicit(&row->state, memory_order_relaxed);

			ret_counters->redelivered += quoit__reap_row(q, i);
			ret_counters->deaths += state == QUOIT__ROW_OPEN;
			reaped++;
		}
		sync_lock_drop(lock, quoit__lock_index(i));
	}
	return reaped;
}
