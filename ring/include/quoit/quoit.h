/* SPDX-License-Identifier: MIT */
/*
 * quoit: a shared-memory ring-buffer data plane.
 *
 * A segment of shared memory holds one ring. Processes attach to it as producers or consumers and
 * hand each other records, {length, type, payload}, at memory speed, without a daemon, and go on
 * when any of them is killed.
 *
 * Conventions
 *   - Functions that can fail return 0 (or a count) or a negative errno; outputs are named ret_...
 *     and stay untouched on failure.
 *   - Lengths are bytes. A payload is aligned to 8.
 *   - A deadline is absolute, on CLOCK_MONOTONIC. NULL waits for ever; QUOIT_NOWAIT does not wait
 *     and gives -EAGAIN where a passed deadline gives -ETIMEDOUT.
 *   - A handle (quoit, producer, consumer) belongs to one thread at a time. Different handles, also
 *     of one ring in one process, are independent.
 *   - Endpoints do not survive fork(): in the child every call on a producer or consumer of the
 *     parent returns -EBADF (close it there to free its memory). A ring does: the child may open
 *     endpoints of its own from it.
 *   - A thread must not be cancelled (pthread_cancel) within a call: what the call had taken would
 *     stay taken. Only a thread that sleeps in quoit_pollset_wait() may: that puts it off.
 *   - The library never prints, exits or installs a signal handler, but for quoit_guard().
 *
 * Errors, on every call unless it says otherwise:
 *
 *   -EINVAL      a parameter is out of range, or belongs to another handle; a deadline that is no
 *                time is noticed only by a call that has to wait
 *   -EAGAIN      nothing there (consumer), no room (producer)
 *   -ETIMEDOUT   the deadline passed
 *   -EINTR       a signal ended the wait (not in spin and yield, which cannot see signals)
 *   -EPIPE       producer: every consumer has closed; for as long as that is so
 *   -EOWNERDEAD  consumer: a producer died without closing, told once for each death, when the ring
 *                is drained; producer: the last consumer died, told once
 *   -EIDRM       the ring was removed
 *   -EBADMSG     shared memory is corrupt; the handle is poisoned
 *   -EPROTO      not a quoit segment; another version, byte order or kind; or truncated
 *   -EBADF       the endpoint was opened by the parent of this process
 */
#ifndef QUOIT_QUOIT_H
#define QUOIT_QUOIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUOIT_API        __attribute__((visibility("default")))
#define QUOIT_MUST_CHECK __attribute__((warn_unused_result))

#define QUOIT_VERSION_MAJOR 0
#define QUOIT_VERSION_MINOR 1
#define QUOIT_VERSION_PATCH 0

/** Longest payload any ring takes, bytes; a ring's own limit is in quoit_info.max_record. */
#define QUOIT_RECORD_MAX ((1u << 30) - 8)
/** Most records of one batch call. */
#define QUOIT_BATCH_MAX 256u
/** Longest ring name, bytes with the terminating zero. */
#define QUOIT_NAME_MAX 256u
/** Most peers (producers and consumers together) that a ring can be created for. */
#define QUOIT_PEERS_MAX 1024u

struct quoit;          /* an attached ring */
struct quoit_producer; /* a writing endpoint */
struct quoit_consumer; /* a reading endpoint */

enum quoit_kind {
	QUOIT_SPSC = 1, /* one producer, one consumer; variable-length records in a byte ring */
	QUOIT_MPMC = 2, /* many of both; fixed-size slots stamped with their owner */
};

/** How a side waits. A ring has a default; an endpoint may differ (quoit_producer_set_wait). */
enum quoit_wait {
	QUOIT_WAIT_DEFAULT = 0,
	QUOIT_WAIT_SPIN = 1,    /* burn the core */
	QUOIT_WAIT_YIELD = 2,   /* sched_yield() between looks */
	QUOIT_WAIT_FUTEX = 3,   /* spin a little, then sleep on a futex; the default */
	QUOIT_WAIT_SEM = 4,     /* a process-shared POSIX semaphore in the segment */
	QUOIT_WAIT_SYSVSEM = 5, /* a System V semaphore, semtimedop() */
	QUOIT_WAIT_EVENTFD = 6, /* a descriptor that epoll can watch */
};

