/* SPDX-License-Identifier: MIT */
/*
 * The eventcount: announcing and waking, and the table of backends. How and why it works is told in
 * eventcount.h; the edges E1 to E4 are in docs/ORDERING.md.
 *
 * A wake wakes everyone who sleeps, not one of them. Waking one would be enough for one new record,
 * but not for a batch, the end of the stream, a death or a removal; and if the chosen one has just
 * given up (deadline, signal, kill), the others would sleep beside a record until their naps end.
 */
#include <errno.h>
#include <sched.h>
#include <stddef.h>

#include "sync/backend.h"
#include "sync/pollable.h"

static int spin_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		      struct sync_pollable *p)
{
	(void)e, (void)seq, (void)nap_ns, (void)p;
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
	return 0;
}

static int yield_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		       struct sync_pollable *p)
{
	(void)e, (void)seq, (void)nap_ns, (void)p;
	sched_yield();
	return 0;
}

/* Woken by the caller of sync_wake(), which knows the rows. */
static int eventfd_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
			 struct sync_pollable *p)
{
	if (p == NULL)
		return -EINVAL;
	/* The waker may have been killed between its bump and our eventfd. */
	if (sync_sequence(e) != seq)
		return 0;
	return sync_pollable_wait(p, nap_ns);
}

static const struct sync_ops spin_ops = {.sleep = spin_sleep};
static const struct sync_ops yield_ops = {.sleep = yield_sleep};
static const struct sync_ops eventfd_ops = {.sleep = eventfd_sleep};

#define BACKENDS (SYNC_EVENTFD + 1)

static const struct sync_ops *const backends[BACKENDS] = {
	[SYNC_SPIN] = &spin_ops,
	[SYNC_YIELD] = &yield_ops,
	[SYNC_FUTEX] = &sync_ops_futex,
	[SYNC_SEM] = &sync_ops_sem,
	[SYNC_SYSVSEM] = &sync_ops_sysvsem,
	[SYNC_EVENTFD] = &eventfd_ops,
};

static const struct sync_ops *backend_ops(enum sync_backend backend)
{
	return (unsigned)backend < BACKENDS ? backends[backend] : NULL;
}

static uint64_t event_word(uint32_t announced, uint32_t seq)
{
	return (uint64_t)announced << 32 | seq;
}

int sync_event_init(const struct sync_event *e)
{
	/* Relaxed: the segment is published as a whole. */
	atomic_store_explicit(e->word, event_word(0, 1), memory_order_relaxed);
	atomic_store_explicit(e->backends, 0, memory_order_relaxed);
	for (unsigned b = 0; b < BACKENDS; b++)
		if (backends[b] != NULL && backends[b]->init != NULL) {
			int r = backends[b]->init(e);

			if (r != 0)
				return r;
		}
	return 0;
}

uint32_t sync_announce_unfenced(const struct sync_event *e, enum sync_backend backend)
{
	uint32_t bit = UINT32_C(1) << backend, seq;
	uint64_t word;

	/* Relaxed: E3 orders the bit before the announcement. If another sleeper has set it, that
	 * one's setting happens before our E3 just the same. */
	if ((atomic_load_explicit(e->backends, memory_order_relaxed) & bit) == 0)
		atomic_fetch_or_explicit(e->backends, bit, memory_order_relaxed);
	/* Relaxed: only a guess for the exchange. */
	word = atomic_load_explicit(e->word, memory_order_relaxed);
	do
		seq = (uint32_t)word;
	/* E3: release, pairs with the bump of a waker: it sees our bit, and whatever the caller
	 * stored to be found by wakers. Therefore also when somebody else has announced already.
	 * E4: acquire, pairs with the bump before seq: we see what was published before that. */
	while (!atomic_compare_exchange_weak_explicit(e->word, &word, event_word(seq, seq),
						      memory_order_seq_cst, memory_order_relaxed));
	return seq;
}

void sync_announced_fence(void)
{
	/* E2: from here on either our look sees what a publisher stored, or its look at the word
	 * (E1) sees our announcement. Without membarrier, publishers that fence for themselves are
	 * still served by a fence; the others by short naps. */
	if (!sync_membarrier())
		atomic_thread_fence(memory_order_seq_cst);
}

uint32_t sync_announce(const struct sync_event *e, enum sync_backend backend)
{
	uint32_t seq = sync_announce_unfenced(e, backend);

	sync_announced_fence();
	return seq;
}

bool sync_moved(const struct sync_event *e, uint32_t seq)
{
	return sync_sequence(e) != seq;
}

int sync_sleep(const struct sync_event *e, enum sync_backend backend, uint32_t seq, int64_t nap_ns,
	       struct sync_pollable *p)
{
	const struct sync_ops *ops = backend_ops(backend);
	int r;

	if (ops == NULL)
		return -EINVAL;
	nap_ns = sync_nap(nap_ns);
	r = ops->sleep(e, seq, nap_ns, p);
	if (r == 0 || r == -EINTR || r == -ETIMEDOUT || r == -EIDRM)
		return r;
	return sync_doze(nap_ns);
}

bool sync_wake(const struct sync_event *e, uint32_t sleepers_max, uint32_t *ret_called)
{
	/* Relaxed: only a guess for the exchange. */
	uint64_t word = atomic_load_explicit(e->word, memory_order_relaxed);
	uint32_t seq, mask, called = 0;

	*ret_called = 0;
	do {
		if (!sync_announced(word))
			return false; /* another waker was faster, and does the rest */
		seq = (uint32_t)word;
		/* E3: acquire, pairs with announcing. E4: release, pairs with whoever sees the new
		 * sequence. seq + 1 must not carry into the upper half. */
	} while (!atomic_compare_exchange_weak_explicit(e->word, &word, event_word(seq, seq + 1),
							memory_order_acq_rel,
							memory_order_relaxed));
	/* Relaxed: by E3 the bits of all who sleep at seq are there. */
	mask = atomic_load_explicit(e->backends, memory_order_relaxed);
	for (unsigned b = 0; b < BACKENDS; b++)
		if ((mask & UINT32_C(1) << b) != 0 && backends[b] != NULL &&
		    backends[b]->wake != NULL)
			called += backends[b]->wake(e, seq, sleepers_max);
	*ret_called = called;
	return (mask & UINT32_C(1) << SYNC_EVENTFD) != 0;
}

int sync_doze(int64_t nap_ns)
{
	/* Nobody can end it, so it is short. */
	struct timespec t = sync_timespec(nap_ns < SYNC_BLIND_NAP_NS ? nap_ns : SYNC_BLIND_NAP_NS);

	return nanosleep(&t, NULL) == 0 ? -ETIMEDOUT : -EINTR;
}
