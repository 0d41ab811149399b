/* SPDX-License-Identifier: MIT */
/*
 * What the victim did, as far as it is certain; and what the others do beside it while it stands
 * still.
 */
#ifndef QUOIT_TESTS_STEP_ACCOUNT_H
#define QUOIT_TESTS_STEP_ACCOUNT_H

#include "tests/crash/step_world.h"

/* ---- what the victim did -------------------------------------------------------------------- */

static inline void took(struct world *w, const struct got *got)
{
	w->seen[got->writer][got->seq]++;
}

/* The records that come next for a reader, in order, are the survivor's, oldest first. */
static inline void about_to_take(struct world *w, uint32_t n)
{
	uint32_t writer = w->row->state == DEAD_P ? PREDECESSOR : SURVIVOR;
	uint32_t first = w->row->state == LENT ? 2 : w->l->taken;

	for (uint32_t i = first; i < first + n && i < SEQS; i++)
		w->with_victim[writer][i] = true;
}

static inline void account_taken(struct world *w, bool returned)
{
	const struct op *op = w->row->op;
	struct ledger *l = w->l;
	struct got got;

	for (uint32_t i = 0; i < l->taken; i++)
		took(w, &l->took[i]);
	if (l->peeked.writer != 0)
		w->peeked[l->peeked.writer][l->peeked.seq] = true;
	if ((op->flags & TAKES) != 0 && !returned) {
		about_to_take(w, op->most);
	} else if (op->run == run_advance) {
		if (l->result == 0)
			took(w, &l->peeked);
		w->peeked[l->peeked.writer][l->peeked.seq] = false;
	} else if ((op->flags & TAKES) != 0) {
		for (int i = 0; i < l->result; i++) {
			if (!record_is(l->msgs[i].data, &l->msgs[i], &got))
				fail(w, "the victim received a torn record");
			else
				took(w, &got);
		}
	} else if (op->run == run_peek && returned && l->result == 1) {
		for (uint32_t i = 0; i < SEQS; i++) {
			unsigned char buf[LEN_MAX];
			uint32_t len = record_len(w->row, i);

			if (len == l->msgs[0].len &&
			    test_record_fill(buf, len, SURVIVOR, i) == l->msgs[0].type)
				w->peeked[SURVIVOR][i] = true;
		}
	}
}

static inline void account_victim(struct world *w, bool returned)
{
	const struct op *op = w->row->op;
	struct ledger *l = w->l;
	uint32_t in = 0;

	if (returned && (op->flags & SENDS) != 0)
		in = op->run == run_send_batch ? (l->result > 0 ? (uint32_t)l->result : 0)
					       : l->result == 0;
	w->sure[VICTIM] = l->sent + in;
	w->maybe[VICTIM] = l->sent + ((op->flags & SENDS) != 0 && !returned ? op->most : in);
	account_taken(w, returned);
}

/* What the survivors held all the time goes on as if nothing had been: a loan, */
static inline void check_loan(struct world *w)
{
	if (!w->lending)
		return;
	w->lending = false;
	note_record(w, w->lent.data, &w->lent);
	if (quoit_advance(w->sc, &w->lent) != 0)
		fail(w, "the survivor's loan was taken from it");
}

/* ---- others at work while the victim stands still
 * ------------------------------------------------ */

static inline void read_beside(struct world *w)
{
	int r;

	do
		r = read_one(w, w->sc);
	while (r == 1);
	if (r != -EAGAIN)
		fail(w, "reading beside a stopped process: %s", quoit_strerror(r));
}

static inline void peek_beside(struct world *w)
{
	struct quoit_msg msg;
	int r = quoit_peek(w->sc, &msg);

	if (r == 1) {
		note_record(w, msg.data, &msg);
		r = quoit_advance(w->sc, &msg);
		r = r == 0 ? 1 : r;
	}
	if (r != 1 && r != -EAGAIN)
		fail(w, "peeking beside a stopped process: %s", quoit_strerror(r));
}

static inline void write_beside(struct world *w)
{
	int r = 0;

	for (int i = 0; i < 6 && r == 0; i++)
		r = write_one(w, w->sp, SURVIVOR);
	if (r != 0 && r != -EAGAIN)
		fail(w, "writing beside a stopped process: %s", quoit_strerror(r));
}

/* The survivors go through whole operations: nobody waits for who stands still, nobody takes it for
 * dead. Not to the brim: what the victim holds stays behind every reader. */
static inline void check_beside(struct world *w, bool to_the_brim)
{
	check_loan(w);
	if (w->sc != NULL)
		read_beside(w);
	if (w->sp != NULL)
		write_beside(w);
	if (w->sc != NULL) {
		peek_beside(w);
		read_beside(w);
	}
	if (w->sp != NULL && to_the_brim)
		write_beside(w);
	if (w->deaths_told != 0)
		fail(w, "a stopped process was taken for dead");
}

#endif
