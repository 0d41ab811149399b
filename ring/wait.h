/* SPDX-License-Identifier: MIT */
/* What waiting (ring/wait.c), idling (ring/idle.c) and being watched (ring/watch.c) share. */
#ifndef QUOIT_WAIT_H
#define QUOIT_WAIT_H

#include "ring/ring.h"

#define QUOIT__CHECK_NS 25000000 /* between two looks at the peers' locks */

/* One look: 0 something is there (or an error will say so on the call that follows), -EAGAIN not,
 * other negative: the reason to give up. Not eager: room for one record is not worth touching the
 * lines that the readers are at work on. */
typedef int quoit__look_fn(void *endpoint, uint32_t len, bool eager);

/* ring/wait.c */
quoit__look_fn quoit__look_readable, quoit__look_writable;
/* A wait may end well again and again and leave nothing for us, because others were faster or
 * because shared memory lies: the deadline holds all the same. */
bool quoit__is_over(const struct timespec *deadline);
int quoit__set_wait(struct quoit__endpoint *ep, enum quoit_wait wait);

/* ring/idle.c: 0, -EIDRM, or -EBADMSG: what a ring in use cannot say. It was cut off, or has holes.
 */
int quoit__ring_error(const struct quoit__endpoint *ep);

/* The next record, if it is there; MPMC: whether there is one, msg stays as it was. 1, -EAGAIN,
 * -EBADMSG. */
static inline int quoit__find(struct quoit_consumer *c, struct quoit_msg *msg)
{
	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		return quoit__spsc_look(c, msg);
	return quoit__mpmc_ready(c) ? 1 : -EAGAIN;
}

/* The cheapest look for room. */
static inline bool quoit__room_moved(struct quoit_producer *p)
{
	return p->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_head_moved(p)
						  : quoit__mpmc_much_room(p);
}

#endif
