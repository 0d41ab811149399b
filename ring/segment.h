/* SPDX-License-Identifier: MIT */
/*
 * Segments: named pieces of shared memory. One table of backends; each makes, finds, maps, removes.
 * Nothing here looks into the ring, but for the magic and the state word at its start.
 */
#ifndef QUOIT_SEGMENT_H
#define QUOIT_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <quoit/quoit.h>

/* A parsed name. */
struct quoit__name {
	enum quoit_backend backend;
	int fd;       /* fd:N, else -1 */
	int32_t id;   /* sysv:#ID, else -1 */
	uint32_t key; /* sysv; 0 with id == -1: private */
	bool is_private;
	/* shm: "/dev/shm/quoit.NAME"; file: as given; memfd: label, "quoit.NAME", or
	 * "/proc/PID/fd/N" */
	char path[QUOIT_NAME_MAX];
	char canonical[QUOIT_NAME_MAX]; /* as users write it: "shm:NAME", "sysv:0x...",
					   "file:/abs/path" */
};

/* -EINVAL not a name; -ENAMETOOLONG; errors of ftok() (-ENOENT...) for sysv:PATH,ID. */
int quoit__name_parse(const char *name, struct quoit__name *ret);

/* A mapped segment. */
struct quoit__segment {
	struct quoit__name name;
	unsigned char *base;
	uint64_t size;      /* bytes mapped */
	int fd;             /* shm, file, memfd; else -1 */
	int32_t shm_id;     /* System V, else -1 */
	int32_t sem_id;     /* System V semaphore set for liveness, else -1 */
	uint32_t page_size; /* huge, or the system's */
	bool writable;
	struct quoit__guarded *guarded; /* ring/guard.h; NULL: System V, nobody can cut it off */
};

/* What a new segment should be. */
struct quoit__plan {
	uint64_t size;
	uint32_t flags; /* QUOIT_CREATE_HUGEPAGES, ..._HUGE_TRY, QUOIT_MLOCK, QUOIT_PREFAULT */
	uint32_t mode;
	uint32_t locks; /* how many liveness locks (System V: size of the semaphore set, plus 3) */
};

/*
 * Make a segment: `size` zeroed bytes (rounded up to whole pages) with all space reserved, then
 * fill(arg, segment) builds the ring in it and stores READY last, then it is published under its
 * name, exclusively. The mode is exact: the umask does not matter.
 * - shm, file: O_TMPFILE beside the name, linkat(): unfinished ones are never seen, killed creators
 *   leave nothing. Without O_TMPFILE: a hidden name, renamed; the next creator sweeps leftovers.
 * - sysv: semaphore set first (IPC_CREAT, all-zero is its initial state, so the semget/semctl race
 *   does not arise), its semaphore 0 is the creator's lock with SEM_UNDO; then shmget(IPC_EXCL);
 *   the header's state word, stored last, publishes. A half-made segment whose creator's lock is
 *   free is removed and made again. The mode must have 0600: without, the kernel locks the owner
 *   out (-EINVAL).
 * - memfd: sealed against shrinking and growing once filled.
 *
 * -EEXIST the name is taken; -ENOSPC no room, nothing is left behind; -EFBIG beyond RLIMIT_FSIZE or
 * SHMMAX; -ENOTSUP, -ENOMEM no huge pages, or RLIMIT_MEMLOCK (-EPERM too); -EACCES, -ENOENT folder.
 */
int quoit__segment_create(const struct quoit__name *name, const struct quoit__plan *plan,
			  int (*fill)(void *arg, struct quoit__segment *seg), void *arg,
			  struct quoit__segment *ret);
/*
 * Find and map. Maps the whole object as it is; its first bytes are not looked at, but for System
 * V, where an unfinished one (state word still 0, see layout.h) is waited for: -ETIMEDOUT, or
 * -EOWNERDEAD when its creator's lock is free; -EIDRM when its semaphore set is gone. -ENOENT,
 * -EACCES, -ELOOP a symbolic link, -EPROTO no regular file or shorter than a header.
 */
int quoit__segment_open(const struct quoit__name *name, bool writable, uint32_t timeout_ms,
			struct quoit__segment *ret);
/* Lock in memory, touch every page, as the flags say (attach). */
int quoit__segment_apply(struct quoit__segment *seg, uint32_t flags);
void quoit__segment_close(struct quoit__segment *seg);
/*
 * Take the name away (and the System V set). Mapped ones live on until let go. -EPROTO: it is no
 * ring, so it stays (shm: any regular file of that name goes, the prefix is ours); -EBUSY: it is
 * being made by somebody alive; -ENOENT, -EACCES, -EPERM. An fd:N
 * that has a name somewhere gives -ENOTSUP.
 */
int quoit__segment_unlink(const struct quoit__name *name);
/*
 * The same for an open segment, and only for it: -ENOENT if its name is gone or belongs to another
 * one by now. Who has marked a ring as removed must use this, or a second remover takes away the
 * ring that was made in its place.
 */
int quoit__segment_unlink_open(const struct quoit__segment *seg);
/* May we? Asked before a ring is marked as removed, for its writers need not be allowed to. 0,
 * -EACCES, -EPERM. */
int quoit__segment_may_unlink(const struct quoit__segment *seg);
int quoit__segment_chmod(const struct quoit__name *name, mode_t mode);
int quoit__segment_chown(const struct quoit__name *name, uid_t uid, gid_t gid);
/* Current mode and owner of an open one. */
int quoit__segment_stat(const struct quoit__segment *seg, mode_t *ret_mode, uid_t *ret_uid,
			gid_t *ret_gid);

/*
 * The System V set: semaphore 0 is the creator's lock, 1 and 2 are the events', 3 + row a peer's,
 * and the last one holds a mark that tells our sets from others: QUOIT__SEM_BUILDING until the
 * segment is published, so that what a dead creator left can be told from a stranger's segment.
 */
#define QUOIT__SEM_CREATOR  0u
#define QUOIT__SEM_READABLE 1u
#define QUOIT__SEM_WRITABLE 2u
#define QUOIT__SEM_PEERS    3u
#define QUOIT__SEM_BUILDING 0x7162
#define QUOIT__SEM_READY    0x7175

/* A set for events alone, beside a segment that is not System V: nsems semaphores and the mark. */
int quoit__sem_set_new(uint32_t nsems, mode_t mode, int32_t *ret_id);
/* Is this such a set? 0; -EIDRM gone, -EBADMSG another one: the header could name any. */
int quoit__sem_set_check(int32_t id);
/* Removes such a set; ids that are not one (the header could lie) are left alone. */
void quoit__sem_set_remove(int32_t id);
/* Its mode and owner follow those of the segment. mode_t, uid_t or gid_t -1 keeps one. */
int quoit__sem_set_change(int32_t id, mode_t mode, uid_t uid, gid_t gid);

#endif
