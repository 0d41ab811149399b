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
	struct quoit_consumer *consumer;
	struct quoit_info info;
	struct report report;
	struct verifier *verifier; /* or NULL */
	uint64_t foreign;          /* --latency: records without a time */
	uint64_t skipped;          /* records of another type */
	bool orphaned;             /* the producer died, none has come since */
	bool stopping;             /* SIGTERM was noticed; only `left` more records */
	uint64_t left;
};

/* output.c: write records as stdout's framing says, and advance over those that are out. */
int write_records(struct job *j, const struct quoit_msg *msgs, unsigned n);
/* Bytes that are written, and held in the ring, at one time. */
uint64_t write_most(const struct quoit_info *info);

/* verify.c */

/* from_start: nothing was taken from this ring before, so sequences begin at 0. */
struct verifier *verifier_new(bool from_start, bool order_only);
void verifier_free(struct verifier *v);
/* 0, or -ENOMEM. */
int verify_record(struct verifier *v, const struct quoit_msg *msg);
bool verifier_ok(const struct verifier *v);
void verifier_print(const struct verifier *v);
json_t *verifier_json(const struct verifier *v);

#endif
