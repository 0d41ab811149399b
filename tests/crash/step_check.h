/* SPDX-License-Identifier: MIT */
/*
 * After the death: do the survivors go on, is the news told, is every record accounted for, is the
 * whole capacity there again, and does the checker find nothing?
 */
#ifndef QUOIT_TESTS_STEP_CHECK_H
#define QUOIT_TESTS_STEP_CHECK_H

#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "tests/crash/step_account.h"

#define NEWS_MS 100 /* a blocked peer is told within */
#define LAPS    3

/* ---- the news ------------------------------------------------------------------------------- */

/* How often must a survivor be told of a death, and how often may it? */
static inline void deaths_expected(const struct world *w, bool returned, uint32_t *least,
				   uint32_t *most)
{
	const struct op *op = w->row->op;
	bool before = w->row->state == DEAD_P || w->row->state == DEAD_C;
	bool sure = op->role != QUOIT_ROLE_NONE &&
		    ((op->flags & (OPENS | CLOSES)) == 0 || ((op->flags & OPENS) != 0 && returned));
	bool may = sure || (op->flags & OPENS) != 0 || ((op->flags & CLOSES) != 0 && !returned);

	*most = before + may + ((op->flags & REAPS) != 0);
	/* Producers hear of it only when nobody is left to read. */
	if (op->role == QUOIT_ROLE_CONSUMER && w->sc != NULL)
		sure = false;
	*least = sure || (before && op->role == QUOIT_ROLE_NONE);
}

static inline void check_sleeper(struct world *w, bool returned)
{
	struct ledger *l = w->l;
	uint32_t n, least, most;

	if (!running_wait_flag(&l->told, 1, 2000)) {
		fail(w, "the sleeping peer was not told within 2 s");
		test_kill(w->sleeper);
		return;
	}
	if (test_wait(w->sleeper) != 0)
		fail(w, "the sleeping peer failed");
	w->told_ms = told_after_ms(w);
	deaths_expected(w, returned, &least, &most);
	w->deaths_told = l->told_what == -EOWNERDEAD;
	if (l->told_what != -EOWNERDEAD && l->told_what != 0 && l->told_what != -EPIPE)
		fail(w, "the sleeping peer got %s", quoit_strerror(l->told_what));
	if (w->deaths_told < least || w->deaths_told > most)
		fail(w, "the sleeping peer was told: %s",
		     l->told_what == 0 ? "end of stream" : quoit_strerror(l->told_what));
	if (atomic_load_explicit(&l->sleeper_bad, memory_order_relaxed) != 0)
		fail(w, "the sleeping peer met a torn record");
	n = atomic_load_explicit(&l->sleeper_got, memory_order_acquire);
	for (uint32_t i = 0; i < n && i < SEQS; i++) {
		took(w, &l->sleeper_took[i]);
		w->last[l->sleeper_took[i].writer] = l->sleeper_took[i].seq + 1;
	}
	w->sure[SURVIVOR] = atomic_load_explicit(&l->sleeper_sent, memory_order_acquire);
}

/* Read all there is; wait a little for news of a death that must come. */
static inline void read_all(struct world *w, struct quoit_consumer *c, uint32_t least)
{
	int64_t end = running_ns() + INT64_C(2000000000);

	for (;;) {
		int r = read_one(w, c);

		if (r == 0 || (r == -EAGAIN && w->deaths_told >= least))
			return;
		if (r != 1 && r != -EAGAIN && r != -EOWNERDEAD) {
			fail(w, "reading: %s", quoit_strerror(r));
			return;
		}
		if (r == -EAGAIN && running_ns() > end)
			return;
		if (r == -EAGAIN)
			test_sleep_ms(1);
	}
}

/* Write until the ring is full; wait a little for news that must come. */
static inline void write_all(struct world *w, struct quoit_producer *p, uint32_t least)
{
	int64_t end = running_ns() + INT64_C(2000000000);

	for (;;) {
		int r = w->sure[SURVIVOR] + 8 < SEQS ? write_one(w, p, SURVIVOR) : -EAGAIN;

		if (r == -EPIPE || (r == -EAGAIN && w->deaths_told >= least))
			return;
		if (r != 0 && r != -EAGAIN && r != -EOWNERDEAD) {
			fail(w, "writing: %s", quoit_strerror(r));
			return;
		}
		if (r == -EAGAIN && running_ns() > end)
			return;
		if (r == -EAGAIN)
			test_sleep_ms(1);
	}
}

