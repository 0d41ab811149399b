/* SPDX-License-Identifier: MIT */
/*
 * What the C++ adapters share: records as C++ types, and the choice among the sizes and depths that
 * the peers' templates are instantiated for. A queue with its capacity in its type is what can be
 * put into shared memory.
 */
#ifndef PERF_CPLUSPLUS_H
#define PERF_CPLUSPLUS_H

#include <new>
#include <type_traits>

#include "perf/systems/loops.h"

template <unsigned SIZE> struct perf_record {
	uint64_t word[SIZE / 8];
};

/* A record as the queues want it: 8 bytes are a plain integer. */
template <unsigned SIZE>
using perf_element = std::conditional_t<SIZE == 8, uint64_t, perf_record<SIZE>>;

static inline int perf_template_supports(const struct perf_cell *cell)
{
	if (cell->mode != PERF_COPY)
		return 0;
	switch (cell->size) {
	case 8:
	case 16: /* what a record of 8 bytes takes with its header */
	case 64:
	case 256:
	case 1024:
	case 4096:
		return cell->depth == 1024 || cell->depth == 65536;
	default:
		return 0;
	}
}

/* Calls f.template operator()<SIZE, DEPTH>() for the cell; R{} for a cell that is not supported. */
template <class R, class F> R perf_dispatch(const struct perf_cell *cell, F f)
{
	if (cell->depth == 1024) {
		switch (cell->size) {
		case 8:
			return f.template operator()<8, 1024>();
		case 16:
			return f.template operator()<16, 1024>();
		case 64:
			return f.template operator()<64, 1024>();
		case 256:
			return f.template operator()<256, 1024>();
		case 1024:
			return f.template operator()<1024, 1024>();
		case 4096:
			return f.template operator()<4096, 1024>();
		}
	} else if (cell->depth == 65536) {
		switch (cell->size) {
		case 8:
			return f.template operator()<8, 65536>();
		case 16:
			return f.template operator()<16, 65536>();
		case 64:
			return f.template operator()<64, 65536>();
		case 256:
			return f.template operator()<256, 65536>();
		case 1024:
			return f.template operator()<1024, 65536>();
		case 4096:
			return f.template operator()<4096, 65536>();
		}
	}
	return R{};
}

#endif
