/* SPDX-License-Identifier: MIT */
/* The MPMC ring, reading: take the oldest committed record, by copy or as a loan; and what comes
 * back from the dead. */
#include <errno.h>
#include <string.h>

#include "ring/heap.h"
#include "ring/slot.h"
#include "sync/pause.h"

#define PATIENCE_NS 10000 /* with a writer that holds up records committed after its ticket */
#define COPY_MAX    48 /* longer payloads, of more than one line, are lent while they are copied */
#define VOIDS_MAX   1024 /* writers stepped over in one call: each takes PATIENCE_NS */
#define LEARN       64   /* tickets between two looks at how far producers are */

/*
 * Copies a payload that another consumer may be taking, and a producer overwriting, at this moment:
 * the compare-and-swap that follows decides whether the copy counts. As in a seqlock the race is
 * meant; ThreadSanitizer is told so.
 */
#if defined(__SANITIZE_THREAD__)
#define RACY __attribute__((no_sanitize("thread"), noinline))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACY __attribute__((no_sanitize("thread"), noinline))
#endif
#endif
#ifdef RACY
RACY static void racy_copy(void *to, const void *from, uint32_t len)
{
	volatile unsigned char *t = to;
	const volatile unsigned char *f = from;

	for (uint32_t i = 0; i < len; i++)
		t[i] = f[i];
}
#else
static inline void racy_copy(void *to, const void *from, uint32_t len)
{
	quoit__copy(to, from, len);
}
#endif

/* The writer at `ticket` holds up later records. Wait a little for it, then step over. */
static void void_writer(struct quoit_consumer *c, struct quoit__slot *slot, uint64_t w)
{
	int64_t until = quoit__now_ns() + PATIENCE_NS;
	uint64_t to =
		quoit__word(quoit__word_turn(&c->ep.ring->geo, w), QUOIT__VOIDW, quoit__owner(w));

	do {
		for (int i = 0; i < 8; i++) {
			if (atomic_load_explicit(&slot->word, memory_order_relaxed) != w)
				return;
			sync_pause();
		}
	} while (quoit__now_ns() < until);
	/* Relaxed: the payload is of no interest; its owner sees the word at its commit. */
	if (atomic_compare_exchange_strong_explicit(&slot->word, &w, to, memory_order_relaxed,
						    memory_order_relaxed)) {
		c->ep.slow.voided++;
		quoit__count_store(&c->ep);
	}
}

/* Producers that sleep on a full ring are told at every quarter of it, and when it is empty. */
static void tell_producers(struct quoit_consumer *c)
{
	atomic_thread_fence(memory_order_seq_cst); /* E1 */
	if (sync_announced(atomic_load_explicit(c->ep.wakes->word, memory_order_relaxed)))
		quoit__wake(&c->ep, c->ep.wakes, QUOIT_ROLE_PRODUCER);
}

/* A record has been taken for good. */
static inline void taken(struct quoit_consumer *c, uint64_t ticket, uint32_t len)
{
	struct quoit__consumer_hot *h = &c->hot;
	struct quoit__line *line = h->line;
	uint64_t records = h->records + 1, bytes = h->bytes + len, at = c->ticket;
	uint64_t quarter = c->ep.ring->geo.slots / 4;

	h->records = records;
	h->bytes = bytes;
	__atomic_store_n(&line->position, at, __ATOMIC_RELAXED);
	__atomic_store_n(&line->records, records, __ATOMIC_RELAXED);
	__atomic_store_n(&line->bytes, bytes, __ATOMIC_RELAXED);
	/* slots is a power of two: no division. */
	if (QUOIT__UNLIKELY(quarter <= 1 || ((ticket + 1) & (quarter - 1)) == 0))
		tell_producers(c);
}

/* Where take() puts the record: a copy, or a loan. */
struct taking {
	void *buf; /* NULL: lend */
	uint32_t cap;
	struct quoit_msg *msg;
	struct quoit__slot *slot; /* what was taken */
	uint64_t ticket;
	bool gave_back; /* a block of the heap */
};

