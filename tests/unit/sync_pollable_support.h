/* SPDX-License-Identifier: MIT */
/*
 * What the tests of pollable descriptors share: endpoints and wakers of one ring, in this process
 * and in others.
 */
#ifndef QUOIT_TESTS_SYNC_POLLABLE_SUPPORT_H
#define QUOIT_TESTS_SYNC_POLLABLE_SUPPORT_H

#include <criterion/criterion.h>

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "sync/eventcount.h"
#include "sync/pollable.h"

#define LONG_MS 20000 /* never reached by a test that passes */
#define ROWS    64

static uint8_t uuid[16];
static atomic_int *step; /* shared with children */

static inline void set_up(void)
{
	for (int i = 0; i < 4; i++)
		uuid[i] = (uint8_t)(getpid() >> (8 * i));
	memcpy(uuid + 4, "pollable", 9);
	step = mmap(NULL, sizeof(*step), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq((void *)step, MAP_FAILED);
}

/* Made by this test; what it has not freed is freed after it. */
static struct sync_pollable *made[2 * ROWS];
static unsigned made_n;

static inline void tear_down(void)
{
	for (unsigned i = 0; i < made_n; i++)
		sync_pollable_free(made[i]);
	munmap((void *)step, sizeof(*step));
}

static inline void let_go(struct sync_pollable *p)
{
	for (unsigned i = 0; i < made_n; i++)
		if (made[i] == p)
			made[i] = NULL;
	sync_pollable_free(p);
}

static inline struct sync_pollable *remember(struct sync_pollable *p)
{
	cr_assert_lt(made_n, 2 * ROWS);
	made[made_n++] = p;
	return p;
}

static inline struct sync_pollable *endpoint(uint32_t row)
{
	struct sync_pollable *p = NULL;

	cr_assert_eq(sync_pollable_new(uuid, row, ROWS, &p), 0);
	return remember(p);
}

static inline struct sync_pollable *waker(void)
{
	struct sync_pollable *p = NULL;

	cr_assert_eq(sync_pollable_new_waker(uuid, UINT32_MAX, ROWS, &p), 0);
	return remember(p);
}

static inline bool readable(const struct sync_pollable *p, int ms)
{
	struct pollfd fd = {.fd = sync_pollable_fd(p), .events = POLLIN};

	return poll(&fd, 1, ms) == 1;
}

static inline int open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	cr_assert_not_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

static inline int exit_status(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline pid_t start(void (*body)(void))
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		body();
		_exit(0);
	}
	return pid;
}

static inline void await_step(int n)
{
	while (atomic_load(step) < n)
		usleep(500);
}

static inline void kill_and_wait(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(exit_status(pid), 128 + SIGKILL);
}

static inline void hold_row_1(void)
{
	struct sync_pollable *p = endpoint(1);

	atomic_fetch_add(step, 1);
	for (;;) {
		if (!readable(p, LONG_MS))
			_exit(1);
		sync_pollable_drain(p);
		atomic_fetch_add(step, 1);
	}
}

#endif
