/* SPDX-License-Identifier: MIT */
/* Rows: how one is reaped and how one is opened, by whoever does it; and repairers, which do nothing
 * but reap. As in ring/peers.c and reap.c. Included by recovery.pml. */

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
