/* SPDX-License-Identifier: MIT */
/* Names of segments: what is one, what is none, and how it is written canonically. */
#include <criterion/criterion.h>
#include <limits.h>
#include <sys/ipc.h>

#include "segment_support.h"

Test(segment_names, have_a_canonical_form)
{
	static const struct {
		const char *text, *canonical, *path;
		enum quoit_backend backend;
	} cases[] = {
		{"orders", "shm:orders", "/dev/shm/quoit.orders", QUOIT_SHM},
		{"shm:orders", "shm:orders", "/dev/shm/quoit.orders", QUOIT_SHM},
		{"shm:a:b c", "shm:a:b c", "/dev/shm/quoit.a:b c", QUOIT_SHM},
		{"...", "shm:...", "/dev/shm/quoit....", QUOIT_SHM},
		{"sysv", "shm:sysv", "/dev/shm/quoit.sysv", QUOIT_SHM},
		{"file:/x/y", "file:/x/y", "/x/y", QUOIT_FILE},
		{"file:/y", "file:/y", "/y", QUOIT_FILE},
		{"file:/x,1:#", "file:/x,1:#", "/x,1:#", QUOIT_FILE},
		{"file:y", "file:/y", "y", QUOIT_FILE},
		{"file:././/x/y", "file:/x/y", "././/x/y", QUOIT_FILE},
		{"memfd:m", "memfd:m", "quoit.m", QUOIT_MEMFD},
		{"/proc/12/fd/3", "/proc/12/fd/3", "/proc/12/fd/3", QUOIT_MEMFD},
		{"fd:0", "fd:0", "", QUOIT_MEMFD},
		{"fd:2147483647", "fd:2147483647", "", QUOIT_MEMFD},
		{"sysv:0xA", "sysv:0x0000000a", "", QUOIT_SYSV},
		{"sysv:0xffffffff", "sysv:0xffffffff", "", QUOIT_SYSV},
		{"sysv:010", "sysv:0x0000000a", "", QUOIT_SYSV},
		{"sysv:4294967295", "sysv:0xffffffff", "", QUOIT_SYSV},
		{"sysv:private", "sysv:private", "", QUOIT_SYSV},
		{"sysv:#0", "sysv:#0", "", QUOIT_SYSV},
		{"sysv:#2147483647", "sysv:#2147483647", "", QUOIT_SYSV},
	};

	cr_assert_eq(chdir("/"), 0);
	for (unsigned i = 0; i < TEST_COUNT(cases); i++) {
		struct quoit__name n;

		cr_assert_eq(quoit__name_parse(cases[i].text, &n), 0, "%s", cases[i].text);
		cr_expect_eq(n.backend, cases[i].backend, "%s", cases[i].text);
		cr_expect_str_eq(n.canonical, cases[i].canonical);
		cr_expect_str_eq(n.path, cases[i].path);
	}
}

Test(segment_names, carry_their_numbers)
{
	struct quoit__name n;

	n = seg_parse("sysv:0x51554f49");
	cr_expect_eq(n.key, 0x51554f49u);
	cr_expect_eq(n.id, -1);
	cr_expect_not(n.is_private);
	n = seg_parse("sysv:#77");
	cr_expect_eq(n.id, 77);
	n = seg_parse("sysv:private");
	cr_expect(n.is_private);
	cr_expect_eq(n.id, -1);
	cr_expect_eq(n.key, 0);
	n = seg_parse("fd:12");
	cr_expect_eq(n.fd, 12);
	n = seg_parse("shm:12");
	cr_expect_eq(n.fd, -1);
}

