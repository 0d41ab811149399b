/* SPDX-License-Identifier: MIT */
/*
 * Eventcount in shared memory: sleep until somebody on the other side publishes, without a lost
 * wake-up, without a system call while nobody sleeps, and without a fence in the publisher.
 *
 * The word is {announced:32, sequence:32} (announced in the high half). Equal halves: somebody
 * announced a sleep at this sequence. Initially {0, 1}: nobody.
 *
 *   sleeper                                      waker (after publishing, E1)
 *   1 CAS {a,s} -> {s,s}          announce       1 load word; halves differ: done
 *   2 membarrier (E2)                            2 CAS {s,s} -> {s,s+1}
 *   3 look again; there: go on                   3 wake all who sleep at s
 *   4 sleep while sequence == s, at most nap_ns
 *
 * In step 3 all means all, whatever they wait for: see eventcount.c. The sequence may wrap around:
 * only equality is looked at, and an announcement is at most one bump old. A sleeper that is held
 * up between 2 and 4 for exactly 2^32 bumps would sleep through a wake, for one nap.
 *
 * A sleeper that was killed leaves an announcement that costs one system call, then is gone. A
 * waker that was killed between 2 and 3 costs a sleeper its nap: naps are bounded.
 *
 * Sleepers on one word may use different backends; the word's `backends` mask says which to wake.
 */
#ifndef QUOIT_EVENTCOUNT_H
#define QUOIT_EVENTCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct sync_pollable; /* eventfd, its socket and its timer; see sync/pollable.h */

/* The shared half lies in the segment: see struct quoit__event in ring/layout.h. */
struct sync_event {
	_Atomic uint64_t *word;
	_Atomic uint32_t *backends; /* bit 1 << backend */
	void *sem;                  /* sem_t [2], process-shared */
	int sysv_id;                /* System V semaphore set, or -1 */
	uint32_t sysv_index;        /* semaphore of this event in it */
};

/* Same values as enum quoit_wait. */
enum sync_backend {
	SYNC_SPIN = 1,
	SYNC_YIELD = 2,
	SYNC_FUTEX = 3,
	SYNC_SEM = 4,
	SYNC_SYSVSEM = 5,
	SYNC_EVENTFD = 6,
};

/* Register this process for membarrier; true if publishers need no fence. Idempotent, thread-safe;
 * one short system call where that has been done already. */
bool sync_membarrier_register(void);
/* Full barrier on every registered process's running threads; false: not to be had (seccomp, old
 * kernel). From then on sync_sleep() and pollables nap for SYNC_BLIND_NAP_NS at most. */
bool sync_membarrier(void);

#define SYNC_NAP_NS       INT64_C(50000000) /* longest sleep before a re-check */
#define SYNC_BLIND_NAP_NS INT64_C(1000000)  /* the same where membarrier is not to be had */

/* Make the event ready for use; at create, before anybody can see it. 0 or -errno. */
int sync_event_init(const struct sync_event *e);

/* Step 1 and 2: announce a sleep for `backend`; returns the sequence to sleep on. SYNC_SPIN
 * announces as well, without a sleep to come: it makes the other side look up at its next
 * publication. */
uint32_t sync_announce(const struct sync_event *e, enum sync_backend backend);
/* The two apart, for who announces on many events and then pays for one fence. */
uint32_t sync_announce_unfenced(const struct sync_event *e, enum sync_backend backend);
void sync_announced_fence(void);
/* Has a waker been there since a sleep was announced at seq? */
bool sync_moved(const struct sync_event *e, uint32_t seq);

/*
 * Step 4. Sleep until the sequence is no longer seq, or for nap_ns at most. Spurious returns
 * happen. 0, -EINTR (signal), -ETIMEDOUT (nap over), -EIDRM (semaphore set removed), -EINVAL (no
 * such backend). SYNC_EVENTFD sleeps by poll() on p, which the caller drains afterwards; p is NULL
 * for the others. SPIN and YIELD do not sleep: one pause or yield. A backend that cannot sleep here
 * (a system call filter, a semaphore that may not be changed) naps SYNC_BLIND_NAP_NS at most.
 */
int sync_sleep(const struct sync_event *e, enum sync_backend backend, uint32_t seq, int64_t nap_ns,
	       struct sync_pollable *p);

/*
 * Steps 2 and 3 of the waker; call when the halves were equal. sleepers_max bounds how many may
 * sleep on it (rows of that role): a POSIX semaphore is filled up to that, so the closer the
 * better. Returns true if an eventfd sleeper may be among them: then the caller goes through its
 * rows and calls sync_pollable_wake(). *ret_called is set to the number of system calls made.
 */
bool sync_wake(const struct sync_event *e, uint32_t sleepers_max, uint32_t *ret_called);

static inline bool sync_announced(uint64_t word)
{
	return (uint32_t)word == (uint32_t)(word >> 32);
}

#endif
