/* SPDX-License-Identifier: MIT */
/*
 * Starting and ending of the two programs: signals, messages, exit codes.
 */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *program;
volatile sig_atomic_t stop_signal, stop_hard;

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int64_t deadline_after(int64_t ns)
{
	return ns == NEVER ? NEVER : now_ns() + ns;
}

static void on_signal(int number)
{
	if (number == SIGINT || stop_signal != 0)
		stop_hard = 1;
	if (stop_signal != SIGINT)
		stop_signal = number;
}

/*
 * A closed standard descriptor would be given to the ring, and the ring read into itself. Occupied
 * by one that goes the wrong way, it gives EBADF as a closed one does.
 */
static void occupy_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			exit(STATUS_FAILURE);
}

void begin(const char *name)
{
	program = name;
	occupy_descriptors();
	/* A ring whose file is cut off is an error then, and no death. */
	if (quoit_guard() != 0)
		say("no guard against rings that are cut off");
}

void catch_signals(void)
{
	/* No SA_RESTART: a signal has to end read(), write() and the library's waits. */
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	/* EPIPE tells as much, and leaves time for closing the ring and for the summary. */
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

static void vsay(const char *format, va_list arguments)
{
	fprintf(stderr, "%s%s: ", isatty(STDERR_FILENO) ? "\r\033[K" : "", program);
	vfprintf(stderr, format, arguments);
}

void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsay(format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

void usage_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsay(format, arguments);
	va_end(arguments);
	fprintf(stderr, "; try '%s --help'\n", program);
	exit(STATUS_USAGE);
}

int ring_error(const char *ring, const char *what, int error)
{
	static const struct {
		int error, status;
		const char *advice;
	} table[] = {
		{ENOENT, STATUS_NOT_FOUND,
		 "create it with --create or 'quoit create', or see 'quoit ls'"},
		{EIDRM, STATUS_NOT_FOUND, "somebody removed it while it was in use"},
		{EACCES, STATUS_PERMISSION, "ask its owner for 'quoit chmod', see 'quoit ls'"},
		{EPERM, STATUS_PERMISSION, "ask its owner for 'quoit chmod', see 'quoit ls'"},
		{EBADF, STATUS_NOT_FOUND,
		 "fd:N is one that we inherited, see 'quoit create NAME -- COMMAND'"},
		{EROFS, STATUS_PERMISSION, "its file system is mounted read-only"},
		{EPROTO, STATUS_LAYOUT, "see 'quoit info' for what it is"},
		{ELOOP, STATUS_LAYOUT, "symbolic links are not followed, name the file itself"},
		{EBADMSG, STATUS_CORRUPT, "see 'quoit check', then 'quoit repair' or 'quoit rm'"},
		{ETIMEDOUT, STATUS_TIMEOUT, "see 'quoit peers', or give a longer --timeout"},
		{EOWNERDEAD, STATUS_PEER_DIED,
		 "start its successor, and use --resume to wait for one"},
		{EPIPE, STATUS_SIGNAL + SIGPIPE, "start a consumer first"},
		{EBUSY, STATUS_FAILURE, "an SPSC ring takes one of each; see 'quoit peers'"},
		{ENOSPC, STATUS_FAILURE, "make it smaller, or make room; see 'quoit ls'"},
		{ENOMEM, STATUS_FAILURE, "make it smaller, or leave --hugepages and --mlock out"},
		{EMFILE, STATUS_FAILURE, "raise 'ulimit -n'"},
		{EFBIG, STATUS_FAILURE, "make it smaller, or raise 'ulimit -f'"},
		{EMSGSIZE, STATUS_FAILURE, "see 'quoit info' for the largest record it takes"},
		{ENOTSUP, STATUS_FAILURE,
		 "choose another --wait or kind of ring name, or leave --hugepages out"},
		{EINVAL, STATUS_FAILURE,
		 "names are shm:NAME, sysv:KEY, file:PATH, memfd:NAME, fd:N"},
	};
	const char *advice = "see quoit(7)";
	int status = STATUS_FAILURE;

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (table[i].error == -error) {
			advice = table[i].advice;
			status = table[i].status;
		}
	}
	say("%s: cannot %s: %s; %s", ring, what, quoit_strerror(error), advice);
	return status;
}

void leave(int status)
{
	int number = status - STATUS_SIGNAL;

	if (number == SIGINT || number == SIGPIPE) {
		/* A shell goes on with a loop after a plain exit(130), so die of it in earnest. */
		struct sigaction action = {.sa_handler = SIG_DFL};
		sigset_t set;

		fflush(NULL);
		sigemptyset(&action.sa_mask);
		sigaction(number, &action, NULL);
		sigemptyset(&set);
		sigaddset(&set, number);
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		raise(number);
	}
	exit(status);
}
