/* SPDX-License-Identifier: MIT */
/* Members: held, given back, closed; and finding those that have a record, as in ring/pollset.c and
 * pollset_poll.c. Included by pollset.pml. */

/* ---- members --------------------------------------------------------------------------------- */

inline close_member(m)
{
	assert(!freed[m] && !used[m]);
	freed[m] = true
}

#ifdef BREAK_NO_NEWS
#define LEAVE_NEWS(m) skip
#else
#define LEAVE_NEWS(m) news[m] = true
#endif

inline hold_state(m, ret)
{
	assert(!freed[m]);
	if
	:: gone[m] -> ret = false
	:: !gone[m] && held[m] -> ret = false; LEAVE_NEWS(m)
	:: else -> held[m] = true
	fi
}

/* The table, then the state; in between it might be freed. */
#ifdef REMOVER
inline hold(m, ret)
{
	ret = table[m];
	if
	:: ret -> atomic { hold_state(m, ret) }
	:: else
	fi
}
#else
inline hold(m, ret)
{
	atomic { ret = true; hold_state(m, ret) }
}
#endif

#ifdef BREAK_LET_GO_STORE
/* Not one access but two. */
inline let_go(m, ret)
{
	atomic { ret = news[m]; was = grace[m] };
	atomic {
		assert(!freed[m]);
		held[m] = false; news[m] = false; grace[m] = was;
		if
		:: was -> close_member(m); ret = false
		:: else
		fi;
		was = false
	}
}
#else
inline let_go(m, ret)
{
	atomic {
		assert(!freed[m]);
		ret = news[m];
		held[m] = false; news[m] = false;
		if
		:: grace[m] -> close_member(m); ret = false
		:: else
		fi
	}
}
#endif

/* By a thread of the set; a waker does it in three steps. */
inline mark(m)
{
	marked[m] = true;
	atomic {
		event = event || sleeping;
		sleeping = false
	}
}

inline back_marked(m)
{
	let_go(m, told);
	told = false;
	mark(m)
}

inline back_hot(m)
{
	armed[m] = false;
	let_go(m, told);
	if
	:: told -> told = false; mark(m)
	:: else -> hot[m] = true
	fi
}

inline back_armed(m)
{
	let_go(m, told);
	if
	:: told -> told = false; mark(m)
	:: else
	fi
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Take one that has a record: got is its number and 1, or 0. Two words that are read one after the
 * other, as in look_for_bits(), can hide a member that goes from hot to marked meanwhile; here it
 * makes no difference, for that may come later as well. */
inline take()
{
	got = 0; vain = false;
	do
	:: i < MEMBERS && got == 0 ->
		atomic {
			a = marked[i] || hot[i];
			marked[i] = false; hot[i] = false;
			reading[me] = a
		};
		if
		:: a ->
			hold(i, a);
			if
			:: a && data[i] > 0 -> got = i + 1
			:: a && data[i] == 0 -> vain = true; back_hot(i)
			:: else
			fi;
			a = false;
			reading[me] = false
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* Announce for all that are hot, then look again. */
inline arm_all()
{
	do
	:: i < MEMBERS ->
		atomic { a = hot[i]; hot[i] = false; reading[me] = a };
		if
		:: a ->
			hold(i, a);
			atomic {
				if
				:: a ->
					announced[i] = true; moved[i] = false;
					armed[i] = true; list[i] = true
				:: else
				fi;
				a = false;
				reading[me] = false
			}
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < MEMBERS ->
		if
#ifdef BREAK_ARM_BLINDLY
		:: list[i] -> list[i] = false; back_armed(i)
#else
		:: list[i] && data[i] > 0 -> list[i] = false; back_marked(i)
		:: list[i] && data[i] == 0 -> list[i] = false; back_armed(i)
#endif
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline look_for_bits()
{
	do
	:: i < MEMBERS && !a ->
		a = marked[i];
#ifndef BREAK_MARKED_ONLY
		a = a || hot[i];
#endif
		i++
	:: else -> break
	od;
	i = 0
}

/* Everybody, whatever the board says. */
inline sweep()
{
	do
	:: i < MEMBERS ->
		reading[me] = true;
#ifdef BREAK_SWEEP_NO_NEWS
		if
		:: held[i] -> a = false
		:: else -> hold(i, a)
		fi;
#else
		hold(i, a);
#endif
		reading[me] = false;
		if
		:: a ->
			a = false;
			b = armed[i] && moved[i];
			if
			:: data[i] > 0 -> back_marked(i)
			:: data[i] == 0 && (!armed[i] || b) -> back_hot(i)
			:: data[i] == 0 && armed[i] && !b -> back_armed(i)
			fi;
			b = false
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline arm_if_asleep()
{
	if
	:: sleeping -> arm_all()
	:: else
	fi
}
