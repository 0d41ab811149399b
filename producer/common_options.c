/* SPDX-License-Identifier: MIT */
/*
 * The options that both programs have, and the numbers in them.
 */
#include "common.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A number with a unit of `units`, each `step` times the one before. Usage error when it is none.
 */
static double parse_unit(const char *option, const char *text, const char *units, double step)
{
	char *end;
	double value;
	const char *unit;

	errno = 0;
	value = strtod(text, &end);
	/* strtod() also takes infinities, hexadecimal and signs, which are nothing for an option.
	 */
	if (end == text || errno != 0 || text[strspn(text, "0123456789.")] == 'x' ||
	    strchr("0123456789.", text[0]) == NULL)
		usage_error("--%s: '%s' is not a number", option, text);
	if (*end != '\0' && (unit = strchr(units, *end)) != NULL) {
		for (long i = unit - units; i >= 0; i--)
			value *= step;
		end++;
		if (step == 1024 && strncmp(end, "iB", 3) == 0)
			end += 2;
	}
	if (*end != '\0')
		usage_error("--%s: '%s': no such unit, one of %s", option, text, units);
	return value;
}

static uint64_t in_range(const char *option, const char *text, double value, uint64_t min,
			 uint64_t max)
{
	if (value != floor(value))
		usage_error("--%s: '%s' is not a whole number", option, text);
	if (value < (double)min || value > (double)max)
		usage_error("--%s: '%s' is not between %llu and %llu", option, text,
			    (unsigned long long)min, (unsigned long long)max);
	return value >= 0x1p64 ? max : (uint64_t)value;
}

uint64_t parse_size(const char *option, const char *text, uint64_t min, uint64_t max)
{
	return in_range(option, text, parse_unit(option, text, "KMGT", 1024), min, max);
}

uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
	return in_range(option, text, parse_unit(option, text, "kMG", 1000), min, max);
}

double parse_real(const char *option, const char *text, double min, double max)
{
	double value = parse_unit(option, text, "kMG", 1000);

	if (value < min || value > max)
		usage_error("--%s: '%s' is not between %g and %g", option, text, min, max);
	return value;
}

static uint32_t parse_wait(const char *option, const char *text)
{
	int wait = quoit_wait_from_name(text);

	if (wait < 0)
		usage_error("--%s: '%s' is none of spin, yield, futex, sem, sysvsem, eventfd",
			    option, text);
	return (uint32_t)wait;
}

static uint32_t parse_kind(const char *text)
{
	int kind = quoit_kind_from_name(text);

	if (kind < 0)
		usage_error("--kind: '%s' is neither spsc nor mpmc", text);
	return (uint32_t)kind;
}

static uint32_t parse_mode(const char *text)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (*text < '0' || *text > '7' || *end != '\0' || mode > 0777)
		usage_error("--mode: '%s' is not between 0 and 0777, octal", text);
	if (mode == 0)
		usage_error("--mode: nobody could open it");
	return (uint32_t)mode;
}

void settings_init(struct settings *s)
{
	*s = (struct settings){
		.options.size = sizeof(s->options),
		.count = UINT64_MAX,
		.timeout_ns = NEVER,
		.cpu = -1,
		.progress = isatty(STDERR_FILENO),
	};
}

