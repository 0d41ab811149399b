/* SPDX-License-Identifier: MIT */
/*
 * Life and death of endpoints: rows of the peer table, kernel-held locks, reaping, and what a
 * consumer learns: records, deaths, the end of the stream. As in ring/peers.c, reap.c and idle.c.
 *
 * A row's lock goes when its holder dies, whatever it was doing; a reaper holds the lock of the
 * row it reaps, may be killed as well, and is replaced. The ring itself is a count of records
 * here, and one flag per row for a record lent to a reader: mpmc.pml has the slots.
 *
 * One consumer, the observer, is never killed. It must be told of every death of a producer,
 * never take a crash for the end, never be told the end while a producer is there or a record is
 * left, and never wait for an end that has been. A second consumer takes loans and may die with
 * one.
 *
 * `produced` and `consumed` are {generation, fate}: the generation goes up with every open, so
 * that whoever judges by more than one word sees that somebody came meanwhile.
 *
 * Bounds and switches (-D): ROWS, PRODUCERS (1 or 2), LIVES of each producer (opens again after
 * it closed), SENDS records in each life, READER (the second consumer), LATE (the observer comes
 * to an old stream that is over), KILLS, RKILLS (deaths of repairers), REPAIRERS (0 to 2) besides
 * the observer, which reaps as well.
 */
#ifndef ROWS
#define ROWS 3
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef LIVES
#define LIVES 1
#endif
#ifndef SENDS
#define SENDS 1
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef RKILLS
#define RKILLS 0
#endif
#ifndef REPAIRERS
#define REPAIRERS 0
#endif

/* Rows. */
#define FREE 0
#define OPENING 1
#define OPEN 2
#define CLOSING 3
/* Roles. */
#define PRODUCER 1
#define CONSUMER 2
/* Fates. */
#define NEVER 0
#define OPENED 1
#define CLOSED 2
#define DIED 3

#define FATE(x) ((x) & 3)
#ifdef BREAK_NO_GENERATION
#define BORN(x) OPENED
#else
#define BORN(x) ((((x) >> 2) + 1) * 4 + OPENED)
#endif
#define WITH(x, fate) (((x) & 252) | (fate))

/* Who: 1 and 2 producers, 3 the observer, 4 the reader, 5 and 6 repairers; 0 nobody. */
#define OBSERVER_ID 3
#define READER_ID 4

byte state[ROWS], role[ROWS], lock[ROWS];
bool loan[ROWS];
byte produced, consumed; /* {generation, fate} */
byte deaths;             /* of producers */
byte told;               /* deaths that some consumer has heard of */
byte records;            /* committed, not taken */
bool chg;                /* something moved since the observer last looked */
bool dead[7];
byte kills, rkills;

/* What really happened; not visible to the algorithm. */
byte who[ROWS];     /* whose row it is */
bool here[3];       /* producer's open has returned, its close has not begun */
byte crashed;       /* producers killed with an open row */
byte opens;         /* opens of producers that have returned */
byte opens_then;    /* when the observer began to open */
byte sent, taken;   /* records; taken by the observer */
byte heard;         /* deaths that the observer was told of */
bool idle;          /* the observer is deciding whether this is the end */
bool quiet;         /* meanwhile there was a moment without any producer, */
byte crashed_then;  /* so many had crashed */
byte sent_then;     /* and so much had been sent by then */
byte orphan = ROWS; /* row of a dead reader's loan that was there when it began to decide */
bool ended;

#define MOVED chg = true

inline check_quiet()
{
	if
	:: idle && !quiet && !here[1] && !here[2] ->
		quiet = true;
		crashed_then = crashed;
		sent_then = sent
	:: else
	fi
}

/* In use, and the lock can be had: the holder is dead. */
#ifdef BREAK_NO_LOCK
#define LOOKS_DEAD(r) (state[r] != FREE)
#else
#define LOOKS_DEAD(r) (state[r] != FREE && lock[r] == 0)
#endif

