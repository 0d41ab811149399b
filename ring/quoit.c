/* SPDX-License-Identifier: MIT */
/* Rings as a whole: create, attach, detach, remove, and what can be asked about them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring/guard.h"
#include "ring/heap.h"
#include "ring/plan.h"

/* A plan of the ring to be made, and what fill() leaves behind. */
struct making {
	struct quoit__header header;
	struct quoit__heap_header heap; /* zero: none */
	uint32_t sem_rows; /* semaphores to make beside a ring that is not System V, or 0 */
	uint32_t mode;
	int32_t sem_made; /* such a set, to be removed if creation fails; or -1 */
};

/* Point a handle's fields into its mapping. */
static void bind_ring(struct quoit *q)
{
	unsigned char *base = q->seg.base;
	struct quoit__control *c;

	q->header = (struct quoit__header *)(void *)base;
	c = q->control = (struct quoit__control *)(void *)(base + q->geo.control_offset);
	q->rows = (struct quoit__row *)(void *)(base + q->geo.peers_offset);
	q->data = base + q->geo.data_offset;
	if (q->geo.heap_size != 0) {
		q->heap = base + q->geo.heap_offset;
		q->units = (_Atomic uint64_t *)(void *)(base + q->geo.heap_table);
	}
	q->readable = (struct sync_event){.word = &c->readable.word,
					  .backends = &c->readable.backends,
					  .sem = c->readable.sem,
					  .sysv_id = q->geo.sem_id,
					  .sysv_index = QUOIT__SEM_READABLE};
	q->writable = (struct sync_event){.word = &c->writable.word,
					  .backends = &c->writable.backends,
					  .sem = c->writable.sem,
					  .sysv_id = q->geo.sem_id,
					  .sysv_index = QUOIT__SEM_WRITABLE};
}

/* Build the ring in a fresh, zeroed mapping; the state word last. */
static int fill(void *arg, struct quoit__segment *seg)
{
	struct making *m = arg;
	struct quoit__header *h = &m->header;
	struct quoit q = {.seg = *seg};
	int r;

	if (m->sem_rows != 0) {
		r = quoit__sem_set_new(m->sem_rows, m->mode, &m->sem_made);
		if (r != 0)
			return r;
		seg->sem_id = m->sem_made;
	}
	h->sem_id = seg->sem_id;
	h->page_size = seg->page_size;
	memcpy(h->name, seg->name.canonical, sizeof(h->name));
	h->checksum = quoit__checksum(h);
	r = quoit__validate_header(h, seg->size, &q.geo);
	if (r == 0 && (h->incompat & QUOIT__INCOMPAT_HEAP) != 0)
		r = quoit__validate_heap(h, &m->heap, &q.geo);
	if (r != 0)
		return r;
	bind_ring(&q);
	memcpy(seg->base + QUOIT__HEAP_HEADER_OFFSET, &m->heap, sizeof(m->heap));
	q.control->readable.sysv_sem = QUOIT__SEM_READABLE;
	q.control->writable.sysv_sem = QUOIT__SEM_WRITABLE;
	r = sync_event_init(&q.readable);
	if (r == 0)
		r = sync_event_init(&q.writable);
	if (r != 0)
		return r;
	if (q.geo.kind == QUOIT_SPSC)
		quoit__spsc_init(&q, h->start);
	else
		quoit__mpmc_init(&q, h->start);
	/* Everything but the state word, which lies between magic and version. */
	memcpy((unsigned char *)q.header + offsetof(struct quoit__header, version),
	       (const unsigned char *)h + offsetof(struct quoit__header, version),
	       sizeof(*h) - offsetof(struct quoit__header, version));
	q.header->magic = h->magic;
	/* L1: publishes the ring; pairs with the load in adopt(). */
	atomic_store_explicit(&q.header->state, QUOIT__READY, memory_order_release);
	return 0;
}

static void describe(struct quoit *q, const struct quoit__header *h)
{
	q->info = (struct quoit_info){
		.version = h->version,
		.kind = h->kind,
		.wait = h->wait,
		.backend = h->backend,
		.flags = h->compat & QUOIT__COMPAT_PERSISTENT ? QUOIT_PERSISTENT : 0,
		.peers = h->peers,
		.capacity = h->capacity,
		.segment_size = h->segment_size,
		.slots = h->slots,
		.slot_size = h->slot_size,
		.max_record = q->geo.max_record,
		.created_ns = h->created_ns,
		.creator_pid = h->creator_pid,
		.sysv_id = q->seg.shm_id,
		.compat = h->compat,
		.incompat = h->incompat,
		.page_size = h->page_size,
		.heap_size = q->geo.heap_size,
		.heap_unit = (uint32_t)q->geo.heap_unit,
		.heap_share = q->geo.heap_size != 0 ? q->geo.ring_record : 0,
	};
	memcpy(q->info.uuid, h->uuid, sizeof(h->uuid));
	memcpy(q->uuid, h->uuid, sizeof(h->uuid));
	memcpy(q->info.name, q->seg.name.canonical, sizeof(q->info.name));
}

