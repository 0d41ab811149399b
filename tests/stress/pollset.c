/* SPDX-License-Identifier: MIT */
/*
 * Many rings, read by one process: reader threads on one set, while rings are added to it and taken
 * out of it all the time, rings are removed under their readers (as `quoit rm` does) and made anew,
 * and producers, threads of this process or processes of their own, are killed and replaced.
 *
 * Each ring's records are numbered. Readers check that every number comes once and in order,
 * whoever of them gets it; at the end every record that was sent must have been taken, and every
 * stream's end been seen.
 */
#include <pthread.h>

#include <quoit/pollset.h>

#include "stress/pollset_options.h"

#define BURST 8  /* records of one visit */
#define TAKE  32 /* records of one turn */

struct record {
	uint64_t slot, generation, number;
};

/* A place for a ring, and the rings that are there one after the other. Shared with producers. */
struct slot {
	_Atomic uint32_t generation; /* of the ring that is there */
	_Atomic uint32_t taken_out;  /* who sets this takes its member out of the set */
	_Atomic uint32_t gone;       /* a reader was told of its removal */
	_Atomic uint32_t turns;      /* readers that hold a member of it */
	_Atomic uint32_t ended;      /* a reader has seen the end of its stream */
	_Atomic uint64_t sent;       /* at that end */
	uint64_t expected;           /* the holder's: number to come */
	/* This process's, of the one who looks after the slot: */
	struct quoit *q;
	_Atomic(struct quoit_member *) member;
	bool doomed; /* removed, and not gone yet */
};

struct shared {
	_Atomic uint32_t stop, finish; /* no more churn; send the last record and close */
	_Atomic uint64_t records, deaths, removals, swaps, kills;
	struct slot slot[];
};

static struct shared *shared;
static struct quoit_pollset *set;

#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);            \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void ring_name(unsigned i, uint32_t generation, char *ret)
{
	static pid_t tester;

	if (tester == 0)
		tester = options.threads ? getpid() : getpgrp();
	snprintf(ret, QUOIT_NAME_MAX, "shm:qtest-set-%d-%u-%u", tester, i, generation);
}

/* ---- producing ------------------------------------------------------------------------------ */

/* A producer has every PRODUCERSth slot. */
struct source {
	struct quoit_producer *p;
	uint32_t generation;
	uint64_t number;
};

/* Come to the ring that is in the slot now; false: not there at present. */
static bool source_open(struct source *s, unsigned i)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	uint32_t generation = atomic_load(&shared->slot[i].generation);
	char name[QUOIT_NAME_MAX];
	struct quoit *q;
	int r;

	ring_name(i, generation, name);
	r = quoit_attach(name, NULL, &q);
	if (r != 0) {
		CHECK(r == -ENOENT || r == -EIDRM, "attach %s: %s", name, quoit_strerror(r));
		return false;
	}
	r = quoit_producer_open(q, &s->p);
	CHECK(r == 0 || r == -EIDRM || r == -EBUSY, "open %s: %s", name, quoit_strerror(r));
	/* A killed predecessor's records are there, each or not at all. */
	if (r == 0) {
		CHECK(quoit_get_stats(q, &stats) == 0, "stats");
		s->number = stats.produced.records;
		s->generation = generation;
	} else {
		s->p = NULL;
	}
	quoit_detach(q);
	return r == 0;
}

/* Send one; false: not at present. */
static bool source_send(struct source *s, unsigned i)
{
	struct record record = {.slot = i, .generation = s->generation, .number = s->number};
	int r;

	if (s->p == NULL && !source_open(s, i))
		return false;
	record.generation = s->generation;
	record.number = s->number;
	r = quoit_send(s->p, &record, sizeof(record), 0, QUOIT_NOWAIT);
	if (r == 0) {
		s->number++;
		return true;
	}
	CHECK(r == -EAGAIN || r == -EIDRM || r == -EPIPE, "send: %s", quoit_strerror(r));
	if (r == -EIDRM) {
		quoit_producer_close(s->p);
		s->p = NULL;
	}
	return false;
}

/* The ring that is there now is the slot's last one. Who has not sent since the one before was
 * removed does not know of that yet. */
static void source_finish(struct source *s, unsigned i)
{
	if (s->p != NULL && s->generation != atomic_load(&shared->slot[i].generation)) {
		quoit_producer_close(s->p);
		s->p = NULL;
	}
	while (!source_send(s, i))
		test_sleep_ms(1);
	atomic_store(&shared->slot[i].sent, s->number);
	quoit_producer_close(s->p);
}

static void produce(unsigned first)
{
	uint64_t seed = options.seed + first * 77 + 1;
	unsigned n = (options.rings - first + options.producers - 1) / options.producers;
	struct source *s = calloc(n, sizeof(*s));

	MUST(s != NULL);
	while (atomic_load(&shared->finish) == 0) {
		/* Few rings are busy at a time; now and then there is nothing at all. */
		for (int visits = 0; visits < 64; visits++) {
			unsigned k = test_random_below(&seed, n);
			unsigned burst = 1 + test_random_below(&seed, BURST);

			while (burst-- != 0 && source_send(&s[k], first + k * options.producers))
				;
		}
		if (test_random_below(&seed, 64) == 0)
			test_sleep_ms(3);
	}
	for (unsigned k = 0; k < n; k++)
		source_finish(&s[k], first + k * options.producers);
	free(s);
}

