/* SPDX-License-Identifier: MIT */
/*
 * A set of rings in bad company. Its members' rings are written to by a liar, its board is
 * scribbled on, and a stranger (stranger.h) sends datagrams to it, to endpoints that sleep on
 * descriptors, and to those who wake them. The set hands out members that it was given and no
 * others, every call ends, and everyone touches only his own memory.
 *
 * An input is
 *   bytes 0-2  the rings to begin with (scene.h): the set reads the first and the last, and writes
 *              the one between
 *   the rest   steps of four bytes {what, a, b, c}
 *     what 128 and up   a lie about ring a % 3: its region by `what`, the place a / 3, b how, c
 * what what 96 to 127    a lie on the board what 64 to 95     the stranger what 32 to 63     a call
 * on the set what below 32     a call (session.h) of ring a % 3's other end, with argument b
 */
#include <quoit/pollset.h>

#include "fuzz/places.h"
#include "fuzz/session.h"
#include "fuzz/stranger.h"
#include "ring/pollset.h"

#define RINGS     3
#define STEPS_MAX 128
#define MEMBERS   8

struct joined {
	int fd;
	size_t size;
	char name[32];
	unsigned char *bytes; /* the liar's mapping */
	struct session other; /* without the endpoint that is a member */
	struct quoit_member *member;
	struct quoit_ready held; /* .member NULL: not held */
	bool writes;             /* the member is a producer */
};

struct stage {
	struct quoit_pollset *set;
	uint64_t *board; /* the liar's mapping of it */
	struct joined ring[RINGS];
};

/* ---- members -------------------------------------------------------------------------------- */

static void join(struct stage *st, struct joined *j)
{
	int r = -EINVAL;

	if (j->member != NULL || j->other.q == NULL)
		return;
	open_endpoints(&j->other);
	if (j->writes && j->other.p != NULL)
		r = quoit_pollset_add_producer(st->set, j->other.p, 16, j, &j->member);
	else if (!j->writes && j->other.c != NULL)
		r = quoit_pollset_add_consumer(st->set, j->other.c, j, &j->member);
	ALLOW("add", r, EINVAL, EIDRM, EBADMSG);
	if (r != 0)
		return;
	if (j->writes)
		j->other.p = NULL;
	else
		j->other.c = NULL;
	j->other.reservations = j->writes ? 0 : j->other.reservations;
	j->other.peeked = j->writes ? j->other.peeked : 0;
}

static void give_back(struct stage *st, struct joined *j)
{
	if (j->held.member == NULL)
		return;
	MUST(quoit_pollset_done(st->set, &j->held) == 0);
	j->held.member = NULL;
}

static void leave(struct stage *st, struct joined *j, bool remove_first)
{
	if (!remove_first)
		give_back(st, j);
	if (j->member == NULL)
		return;
	MUST(quoit_pollset_remove(st->set, j->member) == 0);
	j->member = NULL;
	give_back(st, j);
}

static void take(const struct quoit_ready *ready, int n)
{
	for (int i = 0; i < n; i++) {
		struct joined *j = ready[i].user;

		MUST(j->member == ready[i].member && j->held.member == NULL);
		MUST((ready[i].producer != NULL) == j->writes);
		MUST((ready[i].consumer != NULL) == !j->writes);
		j->held = ready[i];
	}
}

