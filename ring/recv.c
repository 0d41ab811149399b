/* SPDX-License-Identifier: MIT */
/* A consumer's calls that are not inline, by kind of ring. */
#include <errno.h>
#include <string.h>

#include "ring/wait.h"

#define LOOKS_MAX 64 /* of one call at news that is gone when it gets there */

static int peek_kind(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		return quoit__spsc_look(c, ret_msg);
	return quoit__mpmc_peek_batch(c, ret_msg, 1);
}

/* Nothing there: hand back what is free, count it once, and see why. */
static int empty(struct quoit_consumer *c)
{
	uint64_t at = c->ep.ring->geo.kind == QUOIT_SPSC ? c->hot.position : c->ticket;

	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		quoit__spsc_publish_head(c);
	if (c->ep.missed_at != at + 1) {
		c->ep.missed_at = at + 1;
		c->ep.slow.empty++;
		quoit__count_store(&c->ep);
	}
	return quoit__consumer_idle(c);
}

int quoit__peek_slow(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	/* Not slow at all: MPMC's hot path. */
	if (c->ep.error == 0 && c->ep.ring->geo.kind == QUOIT_MPMC && c->held == 0 &&
	    quoit__mpmc_lend_next(c, ret_msg))
		return 1;
	for (unsigned turn = 0; turn < LOOKS_MAX; turn++) {
		int r = c->ep.error ? c->ep.error : peek_kind(c, ret_msg);

		if (r == -EAGAIN)
			r = empty(c);
		if (r != -EINPROGRESS)
			return r;
	}
	return -EAGAIN;
}

int quoit__advance_slow(struct quoit_consumer *c, const struct quoit_msg *msg)
{
	if (c->ep.error)
		return c->ep.error;
	return c->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_advance_heap(c, msg)
						  : quoit__mpmc_advance(c, msg);
}

int quoit_peek_batch(struct quoit_consumer *c, struct quoit_msg *ret_msgs, unsigned n)
{
	if (n < 1 || n > QUOIT_BATCH_MAX || ret_msgs == NULL)
		return -EINVAL;
	for (unsigned turn = 0; turn < LOOKS_MAX; turn++) {
		int r = c->ep.error;

		if (r == 0)
			r = c->ep.ring->geo.kind == QUOIT_SPSC
				    ? quoit__spsc_peek_batch(c, ret_msgs, n)
				    : quoit__mpmc_peek_batch(c, ret_msgs, n);
		if (r == -EAGAIN && c->ep.ring->geo.kind == QUOIT_MPMC)
			r = empty(c);
		if (r != -EINPROGRESS)
			return r;
	}
	return -EAGAIN;
}

int quoit_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs, unsigned n)
{
	if (c->ep.error)
		return c->ep.error;
	if (n < 1 || n > QUOIT_BATCH_MAX || msgs == NULL)
		return -EINVAL;
	return c->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_advance_batch(c, msgs, n)
						  : quoit__mpmc_advance_batch(c, msgs, n);
}

static int recv_mpmc(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg)
{
	for (unsigned turn = 0; turn < LOOKS_MAX; turn++) {
		int r = quoit__mpmc_recv(c, buf, cap, ret_msg);

		if (r == -EAGAIN)
			r = empty(c);
		if (r != -EINPROGRESS)
			return r;
	}
	return -EAGAIN;
}

static int recv_once(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg)
{
	struct quoit_msg msg;
	int r;

	if (c->ep.error == 0 && c->ep.ring->geo.kind == QUOIT_MPMC && c->held == 0)
		return recv_mpmc(c, buf, cap, ret_msg);
	r = quoit_peek(c, &msg);
	if (r != 1)
		return r;
	if (msg.len > (buf != NULL ? cap : 0)) {
		ret_msg->len = msg.len;
		return -EMSGSIZE;
	}
	if (msg.len != 0)
		memcpy(buf, msg.data, msg.len);
	atomic_signal_fence(memory_order_seq_cst); /* see quoit_recv() */
	*ret_msg = (struct quoit_msg){.data = buf, .len = msg.len, .type = msg.type};
	r = quoit_advance(c, &msg);
	return r == 0 ? 1 : r;
}

