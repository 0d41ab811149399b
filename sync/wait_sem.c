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
 */
#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "sync/backend.h"

/* Room for it in struct quoit__event. */
static_assert(sizeof(sem_t) <= 32, "FORMAT.md Eventcount");

/* Most tokens dropped in one sleep, so that a hostile value cannot hold us here. */
#define STALE_MAX 4096

static sem_t *sem_of(const struct sync_event *e, uint32_t seq)
{
	return (sem_t *)e->sem + (seq & 1);
}

/*
 * The C library trusts what lies in a sem_t, and aborts if the kernel does not like it; a peer, or
 * a flipped bit, must not be able to do that to us. Behind the first 64 bits, value and waiters, it
 * never changes: compare that with a fresh one.
 */
static bool is_sound(const sem_t *sem)
{
	sem_t fresh;

	memset(&fresh, 0, sizeof(fresh));
	return sem_init(&fresh, 1, 0) == 0 &&
	       memcmp((const char *)sem + 8, (const char *)&fresh + 8, sizeof(fresh) - 8) == 0;
}

static int sem_init_event(const struct sync_event *e)
{
	return sem_init(sem_of(e, 0), 1, 0) == 0 && sem_init(sem_of(e, 1), 1, 0) == 0 ? 0 : -errno;
}

static int sem_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		     struct sync_pollable *p)
{
	struct timespec now, end;

	(void)p;
	if (!is_sound(sem_of(e, seq)))
		return -EBADMSG;
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = sync_timespec(now.tv_nsec + nap_ns);
	end.tv_sec += now.tv_sec;
	for (int i = 0; i < STALE_MAX; i++) {
		if (sync_sequence(e) != seq)
			return 0;
		if (sem_clockwait(sem_of(e, seq), CLOCK_MONOTONIC, &end) != 0)
			return -errno;
	}
	return 0;
}

static uint32_t sem_wake(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max)
{
	uint32_t called = 0;
	int value = 0;

	if (!is_sound(sem_of(e, seq)))
		return 0;
	sem_getvalue(sem_of(e, seq), &value);
	/* A negative value has been tampered with; a huge one ends the loop at once. */
	for (int64_t v = value < 0 ? 0 : value;
	     v < (int64_t)sleepers_max && sem_post(sem_of(e, seq)) == 0; v++)
		called++; /* at most: posts without a waiter stay in user space */
	return called;
}

const struct sync_ops sync_ops_sem = {
	.init = sem_init_event,
	.sleep = sem_sleep,
	.wake = sem_wake,
};
