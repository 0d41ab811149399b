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
 */
#include <getopt.h>

#include <quoit/inspect.h>

#include "support.h"

#define PEERS_MAX   3
#define SEQ_MAX     (1u << 20)
#define HOLD        4
#define ROUNDS_EACH 25
#define STALL_MS    10000

static struct {
	enum quoit_kind kind;
	enum quoit_backend backend;
	unsigned peers, rounds;
	uint64_t seed, heap;
	bool stop;
} options = {.kind = QUOIT_MPMC,
	     .backend = QUOIT_SHM,
	     .peers = 1,
	     .rounds = 200,
	     .seed = 1,
	     .heap = 4 << 20};

struct producer_line {
	_Atomic uint64_t begun, committed;
};
struct consumer_line {
	_Atomic uint64_t taken;
	_Atomic uint32_t held, receiving;
	uint32_t held_producer[HOLD], held_seq[HOLD];
};
struct ledger {
	_Atomic uint32_t stop;
	_Atomic uint32_t up[2 * PEERS_MAX]; /* this life has opened its endpoint */
	struct producer_line producer[PEERS_MAX];
	struct consumer_line consumer[PEERS_MAX];
	_Atomic uint8_t count[PEERS_MAX][SEQ_MAX];
};

static struct ledger *ledger;
static struct test_ring ring;
static uint64_t seed;
static pid_t pid[2 * PEERS_MAX]; /* producers first */
static uint8_t may_miss[PEERS_MAX][SEQ_MAX], may_repeat[PEERS_MAX][SEQ_MAX];
static uint64_t may_lose;
static struct {
	uint64_t deaths, stops, records, repeated, lost, orphans;
} totals;

_Noreturn static void fail(const char *what, unsigned long long a, unsigned long long b)
{
	fprintf(stderr, "heap_kill: %s (%llu, %llu): %s, seed %llu\n", what, a, b,
		quoit_kind_name(options.kind), (unsigned long long)options.seed);
	_exit(1);
}

struct life {
	unsigned index;
	uint64_t seed;
};

/* Some for the ring, some for shared units, some for units of their own. */
static uint32_t random_len(struct life *life)
{
	static const uint32_t most[] = {40, 5000, 80000, 400000};

	return TEST_RECORD_MIN +
	       test_random_below(&life->seed, most[test_random_below(&life->seed, 4)]);
}

/* ---- lives ---------------------------------------------------------------------------------- */

static bool may_go_on(int r)
{
	return r == -EAGAIN || r == -ETIMEDOUT || r == -EINTR || r == -EOWNERDEAD;
}

/* 1: it is in. */
static int produce_one(struct life *life, struct quoit_producer *p, uint64_t seq)
{
	struct timespec deadline = quoit_deadline_ms(100);
	uint32_t len = random_len(life), type;
	void *payload;
	int r = quoit_reserve(p, len, &payload);

	if (r != 0) {
		r = may_go_on(r) ? quoit_producer_wait(p, len, &deadline) : r;
		if (r != 0 && !may_go_on(r))
			fail("reserve", (unsigned long long)-r, len);
		return 0;
	}
	type = test_record_fill(payload, len, life->index, seq);
	if (test_random_below(&life->seed, 10) == 0) {
		if (quoit_discard(p, payload) != 0)
			fail("discard", len, 0);
		return 0;
	}
	while ((r = quoit_commit(p, payload, len, type)) == -EAGAIN) {
		if (atomic_load(&ledger->stop) != 0)
			return quoit_discard(p, payload) != 0;
		test_sleep_ms(0);
	}
	if (r != 0 && !may_go_on(r))
		fail("commit", (unsigned long long)-r, len);
	return r == 0;
}

static int producer_life(void *arg)
{
	struct life *life = arg;
	struct producer_line *line = &ledger->producer[life->index];
	struct quoit_producer *p;
	struct quoit *q;

	if (quoit_attach(ring.name, NULL, &q) != 0 || quoit_producer_open(q, &p) != 0)
		fail("opening a producer", life->index, 0);
	atomic_store(&ledger->up[life->index], 1);
	while (atomic_load(&ledger->stop) == 0) {
		uint64_t seq = atomic_load(&line->committed);

		if (seq + 1 >= SEQ_MAX)
			fail("too many records", seq, 0);
		atomic_store(&line->begun, seq + 1);
		if (produce_one(life, p, seq) == 1)
			atomic_store(&line->committed, seq + 1);
		else
			atomic_store(&line->begun, seq);
	}
	quoit_producer_close(p);
	quoit_detach(q);
	return 0;
}

static void read_record(const struct quoit_msg *msg, uint32_t *producer, uint32_t *seq)
{
	uint64_t number;

	if (!test_record_check(msg->data, msg->len, msg->type, producer, &number))
		fail("a torn record", msg->len, msg->type);
	if (*producer >= options.peers || number >= SEQ_MAX)
		fail("an invented record", *producer, number);
	*seq = (uint32_t)number;
}

