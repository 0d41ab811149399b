/* SPDX-License-Identifier: MIT */
/*
 * Segments of every backend: made, found, removed; exact modes; creators that race or fail; and
 * what is not a segment.
 */
#include <criterion/criterion.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "segment_support.h"

TestSuite(segments, .fini = seg_cleanup, .timeout = 100);

Test(segments, are_found_by_their_name_until_it_is_taken_away)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment made, found, other = {.fd = 4711};

		seg_make(&name, &made);
		cr_expect_eq(made.size, SEG_SIZE);
		cr_expect_eq(made.page_size, (uint32_t)sysconf(_SC_PAGESIZE));
		cr_expect(made.writable);
		cr_expect_eq(seg_create(&name, NULL, &other), -EEXIST);
		cr_assert_eq(quoit__segment_open(&name, true, 0, &found), 0);
		cr_expect_eq(other.fd, 4711, "untouched on failure");
		cr_expect(seg_is_whole(&found));
		cr_expect_eq(found.size, SEG_SIZE);
		cr_expect_str_eq(found.name.canonical, name.canonical);
		made.base[5000] = 42;
		cr_expect_eq(found.base[5000], 42, "one memory");
		quoit__segment_close(&found);
		cr_expect_eq(quoit__segment_unlink(&name), 0);
		cr_expect_eq(seg_probe(&name, 0), -ENOENT);
		cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
		cr_expect(seg_is_whole(&made), "mapped ones live on");
		seg_make(&name, &other);
		quoit__segment_close(&other);
		quoit__segment_close(&made);
	}
}

Test(segments, that_are_not_there_give_enoent)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);

		cr_expect_eq(seg_probe(&name, 50), -ENOENT);
		cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
		cr_expect_eq(quoit__segment_chmod(&name, 0600), -ENOENT);
		cr_expect_eq(quoit__segment_chown(&name, 0, 0), -ENOENT);
	}
}

Test(segments, have_exactly_the_mode_asked_for_whatever_the_umask)
{
	static const mode_t modes[] = {0600, 0640, 0666, 0622, 0777};

	umask(077);
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned m = 0; m < TEST_COUNT(modes); m++) {
			struct quoit__name name = seg_name(test_backends[i]);
			struct quoit__plan plan = seg_plan();
			struct quoit__segment seg;
			mode_t mode;
			uid_t uid;
			gid_t gid;

			plan.mode = modes[m];
			cr_assert_eq(seg_create(&name, &plan, &seg), 0);
			cr_assert_eq(quoit__segment_stat(&seg, &mode, &uid, &gid), 0);
			cr_expect_eq(mode, modes[m], "%s %o %o", name.canonical, mode, modes[m]);
			cr_expect_eq(uid, geteuid());
			cr_expect_eq(gid, getegid());
			quoit__segment_close(&seg);
		}
	}
}

Test(segments, change_mode_and_owner)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment seg;
		mode_t mode;
		uid_t uid;
		gid_t gid;

		seg_make(&name, &seg);
		cr_expect_eq(quoit__segment_chmod(&name, 01600), -EINVAL);
		cr_expect_eq(quoit__segment_chmod(&name, 0664), 0);
		cr_assert_eq(quoit__segment_stat(&seg, &mode, &uid, &gid), 0);
		cr_expect_eq(mode, 0664);
		cr_expect_eq(quoit__segment_chown(&name, (uid_t)-1, (gid_t)-1), 0);
		if (geteuid() == 0) {
			cr_expect_eq(quoit__segment_chown(&name, 65534, (gid_t)-1), 0);
			cr_expect_eq(quoit__segment_chown(&name, (uid_t)-1, 65533), 0);
			cr_assert_eq(quoit__segment_stat(&seg, &mode, &uid, &gid), 0);
			cr_expect_eq(uid, 65534);
			cr_expect_eq(gid, 65533);
			cr_expect_eq(mode, 0664);
		}
		quoit__segment_close(&seg);
	}
}

Test(segments, are_rounded_up_to_whole_pages)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = seg_plan();
		struct quoit__segment seg;

		plan.size = 5000;
		cr_assert_eq(seg_create(&name, &plan, &seg), 0);
		cr_expect_eq(seg.size, 8192);
		quoit__segment_close(&seg);
		plan.size = 100;
		cr_expect_eq(seg_create(&name, &plan, &seg), -EINVAL, "no room for a header");
		plan.size = UINT64_MAX;
		cr_expect_eq(seg_create(&name, &plan, &seg), -EFBIG);
		plan.size = 8192;
		plan.mode = 01777;
		cr_expect_eq(seg_create(&name, &plan, &seg), -EINVAL);
	}
}

static int write_to(void *arg)
{
	/* Not a sanitizer's. */
	signal(SIGSEGV, SIG_DFL);
	*(volatile unsigned char *)arg = 1;
	return 0;
}

