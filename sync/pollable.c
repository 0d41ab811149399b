/* SPDX-License-Identifier: MIT */
/*
 * Pollable descriptors and waking them, see pollable.h; the datagrams are in datagram.h. A set's
 * pollable is one that stands for many rings: whose news it is is marked on its board.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "sync/backend.h"
#include "sync/board.h"
#include "sync/datagram.h"
#include "sync/pollable.h"

/* Most datagrams taken at a time; more keep the descriptor readable. */
#define DATAGRAMS_MAX 64
/* Most eventfds of peers kept: the process's own descriptors are more important. */
#define PEERS_KEPT 64
/* A dying process lets go of its row a moment before it lets go of its address. */
#define ADDRESS_TRIES  200
#define ADDRESS_NAP_NS 1000000

struct peer {
	uint64_t epoch;
	int fd; /* its eventfd, or -1 */
};

struct sync_pollable {
	uint8_t uuid[16];
	uint32_t row, rows;
	int epoll_fd, event_fd, timer_fd; /* -1: only wakes others */
	struct sync_socket socket;
	struct sync_board *board; /* a set's, or NULL */
	unsigned full;            /* datagrams that make others be turned away, or DATAGRAMS_MAX */
	bool armed;
	unsigned kept;
	struct peer peers[];
};

/* ---- making one ------------------------------------------------------------------------------ */

static int bind_row(struct sync_pollable *p)
{
	struct sockaddr_un address;
	socklen_t len = sync_address(p->uuid, p->row, &address);

	for (int i = 0; bind(p->socket.fd, (struct sockaddr *)&address, len) != 0; i++) {
		if (errno != EADDRINUSE || i == ADDRESS_TRIES)
			return -errno;
		sync_doze(ADDRESS_NAP_NS);
	}
	return 0;
}

static int watch(struct sync_pollable *p, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int open_descriptors(struct sync_pollable *p)
{
	int r;

	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->epoll_fd < 0)
		return -errno;
	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0)
		return -errno;
	p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->timer_fd < 0)
		return -errno;
	r = watch(p, p->event_fd);
	if (r == 0)
		r = watch(p, p->timer_fd);
	if (r == 0)
		r = watch(p, p->socket.fd);
	return r;
}

static struct sync_pollable *allocate(const uint8_t uuid[16], uint32_t row, uint32_t rows)
{
	struct sync_pollable *p = calloc(1, sizeof(*p) + rows * sizeof(p->peers[0]));

	if (p == NULL)
		return NULL;
	memcpy(p->uuid, uuid, sizeof(p->uuid));
	p->row = row;
	p->rows = rows;
	p->full = DATAGRAMS_MAX;
	p->epoll_fd = p->event_fd = p->timer_fd = p->socket.fd = -1;
	for (uint32_t i = 0; i < rows; i++)
		p->peers[i].fd = -1;
	return p;
}

int sync_pollable_new(const uint8_t uuid[16], uint32_t row, uint32_t rows,
		      struct sync_pollable **ret)
{
	struct sync_pollable *p = allocate(uuid, row, rows);
	int r;

