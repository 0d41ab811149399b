/* SPDX-License-Identifier: MIT */
/* All systems that are built in, in the order in which they are reported. */
#include "perf/perf.h"

#define SYSTEM(name) extern const struct perf_system name;
#include "perf/systems.def"
#undef SYSTEM

const struct perf_system *const perf_systems[] = {
#define SYSTEM(name) &name,
#include "perf/systems.def"
#undef SYSTEM
	NULL,
};
