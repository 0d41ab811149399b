/* SPDX-License-Identifier: MIT */
/* Waits at the edge: deadlines that no clock shows, and semaphores that somebody has removed. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/sem.h>
#include <sys/time.h>

#include "ring/ring.h"
#include "support.h"

TestSuite(wait_edge, .fini = test_cleanup, .timeout = 30);

Test(wait_edge, a_deadline_before_the_beginning_of_time_has_passed)
{
	/* In nanoseconds the second one is beyond 64 bits, and the third one just so. */
	static const int64_t seconds[] = {-1, INT64_MIN, INT64_MIN / 1000000000 - 1};
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct test_rig rig;
	struct quoit_msg msg;
	uint64_t value;

	opt.capacity = 1024;
	test_rig_open(&rig, QUOIT_MEMFD, &opt);
	for (unsigned i = 0; i < TEST_COUNT(seconds); i++) {
		struct timespec past = {.tv_sec = seconds[i]};

		cr_expect_eq(quoit_consumer_wait(rig.c, &past), -ETIMEDOUT, "%ld s",
			     (long)seconds[i]);
		cr_expect_eq(quoit_recv(rig.c, &value, 8, &msg, &past), -ETIMEDOUT);
		past.tv_nsec = INT64_MAX;
		cr_expect_eq(quoit_consumer_wait(rig.c, &past), -EINVAL);
	}
	test_rig_close(&rig);
}

static void on_alarm(int number)
{
	(void)number;
}

Test(wait_edge, a_signal_ends_a_wait_whose_semaphores_have_been_removed)
{
	struct itimerval every = {{.tv_usec = 20000}, {.tv_usec = 20000}}, none = {0};
	struct quoit_options opt = test_options(QUOIT_SPSC);
	struct sigaction action = {.sa_handler = on_alarm};
	struct timespec late = quoit_deadline_ms(10000);
	struct test_rig rig;
	int64_t began;

	opt.wait = QUOIT_WAIT_SYSVSEM;
	test_rig_open(&rig, QUOIT_SHM, &opt);
	MUST(semctl(rig.r.q->geo.sem_id, 0, IPC_RMID) == 0);
	MUST(sigaction(SIGALRM, &action, NULL) == 0);
	began = test_now_ns();
	MUST(setitimer(ITIMER_REAL, &every, NULL) == 0);
	cr_expect_eq(quoit_consumer_wait(rig.c, &late), -EINTR);
	MUST(setitimer(ITIMER_REAL, &none, NULL) == 0);
	cr_expect_lt(test_now_ns() - began, 5000000000);
	test_rig_close(&rig);
}
