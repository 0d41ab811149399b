/* SPDX-License-Identifier: MIT */
/*
 * The soak's ledger: what its processes write down outside the ring, in memory that outlives them.
 *
 * A producer notes which numbers it is about to send, and which of them have been committed. A
 * consumer notes what it holds before it advances over it, and receives into a buffer that lies in
 * the ledger. So for every process that is killed it is known, record by record, what may be
 * missing and what may come again; there is nothing to be excused in bulk but the order of a few
 * records (see struct line, `taking`).
 */
#ifndef QUOIT_TESTS_CRASH_SOAK_H
#define QUOIT_TESTS_CRASH_SOAK_H

#include <stdalign.h>

#include "support.h"

#define SIDE_MAX  8u
#define PEERS_MAX (2 * SIDE_MAX)
#define BATCH     8u
#define LEN_MAX   640u       /* over 512: an MPMC consumer lends it while it copies */
#define LATES_MAX (1u << 22) /* some 4,000 come in a minute */

/* Faults that the soak must notice: planted in its own processes, or in the ring. */
enum sabotage {
	NONE,
	LOSE,
	TWICE,
	INVENT,
	TEAR,
	SWAP,
	LOAN,
	END,
	HANG,
	MISCOUNT,
	REAP,
	LEAK,
	DAMAGE
};

static struct {
	enum quoit_kind kind;
	enum quoit_backend backend;
	enum quoit_wait wait;      /* 0: each life draws one */
	unsigned side[2];          /* producers, consumers */
	uint32_t run_ms, renew_ms; /* renew: of each ring; 0: one for all */
	double kill_ms;            /* mean time between two strikes */
	unsigned stop_percent;     /* of the strikes */
	uint64_t seed, size;       /* size: bytes (SPSC), slots (MPMC) */
	uint64_t start;
	bool wrap; /* start: so that every ring passes the end of its positions */
	unsigned stall_ms;
	unsigned grace_s;   /* for a ring to end, after its time */
	unsigned freeze_ms; /* everybody stands still for so long, once in each ring's life */
	enum sabotage sabotage;
	bool json, quiet;
} options = {.kind = QUOIT_MPMC,
	     .backend = QUOIT_SHM,
	     .run_ms = 10000,
	     .kill_ms = 4,
	     .stop_percent = 25,
	     .stall_ms = 20000,
	     .grace_s = 120};

/* ---- the ledger ----------------------------------------------------------------------------- */

/* What a process is at: what its death counts for depends on it. */
enum phase { AWAY, OPENING, UP, CLOSING, CLOSED };

/* One producer's or consumer's line, passed on from life to life. */
struct line {
	alignas(128) _Atomic uint32_t phase;
	_Atomic uint32_t row;     /* of the peer table, while UP */
	_Atomic int64_t there_ns; /* since when it is surely there, or one of the below */
	/* Producers: numbers below `begun` may have been sent, those below `committed` have been.
	 */
	_Atomic uint64_t begun, committed;
	/* Consumers. */
	alignas(128) _Atomic uint64_t taken;
	_Atomic uint32_t receiving; /* what lies in `received` may have been taken */
	_Atomic uint32_t taking; /* loans that may come up in this call before they are noted: only
				  * the order of these is not known when the taker dies */
	_Atomic uint32_t held;   /* records on loan and noted, not advanced over yet */
	uint64_t held_record[BATCH]; /* producer << 32 | number */
	alignas(8) unsigned char received[BATCH * LEN_MAX];
};

#define COMING INT64_MAX       /* not open yet */
#define GOING  (INT64_MAX - 1) /* about to close, or to be killed */

struct ledger {
	_Atomic uint32_t settle; /* nobody leaves by himself any more */
	_Atomic uint32_t stop;   /* the stream is to end */
	_Atomic uint32_t sabotages_left;
	_Atomic uint64_t told[2];    /* deaths told to producers, to consumers */
	_Atomic uint64_t ends;       /* ends of stream and -EPIPE met in mid-stream */
	_Atomic uint64_t busy;       /* openings that had to be tried again */
	_Atomic uint64_t given_back; /* loans left to quoit_consumer_close() */
	_Atomic uint32_t lates;
	uint64_t late[LATES_MAX];    /* records that came behind a younger one of their producer */
	uint64_t salt;               /* this ring's records are not those of another */
	struct line line[PEERS_MAX]; /* producers first */
};

static struct ledger *ledger;

static inline struct line *line_of(bool producer, uint32_t index)
{
	return &ledger->line[producer ? index : options.side[0] + index];
}

/* One byte for each record. */
#define ENTRY_COUNT   0x0fu /* how often it came */
#define ENTRY_AGAIN   0x10u /* one for each reader that died holding it; 7 at most */
#define ENTRY_AGAINS  0x70u
#define ENTRY_EXCUSED 0x80u /* its producer died before commit returned, or its taker with it */

static _Atomic uint8_t *entries;
static uint64_t numbers; /* of one producer */

static inline _Atomic uint8_t *entry(uint64_t record)
{
	return &entries[(record >> 32) * numbers + (uint32_t)record];
}

/* ---- failing -------------------------------------------------------------------------------- */

