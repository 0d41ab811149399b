/* SPDX-License-Identifier: MIT */
/*
 * Records of all sizes through ring and heap at once: several producers and consumers, processes or
 * threads, consumers that hold records and let go of them in any order. Every record comes exactly
 * once and whole; at the end the whole section is free in one piece. With --seconds it says what
 * became of the section meanwhile: how much was in use, and how fragmented the rest.
 */
#include <getopt.h>
#include <pthread.h>
#include <sched.h>

#include <quoit/inspect.h>

#include "heap_mix.h"

#define SIDES_MAX   8
#define HOLD_MAX    8
#define RECORDS_MAX (UINT64_C(1) << 24) /* of one producer */

static struct {
	enum quoit_kind kind;
	unsigned producers, consumers, hold;
	uint64_t records, heap, max, capacity, seed;
	double seconds;
	bool threads;
} options = {.kind = QUOIT_MPMC,
	     .producers = 2,
	     .consumers = 2,
	     .hold = HOLD_MAX,
	     .records = 3000,
	     .heap = 8 << 20,
	     .max = 1 << 20,
	     .capacity = 16384,
	     .seed = 1};

struct shared {
	_Atomic uint32_t stop, failed;
	_Atomic uint32_t open; /* sides: who comes after all have left waits for a new stream */
	_Atomic uint64_t sent[SIDES_MAX], bytes[SIDES_MAX], taken[SIDES_MAX];
	_Atomic uint64_t waits, enough; /* for room; with that many bytes free, but not together */
	_Atomic uint8_t count[SIDES_MAX][RECORDS_MAX];
};
static struct shared *shared;
static struct test_ring ring;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			atomic_store(&shared->failed, 1);                                          \
			atomic_store(&shared->stop, 1);                                            \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static void all_open(void)
{
	atomic_fetch_add(&shared->open, 1);
	(void)test_wait_flag(&shared->open, options.producers + options.consumers, 60000);
}

/* ---- sides ---------------------------------------------------------------------------------- */

struct side {
	unsigned index;
	struct quoit *q;
	uint64_t seed;
};

static int reserve(struct side *s, struct quoit_producer *p, uint32_t len, void **ret)
{
	for (;;) {
		struct timespec deadline = quoit_deadline_ms(100000);
		struct quoit_heap_stats h = {.size = sizeof(h)};
		int r = quoit_reserve(p, len, ret);

		if (r != -EAGAIN)
			return r;
		CHECK(quoit_get_heap_stats(s->q, &h) == 0);
		atomic_fetch_add(&shared->waits, 1);
		atomic_fetch_add(&shared->enough, h.free >= len);
		r = quoit_producer_wait(p, len, &deadline);
		if (r != 0)
			return r;
	}
}

static int produce(struct side *s)
{
	unsigned char *copy = malloc(options.max);
	struct quoit_producer *p;
	uint64_t seq;

	CHECK(copy != NULL && quoit_producer_open(s->q, &p) == 0);
	all_open();
	for (seq = 0; seq < options.records && seq < RECORDS_MAX && !atomic_load(&shared->stop);
	     seq++) {
		uint32_t len = mix_len(&s->seed, options.max), id = s->index << 28 | (uint32_t)seq;
		struct timespec deadline = quoit_deadline_ms(100000);
		int r;

		if (test_random_below(&s->seed, 3) == 0) {
			mix_fill(copy, len, id);
			r = quoit_send(p, copy, len, id, &deadline);
		} else {
			void *payload;

			r = reserve(s, p, len, &payload);
			if (r == 0 && test_random_below(&s->seed, 16) == 0)
				r = quoit_discard(p, payload) == 0 ? reserve(s, p, len, &payload)
								   : -EINVAL;
			if (r == 0) {
				mix_fill(payload, len, id);
				while ((r = quoit_commit(p, payload, len, id)) == -EAGAIN)
					sched_yield();
			}
		}
		if (r != 0)
			fprintf(stderr, "producer %u, %u bytes: %s\n", s->index, len,
				quoit_strerror(r));
		CHECK(r == 0);
		atomic_fetch_add_explicit(&shared->bytes[s->index], len, memory_order_relaxed);
		atomic_fetch_add_explicit(&shared->sent[s->index], 1, memory_order_relaxed);
	}
	quoit_producer_close(p);
	free(copy);
	return 0;
}

