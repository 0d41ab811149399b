/* SPDX-License-Identifier: MIT */
/*
 * What the soak's producers and consumers do until they are killed: every way to send and to
 * receive, drawn by chance for each call; every way to wait, drawn for each life.
 */
#ifndef QUOIT_TESTS_CRASH_SOAK_LIFE_H
#define QUOIT_TESTS_CRASH_SOAK_LIFE_H

#include <poll.h>
#include <sys/resource.h>

#include "crash/soak.h"

#define CALL_MS 100 /* so long a call waits at most: --seconds must be noticed */

static uint32_t random_len(struct life *life)
{
	return chance(life, 16) == 0 ? LEN_MIN + chance(life, LEN_MAX - LEN_MIN + 1)
				     : LEN_MIN + chance(life, 64);
}

static void poll_fd(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	if (fd < 0)
		fail("no descriptor to poll", fd, 0);
	if (poll(&pfd, 1, CALL_MS) < 0 && errno != EINTR)
		fail("poll", errno, 0);
}

/* ---- producers ------------------------------------------------------------------------------ */

static void wait_for_room(struct life *life, uint32_t len)
{
	struct timespec deadline = quoit_deadline_ms(CALL_MS);
	int r;

	if (life->wait == QUOIT_WAIT_EVENTFD && chance(life, 2) == 0) {
		int fd = quoit_producer_fd(life->p);

		r = quoit_producer_arm(life->p, len);
		if (r == 0)
			poll_fd(fd);
		r = r > 0 ? 0 : r;
	} else {
		r = quoit_producer_wait(life->p, len, &deadline);
	}
	if (r != 0)
		not_now(life, r);
}

/* The faults that a producer of copies can commit. */
static void spoil(struct quoit_msg *msgs, uint64_t number, uint32_t producer)
{
	if (msgs[0].len > LEN_MIN && sabotaged(TEAR))
		((unsigned char *)msgs[0].data)[msgs[0].len - 1] ^= 1;
	if (sabotaged(INVENT))
		msgs[0].type = record_fill(msgs[0].data, msgs[0].len, producer, number + 100000);
}

/* Copying; n records begin. Returns how many are in. */
static unsigned produce_copies(struct life *life, uint64_t number, unsigned n)
{
	struct timespec deadline = quoit_deadline_ms(CALL_MS);
	const struct timespec *until = chance(life, 4) == 0 ? QUOIT_NOWAIT : &deadline;
	alignas(8) unsigned char buf[BATCH][LEN_MAX];
	struct quoit_msg msgs[BATCH];
	int r;

	for (unsigned i = 0; i < n; i++) {
		msgs[i].data = buf[i];
		msgs[i].len = random_len(life);
		msgs[i].type = record_fill(buf[i], msgs[i].len, life->index, number + i);
	}
	spoil(msgs, number, life->index);
	if (n == 1 && sabotaged(LOSE))
		return 1;
	r = n > 1 ? quoit_send_batch(life->p, msgs, n, until)
		  : quoit_send(life->p, buf[0], msgs[0].len, msgs[0].type, until);
	if (r >= 0) {
		if (sabotaged(TWICE) &&
		    quoit_send(life->p, buf[0], msgs[0].len, msgs[0].type, &deadline) != 0)
			return 0;
		return n > 1 ? (unsigned)r : 1;
	}
	not_now(life, r);
	if (r == -EAGAIN)
		wait_for_room(life, msgs[0].len);
	return 0;
}

/* One reservation becomes a record, or is given back. */
static unsigned settle(struct life *life, void *payload, uint64_t number, uint32_t len, bool keep)
{
	uint32_t type;
	int r;

	if (!keep) {
		memset(payload, 0xdd, len);
		r = quoit_discard(life->p, payload);
		if (r != 0)
			fail("discard", r, life->index);
		return 0;
	}
	type = record_fill(payload, len, life->index, number);
	while ((r = quoit_commit(life->p, payload, len, type)) == -EAGAIN) {
		/* Stepped over, and no room: until there is, or the stream is to end. */
		if (atomic_load(&ledger->stop) != 0)
			return settle(life, payload, number, len, false);
		test_sleep_ms(0);
	}
	if (r != 0)
		fail("commit", r, life->index);
	return 1;
}

