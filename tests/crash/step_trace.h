/* SPDX-License-Identifier: MIT */
/*
 * Getting a process to an instruction. One run is stepped through from the marked start to the
 * operation's return, and the address of every instruction noted. A later run is brought to
 * instruction k by a hardware breakpoint on the latest instruction before k that had not been
 * executed earlier, and by single steps from there: a handful of stops instead of k of them. All
 * runs are forks of one process, so addresses are the same in all, those of libc and the vdso too.
 */
#ifndef QUOIT_TESTS_STEP_TRACE_H
#define QUOIT_TESTS_STEP_TRACE_H

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>

#include "tests/crash/step.h"

#define STEPS_MAX  400000u
#define TICK_US    2000
#define HANG_TICKS 2500 /* 5 s */

struct trace {
	uint64_t ip[STEPS_MAX]; /* of instruction k, before it is executed */
	uint32_t nth[STEPS_MAX];
	uint32_t n;
	uint32_t visits[1u << 16]; /* while tracing: times seen, by a hash of the address */
	uint64_t address[1u << 16];
};

enum stop {
	STOPPED,  /* as wanted */
	RETURNED, /* the operation has returned */
	ASLEEP,   /* in a system call that does not return */
	BROKEN,   /* a signal of its own, or an exit */
	HANGS,
};

static inline void on_tick(int signal)
{
	(void)signal;
}

/* Interrupt our waitpid() now and then, to see whether the victim sleeps. */
static inline void ticks(bool on)
{
	struct itimerval t = {{0, on ? TICK_US : 0}, {0, on ? TICK_US : 0}};
	struct sigaction sa = {.sa_handler = on_tick};

	if (on)
		MUST(sigaction(SIGALRM, &sa, NULL) == 0);
	MUST(setitimer(ITIMER_REAL, &t, NULL) == 0);
}

static inline char process_state(pid_t pid)
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

/* After a resume: until it stops, sleeps, or is done. */
static inline enum stop wait_stop(pid_t pid, const struct ledger *l)
{
	int status, asleep = 0;

	for (int tick = 0; waitpid(pid, &status, 0) != pid; tick++) {
		MUST(errno == EINTR);
		asleep = process_state(pid) == 'S' ? asleep + 1 : 0;
		if (asleep == 2)
			return ASLEEP;
		if (tick == HANG_TICKS)
			return HANGS;
	}
	if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
		return BROKEN;
	return atomic_load_explicit(&l->returned, memory_order_acquire) ? RETURNED : STOPPED;
}

static inline enum stop step(pid_t pid, const struct ledger *l)
{
	MUST(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
	return wait_stop(pid, l);
}

static inline uint64_t instruction_pointer(pid_t pid)
{
	long ip;

	errno = 0;
	ip = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL);
	MUST(errno == 0);
	return (uint64_t)ip;
}

static inline void breakpoint(pid_t pid, uint64_t address)
{
	size_t dr = offsetof(struct user, u_debugreg);

	if (address != 0)
		MUST(ptrace(PTRACE_POKEUSER, pid, dr, address) == 0);
	MUST(ptrace(PTRACE_POKEUSER, pid, dr + 7 * sizeof(long), address != 0 ? 1 : 0) == 0);
}

/* The how-manieth visit of this address is it? */
static inline uint32_t count_visit(struct trace *t, uint64_t ip)
{
	uint32_t slot = (uint32_t)(test_mix(ip) & 0xffff);

	while (t->address[slot] != 0 && t->address[slot] != ip)
		slot = (slot + 1) & 0xffff;
	t->address[slot] = ip;
	return ++t->visits[slot];
}

/* What to do about a sleeping victim; false: leave it. */
typedef bool wake_fn(void *arg);

/* Wait on, waking the victim once if it sleeps. */
static inline enum stop wait_awake(pid_t pid, const struct ledger *l, enum stop s, wake_fn *wake,
				   void *arg)
{
	return s == ASLEEP && wake != NULL && wake(arg) ? wait_stop(pid, l) : s;
}

/* Let a victim that stands at an instruction finish its operation. */
static inline enum stop go_on(pid_t pid, const struct ledger *l)
{
	enum stop s;

	ticks(true);
	breakpoint(pid, 0);
	MUST(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
	s = wait_stop(pid, l);
	ticks(false);
	return s;
}

/* Step through the whole operation. RETURNED, or why not. */
static inline enum stop trace_all(struct trace *t, pid_t pid, const struct ledger *l, wake_fn *wake,
				  void *arg)
{
	enum stop s = STOPPED;

	memset(t->address, 0, sizeof(t->address));
	memset(t->visits, 0, sizeof(t->visits));
	for (t->n = 0; s == STOPPED && t->n < STEPS_MAX; t->n++) {
		t->ip[t->n] = instruction_pointer(pid);
		t->nth[t->n] = count_visit(t, t->ip[t->n]);
		s = wait_awake(pid, l, step(pid, l), wake, arg);
	}
	return s;
}

/*
 * Bring a victim that stands at the marked start to instruction k of the trace. Where the path
 * is not the same every time (it spins for a while), only k with nth[k] == 1 are asked for.
 */
static inline enum stop go_to(const struct trace *t, pid_t pid, const struct ledger *l, uint32_t k,
			      wake_fn *wake, void *arg)
{
	uint32_t from = k, hits;
	enum stop s = STOPPED;

	if (k == 0)
		return STOPPED;
	while (from > 0 && t->nth[from] != 1)
		from--;
	/* Straight to it, if that is less than stepping. */
	if (from != k && t->nth[k] <= k - from)
		from = k;
	hits = from == 0 ? 0 : t->nth[from];
	if (hits != 0) {
		breakpoint(pid, t->ip[from]);
		for (; hits != 0 && s == STOPPED; hits--) {
			MUST(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
			s = wait_awake(pid, l, wait_stop(pid, l), wake, arg);
		}
		if (s == STOPPED)
			breakpoint(pid, 0);
	}
	for (; s == STOPPED && from < k; from++)
		s = wait_awake(pid, l, step(pid, l), wake, arg);
	return s;
}

#endif
