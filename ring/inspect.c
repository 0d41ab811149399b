/* SPDX-License-Identifier: MIT */
/*
 * Views: opening one, and what it shows of a ring as a whole. Read-only in every sense: mapped
 * PROT_READ, no lock taken, no endpoint opened. Small images are read into memory, so that a file
 * which shrinks while it is looked at does no harm; large ones and rings are mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/guard.h"
#include "ring/heap.h"
#include "ring/view.h"

#define READ_AT_MOST    (UINT64_C(16) << 20) /* larger images are mapped */
#define COLLECT_AT_MOST 256u
#define OPEN_TIMEOUT_MS 100 /* for a System V ring in the making */

void quoit__problem(struct quoit__report *r, int severity, uint64_t offset, const char *format, ...)
{
	char text[256];
	va_list arguments;

	if (severity < r->least)
		return;
	if (severity >= QUOIT__REPAIRABLE)
		r->problems++;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (r->fn != NULL) {
		r->fn(r->arg, severity, offset, text);
		return;
	}
	if (r->count == COLLECT_AT_MOST)
		return; /* counted all the same */
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 16;
		struct quoit__finding *more = reallocarray(r->found, room, sizeof(*more));

		if (more == NULL)
			return;
		r->found = more;
		r->room = room;
	}
	r->found[r->count++] = (struct quoit__finding){severity, offset, format, strdup(text)};
}

