/* SPDX-License-Identifier: MIT */
/*
 * quoit dump: everything that is in a ring, or in a file that is a copy of one. Damage does not
 * stop it: what can be read is printed, then what is wrong.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "tool.h"

#define SHOWN 48 /* bytes of payload shown on a line */

enum { OPT_HEADER = 256, OPT_RECORDS, OPT_LIMIT };

const struct option_row dump_options[] = {
	{"header", OPT_HEADER, NULL, "only the header, counters and peers"},
	{"records", OPT_RECORDS, NULL, "only the records"},
	{"hex", 'x', NULL, "whole payloads in hexadecimal, and the header's bytes"},
	{"limit", OPT_LIMIT, "N", "at most N records"},
	{NULL, 0, NULL, NULL},
};

static void ignore(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg, (void)severity, (void)offset, (void)text;
}

static int dump_header(const char *ring, const struct quoit_inspect *v, bool hex)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_info info = {.size = sizeof(info)};
	uint64_t size, end;
	const void *bytes = quoit_inspect_bytes(v, &size);
	int status = show_info(ring, v);

	/* A copy may end before its counters; that is told with the other problems. */
	if (quoit_inspect_stats(v, &stats) == 0) {
		if (!globals.json)
			putchar('\n');
		status = first_failure(status, show_stats(ring, v));
		if (!globals.json)
			putchar('\n');
		status = first_failure(status, show_peers(ring, v));
	}
	if (hex && !globals.json && quoit_inspect_info(v, &info) == 0) {
		/* A page of the header at least; where the records begin, if nothing follows them.
		 */
		end = info.heap_size != 0 ? 4096 : info.segment_size - info.capacity;
		putchar('\n');
		print_hex(bytes, end < size ? end : size, 0);
	}
	return status;
}

/* Every record once: writers that are faster than we print must not lead us on for ever. */
static void dump_records(const char *ring, struct quoit_inspect *v,
			 const struct record_style *style, uint64_t limit)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_record record;
	uint64_t missed = 0, first = 0, span, bad = 0;

	if (quoit_inspect_stats(v, &stats) != 0)
		return;
	/* SPSC: bytes of the ring; MPMC: a lap behind the head, and one before it. */
	span = 3 * stats.capacity;
	record_header(style);
	quoit_inspect_rewind(v);
	for (uint64_t n = 0; n < limit;) {
		int r = quoit_inspect_next(v, &record, &missed);

		if (r == -EBADMSG && bad++ < stats.capacity)
			continue; /* MPMC goes on behind it; SPSC stays, and check says where */
		if (r != 1)
			break;
		if (n++ == 0)
			first = record.position;
		if (record.position - first >= span)
			break;
		record_print(ring, &record, style);
	}
	fflush(stdout);
	if (missed != 0 && !globals.quiet)
		say("'%s' moved on while it was read: %" PRIu64 " positions were missed", ring,
		    missed);
}

int run_dump(int argc, char **argv)
{
	struct record_style style = {.most = SHOWN};
	struct problems problems = {.to_stderr = !globals.json, .notes = true};
	bool header = true, records = true;
	uint64_t limit = UINT64_MAX;
	struct quoit_inspect *v;
	const char *ring;
	int option, r, status = STATUS_OK;

	while ((option = next_option(argc, argv)) != -1) {
		if (option == OPT_HEADER) {
			records = false;
		} else if (option == OPT_RECORDS) {
			header = false;
		} else if (option == 'x') {
			style.hex = true;
			style.most = SIZE_MAX;
		} else {
			limit = parse_count("--limit", optarg, 0, UINT64_MAX / 2);
		}
	}
	if (!header && !records)
		usage_error("--header and --records exclude each other");
	problems.ring = ring = ring_operand(argc, argv);
	problems.to_stderr = !globals.json;
	r = quoit_inspect_open(ring, ignore, NULL, &v); /* check below tells it all */
	if (r != 0)
		return ring_error(ring, "open", r);
	know_ring(ring, v);
	if (header)
		status = dump_header(ring, v, style.hex);
	if (header && records && !globals.json)
		putchar('\n');
	if (records)
		dump_records(ring, v, &style, limit);
	r = quoit_inspect_check(v, print_problem, &problems);
	quoit_inspect_close(v);
	if (r < 0)
		status = first_failure(status, ring_error(ring, "check", r));
	return first_failure(status, problems.corrupt ? STATUS_CORRUPT : STATUS_OK);
}