enum quoit_backend {
	QUOIT_SHM = 1,   /* shm:NAME   POSIX shared memory */
	QUOIT_SYSV = 2,  /* sysv:KEY   System V shared memory */
	QUOIT_FILE = 3,  /* file:PATH  a mapped file */
	QUOIT_MEMFD = 4, /* memfd:NAME a sealed anonymous file; fd:N attaches to an inherited one */
};

/* quoit_options.flags */
#define QUOIT_CREATE_HUGEPAGES (1u << 0) /* back by huge pages, or fail (-ENOMEM, -ENOTSUP) */
#define QUOIT_CREATE_HUGE_TRY  (1u << 1) /* back by huge pages where possible, else normal ones */
#define QUOIT_MLOCK            (1u << 2) /* keep resident: mlock(), System V: SHM_LOCK at create */
#define QUOIT_PREFAULT         (1u << 3) /* touch every page before returning */
#define QUOIT_PERSISTENT       (1u << 4) /* create: the stream never ends, producers see no -EPIPE */
#define QUOIT_READONLY         (1u << 5) /* attach: observe only; no endpoint can be opened */
#define QUOIT_CREATE_OR_ATTACH (1u << 6) /* create: an existing ring is attached instead */

/**
 * Options of quoit_create() and quoit_attach(). Zero-initialise, set .size to sizeof, set what
 * matters; zero means the default given. A caller built against a newer header may have a larger
 * struct: a non-zero tail that the library does not know gives -E2BIG.
 */
struct quoit_options {
	uint32_t size;      /* sizeof(struct quoit_options) */
	uint32_t flags;     /* QUOIT_CREATE_..., QUOIT_... */
	uint32_t kind;      /* create: enum quoit_kind; default QUOIT_SPSC. attach: 0 takes any */
	uint32_t wait;      /* create: enum quoit_wait, default QUOIT_WAIT_FUTEX */
	uint64_t capacity;  /* create: bytes of record space, 1 KiB to 1 TiB, rounded up to a power
			       of  two (SPSC) or to a power of two of slots (MPMC); default 1 MiB */
	uint32_t slot_size; /* create, MPMC: largest payload without a heap, bytes, 8 to
			       QUOIT_RECORD_MAX; default 256 */
	uint32_t peers;     /* create, MPMC: most endpoints at one time, 2 to 1024; default 128 */
	uint32_t mode;      /* create: permission bits, default 0600 */
	uint32_t attach_timeout_ms; /* how long to wait for a half-made ring; default 1000 */
	uint64_t start;     /* create: first position (SPSC, bytes, multiple of 8) or ticket (MPMC);
			       for tests of wrap-around; default 0 */
	uint64_t heap_size; /* create: bytes of the heap section, up to 1 TiB, for records that the
			       ring itself does not take; 0: none. Rounded up to units of 64 KiB, or
			       of a 4096th of it if that is more. -EINVAL if it is no longer than
			       what goes there: a slot (MPMC), heap_share, or without that the
			       longest record of the ring without a heap (SPSC) */
	uint32_t heap_share; /* create, SPSC with a heap: longer records go to the heap, and have to
				fit there; bytes, up to half the ring less 16; default an eighth of
				the capacity */
	uint32_t reserved;   /* 0 */
};

/** One record. */
struct quoit_msg {
	void *data;      /* payload: in the ring (peek) or the caller's (send, recv) */
	uint32_t len;    /* bytes */
	uint32_t type;   /* the user's 32 bits; the ring does not look at them */
	uint64_t cookie; /* the ring's; do not touch between peek and advance */
};

/* ---- rings ---------------------------------------------------------------------------------- */

