/* SPDX-License-Identifier: MIT */
/*
 * The heap: a unit of the section, the slots that refer to it, and those who die. ring/heap_units.c,
 * ring/heap.c, and of ring/peers.c the order of reaping. docs/DESIGN.md, "Heap".
 *
 * One unit with one block; producers succeed each other in one row, each reserving the block for one
 * record after the other. mem is what the block holds: a reader finds in it what its record named,
 * for as long as it reads, or the block was given to somebody else too early. At the end, when all
 * records have been taken, a sweep leaves the unit free: or it was lost.
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
#define KILLS 2
#endif
#ifndef CKILLS
#define CKILLS 1
#endif
#ifndef SWEEPERS
#define SWEEPERS 1
#endif
#ifndef REAPERS
#define REAPERS 1
#endif
#define SLOTS 2

mtype = { FREE, WRITING, COMMITTED, READING, PENDING, OWNED, ORPHAN, DEAD, OPEN };

mtype phase[SLOTS] = FREE;
byte ref[SLOTS];      /* the record that the descriptor names */
mtype unit = FREE;
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

/* Remember the orphan, walk over the slots, free what was not met. */
inline sweep(seen, marked, s)
{
	atomic { seen = gen; marked = (unit != ORPHAN) };
	s = 0;
	do
	:: s < SLOTS && !marked ->
#ifndef BREAK_NO_WALK
		marked = marked || (live(phase[s]) && ref[s] != 0);
#endif
		s++
	:: else -> break
	od;
	atomic {
		if
		:: !marked && unit == ORPHAN && SAME(seen) -> unit = FREE; gen++
		:: else
		fi;
		seen = 0; marked = false; s = 0
	}
}

/* Under the row's lock; the row is in use and its holder dead or closing. */
inline give_back_slots(s)
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
		}
	:: else -> break
	od;
	s = 0
}

inline orphan()
{
	atomic {
		if
		:: unit == OWNED -> unit = ORPHAN
		:: else
		fi
	}
}

inline leave_row(s)
{
#ifdef BREAK_ORPHAN_FIRST
	orphan();
	give_back_slots(s);
#else
	give_back_slots(s);
	orphan();
#endif
	row = FREE
}

/* The process dies here, or not: the kernel lets go of its lock. */
#define MAY_DIE                                                                                    \
	if                                                                                         \
	:: true                                                                                    \
	:: atomic { kills > 0 -> kills--; row = DEAD; locked = false; goto died }                  \
	fi

active proctype producer()
{
	byte life, n, s, mine, seen;
	bool marked, out;

open:
	if
	:: life == LIVES -> goto done
	:: atomic { life < LIVES && row == FREE && !locked -> locked = true; row = OPEN }
	:: atomic { life < LIVES && row == DEAD && !locked -> locked = true }; /* cleans up */
		leave_row(s);
		row = OPEN
	fi;
	life++;
	n = 0; out = false;
	do
	:: n == QUOTA -> break
	:: n < QUOTA ->
		/* A block: our own if its record has gone, a free one, or after a sweep. */
		if
		:: out ->
			atomic {
				if
				:: live(phase[mine]) && ref[mine] == mem && !GONE(phase[mine]) ->
					break /* full: it closes */
				:: else
				fi
			};
			atomic { assert(unit == OWNED); unit = FREE; gen++ };
			out = false
		:: else
		fi;
		MAY_DIE;
		atomic {
			if
			:: unit == FREE -> unit = OWNED; out = true
			:: else
			fi
		};
		if
		:: !out ->
			sweep(seen, marked, s);
			atomic {
				if
				:: unit == FREE -> unit = OWNED; out = true
				:: else
				fi
			};
			if
			:: !out -> break
			:: else
			fi
		:: else
		fi;
		MAY_DIE;
		atomic {
			if
			:: phase[0] == FREE -> mine = 0
			:: phase[1] == FREE -> mine = 1
			fi;
			phase[mine] = WRITING
		};
		MAY_DIE;
		atomic { ids++; mem = ids; ref[mine] = ids };
		MAY_DIE;
		if
		:: atomic { phase[mine] == WRITING -> phase[mine] = COMMITTED }
		:: atomic { phase[mine] == WRITING -> phase[mine] = PENDING }; /* stepped over */
			MAY_DIE;
			phase[mine] != PENDING
		fi;
		MAY_DIE;
		n++
	od;
	leave_row(s);
	locked = false;
	goto open;
died:
	s = 0; seen = 0; marked = false; out = false;
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

active [SWEEPERS] proctype sweeper()
{
	byte seen, s;
	bool marked;

	sweep(seen, marked, s)
}

/* Anybody who notices; may die as well, and another goes on. */
active [REAPERS] proctype reaper()
{
	byte s;

	do
	:: atomic { row == DEAD && !locked -> locked = true };
	   if
	   :: leave_row(s); locked = false
	   :: atomic { kills > 0 -> kills-- }; give_back_slots(s); locked = false
	   :: atomic { kills > 0 -> kills-- }; give_back_slots(s); orphan(); locked = false
	   fi
	od
}

active proctype judge()
{
	timeout;
	/* Every record has been taken, and whoever finds no room sweeps. */
	atomic {
		assert(row != OPEN && !locked);
		/* But for what the last one left that died and was not reaped: the next to come
		 * does that. */
		assert((phase[0] == FREE && phase[1] == FREE) || row == DEAD);
		assert(unit == FREE || unit == ORPHAN || row == DEAD)
	}
}