static int check_record(struct side *s, const struct quoit_msg *msg)
{
	uint32_t producer = msg->type >> 28, seq = msg->type & 0xfffffff;

	CHECK(producer < options.producers && seq < RECORDS_MAX);
	CHECK(mix_whole(msg->data, msg->len, msg->type));
	CHECK(atomic_fetch_add(&shared->count[producer][seq], 1) == 0);
	atomic_fetch_add_explicit(&shared->taken[s->index], 1, memory_order_relaxed);
	return 0;
}

static int consume(struct side *s)
{
	unsigned char *copy = malloc(options.max);
	struct quoit_msg held[HOLD_MAX];
	struct quoit_consumer *c;
	unsigned most = options.kind == QUOIT_SPSC ? 1 : options.hold;

	CHECK(copy != NULL && quoit_consumer_open(s->q, &c) == 0);
	all_open();
	for (;;) {
		struct timespec deadline = quoit_deadline_ms(100000);
		unsigned want = 1 + test_random_below(&s->seed, most);
		int n;

		if (test_random_below(&s->seed, 3) == 0) {
			struct quoit_msg msg;

			n = quoit_recv(c, copy, (uint32_t)options.max, &msg, &deadline);
			CHECK(n >= 0);
			if (n == 0)
				break;
			if (check_record(s, &msg) != 0)
				return 1;
			continue;
		}
		n = quoit_peek_batch(c, held, want);
		if (n == 0)
			break;
		if (n == -EAGAIN) {
			CHECK(quoit_consumer_wait(c, &deadline) == 0);
			continue;
		}
		CHECK(n > 0);
		for (int i = 0; i < n; i++)
			if (check_record(s, &held[i]) != 0)
				return 1;
		while (options.kind == QUOIT_MPMC && n > 0) { /* in any order */
			unsigned i = test_random_below(&s->seed, (uint32_t)n);

			CHECK(quoit_advance(c, &held[i]) == 0);
			held[i] = held[--n];
		}
		CHECK(n == 0 || quoit_advance_batch(c, held, (unsigned)n) == 0);
	}
	quoit_consumer_close(c);
	free(copy);
	return 0;
}

/* ---- running -------------------------------------------------------------------------------- */

static int side_main(void *arg)
{
	struct side *s = arg;
	int r;

	if (!options.threads && quoit_attach(ring.name, NULL, &s->q) != 0)
		return 1;
	if (s->index < options.producers) {
		r = produce(s);
	} else {
		s->index -= options.producers;
		r = consume(s);
	}
	if (!options.threads)
		quoit_detach(s->q);
	return r;
}

static void *side_thread(void *arg)
{
	return side_main(arg) != 0 ? arg : NULL;
}

/* What became of the section, looked at a hundred times a second. */
static void watch(void)
{
	uint64_t looks = (uint64_t)(options.seconds * 100);
	struct mix_watch w = {0};
	uint64_t sent = 0, bytes = 0;

	while (w.looks < looks && !atomic_load(&shared->failed)) {
		test_sleep_ms(10);
		mix_look(&w, ring.q);
	}
	atomic_store(&shared->stop, 1);
	for (unsigned i = 0; i < options.producers; i++) {
		sent += atomic_load(&shared->sent[i]);
		bytes += atomic_load(&shared->bytes[i]);
	}
	printf("%s, %.0f s: %llu records, %.1f GiB; ", quoit_kind_name(options.kind),
	       options.seconds, (unsigned long long)sent, (double)bytes / 0x1p30);
	mix_print(&w);
	printf("; %llu waits for room, %llu of them with enough of it in pieces\n",
	       (unsigned long long)atomic_load(&shared->waits),
	       (unsigned long long)atomic_load(&shared->enough));
}

