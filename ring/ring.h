/* SPDX-License-Identifier: MIT */
/*
 * The private side of handles. Geometry is copied here at attach, after validation; the shared copy
 * is never read again.
 */
#ifndef QUOIT_RING_H
#define QUOIT_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <quoit/quoit.h>
#include <quoit/inspect.h>

#include "ring/layout.h"
#include "ring/segment.h"
#include "sync/board.h"
#include "sync/eventcount.h"
#include "sync/lock.h"
#include "sync/pollable.h"

#define QUOIT__RESERVATIONS_MAX 64u
#define QUOIT__PROBE_FIRST                                                                         \
	16 /* waits between two trials of patience, doubled by each that failed */

/* What validation found out about a segment. */
struct quoit__geometry {
	enum quoit_kind kind;
	enum quoit_wait wait;
	bool persistent;
	uint32_t peers;
	uint64_t control_offset, peers_offset, data_offset;
	uint64_t capacity;
	uint64_t segment_size;
	uint32_t max_record;  /* longest payload */
	uint32_t ring_record; /* longest payload in the ring itself; more goes to the heap */
	uint64_t heap_table, heap_offset, heap_size, heap_unit; /* 0: there is none */
	uint64_t slots;                                         /* MPMC from here on */
	uint32_t slot_stride, slot_size;
	uint32_t slots_log2;
	uint32_t turn_shift; /* bit where the turn begins in a slot word */
	int32_t sem_id;
};

struct quoit {
	struct quoit__segment seg;
	struct quoit__geometry geo;
	struct quoit__header *header;
	struct quoit__control *control;
	struct quoit__row *rows;
	unsigned char *data;
	unsigned char *heap;     /* the section, or NULL */
	_Atomic uint64_t *units; /* its table */
	struct sync_event readable, writable;
	uint8_t uuid[16];
	uint32_t flags;
	bool readonly;
	int32_t sem_made;       /* semaphore set that goes with this handle, or -1 */
	pid_t made_by;          /* a forked child does not take it along */
	_Atomic int references; /* the ring's user and its endpoints */
	struct quoit_info info; /* as at attach; mode and owner are asked again */
};

/* What producers and consumers have in common. */
struct quoit__endpoint {
	struct quoit *ring;
	struct quoit__row *row;
	struct sync_lock lock; /* holds index row id */
	uint32_t id;
	enum quoit_role role;
	enum quoit_wait wait;
	const struct sync_event *sleeps_on, *wakes;
	struct sync_pollable
		*pollable; /* own, or only for waking eventfd sleepers; NULL until needed */
	bool pollable_own;
	struct sync_board *board; /* of the set that was woken last, or NULL */
	bool in_set;              /* member of a set of this process */
	bool forked;
	bool looks;   /* at what its next call has to tell; tells no death itself */
	bool poked;   /* somebody asked us to look at our peers */
	int error;    /* sticky: -EBADMSG, -EIDRM */
	bool patient; /* letting a backlog form has paid off lately; see ring/wait.c */
	uint32_t probe, probe_next; /* waits until patience is tried again */
	uint64_t records_at;        /* records handled when we last had to wait */
	uint64_t bytes_at;          /* ... and bytes */
	int64_t spin_ns;            /* adaptive: how long to look before sleeping */
	int64_t checked_ns;         /* when peers were last looked at */
	int64_t doubted_ns;         /* when damage was last looked for; see ring/doubt.c */
	uint64_t doubted_at;        /* position that was in doubt then, + 1 */
	uint64_t deaths_seen;
	struct quoit_counters slow; /* what is counted off the hot path; records and bytes unused */
	struct quoit_counters before; /* the row's, when we opened it */
	uint64_t missed_at;           /* position at which full or empty was last counted, + 1 */
	struct quoit__endpoint *next, *previous; /* for the fork handler */
};

/* A claimed MPMC slot. */
struct quoit__claim {
	struct quoit__slot *slot;
	uint64_t ticket;
	uint32_t len; /* reserved */
};

