/* SPDX-License-Identifier: MIT */
/*
 * Shared memory that lies: headers that cannot be, and words that a peer has scribbled on while
 * endpoints are open. Every case ends in an error code; nothing crashes, hangs or reads elsewhere.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ring/layout.h"
#include "ring/ring.h"
#include "support.h"

#ifdef QUOIT_SANITIZED
#define RANDOM_ROUNDS 60
#else
#define RANDOM_ROUNDS 600
#endif

TestSuite(damage, .fini = test_cleanup, .timeout = 60);

/* A ring, and a second, private view of its bytes through its descriptor. */
struct victim {
	struct test_rig rig;
	unsigned char *bytes;
	uint64_t size;
	struct quoit__header *header;
};

static struct victim victim_of(enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);
	struct victim v;

	opt.capacity = 4096;
	opt.slot_size = kind == QUOIT_MPMC ? 48 : 0;
	opt.peers = kind == QUOIT_MPMC ? 4 : 0;
	test_rig_open(&v.rig, QUOIT_SHM, &opt);
	v.size = test_info(v.rig.r.q).segment_size;
	v.bytes = mmap(NULL, v.size, PROT_READ | PROT_WRITE, MAP_SHARED, quoit_fd(v.rig.r.q), 0);
	MUST(v.bytes != MAP_FAILED);
	v.header = (struct quoit__header *)(void *)v.bytes;
	return v;
}

static void let_go(struct victim *v)
{
	munmap(v->bytes, v->size);
	quoit_producer_close(v->rig.p);
	quoit_consumer_close(v->rig.c);
	quoit_detach(v->rig.r.q);
	cr_assert_eq(quoit_remove(v->rig.r.made), 0, "what is damaged can be removed");
	test_forget(v->rig.r.made);
}

static struct quoit__control *control_of(struct victim *v)
{
	return (struct quoit__control *)(void *)(v->bytes + v->header->control_offset);
}

static uint64_t *data_word(struct victim *v, uint64_t offset)
{
	return (uint64_t *)(void *)(v->bytes + v->header->data_offset + offset);
}

/* A row of header fields to overwrite, one at a time, with the checksum made good again. */
#define FIELD(name)                                                                                \
	{                                                                                          \
#name, offsetof(struct quoit__header, name),                                       \
			sizeof(((struct quoit__header *)0)->name)                                  \
	}
static const struct field {
	const char *name;
	size_t offset, size;
} fields[] = {FIELD(version),        FIELD(endian),       FIELD(header_size), FIELD(incompat),
	      FIELD(kind),           FIELD(wait),         FIELD(peers),       FIELD(segment_size),
	      FIELD(control_offset), FIELD(peers_offset), FIELD(data_offset), FIELD(capacity),
	      FIELD(slots),          FIELD(row_stride),   FIELD(slot_stride), FIELD(slot_size)};

static const uint64_t values[] = {0,
				  1,
				  2,
				  3,
				  7,
				  127,
				  1025,
				  4095,
				  4097,
				  UINT32_MAX,
				  UINT64_C(1) << 31,
				  UINT64_C(1) << 32,
				  UINT64_C(1) << 40,
				  (UINT64_C(1) << 63) + 8,
				  UINT64_MAX,
				  UINT64_MAX - 7,
				  UINT64_MAX - 4095};

static void poke(unsigned char *bytes, const struct field *f, uint64_t value)
{
	memcpy(bytes + f->offset, &value, f->size);
}

/* What attaching says; everything that attaching gives is used a little. */
static int attach_and_use(const char *name)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit *q = NULL;
	uint64_t value;
	int result = quoit_attach(name, NULL, &q);

	if (result != 0) {
		cr_assert_null(q, "outputs stay untouched");
		return result;
	}
	if (quoit_producer_open(q, &p) == 0) {
		(void)test_put(p, 1);
		quoit_producer_close(p);
	}
	if (quoit_consumer_open(q, &c) == 0) {
		(void)test_take(c, &value);
		quoit_consumer_close(c);
	}
	quoit_detach(q);
	return 0;
}

