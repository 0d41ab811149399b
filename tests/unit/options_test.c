/* SPDX-License-Identifier: MIT */
/*
 * The options of quoit_create() and quoit_attach(): defaults, limits, rounding, and the rules of
 * the leading size that let old programs run with new libraries and the other way round.
 */
#include <criterion/criterion.h>
#include <sys/stat.h>

#include "support.h"

TestSuite(options, .fini = test_cleanup, .timeout = 30);

/* A newer caller's struct: fields behind those that this library knows. */
struct longer_options {
	struct quoit_options known;
	uint64_t later[4];
};

static int create_with(const struct quoit_options *opt)
{
	struct test_ring r;
	int result = test_ring_try(&r, QUOIT_MEMFD, opt);

	if (result == 0)
		test_ring_drop(&r);
	return result;
}

Test(options, null_gives_an_spsc_ring_of_one_mebibyte_that_waits_on_futexes)
{
	const char *name = test_name(QUOIT_SHM);
	struct quoit_info info;
	struct quoit *q;

	cr_assert_eq(quoit_create(name, NULL, &q), 0);
	info = test_info(q);
	cr_expect_eq(info.kind, QUOIT_SPSC);
	cr_expect_eq(info.wait, QUOIT_WAIT_FUTEX);
	cr_expect_eq(info.capacity, UINT64_C(1) << 20);
	cr_expect_eq(info.mode, 0600);
	cr_expect_eq(info.flags, 0);
	cr_expect_eq(info.slots, 0);
	cr_expect_eq(info.slot_size, 0);
	quoit_detach(q);
}

Test(options, zeroed_but_for_the_size_mean_the_same_as_null)
{
	struct quoit_options opt = {.size = sizeof(opt)};
	struct test_ring r;

	test_ring_make(&r, QUOIT_MEMFD, &opt);
	cr_expect_eq(test_info(r.q).kind, QUOIT_SPSC);
	cr_expect_eq(test_info(r.q).capacity, UINT64_C(1) << 20);
	test_ring_drop(&r);
}

Test(options, mpmc_defaults_are_slots_of_256_bytes_and_128_peers)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit_info info;
	struct test_ring r;

	test_ring_make(&r, QUOIT_MEMFD, &opt);
	info = test_info(r.q);
	cr_expect_eq(info.kind, QUOIT_MPMC);
	cr_expect_eq(info.slot_size, 256);
	cr_expect_eq(info.max_record, 256);
	cr_expect_eq(info.peers, 128);
	cr_expect_geq(info.capacity, UINT64_C(1) << 20);
	cr_expect_eq(info.slots & (info.slots - 1), 0, "slots are a power of two");
	cr_expect_geq(info.slots * 256, (UINT64_C(1) << 20) / 2);
	test_ring_drop(&r);
}

Test(options, a_longer_struct_with_a_zero_tail_is_taken)
{
	struct longer_options opt = {.known = {.size = sizeof(opt)}};

	cr_expect_eq(create_with(&opt.known), 0);
}

Test(options, a_longer_struct_with_something_unknown_set_gives_e2big)
{
	struct longer_options opt = {.known = {.size = sizeof(opt)}, .later = {0, 0, 0, 1}};
	struct test_ring r;
	struct quoit *q = NULL;

	cr_expect_eq(create_with(&opt.known), -E2BIG);
	test_ring_make(&r, QUOIT_SHM, NULL);
	cr_expect_eq(quoit_attach(r.name, &opt.known, &q), -E2BIG);
	cr_expect_null(q);
	test_ring_drop(&r);
}

Test(options, a_size_of_zero_is_refused)
{
	struct quoit_options opt = {.size = 0};

	cr_expect_eq(create_with(&opt), -EINVAL);
}

Test(options, unknown_flags_kinds_and_waits_are_refused)
{
	struct quoit_options flags = {.size = sizeof(flags), .flags = 1u << 31};
	struct quoit_options kind = {.size = sizeof(kind), .kind = 3};
	struct quoit_options wait = {.size = sizeof(wait), .wait = 7};

	cr_expect_eq(create_with(&flags), -EINVAL);
	cr_expect_eq(create_with(&kind), -EINVAL);
	cr_expect_eq(create_with(&wait), -EINVAL);
}

