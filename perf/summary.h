/* SPDX-License-Identifier: MIT */
/* Reports a set that has been measured: figures, distributions, ratios. */
#ifndef PERF_SUMMARY_H
#define PERF_SUMMARY_H

#include "perf/output.h"

/* Names of an entry, and the labels of its rows. */
const char *perf_entry_name(const struct perf_entry *e);
const char *perf_entry_policy(const struct perf_entry *e);
struct perf_row perf_entry_label(const struct perf_set *set, const struct perf_entry *e);
/* Mark it as failed, and tell. */
void perf_entry_fail(const struct perf_set *set, struct perf_entry *e, const char *why);
/* All rows, after so many rounds. */
void perf_summary_print(const struct perf_set *set, unsigned rounds);

#endif
