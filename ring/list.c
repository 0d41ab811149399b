/* SPDX-License-Identifier: MIT */
/*
 * Finding the rings of this machine. There is no registry that could be stale: POSIX rings are
 * files with a known prefix, System V has the kernel's table, and rings that are plain files or
 * memfds are found in the processes that map them, as far as one may look into those.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/view.h"

#define SHM_FOLDER "/dev/shm"
#define SHM_PREFIX "quoit."

struct walk {
	int (*fn)(void *arg, const struct quoit_found *found);
	void *arg;
	struct seen {
		dev_t dev;
		ino_t ino;
	} * seen; /* files reported, or found to be no rings */
	size_t seen_count, seen_room;
};

static void note_damage(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)offset, (void)text;
	if (severity == QUOIT__CORRUPT)
		*(int *)arg = -EBADMSG;
}

static void count_peers(const struct quoit_inspect *v, struct quoit_found *f)
{
	for (uint32_t i = 0; i < v->geo.peers; i++) {
		if (atomic_load_explicit(&v->rows[i].state, memory_order_acquire) ==
		    QUOIT__ROW_FREE)
			continue;
		if (quoit__view_peer_state(v, i) == QUOIT_PEER_DEAD)
			f->dead++;
		else
			f->alive++; /* or not known to be dead */
	}
	f->stale = f->alive == 0;
}

static int report(struct walk *w, const char *name)
{
	struct quoit_found f = {.name = name};
	struct quoit_inspect *v;
	int damage = 0;

	f.info.size = sizeof(f.info);
	f.stats.size = sizeof(f.stats);
	f.status = quoit_inspect_open(name, note_damage, &damage, &v);
	if (f.status == -ENOENT || f.status == -EIDRM)
		return 0; /* gone since */
	if (f.status == 0) {
		f.status = damage;
		if (f.status == 0)
			f.status = quoit_inspect_info(v, &f.info);
		if (f.status == 0)
			f.status = quoit_inspect_stats(v, &f.stats);
		if (f.status == 0)
			count_peers(v, &f);
		quoit_inspect_close(v);
	}
	return w->fn(w->arg, &f);
}

/* ---- POSIX shared memory -------------------------------------------------------------------- */

static int list_shm(struct walk *w)
{
	size_t prefix = strlen(SHM_PREFIX);
	DIR *folder = opendir(SHM_FOLDER);
	struct dirent *e;
	int r = 0;

	if (folder == NULL)
		return 0;
	while (r == 0 && (e = readdir(folder)) != NULL) {
		char name[sizeof(e->d_name) + 8];

		if (strncmp(e->d_name, SHM_PREFIX, prefix) != 0)
			continue;
		snprintf(name, sizeof(name), "shm:%s", e->d_name + prefix);
		r = report(w, name);
	}
	closedir(folder);
	return r;
}

/* ---- System V ------------------------------------------------------------------------------- */

/* Segments do not carry a name, so the magic must say whose they are; what we may not read, we
 * cannot know to be a ring. */
static bool has_magic(int id, size_t size)
{
	uint64_t magic;
	void *p;

	if (size < sizeof(struct quoit__header))
		return false;
	p = shmat(id, NULL, SHM_RDONLY);
	if (p == (void *)-1)
		return false;
	memcpy(&magic, p, sizeof(magic));
	shmdt(p);
	return magic == QUOIT__MAGIC;
}

static int list_sysv(struct walk *w)
{
	struct shm_info info;
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info), r = 0;

	for (int i = 0; i <= last && r == 0; i++) {
		struct shmid_ds ds;
		char name[32];
		int id = shmctl(i, SHM_STAT_ANY, &ds);

		if (id < 0)
			id = shmctl(i, SHM_STAT, &ds); /* before Linux 4.17 */
		if (id < 0 || !has_magic(id, ds.shm_segsz))
			continue;
		if (ds.shm_perm.__key != IPC_PRIVATE)
			snprintf(name, sizeof(name), "sysv:0x%08x", (unsigned)ds.shm_perm.__key);
		else
			snprintf(name, sizeof(name), "sysv:#%d", id);
		r = report(w, name);
	}
	return r;
}

/* ---- files and memfds, by the processes that map them -----------------------------------------
 */

static bool seen_before(struct walk *w, const struct stat *st)
{
	for (size_t i = 0; i < w->seen_count; i++)
		if (w->seen[i].ino == st->st_ino && w->seen[i].dev == st->st_dev)
			return true;
	if (w->seen_count == w->seen_room) {
		size_t room = w->seen_room ? 2 * w->seen_room : 64;
		struct seen *more = reallocarray(w->seen, room, sizeof(*more));

		if (more == NULL)
			return true;
		w->seen = more;
		w->seen_room = room;
	}
	w->seen[w->seen_count++] = (struct seen){st->st_dev, st->st_ino};
	return false;
}

