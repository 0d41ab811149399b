/* SPDX-License-Identifier: MIT */
/*
 * The heap: a unit of the section, the slots that refer to it, and those who die. ring/heap*.c, and
 * of ring/reap.c the order of reaping. docs/DESIGN.md, "Heap".
 *
 * One unit with one block; producers succeed each other in one row, each reserving the block for one
 * record after the other, as a run of units (given back when the record has gone) or out of an arena
 * (lent, and taken back). A rival is a producer that finds no room, sweeps, and uses what it gets.
 * mem is what the block holds: a reader finds in it what its record named, for as long as it reads,
 * or the block was given to somebody else too early. At the end, when all records have been taken, a
 * sweep leaves the unit free: or it was lost.
 *
 * A slot is read in one step: that a record was whole is V2, of docs/ORDERING.md.
 */
#ifndef LIVES
#define LIVES 3
#endif
#ifndef QUOTA
#define QUOTA 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef CKILLS
#define CKILLS 1
#endif
#ifndef RIVALS
#define RIVALS 1
#endif
#ifndef TURNS
#define TURNS 1 /* of each rival */
#endif
#ifndef REAPERS
#define REAPERS 1
#endif
#define SLOTS 2

mtype = { FREE, WRITING, COMMITTED, READING, PENDING, OWNED, LENT, ORPHAN, DEAD, OPEN };

#define ROW    1 /* whose the unit is: the row's, or a rival's */
#define RIVAL  2
#define REAPER 3
#define SPOILT 255 /* what a rival writes */

mtype phase[SLOTS] = FREE;
byte ref[SLOTS];      /* the record that the descriptor names */
mtype unit = FREE;
byte owner;
byte gen;
byte mem;             /* the record whose payload the block holds */
mtype row = FREE;
bool locked;
byte kills = KILLS, ckills = CKILLS;
byte ids;

#define live(p) (p == COMMITTED || p == READING || MARKED_TOO(p))
#ifdef SKIP_PENDING
#define MARKED_TOO(p) false
#else
#define MARKED_TOO(p) (p == PENDING)
#endif

#ifdef BREAK_READING_IS_GONE
#define GONE(p) (p == READING)
#else
#define GONE(p) false
#endif

#ifdef BREAK_NO_GENERATION
#define SAME(seen) true
#else
#define SAME(seen) (gen == seen)
#endif

/* The process dies here, or not: the kernel lets go of its lock. It has a label "died". */
inline may_die(who)
{
	if
	:: true
	:: atomic {
		kills > 0 -> kills--;
		if
		:: who == ROW -> row = DEAD; locked = false
		:: who == REAPER -> locked = false
		:: else
		fi;
		goto died
	   }
	fi
}

/* Remember the word of the unit, walk over the slots, free it if it was not met. */
inline sweep(who, seen, was, marked, s)
{
	atomic {
		seen = gen;
		was = unit;
		marked = !(unit == ORPHAN || (unit == LENT && owner != who))
	};
	s = 0;
	do
	:: s < SLOTS && !marked ->
		may_die(who);
#ifndef BREAK_NO_WALK
		marked = marked || (live(phase[s]) && ref[s] != 0);
#endif
		s++
	:: else -> break
	od;
	may_die(who);
	atomic {
		if
		:: !marked && unit == was && SAME(seen) -> unit = FREE; owner = 0; gen++
		:: else
		fi;
		seen = 0; was = FREE; marked = false; s = 0
	}
}

/* Under the row's lock; the row is in use and its holder dead or closing. */
inline give_back_slots(who, s)
{
	s = 0;
	do
	:: s < SLOTS ->
		atomic {
			if
			:: phase[s] == WRITING || phase[s] == PENDING -> phase[s] = FREE; ref[s] = 0
			:: else
			fi;
			s++
		};
		may_die(who)
	:: else -> break
	od;
	s = 0
}

inline orphan()
{
	atomic {
		if
		:: (unit == OWNED || unit == LENT) && owner == ROW -> unit = ORPHAN
		:: else
		fi
	}
}

inline leave_row(who, s)
{
#ifdef BREAK_ORPHAN_FIRST
	orphan();
	may_die(who);
	give_back_slots(who, s);
#else
	give_back_slots(who, s);
	orphan();
	may_die(who);
#endif
	row = FREE
}

/* What is committed there is all there is: anybody may free it when that has gone. */
inline lend()
{
	atomic { assert(unit == OWNED && owner == ROW); unit = LENT; mine = gen }
}

