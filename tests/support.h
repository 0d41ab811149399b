/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the ring share: unique names for every backend, rings that are removed again,
 * child processes, clocks, random numbers and records that prove themselves.
 *
 * Everything is static inline, for each test program is one file. Nothing here needs Criterion, so
 * the stress and crash programs use it as well; a failure of the machinery itself aborts.
 */
#ifndef QUOIT_TESTS_SUPPORT_H
#define QUOIT_TESTS_SUPPORT_H

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <quoit/quoit.h>

/* A broken precondition of the test itself, not a result. */
#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition,  \
				errno);                                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* In a child process: leave with the line as a message, for the parent to see a failure. */
#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__,           \
				#condition);                                                       \
			_exit(99);                                                                 \
		}                                                                                  \
	} while (0)

static const enum quoit_backend test_backends[]
	__attribute__((unused)) = {QUOIT_SHM, QUOIT_SYSV, QUOIT_FILE, QUOIT_MEMFD};
static const enum quoit_kind test_kinds[] __attribute__((unused)) = {QUOIT_SPSC, QUOIT_MPMC};
static const enum quoit_wait test_waits[]
	__attribute__((unused)) = {QUOIT_WAIT_SPIN, QUOIT_WAIT_YIELD,   QUOIT_WAIT_FUTEX,
				   QUOIT_WAIT_SEM,  QUOIT_WAIT_SYSVSEM, QUOIT_WAIT_EVENTFD};

#define TEST_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* System V semaphores are there beside System V memory, or if the ring was created to wait on them;
 * else set_wait gives -ENOTSUP. */
static inline bool test_can_wait(enum quoit_backend backend, enum quoit_wait wait)
{
	return wait != QUOIT_WAIT_SYSVSEM || backend == QUOIT_SYSV;
}

/* ---- clocks, random numbers ----------------------------------------------------------------- */

static inline int64_t test_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void test_sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
		;
}

static inline void test_spin_ns(int64_t ns)
{
	int64_t end = test_now_ns() + ns;

	while (test_now_ns() < end)
		;
}

/* splitmix64: one word of state, any seed will do. */
static inline uint64_t test_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint32_t test_random_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((test_random(state) >> 32) * n >> 32);
}

static inline uint64_t test_random_seed(void)
{
	uint64_t seed;

	MUST(getrandom(&seed, sizeof(seed), 0) == (ssize_t)sizeof(seed));
	return seed;
}

/* ---- names and rings ------------------------------------------------------------------------ */

#define TEST_RINGS_MAX 64

struct test_names {
	unsigned count;
	char name[TEST_RINGS_MAX][QUOIT_NAME_MAX];
};

/* Names handed out by this program and not dropped yet, to be removed by test_cleanup(). */
static inline struct test_names *test_names(void)
{
	static struct test_names names;

	return &names;
}

/* "shm", ...; "all" is 0; ends the program on anything else. */
static inline enum quoit_backend test_backend_from_name(const char *name)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		if (strcmp(name, quoit_backend_name(test_backends[i])) == 0)
			return test_backends[i];
	if (strcmp(name, "all") == 0)
		return (enum quoit_backend)0;
	fprintf(stderr, "no such backend: %s\n", name);
	exit(64);
}

/* A name that nobody has: the process and a random number are in it. */
static inline const char *test_name(enum quoit_backend backend)
{
	struct test_names *names = test_names();
	uint64_t seed = test_random_seed();
	char *name;

	MUST(names->count < TEST_RINGS_MAX);
	name = names->name[names->count++];
	switch (backend) {
	case QUOIT_SHM:
		snprintf(name, QUOIT_NAME_MAX, "shm:qtest-%d-%08x", getpid(), (uint32_t)seed);
		break;
	case QUOIT_SYSV:
		snprintf(name, QUOIT_NAME_MAX, "sysv:0x%08x", (uint32_t)seed | 1);
		break;
	case QUOIT_FILE:
		snprintf(name, QUOIT_NAME_MAX, "file:/tmp/qtest-%d-%08x", getpid(), (uint32_t)seed);
		break;
	case QUOIT_MEMFD:
		snprintf(name, QUOIT_NAME_MAX, "memfd:qtest-%d-%08x", getpid(), (uint32_t)seed);
		break;
	}
	return name;
}

