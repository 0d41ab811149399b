/* SPDX-License-Identifier: MIT */
/*
 * One interval of one system. Each side is a process of its own, or, for systems that only work
 * within one process, a thread of one child. All are pinned and set up, have touched their memory
 * and sleep when the first canary runs; then they start together, and stay until the second canary
 * is done, so that their exit does not disturb it.
 */
#include "perf/measure.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/systems/loops.h"

struct perf_config perf_config = {
	.seconds = 0.5,
	.rounds = 7,
	.near_ns = 110,
	.patience = 30,
};

struct run {
	const struct perf_job *job;
	struct perf_context context;
	unsigned sides;
	pid_t child[PERF_SIDES_MAX];
	unsigned children;
};

struct thread_arg {
	struct run *run;
	unsigned number;
};

static void futex_wait(const uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0);
}

static void futex_wake(const uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1 << 20, NULL, NULL, 0);
}

static void count_up(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
	futex_wake(word);
}

static void wait_until_set(uint32_t *word)
{
	while (!perf_load(word))
		futex_wait(word, 0, NULL);
}

void perf_idle_ns(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

void perf_touch(void *area, size_t size)
{
	volatile unsigned char *p = (volatile unsigned char *)area;

	/* Pages are there already; this makes the entries of this process's page table. */
	if (madvise(area, size, MADV_POPULATE_WRITE) == 0)
		return;
	for (size_t i = 0; i < size; i += 4096)
		(void)p[i];
}

/* ---- one side ------------------------------------------------------------------------------- */

/* A counter of this thread's system calls, or -1. */
static int syscalls_open(void)
{
	static const char *const paths[] = {
		"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
		"/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
	};
	struct perf_event_attr attr;
	FILE *f = NULL;
	unsigned id;

	for (int i = 0; i < 2 && f == NULL; i++)
		f = fopen(paths[i], "re");
	if (f == NULL)
		return -1;
	if (fscanf(f, "%u", &id) != 1)
		id = 0;
	fclose(f);
	memset(&attr, 0, sizeof(attr));
	attr.type = PERF_TYPE_TRACEPOINT;
	attr.size = sizeof(attr);
	attr.config = id;
	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t syscalls_read(int fd)
{
	uint64_t v;

	if (fd < 0 || read(fd, &v, sizeof(v)) != sizeof(v))
		return UINT64_MAX;
	return v;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t switches(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return (uint64_t)u.ru_nvcsw;
}

static bool is_sender(enum perf_role role)
{
	return role == PERF_PRODUCE || role == PERF_SCHEDULE || role == PERF_PING;
}

/* A producer and the consumer of the same number sit on different processors. */
static unsigned side_cpu(const struct perf_side *s)
{
	return perf_config.cpu[(s->index + !is_sender(s->role)) % perf_config.cpus];
}

/* Sides 0 to producers-1 send. */
static void side_init(struct perf_side *s, struct run *r, unsigned number)
{
	static const enum perf_role roles[][2] = {
		[PERF_FLOW] = {PERF_PRODUCE, PERF_CONSUME},
		[PERF_ECHO] = {PERF_PING, PERF_PONG},
		[PERF_OPENLOOP] = {PERF_SCHEDULE, PERF_COLLECT},
		[PERF_WAITING] = {PERF_PRODUCE, PERF_CONSUME},
	};
	const struct perf_cell *cell = &r->job->cell;
	int consumer = number >= cell->producers;
	void **area = r->context.area;

	s->context = &r->context;
	s->cell = cell;
	s->control = r->context.control;
	s->report = &s->control->report[number];
	s->report->pid = (uint32_t)getpid();
	s->role = roles[r->job->shape][consumer];
	s->index = consumer ? number - cell->producers : number;
	perf_pin(side_cpu(s));
	s->tx = s->role == PERF_PONG ? area[1] : area[0];
	s->rx = s->role == PERF_PING ? area[1] : area[0];
}

static int side_memory(struct perf_side *s)
{
	size_t bytes = ((size_t)s->cell->size * s->cell->batch + 127) & ~(size_t)63;

	for (unsigned i = 0; i < s->context->rings; i++) {
		if (s->context->area[i])
			perf_touch(s->context->area[i], s->context->area_size);
	}
	s->out = aligned_alloc(64, bytes);
	s->in = aligned_alloc(64, bytes);
	if (s->out == NULL || s->in == NULL)
		return -ENOMEM;
	memset(s->in, 0, bytes);
	memset(s->out, 0, bytes);
	for (size_t i = 0; i < (size_t)s->cell->size / 8 * s->cell->batch; i++)
		s->out[i] = perf_pattern(i % (s->cell->size / 8));
	return 0;
}

/* What the side does between start and end. */
static void side_run(struct perf_side *s, const struct perf_job *job)
{
	if (job->shape == PERF_WAITING && is_sender(s->role)) {
		/* Let the consumer wait; the stream is nothing but its end. */
		while (!perf_load(&s->control->stop))
			perf_idle_ns(10000000);
	}
	job->system->run(s);
}

static void side_main(struct run *r, unsigned number)
{
	struct perf_side *s = calloc(1, sizeof(*s));
	const struct perf_job *job = r->job;
	uint64_t cpu, switched, calls;
	int counter = -1, error;

	if (s == NULL)
		_exit(2);
	side_init(s, r, number);
	error = side_memory(s);
	if (error == 0 && job->system->enter) {
		/* Threads that the system starts for itself run where they like. */
		perf_unpin();
		error = job->system->enter(s);
		perf_pin(side_cpu(s));
	}
	s->report->error = error;
	if (job->count_syscalls)
		counter = syscalls_open();
	count_up(&s->control->ready);
	wait_until_set(&s->control->go);
	if (error == 0) {
		switched = switches();
		cpu = cpu_ns();
		calls = syscalls_read(counter);
		s->report->start_ns = perf_now_ns();
		side_run(s, job);
		s->report->end_ns = perf_now_ns();
		s->report->syscalls =
			calls == UINT64_MAX ? UINT64_MAX : syscalls_read(counter) - calls - 1;
		s->report->cpu_ns = cpu_ns() - cpu;
		s->report->switches = switches() - switched;
	}
	count_up(&s->control->finished);
	wait_until_set(&s->control->leave);
	if (error == 0 && job->system->leave)
		job->system->leave(s);
	if (counter >= 0)
		close(counter);
	free(s->out);
	free(s->in);
	free(s);
}

static void *side_thread(void *arg)
{
	struct thread_arg *a = arg;

	side_main(a->run, a->number);
	return NULL;
}

static _Noreturn void threads_main(struct run *r)
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

static int start_sides(struct run *r)
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
			side_main(r, i);
			_exit(0);
		}
		r->child[r->children++] = pid;
	}
	return 0;
}

