/* SPDX-License-Identifier: MIT */
/*
 * Rings as wholes: creation, attaching, removal, ownership, handing over; also by creators that
 * race or are killed.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/shm.h>
#include <sys/socket.h>

#include "support.h"

TestSuite(rings, .fini = test_cleanup, .timeout = 60);

Test(rings, of_every_backend_and_kind_carry_records)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct quoit_info info;
			struct test_ring r;
			struct quoit *q;

			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_attach(r.name, NULL, &q), 0, "%s", r.name);
			info = test_info(q);
			cr_expect_eq(info.backend, test_backends[i]);
			cr_expect_eq(info.kind, test_kinds[k]);
			cr_expect_geq(info.segment_size, info.capacity);
			cr_expect_eq(info.creator_pid, getpid());
			cr_expect_eq(info.uid, geteuid());
			cr_expect_eq(info.gid, getegid());
			cr_expect_gt(info.created_ns, UINT64_C(1600000000000000000));
			cr_expect_geq(info.version, 1);
			cr_expect(test_backends[i] == QUOIT_SYSV ? info.sysv_id >= 0
								 : info.sysv_id == -1);
			cr_expect(test_carries_a_record(q), "%s %s",
				  quoit_backend_name(test_backends[i]),
				  quoit_kind_name(test_kinds[k]));
			quoit_detach(q);
			test_ring_drop(&r);
		}
	}
}

Test(rings, that_are_not_there_give_enoent)
{
	struct quoit *q = NULL;

	for (unsigned i = 0; i < 3; i++) {
		const char *name = test_name(test_backends[i]);

		cr_expect_eq(quoit_attach(name, NULL, &q), -ENOENT, "%s", name);
		cr_expect_eq(quoit_remove(name), -ENOENT, "%s", name);
		cr_expect_eq(quoit_chmod(name, 0600), -ENOENT, "%s", name);
		cr_expect_eq(quoit_chown(name, (uid_t)-1, (gid_t)-1), -ENOENT, "%s", name);
	}
	cr_expect_eq(quoit_create("file:/tmp/no-such-folder-qtest/ring", NULL, &q), -ENOENT);
	cr_expect_null(q);
}

Test(rings, a_closed_descriptor_is_no_ring)
{
	struct quoit *q = NULL;

	cr_expect_eq(quoit_attach("fd:19999", NULL, &q), -EBADF);
	cr_expect_null(q);
}

Test(rings, are_listed_under_their_name_until_removed_and_the_name_is_free_at_once)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;
		struct quoit *q = NULL;

		test_ring_make(&r, test_backends[i], &opt);
		cr_assert_eq(quoit_create(r.made, NULL, &q), -EEXIST);
		cr_assert_eq(quoit_remove(r.made), 0);
		cr_assert_eq(quoit_attach(r.made, NULL, &q), -ENOENT);
		cr_assert_eq(quoit_create(r.made, NULL, &q), 0, "the old one is still mapped");
		cr_expect_arr_neq(test_info(q).uuid, test_info(r.q).uuid, 16);
		quoit_detach(q);
		test_ring_drop(&r);
	}
}

Test(rings, files_that_are_no_ring_give_eproto)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 65536};
	char path[] = "/tmp/qtest-garbage-XXXXXX", name[64];
	int fd = mkstemp(path);
	char garbage[65536];

	cr_assert_geq(fd, 0);
	snprintf(name, sizeof(name), "file:%s", path);
	for (unsigned fill = 0; fill < 2; fill++) {
		memset(garbage, fill == 0 ? 0 : 'x', sizeof(garbage));
		for (unsigned i = 0; i < TEST_COUNT(sizes); i++) {
			struct quoit *q = NULL;

			cr_assert_eq(ftruncate(fd, 0), 0);
			cr_assert_eq(pwrite(fd, garbage, sizes[i], 0), (ssize_t)sizes[i]);
			cr_expect_eq(quoit_attach(name, NULL, &q), -EPROTO, "%zu bytes of %d",
				     sizes[i], garbage[0]);
			cr_expect_null(q);
		}
	}
	close(fd);
	unlink(path);
}

Test(rings, a_truncated_copy_gives_eproto)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct quoit *q = NULL;
	struct test_ring r;
	uint64_t size;

	test_ring_make(&r, QUOIT_FILE, &opt);
	size = test_info(r.q).segment_size;
	quoit_detach(r.q);
	cr_assert_eq(truncate(r.made + strlen("file:"), (off_t)size / 2), 0);
	cr_expect_eq(quoit_attach(r.made, NULL, &q), -EPROTO);
	cr_expect_null(q);
	cr_expect_eq(quoit_remove(r.made), 0, "it can be removed all the same");
}

Test(rings, a_foreign_system_v_segment_is_no_ring)
{
	const char *name = test_name(QUOIT_SYSV);
	struct quoit_options opt = {.size = sizeof(opt), .attach_timeout_ms = 100};
	key_t key = (key_t)strtoul(name + strlen("sysv:"), NULL, 16);
	int id = shmget(key, 65536, IPC_CREAT | IPC_EXCL | 0600);
	struct quoit *q = NULL;
	char *base;
	int result;

	cr_assert_geq(id, 0);
	base = shmat(id, NULL, 0);
	memset(base, 'x', 65536);
	shmdt(base);
	result = quoit_attach(name, &opt, &q);
	cr_expect_eq(result, -EPROTO, "%d", result);
	cr_expect_null(q);
	shmctl(id, IPC_RMID, NULL);
}

Test(rings, chmod_changes_the_permission_bits)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;

		test_ring_make(&r, test_backends[i], &opt);
		cr_expect_eq(quoit_chmod(r.made, 0640), 0);
		cr_expect_eq(test_info(r.q).mode, 0640, "an attached handle sees it too");
		cr_expect_eq(quoit_chmod(r.made, 01640), -EINVAL);
		cr_expect_eq(test_info(r.q).mode, 0640);
		test_ring_drop(&r);
	}
}

Test(rings, chown_changes_owner_and_group_or_keeps_them)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;

		test_ring_make(&r, test_backends[i], &opt);
		cr_expect_eq(quoit_chown(r.made, (uid_t)-1, (gid_t)-1), 0);
		cr_expect_eq(quoit_chown(r.made, geteuid(), getegid()), 0);
		cr_expect_eq(test_info(r.q).uid, geteuid());
		if (geteuid() == 0) {
			cr_expect_eq(quoit_chown(r.made, 65534, (gid_t)-1), 0);
			cr_expect_eq(test_info(r.q).uid, 65534);
			cr_expect_eq(test_info(r.q).gid, getegid());
			cr_expect_eq(quoit_chown(r.made, (uid_t)-1, 65533), 0);
			cr_expect_eq(test_info(r.q).uid, 65534);
			cr_expect_eq(test_info(r.q).gid, 65533);
		} else {
			/* System V lets owners give away what is theirs, file systems do not. */
			cr_expect_eq(quoit_chown(r.made, 0, (gid_t)-1),
				     test_backends[i] == QUOIT_SYSV ? 0 : -EPERM);
		}
		test_ring_drop(&r);
	}
}

