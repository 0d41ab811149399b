/* SPDX-License-Identifier: MIT */
/*
 * Shared memory under semaphores, as the textbooks have it: a ring of slots, one semaphore counts
 * the free ones, one the full ones. System V memory with System V semaphores, POSIX memory with
 * POSIX ones, a mapped file with POSIX ones. And process_vm_readv(2) and process_vm_writev(2): the
 * ring lies in the memory of one process, the other reaches into it; POSIX semaphores tell when.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <unistd.h>

#include "perf/kernel/kernel.h"
#include "perf/measure.h"
#include "perf/systems/loops.h"

enum flavour { SYSV, POSIX, MAPPED_FILE, VM_READ, VM_WRITE };

/* At the start of each ring; slots follow. */
struct slots {
	_Alignas(128) sem_t free;
	_Alignas(128) sem_t full;
	_Alignas(128) pid_t pid; /* VM_...: whose memory */
	uint64_t address;
	_Alignas(128) unsigned char data[];
};

struct shm_context {
	enum flavour flavour;
	struct slots *ring[2];
	size_t bytes;
	int shm_id[2], sem_id[2];
};

struct shm_end {
	enum flavour flavour;
	struct slots *ring;
	unsigned char *data; /* where slots are for this process, or in its own memory */
	int sem_id;
	pid_t pid;
	uint64_t address; /* of the slots in the other process */
	uint64_t at;
	uint32_t size, depth;
	struct perf_report *report;
};

#define FREE 0
#define FULL 1

/* ---- rings ---------------------------------------------------------------------------------- */

static void *map_name(const char *name, size_t bytes, enum flavour flavour)
{
	char path[160];
	void *p;
	int fd;

	snprintf(path, sizeof(path), flavour == POSIX ? "/%s" : "/tmp/%s", name);
	fd = flavour == POSIX ? shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600)
			      : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return MAP_FAILED;
	if (flavour == POSIX)
		shm_unlink(path);
	else
		unlink(path);
	p = ftruncate(fd, (off_t)bytes) == 0
		    ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0)
		    : MAP_FAILED;
	close(fd);
	return p;
}

static int sysv_ring(struct shm_context *c, unsigned i, uint32_t depth)
{
	union {
		int val;
		struct semid_ds *buf;
		unsigned short *array;
	} arg;
	unsigned short values[2] = {(unsigned short)depth, 0};

	c->shm_id[i] = shmget(IPC_PRIVATE, c->bytes, 0600);
	if (c->shm_id[i] < 0)
		return -errno;
	c->ring[i] = shmat(c->shm_id[i], NULL, 0);
	c->sem_id[i] = semget(IPC_PRIVATE, 2, 0600);
	if (c->ring[i] == (void *)-1 || c->sem_id[i] < 0)
		return -errno;
	arg.array = values;
	return semctl(c->sem_id[i], 0, SETALL, arg) == 0 ? 0 : -errno;
}

static int open_ring(struct perf_context *x, struct shm_context *c, unsigned i)
{
	if (c->flavour == SYSV)
		return sysv_ring(c, i, x->cell->depth);
	if (c->flavour == POSIX || c->flavour == MAPPED_FILE)
		c->ring[i] = map_name(x->name[i], c->bytes, c->flavour);
	else
		c->ring[i] = mmap(NULL, sizeof(struct slots), PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->ring[i] == MAP_FAILED)
		return -errno;
	if (sem_init(&c->ring[i]->free, 1, x->cell->depth) != 0 ||
	    sem_init(&c->ring[i]->full, 1, 0) != 0)
		return -errno;
	return 0;
}

static int open_rings(struct perf_context *x, enum flavour flavour)
{
	struct shm_context *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	x->priv = c;
	c->flavour = flavour;
	c->bytes = sizeof(struct slots) + (size_t)x->cell->depth * x->cell->size;
	c->shm_id[0] = c->shm_id[1] = c->sem_id[0] = c->sem_id[1] = -1;
	for (unsigned i = 0; i < x->rings; i++) {
		int error = open_ring(x, c, i);

		if (error != 0)
			return error;
	}
	return 0;
}

static void close_rings(struct perf_context *x)
{
	struct shm_context *c = x->priv;

	for (unsigned i = 0; i < x->rings && c; i++) {
		if (c->shm_id[i] >= 0) {
			shmdt(c->ring[i]);
			shmctl(c->shm_id[i], IPC_RMID, NULL);
		} else if (c->ring[i] && c->ring[i] != MAP_FAILED) {
			munmap(c->ring[i], c->flavour >= VM_READ ? sizeof(struct slots) : c->bytes);
		}
		if (c->sem_id[i] >= 0)
			semctl(c->sem_id[i], 0, IPC_RMID);
	}
	free(c);
}

/* ---- sides ---------------------------------------------------------------------------------- */

