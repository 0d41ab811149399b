/* SPDX-License-Identifier: MIT */
/*
 * What is not the data path: creating, attaching, opening an endpoint, and the same backwards; and
 * how long a killed peer is missed. Each sample is the p50 or p99 of many runs.
 *
 *   detection  from SIGKILL of the producer to -EOWNERDEAD at a consumer that waits
 *   recovery   from then on, until a successor's first record has been taken
 */
#include "perf/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <quoit/quoit.h>

enum step { CREATE, ATTACH, OPEN, CLOSE, DETACH, REMOVE, STEPS };
static const char *const step_names[STEPS] = {"create", "attach", "open",
					      "close",  "detach", "remove"};

/* At most, and fewer when the interval is over: but so many at least. */
#define STEP_RUNS     100
#define KILL_RUNS     10
#define RUNS_AT_LEAST 3

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double since(uint64_t t0)
{
	return (double)(perf_now_ns() - t0);
}

/* Has the interval been used up by this many runs? */
static int is_over(uint64_t t0, int runs)
{
	return runs >= RUNS_AT_LEAST && since(t0) > perf_config.seconds * 1e9;
}

static double quantile(double *values, int n, double q)
{
	qsort(values, (size_t)n, sizeof(*values), by_value);
	return values[(int)(q * (n - 1))];
}

static void ring_name(char *name, size_t size, const char *prefix)
{
	snprintf(name, size, "%squoit-perf-life-%d", prefix, (int)getpid());
}

/* ---- steps ---------------------------------------------------------------------------------- */

struct lives {
	struct quoit *made, *ring;
	struct quoit_producer *producer;
};

static int one_step(enum step step, struct lives *l, const char *name,
		    const struct quoit_options *o)
{
	struct quoit_options attach = {.size = sizeof(attach)};

	switch (step) {
	case CREATE:
		return quoit_create(name, o, &l->made);
	case ATTACH:
		return quoit_attach(name, &attach, &l->ring);
	case OPEN:
		return quoit_producer_open(l->ring, &l->producer);
	case CLOSE:
		quoit_producer_close(l->producer);
		return 0;
	case DETACH:
		quoit_detach(l->ring);
		return 0;
	default:
		return quoit_remove(name);
	}
}

/* One run of all steps. */
static int run_steps(const char *name, const struct quoit_options *o, double ns[][STEP_RUNS],
		     int run, char *why, size_t size)
{
	struct lives l = {0};

	for (int step = 0; step < STEPS; step++) {
		uint64_t t0 = perf_now_ns();
		int error = one_step((enum step)step, &l, name, o);

		ns[step][run] = since(t0);
		/* The creator's mapping goes too, but is no part of what an attached process does.
		 */
		if (step == DETACH)
			quoit_detach(l.made);
		if (error != 0) {
			snprintf(why, size, "%s: %s", step_names[step], quoit_strerror(error));
			return error;
		}
	}
	return 0;
}

static int measure_steps(const struct perf_entry *e, double *values, char *why, size_t size)
{
	static double ns[STEPS][STEP_RUNS];
	struct quoit_options o = {.size = sizeof(o), .capacity = e->job.cell.size};
	uint64_t t0 = perf_now_ns();
	char name[128];
	int runs = 0;

	o.kind = e->job.cell.kind == PERF_MPMC ? QUOIT_MPMC : QUOIT_SPSC;
	o.slot_size = o.kind == QUOIT_MPMC ? 64 : 0;
	ring_name(name, sizeof(name), "shm:");
	while (runs < STEP_RUNS && !is_over(t0, runs)) {
		int error = run_steps(name, &o, ns, runs++, why, size);

		if (error != 0)
			return error;
	}
	for (int step = 0; step < STEPS; step++) {
		values[step] = quantile(ns[step], runs, 0.5) / 1000;
		values[STEPS + step] = quantile(ns[step], runs, 0.99) / 1000;
	}
	return 0;
}

static const struct perf_metric step_metrics[] = {
	{"create", "us", 0, NULL},     {"attach", "us", 0, NULL},     {"open", "us", 0, NULL},
	{"close", "us", 0, NULL},      {"detach", "us", 0, NULL},     {"remove", "us", 0, NULL},
	{"create-p99", "us", 0, NULL}, {"attach-p99", "us", 0, NULL}, {"open-p99", "us", 0, NULL},
	{"close-p99", "us", 0, NULL},  {"detach-p99", "us", 0, NULL}, {"remove-p99", "us", 0, NULL},
};

/* ---- a killed producer ---------------------------------------------------------------------- */

struct killing {
	double detection[KILL_RUNS], recovery[KILL_RUNS];
};

/*
 * Send one record, tell by the pipe, and wait to be killed; a successor sends and exits. On another
 * processor than the consumer, as long as there is one.
 */
static _Noreturn void producer_main(const char *name, int tell, int stay, uint64_t *began)
{
	struct quoit *q;
	struct quoit_producer *p;
	uint64_t v = 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	perf_pin(perf_config.cpu[1 % perf_config.cpus]);
	*began = perf_now_ns();
	if (quoit_attach(name, NULL, &q) != 0 || quoit_producer_open(q, &p) != 0 ||
	    quoit_send(p, &v, sizeof(v), 0, NULL) != 0)
		_exit(1);
	if (write(tell, "", 1) != 1)
		_exit(1);
	while (stay)
		pause();
	quoit_producer_close(p);
	_exit(0);
}

