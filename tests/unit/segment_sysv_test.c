/* SPDX-License-Identifier: MIT */
/*
 * System V segments: half-made ones and their creators, semaphore sets, ids, and strangers'
 * segments and sets, which are nobody's to remove.
 */
#include <criterion/criterion.h>

#include "segment_support.h"

TestSuite(segments_sysv, .fini = seg_cleanup, .timeout = 100);

static int set_value(int32_t id, unsigned index)
{
	return semctl(id, (int)index, GETVAL);
}

/* ---- half-made ------------------------------------------------------------------------------ */

/* A creator that stays half-way until told. */
struct slow {
	struct quoit__name name;
	uint32_t locks;
	_Atomic uint32_t half, go, result;
};

static void stay(struct seg_fill *f)
{
	struct slow *slow = f->arg;

	atomic_store(&slow->half, 1);
	while (atomic_load(&slow->go) == 0)
		test_sleep_ms(1);
}

static int create_slowly(void *arg)
{
	struct slow *slow = arg;
	struct quoit__plan plan = seg_plan();
	struct seg_fill f = {.pause = stay, .arg = slow};
	struct quoit__segment seg;

	plan.locks = slow->locks;
	CHILD_CHECK(quoit__segment_create(&slow->name, &plan, seg_fill, &f, &seg) == 0);
	return 0;
}

static struct slow *start_slowly(pid_t *ret_pid, uint32_t locks)
{
	struct slow *slow = test_shared(sizeof(*slow));

	slow->name = seg_name(QUOIT_SYSV);
	slow->locks = locks;
	*ret_pid = test_spawn(create_slowly, slow);
	cr_assert(test_wait_flag(&slow->half, 1, 5000));
	return slow;
}

static int finish_later(void *arg)
{
	test_sleep_ms(100);
	atomic_store(&((struct slow *)arg)->go, 1);
	return 0;
}

Test(segments_sysv, half_made_are_waited_for)
{
	struct quoit__segment seg;
	pid_t pid, helper;
	struct slow *slow;
	int64_t start;

	for (unsigned creating = 0; creating < 2; creating++) {
		slow = start_slowly(&pid, SEG_LOCKS);
		start = test_now_ns();
		cr_expect_eq(seg_probe(&slow->name, 30), -ETIMEDOUT);
		cr_expect_geq(test_now_ns() - start, 30 * 1000000);
		helper = test_spawn(finish_later, slow);
		if (creating)
			cr_expect_eq(seg_create(&slow->name, NULL, &seg), -EEXIST);
		else
			cr_expect_eq(seg_probe(&slow->name, 5000), 0);
		cr_expect_geq(test_now_ns() - start, 100 * 1000000);
		cr_expect_eq(test_wait(helper), 0);
		cr_expect_eq(test_wait(pid), 0);
		cr_expect_eq(seg_probe(&slow->name, 0), 0);
	}
}

Test(segments_sysv, half_made_by_a_stopped_creator_are_neither_replaced_nor_removed)
{
	struct quoit__segment seg;
	pid_t pid;
	struct slow *slow = start_slowly(&pid, SEG_LOCKS);
	int64_t start = test_now_ns();

	cr_assert_eq(kill(pid, SIGSTOP), 0);
	cr_expect_eq(seg_create(&slow->name, NULL, &seg), -EEXIST);
	cr_expect_lt(test_now_ns() - start, 3000 * INT64_C(1000000), "not for ever");
	cr_expect_eq(quoit__segment_unlink(&slow->name), -EBUSY);
	cr_expect_eq(seg_probe(&slow->name, 10), -ETIMEDOUT);
	cr_expect_eq(quoit__segment_open(&slow->name, false, 10, &seg), -ETIMEDOUT);
	atomic_store(&slow->go, 1);
	kill(pid, SIGCONT);
	cr_expect_eq(test_wait(pid), 0);
	cr_expect_eq(seg_probe(&slow->name, 0), 0);
}

Test(segments_sysv, half_made_by_a_dead_creator_say_so_and_are_replaced_or_removed)
{
	struct quoit__segment seg;
	pid_t pid;

	for (unsigned removing = 0; removing < 2; removing++) {
		struct slow *slow = start_slowly(&pid, SEG_LOCKS);

		test_kill(pid);
		cr_expect_eq(seg_probe(&slow->name, 1000), -EOWNERDEAD);
		if (removing) {
			cr_expect_eq(quoit__segment_unlink(&slow->name), 0);
			cr_expect_eq(seg_probe(&slow->name, 0), -ENOENT);
			cr_expect_eq(semget((key_t)slow->name.key, 0, 0), -1);
			continue;
		}
		cr_assert_eq(seg_create(&slow->name, NULL, &seg), 0);
		quoit__segment_close(&seg);
		cr_expect_eq(seg_probe(&slow->name, 0), 0);
	}
}

