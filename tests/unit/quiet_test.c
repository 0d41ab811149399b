/* SPDX-License-Identifier: MIT */
/*
 * No system calls while both sides are busy.
 *
 * Within one thread this is exact: a seccomp filter kills the process at the first system call of
 * the data path. Between two processes a tracer counts: either may be preempted and the other then
 * rightly sleep, so a few are allowed.
 */
#include <criterion/criterion.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "support.h"

TestSuite(quiet, .fini = test_cleanup, .timeout = 120);

#define ALLOW(number)                                                                              \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),                                         \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* From here on only leaving is allowed; and the clock, which is a call only without a vDSO. */
static void forbid_system_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(SYS_exit_group),
		ALLOW(SYS_write),
		ALLOW(SYS_clock_gettime),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog program = {TEST_COUNT(filter), filter};

	CHILD_CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	CHILD_CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static void copy_and_peek(struct test_rig *rig, uint64_t i)
{
	struct quoit_msg msg;
	uint64_t value;
	void *payload;

	CHILD_CHECK(quoit_send(rig->p, &i, 8, 0, NULL) == 0);
	CHILD_CHECK(quoit_reserve(rig->p, 8, &payload) == 0);
	memcpy(payload, &i, 8);
	CHILD_CHECK(quoit_commit(rig->p, payload, 8, 0) == 0);
	CHILD_CHECK(quoit_recv(rig->c, &value, 8, &msg, NULL) == 1);
	CHILD_CHECK(value == i);
	CHILD_CHECK(quoit_peek(rig->c, &msg) == 1);
	CHILD_CHECK(quoit_advance(rig->c, &msg) == 0);
}

static void batches(struct test_rig *rig, uint64_t i)
{
	struct quoit_msg msgs[8];
	_Alignas(8) char buf[256];
	int in, out;

	for (unsigned j = 0; j < 8; j++)
		msgs[j] = (struct quoit_msg){.data = &i, .len = 8};
	in = quoit_send_batch(rig->p, msgs, 8, NULL);
	CHILD_CHECK(in > 0);
	out = quoit_peek_batch(rig->c, msgs, 4);
	CHILD_CHECK(out > 0);
	CHILD_CHECK(quoit_advance_batch(rig->c, msgs, (unsigned)out) == 0);
	while (out < in) {
		int n = quoit_recv_batch(rig->c, buf, sizeof(buf), msgs, 8, NULL);

		CHILD_CHECK(n > 0);
		out += n;
	}
	CHILD_CHECK(out == in);
}

/* Never empty, never full: all ways to send and to take, many laps, and finding nothing. */
static int work_without_system_calls(void *arg)
{
	struct test_rig rig;
	uint64_t value;

	CHILD_CHECK(quoit_attach(arg, NULL, &rig.r.q) == 0);
	CHILD_CHECK(quoit_producer_open(rig.r.q, &rig.p) == 0);
	CHILD_CHECK(quoit_consumer_open(rig.r.q, &rig.c) == 0);
	copy_and_peek(&rig, 0);
	CHILD_CHECK(test_put(rig.p, 0) == 0);
	CHILD_CHECK(test_put(rig.p, 0) == 0);
	forbid_system_calls();
	CHILD_CHECK(test_take(rig.c, &value) == 1);
	CHILD_CHECK(test_take(rig.c, &value) == 1);
	for (uint64_t i = 0; i < 50000; i++) {
		copy_and_peek(&rig, i);
		batches(&rig, i);
	}
	_exit(0);
}

Test(quiet, the_data_path_makes_no_system_call)
{
#ifdef QUOIT_SANITIZED
	cr_skip("the sanitizers make system calls of their own");
#endif
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++) {
			struct quoit_options opt = test_options(test_kinds[k]);
			struct test_ring r;
			int code;

			opt.capacity = 4096;
			opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
			opt.wait = test_waits[w];
			test_ring_make(&r, QUOIT_SHM, &opt);
			code = test_wait(test_spawn(work_without_system_calls, r.name));
			cr_expect_eq(code, 0, "%s %s: %d (159: killed by the filter)",
				     quoit_kind_name(test_kinds[k]), quoit_wait_name(test_waits[w]),
				     code);
			test_ring_drop(&r);
		}
	}
}

