/* SPDX-License-Identifier: MIT */
/*
 * The success paths of the SPSC ring, inline; included by <quoit/quoit.h>, never directly. What is
 * empty, full, wrapping, corrupt, asleep or MPMC goes to the functions named quoit__..._slow.
 *
 * A library-owned handle begins with the struct that is used here. Its fields are part of the ABI:
 * they are only ever added to. Handles of other kinds, closed, poisoned and forked ones carry
 * values with which every test here fails, so the fast path needs no test of its own for them.
 *
 * The record header word (docs/FORMAT.md):
 *   63 lap tag | 62 padding | 61..32 length | 31..0 type
 * The lap tag of position P is the inverse of bit log2(capacity) of P, so zeroed memory holds no
 * record in lap 0, and a word of the lap before holds none in this one.
 *
 * Atomics are the compilers' builtins here, because C++ has no _Atomic. Edges are named as in
 * docs/ORDERING.md.
 */
#ifndef QUOIT_INLINE_H
#define QUOIT_INLINE_H

#ifndef QUOIT_QUOIT_H
#error "include <quoit/quoit.h>"
#endif

#include <errno.h>
#include <string.h>

#define QUOIT__TAG         (UINT64_C(1) << 63)
#define QUOIT__PADDING     (UINT64_C(1) << 62)
#define QUOIT__FETCH       256 /* bytes that a consumer which is behind fetches ahead */
#define QUOIT__LENGTH_MASK UINT64_C(0x3fffffff)
#define QUOIT__UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What an endpoint publishes in its row of the peer table; written by it alone. */
struct quoit__line {
	uint64_t position; /* SPSC: next byte; MPMC: next ticket */
	uint64_t records;
	uint64_t bytes;
};

struct quoit__producer_hot {
	unsigned char *data; /* first byte of record space */
	uint64_t mask;       /* capacity - 1 */
	uint64_t position;   /* next record goes here */
	uint64_t end;    /* reserve inline only up to here: never past the lap or the free space */
	uint64_t *event; /* the consumers' eventcount: low half == high half: someone announced */
	struct quoit__line *line;
	uint64_t records, bytes; /* counted so far; the line's are copies */
	uint32_t shift;          /* 63 - log2(capacity): moves a position's lap bit to bit 63 */
	uint32_t fence;          /* membarrier is not to be had: fence before looking at *event */
	uint32_t reserved;       /* bytes of the open reservation, header included */
};

struct quoit__consumer_hot {
	unsigned char *data;
	uint64_t mask;
	uint64_t position;  /* oldest record not advanced over */
	uint64_t milestone; /* here: hand memory back, learn how far the producer is */
	uint64_t ahead;     /* the producer is known to have got here */
	struct quoit__line *line;
	uint64_t records, bytes;
	uint32_t shift;
};

QUOIT_API int quoit__reserve_slow(struct quoit_producer *p, uint32_t len, void **ret_payload);
QUOIT_API int quoit__commit_slow(struct quoit_producer *p, void *payload, uint32_t len,
				 uint32_t type);
QUOIT_API int quoit__send_slow(struct quoit_producer *p, const void *buf, uint32_t len,
			       uint32_t type, const struct timespec *deadline);
QUOIT_API void quoit__wake_consumers(struct quoit_producer *p);
QUOIT_API int quoit__peek_slow(struct quoit_consumer *c, struct quoit_msg *ret_msg);
QUOIT_API int quoit__advance_slow(struct quoit_consumer *c, const struct quoit_msg *msg);
QUOIT_API int quoit__recv_slow(struct quoit_consumer *c, void *buf, uint32_t cap,
			       struct quoit_msg *ret_msg, const struct timespec *deadline);
QUOIT_API void quoit__milestone(struct quoit_consumer *c);

/* Bytes that a record of len payload bytes takes: header, payload, up to a multiple of 8. */
static inline uint64_t quoit__footprint(uint32_t len)
{
	return ((uint64_t)len + 15) & ~UINT64_C(7);
}

/* The lap tag of a position, in bit 63. */
static inline uint64_t quoit__tag(uint64_t position, uint32_t shift)
{
	return ~(position << shift) & QUOIT__TAG;
}

static inline void quoit__copy_word(unsigned char *to, const unsigned char *from)
{
	uint64_t word;

	memcpy(&word, from, 8);
	memcpy(to, &word, 8);
}

/*
 * As memcpy(), which costs a call for each record, and loads vectors: one that covers words which
 * the caller has just stored has to wait until they are in the cache.
 */
