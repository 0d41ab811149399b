/* SPDX-License-Identifier: MIT */
/*
 * Killed at every instruction of an operation on the heap.
 *
 * The operation is single-stepped once; then a fresh victim on a fresh ring is brought to each
 * instruction of that path, as in step.c, and killed there; with --every N to each N-th. After each
 * death everything that had been committed is read, once, and the whole section can be had in one
 * piece by a successor: no unit and no block is lost, wherever it died. It needs x86-64.
 */
#include <getopt.h>

#include <quoit/inspect.h>

#include "support.h"

#if defined(__x86_64__)

#include "tests/crash/step_trace.h"

#define UNIT  65536u
#define UNITS 8

static struct {
	enum quoit_kind kind;
	const char *operation;
	unsigned every, from, to;
} options = {.every = 1, .to = UINT32_MAX};
static struct trace trace;

_Noreturn static void fail(const char *what, long long a, long long b)
{
	fprintf(stderr, "heap_step: %s %s: %s (%lld, %lld)\n", quoit_kind_name(options.kind),
		options.operation, what, a, b);
	_exit(1);
}

/* ---- records -------------------------------------------------------------------------------- */

static uint32_t len_of(uint64_t seq)
{
	static const uint32_t lens[] = {UNIT, 3000, 40, 2 * UNIT, 9000};

	return lens[seq % TEST_COUNT(lens)];
}

static void put(struct quoit_producer *p, uint64_t seq)
{
	void *payload;
	uint32_t type;

	CHILD_CHECK(quoit_reserve(p, len_of(seq), &payload) == 0);
	type = test_record_fill(payload, len_of(seq), 1, seq);
	CHILD_CHECK(quoit_commit(p, payload, len_of(seq), type) == 0);
}

/* The next record; UINT64_MAX: none, with *ret_result what was said. */
static uint64_t take(struct quoit_consumer *c, int *ret_result)
{
	struct quoit_msg msg;
	uint32_t producer;
	uint64_t seq;
	int r = quoit_peek(c, &msg);

	*ret_result = r;
	if (r != 1)
		return UINT64_MAX;
	if (!test_record_check(msg.data, msg.len, msg.type, &producer, &seq) ||
	    msg.len != len_of(seq))
		fail("a torn record", msg.len, msg.type);
	if (quoit_advance(c, &msg) != 0)
		fail("advance", (long long)seq, 0);
	return seq;
}

/* ---- operations ----------------------------------------------------------------------------- */

struct world {
	struct quoit *q;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	void *payload;
	unsigned char *buf;
	unsigned sent; /* before the operation */
};

struct operation {
	const char *name;
	bool consumer;   /* the victim reads; else it writes */
	bool may_add;    /* one more record may be there after it */
	unsigned takes;  /* so many more may be gone */
	unsigned sent;   /* records in the ring before it */
	unsigned taken;  /* that were taken after that, by the other side */
	bool after_dead; /* a producer has died before, with what it had sent */
	bool idle;       /* a living producer has sent it, and does not come back: MPMC */
	bool by_name;    /* only if asked for: takes minutes */
	void (*before)(struct world *w);
	void (*run)(struct world *w);
};

static void nothing(struct world *w)
{
	(void)w;
}

static void reserve_unit(struct world *w)
{
	CHILD_CHECK(quoit_reserve(w->p, UNIT, &w->payload) == 0);
}

static void reserve_small(struct world *w)
{
	CHILD_CHECK(quoit_reserve(w->p, 3000, &w->payload) == 0);
}

/* The arena is made by the first block: a long way, that need not be gone every time. */
static void warm(struct world *w)
{
	reserve_small(w);
	CHILD_CHECK(quoit_discard(w->p, w->payload) == 0);
}

static void filled(struct world *w)
{
	reserve_small(w);
	memset(w->payload, 1, 3000);
}

static void filled_unit(struct world *w)
{
	w->sent = 5; /* the length of the sixth is a unit */
	reserve_unit(w);
	w->msg.type = test_record_fill(w->payload, UNIT, 1, w->sent);
}

static void commit(struct world *w)
{
	CHILD_CHECK(quoit_commit(w->p, w->payload, UNIT, w->msg.type) == 0);
}

