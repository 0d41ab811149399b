/* SPDX-License-Identifier: MIT */
/*
 * Damage that no single look can tell from an empty or a full ring, looked for now and then by who
 * waits. A file that was cut off is shorter than it was. Somebody who punches a hole
 * into a ring's file, or writes zeros over it, takes records away that were committed: a consumer
 * finds nothing at its position for ever, a producer finds a slot of no use, and each waits for the
 * other. The figures contradict that: positions and hints are moved on only after the words that
 * they have passed. But they are relaxed, so that for a moment they may be seen before those words
 * (docs/ORDERING.md): what counts is a contradiction that is still there after a while.
 */
#include <sys/stat.h>

#include "ring/slot.h"

#define DOUBT_NS 40000000 /* between two looks; figures overtake words by nanoseconds */

/* Is it time for a look? They touch lines that others are at work on, and ask the kernel. */
static bool due(struct quoit__endpoint *ep, int64_t now)
{
	if (now - ep->doubted_ns < DOUBT_NS)
		return false;
	ep->doubted_ns = now;
	return true;
}

/* Shorter than it was: who waits may not come to touch what is missing, ever. Asked through our own
 * descriptor, for the ring's goes when it is detached. */
static bool cut_off(const struct quoit__endpoint *ep)
{
	struct stat st;

	return ep->lock.fd >= 0 && fstat(ep->lock.fd, &st) == 0 &&
	       (uint64_t)st.st_size < ep->ring->seg.size;
}

/* The second time in a row, and nothing has moved. */
static bool still(struct quoit__endpoint *ep, bool contradiction, uint64_t at)
{
	bool before = ep->doubted_at == at + 1;

	ep->doubted_at = contradiction ? at + 1 : 0;
	return contradiction && before;
}

/* The producer is known to have passed our position, and there is no record at it. */
static bool spsc_missing(struct quoit_consumer *c)
{
	/* In this order. Acquire: keeps it. */
	uint64_t producer =
		atomic_load_explicit(&c->ep.ring->rows[0].position, memory_order_acquire);
	struct quoit_msg msg;

	return (int64_t)(producer - c->hot.position) > 0 && !quoit__look(&c->hot, &msg) &&
	       quoit__spsc_look(c, &msg) == -EAGAIN;
}

/* A slot that everybody's tickets have passed in the lap before this one, and that does not look
 * so: those who passed left it claimed, or raised its turn. */
static bool mpmc_left_behind(const struct quoit__geometry *g, uint64_t word, uint64_t ticket)
{
	int64_t ahead = quoit__laps_ahead(g, word, ticket), lap = INT64_C(1) << g->turn_shift;

	return ahead < -lap || (ahead < 0 && quoit__phase(word) == QUOIT__FREE);
}

static bool mpmc_missing(const struct quoit_consumer *c)
{
	const struct quoit *q = c->ep.ring;
	/* In this order. Acquire: keeps it. */
	uint64_t tail = atomic_load_explicit(&q->control->tail, memory_order_acquire);
	uint64_t w =
		atomic_load_explicit(&quoit__slot_at(q, c->ticket)->word, memory_order_relaxed);

	return mpmc_left_behind(&q->geo, w, c->ticket) ||
	       ((int64_t)(tail - c->ticket) > 0 && quoit__phase(w) == QUOIT__FREE &&
		quoit__laps_ahead(&q->geo, w, c->ticket) == 0);
}

bool quoit__consumer_doubts(struct quoit_consumer *c, int64_t now)
{
	bool spsc = c->ep.ring->geo.kind == QUOIT_SPSC;

	if (!due(&c->ep, now))
		return false;
	if (cut_off(&c->ep))
		return true;
	return still(&c->ep, spsc ? spsc_missing(c) : mpmc_missing(c),
		     spsc ? c->hot.position : c->ticket);
}

bool quoit__producer_doubts(struct quoit_producer *p, int64_t now)
{
	const struct quoit *q = p->ep.ring;

	if (!due(&p->ep, now))
		return false;
	if (cut_off(&p->ep))
		return true;
	/* It waits for the consumer's position alone, which lies beside the ring's state. */
	if (q->geo.kind == QUOIT_SPSC)
		return false;
	return still(&p->ep,
		     mpmc_left_behind(&q->geo,
				      atomic_load_explicit(&quoit__slot_at(q, p->ticket)->word,
							   memory_order_relaxed),
				      p->ticket),
		     p->ticket);
}
