/* SPDX-License-Identifier: MIT */
/* The MPMC ring, writing: claim a slot, fill it, commit; and a new place for what was voided. */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/slot.h"

/* The common case of quoit__mpmc_walk(), without its detours: the slot at our ticket is free. Gives
 * the ticket's turn, too; NULL: walk. */
static inline struct quoit__slot *claim_next(struct quoit_producer *p, uint64_t *ret_turn)
{
	const struct quoit *q = p->ep.ring;
	uint64_t ticket = p->ticket, turn = quoit__turn(&q->geo, ticket);
	struct quoit__slot *slot = quoit__slot_at(q, ticket);
	/* M2: pairs with the release by the last reader. */
	uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire);

	if (QUOIT__UNLIKELY(w != quoit__word(turn, QUOIT__FREE, 0)))
		return NULL;
	quoit__fetch_own(quoit__slot_at(q, ticket + QUOIT__AHEAD));
	if (QUOIT__UNLIKELY(!atomic_compare_exchange_strong_explicit(
		    &slot->word, &w, quoit__word(turn, QUOIT__WRITING, p->ep.id),
		    memory_order_acq_rel, memory_order_relaxed)))
		return NULL;
	p->ticket = ticket + 1;
	if (QUOIT__UNLIKELY((ticket + 1) % 16 == 0))
		quoit__help(&q->control->tail, ticket + 1);
	*ret_turn = turn;
	return slot;
}

static int claim(struct quoit_producer *p, struct quoit__claim *ret)
{
	uint64_t turn;
	struct quoit__slot *slot = claim_next(p, &turn);

	if (slot == NULL)
		return quoit__mpmc_walk(p, NULL, ret);
	ret->slot = slot;
	ret->ticket = p->ticket - 1;
	return 0;
}

/* After a commit: counters, and whoever sleeps. */
static inline void committed(struct quoit_producer *p, uint64_t n, uint64_t len)
{
	struct quoit__producer_hot *h = &p->hot;
	struct quoit__line *line = h->line;
	uint64_t records = h->records + n, bytes = h->bytes + len, ticket = p->ticket;

	h->records = records;
	h->bytes = bytes;
	__atomic_store_n(&line->position, ticket, __ATOMIC_RELAXED);
	__atomic_store_n(&line->records, records, __ATOMIC_RELAXED);
	__atomic_store_n(&line->bytes, bytes, __ATOMIC_RELAXED);
	if (h->fence)
		atomic_thread_fence(memory_order_seq_cst); /* E1 */
	else
		atomic_signal_fence(memory_order_seq_cst);
	if (QUOIT__UNLIKELY(
		    sync_announced(atomic_load_explicit(p->ep.wakes->word, memory_order_relaxed))))
		quoit__wake_consumers(p);
}

/* Give up a slot of ours, WRITING or VOIDW: free for the lap after the one its word is at. */
static void free_own(struct quoit_producer *p, struct quoit__slot *slot)
{
	const struct quoit__geometry *g = &p->ep.ring->geo;
	uint64_t w = atomic_load_explicit(&slot->word, memory_order_relaxed);

	while (quoit__owner(w) == p->ep.id && quoit__steppable(w, true)) {
		uint64_t to =
			quoit__word(quoit__next_turn(g, quoit__word_turn(g, w)), QUOIT__FREE, 0);

		if (atomic_compare_exchange_weak_explicit(&slot->word, &w, to, memory_order_release,
							  memory_order_relaxed))
			break;
	}
}

/* WRITING -> COMMITTED, unless somebody had to step over it. */
static bool commit_in_place(struct quoit_producer *p, const struct quoit__claim *claim)
{
	const struct quoit__geometry *g = &p->ep.ring->geo;
	uint64_t turn = quoit__turn(g, claim->ticket);
	uint64_t w = quoit__word(turn, QUOIT__WRITING, p->ep.id);

	/* M1: publishes payload and descriptor; pairs with the taker's load. */
	return atomic_compare_exchange_strong_explicit(&claim->slot->word, &w,
						       quoit__word(turn, QUOIT__COMMITTED, 0),
						       memory_order_release, memory_order_relaxed);
}

/* An upper bound of the ticket at which our record in `slot` was published: the slot's word w may
 * have moved on since; to be where it is now, it must have been a lap earlier at most. */
static uint64_t published_at(const struct quoit_producer *p, const struct quoit__claim *claim,
			     uint64_t w)
{
	const struct quoit__geometry *g = &p->ep.ring->geo;
	int64_t laps = quoit__laps_ahead(g, w, claim->ticket) >> g->turn_shift;

	switch (quoit__phase(w)) {
	case QUOIT__COMMITTED:
	case QUOIT__READING:
	case QUOIT__VOIDR:
		break;
	default: /* used again, or free for it */
		laps--;
	}
	return claim->ticket + ((uint64_t)laps << g->slots_log2);
}