static void discard(struct world *w)
{
	CHILD_CHECK(quoit_discard(w->p, w->payload) == 0);
}

static void prepare(struct world *w)
{
	w->msg.type = test_record_fill(w->buf, UNIT, 1, 5);
}

static void send_unit(struct world *w)
{
	CHILD_CHECK(quoit_send(w->p, w->buf, UNIT, w->msg.type, QUOIT_NOWAIT) == 0);
}

static void close_producer(struct world *w)
{
	quoit_producer_close(w->p);
}

static void peek(struct world *w)
{
	CHILD_CHECK(quoit_peek(w->c, &w->msg) == 1);
}

static void advance(struct world *w)
{
	CHILD_CHECK(quoit_advance(w->c, &w->msg) == 0);
}

static void receive(struct world *w)
{
	CHILD_CHECK(quoit_recv(w->c, w->buf, 4 * UNIT, &w->msg, QUOIT_NOWAIT) == 1);
}

/* There is not so much room but in the blocks of the dead, or in our own that were taken. */
static void reserve_most(struct world *w)
{
	CHILD_CHECK(quoit_reserve(w->p, UNITS * UNIT, &w->payload) == 0);
}

/* The dead's records are still to be read, and their blocks nobody's to have. */
static void reserve_in_vain(struct world *w)
{
	CHILD_CHECK(quoit_reserve(w->p, UNITS * UNIT, &w->payload) == -EAGAIN);
}

static void open_producer(struct world *w)
{
	CHILD_CHECK(quoit_producer_open(w->q, &w->p) == 0);
}

static void close_consumer(struct world *w)
{
	quoit_consumer_close(w->c);
}

/* Without room for long enough to look at what others have lent. */
static void run_short(struct world *w)
{
	open_producer(w);
	CHILD_CHECK(quoit_reserve(w->p, UNITS * UNIT, &w->payload) == -EAGAIN);
	test_sleep_ms(12);
}

static const struct operation operations[] = {
	{"reserve-units", false, false, 0, 2, 0, false, false, false, nothing, reserve_unit},
	{"reserve-arena", false, false, 0, 2, 0, false, false, false, warm, reserve_small},
	{"first-arena", false, false, 0, 0, 0, false, false, true, nothing, reserve_small},
	{"commit", false, true, 0, 5, 0, false, false, false, filled_unit, commit},
	{"discard", false, false, 0, 2, 0, false, false, false, filled, discard},
	{"send", false, true, 0, 5, 0, false, false, false, prepare, send_unit},
	{"collect", false, false, 0, 5, 5, false, false, false, nothing, reserve_most},
	{"sweep", false, false, 0, 5, 5, true, false, false, open_producer, reserve_most},
	{"sweep-some", false, false, 0, 5, 2, true, false, false, open_producer, reserve_in_vain},
	{"reclaim", false, false, 0, 5, 5, false, true, false, run_short, reserve_most},
	{"reap", false, false, 0, 3, 0, true, false, false, nothing, open_producer},
	{"close", false, false, 0, 5, 2, false, false, true, filled, close_producer},
	{"peek", true, false, 0, 3, 0, false, false, false, nothing, peek},
	{"advance", true, false, 1, 3, 0, false, false, false, peek, advance},
	{"close-consumer", true, false, 0, 3, 0, false, false, false, peek, close_consumer},
	{"recv", true, false, 1, 3, 0, false, false, false, nothing, receive},
};

/* ---- one run -------------------------------------------------------------------------------- */

struct victim {
	const struct operation *op;
	const char *name;
	struct ledger *ledger;
	_Atomic uint32_t *go; /* 1: the other side has done its part */
	bool early;           /* only send, and die */
};

static int victim(void *arg)
{
	struct victim *v = arg;
	struct world w = {.buf = malloc(4 * UNIT)};

	CHILD_CHECK(quoit_attach(v->name, NULL, &w.q) == 0);
	if (v->op->consumer) {
		CHILD_CHECK(quoit_consumer_open(w.q, &w.c) == 0);
	} else if (v->early || (!v->op->after_dead && !v->op->idle)) {
		CHILD_CHECK(quoit_producer_open(w.q, &w.p) == 0);
		for (uint64_t i = 0; i < v->op->sent; i++)
			put(w.p, i);
	}
	atomic_store(v->go, 1);
	if (v->early)
		for (;;)
			pause();
	CHILD_CHECK(test_wait_flag(v->go, 2, 5000));
	memset(w.buf, 0, 4 * UNIT); /* no page faults on the way */
	v->op->before(&w);
	CHILD_CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	raise(SIGTRAP);
	v->op->run(&w);
	atomic_store(&v->ledger->returned, 1);
	for (;;)
		pause();
}

