/* SPDX-License-Identifier: MIT */
/*
 * Good rings to be spoilt, and the places in them where spoiling matters. All are two pages long:
 * one of header, control and peer rows, one of record space, so that the guard pages lie right
 * behind the last record.
 */
#ifndef QUOIT_TESTS_FUZZ_SCENE_H
#define QUOIT_TESTS_FUZZ_SCENE_H

#include "fuzz/harness.h"
#include "ring/layout.h"
#include "ring/slot.h"

#define SCENE_SIZE     8192u
#define SCENE_DATA     4096u
#define SCENE_CAPACITY 4096u

enum { SCENE_SPSC, SCENE_SLOTS, SCENE_LARGE_SLOTS, SCENE_KINDS };
enum { SCENE_EMPTY, SCENE_HALF, SCENE_FULL, SCENE_WRAP, SCENE_LENT, SCENE_STATES };
/* Each with its peers closed, and with both of them dead. */
#define SCENES (SCENE_KINDS * SCENE_STATES * 2u)

static const char *const scene_kinds[] __attribute__((unused)) = {"spsc", "mpmc", "mpmc-large"};
static const char *const scene_states[]
	__attribute__((unused)) = {"empty", "half", "full", "wrap", "lent"};

/* ---- making them ---------------------------------------------------------------------------- */

static void fill_scene(struct test_rig *rig, unsigned state)
{
	static const unsigned char record[200] = {1, 2, 3};
	unsigned put = state == SCENE_EMPTY ? 0 : state == SCENE_FULL ? 1000 : 9;
	unsigned taken = state == SCENE_FULL ? 0 : put / 2;
	struct quoit_msg msg;
	unsigned char buf[256];
	void *payload;

	for (unsigned i = 0; i < put; i++)
		if (quoit_send(rig->p, record, i * 24 % sizeof(record), i, QUOIT_NOWAIT) != 0)
			break;
	for (unsigned i = 0; i < taken; i++)
		if (quoit_recv(rig->c, buf, sizeof(buf), &msg, QUOIT_NOWAIT) != 1)
			break;
	if (state != SCENE_LENT)
		return;
	MUST(quoit_reserve(rig->p, 16, &payload) == 0 || rig->r.max_record > 240);
	MUST(quoit_peek(rig->c, &msg) == 1 || rig->r.max_record > 240);
}

static void make_scene(unsigned char *bytes, unsigned which)
{
	unsigned kind = which % SCENE_KINDS, state = which / SCENE_KINDS % SCENE_STATES;
	bool dead = which / SCENE_KINDS / SCENE_STATES != 0;
	struct quoit_options opt = test_options(kind == SCENE_SPSC ? QUOIT_SPSC : QUOIT_MPMC);
	struct test_rig rig;
	int fd;

	opt.capacity = SCENE_CAPACITY;
	if (kind != SCENE_SPSC) {
		opt.slot_size = kind == SCENE_SLOTS ? 240 : 1008;
		opt.peers = 4;
	}
	/* The 64-bit position or ticket passes its end in the next few records. */
	if (state == SCENE_WRAP)
		opt.start = kind == SCENE_SPSC ? UINT64_MAX - 511 : UINT64_MAX - 4;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	fill_scene(&rig, state);
	fd = dup(quoit_fd(rig.r.q));
	MUST(fd >= 0);
	if (!dead) {
		quoit_producer_close(rig.p);
		quoit_consumer_close(rig.c);
		rig.p = NULL;
		rig.c = NULL;
	}
	MUST(test_info(rig.r.q).segment_size == SCENE_SIZE);
	MUST(pread(fd, bytes, SCENE_SIZE, 0) == SCENE_SIZE);
	close(fd);
	test_rig_close(&rig);
}

/* Constant, but that nobody is meant to write to it. */
static const unsigned char *scene(unsigned which)
{
	static unsigned char *scenes[SCENES];

	which %= SCENES;
	if (scenes[which] == NULL) {
		scenes[which] = malloc(SCENE_SIZE);
		MUST(scenes[which] != NULL);
		make_scene(scenes[which], which);
	}
	return scenes[which];
}