/**
 * Make a ring and attach to it. Names: `shm:NAME` or `NAME`, `sysv:0xKEY`, `sysv:KEY`,
 * `sysv:PATH,ID` (ftok), `sysv:private`, `file:PATH`, `memfd:NAME`. The ring is complete before
 * anyone can see it, or is seen as unfinished and waited for; a creator that is killed leaves
 * nothing that hinders the next one. All space is reserved here. opt may be NULL.
 *
 * -EEXIST the name is taken; -ENOSPC no room (/dev/shm, disk, SHMALL); -EACCES, -EPERM permission;
 * -ENAMETOOLONG, -ENOENT (folder); -ENOMEM, -EMFILE; -EFBIG over RLIMIT_FSIZE; -E2BIG unknown
 * options; -EINVAL System V: a mode without 0600, which would lock its owner out.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_create(const char *name, const struct quoit_options *opt,
					    struct quoit **ret_ring);
/**
 * Attach to a ring: the names of quoit_create(), and `fd:N`, an inherited descriptor of a memfd or
 * file ring (duplicated, the caller keeps N), `/proc/PID/fd/N`, one that another process has open
 * and we may look into, `sysv:#ID`, a System V segment by its identifier.
 * Everything shared is validated here and its geometry never read again.
 *
 * -ENOENT no such ring; -EPROTO not a ring that this library can use; -ETIMEDOUT unfinished
 * for attach_timeout_ms; -EOWNERDEAD its creator died half-way (create it again); -EACCES; -EBADF
 * fd:N is not open.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_attach(const char *name, const struct quoit_options *opt,
					    struct quoit **ret_ring);
/** Detach. Endpoints opened from the ring stay valid: they hold the mapping; what quoit_fd() gave
 * is closed. NULL is allowed. */
QUOIT_API void quoit_detach(struct quoit *q);
/** Remove a ring: blocked and running peers get -EIDRM, the name is free at once. -EBUSY: somebody
 * alive is making it. */
QUOIT_MUST_CHECK QUOIT_API int quoit_remove(const char *name);
/** Change permission bits (0 to 0777). System V: IPC_SET, and -EINVAL for a mode without 0600. */
QUOIT_MUST_CHECK QUOIT_API int quoit_chmod(const char *name, mode_t mode);
/** Change owner and group; (uid_t)-1 or (gid_t)-1 keeps one. System V: IPC_SET. */
QUOIT_MUST_CHECK QUOIT_API int quoit_chown(const char *name, uid_t uid, gid_t gid);

/** The descriptor behind a shm, file or memfd ring, owned by the ring; -ENOTSUP for System V. */
QUOIT_API int quoit_fd(const struct quoit *q);
/** Hand a memfd, file or shm ring over a connected UNIX socket (SCM_RIGHTS). */
QUOIT_MUST_CHECK QUOIT_API int quoit_send_ring(int socket, const struct quoit *q);
/** Receive a ring sent by quoit_send_ring() and attach to it. opt as for quoit_attach(). */
QUOIT_MUST_CHECK QUOIT_API int quoit_recv_ring(int socket, const struct quoit_options *opt,
					       struct quoit **ret_ring);

/** What a ring is; constant while it lives, but for mode and owner. */
struct quoit_info {
	uint32_t size;    /* in: sizeof(struct quoit_info) */
	uint32_t version; /* layout version of the segment */
	uint32_t kind, wait, backend,
		flags; /* enum quoit_kind, quoit_wait, quoit_backend; QUOIT_PERSISTENT */
	uint32_t mode, uid, gid;
	uint32_t peers;            /* rows of the peer table */
	uint64_t capacity;         /* bytes of record space */
	uint64_t segment_size;     /* bytes in all */
	uint64_t slots;            /* MPMC, else 0 */
	uint32_t slot_size;        /* MPMC: largest payload in a slot, else 0 */
	uint32_t max_record;       /* largest payload that this ring takes, bytes */
	uint64_t created_ns;       /* CLOCK_REALTIME, ns */
	int32_t creator_pid;       /* as seen by the creator; for display */
	int32_t sysv_id;           /* System V shared memory id, else -1 */
	uint32_t compat, incompat; /* feature bits */
	uint32_t page_size;        /* bytes of the pages behind it, as asked at create */
	uint32_t reserved;
	uint8_t uuid[16];
	char name[QUOIT_NAME_MAX]; /* canonical name; attach to it from another process */
	uint64_t heap_size;        /* bytes of the heap section, or 0 */
	uint32_t heap_unit;        /* bytes of it that change owners together, or 0 */
	uint32_t heap_share;       /* longer records go to the heap (SPSC; MPMC: slot_size), or 0 */
};
QUOIT_MUST_CHECK QUOIT_API int quoit_get_info(const struct quoit *q, struct quoit_info *ret_info);

/*
 * The counters: X(name, what it counts). One line per endpoint in shared memory, written by that
 * endpoint alone; a ring's figure is the sum over all endpoints it ever had.
 */
