/* SPDX-License-Identifier: MIT */
/*
 * The parent of a running stream: starts its processes, has them disturbed, ends the stream, and
 * reckons up. The ledger tells
 *   - lost: a record whose commit had returned was never delivered;
 *   - twice: a record came more often than readers died that held it;
 *   - invented: a record came that nobody had begun to send; torn: its checksum is wrong;
 *   - late: a producer's records came out of order other than by redelivery;
 *   - used up: after everyone has left, not the whole capacity can be used, or the ring is damaged.
 */
#ifndef QUOIT_TESTS_CRASH_STREAM_RUN_H
#define QUOIT_TESTS_CRASH_STREAM_RUN_H

#include <getopt.h>

#include <quoit/inspect.h>

#include "crash/running.h"
#include "crash/stream.h"

#define ROUNDS_EACH 50 /* disturbances in one epoch; then a new ring */
#define STALL_NS    INT64_C(1000000000)

/* What only the parent knows. */
struct books {
	struct ledger *ledger;
	struct test_ring ring;
	uint64_t seed;
	bool receive;                         /* consumers may use quoit_recv() */
	pid_t pid[2 * PEERS_MAX];             /* producers first */
	uint8_t may_miss[PEERS_MAX][SEQ_MAX]; /* begun, and its producer died before it returned */
	uint8_t may_repeat[PEERS_MAX][SEQ_MAX];
	uint64_t may_lose; /* taken by a reader that died before it could note so */
	unsigned deaths[2];
};

static struct {
	unsigned deaths[2];
	uint64_t records, repeated, lost_in_recv, told;
	int64_t longest_ns;
} totals;

static struct books books;

/* ---- the parent ----------------------------------------------------------------------------- */

static bool is_producer(unsigned victim)
{
	return victim < options.peers;
}

static _Atomic uint32_t *up_flag(unsigned peer)
{
	return is_producer(peer) ? &books.ledger->producer[peer].up
				 : &books.ledger->consumer[peer - options.peers].up;
}

static void start(unsigned peer)
{
	struct life life = {.ledger = books.ledger,
			    .ring = books.ring.name,
			    .index = is_producer(peer) ? peer : peer - options.peers,
			    .seed = test_random(&books.seed),
			    .receive = books.receive,
			    .backend = test_info(books.ring.q).backend};

	atomic_store(up_flag(peer), 0);
	books.pid[peer] = test_spawn(is_producer(peer) ? producer_life : consumer_life, &life);
}

static void expect_alive(void)
{
	for (unsigned i = 0; i < 2 * options.peers; i++)
		if (waitpid(books.pid[i], NULL, WNOHANG) != 0)
			fail("a peer has left by itself", i, 0);
}

static uint64_t taken_so_far(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < options.peers; i++)
		sum += atomic_load(&books.ledger->consumer[i].taken);
	return sum;
}

/* What lies in the ring: runs of records in one state and of one owner. */
static void describe_records(void)
{
	struct quoit_record r = {0}, first = {0};
	struct quoit_inspect *view;
	uint64_t missed = 0;

	if (quoit_inspect_open(books.ring.name, NULL, NULL, &view) != 0)
		return;
	for (unsigned n = 0; n < 1000 && quoit_inspect_next(view, &r, &missed) == 1; n++) {
		if (n != 0 && r.state == first.state && r.owner == first.owner)
			continue;
		fprintf(stderr, "from %llu: state %u, owner %d\n", (unsigned long long)r.position,
			r.state, (int)r.owner);
		first = r;
	}
	quoit_inspect_close(view);
}

/* Where everybody is, for whoever has to find out why nothing moves. */
static void describe_standstill(void)
{
	struct quoit_stats s = test_stats(books.ring.q);

	fprintf(stderr, "head %llu, tail %llu, used %llu of %llu, %u producers, %u consumers\n",
		(unsigned long long)s.head, (unsigned long long)s.tail, (unsigned long long)s.used,
		(unsigned long long)s.capacity, s.producers, s.consumers);
	for (unsigned i = 0; i < 2 * options.peers; i++) {
		char path[64], line[512] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", books.pid[i]);
		f = fopen(path, "re");
		if (f == NULL)
			continue;
		if (fgets(line, sizeof(line), f) != NULL)
			fprintf(stderr, "peer %u: %.24s\n", i, line);
		fclose(f);
	}
	describe_records();
}

