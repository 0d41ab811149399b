/* SPDX-License-Identifier: MIT */
/*
 * Peers stopped at random moments, again and again, in one running stream.
 *
 * One of the processes, drawn by chance, is stopped with SIGSTOP after a random delay, in the
 * middle of whatever it does. On an MPMC ring the others must go on as if nothing were, for many
 * laps of the ring. Then it goes on too. Nobody dies, so at the end every record has come exactly
 * once.
 */
#include "crash/stream_run.h"

#define LAPS 8

static void stop_one(void)
{
	unsigned victim = test_random_below(&books.seed, 2 * options.peers);
	int status;

	expect_up(UINT32_MAX);
	test_spin_ns(test_random_below(&books.seed, 200000));
	expect_alive();
	MUST(kill(books.pid[victim], SIGSTOP) == 0);
	while (waitpid(books.pid[victim], &status, WUNTRACED) < 0)
		MUST(errno == EINTR);
	if (!WIFSTOPPED(status))
		fail("a peer has left by itself", victim, (unsigned long long)status);
	if (options.peers > 1)
		expect_progress("others stall beside a stopped peer",
				LAPS * test_stats(books.ring.q).capacity);
	else
		test_spin_ns(test_random_below(&books.seed, 400000));
	MUST(kill(books.pid[victim], SIGCONT) == 0);
	if (test_random_below(&books.seed, 4) == 0)
		expect_progress("nothing goes on after SIGCONT", 4);
}

int main(int argc, char **argv)
{
	return stream_main(argc, argv, "stop", stop_one);
}
