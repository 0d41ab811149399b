/* SPDX-License-Identifier: MIT */
/* What users ask for, made into what a ring's header says. */
#ifndef QUOIT_PLAN_H
#define QUOIT_PLAN_H

#include "ring/ring.h"

/* Options may come from callers built against a shorter or a longer struct. */
int quoit__options_read(const struct quoit_options *opt, struct quoit_options *ret);
/* The header of a ring with these options, whose defaults are filled in; heap is all zero where it
 * has none. -EINVAL, -EIO: no random numbers. */
int quoit__plan_ring(const struct quoit__name *name, struct quoit_options *o,
		     struct quoit__header *h, struct quoit__heap_header *heap);

#endif