static pid_t start_producer(const char *name, int stay, uint64_t *began)
{
	int fd[2];
	char c;
	pid_t pid;

	if (pipe(fd) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		producer_main(name, fd[1], stay, began);
	close(fd[1]);
	if (pid > 0 && read(fd[0], &c, 1) != 1) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(fd[0]);
	return pid;
}

/* The killer: a process of its own, for the consumer must be waiting when it strikes. */
static pid_t start_killer(pid_t victim, uint64_t *when)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	perf_idle_ns(20000000);
	*when = perf_now_ns();
	kill(victim, SIGKILL);
	_exit(0);
}

static int take(struct quoit_consumer *c)
{
	struct quoit_msg msg;
	struct timespec deadline = quoit_deadline_ms(5000);
	uint64_t v;

	return quoit_recv(c, &v, sizeof(v), &msg, &deadline);
}

/* Microseconds. when: a shared word for times taken in other processes. */
static int kill_once(const char *name, struct quoit_consumer *c, uint64_t *when, double *detection,
		     double *recovery)
{
	pid_t victim = start_producer(name, 1, when), killer, successor;
	uint64_t found;
	int r;

	if (victim < 0)
		return -ECHILD;
	if (take(c) != 1) {
		kill(victim, SIGKILL);
		waitpid(victim, NULL, 0);
		return -ECHILD;
	}
	killer = start_killer(victim, when);
	r = take(c);
	found = perf_now_ns();
	waitpid(killer, NULL, 0);
	waitpid(victim, NULL, 0);
	if (r != -EOWNERDEAD)
		return r < 0 ? r : -EPROTO;
	*detection = (double)(found - *when) / 1000;
	/* Starting a process is the system's cost; from its first call to its record is ours. */
	successor = start_producer(name, 0, when);
	r = successor > 0 ? take(c) : -ECHILD;
	*recovery = since(*when) / 1000;
	if (successor > 0)
		waitpid(successor, NULL, 0);
	return r == 1 ? 0 : r;
}

static int measure_kills(const struct perf_entry *e, double *values, char *why, size_t size)
{
	static struct killing k;
	struct quoit_options o = {.size = sizeof(o), .flags = QUOIT_PERSISTENT};
	struct quoit *q = NULL;
	struct quoit_consumer *c = NULL;
	uint64_t *when = perf_shared(4096), t0 = perf_now_ns();
	char name[128];
	int error, runs = 0;

	if (when == NULL) {
		snprintf(why, size, "out of memory");
		return -ENOMEM;
	}
	o.kind = e->job.cell.kind == PERF_MPMC ? QUOIT_MPMC : QUOIT_SPSC;
	ring_name(name, sizeof(name), "shm:");
	error = quoit_create(name, &o, &q);
	if (error == 0)
		error = quoit_consumer_open(q, &c);
	while (error == 0 && runs < KILL_RUNS && !is_over(t0, runs)) {
		error = kill_once(name, c, when, &k.detection[runs], &k.recovery[runs]);
		runs++;
	}
	quoit_consumer_close(c);
	quoit_detach(q);
	munmap(when, 4096);
	if (quoit_remove(name) != 0 && error == 0)
		error = -EIO;
	if (error != 0) {
		snprintf(why, size, "%s", quoit_strerror(error));
		return error;
	}
	values[0] = quantile(k.detection, runs, 0.5);
	values[1] = quantile(k.detection, runs, 1);
	values[2] = quantile(k.recovery, runs, 0.5);
	values[3] = quantile(k.recovery, runs, 1);
	return 0;
}

static const struct perf_metric kill_metrics[] = {
	{"detection", "us", 0, NULL},
	{"detection-max", "us", 0, NULL},
	{"recovery", "us", 0, NULL},
	{"recovery-max", "us", 0, NULL},
};

/* A sleeping peer and the kernel's work: microseconds, wherever the processors are. */
static int add(struct perf_set *set, const char *name, enum perf_kind kind, uint32_t bytes,
	       int (*measure)(const struct perf_entry *, double *, char *, size_t))
{
	struct perf_entry *e;

	if (!perf_kind_wanted(kind))
		return 0;
	e = perf_set_add(set);
	if (e == NULL)
		return 1;
	e->name = name;
	e->mode = kind == PERF_MPMC ? "mpmc" : "spsc";
	e->measure = measure;
	e->local = 1;
	e->seconds = perf_config.seconds;
	e->job.cell.kind = kind;
	e->job.cell.size = bytes;
	return 0;
}

int bench_lifecycle(void)
{
	static const uint32_t bytes[] = {1u << 20, 16u << 20, 0};
	struct perf_set steps = {
		.bench = "lifecycle", .metrics = step_metrics, .n_metrics = 2 * STEPS, .share = 2};
	struct perf_set kills = {
		.bench = "lifecycle-kill", .metrics = kill_metrics, .n_metrics = 4, .share = 4};
	int failed = 0;

	for (int k = PERF_SPSC; k <= PERF_MPMC; k++) {
		for (const uint32_t *b = bytes; *b; b++)
			failed += add(&steps, "quoit", (enum perf_kind)k, *b, measure_steps);
		failed += add(&kills, "quoit", (enum perf_kind)k, 0, measure_kills);
	}
	failed += perf_set_run(&steps);
	failed += perf_set_run(&kills);
	perf_set_free(&steps);
	perf_set_free(&kills);
	return failed;
}
