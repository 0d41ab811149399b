/* SPDX-License-Identifier: MIT */
/*
 * Segments of every kind: which backend does what, and what is the same for all of them.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/guard.h"
#include "ring/segment_backend.h"

static const struct quoit__backend *backend(const struct quoit__name *name)
{
	static const struct quoit__backend *const backends[] = {
		[QUOIT_SHM] = &quoit__backend_file,
		[QUOIT_SYSV] = &quoit__backend_sysv,
		[QUOIT_FILE] = &quoit__backend_file,
		[QUOIT_MEMFD] = &quoit__backend_memfd,
	};

	return backends[name->backend];
}

/* What a backend starts from; quoit__segment_close() undoes whatever it has got by then. */
static struct quoit__segment nothing(const struct quoit__name *name, bool writable)
{
	return (struct quoit__segment){
		.name = *name, .fd = -1, .shm_id = -1, .sem_id = -1, .writable = writable};
}

/* Files can be cut off by others. The entry was had before, so that nothing fails now. */
static void guard(struct quoit__segment *seg, struct quoit__guarded *entry)
{
	if (seg->fd < 0) {
		quoit__guard_drop(entry);
		return;
	}
	seg->guarded = entry;
	quoit__guard_set(entry, seg->base, seg->size, seg->writable);
}

int quoit__segment_create(const struct quoit__name *name, const struct quoit__plan *plan,
			  quoit__fill_fn *fill, void *arg, struct quoit__segment *ret)
{
	struct quoit__segment seg = nothing(name, true);
	struct quoit__guarded *entry;
	int r;

	if (plan->mode > 0777 || plan->size < sizeof(struct quoit__header))
		return -EINVAL;
	if (plan->size > INT64_MAX / 2)
		return -EFBIG;
	entry = quoit__guard_new();
	if (entry == NULL)
		return -ENOMEM;
	r = backend(name)->create(plan, fill, arg, &seg);
	if (r != 0) {
		quoit__guard_drop(entry);
		return r;
	}
	guard(&seg, entry);
	*ret = seg;
	return 0;
}

int quoit__segment_open(const struct quoit__name *name, bool writable, uint32_t timeout_ms,
			struct quoit__segment *ret)
{
	struct quoit__segment seg = nothing(name, writable);
	struct quoit__guarded *entry = quoit__guard_new();
	int r;

	if (entry == NULL)
		return -ENOMEM;
	r = backend(name)->open(timeout_ms, &seg);
	if (r != 0) {
		quoit__guard_drop(entry);
		return r;
	}
	guard(&seg, entry);
	*ret = seg;
	return 0;
}

int quoit__segment_apply(struct quoit__segment *seg, uint32_t flags)
{
	if ((flags & QUOIT_MLOCK) != 0 && mlock(seg->base, seg->size) != 0)
		return errno == EAGAIN ? -ENOMEM : -errno;
	return (flags & QUOIT_PREFAULT) != 0 ? quoit__prefault(seg) : 0;
}

void quoit__segment_close(struct quoit__segment *seg)
{
	quoit__guard_drop(seg->guarded);
	seg->guarded = NULL;
	if (seg->base != NULL && seg->shm_id >= 0)
		shmdt(seg->base);
	else if (seg->base != NULL)
		munmap(seg->base, seg->size);
	if (seg->fd >= 0)
		close(seg->fd);
	seg->base = NULL;
	seg->fd = seg->shm_id = seg->sem_id = -1;
}

int quoit__segment_unlink(const struct quoit__name *name)
{
	return backend(name)->unlink(name, NULL);
}

int quoit__segment_unlink_open(const struct quoit__segment *seg)
{
	return backend(&seg->name)->unlink(&seg->name, seg);
}

int quoit__segment_may_unlink(const struct quoit__segment *seg)
{
	return backend(&seg->name)->may_unlink(seg);
}

int quoit__segment_chmod(const struct quoit__name *name, mode_t mode)
{
	return mode > 0777 ? -EINVAL : backend(name)->chmod(name, mode);
}

int quoit__segment_chown(const struct quoit__name *name, uid_t uid, gid_t gid)
{
	return backend(name)->chown(name, uid, gid);
}

int quoit__segment_stat(const struct quoit__segment *seg, mode_t *ret_mode, uid_t *ret_uid,
			gid_t *ret_gid)
{
	struct shmid_ds ds;
	struct stat st;

	if (seg->shm_id >= 0) {
		if (shmctl(seg->shm_id, IPC_STAT, &ds) != 0)
			return errno == EINVAL ? -EIDRM : -errno;
		*ret_mode = ds.shm_perm.mode & 0777;
		*ret_uid = ds.shm_perm.uid;
		*ret_gid = ds.shm_perm.gid;
		return 0;
	}
	if (fstat(seg->fd, &st) != 0)
		return -errno;
	*ret_mode = st.st_mode & 07777;
	*ret_uid = st.st_uid;
	*ret_gid = st.st_gid;
	return 0;
}
