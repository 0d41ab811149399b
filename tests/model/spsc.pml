/* SPDX-License-Identifier: MIT */
/*
 * The SPSC byte ring: a record's header word says whether it is there.
 *
 * The ring is CAP words. A header is {tag, padding, length, id}; the tag of a position is the
 * inverse of its lap bit, so zeroed memory and the words of the lap before hold no record of this
 * lap. Old or new payload may look like anything; so the producer makes sure that the word where
 * the next header will be does not look like one, before it publishes.
 *
 * Producer and consumer are killed between any two steps; a successor resumes from what is in
 * memory: the producer from its published position, walking on over headers that are there; the
 * consumer at its published position. Payload words take any tag, at the adversary's choice.
 *
 * Bounds and switches (-D): CAP, a power of two that divides 256; QUOTA records; PMAX longest
 * payload in words; BATCH (up to two records published together); SHORT (commit less than was
 * reserved); PKILLS, CKILLS; FIRST position, modulo 256: near its end, so that every run wraps
 * around.
 */
#ifndef CAP
#define CAP 4
#endif
#ifndef QUOTA
#define QUOTA 5
#endif
#ifndef PMAX
#define PMAX (CAP - 2)
#endif
#ifndef PKILLS
#define PKILLS 0
#endif
#ifndef CKILLS
#define CKILLS 0
#endif
#ifndef FIRST
#define FIRST (256 - CAP)
#endif
#ifndef BATCH
#define BATCH 1
#endif

#define NOBODY 15 /* what a payload that is taken for a header says */

/* Positions are modulo 256. */
#define POS(x) ((x) & 255)
#define AT(x) ((x) % CAP)
#define LAP_END(x) (POS((x) - AT(x) + CAP))

#define TAG(p) ((((p) / CAP) & 1) -> 0 : 128)
#define HEADER(p, pad, words, id) (TAG(p) + (pad) * 64 + (words) * 16 + (id))
#define IS_THERE(w, p) (((w) & 128) == TAG(p))
#define IS_PADDING(w) ((w) & 64)
#define LEN(w) (((w) >> 4) & 3)
#define ID(w) ((w) & 15)

byte mem[CAP];
byte head = FIRST;  /* the consumer's news for the producer, in batches: wakes it */
byte ptail = FIRST; /* the producer's published position */
byte ctail = FIRST; /* the consumer's */

/* What really happened. */
byte owner[CAP];    /* record whose payload was written here last */
byte committed;     /* records published so far */
byte expected;      /* next one to be advanced over */
byte pkills, ckills;

/* Nothing that the consumer has not advanced over is overwritten. */
#define WITHIN(x, y) (POS((x) - (y)) <= CAP)
#define WRITABLE(x) (POS((x) - ctail) < CAP)

inline clear(p_)
{
	if
	:: IS_THERE(mem[AT(p_)], p_) -> mem[AT(p_)] = mem[AT(p_)] ^ 128
	:: else
	fi
}

#define P_OPEN 0
#define P_WALK 1
#define P_RESUME 2
#define P_RESERVE 3
#define P_PAD_CLEAR 4
#define P_PAD 5
#define P_PAD_POSITION 6
#define P_FULL 7
#define P_PAYLOAD 8
#define P_NEXT 9
#define P_CLEAR 10
#define P_PUBLISH 11
#define P_POSITION 12
#define P_CLEAR_LATE 13
#define P_DONE 14
#define P_LINE 15
#define P_ROOM 16

/* The record that is to be reserved would cross the end of the ring; and there is room for it. */
#define WRAPS (CAP - AT(position) < rlen + 1)
#define FITS (POS((WRAPS -> LAP_END(position) : position) + rlen + 1 - h) <= CAP - 1)
#define LATER(a, b) (POS((b) - (a)) < 128 -> (b) : (a))

