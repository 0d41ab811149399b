/* SPDX-License-Identifier: MIT */
/*
 * The two clocks of the benchmarks. Intervals are timed by CLOCK_MONOTONIC; single operations,
 * where its 20 ns would be a good part of the figure, by the processor's own counter, which is
 * calibrated against CLOCK_MONOTONIC once at the start.
 */
#ifndef PERF_CLOCK_H
#define PERF_CLOCK_H

#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

extern double perf_ticks_per_ns; /* set by perf_clock_start() */
void perf_clock_start(void);

static inline uint64_t perf_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t perf_ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return perf_now_ns();
#endif
}

static inline void perf_cpu_pause(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#ifdef __cplusplus
}
#endif

#endif
