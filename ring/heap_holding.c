/* SPDX-License-Identifier: MIT */
/*
 * The units that a producer has, as it knows them itself: private memory, that the table is
 * compared with.
 *
 * In an MPMC ring a producer lends the units in which all is committed, by saying so in the table:
 * it may not come back for a long time to look what has been taken, and others may need the memory
 * meanwhile. Before it hands out a block in such a unit again it takes the unit back. Then either
 * it is its own, in a generation of its own, or it finds that somebody else has freed it.
 */
#include <errno.h>
#include <stdlib.h>

#include "ring/heap.h"

struct mine {
	uint64_t word;   /* as we left it in the table; 0: not ours */
	uint64_t serial; /* of the run or arena that has it */
	uint32_t open;   /* blocks in it that have been handed out, and not committed */
	bool left;       /* by an arena that is no more: to be orphaned, not lent */
};

struct quoit__holding {
	const struct quoit *q;
	uint32_t row;
	uint64_t serial; /* the last that was given out */
	uint64_t arena;  /* that of the arena; 0: there is none */
	bool torn;       /* the arena has lost a unit, and we have claimed it anew */
	bool contradicted;
	struct mine mine[]; /* one for each unit */
};

static uint32_t units_of(const struct quoit__holding *h)
{
	return (uint32_t)(h->q->geo.heap_size / h->q->geo.heap_unit);
}

int quoit__holding_new(const struct quoit *q, uint32_t row, struct quoit__holding **ret)
{
	uint64_t units = q->geo.heap_size / q->geo.heap_unit;
	struct quoit__holding *h = calloc(1, sizeof(*h) + units * sizeof(h->mine[0]));

	if (h == NULL)
		return -ENOMEM;
	h->q = q;
	h->row = row;
	*ret = h;
	return 0;
}

uint64_t quoit__holding_serial(struct quoit__holding *h)
{
	return ++h->serial;
}

uint64_t quoit__holding_arena(struct quoit__holding *h)
{
	h->torn = false;
	return h->arena = quoit__holding_serial(h);
}

bool quoit__holding_torn(const struct quoit__holding *h)
{
	return h->torn;
}

bool quoit__holding_contradicted(const struct quoit__holding *h)
{
	return h->contradicted;
}

/* A word that is not the one that we left there: may that be? */
static bool may_be(const struct mine *m, uint64_t w)
{
	return quoit__unit_state(m->word) == QUOIT__UNIT_LENT &&
	       quoit__unit_generation(w) != quoit__unit_generation(m->word);
}

uint32_t quoit__holding_claim(struct quoit__holding *h, uint64_t serial, uint32_t n, uint32_t *hint)
{
	uint32_t first = quoit__units_claim(h->q, h->row, n, hint);

	for (uint32_t i = first; first != UINT32_MAX && i < first + n; i++) {
		/* Relaxed: nobody but us may change it now. */
		uint64_t w = atomic_load_explicit(&h->q->units[i], memory_order_relaxed);
		struct mine *m = &h->mine[i];

		h->contradicted |= quoit__unit_state(w) != QUOIT__UNIT_OWNED ||
				   (m->word != 0 && !may_be(m, w));
		/* The arena may still take it for its own, with blocks in it. */
		h->torn |= m->word != 0 && m->serial == h->arena;
		*m = (struct mine){.word = w, .serial = serial};
	}
	if (first == UINT32_MAX || !h->torn || serial != h->arena)
		return first;
	quoit__holding_free(h, serial, first, n);
	return UINT32_MAX;
}

/* Change the word of a unit of ours. False: it is ours no more. That may be so only if we had lent
 * it, and if it has been freed since. */
static bool turn(struct quoit__holding *h, uint32_t i, uint64_t to, memory_order order)
{
	struct mine *m = &h->mine[i];
	uint64_t w = m->word;

	if (atomic_compare_exchange_strong_explicit(&h->q->units[i], &w, to, order,
						    memory_order_relaxed)) {
		m->word = to;
		return true;
	}
	h->contradicted |= !may_be(m, w);
	*m = (struct mine){0};
	return false;
}

static bool take_back(struct quoit__holding *h, uint32_t i)
{
	uint64_t w = h->mine[i].word;

	/* Acquire, release: none is needed. Who frees it does so by the word of the generation
	 * before, which either comes first or fails. */
	return quoit__unit_state(w) == QUOIT__UNIT_OWNED ||
	       turn(h, i, quoit__unit_next(w, QUOIT__UNIT_OWNED, h->row), memory_order_relaxed);
}

/* The last open block of it is closed. */
static void let_go(struct quoit__holding *h, uint32_t i)
{
	uint64_t w = h->mine[i].word;

	if (h->mine[i].left) {
		/* H2: what we committed there can be seen; pairs with the sweep. */
		(void)turn(h, i, quoit__unit_word(w, QUOIT__UNIT_ORPHAN, h->row),
			   memory_order_release);
		h->mine[i] = (struct mine){0};
	} else if (h->q->geo.kind == QUOIT_MPMC) {
		/* H2: as above. In an SPSC ring there is nobody else to need it. */
		(void)turn(h, i, quoit__unit_word(w, QUOIT__UNIT_LENT, h->row),
			   memory_order_release);
	}
}

static void close_one(struct quoit__holding *h, uint32_t i)
{
	if (h->mine[i].open != 0 && --h->mine[i].open == 0)
		let_go(h, i);
}

bool quoit__holding_open(struct quoit__holding *h, uint64_t serial, uint64_t offset, uint32_t len)
{
	uint64_t unit = h->q->geo.heap_unit;
	uint32_t first = (uint32_t)(offset / unit);
	uint32_t last = (uint32_t)((offset + (len != 0 ? len - 1 : 0)) / unit);

	for (uint32_t i = first; i <= last; i++) {
		struct mine *m = &h->mine[i];

		if (m->word == 0 || m->serial != serial || !take_back(h, i)) {
			while (i-- != first)
				close_one(h, i);
			return false;
		}
		m->open++;
	}
	return true;
}

void quoit__holding_lend(struct quoit__holding *h, uint64_t offset, uint32_t len)
{
	uint64_t unit = h->q->geo.heap_unit;
	uint32_t last = (uint32_t)((offset + (len != 0 ? len - 1 : 0)) / unit);

	for (uint32_t i = (uint32_t)(offset / unit); i <= last; i++)
		close_one(h, i);
}

void quoit__holding_free(struct quoit__holding *h, uint64_t serial, uint32_t first, uint32_t n)
{
	for (uint32_t i = first; i < first + n; i++) {
		struct mine *m = &h->mine[i];

		if (m->word == 0 || m->serial != serial)
			continue; /* others freed it, and maybe we have claimed it since */
		/* H1: we have done with it, and so have those who read there. */
		(void)turn(h, i, quoit__unit_next(m->word, QUOIT__UNIT_FREE, 0),
			   memory_order_release);
		*m = (struct mine){0};
	}
}

void quoit__holding_orphan(struct quoit__holding *h, uint64_t serial)
{
	for (uint32_t i = 0; i < units_of(h); i++) {
		if (h->mine[i].word == 0 || h->mine[i].serial != serial)
			continue;
		h->mine[i].left = true;
		if (h->mine[i].open == 0)
			let_go(h, i);
	}
}
