/* SPDX-License-Identifier: MIT */
/*
 * What the peers of the heap's killing test do until they are killed, and the ledger in which they
 * write it down: a producer what it begins and what was committed, a consumer what it holds.
 */
#ifndef QUOIT_TESTS_CRASH_HEAP_KILL_LIFE_H
#define QUOIT_TESTS_CRASH_HEAP_KILL_LIFE_H

#include "heap_mix.h"
#include "support.h"

#define PEERS_MAX 3
#define SEQ_MAX   (1u << 24)
#define HOLD      4
#define WAITS_MAX 10 /* turns, of 100 ms at most, that a record waits for room */

static struct {
	enum quoit_kind kind;
	enum quoit_backend backend;
	unsigned peers, rounds, seconds, every;
	uint64_t seed, heap, max; /* max: 0 for some lengths that meet all ways to have a block */
	bool stop;
} options = {.kind = QUOIT_MPMC,
	     .backend = QUOIT_SHM,
	     .peers = 1,
	     .rounds = 200,
	     .every = 500,
	     .seed = 1,
	     .heap = 4 << 20};

struct producer_line {
	_Atomic uint64_t begun, committed, bytes;
	_Atomic uint64_t waits, enough; /* for room; with that many bytes free, but not together */
};
struct consumer_line {
	_Atomic uint64_t taken;
	_Atomic uint32_t held, receiving;
	uint32_t held_producer[HOLD], held_seq[HOLD];
};
struct ledger {
	_Atomic uint32_t stop;
	_Atomic uint32_t up[2 * PEERS_MAX]; /* this life has opened its endpoint */
	struct producer_line producer[PEERS_MAX];
	struct consumer_line consumer[PEERS_MAX];
	_Atomic uint8_t count[PEERS_MAX][SEQ_MAX];
	uint8_t may_miss[PEERS_MAX][SEQ_MAX], may_repeat[PEERS_MAX][SEQ_MAX]; /* the parent's */
};

static struct ledger *ledger;
static struct test_ring ring;

_Noreturn static void fail(const char *what, unsigned long long a, unsigned long long b)
{
	fprintf(stderr, "heap_kill: %s (%llu, %llu): %s, seed %llu\n", what, a, b,
		quoit_kind_name(options.kind), (unsigned long long)options.seed);
	_exit(1);
}

struct life {
	unsigned index;
	uint64_t seed;
};

/* Some for the ring, some for shared units, some for units of their own. */
static uint32_t random_len(struct life *life)
{
	static const uint32_t most[] = {40, 5000, 80000, 400000};

	if (options.max != 0)
		return mix_len(&life->seed, options.max);
	return 1 + test_random_below(&life->seed, most[test_random_below(&life->seed, 4)]);
}

static bool may_go_on(int r)
{
	return r == -EAGAIN || r == -ETIMEDOUT || r == -EINTR || r == -EOWNERDEAD;
}

/* No room: wait a little, and note whether there was enough of it in pieces. */
static void wait_for_room(struct producer_line *line, struct quoit_producer *p,
			  const struct quoit *q, uint32_t len)
{
	struct timespec deadline = quoit_deadline_ms(100);
	struct quoit_heap_stats h = {.size = sizeof(h)};
	int r;

	MUST(quoit_get_heap_stats(q, &h) == 0);
	atomic_fetch_add(&line->waits, 1);
	atomic_fetch_add(&line->enough, h.free >= len);
	r = quoit_producer_wait(p, len, &deadline);
	if (r != 0 && !may_go_on(r))
		fail("waiting for room", (unsigned long long)-r, len);
}

/* 1: it is in; 0: it was given up, or we are to stop. What a stopped reader holds may leave no
 * stretch that is long enough, for as long as it stands: who has waited some turns tries another
 * length. */
static int produce_one(struct life *life, struct quoit_producer *p, const struct quoit *q,
		       uint32_t id)
{
	struct producer_line *line = &ledger->producer[life->index];
	uint32_t len = random_len(life);
	unsigned waits = 0;
	void *payload;
	int r;

	while ((r = quoit_reserve(p, len, &payload)) != 0) {
		if (!may_go_on(r))
			fail("reserve", (unsigned long long)-r, len);
		if (atomic_load(&ledger->stop) != 0 || ++waits > WAITS_MAX)
			return 0;
		wait_for_room(line, p, q, len);
	}
	mix_fill(payload, len, id);
	if (test_random_below(&life->seed, 10) == 0) {
		if (quoit_discard(p, payload) != 0)
			fail("discard", len, 0);
		return 0;
	}
	while ((r = quoit_commit(p, payload, len, id)) == -EAGAIN) {
		if (atomic_load(&ledger->stop) != 0)
			return quoit_discard(p, payload) != 0;
		test_sleep_ms(0);
	}
	if (r != 0 && !may_go_on(r))
		fail("commit", (unsigned long long)-r, len);
	atomic_fetch_add(&line->bytes, r == 0 ? len : 0);
	return r == 0;
}