#define QUOIT_COUNTERS(X)                                                                          \
	X(records, "records committed (producers) or taken (consumers)")                           \
	X(bytes, "payload bytes of those records")                                                 \
	X(full, "times a producer met a full ring")                                                \
	X(empty, "times a consumer met an empty ring")                                             \
	X(sleeps, "times an endpoint went to sleep")                                               \
	X(wakes, "times an endpoint called the kernel to wake others")                             \
	X(deaths, "endpoints that this one found dead and cleaned up after")                       \
	X(redelivered, "records given back because their reader died")                             \
	X(voided, "slots stepped over because their owner was slow or stopped")                    \
	X(republished, "records that took a new place because their slot had been voided")

struct quoit_counters {
#define QUOIT__FIELD(name, what) uint64_t name;
	QUOIT_COUNTERS(QUOIT__FIELD)
#undef QUOIT__FIELD
};

/** Totals of a ring at one moment; a snapshot without stopping anyone, so not exact under load. */
struct quoit_stats {
	uint32_t size;                 /* in: sizeof(struct quoit_stats) */
	uint32_t producers, consumers; /* open endpoints, alive or not yet reaped */
	uint32_t state;                /* enum quoit_state */
	uint64_t head, tail;           /* oldest unread and next position (SPSC) or ticket (MPMC) */
	uint64_t used;                 /* bytes (SPSC) or slots (MPMC) between them */
	uint64_t capacity;             /* in the unit of .used */
	uint64_t producer_deaths, consumer_deaths;
	struct quoit_counters produced, consumed; /* sums over producers, over consumers */
};
enum quoit_state {
	QUOIT_STATE_NEW = 0,    /* no producer has come yet */
	QUOIT_STATE_OPEN = 1,   /* producers came, the stream goes on */
	QUOIT_STATE_ENDED = 2,  /* every producer has closed */
	QUOIT_STATE_BROKEN = 3, /* the last producer to leave died */
	QUOIT_STATE_REMOVED = 4,
};
QUOIT_MUST_CHECK QUOIT_API int quoit_get_stats(const struct quoit *q,
					       struct quoit_stats *ret_stats);

/** The heap section at one moment, in bytes, as far as its units have owners; what an owner keeps
 * free within its units only it knows. free + used + orphaned = total. */
struct quoit_heap_stats {
	uint32_t size;     /* in: sizeof(struct quoit_heap_stats) */
	uint32_t unit;     /* bytes that change owners together */
	uint64_t total;    /* bytes; 0: the ring has no heap */
	uint64_t free;     /* anybody's to take */
	uint64_t used;     /* units of producers that are open, or died and were not reaped yet;
			      also those that were read and their producer has not looked for yet */
	uint64_t orphaned; /* units whose owner has gone; when their last record has been taken they
			      are freed by a producer that finds no room, or quoit_repair() */
	uint64_t largest;  /* longest stretch of free units; less than .free: fragmented */
};
/** -ENOTSUP: the ring has no heap. */
QUOIT_MUST_CHECK QUOIT_API int quoit_get_heap_stats(const struct quoit *q,
						    struct quoit_heap_stats *ret_stats);

/**
 * Guard this process against truncated rings: whoever may write the file behind a shm or file ring
 * may also cut it off, and then its users are killed by SIGBUS. This installs a handler for SIGBUS,
 * for the whole process and for good. A fault in a ring's memory then puts private zeros in its
 * place, in this process alone; calls that touch the ring return -EBADMSG, at the latest the second
 * one after the fault, and pointers to payload that were given out stay readable. A record
 * committed at that moment is lost with the ring. Every other SIGBUS goes to whoever had it before.
 * Call it early, before or after attaching; again does nothing. memfd and System V rings cannot be
 * cut off. -EBUSY: somebody has taken the signal since.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_guard(void);

/* ---- endpoints ------------------------------------------------------------------------------ */

/**
 * Open a writing endpoint. It holds a lock that the kernel lets go when the process dies. On an
 * SPSC ring it resumes after the last committed record of its predecessor.
 * -EBUSY SPSC: a producer is alive; -ENOSPC MPMC: the peer table is full; -EACCES read-only.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_producer_open(struct quoit *q, struct quoit_producer **ret);
/** Close: reservations are discarded, sleepers are told. NULL is allowed. */
QUOIT_API void quoit_producer_close(struct quoit_producer *p);
/** Open a reading endpoint; on an SPSC ring it resumes at the first record not advanced over. */
QUOIT_MUST_CHECK QUOIT_API int quoit_consumer_open(struct quoit *q, struct quoit_consumer **ret);
/** Close: records peeked but not advanced over are given back. NULL is allowed. */
QUOIT_API void quoit_consumer_close(struct quoit_consumer *c);

