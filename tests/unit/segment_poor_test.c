/* SPDX-License-Identifier: MIT */
/*
 * Segments on file systems that lack something: O_TMPFILE, fallocate(), renameat2(), or obedience
 * to their locks. A seccomp filter plays the lack.
 */
#include <criterion/criterion.h>
#include <sys/file.h>

#include "segment_support.h"

TestSuite(segment_poor, .fini = seg_cleanup, .timeout = 100);

static struct quoit__name name_in(const char *folder, unsigned number)
{
	char text[QUOIT_NAME_MAX];

	snprintf(text, sizeof(text), "file:%s/%u", folder, number);
	return seg_parse(text);
}

Test(segment_poor, without_fallocate_zeros_are_written)
{
	struct quoit__name name = seg_name(QUOIT_FILE);
	struct quoit__plan plan = seg_plan();
	struct quoit__segment seg;
	struct stat st;

	seg_forbid(SYS_fallocate, 3, UINT32_MAX, EOPNOTSUPP);
	cr_assert_eq(seg_create(&name, &plan, &seg), 0);
	cr_assert_eq(fsync(seg.fd), 0);
	cr_assert_eq(fstat(seg.fd, &st), 0);
	cr_expect_geq((uint64_t)st.st_blocks * 512, SEG_SIZE);
	quoit__segment_close(&seg);
}

struct busy {
	const char *folder;
	bool stays; /* half-way, until it is killed */
	_Atomic uint32_t running;
};

static void stay(struct seg_fill *f)
{
	struct busy *busy = f->arg;

	if (!busy->stays)
		return;
	atomic_store(&busy->running, 1);
	for (;;)
		pause();
}

static int create_and_remove(void *arg)
{
	struct busy *busy = arg;
	struct quoit__name name = name_in(busy->folder, 1);
	struct quoit__plan plan = seg_plan();
	struct seg_fill f = {.pause = stay, .arg = busy};
	struct quoit__segment seg;

	for (;;) {
		if (quoit__segment_create(&name, &plan, seg_fill, &f, &seg) != 0)
			return 1;
		quoit__segment_close(&seg);
		if (quoit__segment_unlink(&name) != 0)
			return 2;
		atomic_store(&busy->running, 1);
	}
}

/* Creators are killed, half-way or at any moment; the next one sweeps up what they left. */
static void create_without_tmpfile(const char *folder)
{
	struct busy *busy = test_shared(sizeof(*busy));
	uint64_t seed = test_random_seed();
	struct quoit__segment seg;
	unsigned left = 0;

	busy->folder = folder;
	for (unsigned round = 0; round < 200; round++) {
		struct quoit__name name = name_in(folder, 2);
		pid_t pid;

		atomic_store(&busy->running, 0);
		busy->stays = round % 4 == 0;
		pid = test_spawn(create_and_remove, busy);
		cr_assert(test_wait_flag(&busy->running, 1, 5000));
		if (!busy->stays)
			test_spin_ns(test_random_below(&seed, 500000));
		test_kill(pid);
		unlink(name_in(folder, 1).path);
		left += seg_count_entries(folder) > 0;
		cr_assert_eq(seg_create(&name, NULL, &seg), 0);
		cr_expect_eq(seg_count_entries(folder), 1, "swept");
		quoit__segment_close(&seg);
		cr_expect_eq(seg_create(&name, NULL, &seg), -EEXIST);
		cr_expect_eq(seg_probe(&name, 0), 0);
		cr_expect_eq(quoit__segment_unlink(&name), 0);
		cr_expect_eq(seg_count_entries(folder), 0);
	}
	cr_expect_geq(left, 50);
}

Test(segment_poor, without_nameless_files_dead_creators_are_swept_up)
{
	char folder[] = "/tmp/qtest-hidden-XXXXXX";

	cr_assert_not_null(mkdtemp(folder));
	seg_forbid_tmpfile();
	create_without_tmpfile(folder);
	rmdir(folder);
}

Test(segment_poor, without_nameless_files_and_exclusive_renames_links_do)
{
	char folder[] = "/tmp/qtest-hidden-XXXXXX";

	cr_assert_not_null(mkdtemp(folder));
	seg_forbid_tmpfile();
	seg_forbid(SYS_renameat2, 4, 1, EINVAL);
	create_without_tmpfile(folder);
	rmdir(folder);
}

/* Called while one is being made under a hidden name: another comes by. */
static void create_another(struct seg_fill *f)
{
	struct quoit__name name = name_in(f->arg, 2);
	struct quoit__segment seg;

	MUST(seg_count_entries(f->arg) == 1);
	MUST(seg_create(&name, NULL, &seg) == 0);
	quoit__segment_close(&seg);
	MUST(seg_count_entries(f->arg) == 2);
}

Test(segment_poor, without_nameless_files_living_creators_are_not_swept_up)
{
	char folder[] = "/tmp/qtest-hidden-XXXXXX";
	struct seg_fill f = {.pause = create_another, .arg = folder};
	struct quoit__plan plan = seg_plan();
	struct quoit__segment seg;
	struct quoit__name name;

	cr_assert_not_null(mkdtemp(folder));
	name = name_in(folder, 1);
	seg_forbid_tmpfile();
	cr_assert_eq(quoit__segment_create(&name, &plan, seg_fill, &f, &seg), 0);
	quoit__segment_close(&seg);
	cr_expect_eq(seg_probe(&name, 0), 0);
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	name = name_in(folder, 2);
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	cr_expect_eq(rmdir(folder), 0, "nothing else is in it");
}

Test(segment_poor, a_lock_that_somebody_keeps_does_not_keep_a_ring_from_being_removed)
{
	struct quoit__name name = seg_name(QUOIT_FILE);
	struct quoit__segment seg;
	int fd;

	seg_make(&name, &seg);
	quoit__segment_close(&seg);
	fd = open(name.path, O_RDONLY);
	cr_assert_eq(flock(fd, LOCK_EX), 0);
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	cr_expect_eq(seg_probe(&name, 0), -ENOENT);
	close(fd);
}
