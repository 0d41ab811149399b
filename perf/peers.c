/* SPDX-License-Identifier: MIT */
/*
 * What is built in, and does it work here? Every system moves records in each kind, batch and
 * waiting policy it has, for a tenth of a second at most, all of them verified.
 */
#include "perf/bench.h"

#include <stdio.h>

#include "perf/output.h"

static int verify(const struct perf_system *system, unsigned *ret_cells)
{
	static const char *const shapes[] = {"flow", "echo"};
	static struct perf_outcome outcome;
	struct perf_job job = {.system = system};
	struct perf_cell *c = &job.cell;
	int failed = 0;

	job.seconds = perf_config.seconds < 0.1 ? perf_config.seconds : 0.1;
	for (unsigned i = 0; i < 2u * 2 * 2 * 2 * PERF_POLICIES && !perf_stopped; i++) {
		unsigned rest = i;
		char why[160];

		job.shape = rest % 2 ? PERF_ECHO : PERF_FLOW;
		rest /= 2;
		c->kind = rest % 2 ? PERF_MPMC : PERF_SPSC;
		rest /= 2;
		c->mode = rest % 2 ? PERF_INPLACE : PERF_COPY;
		rest /= 2;
		c->batch = rest % 2 ? 32 : 1;
		rest /= 2;
		c->policy = (enum perf_policy)rest;
		c->producers = c->consumers =
			c->kind == PERF_MPMC && job.shape == PERF_FLOW ? 2 : 1;
		c->size = 64;
		c->depth = 1024;
		if (system->group == PERF_HEAP) {
			/* What takes whole units. */
			c->size = 65536;
			c->depth = 16;
		}
		if (!system->supports(c) && job.shape == PERF_ECHO) {
			/* What hands over one word. */
			c->size = 8;
			c->depth = 1;
		}
		if (job.shape == PERF_ECHO && c->batch > 1)
			continue;
		if (!(system->policies & 1u << c->policy) || !system->supports(c))
			continue;
		perf_progress("%s: %s %s", system->name, shapes[job.shape],
			      perf_policy_name(c->policy));
		++*ret_cells;
		if (perf_interval(&job, &outcome, why, sizeof(why)) == 0)
			continue;
		perf_progress_end();
		printf("  FAILED: %s %s %s batch %u %s: %s\n", shapes[job.shape],
		       c->kind ? "mpmc" : "spsc", c->mode ? "inplace" : "copy", c->batch,
		       perf_policy_name(c->policy), why);
		failed++;
	}
	return failed;
}

int bench_peers(void)
{
	int failed = 0;

	for (int i = 0; perf_systems[i]; i++) {
		const struct perf_system *system = perf_systems[i];
		unsigned cells = 0;
		int bad;

		if (!perf_system_wanted(system) || perf_stopped)
			continue;
		bad = verify(system, &cells);
		failed += bad;
		perf_progress_end();
		if (perf_json)
			printf("{\"schema\":1,\"bench\":\"peers\",\"system\":\"%s\","
			       "\"between\":\"%s\",\"verified\":%u,\"failed\":%d}\n",
			       system->name, system->threads ? "threads" : "processes", cells, bad);
		else
			printf("%-22s %3u ways verified, %d failed   %s\n", system->name, cells,
			       bad, system->note);
		fflush(stdout);
	}
	return failed;
}