#ifdef BREAK_FREE_FIRST /* the row is freed before the death is counted */
#define AFTER_FATE R_FREE
#define AFTER_FREE R_COUNT
#define AFTER_COUNT R_DROP
#else
#define AFTER_FATE R_COUNT
#define AFTER_COUNT R_FREE
#define AFTER_FREE R_DROP
#endif

#define R_TAKEN 50
#define R_GIVE 51
#define R_FATE 52
#define R_COUNT 53
#define R_FREE 54
#define R_DROP 55
#define R_NEXT 56

#define ON(s) (st == (s) && !dead[me])

/* Reap row q, whose lock we hold, then go on at `back`; `keep` the lock, or drop it. */
#define REAP_STEPS \
	:: d_step { \
		ON(R_TAKEN) -> \
		found = state[q]; \
		st = (found == FREE -> R_DROP : R_GIVE); \
		/* No living peer is ever reaped. */ \
		assert(found == FREE || dead[who[q]]) \
	   } \
	:: d_step { \
		ON(R_GIVE) -> \
		if \
		:: loan[q] && found != OPENING -> loan[q] = false; records++; MOVED \
		:: else \
		fi; \
		st = R_FATE \
	   } \
	:: d_step { \
		ON(R_FATE) -> \
		if \
		:: found == OPEN && role[q] == PRODUCER -> produced = WITH(produced, DIED); MOVED \
		:: found == OPEN && role[q] == CONSUMER -> consumed = WITH(consumed, DIED); MOVED \
		:: found == CLOSING && role[q] == PRODUCER -> \
			produced = WITH(produced, CLOSED); MOVED \
		:: found == CLOSING && role[q] == CONSUMER -> \
			consumed = WITH(consumed, CLOSED); MOVED \
		:: else \
		fi; \
		st = AFTER_FATE \
	   } \
	:: d_step { \
		ON(R_COUNT) -> \
		if \
		:: found == OPEN && role[q] == PRODUCER -> \
			printf("%d counts a death in row %d\n", me, q); \
			deaths++; \
			MOVED \
		:: else \
		fi; \
		st = AFTER_COUNT \
	   } \
	:: d_step { \
		ON(R_FREE) -> \
		assert(lock[q] == me); \
		printf("%d frees row %d\n", me, q); \
		state[q] = FREE; who[q] = 0; MOVED; \
		st = AFTER_FREE \
	   } \
	:: d_step { \
		ON(R_DROP) -> \
		lock[q] = (keep -> lock[q] : 0); \
		st = back; found = 0; back = 0; q = 0; keep = false \
	   }

#define O_CLAIM 0
#define O_ROLE 1
#define O_OPENING 2
#define O_OTHERS 3
#define O_DRAINED 4
#define O_BEGIN 5
#define O_OPEN 6
#define O_BORN 7
#define O_OPENED 8
#define O_GIVE 9
#define O_CLOSED 10
#define O_FREE 11
#define O_DROP 12
#define O_DONE 13
#define O_LOAN 14

/* Open a row whose lock is free; reap it first if its last holder died. */
#define OPEN_STEPS(my_role, then) \
	:: d_step { \
		ON(O_CLAIM) -> \
		if \
		:: lock[mine] == 0 -> \
			lock[mine] = me; \
			q = mine; keep = true; back = O_ROLE; st = R_TAKEN \
		:: else -> mine = (mine + 1) % ROWS \
		fi \
	   } \
	:: d_step { ON(O_ROLE) -> role[mine] = my_role; who[mine] = me; st = O_OPENING } \
	:: d_step { ON(O_OPENING) -> state[mine] = OPENING; MOVED; st = then }

