/* SPDX-License-Identifier: MIT */
/*
 * Segments where things are short: full file systems, resource and System V limits, huge pages that
 * are not there, storms of signals, and file systems that lack O_TMPFILE, fallocate() or
 * renameat2(), which a seccomp filter plays here.
 */
#include <criterion/criterion.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "segment_support.h"

TestSuite(segment_limits, .fini = seg_cleanup, .timeout = 100);

#define MIB (UINT64_C(1) << 20)

static bool is_file(enum quoit_backend backend)
{
	return backend != QUOIT_SYSV;
}

static struct quoit__plan plan_of(uint64_t size, uint32_t flags)
{
	struct quoit__plan plan = seg_plan();

	plan.size = size;
	plan.flags = flags;
	return plan;
}

/* ---- space ---------------------------------------------------------------------------------- */

/* A /dev/shm of our own. */
static bool mount_shm(const char *options)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/dev/shm", "tmpfs", 0, options) == 0;
}

static uint64_t blocks_free(const char *path)
{
	struct statfs fs;

	MUST(statfs(path, &fs) == 0);
	return (uint64_t)fs.f_bfree;
}

Test(segment_limits, full_shared_memory_is_an_error_at_creation_and_nothing_stays)
{
	struct quoit__name name = seg_name(QUOIT_SHM), second = seg_name(QUOIT_SHM);
	struct quoit__plan plan = plan_of(4 * MIB, 0);
	struct quoit__segment seg;
	uint64_t before;

	if (!mount_shm("size=1m"))
		cr_skip("needs root, for a mount namespace");
	before = blocks_free("/dev/shm");
	cr_expect_eq(seg_create(&name, &plan, &seg), -ENOSPC);
	plan.flags = QUOIT_CREATE_HUGE_TRY;
	cr_expect_eq(seg_create(&name, &plan, &seg), -ENOSPC);
	plan = plan_of(600 * 1024, 0);
	cr_assert_eq(seg_create(&name, &plan, &seg), 0);
	cr_expect_eq(blocks_free("/dev/shm"), before - 150, "all of it is reserved");
	cr_expect_eq(seg_create(&second, &plan, &seg), -ENOSPC);
	cr_expect_eq(blocks_free("/dev/shm"), before - 150);
	cr_expect_eq(seg_count_entries("/dev/shm"), 1);
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	quoit__segment_close(&seg);
	cr_expect_eq(blocks_free("/dev/shm"), before);
}

Test(segment_limits, no_inode_left_is_no_space_left)
{
	struct quoit__name name = seg_name(QUOIT_SHM);
	struct quoit__segment seg;

	if (!mount_shm("size=1m,nr_inodes=1"))
		cr_skip("needs root, for a mount namespace");
	cr_expect_eq(seg_create(&name, NULL, &seg), -ENOSPC);
}

/* Leaves all pages but the first alone. */
static int fill_header_only(void *arg, struct quoit__segment *seg)
{
	struct quoit__header *h = (struct quoit__header *)(void *)seg->base;

	(void)arg;
	h->magic = QUOIT__MAGIC;
	h->sem_id = seg->sem_id;
	atomic_store(&h->state, QUOIT__READY);
	return 0;
}

Test(segment_limits, all_memory_is_there_from_the_beginning)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		/* System V memory is always touched: there is no other way to reserve it. */
		struct quoit__plan plan =
			plan_of(5 * MIB, is_file(test_backends[i]) ? QUOIT_PREFAULT : 0);
		struct rusage before, after;
		struct quoit__segment seg;
		struct stat st;

		cr_assert_eq(quoit__segment_create(&name, &plan, fill_header_only, NULL, &seg), 0);
		if (is_file(test_backends[i])) {
			cr_assert_eq(fstat(seg.fd, &st), 0);
			cr_expect_geq((uint64_t)st.st_blocks * 512, 5 * MIB);
		}
		getrusage(RUSAGE_SELF, &before);
		for (uint64_t at = 4096; at < seg.size; at += 4096)
			((volatile unsigned char *)seg.base)[at] += 1;
		getrusage(RUSAGE_SELF, &after);
		/* The address sanitizer has faults of its own, one in 8 pages. */
		cr_expect_lt(after.ru_minflt - before.ru_minflt, 320, "%ld faults in 1280 pages",
			     after.ru_minflt - before.ru_minflt);
		quoit__segment_close(&seg);
	}
}

