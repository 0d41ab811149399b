/* SPDX-License-Identifier: MIT */
/*
 * What people write themselves: a ring under a process-shared pthread mutex. Adaptive mutexes
 * cannot be process-shared in glibc, so it is the normal one.
 */
#include <pthread.h>

#include "perf/systems/loops.h"

struct mutex_ring {
	pthread_mutex_t lock;
	uint64_t head, tail;
	uint32_t depth, size;
	_Alignas(128) unsigned char data[];
};

static int mutex_supports(const struct perf_cell *cell)
{
	return cell->mode == PERF_COPY;
}

static size_t mutex_size(const struct perf_cell *cell)
{
	return sizeof(struct mutex_ring) + (size_t)cell->depth * cell->size;
}

static int mutex_open(struct perf_context *x)
{
	pthread_mutexattr_t attr;
	int error = 0;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	for (unsigned i = 0; i < x->rings && error == 0; i++) {
		struct mutex_ring *r = x->area[i];

		r->depth = x->cell->depth;
		r->size = x->cell->size;
		error = -pthread_mutex_init(&r->lock, &attr);
	}
	pthread_mutexattr_destroy(&attr);
	return error;
}

PERF_INLINE int push_many(void *tx, const uint64_t *records, unsigned n)
{
	struct mutex_ring *r = tx;
	unsigned done = 0;

	pthread_mutex_lock(&r->lock);
	for (; done < n && r->tail - r->head < r->depth; done++, r->tail++)
		memcpy(r->data + (r->tail % r->depth) * r->size, records + done * (r->size / 8),
		       r->size);
	pthread_mutex_unlock(&r->lock);
	return (int)done;
}

PERF_INLINE int get_many(void *rx, uint64_t *buf, unsigned n)
{
	struct mutex_ring *r = rx;
	unsigned done = 0;

	pthread_mutex_lock(&r->lock);
	for (; done < n && r->head != r->tail; done++, r->head++)
		memcpy(buf + done * (r->size / 8), r->data + (r->head % r->depth) * r->size,
		       r->size);
	pthread_mutex_unlock(&r->lock);
	return (int)done;
}

PERF_INLINE int push_one(void *tx, const uint64_t *record)
{
	return push_many(tx, record, 1);
}

PERF_INLINE const uint64_t *get_one(void *rx, uint64_t *buf)
{
	return get_many(rx, buf, 1) ? buf : NULL;
}

static void mutex_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size,
				     .push = push_one,
				     .get = get_one,
				     .push_many = push_many,
				     .get_many = get_many};

	if (s->cell->kind == PERF_MPMC)
		perf_run_trying(s, &ops, PERF_MPMC);
	else
		perf_run_trying(s, &ops, PERF_SPSC);
}

const struct perf_system perf_mutex = {
	.name = "mutex-ring",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD,
	.note = "a ring under a process-shared pthread mutex, as people write it; between "
		"processes",
	.supports = mutex_supports,
	.area_size = mutex_size,
	.open = mutex_open,
	.run = mutex_run,
};