/* Kill (or not) and collect. */
static void end_sides(struct run *r, int force)
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

static int a_side_failed(struct run *r)
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
static int wait_for_sides(struct run *r, uint32_t *word, double limit)
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
		futex_wait(word, v, &slice);
	}
	return a_side_failed(r);
}

static int run_sides(struct run *r, struct perf_outcome *ret)
{
	struct perf_control *control = r->context.control;
	int error;

	error = wait_for_sides(r, &control->ready, perf_config.patience);
	if (error != 0)
		return error;
	ret->canary[0] = perf_canary();
	__atomic_store_n(&control->go, 1, __ATOMIC_RELEASE);
	futex_wake(&control->go);
	perf_idle_ns((uint64_t)(r->job->seconds * 1e9));
	__atomic_store_n(&control->stop, 1, __ATOMIC_RELEASE);
	error = wait_for_sides(r, &control->finished, perf_config.patience);
	if (error != 0)
		return error;
	ret->canary[1] = perf_canary();
	ret->placement = perf_placement(ret->canary[0], ret->canary[1]);
	return 0;
}

static int judge(struct run *r, struct perf_outcome *ret)
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

static int open_areas(struct run *r)
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

static void close_areas(struct run *r)
{
	for (unsigned i = 0; i < r->context.rings; i++) {
		if (r->context.area[i])
			munmap(r->context.area[i], r->context.area_size);
	}
	if (r->context.control)
		munmap(r->context.control, sizeof(*r->context.control));
}

/* One sentence: what went wrong, and on whose side. */
static void explain(const struct run *r, int error, char *why, size_t size)
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
	struct run r = {.job = job, .sides = job->cell.producers + job->cell.consumers};
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
		futex_wake(&r.context.control->leave);
	}
	if (error != 0)
		explain(&r, error, why, why_size);
	end_sides(&r, error != 0);
	if (opened && job->system->close)
		job->system->close(&r.context);
	close_areas(&r);
	return error;
}
