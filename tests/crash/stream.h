/* SPDX-License-Identifier: MIT */
/*
 * A running stream for the crash tests: what its producers and consumers do, each a process, and
 * the ledger that they keep outside the ring. What a process knows to be committed, and what it
 * holds, it writes down before and after each step; its successor goes on from there. stream_run.h
 * has the parent and the reckoning. One program includes this once.
 */
#ifndef QUOIT_TESTS_CRASH_STREAM_H
#define QUOIT_TESTS_CRASH_STREAM_H

#include <stdalign.h>

#include "support.h"

#define PEERS_MAX  4
#define BATCH      8
#define RECORD_MAX 400
#define SEQ_MAX    (1u << 20) /* records of one producer in one epoch */

static struct {
	const char *program;
	enum quoit_kind kind;
	enum quoit_backend backend; /* 0: all */
	unsigned peers;             /* producers, and as many consumers */
	unsigned rounds;
	uint64_t seed, capacity, start;
	unsigned timeout_s;
	/* Not options, but where we are. */
	const char *ring;
	unsigned round;
} options = {.kind = QUOIT_SPSC,
	     .backend = QUOIT_SHM,
	     .peers = 1,
	     .rounds = 1000,
	     .seed = 1,
	     .capacity = 4096,
	     .timeout_s = 110};

/* A producer's line of the ledger, passed on from life to life. Numbers below `begun` may have been
 * sent, numbers below `committed` have been. */
struct producer_line {
	alignas(128) _Atomic uint64_t begun, committed;
	_Atomic uint32_t up; /* this life has opened its endpoint */
};

/* A consumer's line. */
struct consumer_line {
	alignas(128) _Atomic uint64_t taken;
	_Atomic uint32_t up;
	_Atomic uint32_t receiving;  /* in a call that takes before we can note it */
	_Atomic uint32_t held;       /* records looked at and noted, not advanced over yet */
	uint64_t held_record[BATCH]; /* producer << 32 | number */
};

struct ledger {
	_Atomic uint32_t stop;
	_Atomic uint64_t late, told;
	struct producer_line producer[PEERS_MAX];
	struct consumer_line consumer[PEERS_MAX];
	_Atomic uint8_t count[PEERS_MAX][SEQ_MAX]; /* how often each record came */
};

_Noreturn static void fail(const char *what, unsigned long long a, unsigned long long b)
{
	fprintf(stderr, "%s: %s (%llu, %llu): %s %s, seed %llu, round %u\n", options.program, what,
		a, b, quoit_kind_name(options.kind), options.ring, (unsigned long long)options.seed,
		options.round);
	_exit(1);
}

/* ---- a producer's life ---------------------------------------------------------------------- */

struct life {
	struct ledger *ledger;
	const char *ring;
	uint32_t index;
	uint64_t seed;
	bool receive;
	enum quoit_backend backend;
};

/* Any way to wait but spinning: that leaves the other processes too little. */
static enum quoit_wait random_wait(struct life *life)
{
	enum quoit_wait wait;

	do
		wait = test_waits[1 + test_random_below(&life->seed, TEST_COUNT(test_waits) - 1)];
	while (!test_can_wait(life->backend, wait));
	return wait;
}

/* What a call said: true if it is to be tried again later. Deaths are told, and no reason to stop.
 */
static bool try_again(struct life *life, int r)
{
	if (r == -EOWNERDEAD)
		atomic_fetch_add(&life->ledger->told, 1);
	else if (r != -EAGAIN && r != -ETIMEDOUT && r != -EINTR)
		fail("a call failed", (unsigned long long)-r, life->index);
	return true;
}

static uint32_t random_len(struct life *life)
{
	return TEST_RECORD_MIN + test_random_below(&life->seed, 56);
}

/* Copying; n records begin, some of them are in. */
static unsigned produce_copies(struct life *life, struct quoit_producer *p, uint64_t seq,
			       unsigned n)
{
	struct timespec deadline = quoit_deadline_ms(100);
	unsigned char buf[BATCH][RECORD_MAX];
	struct quoit_msg msgs[BATCH];
	int r;

	for (unsigned i = 0; i < n; i++) {
		msgs[i].data = buf[i];
		msgs[i].len = random_len(life);
		msgs[i].type = test_record_fill(buf[i], msgs[i].len, life->index, seq + i);
	}
	if (n > 1) {
		r = quoit_send_batch(p, msgs, n, &deadline);
		return r > 0 ? (unsigned)r : !try_again(life, r);
	}
	r = quoit_send(p, buf[0], msgs[0].len, msgs[0].type, &deadline);
	return r == 0 ? 1 : !try_again(life, r);
}

static unsigned produce_in_place(struct life *life, struct quoit_producer *p, uint64_t seq)
{
	struct timespec deadline = quoit_deadline_ms(100);
	uint32_t len = random_len(life), type;
	void *payload;
	int r = quoit_reserve(p, len, &payload);

	if (r != 0) {
		try_again(life, r);
		r = quoit_producer_wait(p, len, &deadline);
		return r == 0 ? 0 : !try_again(life, r);
	}
	type = test_record_fill(payload, len, life->index, seq);
	if (test_random_below(&life->seed, 8) == 0) {
		r = quoit_discard(p, payload);
		if (r != 0)
			fail("discard", (unsigned long long)-r, 0);
		return 0;
	}
	while ((r = quoit_commit(p, payload, len, type)) == -EAGAIN) {
		/* Stepped over, and no room: until there is, or the stream is to end. */
		if (atomic_load(&life->ledger->stop) != 0)
			return quoit_discard(p, payload) != 0;
		test_sleep_ms(0);
	}
	return r == 0 ? 1 : !try_again(life, r);
}

