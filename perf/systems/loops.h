/* SPDX-License-Identifier: MIT */
/*
 * The loops in which every system is measured. They are forced inline into each adapter with its
 * operations and the record size as constants, so what runs is what a user of that system would
 * write: no indirect call, no copy of unknown length.
 *
 * A record is 64-bit words. The first is its sequence number (MPMC: with the producer in the upper
 * 16 bits), the last is derived from it, and in between one word of each cache line is compared
 * with the pattern that the producer's buffer was filled with; so the consumer touches every line,
 * and a lost, doubled, torn or misplaced record is noticed.
 */
#ifndef PERF_LOOPS_H
#define PERF_LOOPS_H

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "perf/perf.h"

#define PERF_INLINE static inline __attribute__((always_inline))

/* Operations. 1 or a count: done; 0: full or empty; negative: an error that ends the run. */
typedef int perf_push_fn(void *tx, const uint64_t *record);
typedef int perf_push_many_fn(void *tx, const uint64_t *records, unsigned n);
/* The next record, in buf or where it lies, or NULL. done() is called when it has been looked at.
 */
typedef const uint64_t *perf_get_fn(void *rx, uint64_t *buf);
typedef void perf_done_fn(void *rx);
/* Up to n records, one behind the other in buf. */
typedef int perf_get_many_fn(void *rx, uint64_t *buf, unsigned n);
/* Up to n records where they lie. done() lets go of them. */
typedef int perf_view_many_fn(void *rx, const uint64_t **ret, unsigned n);

struct perf_ops {
	uint32_t size;
	perf_push_fn *push;
	perf_get_fn *get;
	perf_done_fn *done; /* may be NULL */
	perf_push_many_fn *push_many;
	perf_get_many_fn *get_many; /* either of these, when push_many is there */
	perf_view_many_fn *view_many;
};

#define PERF_MIX UINT64_C(0x9e3779b97f4a7c15)

PERF_INLINE uint64_t perf_pattern(size_t word)
{
	return (word + 1) * UINT64_C(0xd6e8feb86659fd93);
}

PERF_INLINE void perf_stamp(uint64_t *record, uint32_t size, uint64_t id)
{
	record[0] = id;
	if (size > 8)
		record[size / 8 - 1] = id * PERF_MIX;
}

/* 0 if the record is as it was sent. */
PERF_INLINE uint64_t perf_damage(const uint64_t *record, uint32_t size, uint64_t id)
{
	uint64_t bad = 0;

	if (size > 8)
		bad = record[size / 8 - 1] ^ (id * PERF_MIX);
	for (uint32_t i = 8; i + 1 < size / 8; i += 8)
		bad |= record[i] ^ perf_pattern(i);
	return bad;
}

PERF_INLINE void perf_relax(enum perf_policy policy)
{
	if (policy == PERF_PAUSE)
		perf_cpu_pause();
	else if (policy == PERF_YIELD)
		sched_yield();
	else
		__asm__ volatile("" ::: "memory");
}

PERF_INLINE uint32_t perf_load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

PERF_INLINE int perf_push_wait(struct perf_side *s, const struct perf_ops *ops,
			       enum perf_policy policy, const uint64_t *record)
{
	int r;

	while ((r = ops->push(s->tx, record)) == 0)
		perf_relax(policy);
	if (r < 0)
		s->report->error = r;
	return r;
}

/*
 * Whoever ends its stream last sends one end record to each consumer: the next when the one before
 * has been seen, for a batch could hold two.
 */
PERF_INLINE void perf_end(struct perf_side *s, const struct perf_ops *ops, enum perf_policy policy,
			  uint64_t records, uint64_t sum)
{
	s->report->records = records;
	s->report->sum = sum;
	if (__atomic_add_fetch(&s->control->produced, 1, __ATOMIC_ACQ_REL) != s->cell->producers)
		return;
	perf_stamp(s->out, ops->size, PERF_END);
	for (uint32_t i = 0; i < s->cell->consumers; i++) {
		if (perf_push_wait(s, ops, policy, s->out) < 0)
			return;
		while (perf_load(&s->control->ended) <= i)
			sched_yield();
	}
}

/* The consumer's side of it. */
PERF_INLINE void perf_ended(struct perf_side *s, uint64_t records, uint64_t sum)
{
	s->report->records = records;
	s->report->sum = sum;
	__atomic_add_fetch(&s->control->ended, 1, __ATOMIC_RELEASE);
}

PERF_INLINE void perf_produce(struct perf_side *s, const struct perf_ops *ops, enum perf_kind kind,
			      enum perf_policy policy)
{
	uint64_t id = kind == PERF_MPMC ? (uint64_t)(s->index + 1) << 48 : 0;
	uint64_t first = id, sum = 0;
	/* How often to look whether it is over: rings that collapse take long for a thousand. */
	uint32_t chunk = kind == PERF_MPMC ? 8 : ops->size < 4096 ? 1024 : 64;

