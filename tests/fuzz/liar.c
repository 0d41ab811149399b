/* SPDX-License-Identifier: MIT */
/*
 * A peer that lies. Between the calls of good producers and consumers, somebody with a mapping of
 * his own writes what he likes: lengths, positions, turns, owners, offsets, generations, event
 * words, row states. Every call of the good ones returns what the header promises (session.h), and
 * touches nothing outside the mapping.
 *
 * An input is
 *   byte 0     the ring to begin with (scene.h)
 *   the rest   steps of four bytes {what, a, b, c}
 *     what 128 and up   a lie: `what` chooses the region, a the place in it, b how to lie, c what
 *     what 64 to 127    look in, go on following, repair, attach once more
 *     what below 64     a call (session.h) of one of two sessions, with argument a
 */
#include "fuzz/places.h"
#include "fuzz/session.h"

#define STEPS_MAX 256

/* Two handles of one ring; on an SPSC ring the second finds the places taken. */
struct stage {
	int fd;
	size_t size;
	unsigned char *bytes; /* the liar's mapping */
	char name[32];
	struct session sessions[2];
	struct quoit_inspect *view; /* that goes on, or NULL */
};

static void tell_lie(struct stage *st, unsigned region, const uint8_t step[3])
{
	struct place at = place_in(st->bytes, st->size, region, step[0]);
	uint64_t value = lie(st->bytes, at, step[1], step[2]);

	memcpy(st->bytes + at.offset, &value, at.size);
}

static void attach_both(struct stage *st)
{
	for (unsigned i = 0; i < 2; i++)
		if (st->sessions[i].q == NULL && session_attach(&st->sessions[i], st->name) != 0)
			st->sessions[i].q = NULL;
}

/* As `quoit tail` does: what has come since the last look. */
static void follow(struct stage *st)
{
	struct quoit_record record;
	uint64_t missed;
	int r = 1;

	if (st->view == NULL) {
		r = quoit_inspect_open(st->name, hear, NULL, &st->view);
		allow_attach("inspect_open", st->name, r);
		if (r == 0)
			quoit_inspect_seek_end(st->view);
		else
			st->view = NULL;
		return;
	}
	for (unsigned i = 0; i < 32 && r == 1; i++) {
		r = quoit_inspect_next(st->view, &record, &missed);
		ALLOW("inspect_next", r, EBADMSG);
		if (r == 1 && record.data != NULL)
			harness_touch(record.data, record.len);
	}
}

static void do_otherwise(struct stage *st, unsigned what)
{
	switch (what % 8) {
	case 0:
		inspect(st->name);
		break;
	case 1:
		repair(st->name);
		break;
	case 4:
	case 5:
		follow(st);
		break;
	default:
		if (st->sessions[what % 2].q != NULL)
			session_end(&st->sessions[what % 2]);
		attach_both(st);
		break;
	}
}

static void do_step(struct stage *st, const uint8_t step[4])
{
	unsigned call = step[0] % 32;
	struct session *s = &st->sessions[step[0] / 32 % 2];

	if (step[0] >= 128)
		tell_lie(st, step[0] - 128u, step + 1);
	else if (step[0] >= 64)
		do_otherwise(st, step[0]);
	else if (s->q != NULL)
		session_call(s, call, step[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const struct scene *good = scene(input_byte(&in));
	struct stage st = {.fd = segment_of(good->bytes, good->n, good->size), .size = good->size};

	snprintf(st.name, sizeof(st.name), "fd:%d", st.fd);
	st.bytes = mmap(NULL, st.size, PROT_READ | PROT_WRITE, MAP_SHARED, st.fd, 0);
	MUST(st.bytes != MAP_FAILED);
	attach_both(&st);
	for (unsigned i = 0; i < STEPS_MAX && in.left >= 4; i++)
		do_step(&st, input_part(&in, 4).at);
	for (unsigned i = 0; i < 2; i++)
		if (st.sessions[i].q != NULL)
			session_end(&st.sessions[i]);
	quoit_inspect_close(st.view);
	munmap(st.bytes, st.size);
	close(st.fd);
	return 0;
}

#ifndef QUOIT_LIBFUZZER

static size_t make_input(uint64_t *random, uint8_t *input)
{
	size_t steps = 1 + test_random_below(random, 64);

	input[0] = (uint8_t)test_random(random);
	for (size_t i = 0; i < steps; i++) {
		uint8_t *step = input + 1 + 4 * i;
		uint32_t dice = test_random_below(random, 16);

		for (unsigned k = 0; k < 4; k++)
			step[k] = (uint8_t)test_random(random);
		/* Waiting takes time: not so often as the others. */
		step[0] = (uint8_t)(dice < 5    ? step[0] | 128
				    : dice == 5 ? (step[0] & 63) | 64
				    : dice == 6 ? step[0] & 63
						: (step[0] & 32) | step[0] % CALL_SEND_WAITING);
	}
	return 1 + 4 * steps;
}

/* For each kind of ring and each region, one lie of a kind after the other, and everything called
 * after each. */
static void make_seeds(const char *directory)
{
	static const uint8_t calls[] = {CALL_PEEK,    CALL_ADVANCE, CALL_RECV,       CALL_SEND,
					CALL_RESERVE, CALL_COMMIT,  CALL_RECV_BATCH, CALL_REOPEN};

	for (unsigned kind = 0; kind < SCENE_KINDS; kind++) {
		for (unsigned region = 0; region < IN_COUNT; region++) {
			uint8_t input[1 + 4 * 10 * 10], *at = input;
			char path[4096];

			*at++ = scene_number(kind, 1 + region % 4);
			for (unsigned how = 0; how < 10; how++) {
				*at++ = (uint8_t)(128 + region);
				*at++ = (uint8_t)(how * 5);
				*at++ = (uint8_t)how;
				*at++ = (uint8_t)(how * 7 + region);
				memcpy(at, (uint8_t[4]){64 + 4}, 4);
				at += 4;
				for (unsigned i = 0; i < sizeof(calls); i++, at += 4)
					memcpy(at, (uint8_t[4]){calls[i], (uint8_t)(i + how)}, 4);
			}
			snprintf(path, sizeof(path), "%s/%s-%s", directory, scene_kinds[kind],
				 region_names[region]);
			write_file(path, input, (size_t)(at - input));
		}
	}
}

int main(int argc, char **argv)
{
	return harness_main(&(const struct harness){.name = "liar",
						    .make_input = make_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
