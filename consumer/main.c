/* SPDX-License-Identifier: MIT */
/*
 * quoit-consume: a ring to standard output, or to a check of what comes. The loop is consume(); the
 * rest is how to begin and how to end.
 */
#include "consume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	OPT_DISCARD = OPT_PRIVATE,
	OPT_SHOW_TYPES,
};

static const struct option options[] = {
	COMMON_OPTIONS,
	{"verify", optional_argument, NULL, OPT_VERIFY},
	{"discard", no_argument, NULL, OPT_DISCARD},
	{"show-types", no_argument, NULL, OPT_SHOW_TYPES},
	{0},
};

static _Noreturn void help(void)
{
	fputs("Usage: quoit-consume [OPTION]... [RING]...\n"
	      "Write what comes through a ring ($QUOIT_RING by default) to standard output.\n"
	      "Of several rings each one's records stay in order, and the rings take turns; it "
	      "ends\n"
	      "when all of them have ended.\n"
	      "\n"
	      "Records are written one behind the other, or\n"
	      "  -l, --lines            each with a line end\n"
	      "      --show-types         and before it its type and a tab\n"
	      "      --length-prefixed  behind their lengths (32 bits, little-endian)\n"
	      "      --fixed SIZE       one behind the other, of SIZE bytes at most\n"
	      "or not at all:\n"
	      "      --discard          take them and throw them away\n"
	      "      --verify[=order]   check what quoit-produce --generate --verify made: each\n"
	      "                         whole, in order, once; a mismatch is exit code 6. order:\n"
	      "                         gaps are allowed, other consumers take records as well\n"
	      "      --latency          percentiles of the time since they were due\n"
	      "\n"
	      "  -n, --count N          stop after N records\n"
	      "  -T, --type N           write only those of type N; drop others\n"
	      "      --batch N          records taken in one call, 1 to 256\n",
	      stdout);
	print_common_help();
	exit(STATUS_OK);
}

static void parse(struct job *j, int argc, char **argv)
{
	int option;

	*j = (struct job){0};
	settings_init(&j->s);
	while ((option = getopt_long(argc, argv, COMMON_SHORT, options, NULL)) != -1) {
		switch (option) {
		case OPT_HELP:
			help();
		case OPT_VERIFY:
			if (optarg != NULL && strcmp(optarg, "order") != 0)
				usage_error("--verify: '%s' is not order", optarg);
			j->s.verify = j->discard = true;
			j->order_only = optarg != NULL;
			break;
		case OPT_DISCARD:
			j->discard = true;
			break;
		case OPT_SHOW_TYPES:
			j->show_types = true;
			break;
		default:
			if (!common_option(&j->s, option, optarg))
				option_error(option, argv);
		}
	}
	j->discard |= j->s.latency;
	settings_finish(&j->s, argc, argv);
	if (j->show_types && j->s.framing != FRAMING_LINES)
		usage_error("--show-types needs --lines");
	if (j->discard && j->s.framing != FRAMING_RAW)
		usage_error("--discard, --verify and --latency write nothing: leave --lines, "
			    "--length-prefixed and --fixed out");
	if (j->s.more_n != 0 && j->s.wait != 0)
		usage_error("--wait is about one ring; several are waited for together");
	if (j->discard && j->s.type_given)
		usage_error("--type is about what is written");
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void go_on(struct job *j)
{
	j->orphaned = false;
	if (!j->s.quiet)
		say("%s: another producer goes on", j->info.name);
}

static void look_for_successor(struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	if (j->orphaned && quoit_get_stats(j->ring, &stats) == 0 && stats.producers != 0)
		go_on(j);
}

static int await_record(struct job *j)
{
	int64_t give_up = deadline_after(j->s.timeout_ns);
	struct timespec slice;
	int rc;

	for (;;) {
		if (stop_signal != 0)
			return -EINTR;
		slice = quoit_deadline_ms(SLICE_MS);
		rc = quoit_consumer_wait(j->consumer, &slice);
		report_tick(&j->report);
		look_for_successor(j);
		if (rc != -EINTR && rc != -ETIMEDOUT)
			return rc;
		if (now_ns() >= give_up)
			return -ETIMEDOUT;
	}
}

/* What to do when peek has no record: 0 look again, else stop. */
static int trouble(struct job *j, int error)
{
	if (error == -EAGAIN)
		error = await_record(j); /* may tell of a death as well */
	if (error == 0)
		return 0;
	if (error == -EINTR)
		return stop_signal != 0 ? -EINTR : 0;
	if (error != -EOWNERDEAD || !j->s.resume)
		return error;
	if (!j->s.quiet)
		say("%s: the producer died after %llu records; waiting for its successor",
		    j->info.name, (unsigned long long)j->report.records);
	j->orphaned = true;
	return 0;
}

/* ---- records -------------------------------------------------------------------------------- */

static int check_fixed(const struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (msgs[i].len > j->s.fixed) {
			say("%s: a record of %u bytes, not %u", j->info.name, msgs[i].len,
			    j->s.fixed);
			return -ECANCELED;
		}
	}
	return 0;
}

