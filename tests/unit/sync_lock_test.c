/* SPDX-License-Identifier: MIT */
/*
 * Kernel-held locks: they say alive for as long as the holder lives, stopped or not, and not a
 * moment longer, on every kind of descriptor and on System V semaphores.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sync/lock.h"

enum kind { ON_MEMFD, ON_SHM, ON_FILE, ON_SYSV };

static int base = -1; /* the segment's own descriptor */
static int sem_id = -1;
static char file_name[64];

static void make(enum kind kind)
{
	switch (kind) {
	case ON_MEMFD:
		base = memfd_create("sync_lock_test", MFD_CLOEXEC);
		break;
	case ON_SHM:
		snprintf(file_name, sizeof(file_name), "/sync_lock_test.%d", getpid());
		base = shm_open(file_name, O_RDWR | O_CREAT | O_EXCL, 0600);
		shm_unlink(file_name);
		break;
	case ON_FILE:
		snprintf(file_name, sizeof(file_name), P_tmpdir "/sync_lock_test.XXXXXX");
		base = mkstemp(file_name);
		unlink(file_name);
		break;
	case ON_SYSV:
		sem_id = semget(IPC_PRIVATE, 8, 0600);
		break;
	}
	cr_assert(base >= 0 || sem_id >= 0);
}

static void tear_down(void)
{
	if (sem_id >= 0)
		semctl(sem_id, 0, IPC_RMID);
}

/* As an endpoint would: with an open file description of its own. */
static struct sync_lock endpoint(void)
{
	struct sync_lock l = {.fd = -1, .sem_id = sem_id};

	if (sem_id < 0)
		l.fd = sync_lock_reopen(base, 1);
	return l;
}

TestSuite(lock, .fini = tear_down, .timeout = 60);

static enum kind kinds[] = {ON_MEMFD, ON_SHM, ON_FILE, ON_SYSV};

#define EACH_KIND(name)                                                                            \
	ParameterizedTestParameters(lock, name)                                                    \
	{                                                                                          \
		return cr_make_param_array(enum kind, kinds, 4);                                   \
	}                                                                                          \
	ParameterizedTest(enum kind *kind, lock, name)

/* A child that takes lock 5 and stays. Returns once it has it. */
static pid_t start_holder(void)
{
	int ready[2];
	char c = 0;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct sync_lock l = endpoint();

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (sync_lock_take(&l, 5) != 0)
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(2);
		for (;;)
			pause();
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	int status;

	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
}

EACH_KIND(is_free_until_taken_and_after_it_is_dropped)
{
	make(*kind);
	struct sync_lock a = endpoint(), b = endpoint();

	cr_assert_eq(sync_lock_held(&b, 5), 0);
	cr_assert_eq(sync_lock_take(&a, 5), 0);
	cr_assert_eq(sync_lock_held(&b, 5), 1);
	cr_assert_eq(sync_lock_take(&b, 5), -EAGAIN);
	sync_lock_drop(&a, 5);
	cr_assert_eq(sync_lock_held(&b, 5), 0);
	cr_assert_eq(sync_lock_take(&b, 5), 0);
	cr_assert_eq(sync_lock_held(&a, 5), 1);
}

EACH_KIND(has_nothing_to_do_with_its_neighbours)
{
	make(*kind);
	struct sync_lock a = endpoint(), b = endpoint();

	cr_assert_eq(sync_lock_take(&a, 5), 0);
	cr_assert_eq(sync_lock_held(&b, 4), 0);
	cr_assert_eq(sync_lock_held(&b, 6), 0);
	cr_assert_eq(sync_lock_take(&b, 6), 0);
	sync_lock_drop(&b, 6);
	cr_assert_eq(sync_lock_held(&b, 5), 1);
}

EACH_KIND(of_another_process_is_held_and_goes_with_kill_9)
{
	make(*kind);
	struct sync_lock mine = endpoint();
	pid_t holder = start_holder();

	cr_assert_eq(sync_lock_held(&mine, 5), 1);
	cr_assert_eq(sync_lock_take(&mine, 5), -EAGAIN);
	kill_and_wait(holder);
	cr_assert_eq(sync_lock_held(&mine, 5), 0);
	cr_assert_eq(sync_lock_take(&mine, 5), 0);
}

EACH_KIND(of_a_stopped_process_is_held)
{
	make(*kind);
	struct sync_lock mine = endpoint();
	pid_t holder = start_holder();
	int status;

	cr_assert_eq(kill(holder, SIGSTOP), 0);
	cr_assert_eq(waitpid(holder, &status, WUNTRACED), holder);
	cr_assert(WIFSTOPPED(status));
	usleep(50000);
	cr_assert_eq(sync_lock_held(&mine, 5), 1);
	cr_assert_eq(sync_lock_take(&mine, 5), -EAGAIN);
	kill_and_wait(holder);
	cr_assert_eq(sync_lock_held(&mine, 5), 0);
}

