/* SPDX-License-Identifier: MIT */
/*
 * Hostile segments against everything that reads one: attach, both endpoints, statistics, the
 * inspector, repair. Whatever the bytes say, each call returns, with an error or without, and
 * touches nothing outside the mapping.
 *
 * An input is
 *   byte 0       flags: 1 an MPMC ring, else SPSC; 2 mend the checksum; 4 the rest is an image that
 *                replaces the ring from its first byte on; 8 cut the segment to half its size
 *   byte 1       n, the length of a program
 *   n bytes      the program: low half a call (session.h), high half its argument
 *   the rest     patches {16-bit offset in words of 8 bytes, 1 byte length, bytes}: those up to one
 *                of length 0 are applied before attaching, the others by call 15, one each time,
 *                under the feet of open endpoints
 *
 * image.c does the same with whole segments and a mutator that knows the layout; these inputs are
 * shorter, and were found first.
 */
#include "fuzz/session.h"
#include "ring/layout.h"

#define PATCHES_MAX 64

enum { FLAG_MPMC = 1, FLAG_MEND = 2, FLAG_IMAGE = 4, FLAG_CUT = 8 };

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

static void make_images(void)
{
	if (images[0].bytes != NULL)
		return;
	make_image(&images[0], QUOIT_SPSC);
	make_image(&images[1], QUOIT_MPMC);
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

/* ---- using it ------------------------------------------------------------------------------- */

static void attach_and_use(struct input *in, int fd, const uint8_t *program, size_t n)
{
	uint64_t size = (uint64_t)lseek(fd, 0, SEEK_END);
	struct session s = {.q = NULL};
	char name[32];

	snprintf(name, sizeof(name), "fd:%d", fd);
	if (session_attach(&s, name) != 0)
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned call = program[i] & 15, argument = program[i] >> 4;

		if (call == CALL_15)
			(void)apply_patch(in, fd, size);
		else
			session_call(&s, call, argument);
	}
	session_end(&s);
}

static void inspect_and_repair(int fd)
{
	char name[32];

	snprintf(name, sizeof(name), "fd:%d", fd);
	inspect(name);
	repair(name);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	inspect(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	const uint8_t *program;
	unsigned flags;
	size_t n;
	int fd;

	if (size < 2)
		return 0;
	make_images();
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

#include "fuzz/attach_inputs.h"

int main(int argc, char **argv)
{
	return harness_main(&(const struct harness){.name = "attach",
						    .make_input = random_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
