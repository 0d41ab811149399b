/* SPDX-License-Identifier: MIT */
/*
 * One hot path after the other, for perf/instructions.sh to count their instructions under
 * callgrind: one process, one thread, a ring that is never full when sent to nor empty when
 * received from. The functions that callgrind is told to look at are noinline and hold nothing but
 * the loop.
 */
#include "perf/bench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <quoit/quoit.h>

#define ROUNDS 64
#define BURST  64 /* records sent, then received; all fit */
#define SIZE   64

struct pair {
	struct quoit *ring;
	struct quoit_producer *producer;
	struct quoit_consumer *consumer;
	struct quoit_msg out[32], in[32];
	unsigned char data[32 * SIZE], room[32 * SIZE];
	int error;
};

#define HOT __attribute__((noinline)) void

HOT perf_count_send(struct pair *p);
HOT perf_count_recv(struct pair *p);
HOT perf_count_reserve_commit(struct pair *p);
HOT perf_count_peek_advance(struct pair *p);
HOT perf_count_send_batch(struct pair *p);
HOT perf_count_recv_batch(struct pair *p);

void perf_count_send(struct pair *p)
{
	for (int i = 0; i < BURST; i++)
		p->error |= quoit_send(p->producer, p->data, SIZE, 0, NULL);
}

void perf_count_recv(struct pair *p)
{
	for (int i = 0; i < BURST; i++)
		p->error |= quoit_recv(p->consumer, p->room, SIZE, &p->in[0], NULL) - 1;
}

void perf_count_reserve_commit(struct pair *p)
{
	for (int i = 0; i < BURST; i++) {
		void *payload;

		p->error |= quoit_reserve(p->producer, SIZE, &payload);
		*(volatile uint64_t *)payload = (uint64_t)i;
		p->error |= quoit_commit(p->producer, payload, SIZE, 0);
	}
}

void perf_count_peek_advance(struct pair *p)
{
	for (int i = 0; i < BURST; i++) {
		p->error |= quoit_peek(p->consumer, &p->in[0]) - 1;
		p->error |= quoit_advance(p->consumer, &p->in[0]);
	}
}

void perf_count_send_batch(struct pair *p)
{
	for (int i = 0; i < BURST; i += 32)
		p->error |= quoit_send_batch(p->producer, p->out, 32, NULL) - 32;
}

void perf_count_recv_batch(struct pair *p)
{
	for (int i = 0; i < BURST; i += 32)
		p->error |=
			quoit_recv_batch(p->consumer, p->room, sizeof(p->room), p->in, 32, NULL) -
			32;
}

static int open_pair(struct pair *p, const char *name, enum quoit_kind kind)
{
	struct quoit_options o = {.size = sizeof(o), .kind = kind, .slot_size = SIZE};
	int error;

	o.capacity = 1024 * (SIZE + 16);
	if (kind == QUOIT_SPSC)
		o.slot_size = 0;
	error = quoit_create(name, &o, &p->ring);
	if (error == 0)
		error = quoit_producer_open(p->ring, &p->producer);
	if (error == 0)
		error = quoit_consumer_open(p->ring, &p->consumer);
	for (int i = 0; i < 32; i++)
		p->out[i] = (struct quoit_msg){.data = p->data + i * SIZE, .len = SIZE};
	return error;
}

int bench_instructions(void)
{
	static struct pair p;
	char name[64];
	int error;

	snprintf(name, sizeof(name), "shm:quoit-perf-count-%d", (int)getpid());
	memset(&p, 0, sizeof(p));
	error = open_pair(&p, name,
			  perf_options.kinds && strcmp(perf_options.kinds, "mpmc") == 0
				  ? QUOIT_MPMC
				  : QUOIT_SPSC);
	for (int i = 0; i < ROUNDS && error == 0; i++) {
		perf_count_send(&p);
		perf_count_recv(&p);
		perf_count_reserve_commit(&p);
		perf_count_peek_advance(&p);
		perf_count_send_batch(&p);
		perf_count_recv_batch(&p);
		error = p.error;
	}
	quoit_consumer_close(p.consumer);
	quoit_producer_close(p.producer);
	quoit_detach(p.ring);
	if (quoit_remove(name) != 0 || error != 0) {
		fprintf(stderr, "quoit-perf: instructions: %s\n",
			error < 0 ? quoit_strerror(error) : "a call failed");
		return 1;
	}
	return 0;
}
