/* SPDX-License-Identifier: MIT */
/*
 * The MPMC slot ring: claim, commit, void, step over, republish, take, release, reap, redeliver.
 *
 * Each slot has one word {turn, phase, owner}; a ticket T belongs to slot T % N, turn T / N. Every
 * access to a shared word is one step; a compare-and-swap is one step. Processes are killed, or
 * stopped for ever, between any two steps. Patience is always over here: a process that has to wait
 * may just as well be slow, so this loses nothing.
 *
 * The rules, as in ring/slot.h:
 *   claim     at the first ticket that nobody has passed; FREE(t) -> WRITING(t,p). A slot that still
 *             holds an earlier lap and is lent, void or being written is stepped over by raising
 *             its turn, but only if a claimable ticket lies within the next lap (lookahead).
 *   commit    WRITING(t,p) -> READY(t). Found void: VOIDW(t',p) -> PENDING(t',p), "complete, publish
 *             me at the slot's next ticket", and go on from the tail: skip what is free, publish
 *             what is PENDING, until the own slot has been published by whomever.
 *   help      whoever claims and meets PENDING(t',q) publishes it: -> READY(t).
 *   take      READY(t) -> FREE(t+1) after copying, or READY(t) -> READING(t,c), then release. A
 *             WRITING met at the head is voided if a later ticket is ready.
 *   reap      WRITING, VOIDW, PENDING -> FREE of the next turn; READING, VOIDR -> READY; then bump the
 *             redelivery counter, whatever was found; then the row is free.
 *   redeliver an empty consumer whose remembered counter differs looks for READY behind its head.
 *
 * Bounds and switches (-D):
 *   N slots, NP producers, NC consumers, QUOTA records each, ZC bit mask of consumers that read in
 *   place, KILLS, STOPS, RKILLS (deaths of reapers), VICTIMS mask of who may be killed or stopped
 *   (producers first), DISCARDS, GIVEBACKS (consumer closes with a loan and opens again), REBORN
 *   (a dead producer's row is used again), RES2 (the first producer makes two reservations before it
 *   commits the first), ANY_ORDER (and commits them in any order; then no order is promised).
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
#define READY 2
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

#define LENT(w) (PHASE(w) == READING || PHASE(w) == VOIDR || PHASE(w) == VOIDW || PHASE(w) == PENDING)
#define OWNED(w) (LENT(w) || PHASE(w) == WRITING)
#ifdef BREAK_NO_HELP
#define HELPED(w) (PHASE(w) == PENDING && OWNER(w) == me)
#else
#define HELPED(w) (PHASE(w) == PENDING)
#endif
#define STEPPABLE(w) (OWNED(w) && !HELPED(w))
/* Nobody can claim ticket T any more. */
#define CLAIMED(w, T) (AHEAD(w, T) || (SAME(w, T) && PHASE(w) != FREE))
/* Nobody can take ticket T any more, but by redelivery. */
#define TAKEN(w, T) (AHEAD(w, T) || (SAME(w, T) && LENT(w)))
#define STEP_OVER(w, T) W(TURN_OF(T), (PHASE(w) == READING || PHASE(w) == VOIDR -> VOIDR : (PHASE(w) == PENDING -> PENDING : VOIDW)), OWNER(w))

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
#define SAY(what, T, i) printf(what, me, T, TURN(word[i]), i)
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
		       (PHASE(word[(T_ - tmp) % N]) == READY &&
			(redelivered & BIT(pay[(T_ - tmp) % N]))));
		tmp++
	:: else -> break
	od;
	tmp = 0
}

#define P_START 0
#define P_LOOK 1
#define P_CLAIM 2
#define P_HELP 3
#define P_WRITE 4
#define P_COMMIT 5
#define P_AHEAD 6
#define P_RAISE 7
#define P_FULL 8
#define P_FREE_LOAD 9
#define P_FREE_CAS 10
#define P_PEND_LOAD 11
#define P_PEND_CAS 12
#define P_CHECK 13
#define P_PUBLISH 14
#define P_SKIP 15
#define P_RETRACT 16
#define P_DONE 17
#define P_HELP_TAIL 18