static int examine(struct job *j, const struct quoit_msg *msg)
{
	struct stamp stamp = {0};

	if (j->report.latency != NULL) {
		if (msg->len >= sizeof(stamp))
			memcpy(&stamp, msg->data, sizeof(stamp));
		if ((stamp.magic & ~STAMP_SUM) == STAMP_MAGIC && stamp.due_ns != 0) {
			int64_t late = now_ns() - (int64_t)stamp.due_ns;

			histogram_add(j->report.latency, late > 0 ? (uint64_t)late : 0);
		} else {
			j->foreign++;
		}
	}
	return j->verifier != NULL ? verify_record(j->verifier, msg) : 0;
}

static int discard_records(struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	uint64_t bytes = 0;
	int rc;

	for (unsigned i = 0; i < n; i++) {
		rc = examine(j, &msgs[i]);
		if (rc != 0)
			return rc;
		bytes += msgs[i].len;
	}
	report_add(&j->report, n, bytes);
	rc = quoit_advance_batch(j->consumer, msgs, n);
	report_tick(&j->report);
	return rc < 0 ? rc : 0;
}

unsigned batch_now(const struct job *j, unsigned most)
{
	uint64_t n = j->left < j->backlog ? j->left : j->backlog;

	return n < most ? (unsigned)n : most;
}

int take_records(struct job *j, const struct quoit_msg *msgs, unsigned n)
{
	uint64_t skipped = j->skipped;
	int rc = j->s.framing == FRAMING_FIXED ? check_fixed(j, msgs, n) : 0;

	if (rc == 0)
		rc = j->discard ? discard_records(j, msgs, n) : write_records(j, msgs, n);
	if (rc != 0)
		return rc;
	/* --count is about what is written: not what --type drops. */
	j->left -= n - (j->skipped - skipped);
	if (j->stopping)
		j->backlog -= n;
	return 0;
}

/* Records of one peek: an MPMC ring lends them out, so others must have some too. */
unsigned batch_most(const struct job *j)
{
	uint64_t most = QUOIT_BATCH_MAX;

	if (j->s.batch != 0)
		return j->s.batch;
	if (j->info.kind == QUOIT_MPMC) {
		most = write_most(&j->info) / j->info.slot_size;
		if (most > j->info.slots / 4)
			most = j->info.slots / 4;
		if (most > 64)
			most = 64;
	}
	return most != 0 ? (unsigned)most : 1;
}

/* SIGTERM: what is in the ring now is still taken, not what a busy producer goes on putting there.
 */
static void begin_stop(struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};

	j->stopping = true;
	if (quoit_get_stats(j->ring, &stats) == 0 &&
	    stats.produced.records > stats.consumed.records)
		j->backlog = stats.produced.records - stats.consumed.records;
}

static int consume(struct job *j)
{
	struct quoit_msg msgs[QUOIT_BATCH_MAX];
	unsigned most = batch_most(j);
	int n, rc = 0;

	j->left = j->s.count;
	j->backlog = UINT64_MAX;
	while (rc == 0 && !stop_hard) {
		if (stop_signal != 0 && !j->stopping)
			begin_stop(j);
		if (j->left == 0 || j->backlog == 0)
			return j->stopping ? -EINTR : 0;
		n = quoit_peek_batch(j->consumer, msgs, batch_now(j, most));
		if (n == 0)
			return 0;
		if (n < 0) {
			rc = j->stopping && n == -EAGAIN ? -EINTR : trouble(j, n);
			continue;
		}
		if (j->orphaned) /* came and sent before we looked for it */
			go_on(j);
		rc = take_records(j, msgs, (unsigned)n);
	}
	return rc != 0 ? rc : -EINTR;
}

/* ---- beginning and ending ------------------------------------------------------------------- */

