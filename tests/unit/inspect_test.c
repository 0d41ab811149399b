/* SPDX-License-Identifier: MIT */
/* Views: what they show, and that they change nothing. */
#include "tests/unit/inspect_support.h"

TestSuite(inspect, .fini = test_cleanup, .timeout = 60);

Test(inspect, refuses_what_does_not_begin_with_the_magic)
{
	struct quoit_inspect *v;
	struct test_rig rig;
	struct image i;

	open_filled(&rig, QUOIT_SHM, QUOIT_SPSC);
	image_of(rig.r.name, &i);
	i.bytes[0] ^= 1;
	image_write(&i, i.size);
	cr_expect_eq(quoit_inspect_open(i.path, NULL, NULL, &v), -EPROTO);
	i.bytes[0] ^= 1;
	image_write(&i, sizeof(struct quoit__header) - 1);
	cr_expect_eq(quoit_inspect_open(i.path, NULL, NULL, &v), -EPROTO);
	image_write(&i, 0);
	cr_expect_eq(quoit_inspect_open(i.path, NULL, NULL, &v), -EPROTO);
	cr_expect_eq(quoit_inspect_open("/tmp", NULL, NULL, &v), -EPROTO);
	cr_expect_eq(quoit_inspect_open("/nonexistent/image", NULL, NULL, &v), -ENOENT);
	cr_expect_eq(quoit_inspect_open("shm:qtest-nonexistent", NULL, NULL, &v), -ENOENT);
	cr_expect_eq(quoit_inspect_open("no:such:backend", NULL, NULL, &v), -EINVAL);
	image_drop(&i);
	test_rig_close(&rig);
}

Test(inspect, tells_another_version_from_a_damaged_one)
{
	struct quoit_inspect *v;
	struct findings f = {0};
	struct test_rig rig;
	struct image i;

	open_filled(&rig, QUOIT_SHM, QUOIT_SPSC);
	image_of(rig.r.name, &i);
	header_of(&i)->version = 2;
	image_write(&i, i.size);
	cr_assert_eq(quoit_inspect_open(i.path, count, &f, &v), 0);
	cr_expect_gt(f.corrupt, 0);
	quoit_inspect_close(v);
	header_of(&i)->checksum = quoit__checksum(header_of(&i));
	image_write(&i, i.size);
	cr_expect_eq(quoit_inspect_open(i.path, NULL, NULL, &v), -EPROTO);
	header_of(&i)->version = 1;
	header_of(&i)->incompat |= 1u << 31;
	header_of(&i)->checksum = quoit__checksum(header_of(&i));
	image_write(&i, i.size);
	cr_expect_eq(quoit_inspect_open(i.path, NULL, NULL, &v), -EPROTO);
	image_drop(&i);
	test_rig_close(&rig);
}

Test(inspect, says_of_a_ring_what_the_ring_says)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
			struct quoit_info info = {.size = sizeof(info)},
					  seen = {.size = sizeof(seen)};
			struct quoit_stats stats = {.size = sizeof(stats)};
			struct quoit_stats seen_stats = {.size = sizeof(stats)};
			struct quoit_inspect *v;
			struct test_rig rig;

			open_filled(&rig, test_backends[b], test_kinds[k]);
			v = view(rig.r.name);
			cr_assert_eq(quoit_get_info(rig.r.q, &info), 0);
			cr_assert_eq(quoit_inspect_info(v, &seen), 0);
			if (test_backends[b] == QUOIT_MEMFD) /* named by descriptor here */
				memcpy(seen.name, info.name, sizeof(seen.name));
			cr_expect_arr_eq(&info, &seen, sizeof(info));
			cr_assert_eq(quoit_get_stats(rig.r.q, &stats), 0);
			cr_assert_eq(quoit_inspect_stats(v, &seen_stats), 0);
			cr_expect_arr_eq(&stats, &seen_stats, sizeof(stats));
			quoit_inspect_close(v);
			test_rig_close(&rig);
		}
	}
}

Test(inspect, leaves_every_byte_as_it_was)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_peer peers[4];
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0, size;
		struct test_rig rig;
		struct image i;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		image_of(rig.r.name, &i);
		v = view(rig.r.name);
		cr_expect_eq(quoit_inspect_peers(v, peers, 4), 2);
		while (quoit_inspect_next(v, &record, &missed) == 1)
			;
		cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 0);
		quoit_inspect_seek_end(v);
		cr_expect_arr_eq(quoit_inspect_bytes(v, &size), i.bytes, i.size);
		quoit_inspect_close(v);
		image_drop(&i);
		test_rig_close(&rig);
	}
}

