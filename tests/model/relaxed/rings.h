/* SPDX-License-Identifier: MIT */
/*
 * Rings for the explorer: laid out by hand in the machine's segment, with handles in the threads'
 * own memory, and what surrounds the code that is explored: no peers die unseen, membarrier and the
 * futex are the machine's.
 */
#ifndef QUOIT_RELAXED_RINGS_H
#define QUOIT_RELAXED_RINGS_H

#include "ring/slot.h"

#include "explore.h"

/* Edges of docs/ORDERING.md, each end on its own. */
#define EDGES(X)                                                                                   \
	X(S1_RELEASE)                                                                              \
	X(S1_ACQUIRE)                                                                              \
	X(S2_RELEASE)                                                                              \
	X(S2_ACQUIRE)                                                                              \
	X(S3_RELEASE)                                                                              \
	X(S3_ACQUIRE)                                                                              \
	X(M1_RELEASE)                                                                              \
	X(M1_ACQUIRE)                                                                              \
	X(M2_RELEASE)                                                                              \
	X(M2_ACQUIRE)                                                                              \
	X(E3_RELEASE)                                                                              \
	X(E3_ACQUIRE)                                                                              \
	X(E4_RELEASE)                                                                              \
	X(E4_ACQUIRE)                                                                              \
	X(R1_RELEASE)                                                                              \
	X(R1_ACQUIRE)                                                                              \
	X(P1_RELEASE)                                                                              \
	X(P1_ACQUIRE)                                                                              \
	X(P2_RELEASE)                                                                              \
	X(P2_ACQUIRE)                                                                              \
	X(P3_RELEASE)                                                                              \
	X(P3_ACQUIRE)

#define EDGE(name) name,
enum edge { EDGES(EDGE) EDGE_COUNT };
#undef EDGE

/* Other things that can be left out. */
enum fault {
	NO_MEMBARRIER = 1, /* it returns at once */
	NO_STAMP = 2,      /* two producers stamp their slots alike */
	FENCED = 4,        /* no fault: membarrier is not to be had, publishers fence */
};

extern unsigned faults;

#define SEEN 16

/* What the threads have of their own: in world.own, so that it goes with the state. */
struct own {
	struct quoit q;
	struct quoit_producer p[2];
	unsigned calls[THREADS]; /* of the clock */
	unsigned sent[3];        /* by each producer */
	unsigned got[3];         /* by a consumer: next record of each producer */
	uint8_t seen[3][SEEN];   /* by all */
	unsigned taking[2];      /* about to be taken by a consumer: 1 + its number */
	struct quoit_consumer c[2];
};

#define OWN ((struct own *)(void *)world.own)

void ring_make(enum quoit_kind kind, uint64_t size, uint64_t start);
void producer_make(unsigned i, unsigned row);
void consumer_make(unsigned i, unsigned row);
extern bool waits;  /* the eventcounts are explored */
extern bool counts; /* the counts of SPSC producers are explored */
extern bool lives;  /* the first row's state is, and what is told of deaths and the end */
extern int64_t clock_step;

extern const struct scenario spsc_scenarios[], mpmc_scenarios[], wait_scenarios[], life_scenarios[];

#endif
