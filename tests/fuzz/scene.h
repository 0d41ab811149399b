/* SPDX-License-Identifier: MIT */
/*
 * Good rings to be spoilt, and the places in them where spoiling matters. All begin with a page of
 * header, control and peer rows and one of record space, so that the guard pages lie right behind
 * the last record. Those with a heap have its table and two units behind that; what lies in the
 * units is payload, and of no interest.
 */
#ifndef QUOIT_TESTS_FUZZ_SCENE_H
#define QUOIT_TESTS_FUZZ_SCENE_H

#include "fuzz/harness.h"
#include "ring/heap.h"
#include "ring/layout.h"
#include "ring/slot.h"

#define SCENE_SIZE     8192u
#define SCENE_DATA     4096u
#define SCENE_CAPACITY 4096u
#define SCENE_HEAP     12288u /* behind the page of the table */
#define SCENE_UNITS    2u
#define SCENE_MAX      (SCENE_HEAP + SCENE_UNITS * 65536u)

enum { SCENE_SPSC, SCENE_SLOTS, SCENE_LARGE_SLOTS, SCENE_SPSC_HEAP, SCENE_SLOTS_HEAP, SCENE_KINDS };
enum { SCENE_EMPTY, SCENE_HALF, SCENE_FULL, SCENE_WRAP, SCENE_LENT, SCENE_STATES };
/* Each with its peers closed, and with both of them dead. First those without a heap. */
#define SCENES_PLAIN (3 * SCENE_STATES * 2u)
#define SCENES       (SCENES_PLAIN + 2 * SCENE_STATES * 2u)

struct scene {
	unsigned kind, state;
	bool dead;
	unsigned char *bytes; /* the first SCENE_HEAP or SCENE_SIZE of them; the rest is zero */
	size_t n, size;       /* of bytes; of the segment */
};

static const char *const scene_kinds[]
	__attribute__((unused)) = {"spsc", "mpmc", "mpmc-large", "spsc-heap", "mpmc-heap"};
static const char *const scene_states[]
	__attribute__((unused)) = {"empty", "half", "full", "wrap", "lent"};

/* ---- making them ---------------------------------------------------------------------------- */

/* A record that is a unit, and two small ones, if the program has an allocator for them. */
static void fill_heap(struct test_rig *rig)
{
	static const unsigned char record[65536] = {4, 5, 6};
	int r = quoit_send(rig->p, record, sizeof(record), 9, QUOIT_NOWAIT);

	MUST(r == 0);
	for (uint32_t i = 1; i <= 2 && r == 0; i++)
		r = quoit_send(rig->p, record, 2500 * i, i, QUOIT_NOWAIT);
	MUST(r == 0 || r == -ENOTSUP);
}

static void fill_scene(struct test_rig *rig, unsigned state, bool heap)
{
	static const unsigned char record[200] = {1, 2, 3};
	unsigned put = state == SCENE_EMPTY ? 0 : state == SCENE_FULL ? 1000 : 9;
	unsigned taken = state == SCENE_FULL ? 0 : put / 2;
	struct quoit_msg msg;
	unsigned char buf[256];
	void *payload;

	if (heap && state == SCENE_FULL)
		fill_heap(rig);
	for (unsigned i = 0; i < put; i++)
		if (quoit_send(rig->p, record, i * 24 % sizeof(record), i, QUOIT_NOWAIT) != 0)
			break;
	for (unsigned i = 0; i < taken; i++)
		if (quoit_recv(rig->c, buf, sizeof(buf), &msg, QUOIT_NOWAIT) != 1)
			break;
	if (heap && state != SCENE_FULL && state != SCENE_EMPTY)
		fill_heap(rig);
	if (state != SCENE_LENT)
		return;
	/* The four large slots are full by now. */
	MUST(quoit_reserve(rig->p, 16, &payload) == 0 || rig->r.max_record == 1008);
	MUST(quoit_peek(rig->c, &msg) == 1 || rig->r.max_record == 1008);
}

static struct quoit_options scene_options(const struct scene *s)
{
	bool spsc = s->kind == SCENE_SPSC || s->kind == SCENE_SPSC_HEAP;
	struct quoit_options opt = test_options(spsc ? QUOIT_SPSC : QUOIT_MPMC);

	opt.capacity = SCENE_CAPACITY;
	if (!spsc) {
		opt.slot_size = s->kind == SCENE_LARGE_SLOTS ? 1008 : 240;
		opt.peers = 4;
	}
	/* The 64-bit position or ticket passes its end in the next few records. */
	if (s->state == SCENE_WRAP)
		opt.start = spsc ? UINT64_MAX - 511 : UINT64_MAX - 4;
	if (s->kind >= SCENE_SPSC_HEAP)
		opt.heap_size = SCENE_UNITS * 65536u;
	return opt;
}

static void make_scene(struct scene *s)
{
	struct quoit_options opt = scene_options(s);
	struct test_rig rig;
	int fd;

	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	fill_scene(&rig, s->state, opt.heap_size != 0);
	fd = dup(quoit_fd(rig.r.q));
	MUST(fd >= 0);
	if (!s->dead) {
		quoit_producer_close(rig.p);
		quoit_consumer_close(rig.c);
		rig.p = NULL;
		rig.c = NULL;
	}
	s->size = test_info(rig.r.q).segment_size;
	s->n = opt.heap_size != 0 ? SCENE_HEAP : SCENE_SIZE;
	MUST(s->size == (opt.heap_size != 0 ? SCENE_MAX : SCENE_SIZE));
	s->bytes = malloc(s->n);
	MUST(s->bytes != NULL);
	MUST(pread(fd, s->bytes, s->n, 0) == (ssize_t)s->n);
	close(fd);
	test_rig_close(&rig);
}

static const struct scene *scene(unsigned which)
{
	static struct scene scenes[SCENES];
	struct scene *s = &scenes[which %= SCENES];

	if (s->bytes != NULL)
		return s;
	if (which < SCENES_PLAIN) {
		s->kind = which % 3;
		which /= 3;
	} else {
		which -= SCENES_PLAIN;
		s->kind = SCENE_SPSC_HEAP + which % 2;
		which /= 2;
	}
	s->state = which % SCENE_STATES;
	s->dead = which / SCENE_STATES != 0;
	make_scene(s);
	return s;
}

static uint8_t __attribute__((unused)) scene_number(unsigned kind, unsigned state)
{
	return (uint8_t)(kind < SCENE_SPSC_HEAP
				 ? kind + 3 * state
				 : SCENES_PLAIN + kind - SCENE_SPSC_HEAP + 2 * state);
}

/* A sealed memfd of `size` bytes that begins with these. */
static int segment_of(const void *bytes, size_t n, size_t size)
{
	int fd = memfd_create("quoit-fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0);
	MUST(ftruncate(fd, (off_t)size) == 0);
	MUST(pwrite(fd, bytes, n, 0) == (ssize_t)n);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

#endif