static inline void check_survivors(struct world *w, bool returned)
{
	uint32_t least, most;

	deaths_expected(w, returned, &least, &most);
	if (w->sc != NULL && w->row->op->role != QUOIT_ROLE_CONSUMER)
		read_all(w, w->sc, least);
	else if (w->sp != NULL && w->sc == NULL)
		write_all(w, w->sp, least);
	else
		return;
	if (w->deaths_told < least || w->deaths_told > most)
		fail(w, "told of %u deaths, not %u to %u", w->deaths_told, least, most);
}

static inline unsigned rows_in_use(const struct quoit *q)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < q->geo.peers; i++)
		n += atomic_load_explicit(&q->rows[i].state, memory_order_acquire) !=
		     QUOIT__ROW_FREE;
	return n;
}

/* Survivors that have just looked after their peers do so again a little later. */
static inline void wait_for_reaping(struct world *w)
{
	int64_t end = running_ns() + NEWS_MS * INT64_C(1000000);
	unsigned living = (w->sp != NULL) + (w->sc != NULL);

	while (w->sc != NULL && rows_in_use(w->q) > living && running_ns() < end) {
		test_sleep_ms(1);
		read_all(w, w->sc, 0);
	}
	if (w->sc != NULL && rows_in_use(w->q) > living)
		fail(w, "the dead endpoint has not been cleaned up after");
}

/* The reservation that was stepped over is published at a later place. */
static inline void check_voided(struct world *w, struct quoit_consumer *c)
{
	unsigned char buf[LEN_MAX];
	uint32_t len, type;
	int r = 0;

	if (!w->voiding)
		return;
	len = record_len(w->row, w->voided_seq);
	type = test_record_fill(buf, len, SURVIVOR, w->voided_seq);
	/* With a full ring its new place has to come round first. */
	for (unsigned i = 0; i <= w->q->geo.slots; i++) {
		r = quoit_commit(w->sp, w->voided, len, type);
		if (r != -EAGAIN)
			break;
		(void)read_one(w, c);
	}
	if (r != 0)
		fail(w, "the survivor's reservation: %s", quoit_strerror(r));
}

/* ---- successors ----------------------------------------------------------------------------- */

static inline int open_until(struct world *w, enum quoit_role role)
{
	int64_t end = running_ns() + INT64_C(1000000000);
	int r;

	do {
		r = role == QUOIT_ROLE_PRODUCER ? quoit_producer_open(w->q, &w->sp)
						: quoit_consumer_open(w->q, &w->sc);
	} while (r == -EBUSY && running_ns() < end);
	if (r != 0)
		fail(w, "a new %s: %s", role == QUOIT_ROLE_PRODUCER ? "producer" : "consumer",
		     quoit_strerror(r));
	return r;
}

/* Fill the ring to the brim and drain it, some times over: no room was lost. SPSC records of no
 * payload fit wherever they come to lie; one header's room stays free. */
static inline void check_capacity(struct world *w)
{
	const struct quoit__geometry *g = &w->q->geo;
	uint32_t room =
		g->kind == QUOIT_SPSC ? (uint32_t)(g->capacity / 8 - 1) : (uint32_t)g->slots;
	struct quoit_msg msg;

	for (uint32_t lap = 0; lap < LAPS; lap++) {
		uint32_t n = 0, m = 0;
		int r;

		while ((r = quoit_send(w->sp, NULL, 0, lap << 16 | n, QUOIT_NOWAIT)) == 0)
			n++;
		if (n != room || r != -EAGAIN)
			fail(w, "lap %u: room for %u records, not %u; %s", lap, n, room,
			     quoit_strerror(r));
		while ((r = quoit_recv(w->sc, NULL, 0, &msg, QUOIT_NOWAIT)) == 1) {
			if (msg.len != 0 || msg.type != (lap << 16 | m))
				fail(w, "lap %u: record %u is %08x", lap, m, msg.type);
			m++;
		}
		if (m != n)
			fail(w, "lap %u: %u records in, %u out; %s", lap, n, m, quoit_strerror(r));
	}
}

