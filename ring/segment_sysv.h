/* SPDX-License-Identifier: MIT */
/*
 * System V segments, between the files they are made of. A segment and its semaphore set have the
 * same key; the set comes first and goes last.
 *
 * The creator holds semaphore 0 from before the segment is made until it is complete, and marks the
 * set in the very semop() that takes it. So whatever it dies at, the next one knows by mark and
 * lock that this is no stranger's, and that nobody is at work on it any more.
 */
#ifndef QUOIT_SEGMENT_SYSV_H
#define QUOIT_SEGMENT_SYSV_H

#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "ring/segment_backend.h"

/* ---- segment_sem.c --------------------------------------------------------------------------- */

/* What a set tells about itself. */
struct quoit__sem_set {
	int32_t id;
	uint32_t key;
	uint32_t nsems;
	mode_t mode;
	uid_t uid, cuid;
	bool used; /* some semop() has been done on it */
	int mark;  /* value of the last one */
};

static inline bool quoit__sem_set_is_ours(const struct quoit__sem_set *s)
{
	return s->mark == QUOIT__SEM_BUILDING || s->mark == QUOIT__SEM_READY;
}

/* -EIDRM gone, -EACCES not to be looked at. */
int quoit__sem_set_look(int32_t id, struct quoit__sem_set *ret);
/* The set with this key: -ENOENT, -EACCES. */
int quoit__sem_set_find(uint32_t key, struct quoit__sem_set *ret);
/* 0 or -EAGAIN: the creator's lock, held by somebody; -EIDRM, -EACCES. */
int quoit__sem_set_lock(int32_t id);
void quoit__sem_set_unlock(int32_t id);
bool quoit__sem_set_locked(int32_t id);

/* The set of a segment to be, its lock held, its mark BUILDING. */
struct quoit__sem_draft {
	int32_t id;
	uint32_t nsems;
	bool marked; /* it was so before: a dead creator's */
	bool suits;  /* is as it has to be; else only good for removal */
};

/*
 * Make or find the set for this key, 0 for a private one, and lock it. -EAGAIN: somebody is at work
 * on it, or it was removed meanwhile; -EEXIST: a stranger's.
 */
int quoit__sem_set_draft(uint32_t key, uint32_t nsems, mode_t mode, struct quoit__sem_draft *ret);
/* The segment is complete: mark the set, let go of the lock. */
void quoit__sem_set_done(const struct quoit__sem_draft *d);
int quoit__sem_set_destroy(int32_t id);

/* ---- segment_sysv.c -------------------------------------------------------------------------- */

enum quoit__sysv_kind {
	QUOIT__SYSV_NONE,     /* gone */
	QUOIT__SYSV_EMPTY,    /* as shmget() makes it */
	QUOIT__SYSV_BUILDING, /* has our magic, is not complete */
	QUOIT__SYSV_RING,
	QUOIT__SYSV_REMOVED, /* a ring, marked so; its name is to be taken away */
	QUOIT__SYSV_STRANGER,
	QUOIT__SYSV_SECRET, /* not ours to look at */
};

struct quoit__sysv_look {
	enum quoit__sysv_kind kind;
	struct shmid_ds ds;
	int32_t sem_id; /* what its header says; not to be trusted */
};

/* Attach, so that huge pages fit if the size is one of such: MAP_FAILED and errno. */
void *quoit__sysv_map(int32_t id, uint64_t size, bool writable);
/* The id of a key, or -ENOENT. */
int32_t quoit__sysv_find(uint32_t key);
void quoit__sysv_look(int32_t id, struct quoit__sysv_look *ret);

/* ---- segment_sysv_create.c ------------------------------------------------------------------- */

int quoit__sysv_create(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
		       struct quoit__segment *seg);

#endif
