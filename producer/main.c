/* SPDX-License-Identifier: MIT */
/*
 * quoit-produce: standard input, or a generated load, into a ring. As short as it is because the
 * library does the work; what is here is mostly how to begin and how to end.
 */
#include "produce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum {
	OPT_CHUNK = OPT_PRIVATE,
	OPT_RATE,
	OPT_SEEK_COMMITTED,
	OPT_DRAIN,
	OPT_FAN_OUT,
};

static const struct option options[] = {
	COMMON_OPTIONS,
	{"chunk", required_argument, NULL, OPT_CHUNK},
	{"generate", required_argument, NULL, 'g'},
	{"size", required_argument, NULL, 's'},
	{"rate", required_argument, NULL, OPT_RATE},
	{"verify", no_argument, NULL, OPT_VERIFY},
	{"seek-committed", no_argument, NULL, OPT_SEEK_COMMITTED},
	{"drain", required_argument, NULL, OPT_DRAIN},
	{"fan-out", required_argument, NULL, OPT_FAN_OUT},
	{0},
};

static _Noreturn void help(void)
{
	fputs("Usage: quoit-produce [OPTION]... [RING]\n"
	      "       quoit-produce --fan-out WAY [OPTION]... RING...\n"
	      "Send standard input, or made-up records, through a ring ($QUOIT_RING by default).\n"
	      "\n"
	      "Standard input is taken as a stream of bytes, or as\n"
	      "  -l, --lines            a record a line, without its end\n"
	      "      --length-prefixed  records behind their lengths (32 bits, little-endian)\n"
	      "      --fixed SIZE       records of SIZE bytes; the last may be shorter\n"
	      "      --chunk SIZE       bytes: most of one read, default 64K\n"
	      "or replaced by\n"
	      "  -g, --generate N       N made-up records, 0: without end\n"
	      "  -s, --size SIZE[-MAX]  of so many bytes, default 64; mixed sizes up to MAX\n"
	      "      --verify           with checksums, for quoit-consume --verify\n"
	      "      --latency          with the time, for quoit-consume --latency\n"
	      "\n"
	      "  -n, --count N          stop after N records\n"
	      "      --rate RATE        records a second, on a schedule that does not wait for us\n"
	      "      --batch N          records of one call, 1 to 256\n"
	      "  -T, --type N           their type, default 0\n"
	      "      --seek-committed   go on where a killed producer of the same input stopped\n"
	      "      --fan-out WAY      to several rings: round-robin, to the next that has room;\n"
	      "                         copy, to all; or hash, equal records to the same ring\n"
	      "      --drain SEC        wait so long for consumers on SIGTERM, default 5\n",
	      stdout);
	print_common_help();
	exit(STATUS_OK);
}

static void parse_sizes(struct job *j, char *text)
{
	char *dash = strchr(text, '-');

	if (dash != NULL)
		*dash = '\0';
	j->size_min = (uint32_t)parse_size("size", text, 0, QUOIT_RECORD_MAX);
	j->size_max = j->size_min;
	if (dash != NULL)
		j->size_max = (uint32_t)parse_size("size", dash + 1, j->size_min, QUOIT_RECORD_MAX);
}

static enum fan_out parse_fan_out(const char *text)
{
	static const char *const names[] = {
		[FAN_ROUND_ROBIN] = "round-robin", [FAN_COPY] = "copy", [FAN_HASH] = "hash"};

	for (unsigned i = FAN_ROUND_ROBIN; i <= FAN_HASH; i++)
		if (strcmp(text, names[i]) == 0)
			return (enum fan_out)i;
	usage_error("--fan-out: '%s' is none of round-robin, copy, hash", text);
}