/* Free a slot that is lent to us. */
static int release(struct quoit_consumer *c, struct quoit__slot *slot)
{
	const struct quoit__geometry *g = &c->ep.ring->geo;
	uint64_t w = atomic_load_explicit(&slot->word, memory_order_relaxed), to;

	do {
		enum quoit__phase phase = quoit__phase(w);

		if (quoit__owner(w) != c->ep.id ||
		    (phase != QUOIT__READING && phase != QUOIT__VOIDR))
			return quoit__consumer_fail(c, -EBADMSG);
		to = quoit__word(quoit__next_turn(g, quoit__word_turn(g, w)), QUOIT__FREE, 0);
		/* M2: our reads are over; pairs with the claim. */
	} while (!atomic_compare_exchange_weak_explicit(&slot->word, &w, to, memory_order_release,
							memory_order_relaxed));
	return 0;
}

/* The same, of whose payload every line has been read. */
static int give_back(struct quoit_consumer *c, struct quoit__slot *slot, const void *payload,
		     uint64_t len)
{
	quoit__own_payload(payload, len);
	return release(c, slot);
}

/* Copy out what is lent to us, and give it back. */
static int copy_lent(struct quoit_consumer *c, struct quoit__slot *slot, void *buf,
		     const void *payload, uint64_t len)
{
	if (len != 0)
		memcpy(buf, payload, len);
	return give_back(c, slot, payload, len);
}

/* The same for a record in the heap: never copied before it is taken, for a lost race would cost
 * the copy; and its slot is freed after the copy, for that gives the block back. */
static int take_heap(struct quoit_consumer *c, struct quoit__slot *slot, uint64_t w,
		     uint64_t ticket, struct taking *t)
{
	const struct quoit *q = c->ep.ring;
	struct quoit__heap_record record;
	void *data;

	if (!quoit__heap_in_slot(slot, w, &record))
		return 0;
	if (!quoit__heap_record_valid(&q->geo, &record))
		return quoit__consumer_fail(c, -EBADMSG);
	if (t->buf != NULL && record.length > t->cap) {
		t->msg->len = (uint32_t)record.length;
		return -EMSGSIZE;
	}
	/* M1 (acquire: what we read from now on); nothing has been read that M2 would order. */
	if (!atomic_compare_exchange_strong_explicit(
		    &slot->word, &w,
		    quoit__word(quoit__word_turn(&q->geo, w), QUOIT__READING, c->ep.id),
		    memory_order_acq_rel, memory_order_relaxed))
		return 0;
	data = q->heap + record.offset;
	t->slot = slot;
	t->ticket = ticket;
	*t->msg = (struct quoit_msg){.data = t->buf ? t->buf : data,
				     .len = (uint32_t)record.length,
				     .type = record.type,
				     .cookie = ticket};
	if (t->buf == NULL)
		return 1;
	t->gave_back = true;
	return copy_lent(c, slot, t->buf, data, record.length) == 0 ? 1 : c->ep.error;
}

/*
 * Take the committed record at `ticket`, whose word was w. 1 taken; 0 lost to another: look again;
 * -EMSGSIZE, -EBADMSG.
 */
static int take_at(struct quoit_consumer *c, struct quoit__slot *slot, uint64_t w, uint64_t ticket,
		   struct taking *t)
{
	const struct quoit__geometry *g = &c->ep.ring->geo;
	uint64_t desc = atomic_load_explicit(&slot->desc, memory_order_relaxed);
	uint32_t len = (uint32_t)(desc >> 32);
	uint64_t turn = quoit__word_turn(g, w);
	bool lend = t->buf == NULL || len > COPY_MAX;
	uint64_t to = lend ? quoit__word(turn, QUOIT__READING, c->ep.id)
			   : quoit__word(quoit__next_turn(g, turn), QUOIT__FREE, 0);

