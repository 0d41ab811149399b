/* SPDX-License-Identifier: MIT */
/*
 * Fan-in: several rings to one output, by a pollset. Records of one ring stay in their order; rings
 * take turns, so one that floods does not hold up the others. A ring that ends leaves the set, and
 * the program ends with the last one.
 */
#include "consume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <quoit/pollset.h>

#define READY_MOST 16

struct source {
	const char *name;
	struct quoit *ring;
	struct quoit_consumer *consumer; /* the set's, once it is in */
	struct quoit_member *member;
	struct quoit_info info;
	struct quoit_counters counters; /* when it was closed */
	unsigned index;
	bool orphaned, ended;
};

struct many {
	struct job *j;
	struct quoit_pollset *set;
	struct source *source;
	unsigned n, left; /* of n, those that have not ended */
	int status;       /* the first that did not end well */
	int64_t moved_ns; /* when a record came last */
};

/* What the rest of the program works on. */
static void choose(struct job *j, const struct source *s)
{
	j->ring = s->ring;
	j->consumer = s->consumer;
	j->info = s->info;
	if (j->verifier != NULL)
		verifier_ring(j->verifier, s->index);
}

/* ---- beginning ------------------------------------------------------------------------------ */

static int open_source(struct many *m, struct source *s)
{
	struct job *j = m->j;
	int rc, status;

	j->s.ring = s->name;
	status = open_ring(&j->s, &s->ring);
	if (status != STATUS_OK)
		return status;
	j->ring = s->ring;
	j->consumer = NULL;
	rc = open_consumer(j);
	s->consumer = j->consumer;
	s->info = j->info;
	if (rc == 0)
		rc = quoit_pollset_add_consumer(m->set, s->consumer, s, &s->member);
	if (rc == 0)
		return STATUS_OK;
	quoit_consumer_close(s->consumer);
	s->consumer = NULL;
	if (rc == -EINTR && stop_signal != 0)
		return STATUS_SIGNAL + stop_signal;
	return ring_error(s->name, "become its consumer", rc);
}

static int open_sources(struct many *m)
{
	const struct settings *s = &m->j->s;
	struct quoit_pollset_options options = {.size = sizeof(options), .members = m->n};
	int rc = quoit_pollset_create(&options, &m->set);

	m->source = calloc(m->n, sizeof(*m->source));
	if (rc == 0 && m->source == NULL)
		rc = -ENOMEM;
	if (rc != 0)
		return ring_error(s->ring, "read it with others", rc);
	for (unsigned i = 0; i < m->n; i++) {
		m->source[i].name = i == 0 ? s->ring : s->more[i - 1];
		m->source[i].index = i;
	}
	for (unsigned i = 0; i < m->n; i++) {
		int status = open_source(m, &m->source[i]);

		if (status != STATUS_OK)
			return status;
		m->left++;
	}
	return STATUS_OK;
}

/* ---- one turn of one ring ------------------------------------------------------------------- */

/* It is over, well or not: out of the set. The caller holds it. */
static void end_source(struct many *m, struct source *s, int rc)
{
	quoit_consumer_counters(s->consumer, &s->counters);
	s->ended = true;
	m->left--;
	if (rc != 0) {
		int status = judge(m->j, rc);

		if (m->status == STATUS_OK)
			m->status = status;
	}
	(void)quoit_pollset_remove(m->set, s->member);
}

static void go_on(struct many *m, struct source *s)
{
	if (!s->orphaned)
		return;
	s->orphaned = false;
	if (!m->j->s.quiet)
		say("%s: another producer goes on", s->info.name);
}

/* A peek without a record. */
static void no_record(struct many *m, struct source *s, int rc)
{
	if (rc == -EAGAIN || rc == -EINTR)
		return;
	if (rc != -EOWNERDEAD || !m->j->s.resume) {
		end_source(m, s, rc);
		return;
	}
	s->orphaned = true;
	if (!m->j->s.quiet)
		say("%s: the producer died; waiting for its successor", s->info.name);
}

