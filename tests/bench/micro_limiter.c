/* micro_limiter.c - what one decision of a limiter costs, in memory, with a million keys and two
 * threads.
 *
 * Prints ns of CPU time per decision, of the best of several rounds.  Keys are visited in random
 * order, so that nearly every decision meets a cold cache line, as it does in a proxy. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/table.h"

enum { DECISIONS = 1000000, ROUNDS = 8, THREADS_MAX = 2 };

struct work {
	_Atomic uint64_t
	    *line; /* the floor: one swap in a random line of as much memory, and nothing else */
	struct table *table;
	uint16_t tag;
	uint32_t keys;
	uint64_t seed, start_ns, step_ns;
	uint64_t ns, passed;
	pthread_t thread;
};

/* As even as a keyed hash, without its cost: that is the key's, not the table's. */
static uint64_t key_of(uint64_t n)
{
	n ^= n >> 31;
	n *= UINT64_C(0x9e3779b97f4a7c15);
	n ^= n >> 29;
	n *= UINT64_C(0xbf58476d1ce4e5b9);
	return n ^ n >> 32;
}

/* Of this thread: other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * CLOCK_S + (uint64_t)t.tv_nsec;
}

static atomic_uint ready;
static atomic_bool go;

static void *work_run(void *arg)
{
	struct work *w = arg;
	uint64_t n = w->seed, now = w->start_ns, start;
	struct quota_view view;

	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&go))
		;
	start = cpu_ns();
	for (int i = 0; i < DECISIONS; i++) {
		n = n * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		now += w->step_ns;
		w->passed +=
		    table_take(w->table, &w->tag, key_of((n >> 32) % w->keys), now, 1, &view);
	}
	w->ns = cpu_ns() - start;
	return NULL;
}

static void *floor_run(void *arg)
{
	struct work *w = arg;
	uint64_t n = w->seed, start;

	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&go))
		;
	start = cpu_ns();
	for (int i = 0; i < DECISIONS; i++) {
		_Atomic uint64_t *at;
		uint64_t old;

		n = n * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		at = &w->line[(key_of((n >> 32) % w->keys) >> 32) * (w->keys / 4) >> 32 << 3];
		old = atomic_load(at);
		w->passed += atomic_compare_exchange_strong(at, &old, old + 1);
		n += old; /* the next waits for this one, as a decision waits for its cell */
	}
	w->ns = cpu_ns() - start;
	return NULL;
}

static void run(struct work *w, unsigned threads)
{
	atomic_store(&ready, 0);
	atomic_store(&go, false);
	for (unsigned t = 0; t < threads; t++)
		CHECK(pthread_create(&w[t].thread, NULL, w[t].line != NULL ? floor_run : work_run,
				     &w[t]) == 0);
	while (atomic_load(&ready) < threads)
		;
	atomic_store(&go, true);
	for (unsigned t = 0; t < threads; t++)
		pthread_join(w[t].thread, NULL);
}

static void measure_floor(uint32_t keys)
{
	_Atomic uint64_t *line = aligned_alloc(64, keys / 4 * 64);
	uint64_t best = UINT64_MAX;

	CHECK(line != NULL);
	memset((void *)line, 0, keys / 4 * 64);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct work w[THREADS_MAX];

		for (unsigned t = 0; t < THREADS_MAX; t++)
			w[t] =
			    (struct work){ .line = line, .keys = keys, .seed = 1000 * round + t };
		run(w, THREADS_MAX);
		best = w[0].ns + w[1].ns < best ? w[0].ns + w[1].ns : best;
	}
	printf("%-44s %8" PRIu32 " keys %u thr %7.1f ns\n", "floor: a swap in a random cache line",
	       keys, THREADS_MAX, (double)best / ((double)THREADS_MAX * DECISIONS));
	free((void *)line);
}

struct scene {
	const char *what;
	uint32_t keys, max_keys;
	unsigned threads;
	uint64_t count, burst, step_ns; /* burst 0: windows of a second */
	bool sliding;
	uint64_t wait_ns;
};

