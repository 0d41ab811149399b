/* SPDX-License-Identifier: MIT */
/*
 * The soak: producers and consumers, each a process, all at work on one ring, while every few
 * milliseconds one of them, drawn by chance, is killed, or stopped for a while. What the ledger of
 * soak.h knows of each record and each death must hold, now and at the end:
 *   - every record whose commit returned is delivered, but for what a killed receiver had copied;
 *   - nothing comes that was not sent, nothing torn, and nothing twice but what a reader held when
 *     it was killed; a loan does not change under its reader; one producer's records come in order;
 *   - a stopped process is never taken for dead, and every death is counted once;
 *   - as long as a producer and a consumer run, records flow;
 *   - no end of stream and no broken pipe while somebody is there;
 *   - in the end the whole capacity can be used, and the checker finds nothing.
 * --sabotage plants a fault of each kind, to see it noticed.
 */
#include <getopt.h>
#include <sys/time.h>

#include "crash/soak_reckon.h"

#define SEND_RATE  4000u /* numbers for so many records of one producer each millisecond */
#define RUN_MS_MAX 7200000u
#define MPMC_SLOTS 128u /* more than all can hold at one time */
#define SPSC_BYTES 16384u

static const struct fault {
	const char *name;
	enum sabotage what;
	const char *verdict;
	bool mpmc; /* only there */
} faults[] = {
	{"lose", LOSE, "a committed record was lost", false},
	{"twice", TWICE, "a record came twice", false},
	{"invent", INVENT, "an invented record", false},
	{"tear", TEAR, "a torn record", false},
	{"swap", SWAP, "records out of order", false},
	{"loan", LOAN, "a record changed under its reader", false},
	{"end", END, "the stream ended before its time", false},
	{"hang", HANG, "no progress", false},
	{"miscount", MISCOUNT, "more deaths counted than died", false},
	{"reap", REAP, "a stopped process was taken for dead", false},
	{"leak", LEAK, "capacity is lost", true},
	{"damage", DAMAGE, "the check finds problems", false},
};

static bool all_faults;
static volatile sig_atomic_t supervisor, interrupted, asked, ticks_left;

/* ---- one ring, in a process of its own ------------------------------------------------------ */

/* So that the end of all positions is passed after some of the time. */
static uint64_t near_wrap(uint64_t size)
{
	/* A ring of 128 slots has turns of 48 bits. */
	uint64_t end = options.kind == QUOIT_SPSC ? 0 : size << 48;
	uint64_t unit = options.kind == QUOIT_SPSC ? 64 : 1;

	return end - (1 + below(200000)) * unit;
}

static void make_ring(void)
{
	struct quoit_options opt = test_options(options.kind);
	uint64_t size = options.size;

	if (options.kind == QUOIT_MPMC) {
		size = size != 0 ? size : MPMC_SLOTS;
		opt.slot_size = LEN_MAX;
		opt.capacity = size * (LEN_MAX + 16);
		opt.peers = 4 * PEERS_MAX;
	} else {
		size = size != 0 ? size : SPSC_BYTES;
		opt.capacity = size;
	}
	opt.start = options.wrap ? near_wrap(size) : options.start;
	test_ring_make(&books.ring, options.backend, &opt);
	snprintf(verdict->ring, sizeof(verdict->ring), "%s", books.ring.made);
	MUST(quoit_inspect_open(books.ring.name, NULL, NULL, &books.view) == 0);
}

/* In the supervisor: told to stop, for it takes too long. */
static void on_hang(int number)
{
	(void)number;
	describe();
	fail("not done in time: ms run, records", tally->run_ns / MS, (long long)taken_so_far());
}

static int supervise(void *arg)
{
	const uint32_t *ms = arg;

	(void)setpgid(0, 0); /* with its peers a group: see run_ring() */
	signal(SIGTERM, on_hang);
	signal(SIGINT, SIG_IGN);
	books.seed = options.seed + tally->rings;
	numbers = *ms * (uint64_t)SEND_RATE + 1000;
	numbers = numbers < UINT32_MAX ? numbers : UINT32_MAX; /* see entry() */
	ledger = test_shared(sizeof(*ledger));
	entries = test_shared(numbers * options.side[0]);
	ledger->salt = test_random(&books.seed);
	make_ring();
	disturb(*ms);
	end_the_stream();
	reckon();
	quoit_inspect_close(books.view);
	test_ring_drop(&books.ring);
	verdict->ring[0] = '\0';
	tally->rings++;
	return 0;
}

