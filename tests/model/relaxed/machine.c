/* SPDX-License-Identifier: MIT */
/*
 * The memory: histories of stores, and how far each thread knows them. Stores are appended to their
 * word's history; a read-modify-write reads the newest. What is not explored, therefore: a store
 * that lands in its word's history before one that was executed earlier, and loads that see stores
 * of the future. seq_cst accesses count as acquire and release only, so that more is explored than
 * C11 allows, not less; seq_cst fences are what C11 says.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"

static uint16_t location_at[SHARED_SIZE]; /* 1 + location of the word that begins here */
static uint16_t offsets[LOCATIONS];
static unsigned locations;
static unsigned char initial[SHARED_SIZE];

static struct {
	const unsigned char *address; /* plain stores to be noted down */
	size_t size;
	unsigned char *patched; /* a racy load has been shown another value here */
	unsigned char saved[8];
	size_t patched_size;
} pending;

void machine_reset(void)
{
	memset(location_at, 0, sizeof(location_at));
	locations = 0;
	memcpy(initial, world.shared, sizeof(initial));
}

static void join(struct view *to, const struct view *from)
{
	for (unsigned i = 0; i < LOCATIONS; i++)
		if (from->at[i] > to->at[i])
			to->at[i] = from->at[i];
	for (unsigned i = 0; i < THREADS; i++)
		if (from->clock[i] > to->clock[i])
			to->clock[i] = from->clock[i];
}

