/* SPDX-License-Identifier: MIT */
/*
 * Whole segments, of which any byte may be anything, against everything that reads one: inspection,
 * attaching, both endpoints, repair. A mutator that knows the layout goes for the words that
 * matter, and mends the checksum, so that what comes behind it is reached.
 *
 * An input is
 *   byte 0     flags: 1 mend the checksums; 2 a name in /dev/shm instead of a descriptor; 4 cut it
 *              off after a page and a half; 8 (with 2 or 16) list all rings of this machine as
 * well; 16 (before 2) a System V segment, whose set the header's sem_id chooses (sysv.h); the two
 * highest bits: how long it is byte 1     n, the length of a program 2n bytes   the program: a call
 * (session.h) and its argument each; call 15: meddle with the semaphores of a System V segment the
 * rest   the bytes of the segment: runs {16-bit offset, 16-bit length, bytes} on zeros
 */
#include "fuzz/places.h"
#include "fuzz/session.h"
#include "fuzz/sysv.h"

#define IMAGE_MAX   (SCENE_MAX + 16 * HARNESS_PAGE)
#define PROGRAM_MAX 64 /* calls */
#define CUT_SIZE    6144u

enum { FLAG_MEND = 1, FLAG_NAMED = 2, FLAG_CUT = 4, FLAG_LIST = 8, FLAG_SYSV = 16 };
/* By the two highest bits of the flags: a plain scene, a bit more, with a heap, a bit more. */
static const size_t sizes[] = {SCENE_SIZE, SCENE_SIZE + 2 * HARNESS_PAGE, SCENE_MAX, IMAGE_MAX};

/* An input, taken apart. */
struct image {
	uint8_t flags;
	size_t calls;
	uint8_t program[2 * PROGRAM_MAX];
	size_t size;
	alignas(8) unsigned char bytes[IMAGE_MAX];
};

static void take_apart(struct image *image, const uint8_t *data, size_t size)
{
	struct input in = {data, size}, program;

	memset(image, 0, sizeof(*image));
	image->flags = input_byte(&in);
	image->calls = input_byte(&in) % (PROGRAM_MAX + 1);
	program = input_part(&in, 2 * image->calls);
	memcpy(image->program, program.at, program.left);
	image->calls = program.left / 2;
	image->size = sizes[image->flags >> 6];
	while (in.left >= 4) {
		size_t offset = input_byte(&in) | (size_t)input_byte(&in) << 8;
		size_t n = input_byte(&in) | (size_t)input_byte(&in) << 8;
		struct input run = input_part(&in, n);

		if (offset < image->size)
			memcpy(image->bytes + offset, run.at,
			       run.left < image->size - offset ? run.left : image->size - offset);
	}
}

static bool has_heap(const unsigned char *bytes)
{
	uint32_t incompat;

	memcpy(&incompat, bytes + offsetof(struct quoit__header, incompat), 4);
	return (incompat & QUOIT__INCOMPAT_HEAP) != 0;
}

/* The semaphore set is not that of somebody else on this machine. */
static void name_set(struct image *image, int32_t id)
{
	memcpy(image->bytes + offsetof(struct quoit__header, sem_id), &id, sizeof(id));
}

static void mend(struct image *image)
{
	struct quoit__heap_header heap;
	struct quoit__header h;

	if ((image->flags & FLAG_MEND) == 0)
		return;
	memcpy(&h, image->bytes, sizeof(h));
	h.checksum = quoit__checksum(&h);
	memcpy(image->bytes, &h, sizeof(h));
	if (!has_heap(image->bytes))
		return;
	memcpy(&heap, image->bytes + QUOIT__HEAP_HEADER_OFFSET, sizeof(heap));
	heap.checksum = quoit__heap_checksum(&heap);
	memcpy(image->bytes + QUOIT__HEAP_HEADER_OFFSET, &heap, sizeof(heap));
}