__attribute__((noinline)) static int recv_or_wait(struct quoit_consumer *c, void *buf, uint32_t cap,
						  struct quoit_msg *ret_msg,
						  const struct timespec *deadline)
{
	if (deadline != QUOIT_NOWAIT && c->ep.ring->geo.kind == QUOIT_MPMC)
		(void)quoit__glance_first(c);
	for (bool again = false;; again = true) {
		int r = recv_once(c, buf, cap, ret_msg);

		if (r != -EAGAIN || deadline == QUOIT_NOWAIT)
			return r;
		if (again && quoit__is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_consumer_wait(c, deadline);
		if (r != 0)
			return r;
	}
}

int quoit__recv_slow(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg,
		     const struct timespec *deadline)
{
	if (c->ep.ring->geo.kind == QUOIT_SPSC) {
		if (deadline != QUOIT_NOWAIT && quoit__glance_first(c) &&
		    quoit__recv_here(c, buf, cap, ret_msg))
			return 1;
	} else if (c->ep.error == 0 && c->held == 0 &&
		   quoit__mpmc_recv_next(c, buf, cap, ret_msg)) {
		return 1; /* not slow at all: MPMC's hot path */
	}
	return recv_or_wait(c, buf, cap, ret_msg, deadline);
}

/* As recv, but only what is there: deaths and the end are left for a call that has nothing else. */
static int recv_there(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg)
{
	struct quoit_msg msg;
	int r;

	if (c->ep.error)
		return c->ep.error;
	if (c->ep.ring->geo.kind == QUOIT_MPMC && c->held == 0)
		return quoit__mpmc_recv(c, buf, cap, ret_msg);
	r = peek_kind(c, &msg);
	return r == 1 ? quoit_recv(c, buf, cap, ret_msg, QUOIT_NOWAIT) : r;
}

/* What can be had without a detour. Returns how many. */
static unsigned recv_run(struct quoit_consumer *c, unsigned char *to, size_t cap, size_t *used,
			 struct quoit_msg *ret_msgs, unsigned n)
{
	unsigned k = 0;

	if (c->ep.error != 0 || to == NULL)
		return 0;
	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		return quoit__spsc_recv_run(c, to, cap, used, ret_msgs, n);
	while (k < n && c->held == 0) {
		uint32_t left = cap - *used < UINT32_MAX ? (uint32_t)(cap - *used) : UINT32_MAX;

		if (!quoit__mpmc_recv_next(c, to + *used, left, &ret_msgs[k]))
			break;
		*used = quoit__batch_next(*used, ret_msgs[k++].len, cap);
	}
	return k;
}

int quoit_recv_batch(struct quoit_consumer *c, void *buf, size_t cap, struct quoit_msg *ret_msgs,
		     unsigned n, const struct timespec *deadline)
{
	unsigned char *to = buf;
	size_t used = 0;
	unsigned k = 0;

	if (n < 1 || n > QUOIT_BATCH_MAX || ret_msgs == NULL)
		return -EINVAL;
	while (k < n) {
		uint32_t left;
		int r;

		k += recv_run(c, to, cap, &used, ret_msgs + k, n - k);
		if (k == n)
			break;
		left = cap - used < UINT32_MAX ? (uint32_t)(cap - used) : UINT32_MAX;
		r = k == 0 ? quoit_recv(c, buf, left, &ret_msgs[0], deadline)
			   : recv_there(c, to != NULL ? to + used : NULL, left, &ret_msgs[k]);
		if (r != 1) {
			if (k == 0)
				return r;
			break;
		}
		used = quoit__batch_next(used, ret_msgs[k++].len, cap);
	}
	return (int)k;
}

void quoit__milestone(struct quoit_consumer *c)
{
	quoit__spsc_milestone(c);
}