/* A held one, used as its holder may. */
static void use_held(struct joined *j, unsigned call, unsigned argument)
{
	struct session s = {.q = j->other.q, .p = j->held.producer, .c = j->held.consumer};

	if (j->held.member == NULL)
		return;
	if (s.p != NULL)
		call_writer(&s, call % 8 == CALL_RESERVE ? CALL_SEND : call, argument);
	else
		call_reader(&s, call, argument);
	if (s.peeked != 0)
		call_advance(&s, argument);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* As if a nap had passed, and many had looked in vain. */
static void pass_time(struct quoit_pollset *set)
{
	set->swept_ns = 0;
	atomic_store_explicit(&set->answered_ns, 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&set->vain, 500, memory_order_relaxed);
}

static void call_set(struct stage *st, unsigned what, const uint8_t step[3])
{
	struct joined *j = &st->ring[step[0] % RINGS];
	struct timespec soon = quoit_deadline_ms(1);
	struct quoit_ready ready[MEMBERS];
	int r;

	switch (what % 8) {
	case 1:
		pass_time(st->set);
		/* fall through */
	case 0:
		r = quoit_pollset_poll(st->set, ready, 1 + step[1] % MEMBERS);
		MUST(r >= 0 && r <= 1 + step[1] % MEMBERS);
		take(ready, r);
		break;
	case 2:
		r = quoit_pollset_wait(st->set, ready, 1 + step[1] % MEMBERS, &soon);
		ALLOW("pollset_wait", r, ETIMEDOUT, EINTR);
		take(ready, r);
		break;
	case 3:
		r = quoit_pollset_arm(st->set);
		MUST(r == 0 || r == 1);
		break;
	case 4:
		use_held(j, step[1] % 32, step[2]);
		break;
	case 5:
		give_back(st, j);
		break;
	case 6:
		leave(st, j, step[1] & 1);
		break;
	default:
		if (step[1] % 16 == 15)
			inspect(j->name);
		else if (step[1] % 16 == 14)
			repair(j->name);
		else
			join(st, j);
		break;
	}
	MUST(quoit_pollset_count(st->set) <= RINGS);
}

static void call_stranger(struct stage *st, unsigned what, const uint8_t step[3])
{
	struct stranger *s = the_stranger();
	struct joined *j = &st->ring[step[0] % RINGS];
	struct quoit__row *row =
		(struct quoit__row *)(void *)(j->bytes + QUOIT__PEERS_OFFSET) + what / 8 % 2;
	struct letter l;

	switch (what % 8) {
	case 0:
	case 1: /* to the set */
		write_letter(&l, st->set->id, 0, step);
		post(s, &l);
		break;
	case 2: /* to an endpoint */
	case 3:
		write_letter(&l, j->bytes + offsetof(struct quoit__header, uuid), what / 8 % 4,
			     step);
		post(s, &l);
		break;
	case 4: /* the set that the member is in is the stranger's */
		memcpy((void *)row->set, s->id, sizeof(s->id));
		atomic_store_explicit(&row->set_bit, step[1] % 66u, memory_order_relaxed);
		break;
	case 5: /* somebody sleeps on a descriptor, at an address that is the stranger's */
		let_go_of_address(s);
		s->taken =
			take_address(j->bytes + offsetof(struct quoit__header, uuid), what / 8 % 2);
		atomic_store_explicit(&row->sleeping, 1, memory_order_relaxed);
		break;
	default:
		answer_hellos(s, s->fd, st->set->id, step[1], step[2]);
		answer_hellos(s, s->taken, st->set->id, step[1], step[2]);
		break;
	}
}

static void scribble(struct stage *st, const uint8_t step[3])
{
	_Atomic uint64_t *words = (_Atomic uint64_t *)st->board;
	static const uint64_t specials[] = {0, UINT64_MAX, 1, UINT32_MAX, (uint64_t)1 << 32, 255};

	switch (step[1] % 4) {
	case 0: /* `sleeping` */
		atomic_store_explicit((_Atomic uint32_t *)st->board, step[2] & 1,
				      memory_order_relaxed);
		break;
	case 1: /* the members' bits */
		atomic_fetch_or_explicit(&words[16], UINT64_C(1) << step[2] % 64,
					 memory_order_relaxed);
		break;
	default: /* anything */
		atomic_store_explicit(&words[(step[0] + 256u * (step[1] / 4)) % 512],
				      specials[step[2] % TEST_COUNT(specials)],
				      memory_order_relaxed);
		break;
	}
}

static void tell_lie(struct joined *j, unsigned region, const uint8_t step[3])
{
	struct place at = place_in(j->bytes, j->size, region, step[0] / RINGS);
	uint64_t value = lie(j->bytes, at, step[1], step[2]);

	memcpy(j->bytes + at.offset, &value, at.size);
}

static void do_step(struct stage *st, const uint8_t step[4])
{
	struct joined *j = &st->ring[step[1] % RINGS];

	if (step[0] >= 128)
		tell_lie(j, step[0] - 128u, step + 1);
	else if (step[0] >= 96)
		scribble(st, step + 1);
	else if (step[0] >= 64)
		call_stranger(st, step[0] - 64u, step + 1);
	else if (step[0] >= 32)
		call_set(st, step[0] - 32u, step + 1);
	else if (j->other.q != NULL)
		session_call(&j->other, step[0], step[2]);
}

/* ---- setting up ----------------------------------------------------------------------------- */

static void begin(struct stage *st, struct input *in)
{
	struct quoit_pollset_options opt = {.size = sizeof(opt), .members = MEMBERS};

	MUST(quoit_pollset_create(&opt, &st->set) == 0);
	st->board = __real_mmap(NULL, HARNESS_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
				sync_board_fd(st->set->board), 0);
	MUST(st->board != MAP_FAILED);
	for (unsigned i = 0; i < RINGS; i++) {
		const struct scene *good = scene(input_byte(in));
		struct joined *j = &st->ring[i];

		j->writes = i == 1;
		j->size = good->size;
		j->fd = segment_of(good->bytes, good->n, good->size);
		j->bytes = mmap(NULL, j->size, PROT_READ | PROT_WRITE, MAP_SHARED, j->fd, 0);
		MUST(j->bytes != MAP_FAILED);
		snprintf(j->name, sizeof(j->name), "fd:%d", j->fd);
		MUST(session_attach(&j->other, j->name) == 0);
		join(st, j);
	}
}

static void end(struct stage *st)
{
	for (unsigned i = 0; i < RINGS; i++) {
		struct joined *j = &st->ring[i];

		leave(st, j, i == 0);
		session_end(&j->other);
		munmap(j->bytes, j->size);
		close(j->fd);
	}
	quoit_pollset_destroy(st->set);
	__real_munmap(st->board, HARNESS_PAGE);
	/* Nothing is left for the next input. */
	answer_hellos(the_stranger(), the_stranger()->fd, the_stranger()->id, 32, 3);
	let_go_of_address(the_stranger());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct stage st = {.set = NULL};

	begin(&st, &in);
	for (unsigned i = 0; i < STEPS_MAX && in.left >= 4; i++)
		do_step(&st, input_part(&in, 4).at);
	end(&st);
	return 0;
}

/* ---- inputs --------------------------------------------------------------------------------- */

#ifndef QUOIT_LIBFUZZER

static size_t make_input(uint64_t *random, uint8_t *input)
{
	size_t steps = 1 + test_random_below(random, 96);

	for (unsigned i = 0; i < RINGS; i++)
		input[i] = (uint8_t)test_random(random);
	for (size_t i = 0; i < steps; i++) {
		uint8_t *step = input + RINGS + 4 * i;
		uint32_t dice = test_random_below(random, 16);

		for (unsigned k = 0; k < 4; k++)
			step[k] = (uint8_t)test_random(random);
		if (dice < 2)
			step[0] |= 128;
		else if (dice < 3)
			step[0] = 96 + step[0] % 32;
		else if (dice < 7)
			step[0] = 64 + step[0] % 32;
		else if (dice < 12)
			step[0] = 32 + step[0] % 32;
		else /* waiting takes time */
			step[0] %= dice == 15 ? CALL_COUNT : CALL_15;
	}
	return RINGS + 4 * steps;
}

static void put_step(uint8_t **at, unsigned what, unsigned a, unsigned b, unsigned c)
{
	memcpy(*at, (uint8_t[4]){(uint8_t)what, (uint8_t)a, (uint8_t)b, (uint8_t)c}, 4);
	*at += 4;
}

/* The other ends do, too; and get an answer to what they have not asked. */
static void sleep_on_descriptors(uint8_t **at, unsigned turn)
{
	for (unsigned i = 0; i < RINGS && turn == 0; i++)
		put_step(at, CALL_SET_WAIT, i, i == 1 ? 6 : 14, 0);
	for (unsigned i = 0; i < RINGS; i++)
		put_step(at, CALL_ARM, i, i == 1 ? 0 : 8, 0);
	put_step(at, 64 + 2 + turn % 2 * 8, turn, SYNC_REPLY + 4 * (turn % 2), 1 + 4 + turn * 32);
}

/* The set sleeps, is woken by what the other ends do, and works; with something false in between,
 * of a kind in each seed. */
static void make_seeds(const char *directory)
{
	static const char *const kinds[] = {"honest",      "board",   "letters",     "false-set",
					    "false-board", "eventfd", "false-answer"};

	for (unsigned kind = 0; kind < TEST_COUNT(kinds); kind++) {
		uint8_t input[RINGS + 4 * STEPS_MAX], *at = input;
		char path[4096];

		for (unsigned i = 0; i < RINGS; i++)
			*at++ = scene_number((i + kind) % 3, i);
		for (unsigned turn = 0; turn < 8; turn++) {
			put_step(&at, 32 + 3, 0, 0, 0); /* arm */
			if (kind == 1)
				put_step(&at, 96, turn * 37, turn, turn * 5);
			if (kind == 2)
				put_step(&at, 64 + turn % 4, turn, 1 + turn, turn * 33);
			if (kind == 3 || kind == 4)
				put_step(&at, 64 + 4 + turn % 2 * 8, turn, 1 + turn, 0);
			if (kind == 5)
				sleep_on_descriptors(&at, turn);
			if (kind == 6 && turn % 4 == 0) /* the consumer's row of an SPSC ring */
				put_step(&at, 64 + 5 + 8, 1, 0, 0);
			if (kind == 6)
				put_step(&at, CALL_ARM, 1, 0, 0);
			for (unsigned i = 0; i < RINGS; i++)
				put_step(&at, i == 1 ? CALL_RECV : CALL_SEND, i, 1 + turn, 0);
			if (kind == 4 || kind == 6)
				put_step(&at, 64 + 6, 0, 1 + turn * 40, turn);
			put_step(&at, 32 + turn % 3, 0, 7, 0); /* poll, or wait */
			for (unsigned i = 0; i < RINGS; i++) {
				put_step(&at, 32 + 4, i, i == 1 ? CALL_SEND : CALL_RECV, 1);
				put_step(&at, 32 + 5, i, 0, 0);
			}
		}
		snprintf(path, sizeof(path), "%s/%s", directory, kinds[kind]);
		write_file(path, input, (size_t)(at - input));
	}
}

int main(int argc, char **argv)
{
	return harness_main(&(const struct harness){.name = "pollset",
						    .make_input = make_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
