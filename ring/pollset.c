/* SPDX-License-Identifier: MIT */
/*
 * Pollsets: members come and go. docs/DESIGN.md, "Pollsets".
 *
 * The table of members is read under RCU (liburcu, the flavour that registers threads by itself):
 * who finds a bit loads the member's address and tries to hold it, and only in between could it be
 * freed by somebody who removes it. A poll that finds no bit does not read the table at all.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <urcu-bp.h>

#include "ring/pollset.h"

#define MEMBERS_DEFAULT 1024u
#define SPIN_FIRST_NS   20000

/* What the thread sanitizer cannot see: liburcu is not instrumented, so it is told that what a
 * reader did comes before what a remover does after it has waited for readers. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifdef TSAN
#include <sanitizer/tsan_interface.h>
#define TOLD_READER(set)  __tsan_release((set)->id)
#define TOLD_REMOVER(set) __tsan_acquire((set)->id)
#else
#define TOLD_READER(set)  ((void)0)
#define TOLD_REMOVER(set) ((void)0)
#endif

/* ---- fork ----------------------------------------------------------------------------------- */

static unsigned forks; /* this process is the grandchild of so many; changed by the only thread */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_child(void)
{
	urcu_bp_after_fork_child();
	forks++;
}

static void fork_register(void)
{
	/* Handlers before a fork run last come, first served: RCU's lock, then the wakers', which
	 * readers may wait for. */
	sync_board_register_fork();
	pthread_atfork(urcu_bp_before_fork, urcu_bp_after_fork_parent, fork_child);
}

int quoit__pollset_check(const struct quoit_pollset *set)
{
	if (set == NULL)
		return -EINVAL;
	return set->forks == forks ? 0 : -EBADF;
}

const void *quoit__thread(void)
{
	static _Thread_local char here;

	return &here;
}

/* ---- holding -------------------------------------------------------------------------------- */

/* The member is there, but it may be held, or gone. */
static bool try_hold(struct quoit_member *m)
{
	/* Relaxed: only a guess for the exchange. */
	uint32_t state = atomic_load_explicit(&m->state, memory_order_relaxed), to;

	do {
		if ((state & QUOIT__GONE) != 0)
			return false;
		to = state | ((state & QUOIT__HELD) != 0 ? QUOIT__NEWS : QUOIT__HELD);
		/* B3: acquire, pairs with letting go: what the last holder did to the endpoint. */
	} while (!atomic_compare_exchange_weak_explicit(&m->state, &state, to, memory_order_acq_rel,
							memory_order_relaxed));
	return (state & QUOIT__HELD) == 0;
}

void quoit__pollset_enter(void)
{
	urcu_bp_read_lock();
}

void quoit__pollset_leave(struct quoit_pollset *set)
{
	(void)set; /* but for the thread sanitizer */
	TOLD_READER(set);
	urcu_bp_read_unlock();
}

struct quoit_member *quoit__member_hold(struct quoit_pollset *set, uint32_t index)
{
	/* B4: acquire, pairs with add. */
	struct quoit_member *m = atomic_load_explicit(&set->table[index], memory_order_acquire);

	return m != NULL && try_hold(m) ? m : NULL;
}

static void close_member(struct quoit_member *m)
{
	if (m->consumer != NULL)
		quoit_consumer_close(m->consumer);
	else
		quoit_producer_close(m->producer);
	free(m);
}

bool quoit__member_let_go(struct quoit_pollset *set, struct quoit_member *m)
{
	/* B3 */
	uint32_t state = atomic_fetch_and_explicit(&m->state, ~(QUOIT__HELD | QUOIT__NEWS),
						   memory_order_acq_rel);

	(void)set;
	if ((state & QUOIT__GRACE) != 0) {
		close_member(m);
		return false;
	}
	return (state & QUOIT__NEWS) != 0;
}

/* ---- making and unmaking -------------------------------------------------------------------- */

