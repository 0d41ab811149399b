/* SPDX-License-Identifier: MIT */
/* The SIGBUS guard and everybody else: a SIGBUS that is not ours goes where it went before. */
#include <criterion/criterion.h>
#include <sys/resource.h>

#include "support.h"

TestSuite(sigbus, .timeout = 30);

/* Those who die on purpose need leave no core. */
static void no_core(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

/* A mapping of the test's own, cut off. */
static volatile char *foreign(void)
{
	int fd = memfd_create("foreign", 0);
	void *p;

	MUST(fd >= 0 && ftruncate(fd, 4096) == 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(p != MAP_FAILED && ftruncate(fd, 0) == 0);
	close(fd);
	return p;
}

static int touch_foreign(void *arg)
{
	(void)arg;
	no_core();
	CHILD_CHECK(quoit_guard() == 0);
	return *foreign();
}

static int send_sigbus(void *arg)
{
	(void)arg;
	no_core();
	CHILD_CHECK(quoit_guard() == 0);
	kill(getpid(), SIGBUS);
	return 7;
}

static void *foreign_address;
static int seen_code, seen_signal;

static void exit_with_info(int number, siginfo_t *info, void *context)
{
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	_exit(number == SIGBUS && info->si_addr == foreign_address && context != NULL &&
			      sigismember(&blocked, SIGUSR1) && sigismember(&blocked, SIGBUS)
		      ? 7
		      : 8);
}

static int touch_foreign_handled(void *arg)
{
	struct sigaction action = {.sa_sigaction = exit_with_info, .sa_flags = SA_SIGINFO};

	(void)arg;
	sigaddset(&action.sa_mask, SIGUSR1);
	CHILD_CHECK(sigaction(SIGBUS, &action, NULL) == 0);
	CHILD_CHECK(quoit_guard() == 0);
	foreign_address = (void *)(uintptr_t)foreign();
	return *(volatile char *)foreign_address;
}

static void note_signal(int number)
{
	seen_signal = number;
	seen_code++;
}

static int send_sigbus_handled_once(void *arg)
{
	struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};

	(void)arg;
	no_core();
	CHILD_CHECK(sigaction(SIGBUS, &action, NULL) == 0);
	CHILD_CHECK(quoit_guard() == 0);
	kill(getpid(), SIGBUS);
	CHILD_CHECK(seen_signal == SIGBUS && seen_code == 1);
	kill(getpid(), SIGBUS);
	return 7;
}

static int send_sigbus_ignored(void *arg)
{
	signal(SIGBUS, SIG_IGN);
	return send_sigbus(arg);
}

static int touch_foreign_ignored(void *arg)
{
	signal(SIGBUS, SIG_IGN);
	return touch_foreign(arg);
}

Test(sigbus, a_sigbus_that_is_not_ours_goes_where_it_went_before)
{
	static const struct {
		int (*fn)(void *arg);
		int status;
		const char *what;
	} cases[] = {
		{touch_foreign, 128 + SIGBUS, "a fault, by default"},
		{send_sigbus, 128 + SIGBUS, "sent, by default"},
		{touch_foreign_handled, 7, "a fault, to a handler with its mask"},
		{send_sigbus_handled_once, 128 + SIGBUS, "sent, to a handler for one time"},
		{send_sigbus_ignored, 7, "sent, ignored"},
		{touch_foreign_ignored, 128 + SIGBUS, "a fault, which cannot be ignored"},
	};

#ifdef QUOIT_SANITIZED
	cr_skip("the sanitizers handle the signal, too");
#endif
	for (unsigned i = 0; i < TEST_COUNT(cases); i++)
		cr_expect_eq(test_wait(test_spawn(cases[i].fn, NULL)), cases[i].status, "%s",
			     cases[i].what);
}

Test(sigbus, is_installed_once_and_says_when_somebody_has_taken_its_signal)
{
	struct sigaction ours;

	cr_expect_eq(quoit_guard(), 0);
	cr_expect_eq(quoit_guard(), 0);
	cr_assert_eq(sigaction(SIGBUS, &(struct sigaction){.sa_handler = note_signal}, &ours), 0);
	cr_expect_eq(quoit_guard(), -EBUSY);
	cr_assert_eq(sigaction(SIGBUS, &ours, NULL), 0);
	cr_expect_eq(quoit_guard(), 0);
}
