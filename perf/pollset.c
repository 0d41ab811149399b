/* SPDX-License-Identifier: MIT */
/*
 * One thread that reads many rings: what it costs to find out that there is nothing, and to find
 * the ring that has something, by 1, 10, 100 and 1,000 rings.
 *
 *   pollset  quoit_pollset_poll()
 *   peek     quoit_peek() on every ring, in turn
 *   epoll    epoll_wait() on as many eventfds, without any data
 *
 *   idle     nothing anywhere: a poll
 *   one      a record is sent to one ring, found, taken, and its ring given back
 *   all      a record is sent to every ring, and all are taken: one of them
 *   asleep   processor time of a thread that waits for idle rings
 */
#include "perf/bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <quoit/pollset.h>

#define RINGS_MAX   1000
#define READY_MAX   16
#define BATCH       64 /* polls between two looks at the clock */
#define SETTLE_MS   20
#define DESCRIPTORS (4 * RINGS_MAX + 100)

enum { IDLE, ONE, ALL, ASLEEP, METRICS };

/* What is measured, as three operations. */
struct way {
	const char *system, *mode;
	int (*open)(struct perf_entry const *e);
	void (*close)(void);
	void (*send)(unsigned ring);
	/* Look once, and take what is there; how many records. */
	unsigned (*take)(void);
	void (*sleep)(unsigned ms); /* or NULL */
};

static struct {
	unsigned n;
	struct quoit_pollset *set;
	struct quoit_consumer *consumer[RINGS_MAX];
	struct quoit_producer *producer[RINGS_MAX];
	int event[RINGS_MAX], epoll;
} the;

/* ---- rings ---------------------------------------------------------------------------------- */

static int open_rings(const struct perf_entry *e)
{
	struct quoit_options o = {.size = sizeof(o), .capacity = 1024};
	struct quoit *q;
	int r = 0;

	the.n = e->job.cell.depth;
	for (unsigned i = 0; i < the.n && r == 0; i++) {
		r = quoit_create("memfd:quoit-perf", &o, &q);
		if (r != 0)
			break;
		r = quoit_consumer_open(q, &the.consumer[i]);
		if (r == 0)
			r = quoit_producer_open(q, &the.producer[i]);
		quoit_detach(q);
	}
	return r;
}

static void close_rings(void)
{
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		quoit_producer_close(the.producer[i]);
		quoit_consumer_close(the.consumer[i]);
		the.producer[i] = NULL;
		the.consumer[i] = NULL;
	}
}

static void send_record(unsigned ring)
{
	uint64_t value = ring;

	(void)quoit_send(the.producer[ring], &value, sizeof(value), 0, QUOIT_NOWAIT);
}

static unsigned recv_record(struct quoit_consumer *c)
{
	struct quoit_msg msg;
	uint64_t value;

	return quoit_recv(c, &value, sizeof(value), &msg, QUOIT_NOWAIT) == 1;
}

static unsigned take_by_peek(void)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < the.n; i++)
		taken += recv_record(the.consumer[i]);
	return taken;
}

/* ---- pollset -------------------------------------------------------------------------------- */

static int open_set(const struct perf_entry *e)
{
	int r = open_rings(e);

	if (r == 0)
		r = quoit_pollset_create(NULL, &the.set);
	for (unsigned i = 0; i < the.n && r == 0; i++) {
		r = quoit_pollset_add_consumer(the.set, the.consumer[i], NULL, NULL);
		if (r == 0)
			the.consumer[i] = NULL; /* the set's */
	}
	return r;
}

static void close_set(void)
{
	quoit_pollset_destroy(the.set);
	the.set = NULL;
	close_rings();
}

static unsigned take_by_set(void)
{
	struct quoit_ready ready[READY_MAX];
	int n = quoit_pollset_poll(the.set, ready, READY_MAX);
	unsigned taken = 0;

	for (int i = 0; i < n; i++) {
		taken += recv_record(ready[i].consumer);
		(void)quoit_pollset_done(the.set, &ready[i]);
	}
	return taken;
}

static void sleep_in_set(unsigned ms)
{
	struct timespec deadline = quoit_deadline_ms(ms);
	struct quoit_ready ready[READY_MAX];

	(void)!quoit_pollset_wait(the.set, ready, READY_MAX, &deadline);
}

/* ---- epoll ---------------------------------------------------------------------------------- */

static int open_epoll(const struct perf_entry *e)
{
	the.n = e->job.cell.depth;
	for (unsigned i = 0; i < RINGS_MAX; i++)
		the.event[i] = -1;
	the.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < the.n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

		the.event[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (the.event[i] < 0 ||
		    epoll_ctl(the.epoll, EPOLL_CTL_ADD, the.event[i], &event) != 0)
			return -errno;
	}
	return 0;
}