/* How many bytes there are before nothing but zeros comes. */
static size_t used_of(const struct image *image, size_t size)
{
	static const unsigned char zeros[HARNESS_PAGE];

	while (size > SCENE_SIZE &&
	       memcmp(image->bytes + size - HARNESS_PAGE, zeros, HARNESS_PAGE) == 0)
		size -= HARNESS_PAGE;
	return size;
}

static int note_ring(void *arg, const struct quoit_found *found)
{
	(void)arg;
	MUST(found->name != NULL && found->status <= 0);
	return 0;
}

/* The same bytes as a copy, which is read into memory, and as a ring without a name. */
static void look_at_copies(const char *path, int fd)
{
	char name[300];

	snprintf(name, sizeof(name), "image:%s", path);
	inspect(name);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	inspect(name);
}

static void run_program(struct session *s, const struct image *image, struct sysv *sysv)
{
	for (size_t i = 0; i < image->calls; i++) {
		unsigned call = image->program[2 * i], argument = image->program[2 * i + 1];

		if (call == CALL_15 && sysv != NULL)
			sysv_meddle(sysv, argument);
		else
			session_call(s, call, argument);
	}
}

/* sysv: NULL for others. */
static void use(const struct image *image, const char *name, struct sysv *sysv)
{
	struct session s = {.q = NULL};

	inspect(name);
	if (session_attach(&s, name) == 0) {
		run_program(&s, image, sysv);
		session_end(&s);
		inspect(name);
	}
	repair(name);
	if (session_attach(&s, name) == 0) {
		for (unsigned i = 0; i < 8; i++)
			session_call(&s, CALL_RECV, i);
		session_end(&s);
	}
}