static struct quota_rule rule_of(const struct scene *s)
{
	struct quota_rule r = { .algorithm = TOKEN_BUCKET };

	if (s->burst == 0) {
		r.algorithm = s->sliding ? SLIDING_WINDOW : FIXED_WINDOW;
		CHECK(window_rule_init(&r.window, s->count, CLOCK_S, s->sliding) == NULL);
		return r;
	}
	CHECK(gcra_rule_init(&r.bucket, s->count, CLOCK_S, s->burst) == NULL);
	CHECK(gcra_rule_shape(&r.bucket, s->wait_ns, 0) == NULL);
	return r;
}

static void measure(const struct scene *s)
{
	static const struct table_id id = { "bench", "rate", "client.ip", "local" };
	struct table_registry *registry = table_registry_new();
	struct work w[THREADS_MAX];
	struct table_use use;
	struct table_rule rule = { .match = 0, .rule = rule_of(s) };
	struct quota_view view;
	uint64_t keys, evictions, passed = 0, best = UINT64_MAX;

	CHECK(registry != NULL && table_get(registry, &id, s->max_keys, &use));
	CHECK(table_rules_get(&use, &rule, 1));
	for (uint32_t i = 0; i < s->keys; i++)
		table_take(use.table, &rule.tag, key_of(i), CLOCK_S, 1, &view);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t ns = 0;

		passed = 0;
		for (unsigned t = 0; t < s->threads; t++)
			w[t] = (struct work){ .table = use.table,
					      .tag = rule.tag,
					      .keys = s->keys,
					      .seed = 1000 * round + t,
					      .start_ns = CLOCK_S + round * DECISIONS * s->step_ns,
					      .step_ns = s->step_ns };
		run(w, s->threads);
		for (unsigned t = 0; t < s->threads; t++) {
			ns += w[t].ns;
			passed += w[t].passed;
		}
		best = ns < best ? ns : best;
	}
	table_gauge(use.table, &keys, &evictions);
	printf("%-44s %8" PRIu32 " keys %u thr %7.1f ns  (%4.1f %% passed, %" PRIu64
	       " evictions)\n",
	       s->what, s->keys, s->threads, (double)best / ((double)s->threads * DECISIONS),
	       100.0 * (double)passed / ((double)s->threads * DECISIONS), evictions);
	table_put(registry, &use);
	table_registry_free(registry);
}

int main(void)
{
	static const struct scene scenes[] = {
		{ "few keys", 1000, 100000, 1, 100, 200, 100 },
		{ "few keys", 1000, 100000, 2, 100, 200, 100 },
		{ "one key, contended", 1, 100000, 2, 1000000, 2000000, 100 },
		{ "a million keys, room for all", 1000000, 1000000, 1, 100, 200, 100 },
		{ "a million keys, room for all", 1000000, 1000000, 2, 100, 200, 100 },
		{ "a million keys, rate no divisor of a second", 1000000, 1000000, 2, 7, 14, 100 },
		{ "a million keys in debt, room for a tenth", 1000000, 100000, 2, 1, 200, 100 },
		{ "a million keys, all refused", 1000000, 2000000, 2, 1, 1, 1 },
		{ "few keys, delayed", 1000, 100000, 1, 100, 1, 100000, false, 60 * CLOCK_S },
		{ "few keys, fixed window", 1000, 100000, 1, 100, 0, 10000 },
		{ "few keys, sliding window", 1000, 100000, 1, 100, 0, 10000, true },
		{ "a million keys, fixed window", 1000000, 1000000, 2, 100, 0, 100 },
		{ "a million keys, sliding window", 1000000, 1000000, 2, 100, 0, 100, true },
	};

	measure_floor(1000);
	measure_floor(1000000);
	for (size_t i = 0; i < sizeof(scenes) / sizeof(scenes[0]); i++)
		measure(&scenes[i]);
	return 0;
}