active proctype producer()
{
	byte life, n, s, at, seen, mine;
	mtype was = FREE;
	bool marked, out, have;

open:
	if
	:: life == LIVES -> goto done
	:: atomic { life < LIVES && row == FREE && !locked -> locked = true; row = OPEN }
	:: atomic { life < LIVES && row == DEAD && !locked -> locked = true }; /* cleans up */
		leave_row(ROW, s);
		row = OPEN
	fi;
	life++;
	n = 0; out = false; have = false;
	do
	:: n == QUOTA -> break
	:: n < QUOTA ->
		if
		:: out ->
			atomic {
				if
				:: live(phase[at]) && ref[at] == mem && mem != SPOILT && !GONE(phase[at]) ->
					break /* full: it closes */
				:: else
				fi
			};
			if
			:: true -> atomic { /* a run: given back, unless others were first */
				if
				:: unit == LENT && owner == ROW && gen == mine ->
					unit = FREE; owner = 0; gen++
				:: else
				fi;
				out = false }
			:: true -> atomic { /* of the arena: taken back, unless others were first */
				if
				:: unit == LENT && owner == ROW && gen == mine ->
					unit = OWNED; have = true;
#ifndef BREAK_SAME_GENERATION
					gen++;
#endif
				:: else
				fi;
				out = false }
			fi
		:: else
		fi;
		may_die(ROW);
		if
		:: !have ->
			atomic {
				if
				:: unit == FREE -> unit = OWNED; owner = ROW; have = true
				:: else
				fi
			}
		:: else
		fi;
		if
		:: !have ->
			sweep(ROW, seen, was, marked, s);
			atomic {
				if
				:: unit == FREE -> unit = OWNED; owner = ROW; have = true
				:: else
				fi
			};
			if
			:: !have -> break
			:: else
			fi
		:: else
		fi;
		may_die(ROW);
		atomic {
			if
			:: phase[0] == FREE -> at = 0
			:: phase[1] == FREE -> at = 1
			fi;
			phase[at] = WRITING
		};
#ifdef BREAK_LEND_EARLY
		lend();
#endif
		may_die(ROW);
		atomic { ids++; mem = ids; ref[at] = ids };
		may_die(ROW);
		if
		:: atomic { phase[at] == WRITING -> phase[at] = COMMITTED }
		:: atomic { phase[at] == WRITING -> phase[at] = PENDING }; /* stepped over */
			may_die(ROW);
			phase[at] != PENDING
		fi;
		may_die(ROW);
#ifndef BREAK_LEND_EARLY
		lend();
#endif
		have = false; out = true;
		may_die(ROW);
		n++
	od;
	leave_row(ROW, s);
	locked = false;
	goto open;
died:
	atomic { s = 0; seen = 0; was = FREE; marked = false; out = false; have = false; mine = 0; at = 0 };
	goto open;
done:
	skip
}

/* Another producer comes by at the slot's next ticket. */
active proctype helper()
{
	do
	:: atomic { phase[0] == PENDING -> phase[0] = COMMITTED }
	:: atomic { phase[1] == PENDING -> phase[1] = COMMITTED }
	od
}

active proctype consumer()
{
	byte s;

	do
	:: atomic {
		if
		:: phase[0] == COMMITTED -> s = 0
		:: phase[1] == COMMITTED -> s = 1
		fi;
		phase[s] = READING
	   };
	   assert(mem == ref[s]);
	   if
	   :: assert(mem == ref[s]); atomic { phase[s] = FREE; ref[s] = 0 }
	   :: atomic { ckills > 0 -> ckills-- };
	      phase[s] = COMMITTED /* by the reaper: delivered again, in place */
	   fi
	od
}

active [RIVALS] proctype rival()
{
	byte seen, s, turn;
	mtype was = FREE;
	bool marked;

	do
	:: turn == TURNS -> break
	:: turn < TURNS ->
		turn++;
		sweep(RIVAL, seen, was, marked, s);
		if
		:: atomic { unit == FREE -> unit = OWNED; owner = RIVAL };
			mem = SPOILT;
			atomic { unit = FREE; owner = 0; gen++ }
		:: true
		fi
	od;
died:
	skip
}

/* Anybody who notices; may die as well, and another goes on. */
active [REAPERS] proctype reaper()
{
	byte s;

	do
	:: atomic { row == DEAD && !locked -> locked = true };
	   leave_row(REAPER, s);
	   locked = false;
	   goto again;
died:
	   s = 0;
again:
	   skip
	od
}

active proctype judge()
{
	byte seen, s;
	mtype was = FREE;
	bool marked;

	timeout;
	/* Every record has been taken. Whoever comes next cleans up after the last that died, and
	 * sweeps when there is no room. */
	atomic {
		kills = 0;
		assert(row != OPEN && !locked);
		if
		:: row == DEAD -> leave_row(REAPER, s)
		:: else
		fi;
		assert(phase[0] == FREE && phase[1] == FREE);
		sweep(REAPER, seen, was, marked, s);
		assert(unit == FREE)
	};
died:
	skip
}
