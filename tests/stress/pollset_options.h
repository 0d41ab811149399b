/* SPDX-License-Identifier: MIT */
/* What the stress test of pollsets can be told on its command line, and what the system allows. */
#ifndef QUOIT_TESTS_STRESS_POLLSET_OPTIONS_H
#define QUOIT_TESTS_STRESS_POLLSET_OPTIONS_H

#include <getopt.h>
#include <sys/resource.h>

#include "support.h"

#define READERS_MAX   64
#define PRODUCERS_MAX 16

static struct {
	unsigned rings, readers, producers, max;
	unsigned ms, timeout_s;
	bool threads, kill, churn;
	uint64_t seed;
} options = {.rings = 1000,
	     .readers = 8,
	     .producers = 2,
	     .max = 4,
	     .ms = 2000,
	     .timeout_s = 60,
	     .churn = true};

static unsigned number(const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (*text == '\0' || *end != '\0' || value < least || value > most) {
		fprintf(stderr, "%s is not between %u and %u\n", text, least, most);
		exit(64);
	}
	return (unsigned)value;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"rings", 1, NULL, 'r'},
		{"readers", 1, NULL, 'R'},
		{"producers", 1, NULL, 'p'},
		{"max", 1, NULL, 'm'},
		{"ms", 1, NULL, 't'},
		{"threads", 0, NULL, 'T'},
		{"kill", 0, NULL, 'k'},
		{"no-churn", 0, NULL, 'c'},
		{"seed", 1, NULL, 's'},
		{"timeout", 1, NULL, 'x'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'r':
			options.rings = number(optarg, 2, 60000);
			break;
		case 'R':
			options.readers = number(optarg, 1, READERS_MAX);
			break;
		case 'p':
			options.producers = number(optarg, 1, PRODUCERS_MAX);
			break;
		case 'm':
			options.max = number(optarg, 1, READERS_MAX);
			break;
		case 't':
			options.ms = number(optarg, 1, 86400000);
			break;
		case 'T':
			options.threads = true;
			break;
		case 'k':
			options.kill = true;
			break;
		case 'c':
			options.churn = false;
			break;
		case 's':
			options.seed = number(optarg, 0, UINT32_MAX);
			break;
		case 'x':
			options.timeout_s = number(optarg, 1, 86400);
			break;
		default:
			exit(64);
		}
	}
}

/* As many rings as there may be descriptors: an endpoint has two, and a ring's handle shares one.
 */
static void raise_limit(void)
{
	struct rlimit limit;
	unsigned each = options.threads ? 4 : 2;

	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	if (limit.rlim_cur < options.rings * each + 100) {
		options.rings = ((unsigned)limit.rlim_cur - 100) / each;
		printf("RLIMIT_NOFILE allows %u rings\n", options.rings);
	}
}

#endif
