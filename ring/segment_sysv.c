/* SPDX-License-Identifier: MIT */
/*
 * System V segments: finding, opening, removing. Ids and keys are the kernel's and anybody's, so
 * nothing is taken for a ring, nor removed, unless its first bytes or its semaphore set say so; and
 * what the first bytes say of the set is checked, for peers can write there.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "ring/segment_sysv.h"

#define LOCK_WAIT_MS 1000

int32_t quoit__sysv_find(uint32_t key)
{
	int id = shmget((key_t)key, 0, 0);

	return id >= 0 ? id : -errno;
}

void *quoit__sysv_map(int32_t id, uint64_t size, bool writable)
{
	void *at = quoit__huge_address(size), *p;
	int flags = writable ? 0 : SHM_RDONLY;

	if (at == NULL)
		return shmat(id, NULL, flags);
	p = shmat(id, at, flags | SHM_REMAP);
	if (p == MAP_FAILED) {
		int error = errno;

		munmap(at, size);
		errno = error;
		return p;
	}
	madvise(p, size, MADV_HUGEPAGE);
	return p;
}

static enum quoit__sysv_kind kind_of(const struct quoit__header *h)
{
	uint32_t state = quoit__state(h);

	if (h->magic == QUOIT__MAGIC)
		return state == QUOIT__BUILDING  ? QUOIT__SYSV_BUILDING
		       : state == QUOIT__REMOVED ? QUOIT__SYSV_REMOVED
						 : QUOIT__SYSV_RING;
	return h->magic == 0 && state == QUOIT__BUILDING ? QUOIT__SYSV_EMPTY : QUOIT__SYSV_STRANGER;
}

void quoit__sysv_look(int32_t id, struct quoit__sysv_look *ret)
{
	void *p;

	*ret = (struct quoit__sysv_look){.kind = QUOIT__SYSV_NONE, .sem_id = -1};
	if (shmctl(id, IPC_STAT, &ret->ds) != 0) {
		if (errno == EACCES)
			ret->kind = QUOIT__SYSV_SECRET;
		return;
	}
	if ((ret->ds.shm_perm.mode & SHM_DEST) != 0)
		return;
	ret->kind = QUOIT__SYSV_STRANGER;
	if (ret->ds.shm_segsz < sizeof(struct quoit__header))
		return;
	p = shmat(id, NULL, SHM_RDONLY);
	if (p == MAP_FAILED) {
		ret->kind = errno == EACCES ? QUOIT__SYSV_SECRET : QUOIT__SYSV_NONE;
		return;
	}
	ret->kind = kind_of(p);
	if (ret->kind != QUOIT__SYSV_STRANGER)
		ret->sem_id = ((const struct quoit__header *)p)->sem_id;
	shmdt(p);
}

/* Is this set the one of that segment? */
static bool belongs(const struct quoit__sem_set *s, const struct shmid_ds *ds)
{
	return quoit__sem_set_is_ours(s) && s->nsems > QUOIT__SEM_PEERS &&
	       s->key == (uint32_t)ds->shm_perm.__key && s->cuid == ds->shm_perm.cuid;
}

/* The set of a segment, by its header or, while that is empty, by key: 0, -ENOENT. */
static int set_of(const struct quoit__sysv_look *seen, struct quoit__sem_set *ret)
{
	const uint32_t key = (uint32_t)seen->ds.shm_perm.__key;

	if (seen->kind != QUOIT__SYSV_EMPTY && quoit__sem_set_look(seen->sem_id, ret) == 0 &&
	    belongs(ret, &seen->ds))
		return 0;
	if (key != (uint32_t)IPC_PRIVATE && quoit__sem_set_find(key, ret) == 0 &&
	    belongs(ret, &seen->ds))
		return 0;
	return -ENOENT;
}

/* ---- opening --------------------------------------------------------------------------------- */

/*
 * An unfinished one. The set is looked at after the segment: the creator marks and locks it before
 * the one and unlocks it after the other is complete. So look at the segment again before the worst
 * is said of it.
 */
static int judge_unfinished(int32_t id, const struct quoit__sysv_look *seen)
{
	struct quoit__sysv_look again;
	struct quoit__sem_set set = {0};
	int r = seen->kind == QUOIT__SYSV_BUILDING ? -EOWNERDEAD : -EPROTO;

	if (set_of(seen, &set) == 0) {
		if (set.mark == QUOIT__SEM_BUILDING && quoit__sem_set_locked(set.id))
			return -EAGAIN;
		r = -EOWNERDEAD;
	}
	quoit__sysv_look(id, &again);
	if (again.kind == QUOIT__SYSV_NONE)
		return -ENOENT;
	return again.kind == seen->kind ? r : -EAGAIN;
}