/* A sealed memfd of these bytes. */
static int segment_of(const void *bytes, size_t size)
{
	int fd = memfd_create("quoit-fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0);
	MUST(ftruncate(fd, (off_t)size) == 0);
	MUST(pwrite(fd, bytes, size, 0) == (ssize_t)size);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

/* ---- places --------------------------------------------------------------------------------- */

/* A word of 4 or 8 bytes, aligned to its size. */
struct place {
	uint32_t offset;
	uint32_t size;
};

#define PLACE(type, base, field)                                                                   \
	{                                                                                          \
		(base) + offsetof(type, field), sizeof(((type *)0)->field)                         \
	}
#define HEADER(field)  PLACE(struct quoit__header, 0, field)
#define CONTROL(field) PLACE(struct quoit__control, QUOIT__CONTROL_OFFSET, field)
#define ROW(field)     PLACE(struct quoit__row, QUOIT__PEERS_OFFSET, field)

static const struct place header_places[] = {
	HEADER(magic),       HEADER(state),          HEADER(version),      HEADER(endian),
	HEADER(header_size), HEADER(compat),         HEADER(incompat),     HEADER(kind),
	HEADER(wait),        HEADER(backend),        HEADER(peers),        HEADER(segment_size),
	HEADER(peers),       HEADER(control_offset), HEADER(peers_offset), HEADER(data_offset),
	HEADER(capacity),    HEADER(slots),          HEADER(row_stride),   HEADER(slot_stride),
	HEADER(slot_size),   HEADER(page_size),      HEADER(start),        HEADER(creator_pid),
	HEADER(created_ns),  HEADER(checksum)};
static const struct place control_places[] = {CONTROL(head),
					      CONTROL(tail),
					      CONTROL(readable.word),
					      CONTROL(readable.backends),
					      CONTROL(readable.sysv_sem),
					      CONTROL(writable.word),
					      CONTROL(writable.backends),
					      CONTROL(writable.sysv_sem),
					      CONTROL(produced),
					      CONTROL(consumed),
					      CONTROL(producer_deaths),
					      CONTROL(consumer_deaths),
					      CONTROL(producer_deaths_told),
					      CONTROL(consumer_deaths_told),
					      CONTROL(redeliveries)};
static const struct place row_places[] = {
	ROW(state), ROW(role),      ROW(pid),   ROW(uid),      ROW(wait),        ROW(sleeping),
	ROW(epoch), ROW(opened_ns), ROW(state), ROW(position), ROW(counters[0]), ROW(counters[9])};

enum {
	IN_HEADER,
	IN_CONTROL,
	IN_ROW,
	IN_RECORD, /* SPSC: the words from the consumer's position on */
	IN_SLOT,
	IN_DESCRIPTOR,
	IN_SEMAPHORE,
	IN_ANY,
	IN_COUNT
};

static uint64_t word_of(const unsigned char *bytes, uint64_t offset)
{
	uint64_t word;

	memcpy(&word, bytes + offset, 8);
	return word;
}

static uint64_t consumer_position(const unsigned char *bytes)
{
	return word_of(bytes, QUOIT__PEERS_OFFSET + sizeof(struct quoit__row) +
				      offsetof(struct quoit__row, position));
}

static bool is_mpmc(const unsigned char *bytes)
{
	return word_of(bytes, offsetof(struct quoit__header, slots)) != 0;
}

/* Bytes from slot to slot, whatever the header says. */
static uint32_t stride_of(const unsigned char *bytes)
{
	uint32_t stride;

	memcpy(&stride, bytes + offsetof(struct quoit__header, slot_stride), 4);
	return stride >= 16 && stride % 8 == 0 && stride <= 1024 ? stride : 256;
}

static struct place row_place(unsigned index)
{
	struct place p = row_places[index / 4 % TEST_COUNT(row_places)];

	p.offset += index % 4 * (uint32_t)sizeof(struct quoit__row);
	return p;
}

/* The `index`th place of a region of a ring of SCENE_SIZE bytes. */
static struct place place_in(const unsigned char *bytes, unsigned region, unsigned index)
{
	uint32_t stride = stride_of(bytes);

	switch (region % IN_COUNT) {
	case IN_HEADER:
		return header_places[index % TEST_COUNT(header_places)];
	case IN_CONTROL:
		return control_places[index % TEST_COUNT(control_places)];
	case IN_ROW:
		return row_place(index);
	case IN_RECORD:
		return (struct place){SCENE_DATA +
					      (uint32_t)((consumer_position(bytes) / 8 + index) *
							 8 % SCENE_CAPACITY),
				      8};
	case IN_SLOT:
		return (struct place){SCENE_DATA + index % (SCENE_CAPACITY / stride) * stride, 8};
	case IN_DESCRIPTOR:
		return (struct place){SCENE_DATA + index % (SCENE_CAPACITY / stride) * stride + 8,
				      8};
	case IN_SEMAPHORE:
		return (struct place){
			QUOIT__CONTROL_OFFSET +
				(uint32_t)(index & 16
						   ? offsetof(struct quoit__control, writable.sem)
						   : offsetof(struct quoit__control,
							      readable.sem)) +
				index % 16 * 4,
			4};
	default:
		return (struct place){(index * 31 % (SCENE_SIZE / 8)) * 8, 8};
	}
}

/* ---- lies ----------------------------------------------------------------------------------- */

/* A header word for the position of the consumer's lap that lies at `offset`. */
static uint64_t record_lie(const unsigned char *bytes, uint32_t offset, unsigned argument)
{
	static const uint32_t lengths[] = {
		0,    8,    16,        SCENE_CAPACITY / 2 - 16, SCENE_CAPACITY / 2, 4080,
		4088, 4096, 0x3fffffff};
	uint64_t consumer = consumer_position(bytes), mask = SCENE_CAPACITY - 1;
	uint64_t position = consumer + ((offset - SCENE_DATA - consumer) & mask);
	uint64_t rest = SCENE_CAPACITY - (position & mask), len = lengths[argument % 9];
	uint64_t word = quoit__tag(position, 63 - 12);

	if (argument % 16 >= 9) /* about as much as there is up to the end */
		len = rest + argument % 16 * 4 - 56;
	if (argument & 16)
		word |= QUOIT__PADDING;
	if (argument & 32)
		word ^= QUOIT__TAG;
	return word | (len & QUOIT__LENGTH_MASK) << 32 | argument;
}

/* A slot word some laps from the one that is there, of any phase and owner. */
static uint64_t slot_lie(uint64_t old, unsigned argument)
{
	uint64_t lap = UINT64_C(1) << 16, turn = old / lap * lap;
	uint64_t owner = argument >> 3 & 3;

	turn += ((argument >> 5) - (argument & 128 ? 6u : 0u)) * lap;
	return turn | (owner == 3 ? 0xfff : owner) << 4 | (argument & 7);
}

/* What to put at a place instead of what is there: `how` chooses the kind of lie. */
static uint64_t lie(const unsigned char *bytes, struct place at, unsigned how, unsigned argument)
{
	static const uint64_t specials[] = {0,
					    UINT64_MAX,
					    UINT64_C(1) << 63,
					    UINT64_C(1) << 62,
					    UINT64_C(1) << 31,
					    UINT32_MAX,
					    INT32_MAX,
					    SCENE_SIZE,
					    4095,
					    4088,
					    2048,
					    1024,
					    SCENE_CAPACITY,
					    INT64_MAX,
					    UINT64_C(1) << 40,
					    0x01020304u,
					    UINT64_MAX - 7,
					    UINT64_C(4095) << 20};
	int8_t offset = (int8_t)argument;
	uint64_t old = 0;

	memcpy(&old, bytes + at.offset, at.size);
	switch (how % 10) {
	case 0:
		return old ^ UINT64_C(1) << argument % 64;
	case 1:
		return old + (uint64_t)offset;
	case 2:
		return old + (uint64_t)offset * 8;
	case 3:
		return argument;
	case 4:
		return specials[argument % TEST_COUNT(specials)];
	case 5:
		return consumer_position(bytes) + (uint64_t)offset * 8;
	case 6:
		return word_of(bytes, QUOIT__PEERS_OFFSET + offsetof(struct quoit__row, position)) +
		       (uint64_t)offset * 4;
	case 7: /* the halves of an event word; a slot's length */
		return (old & UINT32_MAX) << 32 | ((old + argument) & UINT32_MAX);
	case 8:
		return (uint64_t)argument * 8 << 32 | argument;
	default:
		return is_mpmc(bytes) ? slot_lie(old, argument)
				      : record_lie(bytes, at.offset, argument);
	}
}

#endif
