/* SPDX-License-Identifier: MIT */
/*
 * Boards: marks and who has to wake, how a waker comes by a board, and what it makes of a false
 * one.
 */
#include "unit/sync_pollable_support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "sync/board.h"
#include "sync/datagram.h"

TestSuite(board, .init = set_up, .fini = tear_down, .timeout = 60);

/* The owner's side: a board and the pollable that hands it out. */
struct owner {
	struct sync_board *board;
	struct sync_pollable *pollable;
};

static struct owner owner_open(uint32_t bits)
{
	struct owner o;

	cr_assert_eq(sync_board_new(uuid, bits, &o.board), 0);
	cr_assert_eq(sync_pollable_new_set(uuid, o.board, &o.pollable), 0);
	return o;
}

static void owner_close(struct owner *o)
{
	sync_pollable_free(o->pollable);
	sync_board_retire(o->board);
	sync_board_free(o->board);
}

static bool take(struct sync_board *b, uint32_t bit)
{
	_Atomic uint64_t *word = &sync_board_words(b)[bit / 64];

	return (atomic_fetch_and(word, ~(UINT64_C(1) << bit % 64)) >> bit % 64 & 1) != 0;
}

Test(board, only_one_waker_of_a_sleeper_has_to_call_the_kernel)
{
	struct owner o = owner_open(1000);

	cr_expect_not(sync_board_mark(o.board, 7), "nobody sleeps");
	sync_board_sleep(o.board);
	cr_expect(sync_board_asleep(o.board));
	cr_expect(sync_board_mark(o.board, 999));
	cr_expect_not(sync_board_mark(o.board, 999), "the other one does it");
	cr_expect_not(sync_board_mark(o.board, 8));
	sync_board_sleep(o.board);
	sync_board_awake(o.board);
	cr_expect_not(sync_board_mark(o.board, 9));
	cr_expect(take(o.board, 7) && take(o.board, 8) && take(o.board, 9) && take(o.board, 999));
	cr_expect_not(take(o.board, 999), "taken");
	owner_close(&o);
}

Test(board, bits_out_of_range_are_none)
{
	static const uint32_t bits[] = {100, 101, 127, 4096, 65536, UINT32_MAX};
	struct owner o = owner_open(100);

	sync_board_sleep(o.board);
	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		cr_expect_not(sync_board_mark(o.board, bits[i]));
	cr_expect(sync_board_asleep(o.board));
	owner_close(&o);
	cr_expect_eq(sync_board_new(uuid, 0, &o.board), -EINVAL);
	cr_expect_eq(sync_board_new(uuid, SYNC_BOARD_BITS_MAX + 1, &o.board), -EINVAL);
}

Test(board, a_first_wake_is_a_hello_and_later_ones_are_marks)
{
	struct owner o = owner_open(64);
	struct sync_board *link = NULL;
	uint32_t called = 0;

	cr_assert_eq(sync_board_wake(&link, uuid, 5, &called), 0);
	cr_expect_eq(called, 1);
	cr_expect_null(link);
	cr_assert(readable(o.pollable, 0));
	sync_pollable_drain(o.pollable);
	cr_expect(take(o.board, 5), "the hello was a mark");
	called = 0;
	for (uint32_t bit = 0; bit < 64; bit++) {
		cr_assert_eq(sync_board_wake(&link, uuid, bit, &called), 0);
		cr_assert_not_null(link);
		cr_assert(take(o.board, bit));
	}
	cr_expect_eq(called, 0, "no system call while the owner is awake");
	cr_expect_not(readable(o.pollable, 0));
	sync_board_sleep(o.board);
	cr_assert_eq(sync_board_wake(&link, uuid, 1, &called), 0);
	cr_expect_eq(called, 1);
	cr_expect(readable(o.pollable, 0));
	sync_board_unlink(&link);
	cr_expect_null(link);
	owner_close(&o);
}

Test(board, endpoints_of_a_process_share_one_and_forget_it_when_its_owner_is_gone)
{
	struct sync_board *link[20] = {0};
	uint32_t called = 0;
	int before;
	struct owner o = owner_open(64);

	cr_assert_eq(sync_board_wake(&link[0], uuid, 0, &called), 0);
	sync_pollable_drain(o.pollable);
	before = open_descriptors();
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(sync_board_wake(&link[i], uuid, i, &called), 0);
		cr_expect_eq(link[i], link[0]);
	}
	cr_expect_eq(open_descriptors(), before + 1, "the eventfd");
	owner_close(&o);
	for (unsigned i = 0; i < 20; i++)
		cr_expect_eq(sync_board_wake(&link[i], uuid, i, &called), 0, "no harm in it");
	for (unsigned i = 0; i < 20; i++)
		sync_board_unlink(&link[i]);
	cr_expect_eq(sync_board_wake(&link[0], uuid, 1, &called), -ECONNREFUSED);
	cr_expect_null(link[0]);
}

/* Answers the next hello with descriptors of its own making. */
static void answer_with(const struct sync_socket *s, int event, int page)
{
	struct sync_received r;
	int fds[2] = {event, page};

	cr_assert(sync_socket_receive(s, &r));
	cr_assert_eq(r.m.kind, SYNC_HELLO);
	sync_socket_answer(s, &r, fds, 2);
	sync_received_close(&r);
}

Test(board, false_boards_are_not_taken)
{
	struct sockaddr_un address;
	socklen_t len = sync_address(uuid, 0, &address);
	struct sync_board *link = NULL;
	struct sync_socket s;
	uint32_t called = 0;
	int event = eventfd(0, EFD_NONBLOCK);

	cr_assert_eq(sync_socket_open(&s), 0);
	cr_assert_eq(bind(s.fd, (struct sockaddr *)&address, len), 0);
	cr_assert_eq(sync_board_wake(&link, uuid, 1, &called), 0);
	for (int kind = 0; kind < 5; kind++) {
		int before = open_descriptors(), page = memfd_create("false", MFD_ALLOW_SEALING);

		cr_assert_eq(ftruncate(page, kind == 1 ? 64 : kind == 2 ? 1 << 30 : 4096), 0);
		if (kind != 0)
			fcntl(page, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
		/* 0 not sealed, 1 too small, 2 too large, 3 without magic, 4 no memfd at all. */
		answer_with(&s, event, kind == 4 ? event : page);
		close(page);
		cr_assert_eq(sync_board_wake(&link, uuid, 1, &called), 0);
		cr_expect_null(link, "kind %d", kind);
		cr_expect_eq(open_descriptors(), before, "kind %d", kind);
	}
	close(event);
	close(s.fd);
}

static void wake_from_a_child(void)
{
	struct sync_board *link = NULL;
	uint32_t called = 0;

	if (sync_board_wake(&link, uuid, 3, &called) != 0 || link == NULL || called != 0)
		_exit(1);
}

Test(board, a_child_has_its_parents_boards_and_a_socket_of_its_own)
{
	struct owner o = owner_open(64);
	struct sync_board *link = NULL;
	uint32_t called = 0;

	cr_assert_eq(sync_board_wake(&link, uuid, 0, &called), 0);
	sync_pollable_drain(o.pollable);
	cr_assert_eq(sync_board_wake(&link, uuid, 0, &called), 0);
	cr_assert_eq(exit_status(start(wake_from_a_child)), 0);
	cr_expect(take(o.board, 3));
	sync_board_unlink(&link);
	owner_close(&o);
}
