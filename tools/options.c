/* SPDX-License-Identifier: MIT */
/* Command lines: options of the command and of all commands, help, and the values they take. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define OPTIONS_MAX 32
#define GLOBAL      0x1000 /* added to the value of a global row in its long form */

static const struct option_row global_rows[] = {
	{"json", 'J', NULL, "print JSON, one object a line"},
	{"no-header", 'n', NULL, "no line of column names"},
	{"quiet", 'q', NULL, "no remarks, only what was asked for and errors"},
	{"verbose", 'v', NULL, "print more"},
	{"version", 'V', NULL, "print the version and exit"},
	{"help", 'h', NULL, "print this help and exit"},
	{NULL, 0, NULL, NULL},
};

/* The command being run, for help and messages; NULL before it is known. */
static const struct command *current;

void usage_error(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "quoit%s%s: ", current ? " " : "", current ? current->name : "");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "; try 'quoit%s%s --help'\n", current ? " " : "",
		current ? current->name : "");
	exit(STATUS_USAGE);
}

static void print_rows(const struct option_row *row)
{
	for (; row != NULL && row->name != NULL; row++) {
		char left[48];

		snprintf(left, sizeof(left), "%s%c%s --%s%s%s", row->value < 256 ? "-" : " ",
			 row->value < 256 ? row->value : ' ', row->value < 256 ? "," : " ",
			 row->name, row->argument ? "=" : "", row->argument ? row->argument : "");
		printf("  %-26s %s\n", left, row->help);
	}
}

_Noreturn static void help(void)
{
	if (current != NULL) {
		printf("Usage: quoit %s [OPTION...] %s\n%s.\n\n", current->name, current->arguments,
		       current->summary);
		print_rows(current->options);
	} else {
		puts("Usage: quoit [OPTION...] COMMAND [OPTION...] [ARGUMENT...]\n"
		     "Look after shared-memory rings.\n");
		for (const struct command *c = commands; c->name != NULL; c++)
			printf("  %-26s %s\n", c->name, c->summary);
		putchar('\n');
	}
	print_rows(global_rows);
	puts("\nRings are named shm:NAME (or NAME), sysv:KEY, sysv:PATH,ID, sysv:#ID, file:PATH,\n"
	     "memfd:NAME, fd:N, /proc/PID/fd/N. More in quoit(1).");
	exit(STATUS_OK);
}

static bool global_option(int value)
{
	switch (value & ~GLOBAL) {
	case 'J':
		globals.json = true;
		return true;
	case 'n':
		globals.no_header = true;
		return true;
	case 'q':
		globals.quiet = true;
		return true;
	case 'v':
		globals.verbose = true;
		return true;
	case 'V':
		printf("quoit %s\n", quoit_version());
		exit(STATUS_OK);
	case 'h':
		help();
	default:
		return false;
	}
}

/* The tables that getopt_long() wants, made of ours. "+" stops it at the first operand: what
 * follows may be another command's. A row of the command hides a global one of the same letter. */
static void build(const struct option_row *const *tables, char *letters, struct option *longs)
{
	size_t n = 0, l = 0;

	letters[l++] = '+';
	for (; *tables != NULL; tables++) {
		int extra = *tables == global_rows ? GLOBAL : 0;

		for (const struct option_row *row = *tables; row->name != NULL && n < OPTIONS_MAX;
		     row++) {
			longs[n++] = (struct option){
				row->name, row->argument ? required_argument : no_argument, NULL,
				row->value + extra};
			if (row->value >= 256 || memchr(letters, row->value, l) != NULL)
				continue;
			letters[l++] = (char)row->value;
			if (row->argument)
				letters[l++] = ':';
		}
	}
	letters[l] = 0;
	longs[n] = (struct option){0};
}

