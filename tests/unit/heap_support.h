/* SPDX-License-Identifier: MIT */
/* What the tests of the heap share: rings that have one, and how much of it is free. */
#ifndef QUOIT_TESTS_HEAP_SUPPORT_H
#define QUOIT_TESTS_HEAP_SUPPORT_H

#include <criterion/criterion.h>

#include "ring/heap.h"
#include "ring/slot.h"
#include "support.h"

#define UNIT ((uint32_t)QUOIT__UNIT_MIN)

static inline struct quoit_options heap_options(enum quoit_kind kind, uint64_t units)
{
	struct quoit_options o = test_options(kind);

	o.capacity = 16384;
	o.slot_size = kind == QUOIT_MPMC ? 64 : 0;
	o.peers = kind == QUOIT_MPMC ? 8 : 0;
	o.heap_size = units * UNIT;
	return o;
}

static inline struct test_rig heap_rig(enum quoit_kind kind, uint64_t units)
{
	struct quoit_options o = heap_options(kind, units);
	struct test_rig rig;

	test_rig_open(&rig, QUOIT_MEMFD, &o);
	return rig;
}

static inline struct quoit_heap_stats heap_stats(const struct quoit *q)
{
	struct quoit_heap_stats s = {.size = sizeof(s)};

	MUST(quoit_get_heap_stats(q, &s) == 0);
	cr_assert_eq(s.free + s.used + s.orphaned, s.total);
	return s;
}

/* A record that proves itself, of any length, without waiting. */
static inline int heap_put(struct quoit_producer *p, uint32_t len, uint64_t seq)
{
	uint32_t type;
	void *payload;
	int r = quoit_reserve(p, len, &payload);

	if (r != 0)
		return r;
	type = test_record_fill(payload, len, 1, seq);
	return quoit_commit(p, payload, len, type);
}

/* Is this the record that heap_put() made? */
static inline bool heap_is(const struct quoit_msg *msg, uint32_t len, uint64_t seq)
{
	uint32_t producer;
	uint64_t found;

	return msg->len == len &&
	       test_record_check(msg->data, msg->len, msg->type, &producer, &found) && found == seq;
}

/* Take the next record in place. */
static inline bool heap_take(struct quoit_consumer *c, uint32_t len, uint64_t seq)
{
	struct quoit_msg msg;

	return quoit_peek(c, &msg) == 1 && heap_is(&msg, len, seq) && quoit_advance(c, &msg) == 0;
}

static inline bool in_heap(const struct quoit *q, const void *payload)
{
	const unsigned char *at = payload;

	return at >= q->heap && at < q->heap + q->geo.heap_size;
}

/* Can the whole section be had in one piece? */
static inline bool heap_whole(struct quoit_producer *p, uint32_t units)
{
	void *payload;

	return quoit_reserve(p, units * UNIT, &payload) == 0 && quoit_discard(p, payload) == 0;
}

#endif
