/* SPDX-License-Identifier: MIT */
/*
 * What the programs say about the stream: a progress line that rewrites itself, a periodic line for
 * logs, and the summary at the end, for people or as JSON. All of it goes to stderr: stdout is
 * data.
 */
#include "common.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_NS INT64_C(200000000)

struct quantile {
	const char *name;
	double fraction;
};
static const struct quantile quantiles[] = {
	{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999},
};
#define QUANTILES (sizeof(quantiles) / sizeof(*quantiles))

void report_init(struct report *r, const struct settings *s, const struct quoit *ring)
{
	*r = (struct report){.s = s, .ring = ring, .opened_ns = now_ns()};
	if (s->stats_s != 0)
		r->every_ns = (int64_t)(s->stats_s * 1e9);
	else if (s->progress)
		r->every_ns = PROGRESS_NS;
	r->next_ns = r->opened_ns + r->every_ns;
	r->last_ns = r->opened_ns;
}

/* 1234567 B/s as "1.23 MB/s": three digits and a prefix of 1000s; " records" keeps its space. */
static const char *scaled(double value, const char *unit, char *text, size_t size)
{
	static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
	size_t i = 0;
	int decimals;

	while (value >= 999.5 && i + 1 < sizeof(prefix) / sizeof(*prefix)) {
		value /= 1000;
		i++;
	}
	decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
	if (i == 0 && value == (double)(unsigned)value)
		decimals = 0;
	if (i == 0 && *unit == ' ')
		unit++;
	snprintf(text, size, "%.*f %s%s", decimals, value, prefix[i], unit);
	return text;
}

static void print_line(struct report *r, int64_t now)
{
	double seconds = (double)(now - r->last_ns) / 1e9;
	char bytes[32], rate[32], records[32];
	long elapsed = (long)((now - r->opened_ns) / 1000000000);

	if (r->s->progress)
		fputs("\r\033[K", stderr);
	fprintf(stderr, "%s: %ld:%02ld  %s  %s  %s", program, elapsed / 60, elapsed % 60,
		scaled((double)r->bytes, "B", bytes, sizeof(bytes)),
		scaled((double)(r->bytes - r->last_bytes) / seconds, "B/s", rate, sizeof(rate)),
		scaled((double)(r->records - r->last_records) / seconds, " records/s", records,
		       sizeof(records)));
	if (r->ring != NULL)
		fprintf(stderr, "  ring %u %% full", ring_fill(r->ring));
	if (!r->s->progress)
		fputc('\n', stderr);
	fflush(stderr);
	r->last_ns = now;
	r->last_bytes = r->bytes;
	r->last_records = r->records;
}

void report_tick(struct report *r)
{
	int64_t now;

	if (r->every_ns == 0)
		return;
	now = now_ns();
	if (now < r->next_ns)
		return;
	print_line(r, now);
	r->next_ns += r->every_ns;
	if (r->next_ns < now) /* we were stopped, or slow: no burst of lines */
		r->next_ns = now + r->every_ns;
}

static void print_latency(const struct histogram *h)
{
	fprintf(stderr, "%s: latency, us:", program);
	for (size_t i = 0; i < QUANTILES; i++)
		fprintf(stderr, " %s %.3f", quantiles[i].name,
			(double)histogram_quantile(h, quantiles[i].fraction) / 1e3);
	fprintf(stderr, " max %.3f (%llu records)\n", (double)histogram_max(h) / 1e3,
		(unsigned long long)histogram_count(h));
}

static void print_text(const struct report *r, const char *ring, double seconds,
		       const struct quoit_counters *own)
{
	char bytes[32], records[32], rates[80] = "", more[32] = "";

	if (seconds >= 0.001) /* a rate over less says nothing */
		snprintf(rates, sizeof(rates), ", %s, %s",
			 scaled((double)r->bytes / seconds, "B/s", bytes, sizeof(bytes)),
			 scaled((double)r->records / seconds, " records/s", records,
				sizeof(records)));
	if (r->more != 0)
		snprintf(more, sizeof(more), " and %u more", r->more);
	say("%s%s: %llu bytes in %llu records, %.3f s%s; %llu sleeps, %llu wakes", ring, more,
	    (unsigned long long)r->bytes, (unsigned long long)r->records, seconds, rates,
	    (unsigned long long)own->sleeps, (unsigned long long)own->wakes);
	if (r->latency != NULL && histogram_count(r->latency) != 0)
		print_latency(r->latency);
}

