/* SPDX-License-Identifier: MIT */
/*
 * A ring that changes between two looks at it. One call is made, of producer, consumer, observer or
 * of somebody who attaches or repairs; before a certain access of it to the ring (watch.h) a word
 * changes: one that the call has looked at already, one that it is about to look at, or any other.
 * So what is read twice is met with two values, at every such place, and not by luck: mutate.c has
 * a thread for what lies between. Nothing outside the mapping may be touched, each call ends, and
 * gives what the header promises.
 *
 * An input is
 *   byte 0      the ring to begin with (scene.h)
 *   byte 1      the call: one of session.h's, or attaching (246), inspecting (248), repairing (252)
 *   byte 2      its argument
 *   bytes 3, 4  the access before which the word changes, counted from 0
 *   byte 5      which word: 0 that of this access, n that of n accesses before, up to 6; 7 another:
 *               bytes 8 and 9. 8: half of it. 16: for one access only. 32: by turns, at each access
 *               from there on
 *   bytes 6, 7  how to lie, and what (places.h)
 *   bytes 8, 9  region, and place in it
 *   the rest    calls to be made before, and their arguments
 */
#include "fuzz/places.h"
#include "fuzz/session.h"
#include "fuzz/watch.h"

#define INPUT_SIZE 10
#define TURNS_MAX  64 /* of a word that changes by turns */
#define BACK_MAX   8
#define PRELUDE    4 /* calls before */

enum { CALL_ATTACH = 246, CALL_INSPECT = 248, CALL_REPAIR = 252 };
enum { WORD_ELSEWHERE = 7, WORD_HALF = 8, WORD_ONCE = 16, WORD_TURNS = 32 };

/* Somebody who writes between two accesses. */
struct liar {
	unsigned char *bytes; /* its own mapping */
	size_t size;
	uint32_t accesses, moment, turns;
	uint32_t recent[BACK_MAX]; /* offsets of the last accesses */
	unsigned word, how, what, region, index;
	struct place at;
	uint64_t truth, lie;
};

static void put(const struct liar *l, uint64_t value)
{
	if (l->at.size == 8)
		__atomic_store_n((uint64_t *)(void *)(l->bytes + l->at.offset), value,
				 __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint32_t *)(void *)(l->bytes + l->at.offset), (uint32_t)value,
				 __ATOMIC_RELAXED);
}

static void choose_place(struct liar *l)
{
	unsigned back = l->word % 8;
	uint32_t size = l->word & WORD_HALF ? 4 : 8;

	if (back == WORD_ELSEWHERE) {
		l->at = place_in(l->bytes, l->size, l->region, l->index);
		return;
	}
	back = back < l->accesses ? back : l->accesses;
	l->at = (struct place){l->recent[(l->accesses - back) % BACK_MAX] & ~(size - 1), size};
}

/* The access number l->moment, or a later one. */
static bool change(struct liar *l)
{
	if (l->turns == 0) {
		choose_place(l);
		memcpy(&l->truth, l->bytes + l->at.offset, l->at.size);
		l->lie = lie(l->bytes, l->at, l->how, l->what);
	}
	put(l, l->turns % 2 == 0 ? l->lie : l->truth);
	l->turns++;
	if (l->word & WORD_TURNS)
		return l->turns < TURNS_MAX;
	return (l->word & WORD_ONCE) != 0 && l->turns < 2;
}

static bool on_access(void *arg, uint32_t offset)
{
	struct liar *l = arg;
	bool more = true;

	l->recent[l->accesses % BACK_MAX] = offset;
	if (l->accesses >= l->moment)
		more = change(l);
	l->accesses++;
	return more;
}

static void make_call(struct session *s, const char *name, unsigned call, unsigned argument)
{
	if (call >= CALL_REPAIR)
		repair(name);
	else if (call >= CALL_INSPECT)
		inspect(name);
	else if (call >= CALL_ATTACH && s->q == NULL)
		(void)session_attach(s, name);
	else if (s->q != NULL)
		session_call(s, call % CALL_COUNT, argument);
}

/* Is the ring attached to before? For who attaches it is not, and for observers only now and then.
 */
static bool attached_before(unsigned call, unsigned argument)
{
	return call < CALL_ATTACH || (call >= CALL_INSPECT && argument & 1);
}

