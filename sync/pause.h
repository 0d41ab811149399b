/* SPDX-License-Identifier: MIT */
/* A hint to the processor that this thread spins. */
#ifndef SYNC_PAUSE_H
#define SYNC_PAUSE_H

static inline void sync_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
