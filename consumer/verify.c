/* SPDX-License-Identifier: MIT */
/*
 * Checks generated records: each whole (checksum), and each producer's exactly once and in order.
 * What is missing so far is remembered as ranges, so that a record that comes late is told from
 * one that comes twice.
 */
#include "consume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGES 64u /* of missing records that are remembered, per source */

struct range {
	uint64_t first, last;
};

struct source {
	uint64_t id, next;
	unsigned ring;
	unsigned ranges;
	struct range missing[RANGES];
};

struct verifier {
	bool from_start, order_only;
	unsigned ring;
	size_t sources, room;
	struct source *source; /* the one that spoke last is looked at first */
	size_t recent;
	uint64_t records, missing, duplicates, late, damaged, foreign, unsummed;
};

struct verifier *verifier_new(bool from_start, bool order_only)
{
	struct verifier *v = calloc(1, sizeof(*v));

	if (v != NULL) {
		v->from_start = from_start;
		v->order_only = order_only;
	}
	return v;
}

void verifier_free(struct verifier *v)
{
	if (v != NULL)
		free(v->source);
	free(v);
}

void verifier_ring(struct verifier *v, unsigned ring, bool from_start)
{
	v->ring = ring;
	v->from_start = from_start;
}

static bool is_source(const struct verifier *v, size_t i, const struct stamp *stamp)
{
	return v->source[i].id == stamp->source && v->source[i].ring == v->ring;
}

static struct source *find_source(struct verifier *v, const struct stamp *stamp)
{
	struct source *grown;
	size_t i;

	if (v->recent < v->sources && is_source(v, v->recent, stamp))
		return &v->source[v->recent];
	for (i = 0; i < v->sources && !is_source(v, i, stamp); i++)
		;
	if (i == v->sources) {
		if (v->sources == v->room) {
			grown = reallocarray(v->source, v->room + 16, sizeof(*grown));
			if (grown == NULL)
				return NULL;
			v->source = grown;
			v->room += 16;
		}
		v->source[i] = (struct source){
			.id = stamp->source,
			.ring = v->ring,
			.next = v->from_start ? 0 : stamp->sequence,
		};
		v->sources++;
	}
	v->recent = i;
	return &v->source[i];
}

static void note_gap(struct verifier *v, struct source *s, uint64_t first, uint64_t last)
{
	v->missing += last - first + 1;
	if (s->ranges < RANGES)
		s->missing[s->ranges++] = (struct range){first, last};
}

/* A record before the newest one: was it missing (late), or seen already (duplicate)? */
static void note_old(struct verifier *v, struct source *s, uint64_t sequence)
{
	struct range *r;

	if (v->order_only) {
		v->late++;
		return;
	}
	for (r = s->missing; r < s->missing + s->ranges; r++)
		if (sequence >= r->first && sequence <= r->last)
			break;
	if (r == s->missing + s->ranges) {
		v->duplicates++;
		return;
	}
	v->late++;
	v->missing--;
	if (sequence != r->first && sequence != r->last && s->ranges < RANGES) {
		s->missing[s->ranges++] = (struct range){sequence + 1, r->last};
		r->last = sequence - 1;
	} else if (sequence == r->first) {
		r->first++;
	} else if (sequence == r->last) {
		r->last--;
	}
	if (r->first > r->last)
		*r = s->missing[--s->ranges];
}

int verify_record(struct verifier *v, const struct quoit_msg *msg)
{
	struct stamp stamp;
	struct source *s;

	v->records++;
	if (msg->len < sizeof(stamp)) {
		v->foreign++;
		return 0;
	}
	memcpy(&stamp, msg->data, sizeof(stamp));
	if ((stamp.magic & ~STAMP_SUM) != STAMP_MAGIC) {
		v->foreign++;
		return 0;
	}
	if ((stamp.magic & STAMP_SUM) == 0) {
		v->unsummed++;
	} else if (stamp.sum != stamp_sum(msg->data, msg->len)) {
		v->damaged++;
		return 0; /* its sequence number may be the damage */
	}
	s = find_source(v, &stamp);
	if (s == NULL)
		return -ENOMEM;
	if (stamp.sequence < s->next) {
		note_old(v, s, stamp.sequence);
		return 0;
	}
	if (stamp.sequence > s->next && !v->order_only)
		note_gap(v, s, s->next, stamp.sequence - 1);
	s->next = stamp.sequence + 1;
	return 0;
}

bool verifier_ok(const struct verifier *v)
{
	return (v->missing | v->duplicates | v->late | v->damaged | v->foreign | v->unsummed) == 0;
}

void verifier_print(const struct verifier *v)
{
	if (verifier_ok(v)) {
		say("verify: ok: %llu records of %zu producers, whole%s",
		    (unsigned long long)v->records, v->sources,
		    v->order_only ? " and in order" : ", in order, each once");
		return;
	}
	say("verify: FAILED: of %llu records of %zu producers, %llu missing, %llu twice, %llu out "
	    "of "
	    "order, %llu damaged, %llu without checksum, %llu not generated",
	    (unsigned long long)v->records, v->sources, (unsigned long long)v->missing,
	    (unsigned long long)v->duplicates, (unsigned long long)v->late,
	    (unsigned long long)v->damaged, (unsigned long long)v->unsummed,
	    (unsigned long long)v->foreign);
}

json_t *verifier_json(const struct verifier *v)
{
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "ok", verifier_ok(v),
			 "records", (json_int_t)v->records, "producers", (json_int_t)v->sources,
			 "missing", (json_int_t)v->missing, "duplicates", (json_int_t)v->duplicates,
			 "out_of_order", (json_int_t)v->late, "damaged", (json_int_t)v->damaged,
			 "without_checksum", (json_int_t)v->unsummed, "foreign",
			 (json_int_t)v->foreign);
}
