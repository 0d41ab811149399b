/* SPDX-License-Identifier: MIT */
/* Inputs for attach.c that no fuzzer has found: made up at random, made by hand, or read from
 * files. Included once, behind what they are inputs of. */
#ifndef QUOIT_TESTS_FUZZ_ATTACH_INPUTS_H
#define QUOIT_TESTS_FUZZ_ATTACH_INPUTS_H

static size_t put_patch(uint8_t *to, uint64_t word, const void *bytes, uint8_t n)
{
	to[0] = (uint8_t)word;
	to[1] = (uint8_t)(word >> 8);
	to[2] = n;
	memcpy(to + 3, bytes, n);
	return 3u + n;
}

/* A word that matters: of the header, the control words, the rows, or the records. */
static uint64_t random_word(uint64_t *seed)
{
	static const struct {
		uint32_t first, count;
	} regions[] = {{0, 19},   /* header, up to the uuid */
		       {64, 80},  /* control */
		       {160, 64}, /* the first two rows */
		       {512, 128} /* record space */};
	uint32_t i = test_random_below(seed, TEST_COUNT(regions));

	return regions[i].first + test_random_below(seed, regions[i].count);
}

static uint64_t random_value(uint64_t *seed, const unsigned char *old)
{
	uint64_t value;

	memcpy(&value, old, 8);
	switch (test_random_below(seed, 5)) {
	case 0:
		return value ^ UINT64_C(1) << test_random_below(seed, 64);
	case 1:
		return value + test_random_below(seed, 64) - 32;
	case 2:
		return test_random(seed) >> test_random_below(seed, 64);
	case 3:
		return test_random_below(seed, 2) == 0 ? 0 : UINT64_MAX;
	default:
		return test_random(seed);
	}
}

static size_t random_input(uint64_t *seed, uint8_t *input)
{
	unsigned flags =
		test_random_below(seed, 2) | (test_random_below(seed, 8) != 0 ? FLAG_MEND : 0);
	unsigned patches = test_random_below(seed, 8), mark = test_random_below(seed, patches + 1);
	const struct image *image = &images[flags & FLAG_MPMC];
	size_t n = test_random_below(seed, 64), used = 2 + n;

	make_images();
	flags |= test_random_below(seed, 32) == 0 ? FLAG_CUT : 0;
	input[0] = (uint8_t)flags;
	input[1] = (uint8_t)n;
	for (size_t i = 0; i < n; i++)
		input[2 + i] = (uint8_t)test_random(seed);
	for (unsigned i = 0; i <= patches; i++) {
		uint64_t word = random_word(seed), value;

		if (i == mark)
			used += put_patch(input + used, 0, "", 0);
		if (i == patches)
			break;
		value = random_value(seed, image->bytes + word * 8);
		used += put_patch(input + used, word, &value, 8);
	}
	return used;
}

/* One input for each place where distrust is due. */
static void make_seeds(const char *directory)
{
	/* Every operation, with a small and a large argument. */
	static const uint8_t program[] = {
		0x10, 0xf0, 0x41, 0x32, 0x41, 0x03, 0x24, 0x05, 0x15, 0x06, 0x08, 0x77, 0x18, 0x19,
		0x09, 0x3a, 0x0b, 0x0c, 0x1c, 0x0d, 0x0f, 0xf0, 0x06, 0x08, 0x0f, 0x10, 0xfa, 0x0d};
	static const struct {
		const char *name;
		uint64_t word, value;
	} seeds[] = {{"clean", 0, 0},
		     {"capacity", offsetof(struct quoit__header, capacity) / 8, UINT64_MAX},
		     {"data-offset", offsetof(struct quoit__header, data_offset) / 8, 1u << 31},
		     {"slots", offsetof(struct quoit__header, slots) / 8, UINT64_C(1) << 60},
		     {"head", QUOIT__CONTROL_OFFSET / 8, UINT64_MAX - 7},
		     {"tail", QUOIT__CONTROL_OFFSET / 8 + 16, UINT64_C(1) << 63},
		     {"producer-position", (QUOIT__PEERS_OFFSET + 128) / 8, 1u << 20},
		     {"consumer-position", (QUOIT__PEERS_OFFSET + 256 + 128) / 8, 4},
		     {"first-record", 512, UINT64_MAX},
		     {"first-descriptor", 513, UINT64_C(0x7fffffff00000000)}};

	for (unsigned i = 0; i < 2 * TEST_COUNT(seeds); i++) {
		uint8_t input[256];
		char path[4096];
		size_t used = 2 + sizeof(program);

		input[0] = (uint8_t)(FLAG_MEND | (i & 1));
		input[1] = sizeof(program);
		memcpy(input + 2, program, sizeof(program));
		if (seeds[i / 2].word != 0)
			used += put_patch(input + used, seeds[i / 2].word, &seeds[i / 2].value, 8);
		used += put_patch(input + used, 0, "", 0);
		used += put_patch(input + used, 514, &seeds[i / 2].value, 8);
		snprintf(path, sizeof(path), "%s/%s-%s", directory, i & 1 ? "mpmc" : "spsc",
			 seeds[i / 2].name);
		write_file(path, input, used);
	}
}

#endif
