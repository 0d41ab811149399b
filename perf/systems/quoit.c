/* SPDX-License-Identifier: MIT */
/*
 * quoit, called as a user calls it: the public header, the shared library, blocking calls without a
 * deadline, the ring attached to by name in each process. The policy is the ring's enum quoit_wait.
 *
 *   copy     quoit_send and quoit_recv; batches: quoit_send_batch and quoit_recv_batch
 *   inplace  quoit_reserve and quoit_commit, quoit_peek and quoit_advance; batches are sent by
 *            quoit_send_batch and read by quoit_peek_batch
 *
 * quoit-heap is the same ring with records that lie in its heap section.
 */
#include <stdio.h>
#include <stdlib.h>

#include <quoit/quoit.h>

#include "perf/systems/loops.h"

struct end {
	struct quoit *ring[2];
	struct quoit_producer *producer;
	struct quoit_consumer *consumer;
	struct perf_report *report;
	struct quoit_msg msg; /* the record being looked at */
	struct quoit_msg view[PERF_BATCH_MAX];
	struct quoit_msg sent[PERF_BATCH_MAX]; /* points at the records of the side's buffer */
	const uint64_t *out;
	int viewed;
	uint32_t size;
};

static int quoit_supports(const struct perf_cell *cell)
{
	if (cell->kind == PERF_SPSC && (cell->producers != 1 || cell->consumers != 1))
		return 0;
	return cell->batch <= QUOIT_BATCH_MAX;
}

static enum quoit_wait wait_of(enum perf_policy policy)
{
	switch (policy) {
	case PERF_SPIN:
		return QUOIT_WAIT_SPIN;
	case PERF_YIELD:
		return QUOIT_WAIT_YIELD;
	case PERF_SEM:
		return QUOIT_WAIT_SEM;
	case PERF_SYSVSEM:
		return QUOIT_WAIT_SYSVSEM;
	case PERF_EVENTFD:
		return QUOIT_WAIT_EVENTFD;
	default:
		return QUOIT_WAIT_FUTEX;
	}
}

/* System V semaphores live beside System V segments, which have keys for names. */
static void name_ring(char *name, size_t size, enum perf_policy policy)
{
	char unique[128];
	uint32_t key = 2166136261u;

	snprintf(unique, sizeof(unique), "%s", name);
	for (const char *p = unique; *p; p++)
		key = (key ^ (unsigned char)*p) * 16777619u;
	if (policy == PERF_SYSVSEM)
		snprintf(name, size, "sysv:0x%x", 0x71000000u | (key & 0xffffffu));
	else
		snprintf(name, size, "shm:%.100s", unique);
}

/* jemalloc, which has all blocks of the heap but whole units, if it is linked. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));

static int in_units(const struct perf_cell *cell)
{
	return cell->size % 65536 == 0;
}

static int heap_supports(const struct perf_cell *cell)
{
	return quoit_supports(cell) && cell->batch == 1 && (in_units(cell) || mallocx != NULL);
}

/* All records lie in the heap, `depth` of them and no more; as many more as jemalloc needs for what
 * it rounds up. */
static uint64_t heap_size(const struct perf_cell *cell)
{
	return (uint64_t)cell->depth * cell->size * (in_units(cell) ? 1 : 2);
}

/* The largest power of two, as all capacities are, in which `depth` records with their headers do
 * not fit or just fit: so that through large rings all systems move the same memory. Twice as much
 * would hold all of them, and measure the caches. */
static uint64_t spsc_capacity(const struct perf_cell *cell)
{
	uint64_t most = (uint64_t)cell->depth * (8 + cell->size), capacity = 1024;

	while (capacity * 2 <= most)
		capacity *= 2;
	return capacity;
}

static int create_ring(struct perf_context *x, unsigned i)
{
	const struct perf_cell *cell = x->cell;
	struct quoit_options opt = {.size = sizeof(opt), .flags = QUOIT_PREFAULT};
	struct quoit *q;
	int error;

	opt.wait = wait_of(cell->policy);
	if (x->system->group == PERF_HEAP) {
		opt.kind = cell->kind == PERF_MPMC ? QUOIT_MPMC : QUOIT_SPSC;
		opt.heap_size = heap_size(cell);
		opt.capacity = 1 << 16;
	} else if (cell->kind == PERF_MPMC) {
		opt.kind = QUOIT_MPMC;
		opt.slot_size = cell->size;
		opt.capacity = (uint64_t)cell->depth * (16 + cell->size);
		opt.peers = cell->producers + cell->consumers + 2;
	} else {
		opt.kind = QUOIT_SPSC;
		opt.capacity = spsc_capacity(cell);
	}
	if (opt.capacity < 1024)
		opt.capacity = 1024; /* MPMC of a few small records */
	name_ring(x->name[i], sizeof(x->name[i]), cell->policy);
	error = quoit_create(x->name[i], &opt, &q);
	if (error == 0)
		quoit_detach(q);
	return error;
}

