/* SPDX-License-Identifier: MIT */
/*
 * Making System V segments. There is no building aside here: a segment has its key from the first
 * moment. So everybody can see it unfinished, and everybody can tell whether its maker lives.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring/segment_sysv.h"

#define CREATE_WAIT_MS 1000

/* Of an attempt: somebody else is at it, or was in the way. */
#define AGAIN 1

/* ---- memory ---------------------------------------------------------------------------------- */

/* The segment, mapped, with our magic in it. */
static int make(const struct quoit__plan *plan, int flags, uint64_t size,
		const struct quoit__sem_draft *set, struct quoit__segment *seg)
{
	struct quoit__header *h;
	void *p;
	int id, r;

	id = shmget((key_t)seg->name.key, size, IPC_CREAT | IPC_EXCL | flags | (int)plan->mode);
	if (id < 0)
		return errno == EINVAL ? -EFBIG : -errno;
	p = (flags & SHM_HUGETLB) != 0 ? shmat(id, NULL, 0) : quoit__sysv_map(id, size, true);
	if (p == MAP_FAILED) {
		r = -errno;
		shmctl(id, IPC_RMID, NULL);
		return r;
	}
	seg->base = p;
	seg->size = size;
	seg->shm_id = id;
	seg->sem_id = set->id;
	/* At once, so that what is left if we die can be told from a stranger's. */
	h = p;
	h->sem_id = set->id;
	h->magic = QUOIT__MAGIC;
	return 0;
}

static void unmake(struct quoit__segment *seg)
{
	if (seg->shm_id >= 0)
		shmctl(seg->shm_id, IPC_RMID, NULL);
	quoit__segment_close(seg);
}

static int make_huge(const struct quoit__plan *plan, const struct quoit__sem_draft *set,
		     struct quoit__segment *seg)
{
	uint64_t pool = quoit__pool_page(), huge = quoit__huge_page();
	int r = -ENOTSUP;

	if (pool != 0 &&
	    make(plan, SHM_HUGETLB, quoit__round_up(plan->size, pool), set, seg) == 0) {
		seg->page_size = (uint32_t)pool;
		return 0;
	}
	if (huge != 0) {
		r = make(plan, 0, quoit__round_up(plan->size, huge), set, seg);
		if (r == 0)
			r = quoit__fill_huge(seg);
		if (r == 0)
			seg->page_size = (uint32_t)huge;
		else
			unmake(seg);
	}
	return r;
}

/* The kernel reserves nothing for a segment but its right to memory: pages come by being touched.
 */
static int make_as_planned(const struct quoit__plan *plan, const struct quoit__sem_draft *set,
			   struct quoit__segment *seg)
{
	const uint32_t any = QUOIT_CREATE_HUGEPAGES | QUOIT_CREATE_HUGE_TRY;
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	int r = (plan->flags & any) != 0 ? make_huge(plan, set, seg) : -ENOTSUP;

	if (r != 0 && (plan->flags & QUOIT_CREATE_HUGEPAGES) != 0)
		return r;
	if (r != 0) {
		r = make(plan, 0, quoit__round_up(plan->size, page), set, seg);
		seg->page_size = page;
	}
	if (r != 0)
		return r;
	r = quoit__prefault(seg);
	if (r == 0 && (plan->flags & QUOIT_MLOCK) != 0 && shmctl(seg->shm_id, SHM_LOCK, NULL) != 0)
		r = -errno;
	return r == 0 ? quoit__segment_apply(seg, plan->flags & QUOIT_MLOCK) : r;
}

/* Holding the lock of a set that suits, and no segment in the way. */
static int build(const struct quoit__plan *plan, const struct quoit__sem_draft *set,
		 quoit__fill_fn *fill, void *arg, struct quoit__segment *seg)
{
	struct quoit__name *name = &seg->name;
	int r = make_as_planned(plan, set, seg);

	if (r == 0 && name->is_private) {
		name->id = seg->shm_id;
		snprintf(name->canonical, sizeof(name->canonical), "sysv:#%d", name->id);
	}
	if (r == 0)
		r = fill(arg, seg);
	/* The set may have been removed by hand meanwhile. */
	if (r == 0 && !quoit__sem_set_locked(set->id))
		r = -EIDRM;
	if (r == 0) {
		quoit__sem_set_done(set);
		return 0;
	}
	unmake(seg);
	quoit__sem_set_destroy(set->id);
	return r;
}

/* ---- keys ------------------------------------------------------------------------------------ */

/* What has the key, before anything is done: 0 or -EEXIST. */
static int check_free(uint32_t key)
{
	struct quoit__sysv_look seen;
	struct quoit__sem_set set = {0};
	int32_t id;

	/* The set may appear, with the segment, between two looks: twice the same is the truth. */
	for (int turn = 0; turn < 2; turn++) {
		id = quoit__sysv_find(key);
		if (id < 0)
			return id == -ENOENT ? 0 : id;
		quoit__sysv_look(id, &seen);
		switch (seen.kind) {
		case QUOIT__SYSV_NONE:
		case QUOIT__SYSV_BUILDING:
		case QUOIT__SYSV_REMOVED:
			return 0;
		case QUOIT__SYSV_EMPTY:
			if (quoit__sem_set_find(key, &set) == 0 && set.mark == QUOIT__SEM_BUILDING)
				return 0;
			break;
		default:
			return -EEXIST;
		}
	}
	return -EEXIST;
}

/*
 * With the lock held: what has the key now has no living creator. Remove it if it is half-made, or
 * marked as removed by one who died before doing so.
 */