/* On to the next record, in the same step: nothing shared is touched. */
inline next_record()
{
	if
	:: sent == QUOTA_OF(me) -> finished[me] = true; st = P_DONE; T = 0; moved = 0
	:: sent < QUOTA_OF(me) && hold != NOTICKET -> cur = hold; hold = NOTICKET; st = P_WRITE
	:: else -> cur = NOTICKET; st = P_START
	fi
}

proctype producer(byte me)
{
	byte st = P_START, T = FIRST, k, sent, tmp;
	short w;
	byte own = NOSLOT;    /* slot of the reservation that is being republished */
	byte cur = NOTICKET;  /* ticket of the reservation to commit next */
	byte hold = NOTICKET; /* ticket of the other reservation */
	byte moved;           /* ticket that a voided record moved to, or an upper bound of it */

	do
	/* Walk on to the first ticket that nobody has passed. */
	:: d_step {
		ON(P_START) -> chg = chg & ~BIT(me);
		T = MAX(T, tail);
		st = (own == NOSLOT -> P_LOOK : P_CHECK)
	   }
	:: d_step { /* has somebody published it? */
		ON(P_CHECK) ->
		if
		:: PHASE(word[own]) == PENDING && OWNER(word[own]) == me -> st = P_LOOK
		:: else ->
			/* An upper bound of the ticket that it got. */
			moved = T - T % N + own + N * ((DIFF(word[own], T) + 8) % 16) - 8 * N;
			if
			:: PHASE(word[own]) == FREE || PHASE(word[own]) == WRITING || PHASE(word[own]) == VOIDW ||
			   PHASE(word[own]) == PENDING -> moved = moved - N
			:: else
			fi;
			assert(committed & BIT(REC(me, sent)));
			sent++;
			own = NOSLOT;
			next_record()
		fi
	   }
	:: d_step {
		ON(P_LOOK) -> w = word[T % N];
		assert(T < LAST_TICKET);
		if
		:: CLAIMED(w, T) -> T++; w = 0
		:: SAME(w, T) && PHASE(w) == FREE -> st = (own == NOSLOT -> P_CLAIM : P_SKIP)
		:: BEHIND(w, T) && HELPED(w) -> st = P_PUBLISH
		:: BEHIND(w, T) && STEPPABLE(w) ->
#ifdef BREAK_NO_LOOKAHEAD
			st = P_RAISE
#else
			k = 1;
			st = P_AHEAD
#endif
		:: BEHIND(w, T) && !OWNED(w) ->
			SAY("%d: producer finds it full; ticket %d, turn %d, slot %d\n", T, T % N);
			w = 0;
			st = P_FULL
		fi
	   }
	:: d_step { /* one word of the lookahead */
		ON(P_AHEAD) ->
		if
		:: (SAME(word[(T + k) % N], T + k) && PHASE(word[(T + k) % N]) == FREE) ||
		   (BEHIND(word[(T + k) % N], T + k) && HELPED(word[(T + k) % N])) ->
			k = 0;
			st = P_RAISE
#ifdef BREAK_LENT_IMPATIENT /* what is lent is stepped over at once or not at all */
		:: PHASE(w) != WRITING && BEHIND(word[(T + k) % N], T + k) &&
		   PHASE(word[(T + k) % N]) == WRITING -> st = P_FULL
		:: CLAIMED(word[(T + k) % N], T + k) ||
		   (BEHIND(word[(T + k) % N], T + k) && STEPPABLE(word[(T + k) % N]) &&
		    (PHASE(w) == WRITING || PHASE(word[(T + k) % N]) != WRITING)) ->
#else
		:: CLAIMED(word[(T + k) % N], T + k) ||
		   (BEHIND(word[(T + k) % N], T + k) && STEPPABLE(word[(T + k) % N])) ->
#endif
			k++;
			if
			:: k == N -> st = P_FULL
			:: else
			fi
		:: BEHIND(word[(T + k) % N], T + k) && !OWNED(word[(T + k) % N]) -> st = P_FULL
		fi;
		if
		:: st == P_FULL -> SAY("%d: producer looks ahead, full; ticket %d, turn %d, slot %d\n", T, T % N); k = 0; w = 0
		:: else
		fi
	   }
	:: d_step {
		ON(P_RAISE) ->
		if
		:: word[T % N] == w ->
			word[T % N] = STEP_OVER(w, T);
			CHANGED;
			SAY("%d: producer steps over; ticket %d, turn %d, slot %d\n", T, T % N);
			/* Never further ahead of the claims than a lap. */
			assert(T < next_claim + N);
			T++
		:: else
		fi;
		w = 0;
		st = (own == NOSLOT -> P_LOOK : P_CHECK)
	   }
	:: d_step { /* somebody's complete payload, maybe one's own, gets this ticket */
		ON(P_PUBLISH) ->
		if
		:: word[T % N] == w ->
			word[T % N] = W(TURN_OF(T), READY, 0);
			CHANGED;
			SAY("%d: producer publishes a pending record; ticket %d, turn %d, slot %d\n", T, T % N);
			assert(!(committed & BIT(pay[T % N])));
			committed = committed | BIT(pay[T % N]);
			next_claim = MAX(next_claim, T + 1);
			T++;
			st = P_HELP_TAIL
		:: else -> st = (own == NOSLOT -> P_LOOK : P_CHECK)
		fi;
		w = 0
	   }
	:: d_step { /* a free slot before one's own pending one */
		ON(P_SKIP) ->
		if
		:: word[T % N] == w ->
			word[T % N] = W(TURN(w) + 1, FREE, 0);
			CHANGED;
			SAY("%d: producer skips; ticket %d, turn %d, slot %d\n", T, T % N);
			next_claim = MAX(next_claim, T + 1);
			T++;
			st = P_HELP_TAIL
		:: else -> st = P_CHECK
		fi;
		w = 0
	   }
	:: d_step {
		ON(P_HELP_TAIL) ->
		if
		:: tail < T -> tail = T; check_tail(tail)
		:: else
		fi;
		st = (own == NOSLOT -> P_LOOK : P_CHECK)
	   }
	:: d_step { ON(P_FULL) && (chg & BIT(me)) -> st = P_START }
	:: d_step { /* or give up, and discard */
		ON(P_FULL) && own != NOSLOT && discards < DISCARDS -> discards++; st = P_RETRACT
	   }
	:: d_step {
		ON(P_RETRACT) ->
		w = word[own];
		if
		:: PHASE(w) == PENDING && OWNER(w) == me ->
			/* A compare-and-swap that is tried again for as long as others raise the word. */
			word[own] = W(TURN(w), VOIDW, me);
			SAY("%d: producer retracts; ticket %d, turn %d, slot %d\n", T, own);
			cur = own; /* any ticket of this slot */
			own = NOSLOT;
			st = P_FREE_LOAD
		:: else -> st = P_CHECK
		fi;
		w = 0
	   }
	:: d_step {
		ON(P_CLAIM) ->
		if
#ifdef BREAK_CLAIM_STORE
		:: true ->
#else
		:: word[T % N] == w ->
#endif
			word[T % N] = W(TURN_OF(T), WRITING, STAMP);
			CHANGED;
			next_claim = MAX(next_claim, T + 1);
			SAY("%d: producer claims; ticket %d, turn %d, slot %d\n", T, T % N);
			st = P_HELP
		:: else -> st = P_LOOK
		fi;
		w = 0
	   }
#ifdef BREAK_HINT_LEADS
	:: d_step { ON(P_CLAIM) -> tail = MAX(tail, T + 1); check_tail(tail) }
#endif
	:: d_step {
		ON(P_HELP) ->
		if
		:: tail < T + 1 -> tail = T + 1; check_tail(tail)
		:: else
		fi;
		cur = T;
		T++;
		st = P_WRITE;
#ifdef RES2
		if
		:: me == 0 && hold == NOTICKET && sent == 0 -> hold = cur; cur = NOTICKET; st = P_START
		:: me == 0 && hold != NOTICKET -> tmp = hold; hold = cur; cur = tmp; tmp = 0
		:: else
		fi
#endif
	   }
#ifdef ANY_ORDER
	:: d_step { /* commit the later reservation first */
		ON(P_WRITE) && hold != NOTICKET && hold > cur -> tmp = hold; hold = cur; cur = tmp; tmp = 0
	   }
#endif
	:: d_step {
		ON(P_WRITE) ->
		assert(OWNER(word[cur % N]) == STAMP &&
		       (PHASE(word[cur % N]) == WRITING || PHASE(word[cur % N]) == VOIDW));
		pay[cur % N] = REC(me, sent);
		st = P_COMMIT
	   }
	:: d_step { /* discard instead */
		ON(P_COMMIT) && discards < DISCARDS ->
		SAY("%d: producer discards; ticket %d, turn %d, slot %d\n", cur, cur % N);
		discards++;
		st = P_FREE_LOAD
	   }
	:: d_step {
		ON(P_COMMIT) ->
		if
#if defined(RES2) && !defined(BREAK_NO_REORDER)
		:: cur < moved -> /* an earlier record has moved behind it: this one follows */
			own = cur % N;
			st = P_PEND_LOAD
		:: cur >= moved &&
#else
		::
#endif
#ifdef BREAK_COMMIT_STORE
		   true ->
#else
		   word[cur % N] == W(TURN_OF(cur), WRITING, STAMP) ->
#endif
			word[cur % N] = W(TURN_OF(cur), READY, 0);
			CHANGED;
			committed = committed | BIT(REC(me, sent));
			SAY("%d: producer commits; ticket %d, turn %d, slot %d\n", cur, cur % N);
			sent++;
			next_record()
		:: else -> /* void: it needs a new place */
			SAY("%d: producer finds its slot void; ticket %d, turn %d, slot %d\n", cur, cur % N);
			own = cur % N;
			st = P_PEND_LOAD
		fi
	   }
	:: d_step {
		ON(P_PEND_LOAD) -> w = word[own];
		assert(OWNER(w) == STAMP && (PHASE(w) == WRITING || PHASE(w) == VOIDW));
		st = P_PEND_CAS
	   }
	:: d_step {
		ON(P_PEND_CAS) ->
		if
		:: word[own] == w ->
			word[own] = W(TURN(w), PENDING, STAMP);
			chg = chg | (15 & ~BIT(me));
			SAY("%d: producer marks it pending; ticket %d, turn %d, slot %d\n", cur, own);
			st = P_START
		:: else -> st = P_PEND_LOAD
		fi;
		w = 0
	   }
	/* Give the slot back. */
	:: d_step {
		ON(P_FREE_LOAD) -> w = word[cur % N];
		assert(OWNER(w) == STAMP && (PHASE(w) == WRITING || PHASE(w) == VOIDW));
		st = P_FREE_CAS
	   }
	:: d_step {
		ON(P_FREE_CAS) ->
		if
		:: word[cur % N] == w ->
			word[cur % N] = W(TURN(w) + 1, FREE, 0);
			CHANGED;
			SAY("%d: producer gives it back; ticket %d, turn %d, slot %d\n", cur, cur % N);
			next_record()
		:: else -> st = P_FREE_LOAD
		fi;
		w = 0
	   }
#ifdef REBORN
	/* The row is free again: the next endpoint has the same number. */
	:: d_step {
		dead[me] && !used[me] ->
		dead[me] = false; halted[me] = false; used[me] = true;
		T = tail; w = 0; k = 0; own = NOSLOT;
		cur = NOTICKET; hold = NOTICKET; moved = 0;
		tmp = 0;
		do
		:: tmp < QUOTA && (committed & BIT(REC(me, tmp))) -> tmp++
		:: else -> break
		od;
		sent = tmp;
		tmp = 0;
		next_record()
	   }
#endif
	od
}

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
		:: SAME(w, h) && PHASE(w) == READY -> x = h % N;
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
		:: word[(h + k) % N] == W(TURN_OF(h + k), READY, 0) -> st = C_VOID; k = 0
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
		:: word[h % N] == w -> word[h % N] = W(TURN(w), VOIDW, OWNER(w)); CHANGED; SAY("%d: consumer voids; ticket %d, turn %d, slot %d\n", h, h % N)
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
			SAY("%d: consumer starts to read; ticket %d, turn %d, slot %d\n", h, x);
			check_order(pay[x]);
			scanning = false;
			st = C_READ
		:: word[x] == w && !IN_PLACE ->
			word[x] = W(TURN(w) + 1, FREE, 0);
			CHANGED;
			assert(pay[x] == v);
			SAY("%d: consumer has copied; ticket %d, turn %d, slot %d\n", h, x);
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
	:: d_step { ON(C_READ) -> v = pay[x]; assert(v != NOREC && (committed & BIT(v))); st = C_RELEASE_LOAD }
	:: d_step {
		ON(C_RELEASE_LOAD) -> w = word[x];
		assert(OWNER(w) == me && (PHASE(w) == READING || PHASE(w) == VOIDR));
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
			SAY("%d: consumer releases; ticket %d, turn %d, slot %d\n", h, x);
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
			word[x] = W(TURN(w), READY, 0);
			CHANGED;
			SAY("%d: consumer gives back; ticket %d, turn %d, slot %d\n", h, x);
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
		:: x == N -> SAY("%d: consumer scanned, remembers the counter; ticket %d, turn %d, slot %d\n", h, 0); seen = r; r = 0; x = 0; scanning = false; st = C_WAIT
		:: else ->
			w = word[x];
			if
#ifdef BREAK_SCAN_ALL
			:: PHASE(w) == READY ->
#else
			:: PHASE(w) == READY && (BEHIND(w, h) || (SAME(w, h) && x < h % N)) ->
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

#define DIES_AT(s) d_step { st == (s) && rkills < RKILLS -> SAY("%d: reaper is killed while reaping; ticket %d, turn %d, slot %d\n", 0, 0); rkills++; locked[q] = false; st = R_IDLE; i = 0; w = 0; q = 0; turned = false }
#define TAKE_ROW(e) d_step { st == R_IDLE && e < ENDPOINTS && dead[e] && used[e] && !locked[e] -> locked[e] = true; q = e; st = R_FIRST }

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
				word[i] = W(TURN(w), READY, 0);
				redelivered = redelivered | BIT(pay[i]);
				turned = true
			fi;
			CHANGED;
			SAY("%d: reaper mends for the dead; ticket %d, turn %d, slot %d\n", 0, i);
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
	:: d_step { st == R_ROW -> SAY("%d: reaper frees the row of; ticket %d, turn %d, slot %d\n", 0, 0); used[q] = false; locked[q] = false; q = 0; turned = false; st = R_IDLE }
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
	:: d_step { kills < KILLS && MAY(0) -> printf("0: is killed\n"); kills++; halted[0] = true; dead[0] = true }
	:: d_step { kills < KILLS && MAY(1) -> printf("1: is killed\n"); kills++; halted[1] = true; dead[1] = true }
	:: d_step { kills < KILLS && MAY(2) -> printf("2: is killed\n"); kills++; halted[2] = true; dead[2] = true }
	:: d_step { kills < KILLS && MAY(3) -> printf("3: is killed\n"); kills++; halted[3] = true; dead[3] = true }
	:: d_step { stops < STOPS && MAY(0) -> printf("0: is stopped for ever\n"); stops++; halted[0] = true }
	:: d_step { stops < STOPS && MAY(1) -> printf("1: is stopped for ever\n"); stops++; halted[1] = true }
	:: d_step { stops < STOPS && MAY(2) -> printf("2: is stopped for ever\n"); stops++; halted[2] = true }
	:: d_step { stops < STOPS && MAY(3) -> printf("3: is stopped for ever\n"); stops++; halted[3] = true }
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
			/* Stopped between giving back and saying so: it is there when that one goes on or dies. */
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
		/* What was committed is delivered, or is there to be: nothing else explains its absence. */
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
					:: pay[i] == r &&
					   ((PHASE(word[i]) == READY && (!reading || stopped_owing)) ||
					    ((PHASE(word[i]) == READING || PHASE(word[i]) == VOIDR) &&
					     halted[OWNER(word[i])] && !dead[OWNER(word[i])])) -> n++
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
