/* SPDX-License-Identifier: MIT */
/*
 * Rings with a path: made without a name, linked when complete; removed by a marked state, then
 * by taking the name away under a lock on the file that it stands for. As in ring/segment_file.c
 * and quoit_remove().
 *
 * Two creators race, two removers race with them, one waits to attach. All but the one who
 * attaches may be killed between any two steps; a nameless file is gone with its creator. When
 * nothing moves any more, one more creator comes and must succeed, or find a complete ring.
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

#define FILES 6
#define LATECOMER 6 /* processes: creators from 1, removers from 4, the last creator */
#define ATTACHER 7

/* State words. */
#define NONE 0
#define BUILDING 1
#define READY 2
#define REMOVED 3

byte name;          /* the file it stands for, or 0 */
byte state[FILES];
bool filled[FILES];
byte lock[FILES];   /* flock() */
byte files = 1;
bool go;            /* the last creator may begin */
bool halted[8];
byte kills;
byte made;          /* rings that were published */
bool settled;       /* the last creator is done */

#define ON(s) (st == (s) && !halted[me])

/* Nobody's name is taken away but a removed ring's. */
inline unlink_name()
{
	assert(name == 0 || state[name] == REMOVED);
	printf("%d takes the name of file %d away\n", me, name);
	name = 0
}

#define C_CHECK 0
#define C_STATE 1
#define C_LOCK 2
#define C_SAME 3
#define C_UNLINK 4
#define C_NEW 5
#define C_FILL 6
#define C_READY 7
#define C_LINK 8
#define C_DONE 9

#ifdef BREAK_PUBLISH_FIRST
#define C_FILL_FIRST C_LINK
#define C_LINK_NEXT C_FILL
#define C_READY_NEXT C_DONE
#else
#define C_FILL_FIRST C_FILL
#define C_READY_NEXT C_LINK
#define C_LINK_NEXT C_DONE
#endif

proctype creator(byte me)
{
	byte st, f;

	do
	:: d_step {
		ON(C_CHECK) && (me != LATECOMER || go) ->
		f = name;
		st = (f == 0 -> C_NEW : C_STATE)
	   }
	/* Taken, but by a ring that was removed and whose remover did not get to the end? */
	:: d_step {
		ON(C_STATE) ->
		if
		:: state[f] == REMOVED -> st = C_LOCK
		:: else ->
			assert(state[f] == READY && filled[f]);
			st = C_DONE; f = 0;
			settled = (me == LATECOMER)
		fi
	   }
	:: d_step { ON(C_LOCK) && lock[f] == 0 -> lock[f] = me; st = C_SAME }
	:: d_step {
		ON(C_SAME) ->
		st = (name == f -> C_UNLINK : C_NEW);
		lock[f] = (st == C_NEW -> 0 : me)
	   }
	:: d_step { ON(C_UNLINK) -> unlink_name(); lock[f] = 0; st = C_NEW }
	/* Made without a name. */
	:: d_step { ON(C_NEW) -> f = files; files++; state[f] = BUILDING; st = C_FILL_FIRST }
	:: d_step { ON(C_FILL) -> filled[f] = true; st = C_READY }
	:: d_step { ON(C_READY) -> state[f] = READY; st = C_READY_NEXT }
	:: d_step {
		ON(C_LINK) ->
		if
#ifdef BREAK_REPLACE /* rename() instead of link() */
		:: true ->
			assert(name == 0 || state[name] == REMOVED);
#else
		:: name == 0 ->
#endif
			printf("%d links file %d\n", me, f);
			name = f;
			made++
		:: else -> state[f] = NONE /* -EEXIST */
		fi;
		st = C_LINK_NEXT;
		settled = settled || (me == LATECOMER && st == C_DONE)
	   }
	od
}

#define D_OPEN 0
#define D_MARK 1
#define D_FIND 2
#define D_ONLY 3
#define D_LOCK 4
#define D_SAME 5
#define D_UNLINK 6
#define D_DONE 7

proctype remover(byte me)
{
	byte st, mine, f;

	do
	:: d_step { ON(D_OPEN) && name != 0 -> mine = name; st = D_MARK }
	:: d_step {
		ON(D_MARK) ->
		printf("%d marks file %d as removed\n", me, mine);
		state[mine] = REMOVED;
		st = D_FIND
	   }
	/* The name may stand for another one by now. */
	:: d_step { ON(D_FIND) -> f = name; st = (f == 0 -> D_DONE : D_ONLY) }
	:: d_step {
		ON(D_ONLY) ->
#ifdef BREAK_BY_NAME
		st = D_LOCK
#else
		st = (name == mine -> D_LOCK : D_DONE)
#endif
	   }
#ifdef BREAK_NO_LOCK
	:: d_step { ON(D_LOCK) -> st = D_SAME }
#else
	:: d_step { ON(D_LOCK) && lock[f] == 0 -> lock[f] = me; st = D_SAME }
#endif
	:: d_step {
		ON(D_SAME) ->
		if
		:: name == f -> st = D_UNLINK
		:: else -> lock[f] = (lock[f] == me -> 0 : lock[f]); st = D_FIND
		fi
	   }
	:: d_step {
		ON(D_UNLINK) ->
		unlink_name();
		lock[f] = (lock[f] == me -> 0 : lock[f]);
		f = 0;
		st = D_DONE
	   }
	od
}

#define T_FIND 0
#define T_LOOK 1
#define T_DONE 2

proctype attacher(byte me)
{
	byte st, f;

	do
	:: d_step { ON(T_FIND) && name != 0 -> f = name; st = T_LOOK }
	:: d_step {
		ON(T_LOOK) ->
		/* Whatever has a name is complete. */
		assert(filled[f]);
		st = (state[f] == READY -> T_DONE : T_FIND)
	   }
	od
}

#define KILL(e) d_step { \
		kills < KILLS && !halted[e] -> \
		printf("%d is killed\n", e); \
		kills++; halted[e] = true; i = 0; \
		do \
		:: i < FILES && lock[i] == e -> lock[i] = 0; i++ \
		:: i < FILES && lock[i] != e -> i++ \
		:: else -> break \
		od; \
		i = 0 \
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
		assert(settled);
		/* A ring, or a removed one whose remover was killed. */
		assert(name == 0 || filled[name]);
		assert(name == 0 || state[name] == READY || state[name] == REMOVED);
		assert(name != 0 || REMOVERS > 0);
		assert(made > 0)
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