static int clear_key(uint32_t key, const struct quoit__sem_draft *set)
{
	struct quoit__sysv_look seen;
	int32_t id = quoit__sysv_find(key);
	bool remains;

	if (id < 0)
		return id == -ENOENT ? 0 : id;
	quoit__sysv_look(id, &seen);
	switch (seen.kind) {
	case QUOIT__SYSV_NONE:
		return 0;
	case QUOIT__SYSV_REMOVED:
		remains = true;
		break;
	case QUOIT__SYSV_BUILDING:
		/* Its set may be gone, and another in place of it. */
		remains = set->marked || seen.ds.shm_nattch == 0;
		break;
	default:
		remains = seen.kind == QUOIT__SYSV_EMPTY && set->marked;
		break;
	}
	if (!remains)
		return -EEXIST;
	if (shmctl(id, IPC_RMID, NULL) != 0 && errno != EINVAL && errno != EIDRM)
		return -errno;
	return 0;
}

static int try_create(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
		      struct quoit__segment *seg)
{
	const uint32_t nsems = plan->locks + QUOIT__SEM_PEERS + 1;
	const uint32_t key = seg->name.key;
	struct quoit__sem_draft set;
	int r = check_free(key);

	if (r == 0)
		r = quoit__sem_set_draft(key, nsems, (mode_t)plan->mode, &set);
	if (r != 0)
		return r == -EAGAIN ? AGAIN : r;
	r = clear_key(key, &set);
	if (r == 0 && set.suits)
		return build(plan, &set, fill, arg, seg);
	if (r == 0) {
		/* Another plan's. Make a new one. */
		r = quoit__sem_set_destroy(set.id);
		if (r == 0 || r == -EIDRM)
			return AGAIN;
	}
	/* A finished ring's set is left alone, one that was only made for this attempt is not. */
	if (set.suits && !set.marked)
		quoit__sem_set_destroy(set.id);
	else
		quoit__sem_set_unlock(set.id);
	return r;
}

static int create_keyed(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
			struct quoit__segment *seg)
{
	uint64_t until = quoit__now_ms() + CREATE_WAIT_MS;
	int r;

	/* A creator at work is waited for, for it may fail or die. But it may also be stopped. */
	while ((r = try_create(plan, fill, arg, seg)) == AGAIN) {
		if (quoit__now_ms() >= until)
			return -EEXIST;
		quoit__sleep_ms();
	}
	return r;
}

/* ---- without a key --------------------------------------------------------------------------- */

/*
 * The segment that was made for this set: it says so; or, if its maker did not even get there, it
 * is empty, by the same maker, and not older.
 */
static bool was_for(const struct quoit__sysv_look *seen, const struct semid_ds *set, int32_t sem_id,
		    pid_t maker)
{
	if (seen->kind == QUOIT__SYSV_BUILDING)
		return seen->sem_id == sem_id;
	return seen->kind == QUOIT__SYSV_EMPTY && (seen->sem_id == 0 || seen->sem_id == sem_id) &&
	       maker > 0 && seen->ds.shm_cpid == maker && seen->ds.shm_ctime >= set->sem_ctime;
}

static void sweep_segment(const struct semid_ds *set, int32_t sem_id, pid_t maker)
{
	struct shm_info info;
	struct quoit__sysv_look seen;
	struct shmid_ds ds;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);

	for (int i = 0; i <= last; i++) {
		int id = shmctl(i, SHM_STAT, &ds);

		if (id < 0 || ds.shm_perm.__key != IPC_PRIVATE || ds.shm_nattch != 0 ||
		    ds.shm_perm.cuid != geteuid())
			continue;
		quoit__sysv_look(id, &seen);
		if (was_for(&seen, set, sem_id, maker)) {
			shmctl(id, IPC_RMID, NULL);
			return;
		}
	}
}

/*
 * A creator that was killed half-way has left a segment and a set that nobody can find by a key.
 * The set tells: marked, and its lock free.
 */
static void sweep(void)
{
	struct seminfo info;
	struct semid_ds ds;
	struct quoit__sem_set set = {0};
	int last = semctl(0, 0, SEM_INFO, &info);

	for (int i = 0; i <= last; i++) {
		int id = semctl(i, 0, SEM_STAT, &ds), maker;

		if (id < 0 || ds.sem_perm.__key != IPC_PRIVATE || ds.sem_perm.cuid != geteuid() ||
		    quoit__sem_set_look(id, &set) != 0 || set.mark != QUOIT__SEM_BUILDING)
			continue;
		/* Its death has been the last operation on the lock. */
		maker = semctl(id, QUOIT__SEM_CREATOR, GETPID);
		if (quoit__sem_set_lock(id) != 0)
			continue;
		sweep_segment(&ds, id, maker);
		quoit__sem_set_destroy(id);
	}
}

static int create_private(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
			  struct quoit__segment *seg)
{
	struct quoit__sem_draft set;
	int r;

	sweep();
	r = quoit__sem_set_draft(IPC_PRIVATE, plan->locks + QUOIT__SEM_PEERS + 1,
				 (mode_t)plan->mode, &set);
	return r == 0 ? build(plan, &set, fill, arg, seg) : r;
}

int quoit__sysv_create(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
		       struct quoit__segment *seg)
{
	/* Without 0600 the owner could not open what he made. */
	if ((plan->mode & 0600) != 0600 || seg->name.id >= 0)
		return -EINVAL;
	return seg->name.is_private ? create_private(plan, fill, arg, seg)
				    : create_keyed(plan, fill, arg, seg);
}