Test(inspect, walks_over_the_records_that_are_there_in_order)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0;
		struct test_rig rig;
		char text[16];
		uint32_t next = 2;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		v = view(rig.r.name);
		while (quoit_inspect_next(v, &record, &missed) == 1) {
			cr_assert_eq(record.state, QUOIT_RECORD_READY);
			cr_assert_eq(record.type, next);
			cr_assert_eq(record.len, 8 + next % 5);
			snprintf(text, sizeof(text), "record %u....", next);
			cr_assert_arr_eq(record.data, text, record.len);
			next++;
		}
		cr_expect_eq(next, 7);
		cr_expect_eq(missed, 0);
		quoit_inspect_close(v);
		test_rig_close(&rig);
	}
}

Test(inspect, walks_round_the_end_of_the_ring)
{
	struct quoit_options o = small(QUOIT_SPSC);
	struct quoit_record record;
	struct quoit_inspect *v;
	uint64_t missed = 0, value = 0, paddings = 0;
	struct test_rig rig;
	char text[200];
	struct quoit_msg msg;

	o.start = UINT64_MAX - 1023 - 1024; /* positions wrap as well */
	test_rig_open(&rig, QUOIT_SHM, &o);
	v = view(rig.r.name);
	for (int lap = 0; lap < 40; lap++) {
		unsigned seen = 0;

		memset(text, lap, sizeof(text));
		cr_assert_eq(quoit_send(rig.p, text, sizeof(text), value++ & 0xff, NULL), 0);
		quoit_inspect_rewind(v);
		while (quoit_inspect_next(v, &record, &missed) == 1) {
			paddings += record.state == QUOIT_RECORD_PADDING;
			if (record.state != QUOIT_RECORD_READY)
				continue;
			seen++;
			cr_assert_arr_eq(record.data, text, sizeof(text));
		}
		cr_assert_eq(seen, 1, "lap %d: %u", lap, seen);
		cr_assert_eq(quoit_inspect_check(v, NULL, NULL), 0);
		cr_assert_eq(quoit_recv(rig.c, text, sizeof(text), &msg, NULL), 1);
	}
	cr_expect_gt(paddings, 2);
	quoit_inspect_close(v);
	test_rig_close(&rig);
}

Test(inspect, shows_who_holds_which_slot)
{
	struct quoit_options o = small(QUOIT_MPMC);
	unsigned writing = 0, reading = 0, ready = 0;
	struct quoit_record record;
	struct quoit_inspect *v;
	struct quoit_msg msg;
	uint64_t missed = 0;
	struct test_rig rig;
	void *payload;

	test_rig_open(&rig, QUOIT_SHM, &o);
	fill(&rig);
	cr_assert_eq(quoit_peek(rig.c, &msg), 1);
	cr_assert_eq(quoit_reserve(rig.p, 40, &payload), 0);
	v = view(rig.r.name);
	while (quoit_inspect_next(v, &record, &missed) == 1) {
		writing += record.state == QUOIT_RECORD_WRITING &&
			   record.owner == quoit_producer_id(rig.p) && record.data == NULL;
		reading += record.state == QUOIT_RECORD_READING &&
			   record.owner == quoit_consumer_id(rig.c) &&
			   memcmp(record.data, "record 2", 8) == 0;
		ready += record.state == QUOIT_RECORD_READY && record.owner == UINT32_MAX;
	}
	cr_expect_eq(writing, 1);
	cr_expect_eq(reading, 1);
	cr_expect_eq(ready, 4);
	cr_expect_eq(quoit_inspect_check(v, NULL, NULL), 0);
	quoit_inspect_close(v);
	test_rig_close(&rig);
}

Test(inspect, counts_what_was_overwritten_and_goes_on_behind_it)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options o = small(test_kinds[k]);
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0, value;
		struct test_rig rig;

		test_rig_open(&rig, QUOIT_SHM, &o);
		v = view(rig.r.name);
		for (uint64_t n = 0; n < 1000; n++) {
			cr_assert_eq(test_put(rig.p, n), 0);
			cr_assert_eq(test_take(rig.c, &value), 1);
		}
		cr_assert_eq(test_take(rig.c, &value), -EAGAIN); /* hands the memory back */
		cr_assert_eq(test_put(rig.p, 1234), 0);
		do /* the last records taken may still be in memory */
			cr_assert_eq(quoit_inspect_next(v, &record, &missed), 1);
		while (record.state != QUOIT_RECORD_READY);
		memcpy(&value, record.data, sizeof(value));
		cr_expect_eq(value, 1234);
		cr_expect_gt(missed, 900, "missed %llu", (unsigned long long)missed);
		cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
		quoit_inspect_close(v);
		test_rig_close(&rig);
	}
}