static void prefault_and_compare(void)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment made, seg;

		seg_make(&name, &made);
		for (uint64_t at = sizeof(struct quoit__header); at < SEG_SIZE - 16; at++)
			made.base[at] = (unsigned char)(at * 7 + at / 256);
		for (unsigned writable = 0; writable < 2; writable++) {
			cr_assert_eq(quoit__segment_open(&name, writable, 0, &seg), 0);
			cr_expect_eq(quoit__segment_apply(&seg, QUOIT_PREFAULT | QUOIT_MLOCK), 0);
			cr_expect(seg_is_whole(&seg));
			for (uint64_t at = sizeof(struct quoit__header); at < SEG_SIZE - 16; at++)
				cr_assert_eq(seg.base[at], (unsigned char)(at * 7 + at / 256));
			quoit__segment_close(&seg);
		}
		quoit__segment_close(&made);
	}
}

Test(segment_limits, prefaulting_an_open_segment_changes_nothing_in_it)
{
	prefault_and_compare();
}

Test(segment_limits, prefaulting_by_touching_changes_nothing_either)
{
	/* Advice 22 and 23, which kernels before 5.14 do not know. */
	seg_forbid(SYS_madvise, 2, 16, EINVAL);
	prefault_and_compare();
}

/* ---- limits --------------------------------------------------------------------------------- */

Test(segment_limits, beyond_rlimit_fsize_is_efbig_and_no_signal)
{
	struct rlimit limit = {.rlim_cur = MIB, .rlim_max = RLIM_INFINITY};

	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = plan_of(MIB + 4096, 0);
		struct quoit__segment seg;

		if (!is_file(test_backends[i]))
			continue;
		cr_expect_eq(seg_create(&name, &plan, &seg), -EFBIG);
		plan.size = MIB;
		cr_expect_eq(seg_create(&name, &plan, &seg), 0);
		quoit__segment_close(&seg);
	}
}

static unsigned long locked_kb(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	unsigned long kb = 0;
	char line[256];

	while (fgets(line, sizeof(line), f) != NULL && sscanf(line, "VmLck: %lu", &kb) != 1)
		;
	fclose(f);
	return kb;
}

/* The address sanitizer makes mlock() do nothing. */
static bool can_lock(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long before = locked_kb();
	bool can = mlock(p, 4096) == 0 && locked_kb() > before;

	munmap(p, 4096);
	return can;
}

static int lock_as_nobody(void *arg)
{
	const bool none = arg != NULL;
	struct rlimit limit = {.rlim_cur = none ? 0 : MIB, .rlim_max = none ? 0 : MIB};

	/* Together with SHM_LOCK, of which the kernel counts the pages once more, this must fit. */
	CHILD_CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = plan_of(4 * MIB, QUOIT_MLOCK);
		struct quoit__segment seg;
		int r = seg_create(&name, &plan, &seg);

		CHILD_CHECK(none ? r == -EPERM : r == -ENOMEM);
		CHILD_CHECK(seg_probe(&name, 0) == -ENOENT);
		CHILD_CHECK(test_backends[i] != QUOIT_SYSV || semget((key_t)name.key, 0, 0) == -1);
		plan.size = MIB / 4;
		r = seg_create(&name, &plan, &seg);
		CHILD_CHECK(none ? r == -EPERM : r == 0);
		if (r == 0)
			quoit__segment_close(&seg);
	}
	seg_cleanup();
	return 0;
}

Test(segment_limits, beyond_rlimit_memlock_creation_fails_and_nothing_stays)
{
	if (geteuid() != 0)
		cr_skip("needs root, to become one who has a limit");
	if (!can_lock())
		cr_skip("mlock() does nothing here");
	cr_expect_eq(test_wait(test_spawn(lock_as_nobody, NULL)), 0);
	cr_expect_eq(test_wait(test_spawn(lock_as_nobody, "none")), 0);
}

Test(segment_limits, locked_memory_is_locked)
{
	if (!can_lock())
		cr_skip("mlock() does nothing here");
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = plan_of(MIB, QUOIT_MLOCK);
		unsigned long before = locked_kb();
		struct quoit__segment seg;
		struct shmid_ds ds;

		cr_assert_eq(seg_create(&name, &plan, &seg), 0);
		cr_expect_eq(locked_kb() - before, 1024);
		if (test_backends[i] == QUOIT_SYSV) {
			cr_assert_eq(shmctl(seg.shm_id, IPC_STAT, &ds), 0);
			cr_expect_neq(ds.shm_perm.mode & SHM_LOCKED, 0);
		}
		quoit__segment_close(&seg);
	}
}

