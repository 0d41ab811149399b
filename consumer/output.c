/* SPDX-License-Identifier: MIT */
/*
 * Records to standard output, straight out of the ring: writev(2) over the payloads where they lie.
 * A record is advanced over when all of it is written: who is stopped before has it delivered
 * again, to his successor.
 */
#include "consume.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_BYTES 262144u
#define TYPE_SIZE  12 /* "4294967295\t" */

struct group {
	struct iovec iov[3 * QUOIT_BATCH_MAX];
	unsigned n; /* of iov */
	unsigned records;
	size_t bytes;
	unsigned char prefix[QUOIT_BATCH_MAX][4];
	char type[QUOIT_BATCH_MAX][TYPE_SIZE];
};

uint64_t write_most(const struct quoit_info *info)
{
	/* A quarter of the ring at most, or the producer waits while we write and we while it
	 * fills. */
	return info->capacity / 4 < MOST_BYTES ? info->capacity / 4 : MOST_BYTES;
}

static void add(struct group *g, const void *data, size_t len)
{
	if (len == 0)
		return;
	g->iov[g->n].iov_base = (void *)(uintptr_t)data;
	g->iov[g->n].iov_len = len;
	g->n++;
	g->bytes += len;
}

/* Bytes that one record becomes. */
static void add_record(const struct job *j, struct group *g, const struct quoit_msg *msg)
{
	unsigned i = g->records++;
	char *type = g->type[i];

	if (j->show_types)
		add(g, type, (size_t)snprintf(type, TYPE_SIZE, "%u\t", msg->type));
	if (j->s.framing == FRAMING_PREFIXED) {
		for (unsigned k = 0; k < 4; k++)
			g->prefix[i][k] = (unsigned char)(msg->len >> 8 * k);
		add(g, g->prefix[i], 4);
	}
	add(g, msg->data, msg->len);
	if (j->s.framing == FRAMING_LINES)
		add(g, "\n", 1);
}

static int output_trouble(void)
{
	struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (errno == EINTR)
		return stop_hard ? -EINTR : 0;
	if (errno == EAGAIN) {
		poll(&output, 1, SLICE_MS);
		return stop_hard ? -EINTR : 0;
	}
	if (errno == EPIPE)
		return -EPIPE;
	/* The kernel met the end of a ring that was cut off before we did. */
	if (errno == EFAULT)
		return -EBADMSG;
	say("standard output: cannot write: %s", strerror(errno));
	return -ECANCELED;
}

/* writev() until all is out. *ret_written is set in any case. */
static int write_all(struct iovec *iov, unsigned n, size_t *ret_written)
{
	ssize_t size;
	int rc;

	*ret_written = 0;
	while (n != 0) {
		size = writev(STDOUT_FILENO, iov, (int)n);
		if (size < 0) {
			rc = output_trouble();
			if (rc != 0)
				return rc;
			continue;
		}
		*ret_written += (size_t)size;
		while (n != 0 && (size_t)size >= iov->iov_len) {
			size -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n != 0) {
			iov->iov_base = (char *)iov->iov_base + size;
			iov->iov_len -= (size_t)size;
		}
	}
	return 0;
}

/* They are out, and count, whether or not the ring takes them back: it may be corrupt. */
static int advance(struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	uint64_t bytes = 0, records = 0;
	int rc;

	for (unsigned i = 0; i < n; i++) {
		if (j->s.type_given && msgs[i].type != j->s.type) {
			j->skipped++;
			continue;
		}
		bytes += msgs[i].len;
		records++;
	}
	if (records != 0)
		report_add(&j->report, records, bytes);
	rc = n == 0 ? 0 : quoit_advance_batch(j->consumer, msgs, n);
	return rc < 0 ? rc : 0;
}

int write_records(struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	uint64_t most = write_most(&j->info);
	size_t end[QUOIT_BATCH_MAX], written;
	unsigned first = 0, i, done;
	struct group g;
	int rc, failed;

	while (first < n) {
		g.n = g.records = 0;
		g.bytes = 0;
		for (i = first; i < n && (i == first || g.bytes + msgs[i].len <= most); i++) {
			if (!j->s.type_given || msgs[i].type == j->s.type)
				add_record(j, &g, &msgs[i]);
			end[i] = g.bytes;
		}
		failed = write_all(g.iov, g.n, &written);
		for (done = 0; first + done < i && end[first + done] <= written; done++)
			;
		rc = advance(j, msgs + first, done);
		if (failed != 0 || rc != 0)
			return failed != 0 ? failed : rc;
		report_tick(&j->report);
		first = i;
	}
	return 0;
}