Test(segments_sysv, of_another_shape_replace_what_a_dead_creator_left)
{
	struct quoit__segment seg;
	struct semid_ds ds;
	pid_t pid;
	struct slow *slow = start_slowly(&pid, 900);
	struct quoit__plan plan = seg_plan();

	test_kill(pid);
	plan.mode = 0660;
	cr_assert_eq(seg_create(&slow->name, &plan, &seg), 0);
	cr_assert_eq(semctl(seg.sem_id, 0, IPC_STAT, &ds), 0);
	cr_expect_eq(ds.sem_nsems, SEG_LOCKS + QUOIT__SEM_PEERS + 1);
	cr_expect_eq(ds.sem_perm.mode & 0777, 0660);
	quoit__segment_close(&seg);
}

Test(segments_sysv, whose_segment_was_removed_by_hand_do_not_lend_their_set_to_the_next)
{
	struct quoit__name name = seg_name(QUOIT_SYSV);
	struct sembuf hold = {.sem_num = QUOIT__SEM_PEERS, .sem_op = 1, .sem_flg = SEM_UNDO};
	struct quoit__segment old, new;

	seg_make(&name, &old);
	cr_assert_eq(semop(old.sem_id, &hold, 1), 0, "a peer of the old ring");
	cr_assert_eq(shmctl(old.shm_id, IPC_RMID, NULL), 0);
	seg_make(&name, &new);
	cr_expect_neq(new.sem_id, old.sem_id);
	cr_expect_eq(set_value(new.sem_id, QUOIT__SEM_PEERS), 0);
	quoit__segment_close(&old);
	cr_assert_eq(shmctl(new.shm_id, IPC_RMID, NULL), 0);
	cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
	cr_expect_not(seg_set_exists(new.sem_id), "gone all the same");
	quoit__segment_close(&new);
}

/* ---- sets ----------------------------------------------------------------------------------- */

Test(segments_sysv, have_a_set_with_the_same_key_mode_and_owner)
{
	struct quoit__name name = seg_name(QUOIT_SYSV);
	struct quoit__segment seg;
	struct semid_ds ds;

	seg_make(&name, &seg);
	cr_assert_eq(semctl(seg.sem_id, 0, IPC_STAT, &ds), 0);
	cr_expect_eq((uint32_t)ds.sem_perm.__key, name.key);
	cr_expect_eq(ds.sem_nsems, SEG_LOCKS + QUOIT__SEM_PEERS + 1);
	cr_expect_eq(ds.sem_perm.mode & 0777, 0600);
	for (unsigned i = 0; i + 1 < ds.sem_nsems; i++)
		cr_expect_eq(set_value(seg.sem_id, i), 0, "%u", i);
	cr_expect_eq(set_value(seg.sem_id, (unsigned)ds.sem_nsems - 1), QUOIT__SEM_READY);
	cr_expect_eq(quoit__segment_chmod(&name, 0622), 0);
	cr_expect_eq(quoit__segment_chmod(&name, 0444), -EINVAL, "would lock the owner out");
	if (geteuid() == 0)
		cr_expect_eq(quoit__segment_chown(&name, 65534, 65533), 0);
	cr_assert_eq(semctl(seg.sem_id, 0, IPC_STAT, &ds), 0);
	cr_expect_eq(ds.sem_perm.mode & 0777, 0622);
	cr_expect_eq(ds.sem_perm.uid, geteuid() == 0 ? 65534 : geteuid());
	cr_expect_eq(ds.sem_perm.gid, geteuid() == 0 ? 65533 : getegid());
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	cr_expect_not(seg_set_exists(seg.sem_id));
	quoit__segment_close(&seg);
}

Test(segments_sysv, without_their_set_are_for_observers_only)
{
	struct quoit__name name = seg_name(QUOIT_SYSV);
	struct quoit__segment made, seg;

	seg_make(&name, &made);
	cr_assert_eq(semctl(made.sem_id, 0, IPC_RMID), 0);
	cr_expect_eq(seg_probe(&name, 0), -EIDRM);
	cr_assert_eq(quoit__segment_open(&name, false, 0, &seg), 0);
	cr_expect_eq(seg.sem_id, -1);
	quoit__segment_close(&seg);
	quoit__segment_close(&made);
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	cr_expect_eq(seg_probe(&name, 0), -ENOENT);
}

