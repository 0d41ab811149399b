/* SPDX-License-Identifier: MIT */
/*
 * The canary: a cache line thrown to and fro between the first two processors for a few
 * milliseconds. On a virtual machine the processors may be neighbours now and on different core
 * complexes a minute later; nothing else tells. A partner process sleeps on a futex in between, so
 * that it costs the measured interval nothing.
 */
#include "perf/measure.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANARY_BURSTS 8
#define CANARY_TRIPS  1000

struct canary {
	alignas(128) _Atomic uint32_t wanted; /* futex: number of canaries asked for */
	alignas(128) _Atomic uint64_t there;
	alignas(128) _Atomic uint64_t back;
};

static struct canary *canary;
static pid_t partner;

double perf_ticks_per_ns = 1;

void perf_clock_start(void)
{
	uint64_t n0 = perf_now_ns(), t0 = perf_ticks(), n1;

	do
		n1 = perf_now_ns();
	while (n1 - n0 < 20000000);
	perf_ticks_per_ns = (double)(perf_ticks() - t0) / (double)(n1 - n0);
}

void perf_pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Fails only for a processor that is not there; main has looked. */
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		_exit(2);
}

void perf_unpin(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned i = 0; i < perf_config.cpus; i++)
		CPU_SET(perf_config.cpu[i], &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		_exit(2);
}

void *perf_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static _Noreturn void partner_main(void)
{
	uint64_t seen = 0;
	uint32_t served = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	perf_pin(perf_config.cpu[1]);
	for (;;) {
		while (atomic_load_explicit(&canary->wanted, memory_order_acquire) == served)
			syscall(SYS_futex, &canary->wanted, FUTEX_WAIT, served, NULL, NULL, 0);
		served++;
		for (int i = 0; i < CANARY_BURSTS * CANARY_TRIPS; i++) {
			uint64_t v;

			while ((v = atomic_load_explicit(&canary->there, memory_order_acquire)) ==
			       seen)
				;
			seen = v;
			atomic_store_explicit(&canary->back, v, memory_order_release);
		}
	}
}

int perf_measure_start(void)
{
	if (perf_config.cpus < 2 || perf_config.cpu[0] == perf_config.cpu[1])
		return 0;
	canary = perf_shared(sizeof(*canary));
	if (canary == NULL)
		return -errno;
	partner = fork();
	if (partner < 0)
		return -errno;
	if (partner == 0)
		partner_main();
	perf_pin(perf_config.cpu[0]);
	return 0;
}

void perf_measure_stop(void)
{
	if (partner > 0) {
		kill(partner, SIGKILL);
		waitpid(partner, NULL, 0);
		partner = 0;
	}
}

double perf_canary(void)
{
	static uint64_t count;
	double best = 1e9;

	if (canary == NULL)
		return 0;
	atomic_fetch_add_explicit(&canary->wanted, 1, memory_order_release);
	syscall(SYS_futex, &canary->wanted, FUTEX_WAKE, 1, NULL, NULL, 0);
	for (int burst = 0; burst < CANARY_BURSTS; burst++) {
		uint64_t t0 = perf_ticks();
		double ns;

		for (int i = 0; i < CANARY_TRIPS; i++) {
			atomic_store_explicit(&canary->there, ++count, memory_order_release);
			while (atomic_load_explicit(&canary->back, memory_order_acquire) != count)
				;
		}
		ns = (double)(perf_ticks() - t0) / perf_ticks_per_ns / (2 * CANARY_TRIPS);
		if (ns < best)
			best = ns;
	}
	return best;
}

enum perf_placement perf_placement(double before, double after)
{
	double low = before < after ? before : after, high = before < after ? after : before;

	if (high < perf_config.near_ns)
		return PERF_NEAR;
	/* Half as much again is more than one place scatters by. */
	return low >= perf_config.near_ns && high < 1.5 * low ? PERF_FAR : PERF_UNSTEADY;
}

const char *perf_placement_name(enum perf_placement placement)
{
	static const char *const names[] = {"near", "far", "unsteady"};

	return names[placement];
}
