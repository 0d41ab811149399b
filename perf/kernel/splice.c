/* SPDX-License-Identifier: MIT */
/*
 * Pages moved into a pipe instead of copied: vmsplice() of the sender's memory, splice() of a
 * memfd. The pages are not to be touched until they have been read, so the sender goes round a ring
 * of slots that is longer than the pipe can hold: a pipe has 16 buffers, each of one page or part
 * of one.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "perf/kernel/kernel.h"
#include "perf/systems/loops.h"

#define SLOTS 32u /* more than the pipe's buffers and the one being read */

struct splice_context {
	int fd[2][2]; /* pipes */
	int file;     /* memfd, or -1 for vmsplice */
};

struct splice_end {
	int out, in, file;
	unsigned char *slots;
	size_t stride, bytes;
	uint64_t at;
	uint32_t size;
	struct perf_report *report;
};

static int open_pipes(struct perf_context *x)
{
	struct splice_context *c = malloc(sizeof(*c));

	if (c == NULL)
		return -ENOMEM;
	memset(c, -1, sizeof(*c));
	x->priv = c;
	for (unsigned i = 0; i < x->rings; i++) {
		if (pipe2(c->fd[i], O_CLOEXEC) != 0)
			return -errno;
	}
	return 0;
}

static void close_pipes(struct perf_context *x)
{
	struct splice_context *c = x->priv;

	for (int i = 0; i < 4 && c; i++) {
		if (c->fd[i / 2][i % 2] >= 0)
			close(c->fd[i / 2][i % 2]);
	}
	free(c);
}

static int enter(struct perf_side *s, int by_file)
{
	const struct splice_context *c = s->context->priv;
	struct splice_end *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return -ENOMEM;
	e->out = c->fd[s->role == PERF_PONG][1];
	e->in = c->fd[s->role == PERF_PING][0];
	e->size = s->cell->size;
	e->report = s->report;
	e->stride = (e->size + 4095u) & ~(size_t)4095;
	e->bytes = e->stride * SLOTS;
	e->file = by_file ? memfd_create("quoit-perf", MFD_CLOEXEC) : -1;
	if (by_file && (e->file < 0 || ftruncate(e->file, (off_t)e->bytes) != 0))
		return -errno;
	e->slots = mmap(NULL, e->bytes, PROT_READ | PROT_WRITE,
			by_file ? MAP_SHARED | MAP_POPULATE
				: MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			e->file, 0);
	if (e->slots == MAP_FAILED)
		return -errno;
	s->tx = s->rx = e;
	return 0;
}

static int vmsplice_enter(struct perf_side *s)
{
	return enter(s, 0);
}

static int splice_enter(struct perf_side *s)
{
	return enter(s, 1);
}

static void splice_leave(struct perf_side *s)
{
	struct splice_end *e = s->tx;

	munmap(e->slots, e->bytes);
	if (e->file >= 0)
		close(e->file);
	free(e);
}

PERF_INLINE int vmsplice_push(void *tx, const uint64_t *record)
{
	struct splice_end *e = tx;
	struct iovec v = {e->slots + e->at++ % SLOTS * e->stride, e->size};

	memcpy(v.iov_base, record, e->size);
	while (v.iov_len > 0) {
		ssize_t n = vmsplice(e->out, &v, 1, 0);

		if (n < 0)
			return -errno;
		v.iov_base = (char *)v.iov_base + n;
		v.iov_len -= (size_t)n;
	}
	return 1;
}

PERF_INLINE int splice_push(void *tx, const uint64_t *record)
{
	struct splice_end *e = tx;
	off_t offset = (off_t)(e->at++ % SLOTS * e->stride);

	memcpy(e->slots + offset, record, e->size);
	for (size_t left = e->size; left > 0;) {
		ssize_t n = splice(e->file, &offset, e->out, NULL, left, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		left -= (size_t)n;
	}
	return 1;
}

PERF_INLINE const uint64_t *splice_get(void *rx, uint64_t *buf)
{
	struct splice_end *e = rx;
	char *p = (char *)buf;

	for (size_t left = e->size; left > 0;) {
		ssize_t n = read(e->in, p, left);

		if (n <= 0) {
			e->report->error = n < 0 ? -errno : -EPIPE;
			return NULL;
		}
		p += n;
		left -= (size_t)n;
	}
	return buf;
}

static void vmsplice_run(struct perf_side *s)
{
	const struct perf_ops ops = {
		.size = s->cell->size, .push = vmsplice_push, .get = splice_get};

	perf_run_blocking(s, &ops);
}

static void splice_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = splice_push, .get = splice_get};

	perf_run_blocking(s, &ops);
}

PERF_KERNEL_SYSTEM(perf_vmsplice, "vmsplice", "vmsplice(2) into a pipe, read(2) out of it",
		   .supports = perf_kernel_supports, .open = open_pipes, .close = close_pipes,
		   .enter = vmsplice_enter, .leave = splice_leave, .run = vmsplice_run);
PERF_KERNEL_SYSTEM(perf_splice, "splice", "splice(2) from a memfd into a pipe, read(2) out of it",
		   .supports = perf_kernel_supports, .open = open_pipes, .close = close_pipes,
		   .enter = splice_enter, .leave = splice_leave, .run = splice_run);
