/* SPDX-License-Identifier: MIT */
/*
 * Memory behind segments. All of it is had at creation, so that a full /dev/shm is an error there
 * and not a SIGBUS in somebody's memcpy(). Huge pages come from hugetlbfs, or are transparent ones
 * of tmpfs; the latter are called huge only if /proc/self/smaps says that all of them are.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "ring/segment_backend.h"

#define CHUNK           (UINT64_C(64) << 20)
#define HUGE_PAGE_LEAST (UINT64_C(1) << 21)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

uint64_t quoit__round_up(uint64_t size, uint64_t unit)
{
	return (size + unit - 1) / unit * unit;
}

uint32_t quoit__fd_page_size(int fd, bool *ret_hugetlb)
{
	struct statfs fs;

	*ret_hugetlb = fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC;
	return *ret_hugetlb ? (uint32_t)fs.f_bsize : (uint32_t)sysconf(_SC_PAGESIZE);
}

/* ---- space ---------------------------------------------------------------------------------- */

/* Beyond RLIMIT_FSIZE the kernel sends SIGXFSZ, which kills: look before. */
static int set_size(int fd, uint64_t size)
{
	struct rlimit limit;

	if (size > INT64_MAX)
		return -EFBIG;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    size > limit.rlim_cur)
		return -EFBIG;
	while (ftruncate(fd, (off_t)size) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* A hopeless wish should not fill the file system first, to the harm of others. */
static bool has_room(int fd, uint64_t size)
{
	struct statfs fs;

	return fstatfs(fd, &fs) != 0 || fs.f_type == HUGETLBFS_MAGIC || fs.f_blocks == 0 ||
	       size / (uint64_t)fs.f_bsize <= (uint64_t)fs.f_bfree;
}

/* Where the file system has no fallocate(): zeros, written. */
static int write_zeros(int fd, uint64_t from, uint64_t to)
{
	static const char zeros[65536];

	while (from < to) {
		size_t n = to - from < sizeof(zeros) ? to - from : sizeof(zeros);
		ssize_t w = pwrite(fd, zeros, n, (off_t)from);

		if (w == 0)
			return -ENOSPC;
		if (w < 0 && errno != EINTR)
			return -errno;
		from += w > 0 ? (uint64_t)w : 0;
	}
	return 0;
}

/*
 * In chunks, with signals blocked during each: the tmpfs of many kernels gives back a whole
 * fallocate() that a signal interrupts, so that under a storm of signals a large one would never
 * end. Between chunks signals come through.
 */
static int reserve(int fd, uint64_t size)
{
	sigset_t all, before;
	int r = 0;

	sigfillset(&all);
	for (uint64_t at = 0; at < size && r == 0; at += CHUNK) {
		uint64_t n = size - at < CHUNK ? size - at : CHUNK;

		pthread_sigmask(SIG_BLOCK, &all, &before);
		/* Blocked signals do not interrupt; being stopped or traced does. */
		do
			r = fallocate(fd, 0, (off_t)at, (off_t)n) == 0 ? 0 : -errno;
		while (r == -EINTR);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		if (r == -EOPNOTSUPP || r == -ENOSYS)
			return write_zeros(fd, at, size);
	}
	return r;
}

/* ---- mappings ------------------------------------------------------------------------------- */

uint64_t quoit__huge_page(void)
{
	char text[32] = "";
	int fd = open("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	close(fd);
	return strtoull(text, NULL, 10);
}

uint64_t quoit__pool_page(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kb = 0;
	char line[128];

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f) != NULL &&
	       sscanf(line, "Hugepagesize: %" SCNu64, &kb) != 1)
		;
	fclose(f);
	return kb * 1024;
}

void *quoit__huge_address(uint64_t size)
{
	uint64_t huge = size % HUGE_PAGE_LEAST == 0 ? quoit__huge_page() : 0;
	unsigned char *p, *aligned;

	if (huge == 0 || size % huge != 0)
		return NULL;
	p = mmap(NULL, size + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	aligned = (unsigned char *)quoit__round_up((uintptr_t)p, huge);
	if (aligned > p)
		munmap(p, (size_t)(aligned - p));
	if (aligned < p + huge)
		munmap(aligned + size, (size_t)(p + huge - aligned));
	return aligned;
}

/* A file of whole huge pages may be one that was made of them: map it so that they fit. */
static int map(struct quoit__segment *seg, bool hugetlb)
{
	void *at = hugetlb ? NULL : quoit__huge_address(seg->size);
	int prot = seg->writable ? PROT_READ | PROT_WRITE : PROT_READ, r;
	void *p;

	p = mmap(at, seg->size, prot, MAP_SHARED | (at != NULL ? MAP_FIXED : 0), seg->fd, 0);
	if (p == MAP_FAILED) {
		r = -errno;
		if (at != NULL)
			munmap(at, seg->size);
		return r;
	}
	if (at != NULL)
		madvise(p, seg->size, MADV_HUGEPAGE);
	seg->base = p;
	return 0;
}

int quoit__map_fd(struct quoit__segment *seg)
{
	struct stat st;
	bool hugetlb;

	if (fstat(seg->fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(struct quoit__header))
		return -EPROTO;
	seg->size = (uint64_t)st.st_size;
	if (seg->size > SIZE_MAX)
		return -EFBIG;
	seg->page_size = quoit__fd_page_size(seg->fd, &hugetlb);
	return map(seg, hugetlb);
}

/* What /proc/self/smaps says of a segment's mapping. */
struct smaps {
	uint64_t page_kb; /* 0: it says nothing */
	uint64_t huge_kb; /* mapped by transparent huge pages */
};

static struct smaps read_smaps(const struct quoit__segment *seg)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	struct smaps sum = {0};
	uint64_t from, to, kb;
	bool ours = false;
	char *line = NULL;
	size_t size = 0;

	if (f == NULL)
		return sum;
	while (getline(&line, &size, f) > 0) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2)
			ours = from < (uintptr_t)seg->base + seg->size && to > (uintptr_t)seg->base;
		else if (ours && (sscanf(line, "ShmemPmdMapped: %" SCNu64, &kb) == 1 ||
				  sscanf(line, "FilePmdMapped: %" SCNu64, &kb) == 1))
			sum.huge_kb += kb;
		else if (ours && sscanf(line, "KernelPageSize: %" SCNu64, &kb) == 1)
			sum.page_kb = kb;
	}
	free(line);
	fclose(f);
	return sum;
}

