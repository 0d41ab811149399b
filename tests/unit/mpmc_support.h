/* SPDX-License-Identifier: MIT */
/* What the tests of the MPMC ring share: rings of numbers. */
#ifndef QUOIT_TESTS_MPMC_SUPPORT_H
#define QUOIT_TESTS_MPMC_SUPPORT_H

#include <criterion/criterion.h>

#include "support.h"

/* A ring of 8-byte slots. */
static inline struct test_rig mpmc_rig(uint64_t slots)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct test_rig rig;

	opt.slot_size = 8;
	opt.capacity = slots * 24 < 1024 ? 1024 : slots * 24;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_geq(test_info(rig.r.q).slots, slots);
	return rig;
}

static inline uint64_t number(const struct quoit_msg *msg)
{
	uint64_t value;

	cr_assert_eq(msg->len, 8);
	memcpy(&value, msg->data, 8);
	return value;
}

static inline void commit_number(struct quoit_producer *p, void *payload, uint64_t value)
{
	memcpy(payload, &value, 8);
	cr_assert_eq(quoit_commit(p, payload, 8, 0), 0);
}

#endif