Test(damage, no_header_field_can_be_changed_without_the_checksum_telling)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct victim v = victim_of(test_kinds[k]);
		struct quoit__header good;

		quoit_producer_close(v.rig.p);
		quoit_consumer_close(v.rig.c);
		v.rig.p = NULL;
		v.rig.c = NULL;
		memcpy(&good, v.bytes, sizeof(good));
		/* All bits but the state word's, which is not covered. */
		for (size_t bit = 0; bit < sizeof(good) * 8; bit++) {
			int result;

			if (bit / 8 >= offsetof(struct quoit__header, state) &&
			    bit / 8 < offsetof(struct quoit__header, version))
				continue;
			v.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
			result = attach_and_use(v.rig.r.name);
			cr_assert(result == -EPROTO || result == -EBADMSG, "byte %zu bit %zu: %d",
				  bit / 8, bit % 8, result);
			memcpy(v.bytes, &good, sizeof(good));
		}
		cr_expect_eq(attach_and_use(v.rig.r.name), 0, "and whole again");
		let_go(&v);
	}
}

Test(damage, a_header_that_cannot_be_is_refused_although_its_checksum_is_right)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct victim v = victim_of(test_kinds[k]);
		struct quoit__header good;

		quoit_producer_close(v.rig.p);
		quoit_consumer_close(v.rig.c);
		v.rig.p = NULL;
		v.rig.c = NULL;
		memcpy(&good, v.bytes, sizeof(good));
		for (unsigned f = 0; f < TEST_COUNT(fields); f++) {
			for (unsigned i = 0; i < TEST_COUNT(values); i++) {
				int result;

				poke(v.bytes, &fields[f], values[i]);
				v.header->checksum = quoit__checksum(v.header);
				result = attach_and_use(v.rig.r.name);
				cr_assert(result == 0 || result == -EPROTO || result == -EBADMSG,
					  "%s = %llx: %d", fields[f].name,
					  (unsigned long long)values[i], result);
				memcpy(v.bytes, &good, sizeof(good));
			}
		}
		let_go(&v);
	}
}

Test(damage, another_version_endianness_or_feature_gives_eproto)
{
	struct victim v = victim_of(QUOIT_SPSC);
	struct quoit__header good;

	memcpy(&good, v.bytes, sizeof(good));
	v.header->version = QUOIT__LAYOUT_VERSION + 1;
	v.header->checksum = quoit__checksum(v.header);
	cr_expect_eq(attach_and_use(v.rig.r.name), -EPROTO);
	memcpy(v.bytes, &good, sizeof(good));
	v.header->endian = UINT32_C(0x04030201);
	v.header->checksum = quoit__checksum(v.header);
	cr_expect_eq(attach_and_use(v.rig.r.name), -EPROTO);
	memcpy(v.bytes, &good, sizeof(good));
	v.header->incompat |= 1u << 31;
	v.header->checksum = quoit__checksum(v.header);
	cr_expect_eq(attach_and_use(v.rig.r.name), -EPROTO);
	memcpy(v.bytes, &good, sizeof(good));
	v.header->compat |= 1u << 31;
	v.header->checksum = quoit__checksum(v.header);
	cr_expect_eq(attach_and_use(v.rig.r.name), 0, "a compatible feature may be unknown");
	memcpy(v.bytes, &good, sizeof(good));
	v.header->magic ^= 1;
	cr_expect_eq(attach_and_use(v.rig.r.name), -EPROTO);
	memcpy(v.bytes, &good, sizeof(good));
	let_go(&v);
}

Test(damage, geometry_is_not_read_again_after_attaching)
{
	struct victim v = victim_of(QUOIT_SPSC);
	uint64_t value;

	for (unsigned f = 0; f < TEST_COUNT(fields); f++)
		poke(v.bytes, &fields[f], UINT64_MAX);
	for (uint64_t i = 0; i < 1000; i++) {
		cr_assert_eq(test_put(v.rig.p, i), 0);
		cr_assert_eq(test_take(v.rig.c, &value), 1);
		cr_assert_eq(value, i);
	}
	/* let_go() uses the name alone. */
	let_go(&v);
}

