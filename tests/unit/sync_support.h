/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the eventcount share: an event in shared memory, and sleepers in other
 * processes.
 */
#ifndef QUOIT_TESTS_SYNC_SUPPORT_H
#define QUOIT_TESTS_SYNC_SUPPORT_H

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include "sync/eventcount.h"
#include "sync/pollable.h"

#define MS        INT64_C(1000000)
#define LONG_NAP  (20000 * MS) /* never reached by a test that passes */
#define SHORT_NAP (50 * MS)

#define SLEEPERS 8

static struct shared {
	_Atomic uint64_t word;
	_Atomic uint32_t backends;
	sem_t sem[2];
	_Atomic uint64_t published;
	atomic_int announced; /* how many sleepers have */
} * shared;
static struct sync_event event;
static uint8_t uuid[16];

static inline void set_up(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	cr_assert_neq(shared, MAP_FAILED);
	event = (struct sync_event){
		.word = &shared->word, .backends = &shared->backends, .sem = shared->sem};
	event.sysv_id = semget(IPC_PRIVATE, 2, 0600);
	event.sysv_index = 1;
	cr_assert_geq(event.sysv_id, 0);
	cr_assert_eq(sync_event_init(&event), 0);
	sync_membarrier_register();
	for (int i = 0; i < 4; i++)
		uuid[i] = (uint8_t)(getpid() >> (8 * i));
	memcpy(uuid + 4, "sync_test", 9);
}

static inline void tear_down(void)
{
	semctl(event.sysv_id, 0, IPC_RMID);
	munmap(shared, sizeof(*shared));
}

static inline int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline uint32_t sequence(void)
{
	return (uint32_t)atomic_load(&shared->word);
}

static inline uint64_t announced_at(uint32_t seq)
{
	return (uint64_t)seq << 32 | seq;
}

static inline int sem_value(void)
{
	int even, odd;

	sem_getvalue(&shared->sem[0], &even);
	sem_getvalue(&shared->sem[1], &odd);
	return even > odd ? even : odd;
}

/* ---- sleepers in other processes ------------------------------------------------------------ */

static inline struct sync_pollable *make_pollable(enum sync_backend backend, uint32_t row)
{
	struct sync_pollable *p = NULL;

	if (backend == SYNC_EVENTFD && sync_pollable_new(uuid, row, SLEEPERS, &p) != 0)
		_exit(99);
	return p;
}

/* Sleep once; exit status 0 only if the wake ended the sleep and the news is there. */
static inline int sleep_for_news(enum sync_backend backend, uint32_t row)
{
	struct sync_pollable *p = make_pollable(backend, row);
	int64_t end = now_ns() + LONG_NAP / 2;
	uint32_t seq = sync_announce(&event, backend);
	int r;

	atomic_fetch_add(&shared->announced, 1);
	/* Spurious returns are allowed, but not errors. */
	do
		r = sync_sleep(&event, backend, seq, LONG_NAP, p);
	while (r == 0 && atomic_load(&shared->published) == 0 && now_ns() < end);
	if (r != 0)
		return 1;
	if (now_ns() >= end)
		return 2;
	return atomic_load(&shared->published) == 1 ? 0 : 3;
}

static inline pid_t start_sleeper(enum sync_backend backend, uint32_t row)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(sleep_for_news(backend, row));
	}
	return pid;
}

/* Until n have announced, and had a little time to fall asleep. */
static inline void await_sleepers(int n)
{
	while (atomic_load(&shared->announced) < n)
		usleep(1000);
	usleep(20000);
}

static inline void wake_rows(void)
{
	struct sync_pollable *p = NULL;

	cr_assert_eq(sync_pollable_new_waker(uuid, UINT32_MAX, SLEEPERS, &p), 0);
	for (uint32_t row = 0; row < SLEEPERS; row++) {
		int r = sync_pollable_wake(p, row, 1);

		cr_assert(r == 0 || r == -ECONNREFUSED);
	}
	sync_pollable_free(p);
}

/* Returns whether somebody had announced. */
static inline bool wake(uint32_t sleepers_max)
{
	uint32_t called = 0, before = sequence();

	if (sync_wake(&event, sleepers_max, &called))
		wake_rows();
	return sequence() != before;
}

static inline int exit_status(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void kill_and_wait(pid_t pid)
{
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(exit_status(pid), 128 + SIGKILL);
}

/* ---- one test for every backend that sleeps ------------------------------------------------- */

static enum sync_backend sleeping[] = {SYNC_FUTEX, SYNC_SEM, SYNC_SYSVSEM, SYNC_EVENTFD};

#define EACH_BACKEND(name)                                                                         \
	ParameterizedTestParameters(sleep, name)                                                   \
	{                                                                                          \
		return cr_make_param_array(enum sync_backend, sleeping, 4);                        \
	}                                                                                          \
	ParameterizedTest(enum sync_backend *backend, sleep, name)

#endif