static void check(const struct job *j, bool sized, uint64_t records)
{
	if (!j->generate && (sized || j->s.verify || j->s.latency))
		usage_error(
			"--size, --verify and --latency are about --generate; for the ring's size "
			"see --ring-size");
	if (j->generate && (j->seek_committed || j->s.framing != FRAMING_RAW || j->chunk != 0))
		usage_error("--generate does not read standard input");
	if (j->chunk != 0 && j->s.framing != FRAMING_RAW)
		usage_error("--chunk is about streams of bytes");
	if ((j->s.verify || j->s.latency) && j->size_min < sizeof(struct stamp))
		usage_error("--verify and --latency need a --size of %zu or more",
			    sizeof(struct stamp));
	if (j->s.more_n != 0 && j->fan_out == FAN_NONE)
		usage_error("several rings need --fan-out: '%s' is too much", j->s.more[0]);
	if (j->fan_out == FAN_ROUND_ROBIN && j->s.wait != 0)
		usage_error("--wait is about one ring; those of --fan-out round-robin are waited "
			    "for together");
	if (j->fan_out != FAN_NONE && j->seek_committed)
		usage_error("--seek-committed is about one ring");
	if (j->generate && records != 0 && j->s.count != UINT64_MAX)
		usage_error("--generate says how many; leave --count out");
}

static void parse(struct job *j, int argc, char **argv)
{
	bool sized = false;
	uint64_t records = 0;
	int option;

	*j = (struct job){.size_min = 64, .size_max = 64, .drain_ns = INT64_C(5000000000)};
	settings_init(&j->s);
	while ((option = getopt_long(argc, argv, COMMON_SHORT "g:s:", options, NULL)) != -1) {
		switch (option) {
		case OPT_HELP:
			help();
		case 'g':
			j->generate = true;
			records = parse_number("generate", optarg, 0, UINT64_MAX);
			break;
		case 's':
			sized = true;
			parse_sizes(j, optarg);
			break;
		case OPT_CHUNK:
			j->chunk = (uint32_t)parse_size("chunk", optarg, 1, QUOIT_RECORD_MAX);
			break;
		case OPT_RATE:
			j->rate = parse_real("rate", optarg, 1e-3, 1e9);
			break;
		case OPT_VERIFY:
			j->s.verify = true;
			break;
		case OPT_SEEK_COMMITTED:
			j->seek_committed = true;
			break;
		case OPT_DRAIN:
			j->drain_ns = (int64_t)(parse_real("drain", optarg, 0, 1e9) * 1e9);
			break;
		case OPT_FAN_OUT:
			j->fan_out = parse_fan_out(optarg);
			break;
		default:
			if (!common_option(&j->s, option, optarg))
				option_error(option, argv);
		}
	}
	settings_finish(&j->s, argc, argv);
	check(j, sized, records);
	if (records != 0)
		j->s.count = records;
}

/* Become the ring's producer. A predecessor that was just killed may take a moment to be gone. */
int open_producer(struct job *j)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int64_t give_up = now_ns() + 1000000000;
	int rc;

	if (j->seek_committed)
		give_up = deadline_after(j->s.timeout_ns);
	for (;;) {
		rc = quoit_producer_open(j->ring, &j->producer);
		if (stop_signal != 0)
			return -EINTR;
		if (rc != -EBUSY || now_ns() >= give_up)
			break;
		nanosleep(&pause, NULL);
	}
	if (rc == 0 && j->s.wait != 0)
		rc = quoit_producer_set_wait(j->producer, (enum quoit_wait)j->s.wait);
	if (rc == 0)
		rc = quoit_get_info(j->ring, &j->info);
	return rc;
}

int produce(struct job *j)
{
	int rc = 0;

	if (j->generate && j->size_max > j->info.max_record) {
		say("%s: takes records of at most %u bytes; make --size smaller", j->info.name,
		    j->info.max_record);
		return -ECANCELED;
	}
	if (j->seek_committed)
		rc = seek_committed(j);
	if (rc != 0)
		return rc;
	if (j->generate)
		return produce_generated(j);
	return j->s.framing == FRAMING_RAW ? produce_raw(j) : produce_frames(j);
}

/* Wait until everything is taken, at most until `until`. 0, or why not. */
static int drain(struct job *j, int64_t until)
{
	struct timespec slice;
	int rc;

	for (;;) {
		slice = quoit_deadline_ms(SLICE_MS);
		rc = quoit_drain(j->producer, &slice);
		report_tick(&j->report);
		if (rc != -EINTR && rc != -ETIMEDOUT)
			return rc;
		if (stop_hard)
			return -EINTR;
		if (stop_signal != 0 && until > put_drain_until(j))
			until = put_drain_until(j);
		if (now_ns() >= until)
			return -ETIMEDOUT;
	}
}