static int read_options(const struct quoit_pollset_options *opt, uint32_t *ret_members)
{
	struct quoit_pollset_options o = {0};

	if (opt != NULL) {
		if (opt->size < sizeof(opt->size))
			return -EINVAL;
		for (uint32_t i = sizeof(o); i < opt->size; i++)
			if (((const unsigned char *)opt)[i] != 0)
				return -E2BIG;
		memcpy(&o, opt, opt->size < sizeof(o) ? opt->size : sizeof(o));
	}
	*ret_members = o.members != 0 ? o.members : MEMBERS_DEFAULT;
	return *ret_members <= QUOIT_POLLSET_MEMBERS_MAX ? 0 : -EINVAL;
}

static void free_set(struct quoit_pollset *set)
{
	sync_pollable_free(set->pollable);
	sync_board_free(set->board);
	pthread_mutex_destroy(&set->change);
	free(set->table);
	free(set->used);
	free((void *)set->hot);
	free(set);
}

static int make_parts(struct quoit_pollset *set)
{
	size_t words = (set->members + 63) / 64;
	int r;

	set->hot = calloc(words, sizeof(*set->hot));
	set->used = calloc(words, sizeof(*set->used));
	set->table = calloc(words * 64, sizeof(*set->table));
	if (set->hot == NULL || set->used == NULL || set->table == NULL)
		return -ENOMEM;
	if (getrandom(set->id, sizeof(set->id), 0) != (ssize_t)sizeof(set->id))
		return -EIO;
	r = sync_board_new(set->id, set->members, &set->board);
	if (r != 0)
		return r;
	set->marked = sync_board_words(set->board);
	return sync_pollable_new_set(set->id, set->board, &set->pollable);
}

int quoit_pollset_create(const struct quoit_pollset_options *opt, struct quoit_pollset **ret_set)
{
	struct quoit_pollset *set;
	uint32_t members;
	int r;

	if (ret_set == NULL)
		return -EINVAL;
	r = read_options(opt, &members);
	if (r != 0)
		return r;
	pthread_once(&fork_once, fork_register);
	set = aligned_alloc(alignof(struct quoit_pollset), sizeof(*set));
	if (set == NULL)
		return -ENOMEM;
	memset(set, 0, sizeof(*set));
	set->members = members;
	set->forks = forks;
	pthread_mutex_init(&set->change, NULL);
	atomic_init(&set->spin_ns, SPIN_FIRST_NS);
	set->swept_ns = quoit__now_ns();
	r = make_parts(set);
	if (r != 0) {
		free_set(set);
		return r;
	}
	*ret_set = set;
	return 0;
}

void quoit_pollset_destroy(struct quoit_pollset *set)
{
	uint32_t words;

	if (set == NULL)
		return;
	words = atomic_load_explicit(&set->words, memory_order_acquire);
	for (uint32_t i = 0; i < words * 64; i++) {
		struct quoit_member *m = atomic_load_explicit(&set->table[i], memory_order_acquire);

		if (m != NULL)
			close_member(m);
	}
	if (set->forks == forks)
		sync_board_retire(set->board);
	free_set(set);
}

unsigned quoit_pollset_count(const struct quoit_pollset *set)
{
	return atomic_load_explicit(&set->count, memory_order_relaxed);
}

/* ---- members -------------------------------------------------------------------------------- */

/* The lowest free index, so that bits stay close together; under the mutex. */
static uint32_t free_index(const struct quoit_pollset *set)
{
	uint32_t i = 0;

	while (i < set->members && set->used[i / 64] == UINT64_MAX)
		i += 64;
	if (i < set->members)
		i += (uint32_t)__builtin_ctzll(~set->used[i / 64]);
	return i;
}

/* How many words hold bits of members; under the mutex. */
static void count_words(struct quoit_pollset *set)
{
	uint32_t words = (set->members + 63) / 64;

	while (words > 0 && set->used[words - 1] == 0)
		words--;
	/* Relaxed: who sees it late misses a member that has just come, once. */
	atomic_store_explicit(&set->words, words, memory_order_relaxed);
}