	while (!perf_load(&s->control->stop)) {
		for (uint32_t i = 0; i < chunk; i++) {
			perf_stamp(s->out, ops->size, ++id);
			sum += id;
			if (perf_push_wait(s, ops, policy, s->out) < 0)
				return;
		}
	}
	perf_end(s, ops, policy, id - first, sum);
}

PERF_INLINE void perf_produce_many(struct perf_side *s, const struct perf_ops *ops,
				   enum perf_kind kind, enum perf_policy policy)
{
	uint64_t id = kind == PERF_MPMC ? (uint64_t)(s->index + 1) << 48 : 0;
	uint64_t first = id, sum = 0;
	uint32_t n = s->cell->batch, words = ops->size / 8;

	while (!perf_load(&s->control->stop)) {
		for (uint32_t i = 0; i < n; i++) {
			perf_stamp(s->out + i * words, ops->size, ++id);
			sum += id;
		}
		for (uint32_t sent = 0; sent < n;) {
			int r = ops->push_many(s->tx, s->out + sent * words, n - sent);

			if (r < 0) {
				s->report->error = r;
				return;
			}
			if (r == 0)
				perf_relax(policy);
			sent += (uint32_t)r;
		}
	}
	perf_end(s, ops, policy, id - first, sum);
}

/* Returns 1 for a good record, 0 for the end of the stream, -1 for a damaged one. */
PERF_INLINE int perf_verify(struct perf_side *s, const struct perf_ops *ops, enum perf_kind kind,
			    const uint64_t *record, uint64_t expect)
{
	uint64_t id = record[0];

	if (kind == PERF_SPSC) {
		if (__builtin_expect(id == expect && perf_damage(record, ops->size, id) == 0, 1))
			return 1;
	} else if (__builtin_expect(id != PERF_END, 1)) {
		uint64_t producer = (id >> 48) - 1;

		if (producer >= PERF_SIDES_MAX || perf_damage(record, ops->size, id) != 0) {
			s->report->error = -EBADMSG;
			return -1;
		}
		s->report->disorder += id <= s->last[producer];
		s->last[producer] = id;
		return 1;
	}
	if (id == PERF_END)
		return 0;
	s->report->error = -EBADMSG;
	return -1;
}

PERF_INLINE void perf_consume(struct perf_side *s, const struct perf_ops *ops, enum perf_kind kind,
			      enum perf_policy policy)
{
	uint64_t records = 0, sum = 0;

	for (;;) {
		const uint64_t *record = ops->get(s->rx, s->in);
		uint64_t id;

		if (__builtin_expect(record == NULL, 0)) {
			if (s->report->error != 0)
				return;
			perf_relax(policy);
			continue;
		}
		id = record[0];
		if (perf_verify(s, ops, kind, record, records + 1) <= 0)
			break;
		if (ops->done)
			ops->done(s->rx);
		records++;
		sum += id;
	}
	if (ops->done)
		ops->done(s->rx);
	perf_ended(s, records, sum);
}

PERF_INLINE void perf_consume_many(struct perf_side *s, const struct perf_ops *ops,
				   enum perf_kind kind, enum perf_policy policy)
{
	const uint64_t *view[PERF_BATCH_MAX];
	uint64_t records = 0, sum = 0;
	uint32_t words = ops->size / 8;
	int more = 1;

	while (more > 0) {
		int n = ops->view_many ? ops->view_many(s->rx, view, s->cell->batch)
				       : ops->get_many(s->rx, s->in, s->cell->batch);

		if (__builtin_expect(n <= 0, 0)) {
			if (n < 0)
				s->report->error = n;
			if (s->report->error != 0)
				return;
			perf_relax(policy);
			continue;
		}
		for (int i = 0; i < n; i++) {
			const uint64_t *record =
				ops->view_many ? view[i] : s->in + (uint32_t)i * words;

			more = perf_verify(s, ops, kind, record, records + 1);
			if (__builtin_expect(more <= 0, 0))
				break;
			records++;
			sum += record[0];
		}
		if (ops->done)
			ops->done(s->rx);
	}
	perf_ended(s, records, sum);
}

PERF_INLINE const uint64_t *perf_get_wait(struct perf_side *s, const struct perf_ops *ops,
					  enum perf_policy policy)
{
	const uint64_t *record;

	while ((record = ops->get(s->rx, s->in)) == NULL) {
		if (s->report->error != 0)
			return NULL;
		perf_relax(policy);
	}
	return record;
}

