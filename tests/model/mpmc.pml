/* SPDX-License-Identifier: MIT */
/*
 * The MPMC slot ring: claim, commit, void, step over, republish, take, release, reap, redeliver.
 *
 * Each slot has one word {turn, phase, owner}; a ticket T belongs to slot T % N, turn T / N.
 * Every access to a shared word is one step; a compare-and-swap is one step. Processes are
 * killed, or stopped for ever, between any two steps. Patience is always over here: a process
 * that has to wait may just as well be slow, so this loses nothing.
 *
 * The rules, as in ring/slot.h:
 *   claim     at the first ticket that nobody has passed; FREE(t) -> WRITING(t,p). A slot that
 *             still holds an earlier lap and is lent, void or being written is stepped over by
 *             raising its turn, but only if a usable one lies within the next lap (lookahead).
 *   commit    WRITING(t,p) -> COMMITTED(t). Found void: VOIDW(t',p) -> PENDING(t',p), "complete,
 *             publish me at the slot's next ticket", and go on from the tail: skip what is free,
 *             publish what is PENDING, until the own slot has been published by whomever.
 *   help      whoever claims and meets PENDING(t',q) publishes it: -> COMMITTED(t).
 *   take      COMMITTED(t) -> FREE(t+1) after copying, or -> READING(t,c), then release. A WRITING
 *             met at the head is voided if a later ticket is committed.
 *   reap      WRITING, VOIDW, PENDING -> FREE of the next turn; READING, VOIDR -> COMMITTED; then
 *             bump the redelivery counter, whatever was found; then the row is free.
 *   redeliver an empty consumer whose remembered counter differs looks for COMMITTED slots behind
 *             its head.
 *
 * Bounds and switches (-D):
 *   N slots, NP producers, NC consumers, QUOTA records each, ZC bit mask of consumers that read in
 *   place, KILLS, STOPS, RKILLS (deaths of reapers), VICTIMS mask of who may be killed or stopped
 *   (producers first), DISCARDS, GIVEBACKS (consumer closes with a loan and opens again), REBORN
 *   (a dead producer's row is used again), RES2 (the first producer makes two reservations before
 *   it commits the first), ANY_ORDER (and commits them in any order; then no order is promised).
 * Negative controls: BREAK_... below; each must be found.
 */
#ifndef N
#define N 2
#endif
#ifndef NP
#define NP 2
#endif
#ifndef NC
#define NC 1
#endif
#ifndef QUOTA
#define QUOTA 2
#endif
/* The first producer may have less to send. */
#ifndef QUOTA_FIRST
#define QUOTA_FIRST QUOTA
#endif
#define QUOTA_OF(p) ((p) == 0 -> QUOTA_FIRST : QUOTA)
#ifndef ZC
#define ZC 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef RKILLS
#define RKILLS 0
#endif
#ifndef VICTIMS
#define VICTIMS 15
#endif
#ifndef DISCARDS
#define DISCARDS 0
#endif
#ifndef GIVEBACKS
#define GIVEBACKS 0
#endif
/* The first turn: laps 14, 15, 0, 1... of 16, so that every run goes through the wrap-around. */
#ifndef LAP
#define LAP 14
#endif

#define FIRST (LAP * N)
#define LAST_TICKET 120 /* nothing can need so many: turns have run away */
#define NOSLOT 15
#define NOREC 15
#define NOTICKET 0
#define ENDPOINTS (NP + NC)

/* Phases. */
#define FREE 0
#define WRITING 1
#define COMMITTED 2
#define READING 3
#define VOIDW 4
#define VOIDR 5
#define PENDING 6

/* The word, and comparison of turns modulo 16: 1 to 7 ahead, 8 to 15 behind. */
#define W(t, ph, o) ((((t) % 16) << 5) | ((ph) << 2) | (o))
#define TURN(w) ((w) >> 5)
#define PHASE(w) (((w) >> 2) & 7)
#define OWNER(w) ((w) & 3)
#define TURN_OF(T) (((T) / N) % 16)
#define DIFF(w, T) ((TURN(w) + 16 - TURN_OF(T)) % 16)
#define AHEAD(w, T) (DIFF(w, T) >= 1 && DIFF(w, T) <= 7)
#define BEHIND(w, T) (DIFF(w, T) >= 8)
#define SAME(w, T) (DIFF(w, T) == 0)

#define READ(w) (PHASE(w) == READING || PHASE(w) == VOIDR)
#define LENT(w) (READ(w) || PHASE(w) == VOIDW || PHASE(w) == PENDING)
#define OWNED(w) (LENT(w) || PHASE(w) == WRITING)
#ifdef BREAK_NO_HELP
#define HELPED(w) (PHASE(w) == PENDING && OWNER(w) == STAMP)
#else
#define HELPED(w) (PHASE(w) == PENDING)
#endif
#define STEPPABLE(w) (OWNED(w) && !HELPED(w))
/* Nobody can claim ticket T any more. */
#define CLAIMED(w, T) (AHEAD(w, T) || (SAME(w, T) && PHASE(w) != FREE))
/* Nobody can take ticket T any more, but by redelivery. */
#define TAKEN(w, T) (AHEAD(w, T) || (SAME(w, T) && LENT(w)))
#define VOID(w) (READ(w) -> VOIDR : (PHASE(w) == PENDING -> PENDING : VOIDW))
#define STEP_OVER(w, T) W(TURN_OF(T), VOID(w), OWNER(w))