static void quoit_close(struct perf_context *x)
{
	for (unsigned i = 0; i < x->rings; i++) {
		int error = quoit_remove(x->name[i]);

		if (error != 0 && error != -ENOENT)
			fprintf(stderr, "quoit-perf: %s: cannot remove: %s\n", x->name[i],
				quoit_strerror(error));
	}
}

static int quoit_open(struct perf_context *x)
{
	int error = 0;

	for (unsigned i = 0; i < x->rings && error == 0; i++)
		error = create_ring(x, i);
	return error;
}

static int attach(struct end *e, const struct perf_context *x, unsigned ring, int consumer)
{
	struct quoit_options opt = {.size = sizeof(opt), .flags = QUOIT_PREFAULT};
	int error = quoit_attach(x->name[ring], &opt, &e->ring[ring]);

	if (error != 0)
		return error;
	return consumer ? quoit_consumer_open(e->ring[ring], &e->consumer)
			: quoit_producer_open(e->ring[ring], &e->producer);
}

static void quoit_leave(struct perf_side *s)
{
	struct end *e = s->tx;

	quoit_producer_close(e->producer);
	quoit_consumer_close(e->consumer);
	quoit_detach(e->ring[0]);
	quoit_detach(e->ring[1]);
	free(e);
}

static int quoit_enter(struct perf_side *s)
{
	struct end *e = calloc(1, sizeof(*e));
	int sends = s->role != PERF_CONSUME && s->role != PERF_COLLECT;
	int receives = s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE;
	int error = 0;

	if (e == NULL)
		return -ENOMEM;
	e->report = s->report;
	e->size = s->cell->size;
	e->out = s->out;
	for (uint32_t i = 0; i < s->cell->batch; i++) {
		e->sent[i].data = s->out + (size_t)i * (e->size / 8);
		e->sent[i].len = e->size;
	}
	s->tx = s->rx = e;
	if (sends)
		error = attach(e, s->context, s->role == PERF_PONG, 0);
	if (error == 0 && receives)
		error = attach(e, s->context, s->role == PERF_PING, 1);
	if (error != 0)
		quoit_leave(s);
	return error;
}

/* ---- copying -------------------------------------------------------------------------------- */

PERF_INLINE int push_copy(void *tx, const uint64_t *record, uint32_t size)
{
	struct end *e = tx;
	int r = quoit_send(e->producer, record, size, 0, NULL);

	return r == 0 ? 1 : r;
}

PERF_INLINE const uint64_t *get_copy(void *rx, uint64_t *buf, uint32_t size)
{
	struct end *e = rx;
	struct quoit_msg msg;
	int r = quoit_recv(e->consumer, buf, size, &msg, NULL);

	if (r == 1 && msg.len == size)
		return buf;
	e->report->error = r < 0 ? r : r == 0 ? -EPIPE : -EBADMSG;
	return NULL;
}

PERF_INLINE int push_many(void *tx, const uint64_t *records, unsigned n)
{
	struct end *e = tx;
	unsigned from = (unsigned)((size_t)(records - e->out) / (e->size / 8));

	return quoit_send_batch(e->producer, e->sent + from, n, NULL);
}

PERF_INLINE int get_many(void *rx, uint64_t *buf, unsigned n)
{
	struct end *e = rx;
	int r = quoit_recv_batch(e->consumer, buf, (size_t)n * e->size, e->view, n, NULL);

	return r == 0 ? -EPIPE : r;
}

/* ---- in place ------------------------------------------------------------------------------- */

PERF_INLINE int push_inplace(void *tx, const uint64_t *record, uint32_t size)
{
	struct end *e = tx;
	void *payload;
	int r = quoit_reserve(e->producer, size, &payload);

	if (__builtin_expect(r != 0, 0)) {
		if (r == -EAGAIN)
			r = quoit_producer_wait(e->producer, size, NULL);
		return r;
	}
	memcpy(payload, record, size);
	while ((r = quoit_commit(e->producer, payload, size, 0)) == -EAGAIN)
		; /* MPMC, stepped over while stopped and no room: the reservation stays */
	return r == 0 ? 1 : r;
}

PERF_INLINE const uint64_t *get_inplace(void *rx, uint64_t *buf)
{
	struct end *e = rx;
	int r = quoit_peek(e->consumer, &e->msg);

	(void)buf;
	if (__builtin_expect(r == 1, 1))
		return e->msg.data;
	if (r == -EAGAIN)
		r = quoit_consumer_wait(e->consumer, NULL);
	else if (r == 0)
		r = -EPIPE;
	if (r != 0)
		e->report->error = r;
	return NULL;
}

PERF_INLINE void done_inplace(void *rx)
{
	struct end *e = rx;
	int r = quoit_advance(e->consumer, &e->msg);

	if (__builtin_expect(r != 0, 0))
		e->report->error = r;
}

PERF_INLINE int view_many(void *rx, const uint64_t **ret, unsigned n)
{
	struct end *e = rx;
	int r = quoit_peek_batch(e->consumer, e->view, n);

	if (r == -EAGAIN)
		return quoit_consumer_wait(e->consumer, NULL);
	e->viewed = r;
	for (int i = 0; i < r; i++)
		ret[i] = e->view[i].data;
	return r == 0 ? -EPIPE : r;
}