/* Both ends, as fast as they can, with records that prove themselves. */
static int stream(void *arg)
{
	struct test_rig *rig = arg;
	unsigned char out[2000], in[2000];
	struct quoit_msg msg;

	if (quoit_producer_open(rig->r.q, &rig->p) != 0 ||
	    quoit_consumer_open(rig->r.q, &rig->c) != 0)
		return 1;
	for (uint64_t n = 0;; n++) {
		uint32_t len = 8 + (uint32_t)(n * 37 % 1500);

		if (quoit_send(rig->p, out, len, test_record_fill(out, len, 1, n), NULL) != 0)
			return 2;
		/* One or two behind, so that an observer always has something to look at. */
		if (n > 1 && quoit_recv(rig->c, in, sizeof(in), &msg, NULL) != 1)
			return 3;
	}
}

Test(inspect, never_shows_a_torn_record_however_fast_the_ring_is)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_options o = small(test_kinds[k]);
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0, whole = 0, seq;
		struct test_rig rig;
		int64_t end;
		uint32_t who;
		pid_t child;

		o.capacity = 8192;
		o.slot_size = 1600;
		test_ring_make(&rig.r, QUOIT_SHM, &o);
		child = test_spawn(stream, &rig);
		v = view(rig.r.name);
		end = test_now_ns() + 1500000000;
		while (test_now_ns() < end) {
			int r = quoit_inspect_next(v, &record, &missed);

			if (r == 0)
				quoit_inspect_rewind(v);
			cr_assert_geq(r, 0, "%s", quoit_strerror(r));
			if (r != 1 || record.data == NULL || record.state == QUOIT_RECORD_PADDING)
				continue;
			cr_assert(
				test_record_check(record.data, record.len, record.type, &who, &seq),
				"%s: record at %llu is torn", quoit_kind_name(test_kinds[k]),
				(unsigned long long)record.position);
			whole++;
		}
		cr_expect_gt(whole, 1000, "%llu seen", (unsigned long long)whole);
		test_kill(child);
		quoit_inspect_close(v);
		test_ring_drop(&rig.r);
	}
}

Test(inspect, goes_to_the_end_and_sees_what_is_committed_from_there)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct quoit_record record;
		struct quoit_inspect *v;
		uint64_t missed = 0, value;
		struct test_rig rig;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		v = view(rig.r.name);
		quoit_inspect_seek_end(v);
		cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
		for (uint64_t n = 10; n < 13; n++) {
			cr_assert_eq(test_put(rig.p, n), 0);
			cr_assert_eq(quoit_inspect_next(v, &record, &missed), 1);
			memcpy(&value, record.data, sizeof(value));
			cr_expect_eq(value, n);
			cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
		}
		cr_expect_eq(missed, 0);
		quoit_inspect_close(v);
		test_rig_close(&rig);
	}
}

Test(inspect, waits_at_a_claimed_slot_when_it_follows)
{
	struct quoit_options o = small(QUOIT_MPMC);
	struct quoit_record record;
	struct quoit_inspect *v;
	uint64_t missed = 0;
	struct test_rig rig;
	void *payload;

	test_rig_open(&rig, QUOIT_SHM, &o);
	v = view(rig.r.name);
	quoit_inspect_seek_end(v);
	cr_assert_eq(quoit_reserve(rig.p, 8, &payload), 0);
	cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
	test_sleep_ms(150);
	cr_expect_eq(quoit_inspect_next(v, &record, &missed), 0);
	memcpy(payload, "finished", 8);
	cr_assert_eq(quoit_commit(rig.p, payload, 8, 5), 0);
	cr_assert_eq(quoit_inspect_next(v, &record, &missed), 1);
	cr_expect_arr_eq(record.data, "finished", 8);
	quoit_inspect_close(v);
	test_rig_close(&rig);
}

