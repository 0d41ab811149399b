/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on the sequence itself. The kernel compares it under its own lock before it sleeps, so
 * a bump between the last look and the sleep is never missed. Not FUTEX_PRIVATE: the word is shared
 * between processes.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "sync/backend.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the sequence is the word's first half");

static int futex_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		       struct sync_pollable *p)
{
	struct timespec nap = sync_timespec(nap_ns);

	(void)p;
	/* Relative, on CLOCK_MONOTONIC. With a timeout, a handler that ran ends it also under
	 * SA_RESTART. */
	if (syscall(SYS_futex, (void *)e->word, FUTEX_WAIT, seq, &nap, NULL, 0) == 0)
		return 0;
	return errno == EAGAIN ? 0 : -errno; /* EAGAIN: the sequence has moved */
}

static uint32_t futex_wake(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max)
{
	(void)seq;
	(void)sleepers_max;
	syscall(SYS_futex, (void *)e->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return 1;
}

const struct sync_ops sync_ops_futex = {.sleep = futex_sleep, .wake = futex_wake};
