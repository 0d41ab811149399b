/* SPDX-License-Identifier: MIT */
/* The MPMC slot ring, writing, as in ring/mpmc_producer.c. Included by mpmc.pml. */

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
		:: PHASE(word[own]) == PENDING && OWNER(word[own]) == STAMP -> st = P_LOOK
		:: else ->
			/* An upper bound of the ticket that it got. */
			moved = T - T % N + own + N * ((DIFF(word[own], T) + 8) % 16) - 8 * N;
			if
			:: PHASE(word[own]) != COMMITTED && !READ(word[own]) -> moved = moved - N
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
			SAY("producer finds it full", T, T % N);
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
		:: st == P_FULL -> SAY("producer looks ahead, full", T, T % N); k = 0; w = 0
		:: else
		fi
	   }
	:: d_step {
		ON(P_RAISE) ->
		if
		:: word[T % N] == w ->
			word[T % N] = STEP_OVER(w, T);
			CHANGED;
			SAY("producer steps over", T, T % N);
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
			word[T % N] = W(TURN_OF(T), COMMITTED, 0);
			CHANGED;
			SAY("producer publishes a pending record", T, T % N);
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
			SAY("producer skips", T, T % N);
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
		:: PHASE(w) == PENDING && OWNER(w) == STAMP ->
			/* A compare-and-swap, tried again for as long as others raise the word. */
			word[own] = W(TURN(w), VOIDW, me);
			SAY("producer retracts", T, own);
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
			SAY("producer claims", T, T % N);
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
		:: me == 0 && hold == NOTICKET && sent == 0 ->
			hold = cur;
			cur = NOTICKET;
			st = P_START
		:: me == 0 && hold != NOTICKET -> tmp = hold; hold = cur; cur = tmp; tmp = 0
		:: else
		fi
#endif
	   }
#ifdef ANY_ORDER
	:: d_step { /* commit the later reservation first */
		ON(P_WRITE) && hold != NOTICKET && hold > cur -> tmp = hold;
		hold = cur;
		cur = tmp;
		tmp = 0
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
		SAY("producer discards", cur, cur % N);
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
			word[cur % N] = W(TURN_OF(cur), COMMITTED, 0);
			CHANGED;
			committed = committed | BIT(REC(me, sent));
			SAY("producer commits", cur, cur % N);
			sent++;
			next_record()
		:: else -> /* void: it needs a new place */
			SAY("producer finds its slot void", cur, cur % N);
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
			SAY("producer marks it pending", cur, own);
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
			SAY("producer gives it back", cur, cur % N);
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
