/* SPDX-License-Identifier: MIT */
/*
 * Peers killed at random moments while records of all sizes go through ring and heap.
 *
 * As kill.c, with a ledger outside the ring: a producer writes down what it begins and what was
 * committed, a consumer what it holds. Victims die reserving, filling, committing, reading,
 * advancing, cleaning up after others. With --stop they are stopped first, and killed or set going
 * again later. At the end of each epoch every committed record has come once (twice at most if its
 * reader died), nothing is damaged, and the whole section can be had in one piece: the blocks of
 * the dead have served until their records were read, and came back.
 *
 * With --seconds it is one epoch of that length, a death every --every ms on average, and each
 * minute and at the end it says what became of the section: how much was in use, and how fragmented
 * the rest.
 */
#include <getopt.h>

#include <quoit/inspect.h>

#include "crash/heap_kill_life.h"
#include "running.h"

#define ROUNDS_EACH 25
#define STALL_MS    10000
#define MINUTE_NS   INT64_C(60000000000)

static uint64_t seed;
static pid_t pid[2 * PEERS_MAX]; /* producers first */
static uint64_t may_lose;
static struct {
	uint64_t deaths, stops, records, repeated, lost, orphans;
} totals;

static void start(unsigned peer)
{
	bool producer = peer < options.peers;
	struct life life = {.index = producer ? peer : peer - options.peers,
			    .seed = test_random(&seed)};

	atomic_store(&ledger->up[peer], 0);
	pid[peer] = test_spawn(producer ? producer_life : consumer_life, &life);
}

static void bury(unsigned peer)
{
	totals.deaths++;
	if (peer < options.peers) {
		struct producer_line *line = &ledger->producer[peer];
		uint64_t begun = atomic_load(&line->begun);

		for (uint64_t s = atomic_load(&line->committed); s < begun; s++)
			ledger->may_miss[peer][s] = 1;
		atomic_store(&line->committed, begun);
	} else {
		struct consumer_line *line = &ledger->consumer[peer - options.peers];

		for (uint32_t i = 0; i < atomic_load(&line->held); i++)
			ledger->may_repeat[line->held_producer[i]][line->held_seq[i]]++;
		may_lose += atomic_load(&line->receiving);
		atomic_store(&line->held, 0);
		atomic_store(&line->receiving, 0);
	}
}

static uint64_t taken(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < options.peers; i++)
		sum += atomic_load(&ledger->consumer[i].taken);
	return sum;
}

static void expect_progress(const char *who)
{
	uint64_t before = taken();
	struct running_group all;

	running_begin(&all, pid, 2 * options.peers);
	while (taken() < before + 4) {
		for (unsigned i = 0; i < 2 * options.peers; i++)
			if (waitpid(pid[i], NULL, WNOHANG) != 0)
				fail("a peer has left by itself", i, 0);
		if (running_group_ns(&all) > INT64_C(1000000) * STALL_MS)
			fail(who, before, taken());
		test_sleep_ms(1);
	}
}

static void disturb(void)
{
	unsigned victim = test_random_below(&seed, 2 * options.peers);
	struct quoit_heap_stats h = {.size = sizeof(h)};

	if (options.stop && test_random_below(&seed, 2) == 0) {
		MUST(kill(pid[victim], SIGSTOP) == 0);
		totals.stops++;
		if (options.peers > 1)
			expect_progress("others stall beside a stopped peer");
		MUST(kill(pid[victim], SIGCONT) == 0);
		if (test_random_below(&seed, 2) == 0) {
			expect_progress("nothing goes on after SIGCONT");
			return;
		}
	}
	test_kill(pid[victim]);
	bury(victim);
	start(victim);
	if (test_random_below(&seed, 2) == 0)
		expect_progress("a successor stalls");
	MUST(quoit_get_heap_stats(ring.q, &h) == 0);
	totals.orphans += h.orphaned != 0;
}

static void check_records(void)
{
	uint64_t lost = 0;

	for (unsigned p = 0; p < options.peers; p++) {
		uint64_t end = atomic_load(&ledger->producer[p].committed);

		for (uint64_t n = 0; n < end + 1 && n < SEQ_MAX; n++) {
			unsigned count = atomic_load(&ledger->count[p][n]);

			if (count != 0 && n >= end)
				fail("an invented record", p, n);
			if (count > 1u + ledger->may_repeat[p][n])
				fail("a record came twice", p, n);
			lost += count == 0 && n < end && !ledger->may_miss[p][n];
			totals.records += count != 0;
			totals.repeated += count > 1;
		}
	}
	if (lost > may_lose)
		fail("committed records were lost", lost, may_lose);
	totals.lost += lost;
}

static void report(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg;
	if (severity > 1)
		fprintf(stderr, "at %llu: %s\n", (unsigned long long)offset, text);
}

/* All have left: the whole section can be had, with nothing but a sweep. */
static void check_heap(void)
{
	struct quoit_heap_stats h = {.size = sizeof(h)};
	struct quoit_inspect *v;
	struct quoit_producer *p;
	void *payload;

	MUST(quoit_inspect_open(ring.name, NULL, NULL, &v) == 0);
	if (quoit_inspect_check(v, report, NULL) != 0)
		fail("the check finds problems", 0, 0);
	quoit_inspect_close(v);
	MUST(quoit_producer_open(ring.q, &p) == 0);
	if (quoit_reserve(p, ring.max_record, &payload) != 0) {
		MUST(quoit_get_heap_stats(ring.q, &h) == 0);
		fail("the heap has lost room: free, orphaned", h.free, h.orphaned);
	}
	quoit_producer_close(p);
	MUST(quoit_get_heap_stats(ring.q, &h) == 0);
	if (h.free != h.total)
		fail("units are left in use", h.used, h.orphaned);
}