static int enter_table(struct quoit_pollset *set, struct quoit_member *m)
{
	uint32_t i;

	pthread_mutex_lock(&set->change);
	i = free_index(set);
	if (i >= set->members) {
		pthread_mutex_unlock(&set->change);
		return -ENOSPC;
	}
	set->used[i / 64] |= UINT64_C(1) << i % 64;
	m->index = i;
	/* B4: publishes the member. */
	atomic_store_explicit(&set->table[i], m, memory_order_release);
	atomic_fetch_add_explicit(&set->count, 1, memory_order_relaxed);
	count_words(set);
	pthread_mutex_unlock(&set->change);
	return 0;
}

/* Where wakers find us. S4: the bit last, and before any announcement. */
static void enter_row(const struct quoit_pollset *set, struct quoit_member *m)
{
	struct quoit__row *row = m->ep->row;
	uint64_t id[2];

	memcpy(id, set->id, sizeof(id));
	atomic_store_explicit(&row->set[0], id[0], memory_order_relaxed);
	atomic_store_explicit(&row->set[1], id[1], memory_order_relaxed);
	atomic_store_explicit(&row->set_bit, m->index + 1, memory_order_release);
}

static int add(struct quoit_pollset *set, struct quoit__endpoint *ep, struct quoit_member *of,
	       struct quoit_member **ret_member)
{
	struct quoit_member *m;
	int r;

	if (ep->error != 0)
		return ep->error;
	if (ep->in_set)
		return -EBUSY;
	m = aligned_alloc(alignof(struct quoit_member), sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	*m = *of;
	m->ep = ep;
	/* Held by us until it is complete. */
	atomic_init(&m->state, QUOIT__HELD);
	r = enter_table(set, m);
	if (r != 0) {
		free(m);
		return r;
	}
	ep->in_set = true;
	enter_row(set, m);
	if (ret_member != NULL)
		*ret_member = m;
	quoit__member_back_marked(set, m);
	return 0;
}

int quoit_pollset_add_consumer(struct quoit_pollset *set, struct quoit_consumer *c, void *user,
			       struct quoit_member **ret_member)
{
	struct quoit_member m = {.consumer = c, .user = user};
	int r = quoit__pollset_check(set);

	if (r == 0 && c == NULL)
		r = -EINVAL;
	return r != 0 ? r : add(set, &c->ep, &m, ret_member);
}

int quoit_pollset_add_producer(struct quoit_pollset *set, struct quoit_producer *p, uint32_t room,
			       void *user, struct quoit_member **ret_member)
{
	struct quoit_member m = {.producer = p, .user = user, .room = room};
	int r = quoit__pollset_check(set);

	if (r == 0 && p == NULL)
		r = -EINVAL;
	if (r == 0 && room != QUOIT_POLLSET_NO_ROOM && room > p->ep.ring->geo.max_record)
		r = -EMSGSIZE;
	return r != 0 ? r : add(set, &p->ep, &m, ret_member);
}

static bool leave_table(struct quoit_pollset *set, struct quoit_member *m)
{
	uint32_t i = m->index;
	bool there;

	pthread_mutex_lock(&set->change);
	there = i < set->members && atomic_load_explicit(&set->table[i], memory_order_relaxed) == m;
	if (there) {
		atomic_store_explicit(&set->table[i], NULL, memory_order_release);
		set->used[i / 64] &= ~(UINT64_C(1) << i % 64);
		atomic_fetch_sub_explicit(&set->count, 1, memory_order_relaxed);
		count_words(set);
	}
	pthread_mutex_unlock(&set->change);
	return there;
}

int quoit_pollset_remove(struct quoit_pollset *set, struct quoit_member *member)
{
	int r = quoit__pollset_check(set);
	uint32_t state;

	if (r != 0)
		return r;
	if (member == NULL || !leave_table(set, member))
		return -EINVAL;
	atomic_fetch_or_explicit(&member->state, QUOIT__GONE, memory_order_acq_rel);
	/* From here on nobody new finds it; wait for those who have its address already. */
	urcu_bp_synchronize_rcu();
	TOLD_REMOVER(set);
	/* One of two closes it: we, or who holds it and sees this when letting go. */
	state = atomic_fetch_or_explicit(&member->state, QUOIT__GRACE, memory_order_acq_rel);
	if ((state & QUOIT__HELD) == 0)
		close_member(member);
	return 0;
}