/* A record that an MPMC consumer has on loan. */
struct quoit__loan {
	struct quoit__slot *slot;
	struct quoit_msg msg; /* the cookie is its ticket */
};

struct quoit_producer {
	struct quoit__producer_hot hot; /* first: the inline path uses it */
	struct quoit__endpoint ep;
	uint64_t head;   /* SPSC: everything before is known to be free */
	unsigned mark;   /* SPSC: which of the row's two marks holds */
	bool lazy;       /* SPSC: waiting; do not touch the consumer's line to find a little room */
	uint64_t ticket; /* MPMC: every ticket below has been passed */
	uint64_t moved_to;    /* MPMC: highest ticket that a voided record of ours moved to */
	uint32_t fate_judged; /* control.consumed when somebody was still there */
	uint64_t blocked_word;
	int64_t blocked_ns;
	uint32_t claims;
	struct quoit__claim claim[QUOIT__RESERVATIONS_MAX];
	struct quoit__heap *heap; /* ring/heap_blocks.h; NULL until it is needed */
};

struct quoit_consumer {
	struct quoit__consumer_hot hot;
	struct quoit__endpoint ep;
	uint64_t published; /* SPSC: what control.head says */
	uint64_t frontier;  /* MPMC: producers are known to have got here */
	uint64_t ticket;    /* MPMC */
	uint64_t redeliveries_seen;
	uint32_t held;
	struct quoit__loan loan[QUOIT_BATCH_MAX]; /* oldest first */
	struct quoit_msg heap_msg; /* SPSC: the heap record at our position, once looked at */
};

/* As quoit__own_lines(), of a payload that is ours until it is given back, and has a word's room to
 * spare. A long one has left the caches by then, and would be fetched once more. */
#define QUOIT__OWN_MAX (4u << 20)
static inline void quoit__own_payload(const void *payload, uint64_t len)
{
	if (len != 0 && len <= QUOIT__OWN_MAX)
		quoit__own_lines((unsigned char *)(uintptr_t)payload, len);
}

/* ring/validate.c: all distrust of shared bytes. */
int quoit__validate_header(const struct quoit__header *copy, uint64_t mapped,
			   struct quoit__geometry *ret);
uint64_t quoit__checksum(const struct quoit__header *h);
/* After the header; completes *g. */
int quoit__validate_heap(const struct quoit__header *h, const struct quoit__heap_header *heap,
			 struct quoit__geometry *g);
uint64_t quoit__heap_checksum(const struct quoit__heap_header *heap);
/* A heap record read from shared memory: does its payload lie in the section? */
bool quoit__heap_record_valid(const struct quoit__geometry *g, const struct quoit__heap_record *r);
/* Positions (SPSC) read from shared memory: both multiples of 8, one capacity apart at most. */
bool quoit__position_valid(const struct quoit__geometry *g, uint64_t position, uint64_t end);

/* ring/quoit.c */
void quoit__unref(struct quoit *q);

/* ring/peers.c */
static inline uint32_t quoit__lock_index(uint32_t row)
{
	return QUOIT__SEM_PEERS + row;
}
int quoit__endpoint_open(struct quoit *q, enum quoit_role role, struct quoit__endpoint *ep);
void quoit__endpoint_opened(struct quoit__endpoint *ep);
void quoit__endpoint_close(struct quoit__endpoint *ep, bool holds);
/* Undo quoit__endpoint_open() of an endpoint that could not be completed. */
void quoit__endpoint_abandon(struct quoit__endpoint *ep);
int quoit__lock_open(struct quoit *q, struct sync_lock *ret);
void quoit__lock_close(struct sync_lock *l);
/* Publish the counters that are not on the hot path. */
void quoit__count_store(struct quoit__endpoint *ep);
/* Does one of the others hold a row and no lock any more? Asks the kernel, changes nothing. */
bool quoit__any_dead(const struct quoit *q, const struct sync_lock *lock, uint32_t self);
/* ring/reap.c: reap every dead peer; returns how many. self is a row not to look at, or UINT32_MAX.
 */
