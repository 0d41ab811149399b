/* SPDX-License-Identifier: MIT */
/*
 * The inside of pollsets. docs/DESIGN.md, "Pollsets".
 *
 * A member is somewhere in this circle:
 *
 *   armed   announced on its ring's eventcount; a waker will set its bit on the board
 *   marked  its bit on the board is set: to be looked at thoroughly
 *   hot     its bit among the set's own is set: somebody used it lately. To be looked at briefly,
 *           and armed when that has been in vain for a while, or before anybody sleeps
 *   held    by the thread that looks at it, or by the user it was given to
 *
 * Bits are hints, and anyone may take one; the member's state word decides who holds it. Whoever
 * finds a bit and cannot have the member leaves NEWS in its state, for the holder to pass on.
 */
#ifndef QUOIT_RING_POLLSET_H
#define QUOIT_RING_POLLSET_H

#include <pthread.h>
#include <stdalign.h>

#include <quoit/pollset.h>

#include "ring/ring.h"

/* quoit_member.state */
#define QUOIT__HELD  1u
#define QUOIT__NEWS  2u /* somebody found its bit while it was held */
#define QUOIT__GONE  4u /* removed: nobody may hold it any more */
#define QUOIT__GRACE 8u /* and nobody can be looking at it but its holder, who has to close it */

struct quoit_member {
	alignas(64) _Atomic uint32_t state;
	/* From here on the holder's, constant but for vain and room. */
	uint32_t index;
	uint32_t vain; /* brief looks without a result */
	uint32_t room;
	uint32_t seq; /* announced at */
	bool armed;
	struct quoit_member *next; /* while many are armed */
	const void *thread;        /* who took it for the user; see quoit__thread() */
	struct quoit__endpoint *ep;
	struct quoit_consumer *consumer;
	struct quoit_producer *producer;
	void *user;
};

struct quoit_pollset {
	uint8_t id[16];
	uint32_t members; /* most */
	unsigned forks;   /* of this process, when the set was made */
	struct sync_board *board;
	struct sync_pollable *pollable;
	_Atomic uint64_t *marked; /* the board's words */
	_Atomic uint64_t *hot;
	_Atomic(struct quoit_member *) *table;

	alignas(128) pthread_mutex_t change; /* add and remove; count, used */
	uint64_t *used;                      /* which indices are */
	_Atomic uint32_t count;
	_Atomic uint32_t words; /* that hold bits of members */

	alignas(128) _Atomic uint32_t cursor; /* index to look at next */
	_Atomic uint32_t vain;  /* brief looks without a result since the last arming */
	_Atomic uint32_t polls; /* that found something; about */
	_Atomic int64_t spin_ns;

	alignas(128) _Atomic uint32_t leader; /* a lock: who sleeps for all; see pollset_wait.c */
	_Atomic uint32_t looped;              /* an event loop sleeps for all */
	_Atomic int64_t answered_ns;
	int64_t swept_ns; /* the leader's, also these: */
	uint32_t sweeps;
	bool turned_away; /* hellos may have been lost since the last sweep */
};

/* ---- pollset.c ------------------------------------------------------------------------------ */

/* -EBADF in the child of a fork. */
int quoit__pollset_check(const struct quoit_pollset *set);
/* The table is read, and members are held, between these two: one pair for many members. A remover
 * waits until we have left. */
void quoit__pollset_enter(void);
void quoit__pollset_leave(struct quoit_pollset *set);
/* Hold the member at `index`, if there is one and nobody has it; else leave NEWS with who does. */
struct quoit_member *quoit__member_hold(struct quoit_pollset *set, uint32_t index);
/* Let go of it. It may be closed and freed by this. True: there is NEWS, mark it. */
bool quoit__member_let_go(struct quoit_pollset *set, struct quoit_member *m);
/* Names the calling thread. */
const void *quoit__thread(void);

/* ---- pollset_poll.c ------------------------------------------------------------------------- */

/* Thorough: 0 there is something to tell, -EAGAIN not. */
int quoit__member_look(struct quoit_member *m);
/* The same, and whether its peers live. */
int quoit__member_probe(struct quoit_member *m);
/* Brief: a load or two; may miss all but records, and some room. */
bool quoit__member_glance(struct quoit_member *m);
/* Let go, and see to it that it is looked at again: thoroughly, or briefly. */
void quoit__member_back_marked(struct quoit_pollset *set, struct quoit_member *m);
void quoit__member_back_hot(struct quoit_pollset *set, struct quoit_member *m);
/* Mark it, and wake whoever sleeps. */
void quoit__pollset_mark(struct quoit_pollset *set, uint32_t index);
/* Take what is ready; looks at nothing else. */
unsigned quoit__pollset_take(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max);
/* Are there bits? */
bool quoit__pollset_hot(const struct quoit_pollset *set);
bool quoit__pollset_bits(const struct quoit_pollset *set);
/* Arm hot members with one fence: all, or those that have been looked at in vain for a while. */
void quoit__pollset_arm_all(struct quoit_pollset *set);
void quoit__pollset_arm_stale(struct quoit_pollset *set);

#endif
