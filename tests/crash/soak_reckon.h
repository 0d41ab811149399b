/* SPDX-License-Identifier: MIT */
/* The soak's reckoning: every record, every death, and what is left of the ring. */
#ifndef QUOIT_TESTS_CRASH_SOAK_RECKON_H
#define QUOIT_TESTS_CRASH_SOAK_RECKON_H

#include "crash/soak_supervise.h"

#define LAPS 3

static void check_record(uint64_t record, bool sent)
{
	unsigned word = atomic_load(entry(record)), count = word & ENTRY_COUNT;
	unsigned again = (word & ENTRY_AGAINS) / ENTRY_AGAIN;
	long long producer = (long long)(record >> 32), number = (uint32_t)record;

	if (!sent) {
		if (count != 0)
			fail("an invented record", producer, number);
		return;
	}
	/* As many as its readers died; 7 stands for any number. */
	if (count > 1 + again && (word & ENTRY_AGAINS) != ENTRY_AGAINS)
		fail("a record came twice", producer, number);
	if (count == 0 && (word & ENTRY_EXCUSED) == 0)
		fail("a committed record was lost", producer, number);
	tally->records += count != 0;
	tally->missing += count == 0;
	tally->again += count > 1 ? count - 1 : 0;
}

static void check_records(void)
{
	for (uint64_t p = 0; p < options.side[0]; p++) {
		uint64_t sent = atomic_load(&ledger->line[p].committed);

		for (uint64_t n = 0; n < sent; n++)
			check_record(p << 32 | n, true);
		for (uint64_t n = sent; n < sent + 2 * BATCH && n < numbers; n++)
			check_record(p << 32 | n, false);
	}
}

/* Late may come: what a dead reader held, what a dead producer had not committed, and loans that a
 * dead taker had not noted yet; of these only the number is known. One SPSC reader meets none. */
static void check_order(void)
{
	uint32_t lates = atomic_load(&ledger->lates), unexplained = 0;
	uint64_t most = books.may_be_late + atomic_load(&ledger->given_back);

	for (uint32_t i = 0; i < lates; i++)
		unexplained +=
			(atomic_load(entry(ledger->late[i])) & (ENTRY_EXCUSED | ENTRY_AGAINS)) == 0;
	if (options.kind == QUOIT_SPSC ? lates != 0 : unexplained > most)
		fail("records out of order", unexplained, (long long)most);
	tally->late += lates;
}

/* The ring has counted every death, and nobody who lived. */
static void check_deaths(const struct quoit_stats *s)
{
	const uint64_t counted[2] = {s->producer_deaths, s->consumer_deaths};

	for (unsigned side = 0; side < 2; side++) {
		if (counted[side] < books.sure[side])
			fail("deaths were not counted", (long long)counted[side],
			     (long long)books.sure[side]);
		if (counted[side] > books.sure[side] + books.maybe[side])
			fail("more deaths counted than died", (long long)counted[side],
			     (long long)(books.sure[side] + books.maybe[side]));
		tally->ring_deaths += counted[side];
		tally->told[side] += atomic_load(&ledger->told[side]);
	}
	tally->ring_redelivered += s->produced.redelivered + s->consumed.redelivered;
	tally->voided += s->produced.voided + s->consumed.voided;
	tally->republished += s->produced.republished + s->consumed.republished;
	tally->ends += atomic_load(&ledger->ends);
	tally->busy += atomic_load(&ledger->busy);
}

static void on_problem(void *arg, int severity, uint64_t offset, const char *text)
{
	(void)arg;
	if (severity > 1)
		fprintf(stderr, "soak: check: at %llu: %s\n", (unsigned long long)offset, text);
}

static void check_bytes(void)
{
	struct quoit_inspect *view;
	int r;

	if (options.sabotage == DAMAGE)
		books.ring.q->header->checksum ^= 1;
	r = quoit_inspect_open(books.ring.name, on_problem, NULL, &view);
	if (r != 0)
		fail("the ring cannot be inspected", r, 0);
	r = quoit_inspect_check(view, on_problem, NULL);
	if (r != 0)
		fail("the check finds problems", r, 0);
	quoit_inspect_close(view);
}

/* To the brim and empty again, some times over. SPSC records of no payload fit wherever they come
 * to lie; one header's room stays free. */
static void check_capacity(void)
{
	struct quoit_stats s = test_stats(books.ring.q);
	uint64_t room = options.kind == QUOIT_SPSC ? s.capacity / 8 - 1 : s.capacity;
	struct quoit_producer *p, *other = NULL;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	void *payload;
	int r, t;

	r = quoit_producer_open(books.ring.q, &p);
	t = quoit_consumer_open(books.ring.q, &c);
	if (r != 0 || t != 0)
		fail("opening after the end", r, t);
	if (options.sabotage == LEAK)
		MUST(quoit_producer_open(books.ring.q, &other) == 0 &&
		     quoit_reserve(other, 8, &payload) == 0);
	for (unsigned lap = 0; lap < LAPS; lap++) {
		uint64_t n = 0, m = 0;

		while ((r = quoit_send(p, NULL, 0, (uint32_t)n, QUOIT_NOWAIT)) == 0)
			n++;
		while ((t = quoit_recv(c, NULL, 0, &msg, QUOIT_NOWAIT)) == 1 &&
		       msg.type == (uint32_t)m)
			m++;
		if (r != -EAGAIN || t != -EAGAIN)
			fail("filling and draining", r, t);
		if (n != room || m != room)
			fail("capacity is lost", (long long)(n < m ? n : m), (long long)room);
	}
	quoit_producer_close(other);
	quoit_producer_close(p);
	quoit_consumer_close(c);
}

static void reckon(void)
{
	struct quoit_stats s;

	if (options.sabotage == MISCOUNT)
		atomic_fetch_add(&books.ring.q->control->consumer_deaths, 1000);
	s = test_stats(books.ring.q);
	check_records();
	check_order();
	if (s.used != 0 || s.producers != 0 || s.consumers != 0)
		fail("something is left in use", (long long)s.used, s.producers + s.consumers);
	check_deaths(&s);
	check_bytes();
	check_capacity();
}

#endif
