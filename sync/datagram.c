/* SPDX-License-Identifier: MIT */
/* Wakes by datagram, and descriptors in return; see datagram.h. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "sync/datagram.h"

#define MAGIC         UINT32_C(0x746f7571) /* "quot" */
#define QUEUE_DEFAULT 10                   /* Linux's, where it cannot be read */

socklen_t sync_address(const uint8_t id[16], uint32_t row, struct sockaddr_un *ret)
{
	char *at = ret->sun_path + 1;
	char *end = ret->sun_path + sizeof(ret->sun_path);

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	at += snprintf(at, (size_t)(end - at), "quoit/");
	for (int i = 0; i < 16; i++)
		at += snprintf(at, (size_t)(end - at), "%02x", id[i]);
	at += snprintf(at, (size_t)(end - at), "/%u", row);
	return (socklen_t)(at - (char *)ret);
}

int sync_socket_open(struct sync_socket *ret)
{
	int on = 1;
	socklen_t len = sizeof(ret->send_buffer);

	ret->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Before it has an address: no datagram comes without credentials. */
	if (ret->fd < 0 || setsockopt(ret->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0 ||
	    getsockopt(ret->fd, SOL_SOCKET, SO_SNDBUF, &ret->send_buffer, &len) != 0)
		return -errno;
	return 0;
}

unsigned sync_socket_queue(void)
{
	FILE *f = fopen("/proc/sys/net/unix/max_dgram_qlen", "re");
	unsigned most = QUEUE_DEFAULT;

	if (f != NULL) {
		if (fscanf(f, "%u", &most) != 1 || most >= INT_MAX)
			most = QUEUE_DEFAULT;
		fclose(f);
	}
	return most + 1; /* the kernel refuses when there are more */
}

int sync_socket_bind_any(const struct sync_socket *s)
{
	struct sockaddr_un any = {.sun_family = AF_UNIX};

	return bind(s->fd, (struct sockaddr *)&any, sizeof(any.sun_family)) == 0 ? 0 : -errno;
}

/* ---- sending --------------------------------------------------------------------------------- */

static int send_hello(int fd, const struct sync_message *hello, const struct sockaddr_un *to,
		      socklen_t to_len)
{
	return sendto(fd, hello, sizeof(*hello), MSG_DONTWAIT | MSG_NOSIGNAL,
		      (const struct sockaddr *)to, to_len) < 0
		       ? -errno
		       : 0;
}

/* Our socket has too many datagrams under way, all with peers that are stopped: use a fresh one,
 * which may be closed at once. */
static int hello_aside(const struct sync_message *hello, const struct sockaddr_un *to,
		       socklen_t to_len)
{
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (s < 0)
		return -errno;
	r = send_hello(s, hello, to, to_len);
	close(s);
	return r;
}

int sync_socket_hello(const struct sync_socket *s, const uint8_t id[16], uint32_t row,
		      uint32_t member, uint64_t epoch)
{
	struct sync_message hello = {
		.magic = MAGIC, .kind = SYNC_HELLO, .row = row, .member = member, .epoch = epoch};
	struct sockaddr_un to;
	socklen_t to_len = sync_address(id, row, &to);
	int r = send_hello(s->fd, &hello, &to, to_len);
	int under_way = 0;

	/* EAGAIN has two meanings: ours is full, or the peer's is. */
	if (r == -EAGAIN && ioctl(s->fd, SIOCOUTQ, &under_way) == 0 && under_way >= s->send_buffer)
		r = hello_aside(&hello, &to, to_len);
	/* The peer's is full: it is readable, so the peer is awake or about to be. */
	return r == -EAGAIN ? 0 : r;
}

void sync_socket_answer(const struct sync_socket *s, const struct sync_received *hello,
			const int *fds, unsigned n)
{
	struct sync_message reply = hello->m;
	struct sockaddr_un to = hello->from;
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(SYNC_RIGHTS_MAX * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_name = &to,
			     .msg_namelen = hello->from_len,
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = CMSG_SPACE(n * sizeof(int))};

	/* A sender without an address cannot be answered, and strangers are not. */
	if (!hello->trusted || hello->from_len <= sizeof(to.sun_family))
		return;
	reply.kind = SYNC_REPLY;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, n * sizeof(int));
	(void)!sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void take_rights(const struct cmsghdr *c, struct sync_received *r)
{
	size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	unsigned kept = 0;

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
		while (kept < SYNC_RIGHTS_MAX && r->fd[kept] >= 0)
			kept++;
		if (kept < SYNC_RIGHTS_MAX)
			r->fd[kept] = fd;
		else
			close(fd);
	}
}

static void take_ancillary(struct msghdr *msg, struct sync_received *r)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS &&
		    c->cmsg_len == CMSG_LEN(sizeof(struct ucred))) {
			struct ucred from;

			memcpy(&from, CMSG_DATA(c), sizeof(from));
			r->trusted = from.uid == geteuid() || from.uid == 0;
		} else if (c->cmsg_type == SCM_RIGHTS) {
			take_rights(c, r);
		}
	}
}

bool sync_socket_receive(const struct sync_socket *s, struct sync_received *ret)
{
	struct iovec iov = {.iov_base = &ret->m, .iov_len = sizeof(ret->m)};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(SYNC_RIGHTS_MAX * sizeof(int))];
	} control;
	struct msghdr msg = {.msg_name = &ret->from,
			     .msg_namelen = sizeof(ret->from),
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n;

	*ret = (struct sync_received){.fd = {-1, -1}};
	n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return false; /* EAGAIN; any other error: nothing to be had either */
	ret->from_len = msg.msg_namelen;
	take_ancillary(&msg, ret);
	if (n != sizeof(ret->m) || (msg.msg_flags & MSG_TRUNC) != 0 || ret->m.magic != MAGIC)
		memset(&ret->m, 0, sizeof(ret->m));
	return true;
}

bool sync_like_eventfd(int fd)
{
	struct stat status;

	/* What the kernel makes without a file is of no type. */
	return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == 0;
}

void sync_received_close(struct sync_received *r)
{
	for (unsigned i = 0; i < SYNC_RIGHTS_MAX; i++) {
		if (r->fd[i] >= 0)
			close(r->fd[i]);
		r->fd[i] = -1;
	}
}
