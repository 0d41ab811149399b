/* SPDX-License-Identifier: MIT */
/* Damage to the heap: what hostile descriptors, table words and headers lead to, and what a check
 * says of them. */
#include <quoit/inspect.h>

#include "tests/unit/heap_support.h"

TestSuite(heap_check, .fini = test_cleanup, .timeout = 60);

#define EACH_KIND(kind)                                                                            \
	for (enum quoit_kind kind = QUOIT_SPSC; kind <= QUOIT_MPMC;                                \
	     kind = (enum quoit_kind)(kind + 1))

/* The descriptor of the k-th record of a fresh ring in which all lie in the heap. */
static struct quoit__heap_record *record_of(struct quoit *q, unsigned k)
{
	if (q->geo.kind == QUOIT_MPMC)
		return (struct quoit__heap_record *)(void *)quoit__slot_at(q, k)->payload;
	return (struct quoit__heap_record *)(void *)(q->data + 32 * k + 8);
}

Test(heap_check, a_hostile_descriptor_is_caught)
{
	static const struct quoit__heap_record hostile[] = {
		{.offset = 8 * UNIT, .length = 1},
		{.offset = UINT64_MAX - 7, .length = 8},
		{.offset = UINT64_MAX - 7, .length = 16},
		{.offset = 4, .length = 8},
		{.offset = 0, .length = 8 * UNIT + 1},
		{.offset = 8 * UNIT - 8, .length = 9},
		{.offset = 8, .length = UINT64_MAX},
		{.offset = UNIT, .length = UINT64_MAX - UNIT + 1},
		{.offset = 0, .length = UINT64_C(1) << 32},
		{.offset = 0, .length = 8, .zero = 1},
	};

	EACH_KIND(kind)
	{
		for (size_t i = 0; i < TEST_COUNT(hostile); i++) {
			struct test_rig rig = heap_rig(kind, 8);
			struct quoit_msg msg;
			char buf[64];

			cr_assert_eq(heap_put(rig.p, UNIT, 0), 0);
			*record_of(rig.r.q, 0) = hostile[i];
			if (i % 2 == 0)
				cr_expect_eq(quoit_peek(rig.c, &msg), -EBADMSG, "%zu", i);
			else
				cr_expect_eq(
					quoit_recv(rig.c, buf, sizeof(buf), &msg, QUOIT_NOWAIT),
					-EBADMSG, "%zu", i);
			cr_expect_eq(quoit_peek(rig.c, &msg), -EBADMSG, "poisoned");
			test_rig_close(&rig);
		}
	}
}

/* Only of rings that have a heap: in others the marks are what they were, damage. */
Test(heap_check, a_ring_without_a_heap_takes_no_heap_records)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = test_options(kind);
		struct test_rig rig;
		struct quoit_msg msg;

		test_rig_open(&rig, QUOIT_MEMFD, &o);
		cr_assert_eq(quoit_send(rig.p, "123456781234567812345678", 24, 0, QUOIT_NOWAIT), 0);
		if (kind == QUOIT_SPSC)
			*(uint64_t *)(void *)rig.r.q->data =
				QUOIT__TAG | QUOIT__PADDING | UINT64_C(24) << 32 | QUOIT__HEAP_MARK;
		else
			quoit__slot_at(rig.r.q, 0)->desc = (uint64_t)UINT32_MAX << 32;
		cr_expect_eq(quoit_peek(rig.c, &msg), -EBADMSG);
		test_rig_close(&rig);
	}
}

Test(heap_check, a_table_that_contradicts_its_owner_poisons_it)
{
	EACH_KIND(kind)
	{
		for (uint32_t len = UNIT; len != 0; len = len == UNIT ? 3000 : 0) {
			struct test_rig rig = heap_rig(kind, 4);
			void *payload;

			cr_assert_eq(heap_put(rig.p, len, 0), 0);
			for (int i = 0; i < 4; i++)
				atomic_store(&rig.r.q->units[i], 0);
			cr_assert(heap_take(rig.c, len, 0));
			cr_expect_eq(quoit_reserve(rig.p, UNIT, &payload), -EBADMSG);
			cr_expect_eq(quoit_reserve(rig.p, UNIT, &payload), -EBADMSG);
			test_rig_close(&rig);
		}
	}
}

