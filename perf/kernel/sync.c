/* SPDX-License-Identifier: MIT */
/*
 * What only synchronises: a word lies in shared memory, and the mechanism tells the other side that
 * it is there. Signals (standard and real-time), eventfd, futex, System V and POSIX semaphores,
 * condition variable, barrier. Measured as hand-over: there and back, both sides sleep.
 */
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "perf/kernel/kernel.h"
#include "perf/systems/loops.h"

/* One direction. */
struct place {
	_Alignas(128) uint64_t word;
	_Alignas(128) uint32_t futex;
	sem_t sem;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	uint32_t set; /* under mutex */
};

struct sync_context {
	int sem_id[2], event[2];
};

struct sync_end {
	struct place *place;
	int sem_id, event;
	const uint32_t *peer; /* pid */
	uint32_t seen;
	struct perf_report *report;
};

int perf_handover_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->mode == PERF_COPY && cell->size == 8 &&
	       cell->depth == 1;
}

static size_t place_size(const struct perf_cell *cell)
{
	(void)cell;
	return sizeof(struct place);
}

static int init_place(struct place *p)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t cond;
	pthread_barrierattr_t barrier;

	pthread_mutexattr_init(&mutex);
	pthread_condattr_init(&cond);
	pthread_barrierattr_init(&barrier);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED);
	pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
	if (sem_init(&p->sem, 1, 0) != 0)
		return -errno;
	if (pthread_mutex_init(&p->mutex, &mutex) != 0 || pthread_cond_init(&p->cond, &cond) != 0 ||
	    pthread_barrier_init(&p->barrier, &barrier, 2) != 0)
		return -EINVAL;
	return 0;
}

static int sync_open(struct perf_context *x)
{
	struct sync_context *c = malloc(sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	memset(c, -1, sizeof(*c));
	x->priv = c;
	if (x->rings != 2)
		return -ENOTSUP;
	for (unsigned i = 0; i < 2; i++) {
		int error = init_place(x->area[i]);

		if (error != 0)
			return error;
		c->event[i] = eventfd(0, EFD_CLOEXEC);
		c->sem_id[i] = semget(IPC_PRIVATE, 1, 0600);
		if (c->event[i] < 0 || c->sem_id[i] < 0)
			return -errno;
	}
	return 0;
}

static void sync_close(struct perf_context *x)
{
	struct sync_context *c = x->priv;

	for (unsigned i = 0; i < 2 && c; i++) {
		if (c->event[i] >= 0)
			close(c->event[i]);
		if (c->sem_id[i] >= 0)
			semctl(c->sem_id[i], 0, IPC_RMID);
	}
	free(c);
}

static int sync_enter(struct perf_side *s)
{
	const struct sync_context *c = s->context->priv;
	struct sync_end *end = calloc(2, sizeof(*end));
	sigset_t signals;

	if (end == NULL)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		int ring = s->role == (i == 0 ? PERF_PONG : PERF_PING);

		end[i].place = s->context->area[ring];
		end[i].sem_id = c->sem_id[ring];
		end[i].event = c->event[ring];
		end[i].report = s->report;
		end[i].peer = &s->control->report[s->role == PERF_PING].pid;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGUSR1);
	sigaddset(&signals, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	s->tx = &end[0];
	s->rx = &end[1];
	return 0;
}

static void sync_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE void put(struct sync_end *e, const uint64_t *record)
{
	__atomic_store_n(&e->place->word, record[0], __ATOMIC_RELEASE);
}

/* The word, once the mechanism has told. ok: it has not failed. */
PERF_INLINE const uint64_t *take(struct sync_end *e, uint64_t *buf, int ok)
{
	if (!ok) {
		if (errno != EINTR)
			e->report->error = -errno;
		return NULL;
	}
	buf[0] = __atomic_load_n(&e->place->word, __ATOMIC_ACQUIRE);
	return buf;
}

#define SYNC(VARIABLE, NAME, NOTE, PUSH, GET)                                                      \
	static void run_##VARIABLE(struct perf_side *s)                                            \
	{                                                                                          \
		static const struct perf_ops ops = {.size = 8, .push = PUSH, .get = GET};          \
                                                                                                   \
		perf_run_blocking(s, &ops);                                                        \
	}                                                                                          \
	PERF_KERNEL_SYSTEM(VARIABLE, NAME, NOTE, .supports = perf_handover_supports,               \
			   .area_size = place_size, .open = sync_open, .close = sync_close,        \
			   .enter = sync_enter, .leave = sync_leave, .run = run_##VARIABLE)

/* ---- signals -------------------------------------------------------------------------------- */

PERF_INLINE int signal_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	put(e, record);
	return kill((pid_t)*e->peer, SIGUSR1) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *signal_get(void *rx, uint64_t *buf)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return take(rx, buf, sigwaitinfo(&set, NULL) == SIGUSR1);
}

/* A real-time signal carries the word itself. */
PERF_INLINE int rtsignal_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;
	union sigval value = {.sival_ptr = (void *)(uintptr_t)record[0]};

	return sigqueue((pid_t)*e->peer, SIGRTMIN, value) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *rtsignal_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	if (sigwaitinfo(&set, &info) != SIGRTMIN) {
		if (errno != EINTR)
			e->report->error = -errno;
		return NULL;
	}
	buf[0] = (uint64_t)(uintptr_t)info.si_value.sival_ptr;
	return buf;
}