proctype producer()
{
	byte st = P_OPEN, position;
	byte h;       /* the consumer is known to have got here */
	byte seen;    /* head when it was looked at last */
	byte plen, i;
	byte rlen;    /* reserved */
	byte at;      /* where the record being written goes: behind position in a batch */
	byte n;       /* records of the batch before it */
	byte first;   /* length of the batch's first record: its header is stored last */
	bool again;   /* one more record goes into the batch */

	do
	/* Open: from the published position on, over what a predecessor published. */
	:: d_step {
		st == P_OPEN ->
		h = ctail;
		position = ptail;
		printf("producer opens: position %d, consumer %d\n", position, h);
		/* The reader may be past it already. */
#ifdef BREAK_OPEN_STRICT
		assert(POS(position - h) <= CAP);
#else
		assert(WITHIN(position, h) || WITHIN(h, position));
#endif
		st = P_WALK
	   }
	:: d_step {
		st == P_WALK ->
#ifdef BREAK_NO_WALK
		st = P_RESUME
#else
		if
		:: POS(position - h) == CAP || !IS_THERE(mem[AT(position)], position) ->
			st = P_RESUME
		:: else ->
			assert(WITHIN(POS(position + LEN(mem[AT(position)]) + 1), h) ||
			       WITHIN(h, POS(position + LEN(mem[AT(position)]) + 1)));
			assert(ID(mem[AT(position)]) != NOBODY);
			position = POS(position + LEN(mem[AT(position)]) + 1)
		fi
#endif
	   }
	:: d_step {
		st == P_RESUME ->
#ifndef BREAK_NO_WALK
		assert(WITHIN(position, h));
#endif
		ptail = position; st = (committed == QUOTA -> P_DONE : P_RESERVE)
	   }
	/* Reserve rlen words for a payload of plen. */
	:: d_step { st == P_RESERVE && rlen < PMAX -> rlen++; plen = rlen }
#ifdef SHORT
	:: d_step { st == P_RESERVE && plen > 0 -> plen-- }
#endif
	:: d_step {
		st == P_RESERVE ->
		seen = head;
		h = LATER(h, head);
		at = position;
		n = 0;
		st = (FITS -> P_ROOM : P_LINE)
	   }
	/* The consumer hands back a quarter at a time; its own line says how far it really is. */
	:: d_step { st == P_LINE -> h = LATER(h, ctail); st = P_ROOM }
	:: d_step {
		st == P_ROOM ->
		if
		:: WRAPS && POS(LAP_END(position) - h) <= CAP - 1 -> st = P_PAD_CLEAR
		:: !WRAPS && FITS -> seen = 0; i = 0; st = P_PAYLOAD
		:: else -> st = P_FULL
		fi
	   }
	:: d_step { st == P_FULL && head != seen -> seen = 0; st = P_RESERVE }
	/* Skip to the start of the ring. */
	:: d_step { st == P_PAD_CLEAR -> clear(LAP_END(position)); st = P_PAD }
	:: d_step {
		st == P_PAD ->
		assert(WRITABLE(position));
		printf("producer publishes padding at %d\n", position);
		mem[AT(position)] = HEADER(position, 1, CAP - AT(position) - 1, 14);
		st = P_PAD_POSITION
	   }
	:: d_step {
		st == P_PAD_POSITION ->
		position = LAP_END(position);
		ptail = position;
		at = position;
		st = P_ROOM
	   }
	/* The payload: looks like a header of this lap, or of the other one. */
	:: d_step {
		st == P_PAYLOAD && i < rlen ->
		i++;
		assert(WRITABLE(POS(at + i)));
		mem[AT(at + i)] = NOBODY;
		owner[AT(at + i)] = committed + n
	   }
	:: d_step {
		st == P_PAYLOAD && i < rlen ->
		i++;
		assert(WRITABLE(POS(at + i)));
		mem[AT(at + i)] = 128 + NOBODY;
		owner[AT(at + i)] = committed + n
	   }
#ifdef BREAK_RELAXED /* the header is seen before the payload that was stored before it */
	:: d_step { st == P_PAYLOAD && i == 0 -> i = rlen }
#endif
	:: d_step { st == P_PAYLOAD && i == rlen -> i = 0; st = P_NEXT }
	/* The first header of a batch is stored last; the others as they come. */
	:: d_step {
		st == P_NEXT ->
		if
		:: n == 0 -> first = plen
		:: else ->
			assert(WRITABLE(at));
			mem[AT(at)] = HEADER(at, 0, plen, committed + n)
		fi;
		n++;
		at = POS(at + plen + 1);
		plen = 0; rlen = 0;
#ifdef BREAK_CLEAR_LATE
		st = P_PUBLISH
#else
		st = P_CLEAR
#endif
	   }
	:: d_step { /* another one, if there is room up to the end of the lap */
		st == P_CLEAR && n < BATCH && committed + n < QUOTA && AT(at) != 0 &&
		POS(at + 1 - h) <= CAP - 1 ->
		again = true
	   }
	:: d_step { st == P_CLEAR && again && rlen < PMAX && CAP - AT(at) >= rlen + 2 &&
		    POS(at + rlen + 2 - h) <= CAP - 1 -> rlen++; plen = rlen }
	:: d_step { st == P_CLEAR && again -> again = false; st = P_PAYLOAD }
	:: d_step {
		st == P_CLEAR && !again ->
#ifndef BREAK_NO_CLEAR
		clear(at);
#endif
		st = P_PUBLISH
	   }
#ifdef BREAK_POSITION_FIRST
	:: d_step { st == P_PUBLISH && ptail != at -> ptail = at }
#endif
	:: d_step {
#ifdef BREAK_POSITION_FIRST
		st == P_PUBLISH && ptail == at ->
#else
		st == P_PUBLISH ->
#endif
		assert(WRITABLE(position));
		mem[AT(position)] = HEADER(position, 0, first, committed);
		printf("producer publishes %d record(s) at %d\n", n, position);
		committed = committed + n;
		n = 0; first = 0;
#ifdef BREAK_CLEAR_LATE
		st = P_CLEAR_LATE
#else
		st = P_POSITION
#endif
	   }
	:: d_step { st == P_CLEAR_LATE -> clear(at); st = P_POSITION }
	:: d_step {
		st == P_POSITION ->
		position = at; at = 0;
		ptail = position;
		st = (committed == QUOTA -> P_DONE : P_RESERVE)
	   }
	/* Killed; a successor opens. */
	:: d_step {
		pkills < PKILLS && st != P_OPEN && st != P_DONE ->
		printf("producer is killed\n");
		pkills++;
		st = P_OPEN;
		position = 0;
		h = 0;
		seen = 0;
		plen = 0;
		rlen = 0;
		i = 0;
		at = 0;
		n = 0;
		first = 0;
		again = false
	   }
	od
}

