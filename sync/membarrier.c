/* SPDX-License-Identifier: MIT */
/*
 * The asymmetric fence: publishers get by with a compiler barrier, because who is about to sleep
 * makes every registered process execute a full one, by membarrier(2). GLOBAL_EXPEDITED is the only
 * command that reaches other processes without waiting for an RCU grace period of milliseconds.
 *
 * No state is kept about the registration: the kernel keeps it per address space, a second one
 * costs one short system call, and there is nothing to get wrong after fork() or exec().
 */
#include <stdatomic.h>
#include <unistd.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>

#include "sync/backend.h"

/* Set once membarrier has failed, for good: system call filters are never lifted. */
static atomic_bool blind;

static bool membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) == 0;
}

bool sync_membarrier_register(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED);
}

bool sync_membarrier(void)
{
	if (membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED))
		return true;
	/* Relaxed: read by the sleep that follows in this thread; for others it is a hint. */
	atomic_store_explicit(&blind, true, memory_order_relaxed);
	return false;
}

int64_t sync_nap(int64_t nap_ns)
{
	if (nap_ns < 0)
		return 0;
	if (nap_ns > SYNC_BLIND_NAP_NS && atomic_load_explicit(&blind, memory_order_relaxed))
		return SYNC_BLIND_NAP_NS;
	return nap_ns;
}