/* Somebody is left on both sides: so many records must flow. On a busy machine, where nobody lets
 * them run, that is not their fault. */
static void expect_progress(const char *who, uint64_t records)
{
	uint64_t before = taken_so_far();
	int64_t begin = test_now_ns(), took;
	struct running_group all;

	running_begin(&all, books.pid, 2 * options.peers);
	for (;;) {
		took = test_now_ns() - begin;
		if (taken_so_far() >= before + records)
			break;
		if (took > STALL_NS && running_group_ns(&all) > STALL_NS) {
			describe_standstill();
			fail(who, before, (unsigned long long)took);
		}
		if (took > 100000)
			test_sleep_ms(1);
	}
	if (took > totals.longest_ns) {
		took = running_group_ns(&all);
		totals.longest_ns = took > totals.longest_ns ? took : totals.longest_ns;
	}
}

/* Everyone but `except` has opened its endpoint. */
static void expect_up(unsigned except)
{
	for (unsigned i = 0; i < 2 * options.peers; i++)
		if (i != except && !test_wait_flag(up_flag(i), 1, 5000))
			fail("a peer did not come up", i, except);
}

static void end_the_stream(void)
{
	expect_up(UINT32_MAX);
	atomic_store(&books.ledger->stop, 1);
	for (unsigned i = 0; i < 2 * options.peers; i++) {
		int code = test_wait(books.pid[i]);

		if (code != 0)
			fail("a peer did not end well", i, (unsigned long long)code);
	}
}

/* ---- the reckoning -------------------------------------------------------------------------- */

static void check_records(void)
{
	struct quoit_stats s = test_stats(books.ring.q);
	uint64_t lost = 0, late = atomic_load(&books.ledger->late);

	for (unsigned p = 0; p < options.peers; p++) {
		uint64_t end = atomic_load(&books.ledger->producer[p].committed);

		for (uint64_t n = 0; n < SEQ_MAX; n++) {
			unsigned count = atomic_load(&books.ledger->count[p][n]);

			if (count != 0 && n >= end)
				fail("an invented record", p, n);
			if (count > 1u + books.may_repeat[p][n])
				fail("a record came twice", p, n);
			if (count == 0 && n < end && !books.may_miss[p][n]) {
				lost++;
				if (lost > books.may_lose)
					fail("a committed record was lost", p, n);
			}
			totals.records += count != 0;
			totals.repeated += count > 1;
		}
	}
	totals.lost_in_recv += lost;
	if (options.kind == QUOIT_SPSC && late != 0)
		fail("records out of order", late, 0);
	if (late > s.produced.redelivered + s.consumed.redelivered)
		fail("more records late than redelivered", late,
		     s.produced.redelivered + s.consumed.redelivered);
}

static void report_problem(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg;
	if (severity > 1)
		fprintf(stderr, "at %llu: %s\n", (unsigned long long)offset, text);
}

/* Everyone has left: nothing is used, nothing damaged, and the whole ring can be filled again. */
static void check_ring(void)
{
	struct quoit_stats s = test_stats(books.ring.q);
	struct quoit_inspect *view;
	struct quoit_producer *p;
	uint64_t n = 0;
	int r;

	if (s.used != 0 || s.producers != 0 || s.consumers != 0)
		fail("something is left in use", s.used, s.producers + s.consumers);
	if (s.producer_deaths > books.deaths[0] || s.consumer_deaths > books.deaths[1])
		fail("more deaths counted than died", s.producer_deaths, s.consumer_deaths);
	r = quoit_inspect_open(books.ring.name, report_problem, NULL, &view);
	if (r != 0)
		fail("inspect_open", (unsigned long long)-r, 0);
	r = quoit_inspect_check(view, report_problem, NULL);
	if (r != 0)
		fail("the check finds problems", (unsigned long long)r, 0);
	quoit_inspect_close(view);
	r = quoit_producer_open(books.ring.q, &p);
	if (r != 0)
		fail("producer_open", (unsigned long long)-r, 0);
	while ((r = test_put(p, n)) == 0)
		n++;
	if (r != -EAGAIN)
		fail("filling up", (unsigned long long)-r, n);
	if (options.kind == QUOIT_MPMC ? n != s.capacity : n * 16 + 32 < s.capacity)
		fail("capacity is lost", n, s.capacity);
	quoit_producer_close(p);
}

