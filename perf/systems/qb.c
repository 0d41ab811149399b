/* SPDX-License-Identifier: MIT */
/*
 * libqb's qb_rb: a byte ring of variable-length chunks in shared memory, one writer, one reader.
 * "block" uses its semaphore; tight and pause are without, as its flag offers.
 */
#include <qb/qbrb.h>
#include <stdlib.h>

#include "perf/systems/loops.h"

struct qb_end {
	qb_ringbuffer_t *ring;
	struct perf_report *report;
	uint32_t size;
	int32_t timeout_ms;
};

struct qb_side {
	struct qb_end tx, rx;
};

static int qb_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->batch == 1;
}

static uint32_t flags_of(const struct perf_cell *cell)
{
	return QB_RB_FLAG_SHARED_PROCESS |
	       (cell->policy == PERF_BLOCK ? 0 : QB_RB_FLAG_NO_SEMAPHORE);
}

/* What qb_rb puts in front of a chunk. */
static size_t bytes_of(const struct perf_cell *cell)
{
	return (size_t)cell->depth * (cell->size + 8) + 64;
}

/* The creator's handle also keeps the ring until both sides are gone. */
static int qb_open(struct perf_context *x)
{
	qb_ringbuffer_t **rings = calloc(2, sizeof(*rings));

	if (rings == NULL)
		return -ENOMEM;
	x->priv = rings;
	for (unsigned i = 0; i < x->rings; i++) {
		rings[i] = qb_rb_open(x->name[i], bytes_of(x->cell),
				      flags_of(x->cell) | QB_RB_FLAG_CREATE, 0);
		if (rings[i] == NULL)
			return errno ? -errno : -EIO;
	}
	return 0;
}

static void qb_close(struct perf_context *x)
{
	qb_ringbuffer_t **rings = x->priv;

	for (unsigned i = 0; i < x->rings && rings; i++) {
		if (rings[i])
			qb_rb_close(rings[i]);
	}
	free(rings);
}

static int attach(struct qb_end *end, struct perf_side *s, unsigned ring)
{
	end->ring = qb_rb_open(s->context->name[ring], bytes_of(s->cell), flags_of(s->cell), 0);
	end->report = s->report;
	end->size = s->cell->size;
	end->timeout_ms = s->cell->policy == PERF_BLOCK ? -1 : 0;
	return end->ring ? 0 : errno ? -errno : -EIO;
}

static int qb_enter(struct perf_side *s)
{
	struct qb_side *q = calloc(1, sizeof(*q));
	int echo = s->role == PERF_PING || s->role == PERF_PONG;
	int error;

	if (q == NULL)
		return -ENOMEM;
	error = attach(&q->tx, s, s->role == PERF_PONG);
	if (error == 0 && echo)
		error = attach(&q->rx, s, s->role == PERF_PING);
	else
		q->rx = q->tx;
	s->tx = &q->tx;
	s->rx = &q->rx;
	return error;
}

static void qb_leave(struct perf_side *s)
{
	struct qb_side *q = s->tx;

	if (q->rx.ring != q->tx.ring)
		qb_rb_close(q->rx.ring);
	qb_rb_close(q->tx.ring);
	free(q);
}

PERF_INLINE int qb_push(void *tx, const uint64_t *record)
{
	struct qb_end *end = tx;
	ssize_t r = qb_rb_chunk_write(end->ring, record, end->size);

	if (r == (ssize_t)end->size)
		return 1;
	return r == -EAGAIN ? 0 : (int)(r < 0 ? r : -EIO);
}

PERF_INLINE const uint64_t *qb_get(void *rx, uint64_t *buf)
{
	struct qb_end *end = rx;
	ssize_t r = qb_rb_chunk_read(end->ring, buf, end->size, end->timeout_ms);

	if (r == (ssize_t)end->size)
		return buf;
	if (r < 0 && r != -ETIMEDOUT && r != -EAGAIN && r != -EINTR)
		end->report->error = (int32_t)r;
	return NULL;
}

PERF_INLINE const uint64_t *qb_view(void *rx, uint64_t *buf)
{
	struct qb_end *end = rx;
	void *data;
	ssize_t r = qb_rb_chunk_peek(end->ring, &data, end->timeout_ms);

	(void)buf;
	return r == (ssize_t)end->size ? data : NULL;
}

PERF_INLINE void qb_done(void *rx)
{
	qb_rb_chunk_reclaim(((struct qb_end *)rx)->ring);
}

static void qb_run(struct perf_side *s)
{
	const struct perf_ops copy = {.size = s->cell->size, .push = qb_push, .get = qb_get};
	const struct perf_ops inplace = {
		.size = s->cell->size, .push = qb_push, .get = qb_view, .done = qb_done};
	const struct perf_ops *ops = s->cell->mode == PERF_INPLACE ? &inplace : &copy;

	/* Calls into a library: the loops gain nothing from constants. */
	perf_run_trying(s, ops, PERF_SPSC);
}

const struct perf_system perf_qb = {
	.name = "libqb",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_BLOCK,
	.note = "qb_rb, variable-length chunks; SPSC, between processes",
	.supports = qb_supports,
	.open = qb_open,
	.close = qb_close,
	.enter = qb_enter,
	.leave = qb_leave,
	.run = qb_run,
};