/* Inodes of files that a process maps shared, at most n; POSIX rings are found by name. */
static size_t shared_inodes(const char *pid, unsigned long *ret_inodes, size_t n)
{
	char path[32], *line = NULL;
	size_t found = 0, room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%.10s/maps", pid);
	maps = fopen(path, "re");
	if (maps == NULL)
		return 0;
	while (found < n && getline(&line, &room, maps) > 0) {
		unsigned long inode;
		char shared;
		int at = 0;

		if (sscanf(line, "%*x-%*x %*3c%c %*x %*x:%*x %lu %n", &shared, &inode, &at) != 2 ||
		    shared != 's' || inode == 0 || at == 0 || strncmp(line + at, "/dev/", 5) == 0 ||
		    strncmp(line + at, "/SYSV", 5) == 0)
			continue;
		if (found == 0 || ret_inodes[found - 1] != inode)
			ret_inodes[found++] = inode;
	}
	free(line);
	fclose(maps);
	return found;
}

/* Does this path lead to the very file? */
static bool leads_to(const char *path, const struct stat *st)
{
	struct stat named;

	return path[0] == '/' && lstat(path, &named) == 0 && named.st_ino == st->st_ino &&
	       named.st_dev == st->st_dev;
}

/* The name by which others can reach the file behind a descriptor of another process: its own, or
 * what the kernel calls it, if that is still so (it does not know names that were given by
 * linkat()); else through the descriptor. */
static void name_of(const char *pid, int folder, const char *fd, const struct stat *st,
		    const struct quoit__header *h, char *ret, size_t size)
{
	char link[QUOIT_NAME_MAX];
	ssize_t n = readlinkat(folder, fd, link, sizeof(link) - 1);

	link[n > 0 ? n : 0] = 0;
	if (strncmp(h->name, "file:", 5) == 0 && memchr(h->name, 0, sizeof(h->name)) != NULL &&
	    leads_to(h->name + 5, st))
		snprintf(ret, size, "%s", h->name);
	else if (leads_to(link, st))
		snprintf(ret, size, "file:%s", link);
	else
		snprintf(ret, size, "/proc/%.10s/fd/%.10s", pid, fd);
}

static int list_descriptor(struct walk *w, const char *pid, int folder, const char *fd,
			   const unsigned long *inodes, size_t n)
{
	char name[QUOIT_NAME_MAX + 8];
	struct quoit__header h;
	struct stat st;
	size_t i = 0;
	int file;

	if (!isdigit((unsigned char)fd[0]) || fstatat(folder, fd, &st, 0) != 0 ||
	    !S_ISREG(st.st_mode))
		return 0;
	while (i < n && inodes[i] != st.st_ino)
		i++;
	if (i == n || seen_before(w, &st))
		return 0;
	file = openat(folder, fd, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file < 0)
		return 0;
	if (pread(file, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		h.magic = 0;
	close(file);
	if (h.magic != QUOIT__MAGIC)
		return 0;
	name_of(pid, folder, fd, &st, &h, name, sizeof(name));
	return report(w, name);
}

static int list_process(struct walk *w, const char *pid)
{
	unsigned long inodes[256];
	size_t n = shared_inodes(pid, inodes, sizeof(inodes) / sizeof(*inodes));
	char path[32];
	DIR *folder;
	struct dirent *e;
	int r = 0;

	if (n == 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%.10s/fd", pid);
	folder = opendir(path);
	if (folder == NULL)
		return 0;
	while (r == 0 && (e = readdir(folder)) != NULL)
		r = list_descriptor(w, pid, dirfd(folder), e->d_name, inodes, n);
	closedir(folder);
	return r;
}

static int list_processes(struct walk *w)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = 0;

	if (proc == NULL)
		return 0;
	while (r == 0 && (e = readdir(proc)) != NULL)
		if (isdigit((unsigned char)e->d_name[0]))
			r = list_process(w, e->d_name);
	closedir(proc);
	return r;
}

int quoit_list(int (*fn)(void *arg, const struct quoit_found *found), void *arg)
{
	struct walk w = {.fn = fn, .arg = arg};
	int r;

	if (fn == NULL)
		return -EINVAL;
	r = list_shm(&w);
	if (r == 0)
		r = list_sysv(&w);
	if (r == 0)
		r = list_processes(&w);
	free(w.seen);
	return r;
}
