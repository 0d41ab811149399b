/* SPDX-License-Identifier: MIT */
/* What the stress test of the ring can be told on its command line. */
#ifndef QUOIT_TESTS_STRESS_RING_OPTIONS_H
#define QUOIT_TESTS_STRESS_RING_OPTIONS_H

#include <getopt.h>

#include "support.h"

#define PEERS_MAX  32
#define BATCH_MAX  32
#define RECORD_MAX 2048

enum mode { MODE_COPY, MODE_PLACE, MODE_BATCH, MODE_MIX };
static const char *const mode_names[] = {"copy", "place", "batch", "mix"};

static struct {
	enum quoit_kind kind;
	enum quoit_backend backend; /* 0: all */
	enum quoit_wait wait;       /* 0: all */
	unsigned producers, consumers;
	uint64_t records; /* of each producer */
	enum mode mode;
	uint64_t seed;
	bool threads, own_mapping;
	uint64_t capacity, start;
	uint32_t slot_size;
	unsigned timeout_s;
} options = {.kind = QUOIT_SPSC,
	     .backend = QUOIT_SHM,
	     .wait = QUOIT_WAIT_FUTEX,
	     .producers = 1,
	     .consumers = 1,
	     .records = 100000,
	     .mode = MODE_MIX,
	     .seed = 1,
	     .capacity = 16384,
	     .slot_size = 64,
	     .timeout_s = 60};

_Noreturn static void usage(const char *why)
{
	fprintf(stderr,
		"%s\nusage: ring [--kind spsc|mpmc] [--backend shm|sysv|file|memfd|all] [--wait "
		"spin|...|all]\n  [--producers N] [--consumers N] [--records N] [--mode "
		"copy|place|batch|mix] [--seed N]\n  [--threads] [--attach shared|own] [--capacity "
		"BYTES] [--slot-size BYTES] [--start N] [--timeout S]\n",
		why);
	exit(64);
}

static int mode_from_name(const char *name)
{
	for (unsigned i = 0; i < TEST_COUNT(mode_names); i++)
		if (strcmp(name, mode_names[i]) == 0)
			return (int)i;
	return -EINVAL;
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (*text == '\0' || *end != '\0')
		usage("not a number");
	return value;
}

static int named(int value)
{
	if (value < 0)
		usage("no such name");
	return value;
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"kind", 1, NULL, 'k'},      {"backend", 1, NULL, 'b'},
		{"wait", 1, NULL, 'w'},      {"producers", 1, NULL, 'p'},
		{"consumers", 1, NULL, 'c'}, {"records", 1, NULL, 'n'},
		{"mode", 1, NULL, 'm'},      {"seed", 1, NULL, 's'},
		{"threads", 0, NULL, 'T'},   {"attach", 1, NULL, 'a'},
		{"capacity", 1, NULL, 'C'},  {"slot-size", 1, NULL, 'S'},
		{"start", 1, NULL, 'P'},     {"timeout", 1, NULL, 't'},
		{NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		bool all = optarg != NULL && strcmp(optarg, "all") == 0;

		switch (c) {
		case 'k':
			options.kind = (enum quoit_kind)named(quoit_kind_from_name(optarg));
			break;
		case 'b':
			options.backend = test_backend_from_name(optarg);
			break;
		case 'w':
			options.wait =
				all ? 0 : (enum quoit_wait)named(quoit_wait_from_name(optarg));
			break;
		case 'p':
			options.producers = (unsigned)number(optarg);
			break;
		case 'c':
			options.consumers = (unsigned)number(optarg);
			break;
		case 'n':
			options.records = number(optarg);
			break;
		case 'm':
			options.mode = (enum mode)named(mode_from_name(optarg));
			break;
		case 's':
			options.seed = number(optarg);
			break;
		case 'T':
			options.threads = true;
			break;
		case 'a':
			options.own_mapping = strcmp(optarg, "own") == 0;
			break;
		case 'C':
			options.capacity = number(optarg);
			break;
		case 'S':
			options.slot_size = (uint32_t)number(optarg);
			break;
		case 'P':
			options.start = number(optarg);
			break;
		case 't':
			options.timeout_s = (unsigned)number(optarg);
			break;
		default:
			usage("unknown option");
		}
	}
	if (options.producers < 1 || options.producers > PEERS_MAX || options.consumers < 1 ||
	    options.consumers > PEERS_MAX)
		usage("1 to 32 producers and consumers");
	if (options.kind == QUOIT_SPSC && (options.producers > 1 || options.consumers > 1))
		usage("spsc takes one producer and one consumer");
}

#endif
