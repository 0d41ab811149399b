/* SPDX-License-Identifier: MIT */
/*
 * The SPSC ring: what is sent comes, once, in order and whole; payload looks like record headers of
 * either lap. The ring holds 64 bytes and passes position 2^64 and its own end.
 */
#include <errno.h>

#include "rings.h"

#define RECORDS  4
#define TRIES    2
#define START    (UINT64_C(0) - 32)
#define PAYLOADS 3 /* of the record's length, by number */

static uint32_t length_of(unsigned seq)
{
	return seq % PAYLOADS == 1 ? 16 : 8;
}

/* Like a header of this lap, or of the other. */
static uint64_t payload_of(unsigned seq)
{
	return (uint64_t)(~seq & 1) << 63 | UINT64_C(8) << 32 | 0xbad00u | seq;
}

static void send(struct quoit_producer *p, unsigned writer, unsigned records)
{
	for (unsigned seq = 0; seq < records; seq++) {
		uint64_t payload[2] = {payload_of(seq), payload_of(seq)};
		int r = -EAGAIN;

		for (int tries = 0; tries < TRIES && r == -EAGAIN; tries++)
			r = quoit_send(p, payload, length_of(seq), writer << 8 | seq, QUOIT_NOWAIT);
		CHECK(r == 0 || r == -EAGAIN);
		if (r != 0)
			return;
		OWN->sent[writer] = seq + 1;
	}
}

static void check(const struct quoit_msg *msg, const uint64_t *payload)
{
	unsigned writer = msg->type >> 8, seq = msg->type & 0xff;

	CHECK(writer < 2 && seq == OWN->got[writer] && msg->len == length_of(seq));
	CHECK(payload[0] == payload_of(seq));
	CHECK(msg->len == 8 || payload[1] == payload_of(seq));
	CHECK(writer == 1 || OWN->got[1] == 0);
	OWN->got[writer]++;
}

/* One record by copy, or in place. */
static bool take(struct quoit_consumer *c, bool copy)
{
	uint64_t payload[2] = {0, 0};
	struct quoit_msg msg;
	int r = copy ? quoit_recv(c, payload, sizeof(payload), &msg, QUOIT_NOWAIT)
		     : quoit_peek(c, &msg);

	CHECK(r == 1 || r == -EAGAIN);
	if (r != 1)
		return false;
	check(&msg, copy ? payload : msg.data);
	if (!copy)
		CHECK(quoit_advance(c, &msg) == 0);
	return true;
}

static void make(void)
{
	waits = counts = false;
	ring_make(QUOIT_SPSC, 64, START);
	producer_make(0, 0);
	consumer_make(0, 1);
}

/* And every store of what the producer has counted. */
static void make_counting(void)
{
	make();
	counts = true;
}

static void producer(void)
{
	send(&OWN->p[0], 0, RECORDS);
}

static void batches(void)
{
	uint64_t payload[2] = {payload_of(0), payload_of(2)};
	struct quoit_msg msgs[2] = {{.data = &payload[0], .len = 8, .type = 0},
				    {.data = payload, .len = 16, .type = 1}};
	int r;

	payload[1] = payload[0] = payload_of(1);
	msgs[0].data = (uint64_t[1]){payload_of(0)};
	r = quoit_send_batch(&OWN->p[0], msgs, 2, QUOIT_NOWAIT);
	CHECK(r > 0);
	OWN->sent[0] = (unsigned)r;
	if (r != 2)
		return;
	msgs[0].data = (uint64_t[1]){payload_of(2)};
	msgs[0].type = 2;
	msgs[1].data = (uint64_t[1]){payload_of(3)};
	msgs[1].len = 8;
	msgs[1].type = 3;
	for (int tries = 0; tries < TRIES; tries++) {
		r = quoit_send_batch(&OWN->p[0], msgs, 2, QUOIT_NOWAIT);
		CHECK(r > 0 || r == -EAGAIN);
		if (r > 0) {
			OWN->sent[0] += (unsigned)r;
			return;
		}
	}
}

static void few_records(void)
{
	send(&OWN->p[0], 0, RECORDS - 1);
}

static void copier(void)
{
	for (int i = 0; i < RECORDS; i++)
		take(&OWN->c[0], true);
}

static void reader(void)
{
	for (int i = 0; i < RECORDS; i++)
		take(&OWN->c[0], false);
}

static void brief_reader(void)
{
	for (int i = 0; i < 2; i++)
		take(&OWN->c[0], false);
}

static void judge(void)
{
	while (take(&OWN->c[0], true))
		;
	CHECK(OWN->got[0] == OWN->sent[0]);
}

/* The producer dies; its successor goes on from what is in the ring. */
static void successor(void)
{
	producer_make(1, 0);
	send(&OWN->p[1], 1, 1);
}

static void judge_successor(void)
{
	while (take(&OWN->c[0], true))
		;
	CHECK(OWN->got[0] == OWN->sent[0] || OWN->got[0] == OWN->sent[0] + 1);
	CHECK(OWN->got[1] == OWN->sent[1]);
	/* It has counted what its predecessor had sent. */
	CHECK(OWN->p[1].ep.ring == NULL || OWN->p[1].hot.records == OWN->got[0] + OWN->got[1]);
}

/* The consumer dies; its successor may be given what it had not advanced over. */
static void next_reader(void)
{
	consumer_make(1, 1);
	OWN->got[0] = (unsigned)OWN->c[1].hot.records;
	take(&OWN->c[1], false);
}

static void judge_reader(void)
{
	while (take(&OWN->c[OWN->c[1].ep.ring != NULL], true))
		;
	CHECK(OWN->got[0] == OWN->sent[0]);
}

const struct scenario spsc_scenarios[] = {
	{.name = "spsc", .setup = make, .thread = {producer, copier}, .judge = judge},
	{.name = "spsc-in-place", .setup = make, .thread = {producer, reader}, .judge = judge},
	{.name = "spsc-batch", .setup = make, .thread = {batches, reader}, .judge = judge},
	{.name = "spsc-kill-producer",
	 .setup = make,
	 .thread = {few_records, brief_reader, successor},
	 .after = {0, 0, 1},
	 .kills = 1,
	 .victims = 1,
	 .judge = judge_successor},
	{.name = "spsc-kill-counting",
	 .setup = make_counting,
	 .thread = {few_records, brief_reader, successor},
	 .after = {0, 0, 1},
	 .kills = 1,
	 .victims = 1,
	 .judge = judge_successor},
	{.name = "spsc-kill-consumer",
	 .setup = make,
	 .thread = {few_records, brief_reader, next_reader},
	 .after = {0, 0, 2},
	 .kills = 1,
	 .victims = 2,
	 .judge = judge_reader},
	{.name = NULL},
};