proctype producer(byte me)
{
	byte st, q, back, found, mine, r, lives, n, word;
	bool keep;

	do
	OPEN_STEPS(PRODUCER, O_OTHERS)
	REAP_STEPS
	/* Nobody else is there: a new stream begins, and waits for its first reader. */
	:: d_step {
		ON(O_OTHERS) ->
		if
		:: r == 0 -> word = consumed
		:: else
		fi;
		if
		:: r == ROWS -> st = O_BEGIN; r = 0
		:: r < ROWS && r != mine && state[r] != FREE -> st = O_OPEN; r = 0
		:: r < ROWS && (r == mine || state[r] == FREE) -> r++
		fi
	   }
	:: d_step {
		ON(O_BEGIN) ->
		if
		:: FATE(word) == CLOSED && consumed == word -> consumed = WITH(word, NEVER)
		:: else
		fi;
		st = O_OPEN
	   }
	:: d_step { ON(O_OPEN) -> state[mine] = OPEN; word = 0; MOVED; st = O_BORN }
	:: d_step {
		ON(O_BORN) ->
		printf("producer %d is open in row %d\n", me, mine);
		produced = BORN(produced);
		here[me] = true;
		opens++;
		MOVED;
		st = O_OPENED
	   }
	:: d_step {
		ON(O_OPENED) && n < SENDS ->
		printf("producer %d commits a record\n", me);
		records++; sent++; n++;
		MOVED
	   }
	/* Close. */
	:: d_step {
		ON(O_OPENED) && n == SENDS ->
		printf("producer %d closes\n", me);
		state[mine] = CLOSING;
		here[me] = false;
		check_quiet();
		MOVED;
		n = 0;
		st = O_CLOSED
	   }
	:: d_step { ON(O_CLOSED) -> produced = WITH(produced, CLOSED); MOVED; st = O_FREE }
	:: d_step { ON(O_FREE) -> state[mine] = FREE; who[mine] = 0; MOVED; st = O_DROP }
	:: d_step {
		ON(O_DROP) ->
		lock[mine] = 0;
		mine = 0;
		lives++;
		st = (lives < LIVES -> O_CLAIM : O_DONE)
	   }
	od
}

/* The second consumer: takes one record at a time as a loan, until the observer is at the end. */
proctype reader(byte me)
{
	byte st, q, back, found, mine;
	bool keep;

	do
	OPEN_STEPS(CONSUMER, O_OPEN)
	REAP_STEPS
	:: d_step { ON(O_OPEN) -> state[mine] = OPEN; MOVED; st = O_BORN }
	:: d_step { ON(O_BORN) -> consumed = BORN(consumed); MOVED; st = O_OPENED }
	:: d_step { ON(O_OPENED) && records > 0 -> records--; loan[mine] = true; st = O_LOAN }
	:: d_step { ON(O_LOAN) -> loan[mine] = false; st = O_OPENED }
	:: d_step { (ON(O_OPENED) || ON(O_LOAN)) && ended -> state[mine] = CLOSING; st = O_GIVE }
	:: d_step {
		ON(O_GIVE) ->
		if
		:: loan[mine] -> loan[mine] = false; records++; MOVED
		:: else
		fi;
		st = O_CLOSED
	   }
	:: d_step { ON(O_CLOSED) -> consumed = WITH(consumed, CLOSED); MOVED; st = O_FREE }
	:: d_step { ON(O_FREE) -> state[mine] = FREE; who[mine] = 0; MOVED; st = O_DROP }
	:: d_step { ON(O_DROP) -> lock[mine] = 0; mine = 0; st = O_DONE }
	od
}

/* Reaps, and is killed at any step of it, and another one starts. */
#define REPAIR(r) d_step { \
		ON(R_NEXT) && r < ROWS && LOOKS_DEAD(r) -> \
		lock[r] = me; q = r; back = R_NEXT; st = R_TAKEN \
	}
/* With the state that the row had before its lock was taken. */
#define REPAIR_LOOK(r) d_step { \
		ON(R_NEXT) && r < ROWS && LOOKS_DEAD(r) -> \
		found = state[r]; q = r; st = R_STALE \
	}
