/* SPDX-License-Identifier: MIT */
/*
 * Killed at every instruction. For each row of a table, an operation on a ring in some state, one
 * process is brought to every single instruction of the operation in turn and killed there; then
 * those who live, and those who come after, must find everything as promised. See docs/CRASH.md.
 *
 * Every kill has a fresh ring and fresh processes: nothing that one death leaves behind can hide,
 * or be blamed on, another.
 */
#include <getopt.h>
#include <inttypes.h>

#include "tests/crash/step_check.h"
#include "tests/crash/step_jobs.h"

extern const char __executable_start, etext;

#define WHYS  3 /* failures told for each row */
#define TRIES 4 /* to bring a victim to an instruction */
#define PATHS 3 /* to be traced, if more than half of the instructions of one are not met again */

struct options {
	const char *op, *state, *kind, *backend;
	unsigned stride;   /* every so manieth instruction */
	unsigned max;      /* kills for each row, at most; 0: no limit */
	unsigned jobs;     /* rows at one time */
	int64_t at;        /* only this instruction, or -1 */
	unsigned from, to; /* only instructions from .. to - 1 */
	bool list, pairs, news;
};

struct result {
	uint32_t steps;
	uint32_t kills;  /* at instructions, and after the return */
	uint32_t missed; /* instructions that no victim got to */
	uint32_t duplicates, late, failures;
	double told_ms;
};

struct shared {
	struct jobs jobs;
	_Atomic uint32_t passed, failed, kills;
};

static struct trace trace;

/* ---- one kill ------------------------------------------------------------------------------- */

/* Wait for the victim at the marked start. */
static bool at_start(struct world *w)
{
	int status;

	MUST(waitpid(w->victim, &status, 0) == w->victim);
	if (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP)
		return true;
	if (WIFSTOPPED(status))
		test_kill(w->victim);
	fail(w, "the victim did not get to the operation (line %u)", w->l->failed);
	return false;
}

/* What a victim waits for comes while it stands at an instruction on its way to sleep, or back: it
 * must not sleep through that. Its nap would end, but that is not what naps are for. */
static enum stop meet_news(struct world *w)
{
	enum stop s;

	if (!w->woken)
		MUST(wake_victim(w));
	asleep_ticks = LOST_TICKS;
	s = go_on(w->victim, w->l);
	if (s == ASLEEP)
		fail(w, "it sleeps, and what it waits for is there");
	return s;
}

/* Kill at instruction k, or after tracing with k < 0; is everything as promised? Returns how the
 * victim got there. */
static enum stop run_once(struct world *w, const struct row *row, struct ledger *l,
			  const char *name, int64_t k, bool wakes)
{
	wake_fn *wake = wakes && (row->op->flags & SLEEPS) != 0 ? wake_victim : NULL;
	enum stop s, there;

	world_make(w, row, l, name);
	if (!at_start(w)) {
		world_end(w);
		return BROKEN;
	}
	if (w->sleeper != 0)
		wait_for_sleeper(w);
	asleep_ticks = (row->op->flags & SLEEPS) != 0 ? ASLEEP_TICKS : NAP_TICKS;
	ticks(true);
	s = k < 0 ? trace_all(&trace, w->victim, l, wake, w)
		  : go_to(&trace, w->victim, l, (uint32_t)k, wake, w);
	there = s;
	ticks(false);
	if (row->pair && s == STOPPED) {
		check_beside(w, k % 4 != 0);
		if (k % 2 != 0)
			s = go_on(w->victim, l);
	}
	if (row->news && s == STOPPED)
		s = meet_news(w);
	if (s == BROKEN)
		fail(w, "the victim crashed");
	if (s == HANGS)
		fail(w, "the operation does not end");
	if (s == ASLEEP && (row->op->flags & SLEEPS) == 0)
		fail(w, "the operation sleeps, and nobody would wake it");
	kill_victim(w);
	world_check(w, s == RETURNED);
	world_end(w);
	return there;
}