/** Choose how this endpoint waits; default is the ring's. -ENOTSUP: not possible here. */
QUOIT_MUST_CHECK QUOIT_API int quoit_producer_set_wait(struct quoit_producer *p,
						       enum quoit_wait wait);
QUOIT_MUST_CHECK QUOIT_API int quoit_consumer_set_wait(struct quoit_consumer *c,
						       enum quoit_wait wait);

/** This endpoint's own counters. */
QUOIT_API void quoit_producer_counters(const struct quoit_producer *p, struct quoit_counters *ret);
QUOIT_API void quoit_consumer_counters(const struct quoit_consumer *c, struct quoit_counters *ret);
/** Row of the endpoint in the peer table, 0 to peers-1. */
QUOIT_API uint32_t quoit_producer_id(const struct quoit_producer *p);
QUOIT_API uint32_t quoit_consumer_id(const struct quoit_consumer *c);

/* ---- writing -------------------------------------------------------------------------------- */

/*
 * In place: reserve room, write into it, commit. SPSC: one reservation at a time; a second
 * quoit_reserve() replaces the first. MPMC: up to 64 at a time.
 *
 * A ring with a heap (quoit_options.heap_size) takes records that are longer than a slot, or than
 * heap_share of an SPSC ring, by the same calls: their payload lies in the heap, in one piece, from
 * reserve to advance. Its memory comes back to the producer that reserved it, which notices at its
 * next call that needs some: a producer that idles keeps until then what has been taken meanwhile.
 * If it closes or dies, its blocks stay until their records have been taken; after that the next
 * producer that finds no room frees them.
 * Link producers of such rings with -ljemalloc (5.3 or later), or with -Wl,--no-as-needed before it
 * if they call no malloc() themselves: it then allocates what is smaller than a unit
 * (quoit_info.heap_unit), with all its bookkeeping in private memory. Without it each such record
 * takes whole units, at least 64 KiB. Consumers do not need it.
 */

/**
 * Room for a record of up to len bytes at *ret_payload, in the ring or its heap. -EAGAIN full;
 * -EMSGSIZE larger than quoit_info.max_record; -EBUSY MPMC: too many reservations; -ENOMEM in the
 * heap, for its bookkeeping.
 */
static inline int quoit_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload);
/**
 * Publish a reserved record of len bytes, at most what was reserved, and wake who sleeps. A
 * producer that commits in the order of its reservations is read in that order. -EAGAIN, MPMC only:
 * others had to step over this slot while this process was stopped, and there is no room for its
 * new place: the reservation stays, call again.
 */
static inline int quoit_commit(struct quoit_producer *p, void *payload, uint32_t len,
			       uint32_t type);
/** Give a reservation back unused. */
QUOIT_API int quoit_discard(struct quoit_producer *p, void *payload);

/** Copy one record in; waits for room until deadline. buf may be NULL when len is 0. */
static inline int quoit_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
			     const struct timespec *deadline);
/**
 * Copy up to n (1 to QUOIT_BATCH_MAX) records in, in order, published together. Waits until at
 * least one is in. Returns how many are in.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_send_batch(struct quoit_producer *p,
						const struct quoit_msg *msgs, unsigned n,
						const struct timespec *deadline);
/**
 * Wait until quoit_reserve(p, len) is likely to succeed. 0, -EPIPE, -EOWNERDEAD, -ETIMEDOUT...
 * SPSC: an open reservation may lose its place by it (quoit_commit: -EINVAL), and if it is in the
 * heap there is no waiting for room there, for the next one gives it back, and says -EAGAIN if that
 * was not enough. MPMC: room that one's own reservations take up does not come.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_producer_wait(struct quoit_producer *p, uint32_t len,
						   const struct timespec *deadline);
/** Wait until every record is taken (SPSC, MPMC: the ring is empty). */
QUOIT_MUST_CHECK QUOIT_API int quoit_drain(struct quoit_producer *p,
					   const struct timespec *deadline);

/* ---- reading -------------------------------------------------------------------------------- */

