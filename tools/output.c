/* SPDX-License-Identifier: MIT */
/*
 * Output: tables whose columns fit, JSON lines, and how figures are written. Names and payloads
 * come from others, so nothing of them reaches a terminal unescaped.
 */
#include <ctype.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define BUFFERS 8 /* strings that one printf may use at a time */

_Noreturn static void out_of_memory(void)
{
	say("out of memory");
	exit(STATUS_FAILURE);
}

/* ---- tables --------------------------------------------------------------------------------- */

struct table {
	const struct column *columns;
	size_t width; /* columns */
	char **cells;
	size_t count, room;
};

struct table *table_new(const struct column *columns, size_t n)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		out_of_memory();
	t->columns = columns;
	t->width = n;
	return t;
}

/* Printable ASCII and whole UTF-8 are left alone; the rest becomes \xNN. */
static char *escaped(const char *text)
{
	size_t len = strlen(text);
	char *copy = malloc(4 * len + 1), *to = copy;
	json_t *utf8 = json_stringn(text, len);

	if (copy == NULL)
		out_of_memory();
	for (; *text != 0; text++) {
		unsigned char c = (unsigned char)*text;

		if (isprint(c) || (c >= 0x80 && utf8 != NULL))
			*to++ = (char)c;
		else
			to += sprintf(to, "\\x%02x", c);
	}
	*to = 0;
	json_decref(utf8);
	return copy;
}

void table_cell(struct table *t, const char *format, ...)
{
	va_list arguments;
	char *text;
	int n;

	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cells = reallocarray(t->cells, t->room, sizeof(*t->cells));
		if (t->cells == NULL)
			out_of_memory();
	}
	va_start(arguments, format);
	n = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (n < 0)
		out_of_memory();
	t->cells[t->count++] = escaped(text);
	free(text);
}