	if (p == NULL)
		return -ENOMEM;
	r = sync_socket_open(&p->socket);
	if (r == 0)
		r = bind_row(p);
	if (r == 0)
		r = open_descriptors(p);
	if (r != 0) {
		sync_pollable_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

int sync_pollable_new_set(const uint8_t id[16], struct sync_board *board,
			  struct sync_pollable **ret)
{
	unsigned full = sync_socket_queue();
	int r = sync_pollable_new(id, 0, 0, ret);

	if (r != 0)
		return r;
	(*ret)->board = board;
	/* Who takes so many at a time does not know how many there are. */
	(*ret)->full = full < DATAGRAMS_MAX ? full : DATAGRAMS_MAX;
	return 0;
}

int sync_pollable_new_waker(const uint8_t uuid[16], uint32_t row, uint32_t rows,
			    struct sync_pollable **ret)
{
	struct sync_pollable *p = allocate(uuid, row, rows);
	int r;

	if (p == NULL)
		return -ENOMEM;
	r = sync_socket_open(&p->socket);
	if (r == 0)
		r = sync_socket_bind_any(&p->socket);
	if (r != 0) {
		sync_pollable_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Only closes: in the child of a fork the descriptors are still the parent's as well. */
void sync_pollable_free(struct sync_pollable *p)
{
	if (p == NULL)
		return;
	for (uint32_t i = 0; i < p->rows; i++)
		close_fd(p->peers[i].fd);
	close_fd(p->epoll_fd);
	close_fd(p->event_fd);
	close_fd(p->timer_fd);
	close_fd(p->socket.fd);
	free(p);
}

int sync_pollable_fd(const struct sync_pollable *p)
{
	return p->epoll_fd;
}

/* ---- datagrams ------------------------------------------------------------------------------- */

void sync_pollable_forget(struct sync_pollable *p, uint32_t row)
{
	if (row >= p->rows || p->peers[row].fd < 0)
		return;
	close(p->peers[row].fd);
	p->peers[row].fd = -1;
	p->kept--;
}

/* Returns whether fd has been kept. */
static bool take_reply(struct sync_pollable *p, const struct sync_message *m, int fd)
{
	if (m->row >= p->rows || !sync_like_eventfd(fd))
		return false;
	if (p->peers[m->row].fd >= 0) {
		if (p->peers[m->row].epoch == m->epoch)
			return false; /* answers to several hellos */
		sync_pollable_forget(p, m->row);
	}
	if (p->kept == PEERS_KEPT)
		return false;
	p->peers[m->row] = (struct peer){.epoch = m->epoch, .fd = fd};
	p->kept++;
	return true;
}

/* Somebody's hello: a wake, and a question. */
static void take_hello(struct sync_pollable *p, const struct sync_received *r)
{
	int fds[SYNC_RIGHTS_MAX] = {p->event_fd, -1};

	if (p->event_fd < 0 || r->m.row != p->row)
		return;
	if (p->board == NULL) {
		sync_socket_answer(&p->socket, r, fds, 1);
		return;
	}
	sync_board_mark(p->board, r->m.member);
	fds[1] = sync_board_fd(p->board);
	sync_socket_answer(&p->socket, r, fds, 2);
}

/* Returns how many there were. *ret_wakes: how many of them may have been meant as a wake, which is
 * all but replies. */
static unsigned receive(struct sync_pollable *p, unsigned *ret_wakes)
{
	struct sync_received r;
	unsigned n;

	*ret_wakes = 0;
	for (n = 0; n < DATAGRAMS_MAX && sync_socket_receive(&p->socket, &r); n++) {
		bool reply = r.trusted && r.m.kind == SYNC_REPLY;

		if (r.m.kind == SYNC_HELLO)
			take_hello(p, &r);
		else if (reply && take_reply(p, &r.m, r.fd[0]))
			r.fd[0] = -1;
		sync_received_close(&r);
		*ret_wakes += !reply;
	}
	return n;
}

/* ---- waking ---------------------------------------------------------------------------------- */

int sync_pollable_wake(struct sync_pollable *p, uint32_t row, uint64_t epoch)
{
	static const uint64_t one = 1;
	unsigned wakes;

	if (row >= p->rows)
		return -EINVAL;
	if (p->peers[row].fd >= 0 && p->peers[row].epoch != epoch)
		sync_pollable_forget(p, row);
	/* The answer to the last hello may be there. Wakes among the datagrams are ours: put them
	 * back. */
	if (p->peers[row].fd < 0) {
		(void)receive(p, &wakes);
		if (wakes != 0 && p->event_fd >= 0)
			(void)!write(p->event_fd, &one, sizeof(one));
	}
	if (p->peers[row].fd >= 0 && p->peers[row].epoch == epoch) {
		/* EAGAIN: the count is at its limit, so it is readable. */
		if (write(p->peers[row].fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN)
			return 0;
		sync_pollable_forget(p, row);
	}
	return sync_socket_hello(&p->socket, p->uuid, row, 0, epoch);
}

void sync_pollable_poke(const struct sync_pollable *p)
{
	static const uint64_t one = 1;

	(void)!write(p->event_fd, &one, sizeof(one)); /* EAGAIN: it is readable */
}

/* ---- waiting --------------------------------------------------------------------------------- */

static int set_timer(struct sync_pollable *p, int64_t ns)
{
	struct itimerspec t = {.it_value = sync_timespec(ns)};

	return timerfd_settime(p->timer_fd, 0, &t, NULL) == 0 ? 0 : -errno;
}

int sync_pollable_arm(struct sync_pollable *p, int64_t nap_ns)
{
	int r;

	if (p->timer_fd < 0)
		return -EINVAL;
	nap_ns = sync_nap(nap_ns);
	r = set_timer(p, nap_ns > 0 ? nap_ns : 1); /* 0 would stop it */
	if (r == 0)
		p->armed = true;
	return r;
}

bool sync_pollable_drain(struct sync_pollable *p)
{
	uint64_t count;
	unsigned wakes;

	if (p->event_fd >= 0)
		(void)!read(p->event_fd, &count,
			    sizeof(count)); /* EAGAIN: woken by something else */
	/* Stopping the timer also takes its expiry back. */
	if (p->armed && set_timer(p, 0) == 0)
		p->armed = false;
	return receive(p, &wakes) >= p->full;
}

int sync_pollable_wait(struct sync_pollable *p, int64_t nap_ns)
{
	struct pollfd fds[2] = {{.fd = p->event_fd, .events = POLLIN},
				{.fd = p->socket.fd, .events = POLLIN}};
	struct timespec nap = sync_timespec(sync_nap(nap_ns));
	int r;

	if (p->event_fd < 0)
		return -EINVAL;
	r = ppoll(fds, 2, &nap, NULL);
	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	if (((fds[0].revents | fds[1].revents) & POLLIN) == 0)
		return -EBADF; /* somebody closed our descriptors */
	return 0;
}
