/* SPDX-License-Identifier: MIT */
/*
 * Boards, see board.h: making and marking them, and the process's table of those that it has been
 * given.
 *
 * The table is one for the process, not one for each endpoint, because a process with a thousand
 * endpoints would otherwise need a socket and a mapping for each. It is under a mutex, which is
 * taken when an endpoint meets another board than the last time: hardly ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sync/board.h"
#include "sync/datagram.h"

#define MAGIC UINT64_C(0x647261656274666f)
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
/* Most boards kept: the process's own descriptors are more important. */
#define BOARDS_KEPT 64

/* The page. Written by everyone who has it. */
struct page {
	alignas(128) _Atomic uint32_t sleeping;
	uint32_t bits;
	uint64_t magic;
	uint8_t id[16];
	_Atomic uint32_t closed; /* by the owner: nobody will look at it again */
	alignas(128) _Atomic uint64_t word[];
};

struct sync_board {
	struct page *page;
	size_t size;
	uint32_t bits;  /* not the page's: anyone could change that */
	int fd;         /* owner: of the page; else -1 */
	int event_fd;   /* waker: the set's; else -1 */
	uint8_t id[16]; /* as above */
	unsigned links; /* waker: endpoints that marked it last; under the table's mutex */
};

/* ---- the owner's side ------------------------------------------------------------------------ */

static size_t page_size(uint32_t bits)
{
	size_t size = sizeof(struct page) + ((size_t)bits + 63) / 64 * 8;

	return (size + 4095) & ~(size_t)4095;
}

static int map_board(struct sync_board *b, int fd)
{
	void *p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	b->page = p;
	return 0;
}

static struct sync_board *allocate(uint32_t bits)
{
	struct sync_board *b = calloc(1, sizeof(*b));

	if (b != NULL) {
		b->fd = b->event_fd = -1;
		b->bits = bits;
		b->size = page_size(bits);
	}
	return b;
}

static void let_go(struct sync_board *b)
{
	if (b->page != NULL)
		munmap(b->page, b->size);
	if (b->fd >= 0)
		close(b->fd);
	if (b->event_fd >= 0)
		close(b->event_fd);
	free(b);
}

int sync_board_new(const uint8_t id[16], uint32_t bits, struct sync_board **ret)
{
	struct sync_board *b;
	int r;

	if (bits < 1 || bits > SYNC_BOARD_BITS_MAX)
		return -EINVAL;
	b = allocate(bits);
	if (b == NULL)
		return -ENOMEM;
	b->fd = memfd_create("quoit.board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* Reserved and sealed: a page that is not there would be a SIGBUS for whoever marks it. */
	if (b->fd < 0 || (r = posix_fallocate(b->fd, 0, (off_t)b->size)) != 0 ||
	    fcntl(b->fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) != 0) {
		r = b->fd < 0 ? -errno : r != 0 ? -r : -errno;
		let_go(b);
		return r;
	}
	r = map_board(b, b->fd);
	if (r != 0) {
		let_go(b);
		return r;
	}
	memcpy(b->id, id, sizeof(b->id));
	memcpy(b->page->id, id, sizeof(b->id));
	b->page->bits = bits;
	b->page->magic = MAGIC;
	*ret = b;
	return 0;
}

void sync_board_retire(struct sync_board *b)
{
	/* Relaxed: a hint for those who tidy up. */
	if (b != NULL)
		atomic_store_explicit(&b->page->closed, 1, memory_order_relaxed);
}

void sync_board_free(struct sync_board *b)
{
	if (b != NULL)
		let_go(b);
}

int sync_board_fd(const struct sync_board *b)
{
	return b->fd;
}

_Atomic uint64_t *sync_board_words(const struct sync_board *b)
{
	return b->page->word;
}

bool sync_board_mark(struct sync_board *b, uint32_t bit)
{
	if (bit >= b->bits)
		return false;
	/* B1: release, pairs with taking the bit: the publication that it is about. Not left out
	 * when the bit is there: its taker may be on the way already. */
	atomic_fetch_or_explicit(&b->page->word[bit / 64], UINT64_C(1) << bit % 64,
				 memory_order_release);
	/* B2: the bit before the look at `sleeping`; pairs with sync_board_sleep(). */
	atomic_thread_fence(memory_order_seq_cst);
	return sync_board_rouse(b);
}

bool sync_board_rouse(struct sync_board *b)
{
	/* One of many wakers makes the call. If it is killed before, the sleeper's nap ends. */
	return atomic_load_explicit(&b->page->sleeping, memory_order_relaxed) != 0 &&
	       atomic_exchange_explicit(&b->page->sleeping, 0, memory_order_relaxed) != 0;
}

void sync_board_sleep(struct sync_board *b)
{
	atomic_store_explicit(&b->page->sleeping, 1, memory_order_relaxed);
	/* B2 */
	atomic_thread_fence(memory_order_seq_cst);
}

void sync_board_awake(struct sync_board *b)
{
	atomic_store_explicit(&b->page->sleeping, 0, memory_order_relaxed);
}

bool sync_board_asleep(const struct sync_board *b)
{
	/* Relaxed: callers fence where it matters. */
	return atomic_load_explicit(&b->page->sleeping, memory_order_relaxed) != 0;
}

/* ---- the process's table --------------------------------------------------------------------- */

static struct {
	pthread_mutex_t mutex;
	struct sync_socket socket; /* fd -1: not opened yet */
	unsigned n;
	struct sync_board *board[BOARDS_KEPT];
} table = {.mutex = PTHREAD_MUTEX_INITIALIZER, .socket.fd = -1};
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_prepare(void)
{
	pthread_mutex_lock(&table.mutex);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&table.mutex);
}

