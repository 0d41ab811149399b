/* SPDX-License-Identifier: MIT */
/*
 * Sleeping on a System V semaphore. It is not used as a counter of tokens but as a counter of
 * wakes: a waker adds one, and a sleeper that read v waits for v + 1 or more without taking
 * anything away, by subtracting v + 1 and adding it again in one semop(). One call so wakes
 * everyone, exactly those, and leaves nothing stale behind.
 *
 * The value must not reach SEMVMX (32767): who finds WRAP or more takes WRAP off before sleeping.
 * Nobody is asleep below it then. One who read a value before that and is not asleep yet must not
 * wait for the value to come up again: its semop() fails if the value is less than it was.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/sem.h>

#include "sync/backend.h"

#define WRAP 16384

/* A removed set's id is either known as removed or not known at all. */
static int removed(int error)
{
	return error == EINVAL ? -EIDRM : -error;
}

static struct sembuf op(const struct sync_event *e, int add, int flags)
{
	return (struct sembuf){.sem_num = (unsigned short)e->sysv_index,
			       .sem_op = (short)add,
			       .sem_flg = (short)flags};
}

static int value(const struct sync_event *e)
{
	int v = semctl(e->sysv_id, (int)e->sysv_index, GETVAL);

	return v >= 0 ? v : removed(errno);
}

/* The value to wait beyond. */
static int value_wrapped(const struct sync_event *e)
{
	struct sembuf down = op(e, -WRAP, IPC_NOWAIT);
	int v = value(e);

	if (v < WRAP)
		return v;
	/* Of several who try, one succeeds: it fails where WRAP is no longer there. */
	semop(e->sysv_id, &down, 1);
	v = value(e);
	return v < WRAP ? v : -EOVERFLOW; /* somebody else is playing with it */
}

static int sysv_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		      struct sync_pollable *p)
{
	struct timespec nap = sync_timespec(nap_ns);
	struct sembuf ops[4];
	int v;

	(void)p;
	if (e->sysv_id < 0)
		return -ENOTSUP;
	v = value_wrapped(e);
	if (v < 0)
		return v;
	/* The value was read before this look. So if the sequence has not moved yet, then the wake
	 * that will move it adds its one later: to at least v + 1. */
	if (sync_sequence(e) != seq)
		return 0;
	ops[0] = op(e, -v, IPC_NOWAIT); /* at least v, or it has been wrapped: fail */
	ops[1] = op(e, v, 0);
	ops[2] = op(e, -(v + 1), 0); /* at least v + 1: wait */
	ops[3] = op(e, v + 1, 0);
	/* Subtracting 0 would mean waiting for 0. */
	if (semtimedop(e->sysv_id, v > 0 ? ops : ops + 2, v > 0 ? 4 : 2, &nap) == 0)
		return 0;
	if (errno != EAGAIN)
		return removed(errno);
	return sync_sequence(e) != seq ? 0 : -ETIMEDOUT;
}

static uint32_t sysv_wake(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max)
{
	struct sembuf up = op(e, 1, IPC_NOWAIT);
	struct sembuf wrap[2] = {op(e, -WRAP, IPC_NOWAIT), op(e, 1, IPC_NOWAIT)};

	(void)seq;
	(void)sleepers_max;
	if (e->sysv_id < 0)
		return 0;
	if (semop(e->sysv_id, &up, 1) == 0 || errno != ERANGE)
		return 1; /* a removed set has woken everyone */
	/* At SEMVMX: so many wakes without one sleep that got as far as reading the value. */
	semop(e->sysv_id, wrap, 2);
	return 2;
}

const struct sync_ops sync_ops_sysvsem = {.sleep = sysv_sleep, .wake = sysv_wake};
