/* SPDX-License-Identifier: MIT */
/*
 * Whole rings where things are short, or restless: a file system that fills up after creation,
 * descriptors that run out one call earlier each time, locked memory, semaphores, and a storm of
 * signals in every way to wait. Each call succeeds or gives an error, and leaves nothing behind.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "ring/ring.h"
#include "support.h"

TestSuite(scarce, .fini = test_cleanup, .timeout = 60);

/* ---- memory --------------------------------------------------------------------------------- */

static bool mount_shm(const char *options)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/dev/shm", "tmpfs", 0, options) == 0;
}

Test(scarce, a_full_dev_shm_is_an_error_at_create)
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct test_ring r;

	if (!mount_shm("size=1m"))
		cr_skip("needs root, for a mount namespace");
	opt.capacity = UINT64_C(2) << 20;
	cr_expect_eq(test_ring_try(&r, QUOIT_SHM, &opt), -ENOSPC);
	opt.flags = QUOIT_PREFAULT;
	cr_expect_eq(test_ring_try(&r, QUOIT_SHM, &opt), -ENOSPC);
	opt.capacity = 65536;
	cr_assert_eq(test_ring_try(&r, QUOIT_SHM, &opt), 0);
	cr_expect(test_carries_a_record(r.q));
	test_ring_drop(&r);
}

Test(scarce, a_dev_shm_that_is_full_is_an_error_at_prefault)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_ring r;
	struct quoit *q;
	int fd;

	if (!mount_shm("size=1m"))
		cr_skip("needs root, for a mount namespace");
	opt.capacity = 262144;
	test_ring_make(&r, QUOIT_SHM, &opt);
	/* Somebody gives the ring's memory back, and somebody else takes it. */
	cr_assert_eq(fallocate(quoit_fd(r.q), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       (off_t)r.q->geo.data_offset, (off_t)r.q->geo.capacity),
		     0);
	fd = open("/dev/shm/hog", O_CREAT | O_RDWR, 0600);
	cr_assert_eq(fallocate(fd, 0, 0, 1000 * 1024), 0);
	opt.flags = QUOIT_PREFAULT;
	cr_expect_eq(quoit_attach(r.name, &opt, &q), -ENOSPC);
	close(fd);
	unlink("/dev/shm/hog");
	cr_assert_eq(quoit_attach(r.name, &opt, &q), 0);
	quoit_detach(q);
	test_ring_drop(&r);
}

static int attach_and_lock(void *arg)
{
	struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};
	struct quoit_options opt = test_options((enum quoit_kind)0);
	const char *name = arg;
	struct quoit *q;

	CHILD_CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	opt.flags = QUOIT_MLOCK;
	CHILD_CHECK(quoit_attach(name, &opt, &q) == -ENOMEM);
	opt.flags = 0;
	CHILD_CHECK(quoit_attach(name, &opt, &q) == 0);
	CHILD_CHECK(test_carries_a_record(q));
	quoit_detach(q);
	return 0;
}

Test(scarce, locked_memory_beyond_its_limit_is_an_error_at_attach)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct test_ring r;

		if (geteuid() != 0)
			cr_skip("needs root, to become one who has a limit");
#ifdef QUOIT_SANITIZED
		cr_skip("mlock() does nothing here");
#endif
		opt.mode = 0666;
		test_ring_make(&r, test_backends[i], &opt);
		cr_expect_eq(test_wait(test_spawn(attach_and_lock, r.name)), 0, "%s", r.name);
		test_ring_drop(&r);
	}
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A life with a ring, up to the first call that fails; everything is let go again. */
static int live(enum quoit_backend backend, enum quoit_kind kind)
{
	struct quoit_options opt = test_options(kind);
	struct timespec soon = quoit_deadline_ms(3);
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct test_ring r = {0};
	struct quoit *q = NULL;
	struct quoit_msg msg;
	uint64_t value = 1;
	int result;

	opt.capacity = 4096;
	opt.peers = 4;
	opt.slot_size = kind == QUOIT_MPMC ? 64 : 0;
	result = test_ring_try(&r, backend, &opt);
	if (result == 0)
		result = quoit_attach(r.name, NULL, &q);
	if (result == 0)
		result = quoit_producer_open(q, &p);
	if (result == 0)
		result = quoit_consumer_open(q, &c);
	if (result == 0)
		result = quoit_producer_set_wait(p, QUOIT_WAIT_EVENTFD);
	if (result == 0)
		result = quoit_consumer_set_wait(c, QUOIT_WAIT_EVENTFD);
	if (result == 0) {
		result = quoit_recv(c, &value, 8, &msg, &soon);
		result = result == -ETIMEDOUT ? 0 : result;
	}
	if (result == 0)
		result = test_put(p, 7);
	if (result == 0)
		result = test_take(c, &value) == 1 && value == 7 ? 0 : -EIO;
	quoit_producer_close(p);
	quoit_consumer_close(c);
	quoit_detach(q);
	if (r.q != NULL) {
		quoit_detach(r.q);
		/* Removing needs descriptors as well: test_cleanup() has them again. */
		if (backend == QUOIT_MEMFD)
			test_forget(r.made);
	}
	return result;
}

static void remove_leftovers(void)
{
	struct rlimit limit;

	MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max;
	MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	test_cleanup();
}

