/* SPDX-License-Identifier: MIT */
/*
 * Segments without a name in the world: memfds. They are inherited or handed over, and are gone
 * with the last process that holds them. Sealed against shrinking and growing, so that no peer can
 * make another one fault. fd:N attaches to whatever regular file a descriptor stands for, and
 * /proc/PID/fd/N to that of another process, which only those can open who may trace it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/segment_backend.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Does the name stand for a descriptor of another process? Labels begin otherwise. */
static bool is_foreign(const struct quoit__name *name)
{
	return name->path[0] == '/';
}

/* The link has to be followed, for it is the only way to the file; what is no regular file is not
 * opened, so that neither a FIFO nor a device notices. */
static int open_foreign(const char *path, bool writable)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct stat st;
	int fd;

	if (stat(path, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EPROTO;
	fd = open(path, flags);
	return fd >= 0 ? fd : -errno;
}

static int new_memfd(const char *label, unsigned flags, uint32_t mode)
{
	int fd = -1;

	flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
	/* Not executable, for good, unless asked; Linux 6.3 has it, and may insist on it. */
	if ((mode & 0111) == 0)
		fd = memfd_create(label, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && ((mode & 0111) != 0 || errno == EINVAL))
		fd = memfd_create(label, flags);
	return fd >= 0 ? fd : -errno;
}

static int populate(const struct quoit__plan *plan, unsigned flags, struct quoit__segment *seg)
{
	int r;

	seg->fd = new_memfd(seg->name.path, flags, plan->mode);
	if (seg->fd < 0)
		return seg->fd;
	r = fchmod(seg->fd, plan->mode) == 0 ? quoit__populate_fd(seg, plan) : -errno;
	if (r != 0)
		quoit__segment_close(seg);
	return r;
}

/* Huge pages from the pool if it has enough, else transparent ones. */
static int populate_huge(const struct quoit__plan *plan, struct quoit__segment *seg)
{
	struct quoit__plan pool = *plan;

	pool.flags &= ~(QUOIT_CREATE_HUGEPAGES | QUOIT_CREATE_HUGE_TRY);
	return populate(&pool, MFD_HUGETLB, seg) == 0 ? 0 : populate(plan, 0, seg);
}

static int create_memfd(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
			struct quoit__segment *seg)
{
	const bool huge = (plan->flags & (QUOIT_CREATE_HUGEPAGES | QUOIT_CREATE_HUGE_TRY)) != 0;
	int r;

	if (seg->name.fd >= 0 || is_foreign(&seg->name))
		return -EINVAL;
	r = huge ? populate_huge(plan, seg) : populate(plan, 0, seg);
	if (r != 0)
		return r;
	r = fill(arg, seg);
	if (r == 0 && fcntl(seg->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		r = -errno;
	if (r != 0)
		quoit__segment_close(seg);
	return r;
}

static int open_memfd(uint32_t timeout_ms, struct quoit__segment *seg)
{
	int r;

	(void)timeout_ms; /* never half-made */
	if (is_foreign(&seg->name)) {
		seg->fd = open_foreign(seg->name.path, seg->writable);
		if (seg->fd < 0)
			return seg->fd;
	} else {
		if (seg->name.fd < 0)
			return -ENOENT;
		seg->fd = fcntl(seg->name.fd, F_DUPFD_CLOEXEC, 3);
		if (seg->fd < 0)
			return -errno;
	}
	r = quoit__map_fd(seg);
	if (r != 0)
		quoit__segment_close(seg);
	return r;
}

/* There is no name to take away; what has one has to be removed by it. */
static int unlink_memfd(const struct quoit__name *name, const struct quoit__segment *only)
{
	int fd = only != NULL ? only->fd : name->fd;
	struct stat st;

	if (fd < 0)
		return is_foreign(name) ? -ENOTSUP : -ENOENT;
	if (fstat(fd, &st) != 0)
		return -errno;
	return st.st_nlink == 0 ? 0 : -ENOTSUP;
}

/* Asking is enough: there is nothing to take away. */
static int may_unlink_memfd(const struct quoit__segment *seg)
{
	(void)seg;
	return 0;
}

static int chmod_memfd(const struct quoit__name *name, mode_t mode)
{
	if (name->fd < 0)
		return -ENOTSUP;
	return fchmod(name->fd, mode) == 0 ? 0 : -errno;
}

static int chown_memfd(const struct quoit__name *name, uid_t uid, gid_t gid)
{
	if (name->fd < 0)
		return -ENOTSUP;
	return fchown(name->fd, uid, gid) == 0 ? 0 : -errno;
}

const struct quoit__backend quoit__backend_memfd = {
	.create = create_memfd,
	.open = open_memfd,
	.unlink = unlink_memfd,
	.may_unlink = may_unlink_memfd,
	.chmod = chmod_memfd,
	.chown = chown_memfd,
};
