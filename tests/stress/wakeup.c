/* SPDX-License-Identifier: MIT */
/*
 * Can a wake-up be lost? Two sides hand one counter to and fro through two eventcounts. The
 * publisher uses what the data path uses: a release store, a compiler barrier, a look at the word.
 * Naps are seconds long, so a lost wake-up is a nap that ends although the counter had moved: a
 * stall, which fails the run.
 *
 * --break leaves out one step of the sleeper, to show that the test can fail:
 *   recheck     it does not look again after announcing
 *   membarrier  it announces without membarrier, so the publisher's store may still wait in its
 *               store buffer when the publisher has found no announcement and the sleeper no news
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/wait.h>

#include "sync/eventcount.h"
#include "sync/pollable.h"

enum broken { BREAK_NOTHING, BREAK_RECHECK, BREAK_MEMBARRIER };

static const char *const backend_names[] = {
	[SYNC_SPIN] = "spin", [SYNC_YIELD] = "yield",     [SYNC_FUTEX] = "futex",
	[SYNC_SEM] = "sem",   [SYNC_SYSVSEM] = "sysvsem", [SYNC_EVENTFD] = "eventfd",
};
static const char *const broken_names[] = {"none", "recheck", "membarrier"};

static struct {
	uint64_t rounds;
	enum sync_backend backend;
	enum broken broken;
	int64_t nap_ns;
	bool threads, unpinned;
} options = {.rounds = 20000, .backend = SYNC_FUTEX, .nap_ns = 2000000000};

#define PAYLOAD_LINES 8

/* What the two sides share. Side i waits at events[i] until counter % 2 == i. */
struct shared {
	struct {
		alignas(128) _Atomic uint64_t word;
		_Atomic uint32_t backends;
		sem_t sem[2];
	} events[2];
	alignas(128) _Atomic uint64_t counter;
	/* Written before the counter and last read by the other side: these lines have to be
	 * fetched, so the counter's store has to queue behind them. */
	struct {
		alignas(128) _Atomic uint64_t value;
	} payload[PAYLOAD_LINES];
	alignas(128) atomic_uint ready; /* sides that can be woken */
	atomic_bool failed;
	struct {
		alignas(128) _Atomic uint64_t sleeps, wakes, stalls, torn;
	} result[2];
	uint8_t uuid[16];
	int sysv_id;
};

struct side {
	struct shared *shared;
	unsigned id;
	struct sync_event mine, peers; /* to sleep on, to wake */
	struct sync_pollable *pollable;
	bool fence;
	uint64_t random;
	uint64_t sleeps, wakes;
};

static void die(const char *what)
{
	fprintf(stderr, "wakeup: %s: %s\n", what, strerror(errno));
	exit(2);
}

static struct sync_event event_of(struct shared *s, unsigned id)
{
	return (struct sync_event){.word = &s->events[id].word,
				   .backends = &s->events[id].backends,
				   .sem = s->events[id].sem,
				   .sysv_id = s->sysv_id,
				   .sysv_index = id};
}

static uint64_t next_random(struct side *side)
{
	side->random ^= side->random << 13;
	side->random ^= side->random >> 7;
	side->random ^= side->random << 17;
	return side->random;
}

