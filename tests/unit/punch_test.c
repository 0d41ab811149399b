/* SPDX-License-Identifier: MIT */
/*
 * Holes in a ring's file: pages turn to zeros while the ring is in use. Where that takes something
 * away that somebody waits for, he is told -EBADMSG; where it cannot be told from data, nobody
 * crashes or hangs for it. A sealed memfd cannot be cut off, but holes can be made in it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>

#include <quoit/inspect.h>

#include "ring/ring.h"
#include "support.h"

TestSuite(punch, .fini = test_cleanup, .timeout = 90);

static const enum quoit_backend files[] = {QUOIT_SHM, QUOIT_FILE, QUOIT_MEMFD};

#define LATE_MS 10000

static struct quoit_options small(enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);

	opt.capacity = 16384;
	opt.slot_size = 112;
	opt.peers = 20;
	return opt;
}

static void punch(const struct test_ring *r, uint64_t from, uint64_t size)
{
	MUST(fallocate(quoit_fd(r->q), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from,
		       (off_t)size) == 0);
}

static void punch_records(const struct test_ring *r)
{
	punch(r, r->q->geo.data_offset, r->q->geo.capacity);
}

/* A file whose header is gone is no ring, and left alone. */
static void drop(struct test_ring *r)
{
	char path[QUOIT_NAME_MAX];

	snprintf(path, sizeof(path), "%s", r->name + 5);
	quoit_detach(r->q);
	if (strncmp(r->name, "file:", 5) == 0)
		MUST(unlink(path) == 0);
	else if (strncmp(r->name, "shm:", 4) == 0)
		MUST(quoit_remove(r->name) == 0);
	test_forget(r->made);
}

/* ---- sides that wait for what is gone ---------------------------------------------------------
 */

struct waiting {
	struct test_ring *r;
	uint64_t laps; /* records sent and taken before */
	enum quoit_wait wait;
	_Atomic uint32_t ready, go;
};

/* After a while, in which the hole is made, waits; the ring had a record for it. */
static int consume_what_is_gone(void *arg)
{
	struct waiting *w = arg;
	struct timespec late;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t value;
	int r;

	CHILD_CHECK(quoit_consumer_open(w->r->q, &c) == 0);
	CHILD_CHECK(quoit_consumer_set_wait(c, w->wait) == 0);
	for (uint64_t i = 0; i < w->laps; i++)
		CHILD_CHECK(test_take(c, &value) == 1);
	atomic_store(&w->ready, 1);
	CHILD_CHECK(test_wait_flag(&w->go, 1, LATE_MS));
	late = quoit_deadline_ms(LATE_MS);
	/* In an odd lap zeros are records without payload; behind them comes the truth. */
	do
		r = quoit_recv(c, &value, 8, &msg, &late);
	while (r == 1);
	CHILD_CHECK(r == -EBADMSG);
	quoit_consumer_close(c);
	return 0;
}

static void expect_a_consumer_to_be_told(enum quoit_backend backend, enum quoit_kind kind,
					 enum quoit_wait wait, bool header)
{
	struct waiting *w = test_shared(sizeof(*w));
	struct quoit_options opt = small(kind);
	struct quoit_producer *p;
	struct test_ring r;
	pid_t pid;

	test_ring_make(&r, backend, &opt);
	*w = (struct waiting){.r = &r, .wait = wait, .laps = 5};
	MUST(quoit_producer_open(r.q, &p) == 0);
	for (uint64_t i = 0; i < 20; i++)
		MUST(test_put(p, i) == 0);
	pid = test_spawn(consume_what_is_gone, w);
	cr_assert(test_wait_flag(&w->ready, 1, 5000));
	if (header)
		punch(&r, 0, 4096);
	else
		punch_records(&r);
	atomic_store(&w->go, 1);
	cr_assert_eq(test_wait(pid), 0, "%s %s %s %s", quoit_backend_name(backend),
		     quoit_kind_name(kind), quoit_wait_name(wait), header ? "header" : "records");
	quoit_producer_close(p);
	drop(&r);
	munmap(w, sizeof(*w));
}