static inline void exchange(struct world *w)
{
	for (int i = 0; i < 3; i++) {
		int r = write_one(w, w->sp, SUCCESSOR);

		for (int tries = 0; r == -EOWNERDEAD && tries < 3; tries++)
			r = write_one(w, w->sp, SUCCESSOR);
		if (r != 0)
			fail(w, "a successor cannot write: %s", quoit_strerror(r));
		read_all(w, w->sc, 0);
	}
}

static inline void check_delivery(struct world *w)
{
	for (uint32_t writer = 1; writer < WRITERS; writer++) {
		uint32_t maybe =
			w->maybe[writer] > w->sure[writer] ? w->maybe[writer] : w->sure[writer];

		for (uint32_t seq = 0; seq < SEQS; seq++) {
			unsigned n = w->seen[writer][seq];

			if (seq >= maybe && n != 0)
				fail(w, "record %u of writer %u was never written", seq, writer);
			if (seq < w->sure[writer] && n == 0 && !w->with_victim[writer][seq] &&
			    w->may_miss-- == 0)
				fail(w, "record %u of writer %u is lost", seq, writer);
			if (n > 1)
				fail(w, "record %u of writer %u came %u times", seq, writer, n);
			w->duplicates += n == 1 && w->peeked[writer][seq];
		}
		/* A batch is in up to some record, without holes. */
		for (uint32_t seq = w->sure[writer] + 1; seq < maybe; seq++)
			if (w->seen[writer][seq] > w->seen[writer][seq - 1])
				fail(w, "record %u of writer %u without the one before", seq,
				     writer);
	}
}

/* Whatever a producer was killed in, its successor counts exactly, on an SPSC ring. Nothing is left
 * in the ring now. A consumer that is killed may miss the count of its last record. */
static inline void check_counts(struct world *w)
{
	struct quoit_stats s = test_stats(w->q);

	if (w->q->geo.kind != QUOIT_SPSC || s.consumer_deaths != 0)
		return;
	if (s.produced.records != s.consumed.records || s.produced.bytes != s.consumed.bytes)
		fail(w, "%llu records, %llu bytes sent, %llu and %llu taken",
		     (unsigned long long)s.produced.records, (unsigned long long)s.produced.bytes,
		     (unsigned long long)s.consumed.records, (unsigned long long)s.consumed.bytes);
}

/* ---- the checker, and the end --------------------------------------------------------------- */

static void on_problem(void *arg, int severity, uint64_t offset, const char *text)
{
	if (severity >= 2)
		fail(arg, "check: %s (at %llu)", text, (unsigned long long)offset);
}

static inline void check_bytes(struct world *w, const char *name)
{
	struct quoit_inspect *v;
	int r = quoit_inspect_open(name, on_problem, w, &v);

	if (r != 0) {
		fail(w, "quoit_inspect_open: %s", quoit_strerror(r));
		return;
	}
	r = quoit_inspect_check(v, on_problem, w);
	if (r != 0)
		fail(w, "check found %d problems", r);
	quoit_inspect_close(v);
}

static inline void close_survivors(struct world *w)
{
	quoit_producer_close(w->sp);
	quoit_consumer_close(w->sc);
	w->sp = NULL;
	w->sc = NULL;
}

/* Successors on the ring that w->q is, then everything there is to ask of it. */
static inline void check_ring(struct world *w)
{
	if (w->sp == NULL && open_until(w, QUOIT_ROLE_PRODUCER) != 0)
		return;
	if (w->sc == NULL && open_until(w, QUOIT_ROLE_CONSUMER) != 0)
		return;
	if (w->row->op->role == QUOIT_ROLE_CONSUMER || w->row->op->role == QUOIT_ROLE_NONE)
		read_all(w, w->sc, 0);
	check_voided(w, w->sc);
	read_all(w, w->sc, 0);
	exchange(w);
	check_delivery(w);
	check_counts(w);
	check_capacity(w);
	close_survivors(w);
	check_bytes(w, w->name);
}

