/* SPDX-License-Identifier: MIT */
/*
 * Fan-out: one input to several rings.
 *
 *   round-robin  each record to one ring, in turn, among those that have room
 *   copy         each record to every ring; the slowest sets the pace
 *   hash         each record to one ring, by the FNV-1a hash of its bytes: equal ones meet
 *
 * A record is not known before it is read, so it is read into private memory and copied from there.
 * A ring that nobody reads any more is left out, but by hash: its records have nowhere else to go.
 */
#include "produce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <quoit/pollset.h>

#define CHECK_MOST 16

struct target {
	const char *name;
	struct quoit *ring;
	struct quoit_producer *producer; /* round-robin: the set's, once it is in */
	struct quoit_member *member;
	struct quoit_info info;
	struct quoit_counters counters; /* when it was closed */
	bool created;                   /* by us */
	bool gone, orphaned;
};

struct fan {
	struct quoit_pollset *set; /* round-robin, else NULL */
	struct target *target;
	unsigned n, left;
	int status; /* of the first that was left out for a bad reason */
	bool stuck; /* --timeout has passed for the one ring that j->info is about */
	void *scratch;
};

/* ---- beginning ------------------------------------------------------------------------------ */

static int open_target(struct job *j, struct target *t)
{
	int rc, status;

	j->s.ring = t->name;
	status = open_ring(&j->s, &t->ring, &t->created);
	if (status != STATUS_OK)
		return status;
	j->ring = t->ring;
	j->producer = NULL;
	rc = open_producer(j);
	t->producer = j->producer;
	t->info = j->info;
	if (rc == 0 && j->fan->set != NULL)
		rc = quoit_pollset_add_producer(j->fan->set, t->producer, 0, t, &t->member);
	if (rc == 0)
		return STATUS_OK;
	quoit_producer_close(t->producer);
	t->producer = NULL;
	if (rc == -EINTR && stop_signal != 0)
		return STATUS_SIGNAL + stop_signal;
	return ring_error(t->name, "become its producer", rc);
}

/* What all of them take. */
static void common_limits(struct job *j)
{
	const struct fan *f = j->fan;

	j->s.ring = f->target[0].name;
	j->ring = f->target[0].ring;
	j->info = f->target[0].info;
	for (unsigned i = 1; i < f->n; i++)
		if (f->target[i].info.max_record < j->info.max_record)
			j->info.max_record = f->target[i].info.max_record;
}

static int open_targets(struct job *j)
{
	struct quoit_pollset_options options = {.size = sizeof(options), .members = j->fan->n};
	struct fan *f = j->fan;
	int rc = 0;

	f->target = calloc(f->n, sizeof(*f->target));
	if (f->target == NULL)
		rc = -ENOMEM;
	else if (j->fan_out == FAN_ROUND_ROBIN)
		rc = quoit_pollset_create(&options, &f->set);
	if (rc != 0)
		return ring_error(j->s.ring, "send to it and others", rc);
	for (unsigned i = 0; i < f->n; i++)
		f->target[i].name = i == 0 ? j->s.ring : j->s.more[i - 1];
	for (unsigned i = 0; i < f->n; i++) {
		int status = open_target(j, &f->target[i]);

		if (status != STATUS_OK)
			return status;
		f->left++;
	}
	common_limits(j);
	return STATUS_OK;
}

/* ---- when a ring cannot be sent to ---------------------------------------------------------- */

static void close_target(struct fan *f, struct target *t)
{
	if (t->producer == NULL)
		return;
	quoit_producer_counters(t->producer, &t->counters);
	if (f->set != NULL)
		(void)quoit_pollset_remove(f->set, t->member);
	else
		quoit_producer_close(t->producer);
	t->producer = NULL;
}

