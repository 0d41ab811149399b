/* SPDX-License-Identifier: MIT */
/*
 * Getting a process to an instruction. One run is stepped through from the marked start to the
 * operation's return, and the address of every instruction noted. A later run is brought to
 * instruction k by a hardware breakpoint on the latest instruction before k that had not been
 * executed earlier, and by single steps from there: a handful of stops instead of k of them. All
 * runs are forks of one process, so addresses are the same in all, those of libc and the vdso too.
 *
 * An instruction that repeats itself (rep stos, thousands of times where memory is cleared) stops a
 * single step after every turn, but a breakpoint only once. Its first turns count as instructions
 * of their own, the others do not.
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
#define TURNS_KEPT 4u
#define TURN       UINT32_MAX /* as nth: a later turn of the instruction before */
#define LOOK_BACK  64u        /* for the best place for a breakpoint */

struct trace {
	uint64_t ip[STEPS_MAX];  /* of instruction k, before it is executed */
	uint32_t nth[STEPS_MAX]; /* the how-manieth visit of that address */
	uint32_t n;
	uint32_t visits[1u << 16]; /* while tracing: times seen, by a hash of the address */
	uint64_t address[1u << 16];
};

enum stop {
	STOPPED,  /* as wanted */
	STRAYED,  /* elsewhere: this time the path is another */
	RETURNED, /* the operation has returned */
	ASLEEP,   /* in a system call that does not return */
	BROKEN,   /* a signal of its own, or an exit */
	HANGS,
};

/* So many ticks in a row in a system call are a sleep. Operations that may nap for a moment, and go
 * on by themselves, are given longer than that. */
#define ASLEEP_TICKS 2
#define LOST_TICKS   10  /* a nap in vain lasts 25 */
#define NAP_TICKS    250 /* half a second */
static int asleep_ticks = ASLEEP_TICKS;

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

/* After a resume: until it stops, sleeps, or is done. */
static inline enum stop wait_stop(pid_t pid, const struct ledger *l)
{
	int status, asleep = 0;

	for (int tick = 0; waitpid(pid, &status, 0) != pid; tick++) {
		MUST(errno == EINTR);
		asleep = test_process_state(pid) == 'S' ? asleep + 1 : 0;
		if (asleep == asleep_ticks)
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
	uint32_t turns = 0;

	memset(t->address, 0, sizeof(t->address));
	memset(t->visits, 0, sizeof(t->visits));
	for (t->n = 0; s == STOPPED && t->n < STEPS_MAX;) {
		uint64_t ip = instruction_pointer(pid);
		bool again = t->n != 0 && t->ip[t->n - 1] == ip;

		turns = again ? turns + 1 : 1;
		if (turns <= TURNS_KEPT) {
			t->ip[t->n] = ip;
			t->nth[t->n++] = again ? TURN : count_visit(t, ip);
		}
		s = wait_awake(pid, l, step(pid, l), wake, arg);
	}
	return s;
}

/* From instruction i of the trace to the next one. */
static inline enum stop step_on(const struct trace *t, pid_t pid, const struct ledger *l,
				uint32_t i)
{
	enum stop s = step(pid, l);

	while (s == STOPPED && t->nth[i] == TURN && t->ip[i + 1] != t->ip[i] &&
	       instruction_pointer(pid) == t->ip[i])
		s = step(pid, l);
	return s;
}

/* How often the address of instruction j is met after instruction `from`, up to j. */
static inline uint32_t meetings(const struct trace *t, uint32_t from, uint32_t j)
{
	uint32_t n = 0;

	for (uint32_t i = from + 1; i <= j; i++)
		n += t->ip[i] == t->ip[j] && t->nth[i] != TURN;
	return n;
}

/* Standing at instruction `from`, the way to k with the fewest stops: so many meetings with the
 * address of a later one, and steps from there. */
static inline uint32_t best_meeting(const struct trace *t, uint32_t from, uint32_t k,
				    uint32_t *ret_meetings)
{
	uint32_t best = k - from, at = from;

	*ret_meetings = 0;
	for (uint32_t j = k; j > from && k - j < best && k - j < LOOK_BACK; j--) {
		uint32_t n = t->nth[j] == TURN ? UINT32_MAX / 2 : meetings(t, from, j);

		if (n + (k - j) < best) {
			best = n + (k - j);
			at = j;
			*ret_meetings = n;
		}
	}
	return at;
}

/* On to the address for the hits-th time. */
static inline enum stop run_to(uint64_t address, uint32_t hits, pid_t pid, const struct ledger *l,
			       wake_fn *wake, void *arg)
{
	enum stop s = STOPPED;

	if (hits == 0)
		return STOPPED;
	breakpoint(pid, address);
	for (; hits != 0 && s == STOPPED; hits--) {
		MUST(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
		s = wait_awake(pid, l, wait_stop(pid, l), wake, arg);
	}
	if (s == STOPPED)
		breakpoint(pid, 0);
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
	enum stop s;

	while (from > 0 && t->nth[from] != 1)
		from--;
	s = run_to(t->ip[from], from != 0, pid, l, wake, arg);
	from = s == STOPPED ? best_meeting(t, from, k, &hits) : from;
	if (s == STOPPED)
		s = run_to(t->ip[from], hits, pid, l, wake, arg);
	for (; s == STOPPED && from < k; from++)
		s = wait_awake(pid, l, step_on(t, pid, l, from), wake, arg);
	return s == STOPPED && instruction_pointer(pid) != t->ip[k] ? STRAYED : s;
}

#endif
