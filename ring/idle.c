/* SPDX-License-Identifier: MIT */
/*
 * What an endpoint that finds nothing learns: whether its peers live, how many of them died or
 * closed, whether the ring was removed or damaged. In this order: what was committed, deaths, the
 * end of the stream.
 */
#include <errno.h>

#include "ring/wait.h"

/* Looks at the peers' locks now and then; true if somebody was found dead. */
static bool check_peers(struct quoit__endpoint *ep, int64_t now)
{
	if (!ep->poked && now - ep->checked_ns < QUOIT__CHECK_NS)
		return false;
	ep->poked = false;
	ep->checked_ns = now;
	if (quoit__reap(ep->ring, &ep->lock, ep->id, &ep->slow) == 0)
		return false;
	quoit__count_store(ep);
	/* The others have news as well: what came back, and who is gone. */
	quoit__wake(ep, &ep->ring->readable, QUOIT_ROLE_CONSUMER);
	quoit__wake(ep, &ep->ring->writable, QUOIT_ROLE_PRODUCER);
	return true;
}

int quoit__ring_error(const struct quoit__endpoint *ep)
{
	/* L2: pairs with quoit_remove(). */
	uint32_t state = atomic_load_explicit(&ep->ring->header->state, memory_order_acquire);

	if (state == QUOIT__REMOVED)
		return -EIDRM;
	/* Relaxed: nobody else writes it while we live. */
	return state == QUOIT__READY &&
			       atomic_load_explicit(&ep->row->state, memory_order_relaxed) ==
				       QUOIT__ROW_OPEN
		       ? 0
		       : -EBADMSG;
}

/* Tell of one death that this handle has not heard of. Who only looks leaves it to the call that
 * follows: were it told now, and we killed in between, our successor would never hear of it. */
static bool hear_death(struct quoit__endpoint *ep, _Atomic uint64_t *deaths, _Atomic uint64_t *told)
{
	/* P2: pairs with reaping. */
	uint64_t now = atomic_load_explicit(deaths, memory_order_acquire);
	uint64_t was;

	if (now == ep->deaths_seen)
		return false;
	if (ep->looks)
		return true;
	ep->deaths_seen++;
	/* Relaxed: only says which deaths later comers need not hear. */
	was = atomic_load_explicit(told, memory_order_relaxed);
	while ((int64_t)(ep->deaths_seen - was) > 0 &&
	       !atomic_compare_exchange_weak_explicit(told, &was, ep->deaths_seen,
						      memory_order_relaxed, memory_order_relaxed))
		;
	return true;
}

/* Is the stream over? Everybody else is looked at first: a dead consumer may have a record lent,
 * and a dead producer is no end. Then the ring, the deaths, and `produced`, which would have
 * changed if anybody had come and gone meanwhile. 0, or -EINPROGRESS: look at the ring again. */
static int stream_end(struct quoit_consumer *c, uint32_t produced)
{
	struct quoit__control *ctl = c->ep.ring->control;
	struct quoit_msg msg;

	c->ep.poked = true;
	if (check_peers(&c->ep, quoit__now_ns()) || quoit__find(c, &msg) != -EAGAIN ||
	    atomic_load_explicit(&ctl->producer_deaths, memory_order_acquire) !=
		    c->ep.deaths_seen ||
	    atomic_load_explicit(&ctl->produced, memory_order_acquire) != produced)
		return -EINPROGRESS;
	return 0;
}

int quoit__consumer_idle(struct quoit_consumer *c)
{
	struct quoit__control *ctl = c->ep.ring->control;
	int64_t now = quoit__now_ns();
	struct quoit_msg msg;
	uint32_t produced;
	int r = quoit__ring_error(&c->ep);

	if (r == 0 && quoit__consumer_doubts(c, now))
		r = -EBADMSG;
	if (r != 0)
		return quoit__consumer_fail(c, r);
	check_peers(&c->ep, now);
	/* P3 */
	produced = atomic_load_explicit(&ctl->produced, memory_order_acquire);
	/* Deaths and the end come after everything that was committed before them: look once more
	 * after having seen them. */
	if (atomic_load_explicit(&ctl->producer_deaths, memory_order_acquire) !=
	    c->ep.deaths_seen) {
		if (quoit__find(c, &msg) != -EAGAIN)
			return -EINPROGRESS;
		return hear_death(&c->ep, &ctl->producer_deaths, &ctl->producer_deaths_told)
			       ? -EOWNERDEAD
			       : -EAGAIN;
	}
	if (!c->ep.ring->geo.persistent && quoit__fate(produced) == QUOIT__CLOSED &&
	    !quoit__role_present(c->ep.ring, QUOIT_ROLE_PRODUCER))
		return stream_end(c, produced);
	return -EAGAIN;
}

int quoit__producer_idle(struct quoit_producer *p)
{
	struct quoit__endpoint *ep = &p->ep;
	struct quoit__control *ctl = ep->ring->control;
	enum quoit__stream consumed;
	int64_t now = quoit__now_ns();
	int r = quoit__ring_error(ep);

	if (r == 0 && quoit__producer_doubts(p, now))
		r = -EBADMSG;
	if (r != 0)
		return quoit__producer_fail(p, r);
	check_peers(ep, now);
	if (ep->ring->geo.persistent)
		return -EAGAIN;
	/* P3 */
	consumed = quoit__fate(atomic_load_explicit(&ctl->consumed, memory_order_acquire));
	if ((consumed != QUOIT__CLOSED && consumed != QUOIT__DIED) ||
	    quoit__role_present(ep->ring, QUOIT_ROLE_CONSUMER))
		return -EAGAIN;
	if (consumed == QUOIT__CLOSED)
		return -EPIPE;
	if (!hear_death(ep, &ctl->consumer_deaths, &ctl->consumer_deaths_told))
		return -EAGAIN;
	/* Those who died while others lived are no news any more. */
	if (!ep->looks)
		ep->deaths_seen = atomic_load_explicit(&ctl->consumer_deaths, memory_order_relaxed);
	return -EOWNERDEAD;
}