SYNC(perf_signal, "signal", "kill(2) and sigwaitinfo(2)", signal_push, signal_get);
SYNC(perf_rtsignal, "rt-signal", "sigqueue(3) with a value and sigwaitinfo(2)", rtsignal_push,
     rtsignal_get);

/* ---- eventfd, futex, semaphores ------------------------------------------------------------- */

PERF_INLINE int event_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	put(e, record);
	return eventfd_write(e->event, 1) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *event_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;
	eventfd_t n;

	return take(e, buf, eventfd_read(e->event, &n) == 0);
}

PERF_INLINE int futex_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	put(e, record);
	__atomic_add_fetch(&e->place->futex, 1, __ATOMIC_RELEASE);
	return syscall(SYS_futex, &e->place->futex, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *futex_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;

	while (__atomic_load_n(&e->place->futex, __ATOMIC_ACQUIRE) == e->seen) {
		if (syscall(SYS_futex, &e->place->futex, FUTEX_WAIT, e->seen, NULL, NULL, 0) != 0 &&
		    errno != EAGAIN)
			return take(e, buf, 0);
	}
	e->seen++;
	return take(e, buf, 1);
}

PERF_INLINE int posix_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	put(e, record);
	return sem_post(&e->place->sem) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *posix_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;

	return take(e, buf, sem_wait(&e->place->sem) == 0);
}

PERF_INLINE int sysv_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;
	struct sembuf op = {0, 1, 0};

	put(e, record);
	return semop(e->sem_id, &op, 1) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *sysv_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;
	struct sembuf op = {0, -1, 0};

	return take(e, buf, semop(e->sem_id, &op, 1) == 0);
}

SYNC(perf_eventfd, "eventfd", "eventfd(2), write and read", event_push, event_get);
SYNC(perf_futex, "futex", "futex(2), wake and wait", futex_push, futex_get);
SYNC(perf_posix_sem, "posix-sem", "sem_post(3), sem_wait(3), process-shared", posix_push,
     posix_get);
SYNC(perf_sysv_sem, "sysv-sem", "semop(2)", sysv_push, sysv_get);

/* ---- pthread -------------------------------------------------------------------------------- */

PERF_INLINE int cond_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	pthread_mutex_lock(&e->place->mutex);
	put(e, record);
	e->place->set = 1;
	pthread_cond_signal(&e->place->cond);
	pthread_mutex_unlock(&e->place->mutex);
	return 1;
}

PERF_INLINE const uint64_t *cond_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;

	pthread_mutex_lock(&e->place->mutex);
	while (!e->place->set)
		pthread_cond_wait(&e->place->cond, &e->place->mutex);
	e->place->set = 0;
	pthread_mutex_unlock(&e->place->mutex);
	return take(e, buf, 1);
}

PERF_INLINE int barrier_push(void *tx, const uint64_t *record)
{
	struct sync_end *e = tx;

	put(e, record);
	pthread_barrier_wait(&e->place->barrier);
	return 1;
}

PERF_INLINE const uint64_t *barrier_get(void *rx, uint64_t *buf)
{
	struct sync_end *e = rx;

	pthread_barrier_wait(&e->place->barrier);
	return take(e, buf, 1);
}

SYNC(perf_cond, "condition-variable", "pthread mutex and condition, process-shared", cond_push,
     cond_get);
SYNC(perf_barrier, "barrier", "pthread barrier, process-shared", barrier_push, barrier_get);
