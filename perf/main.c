/* SPDX-License-Identifier: MIT */
/*
 * quoit-perf: measures quoit beside the limits of the machine, the kernel's mechanisms and peer
 * libraries. docs/PERFORMANCE.md has the method.
 */
#include "perf/bench.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <quoit/quoit.h>

#include "perf/output.h"
#include "perf/plan.h"

struct command {
	const char *name;
	int (*run)(void);
	const char *what;
};

static int bench_all(void);

static double minutes = 30; /* that `all` may take */
static int seconds_given, only_plan;

static const struct command commands[] = {
	{"limits", bench_limits, "what the machine can do: line ping-pong, streaming, primitives"},
	{"throughput", bench_throughput, "records a second, one producer and one consumer"},
	{"latency", bench_latency, "round trips, percentiles"},
	{"openloop", bench_openloop, "latency under a fixed rate, from the intended time"},
	{"oversubscribe", bench_oversubscribe, "1P1C, 2P2C and 4P4C, however few processors"},
	{"waits", bench_waits, "ways to wait: busy, idle, sleep and wake"},
	{"sizes", bench_sizes, "8 B to 1 MiB, copying and in place, beside raw streaming"},
	{"heap", bench_heap, "16 KiB to 16 MiB in the heap, in the ring, and moved by memcpy"},
	{"lifecycle", bench_lifecycle, "create, attach, open, recover after a kill"},
	{"pollset", bench_pollset, "one thread that reads 1 to 1,000 rings, idle and busy"},
	{"scale", bench_scale, "by endpoints, and by processors"},
	{"kernel", bench_kernel, "every kernel mechanism that carries data or synchronises"},
	{"peers", bench_peers, "which peers are built in; verify each"},
	{"instructions", bench_instructions, "the hot paths, for perf/instructions.sh to count"},
	{"all", bench_all, "all that is measured above, into --output, with a report"},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *to)
{
	fprintf(to, "Usage: quoit-perf [OPTIONS] COMMAND\n\nCommands:\n");
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].what);
	fprintf(to,
		"\nOptions:\n"
		"  -r, --rounds N       interleaved rounds (7)\n"
		"  -t, --seconds S      length of an interval (0.5; `all`: what its time allows)\n"
		"  -m, --minutes N      all: take about so long (30)\n"
		"  -P, --plan           measure nothing: how long would it take?\n"
		"  -c, --cpus LIST      processors, for example 0,1 (all there are)\n"
		"  -d, --depth LIST     records that the ring holds\n"
		"  -s, --size LIST      bytes of a record, multiples of 8\n"
		"  -b, --batch LIST     records a call\n"
		"  -k, --kind KIND      spsc or mpmc (both)\n"
		"  -S, --systems LIST   only these, as `peers` names them (all)\n"
		"  -R, --rate N         openloop: records a second\n"
		"  -e, --endpoints N    scale: on one side, at most (64)\n"
		"  -n, --near NS        a canary below this is \"near\" (110)\n"
		"  -o, --output DIR     where `all` puts results and report (perf-report)\n"
		"  -J, --json           one JSON object a line\n"
		"  -q, --quick          3 rounds of 0.1 s: to see that it works, not to quote\n"
		"  -h, --help           this\n"
		"  -V, --version        the library's version\n");
}

static _Noreturn void bad_usage(const char *what, const char *value)
{
	fprintf(stderr, "quoit-perf: %s: %s; see --help\n", what, value);
	exit(2);
}

static double number(const char *text, const char *what, double low, double high)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= low && v <= high))
		bad_usage(what, text);
	return v;
}

static void list(struct perf_list *l, const char *text, const char *what, uint32_t low,
		 uint32_t high, uint32_t multiple)
{
	l->n = 0;
	for (const char *p = text;; p++) {
		char *end;
		unsigned long v;

		if (!isdigit((unsigned char)*p) || l->n == PERF_LIST_MAX - 1)
			bad_usage(what, text);
		v = strtoul(p, &end, 10);
		if (v < low || v > high || v % multiple)
			bad_usage(what, text);
		l->value[l->n++] = (uint32_t)v;
		p = end;
		if (*p == 0)
			break;
		if (*p != ',')
			bad_usage(what, text);
	}
	l->value[l->n] = 0;
}

