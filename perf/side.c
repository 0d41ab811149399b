/* SPDX-License-Identifier: MIT */
/*
 * One side of an interval, in a process or thread of its own: it pins itself, touches its memory,
 * lets the system set up, and then sleeps until all are told to go. What it reports is counted
 * around the run alone.
 */
#include "perf/side.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "perf/systems/loops.h"

static void count_up(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
	perf_futex_wake(word);
}

static void wait_until_set(uint32_t *word)
{
	while (!perf_load(word))
		perf_futex_wait(word, 0, NULL);
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
static void side_init(struct perf_side *s, struct perf_run *r, unsigned number)
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

void perf_side_main(struct perf_run *r, unsigned number)
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
