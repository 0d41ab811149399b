/* SPDX-License-Identifier: MIT */
/* Checking and repairing. Damage is planted in copies of real rings, so these tests know the
 * layout. */
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "tests/unit/inspect_support.h"

TestSuite(check, .fini = test_cleanup, .timeout = 60);
TestSuite(repair, .fini = test_cleanup, .timeout = 60);

/* ---- checking ------------------------------------------------------------------------------- */

Test(check, finds_nothing_wrong_with_rings_in_any_ordinary_state)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options o = small(test_kinds[k]);
			struct findings f;
			struct test_ring r;
			struct test_rig rig;

			test_ring_make(&r, test_backends[b], &o);
			f = inspect_check_name(r.name);
			cr_expect_eq(f.notes + f.repairable + f.corrupt, 0, "new: %s", f.last);
			test_ring_drop(&r);

			open_filled(&rig, test_backends[b], test_kinds[k]);
			f = inspect_check_name(rig.r.name);
			cr_expect_eq(f.notes + f.repairable + f.corrupt, 0, "in use: %s", f.last);
			while (test_put(rig.p, 7) == 0)
				;
			f = inspect_check_name(rig.r.name);
			cr_expect_eq(f.notes + f.repairable + f.corrupt, 0, "full: %s", f.last);
			test_rig_close(&rig);
		}
	}
}

/* Damage to plant in a copy of the filled ring; each must be found. */
struct damage {
	const char *what;
	enum quoit_kind kind; /* 0: either */
	void (*plant)(const struct image *i);
};

static _Atomic uint64_t *first_header(const struct image *i)
{
	uint64_t position = row_of(i, 1)->position;

	return (_Atomic uint64_t *)(void *)((unsigned char *)slot_of(i, 0) +
					    position % header_of(i)->capacity);
}

#define PLANT(name, statement)                                                                     \
	static void name(const struct image *i)                                                    \
	{                                                                                          \
		statement;                                                                         \
	}
PLANT(bad_state, header_of(i)->state = 7)
PLANT(bad_produced, control_of(i)->produced = 9)
PLANT(bad_event, control_of(i)->readable.word = UINT64_C(5) << 32 | 9)
PLANT(bad_backends, control_of(i)->writable.backends = 1u << 20)
PLANT(bad_told, control_of(i)->consumer_deaths_told = 3)
PLANT(bad_row_state, row_of(i, 1)->state = 77)
PLANT(bad_role, row_of(i, 0)->role = 9)
PLANT(bad_wait, row_of(i, 0)->wait = 99)
PLANT(bad_sleeping, row_of(i, 0)->sleeping = 2)
PLANT(swapped_roles, row_of(i, 0)->role = QUOIT_ROLE_CONSUMER)
PLANT(odd_head, control_of(i)->head += 4)
PLANT(far_head, control_of(i)->head += 4096)
PLANT(odd_consumer, row_of(i, 1)->position += 1)
PLANT(far_consumer, row_of(i, 1)->position += 8192)
PLANT(far_producer, row_of(i, 0)->position += 8192)
/* SPSC: the header that the consumer is at. */
PLANT(lost_record, *first_header(i) ^= UINT64_C(1) << 63)
PLANT(long_record, *first_header(i) |= UINT64_C(0xffff) << 32)
PLANT(bad_phase, slot_of(i, 3)->word |= 15)
PLANT(bad_owner, slot_of(i, 3)->word = quoit__word(0, QUOIT__WRITING, 500))
PLANT(absent_owner, slot_of(i, 3)->word = quoit__word(0, QUOIT__READING, 60))
PLANT(owned_free, slot_of(i, 12)->word |= 5 << 4)
PLANT(bad_length, slot_of(i, 3)->desc = UINT64_C(49) << 32)
PLANT(old_turn, slot_of(i, 3)->word -= UINT64_C(4) << 16)
PLANT(new_turn, slot_of(i, 3)->word += UINT64_C(400) << 16)
PLANT(freed_slot, slot_of(i, 3)->word = 0; control_of(i)->tail = 7)
PLANT(passed_record, control_of(i)->head = 7; control_of(i)->tail = 7)
PLANT(hints_apart, control_of(i)->head += 100000)

