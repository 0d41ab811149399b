/* SPDX-License-Identifier: MIT */
/*
 * One body for every kind of ring, backend, way to wait and number of peers: producers send
 * numbered, checksummed records of random sizes in all the ways that the library has, consumers
 * take them in all the ways that it has. Then the accounts must balance: every record of every
 * producer taken exactly once, none torn, none invented, and each consumer has met each producer's
 * in order.
 *
 * Peers are processes; with --threads they are threads of one process on one mapping, which is what
 * the thread sanitizer can see through (--attach own: each thread on a mapping of its own).
 */
#include <pthread.h>
#include <stdalign.h>
#include <sys/resource.h>

#include "stress/ring_options.h"
#include "support.h"

/* What a peer has done. The hash is a sum over its records, so the order does not matter. */
struct account {
	alignas(128) uint64_t records;
	uint64_t bytes, hash;
};

struct shared {
	_Atomic uint32_t ready, go, failed;
	_Atomic uint32_t closing; /* producers that have sent everything */
	struct account producer[PEERS_MAX], consumer[PEERS_MAX];
};

/* One peer at work. */
struct peer {
	struct shared *shared;
	struct test_ring *ring;
	struct quoit_producer *p;
	struct quoit_consumer *c;
	struct account *account;
	uint64_t seed;
	uint32_t index, max;      /* its number; longest payload to send */
	uint64_t next;            /* producer: sequence number to come */
	uint64_t seen[PEERS_MAX]; /* consumer: one past the last number of each producer */
};

#define CHECK(peer, condition, ...)                                                                \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);            \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
			atomic_store(&(peer)->shared->failed, 1);                                  \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static void enter(struct account *a, uint32_t producer, uint64_t seq, uint32_t len)
{
	a->records++;
	a->bytes += len;
	a->hash += test_mix(seq * 256 + producer + 1);
}

/* ---- producing ------------------------------------------------------------------------------ */

static uint32_t random_len(struct peer *peer)
{
	uint32_t span = peer->max - TEST_RECORD_MIN + 1;

	/* Mostly short, now and then anything. */
	if (test_random_below(&peer->seed, 8) != 0)
		span = span < 40 ? span : 40;
	return TEST_RECORD_MIN + test_random_below(&peer->seed, span);
}

static void sent(struct peer *peer, uint32_t len)
{
	enter(peer->account, peer->index, peer->next++, len);
}

static void send_copy(struct peer *peer)
{
	unsigned char buf[RECORD_MAX];
	uint32_t len = random_len(peer);
	uint32_t type = test_record_fill(buf, len, peer->index, peer->next);
	int r = quoit_send(peer->p, buf, len, type, NULL);

	CHECK(peer, r == 0, "send: %d", r);
	sent(peer, len);
}

static void *reserve(struct peer *peer, uint32_t len)
{
	void *payload;
	int r;

	while ((r = quoit_reserve(peer->p, len, &payload)) == -EAGAIN) {
		r = quoit_producer_wait(peer->p, len, NULL);
		CHECK(peer, r == 0, "producer_wait: %d", r);
	}
	CHECK(peer, r == 0, "reserve: %d", r);
	return payload;
}

static void commit(struct peer *peer, void *payload, uint32_t len)
{
	uint32_t type = test_record_fill(payload, len, peer->index, peer->next);
	int r;

	/* -EAGAIN: stepped over, and no room at present. Our record waits in its slot. */
	while ((r = quoit_commit(peer->p, payload, len, type)) == -EAGAIN &&
	       options.kind == QUOIT_MPMC)
		test_sleep_ms(0);
	CHECK(peer, r == 0, "commit: %d", r);
	sent(peer, len);
}

/* In place; sometimes less than was reserved, sometimes nothing, sometimes two at a time. */
static void send_in_place(struct peer *peer)
{
	uint32_t len = random_len(peer);
	uint32_t dice = test_random_below(&peer->seed, 16);
	void *payload = reserve(peer, dice < 8 ? len : peer->max), *second;
	int r;

	if (dice == 0) {
		r = quoit_discard(peer->p, payload);
		CHECK(peer, r == 0, "discard: %d", r);
		return;
	}
	/* A second one only if there is room at once: two who each hold one and wait for room for
	 * another would wait for ever. */
	if (dice < 4 && options.kind == QUOIT_MPMC && peer->next + 1 < options.records &&
	    quoit_reserve(peer->p, peer->max, &second) == 0) {
		commit(peer, payload, len);
		commit(peer, second, random_len(peer));
		return;
	}
	commit(peer, payload, len);
}