Test(heap_check, a_damaged_heap_header_is_refused_but_can_be_looked_at)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 4);
		struct quoit_inspect *v;
		struct test_ring r;
		struct quoit *q;

		test_ring_make(&r, QUOIT_SHM, &o);
		for (unsigned bit = 0; bit < 8 * sizeof(struct quoit__heap_header); bit += 5) {
			unsigned char *byte =
				(unsigned char *)r.q->header + QUOIT__HEAP_HEADER_OFFSET + bit / 8;

			*byte ^= (unsigned char)(1u << bit % 8);
			cr_expect_eq(quoit_attach(r.name, NULL, &q), -EBADMSG, "bit %u", bit);
			MUST(quoit_inspect_open(r.name, NULL, NULL, &v) == 0);
			cr_expect_gt(quoit_inspect_check(v, NULL, NULL), 0, "bit %u", bit);
			quoit_inspect_close(v);
			*byte ^= (unsigned char)(1u << bit % 8);
		}
		cr_expect_eq(quoit_attach(r.name, NULL, &q), 0);
		quoit_detach(q);
		test_ring_drop(&r);
	}
}

/* Headers that are whole, and say what cannot be. */
Test(heap_check, a_hostile_heap_header_is_refused)
{
	struct quoit_options o = heap_options(QUOIT_SPSC, 4);
	struct test_rig rig;
	const struct quoit__header *h;
	const struct quoit__heap_header *good;

	test_rig_open(&rig, QUOIT_MEMFD, &o);
	h = rig.r.q->header;
	good = (const void *)((const char *)h + QUOIT__HEAP_HEADER_OFFSET);
	for (int i = 0; i < 14; i++) {
		struct quoit__geometry g;
		struct quoit__heap_header bad = *good;

		cr_assert_eq(quoit__validate_header(h, h->segment_size, &g), 0);
		switch (i) {
		case 0:
			bad.offset += 4096;
			break;
		case 1:
			bad.offset = UINT64_MAX & ~UINT64_C(4095);
			break;
		case 2:
			bad.offset -= 8;
			break;
		case 3:
			bad.offset = h->data_offset;
			break;
		case 4:
			bad.size *= 2;
			break;
		case 5:
			bad.size = 0;
			break;
		case 6:
			bad.size = UINT64_MAX & ~(bad.unit - 1);
			break;
		case 7:
			bad.unit = 0;
			break;
		case 8:
			bad.unit = 4096;
			break;
		case 9:
			bad.unit += 1;
			break;
		case 10:
			bad.table_offset = 0;
			break;
		case 11:
			bad.table_offset = UINT64_MAX & ~UINT64_C(127);
			break;
		case 12:
			bad.share = 0;
			break;
		case 13:
			bad.share = UINT64_MAX & ~UINT64_C(7);
			break;
		}
		bad.checksum = quoit__heap_checksum(&bad);
		cr_expect_eq(quoit__validate_heap(h, &bad, &g), -EBADMSG, "%d", i);
	}
	test_rig_close(&rig);
}

static int corrupt, repairable;

static void count(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg, (void)offset, (void)text;
	corrupt += severity == 3;
	repairable += severity == 2;
}

static void check(const char *name)
{
	struct quoit_inspect *v;

	corrupt = repairable = 0;
	MUST(quoit_inspect_open(name, NULL, NULL, &v) == 0);
	(void)!quoit_inspect_check(v, count, NULL);
	quoit_inspect_close(v);
}

