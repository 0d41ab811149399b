/* SPDX-License-Identifier: MIT */
/*
 * Life and death. Every endpoint owns a row of the peer table and a kernel lock that goes when it
 * goes. Whoever notices a row in use whose lock is free takes the lock, gives back what the dead
 * one held, and frees the row: under no lock that a second death could orphan, and from the start
 * again if the reaper dies too.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "ring/guard.h"
#include "ring/heap.h"

#define REAP_TURNS 5 /* milliseconds that an opener gives somebody who reaps */

/* ---- fork: a child must neither use its parent's endpoints nor keep their locks ---------------
 */

static pthread_mutex_t all_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct quoit__endpoint *all;
/* Held, beside the mutex, while the list changes, and by the SIGBUS handler, which may take no
 * mutex: with all signals blocked, and for a few instructions that touch no shared memory. */
static atomic_flag all_busy = ATOMIC_FLAG_INIT;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static struct quoit_producer *producer_of(struct quoit__endpoint *e)
{
	return (struct quoit_producer *)(void *)((char *)e - offsetof(struct quoit_producer, ep));
}

static struct quoit_consumer *consumer_of(struct quoit__endpoint *e)
{
	return (struct quoit_consumer *)(void *)((char *)e - offsetof(struct quoit_consumer, ep));
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&all_mutex);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&all_mutex);
}

static void fork_child(void)
{
	for (struct quoit__endpoint *e = all; e != NULL; e = e->next) {
		e->forked = true;
		e->error = -EBADF;
		/* Our copy of the open file description would keep the parent's lock after its
		 * death. */
		if (e->lock.fd >= 0)
			close(e->lock.fd);
		e->lock.fd = -1;
		sync_pollable_free(e->pollable);
		e->pollable = NULL;
		if (e->role == QUOIT_ROLE_PRODUCER)
			quoit__producer_poison(producer_of(e));
		else
			quoit__consumer_poison(consumer_of(e));
	}
	all = NULL;
	atomic_flag_clear_explicit(&all_busy, memory_order_relaxed); /* of another thread, gone */
	pthread_mutex_unlock(&all_mutex);
}

