/* SPDX-License-Identifier: MIT */
/*
 * What is peculiar to single waiting backends, and to membarrier: tokens, values, tampering,
 * removal, exhaustion, system call filters.
 */
#include "unit/sync_support.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/membarrier.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

TestSuite(membarrier, .init = set_up, .fini = tear_down, .timeout = 60);
TestSuite(sleep, .init = set_up, .fini = tear_down, .timeout = 60);

Test(sleep, by_a_backend_that_fails_is_a_short_nap)
{
	struct sync_event none = event;
	int64_t start = now_ns();

	none.sysv_id = -1;
	for (int i = 0; i < 5; i++)
		cr_assert_eq(sync_sleep(&none, SYNC_SYSVSEM, 1, LONG_NAP, NULL), -ETIMEDOUT);
	cr_assert_geq(now_ns() - start, 5 * SYNC_BLIND_NAP_NS);
	cr_assert_lt(now_ns() - start, LONG_NAP / 2);
}

/* ---- POSIX semaphore ------------------------------------------------------------------------ */

Test(sleep, on_a_semaphore_drops_stale_tokens)
{
	uint32_t seq;
	int64_t start;

	seq = sync_announce(&event, SYNC_SEM);
	for (int i = 0; i < 10; i++)
		sem_post(&shared->sem[seq & 1]);
	start = now_ns();
	cr_assert_eq(sync_sleep(&event, SYNC_SEM, seq, SHORT_NAP, NULL), -ETIMEDOUT);
	cr_assert_geq(now_ns() - start, SHORT_NAP);
	cr_assert_eq(sem_value(), 0);
}

Test(sleep, on_a_semaphore_gets_no_more_tokens_than_can_sleep)
{
	for (int i = 0; i < 10; i++) {
		sync_announce(&event, SYNC_SEM);
		cr_assert(wake(3));
		cr_assert_eq(sem_value(), 3);
	}
}

Test(sleep, on_a_semaphore_that_was_tampered_with_does_not_hang)
{
	uint32_t seq = sync_announce(&event, SYNC_SEM);

	for (int i = 0; i < 2; i++) {
		sem_destroy(&shared->sem[i]);
		cr_assert_eq(sem_init(&shared->sem[i], 1, SEM_VALUE_MAX), 0);
	}
	cr_assert_eq(sync_sleep(&event, SYNC_SEM, seq, LONG_NAP, NULL), 0, "a spurious return");
	cr_assert(wake(UINT32_MAX), "and a wake comes to its end");
}

/* ---- System V semaphore --------------------------------------------------------------------- */

static int sysv_value(void)
{
	return semctl(event.sysv_id, (int)event.sysv_index, GETVAL);
}

Test(sleep, on_a_system_v_semaphore_leaves_no_token_behind)
{
	pid_t pids[3];

	for (uint32_t i = 0; i < 3; i++)
		pids[i] = start_sleeper(SYNC_SYSVSEM, i);
	await_sleepers(3);
	atomic_store(&shared->published, 1);
	cr_assert(wake(3));
	for (int i = 0; i < 3; i++)
		cr_assert_eq(exit_status(pids[i]), 0);
	cr_assert_eq(sync_sleep(&event, SYNC_SYSVSEM, sequence(), SHORT_NAP, NULL), -ETIMEDOUT);
}

Test(sleep, on_a_system_v_semaphore_survives_more_wakes_than_its_largest_value)
{
	for (int i = 0; i < 70000; i++) {
		sync_announce(&event, SYNC_SYSVSEM);
		cr_assert(wake(1));
		/* Now and then a sleep, which takes the value down again; the first one late. */
		if (i >= 40000 && i % 1000 == 0)
			cr_assert_eq(sync_sleep(&event, SYNC_SYSVSEM, sequence(), 1, NULL),
				     -ETIMEDOUT);
	}
	cr_assert_lt(sysv_value(), 20000);
}

Test(sleep, on_a_system_v_semaphore_is_woken_on_both_sides_of_its_wrap)
{
	for (int value = 16380; value <= 16390; value++) {
		pid_t pid;

		atomic_store(&shared->announced, 0);
		atomic_store(&shared->published, 0);
		cr_assert_eq(semctl(event.sysv_id, 1, SETVAL, value), 0);
		pid = start_sleeper(SYNC_SYSVSEM, 0);
		await_sleepers(1);
		atomic_store(&shared->published, 1);
		cr_assert(wake(1));
		cr_assert_eq(exit_status(pid), 0);
		cr_assert_leq(sysv_value(), 16384);
	}
}

Test(sleep, on_a_system_v_semaphore_ends_when_the_set_is_removed)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		uint32_t seq = sync_announce(&event, SYNC_SYSVSEM);

		atomic_fetch_add(&shared->announced, 1);
		_exit(sync_sleep(&event, SYNC_SYSVSEM, seq, LONG_NAP, NULL) == -EIDRM ? 0 : 1);
	}
	await_sleepers(1);
	cr_assert_eq(semctl(event.sysv_id, 0, IPC_RMID), 0);
	cr_assert_eq(exit_status(pid), 0);
	cr_assert_eq(sync_sleep(&event, SYNC_SYSVSEM, sequence(), LONG_NAP, NULL), -EIDRM);
	cr_assert(wake(1), "and a waker does not mind");
}

/* ---- membarrier ----------------------------------------------------------------------------- */

Test(membarrier, registration_for_membarrier_holds_in_a_child)
{
	enum { GET_REGISTRATIONS = 1 << 9 }; /* Linux 6.3, newer than our headers */
	pid_t pid;

	cr_assert(sync_membarrier_register());
	cr_assert(sync_membarrier_register());
	cr_assert(sync_membarrier());
	if (syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0) < 0)
		cr_skip_test("this kernel does not tell registrations");
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		long mine = syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0);

		_exit((mine & MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) != 0 ? 0 : 1);
	}
	cr_assert_eq(exit_status(pid), 0);
}

/* membarrier() fails with EPERM from now on, as under a container's filter. */
static void forbid_membarrier(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(99);
}

/* With nobody to wake it, but for a publisher that has not seen the announcement. */
static int nap_blindly(enum sync_backend backend)
{
	struct sync_pollable *p = make_pollable(backend, 3);
	int64_t start = now_ns();
	uint32_t seq;

	forbid_membarrier();
	if (sync_membarrier_register() || sync_membarrier())
		return 1;
	seq = sync_announce(&event, backend);
	if (!sync_announced(atomic_load(&shared->word)))
		return 2;
	if (sync_sleep(&event, backend, seq, LONG_NAP, p) != -ETIMEDOUT)
		return 3;
	if (p != NULL &&
	    (sync_pollable_arm(p, LONG_NAP) != 0 || sync_pollable_wait(p, LONG_NAP) != -ETIMEDOUT))
		return 4;
	return now_ns() - start < LONG_NAP / 2 ? 0 : 5;
}

EACH_BACKEND(is_a_short_nap_where_membarrier_is_forbidden)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(nap_blindly(*backend));
	cr_assert_eq(exit_status(pid), 0);
}
