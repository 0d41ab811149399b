/* SPDX-License-Identifier: MIT */
/* The MPMC slot ring, reading, as in ring/mpmc_consumer.c. Included by mpmc.pml. */

#define C_START 0
#define C_LOOK 1
#define C_HELP 2
#define C_LATER 3
#define C_VOID 4
#define C_COPY 5
#define C_TAKE 6
#define C_READ 7
#define C_RELEASE_LOAD 8
#define C_RELEASE_CAS 9
#define C_EMPTY 10
#define C_SCAN 11
#define C_WAIT 12
#define C_BACK_LOAD 13
#define C_BACK_CAS 14
#define C_BUMP 15

/* A record is delivered: exactly once, really committed, in order. */
inline deliver(v_)
{
	assert(v_ != NOREC && (committed & BIT(v_)));
	assert(!(delivered & BIT(v_)));
	delivered = delivered | BIT(v_)
}

inline check_order(v_)
{
	if
#ifdef ANY_ORDER
	:: v_ < QUOTA /* the first producer gets what it deserves */
	:: v_ >= QUOTA && !(redelivered & BIT(v_)) ->
#else
	:: !(redelivered & BIT(v_)) ->
#endif
		assert(last_taken[(me - NP) * NP + v_ / QUOTA] <= v_ % QUOTA);
		last_taken[(me - NP) * NP + v_ / QUOTA] = v_ % QUOTA + 1
	:: else
	fi
}

#define IN_PLACE ((ZC >> (me - NP)) & 1)