Test(options, values_out_of_range_are_refused)
{
	struct quoit_options opt;

	opt = test_options(QUOIT_SPSC);
	opt.capacity = 1023;
	cr_expect_eq(create_with(&opt), -EINVAL, "capacity under 1 KiB");
	opt.capacity = (UINT64_C(1) << 40) + 1;
	cr_expect_eq(create_with(&opt), -EINVAL, "capacity over 1 TiB");
	opt.capacity = UINT64_MAX;
	cr_expect_eq(create_with(&opt), -EINVAL, "capacity that overflows");

	opt = test_options(QUOIT_MPMC);
	opt.slot_size = 7;
	cr_expect_eq(create_with(&opt), -EINVAL, "slot_size under 8");
	opt.slot_size = 1u << 30;
	cr_expect_eq(create_with(&opt), -EINVAL, "slot_size over 2^30-1");

	opt = test_options(QUOIT_MPMC);
	opt.peers = 1;
	cr_expect_eq(create_with(&opt), -EINVAL, "one peer");
	opt.peers = QUOIT_PEERS_MAX + 1;
	cr_expect_eq(create_with(&opt), -EINVAL, "too many peers");

	opt = test_options(QUOIT_SPSC);
	opt.mode = 01777;
	cr_expect_eq(create_with(&opt), -EINVAL, "more than permission bits");

	opt = test_options(QUOIT_SPSC);
	opt.start = 4;
	cr_expect_eq(create_with(&opt), -EINVAL, "start is no multiple of 8");
}

Test(options, limits_themselves_are_accepted)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);

	opt.capacity = 1024;
	opt.slot_size = 8;
	opt.peers = 2;
	cr_expect_eq(create_with(&opt), 0);
	opt.peers = QUOIT_PEERS_MAX;
	cr_expect_eq(create_with(&opt), 0);
	opt = test_options(QUOIT_SPSC);
	opt.capacity = 1024;
	cr_expect_eq(create_with(&opt), 0);
}

Test(options, spsc_capacity_is_rounded_up_to_a_power_of_two)
{
	static const struct {
		uint64_t asked, got;
	} cases[] = {{1024, 1024}, {1025, 2048}, {1000000, 1u << 20}, {(1u << 20) + 1, 1u << 21}};

	for (unsigned i = 0; i < TEST_COUNT(cases); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;

		opt.capacity = cases[i].asked;
		test_ring_make(&r, QUOIT_MEMFD, &opt);
		cr_expect_eq(test_info(r.q).capacity, cases[i].got, "asked for %llu",
			     (unsigned long long)cases[i].asked);
		cr_expect_geq(test_info(r.q).segment_size, cases[i].got);
		test_ring_drop(&r);
	}
}

Test(options, mpmc_capacity_is_a_power_of_two_of_slots_and_no_less_than_asked)
{
	static const uint32_t sizes[] = {8, 9, 56, 64, 100, 1000, 4096};

	for (unsigned i = 0; i < TEST_COUNT(sizes); i++) {
		struct quoit_options opt = test_options(QUOIT_MPMC);
		struct quoit_info info;
		struct test_ring r;

		opt.slot_size = sizes[i];
		opt.capacity = 100000;
		test_ring_make(&r, QUOIT_MEMFD, &opt);
		info = test_info(r.q);
		cr_expect_eq(info.slots & (info.slots - 1), 0);
		cr_expect_geq(info.slots, 2);
		cr_expect_geq(info.capacity, 100000);
		cr_expect_geq(info.capacity, info.slots * sizes[i]);
		cr_expect_geq(info.slot_size, sizes[i]);
		cr_expect_eq(info.max_record, info.slot_size);
		test_ring_drop(&r);
	}
}

Test(options, mode_is_what_was_asked_whatever_the_umask)
{
	static const enum quoit_backend named[] = {QUOIT_SHM, QUOIT_SYSV, QUOIT_FILE};

	umask(077);
	for (unsigned i = 0; i < TEST_COUNT(named); i++) {
		struct quoit_options opt = {.size = sizeof(opt), .mode = 0664};
		struct test_ring r;

		test_ring_make(&r, named[i], &opt);
		cr_expect_eq(test_info(r.q).mode, 0664, "%s", quoit_backend_name(named[i]));
		test_ring_drop(&r);
	}
}

Test(options, create_or_attach_attaches_to_what_is_there)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = {.size = sizeof(opt), .capacity = 8192};
		struct quoit_options second = {
			.size = sizeof(opt), .flags = QUOIT_CREATE_OR_ATTACH, .capacity = 65536};
		struct quoit *q, *other = NULL;
		char name[QUOIT_NAME_MAX];
		struct test_ring r;

		test_ring_make(&r, test_backends[i], &opt);
		snprintf(name, sizeof(name), "%s", r.made);
		cr_assert_eq(quoit_create(name, &opt, &other), -EEXIST);
		cr_assert_null(other, "outputs stay untouched on failure");
		cr_assert_eq(quoit_create(name, &second, &q), 0);
		cr_expect_eq(test_info(q).capacity, 8192);
		cr_expect_arr_eq(test_info(q).uuid, test_info(r.q).uuid, 16);
		quoit_detach(q);
		test_ring_drop(&r);
		cr_assert_eq(quoit_create(name, &second, &q), 0, "and makes what is not there");
		cr_expect_eq(test_info(q).capacity, 65536);
		quoit_detach(q);
		cr_expect_eq(quoit_remove(name), 0);
	}
}

