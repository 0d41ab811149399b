/* SPDX-License-Identifier: MIT */
/* Children that come into a certain position and wait there to be killed. */
#ifndef QUOIT_TESTS_VICTIM_H
#define QUOIT_TESTS_VICTIM_H

#include <criterion/criterion.h>

#include "support.h"

/* What a child does before it stops to be killed. */
struct victim {
	const char *name;
	enum quoit_wait wait;
	uint64_t first, count;   /* numbers to send or to take */
	unsigned reserve;        /* then so many reservations */
	unsigned hold;           /* then so many records peeked at */
	bool block;              /* then wait for room or a record, for ever */
	_Atomic uint32_t *ready; /* then set this */
};

static inline int victim_producer(void *arg)
{
	struct victim *v = arg;
	struct quoit_producer *p;
	struct quoit *q;
	void *payload;

	CHILD_CHECK(quoit_attach(v->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(quoit_producer_set_wait(p, v->wait) == 0);
	for (uint64_t i = 0; i < v->count; i++)
		CHILD_CHECK(test_put(p, v->first + i) == 0);
	for (unsigned i = 0; i < v->reserve; i++) {
		CHILD_CHECK(quoit_reserve(p, 8, &payload) == 0);
		memset(payload, 0xff, 8);
	}
	atomic_store(v->ready, 1);
	if (v->block)
		for (uint64_t i = 0;;) {
			int result = quoit_send(p, &i, 8, 0, NULL);

			CHILD_CHECK(result == 0 || result == -EOWNERDEAD);
			i += result == 0;
		}
	for (;;)
		pause();
}

static inline int victim_consumer(void *arg)
{
	struct victim *v = arg;
	struct quoit_msg msgs[QUOIT_BATCH_MAX];
	struct quoit_consumer *c;
	struct quoit *q;
	uint64_t value;

	CHILD_CHECK(quoit_attach(v->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	CHILD_CHECK(quoit_consumer_set_wait(c, v->wait) == 0);
	for (uint64_t i = 0; i < v->count; i++) {
		CHILD_CHECK(test_take(c, &value) == 1);
		CHILD_CHECK(value == v->first + i);
	}
	if (v->hold != 0)
		CHILD_CHECK(quoit_peek_batch(c, msgs, v->hold) == (int)v->hold);
	atomic_store(v->ready, 1);
	if (v->block)
		for (;;)
			CHILD_CHECK(quoit_recv(c, &value, 8, &msgs[0], NULL) == 1);
	for (;;)
		pause();
}

/* Start a victim and wait until it has done its part. */
static inline pid_t start(int (*fn)(void *), struct victim *v)
{
	pid_t pid;

	if (v->wait == 0)
		v->wait = QUOIT_WAIT_FUTEX;
	v->ready = test_shared(4096);
	pid = test_spawn(fn, v);
	cr_assert(test_wait_flag(v->ready, 1, 5000), "the victim came into position");
	return pid;
}

static inline void start_and_kill(int (*fn)(void *), struct victim *v)
{
	test_kill(start(fn, v));
	munmap(v->ready, 4096);
}

#endif
