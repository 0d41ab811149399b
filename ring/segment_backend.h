/* SPDX-License-Identifier: MIT */
/*
 * What a segment backend is, and what backends share: memory behind a mapping. A new backend is one
 * file with such a table, and one row in segment.c.
 */
#ifndef QUOIT_SEGMENT_BACKEND_H
#define QUOIT_SEGMENT_BACKEND_H

#include <stdatomic.h>
#include <time.h>

#include "ring/layout.h"
#include "ring/segment.h"

typedef int quoit__fill_fn(void *arg, struct quoit__segment *seg);

/*
 * Every function gets a name of its own backend. On failure create and open have let go of all they
 * had; *seg then is of no use.
 */
struct quoit__backend {
	int (*create)(const struct quoit__plan *plan, quoit__fill_fn *fill, void *arg,
		      struct quoit__segment *seg);
	int (*open)(uint32_t timeout_ms, struct quoit__segment *seg);
	/* only: take the name away only if it still is this one's; NULL: whose ever it is. */
	int (*unlink)(const struct quoit__name *name, const struct quoit__segment *only);
	int (*may_unlink)(const struct quoit__segment *seg);
	int (*chmod)(const struct quoit__name *name, mode_t mode);
	int (*chown)(const struct quoit__name *name, uid_t uid, gid_t gid);
};

extern const struct quoit__backend quoit__backend_file;  /* shm: and file: */
extern const struct quoit__backend quoit__backend_memfd; /* memfd: and fd: */
extern const struct quoit__backend quoit__backend_sysv;

/* ---- segment_pages.c: memory --------------------------------------------------------------- */

uint64_t quoit__round_up(uint64_t size, uint64_t unit);
/* Bytes of a page behind fd: of the hugetlbfs it lies on, or the system's. */
uint32_t quoit__fd_page_size(int fd, bool *ret_hugetlb);
/* Give the new, empty file seg->fd its size and all its memory, map it, and do as the flags say. */
int quoit__populate_fd(struct quoit__segment *seg, const struct quoit__plan *plan);
/* Map all of seg->fd as it is. -EPROTO: no regular file, or shorter than a header. */
int quoit__map_fd(struct quoit__segment *seg);
/*
 * An address for a mapping of `size` bytes that huge pages fit, reserved by a mapping that may be
 * replaced; NULL if the size is not one of whole huge pages, or none can be had.
 */
void *quoit__huge_address(uint64_t size);
/* The size of a transparent huge page, 0 if the kernel has none. */
uint64_t quoit__huge_page(void);
/* The page size of a mapping, as the kernel tells. */
uint32_t quoit__mapped_page_size(const struct quoit__segment *seg);
/* The size of a page of the pool of huge pages, 0 if there is none. */
uint64_t quoit__pool_page(void);
/* Have the fresh mapping filled with transparent huge pages: 0, -ENOTSUP, -ENOMEM, -ENOSPC. */
int quoit__fill_huge(const struct quoit__segment *seg);
/* Touch every page; for writing, without changing a byte. -ENOSPC: there is no memory for one. */
int quoit__prefault(const struct quoit__segment *seg);

/* ---- helpers ------------------------------------------------------------------------------- */

static inline uint32_t quoit__state(const void *base)
{
	/* L1: pairs with the creator's store of READY. */
	return atomic_load_explicit(&((struct quoit__header *)(uintptr_t)base)->state,
				    memory_order_acquire);
}

static inline uint64_t quoit__now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline void quoit__sleep_ms(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

#endif
