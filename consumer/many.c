/* SPDX-License-Identifier: MIT */
/*
 * Fan-in: several rings to one output, by a pollset. Records of one ring stay in their order; rings
 * take turns, so one that floods does not hold up the others, nor does one that is not there yet:
 * it is looked for now and then. A ring that ends leaves the set, and the program ends with the
 * last.
 */
#include "consume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <quoit/pollset.h>

#define READY_MOST   16
#define AWAITED_MOST 64                  /* rings that are looked for at one time */
#define BUSY_NS      INT64_C(1000000000) /* a predecessor that was just killed is gone by then */
#define NEWS_NS      INT64_C(200000000)  /* a set looks at all its rings, marked or not */

enum state {
	AWAITED, /* its ring is not there yet, or has another consumer */
	OPEN,    /* in the set */
	ENDED,
};

struct source {
	const char *name;
	struct quoit *ring;
	struct quoit_consumer *consumer; /* the set's, once it is in */
	struct quoit_member *member;
	struct quoit_info info;
	struct quoit_counters counters; /* when it was closed */
	enum state state;
	unsigned index;
	uint64_t backlog; /* still to be taken: UINT64_MAX, or how many SIGTERM left */
	int64_t busy_ns;  /* since when it has another consumer, or 0 */
	bool created;     /* by us */
	bool from_start;  /* nothing was taken before */
	bool told;        /* that it is waited for */
	bool orphaned;
	bool finished; /* the end of its stream has been read */
};

struct many {
	struct job *j;
	struct quoit_pollset *set;
	struct source *source;
	unsigned n, left; /* of n, those that have not ended */
	unsigned awaited; /* of those */
	unsigned cursor;  /* who is looked for next */
	int status;       /* of the first that did not end well */
	bool stopped;     /* SIGTERM ended one before its stream did */
	int64_t begin_ns;
	int64_t looked_ns; /* for those that are awaited */
	int64_t moved_ns;  /* when a record, or a ring, came last */
};

/* What the rest of the program works on. */
static void choose(struct job *j, const struct source *s)
{
	j->ring = s->ring;
	j->consumer = s->consumer;
	j->info = s->info;
	j->backlog = s->backlog;
	if (j->verifier != NULL)
		verifier_ring(j->verifier, s->index, s->from_start);
}

/* ---- beginning ------------------------------------------------------------------------------ */

/* 0, -EAGAIN it has another consumer, or why not. */
static int join(struct many *m, struct source *s)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct job *j = m->j;
	int rc;

	j->ring = s->ring;
	rc = try_consumer(j);
	if (rc == -EBUSY && s->busy_ns == 0)
		s->busy_ns = now_ns();
	if (rc == -EBUSY && now_ns() - s->busy_ns < BUSY_NS)
		return -EAGAIN;
	if (rc != 0)
		return rc;
	s->consumer = j->consumer;
	s->info = j->info;
	s->from_start = quoit_get_stats(s->ring, &stats) == 0 && stats.consumed.records == 0;
	rc = quoit_pollset_add_consumer(m->set, s->consumer, s, &s->member);
	if (rc != 0) {
		quoit_consumer_close(s->consumer);
		s->consumer = NULL;
	}
	return rc;
}

/* Come by its ring, and into the set, if that can be done now. An exit code, told. */
static int open_source(struct many *m, struct source *s)
{
	struct job *j = m->j;
	int rc = 0;

	j->s.ring = s->name;
	if (s->ring == NULL) {
		rc = try_ring(&j->s, &s->ring, &s->created);
		if (rc == -EAGAIN)
			awaits_ring(&j->s, m->begin_ns, &s->told);
		else if (rc != 0)
			return open_error(&j->s, rc);
		else
			tell_private(&j->s, s->ring);
	}
	if (rc == 0)
		rc = join(m, s);
	if (rc == -EAGAIN)
		return STATUS_OK;
	if (rc != 0)
		return ring_error(s->name, "become its consumer", rc);
	s->state = OPEN;
	m->awaited--;
	m->moved_ns = now_ns();
	if (j->report.ring == NULL)
		j->report.ring = s->ring;
	return STATUS_OK;
}

/* All or nothing: no ring of ours is left behind if another one cannot be had. */
static void take_back_sources(struct many *m)
{
	quoit_pollset_destroy(m->set);
	m->set = NULL;
	for (unsigned i = 0; i < m->n; i++) {
		struct source *s = &m->source[i];

		if (!s->created)
			continue;
		take_back(s->ring);
		s->ring = NULL;
	}
}

