/* SPDX-License-Identifier: MIT */
/*
 * quoit: looks after rings. The table of commands is here, each command in a file of its own or
 * with its kin.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

struct globals globals;

const struct command commands[] = {
	{"ls", "", "List the rings of this machine", ls_options, run_ls},
	{"create", "NAME [-- COMMAND ARGUMENT...]", "Make a ring, for good or for one command",
	 create_options, run_create},
	{"info", "[NAME]", "What a ring is: kind, geometry, owner", NULL, run_info},
	{"stat", "[NAME]", "Counters and rates", stat_options, run_stat},
	{"peers", "[NAME]", "Who is attached, alive or dead, and how far behind", NULL, run_peers},
	{"dump", "[NAME | FILE]", "All that is in a ring, a copy of one, or a damaged one",
	 dump_options, run_dump},
	{"tail", "[NAME]", "The last records, without taking them", tail_options, run_tail},
	{"check", "[NAME | FILE]", "Look for damage", NULL, run_check},
	{"repair", "NAME", "Clean up after the dead", repair_options, run_repair},
	{"rm", "NAME...", "Remove rings", rm_options, run_rm},
	{"chmod", "MODE NAME...", "Change permission bits", NULL, run_chmod},
	{"chown", "USER[:GROUP] NAME...", "Change owner and group", NULL, run_chown},
	{NULL, NULL, NULL, NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct command *c = commands;
	int status;

	/* A ring whose file is cut off while it is looked at is an error, not our death. */
	if (quoit_guard() != 0)
		say("no guard against rings that are cut off");
	global_options(argc, argv);
	argv += optind;
	argc -= optind;
	while (c->name != NULL && strcmp(c->name, argv[0]) != 0)
		c++;
	if (c->name == NULL)
		usage_error("'%s' is not a command", argv[0]);
	status = c->run(argc, argv);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		say("cannot write to standard output: %m");
		status = first_failure(status, STATUS_FAILURE);
	}
	return status;
}
