/* SPDX-License-Identifier: MIT */
/*
 * The datagrams that pollables and boards wake each other with, private to sync/.
 *
 * Abstract UNIX addresses are made of a random 128-bit id (a ring's, a set's) and a number in it. A
 * waker that does not have the sleeper's descriptors says hello there: that is a wake already, and
 * it is answered with descriptors (SCM_RIGHTS) that make the next wake cheaper. So whatever goes
 * wrong with descriptors (none left, a stranger, a full socket) costs speed, never a wake.
 *
 * Rights are handed over in the open, so they are guarded: given only to, and accepted only from,
 * processes of the same user and root, as the kernel says (SCM_CREDENTIALS). Whoever had them could
 * take our wakes away, and a false one could be a descriptor that blocks. Other users, who share a
 * ring by its mode, wake with a datagram each time.
 */
#ifndef QUOIT_DATAGRAM_H
#define QUOIT_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SYNC_RIGHTS_MAX 2

enum { SYNC_HELLO = 1, SYNC_REPLY = 2 };

/* Between processes of one machine. */
struct sync_message {
	uint32_t magic;
	uint32_t kind;
	uint32_t row;    /* hello: who is meant; reply: whose descriptors these are */
	uint32_t member; /* hello to a set: which of its rings has news */
	uint64_t epoch;  /* of that row's holder, as the hello's sender knows it */
};

socklen_t sync_address(const uint8_t id[16], uint32_t row, struct sockaddr_un *ret);

struct sync_socket {
	int fd;          /* or -1 */
	int send_buffer; /* bytes of datagrams under way that it stands */
};

/* Without an address; no datagram will come without credentials. 0 or -errno; on failure fd may be
 * open and is the caller's to close. */
int sync_socket_open(struct sync_socket *ret);
/* So many datagrams waiting make the kernel turn the next one away, on sockets made from now on. */
unsigned sync_socket_queue(void);
/* An address of the kernel's choice, for replies. */
int sync_socket_bind_any(const struct sync_socket *s);
/*
 * Say hello to row `row` of `id`, whose holder's epoch is this one. 0, also if there are too many
 * on the way already: then the other side is awake, or about to be, and sees by their number that
 * others may have been turned away. -ECONNREFUSED: nobody is there; -errno.
 */
int sync_socket_hello(const struct sync_socket *s, const uint8_t id[16], uint32_t row,
		      uint32_t member, uint64_t epoch);

/* A datagram that came. */
struct sync_received {
	struct sync_message m; /* all zero if it was none of ours */
	struct sockaddr_un from;
	socklen_t from_len;
	bool trusted;            /* same user, or root */
	int fd[SYNC_RIGHTS_MAX]; /* the first that came with it, or -1; the caller's */
};

/* Take one; false: there is none. */
bool sync_socket_receive(const struct sync_socket *s, struct sync_received *ret);
/* Could it be an eventfd? A pipe or a socket is none: writing to it can be a SIGPIPE. */
bool sync_like_eventfd(int fd);
void sync_received_close(struct sync_received *r);
/* Answer a hello with descriptors. Not having got through is no harm: the next hello asks again. */
void sync_socket_answer(const struct sync_socket *s, const struct sync_received *hello,
			const int *fds, unsigned n);

#endif