Test(punch, a_consumer_that_waits_for_what_is_gone_is_told)
{
	for (unsigned i = 0; i < TEST_COUNT(files); i++)
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++)
			for (unsigned header = 0; header < 2; header++) {
				enum quoit_wait wait = test_waits[(i + k + 2) % 6];

				if (!test_can_wait(files[i], wait))
					wait = QUOIT_WAIT_FUTEX;
				expect_a_consumer_to_be_told(files[i], test_kinds[k], wait, header);
			}
}

static int produce_into_a_hole(void *arg)
{
	struct waiting *w = arg;
	struct timespec late;
	struct quoit_producer *p;
	uint64_t value = 0;
	int r;

	CHILD_CHECK(quoit_producer_open(w->r->q, &p) == 0);
	CHILD_CHECK(quoit_producer_set_wait(p, w->wait) == 0);
	while (test_put(p, value) == 0)
		;
	atomic_store(&w->ready, 1);
	CHILD_CHECK(test_wait_flag(&w->go, 1, LATE_MS));
	late = quoit_deadline_ms(LATE_MS);
	do
		r = quoit_send(p, &value, 8, 0, &late);
	while (r == 0);
	CHILD_CHECK(r == -EBADMSG);
	quoit_producer_close(p);
	return 0;
}

/* `header`: its state is gone; else the slots, of which SPSC producers need to know nothing. */
static void expect_a_producer_to_be_told(enum quoit_backend backend, enum quoit_kind kind,
					 enum quoit_wait wait, bool header)
{
	struct waiting *w = test_shared(sizeof(*w));
	struct quoit_options opt = small(kind);
	struct test_ring r;
	pid_t pid;

	test_ring_make(&r, backend, &opt);
	*w = (struct waiting){.r = &r, .wait = wait};
	pid = test_spawn(produce_into_a_hole, w);
	cr_assert(test_wait_flag(&w->ready, 1, 5000));
	if (header)
		punch(&r, 0, 4096);
	else
		punch_records(&r);
	atomic_store(&w->go, 1);
	cr_assert_eq(test_wait(pid), 0, "%s %s %s %s", quoit_backend_name(backend),
		     quoit_kind_name(kind), quoit_wait_name(wait), header ? "header" : "records");
	drop(&r);
	munmap(w, sizeof(*w));
}

Test(punch, a_producer_whose_ring_is_gone_is_told)
{
	for (unsigned i = 0; i < TEST_COUNT(files); i++) {
		enum quoit_wait wait = test_waits[i + 1];

		expect_a_producer_to_be_told(files[i], QUOIT_SPSC, wait, true);
		expect_a_producer_to_be_told(files[i], QUOIT_MPMC, wait, true);
		expect_a_producer_to_be_told(files[i], QUOIT_MPMC, wait, false);
	}
}

Test(punch, an_endpoint_whose_row_is_gone_is_told)
{
	struct quoit_options opt = small(QUOIT_MPMC);
	struct quoit_consumer *c[16];
	struct timespec late = quoit_deadline_ms(LATE_MS);
	struct test_ring r;
	struct quoit_msg msg;
	uint64_t value;

	/* Rows from 11 on lie behind the first page. */
	test_ring_make(&r, QUOIT_MEMFD, &opt);
	for (unsigned i = 0; i < TEST_COUNT(c); i++)
		cr_assert_eq(quoit_consumer_open(r.q, &c[i]), 0);
	punch(&r, 4096, 4096);
	cr_expect_eq(test_take(c[0], &value), -EAGAIN, "the first rows are there");
	cr_expect_eq(quoit_recv(c[15], &value, 8, &msg, &late), -EBADMSG);
	for (unsigned i = 0; i < TEST_COUNT(c); i++)
		quoit_consumer_close(c[i]);
	test_ring_drop(&r);
}

Test(punch, reservations_and_loans_that_are_gone_are_refused)
{
	struct quoit_options opt = small(QUOIT_MPMC);
	struct test_rig rig;
	struct quoit_msg msg;
	void *payload;

	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_eq(test_put(rig.p, 1), 0);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	punch_records(&rig.r);
	cr_expect_eq(quoit_commit(rig.p, payload, 8, 0), -EBADMSG);
	cr_expect_eq(quoit_advance(rig.c, &msg), -EBADMSG);
	test_rig_close(&rig);
}

