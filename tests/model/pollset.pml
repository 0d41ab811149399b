/* SPDX-License-Identifier: MIT */
/*
 * The pollset: ring/pollset*.c, sync/board.c. No record waits beside a sleeping set, no member is
 * touched after it was freed, and a removed one is closed once. docs/DESIGN.md, "Pollsets".
 *
 *   waiter     a thread of the set that waits: leads, or stands in line; takes, works, gives back
 *   poller     one that polls until there is nothing, or hands what it took to another thread
 *   waker      a producer in a process of its own, for one ring; killed at any step
 *   remover    a thread that takes member 0 out
 *
 * Announcing is the eventcount's, see eventcount.pml, and so here but one bit: announced, and
 * whether a waker moved the sequence since. Store buffers are that model's too; here a step is seen
 * by all. Naps are left out, for with them nothing is ever lost for long: a nap ends, once, when a
 * waker was killed, and the sweep that follows must find all that it left behind.
 *
 * Bounds and switches (-D): MEMBERS, WAITERS, WAKERS (of ring number modulo MEMBERS), QUOTA records
 * of each, POLLER, REMOVER, KILLS, HELLO (no waker has the board: datagrams, of which the socket
 * holds QFULL).
 */
#ifndef MEMBERS
#define MEMBERS 2
#endif
#ifndef WAITERS
#define WAITERS 1
#endif
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef QUOTA
#define QUOTA 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef QFULL
#define QFULL 1
#endif
#define THREADS (WAITERS + 1)

/* Rings. */
byte data[MEMBERS];      /* records that can be taken */
bool announced[MEMBERS];
bool moved[MEMBERS];     /* by a waker, since it was announced */

/* Members: the state word, then what is the holder's. */
bool held[MEMBERS], news[MEMBERS], gone[MEMBERS], grace[MEMBERS];
bool armed[MEMBERS], used[MEMBERS];
bool table[MEMBERS] = true;
bool freed[MEMBERS];

/* The set. */
bool marked[MEMBERS] = true; /* they have just been added */
bool hot[MEMBERS];
bool sleeping;
bool event;                  /* the eventfd is readable */
byte queue, about[QFULL];    /* hellos, and the members that they are about */
byte leader;                 /* 0, led, others in line */
bool in_line[THREADS];       /* asleep there */
bool reading[THREADS];       /* in an RCU read-side section */

byte kills, naps;
bool removed;

#include "pollset_members.pml"

/* ---- threads --------------------------------------------------------------------------------- */

/* The user's part, up to giving back. */
inline work()
{
	got--;
	atomic { assert(!freed[got] && !used[got]); used[got] = true };
	atomic { assert(!freed[got]); data[got] = data[got] - 1; used[got] = false };
	back_hot(got);
	got = 0
}

proctype waiter(byte me)
{
	byte i, got, n, old;
	bool a, b, told, vain, was, nap, turned, list[MEMBERS];

again:
	/* Become the leader. */
	if
	:: atomic { leader == 0 -> leader = 1 }
#if WAITERS > 1
	:: atomic { leader != 0 -> skip };
stand:		atomic { old = leader; leader = 2 };
		if
		:: old == 0 -> skip
		:: else ->
			old = 0;
#ifndef BREAK_LINE_BLIND
			arm_if_asleep();
#endif
			atomic { in_line[me] = (leader == 2) };
			!in_line[me] -> goto stand
		fi
#endif
	fi;
	/* Arm, announce, look again, sleep. */
	arm_all();
	sleeping = true;
#ifndef BREAK_NO_RECHECK
	take();
	if
	:: got == 0 -> look_for_bits()
	:: else
	fi;
#endif
	vain = false;
	if
	:: got == 0 && !a ->
		if
		:: atomic { event || queue > 0 -> event = false }
		:: atomic { naps > 0 -> naps--; nap = true; event = false }
		fi;
		do
		:: atomic { queue > 0 ->
			queue--; b = about[queue]; about[queue] = 0;
			n++;
			turned = turned || n == QFULL
		   };
			if
			:: b -> b = false; mark(MEMBERS - 1)
			:: else -> mark(0)
			fi
		:: atomic { queue == 0 -> n = 0; break }
		od
	:: else
	fi;
	atomic { a = false; sleeping = false };
	if
#ifndef BREAK_NO_SWEEP
	:: nap -> nap = false; turned = false; sweep()
#endif
#ifndef BREAK_NO_CATCH_UP
	:: turned && !nap -> turned = false; sweep()
#endif
	:: else -> nap = false; turned = false
	fi;
	/* One of those in line goes on. */
	atomic {
		old = leader; leader = 0;
		if
#if WAITERS > 1
		:: old == 2 && in_line[1 - me] -> in_line[1 - me] = false
#endif
		:: else
		fi;
		old = 0
	};
	if
	:: got != 0 -> work()
	:: else
	fi;
	goto again
}