static void spin(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		atomic_signal_fence(memory_order_seq_cst);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t counter(const struct shared *s)
{
	return atomic_load_explicit(&s->counter, memory_order_acquire);
}

/* ---- sleeping and waking -------------------------------------------------------------------- */

static uint32_t announce(struct side *side)
{
	uint64_t word;
	uint32_t seq;

	if (options.broken != BREAK_MEMBARRIER)
		return sync_announce(&side->mine, options.backend);
	atomic_fetch_or_explicit(side->mine.backends, UINT32_C(1) << options.backend,
				 memory_order_relaxed);
	word = atomic_load_explicit(side->mine.word, memory_order_relaxed);
	do
		seq = (uint32_t)word;
	while (!atomic_compare_exchange_weak_explicit(side->mine.word, &word,
						      (uint64_t)seq << 32 | seq,
						      memory_order_seq_cst, memory_order_relaxed));
	return seq;
}

/* Returns false if the run is over because somebody stalled. */
static bool wait_for(struct side *side, uint64_t want)
{
	struct shared *s = side->shared;
	/* Long enough now and then that both sides are awake, else short enough to announce at
	 * about the time when the other side publishes. */
	uint64_t spins = next_random(side) % (next_random(side) % 2 == 0 ? 65536 : 4096);

	for (uint64_t i = 0; i < spins && counter(s) != want; i++)
		;
	while (counter(s) != want) {
		int64_t start;
		uint32_t seq;
		int r;

		if (atomic_load_explicit(&s->failed, memory_order_relaxed))
			return false;
		if (side->pollable != NULL)
			sync_pollable_drain(side->pollable);
		seq = announce(side);
		if (options.broken != BREAK_RECHECK && counter(s) == want)
			break;
		side->sleeps++;
		start = now_ns();
		r = sync_sleep(&side->mine, options.backend, seq, options.nap_ns, side->pollable);
		/* A nap may end early, and just when the counter moves: that is no stall. Nor is a
		 * wake-up that came in time to a sleeper who was late to run. */
		if (r == -ETIMEDOUT && now_ns() - start >= options.nap_ns && counter(s) == want) {
			atomic_fetch_add_explicit(&s->result[side->id].stalls, 1,
						  memory_order_relaxed);
			atomic_store_explicit(&s->failed, true, memory_order_relaxed);
			return false;
		}
		if (r != 0 && r != -ETIMEDOUT && r != -EINTR) {
			errno = -r;
			die("sync_sleep");
		}
	}
	return true;
}

static void publish(struct side *side, uint64_t value)
{
	struct shared *s = side->shared;
	uint32_t called = 0;
	uint64_t word;

	for (int i = 0; i < PAYLOAD_LINES; i++)
		atomic_store_explicit(&s->payload[i].value, value, memory_order_relaxed);
	atomic_store_explicit(&s->counter, value, memory_order_release);
	/* E1, as in <quoit/inline.h>. Where membarrier is not to be had, by an exchange instead of
	 * a fence: the thread sanitizer knows no fences. */
	atomic_signal_fence(memory_order_seq_cst);
	word = side->fence ? atomic_fetch_or_explicit(side->peers.word, 0, memory_order_seq_cst)
			   : atomic_load_explicit(side->peers.word, memory_order_relaxed);
	if (!sync_announced(word))
		return;
	if (sync_wake(&side->peers, 1, &called)) {
		int r = sync_pollable_wake(side->pollable, 1 - side->id, 1);

		if (r != 0 && !atomic_load_explicit(&s->failed, memory_order_relaxed)) {
			errno = -r;
			die("sync_pollable_wake");
		}
	}
	side->wakes++;
}

/* ---- one side ------------------------------------------------------------------------------- */

/* Each side on a CPU of its own, where there are two: on one CPU nothing races. */
static void pin(unsigned id)
{
	cpu_set_t allowed, one;
	unsigned seen = 0;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		die("sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && seen++ == id)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one) == 1 && sched_setaffinity(0, sizeof(one), &one) != 0)
		die("sched_setaffinity");
}

static void prepare(struct side *side)
{
	struct shared *s = side->shared;

	side->mine = event_of(s, side->id);
	side->peers = event_of(s, 1 - side->id);
	side->random = UINT64_C(0x9e3779b97f4a7c15) + side->id;
	side->fence = !sync_membarrier_register();
	if (!options.unpinned)
		pin(side->id);
	if (options.backend == SYNC_EVENTFD) {
		int r = sync_pollable_new(s->uuid, side->id, 2, &side->pollable);

		if (r != 0) {
			errno = -r;
			die("sync_pollable_new");
		}
	}
	atomic_fetch_add(&s->ready, 1);
	while (atomic_load(&s->ready) < 2)
		sched_yield();
}

static void run_side(struct side *side)
{
	struct shared *s = side->shared;

	prepare(side);
	for (uint64_t round = 0; round < options.rounds; round++) {
		uint64_t value = 2 * round + side->id;

		if (!wait_for(side, value))
			break;
		for (int i = 0; i < PAYLOAD_LINES && value != 0; i++)
			if (atomic_load_explicit(&s->payload[i].value, memory_order_relaxed) !=
			    value)
				atomic_fetch_add(&s->result[side->id].torn, 1);
		/* Mostly at once, sometimes around the time at which the other side announces. */
		if (next_random(side) % 4 != 0)
			spin(next_random(side) % 8192);
		publish(side, value + 1);
	}
	atomic_store(&s->result[side->id].sleeps, side->sleeps);
	atomic_store(&s->result[side->id].wakes, side->wakes);
}

static void *thread_main(void *arg)
{
	run_side(arg);
	return NULL;
}

/* The pollables are kept until both sides are through: a late wake must find its address. */
static bool run_threads(struct shared *s)
{
	struct side sides[2] = {{.shared = s, .id = 0}, {.shared = s, .id = 1}};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if ((errno = pthread_create(&threads[i], NULL, thread_main, &sides[i])) != 0)
			die("pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 2; i++)
		sync_pollable_free(sides[i].pollable);
	return true;
}

static void process_main(struct shared *s, unsigned id, pid_t parent)
{
	struct side side = {.shared = s, .id = id};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(2);
	run_side(&side);
	atomic_fetch_add(&s->ready, 1);
	while (atomic_load(&s->ready) < 4 && !atomic_load(&s->failed))
		sched_yield();
	sync_pollable_free(side.pollable);
	_exit(0);
}

static bool run_processes(struct shared *s)
{
	pid_t parent = getpid(), pids[2];
	bool good = true;

	for (unsigned id = 0; id < 2; id++) {
		pids[id] = fork();
		if (pids[id] < 0)
			die("fork");
		if (pids[id] == 0)
			process_main(s, id, parent);
	}
	for (int left = 2; left > 0; left--) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0)
			die("wait");
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
			/* The other one would wait for it. */
			good = false;
			kill(pid == pids[0] ? pids[1] : pids[0], SIGKILL);
		}
	}
	return good;
}