static int open_sources(struct many *m)
{
	const struct settings *s = &m->j->s;
	struct quoit_pollset_options options = {.size = sizeof(options), .members = m->n};
	const char *first = s->ring;
	int rc = quoit_pollset_create(&options, &m->set), status = STATUS_OK;

	m->source = calloc(m->n, sizeof(*m->source));
	if (rc == 0 && m->source == NULL)
		rc = -ENOMEM;
	if (rc != 0)
		return ring_error(first, "read it with others", rc);
	m->left = m->awaited = m->n;
	m->begin_ns = m->looked_ns = m->moved_ns = now_ns();
	for (unsigned i = 0; i < m->n && status == STATUS_OK; i++) {
		m->source[i].name = i == 0 ? first : s->more[i - 1];
		m->source[i].index = i;
		m->source[i].backlog = UINT64_MAX;
		status = open_source(m, &m->source[i]);
	}
	if (status != STATUS_OK)
		take_back_sources(m);
	return status;
}

/* Look for those that were not there. One that cannot be had is left out; the others go on. */
static void look_for_awaited(struct many *m)
{
	int64_t now = now_ns();
	unsigned looks = 0;

	if (m->awaited == 0 || now - m->looked_ns < LOOK_NS)
		return;
	m->looked_ns = now;
	for (unsigned i = 0; i < m->n && looks < AWAITED_MOST && m->awaited != 0; i++) {
		struct source *s = &m->source[m->cursor++ % m->n];
		int status;

		if (s->state != AWAITED)
			continue;
		looks++;
		status = open_source(m, s);
		if (status == STATUS_OK)
			continue;
		s->state = ENDED;
		m->awaited--;
		m->left--;
		if (m->status == STATUS_OK)
			m->status = status;
	}
}

/* ---- one turn of one ring ------------------------------------------------------------------- */

/* It is over, well or not: out of the set. The caller holds it. */
static void end_source(struct many *m, struct source *s, int rc)
{
	quoit_consumer_counters(s->consumer, &s->counters);
	s->state = ENDED;
	s->finished = rc == 0;
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
	int n, rc;

	choose(j, s);
	if (s->backlog == 0) {
		m->stopped = true;
		end_source(m, s, 0);
		return 0;
	}
	n = quoit_peek_batch(s->consumer, msgs, batch_now(j, batch_most(j)));
	if (n <= 0) {
		no_record(m, s, n);
		return 0;
	}
	go_on(m, s);
	m->moved_ns = now_ns();
	rc = take_records(j, msgs, (unsigned)n);
	s->backlog = j->backlog;
	if (rc != -EBADMSG)
		return rc;
	end_source(m, s, rc);
	return 0;
}

/* ---- all of them ---------------------------------------------------------------------------- */

/* SIGTERM: what is in the rings now is still taken, of each what it has. */
static void begin_stop(struct many *m)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	m->j->stopping = true;
	m->moved_ns = now_ns();
	for (unsigned i = 0; i < m->n; i++) {
		struct source *s = &m->source[i];

		s->backlog = 0;
		if (s->state == OPEN && quoit_get_stats(s->ring, &stats) == 0 &&
		    stats.produced.records > stats.consumed.records)
			s->backlog = stats.produced.records - stats.consumed.records;
	}
}

/* A record may be there, and counted, whose producer was stopped before it marked the ring as
 * ready: the set then finds it when it looks at all of them. */
static bool expects_more(const struct many *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->source[i].state == OPEN && m->source[i].backlog != 0)
			return now_ns() - m->moved_ns < NEWS_NS;
	return false;
}

static int await(struct many *m, struct quoit_ready *ready)
{
	const struct timespec *deadline = QUOIT_NOWAIT;
	struct job *j = m->j;
	struct timespec slice;
	int n;

	if (!j->stopping || expects_more(m)) {
		slice = quoit_deadline_ms(m->awaited != 0 ? LOOK_NS / 1000000 : SLICE_MS);
		deadline = &slice;
	}
	n = quoit_pollset_wait(m->set, ready, READY_MOST, deadline);
	report_tick(&j->report);
	if (n >= 0)
		return n;
	if (j->stopping && n == -EAGAIN)
		return -EINTR;
	if (n != -ETIMEDOUT && n != -EINTR)
		return n;
	if (!j->stopping && j->s.timeout_ns != NEVER && now_ns() - m->moved_ns >= j->s.timeout_ns)
		return -ETIMEDOUT;
	return 0;
}