#define R_STALE 57

proctype repairer(byte me)
{
	byte st = R_NEXT, q, back, found, i;
	bool keep;

	do
#ifdef BREAK_NO_RECHECK
	:: REPAIR_LOOK(0)
	:: REPAIR_LOOK(1)
	:: REPAIR_LOOK(2)
	:: d_step {
		ON(R_STALE) ->
		if
		:: lock[q] == 0 -> lock[q] = me; back = R_NEXT; st = R_GIVE
		:: else -> q = 0; found = 0; st = R_NEXT
		fi
	   }
#else
	:: REPAIR(0)
	:: REPAIR(1)
	:: REPAIR(2)
#endif
	REAP_STEPS
	:: d_step {
		st != R_NEXT && rkills < RKILLS ->
		printf("repairer %d is killed\n", me);
		rkills++;
		do
		:: i < ROWS -> lock[i] = (lock[i] == me -> 0 : lock[i]); i++
		:: else -> break
		od;
		i = 0; q = 0; found = 0; back = 0; st = R_NEXT;
		MOVED
	   }
	od
}

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

#define OPEN_PRODUCER(i, e) (who[i] == e && state[i] == OPEN && role[i] == PRODUCER)

#define KILL(e) d_step { \
		kills < KILLS && !dead[e] -> \
		printf("%d is killed\n", e); \
		kills++; \
		dead[e] = true; \
		i = 0; \
		do \
		:: i < ROWS && OPEN_PRODUCER(i, e) -> crashed++; i++ \
		:: i < ROWS && !OPEN_PRODUCER(i, e) -> i++ \
		:: else -> break \
		od; \
		i = 0; \
		do \
		:: i < ROWS && lock[i] == e -> lock[i] = 0; i++ \
		:: i < ROWS && lock[i] != e -> i++ \
		:: else -> break \
		od; \
		i = 0; \
		if \
		:: e < OBSERVER_ID -> here[e % 3] = false; check_quiet() \
		:: else \
		fi; \
		MOVED \
	}

proctype fate()
{
	byte i;

	do
	:: KILL(1)
#if PRODUCERS > 1
	:: KILL(2)
#endif
#ifdef READER
	:: KILL(READER_ID)
#endif
	od
}

/* Nothing moves any more. */
proctype judge()
{
	byte i;

	timeout ->
	d_step {
		/* Rows of the dead are free again, and nothing is lent to them, if anybody is left
		 * to see to it. */
		do
		:: i < ROWS && (REPAIRERS > 0 || !ended) ->
			assert(state[i] == FREE || !dead[who[i]]);
			assert(!loan[i] || !dead[who[i]]);
			assert(lock[i] == 0 || !dead[lock[i]]);
			i++
		:: else -> break
		od;
		/* Every death was told; none was made up, but some are counted twice, for a reaper
		 * that died. */
		assert(heard >= crashed || ended);
		assert(deaths >= crashed || (REPAIRERS == 0 && ended));
		assert(deaths <= crashed + rkills + dead[READER_ID]);
		/* The observer does not wait for an end that has been. */
		assert(ended || FATE(produced) != CLOSED);
		assert(ended || FATE(produced) != NEVER || opens == opens_then);
		assert(ended || records == 0)
	}
}

init {
	d_step {
		/* Nobody is nobody's peer: reaping a row of his would be a mistake. */
		dead[0] = false
#ifdef LATE
		; produced = WITH(BORN(0), CLOSED); consumed = WITH(BORN(0), CLOSED)
#endif
	}
	atomic {
		run producer(1);
#if PRODUCERS > 1
		run producer(2);
#endif
		run observer(OBSERVER_ID);
#ifdef READER
		run reader(READER_ID);
#endif
#if REPAIRERS > 0
		run repairer(5);
#endif
#if REPAIRERS > 1
		run repairer(6);
#endif
#if KILLS > 0
		run fate();
#endif
		run judge()
	}
}
