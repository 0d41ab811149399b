/* SPDX-License-Identifier: MIT */
/* Message queues, POSIX and System V, as deep as the system's limits let them be. */
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include "perf/kernel/kernel.h"
#include "perf/systems/loops.h"

struct mq_context {
	mqd_t posix[2];
	int sysv[2];
};

struct mq_end {
	mqd_t posix;
	int sysv;
	uint32_t size;
	struct perf_report *report;
	struct {
		long type;
		unsigned char data[8192];
	} message;
};

static struct mq_context *new_context(struct perf_context *x)
{
	struct mq_context *c = malloc(sizeof(*c));

	if (c)
		memset(c, -1, sizeof(*c));
	x->priv = c;
	return c;
}

/* The deepest queue that one may have is set in /proc; root may have more. */
static int open_posix(struct perf_context *x)
{
	struct mq_context *c = new_context(x);
	struct mq_attr attr = {.mq_msgsize = x->cell->size};

	if (c == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < x->rings; i++) {
		char name[160];

		snprintf(name, sizeof(name), "/%s", x->name[i]);
		attr.mq_maxmsg = x->cell->depth < 1024 ? (long)x->cell->depth : 1024;
		c->posix[i] = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
		if (c->posix[i] == (mqd_t)-1 && errno == EINVAL) {
			attr.mq_maxmsg = 10;
			c->posix[i] =
				mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attr);
		}
		if (c->posix[i] == (mqd_t)-1)
			return -errno;
		mq_unlink(name);
	}
	return 0;
}

static int open_sysv(struct perf_context *x)
{
	struct mq_context *c = new_context(x);

	if (c == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < x->rings; i++) {
		c->sysv[i] = msgget(IPC_PRIVATE, 0600);
		if (c->sysv[i] < 0)
			return -errno;
	}
	return 0;
}

static void close_queues(struct perf_context *x)
{
	struct mq_context *c = x->priv;

	for (unsigned i = 0; i < 2 && c; i++) {
		if (c->posix[i] != (mqd_t)-1)
			mq_close(c->posix[i]);
		if (c->sysv[i] != -1)
			msgctl(c->sysv[i], IPC_RMID, NULL);
	}
	free(c);
}

static int mq_enter(struct perf_side *s)
{
	const struct mq_context *c = s->context->priv;
	struct mq_end *end = calloc(2, sizeof(*end));

	if (end == NULL)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		int ring = s->role == (i == 0 ? PERF_PONG : PERF_PING);

		end[i].posix = c->posix[ring];
		end[i].sysv = c->sysv[ring];
		end[i].size = s->cell->size;
		end[i].report = s->report;
	}
	s->tx = &end[0];
	s->rx = &end[1];
	return 0;
}

static void mq_leave(struct perf_side *s)
{
	free(s->tx);
}

PERF_INLINE int posix_push(void *tx, const uint64_t *record)
{
	struct mq_end *end = tx;

	return mq_send(end->posix, (const char *)record, end->size, 0) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *posix_get(void *rx, uint64_t *buf)
{
	struct mq_end *end = rx;

	if (mq_receive(end->posix, (char *)buf, end->size, NULL) == (ssize_t)end->size)
		return buf;
	end->report->error = errno ? -errno : -EBADMSG;
	return NULL;
}

/* The record has to be moved behind its type. */
PERF_INLINE int sysv_push(void *tx, const uint64_t *record)
{
	struct mq_end *end = tx;

	end->message.type = 1;
	memcpy(end->message.data, record, end->size);
	return msgsnd(end->sysv, &end->message, end->size, 0) == 0 ? 1 : -errno;
}

PERF_INLINE const uint64_t *sysv_get(void *rx, uint64_t *buf)
{
	struct mq_end *end = rx;

	(void)buf;
	if (msgrcv(end->sysv, &end->message, sizeof(end->message.data), 0, 0) == (ssize_t)end->size)
		return (const uint64_t *)(const void *)end->message.data;
	end->report->error = errno ? -errno : -EBADMSG;
	return NULL;
}

static void posix_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = posix_push, .get = posix_get};

	perf_run_blocking(s, &ops);
}

static void sysv_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size, .push = sysv_push, .get = sysv_get};

	perf_run_blocking(s, &ops);
}

PERF_KERNEL_SYSTEM(perf_posix_mq, "posix-mq", "mq_send(3), mq_receive(3)",
		   .supports = perf_kernel_small, .open = open_posix, .close = close_queues,
		   .enter = mq_enter, .leave = mq_leave, .run = posix_run);
PERF_KERNEL_SYSTEM(perf_sysv_mq, "sysv-mq", "msgsnd(2), msgrcv(2)", .supports = perf_kernel_small,
		   .open = open_sysv, .close = close_queues, .enter = mq_enter, .leave = mq_leave,
		   .run = sysv_run);
