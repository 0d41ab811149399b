/* SPDX-License-Identifier: MIT */
/*
 * What a time is made of: how long those on the way from a kill to its result could have run, but
 * had no processor. A processor that the host of a virtual machine takes away counts as well, for
 * whoever has been woken on it.
 */
#ifndef QUOIT_TESTS_CRASH_RECOVERY_WAITS_H
#define QUOIT_TESTS_CRASH_RECOVERY_WAITS_H

#include <fcntl.h>

#include "crash/recovery.h"

/* Who may have to wait for a processor between the kill and the result. */
struct waits {
	int fd[4]; /* of schedstat */
	unsigned n;
	int64_t begin_ns;
};

/* Of one process, until it has been waited for: how long it could have run and had no processor. */
static int64_t waited_ns(int schedstat)
{
	long long ran, waited = 0;
	char text[128];
	ssize_t n = pread(schedstat, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return 0; /* a kernel that does not count it */
	text[n] = '\0';
	return sscanf(text, "%lld %lld", &ran, &waited) == 2 ? waited : 0;
}

/* These processes are on the way from the kill to the result, one after the other. */
static void watch_waits(struct waits *w, const pid_t *pids, unsigned n)
{
	char path[64];

	MUST(n <= TEST_COUNT(w->fd));
	w->n = n;
	w->begin_ns = 0;
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/schedstat", pids[i]);
		w->fd[i] = open(path, O_RDONLY | O_CLOEXEC);
		w->begin_ns += waited_ns(w->fd[i]);
	}
}

/* How long they have waited since. */
static int64_t end_waits(struct waits *w)
{
	int64_t ns = -w->begin_ns;

	for (unsigned i = 0; i < w->n; i++) {
		ns += waited_ns(w->fd[i]);
		if (w->fd[i] >= 0)
			close(w->fd[i]);
	}
	w->n = 0;
	return ns;
}

#endif
