/* SPDX-License-Identifier: MIT */
/*
 * Rows of the peer table. Every endpoint owns one, and a kernel lock that goes when it goes: taking
 * them, opening and closing what they stand for, and what that means for the stream.
 */
#include <errno.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "ring/heap.h"
#include "ring/peers.h"

#define REAP_TURNS 5 /* milliseconds that an opener gives somebody who reaps */

/* ---- locks ---------------------------------------------------------------------------------- */

int quoit__lock_open(struct quoit *q, struct sync_lock *ret)
{
	if (q->seg.fd < 0) {
		*ret = (struct sync_lock){.fd = -1, .sem_id = q->geo.sem_id};
		return 0;
	}
	/* Its own open file description: OFD locks belong to that, not to the process. */
	ret->sem_id = -1;
	ret->fd = sync_lock_reopen(q->seg.fd, 1);
	return ret->fd < 0 ? ret->fd : 0;
}

void quoit__lock_close(struct sync_lock *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* ---- counters ------------------------------------------------------------------------------- */

void quoit__count_store(struct quoit__endpoint *ep)
{
	const uint64_t *from = (const uint64_t *)(const void *)&ep->slow;

	for (size_t i = 2; i < sizeof(ep->slow) / 8; i++)
		atomic_store_explicit(&ep->row->counters[i], from[i], memory_order_relaxed);
}

static void count_load(struct quoit__endpoint *ep)
{
	uint64_t *to = (uint64_t *)(void *)&ep->slow;

	for (size_t i = 2; i < sizeof(ep->slow) / 8; i++)
		to[i] = atomic_load_explicit(&ep->row->counters[i], memory_order_relaxed);
}

/* ---- open and close ------------------------------------------------------------------------- */

/* Rows that this role may take: SPSC has one for each. */
static void row_range(const struct quoit *q, enum quoit_role role, uint32_t *first, uint32_t *end)
{
	*first = 0;
	*end = q->geo.peers;
	if (q->geo.kind == QUOIT_SPSC) {
		*first = role == QUOIT_ROLE_PRODUCER ? 0 : 1;
		*end = *first + 1;
	}
}

/* The row's lock is ours: reap its former holder if that one died. */
static void take_over(struct quoit__endpoint *ep, uint32_t id)
{
	struct quoit__row *row = &ep->ring->rows[id];
	unsigned redelivered;
	bool died;

	ep->id = id;
	ep->row = row;
	if (atomic_load_explicit(&row->state, memory_order_acquire) == QUOIT__ROW_FREE)
		return;
	died = atomic_load_explicit(&row->state, memory_order_relaxed) == QUOIT__ROW_OPEN;
	redelivered = quoit__reap_row(ep->ring, id);
	count_load(ep);
	ep->slow.deaths += died;
	ep->slow.redelivered += redelivered;
	quoit__count_store(ep);
	/* The others have news: what came back, and who is gone. */
	quoit__wake(ep, &ep->ring->readable, QUOIT_ROLE_CONSUMER);
	quoit__wake(ep, &ep->ring->writable, QUOIT_ROLE_PRODUCER);
}

/* Take a row whose lock is free. Counters stay with rows, so rows that served the other side are
 * taken only when there is no other: their totals would change sides. */
static int claim_row(struct quoit__endpoint *ep)
{
	struct quoit *q = ep->ring;
	uint32_t first, end;

	row_range(q, ep->role, &first, &end);
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = first; i < end; i++) {
			uint32_t role =
				atomic_load_explicit(&q->rows[i].role, memory_order_relaxed);
			bool fits = role == QUOIT_ROLE_NONE || role == (uint32_t)ep->role;
			int r;

			if (fits != (pass == 0))
				continue;
			r = sync_lock_take(&ep->lock, quoit__lock_index(i));
			if (r == -EAGAIN)
				continue;
			if (r == 0)
				take_over(ep, i);
			return r;
		}
	}
	return q->geo.kind == QUOIT_SPSC ? -EBUSY : -ENOSPC;
}