static void choose_cpus(const char *text)
{
	struct perf_list wanted = {.n = 0};
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		bad_usage("--cpus", strerror(errno));
	perf_config.cpus = 0;
	if (text == NULL) {
		for (int i = 0; i < CPU_SETSIZE && perf_config.cpus < PERF_SIDES_MAX; i++) {
			if (CPU_ISSET(i, &set))
				perf_config.cpu[perf_config.cpus++] = (unsigned)i;
		}
		return;
	}
	list(&wanted, text, "--cpus", 0, CPU_SETSIZE - 1, 1);
	for (unsigned i = 0; i < wanted.n; i++) {
		if (!CPU_ISSET((int)wanted.value[i], &set))
			bad_usage("--cpus: not a processor that may be used", text);
		for (unsigned k = 0; k < i; k++) {
			if (wanted.value[k] == wanted.value[i])
				bad_usage("--cpus: named twice", text);
		}
		perf_config.cpu[perf_config.cpus++] = wanted.value[i];
	}
}

static void check_systems(const char *names)
{
	size_t n;

	for (const char *p = names; *p; p += n + (p[n] == ',')) {
		int known = 0;

		n = strcspn(p, ",");
		for (int i = 0; perf_systems[i]; i++) {
			known |= strlen(perf_systems[i]->name) == n &&
				 strncmp(perf_systems[i]->name, p, n) == 0;
		}
		if (!known)
			bad_usage("--systems: not built in (see `quoit-perf peers`)", p);
	}
	perf_options.systems = names;
}

/* What changes how it is measured. 0 if c is none of these. */
static int method_option(int c, const char *arg)
{
	switch (c) {
	case 'r':
		perf_config.rounds = (unsigned)number(arg, "--rounds", 1, PERF_ROUNDS_MAX / 2.0);
		break;
	case 't':
		perf_config.seconds = number(arg, "--seconds", 0.001, 3600);
		seconds_given = 1;
		break;
	case 'm':
		minutes = number(arg, "--minutes", 1, 1e5);
		break;
	case 'n':
		perf_config.near_ns = number(arg, "--near", 1, 1e6);
		break;
	case 'q':
		perf_config.rounds = 3;
		perf_config.seconds = 0.1;
		seconds_given = 1;
		break;
	case 'J':
		perf_json = 1;
		break;
	case 'P':
		only_plan = 1;
		break;
	default:
		return 0;
	}
	return 1;
}

/* What changes what is measured. */
static void cell_option(int c, const char *arg)
{
	switch (c) {
	case 'd':
		list(&perf_options.depths, arg, "--depth", 1, 1u << 24, 1);
		break;
	case 's':
		list(&perf_options.sizes, arg, "--size", 8, PERF_SIZE_MAX, 8);
		break;
	case 'b':
		list(&perf_options.batches, arg, "--batch", 1, PERF_BATCH_MAX, 1);
		break;
	case 'k':
		if (strcmp(arg, "spsc") != 0 && strcmp(arg, "mpmc") != 0)
			bad_usage("--kind", arg);
		perf_options.kinds = arg;
		break;
	case 'S':
		check_systems(arg);
		break;
	case 'R':
		perf_options.rate = number(arg, "--rate", 1, 1e9);
		break;
	case 'e':
		perf_options.endpoints =
			(unsigned)number(arg, "--endpoints", 1, PERF_SIDES_MAX / 2.0);
		break;
	case 'o':
		perf_options.output = arg;
		break;
	case 'h':
		usage(stdout);
		exit(0);
	case 'V':
		printf("quoit-perf %s\n", quoit_version());
		exit(0);
	default:
		exit(2);
	}
}

static const char *parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", 1, NULL, 'r'},  {"seconds", 1, NULL, 't'},   {"cpus", 1, NULL, 'c'},
		{"depth", 1, NULL, 'd'},   {"size", 1, NULL, 's'},      {"batch", 1, NULL, 'b'},
		{"kind", 1, NULL, 'k'},    {"systems", 1, NULL, 'S'},   {"rate", 1, NULL, 'R'},
		{"near", 1, NULL, 'n'},    {"output", 1, NULL, 'o'},    {"json", 0, NULL, 'J'},
		{"minutes", 1, NULL, 'm'}, {"endpoints", 1, NULL, 'e'}, {"quick", 0, NULL, 'q'},
		{"help", 0, NULL, 'h'},    {"version", 0, NULL, 'V'},   {"plan", 0, NULL, 'P'},
		{NULL, 0, NULL, 0},
	};
	const char *cpus = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "r:t:m:c:d:s:b:k:S:R:e:n:o:JPqhV", options, NULL)) !=
	       -1) {
		if (c == 'c')
			cpus = optarg;
		else if (!method_option(c, optarg))
			cell_option(c, optarg);
	}
	if (optind != argc - 1)
		bad_usage(optind < argc ? "one command at a time" : "no command given",
			  optind < argc ? argv[optind + 1] : "name one");
	choose_cpus(cpus);
	return argv[optind];
}

