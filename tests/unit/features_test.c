/* SPDX-License-Identifier: MIT */
/*
 * Two builds of the library at one ring: one has made it with features, a version or a header that
 * the other does not know. What is compatible is ignored; what is not is refused with -EPROTO, by
 * whichever way one comes to the ring, and the ring is left as it is.
 */
#include <criterion/criterion.h>
#include <sys/socket.h>

#include <quoit/inspect.h>

#include "ring/layout.h"
#include "ring/ring.h"
#include "support.h"

TestSuite(features, .fini = test_cleanup, .timeout = 30);

/* The ring, as another build would have made it. */
static void make_as(struct test_ring *r, enum quoit_backend backend, enum quoit_kind kind,
		    void (*differ)(struct quoit__header *h))
{
	struct quoit_options opt = test_options(kind);

	test_ring_make(r, backend, &opt);
	differ(r->q->header);
	r->q->header->checksum = quoit__checksum(r->q->header);
}

static void newer_compatible(struct quoit__header *h)
{
	h->compat |= ~QUOIT__COMPAT_KNOWN;
}

static void newer_incompatible(struct quoit__header *h)
{
	h->incompat |= UINT32_C(1) << 31;
}

static void next_version(struct quoit__header *h)
{
	h->version++;
}

static void longer_header(struct quoit__header *h)
{
	h->header_size += 8;
}

static void longer_rows(struct quoit__header *h)
{
	h->row_stride += QUOIT__STRIDE;
}

static void other_endian(struct quoit__header *h)
{
	h->endian = __builtin_bswap32(h->endian);
}

static void unmarked(struct quoit__header *h)
{
	h->incompat = 0;
}

Test(features, that_are_compatible_and_unknown_are_ignored_and_shown)
{
	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		for (unsigned k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_inspect *v;
			struct test_ring r;
			struct quoit *q;

			make_as(&r, test_backends[i], test_kinds[k], newer_compatible);
			cr_assert_eq(quoit_attach(r.name, NULL, &q), 0, "%s", r.name);
			cr_expect(test_carries_a_record(q));
			cr_expect_eq(test_info(q).compat & ~QUOIT__COMPAT_KNOWN,
				     ~QUOIT__COMPAT_KNOWN);
			quoit_detach(q);
			if (test_backends[i] != QUOIT_MEMFD) {
				cr_assert_eq(quoit_inspect_open(r.name, NULL, NULL, &v), 0);
				cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 0);
				quoit_inspect_close(v);
			}
			test_ring_drop(&r);
		}
}

/* Every way to come to the ring refuses it; it can be removed all the same. */
static void expect_refusal(enum quoit_backend backend, void (*differ)(struct quoit__header *h))
{
	struct quoit_options opt = test_options(QUOIT_MPMC);
	struct quoit__header before, after;
	struct test_ring r;
	int pair[2];
	struct quoit *q;

	make_as(&r, backend, QUOIT_MPMC, differ);
	memcpy(&before, r.q->header, sizeof(before));
	cr_expect_eq(quoit_attach(r.name, NULL, &q), -EPROTO, "%s", r.name);
	opt.flags = QUOIT_READONLY;
	cr_expect_eq(quoit_attach(r.name, &opt, &q), -EPROTO, "%s", r.name);
	opt.flags = QUOIT_CREATE_OR_ATTACH;
	if (backend != QUOIT_MEMFD) {
		cr_expect_eq(quoit_create(r.name, &opt, &q), -EPROTO, "%s", r.name);
		opt.flags = 0;
		cr_expect_eq(quoit_create(r.name, &opt, &q), -EEXIST, "%s", r.name);
	}
	if (backend != QUOIT_SYSV) {
		MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		cr_expect_eq(quoit_send_ring(pair[0], r.q), 0);
		cr_expect_eq(quoit_recv_ring(pair[1], NULL, &q), -EPROTO, "%s", r.name);
		close(pair[0]);
		close(pair[1]);
	}
	memcpy(&after, r.q->header, sizeof(after));
	cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0, "it was left alone");
	quoit_detach(r.q);
	if (backend != QUOIT_MEMFD) {
		cr_expect_eq(quoit_remove(r.name), 0, "%s", r.name);
		cr_expect_eq(quoit_attach(r.name, NULL, &q), -ENOENT);
	}
	test_forget(r.made);
}

Test(features, that_are_incompatible_and_unknown_are_refused)
{
	static void (*const differ[])(struct quoit__header * h) = {
		newer_incompatible, next_version, longer_header, longer_rows, other_endian};

	for (unsigned i = 0; i < TEST_COUNT(test_backends); i++)
		for (unsigned n = 0; n < TEST_COUNT(differ); n++)
			expect_refusal(test_backends[i], differ[n]);
}

Test(features, that_a_ring_of_this_kind_must_have_are_missed)
{
	struct test_ring r;
	struct quoit *q;

	make_as(&r, QUOIT_SHM, QUOIT_SPSC, unmarked);
	cr_expect_eq(quoit_attach(r.name, NULL, &q), -EBADMSG);
	quoit_detach(r.q);
	cr_expect_eq(quoit_remove(r.name), 0);
	test_forget(r.made);
}