static uint64_t taken(const struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	return quoit_get_stats(j->ring, &stats) == 0 ? stats.consumed.records : 0;
}

/* The same, for as long as somebody takes something: --timeout is about standstill. */
static int drain_patiently(struct job *j)
{
	uint64_t before;
	int rc;

	do {
		before = taken(j);
		rc = drain(j, deadline_after(j->s.timeout_ns));
	} while (rc == -ETIMEDOUT && taken(j) != before);
	return rc;
}

/* Nobody may lose the end of the stream to --remove: wait until the consumers have left. */
static void await_consumers(struct job *j)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct quoit_stats stats = {.size = sizeof(stats)};
	int64_t give_up = deadline_after(j->s.timeout_ns);

	while (quoit_get_stats(j->ring, &stats) == 0 && stats.consumers != 0 && stop_signal == 0 &&
	       now_ns() < give_up)
		nanosleep(&pause, NULL);
}

int judge(const struct job *j, int rc)
{
	switch (rc) {
	case 0:
		return STATUS_OK;
	case -EINTR:
		return STATUS_SIGNAL + stop_signal;
	case -ECANCELED:
		return STATUS_FAILURE;
	case -EPIPE:
		if (!j->s.quiet)
			say("%s: the consumer has closed; stopped after %llu records", j->info.name,
			    (unsigned long long)j->report.records);
		return STATUS_SIGNAL + SIGPIPE;
	case -EOWNERDEAD:
		say("%s: the consumer died; %llu records were sent, some not taken; start another "
		    "consumer, and use --resume to wait for one",
		    j->info.name, (unsigned long long)j->report.records);
		return STATUS_PEER_DIED;
	case -ETIMEDOUT:
		say("%s: nobody took a record for %g s; see 'quoit peers %s'", j->info.name,
		    (double)j->s.timeout_ns / 1e9, j->info.name);
		return STATUS_TIMEOUT;
	}
	return ring_error(j->info.name, "send", rc);
}

static int run(struct job *j)
{
	struct quoit_counters counters;
	int rc, status, drained = 0;

	rc = open_producer(j);
	if (rc != 0 && j->created) {
		take_back(j->ring);
		j->ring = NULL;
	}
	if (rc == -EINTR && stop_signal != 0)
		return STATUS_SIGNAL + stop_signal;
	if (rc != 0)
		return ring_error(j->s.ring, "become its producer", rc);
	report_init(&j->report, &j->s, j->ring);
	rc = produce(j);
	report_stop(&j->report);
	if (rc == -EINTR && stop_signal == SIGTERM)
		drained = drain(j, put_drain_until(j));
	else if (rc == 0 && j->s.remove)
		rc = drained = drain_patiently(j);
	status = judge(j, rc);
	if (drained != 0 && !j->s.quiet)
		say("%s: not everything was taken: %s", j->info.name, quoit_strerror(drained));
	quoit_producer_counters(j->producer, &counters);
	quoit_producer_close(j->producer);
	rc = report_finish(&j->report, &counters, status, NULL);
	if (status == STATUS_OK)
		status = rc;
	if (j->s.remove && status == STATUS_OK)
		await_consumers(j);
	/* Not after a timeout or a death: somebody may want what is in it. */
	if (j->s.remove && (status == STATUS_OK || status >= STATUS_SIGNAL))
		rc = remove_ring(j->ring);
	return status == STATUS_OK ? rc : status;
}

int main(int argc, char **argv)
{
	struct job j;
	int status;

	begin("quoit-produce");
	parse(&j, argc, argv);
	j.info.size = sizeof(j.info);
	/* Sleeps of --rate end when they should, not up to 50 us later. */
	prctl(PR_SET_TIMERSLACK, 1UL);
	catch_signals();
	if (j.fan_out != FAN_NONE) {
		status = run_fan(&j);
	} else {
		status = open_ring(&j.s, &j.ring, &j.created);
		if (status == STATUS_OK) {
			status = run(&j);
			quoit_detach(j.ring);
		}
	}
	leave(status);
}
