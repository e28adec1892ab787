/* micro_breaker.c - what a circuit breaker adds to a try: shut, attempt and attempted, as a chain
 * asks them.
 *
 * Prints ns of CPU time per try, of the best of several rounds. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/breaker.h"
#include "filters/registry.h"
#include "filters/table.h"

enum { TRIES = 1000000, ROUNDS = 8, THREADS_MAX = 2 };

struct guarded {
	struct arena arena;
	struct table_registry *tables;
	struct filter *filter;
};

struct work {
	const struct filter *filter;
	unsigned worker;
	bool fails;
	uint64_t ns;
	pthread_t thread;
};

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * CLOCK_S + (uint64_t)t.tv_nsec;
}

static void *work_run(void *arg)
{
	struct work *w = arg;
	const struct filter_ops *ops = w->filter->ops;
	struct env env = { .now_ns = CLOCK_S, .worker = w->worker };
	struct call call = { .env = &env };
	max_align_t mem[16];
	uint64_t start = cpu_ns();

	memset(mem, 0, sizeof(mem));
	for (unsigned i = 0; i < TRIES; i++) {
		struct attempt a = { .endpoint = 1, .number = 1, .start_ns = env.now_ns };

		env.now_ns += 10000;
		(void)ops->shut(w->filter, &call, 1);
		if (ops->attempt(w->filter, &call, mem, &a).kind != V_PASS)
			continue;
		a.why = reason_ok;
		a.status = w->fails && i % 8 == 0 ? 500 : 200;
		a.head_ns = env.now_ns;
		ops->attempted(w->filter, &call, mem, &a);
	}
	w->ns = cpu_ns() - start;
	return NULL;
}

static void guarded_open(struct guarded *g, const char *policy)
{
	struct conf_load load = { .path = "" };
	struct filter_target target = { .upstream = "app", .endpoint = "a:1", .id = 1 };
	struct conf_variant v = { .name = { .name = "guard" }, .schema = &breaker_schema };
	struct diags diags;
	struct node *root;

	arena_init(&g->arena, NULL);
	diags_init(&diags, &g->arena);
	load.arena = &g->arena;
	load.diags = &diags;
	root = node_read_text("bench", slice_str(policy), &g->arena, &diags);
	v.conf = arena_zalloc(&g->arena, breaker_schema.size);
	CHECK(root != NULL && schema_load(&load, &breaker_schema, root, v.conf));
	g->tables = table_registry_new();
	g->filter = filter_open(&v, g->tables, &diags);
	CHECK(g->filter != NULL && g->filter->ops->target(g->filter, &target));
}

static void guarded_close(struct guarded *g)
{
	filter_close(g->filter, g->tables);
	table_registry_free(g->tables);
	arena_fini(&g->arena);
}

static void measure(const char *what, const char *policy, unsigned threads, bool fails)
{
	uint64_t best = UINT64_MAX;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct work w[THREADS_MAX];
		struct guarded g;
		uint64_t ns = 0;

		guarded_open(&g, policy);
		for (unsigned t = 0; t < threads; t++) {
			w[t] = (struct work){ .filter = g.filter, .worker = t, .fails = fails };
			CHECK(pthread_create(&w[t].thread, NULL, work_run, &w[t]) == 0);
		}
		for (unsigned t = 0; t < threads; t++) {
			pthread_join(w[t].thread, NULL);
			ns += w[t].ns;
		}
		best = ns < best ? ns : best;
		guarded_close(&g);
	}
	printf("%-44s %u thr %7.1f ns\n", what, threads, (double)best / ((double)threads * TRIES));
}

int main(void)
{
	static const char row[] = "{ breaker: 5 }", share[] = "{ breaker: 50% }",
			  all[] = "{ breaker: 50%, slow: { over: 20s, first_byte: 5s } }";

	for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
		measure("failures in a row, all well", row, threads, false);
		measure("failures in a row, an eighth fails", row, threads, true);
		measure("share of failures, all well", share, threads, false);
		measure("share and slow calls, an eighth fails", all, threads, true);
	}
	return 0;
}
