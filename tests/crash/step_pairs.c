/* SPDX-License-Identifier: MIT */
/*
 * Two processes in the middle of an operation each: one is stopped at instruction j of its own, the
 * other is then brought to instruction k of its own, on the path that it takes beside the first.
 * Then one is killed, or the other, or both, or none; who lives goes on; and what is left must be
 * as promised. The rest is as in step.c.
 */
#include <getopt.h>
#include <inttypes.h>

#include "tests/crash/step_check.h"
#include "tests/crash/step_jobs.h"

/* What becomes of the two. */
enum fate { FIRST_DIES, SECOND_DIES, BOTH_DIE, FIRST_GOES_ON, SECOND_GOES_ON, FATES };

static const char *const fate_names[] = {
	"the first is killed, the second goes on", "the second is killed, the first goes on",
	"both are killed", "both go on, the first before", "both go on, the second before"};

struct pair {
	const char *first, *second;
	enum state state;
	unsigned kinds; /* bit mask */
};

#define SPSC (1u << QUOIT_SPSC)
#define MPMC (1u << QUOIT_MPMC)
#define BOTH (SPSC | MPMC)

static const struct pair pairs[] = {
	{"commit", "recv", HALF, BOTH},     {"commit", "recv", WRAP, BOTH},
	{"commit", "recv", EMPTY, BOTH}, /* MPMC: the writer is stepped over */
	{"commit", "peek", EMPTY, BOTH},    {"commit", "peek", HALF, BOTH},
	{"commit", "advance", HALF, BOTH},  {"send-batch", "recv-batch", HALF, BOTH},
	{"send", "recv-batch", WRAP, BOTH}, {"reserve", "recv", EMPTY, MPMC},
	{"discard", "recv", EMPTY, MPMC},   {"commit", "commit", EMPTY, MPMC},
	{"send", "send", HALF, MPMC},       {"recv", "recv", HALF, MPMC},
	{"advance", "recv", HALF, MPMC},    {"close-p", "recv", HALF, BOTH},
	{"close-p", "open-p", EMPTY, BOTH}, {"close-p", "open-c", EMPTY, BOTH},
	{"close-c", "open-p", HALF, MPMC},  {"close-c", "open-c", HALF, BOTH},
	{"open-p", "open-p", EMPTY, BOTH},  {"open-c", "open-c", DEAD_C, BOTH},
	{"reap-c", "reap-c", DEAD_P, MPMC}, {"reap-p", "reap-p", DEAD_C, MPMC},
	{"reap-c", "repair", DEAD_P, BOTH}, {"repair", "open-p", DEAD_P, BOTH},
	{"repair", "repair", DEAD_P, BOTH}, {"repair", "repair", DEAD_C, BOTH},
	{"create", "create", EMPTY, BOTH},  {"create", "attach", EMPTY, BOTH},
	{"remove", "attach", EMPTY, BOTH},  {"remove", "open-p", EMPTY, MPMC},
	{"remove", "open-c", EMPTY, MPMC},  {"remove", "remove", EMPTY, BOTH},
};

/* The second victim: the world knows only the first. */
struct second {
	struct row row;
	struct ledger *l;
	struct victim v;
	pid_t pid;
};

/* Where a victim is. */
enum where { AT_IT, ASLEEP_BEFORE, AT_END };

static struct trace first_trace, second_trace;

/* ---- going on ------------------------------------------------------------------------------- */

static enum where where_is(struct world *w, enum stop s)
{
	if (s == BROKEN || s == HANGS)
		fail(w, s == BROKEN ? "a victim crashed" : "an operation does not end");
	return s == RETURNED ? AT_END : s == STOPPED || s == STRAYED ? AT_IT : ASLEEP_BEFORE;
}

