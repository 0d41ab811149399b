/* SPDX-License-Identifier: MIT */
/*
 * Every thread is a fiber that stands before its next access. The search chooses one, and one of
 * the outcomes that the machine allows, lets the fiber run to its next access, and goes on from
 * there, unless it has been in this state before: machine, segment, handles and stacks all alike,
 * of which 64 bits of hash are kept. So a scenario that ends has been explored to the end.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "explore.h"

#define STACK    32768u
#define DEPTH    1500u
#define TABLE    (UINT64_C(1) << 25)
#define SCRUBBED 4096u /* below a stack: what has been left there tells no states apart */

#define KEPT (offsetof(struct world, own) + own_used)

struct world world;
size_t own_used;
int current = -1;
const struct scenario *scenario;
unsigned weakened;

static _Alignas(64) unsigned char stacks[THREADS][STACK];
static void *search_sp;
static uint64_t *visited;
static uint64_t states, states_max = TABLE / 2;
static unsigned deepest, ends;
static char failure[400];
static bool failed;
static jmp_buf searching, judging, *escape; /* from a failure outside the threads */

/* One step of the way to the present state. */
struct frame {
	unsigned char *saved;
	size_t size;
	uint8_t thread, choice; /* to be tried next; thread THREADS + t: t is killed */
	uint8_t did_thread, did_choice;
	struct op did;
};

static struct frame way[DEPTH];
static unsigned depth;

/* ---- fibers --------------------------------------------------------------------------------- */

void fiber_switch(void **save, void *load);
__asm__(".text\n"
	".globl fiber_switch\n"
	"fiber_switch:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n");

static void fiber_main(void)
{
	unsigned t = (unsigned)current;

	if (scenario->after[t] != 0)
		explore_yield(
			(struct op){.kind = START, .other = (uint8_t)(scenario->after[t] - 1)});
	scenario->thread[t]();
	machine_settle();
	explore_yield((struct op){.kind = FINISHED});
	abort();
}

static void fiber_make(unsigned t)
{
	void **top = (void **)(void *)(stacks[t] + STACK);

	memset(stacks[t], 0, STACK);
	*--top = NULL; /* as after a call: aligned, but for a return address */
	*--top = (void *)fiber_main;
	world.thread[t].sp = top - 6;
}

/* Until its next access. */
static void fiber_run(unsigned t)
{
	unsigned char *sp;

	current = (int)t;
	fiber_switch(&search_sp, world.thread[t].sp);
	current = -1;
	sp = world.thread[t].sp;
	memset(sp - SCRUBBED < stacks[t] ? stacks[t] : sp - SCRUBBED, 0,
	       sp - SCRUBBED < stacks[t] ? (size_t)(sp - stacks[t]) : SCRUBBED);
}

static struct op *yield(const struct op *op)
{
	struct thread *t = &world.thread[current];

	t->op = *op;
	fiber_switch(&t->sp, search_sp);
	return &t->op;
}

uint64_t explore_yield(struct op op)
{
	return yield(&op)->result;
}

bool explore_yield_compare(struct op op, uint64_t *ret_seen)
{
	struct op *done = yield(&op);

	*ret_seen = done->result;
	return done->success;
}

void explore_fail(const char *format, ...)
{
	va_list arguments;

	if (!failed) {
		va_start(arguments, format);
		vsnprintf(failure, sizeof(failure), format, arguments);
		va_end(arguments);
	}
	failed = true;
	if (current < 0)
		longjmp(*escape, 1);
	yield(&(struct op){.kind = FINISHED});
	abort();
}

/* ---- states --------------------------------------------------------------------------------- */

static size_t stack_used(unsigned t)
{
	return scenario->thread[t] == NULL || world.thread[t].op.kind == FINISHED
		       ? 0
		       : (size_t)(stacks[t] + STACK - (unsigned char *)world.thread[t].sp);
}

static uint64_t mix(uint64_t h, const void *data, size_t size)
{
	const uint64_t *w = data;
	uint64_t a = h, b = ~h;

	for (size_t i = 0; i + 2 <= size / 8; i += 2) {
		a = (a ^ w[i]) * UINT64_C(0x9e3779b97f4a7c15);
		b = (b ^ w[i + 1]) * UINT64_C(0xd6e8feb86659fd93);
		a ^= a >> 29;
		b ^= b >> 31;
	}
	if (size / 8 % 2 != 0)
		a = (a ^ w[size / 8 - 1]) * UINT64_C(0x9e3779b97f4a7c15);
	a = (a ^ b >> 32 ^ b << 17) * UINT64_C(0xbf58476d1ce4e5b9);
	return a ^ a >> 30;
}