/* In the first process. Ask first, then kill; the children of whoever is killed go with it. */
static void on_signal(int number)
{
	if (number == SIGALRM && --ticks_left > 0)
		return;
	if (number != SIGALRM)
		interrupted = number;
	if (supervisor == 0)
		_exit(128 + number);
	kill((pid_t)supervisor, asked ? SIGKILL : SIGTERM);
	asked = 1;
	ticks_left = 5;
}

/* One tick a second, and not one alarm at the end: while we stand still ourselves, with everybody
 * else on a machine that is stopped, no more than one of them gathers. */
static void tick(int seconds)
{
	const struct itimerval every = {{seconds != 0, 0}, {seconds != 0, 0}};

	ticks_left = seconds;
	MUST(setitimer(ITIMER_REAL, &every, NULL) == 0);
}

/* Half-way, everybody stands still for a while, the first process as well; as on a machine that is
 * stopped. Those that had been stopped before go on a little early. */
static int freeze(void *arg)
{
	const uint32_t *ms = arg;

	test_sleep_ms(*ms / 2);
	MUST(kill(getppid(), SIGSTOP) == 0);
	(void)kill(-(pid_t)supervisor, SIGSTOP); /* may be gone */
	test_sleep_ms(options.freeze_ms);
	(void)kill(-(pid_t)supervisor, SIGCONT);
	MUST(kill(getppid(), SIGCONT) == 0);
	return 0;
}

/* True if all was as it must be. */
static bool run_ring(uint32_t ms)
{
	int code;

	memset(verdict, 0, sizeof(*verdict));
	asked = 0;
	supervisor = test_spawn(supervise, &ms);
	tick((int)(ms / 1000 + options.grace_s));
	if (options.freeze_ms != 0)
		MUST(test_wait(test_spawn(freeze, &ms)) == 0);
	code = test_wait((pid_t)supervisor);
	tick(0);
	/* One that was stopped before it could tie its life to its parent's would stay. */
	(void)kill(-(pid_t)supervisor, SIGKILL);
	supervisor = 0;
	if (code == 0)
		return true;
	if (atomic_load(&verdict->failed) == 0)
		snprintf(verdict->why, sizeof(verdict->why),
			 code == 128 + SIGKILL ? "hangs" : "the supervisor failed");
	if (verdict->ring[0] != '\0' && strncmp(verdict->ring, "memfd:", 6) != 0 &&
	    quoit_remove(verdict->ring) != 0)
		fprintf(stderr, "soak: cannot remove %s\n", verdict->ring);
	if (interrupted != 0) {
		fprintf(stderr, "soak: interrupted: %s\n", verdict->why);
		exit(128 + interrupted);
	}
	return false;
}

/* ---- the report ----------------------------------------------------------------------------- */

