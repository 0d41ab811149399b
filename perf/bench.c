/* SPDX-License-Identifier: MIT */
/* What the benchmarks have in common: choosing systems, and the usual figures. */
#include "perf/bench.h"

#include <errno.h>
#include <math.h>
#include <string.h>

struct perf_options perf_options;

const char *perf_policy_name(enum perf_policy policy)
{
	static const char *const names[PERF_POLICIES] = {
		"tight", "pause", "yield", "block", "spin", "futex", "sem", "sysvsem", "eventfd",
	};

	return names[policy];
}

const uint32_t *perf_values(const struct perf_list *list, const uint32_t *otherwise)
{
	return list->n ? list->value : otherwise;
}

/* Is word among the comma-separated names? */
static int listed(const char *names, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = names; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == 0))
			return 1;
	}
	return 0;
}

int perf_kind_wanted(enum perf_kind kind)
{
	return perf_options.kinds == NULL ||
	       listed(perf_options.kinds, kind == PERF_MPMC ? "mpmc" : "spsc");
}

int perf_system_wanted(const struct perf_system *system)
{
	return perf_options.systems == NULL || listed(perf_options.systems, system->name);
}

int perf_add_systems(struct perf_set *set, const struct perf_cell *cell, enum perf_shape shape,
		     unsigned groups, uint32_t policies)
{
	for (int i = 0; perf_systems[i]; i++) {
		const struct perf_system *system = perf_systems[i];

		if (!(groups & PERF_GROUP(system->group)) || !perf_system_wanted(system))
			continue;
		for (int mode = PERF_COPY; mode <= PERF_INPLACE; mode++) {
			for (int policy = 0; policy < PERF_POLICIES; policy++) {
				struct perf_cell c = *cell;
				struct perf_entry *e;

				c.mode = (enum perf_mode)mode;
				c.policy = (enum perf_policy)policy;
				if (!(policies & system->policies & 1u << policy) ||
				    !system->supports(&c))
					continue;
				e = perf_set_add(set);
				if (e == NULL)
					return -ENOMEM;
				e->job.system = system;
				e->job.cell = c;
				e->job.shape = shape;
				e->job.seconds = perf_config.seconds;
			}
		}
	}
	return 0;
}

void perf_keep(struct perf_set *set, int (*wanted)(const struct perf_entry *e))
{
	unsigned kept = 0;

	for (unsigned i = 0; i < set->n; i++) {
		if (!wanted(&set->entries[i]))
			continue;
		if (kept != i)
			set->entries[kept] = set->entries[i];
		kept++;
	}
	set->n = kept;
}

double perf_get_rate(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return (double)o->records / o->seconds / 1e6;
}

double perf_get_bytes(const struct perf_job *job, const struct perf_outcome *o)
{
	return (double)o->records * job->cell.size / o->seconds / 1e9;
}

/* No trips, no figure. */
static double quantile(const struct perf_outcome *o, double q)
{
	if (o->histogram.total == 0)
		return NAN;
	return perf_hist_quantile(&o->histogram, q) / perf_ticks_per_ns;
}

/* The counter may step by ten nanoseconds and more: the mean of many trips is finer. */
static double get_typical(const struct perf_job *job, const struct perf_outcome *o)
{
	if (job->cell.think_ns != 0 || job->shape != PERF_ECHO || o->blocks.total == 0)
		return quantile(o, 0.5);
	return perf_hist_quantile(&o->blocks, 0.5) / perf_ticks_per_ns / PERF_BLOCK_TRIPS;
}

static double get_p50(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return quantile(o, 0.5);
}

static double get_p90(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return quantile(o, 0.9);
}

static double get_p99(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return quantile(o, 0.99);
}

static double get_p999(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return quantile(o, 0.999);
}

static double get_p9999(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	return quantile(o, 0.9999);
}

static double get_max(const struct perf_job *job, const struct perf_outcome *o)
{
	(void)job;
	if (o->histogram.total == 0)
		return NAN;
	return (double)o->histogram.max / perf_ticks_per_ns;
}

const struct perf_metric perf_rate_metrics[2] = {
	{NULL, "M/s", 1, perf_get_rate},
	{NULL, "GB/s", 1, perf_get_bytes},
};

const struct perf_metric perf_latency_metrics[PERF_LATENCY_METRICS] = {
	{"typical", "ns", 0, get_typical}, {"p50", "ns", 0, get_p50},
	{"p90", "ns", 0, get_p90},         {"p99", "ns", 0, get_p99},
	{"p99.9", "ns", 0, get_p999},      {"p99.99", "ns", 0, get_p9999},
	{"max", "ns", 0, get_max},
};
