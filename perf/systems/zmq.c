/* SPDX-License-Identifier: MIT */
/*
 * ZeroMQ over ipc://: PUSH and PULL sockets, the high-water marks set to the depth. Its own threads
 * batch what they write to the socket.
 */
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#include "perf/systems/loops.h"

struct zmq_end {
	void *socket;
	struct perf_report *report;
	uint32_t size;
};

struct zmq_side {
	void *context;
	struct zmq_end tx, rx;
};

static int zmq_supports(const struct perf_cell *cell)
{
	/* A deep queue before a slow socket takes seconds to drain, and makes it no faster. */
	return cell->mode == PERF_COPY && cell->batch == 1 && cell->producers == 1 &&
	       cell->consumers == 1 && cell->kind == PERF_SPSC && cell->depth <= 1024;
}

/* The abstract namespace leaves no files. The receiver binds, the sender connects. */
static int open_socket(struct zmq_side *z, struct zmq_end *end, struct perf_side *s, unsigned ring,
		       int type)
{
	char address[160];
	int depth = (int)s->cell->depth, zero = 0, one = 1;

	snprintf(address, sizeof(address), "ipc://@%s", s->context->name[ring]);
	end->report = s->report;
	end->size = s->cell->size;
	end->socket = zmq_socket(z->context, type);
	if (end->socket == NULL)
		return -errno;
	zmq_setsockopt(end->socket, ZMQ_SNDHWM, &depth, sizeof(depth));
	zmq_setsockopt(end->socket, ZMQ_RCVHWM, &depth, sizeof(depth));
	zmq_setsockopt(end->socket, ZMQ_LINGER, &zero, sizeof(zero));
	if (type == ZMQ_PULL)
		return zmq_bind(end->socket, address) == 0 ? 0 : -errno;
	/* Who is refused because the receiver is not there yet tries again after a millisecond,
	 * not after the usual 100 to 200; and is writable when it is connected, not before. */
	zmq_setsockopt(end->socket, ZMQ_RECONNECT_IVL, &one, sizeof(one));
	zmq_setsockopt(end->socket, ZMQ_IMMEDIATE, &one, sizeof(one));
	return zmq_connect(end->socket, address) == 0 ? 0 : -errno;
}

/* Before the clock starts: making the connection is not what is measured. */
static int wait_until_connected(const struct zmq_end *end)
{
	zmq_pollitem_t item = {.socket = end->socket, .events = ZMQ_POLLOUT};

	return zmq_poll(&item, 1, 10000) == 1 ? 0 : -ETIMEDOUT;
}

static int zmq_enter(struct perf_side *s)
{
	struct zmq_side *z = calloc(1, sizeof(*z));
	int error = 0;

	if (z == NULL)
		return -ENOMEM;
	z->context = zmq_ctx_new();
	if (s->role != PERF_CONSUME && s->role != PERF_COLLECT)
		error = open_socket(z, &z->tx, s, s->role == PERF_PONG, ZMQ_PUSH);
	if (error == 0 && s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE)
		error = open_socket(z, &z->rx, s, s->role == PERF_PING, ZMQ_PULL);
	if (error == 0 && z->tx.socket)
		error = wait_until_connected(&z->tx);
	s->tx = &z->tx;
	s->rx = &z->rx;
	return error;
}

static void zmq_leave(struct perf_side *s)
{
	struct zmq_side *z = (struct zmq_side *)((char *)s->tx - offsetof(struct zmq_side, tx));

	if (z->tx.socket)
		zmq_close(z->tx.socket);
	if (z->rx.socket)
		zmq_close(z->rx.socket);
	zmq_ctx_term(z->context);
	free(z);
}

PERF_INLINE int zmq_push(void *tx, const uint64_t *record)
{
	struct zmq_end *end = tx;

	return zmq_send(end->socket, record, end->size, 0) == (int)end->size ? 1 : -errno;
}

PERF_INLINE const uint64_t *zmq_get(void *rx, uint64_t *buf)
{
	struct zmq_end *end = rx;
	int r = zmq_recv(end->socket, buf, end->size, 0);

	if (r == (int)end->size)
		return buf;
	if (r >= 0 || errno != EINTR)
		end->report->error = r < 0 ? -errno : -EBADMSG;
	return NULL;
}

static void zmq_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = zmq_push, .get = zmq_get};

	perf_run_blocking(s, &ops);
}

const struct perf_system perf_zmq = {
	.name = "zeromq",
	.group = PERF_PEER,
	.policies = 1u << PERF_BLOCK,
	.note = "PUSH/PULL over ipc://, blocking; between processes",
	.supports = zmq_supports,
	.enter = zmq_enter,
	.leave = zmq_leave,
	.run = zmq_run,
};
