/* SPDX-License-Identifier: MIT */
/*
 * A ring in an event loop, beside other descriptors: prints what comes through the ring and what is
 * typed, until both have ended.
 *
 *     epoll RING             in one terminal
 *     quoit-produce -l RING  in another, of any user who may write to the ring
 *
 * The pattern: take records until -EAGAIN, arm, and sleep in epoll_wait() only if arming says so.
 * Whoever sleeps without it may sleep beside a record that came just before.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <quoit/quoit.h>

/* Print all records that are there. 0: end of the stream; -EAGAIN: no more at present. */
static int take_records(struct quoit_consumer *consumer)
{
	struct quoit_msg msg;
	int rc;

	while ((rc = quoit_peek(consumer, &msg)) == 1) {
		printf("ring: %.*s\n", (int)msg.len, (const char *)msg.data);
		rc = quoit_advance(consumer, &msg);
		if (rc != 0)
			return rc;
	}
	fflush(stdout);
	return rc;
}

static bool take_input(void)
{
	char text[4096];
	ssize_t size = read(STDIN_FILENO, text, sizeof(text));

	if (size > 0) {
		printf("stdin: %.*s", (int)size, text);
		fflush(stdout);
	}
	return size > 0;
}

/* Fails with EPERM for a regular file, which never blocks: it is read at the end. */
static bool watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

static int loop(int epoll, struct quoit_consumer *consumer)
{
	struct epoll_event event;
	int rc;

	while ((rc = take_records(consumer)) == -EAGAIN) {
		rc = quoit_consumer_arm(consumer);
		if (rc < 0)
			return rc;
		if (rc == 1)
			continue; /* something came in between */
		if (epoll_wait(epoll, &event, 1, -1) < 0) {
			if (errno != EINTR)
				return -errno;
			continue;
		}
		if (event.data.fd == STDIN_FILENO && !take_input())
			epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	}
	while (rc == 0 && take_input())
		;
	return rc;
}

int main(int argc, char **argv)
{
	struct quoit_options options = {.size = sizeof(options), .flags = QUOIT_CREATE_OR_ATTACH};
	struct quoit_consumer *consumer = NULL;
	struct quoit *ring = NULL;
	int rc, epoll, fd = -1;

	if (argc != 2) {
		fprintf(stderr, "usage: epoll RING\n");
		return 2;
	}
	epoll = epoll_create1(EPOLL_CLOEXEC);
	rc = epoll < 0 ? -errno : quoit_create(argv[1], &options, &ring);
	if (rc == 0)
		rc = quoit_consumer_open(ring, &consumer);
	if (rc == 0)
		fd = quoit_consumer_fd(consumer);
	if (rc == 0 && fd < 0)
		rc = fd;
	if (rc == 0 && !watch(epoll, fd))
		rc = -errno;
	if (rc == 0 && !watch(epoll, STDIN_FILENO) && errno != EPERM)
		rc = -errno;
	if (rc == 0)
		rc = loop(epoll, consumer);
	if (rc != 0)
		fprintf(stderr, "epoll: %s: %s\n", argv[1], quoit_strerror(rc));
	quoit_consumer_close(consumer);
	quoit_detach(ring);
	close(epoll);
	return rc != 0;
}