/* No segment: but is somebody about to make it, or to replace one that was half-made? */
static int judge_missing(uint32_t key)
{
	struct quoit__sem_set set = {0};

	return quoit__sem_set_find(key, &set) == 0 && set.mark == QUOIT__SEM_BUILDING &&
			       quoit__sem_set_locked(set.id)
		       ? -EAGAIN
		       : -ENOENT;
}

static int map(int32_t id, const struct shmid_ds *ds, struct quoit__segment *seg)
{
	void *p = quoit__sysv_map(id, ds->shm_segsz, seg->writable);

	if (p == MAP_FAILED)
		return errno == EINVAL || errno == EIDRM ? -ENOENT : -errno;
	seg->base = p;
	seg->size = ds->shm_segsz;
	seg->shm_id = id;
	seg->page_size = quoit__mapped_page_size(seg);
	return 0;
}

/* Writers cannot do without the set: their lives hang on it. Observers do with what there is. */
static int find_set(const struct quoit__sysv_look *seen, struct quoit__segment *seg)
{
	struct quoit__sem_set set = {0};
	int r = quoit__sem_set_look(seen->sem_id, &set);

	if (r == 0 && !belongs(&set, &seen->ds))
		r = -EBADMSG;
	if (r == 0)
		seg->sem_id = set.id;
	return seg->writable ? r : 0;
}

/* People know a segment by its key; an id is for those that have none. */
static void name_by_key(const struct shmid_ds *ds, struct quoit__name *name)
{
	name->key = (uint32_t)ds->shm_perm.__key;
	name->is_private = name->key == (uint32_t)IPC_PRIVATE;
	if (!name->is_private)
		snprintf(name->canonical, sizeof(name->canonical), "sysv:0x%08x", name->key);
}

static int try_open(struct quoit__segment *seg)
{
	struct quoit__sysv_look seen;
	int32_t id = seg->name.id >= 0 ? seg->name.id : quoit__sysv_find(seg->name.key);
	int r;

	if (id < 0)
		return id == -ENOENT ? judge_missing(seg->name.key) : id;
	quoit__sysv_look(id, &seen);
	switch (seen.kind) {
	case QUOIT__SYSV_NONE:
		return -ENOENT;
	case QUOIT__SYSV_SECRET:
		return -EACCES;
	case QUOIT__SYSV_STRANGER:
		return -EPROTO;
	case QUOIT__SYSV_EMPTY:
	case QUOIT__SYSV_BUILDING:
		return judge_unfinished(id, &seen);
	default:
		break;
	}
	r = map(id, &seen.ds, seg);
	if (r == 0)
		r = find_set(&seen, seg);
	if (r == 0)
		name_by_key(&seen.ds, &seg->name);
	else
		quoit__segment_close(seg);
	return r;
}

static int open_sysv(uint32_t timeout_ms, struct quoit__segment *seg)
{
	uint64_t until = quoit__now_ms() + timeout_ms;
	int r;

	if (seg->name.is_private && seg->name.id < 0)
		return -ENOENT;
	while ((r = try_open(seg)) == -EAGAIN) {
		if (quoit__now_ms() > until)
			return -ETIMEDOUT;
		quoit__sleep_ms();
	}
	return r;
}

/* ---- removing -------------------------------------------------------------------------------- */

/*
 * Removers hold the creator's lock, so that nobody makes a new segment with a set that is about to
 * go. Of a finished ring others hold it for a moment only: one who is stopped meanwhile is not
 * waited for for ever. An unfinished one has its creator's lock free, or has a creator: -EBUSY.
 */
static int lock_for_removal(int32_t sem_id, bool finished, bool *ret_locked)
{
	uint64_t until = quoit__now_ms() + LOCK_WAIT_MS;
	int r;

	while ((r = quoit__sem_set_lock(sem_id)) == -EAGAIN) {
		if (!finished)
			return -EBUSY;
		if (quoit__now_ms() >= until)
			break;
		quoit__sleep_ms();
	}
	*ret_locked = r == 0;
	return 0;
}

/* The segment first: as long as the set is there, what remains is known as ours. */
static int destroy(int32_t shm_id, int32_t sem_id, bool finished)
{
	bool locked = false;
	int r = sem_id >= 0 ? lock_for_removal(sem_id, finished, &locked) : 0;

	if (r != 0)
		return r;
	/* What was unfinished when we came may have been finished before we had the lock. */
	if (!finished && locked) {
		struct quoit__sysv_look now;

		quoit__sysv_look(shm_id, &now);
		if (now.kind == QUOIT__SYSV_RING || now.kind == QUOIT__SYSV_REMOVED) {
			quoit__sem_set_unlock(sem_id);
			return -EBUSY;
		}
	}
	r = shmctl(shm_id, IPC_RMID, NULL) == 0 ? 0 : -errno;
	if (r == 0 && sem_id >= 0)
		quoit__sem_set_destroy(sem_id);
	else if (locked)
		quoit__sem_set_unlock(sem_id);
	return r == -EINVAL || r == -EIDRM ? -ENOENT : r;
}

