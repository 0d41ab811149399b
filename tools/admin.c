/* SPDX-License-Identifier: MIT */
/* quoit rm, chmod and chown. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/shm.h>

#include "tool.h"

/* ---- rm ------------------------------------------------------------------------------------- */

enum { OPT_STALE = 256 };

const struct option_row rm_options[] = {
	{"stale", OPT_STALE, NULL, "only rings that nobody has open; all such, if none is named"},
	{"dry-run", 'd', NULL, "only say what would be done"},
	{NULL, 0, NULL, NULL},
};

struct removal {
	bool stale, dry_run;
	int status;
	char **names; /* found to be stale */
	size_t count;
};

/*
 * Does the kernel say that nobody has this ring open? Endpoints hold locks, but a process may have
 * a ring open without one, about to open its first. A write lease (fcntl(2)) is given only on a
 * file that nobody else has open, and as long as we hold it nobody can open it; System V counts its
 * attachments. 1 yes, 0 no, -errno cannot tell. On 1 the lease is held until *fd is closed.
 */
static int is_unused(const struct quoit *q, const struct quoit_info *info)
{
	struct shmid_ds ds;
	int fd = quoit_fd(q);

	if (info->backend == QUOIT_SYSV)
		return shmctl(info->sysv_id, IPC_STAT, &ds) == 0 ? ds.shm_nattch <= 1 : -errno;
	if (fd < 0)
		return fd;
	signal(SIGIO, SIG_IGN); /* what a holder gets when somebody wants to open the file */
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		return 1;
	return errno == EAGAIN ? 0 : -errno;
}

static int remove_stale(const struct removal *w, const char *name)
{
	struct quoit_options o = {.size = sizeof(o), .flags = QUOIT_READONLY};
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit *q;
	int r = quoit_attach(name, &o, &q);

	if (r != 0)
		return ring_error(name, "open", r);
	r = quoit_get_info(q, &info);
	if (r == 0)
		r = is_unused(q, &info);
	if (r == 0)
		say("'%s' is kept: somebody has it open; see 'quoit peers'", name);
	else if (r < 0)
		(void)ring_error(name, "prove that nobody uses", r);
	/* The lease has to go first: removing opens the ring, to tell its peers. */
	quoit_detach(q);
	if (r != 1)
		return r == 0 ? STATUS_FAILURE : status_of(r);
	r = w->dry_run ? 0 : quoit_remove(name);
	return r != 0 ? ring_error(name, "remove", r) : STATUS_OK;
}

static int remove_any(const struct removal *w, const char *name)
{
	struct quoit_inspect *v;
	int r;

	if (!w->dry_run) {
		r = quoit_remove(name);
		return r != 0 ? ring_error(name, "remove", r) : STATUS_OK;
	}
	r = quoit_inspect_open(name, NULL, NULL, &v);
	if (r != 0)
		return ring_error(name, "remove", r);
	quoit_inspect_close(v);
	return STATUS_OK;
}

static void remove_one(struct removal *w, const char *name)
{
	int status;

	if (globals.json) /* while it is there */
		look_up_ring(name);
	status = w->stale ? remove_stale(w, name) : remove_any(w, name);
	w->status = first_failure(w->status, status);
	if (status != STATUS_OK)
		return;
	if (globals.json)
		json_line("removed", json_pack("{s:o, s:b}", "name", json_ring(name), "dry_run",
					       (int)w->dry_run));
	else if (w->dry_run || globals.verbose || (w->stale && !globals.quiet))
		printf("%s: %s\n", name, w->dry_run ? "to be removed" : "removed");
}

/* Candidates for --stale without names: streams that began, and whose endpoints are all gone. New
 * rings are waited with, and persistent ones are meant to stay. */