static void *produce_thread(void *arg)
{
	produce((unsigned)(uintptr_t)arg);
	return NULL;
}

static int produce_process(void *arg)
{
	produce((unsigned)(uintptr_t)arg);
	return 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void take_out(struct quoit_member *member)
{
	CHECK(quoit_pollset_remove(set, member) == 0, "remove");
}

/* One turn of a ready ring. True: it is over, and the member ours to take out. */
static bool take_turn(struct slot *slot, const struct quoit_ready *ready, uint64_t *records)
{
	unsigned i = (unsigned)(slot - shared->slot);

	for (int k = 0; k < TAKE; k++) {
		struct record record;
		struct quoit_msg msg;
		int r = quoit_recv(ready->consumer, &record, sizeof(record), &msg, QUOIT_NOWAIT);

		if (r == 1) {
			CHECK(record.slot == i && record.number == slot->expected,
			      "ring %u: record %lu.%lu.%lu, not %lu", i, record.slot,
			      record.generation, record.number, slot->expected);
			slot->expected++;
			++*records;
			continue;
		}
		if (r == -EAGAIN)
			return false;
		if (r == -EOWNERDEAD) {
			atomic_fetch_add(&shared->deaths, 1);
			continue;
		}
		CHECK(r == 0 || r == -EIDRM, "ring %u: %s", i, quoit_strerror(r));
		if (atomic_exchange(&slot->taken_out, 1) != 0)
			return false;
		if (r == 0)
			CHECK(slot->expected == atomic_load(&slot->sent),
			      "ring %u ends at %lu, sent %lu", i, slot->expected, slot->sent);
		atomic_store(r == 0 ? &slot->ended : &slot->gone, 1);
		return true;
	}
	return false;
}

static void *read_rings(void *arg)
{
	struct quoit_ready ready[READERS_MAX];
	uint64_t records = 0;

	while (quoit_pollset_count(set) != 0 || atomic_load(&shared->stop) == 0) {
		struct timespec deadline = quoit_deadline_ms(50);
		int n = quoit_pollset_wait(set, ready, options.max, &deadline);

		CHECK(n > 0 || n == -ETIMEDOUT, "wait: %s", quoit_strerror(n));
		for (int i = 0; i < n; i++) {
			struct slot *slot = ready[i].user;

			atomic_fetch_add(&slot->turns, 1);
			if (take_turn(slot, &ready[i], &records))
				take_out(ready[i].member);
			CHECK(quoit_pollset_done(set, &ready[i]) == 0, "done");
			atomic_fetch_sub(&slot->turns, 1);
		}
	}
	atomic_fetch_add(&shared->records, records);
	return arg;
}

/* ---- coming and going ----------------------------------------------------------------------- */

static void put_in(struct slot *slot)
{
	struct quoit_consumer *c;
	struct quoit_member *member;
	int r;

	/* Whoever held the last member of this ring closes it. */
	while ((r = quoit_consumer_open(slot->q, &c)) == -EBUSY)
		test_sleep_ms(0);
	if (r == -EIDRM) {
		atomic_store(&slot->gone, 1);
		return;
	}
	CHECK(r == 0, "open: %s", quoit_strerror(r));
	atomic_store(&slot->taken_out, 0);
	r = quoit_pollset_add_consumer(set, c, slot, &member);
	if (r == -EIDRM) {
		quoit_consumer_close(c);
		atomic_store(&slot->taken_out, 1);
		atomic_store(&slot->gone, 1);
		return;
	}
	CHECK(r == 0, "add: %s", quoit_strerror(r));
	atomic_store(&slot->member, member);
}

static void new_ring(unsigned i)
{
	struct quoit_options opt = {.size = sizeof(opt), .capacity = 1024};
	struct slot *slot = &shared->slot[i];
	char name[QUOIT_NAME_MAX];
	int r;

	ring_name(i, atomic_load(&slot->generation) + 1, name);
	r = quoit_create(name, &opt, &slot->q);
	CHECK(r == 0, "create %s: %s", name, quoit_strerror(r));
	slot->expected = 0;
	slot->doomed = false;
	atomic_store(&slot->gone, 0);
	put_in(slot);
	atomic_fetch_add(&slot->generation, 1);
}

/* A reader may still be at work in the removed ring. */
static void replace(unsigned i)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	while (quoit_get_stats(shared->slot[i].q, &stats) == 0 && stats.consumers != 0)
		test_sleep_ms(0);
	while (atomic_load(&shared->slot[i].turns) != 0)
		test_sleep_ms(0);
	quoit_detach(shared->slot[i].q);
	new_ring(i);
	atomic_fetch_add(&shared->removals, 1);
}