	if (QUOIT__UNLIKELY(len == QUOIT__HEAP_LENGTH && g->heap_size != 0))
		return take_heap(c, slot, w, ticket, t);
	if (QUOIT__UNLIKELY(len > g->slot_size || (t->buf != NULL && len > t->cap))) {
		/* Acquire: the descriptor was of this word only if the word is still there. */
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&slot->word, memory_order_relaxed) != w)
			return 0;
		if (len > g->slot_size)
			return quoit__consumer_fail(c, -EBADMSG);
		t->msg->len = len;
		return -EMSGSIZE;
	}
	if (!lend)
		racy_copy(t->buf, slot->payload, len);
	/* M2 (release: the copy is done) and M1 (acquire: what a lender reads from now on). */
	if (!atomic_compare_exchange_strong_explicit(&slot->word, &w, to, memory_order_acq_rel,
						     memory_order_relaxed))
		return 0;
	t->slot = slot;
	t->ticket = ticket;
	*t->msg = (struct quoit_msg){.data = t->buf ? t->buf : slot->payload,
				     .len = len,
				     .type = (uint32_t)desc,
				     .cookie = ticket};
	if (lend && t->buf != NULL)
		return copy_lent(c, slot, t->buf, slot->payload, len) == 0 ? 1 : c->ep.error;
	return 1;
}

/*
 * Records given back by the dead may lie behind our ticket. With t: take one; without: see whether
 * there is one. Remembers the counter only when a whole scan found nothing. 1, -EAGAIN, or an error
 * of take_at().
 */
static int redelivered(struct quoit_consumer *c, struct taking *t)
{
	struct quoit *q = c->ep.ring;
	/* R1: pairs with the reaper. */
	uint64_t redeliveries =
		atomic_load_explicit(&q->control->redeliveries, memory_order_acquire);

	if (redeliveries == c->redeliveries_seen)
		return -EAGAIN;
	/* Tickets ticket-slots .. ticket-1, whatever their turn. */
	for (uint64_t k = q->geo.slots; k != 0; k--) {
		uint64_t ticket = c->ticket - k;
		struct quoit__slot *slot = quoit__slot_at(q, ticket);
		uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire); /* M1 */
		int r;

		/* Later ones come the normal way, in order. */
		if (quoit__phase(w) != QUOIT__COMMITTED ||
		    quoit__laps_ahead(&q->geo, w, ticket) > 0)
			continue;
		r = t == NULL ? 1 : take_at(c, slot, w, ticket, t);
		if (r != 0)
			return r;
	}
	c->redeliveries_seen = redeliveries;
	return -EAGAIN;
}

/* 1, -EAGAIN, -EMSGSIZE, -EBADMSG. */
static int take(struct quoit_consumer *c, struct taking *t)
{
	struct quoit *q = c->ep.ring;
	uint64_t steps = 4 * q->geo.slots + 64, looks = q->geo.slots + QUOIT__LOOKS, h = c->ticket;
	unsigned passed = 0, voids = 0;
	int r = -EAGAIN;

	while (steps-- != 0) {
		struct quoit__slot *slot = quoit__slot_at(q, h);
		/* M1: pairs with the commit. */
		uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, h);
		enum quoit__phase phase = quoit__phase(w);

		if (ahead == 0 && phase == QUOIT__COMMITTED) {
			r = take_at(c, slot, w, h, t);
			if (r == 0) { /* lost to another */
				r = -EAGAIN;
				continue;
			}
			h += r == 1;
			break;
		}
		if (ahead < 0 || (ahead == 0 && phase == QUOIT__FREE))
			break;
		if (ahead == 0 && phase == QUOIT__WRITING) {
			if (voids++ == VOIDS_MAX || !quoit__mpmc_later_committed(q, h, &looks))
				break;
			void_writer(c, slot, w);
			continue;
		}
		h++;
		if (++passed % QUOIT__JUMP_AFTER == 0) {
			uint64_t head =
				atomic_load_explicit(&q->control->head, memory_order_relaxed);

			h = (int64_t)(head - h) > 0 ? head : h;
		}
	}
	c->ticket = h;
	if (passed != 0 || h % 16 == 0)
		quoit__help(&q->control->head, h);
	return r != -EAGAIN ? r : redelivered(c, t);
}

