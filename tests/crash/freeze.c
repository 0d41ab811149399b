/* SPDX-License-Identifier: MIT */
/*
 * A process stopped at every instruction of every MPMC operation stops nobody else.
 *
 * A child under ptrace is single-stepped k instructions into one operation and left standing there.
 * Others then send and receive many laps of the ring. After that the child goes on, and everything
 * that it and the others committed must have come exactly once: to the child, if it was taking, or
 * to the others. Then the same for k + 1, until the operation is over before it is stopped; from an
 * empty ring, a half full one, and one with room for two batches. (step.c kills where this one only
 * stops.)
 */
#include <getopt.h>

#include "crash/freeze_child.h"

#define LAPS     4
#define STEP_MAX 200000

static struct {
	enum quoit_backend backend;
	unsigned every, from;
	uint64_t capacity, start;
	const char *operation; /* NULL: all */
	unsigned timeout_s;
} options = {.backend = QUOIT_MEMFD, .every = 1, .capacity = 1024, .timeout_s = 600};

struct others {
	struct test_ring ring;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	uint64_t slots;
	uint64_t sent, first;     /* our values: the next, and the first of this round */
	uint64_t seen_child;      /* bit per value */
	unsigned char seen[4096]; /* ours, from `first` on */
};

static const char *now; /* what is going on, for messages */
static unsigned now_k, now_fill;

_Noreturn static void fail(const char *what, long long a, long long b)
{
	fprintf(stderr,
		"freeze: %s (%lld, %lld): %s stopped after %u instructions, %u records before\n",
		what, a, b, now, now_k, now_fill);
	exit(1);
}

static void saw(struct others *o, uint64_t value)
{
	if (value >= CHILD) {
		if (value >= CHILD + KEEP)
			fail("an invented record", (long long)value, 0);
		if ((o->seen_child >> (value - CHILD) & 1) != 0)
			fail("the child's record came twice", (long long)(value - CHILD), 0);
		o->seen_child |= UINT64_C(1) << (value - CHILD);
		return;
	}
	if (value < o->first || value >= o->sent)
		fail("an invented record", (long long)value, (long long)o->sent);
	if (o->seen[value - o->first]++ != 0)
		fail("a record came twice", (long long)value, 0);
}

static void send_one(struct others *o)
{
	struct timespec deadline = quoit_deadline_ms(WAIT_MS);
	int r = quoit_send(o->p, &o->sent, 8, 0, &deadline);

	if (r != 0)
		fail("cannot send", r, 0);
	o->sent++;
	if (o->sent - o->first > sizeof(o->seen))
		fail("too large a ring", (long long)o->slots, 0);
}

static void take_one(struct others *o)
{
	struct timespec deadline = quoit_deadline_ms(WAIT_MS);
	struct quoit_msg msg;
	uint64_t value;
	int r = quoit_recv(o->c, &value, 8, &msg, &deadline);

	if (r != 1)
		fail("cannot receive", r, 0);
	saw(o, value);
}

static void take_rest(struct others *o)
{
	uint64_t value;
	int r;

	while ((r = test_take(o->c, &value)) == 1)
		saw(o, value);
	if (r != -EAGAIN)
		fail("draining", r, 0);
}

/* Many laps while the child stands still. */
static void run_laps(struct others *o)
{
	for (uint64_t i = 0; i < LAPS * o->slots; i++) {
		send_one(o);
		take_one(o);
	}
}

static void check_accounts(struct others *o, const struct shared *s)
{
	for (uint32_t i = 0; i < s->taken; i++)
		saw(o, s->took[i]);
	for (uint64_t v = o->first; v < o->sent; v++)
		if (o->seen[v - o->first] != 1)
			fail("a record was lost", (long long)v, (long long)o->first);
	if (o->seen_child != (UINT64_C(1) << s->sent) - 1)
		fail("the child's records", (long long)o->seen_child, s->sent);
}

static void begin_round(struct others *o)
{
	o->first = o->sent;
	o->seen_child = 0;
	memset(o->seen, 0, sizeof(o->seen));
}

/* Step k instructions; false: the operation was over before. */
static bool step(pid_t pid, struct shared *s, unsigned k)
{
	int status;

	for (unsigned i = 0; i < k; i++) {
		MUST(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
		MUST(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status))
			fail("the child has left", status, i);
		if (atomic_load(&s->done) != 0)
			return false;
	}
	return true;
}