/* News that came late may have waited for a processor: only late every time is the ring's fault. */
static enum stop run_timed(struct world *w, const struct row *row, struct ledger *l,
			   const char *name, int64_t k, bool wakes, struct result *res)
{
	enum stop s = RETURNED;

	for (int tries = 0; tries < 3; tries++) {
		s = run_once(w, row, l, name, k, wakes);
		res->duplicates += w->duplicates;
		res->told_ms = w->told_ms > res->told_ms ? w->told_ms : res->told_ms;
		if (w->why[0] != '\0' || w->told_ms <= NEWS_MS)
			return s;
		res->late++;
	}
	fail(w, "a sleeping peer was told only after %.0f ms", w->told_ms);
	return s;
}

/* ---- one row -------------------------------------------------------------------------------- */

static void tell_failure(const struct row *row, const struct world *w, struct result *res,
			 int64_t k)
{
	uint64_t start = (uint64_t)(uintptr_t)&__executable_start;
	uint64_t end = (uint64_t)(uintptr_t)&etext;
	char where[32] = "the end";

	if (res->failures++ >= WHYS)
		return;
	if (k < (int64_t)trace.n) {
		uint64_t ip = trace.ip[k];

		/* For addr2line; what is not ours is libc's or the kernel's. */
		snprintf(where, sizeof(where), "%s0x%" PRIx64,
			 ip >= start && ip < end ? "" : "libc ",
			 ip >= start && ip < end ? ip - start : ip);
	}
	printf("not ok %s %s %s %s: killed at %" PRId64 " (%s): %s\n", row->op->name,
	       state_names[row->state], quoit_kind_name(row->kind),
	       quoit_backend_name(row->backend), k, where, w->why);
}

/* Of the clock, which the kernel maps into every process? */
static bool in_clock(uint64_t ip)
{
	static uint64_t start, end;
	char line[256];
	FILE *f;

	if (end == 0) {
		f = fopen("/proc/self/maps", "re");
		MUST(f != NULL);
		while (fgets(line, sizeof(line), f) != NULL)
			if (strstr(line, "[vdso]") != NULL)
				MUST(sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2);
		fclose(f);
		end = end == 0 ? 1 : end;
	}
	return ip >= start && ip < end;
}

/* Paths that spin for a while differ from run to run: there, the first visit of each address. So it
 * is with the clock, which looks again, and again, if it has been updated meanwhile. */
static bool eligible(const struct row *row, uint32_t k)
{
	return trace.nth[k] == 1 || ((row->op->flags & SLEEPS) == 0 && !in_clock(trace.ip[k]));
}

static uint32_t stride_for(const struct row *row, const struct options *o)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < trace.n; k++)
		n += eligible(row, k);
	if (o->max == 0 || n / o->stride <= o->max)
		return o->stride;
	/* Pairs are killed at even instructions only: both kinds are wanted. */
	return ((n + o->max - 1) / o->max) | row->pair;
}

static void run_at(struct world *w, const struct row *row, struct ledger *l, const char *name,
		   int64_t k, bool wakes, struct result *res)
{
	bool missed = true;

	/* Once in a while a clock sends it another way: again. */
	for (int tries = 0; missed && tries < TRIES; tries++) {
		enum stop s = run_timed(w, row, l, name, k, wakes, res);

		missed = k >= 0 && w->why[0] == '\0' && (s == STRAYED || s == RETURNED);
	}
	res->missed += missed;
	res->kills += !missed;
	if (w->why[0] != '\0')
		tell_failure(row, w, res, k >= 0 ? k : (int64_t)trace.n);
}

/* Note the path down, and kill at the instructions of it that are wanted. Returns how many those
 * are. */
static uint32_t run_path(struct world *w, const struct row *row, const struct options *o,
			 struct ledger *l, const char *name, struct result *res)
{
	uint32_t stride, since = 0, chosen = 0;

	*res = (struct result){.told_ms = -1, .failures = res->failures};
	/* Dies when it has returned. Twice if all are wanted: allocators go another way the first
	 * time, also in us, whose copies the victims are. */
	for (int i = o->max == 0 && o->at < 0 ? 0 : 1; i < 2; i++)
		run_at(w, row, l, name, -1, true, res);
	res->steps = trace.n;
	stride = stride_for(row, o);
	for (uint32_t k = 0; k < trace.n; k++) {
		if (o->at >= 0 ? k != o->at : !eligible(row, k) || since++ % stride != 0)
			continue;
		if (k < o->from || k >= o->to)
			continue;
		run_at(w, row, l, name, k, true, res);
		chosen++;
	}
	/* And asleep, for as long as nobody wakes it. */
	if ((row->op->flags & SLEEPS) != 0 && o->at < 0 && !row->news)
		run_at(w, row, l, name, trace.n - 1, false, res);
	return chosen;
}