static inline void quoit__copy(void *to, const void *from, uint64_t len)
{
	unsigned char *t = (unsigned char *)to;
	const unsigned char *f = (const unsigned char *)from;

	if (len - 8 > 56) {
		if (len != 0)
			memcpy(to, from, len);
		return;
	}
	/* 8 to 64: words from both ends, which may overlap. */
	quoit__copy_word(t, f);
	quoit__copy_word(t + len - 8, f + len - 8);
	if (len <= 16)
		return;
	quoit__copy_word(t + 8, f + 8);
	quoit__copy_word(t + len - 16, f + len - 16);
	if (len <= 32)
		return;
	quoit__copy_word(t + 16, f + 16);
	quoit__copy_word(t + 24, f + 24);
	quoit__copy_word(t + len - 24, f + len - 24);
	quoit__copy_word(t + len - 32, f + len - 32);
}

static inline int quoit_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	struct quoit__producer_hot *h = (struct quoit__producer_hot *)p;
	uint64_t size = quoit__footprint(len);

	if (QUOIT__UNLIKELY(h->end - h->position < size))
		return quoit__reserve_slow(p, len, ret_payload);
	h->reserved = (uint32_t)size;
	*ret_payload = h->data + (h->position & h->mask) + 8;
	return 0;
}

/*
 * Publish the record at h->position whose payload has been written. What the compiler must take for
 * changed by every store (handle, line and ring are all memory to it) is read into locals first.
 */
static inline int quoit__publish(struct quoit_producer *p, uint32_t len, uint32_t type)
{
	struct quoit__producer_hot *h = (struct quoit__producer_hot *)p;
	struct quoit__line *line = h->line;
	const uint64_t *event = h->event;
	unsigned char *data = h->data;
	uint64_t mask = h->mask, position = h->position;
	uint64_t records = h->records + 1, bytes = h->bytes + len;
	uint64_t next = position + quoit__footprint(len);
	uint64_t *word = (uint64_t *)(void *)(data + (position & mask));
	uint64_t *next_word = (uint64_t *)(void *)(data + (next & mask));
	uint32_t shift = h->shift, fence = h->fence;
	uint64_t old, seen;

	h->reserved = 0;
	/* Old payload where the next header will be may look like one. Relaxed: only this process
	 * writes there until S1 below publishes it. */
	old = __atomic_load_n(next_word, __ATOMIC_RELAXED);
	if (QUOIT__UNLIKELY(((old ^ quoit__tag(next, shift)) & QUOIT__TAG) == 0))
		__atomic_store_n(next_word, old ^ QUOIT__TAG, __ATOMIC_RELAXED);
	/* S1: publishes the payload and the cleared next header; pairs with the load in peek. */
	__atomic_store_n(word, quoit__tag(position, shift) | ((uint64_t)len << 32) | type,
			 __ATOMIC_RELEASE);
	h->position = next;
	h->records = records;
	h->bytes = bytes;
	/* Relaxed: for observers, and for a successor, which walks on from here over S1 words. */
	__atomic_store_n(&line->position, next, __ATOMIC_RELAXED);
	__atomic_store_n(&line->records, records, __ATOMIC_RELAXED);
	__atomic_store_n(&line->bytes, bytes, __ATOMIC_RELAXED);
	/* E1: S1 before this load; a sleeper's membarrier stands in for the fence. */
	if (QUOIT__UNLIKELY(fence))
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	else
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
	seen = __atomic_load_n(event, __ATOMIC_RELAXED);
	if (QUOIT__UNLIKELY((uint32_t)seen == (uint32_t)(seen >> 32)))
		quoit__wake_consumers(p);
	return 0;
}

static inline int quoit_commit(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type)
{
	struct quoit__producer_hot *h = (struct quoit__producer_hot *)p;

	if (QUOIT__UNLIKELY(payload != h->data + (h->position & h->mask) + 8 ||
			    quoit__footprint(len) > h->reserved))
		return quoit__commit_slow(p, payload, len, type);
	return quoit__publish(p, len, type);
}

static inline int quoit_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
			     const struct timespec *deadline)
{
	struct quoit__producer_hot *h = (struct quoit__producer_hot *)p;

	if (QUOIT__UNLIKELY(h->end - h->position < quoit__footprint(len)))
		return quoit__send_slow(p, buf, len, type, deadline);
	quoit__copy(h->data + (h->position & h->mask) + 8, buf, len);
	return quoit__publish(p, len, type);
}

