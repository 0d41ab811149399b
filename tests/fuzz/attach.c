/* SPDX-License-Identifier: MIT */
/*
 * Hostile segments against everything that reads one: attach, both endpoints, statistics, the
 * inspector, repair. Whatever the bytes say, each call returns, with an error or without, and
 * touches nothing outside the mapping: there are unmapped pages on both sides of it.
 *
 * An input is
 *   byte 0     flags: 1 an MPMC ring, else SPSC; 2 mend the checksum; 4 the rest is an image that
 *              replaces the ring from its first byte on; 8 cut the segment to half its size; 16
 * check the living ring too, which takes a pause byte 1     n, the length of a program n bytes the
 * program: low half an operation, high half its argument the rest   patches {16-bit offset in words
 * of 8 bytes, 1 byte length, bytes}: those up to one of length 0 are applied before attaching, the
 * others by operation 15, one each time, under the feet of open endpoints
 *
 * With QUOIT_LIBFUZZER it is a libFuzzer target. Else it has a main() that replays files, or makes
 * up inputs by itself: --rounds N --seed S. --make-seeds DIRECTORY writes the inputs kept in
 * seeds/.
 */
#include <fcntl.h>

#include <quoit/inspect.h>

#include "ring/layout.h"
#include "ring/ring.h"
#include "support.h"

#define PATCHES_MAX 64
#define TOUCH_MAX   65536

enum { FLAG_MPMC = 1, FLAG_MEND = 2, FLAG_IMAGE = 4, FLAG_CUT = 8 };

/* The checker looks twice at a living ring, with a pause in between. Nobody else is at work on
 * ours: without the pauses there are a hundred times as many inputs. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return 0;
}

struct input {
	const uint8_t *at;
	size_t left;
};

/* A good ring of each kind, with records taken and records waiting, to be spoilt. */
static struct image {
	unsigned char *bytes;
	uint64_t size;
} images[2];

static void make_image(struct image *image, enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);
	struct test_rig rig;
	uint64_t value;

	opt.capacity = 1024;
	opt.slot_size = kind == QUOIT_MPMC ? 24 : 0;
	opt.peers = kind == QUOIT_MPMC ? 4 : 0;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (uint64_t i = 0; i < 12; i++)
		MUST(test_put(rig.p, i) == 0);
	for (uint64_t i = 0; i < 5; i++)
		MUST(test_take(rig.c, &value) == 1);
	image->size = test_info(rig.r.q).segment_size;
	image->bytes = malloc(image->size);
	MUST(image->bytes != NULL);
	MUST(pread(quoit_fd(rig.r.q), image->bytes, image->size, 0) == (ssize_t)image->size);
	test_rig_close(&rig);
}

/* ---- the segment ---------------------------------------------------------------------------- */

/* Apply the next patch to the file; false: it was the mark, or there is none. */
static bool apply_patch(struct input *in, int fd, uint64_t size)
{
	uint64_t offset, n;

	if (in->left < 3)
		return false;
	offset = ((uint64_t)in->at[0] | (uint64_t)in->at[1] << 8) * 8 % size;
	n = in->at[2];
	in->at += 3;
	in->left -= 3;
	if (n == 0)
		return false;
	n = n < in->left ? n : in->left;
	n = n < size - offset ? n : size - offset;
	MUST(pwrite(fd, in->at, n, (off_t)offset) == (ssize_t)n);
	in->at += n;
	in->left -= n;
	return true;
}

static void mend(int fd)
{
	struct quoit__header h;

	MUST(pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h));
	/* Not the semaphores of somebody else on this machine. */
	h.sem_id = -1;
	h.checksum = quoit__checksum(&h);
	MUST(pwrite(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h));
}

