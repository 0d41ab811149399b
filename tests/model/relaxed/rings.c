/* SPDX-License-Identifier: MIT */
/* The rings' surroundings, and the program. See rings.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring/heap.h"
#include "rings.h"
#include "sync/backend.h"

#define ROWS    4u
#define CONTROL 512u
#define TABLE   (CONTROL + (unsigned)sizeof(struct quoit__control))
#define DATA    (TABLE + ROWS * (unsigned)sizeof(struct quoit__row))

static_assert(sizeof(struct own) <= OWN_SIZE && DATA + 256 <= SHARED_SIZE, "room");

unsigned faults;
bool waits, counts, lives;
int64_t clock_step;

/* ---- making --------------------------------------------------------------------------------- */

static uint32_t log2_of(uint64_t x)
{
	return (uint32_t)__builtin_ctzll(x);
}

/* size: bytes (SPSC), or slots of 8 bytes (MPMC). */
void ring_make(enum quoit_kind kind, uint64_t size, uint64_t start)
{
	struct quoit *q = &OWN->q;
	struct quoit__geometry *g = &q->geo;

	lives = false;
	own_used = (sizeof(struct own) + 15) & ~(size_t)15;
	q->header = (void *)world.shared;
	q->control = (void *)(world.shared + CONTROL);
	q->rows = (void *)(world.shared + TABLE);
	q->data = world.shared + DATA;
	q->header->state = QUOIT__READY;
	g->kind = kind;
	g->wait = QUOIT_WAIT_FUTEX;
	g->peers = ROWS;
	g->segment_size = SHARED_SIZE;
	g->sem_id = -1;
	if (kind == QUOIT_SPSC) {
		g->capacity = size;
		g->max_record = (uint32_t)(size / 2 - 16);
	} else {
		g->slots = size;
		g->slot_size = g->max_record = 8;
		g->slot_stride = sizeof(struct quoit__slot) + 8;
		g->capacity = size * g->slot_stride;
		g->slots_log2 = log2_of(size);
		g->turn_shift = 16;
	}
	q->readable = (struct sync_event){.word = &q->control->readable.word,
					  .backends = &q->control->readable.backends,
					  .sysv_id = -1};
	q->writable = (struct sync_event){.word = &q->control->writable.word,
					  .backends = &q->control->writable.backends,
					  .sysv_id = -1};
	/* {0, 1}, as sync_event_init() does: nobody. */
	*q->readable.word = *q->writable.word = 1;
	q->control->produced = q->control->consumed = QUOIT__OPENED;
	g->ring_record = g->max_record; /* there is no heap */
	if (kind == QUOIT_SPSC)
		quoit__spsc_init(q, start);
	else
		quoit__mpmc_init(q, start);
}

static void endpoint_make(struct quoit__endpoint *ep, unsigned row, enum quoit_role role)
{
	struct quoit *q = &OWN->q;

	ep->ring = q;
	ep->row = &q->rows[row];
	ep->id = row;
	ep->role = role;
	ep->wait = QUOIT_WAIT_FUTEX;
	ep->sleeps_on = role == QUOIT_ROLE_PRODUCER ? &q->writable : &q->readable;
	ep->wakes = role == QUOIT_ROLE_PRODUCER ? &q->readable : &q->writable;
	ep->probe = ep->probe_next = 1000;
	ep->row->role = role;
	ep->row->state = QUOIT__ROW_OPEN;
}

void producer_make(unsigned i, unsigned row)
{
	struct quoit_producer *p = &OWN->p[i];

	endpoint_make(&p->ep, row, QUOIT_ROLE_PRODUCER);
	if (OWN->q.geo.kind == QUOIT_SPSC)
		CHECK(quoit__spsc_producer_open(p) == 0);
	else
		quoit__mpmc_producer_open(p);
}

void consumer_make(unsigned i, unsigned row)
{
	struct quoit_consumer *c = &OWN->c[i];

	endpoint_make(&c->ep, row, QUOIT_ROLE_CONSUMER);
	if (OWN->q.geo.kind == QUOIT_SPSC)
		CHECK(quoit__spsc_consumer_open(c) == 0);
	else
		quoit__mpmc_consumer_open(c);
}

/* ---- what the machine asks ------------------------------------------------------------------ */

