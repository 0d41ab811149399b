/* SPDX-License-Identifier: MIT */
/*
 * Waiting: whoever sleeps is woken when there is something for it. Sleeps have no end of their own
 * here, so a lost wake-up is a sleeper beside a record, for ever.
 */
#include <errno.h>

#include "rings.h"

static void make_kind(enum quoit_kind kind, uint64_t size)
{
	waits = true;
	counts = false;
	clock_step = 0;
	ring_make(kind, size, 0);
	producer_make(0, 0);
	consumer_make(0, 1);
}

static void make_spsc(void)
{
	make_kind(QUOIT_SPSC, 64);
}

static void make_mpmc(void)
{
	make_kind(QUOIT_MPMC, 2);
}

static void send(unsigned records, const struct timespec *deadline)
{
	for (unsigned i = 0; i < records; i++) {
		unsigned char payload = (unsigned char)i;

		CHECK(quoit_send(&OWN->p[0], &payload, 1, i, deadline) == 0);
		OWN->sent[0]++;
	}
}

static void receive(unsigned i, unsigned records)
{
	for (unsigned n = 0; n < records; n++) {
		unsigned char payload[8];
		struct quoit_msg msg;

		CHECK(quoit_recv(&OWN->c[i], payload, sizeof(payload), &msg, NULL) == 1);
		CHECK(payload[0] == msg.type);
		OWN->got[i]++;
	}
}

static void one_record(void)
{
	send(1, QUOIT_NOWAIT);
}

static void two_records(void)
{
	send(2, QUOIT_NOWAIT);
}

/* There is no room for it at first. */
static void late_record(void)
{
	send(1, NULL);
}

static void receiver(void)
{
	receive(0, 2);
}

static void one_receiver(void)
{
	receive(0, 1);
}

static void make_full_spsc(void)
{
	make_spsc();
	send(3, QUOIT_NOWAIT);
}

static void make_full_mpmc(void)
{
	make_mpmc();
	send(2, QUOIT_NOWAIT);
}

/* Nobody sleeps beside a record, or beside room. */
static void judge_records(void)
{
	CHECK(OWN->got[0] + OWN->got[1] == OWN->sent[0]);
}

static void judge_spsc_room(void)
{
	CHECK(OWN->sent[0] == 4 && OWN->got[0] == 2);
}

static void judge_mpmc_room(void)
{
	CHECK(OWN->sent[0] == 3 && OWN->got[0] == 2);
}

const struct scenario wait_scenarios[] = {
	{.name = "wait-spsc",
	 .setup = make_spsc,
	 .thread = {two_records, receiver},
	 .judge = judge_records},
	{.name = "wait-mpmc",
	 .setup = make_mpmc,
	 .thread = {one_record, one_receiver},
	 .judge = judge_records},
	{.name = "wait-room-spsc",
	 .setup = make_full_spsc,
	 .thread = {late_record, receiver},
	 .judge = judge_spsc_room},
	{.name = "wait-room-mpmc",
	 .setup = make_full_mpmc,
	 .thread = {late_record, receiver},
	 .judge = judge_mpmc_room},
	{.name = NULL},
};