static int make_segment(struct input *in, unsigned flags)
{
	const struct image *image = &images[flags & FLAG_MPMC];
	uint64_t size = flags & FLAG_CUT ? image->size / 2 : image->size;
	int fd = memfd_create("quoit-fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0);
	MUST(ftruncate(fd, (off_t)size) == 0);
	MUST(pwrite(fd, image->bytes, size, 0) == (ssize_t)size);
	if (flags & FLAG_IMAGE) {
		uint64_t n = in->left < size ? in->left : size;

		MUST(pwrite(fd, in->at, n, 0) == (ssize_t)n);
		in->at += n;
		in->left -= n;
	} else {
		for (unsigned i = 0; i < PATCHES_MAX && apply_patch(in, fd, size); i++)
			;
	}
	if (flags & FLAG_MEND)
		mend(fd);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	return fd;
}

/* Unmapped pages before and after the mapping, where nobody else has mapped something. */
struct guards {
	void *page[2];
};

static struct guards put_guards(const struct quoit *q)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *base = q->seg.base;
	uint64_t size = (q->seg.size + page - 1) / page * page;
	void *wanted[2] = {base - page, base + size};
	struct guards g = {{NULL, NULL}};

	for (unsigned i = 0; i < 2; i++) {
		void *got = mmap(wanted[i], page, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (got != MAP_FAILED)
			g.page[i] = got;
	}
	return g;
}

static void take_guards_away(const struct guards *g)
{
	for (unsigned i = 0; i < 2; i++)
		if (g->page[i] != NULL)
			munmap(g->page[i], (size_t)sysconf(_SC_PAGESIZE));
}

/* ---- using it ------------------------------------------------------------------------------- */

/* What a payload says it is must be readable. */
static void touch(const struct quoit_msg *msg)
{
	const volatile unsigned char *p = msg->data;
	unsigned sum = 0;

	for (uint32_t i = 0; i < msg->len; i++)
		sum += p[i];
	(void)sum;
}

struct session {
	struct input *in;
	int fd;
	uint64_t size;
	struct quoit *q;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	void *payload;
	uint32_t reserved;
	struct quoit_msg msgs[16];
	int peeked;
};

/* Large enough for the longest record that this segment can hold. */
static unsigned char scratch[TOUCH_MAX];

static void write_something(struct session *s, unsigned operation, unsigned argument)
{
	struct quoit_msg msgs[4];
	int r = 0;

	switch (operation) {
	case 0:
		r = quoit_send(s->p, scratch, argument * 8, argument, QUOIT_NOWAIT);
		break;
	case 1:
		s->reserved = argument * 16;
		r = quoit_reserve(s->p, s->reserved, &s->payload);
		if (r == 0)
			memset(s->payload, 0xa5, s->reserved);
		else
			s->payload = NULL;
		break;
	case 2:
		r = quoit_commit(s->p, s->payload, argument < s->reserved ? argument : s->reserved,
				 operation);
		break;
	case 3:
		r = quoit_discard(s->p, s->payload);
		break;
	case 4:
		for (unsigned i = 0; i < 4; i++)
			msgs[i] = (struct quoit_msg){.data = scratch, .len = argument * 4};
		r = quoit_send_batch(s->p, msgs, 4, QUOIT_NOWAIT);
		break;
	case 5:
		r = argument & 1 ? quoit_drain(s->p, QUOIT_NOWAIT)
				 : quoit_producer_wait(s->p, argument, QUOIT_NOWAIT);
		break;
	}
	(void)r;
}

static void read_something(struct session *s, unsigned operation, unsigned argument)
{
	struct quoit_msg msgs[16];
	int r = 0;

	switch (operation) {
	case 6:
		s->peeked = quoit_peek(s->c, s->msgs);
		if (s->peeked == 1)
			touch(s->msgs);
		break;
	case 7:
		s->peeked = quoit_peek_batch(s->c, s->msgs, argument + 1);
		for (int i = 0; i < s->peeked; i++)
			touch(&s->msgs[i]);
		break;
	case 8:
		if (s->peeked > 0)
			r = argument & 1 ? quoit_advance_batch(s->c, s->msgs, (unsigned)s->peeked)
					 : quoit_advance(s->c, s->msgs);
		break;
	case 9:
		r = quoit_recv(s->c, scratch, argument & 1 ? sizeof(scratch) : argument * 8, msgs,
			       QUOIT_NOWAIT);
		break;
	case 10:
		r = quoit_recv_batch(s->c, scratch, sizeof(scratch), msgs, argument + 1,
				     QUOIT_NOWAIT);
		break;
	case 11:
		r = quoit_consumer_wait(s->c, QUOIT_NOWAIT);
		break;
	}
	(void)r;
}

static void reopen(struct session *s, unsigned argument)
{
	if (argument & 1) {
		quoit_producer_close(s->p);
		s->p = NULL;
		s->payload = NULL;
	} else {
		quoit_consumer_close(s->c);
		s->c = NULL;
		s->peeked = 0;
	}
	if (s->p == NULL && quoit_producer_open(s->q, &s->p) != 0)
		s->p = NULL;
	if (s->c == NULL && quoit_consumer_open(s->q, &s->c) != 0)
		s->c = NULL;
}

static void ask(struct session *s)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_info info = {.size = sizeof(info)};
	int r = quoit_get_stats(s->q, &stats);

	r |= quoit_get_info(s->q, &info);
	(void)r;
}

