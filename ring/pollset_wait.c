/* SPDX-License-Identifier: MIT */
/*
 * Pollsets: sleeping, and what has to be done now and then.
 *
 * Of the threads that wait one, the leader, sleeps for all, on the set's eventfd and its socket;
 * the others stand in line behind the lock that it holds. A leader that is woken takes what is
 * ready and lets the next one lead before it goes to work: one thread is woken for one piece of
 * news, and never all of them.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "ring/pollset.h"
#include "sync/pause.h"

#define SPIN_MIN_NS 1000
#define SPIN_MAX_NS 50000
#define GLANCES     16
#define BUSY_POLLS  16
#define LOOKS_MOST  64          /* members that are looked at thoroughly in one sweep */
#define SWEEP_NS    SYNC_NAP_NS /* between two looks at everyone: naps end with them */

/* set->leader: nobody leads; somebody does; and others may stand in line. Whoever leads must not be
 * cancelled, or nobody ever leads again. */
enum { LEADERLESS = 0, LED = 1, IN_LINE = 2 };

/* ---- the lead ------------------------------------------------------------------------------- */

static bool try_lead(struct quoit_pollset *set)
{
	uint32_t none = LEADERLESS;

	/* B5: acquire, pairs with letting the next one lead. */
	return atomic_compare_exchange_strong_explicit(&set->leader, &none, LED,
						       memory_order_acquire, memory_order_relaxed);
}

/* Off while we lead; gives what to restore. */
static int no_cancel(void)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	return before;
}

static void cancel_again(int before)
{
	pthread_setcancelstate(before, NULL);
}

