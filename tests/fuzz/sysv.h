/* SPDX-License-Identifier: MIT */
/*
 * A System V segment of made-up bytes, and a semaphore set for it. What differs from a file: the
 * header names the set, the kernel says how long the segment is, and the proof that peers live is
 * in semaphores, which whoever may write to them can change.
 *
 * The set is always one of ours, whatever the input says: ids are the machine's, and others have
 * rings on it. An input can choose among sets that suit and sets that do not.
 */
#ifndef QUOIT_TESTS_FUZZ_SYSV_H
#define QUOIT_TESTS_FUZZ_SYSV_H

#include <sys/sem.h>

#include "fuzz/harness.h"
#include "ring/segment.h"

#define SYSV_ROWS 4u /* of the rings here, at most */

enum { SET_GOOD, SET_NONE, SET_BUILDING, SET_UNMARKED, SET_SHORT, SET_REMOVED, SET_KINDS };

struct sysv {
	int shm, set; /* or -1 */
	unsigned sems;
};

static union semun {
	int val;
	unsigned short *array;
} sem_argument;

static void sysv_remove(struct sysv *s)
{
	if (s->shm >= 0)
		shmctl(s->shm, IPC_RMID, NULL);
	if (s->set >= 0)
		semctl(s->set, 0, IPC_RMID);
	s->shm = s->set = -1;
}

/* The one there is, in memory shared with a process that removes it if this one is killed. */
static struct sysv *the_sysv(void)
{
	static struct sysv *shared;
	int ends[2];
	char byte;

	if (shared != NULL)
		return shared;
	shared = __real_mmap(NULL, HARNESS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			     -1, 0);
	MUST(shared != MAP_FAILED);
	*shared = (struct sysv){.shm = -1, .set = -1};
	MUST(pipe2(ends, O_CLOEXEC) == 0);
	switch (fork()) {
	case -1:
		MUST(false);
		break;
	case 0:
		/* Whoever reads our output waits for its end. */
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		close(ends[1]);
		setsid();
		while (read(ends[0], &byte, 1) < 0)
			;
		sysv_remove(shared);
		_exit(0);
	default:
		close(ends[0]);
		break;
	}
	return shared;
}

/* `choice`: the kind of set, and from bit 8 on a bit for each row, 0: its semaphore says that its
 * holder lives. All ones: a good set, nobody lives. */
static void make_set(struct sysv *s, uint32_t choice)
{
	unsigned short values[QUOIT__SEM_PEERS + SYSV_ROWS + 1] = {0};
	unsigned kind = choice % 8, rows = kind == SET_SHORT ? 1 : SYSV_ROWS;

	s->sems = QUOIT__SEM_PEERS + rows + 1;
	for (unsigned i = 0; i < rows; i++)
		values[QUOIT__SEM_PEERS + i] = (choice >> (8 + i) & 1) == 0;
	values[s->sems - 1] = kind == SET_UNMARKED   ? 0
			      : kind == SET_BUILDING ? QUOIT__SEM_BUILDING
						     : QUOIT__SEM_READY;
	s->set = semget(IPC_PRIVATE, (int)s->sems, IPC_CREAT | 0600);
	MUST(s->set >= 0);
	sem_argument.array = values;
	MUST(semctl(s->set, 0, SETALL, sem_argument) == 0);
}

/* A segment of these bytes. Its set's id is for the caller to put into the header: *ret_named. */
static struct sysv *sysv_new(size_t size, uint32_t choice, int32_t *ret_named)
{
	struct sysv *s = the_sysv();

	s->shm = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	MUST(s->shm >= 0);
	make_set(s, choice);
	*ret_named = choice % 8 == SET_NONE ? -1 : s->set;
	if (choice % 8 == SET_REMOVED)
		semctl(s->set, 0, IPC_RMID);
	return s;
}

static void sysv_fill(const struct sysv *s, const void *bytes, size_t size)
{
	void *p = __real_shmat(s->shm, NULL, 0);

	MUST(p != MAP_FAILED);
	memcpy(p, bytes, size);
	MUST(__real_shmdt(p) == 0);
}

/* What a peer can do to the set and the segment. All of it may be refused: they may be gone. */
static void sysv_meddle(struct sysv *s, unsigned argument)
{
	static const int values[] = {0, 1, 2, 32767, QUOIT__SEM_READY, QUOIT__SEM_BUILDING, 0, 1};

	if (argument == 255)
		(void)!shmctl(s->shm, IPC_RMID, NULL);
	else if (argument >= 240)
		(void)!semctl(s->set, 0, IPC_RMID);
	else {
		sem_argument.val = values[argument / 16 % TEST_COUNT(values)];
		/* But for the creator's, whom a remover would wait a second for. */
		(void)!semctl(s->set, 1 + (int)(argument % 16 % (s->sems - 1)), SETVAL,
			      sem_argument);
	}
}

#endif
