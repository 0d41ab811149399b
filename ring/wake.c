/* SPDX-License-Identifier: MIT */
/*
 * Waking peers: the eventcount's sleepers by its backends, and, row by row, those who sleep on a
 * descriptor or in a set.
 */
#include "ring/ring.h"

/* A member of a set: mark it on the set's board. Not having got through is the set's to find out.
 */
static uint32_t wake_set(struct quoit__endpoint *ep, struct quoit__row *row, uint32_t bit)
{
	uint32_t called = 0;
	/* Relaxed: S4 came with the bit; the two halves of another set's id lead nowhere. */
	uint64_t id[2] = {atomic_load_explicit(&row->set[0], memory_order_relaxed),
			  atomic_load_explicit(&row->set[1], memory_order_relaxed)};

	(void)sync_board_wake(&ep->board, (const uint8_t *)id, bit - 1, &called);
	return called;
}

/* Returns how many it called the kernel for. */
static uint32_t wake_pollables(struct quoit__endpoint *ep, enum quoit_role role)
{
	struct quoit *q = ep->ring;
	uint32_t called = 0;

	for (uint32_t i = 0; i < q->geo.peers; i++) {
		struct quoit__row *row = &q->rows[i];
		uint32_t bit;

		if (i == ep->id ||
		    atomic_load_explicit(&row->role, memory_order_relaxed) != (uint32_t)role)
			continue;
		/* S4, both. */
		bit = atomic_load_explicit(&row->set_bit, memory_order_acquire);
		if (bit != 0)
			called += wake_set(ep, row, bit);
		if (atomic_load_explicit(&row->sleeping, memory_order_acquire) == 0)
			continue;
		if (ep->pollable == NULL &&
		    sync_pollable_new_waker(q->uuid, ep->id, q->geo.peers, &ep->pollable) != 0)
			continue; /* out of descriptors: the sleeper's timer finds it */
		called++;
		(void)sync_pollable_wake(ep->pollable, i,
					 atomic_load_explicit(&row->epoch, memory_order_relaxed));
	}
	return called;
}

/* How many may sleep on a semaphore: rows of the role in use. Never too few: a row is in use before
 * its holder can sleep. */
static uint32_t sleepers_at_most(const struct quoit *q, enum quoit_role role)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < q->geo.peers; i++)
		n += atomic_load_explicit(&q->rows[i].state, memory_order_relaxed) !=
			     QUOIT__ROW_FREE &&
		     atomic_load_explicit(&q->rows[i].role, memory_order_relaxed) == (uint32_t)role;
	return n;
}

void quoit__wake(struct quoit__endpoint *ep, const struct sync_event *event,
		 enum quoit_role sleepers)
{
	uint32_t most, called = 0;

	atomic_thread_fence(memory_order_seq_cst); /* E1, for those who come off the hot path */
	most = sleepers_at_most(ep->ring, sleepers);
	if (sync_wake(event, most, &called))
		called += wake_pollables(ep, sleepers);
	if (called != 0) {
		ep->slow.wakes++;
		quoit__count_store(ep);
	}
}

void quoit__tell_room(struct quoit_producer *p)
{
	atomic_thread_fence(memory_order_seq_cst); /* E1 */
	if (sync_announced(atomic_load_explicit(p->ep.sleeps_on->word, memory_order_relaxed)))
		quoit__wake(&p->ep, p->ep.sleeps_on, QUOIT_ROLE_PRODUCER);
}

/* For those who have no endpoint: the remover. */
void quoit__wake_all(struct quoit *q)
{
	struct quoit__endpoint ep = {.ring = q, .id = UINT32_MAX};
	uint32_t called;

	/* Announce first: that makes running peers look up at their next commit. */
	sync_announce(&q->readable, SYNC_SPIN);
	sync_announce(&q->writable, SYNC_SPIN);
	if (sync_wake(&q->readable, q->geo.peers, &called))
		wake_pollables(&ep, QUOIT_ROLE_CONSUMER);
	if (sync_wake(&q->writable, q->geo.peers, &called))
		wake_pollables(&ep, QUOIT_ROLE_PRODUCER);
	sync_announce(&q->readable, SYNC_SPIN);
	sync_announce(&q->writable, SYNC_SPIN);
	sync_pollable_free(ep.pollable);
	sync_board_unlink(&ep.board);
}
