/* SPDX-License-Identifier: MIT */
/*
 * System V rings: a segment and a semaphore set under one key; the set comes first and goes last.
 * Everybody sees the segment from its first moment; so the creator holds the set's lock (let go
 * by the kernel, SEM_UNDO) while it builds, marks the set in the same step, and stores the state
 * word last. As in ring/segment_sysv_create.c, segment_sysv.c, segment_sem.c and quoit_remove().
 *
 * Creators race with each other and with removers; one waits to attach. All but the one who
 * attaches may be killed between any two steps. When nothing moves any more, one more creator
 * comes and must succeed, or find a complete ring.
 *
 * Bounds and switches (-D): CREATORS, REMOVERS, KILLS.
 */
#ifndef CREATORS
#define CREATORS 2
#endif
#ifndef REMOVERS
#define REMOVERS 1
#endif
#ifndef KILLS
#define KILLS 0
#endif

#define IDS 7 /* ids are never used again, as long as so few are made */
#define LATECOMER 6 /* processes: creators from 1, removers from 4, the last creator */
#define ATTACHER 7

/* What a segment looks like. */
#define NONE 0 /* gone */
#define EMPTY 1
#define BUILDING 2
#define READY 3
#define REMOVED 4

byte key_shm, key_set;    /* what the key stands for, or 0 */
byte kind[IDS], set_of[IDS], maker[IDS];
bool filled[IDS];
bool set_there[IDS], set_used[IDS];
byte mark[IDS];           /* NONE, BUILDING, READY */
byte lock[IDS];
byte shms = 1, sets = 1;
bool go, settled;
bool halted[8];
byte kills, chg;

#define MOVED chg = 255
#define BIT(e) (1 << (e))
#define ON(s) (st == (s) && !halted[me])

/* IPC_RMID. Nobody takes away a ring but a removed one, nor what a living creator is at work on. */
inline remove_shm(m_)
{
	if
	:: kind[m_] != NONE ->
		printf("%d removes segment %d\n", me, m_);
		assert(kind[m_] == REMOVED ||
		       (kind[m_] != READY && (halted[maker[m_]] || maker[m_] == me)));
		kind[m_] = NONE;
		key_shm = (key_shm == m_ -> 0 : key_shm);
		MOVED
	:: else
	fi
}

/* Nor the set of a ring, or of one in the making. */
inline remove_set(s_)
{
	if
	:: set_there[s_] ->
		printf("%d removes set %d\n", me, s_);
		assert(lock[s_] == 0 || lock[s_] == me);
		assert(key_shm == 0 || set_of[key_shm] != s_ ||
		       (kind[key_shm] != READY && kind[key_shm] != BUILDING) ||
		       halted[maker[key_shm]] || maker[key_shm] == me);
		set_there[s_] = false;
		lock[s_] = 0;
		key_set = (key_set == s_ -> 0 : key_set);
		MOVED
	:: else
	fi
}

inline unlock(s_)
{
	if
	:: set_there[s_] && lock[s_] == me -> lock[s_] = 0; MOVED
	:: else
	fi
}

#define C_FIND 0
#define C_LOOK 1
#define C_SET_MARK 2
#define C_DRAFT 3
#define C_LOCK_MARK 4
#define C_SET_LOOK 5
#define C_LOCK 6
#define C_REMARK 7
#define C_CLEAR 8
#define C_CLEAR_LOOK 9
#define C_CLEAR_REMOVE 10
#define C_CLEARED 11
#define C_SHMGET 12
#define C_HEADER 13
#define C_FILL 14
#define C_READY 15
#define C_MARK 16
#define C_UNLOCK 17
#define C_TAKEN 18
#define C_WAIT 19
#define C_DONE 20

#ifdef BREAK_PUBLISH_FIRST /* the state word before the rest */
#define AFTER_HEADER C_READY
#define AFTER_READY C_FILL
#define AFTER_FILL C_MARK
#else
#define AFTER_HEADER C_FILL
#define AFTER_FILL C_READY
#define AFTER_READY C_MARK
#endif

