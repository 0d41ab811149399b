/* SPDX-License-Identifier: MIT */
/*
 * The SIGBUS guard. Whoever may write a file may also truncate it, and then every process that
 * touches the missing pages of its mapping is killed, unless it handles the signal. The handler
 * here puts private zeros in place of the whole mapping and returns: the instruction that faulted
 * goes on in memory that nobody shares, and is harmless there. Nothing has to be asked on the fast
 * path, because zeros cannot be taken for a ring in order: the state word is none of a living ring,
 * and the event word says that somebody wants to be looked at (docs/SECURITY.md, "Truncation"). The
 * endpoints are marked as well, so that a copy which the signal tore is not handed out as a record.
 *
 * In the handler: no lock but one that is never held across shared memory or with signals let in,
 * no allocation, and mmap(), which is one system call.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <quoit/quoit.h>

#include "ring/guard.h"

#define CHUNK 64

/*
 * The handler reads entries that other threads take and give back. An odd version is being changed;
 * two equal even ones around the look mean that what was seen belongs together.
 */
struct quoit__guarded {
	_Atomic uint32_t used, version;
	_Atomic uintptr_t base;
	_Atomic uint64_t size;
	_Atomic uint32_t writable;
	_Atomic uint32_t lost;
};

/* The table grows, and never shrinks: the handler may be reading it at any time. */
struct chunk {
	struct quoit__guarded entry[CHUNK];
	struct chunk *_Atomic next;
};

static struct chunk first;

/* ---- the table ------------------------------------------------------------------------------ */

static struct quoit__guarded *take_entry(struct chunk *c)
{
	for (int i = 0; i < CHUNK; i++) {
		uint32_t none = 0;

		/* Acquire: pairs with the release in quoit__guard_drop(). */
		if (atomic_compare_exchange_strong_explicit(&c->entry[i].used, &none, 1,
							    memory_order_acquire,
							    memory_order_relaxed))
			return &c->entry[i];
	}
	return NULL;
}

/* The chunk behind this one, made if there is none. */
static struct chunk *next_chunk(struct chunk *c)
{
	/* Acquire, release: the chunk's zeros. */
	struct chunk *next = atomic_load_explicit(&c->next, memory_order_acquire);
	struct chunk *made;

	if (next != NULL)
		return next;
	made = calloc(1, sizeof(*made));
	if (made == NULL)
		return NULL;
	if (atomic_compare_exchange_strong_explicit(&c->next, &next, made, memory_order_acq_rel,
						    memory_order_acquire))
		return made;
	free(made);
	return next;
}

struct quoit__guarded *quoit__guard_new(void)
{
	for (struct chunk *c = &first; c != NULL; c = next_chunk(c)) {
		struct quoit__guarded *g = take_entry(c);

		if (g != NULL)
			return g;
	}
	return NULL;
}

