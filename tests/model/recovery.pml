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

#include "recovery_rows.pml"

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

#include "recovery_observer.pml"

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