static void close_epoll(void)
{
	for (unsigned i = 0; i < RINGS_MAX; i++)
		if (the.event[i] >= 0)
			close(the.event[i]);
	close(the.epoll);
}

static void send_event(unsigned ring)
{
	static const uint64_t one = 1;

	(void)!write(the.event[ring], &one, sizeof(one));
}

static unsigned take_by_epoll(void)
{
	struct epoll_event events[READY_MAX];
	int n = epoll_wait(the.epoll, events, READY_MAX, 0);
	unsigned taken = 0;

	for (int i = 0; i < n; i++) {
		uint64_t count;

		if (read(the.event[events[i].data.u32], &count, sizeof(count)) == sizeof(count))
			taken++;
	}
	return taken;
}

static const struct way ways[] = {
	{"quoit", "pollset", open_set, close_set, send_record, take_by_set, sleep_in_set},
	{"quoit", "peek", open_rings, close_rings, send_record, take_by_peek, NULL},
	{"epoll", "epoll", open_epoll, close_epoll, send_event, take_by_epoll, NULL},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* ---- measuring ------------------------------------------------------------------------------ */

static double idle(const struct way *w, double seconds)
{
	uint64_t t0 = perf_now_ns(), now;
	uint64_t polls = 0;

	do {
		for (int i = 0; i < BATCH; i++)
			(void)w->take();
		polls += BATCH;
		now = perf_now_ns();
	} while ((double)(now - t0) < seconds * 1e9);
	return (double)(now - t0) / (double)polls;
}

/* Send to `width` rings and take that many; ns a record. */
static double busy(const struct way *w, unsigned width, double seconds)
{
	uint64_t t0 = perf_now_ns(), now, records = 0;
	unsigned ring = 0;

	do {
		for (int i = 0; i < BATCH; i++) {
			unsigned taken = 0;

			for (unsigned k = 0; k < width; k++) {
				w->send(ring);
				ring = ring + 1 < the.n ? ring + 1 : 0;
			}
			while (taken < width)
				taken += w->take();
			records += width;
		}
		now = perf_now_ns();
	} while ((double)(now - t0) < seconds * 1e9);
	return (double)(now - t0) / (double)records;
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Percent of a processor. */
static double asleep(const struct way *w, double seconds)
{
	uint64_t t0;
	double cpu;

	if (w->sleep == NULL)
		return NAN;
	w->sleep(SETTLE_MS);
	t0 = perf_now_ns();
	cpu = cpu_s();
	/* Several naps at least. */
	w->sleep(seconds > 0.25 ? (unsigned)(seconds * 1000) : 250);
	return (cpu_s() - cpu) * 100 / ((double)(perf_now_ns() - t0) / 1e9);
}

static int measure(const struct perf_entry *e, double *values, char *why, size_t size)
{
	struct rlimit limit;
	double seconds = perf_config.seconds / METRICS;
	const struct way *w = NULL;
	int error;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < DESCRIPTORS) {
		limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (size_t i = 0; i < WAYS; i++)
		if (strcmp(e->mode, ways[i].mode) == 0)
			w = &ways[i];
	if (w == NULL)
		return -EINVAL;
	error = w->open(e);
	if (error == 0) {
		(void)idle(w, SETTLE_MS / 1e3);
		values[IDLE] = idle(w, seconds);
		values[ONE] = busy(w, 1, seconds);
		values[ALL] = busy(w, the.n, seconds);
		values[ASLEEP] = asleep(w, seconds);
	} else {
		snprintf(why, size, "%s", quoit_strerror(error));
	}
	w->close();
	return error;
}

static const struct perf_metric metrics[METRICS] = {
	{"idle", "ns", 0, NULL},
	{"one", "ns", 0, NULL},
	{"all", "ns", 0, NULL},
	{"asleep", "%", 0, NULL},
};

int bench_pollset(void)
{
	static const unsigned sizes[] = {1, 10, 100, RINGS_MAX};
	struct perf_set set = {.bench = "pollset", .metrics = metrics, .n_metrics = METRICS};
	int failed;

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t i = 0; i < WAYS; i++) {
			struct perf_entry *e = perf_set_add(&set);

			if (e == NULL)
				return 1;
			e->name = ways[i].system;
			e->mode = ways[i].mode;
			e->measure = measure;
			e->local = 1; /* one thread */
			e->seconds = perf_config.seconds;
			e->job.cell.depth = sizes[s]; /* rings */
		}
	}
	failed = perf_set_run(&set);
	perf_set_free(&set);
	return failed;
}
