/* SPDX-License-Identifier: MIT */
/* Semaphore sets of segments: see segment.h for what is in them, segment_sysv.h for how they are
 * made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ring/segment_sysv.h"
#include "sync/lock.h"

/* A set that was made and not yet locked is taken for a dead creator's when it is older than this.
 */
#define STALE_SECONDS 2

/* semctl(2): the caller has to define it. */
union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
};

static int removed(int error)
{
	return error == EINVAL ? -EIDRM : -error;
}

static int stat_set(int32_t id, struct semid_ds *ret)
{
	return semctl(id, 0, IPC_STAT, (union semun){.buf = ret}) >= 0 ? 0 : removed(errno);
}

int quoit__sem_set_look(int32_t id, struct quoit__sem_set *ret)
{
	struct semid_ds ds;
	int r = stat_set(id, &ds), mark;

	if (r != 0)
		return r;
	mark = semctl(id, (int)ds.sem_nsems - 1, GETVAL);
	if (mark < 0)
		return removed(errno);
	*ret = (struct quoit__sem_set){
		.id = id,
		.key = (uint32_t)ds.sem_perm.__key,
		.nsems = (uint32_t)ds.sem_nsems,
		.mode = ds.sem_perm.mode & 0777,
		.uid = ds.sem_perm.uid,
		.cuid = ds.sem_perm.cuid,
		.used = ds.sem_otime != 0,
		.mark = mark,
	};
	return 0;
}

int quoit__sem_set_find(uint32_t key, struct quoit__sem_set *ret)
{
	int id = semget((key_t)key, 0, 0);
	int r = id >= 0 ? quoit__sem_set_look(id, ret) : -errno;

	return r == -EIDRM ? -ENOENT : r;
}

int quoit__sem_set_lock(int32_t id)
{
	return sync_lock_take(&(struct sync_lock){.fd = -1, .sem_id = id}, QUOIT__SEM_CREATOR);
}

void quoit__sem_set_unlock(int32_t id)
{
	sync_lock_drop(&(struct sync_lock){.fd = -1, .sem_id = id}, QUOIT__SEM_CREATOR);
}

bool quoit__sem_set_locked(int32_t id)
{
	return sync_lock_held(&(struct sync_lock){.fd = -1, .sem_id = id}, QUOIT__SEM_CREATOR) == 1;
}

int quoit__sem_set_destroy(int32_t id)
{
	return semctl(id, 0, IPC_RMID) == 0 ? 0 : removed(errno);
}

/* ---- for segments in the making ------------------------------------------------------------- */

/* Take the lock of an untouched set and mark it, in one step. */
static int lock_and_mark(int32_t id, uint32_t nsems)
{
	const unsigned short last = (unsigned short)(nsems - 1);
	struct sembuf ops[4] = {
		{.sem_num = QUOIT__SEM_CREATOR, .sem_op = 0, .sem_flg = IPC_NOWAIT},
		{.sem_num = last, .sem_op = 0, .sem_flg = IPC_NOWAIT},
		{.sem_num = QUOIT__SEM_CREATOR, .sem_op = 1, .sem_flg = IPC_NOWAIT | SEM_UNDO},
		{.sem_num = last, .sem_op = QUOIT__SEM_BUILDING, .sem_flg = IPC_NOWAIT},
	};

	return semop(id, ops, 4) == 0 ? 0 : removed(errno);
}

/* Nothing but lock and mark: no peer of an earlier ring lives on in it. */
static bool is_unused(int32_t id, uint32_t nsems)
{
	unsigned short *values = calloc(nsems, sizeof(*values));
	bool unused = values != NULL && semctl(id, 0, GETALL, (union semun){.array = values}) == 0;

	for (uint32_t i = 1; unused && i + 1 < nsems; i++)
		unused = values[i] == 0;
	free(values);
	return unused;
}

/* What was there already under this key. */
static int lock_existing(const struct quoit__sem_set *s, uint32_t nsems, mode_t mode,
			 struct quoit__sem_draft *ret)
{
	const bool shaped =
		s->nsems == nsems && s->mode == mode && s->uid == geteuid() && s->cuid == geteuid();
	struct semid_ds ds;
	int r;