proctype creator(byte me)
{
	byte st, m, s, turn;
	bool suits, marked; /* the set is as it has to be; was a dead creator's */

	do
	/* Is the key free, as far as one can see? */
	:: d_step {
		ON(C_FIND) && (me != LATECOMER || go) ->
		chg = chg & ~BIT(me);
		m = key_shm;
		st = (m == 0 -> C_DRAFT : C_LOOK)
	   }
	:: d_step {
		ON(C_LOOK) ->
		if
		:: kind[m] == READY -> st = C_DONE
		:: kind[m] == EMPTY -> st = C_SET_MARK
		:: kind[m] != READY && kind[m] != EMPTY -> st = C_DRAFT
		fi;
		m = 0
	   }
	:: d_step {
		ON(C_SET_MARK) ->
		if
		:: key_set != 0 && mark[key_set] == BUILDING -> st = C_DRAFT
		:: else -> turn++; st = (turn == 2 -> C_DONE : C_FIND)
		fi
	   }
	/* Make the set, or find it. */
	:: d_step {
		ON(C_DRAFT) ->
		turn = 0;
		if
		:: key_set == 0 ->
			s = sets; sets++;
			set_there[s] = true; key_set = s;
			MOVED;
			st = C_LOCK_MARK
		:: else -> s = key_set; st = C_SET_LOOK
		fi
	   }
	:: d_step { /* one semop() locks and marks it, if nobody has done so */
		ON(C_LOCK_MARK) ->
		if
		:: set_there[s] && lock[s] == 0 && mark[s] == NONE ->
			lock[s] = me; mark[s] = BUILDING; set_used[s] = true; suits = true;
			MOVED;
			st = C_CLEAR
		:: else -> s = 0; st = C_WAIT
		fi
	   }
	:: d_step {
		ON(C_SET_LOOK) ->
		if
		:: !set_there[s] -> s = 0; st = C_WAIT
		:: set_there[s] && mark[s] != NONE -> marked = (mark[s] == BUILDING); st = C_LOCK
		:: set_there[s] && mark[s] == NONE -> st = C_LOCK_MARK
		fi
	   }
	:: d_step {
		ON(C_LOCK) ->
#ifdef BREAK_NO_CREATOR_LOCK
		if
		:: set_there[s] -> suits = marked; st = C_CLEAR
		:: else -> s = 0; marked = false; st = C_WAIT
		fi
#else
		if
		:: set_there[s] && lock[s] == 0 -> lock[s] = me; st = C_REMARK
		:: else -> s = 0; marked = false; st = C_WAIT
		fi
#endif
	   }
	:: d_step { /* its last holder may have finished just before */
		ON(C_REMARK) ->
#ifndef BREAK_STALE_MARK
		marked = (mark[s] == BUILDING);
#endif
		suits = marked;
		st = C_CLEAR
	   }
	/* With the lock held: take away what a dead creator or remover has left. */
	:: d_step { ON(C_CLEAR) -> m = key_shm; st = (m == 0 -> C_CLEARED : C_CLEAR_LOOK) }
	:: d_step {
		ON(C_CLEAR_LOOK) ->
		if
		:: kind[m] == NONE -> st = C_CLEARED
		:: kind[m] == REMOVED -> st = C_CLEAR_REMOVE
		:: kind[m] == BUILDING && (marked || halted[maker[m]]) -> st = C_CLEAR_REMOVE
		:: kind[m] == EMPTY && marked -> st = C_CLEAR_REMOVE
		:: else -> st = C_TAKEN
		fi
	   }
	:: d_step { ON(C_CLEAR_REMOVE) -> remove_shm(m); m = 0; st = C_CLEARED }
	:: d_step {
		ON(C_CLEARED) ->
		m = 0;
		if
		:: suits -> st = C_SHMGET
		:: else -> remove_set(s); s = 0; suits = false; marked = false; st = C_WAIT
		fi
	   }
	:: d_step { /* a finished ring's set is left alone, one made for this attempt is not */
		ON(C_TAKEN) ->
		if
		:: suits && !marked -> remove_set(s)
		:: else -> unlock(s)
		fi;
		m = 0; s = 0; suits = false; marked = false;
		st = C_DONE
	   }
	/* Build. */
	:: d_step {
		ON(C_SHMGET) ->
		suits = false; marked = false;
		if
		:: key_shm == 0 ->
			m = shms; shms++;
			kind[m] = EMPTY; maker[m] = me; key_shm = m;
			printf("%d makes segment %d with set %d\n", me, m, s);
			MOVED;
			st = C_HEADER
		:: else -> remove_set(s); s = 0; st = C_DONE
		fi
	   }
	:: d_step { ON(C_HEADER) -> kind[m] = BUILDING; set_of[m] = s; MOVED; st = AFTER_HEADER }
	:: d_step { ON(C_FILL) -> filled[m] = true; st = AFTER_FILL }
	:: d_step {
		ON(C_READY) ->
		printf("%d finishes segment %d\n", me, m);
		kind[m] = READY;
		MOVED;
		st = AFTER_READY
	   }
	:: d_step { ON(C_MARK) -> mark[s] = READY; MOVED; st = C_UNLOCK }
	:: d_step { ON(C_UNLOCK) -> unlock(s); m = 0; s = 0; st = C_DONE }
	/* Somebody else is at it. */
	:: d_step { ON(C_WAIT) && (chg & BIT(me)) -> st = C_FIND }
	:: d_step { ON(C_DONE) && me == LATECOMER && !settled -> settled = true }
	od
}

