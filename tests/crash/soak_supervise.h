/* SPDX-License-Identifier: MIT */
/*
 * The soak's supervisor: starts everybody, kills, stops, continues and starts again, and watches
 * that what is left goes on.
 */
#ifndef QUOIT_TESTS_CRASH_SOAK_SUPERVISE_H
#define QUOIT_TESTS_CRASH_SOAK_SUPERVISE_H

#include "crash/running.h"
#include "crash/soak_life.h"
#include "ring/ring.h"

#include <sys/resource.h>

#include <quoit/inspect.h>

#define MS           INT64_C(1000000)
#define SABOTAGE_NS  (100 * MS) /* when faults begin: everybody is at work */
#define GLANCE_NS    (5 * MS)
#define COME_UP_NS   (30000 * MS) /* on a machine where many wait for a processor */
#define HANG_NS      (200 * MS)   /* long enough for a standstill that was planted */
#define LONG_STOP_NS (1000 * MS)

/* One process, or its empty place. */
struct peer {
	pid_t pid;            /* 0: nobody */
	bool stopped, was_up; /* was_up: when it was stopped */
	bool dying;           /* killed, and not gone yet */
	int64_t runs_since;   /* started, or continued */
	int64_t due;          /* to be continued, or started again */
};

struct tally {
	uint64_t rings, kills[2], killed_stopped, stops, long_stops, left;
	uint64_t records, missing; /* missing: with those who died */
	uint64_t again, late;
	uint64_t told[2], ends, busy;
	uint64_t ring_deaths, ring_redelivered, voided, republished;
	int64_t worst_gap_ns, run_ns;
};

/* What deaths allow; read by soak_reckon.h. */
struct books {
	struct test_ring ring;
	struct quoit_inspect *view;
	uint64_t seed;
	struct peer peer[PEERS_MAX];
	uint64_t sure[2], maybe[2]; /* deaths that the ring must count, and may count besides */
	uint64_t may_be_late;
	/* Progress. */
	uint64_t noted;
	int64_t watched_ns, standstill_ns;
};

static struct books books;
static struct tally *tally; /* shared with the first process */

static unsigned peers(void)
{
	return options.side[0] + options.side[1];
}

static bool is_producer(unsigned peer)
{
	return peer < options.side[0];
}

static uint64_t below(uint64_t n)
{
	return test_random(&books.seed) % n;
}

/* ---- starting and burying ------------------------------------------------------------------- */

static void start(unsigned i)
{
	struct life life = {.ring = books.ring.name,
			    .producer = is_producer(i),
			    .index = is_producer(i) ? i : i - options.side[0],
			    .seed = test_random(&books.seed)};
	struct line *line = &ledger->line[i];

	atomic_store(&line->phase, AWAY);
	atomic_store(&line->there_ns, COMING);
	books.peer[i] = (struct peer){.runs_since = running_ns()};
	books.peer[i].pid = test_spawn(live, &life);
}

/* Records whose fate the dead one took along. */
static void excuse(uint64_t record)
{
	atomic_fetch_or(entry(record), ENTRY_EXCUSED);
}

static void expect_again(uint64_t record)
{
	if ((atomic_load(entry(record)) & ENTRY_AGAINS) != ENTRY_AGAINS)
		atomic_fetch_add(entry(record), ENTRY_AGAIN);
}

static void bury_producer(unsigned i)
{
	struct line *line = &ledger->line[i];
	uint64_t begun = atomic_load(&line->begun);

	for (uint64_t n = atomic_load(&line->committed); n < begun; n++)
		excuse((uint64_t)i << 32 | n);
	/* The successor does not use their numbers again. */
	atomic_store(&line->committed, begun);
}

