/* SPDX-License-Identifier: MIT */
/*
 * Exported twins of the inline functions, under the same names, for languages that bind to symbols
 * and cannot read the header's C. Here the header's own get other names for a moment.
 */
#define quoit_reserve quoit__inline_reserve
#define quoit_commit  quoit__inline_commit
#define quoit_send    quoit__inline_send
#define quoit_peek    quoit__inline_peek
#define quoit_advance quoit__inline_advance
#define quoit_recv    quoit__inline_recv
#include <quoit/quoit.h>
#undef quoit_reserve
#undef quoit_commit
#undef quoit_send
#undef quoit_peek
#undef quoit_advance
#undef quoit_recv

QUOIT_API int quoit_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload);
QUOIT_API int quoit_commit(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type);
QUOIT_API int quoit_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
			 const struct timespec *deadline);
QUOIT_API int quoit_peek(struct quoit_consumer *c, struct quoit_msg *ret_msg);
QUOIT_API int quoit_advance(struct quoit_consumer *c, const struct quoit_msg *msg);
QUOIT_API int quoit_recv(struct quoit_consumer *c, void *buf, uint32_t cap,
			 struct quoit_msg *ret_msg, const struct timespec *deadline);

int quoit_reserve(struct quoit_producer *p, uint32_t len, void **ret_payload)
{
	return quoit__inline_reserve(p, len, ret_payload);
}

int quoit_commit(struct quoit_producer *p, void *payload, uint32_t len, uint32_t type)
{
	return quoit__inline_commit(p, payload, len, type);
}

int quoit_send(struct quoit_producer *p, const void *buf, uint32_t len, uint32_t type,
	       const struct timespec *deadline)
{
	return quoit__inline_send(p, buf, len, type, deadline);
}

int quoit_peek(struct quoit_consumer *c, struct quoit_msg *ret_msg)
{
	return quoit__inline_peek(c, ret_msg);
}

int quoit_advance(struct quoit_consumer *c, const struct quoit_msg *msg)
{
	return quoit__inline_advance(c, msg);
}

int quoit_recv(struct quoit_consumer *c, void *buf, uint32_t cap, struct quoit_msg *ret_msg,
	       const struct timespec *deadline)
{
	return quoit__inline_recv(c, buf, cap, ret_msg, deadline);
}