/* The ring of this name is gone. */
static inline void test_forget(const char *name)
{
	struct test_names *names = test_names();

	names->name[(name - names->name[0]) / QUOIT_NAME_MAX][0] = '\0';
	while (names->count > 0 && names->name[names->count - 1][0] == '\0')
		names->count--;
}

/* Remove whatever is left under the names of test_name(); as a fixture's last act. */
static inline void test_cleanup(void)
{
	struct test_names *names = test_names();

	for (unsigned i = 0; i < names->count; i++)
		if (names->name[i][0] != '\0' && quoit_remove(names->name[i]) != 0)
			continue; /* gone, never made, or a memfd */
	names->count = 0;
}

/* A ring for a test, and how another process attaches to it. */
struct test_ring {
	struct quoit *q;
	const char *made;          /* the name it was created under */
	char name[QUOIT_NAME_MAX]; /* for children: the canonical name, or fd:N */
	uint32_t max_record;
};

static inline struct quoit_options test_options(enum quoit_kind kind)
{
	return (struct quoit_options){.size = sizeof(struct quoit_options), .kind = kind};
}

/* What quoit_create() said; *r is filled in only on success. */
static inline int test_ring_try(struct test_ring *r, enum quoit_backend backend,
				const struct quoit_options *opt)
{
	struct quoit_info info = {.size = sizeof(info)};
	const char *made = test_name(backend);
	struct quoit *q;
	int result = quoit_create(made, opt, &q);

	if (result != 0) {
		test_forget(made);
		return result;
	}
	MUST(quoit_get_info(q, &info) == 0);
	r->q = q;
	r->made = made;
	r->max_record = info.max_record;
	if (backend == QUOIT_MEMFD)
		snprintf(r->name, sizeof(r->name), "fd:%d", quoit_fd(q));
	else
		snprintf(r->name, sizeof(r->name), "%s", info.name);
	return 0;
}

static inline void test_ring_make(struct test_ring *r, enum quoit_backend backend,
				  const struct quoit_options *opt)
{
	int result = test_ring_try(r, backend, opt);

	if (result != 0) {
		fprintf(stderr, "quoit_create(%s): %s\n", quoit_backend_name(backend),
			quoit_strerror(result));
		abort();
	}
}

/* Detach and remove. */
static inline void test_ring_drop(struct test_ring *r)
{
	quoit_detach(r->q);
	r->q = NULL;
	if (strncmp(r->made, "memfd:", 6) != 0 && quoit_remove(r->made) != 0)
		fprintf(stderr, "cannot remove %s\n", r->made);
	test_forget(r->made);
}

static inline struct quoit_info test_info(const struct quoit *q)
{
	struct quoit_info info = {.size = sizeof(info)};

	MUST(quoit_get_info(q, &info) == 0);
	return info;
}

static inline struct quoit_stats test_stats(const struct quoit *q)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	MUST(quoit_get_stats(q, &stats) == 0);
	return stats;
}

/* Send one record through q and take it out again: the ring is alive. */
static inline bool test_carries_a_record(struct quoit *q)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t word = 42, back = 0;
	bool good;

	if (quoit_producer_open(q, &p) != 0)
		return false;
	if (quoit_consumer_open(q, &c) != 0) {
		quoit_producer_close(p);
		return false;
	}
	good = quoit_send(p, &word, sizeof(word), 7, QUOIT_NOWAIT) == 0 &&
	       quoit_recv(c, &back, sizeof(back), &msg, QUOIT_NOWAIT) == 1 && back == 42 &&
	       msg.type == 7;
	quoit_producer_close(p);
	quoit_consumer_close(c);
	return good;
}

/* A ring with both ends in this process. */
struct test_rig {
	struct test_ring r;
	struct quoit_producer *p;
	struct quoit_consumer *c;
};

static inline void test_rig_open(struct test_rig *rig, enum quoit_backend backend,
				 const struct quoit_options *opt)
{
	test_ring_make(&rig->r, backend, opt);
	MUST(quoit_producer_open(rig->r.q, &rig->p) == 0);
	MUST(quoit_consumer_open(rig->r.q, &rig->c) == 0);
}

