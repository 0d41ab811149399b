/* SPDX-License-Identifier: MIT */
/*
 * How results are told. The JSON has one object a line and only what applies to a row, so that
 * grep, jq and gnuplot's scripts can take it apart; names are ours and need no quoting.
 */
#include "perf/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int perf_json;

static int progress_shown;

static void json_string(const char *key, const char *value)
{
	if (value == NULL)
		return;
	printf(",\"%s\":\"", key);
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			putchar('\\');
		if ((unsigned char)*value >= ' ')
			putchar(*value);
	}
	putchar('"');
}

static void json_number(const char *key, uint32_t value)
{
	if (value)
		printf(",\"%s\":%u", key, value);
}

static void json_labels(const struct perf_row *row)
{
	printf("{\"schema\":1");
	json_string("bench", row->bench);
	json_string("system", row->system);
	json_string("kind", row->kind);
	json_string("mode", row->mode);
	json_number("size", row->size);
	json_number("depth", row->depth);
	json_number("batch", row->batch);
	json_number("producers", row->producers);
	json_number("consumers", row->consumers);
	if (row->rate > 0)
		printf(",\"rate\":%.0f", row->rate);
	json_string("policy", row->policy);
	json_string("placement", row->placement);
	json_string("stat", row->stat);
	json_string("against", row->against);
}

static void text_labels(const struct perf_row *row)
{
	char cell[96] = "";
	size_t n = 0;

	if (row->size)
		n += (size_t)snprintf(cell + n, sizeof(cell) - n, " %uB", row->size);
	if (row->depth)
		n += (size_t)snprintf(cell + n, sizeof(cell) - n, " x%u", row->depth);
	if (row->batch > 1)
		n += (size_t)snprintf(cell + n, sizeof(cell) - n, " batch %u", row->batch);
	if (row->producers)
		n += (size_t)snprintf(cell + n, sizeof(cell) - n, " %uP%uC", row->producers,
				      row->consumers);
	if (row->rate > 0)
		snprintf(cell + n, sizeof(cell) - n, " at %.3g/s", row->rate);
	printf("%-13s %-4s %-8s%-26s %-8s %-20s %-8s", row->bench, row->kind ? row->kind : "-",
	       row->mode ? row->mode : "-", cell, row->placement ? row->placement : "-",
	       row->system, row->policy ? row->policy : "-");
}

void perf_print_row(const struct perf_row *row)
{
	perf_progress_end();
	if (perf_json) {
		json_labels(row);
		json_string("unit", row->unit);
		printf(",\"min\":%.6g,\"median\":%.6g,\"max\":%.6g,\"rounds\":%u", row->min,
		       row->median, row->max, row->rounds);
		if (row->seconds > 0)
			printf(",\"seconds\":%.3g", row->seconds);
		if (row->canary > 0)
			printf(",\"canary_ns\":%.1f", row->canary);
		if (row->threads)
			printf(",\"between\":\"threads\"");
		if (row->disorder)
			printf(",\"out_of_order\":%llu", (unsigned long long)row->disorder);
		printf("}\n");
	} else {
		text_labels(row);
		printf(" %-6s %10.4g %-10s [%.4g .. %.4g] %u rounds", row->stat ? row->stat : "",
		       row->median, row->unit, row->min, row->max, row->rounds);
		if (row->against)
			printf(", to %s", row->against);
		if (row->canary > 0)
			printf(", canary %.0f ns", row->canary);
		if (row->threads)
			printf(", threads");
		if (row->disorder)
			printf(", %llu out of order", (unsigned long long)row->disorder);
		printf("\n");
	}
	fflush(stdout);
}

/* Only steps are printed: where the distribution rises by a thousandth, and its tail. */
void perf_print_cdf(const struct perf_row *row, const struct perf_histogram *h)
{
	uint64_t seen = 0, printed = 0;
	int first = 1;

	if (!perf_json || h->total == 0)
		return;
	json_labels(row);
	printf(",\"unit\":\"ns\",\"total\":%llu,\"cdf\":[", (unsigned long long)h->total);
	for (unsigned i = 0; i < PERF_HIST_BUCKETS; i++) {
		uint64_t left = h->total - seen;

		if (h->count[i] == 0)
			continue;
		seen += h->count[i];
		if (seen - printed < h->total / 1000 && seen != h->total &&
		    (h->total - seen) * 10 > left * 9)
			continue;
		printf("%s[%.1f,%.8f]", first ? "" : ",", perf_hist_value(i) / perf_ticks_per_ns,
		       (double)seen / (double)h->total);
		first = 0;
		printed = seen;
	}
	printf("]}\n");
	fflush(stdout);
}

void perf_print_failure(const struct perf_row *row, const char *why)
{
	perf_progress_end();
	if (perf_json) {
		json_labels(row);
		json_string("error", why);
		printf("}\n");
		fflush(stdout);
	}
	fprintf(stderr, "quoit-perf: %s: %s %s, %u B: %s\n", row->bench, row->system,
		row->policy ? row->policy : "", row->size, why);
}

void perf_progress(const char *format, ...)
{
	va_list args;

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r\033[K");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
	progress_shown = 1;
}

void perf_progress_end(void)
{
	if (progress_shown)
		fprintf(stderr, "\r\033[K");
	progress_shown = 0;
}
