/* SPDX-License-Identifier: MIT */
/*
 * fork() and exec() with open handles: the child may not use them, does not hold up the parent's
 * locks, and cannot harm the parent's stream by closing them.
 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "support.h"

TestSuite(fork, .fini = test_cleanup, .timeout = 30);

struct handles {
	struct test_rig rig;
	struct quoit_msg peeked;
	void *payload;
};

/* Every call that can say so says -EBADF. */
static int use_the_parents_handles(void *arg)
{
	struct handles *h = arg;
	struct quoit_producer *p = h->rig.p, *other_p;
	struct quoit_consumer *c = h->rig.c, *other_c;
	struct quoit_msg msg = {.data = &msg, .len = 8};
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_stats stats = {.size = sizeof(stats)};
	char buf[64];
	void *payload;

	CHILD_CHECK(quoit_reserve(p, 8, &payload) == -EBADF);
	CHILD_CHECK(quoit_commit(p, h->payload, 8, 0) == -EBADF);
	CHILD_CHECK(quoit_discard(p, h->payload) == -EBADF);
	CHILD_CHECK(quoit_send(p, buf, 8, 0, NULL) == -EBADF);
	CHILD_CHECK(quoit_send(p, buf, 8, 0, QUOIT_NOWAIT) == -EBADF);
	CHILD_CHECK(quoit_send_batch(p, &msg, 1, QUOIT_NOWAIT) == -EBADF);
	CHILD_CHECK(quoit_producer_wait(p, 8, NULL) == -EBADF);
	CHILD_CHECK(quoit_drain(p, NULL) == -EBADF);
	CHILD_CHECK(quoit_producer_fd(p) == -EBADF);
	CHILD_CHECK(quoit_producer_arm(p, 8) == -EBADF);
	CHILD_CHECK(quoit_producer_set_wait(p, QUOIT_WAIT_SPIN) == -EBADF);
	CHILD_CHECK(quoit_peek(c, &msg) == -EBADF);
	CHILD_CHECK(quoit_advance(c, &h->peeked) == -EBADF);
	CHILD_CHECK(quoit_peek_batch(c, &msg, 1) == -EBADF);
	CHILD_CHECK(quoit_advance_batch(c, &h->peeked, 1) == -EBADF);
	CHILD_CHECK(quoit_recv(c, buf, sizeof(buf), &msg, NULL) == -EBADF);
	CHILD_CHECK(quoit_recv_batch(c, buf, sizeof(buf), &msg, 1, NULL) == -EBADF);
	CHILD_CHECK(quoit_consumer_wait(c, NULL) == -EBADF);
	CHILD_CHECK(quoit_consumer_fd(c) == -EBADF);
	CHILD_CHECK(quoit_consumer_arm(c) == -EBADF);
	CHILD_CHECK(quoit_consumer_set_wait(c, QUOIT_WAIT_SPIN) == -EBADF);
	/* The ring itself may be used, and endpoints of the child's own be opened from it. */
	CHILD_CHECK(quoit_get_info(h->rig.r.q, &info) == 0);
	CHILD_CHECK(quoit_get_stats(h->rig.r.q, &stats) == 0);
	if (info.kind == QUOIT_SPSC) {
		CHILD_CHECK(quoit_producer_open(h->rig.r.q, &other_p) == -EBUSY);
		CHILD_CHECK(quoit_consumer_open(h->rig.r.q, &other_c) == -EBUSY);
	} else {
		CHILD_CHECK(quoit_producer_open(h->rig.r.q, &other_p) == 0);
		CHILD_CHECK(quoit_consumer_open(h->rig.r.q, &other_c) == 0);
		quoit_producer_close(other_p);
		quoit_consumer_close(other_c);
	}
	/* Letting go of them is allowed and harms nobody. */
	quoit_producer_close(p);
	quoit_consumer_close(c);
	quoit_detach(h->rig.r.q);
	return 0;
}