Test(scarce, descriptors_that_run_out_at_any_call_are_an_error_and_none_leaks)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			int before = open_descriptors(), result = -EMFILE;
			unsigned failures = 0;

			for (rlim_t most = 3; result != 0 && most < 200; most++) {
				struct rlimit limit;

				MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
				limit.rlim_cur = most;
				MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
				result = live(test_backends[i], test_kinds[k]);
				remove_leftovers();
				cr_expect(result == 0 || result == -EMFILE, "%s %s, %lu: %d",
					  quoit_backend_name(test_backends[i]),
					  quoit_kind_name(test_kinds[k]), (unsigned long)most,
					  result);
				failures += result != 0;
				cr_assert_eq(open_descriptors(), before, "%lu",
					     (unsigned long)most);
			}
			cr_expect_eq(result, 0, "in the end there are enough");
			cr_expect_geq(failures, 5);
		}
}

/* ---- semaphores ------------------------------------------------------------------------------ */

static void set_limit(const char *value)
{
	int fd = open("/proc/sys/kernel/sem", O_WRONLY);

	MUST(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
	close(fd);
}

Test(scarce, semaphores_that_are_not_to_be_had_are_an_error_and_nothing_stays)
{
	static const char *const limits[] = {"3 32000 500 32000", "32000 3 500 32000",
					     "32000 32000 500 0"};

	if (unshare(CLONE_NEWIPC) != 0)
		cr_skip("needs root, for an IPC namespace");
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		for (unsigned n = 0; n < TEST_COUNT(limits); n++) {
			struct quoit_options opt = test_options(QUOIT_MPMC);
			struct test_ring r;

			/* Beside a file it is for waiting alone, three and a mark. */
			opt.wait = QUOIT_WAIT_SYSVSEM;
			set_limit(limits[n]);
			cr_expect_eq(test_ring_try(&r, test_backends[i], &opt), -ENOSPC, "%s, %s",
				     quoit_backend_name(test_backends[i]), limits[n]);
			set_limit("32000 1000000 500 32000");
			cr_assert_eq(test_ring_try(&r, test_backends[i], &opt), 0);
			cr_expect(test_carries_a_record(r.q));
			test_ring_drop(&r);
		}
}

/* ---- signals --------------------------------------------------------------------------------- */

#define STORM_RECORDS 3000u

struct storm {
	struct test_ring *r;
	enum quoit_wait wait;
	_Atomic uint32_t interrupted;
};

static void nothing(int number)
{
	(void)number;
}

/* 2000 signals a second, in a process of its own. */
static void begin_storm(void)
{
	struct sigaction action = {.sa_handler = nothing};
	struct itimerval often = {{0, 500}, {0, 500}};

	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	MUST(setitimer(ITIMER_REAL, &often, NULL) == 0);
}

static int send_in_the_storm(void *arg)
{
	struct storm *s = arg;
	struct quoit_producer *p;
	int r;

	CHILD_CHECK(quoit_producer_open(s->r->q, &p) == 0);
	begin_storm();
	CHILD_CHECK(quoit_producer_set_wait(p, s->wait) == 0);
	/* The consumer sleeps, and is interrupted, before there is anything. */
	if (s->wait >= QUOIT_WAIT_FUTEX)
		CHILD_CHECK(test_wait_flag(&s->interrupted, 1, 10000));
	for (uint64_t i = 0; i < STORM_RECORDS; i++) {
		while ((r = quoit_send(p, &i, 8, 0, NULL)) == -EINTR)
			atomic_fetch_add(&s->interrupted, 1);
		CHILD_CHECK(r == 0);
		if (i % 500 == 0)
			test_sleep_ms(3); /* have the other side sleep */
	}
	while ((r = quoit_drain(p, NULL)) == -EINTR)
		;
	CHILD_CHECK(r == 0);
	quoit_producer_close(p);
	return 0;
}

static int take_in_the_storm(void *arg)
{
	struct storm *s = arg;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t value, n = 0;
	int r;

	CHILD_CHECK(quoit_consumer_open(s->r->q, &c) == 0);
	begin_storm();
	CHILD_CHECK(quoit_consumer_set_wait(c, s->wait) == 0);
	for (;;) {
		r = quoit_recv(c, &value, 8, &msg, NULL);
		if (r == -EINTR) {
			atomic_fetch_add(&s->interrupted, 1);
			continue;
		}
		if (r != 1)
			break;
		CHILD_CHECK(value == n);
		n++;
		if (n % 500 == 0)
			test_sleep_ms(3);
	}
	CHILD_CHECK(r == 0 && n == STORM_RECORDS);
	quoit_consumer_close(c);
	return 0;
}

Test(scarce, a_storm_of_signals_loses_nothing_and_ends_waits_with_eintr_alone)
{
	struct storm *s = test_shared(sizeof(*s));

	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++)
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct test_ring r;
			pid_t producer, consumer;

			opt.capacity = 4096;
			opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 48 : 0;
			test_ring_make(&r, QUOIT_SYSV, &opt);
			*s = (struct storm){.r = &r, .wait = test_waits[w]};
			consumer = test_spawn(take_in_the_storm, s);
			producer = test_spawn(send_in_the_storm, s);
			cr_expect_eq(test_wait(producer), 0, "%s", quoit_wait_name(test_waits[w]));
			cr_expect_eq(test_wait(consumer), 0, "%s", quoit_wait_name(test_waits[w]));
			if (test_waits[w] >= QUOIT_WAIT_FUTEX)
				cr_expect_gt(atomic_load(&s->interrupted), 0, "%s",
					     quoit_wait_name(test_waits[w]));
			test_ring_drop(&r);
		}
}
