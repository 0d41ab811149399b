/* SPDX-License-Identifier: MIT */
/*
 * Endpoints that are watched and not waited on: by an event loop, which polls a descriptor, and by
 * a set, which looks at its members itself.
 */
#include <errno.h>

#include <quoit/pollset.h>

#include "ring/wait.h"

/* ---- event loops ----------------------------------------------------------------------------- */

static int event_fd(struct quoit__endpoint *ep)
{
	int r = quoit__set_wait(ep, QUOIT_WAIT_EVENTFD);

	return r != 0 ? r : sync_pollable_fd(ep->pollable);
}

int quoit_consumer_fd(struct quoit_consumer *c)
{
	return event_fd(&c->ep);
}

int quoit_producer_fd(struct quoit_producer *p)
{
	return event_fd(&p->ep);
}

static int arm(struct quoit__endpoint *ep, quoit__look_fn *look_at, void *endpoint, uint32_t len)
{
	int r;

	if (ep->error)
		return ep->error;
	if (ep->wait != QUOIT_WAIT_EVENTFD || !ep->pollable_own)
		return -EINVAL;
	sync_pollable_drain(ep->pollable);
	/* S4 */
	atomic_store_explicit(&ep->row->sleeping, 1, memory_order_release);
	sync_announce(ep->sleeps_on, SYNC_EVENTFD); /* E2 */
	ep->poked = quoit__now_ns() - ep->checked_ns > QUOIT__CHECK_NS;
	ep->looks = true;
	r = look_at(endpoint, len, true);
	ep->looks = false;
	if (r != -EAGAIN)
		return 1; /* a record, room, the end, or an error: the next call tells */
	r = sync_pollable_arm(ep->pollable, SYNC_NAP_NS);
	if (r != 0)
		return r;
	ep->slow.sleeps++;
	quoit__count_store(ep);
	return 0;
}

int quoit_consumer_arm(struct quoit_consumer *c)
{
	return arm(&c->ep, quoit__look_readable, c, 0);
}

int quoit_producer_arm(struct quoit_producer *p, uint32_t len)
{
	return arm(&p->ep, quoit__look_writable, p, len);
}

/* ---- looks for sets -------------------------------------------------------------------------- */

int quoit__consumer_look(struct quoit_consumer *c)
{
	int r;

	c->ep.looks = true;
	r = quoit__look_readable(c, 0, true);
	c->ep.looks = false;
	return r == -EAGAIN ? -EAGAIN : 0;
}

int quoit__producer_look(struct quoit_producer *p, uint32_t room)
{
	int r;

	p->ep.looks = true;
	r = quoit__look_writable(p, room, true);
	p->ep.looks = false;
	return r == -EAGAIN ? -EAGAIN : 0;
}

bool quoit__consumer_glance(struct quoit_consumer *c)
{
	struct quoit_msg msg;

	return c->ep.error != 0 || quoit__find(c, &msg) != -EAGAIN;
}

bool quoit__producer_glance(struct quoit_producer *p, uint32_t room)
{
	if (p->ep.error != 0)
		return true;
	if (room == QUOIT_POLLSET_NO_ROOM)
		return false;
	if (p->ep.ring->geo.kind == QUOIT_SPSC &&
	    p->hot.end - p->hot.position >= quoit__footprint(room))
		return true;
	return quoit__room_moved(p);
}
