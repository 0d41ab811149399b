/* SPDX-License-Identifier: MIT */
/*
 * One run's surroundings: a fresh ring in the wanted state, the survivors, and the account of every
 * record: which are surely in, which may be, who got them.
 */
#ifndef QUOIT_TESTS_STEP_WORLD_H
#define QUOIT_TESTS_STEP_WORLD_H

#include "tests/crash/step_ops.h"
#include "tests/crash/step_trace.h"

struct world {
	const struct row *row;
	const char *made;          /* the name to create by */
	char name[QUOIT_NAME_MAX]; /* the name to attach by */
	struct ledger *l;
	struct quoit *q;
	struct quoit_producer *sp; /* survivors in this process */
	struct quoit_consumer *sc;
	pid_t sleeper; /* and in one of its own */
	pid_t victim;
	struct victim v;

	void *voided; /* LENT: our reservation that was stepped over */
	uint32_t voided_seq;
	struct quoit_msg lent; /* and our loan */
	bool lending, voiding; /* that is so */
	bool woken;            /* the sleeping victim has been woken */
	bool unordered;        /* records may come out of order */
	uint32_t may_miss; /* records that victims were about to take, which ones is not known */

	/* The account, by writer. */
	uint32_t sure[WRITERS],
		maybe[WRITERS]; /* records 0 .. sure-1 are in, sure .. maybe-1 may be */
	uint8_t seen[WRITERS][SEQS];
	bool with_victim[WRITERS][SEQS]; /* may be gone: the victim had taken it, or was about to */
	bool peeked[WRITERS][SEQS];      /* the victim had seen it, on loan: may come twice */
	uint32_t last[WRITERS];          /* seq + 1 of the newest that we have read */
	uint32_t deaths_told;
	uint32_t duplicates;
	int64_t killed_ns;
	int64_t dying_ns;          /* for which the victim could not run, to die */
	int64_t sleeper_waited_ns; /* for a processor, up to then */
	double told_ms;            /* how long the sleeper waited for the news, or -1 */
	char why[240];             /* what is wrong, or "" */
};