static bool ring_option(struct settings *s, int option, const char *argument)
{
	struct quoit_options *o = &s->options;

	switch (option) {
	case OPT_CREATE:
		s->create = true;
		o->flags |= QUOIT_CREATE_OR_ATTACH;
		return true;
	case OPT_KIND:
		o->kind = parse_kind(argument);
		return true;
	case OPT_RING_SIZE:
		o->capacity = parse_size("ring-size", argument, 1024, UINT64_C(1) << 40);
		return true;
	case OPT_SLOT_SIZE:
		o->slot_size = (uint32_t)parse_size("slot-size", argument, 8, QUOIT_RECORD_MAX);
		return true;
	case OPT_HEAP:
		o->heap_size = parse_size("heap", argument, 1, UINT64_C(1) << 40);
		return true;
	case OPT_HEAP_SHARE:
		o->heap_share = (uint32_t)parse_size("heap-share", argument, 1, QUOIT_RECORD_MAX);
		return true;
	case OPT_MODE:
		o->mode = parse_mode(argument);
		return true;
	case OPT_PEERS:
		o->peers = (uint32_t)parse_number("peers", argument, 2, QUOIT_PEERS_MAX);
		return true;
	case OPT_RING_WAIT:
		o->wait = parse_wait("ring-wait", argument);
		return true;
	case OPT_HUGEPAGES:
		o->flags |= QUOIT_CREATE_HUGEPAGES;
		return true;
	case OPT_MLOCK:
		o->flags |= QUOIT_MLOCK;
		return true;
	case OPT_PREFAULT:
		o->flags |= QUOIT_PREFAULT;
		return true;
	case OPT_PERSISTENT:
		o->flags |= QUOIT_PERSISTENT;
		return true;
	case OPT_REMOVE:
		s->remove = true;
		return true;
	}
	return false;
}

static bool report_option(struct settings *s, int option, const char *argument)
{
	switch (option) {
	case OPT_LATENCY:
		s->latency = true;
		return true;
	case OPT_STATS:
		s->stats_s = parse_real("stats", argument, 0.01, 86400);
		return true;
	case OPT_PROGRESS:
		s->progress = true;
		return true;
	case 'q':
		s->quiet = true;
		return true;
	case 'J':
		s->json = true;
		return true;
	case OPT_SUMMARY:
		s->summary = argument;
		return true;
	case 'V':
		printf("%s %s\n", program, quoit_version());
		exit(STATUS_OK);
	}
	return false;
}

bool common_option(struct settings *s, int option, const char *argument)
{
	switch (option) {
	case 'l':
		s->framing = FRAMING_LINES;
		return true;
	case OPT_LENGTH_PREFIXED:
		s->framing = FRAMING_PREFIXED;
		return true;
	case OPT_FIXED:
		s->framing = FRAMING_FIXED;
		s->fixed = (uint32_t)parse_size("fixed", argument, 1, QUOIT_RECORD_MAX);
		return true;
	case 'n':
		s->count = parse_number("count", argument, 1, UINT64_MAX);
		return true;
	case OPT_BATCH:
		s->batch = (uint32_t)parse_number("batch", argument, 1, QUOIT_BATCH_MAX);
		return true;
	case 'w':
		s->wait = (int)parse_wait("wait", argument);
		return true;
	case 't':
		s->timeout_ns = (int64_t)(parse_real("timeout", argument, 0, 1e9) * 1e9);
		return true;
	case OPT_CPU:
		s->cpu = (int)parse_number("cpu", argument, 0, CPU_SETSIZE - 1);
		return true;
	case OPT_RESUME:
		s->resume = true;
		return true;
	case 'T':
		s->type_given = true;
		s->type = (uint32_t)parse_number("type", argument, 0, UINT32_MAX);
		return true;
	}
	return ring_option(s, option, argument) || report_option(s, option, argument);
}

void option_error(int option, char **argv)
{
	const char *last = argv[optind - 1];
	const bool is_long = strncmp(last, "--", 2) == 0;

	if (option == ':' && is_long)
		usage_error("option '%s' requires an argument", last);
	if (option == ':')
		usage_error("option '-%c' requires an argument", optopt);
	if (optopt != 0 && is_long)
		usage_error("option '%s' takes no argument", last);
	if (optopt != 0)
		usage_error("unrecognized option '-%c'", optopt);
	usage_error("unrecognized option '%s'", last);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		usage_error("--cpu: cannot run on CPU %d: %s; see nproc(1) and taskset(1)", cpu,
			    strerror(errno));
}

/* Its descriptor is all there is of a memfd ring: our own would go with us, and nobody else's can
 * be found by that name. */
