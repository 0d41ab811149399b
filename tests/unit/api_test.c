/* SPDX-License-Identifier: MIT */
/* Names of rings in all their spellings, and the small helpers. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/ipc.h>

#include "support.h"

TestSuite(names, .fini = test_cleanup, .timeout = 30);
TestSuite(helpers, .timeout = 10);

/* Create under one name, attach under another, see that it is the same ring. */
static void expect_same_ring(const char *create, const char *attach)
{
	struct quoit *a, *b;
	int result = quoit_create(create, NULL, &a);

	cr_assert_eq(result, 0, "create %s: %d", create, result);
	result = quoit_attach(attach, NULL, &b);
	cr_assert_eq(result, 0, "attach %s: %d", attach, result);
	cr_expect_arr_eq(test_info(a).uuid, test_info(b).uuid, 16);
	cr_expect_str_eq(test_info(a).name, test_info(b).name);
	cr_expect(test_carries_a_record(b));
	quoit_detach(a);
	quoit_detach(b);
	cr_expect_eq(quoit_remove(attach), 0);
}

Test(names, a_bare_name_is_posix_shared_memory)
{
	const char *name = test_name(QUOIT_SHM);

	expect_same_ring(name + strlen("shm:"), name);
	expect_same_ring(name, name + strlen("shm:"));
}

Test(names, system_v_keys_are_hex_decimal_or_from_ftok)
{
	char path[64] = "/tmp/qtest-ftok-XXXXXX", ftok_name[96], hex[32], decimal[32];
	unsigned key = (unsigned)(test_random_seed() & 0x7fffffff) | 1;
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	snprintf(hex, sizeof(hex), "sysv:0x%x", key);
	snprintf(decimal, sizeof(decimal), "sysv:%u", key);
	expect_same_ring(hex, decimal);
	snprintf(ftok_name, sizeof(ftok_name), "sysv:%s,7", path);
	snprintf(hex, sizeof(hex), "sysv:0x%08x", (unsigned)ftok(path, 7));
	expect_same_ring(ftok_name, hex);
	close(fd);
	unlink(path);
}

Test(names, a_private_system_v_ring_is_attached_to_by_its_identifier)
{
	struct quoit_info info;
	struct quoit *a, *b;
	char by_id[32];

	cr_assert_eq(quoit_create("sysv:private", NULL, &a), 0);
	info = test_info(a);
	cr_expect_geq(info.sysv_id, 0);
	snprintf(by_id, sizeof(by_id), "sysv:#%d", info.sysv_id);
	cr_assert_eq(quoit_attach(by_id, NULL, &b), 0);
	cr_expect_arr_eq(test_info(b).uuid, info.uuid, 16);
	quoit_detach(b);
	cr_assert_eq(quoit_attach(info.name, NULL, &b), 0, "the canonical name %s attaches",
		     info.name);
	cr_expect(test_carries_a_record(b));
	quoit_detach(b);
	quoit_detach(a);
	cr_expect_eq(quoit_remove(by_id), 0);
	cr_expect_eq(quoit_attach(by_id, NULL, &b), -ENOENT);
}

Test(names, a_file_ring_has_its_absolute_path_as_canonical_name)
{
	char relative[64], wanted[96];
	struct quoit *a, *b;

	cr_assert_eq(chdir("/tmp"), 0);
	snprintf(relative, sizeof(relative), "file:qtest-rel-%d", getpid());
	snprintf(wanted, sizeof(wanted), "file:/tmp/qtest-rel-%d", getpid());
	cr_assert_eq(quoit_create(relative, NULL, &a), 0);
	cr_expect_str_eq(test_info(a).name, wanted);
	cr_assert_eq(chdir("/"), 0);
	cr_assert_eq(quoit_attach(wanted, NULL, &b), 0);
	quoit_detach(a);
	quoit_detach(b);
	cr_expect_eq(quoit_remove(wanted), 0);
}

Test(names, a_descriptor_names_the_ring_behind_it_and_stays_the_callers)
{
	static const enum quoit_backend with_fd[] = {QUOIT_MEMFD, QUOIT_FILE, QUOIT_SHM};

	for (unsigned i = 0; i < TEST_COUNT(with_fd); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;
		char name[32];
		struct quoit *q;
		int fd;

		test_ring_make(&r, with_fd[i], &opt);
		fd = dup(quoit_fd(r.q));
		snprintf(name, sizeof(name), "fd:%d", fd);
		cr_assert_eq(quoit_attach(name, NULL, &q), 0);
		cr_expect(test_carries_a_record(q));
		cr_expect_neq(quoit_fd(q), fd);
		quoit_detach(q);
		cr_expect_geq(fcntl(fd, F_GETFD), 0, "attaching does not take the descriptor");
		close(fd);
		test_ring_drop(&r);
	}
}

