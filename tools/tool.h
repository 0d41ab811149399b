/* SPDX-License-Identifier: MIT */
/*
 * What the files of the quoit command share: the table of commands, options, messages, output. The
 * command uses the public headers alone; a command of it returns the exit code.
 */
#ifndef QUOIT_TOOL_H
#define QUOIT_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <quoit/inspect.h>

/* Exit codes; create adds those of the command it ran. */
enum {
	STATUS_OK = 0,
	STATUS_FAILURE = 1,
	STATUS_USAGE = 2,
	STATUS_NOT_FOUND = 3,
	STATUS_PERMISSION = 4,
	STATUS_LAYOUT = 5,
	STATUS_CORRUPT = 6,
	STATUS_TIMEOUT = 7,
	STATUS_PEER_DIED = 8,
	STATUS_SIGNAL = 128,
};

/* Options that every command has. */
struct globals {
	bool json;      /* one object a line, each with "schema" */
	bool no_header; /* no line of column names */
	bool quiet;     /* no remarks, only what was asked for and errors */
	bool verbose;
	const char *ring; /* that is looked at, for the last words */
};
extern struct globals globals;

/* A row of a command's options; value is what next_option() returns for it, a letter if it is short
 * as well. The last row has no name. */
struct option_row {
	const char *name;
	int value;
	const char *argument; /* NULL: takes none */
	const char *help;
};

struct command {
	const char *name;
	const char *arguments; /* for the usage line */
	const char *summary;
	const struct option_row *options;  /* NULL: none of its own */
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};
extern const struct command commands[]; /* the last has no name */

int run_ls(int argc, char **argv);
int run_create(int argc, char **argv);
int run_info(int argc, char **argv);
int run_stat(int argc, char **argv);
int run_peers(int argc, char **argv);
int run_dump(int argc, char **argv);
int run_tail(int argc, char **argv);
int run_check(int argc, char **argv);
int run_repair(int argc, char **argv);
int run_rm(int argc, char **argv);
int run_chmod(int argc, char **argv);
int run_chown(int argc, char **argv);

extern const struct option_row ls_options[], create_options[], stat_options[], dump_options[],
	tail_options[], repair_options[], rm_options[];

/* options.c */

/* The next option of a command, its argument in optarg; -1 after the last, with optind at the first
 * operand. Global options are taken care of; --help and mistakes end the program. */
int next_option(int argc, char **argv);
/* The same before the command; true if there is another, all of which are global. */
void global_options(int argc, char **argv);
/* The single operand: a ring, by default the one of $QUOIT_RING. */
const char *ring_operand(int argc, char **argv);
/* A wrong command line: one line, and exit 2. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "64M", "1.5G", "4096": bytes, powers of 1024. "10", "10k": plain. Mistakes end the program. */
uint64_t parse_size(const char *option, const char *text, uint64_t min, uint64_t max);
uint64_t parse_count(const char *option, const char *text, uint64_t min, uint64_t max);
uint32_t parse_mode(const char *text);

/* message.c */

/* "quoit: TEXT" on stderr. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line: what failed, which ring, why, what to do. Returns the exit code. */
int ring_error(const char *ring, const char *what, int error);
int status_of(int error);
/* The worse of two exit codes of commands that go through several rings: the first failure. */
static inline int first_failure(int status, int next)
{
	return status != STATUS_OK ? status : next;
}

/* Problems of a ring: as lines, or as JSON objects. For quoit_problem_fn. */
struct problems {
	const char *ring;
	bool to_stderr; /* lines go there: stdout carries something else */
	bool notes;     /* severity 1 as well */
	unsigned repairable, corrupt;
};
void print_problem(void *problems, int severity, uint64_t offset, const char *text);
/* From here on json_ring() knows this operand by its canonical name, if that can be told: by a view
 * of it, or by a look of its own. */
void know_ring(const char *ring, const struct quoit_inspect *v);
void look_up_ring(const char *ring);
/* The ring's canonical name: the same in all objects, however it was named on the command line. */
json_t *json_ring(const char *ring);
/* Open a view; tells of problems, and what went wrong. 0 or an exit code. */
int open_view(const char *ring, struct problems *problems, struct quoit_inspect **ret);

/* output.c */

/* A table: columns are as wide as their widest cell. */
struct column {
	const char *title;
	bool right; /* aligned to the right */
};
struct table;
struct table *table_new(const struct column *columns, size_t n);
/* The next cell, from left to right and from row to row; control characters are escaped. */
void table_cell(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Print everything, or everything but the titles, and free the table. */
void table_print(struct table *t);
void table_print_bare(struct table *t);

#define SCHEMA 1
/* Print {"schema":1, "object":WHAT, ...} on a line of its own; takes the reference. */
void json_line(const char *what, json_t *object);
/* A string that came from outside: not UTF-8 is shown escaped. */
json_t *json_text(const char *text);
json_t *json_uint(uint64_t value);

/* "512", "64K", "1.5G"; in a static buffer of several, for one printf. */
const char *human_size(uint64_t bytes);
/* "2026-01-31 12:00:00" local time; "-" for 0. */
const char *local_time(uint64_t ns);
/* "12s", "5m", "3h", "2d" since then. */
const char *age(uint64_t ns);
/* Name of a user or group, or the number. */
const char *user_name(uint32_t uid);
const char *group_name(uint32_t gid);
const char *state_name(uint32_t state);
/* Names of enums, also of values that are none. */
const char *kind_name(uint32_t kind);
const char *wait_name(uint32_t wait);
const char *backend_name(uint32_t backend);
/* Bytes as text: printable characters as they are, others escaped; at most `most` bytes of them. */
void print_escaped(const void *bytes, size_t len, size_t most);
/* As hexdump -C, offsets starting at `from`. */
void print_hex(const void *bytes, size_t len, uint64_t from);

/* info.c: as table or JSON; an exit code, told */
int show_info(const char *ring, const struct quoit_inspect *v);
int show_peers(const char *ring, const struct quoit_inspect *v);

/* stat.c: the counters, all of them */
int show_stats(const char *ring, const struct quoit_inspect *v);
/* A heap section in a line, in a static buffer; and as JSON. */
const char *heap_text(const struct quoit_heap_stats *h);
json_t *heap_json(const struct quoit_heap_stats *h);

/* record.c: what dump and tail print of a record */

struct record_style {
	bool hex;    /* a hex dump below the line */
	bool raw;    /* nothing but the payload */
	size_t most; /* bytes of payload shown, SIZE_MAX: all */
};
void record_header(const struct record_style *style);
void record_print(const char *ring, const struct quoit_record *record,
		  const struct record_style *style);

#endif