/* We have got to this ticket, one at a time. */
static inline void passed(struct quoit_consumer *c, uint64_t ticket)
{
	struct quoit__control *control = c->ep.ring->control;

	c->ticket = ticket;
	if (QUOIT__UNLIKELY(ticket % 16 == 0))
		quoit__help(&control->head, ticket);
	if (QUOIT__UNLIKELY(ticket % LEARN == 0))
		c->frontier = atomic_load_explicit(&control->tail, memory_order_relaxed);
}

/* The common case of take(), without its detours: the record at our ticket, committed and short. */
bool quoit__mpmc_recv_next(struct quoit_consumer *c, void *buf, uint32_t cap,
			   struct quoit_msg *ret_msg)
{
	const struct quoit *q = c->ep.ring;
	const struct quoit__geometry *g = &q->geo;
	uint64_t ticket = c->ticket, turn = quoit__turn(g, ticket);
	struct quoit__slot *slot = quoit__slot_at(q, ticket);
	/* M1: pairs with the commit. */
	uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire), desc;
	uint32_t len;
	bool lend;

	if (w != quoit__word(turn, QUOIT__COMMITTED, 0) || buf == NULL)
		return false;
	desc = atomic_load_explicit(&slot->desc, memory_order_relaxed);
	len = (uint32_t)(desc >> 32);
	lend = len > COPY_MAX;
	if (len > cap || len > g->slot_size)
		return false;
	/* Not what a producer is about to write. */
	if ((int64_t)(c->frontier - ticket) > QUOIT__AHEAD)
		quoit__fetch_own(quoit__slot_at(q, ticket + QUOIT__AHEAD));
	if (!lend)
		racy_copy(buf, slot->payload, len);
	/* M2: our reads are over, or M1: they begin; lost: take() looks again. */
	if (!atomic_compare_exchange_strong_explicit(
		    &slot->word, &w,
		    lend ? quoit__word(turn, QUOIT__READING, c->ep.id)
			 : quoit__word(quoit__next_turn(g, turn), QUOIT__FREE, 0),
		    memory_order_acq_rel, memory_order_relaxed))
		return false;
	passed(c, ticket + 1);
	if (lend && copy_lent(c, slot, buf, slot->payload, len) != 0)
		return false;
	ret_msg->data = buf;
	ret_msg->len = len;
	ret_msg->type = (uint32_t)desc;
	ret_msg->cookie = 0;
	taken(c, ticket, len);
	return true;
}

/* The same, lent: what peek does when nothing is on loan. */
bool quoit__mpmc_lend_next(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	const struct quoit *q = c->ep.ring;
	const struct quoit__geometry *g = &q->geo;
	uint64_t ticket = c->ticket, turn = quoit__turn(g, ticket);
	struct quoit__slot *slot = quoit__slot_at(q, ticket);
	/* M1: pairs with the commit. */
	uint64_t w = atomic_load_explicit(&slot->word, memory_order_acquire), desc;
	struct quoit__loan *loan = &c->loan[c->held];
	uint32_t len;

	if (w != quoit__word(turn, QUOIT__COMMITTED, 0))
		return false;
	desc = atomic_load_explicit(&slot->desc, memory_order_relaxed);
	len = (uint32_t)(desc >> 32);
	if (len > g->slot_size) /* in the heap, or forged */
		return false;
	/* Not what a producer is about to write. */
	if ((int64_t)(c->frontier - ticket) > QUOIT__AHEAD)
		quoit__fetch_own(quoit__slot_at(q, ticket + QUOIT__AHEAD));
	/* M1 (acquire: what is read from now on); lost: take() looks again. */
	if (!atomic_compare_exchange_strong_explicit(&slot->word, &w,
						     quoit__word(turn, QUOIT__READING, c->ep.id),
						     memory_order_acq_rel, memory_order_relaxed))
		return false;
	passed(c, ticket + 1);
	ret_msg->data = slot->payload;
	ret_msg->len = len;
	ret_msg->type = (uint32_t)desc;
	ret_msg->cookie = ticket;
	loan->slot = slot;
	loan->msg.data = slot->payload;
	loan->msg.len = len;
	loan->msg.cookie = ticket;
	loan->msg.type = (uint32_t)desc;
	c->held++;
	return true;
}