static int remove_ring(int32_t id)
{
	struct quoit__sysv_look seen;
	struct quoit__sem_set set = {0};

	quoit__sysv_look(id, &seen);
	switch (seen.kind) {
	case QUOIT__SYSV_NONE:
		return -ENOENT;
	case QUOIT__SYSV_SECRET:
		return -EACCES;
	case QUOIT__SYSV_STRANGER:
		return -EPROTO;
	default:
		break;
	}
	if (set_of(&seen, &set) == 0)
		return destroy(id, set.id,
			       seen.kind == QUOIT__SYSV_RING || seen.kind == QUOIT__SYSV_REMOVED);
	return seen.kind == QUOIT__SYSV_EMPTY ? -EPROTO : destroy(id, -1, true);
}

/*
 * No segment: a creator that died before it made one has left a set, or the segment was removed by
 * hand. With the lock held nobody makes one, so look again.
 */
static void remove_lone_set(uint32_t key)
{
	struct quoit__sem_set set = {0};

	if (quoit__sem_set_find(key, &set) != 0 || !quoit__sem_set_is_ours(&set) ||
	    quoit__sem_set_lock(set.id) != 0)
		return;
	if (quoit__sysv_find(key) != -ENOENT || quoit__sem_set_destroy(set.id) != 0)
		quoit__sem_set_unlock(set.id);
}

static int unlink_sysv(const struct quoit__name *name, const struct quoit__segment *only)
{
	struct shmid_ds ds;
	int32_t id;

	if (only != NULL) {
		/* Removed already, and kept by our own mapping? */
		if (shmctl(only->shm_id, IPC_STAT, &ds) != 0 || (ds.shm_perm.mode & SHM_DEST) != 0)
			return -ENOENT;
		return destroy(only->shm_id, only->sem_id, true);
	}
	if (name->is_private && name->id < 0)
		return -ENOENT;
	id = name->id >= 0 ? name->id : quoit__sysv_find(name->key);
	if (id == -ENOENT)
		remove_lone_set(name->key);
	return id < 0 ? id : remove_ring(id);
}

/* Setting what is set already asks for the same right as removing. */
static int may_unlink_sysv(const struct quoit__segment *seg)
{
	struct shmid_ds ds;

	if (shmctl(seg->shm_id, IPC_STAT, &ds) != 0 || shmctl(seg->shm_id, IPC_SET, &ds) == 0)
		return 0; /* gone: removing says so */
	return errno == EPERM ? -EPERM : 0;
}

/* ---- mode and owner -------------------------------------------------------------------------- */

static int change(const struct quoit__name *name, mode_t mode, uid_t uid, gid_t gid)
{
	struct quoit__sysv_look seen;
	struct quoit__sem_set set = {0};
	int32_t id = name->id >= 0 ? name->id : quoit__sysv_find(name->key);

	if (name->is_private && name->id < 0)
		return -ENOENT;
	if (id < 0)
		return id;
	quoit__sysv_look(id, &seen);
	if (seen.kind == QUOIT__SYSV_NONE)
		return -ENOENT;
	if (seen.kind == QUOIT__SYSV_SECRET)
		return -EACCES;
	if (seen.kind != QUOIT__SYSV_RING || set_of(&seen, &set) != 0)
		return -EPROTO;
	/* Only the lowest nine bits of the mode are taken; what was read is kept where not asked.
	 */
	if (mode != (mode_t)-1)
		seen.ds.shm_perm.mode = (unsigned short)mode;
	if (uid != (uid_t)-1)
		seen.ds.shm_perm.uid = uid;
	if (gid != (gid_t)-1)
		seen.ds.shm_perm.gid = gid;
	if (shmctl(id, IPC_SET, &seen.ds) != 0)
		return errno == EINVAL || errno == EIDRM ? -ENOENT : -errno;
	return quoit__sem_set_change(set.id, mode, uid, gid);
}

/* Without 0600 the owner could not even ask for the mode any more, let alone open the ring. */
static int chmod_sysv(const struct quoit__name *name, mode_t mode)
{
	return (mode & 0600) == 0600 ? change(name, mode, (uid_t)-1, (gid_t)-1) : -EINVAL;
}

static int chown_sysv(const struct quoit__name *name, uid_t uid, gid_t gid)
{
	return change(name, (mode_t)-1, uid, gid);
}

const struct quoit__backend quoit__backend_sysv = {
	.create = quoit__sysv_create,
	.open = open_sysv,
	.unlink = unlink_sysv,
	.may_unlink = may_unlink_sysv,
	.chmod = chmod_sysv,
	.chown = chown_sysv,
};
