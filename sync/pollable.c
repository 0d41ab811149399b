/* SPDX-License-Identifier: MIT */
/*
 * Pollable descriptors and waking them, see pollable.h. Every datagram is a wake by itself;
 * answering it with the eventfd only makes the next wake cheaper. So whatever goes wrong with
 * descriptors (none left, a stranger, a full socket) costs speed, never a wake.
 *
 * Rights are handed over in the open, so they are guarded: the eventfd is given only to, and
 * accepted only from, processes of the same user and root, as the kernel says (SCM_CREDENTIALS).
 * Whoever had it could take our wakes away, and a false one could be a descriptor that blocks.
 * Other users, who share a ring by its mode, wake with a datagram each time.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "sync/backend.h"
#include "sync/pollable.h"

#define MAGIC UINT32_C(0x746f7571) /* "quot" */
enum { HELLO = 1, REPLY = 2 };

/* Most datagrams taken at a time; more keep the descriptor readable. */
#define DATAGRAMS_MAX 64
/* Most eventfds of peers kept: the process's own descriptors are more important. */
#define PEERS_KEPT 64
/* A dying process lets go of its row a moment before it lets go of its address. */
#define ADDRESS_TRIES  200
#define ADDRESS_NAP_NS 1000000

/* A datagram; between processes of one machine. */
struct message {
	uint32_t magic;
	uint32_t kind;
	uint32_t row; /* hello: who is meant; reply: whose eventfd this is */
	uint32_t spare;
	uint64_t epoch; /* of that row's holder, as the hello's sender knows it */
};

struct peer {
	uint64_t epoch;
	int fd; /* its eventfd, or -1 */
};

struct sync_pollable {
	uint8_t uuid[16];
	uint32_t row, rows;
	int epoll_fd, event_fd, timer_fd; /* -1: only wakes others */
	int socket;
	int send_buffer; /* bytes of datagrams under way that the socket stands */
	bool armed;
	unsigned kept;
	struct peer peers[];
};

/* ---- making one ------------------------------------------------------------------------------ */

static socklen_t row_address(const struct sync_pollable *p, uint32_t row, struct sockaddr_un *ret)
{
	char *at = ret->sun_path + 1;
	char *end = ret->sun_path + sizeof(ret->sun_path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	at += snprintf(at, (size_t)(end - at), "quoit/");
	for (int i = 0; i < 16; i++)
		at += snprintf(at, (size_t)(end - at), "%02x", p->uuid[i]);
	at += snprintf(at, (size_t)(end - at), "/%u", row);
	return (socklen_t)(at - (char *)ret);
}

static int bind_row(struct sync_pollable *p)
{
	struct sockaddr_un address;
	socklen_t len = row_address(p, p->row, &address);

	for (int i = 0; bind(p->socket, (struct sockaddr *)&address, len) != 0; i++) {
		if (errno != EADDRINUSE || i == ADDRESS_TRIES)
			return -errno;
		sync_doze(ADDRESS_NAP_NS);
	}
	return 0;
}

static int open_socket(struct sync_pollable *p)
{
	int on = 1;
	socklen_t len = sizeof(p->send_buffer);

	p->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Before it has an address: no datagram comes without credentials. */
	if (p->socket < 0 || setsockopt(p->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
	    getsockopt(p->socket, SOL_SOCKET, SO_SNDBUF, &p->send_buffer, &len) != 0)
		return -errno;
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
		r = watch(p, p->socket);
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
	p->epoll_fd = p->event_fd = p->timer_fd = p->socket = -1;
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
	r = open_socket(p);
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

int sync_pollable_new_waker(const uint8_t uuid[16], uint32_t row, uint32_t rows,
			    struct sync_pollable **ret)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};
	struct sync_pollable *p = allocate(uuid, row, rows);
	int r;

	if (p == NULL)
		return -ENOMEM;
	r = open_socket(p);
	/* An address of the kernel's choice, for replies. */
	if (r == 0 && bind(p->socket, (struct sockaddr *)&any, sizeof(any.sun_family)) != 0)
		r = -errno;
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
	close_fd(p->socket);
	free(p);
}

int sync_pollable_fd(const struct sync_pollable *p)
{
	return p->epoll_fd;
}

/* ---- datagrams ------------------------------------------------------------------------------- */

/* What came with a datagram. */
struct ancillary {
	bool trusted;
	int fd; /* the first descriptor; the rest is closed already. -1: none */
};

static struct ancillary take_ancillary(struct msghdr *msg)
{
	struct ancillary a = {.fd = -1};

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS &&
		    c->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
			struct ucred from;

			memcpy(&from, CMSG_DATA(c), sizeof(from));
			a.trusted = from.uid == geteuid() || from.uid == 0;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

			for (size_t i = 0; i < n; i++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
				if (a.fd < 0)
					a.fd = fd;
				else
					close(fd);
			}
		}
	}
	return a;
}