int quoit__endpoint_open(struct quoit *q, enum quoit_role role, struct quoit__endpoint *ep)
{
	struct timespec now;
	uint32_t state;
	int r;

	if (q->readonly || !q->seg.writable)
		return -EACCES;
	/* L2 */
	state = atomic_load_explicit(&q->header->state, memory_order_acquire);
	if (state != QUOIT__READY)
		return state == QUOIT__REMOVED ? -EIDRM : -EBADMSG;
	ep->ring = q;
	ep->role = role;
	ep->wait = q->geo.wait;
	ep->sleeps_on = role == QUOIT_ROLE_PRODUCER ? &q->writable : &q->readable;
	ep->wakes = role == QUOIT_ROLE_PRODUCER ? &q->readable : &q->writable;
	r = quoit__endpoint_list_add(ep);
	if (r != 0)
		return r;
	r = claim_row(ep);
	/* A row may be locked for a moment by somebody who reaps its dead holder. */
	for (int turn = 0; turn < REAP_TURNS && (r == -EBUSY || r == -ENOSPC); turn++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		r = claim_row(ep);
	}
	if (r != 0) {
		quoit__endpoint_list_remove(ep);
		quoit__lock_close(&ep->lock);
		return r;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	/* Relaxed: filled in under the lock; OPENING tells others that nothing is held yet. */
	atomic_store_explicit(&ep->row->role, role, memory_order_relaxed);
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_OPENING, memory_order_release);
	atomic_store_explicit(&ep->row->pid, getpid(), memory_order_relaxed);
	atomic_store_explicit(&ep->row->uid, geteuid(), memory_order_relaxed);
	atomic_store_explicit(&ep->row->wait, ep->wait, memory_order_relaxed);
	atomic_store_explicit(&ep->row->sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(&ep->row->set_bit, 0, memory_order_relaxed);
	atomic_store_explicit(&ep->row->opened_ns,
			      (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
			      memory_order_relaxed);
	atomic_fetch_add_explicit(&ep->row->epoch, 1, memory_order_relaxed);
	prctl(PR_GET_NAME, ep->row->command);
	count_load(ep);
	for (size_t i = 0; i < sizeof(ep->before) / 8; i++)
		((uint64_t *)(void *)&ep->before)[i] =
			atomic_load_explicit(&ep->row->counters[i], memory_order_relaxed);
	atomic_fetch_add_explicit(&q->references, 1, memory_order_relaxed);
	return 0;
}

static bool others_present(const struct quoit__endpoint *ep)
{
	for (uint32_t i = 0; i < ep->ring->geo.peers; i++)
		if (i != ep->id && atomic_load_explicit(&ep->ring->rows[i].state,
							memory_order_acquire) != QUOIT__ROW_FREE)
			return true;
	return false;
}

/* Nothing left to read, nor lent, nor given back? */
static bool drained(const struct quoit *q)
{
	struct quoit_stats s = {.size = sizeof(s)};

	if (q->geo.kind == QUOIT_MPMC)
		return quoit__mpmc_nothing_left(q);
	return quoit_get_stats(q, &s) == 0 && s.used == 0;
}

/* Whoever comes to a ring that everybody has left begins a new stream, and waits for the first peer
 * as with a new FIFO; but a consumer first gets what is left of the old one, and its end if nobody
 * has. */
static void begin_stream(struct quoit__endpoint *ep)
{
	struct quoit__control *c = ep->ring->control;
	/* Before looking whether anybody is there: if somebody comes and goes meanwhile, this
	 * changes. */
	uint32_t produced = atomic_load_explicit(&c->produced, memory_order_acquire);
	uint32_t consumed = atomic_load_explicit(&c->consumed, memory_order_acquire);

	if (quoit__fate(consumed) != QUOIT__CLOSED || others_present(ep))
		return;
	/* Relaxed: P3 of our own opening follows. */
	if (ep->role == QUOIT_ROLE_PRODUCER)
		atomic_compare_exchange_strong_explicit(
			&c->consumed, &consumed, (consumed & ~QUOIT__STREAM_MASK) | QUOIT__NEVER,
			memory_order_relaxed, memory_order_relaxed);
	else if (quoit__fate(produced) == QUOIT__CLOSED && drained(ep->ring))
		atomic_compare_exchange_strong_explicit(
			&c->produced, &produced, (produced & ~QUOIT__STREAM_MASK) | QUOIT__NEVER,
			memory_order_relaxed, memory_order_relaxed);
}

/* The endpoint is complete: from here on its death is a death. */
void quoit__endpoint_opened(struct quoit__endpoint *ep)
{
	struct quoit__control *c = ep->ring->control;
	bool producer = ep->role == QUOIT_ROLE_PRODUCER;
	_Atomic uint32_t *word;
	uint32_t fate;

	/* Relaxed: what was told before us is not ours to hear. */
	ep->deaths_seen =
		atomic_load_explicit(producer ? &c->consumer_deaths_told : &c->producer_deaths_told,
				     memory_order_relaxed);
	begin_stream(ep);
	/* P1 */
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_OPEN, memory_order_release);
	/* P3: after OPEN, so that a death in between is told as one. */
	word = producer ? &c->produced : &c->consumed;
	fate = atomic_load_explicit(word, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(
		word, &fate,
		((fate & ~QUOIT__STREAM_MASK) + QUOIT__STREAM_MASK + 1) | QUOIT__OPENED,
		memory_order_release, memory_order_relaxed))
		;
}

void quoit__endpoint_abandon(struct quoit__endpoint *ep)
{
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_FREE, memory_order_release);
	/* Taking the row over may have taken these, to wake others. */
	quoit__pollable_drop(ep);
	sync_board_unlink(&ep->board);
	sync_lock_drop(&ep->lock, quoit__lock_index(ep->id));
	quoit__endpoint_list_remove(ep);
	quoit__lock_close(&ep->lock);
	quoit__unref(ep->ring);
}

