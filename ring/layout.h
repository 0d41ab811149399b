/* SPDX-License-Identifier: MIT */
/*
 * The bytes in shared memory: structs and asserts, nothing else. docs/FORMAT.md draws them.
 *
 * Everything is fixed-width and little-endian; offsets from the start of the segment, never
 * pointers. Words of different writers lie 128 bytes apart (two lines: adjacent-line prefetch), on
 * every build machine.
 */
#ifndef QUOIT_LAYOUT_H
#define QUOIT_LAYOUT_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <quoit/quoit.h>

#define QUOIT__MAGIC          UINT64_C(0x676e6974696f7571) /* "quoiting" */
#define QUOIT__LAYOUT_VERSION 1u
#define QUOIT__ENDIAN         UINT32_C(0x01020304)
#define QUOIT__STRIDE         128u

/* Feature bits. A reader that does not know an incompatible bit must refuse the segment. */
#define QUOIT__COMPAT_PERSISTENT (1u << 0)
#define QUOIT__COMPAT_KNOWN      QUOIT__COMPAT_PERSISTENT
#define QUOIT__INCOMPAT_SPSC     (1u << 0) /* record space as quoit/inline.h says */
#define QUOIT__INCOMPAT_MPMC     (1u << 1) /* record space as ring/slot.h says */
#define QUOIT__INCOMPAT_HEAP     (1u << 2) /* struct quoit__heap_header follows the header */
#define QUOIT__INCOMPAT_KNOWN    (QUOIT__INCOMPAT_SPSC | QUOIT__INCOMPAT_MPMC | QUOIT__INCOMPAT_HEAP)

/* quoit__header.state */
enum { QUOIT__BUILDING = 0, QUOIT__READY = 1, QUOIT__REMOVED = 2 };

/*
 * FORMAT.md, "Header". Written by the creator before READY; after that only state changes.
 * checksum covers everything before it but magic and state.
 */
struct quoit__header {
	uint64_t magic;
	_Atomic uint32_t state; /* L1: READY publishes the rest */
	uint32_t version;
	uint32_t endian;
	uint32_t header_size; /* of this struct */
	uint32_t compat, incompat;
	uint32_t kind, wait, backend;
	uint32_t peers; /* rows */
	uint64_t segment_size;
	uint64_t control_offset; /* struct quoit__control */
	uint64_t peers_offset;   /* struct quoit__row [peers] */
	uint64_t data_offset;    /* record space, page-aligned */
	uint64_t capacity;    /* bytes of record space: SPSC a power of two; MPMC slots * stride */
	uint64_t slots;       /* MPMC: a power of two, else 0 */
	uint32_t row_stride;  /* sizeof(struct quoit__row) */
	uint32_t slot_stride; /* MPMC: bytes from slot to slot, multiple of 8, else 0 */
	uint32_t slot_size;   /* MPMC: largest payload, else 0 */
	uint32_t page_size;   /* of the pages asked for */
	uint64_t start;       /* first position or ticket */
	uint64_t created_ns;  /* CLOCK_REALTIME */
	int32_t creator_pid;
	int32_t sem_id; /* System V semaphore set for liveness and waiting, or -1 */
	uint8_t uuid[16];
	char name[QUOIT_NAME_MAX];
	uint64_t checksum; /* FNV-1a, 64 bits */
};

/*
 * FORMAT.md, "Heap". Right behind the header, if INCOMPAT_HEAP is set; written by the creator. The
 * table has one word for each unit: ring/heap.h.
 */
struct quoit__heap_header {
	uint64_t table_offset; /* _Atomic uint64_t [size / unit] */
	uint64_t offset;       /* the section, page-aligned */
	uint64_t size;         /* bytes of it, a multiple of unit */
	uint64_t unit;         /* bytes that change owners together, a power of two */
	uint64_t share;        /* SPSC: longer records go to the heap; MPMC: 0, slot_size it is */
	uint64_t checksum;     /* FNV-1a, 64 bits, of the fields before */
};

/*
 * FORMAT.md, "Heap record": what a record in the heap is in the ring. SPSC: the payload of a
 * padding record whose type is QUOIT__HEAP_MARK; MPMC: the payload of a slot whose descriptor has
 * the length UINT32_MAX.
 */
struct quoit__heap_record {
	uint64_t offset; /* in the section, a multiple of 8 */
	uint64_t length;
	uint32_t type;
	uint32_t zero;
};
#define QUOIT__HEAP_MARK UINT32_C(0x70616568) /* "heap" */

/*
 * FORMAT.md, "Eventcount". word: low half a sequence that sleepers sleep on, high half the sequence
 * at which somebody last announced a sleep; equal halves mean: wake. See sync/eventcount.h.
 */
struct quoit__event {
	alignas(QUOIT__STRIDE) _Atomic uint64_t word;
	_Atomic uint32_t backends; /* bit per enum quoit_wait that sleepers have used; only set */
	uint32_t sysv_sem;         /* index in the System V set */
	_Atomic uint64_t sem[8];   /* two sem_t, process-shared, 32 bytes each on 64-bit glibc */
};

