/* SPDX-License-Identifier: MIT */
/* One interval, as its parent and its sides see it: measure.c has the parent, side.c the sides. */
#ifndef PERF_SIDE_H
#define PERF_SIDE_H

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "perf/measure.h"

struct perf_run {
	const struct perf_job *job;
	struct perf_context context;
	unsigned sides;
	pid_t child[PERF_SIDES_MAX];
	unsigned children;
};

/* What process or thread `number` does, from being set up to leaving. */
void perf_side_main(struct perf_run *r, unsigned number);

static inline void perf_futex_wait(const uint32_t *word, uint32_t value,
				   const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static inline void perf_futex_wake(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 20, NULL, NULL, 0);
}

#endif
