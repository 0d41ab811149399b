/* SPDX-License-Identifier: MIT */
/*
 * What the tests of views, of checking and of repairing share: rings with something in them, and
 * copies of them to plant damage in.
 */
#ifndef QUOIT_TESTS_INSPECT_SUPPORT_H
#define QUOIT_TESTS_INSPECT_SUPPORT_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <quoit/inspect.h>

#include "ring/slot.h"
#include "tests/support.h"

static inline struct quoit_inspect *view(const char *name)
{
	struct quoit_inspect *v;
	int r = quoit_inspect_open(name, NULL, NULL, &v);

	cr_assert_eq(r, 0, "%s: %s", name, quoit_strerror(r));
	return v;
}

/* A copy of a ring's bytes in memory, and as a file that can be looked at. */
struct image {
	unsigned char *bytes;
	uint64_t size;
	char path[64];
};

static inline void image_of(const char *name, struct image *ret)
{
	struct quoit_inspect *v = view(name);
	const void *bytes = quoit_inspect_bytes(v, &ret->size);

	ret->bytes = malloc(ret->size);
	MUST(ret->bytes != NULL);
	memcpy(ret->bytes, bytes, ret->size);
	quoit_inspect_close(v);
	snprintf(ret->path, sizeof(ret->path), "/tmp/qtest-image-%d-XXXXXX", getpid());
	close(mkstemp(ret->path));
}

static inline void image_write(const struct image *i, uint64_t size)
{
	int fd = open(i->path, O_WRONLY | O_TRUNC);

	MUST(fd >= 0 && write(fd, i->bytes, size) == (ssize_t)size);
	close(fd);
}

static inline void image_drop(struct image *i)
{
	unlink(i->path);
	free(i->bytes);
}

static inline struct quoit__header *header_of(const struct image *i)
{
	return (struct quoit__header *)(void *)i->bytes;
}

static inline struct quoit__control *control_of(const struct image *i)
{
	return (struct quoit__control *)(void *)(i->bytes + header_of(i)->control_offset);
}

static inline struct quoit__row *row_of(const struct image *i, uint32_t row)
{
	return (struct quoit__row *)(void *)(i->bytes + header_of(i)->peers_offset) + row;
}

static inline struct quoit__slot *slot_of(const struct image *i, uint64_t slot)
{
	return (struct quoit__slot *)(void *)(i->bytes + header_of(i)->data_offset +
					      slot * header_of(i)->slot_stride);
}

struct findings {
	unsigned notes, repairable, corrupt;
	char last[256];
};

static inline void count(void *arg, int severity, uint64_t offset, const char *text)
{
	struct findings *f = arg;

	(void)offset;
	f->notes += severity == 1;
	f->repairable += severity == 2;
	f->corrupt += severity == 3;
	snprintf(f->last, sizeof(f->last), "%s", text);
}

static inline struct findings inspect_check_name(const char *name)
{
	struct findings f = {0};
	struct quoit_inspect *v = view(name);
	int r = quoit_inspect_check(v, count, &f);

	cr_assert_eq(r, (int)(f.repairable + f.corrupt));
	quoit_inspect_close(v);
	return f;
}

static inline struct findings inspect_check_image(const struct image *i)
{
	image_write(i, i->size);
	return inspect_check_name(i->path);
}

/* Five records of 8 to 12 bytes in the ring, two more taken before them. */
static inline void fill(struct test_rig *rig)
{
	struct quoit_msg msg;
	char text[16];

	for (int i = 0; i < 7; i++) {
		snprintf(text, sizeof(text), "record %d....", i);
		cr_assert_eq(quoit_send(rig->p, text, 8 + (uint32_t)i % 5, (uint32_t)i, NULL), 0);
	}
	for (int i = 0; i < 2; i++)
		cr_assert_eq(quoit_recv(rig->c, text, sizeof(text), &msg, NULL), 1);
}

static inline struct quoit_options small(enum quoit_kind kind)
{
	struct quoit_options o = test_options(kind);

	o.capacity = 1024;
	o.slot_size = 48; /* 16 slots of 64 bytes */
	return o;
}

static inline void open_filled(struct test_rig *rig, enum quoit_backend backend,
			       enum quoit_kind kind)
{
	struct quoit_options o = small(kind);

	test_rig_open(rig, backend, &o);
	fill(rig);
}

/* A child that holds both ends, has two records lent or peeked at and one in the making, and dies.
 */
static inline int hold_and_wait(void *arg)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msgs[2];
	void *payload;
	struct quoit *q;

	if (quoit_attach(arg, NULL, &q) != 0 || quoit_producer_open(q, &p) != 0 ||
	    quoit_consumer_open(q, &c) != 0)
		return 1;
	for (uint64_t n = 0; n < 4; n++)
		if (test_put(p, n) != 0)
			return 2;
	if (quoit_peek_batch(c, msgs, 2) != 2 || quoit_reserve(p, 8, &payload) != 0)
		return 3;
	raise(SIGKILL);
	return 4;
}

#endif