Test(punch, a_ring_without_its_header_opens_no_endpoint)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = small(test_kinds[k]);
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;
		struct quoit *q;

		test_ring_make(&r, QUOIT_MEMFD, &opt);
		punch(&r, 0, 4096);
		cr_expect_eq(quoit_producer_open(r.q, &p), -EBADMSG);
		cr_expect_eq(quoit_consumer_open(r.q, &c), -EBADMSG);
		cr_expect_eq(quoit_attach(r.name, NULL, &q), -EPROTO);
		drop(&r);
	}
}

/* ---- at random, under load --------------------------------------------------------------------
 */

struct stream {
	struct test_ring *r;
	_Atomic uint32_t stop, moved;
};

/* Both ends come back, whatever they say. */
static int send_on_and_on(void *arg)
{
	struct stream *s = arg;
	unsigned char payload[112] = {0};
	struct quoit_producer *p;
	int r = quoit_producer_open(s->r->q, &p);

	while (r == 0 && atomic_load(&s->stop) == 0) {
		struct timespec soon = quoit_deadline_ms(20);

		r = quoit_send(p, payload, sizeof(payload), 1, &soon);
		r = r == -ETIMEDOUT || r == -EOWNERDEAD ? 0 : r;
	}
	if (r == 0 || r == -EPIPE || r == -EBADMSG)
		return 0;
	fprintf(stderr, "producer: %d\n", r);
	return 1;
}

static int take_on_and_on(void *arg)
{
	struct stream *s = arg;
	unsigned char payload[8192];
	struct quoit_consumer *c;
	struct quoit_msg msg;
	int r = quoit_consumer_open(s->r->q, &c) == 0 ? 1 : -EBADMSG;

	while (r == 1 && atomic_load(&s->stop) == 0) {
		struct timespec soon = quoit_deadline_ms(20);

		r = quoit_recv(c, payload, sizeof(payload), &msg, &soon);
		atomic_store(&s->moved, 1);
		r = r == -ETIMEDOUT || r == -EOWNERDEAD ? 1 : r;
	}
	if (r == 1 || r == 0 || r == -EBADMSG || r == -EMSGSIZE)
		return 0;
	fprintf(stderr, "consumer: %d\n", r);
	return 1;
}

static int look_on_and_on(void *arg)
{
	struct stream *s = arg;
	struct quoit_inspect *v;
	struct quoit_record record;
	uint64_t missed = 0;

	while (atomic_load(&s->stop) == 0) {
		if (quoit_inspect_open(s->r->name, NULL, NULL, &v) != 0)
			continue;
		for (unsigned n = 0; n < 1000 && quoit_inspect_next(v, &record, &missed) == 1; n++)
			;
		quoit_inspect_close(v);
	}
	return 0;
}

Test(punch, holes_at_random_crash_and_hang_nobody)
{
	struct stream *s = test_shared(sizeof(*s));
	uint64_t seed = test_random_seed();

	for (unsigned round = 0; round < 36; round++) {
		struct quoit_options opt = small(test_kinds[round % 2]);
		struct test_ring r;
		uint64_t pages;
		pid_t pids[3];

		test_ring_make(&r, files[round / 2 % 3], &opt);
		*s = (struct stream){.r = &r};
		pids[0] = test_spawn(send_on_and_on, s);
		pids[1] = test_spawn(take_on_and_on, s);
		pids[2] = test_spawn(look_on_and_on, s);
		cr_assert(test_wait_flag(&s->moved, 1, 10000), "round %u", round);
		pages = r.q->seg.size / 4096;
		for (unsigned n = 0; n < 3; n++) {
			/* The header last, if at all: without it all is over. */
			uint32_t page = n < 2 ? 1 + test_random_below(&seed, (uint32_t)pages - 1)
					      : test_random_below(&seed, (uint32_t)pages);

			punch(&r, page * UINT64_C(4096), 4096);
			test_spin_ns(test_random_below(&seed, 2000000));
		}
		test_sleep_ms(20);
		atomic_store(&s->stop, 1);
		for (unsigned n = 0; n < TEST_COUNT(pids); n++)
			cr_expect_eq(test_wait(pids[n]), 0, "round %u, seed %lx", round,
				     (unsigned long)seed);
		drop(&r);
	}
}