/* Columns that a terminal shows for it: continuation bytes of UTF-8 take none. */
static int shown_width(const char *text)
{
	int n = 0;

	for (; *text != 0; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const struct table *t, size_t column, const char *text, int width)
{
	int pad = width - shown_width(text);
	bool last = column + 1 == t->width;

	printf("%s", column ? "  " : "");
	if (t->columns[column].right)
		printf("%*s%s", pad > 0 ? pad : 0, "", text);
	else
		printf("%s%*s", text, pad > 0 && !last ? pad : 0, "");
	if (last)
		putchar('\n');
}

static void print_table(struct table *t, bool header)
{
	int *widths = calloc(t->width, sizeof(*widths));

	if (widths == NULL)
		out_of_memory();
	for (size_t i = 0; i < t->width; i++)
		widths[i] = header ? shown_width(t->columns[i].title) : 0;
	for (size_t i = 0; i < t->count; i++)
		if (shown_width(t->cells[i]) > widths[i % t->width])
			widths[i % t->width] = shown_width(t->cells[i]);
	for (size_t i = 0; i < t->width && header; i++)
		print_cell(t, i, t->columns[i].title, widths[i]);
	for (size_t i = 0; i < t->count; i++) {
		print_cell(t, i % t->width, t->cells[i], widths[i % t->width]);
		free(t->cells[i]);
	}
	free(widths);
	free(t->cells);
	free(t);
}

void table_print(struct table *t)
{
	print_table(t, !globals.no_header);
}

void table_print_bare(struct table *t)
{
	print_table(t, false);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

void json_line(const char *what, json_t *object)
{
	json_t *line = json_pack("{s:i, s:s}", "schema", SCHEMA, "object", what);

	if (object == NULL || line == NULL || json_object_update(line, object) != 0)
		out_of_memory();
	json_dumpf(line, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	fflush(stdout);
	json_decref(object);
	json_decref(line);
}

json_t *json_text(const char *text)
{
	json_t *string = json_string(text);
	char *copy;

	if (string == NULL) {
		copy = escaped(text);
		string = json_string(copy);
		free(copy);
	}
	return string;
}

/* JSON's integers are signed in every reader that matters; what does not fit becomes a real. */
json_t *json_uint(uint64_t value)
{
	return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

/* ---- figures -------------------------------------------------------------------------------- */

static char *next_buffer(void)
{
	static char buffers[BUFFERS][40];
	static unsigned next;

	return buffers[next++ % BUFFERS];
}

const char *human_size(uint64_t bytes)
{
	static const char suffixes[] = "BKMGTPE";
	char *text = next_buffer();
	double value = (double)bytes;
	unsigned i = 0;

	while (value >= (i ? 1023.5 : 1024) && i < 6) { /* 1023.9K is written 1.0M */
		value /= 1024;
		i++;
	}
	if (i == 0)
		snprintf(text, 40, "%" PRIu64 "B", bytes);
	else
		snprintf(text, 40,
			 value < 9.95 && value != (double)(int)value ? "%.1f%c" : "%.0f%c", value,
			 suffixes[i]);
	return text;
}

const char *local_time(uint64_t ns)
{
	time_t seconds = (time_t)(ns / 1000000000u);
	char *text = next_buffer();
	struct tm tm;

	if (ns == 0 || localtime_r(&seconds, &tm) == NULL ||
	    strftime(text, 40, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return "-";
	return text;
}

const char *age(uint64_t ns)
{
	static const struct {
		uint64_t seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	uint64_t now = (uint64_t)time(NULL), then = ns / 1000000000u, seconds;
	char *text = next_buffer();
	size_t i = 0;

	if (ns == 0)
		return "-";
	seconds = now > then ? now - then : 0;
	while (i < 3 && seconds < 2 * units[i].seconds)
		i++;
	snprintf(text, 40, "%" PRIu64 "%c", seconds / units[i].seconds, units[i].unit);
	return text;
}

const char *user_name(uint32_t uid)
{
	const struct passwd *user = getpwuid(uid);
	char *text = next_buffer();

	snprintf(text, 40, "%" PRIu32, uid);
	return user != NULL ? user->pw_name : text;
}

const char *group_name(uint32_t gid)
{
	const struct group *group = getgrgid(gid);
	char *text = next_buffer();

	snprintf(text, 40, "%" PRIu32, gid);
	return group != NULL ? group->gr_name : text;
}

static const char *name_or_number(const char *name, uint32_t value)
{
	char *text;

	if (name != NULL)
		return name;
	text = next_buffer();
	snprintf(text, 40, "?%" PRIu32, value);
	return text;
}

const char *state_name(uint32_t state)
{
	static const char *const names[] = {"new", "open", "ended", "broken", "removed"};

	return name_or_number(state < sizeof(names) / sizeof(*names) ? names[state] : NULL, state);
}

const char *kind_name(uint32_t kind)
{
	return name_or_number(quoit_kind_name((enum quoit_kind)kind), kind);
}

const char *wait_name(uint32_t wait)
{
	return name_or_number(quoit_wait_name((enum quoit_wait)wait), wait);
}

const char *backend_name(uint32_t backend)
{
	return name_or_number(quoit_backend_name((enum quoit_backend)backend), backend);
}

/* ---- payloads ------------------------------------------------------------------------------- */

void print_escaped(const void *bytes, size_t len, size_t most)
{
	const unsigned char *p = bytes;
	size_t shown = len < most ? len : most;

	for (size_t i = 0; i < shown; i++) {
		if (p[i] == '\\')
			fputs("\\\\", stdout);
		else if (p[i] == '\n')
			fputs("\\n", stdout);
		else if (p[i] == '\t')
			fputs("\\t", stdout);
		else if (p[i] >= 0x20 && p[i] < 0x7f)
			putchar(p[i]);
		else
			printf("\\x%02x", p[i]);
	}
	if (shown < len)
		fputs("...", stdout);
}

void print_hex(const void *bytes, size_t len, uint64_t from)
{
	const unsigned char *p = bytes;

	for (size_t i = 0; i < len; i += 16) {
		printf("  %08" PRIx64 " ", from + i);
		for (size_t k = 0; k < 16; k++) {
			if (i + k < len)
				printf("%s%02x", k == 8 ? "  " : " ", p[i + k]);
			else
				printf("%s  ", k == 8 ? "  " : " ");
		}
		fputs("  |", stdout);
		for (size_t k = 0; k < 16 && i + k < len; k++)
			putchar(p[i + k] >= 0x20 && p[i + k] < 0x7f ? p[i + k] : '.');
		puts("|");
	}
}