/* The filter itself bites: else the test above could not fail. */
static int make_a_system_call(void *arg)
{
	(void)arg;
	forbid_system_calls();
	syscall(SYS_getppid);
	_exit(0);
}

Test(quiet, the_filter_of_these_tests_does_kill)
{
	cr_expect_eq(test_wait(test_spawn(make_a_system_call, NULL)), 128 + SIGSYS);
}

/* ---- two processes, traced ------------------------------------------------------------------ */

#define BUSY_RECORDS 1000000u

struct busy {
	const char *name;
	_Atomic uint32_t *ready;
	_Atomic uint32_t *go;
};

static void wait_for_go(struct busy *b)
{
	atomic_fetch_add(b->ready, 1);
	while (atomic_load(b->go) == 0)
		;
}

static int busy_producer(void *arg)
{
	struct busy *b = arg;
	struct quoit_producer *p;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(b->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	wait_for_go(b);
	for (uint64_t i = 0; i < BUSY_RECORDS; i++)
		CHILD_CHECK(quoit_send(p, &i, 8, 0, NULL) == 0);
	quoit_producer_close(p);
	_exit(0);
}

static int busy_consumer(void *arg)
{
	struct busy *b = arg;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	uint64_t value;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(b->name, NULL, &q) == 0);
	CHILD_CHECK(quoit_consumer_open(q, &c) == 0);
	wait_for_go(b);
	for (uint64_t i = 0; i < BUSY_RECORDS; i++) {
		CHILD_CHECK(quoit_recv(c, &value, 8, &msg, NULL) == 1);
		CHILD_CHECK(value == i);
	}
	_exit(0);
}

/* Count the system calls of two seized children until both have left; their exit codes must be 0.
 */
static long count_system_calls(void)
{
	long stops = 0;
	int living = 2;

	while (living > 0) {
		int status, signal = 0;
		pid_t pid = waitpid(-1, &status, __WALL);

		MUST(pid > 0);
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x",
				  (unsigned)status);
			living--;
			continue;
		}
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			stops++;
		else if (status >> 16 == 0)
			signal = WSTOPSIG(status);
		ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal);
	}
	return stops / 2;
}

Test(quiet, two_busy_processes_make_next_to_no_system_calls)
{
	for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options opt = test_options(test_kinds[k]);
		_Atomic uint32_t *shared = test_shared(4096);
		struct test_ring r;
		struct busy b;
		pid_t pids[2];
		long calls;

		opt.capacity = 4u << 20;
		opt.slot_size = test_kinds[k] == QUOIT_MPMC ? 8 : 0;
		test_ring_make(&r, QUOIT_SHM, &opt);
		b = (struct busy){r.name, shared, shared + 32};
		pids[0] = test_spawn(busy_producer, &b);
		pids[1] = test_spawn(busy_consumer, &b);
		cr_assert(test_wait_flag(b.ready, 2, 5000));
		for (unsigned i = 0; i < 2; i++) {
			if (ptrace(PTRACE_SEIZE, pids[i], NULL, (void *)PTRACE_O_TRACESYSGOOD) !=
			    0) {
				test_kill(pids[0]);
				test_kill(pids[1]);
				test_ring_drop(&r);
				cr_skip("may not trace: %s", strerror(errno));
			}
			MUST(ptrace(PTRACE_INTERRUPT, pids[i], NULL, NULL) == 0);
		}
		atomic_store(b.go, 1);
		calls = count_system_calls();
		cr_expect_lt(calls, BUSY_RECORDS / 1000, "%s: %ld calls for %u records",
			     quoit_kind_name(test_kinds[k]), calls, BUSY_RECORDS);
		munmap(shared, 4096);
		test_ring_drop(&r);
	}
}
