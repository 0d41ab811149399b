/* SPDX-License-Identifier: MIT */
/*
 * A ring that changes while it is used: a thread writes to a second mapping of it, over and over,
 * while producer, consumer and observer are at work on the first. What has been checked may be
 * something else a moment later; still every record that peek returns lies within the mapping for
 * its whole length, recv writes nothing outside its buffer, and every call ends.
 *
 * An input is
 *   byte 0     the ring to begin with (scene.h)
 *   byte 1     n, how many words are written to: 1 to 8; 128 and up: all at once, checksums among
 *              them so that they agree with the others
 *   5n bytes   {region, place in it, how to lie, what, how long it stays and whether it is taken
 *              back}
 *   the rest   a program: a call (session.h) and its argument each
 */
#include <pthread.h>
#include <sched.h>

#include "fuzz/places.h"
#include "fuzz/session.h"

#define MUTATIONS_MAX 8
#define CALLS_MAX     96
#define ATTACHES_MAX  50

struct mutation {
	struct place at;
	uint64_t lie, truth;
	unsigned pauses; /* after it */
	bool restored;
};

struct mutator {
	unsigned char *bytes; /* its own mapping */
	unsigned count;
	bool together;
	struct mutation mutations[MUTATIONS_MAX];
	_Atomic bool started, stop;
};

/* Relaxed: the order in which others see lies is no matter. */
static void put(unsigned char *at, uint32_t size, uint64_t value)
{
	if (size == 8)
		__atomic_store_n((uint64_t *)(void *)at, value, __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint32_t *)(void *)at, (uint32_t)value, __ATOMIC_RELAXED);
}

static void pause_for(const struct mutation *u)
{
	for (unsigned k = 0; k < u->pauses; k++)
		atomic_signal_fence(memory_order_seq_cst);
}

static void tell_lie(struct mutator *m, const struct mutation *u)
{
	put(m->bytes + u->at.offset, u->at.size, u->lie);
}

static void tell_truth(struct mutator *m, const struct mutation *u)
{
	if (u->restored)
		put(m->bytes + u->at.offset, u->at.size, u->truth);
}

static void lie_one_by_one(struct mutator *m)
{
	for (unsigned i = 0; i < m->count; i++) {
		tell_lie(m, &m->mutations[i]);
		pause_for(&m->mutations[i]);
		tell_truth(m, &m->mutations[i]);
	}
}

/* Two rings by turns, each of which may be a good one. */
static void lie_together(struct mutator *m)
{
	for (unsigned i = 0; i < m->count; i++)
		tell_lie(m, &m->mutations[i]);
	pause_for(&m->mutations[0]);
	for (unsigned i = 0; i < m->count; i++)
		tell_truth(m, &m->mutations[i]);
	pause_for(&m->mutations[0]);
}

static void *keep_lying(void *arg)
{
	struct mutator *m = arg;

	atomic_store_explicit(&m->started, true, memory_order_release);
	for (unsigned turn = 0; !atomic_load_explicit(&m->stop, memory_order_acquire); turn++) {
		if (turn % 16 == 0)
			sched_yield(); /* on a busy machine the calls would not get on */
		if (m->together)
			lie_together(m);
		else
			lie_one_by_one(m);
	}
	return NULL;
}

/* Checksums among the lies are those of the other lies. */
static void agree(struct mutator *m, const struct scene *good)
{
	alignas(8) unsigned char head[QUOIT__CONTROL_OFFSET];

	memcpy(head, good->bytes, sizeof(head));
	for (unsigned i = 0; i < m->count; i++) {
		const struct mutation *u = &m->mutations[i];

		if (u->at.offset + u->at.size <= sizeof(head))
			memcpy(head + u->at.offset, &u->lie, u->at.size);
	}
	for (unsigned i = 0; i < m->count; i++) {
		struct mutation *u = &m->mutations[i];

		if (u->at.offset == offsetof(struct quoit__header, checksum))
			u->lie = quoit__checksum((void *)head);
		else if (u->at.offset ==
			 QUOIT__HEAP_HEADER_OFFSET + offsetof(struct quoit__heap_header, checksum))
			u->lie = quoit__heap_checksum((void *)(head + QUOIT__HEAP_HEADER_OFFSET));
	}
}

