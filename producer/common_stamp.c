/* SPDX-License-Identifier: MIT */
/*
 * The checksum of generated records. It has to notice a torn, stale or foreign record without
 * slowing the stream down much: eight bytes a multiplication, as in FNV-1a with wider words.
 */
#include "common.h"

#include <stddef.h>
#include <string.h>

uint32_t stamp_sum(const void *record, uint32_t len)
{
	const unsigned char *p = record;
	uint64_t sum = UINT64_C(0xcbf29ce484222325) ^ len, word;
	uint32_t at = offsetof(struct stamp, source);

	for (; at + 8 <= len; at += 8) {
		memcpy(&word, p + at, 8);
		sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		sum ^= sum >> 29; /* a product never carries downwards */
	}
	for (; at < len; at++)
		sum = (sum ^ p[at]) * UINT64_C(0x100000001b3);
	return (uint32_t)(sum ^ sum >> 32);
}
