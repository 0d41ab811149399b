/* SPDX-License-Identifier: MIT */
/*
 * nng over ipc://: push and pull sockets, buffers as deep as its limit of 8,192 messages allows.
 */
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "perf/systems/loops.h"

struct nng_end {
	nng_socket socket;
	int open;
	struct perf_report *report;
	uint32_t size;
};

struct nng_side {
	struct nng_end tx, rx;
};

static int nng_supports(const struct perf_cell *cell)
{
	/* A deep queue before a slow socket takes seconds to drain, and makes it no faster. */
	return cell->mode == PERF_COPY && cell->batch == 1 && cell->producers == 1 &&
	       cell->consumers == 1 && cell->kind == PERF_SPSC && cell->depth <= 1024;
}

static int code(int error)
{
	return error == 0 ? 0 : error == NNG_ENOMEM ? -ENOMEM : -EIO;
}

static void address_of(char *address, size_t size, const struct perf_context *x, unsigned ring)
{
	snprintf(address, size, "ipc:///tmp/%s", x->name[ring]);
}

static int open_socket(struct nng_end *end, struct perf_side *s, unsigned ring, int receive)
{
	char address[160];
	int depth = s->cell->depth < 8192 ? (int)s->cell->depth : 8192;
	int error = receive ? nng_pull0_open(&end->socket) : nng_push0_open(&end->socket);

	if (error != 0)
		return code(error);
	end->open = 1;
	end->report = s->report;
	end->size = s->cell->size;
	address_of(address, sizeof(address), s->context, ring);
	/* Some protocols of some versions have no buffer to set: then theirs is what is measured.
	 */
	(void)nng_socket_set_int(end->socket, receive ? NNG_OPT_RECVBUF : NNG_OPT_SENDBUF, depth);
	if (receive)
		return code(nng_listen(end->socket, address, NULL, 0));
	/* The listener may not be there yet: dial in the background, again after a millisecond. */
	(void)nng_socket_set_ms(end->socket, NNG_OPT_RECONNMINT, 1);
	(void)nng_socket_set_ms(end->socket, NNG_OPT_RECONNMAXT, 2);
	return code(nng_dial(end->socket, address, NULL, NNG_FLAG_NONBLOCK));
}

static int nng_enter(struct perf_side *s)
{
	struct nng_side *n = calloc(1, sizeof(*n));
	int error = 0;

	if (n == NULL)
		return -ENOMEM;
	if (s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE)
		error = open_socket(&n->rx, s, s->role == PERF_PING, 1);
	if (error == 0 && s->role != PERF_CONSUME && s->role != PERF_COLLECT)
		error = open_socket(&n->tx, s, s->role == PERF_PONG, 0);
	s->tx = &n->tx;
	s->rx = &n->rx;
	return error;
}

static void nng_leave(struct perf_side *s)
{
	struct nng_side *n = (struct nng_side *)((char *)s->tx - offsetof(struct nng_side, tx));

	if (n->tx.open)
		nng_close(n->tx.socket);
	if (n->rx.open)
		nng_close(n->rx.socket);
	free(n);
}

static void nng_unlink(struct perf_context *x)
{
	char address[160];

	for (unsigned i = 0; i < x->rings; i++) {
		address_of(address, sizeof(address), x, i);
		unlink(address + sizeof("ipc://") - 1);
	}
}

PERF_INLINE int nng_push(void *tx, const uint64_t *record)
{
	struct nng_end *end = tx;
	int error = nng_send(end->socket, (void *)(uintptr_t)record, end->size, 0);

	return error == 0 ? 1 : -EIO;
}

PERF_INLINE const uint64_t *nng_get(void *rx, uint64_t *buf)
{
	struct nng_end *end = rx;
	size_t size = end->size;
	int error = nng_recv(end->socket, buf, &size, 0);

	if (error == 0 && size == end->size)
		return buf;
	end->report->error = error ? -EIO : -EBADMSG;
	return NULL;
}

static void nng_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = nng_push, .get = nng_get};

	perf_run_blocking(s, &ops);
}

const struct perf_system perf_nng = {
	.name = "nng",
	.group = PERF_PEER,
	.policies = 1u << PERF_BLOCK,
	.note = "push/pull over ipc://, blocking; between processes",
	.supports = nng_supports,
	.close = nng_unlink,
	.enter = nng_enter,
	.leave = nng_leave,
	.run = nng_run,
};