/* To the operation's return. It may have to sleep for a moment, but not for ever. */
static void finish(struct world *w, pid_t pid, const struct ledger *l, enum where at)
{
	int64_t end = running_ns() + INT64_C(10000000000);
	enum stop s = ASLEEP;

	if (at == AT_END)
		return;
	ticks(true);
	if (at == AT_IT) {
		breakpoint(pid, 0);
		MUST(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
	}
	while (s == ASLEEP && running_ns() < end)
		s = wait_stop(pid, l);
	ticks(false);
	if (s != RETURNED)
		fail(w, "who goes on does not come to an end");
}

static void end_victim(pid_t pid)
{
	kill(pid, SIGKILL);
	(void)test_wait(pid);
}

static void meet_fate(struct world *w, struct second *b, enum fate fate, enum where first,
		      enum where second)
{
	if (fate == FIRST_DIES || fate == BOTH_DIE)
		end_victim(w->victim);
	if (fate == SECOND_DIES || fate == BOTH_DIE)
		end_victim(b->pid);
	if (fate == SECOND_GOES_ON && second != AT_END) {
		/* Whom it waits for may be the first. */
		ticks(true);
		if (second == AT_IT) {
			breakpoint(b->pid, 0);
			MUST(ptrace(PTRACE_CONT, b->pid, NULL, NULL) == 0);
		}
		second = where_is(w, wait_stop(b->pid, b->l));
		ticks(false);
	}
	if (fate == SECOND_DIES || fate >= FIRST_GOES_ON)
		finish(w, w->victim, w->l, first);
	if (fate == FIRST_DIES || fate >= FIRST_GOES_ON)
		finish(w, b->pid, b->l, second);
	if (fate == SECOND_DIES || fate >= FIRST_GOES_ON)
		end_victim(w->victim);
	if (fate == FIRST_DIES || fate >= FIRST_GOES_ON)
		end_victim(b->pid);
}

/* ---- what must be ---------------------------------------------------------------------------- */

static void account_one(struct world *w, const struct op *op, struct ledger *l, uint32_t writer)
{
	bool returned = atomic_load_explicit(&l->returned, memory_order_acquire) != 0;
	uint32_t in = 0;
	struct got got;

	if (l->failed != 0)
		fail(w, "a victim failed before the operation, line %u", l->failed);
	if (returned && l->result == -EBADMSG)
		fail(w, "%s found the ring damaged", op->name);
	if (returned && (op->flags & SENDS) != 0)
		in = op->run == run_send_batch ? (l->result > 0 ? (uint32_t)l->result : 0)
					       : l->result == 0;
	w->sure[writer] = l->sent + in;
	w->maybe[writer] = l->sent + ((op->flags & SENDS) != 0 && !returned ? op->most : in);
	for (uint32_t i = 0; i < l->taken; i++)
		took(w, &l->took[i]);
	if ((op->flags & TAKES) != 0 && !returned)
		w->may_miss += op->most;
	else if (op->run == run_advance && l->result == 0)
		took(w, &l->peeked);
	else if ((op->flags & TAKES) != 0 && op->run != run_advance)
		for (int i = 0; i < l->result; i++) {
			if (record_is(l->msgs[i].data, &l->msgs[i], &got))
				took(w, &got);
			else
				fail(w, "a victim received a torn record");
		}
}

/* Survivors that have just looked after their peers do so again a little later. */
static void wait_for_reapers(struct world *w)
{
	int64_t end = running_ns() + INT64_C(2000000000);
	unsigned living = (w->sp != NULL) + (w->sc != NULL);

	if (w->sc != NULL)
		read_all(w, w->sc, 0);
	while (w->sc != NULL && rows_in_use(w->q) > living && running_ns() < end) {
		test_sleep_ms(1);
		read_all(w, w->sc, 0);
	}
	if (w->sc != NULL && rows_in_use(w->q) > living)
		fail(w, "the dead endpoints have not been cleaned up after");
}

static void check_both(struct world *w, struct second *b)
{
	w->unordered = w->row->kind == QUOIT_MPMC;
	if ((w->row->op->flags & NO_RING) != 0) {
		check_created(w);
		return;
	}
	if ((w->row->op->flags & UNMAKES) != 0) {
		check_removed(w);
		return;
	}
	account_one(w, w->row->op, w->l, VICTIM);
	account_one(w, b->row.op, b->l, OTHER_VICTIM);
	wait_for_reapers(w);
	check_ring(w);
}

/* ---- one run --------------------------------------------------------------------------------- */

static bool comes_to_start(struct world *w, pid_t pid, const struct ledger *l)
{
	int status;

	MUST(waitpid(pid, &status, 0) == pid);
	if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP)
		return true;
	if (WIFSTOPPED(status))
		test_kill(pid);
	fail(w, "a victim did not get to its operation (line %u)", l->failed);
	return false;
}

/* Both at the start of their operations. */
static bool make_both(struct world *w, const struct row *row, struct ledger *l, struct second *b,
		      const char *name)
{
	world_make(w, row, l, name);
	if (!comes_to_start(w, w->victim, l))
		return false;
	/* Later records: a writer before them is stepped over. */
	if (row->kind == QUOIT_MPMC && row->op->role == QUOIT_ROLE_PRODUCER &&
	    row->state == EMPTY && w->sp != NULL)
		for (int i = 0; i < 2; i++)
			MUST(write_one(w, w->sp, SURVIVOR) == 0);
	memset(b->l, 0, sizeof(*b->l));
	b->row = *row;
	b->row.op = row->other;
	b->v = (struct victim){
		.row = &b->row, .writer = OTHER_VICTIM, .l = b->l, .name = w->v.name};
	b->pid = test_spawn(victim_main, &b->v);
	if (comes_to_start(w, b->pid, b->l))
		return true;
	test_kill(w->victim);
	return false;
}