static void refuse_memfd(const char *ring)
{
	if (strncmp(ring, "memfd:", 6) == 0)
		usage_error("%s: a memfd ring lives as long as a process has it: use 'quoit create "
			    "%s -- COMMAND', which sets QUOIT_RING for the command",
			    ring, ring);
}

void settings_finish(struct settings *s, int argc, char **argv)
{
	const uint32_t create_only = QUOIT_CREATE_HUGEPAGES | QUOIT_PERSISTENT;
	const struct quoit_options *o = &s->options;

	if (optind < argc)
		s->ring = argv[optind++];
	else
		s->ring = getenv("QUOIT_RING");
	s->more = argv + optind;
	s->more_n = (unsigned)(argc - optind);
	if (s->ring == NULL || *s->ring == '\0')
		usage_error("which ring? Name it, or set QUOIT_RING");
	refuse_memfd(s->ring);
	for (unsigned i = 0; i < s->more_n; i++)
		refuse_memfd(s->more[i]);
	if (!s->create && ((o->flags & create_only) != 0 || o->capacity != 0 || o->slot_size != 0 ||
			   o->heap_size != 0 || o->heap_share != 0 || o->mode != 0 ||
			   o->peers != 0 || o->wait != 0))
		usage_error("--ring-size, --slot-size, --heap, --heap-share, --mode, --peers, "
			    "--ring-wait, --hugepages and "
			    "--persistent need --create");
	if (o->heap_share != 0 && (o->kind == QUOIT_MPMC || o->heap_size == 0))
		usage_error("--heap-share is for --kind spsc with a --heap");
	if (s->quiet || s->json || s->stats_s != 0)
		s->progress = false;
	if (s->cpu >= 0)
		pin(s->cpu);
}

void print_common_help(void)
{
	fputs("\nThe ring is attached to; when it is not there yet, waited for.\n"
	      "      --create           create it, or attach if it exists, with\n"
	      "      --kind KIND          spsc (default) or mpmc; without --create: insist on it\n"
	      "      --ring-size SIZE     bytes of record space, default 1M\n"
	      "      --slot-size SIZE     mpmc: largest record without a heap, default 256\n"
	      "      --heap SIZE          a heap for longer records than the ring takes\n"
	      "      --heap-share SIZE    spsc: longer ones go there, default 1/8 of the ring\n"
	      "      --mode OCTAL         permissions, default 0600\n"
	      "      --peers N            mpmc: most endpoints at one time, default 128\n"
	      "      --ring-wait WAIT     how its users wait unless they choose, default futex\n"
	      "      --hugepages          on huge pages\n"
	      "      --persistent         the stream never ends\n"
	      "      --mlock, --prefault  keep it resident; touch every page first\n"
	      "      --remove           remove the ring at the end\n"
	      "\n"
	      "  -w, --wait WAIT        spin, yield, futex, sem, sysvsem or eventfd\n"
	      "  -t, --timeout SEC      give up when nothing moves for so long (exit code 7;\n"
	      "                         3 if the ring does not appear); default: never\n"
	      "      --resume           when a peer died, wait for its successor\n"
	      "      --cpu N            run on CPU N only\n"
	      "      --stats SEC        a line of figures every SEC seconds\n"
	      "      --progress         a progress line even if stderr is no terminal\n"
	      "  -q, --quiet            nothing but errors on stderr\n"
	      "  -J, --json             the summary as JSON on stderr\n"
	      "      --summary FILE     the summary as JSON into FILE\n"
	      "      --help, -V         this; the version\n"
	      "\n"
	      "SIZE: bytes, or with K M G T (powers of 1024). N, RATE: with k M G (of 1000).\n"
	      "Exit codes: 0 ok, 1 failure, 2 usage, 3 no such ring, 4 permission, 5 layout,\n"
	      "6 corrupt, 7 timeout, 8 a peer died, 128+n signal n (141: the other end closed).\n",
	      stdout);
}
