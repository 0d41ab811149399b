/* SPDX-License-Identifier: MIT */
/*
 * Pollable descriptors in bad company: full sockets, no descriptors to spare, other users, rubbish
 * and false answers. A wake gets through, and nobody's descriptors are kept or given away.
 */
#include "unit/sync_pollable_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

TestSuite(strangers, .init = set_up, .fini = tear_down, .timeout = 60);

static void row_address(uint32_t row, struct sockaddr_un *ret, socklen_t *ret_len)
{
	char *at = ret->sun_path + 1;

	memset(ret, 0, sizeof(*ret));
	ret->sun_family = AF_UNIX;
	at += sprintf(at, "quoit/");
	for (int i = 0; i < 16; i++)
		at += sprintf(at, "%02x", uuid[i]);
	at += sprintf(at, "/%u", row);
	*ret_len = (socklen_t)(at - (char *)ret);
}

/* ---- exhaustion ----------------------------------------------------------------------------- */

Test(strangers, stays_readable_when_wakes_fill_its_socket)
{
	struct sync_pollable *p = endpoint(1), *w = waker();

	for (int i = 0; i < 2000; i++)
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0));
	for (int i = 0; i < 2000 && readable(p, 0); i++)
		sync_pollable_drain(p);
	cr_assert_not(readable(p, 0));
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0));
}

Test(strangers, is_woken_although_all_others_are_stopped)
{
	struct sync_pollable *w = waker();

	/* None of them drains: their wakes stay on the waker's account, until it can send no more.
	 */
	for (uint32_t row = 0; row < ROWS; row++) {
		struct sync_pollable *p = endpoint(row);

		for (int i = 0; i < 600; i++)
			cr_assert_eq(sync_pollable_wake(w, row, 7), 0);
		cr_assert(readable(p, 0), "row %u", row);
	}
}

Test(strangers, is_woken_by_one_that_has_no_descriptors_left)
{
	struct sync_pollable *p = endpoint(1), *w = waker();
	struct rlimit limit;
	int unused = dup(0);

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	close(unused);
	limit.rlim_cur = (rlim_t)unused;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		cr_assert(readable(p, 0));
		sync_pollable_drain(p);
	}
	cr_assert_eq(dup(0), -1, "no answer was taken");
}

Test(strangers, cannot_be_made_without_descriptors_and_leaves_none)
{
	struct sync_pollable *p = NULL;
	struct rlimit limit;
	int before = open_descriptors(), unused = dup(0);

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	close(unused);
	for (rlim_t more = 0; more < 4; more++) {
		limit.rlim_cur = (rlim_t)unused + more;
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		cr_assert_eq(sync_pollable_new(uuid, 1, ROWS, &p), -EMFILE);
		cr_assert_null(p);
	}
	limit.rlim_cur = limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(open_descriptors(), before);
}

/* ---- other users and rubbish ---------------------------------------------------------------- */

/* The row's endpoint, in a process of user nobody. */
static void hold_row_1_as_nobody(void)
{
	if (setuid(65534) != 0)
		_exit(1);
	hold_row_1();
}

static void wake_as_nobody(void)
{
	struct sync_pollable *w;
	int before;

	if (setuid(65534) != 0)
		_exit(1);
	w = waker();
	before = open_descriptors();
	for (int i = 0; i < 5; i++) {
		if (sync_pollable_wake(w, 1, 7) != 0)
			_exit(2);
		while (atomic_load(step) <= i)
			usleep(500);
	}
	if (open_descriptors() != before)
		_exit(3); /* it was trusted with an eventfd */
}

Test(strangers, is_woken_by_another_user_without_giving_its_eventfd_away)
{
	struct sync_pollable *p;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs a second user");
	p = endpoint(1);
	pid = start(wake_as_nobody);
	for (int i = 0; i < 5; i++) {
		cr_assert(readable(p, LONG_MS));
		sync_pollable_drain(p);
		atomic_fetch_add(step, 1);
	}
	cr_assert_eq(exit_status(pid), 0);
}