static void fork_register(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

static void all_take(sigset_t *ret_mask)
{
	sigset_t mask;

	sigfillset(&mask);
	pthread_sigmask(SIG_BLOCK, &mask, ret_mask);
	while (atomic_flag_test_and_set_explicit(&all_busy, memory_order_acquire))
		;
}

static void all_drop(const sigset_t *mask)
{
	atomic_flag_clear_explicit(&all_busy, memory_order_release);
	pthread_sigmask(SIG_SETMASK, mask, NULL);
}

/*
 * Called before zeros take the place of the mapping. Their threads may be anywhere in a call; the
 * mapping stays, so whatever they make of half of this is harmless. A consumer takes no zeros for a
 * record from now on (shift), and does not get over the one it is copying (position): the copy may
 * be torn. A producer does not commit what it is filling; its next commit goes into zeros, finds a
 * sleeper announced there, and with that the state of the ring, as any other idle endpoint does.
 */
void quoit__endpoints_lost(const unsigned char *base)
{
	sigset_t mask;

	all_take(&mask);
	for (struct quoit__endpoint *e = all; e != NULL; e = e->next) {
		if (e->ring->seg.base != base || e->error != 0)
			continue;
		e->error = -EBADMSG;
		if (e->role == QUOIT_ROLE_PRODUCER) {
			producer_of(e)->hot.reserved = 0;
		} else {
			consumer_of(e)->hot.shift = 63;
			consumer_of(e)->hot.position ^= 8;
		}
	}
	all_drop(&mask);
}

/* Under the same mutex as the opening of its lock's description: a fork in between would leave the
 * child with a copy of it. */
static int list_add(struct quoit__endpoint *e)
{
	sigset_t mask;
	int r;

	pthread_once(&fork_once, fork_register);
	pthread_mutex_lock(&all_mutex);
	r = quoit__lock_open(e->ring, &e->lock);
	if (r != 0) {
		pthread_mutex_unlock(&all_mutex);
		return r;
	}
	e->previous = NULL;
	e->next = all;
	all_take(&mask);
	if (all != NULL)
		all->previous = e;
	all = e;
	all_drop(&mask);
	pthread_mutex_unlock(&all_mutex);
	return 0;
}

static void list_remove(struct quoit__endpoint *e)
{
	sigset_t mask;

	pthread_mutex_lock(&all_mutex);
	all_take(&mask);
	if (e->previous != NULL)
		e->previous->next = e->next;
	else
		all = e->next;
	if (e->next != NULL)
		e->next->previous = e->previous;
	all_drop(&mask);
	pthread_mutex_unlock(&all_mutex);
}

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

/* Publish the counters that are not on the hot path. */
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

/* ---- reaping -------------------------------------------------------------------------------- */

bool quoit__role_present(const struct quoit *q, enum quoit_role role)
{
	for (uint32_t i = 0; i < q->geo.peers; i++)
		/* P1: pairs with the release of a row: what its holder did before is visible. */
		if (atomic_load_explicit(&q->rows[i].state, memory_order_acquire) !=
			    QUOIT__ROW_FREE &&
		    atomic_load_explicit(&q->rows[i].role, memory_order_relaxed) == (uint32_t)role)
			return true;
	return false;
}

/* Note how somebody left. P3 */
static void leave(_Atomic uint32_t *word, enum quoit__stream how)
{
	uint32_t fate = atomic_load_explicit(word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(word, &fate,
						      (fate & ~QUOIT__STREAM_MASK) | (uint32_t)how,
						      memory_order_release, memory_order_relaxed))
		;
}

/* The caller holds the row's lock and the row is in use: its holder is dead. Idempotent: the row is
 * freed last. Returns how many records went back to be delivered again. */
static unsigned reap_row(struct quoit *q, uint32_t id)
{
	struct quoit__row *row = &q->rows[id];
	struct quoit__control *c = q->control;
	uint32_t state = atomic_load_explicit(&row->state, memory_order_acquire);
	bool producer =
		atomic_load_explicit(&row->role, memory_order_relaxed) == QUOIT_ROLE_PRODUCER;
	unsigned redelivered = 0;

	if (q->geo.kind == QUOIT_MPMC && state != QUOIT__ROW_OPENING)
		redelivered = quoit__mpmc_give_back(q, id);
	/* After its slots: nothing can refer to its units any more that does not already. */
	if (producer && state != QUOIT__ROW_OPENING)
		(void)quoit__heap_orphan(q, id);
	atomic_store_explicit(&row->sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(&row->set_bit, 0, memory_order_relaxed);
	if (state == QUOIT__ROW_OPEN) {
		/* Relaxed: published by P1 below and P2 after it. A reaper that dies between these
		 * and FREE makes its successor count the death twice: told twice is better than
		 * never. */
		leave(producer ? &c->produced : &c->consumed, QUOIT__DIED);
		/* P2: the death; pairs with the idle checks. */
		atomic_fetch_add_explicit(producer ? &c->producer_deaths : &c->consumer_deaths, 1,
					  memory_order_release);
	} else if (state == QUOIT__ROW_CLOSING) {
		/* It had closed but for giving the row back. */
		leave(producer ? &c->produced : &c->consumed, QUOIT__CLOSED);
	}
	/* P1 */
	atomic_store_explicit(&row->state, QUOIT__ROW_FREE, memory_order_release);
	return redelivered;
}

unsigned quoit__reap(struct quoit *q, const struct sync_lock *lock, uint32_t self,
		     struct quoit_counters *ret_counters)
{
	unsigned reaped = 0;

	for (uint32_t i = 0; i < q->geo.peers; i++) {
		struct quoit__row *row = &q->rows[i];

		if (i == self ||
		    atomic_load_explicit(&row->state, memory_order_relaxed) == QUOIT__ROW_FREE ||
		    sync_lock_held(lock, quoit__lock_index(i)) != 0 ||
		    sync_lock_take(lock, quoit__lock_index(i)) != 0)
			continue;
		/* Under the lock: it may have been reaped since. */
		if (atomic_load_explicit(&row->state, memory_order_acquire) != QUOIT__ROW_FREE) {
			uint32_t state = atomic_load_explicit(&row->state, memory_order_relaxed);

			ret_counters->redelivered += reap_row(q, i);
			ret_counters->deaths += state == QUOIT__ROW_OPEN;
			reaped++;
		}
		sync_lock_drop(lock, quoit__lock_index(i));
	}
	return reaped;
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
	redelivered = reap_row(ep->ring, id);
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
	r = list_add(ep);
	if (r != 0)
		return r;
	r = claim_row(ep);
	/* A row may be locked for a moment by somebody who reaps its dead holder. */
	for (int turn = 0; turn < REAP_TURNS && (r == -EBUSY || r == -ENOSPC); turn++) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		r = claim_row(ep);
	}
	if (r != 0) {
		list_remove(ep);
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
	sync_lock_drop(&ep->lock, quoit__lock_index(ep->id));
	list_remove(ep);
	quoit__lock_close(&ep->lock);
	quoit__unref(ep->ring);
}

void quoit__endpoint_close(struct quoit__endpoint *ep)
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
	if (q->geo.kind == QUOIT_MPMC)
		(void)quoit__mpmc_give_back(q, ep->id);
	if (producer)
		(void)quoit__heap_orphan(q, ep->id);
	atomic_store_explicit(&ep->row->sleeping, 0, memory_order_relaxed);
	atomic_store_explicit(&ep->row->set_bit, 0, memory_order_relaxed);
	leave(producer ? &c->produced : &c->consumed, QUOIT__CLOSED);
	/* P1 */
	atomic_store_explicit(&ep->row->state, QUOIT__ROW_FREE, memory_order_release);
	/* Announce in the others' name: those who run look up at their next commit, and with the
	 * wake those who sleep look now. */
	sync_announce(ep->wakes, SYNC_SPIN);
	quoit__wake(ep, ep->wakes, producer ? QUOIT_ROLE_CONSUMER : QUOIT_ROLE_PRODUCER);
	if (producer && q->units != NULL) /* our units are others' now */
		quoit__wake(ep, ep->sleeps_on, QUOIT_ROLE_PRODUCER);
	if (!producer) {
		/* What we had lent is for other consumers; and producers look at it on commit. */
		quoit__wake(ep, ep->sleeps_on, QUOIT_ROLE_CONSUMER);
		sync_announce(ep->sleeps_on, SYNC_SPIN);
	}
	/* Before the lock: a successor in this row binds the same address. */
	sync_pollable_free(ep->pollable);
	ep->pollable = NULL;
	sync_board_unlink(&ep->board);
	sync_lock_drop(&ep->lock, quoit__lock_index(ep->id));
	list_remove(ep);
	quoit__lock_close(&ep->lock);
	quoit__unref(q);
}