static void ignore(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg, (void)severity, (void)offset, (void)text;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Bytes of a regular file: read if they are few, mapped if they are many, or a ring in use, which
 * is looked at where it is. */
static int load_image(struct quoit_inspect *v, int fd)
{
	uint64_t done = 0;

	if (v->live || v->size > READ_AT_MOST) {
		void *p = mmap(NULL, v->size, PROT_READ, MAP_SHARED, fd, 0);

		if (p == MAP_FAILED)
			return -errno;
		v->base = p;
		v->mapped = true;
		v->seg.guarded = quoit__guard_new();
		if (v->seg.guarded == NULL)
			return -ENOMEM;
		quoit__guard_set(v->seg.guarded, p, v->size, false);
		return 0;
	}
	v->base = aligned_alloc(4096, (v->size + 4095) & ~UINT64_C(4095));
	if (v->base == NULL)
		return -ENOMEM;
	while (done < v->size) {
		ssize_t n = pread(fd, v->base + done, v->size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	v->size = done;
	return 0;
}

/* Is this file a ring rather than a copy of one: a descriptor of a living process (memfd rings have
 * no other name), or the very file that the ring's own name leads to? */
static bool is_ring_itself(const char *path, int fd, const struct stat *st)
{
	struct quoit__header h;
	struct quoit__name name;
	struct stat named;

	if (strncmp(path, "/proc/", 6) == 0)
		return true;
	if (pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || h.magic != QUOIT__MAGIC ||
	    memchr(h.name, 0, sizeof(h.name)) == NULL || quoit__name_parse(h.name, &name) != 0 ||
	    (name.backend != QUOIT_SHM && name.backend != QUOIT_FILE))
		return false;
	return stat(name.path, &named) == 0 && named.st_dev == st->st_dev &&
	       named.st_ino == st->st_ino;
}

static int open_image(struct quoit_inspect *v, const char *path)
{
	/* O_NONBLOCK: a FIFO must not hold us up. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), r = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	v->image = true;
	if (fstat(fd, &st) != 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct quoit__header))
		r = -EPROTO;
	if (r != 0) {
		close(fd);
		return r;
	}
	v->mode = st.st_mode & 0777;
	v->uid = st.st_uid;
	v->gid = st.st_gid;
	v->size = (uint64_t)st.st_size;
	v->live = is_ring_itself(path, fd, &st);
	r = load_image(v, fd);
	v->seg.fd = fd; /* also asked for locks */
	return r;
}

static int open_ring(struct quoit_inspect *v, const char *text)
{
	struct quoit__name name;
	int r = quoit__name_parse(text, &name);

	if (r != 0)
		return r;
	r = quoit__segment_open(&name, false, OPEN_TIMEOUT_MS, &v->seg);
	if (r != 0)
		return r;
	v->base = v->seg.base;
	v->size = v->seg.size;
	v->live = true;
	return quoit__segment_stat(&v->seg, &v->mode, &v->uid, &v->gid);
}

/* Names of rings begin with their backend; anything else with a slash is a path. */
static const char *image_path(const char *name)
{
	static const char *const backends[] = {"shm:", "sysv:", "file:", "memfd:", "fd:"};

	if (strncmp(name, "image:", 6) == 0)
		return name + 6;
	for (size_t i = 0; i < sizeof(backends) / sizeof(*backends); i++)
		if (strncmp(name, backends[i], strlen(backends[i])) == 0)
			return NULL;
	return strchr(name, '/') != NULL ? name : NULL;
}

int quoit_inspect_open(const char *name, quoit_problem_fn *report, void *arg,
		       struct quoit_inspect **ret)
{
	struct quoit__report problems = {.fn = report != NULL ? report : ignore, .arg = arg};
	const char *path;
	struct quoit_inspect *v;
	int r;

	if (name == NULL || ret == NULL)
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (v == NULL)
		return -ENOMEM;
	v->seg.fd = -1;
	v->seg.shm_id = v->seg.sem_id = -1;
	path = image_path(name);
	v->name = strdup(path != NULL ? path : name);
	r = v->name == NULL ? -ENOMEM : path != NULL ? open_image(v, path) : open_ring(v, name);
	if (r == 0)
		r = quoit__view_header(v, &problems);
	if (r == 0)
		quoit_inspect_rewind(v);
	if (quoit__guard_lost(v->seg.guarded))
		r = -EBADMSG;
	if (r != 0) {
		quoit_inspect_close(v);
		return r;
	}
	*ret = v;
	return 0;
}

void quoit_inspect_close(struct quoit_inspect *v)
{
	if (v == NULL)
		return;
	if (v->seg.base != NULL)
		quoit__segment_close(&v->seg);
	if (v->image)
		quoit__guard_drop(v->seg.guarded);
	if (v->image && v->mapped)
		munmap(v->base, v->size);
	else if (v->image)
		free(v->base);
	if (v->image && v->seg.fd >= 0)
		close(v->seg.fd);
	free(v->copy);
	free(v->name);
	free(v);
}

const void *quoit_inspect_bytes(const struct quoit_inspect *v, uint64_t *ret_size)
{
	*ret_size = v->size;
	return v->base;
}

/* ---- the ring as a whole -------------------------------------------------------------------- */

int quoit_inspect_info(const struct quoit_inspect *v, struct quoit_info *ret_info)
{
	const struct quoit__header *h = &v->header;
	uint32_t size = ret_info->size;
	struct quoit_info info = {
		.size = size,
		.version = h->version,
		.kind = v->geo.kind ? v->geo.kind : h->kind,
		.wait = h->wait,
		.backend = h->backend,
		.flags = v->geo.persistent ? QUOIT_PERSISTENT : 0,
		.mode = v->mode & 0777,
		.uid = v->uid,
		.gid = v->gid,
		.peers = v->geo.peers,
		.capacity = v->geo.capacity,
		.segment_size = v->geo.segment_size,
		.slots = v->geo.slots,
		.slot_size = v->geo.slot_size,
		.max_record = v->geo.max_record,
		.created_ns = h->created_ns,
		.creator_pid = h->creator_pid,
		.sysv_id = v->seg.shm_id,
		.compat = h->compat,
		.incompat = h->incompat,
		.page_size = h->page_size,
		.heap_size = v->geo.heap_size,
		.heap_unit = (uint32_t)v->geo.heap_unit,
		.heap_share = v->geo.heap_size != 0 ? v->geo.ring_record : 0,
	};

	if (size < offsetof(struct quoit_info, name) || size > sizeof(info))
		return -EINVAL;
	if (v->seg.base != NULL) {
		mode_t mode;

		/* As they are now: the tools change them. */
		if (quoit__segment_stat(&v->seg, &mode, &info.uid, &info.gid) == 0)
			info.mode = mode & 0777;
		memcpy(info.name, v->seg.name.canonical, sizeof(info.name));
	} else if (v->live && h->backend == QUOIT_MEMFD && memchr(h->name, 0, sizeof(h->name))) {
		memcpy(info.name, h->name, sizeof(info.name)); /* better than its path in /proc */
	} else {
		snprintf(info.name, sizeof(info.name), "%s", v->name);
	}
	memcpy(info.uuid, h->uuid, sizeof(info.uuid));
	memcpy(ret_info, &info, size);
	return 0;
}

struct quoit quoit__view_ring(const struct quoit_inspect *v)
{
	return (struct quoit){.seg = v->seg,
			      .geo = v->geo,
			      .header = (struct quoit__header *)(void *)v->base,
			      .control = v->control,
			      .rows = v->rows,
			      .data = v->data,
			      .heap = v->heap,
			      .units = v->units};
}

int quoit_inspect_heap_stats(const struct quoit_inspect *v, struct quoit_heap_stats *ret_stats)
{
	struct quoit q = quoit__view_ring(v);

	if (ret_stats->size != sizeof(*ret_stats))
		return -EINVAL;
	if (v->geo.heap_size == 0)
		return -ENOTSUP;
	if (v->units == NULL)
		return -EBADMSG;
	quoit__heap_count(&q, ret_stats);
	return quoit__guard_lost(v->seg.guarded) ? -EBADMSG : 0;
}

int quoit_inspect_stats(const struct quoit_inspect *v, struct quoit_stats *ret_stats)
{
	struct quoit q = quoit__view_ring(v);
	int r;

	if (v->control == NULL || v->rows == NULL)
		return -EBADMSG;
	/* Slots that are not here cannot be asked; the hints stand as they are. */
	if (v->data == NULL || v->data_size < v->geo.capacity)
		q.geo.slots = 0;
	r = quoit_get_stats(&q, ret_stats);
	if (r == 0 && v->geo.kind == QUOIT_MPMC && q.geo.slots == 0) {
		uint64_t used = ret_stats->tail - ret_stats->head;

		ret_stats->capacity = v->geo.slots;
		ret_stats->used = used <= v->geo.slots ? used : 0;
	}
	return r;
}

/* ---- peers ---------------------------------------------------------------------------------- */

/* Does /proc call the process stopped? Only if it is the one that the row means: PIDs are those of
 * the peer's own namespace, and are used again. */
static bool is_stopped(int32_t pid, const char command[16])
{
	char path[32], line[512], *name, *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (n <= 0)
		return false;
	line[n] = 0;
	name = strchr(line, '(');
	end = strrchr(line, ')');
	if (name == NULL || end == NULL || end <= name || end[1] != ' ')
		return false;
	*end = 0;
	return (end[2] == 'T' || end[2] == 't') && strncmp(name + 1, command, 15) == 0;
}

uint32_t quoit__view_peer_state(const struct quoit_inspect *v, uint32_t row)
{
	struct sync_lock lock = {.fd = v->seg.fd, .sem_id = -1};
	char command[16];
	int held;

	if (!v->live)
		return QUOIT_PEER_UNKNOWN;
	if (lock.fd < 0)
		lock.sem_id = v->seg.sem_id;
	held = sync_lock_held(&lock, quoit__lock_index(row));
	if (held < 0)
		return QUOIT_PEER_UNKNOWN;
	if (held == 0)
		return QUOIT_PEER_DEAD;
	memcpy(command, v->rows[row].command, sizeof(command));
	command[15] = 0;
	return is_stopped(atomic_load_explicit(&v->rows[row].pid, memory_order_relaxed), command)
		       ? QUOIT_PEER_STOPPED
		       : QUOIT_PEER_ALIVE;
}

static void read_row(const struct quoit_inspect *v, uint32_t id, uint64_t tail,
		     struct quoit_peer *ret)
{
	const struct quoit__row *row = &v->rows[id];
	struct quoit_peer p = {.id = id};
	uint64_t *counters = (uint64_t *)(void *)&p.counters;

	/* Relaxed: a row that changes hands meanwhile shows a mixture, once. */
	p.role = atomic_load_explicit(&row->role, memory_order_relaxed);
	p.state = quoit__view_peer_state(v, id);
	p.pid = atomic_load_explicit(&row->pid, memory_order_relaxed);
	p.uid = atomic_load_explicit(&row->uid, memory_order_relaxed);
	p.wait = atomic_load_explicit(&row->wait, memory_order_relaxed);
	p.sleeping = atomic_load_explicit(&row->sleeping, memory_order_relaxed);
	p.opened_ns = atomic_load_explicit(&row->opened_ns, memory_order_relaxed);
	p.position = atomic_load_explicit(&row->position, memory_order_relaxed);
	if (p.role == QUOIT_ROLE_CONSUMER && (int64_t)(tail - p.position) > 0)
		p.lag = tail - p.position;
	for (size_t i = 0; i < sizeof(p.counters) / sizeof(*counters); i++)
		counters[i] = atomic_load_explicit(&row->counters[i], memory_order_relaxed);
	memcpy(p.command, row->command, sizeof(p.command));
	p.command[sizeof(p.command) - 1] = 0;
	*ret = p;
}

int quoit_inspect_peers(const struct quoit_inspect *v, struct quoit_peer *ret_peers, unsigned n)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	unsigned found = 0;
	int r = quoit_inspect_stats(v, &stats);

	if (r != 0)
		return r;
	for (uint32_t i = 0; i < v->geo.peers; i++) {
		if (atomic_load_explicit(&v->rows[i].state, memory_order_acquire) ==
		    QUOIT__ROW_FREE)
			continue;
		if (found < n)
			read_row(v, i, stats.tail, &ret_peers[found]);
		found++;
	}
	return quoit__guard_lost(v->seg.guarded) ? -EBADMSG : (int)found;
}
