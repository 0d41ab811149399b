/* SPDX-License-Identifier: MIT */
/*
 * A waker of a pollset, killed at every instruction.
 *
 * A process sleeps in quoit_pollset_wait() with two rings in its set. A victim has news for one of
 * them, and is single-stepped (ptrace) k instructions into the operation, and killed; then k +
 * --every, to the operation's return. Wherever it died, on its way to the set's socket (its first
 * wake), taking the board that answers, marking its bit, or between taking the sleeper's word away
 * and the eventfd: the set must be told of the death, and of what was committed, in time; and a
 * living producer of the other ring must get through to it as well. It needs x86-64.
 */
#include <getopt.h>
#include <sys/ptrace.h>

#include <quoit/pollset.h>

#include "ring/ring.h"
#include "support.h"
#include "tests/crash/running.h"

#if defined(__x86_64__)

#define TOLD_MS 100 /* a blocked peer is told within; naps last 50 ms, and end with a look */
#define TRIES   4   /* the machine may be late, a lost wake is late every time */
#define STOP    UINT64_MAX
#define JOBS    64

static struct {
	enum quoit_kind kind;
	const char *op;
	unsigned every, from, jobs;
} options = {.every = 1, .jobs = 8};

struct operation {
	const char *name;
	unsigned sent; /* records of the victim before it, each of which has woken the set */
	bool may_add;  /* one more may be there after it */
	bool closes;
	bool reserves;
};

/* The first wake is a hello; the second finds the answer to it, and marks; so do all others. */
static const struct operation operations[] = {
	{"commit-hello", 0, true, false, true}, {"commit-answer", 1, true, false, true},
	{"commit-mark", 2, true, false, true},  {"send-mark", 2, true, false, false},
	{"close-hello", 0, false, true, false}, {"close-mark", 2, false, true, false},
};

/* What the set's process has seen, by ring: the victim's, and the survivor's. */
struct ledger {
	_Atomic uint32_t taken[2], over[2]; /* records; told of a death or an end */
	_Atomic uint32_t go;                /* records that the victim may send, and 1 */
};

struct one {
	const struct operation *op;
	struct test_ring ring[2];
	struct ledger *l;
};

static const char *running = "";

_Noreturn static void fail(const char *what, uint64_t k, long long detail)
{
	fprintf(stderr, "pollset_step %s %s: %s, killed at instruction %llu (%lld)\n",
		quoit_kind_name(options.kind), running, what, (unsigned long long)k, detail);
	_exit(1);
}

/* ---- the set -------------------------------------------------------------------------------- */

static int set_main(void *arg)
{
	struct one *o = arg;
	struct quoit_pollset *set;
	struct quoit_member *m[2];
	bool stop = false;

	CHILD_CHECK(quoit_pollset_create(NULL, &set) == 0);
	for (uintptr_t i = 0; i < 2; i++) {
		struct quoit_consumer *c;
		struct quoit *q;

		CHILD_CHECK(quoit_attach(o->ring[i].name, NULL, &q) == 0);
		CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
		CHILD_CHECK(quoit_pollset_add_consumer(set, c, (void *)i, &m[i]) == 0);
		quoit_detach(q);
	}
	while (!stop) {
		struct quoit_ready r;
		uint64_t value;
		uintptr_t i;
		int what;

		CHILD_CHECK(quoit_pollset_wait(set, &r, 1, NULL) == 1);
		i = (uintptr_t)r.user;
		while ((what = test_take(r.consumer, &value)) == 1) {
			stop |= value == STOP;
			CHILD_CHECK(value == STOP || value == atomic_load(&o->l->taken[i]));
			atomic_fetch_add(&o->l->taken[i], 1);
		}
		if (what == 0 || what == -EOWNERDEAD)
			atomic_fetch_add(&o->l->over[i], 1);
		else
			CHILD_CHECK(what == -EAGAIN);
		if (what == 0)
			CHILD_CHECK(quoit_pollset_remove(set, m[i]) == 0);
		CHILD_CHECK(quoit_pollset_done(set, &r) == 0);
	}
	quoit_pollset_destroy(set);
	return 0;
}

