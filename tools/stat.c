/* SPDX-License-Identifier: MIT */
/*
 * quoit stat: the counters of a ring, all of them once, or as rates in the cadence of vmstat(8):
 * the first line tells of the time since the ring was created, each other one of the interval
 * before it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

#define HEADER_EVERY 20 /* lines, on a terminal */

const struct option_row stat_options[] = {
	{"interval", 'i', "SECONDS", "print rates again and again"},
	{"count", 'c', "N", "stop after N lines (default: with -i never, else 1)"},
	{NULL, 0, NULL, NULL},
};

/* ---- all counters, once --------------------------------------------------------------------- */

static void print_totals(const struct quoit_stats *s)
{
	static const struct column columns[] = {
		{"COUNTER", false}, {"PRODUCERS", true}, {"CONSUMERS", true}, {"MEANING", false}};
	struct table *t = table_new(columns, 4);

#define ROW(name, producers, consumers, what)                                                      \
	(table_cell(t, name), table_cell(t, "%" PRIu64, (uint64_t)(producers)),                    \
	 table_cell(t, "%" PRIu64, (uint64_t)(consumers)), table_cell(t, "%s", what))
	ROW("open", s->producers, s->consumers, "endpoints, alive or not cleaned up after");
	ROW("died", s->producer_deaths, s->consumer_deaths, "endpoints that died without closing");
	ROW("position", s->tail, s->head, "of the next record to write, to read");
#define COUNTER(name, what) ROW(#name, s->produced.name, s->consumed.name, what);
	QUOIT_COUNTERS(COUNTER)
#undef COUNTER
#undef ROW
	printf("%s, %" PRIu64 " of %" PRIu64 " used (%.0f%%)\n", state_name(s->state), s->used,
	       s->capacity, s->capacity ? 100.0 * (double)s->used / (double)s->capacity : 0);
	table_print(t);
}

static json_t *counters_json(const struct quoit_counters *c)
{
	json_t *object = json_object();

#define COUNTER(name, what) json_object_set_new(object, #name, json_uint(c->name));
	QUOIT_COUNTERS(COUNTER)
#undef COUNTER
	return object;
}

static json_t *stats_json(const char *ring, const struct quoit_stats *s)
{
	return json_pack("{s:o, s:s, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
			 json_ring(ring), "state", state_name(s->state), "producers",
			 (int)s->producers, "consumers", (int)s->consumers, "head",
			 json_uint(s->head), "tail", json_uint(s->tail), "used", json_uint(s->used),
			 "capacity", json_uint(s->capacity), "producer_deaths",
			 json_uint(s->producer_deaths), "consumer_deaths",
			 json_uint(s->consumer_deaths), "produced", counters_json(&s->produced),
			 "consumed", counters_json(&s->consumed));
}

/* What of the free units is not in their longest stretch, percent. */
static double fragmented(const struct quoit_heap_stats *h)
{
	return h->free != 0 ? 100.0 - 100.0 * (double)h->largest / (double)h->free : 0;
}

static void print_heap(const struct quoit_heap_stats *h)
{
	static const struct column columns[] = {
		{"HEAP", false}, {"BYTES", true}, {"%", true}, {"MEANING", false}};
	struct table *t = table_new(columns, 4);

#define LINE(name, value, meaning)                                                                 \
	(table_cell(t, name), table_cell(t, "%" PRIu64, value),                                    \
	 table_cell(t, "%.0f", 100.0 * (double)(value) / (double)h->total),                        \
	 table_cell(t, meaning))
	putchar('\n');
	LINE("total", h->total, "of the section");
	LINE("used", h->used, "owned by producers, read or not");
	LINE("free", h->free, "anybody's to take");
	LINE("largest", h->largest, "longest stretch of free ones");
	LINE("orphaned", h->orphaned, "left by producers that have gone, until it is swept");
#undef LINE
	table_cell(t, "fragmented");
	table_cell(t, "-");
	table_cell(t, "%.0f", fragmented(h));
	table_cell(t, "of what is free, not in the longest stretch");
	table_print(t);
}

const char *heap_text(const struct quoit_heap_stats *h)
{
	static char text[160];

	snprintf(text, sizeof(text), "%s used, %s free (%.0f%% fragmented), %s orphaned",
		 human_size(h->used), human_size(h->free), fragmented(h), human_size(h->orphaned));
	return text;
}

json_t *heap_json(const struct quoit_heap_stats *h)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:f}", "total", json_uint(h->total),
			 "used", json_uint(h->used), "free", json_uint(h->free), "largest_free",
			 json_uint(h->largest), "orphaned", json_uint(h->orphaned), "unit",
			 json_uint(h->unit), "fragmented_percent", fragmented(h));
}

int show_stats(const char *ring, const struct quoit_inspect *v)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_heap_stats heap = {.size = sizeof(heap)};
	int r = quoit_inspect_stats(v, &stats), h = quoit_inspect_heap_stats(v, &heap);

	if (r != 0)
		return ring_error(ring, "read the counters of", r);
	if (globals.json) {
		json_t *object = stats_json(ring, &stats);

		if (h == 0)
			json_object_set_new(object, "heap", heap_json(&heap));
		json_line("stats", object);
		return STATUS_OK;
	}
	print_totals(&stats);
	if (h == 0)
		print_heap(&heap);
	return STATUS_OK;
}

/* ---- rates ---------------------------------------------------------------------------------- */