static void run_row(const struct row *row, const struct options *o, struct result *res,
		    char *ret_name)
{
	struct ledger *l = test_shared(sizeof(*l));
	struct world *w = calloc(1, sizeof(*w));
	const char *name = test_name(row->backend);
	uint32_t chosen = 0;

	MUST(w != NULL);
	snprintf(ret_name, QUOIT_NAME_MAX, "%s", name);
	res->failures = 0;
	/* What was traced may have been a detour that is taken every now and then, by who is slow:
	 * such a row has not been tested. */
	for (int i = 0; i < PATHS; i++) {
		chosen = run_path(w, row, o, l, name, res);
		if (res->failures != 0 || 2 * res->missed <= chosen)
			break;
	}
	if (chosen == 0 && o->at >= 0) {
		fprintf(stderr, "crash_step: %s: there is no instruction %" PRId64 " among %u\n",
			row->op->name, o->at, trace.n);
		res->failures++;
	}
	if (2 * res->missed > chosen) {
		printf("not ok %s: no victim got to %u of %u instructions\n", row->op->name,
		       res->missed, chosen);
		res->failures++;
	}
	ret_name[0] = '\0';
	test_forget(name);
	free(w);
	munmap(l, sizeof(*l));
}

static void tell_row(const struct row *row, const struct result *res)
{
	char told[32] = "-";

	if (res->told_ms >= 0)
		snprintf(told, sizeof(told), "%.1f ms", res->told_ms);
	printf("%-6s %-10s %-7s %-4s %-5s  steps %6u  kills %6u  redelivered %4u  missed %3u  late "
	       "%2u  told %s\n",
	       res->failures == 0 ? "ok" : "FAILED", row->op->name, state_names[row->state],
	       quoit_kind_name(row->kind), quoit_backend_name(row->backend), res->steps, res->kills,
	       res->duplicates, res->missed, res->late, told);
	fflush(stdout);
}

/* ---- the table ------------------------------------------------------------------------------ */

static bool makes_sense(const struct row *row)
{
	if ((row->op->states & 1u << row->state) == 0)
		return false;
	if (row->kind == QUOIT_SPSC && (row->state == LENT || row->state == LARGE))
		return false;
	if (row->news && (row->op->flags & SLEEPS) == 0)
		return false;
	if (row->pair &&
	    (row->state >= DEAD_P || (row->op->flags & (DETACHED | OPENS | CLOSES)) != 0))
		return false;
	/* A memfd has no name to be removed by. */
	return row->backend != QUOIT_MEMFD || (row->op->flags & UNMAKES) == 0;
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
	struct row r;

	for (size_t i = 0; i < TEST_COUNT(ops); i++)
		for (unsigned s = 0; s < STATES; s++)
			for (size_t k = 0; k < TEST_COUNT(test_kinds); k++)
				for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
					r = (struct row){&ops[i],       (enum state)s,
							 test_kinds[k], test_backends[b],
							 o->pairs,      NULL,
							 o->news};
					if (makes_sense(&r) && wanted(o->op, r.op->name) &&
					    wanted(o->state, state_names[s]) &&
					    wanted(o->kind, quoit_kind_name(r.kind)) &&
					    wanted(o->backend, quoit_backend_name(r.backend)))
						rows[n++] = r;
				}
	return n;
}

struct job {
	const struct options *o;
	const struct row *rows;
	unsigned n;
	struct shared *shared;
};

static int run_job(void *arg)
{
	struct job *j = arg;
	char *name = job_begins(&j->shared->jobs);
	uint32_t i;

	while ((i = atomic_fetch_add(&j->shared->jobs.next, 1)) < j->n) {
		struct result res;

		run_row(&j->rows[i], j->o, &res, name);
		tell_row(&j->rows[i], &res);
		atomic_fetch_add(res.failures == 0 ? &j->shared->passed : &j->shared->failed, 1);
		atomic_fetch_add(&j->shared->kills, res.kills);
	}
	return 0;
}

/* ---- options -------------------------------------------------------------------------------- */

