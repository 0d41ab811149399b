/* SPDX-License-Identifier: MIT */
/*
 * What the child of the freezing test does: each operation that is stopped, what comes before it
 * and after it, and the books that it keeps of what it sent and took.
 */
#ifndef QUOIT_TESTS_CRASH_FREEZE_CHILD_H
#define QUOIT_TESTS_CRASH_FREEZE_CHILD_H

#include <sys/ptrace.h>

#include "support.h"

#define BATCH   2
#define KEEP    8 /* values of one child */
#define WAIT_MS 1000
#define CHILD   (UINT64_C(1) << 32) /* values from here on are the child's */

/* Between the child and us. */
struct shared {
	_Atomic uint32_t done; /* the operation has returned */
	uint32_t sent, taken;
	uint64_t took[KEEP];
};

struct child {
	struct shared *shared;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	void *payload;
	struct quoit_msg msgs[BATCH];
	int peeked;
};

static uint64_t next_value(struct child *ch)
{
	return CHILD + ch->shared->sent;
}

static void took(struct child *ch, uint64_t value)
{
	CHILD_CHECK(ch->shared->taken < KEEP);
	ch->shared->took[ch->shared->taken++] = value;
}

/* Others may have filled the ring meanwhile; they make room in the end. */
static void commit_at_last(struct child *ch)
{
	uint64_t value = next_value(ch);
	int64_t end = test_now_ns() + INT64_C(1000000) * 10 * WAIT_MS;
	int r;

	memcpy(ch->payload, &value, 8);
	while ((r = quoit_commit(ch->p, ch->payload, 8, 0)) == -EAGAIN) {
		CHILD_CHECK(test_now_ns() < end);
		test_sleep_ms(1);
	}
	CHILD_CHECK(r == 0);
	ch->shared->sent++;
}

static void do_send(struct child *ch)
{
	int r = test_put(ch->p, next_value(ch));

	CHILD_CHECK(r == 0 || r == -EAGAIN);
	ch->shared->sent += r == 0;
}

static void do_send_batch(struct child *ch)
{
	uint64_t values[BATCH] = {next_value(ch), next_value(ch) + 1};
	struct quoit_msg msgs[BATCH] = {{.data = &values[0], .len = 8},
					{.data = &values[1], .len = 8}};
	int r = quoit_send_batch(ch->p, msgs, BATCH, QUOIT_NOWAIT);

	CHILD_CHECK(r > 0 || r == -EAGAIN);
	ch->shared->sent += r > 0 ? (uint32_t)r : 0;
}

static void do_reserve(struct child *ch)
{
	int r = quoit_reserve(ch->p, 8, &ch->payload);

	CHILD_CHECK(r == 0 || r == -EAGAIN);
	if (r != 0)
		ch->payload = NULL;
}

static void reserve_first(struct child *ch)
{
	uint64_t value = next_value(ch);

	CHILD_CHECK(quoit_reserve(ch->p, 8, &ch->payload) == 0);
	memcpy(ch->payload, &value, 8);
}

static void commit_after(struct child *ch)
{
	if (ch->payload != NULL)
		commit_at_last(ch);
}

static void do_commit(struct child *ch)
{
	int r = quoit_commit(ch->p, ch->payload, 8, 0);

	CHILD_CHECK(r == 0 || r == -EAGAIN);
	ch->shared->sent += r == 0;
	if (r == 0)
		ch->payload = NULL;
}

static void do_discard(struct child *ch)
{
	CHILD_CHECK(quoit_discard(ch->p, ch->payload) == 0);
}

static void do_recv(struct child *ch)
{
	uint64_t value;
	int r = test_take(ch->c, &value);

	CHILD_CHECK(r == 1 || r == -EAGAIN);
	if (r == 1)
		took(ch, value);
}

static void do_recv_batch(struct child *ch)
{
	uint64_t buf[BATCH];
	int r = quoit_recv_batch(ch->c, buf, sizeof(buf), ch->msgs, BATCH, QUOIT_NOWAIT);

	CHILD_CHECK(r > 0 || r == -EAGAIN);
	for (int i = 0; i < r; i++)
		took(ch, buf[i]);
}

static void do_peek(struct child *ch)
{
	ch->peeked = quoit_peek(ch->c, ch->msgs);
	CHILD_CHECK(ch->peeked == 1 || ch->peeked == -EAGAIN);
}

static void do_peek_batch(struct child *ch)
{
	ch->peeked = quoit_peek_batch(ch->c, ch->msgs, BATCH);
	CHILD_CHECK(ch->peeked > 0 || ch->peeked == -EAGAIN);
}

static void do_advance(struct child *ch)
{
	if (ch->peeked > 0)
		CHILD_CHECK(quoit_advance_batch(ch->c, ch->msgs, (unsigned)ch->peeked) == 0);
}

/* What lies there now is what we looked at, whoever ran round the ring meanwhile. */
static void note_peeked(struct child *ch)
{
	for (int i = 0; i < ch->peeked; i++) {
		uint64_t value;

		memcpy(&value, ch->msgs[i].data, 8);
		took(ch, value);
	}
}

static void advance_after(struct child *ch)
{
	note_peeked(ch);
	do_advance(ch);
}

static void peek_first(struct child *ch)
{
	do_peek_batch(ch);
	note_peeked(ch);
}

static const struct operation {
	const char *name;
	void (*before)(struct child *), (*stopped)(struct child *), (*after)(struct child *);
	bool produces;
} operations[] = {
	{"send", NULL, do_send, NULL, true},
	{"send_batch", NULL, do_send_batch, NULL, true},
	{"reserve", NULL, do_reserve, commit_after, true},
	{"commit", reserve_first, do_commit, commit_after, true},
	{"discard", reserve_first, do_discard, NULL, true},
	{"recv", NULL, do_recv, NULL, false},
	{"recv_batch", NULL, do_recv_batch, NULL, false},
	{"peek", NULL, do_peek, advance_after, false},
	{"peek_batch", NULL, do_peek_batch, advance_after, false},
	{"advance", peek_first, do_advance, NULL, false},
};

struct life {
	const struct operation *operation;
	const char *ring;
	struct shared *shared;
};

static int child_life(void *arg)
{
	struct life *life = arg;
	struct child ch = {.shared = life->shared};
	struct quoit *q;

	CHILD_CHECK(quoit_attach(life->ring, NULL, &q) == 0);
	if (life->operation->produces)
		CHILD_CHECK(quoit_producer_open(q, &ch.p) == 0);
	else
		CHILD_CHECK(quoit_consumer_open(q, &ch.c) == 0);
	if (life->operation->before != NULL)
		life->operation->before(&ch);
	CHILD_CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	raise(SIGSTOP);
	life->operation->stopped(&ch);
	atomic_store(&life->shared->done, 1);
	if (life->operation->after != NULL)
		life->operation->after(&ch);
	quoit_producer_close(ch.p);
	quoit_consumer_close(ch.c);
	quoit_detach(q);
	return 0;
}

#endif
