/* SPDX-License-Identifier: MIT */
/*
 * Throughput while peers are killed: so many a second, each replaced at once by a new process. The
 * rates are measured in turns, on a new ring each time, and compared with the same turn's rate
 * without kills.
 */
#ifndef QUOIT_TESTS_CRASH_RECOVERY_RATE_H
#define QUOIT_TESTS_CRASH_RECOVERY_RATE_H

#include "crash/recovery.h"

#define RATE_LEN   64u
#define RATE_PEERS 8u
#define WARM_UP_MS 100
#define ROUNDS_MAX 100u

static const unsigned kill_rates[] = {0, 1, 10, 100};
#define KILL_RATES TEST_COUNT(kill_rates)

/* Each process' line. */
struct worker {
	alignas(128) _Atomic uint64_t count; /* records of all its lives */
	_Atomic uint32_t up;
};

struct crew {
	struct test_ring ring;
	struct worker *worker; /* producers first */
	pid_t pid[2 * RATE_PEERS];
	unsigned side;
	uint64_t seed, kills[2];
};

struct job {
	const char *ring;
	bool producer;
	struct worker *worker;
};

static int work(void *arg)
{
	struct job *job = arg;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	unsigned char buf[RATE_LEN] = {0};
	uint64_t n = atomic_load(&job->worker->count);
	struct quoit_msg msg;
	struct quoit *q;
	int r = 0;

	CHILD_CHECK(quoit_attach(job->ring, NULL, &q) == 0);
	if (job->producer)
		CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	else
		CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	atomic_store(&job->worker->up, 1);
	while (r >= 0 || r == -EOWNERDEAD) {
		r = job->producer ? quoit_send(p, buf, RATE_LEN, 0, NULL)
				  : quoit_recv(c, buf, RATE_LEN, &msg, NULL);
		if (r == (job->producer ? 0 : 1))
			atomic_store_explicit(&job->worker->count, ++n, memory_order_relaxed);
	}
	return 96;
}

static void hire(struct crew *crew, unsigned i)
{
	struct job job = {crew->ring.name, i < crew->side, &crew->worker[i]};

	atomic_store(&job.worker->up, 0);
	crew->pid[i] = test_spawn(work, &job);
}

static void dismiss(struct crew *crew, unsigned i)
{
	if (!test_wait_flag(&crew->worker[i].up, 1, 5000))
		fail("a worker does not come up", i, 0);
	test_kill(crew->pid[i]);
	crew->kills[i < crew->side ? 0 : 1]++;
}

static uint64_t received(const struct crew *crew)
{
	uint64_t sum = 0;

	for (unsigned i = crew->side; i < 2 * crew->side; i++)
		sum += atomic_load_explicit(&crew->worker[i].count, memory_order_relaxed);
	return sum;
}

static void sleep_until(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

/* Records a second with so many kills a second. */
static double measure_round(enum quoit_kind kind, unsigned rate, uint64_t seed)
{
	struct quoit_options opt = test_options(kind);
	struct crew crew = {.side = kind == QUOIT_SPSC ? 1 : options.peers, .seed = seed};
	int64_t begin, end, step = rate != 0 ? 1000 * MS / rate : 0, next;
	uint64_t before;
	unsigned strikes = 0;

	opt.slot_size = kind == QUOIT_MPMC ? RATE_LEN : 0;
	opt.capacity = 65536;
	test_ring_make(&crew.ring, options.backend, &opt);
	crew.worker = test_shared(2 * RATE_PEERS * sizeof(*crew.worker));
	for (unsigned i = 0; i < 2 * crew.side; i++)
		hire(&crew, i);
	for (unsigned i = 0; i < 2 * crew.side; i++)
		if (!test_wait_flag(&crew.worker[i].up, 1, 5000))
			fail("a worker does not come up", i, 0);
	test_sleep_ms(WARM_UP_MS);
	before = received(&crew);
	begin = test_now_ns();
	end = begin + options.round_ms * MS;
	next = begin + (step != 0 ? (int64_t)(test_random(&crew.seed) % (uint64_t)step) : 0);
	for (; step != 0 && next < end; next += step, strikes++) {
		unsigned i = test_random_below(&crew.seed, 2 * crew.side);

		sleep_until(next);
		dismiss(&crew, i);
		hire(&crew, i);
	}
	sleep_until(end);
	before = received(&crew) - before;
	end = test_now_ns();
	for (unsigned i = 0; i < 2 * crew.side; i++)
		dismiss(&crew, i);
	expect_deaths(crew.ring.q, crew.kills[0], crew.kills[1]);
	if (crew.kills[0] + crew.kills[1] != strikes + 2 * crew.side)
		fail("kills", (long long)(crew.kills[0] + crew.kills[1]), strikes);
	if (before == 0)
		fail("nothing was received", rate, 0);
	munmap(crew.worker, 2 * RATE_PEERS * sizeof(*crew.worker));
	test_ring_drop(&crew.ring);
	return (double)before * 1e9 / (double)(end - begin);
}

static int by_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print_rate(enum quoit_kind kind, unsigned rate, double *records, double *ratios)
{
	unsigned n = options.rounds;

	qsort(records, n, sizeof(*records), by_double);
	qsort(ratios, n, sizeof(*ratios), by_double);
	if (options.json)
		printf("%s{\"what\": \"rate\", \"kind\": \"%s\", \"kills_per_s\": %u, "
		       "\"rounds\": %u, \"records_per_s\": %.0f, \"ratio\": %.3f, "
		       "\"ratio_min\": %.3f, \"ratio_max\": %.3f}",
		       printed ? ",\n" : "[\n", quoit_kind_name(kind), rate, n, records[n / 2],
		       ratios[n / 2], ratios[0], ratios[n - 1]);
	else
		printf("%-5s %uP%uC  %3u kills/s: %10.0f records/s, ratio %.3f (%.3f to %.3f)\n",
		       quoit_kind_name(kind), kind == QUOIT_SPSC ? 1 : options.peers,
		       kind == QUOIT_SPSC ? 1 : options.peers, rate, records[n / 2], ratios[n / 2],
		       ratios[0], ratios[n - 1]);
	printed = true;
	fflush(stdout);
}

static void measure_rates(enum quoit_kind kind)
{
	double records[KILL_RATES][ROUNDS_MAX], ratios[KILL_RATES][ROUNDS_MAX];

	for (unsigned round = 0; round < options.rounds; round++) {
		for (unsigned k = 0; k < KILL_RATES; k++) {
			unsigned turn = (k + round) % KILL_RATES;

			records[turn][round] = measure_round(kind, kill_rates[turn],
							     options.seed + round * 10 + turn);
		}
		for (unsigned k = 0; k < KILL_RATES; k++)
			ratios[k][round] = records[k][round] / records[0][round];
	}
	for (unsigned k = 0; k < KILL_RATES; k++)
		print_rate(kind, kill_rates[k], records[k], ratios[k]);
}

#endif
