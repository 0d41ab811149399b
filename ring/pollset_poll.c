/* SPDX-License-Identifier: MIT */
/*
 * Pollsets: finding members that have something to say, in turn, and arming those that have not.
 *
 * Fairness comes from the cursor: each poll goes on where the last one ended, and looks at a member
 * once, so between two turns of a ring that floods everyone else has had one.
 *
 * Whoever arms a ring pays a membarrier, and makes its producer pay for the wake that follows. So a
 * member that is given back is not armed but hot: looked at briefly by every poll. It is armed when
 * that has been in vain for some thousand looks, or when somebody is about to sleep, all of them
 * with one fence.
 */
#include <errno.h>

#include "ring/pollset.h"

#define VAIN_MOST  1024 /* brief looks in vain, of all members together, before some are armed */
#define VAIN_STALE 4    /* those looked at so often in vain */

int quoit__member_look(struct quoit_member *m)
{
	/* The locks of its peers are looked at by those who sweep. */
	m->ep->checked_ns = quoit__now_ns();
	return m->consumer != NULL ? quoit__consumer_look(m->consumer)
				   : quoit__producer_look(m->producer, m->room);
}

int quoit__member_probe(struct quoit_member *m)
{
	m->ep->poked = true;
	return m->consumer != NULL ? quoit__consumer_look(m->consumer)
				   : quoit__producer_look(m->producer, m->room);
}

bool quoit__member_glance(struct quoit_member *m)
{
	return m->consumer != NULL ? quoit__consumer_glance(m->consumer)
				   : quoit__producer_glance(m->producer, m->room);
}

/* ---- giving back ---------------------------------------------------------------------------- */

void quoit__pollset_mark(struct quoit_pollset *set, uint32_t index)
{
	if (sync_board_mark(set->board, index))
		sync_pollable_poke(set->pollable);
}

void quoit__member_back_marked(struct quoit_pollset *set, struct quoit_member *m)
{
	uint32_t index = m->index;

	(void)quoit__member_let_go(set, m);
	/* A bit of a member that is gone by now leads nowhere, or to a look in vain. */
	quoit__pollset_mark(set, index);
}

void quoit__member_back_hot(struct quoit_pollset *set, struct quoit_member *m)
{
	uint32_t index = m->index;

	m->armed = false;
	if (quoit__member_let_go(set, m))
		quoit__pollset_mark(set, index);
	else
		/* Release: pairs with whoever takes the bit; a failed hold there leaves NEWS. */
		atomic_fetch_or_explicit(&set->hot[index / 64], UINT64_C(1) << index % 64,
					 memory_order_release);
}

int quoit_pollset_done(struct quoit_pollset *set, const struct quoit_ready *ready)
{
	struct quoit_member *m;
	int r = quoit__pollset_check(set);
	bool mine;

	if (r != 0)
		return r;
	if (ready == NULL || ready->member == NULL)
		return -EINVAL;
	m = ready->member;
	if ((atomic_load_explicit(&m->state, memory_order_relaxed) & QUOIT__HELD) == 0)
		return -EINVAL;
	if (m->producer != NULL)
		m->room = ready->room;
	mine = m->thread == quoit__thread();
	m->vain = 0;
	quoit__member_back_hot(set, m);
	if (mine)
		return 0;
	/* Who took it may be asleep, and we may not come back to look at it. B2: the bit before the
	 * look; pairs with who looks for hot members after having announced its sleep. */
	atomic_thread_fence(memory_order_seq_cst);
	if (sync_board_asleep(set->board))
		quoit__pollset_arm_all(set);
	return 0;
}

/* ---- arming --------------------------------------------------------------------------------- */

/* Announce for the hot ones of a word; adds them to the list of those that are held for it. */
static struct quoit_member *announce_word(struct quoit_pollset *set, uint32_t w, uint32_t least,
					  struct quoit_member *list)
{
	uint64_t bits = atomic_load_explicit(&set->hot[w], memory_order_relaxed);

	if (bits == 0)
		return list;
	bits = atomic_exchange_explicit(&set->hot[w], 0, memory_order_acquire);
	quoit__pollset_enter();
	for (; bits != 0; bits &= bits - 1) {
		struct quoit_member *m =
			quoit__member_hold(set, w * 64 + (uint32_t)__builtin_ctzll(bits));

		if (m == NULL)
			continue;
		if (m->vain < least) {
			quoit__member_back_hot(set, m);
			continue;
		}
		m->seq = sync_announce_unfenced(m->ep->sleeps_on, SYNC_EVENTFD);
		m->armed = true;
		m->next = list;
		list = m;
	}
	quoit__pollset_leave(set);
	return list;
}

static void arm(struct quoit_pollset *set, uint32_t least)
{
	uint32_t words = atomic_load_explicit(&set->words, memory_order_relaxed);
	struct quoit_member *list = NULL, *next;

	for (uint32_t w = 0; w < words; w++)
		list = announce_word(set, w, least, list);
	if (list == NULL)
		return;
	/* E2, once for all of them. */
	sync_announced_fence();
	for (; list != NULL; list = next) {
		uint32_t index = list->index;

		next = list->next;
		list->vain = 0;
		if (quoit__member_look(list) != -EAGAIN)
			quoit__member_back_marked(set, list);
		else if (quoit__member_let_go(set, list))
			quoit__pollset_mark(set, index);
	}
}

void quoit__pollset_arm_all(struct quoit_pollset *set)
{
	arm(set, 0);
}

