/* SPDX-License-Identifier: MIT */
/*
 * What quoit-produce and quoit-consume share: the options that both have, how they find their ring,
 * how they end, and what they report. It lies in producer/ because the programs are siblings and a
 * third folder for it would say less.
 *
 * Functions return 0 or a negative errno, as the library does. Waiting is always done in slices of
 * SLICE_MS: a signal that comes between the look at stop_signal and the sleep would otherwise be
 * seen only when the wait ends, and the progress line would stand still.
 */
#ifndef QUOIT_PRODUCER_COMMON_H
#define QUOIT_PRODUCER_COMMON_H

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>
#include <quoit/quoit.h>

#define SLICE_MS 100
#define LOOK_NS  20000000 /* between two looks for a ring that is not there */
#define NEVER    INT64_MAX

/* Exit codes; 128 + n after signal n. */
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

enum framing { FRAMING_RAW, FRAMING_LINES, FRAMING_PREFIXED, FRAMING_FIXED };

/* Options of both programs. */
struct settings {
	const char *ring;
	char **more; /* and of more rings */
	unsigned more_n;
	struct quoit_options options; /* of the ring */
	bool create, remove;
	enum framing framing;
	uint32_t fixed;     /* FRAMING_FIXED: bytes of a record */
	uint64_t count;     /* stop after so many records; UINT64_MAX: no limit */
	uint32_t batch;     /* records of one call; 0: the program's choice */
	int wait;           /* enum quoit_wait, 0: the ring's */
	int64_t timeout_ns; /* give up when nothing moves for so long; NEVER */
	int cpu;            /* -1: any */
	bool verify, latency, resume;
	bool type_given;
	uint32_t type;
	bool quiet, progress, json;
	double stats_s;      /* 0: no periodic line */
	const char *summary; /* file for the summary as JSON, or NULL */
};

/* getopt_long() values of the shared options, and the table's rows. */
enum {
	OPT_CREATE = 256,
	OPT_KIND,
	OPT_RING_SIZE,
	OPT_SLOT_SIZE,
	OPT_HEAP,
	OPT_HEAP_SHARE,
	OPT_MODE,
	OPT_PEERS,
	OPT_RING_WAIT,
	OPT_HUGEPAGES,
	OPT_MLOCK,
	OPT_PREFAULT,
	OPT_PERSISTENT,
	OPT_REMOVE,
	OPT_LENGTH_PREFIXED,
	OPT_FIXED,
	OPT_BATCH,
	OPT_CPU,
	OPT_VERIFY,
	OPT_LATENCY,
	OPT_RESUME,
	OPT_STATS,
	OPT_PROGRESS,
	OPT_JSON,
	OPT_SUMMARY,
	OPT_HELP,
	OPT_PRIVATE, /* the programs' own begin here */
};
/* clang-format off */
#define COMMON_OPTIONS                                                       \
	{"create", no_argument, NULL, OPT_CREATE},                           \
	{"kind", required_argument, NULL, OPT_KIND},                         \
	{"ring-size", required_argument, NULL, OPT_RING_SIZE},               \
	{"slot-size", required_argument, NULL, OPT_SLOT_SIZE},               \
	{"heap", required_argument, NULL, OPT_HEAP},                         \
	{"heap-share", required_argument, NULL, OPT_HEAP_SHARE},             \
	{"mode", required_argument, NULL, OPT_MODE},                         \
	{"peers", required_argument, NULL, OPT_PEERS},                       \
	{"ring-wait", required_argument, NULL, OPT_RING_WAIT},               \
	{"hugepages", no_argument, NULL, OPT_HUGEPAGES},                     \
	{"mlock", no_argument, NULL, OPT_MLOCK},                             \
	{"prefault", no_argument, NULL, OPT_PREFAULT},                       \
	{"persistent", no_argument, NULL, OPT_PERSISTENT},                   \
	{"remove", no_argument, NULL, OPT_REMOVE},                           \
	{"lines", no_argument, NULL, 'l'},                                   \
	{"length-prefixed", no_argument, NULL, OPT_LENGTH_PREFIXED},         \
	{"fixed", required_argument, NULL, OPT_FIXED},                       \
	{"count", required_argument, NULL, 'n'},                             \
	{"batch", required_argument, NULL, OPT_BATCH},                       \
	{"wait", required_argument, NULL, 'w'},                              \
	{"timeout", required_argument, NULL, 't'},                           \
	{"cpu", required_argument, NULL, OPT_CPU},                           \
	{"latency", no_argument, NULL, OPT_LATENCY},                         \
	{"resume", no_argument, NULL, OPT_RESUME},                           \
	{"type", required_argument, NULL, 'T'},                              \
	{"stats", required_argument, NULL, OPT_STATS},                       \
	{"progress", no_argument, NULL, OPT_PROGRESS},                       \
	{"quiet", no_argument, NULL, 'q'},                                   \
	{"json", no_argument, NULL, 'J'},                                    \
	{"summary", required_argument, NULL, OPT_SUMMARY},                   \
	{"help", no_argument, NULL, OPT_HELP},                               \
	{"version", no_argument, NULL, 'V'}