/* The figures, one line each: X(name in JSON, what, format, value). */
#define FIGURES(X)                                                                                 \
	X("seconds", "seconds", "%.0f", (double)tally->run_ns / 1e9)                               \
	X("rings", "rings, one after the other", "%.0f", (double)tally->rings)                     \
	X("records", "records received", "%.0f", (double)tally->records)                           \
	X("producers_killed", "producers killed", "%.0f", (double)tally->kills[0])                 \
	X("consumers_killed", "consumers killed", "%.0f", (double)tally->kills[1])                 \
	X("killed_stopped", "of these while stopped", "%.0f", (double)tally->killed_stopped)       \
	X("stopped", "processes stopped and continued", "%.0f", (double)tally->stops)              \
	X("stopped_long", "of these for over a second", "%.0f", (double)tally->long_stops)         \
	X("left", "processes that left by themselves", "%.0f", (double)tally->left)                \
	X("deaths", "deaths counted by the ring", "%.0f", (double)tally->ring_deaths)              \
	X("told_consumers", "deaths told to consumers", "%.0f", (double)tally->told[1])            \
	X("told_producers", "deaths told to producers", "%.0f", (double)tally->told[0])            \
	X("ends", "ends and broken pipes in mid-stream", "%.0f", (double)tally->ends)              \
	X("again", "records that came again", "%.0f", (double)tally->again)                        \
	X("redelivered", "given back, by the ring's count", "%.0f",                                \
	  (double)tally->ring_redelivered)                                                         \
	X("late", "records that came late", "%.0f", (double)tally->late)                           \
	X("missing", "not committed, or with a dead receiver", "%.0f", (double)tally->missing)     \
	X("voided", "slots stepped over", "%.0f", (double)tally->voided)                           \
	X("republished", "records with a new place", "%.0f", (double)tally->republished)           \
	X("busy", "openings tried again", "%.0f", (double)tally->busy)                             \
	X("worst_gap_ms", "longest standstill, ms", "%.1f", (double)tally->worst_gap_ns / 1e6)