/* ---- calls ---------------------------------------------------------------------------------- */

int quoit__mpmc_recv(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg)
{
	static unsigned char none[8];
	struct taking t = {
		.buf = buf != NULL ? buf : none, .cap = buf != NULL ? cap : 0, .msg = ret_msg};
	int r = take(c, &t);

	if (r == 1) {
		taken(c, t.ticket, ret_msg->len);
		ret_msg->data = buf;
		ret_msg->cookie = 0;
		if (t.gave_back) /* a block, and counted: one may wait for that */
			tell_producers(c);
	} else if (r == -EAGAIN) {
		tell_producers(c);
	}
	return r;
}

int quoit__mpmc_peek_batch(struct quoit_consumer *c, struct quoit_msg *ret_msgs, unsigned n)
{
	bool more = false;
	int r = 1;

	while (c->held < n && r == 1) {
		struct quoit_msg msg;
		struct taking t = {.msg = &msg};

		if (quoit__mpmc_lend_next(c, &msg)) {
			more = true;
			continue;
		}
		/* The next slot is being written, as a rule: to look there thoroughly would take
		 * its line away. */
		if (more)
			break;
		r = take(c, &t);
		if (r == 1)
			c->loan[c->held++] = (struct quoit__loan){.slot = t.slot, .msg = msg};
	}
	if (c->held == 0) {
		if (r == -EAGAIN)
			tell_producers(c);
		return r;
	}
	if (n > c->held)
		n = c->held;
	for (unsigned i = 0; i < n; i++)
		ret_msgs[i] = c->loan[i].msg;
	return (int)n;
}

/* The loan is over; it stays in our books. */
static int settle(struct quoit_consumer *c, const struct quoit__loan *loan)
{
	const struct quoit_msg *msg = &loan->msg;
	int r = give_back(c, loan->slot, msg->data, msg->len);

	if (r == 0)
		taken(c, msg->cookie, msg->len);
	/* A producer may wait for the block. */
	if (r == 0 && msg->data != loan->slot->payload)
		tell_producers(c);
	return r;
}

static void forget_loans(struct quoit_consumer *c, uint32_t first, uint32_t n)
{
	c->held -= n;
	if (c->held != first)
		memmove(&c->loan[first], &c->loan[first + n],
			(c->held - first) * sizeof(c->loan[0]));
}

int quoit__mpmc_advance(struct quoit_consumer *c, const struct quoit_msg *msg)
{
	for (uint32_t i = 0; i < c->held; i++) {
		struct quoit__loan loan = c->loan[i];

		if (loan.msg.data != msg->data)
			continue;
		forget_loans(c, i, 1);
		return settle(c, &loan);
	}
	return -EINVAL;
}

int quoit__mpmc_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs, unsigned n)
{
	uint32_t k = 0;
	int r = 0;

	/* In the order in which they were lent: the books are moved up once. */
	while (r == 0 && k < n && k < c->held && c->loan[k].msg.data == msgs[k].data)
		r = settle(c, &c->loan[k++]);
	if (k != 0)
		forget_loans(c, 0, k);
	for (; r == 0 && k < n; k++)
		r = quoit__mpmc_advance(c, &msgs[k]);
	return r;
}

bool quoit__mpmc_redelivered(struct quoit_consumer *c)
{
	return redelivered(c, NULL) == 1;
}
