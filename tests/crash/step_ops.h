/* SPDX-License-Identifier: MIT */
/*
 * The operations, as the victim runs them. prepare() brings the endpoint to where the operation
 * starts, run() is nothing but the operation: what happens in it is stepped through.
 */
#ifndef QUOIT_TESTS_STEP_OPS_H
#define QUOIT_TESTS_STEP_OPS_H

#include <sys/ptrace.h>

#include "tests/crash/step.h"

struct victim {
	const struct row *row;
	uint32_t writer;
	struct ledger *l;
	const char *name; /* to create, attach and remove by */
	struct quoit *q;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	void *payload; /* reserved */
	uint32_t len, type;
	struct quoit_msg batch[4];
	struct quoit_options options;
	unsigned char buf[4][LEN_MAX];
};

enum {
	OPENS = 1,    /* the operation itself opens the endpoint */
	CLOSES = 2,   /* its death may be a close already */
	DETACHED = 4, /* the victim starts without the ring */
	SLEEPS = 8,   /* the operation itself goes to sleep */
	REAPS = 16, /* it cleans up after a dead one: may die half-way and have it counted twice */
	SENDS = 32, /* `most` records of the victim may be in */
	TAKES = 64, /* `most` records may be gone with the victim */
	NO_RING = 128,   /* nothing there at first */
	UNMAKES = 256,   /* the ring goes */
	ANNOUNCES = 512, /* it makes ready to sleep, and does not */
};

struct op {
	const char *name;
	enum quoit_role role;
	unsigned flags;
	unsigned most;
	unsigned states; /* in which it makes sense, bit mask of enum state */
	void (*prepare)(struct victim *v);
	int (*run)(struct victim *v);
};

#define VICTIM_MUST(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			v->l->failed = __LINE__;                                                   \
			_exit(97);                                                                 \
		}                                                                                  \
	} while (0)

/* ---- writing -------------------------------------------------------------------------------- */

static void fill_next(struct victim *v)
{
	v->len = record_len(v->row, v->l->sent);
	v->type = test_record_fill(v->buf[0], v->len, v->writer, v->l->sent);
}

static int run_reserve(struct victim *v)
{
	return quoit_reserve(v->p, v->len, &v->payload);
}

/* On a full ring there is nothing to commit: one record less. */
static void prepare_reserved(struct victim *v)
{
	fill_next(v);
	VICTIM_MUST(quoit_reserve(v->p, v->len, &v->payload) == 0);
	memcpy(v->payload, v->buf[0], v->len);
}

static int run_commit(struct victim *v)
{
	return quoit_commit(v->p, v->payload, v->len, v->type);
}

static int run_discard(struct victim *v)
{
	return quoit_discard(v->p, v->payload);
}

static int run_send(struct victim *v)
{
	return quoit_send(v->p, v->buf[0], v->len, v->type, QUOIT_NOWAIT);
}

static void prepare_batch(struct victim *v)
{
	for (uint32_t i = 0; i < 4; i++) {
		struct quoit_msg *m = &v->batch[i];

		m->data = v->buf[i];
		m->len = record_len(v->row, v->l->sent + i);
		m->type = test_record_fill(m->data, m->len, v->writer, v->l->sent + i);
	}
}

static int run_send_batch(struct victim *v)
{
	return quoit_send_batch(v->p, v->batch, 4, QUOIT_NOWAIT);
}

static int run_send_wait(struct victim *v)
{
	return quoit_send(v->p, v->buf[0], v->len, v->type, NULL);
}

/* The half of a commit that tells a sleeper. */
static int run_wake_p(struct victim *v)
{
	quoit__wake_consumers(v->p);
	return 0;
}

static int run_announce_p(struct victim *v)
{
	(void)sync_announce(v->p->ep.sleeps_on, (enum sync_backend)v->p->ep.wait);
	return 0;
}

static int run_arm_p(struct victim *v)
{
	return quoit_producer_arm(v->p, v->len);
}

static int run_close_p(struct victim *v)
{
	quoit_producer_close(v->p);
	return 0;
}

static int run_open_p(struct victim *v)
{
	return quoit_producer_open(v->q, &v->p);
}

/* ---- reading -------------------------------------------------------------------------------- */

static int run_peek(struct victim *v)
{
	return quoit_peek(v->c, &v->l->msgs[0]);
}

static void prepare_peeked(struct victim *v)
{
	struct quoit_msg *m = &v->l->msgs[0];

	VICTIM_MUST(quoit_peek(v->c, m) == 1);
	VICTIM_MUST(record_is(m->data, m, &v->l->peeked));
}

