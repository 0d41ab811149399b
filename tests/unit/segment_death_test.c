/* SPDX-License-Identifier: MIT */
/*
 * Creators and removers that are killed: at every system call, one after the other, by a tracer;
 * and at random moments. Whatever they died at, the next one succeeds.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/ptrace.h>

#include "segment_support.h"

TestSuite(segment_deaths, .fini = seg_cleanup, .timeout = 100);

struct victim {
	struct quoit__name name;
	bool removes;
	_Atomic uint32_t go, done;
};

static int act(struct victim *v)
{
	struct quoit__segment seg;

	return v->removes ? quoit__segment_unlink(&v->name) : seg_create(&v->name, NULL, &seg);
}

/* ---- at every system call ------------------------------------------------------------------- */

static int act_traced(void *arg)
{
	struct victim *v = arg;

	MUST(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
	MUST(raise(SIGSTOP) == 0);
	if (act(v) == 0)
		atomic_store(&v->done, 1);
	return 0;
}

/* Kill it at its n-th stop, which are two for a system call. False: it ended before. */
static bool kill_at(struct victim *v, unsigned n)
{
	pid_t pid;
	int status;

	atomic_store(&v->done, 0);
	pid = test_spawn(act_traced, v);
	MUST(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	MUST(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0);
	for (unsigned i = 0; i < n; i++) {
		MUST(ptrace(PTRACE_SYSCALL, pid, 0, 0) == 0);
		MUST(waitpid(pid, &status, 0) == pid);
		if (WIFEXITED(status))
			return false;
		MUST(WIFSTOPPED(status) && WSTOPSIG(status) == (SIGTRAP | 0x80));
	}
	test_kill(pid);
	return true;
}

static void create_after_death(struct victim *v, unsigned n)
{
	struct quoit__segment seg;
	int r = seg_create(&v->name, NULL, &seg);

	/* It may have died having published it. */
	if (r == -EEXIST) {
		cr_assert_eq(quoit__segment_open(&v->name, true, 0, &seg), 0, "at stop %u", n);
		r = 0;
	}
	cr_assert_eq(r, 0, "%s: %d at stop %u", v->name.canonical, r, n);
	cr_assert(seg_is_whole(&seg));
	cr_assert_eq(quoit__segment_unlink_open(&seg), 0);
	quoit__segment_close(&seg);
	cr_assert_eq(seg_probe(&v->name, 0), -ENOENT);
}

static void kill_creators_everywhere(struct victim *v)
{
	unsigned n = 0;

	for (n = 0; kill_at(v, n); n++)
		create_after_death(v, n);
	cr_assert_eq(v->done, 1);
	cr_expect_gt(n, 10, "only %u stops", n);
	create_after_death(v, n);
}

Test(segment_deaths, of_creators_at_any_system_call_do_not_hinder_the_next)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct victim *v = test_shared(sizeof(*v));

		v->name = seg_name(seg_named[i]);
		kill_creators_everywhere(v);
	}
}

Test(segment_deaths, of_creators_without_nameless_files_leave_what_the_next_sweeps_up)
{
	char folder[] = "/tmp/qtest-death-XXXXXX", text[QUOIT_NAME_MAX];
	struct victim *v = test_shared(sizeof(*v));

	cr_assert_not_null(mkdtemp(folder));
	snprintf(text, sizeof(text), "file:%s/ring", folder);
	v->name = seg_parse(text);
	seg_forbid_tmpfile();
	kill_creators_everywhere(v);
	cr_expect_eq(rmdir(folder), 0, "nothing is left");
}

Test(segment_deaths, of_removers_at_any_system_call_leave_a_ring_or_none)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct victim *v = test_shared(sizeof(*v));
		struct quoit__segment seg;
		bool more = true;
		unsigned n;

		v->name = seg_name(seg_named[i]);
		v->removes = true;
		for (n = 0; more; n++) {
			int r;

			seg_make(&v->name, &seg);
			quoit__segment_close(&seg);
			more = kill_at(v, n);
			r = seg_probe(&v->name, 0);
			cr_assert(r == -ENOENT || (more && r == 0), "%s: %d at stop %u",
				  v->name.canonical, r, n);
			create_after_death(v, n);
		}
		cr_expect_gt(n, 5);
	}
}

/* Alone in an IPC namespace, what is left can be counted. */
static unsigned count_left(void)
{
	struct shm_info segments;
	struct seminfo sets;

	MUST(shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&segments) >= 0);
	MUST(semctl(0, 0, SEM_INFO, &sets) >= 0);
	return (unsigned)segments.used_ids + (unsigned)sets.semusz;
}

