/* SPDX-License-Identifier: MIT */
/*
 * A clock that stands still while we do: a machine that was stopped, a group of processes that was
 * frozen, has not given the others any time either. For limits on how long something may take; it
 * must be looked at many times a second by who waits.
 */
#ifndef QUOIT_TESTS_CRASH_RUNNING_H
#define QUOIT_TESTS_CRASH_RUNNING_H

#include "tests/support.h"

#define RUNNING_GAP_NS INT64_C(200000000)
#define RUNNING_GROUP  8 /* processes, at most */

static inline int64_t running_ns(void)
{
	static int64_t last, away;
	int64_t now = test_now_ns();

	if (last != 0 && now - last > RUNNING_GAP_NS)
		away += now - last;
	last = now;
	return now - away;
}

/* How long this process could have run and had no processor: /proc/PID/schedstat. */
static inline int64_t running_waited_ns(pid_t pid)
{
	unsigned long long ran, waited = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", pid);
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu %llu", &ran, &waited) != 2)
		waited = 0; /* a kernel that does not count it */
	fclose(f);
	return (int64_t)waited;
}

/* A limit for what a group of processes does, whom a busy machine may not let run: the time since
 * it began, less what the one of them has waited for a processor that has waited longest. */
struct running_group {
	const pid_t *pid;
	unsigned n;
	int64_t begin_ns, waited_ns[RUNNING_GROUP];
};

static inline void running_begin(struct running_group *g, const pid_t *pid, unsigned n)
{
	MUST(n <= RUNNING_GROUP);
	g->pid = pid;
	g->n = n;
	for (unsigned i = 0; i < n; i++)
		g->waited_ns[i] = running_waited_ns(pid[i]);
	g->begin_ns = running_ns();
}

static inline int64_t running_group_ns(const struct running_group *g)
{
	int64_t took = running_ns() - g->begin_ns, waited = 0;

	for (unsigned i = 0; i < g->n; i++) {
		int64_t ns = running_waited_ns(g->pid[i]) - g->waited_ns[i];

		waited = ns > waited ? ns : waited;
	}
	return took > waited ? took - waited : 0;
}

/* test_wait_flag() by this clock. */
static inline bool running_wait_flag(_Atomic uint32_t *flag, uint32_t value, unsigned ms)
{
	int64_t end = running_ns() + (int64_t)ms * 1000000;

	while (atomic_load_explicit(flag, memory_order_acquire) < value) {
		if (running_ns() > end)
			return false;
		test_sleep_ms(1);
	}
	return true;
}

#endif