/* After `k` instructions; false: the operation was over before. */
static bool one_stop(struct others *o, const struct operation *operation, unsigned k, unsigned fill)
{
	struct shared *s = test_shared(4096);
	struct life life = {operation, o->ring.name, s};
	bool inside;
	int status;
	pid_t pid;

	now_k = k;
	begin_round(o);
	for (unsigned i = 0; i < fill; i++)
		send_one(o);
	pid = test_spawn(child_life, &life);
	MUST(waitpid(pid, &status, 0) == pid);
	if (!WIFSTOPPED(status))
		fail("the child did not get that far", status, 0);
	inside = step(pid, s, k);
	run_laps(o);
	take_rest(o);
	MUST(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0);
	while (waitpid(pid, &status, WNOHANG) == 0)
		take_rest(o);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("the child did not end well", status, 0);
	take_rest(o);
	check_accounts(o, s);
	munmap(s, 4096);
	return inside;
}

/* All slots are free again: none is left to a child. */
static void expect_whole_ring(struct others *o)
{
	uint64_t i = 0;

	begin_round(o);
	while (i < o->slots && test_put(o->p, o->sent) == 0) {
		o->sent++;
		i++;
	}
	if (i != o->slots)
		fail("capacity is lost", (long long)i, (long long)o->slots);
	take_rest(o);
}

static unsigned run(struct others *o, const struct operation *operation, unsigned fill)
{
	unsigned k = options.from, stops = 0;

	now = operation->name;
	now_fill = fill;
	while (one_stop(o, operation, k, fill)) {
		stops++;
		k += options.every;
		if (k > STEP_MAX)
			fail("the operation does not end", k, 0);
	}
	expect_whole_ring(o);
	return stops;
}

static void run_all(void)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct others o = {0};
	int64_t begin = test_now_ns();
	unsigned known = 0;

	opt.slot_size = 8;
	opt.capacity = options.capacity;
	opt.start = options.start;
	opt.peers = 8;
	test_ring_make(&o.ring, options.backend, &opt);
	o.slots = test_info(o.ring.q).slots;
	MUST(quoit_producer_open(o.ring.q, &o.p) == 0);
	MUST(quoit_consumer_open(o.ring.q, &o.c) == 0);
	for (unsigned i = 0; i < TEST_COUNT(operations); i++) {
		const struct operation *operation = &operations[i];
		const unsigned fills[] = {0, (unsigned)o.slots / 2, (unsigned)o.slots - 2 * BATCH};
		unsigned stops = 0;

		if (options.operation != NULL && strcmp(options.operation, operation->name) != 0)
			continue;
		known++;
		for (unsigned f = 0; f < TEST_COUNT(fills); f++)
			stops += run(&o, operation, fills[f]);
		printf("freeze %s %s: stopped at %u instructions, others ran %u laps each time: "
		       "ok\n",
		       quoit_backend_name(options.backend), operation->name, stops, LAPS);
	}
	if (known == 0)
		fail("no such operation", 0, 0);
	printf("freeze: %.1f s\n", (double)(test_now_ns() - begin) / 1e9);
	quoit_producer_close(o.p);
	quoit_consumer_close(o.c);
	test_ring_drop(&o.ring);
}

static void timed_out(int number)
{
	static const char text[] = "freeze: hangs: not done within --timeout\n";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(2);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"backend", 1, NULL, 'b'},   {"every", 1, NULL, 'e'},    {"from", 1, NULL, 'f'},
		{"operation", 1, NULL, 'o'}, {"capacity", 1, NULL, 'C'}, {"start", 1, NULL, 'P'},
		{"timeout", 1, NULL, 't'},   {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

		if (c == 'b')
			options.backend = test_backend_from_name(optarg);
		else if (c == 'e' && number > 0)
			options.every = (unsigned)number;
		else if (c == 'f')
			options.from = (unsigned)number;
		else if (c == 'o')
			options.operation = optarg;
		else if (c == 'C')
			options.capacity = number;
		else if (c == 'P')
			options.start = number;
		else if (c == 't')
			options.timeout_s = (unsigned)number;
		else {
			fprintf(stderr,
				"usage: freeze [--backend B] [--every N] [--from N] [--operation "
				"NAME] [--capacity BYTES] [--start N] [--timeout S]\n");
			return 64;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, timed_out);
	alarm(options.timeout_s);
	run_all();
	return 0;
}
