/* SPDX-License-Identifier: MIT */
/* quoit ls: every ring that can be found. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

const struct option_row ls_options[] = {
	{"stale", 's', NULL, "only rings with no living endpoint"},
	{NULL, 0, NULL, NULL},
};

static const struct column columns[] = {
	{"NAME", false}, {"KIND", false},  {"SIZE", true},   {"USED%", true},  {"PRODS", true},
	{"CONS", true},  {"STATE", false}, {"OWNER", false}, {"PERMS", false}, {"BACKEND", false},
	{"WAIT", false}, {"MAX", true},    {"AGE", true},    {"LABEL", false},
};
#define BRIEF 9 /* columns without --verbose */

struct rings {
	struct quoit_found *found;
	size_t count;
	bool stale_only;
};

static int remember(void *arg, const struct quoit_found *found)
{
	struct rings *r = arg;
	struct quoit_found *more;

	/* Not known to be unused is not stale. */
	if (r->stale_only && (found->status != 0 || !found->stale))
		return 0;
	more = reallocarray(r->found, r->count + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	r->found = more;
	r->found[r->count] = *found;
	r->found[r->count].name = strdup(found->name);
	if (r->found[r->count].name == NULL)
		return -ENOMEM;
	r->count++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct quoit_found *)a)->name, ((const struct quoit_found *)b)->name);
}

static double used_percent(const struct quoit_stats *s)
{
	return s->capacity != 0 ? 100.0 * (double)s->used / (double)s->capacity : 0;
}

/* One word for why a ring cannot be looked into; --verbose has the whole reason. */
static const char *trouble(int status)
{
	switch (status) {
	case -EACCES:
	case -EPERM:
		return "denied";
	case -EPROTO:
		return "foreign";
	case -EBADMSG:
		return "corrupt";
	case -ETIMEDOUT:
	case -EOWNERDEAD:
		return "unfinished";
	default:
		return "unreadable";
	}
}

static void print_row(struct table *t, const struct quoit_found *f)
{
	const struct quoit_info *i = &f->info;

	table_cell(t, "%s", f->name);
	if (f->status != 0) {
		for (size_t k = 1;
		     k < (globals.verbose ? sizeof(columns) / sizeof(*columns) : BRIEF); k++)
			if (k == 6)
				table_cell(t, "%s", trouble(f->status));
			else
				table_cell(t, "-");
		return;
	}
	table_cell(t, "%s", kind_name(i->kind));
	table_cell(t, "%s", human_size(i->capacity));
	table_cell(t, "%.0f", used_percent(&f->stats));
	table_cell(t, "%" PRIu32, f->stats.producers);
	table_cell(t, "%" PRIu32, f->stats.consumers);
	/* A ring that nobody has come to yet is waited with, not left behind. */
	table_cell(t, "%s%s%s", state_name(f->stats.state),
		   f->stale && f->stats.state != QUOIT_STATE_NEW ? ",stale" : "",
		   f->dead != 0 ? ",dead" : "");
	table_cell(t, "%s", user_name(i->uid));
	table_cell(t, "%04" PRIo32, i->mode);
	if (!globals.verbose)
		return;
	table_cell(t, "%s", backend_name(i->backend));
	table_cell(t, "%s", wait_name(i->wait));
	table_cell(t, "%s", human_size(i->max_record));
	table_cell(t, "%s", age(i->created_ns));
	table_cell(t, "%s", i->name); /* of a memfd ring, which is reached otherwise */
}

static void print_json(const struct quoit_found *f)
{
	const struct quoit_info *i = &f->info;
	const struct quoit_stats *s = &f->stats;
	char mode[8];

	if (f->status != 0) {
		json_line("ring",
			  json_pack("{s:o, s:s, s:s}", "name", json_text(f->name), "state",
				    trouble(f->status), "error", quoit_strerror(f->status)));
		return;
	}
	snprintf(mode, sizeof(mode), "%04" PRIo32, i->mode);
	json_line("ring",
		  json_pack("{s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:f, s:i, s:i, s:i, "
			    "s:i, s:b,"
			    " s:s, s:o, s:s, s:o, s:s, s:s, s:o}",
			    "name", json_text(f->name), "label", json_text(i->name), "kind",
			    kind_name(i->kind), "backend", backend_name(i->backend), "wait",
			    wait_name(i->wait), "size", json_uint(i->capacity), "segment_size",
			    json_uint(i->segment_size), "used", json_uint(s->used), "capacity",
			    json_uint(s->capacity), "used_percent", used_percent(s), "producers",
			    (int)s->producers, "consumers", (int)s->consumers, "alive",
			    (int)f->alive, "dead", (int)f->dead, "stale", (int)f->stale, "state",
			    state_name(s->state), "uid", json_uint(i->uid), "owner",
			    user_name(i->uid), "gid", json_uint(i->gid), "group",
			    group_name(i->gid), "mode", mode, "created_ns",
			    json_uint(i->created_ns)));
}

/* What could not be looked into, and why: the table has no room for it. */
static void explain(const struct rings *r)
{
	for (size_t k = 0; k < r->count; k++)
		if (r->found[k].status != 0)
			(void)ring_error(r->found[k].name, "look into", r->found[k].status);
}

int run_ls(int argc, char **argv)
{
	struct rings rings = {0};
	struct table *t;
	int option, r;

	while ((option = next_option(argc, argv)) != -1)
		rings.stale_only = option == 's';
	if (optind != argc)
		usage_error("'%s' is too much", argv[optind]);
	r = quoit_list(remember, &rings);
	if (r < 0) {
		say("cannot list rings: %s", quoit_strerror(r));
		return status_of(r);
	}
	if (rings.count != 0)
		qsort(rings.found, rings.count, sizeof(*rings.found), by_name);
	t = table_new(columns, globals.verbose ? sizeof(columns) / sizeof(*columns) : BRIEF);
	for (size_t k = 0; k < rings.count; k++) {
		if (globals.json)
			print_json(&rings.found[k]);
		else
			print_row(t, &rings.found[k]);
	}
	if (globals.json)
		table_print_bare(t); /* empty */
	else
		table_print(t);
	if (!globals.json && globals.verbose)
		explain(&rings);
	for (size_t k = 0; k < rings.count; k++)
		free((char *)(uintptr_t)rings.found[k].name);
	free(rings.found);
	return STATUS_OK;
}
