/* SPDX-License-Identifier: MIT */
/*
 * One interval of one system. Each side is a process of its own, or, for systems that only work
 * within one process, a thread of one child. All are pinned and set up, have touched their memory
 * and sleep when the first canary runs; then they start together, and stay until the second canary
 * is done, so that their exit does not disturb it.
 */
#include "perf/measure.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/side.h"
#include "perf/systems/loops.h"

struct perf_config perf_config = {
	.seconds = 0.5,
	.rounds = 7,
	.near_ns = 110,
	.patience = 30,
};

volatile sig_atomic_t perf_stopped;

struct thread_arg {
	struct perf_run *run;
	unsigned number;
};

void perf_idle_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

static void *side_thread(void *arg)
{
	struct thread_arg *a = arg;

	perf_side_main(a->run, a->number);
	return NULL;
}

static _Noreturn void threads_main(struct perf_run *r)
{
	struct thread_arg arg[PERF_SIDES_MAX];
	pthread_t thread[PERF_SIDES_MAX];

	for (unsigned i = 0; i < r->sides; i++) {
		arg[i] = (struct thread_arg){r, i};
		if (pthread_create(&thread[i], NULL, side_thread, &arg[i]) != 0)
			_exit(2);
	}
	for (unsigned i = 0; i < r->sides; i++)
		pthread_join(thread[i], NULL);
	_exit(0);
}

/* ---- the parent ----------------------------------------------------------------------------- */

static int start_sides(struct perf_run *r)
{
	unsigned processes = r->job->system->threads ? 1 : r->sides;

	fflush(NULL);
	for (unsigned i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (r->job->system->threads)
				threads_main(r);
			perf_side_main(r, i);
			_exit(0);
		}
		r->child[r->children++] = pid;
	}
	return 0;
}

/* Kill (or not) and collect. */
static void end_sides(struct perf_run *r, int force)
{
	for (unsigned i = 0; i < r->children; i++) {
		if (force && r->child[i] > 0)
			kill(r->child[i], SIGKILL);
	}
	for (unsigned i = 0; i < r->children; i++) {
		if (r->child[i] > 0)
			waitpid(r->child[i], NULL, 0);
		r->child[i] = 0;
	}
}

static int a_side_failed(struct perf_run *r)
{
	int status;

	for (unsigned i = 0; i < r->children; i++) {
		if (r->child[i] > 0 && waitpid(r->child[i], &status, WNOHANG) == r->child[i]) {
			r->child[i] = 0;
			return -ECHILD;
		}
	}
	for (unsigned i = 0; i < r->sides; i++) {
		int error = __atomic_load_n(&r->context.control->report[i].error, __ATOMIC_ACQUIRE);

		if (error != 0)
			return error;
	}
	return 0;
}

/*
 * Sleep until all sides have counted the word up. Patience is counted in waits, not by the clock:
 * processes that are frozen for a while, all together, have not lost it.
 */
static int wait_for_sides(struct perf_run *r, uint32_t *word, double limit)
{
	const struct timespec slice = {0, 50000000};
	unsigned waits = (unsigned)(limit * 20) + r->sides;
	uint32_t v;

	while ((v = perf_load(word)) < r->sides) {
		int error = a_side_failed(r);

		if (error != 0)
			return error;
		if (waits-- == 0)
			return -ETIMEDOUT;
		perf_futex_wait(word, v, &slice);
	}
	return a_side_failed(r);
}

static int run_sides(struct perf_run *r, struct perf_outcome *ret)
{
	struct perf_control *control = r->context.control;
	int error;

	error = wait_for_sides(r, &control->ready, perf_config.patience);
	if (error != 0)
		return error;
	ret->canary[0] = perf_canary();
	__atomic_store_n(&control->go, 1, __ATOMIC_RELEASE);
	perf_futex_wake(&control->go);
	perf_idle_ns((uint64_t)(r->job->seconds * 1e9));
	__atomic_store_n(&control->stop, 1, __ATOMIC_RELEASE);
	error = wait_for_sides(r, &control->finished, perf_config.patience);
	if (error != 0)
		return error;
	ret->canary[1] = perf_canary();
	ret->placement = perf_placement(ret->canary[0], ret->canary[1]);
	return 0;
}