/* All that was sent has been taken, and the set sleeps, armed for both rings. */
static void wait_asleep(const struct one *o, pid_t set, uint32_t taken)
{
	int64_t end = test_now_ns() + INT64_C(20000000000);

	for (;;) {
		bool asleep = atomic_load(&o->l->taken[0]) == taken;

		for (int i = 0; i < 2; i++)
			asleep &=
				sync_announced(atomic_load(&o->ring[i].q->control->readable.word));
		if (asleep && test_process_state(set) == 'S')
			return;
		if (test_now_ns() > end)
			fail("the set does not go to sleep", 0, taken);
		usleep(200);
	}
}

/* ---- the victim ----------------------------------------------------------------------------- */

static int victim_main(void *arg)
{
	const struct one *o = arg;
	const struct operation *op = o->op;
	uint64_t value = op->sent;
	struct quoit_producer *p;
	void *payload = NULL;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(o->ring[0].name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	for (uint32_t i = 0; i < op->sent; i++) {
		CHILD_CHECK(test_wait_flag(&o->l->go, i + 1, 20000));
		CHILD_CHECK(test_put(p, i) == 0);
	}
	CHILD_CHECK(test_wait_flag(&o->l->go, op->sent + 1, 20000));
	if (op->reserves) {
		CHILD_CHECK(quoit_reserve(p, sizeof(value), &payload) == 0);
		memcpy(payload, &value, sizeof(value));
	}
	CHILD_CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	raise(SIGSTOP);
	if (op->closes)
		quoit_producer_close(p);
	else if (op->reserves)
		CHILD_CHECK(quoit_commit(p, payload, sizeof(value), 0) == 0);
	else
		CHILD_CHECK(quoit_send(p, &value, sizeof(value), 0, QUOIT_NOWAIT) == 0);
	raise(SIGSTOP);
	for (;;)
		pause();
}

/* Step k instructions, and kill it; how many there were before the second mark. */
static uint64_t step_and_kill(pid_t pid, uint64_t k)
{
	uint64_t n = 0;
	int status;

	while (n < k) {
		MUST(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
		MUST(waitpid(pid, &status, 0) == pid);
		if (!WIFSTOPPED(status))
			fail("the victim left by itself", n, status);
		if (WSTOPSIG(status) == SIGSTOP)
			break;
		n++;
	}
	MUST(kill(pid, SIGKILL) == 0);
	MUST(test_wait(pid) == 128 + SIGKILL);
	return n;
}

/* ---- one kill ------------------------------------------------------------------------------- */

/* Both have been told; how long that took, in ms, without the time in which the set, or we, could
 * run and had no processor. */
static int64_t wait_told(struct one *o, pid_t set, uint64_t k)
{
	pid_t pids[] = {set, getpid()};
	struct running_group group;

	running_begin(&group, pids, TEST_COUNT(pids));
	if (!running_wait_flag(&o->l->taken[1], 1, 2000))
		fail("the set is not woken for a living producer", k, 0);
	if (!running_wait_flag(&o->l->over[0], 1, 2000))
		fail("the set is not told of the death", k, 0);
	return running_group_ns(&group) / 1000000;
}

static void check_account(const struct one *o, uint64_t k, bool returned)
{
	uint32_t taken = atomic_load(&o->l->taken[0]), sure = o->op->sent;
	struct quoit_consumer *c;
	uint64_t value;

	sure += o->op->may_add && returned;
	if (taken < sure || taken > o->op->sent + o->op->may_add)
		fail("records", k, taken);
	if (atomic_load(&o->l->over[0]) != 1)
		fail("told of so many deaths and ends", k, atomic_load(&o->l->over[0]));
	/* Nothing that was committed has been passed over. */
	MUST(quoit_consumer_open(o->ring[0].q, &c) == 0);
	if (test_take(c, &value) == 1)
		fail("a record is left", k, (long long)value);
	quoit_consumer_close(c);
}

/* One death at instruction k. Returns how many the victim did; *ret_ms: how soon it was told. */
static uint64_t kill_at(const struct operation *op, uint64_t k, int64_t *ret_ms)
{
	struct one o = {.op = op, .l = test_shared(sizeof(struct ledger))};
	struct quoit_options opt = test_options(options.kind);
	struct quoit_producer *p;
	pid_t set, victim;
	int status;
	uint64_t n;

	opt.capacity = 4096;
	opt.slot_size = options.kind == QUOIT_MPMC ? 64 : 0;
	for (int i = 0; i < 2; i++)
		test_ring_make(&o.ring[i], QUOIT_MEMFD, &opt);
	set = test_spawn(set_main, &o);
	victim = test_spawn(victim_main, &o);
	MUST(quoit_producer_open(o.ring[1].q, &p) == 0);
	for (uint32_t i = 0; i <= op->sent; i++) {
		wait_asleep(&o, set, i);
		atomic_store(&o.l->go, i + 1);
	}
	MUST(waitpid(victim, &status, 0) == victim);
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)
		fail("the victim did not come into position", k, status);
	wait_asleep(&o, set, op->sent);
	n = step_and_kill(victim, k);
	MUST(test_put(p, 0) == 0);
	*ret_ms = wait_told(&o, set, k);
	MUST(test_put(p, STOP) == 0);
	if (test_wait(set) != 0)
		fail("the set's process failed", k, 0);
	check_account(&o, k, n < k);
	quoit_producer_close(p);
	for (int i = 0; i < 2; i++)
		test_ring_drop(&o.ring[i]);
	munmap(o.l, sizeof(*o.l));
	return n;
}

/* ---- a run ---------------------------------------------------------------------------------- */

struct run {
	const struct operation *op;
	_Atomic uint64_t next, steps, kills, late, longest;
};

static int job(void *arg)
{
	struct run *run = arg;
	uint64_t k, n;

	running = run->op->name;
	do {
		int64_t ms = TOLD_MS + 1;

		k = atomic_fetch_add(&run->next, options.every);
		n = k;
		for (int i = 0; i < TRIES && ms > TOLD_MS; i++) {
			n = kill_at(run->op, k, &ms);
			atomic_fetch_add(&run->kills, 1);
			atomic_fetch_add(&run->late, ms > TOLD_MS);
		}
		if (ms > TOLD_MS)
			fail("told late, each time", k, ms);
		if ((uint64_t)ms > atomic_load(&run->longest)) /* about */
			atomic_store(&run->longest, (uint64_t)ms);
	} while (n == k);
	atomic_store(&run->steps, n);
	return 0;
}

/* 0, or 1 if something was wrong. */
static int run_operation(const struct operation *op)
{
	struct run *run = test_shared(sizeof(*run));
	pid_t pid[JOBS];
	int failed = 0;

	run->op = op;
	atomic_store(&run->next, options.from);
	for (unsigned j = 0; j < options.jobs; j++)
		pid[j] = test_spawn(job, run);
	for (unsigned j = 0; j < options.jobs; j++)
		failed |= test_wait(pid[j]) != 0;
	printf("pollset_step %s %s: %llu instructions, %llu kills, told within %llu ms, "
	       "%llu late: %s\n",
	       quoit_kind_name(options.kind), op->name, (unsigned long long)run->steps,
	       (unsigned long long)run->kills, (unsigned long long)run->longest,
	       (unsigned long long)run->late, failed ? "FAILED" : "ok");
	munmap(run, sizeof(*run));
	return failed;
}

static unsigned number(const char *text, unsigned least, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < least || value > most) {
		fprintf(stderr, "%s is not between %u and %u\n", text, least, most);
		exit(64);
	}
	return (unsigned)value;
}