/* The record at our position, if one is there that may be used as it is. */
static inline int quoit__look(const struct quoit__consumer_hot *h, struct quoit_msg *ret_msg)
{
	uint64_t mask = h->mask, position = h->position, offset = position & mask;
	uint32_t shift = h->shift;
	uint64_t *word = (uint64_t *)(void *)(h->data + offset);
	/* S1: pairs with the store in commit. */
	uint64_t w = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	uint64_t len = w >> 32 & QUOIT__LENGTH_MASK;

	/* One test: wrong lap or padding; the second: a length that leaves the ring is hostile. */
	if (QUOIT__UNLIKELY(((w ^ quoit__tag(position, shift)) & (QUOIT__TAG | QUOIT__PADDING)) !=
				    0 ||
			    offset + quoit__footprint((uint32_t)len) > mask + 1))
		return 0;
	ret_msg->data = word + 1;
	ret_msg->len = (uint32_t)len;
	ret_msg->type = (uint32_t)w;
	ret_msg->cookie = position;
	return 1;
}

/*
 * Write one word of each line of a record that has been read, with what it holds already. The
 * producer's next write then finds the line in one cache, this one's, and takes it over like any
 * other; a line that both caches share is several times dearer to it (docs/DESIGN.md). The words
 * keep their values, so a death in between changes nothing. S1: the header word with release, for a
 * successor that reads it from us must see what it published; the rest relaxed, for S2 follows.
 */
static inline void quoit__own_lines(unsigned char *record, uint64_t size)
{
	uint64_t *word = (uint64_t *)(void *)record;

	__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED), __ATOMIC_RELEASE);
	for (uint64_t at = 64 - ((uintptr_t)record & 63); at < size; at += 64) {
		word = (uint64_t *)(void *)(record + at);
		__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	}
}

static inline int quoit_peek(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	return quoit__look((struct quoit__consumer_hot *)c, ret_msg) ? 1
								     : quoit__peek_slow(c, ret_msg);
}

/* The record at h->position has been used. */
static inline void quoit__taken(struct quoit_consumer *c, uint32_t len)
{
	struct quoit__consumer_hot *h = (struct quoit__consumer_hot *)c;
	struct quoit__line *line = h->line;
	unsigned char *data = h->data;
	uint64_t mask = h->mask, position = h->position, ahead = h->ahead, milestone = h->milestone;
	uint64_t records = h->records + 1, bytes = h->bytes + len;
	uint64_t size = quoit__footprint(len);

	quoit__own_lines(data + (position & mask), size);
	position += size;
	h->position = position;
	h->records = records;
	h->bytes = bytes;
	/* S2: release, for a successor must not find this record's memory still in use by us. */
	__atomic_store_n(&line->position, position, __ATOMIC_RELEASE);
	__atomic_store_n(&line->records, records, __ATOMIC_RELAXED);
	__atomic_store_n(&line->bytes, bytes, __ATOMIC_RELAXED);
	/* Each header's place depends on the last one's length: fetch ahead, or nothing overlaps.
	 * But not what the producer is about to write. */
	if ((int64_t)(ahead - position) > QUOIT__FETCH)
		__builtin_prefetch(data + ((position + QUOIT__FETCH) & mask));
	if (QUOIT__UNLIKELY((int64_t)(position - milestone) >= 0))
		quoit__milestone(c);
}

static inline int quoit_advance(struct quoit_consumer *c, const struct quoit_msg *msg)
{
	struct quoit__consumer_hot *h = (struct quoit__consumer_hot *)c;

	if (QUOIT__UNLIKELY(msg->data != h->data + (h->position & h->mask) + 8))
		return quoit__advance_slow(c, msg);
	quoit__taken(c, msg->len);
	return 0;
}

/* 1: the next record, copied; 0: the long way must say why not. */
static inline int quoit__recv_here(struct quoit_consumer *c, void *buf, uint32_t cap,
				   struct quoit_msg *ret_msg)
{
	struct quoit__consumer_hot *h = (struct quoit__consumer_hot *)c;
	struct quoit_msg msg;

	if (QUOIT__UNLIKELY(!quoit__look(h, &msg) || msg.len > cap || buf == NULL))
		return 0;
	quoit__copy(buf, msg.data, msg.len);
	/* A guard that met a lost page in the copy has moved our position (quoit_guard). */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (QUOIT__UNLIKELY(h->position != msg.cookie))
		return 0;
	ret_msg->data = buf;
	ret_msg->len = msg.len;
	ret_msg->type = msg.type;
	ret_msg->cookie = 0;
	quoit__taken(c, msg.len);
	return 1;
}

static inline int quoit_recv(struct quoit_consumer *c, void *buf, uint32_t cap,
			     struct quoit_msg *ret_msg, const struct timespec *deadline)
{
	return quoit__recv_here(c, buf, cap, ret_msg)
		       ? 1
		       : quoit__recv_slow(c, buf, cap, ret_msg, deadline);
}

#endif