static int judge(struct perf_run *r, struct perf_outcome *ret)
{
	const struct perf_control *control = r->context.control;
	uint64_t start = UINT64_MAX, end = 0, sent = 0, sum = 0;

	for (unsigned i = 0; i < r->sides; i++) {
		const struct perf_report *p = &control->report[i];

		if (i < r->job->cell.producers) {
			start = p->start_ns < start ? p->start_ns : start;
			sent += p->records;
			sum += p->sum;
			ret->producer_cpu_ns += p->cpu_ns;
		} else {
			ret->records += p->records;
			sum -= p->sum;
			ret->consumer_cpu_ns += p->cpu_ns;
		}
		end = p->end_ns > end ? p->end_ns : end;
		ret->disorder += p->disorder;
		ret->switches += p->switches;
		ret->sleeps += p->sleeps;
		ret->wakes += p->wakes;
		ret->syscalls = p->syscalls == UINT64_MAX || ret->syscalls == UINT64_MAX
					? UINT64_MAX
					: ret->syscalls + p->syscalls;
	}
	ret->seconds = (double)(end - start) / 1e9;
	if (r->job->shape == PERF_ECHO)
		ret->records = sent;
	else if (ret->records != sent || sum != 0)
		return -EBADMSG;
	ret->histogram = control->histogram;
	ret->blocks = control->blocks;
	return 0;
}

static int open_areas(struct perf_run *r)
{
	const struct perf_job *job = r->job;
	struct perf_context *x = &r->context;
	static unsigned serial;

	serial++;
	x->cell = &job->cell;
	x->system = job->system;
	x->rings = job->shape == PERF_ECHO ? 2 : 1;
	x->control = perf_shared(sizeof(*x->control));
	if (x->control == NULL)
		return -errno;
	for (unsigned i = 0; i < x->rings; i++) {
		snprintf(x->name[i], sizeof(x->name[i]), "quoit-perf-%d-%u-%u", (int)getpid(),
			 serial, i);
		if (job->system->area_size == NULL)
			continue;
		x->area_size = job->system->area_size(&job->cell);
		x->area[i] = perf_shared(x->area_size);
		if (x->area[i] == NULL)
			return -errno;
	}
	return 0;
}

static void close_areas(struct perf_run *r)
{
	for (unsigned i = 0; i < r->context.rings; i++) {
		if (r->context.area[i])
			munmap(r->context.area[i], r->context.area_size);
	}
	if (r->context.control)
		munmap(r->context.control, sizeof(*r->context.control));
}

/* One sentence: what went wrong, and on whose side. */
static void explain(const struct perf_run *r, int error, char *why, size_t size)
{
	const struct perf_control *control = r->context.control;
	const char *side = "";
	unsigned number = 0;
	size_t n = 0;

	for (unsigned i = 0; control && i < r->sides; i++) {
		if (control->report[i].error == error && !*side) {
			side = i < r->job->cell.producers ? "producer" : "consumer";
			number = i < r->job->cell.producers ? i : i - r->job->cell.producers;
		}
	}
	if (*side)
		n = (size_t)snprintf(why, size, "%s %u: ", side, number);
	if (error == -EBADMSG)
		snprintf(why + n, size - n, "records were lost, doubled or damaged");
	else if (error == -ETIMEDOUT)
		snprintf(why + n, size - n, "a side did not finish within %.0f s",
			 perf_config.patience);
	else if (error == -ECHILD)
		snprintf(why + n, size - n, "a side died");
	else
		snprintf(why + n, size - n, "%s", strerror(-error));
}

int perf_interval(const struct perf_job *job, struct perf_outcome *ret, char *why, size_t why_size)
{
	struct perf_run r = {.job = job, .sides = job->cell.producers + job->cell.consumers};
	int error, opened;

	memset(ret, 0, sizeof(*ret));
	error = open_areas(&r);
	opened = error == 0;
	if (error == 0 && job->system->open)
		error = job->system->open(&r.context);
	if (error == 0)
		error = start_sides(&r);
	if (error == 0)
		error = run_sides(&r, ret);
	if (error == 0)
		error = judge(&r, ret);
	if (r.context.control) {
		__atomic_store_n(&r.context.control->leave, 1, __ATOMIC_RELEASE);
		perf_futex_wake(&r.context.control->leave);
	}
	if (error != 0)
		explain(&r, error, why, why_size);
	end_sides(&r, error != 0);
	if (opened && job->system->close)
		job->system->close(&r.context);
	close_areas(&r);
	return error;
}
