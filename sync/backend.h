/* SPDX-License-Identifier: MIT */
/*
 * The table of waiting backends, private to sync/. A new one is a file with a struct sync_ops and a
 * row in eventcount.c.
 */
#ifndef QUOIT_BACKEND_H
#define QUOIT_BACKEND_H

#include "sync/eventcount.h"

/* Where an operation is missing there is nothing to do. */
struct sync_ops {
	int (*init)(const struct sync_event *e);
	/* Sleep while the sequence is seq, or for nap_ns (>= 0). 0, -EINTR, -ETIMEDOUT, -EIDRM; any
	 * other error means that this backend cannot sleep here. */
	int (*sleep)(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		     struct sync_pollable *p);
	/* Wake everyone who sleeps on seq, which has just been left. Returns how many calls to the
	 * kernel that took. */
	uint32_t (*wake)(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max);
};

extern const struct sync_ops sync_ops_futex;
extern const struct sync_ops sync_ops_sem;
extern const struct sync_ops sync_ops_sysvsem;

#define SYNC_NS_PER_S INT64_C(1000000000)

/* ns >= 0 */
static inline struct timespec sync_timespec(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / SYNC_NS_PER_S, .tv_nsec = ns % SYNC_NS_PER_S};
}

/* The sequence right now. E4: pairs with the bump of a waker; who sees a new sequence sees what was
 * published before it. */
static inline uint32_t sync_sequence(const struct sync_event *e)
{
	return (uint32_t)atomic_load_explicit(e->word, memory_order_acquire);
}

/* Sleep without any backend, for where one fails: errors must not turn a wait into a busy loop. */
int sync_doze(int64_t nap_ns);

/* nap_ns, made >= 0, and no longer than a blind nap if membarrier has failed in this process. */
int64_t sync_nap(int64_t nap_ns);

#endif
