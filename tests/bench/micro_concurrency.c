/* micro_concurrency.c - what it costs to take a slot and give it back.
 *
 * Prints ns of CPU time per pair, of the best of several rounds: of one key, and of as many as
 * there are, in random order. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/slots.h"

enum { PAIRS = 1000000, ROUNDS = 8, THREADS_MAX = 2 };

struct work {
	struct slots *slots;
	const struct slots_rule *rule;
	uint32_t keys;
	uint64_t seed, ns;
	unsigned number;
	pthread_t thread;
};

static atomic_uint ready;
static atomic_bool go;

/* Of this thread: other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * CLOCK_S + (uint64_t)t.tv_nsec;
}

/* As even as a keyed hash, without its cost: that is the key's. */
static uint64_t key_of(uint64_t n)
{
	n ^= n >> 31;
	n *= UINT64_C(0x9e3779b97f4a7c15);
	n ^= n >> 29;
	n *= UINT64_C(0xbf58476d1ce4e5b9);
	return n ^ n >> 32;
}

static void *work_run(void *arg)
{
	struct work *w = arg;
	struct env env = { .worker = w->number, .now_ns = CLOCK_S };
	struct slots_ask ask = { .env = &env, .serial = w->rule->serial, .cap = w->rule->cap };
	uint64_t n = w->seed, start;
	struct slots_view view;
	struct slot slot;

	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&go))
		;
	start = cpu_ns();
	for (int i = 0; i < PAIRS; i++) {
		n = n * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		ask.key = w->keys == 0 ? 0 : key_of((n >> 32) % w->keys);
		env.now_ns += 1000;
		CHECK(slots_take(w->slots, &ask, &slot, &view));
		slots_give(w->slots, &env, &slot);
	}
	w->ns = cpu_ns() - start;
	return NULL;
}

static uint64_t round_of(struct work *w, unsigned threads)
{
	uint64_t ns = 0;

	atomic_store(&ready, 0);
	atomic_store(&go, false);
	for (unsigned t = 0; t < threads; t++)
		CHECK(pthread_create(&w[t].thread, NULL, work_run, &w[t]) == 0);
	while (atomic_load(&ready) < threads)
		;
	atomic_store(&go, true);
	for (unsigned t = 0; t < threads; t++) {
		pthread_join(w[t].thread, NULL);
		ns += w[t].ns;
	}
	return ns;
}

static uint32_t same_cap(void *ctx, uint64_t key, const struct ip *client)
{
	(void)key, (void)client;
	return *(const uint32_t *)ctx;
}

static void measure(const char *what, uint32_t keys, unsigned threads)
{
	struct table_id id = { "bench", "concurrency", keys == 0 ? "" : "client.ip", "local" };
	struct table_registry *registry = table_registry_new();
	struct slots_rule rule = { .cap = 1000, .keys = keys };
	struct slots *slots = slots_open(registry, &id, &rule);
	struct env env = { .now_ns = CLOCK_S };
	struct work w[THREADS_MAX];
	uint64_t best = UINT64_MAX;

	CHECK(slots != NULL);
	slots_enforce(slots, &rule, &env, same_cap, &rule.cap);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t ns;

		for (unsigned t = 0; t < threads; t++)
			w[t] = (struct work){ .slots = slots,
					      .rule = &rule,
					      .keys = keys,
					      .seed = 1000 * round + t,
					      .number = t };
		ns = round_of(w, threads);
		best = ns < best ? ns : best;
	}
	printf("%-36s %8" PRIu32 " keys %u thr %7.1f ns a pair\n", what, keys, threads,
	       (double)best / ((double)threads * PAIRS));
	slots_close(registry, slots);
	table_registry_free(registry);
}

int main(void)
{
	measure("no key", 0, 1);
	measure("no key, both at it all the time", 0, 2);
	measure("keys", 1000, 1);
	measure("keys", 100000, 1);
	measure("keys", 100000, 2);
	return 0;
}