/* Take until something else than a record comes; bounded, so that a ring cannot keep us. */
static int take_until_refused(struct quoit_consumer *c)
{
	static char buf[8192];
	int result = 1;

	for (unsigned i = 0; i < 10000 && result == 1; i++) {
		struct quoit_msg msg;

		result = quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT);
	}
	return result;
}

Test(damage, a_record_header_that_lies_gives_ebadmsg_and_poisons_the_handle)
{
	static const uint64_t lengths[] = {4096 - 8 + 1, 5000, (1u << 30) - 1, 4089};

	for (unsigned i = 0; i < TEST_COUNT(lengths); i++) {
		struct victim v = victim_of(QUOIT_SPSC);
		struct quoit_msg msg, batch[4];
		uint64_t value;

		cr_assert_eq(test_put(v.rig.p, 1), 0);
		cr_assert_eq(test_put(v.rig.p, 2), 0);
		*data_word(&v, 0) =
			(*data_word(&v, 0) & ~(QUOIT__LENGTH_MASK << 32)) | lengths[i] << 32;
		cr_expect_eq(quoit_peek(v.rig.c, &msg), -EBADMSG, "length %d", (int)lengths[i]);
		*data_word(&v, 0) &= ~(QUOIT__LENGTH_MASK << 32);
		cr_expect_eq(quoit_peek(v.rig.c, &msg), -EBADMSG, "poisoned");
		cr_expect_eq(test_take(v.rig.c, &value), -EBADMSG);
		cr_expect_eq(quoit_peek_batch(v.rig.c, batch, 4), -EBADMSG);
		cr_expect_eq(quoit_consumer_wait(v.rig.c, NULL), -EBADMSG);
		cr_expect_eq(quoit_recv(v.rig.c, &value, 8, &msg, NULL), -EBADMSG);
		let_go(&v);
	}
}

Test(damage, a_padding_record_that_lies_gives_ebadmsg_or_nothing)
{
	static const uint64_t lengths[] = {0, 1, 16, 4088, 4089, (1u << 30) - 1};

	for (unsigned i = 0; i < TEST_COUNT(lengths); i++) {
		struct victim v = victim_of(QUOIT_SPSC);
		int result;

		cr_assert_eq(test_put(v.rig.p, 1), 0);
		*data_word(&v, 0) =
			(*data_word(&v, 0) & QUOIT__TAG) | QUOIT__PADDING | lengths[i] << 32;
		result = take_until_refused(v.rig.c);
		cr_expect(result == -EBADMSG || result == -EAGAIN, "length %d: %d", (int)lengths[i],
			  result);
		let_go(&v);
	}
}

Test(damage, a_head_that_lies_lets_the_producer_write_nowhere_else)
{
	static const uint64_t heads[] = {
		1, 8, 4095, 4104, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};

	for (unsigned i = 0; i < TEST_COUNT(heads); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct victim v = victim_of(test_kinds[k]);
			int result = 0;

			atomic_store(&control_of(&v)->head, heads[i]);
			atomic_store(&control_of(&v)->tail, heads[i]);
			for (unsigned n = 0; n < 10000 && result == 0; n++)
				result = test_put(v.rig.p, n);
			cr_expect(result == -EBADMSG || result == -EAGAIN, "head %llx: %d",
				  (unsigned long long)heads[i], result);
			let_go(&v);
		}
	}
}

Test(damage, slot_words_and_descriptors_that_lie_give_an_error_or_nothing)
{
	uint64_t seed = 99;

	for (unsigned round = 0; round < RANDOM_ROUNDS / 2; round++) {
		struct victim v = victim_of(QUOIT_MPMC);
		int result;

		for (uint64_t i = 0; i < 10; i++)
			cr_assert_eq(test_put(v.rig.p, i), 0);
		for (unsigned i = 0; i < 8; i++) {
			uint32_t slot = test_random_below(&seed, (uint32_t)v.header->slots);
			uint64_t *word = data_word(&v, (uint64_t)slot * v.header->slot_stride);

			if (round & 1)
				word[0] ^= UINT64_C(1) << test_random_below(&seed, 64);
			else
				word[1] = test_random(&seed);
		}
		result = take_until_refused(v.rig.c);
		cr_expect(result == -EBADMSG || result == -EAGAIN || result == 1, "%d", result);
		result = 0;
		for (unsigned n = 0; n < 10000 && result == 0; n++)
			result = test_put(v.rig.p, n);
		cr_expect(result == -EBADMSG || result == -EAGAIN, "%d", result);
		let_go(&v);
	}
}