/* Make a handle of a mapped segment; takes it over, unless it fails. removed_too: for the remover.
 */
static int adopt(struct quoit__segment *seg, const struct quoit_options *o, bool removed_too,
		 struct quoit **ret)
{
	struct quoit__header copy;
	struct quoit__heap_header heap;
	struct quoit *q = calloc(1, sizeof(*q));
	uint32_t state;
	int r = -ENOMEM;

	if (q == NULL)
		goto fail;
	r = -EPROTO;
	if (seg->size < sizeof(copy))
		goto fail;
	/* L1: pairs with fill(). */
	state = atomic_load_explicit(&((struct quoit__header *)(void *)seg->base)->state,
				     memory_order_acquire);
	memcpy(&copy, seg->base, sizeof(copy));
	q->seg = *seg;
	r = quoit__validate_header(&copy, seg->size, &q->geo);
	if (r == 0 && (copy.incompat & QUOIT__INCOMPAT_HEAP) != 0) {
		/* It lies in front of the data, which have been seen to lie in the mapping. */
		memcpy(&heap, seg->base + QUOIT__HEAP_HEADER_OFFSET, sizeof(heap));
		r = quoit__validate_heap(&copy, &heap, &q->geo);
	}
	if (r != 0)
		goto fail;
	/* The set that was verified when the segment was found, not what its header says. */
	if (seg->name.backend == QUOIT_SYSV)
		q->geo.sem_id = seg->sem_id;
	else if (q->geo.sem_id >= 0 && quoit__sem_set_check(q->geo.sem_id) != 0)
		q->geo.sem_id = -1;
	r = -EIDRM;
	if (state == QUOIT__REMOVED && !removed_too)
		goto fail;
	r = -EPROTO;
	if ((state != QUOIT__READY && state != QUOIT__REMOVED) ||
	    (o->kind != 0 && o->kind != copy.kind))
		goto fail;
	bind_ring(q);
	q->flags = o->flags;
	q->readonly = (o->flags & QUOIT_READONLY) != 0;
	q->sem_made = -1;
	q->made_by = getpid();
	atomic_init(&q->references, 1);
	describe(q, &copy);
	if (!q->readonly)
		sync_membarrier_register();
	*ret = q;
	return 0;
fail:
	if (quoit__guard_lost(seg->guarded)) /* while we looked */
		r = -EBADMSG;
	free(q);
	return r;
}

static int attach_parsed(const struct quoit__name *name, const struct quoit_options *o,
			 bool removed_too, struct quoit **ret)
{
	struct quoit__segment seg;
	int r;

	r = quoit__segment_open(name, (o->flags & QUOIT_READONLY) == 0,
				o->attach_timeout_ms ? o->attach_timeout_ms : 1000, &seg);
	if (r != 0)
		return r;
	r = quoit__segment_apply(&seg, o->flags);
	if (r == 0)
		r = adopt(&seg, o, removed_too, ret);
	if (r != 0)
		quoit__segment_close(&seg);
	return r;
}

/* A ring that was published, and that its creator cannot have: nobody is to find it. */
static void unmake(struct quoit__segment *seg)
{
	struct quoit__header *h = (struct quoit__header *)(void *)seg->base;

	/* L2: for those who were quick to attach. */
	atomic_store_explicit(&h->state, QUOIT__REMOVED, memory_order_release);
	(void)quoit__segment_unlink_open(seg);
	quoit__segment_close(seg);
}

static int create_parsed(const struct quoit__name *name, struct quoit_options *o,
			 struct quoit **ret)
{
	struct making m = {.sem_made = -1};
	struct quoit__segment seg;
	int r = quoit__plan_ring(name, o, &m.header, &m.heap);

	if (r != 0)
		return r;
	m.mode = o->mode;
	if (o->wait == QUOIT_WAIT_SYSVSEM && name->backend != QUOIT_SYSV)
		m.sem_rows = QUOIT__SEM_PEERS;
	r = quoit__segment_create(name,
				  &(struct quoit__plan){.size = m.header.segment_size,
							.flags = o->flags,
							.mode = o->mode,
							.locks = m.header.peers},
				  fill, &m, &seg);
	if (r == 0) {
		r = adopt(&seg, o, false, ret);
		if (r != 0)
			unmake(&seg);
	}
	if (r != 0 && m.sem_made >= 0)
		quoit__sem_set_remove(m.sem_made);
	/* Nobody removes a memfd by name: its creator takes the set along. */
	if (r == 0 && name->backend == QUOIT_MEMFD)
		(*ret)->sem_made = m.sem_made;
	return r;
}

