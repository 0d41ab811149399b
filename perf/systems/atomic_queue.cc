/* SPDX-License-Identifier: MIT */
/*
 * Maxim Egorushkin's atomic_queue. Its push() and pop() take a ticket and wait for the slot, tight
 * or with a pause (MAXIMIZE_THROUGHPUT); try_push() and try_pop() look first. Elements are spread
 * over cache lines to lessen contention or, "-plain", lie in order. No batches.
 */
#include <atomic_queue/atomic_queue.h>

#include "perf/systems/cplusplus.h"

template <unsigned SIZE, unsigned DEPTH, bool SPREAD, bool PAUSE, bool SPSC>
using queue_of = std::conditional_t<
	SIZE == 8, atomic_queue::AtomicQueue<uint64_t, DEPTH, 0, SPREAD, PAUSE, false, SPSC>,
	atomic_queue::AtomicQueue2<perf_element<SIZE>, DEPTH, SPREAD, PAUSE, false, SPSC>>;

template <class Q> struct calls {
	using T = typename Q::value_type;

	PERF_INLINE int push(void *tx, const uint64_t *record)
	{
		static_cast<Q *>(tx)->push(*reinterpret_cast<const T *>(record));
		return 1;
	}
	PERF_INLINE const uint64_t *pop(void *rx, uint64_t *buf)
	{
		*reinterpret_cast<T *>(buf) = static_cast<Q *>(rx)->pop();
		return buf;
	}
	PERF_INLINE int try_push(void *tx, const uint64_t *record)
	{
		return static_cast<Q *>(tx)->try_push(*reinterpret_cast<const T *>(record));
	}
	PERF_INLINE const uint64_t *try_pop(void *rx, uint64_t *buf)
	{
		return static_cast<Q *>(rx)->try_pop(*reinterpret_cast<T *>(buf)) ? buf : nullptr;
	}
};

/* One of a system's queues: the flavour fixes all but size and depth. */
template <bool SPREAD, bool PAUSE, bool SPSC, bool TRY> struct flavour {
	template <unsigned SIZE, unsigned DEPTH>
	using queue = queue_of<SIZE, DEPTH, SPREAD, PAUSE, SPSC>;

	static size_t size(const struct perf_cell *cell)
	{
		return perf_dispatch<size_t>(cell, []<unsigned SIZE, unsigned DEPTH>() {
			return sizeof(queue<SIZE, DEPTH>);
		});
	}
	static void init(const struct perf_cell *cell, void *area)
	{
		perf_dispatch<int>(cell, [=]<unsigned SIZE, unsigned DEPTH>() {
			new (area) queue<SIZE, DEPTH>;
			return 0;
		});
	}
	static void run(struct perf_side *s)
	{
		perf_dispatch<int>(s->cell, [=]<unsigned SIZE, unsigned DEPTH>() {
			using call = calls<queue<SIZE, DEPTH>>;
			constexpr enum perf_kind kind = SPSC ? PERF_SPSC : PERF_MPMC;

			if constexpr (TRY) {
				const struct perf_ops ops = {
					.size = SIZE, .push = call::try_push, .get = call::try_pop};
				perf_run_trying(s, &ops, kind);
			} else {
				const struct perf_ops ops = {
					.size = SIZE, .push = call::push, .get = call::pop};
				perf_run_role(s, &ops, kind, PERF_BLOCK);
			}
			return 0;
		});
	}
};

/* Calls f with the flavour of the cell. Waiting outside, the queue's own pause does not matter. */
template <bool SPREAD, bool TRY, class F> auto with_flavour(const struct perf_cell *cell, F f)
{
	bool spsc = cell->kind == PERF_SPSC;

	if constexpr (TRY) {
		return spsc ? f(flavour<SPREAD, true, true, true>{})
			    : f(flavour<SPREAD, true, false, true>{});
	} else {
		if (cell->policy == PERF_TIGHT)
			return spsc ? f(flavour<SPREAD, false, true, false>{})
				    : f(flavour<SPREAD, false, false, false>{});
		return spsc ? f(flavour<SPREAD, true, true, false>{})
			    : f(flavour<SPREAD, true, false, false>{});
	}
}

template <bool SPREAD, bool TRY> struct entry {
	static size_t size(const struct perf_cell *cell)
	{
		return with_flavour<SPREAD, TRY>(cell, [=](auto fl) { return fl.size(cell); });
	}
	static int open(struct perf_context *x)
	{
		for (unsigned i = 0; i < x->rings; i++) {
			with_flavour<SPREAD, TRY>(x->cell, [=](auto fl) {
				fl.init(x->cell, x->area[i]);
				return 0;
			});
		}
		return 0;
	}
	static void run(struct perf_side *s)
	{
		with_flavour<SPREAD, TRY>(s->cell, [=](auto fl) {
			fl.run(s);
			return 0;
		});
	}
};

static int supports(const struct perf_cell *cell)
{
	return cell->batch == 1 && perf_template_supports(cell);
}

/* In order, several producers' elements share lines: the authors advise against it for MPMC. */
static int plain_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && supports(cell);
}

#define OWN (1u << PERF_TIGHT | 1u << PERF_PAUSE)
#define ATOMIC_QUEUE(NAME, SPREAD, TRY, POLICIES, SUPPORTS, NOTE)                                  \
	{                                                                                          \
		.name = NAME, .group = PERF_PEER, .policies = POLICIES, .note = NOTE,              \
		.supports = SUPPORTS, .area_size = entry<SPREAD, TRY>::size,                       \
		.open = entry<SPREAD, TRY>::open, .run = entry<SPREAD, TRY>::run,                  \
	}

extern "C" {
extern const struct perf_system perf_atomic_queue, perf_atomic_queue_plain, perf_atomic_queue_try;

const struct perf_system perf_atomic_queue = ATOMIC_QUEUE(
	"atomic_queue", true, false, OWN, supports, "push/pop; SPSC and MPMC, between processes");
const struct perf_system perf_atomic_queue_plain =
	ATOMIC_QUEUE("atomic_queue-plain", false, false, OWN, plain_supports,
		     "push/pop, elements in order; SPSC, between processes");
const struct perf_system perf_atomic_queue_try =
	ATOMIC_QUEUE("atomic_queue-try", true, true, OWN | 1u << PERF_YIELD, supports,
		     "try_push/try_pop; SPSC and MPMC, between processes");
}
