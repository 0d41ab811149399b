/* SPDX-License-Identifier: MIT */
/*
 * Segments with a path: POSIX shared memory (files in /dev/shm, made here and not by shm_open(),
 * which could not hide them until they are complete) and files anywhere, also on hugetlbfs.
 *
 * A file is built without a name and gets it complete, by a link that fails if the name is taken.
 * So there is nothing to wait for, and a creator that is killed leaves nothing. Where a file system
 * knows no nameless files, it is built under a hidden name, with flock() held on it; the next
 * creator there removes such files that nobody holds.
 *
 * Whoever takes a name away holds flock() on the file it stands for, and looks again whether it
 * still does: so two who remove one ring at a time cannot take away a third, made in its place in
 * between.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/segment_sysv.h"

#define HIDDEN_PREFIX ".quoit-"
#define HIDDEN_SUFFIX ".tmp"
#define HIDDEN_LENGTH (sizeof(HIDDEN_PREFIX) - 1 + 16 + sizeof(HIDDEN_SUFFIX) - 1)
#define LOCK_WAIT_MS  1000

/* A name in its folder. */
struct place {
	int dir;
	char base[QUOIT_NAME_MAX];
};

static int open_at(int dir, const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = openat(dir, path, flags | O_CLOEXEC | O_NOCTTY, mode);
	while (fd < 0 && errno == EINTR);
	return fd >= 0 ? fd : -errno;
}

/* Everything is then done relative to one folder, wherever its path may lead later on. */
static int find_place(const char *path, struct place *ret)
{
	const char *slash = strrchr(path, '/');
	char dir[QUOIT_NAME_MAX] = ".";

	if (slash == path)
		strcpy(dir, "/");
	else if (slash != NULL)
		*(char *)mempcpy(dir, path, (size_t)(slash - path)) = '\0';
	strcpy(ret->base, slash != NULL ? slash + 1 : path);
	ret->dir = open_at(AT_FDCWD, dir, O_PATH | O_DIRECTORY, 0);
	return ret->dir >= 0 ? 0 : ret->dir;
}

/* Does this name stand for this very file? 1, 0, -errno. */
static int names_file(int dir, const char *base, int fd)
{
	struct stat named, opened;

	if (fstatat(dir, base, &named, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &opened) != 0)
		return -errno;
	return named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
}

/*
 * Open an existing one. Neither a FIFO nor a device may hold us up or notice, and no symbolic link
 * is followed.
 */
static int open_existing(int dir, const char *base, int flags)
{
	struct stat st;
	int fd;

	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISREG(st.st_mode))
		return -EPROTO;
	fd = open_at(dir, base, flags | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return -EPROTO;
}

/* ---- taking away ----------------------------------------------------------------------------- */

/*
 * Others hold it for a moment only. One who is stopped meanwhile, or keeps it on purpose, does not
 * hinder us for ever; nor does a file system without locks.
 */
static void lock_file(int fd)
{
	uint64_t until = quoit__now_ms() + LOCK_WAIT_MS;

	while (flock(fd, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR) &&
	       quoit__now_ms() < until)
		quoit__sleep_ms();
}

/* A rm must never take away what is no ring; but names with our own prefix in /dev/shm are ours. */
static int check_ring(int fd, uint32_t *ret_state)
{
	struct quoit__header h;
	ssize_t n;

	do
		n = pread(fd, &h, sizeof(h), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(h) || h.magic != QUOIT__MAGIC)
		return -EPROTO;
	*ret_state = quoit__state(&h);
	return 0;
}

/* -EAGAIN: it stands for another file by now. */
static int unlink_locked(const struct place *at, int fd)
{
	int r;

	lock_file(fd);
	r = names_file(at->dir, at->base, fd);
	if (r <= 0)
		return r == 0 ? -EAGAIN : r;
	return unlinkat(at->dir, at->base, 0) == 0 ? 0 : -errno;
}

static int unlink_place(const struct place *at, bool any, const struct quoit__segment *only)
{
	uint32_t state;
	int fd, r;

	do {
		fd = open_existing(at->dir, at->base, O_RDONLY);
		if (fd < 0)
			return fd;
		if (only != NULL)
			r = names_file(at->dir, at->base, only->fd) == 1 ? 0 : -ENOENT;
		else
			r = any ? 0 : check_ring(fd, &state);
		if (r == 0)
			r = unlink_locked(at, fd);
		close(fd);
	} while (r == -EAGAIN);
	return r;
}

