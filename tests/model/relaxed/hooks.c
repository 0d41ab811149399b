/* SPDX-License-Identifier: MIT */
/*
 * What a compiler with -fsanitize=thread calls at every access to memory. Atomic ones wait for the
 * search to choose them; plain ones are looked at for races on the way. Accesses outside the
 * segment, and all of them while nobody runs, are what they say.
 */
#include <stdatomic.h>
#include <string.h>

#include "explore.h"

#define HOOK __attribute__((visibility("default"), noinline))

static bool explored(const volatile void *address)
{
	const unsigned char *p = (const unsigned char *)(uintptr_t)address;

	return current >= 0 && p >= world.shared && p < world.shared + SHARED_SIZE &&
	       is_explored((size_t)(p - world.shared));
}

static struct op op_on(enum kind kind, const volatile void *address, int order, const void *site)
{
	machine_settle();
	return (struct op){.kind = (uint8_t)kind,
			   .location = (uint8_t)machine_location((const void *)(uintptr_t)address),
			   .order = (uint8_t)order,
			   .site = site};
}

#define SITE __builtin_return_address(0)

#define RMW(bits, name, which)                                                                     \
	HOOK uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p,               \
							 uint##bits##_t v, int order)              \
	{                                                                                          \
		struct op op;                                                                      \
		uint##bits##_t old = *p;                                                           \
                                                                                                   \
		if (!explored(p)) {                                                                \
			*p = (uint##bits##_t)(which == RMW_ADD   ? old + v                         \
					      : which == RMW_SUB ? old - v                         \
					      : which == RMW_AND ? (old & v)                       \
					      : which == RMW_OR  ? (old | v)                       \
					      : which == RMW_XOR ? (old ^ v)                       \
								 : v);                             \
			return old;                                                                \
		}                                                                                  \
		op = op_on(EXCHANGE, p, order, SITE);                                              \
		op.rmw = which;                                                                    \
		op.value = v;                                                                      \
		return (uint##bits##_t)explore_yield(op);                                          \
	}

#define ATOMIC(bits)                                                                               \
	HOOK uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p,           \
						       int order)                                  \
	{                                                                                          \
		if (!explored(p))                                                                  \
			return *p;                                                                 \
		return (uint##bits##_t)explore_yield(op_on(LOAD, p, order, SITE));                 \
	}                                                                                          \
	HOOK void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v,        \
					      int order)                                           \
	{                                                                                          \
		struct op op;                                                                      \
                                                                                                   \
		if (!explored(p)) {                                                                \
			*p = v;                                                                    \
			return;                                                                    \
		}                                                                                  \
		op = op_on(STORE, p, order, SITE);                                                 \
		op.value = v;                                                                      \
		explore_yield(op);                                                                 \
	}                                                                                          \
	RMW(bits, exchange, RMW_SET)                                                               \
	RMW(bits, fetch_add, RMW_ADD)                                                              \
	RMW(bits, fetch_sub, RMW_SUB)                                                              \
	RMW(bits, fetch_and, RMW_AND)                                                              \
	RMW(bits, fetch_or, RMW_OR)                                                                \
	RMW(bits, fetch_xor, RMW_XOR)                                                              \
	HOOK int __tsan_atomic##bits##_compare_exchange_strong(                                    \
		volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, int order, \
		int failure)                                                                       \
	{                                                                                          \
		struct op op;                                                                      \
		uint64_t seen;                                                                     \
		bool success;                                                                      \
                                                                                                   \
		if (!explored(p)) {                                                                \
			success = *p == *expected;                                                 \
			*(success ? p : expected) = success ? v : *p;                              \
			return success;                                                            \
		}                                                                                  \
		op = op_on(COMPARE, p, order, SITE);                                               \
		op.failure_order = (uint8_t)failure;                                               \
		op.expected = *expected;                                                           \
		op.value = v;                                                                      \
		success = explore_yield_compare(op, &seen);                                        \
		*expected = (uint##bits##_t)seen;                                                  \
		return success;                                                                    \
	}                                                                                          \
	HOOK int __tsan_atomic##bits##_compare_exchange_weak(                                      \
		volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, int order, \
		int failure)                                                                       \
	{                                                                                          \
		return __tsan_atomic##bits##_compare_exchange_strong(p, expected, v, order,        \
								     failure);                     \
	}

ATOMIC(8)
ATOMIC(32)
ATOMIC(64)

HOOK void __tsan_atomic_thread_fence(int order)
{
	struct op op = {.kind = FENCE, .order = (uint8_t)order, .site = SITE};

	if (current < 0 || (order == memory_order_seq_cst && !fences_explored()))
		return;
	machine_settle();
	if (order == memory_order_seq_cst) {
		explore_yield(op);
	} else { /* nobody else notices when */
		world.thread[current].op = op;
		machine_run((unsigned)current, 0);
	}
}

HOOK void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}

/* ---- plain ---------------------------------------------------------------------------------- */

static void plain_read(const void *p, size_t size)
{
	if (!explored(p))
		return;
	machine_settle();
	machine_plain_read(p, size);
}

static void plain_write(const void *p, size_t size)
{
	if (!explored(p))
		return;
	machine_settle();
	machine_plain_write(p, size);
}

/* The code reads what it knows may be written at the moment. */
static void racy_read(const void *p, size_t size)
{
	if (!explored(p))
		return;
	machine_show_racy(p, size, explore_yield(op_on(RACY_LOAD, p, memory_order_relaxed, SITE)));
}

#define PLAIN(size)                                                                                \
	HOOK void __tsan_read##size(const void *p)                                                 \
	{                                                                                          \
		plain_read(p, size);                                                               \
	}                                                                                          \
	HOOK void __tsan_write##size(const void *p)                                                \
	{                                                                                          \
		plain_write(p, size);                                                              \
	}                                                                                          \
	HOOK void __tsan_unaligned_read##size(const void *p)                                       \
	{                                                                                          \
		plain_read(p, size);                                                               \
	}                                                                                          \
	HOOK void __tsan_unaligned_write##size(const void *p)                                      \
	{                                                                                          \
		plain_write(p, size);                                                              \
	}                                                                                          \
	HOOK void __tsan_volatile_read##size(const void *p)                                        \
	{                                                                                          \
		racy_read(p, size);                                                                \
	}                                                                                          \
	HOOK void __tsan_volatile_write##size(const void *p)                                       \
	{                                                                                          \
		plain_write(p, size);                                                              \
	}

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

HOOK void __tsan_read_range(const void *p, size_t size)
{
	plain_read(p, size);
}

HOOK void __tsan_write_range(const void *p, size_t size)
{
	plain_write(p, size);
}

HOOK void __tsan_init(void)
{
}

HOOK void __tsan_func_entry(const void *site)
{
	(void)site;
}

HOOK void __tsan_func_exit(void)
{
}

/* The sources are compiled with this in place of memcpy(). */
HOOK void *explored_memcpy(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	plain_read(from, n);
	plain_write(to, n);
	while (n-- != 0)
		*t++ = *f++;
	return to;
}
