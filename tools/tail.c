/* SPDX-License-Identifier: MIT */
/*
 * quoit tail: the last records of a ring, and those that come, without taking them and without
 * anyone noticing. Who looks is never waited for: records that were gone before they could be shown
 * are counted.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tool.h"

#define SHOWN   128                 /* bytes of payload shown on a line */
#define POLL_NS 20000000            /* between two looks at a ring where nothing new is */
#define TELL_NS INT64_C(1000000000) /* between two words about missed records */
#define BURST   4096                /* records printed between two looks at the clock */

const struct option_row tail_options[] = {
	{"follow", 'f', NULL, "go on with the records that come"},
	{"lines", 'n', "N", "show the last N records (default 10)"},
	{"hex", 'x', NULL, "payloads in hexadecimal"},
	{"all", 'a', NULL, "whole payloads, however long"},
	{"raw", 'r', NULL, "print the payloads alone, as they are"},
	{NULL, 0, NULL, NULL},
};

/* The last records seen, in a ring of their own. */
struct last {
	struct quoit_record *records; /* .data is ours */
	uint64_t room, count;         /* count: all that were put in */
};

struct tail {
	const char *ring;
	struct quoit_inspect *v;
	struct record_style style;
	bool follow;
	uint64_t lines;
	uint64_t missed, told;
	int64_t told_ns;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool is_shown(const struct quoit_record *record)
{
	return record->data != NULL && record->state != QUOIT_RECORD_PADDING &&
	       record->state != QUOIT_RECORD_VOID && record->state != QUOIT_RECORD_WRITING;
}

static void tell_missed(struct tail *t)
{
	if (t->missed == t->told || globals.quiet)
		return;
	say("'%s' was faster: %" PRIu64 " positions were overwritten unseen", t->ring,
	    t->missed - t->told);
	t->told = t->missed;
	t->told_ns = now_ns();
}

static int keep(struct last *last, const struct quoit_record *record)
{
	struct quoit_record *to;
	void *data;

	if (last->room == 0)
		return 0;
	data = malloc(record->len ? record->len : 1);
	if (data == NULL)
		return -ENOMEM;
	memcpy(data, record->data, record->len);
	to = &last->records[last->count++ % last->room];
	free((void *)(uintptr_t)to->data);
	*to = *record;
	to->data = data;
	return 0;
}

/* What is there now, to the end; at most as much as a ring holds, for more may come while we look.
 */
static int read_last(struct tail *t, struct last *last)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_record record;
	uint64_t first = 0, missed = 0;
	int r = quoit_inspect_stats(t->v, &stats);

	if (r != 0)
		return r;
	for (uint64_t n = 0; (r = quoit_inspect_next(t->v, &record, &missed)) == 1; n++) {
		if (n == 0)
			first = record.position;
		if (record.position - first >= 3 * stats.capacity)
			break;
		if (is_shown(&record) && keep(last, &record) != 0)
			return -ENOMEM;
	}
	return r < 0 ? r : 0;
}

static int show_last(struct tail *t)
{
	struct last last = {.room = t->lines};
	uint64_t first;
	int r = 0;

	if (t->lines == 0)
		return 0;
	last.records = calloc(last.room, sizeof(*last.records));
	r = last.records != NULL ? read_last(t, &last) : -ENOMEM;
	/* Also before damage: what could be read, was. */
	first = last.count > last.room ? last.count - last.room : 0;
	for (uint64_t i = first; i < last.count && last.records != NULL; i++) {
		record_print(t->ring, &last.records[i % last.room], &t->style);
		free((void *)(uintptr_t)last.records[i % last.room].data);
	}
	free(last.records);
	return r;
}

/* Up to a burst of what has come; 0 nothing more at present, 1 there may be. */
static int show_new(struct tail *t)
{
	struct quoit_record record;

	for (int i = 0; i < BURST; i++) {
		int r = quoit_inspect_next(t->v, &record, &t->missed);

		if (r != 1)
			return r;
		if (is_shown(&record))
			record_print(t->ring, &record, &t->style);
	}
	return 1;
}

/* Until the ring is removed or damaged, or a signal ends the program. */
static int follow(struct tail *t)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	/* SPSC goes on where the walk ended; MPMC has to be told to wait for unfinished records. */
	quoit_inspect_seek_end(t->v);
	for (;;) {
		int r = show_new(t);

		if (r < 0)
			return r;
		if (now_ns() - t->told_ns >= TELL_NS)
			tell_missed(t);
		if (r == 1)
			continue;
		fflush(stdout);
		if (ferror(stdout))
			return -EIO;
		r = quoit_inspect_stats(t->v, &stats);
		if (r != 0 || stats.state == QUOIT_STATE_REMOVED)
			return r != 0 ? r : -EIDRM;
		nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
	}
}

int run_tail(int argc, char **argv)
{
	struct tail t = {.lines = 10, .style = {.most = SHOWN}};
	struct problems problems = {.to_stderr = true};
	int option, r, status;

	while ((option = next_option(argc, argv)) != -1) {
		if (option == 'f')
			t.follow = true;
		else if (option == 'n')
			t.lines = parse_count("--lines", optarg, 0, 1000000);
		else if (option == 'x')
			t.style.hex = true;
		else if (option == 'a')
			t.style.most = SIZE_MAX;
		else
			t.style.raw = true;
	}
	t.ring = ring_operand(argc, argv);
	status = open_view(t.ring, &problems, &t.v);
	if (status != STATUS_OK)
		return status;
	record_header(&t.style);
	r = show_last(&t);
	if (r == 0 && t.follow)
		r = follow(&t);
	fflush(stdout);
	tell_missed(&t);
	quoit_inspect_close(t.v);
	if (r != 0)
		status = ring_error(t.ring, "read on in", r);
	return first_failure(status, problems.corrupt ? STATUS_CORRUPT : STATUS_OK);
}
