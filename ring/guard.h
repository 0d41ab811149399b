/* SPDX-License-Identifier: MIT */
/*
 * Mappings whose file may be cut off under us. Every mapping of a file is entered in a table; once
 * quoit_guard() has been called, a SIGBUS in one of them is turned into an error.
 */
#ifndef QUOIT_GUARD_H
#define QUOIT_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct quoit__guarded;

/* An entry, for a mapping to come; NULL: out of memory. */
struct quoit__guarded *quoit__guard_new(void);
/* From here on it stands for [base, base + size). */
void quoit__guard_set(struct quoit__guarded *g, void *base, uint64_t size, bool writable);
/* Before the mapping goes. NULL is allowed. */
void quoit__guard_drop(struct quoit__guarded *g);
/* Have these bytes been lost, and private zeros been put in their place? NULL is allowed. */
bool quoit__guard_lost(const struct quoit__guarded *g);

/* ring/endpoint_list.c, called by the signal handler: the endpoints in this mapping are of no more
 * use. */
void quoit__endpoints_lost(const unsigned char *base);

#endif
