/* SPDX-License-Identifier: MIT */
/*
 * quoit create: make a ring and leave it there, or make it for one command and remove it after
 * that. The second is the only way to a memfd ring from a shell: it lives in descriptors alone, and
 * the command inherits one.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../producer/explain.h"
#include "tool.h"

enum {
	OPT_PEERS = 256,
	OPT_SLOT_SIZE,
	OPT_HUGEPAGES,
	OPT_MLOCK,
	OPT_PREFAULT,
	OPT_START,
	OPT_HEAP,
	OPT_HEAP_SHARE,
};

const struct option_row create_options[] = {
	{"kind", 'k', "KIND", "spsc (default) or mpmc"},
	{"size", 's', "BYTES", "room for records, 1K to 1T (default 1M)"},
	{"slot-size", OPT_SLOT_SIZE, "BYTES", "mpmc: largest record without a heap (default 256)"},
	{"heap", OPT_HEAP, "BYTES", "a heap for records that the ring does not take"},
	{"heap-share", OPT_HEAP_SHARE, "BYTES", "spsc: longer ones go there (default 1/8 of size)"},
	{"peers", OPT_PEERS, "N", "mpmc: endpoints at one time, 2 to 1024 (default 128)"},
	{"wait", 'w', "HOW", "spin, yield, futex (default), sem, sysvsem or eventfd"},
	{"mode", 'm', "MODE", "permission bits, octal (default 0600)"},
	{"persistent", 'p', NULL, "the stream never ends"},
	{"hugepages", OPT_HUGEPAGES, "yes|try", "huge pages, or fail; or if there are some"},
	{"mlock", OPT_MLOCK, NULL, "keep it in memory"},
	{"prefault", OPT_PREFAULT, NULL, "touch every page now"},
	{"start", OPT_START, "POSITION", "first position or ticket, for tests (default 0)"},
	{NULL, 0, NULL, NULL},
};

static volatile pid_t child;

static uint64_t parse_position(const char *text)
{
	char *end;
	unsigned long long position;

	errno = 0;
	position = strtoull(text, &end, 0);
	if (end == text || *end != 0 || errno != 0 || *text == '-')
		usage_error("--start: '%s' is not a position", text);
	return position;
}

static uint32_t parse_enum(const char *option, int value)
{
	if (value < 0)
		usage_error("%s: '%s' is not one", option, optarg);
	return (uint32_t)value;
}

static void parse_option(struct quoit_options *o, int option)
{
	switch (option) {
	case 'k':
		o->kind = parse_enum("--kind", quoit_kind_from_name(optarg));
		break;
	case 's':
		o->capacity = parse_size("--size", optarg, 1024, UINT64_C(1) << 40);
		break;
	case OPT_SLOT_SIZE:
		o->slot_size = (uint32_t)parse_size("--slot-size", optarg, 8, QUOIT_RECORD_MAX);
		break;
	case OPT_HEAP:
		o->heap_size = parse_size("--heap", optarg, 1, UINT64_C(1) << 40);
		break;
	case OPT_HEAP_SHARE:
		o->heap_share = (uint32_t)parse_size("--heap-share", optarg, 1, QUOIT_RECORD_MAX);
		break;
	case OPT_PEERS:
		o->peers = (uint32_t)parse_count("--peers", optarg, 2, QUOIT_PEERS_MAX);
		break;
	case 'w':
		o->wait = parse_enum("--wait", quoit_wait_from_name(optarg));
		break;
	case 'm':
		o->mode = parse_mode(optarg);
		if (o->mode == 0)
			usage_error("--mode: nobody could open it");
		break;
	case 'p':
		o->flags |= QUOIT_PERSISTENT;
		break;
	case OPT_HUGEPAGES:
		if (strcmp(optarg, "yes") != 0 && strcmp(optarg, "try") != 0)
			usage_error("--hugepages: '%s' is neither yes nor try", optarg);
		o->flags |= optarg[0] == 'y' ? QUOIT_CREATE_HUGEPAGES : QUOIT_CREATE_HUGE_TRY;
		break;
	case OPT_MLOCK:
		o->flags |= QUOIT_MLOCK;
		break;
	case OPT_PREFAULT:
		o->flags |= QUOIT_PREFAULT;
		break;
	case OPT_START:
		o->start = parse_position(optarg);
		break;
	}
}

/* ---- a ring for one command ------------------------------------------------------------------ */

static void pass_on(int number)
{
	if (child > 0)
		kill(child, number);
}

/* The terminal sends its signals to the command as well, which decides; others are passed on. We
 * have to outlive it, to remove the ring. */
