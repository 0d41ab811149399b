/* SPDX-License-Identifier: MIT */
/* The MPMC ring, before reading: is there something to take? Looks that take nothing. */
#include "ring/slot.h"

/* Is a record committed at a later ticket? Ends at the frontier, where nothing has been claimed, or
 * with the looks that the call has left: in a large ring full of slots that are being written each
 * must not cost a lap. */
bool quoit__mpmc_later_committed(const struct quoit *q, uint64_t ticket, uint64_t *looks)
{
	for (uint64_t k = 1; k < q->geo.slots && *looks != 0; k++, --*looks) {
		uint64_t w = atomic_load_explicit(&quoit__slot_at(q, ticket + k)->word,
						  memory_order_relaxed);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, ticket + k);

		if (ahead < 0 || (ahead == 0 && quoit__phase(w) == QUOIT__FREE))
			return false;
		if (ahead == 0 && quoit__phase(w) == QUOIT__COMMITTED)
			return true;
	}
	return false;
}

bool quoit__mpmc_glance(const struct quoit_consumer *c)
{
	const struct quoit *q = c->ep.ring;
	uint64_t w =
		atomic_load_explicit(&quoit__slot_at(q, c->ticket)->word, memory_order_relaxed);
	int64_t ahead = quoit__laps_ahead(&q->geo, w, c->ticket);

	return ahead > 0 || (ahead == 0 && quoit__phase(w) == QUOIT__COMMITTED);
}

bool quoit__mpmc_ready(struct quoit_consumer *c)
{
	struct quoit *q = c->ep.ring;
	uint64_t lap = q->geo.slots, hint, h;

	/* While we waited others may have taken many laps of records; walking alone would never get
	 * there. Before the look at what came back, which is for what lies behind our ticket. */
	hint = atomic_load_explicit(&q->control->head, memory_order_relaxed);
	if ((int64_t)(hint - c->ticket) > 0)
		c->ticket = hint;
	if (c->held != 0 || quoit__mpmc_redelivered(c))
		return true;
	h = c->ticket;
	for (uint64_t steps = 2 * q->geo.slots; steps != 0; steps--, h++) {
		uint64_t w =
			atomic_load_explicit(&quoit__slot_at(q, h)->word, memory_order_acquire);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, h);
		enum quoit__phase phase = quoit__phase(w);

		if (ahead < 0 || (ahead == 0 && phase == QUOIT__FREE))
			return false;
		if (ahead == 0 && phase == QUOIT__COMMITTED)
			return true;
		if (ahead == 0 && phase == QUOIT__WRITING)
			return quoit__mpmc_later_committed(q, h, &lap);
	}
	c->ticket = h; /* the next look goes on from here */
	return false;
}