/* Removed and made again under the same name, nothing of the old one left. */
static inline void world_end(struct world *w)
{
	int r;

	close_survivors(w);
	if (w->q != NULL)
		quoit_detach(w->q);
	w->q = NULL;
	if (w->row->backend == QUOIT_MEMFD)
		return;
	r = quoit_remove(w->made);
	if (r != 0 && (r != -ENOENT || (w->row->op->flags & (NO_RING | UNMAKES)) == 0))
		fail(w, "cannot be removed: %s", quoit_strerror(r));
	if (w->row->backend == QUOIT_SYSV) {
		key_t key = (key_t)strtoul(strchr(w->made, 'x') + 1, NULL, 16);

		if (shmget(key, 0, 0) >= 0 || semget(key, 0, 0) >= 0)
			fail(w, "System V objects are left behind");
	}
}

/* A creator died: the name can be used, by whoever attaches or creates. */
static inline void check_created(struct world *w)
{
	struct quoit_options o = row_options(w->row);
	int r = w->row->backend == QUOIT_MEMFD ? -ENOENT : quoit_attach(w->made, NULL, &w->q),
	    again;

	if (r != 0 && r != -ENOENT && r != -EOWNERDEAD) {
		fail(w, "attach after the creator's death: %s", quoit_strerror(r));
		return;
	}
	if (r == 0) {
		struct quoit *other;

		again = quoit_create(w->made, &o, &other);
		if (again == 0)
			quoit_detach(other);
		if (again != -EEXIST)
			fail(w, "create on a finished ring: %s", quoit_strerror(again));
	} else {
		w->q = NULL;
		make_ring(w, w->made);
	}
	if (w->row->backend != QUOIT_MEMFD)
		snprintf(w->name, sizeof(w->name), "%s", w->made);
	check_ring(w);
}

/* A remover died: the ring is whole, or going; removing it again ends it for everybody. */
static inline void check_removed(struct world *w)
{
	struct quoit *again;
	int64_t end;
	int r, s;

	r = write_one(w, w->sp, SURVIVOR);
	if (r != 0 && r != -EIDRM && (r != -EAGAIN || w->row->state != FULL))
		fail(w, "writing beside a dead remover: %s", quoit_strerror(r));
	r = quoit_remove(w->made);
	if (r != 0 && r != -ENOENT)
		fail(w, "removing again: %s", quoit_strerror(r));
	end = running_ns() + NEWS_MS * INT64_C(1000000);
	do {
		r = read_one(w, w->sc);
		s = write_one(w, w->sp, SURVIVOR);
	} while ((r != -EIDRM || s != -EIDRM) && running_ns() < end &&
		 w->sure[SURVIVOR] < SEQS - 1);
	if (r != -EIDRM || s != -EIDRM)
		fail(w, "busy peers go on in a removed ring: reading %d, writing %d", r, s);
	again = w->q;
	w->q = NULL;
	close_survivors(w);
	quoit_detach(again);
	make_ring(w, w->made);
	w->voiding = false; /* went with the ring */
	memset(w->sure, 0, sizeof(w->sure));
	memset(w->seen, 0, sizeof(w->seen));
	memset(w->last, 0, sizeof(w->last));
	check_ring(w);
}

/* Who has repaired a ring has cleaned up after the dead: nobody else needs to. */
static inline void check_repaired(struct world *w)
{
	unsigned living = (w->sp != NULL) + (w->sc != NULL);

	if (w->l->result < 0)
		fail(w, "repair: %s", quoit_strerror(w->l->result));
	if (rows_in_use(w->q) != living)
		fail(w, "repair has returned, and %u endpoints are not cleaned up after",
		     rows_in_use(w->q) - living);
}

/* The victim is dead and reaped by the kernel. */
static inline void world_check(struct world *w, bool returned)
{
	if (w->l->failed != 0)
		fail(w, "the victim failed before the operation, line %u", w->l->failed);
	if ((w->row->op->flags & NO_RING) != 0) {
		check_created(w);
		return;
	}
	if ((w->row->op->flags & UNMAKES) != 0) {
		check_removed(w);
		return;
	}
	if (w->row->op->run == run_repair && returned)
		check_repaired(w);
	account_victim(w, returned);
	check_loan(w);
	if (w->sleeper != 0)
		check_sleeper(w, returned);
	else
		check_survivors(w, returned);
	if (w->row->pair)
		wait_for_reaping(w);
	check_ring(w);
}

#endif