static int attach_as_nobody(void *arg)
{
	const struct quoit_options readonly = {.size = sizeof(readonly), .flags = QUOIT_READONLY};
	struct quoit *q = NULL;

	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHILD_CHECK(quoit_attach(arg, NULL, &q) == -EACCES);
	CHILD_CHECK(quoit_attach(arg, &readonly, &q) == -EACCES);
	CHILD_CHECK(q == NULL);
	return 0;
}

static int observe_as_nobody(void *arg)
{
	const struct quoit_options readonly = {.size = sizeof(readonly), .flags = QUOIT_READONLY};
	struct quoit *q = NULL;
	int removed;

	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHILD_CHECK(quoit_attach(arg, NULL, &q) == -EACCES);
	CHILD_CHECK(quoit_attach(arg, &readonly, &q) == 0);
	CHILD_CHECK(test_info(q).mode == 0644);
	removed = quoit_remove(arg);
	CHILD_CHECK(removed == -EACCES || removed == -EPERM);
	return 0;
}

Test(rings, of_another_user_give_eacces_unless_the_mode_allows_it)
{
	if (geteuid() != 0)
		cr_skip("needs root, to become another user");
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;

		test_ring_make(&r, test_backends[i], &opt);
		cr_expect_eq(test_wait(test_spawn(attach_as_nobody, r.name)), 0, "%s", r.name);
		cr_expect_eq(quoit_chmod(r.made, 0644), 0);
		cr_expect_eq(test_wait(test_spawn(observe_as_nobody, r.name)), 0, "%s", r.name);
		test_ring_drop(&r);
	}
}

