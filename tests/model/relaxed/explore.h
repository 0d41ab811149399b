/* SPDX-License-Identifier: MIT */
/*
 * An explorer of C11's weaker memory orders for the library's own code. The sources are compiled
 * with -fsanitize=thread, and what the compiler then calls at every access, __tsan_...(), is ours
 * (hooks.c): it asks the machine (machine.c) what the access may see, and the search (search.c)
 * goes through all schedules and all answers.
 *
 * The machine: every word has a history of stores. A thread may read any that is not older than
 * what it knows of; acquire and release, fences and membarrier hand on what is known. Plain
 * accesses must be ordered by that knowledge, or are a data race.
 */
#ifndef QUOIT_RELAXED_EXPLORE_H
#define QUOIT_RELAXED_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS     4
#define LOCATIONS   40
#define HISTORY     14    /* stores that somebody may still read */
#define SHARED_SIZE 4096  /* the segment */
#define OWN_SIZE    65536 /* handles and what else is the threads' own */

/* How far one knows the history of each word; and which plain reads of others come before. */
struct view {
	uint8_t at[LOCATIONS];
	uint8_t clock[THREADS];
};

struct message {
	uint64_t value;
	struct view view; /* what its reader learns, by acquire */
	bool plain;
};

struct location {
	uint32_t n;
	uint8_t read[THREADS]; /* clock of the last plain read */
	struct message m[HISTORY];
};

enum kind {
	NOTHING,
	LOAD,
	STORE,
	EXCHANGE,  /* any read-modify-write */
	COMPARE,   /* and exchange */
	RACY_LOAD, /* a load that the code calls racy: a plain store may be seen */
	FENCE,
	FENCE_ON, /* membarrier: a fence in another thread */
	SLEEP,    /* unless the word has changed */
	ASLEEP,
	WAKE,
	START, /* once the predecessor has been killed */
	FINISHED,
};

/* What a thread is about to do. */
struct op {
	uint8_t kind, location, order, failure_order;
	uint8_t rmw;   /* EXCHANGE: enum rmw */
	uint8_t other; /* FENCE_ON, START */
	uint64_t value, expected, result;
	bool success;
	const void *site;
};

enum rmw { RMW_SET, RMW_ADD, RMW_SUB, RMW_AND, RMW_OR, RMW_XOR };

struct thread {
	struct view now, acquired, released;
	struct op op;
	void *sp; /* of its fiber */
	bool killed;
};

/* All that tells one state from another, but for the stacks. */
struct world {
	struct thread thread[THREADS];
	struct view sc;
	struct location location[LOCATIONS];
	unsigned kills;
	_Alignas(128) unsigned char shared[SHARED_SIZE];
	_Alignas(128) unsigned char own[OWN_SIZE]; /* last: only what is used is kept */
};

extern struct world world;
extern size_t own_used; /* bytes of world.own */
extern int current;     /* thread that runs, or -1: nobody, accesses are direct */

struct scenario {
	const char *name;
	void (*setup)(void);
	void (*thread[THREADS])(void);
	int after[THREADS];  /* 1 + the thread whose death starts it; 0: starts at once */
	unsigned kills;      /* at most */
	unsigned victims;    /* bit mask */
	void (*judge)(void); /* nobody can do anything any more */
};

int run_scenario(const struct scenario *s, bool tell);
extern const struct scenario *scenario;
extern unsigned weakened; /* edges that are not there: bit mask of enum edge */

/* rings.h: which words are explored (the rest is read and written directly), and which edges an
 * access to one of them carries. */
bool is_explored(size_t offset);
size_t word_of(size_t offset);   /* its first byte */
size_t word_size(size_t offset); /* 4 or 8 bytes */
bool fences_explored(void);      /* seq_cst ones; else they are left out */
unsigned edges_read(size_t offset, uint64_t value);
unsigned edges_written(size_t offset, uint64_t old, uint64_t value);

/* machine.c */
void machine_reset(void);
unsigned machine_location(const void *address);
size_t machine_offset(unsigned location);
unsigned machine_choices(unsigned t);
void machine_run(unsigned t, unsigned choice); /* the op of t */
void machine_plain_read(const void *address, size_t size);
void machine_plain_write(const void *address, size_t size);
void machine_settle(void); /* before anything else: what was stored plainly since */
void machine_show_racy(const void *address, size_t size, uint64_t value);
void machine_tidy(void); /* forget stores that nobody can read any more */

/* search.c */
uint64_t explore_yield(struct op op); /* from a thread: wait to be chosen, do it, its result */
bool explore_yield_compare(struct op op, uint64_t *ret_seen);
void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			explore_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                 \
	} while (0)

#endif