int try_consumer(struct job *j)
{
	int rc = quoit_consumer_open(j->ring, &j->consumer);

	if (rc != 0)
		return rc;
	if (j->s.wait != 0)
		rc = quoit_consumer_set_wait(j->consumer, (enum quoit_wait)j->s.wait);
	if (rc == 0)
		rc = quoit_get_info(j->ring, &j->info);
	if (rc != 0) {
		quoit_consumer_close(j->consumer);
		j->consumer = NULL;
	}
	return rc;
}

/* A predecessor that was just killed may take a moment to be gone. */
static int open_consumer(struct job *j)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	int64_t give_up = now_ns() + 1000000000;
	int rc;

	while ((rc = try_consumer(j)) == -EBUSY) {
		if (stop_signal != 0)
			return -EINTR;
		if (now_ns() >= give_up)
			break;
		nanosleep(&pause, NULL);
	}
	return rc;
}

int prepare(struct job *j, bool from_start)
{
	report_init(&j->report, &j->s, j->ring);
	if (j->s.verify) {
		j->verifier = verifier_new(from_start, j->order_only);
		if (j->verifier == NULL)
			return -ENOMEM;
	}
	if (j->s.latency) {
		j->report.latency = histogram_new();
		if (j->report.latency == NULL)
			return -ENOMEM;
	}
	return 0;
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
		return STATUS_SIGNAL + SIGPIPE;
	case -EOWNERDEAD:
		say("%s: the producer died before the end of its stream; %llu records were taken; "
		    "start another producer, and use --resume to wait for one",
		    j->info.name, (unsigned long long)j->report.records);
		return STATUS_PEER_DIED;
	case -ETIMEDOUT:
		say("%s: empty, and nobody sent a record for %g s; see 'quoit peers %s'",
		    j->info.name, (double)j->s.timeout_ns / 1e9, j->info.name);
		return STATUS_TIMEOUT;
	}
	return ring_error(j->info.name, "receive", rc);
}

int verdict(const struct job *j, int status, json_t *ret_json)
{
	if (j->report.latency != NULL)
		json_object_set_new(ret_json, "without_time", json_integer((json_int_t)j->foreign));
	if (j->report.latency != NULL && j->foreign != 0 && !j->s.json)
		say("%s: %llu records carry no time; start quoit-produce with --latency or --rate",
		    j->info.name, (unsigned long long)j->foreign);
	if (j->verifier == NULL)
		return status;
	json_object_set_new(ret_json, "verify", verifier_json(j->verifier));
	if (!j->s.json && (!verifier_ok(j->verifier) || !j->s.quiet))
		verifier_print(j->verifier);
	return verifier_ok(j->verifier) ? status : STATUS_CORRUPT;
}

static int run(struct job *j)
{
	struct quoit_stats stats = {.size = sizeof(stats)};
	struct quoit_counters counters;
	json_t *extra = json_object();
	int rc, status;

	rc = open_consumer(j);
	if (rc != 0 && j->created) {
		take_back(j->ring);
		j->ring = NULL;
	}
	if (rc == -EINTR && stop_signal != 0)
		return STATUS_SIGNAL + stop_signal;
	if (rc != 0)
		return ring_error(j->s.ring, "become its consumer", rc);
	rc = quoit_get_stats(j->ring, &stats);
	if (rc == 0)
		rc = prepare(j, stats.consumed.records == 0);
	if (rc == 0)
		rc = consume(j);
	report_stop(&j->report);
	status = judge(j, rc);
	quoit_consumer_counters(j->consumer, &counters);
	quoit_consumer_close(j->consumer);
	status = verdict(j, status, extra);
	rc = report_finish(&j->report, &counters, status, extra);
	if (status == STATUS_OK)
		status = rc;
	/* Only when the stream is over: else somebody may want what is in the ring. */
	if (status == STATUS_OK && j->s.remove && j->left != 0)
		status = remove_ring(j->ring);
	return status;
}

int main(int argc, char **argv)
{
	struct job j;
	int status;

	begin("quoit-consume");
	parse(&j, argc, argv);
	j.info.size = sizeof(j.info);
	catch_signals();
	if (j.s.more_n != 0) {
		status = run_many(&j);
	} else {
		status = open_ring(&j.s, &j.ring, &j.created);
		if (status == STATUS_OK) {
			status = run(&j);
			quoit_detach(j.ring);
		}
	}
	verifier_free(j.verifier);
	free(j.report.latency);
	leave(status);
}