static const struct damage damages[] = {
	{"state", 0, bad_state},
	{"fate of the producers", 0, bad_produced},
	{"eventcount", 0, bad_event},
	{"ways to wait", 0, bad_backends},
	{"deaths", 0, bad_told},
	{"row state", 0, bad_row_state},
	{"role", 0, bad_role},
	{"way to wait", 0, bad_wait},
	{"sleeping", 0, bad_sleeping},
	{"roles", QUOIT_SPSC, swapped_roles},
	{"unaligned head", QUOIT_SPSC, odd_head},
	{"head", QUOIT_SPSC, far_head},
	{"unaligned consumer", QUOIT_SPSC, odd_consumer},
	{"consumer", QUOIT_SPSC, far_consumer},
	{"producer", QUOIT_SPSC, far_producer},
	{"lost record", QUOIT_SPSC, lost_record},
	{"long record", QUOIT_SPSC, long_record},
	{"phase", QUOIT_MPMC, bad_phase},
	{"owner out of range", QUOIT_MPMC, bad_owner},
	{"owner not there", QUOIT_MPMC, absent_owner},
	{"owned though free", QUOIT_MPMC, owned_free},
	{"length", QUOIT_MPMC, bad_length},
	{"old turn", QUOIT_MPMC, old_turn},
	{"new turn", QUOIT_MPMC, new_turn},
	{"freed slot", QUOIT_MPMC, freed_slot},
	{"passed record", QUOIT_MPMC, passed_record},
	{"hints", QUOIT_MPMC, hints_apart},
};

Test(check, finds_each_planted_damage)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig;
		struct image clean;
		struct findings f;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		image_of(rig.r.name, &clean);
		f = inspect_check_image(&clean);
		cr_assert_eq(f.corrupt + f.repairable, 0, "%s", f.last);
		for (size_t d = 0; d < TEST_COUNT(damages); d++) {
			struct image i = clean;

			if (damages[d].kind != 0 && damages[d].kind != test_kinds[k])
				continue;
			i.bytes = malloc(i.size);
			memcpy(i.bytes, clean.bytes, i.size);
			damages[d].plant(&i);
			f = inspect_check_image(&i);
			/* All but one are beyond repair. */
			cr_expect_gt(damages[d].plant == absent_owner ? f.repairable : f.corrupt, 0,
				     "%s: %s not found", quoit_kind_name(test_kinds[k]),
				     damages[d].what);
			free(i.bytes);
		}
		image_drop(&clean);
		test_rig_close(&rig);
	}
}

/* Look at an image in every way; it must end, and touch nothing outside. Returns the problems. */
static int look_all_over(const char *path)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_info info = {.size = sizeof(info)};
	static struct quoit_peer peers[QUOIT_PEERS_MAX];
	struct quoit_record record;
	struct quoit_inspect *v;
	uint64_t missed = 0;
	int r = quoit_inspect_open(path, NULL, NULL, &v);

	if (r != 0)
		return r;
	cr_assert_eq(quoit_inspect_info(v, &info), 0);
	(void)!quoit_inspect_stats(v, &stats);
	(void)!quoit_inspect_peers(v, peers, QUOIT_PEERS_MAX);
	for (int n = 0; n < 1000; n++) {
		r = quoit_inspect_next(v, &record, &missed);
		if (r == 0)
			break;
		if (r == 1 && record.data != NULL && record.len > 0) /* readable to its end */
			cr_assert_neq(((const volatile char *)record.data)[record.len - 1] + 1000,
				      0);
	}
	quoit_inspect_seek_end(v);
	(void)!quoit_inspect_next(v, &record, &missed);
	r = quoit_inspect_check(v, NULL, NULL);
	quoit_inspect_close(v);
	return r;
}

