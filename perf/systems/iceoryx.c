/* SPDX-License-Identifier: MIT */
/*
 * iceoryx by its C binding. Every interval starts a RouDi, its daemon, of its own
 * (iceoryx_roudi.cc). Its subscriber queues are at most 256 deep, whatever the cell asks for.
 * Payloads are loaned and written in place; the publisher waits while a queue is full.
 */
#include <iceoryx_binding_c/log.h>
#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "perf/systems/iceoryx.h"
#include "perf/systems/loops.h"

#define QUEUE_MAX 256u

struct iceoryx_end {
	iox_pub_storage_t pub_storage;
	iox_sub_storage_t sub_storage;
	iox_pub_t pub;
	iox_sub_t sub;
	const void *chunk;
	uint32_t size;
};

static int iceoryx_supports(const struct perf_cell *cell)
{
	return cell->kind == PERF_SPSC && cell->mode == PERF_INPLACE && cell->batch == 1 &&
	       cell->size <= 64 * 1024 && cell->depth >= QUEUE_MAX;
}

static void runtime_name(char *name, size_t size, uint32_t pid)
{
	snprintf(name, size, "quoit-perf-%u", pid);
}

static int iceoryx_open(struct perf_context *x)
{
	pid_t pid = perf_iceoryx_roudi();

	if (pid < 0)
		return (int)pid;
	x->priv = (void *)(intptr_t)pid;
	return 0;
}

static void iceoryx_close(struct perf_context *x)
{
	pid_t pid = (pid_t)(intptr_t)x->priv;

	if (pid <= 0)
		return;
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	/* Its run-time leaves a lock file for each process that used it. */
	for (uint32_t i = 0; i < x->cell->producers + x->cell->consumers; i++) {
		char name[64], path[80];

		runtime_name(name, sizeof(name), x->control->report[i].pid);
		snprintf(path, sizeof(path), "/tmp/%s.lock", name);
		unlink(path);
	}
}

static void make_publisher(struct iceoryx_end *e, const char *name)
{
	iox_pub_options_t options;

	iox_pub_options_init(&options);
	options.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	e->pub = iox_pub_init(&e->pub_storage, "quoit-perf", "ring", name, &options);
}

static void make_subscriber(struct iceoryx_end *e, const char *name)
{
	iox_sub_options_t options;

	iox_sub_options_init(&options);
	options.queueCapacity = QUEUE_MAX;
	options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	e->sub = iox_sub_init(&e->sub_storage, "quoit-perf", "ring", name, &options);
}

static int iceoryx_enter(struct perf_side *s)
{
	struct iceoryx_end *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);
	char name[64];

	if (e == NULL)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	e->size = s->cell->size;
	runtime_name(name, sizeof(name), s->report->pid);
	iox_set_loglevel(Iceoryx_LogLevel_Off);
	iox_runtime_init(name);
	if (s->role != PERF_PRODUCE && s->role != PERF_SCHEDULE)
		make_subscriber(e, s->role == PERF_PING ? "back" : "there");
	if (s->role != PERF_CONSUME && s->role != PERF_COLLECT) {
		make_publisher(e, s->role == PERF_PONG ? "back" : "there");
		for (int i = 0; !iox_pub_has_subscribers(e->pub); i++) {
			if (i == 5000)
				return -ETIMEDOUT;
			perf_idle_ns(1000000);
		}
	}
	s->tx = s->rx = e;
	return 0;
}

static void iceoryx_leave(struct perf_side *s)
{
	struct iceoryx_end *e = s->tx;

	if (e->pub)
		iox_pub_deinit(e->pub);
	if (e->sub)
		iox_sub_deinit(e->sub);
	iox_runtime_shutdown();
	free(e);
}

PERF_INLINE int iceoryx_push(void *tx, const uint64_t *record)
{
	struct iceoryx_end *e = tx;
	void *payload;

	if (iox_pub_loan_chunk(e->pub, &payload, e->size) != AllocationResult_SUCCESS)
		return 0;
	memcpy(payload, record, e->size);
	iox_pub_publish_chunk(e->pub, payload);
	return 1;
}

PERF_INLINE const uint64_t *iceoryx_view(void *rx, uint64_t *buf)
{
	struct iceoryx_end *e = rx;

	(void)buf;
	if (iox_sub_take_chunk(e->sub, &e->chunk) != ChunkReceiveResult_SUCCESS)
		return NULL;
	return e->chunk;
}

PERF_INLINE void iceoryx_done(void *rx)
{
	struct iceoryx_end *e = rx;

	iox_sub_release_chunk(e->sub, e->chunk);
}

static void iceoryx_run(struct perf_side *s)
{
	const struct perf_ops ops = {.size = s->cell->size,
				     .push = iceoryx_push,
				     .get = iceoryx_view,
				     .done = iceoryx_done};

	perf_run_trying(s, &ops, PERF_SPSC);
}

const struct perf_system perf_iceoryx = {
	.name = "iceoryx",
	.group = PERF_PEER,
	.policies = 1u << PERF_TIGHT | 1u << PERF_PAUSE,
	.note = "C binding, in place, with its daemon, queues of 256; SPSC, between processes",
	.supports = iceoryx_supports,
	.open = iceoryx_open,
	.close = iceoryx_close,
	.enter = iceoryx_enter,
	.leave = iceoryx_leave,
	.run = iceoryx_run,
};