static int unlink_file(const struct quoit__name *name, const struct quoit__segment *only)
{
	struct place at;
	int r = find_place(name->path, &at);

	if (r != 0)
		return r;
	r = unlink_place(&at, name->backend == QUOIT_SHM, only);
	close(at.dir);
	return r;
}

/*
 * A name goes with the right to write its folder; in a sticky one, such as /dev/shm, the owner's of
 * either alone, or whoever may act as the owner: as for setting a mode that is set already.
 */
static int may_unlink_file(const struct quoit__segment *seg)
{
	struct stat folder, file;
	struct place at;
	int r = find_place(seg->name.path, &at);

	if (r != 0)
		return r;
	if (faccessat(at.dir, ".", W_OK | X_OK, AT_EACCESS) != 0 ||
	    (fstat(at.dir, &folder) == 0 && fstat(seg->fd, &file) == 0 &&
	     (folder.st_mode & S_ISVTX) != 0 && folder.st_uid != geteuid() &&
	     file.st_uid != geteuid() && fchmod(seg->fd, file.st_mode & 07777) != 0))
		r = -errno;
	close(at.dir);
	return r;
}

/* ---- creation -------------------------------------------------------------------------------- */

/*
 * Taken? That is known before gigabytes are reserved. A ring that was marked as removed, by
 * somebody who died before taking its name away, is no longer one.
 */
static int check_free(const struct place *at)
{
	struct stat st;
	uint32_t state = 0;
	int fd, r = -EEXIST;

	if (fstatat(at->dir, at->base, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : -errno;
	fd = open_existing(at->dir, at->base, O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : -EEXIST;
	if (check_ring(fd, &state) == 0 && state == QUOIT__REMOVED) {
		r = unlink_locked(at, fd);
		r = r == 0 || r == -EAGAIN ? 0 : -EEXIST;
	}
	close(fd);
	return r;
}

static bool is_hidden(const char *name)
{
	size_t n = strlen(name);

	return n == HIDDEN_LENGTH && strncmp(name, HIDDEN_PREFIX, strlen(HIDDEN_PREFIX)) == 0 &&
	       strcmp(name + n - strlen(HIDDEN_SUFFIX), HIDDEN_SUFFIX) == 0;
}

/* Remove hidden files whose creators are dead: their lock is free. */
static void sweep(int dir)
{
	int fd = open_at(dir, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(d)) != NULL) {
		if (!is_hidden(entry->d_name))
			continue;
		fd = open_existing(dir, entry->d_name, O_RDWR);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && names_file(dir, entry->d_name, fd) == 1)
			unlinkat(dir, entry->d_name, 0);
		close(fd);
	}
	closedir(d);
}

/*
 * A new file under a hidden name, locked. Before the lock was there, somebody may have swept it:
 * then another one.
 */
static int new_hidden(int dir, char hidden[HIDDEN_LENGTH + 1])
{
	uint64_t random;
	int fd;

	sweep(dir);
	for (;;) {
		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return -EIO;
		snprintf(hidden, HIDDEN_LENGTH + 1, HIDDEN_PREFIX "%016" PRIx64 HIDDEN_SUFFIX,
			 random);
		fd = open_at(dir, hidden, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (fd == -EEXIST)
			continue;
		if (fd < 0)
			return fd;
		/* Without locks in this file system nobody can sweep either. */
		if ((flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) &&
		    names_file(dir, hidden, fd) == 1)
			return fd;
		close(fd);
	}
}

/* *hidden is "" for a file without a name. */
static int new_file(int dir, char hidden[HIDDEN_LENGTH + 1])
{
	int fd = open_at(dir, ".", O_TMPFILE | O_RDWR, 0600);

	hidden[0] = '\0';
	/* What kernels and file systems without O_TMPFILE say. */
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL)
		return new_hidden(dir, hidden);
	return fd;
}

/* By the file's name in /proc, for which no privilege is needed; by descriptor where that is not
 * mounted. */
static int link_nameless(int fd, const struct place *at)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, path, at->dir, at->base, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	if (errno == ENOENT && linkat(fd, "", at->dir, at->base, AT_EMPTY_PATH) == 0)
		return 0;
	return -errno;
}