static int producer_life(void *arg)
{
	struct life *life = arg;
	struct producer_line *line = &life->ledger->producer[life->index];
	struct quoit_producer *p;
	struct quoit *q;
	int r = quoit_attach(life->ring, NULL, &q);

	if (r != 0)
		fail("attach", (unsigned long long)-r, 0);
	r = quoit_producer_open(q, &p);
	if (r != 0)
		fail("producer_open", (unsigned long long)-r, life->index);
	r = quoit_producer_set_wait(p, random_wait(life));
	if (r != 0)
		fail("set_wait", (unsigned long long)-r, 0);
	atomic_store(&line->up, 1);
	while (atomic_load(&life->ledger->stop) == 0) {
		uint64_t seq = atomic_load(&line->committed);
		unsigned n = 1, in;

		if (seq + BATCH > SEQ_MAX) {
			test_sleep_ms(1);
			continue;
		}
		if (test_random_below(&life->seed, 3) == 0)
			n = 1 + test_random_below(&life->seed, BATCH);
		atomic_store(&line->begun, seq + n);
		if (n == 1 && test_random_below(&life->seed, 2) == 0)
			in = produce_in_place(life, p, seq);
		else
			in = produce_copies(life, p, seq, n);
		/* Those that are not in will be sent again under their numbers. */
		atomic_store(&line->committed, seq + in);
		atomic_store(&line->begun, seq + in);
	}
	quoit_producer_close(p);
	quoit_detach(q);
	return 0;
}

/* ---- a consumer's life ---------------------------------------------------------------------- */

/* Note a record that came; next[] is one past the highest number of each producer in this life. */
static void note(struct life *life, uint64_t record, uint64_t *next)
{
	uint32_t producer = (uint32_t)(record >> 32), seq = (uint32_t)record;

	if (seq < next[producer])
		atomic_fetch_add(&life->ledger->late, 1);
	else
		next[producer] = seq + 1;
	atomic_fetch_add(&life->ledger->count[producer][seq], 1);
	atomic_fetch_add(&life->ledger->consumer[life->index].taken, 1);
}

static uint64_t read_record(const struct quoit_msg *msg)
{
	uint32_t producer;
	uint64_t seq;

	if (!test_record_check(msg->data, msg->len, msg->type, &producer, &seq))
		fail("a torn record", msg->len, msg->type);
	if (producer >= options.peers || seq >= SEQ_MAX)
		fail("an invented record", producer, seq);
	return (uint64_t)producer << 32 | seq;
}

/* Each returns quoit_peek()'s result, and takes what is there. */
static int consume_in_place(struct life *life, struct quoit_consumer *c, uint64_t *next)
{
	struct consumer_line *line = &life->ledger->consumer[life->index];
	unsigned n = 1 + test_random_below(&life->seed, BATCH);
	struct quoit_msg msgs[BATCH];
	int k = n == 1 ? quoit_peek(c, msgs) : quoit_peek_batch(c, msgs, n), r;

	if (k <= 0)
		return k;
	for (int i = 0; i < k; i++)
		line->held_record[i] = read_record(&msgs[i]);
	atomic_store(&line->held, (uint32_t)k);
	for (int i = 0; i < k; i++)
		note(life, line->held_record[i], next);
	r = k == 1 ? quoit_advance(c, msgs) : quoit_advance_batch(c, msgs, (unsigned)k);
	if (r != 0)
		fail("advance", (unsigned long long)-r, (unsigned long long)k);
	atomic_store(&line->held, 0);
	return k;
}

static int consume_copies(struct life *life, struct quoit_consumer *c, uint64_t *next)
{
	struct consumer_line *line = &life->ledger->consumer[life->index];
	unsigned char buf[RECORD_MAX];
	struct quoit_msg msg;
	int r;

	atomic_store(&line->receiving, 1);
	r = quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT);
	if (r == 1)
		note(life, read_record(&msg), next);
	atomic_store(&line->receiving, 0);
	return r;
}

static int consumer_life(void *arg)
{
	struct life *life = arg;
	uint64_t next[PEERS_MAX] = {0};
	struct quoit_consumer *c;
	struct quoit *q;
	int r = quoit_attach(life->ring, NULL, &q);

	if (r != 0)
		fail("attach", (unsigned long long)-r, 0);
	r = quoit_consumer_open(q, &c);
	if (r != 0)
		fail("consumer_open", (unsigned long long)-r, life->index);
	r = quoit_consumer_set_wait(c, random_wait(life));
	if (r != 0)
		fail("set_wait", (unsigned long long)-r, 0);
	atomic_store(&life->ledger->consumer[life->index].up, 1);
	for (;;) {
		struct timespec deadline = quoit_deadline_ms(100);

		if (life->receive && test_random_below(&life->seed, 2) == 0)
			r = consume_copies(life, c, next);
		else
			r = consume_in_place(life, c, next);
		if (r == 0)
			break;
		if (r > 0)
			continue;
		try_again(life, r);
		r = quoit_consumer_wait(c, &deadline);
		if (r != 0)
			try_again(life, r);
	}
	if (atomic_load(&life->ledger->stop) == 0)
		fail("the stream ended before its time", life->index, 0);
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

#endif
