/* SPDX-License-Identifier: MIT */
/*
 * One kill at a time, on a ring where nothing else happens. A victim is brought to where it is to
 * die; another process waits in one call of the library; then the clock starts and the victim is
 * killed.
 *
 *   told-consumer   a producer dies; a consumer waits at the empty ring: told -EOWNERDEAD
 *   told-producer   the last consumer dies; a producer waits at the full ring: told -EOWNERDEAD
 *   loan            MPMC: a consumer dies with a record on loan; another waits: has that record
 *   other           MPMC: a producer dies in a reservation; another sends: the record has come
 *   successor       a producer dies in a reservation; a successor opens and sends: it has come
 *   reader          a consumer dies with a record peeked at; a successor opens: has that record
 *   reap            a peer has died holding a slot: the call that cleans up
 *   attach, open, close, detach: of a fresh process, nobody dies
 *
 * A successor is a process that has attached and sleeps until it may open.
 */
#ifndef QUOIT_TESTS_CRASH_RECOVERY_KILLS_H
#define QUOIT_TESTS_CRASH_RECOVERY_KILLS_H

#include "crash/recovery_waits.h"
#include "ring/ring.h"

#define PATIENCE_MS 5000

enum act { STAND, WAIT_DEATH, WAIT_RECORD, OPEN_AND_SEND, OPEN_AND_READ };

struct actor {
	enum quoit_role role;
	enum act act;
	const char *ring;
	enum quoit_wait wait;
	struct stage *stage;
	int cue; /* pipe: the successor may open */
};

/* Between the processes of one ring. */
struct stage {
	_Atomic uint32_t standing; /* the victim is where it is to die */
	_Atomic uint32_t attached; /* the successor is ready */
	_Atomic uint32_t go;       /* rounds that the waiter may begin */
	_Atomic uint32_t done;     /* rounds that have a result */
	int64_t done_ns;
	uint64_t value; /* of the record that came */
	int64_t visit_ns[4];
};

struct scene {
	enum quoit_kind kind;
	enum quoit_wait wait;
	struct test_ring ring;
	struct stage *stage;
	int cue[2];
	pid_t waiter;
	struct quoit_producer *p; /* ours, where the scene needs one */
	struct waits waits;
	uint64_t sent, seed;
	struct samples samples;
};

/* ---- actors --------------------------------------------------------------------------------- */

static void wait_word(_Atomic uint32_t *word, uint32_t value)
{
	if (!test_wait_flag(word, value, 60000))
		_exit(97);
}

static void report_result(struct stage *s)
{
	s->done_ns = test_now_ns();
	atomic_fetch_add(&s->done, 1);
}

/* A victim. Producers reserve; consumers look at a record, if there is one. */
static void stand(struct actor *a, struct quoit_producer *p, struct quoit_consumer *c)
{
	struct quoit_msg msg;
	void *payload;
	int r;

	if (p != NULL) {
		CHILD_CHECK(quoit_reserve(p, 8, &payload) == 0);
		memset(payload, 0xee, 8);
	} else {
		r = quoit_peek(c, &msg);
		CHILD_CHECK(r == 1 || r == -EAGAIN);
	}
	atomic_store(&a->stage->standing, 1);
	for (;;)
		pause();
}

/* One call after the other, and a result when it comes. */
static void wait_in_rounds(struct actor *a, struct quoit_producer *p, struct quoit_consumer *c)
{
	struct quoit_msg msg;
	uint64_t value = 0;
	int r, wanted = a->act == WAIT_DEATH ? -EOWNERDEAD : 1;

	for (uint32_t round = 1;; round++) {
		wait_word(&a->stage->go, round);
		do {
			r = p != NULL ? quoit_send(p, &value, 8, 0, NULL)
				      : quoit_recv(c, &value, 8, &msg, NULL);
			CHILD_CHECK(r == wanted || r == -EOWNERDEAD || (p != NULL && r == 0));
		} while (r != wanted);
		a->stage->value = value;
		report_result(a->stage);
	}
}