/* 0, or what ends the program. */
static int take_turn(struct many *m, struct source *s)
{
	struct quoit_msg msgs[QUOIT_BATCH_MAX];
	struct job *j = m->j;
	int n;

	choose(j, s);
	n = quoit_peek_batch(s->consumer, msgs, batch_now(j, batch_most(j)));
	if (n <= 0) {
		no_record(m, s, n);
		return 0;
	}
	go_on(m, s);
	m->moved_ns = now_ns();
	return take_records(j, msgs, (unsigned)n);
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* SIGTERM: what is in the rings now is still taken. */
static void begin_stop(struct many *m)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	uint64_t there = 0;

	m->j->stopping = true;
	for (unsigned i = 0; i < m->n; i++)
		if (!m->source[i].ended && quoit_get_stats(m->source[i].ring, &stats) == 0 &&
		    stats.produced.records > stats.consumed.records)
			there += stats.produced.records - stats.consumed.records;
	m->j->backlog = there;
}

static int await(struct many *m, struct quoit_ready *ready)
{
	struct job *j = m->j;
	struct timespec slice = quoit_deadline_ms(SLICE_MS);
	int n = quoit_pollset_wait(m->set, ready, READY_MOST, j->stopping ? QUOIT_NOWAIT : &slice);

	report_tick(&j->report);
	if (n >= 0)
		return n;
	if (j->stopping && n == -EAGAIN)
		return -EINTR;
	if (n != -ETIMEDOUT && n != -EINTR)
		return n;
	if (j->s.timeout_ns != NEVER && now_ns() - m->moved_ns >= j->s.timeout_ns)
		return -ETIMEDOUT;
	return 0;
}

static int consume_many(struct many *m)
{
	struct quoit_ready ready[READY_MOST];
	struct job *j = m->j;
	int n, rc = 0;

	j->left = j->s.count;
	j->backlog = UINT64_MAX;
	m->moved_ns = now_ns();
	while (rc == 0 && m->left != 0 && !stop_hard) {
		if (stop_signal != 0 && !j->stopping)
			begin_stop(m);
		if (j->left == 0 || j->backlog == 0)
			return j->stopping ? -EINTR : 0;
		n = await(m, ready);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			if (rc == 0 && j->left != 0 && j->backlog != 0)
				rc = take_turn(m, ready[i].user);
			(void)quoit_pollset_done(m->set, &ready[i]);
		}
	}
	return rc != 0 || m->left == 0 ? rc : -EINTR;
}

/* ---- ending --------------------------------------------------------------------------------- */

static void close_sources(struct many *m, struct quoit_counters *ret_sum)
{
	for (unsigned i = 0; i < m->n && m->source != NULL; i++) {
		struct source *s = &m->source[i];

		if (s->consumer != NULL && !s->ended)
			quoit_consumer_counters(s->consumer, &s->counters);
		for (size_t k = 0; k < sizeof(*ret_sum) / 8; k++)
			((uint64_t *)(void *)ret_sum)[k] +=
				((const uint64_t *)(const void *)&s->counters)[k];
	}
	quoit_pollset_destroy(m->set);
}

static int prepare_many(struct many *m)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct job *j = m->j;
	bool from_start = true;

	for (unsigned i = 0; i < m->n; i++)
		from_start &= quoit_get_stats(m->source[i].ring, &stats) == 0 &&
			      stats.consumed.records == 0;
	j->s.ring = m->source[0].name;
	j->ring = m->source[0].ring;
	return prepare(j, from_start);
}

static json_t *names_json(const struct many *m)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < m->n; i++)
		json_array_append_new(names, json_string(m->source[i].info.name));
	return names;
}

static int run_open(struct many *m)
{
	struct quoit_counters counters = {0};
	json_t *extra = json_object();
	struct job *j = m->j;
	int rc = prepare_many(m), status;

	if (rc == 0)
		rc = consume_many(m);
	report_stop(&j->report);
	j->report.more = m->n - 1;
	j->info = m->source[0].info;
	json_object_set_new(extra, "rings", names_json(m));
	status = rc != 0 ? judge(j, rc) : m->status;
	close_sources(m, &counters);
	m->set = NULL;
	status = verdict(j, status, extra);
	rc = report_finish(&j->report, &counters, status, extra);
	if (status == STATUS_OK)
		status = rc;
	for (unsigned i = 0; i < m->n && j->s.remove && m->left == 0; i++) {
		rc = remove_ring(m->source[i].ring);
		status = status == STATUS_OK ? rc : status;
	}
	return status;
}

int run_many(struct job *j)
{
	struct many m = {.j = j, .n = 1 + j->s.more_n};
	int status = open_sources(&m);

	if (status == STATUS_OK)
		status = run_open(&m);
	quoit_pollset_destroy(m.set);
	for (unsigned i = 0; i < m.n && m.source != NULL; i++)
		quoit_detach(m.source[i].ring);
	free(m.source);
	return status;
}