static inline void fail(struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The first thing that is wrong is the one worth telling. */
static inline void fail(struct world *w, const char *format, ...)
{
	va_list arguments;

	if (w->why[0] != '\0')
		return;
	va_start(arguments, format);
	vsnprintf(w->why, sizeof(w->why), format, arguments);
	va_end(arguments);
}

/* ---- records -------------------------------------------------------------------------------- */

static inline void note_record(struct world *w, const void *data, const struct quoit_msg *msg)
{
	struct got got;

	if (!record_is(data, msg, &got)) {
		fail(w, "a torn record, %u bytes of type %08x", msg->len, msg->type);
		return;
	}
	/* SPSC never changes the order; where a reader died or a slot was voided, MPMC may. */
	if (got.seq < w->last[got.writer] && !w->unordered && w->row->state != LENT &&
	    w->row->state != DEAD_C &&
	    (w->row->kind == QUOIT_SPSC || w->row->op->role != QUOIT_ROLE_CONSUMER))
		fail(w, "record %u of writer %u after %u", got.seq, got.writer,
		     w->last[got.writer] - 1);
	w->last[got.writer] = got.seq + 1;
	if (w->seen[got.writer][got.seq] < 200)
		w->seen[got.writer][got.seq]++;
}

/* One record without waiting; quoit_recv()'s result. */
static inline int read_one(struct world *w, struct quoit_consumer *c)
{
	unsigned char buf[LEN_MAX];
	struct quoit_msg msg;
	int r = quoit_recv(c, buf, sizeof(buf), &msg, QUOIT_NOWAIT);

	if (r == 1)
		note_record(w, buf, &msg);
	else if (r == -EOWNERDEAD)
		w->deaths_told++;
	return r;
}

/* One record of `writer`, without waiting. */
static inline int write_one(struct world *w, struct quoit_producer *p, uint32_t writer)
{
	int r = record_send(w->row, p, writer, w->sure[writer], QUOIT_NOWAIT);

	if (r == 0)
		w->sure[writer]++;
	else if (r == -EOWNERDEAD)
		w->deaths_told++;
	return r;
}

/* ---- the sleeper ---------------------------------------------------------------------------- */

static inline int sleep_for_records(struct ledger *l, struct quoit_consumer *c)
{
	unsigned char buf[LEN_MAX];
	struct quoit_msg msg;

	for (;;) {
		uint32_t n = atomic_load_explicit(&l->sleeper_got, memory_order_relaxed);
		int r = quoit_recv(c, buf, sizeof(buf), &msg, NULL);

		if (r != 1)
			return r;
		if (n >= SEQS || !record_is(buf, &msg, &l->sleeper_took[n]))
			atomic_store_explicit(&l->sleeper_bad, 1, memory_order_relaxed);
		atomic_store_explicit(&l->sleeper_got, n + 1, memory_order_release);
	}
}

static inline int sleep_for_room(const struct row *row, struct ledger *l, struct quoit_producer *p)
{
	for (;;) {
		uint32_t n = atomic_load_explicit(&l->sleeper_sent, memory_order_relaxed);
		int r = n == SEQS ? -EOVERFLOW : record_send(row, p, SURVIVOR, n, NULL);

		if (r != 0)
			return r;
		atomic_store_explicit(&l->sleeper_sent, n + 1, memory_order_release);
	}
}

static inline int sleeper_main(void *arg)
{
	struct world *w = arg;
	struct ledger *l = w->l;
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;

	if (w->row->op->role == QUOIT_ROLE_PRODUCER) {
		MUST(quoit_consumer_open(w->q, &c) == 0);
		MUST(quoit_consumer_set_wait(c, wait_of(w->row->state)) == 0);
	} else {
		MUST(quoit_producer_open(w->q, &p) == 0);
		MUST(quoit_producer_set_wait(p, wait_of(w->row->state)) == 0);
	}
	atomic_store_explicit(&l->sleeping, 1, memory_order_release);
	l->told_what = c != NULL ? sleep_for_records(l, c) : sleep_for_room(w->row, l, p);
	l->told_waited_ns = running_waited_ns(getpid());
	l->told_ns = test_now_ns();
	atomic_store_explicit(&l->told, 1, memory_order_release);
	quoit_producer_close(p);
	quoit_consumer_close(c);
	return 0;
}

/* Does it sleep, announced? */
static inline bool sleeper_sleeps(const struct world *w)
{
	const struct quoit__control *c = w->q->control;
	uint64_t word = atomic_load_explicit(
		w->row->op->role == QUOIT_ROLE_PRODUCER ? &c->readable.word : &c->writable.word,
		memory_order_acquire);

	return atomic_load_explicit(&w->l->sleeping, memory_order_acquire) != 0 &&
	       sync_announced(word) && test_process_state(w->sleeper) == 'S';
}

static inline void wait_for_sleeper(const struct world *w)
{
	int64_t end = running_ns() + INT64_C(5000000000);

	while (!sleeper_sleeps(w)) {
		MUST(running_ns() < end);
		usleep(200);
	}
}

/* ---- making the state ----------------------------------------------------------------------- */

static inline int predecessor_main(void *arg)
{
	struct world *w = arg;
	struct ledger *l = w->l;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;
	void *payload;
	struct quoit *q;

	MUST(quoit_attach(w->name, NULL, &q) == 0);
	if (w->row->state == DEAD_P) {
		MUST(quoit_producer_open(q, &p) == 0);
		for (; l->before_sent < 3; l->before_sent++)
			MUST(record_send(w->row, p, PREDECESSOR, l->before_sent, QUOIT_NOWAIT) ==
			     0);
		MUST(quoit_reserve(p, 24, &payload) == 0);
		memset(payload, 0xee, 24);
	} else {
		MUST(quoit_consumer_open(q, &c) == 0);
		if (w->sp != NULL && w->row->op->role != QUOIT_ROLE_PRODUCER)
			MUST(quoit_peek(c, &msg) == 1);
	}
	atomic_store_explicit(&l->before_ready, 1, memory_order_release);
	for (;;)
		pause();
}

static inline void make_lent(struct world *w)
{
	unsigned char buf[LEN_MAX];
	uint32_t len;

	/* A reservation, a later record that is read: the reservation is stepped over. */
	w->voided_seq = w->sure[SURVIVOR]++;
	len = record_len(w->row, w->voided_seq);
	MUST(quoit_reserve(w->sp, len, &w->voided) == 0);
	(void)test_record_fill(buf, len, SURVIVOR, w->voided_seq);
	memcpy(w->voided, buf, len);
	MUST(write_one(w, w->sp, SURVIVOR) == 0);
	MUST(quoit_peek(w->sc, &w->lent) == 1);
	w->lending = w->voiding = true;
	for (int i = 0; i < 4; i++)
		MUST(write_one(w, w->sp, SURVIVOR) == 0);
}

/* One lap of records whose payload is made of words that look like headers of the next lap. */
static inline void make_old(struct world *w)
{
	static const uint64_t word = UINT64_C(8) << 32 | 0xbad;
	uint32_t len = w->row->kind == QUOIT_SPSC ? 480 : MPMC_SLOT;
	uint64_t n = w->row->kind == QUOIT_SPSC ? 2 : w->q->geo.slots, payload[60];
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct quoit_msg msg;

	for (size_t i = 0; i < TEST_COUNT(payload); i++)
		payload[i] = word;
	MUST(quoit_producer_open(w->q, &p) == 0);
	MUST(quoit_consumer_open(w->q, &c) == 0);
	for (; n != 0; n--) {
		MUST(quoit_send(p, payload, len, 0, QUOIT_NOWAIT) == 0);
		MUST(quoit_recv(c, payload, sizeof(payload), &msg, QUOIT_NOWAIT) == 1);
	}
	quoit_producer_close(p);
	quoit_consumer_close(c);
}

/* Records for a victim that reads, and for those who only look. */
static inline void make_records(struct world *w)
{
	uint32_t n = w->row->state == FULL     ? SEQS
		     : w->row->state == HALF   ? 8
		     : w->row->state == WRAP   ? 5
		     : w->row->state == LARGE  ? 4
		     : w->row->state == DEAD_C ? 6
					       : 0;

	if (w->sp == NULL || w->row->op->role == QUOIT_ROLE_PRODUCER)
		return;
	while (n-- != 0) {
		int r = write_one(w, w->sp, SURVIVOR);

		if (r == -EAGAIN)
			break;
		MUST(r == 0);
	}
}

/* What a victim that opens as a producer finds: records of one that has closed. */
static inline void make_left(struct world *w)
{
	uint32_t n = w->row->state == FULL ? SEQS : w->row->state == WRAP ? 5 : 0;
	struct quoit_producer *p;
	int r = 0;

	if (w->row->op->role != QUOIT_ROLE_PRODUCER || (w->row->op->flags & OPENS) == 0 || n == 0)
		return;
	MUST(quoit_producer_open(w->q, &p) == 0);
	while (n-- != 0 && r == 0)
		r = write_one(w, p, PREDECESSOR);
	MUST(r == 0 || r == -EAGAIN);
	w->maybe[PREDECESSOR] = w->sure[PREDECESSOR];
	quoit_producer_close(p);
}

static inline void make_ring(struct world *w, const char *made)
{
	struct quoit_options o = row_options(w->row);
	struct quoit_info info = {.size = sizeof(info)};
	int r;

	w->made = made;
	r = quoit_create(made, &o, &w->q);
	if (r != 0) {
		fprintf(stderr, "%s: cannot be created: %s\n", made, quoit_strerror(r));
		abort();
	}
	MUST(quoit_get_info(w->q, &info) == 0);
	if (w->row->backend == QUOIT_MEMFD)
		snprintf(w->name, sizeof(w->name), "fd:%d", quoit_fd(w->q));
	else
		snprintf(w->name, sizeof(w->name), "%s", info.name);
}

/* A survivor of this role in this process? */
static inline bool wants_survivor(const struct row *row, enum quoit_role role)
{
	if (row->state == (role == QUOIT_ROLE_PRODUCER ? DEAD_P : DEAD_C))
		return false;
	if (is_asleep(row->state) && !sleeps_itself(row))
		return false;
	if (row->other != NULL && row->kind == QUOIT_SPSC && row->other->role == role)
		return false;
	return row->op->role != role || row->state == LENT ||
	       (row->pair && row->kind == QUOIT_MPMC);
}

static inline void world_make(struct world *w, const struct row *row, struct ledger *l,
			      const char *made)
{
	enum state s = row->state;

	memset(w, 0, sizeof(*w));
	memset(l, 0, sizeof(*l));
	w->row = row;
	w->l = l;
	w->made = made;
	w->told_ms = -1;
	w->v = (struct victim){.row = row, .writer = VICTIM, .l = l, .name = w->name};
	if ((row->op->flags & NO_RING) != 0) {
		w->v.name = made;
	} else {
		make_ring(w, made);
		if (s == HALF)
			make_old(w);
		if (wants_survivor(row, QUOIT_ROLE_PRODUCER))
			MUST(quoit_producer_open(w->q, &w->sp) == 0);
		if (wants_survivor(row, QUOIT_ROLE_CONSUMER))
			MUST(quoit_consumer_open(w->q, &w->sc) == 0);
		make_records(w);
		make_left(w);
		if (s == LENT)
			make_lent(w);
		if (s == DEAD_P || s == DEAD_C) {
			pid_t pid = test_spawn(predecessor_main, w);

			MUST(running_wait_flag(&l->before_ready, 1, 5000));
			test_kill(pid);
			w->sure[PREDECESSOR] = w->maybe[PREDECESSOR] = l->before_sent;
		}
		if (is_asleep(s) && !sleeps_itself(row)) {
			w->sleeper = test_spawn(sleeper_main, w);
			wait_for_sleeper(w);
		}
	}
	w->victim = test_spawn(victim_main, &w->v);
}

/* Who dies has to run for that, as has who is told: neither gets a processor from the ring. */
static inline void kill_victim(struct world *w)
{
	int64_t before = running_waited_ns(w->victim);
	siginfo_t info;

	w->dying_ns = 0;
	w->sleeper_waited_ns = w->sleeper != 0 ? running_waited_ns(w->sleeper) : 0;
	w->killed_ns = test_now_ns();
	kill(w->victim, SIGKILL);
	if (waitid(P_PID, (id_t)w->victim, &info, WEXITED | WNOWAIT) == 0)
		w->dying_ns = running_waited_ns(w->victim) - before;
	(void)test_wait(w->victim);
}

/* From the death to the news, without the longer of the two waits for a processor. */
static inline double told_after_ms(const struct world *w)
{
	int64_t waited = w->l->told_waited_ns - w->sleeper_waited_ns;

	waited = waited > w->dying_ns ? waited : w->dying_ns;
	return (double)(w->l->told_ns - w->killed_ns - waited) / 1e6;
}

/* Wake the victim that sleeps in its operation: a record for it, or room. */
static inline bool wake_victim(void *arg)
{
	struct world *w = arg;

	if (w->woken)
		return false;
	w->woken = true;
	if (w->row->op->role == QUOIT_ROLE_CONSUMER)
		return write_one(w, w->sp, SURVIVOR) == 0;
	for (int i = 0; i < 8; i++)
		MUST(read_one(w, w->sc) == 1);
	return true;
}

#endif