static int actor_main(void *arg)
{
	struct actor *a = arg;
	struct quoit_producer *p = NULL;
	struct quoit_consumer *c = NULL;
	bool succeeds = a->act == OPEN_AND_SEND || a->act == OPEN_AND_READ;
	struct quoit_msg msg;
	uint64_t value;
	struct quoit *q;

	CHILD_CHECK(quoit_attach(a->ring, NULL, &q) == 0);
	if (succeeds) {
		char byte;

		atomic_store(&a->stage->attached, 1);
		CHILD_CHECK(read(a->cue, &byte, 1) == 1);
	}
	if (a->role == QUOIT_ROLE_PRODUCER)
		CHILD_CHECK(quoit_producer_open(q, &p) == 0 &&
			    quoit_producer_set_wait(p, a->wait) == 0);
	else
		CHILD_CHECK(quoit_consumer_open(q, &c) == 0 &&
			    quoit_consumer_set_wait(c, a->wait) == 0);
	switch (a->act) {
	case STAND:
		stand(a, p, c);
		break;
	case OPEN_AND_SEND:
		value = 7;
		CHILD_CHECK(quoit_send(p, &value, 8, 0, NULL) == 0);
		break;
	case OPEN_AND_READ:
		CHILD_CHECK(quoit_recv(c, &a->stage->value, 8, &msg, NULL) == 1);
		report_result(a->stage);
		break;
	default:
		wait_in_rounds(a, p, c);
	}
	quoit_producer_close(p);
	quoit_consumer_close(c);
	quoit_detach(q);
	return 0;
}

static pid_t enter(struct scene *s, enum quoit_role role, enum act act)
{
	struct actor a = {.role = role,
			  .act = act,
			  .ring = s->ring.name,
			  .wait = s->wait,
			  .stage = s->stage,
			  .cue = s->cue[0]};

	return test_spawn(actor_main, &a);
}

/* ---- one kill ------------------------------------------------------------------------------- */

static pid_t bring_victim(struct scene *s, enum quoit_role role)
{
	pid_t victim;

	atomic_store(&s->stage->standing, 0);
	victim = enter(s, role, STAND);
	if (!test_wait_flag(&s->stage->standing, 1, PATIENCE_MS))
		fail("the victim does not get there", role, 0);
	return victim;
}

/* At any phase of a sleeper's naps, which last 50 ms. */
static void any_phase(struct scene *s)
{
	struct timespec ts = {.tv_nsec = (long)(5 + test_random_below(&s->seed, 50)) * 1000000 +
					 (long)test_random_below(&s->seed, 1000000)};

	nanosleep(&ts, NULL);
}

static void await_result(struct scene *s, uint32_t round, int64_t begin, const char *what)
{
	int64_t took, running = -1;

	if (!test_wait_flag(&s->stage->done, round, PATIENCE_MS))
		fail(what, round, 0);
	took = s->stage->done_ns - begin;
	if (s->waits.n != 0) {
		running = took - end_waits(&s->waits);
		running = running > 0 ? running : 0; /* two may have waited at one time */
	}
	add_sample(&s->samples, took, running);
}

static void send_one(struct scene *s)
{
	s->sent++;
	MUST(quoit_send(s->p, &s->sent, 8, 0, QUOIT_NOWAIT) == 0);
}

static void told_round(struct scene *s, uint32_t round, enum quoit_role victim_role)
{
	pid_t victim = bring_victim(s, victim_role);
	int64_t begin;

	atomic_store(&s->stage->go, round);
	any_phase(s);
	if (atomic_load(&s->stage->done) != round - 1)
		fail("told of a death before it", round, 0);
	begin = test_now_ns();
	test_kill(victim);
	await_result(s, round, begin, "not told of a death");
}

static void loan_round(struct scene *s, uint32_t round)
{
	pid_t victim;
	int64_t begin;

	send_one(s);
	victim = bring_victim(s, QUOIT_ROLE_CONSUMER);
	atomic_store(&s->stage->go, round);
	any_phase(s);
	if (atomic_load(&s->stage->done) != round - 1)
		fail("a record on loan was delivered to another", round, 0);
	begin = test_now_ns();
	test_kill(victim);
	await_result(s, round, begin, "the loan does not come back");
	if (s->stage->value != s->sent)
		fail("another record than was on loan", (long long)s->stage->value,
		     (long long)s->sent);
}

static void other_round(struct scene *s, uint32_t round)
{
	pid_t victim = bring_victim(s, QUOIT_ROLE_PRODUCER);
	int64_t begin;

	atomic_store(&s->stage->go, round);
	any_phase(s);
	watch_waits(&s->waits, (const pid_t[]){getpid(), s->waiter}, 2);
	begin = test_now_ns();
	MUST(kill(victim, SIGKILL) == 0);
	send_one(s);
	await_result(s, round, begin, "the other producer's record does not come");
	MUST(test_wait(victim) == 128 + SIGKILL);
	if (s->stage->value != s->sent)
		fail("another record than was sent", (long long)s->stage->value,
		     (long long)s->sent);
}