int main(int argc, char **argv)
{
	static const struct option table[] = {{"kind", 1, NULL, 'k'},  {"op", 1, NULL, 'o'},
					      {"every", 1, NULL, 'e'}, {"from", 1, NULL, 'f'},
					      {"jobs", 1, NULL, 'j'},  {NULL, 0, NULL, 0}};
	int c, only = 0, failed = 0;
	bool met = false;

	while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
		if (c == 'k')
			only = quoit_kind_from_name(optarg);
		else if (c == 'o')
			options.op = optarg;
		else if (c == 'e')
			options.every = number(optarg, 1, 1000000);
		else if (c == 'f')
			options.from = number(optarg, 0, 1000000);
		else if (c == 'j')
			options.jobs = number(optarg, 1, JOBS);
		else
			return 64;
		if (only < 0)
			return 64;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int kind = QUOIT_SPSC; kind <= QUOIT_MPMC; kind++) {
		options.kind = (enum quoit_kind)kind;
		for (size_t i = 0; i < TEST_COUNT(operations); i++) {
			if ((only != 0 && only != kind) ||
			    (options.op != NULL && strcmp(options.op, operations[i].name) != 0))
				continue;
			met = true;
			failed |= run_operation(&operations[i]);
		}
	}
	if (!met) {
		fprintf(stderr, "pollset_step: no such operation, or kind\n");
		return 64;
	}
	return failed;
}

#else

int main(void)
{
	puts("pollset_step: needs x86-64; nothing was tested");
	return 0;
}

#endif
