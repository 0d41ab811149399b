/* SPDX-License-Identifier: MIT */
/*
 * The endpoints of this process, for two who have to find all of them: the child of a fork, which
 * must neither use its parent's endpoints nor keep their locks, and the SIGBUS guard.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "ring/guard.h"
#include "ring/peers.h"

/* Nobody forks while it is held: a child must find an endpoint's descriptors complete, or not at
 * all. Copies that it does not know of would keep a lock or an address after its parent's death. */
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

int quoit__endpoint_list_add(struct quoit__endpoint *e)
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

void quoit__endpoint_list_remove(struct quoit__endpoint *e)
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

int quoit__pollable_make(struct quoit__endpoint *e)
{
	int r;

	if (e->pollable_own)
		return 0;
	pthread_mutex_lock(&all_mutex);
	sync_pollable_free(e->pollable);
	e->pollable = NULL;
	r = sync_pollable_new(e->ring->uuid, e->id, e->ring->geo.peers, &e->pollable);
	e->pollable_own = r == 0;
	pthread_mutex_unlock(&all_mutex);
	return r;
}

void quoit__pollable_drop(struct quoit__endpoint *e)
{
	pthread_mutex_lock(&all_mutex);
	sync_pollable_free(e->pollable);
	e->pollable = NULL;
	pthread_mutex_unlock(&all_mutex);
}