/* In place; up to n reservations at a time. Some of them are given back. */
static unsigned produce_in_place(struct life *life, uint64_t number, unsigned n)
{
	void *payload[BATCH];
	uint32_t len[BATCH];
	unsigned reserved = 0, in = 0;
	int r = 0;

	while (reserved < n && r == 0) {
		len[reserved] = random_len(life);
		r = quoit_reserve(life->p, len[reserved], &payload[reserved]);
		reserved += r == 0;
	}
	if (reserved == 0) {
		not_now(life, r);
		if (r == -EAGAIN)
			wait_for_room(life, len[0]);
		return 0;
	}
	if (r == -EOWNERDEAD)
		not_now(life, r);
	if (chance(life, 64) == 0)
		test_sleep_ms(chance(life, 3));
	for (unsigned i = 0; i < reserved; i++)
		in += settle(life, payload[i], number + in, len[i], chance(life, 8) != 0);
	return in;
}

static void produce(struct life *life)
{
	struct line *line = life->line;
	uint64_t number = atomic_load(&line->committed);
	uint32_t way = chance(life, 8);
	unsigned n = 1, in;

	if (number + BATCH >= numbers) {
		test_sleep_ms(1);
		return;
	}
	if (way >= 5)
		n += chance(life, BATCH);
	if (way == 7 && options.kind == QUOIT_SPSC) /* one reservation at a time */
		n = 1;
	atomic_store(&line->begun, number + n);
	in = way == 3 || way == 4 || way == 7 ? produce_in_place(life, number, n)
					      : produce_copies(life, number, n);
	/* Those that are not in will be sent again under their numbers. */
	atomic_store(&line->committed, number + in);
	atomic_store(&line->begun, number + in);
}

/* ---- consumers ------------------------------------------------------------------------------ */

static void wait_for_record(struct life *life)
{
	struct timespec deadline = quoit_deadline_ms(CALL_MS);
	int r;

	if (life->wait == QUOIT_WAIT_EVENTFD && chance(life, 2) == 0) {
		int fd = quoit_consumer_fd(life->c);

		r = quoit_consumer_arm(life->c);
		if (r == 0)
			poll_fd(fd);
		r = r > 0 ? 0 : r;
	} else {
		r = quoit_consumer_wait(life->c, &deadline);
	}
	if (r != 0)
		not_now(life, r);
}

/* A record came. */
static void note(struct life *life, uint64_t record)
{
	uint32_t producer = (uint32_t)(record >> 32), number = (uint32_t)record;
	unsigned was = atomic_fetch_add(entry(record), 1);

	if ((was & ENTRY_COUNT) == ENTRY_COUNT)
		fail("a record came sixteen times", producer, number);
	if (number < life->next[producer]) {
		uint32_t n = atomic_fetch_add(&ledger->lates, 1);

		if (n >= LATES_MAX)
			fail("records out of order", producer, number);
		ledger->late[n] = record;
	} else {
		life->next[producer] = number + 1;
	}
	atomic_fetch_add(&life->line->taken, 1);
}

/* Rest with loans in hand; nobody may touch them. */
static void dwell(struct life *life, const struct quoit_msg *msgs, unsigned n)
{
	if (chance(life, 64) != 0)
		return;
	test_sleep_ms(chance(life, 3));
	if (sabotaged(LOAN))
		((unsigned char *)msgs[0].data)[0] ^= 1;
	for (unsigned i = 0; i < n; i++) {
		struct record r;

		if (!record_read(msgs[i].data, msgs[i].len, &r) ||
		    life->line->held_record[i] != ((uint64_t)r.producer << 32 | r.number))
			fail("a record changed under its reader", life->index, i);
	}
}