/* The boards are as good as before. The socket is the parent's: it would get our answers. */
static void fork_child(void)
{
	if (table.socket.fd >= 0)
		close(table.socket.fd);
	table.socket.fd = -1;
	pthread_mutex_unlock(&table.mutex);
}

static void fork_register(void)
{
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

void sync_board_register_fork(void)
{
	pthread_once(&fork_once, fork_register);
}

static int open_socket(void)
{
	int r;

	if (table.socket.fd >= 0)
		return 0;
	r = sync_socket_open(&table.socket);
	if (r == 0)
		r = sync_socket_bind_any(&table.socket);
	if (r != 0 && table.socket.fd >= 0) {
		close(table.socket.fd);
		table.socket.fd = -1;
	}
	return r;
}

static struct sync_board *find(const uint8_t id[16])
{
	for (unsigned i = 0; i < table.n; i++)
		if (memcmp(table.board[i]->id, id, 16) == 0)
			return table.board[i];
	return NULL;
}

static bool is_closed(const struct sync_board *b)
{
	return atomic_load_explicit(&b->page->closed, memory_order_relaxed) != 0;
}

/* Drop those that nobody uses: closed ones, and one more if there must be room. */
static void tidy(bool make_room)
{
	for (unsigned i = table.n; i-- > 0;) {
		struct sync_board *b = table.board[i];

		if (b->links != 0 || (!is_closed(b) && (!make_room || table.n < BOARDS_KEPT)))
			continue;
		table.board[i] = table.board[--table.n];
		let_go(b);
	}
}

/* What came as the answer to a hello: is it a board? */
static struct sync_board *adopt(int fd)
{
	struct sync_board *b;
	struct stat status;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &status) != 0 ||
	    status.st_size < (off_t)page_size(1) ||
	    status.st_size > (off_t)page_size(SYNC_BOARD_BITS_MAX))
		return NULL;
	b = allocate(1);
	if (b == NULL)
		return NULL;
	b->size = (size_t)status.st_size;
	if (map_board(b, fd) != 0) {
		let_go(b);
		return NULL;
	}
	b->bits = b->page->bits;
	memcpy(b->id, b->page->id, sizeof(b->id));
	if (b->page->magic != MAGIC || b->bits < 1 || b->bits > SYNC_BOARD_BITS_MAX ||
	    page_size(b->bits) > b->size) {
		let_go(b);
		return NULL;
	}
	return b;
}

static void take_answer(struct sync_received *r)
{
	struct sync_board *b;

	if (!r->trusted || r->m.kind != SYNC_REPLY || r->fd[1] < 0 || !sync_like_eventfd(r->fd[0]))
		return;
	tidy(true);
	if (table.n == BOARDS_KEPT)
		return;
	b = adopt(r->fd[1]);
	if (b == NULL)
		return;
	if (find(b->id) != NULL) { /* answers to several hellos */
		let_go(b);
		return;
	}
	b->event_fd = r->fd[0];
	r->fd[0] = -1;
	table.board[table.n++] = b;
}

static void take_answers(void)
{
	struct sync_received r;

	while (table.socket.fd >= 0 && sync_socket_receive(&table.socket, &r)) {
		take_answer(&r);
		sync_received_close(&r);
	}
}

/* ---- the waker's side ------------------------------------------------------------------------ */

static int mark_and_wake(struct sync_board *b, uint32_t bit, uint32_t *ret_called)
{
	static const uint64_t one = 1;

	if (!sync_board_mark(b, bit))
		return 0;
	++*ret_called;
	/* EAGAIN: the count is at its limit, so it is readable. */
	return write(b->event_fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN ? 0 : -errno;
}

static void unlink_locked(struct sync_board **link)
{
	if (*link != NULL)
		(*link)->links--;
	*link = NULL;
}

int sync_board_wake(struct sync_board **link, const uint8_t id[16], uint32_t bit,
		    uint32_t *ret_called)
{
	struct sync_board *b = *link;
	int r;

	if (b != NULL && memcmp(b->id, id, sizeof(b->id)) == 0)
		return mark_and_wake(b, bit, ret_called);
	sync_board_register_fork();
	pthread_mutex_lock(&table.mutex);
	unlink_locked(link);
	b = find(id);
	if (b == NULL) {
		take_answers();
		b = find(id);
	}
	if (b != NULL) {
		b->links++;
		*link = b;
		pthread_mutex_unlock(&table.mutex);
		return mark_and_wake(b, bit, ret_called);
	}
	r = open_socket();
	if (r == 0) {
		++*ret_called;
		r = sync_socket_hello(&table.socket, id, 0, bit, 0);
	}
	pthread_mutex_unlock(&table.mutex);
	return r;
}

void sync_board_unlink(struct sync_board **link)
{
	if (*link == NULL)
		return;
	pthread_mutex_lock(&table.mutex);
	unlink_locked(link);
	tidy(false);
	pthread_mutex_unlock(&table.mutex);
}
