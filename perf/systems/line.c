/* SPDX-License-Identifier: MIT */
/*
 * The physical limits, in the same loops as everything else.
 *
 *   line    one word in one cache line, handed to and fro: no ring can echo faster
 *   stream  fixed pieces, each with a flag of its own: memcpy in, flag, memcpy out, flag; no index,
 * no lengths, no waiting, no liveness. What is left is the transport of the bytes at that grain
 */
#include <stdlib.h>

#include "perf/systems/loops.h"

#define LINE 128u

struct line {
	uint64_t *word;
	uint64_t seen;
};

struct line_end {
	struct line tx, rx;
};

static int line_supports(const struct perf_cell *cell)
{
	/* One word holds one record: it has no room for a second, so only echoes make sense. */
	return cell->size == 8 && cell->kind == PERF_SPSC && cell->depth == 1 &&
	       cell->mode == PERF_COPY;
}

static size_t line_size(const struct perf_cell *cell)
{
	(void)cell;
	return 4096;
}

static int line_enter(struct perf_side *s)
{
	struct line_end *end = calloc(1, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	end->tx.word = s->tx;
	end->rx.word = s->rx;
	s->tx = &end->tx;
	s->rx = &end->rx;
	return 0;
}

static void line_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE int line_push(void *tx, const uint64_t *record)
{
	struct line *l = tx;

	__atomic_store_n(l->word, record[0], __ATOMIC_RELEASE);
	return 1;
}

PERF_INLINE const uint64_t *line_get(void *rx, uint64_t *buf)
{
	struct line *l = rx;
	uint64_t v = __atomic_load_n(l->word, __ATOMIC_ACQUIRE);

	if (v == l->seen)
		return NULL;
	l->seen = v;
	buf[0] = v;
	return buf;
}

static void line_run(struct perf_side *s)
{
	static const struct perf_ops ops = {.size = 8, .push = line_push, .get = line_get};

	if (s->role != PERF_PING && s->role != PERF_PONG)
		s->report->error = -ENOTSUP;
	else
		perf_run_trying(s, &ops, PERF_SPSC);
}

const struct perf_system perf_line = {
	.name = "line",
	.group = PERF_LIMIT,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE,
	.note = "one cache line to and fro: the limit of any round trip",
	.supports = line_supports,
	.area_size = line_size,
	.enter = line_enter,
	.leave = line_leave,
	.run = line_run,
};

/* ---- stream --------------------------------------------------------------------------------- */

/* One end of a stream; the flags come first, each on lines of its own, then the pieces. */
struct stream {
	unsigned char *flags, *pieces;
	uint64_t at;
	uint32_t mask, size;
};

struct stream_end {
	struct stream tx, rx;
};

static int stream_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->batch == 1 && cell->size >= 64 &&
	       cell->depth >= 2 && (cell->depth & (cell->depth - 1)) == 0;
}

static size_t stream_size(const struct perf_cell *cell)
{
	return (size_t)cell->depth * (LINE + cell->size);
}

static void stream_init(struct stream *t, const struct perf_cell *cell, void *area)
{
	t->flags = area;
	t->pieces = t->flags + (size_t)cell->depth * LINE;
	t->mask = cell->depth - 1;
	t->size = cell->size;
}

static int stream_enter(struct perf_side *s)
{
	struct stream_end *end = calloc(1, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	stream_init(&end->tx, s->cell, s->tx);
	stream_init(&end->rx, s->cell, s->rx);
	s->tx = &end->tx;
	s->rx = &end->rx;
	return 0;
}

static void stream_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE uint32_t *stream_flag(const struct stream *t)
{
	return (uint32_t *)(void *)(t->flags + (t->at & t->mask) * (size_t)LINE);
}

PERF_INLINE void *stream_piece(const struct stream *t)
{
	return t->pieces + (t->at & t->mask) * (size_t)t->size;
}

PERF_INLINE int stream_push(void *tx, const uint64_t *record)
{
	struct stream *t = tx;

	if (__atomic_load_n(stream_flag(t), __ATOMIC_ACQUIRE) != 0)
		return 0;
	memcpy(stream_piece(t), record, t->size);
	__atomic_store_n(stream_flag(t), 1, __ATOMIC_RELEASE);
	t->at++;
	return 1;
}

PERF_INLINE const uint64_t *stream_view(void *rx, uint64_t *buf)
{
	struct stream *t = rx;

	(void)buf;
	return __atomic_load_n(stream_flag(t), __ATOMIC_ACQUIRE) ? stream_piece(t) : NULL;
}

PERF_INLINE void stream_done(void *rx)
{
	struct stream *t = rx;

	__atomic_store_n(stream_flag(t), 0, __ATOMIC_RELEASE);
	t->at++;
}

PERF_INLINE const uint64_t *stream_get(void *rx, uint64_t *buf)
{
	struct stream *t = rx;

	if (stream_view(rx, buf) == NULL)
		return NULL;
	memcpy(buf, stream_piece(t), t->size);
	stream_done(rx);
	return buf;
}

static void stream_run(struct perf_side *s)
{
	struct perf_ops ops = {.size = s->cell->size, .push = stream_push};

	if (s->cell->mode == PERF_INPLACE) {
		ops.get = stream_view;
		ops.done = stream_done;
		perf_run_trying(s, &ops, PERF_SPSC);
	} else {
		ops.get = stream_get;
		perf_run_trying(s, &ops, PERF_SPSC);
	}
}

const struct perf_system perf_stream = {
	.name = "stream",
	.group = PERF_LIMIT,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE,
	.note = "flagged pieces, memcpy only: the limit of any copying ring of that grain",
	.supports = stream_supports,
	.area_size = stream_size,
	.enter = stream_enter,
	.leave = stream_leave,
	.run = stream_run,
};
