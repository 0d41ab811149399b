/* SPDX-License-Identifier: MIT */
/* Producer and consumer handles: opening, closing, and the calls that are not inline, by kind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/heap.h"

#define SPIN_FIRST_NS 20000
#define LOOKS_MAX     64 /* of one call at news that is gone when it gets there */

/* A word that holds no record, for handles whose inline path must find none. */
static const uint64_t nothing;

void quoit__producer_poison(struct quoit_producer *p)
{
	/* No room, and no payload that commit would take for its own. */
	p->hot.end = p->hot.position = 0;
	p->hot.data = (unsigned char *)(uintptr_t)&nothing;
	p->hot.mask = 0;
}

void quoit__consumer_poison(struct quoit_consumer *c)
{
	c->hot.data = (unsigned char *)(uintptr_t)&nothing;
	c->hot.mask = 0;
	c->hot.position = 0;
	c->hot.shift = 63;
}

int quoit__producer_fail(struct quoit_producer *p, int error)
{
	p->ep.error = error;
	quoit__producer_poison(p);
	return error;
}

int quoit__consumer_fail(struct quoit_consumer *c, int error)
{
	c->ep.error = error;
	quoit__consumer_poison(c);
	return error;
}

/* A wait may end well again and again and leave nothing for us, because others were faster or
 * because shared memory lies: the deadline holds all the same. */