#define C_OPEN 0
#define C_OPEN_HEAD 1
#define C_PEEK 2
#define C_USE 3
#define C_ADVANCE 4
#define C_HEAD 5
#define C_EMPTY 6
#define C_WAIT 7

proctype consumer()
{
	byte st = C_OPEN, position, w, i;
	byte published; /* what head says */
	byte milestone; /* look again whether to hand back */

	do
	:: d_step { st == C_OPEN -> position = ctail; published = head; st = C_OPEN_HEAD }
	:: d_step {
		st == C_OPEN_HEAD ->
		milestone = POS(position + CAP / 4);
		published = position;
		head = position;
		st = C_PEEK
	   }
	:: d_step {
		st == C_PEEK ->
		w = mem[AT(position)];
		if
		:: !IS_THERE(w, position) -> w = 0; st = C_EMPTY
		:: IS_THERE(w, position) && IS_PADDING(w) ->
			assert(AT(position) + LEN(w) + 1 == CAP);
			st = C_ADVANCE
		:: IS_THERE(w, position) && !IS_PADDING(w) ->
			/* A record that was published, the next one, whole. */
			printf("consumer finds record %d at %d\n", ID(w), position);
			assert(ID(w) != NOBODY);
			assert(ID(w) == expected);
			assert(expected < committed);
			assert(AT(position) + LEN(w) + 1 <= CAP);
			st = C_USE
		fi
	   }
	:: d_step { /* one payload word after the other */
		st == C_USE ->
		if
		:: i == LEN(w) -> i = 0; st = C_ADVANCE
		:: else -> i++; assert(owner[AT(position + i)] == expected)
		fi
	   }
	:: d_step {
		st == C_ADVANCE ->
		if
		:: !IS_PADDING(w) ->
			printf("consumer advances over record %d\n", expected);
			expected++
		:: else
		fi;
		position = POS(position + LEN(w) + 1);
		ctail = position;
		w = 0;
		st = (POS(position - milestone) < 128 -> C_HEAD : C_PEEK)
	   }
	:: d_step {
		st == C_HEAD ->
		milestone = POS(position + CAP / 4);
		if
		:: POS(position - published) >= CAP / 4 ->
			published = position;
			head = position;
			printf("consumer publishes head %d\n", head)
		:: else
		fi;
		st = C_PEEK
	   }
	:: d_step {
		st == C_EMPTY ->
#ifndef BREAK_EMPTY_KEEPS
		if
		:: published != position -> published = position; head = position
		:: else
		fi;
#endif
		st = C_WAIT
	   }
	:: d_step { st == C_WAIT && IS_THERE(mem[AT(position)], position) -> st = C_PEEK }
#ifdef BREAK_HEAD_EARLY
	:: d_step { st == C_USE -> head = POS(position + LEN(w) + 1) }
#endif
	:: d_step {
		ckills < CKILLS && st != C_OPEN ->
		printf("consumer is killed\n");
		ckills++;
		st = C_OPEN; position = 0; published = 0; milestone = 0; w = 0; i = 0
	   }
	od
}

/* Nothing moves any more: everything was published, and read once. */
proctype judge()
{
	timeout ->
	d_step {
		assert(committed == QUOTA);
		assert(expected == committed);
		assert(head == ctail)
	}
}

init {
	d_step {
		/* Zeroed memory; where the first header will be must not look like one. */
#ifndef BREAK_NO_INIT
		clear(FIRST);
#endif
		byte i;
		do
		:: i < CAP -> owner[i] = NOBODY; i++
		:: else -> break
		od;
		i = 0
	}
	atomic {
		run producer();
		run consumer();
		run judge()
	}
}
