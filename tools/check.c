/* SPDX-License-Identifier: MIT */
/* quoit check and quoit repair: as fsck, one that only looks and one that mends. */
#include <getopt.h>
#include <stdio.h>

#include "tool.h"

const struct option_row repair_options[] = {
	{"dry-run", 'd', NULL, "only say what would be done"},
	{NULL, 0, NULL, NULL},
};

/* heap is NULL if there is none. */
static void print_verdict(const struct problems *p, const struct quoit_heap_stats *heap,
			  const char *verdict)
{
	if (globals.json) {
		json_t *object = json_pack("{s:o, s:s, s:i, s:i}", "name", json_ring(p->ring),
					   "verdict", verdict, "repairable", (int)p->repairable,
					   "corrupt", (int)p->corrupt);

		if (heap != NULL)
			json_object_set_new(object, "heap", heap_json(heap));
		json_line("verdict", object);
		return;
	}
	if (globals.verbose && heap != NULL)
		printf("%s: heap: %s\n", p->ring, heap_text(heap));
	if (!globals.quiet)
		printf("%s: %s\n", p->ring, verdict);
}

static void ignore(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg, (void)severity, (void)offset, (void)text;
}

int run_check(int argc, char **argv)
{
	struct quoit_heap_stats stats = {.size = sizeof(stats)}, *heap;
	struct problems problems = {0};
	struct quoit_inspect *v;
	int r;

	while (next_option(argc, argv) != -1)
		;
	problems.ring = ring_operand(argc, argv);
	problems.notes = globals.verbose;
	/* What opening finds, checking finds again, and more. */
	r = quoit_inspect_open(problems.ring, ignore, NULL, &v);
	if (r != 0)
		return ring_error(problems.ring, "open", r);
	know_ring(problems.ring, v);
	r = quoit_inspect_check(v, print_problem, &problems);
	heap = quoit_inspect_heap_stats(v, &stats) == 0 ? &stats : NULL;
	quoit_inspect_close(v);
	if (problems.corrupt != 0) {
		print_verdict(&problems, heap, "corrupt");
		return STATUS_CORRUPT;
	}
	if (r < 0)
		return ring_error(problems.ring, "check", r);
	if (r > 0) {
		print_verdict(&problems, heap, "repairable, see quoit repair");
		return STATUS_FAILURE;
	}
	print_verdict(&problems, heap, "clean");
	return STATUS_OK;
}

/* Its heap as it is now; NULL: there is none, or none any more. */
static struct quoit_heap_stats *heap_after(const char *ring, struct quoit_heap_stats *stats)
{
	struct quoit_inspect *v;
	int r;

	if ((!globals.json && !globals.verbose) || quoit_inspect_open(ring, ignore, NULL, &v) != 0)
		return NULL;
	r = quoit_inspect_heap_stats(v, stats);
	quoit_inspect_close(v);
	return r == 0 ? stats : NULL;
}

int run_repair(int argc, char **argv)
{
	struct quoit_heap_stats stats = {.size = sizeof(stats)};
	struct problems problems = {0};
	bool dry_run = false;
	int r;

	while (next_option(argc, argv) != -1)
		dry_run = true;
	if (optind == argc)
		usage_error("the name of a ring is missing");
	problems.ring = ring_operand(argc, argv);
	if (globals.json)
		look_up_ring(problems.ring);
	r = quoit_repair(problems.ring, dry_run, print_problem, &problems);
	if (r < 0)
		return ring_error(problems.ring, "repair", r);
	print_verdict(&problems, heap_after(problems.ring, &stats),
		      r == 0    ? "nothing to repair"
		      : dry_run ? "can be repaired"
				: "repaired");
	return STATUS_OK;
}