static void send_batch(struct peer *peer)
{
	static _Thread_local unsigned char buf[BATCH_MAX][RECORD_MAX];
	struct quoit_msg msgs[BATCH_MAX];
	uint64_t left = options.records - peer->next;
	unsigned n = 1 + test_random_below(&peer->seed, BATCH_MAX), done = 0;

	n = n < left ? n : (unsigned)left;
	for (unsigned i = 0; i < n; i++) {
		msgs[i].data = buf[i];
		msgs[i].len = random_len(peer);
		msgs[i].type = test_record_fill(buf[i], msgs[i].len, peer->index, peer->next + i);
	}
	while (done < n) {
		int r = quoit_send_batch(peer->p, msgs + done, n - done, NULL);

		CHECK(peer, r > 0 && (unsigned)r <= n - done, "send_batch: %d", r);
		for (unsigned i = 0; i < (unsigned)r; i++)
			sent(peer, msgs[done + i].len);
		done += (unsigned)r;
	}
}

static void produce(struct peer *peer)
{
	while (peer->next < options.records) {
		enum mode mode = options.mode == MODE_MIX
					 ? (enum mode)test_random_below(&peer->seed, MODE_MIX)
					 : options.mode;

		if (mode == MODE_COPY)
			send_copy(peer);
		else if (mode == MODE_PLACE)
			send_in_place(peer);
		else
			send_batch(peer);
	}
	atomic_fetch_add(&peer->shared->closing, 1);
	quoit_producer_close(peer->p);
}

/* ---- consuming ------------------------------------------------------------------------------ */

static void took(struct peer *peer, const struct quoit_msg *msg)
{
	uint32_t producer;
	uint64_t seq;

	CHECK(peer, test_record_check(msg->data, msg->len, msg->type, &producer, &seq),
	      "torn record of %u bytes", msg->len);
	CHECK(peer, producer < options.producers, "producer %u", producer);
	CHECK(peer, seq >= peer->seen[producer], "producer %u: record %llu came after %llu",
	      producer, (unsigned long long)seq, (unsigned long long)peer->seen[producer] - 1);
	CHECK(peer, options.consumers > 1 || seq == peer->seen[producer],
	      "producer %u: record %llu is missing", producer,
	      (unsigned long long)peer->seen[producer]);
	peer->seen[producer] = seq + 1;
	enter(peer->account, producer, seq, msg->len);
}

/* Each returns 1, or 0 at the end of the stream. */
static int take_copy(struct peer *peer)
{
	alignas(8) unsigned char buf[RECORD_MAX];
	struct quoit_msg msg;
	int r = quoit_recv(peer->c, buf, sizeof(buf), &msg, NULL);

	CHECK(peer, r >= 0, "recv: %d", r);
	if (r == 1)
		took(peer, &msg);
	return r;
}

static int take_in_place(struct peer *peer)
{
	struct quoit_msg msg;
	int r;

	while ((r = quoit_peek(peer->c, &msg)) == -EAGAIN) {
		r = quoit_consumer_wait(peer->c, NULL);
		CHECK(peer, r == 0, "consumer_wait: %d", r);
	}
	CHECK(peer, r >= 0, "peek: %d", r);
	if (r == 0)
		return 0;
	took(peer, &msg);
	r = quoit_advance(peer->c, &msg);
	CHECK(peer, r == 0, "advance: %d", r);
	return 1;
}

static int take_batch(struct peer *peer)
{
	static _Thread_local alignas(8) unsigned char buf[4 * RECORD_MAX];
	struct quoit_msg msgs[BATCH_MAX];
	unsigned n = 1 + test_random_below(&peer->seed, BATCH_MAX);
	int r, done;

	if (test_random_below(&peer->seed, 2) == 0) {
		r = quoit_recv_batch(peer->c, buf, sizeof(buf), msgs, n, NULL);
		CHECK(peer, r >= 0, "recv_batch: %d", r);
		for (int i = 0; i < r; i++)
			took(peer, &msgs[i]);
		return r > 0;
	}
	while ((r = quoit_peek_batch(peer->c, msgs, n)) == -EAGAIN) {
		r = quoit_consumer_wait(peer->c, NULL);
		CHECK(peer, r == 0, "consumer_wait: %d", r);
	}
	CHECK(peer, r >= 0, "peek_batch: %d", r);
	for (int i = 0; i < r; i++)
		took(peer, &msgs[i]);
	done = r > 0 ? quoit_advance_batch(peer->c, msgs, (unsigned)r) : 0;
	CHECK(peer, done == 0, "advance_batch: %d", done);
	return r > 0;
}

