/* SPDX-License-Identifier: MIT */
/* A producer's calls that are not inline, by kind of ring; and what keeps it from writing on. */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/wait.h"

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

/* Nobody wants us to look up: no last consumer that closed, none that asked for a look. */
static inline bool undisturbed(const struct quoit_producer *p, uint32_t *ret_fate)
{
	/* Relaxed: a late look is made up for by the next. */
	uint32_t fate = atomic_load_explicit(&p->ep.ring->control->consumed, memory_order_relaxed);

	*ret_fate = fate;
	return !p->ep.poked && (quoit__fate(fate) != QUOIT__CLOSED || fate == p->fate_judged);
}

/* Has the last consumer left, or the ring been removed? 0, or what to say. */
static int hung_up(struct quoit_producer *p)
{
	uint32_t fate;
	int r;

	if (undisturbed(p, &fate))
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

__attribute__((noinline)) static int send_or_wait(struct quoit_producer *p, const void *buf,
						  uint32_t len, uint32_t type,
						  const struct timespec *deadline)
{
	for (bool again = false;; again = true) {
		int r;

		p->lazy = deadline != QUOIT_NOWAIT;
		r = send_once(p, buf, len, type);
		p->lazy = false;
		if (r != -EAGAIN || deadline == QUOIT_NOWAIT)
			return r;
		if (again && quoit__is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_producer_wait(p, len, deadline);
		if (r != 0)
			return r;
	}
}

int quoit__send_slow(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
		     const struct timespec *deadline)
{
	uint32_t fate;

	/* Not slow at all: MPMC's hot path. */
	if (p->ep.error == 0 && p->ep.ring->geo.kind == QUOIT_MPMC && undisturbed(p, &fate) &&
	    quoit__mpmc_send_next(p, buf, len, type))
		return 0;
	return send_or_wait(p, buf, len, type, deadline);
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
		if (again && quoit__is_over(deadline))
			return -ETIMEDOUT;
		r = quoit_producer_wait(p, msgs[0].len, deadline);
		if (r != 0)
			return r;
	}
}