static void use_named(const struct image *image, size_t size)
{
	char name[64], path[64];
	int fd, r;

	snprintf(name, sizeof(name), "shm:qfuzz-%d", getpid());
	snprintf(path, sizeof(path), "/dev/shm/quoit.qfuzz-%d", getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	MUST(fd >= 0);
	MUST(pwrite(fd, image->bytes, size, 0) == (ssize_t)size);
	look_at_copies(path, fd);
	use(image, name, NULL);
	if (image->flags & FLAG_LIST)
		MUST(quoit_list(note_ring, NULL) <= 0);
	r = quoit_remove(name);
	ALLOW("remove", r, EPROTO);
	unlink(path);
	close(fd);
}

static void use_sysv(struct image *image, size_t size)
{
	struct sysv *sysv;
	uint32_t choice;
	int32_t named;
	char name[32];
	int r;

	memcpy(&choice, image->bytes + offsetof(struct quoit__header, sem_id), sizeof(choice));
	sysv = sysv_new(size, choice, &named);
	name_set(image, named);
	mend(image);
	sysv_fill(sysv, image->bytes, used_of(image, size));
	snprintf(name, sizeof(name), "sysv:#%d", sysv->shm);
	use(image, name, sysv);
	r = quoit_chmod(name, 0600);
	ALLOW("chmod", r, EPROTO, EBADMSG, EIDRM, ENOENT);
	if (image->flags & FLAG_LIST)
		MUST(quoit_list(note_ring, NULL) <= 0);
	r = quoit_remove(name);
	ALLOW("remove", r, EPROTO, ENOENT);
	sysv_remove(sysv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct image image;
	size_t cut;

	take_apart(&image, data, size);
	cut = image.flags & FLAG_CUT ? CUT_SIZE : image.size;
	if (image.flags & FLAG_SYSV) {
		use_sysv(&image, cut);
		return 0;
	}
	name_set(&image, -1);
	mend(&image);
	if (image.flags & FLAG_NAMED) {
		use_named(&image, cut);
	} else {
		int fd = segment_of(image.bytes, used_of(&image, cut), cut);
		char name[32];

		snprintf(name, sizeof(name), "fd:%d", fd);
		use(&image, name, NULL);
		close(fd);
	}
	return 0;
}

/* ---- inputs --------------------------------------------------------------------------------- */

static void put_run(uint8_t **to, const unsigned char *bytes, size_t offset, size_t n)
{
	(*to)[0] = (uint8_t)offset;
	(*to)[1] = (uint8_t)(offset >> 8);
	(*to)[2] = (uint8_t)n;
	(*to)[3] = (uint8_t)(n >> 8);
	memcpy(*to + 4, bytes + offset, n);
	*to += 4 + n;
}

/* The bytes of a good ring, to be spoilt. */
static void put_scene(struct image *image, unsigned which)
{
	const struct scene *good = scene(which);

	image->size = good->size;
	image->flags = FLAG_MEND | (good->size > SCENE_SIZE ? 2 << 6 : 0);
	memset(image->bytes, 0, sizeof(image->bytes));
	memcpy(image->bytes, good->bytes, good->n);
}

/* Back into an input of at most `room` bytes, or 0: it would be longer. */
static size_t put_together(const struct image *image, uint8_t *to, size_t room)
{
	uint8_t *start = to, *end = to + room;
	size_t i = 0;

	if (room < 2 + 2 * image->calls)
		return 0;
	*to++ = image->flags;
	*to++ = (uint8_t)image->calls;
	memcpy(to, image->program, 2 * image->calls);
	to += 2 * image->calls;
	while (i < image->size) {
		size_t n = i, zeros = 0;

		if (image->bytes[i] == 0) {
			i++;
			continue;
		}
		/* A run ends where more than the four bytes of the next one's head are zero. */
		while (n < image->size && zeros <= 8)
			zeros = image->bytes[n++] == 0 ? zeros + 1 : 0;
		n -= zeros;
		if ((size_t)(end - to) < 4 + n - i)
			return 0;
		put_run(&to, image->bytes, i, n - i);
		i = n;
	}
	return (size_t)(to - start);
}

static void change_program(struct image *image, uint64_t *random)
{
	uint32_t dice = test_random_below(random, 8), n = PROGRAM_MAX;
	size_t at = test_random_below(random, n);

	if (dice == 0 || image->calls == 0)
		image->calls = 1 + at;
	at %= image->calls;
	image->program[2 * at] =
		(uint8_t)test_random_below(random, dice == 1 ? CALL_COUNT : CALL_SEND_WAITING);
	image->program[2 * at + 1] = (uint8_t)test_random(random);
}

static void change_bytes(struct image *image, uint64_t *random)
{
	/* The words that live, more often than the header, which dies of nearly everything. */
	static const uint8_t regions[] = {
		IN_HEADER, IN_CONTROL, IN_CONTROL, IN_ROW,       IN_ROW,  IN_RECORD,
		IN_SLOT,   IN_SLOT,    IN_RECORD,  IN_SLOT,      IN_SLOT, IN_DESCRIPTOR,
		IN_ANY,    IN_RECORD,  IN_RECORD,  IN_SEMAPHORE, IN_HEAP, IN_HEAP};
	unsigned region = regions[test_random_below(random, TEST_COUNT(regions))];
	struct place at =
		place_in(image->bytes, image->size, region, test_random_below(random, 256));
	uint64_t value = lie(image->bytes, at, test_random_below(random, 10),
			     test_random_below(random, 256));

	memcpy(image->bytes + at.offset, &value, at.size);
}

/* Another semaphore set, or others who live. */
static void change_set(struct image *image, uint64_t *random)
{
	uint32_t living = test_random_below(random, 4) == 0 ? test_random_below(random, 16) : 0;

	image->flags |= FLAG_SYSV;
	name_set(image, (int32_t)(~living << 8 | test_random_below(random, 8)));
}

static void change(struct image *image, uint64_t *random)
{
	for (uint32_t n = 1 + test_random_below(random, 4); n != 0; n--) {
		uint32_t dice = test_random_below(random, 64);

		if (dice < 12)
			change_program(image, random);
		else if (dice == 12)
			image->flags ^= (uint8_t)(1u << test_random_below(random, 8));
		else if (dice == 13)
			change_set(image, random);
		else
			change_bytes(image, random);
	}
	/* Listing takes twenty times as long as all the rest. */
	if (test_random_below(random, 8) != 0)
		image->flags &= (uint8_t)~FLAG_LIST;
	image->size = sizes[image->flags >> 6];
	if (test_random_below(random, 16) != 0)
		image->flags |= FLAG_MEND;
}

#ifdef QUOIT_LIBFUZZER

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	static struct image image;
	uint64_t random = seed;
	size_t n;

	if (test_random_below(&random, 16) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	take_apart(&image, data, size);
	if (image.bytes[0] == 0) /* no magic: there is nothing to spoil */
		put_scene(&image, (unsigned)test_random(&random));
	change(&image, &random);
	n = put_together(&image, data, max_size);
	return n != 0 ? n : LLVMFuzzerMutate(data, size, max_size);
}

#else

/* Every call once, with some arguments. */
static void whole_program(struct image *image)
{
	static const uint8_t calls[] = {
		CALL_SEND,       CALL_RESERVE,    CALL_COMMIT,     CALL_SEND_BATCH, CALL_PEEK,
		CALL_ADVANCE,    CALL_RECV,       CALL_PEEK_BATCH, CALL_ADVANCE,    CALL_RESERVE,
		CALL_DISCARD,    CALL_RECV_BATCH, CALL_ROOM,       CALL_LOOK,       CALL_ASK,
		CALL_REOPEN,     CALL_FOREIGN,    CALL_RECV,       CALL_REOPEN,     CALL_SEND,
		CALL_SEND_BATCH, CALL_15,         CALL_RECV,       CALL_15,         CALL_REOPEN};

	image->calls = TEST_COUNT(calls);
	for (size_t i = 0; i < image->calls; i++) {
		image->program[2 * i] = calls[i];
		image->program[2 * i + 1] = (uint8_t)(i * 5);
	}
}

static void begin_with(struct image *image, unsigned which)
{
	memset(image, 0, sizeof(*image));
	put_scene(image, which);
	whole_program(image);
}

static size_t make_input(uint64_t *random, uint8_t *input)
{
	static struct image image;

	begin_with(&image, (unsigned)test_random(random));
	change(&image, random);
	change(&image, random);
	return put_together(&image, input, HARNESS_INPUT_MAX);
}

static void make_seed(const char *directory, const char *backend, const struct scene *s,
		      const struct image *image)
{
	static uint8_t input[HARNESS_INPUT_MAX];
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s%s-%s%s", directory, backend, scene_kinds[s->kind],
		 scene_states[s->state], s->dead ? "-dead" : "");
	write_file(path, input, put_together(image, input, sizeof(input)));
}

static void make_seeds(const char *directory)
{
	static struct image image;

	for (unsigned i = 0; i < SCENES; i++) {
		const struct scene *s = scene(i);

		begin_with(&image, i);
		make_seed(directory, "", s, &image);
		if (s->state == SCENE_EMPTY) {
			image.flags |= FLAG_NAMED | FLAG_LIST;
			make_seed(directory, "named-", s, &image);
		}
		if (s->state != SCENE_HALF && s->state != SCENE_LENT)
			continue;
		image.flags = (uint8_t)((image.flags & ~FLAG_NAMED) | FLAG_SYSV);
		image.program[0] = CALL_SET_WAIT;
		image.program[1] = QUOIT_WAIT_SYSVSEM;
		image.program[2] = CALL_RECV_WAITING;
		make_seed(directory, "sysv-", s, &image);
		if (s->state == SCENE_LENT)
			continue;
		/* Its creator died half-way. */
		image.bytes[offsetof(struct quoit__header, state)] = QUOIT__BUILDING;
		name_set(&image, (int32_t)(UINT32_MAX << 8 | SET_BUILDING));
		make_seed(directory, "half-made-", s, &image);
	}
}

int main(int argc, char **argv)
{
	return harness_main(&(const struct harness){.name = "image",
						    .make_input = make_input,
						    .make_seeds = make_seeds},
			    argc, argv);
}

#endif
