/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on process-shared POSIX semaphores in the segment. Nobody knows how many sleep, so a
 * waker fills the semaphore up to the most that can; what is too much are stale tokens. A sleeper
 * tells those by the sequence, which has not moved, and drops them where it stands, so they never
 * keep anyone awake, and the value never grows beyond what a few wakers at the same time add.
 *
 * There are two, used in turn by even and odd sequences: a token dropped as stale may have been
 * meant for somebody who was woken and has not run yet, and who must not find it gone. With two,
 * whoever drops it sleeps at least two sequences later; and the wake that ends that sleep fills it
 * up again.
 *
 * Only the calls of the C library that stay in user space are used. Its sem_post() and sem_wait()
 * take flags for the kernel out of the sem_t, and abort the process if the kernel does not like
 * them: a peer that writes there at the wrong moment, or a flipped bit, would end us, whatever had
 * been looked at before. So what they do is done here, on the same words, with flags of our own.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "sync/backend.h"

/* Room for it in struct quoit__event; its value is the low half of its first word. */
static_assert(sizeof(sem_t) <= 32 && sizeof(long) == 8, "FORMAT.md Eventcount");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the value is the word's first half");

/* Most tokens dropped in one sleep, so that a hostile value cannot hold us here. */
#define STALE_MAX 4096

static sem_t *sem_of(const struct sync_event *e, uint32_t seq)
{
	return (sem_t *)e->sem + (seq & 1);
}

static int sem_init_event(const struct sync_event *e)
{
	return sem_init(sem_of(e, 0), 1, 0) == 0 && sem_init(sem_of(e, 1), 1, 0) == 0 ? 0 : -errno;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * SYNC_NS_PER_S + now.tv_nsec;
}

/* Sleep while the value is 0. Relative, on CLOCK_MONOTONIC, as in wait_futex.c. */
static int wait_for_token(sem_t *sem, int64_t nap_ns)
{
	struct timespec nap = sync_timespec(nap_ns);

	if (syscall(SYS_futex, (void *)sem, FUTEX_WAIT, 0, &nap, NULL, 0) == 0)
		return 0;
	return errno == EAGAIN ? 0 : -errno; /* EAGAIN: there is one */
}

static int sem_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		     struct sync_pollable *p)
{
	sem_t *sem = sem_of(e, seq);
	int64_t end = now_ns() + nap_ns;

	(void)p;
	for (int i = 0; i < STALE_MAX; i++) {
		int r;

		if (sync_sequence(e) != seq)
			return 0;
		if (sem_trywait(sem) == 0)
			continue; /* stale, or the sequence has moved */
		nap_ns = end - now_ns();
		r = nap_ns > 0 ? wait_for_token(sem, nap_ns) : -ETIMEDOUT;
		if (r != 0)
			return r;
		sem_trywait(sem); /* it was for us */
	}
	return 0;
}

static uint32_t sem_wake(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max)
{
	sem_t *sem = sem_of(e, seq);
	_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)sem;
	/* Relaxed: only a guess for the exchange. */
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	/* A value that has been tampered with may be anything: leave it if it is more. Release, as
	 * sem_post() has it; what a sleeper relies on is the sequence (E4). */
	while ((uint32_t)old < sleepers_max &&
	       !atomic_compare_exchange_weak_explicit(word, &old,
						      old + (sleepers_max - (uint32_t)old),
						      memory_order_release, memory_order_relaxed))
		;
	syscall(SYS_futex, (void *)sem, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return 1;
}

const struct sync_ops sync_ops_sem = {
	.init = sem_init_event,
	.sleep = sem_sleep,
	.wake = sem_wake,
};
