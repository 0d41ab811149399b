/* SPDX-License-Identifier: MIT */
/*
 * A board: one page of shared memory on which wakers mark which rings of a set have news, so that
 * whoever reads a thousand rings looks at sixteen words, and a wake is one atomic OR for as long as
 * somebody of the set is awake.
 *
 *   word 0       "sleeping": 1 while a thread of the set sleeps, or its event loop may
 *   from 128 on  a bit for each member of the set
 *
 *   owner, about to sleep                      waker (after publishing)
 *   1 sleeping = 1, full fence (B2)            1 OR the member's bit (B1), full fence (B2)
 *   2 look at the bits; any: do not sleep      2 exchange sleeping for 0; it was 1: write the
 *   3 sleep on the eventfd                       set's eventfd
 *
 * The page is a sealed memfd. Wakers get it, and the set's eventfd, as the answer to their first
 * hello (sync/datagram.h), which names the member and is a wake already. They are kept by process,
 * for a process may write to a thousand rings of one set.
 *
 * Whoever has the page may scribble on it, and only processes of the same user and root have it: a
 * false bit makes the owner look at a member in vain, a wrong `sleeping` costs a nap.
 */
#ifndef QUOIT_BOARD_H
#define QUOIT_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SYNC_BOARD_BITS_MAX 65536u

struct sync_board;

/* ---- the owner's side ------------------------------------------------------------------------ */

/* Make one of `bits` bits (1 to SYNC_BOARD_BITS_MAX) for the set `id`. 0, -ENOMEM, -EMFILE, -errno.
 */
int sync_board_new(const uint8_t id[16], uint32_t bits, struct sync_board **ret);
/* Tell wakers to forget it; then free it. In a forked child only free it. NULL is allowed. */
void sync_board_retire(struct sync_board *b);
void sync_board_free(struct sync_board *b);
int sync_board_fd(const struct sync_board *b);
/* The words that hold the bits; taking one: atomic AND, acquire (B1). */
_Atomic uint64_t *sync_board_words(const struct sync_board *b);
/* Mark a bit; bits out of range are none. True if the owner sleeps: the caller is the one who has
 * to wake it, by its eventfd. */
bool sync_board_mark(struct sync_board *b, uint32_t bit);
/* Step 1, and its end. */
void sync_board_sleep(struct sync_board *b);
void sync_board_awake(struct sync_board *b);
/* True if the owner slept: the caller has to wake it. */
bool sync_board_rouse(struct sync_board *b);
bool sync_board_asleep(const struct sync_board *b);

/* ---- the waker's side ------------------------------------------------------------------------ */

/*
 * Mark bit `bit` on the board of set `id`, and wake the set if it sleeps. *link is the board that
 * this endpoint marked last, so that the usual case takes no lock; NULL at first, given back with
 * sync_board_unlink(). *ret_called grows by the system calls made. 0, -ECONNREFUSED nobody is
 * there, -errno.
 */
int sync_board_wake(struct sync_board **link, const uint8_t id[16], uint32_t bit,
		    uint32_t *ret_called);
void sync_board_unlink(struct sync_board **link);
/*
 * What fork() must do for wakers. It happens by itself at the first wake; whoever takes locks of
 * his own at fork that wakers may hold registers this first, so that his are taken before ours.
 */
void sync_board_register_fork(void);

#endif