Test(check, survives_every_flipped_bit_of_header_and_control_and_finds_those_of_the_header)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig;
		struct image i;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		image_of(rig.r.name, &i);
		image_write(&i, i.size);
		for (uint64_t bit = 0; bit < 8 * (QUOIT__PEERS_OFFSET + 512); bit++) {
			int fd = open(i.path, O_WRONLY), r;
			unsigned char byte = i.bytes[bit / 8] ^ (unsigned char)(1 << bit % 8);

			MUST(fd >= 0 && pwrite(fd, &byte, 1, (off_t)(bit / 8)) == 1);
			r = look_all_over(i.path);
			/* The compatible features alone may change without harm, but not unnoticed.
			 */
			cr_assert(bit >= 8 * sizeof(struct quoit__header) || r != 0, "bit %llu: %d",
				  (unsigned long long)bit, r);
			MUST(pwrite(fd, &i.bytes[bit / 8], 1, (off_t)(bit / 8)) == 1);
			close(fd);
		}
		image_drop(&i);
		test_rig_close(&rig);
	}
}

Test(check, survives_random_bytes_anywhere)
{
	uint64_t seed = 20260131;

	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig;
		struct image i;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		image_of(rig.r.name, &i);
		for (int round = 0; round < 3000; round++) {
			struct image bad = i;
			uint32_t n = 1 + test_random_below(&seed, 8);

			bad.bytes = malloc(i.size);
			memcpy(bad.bytes, i.bytes, i.size);
			while (n-- != 0) {
				uint64_t value = test_random(&seed);
				uint32_t width = 1u << test_random_below(&seed, 4);
				uint32_t at = 16 + test_random_below(&seed, (uint32_t)i.size - 24);

				if (test_random_below(&seed, 2)) /* most words lie in the front */
					at %= QUOIT__PEERS_OFFSET + 600;
				memcpy(bad.bytes + (at < 16 ? 16 : at), &value, width);
			}
			if (test_random_below(&seed, 2)) /* believed, and still wrong */
				header_of(&bad)->checksum = quoit__checksum(header_of(&bad));
			image_write(&bad, i.size);
			(void)look_all_over(i.path);
			free(bad.bytes);
		}
		image_drop(&i);
		test_rig_close(&rig);
	}
}

Test(check, finds_nothing_while_records_stream)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options o = small(test_kinds[k]);
		struct test_ring r;
		pid_t child;

		test_ring_make(&r, QUOIT_SHM, &o);
		child = fork();
		if (child == 0) {
			struct quoit_producer *p;
			struct quoit_consumer *c;
			uint64_t value;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (quoit_producer_open(r.q, &p) != 0 || quoit_consumer_open(r.q, &c) != 0)
				_exit(1);
			for (uint64_t n = 0;; n++) {
				if (test_put(p, n) == -EAGAIN)
					while (test_take(c, &value) == 1)
						;
				else if (n % 3 == 0)
					(void)!test_take(c, &value);
			}
		}
		for (int round = 0; round < 40; round++) {
			struct findings f = inspect_check_name(r.name);

			cr_expect_eq(f.corrupt + f.repairable, 0, "%s", f.last);
		}
		test_kill(child);
		test_ring_drop(&r);
	}
}

/* ---- repairing ------------------------------------------------------------------------------ */

Test(repair, gives_back_what_the_dead_held)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options o = small(test_kinds[k]);
			struct findings f = {0};
			struct quoit_consumer *c;
			struct test_ring r;
			uint64_t value, n;

			test_ring_make(&r, test_backends[b], &o);
			cr_assert_eq(test_wait(test_spawn(hold_and_wait, r.name)), 128 + SIGKILL);
			f = inspect_check_name(r.name);
			cr_expect_eq(f.repairable, 2, "%u repairable", f.repairable);
			cr_expect_eq(f.corrupt, 0, "%s", f.last);

			memset(&f, 0, sizeof(f));
			cr_expect_eq(quoit_repair(r.name, 1, count, &f), 2);
			cr_expect_eq(f.repairable, 2);
			f = inspect_check_name(r.name);
			cr_expect_eq(f.repairable, 2, "a dry run has done something");

			cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 2);
			f = inspect_check_name(r.name);
			cr_expect_eq(f.repairable + f.corrupt, 0, "%s", f.last);
			cr_expect_eq(quoit_repair(r.name, 0, NULL, NULL), 0);

			cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
			for (n = 0; test_take(c, &value) == 1; n++)
				cr_expect_eq(value, n);
			cr_expect_eq(n, 4);
			quoit_consumer_close(c);
			test_ring_drop(&r);
		}
	}
}