PERF_INLINE void done_many(void *rx)
{
	struct end *e = rx;
	int r = quoit_advance_batch(e->consumer, e->view, (unsigned)e->viewed);

	if (__builtin_expect(r != 0, 0))
		e->report->error = r;
}

/* ---- the loops, once for each common size --------------------------------------------------- */

#define SIZED(NAME, SIZE)                                                                          \
	PERF_INLINE int push_copy_##NAME(void *tx, const uint64_t *record)                         \
	{                                                                                          \
		struct end *e = tx;                                                                \
                                                                                                   \
		(void)e;                                                                           \
		return push_copy(tx, record, SIZE);                                                \
	}                                                                                          \
	PERF_INLINE const uint64_t *get_copy_##NAME(void *rx, uint64_t *buf)                       \
	{                                                                                          \
		struct end *e = rx;                                                                \
                                                                                                   \
		(void)e;                                                                           \
		return get_copy(rx, buf, SIZE);                                                    \
	}                                                                                          \
	PERF_INLINE int push_inplace_##NAME(void *tx, const uint64_t *record)                      \
	{                                                                                          \
		struct end *e = tx;                                                                \
                                                                                                   \
		(void)e;                                                                           \
		return push_inplace(tx, record, SIZE);                                             \
	}                                                                                          \
	static void run_##NAME(struct perf_side *s)                                                \
	{                                                                                          \
		struct end *e = s->tx;                                                             \
		const struct perf_ops copy = {                                                     \
			.size = SIZE, .push = push_copy_##NAME, .get = get_copy_##NAME};           \
		const struct perf_ops inplace = {.size = SIZE,                                     \
						 .push = push_inplace_##NAME,                      \
						 .get = get_inplace,                               \
						 .done = done_inplace};                            \
                                                                                                   \
		(void)e;                                                                           \
		if (s->cell->mode == PERF_INPLACE)                                                 \
			perf_run_blocking(s, &inplace);                                            \
		else                                                                               \
			perf_run_blocking(s, &copy);                                               \
	}

SIZED(8, 8)
SIZED(64, 64)
SIZED(256, 256)
SIZED(1024, 1024)
SIZED(4096, 4096)
SIZED(any, e->size)

static void run_many(struct perf_side *s)
{
	const struct perf_ops copy = {.size = s->cell->size,
				      .push = push_copy_any,
				      .get = get_copy_any,
				      .push_many = push_many,
				      .get_many = get_many};
	const struct perf_ops inplace = {.size = s->cell->size,
					 .push = push_inplace_any,
					 .get = get_inplace,
					 .done = done_many,
					 .push_many = push_many,
					 .view_many = view_many};

	if (s->cell->mode == PERF_INPLACE)
		perf_run_blocking(s, &inplace);
	else
		perf_run_blocking(s, &copy);
}

static void count(struct perf_side *s)
{
	struct end *e = s->tx;
	struct quoit_counters c;

	if (e->producer) {
		quoit_producer_counters(e->producer, &c);
		s->report->sleeps += c.sleeps;
		s->report->wakes += c.wakes;
	}
	if (e->consumer) {
		quoit_consumer_counters(e->consumer, &c);
		s->report->sleeps += c.sleeps;
		s->report->wakes += c.wakes;
	}
}

static void quoit_run(struct perf_side *s)
{
	if (s->cell->batch > 1)
		run_many(s);
	else if (s->cell->size == 8)
		run_8(s);
	else if (s->cell->size == 64)
		run_64(s);
	else if (s->cell->size == 256)
		run_256(s);
	else if (s->cell->size == 1024)
		run_1024(s);
	else if (s->cell->size == 4096)
		run_4096(s);
	else
		run_any(s);
	count(s);
}

const struct perf_system perf_quoit = {
	.name = "quoit",
	.group = PERF_QUOIT,
	.policies = 1u << PERF_SPIN | 1u << PERF_FUTEX | 1u << PERF_YIELD | 1u << PERF_SEM |
		    1u << PERF_SYSVSEM | 1u << PERF_EVENTFD,
	.note = "this library; records of any length, between processes",
	.supports = quoit_supports,
	.open = quoit_open,
	.close = quoit_close,
	.enter = quoit_enter,
	.leave = quoit_leave,
	.run = quoit_run,
};

const struct perf_system perf_quoit_heap = {
	.name = "quoit-heap",
	.group = PERF_HEAP,
	.policies = 1u << PERF_SPIN | 1u << PERF_FUTEX | 1u << PERF_YIELD | 1u << PERF_SEM |
		    1u << PERF_SYSVSEM | 1u << PERF_EVENTFD,
	.note = "this library; records in the heap section",
	.supports = heap_supports,
	.open = quoit_open,
	.close = quoit_close,
	.enter = quoit_enter,
	.leave = quoit_leave,
	.run = quoit_run,
};
