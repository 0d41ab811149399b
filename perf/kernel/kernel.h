/* SPDX-License-Identifier: MIT */
/* What the kernel's mechanisms have in common. */
#ifndef PERF_KERNEL_H
#define PERF_KERNEL_H

#include "perf/perf.h"

/* A cell that carries data, one record a call. */
int perf_kernel_supports(const struct perf_cell *cell);
/* The same of mechanisms that are limited to 8 KiB, as message queues and datagrams by default. */
int perf_kernel_small(const struct perf_cell *cell);
/* A hand-over: one word, echoes only. */
int perf_handover_supports(const struct perf_cell *cell);

#define PERF_KERNEL_SYSTEM(VARIABLE, NAME, NOTE, ...)                                              \
	const struct perf_system VARIABLE = {.name = NAME,                                         \
					     .group = PERF_KERNEL,                                 \
					     .policies = 1u << PERF_BLOCK,                         \
					     .note = NOTE,                                         \
					     __VA_ARGS__}

#endif