#ifdef BREAK_ANONYMOUS
#define STAMP 3 /* the claim does not say whose it is */
#else
#define STAMP me
#endif

short word[N];
byte pay[N];  /* payload: the record that lies in the slot */
byte tail = FIRST, head = FIRST;
byte redeliveries;

byte chg;        /* bit per endpoint: a word changed since it began to look */
bool halted[4];  /* killed or stopped */
bool dead[4];    /* the kernel has let go of its lock */
bool used[4];    /* its row is not FREE */
bool locked[4];  /* a reaper holds its row's lock */
bool finished[4];
byte kills, stops, rkills, discards, givebacks;

/* What really happened; not visible to the algorithm. */
short committed, delivered, redelivered; /* bit per record */
byte next_claim = FIRST;                 /* above every ticket claimed so far */
byte owes;                               /* bit per endpoint: gave back, has not said so */
byte last_taken[NC * NP];                /* per consumer and producer: last record, plus one */

#define REC(p, k) ((p) * QUOTA + (k))
#define BIT(r) (1 << (r))
#define CHANGED chg = 15
/* Told when a counterexample is replayed; nothing in the verifier. */
#define SAY(what, T, i) \
	printf("%d: ", me); printf(what); \
	printf("; ticket %d, turn %d, slot %d\n", T, TURN(word[i]), i)
#define ON(s) (st == (s) && !halted[me])
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* A hint moves to T: every ticket of the lap below it must have been passed. */
inline check_tail(T_)
{
	tmp = 1;
	do
	:: tmp <= N && T_ - tmp >= FIRST ->
		assert(CLAIMED(word[(T_ - tmp) % N], T_ - tmp));
		tmp++
	:: else -> break
	od;
	tmp = 0
}

inline check_head(T_)
{
	tmp = 1;
	do
	:: tmp <= N && T_ - tmp >= FIRST ->
		assert(TAKEN(word[(T_ - tmp) % N], T_ - tmp) ||
		       (PHASE(word[(T_ - tmp) % N]) == COMMITTED &&
			(redelivered & BIT(pay[(T_ - tmp) % N]))));
		tmp++
	:: else -> break
	od;
	tmp = 0
}

#include "mpmc_producer.pml"
#include "mpmc_consumer.pml"

/*
 * Whoever notices a death: takes the row's lock, gives back what is stamped with the row, frees the
 * row. It may be killed itself; the kernel lets go of the lock and another one starts over.
 */
#define R_IDLE 0
#define R_LOAD 1
#define R_CAS 2
#define R_BUMP 3
#define R_ROW 4
#define R_EARLY 5

#define DIES_AT(s) d_step { \
		st == (s) && rkills < RKILLS -> \
		printf("the reaper of %d is killed\n", q); \
		rkills++; \
		locked[q] = false; \
		st = R_IDLE; i = 0; w = 0; q = 0; turned = false \
	}
#define TAKE_ROW(e) d_step { \
		st == R_IDLE && e < ENDPOINTS && dead[e] && used[e] && !locked[e] -> \
		locked[e] = true; q = e; st = R_FIRST \
	}

#ifdef BREAK_BUMP_BEFORE
#define R_FIRST R_EARLY
#else
#define R_FIRST R_LOAD
#endif

proctype reaper()
{
	byte st, q, i;
	short w;
	bool turned;
#define me q

	do
	:: TAKE_ROW(0)
	:: TAKE_ROW(1)
	:: TAKE_ROW(2)
	:: TAKE_ROW(3)
	:: d_step { st == R_EARLY -> redeliveries++; CHANGED; st = R_LOAD }
	:: d_step {
		st == R_LOAD ->
		if
		:: i == N -> i = 0; st = (q >= NP -> R_BUMP : R_ROW)
		:: i < N && OWNER(word[i]) == q && OWNED(word[i]) -> w = word[i]; st = R_CAS
		:: else -> i++
		fi
	   }
	:: d_step {
		st == R_CAS ->
		if
#ifdef BREAK_REAP_BLIND
		:: true ->
#else
		:: word[i] == w ->
#endif
			if
			:: PHASE(w) == WRITING || PHASE(w) == VOIDW || PHASE(w) == PENDING ->
				word[i] = W(TURN(w) + 1, FREE, 0)
			:: else ->
				word[i] = W(TURN(w), COMMITTED, 0);
				redelivered = redelivered | BIT(pay[i]);
				turned = true
			fi;
			CHANGED;
			SAY("reaper mends for the dead", 0, i);
			i++
		:: else
		fi;
		w = 0;
		st = R_LOAD
	   }
	:: d_step {
		st == R_BUMP ->
#ifdef BREAK_BUMP_BEFORE
#elif defined(BREAK_BUMP_IF_TURNED)
		if
		:: turned -> redeliveries++; CHANGED
		:: else
		fi;
#else
		redeliveries++;
		CHANGED;
#endif
		st = R_ROW
	   }
	:: d_step {
		st == R_ROW ->
		SAY("reaper frees the row of", 0, 0);
		used[q] = false;
		locked[q] = false;
		q = 0;
		turned = false;
		st = R_IDLE
	   }
	:: DIES_AT(R_LOAD)
	:: DIES_AT(R_CAS)
	:: DIES_AT(R_BUMP)
	:: DIES_AT(R_ROW)
	:: DIES_AT(R_EARLY)
	od
#undef me
}

