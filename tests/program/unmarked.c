/* SPDX-License-Identifier: MIT */
/*
 * unmarked RING TEXT PID: for the scripts in this folder. Commits TEXT to an SPSC ring, counted and
 * all, but tells nobody, as a producer does that is stopped between its commit and what follows;
 * sends PID a SIGTERM; and stays until the ring's consumer has left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"
#include "support.h"

int main(int argc, char **argv)
{
	/* A word of an eventcount on which nobody sleeps. */
	static uint64_t nobody = UINT64_C(1);
	struct quoit_producer *p;
	struct quoit *q;

	if (argc != 4)
		return 2;
	MUST(quoit_attach(argv[1], NULL, &q) == 0);
	MUST(quoit_producer_open(q, &p) == 0);
	p->hot.event = &nobody;
	MUST(quoit_send(p, argv[2], (uint32_t)strlen(argv[2]), 0, QUOIT_NOWAIT) == 0);
	MUST(kill(atoi(argv[3]), SIGTERM) == 0);
	while (test_stats(q).consumers != 0)
		test_sleep_ms(1);
	quoit_producer_close(p);
	quoit_detach(q);
	return 0;
}
