/* SPDX-License-Identifier: MIT */
/*
 * Kernel-held locks as proof of life, see lock.h. OFD locks and not those of F_SETLK, because those
 * belong to the process: any close() of the file anywhere in it would drop them, and two endpoints
 * of one process would not see each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <unistd.h>

#include "sync/lock.h"

static struct flock lock_byte(uint32_t index, short type)
{
	/* l_pid is 0, as OFD locks demand. */
	return (struct flock){.l_type = type,
			      .l_whence = SEEK_SET,
			      .l_start = SYNC_LOCK_BASE + index,
			      .l_len = 1};
}

/* A removed set's id is either known as removed or not known at all. EFBIG: a header says that
 * there are more peers than the set has semaphores. */
static int removed(int error)
{
	return error == EINVAL ? -EIDRM : error == EFBIG ? -EBADMSG : -error;
}

int sync_lock_take(const struct sync_lock *l, uint32_t index)
{
	if (l->fd >= 0) {
		struct flock f = lock_byte(index, F_WRLCK);

		if (fcntl(l->fd, F_OFD_SETLK, &f) == 0)
			return 0;
		return errno == EACCES ? -EAGAIN : -errno;
	}
	/* Zero, and then one, as a single step; the kernel takes the one back when we die. */
	struct sembuf ops[2] = {
		{.sem_num = (unsigned short)index, .sem_op = 0, .sem_flg = IPC_NOWAIT},
		{.sem_num = (unsigned short)index, .sem_op = 1, .sem_flg = IPC_NOWAIT | SEM_UNDO},
	};

	return semop(l->sem_id, ops, 2) == 0 ? 0 : removed(errno);
}

void sync_lock_drop(const struct sync_lock *l, uint32_t index)
{
	if (l->fd >= 0) {
		struct flock f = lock_byte(index, F_UNLCK);

		fcntl(l->fd, F_OFD_SETLK, &f);
		return;
	}
	struct sembuf op = {
		.sem_num = (unsigned short)index, .sem_op = -1, .sem_flg = IPC_NOWAIT | SEM_UNDO};

	semop(l->sem_id, &op, 1);
}

int sync_lock_held(const struct sync_lock *l, uint32_t index)
{
	if (l->fd >= 0) {
		/* Asking needs no right to take it: this works on read-only descriptors. */
		struct flock f = lock_byte(index, F_WRLCK);

		return fcntl(l->fd, F_OFD_GETLK, &f) == 0 ? f.l_type != F_UNLCK : -errno;
	}
	int v = semctl(l->sem_id, (int)index, GETVAL);

	return v >= 0 ? v > 0 : removed(errno);
}

int sync_lock_reopen(int fd, int writable)
{
	char path[32];
	int r;

	/* Tell a bad descriptor from a missing /proc: both are ENOENT below. */
	if (fcntl(fd, F_GETFD) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
	if (r >= 0)
		return r;
	return errno == ENOENT || errno == ENOTDIR ? -ENOSYS : -errno;
}