static int run_sides(void)
{
	unsigned n = options.producers + options.consumers;
	struct side side[2 * SIDES_MAX];
	pthread_t thread[2 * SIDES_MAX];
	pid_t pid[2 * SIDES_MAX];
	int failed = 0;

	for (unsigned i = 0; i < n; i++) {
		side[i] = (struct side){.index = i, .q = ring.q, .seed = options.seed * 1000 + i};
		if (options.threads)
			MUST(pthread_create(&thread[i], NULL, side_thread, &side[i]) == 0);
		else
			pid[i] = test_spawn(side_main, &side[i]);
	}
	if (options.seconds != 0)
		watch();
	for (unsigned i = 0; i < n; i++) {
		void *result;

		if (options.threads) {
			MUST(pthread_join(thread[i], &result) == 0);
			failed |= result != NULL;
		} else {
			failed |= test_wait(pid[i]) != 0;
		}
	}
	return failed;
}

/* Everything that was sent came, and all of the heap can be had again. */
static int reckon(void)
{
	struct quoit_heap_stats h = {.size = sizeof(h)};
	struct quoit_producer *p;
	struct quoit_inspect *v;
	void *payload;

	for (unsigned i = 0; i < options.producers; i++)
		for (uint64_t k = 0; k < atomic_load(&shared->sent[i]); k++)
			CHECK(atomic_load(&shared->count[i][k]) == 1);
	CHECK(quoit_producer_open(ring.q, &p) == 0);
	CHECK(quoit_reserve(p, ring.max_record, &payload) == 0);
	CHECK(quoit_discard(p, payload) == 0);
	quoit_producer_close(p);
	CHECK(quoit_get_heap_stats(ring.q, &h) == 0);
	CHECK(h.free == h.total);
	if (quoit_inspect_open(ring.name, NULL, NULL, &v) == 0) {
		CHECK(quoit_inspect_check(v, NULL, NULL) == 0);
		quoit_inspect_close(v);
	}
	return 0;
}

static void parse(int argc, char **argv)
{
	static const struct option table[] = {
		{"kind", 1, NULL, 'k'},      {"producers", 1, NULL, 'p'},
		{"consumers", 1, NULL, 'c'}, {"records", 1, NULL, 'r'},
		{"heap", 1, NULL, 'h'},      {"max", 1, NULL, 'm'},
		{"capacity", 1, NULL, 'C'},  {"seconds", 1, NULL, 's'},
		{"seed", 1, NULL, 'S'},      {"hold", 1, NULL, 'H'},
		{"threads", 0, NULL, 't'},   {0}};
	int o;

	while ((o = getopt_long(argc, argv, "", table, NULL)) != -1) {
		uint64_t value = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

		switch (o) {
		case 'k':
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
			break;
		case 'p':
			options.producers = (unsigned)value;
			break;
		case 'c':
			options.consumers = (unsigned)value;
			break;
		case 'r':
			options.records = value;
			break;
		case 'h':
			options.heap = value;
			break;
		case 'm':
			options.max = value;
			break;
		case 'C':
			options.capacity = value;
			break;
		case 's':
			options.seconds = strtod(optarg, NULL);
			options.records = UINT64_MAX;
			break;
		case 'S':
			options.seed = value;
			break;
		case 'H':
			options.hold = (unsigned)value;
			break;
		case 't':
			options.threads = true;
			break;
		default:
			exit(64);
		}
	}
	if (options.kind == QUOIT_SPSC)
		options.producers = options.consumers = 1;
	if (options.producers > SIDES_MAX || options.consumers > SIDES_MAX ||
	    options.hold > HOLD_MAX || options.hold == 0 || options.max == 0 ||
	    options.max > options.heap)
		exit(64);
}

int main(int argc, char **argv)
{
	struct quoit_options o;
	int failed;

	parse(argc, argv);
	shared = test_shared(sizeof(*shared));
	o = test_options(options.kind);
	o.capacity = options.capacity;
	o.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	o.heap_size = options.heap;
	test_ring_make(&ring, QUOIT_SHM, &o);
	failed = run_sides() || reckon();
	test_ring_drop(&ring);
	return failed || atomic_load(&shared->failed);
}
