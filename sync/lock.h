/* SPDX-License-Identifier: MIT */
/*
 * Kernel-held locks that prove a peer alive: let go by the kernel when the holder dies, however it
 * dies; kept while it is stopped. No PIDs: those fail across containers and are re-used.
 *
 *   fd      OFD byte-range lock (F_OFD_SETLK) on the holder's own open file description of the
 *           segment, byte SYNC_LOCK_BASE + index; past any end of file.
 *   System V  semaphore `index` of a set, 0 free, 1 held, taken with SEM_UNDO.
 *
 * They differ in two points. An OFD lock goes with the last copy of its open file description, so
 * a child of a fork must close its copy; exec() lets go of it (O_CLOEXEC). A SEM_UNDO is the
 * process's own: a child has no part in it, and exec() keeps it.
 */
#ifndef QUOIT_LOCK_H
#define QUOIT_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#define SYNC_LOCK_BASE (INT64_C(1) << 61)

struct sync_lock {
	int fd;     /* private open file description, or -1 */
	int sem_id; /* System V set, or -1 */
};

/* Take lock `index` without waiting: 0, -EAGAIN held by another, -EIDRM set removed, -EBADF the
 * descriptor is read-only, -errno. */
int sync_lock_take(const struct sync_lock *l, uint32_t index);
/* Let go of a lock that this sync_lock holds. */
void sync_lock_drop(const struct sync_lock *l, uint32_t index);
/*
 * 1 held by somebody else (another open file description; System V: by anybody, us included), 0
 * free, -EIDRM set removed, -errno. Read-only descriptors do too (F_OFD_GETLK).
 */
int sync_lock_held(const struct sync_lock *l, uint32_t index);
/*
 * A new open file description of the file behind fd, through /proc/self/fd. A descriptor, or
 * -ENOSYS (/proc is not there), -EBADF, -EACCES, -errno.
 */
int sync_lock_reopen(int fd, int writable);

#endif