unsigned quoit__reap(struct quoit *q, const struct sync_lock *lock, uint32_t self,
		     struct quoit_counters *ret_counters);
/* Is anybody of this role there, alive or not yet reaped? */
bool quoit__role_present(const struct quoit *q, enum quoit_role role);
/* ring/wake.c: wake those of role `sleepers` who announced a sleep on the event. */
void quoit__wake(struct quoit__endpoint *ep, const struct sync_event *event,
		 enum quoit_role sleepers);
/* Other producers: one may wait for the room that this one has given back. */
void quoit__tell_room(struct quoit_producer *p);
void quoit__wake_all(struct quoit *q);
/* What one side's last event was. Relaxed or acquire: P3. */
static inline enum quoit__stream quoit__fate(uint32_t word)
{
	return (enum quoit__stream)(word & QUOIT__STREAM_MASK);
}

/* ring/wait.c */
int64_t quoit__now_ns(void);
/* A deadline in nanoseconds; INT64_MAX: never. */
int64_t quoit__end_of(const struct timespec *deadline);
bool quoit__glance_first(struct quoit_consumer *c);
bool quoit__fence_needed(void);
/* ring/idle.c: what a consumer that found nothing (producer: no room) has to say; looks at peers
 * now and then. */
int quoit__consumer_idle(struct quoit_consumer *c);
int quoit__producer_idle(struct quoit_producer *p);
/* ring/watch.c, for who watches many endpoints. Thorough: 0 the endpoint's next call has something
 * to tell, -EAGAIN not; deaths stay untold. */
int quoit__consumer_look(struct quoit_consumer *c);
int quoit__producer_look(struct quoit_producer *p, uint32_t room);
/* Brief: a load or two; may miss all but records, and some room. */
bool quoit__consumer_glance(struct quoit_consumer *c);
bool quoit__producer_glance(struct quoit_producer *p, uint32_t room);
/* ring/doubt.c: is what this endpoint waits for never going to come, because shared memory was
 * damaged? Looks now and then. */
bool quoit__consumer_doubts(struct quoit_consumer *c, int64_t now);
bool quoit__producer_doubts(struct quoit_producer *p, int64_t now);

/* What the hot-path structs of a poisoned or forked handle look like. */
void quoit__producer_poison(struct quoit_producer *p);
void quoit__consumer_poison(struct quoit_consumer *c);
int quoit__producer_fail(struct quoit_producer *p, int error);
int quoit__consumer_fail(struct quoit_consumer *c, int error);

/* ring/spsc_producer.c */
void quoit__spsc_init(struct quoit *q, uint64_t start);
int quoit__spsc_producer_open(struct quoit_producer *p);
int quoit__spsc_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload);
/* The same for what goes into the ring itself, without looking at peers. */
int quoit__spsc_find_room(struct quoit_producer *p, uint32_t len, void **ret_payload);
/* Publish a record in the heap; room for it has been found. */
void quoit__spsc_publish_heap(struct quoit_producer *p, const struct quoit__heap_record *record);
/* Learn how far the consumer is, into p->head. False: nonsense in shared memory. */
bool quoit__spsc_learn_head(struct quoit_producer *p);
int quoit__spsc_send_batch(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n);
bool quoit__spsc_drained(struct quoit_producer *p);
/* Has the consumer handed back memory since we last looked? */
bool quoit__spsc_head_moved(const struct quoit_producer *p);

/* ring/spsc_consumer.c */
int quoit__spsc_consumer_open(struct quoit_consumer *c);
int quoit__spsc_look(struct quoit_consumer *c,
		     struct quoit_msg *ret_msg); /* 1, -EAGAIN, -EBADMSG */
int quoit__spsc_peek_batch(struct quoit_consumer *c, struct quoit_msg *ret_msgs, unsigned n);
/* Over a record in the heap. */
int quoit__spsc_advance_heap(struct quoit_consumer *c, const struct quoit_msg *msg);
/* Where the payload after one at `used` goes in the buffer of a batch: at a multiple of 8. */
static inline size_t quoit__batch_next(size_t used, uint64_t len, size_t cap)
{
	used = (used + len + 7) & ~(size_t)7;
	return used < cap ? used : cap;
}

