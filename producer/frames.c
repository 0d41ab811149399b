/* SPDX-License-Identifier: MIT */
/*
 * Standard input split into records: lines, length-prefixed messages, or pieces of one size. Input
 * is read in large blocks; whole records are sent as soon as they are there, many in one call, and
 * never held back until more comes.
 */
#include "produce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK         262144u
#define BATCH_DEFAULT 64u

struct input {
	unsigned char *data;
	size_t begin, end, size; /* [begin, end) is not sent yet */
	size_t scanned;          /* from begin: no line end in there */
	uint64_t number;         /* of the next record, from 1 */
	bool eof;
};

static int too_long(const struct job *j, const struct input *in, const char *what)
{
	say("standard input: %s %llu is longer than the largest record of %s, %u bytes", what,
	    (unsigned long long)in->number, j->info.name, j->info.max_record);
	return -ECANCELED;
}

static int next_line(const struct job *j, struct input *in, struct quoit_msg *ret)
{
	unsigned char *begin = in->data + in->begin, *end;
	size_t there = in->end - in->begin, len;

	end = memchr(begin + in->scanned, '\n', there - in->scanned);
	len = end != NULL ? (size_t)(end - begin) : there;
	in->scanned = len;
	if (len > j->info.max_record)
		return too_long(j, in, "line");
	if (end == NULL && (!in->eof || there == 0))
		return 0;
	ret->data = begin;
	ret->len = (uint32_t)len;
	in->begin += len + (end != NULL);
	in->scanned = 0;
	return 1;
}

static int next_prefixed(const struct job *j, struct input *in, struct quoit_msg *ret)
{
	unsigned char *p = in->data + in->begin;
	size_t there = in->end - in->begin;
	uint32_t len = 0;

	if (there >= 4) {
		len = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		      (uint32_t)p[3] << 24;
		if (len > j->info.max_record)
			return too_long(j, in, "record");
	}
	if (there < 4 || there - 4 < len) {
		if (!in->eof || there == 0)
			return 0;
		say("standard input: ends in the middle of record %llu",
		    (unsigned long long)in->number);
		return -ECANCELED;
	}
	ret->data = p + 4;
	ret->len = len;
	in->begin += 4 + (size_t)len;
	return 1;
}

static int next_fixed(const struct job *j, struct input *in, struct quoit_msg *ret)
{
	size_t len = in->end - in->begin;

	if (len < j->s.fixed && !in->eof)
		return 0;
	if (len == 0)
		return 0;
	if (len > j->s.fixed)
		len = j->s.fixed;
	ret->data = in->data + in->begin;
	ret->len = (uint32_t)len;
	in->begin += len;
	return 1;
}

/* 1: *ret is the next record, which lies in the input's memory; 0: more has to be read first. */
static int next_frame(const struct job *j, struct input *in, struct quoit_msg *ret)
{
	int rc;

	switch (j->s.framing) {
	case FRAMING_LINES:
		rc = next_line(j, in, ret);
		break;
	case FRAMING_PREFIXED:
		rc = next_prefixed(j, in, ret);
		break;
	default:
		rc = next_fixed(j, in, ret);
		break;
	}
	in->number += rc == 1;
	return rc;
}

/* Make room behind what is not sent yet. Records are bounded, so the memory is. */
static int make_room(struct input *in)
{
	unsigned char *data;

	if (in->begin != 0) {
		memmove(in->data, in->data + in->begin, in->end - in->begin);
		in->end -= in->begin;
		in->begin = 0;
	}
	if (in->end < in->size)
		return 0;
	data = realloc(in->data, in->size == 0 ? BLOCK : 2 * in->size);
	if (data == NULL)
		return -ENOMEM;
	in->data = data;
	in->size = in->size == 0 ? BLOCK : 2 * in->size;
	return 0;
}

static int fill(struct job *j, struct input *in)
{
	ssize_t size;
	int rc;

	rc = make_room(in);
	if (rc == 0)
		rc = input_wait(j);
	if (rc != 0)
		return rc;
	size = read(STDIN_FILENO, in->data + in->end, in->size - in->end);
	if (size < 0)
		return input_trouble();
	in->eof = size == 0;
	in->end += (size_t)size;
	return 0;
}

/* Up to `most` whole records that are in memory, but for those that a predecessor has sent. */
static int gather(struct job *j, struct input *in, struct quoit_msg *msgs, unsigned most,
		  unsigned *ret_n)
{
	int rc = 1;

	*ret_n = 0;
	while (*ret_n < most) {
		rc = next_frame(j, in, &msgs[*ret_n]);
		if (rc <= 0)
			return rc;
		msgs[*ret_n].type = j->s.type;
		if (j->skip != 0)
			j->skip--;
		else
			(*ret_n)++;
	}
	return rc;
}

/* Send all whole records that are in memory. */
static int send_frames(struct job *j, struct input *in)
{
	struct quoit_msg msgs[QUOIT_BATCH_MAX];
	unsigned most, n;
	int more, rc;

	do {
		most = j->s.batch != 0 ? j->s.batch : BATCH_DEFAULT;
		if (j->rate != 0)
			most = 1;
		if (most > put_left(j))
			most = (unsigned)put_left(j);
		/* What comes before a bad record is sent. */
		more = gather(j, in, msgs, most, &n);
		rc = n != 0 ? pace(j, n) : 0;
		if (rc >= 0)
			rc = put_batch(j, msgs, n);
		if (rc != 0)
			return rc;
		report_tick(&j->report);
	} while (more > 0 && put_left(j) != 0);
	return more < 0 ? more : 0;
}

int produce_frames(struct job *j)
{
	struct input in = {.number = 1};
	int rc = 0;

	/* A look at the records comes after each read, so that SIGTERM loses none that were read.
	 */
	while (rc == 0 && !in.eof && put_left(j) != 0) {
		rc = fill(j, &in);
		if (rc == 0)
			rc = send_frames(j, &in);
	}
	if (rc == 0 && j->skip != 0) {
		say("standard input: has %llu records less than are committed already",
		    (unsigned long long)j->skip);
		rc = -ECANCELED;
	}
	free(in.data);
	return rc;
}