static int rename_hidden(int fd, const struct place *at, const char *hidden)
{
	if (renameat2(at->dir, hidden, at->dir, at->base, RENAME_NOREPLACE) != 0) {
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		if (linkat(at->dir, hidden, at->dir, at->base, 0) != 0)
			return -errno;
		unlinkat(at->dir, hidden, 0);
	}
	flock(fd, LOCK_UN);
	return 0;
}

static int create_at(const struct place *at, const struct quoit__plan *plan, quoit__fill_fn *fill,
		     void *arg, struct quoit__segment *seg)
{
	char hidden[HIDDEN_LENGTH + 1];
	int r = check_free(at);

	if (r != 0)
		return r;
	seg->fd = new_file(at->dir, hidden);
	if (seg->fd < 0)
		return seg->fd;
	/* And not by open(), for the umask. */
	r = fchmod(seg->fd, plan->mode) == 0 ? quoit__populate_fd(seg, plan) : -errno;
	if (r == 0)
		r = fill(arg, seg);
	if (r == 0)
		r = hidden[0] != '\0' ? rename_hidden(seg->fd, at, hidden)
				      : link_nameless(seg->fd, at);
	if (r == 0)
		return 0;
	if (hidden[0] != '\0')
		unlinkat(at->dir, hidden, 0);
	quoit__segment_close(seg);
	return r;
}

static int create_file(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
		       struct quoit__segment *seg)
{
	struct place at;
	int r = find_place(seg->name.path, &at);

	if (r != 0)
		return r;
	r = create_at(&at, plan, fill, arg, seg);
	close(at.dir);
	return r;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int open_file(uint32_t timeout_ms, struct quoit__segment *seg)
{
	int r;

	(void)timeout_ms; /* never half-made */
	seg->fd = open_existing(AT_FDCWD, seg->name.path, seg->writable ? O_RDWR : O_RDONLY);
	if (seg->fd < 0)
		return seg->fd;
	r = quoit__map_fd(seg);
	if (r != 0)
		quoit__segment_close(seg);
	return r;
}

/*
 * If the ring has a semaphore set, that has to follow. It is taken for the ring's only if it has
 * had the same owner: the header could name any. Not being allowed to look is no failure.
 */
static int change_sem_set(const char *path, uid_t owner, mode_t mode, uid_t uid, gid_t gid)
{
	struct quoit__header h = {.sem_id = -1};
	struct quoit__sem_set set;
	int fd = open_existing(AT_FDCWD, path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = pread(fd, &h, sizeof(h), 0);
	close(fd);
	if (n != (ssize_t)sizeof(h) || h.magic != QUOIT__MAGIC || h.sem_id < 0 ||
	    quoit__sem_set_look(h.sem_id, &set) != 0 || set.uid != owner || set.key != 0)
		return 0;
	return quoit__sem_set_change(h.sem_id, mode, uid, gid);
}

/* A descriptor that only stands for the file: no right to read it is needed, nothing is followed.
 */
static int open_path(const char *path, uid_t *ret_owner)
{
	int fd = open_at(AT_FDCWD, path, O_PATH | O_NOFOLLOW, 0);
	struct stat st = {0};

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*ret_owner = st.st_uid;
		return fd;
	}
	close(fd);
	return S_ISLNK(st.st_mode) ? -ELOOP : -EPROTO;
}

static int chmod_file(const struct quoit__name *name, mode_t mode)
{
	uid_t owner;
	int fd = open_path(name->path, &owner), r;
	char path[32];

	if (fd < 0)
		return fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = chmod(path, mode) == 0 ? 0 : -errno;
	close(fd);
	if (r != 0)
		return r;
	return change_sem_set(name->path, owner, mode, (uid_t)-1, (gid_t)-1);
}

static int chown_file(const struct quoit__name *name, uid_t uid, gid_t gid)
{
	uid_t owner;
	int fd = open_path(name->path, &owner), r;

	if (fd < 0)
		return fd;
	r = fchownat(fd, "", uid, gid, AT_EMPTY_PATH) == 0 ? 0 : -errno;
	close(fd);
	return r == 0 ? change_sem_set(name->path, owner, (mode_t)-1, uid, gid) : r;
}

const struct quoit__backend quoit__backend_file = {
	.create = create_file,
	.open = open_file,
	.unlink = unlink_file,
	.may_unlink = may_unlink_file,
	.chmod = chmod_file,
	.chown = chown_file,
};