#define D_FIND 0
#define D_LOOK 1
#define D_MARK 2
#define D_SET 3
#define D_LOCK 4
#define D_LOOK_AGAIN 5
#define D_SHM 6
#define D_SETS 7
#define D_DONE 8
#define D_FIND_AGAIN 9
#ifdef BREAK_BY_KEY /* marks a ring, and removes what has the key then */
#define AFTER_MARK D_FIND_AGAIN
#else
#define AFTER_MARK D_SET
#endif

proctype remover(byte me)
{
	byte st, m, s, was;

	do
	:: d_step { ON(D_FIND) && key_shm != 0 -> m = key_shm; st = D_LOOK }
	:: d_step {
		ON(D_LOOK) ->
		was = kind[m];
		if
		:: was == NONE -> st = D_DONE
		:: was == READY -> st = D_MARK
		:: else -> st = D_SET
		fi
	   }
	:: d_step {
		ON(D_MARK) ->
		printf("%d marks segment %d\n", me, m);
		kind[m] = (kind[m] == NONE -> NONE : REMOVED);
		was = REMOVED;
		MOVED;
		st = AFTER_MARK
	   }
#ifdef BREAK_BY_KEY
	:: d_step {
		ON(D_FIND_AGAIN) ->
		m = key_shm;
		was = kind[m];
		st = (m == 0 -> D_DONE : D_SET)
	   }
#endif
	:: d_step {
		ON(D_SET) ->
		s = (set_of[m] != 0 -> set_of[m] : key_set);
		/* Without a set it is nobody's, or gone. */
		st = (s == 0 -> D_DONE : D_LOCK)
	   }
	:: d_step {
		ON(D_LOCK) && (!set_there[s] || lock[s] == 0 || (was != REMOVED && was != READY)) ->
		if
		:: set_there[s] && lock[s] == 0 -> lock[s] = me; st = D_LOOK_AGAIN
		/* -EBUSY: unfinished, its creator lives */
		:: set_there[s] && lock[s] != 0 -> st = D_DONE
		:: !set_there[s] -> s = 0; st = D_LOOK_AGAIN
		fi
	   }
	:: d_step { /* it may have been finished before we had the lock */
		ON(D_LOOK_AGAIN) ->
#ifdef BREAK_NO_SECOND_LOOK
		st = D_SHM
#else
		if
		:: kind[m] == was -> st = D_SHM
		:: else -> unlock(s); st = D_FIND; m = 0; s = 0; was = 0
		fi
#endif
	   }
	:: d_step { ON(D_SHM) -> remove_shm(m); st = D_SETS }
	:: d_step {
		ON(D_SETS) ->
		if
		:: s != 0 -> remove_set(s)
		:: else
		fi;
		m = 0; s = 0; was = 0;
		st = D_DONE
	   }
	od
}