Test(segment_names, that_are_none_give_einval_and_leave_the_result_alone)
{
	static const char *const none[] = {
		"",
		"shm:",
		"a/b",
		"shm:a/b",
		"/a",
		".",
		"..",
		"shm:..",
		"a\nb",
		"shm:\x7f",
		"bogus:x",
		"sys:0x1",
		":",
		"file:",
		"file:/",
		"file:/x/",
		"file:/x/.",
		"file:..",
		"file:a\tb",
		"memfd:",
		"memfd:a/b",
		"fd:",
		"fd:-1",
		"fd:x",
		"fd:1x",
		"fd: 1",
		"fd:2147483648",
		"fd:01",
		"/proc/self/fd/3",
		"/proc/1/fd/",
		"/proc/1/fd/3/",
		"/proc/1/fd/-3",
		"/proc//fd/3",
		"/proc/1/maps",
		"sysv:",
		"sysv:0",
		"sysv:0x0",
		"sysv:-1",
		"sysv:+1",
		"sysv: 1",
		"sysv:1 ",
		"sysv:0x",
		"sysv:x",
		"sysv:1x",
		"sysv:fff",
		"sysv:#",
		"sysv:#-1",
		"sysv:#x",
		"sysv:Private",
		"sysv:/,",
		"sysv:/,0",
		"sysv:/,256",
		"sysv:/,ab",
		"sysv:,1",
		"sysv:/,-1",
		"sysv:0x100000000",
		"sysv:4294967296",
		"sysv:#2147483648",
		"sysv:99999999999999999999999999",
	};

	for (unsigned i = 0; i < TEST_COUNT(none); i++) {
		struct quoit__name n = {.fd = 4711};

		cr_expect_eq(quoit__name_parse(none[i], &n), -EINVAL, "'%s'", none[i]);
		cr_expect_eq(n.fd, 4711);
	}
}

Test(segment_names, that_are_too_long_say_so)
{
	static const struct {
		const char *prefix;
		size_t longest;
	} cases[] = {{"", 200}, {"shm:", 200}, {"memfd:", 200}, {"file:/", QUOIT_NAME_MAX - 1 - 6}};
	char text[1024];

	for (unsigned i = 0; i < TEST_COUNT(cases); i++) {
		size_t n = strlen(cases[i].prefix);
		struct quoit__name name;

		memset(text, 'x', sizeof(text));
		memcpy(text, cases[i].prefix, n);
		text[n + cases[i].longest] = '\0';
		cr_expect_eq(quoit__name_parse(text, &name), 0, "%s", text);
		memset(text + n, 'x', cases[i].longest + 1);
		text[n + cases[i].longest + 1] = '\0';
		cr_expect_eq(quoit__name_parse(text, &name), -ENAMETOOLONG, "%s", text);
	}
}

Test(segment_names, of_files_become_absolute)
{
	char cwd[PATH_MAX], expected[PATH_MAX + 16];

	cr_assert_eq(chdir("/tmp"), 0);
	cr_assert_not_null(getcwd(cwd, sizeof(cwd)));
	snprintf(expected, sizeof(expected), "file:%s/a/../b", cwd);
	cr_expect_str_eq(seg_parse("file:a/../b").canonical, expected);
	cr_expect_str_eq(seg_parse("file:a/../b").path, "a/../b");
}

Test(segment_names, of_a_path_and_an_id_are_keys_of_ftok)
{
	struct quoit__name n;

	n = seg_parse("sysv:/etc,q");
	cr_expect_eq(n.key, (uint32_t)ftok("/etc", 'q'));
	cr_expect_eq(strncmp(n.canonical, "sysv:0x71", 9), 0, "%s", n.canonical);
	cr_expect_eq(seg_parse("sysv:/etc,7").key, (uint32_t)ftok("/etc", 7));
	cr_expect_eq(seg_parse("sysv:/etc,255").key, (uint32_t)ftok("/etc", 255));
	cr_expect_eq(seg_parse("sysv:/etc,0x10").key, (uint32_t)ftok("/etc", 16));
	cr_expect_eq(quoit__name_parse("sysv:/no/such/path,1", &n), -ENOENT);
	cr_expect_eq(quoit__name_parse("sysv:/etc/passwd/x,1", &n), -ENOTDIR);
}