static int run_advance(struct victim *v)
{
	return quoit_advance(v->c, &v->l->msgs[0]);
}

static int run_recv(struct victim *v)
{
	return quoit_recv(v->c, v->l->buf, LEN_MAX, &v->l->msgs[0], QUOIT_NOWAIT);
}

static int run_recv_batch(struct victim *v)
{
	return quoit_recv_batch(v->c, v->l->buf, sizeof(v->l->buf), v->l->msgs, 4, QUOIT_NOWAIT);
}

static int run_recv_wait(struct victim *v)
{
	return quoit_recv(v->c, v->l->buf, LEN_MAX, &v->l->msgs[0], NULL);
}

static int run_wake_c(struct victim *v)
{
	quoit__wake(&v->c->ep, v->c->ep.wakes, QUOIT_ROLE_PRODUCER);
	return 0;
}

static int run_announce_c(struct victim *v)
{
	(void)sync_announce(v->c->ep.sleeps_on, (enum sync_backend)v->c->ep.wait);
	return 0;
}

static int run_arm_c(struct victim *v)
{
	return quoit_consumer_arm(v->c);
}

static int run_close_c(struct victim *v)
{
	quoit_consumer_close(v->c);
	return 0;
}

static int run_open_c(struct victim *v)
{
	return quoit_consumer_open(v->q, &v->c);
}

/* Take all there is: the next look finds nothing, and looks after the peers. */
static void prepare_drained(struct victim *v)
{
	struct ledger *l = v->l;
	struct quoit_msg m;

	for (uint32_t n = l->before_sent; n != 0; n--) {
		VICTIM_MUST(quoit_recv(v->c, v->buf[0], LEN_MAX, &m, QUOIT_NOWAIT) == 1);
		VICTIM_MUST(record_is(v->buf[0], &m, &l->took[l->taken++]));
	}
}

/* ---- rings ---------------------------------------------------------------------------------- */

static void prepare_options(struct victim *v)
{
	v->options = row_options(v->row);
}

static int run_create(struct victim *v)
{
	return quoit_create(v->name, &v->options, &v->q);
}

static int run_attach(struct victim *v)
{
	return quoit_attach(v->name, NULL, &v->q);
}

static int run_remove(struct victim *v)
{
	return quoit_remove(v->name);
}

static int run_repair(struct victim *v)
{
	return quoit_repair(v->name, 0, NULL, NULL);
}

/* ---- all ------------------------------------------------------------------------------------ */

#define B(s)    (1u << (s))
#define SLEEPER (B(FUTEX) | B(SEM) | B(SYSVSEM) | B(EVENTFD))
#define COMMON  (B(EMPTY) | B(HALF) | B(FULL) | B(WRAP) | B(LENT) | B(LARGE) | SLEEPER)
#define ROOM    (COMMON & ~B(FULL))
#define FILLED  (COMMON & ~B(EMPTY))
/* Who attaches does not care for the length of records. */
#define ATTACHED (B(EMPTY) | B(HALF) | B(FULL) | B(WRAP) | B(LENT))
#define P        QUOIT_ROLE_PRODUCER
#define C        QUOIT_ROLE_CONSUMER
#define NONE     QUOIT_ROLE_NONE