Test(rings, have_a_descriptor_unless_they_are_system_v)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;
		int fd;

		test_ring_make(&r, test_backends[i], &opt);
		fd = quoit_fd(r.q);
		if (test_backends[i] == QUOIT_SYSV) {
			cr_expect_eq(fd, -ENOTSUP);
		} else {
			cr_expect_geq(fd, 0);
			cr_expect_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		}
		test_ring_drop(&r);
	}
}

Test(rings, in_a_memfd_cannot_be_shrunk_or_grown)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_ring r;

	test_ring_make(&r, QUOIT_MEMFD, &opt);
	cr_expect_eq(fcntl(quoit_fd(r.q), F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
		     F_SEAL_SHRINK | F_SEAL_GROW);
	cr_expect_neq(ftruncate(quoit_fd(r.q), 0), 0);
	test_ring_drop(&r);
}

/* A process that shares nothing with us but a socket. */
static int receive_ring(void *arg)
{
	int socket = *(int *)arg;
	struct quoit *q;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t word;
	struct timespec deadline = quoit_deadline_ms(5000);

	CHILD_CHECK(quoit_recv_ring(socket, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	CHILD_CHECK(quoit_recv(c, &word, sizeof(word), &msg, &deadline) == 1);
	CHILD_CHECK(word == 4711);
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

Test(rings, are_handed_over_a_unix_socket)
{
	static const enum quoit_backend with_fd[] = {QUOIT_MEMFD, QUOIT_FILE, QUOIT_SHM};

	for (unsigned i = 0; i < TEST_COUNT(with_fd); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct timespec deadline;
		struct quoit_producer *p;
		struct test_ring r;
		uint64_t word = 4711;
		int pair[2];
		pid_t pid;

		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		pid = test_spawn(receive_ring, &pair[1]);
		close(pair[1]);
		test_ring_make(&r, with_fd[i], &opt);
		cr_assert_eq(quoit_send_ring(pair[0], r.q), 0);
		cr_assert_eq(quoit_producer_open(r.q, &p), 0);
		cr_expect_eq(quoit_send(p, &word, sizeof(word), 0, NULL), 0);
		deadline = quoit_deadline_ms(5000);
		cr_expect_eq(quoit_drain(p, &deadline), 0);
		cr_expect_eq(test_wait(pid), 0, "%s", quoit_backend_name(with_fd[i]));
		quoit_producer_close(p);
		close(pair[0]);
		test_ring_drop(&r);
	}
}

Test(rings, in_system_v_memory_cannot_be_handed_over)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_ring r;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	test_ring_make(&r, QUOIT_SYSV, &opt);
	cr_expect_eq(quoit_send_ring(pair[0], r.q), -ENOTSUP);
	close(pair[0]);
	close(pair[1]);
	test_ring_drop(&r);
}

Test(rings, a_socket_that_brings_no_ring_gives_an_error)
{
	struct quoit *q = NULL;
	int pair[2], result;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cr_assert_eq(write(pair[0], "hello", 5), 5);
	result = quoit_recv_ring(pair[1], NULL, &q);
	cr_expect_eq(result, -EPROTO, "bytes without a descriptor: %d", result);
	close(pair[0]);
	result = quoit_recv_ring(pair[1], NULL, &q);
	cr_expect_lt(result, 0, "a closed socket");
	cr_expect_null(q);
	close(pair[1]);
}

Test(rings, detach_of_null_is_allowed)
{
	quoit_detach(NULL);
	quoit_producer_close(NULL);
	quoit_consumer_close(NULL);
}

Test(rings, full_shared_memory_gives_enospc_at_create)
{
	struct quoit_options opt = {.size = sizeof(opt), .capacity = UINT64_C(1) << 40};
	struct test_ring r;
	int result;

	/* A tebibyte is more than any test machine's /dev/shm. */
	result = test_ring_try(&r, QUOIT_SHM, &opt);
	cr_expect_eq(result, -ENOSPC, "%d", result);
	if (result == 0)
		test_ring_drop(&r);
}

struct create_loop {
	const char *name;
	_Atomic uint32_t *rounds;
};

static int create_and_remove_for_ever(void *arg)
{
	struct create_loop *loop = arg;
	struct quoit *q;
	int result;

	for (;;) {
		result = quoit_create(loop->name, NULL, &q);
		CHILD_CHECK(result == 0);
		quoit_detach(q);
		CHILD_CHECK(quoit_remove(loop->name) == 0);
		atomic_fetch_add(loop->rounds, 1);
	}
}

Test(rings, a_creator_killed_at_any_moment_hinders_nobody)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned round = 0; round < 60; round++) {
			struct create_loop loop = {.name = test_name(test_backends[i]),
						   .rounds = test_shared(4096)};
			pid_t pid = test_spawn(create_and_remove_for_ever, &loop);
			struct quoit *q;
			int result;

			while (atomic_load(loop.rounds) == 0)
				cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "the creator failed");
			test_spin_ns(test_random_below(&seed, 300000));
			test_kill(pid);
			result = quoit_create(loop.name, NULL, &q);
			if (result == -EEXIST) {
				/* Killed between the two: the ring is whole. */
				cr_assert_eq(quoit_attach(loop.name, NULL, &q), 0);
			} else {
				cr_assert_eq(result, 0, "%s: %s", loop.name,
					     quoit_strerror(result));
			}
			cr_assert(test_carries_a_record(q));
			quoit_detach(q);
			cr_assert_eq(quoit_remove(loop.name), 0);
			test_forget(loop.name);
			munmap(loop.rounds, 4096);
		}
	}
}