#define T_FIND 0
#define T_MISSING 1
#define T_LOOK 2
#define T_SET 3
#define T_LOCKED 4
#define T_LOOK_AGAIN 5
#define T_WAIT 6
#define T_DONE 7
#define T_LATER 8

/*
 * Waits for an unfinished one; told that there is none, or that its creator died, it comes again
 * later.
 */
proctype attacher(byte me)
{
	byte st, m, s, was;

	do
	:: d_step {
		ON(T_FIND) ->
		chg = chg & ~BIT(me);
		m = key_shm;
		st = (m == 0 -> T_LATER : T_LOOK)
	   }
	:: d_step {
		ON(T_LOOK) ->
		was = kind[m];
		if
		:: was == READY ->
			assert(filled[m]);
			st = T_DONE; m = 0; was = 0
		:: was == NONE || was == REMOVED -> st = T_LATER; m = 0; was = 0
		:: was == EMPTY || was == BUILDING -> st = T_SET
		fi
	   }
	:: d_step { ON(T_SET) -> s = (set_of[m] != 0 -> set_of[m] : key_set); st = T_LOCKED }
	:: d_step {
		ON(T_LOCKED) ->
		if
		:: s != 0 && set_there[s] && mark[s] == BUILDING && lock[s] != 0 ->
			st = T_WAIT;
			m = 0;
			was = 0
		:: else -> st = T_LOOK_AGAIN
		fi;
		s = 0
	   }
	:: d_step {
		ON(T_LOOK_AGAIN) ->
		if
		:: kind[m] == was ->
			/* -EOWNERDEAD: never said of the living. */
			assert(halted[maker[m]]);
			st = T_LATER
		:: else -> st = T_FIND
		fi;
		m = 0; was = 0
	   }
	:: d_step { (ON(T_WAIT) || ON(T_LATER)) && (chg & BIT(me)) -> st = T_FIND }
	od
}

#define KILL(e) d_step { \
		kills < KILLS && !halted[e] -> \
		printf("%d is killed\n", e); \
		kills++; halted[e] = true; i = 0; \
		do \
		:: i < IDS && lock[i] == e -> lock[i] = 0; i++ \
		:: i < IDS && lock[i] != e -> i++ \
		:: else -> break \
		od; \
		i = 0; \
		MOVED \
	}

proctype fate()
{
	byte i;

	do
	:: KILL(1)
#if CREATORS > 1
	:: KILL(2)
#endif
#if REMOVERS > 0
	:: KILL(4)
#endif
#if REMOVERS > 1
	:: KILL(5)
#endif
	od
}

proctype judge()
{
	timeout -> go = true;
	timeout ->
	d_step {
		/* The last one made a ring, or found one. */
		assert(settled);
		assert(REMOVERS > 0 || (key_shm != 0 && kind[key_shm] == READY && filled[key_shm]));
		assert(key_shm == 0 || kind[key_shm] == READY || REMOVERS > 0)
	}
}

init {
	atomic {
		run creator(1);
#if CREATORS > 1
		run creator(2);
#endif
		run creator(LATECOMER);
#if REMOVERS > 0
		run remover(4);
#endif
#if REMOVERS > 1
		run remover(5);
#endif
		run attacher(ATTACHER);
#if KILLS > 0
		run fate();
#endif
		run judge()
	}
}