static const struct op ops[] = {
	{"reserve", P, 0, 0, COMMON, fill_next, run_reserve},
	{"commit", P, SENDS, 1, ROOM, prepare_reserved, run_commit},
	{"discard", P, 0, 0, B(EMPTY) | B(HALF) | B(WRAP) | B(LENT), prepare_reserved, run_discard},
	{"send", P, SENDS, 1, COMMON, fill_next, run_send},
	{"send-batch", P, SENDS, 4, COMMON, prepare_batch, run_send_batch},
	{"peek", C, 0, 0, COMMON & ~B(LARGE), NULL, run_peek},
	{"advance", C, TAKES, 1, FILLED, prepare_peeked, run_advance},
	{"recv", C, TAKES, 1, COMMON, NULL, run_recv},
	{"recv-batch", C, TAKES, 4, COMMON, NULL, run_recv_batch},
	{"send-wait", P, SENDS | SLEEPS, 1, SLEEPER, fill_next, run_send_wait},
	{"recv-wait", C, TAKES | SLEEPS, 1, SLEEPER, NULL, run_recv_wait},
	{"wake-p", P, 0, 0, SLEEPER, NULL, run_wake_p},
	{"wake-c", C, 0, 0, SLEEPER, NULL, run_wake_c},
	{"announce-p", P, ANNOUNCES, 0, SLEEPER, NULL, run_announce_p},
	{"announce-c", C, ANNOUNCES, 0, SLEEPER, NULL, run_announce_c},
	{"arm-p", P, ANNOUNCES, 0, B(EVENTFD), fill_next, run_arm_p},
	{"arm-c", C, ANNOUNCES, 0, B(EVENTFD), NULL, run_arm_c},
	{"reap-p", P, SENDS | REAPS, 1, B(DEAD_C), fill_next, run_send},
	{"reap-c", C, TAKES | REAPS, 1, B(DEAD_P), prepare_drained, run_recv},
	{"open-p", P, OPENS | REAPS, 0, ATTACHED | B(DEAD_P), NULL, run_open_p},
	{"open-c", C, OPENS | REAPS, 0, ATTACHED | B(DEAD_C), NULL, run_open_c},
	{"close-p", P, CLOSES, 0, ROOM, prepare_reserved, run_close_p},
	{"close-c", C, CLOSES, 0, FILLED, prepare_peeked, run_close_c},
	{"repair", NONE, DETACHED | REAPS, 0, B(LENT) | B(DEAD_P) | B(DEAD_C), NULL, run_repair},
	{"attach", NONE, DETACHED, 0, ATTACHED, NULL, run_attach},
	{"create", NONE, DETACHED | NO_RING, 0, B(EMPTY) | B(WRAP), prepare_options, run_create},
	{"remove", NONE, DETACHED | UNMAKES, 0, ATTACHED, NULL, run_remove},
};

#undef B
#undef P
#undef C
#undef NONE

/* Here the parent sees that it is over. */
static __attribute__((noinline)) void operation_returned(struct ledger *l, int result)
{
	l->result = result;
	atomic_store_explicit(&l->returned, 1, memory_order_release);
}

/* Is it the victim that sleeps, or is about to? Else it is the other side. */
static inline bool sleeps_itself(const struct row *row)
{
	return (row->op->flags & (SLEEPS | ANNOUNCES)) != 0;
}

/* How many records a producer victim puts in first. */
static uint32_t prepared_records(const struct row *row)
{
	if (row->state == HALF)
		return row->kind == QUOIT_SPSC ? 9 : 8;
	if (row->state == DEAD_C)
		return 16; /* full, but not found out yet: nobody has looked after the peers */
	if (row->state == FULL || sleeps_itself(row))
		return SEQS;
	return 0;
}

static void victim_fill(struct victim *v)
{
	struct ledger *l = v->l;

	for (uint32_t n = prepared_records(v->row); l->sent < n; l->sent++) {
		int r = record_send(v->row, v->p, v->writer, l->sent, QUOIT_NOWAIT);

		if (r == -EAGAIN)
			break;
		VICTIM_MUST(r == 0);
	}
}

/* The victim: to the start of the operation, a trap for the parent, the operation, a trap. */
static int victim_main(void *arg)
{
	struct victim *v = arg;
	const struct op *op = v->row->op;

	VICTIM_MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	if ((op->flags & DETACHED) == 0)
		VICTIM_MUST(quoit_attach(v->name, NULL, &v->q) == 0);
	if ((op->flags & OPENS) == 0 && op->role == QUOIT_ROLE_PRODUCER)
		VICTIM_MUST(quoit_producer_open(v->q, &v->p) == 0);
	if ((op->flags & OPENS) == 0 && op->role == QUOIT_ROLE_CONSUMER)
		VICTIM_MUST(quoit_consumer_open(v->q, &v->c) == 0);
	if (sleeps_itself(v->row) && v->p != NULL)
		VICTIM_MUST(quoit_producer_set_wait(v->p, wait_of(v->row->state)) == 0);
	if (sleeps_itself(v->row) && v->c != NULL)
		VICTIM_MUST(quoit_consumer_set_wait(v->c, wait_of(v->row->state)) == 0);
	if (v->p != NULL && v->writer == VICTIM)
		victim_fill(v);
	if (op->prepare != NULL)
		op->prepare(v);
	/* What is looked at every 25 or 40 ms is due sooner for who is traced: always. */
	if (v->p != NULL)
		v->p->ep.checked_ns = v->p->ep.doubted_ns = 0;
	if (v->c != NULL)
		v->c->ep.checked_ns = v->c->ep.doubted_ns = 0;
	__asm__ volatile("int3" ::: "memory");
	operation_returned(v->l, op->run(v));
	__asm__ volatile("int3" ::: "memory");
	for (;;)
		pause();
}

#endif