static int producer_life(void *arg)
{
	struct life *life = arg;
	struct producer_line *line = &ledger->producer[life->index];
	struct quoit_producer *p;
	struct quoit *q;

	if (quoit_attach(ring.name, NULL, &q) != 0 || quoit_producer_open(q, &p) != 0)
		fail("opening a producer", life->index, 0);
	atomic_store(&ledger->up[life->index], 1);
	while (atomic_load(&ledger->stop) == 0) {
		uint64_t seq = atomic_load(&line->committed);

		if (seq + 1 >= SEQ_MAX)
			fail("too many records", seq, 0);
		atomic_store(&line->begun, seq + 1);
		if (produce_one(life, p, q, life->index << 28 | (uint32_t)seq) == 1)
			atomic_store(&line->committed, seq + 1);
		else
			atomic_store(&line->begun, seq);
	}
	quoit_producer_close(p);
	quoit_detach(q);
	return 0;
}

static void read_record(const struct quoit_msg *msg, uint32_t *producer, uint32_t *seq)
{
	*producer = msg->type >> 28;
	*seq = msg->type & 0xfffffff;
	if (*producer >= options.peers || *seq >= SEQ_MAX)
		fail("an invented record", *producer, *seq);
	if (!mix_whole(msg->data, msg->len, msg->type))
		fail("a torn record", msg->len, msg->type);
}

static int consume_in_place(struct life *life, struct quoit_consumer *c)
{
	struct consumer_line *line = &ledger->consumer[life->index];
	struct quoit_msg msgs[HOLD];
	int k = quoit_peek_batch(c, msgs, 1 + test_random_below(&life->seed, HOLD));

	if (k <= 0)
		return k;
	for (int i = 0; i < k; i++)
		read_record(&msgs[i], &line->held_producer[i], &line->held_seq[i]);
	atomic_store(&line->held, (uint32_t)k);
	for (int i = 0; i < k; i++)
		atomic_fetch_add(&ledger->count[line->held_producer[i]][line->held_seq[i]], 1);
	if (options.kind == QUOIT_SPSC) {
		if (quoit_advance_batch(c, msgs, (unsigned)k) != 0)
			fail("advance", (unsigned)k, 0);
	} else {
		for (int i = k; i-- != 0;) /* the newest first */
			if (quoit_advance(c, &msgs[i]) != 0)
				fail("advance", (unsigned)i, 0);
	}
	atomic_store(&line->held, 0);
	atomic_fetch_add(&line->taken, (uint64_t)k);
	return k;
}

static int consume_copy(struct life *life, struct quoit_consumer *c, unsigned char *buf,
			uint32_t room)
{
	struct consumer_line *line = &ledger->consumer[life->index];
	uint32_t producer, seq;
	struct quoit_msg msg;
	int r;

	atomic_store(&line->receiving, 1);
	r = quoit_recv(c, buf, room, &msg, QUOIT_NOWAIT);
	if (r == 1) {
		read_record(&msg, &producer, &seq);
		atomic_fetch_add(&ledger->count[producer][seq], 1);
		atomic_fetch_add(&line->taken, 1);
	}
	atomic_store(&line->receiving, 0);
	return r;
}

static int consumer_life(void *arg)
{
	uint32_t room = options.max > 1 << 20 ? (uint32_t)options.max : 1 << 20;
	unsigned char *buf = malloc(room);
	struct life *life = arg;
	struct quoit_consumer *c;
	struct quoit *q;
	int r;

	if (buf == NULL || quoit_attach(ring.name, NULL, &q) != 0 ||
	    quoit_consumer_open(q, &c) != 0)
		fail("opening a consumer", life->index, 0);
	atomic_store(&ledger->up[options.peers + life->index], 1);
	do {
		struct timespec deadline = quoit_deadline_ms(100);

		r = test_random_below(&life->seed, 3) == 0 ? consume_copy(life, c, buf, room)
							   : consume_in_place(life, c);
		if (may_go_on(r)) {
			r = quoit_consumer_wait(c, &deadline);
			r = r == 0 || may_go_on(r) ? 1 : r;
		}
		if (r < 0)
			fail("a consumer's call", (unsigned long long)-r, life->index);
	} while (r != 0);
	if (atomic_load(&ledger->stop) == 0)
		fail("the stream ended before its time", life->index, 0);
	quoit_consumer_close(c);
	quoit_detach(q);
	free(buf);
	return 0;
}

#endif
