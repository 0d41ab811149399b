/* SPDX-License-Identifier: MIT */
/*
 * Records made up: load for tests and for looking at latencies. Each begins with a struct stamp if
 * it is long enough; the rest is a pattern that differs from record to record.
 */
#include "produce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
/* Records between two looks at the clock for the progress line. */
#define TICK_MASK 0xffu

struct generator {
	uint64_t source, sequence, random;
	bool stamp_time, sum;
};

/* xorshift64 by George Marsaglia: sizes only have to be mixed. */
static uint32_t next_size(const struct job *j, struct generator *g)
{
	uint32_t range = j->size_max - j->size_min;

	if (range == 0)
		return j->size_min;
	g->random ^= g->random << 13;
	g->random ^= g->random >> 7;
	g->random ^= g->random << 17;
	return j->size_min + (uint32_t)(g->random % ((uint64_t)range + 1));
}

static void make_record(const struct job *j, struct generator *g, unsigned char *p, uint32_t len,
			uint64_t index)
{
	struct stamp stamp = {.magic = STAMP_MAGIC, .source = g->source, .sequence = g->sequence};
	uint64_t word = g->sequence * GOLDEN;
	uint32_t at = 0;

	if (len >= sizeof(stamp)) {
		/* Under --rate the time it was due, so that being late ourselves counts too. */
		if (g->stamp_time)
			stamp.due_ns = (uint64_t)(j->rate != 0 ? pace_due(j, index) : now_ns());
		at = sizeof(stamp);
	}
	for (; at + 8 <= len; at += 8, word += GOLDEN)
		memcpy(p + at, &word, 8);
	memcpy(p + at, &word, len - at);
	if (len >= sizeof(stamp)) {
		memcpy(p, &stamp, sizeof(stamp));
		if (g->sum) {
			stamp.sum = stamp_sum(p, len);
			stamp.magic |= STAMP_SUM;
			memcpy(p, &stamp, sizeof(stamp));
		}
	}
	g->sequence++;
}

/* One record at a time, written where it will be read. */
static int generate_in_place(struct job *j, struct generator *g)
{
	uint64_t index;
	uint32_t len;
	void *p;
	int rc;

	while (put_left(j) != 0) {
		if (stop_signal != 0)
			return -EINTR;
		index = j->paced;
		rc = pace(j, 1);
		if (rc < 0)
			return rc;
		len = next_size(j, g);
		rc = put_reserve(j, len, &p);
		if (rc != 0)
			return rc;
		make_record(j, g, p, len, index);
		rc = put_commit(j, p, len);
		if (rc != 0)
			return rc;
		if ((g->sequence & TICK_MASK) == 0)
			report_tick(&j->report);
	}
	return 0;
}

static int generate_batches(struct job *j, struct generator *g, unsigned char *memory)
{
	struct quoit_msg msgs[QUOIT_BATCH_MAX];
	uint32_t stride = (j->size_max + 7) & ~7u;
	uint64_t index;
	int n, rc;

	while (put_left(j) != 0) {
		if (stop_signal != 0)
			return -EINTR;
		index = j->paced;
		n = pace(j, put_left(j) < j->s.batch ? (unsigned)put_left(j) : j->s.batch);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			msgs[i].data = memory + (size_t)stride * (unsigned)i;
			msgs[i].len = next_size(j, g);
			msgs[i].type = j->s.type;
			make_record(j, g, msgs[i].data, msgs[i].len, index + (unsigned)i);
		}
		rc = put_batch(j, msgs, (unsigned)n);
		if (rc != 0)
			return rc;
		report_tick(&j->report);
	}
	return 0;
}

int produce_generated(struct job *j)
{
	struct generator g = {.stamp_time = j->rate != 0 || j->s.latency, .sum = j->s.verify};
	unsigned char *memory;
	int rc;

	/* Not getrandom()'s fault is fatal: the clock will do for telling two runs apart. */
	if (getrandom(&g.source, sizeof(g.source), GRND_NONBLOCK) != sizeof(g.source))
		g.source = (uint64_t)now_ns();
	g.random = g.source | 1;
	if (j->s.batch <= 1)
		return generate_in_place(j, &g);
	memory = calloc(j->s.batch, ((size_t)j->size_max + 7) & ~(size_t)7);
	if (memory == NULL)
		return -ENOMEM;
	rc = generate_batches(j, &g, memory);
	free(memory);
	return rc;
}
