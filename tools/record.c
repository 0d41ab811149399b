/* SPDX-License-Identifier: MIT */
/* How dump and tail show a record. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"

static const char *state_of(const struct quoit_record *record)
{
	static const char *const names[] = {"?", "ready", "writing", "reading", "void", "padding"};

	return record->state < sizeof(names) / sizeof(*names) ? names[record->state] : "?";
}

static json_t *payload_json(const struct quoit_record *record, size_t most, const char **key)
{
	size_t len = record->len < most ? record->len : most;
	const unsigned char *bytes = record->data;
	json_t *text = json_stringn(record->data, len);
	json_t *hex;
	char *digits;

	*key = "text";
	if (text != NULL)
		return text;
	*key = "hex";
	digits = malloc(2 * len + 1);
	if (digits == NULL)
		return json_null();
	for (size_t i = 0; i < len; i++)
		sprintf(digits + 2 * i, "%02x", bytes[i]);
	hex = json_stringn(digits, 2 * len);
	free(digits);
	return hex;
}

static void print_json(const char *ring, const struct quoit_record *record, size_t most)
{
	json_t *object = json_pack("{s:o, s:o, s:o, s:s, s:o, s:o}", "name", json_ring(ring),
				   "position", json_uint(record->position), "offset",
				   json_uint(record->offset), "state", state_of(record), "type",
				   json_uint(record->type), "length", json_uint(record->len));
	const char *key;

	if (record->heap != 0)
		json_object_set_new(object, "heap_offset", json_uint(record->heap));
	if (record->owner != UINT32_MAX)
		json_object_set_new(object, "owner", json_uint(record->owner));
	if (record->data != NULL) {
		json_t *payload = payload_json(record, most, &key);

		json_object_set_new(object, key, payload);
	}
	json_line("record", object);
}

void record_header(const struct record_style *style)
{
	if (!globals.no_header && !globals.json && !style->raw)
		printf("%12s  %-7s  %10s  %10s  %5s  %s\n", "POSITION", "STATE", "TYPE", "LENGTH",
		       "OWNER", "PAYLOAD");
}

void record_print(const char *ring, const struct quoit_record *record,
		  const struct record_style *style)
{
	if (style->raw) {
		if (record->data != NULL)
			fwrite(record->data, 1, record->len, stdout);
		return;
	}
	if (globals.json) {
		print_json(ring, record, style->most);
		return;
	}
	printf("%12" PRIu64 "  %-7s  %10" PRIu32 "  %10" PRIu32 "  ", record->position,
	       state_of(record), record->type, record->len);
	if (record->owner != UINT32_MAX)
		printf("%5" PRIu32 "  ", record->owner);
	else
		fputs("    -  ", stdout);
	if (record->data != NULL && !style->hex)
		print_escaped(record->data, record->len, style->most);
	putchar('\n');
	if (record->data != NULL && style->hex)
		print_hex(record->data, record->len < style->most ? record->len : style->most, 0);
}
