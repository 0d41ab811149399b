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

#include "heap_mix.h"
#include "running.h"

#define PEERS_MAX   3
#define SEQ_MAX     (1u << 24)
#define HOLD        4
#define ROUNDS_EACH 25
#define STALL_MS    10000
#define WAITS_MAX   10 /* turns, of 100 ms at most, that a record waits for room */
#define MINUTE_NS   INT64_C(60000000000)

static struct {
	enum quoit_kind kind;
	enum quoit_backend backend;
	unsigned peers, rounds, seconds, every;
	uint64_t seed, heap, max; /* max: 0 for some lengths that meet all ways to have a block */
	bool stop;
} options = {.kind = QUOIT_MPMC,
	     .backend = QUOIT_SHM,
	     .peers = 1,
	     .rounds = 200,
	     .every = 500,
	     .seed = 1,
	     .heap = 4 << 20};

struct producer_line {
	_Atomic uint64_t begun, committed, bytes;
	_Atomic uint64_t waits, enough; /* for room; with that many bytes free, but not together */
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
	uint8_t may_miss[PEERS_MAX][SEQ_MAX], may_repeat[PEERS_MAX][SEQ_MAX]; /* the parent's */
};

static struct ledger *ledger;
static struct test_ring ring;
static uint64_t seed;
static pid_t pid[2 * PEERS_MAX]; /* producers first */
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

	if (options.max != 0)
		return mix_len(&life->seed, options.max);
	return 1 + test_random_below(&life->seed, most[test_random_below(&life->seed, 4)]);
}

/* ---- lives ---------------------------------------------------------------------------------- */

static bool may_go_on(int r)
{
	return r == -EAGAIN || r == -ETIMEDOUT || r == -EINTR || r == -EOWNERDEAD;
}

/* No room: wait a little, and note whether there was enough of it in pieces. */
static void wait_for_room(struct producer_line *line, struct quoit_producer *p,
			  const struct quoit *q, uint32_t len)
{
	struct timespec deadline = quoit_deadline_ms(100);
	struct quoit_heap_stats h = {.size = sizeof(h)};
	int r;

	MUST(quoit_get_heap_stats(q, &h) == 0);
	atomic_fetch_add(&line->waits, 1);
	atomic_fetch_add(&line->enough, h.free >= len);
	r = quoit_producer_wait(p, len, &deadline);
	if (r != 0 && !may_go_on(r))
		fail("waiting for room", (unsigned long long)-r, len);
}

/* 1: it is in; 0: it was given up, or we are to stop. What a stopped reader holds may leave no
 * stretch that is long enough, for as long as it stands: who has waited some turns tries another
 * length. */
static int produce_one(struct life *life, struct quoit_producer *p, const struct quoit *q,
		       uint32_t id)
{
	struct producer_line *line = &ledger->producer[life->index];
	uint32_t len = random_len(life);
	unsigned waits = 0;
	void *payload;
	int r;

	while ((r = quoit_reserve(p, len, &payload)) != 0) {
		if (!may_go_on(r))
			fail("reserve", (unsigned long long)-r, len);
		if (atomic_load(&ledger->stop) != 0 || ++waits > WAITS_MAX)
			return 0;
		wait_for_room(line, p, q, len);
	}
	mix_fill(payload, len, id);
	if (test_random_below(&life->seed, 10) == 0) {
		if (quoit_discard(p, payload) != 0)
			fail("discard", len, 0);
		return 0;
	}
	while ((r = quoit_commit(p, payload, len, id)) == -EAGAIN) {
		if (atomic_load(&ledger->stop) != 0)
			return quoit_discard(p, payload) != 0;
		test_sleep_ms(0);
	}
	if (r != 0 && !may_go_on(r))
		fail("commit", (unsigned long long)-r, len);
	atomic_fetch_add(&line->bytes, r == 0 ? len : 0);
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
		if (produce_one(life, p, q, life->index << 28 | (uint32_t)seq) == 1)
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
	*producer = msg->type >> 28;
	*seq = msg->type & 0xfffffff;
	if (*producer >= options.peers || *seq >= SEQ_MAX)
		fail("an invented record", *producer, *seq);
	if (!mix_whole(msg->data, msg->len, msg->type))
		fail("a torn record", msg->len, msg->type);
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

static int consume_copy(struct life *life, struct quoit_consumer *c, unsigned char *buf,
			uint32_t room)
{
	struct consumer_line *line = &ledger->consumer[life->index];
	uint32_t producer, seq;
	struct quoit_msg msg;
	int r;

	atomic_store(&line->receiving, 1);
	r = quoit_recv(c, buf, room, &msg, QUOIT_NOWAIT);
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
	uint32_t room = options.max > 1 << 20 ? (uint32_t)options.max : 1 << 20;
	unsigned char *buf = malloc(room);
	struct life *life = arg;
	struct quoit_consumer *c;
	struct quoit *q;
	int r;

	if (buf == NULL || quoit_attach(ring.name, NULL, &q) != 0 ||
	    quoit_consumer_open(q, &c) != 0)
		fail("opening a consumer", life->index, 0);
	atomic_store(&ledger->up[options.peers + life->index], 1);
	do {
		struct timespec deadline = quoit_deadline_ms(100);

		r = test_random_below(&life->seed, 3) == 0 ? consume_copy(life, c, buf, room)
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
	free(buf);
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
