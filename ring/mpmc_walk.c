/* SPDX-License-Identifier: MIT */
/* The MPMC ring, looking for a slot to write: tickets, what may be stepped over, what is full. */
#include <errno.h>

#include "ring/slot.h"

#define PATIENCE_NS 1000000 /* with a producer that is a whole lap late */

/*
 * Tickets must not run away: slots on loan are stepped over only if a slot that can be used, FREE
 * or PENDING, lies within the lap, with nothing but steppable ones before it. Looks no further than
 * the looks that the call has left, lest each of many slots on loan costs a lap.
 */
static bool usable_after(const struct quoit *q, uint64_t ticket, bool writers_too, uint64_t *looks)
{
	for (uint64_t k = 1; k < q->geo.slots && *looks != 0; k++, --*looks) {
		uint64_t w = atomic_load_explicit(&quoit__slot_at(q, ticket + k)->word,
						  memory_order_relaxed);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, ticket + k);

		if (ahead > 0 || (ahead == 0 && quoit__phase(w) != QUOIT__FREE))
			continue; /* passed already */
		if (ahead == 0 || quoit__phase(w) == QUOIT__PENDING)
			return true;
		if (!quoit__steppable(w, writers_too))
			return false;
	}
	return false;
}

/* The word of an earlier lap at ticket: may we raise it to our lap and step over? */
static bool may_step(struct quoit_producer *p, uint64_t ticket, uint64_t w, uint64_t *looks)
{
	const struct quoit *q = p->ep.ring;
	int64_t now;

	if (quoit__steppable(w, false))
		return usable_after(q, ticket, false, looks);
	if (!quoit__steppable(w, true) || !usable_after(q, ticket, true, looks))
		return false;
	/* A writer one lap late: stopped, or slow. Others' records wait for it; have patience. */
	now = quoit__now_ns();
	if (p->blocked_word != w) {
		p->blocked_word = w;
		p->blocked_ns = now;
	}
	return now - p->blocked_ns >= PATIENCE_NS;
}

/* What a producer at `ticket`, of whose lap or an earlier one w is, may make of it; w itself:
 * nothing, the ring is full. `skip`: it does not want a slot of its own. */
static uint64_t next_word(struct quoit_producer *p, uint64_t ticket, uint64_t w, bool skip,
			  uint64_t *looks)
{
	const struct quoit__geometry *g = &p->ep.ring->geo;
	uint64_t turn = quoit__turn(g, ticket);
	bool writer;

	if (quoit__laps_ahead(g, w, ticket) == 0)
		return skip ? quoit__word(quoit__next_turn(g, turn), QUOIT__FREE, 0)
			    : quoit__word(turn, QUOIT__WRITING, p->ep.id);
	if (quoit__phase(w) == QUOIT__PENDING)
		return quoit__word(turn, QUOIT__COMMITTED, 0);
	if (!may_step(p, ticket, w, looks))
		return w;
	writer = quoit__phase(w) == QUOIT__WRITING || quoit__phase(w) == QUOIT__VOIDW;
	return quoit__word(turn, writer ? QUOIT__VOIDW : QUOIT__VOIDR, quoit__owner(w));
}

int quoit__mpmc_walk(struct quoit_producer *p, const struct quoit__slot *own,
		     struct quoit__claim *ret)
{
	struct quoit *q = p->ep.ring;
	uint64_t t = p->ticket, steps = 2 * q->geo.slots + 64, looks = q->geo.slots + QUOIT__LOOKS;
	unsigned passed = 0;
	int r = -EAGAIN;

	while (steps-- != 0) {
		struct quoit__slot *slot = quoit__slot_at(q, t);
		/* M2: pairs with the release by the last reader. */
		uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire), to;
		int64_t ahead = quoit__laps_ahead(&q->geo, w, t);

		if (own != NULL &&
		    !quoit__owned(atomic_load_explicit(&own->word, memory_order_acquire),
				  QUOIT__PENDING, p->ep.id)) {
			r = 0;
			break;
		}
		if (ahead > 0 || (ahead == 0 && quoit__phase(w) != QUOIT__FREE)) {
			t++;
			if (++passed % QUOIT__JUMP_AFTER == 0) {
				uint64_t tail = atomic_load_explicit(&q->control->tail,
								     memory_order_relaxed);
				t = (int64_t)(tail - t) > 0 ? tail : t;
			}
			continue;
		}
		to = next_word(p, t, w, own != NULL, &looks);
		if (to == w)
			break;
		/* M2 (claim), M1 (publishing what is pending); lost: look again. */
		if (!atomic_compare_exchange_strong_explicit(
			    &slot->word, &w, to, memory_order_acq_rel, memory_order_relaxed))
			continue;
		if (quoit__phase(to) == QUOIT__WRITING) {
			*ret = (struct quoit__claim){.slot = slot, .ticket = t++};
			r = 0;
			break;
		}
		p->ep.slow.voided += ahead < 0 && quoit__phase(to) != QUOIT__COMMITTED;
		passed++; /* the next look steps over it */
	}
	p->ticket = t;
	/* Alone, keep off the shared line most of the time; among others, keep them from walking.
	 */
	if (passed != 0 || t % 16 == 0)
		quoit__help(&q->control->tail, t);
	return r;
}

bool quoit__mpmc_room(struct quoit_producer *p)
{
	struct quoit *q = p->ep.ring;
	uint64_t t = p->ticket, lap = q->geo.slots, hint;

	/* While we waited others may have filled many laps; walking alone would never get there. */
	hint = atomic_load_explicit(&q->control->tail, memory_order_relaxed);
	if ((int64_t)(hint - t) > 0)
		t = hint;
	for (uint64_t steps = 2 * q->geo.slots; steps != 0; steps--, t++) {
		uint64_t w =
			atomic_load_explicit(&quoit__slot_at(q, t)->word, memory_order_relaxed);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, t);

		if (ahead == 0 && quoit__phase(w) == QUOIT__FREE)
			return true;
		if (ahead < 0)
			return quoit__phase(w) == QUOIT__PENDING || may_step(p, t, w, &lap);
	}
	p->ticket = t; /* the next look goes on from here */
	return false;
}

bool quoit__mpmc_much_room(struct quoit_producer *p)
{
	struct quoit *q = p->ep.ring;
	uint64_t t = p->ticket + q->geo.slots / 4;
	uint64_t w = atomic_load_explicit(&quoit__slot_at(q, t)->word, memory_order_relaxed);

	return quoit__laps_ahead(&q->geo, w, t) >= 0;
}