Test(strangers, accepts_no_eventfd_from_another_user)
{
	struct sync_pollable *w;
	int before;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("needs a second user");
	pid = start(hold_row_1_as_nobody);
	await_step(1);
	w = waker();
	before = open_descriptors();
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
		await_step(2 + i);
	}
	cr_assert_eq(open_descriptors(), before);
	kill_and_wait(pid);
}

/* One datagram of n bytes with `fds` descriptors. */
static void send_rubbish(int from, uint32_t row, size_t n, int fds)
{
	struct sockaddr_un to;
	char bytes[256];
	struct iovec iov = {.iov_base = bytes, .iov_len = n};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(16 * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_name = &to, .msg_iov = &iov, .msg_iovlen = 1};

	memset(bytes, 0x5a, sizeof(bytes));
	row_address(row, &to, &msg.msg_namelen);
	if (fds > 0) {
		msg.msg_control = control.room;
		msg.msg_controllen = CMSG_SPACE((size_t)fds * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN((size_t)fds * sizeof(int));
		memset(CMSG_DATA(&control.header), 0, (size_t)fds * sizeof(int));
	}
	cr_assert_eq(sendmsg(from, &msg, MSG_DONTWAIT), (ssize_t)n);
}

Test(strangers, takes_rubbish_for_a_wake_and_keeps_none_of_its_descriptors)
{
	struct sync_pollable *p = endpoint(1), *w = waker();
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), before = open_descriptors();
	static const size_t sizes[] = {0, 1, 23, 24, 25, 256};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int fds = 0; fds <= 16; fds++) {
			send_rubbish(s, 1, sizes[i], fds);
			cr_assert(readable(p, 0));
			sync_pollable_drain(p);
			cr_assert_not(readable(p, 0));
			cr_assert_eq(open_descriptors(), before);
		}
	cr_assert_eq(sync_pollable_wake(w, 1, 7), 0);
	cr_assert(readable(p, 0));
}

Test(strangers, does_not_take_false_answers_into_its_own_table)
{
	/* A genuine answer with more than one descriptor, for a row beyond the table, and twice. */
	struct {
		uint32_t magic, kind, row, spare;
		uint64_t epoch;
	} reply = {.magic = 0x746f7571, .kind = 2, .row = ROWS, .epoch = 7};
	struct sync_pollable *p = endpoint(1);
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), e = eventfd(0, EFD_CLOEXEC);
	int before = open_descriptors(), sent[2];
	struct sockaddr_un to;
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_name = &to,
			     .msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = sizeof(control.room)};

	row_address(1, &to, &msg.msg_namelen);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(2 * sizeof(int));
	sent[0] = sent[1] = s; /* a socket is no eventfd: writing to one can be a SIGPIPE */
	memcpy(CMSG_DATA(&control.header), sent, sizeof(sent));
	reply.row = 5;
	cr_assert_eq(sendmsg(s, &msg, 0), (ssize_t)sizeof(reply));
	sync_pollable_drain(p);
	cr_assert_eq(open_descriptors(), before, "no eventfd");
	sent[0] = sent[1] = e;
	memcpy(CMSG_DATA(&control.header), sent, sizeof(sent));
	reply.row = ROWS;
	cr_assert_eq(sendmsg(s, &msg, 0), (ssize_t)sizeof(reply));
	sync_pollable_drain(p);
	cr_assert_eq(open_descriptors(), before, "no such row");
	for (int i = 0; i < 3; i++) {
		reply.row = 5;
		cr_assert_eq(sendmsg(s, &msg, 0), (ssize_t)sizeof(reply));
		sync_pollable_drain(p);
		cr_assert_eq(open_descriptors(), before + 1, "one for the row");
	}
	sync_pollable_forget(p, 5);
	sync_pollable_forget(p, 5);
	sync_pollable_forget(p, ROWS);
	cr_assert_eq(open_descriptors(), before);
}
