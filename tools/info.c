/* SPDX-License-Identifier: MIT */
/* quoit info and quoit peers: what a ring is, and who is there. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"

/* ---- info ----------------------------------------------------------------------------------- */

static void uuid_text(const uint8_t uuid[16], char text[37])
{
	for (int i = 0; i < 16; i++)
		text += sprintf(text, "%02x%s", uuid[i],
				i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
}

static void print_info(const struct quoit_info *i, const struct quoit_heap_stats *heap)
{
	static const struct column columns[] = {{"FIELD", false}, {"VALUE", false}};
	struct table *t = table_new(columns, 2);
	char uuid[37];

#define LINE(name, ...) (table_cell(t, name), table_cell(t, __VA_ARGS__))
	uuid_text(i->uuid, uuid);
	LINE("name", "%s", i->name);
	LINE("kind", "%s", kind_name(i->kind));
	LINE("backend", "%s", backend_name(i->backend));
	LINE("wait", "%s", wait_name(i->wait));
	LINE("capacity", "%" PRIu64 " bytes (%s)", i->capacity, human_size(i->capacity));
	if (i->slots != 0)
		LINE("slots", "%" PRIu64 " of %" PRIu32 " bytes", i->slots, i->slot_size);
	LINE("largest record", "%" PRIu32 " bytes", i->max_record);
	if (i->heap_size != 0)
		LINE("heap", "%" PRIu64 " bytes (%s), units of %s, records over %" PRIu32 " bytes",
		     i->heap_size, human_size(i->heap_size), human_size(i->heap_unit),
		     i->heap_share);
	if (heap != NULL)
		LINE("heap use", "%s", heap_text(heap));
	LINE("segment", "%" PRIu64 " bytes (%s), pages of %s", i->segment_size,
	     human_size(i->segment_size), human_size(i->page_size));
	LINE("peers", "%" PRIu32 " at most", i->peers);
	LINE("stream", "%s",
	     i->flags & QUOIT_PERSISTENT ? "persistent: never ends"
					 : "ends when every producer has closed");
	LINE("owner", "%s:%s", user_name(i->uid), group_name(i->gid));
	LINE("mode", "%04" PRIo32, i->mode);
	LINE("created", "%s by pid %" PRId32, local_time(i->created_ns), i->creator_pid);
	if (i->sysv_id >= 0)
		LINE("shmid", "%" PRId32, i->sysv_id);
	LINE("layout", "version %" PRIu32 ", features 0x%" PRIx32 " (compatible 0x%" PRIx32 ")",
	     i->version, i->incompat, i->compat);
	LINE("uuid", "%s", uuid);
#undef LINE
	table_print_bare(t);
}

static json_t *info_json(const struct quoit_info *i)
{
	char uuid[37], mode[8];

	uuid_text(i->uuid, uuid);
	snprintf(mode, sizeof(mode), "%04" PRIo32, i->mode);
	return json_pack(
		"{s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:s, "
		"s:o, s:s, s:s,"
		" s:o, s:i, s:i, s:i, s:o, s:o, s:s, s:o, s:o, s:o}",
		"name", json_text(i->name), "kind", kind_name(i->kind), "backend",
		backend_name(i->backend), "wait", wait_name(i->wait), "size",
		json_uint(i->capacity), "slots", json_uint(i->slots), "slot_size",
		json_uint(i->slot_size), "max_record", json_uint(i->max_record), "segment_size",
		json_uint(i->segment_size), "page_size", json_uint(i->page_size), "peers",
		json_uint(i->peers), "persistent", (int)((i->flags & QUOIT_PERSISTENT) != 0), "uid",
		json_uint(i->uid), "owner", user_name(i->uid), "gid", json_uint(i->gid), "group",
		group_name(i->gid), "mode", mode, "created_ns", json_uint(i->created_ns),
		"creator_pid", (int)i->creator_pid, "sysv_id", (int)i->sysv_id, "version",
		(int)i->version, "incompat", json_uint(i->incompat), "compat", json_uint(i->compat),
		"uuid", uuid, "heap_size", json_uint(i->heap_size), "heap_unit",
		json_uint(i->heap_unit), "heap_share", json_uint(i->heap_share));
}

int show_info(const char *ring, const struct quoit_inspect *v)
{
	struct quoit_info info = {.size = sizeof(info)};
	struct quoit_heap_stats heap = {.size = sizeof(heap)};
	int r = quoit_inspect_info(v, &info), h = quoit_inspect_heap_stats(v, &heap);

	if (r != 0)
		return ring_error(ring, "describe", r);
	if (globals.json) {
		json_t *object = info_json(&info);

		if (h == 0)
			json_object_set_new(object, "heap", heap_json(&heap));
		json_line("ring", object);
	} else {
		print_info(&info, h == 0 ? &heap : NULL);
	}
	return STATUS_OK;
}

int run_info(int argc, char **argv)
{
	struct problems problems = {.to_stderr = true, .notes = true};
	struct quoit_inspect *v;
	const char *ring;
	int status;

	while (next_option(argc, argv) != -1)
		;
	ring = ring_operand(argc, argv);
	status = open_view(ring, &problems, &v);
	if (status != STATUS_OK)
		return status;
	status = show_info(ring, v);
	quoit_inspect_close(v);
	return first_failure(status, problems.corrupt ? STATUS_CORRUPT : STATUS_OK);
}

/* ---- peers ---------------------------------------------------------------------------------- */

static const char *role_name(uint32_t role)
{
	return role == QUOIT_ROLE_PRODUCER   ? "producer"
	       : role == QUOIT_ROLE_CONSUMER ? "consumer"
					     : "?";
}

static const char *peer_state_name(uint32_t state)
{
	static const char *const names[] = {"free", "alive", "stopped", "dead", "unknown"};

	return state < sizeof(names) / sizeof(*names) ? names[state] : "?";
}

static const struct column peer_columns[] = {
	{"ID", true},       {"ROLE", false},  {"PID", true},      {"USER", false},
	{"COMMAND", false}, {"STATE", false}, {"POSITION", true}, {"LAG", true},
	{"RECORDS", true},  {"WAIT", false},  {"AGE", true},      {"BYTES", true},
	{"FULL", true},     {"EMPTY", true},  {"SLEEPS", true},   {"WAKES", true},
};
#define PEER_BRIEF 11 /* columns without --verbose */

static void print_peer(struct table *t, const struct quoit_peer *p)
{
	table_cell(t, "%" PRIu32, p->id);
	table_cell(t, "%s", role_name(p->role));
	table_cell(t, "%" PRId32, p->pid);
	table_cell(t, "%s", user_name(p->uid));
	table_cell(t, "%s", p->command);
	table_cell(t, "%s", peer_state_name(p->state));
	table_cell(t, "%" PRIu64, p->position);
	if (p->role == QUOIT_ROLE_CONSUMER)
		table_cell(t, "%" PRIu64, p->lag);
	else
		table_cell(t, "-");
	table_cell(t, "%" PRIu64, p->counters.records);
	table_cell(t, "%s", wait_name(p->wait));
	table_cell(t, "%s", age(p->opened_ns));
	if (!globals.verbose)
		return;
	table_cell(t, "%" PRIu64, p->counters.bytes);
	table_cell(t, "%" PRIu64, p->counters.full);
	table_cell(t, "%" PRIu64, p->counters.empty);
	table_cell(t, "%" PRIu64, p->counters.sleeps);
	table_cell(t, "%" PRIu64, p->counters.wakes);
}

static void print_peer_json(const char *ring, const struct quoit_peer *p)
{
	json_t *counters = json_object();

#define COUNTER(name, what) json_object_set_new(counters, #name, json_uint(p->counters.name));
	QUOIT_COUNTERS(COUNTER)
#undef COUNTER
	json_line("peer",
		  json_pack("{s:o, s:i, s:s, s:i, s:o, s:s, s:o, s:s, s:o, s:o, s:s, s:o, s:o}",
			    "name", json_ring(ring), "id", (int)p->id, "role", role_name(p->role),
			    "pid", (int)p->pid, "uid", json_uint(p->uid), "user", user_name(p->uid),
			    "command", json_text(p->command), "state", peer_state_name(p->state),
			    "position", json_uint(p->position), "lag", json_uint(p->lag), "wait",
			    wait_name(p->wait), "opened_ns", json_uint(p->opened_ns), "counters",
			    counters));
}

int show_peers(const char *ring, const struct quoit_inspect *v)
{
	struct quoit_peer *peers = calloc(QUOIT_PEERS_MAX, sizeof(*peers));
	int n = peers != NULL ? quoit_inspect_peers(v, peers, QUOIT_PEERS_MAX) : -ENOMEM;
	struct table *t;

	if (n < 0) {
		free(peers);
		return ring_error(ring, "read the peer table of", n);
	}
	t = table_new(peer_columns,
		      globals.verbose ? sizeof(peer_columns) / sizeof(*peer_columns) : PEER_BRIEF);
	for (int i = 0; i < n; i++) {
		if (globals.json)
			print_peer_json(ring, &peers[i]);
		else
			print_peer(t, &peers[i]);
	}
	if (globals.json)
		table_print_bare(t); /* empty */
	else
		table_print(t);
	free(peers);
	return STATUS_OK;
}

int run_peers(int argc, char **argv)
{
	struct problems problems = {.to_stderr = true};
	struct quoit_inspect *v;
	const char *ring;
	int status;

	while (next_option(argc, argv) != -1)
		;
	ring = ring_operand(argc, argv);
	status = open_view(ring, &problems, &v);
	if (status != STATUS_OK)
		return status;
	status = show_peers(ring, v);
	quoit_inspect_close(v);
	return first_failure(status, problems.corrupt ? STATUS_CORRUPT : STATUS_OK);
}
