/* SPDX-License-Identifier: MIT */
/*
 * A ring that changes while it is used: a thread writes to a second mapping of it, over and over,
 * while producer, consumer and observer are at work on the first. What has been checked may be
 * something else a moment later; still every record that peek returns lies within the mapping for
 * its whole length, recv writes nothing outside its buffer, and every call ends.
 *
 * An input is
 *   byte 0     the ring to begin with (scene.h)
 *   byte 1     n, how many words are written to: 1 to 8
 *   5n bytes   {region, place in it, how to lie, what, how long it stays and whether it is taken
 *              back}
 *   the rest   a program: a call (session.h) and its argument each
 */
#include <pthread.h>
#include <sched.h>

#include "fuzz/scene.h"
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

static void *keep_lying(void *arg)
{
	struct mutator *m = arg;

	atomic_store_explicit(&m->started, true, memory_order_release);
	for (unsigned turn = 0; !atomic_load_explicit(&m->stop, memory_order_acquire); turn++) {
		if (turn % 16 == 0)
			sched_yield(); /* on a busy machine the calls would not get on */
		for (unsigned i = 0; i < m->count; i++) {
			const struct mutation *u = &m->mutations[i];

			put(m->bytes + u->at.offset, u->at.size, u->lie);
			for (unsigned k = 0; k < u->pauses; k++)
				atomic_signal_fence(memory_order_seq_cst);
			if (u->restored)
				put(m->bytes + u->at.offset, u->at.size, u->truth);
		}
	}
	return NULL;
}

static void read_mutations(struct mutator *m, struct input *in, const unsigned char *bytes)
{
	m->count = input_byte(in) % MUTATIONS_MAX + 1;
	for (unsigned i = 0; i < m->count; i++) {
		struct mutation *u = &m->mutations[i];
		unsigned region = input_byte(in), index = input_byte(in), how = input_byte(in);
		unsigned what = input_byte(in), stays = input_byte(in);

		u->at = place_in(bytes, region, index);
		u->lie = lie(bytes, u->at, how, what);
		memcpy(&u->truth, bytes + u->at.offset, u->at.size);
		u->pauses = (stays & 127) * (stays & 127) / 4;
		u->restored = (stays & 128) == 0;
	}
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
	const unsigned char *bytes = scene(input_byte(&in));
	struct session s = {.q = NULL};
	struct mutator m = {.count = 0};
	pthread_t thread;
	char name[32];
	int fd = segment_of(bytes, SCENE_SIZE), r = -1;

	read_mutations(&m, &in, bytes);
	snprintf(name, sizeof(name), "fd:%d", fd);
	m.bytes = mmap(NULL, SCENE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
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
	munmap(m.bytes, SCENE_SIZE);
	close(fd);
	return 0;
}

#ifndef QUOIT_LIBFUZZER

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

/* For each kind of ring, each region by itself, with everything called three times. */
static void make_seeds(const char *directory)
{
	static const char *const regions[] = {"header", "control", "row",       "record",
					      "slot",   "desc",    "semaphore", "any"};

	for (unsigned kind = 0; kind < SCENE_KINDS; kind++) {
		for (unsigned region = 0; region < IN_COUNT; region++) {
			uint8_t input[256], *at = input;
			char path[4096];

			*at++ = (uint8_t)(kind + SCENE_KINDS * (1 + region % 4));
			*at++ = 3;
			for (uint8_t i = 0; i < 4; i++, at += 5)
				memcpy(at,
				       (uint8_t[5]){(uint8_t)region, (uint8_t)(i * 5 + kind),
						    (uint8_t)(9 - i), (uint8_t)(i * 37),
						    (uint8_t)(i * 16 + 4)},
				       5);
			for (uint8_t i = 0; i < 3 * CALL_COUNT; i++) {
				*at++ = (uint8_t)(i % CALL_COUNT);
				*at++ = (uint8_t)(i * 3);
			}
			snprintf(path, sizeof(path), "%s/%s-%s", directory, scene_kinds[kind],
				 regions[region]);
			write_file(path, input, (size_t)(at - input));
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