/* The first to instruction j of its trace (or along it, noting it down: j < 0), the second to k of
 * its own (k < 0: the same). */
static void run_both(struct world *w, const struct row *row, struct ledger *l, struct second *b,
		     const char *name, int64_t j, int64_t k, enum fate fate)
{
	enum where first, second;

	if (!make_both(w, row, l, b, name)) {
		world_end(w);
		return;
	}
	ticks(true);
	first = where_is(w, j < 0 ? trace_all(&first_trace, w->victim, l, NULL, NULL)
				  : go_to(&first_trace, w->victim, l, (uint32_t)j, NULL, NULL));
	second = where_is(w, k < 0 ? trace_all(&second_trace, b->pid, b->l, NULL, NULL)
				   : go_to(&second_trace, b->pid, b->l, (uint32_t)k, NULL, NULL));
	ticks(false);
	meet_fate(w, b, fate, first, second);
	check_both(w, b);
	world_end(w);
}

/* ---- one pair ------------------------------------------------------------------------------- */

struct options {
	const char *first, *second, *kind, *backend;
	unsigned points; /* instructions of each, at most */
	unsigned jobs;
	bool all_fates;
};

struct totals {
	struct jobs jobs;
	_Atomic uint32_t runs, failures, done;
};

struct job {
	const struct options *o;
	const struct row *rows;
	unsigned n;
	struct totals *totals;
};

static uint32_t stride_of(uint32_t n, unsigned points)
{
	return n <= points ? 1 : (n + points - 1) / points;
}

static void tell(const struct row *row, const struct world *w, int64_t j, int64_t k, enum fate fate)
{
	printf("not ok %s at %" PRId64 ", %s at %" PRId64 ", %s, %s, %s: %s: %s\n", row->op->name,
	       j, row->other->name, k, state_names[row->state], quoit_kind_name(row->kind),
	       quoit_backend_name(row->backend), fate_names[fate], w->why);
}

static void run_pair(const struct row *row, const struct options *o, struct totals *t,
		     char *ret_name)
{
	struct ledger *l = test_shared(sizeof(*l));
	struct second b = {.l = test_shared(sizeof(*b.l))};
	struct world *w = calloc(1, sizeof(*w));
	const char *name = test_name(row->backend);
	uint32_t runs = 0, failures = 0, j, longest = 0, offset = 0;

	MUST(w != NULL);
	snprintf(ret_name, QUOIT_NAME_MAX, "%s", name);
	first_trace.n = 0;
	run_both(w, row, l, &b, name, -1, 0, BOTH_DIE);
	if (first_trace.n == 0) {
		printf("FAILED %s never got to its start\n", row->op->name);
		failures++;
	}
	for (j = 0; j < first_trace.n; j += stride_of(first_trace.n, o->points)) {
		uint32_t stride;

		run_both(w, row, l, &b, name, j, -1, (enum fate)(j % FATES));
		runs++;
		if (w->why[0] != '\0' && failures++ < 3)
			tell(row, w, j, -1, (enum fate)(j % FATES));
		longest = second_trace.n > longest ? second_trace.n : longest;
		stride = stride_of(second_trace.n, o->points);
		/* From another instruction on each time. */
		for (uint32_t k = offset++ % stride; k < second_trace.n; k += stride)
			for (unsigned f = 0; f < (o->all_fates ? FATES : 1); f++) {
				enum fate fate = (enum fate)((runs + f) % FATES);

				run_both(w, row, l, &b, name, j, k, fate);
				runs++;
				if (w->why[0] != '\0' && failures++ < 3)
					tell(row, w, j, k, fate);
			}
	}
	printf("%-6s %-10s %-10s %-6s %-4s %-5s  instructions %6u x %6u  runs %6u\n",
	       failures == 0 ? "ok" : "FAILED", row->op->name, row->other->name,
	       state_names[row->state], quoit_kind_name(row->kind),
	       quoit_backend_name(row->backend), first_trace.n, longest, runs);
	fflush(stdout);
	atomic_fetch_add(&t->runs, runs);
	atomic_fetch_add(&t->failures, failures);
	atomic_fetch_add(&t->done, 1);
	ret_name[0] = '\0';
	test_forget(name);
	free(w);
	munmap(l, sizeof(*l));
	munmap(b.l, sizeof(*b.l));
}

