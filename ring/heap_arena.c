/* SPDX-License-Identifier: MIT */
/*
 * Blocks smaller than units: a jemalloc arena of the producer's own, whose extents lie in units
 * that the producer owns. All bookkeeping, jemalloc's and ours, is private memory: nothing that
 * another process writes can lead it astray, and nothing of it is lost by a death that anyone would
 * need.
 *
 * jemalloc asks for extents of whole pages and gives them back in other pieces. Units are coarser,
 * so pages of our units that no extent covers are kept in a bitmap, and a unit all of whose pages
 * have come back goes back to the table at once (decay is off): others may be waiting for it.
 *
 * The addresses that jemalloc deals in are not those of the section but of a range of their own, of
 * which nothing is ever touched: it knows its extents by address, over all arenas of the process,
 * and pages that others have freed behind our back may be another arena's by now.
 *
 * jemalloc is not linked to: a library must not decide about its users' malloc. Its functions are
 * weak, so that they are there if the program brings them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ring/heap.h"

#define PAGE     UINT64_C(4096)
#define NO_PAGES UINT64_MAX

/* jemalloc(3), "extent_hooks"; declared here because its header need not be installed. The struct
 * has been the same since version 5.0. */
struct hooks {
	void *(*alloc)(struct hooks *hooks, void *address, size_t size, size_t alignment,
		       bool *zero, bool *commit, unsigned arena);
	bool (*dalloc)(struct hooks *hooks, void *address, size_t size, bool committed,
		       unsigned arena);
	void (*destroy)(struct hooks *hooks, void *address, size_t size, bool committed,
			unsigned arena);
	bool (*commit)(struct hooks *hooks, void *address, size_t size, size_t offset,
		       size_t length, unsigned arena);
	bool (*decommit)(struct hooks *hooks, void *address, size_t size, size_t offset,
			 size_t length, unsigned arena);
	bool (*purge_lazy)(struct hooks *hooks, void *address, size_t size, size_t offset,
			   size_t length, unsigned arena);
	bool (*purge_forced)(struct hooks *hooks, void *address, size_t size, size_t offset,
			     size_t length, unsigned arena);
	bool (*split)(struct hooks *hooks, void *address, size_t size, size_t size_a, size_t size_b,
		      bool committed, unsigned arena);
	bool (*merge)(struct hooks *hooks, void *address_a, size_t size_a, void *address_b,
		      size_t size_b, bool committed, unsigned arena);
};
/* What experimental.arenas_create_ext takes: with it alone metadata stays out of the extents. */
struct arena_config {
	struct hooks *hooks;
	bool metadata_use_hooks;
};
extern void *mallocx(size_t size, int flags) __attribute__((weak));
extern void dallocx(void *p, int flags) __attribute__((weak));
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size)
	__attribute__((weak));
#define LG_ALIGN      __builtin_ctz(QUOIT__HEAP_ALIGN) /* MALLOCX_LG_ALIGN */
#define TCACHE_NONE   (1 << 8)                         /* MALLOCX_TCACHE_NONE */
#define IN_ARENA(ind) (((int)(ind) + 1) << 20)         /* MALLOCX_ARENA */

struct quoit__arena {
	struct hooks hooks; /* first: jemalloc hands it back to the hooks */
	const struct quoit *q;
	unsigned char *base; /* stands for the section */
	struct quoit__holding *holding;
	uint64_t serial;
	uint32_t hint;
	unsigned index; /* of the arena */
	bool detached;  /* the units are no longer ours to touch */
	uint64_t n_spare;
	uint64_t spare[]; /* a bit for each page: in a unit of ours, and in no extent */
};

/* ---- pages ---------------------------------------------------------------------------------- */

static bool is_spare(const struct quoit__arena *a, uint64_t page)
{
	return (a->spare[page / 64] >> (page % 64) & 1) != 0;
}

static void set_spare(struct quoit__arena *a, uint64_t first, uint64_t n, bool to)
{
	for (uint64_t i = first; i < first + n; i++) {
		if (to)
			a->spare[i / 64] |= UINT64_C(1) << (i % 64);
		else
			a->spare[i / 64] &= ~(UINT64_C(1) << (i % 64));
	}
	a->n_spare += to ? n : -n;
}

/* The first stretch of n spare pages, or NO_PAGES. */
static uint64_t find_spare(const struct quoit__arena *a, uint64_t n)
{
	uint64_t pages = a->q->geo.heap_size / PAGE, run = 0, left = a->n_spare;

	if (left < n)
		return NO_PAGES;
	for (uint64_t i = 0; i < pages && left + run >= n; i++) {
		if (i % 64 == 0 && a->spare[i / 64] == 0) {
			run = 0;
			i += 63;
			continue;
		}
		run = is_spare(a, i) ? run + 1 : 0;
		left -= run != 0;
		if (run == n)
			return i + 1 - n;
	}
	return NO_PAGES;
}

/* Pages of units that we have to claim first. */
static uint64_t new_pages(struct quoit__arena *a, uint64_t n)
{
	uint64_t unit = a->q->geo.heap_unit / PAGE;
	uint32_t units = (uint32_t)((n + unit - 1) / unit);
	uint32_t first = quoit__holding_claim(a->holding, a->serial, units, &a->hint);

	if (first == UINT32_MAX)
		return NO_PAGES;
	set_spare(a, first * unit, units * unit, true);
	return first * unit;
}

/* Give back a unit none of whose pages is in use. */
static void free_if_spare(struct quoit__arena *a, uint64_t index)
{
	uint64_t pages = a->q->geo.heap_unit / PAGE;

	for (uint64_t i = index * pages; i < (index + 1) * pages; i++)
		if (!is_spare(a, i))
			return;
	set_spare(a, index * pages, pages, false);
	quoit__holding_free(a->holding, a->serial, (uint32_t)index, 1);
	a->hint = index < a->hint ? (uint32_t)index : a->hint;
}