void sync_pollable_forget(struct sync_pollable *p, uint32_t row)
{
	if (row >= p->rows || p->peers[row].fd < 0)
		return;
	close(p->peers[row].fd);
	p->peers[row].fd = -1;
	p->kept--;
}

/* Returns whether fd has been kept. */
static bool take_reply(struct sync_pollable *p, const struct message *m, int fd)
{
	if (fd < 0 || m->row >= p->rows)
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

/* Not having got through is no harm: the next hello asks again. */
static void answer(struct sync_pollable *p, const struct message *hello, struct sockaddr_un *to,
		   socklen_t to_len)
{
	struct message reply = *hello;
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_name = to,
			     .msg_namelen = to_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};

	reply.kind = REPLY;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &p->event_fd, sizeof(int));
	(void)!sendmsg(p->socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Take one datagram. -EAGAIN: no more; 1: it may have been meant as a wake; 0: a reply. */
static int receive_one(struct sync_pollable *p)
{
	struct message m = {0};
	struct sockaddr_un from;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = {.msg_name = &from,
			     .msg_namelen = sizeof(from),
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(p->socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct ancillary a;
	bool kept = false;

	if (n < 0)
		return -EAGAIN; /* any other error: nothing to be had either */
	a = take_ancillary(&msg);
	if (a.trusted && n == sizeof(m) && (msg.msg_flags & MSG_TRUNC) == 0 && m.magic == MAGIC) {
		if (m.kind == REPLY)
			kept = take_reply(p, &m, a.fd);
		else if (m.kind == HELLO && p->event_fd >= 0 && m.row == p->row &&
			 msg.msg_namelen > sizeof(from.sun_family))
			answer(p, &m, &from, msg.msg_namelen);
	}
	if (!kept)
		close_fd(a.fd);
	return a.trusted && m.kind == REPLY ? 0 : 1;
}

/* Returns whether there were wakes among them. */
static bool receive(struct sync_pollable *p)
{
	bool woken = false;

	for (int i = 0; i < DATAGRAMS_MAX; i++) {
		int r = receive_one(p);

		if (r < 0)
			break;
		woken |= r > 0;
	}
	return woken;
}

/* ---- waking ---------------------------------------------------------------------------------- */

static int send_hello(int socket, const struct message *hello, const struct sockaddr_un *to,
		      socklen_t to_len)
{
	return sendto(socket, hello, sizeof(*hello), MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)to, to_len) < 0
		       ? -errno
		       : 0;
}

/* Our socket has too many datagrams under way, all with peers that are stopped: use a fresh one,
 * which may be closed at once. */
static int hello_aside(const struct message *hello, const struct sockaddr_un *to, socklen_t to_len)
{
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (s < 0)
		return -errno;
	r = send_hello(s, hello, to, to_len);
	close(s);
	return r;
}

static int wake_by_datagram(struct sync_pollable *p, uint32_t row, uint64_t epoch)
{
	struct message hello = {.magic = MAGIC, .kind = HELLO, .row = row, .epoch = epoch};
	struct sockaddr_un to;
	socklen_t to_len = row_address(p, row, &to);
	int r = send_hello(p->socket, &hello, &to, to_len);
	int under_way = 0;

	/* EAGAIN has two meanings: ours is full, or the peer's is. */
	if (r == -EAGAIN && ioctl(p->socket, SIOCOUTQ, &under_way) == 0 &&
	    under_way >= p->send_buffer)
		r = hello_aside(&hello, &to, to_len);
	/* The peer's is full: it is readable, so the peer is awake or about to be. */
	return r == -EAGAIN ? 0 : r;
}

int sync_pollable_wake(struct sync_pollable *p, uint32_t row, uint64_t epoch)
{
	static const uint64_t one = 1;

	if (row >= p->rows)
		return -EINVAL;
	if (p->peers[row].fd >= 0 && p->peers[row].epoch != epoch)
		sync_pollable_forget(p, row);
	/* The answer to the last hello may be there. Wakes among the datagrams are ours: put them
	 * back. */
	if (p->peers[row].fd < 0 && receive(p) && p->event_fd >= 0)
		(void)!write(p->event_fd, &one, sizeof(one));
	if (p->peers[row].fd >= 0 && p->peers[row].epoch == epoch) {
		/* EAGAIN: the count is at its limit, so it is readable. */
		if (write(p->peers[row].fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN)
			return 0;
		sync_pollable_forget(p, row);
	}
	return wake_by_datagram(p, row, epoch);
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

void sync_pollable_drain(struct sync_pollable *p)
{
	uint64_t count;

	if (p->event_fd >= 0)
		(void)!read(p->event_fd, &count,
			    sizeof(count)); /* EAGAIN: woken by something else */
	/* Stopping the timer also takes its expiry back. */
	if (p->armed && set_timer(p, 0) == 0)
		p->armed = false;
	receive(p);
}

int sync_pollable_wait(struct sync_pollable *p, int64_t nap_ns)
{
	struct pollfd fds[2] = {{.fd = p->event_fd, .events = POLLIN},
				{.fd = p->socket, .events = POLLIN}};
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