/* Each of the three returns quoit_peek()'s result, and takes what is there. */
static int consume_in_place(struct life *life, unsigned n)
{
	struct line *line = life->line;
	unsigned had = atomic_load(&line->held), take;
	struct quoit_msg msgs[BATCH];
	int k, r;

	atomic_store(&line->taking, n);
	k = n == 1 ? quoit_peek(life->c, msgs) : quoit_peek_batch(life->c, msgs, n);
	if (k <= 0) {
		atomic_store(&line->taking, 0);
		if (had != 0)
			fail("a loan is gone", k, had);
		return k;
	}
	for (unsigned i = 0; i < (unsigned)k; i++) {
		uint64_t record = record_of(&msgs[i]);

		if (i < had && record != line->held_record[i])
			fail("another record than before", (long long)record, i);
		line->held_record[i] = record;
	}
	if ((unsigned)k < had)
		fail("a loan is gone", k, had);
	atomic_store(&line->held, (uint32_t)k);
	atomic_store(&line->taking, 0);
	dwell(life, msgs, (unsigned)k);
	/* Mostly all of them. The next look begins with the rest, so it must be at as many. */
	take = k > 1 && chance(life, 8) == 0 ? 1 + chance(life, (uint32_t)k - 1) : (unsigned)k;
	if (take > 1 && sabotaged(SWAP)) {
		uint64_t first = line->held_record[0];

		line->held_record[0] = line->held_record[1];
		line->held_record[1] = first;
	}
	for (unsigned i = 0; i < take; i++)
		note(life, line->held_record[i]);
	if (chance(life, 64) == 0) /* killed here, all of them come again */
		test_sleep_ms(chance(life, 3));
	r = take == 1 ? quoit_advance(life->c, msgs) : quoit_advance_batch(life->c, msgs, take);
	if (r != 0)
		fail("advance", r, take);
	/* Killed in here: the list names some that have gone, and all that have not. */
	for (unsigned i = take; i < (unsigned)k; i++)
		line->held_record[i - take] = line->held_record[i];
	atomic_store(&line->held, (uint32_t)k - take);
	return k;
}

/* The buffer is the ledger's: if we die, it shows what we may have taken. */
static int consume_copies(struct life *life, unsigned n)
{
	struct timespec deadline = quoit_deadline_ms(CALL_MS);
	const struct timespec *until = chance(life, 2) == 0 ? QUOIT_NOWAIT : &deadline;
	struct line *line = life->line;
	struct quoit_msg msgs[BATCH];
	int r;

	atomic_store(&line->receiving, 1);
	atomic_store(&line->taking, 1);
	r = n == 1 ? quoit_recv(life->c, line->received, LEN_MAX, msgs, until)
		   : quoit_recv_batch(life->c, line->received, sizeof(line->received), msgs, n,
				      until);
	for (int i = 0; i < r; i++)
		note(life, record_of(&msgs[i]));
	atomic_store(&line->taking, 0);
	atomic_store(&line->receiving, 0);
	return r;
}

static void consume(struct life *life, bool *ret_end)
{
	uint32_t way = chance(life, 8), held = atomic_load(&life->line->held);
	unsigned n = way < 4 ? 1 : 1 + chance(life, BATCH);
	int r;

	n = n > held ? n : held;
	if (way % 2 == 0 || held != 0)
		r = consume_in_place(life, n);
	else
		r = consume_copies(life, n);
	if (r == -EAGAIN && sabotaged(END))
		r = 0;
	if (r > 0)
		return;
	if (r == 0 && atomic_load(&ledger->stop) != 0) {
		*ret_end = true;
		return;
	}
	not_now(life, r);
	if (r == -EAGAIN)
		wait_for_record(life);
}

/* ---- lives ---------------------------------------------------------------------------------- */