static void report(void)
{
	if (options.json) {
		printf("{\"kind\": \"%s\", \"backend\": \"%s\", \"producers\": %u, "
		       "\"consumers\": %u, \"seed\": %llu",
		       quoit_kind_name(options.kind), quoit_backend_name(options.backend),
		       options.side[0], options.side[1], (unsigned long long)options.seed);
#define FIGURE(name, what, format, value) printf(", \"" name "\": " format, value);
		FIGURES(FIGURE)
#undef FIGURE
		printf("}\n");
		return;
	}
#define FIGURE(name, what, format, value) printf("%-44s" format "\n", what, value);
	FIGURES(FIGURE)
#undef FIGURE
	printf("soak %s %s %uP%uC: ok\n", quoit_kind_name(options.kind),
	       quoit_backend_name(options.backend), options.side[0], options.side[1]);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static int soak(void)
{
	uint32_t left = options.run_ms, each = options.renew_ms != 0 ? options.renew_ms : left;

	for (; left != 0; left -= each) {
		each = each < left ? each : left;
		if (run_ring(each))
			continue;
		fprintf(stderr, "soak: %s: %s %s %uP%uC, seed %llu, ring %llu\n", verdict->why,
			quoit_kind_name(options.kind), quoit_backend_name(options.backend),
			options.side[0], options.side[1], (unsigned long long)options.seed,
			(unsigned long long)tally->rings);
		return 1;
	}
	report();
	return 0;
}

/* Each fault is to be found, and found to be what it is. */
static int soak_faults(void)
{
	int missed = 0;

	options.quiet = true;
	for (unsigned i = 0; i < TEST_COUNT(faults); i++) {
		bool good;

		if (!all_faults && faults[i].what != options.sabotage)
			continue;
		if (faults[i].mpmc && options.kind != QUOIT_MPMC)
			continue;
		options.sabotage = faults[i].what;
		/* The event that the fault spoils may not come up in a short run. */
		good = true;
		for (uint32_t times = 1; times <= 8 && good; times *= 2)
			good = run_ring(options.run_ms * times);
		if (good ||
		    strncmp(verdict->why, faults[i].verdict, strlen(faults[i].verdict)) != 0)
			missed++;
		printf("%-8s %s\n", faults[i].name, good ? "not noticed" : verdict->why);
		if (!all_faults)
			break;
	}
	if (missed != 0)
		fprintf(stderr, "soak: %d faults not noticed, or mistaken: %s %s, seed %llu\n",
			missed, quoit_kind_name(options.kind), quoit_backend_name(options.backend),
			(unsigned long long)options.seed);
	return missed != 0;
}

_Noreturn static void usage(void)
{
	fprintf(stderr,
		"usage: [--kind spsc|mpmc] [--backend shm|sysv|file|memfd] [--wait WAIT]\n"
		"  [--producers N] [--consumers N] [--seconds S] [--renew S] [--size BYTES|SLOTS]\n"
		"  [--kill-every MS] [--stop-share PERCENT] [--stall MS] [--start N|wrap]\n"
		"  [--grace S] [--freeze MS] [--seed N] [--sabotage NAME|all] [--json] "
		"[--quiet]\n");
	exit(64);
}

static enum sabotage fault_from_name(const char *name)
{
	all_faults = strcmp(name, "all") == 0;
	for (unsigned i = 0; i < TEST_COUNT(faults); i++)
		if (all_faults || strcmp(name, faults[i].name) == 0)
			return faults[i].what;
	usage();
}

static void set_option(int c)
{
	uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;

	switch (c) {
	case 'k':
		options.kind = (enum quoit_kind)quoit_kind_from_name(optarg);
		break;
	case 'b':
		options.backend = test_backend_from_name(optarg);
		break;
	case 'w':
		options.wait = (enum quoit_wait)quoit_wait_from_name(optarg);
		break;
	case 'P':
	case 'C':
		options.side[c == 'P' ? 0 : 1] = (unsigned)number;
		break;
	case 's':
		options.run_ms = (uint32_t)(strtod(optarg, NULL) * 1000);
		break;
	case 'n':
		options.renew_ms = (uint32_t)(strtod(optarg, NULL) * 1000);
		break;
	case 'z':
		options.size = number;
		break;
	case 'e':
		options.kill_ms = strtod(optarg, NULL);
		break;
	case 'p':
		options.stop_percent = (unsigned)number;
		break;
	case 't':
		options.stall_ms = (unsigned)number;
		break;
	case 'g':
		options.grace_s = (unsigned)number;
		break;
	case 'f':
		options.freeze_ms = (unsigned)number;
		break;
	case 'a':
		options.wrap = strcmp(optarg, "wrap") == 0;
		options.start = number;
		break;
	case 'r':
		options.seed = number;
		break;
	case 'x':
		options.sabotage = fault_from_name(optarg);
		break;
	case 'j':
		options.json = options.quiet = true;
		break;
	case 'q':
		options.quiet = true;
		break;
	default:
		usage();
	}
}

static void check_options(void)
{
	for (unsigned side = 0; side < 2; side++) {
		if (options.side[side] == 0)
			options.side[side] = options.kind == QUOIT_SPSC ? 1 : 3;
		if (options.side[side] > SIDE_MAX ||
		    (options.kind == QUOIT_SPSC && options.side[side] != 1))
			usage();
	}
	if ((int)options.kind < 0 || (int)options.wait < 0 || options.backend == 0 ||
	    options.run_ms < 1 || options.run_ms > RUN_MS_MAX || options.grace_s < 1 ||
	    options.grace_s > RUN_MS_MAX / 1000 || options.freeze_ms > RUN_MS_MAX ||
	    options.stop_percent > 100 || (options.size & (options.size - 1)) != 0 ||
	    (options.wait != 0 && !test_can_wait(options.backend, options.wait)))
		usage();
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"kind", 1, NULL, 'k'},
					      {"backend", 1, NULL, 'b'},
					      {"wait", 1, NULL, 'w'},
					      {"producers", 1, NULL, 'P'},
					      {"consumers", 1, NULL, 'C'},
					      {"seconds", 1, NULL, 's'},
					      {"renew", 1, NULL, 'n'},
					      {"size", 1, NULL, 'z'},
					      {"kill-every", 1, NULL, 'e'},
					      {"stop-share", 1, NULL, 'p'},
					      {"stall", 1, NULL, 't'},
					      {"grace", 1, NULL, 'g'},
					      {"freeze", 1, NULL, 'f'},
					      {"start", 1, NULL, 'a'},
					      {"seed", 1, NULL, 'r'},
					      {"sabotage", 1, NULL, 'x'},
					      {"json", 0, NULL, 'j'},
					      {"quiet", 0, NULL, 'q'},
					      {NULL, 0, NULL, 0}};
	int c;

	options.seed = test_random_seed();
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		set_option(c);
	if (optind != argc)
		usage();
	check_options();
	setvbuf(stdout, NULL, _IOLBF, 0);
	verdict = test_shared(sizeof(*verdict));
	tally = test_shared(sizeof(*tally));
	signal(SIGALRM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	return options.sabotage != NONE ? soak_faults() : soak();
}