Test(damage, an_mpmc_length_beyond_the_slot_gives_ebadmsg)
{
	struct victim v = victim_of(QUOIT_MPMC);
	struct quoit_msg msg;

	cr_assert_eq(test_put(v.rig.p, 1), 0);
	data_word(&v, 0)[1] = (uint64_t)(v.rig.r.max_record + 1) << 32;
	cr_expect_eq(quoit_peek(v.rig.c, &msg), -EBADMSG);
	cr_expect_eq(quoit_peek(v.rig.c, &msg), -EBADMSG, "poisoned");
	let_go(&v);
}

/* Random words anywhere but in the header, while both ends go on. */
Test(damage, random_words_anywhere_never_crash_or_hang_anybody)
{
	uint64_t seed = 5;

	for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
		struct victim v = victim_of(test_kinds[round % 2]);
		char buf[64] = {0};

		for (unsigned i = 0; i < 40; i++) {
			uint64_t from = v.header->control_offset;
			uint64_t at = from + test_random(&seed) % (v.size - from - 8);
			uint64_t value = test_random(&seed) >> test_random_below(&seed, 64);
			struct quoit_msg msg;
			void *payload;

			if (test_random_below(&seed, 3) == 0)
				at = from + test_random_below(&seed, 2048);
			memcpy(v.bytes + (at & ~UINT64_C(7)), &value, 8);
			(void)quoit_send(v.rig.p, buf, test_random_below(&seed, 48), 1,
					 QUOIT_NOWAIT);
			if (quoit_reserve(v.rig.p, 40, &payload) == 0) {
				memset(payload, 1, 40);
				(void)quoit_commit(v.rig.p, payload, 40, 0);
			}
			if (quoit_peek(v.rig.c, &msg) == 1) {
				/* Readable, however long it says it is. */
				const volatile unsigned char *p = msg.data;

				for (uint32_t n = 0; n < msg.len; n++)
					(void)p[n];
				(void)quoit_advance(v.rig.c, &msg);
			}
			(void)take_until_refused(v.rig.c);
			(void)test_stats(v.rig.r.q);
		}
		(void)attach_and_use(v.rig.r.name);
		let_go(&v);
	}
}

/* Of those that a test may come to. */
static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int die_as_a_producer(void *arg)
{
	struct victim *v = arg;
	struct quoit_producer *p;

	CHILD_CHECK(quoit_producer_open(v->rig.r.q, &p) == 0);
	raise(SIGKILL);
	return 0;
}

Test(damage, an_open_that_fails_after_waking_others_leaves_no_descriptor)
{
	struct victim v = victim_of(QUOIT_SPSC);
	struct quoit__row *row = (struct quoit__row *)(void *)(v.bytes + v.header->peers_offset);
	struct quoit_producer *p;
	unsigned before;

	quoit_producer_close(v.rig.p);
	MUST(quoit_consumer_fd(v.rig.c) >= 0);
	cr_assert_eq(test_wait(test_spawn(die_as_a_producer, &v)), 128 + SIGKILL);
	/* Asleep in an event loop, as far as others know. */
	atomic_store(&row[1].sleeping, 1);
	sync_announce(&v.rig.r.q->readable, SYNC_EVENTFD);
	atomic_store(&row[0].position, 4);
	before = open_descriptors();
	cr_assert_eq(quoit_producer_open(v.rig.r.q, &p), -EBADMSG);
	cr_expect_eq(open_descriptors(), before);
	atomic_store(&row[0].position, 0);
	cr_assert_eq(quoit_producer_open(v.rig.r.q, &v.rig.p), 0, "and its row is free");
	let_go(&v);
}