void global_options(int argc, char **argv)
{
	const struct option_row *tables[] = {global_rows, NULL};
	struct option longs[OPTIONS_MAX + 1];
	char letters[3 * OPTIONS_MAX];
	int value;

	build(tables, letters, longs);
	opterr = 0;
	while ((value = getopt_long(argc, argv, letters, longs, NULL)) != -1)
		if (!global_option(value))
			usage_error("'%s' is not an option here", argv[optind - 1]);
	if (optind == argc)
		usage_error("a command is missing");
	for (const struct command *c = commands; c->name != NULL; c++)
		if (strcmp(c->name, argv[optind]) == 0)
			current = c;
}

/* Options may follow operands ("quoit stat NAME -i 1"), as users of GNU tools expect, but not those
 * of the command behind "--". getopt_long() moves the operands behind them. */
int next_option(int argc, char **argv)
{
	static struct option longs[OPTIONS_MAX + 1];
	static char letters[3 * OPTIONS_MAX];
	const struct option_row *tables[] = {global_rows, NULL, NULL};
	int value;

	if (letters[0] == 0) {
		if (current->options != NULL) {
			tables[0] = current->options;
			tables[1] = global_rows;
		}
		build(tables, letters, longs);
		optind = 0; /* start over */
	}
	while ((value = getopt_long(argc, argv, letters + 1, longs, NULL)) != -1) {
		bool own = false;

		if (value == '?' && optopt != 0 && strchr(letters, optopt) != NULL)
			usage_error("option '-%c' needs an argument", optopt);
		if (value == '?')
			usage_error("'%s' is not an option, or its argument is missing",
				    argv[optind - 1]);
		for (const struct option_row *row = current->options;
		     row != NULL && row->name != NULL && !own; row++)
			own = row->value == value;
		if (own || !global_option(value))
			return value;
	}
	return -1;
}

const char *ring_operand(int argc, char **argv)
{
	const char *ring = getenv("QUOIT_RING");

	if (argc - optind > 1)
		usage_error("one ring at a time, not '%s' as well", argv[optind + 1]);
	if (argc - optind == 1)
		ring = argv[optind];
	if (ring == NULL || *ring == 0)
		usage_error("the name of a ring is missing");
	globals.ring = ring;
	return ring;
}

/* A number with a one-letter suffix that multiplies by a power of `unit`. */
static uint64_t parse_scaled(const char *option, const char *text, unsigned unit, uint64_t min,
			     uint64_t max)
{
	static const char suffixes[] = "kmgt";
	const char *suffix;
	char *end;
	double value;

	errno = 0;
	value = strtod(text, &end);
	if (end == text || errno != 0 || !(value >= 0))
		usage_error("%s: '%s' is not a number", option, text);
	if (*end != 0) {
		suffix = strchr(suffixes, *end | 0x20);
		for (long i = suffix != NULL ? suffix - suffixes : -1; i >= 0; i--)
			value *= unit;
		end += suffix != NULL;
		if (unit == 1024 && suffix != NULL && strcmp(end, "iB") == 0)
			end += 2;
	}
	if (*end != 0)
		usage_error("%s: '%s' is not a number", option, text);
	if (value < (double)UINT64_MAX && value != (double)(uint64_t)value)
		usage_error("%s: '%s' is not a whole number", option, text);
	if (value < (double)min || value > (double)max)
		usage_error("%s: '%s' is not within %ju and %ju", option, text, (uintmax_t)min,
			    (uintmax_t)max);
	return (uint64_t)value;
}

uint64_t parse_size(const char *option, const char *text, uint64_t min, uint64_t max)
{
	return parse_scaled(option, text, 1024, min, max);
}

uint64_t parse_count(const char *option, const char *text, uint64_t min, uint64_t max)
{
	return parse_scaled(option, text, 1000, min, max);
}

uint32_t parse_mode(const char *text)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);

	if (end == text || *end != 0 || *text < '0' || *text > '7' || mode > 0777)
		usage_error("'%s' is not an octal mode such as 0640", text);
	return (uint32_t)mode;
}