/*
 * In place: peek at the oldest record, use it where it lies, advance over it. A reader that dies
 * in between has its record redelivered: at least once.
 */

/**
 * 1: *ret_msg is the oldest record not advanced over, the same on every call until then.
 * 0: end of stream: every producer has closed and the ring is drained.
 * -EAGAIN empty. -EOWNERDEAD once per death: the ring is drained and a producer died without
 * closing.
 */
static inline int quoit_peek(struct quoit_consumer *c, struct quoit_msg *ret_msg);
/** Done with a peeked record; its memory belongs to the producers again. SPSC: oldest first. */
static inline int quoit_advance(struct quoit_consumer *c, const struct quoit_msg *msg);
/**
 * Peek at up to n (1 to QUOIT_BATCH_MAX) of the oldest records not advanced over. Returns how
 * many, else as quoit_peek().
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_peek_batch(struct quoit_consumer *c,
						struct quoit_msg *ret_msgs, unsigned n);
/** Advance over n records that quoit_peek_batch() gave, in its order. */
QUOIT_API int quoit_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs,
				  unsigned n);

/**
 * Copy the oldest record to buf and advance over it; waits for one until deadline.
 * Returns 1, with ret_msg->data = buf, .len and .type set; 0 at the end of the stream.
 * -EMSGSIZE: longer than cap; ret_msg->len tells its length, the record stays.
 */
static inline int quoit_recv(struct quoit_consumer *c, void *buf, uint32_t cap,
			     struct quoit_msg *ret_msg, const struct timespec *deadline);
/**
 * Copy up to n records one behind the other, each aligned to 8, into buf of cap bytes. Waits until
 * there is one. Returns how many; 0 at the end of the stream. -EMSGSIZE: the first does not fit.
 */
QUOIT_MUST_CHECK QUOIT_API int quoit_recv_batch(struct quoit_consumer *c, void *buf, size_t cap,
						struct quoit_msg *ret_msgs, unsigned n,
						const struct timespec *deadline);
/** Wait until quoit_peek() has something to say. 0, or -ETIMEDOUT, -EAGAIN, -EINTR, -EIDRM... */
QUOIT_MUST_CHECK QUOIT_API int quoit_consumer_wait(struct quoit_consumer *c,
						   const struct timespec *deadline);

/* ---- epoll ---------------------------------------------------------------------------------- */

/*
 * A descriptor for event loops, level-triggered. Loop: peek until -EAGAIN, quoit_arm_...(), and
 * only if that returns 0, epoll_wait(). The descriptor is owned by the endpoint and closed with it.
 */

/** The descriptor, readable when peek (reserve) may have something new to say. Switches the
 * endpoint to QUOIT_WAIT_EVENTFD. */
QUOIT_API int quoit_consumer_fd(struct quoit_consumer *c);
QUOIT_API int quoit_producer_fd(struct quoit_producer *p);
/** Announce the sleep and look again. 0: sleep now. 1: do not, there is something. */
QUOIT_MUST_CHECK QUOIT_API int quoit_consumer_arm(struct quoit_consumer *c);
QUOIT_MUST_CHECK QUOIT_API int quoit_producer_arm(struct quoit_producer *p, uint32_t len);

/* ---- helpers -------------------------------------------------------------------------------- */

/** Not waiting, as a deadline. */
QUOIT_API extern const struct timespec quoit_nowait;
#define QUOIT_NOWAIT (&quoit_nowait)
/** The deadline ms milliseconds (0 to 2^31-1) from now. */
QUOIT_API struct timespec quoit_deadline_ms(uint32_t ms);
/** "spsc", "futex", ... and back; NULL or -EINVAL for what is none. */
QUOIT_API const char *quoit_kind_name(enum quoit_kind kind);
QUOIT_API const char *quoit_wait_name(enum quoit_wait wait);
QUOIT_API const char *quoit_backend_name(enum quoit_backend backend);
QUOIT_API int quoit_kind_from_name(const char *name);
QUOIT_API int quoit_wait_from_name(const char *name);
/** What a negative errno means here, in one short sentence without a full stop. */
QUOIT_API const char *quoit_strerror(int error);
/** "0.1.0" */
QUOIT_API const char *quoit_version(void);

#include <quoit/inline.h>

#ifdef __cplusplus
}
#endif

#endif
