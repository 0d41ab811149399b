/* SPDX-License-Identifier: MIT */
/*
 * Rows run in processes of their own, some at one time; and what is to be done when somebody ends
 * the program in the middle of it: the rings that were being worked on are removed.
 */
#ifndef QUOIT_TESTS_STEP_JOBS_H
#define QUOIT_TESTS_STEP_JOBS_H

#include "tests/support.h"

#define JOBS_MAX 64u

struct jobs {
	_Atomic uint32_t next;                /* row to be taken by a job */
	_Atomic uint32_t started;             /* jobs */
	char names[JOBS_MAX][QUOIT_NAME_MAX]; /* the ring that each works on */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted = signal;
}

/* As a job's first act: where to write down the ring that it works on. */
static inline char *job_begins(struct jobs *jobs)
{
	signal(SIGINT, SIG_IGN); /* as in the parent, which ends us */
	signal(SIGTERM, SIG_DFL);
	return jobs->names[atomic_fetch_add(&jobs->started, 1)];
}

/* Returns how many broke off. */
static inline unsigned run_jobs(struct jobs *jobs, unsigned n, int (*job)(void *), void *arg)
{
	struct sigaction sa = {.sa_handler = on_signal};
	pid_t pids[JOBS_MAX];
	unsigned broken = 0;

	for (unsigned i = 0; i < n; i++)
		pids[i] = test_spawn(job, arg);
	MUST(sigaction(SIGINT, &sa, NULL) == 0 && sigaction(SIGTERM, &sa, NULL) == 0);
	for (unsigned i = 0; i < n; i++) {
		int status = 0;

		while (waitpid(pids[i], &status, 0) < 0)
			for (unsigned j = i; interrupted && j < n; j++)
				kill(pids[j], SIGKILL);
		broken += status != 0;
	}
	/* Of those that were cut off; what they ran died with them. */
	for (unsigned i = 0; i < n; i++)
		if (jobs->names[i][0] != '\0' && quoit_remove(jobs->names[i]) != 0)
			continue; /* not made at the moment, or a memfd */
	return broken;
}

#endif