static bool acquires(unsigned order)
{
	return order == memory_order_acquire || order == memory_order_consume ||
	       order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static bool releases(unsigned order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

size_t machine_offset(unsigned location)
{
	return offsets[location];
}

static uint64_t word_in(const unsigned char *memory, size_t offset)
{
	uint64_t value = 0;

	memcpy(&value, memory + offset, word_size(offset));
	return value;
}

unsigned machine_location(const void *address)
{
	size_t offset = word_of((size_t)((const unsigned char *)address - world.shared));

	if (location_at[offset] == 0) {
		if (locations == LOCATIONS)
			explore_fail("more words than the machine has room for");
		offsets[locations] = (uint16_t)offset;
		location_at[offset] = (uint16_t)++locations;
	}
	return location_at[offset] - 1u;
}

static struct location *history(unsigned i)
{
	struct location *l = &world.location[i];

	if (l->n == 0) {
		l->n = 1;
		l->m[0].value = word_in(initial, offsets[i]);
	}
	return l;
}

static struct message *append(unsigned i)
{
	struct location *l = history(i);

	if (l->n == HISTORY)
		explore_fail("more stores to one word than the machine has room for");
	memset(&l->m[l->n], 0, sizeof(l->m[0]));
	return &l->m[l->n++];
}

/* ---- accesses ------------------------------------------------------------------------------- */

static void see(struct thread *t, unsigned i, unsigned index, unsigned order)
{
	struct message *m = &history(i)->m[index];

	t->now.at[i] = (uint8_t)index;
	join(&t->acquired, &m->view);
	if (acquires(order) && (weakened & edges_read(offsets[i], m->value)) == 0)
		join(&t->now, &m->view);
}

static void ordered_after_plain_reads(const struct thread *t, unsigned i)
{
	const struct location *l = history(i);

	for (unsigned u = 0; u < THREADS; u++)
		if (&world.thread[u] != t && l->read[u] > t->now.clock[u])
			explore_fail("data race: the word at %u is written while thread %u may "
				     "still read it",
				     offsets[i], u);
}

static void store_raw(unsigned i, uint64_t value)
{
	memcpy(world.shared + offsets[i], &value, word_size(offsets[i]));
}

static void write(struct thread *t, unsigned i, uint64_t value, unsigned order, bool rmw)
{
	struct location *l = history(i);
	uint64_t old = l->m[l->n - 1].value;
	struct view before = l->m[l->n - 1].view;
	struct message *m;
	unsigned self = (unsigned)(t - world.thread);

	ordered_after_plain_reads(t, i);
	m = append(i);
	m->value = value;
	t->now.at[i] = (uint8_t)(l->n - 1);
	if (releases(order) && (weakened & edges_written(offsets[i], old, value)) == 0) {
		m->view = t->now;
		t->now.clock[self]++;
	} else {
		m->view = t->released;
		m->view.at[i] = (uint8_t)(l->n - 1);
	}
	if (rmw)
		join(&m->view, &before); /* the release sequence goes on */
	store_raw(i, value);
}

static void fence(struct thread *t, unsigned order)
{
	unsigned self = (unsigned)(t - world.thread);

	if (acquires(order))
		join(&t->now, &t->acquired);
	if (order == memory_order_seq_cst) {
		join(&world.sc, &t->now);
		t->now = world.sc;
	}
	if (releases(order)) {
		t->released = t->now;
		t->now.clock[self]++;
	}
}

static uint64_t modified(const struct op *op, uint64_t old)
{
	switch ((enum rmw)op->rmw) {
	case RMW_ADD:
		return old + op->value;
	case RMW_SUB:
		return old - op->value;
	case RMW_AND:
		return old & op->value;
	case RMW_OR:
		return old | op->value;
	case RMW_XOR:
		return old ^ op->value;
	default:
		return op->value;
	}
}

/* ---- what a thread may do ------------------------------------------------------------------- */

/* How many outcomes has the op of t; 0: it has to wait. */
unsigned machine_choices(unsigned t)
{
	const struct thread *self = &world.thread[t];
	const struct op *op = &self->op;

	switch ((enum kind)op->kind) {
	case LOAD:
	case COMPARE:
	case RACY_LOAD:
	case SLEEP:
		return history(op->location)->n - self->now.at[op->location];
	case START:
		return world.thread[op->other].killed;
	case ASLEEP:
	case FINISHED:
		return 0;
	default:
		return 1;
	}
}

static void load(struct thread *t, struct op *op, unsigned index)
{
	const struct message *m = &history(op->location)->m[index];

	if (op->kind == LOAD && m->plain && index > t->now.at[op->location])
		explore_fail("data race: a plain store to the word at %u is seen",
			     offsets[op->location]);
	op->result = m->value;
	see(t, op->location, index, op->order);
}

/* Succeeds only on the newest store; fails on any that is something else. */
static void compare(struct thread *t, struct op *op, unsigned index)
{
	const struct location *l = history(op->location);

	op->result = l->m[index].value;
	op->success = index == l->n - 1 && op->result == op->expected;
	if (!op->success && op->result == op->expected) { /* then it would be the newest */
		index = l->n - 1;
		op->result = l->m[index].value;
		op->success = op->result == op->expected;
	}
	see(t, op->location, index, op->success ? op->order : op->failure_order);
	if (op->success)
		write(t, op->location, op->value, op->order, true);
}

static void wake_all(void)
{
	for (unsigned u = 0; u < THREADS; u++)
		if (world.thread[u].op.kind == ASLEEP)
			world.thread[u].op.kind = NOTHING;
}

void machine_run(unsigned t, unsigned choice)
{
	struct thread *self = &world.thread[t];
	struct op *op = &self->op;
	unsigned index = self->now.at[op->location] + choice;
	struct location *l;

	switch ((enum kind)op->kind) {
	case LOAD:
	case RACY_LOAD:
		load(self, op, index);
		break;
	case STORE:
		write(self, op->location, op->value, op->order, false);
		break;
	case EXCHANGE:
		l = history(op->location);
		op->result = l->m[l->n - 1].value;
		see(self, op->location, l->n - 1, op->order);
		write(self, op->location, modified(op, op->result), op->order, true);
		break;
	case COMPARE:
		compare(self, op, index);
		break;
	case FENCE:
		fence(self, op->order);
		break;
	case FENCE_ON:
		fence(&world.thread[op->other], memory_order_seq_cst);
		break;
	case SLEEP: /* the kernel's locks are full fences; it looks and falls asleep in one step */
		fence(self, memory_order_seq_cst);
		if (index < self->now.at[op->location])
			index = self->now.at[op->location];
		load(self, op, index);
		op->kind = (uint32_t)op->result == (uint32_t)op->expected ? ASLEEP : NOTHING;
		break;
	case WAKE:
		fence(self, memory_order_seq_cst);
		wake_all();
		break;
	case START: /* its lock has come from the dead one by way of the kernel */
		self->now = self->acquired = self->released = world.thread[op->other].now;
		break;
	default:
		break;
	}
}

/* ---- plain accesses ------------------------------------------------------------------------- */

static bool is_shared(const void *address)
{
	const unsigned char *p = address;

	return p >= world.shared && p < world.shared + SHARED_SIZE &&
	       is_explored((size_t)(p - world.shared));
}

void machine_settle(void)
{
	if (pending.patched != NULL)
		memcpy(pending.patched, pending.saved, pending.patched_size);
	pending.patched = NULL;
	for (size_t at = 0; at < pending.size;) {
		unsigned i = machine_location(pending.address + at);
		struct location *l = &world.location[i];

		l->m[l->n - 1].value = word_in(world.shared, offsets[i]);
		at += 8 - ((size_t)(pending.address + at - world.shared) & 7);
	}
	pending.size = 0;
}

void machine_show_racy(const void *address, size_t size, uint64_t value)
{
	unsigned char *p = world.shared + ((const unsigned char *)address - world.shared);
	size_t in = (size_t)(p - world.shared) & 7;

	memcpy(pending.saved, p, size);
	memcpy(p, (unsigned char *)&value + in, size);
	pending.patched = p;
	pending.patched_size = size;
}

void machine_plain_read(const void *address, size_t size)
{
	struct thread *t = &world.thread[current];
	const unsigned char *p = address;

	for (size_t at = 0; at < size; at += 8 - ((size_t)(p + at - world.shared) & 7)) {
		unsigned i;
		struct location *l;

		if (!is_shared(p + at))
			return;
		i = machine_location(p + at);
		l = history(i);
		if (t->now.at[i] != l->n - 1)
			explore_fail("data race: the word at %u is read before the newest store to "
				     "it is known",
				     offsets[i]);
		l->read[current] = t->now.clock[current];
	}
}

void machine_plain_write(const void *address, size_t size)
{
	struct thread *t = &world.thread[current];
	const unsigned char *p = address;

	for (size_t at = 0; at < size; at += 8 - ((size_t)(p + at - world.shared) & 7)) {
		unsigned i;
		struct message *m;

		if (!is_shared(p + at))
			return;
		i = machine_location(p + at);
		if (t->now.at[i] != history(i)->n - 1)
			explore_fail("data race: the word at %u is written before the newest store "
				     "to it is known",
				     offsets[i]);
		ordered_after_plain_reads(t, i);
		m = append(i);
		m->plain = true;
		t->now.at[i] = (uint8_t)(world.location[i].n - 1);
		m->view = t->released;
		m->view.at[i] = t->now.at[i];
	}
	pending.address = p;
	pending.size = size;
}

/* ---- forgetting ----------------------------------------------------------------------------- */

static void lower(struct view *v, unsigned i, unsigned by)
{
	v->at[i] = (uint8_t)(v->at[i] > by ? v->at[i] - by : 0);
}

static void forget(unsigned i, unsigned by)
{
	struct location *l = &world.location[i];

	l->n -= by;
	memmove(l->m, l->m + by, l->n * sizeof(l->m[0]));
	memset(l->m + l->n, 0, by * sizeof(l->m[0]));
	lower(&world.sc, i, by);
	for (unsigned t = 0; t < THREADS; t++) {
		lower(&world.thread[t].now, i, by);
		lower(&world.thread[t].acquired, i, by);
		lower(&world.thread[t].released, i, by);
	}
	for (unsigned k = 0; k < locations; k++)
		for (unsigned j = 0; j < world.location[k].n; j++)
			lower(&world.location[k].m[j].view, i, by);
}

/* Somebody may still read what t knows of: itself, or who begins with its knowledge. */
static bool counts(unsigned t)
{
	if (scenario->thread[t] == NULL || world.thread[t].op.kind == START)
		return false;
	if (world.thread[t].op.kind != FINISHED)
		return true;
	for (unsigned u = 0; u < THREADS; u++)
		if (world.thread[u].op.kind == START && world.thread[u].op.other == t)
			return true;
	return false;
}

void machine_tidy(void)
{
	for (unsigned i = 0; i < locations; i++) {
		unsigned least = history(i)->n - 1;

		for (unsigned t = 0; t < THREADS; t++)
			if (counts(t) && world.thread[t].now.at[i] < least)
				least = world.thread[t].now.at[i];
		if (least != 0)
			forget(i, least);
	}
}