static bool is_over(const struct timespec *deadline)
{
	struct timespec now;

	if (deadline == NULL)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* ---- opening and closing -------------------------------------------------------------------- */

int quoit_producer_open(struct quoit *q, struct quoit_producer **ret)
{
	struct quoit_producer *p;
	int r;

	if (q == NULL || ret == NULL)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	r = quoit__endpoint_open(q, QUOIT_ROLE_PRODUCER, &p->ep);
	if (r != 0) {
		free(p);
		return r;
	}
	p->ep.spin_ns = SPIN_FIRST_NS;
	p->ep.probe_next = QUOIT__PROBE_FIRST;
	if (q->geo.kind == QUOIT_SPSC)
		r = quoit__spsc_producer_open(p);
	else
		quoit__mpmc_producer_open(p);
	if (p->ep.error != 0) /* the SIGBUS guard's */
		r = p->ep.error;
	if (r != 0) {
		quoit__endpoint_abandon(&p->ep);
		free(p);
		return r;
	}
	quoit__endpoint_opened(&p->ep);
	*ret = p;
	return 0;
}

void quoit_producer_close(struct quoit_producer *p)
{
	if (p == NULL)
		return;
	quoit__heap_close(p);
	quoit__endpoint_close(&p->ep);
	free(p);
}

int quoit_consumer_open(struct quoit *q, struct quoit_consumer **ret)
{
	struct quoit_consumer *c;
	int r;

	if (q == NULL || ret == NULL)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	r = quoit__endpoint_open(q, QUOIT_ROLE_CONSUMER, &c->ep);
	if (r != 0) {
		free(c);
		return r;
	}
	c->ep.spin_ns = SPIN_FIRST_NS;
	c->ep.probe_next = QUOIT__PROBE_FIRST;
	if (q->geo.kind == QUOIT_SPSC)
		r = quoit__spsc_consumer_open(c);
	else
		quoit__mpmc_consumer_open(c);
	if (c->ep.error != 0) /* the SIGBUS guard's */
		r = c->ep.error;
	if (r != 0) {
		quoit__endpoint_abandon(&c->ep);
		free(c);
		return r;
	}
	quoit__endpoint_opened(&c->ep);
	*ret = c;
	return 0;
}

void quoit_consumer_close(struct quoit_consumer *c)
{
	if (c == NULL)
		return;
	if (c->ep.error == 0 && c->ep.ring->geo.kind == QUOIT_SPSC)
		quoit__spsc_publish_head(c);
	quoit__endpoint_close(&c->ep);
	free(c);
}

static void counters_of(const struct quoit__endpoint *ep, struct quoit_counters *ret)
{
	const uint64_t *before = (const uint64_t *)(const void *)&ep->before;
	uint64_t *to = (uint64_t *)(void *)ret;

	for (size_t i = 0; i < sizeof(*ret) / 8; i++)
		to[i] = atomic_load_explicit(&ep->row->counters[i], memory_order_relaxed) -
			before[i];
}

void quoit_producer_counters(const struct quoit_producer *p, struct quoit_counters *ret)
{
	counters_of(&p->ep, ret);
}

void quoit_consumer_counters(const struct quoit_consumer *c, struct quoit_counters *ret)
{
	counters_of(&c->ep, ret);
}

uint32_t quoit_producer_id(const struct quoit_producer *p)
{
	return p->ep.id;
}

uint32_t quoit_consumer_id(const struct quoit_consumer *c)
{
	return c->ep.id;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* The ring was full: count it once for each position. */
static void count_full(struct quoit_producer *p)
{
	uint64_t at = p->ep.ring->geo.kind == QUOIT_SPSC ? p->hot.position : p->ticket;

	if (p->ep.missed_at == at + 1)
		return;
	p->ep.missed_at = at + 1;
	p->ep.slow.full++;
	quoit__count_store(&p->ep);
}

/* Has the last consumer left, or the ring been removed? 0, or what to say. */
static int hung_up(struct quoit_producer *p)
{
	/* Relaxed: a late look is made up for by the next. */
	uint32_t fate = atomic_load_explicit(&p->ep.ring->control->consumed, memory_order_relaxed);
	int r;

	if (!p->ep.poked && (quoit__fate(fate) != QUOIT__CLOSED || fate == p->fate_judged))
		return 0;
	r = quoit__producer_idle(p);
	/* Somebody closed, but others are there: look again only when that changes. The last to
	 * close pokes us. */
	if (r != -EAGAIN)
		return r;
	p->fate_judged = fate;
	return 0;
}

static int reserve_kind(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	int r;

	if (p->ep.error)
		return p->ep.error;
	r = hung_up(p);
	if (r != 0)
		return r;
	r = p->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_reserve(p, len, ret_payload)
					       : quoit__mpmc_reserve(p, len, ret_payload);
	if (r == -EAGAIN)
		count_full(p);
	return r;
}

int quoit__reserve_slow(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	return reserve_kind(p, len, ret_payload);
}

int quoit__commit_slow(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type)
{
	if (p->ep.error) /* the SIGBUS guard's, maybe: then it could not poison */
		return quoit__producer_fail(p, p->ep.error);
	if (p->ep.ring->geo.kind == QUOIT_SPSC) /* not reserved, longer than that, or in the heap */
		return quoit__heap_commit(p, payload, len, type);
	return quoit__mpmc_commit(p, payload, len, type);
}

int quoit_discard(struct quoit_producer *p, void *payload)
{
	if (p->ep.error)
		return p->ep.error;
	if (p->ep.ring->geo.kind == QUOIT_MPMC)
		return quoit__mpmc_discard(p, payload);
	if (p->hot.reserved == 0 || payload != p->hot.data + (p->hot.position & p->hot.mask) + 8)
		return quoit__heap_discard(p, payload);
	p->hot.reserved = 0;
	return 0;
}

/* Somebody announced a sleep, or wants to be looked at. */
void quoit__wake_consumers(struct quoit_producer *p)
{
	if (p->ep.error) { /* the SIGBUS guard's */
		quoit__producer_poison(p);
		return;
	}
	quoit__wake(&p->ep, p->ep.wakes, QUOIT_ROLE_CONSUMER);
	/* Whoever left announced as well: look at the peers before the next reservation. */
	if (quoit__fate(atomic_load_explicit(&p->ep.ring->control->consumed,
					     memory_order_relaxed)) != QUOIT__OPENED ||
	    atomic_load_explicit(&p->ep.ring->header->state, memory_order_relaxed) !=
		    QUOIT__READY) {
		p->ep.poked = true;
		p->hot.end = p->hot.position + p->hot.reserved;
	}
}

static int send_once(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type)
{
	void *payload;
	int r;

	if (p->ep.error == 0 && p->ep.ring->geo.kind == QUOIT_MPMC) {
		r = hung_up(p);
		if (r == 0)
			r = quoit__mpmc_send(p, buf, len, type);
		if (r == -EAGAIN)
			count_full(p);
		return r;
	}
	r = reserve_kind(p, len, &payload);
	if (r != 0)
		return r;
	if (len != 0)
		memcpy(payload, buf, len);
	return quoit_commit(p, payload, len, type);
}

int quoit__send_slow(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
		     const struct timespec *deadline)
{
	for (bool again = false;; again = true) {
		int r;

		p->lazy = deadline != QUOIT_NOWAIT;
		r = send_once(p, buf, len, type);
		p->lazy = false;
		if (r != -EAGAIN || deadline == QUOIT_NOWAIT)
			return r;
		if (again && is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_producer_wait(p, len, deadline);
		if (r != 0)
			return r;
	}
}

int quoit_send_batch(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n,
		     const struct timespec *deadline)
{
	if (n < 1 || n > QUOIT_BATCH_MAX || msgs == NULL)
		return -EINVAL;
	for (bool again = false;; again = true) {
		int r = p->ep.error;

		if (r == 0)
			r = hung_up(p);
		if (r == 0)
			r = p->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_send_batch(p, msgs, n)
							       : quoit__mpmc_send_batch(p, msgs, n);
		if (r == -EAGAIN)
			count_full(p);
		if (r != -EAGAIN || deadline == QUOIT_NOWAIT)
			return r;
		if (again && is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_producer_wait(p, msgs[0].len, deadline);
		if (r != 0)
			return r;
	}
}

/* ---- reading -------------------------------------------------------------------------------- */

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
	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		return quoit__spsc_advance_batch(c, msgs, n);
	for (unsigned i = 0; i < n; i++) {
		int r = quoit__mpmc_advance(c, &msgs[i]);

		if (r != 0)
			return r;
	}
	return 0;
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

int quoit__recv_slow(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg,
		     const struct timespec *deadline)
{
	/* Not slow at all: MPMC's hot path. */
	if (c->ep.error == 0 && c->ep.ring->geo.kind == QUOIT_MPMC && c->held == 0 &&
	    quoit__mpmc_recv_next(c, buf, cap, ret_msg))
		return 1;
	if (deadline != QUOIT_NOWAIT)
		(void)quoit__glance_first(c);
	for (bool again = false;; again = true) {
		int r = recv_once(c, buf, cap, ret_msg);

		if (r != -EAGAIN || deadline == QUOIT_NOWAIT)
			return r;
		if (again && is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_consumer_wait(c, deadline);
		if (r != 0)
			return r;
	}
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

int quoit_recv_batch(struct quoit_consumer *c, void *buf, size_t cap, struct quoit_msg *ret_msgs,
		     unsigned n, const struct timespec *deadline)
{
	unsigned char *to = buf;
	size_t used = 0;
	unsigned k = 0;

	if (n < 1 || n > QUOIT_BATCH_MAX || ret_msgs == NULL)
		return -EINVAL;
	while (k < n) {
		uint32_t left = cap - used < UINT32_MAX ? (uint32_t)(cap - used) : UINT32_MAX;
		int r = k == 0 ? quoit_recv(c, to, left, &ret_msgs[0], deadline)
			       : recv_there(c, to + used, left, &ret_msgs[k]);

		if (r != 1) {
			if (k == 0)
				return r;
			break;
		}
		used += (ret_msgs[k].len + (size_t)7) & ~(size_t)7;
		used = used < cap ? used : cap;
		k++;
	}
	return (int)k;
}

void quoit__milestone(struct quoit_consumer *c)
{
	quoit__spsc_milestone(c);
}