Test(fork, makes_every_handle_give_ebadf_in_the_child_and_leaves_the_parents_alone)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			uint64_t value = 0;
			struct handles h;

			test_rig_open(&h.rig, test_backends[i], &opt);
			cr_assert_eq(test_put(h.rig.p, 1), 0);
			cr_assert_eq(test_put(h.rig.p, 2), 0);
			cr_assert_eq(quoit_peek(h.rig.c, &h.peeked), 1);
			cr_assert_eq(quoit_reserve(h.rig.p, 8, &h.payload), 0);
			cr_expect_eq(test_wait(test_spawn(use_the_parents_handles, &h)), 0, "%s %s",
				     quoit_backend_name(test_backends[i]),
				     quoit_kind_name(test_kinds[k]));
			value = 3;
			memcpy(h.payload, &value, 8);
			cr_expect_eq(quoit_commit(h.rig.p, h.payload, 8, 0), 0);
			for (uint64_t n = 1; n <= 3; n++) {
				cr_expect_eq(test_take(h.rig.c, &value), 1);
				cr_expect_eq(value, n);
			}
			cr_expect_eq(test_take(h.rig.c, &value), -EAGAIN,
				     "the child's closing was not ours");
			test_rig_close(&h.rig);
		}
	}
}

struct family {
	const char *name;
	bool exec;
	_Atomic int32_t *grandchild;
};

/* Opens a producer, has a child that lives on, and waits to be killed. */
static int parent_of_a_survivor(void *arg)
{
	struct family *f = arg;
	struct quoit_producer *p;
	struct quoit *q;
	pid_t pid;

	CHILD_CHECK(quoit_attach(f->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(test_put(p, 1) == 0);
	pid = fork();
	CHILD_CHECK(pid >= 0);
	if (pid == 0) {
		atomic_store(f->grandchild, getpid());
		if (f->exec)
			execlp("sleep", "sleep", "60", (char *)NULL);
		test_sleep_ms(60000);
		_exit(0);
	}
	for (;;)
		pause();
}

/* False: it is not. */
static bool death_is_seen_past_a_child(enum quoit_backend backend, bool exec)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct quoit_consumer *c;
	struct quoit_producer *p;
	struct timespec soon;
	struct family f = {.exec = exec};
	struct quoit_msg msg;
	struct test_ring r;
	uint64_t value;
	int result;
	bool seen;
	pid_t pid;

	test_ring_make(&r, backend, &opt);
	cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
	f.name = r.name;
	f.grandchild = test_shared(4096);
	pid = test_spawn(parent_of_a_survivor, &f);
	for (unsigned i = 0; i < 5000 && atomic_load(f.grandchild) == 0; i++)
		test_sleep_ms(1);
	cr_assert_neq(atomic_load(f.grandchild), 0);
	test_sleep_ms(20);
	test_kill(pid);
	cr_expect_eq(kill(atomic_load(f.grandchild), 0), 0, "the grandchild lives");
	soon = quoit_deadline_ms(5000);
	cr_expect_eq(quoit_recv(c, &value, 8, &msg, &soon), 1);
	result = quoit_recv(c, &value, 8, &msg, &soon);
	cr_expect_eq(result, -EOWNERDEAD, "%s: %d", quoit_backend_name(backend), result);
	seen = result == -EOWNERDEAD;
	result = quoit_producer_open(r.q, &p);
	cr_expect_eq(result, 0, "%s: %d", quoit_backend_name(backend), result);
	kill(atomic_load(f.grandchild), SIGKILL);
	if (result == 0)
		quoit_producer_close(p);
	quoit_consumer_close(c);
	munmap(f.grandchild, 4096);
	test_ring_drop(&r);
	return seen;
}

Test(fork, does_not_keep_a_dead_parent_alive)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		cr_assert(death_is_seen_past_a_child(test_backends[i], false));
}

Test(fork, and_exec_does_not_keep_a_dead_parent_alive)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		cr_assert(death_is_seen_past_a_child(test_backends[i], true));
}

