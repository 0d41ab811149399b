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

static inline int64_t running_ns(void)
{
	static int64_t last, away;
	int64_t now = test_now_ns();

	if (last != 0 && now - last > RUNNING_GAP_NS)
		away += now - last;
	last = now;
	return now - away;
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
