/* SPDX-License-Identifier: MIT */
/*
 * The inside of quoit-produce: where records come from (input.c, frames.c, generate.c) and how they
 * get into the ring (put.c). Functions return 0 or a negative errno; -ECANCELED means failed for a
 * reason that has been told already, -EINTR that stop_signal is set.
 */
#ifndef QUOIT_PRODUCE_H
#define QUOIT_PRODUCE_H

#include "common.h"

enum fan_out { FAN_NONE, FAN_ROUND_ROBIN, FAN_COPY, FAN_HASH };
struct fan;

struct job {
	struct settings s;
	enum fan_out fan_out;
	struct fan *fan; /* several rings, or NULL */
	bool generate;   /* make records up instead of reading stdin */
	uint32_t size_min, size_max;
	uint32_t chunk; /* raw: longest read; 0: choose */
	double rate;    /* records a second; 0: as fast as may be */
	bool seek_committed;
	int64_t drain_ns; /* how long SIGTERM waits for the consumers */

	struct quoit *ring;
	bool created; /* by us */
	struct quoit_producer *producer;
	struct quoit_info info;
	struct report report;
	int64_t drain_until; /* 0: SIGTERM has not come, or not been noticed */
	bool orphaned;       /* the consumer died, none has come since */
	uint64_t skip;       /* frames that a predecessor has committed */
	int64_t begin_ns;    /* record 0 is due */
	uint64_t paced;      /* records that were let through by pace() */
};

/* main.c */

/* Become the producer of j->ring; fills in j->producer and j->info. */
int open_producer(struct job *j);
/* All of the input. */
int produce(struct job *j);
/* Say how it ended, if it did not end well; returns the exit code. */
int judge(const struct job *j, int rc);

/* fan.c */

/* The whole program for several rings; returns the exit code. */
int run_fan(struct job *j);
/* Memory for the longest record. */
int fan_reserve(struct job *j, void **ret_memory);
/* Send a record to where it goes; waits for room. */
int fan_put(struct job *j, const void *data, uint32_t len, uint32_t type);
/* Is there somebody left who takes anything? */
int fan_check(struct job *j);

/* put.c: keeps putting after SIGTERM, until put_drain_until() */

/* Wait for room for a record of len bytes, or for what ends the stream. */
int put_await(struct job *j, uint32_t len);
/* What to do about a failed call: 0 try again, else give up. */
int put_trouble(struct job *j, int error, uint32_t len);
int put_reserve(struct job *j, uint32_t len, void **ret_payload);
int put_commit(struct job *j, void *payload, uint32_t len);
int put_batch(struct job *j, const struct quoit_msg *msgs, unsigned n);
/* Give back what was reserved. */
void put_discard(struct job *j, void *payload);
/* A signal has come, and the time that it left is over. */
bool put_stopped(struct job *j);
/* Until when SIGTERM lets records be sent and taken; the first call starts the clock. */
int64_t put_drain_until(struct job *j);
/* Records that --count still allows. */
uint64_t put_left(const struct job *j);
/* Open loop: wait until the next record is due; how many of `want` are due by now, or -EINTR. */
int pace(struct job *j, unsigned want);
/* When record i is due, whether or not anybody was in time for it. */
int64_t pace_due(const struct job *j, uint64_t i);

/* input.c */

/* Wait until stdin can be read, looking after signals and consumers meanwhile. */
int input_wait(struct job *j);
/* read() or readv() failed: 0 try again. */
int input_trouble(void);
/* Raw stdin, read straight into the ring. */
int produce_raw(struct job *j);
/* Go on in stdin after what is committed in the ring. */
int seek_committed(struct job *j);

/* frames.c: stdin split into records */
int produce_frames(struct job *j);

/* generate.c */
int produce_generated(struct job *j);

#endif