/* Replaces itself by another program while its endpoint is open. */
static int exec_away(void *arg)
{
	struct family *f = arg;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(f->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(test_put(p, 1) == 0);
	execlp("sleep", "sleep", "60", (char *)NULL);
	return 97;
}

Test(fork, exec_ends_an_endpoint_as_death_does)
{
	/* A System V semaphore's undo belongs to the process, which lives on: not there. */
	static const enum quoit_backend with_fd[] = {QUOIT_SHM, QUOIT_FILE, QUOIT_MEMFD};

	for (unsigned i = 0; i < TEST_COUNT(with_fd); i++) {
		struct quoit_options opt = test_options(QUOIT_SPSC);
		struct timespec soon = quoit_deadline_ms(2000);
		struct quoit_consumer *c;
		struct family f = {0};
		struct quoit_msg msg;
		struct test_ring r;
		uint64_t value;
		int result;
		pid_t pid;

		test_ring_make(&r, with_fd[i], &opt);
		cr_assert_eq(quoit_consumer_open(r.q, &c), 0);
		f.name = r.name;
		pid = test_spawn(exec_away, &f);
		cr_expect_eq(quoit_recv(c, &value, 8, &msg, &soon), 1);
		result = quoit_recv(c, &value, 8, &msg, &soon);
		cr_expect_eq(result, -EOWNERDEAD, "%s: %d", quoit_backend_name(with_fd[i]), result);
		test_kill(pid);
		quoit_consumer_close(c);
		test_ring_drop(&r);
		cr_assert_eq(result, -EOWNERDEAD);
	}
}

static int open_own_endpoint(void *arg)
{
	struct handles *h = arg;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(h->rig.r.name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	CHILD_CHECK(test_put(p, 98) == 0);
	quoit_producer_close(p);
	quoit_detach(q);
	CHILD_CHECK(quoit_producer_open(h->rig.r.q, &p) == 0);
	CHILD_CHECK(test_put(p, 99) == 0);
	raise(SIGKILL);
	return 0;
}

Test(fork, lets_the_child_open_endpoints_of_its_own_which_die_with_it_alone)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++) {
		struct quoit_options opt = test_options(QUOIT_MPMC);
		struct timespec soon;
		struct quoit_msg msg;
		struct handles h;
		uint64_t value = 0;

		test_rig_open(&h.rig, test_backends[i], &opt);
		cr_expect_eq(test_wait(test_spawn(open_own_endpoint, &h)), 128 + SIGKILL, "%s",
			     quoit_backend_name(test_backends[i]));
		cr_expect_eq(test_take(h.rig.c, &value), 1);
		cr_expect_eq(value, 98);
		cr_expect_eq(test_take(h.rig.c, &value), 1);
		cr_expect_eq(value, 99);
		soon = quoit_deadline_ms(5000);
		cr_expect_eq(quoit_recv(h.rig.c, &value, 8, &msg, &soon), -EOWNERDEAD);
		cr_expect_eq(test_put(h.rig.p, 1), 0, "ours lives");
		cr_expect_eq(test_take(h.rig.c, &value), 1);
		test_rig_close(&h.rig);
	}
}

struct reopener {
	struct quoit *q;
	_Atomic uint32_t stop;
	_Atomic int result;
};

/* The same row each time, and so the same address. */
static void *reopen_with_a_descriptor(void *arg)
{
	struct reopener *o = arg;
	int result = 0;

	while (result >= 0 && !atomic_load(&o->stop)) {
		struct quoit_consumer *c;

		result = quoit_consumer_open(o->q, &c);
		if (result != 0)
			break;
		result = quoit_consumer_fd(c);
		quoit_consumer_close(c);
	}
	atomic_store(&o->result, result);
	return NULL;
}

static int live_for_a_while(void *arg)
{
	(void)arg;
	test_sleep_ms(1000);
	return 0;
}

Test(fork, by_another_thread_leaves_no_copy_of_an_endpoints_descriptors_in_the_child)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct reopener o = {0};
	struct test_ring r;
	pthread_t thread;
	pid_t child[60];

	test_ring_make(&r, QUOIT_SHM, &opt);
	o.q = r.q;
	MUST(pthread_create(&thread, NULL, reopen_with_a_descriptor, &o) == 0);
	for (unsigned i = 0; i < TEST_COUNT(child); i++)
		child[i] = test_spawn(live_for_a_while, NULL);
	atomic_store(&o.stop, 1);
	MUST(pthread_join(thread, NULL) == 0);
	cr_expect_geq(atomic_load(&o.result), 0, "%d: a child keeps the address",
		      atomic_load(&o.result));
	for (unsigned i = 0; i < TEST_COUNT(child); i++)
		cr_expect_eq(test_wait(child[i]), 0);
	test_ring_drop(&r);
}