/* Does it take part in the count of what is to be measured? */
static int is_planned(const struct command *command)
{
	return command->run != bench_peers && command->run != bench_instructions;
}

/* The measurements of `all`. Returns how many failed. */
static int run_benches(void)
{
	int failed = 0;

	for (size_t i = 0; i < COMMANDS; i++) {
		if (commands[i].run != bench_all && is_planned(&commands[i]))
			failed += commands[i].run();
	}
	return failed;
}

/* Results as JSON, then the page. */
static int bench_all(void)
{
	const char *folder = perf_options.output ? perf_options.output : "perf-report";
	char path[4096], command[8192];
	int failed;

	if (perf_plan.counting)
		return run_benches();
	fprintf(stderr, "quoit-perf: about %.0f minutes: %u rounds of about %.2f s\n",
		perf_plan_total() / 60, perf_config.rounds, perf_plan.base);
	/* Seven rounds in one placement are likely within ten, and sure within thirteen. */
	perf_config.max_rounds = perf_config.rounds + (perf_config.rounds + 1) / 2;
	if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
		fprintf(stderr, "quoit-perf: %s: %s\n", folder, strerror(errno));
		return 1;
	}
	snprintf(path, sizeof(path), "%s/results.jsonl", folder);
	if (freopen(path, "w", stdout) == NULL) {
		fprintf(stderr, "quoit-perf: %s: %s\n", path, strerror(errno));
		return 1;
	}
	perf_json = 1;
	failed = run_benches();
	perf_progress_end();
	fflush(stdout);
	/* Standard output is the results'. */
	snprintf(command, sizeof(command), "'%s' '%s' >&2", PERF_REPORT, folder);
	if (strchr(folder, '\'') != NULL || system(command) != 0) {
		fprintf(stderr, "quoit-perf: no report; run %s %s\n", PERF_REPORT, folder);
		failed++;
	}
	return failed;
}

/* What each benchmark would take. */
static int print_plan(const struct command *command)
{
	double all = perf_plan_total(), length = perf_plan.base;

	for (size_t i = 0; i < COMMANDS; i++) {
		if (!is_planned(&commands[i]) || commands[i].run == bench_all ||
		    (command->run != bench_all && command != &commands[i]))
			continue;
		memset(&perf_plan, 0, sizeof(perf_plan));
		perf_plan.counting = 1;
		(void)commands[i].run();
		perf_plan.base = length;
		printf("%-14s %6.1f minutes\n", commands[i].name, perf_plan_total() / 60);
	}
	printf("%-14s %6.1f minutes: %u rounds of about %.2f s\n", "together", all / 60,
	       perf_config.rounds, length);
	return 0;
}

/* Count, then measure. */
static int run_command(const struct command *command)
{
	if (only_plan && !is_planned(command))
		bad_usage("no plan for", command->name);
	if (is_planned(command)) {
		perf_plan.counting = 1;
		(void)command->run();
		perf_plan_start(command->run == bench_all && !seconds_given ? minutes * 60 : 0);
		if (only_plan)
			return print_plan(command);
	}
	return command->run();
}

/* A second signal is not waited for. Children are stopped by the end of their interval. */
static void stop(int signal)
{
	(void)signal;
	perf_stopped = 1;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART | SA_RESETHAND};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* A peer that dies must not take us along. */
	signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
	const char *name = parse(argc, argv);
	const struct command *command = NULL;
	int failed;

	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(name, commands[i].name) == 0)
			command = &commands[i];
	}
	if (command == NULL)
		bad_usage("no such command", name);
	if (perf_config.max_rounds == 0)
		perf_config.max_rounds = 2 * perf_config.rounds;
	catch_signals();
	perf_clock_start();
	/* Under valgrind nothing is timed. */
	if (command->run != bench_instructions && perf_measure_start() != 0) {
		fprintf(stderr, "quoit-perf: cannot start the canary: %s\n", strerror(errno));
		return 1;
	}
	failed = run_command(command);
	perf_progress_end();
	perf_measure_stop();
	if (failed)
		fprintf(stderr, "quoit-perf: %d measurements failed\n", failed);
	if (perf_stopped)
		fprintf(stderr, "quoit-perf: stopped before the end\n");
	return failed != 0 || perf_stopped;
}
