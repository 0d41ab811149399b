/* SPDX-License-Identifier: MIT */
/* What the tests of segments share: a fill function that makes a recognisable, minimal ring. */
#ifndef QUOIT_TESTS_SEGMENT_SUPPORT_H
#define QUOIT_TESTS_SEGMENT_SUPPORT_H

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/shm.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "ring/layout.h"
#include "ring/segment.h"
#include "support.h"

#define SEG_LOCKS 4u
#define SEG_SIZE  65536u

/* Backends whose names strangers can find. */
static const enum quoit_backend seg_named[]
	__attribute__((unused)) = {QUOIT_SHM, QUOIT_SYSV, QUOIT_FILE};

/* What seg_fill() is told, and tells. */
struct seg_fill {
	int result;                       /* to return */
	void (*pause)(struct seg_fill *); /* called half-way */
	void *arg;
	unsigned called;
};

/* The header, and a pattern in the last bytes. */
static inline int seg_fill(void *arg, struct quoit__segment *seg)
{
	struct seg_fill *f = arg;
	struct quoit__header *h = (struct quoit__header *)(void *)seg->base;

	f->called++;
	for (uint64_t i = sizeof(*h); i < seg->size; i += 512)
		if (seg->base[i] != 0)
			return -EILSEQ;
	h->sem_id = seg->sem_id;
	h->magic = QUOIT__MAGIC;
	if (f->pause != NULL)
		f->pause(f);
	if (f->result != 0)
		return f->result;
	h->segment_size = seg->size;
	memset(seg->base + seg->size - 16, 'q', 16);
	atomic_store_explicit(&h->state, QUOIT__READY, memory_order_release);
	return 0;
}

/* Whole, and as seg_fill() left it? */
static inline bool seg_is_whole(const struct quoit__segment *seg)
{
	const struct quoit__header *h = (const void *)seg->base;

	return h->magic == QUOIT__MAGIC && h->segment_size == seg->size &&
	       atomic_load(&((struct quoit__header *)(void *)seg->base)->state) == QUOIT__READY &&
	       seg->base[seg->size - 1] == 'q' && seg->base[seg->size - 16] == 'q';
}

static inline struct quoit__name seg_parse(const char *text)
{
	struct quoit__name name;

	MUST(quoit__name_parse(text, &name) == 0);
	return name;
}

static inline struct quoit__name seg_name(enum quoit_backend backend)
{
	return seg_parse(test_name(backend));
}

static inline struct quoit__plan seg_plan(void)
{
	return (struct quoit__plan){.size = SEG_SIZE, .mode = 0600, .locks = SEG_LOCKS};
}

/* Create as planned, or as seg_plan(). */
static inline int seg_create(const struct quoit__name *name, const struct quoit__plan *plan,
			     struct quoit__segment *ret)
{
	struct quoit__plan usual = seg_plan();
	struct seg_fill f = {0};

	return quoit__segment_create(name, plan != NULL ? plan : &usual, seg_fill, &f, ret);
}

static inline void seg_make(const struct quoit__name *name, struct quoit__segment *ret)
{
	int r = seg_create(name, NULL, ret);

	if (r != 0) {
		fprintf(stderr, "create %s: %d\n", name->canonical, r);
		abort();
	}
}

/*
 * test_cleanup() for segments that are not quite rings. Also under names that the test has removed
 * already, or never used.
 */
static inline void seg_cleanup(void)
{
	struct test_names *names = test_names();

	for (unsigned i = 0; i < names->count; i++) {
		struct quoit__name name = seg_parse(names->name[i]);

		if (quoit__segment_unlink(&name) != 0)
			continue;
	}
	names->count = 0;
}

/* 0 if it is there and whole; what open says, or -EBADMSG. */
static inline int seg_probe(const struct quoit__name *name, uint32_t timeout_ms)
{
	struct quoit__segment seg;
	int r = quoit__segment_open(name, true, timeout_ms, &seg);

	if (r != 0)
		return r;
	r = seg_is_whole(&seg) ? 0 : -EBADMSG;
	quoit__segment_close(&seg);
	return r;
}

/* Does the kernel know a semaphore set with this id? */
static inline bool seg_set_exists(int32_t id)
{
	return semctl(id, 0, GETVAL) >= 0 || (errno != EINVAL && errno != EIDRM);
}

/* Let a system call fail if it has this bit in this argument. */
static inline void seg_forbid(unsigned number, unsigned argument, uint32_t bit, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 (uint32_t)(offsetof(struct seccomp_data, args) + 8 * argument)),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bit, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = TEST_COUNT(code), .filter = code};

	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* As on a file system that does not know nameless files. */
static inline void seg_forbid_tmpfile(void)
{
	seg_forbid(SYS_openat, 2, O_TMPFILE & ~O_DIRECTORY, EOPNOTSUPP);
}

static inline unsigned seg_count_entries(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	unsigned n = 0;

	MUST(d != NULL);
	while ((entry = readdir(d)) != NULL)
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(d);
	return n;
}

#endif
