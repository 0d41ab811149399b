/* SPDX-License-Identifier: MIT */
/*
 * Everything that is read and written through descriptors and keeps what it was given: pipe, FIFO,
 * pseudoterminal, UNIX sockets as a pair and by name, TCP. The parent makes the connection, the
 * sides inherit it.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "perf/kernel/kernel.h"
#include "perf/systems/loops.h"

/* One direction: written at [1], read at [0]. */
struct streams {
	int fd[2][2];
};

struct stream_end {
	int fd;
	uint32_t size;
	struct perf_report *report;
};

int perf_kernel_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->mode == PERF_COPY && cell->batch == 1 &&
	       cell->depth > 1 && cell->producers == 1 && cell->consumers == 1;
}

int perf_kernel_small(const struct perf_cell *cell)
{
	return perf_kernel_supports(cell) && cell->size <= 8192;
}

/* ---- making them ---------------------------------------------------------------------------- */

static int make_pipe(int fd[2], const char *name)
{
	(void)name;
	return pipe2(fd, O_CLOEXEC);
}

static int make_fifo(int fd[2], const char *name)
{
	char path[160];

	snprintf(path, sizeof(path), "/tmp/%s", name);
	if (mkfifo(path, 0600) != 0)
		return -1;
	/* Linux opens a FIFO for both at once: nobody has to be there first. */
	fd[0] = open(path, O_RDWR | O_CLOEXEC);
	fd[1] = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	return fd[0] >= 0 && fd[1] >= 0 ? 0 : -1;
}

static int make_pty(int fd[2], const char *name)
{
	struct termios t;

	(void)name;
	fd[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd[1] < 0 || grantpt(fd[1]) != 0 || unlockpt(fd[1]) != 0)
		return -1;
	fd[0] = open(ptsname(fd[1]), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd[0] < 0 || tcgetattr(fd[0], &t) != 0)
		return -1;
	cfmakeraw(&t);
	return tcsetattr(fd[0], TCSANOW, &t);
}

static int make_pair_stream(int fd[2], const char *name)
{
	(void)name;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd);
}

static int make_pair_dgram(int fd[2], const char *name)
{
	(void)name;
	return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd);
}

static int make_pair_seqpacket(int fd[2], const char *name)
{
	(void)name;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd);
}

/* Listen, connect, accept; a datagram socket only binds and connects. */
static int join(int fd[2], int family, int type, struct sockaddr *address, socklen_t length)
{
	int server = socket(family, type | SOCK_CLOEXEC, 0);

	fd[1] = socket(family, type | SOCK_CLOEXEC, 0);
	fd[0] = -1;
	if (server < 0 || fd[1] < 0 || bind(server, address, length) != 0)
		goto out;
	if (getsockname(server, address, &length) != 0)
		goto out;
	if (type == SOCK_DGRAM) {
		fd[0] = server;
		server = -1;
		return connect(fd[1], address, length);
	}
	if (listen(server, 1) != 0 || connect(fd[1], address, length) != 0)
		goto out;
	fd[0] = accept4(server, NULL, NULL, SOCK_CLOEXEC);
out:
	if (server >= 0)
		close(server);
	return fd[0] >= 0 ? 0 : -1;
}

static int make_named(int fd[2], const char *name, int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/%.90s", name);
	r = join(fd, AF_UNIX, type, (struct sockaddr *)&address, sizeof(address));
	unlink(address.sun_path);
	return r;
}

static int make_named_stream(int fd[2], const char *name)
{
	return make_named(fd, name, SOCK_STREAM);
}

static int make_named_dgram(int fd[2], const char *name)
{
	return make_named(fd, name, SOCK_DGRAM);
}

static int make_named_seqpacket(int fd[2], const char *name)
{
	return make_named(fd, name, SOCK_SEQPACKET);
}