proctype consumer(byte me)
{
	byte st = C_START, h = FIRST, k, x, tmp;
	short w;
	byte v = NOREC;
	byte seen = 255, r; /* 255: has never scanned */
	bool scanning;

	do
	:: d_step { ON(C_START) -> chg = chg & ~BIT(me); h = MAX(h, head); st = C_LOOK }
	:: d_step {
		ON(C_LOOK) -> w = word[h % N];
		assert(h < LAST_TICKET);
		if
		:: TAKEN(w, h) -> h++; w = 0; st = C_HELP
		:: BEHIND(w, h) || (SAME(w, h) && PHASE(w) == FREE) -> w = 0; st = C_EMPTY
		:: SAME(w, h) && PHASE(w) == WRITING -> k = 1;
			st = C_LATER
		:: SAME(w, h) && PHASE(w) == COMMITTED -> x = h % N;
			if
			:: IN_PLACE -> st = C_TAKE
			:: else -> st = C_COPY
			fi
		fi
	   }
	:: d_step {
		ON(C_HELP) ->
		if
		:: head < h -> head = h; check_head(head)
		:: else
		fi;
		st = C_LOOK
	   }
	:: d_step { /* is a later ticket ready? */
		ON(C_LATER) ->
		if
		:: word[(h + k) % N] == W(TURN_OF(h + k), COMMITTED, 0) -> st = C_VOID; k = 0
		:: else -> k++;
			if
			:: k == N -> st = C_EMPTY; k = 0; w = 0
			:: else
			fi
		fi
	   }
	:: d_step {
		ON(C_VOID) ->
		if
		:: word[h % N] == w ->
			word[h % N] = W(TURN(w), VOIDW, OWNER(w));
			CHANGED;
			SAY("consumer voids", h, h % N)
		:: else
		fi;
		w = 0; k = 0;
		st = C_LOOK
	   }
	/* Take slot x, whose word was w. */
	:: d_step { ON(C_COPY) -> v = pay[x]; st = C_TAKE }
	:: d_step {
		ON(C_TAKE) ->
		if
		:: word[x] == w && IN_PLACE ->
			word[x] = W(TURN(w), READING, me);
			CHANGED;
			SAY("consumer starts to read", h, x);
			check_order(pay[x]);
			scanning = false;
			st = C_READ
		:: word[x] == w && !IN_PLACE ->
			word[x] = W(TURN(w) + 1, FREE, 0);
			CHANGED;
			assert(pay[x] == v);
			SAY("consumer has copied", h, x);
			check_order(v);
			deliver(v);
			v = NOREC; x = 0; scanning = false;
			st = C_START
		:: else -> /* somebody was faster */
			v = NOREC;
			if
			:: scanning -> st = C_SCAN
			:: else -> x = 0; st = C_LOOK
			fi
		fi;
		w = 0;
#ifdef BREAK_SEEN_EARLY
		if
		:: st != C_SCAN && r != 0 -> seen = r; r = 0
		:: else
		fi;
#endif
	   }
	/* In place: look at it for as long as one likes, then release. */
	:: d_step {
		ON(C_READ) ->
		v = pay[x];
		assert(v != NOREC && (committed & BIT(v)));
		st = C_RELEASE_LOAD
	   }
	:: d_step {
		ON(C_RELEASE_LOAD) -> w = word[x];
		assert(OWNER(w) == me && READ(w));
		assert(pay[x] == v);
		st = C_RELEASE_CAS
	   }
	:: d_step {
		ON(C_RELEASE_CAS) ->
		if
#ifdef BREAK_RELEASE_STORE
		:: true ->
#else
		:: word[x] == w ->
#endif
			assert(pay[x] == v);
			word[x] = W(TURN(w) + 1, FREE, 0);
			CHANGED;
			SAY("consumer releases", h, x);
			deliver(v);
			v = NOREC; x = 0;
			st = C_START
		:: else -> st = C_RELEASE_LOAD
		fi;
		w = 0
	   }
	/* Or close with the loan, which goes back, and open again. */
	:: d_step { ON(C_RELEASE_LOAD) && givebacks < GIVEBACKS -> givebacks++; st = C_BACK_LOAD }
	:: d_step { ON(C_BACK_LOAD) -> w = word[x]; assert(OWNER(w) == me); st = C_BACK_CAS }
	:: d_step {
		ON(C_BACK_CAS) ->
		if
		:: word[x] == w ->
			redelivered = redelivered | BIT(v);
			word[x] = W(TURN(w), COMMITTED, 0);
			CHANGED;
			SAY("consumer gives back", h, x);
			owes = owes | BIT(me);
			v = NOREC; x = 0;
			st = C_BUMP
		:: else -> st = C_BACK_LOAD
		fi;
		w = 0
	   }
	:: d_step {
		ON(C_BUMP) ->
		owes = owes & ~BIT(me);
#ifndef BREAK_CLOSE_NO_BUMP
		redeliveries++;
		CHANGED;
#endif
#ifdef BREAK_FRESH_SEEN
		seen = redeliveries;
#else
		seen = 255;
#endif
		h = head; r = 0; scanning = false;
		st = C_START
	   }
	/* Empty: has something become ready behind the head? */
	:: d_step {
		ON(C_EMPTY) -> r = redeliveries;
		if
		:: r != seen -> x = 0; scanning = true; st = C_SCAN
		:: else -> r = 0; st = C_WAIT
		fi
	   }
	:: d_step {
		ON(C_SCAN) ->
		if
		:: x == N ->
			SAY("consumer scanned, remembers the counter", h, 0);
			seen = r;
			r = 0;
			x = 0;
			scanning = false;
			st = C_WAIT
		:: else ->
			w = word[x];
			if
#ifdef BREAK_SCAN_ALL
			:: PHASE(w) == COMMITTED ->
#else
			:: PHASE(w) == COMMITTED && (BEHIND(w, h) || (SAME(w, h) && x < h % N)) ->
#endif
				if
				:: IN_PLACE -> st = C_TAKE
				:: else -> st = C_COPY
				fi
			:: else -> x++; w = 0
			fi
		fi
	   }
#ifdef BREAK_NEVER_WAITS
	:: d_step { ON(C_WAIT) -> st = C_START }
#endif
	:: d_step { ON(C_WAIT) && (chg & BIT(me)) -> st = C_START }
	od
}
