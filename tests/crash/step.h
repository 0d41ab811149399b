/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the step program share: a row of the table (an operation, a state of the ring,
 * a kind, a backend), and the ledger, memory outside the ring in which the processes of one run
 * write down what they know for certain, so that it outlives each of them.
 */
#ifndef QUOIT_TESTS_STEP_H
#define QUOIT_TESTS_STEP_H

#include <stdarg.h>

#include "ring/ring.h"
#include "tests/crash/running.h"
#include "tests/support.h"

/* Who wrote a record. */
enum { VICTIM = 1, SURVIVOR = 2, SUCCESSOR = 3, PREDECESSOR = 4, OTHER_VICTIM = 5, WRITERS = 6 };

#define SEQS       512u /* most records of one writer */
#define LEN_MAX    600u
#define SPSC_BYTES 1024u
#define MPMC_SLOT  64u

/* The ring as the victim finds it. */
enum state {
	EMPTY,
	HALF, /* in its second lap, over old payload that looks like headers */
	FULL,
	WRAP,   /* position or ticket 2^64, and the end of the ring, within the next record */
	LENT,   /* a slot voided under a living writer, and one on loan to a living reader */
	LARGE,  /* MPMC, payloads so long that they are lent while they are copied */
	DEAD_P, /* a producer died before, holding a reservation */
	DEAD_C, /* a consumer died before, holding a loan */
	FUTEX,  /* the other side sleeps; or, for operations that wait, the victim does */
	SEM,
	SYSVSEM,
	EVENTFD,
	STATES,
};

static const char *const state_names[STATES] = {
	"empty",  "half",   "full",  "wrap", "lent",    "large",
	"dead-p", "dead-c", "futex", "sem",  "sysvsem", "eventfd",
};

static inline bool is_asleep(enum state s)
{
	return s >= FUTEX;
}

static inline enum quoit_wait wait_of(enum state s)
{
	return (enum quoit_wait)(QUOIT_WAIT_FUTEX + (s - FUTEX));
}

struct op;

struct row {
	const struct op *op;
	enum state state;
	enum quoit_kind kind;
	enum quoit_backend backend;
	bool pair; /* while the victim stands at the instruction, others go through operations */
	const struct op *other; /* step_pairs.c: a second victim's operation, or NULL */
	bool news; /* at the instruction, what it waits for comes, and it goes on to its return */
};

/* A record that a process other than the parent has taken. */
struct got {
	uint32_t writer, seq;
};

struct ledger {
	/* The victim. */
	_Atomic uint32_t returned; /* the operation has returned: */
	int32_t result;            /* this */
	uint32_t failed;           /* line of victim code that found something wrong */
	uint32_t sent;             /* its records 0 .. sent-1 were in before the operation */
	struct got took[SEQS];     /* and these it had taken */
	uint32_t taken;
	struct got peeked; /* and this was lent to it; writer 0: none */
	/* Where the operation puts what it reads. */
	struct quoit_msg msgs[4];
	unsigned char buf[4 * 608];

	/* The sleeper: a survivor in a process of its own. */
	_Atomic uint32_t sleeping; /* it is about to wait */
	_Atomic uint32_t sleeper_sent;
	_Atomic uint32_t sleeper_got;
	_Atomic uint32_t sleeper_bad; /* met a record that is not whole */
	struct got sleeper_took[SEQS];
	_Atomic uint32_t told; /* its last call has returned */
	int32_t told_what;
	int64_t told_ns;
	int64_t told_waited_ns; /* for a processor, in all its life */

	/* The predecessor, dead before the victim begins. */
	uint32_t before_sent;
	_Atomic uint32_t before_ready;
};

/* Length of a writer's record number seq. After a reader's death 16 records nearly fill an SPSC
 * ring, and quite a MPMC ring, and there is no room for the next. */
static inline uint32_t record_len(const struct row *row, uint32_t seq)
{
	if (row->state == DEAD_C && row->kind == QUOIT_SPSC && seq >= 16)
		return 480;
	return row->state == LARGE ? LEN_MAX : 24 + seq % 5 * 8;
}

/* Which record is this? False if it is not whole. */
static inline bool record_is(const void *data, const struct quoit_msg *msg, struct got *ret)
{
	uint64_t seq;

	if (!test_record_check(data, msg->len, msg->type, &ret->writer, &seq))
		return false;
	ret->seq = (uint32_t)seq;
	return ret->writer < WRITERS && seq < SEQS;
}

static inline int record_send(const struct row *row, struct quoit_producer *p, uint32_t writer,
			      uint32_t seq, const struct timespec *deadline)
{
	unsigned char buf[LEN_MAX];
	uint32_t len = record_len(row, seq), type = test_record_fill(buf, len, writer, seq);

	return quoit_send(p, buf, len, type, deadline);
}

static inline struct quoit_options row_options(const struct row *row)
{
	struct quoit_options o = test_options(row->kind);

	o.capacity = SPSC_BYTES;
	o.peers = 8;
	o.slot_size = row->kind == QUOIT_MPMC ? MPMC_SLOT : 0;
	if (row->state == LARGE) {
		o.slot_size = LEN_MAX;
		o.capacity = UINT64_C(8) * (LEN_MAX + 16);
	}
	if (row->state == WRAP)
		o.start = row->kind == QUOIT_SPSC ? UINT64_C(0) - 16 : UINT64_C(0) - 1;
	if (row->state == SYSVSEM)
		o.wait = QUOIT_WAIT_SYSVSEM;
	return o;
}

#endif
