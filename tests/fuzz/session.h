/* SPDX-License-Identifier: MIT */
/*
 * One ring, used in every way there is: a numbered call of one attachment (calls.h), all that the
 * tools show of it, and repair.
 */
#ifndef QUOIT_TESTS_FUZZ_SESSION_H
#define QUOIT_TESTS_FUZZ_SESSION_H

#include <quoit/inspect.h>

#include "fuzz/calls.h"

/* The first sixteen are as old as the inputs kept in seeds/attach: only add to them. */
enum call {
	CALL_SEND,
	CALL_RESERVE,
	CALL_COMMIT,
	CALL_DISCARD,
	CALL_SEND_BATCH,
	CALL_ROOM,
	CALL_PEEK,
	CALL_PEEK_BATCH,
	CALL_ADVANCE,
	CALL_RECV,
	CALL_RECV_BATCH,
	CALL_LOOK,
	CALL_REOPEN,
	CALL_ASK,
	CALL_SET_WAIT,
	CALL_15, /* the targets' own */
	CALL_SEND_WAITING,
	CALL_RECV_WAITING,
	CALL_DRAIN,
	CALL_ARM,
	CALL_FOREIGN,
	CALL_COUNT
};

/* ---- by number ------------------------------------------------------------------------------ */

static void call_writer(struct session *s, unsigned call, unsigned argument)
{
	struct timespec soon;

	switch (call) {
	case CALL_SEND:
		call_send(s, argument, QUOIT_NOWAIT);
		break;
	case CALL_RESERVE:
		call_reserve(s, argument);
		break;
	case CALL_COMMIT:
		call_commit(s, argument);
		break;
	case CALL_DISCARD:
		call_discard(s, argument);
		break;
	case CALL_SEND_BATCH:
		call_send_batch(s, argument);
		break;
	case CALL_ROOM:
		call_room(s, argument);
		break;
	case CALL_SEND_WAITING:
		soon = quoit_deadline_ms(1);
		call_send(s, argument, &soon);
		break;
	case CALL_DRAIN:
		call_drain(s);
		break;
	default:
		break;
	}
}

static void call_reader(struct session *s, unsigned call, unsigned argument)
{
	struct timespec soon;

	switch (call) {
	case CALL_PEEK:
		call_peek(s, 1);
		break;
	case CALL_PEEK_BATCH:
		call_peek(s, argument % PEEKED_MAX + 1);
		break;
	case CALL_ADVANCE:
		call_advance(s, argument);
		break;
	case CALL_RECV:
		call_recv(s, argument, QUOIT_NOWAIT);
		break;
	case CALL_RECV_BATCH:
		call_recv_batch(s, argument);
		break;
	case CALL_LOOK:
		call_look(s);
		break;
	case CALL_RECV_WAITING:
		soon = quoit_deadline_ms(1);
		call_recv(s, argument, &soon);
		break;
	default:
		break;
	}
}

static void session_call(struct session *s, unsigned call, unsigned argument)
{
	if (s->p != NULL)
		call_writer(s, call, argument);
	if (s->c != NULL)
		call_reader(s, call, argument);
	switch (call) {
	case CALL_REOPEN:
		call_reopen(s, argument);
		break;
	case CALL_ASK:
		call_ask(s);
		break;
	case CALL_SET_WAIT:
		call_set_wait(s, argument);
		break;
	case CALL_ARM:
		call_arm(s, argument);
		break;
	case CALL_FOREIGN:
		call_foreign(s, argument);
		break;
	default:
		break;
	}
}

/* ---- from opening to closing ---------------------------------------------------------------- */

/* A System V segment may also be half-made, or gone. */
static void allow_attach(const char *call, const char *name, int r)
{
	if (strncmp(name, "sysv:", 5) == 0)
		ALLOW(call, r, EPROTO, EBADMSG, EIDRM, EOWNERDEAD, ENOENT);
	else
		ALLOW(call, r, EPROTO, EBADMSG, EIDRM);
}

static int session_attach(struct session *s, const char *name)
{
	struct quoit_options readonly = {.size = sizeof(readonly), .flags = QUOIT_READONLY};
	struct quoit_producer *p;
	int r = quoit_attach(name, &readonly, &s->q);

	allow_attach("attach", name, r);
	if (r == 0) {
		call_ask(s);
		MUST(quoit_producer_open(s->q, &p) == -EACCES);
		quoit_detach(s->q);
		s->q = NULL;
	}
	r = quoit_attach(name, NULL, &s->q);
	allow_attach("attach", name, r);
	if (r == 0)
		open_endpoints(s);
	return r;
}

static void session_end(struct session *s)
{
	close_producer(s);
	close_consumer(s);
	quoit_detach(s->q);
	s->q = NULL;
}

/* ---- looking in ----------------------------------------------------------------------------- */

static void hear(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg;
	(void)offset;
	MUST(severity >= 1 && severity <= 3 && text != NULL);
}

static void walk(struct quoit_inspect *view)
{
	struct quoit_record record;
	uint64_t missed = 0;
	int r = 1, damaged = 0;

	for (unsigned i = 0; i < 2000 && (r == 1 || damaged < 64); i++) {
		r = quoit_inspect_next(view, &record, &missed);
		ALLOW("inspect_next", r, EBADMSG);
		if (r == 0)
			break;
		damaged += r < 0;
		if (r == 1 && record.data != NULL)
			harness_touch(record.data, record.len);
	}
}

/* Everything that the tools show of a ring: info, peers, dump, tail, check. */
static void inspect(const char *name)
{
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_heap_stats heap = {.size = sizeof(heap)};
	struct quoit_inspect *view;
	struct quoit_peer peers[8];
	uint64_t size;
	int r = quoit_inspect_open(name, hear, NULL, &view);

	allow_attach("inspect_open", name, r);
	if (r != 0)
		return;
	MUST(quoit_inspect_info(view, &info) == 0);
	MUST(memchr(info.name, 0, sizeof(info.name)) != NULL);
	r = quoit_inspect_stats(view, &stats);
	ALLOW("inspect_stats", r, EBADMSG);
	r = quoit_inspect_heap_stats(view, &heap);
	ALLOW("inspect_heap_stats", r, ENOTSUP, EBADMSG);
	r = quoit_inspect_peers(view, peers, TEST_COUNT(peers));
	ALLOW("inspect_peers", r, EBADMSG);
	MUST(quoit_inspect_bytes(view, &size) != NULL || size == 0);
	walk(view);
	quoit_inspect_seek_end(view);
	walk(view);
	r = quoit_inspect_check(view, hear, NULL);
	MUST(r >= 0);
	quoit_inspect_rewind(view);
	walk(view);
	quoit_inspect_close(view);
}

static void repair(const char *name)
{
	for (int dry_run = 1; dry_run >= 0; dry_run--) {
		int r = quoit_repair(name, dry_run, hear, NULL);

		allow_attach("repair", name, r);
	}
}

#endif
