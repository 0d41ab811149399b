/* SPDX-License-Identifier: MIT */
/* Producer and consumer handles: opening, closing, failing, and their counters. */
#include <errno.h>
#include <stdlib.h>

#include "ring/heap.h"

#define SPIN_FIRST_NS 20000

/* A word that holds no record, for handles whose inline path must find none. */
static const uint64_t nothing;

void quoit__producer_poison(struct quoit_producer *p)
{
	/* No room, and no payload that commit would take for its own. */
	p->hot.end = p->hot.position = 0;
	p->hot.data = (unsigned char *)(uintptr_t)&nothing;
	p->hot.mask = 0;
}

void quoit__consumer_poison(struct quoit_consumer *c)
{
	c->hot.data = (unsigned char *)(uintptr_t)&nothing;
	c->hot.mask = 0;
	c->hot.position = 0;
	c->hot.shift = 63;
}

int quoit__producer_fail(struct quoit_producer *p, int error)
{
	p->ep.error = error;
	quoit__producer_poison(p);
	return error;
}

int quoit__consumer_fail(struct quoit_consumer *c, int error)
{
	c->ep.error = error;
	quoit__consumer_poison(c);
	return error;
}

int quoit_producer_open(struct quoit *q, struct quoit_producer **ret)
{
	struct quoit_producer *p;
	int r;

	if (q == NULL || ret == NULL)
		return -EINVAL;
	p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	r = quoit__endpoint_open(q, QUOIT_ROLE_PRODUCER, &p->ep);
	if (r != 0) {
		free(p);
		return r;
	}
	p->ep.spin_ns = SPIN_FIRST_NS;
	p->ep.probe_next = QUOIT__PROBE_FIRST;
	if (q->geo.kind == QUOIT_SPSC)
		r = quoit__spsc_producer_open(p);
	else
		quoit__mpmc_producer_open(p);
	if (p->ep.error != 0) /* the SIGBUS guard's */
		r = p->ep.error;
	if (r != 0) {
		quoit__endpoint_abandon(&p->ep);
		free(p);
		return r;
	}
	quoit__endpoint_opened(&p->ep);
	*ret = p;
	return 0;
}

void quoit_producer_close(struct quoit_producer *p)
{
	if (p == NULL)
		return;
	quoit__heap_close(p);
	quoit__endpoint_close(&p->ep, p->claims != 0);
	free(p);
}

int quoit_consumer_open(struct quoit *q, struct quoit_consumer **ret)
{
	struct quoit_consumer *c;
	int r;

	if (q == NULL || ret == NULL)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (c == NULL)
		return -ENOMEM;
	r = quoit__endpoint_open(q, QUOIT_ROLE_CONSUMER, &c->ep);
	if (r != 0) {
		free(c);
		return r;
	}
	c->ep.spin_ns = SPIN_FIRST_NS;
	c->ep.probe_next = QUOIT__PROBE_FIRST;
	if (q->geo.kind == QUOIT_SPSC)
		r = quoit__spsc_consumer_open(c);
	else
		quoit__mpmc_consumer_open(c);
	if (c->ep.error != 0) /* the SIGBUS guard's */
		r = c->ep.error;
	if (r != 0) {
		quoit__endpoint_abandon(&c->ep);
		free(c);
		return r;
	}
	quoit__endpoint_opened(&c->ep);
	*ret = c;
	return 0;
}

void quoit_consumer_close(struct quoit_consumer *c)
{
	if (c == NULL)
		return;
	if (c->ep.error == 0 && c->ep.ring->geo.kind == QUOIT_SPSC)
		quoit__spsc_publish_head(c);
	quoit__endpoint_close(&c->ep, c->held != 0);
	free(c);
}

static void counters_of(const struct quoit__endpoint *ep, struct quoit_counters *ret)
{
	const uint64_t *before = (const uint64_t *)(const void *)&ep->before;
	uint64_t *to = (uint64_t *)(void *)ret;

	for (size_t i = 0; i < sizeof(*ret) / 8; i++)
		to[i] = atomic_load_explicit(&ep->row->counters[i], memory_order_relaxed) -
			before[i];
}

void quoit_producer_counters(const struct quoit_producer *p, struct quoit_counters *ret)
{
	counters_of(&p->ep, ret);
}

void quoit_consumer_counters(const struct quoit_consumer *c, struct quoit_counters *ret)
{
	counters_of(&c->ep, ret);
}

uint32_t quoit_producer_id(const struct quoit_producer *p)
{
	return p->ep.id;
}

uint32_t quoit_consumer_id(const struct quoit_consumer *c)
{
	return c->ep.id;
}