/* VM_READ: the sender's memory; VM_WRITE: the receiver's. */
static int own_slots(struct shm_end *e, int owner)
{
	if (!owner)
		return 0;
	e->data = aligned_alloc(4096, ((size_t)e->depth * e->size + 4095) & ~(size_t)4095);
	if (e->data == NULL)
		return -ENOMEM;
	memset(e->data, 0, (size_t)e->depth * e->size);
	/* Yama lets only ancestors in, unless told. Fails where there is no Yama. */
	(void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	e->ring->pid = getpid();
	__atomic_store_n(&e->ring->address, (uint64_t)(uintptr_t)e->data, __ATOMIC_RELEASE);
	return 0;
}

static int shm_enter(struct perf_side *s)
{
	const struct shm_context *c = s->context->priv;
	struct shm_end *end = calloc(2, sizeof(*end));
	int error = 0;

	if (end == NULL)
		return -ENOMEM;
	for (int i = 0; i < 2 && error == 0; i++) {
		int ring = s->role == (i == 0 ? PERF_PONG : PERF_PING);
		int used = i == 0 ? s->role != PERF_CONSUME && s->role != PERF_COLLECT
				  : s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE;

		end[i].flavour = c->flavour;
		end[i].ring = c->ring[ring];
		end[i].data = c->ring[ring]->data;
		end[i].sem_id = c->sem_id[ring];
		end[i].size = s->cell->size;
		end[i].depth = s->cell->depth;
		end[i].report = s->report;
		if (used && c->flavour < VM_READ)
			perf_touch(c->ring[ring], c->bytes);
		else if (used)
			error = own_slots(&end[i], (c->flavour == VM_READ) == (i == 0));
	}
	s->tx = &end[0];
	s->rx = &end[1];
	return error;
}

static void shm_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE int sem_down(struct shm_end *e, int which)
{
	struct sembuf op = {(unsigned short)which, -1, 0};

	if (e->flavour == SYSV)
		return semop(e->sem_id, &op, 1);
	return sem_wait(which == FREE ? &e->ring->free : &e->ring->full);
}

PERF_INLINE int sem_up(struct shm_end *e, int which)
{
	struct sembuf op = {(unsigned short)which, 1, 0};

	if (e->flavour == SYSV)
		return semop(e->sem_id, &op, 1);
	return sem_post(which == FREE ? &e->ring->free : &e->ring->full);
}

/* Copy between our memory and the other process's slot. */
PERF_INLINE int reach(struct shm_end *e, void *mine, size_t offset, int write)
{
	struct iovec local = {mine, e->size}, remote;

	if (e->pid == 0) {
		e->address = __atomic_load_n(&e->ring->address, __ATOMIC_ACQUIRE);
		e->pid = e->ring->pid;
	}
	remote.iov_base = (void *)(uintptr_t)(e->address + offset);
	remote.iov_len = e->size;
	return (write ? process_vm_writev(e->pid, &local, 1, &remote, 1, 0)
		      : process_vm_readv(e->pid, &local, 1, &remote, 1, 0)) == (ssize_t)e->size
		       ? 0
		       : -1;
}

PERF_INLINE int shm_push(void *tx, const uint64_t *record)
{
	struct shm_end *e = tx;
	size_t offset = e->at++ % e->depth * e->size;

	if (sem_down(e, FREE) != 0)
		return -errno;
	if (e->flavour == VM_WRITE) {
		/* Only read from. */
		if (reach(e, (void *)(uintptr_t)record, offset, 1) != 0)
			return -errno;
	} else {
		memcpy(e->data + offset, record, e->size);
	}
	return sem_up(e, FULL) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *shm_get(void *rx, uint64_t *buf)
{
	struct shm_end *e = rx;
	size_t offset = e->at++ % e->depth * e->size;
	int r = sem_down(e, FULL);

	if (r == 0 && e->flavour == VM_READ)
		r = reach(e, buf, offset, 0);
	else if (r == 0)
		memcpy(buf, e->data + offset, e->size);
	if (r == 0)
		r = sem_up(e, FREE);
	if (r == 0)
		return buf;
	e->report->error = -errno;
	return NULL;
}

static void shm_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = shm_push, .get = shm_get};

	perf_run_blocking(s, &ops);
}

/* System V semaphores count to 32,767. */
static int sysv_supports(const struct perf_cell *cell)
{
	return perf_kernel_supports(cell) && cell->depth < 32768;
}

#define SHM(VARIABLE, NAME, FLAVOUR, SUPPORTS, NOTE)                                               \
	static int open_##VARIABLE(struct perf_context *x)                                         \
	{                                                                                          \
		return open_rings(x, FLAVOUR);                                                     \
	}                                                                                          \
	PERF_KERNEL_SYSTEM(VARIABLE, NAME, NOTE, .supports = SUPPORTS, .open = open_##VARIABLE,    \
			   .close = close_rings, .enter = shm_enter, .leave = shm_leave,           \
			   .run = shm_run)

SHM(perf_sysv_shm, "sysv-shm+sem", SYSV, sysv_supports, "System V shared memory and semaphores");
SHM(perf_posix_shm, "posix-shm+sem", POSIX, perf_kernel_supports,
    "POSIX shared memory and semaphores");
SHM(perf_mmap_file, "mmap-file+sem", MAPPED_FILE, perf_kernel_supports,
    "a mapped file and POSIX semaphores");
SHM(perf_vm_readv, "process_vm_readv", VM_READ, perf_kernel_supports,
    "process_vm_readv(2) and POSIX semaphores");
SHM(perf_vm_writev, "process_vm_writev", VM_WRITE, perf_kernel_supports,
    "process_vm_writev(2) and POSIX semaphores");
