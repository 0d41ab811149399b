/* SPDX-License-Identifier: MIT */
/*
 * Locks as a way to hand something over: record locks, open-file-description locks, flock(), a
 * process-shared mutex and a read-write lock.
 *
 * Each direction has two locks, and its sender holds both at first. It gives the k-th word away by
 * letting lock k % 2 go, on which the receiver waits; the receiver lets it go at once. When the
 * echo has come, that lock is free for certain, and the sender takes it back before it gives the
 * other one away.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "perf/kernel/kernel.h"
#include "perf/systems/loops.h"

enum flavour { RECORD, OFD, FLOCK, MUTEX, RWLOCK };

struct place {
	_Alignas(128) uint64_t word;
	pthread_mutex_t mutex[2];
	pthread_rwlock_t rwlock[2];
};

struct lock_end {
	enum flavour flavour;
	struct place *place;
	int fd[2]; /* FLOCK: one file for each lock; others: both the same */
	uint64_t at;
	struct perf_report *report;
};

static size_t place_size(const struct perf_cell *cell)
{
	(void)cell;
	return sizeof(struct place);
}

static int locks_open(struct perf_context *x)
{
	pthread_mutexattr_t mutex;
	pthread_rwlockattr_t rwlock;

	if (x->rings != 2)
		return -ENOTSUP;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_rwlockattr_init(&rwlock);
	pthread_rwlockattr_setpshared(&rwlock, PTHREAD_PROCESS_SHARED);
	for (int i = 0; i < 4; i++) {
		struct place *p = x->area[i / 2];

		if (pthread_mutex_init(&p->mutex[i % 2], &mutex) != 0 ||
		    pthread_rwlock_init(&p->rwlock[i % 2], &rwlock) != 0)
			return -EINVAL;
	}
	return 0;
}

static void lock_path(char *path, size_t size, const struct perf_context *x, int ring, int lock)
{
	snprintf(path, size, "/tmp/%s-%d", x->name[ring], lock);
}

static void locks_close(struct perf_context *x)
{
	char path[160];

	for (int i = 0; i < 4; i++) {
		lock_path(path, sizeof(path), x, i / 2, i % 2);
		unlink(path);
	}
}

/* 0, or -1 and errno. */
PERF_INLINE int change(struct lock_end *e, int lock, int take)
{
	struct flock f = {.l_type = take ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET, .l_len = 1};

	switch (e->flavour) {
	case RECORD:
		return fcntl(e->fd[lock], F_SETLKW, &f);
	case OFD:
		return fcntl(e->fd[lock], F_OFD_SETLKW, &f);
	case FLOCK:
		return flock(e->fd[lock], take ? LOCK_EX : LOCK_UN);
	case MUTEX:
		errno = take ? pthread_mutex_lock(&e->place->mutex[lock])
			     : pthread_mutex_unlock(&e->place->mutex[lock]);
		return errno ? -1 : 0;
	default:
		errno = take ? pthread_rwlock_wrlock(&e->place->rwlock[lock])
			     : pthread_rwlock_unlock(&e->place->rwlock[lock]);
		return errno ? -1 : 0;
	}
}

static int enter(struct perf_side *s, enum flavour flavour)
{
	struct lock_end *end = calloc(2, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		int ring = s->role == (i == 0 ? PERF_PONG : PERF_PING);

		end[i].flavour = flavour;
		end[i].place = s->context->area[ring];
		end[i].report = s->report;
		for (int lock = 0; lock < 2 && flavour <= FLOCK; lock++) {
			char path[160];

			lock_path(path, sizeof(path), s->context, ring, lock);
			end[i].fd[lock] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			if (end[i].fd[lock] < 0)
				return -errno;
		}
	}
	for (int lock = 0; lock < 2; lock++) {
		if (change(&end[0], lock, 1) != 0)
			return -errno;
	}
	s->tx = &end[0];
	s->rx = &end[1];
	return 0;
}

static void locks_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE int lock_push(void *tx, const uint64_t *record)
{
	struct lock_end *e = tx;
	int lock = (int)(e->at & 1);

	if (e->at > 0 && change(e, !lock, 1) != 0)
		return -errno;
	__atomic_store_n(&e->place->word, record[0], __ATOMIC_RELEASE);
	e->at++;
	return change(e, lock, 0) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *lock_get(void *rx, uint64_t *buf)
{
	struct lock_end *e = rx;
	int lock = (int)(e->at & 1);

	if (change(e, lock, 1) != 0 || change(e, lock, 0) != 0) {
		e->report->error = -errno;
		return NULL;
	}
	e->at++;
	buf[0] = __atomic_load_n(&e->place->word, __ATOMIC_ACQUIRE);
	return buf;
}

static void locks_run(struct perf_side *s)
{
	static const struct perf_ops ops = {.size = 8, .push = lock_push, .get = lock_get};

	perf_run_blocking(s, &ops);
}

#define LOCK(VARIABLE, NAME, FLAVOUR, NOTE)                                                        \
	static int enter_##VARIABLE(struct perf_side *s)                                           \
	{                                                                                          \
		return enter(s, FLAVOUR);                                                          \
	}                                                                                          \
	PERF_KERNEL_SYSTEM(VARIABLE, NAME, NOTE, .supports = perf_handover_supports,               \
			   .area_size = place_size, .open = locks_open, .close = locks_close,      \
			   .enter = enter_##VARIABLE, .leave = locks_leave, .run = locks_run)

LOCK(perf_record_lock, "record-lock", RECORD, "fcntl(2) F_SETLKW");
LOCK(perf_ofd_lock, "ofd-lock", OFD, "fcntl(2) F_OFD_SETLKW");
LOCK(perf_flock, "file-lock", FLOCK, "flock(2)");
LOCK(perf_pmutex, "mutex", MUTEX, "pthread mutex, process-shared");
LOCK(perf_prwlock, "rwlock", RWLOCK, "pthread read-write lock, process-shared, written");
