/* SPDX-License-Identifier: MIT */
/*
 * The MPMC ring: what is sent comes once and whole, in each producer's order. Patience is over at
 * every second look at the clock, so slow writers are stepped over, publish again, and so on.
 */
#include <errno.h>

#include "rings.h"

#define START (UINT64_C(0) - 1)

static void fill(unsigned char *payload, unsigned writer, unsigned seq)
{
	payload[0] = (unsigned char)(writer << 4 | seq);
	payload[1] = (unsigned char)~payload[0];
}

static void send(unsigned writer, unsigned records)
{
	struct quoit_producer *p = &OWN->p[writer];

	for (unsigned seq = 0; seq < records; seq++) {
		unsigned char payload[2];
		int r;

		fill(payload, writer, seq);
		r = quoit_send(p, payload, 2, writer << 4 | seq, QUOIT_NOWAIT);
		CHECK(r == 0 || r == -EAGAIN);
		if (r != 0)
			return;
		OWN->sent[writer] = seq + 1;
	}
}

/* Reserve and commit; a full ring keeps it from moving on. */
static void send_in_place(unsigned writer, unsigned records)
{
	struct quoit_producer *p = &OWN->p[writer];

	for (unsigned seq = 0; seq < records; seq++) {
		unsigned char *payload;
		void *at;
		int r = quoit_reserve(p, 2, &at);

		CHECK(r == 0 || r == -EAGAIN);
		if (r != 0)
			return;
		payload = at;
		fill(payload, writer, seq);
		r = quoit_commit(p, payload, 2, writer << 4 | seq);
		CHECK(r == 0 || r == -EAGAIN);
		if (r != 0)
			return;
		OWN->sent[writer] = seq + 1;
	}
}

static void check(const struct quoit_msg *msg, const unsigned char *payload, unsigned *got)
{
	unsigned writer = msg->type >> 4, seq = msg->type & 15;
	unsigned char wanted[2];

	CHECK(writer < 2 && seq < SEEN && msg->len == 2);
	fill(wanted, writer, seq);
	CHECK(payload[0] == wanted[0] && payload[1] == wanted[1]);
	/* What comes back from the dead comes late. */
	CHECK(seq >= got[writer] || scenario->kills != 0);
	CHECK(OWN->seen[writer][seq] == 0);
	got[writer] = seq + 1;
	OWN->seen[writer][seq]++;
}

static bool take_copy(struct quoit_consumer *c, unsigned *got)
{
	unsigned char payload[8];
	struct quoit_msg msg;
	int r = quoit_recv(c, payload, sizeof(payload), &msg, QUOIT_NOWAIT);

	CHECK(r == 1 || r == -EAGAIN);
	if (r == 1)
		check(&msg, payload, got);
	return r == 1;
}

static bool take_loan(struct quoit_consumer *c, unsigned *got)
{
	struct quoit_msg msg;
	int r = quoit_peek(c, &msg);

	CHECK(r == 1 || r == -EAGAIN);
	if (r != 1)
		return false;
	check(&msg, msg.data, got);
	CHECK(quoit_advance(c, &msg) == 0);
	return true;
}

static void make_ring(uint64_t slots)
{
	waits = false;
	clock_step = 1;
	ring_make(QUOIT_MPMC, slots, START);
	producer_make(0, 0);
	producer_make(1, (faults & NO_STAMP) != 0 ? 0 : 1);
	consumer_make(0, 2);
	consumer_make(1, 3);
}

static void make(void)
{
	make_ring(2);
}

static void make_4(void)
{
	make_ring(4);
}

static void one_record(void)
{
	send(0, 1);
}

static void other_record(void)
{
	send(1, 1);
}

static void two_records(void)
{
	send(0, 2);
}

static void three_in_place(void)
{
	send_in_place(0, 3);
}

static void one_in_place(void)
{
	send_in_place(0, 1);
}

static void other_in_place(void)
{
	send_in_place(1, 1);
}

static void copier(void)
{
	unsigned got[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		take_copy(&OWN->c[0], got);
}

static void second_copier(void)
{
	unsigned got[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		take_copy(&OWN->c[1], got);
}

static void reader(void)
{
	unsigned got[2] = {0, 0};

	for (int i = 0; i < 2; i++)
		take_loan(&OWN->c[0], got);
}

/* Whatever is left comes out, and then everything has. */
static void drain(unsigned maybe_lost)
{
	unsigned lost = 0;

	for (int i = 0; i < 8; i++) {
		unsigned got[2] = {0, 0};

		take_copy(&OWN->c[1], got);
	}
	for (unsigned w = 0; w < 2; w++)
		for (unsigned seq = 0; seq < SEEN; seq++) {
			CHECK(seq < OWN->sent[w] || OWN->seen[w][seq] == 0);
			lost += seq < OWN->sent[w] && OWN->seen[w][seq] == 0;
		}
	CHECK(lost <= maybe_lost);
}

static void judge(void)
{
	drain(0);
}

/* A reader dies with a record on loan; a reaper gives it back; somebody else gets it. */
static void holder(void)
{
	struct quoit_msg msg;

	if (quoit_peek(&OWN->c[0], &msg) == 1) {
		CHECK(((unsigned char *)msg.data)[0] == (unsigned char)(msg.type & 0xff));
		OWN->taking[0] = 1;
		(void)quoit_advance(&OWN->c[0], &msg);
		OWN->taking[0] = 2;
	}
}

static void reaper(void)
{
	quoit__mpmc_give_back(&OWN->q, 2);
}

/* A writer dies with a slot claimed: that one comes back, and no other. */
static void writers_reaper(void)
{
	quoit__mpmc_give_back(&OWN->q, 0);
}

static void judge_writers(void)
{
	for (int i = 0; i < 8; i++) {
		unsigned got[2] = {0, 0};

		take_copy(&OWN->c[1], got);
	}
	CHECK(OWN->seen[1][0] == OWN->sent[1]);
	CHECK(OWN->seen[0][0] >= OWN->sent[0]);
}

static void judge_reaped(void)
{
	drain(OWN->taking[0] != 0);
}

const struct scenario mpmc_scenarios[] = {
	{.name = "mpmc",
	 .setup = make,
	 .thread = {one_record, other_record, copier},
	 .judge = judge},
	{.name = "mpmc-in-place",
	 .setup = make,
	 .thread = {one_in_place, other_in_place, reader},
	 .judge = judge},
	{.name = "mpmc-4",
	 .setup = make_4,
	 .thread = {one_in_place, other_record, reader},
	 .judge = judge},
	{.name = "mpmc-reuse",
	 .setup = make,
	 .thread = {three_in_place, NULL, reader},
	 .judge = judge},
	{.name = "mpmc-reap-writer",
	 .setup = make,
	 .thread = {one_in_place, other_in_place, writers_reaper},
	 .after = {0, 0, 1},
	 .kills = 1,
	 .victims = 1,
	 .judge = judge_writers},
	{.name = "mpmc-copiers",
	 .setup = make,
	 .thread = {two_records, NULL, copier, second_copier},
	 .judge = judge},
	{.name = "mpmc-mixed",
	 .setup = make,
	 .thread = {two_records, NULL, reader, second_copier},
	 .judge = judge},
	{.name = "mpmc-reap",
	 .setup = make,
	 .thread = {two_records, reaper, holder, second_copier},
	 .after = {0, 3, 0, 0},
	 .kills = 1,
	 .victims = 4,
	 .judge = judge_reaped},
	{.name = NULL},
};