Test(segments, opened_for_reading_cannot_be_written_to)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment made, seg;

		seg_make(&name, &made);
		cr_assert_eq(quoit__segment_open(&name, false, 0, &seg), 0);
		cr_expect_not(seg.writable);
		cr_expect(seg_is_whole(&seg));
		cr_expect_eq(test_wait(test_spawn(write_to, seg.base + 6000)), 128 + SIGSEGV);
		cr_expect_eq(test_wait(test_spawn(write_to, made.base + 6000)), 0);
		quoit__segment_close(&seg);
		quoit__segment_close(&made);
	}
}

Test(segments, whose_filling_fails_were_never_there)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit__name name = seg_name(test_backends[i]);
		struct quoit__plan plan = seg_plan();
		struct seg_fill f = {.result = -EXDEV};
		struct quoit__segment seg = {.fd = 4711};

		cr_expect_eq(quoit__segment_create(&name, &plan, seg_fill, &f, &seg), -EXDEV);
		cr_expect_eq(f.called, 1);
		cr_expect_eq(seg.fd, 4711);
		cr_expect_eq(seg_probe(&name, 0), -ENOENT);
		if (test_backends[i] == QUOIT_SYSV)
			cr_expect_eq(semget((key_t)name.key, 0, 0), -1, "nor its set");
		cr_expect_eq(seg_create(&name, NULL, &seg), 0);
		quoit__segment_close(&seg);
	}
}

/* ---- races ---------------------------------------------------------------------------------- */

#define RACERS 20

struct race {
	struct quoit__name name;
	_Atomic uint32_t go, won, lost, odd;
};

static int create_in_race(void *arg)
{
	struct race *race = arg;
	struct quoit__segment seg;
	int r;

	while (atomic_load(&race->go) == 0)
		;
	r = seg_create(&race->name, NULL, &seg);
	atomic_fetch_add(r == 0 ? &race->won : r == -EEXIST ? &race->lost : &race->odd, 1);
	CHILD_CHECK(seg_probe(&race->name, 5000) == 0);
	return 0;
}

Test(segments, created_by_many_at_once_have_one_creator_and_all_can_open_them)
{
	struct race *race = test_shared(sizeof(*race));
	pid_t pid[RACERS];

	for (unsigned round = 0; round < 10 * TEST_COUNT(seg_named); round++) {
		memset(race, 0, sizeof(*race));
		race->name = seg_name(seg_named[round % TEST_COUNT(seg_named)]);
		for (unsigned i = 0; i < RACERS; i++)
			pid[i] = test_spawn(create_in_race, race);
		test_sleep_ms(5);
		atomic_store(&race->go, 1);
		for (unsigned i = 0; i < RACERS; i++)
			cr_expect_eq(test_wait(pid[i]), 0, "%s", race->name.canonical);
		cr_expect_eq(race->won, 1, "%s: %u won", race->name.canonical, race->won);
		cr_expect_eq(race->odd, 0);
	}
}

/* ---- what is not one ------------------------------------------------------------------------ */

Test(segments, do_not_follow_symbolic_links)
{
	static const enum quoit_backend paths[] = {QUOIT_SHM, QUOIT_FILE};

	for (unsigned i = 0; i < TEST_COUNT(paths); i++) {
		struct quoit__name real = seg_name(paths[i]), name = seg_name(paths[i]);
		struct quoit__segment seg;

		seg_make(&real, &seg);
		quoit__segment_close(&seg);
		for (unsigned dangling = 0; dangling < 2; dangling++) {
			cr_assert_eq(
				symlink(dangling ? "/tmp/qtest-nowhere" : real.path, name.path), 0);
			cr_expect_eq(seg_create(&name, NULL, &seg), -EEXIST);
			cr_expect_eq(seg_probe(&name, 0), -ELOOP);
			cr_expect_eq(quoit__segment_unlink(&name), -ELOOP);
			cr_expect_eq(quoit__segment_chmod(&name, 0666), -ELOOP);
			cr_expect_eq(quoit__segment_chown(&name, 0, 0), -ELOOP);
			cr_expect_eq(access("/tmp/qtest-nowhere", F_OK), -1);
			unlink(name.path);
		}
		cr_expect_eq(seg_probe(&real, 0), 0);
	}
}