static inline void test_rig_close(struct test_rig *rig)
{
	quoit_producer_close(rig->p);
	quoit_consumer_close(rig->c);
	test_ring_drop(&rig->r);
}

/* One number as a record, without waiting. */
static inline int test_put(struct quoit_producer *p, uint64_t value)
{
	return quoit_send(p, &value, sizeof(value), 0, QUOIT_NOWAIT);
}

/* The next number, without waiting: quoit_recv()'s result. */
static inline int test_take(struct quoit_consumer *c, uint64_t *ret_value)
{
	struct quoit_msg msg;

	return quoit_recv(c, ret_value, sizeof(*ret_value), &msg, QUOIT_NOWAIT);
}

/* ---- processes ------------------------------------------------------------------------------ */

/* Run fn(arg) in a child that does not outlive us; its result is the exit code. */
static inline pid_t test_spawn(int (*fn)(void *arg), void *arg)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	pid = fork();
	MUST(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(98);
		_exit(fn(arg));
	}
	return pid;
}

/* Exit code, or 128 + signal. */
static inline int test_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		MUST(errno == EINTR);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline void test_kill(pid_t pid)
{
	MUST(kill(pid, SIGKILL) == 0);
	MUST(test_wait(pid) == 128 + SIGKILL);
}

/* As in /proc/PID/stat: R, S, Z and so on; ? if there is no such process. */
static inline char test_process_state(pid_t pid)
{
	char path[32], text[512], *end;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f == NULL)
		return '?';
	n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = '\0';
	end = strrchr(text, ')');
	return end != NULL && end[1] == ' ' ? end[2] : '?';
}

/* Zeroed memory shared with children to come. */
static inline void *test_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	MUST(p != MAP_FAILED);
	return p;
}

/* Wait for another process to set *flag, for ms at most. */
static inline bool test_wait_flag(_Atomic uint32_t *flag, uint32_t value, unsigned ms)
{
	int64_t end = test_now_ns() + (int64_t)ms * 1000000;

	while (atomic_load_explicit(flag, memory_order_acquire) < value) {
		if (test_now_ns() > end)
			return false;
		test_sleep_ms(1);
	}
	return true;
}

/* ---- records -------------------------------------------------------------------------------- */

/*
 * A record that proves itself: the first 8 bytes of its payload are a sequence number, the rest is
 * derived from it and the producer, and the type holds the producer and a checksum over all of it.
 */
#define TEST_RECORD_MIN 8u

static inline uint64_t test_mix(uint64_t x)
{
	x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
	x = (x ^ x >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

/* Fills len bytes (at least 8) and returns the type to send it with. producer: 0 to 255. */
static inline uint32_t test_record_fill(void *payload, uint32_t len, uint32_t producer,
					uint64_t seq)
{
	uint64_t key = test_mix(seq * 256 + producer + 1);
	unsigned char *p = payload;
	uint32_t i;

	memcpy(p, &seq, 8);
	for (i = 8; i + 8 <= len; i += 8) {
		uint64_t word = key + i;

		memcpy(p + i, &word, 8);
	}
	for (; i < len; i++)
		p[i] = (unsigned char)(key + i);
	return producer << 24 | (uint32_t)(test_mix(key + len) & 0xffffff);
}

/* True if the record is whole; then *producer and *seq say which it is. */
static inline bool test_record_check(const void *payload, uint32_t len, uint32_t type,
				     uint32_t *producer, uint64_t *seq)
{
	const unsigned char *p = payload;
	uint64_t key;
	uint32_t i;

	if (len < TEST_RECORD_MIN)
		return false;
	memcpy(seq, p, 8);
	*producer = type >> 24;
	key = test_mix(*seq * 256 + *producer + 1);
	if ((type & 0xffffff) != (test_mix(key + len) & 0xffffff))
		return false;
	for (i = 8; i + 8 <= len; i += 8) {
		uint64_t word;

		memcpy(&word, p + i, 8);
		if (word != key + i)
			return false;
	}
	for (; i < len; i++)
		if (p[i] != (unsigned char)(key + i))
			return false;
	return true;
}

#endif