static void bury_consumer(unsigned i)
{
	struct line *line = &ledger->line[i];
	uint32_t at = 0;
	struct record r;

	for (uint32_t k = 0; k < atomic_load(&line->held); k++)
		expect_again(line->held_record[k]);
	books.may_be_late += atomic_load(&line->taking);
	/* What had been copied may have been taken, and nothing else. */
	while (atomic_load(&line->receiving) != 0 && at < sizeof(line->received) &&
	       record_read(line->received + at, (uint32_t)sizeof(line->received) - at, &r)) {
		if (r.producer < options.side[0] &&
		    r.number < atomic_load(&ledger->line[r.producer].begun))
			excuse((uint64_t)r.producer << 32 | r.number);
		at += (r.len + 7) & ~7u;
	}
	atomic_store(&line->held, 0);
	atomic_store(&line->taking, 0);
	atomic_store(&line->receiving, 0);
}

static void bury(unsigned i)
{
	unsigned side = is_producer(i) ? 0 : 1;
	enum phase phase = (enum phase)atomic_load(&ledger->line[i].phase);

	books.sure[side] += phase == UP;
	books.maybe[side] += phase == OPENING || phase == CLOSING;
	tally->kills[side]++;
	if (is_producer(i))
		bury_producer(i);
	else
		bury_consumer(i);
	atomic_store(&ledger->line[i].phase, AWAY);
}

/* ---- strikes -------------------------------------------------------------------------------- */

static void kill_peer(unsigned i)
{
	atomic_store(&ledger->line[i].there_ns, GOING);
	MUST(kill(books.peer[i].pid, SIGKILL) == 0);
	books.peer[i].dying = true;
}

static void stop_peer(unsigned i, int64_t now)
{
	struct peer *peer = &books.peer[i];
	/* 1 to 200 ms, short ones more often; now and then over a second. */
	int64_t ns = below(50) == 0 ? LONG_STOP_NS + (int64_t)below(400) * MS
				    : (1 + (int64_t)(below(200) * below(200) / 200)) * MS;

	MUST(kill(peer->pid, SIGSTOP) == 0);
	peer->stopped = true;
	peer->was_up = atomic_load(&ledger->line[i].phase) == UP;
	peer->due = now + ns;
	tally->stops++;
	tally->long_stops += ns >= LONG_STOP_NS;
}

/* Stopped is not dead: its row is its own still. */
static void expect_row(unsigned i)
{
	const struct line *line = &ledger->line[i];
	struct quoit_peer rows[4 * PEERS_MAX];
	int n;

	if (!books.peer[i].was_up || atomic_load(&line->phase) != UP)
		return;
	if (sabotaged(REAP))
		atomic_store(&books.ring.q->rows[atomic_load(&line->row)].state, QUOIT__ROW_FREE);
	n = quoit_inspect_peers(books.view, rows, TEST_COUNT(rows));
	for (int k = 0; k < n && k < (int)TEST_COUNT(rows); k++)
		if (rows[k].id == atomic_load(&line->row) && rows[k].pid == books.peer[i].pid &&
		    (rows[k].state == QUOIT_PEER_STOPPED || rows[k].state == QUOIT_PEER_ALIVE))
			return;
	fail("a stopped process was taken for dead", i, n);
}

static void continue_peer(unsigned i, int64_t now)
{
	struct peer *peer = &books.peer[i];

	expect_row(i);
	MUST(kill(peer->pid, SIGCONT) == 0);
	peer->stopped = false;
	peer->runs_since = now;
}

static void strike(int64_t now)
{
	unsigned i = (unsigned)below(peers());

	if (books.peer[i].pid == 0 || books.peer[i].dying)
		return;
	if (below(100) >= options.stop_percent)
		kill_peer(i);
	else if (!books.peer[i].stopped)
		stop_peer(i, now);
}

