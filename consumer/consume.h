/* SPDX-License-Identifier: MIT */
/*
 * The inside of quoit-consume: taking records (main.c), and what becomes of them (output.c,
 * verify.c). Functions return 0 or a negative errno; -ECANCELED means failed for a reason that has
 * been told already, -EPIPE that nobody reads stdout any more.
 */
#ifndef QUOIT_CONSUME_H
#define QUOIT_CONSUME_H

#include "../producer/common.h"

struct verifier;

struct job {
	struct settings s;
	bool discard;    /* write nothing */
	bool show_types; /* the type before each line */
	bool order_only; /* --verify=order: others take records as well */

	struct quoit *ring;
	bool created; /* by us */
	struct quoit_consumer *consumer;
	struct quoit_info info;
	struct report report;
	struct verifier *verifier; /* or NULL */
	uint64_t foreign;          /* --latency: records without a time */
	uint64_t skipped;          /* records of another type */
	bool orphaned;             /* the producer died, none has come since */
	bool stopping;             /* SIGTERM was noticed */
	uint64_t left;             /* records still to be written, or checked */
	uint64_t backlog;          /* and still to be taken: UINT64_MAX, or how many SIGTERM left */
};

/* main.c */

/* Become the consumer of j->ring, without waiting; fills in j->consumer and j->info. */
int try_consumer(struct job *j);
/* The report, and what --verify and --latency need. from_start: nothing was taken before. */
int prepare(struct job *j, bool from_start);
/* Records of one peek. */
unsigned batch_most(const struct job *j);
/* How many records the next peek may give. */
unsigned batch_now(const struct job *j, unsigned most);
/* Write or check what a peek gave, and advance over it; counts it off left and backlog. */
int take_records(struct job *j, const struct quoit_msg *msgs, unsigned n);
/* Say how it ended, if it did not end well; returns the exit code. */
int judge(const struct job *j, int rc);
/* The verdict of --verify and --latency; returns the exit code. */
int verdict(const struct job *j, int status, json_t *ret_json);

/* many.c: the whole program for several rings; returns the exit code. */
int run_many(struct job *j);

/* output.c: write records as stdout's framing says, and advance over those that are out. */
int write_records(struct job *j, const struct quoit_msg *msgs, unsigned n);
/* Bytes that are written, and held in the ring, at one time. */
uint64_t write_most(const struct quoit_info *info);

/* verify.c */

/* from_start: nothing was taken from this ring before, so sequences begin at 0. */
struct verifier *verifier_new(bool from_start, bool order_only);
void verifier_free(struct verifier *v);
/* The records to come are this ring's: order is looked for within each ring. from_start: as above,
 * for this ring. */
void verifier_ring(struct verifier *v, unsigned ring, bool from_start);
/* 0, or -ENOMEM. */
int verify_record(struct verifier *v, const struct quoit_msg *msg);
bool verifier_ok(const struct verifier *v);
void verifier_print(const struct verifier *v);
json_t *verifier_json(const struct verifier *v);

#endif