Test(segments_sysv, that_lie_about_their_set_harm_no_other)
{
	struct quoit__name name = seg_name(QUOIT_SYSV), other_name = seg_name(QUOIT_SYSV);
	struct quoit__segment seg, other, seen;
	int stranger = semget(IPC_PRIVATE, 8, 0600);

	seg_make(&name, &seg);
	seg_make(&other_name, &other);
	for (unsigned i = 0; i < 2; i++) {
		((struct quoit__header *)(void *)seg.base)->sem_id = i ? other.sem_id : stranger;
		cr_expect_eq(seg_probe(&name, 0), -EBADMSG);
		cr_assert_eq(quoit__segment_open(&name, false, 0, &seen), 0);
		cr_expect_eq(seen.sem_id, -1);
		quoit__segment_close(&seen);
		cr_expect_eq(quoit__segment_chmod(&name, 0660), 0);
	}
	cr_expect_eq(quoit__segment_unlink(&name), 0);
	cr_expect(seg_set_exists(stranger));
	cr_expect(seg_set_exists(other.sem_id));
	cr_expect_not(seg_set_exists(seg.sem_id), "its own one is found by key");
	cr_expect_eq(quoit__sem_set_check(stranger), -EBADMSG);
	cr_expect_eq(quoit__sem_set_check(other.sem_id), -EBADMSG);
	quoit__sem_set_remove(stranger);
	quoit__sem_set_remove(other.sem_id);
	cr_expect(seg_set_exists(stranger));
	cr_expect(seg_set_exists(other.sem_id));
	semctl(stranger, 0, IPC_RMID);
	quoit__segment_close(&seg);
	quoit__segment_close(&other);
}

Test(segments_sysv, lend_their_way_with_sets_to_rings_elsewhere)
{
	struct semid_ds ds;
	int32_t id = -1;

	cr_assert_eq(quoit__sem_set_new(3, 0640, &id), 0);
	cr_assert_eq(semctl(id, 0, IPC_STAT, &ds), 0);
	cr_expect_geq(ds.sem_nsems, 3);
	cr_expect_eq(ds.sem_perm.mode & 0777, 0640);
	cr_expect_eq(quoit__sem_set_check(id), 0);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(set_value(id, i), 0);
	cr_expect_eq(quoit__sem_set_change(id, 0600, (uid_t)-1, (gid_t)-1), 0);
	cr_assert_eq(semctl(id, 0, IPC_STAT, &ds), 0);
	cr_expect_eq(ds.sem_perm.mode & 0777, 0600);
	quoit__sem_set_remove(id);
	cr_expect_not(seg_set_exists(id));
	cr_expect_eq(quoit__sem_set_change(id, 0600, (uid_t)-1, (gid_t)-1), -EIDRM);
	quoit__sem_set_remove(id);
	cr_expect_eq(quoit__sem_set_new(1 << 20, 0600, &id), -ENOSPC);
}

/* ---- strangers ------------------------------------------------------------------------------ */

Test(segments_sysv, of_strangers_are_neither_opened_nor_replaced_nor_removed)
{
	for (unsigned i = 0; i < 6; i++) {
		struct quoit__name name = seg_name(QUOIT_SYSV);
		int id = shmget((key_t)name.key, i < 2 ? 100 : SEG_SIZE, IPC_CREAT | 0600);
		int set = i % 2 ? semget((key_t)name.key, 8, IPC_CREAT | 0600) : -1;
		struct quoit__segment seg;

		cr_assert_geq(id, 0);
		if (i >= 4) {
			char *p = shmat(id, NULL, 0);

			memset(p, 'x', SEG_SIZE);
			shmdt(p);
		}
		cr_expect_eq(seg_probe(&name, 20), -EPROTO, "%u", i);
		cr_expect_eq(quoit__segment_open(&name, false, 20, &seg), -EPROTO, "%u", i);
		cr_expect_eq(seg_create(&name, NULL, &seg), -EEXIST, "%u", i);
		cr_expect_eq(quoit__segment_unlink(&name), -EPROTO, "%u", i);
		cr_expect_eq(quoit__segment_chmod(&name, 0666), -EPROTO, "%u", i);
		cr_expect_eq(shmctl(id, IPC_RMID, NULL), 0, "still there");
		cr_expect(set < 0 || semctl(set, 0, IPC_RMID) == 0);
	}
}

