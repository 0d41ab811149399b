/* SPDX-License-Identifier: MIT */
/*
 * The eventcount of sync/eventcount.h: no sleeper sleeps for ever while there is data.
 *
 * Publishers do not fence: what they store waits in a store buffer, which empties itself at any
 * later time, also after the publisher has looked at the event word. The sleeper's membarrier
 * empties all of them. A successful compare-and-swap with release order empties one's own; a
 * failed one does not, so that the model is not stronger than C11.
 *
 *   sleeper                                      waker
 *   1 CAS {a,s} -> {s,s}          announce       0 store the data
 *   2 membarrier                                 1 load word; halves differ: done
 *   3 look again; there: go on                   2 CAS {s,s} -> {s,s+1}
 *   4 sleep if sequence == s                     3 wake all
 *
 * Naps are left out, for with them nobody ever sleeps for ever, but for the one case that needs
 * them: a waker has been killed.
 *
 * Bounds and switches (-D): SLEEPERS, WAKERS, QUOTA records of each waker, KILLS, VICTIMS (bit
 * mask, sleepers first), FENCE (no membarrier to be had: publishers fence for themselves), SEM
 * (two POSIX semaphores in place of the futex, by the sequence's parity; wakers fill them up to
 * the number of sleepers), SYSV (a System V semaphore that counts wakes; whoever read v waits for
 * v + 1).
 */
#ifndef SLEEPERS
#define SLEEPERS 2
#endif
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef QUOTA
#define QUOTA 2
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef VICTIMS
#define VICTIMS 15
#endif

/* The sequence wraps around in every run; there are never 8 bumps while somebody dozes off. */
#define SEQUENCES 8
#define NEXT(s) (((s) + 1) % SEQUENCES)

byte announced = 0, sequence = 6;

byte data;            /* in memory: records that can be taken */
byte buffered[WAKERS];  /* in the store buffers */
bool asleep[SLEEPERS];
byte sem[2];           /* SEM: values; SYSV: the first counts wakes */
#define SEM_OF(s) sem[(s) % 2]
bool halted[4];
byte kills;
bool nap;             /* a waker was killed: sleeps end by themselves */

byte stored, taken;

#define ON(s) (st == (s) && !halted[me])

#define S_LOOK 0
#define S_LOAD 1
#define S_ANNOUNCE 2
#define S_BARRIER 3
#define S_LOOK_AGAIN 4
#define S_SLEEP 5
#define S_ASLEEP 6
#define S_SYSV 7

proctype sleeper(byte me)
{
	byte st = S_LOOK, s, a, i;

	do
	:: d_step { ON(S_LOOK) && data > 0 -> data--; taken++ }
	:: d_step { ON(S_LOOK) && data == 0 -> st = S_LOAD }
	:: d_step { ON(S_LOAD) -> s = sequence; a = announced; st = S_ANNOUNCE }
	:: d_step {
		ON(S_ANNOUNCE) ->
		if
#ifdef BREAK_ANNOUNCE_STORE
		:: true -> announced = s; sequence = s; st = S_BARRIER
#else
		:: sequence == s && announced == a -> announced = s; st = S_BARRIER
		:: else -> st = S_LOAD
#endif
		fi;
		if
		:: st == S_BARRIER -> printf("sleeper %d announces at %d\n", me, s)
		:: else
		fi;
		a = 0
	   }
	:: d_step {
		ON(S_BARRIER) ->
#if !defined(BREAK_NO_MEMBARRIER) && !defined(FENCE)
		i = 0;
		do
		:: i < WAKERS -> data = data + buffered[i]; buffered[i] = 0; i++
		:: else -> break
		od;
		i = 0;
#endif
#ifdef BREAK_NO_RECHECK
		st = S_SLEEP
#else
		st = S_LOOK_AGAIN
#endif
	   }
	:: d_step { ON(S_LOOK_AGAIN) && data > 0 -> data--; taken++; s = 0; st = S_LOOK }
	:: d_step { ON(S_LOOK_AGAIN) && data == 0 -> st = S_SLEEP }
	/* The kernel compares and goes to sleep in one step. */
#ifdef SEM
	:: d_step { /* the sequence tells stale tokens, which are dropped */
		ON(S_SLEEP) ->
		if
		:: sequence == s -> printf("sleeper %d sleeps at %d\n", me, s); st = S_ASLEEP
		:: else -> s = 0; st = S_LOOK
		fi
	   }
	:: d_step { ON(S_ASLEEP) && SEM_OF(s) > 0 -> SEM_OF(s) = SEM_OF(s) - 1; st = S_SLEEP }
	:: d_step { ON(S_ASLEEP) && SEM_OF(s) == 0 && nap -> s = 0; st = S_LOOK }
#elif defined(SYSV)
	:: d_step {
		ON(S_SLEEP) ->
#ifdef BREAK_VALUE_LATE
		i = (sequence == s);
		st = S_SYSV
	   }
	:: d_step {
		ON(S_SYSV) ->
		st = (i -> S_ASLEEP : S_LOOK);
		i = sem[0];
#else
		i = sem[0];
		st = S_SYSV
	   }
	:: d_step {
		ON(S_SYSV) ->
		st = (sequence == s -> S_ASLEEP : S_LOOK);
#endif
		s = 0;
		if
		:: st == S_LOOK -> i = 0
		:: else -> printf("sleeper %d sleeps beyond %d\n", me, i)
		fi
	   }
	:: d_step { ON(S_ASLEEP) && (sem[0] > i || nap) -> i = 0; st = S_LOOK }
#else
	:: d_step {
		ON(S_SLEEP) ->
		if
#ifdef BREAK_SLEEP_BLINDLY
		:: true ->
#else
		:: sequence == s ->
#endif
			printf("sleeper %d sleeps at %d\n", me, s);
			asleep[me] = true;
			st = S_ASLEEP
#ifndef BREAK_SLEEP_BLINDLY
		:: else -> st = S_LOOK
#endif
		fi;
		s = 0
	   }
	:: d_step { ON(S_ASLEEP) && (!asleep[me] || nap) -> asleep[me] = false; st = S_LOOK }
#endif
	od
}

