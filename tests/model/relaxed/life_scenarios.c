/* SPDX-License-Identifier: MIT */
/*
 * Death and the end: a producer sends a record and closes; or it is killed at any access, and its
 * row reaped. Told of a death, or of the end, the consumer has had all that was committed.
 */
#include <errno.h>

#include "rings.h"
#include "ring/peers.h"

#define LOOKS 3

static void make(void)
{
	waits = counts = false;
	ring_make(QUOIT_SPSC, 64, 0);
	producer_make(0, 0);
	consumer_make(0, 1);
	lives = true;
}

static void closer(void)
{
	struct quoit_producer *p = &OWN->p[0];
	uint64_t payload = 7;

	CHECK(quoit_send(p, &payload, 8, 1, QUOIT_NOWAIT) == 0);
	OWN->sent[0] = 1;
	/* As quoit__endpoint_close() does: from here on its death is a close. P1, P3. */
	atomic_store_explicit(&p->ep.row->state, QUOIT__ROW_CLOSING, memory_order_release);
	quoit__leave(&OWN->q.control->produced, QUOIT__CLOSED);
	atomic_store_explicit(&p->ep.row->state, QUOIT__ROW_FREE, memory_order_release);
}

static void reaper(void)
{
	(void)quoit__reap_row(&OWN->q, 0);
}

/* taking: 1 once it has been told of a death, 2 of the end. */
static void listener(void)
{
	for (int i = 0; i < LOOKS; i++) {
		uint64_t payload = 0;
		struct quoit_msg msg;
		int r = quoit_recv(&OWN->c[0], &payload, 8, &msg, QUOIT_NOWAIT);

		CHECK(r == 1 || r == 0 || r == -EAGAIN || r == -EOWNERDEAD);
		if (r == 1) {
			CHECK(OWN->taking[0] == 0 && payload == 7);
			OWN->got[0]++;
		} else if (r != -EAGAIN) {
			OWN->taking[0] = r == 0 ? 2 : 1;
			CHECK(OWN->got[0] >= OWN->sent[0]);
		}
	}
}

static void judge(void)
{
	listener();
	CHECK(OWN->got[0] <= 1 && OWN->got[0] >= OWN->sent[0]);
}

const struct scenario life_scenarios[] = {
	{.name = "life",
	 .setup = make,
	 .thread = {closer, reaper, listener},
	 .after = {0, 1, 0},
	 .kills = 1,
	 .victims = 1,
	 .judge = judge},
	{.name = NULL},
};
