/* SPDX-License-Identifier: MIT */
/*
 * Every single access to a ring, seen: while it is watched, a ring's mapping may not be touched. An
 * access faults; then the mapping is opened, the one instruction executed in a single step, and the
 * mapping closed again. Before the access whoever watches may write to the ring, through a mapping
 * of his own: between any two looks of the library there is a moment for that, not by luck as with
 * a thread beside it.
 *
 * An instruction that looks at two words is one access, as is each turn of one that repeats itself.
 * What is not in a ring's mapping, or may not be touched in an open one, is a fault as ever.
 */
#ifndef QUOIT_TESTS_FUZZ_WATCH_H
#define QUOIT_TESTS_FUZZ_WATCH_H

#include <signal.h>
#include <ucontext.h>

#include "fuzz/scene.h"

#define TRAP_FLAG  0x100
#define WATCH_SIZE SCENE_HEAP /* what the heap's units hold is payload */

/* Before the access to this offset of the ring, on the signal's stack; false: nobody needs to watch
 * any more. */
typedef bool watch_fn(void *arg, uint32_t offset);

static struct {
	bool armed;
	struct guarded *open; /* for the instruction that is being stepped */
	watch_fn *fn;
	void *arg;
	struct sigaction before_segv;
} watch;

static void watch_protect(const struct guarded *g, int prot)
{
	int error = errno;

	size_t size = whole_pages(g->size);

	MUST(mprotect(g->at, size < WATCH_SIZE ? size : WATCH_SIZE, prot) == 0);
	errno = error;
}

static void watch_made(struct guarded *g)
{
	if (watch.armed)
		watch_protect(g, PROT_NONE);
}

static void watch_all(bool closed)
{
	for (struct guarded *g = guarded; g < guarded + TEST_COUNT(guarded); g++)
		if (g->at != NULL)
			watch_protect(g, closed ? PROT_NONE : g->prot);
}

static void watch_aside(bool aside)
{
	if (watch.armed)
		watch_all(!aside);
}

static void watch_stop(void)
{
	watch.armed = false;
	watch.open = NULL;
	watch_all(false);
}

static struct guarded *watch_room(const unsigned char *at)
{
	for (struct guarded *g = guarded; g < guarded + TEST_COUNT(guarded); g++)
		if (g->at != NULL && at >= g->at && at < g->at + whole_pages(g->size))
			return g;
	return NULL;
}

static void watch_segv(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	struct guarded *g = watch_room(info->si_addr);

	(void)signal;
	if (!watch.armed || watch.open != NULL || g == NULL) {
		/* A real one: to whom it was meant for, from the instruction itself. */
		MUST(sigaction(SIGSEGV, &watch.before_segv, NULL) == 0);
		uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
		return;
	}
	if (!watch.fn(watch.arg, (uint32_t)((unsigned char *)info->si_addr - g->at))) {
		watch_stop();
		return;
	}
	watch_protect(g, g->prot);
	watch.open = g;
	uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void watch_trap(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)signal;
	(void)info;
	uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	if (watch.open != NULL)
		watch_protect(watch.open, PROT_NONE);
	watch.open = NULL;
}

/* From here to watch_stop(), call fn before each access to a ring that this process has mapped, or
 * maps meanwhile, by the library's ways. */
static void watch_start(watch_fn *fn, void *arg)
{
	static bool ready;
	struct sigaction segv = {.sa_sigaction = watch_segv, .sa_flags = SA_SIGINFO};
	struct sigaction trap = {.sa_sigaction = watch_trap, .sa_flags = SA_SIGINFO};

	if (!ready) {
		MUST(sigaction(SIGSEGV, &segv, &watch.before_segv) == 0);
		MUST(sigaction(SIGTRAP, &trap, NULL) == 0);
		guarded_made = watch_made;
		guarded_aside = watch_aside;
		ready = true;
	}
	watch.fn = fn;
	watch.arg = arg;
	watch.armed = true;
	watch_all(true);
}

#endif