Test(options, attach_takes_any_kind_or_only_the_one_asked_for)
{
	for (unsigned i = 0; i < TEST_COUNT(test_kinds); i++) {
		struct quoit_options opt = test_options(test_kinds[i]);
		struct quoit_options right = test_options(test_kinds[i]);
		struct quoit_options wrong = test_options(test_kinds[1 - i]);
		struct quoit_options any = {.size = sizeof(any)};
		struct quoit *q, *none = NULL;
		struct test_ring r;

		test_ring_make(&r, QUOIT_SHM, &opt);
		cr_assert_eq(quoit_attach(r.name, &right, &q), 0);
		quoit_detach(q);
		cr_assert_eq(quoit_attach(r.name, &any, &q), 0);
		quoit_detach(q);
		cr_assert_eq(quoit_attach(r.name, NULL, &q), 0);
		quoit_detach(q);
		cr_assert_eq(quoit_attach(r.name, &wrong, &none), -EPROTO);
		cr_assert_null(none);
		test_ring_drop(&r);
	}
}

Test(options, a_read_only_attachment_observes_and_opens_no_endpoint)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct quoit_options readonly = {.size = sizeof(opt),
							 .flags = QUOIT_READONLY};
			struct quoit_producer *p = NULL;
			struct quoit_consumer *c = NULL;
			struct test_ring r;
			struct quoit *q;

			test_ring_make(&r, test_backends[i], &opt);
			cr_assert_eq(quoit_attach(r.name, &readonly, &q), 0);
			cr_expect_eq(quoit_producer_open(q, &p), -EACCES);
			cr_expect_eq(quoit_consumer_open(q, &c), -EACCES);
			cr_expect_null(p);
			cr_expect_null(c);
			cr_expect_eq(test_info(q).capacity, test_info(r.q).capacity);
			cr_expect_eq(test_stats(q).producers, 0);
			quoit_detach(q);
			test_ring_drop(&r);
		}
	}
}

/* Resident bytes of this process that are shared memory. */
static long shared_resident_kib(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	long kib = -1;

	MUST(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssShmem: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

Test(options, prefault_touches_every_page)
{
	struct quoit_options opt = {
		.size = sizeof(opt), .flags = QUOIT_PREFAULT, .capacity = 16u << 20};
	long before = shared_resident_kib();
	struct test_ring r;

	test_ring_make(&r, QUOIT_SHM, &opt);
	cr_expect_geq(shared_resident_kib() - before, 16 * 1024);
	test_ring_drop(&r);
}

/* VmLck of this process, KiB. */
static long locked_kib(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	long kib = -1;

	MUST(f != NULL);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "VmLck: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

Test(options, mlock_keeps_the_ring_resident_or_says_why_not)
{
#ifdef QUOIT_SANITIZED
	cr_skip("under the sanitizers mlock() does nothing");
#endif
	struct quoit_options opt = {
		.size = sizeof(opt), .flags = QUOIT_MLOCK, .capacity = 64 * 1024};
	struct test_ring r;
	int result = test_ring_try(&r, QUOIT_SHM, &opt);

	if (result != 0) {
		cr_expect(result == -ENOMEM || result == -EPERM || result == -EAGAIN,
			  "RLIMIT_MEMLOCK gives its own error, not %d", result);
		return;
	}
	cr_expect_geq(locked_kib(), 64);
	test_ring_drop(&r);
}

Test(options, hugepages_succeed_or_fail_with_a_clear_error)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = {
			.size = sizeof(opt), .flags = QUOIT_CREATE_HUGEPAGES, .capacity = 2u << 20};
		struct test_ring r;
		int result = test_ring_try(&r, test_backends[i], &opt);

		if (result == 0) {
			cr_expect_gt(test_info(r.q).page_size, (uint32_t)sysconf(_SC_PAGESIZE));
			test_ring_drop(&r);
			continue;
		}
		cr_expect(result == -ENOMEM || result == -ENOTSUP, "%s: %d",
			  quoit_backend_name(test_backends[i]), result);
	}
}

Test(options, huge_try_falls_back_to_normal_pages)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = {
			.size = sizeof(opt), .flags = QUOIT_CREATE_HUGE_TRY, .capacity = 2u << 20};
		struct test_ring r;

		cr_assert_eq(test_ring_try(&r, test_backends[i], &opt), 0, "%s",
			     quoit_backend_name(test_backends[i]));
		cr_expect_geq(test_info(r.q).page_size, (uint32_t)sysconf(_SC_PAGESIZE));
		test_ring_drop(&r);
	}
}

Test(options, persistent_is_a_property_of_the_ring)
{
	struct quoit_options opt = {.size = sizeof(opt), .flags = QUOIT_PERSISTENT};
	struct test_ring r;
	struct quoit *q;

	test_ring_make(&r, QUOIT_SHM, &opt);
	cr_assert_eq(quoit_attach(r.name, NULL, &q), 0);
	cr_expect_eq(test_info(q).flags & QUOIT_PERSISTENT, QUOIT_PERSISTENT);
	quoit_detach(q);
	test_ring_drop(&r);
}
