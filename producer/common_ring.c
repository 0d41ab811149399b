/* SPDX-License-Identifier: MIT */
/*
 * Coming by the ring: create it, attach to it, or wait until somebody else has created it.
 */
#include "common.h"
#include "explain.h"

#include <errno.h>
#include <time.h>

#define SILENT_NS INT64_C(1000000000)

/* Errors that another process can put right by creating the ring. */
static bool may_appear(int error)
{
	return error == -ENOENT || error == -EOWNERDEAD || error == -ETIMEDOUT || error == -EIDRM;
}

/* Once. *ret_created: it was not there before. */
static int create(const struct settings *s, struct quoit **ret_ring, bool *ret_created)
{
	struct quoit_options options = s->options;
	int rc;

	/* By itself first: together with attaching nobody says which of them it was. */
	options.flags &= ~QUOIT_CREATE_OR_ATTACH;
	rc = quoit_create(s->ring, &options, ret_ring);
	*ret_created = rc == 0;
	return rc == -EEXIST ? quoit_create(s->ring, &s->options, ret_ring) : rc;
}

/* Once. */
static int attach(const struct settings *s, uint32_t timeout_ms, struct quoit **ret_ring)
{
	struct quoit_options options = s->options;

	options.attach_timeout_ms = timeout_ms;
	return quoit_attach(s->ring, &options, ret_ring);
}

int try_ring(const struct settings *s, struct quoit **ret_ring, bool *ret_created)
{
	int rc;

	*ret_created = false;
	rc = s->create ? create(s, ret_ring, ret_created) : attach(s, 1, ret_ring);
	return !s->create && may_appear(rc) ? -EAGAIN : rc;
}

void awaits_ring(const struct settings *s, int64_t since, bool *told)
{
	if (*told || s->quiet || now_ns() - since < SILENT_NS)
		return;
	say("%s: waiting for somebody to create it", s->ring);
	*told = true;
}

static int attach_patiently(const struct settings *s, struct quoit **ret_ring)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	int64_t begin = now_ns(), give_up = deadline_after(s->timeout_ns);
	bool told = false;
	int rc;

	for (;;) {
		rc = attach(s, SLICE_MS, ret_ring);
		if (!may_appear(rc))
			return rc;
		if (stop_signal != 0)
			return -EINTR;
		if (now_ns() >= give_up)
			return rc;
		awaits_ring(s, begin, &told);
		nanosleep(&pause, NULL);
	}
}

/* The ring is of another kind than --kind says: which? 0: that was not it. */
static uint32_t other_kind(const struct settings *s)
{
	struct quoit_options any = {.size = sizeof(any), .flags = QUOIT_READONLY};
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit *ring;

	any.attach_timeout_ms = SLICE_MS;
	if (s->options.kind == 0 || quoit_attach(s->ring, &any, &ring) != 0)
		return 0;
	if (quoit_get_info(ring, &info) != 0 || info.kind == s->options.kind)
		info.kind = 0;
	quoit_detach(ring);
	return info.kind;
}

int open_error(const struct settings *s, int error)
{
	uint32_t kind = error == -EPROTO ? other_kind(s) : 0;
	char text[256];

	if (error == -EINTR)
		return STATUS_SIGNAL + stop_signal;
	if (s->create && error == -EINVAL &&
	    explain_options(s->ring, &s->options, "--ring-size", text, sizeof(text))) {
		say("%s: cannot create the ring: %s", s->ring, text);
		return STATUS_USAGE;
	}
	if (error == -EOWNERDEAD) {
		say("%s: is half-made, its creator died; create it again with --create", s->ring);
		return STATUS_NOT_FOUND;
	}
	if (kind != 0) {
		say("%s: is an %s ring, not %s; leave --kind out, or choose another name", s->ring,
		    quoit_kind_name((enum quoit_kind)kind),
		    quoit_kind_name((enum quoit_kind)s->options.kind));
		return STATUS_LAYOUT;
	}
	if (s->create && error == -ENOENT) {
		say("%s: cannot create the ring: its %s does not exist; make that first", s->ring,
		    strncmp(s->ring, "sysv:", 5) == 0 ? "file" : "folder");
		return STATUS_NOT_FOUND;
	}
	if (s->create && error == -ENOSPC) {
		say("%s: cannot create the ring: no space left for it; make it smaller, or make "
		    "room; see 'quoit ls'",
		    s->ring);
		return STATUS_FAILURE;
	}
	return ring_error(s->ring, s->create ? "create the ring" : "attach to the ring", error);
}

void tell_private(const struct settings *s, const struct quoit *ring)
{
	struct quoit_info info = {.size = sizeof(info)};

	if (s->create && strcmp(s->ring, "sysv:private") == 0 && quoit_get_info(ring, &info) == 0)
		say("created %s", info.name);
}

int open_ring(const struct settings *s, struct quoit **ret_ring, bool *ret_created)
{
	int rc;

	*ret_created = false;
	if (s->create)
		rc = create(s, ret_ring, ret_created);
	else
		rc = attach_patiently(s, ret_ring);
	if (rc != 0)
		return open_error(s, rc);
	tell_private(s, *ret_ring);
	return STATUS_OK;
}

void take_back(struct quoit *q)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_info info = {.size = sizeof(info)};
	bool unused = quoit_get_stats(q, &stats) == 0 && stats.producers == 0 &&
		      stats.consumers == 0 && quoit_get_info(q, &info) == 0;
	int rc;

	/* First, for removing takes descriptors, of which we may have too few. */
	quoit_detach(q);
	rc = unused ? quoit_remove(info.name) : 0;
	if (rc != 0 && rc != -ENOENT)
		say("%s: was created, and is left behind: %s", info.name, quoit_strerror(rc));
}

unsigned ring_fill(const struct quoit *q)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	if (quoit_get_stats(q, &stats) != 0 || stats.capacity == 0)
		return 0;
	return (unsigned)((double)stats.used * 100 / (double)stats.capacity);
}

int remove_ring(const struct quoit *q)
{
	struct quoit_info info = {.size = sizeof(info)};
	int rc = quoit_get_info(q, &info);

	/* A memfd goes with its last process; it has no name to take away. */
	if (rc == 0 && info.backend == QUOIT_MEMFD)
		return STATUS_OK;
	if (rc == 0)
		rc = quoit_remove(info.name);
	if (rc == 0 || rc == -ENOENT || rc == -EIDRM)
		return STATUS_OK;
	return ring_error(info.name, "remove the ring", rc);
}