static int consume_in_place(struct life *life, struct quoit_consumer *c)
{
	struct consumer_line *line = &ledger->consumer[life->index];
	struct quoit_msg msgs[HOLD];
	int k = quoit_peek_batch(c, msgs, 1 + test_random_below(&life->seed, HOLD));

	if (k <= 0)
		return k;
	for (int i = 0; i < k; i++)
		read_record(&msgs[i], &line->held_producer[i], &line->held_seq[i]);
	atomic_store(&line->held, (uint32_t)k);
	for (int i = 0; i < k; i++)
		atomic_fetch_add(&ledger->count[line->held_producer[i]][line->held_seq[i]], 1);
	if (options.kind == QUOIT_SPSC) {
		if (quoit_advance_batch(c, msgs, (unsigned)k) != 0)
			fail("advance", (unsigned)k, 0);
	} else {
		for (int i = k; i-- != 0;) /* the newest first */
			if (quoit_advance(c, &msgs[i]) != 0)
				fail("advance", (unsigned)i, 0);
	}
	atomic_store(&line->held, 0);
	atomic_fetch_add(&line->taken, (uint64_t)k);
	return k;
}

static int consume_copy(struct life *life, struct quoit_consumer *c, unsigned char *buf)
{
	struct consumer_line *line = &ledger->consumer[life->index];
	uint32_t producer, seq;
	struct quoit_msg msg;
	int r;

	atomic_store(&line->receiving, 1);
	r = quoit_recv(c, buf, 1 << 20, &msg, QUOIT_NOWAIT);
	if (r == 1) {
		read_record(&msg, &producer, &seq);
		atomic_fetch_add(&ledger->count[producer][seq], 1);
		atomic_fetch_add(&line->taken, 1);
	}
	atomic_store(&line->receiving, 0);
	return r;
}

static int consumer_life(void *arg)
{
	static unsigned char buf[1 << 20];
	struct life *life = arg;
	struct quoit_consumer *c;
	struct quoit *q;
	int r;

	if (quoit_attach(ring.name, NULL, &q) != 0 || quoit_consumer_open(q, &c) != 0)
		fail("opening a consumer", life->index, 0);
	atomic_store(&ledger->up[options.peers + life->index], 1);
	do {
		struct timespec deadline = quoit_deadline_ms(100);

		r = test_random_below(&life->seed, 3) == 0 ? consume_copy(life, c, buf)
							   : consume_in_place(life, c);
		if (may_go_on(r)) {
			r = quoit_consumer_wait(c, &deadline);
			r = r == 0 || may_go_on(r) ? 1 : r;
		}
		if (r < 0)
			fail("a consumer's call", (unsigned long long)-r, life->index);
	} while (r != 0);
	if (atomic_load(&ledger->stop) == 0)
		fail("the stream ended before its time", life->index, 0);
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

/* ---- the parent ----------------------------------------------------------------------------- */

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
			may_miss[peer][s] = 1;
		atomic_store(&line->committed, begun);
	} else {
		struct consumer_line *line = &ledger->consumer[peer - options.peers];

		for (uint32_t i = 0; i < atomic_load(&line->held); i++)
			may_repeat[line->held_producer[i]][line->held_seq[i]]++;
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
	int64_t end = test_now_ns() + INT64_C(1000000) * STALL_MS;

	while (taken() < before + 4) {
		for (unsigned i = 0; i < 2 * options.peers; i++)
			if (waitpid(pid[i], NULL, WNOHANG) != 0)
				fail("a peer has left by itself", i, 0);
		if (test_now_ns() > end)
			fail(who, before, taken());
		test_sleep_ms(1);
	}
}

static void disturb(void)
{
	unsigned victim = test_random_below(&seed, 2 * options.peers);
	struct quoit_heap_stats h = {.size = sizeof(h)};

	test_spin_ns(test_random_below(&seed, 3000000));
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
			if (count > 1u + may_repeat[p][n])
				fail("a record came twice", p, n);
			lost += count == 0 && n < end && !may_miss[p][n];
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

static void epoch(unsigned rounds)
{
	struct quoit_options o = test_options(options.kind);

	o.capacity = 16384;
	o.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	o.peers = options.kind == QUOIT_MPMC ? 4 * PEERS_MAX : 0;
	o.heap_size = options.heap;
	memset(may_miss, 0, sizeof(may_miss));
	memset(may_repeat, 0, sizeof(may_repeat));
	may_lose = 0;
	ledger = test_shared(sizeof(*ledger));
	test_ring_make(&ring, options.backend, &o);
	for (unsigned i = 2 * options.peers; i-- != 0;)
		start(i);
	expect_progress("nothing begins");
	for (unsigned i = 0; i < rounds; i++)
		disturb();
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

int main(int argc, char **argv)
{
	static const struct option table[] = {{"kind", 1, NULL, 'k'},   {"peers", 1, NULL, 'p'},
					      {"rounds", 1, NULL, 'r'}, {"seed", 1, NULL, 's'},
					      {"heap", 1, NULL, 'h'},   {"backend", 1, NULL, 'b'},
					      {"stop", 0, NULL, 'S'},   {NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (o == 'k')
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		else if (o == 'p')
			options.peers = (unsigned)atoi(optarg);
		else if (o == 'r')
			options.rounds = (unsigned)atoi(optarg);
		else if (o == 's')
			options.seed = strtoull(optarg, NULL, 0);
		else if (o == 'h')
			options.heap = strtoull(optarg, NULL, 0);
		else if (o == 'b')
			options.backend = test_backend_from_name(optarg);
		else if (o == 'S')
			options.stop = true;
		else
			return 64;
	}
	if (options.kind == QUOIT_SPSC)
		options.peers = 1;
	if (options.peers < 1 || options.peers > PEERS_MAX)
		return 64;
	seed = options.seed;
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
