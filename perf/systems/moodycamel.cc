/* SPDX-License-Identifier: MIT */
/*
 * Cameron Desrochers' queues: ReaderWriterQueue and BlockingReaderWriterCircularBuffer for SPSC,
 * ConcurrentQueue with tokens for MPMC. They allocate from the heap and refuse shared memory, so
 * their two sides are threads. The SPSC try_ calls never allocate: the rings stay as deep as asked.
 * Those of ConcurrentQueue can starve a producer for ever once others have the blocks, so enqueue()
 * is measured, which allocates; a look at size_approx() every eighth of the depth keeps the queue
 * bounded.
 */
#include <concurrentqueue/concurrentqueue.h>
#include <readerwriterqueue/readerwritercircularbuffer.h>
#include <readerwriterqueue/readerwriterqueue.h>

#include "perf/systems/cplusplus.h"

template <unsigned SIZE> using linked = moodycamel::ReaderWriterQueue<perf_element<SIZE>>;
template <unsigned SIZE>
using circular = moodycamel::BlockingReaderWriterCircularBuffer<perf_element<SIZE>>;
template <unsigned SIZE> using concurrent = moodycamel::ConcurrentQueue<perf_element<SIZE>>;

static int supports_size(const struct perf_cell *cell)
{
	return cell->mode == PERF_COPY &&
	       (cell->size == 8 || cell->size == 64 || cell->size == 256 || cell->size == 1024 ||
		cell->size == 4096);
}

template <class F> int by_size(const struct perf_cell *cell, F f)
{
	switch (cell->size) {
	case 8:
		return f.template operator()<8>();
	case 64:
		return f.template operator()<64>();
	case 256:
		return f.template operator()<256>();
	case 1024:
		return f.template operator()<1024>();
	default:
		return f.template operator()<4096>();
	}
}

/* ---- the two for one producer and one consumer ---------------------------------------------- */

static int spsc_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->batch == 1 && supports_size(cell);
}

template <template <unsigned> class Q> struct single {
	/* The queues; two for an echo. */
	struct pair {
		void *queue[2];
	};

	template <unsigned SIZE> static void warm(Q<SIZE> *q, uint32_t depth)
	{
		perf_element<SIZE> e{};

		/* Touch all of it. */
		for (uint32_t i = 0; i < depth; i++)
			(void)q->try_enqueue(e);
		while (q->try_dequeue(e))
			;
	}
	static int open(struct perf_context *x)
	{
		pair *p = new pair{};

		x->priv = p;
		return by_size(x->cell, [=]<unsigned SIZE>() {
			for (unsigned i = 0; i < x->rings; i++)
				p->queue[i] = new Q<SIZE>(x->cell->depth);
			return 0;
		});
	}
	static void close(struct perf_context *x)
	{
		pair *p = static_cast<pair *>(x->priv);

		by_size(x->cell, [=]<unsigned SIZE>() {
			for (unsigned i = 0; i < x->rings; i++)
				delete static_cast<Q<SIZE> *>(p->queue[i]);
			return 0;
		});
		delete p;
	}
	/* The producer's thread warms the queues up, before the other thread is let near them. */
	static int enter(struct perf_side *s)
	{
		pair *p = static_cast<pair *>(s->context->priv);

		if (s->role == PERF_PRODUCE || s->role == PERF_PING || s->role == PERF_SCHEDULE) {
			by_size(s->cell, [=]<unsigned SIZE>() {
				for (unsigned i = 0; i < s->context->rings; i++)
					warm<SIZE>(static_cast<Q<SIZE> *>(p->queue[i]),
						   s->cell->depth);
				return 0;
			});
		}
		s->tx = p->queue[s->role == PERF_PONG];
		s->rx = p->queue[s->role == PERF_PING];
		return 0;
	}
	template <unsigned SIZE> PERF_INLINE int push(void *tx, const uint64_t *record)
	{
		return static_cast<Q<SIZE> *>(tx)->try_enqueue(
			*reinterpret_cast<const perf_element<SIZE> *>(record));
	}
	template <unsigned SIZE> PERF_INLINE const uint64_t *get(void *rx, uint64_t *buf)
	{
		return static_cast<Q<SIZE> *>(rx)->try_dequeue(
			       *reinterpret_cast<perf_element<SIZE> *>(buf))
			       ? buf
			       : nullptr;
	}
	static void run(struct perf_side *s)
	{
		by_size(s->cell, [=]<unsigned SIZE>() {
			const struct perf_ops ops = {
				.size = SIZE, .push = push<SIZE>, .get = get<SIZE>};

			perf_run_trying(s, &ops, PERF_SPSC);
			return 0;
		});
	}
};

