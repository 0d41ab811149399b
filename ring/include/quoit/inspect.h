/* SPDX-License-Identifier: MIT */
/*
 * Looking into rings without disturbing them: what the quoit command uses. Everything here but
 * quoit_repair() maps read-only, takes no lock, opens no endpoint and changes no counter.
 */
#ifndef QUOIT_INSPECT_H
#define QUOIT_INSPECT_H

#include <quoit/quoit.h>

#ifdef __cplusplus
extern "C" {
#endif

enum quoit_role { QUOIT_ROLE_NONE = 0, QUOIT_ROLE_PRODUCER = 1, QUOIT_ROLE_CONSUMER = 2 };

enum quoit_peer_state {
	QUOIT_PEER_FREE = 0,
	QUOIT_PEER_ALIVE = 1,
	QUOIT_PEER_STOPPED =
		2,           /* holds its lock, and /proc says T (only if its pid is ours to see) */
	QUOIT_PEER_DEAD = 3, /* lock gone, not reaped yet */
	QUOIT_PEER_UNKNOWN = 4, /* a copied image: nobody can be asked */
};

/** One row of the peer table. */
struct quoit_peer {
	uint32_t id;    /* row */
	uint32_t role;  /* enum quoit_role */
	uint32_t state; /* enum quoit_peer_state */
	int32_t pid;    /* in its own PID namespace; for display */
	uint32_t uid;
	uint32_t wait;     /* enum quoit_wait */
	uint32_t sleeping; /* 1: announced a sleep */
	uint32_t reserved;
	uint64_t opened_ns; /* CLOCK_REALTIME */
	uint64_t position;  /* bytes (SPSC), ticket (MPMC) */
	uint64_t lag;       /* consumer: bytes or slots behind the tail; producer: 0 */
	struct quoit_counters counters;
	char command[16];
};

/** One record as an observer sees it. */
struct quoit_record {
	uint64_t position; /* bytes (SPSC), ticket (MPMC) */
	uint64_t offset;   /* of its header in the segment */
	uint32_t len, type;
	uint32_t state;   /* enum quoit_record_state */
	uint32_t owner;   /* row stamped in, or UINT32_MAX */
	const void *data; /* a private copy, valid until the next call; len bytes; NULL when not
			     readable */
	uint64_t heap;    /* offset in the segment of a payload that lies in the heap, else 0 */
};
enum quoit_record_state {
	QUOIT_RECORD_READY = 1,   /* committed, not yet taken */
	QUOIT_RECORD_WRITING = 2, /* claimed, in the making (MPMC) */
	QUOIT_RECORD_READING = 3, /* lent to a reader (MPMC) */
	QUOIT_RECORD_VOID = 4,    /* stepped over, still its owner's (MPMC) */
	QUOIT_RECORD_PADDING = 5, /* skip to the start of the ring (SPSC) */
};

struct quoit_inspect; /* a read-only view of a ring or of a copied segment */

/** Told of every problem: severity 1 note, 2 repairable, 3 corrupt; offset into the segment. */
typedef void quoit_problem_fn(void *arg, int severity, uint64_t offset, const char *text);

/**
 * Open a view of a ring, or of a regular file that holds a copy of a segment (a name with a `/`, or
 * `image:PATH`). A damaged one opens too as long as its magic can be read; report, which may be
 * NULL, is told what is wrong. -ENOENT, -EACCES, -EPROTO no magic, or another version.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_open(const char *name, quoit_problem_fn *report,
						  void *arg, struct quoit_inspect **ret);
QUOIT_API void quoit_inspect_close(struct quoit_inspect *v);
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_info(const struct quoit_inspect *v,
						  struct quoit_info *ret_info);
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_stats(const struct quoit_inspect *v,
						   struct quoit_stats *ret_stats);
/** -ENOTSUP: no heap; -EBADMSG: its table is not in these bytes. */
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_heap_stats(const struct quoit_inspect *v,
							struct quoit_heap_stats *ret_stats);
/** Up to n rows that are in use; returns how many there are in all. */
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_peers(const struct quoit_inspect *v,
						   struct quoit_peer *ret_peers, unsigned n);
/** Go to the oldest record that can still be read. */
QUOIT_API void quoit_inspect_rewind(struct quoit_inspect *v);
/** Go to the end: the next record is one that is committed from now on. */
QUOIT_API void quoit_inspect_seek_end(struct quoit_inspect *v);
/**
 * 1: *ret_record is the next record; 0: no more at present; -EBADMSG: corrupt here (rewind to go
 * on). *ret_missed is increased by positions that were overwritten before they could be looked at.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_next(struct quoit_inspect *v,
						  struct quoit_record *ret_record,
						  uint64_t *ret_missed);
/** Walk the whole segment: header, peers, positions, every record. Returns how many problems of
 * severity 2 and 3; a ring in use is looked at twice before anything is called a problem. */
QUOIT_MUST_CHECK QUOIT_API int quoit_inspect_check(struct quoit_inspect *v,
						   quoit_problem_fn *report, void *arg);
/** The raw bytes of the view: size in *ret_size. */
QUOIT_API const void *quoit_inspect_bytes(const struct quoit_inspect *v, uint64_t *ret_size);

/**
 * Reap dead endpoints, give back what they held, free what no record refers to in a heap, remove a
 * half-made ring. Needs write access. Never touches what a living peer holds, nor a ring in which
 * something is corrupt: -EBADMSG, and report is told what. dry_run != 0 only reports. Returns how
 * many things it did (would do). -EAGAIN: the ring was remade under its name each of many times;
 * -EINVAL: a copy; -EMFILE, -ENOMEM, and as quoit_inspect_open() and quoit_attach().
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_repair(const char *name, int dry_run, quoit_problem_fn *report,
					    void *arg);

/** A ring found on this machine. */
struct quoit_found {
	const char *name;       /* canonical, attachable; without a name: /proc/PID/fd/N */
	int status;             /* 0, or why it cannot be looked into: -EACCES, -EPROTO... */
	struct quoit_info info; /* valid when status is 0 */
	struct quoit_stats stats;
	uint32_t alive, dead; /* peers */
	uint32_t stale;       /* 1: nobody alive is attached as a peer */
};
/**
 * Call fn for every ring: shm, System V, memfds of processes that may be looked into, and file
 * rings in use by such processes. A non-zero result of fn ends the walk and is returned.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_list(int (*fn)(void *arg, const struct quoit_found *found),
					  void *arg);

#ifdef __cplusplus
}
#endif

#endif