/* Where everybody is, for whoever has to find out why nothing moves. */
static void describe(void)
{
	struct quoit_stats s = test_stats(books.ring.q);

	fprintf(stderr, "head %llu, tail %llu, used %llu of %llu, %u producers, %u consumers\n",
		(unsigned long long)s.head, (unsigned long long)s.tail, (unsigned long long)s.used,
		(unsigned long long)s.capacity, s.producers, s.consumers);
	for (unsigned i = 0; i < peers(); i++) {
		const struct peer *peer = &books.peer[i];
		char path[64], line[64] = "", call[128] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", peer->pid);
		f = fopen(path, "re");
		if (f != NULL && fgets(line, sizeof(line), f) == NULL)
			line[0] = '\0';
		if (f != NULL)
			fclose(f);
		snprintf(path, sizeof(path), "/proc/%d/syscall", peer->pid);
		f = fopen(path, "re");
		if (f != NULL && fgets(call, sizeof(call), f) == NULL)
			call[0] = '\0';
		if (f != NULL)
			fclose(f);
		fprintf(stderr, "peer %u, phase %u%s%s: %.40s ... %s\n", i,
			atomic_load(&ledger->line[i].phase), peer->stopped ? ", stopped" : "",
			peer->dying ? ", dying" : "", line, call);
	}
}

_Noreturn static void fail_describing(const char *what, long long a, long long b)
{
	describe();
	fail(what, a, b);
}

/* ---- watching ------------------------------------------------------------------------------- */

/* This one is gone. Mostly there is a successor at once. */
static void gone(unsigned i, int status, int64_t now)
{
	struct peer *peer = &books.peer[i];

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		tally->left++;
	} else if (peer->dying && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		tally->killed_stopped += peer->stopped;
		bury(i);
	} else {
		fail("a peer failed", i, status);
	}
	*peer = (struct peer){.due = now + (below(4) == 0 ? (int64_t)below(20) * MS : 0)};
}

static void collect(int64_t now)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		unsigned i = 0;

		while (i < peers() && books.peer[i].pid != pid)
			i++;
		MUST(i < peers());
		gone(i, status, now);
	}
}

/* Continue and start again who is due. */
static void tend(int64_t now)
{
	for (unsigned i = 0; i < peers(); i++) {
		struct peer *peer = &books.peer[i];

		if (peer->dying)
			continue;
		if (peer->pid != 0 && peer->stopped && now >= peer->due)
			continue_peer(i, now);
		else if (peer->pid == 0 && now >= peer->due)
			start(i);
		else if (peer->pid != 0 && !peer->stopped && now - peer->runs_since > COME_UP_NS &&
			 atomic_load(&ledger->line[i].phase) < UP)
			fail_describing("a peer does not come up", i, 0);
	}
}

static bool somebody_runs(bool producer)
{
	unsigned first = producer ? 0 : options.side[0];

	for (unsigned i = first; i < first + options.side[producer ? 0 : 1]; i++)
		if (books.peer[i].pid != 0 && !books.peer[i].stopped && !books.peer[i].dying &&
		    atomic_load(&ledger->line[i].phase) == UP)
			return true;
	return false;
}

static uint64_t taken_so_far(void)
{
	uint64_t sum = 0;

	for (unsigned i = options.side[0]; i < peers(); i++)
		sum += atomic_load(&ledger->line[i].taken);
	return sum;
}

/* For as long as a producer and a consumer run, records must flow. Time in which we did not run
 * ourselves does not count: maybe nobody did. */
static void watch(int64_t now)
{
	uint64_t taken = taken_so_far();
	int64_t looked_away = now - books.watched_ns;

	if (taken != books.noted)
		books.standstill_ns = 0;
	else if (somebody_runs(true) && somebody_runs(false))
		books.standstill_ns += looked_away < GLANCE_NS ? looked_away : GLANCE_NS;
	if (books.standstill_ns > tally->worst_gap_ns)
		tally->worst_gap_ns = books.standstill_ns;
	if (books.standstill_ns > (options.sabotage == HANG ? HANG_NS : options.stall_ms * MS))
		fail_describing("no progress, with a producer and a consumer running",
				books.standstill_ns / MS, (long long)taken);
	books.noted = taken;
	books.watched_ns = now;
}

