/* SPDX-License-Identifier: MIT */
/* Two terminals, either order: `hello` waits for greetings, `hello WORD...` sends them. */
#include <quoit/quoit.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct quoit_options options = {.size = sizeof(options), .flags = QUOIT_CREATE_OR_ATTACH};
	struct quoit *ring = NULL;
	struct quoit_producer *producer;
	struct quoit_consumer *consumer;
	struct quoit_msg msg;
	char text[256];
	int rc = quoit_create("hello", &options, &ring);

	if (rc == 0 && argc > 1 && (rc = quoit_producer_open(ring, &producer)) == 0) {
		for (int i = 1; i < argc && rc == 0; i++)
			rc = quoit_send(producer, argv[i], (uint32_t)strlen(argv[i]), 0, NULL);
		quoit_producer_close(producer);
	} else if (rc == 0 && (rc = quoit_consumer_open(ring, &consumer)) == 0) {
		while ((rc = quoit_recv(consumer, text, sizeof(text), &msg, NULL)) == 1)
			printf("%.*s\n", (int)msg.len, text);
		quoit_consumer_close(consumer);
		rc = rc == 0 ? quoit_remove("hello") : rc;
	}
	quoit_detach(ring);
	if (rc != 0)
		fprintf(stderr, "hello: %s\n", quoit_strerror(rc));
	return rc != 0;
}