/* ---- the run -------------------------------------------------------------------------------- */

static volatile sig_atomic_t sysv_id = -1;

/* System V semaphores outlive us: take them away also when interrupted. */
static void interrupted(int signo)
{
	semctl(sysv_id, 0, IPC_RMID); /* NOLINT: one system call, nothing else */
	_exit(128 + signo);
}

static int make_semaphores(void)
{
	sysv_id = semget(IPC_PRIVATE, 2, 0600);
	if (sysv_id < 0)
		die("semget");
	signal(SIGINT, interrupted);
	signal(SIGTERM, interrupted);
	return sysv_id;
}

static struct shared *make_shared(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (s == MAP_FAILED)
		die("mmap");
	s->sysv_id = options.backend == SYNC_SYSVSEM ? make_semaphores() : -1;
	if (getrandom(s->uuid, sizeof(s->uuid), 0) != (ssize_t)sizeof(s->uuid))
		die("getrandom");
	for (unsigned id = 0; id < 2; id++) {
		struct sync_event e = event_of(s, id);

		if (sync_event_init(&e) != 0)
			die("sync_event_init");
	}
	return s;
}

static int name_index(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (names[i] != NULL && strcmp(names[i], name) == 0)
			return (int)i;
	fprintf(stderr, "wakeup: no such choice: %s\n", name);
	exit(2);
}

static uint64_t number(const char *text, uint64_t max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || n < 1 || n > max) {
		fprintf(stderr, "wakeup: not a number from 1 to %llu: %s\n",
			(unsigned long long)max, text);
		exit(2);
	}
	return n;
}

static void parse(int argc, char **argv)
{
	static const struct option known[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"backend", required_argument, NULL, 'b'},
		{"break", required_argument, NULL, 'k'},
		{"nap-ms", required_argument, NULL, 'n'},
		{"threads", no_argument, NULL, 't'},
		{"unpinned", no_argument, NULL, 'u'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (c) {
		case 'r':
			options.rounds = number(optarg, UINT32_MAX);
			break;
		case 'b':
			options.backend = (enum sync_backend)name_index(
				backend_names, sizeof(backend_names) / sizeof(backend_names[0]),
				optarg);
			break;
		case 'k':
			options.broken = (enum broken)name_index(broken_names, 3, optarg);
			break;
		case 'n':
			options.nap_ns = (int64_t)number(optarg, 60000) * 1000000;
			break;
		case 't':
			options.threads = true;
			break;
		case 'u':
			options.unpinned = true;
			break;
		default:
			fprintf(stderr,
				"usage: wakeup [--rounds N] [--backend B] [--threads] [--unpinned]"
				" [--nap-ms N] [--break recheck|membarrier]\n");
			exit(2);
		}
	if (optind < argc) {
		fprintf(stderr, "wakeup: no arguments, only options: %s\n", argv[optind]);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct shared *s;
	uint64_t total[4] = {0};
	int64_t start;
	double seconds;
	bool good;

	parse(argc, argv);
	s = make_shared();
	start = now_ns();
	good = options.threads ? run_threads(s) : run_processes(s);
	seconds = (double)(now_ns() - start) / 1e9;
	if (s->sysv_id >= 0)
		semctl(s->sysv_id, 0, IPC_RMID);
	for (int i = 0; i < 2; i++) {
		total[0] += atomic_load(&s->result[i].sleeps);
		total[1] += atomic_load(&s->result[i].wakes);
		total[2] += atomic_load(&s->result[i].stalls);
		total[3] += atomic_load(&s->result[i].torn);
	}
	good = good && total[2] == 0 && total[3] == 0 && counter(s) == 2 * options.rounds;
	printf("wakeup %s %s break=%s handovers=%llu/%llu sleeps=%llu wakes=%llu torn=%llu "
	       "stalls=%llu seconds=%.2f: %s\n",
	       backend_names[options.backend], options.threads ? "threads" : "processes",
	       broken_names[options.broken], (unsigned long long)counter(s),
	       (unsigned long long)(2 * options.rounds), (unsigned long long)total[0],
	       (unsigned long long)total[1], (unsigned long long)total[3],
	       (unsigned long long)total[2], seconds, good ? "ok" : "FAILED");
	return good ? 0 : 1;
}
