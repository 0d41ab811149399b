/* SPDX-License-Identifier: MIT */
/*
 * A process of the same user that takes part in waking, and lies: it sends datagrams to whom it
 * likes, has a set of its own that rings can be made to name, takes the addresses of endpoints, and
 * answers the hellos that come there with descriptors that are not what they should be. It lives in
 * this process, and the kernel vouches for it.
 */
#ifndef QUOIT_TESTS_FUZZ_STRANGER_H
#define QUOIT_TESTS_FUZZ_STRANGER_H

#include <sys/eventfd.h>

#include "fuzz/harness.h"
#include "sync/datagram.h"

/* As sync/datagram.c and sync/board.c have them. */
#define STRANGER_MAGIC UINT32_C(0x746f7571)
#define BOARD_MAGIC    UINT64_C(0x647261656274666f)
#define RIGHTS_MOST    4

struct board_head {
	uint32_t sleeping, bits;
	uint64_t magic;
	uint8_t id[16];
	uint32_t closed;
};

struct stranger {
	int fd;
	int taken;      /* bound to an endpoint's address, or -1 */
	uint8_t id[16]; /* of its set */
};

/* A socket with this address, or -1: somebody has it. */
static int take_address(const uint8_t id[16], uint32_t row)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un at;
	socklen_t len = sync_address(id, row, &at);

	MUST(fd >= 0);
	if (bind(fd, (struct sockaddr *)&at, len) == 0)
		return fd;
	close(fd);
	return -1;
}

static struct stranger *the_stranger(void)
{
	static struct stranger s = {.fd = -1, .taken = -1};

	if (s.fd >= 0)
		return &s;
	MUST(getrandom(s.id, sizeof(s.id), 0) == (ssize_t)sizeof(s.id));
	s.fd = take_address(s.id, 0);
	MUST(s.fd >= 0);
	return &s;
}

static void let_go_of_address(struct stranger *s)
{
	if (s->taken >= 0)
		close(s->taken);
	s->taken = -1;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* A board, or nearly one: which it is depends on `how`. `other` is the id of somebody else's. */
static int false_board(const struct stranger *s, const uint8_t other[16], unsigned how)
{
	static const uint32_t bits[] = {64, 1, 65536, 0, UINT32_MAX, 65537, 20000, 64};
	static const uint32_t sizes[] = {4096, 4096, 12288, 4095, 128, 0, 65536, 8192};
	struct board_head head = {.sleeping = how & 1,
				  .bits = bits[how % 8],
				  .magic = BOARD_MAGIC + (how / 64 == 3),
				  .closed = how >> 5 & 1};
	int fd = memfd_create("quoit-fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0);
	memcpy(head.id, how & 8 ? other : s->id, sizeof(head.id));
	MUST(pwrite(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head));
	MUST(ftruncate(fd, sizes[how / 8 % 8]) == 0);
	if (how / 64 != 2)
		MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

/* One end of a pipe that nobody reads. */
static int broken_pipe(void)
{
	int ends[2];

	MUST(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	close(ends[0]);
	return ends[1];
}

static int some_descriptor(unsigned what)
{
	int fd;

	switch (what % 8) {
	case 0:
		fd = broken_pipe();
		break;
	case 1:
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		break;
	case 2: /* at its limit */
		fd = eventfd(UINT32_MAX, EFD_CLOEXEC | EFD_NONBLOCK);
		MUST(fd < 0 || write(fd, &(uint64_t){UINT64_MAX - 1 - UINT32_MAX}, 8) == 8);
		break;
	default:
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		break;
	}
	MUST(fd >= 0);
	return fd;
}

/* ---- datagrams ------------------------------------------------------------------------------ */

struct letter {
	struct sockaddr_un to;
	socklen_t to_len;
	struct sync_message m;
	size_t size; /* of it that is sent */
	int fd[RIGHTS_MOST];
	unsigned fds;
};

/* Not getting through is no matter. */
static void post(const struct stranger *s, struct letter *l)
{
	struct iovec iov = {.iov_base = &l->m, .iov_len = l->size};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(RIGHTS_MOST * sizeof(int))];
	} control = {0};
	struct msghdr msg = {
		.msg_name = &l->to, .msg_namelen = l->to_len, .msg_iov = &iov, .msg_iovlen = 1};

	if (l->fds != 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(l->fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(l->fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), l->fd, l->fds * sizeof(int));
	}
	(void)!sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (l->fds != 0)
		close(l->fd[--l->fds]);
}

/* A message of any kind for anyone, with up to four descriptors. */
static void write_letter(struct letter *l, const uint8_t id[16], uint32_t row,
			 const uint8_t bytes[3])
{
	l->to_len = sync_address(id, row, &l->to);
	l->m = (struct sync_message){.magic = STRANGER_MAGIC + (bytes[0] == 255),
				     .kind = bytes[0] % 4,
				     .row = bytes[0] & 4 ? row : bytes[1],
				     .member = bytes[1] == 255 ? UINT32_MAX : bytes[1],
				     .epoch = bytes[2] % 4};
	l->size = bytes[0] / 8 % 16 == 15 ? bytes[1] % sizeof(l->m) : sizeof(l->m);
	for (l->fds = 0; l->fds < bytes[2] / 4 % 8 && l->fds < RIGHTS_MOST; l->fds++)
		l->fd[l->fds] = some_descriptor(bytes[2] / 32 + l->fds);
}

/* Take the hellos that have come to a socket, and answer the first ones: what_fd, and a board. */
static void answer_hellos(const struct stranger *s, int fd, const uint8_t other[16], unsigned how,
			  unsigned what_fd)
{
	struct sync_socket socket = {.fd = fd};
	struct sync_received r;

	for (unsigned i = 0; fd >= 0 && i < 16 && sync_socket_receive(&socket, &r); i++) {
		struct letter l = {.to = r.from,
				   .to_len = r.from_len,
				   .m = r.m,
				   .size = sizeof(l.m),
				   .fd = {some_descriptor(what_fd), false_board(s, other, how)},
				   .fds = 2};

		l.m.magic = STRANGER_MAGIC;
		l.m.kind = SYNC_REPLY;
		sync_received_close(&r);
		post(s, &l);
	}
}

#endif
