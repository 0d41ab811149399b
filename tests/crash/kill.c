/* SPDX-License-Identifier: MIT */
/*
 * Peers killed at random moments, again and again, in one running stream.
 *
 * Producers and consumers are processes. One of them, drawn by chance, is killed with SIGKILL after
 * a random delay, in the middle of whatever it does: attaching, opening, sending, taking, waiting.
 * Survivors, and the successor that is started, must make progress within a second, and at the end
 * the reckoning of stream_run.h must come out.
 */
#include "crash/stream_run.h"

/* What the dead left in the ledger decides what may be missing or come twice. */
static void bury(unsigned peer)
{
	struct ledger *l = books.ledger;

	books.deaths[is_producer(peer) ? 0 : 1]++;
	if (is_producer(peer)) {
		struct producer_line *line = &l->producer[peer];
		uint64_t begun = atomic_load(&line->begun);

		for (uint64_t s = atomic_load(&line->committed); s < begun; s++)
			books.may_miss[peer][s] = 1;
		/* The successor does not use their numbers again. */
		atomic_store(&line->committed, begun);
	} else {
		struct consumer_line *line = &l->consumer[peer - options.peers];

		for (uint32_t i = 0; i < atomic_load(&line->held); i++) {
			uint64_t record = line->held_record[i];

			books.may_repeat[record >> 32][(uint32_t)record]++;
		}
		books.may_lose += atomic_load(&line->receiving);
		atomic_store(&line->held, 0);
		atomic_store(&line->receiving, 0);
	}
}

static void kill_one(void)
{
	unsigned victim = test_random_below(&books.seed, 2 * options.peers);
	bool others = options.peers > 1;

	/* Mostly in mid-stream; now and then before it has even opened. */
	if (test_random_below(&books.seed, 4) != 0 && !test_wait_flag(up_flag(victim), 1, 5000))
		fail("a peer did not come up", victim, 0);
	test_spin_ns(test_random_below(&books.seed, 400000));
	expect_alive();
	test_kill(books.pid[victim]);
	bury(victim);
	if (others && test_random_below(&books.seed, 2) == 0) {
		expect_up(victim);
		expect_progress("survivors stall", 4);
	}
	start(victim);
	if (test_random_below(&books.seed, 2) == 0) {
		expect_up(UINT32_MAX);
		expect_progress("a successor stalls", 4);
	}
}

int main(int argc, char **argv)
{
	return stream_main(argc, argv, "kill", kill_one);
}