#define AT(member) (CONTROL + offsetof(struct quoit__control, member))
#define POSITION(row)                                                                              \
	(TABLE + (row) * sizeof(struct quoit__row) + offsetof(struct quoit__row, position))

#define STATE (TABLE + offsetof(struct quoit__row, state))

static bool in_event(size_t offset, size_t event)
{
	return offset == event || offset == event + offsetof(struct quoit__event, backends);
}

/* What a producer writes down of how far it is: its line and marks. */
static bool in_count(size_t offset)
{
	size_t mark = TABLE + offsetof(struct quoit__row, mark);

	return (offset >= mark && offset < mark + sizeof(OWN->p[0].ep.row->mark)) ||
	       offset == POSITION(0) || offset == POSITION(0) + 8;
}

bool is_explored(size_t offset)
{
	const struct quoit__geometry *g = &OWN->q.geo;

	if (offset >= DATA)
		return offset < DATA + g->capacity;
	if (waits && (in_event(offset, AT(readable)) || in_event(offset, AT(writable))))
		return true;
	if (counts && in_count(offset))
		return true;
	if (lives && (offset == STATE || offset == AT(produced) || offset == AT(producer_deaths)))
		return true;
	if (g->kind == QUOIT_SPSC)
		return offset == AT(head) || offset == POSITION(1); /* the other is only shown */
	return offset == AT(head) || offset == AT(tail) || offset == AT(redeliveries);
}

size_t word_of(size_t offset)
{
	return offset >= DATA ? offset & ~(size_t)7 : offset;
}

size_t word_size(size_t offset)
{
	size_t backends = offsetof(struct quoit__event, backends);

	return offset == AT(readable) + backends || offset == AT(writable) + backends ||
			       offset == STATE || offset == AT(produced)
		       ? 4
		       : 8;
}

/* They are there for who sleeps. */
bool fences_explored(void)
{
	return waits;
}

static bool is_slot_word(size_t offset)
{
	return OWN->q.geo.kind == QUOIT_MPMC && offset >= DATA &&
	       (offset - DATA) % OWN->q.geo.slot_stride == 0;
}

unsigned edges_read(size_t offset, uint64_t value)
{
	if (is_slot_word(offset))
		return quoit__phase(value) == QUOIT__FREE ? 1u << M2_ACQUIRE : 1u << M1_ACQUIRE;
	if (offset == AT(readable) || offset == AT(writable))
		return sync_announced(value) ? 1u << E3_ACQUIRE : 1u << E4_ACQUIRE;
	if (offset == AT(redeliveries))
		return 1u << R1_ACQUIRE;
	if (offset == STATE)
		return 1u << P1_ACQUIRE;
	if (offset == AT(producer_deaths))
		return 1u << P2_ACQUIRE;
	if (offset == AT(produced))
		return 1u << P3_ACQUIRE;
	if (OWN->q.geo.kind != QUOIT_SPSC)
		return 0;
	return offset >= DATA          ? 1u << S1_ACQUIRE
	       : offset == POSITION(1) ? 1u << S2_ACQUIRE
	       : offset == AT(head)    ? 1u << S3_ACQUIRE
				       : 0;
}

unsigned edges_written(size_t offset, uint64_t old, uint64_t value)
{
	(void)old;
	if (is_slot_word(offset))
		return quoit__phase(value) == QUOIT__FREE ? 1u << M2_RELEASE : 1u << M1_RELEASE;
	if (offset == AT(readable) || offset == AT(writable))
		return sync_announced(value) ? 1u << E3_RELEASE : 1u << E4_RELEASE;
	if (offset == AT(redeliveries))
		return 1u << R1_RELEASE;
	if (offset == STATE)
		return 1u << P1_RELEASE;
	if (offset == AT(producer_deaths))
		return 1u << P2_RELEASE;
	if (offset == AT(produced))
		return 1u << P3_RELEASE;
	if (OWN->q.geo.kind != QUOIT_SPSC)
		return 0;
	return offset >= DATA          ? 1u << S1_RELEASE
	       : offset == POSITION(1) ? 1u << S2_RELEASE
	       : offset == AT(head)    ? 1u << S3_RELEASE
				       : 0;
}

/* ---- what the explored code calls ----------------------------------------------------------- */