#define W_STORE 0
#define W_FENCE 1
#define W_LOAD 2
#define W_BUMP 3
#define W_WAKE 4
#define W_POST 5
#define W_DONE 6

#define B (me - SLEEPERS)

proctype waker(byte me)
{
	byte st, n, s, a, i;

	do
	:: d_step {
		ON(W_STORE) ->
		if
		:: n == QUOTA -> st = W_DONE; n = 0
		:: else ->
			buffered[B]++; stored++; n++;
			printf("waker %d publishes\n", B);
			st = W_FENCE
		fi
	   }
	:: d_step {
		ON(W_FENCE) ->
#ifdef FENCE
		data = data + buffered[B];
		buffered[B] = 0;
#endif
		s = sequence;
		a = announced;
		st = (s == a -> W_BUMP : W_STORE);
		if
		:: st == W_STORE -> s = 0; a = 0
		:: else
		fi
	   }
	:: d_step {
		ON(W_BUMP) ->
		if
		:: sequence == s && announced == a ->
			data = data + buffered[B];
			buffered[B] = 0;
#ifdef BREAK_CLEAR_ONLY
			announced = (s + SEQUENCES - 1) % SEQUENCES;
#else
			sequence = NEXT(s);
#endif
			printf("waker %d bumps %d\n", B, s);
			st = W_WAKE;
#ifndef SEM
			s = 0;
#endif
			a = 0
		:: else ->
			/* Another waker was faster. Who announced anew gets the same again. */
			s = sequence; a = announced;
			st = (s == a -> W_BUMP : W_STORE);
			if
			:: st == W_STORE -> s = 0; a = 0
			:: else
			fi
		fi
	   }
#ifdef BREAK_WAKE_FIRST
	:: d_step { /* wake, then bump */
		ON(W_BUMP) && sequence == s && announced == a ->
		i = 0;
		do
		:: i < SLEEPERS -> asleep[i] = false; i++
		:: else -> break
		od;
		i = 0;
		st = W_WAKE
	   }
	:: d_step {
		ON(W_WAKE) ->
		data = data + buffered[B];
		buffered[B] = 0;
		sequence = NEXT(sequence);
		s = 0;
		a = 0;
		st = W_STORE
	   }
#else
	:: d_step {
		ON(W_WAKE) ->
#ifdef SEM
		i = (SEM_OF(s) < SLEEPERS -> SLEEPERS - SEM_OF(s) : 0);
		st = W_POST
#elif defined(SYSV)
		sem[0]++;
		st = W_STORE
#else
		i = 0;
		do
#ifdef BREAK_WAKE_ONE
		:: i < SLEEPERS && asleep[i] -> asleep[i] = false; break
		:: i < SLEEPERS && !asleep[i] -> i++
#else
		:: i < SLEEPERS -> asleep[i] = false; i++
#endif
		:: else -> break
		od;
		i = 0;
		st = W_STORE
#endif
	   }
#ifdef SEM
	:: d_step { ON(W_POST) && i > 0 -> SEM_OF(s) = SEM_OF(s) + 1; i-- }
	:: d_step { ON(W_POST) && i == 0 -> s = 0; st = W_STORE }
#endif
#endif
	od
}

/* Store buffers empty themselves, sooner or later. */
proctype memory()
{
	do
	:: d_step { buffered[0] > 0 -> buffered[0]--; data++ }
#if WAKERS > 1
	:: d_step { buffered[1] > 0 -> buffered[1]--; data++ }
#endif
#if WAKERS > 2
	:: d_step { buffered[2] > 0 -> buffered[2]--; data++ }
#endif
	od
}

#define MAY(e) (kills < KILLS && e < SLEEPERS + WAKERS && (VICTIMS & (1 << (e))) && !halted[e])
#define KILL(e) d_step { \
		MAY(e) -> \
		printf("%d is killed\n", e); \
		kills++; \
		halted[e] = true; \
		nap = nap || e >= SLEEPERS \
	}

proctype fate()
{
	do
	:: KILL(0)
	:: KILL(1)
	:: KILL(2)
	:: KILL(3)
	od
}

/* Nothing moves any more: then there is no data, or nobody to take it. */
proctype judge()
{
	byte i;
	bool alive;

	timeout ->
	d_step {
		do
		:: i < SLEEPERS -> alive = alive || !halted[i]; i++
		:: else -> break
		od;
		assert(!alive || data == 0);
		assert(stored == taken + data)
	}
}

init {
	atomic {
		run sleeper(0);
#if SLEEPERS > 1
		run sleeper(1);
#endif
#if SLEEPERS > 2
		run sleeper(2);
#endif
		run waker(SLEEPERS);
#if WAKERS > 1
		run waker(SLEEPERS + 1);
#endif
#if WAKERS > 2
		run waker(SLEEPERS + 2);
#endif
		run memory();
#if KILLS > 0
		run fate();
#endif
		run judge()
	}
}
