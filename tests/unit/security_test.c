/* SPDX-License-Identifier: MIT */
/*
 * What docs/SECURITY.md says of who may do what, beyond what other tests show: a memfd handed over
 * for reading only, locks that readers may hold, and addresses that strangers may take.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <grp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ring/ring.h"
#include "support.h"

TestSuite(security, .fini = test_cleanup, .timeout = 30);

static void become_nobody(void)
{
	CHILD_CHECK(setgroups(0, NULL) == 0 && setgid(65534) == 0 && setuid(65534) == 0);
}

/* ---- a memfd for reading --------------------------------------------------------------------- */

struct reader {
	int fd;
	bool other_user;
};

static int try_to_write(void *arg)
{
	struct reader *r = arg;
	struct quoit_options opt = test_options((enum quoit_kind)0);
	struct quoit_producer *p;
	char name[32], path[32];
	struct quoit *q;
	int fd;

	if (r->other_user)
		become_nobody();
	snprintf(name, sizeof(name), "fd:%d", r->fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", r->fd);
	CHILD_CHECK(quoit_attach(name, NULL, &q) == -EACCES);
	CHILD_CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0) == MAP_FAILED);
	CHILD_CHECK(write(r->fd, "x", 1) < 0);
	CHILD_CHECK(ftruncate(r->fd, 0) < 0);
	CHILD_CHECK(fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
	/* Opening it anew asks for the file's mode: the same user may, another one may not. */
	fd = open(path, O_RDWR | O_CLOEXEC);
	CHILD_CHECK(r->other_user ? fd < 0 && errno == EACCES : fd >= 0);
	opt.flags = QUOIT_READONLY;
	CHILD_CHECK(quoit_attach(name, &opt, &q) == 0);
	CHILD_CHECK(quoit_producer_open(q, &p) == -EACCES);
	CHILD_CHECK(mprotect(q->seg.base, 4096, PROT_READ | PROT_WRITE) < 0);
	CHILD_CHECK(test_stats(q).produced.records == 1);
	quoit_detach(q);
	return 0;
}

Test(security, a_memfd_that_was_handed_over_for_reading_cannot_be_written)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	struct reader reader;
	char path[32];

	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	cr_assert_eq(test_put(rig.p, 1), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", quoit_fd(rig.r.q));
	reader.fd = open(path, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(reader.fd, 0);
	reader.other_user = false;
	cr_expect_eq(test_wait(test_spawn(try_to_write, &reader)), 0);
	if (geteuid() == 0) {
		reader.other_user = true;
		cr_expect_eq(test_wait(test_spawn(try_to_write, &reader)), 0);
	}
	close(reader.fd);
	test_rig_close(&rig);
}

/* ---- locks ----------------------------------------------------------------------------------- */

/* The byte of docs/FORMAT.md: 2^61 + 3 + row. */
static struct flock row_byte(uint32_t row, short type)
{
	return (struct flock){.l_type = type,
			      .l_whence = SEEK_SET,
			      .l_start = (INT64_C(1) << 61) + 3 + row,
			      .l_len = 1};
}

Test(security, a_reader_can_hold_a_row_but_not_take_one_away)
{
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct flock producer = row_byte(0, F_RDLCK), consumer = row_byte(1, F_RDLCK);
	struct flock write = row_byte(1, F_WRLCK), none = row_byte(0, F_UNLCK);
	struct quoit_consumer *c;
	struct quoit_producer *p, *other;
	struct test_ring r;
	int fd;

	test_ring_make(&r, QUOIT_SHM, &opt);
	cr_assert_eq(quoit_producer_open(r.q, &p), 0);
	fd = sync_lock_reopen(quoit_fd(r.q), 0);
	cr_assert_geq(fd, 0);
	cr_expect_eq(fcntl(fd, F_OFD_SETLK, &producer), -1, "it is held");
	cr_expect_eq(fcntl(fd, F_OFD_SETLK, &none), 0, "what is not ours");
	cr_expect_eq(quoit_producer_open(r.q, &other), -EBUSY, "stays as it is");
	cr_expect_eq(fcntl(fd, F_OFD_SETLK, &write), -1, "readers may not lock for writing");
	cr_expect_eq(fcntl(fd, F_OFD_SETLK, &consumer), 0, "but keep others out");
	cr_expect_eq(quoit_consumer_open(r.q, &c), -EBUSY);
	close(fd);
	cr_expect_eq(quoit_consumer_open(r.q, &c), 0);
	quoit_consumer_close(c);
	quoit_producer_close(p);
	test_ring_drop(&r);
}

/* ---- addresses ------------------------------------------------------------------------------- */

struct squatter {
	uint8_t uuid[16];
	uint32_t row;
	_Atomic uint32_t there;
};

/* Another user takes the address under which a row's holder would sleep in an event loop. */
static int take_the_address(void *arg)
{
	struct squatter *s = arg;
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0), n = 0;

	become_nobody();
	n += sprintf(at.sun_path + 1, "quoit/");
	for (int i = 0; i < 16; i++)
		n += sprintf(at.sun_path + 1 + n, "%02x", s->uuid[i]);
	n += sprintf(at.sun_path + 1 + n, "/%u", s->row);
	CHILD_CHECK(bind(fd, (struct sockaddr *)&at,
			 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (unsigned)n)) ==
		    0);
	atomic_store(&s->there, 1);
	for (;;)
		pause();
}

Test(security, who_takes_an_address_keeps_eventfd_from_being_chosen_and_nothing_else)
{
	struct squatter *s = test_shared(sizeof(*s));
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	uint64_t value = 0;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip("needs root, to be two users");
	test_rig_open(&rig, QUOIT_SHM, &opt);
	memcpy(s->uuid, test_info(rig.r.q).uuid, sizeof(s->uuid));
	s->row = quoit_consumer_id(rig.c);
	pid = test_spawn(take_the_address, s);
	cr_assert(test_wait_flag(&s->there, 1, 5000));
	cr_expect_eq(quoit_consumer_set_wait(rig.c, QUOIT_WAIT_EVENTFD), -EADDRINUSE);
	cr_expect_eq(test_put(rig.p, 1), 0);
	cr_expect_eq(test_take(rig.c, &value), 1);
	test_kill(pid);
	cr_expect_eq(quoit_consumer_set_wait(rig.c, QUOIT_WAIT_EVENTFD), 0);
	test_rig_close(&rig);
}
