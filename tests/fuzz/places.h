/* SPDX-License-Identifier: MIT */
/*
 * Where in the bytes of a scene (scene.h) spoiling matters, and what to put there.
 */
#ifndef QUOIT_TESTS_FUZZ_PLACES_H
#define QUOIT_TESTS_FUZZ_PLACES_H

#include "fuzz/scene.h"

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
#define HEAP(field)    PLACE(struct quoit__heap_header, QUOIT__HEAP_HEADER_OFFSET, field)

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
	ROW(state),       ROW(role),        ROW(pid),       ROW(uid),   ROW(wait),
	ROW(sleeping),    ROW(epoch),       ROW(opened_ns), ROW(state), ROW(position),
	ROW(counters[0]), ROW(counters[9]), ROW(set_bit),   ROW(set[0])};
#define HEAP_CHECKSUM_PLACE 5
/* The words of the table more often: they live. */
static const struct place heap_places[] = {HEAP(table_offset), HEAP(offset),        HEAP(size),
					   HEAP(unit),         HEAP(share),         HEAP(checksum),
					   {SCENE_SIZE, 8},    {SCENE_SIZE + 8, 8}, {SCENE_SIZE, 8},
					   {SCENE_SIZE + 8, 8}};

enum {
	IN_HEADER,
	IN_CONTROL,
	IN_ROW,
	IN_RECORD, /* SPSC: the words from the consumer's position on */
	IN_SLOT,
	IN_DESCRIPTOR,
	IN_SEMAPHORE,
	IN_ANY,
	IN_HEAP, /* its header and its table; in a ring without one as IN_ANY */
	IN_COUNT
};
static const char *const region_names[] __attribute__((unused)) = {
	"header", "control", "row", "record", "slot", "desc", "semaphore", "any", "heap"};

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

/* The descriptors; then the first words of the payload, which are one for a heap record. */
static struct place descriptor_place(uint32_t stride, unsigned index)
{
	uint32_t word = index < 128 || stride < 40 ? 0 : 1 + index / 16 % 3;

	return (struct place){
		SCENE_DATA + index % (SCENE_CAPACITY / stride) * stride + 8 + word * 8, 8};
}

static struct place row_place(unsigned index)
{
	struct place p = row_places[index / 4 % TEST_COUNT(row_places)];

	p.offset += index % 4 * (uint32_t)sizeof(struct quoit__row);
	return p;
}

/* The `index`th place of a region of a segment of `size` bytes, SCENE_SIZE or more. */
static struct place place_in(const unsigned char *bytes, size_t size, unsigned region,
			     unsigned index)
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
		return descriptor_place(stride, index);
	case IN_SEMAPHORE:
		return (struct place){
			QUOIT__CONTROL_OFFSET +
				(uint32_t)(index & 16
						   ? offsetof(struct quoit__control, writable.sem)
						   : offsetof(struct quoit__control,
							      readable.sem)) +
				index % 16 * 4,
			4};
	case IN_HEAP:
		if (size >= SCENE_HEAP)
			return heap_places[index % TEST_COUNT(heap_places)];
		/* fall through */
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
	if (argument & 64) /* a record in the heap */
		return (word & QUOIT__TAG) | QUOIT__PADDING |
		       (uint64_t)sizeof(struct quoit__heap_record) << 32 | QUOIT__HEAP_MARK;
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

/* A word of the heap's table: any state, owner and generation. */
static uint64_t unit_lie(uint64_t old, unsigned argument)
{
	uint64_t owner = argument >> 2 & 7;

	return ((old >> 20) + (argument >> 5)) << 20 | (owner == 7 ? 0xffff : owner) << 4 |
	       (argument & 3);
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
					    UINT64_C(4095) << 20,
					    65536,
					    131072,
					    131064,
					    (uint64_t)UINT32_MAX << 32};
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
		if (at.offset >= SCENE_SIZE)
			return unit_lie(old, argument);
		return is_mpmc(bytes) ? slot_lie(old, argument)
				      : record_lie(bytes, at.offset, argument);
	}
}

#endif