static void read_mutations(struct mutator *m, struct input *in, const struct scene *good)
{
	unsigned first = input_byte(in);

	m->count = first % MUTATIONS_MAX + 1;
	m->together = first >= 128;
	for (unsigned i = 0; i < m->count; i++) {
		struct mutation *u = &m->mutations[i];
		unsigned region = input_byte(in), index = input_byte(in), how = input_byte(in);
		unsigned what = input_byte(in), stays = input_byte(in);

		u->at = place_in(good->bytes, good->size, region, index);
		u->lie = lie(good->bytes, u->at, how, what);
		memcpy(&u->truth, good->bytes + u->at.offset, u->at.size);
		u->pauses = (stays & 127) * (stays & 127) / 4;
		u->restored = (stays & 128) == 0;
	}
	if (m->together)
		agree(m, good);
}

static void run_program(struct session *s, struct input *in, const char *name)
{
	for (unsigned i = 0; i < CALLS_MAX && in->left >= 2; i++) {
		unsigned call = input_byte(in), argument = input_byte(in);

		if (call >= 252)
			repair(name);
		else if (call >= 248)
			inspect(name);
		else
			session_call(s, call % CALL_COUNT, argument);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const struct scene *good = scene(input_byte(&in));
	struct session s = {.q = NULL};
	struct mutator m = {.count = 0};
	pthread_t thread;
	char name[32];
	int fd = segment_of(good->bytes, good->n, good->size), r = -1;

	read_mutations(&m, &in, good);
	snprintf(name, sizeof(name), "fd:%d", fd);
	m.bytes = mmap(NULL, good->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(m.bytes != MAP_FAILED);
	MUST(pthread_create(&thread, NULL, keep_lying, &m) == 0);
	while (!atomic_load_explicit(&m.started, memory_order_acquire))
		sched_yield();
	/* A header that lies is refused; it tells the truth now and then. */
	for (unsigned i = 0; i < ATTACHES_MAX && r != 0; i++)
		r = session_attach(&s, name);
	if (r == 0) {
		run_program(&s, &in, name);
		session_end(&s);
	}
	atomic_store_explicit(&m.stop, true, memory_order_release);
	MUST(pthread_join(thread, NULL) == 0);
	munmap(m.bytes, good->size);
	close(fd);
	return 0;
}

#ifndef QUOIT_LIBFUZZER

/* Headers, and their checksums. */
static void make_together(uint64_t *random, uint8_t *input, unsigned mutations)
{
	bool heap = test_random_below(random, 2) != 0;

	input[0] = scene_number(heap ? SCENE_SPSC_HEAP + test_random_below(random, 2)
				     : test_random_below(random, 3),
				test_random_below(random, SCENE_STATES));
	input[1] |= 128;
	for (unsigned i = 0; i < mutations; i++)
		input[2 + 5 * i] = heap ? IN_HEAP : IN_HEADER;
	/* The last one: their places are the last of their kind. */
	input[2 + 5 * (mutations - 1) + 1] =
		heap ? HEAP_CHECKSUM_PLACE : TEST_COUNT(header_places) - 1;
}

static size_t make_input(uint64_t *random, uint8_t *input)
{
	unsigned mutations = 1 + test_random_below(random, MUTATIONS_MAX);
	size_t n = 2 + 5 * mutations, calls = 1 + test_random_below(random, CALLS_MAX);

	for (size_t i = 0; i < n; i++)
		input[i] = (uint8_t)test_random(random);
	input[1] = (uint8_t)(mutations - 1);
	for (unsigned i = 0; i < mutations; i++)
		if (test_random_below(random, 4) != 0 && input[2 + 5 * i] % IN_COUNT == IN_HEADER)
			input[2 + 5 * i]++; /* what is attached does not look there again */
	if (test_random_below(random, 4) == 0)
		make_together(random, input, mutations);
	for (size_t i = 0; i < calls; i++) {
		uint32_t dice = test_random_below(random, 64);

		/* Waiting takes time: not so often as the others. */
		input[n++] = (uint8_t)(dice < 60   ? test_random_below(random, CALL_SEND_WAITING)
				       : dice < 63 ? test_random_below(random, CALL_COUNT)
						   : 248 + test_random_below(random, 8));
		input[n++] = (uint8_t)test_random(random);
	}
	return n;
}

/* Everything called, `times` times, and looked at and repaired in between. */
static uint8_t *put_program(uint8_t *at, unsigned times, unsigned look)
{
	for (unsigned i = 0; i < times * CALL_COUNT; i++) {
		*at++ = (uint8_t)(i % 8 < look ? 248 + i % 8 : i % CALL_COUNT);
		*at++ = (uint8_t)(i * 3);
	}
	return at;
}

static void make_seed(const char *directory, const char *kind, const char *what,
		      const uint8_t *input, const uint8_t *end)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s-%s", directory, kind, what);
	write_file(path, input, (size_t)(end - input));
}

/* By turns a ring and another one, both good, but that the other has half the room, half the peers,
 * or half the heap. */
static void make_swap(const char *directory, unsigned kind)
{
	static const uint8_t half_room[][5] = {{IN_HEADER, 16, 4, 10, 20},
					       {IN_HEADER, 25, 0, 0, 0}};
	static const uint8_t half_slots[][5] = {{IN_HEADER, 16, 4, 10, 20},
						{IN_HEADER, 17, 3, 8, 0},
						{IN_HEADER, 10, 3, 2, 0},
						{IN_HEADER, 25, 0, 0, 0}};
	static const uint8_t half_slots_large[][5] = {{IN_HEADER, 16, 4, 10, 20},
						      {IN_HEADER, 17, 3, 2, 0},
						      {IN_HEADER, 10, 3, 2, 0},
						      {IN_HEADER, 25, 0, 0, 0}};
	static const uint8_t half_heap[][5] = {{IN_HEAP, 1, 0, 16, 20},
					       {IN_HEAP, 2, 4, 18, 0},
					       {IN_HEAP, HEAP_CHECKSUM_PLACE, 0, 0, 0}};
	bool heap = kind >= SCENE_SPSC_HEAP, large = kind == SCENE_LARGE_SLOTS;
	const void *lies = heap                 ? half_heap
			   : kind == SCENE_SPSC ? half_room
			   : large              ? half_slots_large
						: half_slots;
	size_t size = heap                 ? sizeof(half_heap)
		      : kind == SCENE_SPSC ? sizeof(half_room)
					   : sizeof(half_slots);
	uint8_t input[512], *at = input;

	*at++ = scene_number(kind, SCENE_HALF);
	*at++ = (uint8_t)(128 + size / 5 - 1);
	memcpy(at, lies, size);
	make_seed(directory, scene_kinds[kind], "swapped", input, put_program(at + size, 4, 6));
}

/* For each kind of ring, each region by itself, with everything called three times. */
static void make_seeds(const char *directory)
{
	for (unsigned kind = 0; kind < SCENE_KINDS; kind++) {
		make_swap(directory, kind);
		for (unsigned region = 0; region < IN_COUNT; region++) {
			uint8_t input[256], *at = input;

			*at++ = scene_number(kind, 1 + region % 4);
			*at++ = 3;
			for (uint8_t i = 0; i < 4; i++, at += 5)
				memcpy(at,
				       (uint8_t[5]){(uint8_t)region, (uint8_t)(i * 5 + kind),
						    (uint8_t)(9 - i), (uint8_t)(i * 37),
						    (uint8_t)(i * 16 + 4)},
				       5);
			make_seed(directory, scene_kinds[kind], region_names[region], input,
				  put_program(at, 3, 0));
		}
	}
}

int main(int argc, char **argv)
{
	return harness_main(&(const struct harness){.name = "mutate",
						    .make_input = make_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