static void sum_up(const char *when, const struct mix_watch *w)
{
	uint64_t waits = 0, enough = 0, bytes = 0;

	for (unsigned i = 0; i < options.peers; i++) {
		waits += atomic_load(&ledger->producer[i].waits);
		enough += atomic_load(&ledger->producer[i].enough);
		bytes += atomic_load(&ledger->producer[i].bytes);
	}
	printf("%s: %llu killed, %llu records taken, %.1f GiB sent; ", when,
	       (unsigned long long)totals.deaths, (unsigned long long)taken(),
	       (double)bytes / 0x1p30);
	mix_print(w);
	printf("; %llu waits for room, %llu of them with enough of it in pieces\n",
	       (unsigned long long)waits, (unsigned long long)enough);
}

/* For so many seconds, looking at the section a hundred times in each. */
static void disturb_for(unsigned seconds)
{
	struct mix_watch all = {0}, minute = {0};
	int64_t begin = test_now_ns(), next_minute = begin + MINUTE_NS, next = begin;
	char when[32];

	while (test_now_ns() < begin + INT64_C(1000000000) * seconds) {
		test_sleep_ms(10);
		mix_look(&minute, ring.q);
		if (test_now_ns() >= next_minute) {
			snprintf(when, sizeof(when), "minute %d",
				 (int)((next_minute - begin) / MINUTE_NS));
			sum_up(when, &minute);
			mix_add(&all, &minute);
			minute = (struct mix_watch){0};
			next_minute += MINUTE_NS;
		}
		if (test_now_ns() < next)
			continue;
		disturb();
		next = test_now_ns() +
		       INT64_C(1000) * test_random_below(&seed, 2000 * options.every);
	}
	mix_add(&all, &minute);
	snprintf(when, sizeof(when), "all %u s", seconds);
	sum_up(when, &all);
}

static void make_ring(void)
{
	struct quoit_options o = test_options(options.kind);

	o.capacity = 16384;
	o.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	o.peers = options.kind == QUOIT_MPMC ? 4 * PEERS_MAX : 0;
	o.heap_size = options.heap;
	test_ring_make(&ring, options.backend, &o);
}

static void epoch(unsigned rounds)
{
	may_lose = 0;
	ledger = test_shared(sizeof(*ledger));
	make_ring();
	for (unsigned i = 2 * options.peers; i-- != 0;)
		start(i);
	expect_progress("nothing begins");
	if (options.seconds != 0)
		disturb_for(options.seconds);
	for (unsigned i = 0; i < rounds; i++) {
		test_spin_ns(test_random_below(&seed, 3000000));
		disturb();
	}
	expect_progress("nothing goes on");
	/* Who comes after all have left begins a new stream, and waits for its end. */
	for (unsigned i = 0; i < 2 * options.peers; i++)
		if (!test_wait_flag(&ledger->up[i], 1, STALL_MS))
			fail("a peer did not come up", i, 0);
	atomic_store(&ledger->stop, 1);
	for (unsigned i = 0; i < 2 * options.peers; i++) {
		int code = test_wait(pid[i]);

		if (code != 0)
			fail("a peer did not end well", i, (unsigned long long)code);
	}
	check_records();
	check_heap();
	munmap(ledger, sizeof(*ledger));
	test_ring_drop(&ring);
}

static void parse(int argc, char **argv)
{
	static const struct option table[] = {
		{"kind", 1, NULL, 'k'},    {"peers", 1, NULL, 'p'}, {"rounds", 1, NULL, 'r'},
		{"seed", 1, NULL, 's'},    {"heap", 1, NULL, 'h'},  {"backend", 1, NULL, 'b'},
		{"seconds", 1, NULL, 't'}, {"max", 1, NULL, 'm'},   {"every", 1, NULL, 'e'},
		{"stop", 0, NULL, 'S'},    {NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", table, NULL)) != -1) {
		uint64_t value = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

		if (o == 'k')
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		else if (o == 'p')
			options.peers = (unsigned)value;
		else if (o == 'r')
			options.rounds = (unsigned)value;
		else if (o == 's')
			options.seed = value;
		else if (o == 'h')
			options.heap = value;
		else if (o == 'b')
			options.backend = test_backend_from_name(optarg);
		else if (o == 't')
			options.seconds = (unsigned)value;
		else if (o == 'm')
			options.max = value;
		else if (o == 'e')
			options.every = (unsigned)value;
		else if (o == 'S')
			options.stop = true;
		else
			exit(64);
	}
	if (options.kind == QUOIT_SPSC)
		options.peers = 1;
	if (options.peers < 1 || options.peers > PEERS_MAX || options.max > options.heap ||
	    options.every == 0 || options.every > 1000000)
		exit(64);
	if (options.seconds != 0)
		options.rounds = 0;
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	seed = options.seed;
	if (options.seconds != 0)
		epoch(0);
	for (unsigned left = options.rounds; left != 0;) {
		unsigned n = left < ROUNDS_EACH ? left : ROUNDS_EACH;

		epoch(n);
		left -= n;
	}
	printf("heap_kill %s %uP%uC: %llu killed, %llu stopped, %llu records, %llu of them again, "
	       "%llu taken by dying receivers, orphans seen after %llu of the deaths: ok\n",
	       quoit_kind_name(options.kind), options.peers, options.peers,
	       (unsigned long long)totals.deaths, (unsigned long long)totals.stops,
	       (unsigned long long)totals.records, (unsigned long long)totals.repeated,
	       (unsigned long long)totals.lost, (unsigned long long)totals.orphans);
	return 0;
}
