/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: mappings between guard pages, buffers that end at one, a clock that
 * does not stand still for pauses, and the main() of ordinary builds.
 *
 * Each target is one file that includes this once. It is linked with --wrap for what maps and
 * unmaps (cases.cmake), so that every file and every System V segment that the library maps lies
 * between two pages that nobody may touch: a read one byte too far is a fault, in builds without
 * sanitizers too. A segment that ends inside a page has the rest of it as slack; the targets use
 * segments of whole pages where they can.
 */
#ifndef QUOIT_TESTS_FUZZ_HARNESS_H
#define QUOIT_TESTS_FUZZ_HARNESS_H

#include <fcntl.h>
#include <getopt.h>
#include <sys/shm.h>

#include "support.h"

#define HARNESS_PAGE      ((size_t)4096)
#define HARNESS_INPUT_MAX 65536
#define HARNESS_BUFFER    (2 * 65536) /* longer than any record of the rings here */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The checker looks twice at a living ring, and dozes where it may not sleep. Nobody else is at
 * work on ours: without the pauses there are a hundred times as many inputs. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return 0;
}

/* ---- guard pages ---------------------------------------------------------------------------- */

void *__real_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t size);
void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t size);
void *__real_shmat(int id, const void *at, int flags);
int __real_shmdt(const void *at);
void *__wrap_shmat(int id, const void *at, int flags);
int __wrap_shmdt(const void *at);

/* Mappings with guards. Only the thread that makes the calls maps. */
struct guarded {
	unsigned char *at; /* NULL: none */
	size_t size;
	int prot;
};
static struct guarded guarded[256];

/* For a target that watches them: what is called when one has been made, and when the harness
 * itself begins to look into one, or has ended to. */
static void (*guarded_made)(struct guarded *g);
static void (*guarded_aside)(bool aside);

static size_t whole_pages(size_t size)
{
	return (size + HARNESS_PAGE - 1) / HARNESS_PAGE * HARNESS_PAGE;
}

/* Room for `size` bytes with a guard in front and behind, or NULL. */
static struct guarded *guarded_room(size_t size)
{
	struct guarded *g = guarded, *end = guarded + TEST_COUNT(guarded);
	void *room;

	while (g < end && g->at != NULL)
		g++;
	if (size == 0 || size > SIZE_MAX / 2 || g == end)
		return NULL;
	room = __real_mmap(NULL, whole_pages(size) + 2 * HARNESS_PAGE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (room == MAP_FAILED)
		return NULL;
	*g = (struct guarded){(unsigned char *)room + HARNESS_PAGE, size, PROT_READ | PROT_WRITE};
	return g;
}

/* With what is in it. */
static int free_room(struct guarded *g)
{
	unsigned char *room = g->at - HARNESS_PAGE;

	g->at = NULL;
	return __real_munmap(room, whole_pages(g->size) + 2 * HARNESS_PAGE);
}

static struct guarded *find_room(const void *at)
{
	for (struct guarded *g = guarded; g < guarded + TEST_COUNT(guarded); g++)
		if (g->at != NULL && g->at == at)
			return g;
	return NULL;
}

/* What came of mapping into it. */
static void *filled(struct guarded *g, const void *p)
{
	int error = errno;

	if (p != MAP_FAILED) {
		if (guarded_made != NULL)
			guarded_made(g);
		return g->at;
	}
	free_room(g);
	errno = error;
	return MAP_FAILED;
}

void *__wrap_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	struct guarded *g = fd >= 0 && at == NULL ? guarded_room(size) : NULL;

	if (g == NULL)
		return __real_mmap(at, size, prot, flags, fd, offset);
	g->prot = prot;
	return filled(g, __real_mmap(g->at, size, prot, flags | MAP_FIXED, fd, offset));
}

int __wrap_munmap(void *at, size_t size)
{
	struct guarded *g = find_room(at);

	return g != NULL ? free_room(g) : __real_munmap(at, size);
}

void *__wrap_shmat(int id, const void *at, int flags)
{
	struct guarded *g = NULL;
	struct shmid_ds ds;

	if (at == NULL && shmctl(id, IPC_STAT, &ds) == 0)
		g = guarded_room(ds.shm_segsz);
	if (g == NULL)
		return __real_shmat(id, at, flags);
	return filled(g, __real_shmat(id, g->at, flags | SHM_REMAP));
}