/*
 * A new ticket for a finished record whose ticket was voided, or lies before the one that an
 * earlier record of ours has moved to (that one is read first). It stays in its slot, PENDING,
 * until a producer comes to the slot's next ticket. 0; -EAGAIN: full, the slot stays ours;
 * -EBADMSG.
 */
static int republish(struct quoit_producer *p, struct quoit__claim *claim, uint32_t len)
{
	const struct quoit__geometry *g = &p->ep.ring->geo;
	_Atomic uint64_t *word = &claim->slot->word;
	uint64_t w = atomic_load_explicit(word, memory_order_relaxed), pending, turn;

	do { /* others may raise it meanwhile */
		if (!quoit__owned(w, QUOIT__WRITING, p->ep.id) &&
		    !quoit__owned(w, QUOIT__VOIDW, p->ep.id))
			return quoit__producer_fail(p, -EBADMSG);
		turn = quoit__word_turn(g, w);
		pending = quoit__word(turn, QUOIT__PENDING, p->ep.id);
		/* M1: whoever publishes it acquires payload and descriptor here. */
	} while (!atomic_compare_exchange_weak_explicit(word, &w, pending, memory_order_release,
							memory_order_relaxed));
	while (quoit__mpmc_walk(p, claim->slot, NULL) != 0) {
		w = pending;
		/* Full: take it back, unless somebody has just published it. */
		if (atomic_compare_exchange_strong_explicit(
			    word, &w, quoit__word(turn, QUOIT__VOIDW, p->ep.id),
			    memory_order_relaxed, memory_order_relaxed))
			return -EAGAIN;
		/* Those who may move it publish or free it; of another turn it is forged. */
		if (quoit__owned(w, QUOIT__PENDING, p->ep.id))
			return quoit__producer_fail(p, -EBADMSG);
	}
	p->ep.slow.republished++;
	quoit__count_store(&p->ep);
	p->moved_to = published_at(p, claim, atomic_load_explicit(word, memory_order_relaxed));
	committed(p, 1, len);
	return 0;
}

static inline int commit_desc(struct quoit_producer *p, struct quoit__claim *claim, uint64_t desc,
			      uint32_t len)
{
	/* Relaxed: M1 publishes it. */
	atomic_store_explicit(&claim->slot->desc, desc, memory_order_relaxed);
	if ((int64_t)(claim->ticket - p->moved_to) >= 0 && commit_in_place(p, claim)) {
		committed(p, 1, len);
		return 0;
	}
	return republish(p, claim, len);
}

static int commit_claim(struct quoit_producer *p, struct quoit__claim *claim, uint32_t len,
			uint32_t type)
{
	return commit_desc(p, claim, (uint64_t)len << 32 | type, len);
}

/* ---- calls ---------------------------------------------------------------------------------- */

int quoit__mpmc_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	struct quoit__claim *c;

	if (QUOIT__UNLIKELY(len > p->ep.ring->geo.ring_record)) {
		int r = quoit__heap_reserve(p, len, ret_payload);

		return r == -EAGAIN ? quoit__producer_idle(p) : r;
	}
	if (p->claims == QUOIT__RESERVATIONS_MAX)
		return -EBUSY;
	c = &p->claim[p->claims];
	if (claim(p, c) < 0)
		return quoit__producer_idle(p);
	c->len = len;
	p->claims++;
	*ret_payload = c->slot->payload;
	return 0;
}

static struct quoit__claim *find_claim(struct quoit_producer *p, const void *payload)
{
	for (uint32_t i = p->claims; i-- != 0;)
		if (p->claim[i].slot->payload == payload)
			return &p->claim[i];
	return NULL;
}

static void drop_claim(struct quoit_producer *p, struct quoit__claim *claim)
{
	const struct quoit__claim *last = &p->claim[--p->claims];

	if (claim != last)
		*claim = *last;
}

int quoit__mpmc_commit(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type)
{
	struct quoit__claim *claim = find_claim(p, payload);
	int r;

	if (claim == NULL || len > claim->len)
		return claim == NULL ? quoit__heap_commit(p, payload, len, type) : -EINVAL;
	r = commit_claim(p, claim, len, type);
	if (r == 0)
		drop_claim(p, claim);
	return r;
}