int quoit_create(const char *name, const struct quoit_options *opt, struct quoit **ret_ring)
{
	struct quoit_options o, again;
	struct quoit__name parsed;
	int r;

	if (name == NULL || ret_ring == NULL)
		return -EINVAL;
	r = quoit__options_read(opt, &o);
	if (r == 0)
		r = quoit__name_parse(name, &parsed);
	if (r != 0)
		return r;
	again = o;
	/* The ring may go and come between the two: a few turns, then say what was seen last. */
	for (int turn = 0; turn < 16; turn++) {
		r = create_parsed(&parsed, &o, ret_ring);
		if (r != -EEXIST || (o.flags & QUOIT_CREATE_OR_ATTACH) == 0)
			return r;
		r = attach_parsed(&parsed, &again, false, ret_ring);
		if (r != -ENOENT && r != -EIDRM && r != -EOWNERDEAD)
			return r;
	}
	return r;
}

int quoit_attach(const char *name, const struct quoit_options *opt, struct quoit **ret_ring)
{
	struct quoit_options o;
	struct quoit__name parsed;
	int r;

	if (name == NULL || ret_ring == NULL)
		return -EINVAL;
	r = quoit__options_read(opt, &o);
	if (r == 0 && (o.flags & ~0x7fu) != 0)
		r = -EINVAL;
	if (r == 0)
		r = quoit__name_parse(name, &parsed);
	return r != 0 ? r : attach_parsed(&parsed, &o, false, ret_ring);
}

void quoit__unref(struct quoit *q)
{
	/* acq_rel: the last one must see everybody else's use of the mapping as over. */
	if (atomic_fetch_sub_explicit(&q->references, 1, memory_order_acq_rel) != 1)
		return;
	quoit__segment_close(&q->seg);
	if (q->sem_made >= 0 && q->made_by == getpid())
		quoit__sem_set_remove(q->sem_made);
	free(q);
}

void quoit_detach(struct quoit *q)
{
	if (q == NULL)
		return;
	/* Endpoints hold the mapping, and have descriptors of their own. */
	if (q->seg.fd >= 0)
		close(q->seg.fd);
	q->seg.fd = -1;
	quoit__unref(q);
}

int quoit_remove(const char *name)
{
	struct quoit_options o = {.attach_timeout_ms = 1};
	struct quoit__name parsed;
	struct quoit *q;
	int r, sem = -1;

	if (name == NULL)
		return -EINVAL;
	r = quoit__name_parse(name, &parsed);
	if (r != 0)
		return r;
	/* A remover that was killed half-way left the mark: finish its work. */
	r = attach_parsed(&parsed, &o, true, &q);
	/* Its owner may have shut himself out; he may also let himself in again. */
	if (r == -EACCES && parsed.backend == QUOIT_SHM && quoit__segment_chmod(&parsed, 0600) == 0)
		r = attach_parsed(&parsed, &o, true, &q);
	if (r == -ENOENT)
		return r;
	if (r == 0) {
		r = quoit__segment_may_unlink(&q->seg);
		if (r != 0) {
			quoit_detach(q);
			return r;
		}
		/* L2: tells peers; they look when poked, woken or idle. */
		atomic_store_explicit(&q->header->state, QUOIT__REMOVED, memory_order_release);
		sem = q->seg.name.backend == QUOIT_SYSV ? -1 : q->geo.sem_id;
		quoit__wake_all(q);
		/* This one, not whatever stands under its name by now. */
		r = quoit__segment_unlink_open(&q->seg);
		quoit_detach(q);
		if (sem >= 0)
			quoit__sem_set_remove(sem);
		return r == -ENOENT ? 0 : r;
	}
	/* What cannot be attached to (half-made, corrupt, truncated, another version) can still be
	 * removed, if it was a ring at all. */
	return quoit__segment_unlink(&parsed);
}

int quoit_chmod(const char *name, mode_t mode)
{
	struct quoit__name parsed;
	int r;

	if (name == NULL || mode > 0777)
		return -EINVAL;
	r = quoit__name_parse(name, &parsed);
	return r != 0 ? r : quoit__segment_chmod(&parsed, mode);
}

int quoit_chown(const char *name, uid_t uid, gid_t gid)
{
	struct quoit__name parsed;
	int r;

	if (name == NULL)
		return -EINVAL;
	r = quoit__name_parse(name, &parsed);
	return r != 0 ? r : quoit__segment_chown(&parsed, uid, gid);
}

int quoit_fd(const struct quoit *q)
{
	return q->seg.fd >= 0 ? q->seg.fd : -ENOTSUP;
}

int quoit_get_info(const struct quoit *q, struct quoit_info *ret_info)
{
	struct quoit_info info = q->info;
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int r;

	if (ret_info->size < offsetof(struct quoit_info, name) || ret_info->size > sizeof(info))
		return -EINVAL;
	r = quoit__segment_stat(&q->seg, &mode, &uid, &gid);
	if (r != 0)
		return r;
	info.size = ret_info->size;
	info.mode = mode & 0777;
	info.uid = uid;
	info.gid = gid;
	memcpy(ret_info, &info, info.size);
	return 0;
}