static void visit(unsigned i, uint64_t *seed)
{
	struct slot *slot = &shared->slot[i];
	char name[QUOIT_NAME_MAX];
	int r;

	if (atomic_load(&slot->gone) != 0) {
		replace(i);
	} else if (!slot->doomed && test_random_below(seed, 8) == 0) {
		ring_name(i, atomic_load(&slot->generation), name);
		r = quoit_remove(name);
		CHECK(r == 0, "remove %s: %s", name, quoit_strerror(r));
		slot->doomed = true;
	} else if (atomic_exchange(&slot->taken_out, 1) == 0) {
		take_out(atomic_load(&slot->member));
		put_in(slot);
		atomic_fetch_add(&shared->swaps, 1);
	}
}

/* Until told to stop; then the removed rings are replaced, so that each stream can end. */
static void *churn(void *arg)
{
	unsigned half = (unsigned)(uintptr_t)arg;
	uint64_t seed = options.seed + 1000 + half;
	bool doomed;

	while (options.churn && atomic_load(&shared->stop) == 0) {
		unsigned i = test_random_below(&seed, options.rings / 2) * 2 + half;

		visit(i, &seed);
		if (test_random_below(&seed, 16) == 0)
			test_sleep_ms(1);
	}
	do {
		doomed = false;
		for (unsigned i = half; i < options.rings; i += 2) {
			struct slot *slot = &shared->slot[i];

			if (atomic_load(&slot->gone) != 0)
				replace(i);
			doomed |= slot->doomed;
		}
		test_sleep_ms(1);
	} while (doomed);
	return NULL;
}

/* ---- the run -------------------------------------------------------------------------------- */

static pthread_t start_thread(void *(*fn)(void *arg), uintptr_t arg)
{
	pthread_t thread;

	MUST(pthread_create(&thread, NULL, fn, (void *)arg) == 0);
	return thread;
}

/* Let it run; kill a producer now and then. */
static void run_for_a_while(pid_t *pid)
{
	int64_t end = test_now_ns() + options.ms * INT64_C(1000000);
	uint64_t seed = options.seed + 5;

	while (test_now_ns() < end) {
		unsigned i = test_random_below(&seed, options.producers);

		test_sleep_ms(100);
		if (!options.kill)
			continue;
		test_kill(pid[i]);
		pid[i] = test_spawn(produce_process, (void *)(uintptr_t)i);
		atomic_fetch_add(&shared->kills, 1);
	}
}

static void run(void)
{
	pthread_t reader[READERS_MAX], churner[2], producer[PRODUCERS_MAX];
	pid_t pid[PRODUCERS_MAX];
	unsigned ended = 0;

	/* Processes before threads: a fork copies one thread only. */
	for (unsigned i = 0; i < options.producers && !options.threads; i++)
		pid[i] = test_spawn(produce_process, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < options.readers; i++)
		reader[i] = start_thread(read_rings, i);
	for (unsigned i = 0; i < options.rings; i++)
		new_ring(i);
	for (unsigned i = 0; i < options.producers && options.threads; i++)
		producer[i] = start_thread(produce_thread, i);
	for (unsigned i = 0; i < 2; i++)
		churner[i] = start_thread(churn, i);
	run_for_a_while(pid);
	atomic_store(&shared->stop, 1);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(churner[i], NULL);
	atomic_store(&shared->finish, 1);
	for (unsigned i = 0; i < options.producers; i++) {
		if (options.threads)
			pthread_join(producer[i], NULL);
		else
			CHECK(test_wait(pid[i]) == 0, "producer %u", i);
	}
	for (unsigned i = 0; i < options.readers; i++)
		pthread_join(reader[i], NULL);
	for (unsigned i = 0; i < options.rings; i++)
		ended += atomic_load(&shared->slot[i].ended);
	CHECK(ended == options.rings, "%u streams of %u ended", ended, options.rings);
}

static void tidy(void)
{
	for (unsigned i = 0; i < options.rings; i++) {
		char name[QUOIT_NAME_MAX];

		ring_name(i, atomic_load(&shared->slot[i].generation), name);
		quoit_detach(shared->slot[i].q);
		CHECK(quoit_remove(name) == 0, "remove %s", name);
	}
}

int main(int argc, char **argv)
{
	struct quoit_pollset_options opt = {.size = sizeof(opt)};

	parse(argc, argv);
	raise_limit();
	setpgid(0, 0);
	alarm(options.timeout_s);
	opt.members = options.rings + 64; /* removed ones keep no place */
	shared = test_shared(sizeof(*shared) + options.rings * sizeof(shared->slot[0]));
	MUST(quoit_pollset_create(&opt, &set) == 0);
	run();
	CHECK(quoit_pollset_count(set) == 0, "members are left");
	quoit_pollset_destroy(set);
	tidy();
	printf("%u rings, %u readers: %lu records; %lu taken out and put in again, %lu removed, "
	       "%lu "
	       "producers killed, %lu deaths told\n",
	       options.rings, options.readers, shared->records, shared->swaps, shared->removals,
	       shared->kills, shared->deaths);
	CHECK(shared->records != 0, "nothing happened");
	return 0;
}