int quoit__mpmc_discard(struct quoit_producer *p, void *payload)
{
	struct quoit__claim *claim = find_claim(p, payload);

	if (claim == NULL)
		return quoit__heap_discard(p, payload);
	free_own(p, claim->slot);
	drop_claim(p, claim);
	quoit__tell_room(p); /* there is room, and no consumer to say so */
	return 0;
}

int quoit__mpmc_reserve_slot(struct quoit_producer *p, struct quoit__slot **ret_slot)
{
	struct quoit__claim claim;

	if (quoit__mpmc_walk(p, NULL, &claim) < 0)
		return -EAGAIN;
	claim.len = 0; /* its payload is nobody's to commit */
	p->claim[p->claims++] = claim;
	*ret_slot = claim.slot;
	return 0;
}

int quoit__mpmc_commit_heap(struct quoit_producer *p, struct quoit__slot *slot,
			    const struct quoit__heap_record *record)
{
	struct quoit__claim *claim = find_claim(p, slot->payload);
	int r;

	if (claim == NULL)
		return -EINVAL;
	memcpy(slot->payload, record, sizeof(*record));
	r = commit_desc(p, claim, (uint64_t)QUOIT__HEAP_LENGTH << 32 | record->type,
			(uint32_t)record->length);
	if (r == 0)
		drop_claim(p, claim);
	return r;
}

/* The common case of a send, without its detours: the slot at our ticket is free, and nobody steps
 * over it before we commit. False: nothing has been sent, go the long way. */
bool quoit__mpmc_send_next(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type)
{
	struct quoit__slot *slot;
	uint64_t turn, w;

	if (len > p->ep.ring->geo.ring_record || (int64_t)(p->ticket - p->moved_to) < 0)
		return false;
	slot = claim_next(p, &turn);
	if (slot == NULL)
		return false;
	quoit__copy(slot->payload, buf, len);
	/* Relaxed: M1 publishes it. */
	atomic_store_explicit(&slot->desc, (uint64_t)len << 32 | type, memory_order_relaxed);
	w = quoit__word(turn, QUOIT__WRITING, p->ep.id);
	/* M1: publishes payload and descriptor; pairs with the taker's load. */
	if (QUOIT__UNLIKELY(!atomic_compare_exchange_strong_explicit(
		    &slot->word, &w, quoit__word(turn, QUOIT__COMMITTED, 0), memory_order_release,
		    memory_order_relaxed))) {
		free_own(p, slot);
		return false;
	}
	committed(p, 1, len);
	return true;
}

int quoit__mpmc_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type)
{
	struct quoit__claim claim;
	int r;

	if (QUOIT__UNLIKELY(len > p->ep.ring->geo.ring_record)) {
		r = quoit__heap_send(p, buf, len, type);
		return r == -EAGAIN ? quoit__producer_idle(p) : r;
	}
	r = quoit__mpmc_walk(p, NULL, &claim);
	if (QUOIT__UNLIKELY(r < 0))
		return quoit__producer_idle(p);
	if (len != 0)
		memcpy(claim.slot->payload, buf, len);
	r = commit_claim(p, &claim, len, type);
	if (r == -EAGAIN)
		free_own(p, claim.slot);
	return r;
}

static int send_alone(struct quoit_producer *p, const struct quoit_msg *m)
{
	int r = quoit__mpmc_send(p, m->data, m->len, m->type);

	return r == 0 ? 1 : r;
}

int quoit__mpmc_send_batch(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n)
{
	struct quoit__claim claims[QUOIT_BATCH_MAX];
	uint64_t bytes = 0;
	unsigned claimed = 0, done = 0;

	for (; claimed < n; claimed++) {
		const struct quoit_msg *m = &msgs[claimed];
		struct quoit__claim *c = &claims[claimed];

		if (m->len > p->ep.ring->geo.ring_record) { /* by itself */
			if (claimed == 0)
				return send_alone(p, m);
			break;
		}
		if (claim(p, c) < 0)
			break;
		atomic_store_explicit(&c->slot->desc, (uint64_t)m->len << 32 | m->type,
				      memory_order_relaxed);
		quoit__copy(c->slot->payload, m->data, m->len);
	}
	if (claimed == 0)
		return quoit__producer_idle(p);
	/* In order; after the first that was voided the rest would come before it: they go again.
	 */
	while (done < claimed && commit_in_place(p, &claims[done]))
		bytes += msgs[done++].len;
	if (done != 0)
		committed(p, done, bytes);
	for (unsigned i = done != 0 ? done : 1; i < claimed; i++)
		free_own(p, claims[i].slot);
	if (done == 0) {
		int r = republish(p, &claims[0], msgs[0].len);

		if (r == -EAGAIN)
			free_own(p, claims[0].slot);
		return r == 0 ? 1 : r;
	}
	return (int)done;
}
