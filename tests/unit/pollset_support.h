/* SPDX-License-Identifier: MIT */
/* What the tests of pollsets share: a set with rings whose other ends are in this process. */
#ifndef QUOIT_TESTS_POLLSET_SUPPORT_H
#define QUOIT_TESTS_POLLSET_SUPPORT_H

#include <criterion/criterion.h>
#include <pthread.h>

#include <quoit/pollset.h>

#include "support.h"

#define RINGS_MAX 60

/* Rings 0 to n-1: consumers are members, with their number as user; producers are ours. */
struct gang {
	struct quoit_pollset *set;
	unsigned n;
	struct test_ring ring[RINGS_MAX];
	struct quoit_producer *p[RINGS_MAX];
	struct quoit_member *m[RINGS_MAX];
};

static inline struct quoit_consumer *gang_ring(struct gang *g, enum quoit_backend backend,
					       enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);
	struct quoit_consumer *c;

	opt.capacity = 4096;
	opt.slot_size = kind == QUOIT_MPMC ? 64 : 0;
	opt.peers = kind == QUOIT_MPMC ? 8 : 0;
	test_ring_make(&g->ring[g->n], backend, &opt);
	MUST(quoit_consumer_open(g->ring[g->n].q, &c) == 0);
	g->p[g->n] = NULL;
	return c;
}

static inline void gang_join(struct gang *g, struct quoit_consumer *c)
{
	cr_assert_eq(quoit_pollset_add_consumer(g->set, c, &g->ring[g->n], &g->m[g->n]), 0);
	g->n++;
}

static inline void gang_open(struct gang *g, unsigned n, enum quoit_kind kind)
{
	memset(g, 0, sizeof(*g));
	cr_assert_eq(quoit_pollset_create(NULL, &g->set), 0);
	while (g->n < n) {
		struct quoit_consumer *c = gang_ring(g, QUOIT_SHM, kind);
		struct quoit_producer *p;

		MUST(quoit_producer_open(g->ring[g->n].q, &p) == 0);
		gang_join(g, c);
		g->p[g->n - 1] = p;
	}
}

static inline void gang_close(struct gang *g)
{
	quoit_pollset_destroy(g->set);
	for (unsigned i = 0; i < g->n; i++) {
		quoit_producer_close(g->p[i]);
		if (g->ring[i].made[0] != '\0')
			test_ring_drop(&g->ring[i]);
		else /* removed, and forgotten */
			quoit_detach(g->ring[i].q);
	}
}

/* Number of the ring that a ready member reads. */
static inline unsigned gang_number(const struct gang *g, const struct quoit_ready *r)
{
	return (unsigned)((struct test_ring *)r->user - g->ring);
}

/* Poll for a while: how many are ready. */
static inline int poll_for(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max,
			   unsigned ms)
{
	int64_t end = test_now_ns() + (int64_t)ms * 1000000;
	int n;

	do
		n = quoit_pollset_poll(set, ret, max);
	while (n == 0 && test_now_ns() < end);
	return n;
}

static inline int wait_for(struct quoit_pollset *set, struct quoit_ready *ret, unsigned max,
			   unsigned ms)
{
	struct timespec deadline = quoit_deadline_ms(ms);

	return quoit_pollset_wait(set, ret, max, &deadline);
}

/* Take everything from a ready member and give it back; how many records there were. */
static inline unsigned empty_and_done(struct quoit_pollset *set, const struct quoit_ready *r)
{
	uint64_t value;
	unsigned n = 0;

	while (test_take(r->consumer, &value) == 1)
		n++;
	cr_assert_eq(quoit_pollset_done(set, r), 0);
	return n;
}

/* Poll until all members are armed: idle, each producer's next record wakes. */
static inline void settle(struct quoit_pollset *set)
{
	struct quoit_ready r;

	for (int i = 0; i < 5000; i++)
		cr_assert_eq(quoit_pollset_poll(set, &r, 1), 0);
	cr_assert_eq(wait_for(set, &r, 1, 1), -ETIMEDOUT);
}

#endif
