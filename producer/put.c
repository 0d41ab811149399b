/* SPDX-License-Identifier: MIT */
/*
 * Putting records into the ring: what to do when it is full, when the consumer is gone, when a
 * signal comes; and at which moment (--rate).
 */
#include "produce.h"

#include <errno.h>
#include <time.h>

/* Closer to its time than this a record is waited for without sleeping: about a wake-up's delay. */
#define WAKE_NS INT64_C(100000)

/* With --resume the death of a consumer is no reason to stop. */
static bool survivable(struct job *j, int error)
{
	if (error != -EOWNERDEAD || !j->s.resume)
		return false;
	if (!j->orphaned && !j->s.quiet)
		say("%s: the consumer died; waiting for its successor", j->info.name);
	j->orphaned = true;
	return true;
}

static void look_for_successor(struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	if (!j->orphaned || quoit_get_stats(j->ring, &stats) != 0 || stats.consumers == 0)
		return;
	j->orphaned = false;
	if (!j->s.quiet)
		say("%s: another consumer goes on", j->info.name);
}

/* SIGTERM stops the reading; what has been read is still sent, for a while. */
bool put_stopped(struct job *j)
{
	return stop_hard || (stop_signal != 0 && now_ns() >= put_drain_until(j));
}

int64_t put_drain_until(struct job *j)
{
	if (j->drain_until == 0)
		j->drain_until = deadline_after(j->drain_ns);
	return j->drain_until;
}

int put_await(struct job *j, uint32_t len)
{
	int64_t give_up = deadline_after(j->s.timeout_ns);
	struct timespec slice;
	int rc;

	for (;;) {
		if (put_stopped(j))
			return -EINTR;
		slice = quoit_deadline_ms(SLICE_MS);
		rc = quoit_producer_wait(j->producer, len, &slice);
		report_tick(&j->report);
		look_for_successor(j);
		if (rc == 0)
			return 0;
		if (rc != -EINTR && rc != -ETIMEDOUT && !survivable(j, rc))
			return rc;
		if (now_ns() >= give_up)
			return -ETIMEDOUT;
	}
}

int put_trouble(struct job *j, int error, uint32_t len)
{
	if (error == -EINTR)
		return put_stopped(j) ? -EINTR : 0;
	if (error != -EAGAIN && !survivable(j, error))
		return error;
	return put_await(j, len);
}

int put_reserve(struct job *j, uint32_t len, void **ret_payload)
{
	int rc;

	if (j->fan != NULL)
		return fan_reserve(j, ret_payload);
	while ((rc = quoit_reserve(j->producer, len, ret_payload)) != 0) {
		rc = put_trouble(j, rc, len);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int put_commit(struct job *j, void *payload, uint32_t len)
{
	int rc;

	if (j->fan != NULL)
		return fan_put(j, payload, len, j->s.type);
	while ((rc = quoit_commit(j->producer, payload, len, j->s.type)) != 0) {
		rc = put_trouble(j, rc, len);
		if (rc != 0)
			return rc;
	}
	report_add(&j->report, 1, len);
	return 0;
}

void put_discard(struct job *j, void *payload)
{
	if (j->fan == NULL)
		(void)quoit_discard(j->producer, payload);
}

int put_batch(struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	uint64_t bytes;
	int rc = 0;

	for (; j->fan != NULL && n != 0 && rc == 0; msgs++, n--)
		rc = fan_put(j, msgs->data, msgs->len, msgs->type);
	if (j->fan != NULL)
		return rc;
	while (n != 0) {
		rc = quoit_send_batch(j->producer, msgs, n, QUOIT_NOWAIT);
		if (rc < 0) {
			rc = put_trouble(j, rc, msgs->len);
			if (rc != 0)
				return rc;
			continue;
		}
		bytes = 0;
		for (int i = 0; i < rc; i++)
			bytes += msgs[i].len;
		report_add(&j->report, (uint64_t)rc, bytes);
		msgs += rc;
		n -= (unsigned)rc;
	}
	return 0;
}

uint64_t put_left(const struct job *j)
{
	return j->s.count - j->report.records;
}

int64_t pace_due(const struct job *j, uint64_t i)
{
	return j->begin_ns + (int64_t)((double)i * 1e9 / j->rate);
}

int pace(struct job *j, unsigned want)
{
	int64_t now, due, until;
	struct timespec t;
	unsigned n;

	if (j->rate == 0)
		return (int)want;
	now = now_ns();
	if (j->begin_ns == 0)
		j->begin_ns = now;
	due = pace_due(j, j->paced);
	while (now < due) {
		if (stop_signal != 0)
			return -EINTR;
		if (due - now > WAKE_NS) {
			report_tick(&j->report);
			until = due - WAKE_NS;
			if (until - now > SLICE_MS * INT64_C(1000000))
				until = now + SLICE_MS * INT64_C(1000000);
			t = (struct timespec){until / 1000000000, until % 1000000000};
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		}
		now = now_ns();
	}
	for (n = 1; n < want && pace_due(j, j->paced + n) <= now; n++)
		;
	j->paced += n;
	return (int)n;
}