/* Only the entry's owner writes it. */
static void write_entry(struct quoit__guarded *g, uintptr_t base, uint64_t size, bool writable)
{
	uint32_t version = atomic_load_explicit(&g->version, memory_order_relaxed);

	atomic_store_explicit(&g->version, version + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	atomic_store_explicit(&g->base, base, memory_order_relaxed);
	atomic_store_explicit(&g->size, size, memory_order_relaxed);
	atomic_store_explicit(&g->writable, writable, memory_order_relaxed);
	atomic_store_explicit(&g->lost, 0, memory_order_relaxed);
	atomic_store_explicit(&g->version, version + 2, memory_order_release);
}

void quoit__guard_set(struct quoit__guarded *g, void *base, uint64_t size, bool writable)
{
	write_entry(g, (uintptr_t)base, size, writable);
}

void quoit__guard_drop(struct quoit__guarded *g)
{
	if (g == NULL)
		return;
	write_entry(g, 0, 0, false);
	atomic_store_explicit(&g->used, 0, memory_order_release);
}

bool quoit__guard_lost(const struct quoit__guarded *g)
{
	/* Relaxed: the thread that lost it is the one that asks, or will soon fault itself. */
	return g != NULL && atomic_load_explicit(&g->lost, memory_order_relaxed) != 0;
}

/* ---- the handler ---------------------------------------------------------------------------- */

/* How whoever had the signal before us wants it; written before our handler is installed. */
static struct sigaction before;
static atomic_bool reset; /* theirs was for one time, and that was used */

/* The bytes that an entry stands for, if `at` is among them. */
static bool covers(struct quoit__guarded *g, uintptr_t at, unsigned char **ret_base,
		   uint64_t *ret_size, int *ret_protection)
{
	uint32_t version = atomic_load_explicit(&g->version, memory_order_acquire);
	uintptr_t base = atomic_load_explicit(&g->base, memory_order_relaxed);
	uint64_t size = atomic_load_explicit(&g->size, memory_order_relaxed);
	uint32_t writable = atomic_load_explicit(&g->writable, memory_order_relaxed);

	atomic_thread_fence(memory_order_acquire);
	if (version % 2 != 0 ||
	    atomic_load_explicit(&g->version, memory_order_relaxed) != version || at < base ||
	    at - base >= size)
		return false;
	/* One of ours, that this very thread is at work on: it stays until we return. */
	*ret_base = (unsigned char *)base;
	*ret_size = size;
	*ret_protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	return true;
}

static bool replace(struct quoit__guarded *g, uintptr_t at)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	unsigned char *base;
	uint64_t size;
	int protection;

	if (!covers(g, at, &base, &size, &protection))
		return false;
	/* First: whoever copies zeros must find out that they are. */
	atomic_store_explicit(&g->lost, 1, memory_order_relaxed);
	quoit__endpoints_lost(base);
	return mmap(base, size, protection, flags, -1, 0) != MAP_FAILED;
}

static bool is_ours(const siginfo_t *info)
{
	/* Not those that were sent, whose address is none, nor misaligned accesses, which zeros do
	 * not mend. Failed memory is lost as well, once somebody touches it. */
	if (info->si_code != BUS_ADRERR && info->si_code != BUS_OBJERR &&
	    info->si_code != BUS_MCEERR_AR)
		return false;
	for (struct chunk *c = &first; c != NULL;
	     c = atomic_load_explicit(&c->next, memory_order_acquire))
		for (int i = 0; i < CHUNK; i++)
			if (replace(&c->entry[i], (uintptr_t)info->si_addr))
				return true;
	return false;
}

/* As if we were not here. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	const bool sent = info->si_code <= 0;
	sigset_t set;

	if (before.sa_handler == SIG_IGN && sent)
		return;
	if (before.sa_handler == SIG_IGN || before.sa_handler == SIG_DFL ||
	    atomic_load_explicit(&reset, memory_order_relaxed)) {
		/* A fault comes again when we return, and then kills; what was sent does not. */
		sigaction(number, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (sent)
			raise(number);
		return;
	}
	if ((before.sa_flags & (int)SA_RESETHAND) != 0)
		atomic_store_explicit(&reset, true, memory_order_relaxed);
	/* The mask as it would be; returning from the signal restores it. */
	pthread_sigmask(SIG_BLOCK, &before.sa_mask, NULL);
	if ((before.sa_flags & SA_NODEFER) != 0) {
		sigemptyset(&set);
		sigaddset(&set, number);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	if ((before.sa_flags & SA_SIGINFO) != 0)
		before.sa_sigaction(number, info, context);
	else
		before.sa_handler(number);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int error = errno;
	bool ours = is_ours(info);

	errno = error;
	if (!ours)
		pass_on(number, info, context);
}

int quoit_guard(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static bool installed;
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	struct sigaction now;
	int r = 0;

	pthread_mutex_lock(&mutex);
	if (sigaction(SIGBUS, NULL, &now) != 0)
		r = -errno;
	else if (installed)
		/* A second time would make ours its own predecessor. */
		r = (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_sigbus ? 0 : -EBUSY;
	else {
		before = now;
		/* Whether a SIGBUS that was sent ends system calls is theirs to say. */
		action.sa_flags |= now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN
					   ? SA_RESTART
					   : now.sa_flags & SA_RESTART;
		sigemptyset(&action.sa_mask);
		installed = sigaction(SIGBUS, &action, NULL) == 0;
		r = installed ? 0 : -errno;
	}
	pthread_mutex_unlock(&mutex);
	return r;
}