#define MAY(e) (e < ENDPOINTS && (VICTIMS & BIT(e)) && !halted[e] && !finished[e])

proctype fate()
{
	do
	:: d_step {
		kills < KILLS && MAY(0) ->
		printf("0: is killed\n");
		kills++;
		halted[0] = true;
		dead[0] = true
	   }
	:: d_step {
		kills < KILLS && MAY(1) ->
		printf("1: is killed\n");
		kills++;
		halted[1] = true;
		dead[1] = true
	   }
	:: d_step {
		kills < KILLS && MAY(2) ->
		printf("2: is killed\n");
		kills++;
		halted[2] = true;
		dead[2] = true
	   }
	:: d_step {
		kills < KILLS && MAY(3) ->
		printf("3: is killed\n");
		kills++;
		halted[3] = true;
		dead[3] = true
	   }
	:: d_step {
		stops < STOPS && MAY(0) ->
		printf("0: is stopped for ever\n");
		stops++;
		halted[0] = true
	   }
	:: d_step {
		stops < STOPS && MAY(1) ->
		printf("1: is stopped for ever\n");
		stops++;
		halted[1] = true
	   }
	:: d_step {
		stops < STOPS && MAY(2) ->
		printf("2: is stopped for ever\n");
		stops++;
		halted[2] = true
	   }
	:: d_step {
		stops < STOPS && MAY(3) ->
		printf("3: is stopped for ever\n");
		stops++;
		halted[3] = true
	   }
	od
}

/* Nothing moves any more. */
proctype judge()
{
	byte i, r, T, n;
	bool reading, stopped_owing;

	timeout ->
	d_step {
		reading = false;
		i = NP;
		do
		:: i < ENDPOINTS ->
			reading = reading || !halted[i];
			/* Stopped between giving back and saying so: comes back with it. */
			stopped_owing = stopped_owing || (halted[i] && !dead[i] && (owes & BIT(i)));
			i++
		:: else -> break
		od;
		/* Every death was cleaned up. */
		i = 0;
		do
		:: i < ENDPOINTS -> assert(!dead[i] || !used[i]); i++
		:: else -> break
		od;
		/* Whoever lives has done its work, if there is somebody to read. */
		i = 0;
		do
		:: i < NP -> assert(!reading || halted[i] || finished[i]); i++
		:: else -> break
		od;
		/* What was committed is delivered, or is there to be. */
		r = 0;
		do
		:: r < NP * QUOTA ->
			if
			:: (committed & BIT(r)) && !(delivered & BIT(r)) ->
				n = 0;
				i = 0;
				do
				:: i < N ->
					if
					:: pay[i] == r && PHASE(word[i]) == COMMITTED &&
					   (!reading || stopped_owing) -> n++
					:: pay[i] == r && READ(word[i]) &&
					   halted[OWNER(word[i])] && !dead[OWNER(word[i])] -> n++
					:: else
					fi;
					i++
				:: else -> break
				od;
				assert(n == 1)
			:: else
			fi;
			r++
		:: else -> break
		od;
		/* Without stopped processes the whole ring is usable: N claims in a row succeed. */
		if
		:: stops == 0 && reading ->
			i = 0;
			do
			:: i < N -> assert(PHASE(word[i]) == FREE); i++
			:: else -> break
			od;
			T = tail;
			n = 0;
			do
			:: n < N && CLAIMED(word[T % N], T) -> T++
			:: n < N && SAME(word[T % N], T) && PHASE(word[T % N]) == FREE ->
				word[T % N] = W(TURN_OF(T), WRITING, 0); T++; n++
			:: else -> break
			od;
			assert(n == N)
		:: else
		fi
	}
}

init {
	byte i;

	d_step {
		do
		:: i < N -> word[i] = W(LAP, FREE, 0); pay[i] = NOREC; i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < ENDPOINTS -> used[i] = true; i++
		:: else -> break
		od;
		i = 0
	}
	atomic {
		run producer(0);
#if NP > 1
		run producer(1);
#endif
#if NP > 2
		run producer(2);
#endif
		run consumer(NP);
#if NC > 1
		run consumer(NP + 1);
#endif
#if KILLS > 0
		run reaper();
#endif
#if KILLS + STOPS > 0
		run fate();
#endif
		run judge()
	}
}