static void consume(struct peer *peer)
{
	int more = 1;

	while (more) {
		enum mode mode = options.mode == MODE_MIX
					 ? (enum mode)test_random_below(&peer->seed, MODE_MIX)
					 : options.mode;

		if (mode == MODE_COPY)
			more = take_copy(peer);
		else if (mode == MODE_PLACE)
			more = take_in_place(peer);
		else
			more = take_batch(peer);
	}
	CHECK(peer, atomic_load(&peer->shared->closing) == options.producers,
	      "the stream ended in the middle");
	quoit_consumer_close(peer->c);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static void open_endpoint(struct peer *peer, struct quoit *q, bool producer)
{
	int r = producer ? quoit_producer_open(q, &peer->p) : quoit_consumer_open(q, &peer->c);

	CHECK(peer, r == 0, "open: %d", r);
}

/* A process's or a thread's whole life. */
static void live(struct peer *peer, bool producer)
{
	struct quoit *q = NULL;

	if (!options.threads || options.own_mapping) {
		int r = quoit_attach(peer->ring->name, NULL, &q);

		CHECK(peer, r == 0, "attach %s: %d", peer->ring->name, r);
		open_endpoint(peer, q, producer);
	}
	/* Everyone opens before anyone starts: else a quick producer's end is the stream's. */
	atomic_fetch_add(&peer->shared->ready, 1);
	while (atomic_load(&peer->shared->go) == 0)
		sched_yield();
	if (producer)
		produce(peer);
	else
		consume(peer);
	quoit_detach(q);
}

static int producer_process(void *arg)
{
	live(arg, true);
	return 0;
}

static int consumer_process(void *arg)
{
	live(arg, false);
	return 0;
}

static void *producer_thread(void *arg)
{
	live(arg, true);
	return NULL;
}

static void *consumer_thread(void *arg)
{
	live(arg, false);
	return NULL;
}

static struct peer peers[2 * PEERS_MAX];

static void set_up_peers(struct shared *shared, struct test_ring *ring)
{
	unsigned n = options.producers + options.consumers;

	memset(peers, 0, sizeof(peers));
	for (unsigned i = 0; i < n; i++) {
		bool producer = i < options.producers;
		uint32_t index = producer ? i : i - options.producers;

		peers[i] = (struct peer){
			.shared = shared,
			.ring = ring,
			.account = producer ? &shared->producer[index] : &shared->consumer[index],
			.seed = options.seed * 1000 + i,
			.index = index,
			.max = ring->max_record < RECORD_MAX ? ring->max_record : RECORD_MAX};
		if (options.threads && !options.own_mapping)
			open_endpoint(&peers[i], ring->q, producer);
	}
}

static void run_processes(struct shared *shared)
{
	unsigned n = options.producers + options.consumers;
	pid_t pids[2 * PEERS_MAX];
	int failed = 0;

	for (unsigned i = 0; i < n; i++)
		pids[i] = test_spawn(i < options.producers ? producer_process : consumer_process,
				     &peers[i]);
	while (atomic_load(&shared->ready) < n && atomic_load(&shared->failed) == 0)
		sched_yield();
	atomic_store(&shared->go, 1);
	for (unsigned left = n; left != 0; left--) {
		int status;
		pid_t pid = wait(&status);

		MUST(pid > 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		fprintf(stderr, "a peer ended with status %x\n", (unsigned)status);
		if (failed++ == 0) /* the others wait for it in vain */
			for (unsigned i = 0; i < n; i++)
				if (pids[i] != pid)
					kill(pids[i], SIGKILL);
	}
	if (failed != 0)
		exit(1);
}

static void run_threads(struct shared *shared)
{
	unsigned n = options.producers + options.consumers;
	pthread_t threads[2 * PEERS_MAX];

	for (unsigned i = 0; i < n; i++)
		MUST(pthread_create(&threads[i], NULL,
				    i < options.producers ? producer_thread : consumer_thread,
				    &peers[i]) == 0);
	while (atomic_load(&shared->ready) < n)
		sched_yield();
	atomic_store(&shared->go, 1);
	for (unsigned i = 0; i < n; i++)
		MUST(pthread_join(threads[i], NULL) == 0);
}

/* ---- accounts ------------------------------------------------------------------------------- */

static struct account sum(const struct account *accounts)
{
	struct account total = {0};

	for (unsigned i = 0; i < PEERS_MAX; i++) {
		total.records += accounts[i].records;
		total.bytes += accounts[i].bytes;
		total.hash += accounts[i].hash;
	}
	return total;
}

static int balance(const struct shared *shared, const struct test_ring *ring, enum quoit_wait wait,
		   int64_t took_ns)
{
	struct account in = sum(shared->producer), out = sum(shared->consumer);
	struct quoit_stats s = test_stats(ring->q);
	bool good = in.records == options.records * options.producers &&
		    in.records == out.records && in.bytes == out.bytes && in.hash == out.hash;

	/* The ring's own books must agree. */
	good = good && s.produced.records == in.records && s.consumed.records == out.records &&
	       s.produced.bytes == in.bytes && s.consumed.bytes == out.bytes && s.used == 0;
	printf("%s %s %s %uP%uC %s %s: %llu records in, %llu out, %llu bytes, %.2f s, %.3f M/s; "
	       "sleeps "
	       "%llu, wakes %llu, voided %llu, republished %llu: %s\n",
	       quoit_kind_name(options.kind), quoit_backend_name(test_info(ring->q).backend),
	       quoit_wait_name(wait), options.producers, options.consumers,
	       mode_names[options.mode], options.threads ? "threads" : "processes",
	       (unsigned long long)in.records, (unsigned long long)out.records,
	       (unsigned long long)out.bytes, (double)took_ns / 1e9,
	       (double)out.records * 1e3 / (double)took_ns,
	       (unsigned long long)(s.produced.sleeps + s.consumed.sleeps),
	       (unsigned long long)(s.produced.wakes + s.consumed.wakes),
	       (unsigned long long)(s.produced.voided + s.consumed.voided),
	       (unsigned long long)s.produced.republished, good ? "ok" : "WRONG");
	if (!good)
		fprintf(stderr, "ring: %llu in, %llu out, %llu used; hash %llx, %llx\n",
			(unsigned long long)s.produced.records,
			(unsigned long long)s.consumed.records, (unsigned long long)s.used,
			(unsigned long long)in.hash, (unsigned long long)out.hash);
	return good ? 0 : 1;
}

static int run(enum quoit_backend backend, enum quoit_wait wait)
{
	struct quoit_options opt = test_options(options.kind);
	struct shared *shared = test_shared(sizeof(*shared));
	struct test_ring ring;
	int64_t begin;
	int result;

	opt.capacity = options.capacity;
	opt.slot_size = options.kind == QUOIT_MPMC ? options.slot_size : 0;
	opt.start = options.start;
	opt.wait = wait;
	test_ring_make(&ring, backend, &opt);
	set_up_peers(shared, &ring);
	alarm(options.timeout_s);
	begin = test_now_ns();
	if (options.threads)
		run_threads(shared);
	else
		run_processes(shared);
	alarm(0);
	result = balance(shared, &ring, wait, test_now_ns() - begin);
	test_ring_drop(&ring);
	munmap(shared, sizeof(*shared));
	return result;
}

static void timed_out(int number)
{
	static const char text[] = "stalled: not done within --timeout\n";

	(void)number;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(2); /* the peers are told to die with us */
}

int main(int argc, char **argv)
{
	int result = 0;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, timed_out);
	for (unsigned b = 0; b < TEST_COUNT(test_backends); b++) {
		if (options.backend != 0 && options.backend != test_backends[b])
			continue;
		for (unsigned w = 0; w < TEST_COUNT(test_waits); w++)
			if (options.wait == 0 || options.wait == test_waits[w])
				result |= run(test_backends[b], test_waits[w]);
	}
	return result;
}