/* Any way to wait but spinning: that leaves the other processes too little. */
static enum quoit_wait choose_wait(struct life *life)
{
	enum quoit_wait wait = options.wait;

	while (wait == QUOIT_WAIT_DEFAULT || !test_can_wait(options.backend, wait))
		wait = test_waits[1 + chance(life, TEST_COUNT(test_waits) - 1)];
	return wait;
}

/* The row of a dead predecessor may be locked by somebody who cleans up, and who has been stopped
 * in the middle of it: then until that one goes on. */
static void open_endpoint(struct life *life)
{
	int r;

	atomic_store(&life->line->phase, OPENING);
	for (;;) {
		r = life->producer ? quoit_producer_open(life->q, &life->p)
				   : quoit_consumer_open(life->q, &life->c);
		if (r != -EBUSY)
			break;
		atomic_fetch_add(&ledger->busy, 1);
	}
	if (r != 0)
		fail(life->producer ? "producer_open" : "consumer_open", r, life->index);
}

static void come(struct life *life)
{
	int64_t coming = COMING;
	int r = quoit_attach(life->ring, NULL, &life->q);

	if (r != 0)
		fail("attach", r, life->index);
	life->wait = choose_wait(life);
	life->haste = chance(life, 4) * 10 * chance(life, 20);
	life->leaves_after = chance(life, 8) == 0 ? 1 + chance(life, 2000) : 0;
	open_endpoint(life);
	r = life->producer ? quoit_producer_set_wait(life->p, life->wait)
			   : quoit_consumer_set_wait(life->c, life->wait);
	if (r != 0)
		fail("set_wait", r, (long long)life->wait);
	atomic_store(&life->line->row,
		     life->producer ? quoit_producer_id(life->p) : quoit_consumer_id(life->c));
	atomic_store(&life->line->phase, UP);
	/* Unless our death has been decided upon. */
	atomic_compare_exchange_strong(&life->line->there_ns, &coming, test_now_ns());
}

/* May we leave in mid-stream? Either we see that all are to stay, or the supervisor sees us going.
 */
static bool may_leave(struct life *life)
{
	atomic_store(&life->line->phase, CLOSING);
	if (atomic_load(&ledger->settle) == 0)
		return true;
	atomic_store(&life->line->phase, UP);
	return false;
}

/* Close, half of the time with something in hand. */
static void leave(struct life *life)
{
	struct line *line = life->line;
	void *payload;

	atomic_store(&line->there_ns, GOING);
	atomic_store(&line->phase, CLOSING);
	if (life->producer && chance(life, 2) == 0 &&
	    quoit_reserve(life->p, LEN_MIN, &payload) == 0)
		memset(payload, 0xcc, LEN_MIN);
	if (!life->producer)
		atomic_fetch_add(&ledger->given_back, atomic_load(&line->held));
	quoit_producer_close(life->p);
	quoit_consumer_close(life->c);
	atomic_store(&line->held, 0);
	atomic_store(&line->phase, CLOSED);
	quoit_detach(life->q);
}

static int live(void *arg)
{
	struct life *life = arg;
	bool end = false;

	(void)setpriority(PRIO_PROCESS, 0, 0); /* the supervisor's may be higher */
	signal(SIGTERM, SIG_IGN);              /* we go with the supervisor */
	life->line = line_of(life->producer, life->index);
	come(life);
	for (uint64_t calls = 1; !end; calls++) {
		life->call_ns = test_now_ns();
		if (life->producer) {
			produce(life);
			end = atomic_load(&ledger->stop) != 0;
		} else if (sabotaged(HANG)) {
			test_sleep_ms(1);
		} else {
			consume(life, &end);
		}
		if (life->haste != 0 && chance(life, life->haste) == 0)
			test_sleep_ms(chance(life, 3));
		if (calls == life->leaves_after && may_leave(life))
			break;
	}
	leave(life);
	return 0;
}

#endif
