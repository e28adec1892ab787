/* micro_shared.c - what a decision about a shared limit costs the worker, while a carrier answers beside it.
 *
 * Prints ns of CPU time per call, of the best of several rounds: of one key and of many in random order, by one thread
 * and by two.  The carrier here answers at once and grants all: no server takes part. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "store/shared.h"

enum { CALLS = 500000, ROUNDS = 5, THREADS_MAX = 2 };

struct work {
	struct shared_policy *policy;
	uint32_t keys;
	uint64_t seed, ns, parked;
	pthread_t thread;
};

static struct shared_limits *shared;
static atomic_uint ready, running;
static atomic_bool go;
static uint64_t syncs;

/* Of this thread: other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * CLOCK_S + (uint64_t)t.tv_nsec;
}

static void ignore(void *owner)
{
	(void)owner;
}

static void settle(struct lease_ask *a, enum lease_answer answer)
{
	(void)a, (void)answer;
}

static void call(struct work *w, uint64_t key)
{
	struct slice part = SLICE("198.51.100.7");
	struct shared_want want = {
		.policy = w->policy, .key = key, .part = &part, .n_parts = 1, .cost = 1
	};
	struct shared_ask ask;

	ask.ask.settle = settle;
	ask.ask.at_once = false;
	if (shared_admit(shared, clock_mono_ns(), &want, 1, &ask) != LEASE_PARK)
		return;
	w->parked++;
	shared_leave(shared, &ask);
}

static void *work_run(void *arg)
{
	struct work *w = arg;
	uint64_t n = w->seed, start;

	atomic_fetch_add(&ready, 1);
	while (!atomic_load(&go))
		;
	start = cpu_ns();
	for (unsigned i = 0; i < CALLS; i++) {
		n = n * UINT64_C(6364136223846793005) + 1;
		call(w, w->keys == 1 ? 7 : n >> 33 & (w->keys - 1));
	}
	w->ns = cpu_ns() - start;
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void carry(void)
{
	struct script_call script;
	struct shared_key *k;

	while ((k = shared_next(shared, clock_mono_ns(), &script)) != NULL) {
		struct sync_reply r = { .granted = 1000, .left = 1000000 };

		shared_reply(shared, clock_mono_ns(), k, &r);
		syncs++;
	}
}

static double round_of(struct shared_policy *p, uint32_t keys, unsigned threads)
{
	struct work work[THREADS_MAX];
	uint64_t ns = 0;

	atomic_store(&ready, 0);
	atomic_store(&go, false);
	atomic_store(&running, threads);
	for (unsigned i = 0; i < threads; i++) {
		work[i] = (struct work){ .policy = p, .keys = keys, .seed = 99 + i };
		CHECK(pthread_create(&work[i].thread, NULL, work_run, &work[i]) == 0);
	}
	while (atomic_load(&ready) < threads)
		;
	atomic_store(&go, true);
	while (atomic_load(&running) > 0) {
		struct timespec t = { .tv_nsec = 100000 };

		carry();
		nanosleep(&t, NULL);
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(work[i].thread, NULL);
		ns += work[i].ns;
	}
	carry();
	return (double)ns / ((double)CALLS * threads);
}

static void measure(uint32_t keys, unsigned threads)
{
	struct shared_rule rule = { .kind = SHARED_BUCKET,
				    .overshoot_ppm = 50000,
				    .parked_max = 64,
				    .count = 100000000,
				    .period_us = 1000000,
				    .burst = 100000000 };
	const char *why;
	struct shared_policy *p = shared_policy_get(shared, "p", &rule, 1u << 20, &why);
	double best = 1e9;

	CHECK(p != NULL);
	for (unsigned i = 0; i < ROUNDS; i++) {
		double ns = round_of(p, keys, threads);

		best = ns < best ? ns : best;
	}
	printf("%7u keys, %u threads: %6.1f ns a call\n", keys, threads, best);
	shared_policy_put(shared, p);
}

int main(void)
{
	struct shared_options o = { .space = "bench",
				    .sidecar = "s",
				    .now_ns = clock_mono_ns(),
				    .random = 5,
				    .wake = ignore,
				    .settled = ignore };

	shared = shared_new(&o);
	CHECK(shared != NULL);
	shared_up(shared, o.now_ns);
	for (unsigned threads = 1; threads <= THREADS_MAX; threads++) {
		measure(1, threads);
		measure(1u << 16, threads);
	}
	shared_free(shared);
	return 0;
}