static void tell(int64_t second)
{
	if (options.quiet)
		return;
	printf("soak %s %s: %3lld s, %llu records, killed %llu + %llu, stopped %llu, left %llu, "
	       "told of %llu deaths, worst gap %.0f ms\n",
	       quoit_kind_name(options.kind), quoit_backend_name(options.backend),
	       (long long)second, (unsigned long long)(tally->records + taken_so_far()),
	       (unsigned long long)tally->kills[0], (unsigned long long)tally->kills[1],
	       (unsigned long long)tally->stops, (unsigned long long)tally->left,
	       (unsigned long long)(tally->told[0] + tally->told[1] +
				    atomic_load(&ledger->told[0]) + atomic_load(&ledger->told[1])),
	       (double)tally->worst_gap_ns / 1e6);
}

static void nap(int64_t ns)
{
	struct timespec ts = {.tv_nsec = ns < MS ? (ns > 0 ? ns : 0) : MS};

	nanosleep(&ts, NULL);
}

/* The numbers of a producer are nearly used up. */
static bool used_up(void)
{
	for (unsigned i = 0; i < options.side[0]; i++)
		if (atomic_load(&ledger->line[i].begun) + 2 * BATCH > numbers)
			return true;
	return false;
}

static void disturb(uint32_t ms)
{
	int64_t begin = running_ns(), now = begin, next = begin, second = 1, ran = tally->run_ns;
	uint64_t mean = (uint64_t)(options.kill_ms * 1e6);
	bool armed = options.sabotage == NONE;

	/* In time also where all processors are taken; if we may. */
	(void)setpriority(PRIO_PROCESS, 0, -5);
	for (unsigned i = peers(); i-- != 0;) /* consumers first */
		start(i);
	books.watched_ns = now;
	/* A standstill takes as long as it takes. */
	while ((now - begin < ms * MS && !used_up()) || !armed || options.sabotage == HANG) {
		collect(now);
		tend(now);
		watch(now);
		if (mean != 0 && now >= next) {
			strike(now);
			next = now + (int64_t)below(2 * mean + 1);
		}
		if (!armed && now - begin > SABOTAGE_NS) {
			armed = true;
			atomic_store(&ledger->sabotages_left,
				     options.sabotage == SWAP || options.sabotage == HANG
					     ? UINT32_MAX
					     : 4);
		}
		if (now - begin >= second * 1000 * MS)
			tell(second++);
		nap(mean != 0 ? next - now : MS);
		now = running_ns();
		tally->run_ns = ran + now - begin;
	}
}

/* Everybody goes on, comes up, and ends; whoever reads, at the end of the stream. */
static void end_the_stream(void)
{
	int64_t end = running_ns() + 2 * COME_UP_NS;
	unsigned up = 0;

	for (unsigned i = 0; i < peers(); i++)
		if (books.peer[i].stopped && !books.peer[i].dying)
			continue_peer(i, running_ns());
	atomic_store(&ledger->settle, 1);
	while (up < peers()) {
		int64_t now = running_ns();

		collect(now);
		tend(now);
		up = 0;
		for (unsigned i = 0; i < peers(); i++)
			up += books.peer[i].pid != 0 && !books.peer[i].dying &&
			      atomic_load(&ledger->line[i].phase) == UP;
		if (now > end)
			fail_describing("not everybody comes up at the end", up, peers());
		test_sleep_ms(1);
	}
	atomic_store(&ledger->stop, 1);
	while (up != 0) {
		collect(running_ns());
		up = 0;
		for (unsigned i = 0; i < peers(); i++)
			up += books.peer[i].pid != 0;
		if (running_ns() > end)
			fail_describing("not everybody ends", up, peers());
		test_sleep_ms(1);
	}
}

#endif