static void run_epoch(enum quoit_backend backend, unsigned rounds, void (*disturb)(void))
{
	struct quoit_options opt = test_options(options.kind);

	memset(&books, 0, sizeof(books));
	books.seed = options.seed + options.round;
	books.receive = options.round / ROUNDS_EACH % 4 == 3;
	opt.capacity = options.capacity;
	opt.start = options.start;
	opt.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	opt.peers = options.kind == QUOIT_MPMC ? 2 * PEERS_MAX : 0;
	books.ledger = test_shared(sizeof(*books.ledger));
	test_ring_make(&books.ring, backend, &opt);
	options.ring = books.ring.name;
	/* Consumers first: the stream has not begun, so it cannot end early. */
	for (unsigned i = 2 * options.peers; i-- != 0;)
		start(i);
	for (unsigned i = 0; i < rounds; i++) {
		bool full = false;

		for (unsigned p = 0; p < options.peers; p++)
			full = full || atomic_load(&books.ledger->producer[p].begun) > SEQ_MAX / 2;
		if (full)
			break;
		disturb();
		options.round++;
	}
	end_the_stream();
	check_records();
	check_ring();
	totals.deaths[0] += books.deaths[0];
	totals.deaths[1] += books.deaths[1];
	totals.told += atomic_load(&books.ledger->told);
	munmap(books.ledger, sizeof(*books.ledger));
	test_ring_drop(&books.ring);
}

static void run(enum quoit_backend backend, void (*disturb)(void))
{
	memset(&totals, 0, sizeof(totals));
	options.round = 0;
	while (options.round < options.rounds) {
		unsigned left = options.rounds - options.round;

		run_epoch(backend, left < ROUNDS_EACH ? left : ROUNDS_EACH, disturb);
	}
	printf("%s %s %s %uP%uC: %u rounds, %u producers and %u consumers killed, %llu records, "
	       "%llu "
	       "of them again, %llu taken by dying receivers, %llu deaths told, longest standstill "
	       "%.1f "
	       "ms: ok\n",
	       options.program, quoit_kind_name(options.kind), quoit_backend_name(backend),
	       options.peers, options.peers, options.round, totals.deaths[0], totals.deaths[1],
	       (unsigned long long)totals.records, (unsigned long long)totals.repeated,
	       (unsigned long long)totals.lost_in_recv, (unsigned long long)totals.told,
	       (double)totals.longest_ns / 1e6);
}

/* ---- command line --------------------------------------------------------------------------- */

static void timed_out(int number)
{
	static const char text[] = "hangs: not done within --timeout\n";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(2);
}

_Noreturn static void usage(void)
{
	fprintf(stderr,
		"usage: [--kind spsc|mpmc] [--backend shm|sysv|file|memfd|all] [--peers "
		"1..4]\n  [--rounds N] [--seed N] [--capacity BYTES] [--start N] [--timeout S]\n");
	exit(64);
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{"kind", 1, NULL, 'k'},   {"backend", 1, NULL, 'b'}, {"peers", 1, NULL, 'p'},
		{"rounds", 1, NULL, 'n'}, {"seed", 1, NULL, 's'},    {"capacity", 1, NULL, 'C'},
		{"start", 1, NULL, 'P'},  {"timeout", 1, NULL, 't'}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

		if (c == 'k')
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		else if (c == 'b')
			options.backend = test_backend_from_name(optarg);
		else if (c == 'p')
			options.peers = (unsigned)number;
		else if (c == 'n')
			options.rounds = (unsigned)number;
		else if (c == 's')
			options.seed = number;
		else if (c == 'C')
			options.capacity = number;
		else if (c == 'P')
			options.start = number;
		else if (c == 't')
			options.timeout_s = (unsigned)number;
		else
			usage();
	}
	if ((int)options.kind < 0 || options.peers < 1 || options.peers > PEERS_MAX ||
	    (options.kind == QUOIT_SPSC && options.peers != 1))
		usage();
}

/* The program: disturb() is called for each round, and leaves as many processes as it found. */
static int stream_main(int argc, char **argv, const char *program, void (*disturb)(void))
{
	options.program = program;
	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, timed_out);
	alarm(options.timeout_s);
	for (unsigned b = 0; b < TEST_COUNT(test_backends); b++)
		if (options.backend == 0 || options.backend == test_backends[b])
			run(test_backends[b], disturb);
	return 0;
}

#endif