static int usage(FILE *f, int code)
{
	fprintf(f,
		"Usage: crash_step [OPTION...]\n"
		"Kill a process at every instruction of an operation, and check what is left.\n\n"
		"  --op NAMES        only these operations, separated by commas\n"
		"  --state NAMES     only these states of the ring\n"
		"  --kind NAMES      spsc, mpmc\n"
		"  --backend NAMES   shm, sysv, file, memfd\n"
		"  --stride N        kill at every Nth instruction (1)\n"
		"  --max-kills N     for each row; a longer stride where there are more\n"
		"  --at K            only at instruction K\n"
		"  --from K, --to K  only instructions K and later; before K\n"
		"  --jobs N          rows at one time (2)\n"
		"  --pairs           at the instruction, first let others go through operations; "
		"then\n"
		"                    kill it, or at every other one let it go on\n"
		"  --news            at the instruction, what it waits for comes, and it goes on\n"
		"  --list            name the rows and exit\n");
	return code;
}

static unsigned number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || n > 1000000) {
		fprintf(stderr, "crash_step: %s: not a number from 0 to 1000000\n", text);
		exit(2);
	}
	return (unsigned)n;
}

static int read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{"op", 1, NULL, 'o'},      {"state", 1, NULL, 's'},  {"kind", 1, NULL, 'k'},
		{"backend", 1, NULL, 'b'}, {"stride", 1, NULL, 'n'}, {"max-kills", 1, NULL, 'm'},
		{"at", 1, NULL, 'a'},      {"jobs", 1, NULL, 'j'},   {"pairs", 0, NULL, 'p'},
		{"from", 1, NULL, 'f'},    {"to", 1, NULL, 't'},     {"list", 0, NULL, 'l'},
		{"news", 0, NULL, 'w'},    {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0},
	};
	int c;

	*o = (struct options){.stride = 1, .jobs = 2, .at = -1, .to = UINT32_MAX};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'o':
			o->op = optarg;
			break;
		case 's':
			o->state = optarg;
			break;
		case 'k':
			o->kind = optarg;
			break;
		case 'b':
			o->backend = optarg;
			break;
		case 'n':
			o->stride = number(optarg);
			break;
		case 'm':
			o->max = number(optarg);
			break;
		case 'a':
			o->at = number(optarg);
			break;
		case 'f':
			o->from = number(optarg);
			break;
		case 't':
			o->to = number(optarg);
			break;
		case 'j':
			o->jobs = number(optarg);
			break;
		case 'p':
			o->pairs = true;
			break;
		case 'w':
			o->news = true;
			break;
		case 'l':
			o->list = true;
			break;
		case 'h':
			exit(usage(stdout, 0));
		default:
			return usage(stderr, 2);
		}
	}
	if (optind != argc || o->stride == 0 || o->jobs == 0 || o->jobs > JOBS_MAX)
		return usage(stderr, 2);
	return 0;
}

int main(int argc, char **argv)
{
	static struct row rows[2048];
	struct shared *shared = test_shared(sizeof(*shared));
	struct options o;
	struct job job = {.o = &o, .rows = rows, .shared = shared};
	unsigned broken;

	/* Else the first call of each libc function is stepped through the dynamic linker. */
	if (getenv("LD_BIND_NOW") == NULL && setenv("LD_BIND_NOW", "1", 1) == 0)
		execv("/proc/self/exe", argv);
	if (read_options(argc, argv, &o) != 0)
		return 2;
	job.n = table(&o, rows);
	if (o.list)
		for (unsigned i = 0; i < job.n; i++)
			printf("%-10s %-7s %-4s %s\n", rows[i].op->name, state_names[rows[i].state],
			       quoit_kind_name(rows[i].kind), quoit_backend_name(rows[i].backend));
	if (o.list)
		return 0;
	if (job.n == 0) {
		fprintf(stderr, "crash_step: no such row; --list names them\n");
		return 2;
	}
	broken = run_jobs(&shared->jobs, o.jobs, run_job, &job);
	if (interrupted)
		return 128 + interrupted;
	if (broken != 0)
		fprintf(stderr, "crash_step: %u jobs broke off\n", broken);
	printf("%u passed, %u failed, %u kills\n", shared->passed, shared->failed, shared->kills);
	return broken != 0 || shared->failed != 0 || shared->passed != job.n;
}