static double rate(uint64_t now, uint64_t before, double seconds)
{
	/* A ring that was remade under its name has smaller counters. */
	return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

/* heap is NULL if there is none. */
static void print_rates_header(const struct quoit_heap_stats *heap)
{
	printf("%7s %5s %4s %4s %11s %9s %11s %9s %8s %8s %8s %8s %6s%s\n", "STATE", "USED%",
	       "PROD", "CONS", "IN/S", "BYTES/S", "OUT/S", "BYTES/S", "FULL/S", "EMPTY/S",
	       "SLEEP/S", "WAKE/S", "DEATHS", heap != NULL ? " HEAP%" : "");
}

static void print_rates(const struct quoit_stats *s, const struct quoit_stats *b,
			const struct quoit_heap_stats *heap, double seconds)
{
	printf("%7s %5.0f %4" PRIu32 " %4" PRIu32 " %11.0f %9s %11.0f %9s %8.0f %8.0f %8.0f %8.0f"
	       " %6" PRIu64,
	       state_name(s->state),
	       s->capacity ? 100.0 * (double)s->used / (double)s->capacity : 0, s->producers,
	       s->consumers, rate(s->produced.records, b->produced.records, seconds),
	       human_size((uint64_t)rate(s->produced.bytes, b->produced.bytes, seconds)),
	       rate(s->consumed.records, b->consumed.records, seconds),
	       human_size((uint64_t)rate(s->consumed.bytes, b->consumed.bytes, seconds)),
	       rate(s->produced.full, b->produced.full, seconds),
	       rate(s->consumed.empty, b->consumed.empty, seconds),
	       rate(s->produced.sleeps + s->consumed.sleeps,
		    b->produced.sleeps + b->consumed.sleeps, seconds),
	       rate(s->produced.wakes + s->consumed.wakes, b->produced.wakes + b->consumed.wakes,
		    seconds),
	       s->producer_deaths + s->consumer_deaths);
	if (heap != NULL) /* what nobody else can have */
		printf(" %5.0f", 100.0 * (double)(heap->total - heap->free) / (double)heap->total);
	putchar('\n');
	fflush(stdout);
}

static void print_rates_json(const char *ring, const struct quoit_stats *s,
			     const struct quoit_stats *b, const struct quoit_heap_stats *heap,
			     double seconds)
{
	json_t *object = stats_json(ring, s);
	json_t *rates =
		json_pack("{s:f, s:f, s:f, s:f, s:f}", "seconds", seconds, "records_in",
			  rate(s->produced.records, b->produced.records, seconds), "bytes_in",
			  rate(s->produced.bytes, b->produced.bytes, seconds), "records_out",
			  rate(s->consumed.records, b->consumed.records, seconds), "bytes_out",
			  rate(s->consumed.bytes, b->consumed.bytes, seconds));

	json_object_set_new(object, "rates", rates);
	if (heap != NULL)
		json_object_set_new(object, "heap", heap_json(heap));
	json_line("stats", object);
}

/* ---- both ----------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_until(double when)
{
	struct timespec t = {.tv_sec = (time_t)when};

	t.tv_nsec = (long)((when - (double)t.tv_sec) * 1e9);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Line after line until it is enough, or the ring is gone; or a signal ends the program. */
static int watch(const char *ring, struct quoit_inspect *v, double interval, uint64_t count)
{
	struct quoit_stats now = {.size = sizeof(now)}, before = {0};
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_heap_stats space = {.size = sizeof(space)}, *heap;
	double start = seconds_of(CLOCK_MONOTONIC), last = start, age_s = 0;

	if (quoit_inspect_info(v, &info) == 0)
		age_s = seconds_of(CLOCK_REALTIME) - (double)info.created_ns / 1e9;
	for (uint64_t line = 0; line < count; line++) {
		double t;
		int r;

		if (line != 0)
			sleep_until(start + (double)line * interval);
		r = quoit_inspect_stats(v, &now);
		if (r != 0)
			return ring_error(ring, "read the counters of", r);
		heap = quoit_inspect_heap_stats(v, &space) == 0 ? &space : NULL;
		t = seconds_of(CLOCK_MONOTONIC);
		if (globals.json) {
			print_rates_json(ring, &now, &before, heap, line ? t - last : age_s);
		} else {
			if (!globals.no_header &&
			    (line == 0 || (line % HEADER_EVERY == 0 && isatty(STDOUT_FILENO))))
				print_rates_header(heap);
			print_rates(&now, &before, heap, line ? t - last : age_s);
		}
		if (now.state == QUOIT_STATE_REMOVED)
			return ring_error(ring, "watch", -EIDRM);
		before = now;
		last = t;
	}
	return STATUS_OK;
}

int run_stat(int argc, char **argv)
{
	struct problems problems = {.to_stderr = true};
	struct quoit_inspect *v;
	double interval = 0;
	uint64_t count = 0;
	const char *ring;
	int option, status;

	while ((option = next_option(argc, argv)) != -1) {
		if (option == 'i') {
			char *end;

			interval = strtod(optarg, &end);
			if (end == optarg || *end != 0 || !(interval >= 0.001 && interval <= 1e6))
				usage_error("'%s' is not an interval of 0.001 to 1000000 seconds",
					    optarg);
		} else {
			count = parse_count("--count", optarg, 1, UINT32_MAX);
		}
	}
	ring = ring_operand(argc, argv);
	status = open_view(ring, &problems, &v);
	if (status != STATUS_OK)
		return status;
	if (interval != 0 || count > 1) {
		status = watch(ring, v, interval != 0 ? interval : 1, count ? count : UINT64_MAX);
	} else {
		status = show_stats(ring, v);
	}
	quoit_inspect_close(v);
	return first_failure(status, problems.corrupt ? STATUS_CORRUPT : STATUS_OK);
}
