/* SPDX-License-Identifier: MIT */
/*
 * Deadlines that pass while a process does not run: what came meanwhile is taken, and not reported
 * as a timeout. A machine that is busy with others stops processes as SIGSTOP does, only not when a
 * test wants it.
 */
#include <criterion/criterion.h>

#include "support.h"

#define DEADLINE_MS 40
#define TRIES       10

TestSuite(stopped, .fini = test_cleanup, .timeout = 120);

struct waiter {
	const char *name;
	enum quoit_wait wait;
	bool producer;
	_Atomic uint32_t *begun, *done;
	_Atomic int32_t *result;
};

static int wait_once(const struct waiter *w, struct quoit_producer *p, struct quoit_consumer *c)
{
	struct timespec deadline = quoit_deadline_ms(DEADLINE_MS);
	struct quoit_msg msg;
	uint64_t value = 0;
	int r;

	/* Some system calls are ended by SIGCONT. */
	do
		r = w->producer ? quoit_send(p, &value, 8, 0, &deadline)
				: quoit_recv(c, &value, 8, &msg, &deadline);
	while (r == -EINTR);
	return r;
}

static int wait_past_deadline(void *arg)
{
	const struct waiter *w = arg;
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(w->name, NULL, &q) == 0);
	if (w->producer) {
		CHILD_CHECK(quoit_producer_open(q, &p) == 0);
		CHILD_CHECK(quoit_producer_set_wait(p, w->wait) == 0);
		while (test_put(p, 1) == 0)
			;
	} else {
		CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
		CHILD_CHECK(quoit_consumer_set_wait(c, w->wait) == 0);
	}
	atomic_store(w->begun, 1);
	atomic_store(w->result, wait_once(w, p, c));
	atomic_store(w->done, 1);
	/* Wait to be killed: closing is news as well. */
	for (;;)
		pause();
}

/* A record, or room, that comes while the other side is stopped and its deadline passes. */
static void give(struct quoit *q, bool room)
{
	struct quoit_producer *p;
	struct quoit_consumer *c;
	uint64_t value;

	if (room) {
		cr_assert_eq(quoit_consumer_open(q, &c), 0);
		while (test_take(c, &value) == 1)
			;
		quoit_consumer_close(c);
	} else {
		cr_assert_eq(quoit_producer_open(q, &p), 0);
		cr_assert_eq(test_put(p, 1), 0);
		quoit_producer_close(p);
	}
}

/* What the wait gave, or 1000 if it was over before the process was stopped. */
static int stopped_wait(enum quoit_kind kind, enum quoit_wait wait, bool producer)
{
	struct quoit_options opt = test_options(kind);
	_Atomic uint32_t *shared = test_shared(4096);
	struct waiter w = {.wait = wait,
			   .producer = producer,
			   .begun = &shared[0],
			   .done = &shared[1],
			   .result = (_Atomic int32_t *)&shared[2]};
	struct test_ring r;
	int status, result = 1000;
	pid_t pid;

	opt.flags = QUOIT_PERSISTENT;
	opt.capacity = 1024;
	opt.slot_size = kind == QUOIT_MPMC ? 8 : 0;
	test_ring_make(&r, QUOIT_SYSV, &opt);
	w.name = r.name;
	pid = test_spawn(wait_past_deadline, &w);
	cr_assert(test_wait_flag(w.begun, 1, 10000));
	test_sleep_ms(5);
	MUST(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid);
	cr_assert(WIFSTOPPED(status), "the child ended with %d", status);
	if (atomic_load(w.done) == 0) {
		test_sleep_ms(DEADLINE_MS + 5);
		give(r.q, producer);
		MUST(kill(pid, SIGCONT) == 0);
		cr_assert(test_wait_flag(w.done, 1, 10000), "%s: hangs", quoit_wait_name(wait));
		result = atomic_load(w.result);
	}
	test_kill(pid);
	munmap((void *)shared, 4096);
	test_ring_drop(&r);
	return result;
}

static void expect_taken(bool producer)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			int result = 1000;

			for (unsigned i = 0; i < TRIES && result == 1000; i++)
				result = stopped_wait(test_kinds[k], test_waits[w], producer);
			cr_expect_eq(result, producer ? 0 : 1, "%s %s: %d",
				     quoit_kind_name(test_kinds[k]), quoit_wait_name(test_waits[w]),
				     result);
		}
	}
}

Test(stopped, consumers_take_what_came_while_their_deadline_passed)
{
	expect_taken(false);
}

Test(stopped, producers_use_the_room_that_came_while_their_deadline_passed)
{
	expect_taken(true);
}
