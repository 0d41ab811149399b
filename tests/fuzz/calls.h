/* SPDX-License-Identifier: MIT */
/*
 * The calls of one attachment, by numbers: each is checked for the errors that the header promises
 * and no others, and whatever it returns for lying in the record space of its ring, or in its heap,
 * and for being readable to its last byte. Nothing here looks at what a record says: that is what
 * the liars lie about. Which call comes when is session.h's.
 */
#ifndef QUOIT_TESTS_FUZZ_CALLS_H
#define QUOIT_TESTS_FUZZ_CALLS_H

#include "fuzz/harness.h"
#include "ring/ring.h"

#define RESERVED_MAX 8
#define PEEKED_MAX   16
#define CANARY       0x5a

struct session {
	struct quoit *q;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	void *payload[RESERVED_MAX];
	uint32_t reserved[RESERVED_MAX];
	unsigned reservations;
	struct quoit_msg msgs[PEEKED_MAX];
	int peeked;
};

/* ---- checks --------------------------------------------------------------------------------- */

static void allow(const char *call, int r, const int *errors, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (r == -errors[i])
			return;
	if (r >= 0)
		return;
	fprintf(stderr, "%s gave %d (%s), which it does not promise\n", call, r, strerror(-r));
	abort();
}

#define ALLOW(call, r, ...)                                                                        \
	allow(call, r, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* What records in the heap add. */
#define WITH_HEAP ENOTSUP, ENOMEM

/* [data, data + len) lies in the record space, or in the heap. */
static void check_in_ring(const struct session *s, const void *data, uint64_t len)
{
	const unsigned char *p = data, *start = s->q->data, *end = start + s->q->geo.capacity;

	if (s->q->heap != NULL && (p < start || p > end)) {
		start = s->q->heap;
		end = start + s->q->geo.heap_size;
	}
	MUST(p >= start && p <= end && len <= (uint64_t)(end - p));
	MUST((uintptr_t)p % 8 == 0);
}

static void check_peeked(const struct session *s, const struct quoit_msg *msg)
{
	check_in_ring(s, msg->data, msg->len);
	harness_touch(msg->data, msg->len);
}

/* 0 to 120 in steps of 8, then up to 4 KiB: more than a ring of that size takes. The last are
 * a unit of the heap, and so much of one that a second has no room in it. */
static uint32_t length_of(unsigned argument)
{
	if (argument >= 254)
		return argument == 255 ? 65536 : 40000;
	return argument < 16 ? argument * 8 : (argument + 1) * 16;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void forget_reservation(struct session *s, unsigned i)
{
	s->reservations--;
	s->payload[i] = s->payload[s->reservations];
	s->reserved[i] = s->reserved[s->reservations];
}

static void call_send(struct session *s, unsigned argument, const struct timespec *deadline)
{
	uint32_t len = length_of(argument);
	int r = quoit_send(s->p, harness_buffer(len), len, argument, deadline);

	if (deadline == QUOIT_NOWAIT)
		ALLOW("send", r, WITH_HEAP, EAGAIN, EMSGSIZE, EPIPE, EOWNERDEAD, EIDRM, EBADMSG);
	else
		ALLOW("send", r, WITH_HEAP, ETIMEDOUT, EINTR, EMSGSIZE, EPIPE, EOWNERDEAD, EIDRM,
		      EBADMSG, EADDRINUSE);
	MUST(r <= 0);
	if (s->q->geo.kind == QUOIT_SPSC && r == 0)
		s->reservations = 0; /* it replaced ours */
}

static void call_reserve(struct session *s, unsigned argument)
{
	uint32_t len = argument >= 254 ? length_of(argument) : length_of(argument) * 2;
	void *payload = NULL;
	int r;

	if (s->q->geo.kind == QUOIT_SPSC)
		s->reservations = 0;
	if (s->reservations == RESERVED_MAX)
		return;
	r = quoit_reserve(s->p, len, &payload);
	ALLOW("reserve", r, WITH_HEAP, EAGAIN, EMSGSIZE, EPIPE, EOWNERDEAD, EIDRM, EBADMSG);
	if (r != 0) {
		MUST(payload == NULL);
		return;
	}
	check_in_ring(s, payload, len);
	harness_aside(true);
	memset(payload, 0xa5, len);
	harness_aside(false);
	s->payload[s->reservations] = payload;
	s->reserved[s->reservations++] = len;
}

static void call_commit(struct session *s, unsigned argument)
{
	unsigned i = s->reservations != 0 ? argument % s->reservations : 0;
	uint32_t len = length_of(argument);
	int r;

	if (s->reservations == 0) {
		r = quoit_commit(s->p, NULL, len, 0);
		MUST(r == -EINVAL || r == -EIDRM || r == -EBADMSG);
		return;
	}
	r = quoit_commit(s->p, s->payload[i], len < s->reserved[i] ? len : s->reserved[i], 7);
	ALLOW("commit", r, EAGAIN, EINVAL, EIDRM, EBADMSG);
	if (r != -EAGAIN)
		forget_reservation(s, i);
}

static void call_discard(struct session *s, unsigned argument)
{
	unsigned i = s->reservations != 0 ? argument % s->reservations : 0;
	int r = quoit_discard(s->p, s->reservations != 0 ? s->payload[i] : NULL);

	ALLOW("discard", r, EINVAL, EIDRM, EBADMSG);
	MUST(s->reservations != 0 || r != 0);
	if (s->reservations != 0)
		forget_reservation(s, i);
}

static void call_send_batch(struct session *s, unsigned argument)
{
	struct quoit_msg msgs[4];
	uint32_t len = length_of(argument) / 2;
	int r;

	for (unsigned i = 0; i < 4; i++)
		msgs[i] = (struct quoit_msg){.data = harness_buffer(len), .len = len, .type = i};
	r = quoit_send_batch(s->p, msgs, 4, QUOIT_NOWAIT);
	ALLOW("send_batch", r, WITH_HEAP, EAGAIN, EMSGSIZE, EPIPE, EOWNERDEAD, EIDRM, EBADMSG);
	MUST(r != 0 && r <= 4);
	if (s->q->geo.kind == QUOIT_SPSC)
		s->reservations = 0;
}

static void call_room(struct session *s, unsigned argument)
{
	int r = argument & 1 ? quoit_drain(s->p, QUOIT_NOWAIT)
			     : quoit_producer_wait(s->p, argument, QUOIT_NOWAIT);

	ALLOW("producer_wait", r, WITH_HEAP, EAGAIN, EMSGSIZE, EPIPE, EOWNERDEAD, EIDRM, EBADMSG);
}

static void call_drain(struct session *s)
{
	struct timespec soon = quoit_deadline_ms(1);
	int r = quoit_drain(s->p, &soon);

	ALLOW("drain", r, ETIMEDOUT, EINTR, EPIPE, EOWNERDEAD, EIDRM, EBADMSG, EADDRINUSE);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void call_peek(struct session *s, unsigned n)
{
	int r = n == 1 ? quoit_peek(s->c, s->msgs) : quoit_peek_batch(s->c, s->msgs, n);

	ALLOW("peek", r, EAGAIN, EOWNERDEAD, EIDRM, EBADMSG);
	MUST(r <= (int)n);
	for (int i = 0; i < r; i++)
		check_peeked(s, &s->msgs[i]);
	s->peeked = r > 0 ? r : 0;
}

static void call_advance(struct session *s, unsigned argument)
{
	int r;

	if (s->peeked == 0)
		return;
	r = argument & 1 ? quoit_advance_batch(s->c, s->msgs, (unsigned)s->peeked)
			 : quoit_advance(s->c, s->msgs);
	ALLOW("advance", r, EINVAL, EIDRM, EBADMSG);
	s->peeked = 0;
}

/* Nobody writes before the buffer, nor behind it: there is a page that faults. */
static unsigned char *prepare_buffer(size_t cap)
{
	unsigned char *buf = harness_buffer(cap);

	memset(buf - 8, CANARY, 8);
	return buf;
}

static void check_buffer(const unsigned char *buf)
{
	for (int i = 1; i <= 8; i++)
		MUST(buf[-i] == CANARY);
}

static void call_recv(struct session *s, unsigned argument, const struct timespec *deadline)
{
	uint32_t cap = argument & 1 ? HARNESS_BUFFER - 64 : length_of(argument);
	unsigned char *buf = prepare_buffer(cap);
	struct quoit_msg msg = {0};
	int r = quoit_recv(s->c, buf, cap, &msg, deadline);

	if (deadline == QUOIT_NOWAIT)
		ALLOW("recv", r, EAGAIN, EMSGSIZE, EOWNERDEAD, EIDRM, EBADMSG);
	else
		ALLOW("recv", r, ETIMEDOUT, EINTR, EMSGSIZE, EOWNERDEAD, EIDRM, EBADMSG,
		      EADDRINUSE);
	check_buffer(buf);
	MUST(r <= 1);
	if (r == 1)
		MUST(msg.data == buf && msg.len <= cap);
	if (r == -EMSGSIZE)
		MUST(msg.len > cap && msg.len <= QUOIT_RECORD_MAX);
}

static void call_recv_batch(struct session *s, unsigned argument)
{
	size_t cap = argument & 1 ? HARNESS_BUFFER - 64 : length_of(argument);
	unsigned char *buf = prepare_buffer(cap);
	unsigned n = argument % PEEKED_MAX + 1;
	struct quoit_msg msgs[PEEKED_MAX];
	int r = quoit_recv_batch(s->c, buf, cap, msgs, n, QUOIT_NOWAIT);

	ALLOW("recv_batch", r, EAGAIN, EMSGSIZE, EOWNERDEAD, EIDRM, EBADMSG);
	check_buffer(buf);
	MUST(r <= (int)n);
	for (int i = 0; i < r; i++) {
		const unsigned char *data = msgs[i].data;

		MUST(data >= buf && data <= buf + cap && msgs[i].len <= buf + cap - data);
	}
}

static void call_look(struct session *s)
{
	int r = quoit_consumer_wait(s->c, QUOIT_NOWAIT);

	ALLOW("consumer_wait", r, EAGAIN, EIDRM, EBADMSG);
}

/* ---- both ----------------------------------------------------------------------------------- */

static void open_endpoints(struct session *s)
{
	int r = s->p == NULL ? quoit_producer_open(s->q, &s->p) : 0;

	ALLOW("producer_open", r, EBUSY, ENOSPC, EIDRM, EBADMSG);
	r = s->c == NULL ? quoit_consumer_open(s->q, &s->c) : 0;
	ALLOW("consumer_open", r, EBUSY, ENOSPC, EIDRM, EBADMSG);
}

static void close_producer(struct session *s)
{
	quoit_producer_close(s->p);
	s->p = NULL;
	s->reservations = 0;
}

static void close_consumer(struct session *s)
{
	quoit_consumer_close(s->c);
	s->c = NULL;
	s->peeked = 0;
}

static void call_reopen(struct session *s, unsigned argument)
{
	if (argument & 1)
		close_producer(s);
	else
		close_consumer(s);
	open_endpoints(s);
}

static void call_ask(struct session *s)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_heap_stats heap = {.size = sizeof(heap)};
	struct quoit_counters counters;

	MUST(quoit_get_stats(s->q, &stats) == 0);
	MUST(stats.used <= stats.capacity);
	MUST(quoit_get_info(s->q, &info) == 0);
	if (quoit_get_heap_stats(s->q, &heap) == 0)
		MUST(heap.free + heap.used + heap.orphaned == heap.total &&
		     heap.largest <= heap.free);
	else
		MUST(s->q->geo.heap_size == 0);
	if (s->p != NULL)
		quoit_producer_counters(s->p, &counters);
	if (s->c != NULL)
		quoit_consumer_counters(s->c, &counters);
}

static void call_set_wait(struct session *s, unsigned argument)
{
	enum quoit_wait wait = (enum quoit_wait)(argument % 8);
	int r = 0;

	if (argument & 8 && s->p != NULL)
		r = quoit_producer_set_wait(s->p, wait);
	else if (s->c != NULL)
		r = quoit_consumer_set_wait(s->c, wait);
	ALLOW("set_wait", r, EINVAL, ENOTSUP, EIDRM, EBADMSG, EADDRINUSE);
}

static void call_arm(struct session *s, unsigned argument)
{
	int r = 0;

	if (argument & 8 && s->p != NULL)
		r = quoit_producer_arm(s->p, length_of(argument));
	else if (s->c != NULL)
		r = quoit_consumer_arm(s->c);
	ALLOW("arm", r, EINVAL, EIDRM, EBADMSG); /* EINVAL: no descriptor yet */
}

/* What is not the caller's to commit or to advance over. */
static void call_foreign(struct session *s, unsigned argument)
{
	struct quoit_msg msg = {.data = s->q->data + argument * 8 + 4, .len = argument * 1024};
	int r = 0;

	if (argument & 1 && s->p != NULL)
		r = argument & 2 ? quoit_commit(s->p, msg.data, msg.len, 0)
				 : quoit_discard(s->p, msg.data);
	else if (s->c != NULL)
		r = argument & 2 ? quoit_advance_batch(s->c, &msg, 1) : quoit_advance(s->c, &msg);
	else
		return;
	MUST((argument & 1 && s->p == NULL) || r == -EINVAL || r == -EIDRM || r == -EBADMSG);
}

#endif