static int make_tcp(int fd[2], const char *name)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int on = 1;

	(void)name;
	if (join(fd, AF_INET, SOCK_STREAM, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -1;
	return setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int open_streams(struct perf_context *x, int (*make)(int fd[2], const char *name))
{
	struct streams *t = malloc(sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	memset(t, -1, sizeof(*t));
	x->priv = t;
	for (unsigned i = 0; i < x->rings; i++) {
		if (make(t->fd[i], x->name[i]) != 0)
			return errno ? -errno : -EIO;
	}
	return 0;
}

static void close_streams(struct perf_context *x)
{
	struct streams *t = x->priv;

	for (int i = 0; i < 4 && t; i++) {
		if (t->fd[i / 2][i % 2] >= 0)
			close(t->fd[i / 2][i % 2]);
	}
	free(t);
}

/* ---- using them ----------------------------------------------------------------------------- */

static int stream_enter(struct perf_side *s)
{
	const struct streams *t = s->context->priv;
	struct stream_end *end = calloc(2, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	end[0].fd = t->fd[s->role == PERF_PONG][1];
	end[1].fd = t->fd[s->role == PERF_PING][0];
	end[0].size = end[1].size = s->cell->size;
	end[0].report = end[1].report = s->report;
	s->tx = &end[0];
	s->rx = &end[1];
	return 0;
}

static void stream_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE int stream_push(void *tx, const uint64_t *record)
{
	const struct stream_end *end = tx;
	const char *p = (const char *)record;

	for (size_t left = end->size; left > 0;) {
		ssize_t n = write(end->fd, p, left);

		if (n < 0)
			return -errno;
		p += n;
		left -= (size_t)n;
	}
	return 1;
}

PERF_INLINE const uint64_t *stream_get(void *rx, uint64_t *buf)
{
	const struct stream_end *end = rx;
	char *p = (char *)buf;

	for (size_t left = end->size; left > 0;) {
		ssize_t n = read(end->fd, p, left);

		if (n <= 0) {
			end->report->error = n < 0 ? -errno : -EPIPE;
			return NULL;
		}
		p += n;
		left -= (size_t)n;
	}
	return buf;
}

static void stream_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = stream_push, .get = stream_get};

	perf_run_blocking(s, &ops);
}

#define STREAM(VARIABLE, NAME, MAKE, SUPPORTS, NOTE)                                               \
	static int open_##VARIABLE(struct perf_context *x)                                         \
	{                                                                                          \
		return open_streams(x, MAKE);                                                      \
	}                                                                                          \
	PERF_KERNEL_SYSTEM(VARIABLE, NAME, NOTE, .supports = SUPPORTS, .open = open_##VARIABLE,    \
			   .close = close_streams, .enter = stream_enter, .leave = stream_leave,   \
			   .run = stream_run)

STREAM(perf_pipe, "pipe", make_pipe, perf_kernel_supports, "pipe(2)");
STREAM(perf_fifo, "fifo", make_fifo, perf_kernel_supports, "named pipe");
STREAM(perf_pty, "pty", make_pty, perf_kernel_supports, "pseudoterminal, raw mode");
STREAM(perf_pair_stream, "socketpair-stream", make_pair_stream, perf_kernel_supports,
       "socketpair(2), stream");
STREAM(perf_pair_dgram, "socketpair-dgram", make_pair_dgram, perf_kernel_small,
       "socketpair(2), datagrams");
STREAM(perf_pair_seqpacket, "socketpair-seqpacket", make_pair_seqpacket, perf_kernel_small,
       "socketpair(2), sequenced packets");
STREAM(perf_unix_stream, "unix-stream", make_named_stream, perf_kernel_supports,
       "named UNIX socket, stream");
STREAM(perf_unix_dgram, "unix-dgram", make_named_dgram, perf_kernel_small,
       "named UNIX socket, datagrams");
STREAM(perf_unix_seqpacket, "unix-seqpacket", make_named_seqpacket, perf_kernel_small,
       "named UNIX socket, sequenced packets");
STREAM(perf_tcp, "tcp", make_tcp, perf_kernel_supports, "TCP over loopback, TCP_NODELAY");

/* ---- UDP ------------------------------------------------------------------------------------ */

/*
 * UDP drops what does not fit into the receiver's buffer. So that nothing is lost, the receiver
 * acknowledges every 8th record, and the sender has at most 16 on their way.
 */
#define UDP_WINDOW 16
#define UDP_ACK    8

struct udp_end {
	struct stream_end stream;
	uint64_t count, acknowledged;
};

static int make_udp(int fd[2], const char *name)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from;
	socklen_t length = sizeof(from);

	(void)name;
	if (join(fd, AF_INET, SOCK_DGRAM, (struct sockaddr *)&to, sizeof(to)) != 0)
		return -1;
	/* connect() has bound the sender: its address for the acknowledgements. */
	if (getsockname(fd[1], (struct sockaddr *)&from, &length) != 0)
		return -1;
	return connect(fd[0], (struct sockaddr *)&from, length);
}

static int open_udp(struct perf_context *x)
{
	return open_streams(x, make_udp);
}

static int udp_enter(struct perf_side *s)
{
	const struct streams *t = s->context->priv;
	struct udp_end *end = calloc(2, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	end[0].stream.fd = t->fd[s->role == PERF_PONG][1];
	end[1].stream.fd = t->fd[s->role == PERF_PING][0];
	end[0].stream.size = end[1].stream.size = s->cell->size;
	end[0].stream.report = end[1].stream.report = s->report;
	s->tx = &end[0];
	s->rx = &end[1];
	return 0;
}

PERF_INLINE int udp_push(void *tx, const uint64_t *record)
{
	struct udp_end *end = tx;
	char ack;

	while (end->count - end->acknowledged >= UDP_WINDOW) {
		if (recv(end->stream.fd, &ack, 1, 0) != 1)
			return -errno;
		end->acknowledged += UDP_ACK;
	}
	if (send(end->stream.fd, record, end->stream.size, 0) != (ssize_t)end->stream.size)
		return -errno;
	end->count++;
	return 1;
}

PERF_INLINE const uint64_t *udp_get(void *rx, uint64_t *buf)
{
	struct udp_end *end = rx;
	ssize_t n = recv(end->stream.fd, buf, end->stream.size, 0);

	if (n != (ssize_t)end->stream.size) {
		end->stream.report->error = n < 0 ? -errno : -EBADMSG;
		return NULL;
	}
	/* The sender may have ended and gone: its last acknowledgements do not matter. */
	if (++end->count % UDP_ACK == 0)
		(void)!send(end->stream.fd, "", 1, 0);
	return buf;
}

static void udp_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = udp_push, .get = udp_get};

	perf_run_blocking(s, &ops);
}

PERF_KERNEL_SYSTEM(perf_udp, "udp", "UDP over loopback, a window of 16 so that nothing is lost",
		   .supports = perf_kernel_small, .open = open_udp, .close = close_streams,
		   .enter = udp_enter, .leave = stream_leave, .run = udp_run);