Test(repair, leaves_the_living_alone)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_msg msg;
		struct test_rig rig;
		void *payload;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		cr_assert_eq(quoit_peek(rig.c, &msg), 1);
		cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
		cr_expect_eq(quoit_repair(rig.r.name, 0, NULL, NULL), 0);
		memcpy(payload, "go on...", 8);
		cr_expect_eq(quoit_commit(rig.p, payload, 8, 0), 0);
		cr_expect_eq(quoit_advance(rig.c, &msg), 0);
		test_rig_close(&rig);
	}
}

Test(repair, gives_back_slots_of_rows_that_are_free)
{
	struct findings f;
	struct test_rig rig;
	struct quoit__slot *slot;

	open_filled(&rig, QUOIT_SHM, QUOIT_MPMC);
	/* Row 60 has never been opened; a slot stamped with it would be lost for ever. */
	slot = quoit__slot_at(rig.r.q, 3);
	atomic_store(&slot->word, quoit__word(0, QUOIT__READING, 60));
	f = inspect_check_name(rig.r.name);
	cr_expect_eq(f.repairable, 1);
	cr_expect_eq(f.corrupt, 0, "%s", f.last);
	cr_expect_eq(quoit_repair(rig.r.name, 0, NULL, NULL), 1);
	f = inspect_check_name(rig.r.name);
	cr_expect_eq(f.corrupt + f.repairable, 0, "%s", f.last);
	test_rig_close(&rig);
}

static int die_half_way(void *arg, struct quoit__segment *seg)
{
	(void)arg, (void)seg;
	return raise(SIGKILL);
}

static int create_and_die(void *arg)
{
	struct quoit__plan plan = {.size = 8192, .mode = 0600, .locks = 2};
	struct quoit__segment seg;
	struct quoit__name name;

	MUST(quoit__name_parse(arg, &name) == 0);
	return quoit__segment_create(&name, &plan, die_half_way, NULL, &seg);
}

Test(repair, removes_a_system_v_ring_whose_creator_died_half_way)
{
	const char *name = test_name(QUOIT_SYSV);
	key_t key = (key_t)strtoul(name + 5, NULL, 0);
	struct findings f = {0};
	struct quoit_inspect *v;

	cr_assert_eq(test_wait(test_spawn(create_and_die, (void *)(uintptr_t)name)), 128 + SIGKILL);
	cr_assert_eq(quoit_inspect_open(name, NULL, NULL, &v), -EOWNERDEAD);
	cr_expect_eq(quoit_repair(name, 1, count, &f), 1);
	cr_expect_eq(f.repairable, 1);
	cr_expect_geq(semget(key, 0, 0), 0, "a dry run has removed it");
	cr_expect_eq(quoit_repair(name, 0, NULL, NULL), 1);
	cr_expect_lt(shmget(key, 0, 0), 0);
	cr_expect_lt(semget(key, 0, 0), 0);
	cr_expect_eq(quoit_repair(name, 0, NULL, NULL), -ENOENT);
}

Test(repair, says_when_there_is_damage_that_it_cannot_mend)
{
	struct findings f = {0};
	struct test_rig rig;

	open_filled(&rig, QUOIT_SHM, QUOIT_SPSC);
	atomic_fetch_add(&rig.r.q->control->head, 4);
	cr_expect_eq(quoit_repair(rig.r.name, 0, count, &f), -EBADMSG);
	cr_expect_gt(f.corrupt, 0);
	atomic_fetch_sub(&rig.r.q->control->head, 4);
	cr_expect_eq(quoit_repair("/dev/null", 0, NULL, NULL), -EPROTO);
	cr_expect_eq(quoit_repair("shm:qtest-nonexistent", 0, NULL, NULL), -ENOENT);
	test_rig_close(&rig);
}