static void succeed(struct scene *s, uint32_t round, enum quoit_role role)
{
	bool producer = role == QUOIT_ROLE_PRODUCER;
	pid_t victim, successor;
	siginfo_t gone;
	int64_t begin;

	if (!producer)
		send_one(s);
	victim = bring_victim(s, role);
	atomic_store(&s->stage->attached, 0);
	successor = enter(s, role, producer ? OPEN_AND_SEND : OPEN_AND_READ);
	if (!test_wait_flag(&s->stage->attached, 1, PATIENCE_MS))
		fail("the successor does not get there", role, 0);
	atomic_store(&s->stage->go, round);
	test_sleep_ms(5); /* everybody sleeps */
	watch_waits(&s->waits, (const pid_t[]){getpid(), victim, successor, s->waiter},
		    producer ? 4 : 3);
	begin = test_now_ns();
	MUST(kill(victim, SIGKILL) == 0);
	MUST(waitid(P_PID, (id_t)victim, &gone, WEXITED | WNOWAIT) == 0);
	MUST(write(s->cue[1], "", 1) == 1);
	await_result(s, round, begin, "the successor's record does not come");
	MUST(test_wait(victim) == 128 + SIGKILL);
	if (s->stage->value != (producer ? 7 : s->sent))
		fail("another record than the successor's", (long long)s->stage->value, role);
	if (test_wait(successor) != 0)
		fail("the successor failed", role, 0);
}

static void successor_round(struct scene *s, uint32_t round)
{
	succeed(s, round, QUOIT_ROLE_PRODUCER);
}

static void reader_round(struct scene *s, uint32_t round)
{
	succeed(s, round, QUOIT_ROLE_CONSUMER);
}

static void reap_round(struct scene *s, uint32_t round)
{
	enum quoit_role role = round % 2 == 0 ? QUOIT_ROLE_PRODUCER : QUOIT_ROLE_CONSUMER;
	struct quoit_counters counters = {0};
	struct sync_lock lock;
	struct quoit_consumer *c;
	uint64_t value;
	unsigned reaped;
	int64_t begin;

	if (role == QUOIT_ROLE_CONSUMER)
		send_one(s);
	test_kill(bring_victim(s, role));
	MUST(quoit__lock_open(s->ring.q, &lock) == 0);
	begin = test_now_ns();
	reaped = quoit__reap(s->ring.q, &lock, UINT32_MAX, &counters);
	add_sample(&s->samples, test_now_ns() - begin, -1);
	quoit__lock_close(&lock);
	if (reaped != 1 || counters.deaths != 1)
		fail("dead peers found", reaped, (long long)counters.deaths);
	if (role == QUOIT_ROLE_PRODUCER)
		return;
	if (counters.redelivered != (s->kind == QUOIT_MPMC))
		fail("given back", (long long)counters.redelivered, 0);
	MUST(quoit_consumer_open(s->ring.q, &c) == 0);
	if (test_take(c, &value) != 1 || value != s->sent)
		fail("the dead one's record is gone", (long long)s->sent, 0);
	quoit_consumer_close(c);
}

/* ---- scenes --------------------------------------------------------------------------------- */

static void open_scene(struct scene *s, enum quoit_kind kind, enum quoit_wait wait)
{
	struct quoit_options opt = test_options(kind);

	memset(s, 0, sizeof(*s));
	s->kind = kind;
	s->wait = wait;
	s->seed = options.seed;
	s->stage = test_shared(sizeof(*s->stage));
	MUST(pipe2(s->cue, O_CLOEXEC) == 0);
	opt.slot_size = kind == QUOIT_MPMC ? 64 : 0;
	opt.capacity = 65536;
	test_ring_make(&s->ring, wait == QUOIT_WAIT_SYSVSEM ? QUOIT_SYSV : options.backend, &opt);
}

static void close_scene(struct scene *s, uint64_t producers, uint64_t consumers)
{
	quoit_producer_close(s->p);
	expect_deaths(s->ring.q, producers, consumers);
	munmap(s->stage, sizeof(*s->stage));
	close(s->cue[0]);
	close(s->cue[1]);
	test_ring_drop(&s->ring);
}

static struct scene scene;

static bool wanted(const char *what)
{
	return options.what == NULL || strcmp(options.what, what) == 0;
}