	*ret = (struct quoit__sem_draft){
		.id = s->id, .nsems = s->nsems, .marked = s->mark == QUOIT__SEM_BUILDING};
	if (quoit__sem_set_is_ours(s)) {
		r = quoit__sem_set_lock(s->id);
		/* Whoever had the lock when we looked may have finished since: the mark of now. */
		ret->marked =
			r == 0 && semctl(s->id, (int)s->nsems - 1, GETVAL) == QUOIT__SEM_BUILDING;
		ret->suits = r == 0 && shaped && ret->marked && is_unused(s->id, nsems);
		return r;
	}
	if (s->mark != 0 || s->used || s->nsems < QUOIT__SEM_PEERS + 1)
		return -EEXIST;
	/* Made and never used. As we would make it: whoever locks it first has it. */
	if (shaped) {
		r = lock_and_mark(s->id, nsems);
		ret->suits = r == 0 && is_unused(s->id, nsems);
		return r;
	}
	/* Else its creator may be about to; if not, it died there. Strangers get the same time to
	 * begin using theirs. */
	if (s->cuid != geteuid() || stat_set(s->id, &ds) != 0 || !is_unused(s->id, s->nsems))
		return -EEXIST;
	return time(NULL) - ds.sem_ctime > STALE_SECONDS ? lock_and_mark(s->id, s->nsems) : -EAGAIN;
}

/* The new set's id or -errno. */
static int make(uint32_t key, uint32_t nsems, mode_t mode)
{
	int id = semget((key_t)key, (int)nsems, IPC_CREAT | IPC_EXCL | (int)mode);

	/* EINVAL: more than SEMMSL; ENOSPC: SEMMNI or SEMMNS. */
	return id >= 0 ? id : errno == EINVAL ? -ENOSPC : -errno;
}

int quoit__sem_set_draft(uint32_t key, uint32_t nsems, mode_t mode, struct quoit__sem_draft *ret)
{
	struct quoit__sem_set s = {0};
	int r = make(key, nsems, mode);

	if (r >= 0) {
		*ret = (struct quoit__sem_draft){.id = r, .nsems = nsems, .suits = true};
		r = lock_and_mark(ret->id, nsems);
	} else if (r == -EEXIST) {
		r = quoit__sem_set_find(key, &s);
		if (r == 0)
			r = lock_existing(&s, nsems, mode, ret);
	}
	return r == -EIDRM || r == -ENOENT ? -EAGAIN : r;
}

void quoit__sem_set_done(const struct quoit__sem_draft *d)
{
	semctl(d->id, (int)d->nsems - 1, SETVAL, (union semun){.val = QUOIT__SEM_READY});
	quoit__sem_set_unlock(d->id);
}

/* ---- for events alone ----------------------------------------------------------------------- */

int quoit__sem_set_new(uint32_t nsems, mode_t mode, int32_t *ret_id)
{
	int id = make(IPC_PRIVATE, nsems + 1, mode & 0777), r;

	if (id < 0)
		return id;
	if (semctl(id, (int)nsems, SETVAL, (union semun){.val = QUOIT__SEM_READY}) != 0) {
		r = -errno;
		quoit__sem_set_destroy(id);
		return r;
	}
	*ret_id = id;
	return 0;
}

int quoit__sem_set_check(int32_t id)
{
	struct quoit__sem_set s = {0};
	int r = quoit__sem_set_look(id, &s);

	if (r != 0)
		return r;
	return s.key == (uint32_t)IPC_PRIVATE && s.mark == QUOIT__SEM_READY &&
			       s.nsems == QUOIT__SEM_PEERS + 1
		       ? 0
		       : -EBADMSG;
}

void quoit__sem_set_remove(int32_t id)
{
	if (quoit__sem_set_check(id) == 0)
		quoit__sem_set_destroy(id);
}

int quoit__sem_set_change(int32_t id, mode_t mode, uid_t uid, gid_t gid)
{
	struct quoit__sem_set s = {0};
	struct semid_ds ds;
	int r = quoit__sem_set_look(id, &s);

	if (r != 0)
		return r;
	if (!quoit__sem_set_is_ours(&s))
		return -EBADMSG;
	r = stat_set(id, &ds);
	if (r != 0)
		return r;
	if (mode != (mode_t)-1)
		ds.sem_perm.mode = mode & 0777;
	if (uid != (uid_t)-1)
		ds.sem_perm.uid = uid;
	if (gid != (gid_t)-1)
		ds.sem_perm.gid = gid;
	return semctl(id, 0, IPC_SET, (union semun){.buf = &ds}) == 0 ? 0 : removed(errno);
}