static void let_next_lead(struct quoit_pollset *set)
{
	/* B5 */
	if (atomic_exchange_explicit(&set->leader, LEADERLESS, memory_order_release) == IN_LINE)
		syscall(SYS_futex, (void *)&set->leader, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Stand in line until ns have passed, or there may be nobody who leads. 0, -EINTR. */
static int stand_in_line(struct quoit_pollset *set, int64_t ns)
{
	struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (syscall(SYS_futex, (void *)&set->leader, FUTEX_WAIT_PRIVATE, IN_LINE, &t, NULL, 0) != 0)
		return errno == EINTR ? -EINTR : 0;
	return 0;
}

/* Become the leader: 0, or -ETIMEDOUT, -EINTR. A lock as in Ulrich Drepper's "Futexes are tricky".
 */
static int become_leader(struct quoit_pollset *set, int64_t end)
{
	if (try_lead(set))
		return 0;
	while (atomic_exchange_explicit(&set->leader, IN_LINE, memory_order_acquire) !=
	       LEADERLESS) {
		int64_t left = end - quoit__now_ns();
		int r;

		if (left <= 0)
			return -ETIMEDOUT;
		/* Nobody looks at what we gave back if the leader sleeps already. B2: our bits
		 * before this look; if it sees no sleep, the leader's look for hot ones sees them.
		 */
		atomic_thread_fence(memory_order_seq_cst);
		if (sync_board_asleep(set->board))
			quoit__pollset_arm_all(set);
		r = stand_in_line(set, left);
		if (r != 0)
			return r;
	}
	return 0;
}

/* ---- now and then --------------------------------------------------------------------------- */

static int64_t coarse_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Look at one member, whether or not anybody marked it: a waker may have been killed before it did,
 * or its hello turned away. If time is up also at the locks of its peers, and in turn at all else
 * that nobody tells of. */
static void sweep_member(struct quoit_pollset *set, struct quoit_member *m, bool peers, bool all)
{
	/* A waker was on its way, who knows what with: also the end of a stream is no glance's. */
	bool moved = m->armed && sync_moved(m->ep->sleeps_on, m->seq);
	uint32_t index = m->index;
	bool ready;

	if (all || (peers && quoit__any_dead(m->ep->ring, &m->ep->lock, m->ep->id)))
		ready = quoit__member_probe(m) != -EAGAIN;
	else if (moved)
		ready = quoit__member_look(m) != -EAGAIN;
	else
		ready = quoit__member_glance(m);
	if (ready)
		quoit__member_back_marked(set, m);
	else if (!m->armed || moved)
		quoit__member_back_hot(set, m);
	/* Armed, and nobody has been woken since: it stays so. */
	else if (quoit__member_let_go(set, m))
		quoit__pollset_mark(set, index);
}

/* Whether it is time to look at the locks of peers again, too. */
static void sweep(struct quoit_pollset *set, bool peers)
{
	uint32_t words = atomic_load_explicit(&set->words, memory_order_relaxed);
	uint32_t turn = peers ? set->sweeps++ : 0;
	/* Each second one; of many, some LOOKS_MOST. */
	uint32_t share = words / (LOOKS_MOST / 64);

	share = share > 2 ? share : 2;

	for (uint32_t i = 0; i < words * 64; i++) {
		struct quoit_member *m;

		quoit__pollset_enter();
		/* One that is held: its holder may have looked before there was anything. */
		m = quoit__member_hold(set, i);
		quoit__pollset_leave(set);
		if (m != NULL)
			sweep_member(set, m, peers, peers && (i + turn) % share == 0);
	}
}

/* Answer hellos. The caller leads, and sees to the upkeep. */
static void drain(struct quoit_pollset *set)
{
	if (sync_pollable_drain(set->pollable))
		set->turned_away = true;
}

/* Until the next sweep, counted from the last one and not from when a nap began: a set that is
 * woken now and then hears of deaths as soon as one that is not. The caller leads. */
static int64_t sweep_in_ns(const struct quoit_pollset *set)
{
	return set->swept_ns + SWEEP_NS - quoit__now_ns();
}

/* The caller leads. */
static void upkeep(struct quoit_pollset *set)
{
	bool due = sweep_in_ns(set) <= 0;

	if (due)
		set->swept_ns = quoit__now_ns();
	else if (!set->turned_away)
		return;
	set->turned_away = false;
	sweep(set, due);
}

/* For sets that are polled and never waited for: hellos are answered, and everyone is looked at,
 * when the coarse clock has moved. True: something may have come of it. */
static bool poll_upkeep(struct quoit_pollset *set)
{
	int64_t now = coarse_now_ns();
	bool led;
	int before;

	/* Relaxed: a hint; the lead decides. */
	if (now == atomic_load_explicit(&set->answered_ns, memory_order_relaxed))
		return false;
	before = no_cancel();
	led = try_lead(set);
	if (led) {
		atomic_store_explicit(&set->answered_ns, now, memory_order_relaxed);
		drain(set);
		upkeep(set);
		let_next_lead(set);
	}
	cancel_again(before);
	return led;
}

/* ---- polling -------------------------------------------------------------------------------- */

/* An event loop that slept has come back. */
static void loop_awake(struct quoit_pollset *set)
{
	int before = no_cancel();

	atomic_store_explicit(&set->looped, 0, memory_order_relaxed);
	sync_board_awake(set->board);
	if (try_lead(set)) {
		drain(set);
		upkeep(set);
		let_next_lead(set);
	}
	cancel_again(before);
}

/* Not with every poll that finds work: each BUSY_POLLS-th. The set's own count, for a thread may
 * poll several sets in turn; relaxed, and not to the unit, as threads may poll at the same time. */
static bool upkeep_turn(struct quoit_pollset *set)
{
	uint32_t polls = atomic_load_explicit(&set->polls, memory_order_relaxed) + 1;

	atomic_store_explicit(&set->polls, polls, memory_order_relaxed);
	return polls % BUSY_POLLS == 0;
}

static int poll_set(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max)
{
	unsigned n;

	if (atomic_load_explicit(&set->looped, memory_order_relaxed) != 0)
		loop_awake(set);
	n = quoit__pollset_take(set, ret, max);
	if (n != 0 && !upkeep_turn(set))
		return (int)n;
	if (poll_upkeep(set) && n == 0)
		n = quoit__pollset_take(set, ret, max);
	return (int)n;
}

static int check(const struct quoit_pollset *set, const struct quoit_ready *ret, unsigned max)
{
	int r = quoit__pollset_check(set);

	return r == 0 && (ret == NULL || max < 1 || max > QUOIT_BATCH_MAX) ? -EINVAL : r;
}

int quoit_pollset_poll(struct quoit_pollset *set, struct quoit_ready *ret_ready, unsigned max)
{
	int r = check(set, ret_ready, max);

	return r != 0 ? r : poll_set(set, ret_ready, max);
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* The leader looks for as long as that has paid off lately. */
static unsigned spin(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max, int64_t end)
{
	int64_t spin_ns = atomic_load_explicit(&set->spin_ns, memory_order_relaxed);
	int64_t until = quoit__now_ns() + spin_ns;
	unsigned n;

	until = until < end ? until : end;
	do {
		for (int i = 0; i < GLANCES && !quoit__pollset_bits(set); i++)
			sync_pause();
		n = quoit__pollset_take(set, ret, max);
	} while (n == 0 && quoit__now_ns() < until);
	/* Relaxed: an estimate. */
	spin_ns = n != 0 ? spin_ns * 2 : spin_ns / 2;
	if (spin_ns >= SPIN_MIN_NS && spin_ns <= SPIN_MAX_NS)
		atomic_store_explicit(&set->spin_ns, spin_ns, memory_order_relaxed);
	return n;
}

/* Sleep for all, for a nap at most. *ret_n: what was ready at once. 0, -EINTR, -ETIMEDOUT, -errno.
 */
static int sleep_for_all(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max,
			 int64_t end, unsigned *ret_n)
{
	int64_t nap, left;
	int r = 0;

	quoit__pollset_arm_all(set);
	sync_board_sleep(set->board);
	/* Those that were given back after we had armed, by threads that saw nobody asleep. */
	if (quoit__pollset_hot(set))
		quoit__pollset_arm_all(set);
	*ret_n = quoit__pollset_take(set, ret, max);
	if (*ret_n == 0 && !quoit__pollset_bits(set)) {
		nap = sweep_in_ns(set);
		left = end - quoit__now_ns();
		nap = nap < left ? nap : left;
		r = sync_pollable_wait(set->pollable, nap);
		if (r == 0)
			drain(set);
	}
	sync_board_awake(set->board);
	return r;
}

/* The caller leads. How many, 0 nothing yet, -EINTR. */
static int lead(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max, int64_t end)
{
	unsigned n = spin(set, ret, max, end);
	int r;

	if (n != 0)
		return (int)n;
	r = sleep_for_all(set, ret, max, end, &n);
	upkeep(set);
	if (n == 0)
		n = quoit__pollset_take(set, ret, max);
	if (n != 0)
		return (int)n;
	/* Errors must not turn a wait into a busy loop. */
	if (r < 0 && r != -EINTR && r != -ETIMEDOUT)
		nanosleep(&(struct timespec){.tv_nsec = SYNC_BLIND_NAP_NS}, NULL);
	return r == -EINTR ? -EINTR : 0;
}

static int wait_until(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max, int64_t end)
{
	int r = 0;

	while (r == 0) {
		if (quoit__now_ns() >= end)
			return -ETIMEDOUT;
		r = become_leader(set, end);
		if (r == 0) {
			r = lead(set, ret, max, end);
			let_next_lead(set);
		} else if (r == -ETIMEDOUT) {
			r = (int)quoit__pollset_take(set, ret, max);
		}
	}
	return r;
}

int quoit_pollset_wait(struct quoit_pollset *set, struct quoit_ready *ret_ready, unsigned max,
		       const struct timespec *deadline)
{
	int before, r = check(set, ret_ready, max);

	if (r != 0)
		return r;
	r = poll_set(set, ret_ready, max);
	if (r != 0)
		return r;
	if (deadline != NULL && deadline->tv_sec == 0 && deadline->tv_nsec == 0)
		return -EAGAIN;
	if (deadline != NULL && (deadline->tv_nsec < 0 || deadline->tv_nsec > 999999999))
		return -EINVAL;
	before = no_cancel();
	r = wait_until(set, ret_ready, max, quoit__end_of(deadline));
	cancel_again(before);
	return r;
}

/* ---- epoll ---------------------------------------------------------------------------------- */

int quoit_pollset_fd(const struct quoit_pollset *set)
{
	int r = quoit__pollset_check(set);

	return r != 0 ? r : sync_pollable_fd(set->pollable);
}

static int arm_loop(struct quoit_pollset *set)
{
	int r = 1;

	if (!try_lead(set))
		return r; /* somebody is looking */
	drain(set);
	upkeep(set);
	quoit__pollset_arm_all(set);
	atomic_store_explicit(&set->looped, 1, memory_order_relaxed);
	sync_board_sleep(set->board);
	if (quoit__pollset_bits(set)) {
		atomic_store_explicit(&set->looped, 0, memory_order_relaxed);
		sync_board_awake(set->board);
	} else {
		r = sync_pollable_arm(set->pollable, sweep_in_ns(set));
	}
	let_next_lead(set);
	return r;
}

int quoit_pollset_arm(struct quoit_pollset *set)
{
	int r = quoit__pollset_check(set), before;

	if (r != 0)
		return r;
	before = no_cancel();
	r = arm_loop(set);
	cancel_again(before);
	return r;
}
