/* SPDX-License-Identifier: MIT */
/*
 * Pollsets: one process that reads, or writes, hundreds of rings that come and go.
 *
 * A set owns endpoints, its *members*. Any number of threads take members that have something to
 * say, work with them, and give them back:
 *
 *	struct quoit_ready ready[16];
 *	struct quoit_msg msg;
 *	int n, r;
 *
 *	while ((n = quoit_pollset_wait(set, ready, 16, NULL)) > 0)
 *		for (int i = 0; i < n; i++) {
 *			for (int k = 0; k < 64; k++) {
 *				if ((r = quoit_peek(ready[i].consumer, &msg)) != 1)
 *					break;
 *				use(ready[i].user, &msg);
 *				quoit_advance(ready[i].consumer, &msg);
 *			}
 *			if (r == 0)
 *				quoit_pollset_remove(set, ready[i].member);
 *			quoit_pollset_done(set, &ready[i]);
 *		}
 *
 *   - Between poll (or wait) and done a member is *held* by the one thread that got it: nobody else
 *     gets it, so its endpoint belongs to that thread, as endpoints do.
 *   - Ready members are taken in turn. One that still has records when it is given back comes again
 *     after all others that are ready: whoever takes a bounded number of records at a time lets no
 *     ring starve the others.
 *   - Ready is a hint: other consumers of an MPMC ring may have been faster, and quoit_peek() then
 *     gives -EAGAIN.
 *   - A thousand idle rings cost a poll nothing but a look at thirty-two words, and a sleeping set
 *     no more descriptors than one ring: producers mark their ring on a board that they share with
 *     the set. Memory and descriptors of the rings themselves are the endpoints', see quoit(7).
 *   - Sets do not survive fork(): in the child every call on one returns -EBADF, and
 *     quoit_pollset_destroy() frees its memory.
 *   - A thread that waits is not cancelled by pthread_cancel() before the wait ends: others sleep
 *     behind it. To end it, let a ring of the set have news, or give the wait a deadline.
 *
 * All calls may be made by several threads at the same time, but quoit_pollset_destroy().
 */
#ifndef QUOIT_POLLSET_H
#define QUOIT_POLLSET_H

#include <quoit/quoit.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Most members that a set can be made for. */
#define QUOIT_POLLSET_MEMBERS_MAX 65536u
/**
 * As a producer's room: do not tell of room, only when its consumers are gone, or the ring. Which
 * it is, and that it has been told, is then for quoit_producer_wait(p, QUOIT_POLLSET_NO_ROOM,
 * QUOIT_NOWAIT) to say.
 */
#define QUOIT_POLLSET_NO_ROOM UINT32_MAX

struct quoit_pollset;
struct quoit_member; /* an endpoint in a set */

/** Zero-initialise, set .size; zero means the default given. */
struct quoit_pollset_options {
	uint32_t size;    /* sizeof(struct quoit_pollset_options) */
	uint32_t members; /* most members at one time, default 1024 */
};

/** A member that is held. */
struct quoit_ready {
	struct quoit_member *member;
	struct quoit_consumer *consumer; /* its endpoint: this one, */
	struct quoit_producer *producer; /* or this one; the other is NULL */
	void *user;                      /* as given when it was added */
	uint32_t room; /* producer: tell when there is room for so many bytes; may be changed
			  before it is given back */
	uint32_t reserved;
};

/**
 * Make an empty set. opt may be NULL. -ENOMEM; -EMFILE (a set has five descriptors); -E2BIG unknown
 * options; -EINVAL.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_create(const struct quoit_pollset_options *opt,
						    struct quoit_pollset **ret_set);
/** Close all members, and the set. Nobody may use it, or hold a member, any more. NULL is allowed.
 */
QUOIT_API void quoit_pollset_destroy(struct quoit_pollset *set);

/**
 * Put a consumer into the set, which owns it from then on: it is closed when it is removed, and may
 * be used only while it is held. Its ring's handle may be detached; endpoints hold the mapping.
 * ret_member may be NULL. On failure the endpoint stays the caller's.
 * -ENOSPC: the set is full; -ENOMEM; -EBUSY: it is in a set already; and the endpoint's own error
 * if it has one (-EIDRM, -EBADMSG, -EBADF).
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_add_consumer(struct quoit_pollset *set,
							  struct quoit_consumer *c, void *user,
							  struct quoit_member **ret_member);
/**
 * The same for a producer, which is ready when a record of room bytes is likely to find room, or
 * when quoit_reserve() has something else to say. -EMSGSIZE: no record of that ring is so long.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_add_producer(struct quoit_pollset *set,
							  struct quoit_producer *p, uint32_t room,
							  void *user,
							  struct quoit_member **ret_member);
/**
 * Take a member out and close its endpoint, once nobody can be looking at it: at once, or, if
 * somebody holds it, when that one gives it back. A member that the caller itself holds still has
 * to be given back. Waits for other threads that are in the middle of a poll, never the other way
 * round. Each member is removed once. The mapping goes with the last endpoint and handle of its
 * ring.
 */
QUOIT_API int quoit_pollset_remove(struct quoit_pollset *set, struct quoit_member *member);
/** How many members there are. */
QUOIT_API unsigned quoit_pollset_count(const struct quoit_pollset *set);

/**
 * Take up to max (1 to QUOIT_BATCH_MAX) ready members, without sleeping. How many; 0: none is
 * ready. -EINVAL, -EBADF.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_poll(struct quoit_pollset *set,
						  struct quoit_ready *ret_ready, unsigned max);
/**
 * The same, and wait until there is one. How many (at least one); -ETIMEDOUT, -EAGAIN
 * (QUOIT_NOWAIT), -EINTR, -EINVAL. Any number of threads may wait; one is woken for each ring that
 * gets news.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_wait(struct quoit_pollset *set,
						  struct quoit_ready *ret_ready, unsigned max,
						  const struct timespec *deadline);
/**
 * Give a held member back. Any thread may do it. A thread that gives back what it took itself is
 * expected to poll or wait again: only then is the member looked at at once, else within 100 ms, if
 * anybody polls or waits. -EINVAL: it is not held.
 */
QUOIT_API int quoit_pollset_done(struct quoit_pollset *set, const struct quoit_ready *ready);

/**
 * A descriptor for event loops, level-triggered, owned by the set: readable when
 * quoit_pollset_poll() may have something. Loop: poll until 0, quoit_pollset_arm(), and only if
 * that returns 0, epoll_wait(). A set in an event loop belongs to that loop's thread: no other
 * waits.
 */
QUOIT_API int quoit_pollset_fd(const struct quoit_pollset *set);
/** Announce the sleep and look again. 0: sleep now. 1: do not, there is something. -EBADF, -errno.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_pollset_arm(struct quoit_pollset *set);

#ifdef __cplusplus
}
#endif

#endif