/* How many accesses to the ring the call has made, while it was watched. */
static uint32_t run_input(const uint8_t *data, size_t size)
{
	static const uint8_t after[] = {CALL_PEEK, CALL_ADVANCE, CALL_RECV, CALL_SEND};
	struct input in = {data, size};
	const struct scene *good = scene(input_byte(&in));
	unsigned call = input_byte(&in), argument = input_byte(&in);
	struct session s = {.q = NULL};
	struct liar l = {.size = good->size};
	char name[32];
	int fd = segment_of(good->bytes, good->n, good->size);

	l.moment = input_byte(&in);
	l.moment |= (uint32_t)input_byte(&in) << 8;
	l.word = input_byte(&in);
	l.how = input_byte(&in);
	l.what = input_byte(&in);
	l.region = input_byte(&in);
	l.index = input_byte(&in);
	snprintf(name, sizeof(name), "fd:%d", fd);
	l.bytes = __real_mmap(NULL, good->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(l.bytes != MAP_FAILED);
	if (attached_before(call, argument))
		MUST(session_attach(&s, name) == 0);
	for (unsigned i = 0; i < PRELUDE && in.left >= 2 && s.q != NULL; i++) {
		unsigned before = input_byte(&in);

		session_call(&s, before % CALL_COUNT, input_byte(&in));
	}
	watch_start(on_access, &l);
	make_call(&s, name, call, argument);
	watch_stop();
	for (unsigned i = 0; i < sizeof(after) && s.q != NULL; i++)
		session_call(&s, after[i], argument);
	if (s.q != NULL)
		session_end(&s);
	__real_munmap(l.bytes, good->size);
	close(fd);
	return l.accesses;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)run_input(data, size);
	return 0;
}

#ifndef QUOIT_LIBFUZZER

/* A call, what makes sense of it, and one argument after the other. */
struct step {
	uint8_t call, arguments[2];
	uint8_t before[4];
};
static const struct step steps[] = {
	{CALL_SEND, {3, 20}, {0}},
	{CALL_RESERVE, {3, 20}, {0}},
	{CALL_COMMIT, {2, 0}, {CALL_RESERVE, 4}},
	{CALL_DISCARD, {0, 0}, {CALL_RESERVE, 4}},
	{CALL_SEND_BATCH, {4, 20}, {0}},
	{CALL_ROOM, {0, 1}, {0}},
	{CALL_PEEK, {0, 0}, {0}},
	{CALL_PEEK_BATCH, {3, 15}, {0}},
	{CALL_ADVANCE, {0, 1}, {CALL_PEEK_BATCH, 2}},
	{CALL_RECV, {1, 8}, {0}},
	{CALL_RECV_BATCH, {3, 15}, {0}},
	{CALL_LOOK, {0, 0}, {0}},
	{CALL_REOPEN, {0, 1}, {CALL_PEEK_BATCH, 2, CALL_RESERVE, 4}},
	{CALL_ASK, {0, 0}, {0}},
	{CALL_SET_WAIT, {3, 12}, {0}},
	{CALL_ATTACH, {0, 0}, {0}},
	{CALL_INSPECT, {0, 1}, {0}},
	{CALL_REPAIR, {0, 1}, {0}},
};

static size_t begin_input(uint8_t *input, unsigned scene_number, const struct step *step,
			  unsigned turn)
{
	memset(input, 0, INPUT_SIZE);
	input[0] = (uint8_t)scene_number;
	input[1] = step->call;
	input[2] = step->arguments[turn % 2];
	memcpy(input + INPUT_SIZE, step->before, sizeof(step->before));
	return INPUT_SIZE + sizeof(step->before);
}

static void set_moment(uint8_t *input, uint32_t moment)
{
	input[3] = (uint8_t)moment;
	input[4] = (uint8_t)(moment >> 8);
}

/* How many accesses this call makes if nobody lies. */
static uint32_t accesses_of(unsigned scene_number, const struct step *step, unsigned turn)
{
	static uint32_t known[SCENES][TEST_COUNT(steps)][2];
	uint32_t *n = &known[scene_number][step - steps][turn];
	uint8_t input[INPUT_SIZE + 4];
	size_t size = begin_input(input, scene_number, step, turn);

	if (*n == 0) {
		set_moment(input, UINT16_MAX);
		*n = 1 + run_input(input, size);
	}
	return *n - 1;
}

