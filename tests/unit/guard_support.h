/* SPDX-License-Identifier: MIT */
/* What the tests of the SIGBUS guard share: rings whose file is cut off. */
#ifndef QUOIT_TESTS_GUARD_SUPPORT_H
#define QUOIT_TESTS_GUARD_SUPPORT_H

#include <criterion/criterion.h>

#include "support.h"

static const enum quoit_backend guard_files[] = {QUOIT_SHM, QUOIT_FILE};
/* What is left of a ring: nothing, its first page, a page of data too. */
static const off_t guard_cuts[] = {0, 4096, 8192};

static inline void guard_cut(const struct test_ring *r, off_t size)
{
	MUST(ftruncate(quoit_fd(r->q), size) == 0);
}

/* As test_ring_drop(), of one that is no ring any more: a file like that is left alone. */
static inline void guard_drop(struct test_ring *r)
{
	char path[QUOIT_NAME_MAX];
	bool file = strncmp(r->name, "file:", 5) == 0;

	snprintf(path, sizeof(path), "%s", r->name + 5);
	quoit_detach(r->q);
	if (file)
		MUST(unlink(path) == 0);
	else
		MUST(quoit_remove(r->made) == 0);
	test_forget(r->made);
}

static inline struct quoit_options guard_options(enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);

	opt.capacity = 65536;
	opt.slot_size = 1000;
	opt.peers = 8;
	return opt;
}

/* Run `fn` for each kind of ring and backend, and each way to cut it. */
static inline void guard_each_cut(void (*fn)(struct test_ring *r, off_t size, const char *what))
{
	for (unsigned i = 0; i < TEST_COUNT(guard_files); i++)
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++)
			for (unsigned n = 0; n < TEST_COUNT(guard_cuts); n++) {
				struct quoit_options opt = guard_options(test_kinds[k]);
				struct test_ring r;
				char what[64];

				snprintf(what, sizeof(what), "%s %s cut to %ld",
					 quoit_backend_name(guard_files[i]),
					 quoit_kind_name(test_kinds[k]), (long)guard_cuts[n]);
				test_ring_make(&r, guard_files[i], &opt);
				fn(&r, guard_cuts[n], what);
				guard_drop(&r);
			}
}

#endif