/* A segment is detached when its last page is unmapped. */
int __wrap_shmdt(const void *at)
{
	struct guarded *g = find_room(at);

	return g != NULL ? free_room(g) : __real_shmdt(at);
}

/* A buffer of `size` bytes whose end is that of the last page that may be touched. The bytes before
 * it are for the caller to look at: nobody else writes there. */
static unsigned char *harness_buffer(size_t size)
{
	static unsigned char *end;

	MUST(size <= HARNESS_BUFFER);
	if (end == NULL) {
		unsigned char *room = __real_mmap(NULL, HARNESS_BUFFER + HARNESS_PAGE, PROT_NONE,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		MUST(room != MAP_FAILED);
		MUST(mprotect(room, HARNESS_BUFFER, PROT_READ | PROT_WRITE) == 0);
		end = room + HARNESS_BUFFER;
	}
	return end - size;
}

static void __attribute__((unused)) harness_aside(bool aside)
{
	if (guarded_aside != NULL)
		guarded_aside(aside);
}

/* What is said to be there must be readable. */
static void harness_touch(const void *data, size_t len)
{
	const volatile unsigned char *p = data;
	unsigned sum = 0;

	harness_aside(true);
	for (size_t i = 0; i < len; i++)
		sum += p[i];
	harness_aside(false);
	(void)sum;
}

/* ---- inputs --------------------------------------------------------------------------------- */

struct input {
	const uint8_t *at;
	size_t left;
};

/* The next byte; 0 where the input has ended. */
static uint8_t __attribute__((unused)) input_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

/* n bytes, at most what is left, to be read one after the other. */
static struct input __attribute__((unused)) input_part(struct input *in, size_t n)
{
	struct input part = {in->at, n < in->left ? n : in->left};

	in->at += part.left;
	in->left -= part.left;
	return part;
}

/* ---- main of ordinary builds ---------------------------------------------------------------- */

static void __attribute__((unused)) write_file(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	MUST(f != NULL && fwrite(bytes, 1, n, f) == n && fclose(f) == 0);
}

#ifndef QUOIT_LIBFUZZER

struct harness {
	const char *name;
	/* Make an input up; up to HARNESS_INPUT_MAX bytes. */
	size_t (*make_input)(uint64_t *random, uint8_t *input);
	/* Write the inputs kept in seeds/NAME to a directory. */
	void (*make_seeds)(const char *directory);
};

static int replay(const struct harness *h, const char *path)
{
	static uint8_t input[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (f == NULL) {
		fprintf(stderr, "%s: cannot open %s\n", h->name, path);
		return 1;
	}
	n = fread(input, 1, sizeof(input), f);
	fclose(f);
	alarm(60); /* a hang is noticed */
	(void)LLVMFuzzerTestOneInput(input, n);
	alarm(0);
	printf("%s: %s: ok\n", h->name, path);
	return 0;
}

static void make_rounds(const struct harness *h, unsigned rounds, uint64_t seed, const char *save)
{
	static uint8_t input[HARNESS_INPUT_MAX];

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t state = seed * UINT64_C(1000003) + i;
		size_t n = h->make_input(&state, input);

		if (i % 100 == 0)
			alarm(60); /* for a hundred */
		if (save != NULL)
			write_file(save, input, n);
		(void)LLVMFuzzerTestOneInput(input, n);
	}
	alarm(0);
	printf("%s: %u made-up inputs from seed %llu: ok\n", h->name, rounds,
	       (unsigned long long)seed);
}

/* NAME [--rounds N] [--seed S] [--save FILE] [--make-seeds DIRECTORY] [INPUT...] */
static int harness_main(const struct harness *h, int argc, char **argv)
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
			h->make_seeds(optarg);
		else
			return 64;
	}
	for (int i = optind; i < argc; i++)
		result |= replay(h, argv[i]);
	if (rounds != 0)
		make_rounds(h, rounds, seed, save);
	return result;
}

#endif

#endif