static int run_job(void *arg)
{
	struct job *job = arg;
	char *name = job_begins(&job->totals->jobs);
	uint32_t i;

	while ((i = atomic_fetch_add(&job->totals->jobs.next, 1)) < job->n)
		run_pair(&job->rows[i], job->o, job->totals, name);
	return 0;
}

/* ---- the table and the options --------------------------------------------------------------- */

static const struct op *op_named(const char *name)
{
	for (size_t i = 0; i < TEST_COUNT(ops); i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	abort();
}

static bool wanted(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at != NULL && *at != '\0';
	     at += strcspn(at, ","), at += *at == ',')
		if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0'))
			return true;
	return list == NULL;
}

static unsigned table(const struct options *o, struct row *rows)
{
	unsigned n = 0;

	for (size_t i = 0; i < TEST_COUNT(pairs); i++)
		for (size_t k = 0; k < TEST_COUNT(test_kinds); k++)
			for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
				const struct pair *p = &pairs[i];
				struct row r = {.op = op_named(p->first),
						.state = p->state,
						.kind = test_kinds[k],
						.backend = test_backends[b],
						.pair = true,
						.other = op_named(p->second)};

				if ((p->kinds & 1u << r.kind) == 0 ||
				    (r.backend == QUOIT_MEMFD &&
				     (r.op->flags & (UNMAKES | NO_RING)) != 0))
					continue;
				if (wanted(o->first, p->first) && wanted(o->second, p->second) &&
				    wanted(o->kind, quoit_kind_name(r.kind)) &&
				    wanted(o->backend, quoit_backend_name(r.backend)))
					rows[n++] = r;
			}
	return n;
}

static int usage(FILE *f, int code)
{
	fprintf(f,
		"Usage: crash_step_pairs [OPTION...]\n"
		"Stop two processes in the middle of an operation each, kill either or both, and\n"
		"check what is left.\n\n"
		"  --first NAMES, --second NAMES  only pairs of these operations\n"
		"  --kind NAMES      spsc, mpmc\n"
		"  --backend NAMES   shm, sysv, file, memfd\n"
		"  --points N        instructions of each operation, at most (8)\n"
		"  --all-fates       each of the five ends at each pair of instructions\n"
		"  --jobs N          pairs at one time (2)\n");
	return code;
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n == 0 || n > 1000000) {
		fprintf(stderr, "crash_step_pairs: %s: not a number from 1 to 1000000\n", text);
		exit(2);
	}
	return (unsigned)n;
}

static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"first", 1, NULL, 'f'},   {"second", 1, NULL, 's'}, {"kind", 1, NULL, 'k'},
		{"backend", 1, NULL, 'b'}, {"points", 1, NULL, 'p'}, {"all-fates", 0, NULL, 'a'},
		{"jobs", 1, NULL, 'j'},    {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.points = 8, .jobs = 2};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->first = optarg;
			break;
		case 's':
			o->second = optarg;
			break;
		case 'k':
			o->kind = optarg;
			break;
		case 'b':
			o->backend = optarg;
			break;
		case 'p':
			o->points = number(optarg);
			break;
		case 'a':
			o->all_fates = true;
			break;
		case 'j':
			o->jobs = number(optarg);
			break;
		case 'h':
			exit(usage(stdout, 0));
		default:
			return usage(stderr, 2);
		}
	}
	return optind != argc || o->jobs > JOBS_MAX ? usage(stderr, 2) : 0;
}

int main(int argc, char **argv)
{
	static struct row rows[512];
	struct totals *totals = test_shared(sizeof(*totals));
	struct options o;
	struct job job = {.o = &o, .rows = rows, .totals = totals};
	unsigned broken;

	/* Else the first call of each libc function is stepped through the dynamic linker. */
	if (getenv("LD_BIND_NOW") == NULL && setenv("LD_BIND_NOW", "1", 1) == 0)
		execv("/proc/self/exe", argv);
	if (read_options(argc, argv, &o) != 0)
		return 2;
	job.n = table(&o, rows);
	if (job.n == 0) {
		fprintf(stderr, "crash_step_pairs: no such pair\n");
		return 2;
	}
	broken = run_jobs(&totals->jobs, o.jobs, run_job, &job);
	if (interrupted)
		return 128 + interrupted;
	if (broken != 0)
		fprintf(stderr, "crash_step_pairs: %u jobs broke off\n", broken);
	printf("%u pairs, %u runs, %u failed\n", totals->done, totals->runs, totals->failures);
	return broken != 0 || totals->failures != 0 || totals->done != job.n;
}
