/* SPDX-License-Identifier: MIT */
/* The observer: a consumer that finds nothing, looks for the dead and is told of deaths and of the
 * end, as in ring/idle.c. Included by recovery.pml. */

#define I_LOOK 20
#define I_CHECK 21
#define I_REAP 22
#define I_DEATHS 23
#define I_DEATHS_LOOK 24
#define I_FATE 25
#define I_PRESENT 26
#define I_END_LOOK 27
#define I_END_DEATHS 28
#define I_END_SAME 29
#define I_WAIT 30
#define I_ENDED 31

proctype observer(byte me)
{
	byte st, q, back, found, mine, r, word, seen;
	byte after; /* where to go when all rows have been looked at for the dead */
	bool keep, checked, reaped;
	bool over; /* the old stream's last reader closed */

	do
	OPEN_STEPS(CONSUMER, O_OTHERS)
	REAP_STEPS
	/* Nobody else is there, and the old stream has been read: wait for a new one. */
	:: d_step {
		ON(O_OTHERS) ->
		if
		:: r == 0 ->
			seen = told;
			word = produced;
			over = (FATE(consumed) == CLOSED);
			opens_then = opens
		:: else
		fi;
		if
		:: r == ROWS -> st = (over -> O_DRAINED : O_OPEN); r = 0
		:: r < ROWS && r != mine && state[r] != FREE -> st = O_OPEN; r = 0
		:: r < ROWS && (r == mine || state[r] == FREE) -> r++
		fi
	   }
	:: d_step { ON(O_DRAINED) -> st = (records == 0 -> O_BEGIN : O_OPEN) }
	:: d_step {
		ON(O_BEGIN) ->
		if
		:: FATE(word) == CLOSED && produced == word ->
			printf("the observer begins a new stream\n");
			produced = WITH(word, NEVER)
		:: else
		fi;
		st = O_OPEN
	   }
	:: d_step { ON(O_OPEN) -> state[mine] = OPEN; word = 0; over = false; MOVED; st = O_BORN }
	:: d_step { ON(O_BORN) -> consumed = BORN(consumed); MOVED; st = I_LOOK }

	/* Peek. */
	:: d_step {
		ON(I_LOOK) ->
		chg = false; checked = false; word = 0; r = 0; after = 0; reaped = false;
		idle = false; quiet = false; crashed_then = 0; sent_then = 0; orphan = ROWS;
		if
		:: records > 0 -> records--; taken++
		:: else ->
			idle = true;
			check_quiet();
			do
			:: r < ROWS && loan[r] && dead[who[r]] -> orphan = r; r++
			:: r < ROWS && !(loan[r] && dead[who[r]]) -> r++
			:: else -> break
			od;
			r = 0;
			st = I_CHECK
		fi
	   }
	/* Nothing there. Look at the peers' locks; not every time, but before a sleep. */
	:: d_step { ON(I_CHECK) -> st = I_FATE }
	:: d_step { ON(I_CHECK) -> checked = true; after = I_FATE; st = I_REAP }
	:: d_step {
		ON(I_REAP) ->
		if
		:: r == ROWS ->
			r = 0;
			/* What came back has to be looked at before the end is told. */
			st = (reaped && after == I_END_LOOK -> I_LOOK : after)
		:: r < ROWS && r != mine && LOOKS_DEAD(r) ->
			lock[r] = me;
			q = r; back = I_REAP; reaped = true; st = R_TAKEN;
			r++
		:: r < ROWS && !(r != mine && LOOKS_DEAD(r)) -> r++
		fi
	   }
	:: d_step { ON(I_FATE) -> word = produced; st = I_DEATHS }
	:: d_step {
		ON(I_DEATHS) ->
		if
		:: deaths != seen -> st = I_DEATHS_LOOK
		:: else -> st = (FATE(word) == CLOSED -> I_PRESENT : I_WAIT)
		fi
	   }
	/* A death comes after everything that was committed before it. */
	:: d_step {
		ON(I_DEATHS_LOOK) ->
		if
		:: records > 0
		:: else ->
			printf("the observer is told of a death\n");
			seen++; heard++;
			told = (told < seen -> seen : told)
		fi;
		st = I_LOOK
	   }
	:: d_step { /* is a producer there, or dead and not reaped? */
		ON(I_PRESENT) ->
		if
		:: r == ROWS ->
			r = 0;
#ifdef BREAK_NO_FORCED_REAP
			st = I_END_LOOK
#else
			reaped = false; after = I_END_LOOK; st = I_REAP
#endif
		:: r < ROWS && state[r] != FREE && role[r] == PRODUCER -> r = 0; st = I_WAIT
		:: r < ROWS && !(state[r] != FREE && role[r] == PRODUCER) -> r++
		fi
	   }
	:: d_step { ON(I_END_LOOK) -> st = (records > 0 -> I_LOOK : I_END_DEATHS) }
	:: d_step {
		ON(I_END_DEATHS) ->
#ifdef BREAK_NO_DEATH_RECHECK
		st = I_END_SAME
#else
		st = (deaths != seen -> I_LOOK : I_END_SAME)
#endif
	   }
	:: d_step {
		ON(I_END_SAME) ->
		if
		:: produced != word -> st = I_LOOK
		:: else ->
			printf("the observer is told the end\n");
			assert(quiet);
			assert(heard >= crashed_then);
#ifndef READER
			assert(taken >= sent_then);
#endif
			/* But for what somebody else is about to give back, and has not yet. */
			assert(orphan == ROWS || !loan[orphan] || lock[orphan] != 0);
			ended = true;
			st = I_ENDED;
			word = 0;
			seen = 0;
			checked = false;
			after = 0;
			reaped = false;
			idle = false; quiet = false; crashed_then = 0; sent_then = 0; orphan = ROWS
		fi
	   }
	:: d_step { ON(I_WAIT) && (chg || !checked) -> st = I_LOOK }
	od
}