static size_t make_input(uint64_t *random, uint8_t *input)
{
	for (;;) {
		unsigned number = test_random_below(random, SCENES);
		unsigned long_ones =
			test_random_below(random, 16) == 0 ? 0 : 3; /* no, but now and then */
		const struct step *step =
			&steps[test_random_below(random, TEST_COUNT(steps) - long_ones)];
		unsigned turn = test_random_below(random, 2);
		uint32_t n = accesses_of(number, step, turn);
		size_t size = begin_input(input, number, step, turn);

		if (n == 0) /* all that is needed is private */
			continue;
		set_moment(input, test_random_below(random, n));
		for (unsigned i = 5; i < INPUT_SIZE; i++)
			input[i] = (uint8_t)test_random(random);
		return size;
	}
}

/* For each kind of ring and each call: the word that it has just looked at becomes another before
 * it looks again. */
static void make_seeds(const char *directory)
{
	for (unsigned kind = 0; kind < SCENE_KINDS; kind++) {
		for (size_t i = 0; i < TEST_COUNT(steps); i++) {
			uint8_t input[INPUT_SIZE + 4];
			size_t size =
				begin_input(input, scene_number(kind, SCENE_HALF), &steps[i], 0);
			char path[4096];

			set_moment(input, 1);
			input[5] = 1;
			input[6] = 9;
			input[7] = (uint8_t)(i * 5);
			snprintf(path, sizeof(path), "%s/%s-%u", directory, scene_kinds[kind],
				 steps[i].call);
			write_file(path, input, size);
		}
	}
}

/* What a word becomes: how, and what. Among them each record length, phase and owner. */
static const uint8_t lies[][2] = {{0, 63}, {0, 33}, {1, 1},  {2, 255}, {4, 1},   {4, 4},  {4, 7},
				  {4, 12}, {4, 21}, {5, 64}, {7, 1},   {8, 255}, {9, 3},  {9, 5},
				  {9, 7},  {9, 8},  {9, 15}, {9, 36},  {9, 68},  {9, 131}};
static const uint8_t words[] = {0, 1, 2, 3, 1 | WORD_TURNS, 2 | WORD_ONCE, 1 | WORD_HALF};

/* One of `every` of all there are for this call: at each access, each word lately looked at, each
 * lie. `since` counts on from call to call. */
static unsigned run_step(unsigned number, const struct step *step, unsigned turn, unsigned every,
			 unsigned *since)
{
	uint32_t n = accesses_of(number, step, turn);
	uint8_t input[INPUT_SIZE + 4];
	size_t size = begin_input(input, number, step, turn);
	unsigned runs = 0;

	for (uint32_t moment = 0; moment < n; moment++)
		for (size_t w = 0; w < sizeof(words); w++)
			for (size_t i = 0; i < TEST_COUNT(lies); i++) {
				if (++*since % every != 0)
					continue;
				set_moment(input, moment);
				input[5] = words[w];
				memcpy(input + 6, lies[i], 2);
				(void)run_input(input, size);
				runs++;
			}
	return runs;
}

/* Of one call, or of all. */
static int run_all(unsigned every, const char *call)
{
	unsigned since = 0, pair = 0;

	for (size_t i = 0; i < TEST_COUNT(steps); i++) {
		bool whole = steps[i].call >= CALL_ATTACH;
		unsigned runs = 0, accesses = 0;

		if (call != NULL && strtoul(call, NULL, 10) != steps[i].call)
			continue;
		for (unsigned number = 0; number < SCENES; number++)
			for (unsigned turn = 0; turn < 2; turn++) {
				/* Those go through the whole ring: of few rings, if of few
				 * accesses. */
				if (whole && pair++ % (every / 64 + 1) != 0)
					continue;
				alarm(60);
				accesses += accesses_of(number, &steps[i], turn);
				runs += run_step(number, &steps[i], turn,
						 whole && every > 1 ? 4 * every : every, &since);
			}
		printf("between: call %3u: %7u accesses, %7u runs: ok\n", steps[i].call, accesses,
		       runs);
	}
	alarm(0);
	return 0;
}

/* --every N [CALL]: one of N of all there are; or as the others (harness.h). */
int main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "--every") == 0) {
		unsigned every = (unsigned)strtoul(argv[2], NULL, 10);

		setvbuf(stdout, NULL, _IOLBF, 0);
		return every != 0 ? run_all(every, argv[3]) : 64;
	}
	return harness_main(&(const struct harness){.name = "between",
						    .make_input = make_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
