/* SPDX-License-Identifier: MIT */
/*
 * The SIGBUS guard: a ring's file is cut off while endpoints are at work on it. Each says -EBADMSG;
 * nobody dies, hangs, or takes zeros for a record. Rings and observers: guard_ring_test.c.
 */
#include <sys/resource.h>

#include "guard_support.h"

TestSuite(guard, .fini = test_cleanup, .timeout = 60);

/* ---- without the guard ---------------------------------------------------------------------- */

/* Those who die on purpose need leave no core. */
static void no_core(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static int read_what_is_gone(void *arg)
{
	struct test_ring *r = arg;
	struct quoit_consumer *c;
	uint64_t value;

	no_core();
	signal(SIGBUS, SIG_DFL); /* a sanitizer would report it, and exit its own way */
	CHILD_CHECK(quoit_consumer_open(r->q, &c) == 0);
	guard_cut(r, 0);
	return test_take(c, &value);
}

Test(guard, without_it_a_cut_ring_kills)
{
	struct quoit_options opt = guard_options(QUOIT_SPSC);
	struct test_ring r;

	test_ring_make(&r, QUOIT_SHM, &opt);
	cr_expect_eq(test_wait(test_spawn(read_what_is_gone, &r)), 128 + SIGBUS);
	guard_drop(&r);
}

/* ---- endpoints that do not wait -------------------------------------------------------------- */

static void expect_consumer_to_say_so(struct test_ring *r, off_t size, const char *what)
{
	struct quoit_consumer *c;
	struct quoit_producer *p;
	unsigned char buf[1000];
	struct quoit_msg msg;
	int result = 1;

	MUST(quoit_producer_open(r->q, &p) == 0 && quoit_consumer_open(r->q, &c) == 0);
	/* Well into the second lap, where zeros look like empty records. */
	for (uint64_t i = 0; i < 100; i++) {
		uint32_t type = test_record_fill(buf, sizeof(buf), 1, i);

		MUST(quoit_send(p, buf, sizeof(buf), type, QUOIT_NOWAIT) == 0);
		if (i < 80)
			MUST(quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT) == 1);
	}
	guard_cut(r, size);
	for (unsigned i = 0; i <= 20 && result == 1; i++) {
		uint32_t producer;
		uint64_t seq;

		result = quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT);
		cr_expect(result != 1 || test_record_check(buf, msg.len, msg.type, &producer, &seq),
			  "%s: a record that nobody sent, %u bytes", what, msg.len);
	}
	cr_expect_eq(result, -EBADMSG, "%s: %d", what, result);
	cr_expect_eq(quoit_peek(c, &msg), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_peek_batch(c, &msg, 1), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_recv_batch(c, buf, sizeof(buf), &msg, 1, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_consumer_wait(c, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_consumer_fd(c), -EBADMSG, "%s", what);
	quoit_consumer_close(c);
	quoit_producer_close(p);
}

Test(guard, a_consumer_of_a_cut_ring_gets_ebadmsg_and_no_false_record)
{
	cr_assert_eq(quoit_guard(), 0);
	guard_each_cut(expect_consumer_to_say_so);
}

static void expect_producer_to_say_so(struct test_ring *r, off_t size, const char *what)
{
	struct quoit_producer *p;
	uint64_t value = 0;
	struct quoit_msg msg = {.data = &value, .len = 8};
	int result = 0;
	void *payload;

	MUST(quoit_producer_open(r->q, &p) == 0);
	for (unsigned i = 0; i < 10; i++)
		MUST(test_put(p, i) == 0);
	guard_cut(r, size);
	for (unsigned i = 0; i < 2 && result == 0; i++)
		result = test_put(p, i);
	/* What is left may have room; then the end of it is met later. */
	for (unsigned i = 0; i < 10000 && size > 4096 && result == 0; i++)
		result = test_put(p, i);
	cr_expect_eq(result, -EBADMSG, "%s: %d", what, result);
	cr_expect_eq(test_put(p, 1), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_reserve(p, 8, &payload), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_send(p, &value, 8, 0, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_send_batch(p, &msg, 1, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_producer_wait(p, 8, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_drain(p, NULL), -EBADMSG, "%s", what);
	cr_expect_eq(quoit_producer_fd(p), -EBADMSG, "%s", what);
	quoit_producer_close(p);
}

Test(guard, a_producer_of_a_cut_ring_gets_ebadmsg)
{
	cr_assert_eq(quoit_guard(), 0);
	guard_each_cut(expect_producer_to_say_so);
}

/* Wherever in its lap the producer is: what is written goes into a page of zeros, and nothing read
 * there leads outside the ring. */
Test(guard, a_batch_into_a_cut_ring_gets_ebadmsg_wherever_it_begins)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct quoit_msg msgs[64], msg;
	uint64_t value = 0;

	opt.capacity = 1024;
	cr_assert_eq(quoit_guard(), 0);
	for (unsigned i = 0; i < TEST_COUNT(msgs); i++)
		msgs[i] = (struct quoit_msg){.data = &value, .len = sizeof(value)};
	for (unsigned before = 0; before < 65; before++) {
		struct quoit_producer *p;
		struct quoit_consumer *c;
		struct test_ring r;
		int result = 0;

		test_ring_make(&r, guard_files[before % 2], &opt);
		MUST(quoit_producer_open(r.q, &p) == 0 && quoit_consumer_open(r.q, &c) == 0);
		for (unsigned i = 0; i < before; i++) {
			MUST(test_put(p, i) == 0);
			MUST(quoit_recv(c, &value, sizeof(value), &msg, QUOIT_NOWAIT) == 1);
		}
		guard_cut(&r, 0);
		for (unsigned i = 0; i < 3 && result >= 0; i++)
			result = quoit_send_batch(p, msgs, TEST_COUNT(msgs), QUOIT_NOWAIT);
		cr_expect_eq(result, -EBADMSG, "%u records before: %d", before, result);
		quoit_producer_close(p);
		quoit_consumer_close(c);
		guard_drop(&r);
	}
}

static void expect_payload_to_stay_readable(struct test_ring *r, off_t size, const char *what)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	void *payload;

	MUST(quoit_producer_open(r->q, &p) == 0 && quoit_consumer_open(r->q, &c) == 0);
	MUST(test_put(p, 42) == 0 && quoit_peek(c, &msg) == 1);
	MUST(quoit_reserve(p, 1000, &payload) == 0);
	guard_cut(r, size);
	memset(payload, 'x', 1000);
	cr_expect(*(volatile uint64_t *)msg.data == 0 || *(volatile uint64_t *)msg.data == 42,
		  "%s: what was peeked at is zero or as it was", what);
	if (size <= 4096) {
		cr_expect_eq(quoit_commit(p, payload, 1000, 0), -EBADMSG, "%s", what);
		cr_expect_eq(quoit_advance(c, &msg), -EBADMSG, "%s", what);
	}
	quoit_producer_close(p);
	quoit_consumer_close(c);
}

Test(guard, pointers_into_a_cut_ring_can_be_used_and_what_is_made_of_them_is_refused)
{
	cr_assert_eq(quoit_guard(), 0);
	guard_each_cut(expect_payload_to_stay_readable);
}

/* ---- endpoints that wait --------------------------------------------------------------------- */

struct sleeper {
	struct test_ring *r;
	enum quoit_wait wait;
	bool producer;
	_Atomic uint32_t ready;
	_Atomic int64_t told_ns;
};

static int wait_to_be_told(void *arg)
{
	struct sleeper *s = arg;
	struct timespec late = quoit_deadline_ms(10000);
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t value;
	int result = 0;

	if (s->producer) {
		CHILD_CHECK(quoit_producer_open(s->r->q, &p) == 0);
		CHILD_CHECK(quoit_producer_set_wait(p, s->wait) == 0);
		while (test_put(p, 1) == 0)
			;
		atomic_store(&s->ready, 1);
		while (result == 0)
			result = quoit_send(p, &value, 8, 0, &late);
	} else {
		CHILD_CHECK(quoit_consumer_open(s->r->q, &c) == 0);
		CHILD_CHECK(quoit_consumer_set_wait(c, s->wait) == 0);
		atomic_store(&s->ready, 1);
		result = quoit_recv(c, &value, 8, &msg, &late);
	}
	atomic_store(&s->told_ns, test_now_ns());
	return result == -EBADMSG ? 0 : -result;
}

static void expect_sleeper_to_be_told(enum quoit_backend backend, enum quoit_kind kind,
				      enum quoit_wait wait, bool producer)
{
	struct sleeper *s = test_shared(sizeof(*s));
	struct quoit_options opt = guard_options(kind);
	struct test_ring r;
	int64_t cut_ns;
	pid_t pid;

	*s = (struct sleeper){.r = &r, .wait = wait, .producer = producer};
	test_ring_make(&r, backend, &opt);
	pid = test_spawn(wait_to_be_told, s);
	cr_assert(test_wait_flag(&s->ready, 1, 5000));
	test_sleep_ms(5);
	cut_ns = test_now_ns();
	guard_cut(&r, 0);
	cr_expect_eq(test_wait(pid), 0, "%s %s %s, %s", quoit_backend_name(backend),
		     quoit_kind_name(kind), producer ? "producer" : "consumer",
		     quoit_wait_name(wait));
	cr_expect_lt(atomic_load(&s->told_ns) - cut_ns, 5000000000, "%s: %ld ms",
		     quoit_wait_name(wait), (long)((atomic_load(&s->told_ns) - cut_ns) / 1000000));
	guard_drop(&r);
	munmap(s, sizeof(*s));
}

Test(guard, whoever_waits_on_a_cut_ring_is_told_whatever_it_waits_on)
{
	cr_assert_eq(quoit_guard(), 0); /* children inherit it */
	for (unsigned i = 0; i < TEST_COUNT(guard_files); i++)
		for (unsigned n = 0; n < 4 * TEST_COUNT(test_waits); n++)
			if (test_can_wait(guard_files[i], test_waits[n / 4]))
				expect_sleeper_to_be_told(guard_files[i], test_kinds[n % 2],
							  test_waits[n / 4], n / 2 % 2 != 0);
}

Test(guard, whoever_waits_on_a_cut_ring_is_told_also_once_the_ring_is_detached)
{
	struct quoit_options opt = guard_options(QUOIT_SPSC);
	struct timespec late = quoit_deadline_ms(10000);
	struct test_rig rig;
	const char *path = rig.r.name + 5;
	uint64_t size;

	cr_assert_eq(quoit_guard(), 0);
	test_rig_open(&rig, QUOIT_FILE, &opt);
	size = test_info(rig.r.q).segment_size;
	quoit_detach(rig.r.q);
	/* Its last page, which nobody comes to touch. */
	MUST(truncate(path, (off_t)(size - 4096)) == 0);
	cr_expect_eq(quoit_consumer_wait(rig.c, &late), -EBADMSG);
	quoit_producer_close(rig.p);
	quoit_consumer_close(rig.c);
	MUST(unlink(path) == 0);
	test_forget(rig.r.made);
}

/* ---- in the middle of a copy ----------------------------------------------------------------- */

#define LONG_RECORD 400000u

struct copier {
	struct test_ring *r;
	_Atomic uint32_t running;
};

/* Both sides of the ring, and every record proves itself. Ends when the ring is lost. */
static int copy_long_records(void *arg)
{
	struct copier *copier = arg;
	unsigned char *out = malloc(LONG_RECORD), *in = malloc(LONG_RECORD);
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;

	CHILD_CHECK(quoit_producer_open(copier->r->q, &p) == 0);
	CHILD_CHECK(quoit_consumer_open(copier->r->q, &c) == 0);
	for (uint64_t i = 0;; i++) {
		uint32_t type = test_record_fill(out, LONG_RECORD, 3, i), producer;
		int sent = quoit_send(p, out, LONG_RECORD, type, QUOIT_NOWAIT);
		int taken = quoit_recv(c, in, LONG_RECORD, &msg, QUOIT_NOWAIT);
		uint64_t seq = 0;

		if (taken == 1)
			CHILD_CHECK(test_record_check(in, msg.len, msg.type, &producer, &seq) &&
				    producer == 3 && seq == i);
		else
			CHILD_CHECK(taken == -EBADMSG);
		CHILD_CHECK(sent == 0 || sent == -EBADMSG);
		if (taken != 1)
			break;
		atomic_store(&copier->running, 1);
	}
	quoit_producer_close(p);
	quoit_consumer_close(c);
	free(out);
	free(in);
	return 0;
}

Test(guard, a_copy_that_was_cut_in_the_middle_is_no_record)
{
	struct copier *copier = test_shared(sizeof(*copier));
	uint64_t seed = test_random_seed();

	cr_assert_eq(quoit_guard(), 0);
	for (unsigned round = 0; round < 40; round++) {
		struct quoit_options opt = test_options(test_kinds[round % 2]);
		struct test_ring r;
		pid_t pid;

		opt.capacity = 4 * LONG_RECORD;
		opt.slot_size = LONG_RECORD;
		opt.peers = 8;
		test_ring_make(&r, guard_files[round / 2 % 2], &opt);
		*copier = (struct copier){.r = &r};
		pid = test_spawn(copy_long_records, copier);
		cr_assert(test_wait_flag(&copier->running, 1, 5000));
		test_spin_ns(test_random_below(&seed, 1000000));
		guard_cut(&r, (off_t)(test_random_below(&seed, 380) * 4096));
		cr_expect_eq(test_wait(pid), 0, "round %u", round);
		guard_drop(&r);
	}
}