Test(segments, are_regular_files_and_others_neither_block_nor_are_removed)
{
	struct quoit__name name = seg_name(QUOIT_FILE);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct quoit__segment seg;
	struct stat st;
	int fd;

	for (unsigned i = 0; i < 4; i++) {
		switch (i) {
		case 0:
			cr_assert_eq(mkfifo(name.path, 0600), 0);
			break;
		case 1:
			cr_assert_eq(mkdir(name.path, 0700), 0);
			break;
		case 2:
			fd = socket(AF_UNIX, SOCK_STREAM, 0);
			strcpy(address.sun_path, name.path);
			cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
			close(fd);
			break;
		default:
			fd = open(name.path, O_CREAT | O_WRONLY, 0600);
			cr_assert_eq(write(fd, "short", 5), 5);
			close(fd);
			break;
		}
		cr_expect_eq(seg_probe(&name, 0), -EPROTO, "%u", i);
		cr_expect_eq(quoit__segment_open(&name, false, 0, &seg), -EPROTO, "%u", i);
		cr_expect_eq(quoit__segment_unlink(&name), -EPROTO, "%u", i);
		cr_expect_eq(seg_create(&name, NULL, &seg), -EEXIST, "%u", i);
		cr_expect_eq(lstat(name.path, &st), 0, "%u", i);
		cr_assert_eq(remove(name.path), 0);
	}
}

Test(segments, are_not_removed_by_who_removes_their_predecessor)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment old, new;

		seg_make(&name, &old);
		cr_assert_eq(quoit__segment_unlink(&name), 0);
		seg_make(&name, &new);
		cr_expect_eq(quoit__segment_unlink_open(&old), -ENOENT);
		cr_expect_eq(seg_probe(&name, 0), 0);
		cr_expect_eq(quoit__segment_unlink_open(&new), 0);
		cr_expect_eq(seg_probe(&name, 0), -ENOENT);
		quoit__segment_close(&old);
		quoit__segment_close(&new);
	}
}

Test(segments, marked_as_removed_by_one_who_died_then_make_room_for_new_ones)
{
	for (unsigned i = 0; i < TEST_COUNT(seg_named); i++) {
		struct quoit__name name = seg_name(seg_named[i]);
		struct quoit__segment old, new;

		seg_make(&name, &old);
		atomic_store(&((struct quoit__header *)(void *)old.base)->state, QUOIT__REMOVED);
		cr_assert_eq(seg_create(&name, NULL, &new), 0, "%s", name.canonical);
		cr_expect_eq(seg_probe(&name, 0), 0);
		if (old.sem_id >= 0)
			cr_expect_not(seg_set_exists(old.sem_id));
		quoit__segment_close(&old);
		quoit__segment_close(&new);
	}
}

/* ---- memfds --------------------------------------------------------------------------------- */

Test(segments, in_memfds_are_sealed_and_found_by_descriptor_only)
{
	struct quoit__name name = seg_name(QUOIT_MEMFD), by_fd;
	struct quoit__segment made, found;
	char text[32];

	seg_make(&name, &made);
	cr_expect_eq(fcntl(made.fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
		     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	cr_expect_eq(ftruncate(made.fd, 0), -1);
	cr_expect_eq(ftruncate(made.fd, SEG_SIZE * 2), -1);
	cr_expect_eq(seg_probe(&name, 0), -ENOENT);
	cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
	cr_expect_eq(quoit__segment_chmod(&name, 0600), -ENOTSUP);
	cr_expect_eq(quoit__segment_chown(&name, 0, 0), -ENOTSUP);
	snprintf(text, sizeof(text), "fd:%d", made.fd);
	by_fd = seg_parse(text);
	cr_assert_eq(quoit__segment_open(&by_fd, true, 0, &found), 0);
	cr_expect_neq(found.fd, made.fd);
	cr_expect_eq(fcntl(found.fd, F_GETFD), FD_CLOEXEC);
	quoit__segment_close(&made);
	cr_expect(seg_is_whole(&found), "lives as long as anybody has it");
	cr_expect_eq(quoit__segment_unlink_open(&found), 0);
	cr_expect_eq(seg_create(&by_fd, NULL, &made), -EINVAL);
	cr_expect_eq(seg_probe(&by_fd, 0), -EBADF);
	quoit__segment_close(&found);
}

Test(segments, are_not_any_descriptor)
{
	struct quoit__name name = seg_name(QUOIT_SHM), by_fd;
	struct quoit__segment seg;
	char text[32];
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	snprintf(text, sizeof(text), "fd:%d", fds[0]);
	by_fd = seg_parse(text);
	cr_expect_eq(seg_probe(&by_fd, 0), -EPROTO);
	/* Also of files with a name; but those are not removed by descriptor. */
	seg_make(&name, &seg);
	snprintf(text, sizeof(text), "fd:%d", seg.fd);
	by_fd = seg_parse(text);
	cr_expect_eq(seg_probe(&by_fd, 0), 0);
	cr_expect_eq(quoit__segment_unlink(&by_fd), -ENOTSUP);
	cr_expect_eq(quoit__segment_chmod(&by_fd, 0640), 0);
	quoit__segment_close(&seg);
	fds[1] = open(name.path, O_RDONLY);
	snprintf(text, sizeof(text), "fd:%d", fds[1]);
	by_fd = seg_parse(text);
	cr_expect_eq(seg_probe(&by_fd, 0), -EACCES, "not for writing");
	cr_expect_eq(quoit__segment_open(&by_fd, false, 0, &seg), 0);
	quoit__segment_close(&seg);
}