/* Bring it to instruction k and kill it there; or, with k < 0, note all of its path. */
static enum stop step_and_kill(pid_t pid, const struct ledger *l, int64_t k)
{
	enum stop s;
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		fail("a victim did not come into position", status, 0);
	ticks(true);
	s = k < 0 ? trace_all(&trace, pid, l, NULL, NULL)
		  : go_to(&trace, pid, l, (uint32_t)k, NULL, NULL);
	ticks(false);
	if (s == BROKEN || s == HANGS || (k < 0 && s != RETURNED))
		fail("a victim left by itself, or hangs", s, k);
	MUST(kill(pid, SIGKILL) == 0);
	MUST(test_wait(pid) == 128 + SIGKILL);
	return s;
}

static void check_after(struct test_ring *r, struct quoit_consumer *c, const struct operation *op,
			int64_t k)
{
	struct quoit_heap_stats h = {.size = sizeof(h)};
	unsigned found = 0, expected = op->sent - op->taken, first = op->taken;
	struct quoit_inspect *v;
	struct quoit_producer *p;
	void *payload;
	uint64_t seq;
	int result;

	if (c == NULL && quoit_consumer_open(r->q, &c) != 0)
		fail("opening a consumer", k, 0);
	for (;;) {
		seq = take(c, &result);
		if (seq == UINT64_MAX && result == -EOWNERDEAD)
			continue;
		if (seq == UINT64_MAX)
			break;
		if (found == 0 && seq > first && seq - first <= op->takes)
			expected -= (unsigned)seq - first, first = (unsigned)seq;
		if (seq != first + found)
			fail("a record that was not to come", (long long)seq, k);
		found++;
	}
	if (result != -EAGAIN && result != 0)
		fail("peek", result, k);
	if (found < expected - (op->takes != 0 && expected == 1) || found > expected + op->may_add)
		fail("records are missing, or too many", found, k);
	if (quoit_inspect_open(r->name, NULL, NULL, &v) != 0 || quoit_producer_open(r->q, &p) != 0)
		fail("opening a producer", k, 0);
	result = quoit_reserve(p, UNITS * UNIT, &payload);
	if (result != 0) {
		MUST(quoit_get_heap_stats(r->q, &h) == 0);
		fail("the section is not whole again", k, (long long)h.free);
	}
	if (quoit_inspect_check(v, NULL, NULL) != 0)
		fail("the check finds problems", k, 0);
	quoit_inspect_close(v);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	MUST(quoit_get_heap_stats(r->q, &h) == 0);
	if (h.free != h.total)
		fail("units are left", k, (long long)h.free);
}

/* The idle one goes on: what it had is not all its own any more. */
static void go_on_idle(struct quoit_producer *p, struct quoit_consumer *c, unsigned sent)
{
	for (unsigned i = 0; i < 2 * 5u; i++) {
		struct timespec deadline = quoit_deadline_ms(5000);
		int result = quoit_producer_wait(p, len_of(sent + i), &deadline);

		if (result != 0)
			fail("an idle producer gets no room", result, i);
		put(p, sent + i);
		do /* the death is told once */
			if (take(c, &result) == sent + i)
				break;
		while (result == -EOWNERDEAD);
		if (result != 1)
			fail("a record of an idle producer", result, i);
	}
}

static struct quoit_options ring_options(void)
{
	struct quoit_options o = test_options(options.kind);

	o.capacity = 4096;
	o.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	o.peers = options.kind == QUOIT_MPMC ? 4 : 0;
	o.heap_size = UNITS * UNIT;
	return o;
}

/* A producer that dies with what it has sent. */
static void one_dead(struct victim *v)
{
	pid_t pid;

	v->early = true;
	pid = test_spawn(victim, v);
	MUST(test_wait_flag(v->go, 1, 5000));
	test_kill(pid);
	v->early = false;
	atomic_store(v->go, 0);
}

