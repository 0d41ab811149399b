/* SPDX-License-Identifier: MIT */
/* What rows (ring/peers.c), their reaping (ring/reap.c) and the process's own list share. */
#ifndef QUOIT_PEERS_H
#define QUOIT_PEERS_H

#include "ring/ring.h"

/* ring/endpoint_list.c: opens the endpoint's lock and enters it. 0 or -errno. */
int quoit__endpoint_list_add(struct quoit__endpoint *e);
void quoit__endpoint_list_remove(struct quoit__endpoint *e);
/* The descriptors that an endpoint on the list sleeps on, in place of one that only wakes; and
 * either of them gone. 0, or as sync_pollable_new(). */
int quoit__pollable_make(struct quoit__endpoint *e);
void quoit__pollable_drop(struct quoit__endpoint *e);

/* ring/reap.c: note how somebody left. */
void quoit__leave(_Atomic uint32_t *word, enum quoit__stream how);
/* The caller holds the row's lock and the row is in use: its holder is dead. Idempotent: the row is
 * freed last. Returns how many records went back to be delivered again. */
unsigned quoit__reap_row(struct quoit *q, uint32_t id);

#endif
