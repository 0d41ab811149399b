/* SPDX-License-Identifier: MIT */
/* iceoryx's daemon, which Debian packages as a library only. */
#ifndef PERF_ICEORYX_H
#define PERF_ICEORYX_H

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Start a RouDi in a child process. Its pid, or a negative errno. End it with SIGTERM. */
pid_t perf_iceoryx_roudi(void);

#ifdef __cplusplus
}
#endif

#endif
