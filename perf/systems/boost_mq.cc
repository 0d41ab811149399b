/* SPDX-License-Identifier: MIT */
/*
 * Boost.Interprocess message_queue: a priority queue in shared memory under an interprocess mutex
 * and conditions. Blocking, or trying with our wait between.
 */
#include <boost/interprocess/ipc/message_queue.hpp>

#include "perf/systems/cplusplus.h"

using boost::interprocess::message_queue;
namespace bi = boost::interprocess;

namespace
{
struct end {
	message_queue *queue;
	struct perf_report *report;
	uint32_t size;
};
struct ends {
	end tx, rx;
};
} // namespace

static int supports(const struct perf_cell *cell)
{
	return cell->mode == PERF_COPY && cell->batch == 1;
}

static void remove_queues(struct perf_context *x)
{
	for (unsigned i = 0; i < x->rings; i++)
		message_queue::remove(x->name[i]);
}

static int open_queues(struct perf_context *x)
{
	try {
		for (unsigned i = 0; i < x->rings; i++) {
			message_queue q(bi::create_only, x->name[i], x->cell->depth, x->cell->size);
		}
	} catch (const bi::interprocess_exception &e) {
		return e.get_native_error() ? -e.get_native_error() : -EIO;
	}
	return 0;
}

static int enter(struct perf_side *s)
{
	try {
		ends *e = new ends{};
		unsigned tx = s->role == PERF_PONG, rx = s->role == PERF_PING;

		e->tx = {new message_queue(bi::open_only, s->context->name[tx]), s->report,
			 s->cell->size};
		e->rx = {new message_queue(bi::open_only, s->context->name[rx]), s->report,
			 s->cell->size};
		s->tx = &e->tx;
		s->rx = &e->rx;
		return 0;
	} catch (const bi::interprocess_exception &e) {
		return e.get_native_error() ? -e.get_native_error() : -EIO;
	}
}

static void leave(struct perf_side *s)
{
	ends *e = reinterpret_cast<ends *>(s->tx);

	delete e->tx.queue;
	delete e->rx.queue;
	delete e;
}

PERF_INLINE int push(void *tx, const uint64_t *record)
{
	end *e = static_cast<end *>(tx);

	e->queue->send(record, e->size, 0);
	return 1;
}

PERF_INLINE int try_push(void *tx, const uint64_t *record)
{
	end *e = static_cast<end *>(tx);

	return e->queue->try_send(record, e->size, 0);
}

PERF_INLINE const uint64_t *get(void *rx, uint64_t *buf)
{
	end *e = static_cast<end *>(rx);
	message_queue::size_type size;
	unsigned priority;

	e->queue->receive(buf, e->size, size, priority);
	return buf;
}

PERF_INLINE const uint64_t *try_get(void *rx, uint64_t *buf)
{
	end *e = static_cast<end *>(rx);
	message_queue::size_type size;
	unsigned priority;

	return e->queue->try_receive(buf, e->size, size, priority) ? buf : nullptr;
}

static void run(struct perf_side *s)
{
	const struct perf_ops blocking = {.size = s->cell->size, .push = push, .get = get};
	const struct perf_ops trying = {.size = s->cell->size, .push = try_push, .get = try_get};

	if (s->cell->policy == PERF_BLOCK)
		perf_run_blocking(s, &blocking);
	else
		perf_run_trying(s, &trying, s->cell->kind);
}

extern "C" {
extern const struct perf_system perf_boost_mq;

const struct perf_system perf_boost_mq = {
	.name = "boost-message_queue",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD | 1u << PERF_BLOCK,
	.note = "Boost.Interprocess message_queue; MPMC, between processes",
	.supports = supports,
	.open = open_queues,
	.close = remove_queues,
	.enter = enter,
	.leave = leave,
	.run = run,
};
}