Test(names, that_are_none_are_refused)
{
	static const char *const bad[] = {
		"",          "shm:",    "sysv:",       "file:",  "nosuch:x",
		"sysv:0xzz", "sysv:-1", "sysv:1,2,3x", "fd:",    "fd:x",
		"fd:-1",     "shm:a/b", "a/b",         "shm:..", "sysv:0x1ffffffff"};

	for (unsigned i = 0; i < TEST_COUNT(bad); i++) {
		struct quoit *q = NULL;
		int result = quoit_attach(bad[i], NULL, &q);

		cr_expect(result == -EINVAL || result == -ENOENT, "attach '%s': %d", bad[i],
			  result);
		cr_expect_null(q);
		if (strncmp(bad[i], "sysv:1,2", 8) == 0)
			continue; /* a path that is not there */
		result = quoit_create(bad[i], NULL, &q);
		cr_expect_eq(result, -EINVAL, "create '%s': %d", bad[i], result);
		cr_expect_null(q);
	}
}

Test(names, null_is_refused)
{
	struct quoit *q = NULL;

	cr_expect_eq(quoit_create(NULL, NULL, &q), -EINVAL);
	cr_expect_eq(quoit_attach(NULL, NULL, &q), -EINVAL);
	cr_expect_eq(quoit_remove(NULL), -EINVAL);
}

Test(names, too_long_a_name_gives_enametoolong)
{
	char name[QUOIT_NAME_MAX + 300];
	struct quoit *q = NULL;

	memset(name, 'x', sizeof(name));
	memcpy(name, "shm:", 4);
	name[sizeof(name) - 1] = '\0';
	cr_expect_eq(quoit_create(name, NULL, &q), -ENAMETOOLONG);
	cr_expect_eq(quoit_attach(name, NULL, &q), -ENAMETOOLONG);
	cr_expect_eq(quoit_remove(name), -ENAMETOOLONG);
	cr_expect_null(q);
}

Test(helpers, names_of_kinds_waits_and_backends_go_both_ways)
{
	static const char *const waits[] = {"spin", "yield", "futex", "sem", "sysvsem", "eventfd"};
	static const char *const backends[] = {"shm", "sysv", "file", "memfd"};

	cr_expect_str_eq(quoit_kind_name(QUOIT_SPSC), "spsc");
	cr_expect_str_eq(quoit_kind_name(QUOIT_MPMC), "mpmc");
	cr_expect_null(quoit_kind_name((enum quoit_kind)3));
	cr_expect_eq(quoit_kind_from_name("spsc"), QUOIT_SPSC);
	cr_expect_eq(quoit_kind_from_name("mpmc"), QUOIT_MPMC);
	cr_expect_eq(quoit_kind_from_name("SPSC2"), -EINVAL);
	cr_expect_eq(quoit_kind_from_name(""), -EINVAL);
	for (unsigned i = 0; i < TEST_COUNT(test_waits); i++) {
		cr_expect_str_eq(quoit_wait_name(test_waits[i]), waits[i]);
		cr_expect_eq(quoit_wait_from_name(waits[i]), (int)test_waits[i]);
	}
	cr_expect_null(quoit_wait_name((enum quoit_wait)7));
	cr_expect_eq(quoit_wait_from_name("sleep"), -EINVAL);
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		cr_expect_str_eq(quoit_backend_name(test_backends[i]), backends[i]);
	cr_expect_null(quoit_backend_name((enum quoit_backend)5));
}

Test(helpers, every_documented_error_has_its_own_sentence_without_a_full_stop)
{
	static const int errors[] = {EINVAL, EAGAIN,   ETIMEDOUT, EINTR,       EPIPE,  EOWNERDEAD,
				     EIDRM,  EBADMSG,  EPROTO,    EBADF,       EEXIST, ENOSPC,
				     EACCES, EPERM,    ENOENT,    ENOMEM,      E2BIG,  EBUSY,
				     EMFILE, EMSGSIZE, ENOTSUP,   ENAMETOOLONG};

	for (unsigned i = 0; i < TEST_COUNT(errors); i++) {
		const char *text = quoit_strerror(-errors[i]);

		cr_assert_not_null(text);
		cr_expect_gt(strlen(text), 3);
		cr_expect_neq(text[strlen(text) - 1], '.', "%s", text);
		for (unsigned j = 0; j < i; j++)
			cr_expect_str_neq(text, quoit_strerror(-errors[j]));
	}
	cr_expect_not_null(quoit_strerror(-12345));
	cr_expect_not_null(quoit_strerror(0));
}

Test(helpers, the_version_is_the_headers)
{
	char expected[32];

	snprintf(expected, sizeof(expected), "%d.%d.%d", QUOIT_VERSION_MAJOR, QUOIT_VERSION_MINOR,
		 QUOIT_VERSION_PATCH);
	cr_expect_str_eq(quoit_version(), expected);
}

static int64_t deadline_ns(uint32_t ms)
{
	struct timespec ts = quoit_deadline_ms(ms);

	cr_assert(ts.tv_nsec >= 0 && ts.tv_nsec < 1000000000);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

Test(helpers, deadlines_are_that_many_milliseconds_from_now)
{
	static const uint32_t cases[] = {0, 1, 999, 1000, 1001, 123456789, INT32_MAX};

	for (unsigned i = 0; i < TEST_COUNT(cases); i++) {
		int64_t before = test_now_ns();
		int64_t deadline = deadline_ns(cases[i]);
		int64_t after = test_now_ns();

		cr_expect_geq(deadline, before + (int64_t)cases[i] * 1000000);
		cr_expect_leq(deadline, after + (int64_t)cases[i] * 1000000);
	}
}