struct race {
	const char *name;
	_Atomic uint32_t *ready;
	_Atomic uint32_t *made;
};

static int race_to_create(void *arg)
{
	struct race *race = arg;
	struct quoit *q;
	int result;

	atomic_fetch_add(race->ready, 1);
	while (atomic_load(race->ready) < 4)
		;
	result = quoit_create(race->name, NULL, &q);
	if (result == -EEXIST)
		result = quoit_attach(race->name, NULL, &q);
	else if (result == 0)
		atomic_fetch_add(race->made, 1);
	if (result != 0)
		fprintf(stderr, "%s: %s\n", race->name, quoit_strerror(result));
	CHILD_CHECK(result == 0);
	return 0;
}

Test(rings, of_racing_creators_exactly_one_wins_and_the_others_attach)
{
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned round = 0; round < 25; round++) {
			_Atomic uint32_t *shared = test_shared(4096);
			struct race race = {test_name(test_backends[i]), shared, shared + 1};
			pid_t pids[4];

			for (unsigned j = 0; j < 4; j++)
				pids[j] = test_spawn(race_to_create, &race);
			for (unsigned j = 0; j < 4; j++)
				cr_assert_eq(test_wait(pids[j]), 0);
			cr_assert_eq(atomic_load(race.made), 1);
			cr_assert_eq(quoit_remove(race.name), 0);
			test_forget(race.name);
			munmap(shared, 4096);
		}
	}
}
