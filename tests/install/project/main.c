/* SPDX-License-Identifier: MIT */
/* What a stranger would write first: a ring, one record through it, gone again. */
#include <quoit/quoit.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
	struct quoit_options options = {.size = sizeof(options), .kind = QUOIT_SPSC};
	struct quoit *ring;
	struct quoit_producer *producer;
	struct quoit_consumer *consumer;
	struct quoit_msg msg;
	char text[16];

	if (quoit_create("memfd:install", &options, &ring) != 0 ||
	    quoit_producer_open(ring, &producer) != 0 ||
	    quoit_consumer_open(ring, &consumer) != 0 ||
	    quoit_send(producer, "thrown", 7, 0, NULL) != 0 ||
	    quoit_recv(consumer, text, sizeof(text), &msg, NULL) != 1 ||
	    strcmp(text, "thrown") != 0)
		return 1;
	quoit_producer_close(producer);
	quoit_consumer_close(consumer);
	quoit_detach(ring);
	printf("%s, libquoit %s\n", text, quoit_version());
	return 0;
}