static json_t *latency_json(const struct histogram *h)
{
	json_t *object = json_object();

	for (size_t i = 0; i < QUANTILES; i++)
		json_object_set_new(
			object, quantiles[i].name,
			json_integer((json_int_t)histogram_quantile(h, quantiles[i].fraction)));
	json_object_set_new(object, "max", json_integer((json_int_t)histogram_max(h)));
	json_object_set_new(object, "records", json_integer((json_int_t)histogram_count(h)));
	return object;
}

static json_t *counters_json(const struct quoit_counters *c)
{
	json_t *object = json_object();

#define FIELD(name, what) json_object_set_new(object, #name, json_integer((json_int_t)c->name));
	QUOIT_COUNTERS(FIELD)
#undef FIELD
	return object;
}

static json_t *to_json(const struct report *r, const struct quoit_info *info, double seconds,
		       const struct quoit_counters *own, int status)
{
	json_t *object = json_pack(
		"{s:i, s:s, s:s, s:s, s:s*, s:i, s:I, s:I, s:f, s:f, s:f, s:o}", "schema", 1,
		"program", program, "version", quoit_version(), "ring", info->name, "kind",
		info->kind == 0 ? NULL : quoit_kind_name((enum quoit_kind)info->kind), "status",
		status, "records", (json_int_t)r->records, "bytes", (json_int_t)r->bytes, "seconds",
		seconds, "bytes_per_second", seconds > 0 ? (double)r->bytes / seconds : 0,
		"records_per_second", seconds > 0 ? (double)r->records / seconds : 0, "counters",
		counters_json(own));

	if (r->latency != NULL && histogram_count(r->latency) != 0)
		json_object_set_new(object, "latency_ns", latency_json(r->latency));
	return object;
}

static int write_json(const char *path, const json_t *object)
{
	FILE *file = path == NULL ? stderr : fopen(path, "we");
	int failed;

	if (file == NULL) {
		say("%s: cannot write the summary: %s", path, strerror(errno));
		return STATUS_FAILURE;
	}
	failed = json_dumpf(object, file, JSON_REAL_PRECISION(9)) != 0;
	failed |= fputc('\n', file) == EOF;
	failed |= path == NULL ? fflush(file) != 0 : fclose(file) != 0;
	if (failed)
		say("%s: cannot write the summary: %s", path == NULL ? "stderr" : path,
		    strerror(errno));
	return failed ? STATUS_FAILURE : STATUS_OK;
}

void report_stop(struct report *r)
{
	r->end_ns = now_ns();
}

int report_finish(struct report *r, const struct quoit_counters *own, int status, json_t *extra)
{
	const struct settings *s = r->s;
	struct quoit_info info = {.size = sizeof(info)};
	double seconds = r->first_ns == 0 ? 0 : (double)(r->end_ns - r->first_ns) / 1e9;
	json_t *object;
	int rc = STATUS_OK;

	if (r->ring == NULL || quoit_get_info(r->ring, &info) != 0)
		snprintf(info.name, sizeof(info.name), "%s", s->ring);
	if (!s->quiet && !s->json)
		print_text(r, info.name, seconds, own);
	if (s->json || s->summary != NULL) {
		object = to_json(r, &info, seconds, own, status);
		if (extra != NULL)
			json_object_update(object, extra);
		if (s->summary != NULL)
			rc = write_json(s->summary, object);
		if (s->json && write_json(NULL, object) != STATUS_OK)
			rc = STATUS_FAILURE;
		json_decref(object);
	}
	json_decref(extra);
	return rc;
}