/* One death at instruction k, or, with k < 0, after the operation. STOPPED: it died there. */
static enum stop one(const struct operation *op, int64_t k)
{
	struct victim v = {
		.op = op, .go = test_shared(4096), .ledger = test_shared(sizeof(*v.ledger))};
	struct quoit_options o = ring_options();
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct test_ring r;
	enum stop s;
	pid_t pid;
	int result;

	test_ring_make(&r, QUOIT_MEMFD, &o);
	v.name = r.name;
	if (op->consumer || op->idle) {
		MUST(quoit_producer_open(r.q, &p) == 0);
		for (uint64_t i = 0; i < op->sent; i++)
			put(p, i);
	}
	if (!op->consumer)
		MUST(quoit_consumer_open(r.q, &c) == 0);
	if (op->after_dead)
		one_dead(&v);
	pid = test_spawn(victim, &v);
	MUST(test_wait_flag(v.go, 1, 5000));
	for (uint64_t i = 0; i < op->taken; i++)
		if (take(c, &result) != i)
			fail("in position", (long long)i, result);
	atomic_store(v.go, 2);
	s = step_and_kill(pid, v.ledger, k);
	if (op->idle)
		go_on_idle(p, c, op->sent);
	if (p != NULL)
		quoit_producer_close(p);
	check_after(&r, c, op, k);
	munmap(v.go, 4096);
	munmap(v.ledger, sizeof(*v.ledger));
	test_ring_drop(&r);
	return s;
}

static void run(const struct operation *op)
{
	uint64_t kills = 1, elsewhere = 0;

	if (op->idle && options.kind == QUOIT_SPSC)
		return;
	options.operation = op->name;
	/* Twice: the first time resolves symbols of libraries, here as well as there. */
	(void)one(op, -1);
	(void)one(op, -1);
	for (uint32_t k = options.from; k < trace.n && k <= options.to; k += options.every) {
		elsewhere += one(op, k) != STOPPED;
		kills++;
	}
	printf("heap_step %s %s: %u instructions, %llu kills, %llu of them elsewhere: ok\n",
	       quoit_kind_name(options.kind), op->name, trace.n, (unsigned long long)kills,
	       (unsigned long long)elsewhere);
}

static void list(void)
{
	for (size_t i = 0; i < TEST_COUNT(operations); i++)
		for (int kind = QUOIT_SPSC; kind <= QUOIT_MPMC; kind++)
			if (kind == QUOIT_MPMC || !operations[i].idle)
				printf("%s %s%s\n", operations[i].name,
				       quoit_kind_name((enum quoit_kind)kind),
				       operations[i].by_name ? " long" : "");
}

int main(int argc, char **argv)
{
	static const struct option table[] = {{"kind", 1, NULL, 'k'},  {"op", 1, NULL, 'o'},
					      {"every", 1, NULL, 'e'}, {"from", 1, NULL, 'f'},
					      {"to", 1, NULL, 't'},    {"list", 0, NULL, 'l'},
					      {NULL, 0, NULL, 0}};
	const char *wanted = NULL;
	int o;

	while ((o = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (o == 'k')
			options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		else if (o == 'o')
			wanted = optarg;
		else if (o == 'e')
			options.every = (unsigned)atoi(optarg);
		else if (o == 'f')
			options.from = (unsigned)atoi(optarg);
		else if (o == 't')
			options.to = (unsigned)atoi(optarg);
		else if (o == 'l')
			return list(), 0;
		else
			return 64;
	}
	if (options.every == 0)
		return 64;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int kind = options.kind ? (int)options.kind : QUOIT_SPSC;
	     kind <= (options.kind ? (int)options.kind : QUOIT_MPMC); kind++) {
		enum quoit_kind asked = options.kind;

		options.kind = (enum quoit_kind)kind;
		for (size_t i = 0; i < TEST_COUNT(operations); i++)
			if (wanted == NULL ? !operations[i].by_name
					   : strcmp(wanted, operations[i].name) == 0)
				run(&operations[i]);
		options.kind = asked;
	}
	return 0;
}

#else

int main(void)
{
	puts("heap_step: needs x86-64; nothing was tested");
	return 0;
}

#endif