static void *take_in_thread(void *arg)
{
	struct sync_lock l = endpoint();

	(void)arg;
	return (void *)(intptr_t)sync_lock_take(&l, 5);
}

EACH_KIND(keeps_out_another_thread_of_the_same_process)
{
	make(*kind);
	struct sync_lock mine = endpoint();
	pthread_t thread;
	void *r;

	cr_assert_eq(sync_lock_take(&mine, 5), 0);
	cr_assert_eq(pthread_create(&thread, NULL, take_in_thread, NULL), 0);
	cr_assert_eq(pthread_join(thread, &r), 0);
	cr_assert_eq((intptr_t)r, -EAGAIN);
}

EACH_KIND(outlives_a_thread_that_took_it)
{
	make(*kind);
	struct sync_lock mine = endpoint();
	pthread_t thread;
	void *r;

	cr_assert_eq(pthread_create(&thread, NULL, take_in_thread, NULL), 0);
	cr_assert_eq(pthread_join(thread, &r), 0);
	cr_assert_eq((intptr_t)r, 0);
	cr_assert_eq(sync_lock_held(&mine, 5), 1);
}

EACH_KIND(is_not_handed_to_a_child_that_closes_its_copies)
{
	make(*kind);
	struct sync_lock mine = endpoint();
	pid_t holder = start_holder(), pid;
	int status;

	cr_assert_eq(sync_lock_take(&mine, 6), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct sync_lock l;

		if (mine.fd >= 0)
			close(mine.fd);
		l = endpoint();
		/* Its parent's lock is a stranger's to it, and its exit does not free it. */
		_exit(sync_lock_take(&l, 6) == -EAGAIN ? 0 : 1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	kill_and_wait(holder);
	struct sync_lock other = endpoint();
	cr_assert_eq(sync_lock_held(&other, 6), 1);
}

EACH_KIND(can_be_taken_and_lost_many_times)
{
	make(*kind);
	struct sync_lock mine = endpoint();

	for (int i = 0; i < 100; i++) {
		pid_t pid = fork();
		int status;

		cr_assert_geq(pid, 0);
		if (pid == 0) {
			struct sync_lock l = endpoint();

			if (sync_lock_take(&l, 5) != 0)
				_exit(1);
			raise(SIGKILL);
		}
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status));
		cr_assert_eq(sync_lock_held(&mine, 5), 0);
	}
}

Test(lock, can_be_asked_for_but_not_taken_on_a_read_only_descriptor)
{
	make(ON_SHM);
	struct sync_lock reader = {.fd = sync_lock_reopen(base, 0), .sem_id = -1};
	struct sync_lock writer = endpoint();

	cr_assert_geq(reader.fd, 0);
	cr_assert_eq(sync_lock_held(&reader, 5), 0);
	cr_assert_eq(sync_lock_take(&writer, 5), 0);
	cr_assert_eq(sync_lock_held(&reader, 5), 1);
	cr_assert_eq(sync_lock_take(&reader, 6), -EBADF);
}

Test(lock, of_a_removed_system_v_set_is_eidrm)
{
	make(ON_SYSV);
	struct sync_lock l = endpoint();

	cr_assert_eq(sync_lock_take(&l, 5), 0);
	cr_assert_eq(semctl(sem_id, 0, IPC_RMID), 0);
	cr_assert_eq(sync_lock_take(&l, 5), -EIDRM);
	cr_assert_eq(sync_lock_held(&l, 5), -EIDRM);
	sync_lock_drop(&l, 5);
	sem_id = -1;
}

Test(lock, reopening_gives_a_private_close_on_exec_description)
{
	make(ON_MEMFD);
	int fd = sync_lock_reopen(base, 1);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	cr_assert_eq(lseek(fd, 100, SEEK_SET), 100);
	cr_assert_eq(lseek(base, 0, SEEK_CUR), 0);
}

Test(lock, reopening_a_closed_descriptor_is_ebadf)
{
	cr_assert_eq(sync_lock_reopen(-1, 1), -EBADF);
	cr_assert_eq(sync_lock_reopen(12345, 1), -EBADF);
}

static int reopen_without_proc(void)
{
	if (unshare(CLONE_NEWNS) != 0)
		return 77;
	/* In a chroot "/" may be no mount point, and what is mounted would show outside. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 78;
	if (mount("none", "/proc", "tmpfs", 0, NULL) != 0)
		return 1;
	return sync_lock_reopen(base, 1) == -ENOSYS ? 0 : 2;
}

Test(lock, reopening_without_proc_is_enosys)
{
	int status;
	pid_t pid;

	make(ON_MEMFD);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0)
		_exit(reopen_without_proc());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		cr_skip_test("may not hide /proc");
	if (WEXITSTATUS(status) == 78)
		cr_skip_test("/ is no mount point, as in a chroot: cannot hide /proc");
	cr_assert_eq(WEXITSTATUS(status), 0);
}