PERF_INLINE void perf_ping(struct perf_side *s, const struct perf_ops *ops, enum perf_policy policy)
{
	struct perf_histogram *h = &s->control->histogram;
	uint64_t id = 0, t0 = perf_ticks(), block = t0;

	for (;;) {
		const uint64_t *record;
		uint64_t t1;
		int end = (id & 63) == 0 && perf_load(&s->control->stop);

		if (__builtin_expect(s->cell->think_ns != 0, 0)) {
			end = (int)perf_load(&s->control->stop);
			perf_idle_ns(s->cell->think_ns);
			t0 = perf_ticks();
		}
		id = end ? PERF_END : id + 1;
		perf_stamp(s->out, ops->size, id);
		if (perf_push_wait(s, ops, policy, s->out) < 0)
			return;
		if (end)
			return;
		record = perf_get_wait(s, ops, policy);
		if (record == NULL)
			return;
		if (record[0] != id || perf_damage(record, ops->size, id) != 0) {
			s->report->error = -EBADMSG;
			return;
		}
		if (ops->done)
			ops->done(s->rx);
		t1 = perf_ticks();
		perf_hist_add(h, t1 - t0);
		if (++s->report->records % PERF_BLOCK_TRIPS == 0) {
			perf_hist_add(&s->control->blocks, t1 - block);
			block = t1;
		}
		t0 = t1;
	}
}

PERF_INLINE void perf_pong(struct perf_side *s, const struct perf_ops *ops, enum perf_policy policy)
{
	uint64_t id;

	do {
		const uint64_t *record = perf_get_wait(s, ops, policy);

		if (record == NULL)
			return;
		id = record[0];
		if (perf_damage(record, ops->size, id) != 0)
			s->report->error = -EBADMSG;
		if (ops->done)
			ops->done(s->rx);
		if (id == PERF_END || s->report->error != 0)
			return;
		perf_stamp(s->out, ops->size, id);
		if (perf_push_wait(s, ops, policy, s->out) < 0)
			return;
	} while (1);
}

/*
 * Open loop: record i is due at start + i * interval, is stamped with that time, and is sent then
 * or as soon after as the system lets us. A stall delays all that were due meanwhile, and counts
 * so.
 */
PERF_INLINE void perf_schedule(struct perf_side *s, const struct perf_ops *ops,
			       enum perf_policy policy)
{
	double interval = 1e9 / s->cell->rate * perf_ticks_per_ns;
	uint64_t start = perf_ticks(), id = 0, sum = 0;

	while (!perf_load(&s->control->stop)) {
		uint64_t due = start + (uint64_t)((double)id * interval);

		while ((int64_t)(perf_ticks() - due) < 0)
			;
		id++;
		sum += id;
		s->out[1] = due;
		perf_stamp(s->out, ops->size, id);
		if (perf_push_wait(s, ops, policy, s->out) < 0)
			return;
	}
	perf_end(s, ops, policy, id, sum);
}

PERF_INLINE void perf_collect(struct perf_side *s, const struct perf_ops *ops,
			      enum perf_policy policy)
{
	struct perf_histogram *h = &s->control->histogram;
	uint64_t records = 0, sum = 0;

	for (;;) {
		const uint64_t *record = perf_get_wait(s, ops, policy);
		int64_t late;

		if (record == NULL)
			return;
		if (perf_verify(s, ops, PERF_SPSC, record, records + 1) <= 0)
			break;
		late = (int64_t)(perf_ticks() - record[1]);
		perf_hist_add(h, late > 0 ? (uint64_t)late : 0);
		if (ops->done)
			ops->done(s->rx);
		records++;
		sum += records;
	}
	perf_ended(s, records, sum);
}

PERF_INLINE void perf_run_role(struct perf_side *s, const struct perf_ops *ops, enum perf_kind kind,
			       enum perf_policy policy)
{
	switch (s->role) {
	case PERF_PRODUCE:
		if (ops->push_many && s->cell->batch > 1)
			perf_produce_many(s, ops, kind, policy);
		else
			perf_produce(s, ops, kind, policy);
		break;
	case PERF_CONSUME:
		if (ops->push_many && s->cell->batch > 1)
			perf_consume_many(s, ops, kind, policy);
		else
			perf_consume(s, ops, kind, policy);
		break;
	case PERF_PING:
		perf_ping(s, ops, policy);
		break;
	case PERF_PONG:
		perf_pong(s, ops, policy);
		break;
	case PERF_SCHEDULE:
		perf_schedule(s, ops, policy);
		break;
	case PERF_COLLECT:
		perf_collect(s, ops, policy);
		break;
	}
}

/* For systems that try: one copy of the loops for each way to wait. */
PERF_INLINE void perf_run_trying(struct perf_side *s, const struct perf_ops *ops,
				 enum perf_kind kind)
{
	if (s->cell->policy == PERF_TIGHT)
		perf_run_role(s, ops, kind, PERF_TIGHT);
	else if (s->cell->policy == PERF_PAUSE)
		perf_run_role(s, ops, kind, PERF_PAUSE);
	else
		perf_run_role(s, ops, kind, PERF_YIELD);
}

/* For systems that wait by themselves. */
PERF_INLINE void perf_run_blocking(struct perf_side *s, const struct perf_ops *ops)
{
	if (s->cell->kind == PERF_MPMC)
		perf_run_role(s, ops, PERF_MPMC, PERF_BLOCK);
	else
		perf_run_role(s, ops, PERF_SPSC, PERF_BLOCK);
}

#endif
