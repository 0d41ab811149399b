/* SPDX-License-Identifier: MIT */
/*
 * Boost.Lockfree: spsc_queue, one at a time and in arrays; queue for MPMC. Both with their capacity
 * in their type, so that they hold no pointers.
 */
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

#include "perf/systems/cplusplus.h"

template <unsigned SIZE, unsigned DEPTH>
using spsc = boost::lockfree::spsc_queue<perf_element<SIZE>, boost::lockfree::capacity<DEPTH>>;
template <unsigned SIZE, unsigned DEPTH>
using mpmc = boost::lockfree::queue<perf_element<SIZE>, boost::lockfree::capacity<DEPTH>>;

template <class Q, unsigned SIZE> struct calls {
	using T = perf_element<SIZE>;

	PERF_INLINE int push(void *tx, const uint64_t *record)
	{
		return static_cast<Q *>(tx)->push(*reinterpret_cast<const T *>(record));
	}
	PERF_INLINE const uint64_t *pop(void *rx, uint64_t *buf)
	{
		return static_cast<Q *>(rx)->pop(*reinterpret_cast<T *>(buf)) ? buf : nullptr;
	}
	PERF_INLINE int push_many(void *tx, const uint64_t *records, unsigned n)
	{
		return static_cast<int>(
			static_cast<Q *>(tx)->push(reinterpret_cast<const T *>(records), n));
	}
	PERF_INLINE int pop_many(void *rx, uint64_t *buf, unsigned n)
	{
		return static_cast<int>(static_cast<Q *>(rx)->pop(reinterpret_cast<T *>(buf), n));
	}
};

/* queue counts nodes in 16 bits; the large sizes bring nothing but compile time. */
static int boost_supports(const struct perf_cell *cell)
{
	if (!perf_template_supports(cell))
		return 0;
	return cell->kind == PERF_SPSC ||
	       (cell->batch == 1 && cell->depth == 1024 && cell->size <= 256);
}

static size_t boost_size(const struct perf_cell *cell)
{
	return perf_dispatch<size_t>(cell, [=]<unsigned SIZE, unsigned DEPTH>() -> size_t {
		if constexpr (DEPTH == 1024 && SIZE <= 256) {
			if (cell->kind == PERF_MPMC)
				return sizeof(mpmc<SIZE, DEPTH>);
		}
		return sizeof(spsc<SIZE, DEPTH>);
	});
}

static int boost_open(struct perf_context *x)
{
	for (unsigned i = 0; i < x->rings; i++) {
		perf_dispatch<int>(x->cell, [=]<unsigned SIZE, unsigned DEPTH>() {
			if constexpr (DEPTH == 1024 && SIZE <= 256) {
				if (x->cell->kind == PERF_MPMC) {
					new (x->area[i]) mpmc<SIZE, DEPTH>;
					return 0;
				}
			}
			new (x->area[i]) spsc<SIZE, DEPTH>;
			return 0;
		});
	}
	return 0;
}

static void boost_run(struct perf_side *s)
{
	perf_dispatch<int>(s->cell, [=]<unsigned SIZE, unsigned DEPTH>() {
		using one = calls<spsc<SIZE, DEPTH>, SIZE>;

		if constexpr (DEPTH == 1024 && SIZE <= 256) {
			if (s->cell->kind == PERF_MPMC) {
				using many = calls<mpmc<SIZE, DEPTH>, SIZE>;
				const struct perf_ops ops = {
					.size = SIZE, .push = many::push, .get = many::pop};

				perf_run_trying(s, &ops, PERF_MPMC);
				return 0;
			}
		}
		const struct perf_ops ops = {.size = SIZE,
					     .push = one::push,
					     .get = one::pop,
					     .push_many = one::push_many,
					     .get_many = one::pop_many};

		perf_run_trying(s, &ops, PERF_SPSC);
		return 0;
	});
}

extern "C" {
extern const struct perf_system perf_boost;

const struct perf_system perf_boost = {
	.name = "boost-lockfree",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE | 1u << PERF_YIELD,
	.note = "spsc_queue with arrays, and queue; between processes",
	.supports = boost_supports,
	.area_size = boost_size,
	.open = boost_open,
	.run = boost_run,
};
}