static uint64_t state_hash(void)
{
	uint64_t h = 1;

	h = mix(h, world.thread, sizeof(world.thread));
	h = mix(h, &world.kills, 8);
	h = mix(h, world.sc.at, sizeof(struct view) & ~(size_t)7);
	for (unsigned i = 0; i < LOCATIONS; i++) {
		const struct location *l = &world.location[i];

		if (l->n != 0)
			h = mix(h, l, offsetof(struct location, m) + l->n * sizeof(l->m[0]));
	}
	h = mix(h, world.shared, SHARED_SIZE);
	h = mix(h, world.own, own_used);
	for (unsigned t = 0; t < THREADS; t++)
		h = mix(h, stacks[t] + STACK - stack_used(t), stack_used(t));
	return h != 0 ? h : 1;
}

/* Is this state new? */
static bool visit(void)
{
	uint64_t h = state_hash(), at = h & (TABLE - 1);

	for (; visited[at] != 0; at = (at + 1) & (TABLE - 1))
		if (visited[at] == h)
			return false;
	visited[at] = h;
	states++;
	return true;
}

static void save(struct frame *f)
{
	size_t size = KEPT;
	unsigned char *p;

	for (unsigned t = 0; t < THREADS; t++)
		size += stack_used(t);
	if (f->size < size) {
		free(f->saved);
		f->saved = malloc(size);
		f->size = size;
	}
	if (f->saved == NULL)
		abort();
	p = f->saved;
	memcpy(p, &world, KEPT);
	p += KEPT;
	for (unsigned t = 0; t < THREADS; t++) {
		memcpy(p, stacks[t] + STACK - stack_used(t), stack_used(t));
		p += stack_used(t);
	}
}

static void restore(const struct frame *f)
{
	const unsigned char *p = f->saved;

	memcpy(&world, p, KEPT);
	p += KEPT;
	for (unsigned t = 0; t < THREADS; t++) {
		unsigned char *sp = stacks[t] + STACK - stack_used(t);

		memcpy(sp, p, stack_used(t));
		p += stack_used(t);
		if (stack_used(t) != 0)
			memset(sp - SCRUBBED, 0, SCRUBBED);
	}
}

/* ---- the search ----------------------------------------------------------------------------- */

static bool may_be_killed(unsigned t)
{
	const struct op *op = &world.thread[t].op;

	return scenario->thread[t] != NULL && op->kind != FINISHED && op->kind != START &&
	       (scenario->victims & 1u << t) != 0 && world.kills < scenario->kills;
}

/* The next thing that can happen in the state of f; false: no more. */
static bool next_step(struct frame *f)
{
	for (; f->thread < 2 * THREADS; f->thread++, f->choice = 0) {
		unsigned t = f->thread % THREADS;

		if (scenario->thread[t] == NULL)
			continue;
		if (f->thread >= THREADS ? f->choice == 0 && may_be_killed(t)
					 : f->choice < machine_choices(t))
			return true;
	}
	return false;
}

static void take_step(struct frame *f)
{
	unsigned t = f->thread % THREADS;

	f->did_thread = f->thread;
	f->did_choice = f->choice++;
	f->did = world.thread[t].op;
	if (f->did_thread >= THREADS) {
		world.thread[t].killed = true;
		memset(&world.thread[t].op, 0, sizeof(struct op));
		world.thread[t].op.kind = FINISHED;
		world.kills++;
		return;
	}
	machine_run(t, f->did_choice);
	f->did.result = world.thread[t].op.result;
	f->did.success = world.thread[t].op.success;
	if (world.thread[t].op.kind != ASLEEP)
		fiber_run(t);
}

/* Nobody can do anything any more. */
static void at_the_end(void)
{
	ends++;
	current = -1;
	save(&way[depth]);
	escape = &judging;
	if (setjmp(judging) == 0)
		scenario->judge();
	escape = &searching;
	restore(&way[depth]);
}