static void run_program(struct session *s, const uint8_t *program, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned operation = program[i] & 15, argument = program[i] >> 4;

		if (operation <= 5 && s->p != NULL)
			write_something(s, operation, argument);
		else if (operation >= 6 && operation <= 11 && s->c != NULL)
			read_something(s, operation, argument);
		else if (operation == 12)
			reopen(s, argument);
		else if (operation == 13)
			ask(s);
		else if (operation == 15)
			(void)apply_patch(s->in, s->fd, s->size);
	}
}

static void attach_and_use(struct input *in, int fd, const uint8_t *program, size_t n)
{
	struct quoit_options readonly = {.size = sizeof(readonly), .flags = QUOIT_READONLY};
	struct session s = {.in = in, .fd = fd, .size = (uint64_t)lseek(fd, 0, SEEK_END)};
	struct guards guards;
	char name[32];

	snprintf(name, sizeof(name), "fd:%d", fd);
	if (quoit_attach(name, &readonly, &s.q) == 0) {
		ask(&s);
		quoit_detach(s.q);
	}
	if (quoit_attach(name, NULL, &s.q) != 0)
		return;
	guards = put_guards(s.q);
	if (quoit_producer_open(s.q, &s.p) != 0)
		s.p = NULL;
	if (quoit_consumer_open(s.q, &s.c) != 0)
		s.c = NULL;
	run_program(&s, program, n);
	quoit_producer_close(s.p);
	quoit_consumer_close(s.c);
	take_guards_away(&guards);
	quoit_detach(s.q);
}

static void hear(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg;
	MUST(severity >= 1 && severity <= 3 && text != NULL);
	(void)offset;
}

static void inspect(const char *name)
{
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_record record;
	struct quoit_inspect *view;
	struct quoit_peer peers[8];
	uint64_t missed = 0;
	int r;

	if (quoit_inspect_open(name, hear, NULL, &view) != 0)
		return;
	r = quoit_inspect_info(view, &info);
	r |= quoit_inspect_stats(view, &stats);
	r |= quoit_inspect_peers(view, peers, TEST_COUNT(peers));
	for (unsigned i = 0; i < 2000 && quoit_inspect_next(view, &record, &missed) == 1; i++) {
		struct quoit_msg msg = {.data = (void *)(uintptr_t)record.data, .len = record.len};

		if (record.data != NULL)
			touch(&msg);
	}
	quoit_inspect_seek_end(view);
	r |= quoit_inspect_next(view, &record, &missed);
	r |= quoit_inspect_check(view, hear, NULL);
	quoit_inspect_close(view);
	(void)r;
}

static void inspect_and_repair(int fd)
{
	char name[32];
	int r;

	snprintf(name, sizeof(name), "fd:%d", fd);
	inspect(name);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	inspect(name);
	snprintf(name, sizeof(name), "fd:%d", fd);
	r = quoit_repair(name, 1, hear, NULL);
	r |= quoit_repair(name, 0, hear, NULL);
	(void)r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const uint8_t *program;
	unsigned flags;
	size_t n;
	int fd;

	if (size < 2)
		return 0;
	if (images[0].bytes == NULL) {
		make_image(&images[0], QUOIT_SPSC);
		make_image(&images[1], QUOIT_MPMC);
	}
	flags = data[0];
	n = data[1] < size - 2 ? data[1] : size - 2;
	program = data + 2;
	in.at += 2 + n;
	in.left -= 2 + n;
	fd = make_segment(&in, flags);
	/* First as it is, then as its use has left it. */
	inspect_and_repair(fd);
	attach_and_use(&in, fd, program, n);
	inspect_and_repair(fd);
	close(fd);
	return 0;
}

#ifndef QUOIT_LIBFUZZER

#include <getopt.h>

#include "fuzz/attach_inputs.h"

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"rounds", 1, NULL, 'n'},
					      {"seed", 1, NULL, 's'},
					      {"save", 1, NULL, 'S'},
					      {"make-seeds", 1, NULL, 'm'},
					      {NULL, 0, NULL, 0}};
	const char *save = NULL;
	unsigned rounds = 0;
	uint64_t seed = 1;
	int c, result = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'n')
			rounds = (unsigned)strtoul(optarg, NULL, 0);
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (c == 'S')
			save = optarg;
		else if (c == 'm')
			return make_seeds(optarg);
		else
			return 64;
	}
	for (int i = optind; i < argc; i++)
		result |= replay(argv[i]);
	if (rounds != 0)
		result |= make_rounds(rounds, seed, save);
	return result;
}

#endif