void quoit__pollset_arm_stale(struct quoit_pollset *set)
{
	arm(set, VAIN_STALE);
}

bool quoit__pollset_hot(const struct quoit_pollset *set)
{
	uint32_t words = atomic_load_explicit(&set->words, memory_order_relaxed);
	uint64_t bits = 0;

	for (uint32_t w = 0; w < words; w++)
		bits |= atomic_load_explicit(&set->hot[w], memory_order_relaxed);
	return bits != 0;
}

bool quoit__pollset_bits(const struct quoit_pollset *set)
{
	uint32_t words = atomic_load_explicit(&set->words, memory_order_relaxed);
	uint64_t bits = 0;

	for (uint32_t w = 0; w < words; w++)
		bits |= atomic_load_explicit(&set->marked[w], memory_order_relaxed) |
			atomic_load_explicit(&set->hot[w], memory_order_relaxed);
	return bits != 0;
}

/* ---- taking --------------------------------------------------------------------------------- */

struct taking {
	struct quoit_pollset *set;
	struct quoit_ready *ret;
	unsigned max, n;
	unsigned vain;
	uint32_t last; /* index of the last one taken */
};

/* Hold the member whose bit was found, if it has something to say. */
static void try_member(struct taking *t, uint32_t w, uint64_t bit, bool marked)
{
	struct quoit_pollset *set = t->set;
	uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bit);
	struct quoit_member *m;
	bool hot = false, nothing;

	if (marked) /* B1: acquire, pairs with marking */
		marked = (atomic_fetch_and_explicit(&set->marked[w], ~bit, memory_order_acquire) &
			  bit) != 0;
	if ((atomic_load_explicit(&set->hot[w], memory_order_relaxed) & bit) != 0)
		hot = (atomic_fetch_and_explicit(&set->hot[w], ~bit, memory_order_acquire) & bit) !=
		      0;
	if (!marked && !hot) /* another thread was faster */
		return;
	m = quoit__member_hold(set, index);
	if (m == NULL)
		return;
	/* A producer's glance only says that something moved: room for what it has is another
	 * matter. */
	nothing = marked ? quoit__member_look(m) == -EAGAIN
			 : !quoit__member_glance(m) ||
				   (m->producer != NULL && quoit__member_look(m) == -EAGAIN);
	if (nothing) {
		m->vain = marked ? 0 : m->vain + 1;
		t->vain++;
		quoit__member_back_hot(set, m);
		return;
	}
	m->vain = 0;
	m->thread = quoit__thread();
	t->last = index;
	t->ret[t->n++] = (struct quoit_ready){.member = m,
					      .consumer = m->consumer,
					      .producer = m->producer,
					      .user = m->user,
					      .room = m->room};
}

static void take_word(struct taking *t, uint32_t w, uint64_t mask)
{
	uint64_t marked = atomic_load_explicit(&t->set->marked[w], memory_order_relaxed);
	uint64_t hot = atomic_load_explicit(&t->set->hot[w], memory_order_relaxed);

	uint64_t bits = (marked | hot) & mask;

	if (bits == 0)
		return;
	quoit__pollset_enter();
	for (; bits != 0 && t->n < t->max; bits &= bits - 1)
		try_member(t, w, bits & -bits, (marked & bits & -bits) != 0);
	quoit__pollset_leave(t->set);
}

/* More is there than we take: one who sleeps might take it. */
static void wake_another(struct quoit_pollset *set)
{
	if (sync_board_asleep(set->board) && quoit__pollset_bits(set) &&
	    sync_board_rouse(set->board))
		sync_pollable_poke(set->pollable);
}

/* Brief looks were in vain, and those members are hot again. */
static void after_vain(struct quoit_pollset *set, uint32_t n)
{
	/* We had their bits when somebody armed all that were hot, and went to sleep; and we may
	 * not come back. B2: the bits before the look, as in quoit_pollset_done(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (sync_board_asleep(set->board)) {
		quoit__pollset_arm_all(set);
		return;
	}
	if (atomic_fetch_add_explicit(&set->vain, n, memory_order_relaxed) + n < VAIN_MOST)
		return;
	atomic_store_explicit(&set->vain, 0, memory_order_relaxed);
	quoit__pollset_arm_stale(set);
}

unsigned quoit__pollset_take(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max)
{
	struct taking t = {.set = set, .ret = ret, .max = max};
	uint32_t words = atomic_load_explicit(&set->words, memory_order_relaxed);
	uint32_t start = atomic_load_explicit(&set->cursor, memory_order_relaxed), cursor = start;
	uint64_t mask;
	uint32_t w;

	if (words == 0)
		return 0;
	if (start >= words * 64)
		start = 0;
	w = start / 64;
	mask = UINT64_MAX << start % 64;
	for (uint32_t i = 0; i <= words && t.n < max; i++) {
		take_word(&t, w, mask);
		/* At last the lower part of the word that we began with. */
		mask = i + 1 < words ? UINT64_MAX : ~(UINT64_MAX << start % 64);
		w = w + 1 < words ? w + 1 : 0;
	}
	if (t.n != 0) /* a slow thread does not set it back */
		atomic_compare_exchange_strong_explicit(&set->cursor, &cursor, t.last + 1,
							memory_order_relaxed, memory_order_relaxed);
	if (t.n == max)
		wake_another(set);
	if (t.vain != 0)
		after_vain(set, t.vain);
	return t.n;
}