/* An MPMC endpoint that holds no slot by its own books need not look through all of them: in a
 * large ring that takes milliseconds. */
void quoit__endpoint_close(struct quoit__endpoint *ep, bool holds)
{
	struct quoit *q = ep->ring;
	struct quoit__control *c = q->control;
	bool producer = ep->role == QUOIT_ROLE_PRODUCER;

	if (ep->forked) { /* the parent's, and off the list already */
		sync_board_unlink(&ep->board);
		quoit__unref(q);
		return;
	}
	/* Who died before we close is told as dead before the end of the stream. */
	(void)quoit__reap(q, &ep->lock, ep->id, &ep->slow);
	quoit__count_store(ep);
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_CLOSING, memory_order_release);
	if (q->geo.kind == QUOIT_MPMC && (holds || ep->error != 0))
		(void)quoit__mpmc_give_back(q, ep->id);
	if (producer)
		(void)quoit__heap_orphan(q, ep->id);
	atomic_store_explicit(&ep->row->sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(&ep->row->set_bit, 0, memory_order_relaxed);
	quoit__leave(producer ? &c->produced : &c->consumed, QUOIT__CLOSED);
	/* P1 */
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_FREE, memory_order_release);
	/* Announce in the others' name: those who run look up at their next commit, and with the
	 * wake those who sleep look now. */
	sync_announce(ep->wakes, SYNC_SPIN);
	quoit__wake(ep, ep->wakes, producer ? QUOIT_ROLE_CONSUMER : QUOIT_ROLE_PRODUCER);
	if (producer && (holds || q->units != NULL)) /* slots and units of ours are others' now */
		quoit__wake(ep, ep->sleeps_on, QUOIT_ROLE_PRODUCER);
	if (!producer) {
		/* What we had lent is for other consumers; and producers look at it on commit. */
		quoit__wake(ep, ep->sleeps_on, QUOIT_ROLE_CONSUMER);
		sync_announce(ep->sleeps_on, SYNC_SPIN);
	}
	/* Before the lock: a successor in this row binds the same address. */
	quoit__pollable_drop(ep);
	sync_board_unlink(&ep->board);
	sync_lock_drop(&ep->lock, quoit__lock_index(ep->id));
	quoit__endpoint_list_remove(ep);
	quoit__lock_close(&ep->lock);
	quoit__unref(q);
}