/* A complete one is a ring, whose creator may die: it is not to be swept, but by us. */
static bool remove_complete(void)
{
	struct quoit__segment seg;
	struct quoit__name name;
	struct shm_info info;
	struct shmid_ds ds;
	char text[32];
	int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);

	for (int i = 0; i <= last; i++) {
		int id = shmctl(i, SHM_STAT, &ds);

		if (id < 0)
			continue;
		snprintf(text, sizeof(text), "sysv:#%d", id);
		name = seg_parse(text);
		if (quoit__segment_open(&name, true, 0, &seg) != 0)
			continue;
		MUST(quoit__segment_unlink_open(&seg) == 0);
		quoit__segment_close(&seg);
		return true;
	}
	return false;
}

/* A set that its creator did not even get to mark cannot be told from a stranger's. */
static bool remove_unmarked(void)
{
	struct seminfo info;
	struct semid_ds ds;
	int last = semctl(0, 0, SEM_INFO, &info);

	for (int i = 0; i <= last; i++) {
		int id = semctl(i, 0, SEM_STAT, &ds);

		if (id >= 0 && semctl(id, SEG_LOCKS + QUOIT__SEM_PEERS, GETVAL) == 0)
			return semctl(id, 0, IPC_RMID) == 0;
	}
	return false;
}

Test(segment_deaths, of_creators_of_private_segments_leave_what_the_next_sweeps_up)
{
	struct victim *v = test_shared(sizeof(*v));
	unsigned complete = 0, unmarked = 0;
	struct quoit__segment seg;

	if (unshare(CLONE_NEWIPC) != 0)
		cr_skip("needs root, for an IPC namespace");
	v->name = seg_parse("sysv:private");
	for (unsigned n = 0; kill_at(v, n); n++) {
		complete += remove_complete();
		unmarked += remove_unmarked();
		seg_make(&v->name, &seg);
		cr_assert_eq(quoit__segment_unlink_open(&seg), 0);
		quoit__segment_close(&seg);
		cr_assert_eq(count_left(), 0, "%u left at stop %u", count_left(), n);
	}
	cr_expect_gt(complete, 0);
	cr_expect_leq(unmarked, 2, "after semget(), before semop()");
}

/* ---- at random moments ---------------------------------------------------------------------- */

static int create_and_say(void *arg)
{
	struct victim *v = arg;
	struct quoit__segment seg;

	atomic_store(&v->go, 1);
	if (seg_create(&v->name, NULL, &seg) == 0)
		atomic_store(&v->done, 1);
	pause();
	return 0;
}

/*
 * How long a creation takes is measured first, so that deaths fall all over it, and some beyond.
 * The next one must succeed at once if the dead one did not, and find a whole segment if it did.
 */
static void kill_creators(enum quoit_backend backend, unsigned rounds)
{
	struct victim *v = test_shared(sizeof(*v));
	uint64_t seed = test_random_seed();
	struct quoit__segment seg;
	unsigned unfinished = 0;
	int64_t span = INT32_MAX;

	for (unsigned round = 0; round < rounds; round++) {
		int64_t start;
		pid_t pid;
		int r;

		v->name = seg_name(backend);
		v->go = v->done = 0;
		pid = test_spawn(create_and_say, v);
		while (atomic_load(&v->go) == 0)
			;
		start = test_now_ns();
		if (round < 8) {
			int64_t took;

			while (atomic_load(&v->done) == 0)
				;
			took = test_now_ns() - start;
			span = took < span ? took : span;
		} else {
			test_spin_ns(test_random_below(&seed, (uint32_t)(span * 5 / 4)));
		}
		test_kill(pid);
		unfinished += v->done == 0;
		if (backend != QUOIT_MEMFD && v->done != 0) {
			cr_assert_eq(seg_probe(&v->name, 0), 0, "round %u", round);
			cr_assert_eq(quoit__segment_unlink(&v->name), 0);
		}
		r = seg_create(&v->name, NULL, &seg);
		/* It may have died between publishing it and saying so. */
		if (r == -EEXIST && v->done == 0) {
			cr_assert_eq(quoit__segment_open(&v->name, true, 0, &seg), 0);
			r = 0;
		}
		cr_assert_eq(r, 0, "round %u: %d", round, r);
		cr_assert(seg_is_whole(&seg));
		if (backend != QUOIT_MEMFD)
			cr_assert_eq(quoit__segment_unlink_open(&seg), 0);
		quoit__segment_close(&seg);
		test_names()->count = 0;
	}
	cr_expect_gt(unfinished, 0, "only %u of %u died half-way", unfinished, rounds);
}

Test(segment_deaths, at_random_of_creators_in_shared_memory_do_not_hinder_the_next)
{
	kill_creators(QUOIT_SHM, 300);
}

Test(segment_deaths, at_random_of_creators_in_files_do_not_hinder_the_next)
{
	kill_creators(QUOIT_FILE, 300);
}

Test(segment_deaths, at_random_of_creators_in_system_v_memory_do_not_hinder_the_next)
{
	kill_creators(QUOIT_SYSV, 300);
}

Test(segment_deaths, at_random_of_creators_of_memfds_do_not_hinder_the_next)
{
	kill_creators(QUOIT_MEMFD, 100);
}
