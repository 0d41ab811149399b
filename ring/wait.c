/* SPDX-License-Identifier: MIT */
/*
 * Waiting for records and for room: look, spin a little, announce, look again, sleep. The
 * eventcount is sync's; what to look at is ours.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include <quoit/pollset.h>

#include "ring/heap.h"
#include "ring/peers.h"
#include "ring/wait.h"
#include "sync/pause.h"

#define SPIN_MIN_NS 1000
#define SPIN_MAX_NS 50000
#define PATIENCE_NS 4000 /* what lets a backlog form */
#define BACKLOG     32   /* records that made it worth while, or so many bytes */
#define BACKLOG_B   16384
#define PROBE_LAST  16384
#define GLANCES     16
#define EAGER_EVERY 4 /* bursts of glances, before room for one record will do */

const struct timespec quoit_nowait = {0, 0};

int64_t quoit__now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool quoit__fence_needed(void)
{
	return !sync_membarrier_register();
}

struct timespec quoit_deadline_ms(uint32_t ms)
{
	int64_t ns = quoit__now_ns() + (int64_t)ms * 1000000;

	return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

bool quoit__is_over(const struct timespec *deadline)
{
	struct timespec now;

	if (deadline == NULL)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > deadline->tv_sec ||
	       (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* Nobody else's number may overflow here. */
int64_t quoit__end_of(const struct timespec *deadline)
{
	if (deadline == NULL || deadline->tv_sec >= INT64_MAX / 1000000000 - 1)
		return INT64_MAX;
	return deadline->tv_sec < 0 ? 0
				    : (int64_t)deadline->tv_sec * 1000000000 + deadline->tv_nsec;
}

static bool is_nowait(const struct timespec *deadline)
{
	return deadline != NULL && deadline->tv_sec == 0 && deadline->tv_nsec == 0;
}

/* ---- the wait loop -------------------------------------------------------------------------- */

int quoit__look_readable(void *endpoint, uint32_t len, bool eager)
{
	struct quoit_consumer *c = endpoint;
	struct quoit_msg msg;
	int r;

	(void)len;
	(void)eager;
	if (c->ep.error)
		return c->ep.error;
	if (c->ep.ring->geo.kind == QUOIT_SPSC) {
		r = quoit_peek(c, &msg);
	} else { /* peek would take a loan */
		r = quoit__mpmc_ready(c) ? 0 : quoit__consumer_idle(c);
		r = r == -EINPROGRESS ? 0 : r;
	}
	return r >= 0 ? 0 : r;
}

int quoit__look_writable(void *endpoint, uint32_t len, bool eager)
{
	struct quoit_producer *p = endpoint;
	void *payload;
	int r;

	if (len == QUOIT_POLLSET_NO_ROOM)
		return p->ep.error ? p->ep.error : quoit__producer_idle(p);
	if (quoit__heap_wanted(p->ep.ring, len) && p->ep.error == 0) {
		/* Room for the payload, then as for its descriptor. */
		if (!quoit__heap_room(p, len))
			return quoit__producer_idle(p);
		len = sizeof(struct quoit__heap_record);
		eager = true;
	}
	if (p->ep.ring->geo.kind == QUOIT_SPSC) {
		uint32_t reserved = p->hot.reserved;
		uint64_t position = p->hot.position;

		p->lazy = !eager;
		r = quoit_reserve(p, len, &payload);
		p->lazy = false;
		/* Padding took its place, or it stays open. */
		p->hot.reserved = p->hot.position == position ? reserved : 0;
		return r;
	}
	if (quoit__fate(atomic_load_explicit(&p->ep.ring->control->consumed,
					     memory_order_relaxed)) == QUOIT__CLOSED) {
		r = quoit__producer_idle(p);
		if (r != -EAGAIN)
			return r;
	}
	if (len > p->ep.ring->geo.max_record)
		return -EMSGSIZE;
	/* Much room further on is of no use behind a slot that is not ours to pass. */
	if (!eager)
		return quoit__mpmc_much_room(p) && quoit__mpmc_room(p) ? 0 : -EAGAIN;
	return quoit__mpmc_room(p) ? 0 : quoit__producer_idle(p);
}

/* What has been handled since the last wait, and is forgotten now: a backlog? */
static bool was_backlog(struct quoit__endpoint *ep, const void *endpoint)
{
	bool producer = ep->role == QUOIT_ROLE_PRODUCER;
	const struct quoit_producer *p = endpoint;
	const struct quoit_consumer *c = endpoint;
	uint64_t records = producer ? p->hot.records : c->hot.records;
	uint64_t bytes = producer ? p->hot.bytes : c->hot.bytes;
	bool was = records - ep->records_at >= BACKLOG || bytes - ep->bytes_at >= BACKLOG_B;

	ep->records_at = records;
	ep->bytes_at = bytes;
	return was;
}

/*
 * Two sides that look as fast as they can fall into step: one line transfer for each record.
 * Whoever found nothing and looks away for four microseconds finds many records the next time, and
 * both get faster. In a ping-pong, or when traffic is sparse, it finds a few, and was late for
 * them. So try it now and then, and keep to it for as long as such a backlog forms as only a
 * producer leaves that sends as fast as it can: 8 million records a second, or 4 GB.
 */
static void let_backlog_form(struct quoit__endpoint *ep, const void *endpoint)
{
	bool pays = was_backlog(ep, endpoint);
	int64_t until;

	if (ep->patient && !pays) {
		ep->patient = false;
		ep->probe = ep->probe_next;
		ep->probe_next = ep->probe_next < PROBE_LAST ? ep->probe_next * 2 : PROBE_LAST;
	} else if (ep->patient) {
		ep->probe_next = QUOIT__PROBE_FIRST;
	} else if (ep->probe-- == 0) {
		ep->patient = true;
	}
	if (!ep->patient)
		return;
	until = quoit__now_ns() + PATIENCE_NS;
	do {
		for (int i = 0; i < 4; i++)
			sync_pause();
	} while (quoit__now_ns() < until);
}

/* The cheapest look: one load of the word that will change. It may miss some news; look_at() does
 * not. */
static bool glance(const struct quoit__endpoint *ep, void *endpoint)
{
	struct quoit_msg msg;

	if (ep->role == QUOIT_ROLE_PRODUCER)
		return quoit__room_moved(endpoint);
	return ep->ring->geo.kind == QUOIT_SPSC ? quoit__look(endpoint, &msg) != 0
						: quoit__mpmc_glance(endpoint);
}

/*
 * For as long as the other side of a ping-pong takes to answer. The books of this wait are kept
 * before the answer is there, not after it, and an SPSC ring is asked for one word and nothing
 * else: what is done between its coming and our return is part of the round trip.
 */
static bool glances(struct quoit_consumer *c)
{
	struct quoit__endpoint *ep = &c->ep;
	const struct quoit__consumer_hot *h = &c->hot;
	uint64_t tag = quoit__tag(h->position, h->shift);
	const uint64_t *word = (const uint64_t *)(const void *)(h->data + (h->position & h->mask));
	bool spsc = ep->ring->geo.kind == QUOIT_SPSC;

	if (glance(ep, c))
		return true;
	(void)was_backlog(ep, c);
	ep->probe--;
	for (int i = 1; i < GLANCES; i++) {
		sync_pause();
		if (spsc ? ((__atomic_load_n(word, __ATOMIC_RELAXED) ^ tag) & QUOIT__TAG) == 0
			 : quoit__mpmc_glance(c))
			return true;
	}
	ep->probe++; /* the wait goes on, and is counted there */
	return false;
}

/* Neither glances nor patience while the producer may want memory back. */
static bool may_hold_back(const struct quoit_consumer *c)
{
	return c->ep.ring->geo.kind != QUOIT_SPSC ||
	       c->hot.position - c->published < c->ep.ring->geo.capacity / 8;
}

/*
 * Before anything else that an empty ring asks for. While patience pays off, or is to be tried:
 * that, at once, for the long way round takes so long that the next record comes meanwhile, and
 * both sides stay in step. Else a few glances: in a ping-pong the answer comes within them, and the
 * way round by peers, counters and clocks costs more than the wait. True: look again.
 */
bool quoit__glance_first(struct quoit_consumer *c)
{
	struct quoit__endpoint *ep = &c->ep;

	if (ep->error != 0 || !may_hold_back(c))
		return false;
	if (ep->patient || ep->probe == 0) {
		let_backlog_form(ep, c);
		return true;
	}
	return glances(c);
}

/* Spin for as long as spinning has paid off lately. */
static int spin(struct quoit__endpoint *ep, quoit__look_fn *look_at, void *endpoint, uint32_t len,
		int64_t until)
{
	for (unsigned looks = 1;; looks++) {
		int r;

		for (int i = 0; i < GLANCES && !glance(ep, endpoint); i++)
			sync_pause();
		r = look_at(endpoint, len, looks % EAGER_EVERY == 0);
		if (r != -EAGAIN)
			return r;
		if (ep->wait == QUOIT_WAIT_YIELD)
			sched_yield();
		if (quoit__now_ns() >= until)
			return -EAGAIN;
	}
}

static int sleep_once(struct quoit__endpoint *ep, quoit__look_fn *look_at, void *endpoint,
		      uint32_t len, int64_t until)
{
	enum sync_backend backend = (enum sync_backend)ep->wait;
	int64_t now, nap = SYNC_NAP_NS;
	uint32_t seq;
	int r;

	if (ep->wait == QUOIT_WAIT_EVENTFD)
		/* S4: before the announcement; wakers that see that one see this. */
		atomic_store_explicit(&ep->row->sleeping, 1, memory_order_release);
	seq = sync_announce(ep->sleeps_on, backend); /* E2 */
	r = look_at(endpoint, len, true);
	if (r != -EAGAIN)
		return r;
	now = quoit__now_ns();
	if (until - now < nap)
		nap = until - now;
	if (nap <= 0)
		return -EAGAIN;
	ep->slow.sleeps++;
	quoit__count_store(ep);
	r = sync_sleep(ep->sleeps_on, backend, seq, nap, ep->pollable);
	/* The semaphores are gone, maybe the ring is not: go on in short naps. */
	if (r == -EIDRM && nanosleep(&(struct timespec){.tv_nsec = SYNC_BLIND_NAP_NS}, NULL) != 0)
		r = -EINTR;
	if (r == -ETIMEDOUT && nap == SYNC_NAP_NS)
		ep->poked = true; /* nobody woke us: see whether they live */
	return r == -EINTR ? -EINTR : -EAGAIN;
}

static int wait_loop(struct quoit__endpoint *ep, quoit__look_fn *look_at, void *endpoint,
		     uint32_t len, const struct timespec *deadline)
{
	int64_t end;
	bool slept = false;
	int r;

	if (ep->patient && !is_nowait(deadline))
		let_backlog_form(ep, endpoint); /* before a single record puts us into step */
	r = look_at(endpoint, len, is_nowait(deadline));
	if (r != -EAGAIN || is_nowait(deadline))
		return r;
	if (deadline != NULL && (deadline->tv_nsec < 0 || deadline->tv_nsec > 999999999))
		return -EINVAL;
	end = quoit__end_of(deadline);
	if (ep->wait == QUOIT_WAIT_EVENTFD) {
		r = quoit__pollable_make(ep);
		if (r != 0)
			return r;
	}
	let_backlog_form(ep, endpoint);
	for (;;) {
		bool sleeps = ep->wait != QUOIT_WAIT_SPIN && ep->wait != QUOIT_WAIT_YIELD;
		int64_t now = quoit__now_ns();
		int64_t until = now + (sleeps ? ep->spin_ns : SYNC_NAP_NS);

		/* Who did not run at its deadline has not looked since long before it. */
		if (now >= end) {
			r = look_at(endpoint, len, true);
			r = r == -EAGAIN ? -ETIMEDOUT : r;
			break;
		}
		r = spin(ep, look_at, endpoint, len, until < end ? until : end);
		if (r != -EAGAIN)
			break;
		if (!sleeps)
			continue;
		slept = true;
		r = sleep_once(ep, look_at, endpoint, len, end);
		if (ep->wait == QUOIT_WAIT_EVENTFD) {
			atomic_store_explicit(&ep->row->sleeping, 0, memory_order_relaxed);
			sync_pollable_drain(ep->pollable);
		}
		if (r != -EAGAIN)
			break;
		ep->spin_ns =
			SPIN_MIN_NS; /* just woken: look, and sleep again if it was for nothing */
	}
	/* Spinning that ended well is worth more of it; sleeping means the other side is slow. */
	if (slept)
		ep->spin_ns = ep->spin_ns / 2 > SPIN_MIN_NS ? ep->spin_ns / 2 : SPIN_MIN_NS;
	else if (r == 0)
		ep->spin_ns = ep->spin_ns * 2 < SPIN_MAX_NS ? ep->spin_ns * 2 : SPIN_MAX_NS;
	return r;
}

int quoit_consumer_wait(struct quoit_consumer *c, const struct timespec *deadline)
{
	int r = c->ep.error;

	if (r != 0)
		return r;
	/* The second glance: the word may be of the heap, or padding: for the long way then. */
	if (c->ep.ring->geo.kind == QUOIT_SPSC && !is_nowait(deadline) && !c->ep.patient &&
	    c->ep.probe != 0 && may_hold_back(c) && glances(c) && glance(&c->ep, c))
		return 0;
	c->ep.looks = true;
	r = wait_loop(&c->ep, quoit__look_readable, c, 0, deadline);
	c->ep.looks = false;
	return r == -EOWNERDEAD ? 0 : r; /* for peek to tell */
}

int quoit_producer_wait(struct quoit_producer *p, uint32_t len, const struct timespec *deadline)
{
	return p->ep.error ? p->ep.error
			   : wait_loop(&p->ep, quoit__look_writable, p, len, deadline);
}

static bool drained(struct quoit_producer *p)
{
	return p->ep.ring->geo.kind == QUOIT_SPSC ? quoit__spsc_drained(p)
						  : quoit__mpmc_nothing_left(p->ep.ring);
}

static int look_drained(void *endpoint, uint32_t len, bool eager)
{
	struct quoit_producer *p = endpoint;

	(void)len;
	(void)eager;
	/* A ring without its bytes looks drained. */
	return drained(p) && quoit__ring_error(&p->ep) != -EBADMSG ? 0 : quoit__producer_idle(p);
}

int quoit_drain(struct quoit_producer *p, const struct timespec *deadline)
{
	return p->ep.error ? p->ep.error : wait_loop(&p->ep, look_drained, p, 0, deadline);
}

/* ---- choosing how to wait -------------------------------------------------------------------- */

int quoit__set_wait(struct quoit__endpoint *ep, enum quoit_wait wait)
{
	if (ep->error)
		return ep->error;
	if (wait == QUOIT_WAIT_DEFAULT)
		wait = ep->ring->geo.wait;
	if (wait < QUOIT_WAIT_SPIN || wait > QUOIT_WAIT_EVENTFD)
		return -EINVAL;
	if (wait == QUOIT_WAIT_SYSVSEM && ep->ring->geo.sem_id < 0)
		return -ENOTSUP;
	if (wait == QUOIT_WAIT_EVENTFD) {
		int r = quoit__pollable_make(ep);

		if (r != 0)
			return r;
	}
	ep->wait = wait;
	atomic_store_explicit(&ep->row->wait, wait, memory_order_relaxed);
	return 0;
}

int quoit_producer_set_wait(struct quoit_producer *p, enum quoit_wait wait)
{
	return quoit__set_wait(&p->ep, wait);
}

int quoit_consumer_set_wait(struct quoit_consumer *c, enum quoit_wait wait)
{
	return quoit__set_wait(&c->ep, wait);
}