static void set_sysctl(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);

	MUST(fd >= 0);
	MUST(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

Test(segment_limits, of_system_v_are_told_and_nothing_stays)
{
	static const struct {
		const char *path, *low, *high;
		int result;
	} cases[] = {
		{"/proc/sys/kernel/shmmax", "60000", "1000000000", -EFBIG},
		{"/proc/sys/kernel/shmall", "4", "1000000000", -ENOSPC},
		{"/proc/sys/kernel/shmmni", "0", "4096", -ENOSPC},
		{"/proc/sys/kernel/sem", "4 32000 500 32000", "32000 1000000 500 32000", -ENOSPC},
		{"/proc/sys/kernel/sem", "32000 4 500 32000", "32000 1000000 500 32000", -ENOSPC},
		{"/proc/sys/kernel/sem", "32000 32000 500 0", "32000 1000000 500 32000", -ENOSPC},
	};

	if (unshare(CLONE_NEWIPC) != 0)
		cr_skip("needs root, for an IPC namespace");
	for (unsigned i = 0; i < TEST_COUNT(cases); i++) {
		struct quoit__name name = seg_name(QUOIT_SYSV);
		struct quoit__segment seg;

		set_sysctl(cases[i].path, cases[i].low);
		cr_expect_eq(seg_create(&name, NULL, &seg), cases[i].result, "%s %s", cases[i].path,
			     cases[i].low);
		cr_expect_eq(semget((key_t)name.key, 0, 0), -1);
		cr_expect_eq(shmget((key_t)name.key, 0, 0), -1);
		set_sysctl(cases[i].path, cases[i].high);
		cr_expect_eq(seg_create(&name, NULL, &seg), 0);
		quoit__segment_close(&seg);
	}
}

/* ---- signals -------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void count_signal(int signal)
{
	(void)signal;
	signals++;
}

Test(segment_limits, storms_of_signals_only_delay_creation)
{
	struct sigaction action = {.sa_handler = count_signal}; /* without SA_RESTART */
	struct itimerval storm = {.it_interval = {.tv_usec = 200}, .it_value = {.tv_usec = 200}};
	struct itimerval calm = {0};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &storm, NULL);
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = plan_of(128 * MIB, 0);
		struct quoit__segment seg;

		cr_assert_eq(seg_create(&name, &plan, &seg), 0, "%s", name.canonical);
		cr_expect(seg_is_whole(&seg));
		if (test_backends[i] != QUOIT_MEMFD) {
			cr_expect_eq(seg_probe(&name, 0), 0);
			cr_expect_eq(quoit__segment_unlink(&name), 0);
		}
		quoit__segment_close(&seg);
	}
	setitimer(ITIMER_REAL, &calm, NULL);
	cr_expect_gt(signals, 10);
}

/* ---- huge pages ----------------------------------------------------------------------------- */

/* Whatever this machine has: an error that says so, or huge pages that everybody can open. */
Test(segment_limits, huge_pages_are_real_or_refused_or_done_without)
{
	const uint32_t base = (uint32_t)sysconf(_SC_PAGESIZE);

	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned try = 0; try < 2; try++) {
			struct quoit__name name = seg_name(test_backends[i]);
			struct quoit__plan plan = plan_of(3 * MIB, try ? QUOIT_CREATE_HUGE_TRY
								       : QUOIT_CREATE_HUGEPAGES);
			struct quoit__segment seg;
			int r = seg_create(&name, &plan, &seg);

			if (r != 0) {
				cr_expect_not(try, "%s: %d", name.canonical, r);
				cr_expect(r == -ENOTSUP || r == -ENOMEM, "%d", r);
				cr_expect_eq(seg_probe(&name, 0), -ENOENT);
				continue;
			}
			cr_expect(try || seg.page_size > base);
			cr_expect_eq(seg.size % seg.page_size, 0);
			cr_expect(seg.page_size > base || seg.size == 3 * MIB);
			if (test_backends[i] != QUOIT_MEMFD)
				cr_expect_eq(seg_probe(&name, 0), 0);
			quoit__segment_close(&seg);
		}
	}
}

Test(segment_limits, huge_pages_of_tmpfs_are_used_where_the_mount_allows_them)
{
	struct quoit__name name = seg_name(QUOIT_SHM);
	struct quoit__plan plan = plan_of(3 * MIB, QUOIT_CREATE_HUGEPAGES);
	struct quoit__segment seg;
	int r;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0 ||
	    !mount_shm("size=64m,huge=advise"))
		cr_skip("needs root and transparent huge pages");
	r = seg_create(&name, &plan, &seg);
	if (r == -ENOMEM)
		cr_skip("memory is too fragmented for huge pages");
	cr_assert_eq(r, 0);
	cr_expect_gt(seg.page_size, (uint32_t)sysconf(_SC_PAGESIZE));
	cr_expect_eq((uintptr_t)seg.base % seg.page_size, 0);
	quoit__segment_close(&seg);
	cr_assert_eq(quoit__segment_open(&name, true, 0, &seg), 0);
	cr_expect(seg_is_whole(&seg));
	cr_expect_eq((uintptr_t)seg.base % (2 * MIB), 0, "mapped so that they fit");
	quoit__segment_close(&seg);
}