#ifdef POLLER
proctype poller(byte me)
{
	byte i, got;
	bool a, told, vain, was, list[MEMBERS];

	do
	:: take();
		if
#ifndef BREAK_VAIN_BLIND
		:: vain -> vain = false; arm_if_asleep()
#endif
		:: else -> vain = false
		fi;
		if
		:: got == 0 -> break
		:: got != 0 -> work() /* and polls again */
		:: got != 0 -> /* by another thread */
			work();
#ifndef BREAK_DONE_BLIND
			arm_if_asleep();
#endif
			break
		fi
	od
}
#endif

#ifdef REMOVER
proctype remover()
{
	bool a;

	table[0] = false;
	gone[0] = true;
#ifndef BREAK_NO_GRACE
	!reading[0];
#if WAITERS > 1
	!reading[1];
#endif
#ifdef POLLER
	!reading[WAITERS];
#endif
#endif
	atomic { grace[0] = true; a = held[0] };
	if
#ifdef BREAK_CLOSE_HELD
	:: true -> atomic { close_member(0) }
#else
	:: !a -> atomic { close_member(0) }
#endif
	:: else
	fi;
	removed = true
}
#endif

/* ---- wakers ---------------------------------------------------------------------------------- */

/* Here it may have been killed. */
#if KILLS > 0
#define MAY_DIE \
	if \
	:: true \
	:: kills < KILLS -> kills++; naps++; goto died \
	fi
#else
#define MAY_DIE skip
#endif

#ifdef BREAK_MARK_LATE
#define FIRST  atomic { woke = sleeping; sleeping = false; MAY_DIE }
#define SECOND atomic { marked[m] = true; MAY_DIE }
#else
#define FIRST  atomic { marked[m] = true; MAY_DIE }
#define SECOND atomic { woke = sleeping; sleeping = false; MAY_DIE }
#endif

proctype waker(byte m)
{
	byte n;
	bool woke;

	do
	:: n == QUOTA -> break
	:: else ->
		atomic { data[m] = data[m] + 1; n++; MAY_DIE };
		if
		:: atomic { announced[m] -> announced[m] = false; moved[m] = true; MAY_DIE };
#ifdef HELLO
			atomic {
				if
				:: queue < QFULL -> about[queue] = m; queue++
				:: else /* turned away */
				fi;
				MAY_DIE
			}
#else
			FIRST;
			SECOND;
			if
			:: woke -> atomic { event = true; woke = false; MAY_DIE }
			:: else
			fi
#endif
		:: atomic { !announced[m] -> skip }
		fi
	od;
died:
	skip
}

/* ---- the verdict ----------------------------------------------------------------------------- */

/* Nothing moves any more: then there is no record, but in a member that is gone; and that one has
 * been closed. */
proctype judge()
{
	timeout;
	atomic {
		assert(data[0] == 0 || gone[0]);
#if MEMBERS > 1
		assert(data[1] == 0);
#endif
#ifdef REMOVER
		assert(removed && freed[0]);
#endif
		assert(leader != 0)
	}
}

init {
	atomic {
		run waiter(0);
#if WAITERS > 1
		run waiter(1);
#endif
#ifdef POLLER
		run poller(WAITERS);
#endif
#ifdef REMOVER
		run remover();
#endif
		run waker(0);
#if WAKERS > 1
		run waker(1 % MEMBERS);
#endif
#if WAKERS > 2
		run waker(2 % MEMBERS);
#endif
		run judge()
	}
}
