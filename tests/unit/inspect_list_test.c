/* SPDX-License-Identifier: MIT */
/* Finding the rings of the machine. */
#include "tests/unit/inspect_support.h"

TestSuite(list, .fini = test_cleanup, .timeout = 60);

struct wanted {
	const struct quoit_info *info;
	struct quoit_found found;
	char name[PATH_MAX];
	unsigned times;
};

static int look_for(void *arg, const struct quoit_found *f)
{
	struct wanted *w = arg;

	if (f->status == 0 && memcmp(f->info.uuid, w->info->uuid, sizeof(w->info->uuid)) == 0) {
		w->times++;
		w->found = *f;
		snprintf(w->name, sizeof(w->name), "%s", f->name);
	}
	return 0;
}

/* Another process can attach by that name, and take what is there. */
static int take_by_name(void *arg)
{
	struct quoit_consumer *c;
	struct quoit_msg msg;
	char buf[4096];
	struct quoit *q;

	CHILD_CHECK(quoit_attach(arg, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	CHILD_CHECK(quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT) == 1);
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

Test(list, finds_rings_of_every_backend_once_by_a_name_that_can_be_attached_to)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		struct quoit_info info;
		struct wanted w = {.info = &info};
		struct quoit_inspect *v;
		struct test_rig rig;

		open_filled(&rig, test_backends[b], QUOIT_MPMC);
		info = test_info(rig.r.q);
		cr_assert_eq(quoit_list(look_for, &w), 0);
		cr_assert_eq(w.times, 1, "%s: %u times", rig.r.name, w.times);
		cr_expect_eq(w.found.alive, 2);
		cr_expect_eq(w.found.dead, 0);
		cr_expect_eq(w.found.stale, 0);
		cr_expect_eq(w.found.stats.used, 5);
		if (test_backends[b] != QUOIT_MEMFD)
			cr_expect_str_eq(w.name, info.name);
		v = view(w.name);
		quoit_inspect_close(v);
		cr_expect_eq(test_wait(test_spawn(take_by_name, w.name)), 0, "%s", w.name);
		test_rig_close(&rig);
		w.times = 0;
		cr_assert_eq(quoit_list(look_for, &w), 0);
		cr_expect_eq(w.times, 0, "%s is still there", w.name);
	}
}

Test(list, marks_a_ring_stale_whose_endpoints_are_all_dead)
{
	struct quoit_options o = small(QUOIT_SPSC);
	struct quoit_info info;
	struct wanted w = {.info = &info};
	struct test_ring r;

	test_ring_make(&r, QUOIT_SHM, &o);
	info = test_info(r.q);
	cr_assert_eq(test_wait(test_spawn(hold_and_wait, r.name)), 128 + SIGKILL);
	cr_assert_eq(quoit_list(look_for, &w), 0);
	cr_assert_eq(w.times, 1);
	cr_expect_eq(w.found.alive, 0);
	cr_expect_eq(w.found.dead, 2);
	cr_expect_eq(w.found.stale, 1);
	test_ring_drop(&r);
}

static int stop_at_once(void *arg, const struct quoit_found *f)
{
	(void)f;
	++*(int *)arg;
	return 42;
}

Test(list, ends_when_the_caller_has_had_enough)
{
	struct quoit_options o = small(QUOIT_SPSC);
	struct test_ring a, b;
	int calls = 0;

	test_ring_make(&a, QUOIT_SHM, &o);
	test_ring_make(&b, QUOIT_SYSV, &o);
	cr_expect_eq(quoit_list(stop_at_once, &calls), 42);
	cr_expect_eq(calls, 1);
	test_ring_drop(&a);
	test_ring_drop(&b);
}
