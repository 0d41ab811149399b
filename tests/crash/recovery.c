/* SPDX-License-Identifier: MIT */
/*
 * How soon a death is noticed and made good: p50, p99 and the largest of many kills, for both kinds
 * of ring and all ways to wait; and throughput while peers are killed. What is counted on the way
 * must be right, or the program fails; the times are printed, not judged.
 */
#include <getopt.h>

#include "crash/recovery_kills.h"
#include "crash/recovery_rate.h"

static void measure_kind(enum quoit_kind kind)
{
	for (unsigned i = 0; i < TEST_COUNT(test_waits); i++) {
		enum quoit_wait wait = test_waits[i];

		if (options.wait != 0 && options.wait != wait)
			continue;
		measure_told(kind, wait, true);
		measure_told(kind, wait, false);
		if (kind == QUOIT_MPMC) {
			measure_mpmc(wait, "loan", loan_round, true);
			measure_mpmc(wait, "other", other_round, false);
		}
		measure_successor(kind, wait);
	}
	measure_call(kind, "reader", reader_round, false);
	measure_call(kind, "reap", reap_round, true);
	measure_visits(kind);
	if (wanted("rate"))
		measure_rates(kind);
}

_Noreturn static void usage(void)
{
	fprintf(stderr,
		"usage: [--what "
		"told-consumer|told-producer|loan|other|successor|reader|reap|visit|rate]\n"
		"  [--kind spsc|mpmc] [--wait WAIT] [--backend shm|sysv|file|memfd] [--kills N]\n"
		"  [--round-ms MS] [--rounds N] [--peers N] [--seed N] [--json]\n");
	exit(64);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"what", 1, NULL, 'w'},    {"kind", 1, NULL, 'k'},  {"wait", 1, NULL, 'W'},
		{"backend", 1, NULL, 'b'}, {"kills", 1, NULL, 'n'}, {"round-ms", 1, NULL, 'm'},
		{"rounds", 1, NULL, 'r'},  {"peers", 1, NULL, 'p'}, {"seed", 1, NULL, 's'},
		{"json", 0, NULL, 'j'},    {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

		if (c == 'w')
			options.what = optarg;
		else if (c == 'k')
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		else if (c == 'W')
			options.wait = (enum quoit_wait)quoit_wait_from_name(optarg);
		else if (c == 'b')
			options.backend = test_backend_from_name(optarg);
		else if (c == 'n')
			options.kills = (unsigned)number;
		else if (c == 'm')
			options.round_ms = (unsigned)number;
		else if (c == 'r')
			options.rounds = (unsigned)number;
		else if (c == 'p')
			options.peers = (unsigned)number;
		else if (c == 's')
			options.seed = number;
		else if (c == 'j')
			options.json = true;
		else
			usage();
	}
	if (optind != argc || (int)options.kind < 0 || (int)options.wait < 0 ||
	    options.backend == 0 || options.kills < 1 || options.kills > KILLS_MAX ||
	    options.round_ms < 1 || options.rounds < 1 || options.rounds > ROUNDS_MAX ||
	    options.peers < 1 || options.peers > RATE_PEERS)
		usage();
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	for (unsigned i = 0; i < TEST_COUNT(test_kinds); i++)
		if (options.kind == 0 || options.kind == test_kinds[i])
			measure_kind(test_kinds[i]);
	if (!printed)
		usage(); /* no such thing to measure */
	if (options.json)
		printf("\n]\n");
	return 0;
}