Test(heap_check, check_finds_overlaps_free_units_and_words_that_cannot_be)
{
	EACH_KIND(kind)
	{
		struct quoit_options o = heap_options(kind, 8);
		struct quoit__heap_record was;
		struct test_rig rig;
		uint64_t word;

		test_rig_open(&rig, QUOIT_SHM, &o);
		cr_assert_eq(heap_put(rig.p, UNIT, 0), 0);
		cr_assert_eq(heap_put(rig.p, 2 * UNIT, 1), 0);
		cr_assert_eq(heap_put(rig.p, 3000, 2), 0);
		check(rig.r.name);
		cr_expect_eq(corrupt + repairable, 0);

		was = *record_of(rig.r.q, 1);
		record_of(rig.r.q, 1)->offset = record_of(rig.r.q, 0)->offset + UNIT - 8;
		check(rig.r.name);
		cr_expect_eq(corrupt, 1, "overlap");
		record_of(rig.r.q, 1)->offset = 7 * UNIT;
		check(rig.r.name);
		cr_expect_geq(corrupt, 1, "leaves the section");
		*record_of(rig.r.q, 1) = was;

		word = atomic_exchange(&rig.r.q->units[was.offset / UNIT], 0);
		check(rig.r.name);
		cr_expect_eq(corrupt, 1, "a record in a free unit");
		cr_expect_eq(repairable, 0, "no repair can know whose it is");
		atomic_store(&rig.r.q->units[was.offset / UNIT], 7);
		check(rig.r.name);
		cr_expect_eq(corrupt, 1, "no such state");
		atomic_store(&rig.r.q->units[was.offset / UNIT],
			     quoit__unit_word(0, QUOIT__UNIT_OWNED, 999));
		check(rig.r.name);
		cr_expect_eq(corrupt, 1, "no such owner");
		atomic_store(&rig.r.q->units[was.offset / UNIT], word);
		check(rig.r.name);
		cr_expect_eq(corrupt + repairable, 0);
		test_rig_close(&rig);
	}
}

Test(heap_check, observers_see_records_in_the_heap)
{
	EACH_KIND(kind)
	{
		struct quoit_heap_stats stats = {.size = sizeof(stats)};
		struct quoit_options o = heap_options(kind, 8);
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0;
		struct test_rig rig;

		test_rig_open(&rig, QUOIT_SHM, &o);
		cr_assert_eq(heap_put(rig.p, UNIT, 0), 0);
		cr_assert_eq(heap_put(rig.p, 40, 1), 0);
		cr_assert_eq(heap_put(rig.p, 3000, 2), 0);
		MUST(quoit_inspect_open(rig.r.name, NULL, NULL, &v) == 0);
		for (uint64_t i = 0; i < 3; i++) {
			struct quoit_msg msg;

			cr_assert_eq(quoit_inspect_next(v, &record, &missed), 1, "%d", kind);
			cr_expect_eq(record.state, QUOIT_RECORD_READY);
			cr_expect_eq(record.heap != 0, i != 1);
			msg = (struct quoit_msg){.data = (void *)record.data,
						 .len = record.len,
						 .type = record.type};
			cr_expect(heap_is(&msg, i == 0 ? UNIT : i == 1 ? 40 : 3000, i));
		}
		cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
		cr_assert_eq(quoit_inspect_heap_stats(v, &stats), 0);
		cr_expect_eq(stats.used, 2 * UNIT);
		cr_expect_eq(stats.total, 8 * UNIT);
		quoit_inspect_close(v);
		test_rig_close(&rig);
	}
}

/* A table that says that units are free which a producer has: it must not get them twice, least of
 * all its arena. */
Test(heap_check, units_that_a_table_offers_a_second_time_poison_their_owner)
{
	EACH_KIND(kind)
	{
		for (uint64_t growth = 0; growth < 2; growth++) {
			struct test_rig rig = heap_rig(kind, 4);
			int r = 0;

			for (uint64_t i = 0; r == 0 && i < 400; i++) {
				for (int k = 0; k < 4; k++)
					atomic_store(&rig.r.q->units[k], (i * growth) << 20);
				r = heap_put(rig.p, i % 3 ? 3000 : 70000, i);
			}
			/* If the generation has moved on, others may have freed what was lent. */
			cr_expect_eq(r, growth && kind == QUOIT_MPMC ? -EAGAIN : -EBADMSG, "%d", r);
			test_rig_close(&rig);
		}
	}
}