static void measure_told(enum quoit_kind kind, enum quoit_wait wait, bool consumer)
{
	const char *what = consumer ? "told-consumer" : "told-producer";
	struct scene *s = &scene;

	if (!wanted(what))
		return;
	open_scene(s, kind, wait);
	s->waiter = enter(s, consumer ? QUOIT_ROLE_CONSUMER : QUOIT_ROLE_PRODUCER, WAIT_DEATH);
	for (unsigned i = 1; i <= options.kills; i++)
		told_round(s, i, consumer ? QUOIT_ROLE_PRODUCER : QUOIT_ROLE_CONSUMER);
	test_kill(s->waiter);
	close_scene(s, consumer ? options.kills : 1, consumer ? 1 : options.kills);
	print_samples(kind, wait, what, &s->samples);
}

static void measure_mpmc(enum quoit_wait wait, const char *what,
			 void (*round)(struct scene *, uint32_t), bool loans)
{
	struct scene *s = &scene;

	if (!wanted(what))
		return;
	open_scene(s, QUOIT_MPMC, wait);
	MUST(quoit_producer_open(s->ring.q, &s->p) == 0);
	s->waiter = enter(s, QUOIT_ROLE_CONSUMER, WAIT_RECORD);
	for (unsigned i = 1; i <= options.kills; i++)
		round(s, i);
	test_kill(s->waiter);
	close_scene(s, loans ? 0 : options.kills, loans ? options.kills + 1 : 1);
	print_samples(QUOIT_MPMC, wait, what, &s->samples);
}

static void measure_successor(enum quoit_kind kind, enum quoit_wait wait)
{
	struct scene *s = &scene;

	if (!wanted("successor"))
		return;
	open_scene(s, kind, wait);
	s->waiter = enter(s, QUOIT_ROLE_CONSUMER, WAIT_RECORD);
	for (unsigned i = 1; i <= options.kills; i++)
		successor_round(s, i);
	test_kill(s->waiter);
	close_scene(s, options.kills, 1);
	print_samples(kind, wait, "successor", &s->samples);
}

/* In rounds where a consumer dies there is a producer: a new one each time, for it would meet a
 * broken pipe, and SPSC has room for one. */
static void measure_call(enum quoit_kind kind, const char *what,
			 void (*round)(struct scene *, uint32_t), bool producers_too)
{
	unsigned producers = producers_too ? options.kills / 2 : 0;
	struct scene *s = &scene;

	if (!wanted(what))
		return;
	open_scene(s, kind, QUOIT_WAIT_FUTEX);
	for (unsigned i = 1; i <= options.kills; i++) {
		if (!producers_too || i % 2 != 0)
			MUST(quoit_producer_open(s->ring.q, &s->p) == 0);
		round(s, i);
		quoit_producer_close(s->p);
		s->p = NULL;
	}
	close_scene(s, producers, options.kills - producers);
	print_samples(kind, 0, what, &s->samples);
}

static int visitor_main(void *arg)
{
	struct actor *a = arg;
	int64_t at[5];
	struct quoit_producer *p;
	struct quoit *q;

	at[0] = test_now_ns();
	CHILD_CHECK(quoit_attach(a->ring, NULL, &q) == 0);
	at[1] = test_now_ns();
	CHILD_CHECK(quoit_producer_open(q, &p) == 0);
	at[2] = test_now_ns();
	quoit_producer_close(p);
	at[3] = test_now_ns();
	quoit_detach(q);
	at[4] = test_now_ns();
	for (unsigned i = 0; i < 4; i++)
		a->stage->visit_ns[i] = at[i + 1] - at[i];
	return 0;
}

static void measure_visits(enum quoit_kind kind)
{
	static const char *const names[4] = {"attach", "open", "close", "detach"};
	static struct samples samples[4];
	struct scene *s = &scene;

	if (!wanted("visit"))
		return;
	memset(samples, 0, sizeof(samples));
	open_scene(s, kind, QUOIT_WAIT_FUTEX);
	for (unsigned i = 0; i < options.kills; i++) {
		struct actor a = {.ring = s->ring.name, .stage = s->stage};

		if (test_wait(test_spawn(visitor_main, &a)) != 0)
			fail("a visitor failed", i, 0);
		for (unsigned k = 0; k < 4; k++)
			add_sample(&samples[k], s->stage->visit_ns[k], -1);
	}
	close_scene(s, 0, 0);
	for (unsigned k = 0; k < 4; k++)
		print_samples(kind, 0, names[k], &samples[k]);
}

#endif