/* ---- what jemalloc calls -------------------------------------------------------------------- */

static void *extent_alloc(struct hooks *hooks, void *address, size_t size, size_t alignment,
			  bool *zero, bool *commit, unsigned arena)
{
	struct quoit__arena *a = (struct quoit__arena *)(void *)hooks;
	uint64_t n = size / PAGE, first;

	(void)arena;
	/* It likes to grow by 2 MiB and more at a time, which others would miss. Refused, it asks
	 * for what it needs. No block that we ask it for needs more than this, nor zeroed
	 * memory. */
	if (address != NULL || a->detached || alignment > PAGE || size % PAGE != 0 || *zero ||
	    size > 9 * a->q->geo.heap_unit)
		return NULL;
	first = find_spare(a, n);
	if (first == NO_PAGES)
		first = new_pages(a, n);
	if (first == NO_PAGES)
		return NULL;
	set_spare(a, first, n, false);
	*commit = true;
	return a->base + first * PAGE;
}

static bool extent_dalloc(struct hooks *hooks, void *address, size_t size, bool committed,
			  unsigned arena)
{
	struct quoit__arena *a = (struct quoit__arena *)(void *)hooks;
	uint64_t first = (uint64_t)((unsigned char *)address - a->base) / PAGE, n = size / PAGE;
	uint64_t unit = a->q->geo.heap_unit / PAGE;

	(void)committed, (void)arena;
	if (a->detached)
		return false;
	set_spare(a, first, n, true);
	for (uint64_t i = first / unit; i <= (first + n - 1) / unit; i++)
		free_if_spare(a, i);
	return false; /* done */
}

static bool extent_split(struct hooks *hooks, void *address, size_t size, size_t size_a,
			 size_t size_b, bool committed, unsigned arena)
{
	(void)hooks, (void)address, (void)size, (void)size_a, (void)size_b;
	(void)committed, (void)arena;
	return false; /* allowed: pages are counted one by one */
}

static bool extent_merge(struct hooks *hooks, void *address_a, size_t size_a, void *address_b,
			 size_t size_b, bool committed, unsigned arena)
{
	(void)hooks, (void)address_a, (void)size_a, (void)address_b, (void)size_b;
	(void)committed, (void)arena;
	return false;
}

/* ---- arenas --------------------------------------------------------------------------------- */

static int arena_create(struct quoit__arena *a)
{
	struct arena_config config = {.hooks = &a->hooks, .metadata_use_hooks = false};
	size_t size = sizeof(a->index);
	ssize_t at_once = 0;
	char name[64];
	int r = mallctl("experimental.arenas_create_ext", &a->index, &size, &config,
			sizeof(config));

	if (r != 0)
		return r == EAGAIN || r == ENOMEM ? -ENOMEM : -ENOTSUP;
	snprintf(name, sizeof(name), "arena.%u.dirty_decay_ms", a->index);
	r = mallctl(name, NULL, NULL, &at_once, sizeof(at_once));
	snprintf(name, sizeof(name), "arena.%u.muzzy_decay_ms", a->index);
	if (r == 0)
		r = mallctl(name, NULL, NULL, &at_once, sizeof(at_once));
	return r == 0 ? 0 : -ENOTSUP;
}

int quoit__arena_new(const struct quoit *q, uint32_t row, struct quoit__holding *h,
		     struct quoit__arena **ret)
{
	uint64_t words = (q->geo.heap_size / PAGE + 63) / 64;
	struct quoit__arena *a;
	int r;

	if (mallocx == NULL || dallocx == NULL || mallctl == NULL)
		return -ENOTSUP;
	a = calloc(1, sizeof(*a) + words * sizeof(*a->spare));
	if (a == NULL)
		return -ENOMEM;
	/* To be written to all the same: MALLOC_CONF may say that blocks be filled with junk. */
	a->base = mmap(NULL, q->geo.heap_size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->base == MAP_FAILED) {
		free(a);
		return -ENOMEM;
	}
	a->hooks = (struct hooks){.alloc = extent_alloc,
				  .dalloc = extent_dalloc,
				  .split = extent_split,
				  .merge = extent_merge};
	a->q = q;
	a->holding = h;
	a->serial = quoit__holding_arena(h);
	/* Producers begin at places of their own, so that they do not meet. */
	a->hint = (uint32_t)(q->geo.heap_size / q->geo.heap_unit * row / q->geo.peers);
	r = arena_create(a);
	if (r != 0) {
		munmap(a->base, q->geo.heap_size);
		free(a);
		return r;
	}
	*ret = a;
	return 0;
}

uint64_t quoit__arena_serial(const struct quoit__arena *a)
{
	return a->serial;
}

uint64_t quoit__arena_alloc(struct quoit__arena *a, uint32_t len)
{
	unsigned char *p = mallocx(len != 0 ? len : 1, LG_ALIGN | TCACHE_NONE | IN_ARENA(a->index));

	return p != NULL ? (uint64_t)(p - a->base) : UINT64_MAX;
}

void quoit__arena_free(struct quoit__arena *a, uint64_t offset)
{
	dallocx(a->base + offset, TCACHE_NONE | IN_ARENA(a->index));
}

void quoit__arena_drop(struct quoit__arena *a)
{
	char name[64];

	if (a == NULL)
		return;
	a->detached = true;
	snprintf(name, sizeof(name), "arena.%u.destroy", a->index);
	/* An arena that will not go keeps its hooks and addresses, so they have to stay. */
	if (mallctl(name, NULL, NULL, NULL, 0) == 0) {
		munmap(a->base, a->q->geo.heap_size);
		free(a);
	}
}
