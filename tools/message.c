/* SPDX-License-Identifier: MIT */
/* Errors and problems: one line each, saying what, which ring, why, and what to do. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tool.h"

void say(const char *format, ...)
{
	va_list arguments;

	fflush(stdout);
	fputs("quoit: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static const struct {
	int error, status;
	const char *advice;
} errors[] = {
	{ENOENT, STATUS_NOT_FOUND, "see 'quoit ls' for what is there"},
	{EIDRM, STATUS_NOT_FOUND, "somebody removed it just now"},
	{EACCES, STATUS_PERMISSION, "ask its owner for 'quoit chmod', see 'quoit ls'"},
	{EPERM, STATUS_PERMISSION, "only its owner and root may do that, see 'quoit ls'"},
	{EBADF, STATUS_NOT_FOUND,
	 "fd:N is one that we inherited, see 'quoit create NAME -- COMMAND'"},
	{EROFS, STATUS_PERMISSION, "its file system is mounted read-only"},
	{EPROTO, STATUS_LAYOUT, "it is no ring, cut off, or made by another version of quoit"},
	{ELOOP, STATUS_LAYOUT, "symbolic links are not followed, name the file itself"},
	{EBADMSG, STATUS_CORRUPT, "see 'quoit check', and 'quoit dump' for what is left"},
	{ETIMEDOUT, STATUS_TIMEOUT, "its creator is not done, or was killed: see 'quoit repair'"},
	{EAGAIN, STATUS_TIMEOUT, "try again"},
	{EOWNERDEAD, STATUS_PEER_DIED, "remove it with 'quoit repair'"},
	{EINVAL, STATUS_FAILURE, "names are shm:NAME, sysv:KEY, file:PATH, memfd:NAME, fd:N"},
	{ENAMETOOLONG, STATUS_FAILURE, "choose a shorter name"},
	{EEXIST, STATUS_FAILURE, "remove it with 'quoit rm', or choose another name"},
	{ENOSPC, STATUS_FAILURE, "make it smaller, or make room; see 'quoit ls'"},
	{ENOMEM, STATUS_FAILURE, "make it smaller, or leave --hugepages and --mlock out"},
	{ENOTSUP, STATUS_FAILURE, "this kind of ring does not have that"},
	{EFBIG, STATUS_FAILURE, "make it smaller, or raise 'ulimit -f'"},
	{EMFILE, STATUS_FAILURE, "raise 'ulimit -n'"},
};

int status_of(int error)
{
	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (errors[i].error == -error)
			return errors[i].status;
	return error == 0 ? STATUS_OK : STATUS_FAILURE;
}

int ring_error(const char *ring, const char *what, int error)
{
	const char *advice = "see quoit(7)";

	for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		if (errors[i].error == -error)
			advice = errors[i].advice;
	say("cannot %s '%s': %s; %s", what, ring, quoit_strerror(error), advice);
	return status_of(error);
}

static const char *known;
static struct quoit_info known_info;

void know_ring(const char *ring, const struct quoit_inspect *v)
{
	known_info.size = sizeof(known_info);
	known = quoit_inspect_info(v, &known_info) == 0 ? ring : NULL;
}

void look_up_ring(const char *ring)
{
	struct quoit_inspect *v;

	known = NULL;
	if (quoit_inspect_open(ring, NULL, NULL, &v) != 0)
		return;
	know_ring(ring, v);
	quoit_inspect_close(v);
}

json_t *json_ring(const char *ring)
{
	return json_text(known != NULL && strcmp(known, ring) == 0 && known_info.name[0] != 0
				 ? known_info.name
				 : ring);
}

void print_problem(void *problems, int severity, uint64_t offset, const char *text)
{
	static const char *const names[] = {"note", "repairable", "corrupt"};
	struct problems *p = problems;
	const char *name = names[severity < 1 ? 0 : severity > 3 ? 2 : severity - 1];
	FILE *out = p->to_stderr ? stderr : stdout;

	p->repairable += severity == 2;
	p->corrupt += severity == 3;
	if (severity == 1 && !p->notes)
		return;
	if (globals.json && !p->to_stderr) {
		json_line("problem",
			  json_pack("{s:o, s:s, s:o, s:o}", "name", json_ring(p->ring), "severity",
				    name, "offset", json_uint(offset), "problem", json_text(text)));
		return;
	}
	fflush(stdout);
	fprintf(out, "%s%s: %s at 0x%" PRIx64 ": %s\n", p->to_stderr ? "quoit: " : "", p->ring,
		name, offset, text);
}

int open_view(const char *ring, struct problems *problems, struct quoit_inspect **ret)
{
	int r;

	problems->ring = ring;
	r = quoit_inspect_open(ring, print_problem, problems, ret);
	if (r != 0)
		return ring_error(ring, "open", r);
	know_ring(ring, *ret);
	return STATUS_OK;
}