Test(segments_sysv, do_not_take_strangers_sets)
{
	for (unsigned i = 0; i < 3; i++) {
		struct quoit__name name = seg_name(QUOIT_SYSV);
		struct sembuf up = {.sem_num = 0, .sem_op = 1};
		int set = semget((key_t)name.key, i == 0 ? 1 : 8, IPC_CREAT | 0600);
		struct quoit__segment seg;

		cr_assert_geq(set, 0);
		if (i == 1)
			cr_assert_eq(semctl(set, 7, SETVAL, 5), 0);
		if (i == 2)
			cr_assert_eq(semop(set, &up, 1), 0);
		cr_expect_eq(seg_create(&name, NULL, &seg), -EEXIST, "%u", i);
		cr_expect_eq(seg_probe(&name, 0), -ENOENT);
		cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
		cr_expect_eq(set_value(set, 0), i == 2);
		cr_expect_eq(semctl(set, 0, IPC_RMID), 0, "still there");
	}
}

static int meet_as_nobody(void *arg)
{
	struct quoit__segment seg;

	CHILD_CHECK(setgid(65534) == 0 && setuid(65534) == 0);
	CHILD_CHECK(seg_probe(arg, 0) == -EACCES);
	CHILD_CHECK(quoit__segment_open(arg, false, 0, &seg) == -EACCES);
	CHILD_CHECK(seg_create(arg, NULL, &seg) == -EEXIST);
	CHILD_CHECK(quoit__segment_unlink(arg) == -EACCES);
	CHILD_CHECK(quoit__segment_chmod(arg, 0666) == -EACCES);
	return 0;
}

Test(segments_sysv, of_other_users_are_taken_and_closed)
{
	struct quoit__name name = seg_name(QUOIT_SYSV);
	struct quoit__segment seg;

	if (geteuid() != 0)
		cr_skip("needs root, to become another user");
	seg_make(&name, &seg);
	cr_expect_eq(test_wait(test_spawn(meet_as_nobody, &name)), 0);
	quoit__segment_close(&seg);
}

/* ---- ids ------------------------------------------------------------------------------------ */

Test(segments_sysv, are_found_by_id_and_known_by_key)
{
	struct quoit__name name = seg_name(QUOIT_SYSV), by_id;
	struct quoit__segment made, seg;
	char text[32];

	seg_make(&name, &made);
	snprintf(text, sizeof(text), "sysv:#%d", made.shm_id);
	by_id = seg_parse(text);
	cr_assert_eq(quoit__segment_open(&by_id, true, 0, &seg), 0);
	cr_expect(seg_is_whole(&seg));
	cr_expect_str_eq(seg.name.canonical, name.canonical);
	cr_expect_eq(seg.sem_id, made.sem_id);
	quoit__segment_close(&seg);
	quoit__segment_close(&made);
	cr_expect_eq(quoit__segment_unlink(&by_id), 0);
	cr_expect_eq(seg_probe(&name, 0), -ENOENT);
	cr_expect_eq(seg_probe(&by_id, 0), -ENOENT);
	cr_expect_eq(quoit__segment_unlink(&by_id), -ENOENT);
}

Test(segments_sysv, that_are_private_are_known_by_id)
{
	struct quoit__name name = seg_parse("sysv:private"), by_id;
	struct quoit__segment made, other, seg;
	char text[32];

	seg_make(&name, &made);
	seg_make(&name, &other);
	snprintf(text, sizeof(text), "sysv:#%d", made.shm_id);
	cr_expect_str_eq(made.name.canonical, text);
	cr_expect_neq(made.shm_id, other.shm_id);
	cr_expect_neq(made.sem_id, other.sem_id);
	cr_expect_eq(seg_probe(&name, 0), -ENOENT);
	cr_expect_eq(quoit__segment_unlink(&name), -ENOENT);
	by_id = seg_parse(text);
	cr_assert_eq(quoit__segment_open(&by_id, true, 0, &seg), 0);
	cr_expect(seg_is_whole(&seg));
	cr_expect_eq(seg.sem_id, made.sem_id);
	cr_expect_eq(quoit__segment_chmod(&by_id, 0660), 0);
	cr_expect_eq(quoit__segment_unlink(&by_id), 0);
	cr_expect_not(seg_set_exists(made.sem_id));
	quoit__segment_close(&seg);
	quoit__segment_close(&made);
	cr_expect_eq(quoit__segment_unlink_open(&other), 0);
	cr_expect_not(seg_set_exists(other.sem_id));
	quoit__segment_close(&other);
}
