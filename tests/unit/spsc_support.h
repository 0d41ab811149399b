/* SPDX-License-Identifier: MIT */
/* What the tests of the SPSC ring share. */
#ifndef QUOIT_TESTS_SPSC_SUPPORT_H
#define QUOIT_TESTS_SPSC_SUPPORT_H

#include <criterion/criterion.h>

#include "support.h"

static inline struct test_rig spsc_rig(uint64_t capacity)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;

	opt.capacity = capacity;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	return rig;
}

#endif
