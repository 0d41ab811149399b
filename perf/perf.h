/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks and the measured systems agree on. A *system* (quoit, a peer library, a
 * kernel mechanism, a physical limit) moves records for a *cell*: one combination of kind, size,
 * depth, batch, sides and waiting policy. docs/PERFORMANCE.md describes the method.
 *
 * Systems are C or C++; this header is read by both, so it has no atomics of its own: the control
 * block is accessed by the compilers' builtins.
 */
#ifndef PERF_PERF_H
#define PERF_PERF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "perf/clock.h"
#include "perf/histogram.h"

#ifdef __cplusplus
extern "C" {
#endif

#define PERF_SIDES_MAX   128 /* producers and consumers of one cell */
#define PERF_BATCH_MAX   256
#define PERF_BLOCK_TRIPS 64
#define PERF_SIZE_MAX    (1u << 24) /* bytes */
#define PERF_END         UINT64_MAX /* first word of the record that ends a stream */

enum perf_kind { PERF_SPSC, PERF_MPMC };
enum perf_mode { PERF_COPY, PERF_INPLACE };

/* What a side does while it finds the ring empty or full. */
enum perf_policy {
	PERF_TIGHT, /* try again at once */
	PERF_PAUSE, /* one pause instruction between tries */
	PERF_YIELD, /* sched_yield() between tries */
	PERF_BLOCK, /* the system's own blocking call */
	/* quoit's own, as in enum quoit_wait */
	PERF_SPIN,
	PERF_FUTEX,
	PERF_SEM,
	PERF_SYSVSEM,
	PERF_EVENTFD,
	PERF_POLICIES
};

enum perf_role {
	PERF_PRODUCE,  /* send records until told to stop */
	PERF_CONSUME,  /* receive and verify them */
	PERF_PING,     /* send one, wait for its echo, record the round trip */
	PERF_PONG,     /* echo */
	PERF_SCHEDULE, /* send on a schedule, whether or not the ring keeps up */
	PERF_COLLECT,  /* record the time since a record should have been sent */
};

struct perf_cell {
	enum perf_kind kind;
	enum perf_mode mode;
	enum perf_policy policy;
	uint32_t size;  /* bytes of one record, a multiple of 8 */
	uint32_t depth; /* records that the ring holds */
	uint32_t batch; /* 1: one at a time */
	uint32_t producers, consumers;
	uint32_t think_ns; /* PING: idle this long before each round trip */
	double rate;       /* SCHEDULE: records a second */
};

/* What one side reports; written by it alone, in shared memory. */
struct perf_report {
	int32_t error; /* 0, or a negative errno; -EBADMSG: a record was wrong */
	uint32_t pid;
	uint64_t records, sum; /* sum of the records' first words */
	uint64_t disorder;     /* MPMC: records that overtook an older one of their producer */
	uint64_t start_ns, end_ns;
	uint64_t cpu_ns;
	uint64_t syscalls;      /* UINT64_MAX: not countable here */
	uint64_t switches;      /* voluntary context switches */
	uint64_t sleeps, wakes; /* quoit's own counters */
	uint64_t pad[6];
};

/* Shared by the parent and all sides. Each group of words has one writer and its own lines. */
struct perf_control {
	uint32_t ready, pad0[31];    /* sides that are set up; counted up by them */
	uint32_t go, pad1[31];       /* parent: start */
	uint32_t stop, pad2[31];     /* parent: producers, end the stream */
	uint32_t produced, pad3[31]; /* producers that have ended their stream */
	uint32_t ended, pad4[31];    /* consumers that have seen the end */
	uint32_t finished, pad5[31]; /* sides that have reported */
	uint32_t leave, pad6[31];    /* parent: exit */
	struct perf_report report[PERF_SIDES_MAX];
	struct perf_histogram histogram; /* of the side that measures latency */
	struct perf_histogram blocks;    /* PING: time of PERF_BLOCK_TRIPS trips in a row */
};

/* A cell that is being measured; private to each process, made before they part. */
struct perf_context {
	const struct perf_cell *cell;
	const struct perf_system *system;
	struct perf_control *control;
	unsigned rings;    /* 1, or 2: there and back */
	void *area[2];     /* shared memory, zeroed, touched */
	size_t area_size;  /* bytes of each */
	void *priv;        /* the system's */
	char name[2][128]; /* unique names for systems that need them */
};

/* One side. */
struct perf_side {
	struct perf_context *context;
	const struct perf_cell *cell;
	struct perf_control *control;
	struct perf_report *report;
	enum perf_role role;
	uint32_t index;     /* among the producers, or the consumers */
	void *tx, *rx;      /* what it sends to and receives from: areas, or what enter() sets */
	uint64_t *out, *in; /* room for a batch of records each, aligned to 64 */
	uint64_t last[PERF_SIDES_MAX]; /* MPMC consumer: last sequence number of each producer */
};

/* What a system can be compared as. */
enum perf_group { PERF_QUOIT, PERF_PEER, PERF_KERNEL, PERF_LIMIT, PERF_HEAP };

struct perf_system {
	const char *name;
	enum perf_group group;
	int threads;       /* only works between threads of one process */
	uint32_t policies; /* bits 1 << enum perf_policy */
	const char *note;  /* what it is, for `quoit-perf peers` */
	/* 1: this cell can be measured. */
	int (*supports)(const struct perf_cell *cell);
	/* Bytes of shared memory for one ring; NULL: brings its own. */
	size_t (*area_size)(const struct perf_cell *cell);
	/* Parent, before the sides start. 0 or negative errno; close() follows in any case. */
	int (*open)(struct perf_context *x);
	void (*close)(struct perf_context *x);
	/* Each side. May be NULL. */
	int (*enter)(struct perf_side *s);
	void (*leave)(struct perf_side *s);
	void (*run)(struct perf_side *s);
};

extern const struct perf_system *const perf_systems[]; /* ends with NULL */

/* Sleep. */
void perf_idle_ns(uint64_t ns);
const char *perf_policy_name(enum perf_policy policy);

#ifdef __cplusplus
}
#endif

#endif
