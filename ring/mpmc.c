/* SPDX-License-Identifier: MIT */
/*
 * The MPMC ring: what both sides share. docs/DESIGN.md, "MPMC", has the table of transitions and
 * what the model found; ring/slot.h the word.
 *
 * Edges: M1 a commit publishes payload and descriptor to the taker. M2 a release gives the memory
 * back to the next claimant. Hints are relaxed: they carry no data, and whoever is led to a slot
 * judges by its word.
 */
#include <errno.h>

#include "ring/slot.h"

void quoit__mpmc_init(struct quoit *q, uint64_t start)
{
	atomic_store_explicit(&q->control->head, start, memory_order_relaxed);
	atomic_store_explicit(&q->control->tail, start, memory_order_relaxed);
	for (uint32_t i = 0; i < q->geo.peers; i++)
		atomic_store_explicit(&q->rows[i].position, start, memory_order_relaxed);
	if (start == 0)
		return; /* FREE of turn 0 is a zero word */
	for (uint64_t k = 0; k < q->geo.slots; k++)
		atomic_store_explicit(&quoit__slot_at(q, start + k)->word,
				      quoit__word(quoit__turn(&q->geo, start + k), QUOIT__FREE, 0),
				      memory_order_relaxed);
}

void quoit__mpmc_producer_open(struct quoit_producer *p)
{
	struct quoit__endpoint *ep = &p->ep;

	quoit__producer_poison(p); /* keeps the inline path out */
	p->hot.line = (struct quoit__line *)(void *)&ep->row->position;
	p->hot.records = atomic_load_explicit(&ep->row->counters[0], memory_order_relaxed);
	p->hot.bytes = atomic_load_explicit(&ep->row->counters[1], memory_order_relaxed);
	p->hot.fence = quoit__fence_needed();
	p->ticket = atomic_load_explicit(&ep->ring->control->tail, memory_order_relaxed);
	p->moved_to = p->ticket;
}

void quoit__mpmc_consumer_open(struct quoit_consumer *c)
{
	struct quoit__endpoint *ep = &c->ep;

	quoit__consumer_poison(c);
	c->hot.line = (struct quoit__line *)(void *)&ep->row->position;
	c->hot.records = atomic_load_explicit(&ep->row->counters[0], memory_order_relaxed);
	c->hot.bytes = atomic_load_explicit(&ep->row->counters[1], memory_order_relaxed);
	c->ticket = atomic_load_explicit(&ep->ring->control->head, memory_order_relaxed);
	/* Everyone may have died before us: scan once, at the first empty look. */
	c->redeliveries_seen =
		atomic_load_explicit(&ep->ring->control->redeliveries, memory_order_relaxed) - 1;
}

/* Called by the holder of row id when it closes, or under its lock when it is dead. Idempotent. */
unsigned quoit__mpmc_give_back(struct quoit *q, uint32_t id)
{
	unsigned redelivered = 0;

	for (uint64_t i = 0; i < q->geo.slots; i++) {
		_Atomic uint64_t *word = &quoit__slot_at(q, i)->word;
		uint64_t w = atomic_load_explicit(word, memory_order_relaxed), to, turn;

		do {
			enum quoit__phase phase = quoit__phase(w);

			turn = quoit__word_turn(&q->geo, w);
			to = w;
			if (quoit__owner(w) != id)
				break;
			if (phase == QUOIT__WRITING || phase == QUOIT__VOIDW ||
			    phase == QUOIT__PENDING)
				to = quoit__word(quoit__next_turn(&q->geo, turn), QUOIT__FREE, 0);
			else if (phase == QUOIT__READING || phase == QUOIT__VOIDR)
				to = quoit__word(turn, QUOIT__COMMITTED, 0);
			/* M1, M2: on behalf of the dead. The whole word, for producers may raise
			 * it. */
		} while (to != w &&
			 !atomic_compare_exchange_weak_explicit(word, &w, to, memory_order_acq_rel,
								memory_order_relaxed));
		redelivered += to != w && quoit__phase(to) == QUOIT__COMMITTED;
	}
	/* R1: whatever came back may lie behind every consumer's ticket: have them look. Always,
	 * for a reaper before us may have died between giving back and this; before the row is
	 * freed. */
	if (atomic_load_explicit(&q->rows[id].role, memory_order_relaxed) == QUOIT_ROLE_CONSUMER)
		atomic_fetch_add_explicit(&q->control->redeliveries, 1, memory_order_release);
	return redelivered;
}

bool quoit__mpmc_nothing_left(const struct quoit *q)
{
	for (uint64_t i = 0; i < q->geo.slots; i++) {
		enum quoit__phase phase = quoit__phase(
			atomic_load_explicit(&quoit__slot_at(q, i)->word, memory_order_relaxed));

		if (phase == QUOIT__COMMITTED || phase == QUOIT__READING || phase == QUOIT__VOIDR)
			return false;
	}
	return true;
}