int clock_gettime(clockid_t id, struct timespec *ret)
{
	unsigned *calls = &OWN->calls[current < 0 ? 0 : current];

	(void)id;
	*ret = (struct timespec){.tv_sec = 1000 + (int64_t)*calls * clock_step};
	*calls += clock_step != 0;
	return 0;
}

bool sync_membarrier_register(void)
{
	return (faults & FENCED) == 0;
}

/* A full fence in the caller, in every other thread at some moment, and in the caller again. */
bool sync_membarrier(void)
{
	struct op full = {.kind = FENCE, .order = memory_order_seq_cst};

	if ((faults & FENCED) != 0 || current < 0)
		return false;
	if ((faults & NO_MEMBARRIER) != 0)
		return true;
	explore_yield(full);
	for (unsigned u = 0; u < THREADS; u++)
		if ((int)u != current && scenario->thread[u] != NULL)
			explore_yield((struct op){.kind = FENCE_ON, .other = (uint8_t)u});
	explore_yield(full);
	return true;
}

int64_t sync_nap(int64_t nap_ns)
{
	return nap_ns;
}

static int futex_sleep(const struct sync_event *e, uint32_t seq, int64_t nap_ns,
		       struct sync_pollable *p)
{
	(void)nap_ns;
	(void)p;
	machine_settle();
	explore_yield((struct op){
		.kind = SLEEP, .location = (uint8_t)machine_location(e->word), .expected = seq});
	return 0;
}

static uint32_t futex_wake(const struct sync_event *e, uint32_t seq, uint32_t sleepers_max)
{
	(void)e;
	(void)seq;
	(void)sleepers_max;
	machine_settle();
	if (current >= 0)
		explore_yield((struct op){.kind = WAKE});
	return 1;
}

const struct sync_ops sync_ops_futex = {.sleep = futex_sleep, .wake = futex_wake};

/* Nobody dies but whom a scenario has reaped. */
int sync_lock_held(const struct sync_lock *l, uint32_t index)
{
	(void)l;
	(void)index;
	return 1;
}

unsigned quoit__heap_orphan(const struct quoit *q, uint32_t row)
{
	(void)q;
	(void)row;
	return 0;
}

/* Nobody damages the segment. */
bool quoit__consumer_doubts(struct quoit_consumer *c, int64_t now)
{
	(void)c;
	(void)now;
	return false;
}

bool quoit__producer_doubts(struct quoit_producer *p, int64_t now)
{
	(void)p;
	(void)now;
	return false;
}

void quoit__count_store(struct quoit__endpoint *ep)
{
	(void)ep;
}

void quoit__wake(struct quoit__endpoint *ep, const struct sync_event *event,
		 enum quoit_role sleepers)
{
	uint32_t called;

	(void)ep;
	(void)sleepers;
	(void)sync_wake(event, ROWS, &called);
}

/* ---- the program ---------------------------------------------------------------------------- */

static const struct scenario *find(const char *name)
{
	static const struct scenario *const all[] = {spsc_scenarios, mpmc_scenarios, wait_scenarios,
						     life_scenarios};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (const struct scenario *s = all[i]; s->name != NULL; s++)
			if (strcmp(s->name, name) == 0)
				return s;
	return NULL;
}

/* Name of an edge, or of a fault. */
static bool leave_out(const char *name)
{
#define EDGE(e) #e,
	static const char *const edges[] = {EDGES(EDGE)};
#undef EDGE

	for (unsigned i = 0; i < EDGE_COUNT; i++)
		if (strcmp(edges[i], name) == 0) {
			weakened |= 1u << i;
			return true;
		}
	faults |= strcmp(name, "no-membarrier") == 0 ? NO_MEMBARRIER
		  : strcmp(name, "no-stamp") == 0    ? NO_STAMP
		  : strcmp(name, "fenced") == 0      ? FENCED
						     : 0;
	return faults != 0;
}

int main(int argc, char **argv)
{
	const struct scenario *s = argc > 1 ? find(argv[1]) : NULL;
	bool tell = getenv("TELL") != NULL;

	for (int i = 2; s != NULL && i < argc; i++)
		if (!leave_out(argv[i]))
			s = NULL;
	if (s == NULL) {
		fprintf(stderr, "Usage: relaxed SCENARIO [EDGE|no-membarrier|no-stamp|fenced]...\n"
				"With TELL set, tells the way to a failure.\n");
		return 2;
	}
	return run_scenario(s, tell);
}