/* ---- ConcurrentQueue ------------------------------------------------------------------------ */

/* One side's view. Order holds for each producer only, so the end may overtake others' records. */
template <unsigned SIZE> struct shared_end {
	concurrent<SIZE> *queue; /* the one sent to, */
	concurrent<SIZE> *from;  /* and the one received from */
	moodycamel::ProducerToken *producer;
	moodycamel::ConsumerToken *consumer;
	unsigned credit, depth; /* producer: records until the next look at the size */
	bool ended;             /* the end came; what is left comes first */
};

static int mpmc_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_MPMC && supports_size(cell) && cell->size <= 256;
}

struct shared_pair {
	void *queue[2];
};

static int mpmc_open(struct perf_context *x)
{
	shared_pair *p = new shared_pair{};

	x->priv = p;
	return by_size(x->cell, [=]<unsigned SIZE>() {
		for (unsigned i = 0; i < x->rings; i++)
			p->queue[i] = new concurrent<SIZE>(x->cell->depth, x->cell->producers, 0);
		return 0;
	});
}

static void mpmc_close(struct perf_context *x)
{
	shared_pair *p = static_cast<shared_pair *>(x->priv);

	by_size(x->cell, [=]<unsigned SIZE>() {
		for (void *queue : p->queue)
			delete static_cast<concurrent<SIZE> *>(queue);
		return 0;
	});
	delete p;
}

static int mpmc_enter(struct perf_side *s)
{
	const shared_pair *p = static_cast<shared_pair *>(s->context->priv);

	return by_size(s->cell, [=]<unsigned SIZE>() {
		auto *e = new shared_end<SIZE>{};

		e->queue = static_cast<concurrent<SIZE> *>(p->queue[s->role == PERF_PONG]);
		e->from = static_cast<concurrent<SIZE> *>(p->queue[s->role == PERF_PING]);
		e->depth = s->cell->depth;
		if (s->role != PERF_CONSUME && s->role != PERF_COLLECT)
			e->producer = new moodycamel::ProducerToken(*e->queue);
		if (s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE)
			e->consumer = new moodycamel::ConsumerToken(*e->from);
		s->tx = s->rx = e;
		return 0;
	});
}

static void mpmc_leave(struct perf_side *s)
{
	by_size(s->cell, [=]<unsigned SIZE>() {
		auto *e = static_cast<shared_end<SIZE> *>(s->tx);

		delete e->producer;
		delete e->consumer;
		delete e;
		return 0;
	});
}

/* May n more be put in? */
template <unsigned SIZE> PERF_INLINE bool mpmc_room(shared_end<SIZE> *e, unsigned n)
{
	if (__builtin_expect(e->credit < n, 0)) {
		if (e->queue->size_approx() + n > e->depth)
			return false;
		e->credit = e->depth / 8 > n ? e->depth / 8 : n;
	}
	e->credit -= n;
	return true;
}

template <unsigned SIZE> PERF_INLINE int mpmc_push(void *tx, const uint64_t *record)
{
	auto *e = static_cast<shared_end<SIZE> *>(tx);

	return mpmc_room(e, 1) &&
	       e->queue->enqueue(*e->producer,
				 *reinterpret_cast<const perf_element<SIZE> *>(record));
}

