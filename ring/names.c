/* SPDX-License-Identifier: MIT */
/* Names of kinds, waits, backends and errors, for programs and their users. */
#include <errno.h>
#include <string.h>

#include "ring/ring.h"

#define STRING(x)       #x
#define DOTTED(a, b, c) STRING(a) "." STRING(b) "." STRING(c)

static const char *const kinds[] = {[QUOIT_SPSC] = "spsc", [QUOIT_MPMC] = "mpmc"};
static const char *const waits[] = {
	[QUOIT_WAIT_SPIN] = "spin",       [QUOIT_WAIT_YIELD] = "yield",
	[QUOIT_WAIT_FUTEX] = "futex",     [QUOIT_WAIT_SEM] = "sem",
	[QUOIT_WAIT_SYSVSEM] = "sysvsem", [QUOIT_WAIT_EVENTFD] = "eventfd",
};
static const char *const backends[] = {
	[QUOIT_SHM] = "shm", [QUOIT_SYSV] = "sysv", [QUOIT_FILE] = "file", [QUOIT_MEMFD] = "memfd"};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *name_of(const char *const *names, size_t count, unsigned value)
{
	return value < count ? names[value] : NULL;
}

static int value_of(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; name != NULL && i < count; i++)
		if (names[i] != NULL && strcmp(names[i], name) == 0)
			return (int)i;
	return -EINVAL;
}

const char *quoit_kind_name(enum quoit_kind kind)
{
	return name_of(kinds, COUNT(kinds), kind);
}

const char *quoit_wait_name(enum quoit_wait wait)
{
	return name_of(waits, COUNT(waits), wait);
}

const char *quoit_backend_name(enum quoit_backend backend)
{
	return name_of(backends, COUNT(backends), backend);
}

int quoit_kind_from_name(const char *name)
{
	return value_of(kinds, COUNT(kinds), name);
}

int quoit_wait_from_name(const char *name)
{
	return value_of(waits, COUNT(waits), name);
}

const char *quoit_version(void)
{
	return DOTTED(QUOIT_VERSION_MAJOR, QUOIT_VERSION_MINOR, QUOIT_VERSION_PATCH);
}

const char *quoit_strerror(int error)
{
	const char *text;

	switch (error < 0 ? -error : error) {
	case 0:
		return "success";
	case EAGAIN:
		return "nothing there (consumer) or no room (producer)";
	case ETIMEDOUT:
		return "the deadline passed";
	case EPIPE:
		return "every consumer has closed";
	case EOWNERDEAD:
		return "a peer died without closing";
	case EIDRM:
		return "the ring was removed";
	case EBADMSG:
		return "shared memory is corrupt";
	case EPROTO:
		return "not a quoit ring, or of another version or kind";
	case EMSGSIZE:
		return "record too large";
	case EBUSY:
		return "another endpoint is alive in that role";
	case ENOSPC:
		return "no space left, or the peer table is full";
	case EBADF:
		return "no such open descriptor, or the handle belongs to the parent process";
	case E2BIG:
		return "options from a newer version";
	case ENOENT:
		return "no such ring";
	case EEXIST:
		return "the ring exists already";
	default:
		text = strerrordesc_np(error < 0 ? -error : error);
		return text != NULL ? text : "unknown error";
	}
}