static void outlive(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = pass_on, .sa_flags = SA_RESTART},
		  NULL);
	sigaction(SIGHUP, &(struct sigaction){.sa_handler = pass_on, .sa_flags = SA_RESTART}, NULL);
}

/* In the child: the ring's name in the environment, a memfd's descriptor open, then the command. */
_Noreturn static void execute(const struct quoit *q, const struct quoit_info *info, char **command)
{
	char name[32];
	int fd;

	if (info->backend == QUOIT_MEMFD) {
		fd = dup(quoit_fd(q)); /* without close-on-exec */
		if (fd < 0) {
			say("cannot hand the ring on: %m");
			_exit(126);
		}
		snprintf(name, sizeof(name), "fd:%d", fd);
		setenv("QUOIT_RING", name, 1);
	} else {
		setenv("QUOIT_RING", info->name, 1);
	}
	execvp(command[0], command);
	say("cannot run '%s': %m", command[0]);
	_exit(errno == ENOENT ? 127 : 126);
}

static int run_command(const struct quoit *q, const struct quoit_info *info, char **command)
{
	sigset_t block, before;
	int status, r;

	/* No signal is lost between fork() and `child`. */
	sigemptyset(&block);
	sigaddset(&block, SIGTERM);
	sigaddset(&block, SIGHUP);
	sigprocmask(SIG_BLOCK, &block, &before);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		execute(q, info, command);
	}
	if (child < 0) {
		say("cannot run '%s': %m", command[0]);
		sigprocmask(SIG_SETMASK, &before, NULL);
		return STATUS_FAILURE;
	}
	outlive();
	sigprocmask(SIG_SETMASK, &before, NULL);
	do
		r = waitpid(child, &status, 0);
	while (r < 0 && errno == EINTR);
	child = 0;
	if (r < 0)
		return STATUS_FAILURE;
	return WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
}

static int for_command(const struct quoit *q, const struct quoit_info *info, char **command)
{
	int status = run_command(q, info, command), r;

	if (info->backend == QUOIT_MEMFD)
		return status; /* goes with its last descriptor */
	r = quoit_remove(info->name);
	/* The command may have done so itself. */
	if (r != 0 && r != -ENOENT && r != -EIDRM)
		status = first_failure(status, ring_error(info->name, "remove", r));
	return status;
}

/* ---------------------------------------------------------------------------------------------- */

static int create_error(const char *name, const struct quoit_options *o, int error)
{
	char text[256];

	if (error == -EINVAL && explain_options(name, o, "--size", text, sizeof(text))) {
		say("cannot create '%s': %s", name, text);
		return STATUS_USAGE;
	}
	if (error == -ENOENT) {
		say("cannot create '%s': its %s does not exist; make that first", name,
		    strncmp(name, "sysv:", 5) == 0 ? "file" : "folder");
		return STATUS_NOT_FOUND;
	}
	if (error == -ENOSPC) {
		say("cannot create '%s': no space left for it; make it smaller, or make room; see "
		    "'quoit ls'",
		    name);
		return STATUS_FAILURE;
	}
	return ring_error(name, "create", error);
}

int run_create(int argc, char **argv)
{
	struct quoit_options o = {.size = sizeof(o)};
	struct quoit_info info = {.size = sizeof(info)};
	int option, r, status = STATUS_OK;
	struct quoit *q;
	const char *name;

	while ((option = next_option(argc, argv)) != -1)
		parse_option(&o, option);
	if (optind == argc)
		usage_error("the name of the ring is missing");
	name = argv[optind++];
	if (o.kind != QUOIT_MPMC && (o.slot_size != 0 || o.peers != 0))
		usage_error("--slot-size and --peers are for --kind mpmc");
	if (o.heap_share != 0 && (o.kind == QUOIT_MPMC || o.heap_size == 0))
		usage_error("--heap-share is for --kind spsc with a --heap");
	if (strncmp(name, "memfd:", 6) == 0 && optind == argc)
		usage_error("a memfd ring lives as long as a process has it: add -- COMMAND");
	r = quoit_create(name, &o, &q);
	if (r != 0)
		return create_error(name, &o, r);
	r = quoit_get_info(q, &info);
	if (r != 0)
		status = ring_error(name, "describe", r);
	else if (optind < argc)
		status = for_command(q, &info, argv + optind);
	else if (globals.json)
		json_line("created", json_pack("{s:o, s:o}", "name", json_text(info.name), "size",
					       json_uint(info.capacity)));
	else if (!globals.quiet)
		puts(info.name);
	quoit_detach(q);
	return status;
}