template <unsigned SIZE>
PERF_INLINE int mpmc_push_many(void *tx, const uint64_t *records, unsigned n)
{
	auto *e = static_cast<shared_end<SIZE> *>(tx);

	return mpmc_room(e, n) && e->queue->enqueue_bulk(
					  *e->producer,
					  reinterpret_cast<const perf_element<SIZE> *>(records), n)
		       ? static_cast<int>(n)
		       : 0;
}

/* Records that the end overtook are handed out before it. */
template <unsigned SIZE> PERF_INLINE int mpmc_get_many(void *rx, uint64_t *buf, unsigned n)
{
	auto *e = static_cast<shared_end<SIZE> *>(rx);
	auto *to = reinterpret_cast<perf_element<SIZE> *>(buf);
	unsigned got = static_cast<unsigned>(e->from->try_dequeue_bulk(*e->consumer, to, n));

	for (unsigned i = 0; i < got; i++) {
		if (__builtin_expect(buf[i * (SIZE / 8)] == PERF_END, 0)) {
			e->ended = true;
			memmove(&buf[i * (SIZE / 8)], &buf[(i + 1) * (SIZE / 8)],
				(got - i - 1) * SIZE);
			got--;
			break;
		}
	}
	if (got == 0 && __builtin_expect(e->ended, 0)) {
		/* Empty after the end: whatever there was, others have it. */
		if (e->from->try_dequeue(*e->consumer, *to))
			return 1;
		buf[0] = PERF_END;
		return 1;
	}
	return static_cast<int>(got);
}

template <unsigned SIZE> PERF_INLINE const uint64_t *mpmc_get(void *rx, uint64_t *buf)
{
	auto *e = static_cast<shared_end<SIZE> *>(rx);

	if (__builtin_expect(e->from->try_dequeue(*e->consumer,
						  *reinterpret_cast<perf_element<SIZE> *>(buf)),
			     1)) {
		if (__builtin_expect(buf[0] != PERF_END, 1))
			return buf;
		e->ended = true;
		return nullptr;
	}
	if (__builtin_expect(e->ended, 0)) {
		buf[0] = PERF_END;
		return buf;
	}
	return nullptr;
}

static void mpmc_run(struct perf_side *s)
{
	by_size(s->cell, [=]<unsigned SIZE>() {
		const struct perf_ops ops = {.size = SIZE,
					     .push = mpmc_push<SIZE>,
					     .get = mpmc_get<SIZE>,
					     .push_many = mpmc_push_many<SIZE>,
					     .get_many = mpmc_get_many<SIZE>};

		perf_run_trying(s, &ops, PERF_MPMC);
		return 0;
	});
}

#define ALL (1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD)
#define SINGLE(NAME, QUEUE, NOTE)                                                                  \
	{                                                                                          \
		.name = NAME, .group = PERF_PEER, .threads = 1, .policies = ALL, .note = NOTE,     \
		.supports = spsc_supports, .open = single<QUEUE>::open,                            \
		.close = single<QUEUE>::close, .enter = single<QUEUE>::enter,                      \
		.run = single<QUEUE>::run,                                                         \
	}

extern "C" {
extern const struct perf_system perf_moodycamel_linked, perf_moodycamel_circular,
	perf_moodycamel_concurrent;

const struct perf_system perf_moodycamel_linked =
	SINGLE("moodycamel-rwq", linked, "ReaderWriterQueue; SPSC, between threads only");
const struct perf_system perf_moodycamel_circular = SINGLE(
	"moodycamel-circular", circular, "ReaderWriterCircularBuffer; SPSC, between threads only");
const struct perf_system perf_moodycamel_concurrent = {
	.name = "moodycamel-mpmc",
	.group = PERF_PEER,
	.threads = 1,
	.policies = ALL,
	.note = "ConcurrentQueue with tokens, bulk; MPMC, not linearizable, between threads only",
	.supports = mpmc_supports,
	.open = mpmc_open,
	.close = mpmc_close,
	.enter = mpmc_enter,
	.leave = mpmc_leave,
	.run = mpmc_run,
};
}