uint32_t quoit__mapped_page_size(const struct quoit__segment *seg)
{
	/* Only mappings of whole huge pages can be of such. */
	uint64_t kb = seg->size % HUGE_PAGE_LEAST == 0 ? read_smaps(seg).page_kb : 0;

	return kb != 0 ? (uint32_t)(kb * 1024) : (uint32_t)sysconf(_SC_PAGESIZE);
}

int quoit__fill_huge(const struct quoit__segment *seg)
{
	uint64_t huge;

	if (madvise(seg->base, seg->size, MADV_HUGEPAGE) != 0)
		return -ENOTSUP;
	/* Without this call (Linux 5.14) a full file system would be a SIGBUS. */
	while (madvise(seg->base, seg->size, MADV_POPULATE_WRITE) != 0)
		if (errno != EAGAIN && errno != EINTR)
			return errno == EINVAL ? -ENOTSUP : errno == EFAULT ? -ENOSPC : -errno;
	huge = read_smaps(seg).huge_kb * 1024;
	return huge == seg->size ? 0 : huge == 0 ? -ENOTSUP : -ENOMEM;
}

/* ---- new files ------------------------------------------------------------------------------ */

static int populate(struct quoit__segment *seg, uint64_t size, bool hugetlb, bool reserved)
{
	int r;

	if (size > SIZE_MAX)
		return -EFBIG;
	if (!has_room(seg->fd, size))
		return -ENOSPC;
	seg->size = size;
	r = set_size(seg->fd, size);
	if (r == 0 && reserved)
		r = reserve(seg->fd, size);
	return r == 0 ? map(seg, hugetlb) : r;
}

/* Transparent huge pages must be the first to touch the file: reserve() would take small ones. */
static int populate_transparent(struct quoit__segment *seg, uint64_t size)
{
	uint64_t huge = quoit__huge_page();
	struct statfs fs;
	int r;

	if (huge == 0 || fstatfs(seg->fd, &fs) != 0 || fs.f_type != TMPFS_MAGIC)
		return -ENOTSUP;
	r = populate(seg, quoit__round_up(size, huge), false, false);
	if (r == 0)
		r = quoit__fill_huge(seg);
	if (r == 0) {
		seg->page_size = (uint32_t)huge;
		return 0;
	}
	if (seg->base != NULL)
		munmap(seg->base, seg->size);
	seg->base = NULL;
	return r;
}

int quoit__populate_fd(struct quoit__segment *seg, const struct quoit__plan *plan)
{
	const uint32_t any = QUOIT_CREATE_HUGEPAGES | QUOIT_CREATE_HUGE_TRY;
	bool hugetlb;
	int r = -ENOTSUP;

	seg->page_size = quoit__fd_page_size(seg->fd, &hugetlb);
	if ((plan->flags & any) != 0 && !hugetlb) {
		r = populate_transparent(seg, plan->size);
		if (r != 0 && (plan->flags & QUOIT_CREATE_HUGEPAGES) != 0)
			return r;
		if (r != 0) {
			r = set_size(seg->fd, 0);
			if (r != 0)
				return r;
			r = -ENOTSUP;
		}
	}
	if (r != 0)
		r = populate(seg, quoit__round_up(plan->size, seg->page_size), hugetlb, true);
	if (r == -ENOSPC && hugetlb)
		return -ENOMEM; /* the pool of huge pages is empty, nobody's disk is full */
	return r == 0 ? quoit__segment_apply(seg, plan->flags) : r;
}

/* ---- touching ------------------------------------------------------------------------------- */

static void touch(const struct quoit__segment *seg)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t at = 0; at < seg->size; at += page) {
		_Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(seg->base + at);

		/* Relaxed: nothing is said or heard, the page is only to be there. A running ring
		 * is not disturbed by or-ing nothing. */
		if (seg->writable)
			atomic_fetch_or_explicit(word, 0, memory_order_relaxed);
		else
			(void)atomic_load_explicit(word, memory_order_relaxed);
	}
}

int quoit__prefault(const struct quoit__segment *seg)
{
	int advice = seg->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;

	while (madvise(seg->base, seg->size, advice) != 0) {
		if (errno == EINVAL) {
			touch(seg);
			return 0;
		}
		/* The call's word for what would have been a SIGBUS. */
		if (errno == EFAULT)
			return -ENOSPC;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}
