/* SPDX-License-Identifier: MIT */
/*
 * A pollable descriptor for an endpoint, wakeable by unrelated processes without any privilege.
 *
 * The descriptor given out is an epoll instance over three others:
 *   - an eventfd, which wakers write to;
 *   - a datagram socket bound to an abstract UNIX address made of the ring's random 128-bit id and
 *     the endpoint's row. A waker that does not have the eventfd yet sends its hello there: that
 *     is already a wake, and it is answered with the eventfd (SCM_RIGHTS), so that the next wake is
 *     a write(2). The eventfd is handed over between processes of the same user, and root; others,
 *     and those short of descriptors, go on with datagrams;
 *   - a timer, running while armed: naps are bounded in event loops too, so that deaths are seen.
 *
 * Abstract addresses vanish with their process, and need no right to any folder.
 * They belong to a network namespace: a waker in another one cannot reach the endpoint, which then
 * looks up when its nap ends.
 *
 * Keep a pollable for as long as its endpoint is open: wakers that know its eventfd go on writing
 * to that until the epoch changes. It belongs to one thread at a time, as its endpoint does.
 */
#ifndef QUOIT_POLLABLE_H
#define QUOIT_POLLABLE_H

#include <stdbool.h>
#include <stdint.h>

struct sync_board;
struct sync_pollable;

/*
 * Make one for row `row` of ring `uuid`. rows: how many peers it may have to wake. 0, -ENOMEM,
 * -EMFILE, -EADDRINUSE (another process holds the row's address and did not let go of it for
 * 200 ms), -errno.
 */
int sync_pollable_new(const uint8_t uuid[16], uint32_t row, uint32_t rows,
		      struct sync_pollable **ret);
/* One for a set of rings: its address is row 0 of `id`, and hellos mark a bit of `board`, which
 * they are answered with besides the eventfd. The board stays the caller's, and must outlive it. */
int sync_pollable_new_set(const uint8_t id[16], struct sync_board *board,
			  struct sync_pollable **ret);
/* Closes its descriptors and nothing else, so it may be called in the child of a fork. NULL is
 * allowed. */
void sync_pollable_free(struct sync_pollable *p);
/* The descriptor to watch; -1 for a waker's. */
int sync_pollable_fd(const struct sync_pollable *p);
/* Start the nap timer; before epoll_wait. 0, -EINVAL (a waker's), -errno. */
int sync_pollable_arm(struct sync_pollable *p, int64_t nap_ns);
/*
 * Drain eventfd and timer, answer hellos. After every wake-up, and before announcing the next
 * sleep: a drain between announcing and sleeping would take a wake away. True: so many datagrams
 * had been waiting that the kernel may have turned hellos away. To an endpoint that is all the
 * same; a set does not know which of its rings they were about.
 */
bool sync_pollable_drain(struct sync_pollable *p);
/* Make one's own readable, from any thread. */
void sync_pollable_poke(const struct sync_pollable *p);
/* poll() for nap_ns at most: 0 readable, -ETIMEDOUT, -EINTR, -errno (cannot be polled). */
int sync_pollable_wait(struct sync_pollable *p, int64_t nap_ns);
/* Forget what is known of a peer's row. A changed epoch does that by itself. */
void sync_pollable_forget(struct sync_pollable *p, uint32_t row);

/*
 * Wake the endpoint of `row`, whose `epoch` tells successive holders apart. p is the waker's own
 * pollable or, for a waker that has none, a minimal one made by sync_pollable_new_waker(). 0: the
 * endpoint's descriptor is readable. -ECONNREFUSED: nobody is there; -errno.
 */
int sync_pollable_wake(struct sync_pollable *p, uint32_t row, uint64_t epoch);
/* One that only wakes. row is not used by it. 0 or -errno. */
int sync_pollable_new_waker(const uint8_t uuid[16], uint32_t row, uint32_t rows,
			    struct sync_pollable **ret);

#endif