/* Copies up to n records that lie in the ring itself into `to`, each at a multiple of 8, from *used
 * on; up to the end of the lap. Returns how many. */
unsigned quoit__spsc_recv_run(struct quoit_consumer *c, unsigned char *to, size_t cap, size_t *used,
			      struct quoit_msg *ret_msgs, unsigned n);
int quoit__spsc_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs, unsigned n);
void quoit__spsc_publish_head(struct quoit_consumer *c);
void quoit__spsc_milestone(struct quoit_consumer *c);

/* ring/mpmc.c, ring/mpmc_walk.c, ring/mpmc_producer.c, ring/mpmc_consumer.c, ring/mpmc_ready.c */
void quoit__mpmc_init(struct quoit *q, uint64_t start);
void quoit__mpmc_producer_open(struct quoit_producer *p);
void quoit__mpmc_consumer_open(struct quoit_consumer *c);
/* Walk from our ticket to a slot that can be claimed, publishing on the way what is PENDING. With
 * `own`, a PENDING slot of ours: walk until it has been published, by us or by others.
 * 0, or -EAGAIN: full. */
int quoit__mpmc_walk(struct quoit_producer *p, const struct quoit__slot *own,
		     struct quoit__claim *ret);
int quoit__mpmc_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload);
int quoit__mpmc_commit(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type);
int quoit__mpmc_discard(struct quoit_producer *p, void *payload);
/* For a record in the heap: a slot for its descriptor, and the commit of that. */
int quoit__mpmc_reserve_slot(struct quoit_producer *p, struct quoit__slot **ret_slot);
int quoit__mpmc_commit_heap(struct quoit_producer *p, struct quoit__slot *slot,
			    const struct quoit__heap_record *record);
/* The next record, if nothing is in the way; the hot path. False: nothing happened. */
bool quoit__mpmc_send_next(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type);
int quoit__mpmc_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type);
int quoit__mpmc_send_batch(struct quoit_producer *p, const struct quoit_msg *msgs, unsigned n);
/* No slot holds a record, lent ones included. Looks at all. */
bool quoit__mpmc_nothing_left(const struct quoit *q);
int quoit__mpmc_peek_batch(struct quoit_consumer *c, struct quoit_msg *ret_msgs, unsigned n);
int quoit__mpmc_advance(struct quoit_consumer *c, const struct quoit_msg *msg);
int quoit__mpmc_advance_batch(struct quoit_consumer *c, const struct quoit_msg *msgs, unsigned n);
/* The record at our ticket, if it is committed and short; the hot path. */
bool quoit__mpmc_recv_next(struct quoit_consumer *c, void *buf, uint32_t cap,
			   struct quoit_msg *ret_msg);
/* The same, on loan; for a consumer that holds none. */
bool quoit__mpmc_lend_next(struct quoit_consumer *c, struct quoit_msg *ret_msg);
int quoit__mpmc_recv(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg);
/* Is there something for this consumer? Takes nothing. */
bool quoit__mpmc_ready(struct quoit_consumer *c);
/* The same, by one look at the next slot; may miss some. */
bool quoit__mpmc_glance(const struct quoit_consumer *c);
/* Is a record committed at a later ticket than this? Ends where the looks are used up. */
bool quoit__mpmc_later_committed(const struct quoit *q, uint64_t ticket, uint64_t *looks);
/* Has a dead reader's record come back behind our ticket? */
bool quoit__mpmc_redelivered(struct quoit_consumer *c);
bool quoit__mpmc_room(struct quoit_producer *p);
/* Is a quarter of the ring free? One look, away from where the readers are. */
bool quoit__mpmc_much_room(struct quoit_producer *p);
/* Give back every slot stamped with row id, whose holder is dead or closing. Returns redelivered.
 */
unsigned quoit__mpmc_give_back(struct quoit *q, uint32_t id);

#endif