/* 0: go on, with or without it; else why not. */
static int target_trouble(struct job *j, struct target *t, int error)
{
	struct fan *f = j->fan;

	if (error == -EOWNERDEAD && j->s.resume) {
		if (!t->orphaned && !j->s.quiet)
			say("%s: the consumer died; waiting for its successor", t->info.name);
		t->orphaned = true;
		return 0;
	}
	if ((error != -EPIPE && error != -EOWNERDEAD && error != -EIDRM) ||
	    j->fan_out == FAN_HASH || f->left == 1) {
		j->info = t->info; /* for the message */
		return error;
	}
	if (!j->s.quiet || error != -EPIPE)
		say("%s: %s; going on without it", t->info.name,
		    error == -EPIPE        ? "the consumer has closed"
		    : error == -EOWNERDEAD ? "the consumer died"
					   : "the ring was removed");
	if (f->status == STATUS_OK && error != -EPIPE)
		f->status = error == -EOWNERDEAD ? STATUS_PEER_DIED : STATUS_NOT_FOUND;
	t->gone = true;
	f->left--;
	close_target(f, t);
	return 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

static int send_to(struct job *j, struct target *t, const void *data, uint32_t len, uint32_t type)
{
	int64_t give_up = deadline_after(j->s.timeout_ns);

	while (!t->gone) {
		struct timespec slice = quoit_deadline_ms(SLICE_MS);
		int rc = quoit_send(t->producer, data, len, type, &slice);

		if (rc == 0)
			return 0;
		report_tick(&j->report);
		if (rc != -EINTR && rc != -ETIMEDOUT)
			rc = target_trouble(j, t, rc);
		else if (put_stopped(j))
			return -EINTR;
		else if (now_ns() >= give_up)
			rc = -ETIMEDOUT;
		else
			rc = 0;
		if (rc == -ETIMEDOUT) {
			j->info = t->info; /* for the message */
			j->fan->stuck = true;
		}
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int send_to_all(struct job *j, const void *data, uint32_t len, uint32_t type)
{
	for (unsigned i = 0; i < j->fan->n; i++) {
		int rc = send_to(j, &j->fan->target[i], data, len, type);

		if (rc != 0)
			return rc;
	}
	return 0;
}

/* 1 sent, 0 not, or why it cannot go on. */
static int send_to_ready(struct job *j, struct quoit_ready *ready, const void *data, uint32_t len,
			 uint32_t type)
{
	int rc = quoit_send(ready->producer, data, len, type, QUOIT_NOWAIT);
	bool sent = rc == 0;

	if (rc != 0 && rc != -EAGAIN)
		rc = target_trouble(j, ready->user, rc);
	else
		rc = 0;
	ready->room = len; /* the next will be much the same */
	(void)quoit_pollset_done(j->fan->set, ready);
	return rc != 0 ? rc : sent;
}

static int send_to_next(struct job *j, const void *data, uint32_t len, uint32_t type)
{
	int64_t give_up = deadline_after(j->s.timeout_ns);
	struct quoit_ready ready;

	for (;;) {
		struct timespec slice = quoit_deadline_ms(SLICE_MS);
		int rc = quoit_pollset_wait(j->fan->set, &ready, 1, &slice);

		if (rc == 1) {
			rc = send_to_ready(j, &ready, data, len, type);
			if (rc != 0)
				return rc == 1 ? 0 : rc;
		} else if (rc != -EINTR && rc != -ETIMEDOUT) {
			return rc;
		}
		report_tick(&j->report);
		if (put_stopped(j))
			return -EINTR;
		if (now_ns() >= give_up)
			return -ETIMEDOUT;
	}
}

/* Fowler, Noll, Vo: 64 bits, FNV-1a. */
static uint64_t hash(const unsigned char *data, uint32_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (uint32_t i = 0; i < len; i++)
		h = (h ^ data[i]) * UINT64_C(0x100000001b3);
	return h;
}

int fan_put(struct job *j, const void *data, uint32_t len, uint32_t type)
{
	struct fan *f = j->fan;
	int rc;

	if (j->fan_out == FAN_ROUND_ROBIN)
		rc = send_to_next(j, data, len, type);
	else if (j->fan_out == FAN_COPY)
		rc = send_to_all(j, data, len, type);
	else
		rc = send_to(j, &f->target[hash(data, len) % f->n], data, len, type);
	if (rc == 0)
		report_add(&j->report, 1, len);
	return rc;
}

int fan_reserve(struct job *j, void **ret_memory)
{
	if (j->fan->scratch == NULL)
		j->fan->scratch = malloc((size_t)j->info.max_record + 1);
	*ret_memory = j->fan->scratch;
	return *ret_memory != NULL ? 0 : -ENOMEM;
}

/* ---- while there is no input ---------------------------------------------------------------- */

static int check_target(struct job *j, struct target *t)
{
	int rc = quoit_drain(t->producer, QUOIT_NOWAIT);

	if (rc == 0 || rc == -EAGAIN || rc == -EINTR)
		return 0;
	return target_trouble(j, t, rc);
}

/* Those that are ready: with room, or with nobody left. */
static int check_ready(struct job *j)
{
	struct quoit_ready ready[CHECK_MOST];
	int n = quoit_pollset_poll(j->fan->set, ready, CHECK_MOST), rc = 0;

	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = check_target(j, ready[i].user);
		(void)quoit_pollset_done(j->fan->set, &ready[i]);
	}
	return n < 0 ? n : rc;
}

int fan_check(struct job *j)
{
	int rc = 0;

	if (j->fan->set != NULL)
		return check_ready(j);
	for (unsigned i = 0; i < j->fan->n && rc == 0; i++)
		if (!j->fan->target[i].gone)
			rc = check_target(j, &j->fan->target[i]);
	return rc;
}

/* ---- ending --------------------------------------------------------------------------------- */

/* Records that are still in the rings, and consumers that may take them. */
static uint64_t in_rings(const struct fan *f, uint64_t *ret_consumers)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	uint64_t there = 0;

	*ret_consumers = 0;
	for (unsigned i = 0; i < f->n; i++) {
		if (f->target[i].gone || quoit_get_stats(f->target[i].ring, &stats) != 0)
			continue;
		there += stats.used;
		*ret_consumers += stats.consumers;
	}
	return there;
}

/* Wait until the rings are empty (their consumers have left), or until `until`. */
static int wait_until(struct job *j, int64_t until, bool left)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	uint64_t consumers;

	while (in_rings(j->fan, &consumers) != 0 || (left && consumers != 0)) {
		report_tick(&j->report);
		if (stop_hard)
			return -EINTR;
		if (now_ns() >= until)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* The same for as long as somebody takes something: --timeout is about standstill. */
static int drain_patiently(struct job *j)
{
	uint64_t before, consumers;
	int rc;

	do {
		before = in_rings(j->fan, &consumers);
		rc = wait_until(j, deadline_after(j->s.timeout_ns), false);
	} while (rc == -ETIMEDOUT && in_rings(j->fan, &consumers) != before);
	return rc;
}

static int judge_fan(struct job *j, int rc)
{
	if (rc == 0)
		return j->fan->status;
	if (rc != -ETIMEDOUT || j->fan->stuck)
		return judge(j, rc);
	say("nobody took a record from any of the rings for %g s; see 'quoit peers'",
	    (double)j->s.timeout_ns / 1e9);
	return STATUS_TIMEOUT;
}

static void close_targets(struct fan *f, struct quoit_counters *ret_sum)
{
	for (unsigned i = 0; i < f->n && f->target != NULL; i++) {
		struct target *t = &f->target[i];

		close_target(f, t);
		for (size_t k = 0; k < sizeof(*ret_sum) / 8; k++)
			((uint64_t *)(void *)ret_sum)[k] +=
				((const uint64_t *)(const void *)&t->counters)[k];
	}
}

static json_t *names_json(const struct fan *f)
{
	json_t *names = json_array();

	for (unsigned i = 0; i < f->n; i++)
		json_array_append_new(names, json_string(f->target[i].info.name));
	return names;
}

static int run_open(struct job *j)
{
	struct quoit_counters counters = {0};
	struct fan *f = j->fan;
	int rc, status, drained = 0;

	report_init(&j->report, &j->s, j->ring);
	j->report.more = f->n - 1;
	rc = produce(j);
	report_stop(&j->report);
	if (rc == -EINTR && stop_signal == SIGTERM)
		drained = wait_until(j, put_drain_until(j), false);
	else if (rc == 0 && j->s.remove)
		rc = drained = drain_patiently(j);
	status = judge_fan(j, rc);
	if (drained != 0 && !j->s.quiet)
		say("not everything was taken: %s", quoit_strerror(drained));
	close_targets(f, &counters);
	rc = report_finish(&j->report, &counters, status,
			   json_pack("{s:o}", "rings", names_json(f)));
	if (status == STATUS_OK)
		status = rc;
	if (j->s.remove && status == STATUS_OK)
		(void)wait_until(j, deadline_after(j->s.timeout_ns), true);
	for (unsigned i = 0; i < f->n && j->s.remove; i++) {
		if (status != STATUS_OK && status < STATUS_SIGNAL)
			break;
		rc = remove_ring(f->target[i].ring);
		status = status == STATUS_OK ? rc : status;
	}
	return status;
}

/* All or nothing: no ring of ours is left behind if another one cannot be had. */
static void take_back_targets(struct fan *f)
{
	for (unsigned i = 0; i < f->n && f->target != NULL; i++)
		close_target(f, &f->target[i]);
	for (unsigned i = 0; i < f->n && f->target != NULL; i++) {
		struct target *t = &f->target[i];

		if (!t->created)
			continue;
		take_back(t->ring);
		t->ring = NULL;
	}
}

int run_fan(struct job *j)
{
	struct fan fan = {.n = 1 + j->s.more_n};
	struct quoit_counters counters = {0};
	int status;

	j->fan = &fan;
	status = open_targets(j);
	if (status == STATUS_OK)
		status = run_open(j);
	else
		take_back_targets(&fan);
	close_targets(&fan, &counters);
	quoit_pollset_destroy(fan.set);
	for (unsigned i = 0; i < fan.n && fan.target != NULL; i++)
		quoit_detach(fan.target[i].ring);
	free(fan.target);
	free(fan.scratch);
	return status;
}