Test(inspect, knows_the_living_the_stopped_and_the_dead)
{
	for (size_t b = 0; b < TEST_COUNT(test_backends); b++) {
		struct quoit_peer peers[8] = {0};
		struct quoit_options o = small(QUOIT_MPMC);
		_Atomic uint32_t *ready = test_shared(4096);
		struct quoit_inspect *v;
		struct test_ring r;
		pid_t child;
		uint32_t states[4] = {QUOIT_PEER_ALIVE, QUOIT_PEER_STOPPED, QUOIT_PEER_ALIVE,
				      QUOIT_PEER_DEAD};

		test_ring_make(&r, test_backends[b], &o);
		child = fork();
		if (child == 0) {
			struct quoit_consumer *c;
			struct quoit *q;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (quoit_attach(r.name, NULL, &q) != 0 || quoit_consumer_open(q, &c) != 0)
				_exit(1);
			atomic_store(ready, 1);
			for (;;)
				pause();
		}
		cr_assert(test_wait_flag(ready, 1, 5000));
		v = view(r.name);
		for (int step = 0; step < 4; step++) {
			if (step == 1)
				kill(child, SIGSTOP);
			if (step == 2)
				kill(child, SIGCONT);
			if (step == 3)
				test_kill(child);
			for (int tries = 0; tries < 200; tries++) { /* signals take their time */
				cr_assert_eq(quoit_inspect_peers(v, peers, 8), 1);
				if (peers[0].state == states[step])
					break;
				test_sleep_ms(5);
			}
			cr_expect_eq(peers[0].state, states[step], "%s, step %d: %u",
				     quoit_backend_name(test_backends[b]), step, peers[0].state);
			cr_expect_eq(peers[0].role, QUOIT_ROLE_CONSUMER);
			cr_expect_eq(peers[0].pid, child);
		}
		quoit_inspect_close(v);
		test_ring_drop(&r);
		munmap((void *)ready, 4096);
	}
}

Test(inspect, cannot_ask_the_peers_of_a_copy)
{
	struct quoit_peer peers[4];
	struct quoit_inspect *v;
	struct test_rig rig;
	struct image i;

	open_filled(&rig, QUOIT_SHM, QUOIT_SPSC);
	image_of(rig.r.name, &i);
	image_write(&i, i.size);
	v = view(i.path);
	cr_assert_eq(quoit_inspect_peers(v, peers, 4), 2);
	cr_expect_eq(peers[0].state, QUOIT_PEER_UNKNOWN);
	quoit_inspect_close(v);
	image_drop(&i);
	test_rig_close(&rig);
}

Test(inspect, takes_a_path_that_leads_to_the_ring_itself_for_the_ring)
{
	struct quoit_peer peers[4];
	struct quoit_inspect *v;
	struct test_rig rig;
	char path[PATH_MAX];

	open_filled(&rig, QUOIT_SHM, QUOIT_SPSC);
	snprintf(path, sizeof(path), "/dev/shm/quoit.%s", rig.r.name + 4);
	v = view(path);
	cr_assert_eq(quoit_inspect_peers(v, peers, 4), 2);
	cr_expect_eq(peers[0].state, QUOIT_PEER_ALIVE);
	quoit_inspect_close(v);
	test_rig_close(&rig);
}

Test(inspect, reads_a_cut_off_copy_as_far_as_it_goes)
{
	for (size_t k = 0; k < TEST_COUNT(test_kinds); k++) {
		struct test_rig rig;
		struct image i;

		open_filled(&rig, QUOIT_SHM, test_kinds[k]);
		image_of(rig.r.name, &i);
		/* Up to where the ring ends; whole pages follow it. */
		for (uint64_t size = sizeof(struct quoit__header);
		     size < header_of(&i)->segment_size; size += size < 2048 ? 13 : 61) {
			struct quoit_stats stats = {.size = sizeof(stats)};
			struct quoit_record record;
			struct quoit_inspect *v;
			struct findings f = {0};
			uint64_t missed = 0, records = 0;

			image_write(&i, size);
			v = view(i.path);
			while (records < 100 && quoit_inspect_next(v, &record, &missed) == 1)
				records++;
			cr_assert_lt(records, 100);
			(void)!quoit_inspect_stats(v, &stats);
			cr_assert_gt(quoit_inspect_check(v, count, &f), 0, "size %llu",
				     (unsigned long long)size);
			cr_assert_gt(f.corrupt, 0);
			quoit_inspect_close(v);
		}
		image_drop(&i);
		test_rig_close(&rig);
	}
}
