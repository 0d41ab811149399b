/* SPDX-License-Identifier: MIT */
/* Totals of a ring, read without stopping anyone. */
#include <errno.h>
#include <string.h>

#include "ring/guard.h"
#include "ring/slot.h"

static void add(struct quoit_counters *sum, const struct quoit__row *row)
{
	uint64_t *to = (uint64_t *)(void *)sum;

	for (size_t i = 0; i < sizeof(*sum) / 8; i++)
		to[i] += atomic_load_explicit(&row->counters[i], memory_order_relaxed);
}

/* Hints lag by a few tickets: walk on over what has been passed, at most one lap. */
static uint64_t frontier(const struct quoit *q, uint64_t ticket, bool head)
{
	for (uint64_t steps = q->geo.slots; steps != 0; steps--, ticket++) {
		uint64_t w = atomic_load_explicit(&quoit__slot_at(q, ticket)->word,
						  memory_order_relaxed);
		int64_t ahead = quoit__laps_ahead(&q->geo, w, ticket);
		enum quoit__phase phase = quoit__phase(w);

		if (ahead < 0 || (ahead == 0 && phase == QUOIT__FREE) ||
		    (head && ahead == 0 && (phase == QUOIT__WRITING || phase == QUOIT__COMMITTED)))
			break;
	}
	return ticket;
}

static void add_rows(const struct quoit *q, struct quoit_stats *s)
{
	for (uint32_t i = 0; i < q->geo.peers; i++) {
		const struct quoit__row *row = &q->rows[i];
		bool open =
			atomic_load_explicit(&row->state, memory_order_relaxed) != QUOIT__ROW_FREE;

		switch (atomic_load_explicit(&row->role, memory_order_relaxed)) {
		case QUOIT_ROLE_PRODUCER:
			add(&s->produced, row);
			s->producers += open;
			break;
		case QUOIT_ROLE_CONSUMER:
			add(&s->consumed, row);
			s->consumers += open;
			break;
		default:
			break;
		}
	}
}

int quoit_get_stats(const struct quoit *q, struct quoit_stats *ret_stats)
{
	static const uint32_t states[] = {QUOIT_STATE_NEW, QUOIT_STATE_OPEN, QUOIT_STATE_ENDED,
					  QUOIT_STATE_BROKEN};
	struct quoit_stats s = {.size = sizeof(s)};
	struct quoit__control *c = q->control;
	uint32_t produced;

	if (ret_stats->size != sizeof(s))
		return -EINVAL;
	if (quoit__guard_lost(q->seg.guarded))
		return -EBADMSG;
	add_rows(q, &s);
	if (q->geo.kind == QUOIT_SPSC) {
		s.head = atomic_load_explicit(&q->rows[1].position, memory_order_relaxed);
		s.tail = atomic_load_explicit(&q->rows[0].position, memory_order_relaxed);
		/* A producer killed in commit may have left its position behind. */
		s.tail = (int64_t)(s.head - s.tail) > 0 ? s.head : s.tail;
		s.capacity = q->geo.capacity;
	} else {
		s.head = frontier(q, atomic_load_explicit(&c->head, memory_order_relaxed), true);
		s.tail = frontier(q, atomic_load_explicit(&c->tail, memory_order_relaxed), false);
		s.capacity = q->geo.slots;
	}
	/* The two were not read at one moment. */
	s.used = (int64_t)(s.tail - s.head) > 0 ? s.tail - s.head : 0;
	s.used = s.used < s.capacity ? s.used : s.capacity;
	s.producer_deaths = atomic_load_explicit(&c->producer_deaths, memory_order_relaxed);
	s.consumer_deaths = atomic_load_explicit(&c->consumer_deaths, memory_order_relaxed);
	produced = quoit__fate(atomic_load_explicit(&c->produced, memory_order_relaxed));
	s.state = produced < 4 ? states[produced] : QUOIT_STATE_BROKEN;
	if (s.state != QUOIT_STATE_NEW && s.producers != 0)
		s.state = QUOIT_STATE_OPEN;
	if (atomic_load_explicit(&q->header->state, memory_order_relaxed) == QUOIT__REMOVED)
		s.state = QUOIT_STATE_REMOVED;
	if (quoit__guard_lost(q->seg.guarded)) /* while we read */
		return -EBADMSG;
	*ret_stats = s;
	return 0;
}