/* clang-format on */
#define COMMON_SHORT ":ln:w:t:T:qJV" /* the colon: option_error() tells what is wrong */

/* common.c: starting and ending */

extern const char *program; /* "quoit-produce" */
/* SIGINT or SIGTERM has come. SIGTERM lets the stream run dry first, unless stop_hard is set:
 * SIGINT, or a second SIGTERM. */
extern volatile sig_atomic_t stop_signal, stop_hard;

int64_t now_ns(void);
/* ns after now; NEVER stays NEVER. */
int64_t deadline_after(int64_t ns);
/* First thing in main(). */
void begin(const char *name);
void catch_signals(void);
/* "program: TEXT" on stderr, over the progress line if there is one. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A wrong command line: one line, and exit 2. */
_Noreturn void usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One line: what failed, which ring, why, what to do. Returns the exit code. */
int ring_error(const char *ring, const char *what, int error);
/* End the process; after SIGINT and SIGPIPE as one whom the signal killed, as shells expect it. */
_Noreturn void leave(int status);

/* common_options.c */

void settings_init(struct settings *s);
/* One option that getopt_long() returned; false: not a shared one. */
bool common_option(struct settings *s, int option, const char *argument);
/* What getopt_long() returned is no option of the program at all: says why. */
_Noreturn void option_error(int option, char **argv);
/* After the last option: takes the rings' names, checks what belongs together. */
void settings_finish(struct settings *s, int argc, char **argv);
void print_common_help(void);
/* Numbers end the program with a usage error when they are none, or out of range.
 * "64M", "1.5GiB", "100000": bytes, powers of 1024. */
uint64_t parse_size(const char *option, const char *text, uint64_t min, uint64_t max);
/* "250", "10k", "2.5M": powers of 1000. */
uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max);
double parse_real(const char *option, const char *text, double min, double max);

/* common_ring.c */

/* Create or attach as asked; waits for a ring that is not there yet. 0, or an exit code, told.
 * *ret_created: it was made by this call. */
int open_ring(const struct settings *s, struct quoit **ret_ring, bool *ret_created);
/* The same without waiting and telling: 0, -EAGAIN not there yet, or why not: for open_error(). */
int try_ring(const struct settings *s, struct quoit **ret_ring, bool *ret_created);
/* Say why it cannot be had. Returns the exit code. */
int open_error(const struct settings *s, int error);
/* Say, once and not at once, that it is waited for. */
void awaits_ring(const struct settings *s, int64_t since, bool *told);
/* A private one was created: say its name, for nobody can guess it. */
void tell_private(const struct settings *s, const struct quoit *ring);
/* We have created it and cannot go on: detach, and remove it unless somebody has come already. */
void take_back(struct quoit *q);
/* How full the ring is, percent. */
unsigned ring_fill(const struct quoit *q);
/* Remove the ring; one that is gone already is no error. 0, or an exit code, told. */
int remove_ring(const struct quoit *q);

/* common_histogram.c: log-linear, as HdrHistogram: 128 steps an octave, within 0.8 % of the truth.
 */

struct histogram;
struct histogram *histogram_new(void);
void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_count(const struct histogram *h);
uint64_t histogram_max(const struct histogram *h);
/* Smallest value that `fraction` of all values do not exceed. */
uint64_t histogram_quantile(const struct histogram *h, double fraction);

/* common_report.c: progress line, periodic line, summary */

struct report {
	const struct settings *s;
	const struct quoit *ring; /* of several the first that is there, or NULL */
	uint64_t records, bytes;
	int64_t opened_ns;
	int64_t first_ns; /* first record; 0: none yet */
	int64_t end_ns;   /* report_stop() */
	int64_t every_ns; /* 0: no line while it runs */
	int64_t next_ns;
	uint64_t last_records, last_bytes;
	int64_t last_ns;
	unsigned more;             /* rings that are not named */
	struct histogram *latency; /* or NULL */
};
void report_init(struct report *r, const struct settings *s, const struct quoit *ring);
/* Print a line if it is time to. */
void report_tick(struct report *r);
static inline void report_add(struct report *r, uint64_t records, uint64_t bytes)
{
	if (r->first_ns == 0)
		r->first_ns = now_ns();
	r->records += records;
	r->bytes += bytes;
}
/* The stream is over; what follows does not count into its duration. */
void report_stop(struct report *r);
/* The summary: text on stderr, or JSON there or into a file. extra, which may be NULL and is
 * consumed, is merged into the JSON object. Returns 0, or an exit code, told. */
int report_finish(struct report *r, const struct quoit_counters *own, int status, json_t *extra);

/* common_stamp.c: what generated records begin with */

#define STAMP_MAGIC UINT32_C(0x006e6771) /* "qgn", flags in the top byte */
#define STAMP_SUM   UINT32_C(0x01000000) /* .sum is valid */

struct stamp {
	uint32_t magic;
	uint32_t sum;      /* over everything in the record but magic and sum */
	uint64_t source;   /* random, one per run of a producer */
	uint64_t sequence; /* from 0 */
	uint64_t due_ns;   /* when it was to be sent, CLOCK_MONOTONIC; 0: not stamped */
};
uint32_t stamp_sum(const void *record, uint32_t len);

#endif