static int consume_many(struct many *m)
{
	struct quoit_ready ready[READY_MOST];
	struct job *j = m->j;
	int n, rc = 0;

	j->left = j->s.count;
	while (rc == 0 && m->left != 0 && !stop_hard) {
		if (stop_signal != 0 && !j->stopping)
			begin_stop(m);
		if (j->left == 0)
			return j->stopping ? -EINTR : 0;
		if (!j->stopping)
			look_for_awaited(m);
		if (m->left == 0) /* the last one could not be had */
			break;
		n = await(m, ready);
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			if (rc == 0 && j->left != 0)
				rc = take_turn(m, ready[i].user);
			(void)quoit_pollset_done(m->set, &ready[i]);
		}
	}
	if (rc != 0)
		return rc;
	return m->left != 0 || m->stopped ? -EINTR : 0;
}

/* ---- ending --------------------------------------------------------------------------------- */

static void close_sources(struct many *m, struct quoit_counters *ret_sum)
{
	for (unsigned i = 0; i < m->n && m->source != NULL; i++) {
		struct source *s = &m->source[i];

		if (s->state == OPEN)
			quoit_consumer_counters(s->consumer, &s->counters);
		for (size_t k = 0; k < sizeof(*ret_sum) / 8; k++)
			((uint64_t *)(void *)ret_sum)[k] +=
				((const uint64_t *)(const void *)&s->counters)[k];
	}
	quoit_pollset_destroy(m->set);
}

static json_t *names_json(const struct many *m)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < m->n; i++)
		json_array_append_new(names, json_string(m->source[i].info.name[0] != '\0'
								 ? m->source[i].info.name
								 : m->source[i].name));
	return names;
}

/* Nothing moved for too long: those that could not be had until now are told by name. The exit code
 * is that of the first ring with which something was wrong, if there is one. */
static int judge_timeout(struct many *m)
{
	struct job *j = m->j;
	int status = m->status;

	for (unsigned i = 0; i < m->n; i++) {
		const struct source *s = &m->source[i];
		int told;

		if (s->state != AWAITED)
			continue;
		j->s.ring = s->name;
		told = s->ring == NULL ? open_error(&j->s, -ENOENT)
				       : ring_error(s->name, "become its consumer", -EBUSY);
		status = status == STATUS_OK ? told : status;
	}
	say("nobody sent a record to any of the rings for %g s; see 'quoit peers'",
	    (double)j->s.timeout_ns / 1e9);
	return status == STATUS_OK ? STATUS_TIMEOUT : status;
}

static int run_open(struct many *m)
{
	struct quoit_counters counters = {0};
	json_t *extra = json_object();
	struct job *j = m->j;
	int rc = consume_many(m), status = m->status;

	report_stop(&j->report);
	json_object_set_new(extra, "rings", names_json(m));
	if (rc == -ETIMEDOUT)
		status = judge_timeout(m);
	else if (rc != 0)
		status = judge(j, rc);
	/* The summary names the first, whether it came or not. */
	j->report.more = m->n - 1;
	j->s.ring = m->source[0].name;
	j->report.ring = m->source[0].ring;
	close_sources(m, &counters);
	m->set = NULL;
	status = verdict(j, status, extra);
	rc = report_finish(&j->report, &counters, status, extra);
	if (status == STATUS_OK)
		status = rc;
	for (unsigned i = 0; i < m->n && j->s.remove && m->left == 0 && !m->stopped; i++) {
		rc = m->source[i].finished ? remove_ring(m->source[i].ring) : STATUS_OK;
		status = status == STATUS_OK ? rc : status;
	}
	return status;
}

int run_many(struct job *j)
{
	struct many m = {.j = j, .n = 1 + j->s.more_n};
	int rc = prepare(j, true), status;

	status = rc != 0 ? ring_error(j->s.ring, "read it with others", rc) : open_sources(&m);
	if (status == STATUS_OK)
		status = run_open(&m);
	quoit_pollset_destroy(m.set);
	for (unsigned i = 0; i < m.n && m.source != NULL; i++)
		quoit_detach(m.source[i].ring);
	free(m.source);
	return status;
}
