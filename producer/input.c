/* SPDX-License-Identifier: MIT */
/*
 * Raw standard input: read(2) puts the bytes where the consumer will write(2) them from. One copy
 * by the kernel on either side, none by us.
 */
#include "produce.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK        65536u
#define RESERVED_MAX 64u /* reservations that an MPMC ring grants at one time */

int input_trouble(void)
{
	if (errno == EINTR)
		return stop_signal != 0 ? -EINTR : 0;
	if (errno == EAGAIN)
		return 0;
	say("standard input: cannot read: %s", strerror(errno));
	return -ECANCELED;
}

int input_wait(struct job *j)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	int rc;

	for (;;) {
		report_tick(&j->report);
		if (stop_signal != 0)
			return -EINTR;
		rc = poll(&input, 1, SLICE_MS);
		if (rc > 0)
			return 0;
		if (rc < 0 && errno != EINTR)
			return input_trouble();
		/* Nothing to send; but if nobody is left who would take what was sent, say so. */
		if (j->fan != NULL) {
			rc = fan_check(j);
			if (rc != 0)
				return rc;
			continue;
		}
		rc = quoit_drain(j->producer, QUOIT_NOWAIT);
		if (rc != 0 && rc != -EAGAIN) {
			rc = put_trouble(j, rc, 1);
			if (rc != 0)
				return rc;
		}
	}
}

/*
 * How one read is laid out. An SPSC ring has one reservation at a time; small MPMC slots are
 * reserved by the dozen, or each would cost a system call.
 */
static void plan(const struct job *j, uint32_t *ret_chunk, unsigned *ret_most)
{
	uint32_t chunk = j->chunk != 0 ? j->chunk : CHUNK;
	uint64_t most = 1;

	/* Less than a quarter of the ring, so that both sides have something to do. */
	if (j->chunk == 0 && j->info.kind == QUOIT_SPSC && chunk > j->info.capacity / 4)
		chunk = (uint32_t)j->info.capacity / 4;
	if (chunk > j->info.max_record)
		chunk = j->info.max_record;
	if (j->info.kind == QUOIT_MPMC && j->rate == 0 && j->fan == NULL) {
		most = j->s.batch != 0 ? j->s.batch : CHUNK / chunk;
		if (most > j->info.slots / 4)
			most = j->info.slots / 4;
		if (most > RESERVED_MAX)
			most = RESERVED_MAX;
	}
	*ret_chunk = chunk;
	*ret_most = most != 0 ? (unsigned)most : 1;
}

/* How many of `most` chunks there is input for at present: reserved in vain, slots are lost for a
 * lap. */
static unsigned chunks_there(uint32_t chunk, unsigned most)
{
	struct stat status;
	uint64_t size = 0;
	int there;

	if (most == 1)
		return 1;
	if (fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode))
		size = (uint64_t)(status.st_size - lseek(STDIN_FILENO, 0, SEEK_CUR));
	else if (ioctl(STDIN_FILENO, FIONREAD, &there) == 0 && there > 0)
		size = (uint64_t)there;
	size = (size + chunk - 1) / chunk;
	if (size == 0)
		return 1;
	return size < most ? (unsigned)size : most;
}

/* Commit the first `size` bytes of the reservations, give the rest back. */
static int commit_read(struct job *j, struct iovec *iov, unsigned n, size_t size)
{
	uint32_t len;
	int rc = 0;

	for (unsigned i = 0; i < n; i++) {
		len = size < iov[i].iov_len ? (uint32_t)size : (uint32_t)iov[i].iov_len;
		if (len != 0 && rc == 0)
			rc = put_commit(j, iov[i].iov_base, len);
		else
			put_discard(j, iov[i].iov_base);
		size -= len;
	}
	return rc;
}

/* One read into up to `most` reservations. 1: there may be more; 0: end of file. */
static int read_once(struct job *j, uint32_t chunk, unsigned most)
{
	struct iovec iov[RESERVED_MAX];
	unsigned n = 1;
	ssize_t size;
	int rc;

	most = chunks_there(chunk, most);
	/* The first is waited for, more are taken as they come. */
	rc = put_reserve(j, chunk, &iov[0].iov_base);
	if (rc != 0)
		return rc;
	if (stop_signal != 0)
		return -EINTR;
	iov[0].iov_len = chunk;
	while (n < most && quoit_reserve(j->producer, chunk, &iov[n].iov_base) == 0)
		iov[n++].iov_len = chunk;
	size = readv(STDIN_FILENO, iov, (int)n);
	rc = size < 0 ? input_trouble() : 0;
	if (size <= 0) {
		(void)commit_read(j, iov, n, 0);
		return rc == 0 ? size < 0 : rc;
	}
	rc = commit_read(j, iov, n, (size_t)size);
	return rc == 0 ? 1 : rc;
}

int produce_raw(struct job *j)
{
	struct stat status;
	bool regular = fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode);
	uint32_t chunk;
	unsigned most;
	int rc;

	plan(j, &chunk, &most);
	while (put_left(j) != 0) {
		if (stop_signal != 0)
			return -EINTR;
		/* Not with reserved memory: others would have to step around it. */
		rc = regular ? 0 : input_wait(j);
		if (rc == 0)
			rc = pace(j, 1);
		if (rc < 0)
			return rc;
		report_tick(&j->report);
		rc = read_once(j, chunk, put_left(j) < most ? (unsigned)put_left(j) : most);
		if (rc <= 0)
			return rc;
	}
	return 0;
}

/* Stdin is no file: read and throw away. */
static int skip_pipe(struct job *j, uint64_t bytes)
{
	static char scratch[CHUNK];
	ssize_t size;
	int rc;

	while (bytes != 0) {
		rc = input_wait(j);
		if (rc != 0)
			return rc;
		size = read(STDIN_FILENO, scratch, bytes < CHUNK ? (size_t)bytes : CHUNK);
		if (size == 0) {
			say("standard input: ends %llu bytes before what is committed already",
			    (unsigned long long)bytes);
			return -ECANCELED;
		}
		if (size < 0) {
			rc = input_trouble();
			if (rc != 0)
				return rc;
			continue;
		}
		bytes -= (uint64_t)size;
	}
	return 0;
}

int seek_committed(struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct stat status;
	off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	uint64_t bytes;
	int rc;

	if (j->info.kind != QUOIT_SPSC) {
		/* There a producer may be killed after a commit and before it is counted. */
		say("%s: --seek-committed needs an SPSC ring, whose count is exact", j->info.name);
		return -ECANCELED;
	}
	rc = quoit_get_stats(j->ring, &stats);
	if (rc != 0)
		return rc;
	if (!j->s.quiet)
		say("%s: going on after %llu bytes in %llu records that are committed already",
		    j->info.name, (unsigned long long)stats.produced.bytes,
		    (unsigned long long)stats.produced.records);
	/* Line ends and prefixes are not in the ring, so frames are counted, not bytes. */
	if (j->s.framing != FRAMING_RAW) {
		j->skip = stats.produced.records;
		return 0;
	}
	bytes = stats.produced.bytes;
	if (at < 0 || fstat(STDIN_FILENO, &status) != 0 || !S_ISREG(status.st_mode))
		return skip_pipe(j, bytes);
	if ((uint64_t)status.st_size < (uint64_t)at + bytes) {
		say("standard input: is shorter than what is committed already");
		return -ECANCELED;
	}
	return lseek(STDIN_FILENO, (off_t)bytes, SEEK_CUR) < 0 ? input_trouble() : 0;
}
