/* SPDX-License-Identifier: MIT */
/*
 * Waiting for records and for room: look, spin a little, announce, look again, sleep; and what an
 * endpoint that finds nothing learns about its peers. The eventcount is sync's; what to look at is
 * ours.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include <quoit/pollset.h>

#include "ring/heap.h"

#define SPIN_MIN_NS 1000
#define SPIN_MAX_NS 50000
#define PATIENCE_NS 2000 /* what lets a backlog form */
#define BACKLOG     4    /* records that made it worth while */
#define PROBE_LAST  16384
#define GLANCES     16
#define EAGER_EVERY 4        /* bursts of glances, before room for one record will do */
#define CHECK_NS    25000000 /* between two looks at the peers' locks */

const struct timespec quoit_nowait = {0, 0};

static inline void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

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

static bool is_nowait(const struct timespec *deadline)
{
	return deadline != NULL && deadline->tv_sec == 0 && deadline->tv_nsec == 0;
}

/* ---- what an idle endpoint learns ----------------------------------------------------------- */

/* Looks at the peers' locks now and then; true if somebody was found dead. */
static bool check_peers(struct quoit__endpoint *ep, int64_t now)
{
	if (!ep->poked && now - ep->checked_ns < CHECK_NS)
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

/* 0, -EIDRM, or -EBADMSG: what a ring in use cannot say. It was cut off, or has holes. */
static int ring_error(const struct quoit__endpoint *ep)
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

/* Tell of one death that this handle has not heard of. */
static bool hear_death(struct quoit__endpoint *ep, _Atomic uint64_t *deaths, _Atomic uint64_t *told)
{
	/* P2: pairs with reaping. */
	uint64_t now = atomic_load_explicit(deaths, memory_order_acquire);
	uint64_t was;

	if (now == ep->deaths_seen)
		return false;
	ep->deaths_seen++;
	/* Relaxed: only says which deaths later comers need not hear. */
	was = atomic_load_explicit(told, memory_order_relaxed);
	while ((int64_t)(ep->deaths_seen - was) > 0 &&
	       !atomic_compare_exchange_weak_explicit(told, &was, ep->deaths_seen,
						      memory_order_relaxed, memory_order_relaxed))
		;
	return true;
}

static int look(struct quoit_consumer *c, struct quoit_msg *msg)
{
	if (c->ep.ring->geo.kind == QUOIT_SPSC)
		return quoit__spsc_look(c, msg);
	return quoit__mpmc_ready(c) ? 1 : -EAGAIN;
}

/* Is the stream over? Everybody else is looked at first: a dead consumer may have a record lent,
 * and a dead producer is no end. Then the ring, the deaths, and `produced`, which would have
 * changed if anybody had come and gone meanwhile. 0, or -EINPROGRESS: look at the ring again. */
static int stream_end(struct quoit_consumer *c, uint32_t produced)
{
	struct quoit__control *ctl = c->ep.ring->control;
	struct quoit_msg msg;

	c->ep.poked = true;
	if (check_peers(&c->ep, quoit__now_ns()) || look(c, &msg) != -EAGAIN ||
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
	int r = ring_error(&c->ep);

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
		if (look(c, &msg) != -EAGAIN)
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
	int r = ring_error(ep);

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
	ep->deaths_seen = atomic_load_explicit(&ctl->consumer_deaths, memory_order_relaxed);
	return -EOWNERDEAD;
}

/* ---- the wait loop -------------------------------------------------------------------------- */

/* One look: 0 something is there (or an error will say so on the call that follows), -EAGAIN not,
 * other negative: the reason to give up. Not eager: room for one record is not worth touching the
 * lines that the readers are at work on. */
typedef int look_fn(void *endpoint, uint32_t len, bool eager);

static int look_readable(void *endpoint, uint32_t len, bool eager)
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

static int look_writable(void *endpoint, uint32_t len, bool eager)
{
	struct quoit_producer *p = endpoint;
	void *payload;
	int r;

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

static uint64_t records_of(const struct quoit__endpoint *ep, const void *endpoint)
{
	return ep->role == QUOIT_ROLE_PRODUCER
		       ? ((const struct quoit_producer *)endpoint)->hot.records
		       : ((const struct quoit_consumer *)endpoint)->hot.records;
}

/*
 * Two sides that look as fast as they can fall into step: one line transfer for each record.
 * Whoever found nothing and looks away for two microseconds finds many records the next time, and
 * both get faster. In a ping-pong, or when traffic is sparse, it finds one, and was late for it. So
 * try it now and then, and keep to it for as long as a backlog forms.
 */
static void let_backlog_form(struct quoit__endpoint *ep, const void *endpoint)
{
	uint64_t records = records_of(ep, endpoint), streak = records - ep->records_at;
	int64_t until;

	ep->records_at = records;
	if (ep->patient && streak < BACKLOG) {
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
			cpu_pause();
	} while (quoit__now_ns() < until);
}

/* The cheapest look: one load of the word that will change. It may miss some news; look_at() does
 * not. */
static bool glance(const struct quoit__endpoint *ep, void *endpoint)
{
	struct quoit_msg msg;

	if (ep->role == QUOIT_ROLE_PRODUCER)
		return ep->ring->geo.kind == QUOIT_SPSC ? quoit__spsc_head_moved(endpoint)
							: quoit__mpmc_much_room(endpoint);
	return ep->ring->geo.kind == QUOIT_SPSC ? quoit__look(endpoint, &msg) != 0
						: quoit__mpmc_glance(endpoint);
}

/*
 * Before anything else that an empty ring asks for: a few glances. In a ping-pong the answer comes
 * within them, and the way round by peers, counters and clocks costs more than the wait. Not while
 * patience pays off, or is to be tried; nor while the producer may want memory back. True: look
 * again.
 */
bool quoit__glance_first(struct quoit_consumer *c)
{
	struct quoit__endpoint *ep = &c->ep;

	if (ep->error != 0 || ep->patient || ep->probe == 0 ||
	    (ep->ring->geo.kind == QUOIT_SPSC &&
	     c->hot.position - c->published >= ep->ring->geo.capacity / 8))
		return false;
	for (int i = 0; i < GLANCES; i++) {
		if (glance(ep, c)) {
			if (i != 0)
				let_backlog_form(ep, c); /* counts the wait */
			return true;
		}
		cpu_pause();
	}
	return false;
}

/* Spin for as long as spinning has paid off lately. */
static int spin(struct quoit__endpoint *ep, look_fn *look_at, void *endpoint, uint32_t len,
		int64_t until)
{
	for (unsigned looks = 1;; looks++) {
		int r;

		for (int i = 0; i < GLANCES && !glance(ep, endpoint); i++)
			cpu_pause();
		r = look_at(endpoint, len, looks % EAGER_EVERY == 0);
		if (r != -EAGAIN)
			return r;
		if (ep->wait == QUOIT_WAIT_YIELD)
			sched_yield();
		if (quoit__now_ns() >= until)
			return -EAGAIN;
	}
}

static int pollable_make(struct quoit__endpoint *ep)
{
	int r;

	if (ep->pollable_own)
		return 0;
	sync_pollable_free(ep->pollable);
	ep->pollable = NULL;
	r = sync_pollable_new(ep->ring->uuid, ep->id, ep->ring->geo.peers, &ep->pollable);
	ep->pollable_own = r == 0;
	return r;
}

static int sleep_once(struct quoit__endpoint *ep, look_fn *look_at, void *endpoint, uint32_t len,
		      int64_t until)
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
	if (r == -EIDRM) /* the semaphores are gone, maybe the ring is not: go on in short naps */
		nanosleep(&(struct timespec){.tv_nsec = SYNC_BLIND_NAP_NS}, NULL);
	if (r == -ETIMEDOUT && nap == SYNC_NAP_NS)
		ep->poked = true; /* nobody woke us: see whether they live */
	return r == -EINTR ? -EINTR : -EAGAIN;
}

static int wait_loop(struct quoit__endpoint *ep, look_fn *look_at, void *endpoint, uint32_t len,
		     const struct timespec *deadline)
{
	int64_t end = INT64_MAX;
	bool slept = false;
	int r = look_at(endpoint, len, is_nowait(deadline));

	if (r != -EAGAIN || is_nowait(deadline))
		return r;
	if (deadline != NULL && (deadline->tv_nsec < 0 || deadline->tv_nsec > 999999999))
		return -EINVAL;
	if (deadline != NULL && deadline->tv_sec < INT64_MAX / 1000000000 - 1)
		end = (int64_t)deadline->tv_sec * 1000000000 + deadline->tv_nsec;
	if (ep->wait == QUOIT_WAIT_EVENTFD) {
		r = pollable_make(ep);
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
	int r = c->ep.error ? c->ep.error : wait_loop(&c->ep, look_readable, c, 0, deadline);

	if (r == -EOWNERDEAD) { /* for peek to tell */
		c->ep.deaths_seen--;
		r = 0;
	}
	return r;
}

int quoit_producer_wait(struct quoit_producer *p, uint32_t len, const struct timespec *deadline)
{
	return p->ep.error ? p->ep.error : wait_loop(&p->ep, look_writable, p, len, deadline);
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
	return drained(p) && ring_error(&p->ep) != -EBADMSG ? 0 : quoit__producer_idle(p);
}

int quoit_drain(struct quoit_producer *p, const struct timespec *deadline)
{
	return p->ep.error ? p->ep.error : wait_loop(&p->ep, look_drained, p, 0, deadline);
}

/* ---- looks for sets -------------------------------------------------------------------------- */

int quoit__consumer_look(struct quoit_consumer *c)
{
	int r = look_readable(c, 0, true);

	if (r == -EOWNERDEAD)
		c->ep.deaths_seen--;
	return r == -EAGAIN ? -EAGAIN : 0;
}

int quoit__producer_look(struct quoit_producer *p, uint32_t room)
{
	int r = p->ep.error;

	if (r == 0 && room == QUOIT_POLLSET_NO_ROOM)
		r = quoit__producer_idle(p);
	else if (r == 0)
		r = look_writable(p, room, true);
	if (r == -EOWNERDEAD)
		p->ep.deaths_seen--;
	return r == -EAGAIN ? -EAGAIN : 0;
}

bool quoit__consumer_glance(struct quoit_consumer *c)
{
	struct quoit_msg msg;

	return c->ep.error != 0 || look(c, &msg) != -EAGAIN;
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
	return glance(&p->ep, p);
}

/* ---- choosing how to wait, and epoll --------------------------------------------------------- */

static int set_wait(struct quoit__endpoint *ep, enum quoit_wait wait)
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
		int r = pollable_make(ep);

		if (r != 0)
			return r;
	}
	ep->wait = wait;
	atomic_store_explicit(&ep->row->wait, wait, memory_order_relaxed);
	return 0;
}

int quoit_producer_set_wait(struct quoit_producer *p, enum quoit_wait wait)
{
	return set_wait(&p->ep, wait);
}

int quoit_consumer_set_wait(struct quoit_consumer *c, enum quoit_wait wait)
{
	return set_wait(&c->ep, wait);
}

static int event_fd(struct quoit__endpoint *ep)
{
	int r = set_wait(ep, QUOIT_WAIT_EVENTFD);

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

static int arm(struct quoit__endpoint *ep, look_fn *look_at, void *endpoint, uint32_t len)
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
	ep->poked = quoit__now_ns() - ep->checked_ns > CHECK_NS;
	r = look_at(endpoint, len, true);
	if (r == -EOWNERDEAD)
		ep->deaths_seen--; /* the next call tells it again */
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
	return arm(&c->ep, look_readable, c, 0);
}

int quoit_producer_arm(struct quoit_producer *p, uint32_t len)
{
	return arm(&p->ep, look_writable, p, len);
}