/* FORMAT.md, "Control". */
struct quoit__control {
	/* Written by the consumer (SPSC: all before it may be overwritten), or a hint that any
	 * consumer helps forward (MPMC). Read by producers that ran out of room. */
	alignas(QUOIT__STRIDE) _Atomic uint64_t head;
	/* MPMC: hint, any producer helps it forward. SPSC: unused, the producer's row has it. */
	alignas(QUOIT__STRIDE) _Atomic uint64_t tail;
	struct quoit__event readable; /* consumers sleep on it */
	struct quoit__event writable; /* producers sleep on it */
	/* Life and death; written at open, close and reaping only. */
	alignas(QUOIT__STRIDE) _Atomic uint32_t
		produced;          /* enum quoit__stream, by producers' fate */
	_Atomic uint32_t consumed; /* the same of consumers */
	_Atomic uint64_t producer_deaths, consumer_deaths;
	_Atomic uint64_t producer_deaths_told, consumer_deaths_told; /* reported to some peer */
	_Atomic uint64_t redeliveries; /* bumped when READY slots may lie behind head (MPMC) */
};

/* The fate of one side: what its last event was, in the low 8 bits of a word whose other bits count
 * openings, so that who looks twice knows that nobody came and went in between. */
#define QUOIT__STREAM_MASK 0xffu
enum quoit__stream {
	QUOIT__NEVER = 0,  /* nobody has come */
	QUOIT__OPENED = 1, /* somebody came */
	QUOIT__CLOSED = 2, /* the last to leave closed */
	QUOIT__DIED = 3,   /* the last to leave died */
};

/* quoit__row.state */
enum {
	QUOIT__ROW_FREE = 0,
	QUOIT__ROW_OPENING = 1, /* locked, being filled in; nothing held yet */
	QUOIT__ROW_OPEN = 2,
	QUOIT__ROW_CLOSING = 3, /* everything committed is committed; giving back the rest */
};

/*
 * FORMAT.md, "Peer row". All of it is written by the endpoint that holds the row's kernel lock, or
 * by the reaper that took the lock after the endpoint's death. Counters go on over successive
 * holders.
 */
struct quoit__row {
	alignas(QUOIT__STRIDE) _Atomic uint32_t state;
	_Atomic uint32_t role; /* enum quoit_role */
	_Atomic int32_t pid;   /* for display */
	_Atomic uint32_t uid;
	_Atomic uint32_t wait;     /* enum quoit_wait */
	_Atomic uint32_t sleeping; /* eventfd sleepers: 1 while armed */
	_Atomic uint64_t opened_ns;
	_Atomic uint64_t epoch; /* +1 at every open: tells holders of one row apart */
	char command[16];
	_Atomic uint64_t set[2];  /* id of the set of rings that the endpoint is a member of */
	_Atomic uint32_t set_bit; /* its bit on that set's board, + 1; 0: member of none */
	/* SPSC producer: what had been sent at a position. The one further on holds. */
	struct quoit__mark {
		_Atomic uint64_t position, records, bytes;
	} mark[2];

	/* The hot line: begins as struct quoit__line. */
	alignas(QUOIT__STRIDE) _Atomic uint64_t position;
	_Atomic uint64_t
		counters[(sizeof(struct quoit_counters) / 8)]; /* QUOIT_COUNTERS, in order */
};

/* MPMC. FORMAT.md, "Slot". */
struct quoit__slot {
	_Atomic uint64_t word; /* turn, owner, phase: ring/slot.h */
	_Atomic uint64_t
		desc; /* length << 32 | type; valid in COMMITTED, READING, VOIDR and PENDING */
	unsigned char payload[];
};

static_assert(offsetof(struct quoit__header, state) == 8, "FORMAT.md Header");
static_assert(offsetof(struct quoit__header, segment_size) == 48, "FORMAT.md Header");
static_assert(offsetof(struct quoit__header, checksum) == 408, "FORMAT.md Header");
static_assert(sizeof(struct quoit__header) == 416, "FORMAT.md Header");
static_assert(sizeof(struct quoit__heap_header) == 48, "FORMAT.md Heap");
static_assert(sizeof(struct quoit__heap_record) == 24, "FORMAT.md Heap record");
static_assert(sizeof(struct quoit__event) == 128, "FORMAT.md Eventcount");
static_assert(offsetof(struct quoit__control, tail) == 128, "FORMAT.md Control");
static_assert(offsetof(struct quoit__control, readable) == 256, "FORMAT.md Control");
static_assert(offsetof(struct quoit__control, writable) == 384, "FORMAT.md Control");
static_assert(offsetof(struct quoit__control, produced) == 512, "FORMAT.md Control");
static_assert(sizeof(struct quoit__control) == 640, "FORMAT.md Control");
static_assert(offsetof(struct quoit__row, set) == 56, "FORMAT.md Peer row");
static_assert(offsetof(struct quoit__row, mark) == 80, "FORMAT.md Peer row");
static_assert(offsetof(struct quoit__row, position) == 128, "FORMAT.md Peer row");
static_assert(offsetof(struct quoit__row, counters) == 136, "FORMAT.md Peer row");
static_assert(sizeof(struct quoit__row) == 256, "FORMAT.md Peer row");
static_assert(sizeof(struct quoit__slot) == 16, "FORMAT.md Slot");

#define QUOIT__HEAP_HEADER_OFFSET 416u /* sizeof(struct quoit__header) */
#define QUOIT__CONTROL_OFFSET     512u
static_assert(QUOIT__HEAP_HEADER_OFFSET + sizeof(struct quoit__heap_header) <=
		      QUOIT__CONTROL_OFFSET,
	      "FORMAT.md Heap");
#define QUOIT__PEERS_OFFSET 1280u /* CONTROL_OFFSET + 640, up to a multiple of 128 */

#endif