static int remember_stale(void *arg, const struct quoit_found *f)
{
	struct removal *w = arg;
	char **more;

	if (f->status != 0 || !f->stale || f->stats.state == QUOIT_STATE_NEW ||
	    (f->info.flags & QUOIT_PERSISTENT) != 0 || f->info.backend == QUOIT_MEMFD)
		return 0;
	more = reallocarray(w->names, w->count + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	w->names = more;
	w->names[w->count] = strdup(f->name);
	return w->names[w->count++] == NULL ? -ENOMEM : 0;
}

int run_rm(int argc, char **argv)
{
	struct removal w = {0};
	int option, r;

	while ((option = next_option(argc, argv)) != -1) {
		w.stale |= option == OPT_STALE;
		w.dry_run |= option == 'd';
	}
	if (optind == argc && !w.stale)
		usage_error("the name of a ring is missing");
	for (int i = optind; i < argc; i++)
		remove_one(&w, argv[i]);
	if (optind < argc)
		return w.status;
	r = quoit_list(remember_stale, &w);
	if (r < 0) {
		say("cannot list rings: %s", quoit_strerror(r));
		return status_of(r);
	}
	for (size_t i = 0; i < w.count; i++) {
		remove_one(&w, w.names[i]);
		free(w.names[i]);
	}
	free(w.names);
	return w.status;
}

/* ---- chmod, chown --------------------------------------------------------------------------- */

int run_chmod(int argc, char **argv)
{
	int status = STATUS_OK;
	uint32_t mode;

	while (next_option(argc, argv) != -1)
		;
	if (argc - optind < 2)
		usage_error("a mode and the name of a ring are needed");
	mode = parse_mode(argv[optind]);
	for (int i = optind + 1; i < argc; i++) {
		int r = quoit_chmod(argv[i], mode);

		if (r != 0)
			status =
				first_failure(status, ring_error(argv[i], "change the mode of", r));
		else if (globals.verbose)
			printf("%s: mode is %04" PRIo32 "\n", argv[i], mode);
	}
	return status;
}

/* System V lets owners give away what is theirs, file systems do not. */
static int chown_error(const char *name, int error)
{
	if (error != -EPERM || strncmp(name, "sysv:", 5) == 0)
		return ring_error(name, "change the owner of", error);
	say("cannot change the owner of '%s': not permitted; only root may give it away, and its "
	    "owner may change its group to one of his own",
	    name);
	return STATUS_PERMISSION;
}

/* A number, or what the lookup finds. */
static uint32_t parse_id(const char *text, const char *what, bool found, uint32_t id)
{
	char *end;
	unsigned long number;

	if (found)
		return id;
	number = strtoul(text, &end, 10);
	if (end == text || *end != 0 || text[0] == '-' || number >= UINT32_MAX)
		usage_error("'%s' is not a %s", text, what);
	return (uint32_t)number;
}

/* "user", "user:group", ":group"; (uid_t)-1 and (gid_t)-1 where there is none. */
static void parse_owner(char *text, uid_t *uid, gid_t *gid)
{
	char *colon = strchr(text, ':');
	struct passwd *user;
	struct group *group;

	*uid = (uid_t)-1;
	*gid = (gid_t)-1;
	if (colon != NULL)
		*colon++ = 0;
	if (*text != 0) {
		user = getpwnam(text);
		*uid = parse_id(text, "user", user != NULL, user != NULL ? user->pw_uid : 0);
	}
	if (colon != NULL && *colon != 0) {
		group = getgrnam(colon);
		*gid = parse_id(colon, "group", group != NULL, group != NULL ? group->gr_gid : 0);
	}
	if (*uid == (uid_t)-1 && *gid == (gid_t)-1)
		usage_error("neither a user nor a group");
}

int run_chown(int argc, char **argv)
{
	int status = STATUS_OK;
	uid_t uid;
	gid_t gid;

	while (next_option(argc, argv) != -1)
		;
	if (argc - optind < 2)
		usage_error("an owner and the name of a ring are needed");
	parse_owner(argv[optind], &uid, &gid);
	for (int i = optind + 1; i < argc; i++) {
		int r = quoit_chown(argv[i], uid, gid);

		if (r != 0)
			status = first_failure(status, chown_error(argv[i], r));
		else if (globals.verbose)
			printf("%s: owner changed\n", argv[i]);
	}
	return status;
}