/* Between the soak's first process and everybody else: the first thing that is wrong. */
struct verdict {
	_Atomic uint32_t failed;
	char why[240];
	char ring[QUOIT_NAME_MAX]; /* to be removed */
};

static struct verdict *verdict;

_Noreturn static void fail(const char *what, long long a, long long b)
{
	uint32_t none = 0;

	if (atomic_compare_exchange_strong(&verdict->failed, &none, 1))
		snprintf(verdict->why, sizeof(verdict->why), "%s (%lld, %lld)", what, a, b);
	_exit(1);
}

/* ---- records that prove themselves ---------------------------------------------------------- */

struct record {
	uint64_t number;
	uint32_t producer, len;
	uint64_t proof; /* of all before it; the body follows from it, and the record's type */
	unsigned char body[];
};

#define LEN_MIN ((uint32_t)sizeof(struct record))

static inline uint64_t record_proof(uint64_t number, uint32_t producer, uint32_t len)
{
	return test_mix(ledger->salt + test_mix(number * 16 + producer) + len);
}

/* Returns its type. */
static inline uint32_t record_fill(void *to, uint32_t len, uint32_t producer, uint64_t number)
{
	struct record r = {number, producer, len, record_proof(number, producer, len)};
	unsigned char *body = (unsigned char *)to + sizeof(r);

	memcpy(to, &r, sizeof(r));
	for (uint32_t i = 0; i < len - LEN_MIN; i++)
		body[i] = (unsigned char)(r.proof >> i % 8 * 8) ^ (unsigned char)i;
	return (uint32_t)(r.proof >> 32);
}

/* Is there a whole record within cap bytes? */
static inline bool record_read(const void *from, uint32_t cap, struct record *ret)
{
	const unsigned char *body = (const unsigned char *)from + sizeof(*ret);
	struct record r;

	if (cap < LEN_MIN)
		return false;
	memcpy(&r, from, sizeof(r));
	if (r.len < LEN_MIN || r.len > cap || r.producer >= SIDE_MAX ||
	    r.proof != record_proof(r.number, r.producer, r.len))
		return false;
	for (uint32_t i = 0; i < r.len - LEN_MIN; i++)
		if (body[i] != ((unsigned char)(r.proof >> i % 8 * 8) ^ (unsigned char)i))
			return false;
	memcpy(ret, &r, sizeof(r));
	return true;
}

/* The record that a message holds, as producer << 32 | number. */
static inline uint64_t record_of(const struct quoit_msg *msg)
{
	struct record r;

	if (!record_read(msg->data, msg->len, &r) || r.len != msg->len ||
	    msg->type != (uint32_t)(r.proof >> 32))
		fail("a torn record", msg->len, msg->type);
	if (r.producer >= options.side[0] ||
	    r.number >= atomic_load(&line_of(true, r.producer)->begun))
		fail("an invented record", r.producer, (long long)r.number);
	return (uint64_t)r.producer << 32 | r.number;
}

/* ---- one life of a producer or consumer ------------------------------------------------------ */

struct life {
	const char *ring;
	bool producer;
	uint32_t index;
	uint64_t seed;
	struct line *line;
	struct quoit *q;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	enum quoit_wait wait;
	unsigned haste;          /* 0: never rests; else rests after about so many calls */
	uint64_t leaves_after;   /* calls; 0: stays */
	uint64_t next[SIDE_MAX]; /* consumer: one past the highest number seen of each producer */
	int64_t call_ns;         /* when the call began */
};

static inline uint32_t chance(struct life *life, uint32_t n)
{
	return test_random_below(&life->seed, n);
}

/* Is this the moment to plant the fault? */
static inline bool sabotaged(enum sabotage what)
{
	uint32_t left;

	if (options.sabotage != what)
		return false;
	left = atomic_load(&ledger->sabotages_left);
	while (left != 0 && !atomic_compare_exchange_weak(&ledger->sabotages_left, &left, left - 1))
		;
	return left != 0;
}

/* Has somebody of the role been there from before our call until after it? Then the news that
 * nobody is there was false. */
static inline bool somebody_was_there(const struct life *life, bool producer)
{
	for (uint32_t i = 0; i < options.side[producer ? 0 : 1]; i++) {
		if (atomic_load(&line_of(producer, i)->there_ns) < life->call_ns)
			return true;
	}
	return false;
}

/* A call found nothing to do. Deaths and ends are told, and no reason to stop. */
static inline void not_now(struct life *life, int r)
{
	if (r == -EAGAIN || r == -ETIMEDOUT || r == -EINTR)
		return;
	if (r == -EOWNERDEAD) {
		atomic_fetch_add(&ledger->told[life->producer ? 0 : 1], 1);
		if (life->producer && somebody_was_there(life, false))
			fail("told that the last consumer died, with one there", life->index, 0);
		return;
	}
	if (r != (life->producer ? -EPIPE : 0))
		fail("a call failed", r, life->index);
	if (somebody_was_there(life, !life->producer))
		fail(life->producer ? "-EPIPE with a consumer there"
				    : "the stream ended before its time",
		     life->index, 0);
	atomic_fetch_add(&ledger->ends, 1);
	test_sleep_ms(1);
}

#endif
