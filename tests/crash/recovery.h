/* SPDX-License-Identifier: MIT */
/* What the parts of recovery.c share: options, samples and their table. */
#ifndef QUOIT_TESTS_CRASH_RECOVERY_H
#define QUOIT_TESTS_CRASH_RECOVERY_H

#include <stdalign.h>

#include "support.h"

#define KILLS_MAX 10000u
#define MS        INT64_C(1000000)

static struct {
	enum quoit_kind kind;       /* 0: both */
	enum quoit_wait wait;       /* 0: all */
	enum quoit_backend backend; /* but where the wait is a System V semaphore's */
	const char *what;           /* NULL: all */
	unsigned kills;
	unsigned round_ms, rounds, peers; /* throughput: of each side */
	uint64_t seed;
	bool json;
} options = {
	.backend = QUOIT_SHM, .kills = 200, .round_ms = 2000, .rounds = 5, .peers = 2, .seed = 1};

struct samples {
	unsigned n;
	int64_t ns[KILLS_MAX];
	/* The same without the time in which those on the way could have run and had no processor;
	 * negative: not known. */
	int64_t running_ns[KILLS_MAX];
};

static bool printed; /* a line of JSON, or the table's head */

static void add_sample(struct samples *s, int64_t ns, int64_t running_ns)
{
	MUST(s->n < KILLS_MAX);
	s->ns[s->n] = ns;
	s->running_ns[s->n++] = running_ns;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Sorts. The smallest value that a share q of all do not exceed. */
static double quantile_us(int64_t *ns, unsigned n, double q)
{
	double rank = q * n;
	unsigned i = (unsigned)rank;

	qsort(ns, n, sizeof(ns[0]), by_value);
	i = (double)i < rank ? i : i - (i != 0);
	return (double)ns[i < n ? i : n - 1] / 1e3;
}

static void print_running(struct samples *s)
{
	double p99 = quantile_us(s->running_ns, s->n, 0.99);
	double max = quantile_us(s->running_ns, s->n, 1);

	if (s->running_ns[0] < 0)
		return;
	printf(options.json ? ", \"running_p99_us\": %.1f, \"running_max_us\": %.1f"
			    : " %12.1f %12.1f",
	       p99, max);
}

static void print_samples(enum quoit_kind kind, enum quoit_wait wait, const char *what,
			  struct samples *s)
{
	const char *w = wait != 0 ? quoit_wait_name(wait) : "-";
	double p50 = quantile_us(s->ns, s->n, 0.5);
	double p99 = quantile_us(s->ns, s->n, 0.99), max = quantile_us(s->ns, s->n, 1);

	if (options.json) {
		printf("%s{\"what\": \"%s\", \"kind\": \"%s\", \"wait\": \"%s\", \"runs\": %u, "
		       "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f",
		       printed ? ",\n" : "[\n", what, quoit_kind_name(kind), w, s->n, p50, p99,
		       max);
	} else {
		if (!printed)
			printf("%-12s %-5s %-8s %5s %12s %12s %12s %12s %12s\n", "what", "kind",
			       "wait", "runs", "p50 us", "p99 us", "max us", "running p99", "max");
		printf("%-12s %-5s %-8s %5u %12.1f %12.1f %12.1f", what, quoit_kind_name(kind), w,
		       s->n, p50, p99, max);
	}
	print_running(s);
	printf(options.json ? "}" : "\n");
	printed = true;
	fflush(stdout);
}

_Noreturn static void fail(const char *what, long long a, long long b)
{
	fprintf(stderr, "recovery: %s (%lld, %lld)\n", what, a, b);
	test_cleanup();
	exit(1);
}

/* Everybody has gone; somebody comes once more, and who died is counted. */
static void expect_deaths(struct quoit *q, uint64_t producers, uint64_t consumers)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_stats s;

	MUST(quoit_producer_open(q, &p) == 0);
	MUST(quoit_consumer_open(q, &c) == 0);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	s = test_stats(q);
	if (s.producer_deaths != producers)
		fail("producers' deaths counted", (long long)s.producer_deaths,
		     (long long)producers);
	if (s.consumer_deaths != consumers)
		fail("consumers' deaths counted", (long long)s.consumer_deaths,
		     (long long)consumers);
}

#endif