static void begin(void)
{
	memset(&world, 0, sizeof(world));
	current = -1;
	scenario->setup();
	machine_reset();
	for (unsigned t = 0; t < THREADS; t++)
		if (scenario->thread[t] != NULL) {
			fiber_make(t);
			world.thread[t].now.clock[t] = 1;
			fiber_run(t);
		}
}

/* Goes on until all is explored, something is wrong, or there is no room. */
static const char *search(void)
{
	escape = &searching;
	if (setjmp(searching) != 0)
		return "fails";
	begin();
	machine_tidy();
	visit();
	save(&way[0]);
	way[0].thread = way[0].choice = 0;
	for (depth = 0; !failed;) {
		struct frame *f = &way[depth];
		bool first = f->thread == 0 && f->choice == 0;

		if (!first)
			restore(f);
		if (!next_step(f)) {
			if (first && f->did_thread == 0)
				at_the_end();
			if (depth == 0)
				return "holds";
			depth--;
			continue;
		}
		take_step(f);
		if (failed)
			break;
		machine_tidy();
		if (!visit())
			continue;
		if (states >= states_max || depth + 2 >= DEPTH)
			return "unfinished";
		depth++;
		deepest = depth > deepest ? depth : deepest;
		way[depth].thread = way[depth].choice = 0;
		save(&way[depth]);
		/* Nothing can happen here: then this is an end. */
		if (!next_step(&way[depth]))
			at_the_end();
		way[depth].thread = way[depth].choice = 0;
	}
	return "fails";
}

/* ---- telling -------------------------------------------------------------------------------- */

static const char *const kind_names[] = {
	"starts",         "loads",  "stores",    "exchanges", "compares", "copies racily", "fences",
	"fences another", "sleeps", "is asleep", "wakes",     "starts",   "ends"};

static void tell_site(const void *site)
{
	char command[200], line[300] = "";
	FILE *p;

	snprintf(command, sizeof(command), "addr2line -s -p -f -e /proc/%d/exe 0x%llx", getpid(),
		 (unsigned long long)(uintptr_t)site - 1);
	p = popen(command, "r");
	if (p == NULL || fgets(line, sizeof(line), p) == NULL)
		snprintf(line, sizeof(line), "%p\n", site);
	if (p != NULL)
		pclose(p);
	fputs(line, stdout);
}

static void tell_way(void)
{
	for (unsigned d = 0; d <= depth; d++) {
		const struct frame *f = &way[d];

		printf("%4u %*sthread %u ", d, 4 * (f->did_thread % THREADS), "",
		       f->did_thread % THREADS);
		if (f->did_thread >= THREADS) {
			printf("is killed\n");
			continue;
		}
		printf("%s", kind_names[f->did.kind]);
		if (f->did.kind >= LOAD && f->did.kind <= RACY_LOAD)
			printf(" [%zu]", machine_offset(f->did.location));
		if (f->did.kind == STORE || f->did.kind == COMPARE)
			printf(" value %llx", (unsigned long long)f->did.value);
		if (f->did.kind != STORE && f->did.kind <= RACY_LOAD)
			printf(" sees %llx%s", (unsigned long long)f->did.result,
			       f->did.kind == COMPARE ? f->did.success ? ", done" : ", not" : "");
		printf("  ");
		if (f->did.site != NULL)
			tell_site(f->did.site);
		else
			printf("\n");
	}
}

static void on_fault(int signal)
{
	(void)signal;
	printf("a thread called something that is not there, or left its memory\n");
	tell_way();
	fflush(stdout);
	_exit(4);
}

int run_scenario(const struct scenario *s, bool tell)
{
	static unsigned char fault_stack[65536];
	struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
	const char *verdict;

	sigaltstack(&(stack_t){.ss_sp = fault_stack, .ss_size = sizeof(fault_stack)}, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	visited = mmap(NULL, TABLE * 8, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (visited == MAP_FAILED)
		return 2;
	scenario = s;
	verdict = search();
	if (failed)
		verdict = "fails";
	else if (ends == 0)
		verdict = "endless";
	printf("%-10s %10llu %6u %6u\n", verdict, (unsigned long long)states, deepest, ends);
	if (failed)
		printf("%s\n", failure);
	if (tell && strcmp(verdict, "holds") != 0)
		tell_way();
	return strcmp(verdict, "holds") == 0 ? 0 : 1;
}
