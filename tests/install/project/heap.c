/* SPDX-License-Identifier: MIT */
/* How many records of 3000 bytes a heap of sixteen units takes: with jemalloc they share units. */
#include <errno.h>
#include <quoit/quoit.h>
#include <stdio.h>

int main(void)
{
	static const char record[3000];
	struct quoit_options options = {.size = sizeof(options),
					.kind = QUOIT_SPSC,
					.capacity = 16384,
					.heap_size = 16 * 65536};
	struct quoit *ring;
	struct quoit_producer *producer;
	int r, n = 0;

	if (quoit_create("memfd:install", &options, &ring) != 0 ||
	    quoit_producer_open(ring, &producer) != 0)
		return 1;
	while ((r = quoit_send(producer, record, sizeof(record), 0, QUOIT_NOWAIT)) == 0)
		n++;
	quoit_producer_close(producer);
	quoit_detach(ring);
	printf("%d\n", n);
	return r == -EAGAIN ? 0 : 1;
}
