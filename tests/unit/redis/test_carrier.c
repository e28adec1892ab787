/* Many processes' worth of shared limits on one real server: each has its carrier's thread, a worker that calls arrive at, and leases
 * of its own.  Every admitted call is put, by its time, to one exact bucket afterwards: how deep that goes into debt is the excess. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "redis/carrier.h"

#include "../redis_server.h"

enum { SIDECARS_MAX = 8, WAITING_MAX = 256, ADMITTED_MAX = 200000, SLACK_MS = 20 };

#define WAIT_NS (10 * CLOCK_MS)

struct cell {
	const char *name;
	unsigned sidecars;
	uint64_t rate, burst;
	double load, seconds;
	bool strict;
	double stop_at, go_on_at; /* the server's process, in s; 0: never */
	enum shared_kind kind;
};

struct waiting {
	struct shared_ask ask;
	struct worker *worker;
	uint64_t since_ns;
	bool used; /* by the worker; under its lock */
};

struct worker {
	const struct cell *cell;
	struct carrier *carrier;
	struct shared_policy *policy;
	pthread_t thread;
	pthread_mutex_t lock; /* what the carrier's thread adds to */
	uint64_t random, start_ns;
	uint64_t offered, waited, late, longest_ns;
	uint64_t *admitted; /* times */
	unsigned n_admitted;
	struct waiting waiting[WAITING_MAX];
};

struct result {
	uint64_t offered, admitted, waited, late, syncs, longest_ns;
	uint64_t excess, kappa;
	uint64_t fallbacks; /* decisions without Redis */
};

static struct redis_server server;
static struct worker worker[SIDECARS_MAX];

static double dice(struct worker *w)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (double)(w->random >> 11) / 9007199254740992.0;
}

static void count(struct worker *w, uint64_t at_ns)
{
	pthread_mutex_lock(&w->lock);
	if (w->n_admitted < ADMITTED_MAX)
		w->admitted[w->n_admitted++] = at_ns;
	pthread_mutex_unlock(&w->lock);
}

/* From when a call is counted, or came, to when that is seen. */
static void note_time(struct worker *w, uint64_t since_ns)
{
	uint64_t took_ns = clock_mono_ns() - since_ns;

	pthread_mutex_lock(&w->lock);
	if (took_ns > w->longest_ns)
		w->longest_ns = took_ns;
	pthread_mutex_unlock(&w->lock);
}

static void settle(struct lease_ask *a, enum lease_answer answer)
{
	struct waiting *k = (struct waiting *)(void *)a;
	struct worker *w = k->worker;

	if (answer == LEASE_ADMIT)
		count(w, clock_mono_ns());
	note_time(w, k->since_ns);
	pthread_mutex_lock(&w->lock);
	k->used = false;
	pthread_mutex_unlock(&w->lock);
}

static void on_settled(void *owner)
{
	(void)owner;
}

static struct waiting *place(struct worker *w)
{
	struct waiting *found = NULL;

	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < WAITING_MAX && found == NULL; i++)
		found = w->waiting[i].used ? NULL : &w->waiting[i];
	if (found != NULL)
		found->used = true;
	pthread_mutex_unlock(&w->lock);
	return found;
}

static void give_place_back(struct worker *w, struct waiting *k)
{
	pthread_mutex_lock(&w->lock);
	k->used = false;
	pthread_mutex_unlock(&w->lock);
}

static void arrive(struct worker *w)
{
	struct slice part = SLICE("203.0.113.7");
	struct shared_want want = {
		.policy = w->policy, .key = 42, .part = &part, .n_parts = 1, .cost = 1
	};
	struct waiting *k = place(w);
	uint64_t now = clock_mono_ns();
	enum lease_answer answer;

	w->offered++;
	if (k == NULL)
		return;
	k->worker = w;
	k->since_ns = now;
	k->ask.ask.settle = settle;
	answer = shared_admit(carrier_shared(w->carrier), now, &want, 1, &k->ask);
	if (answer == LEASE_PARK) {
		w->waited++;
		return;
	}
	if (answer == LEASE_ADMIT)
		count(w, now);
	note_time(w, now);
	give_place_back(w, k);
}

static void end_waits(struct worker *w)
{
	uint64_t now = clock_mono_ns();

	for (unsigned i = 0; i < WAITING_MAX; i++) {
		struct waiting *k = &w->waiting[i];
		enum lease_answer answer;
		bool due;

		pthread_mutex_lock(&w->lock);
		due = k->used && now > k->since_ns + WAIT_NS;
		pthread_mutex_unlock(&w->lock);
		if (!due || !shared_late(carrier_shared(w->carrier), now, &k->ask, &answer))
			continue;
		w->late++;
		if (answer == LEASE_ADMIT)
			count(w, now);
		give_place_back(w, k);
	}
}

static bool some_wait(struct worker *w)
{
	bool some = false;

	pthread_mutex_lock(&w->lock);
	for (unsigned i = 0; i < WAITING_MAX; i++)
		some = some || w->waiting[i].used;
	pthread_mutex_unlock(&w->lock);
	return some;
}

/* Evenly at random: as many as are due, every fifth of a millisecond. */
static void *work(void *arg)
{
	struct worker *w = arg;
	const struct cell *c = w->cell;
	double each = c->load * (double)c->rate / c->sidecars, due = 0;
	uint64_t last = w->start_ns, end = w->start_ns + (uint64_t)(c->seconds * 1e9), now;

	while ((now = clock_mono_ns()) < end) {
		struct timespec t = { .tv_nsec = 200000 };

		due += each * (double)(now > last ? now - last : 0) / 1e9;
		last = now > last ? now : last;
		for (; due > 0; due -= 2 * dice(w)) /* 1 on average */
			arrive(w);
		end_waits(w);
		nanosleep(&t, NULL);
	}
	while (some_wait(w)) {
		end_waits(w);
		pause_ms(1);
	}
	return NULL;
}

/*--------------------------------------------------------------------- cells */

static void open_worker(struct worker *w, const struct cell *c, unsigned i)
{
	static struct redis_place place;
	struct shared_rule rule = { .kind = c->kind,
				    .strict = c->strict,
				    .overshoot_ppm = 50000,
				    .parked_max = WAITING_MAX,
				    .count = c->rate,
				    .period_us = 1000000,
				    .burst = c->burst };
	struct carrier_options o = { .redis = { .place = &place,
						.n_places = 1,
						.timeout_ns = 20 * CLOCK_MS,
						.connect_timeout_ns = 250 * CLOCK_MS },
				     .space = c->name,
				     .salt = SLICE("pepper and salt"),
				     .peers = c->load > 0 ? c->sidecars : 0,
				     .random = clock_mono_ns() * (2 * i + 1),
				     .settled = on_settled };
	const char *why;

	place = (struct redis_place){ .is_unix = false, .port = server.port };
	snprintf(place.host, sizeof(place.host), "127.0.0.1");
	*w = (struct worker){ .cell = c, .random = 77777 * (i + 1) };
	pthread_mutex_init(&w->lock, NULL);
	w->admitted = calloc(ADMITTED_MAX, sizeof(uint64_t));
	w->carrier = carrier_new(&o);
	assert_true(w->admitted != NULL && w->carrier != NULL);
	w->policy = shared_policy_get(carrier_shared(w->carrier), "p", &rule, 100, &why);
	assert_non_null(w->policy);
	assert_true(carrier_start(w->carrier));
}

static void close_worker(struct worker *w)
{
	carrier_stop(w->carrier);
	shared_policy_put(carrier_shared(w->carrier), w->policy);
	carrier_free(w->carrier);
	pthread_mutex_destroy(&w->lock);
	free(w->admitted);
}

static void wait_until_up(struct worker *w)
{
	struct shared_gauge g = { .down = true };

	for (unsigned ms = 0; g.down; ms += 5) {
		assert_true(ms < SERVER_PATIENCE_MS);
		pause_ms(5);
		shared_gauge(carrier_shared(w->carrier), &g);
	}
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t deepest(const uint64_t *at, size_t n, uint64_t rate, uint64_t burst)
{
	uint64_t token = CLOCK_S / rate, full = burst * token, full_at = 0, deep = 0;

	for (size_t i = 0; i < n; i++) {
		full_at = (full_at > at[i] ? full_at : at[i]) + token;
		if (full_at - at[i] > full && full_at - at[i] - full > deep)
			deep = full_at - at[i] - full;
	}
	return (deep + token - 1) / token;
}

/* By how much the fullest window of a second had more than its limit.  The server's clock is this machine's. */
static uint64_t above(const uint64_t *at, size_t n, uint64_t limit)
{
	uint64_t ahead = clock_wall_ns() - clock_mono_ns(), in = 0, most = 0, window = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t its = (at[i] + ahead) / CLOCK_S;

		in = its == window ? in + 1 : 1;
		window = its;
		most = in > most ? in : most;
	}
	return most > limit ? most - limit : 0;
}

static void sum_up(const struct cell *c, struct result *r)
{
	static uint64_t all[SIDECARS_MAX * ADMITTED_MAX];
	size_t n = 0;
	struct lease_rule rule = { .burst = c->burst,
				   .count = c->rate,
				   .kind = c->kind == SHARED_BUCKET ? LEASE_BUCKET : LEASE_WINDOW,
				   .period_ns = CLOCK_S,
				   .overshoot_ppm = 50000,
				   .strict = c->strict };
	struct lease_caps caps = lease_caps_of(&rule, c->sidecars);

	for (unsigned i = 0; i < c->sidecars; i++) {
		struct worker *w = &worker[i];
		struct shared_policy_gauge g;

		memcpy(all + n, w->admitted, w->n_admitted * sizeof(uint64_t));
		n += w->n_admitted;
		r->offered += w->offered;
		r->waited += w->waited;
		r->late += w->late;
		r->longest_ns = w->longest_ns > r->longest_ns ? w->longest_ns : r->longest_ns;
		shared_policy_gauge(carrier_shared(w->carrier), w->policy, &g);
		r->fallbacks += g.fallbacks;
		r->syncs += stat_read(&carrier_stats(w->carrier)->results[REDIS_OK]);
	}
	qsort(all, n, sizeof(uint64_t), by_time);
	r->admitted = n;
	r->excess =
	    c->kind == SHARED_BUCKET ? deepest(all, n, c->rate, c->burst) : above(all, n, c->rate);
	r->kappa = c->sidecars * (caps.hold + caps.credit);
}

static void sleep_until(uint64_t at_ns)
{
	uint64_t now = clock_mono_ns();

	if (at_ns > now)
		pause_ms((long)((at_ns - now) / CLOCK_MS));
}

static void pause_server(const struct cell *c, uint64_t start_ns)
{
	if (c->stop_at <= 0)
		return;
	sleep_until(start_ns + (uint64_t)(c->stop_at * 1e9));
	kill(server.pid, SIGSTOP);
	sleep_until(start_ns + (uint64_t)(c->go_on_at * 1e9));
	kill(server.pid, SIGCONT);
}

static struct result run(const struct cell *c)
{
	struct result r = { .offered = 0 };
	uint64_t start;

	for (unsigned i = 0; i < c->sidecars; i++)
		open_worker(&worker[i], c, i);
	for (unsigned i = 0; i < c->sidecars; i++)
		wait_until_up(&worker[i]);
	start = clock_mono_ns();
	for (unsigned i = 0; i < c->sidecars; i++) {
		worker[i].start_ns = start;
		assert_int_equal(pthread_create(&worker[i].thread, NULL, work, &worker[i]), 0);
	}
	pause_server(c, start);
	for (unsigned i = 0; i < c->sidecars; i++)
		pthread_join(worker[i].thread, NULL);
	sum_up(c, &r);
	for (unsigned i = 0; i < c->sidecars; i++)
		close_worker(&worker[i]);
	print_message(
	    "%-10s N %u  offered %4.1fx  admitted %6.2f %%  excess %3" PRIu64 " of %3" PRIu64
	    "  ops/call %5.3f  waited %6.3f %% (longest %.1f ms)  late %" PRIu64
	    "  without redis %" PRIu64 "\n",
	    c->name, c->sidecars, c->load,
	    100 * (double)r.admitted / ((double)c->burst + (double)c->rate * c->seconds), r.excess,
	    r.kappa, (double)r.syncs / (double)r.admitted,
	    100 * (double)r.waited / (double)r.offered, (double)r.longest_ns / 1e6, r.late,
	    r.fallbacks);
	return r;
}

/* Calls are counted when a thread gets to it, not when tokens were taken: on a busy machine as much later as the
 * longest of them took.  And there Redis may answer late: what is decided without it (L5) is beyond the bound (L1),
 * but for where that is what is measured. */
static uint64_t slack_of(const struct cell *c, const struct result *r)
{
	uint64_t longest_ms = r->longest_ns / CLOCK_MS;
	uint64_t later = c->rate * (longest_ms > SLACK_MS ? longest_ms : SLACK_MS) / 1000;

	return c->stop_at > 0 ? later : later + r->fallbacks;
}

static void check(const struct cell *c, const struct result *r)
{
	uint64_t slack = slack_of(c, r);

	assert_true(r->excess <= r->kappa + slack);
	assert_true((double)r->admitted <=
		    (double)(c->burst + r->kappa + slack) + (double)c->rate * c->seconds);
}

static void test_leases(void **state)
{
	static const struct cell cells[] = {
		{ "lease", 1, 4000, 2000, 0.5, 1.5, false, 0, 0 },
		{ "lease", 4, 4000, 2000, 0.9, 1.5, false, 0, 0 },
		{ "lease", 4, 4000, 2000, 2, 1.5, false, 0, 0 },
		{ "lease", 8, 4000, 2000, 2, 1.5, false, 0, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cells) / sizeof(cells[0]); i++) {
		struct result r = run(&cells[i]);

		check(&cells[i], &r);
		pause_ms(600); /* the bucket fills up */
	}
}

static void test_windows(void **state)
{
	static const struct cell cells[] = {
		{ "sliding", 4, 2000, 2000, 2, 3, false, 0, 0, SHARED_SLIDING },
		{ "fixed", 4, 2000, 2000, 2, 3, false, 0, 0, SHARED_FIXED },
	};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct result r = run(&cells[i]);

		assert_true(r.excess <= r.kappa + slack_of(&cells[i], &r));
		assert_true(r.admitted >= 2000 * 2);
	}
}

static void test_strict(void **state)
{
	static const struct cell c = { "strict", 4, 2000, 400, 2, 1.5, true, 0, 0 };
	struct result r = run(&c);

	(void)state;
	check(&c, &r);
}

/*------------------------------------------------------------------- permits */

enum { CAP = 5, HOLDERS = 3, TAKES = 300 };

static _Atomic unsigned under_way, most_under_way, taken;

struct permit {
	struct shared_permit permit;
	_Atomic int answer;
};

static void on_permit(struct permits_ask *a, enum lease_answer answer)
{
	atomic_store(&((struct permit *)(void *)a)->answer, (int)answer);
}

static enum lease_answer wait_for_permit(struct worker *w, struct permit *p)
{
	uint64_t until = clock_mono_ns() + 50 * CLOCK_MS;
	enum lease_answer answer;

	while (atomic_load(&p->answer) < 0 && clock_mono_ns() < until)
		pause_ms(0);
	if (atomic_load(&p->answer) < 0 &&
	    shared_permit_late(carrier_shared(w->carrier), clock_mono_ns(), &p->permit, &answer))
		return answer;
	return (enum lease_answer)atomic_load(&p->answer);
}

static void note_under_way(void)
{
	unsigned n = atomic_fetch_add(&under_way, 1) + 1, most = atomic_load(&most_under_way);

	while (n > most && !atomic_compare_exchange_weak(&most_under_way, &most, n))
		;
	atomic_fetch_add(&taken, 1);
}

/* For a moment each. */
static void *take_permits(void *arg)
{
	struct worker *w = arg;
	struct slice part = SLICE("model");
	struct shared_want want = { .policy = w->policy, .key = 1, .part = &part, .n_parts = 1 };

	for (unsigned i = 0; i < TAKES; i++) {
		struct permit p = { .permit.ask.settle = on_permit, .answer = -1 };
		enum lease_answer answer =
		    shared_acquire(carrier_shared(w->carrier), clock_mono_ns(), &want, &p.permit);

		if (answer == LEASE_PARK)
			answer = wait_for_permit(w, &p);
		if (answer == LEASE_ADMIT)
			note_under_way();
		pause_ms(1);
		if (answer != LEASE_ADMIT)
			continue;
		atomic_fetch_sub(&under_way, 1);
		shared_release(carrier_shared(w->carrier), clock_mono_ns(), &p.permit);
	}
	return NULL;
}

static void open_holder(struct worker *w, const struct cell *c, unsigned i)
{
	struct shared_rule rule = { .kind = SHARED_PERMITS,
				    .on_error = LEASE_REFUSE,
				    .count = CAP,
				    .period_us = 5000000,
				    .parked_max = 8 };
	const char *why;

	open_worker(w, c, i);
	wait_until_up(w);
	shared_policy_put(carrier_shared(w->carrier), w->policy);
	w->policy = shared_policy_get(carrier_shared(w->carrier), "in-flight", &rule, 10, &why);
	assert_non_null(w->policy);
}

/* Three replicas with three threads each: never more than five calls at once, and as many where there are calls. */
static void test_permits(void **state)
{
	static const struct cell c = { "permits", HOLDERS, 1000, 1000, 1, 0, false, 0, 0 };
	pthread_t thread[HOLDERS][3];

	(void)state;
	for (unsigned i = 0; i < HOLDERS; i++)
		open_holder(&worker[i], &c, i);
	for (unsigned i = 0; i < HOLDERS * 3; i++)
		assert_int_equal(
		    pthread_create(&thread[i / 3][i % 3], NULL, take_permits, &worker[i / 3]), 0);
	for (unsigned i = 0; i < HOLDERS * 3; i++)
		pthread_join(thread[i / 3][i % 3], NULL);
	print_message("permits: at most %u of %u, %u times\n", atomic_load(&most_under_way), CAP,
		      atomic_load(&taken));
	assert_int_equal(atomic_load(&most_under_way), CAP);
	for (unsigned i = 0; i < HOLDERS; i++)
		close_worker(&worker[i]);
}

/* Nobody said how many there are: each sees the others within a second or two. */
static void test_replicas_are_counted(void **state)
{
	static const struct cell c = { "counted", 3, 1000, 1000, 0, 0, false, 0, 0 };
	struct shared_gauge g = { .peers = 0 };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		open_worker(&worker[i], &c, i);
		wait_until_up(&worker[i]);
	}
	for (unsigned ms = 0; g.peers != 3; ms += 5) {
		assert_true(ms < SERVER_PATIENCE_MS);
		pause_ms(5);
		shared_gauge(carrier_shared(worker[0].carrier), &g);
	}
	for (unsigned i = 0; i < 3; i++)
		close_worker(&worker[i]);
}

/* The server stands still for half a second: nothing is refilled, nothing is charged twice. */
static void test_a_server_that_stands_still(void **state)
{
	static const struct cell c = { "stopped", 4, 4000, 1000, 2, 3, false, 0.7, 1.2 };
	struct result r = run(&c);

	(void)state;
	/* a charge that was under way as it stopped is not known to have arrived: a credit for each that was lost */
	r.kappa += 3 * r.kappa / 4;
	check(&c, &r);
	/* nor is anything let in while the machine stands still */
	assert_true((double)r.admitted >=
		    0.8 * (1000 + 4000 * (3 - (double)r.longest_ns / (double)CLOCK_S)));
}

static int start(void **state)
{
	(void)state;
	return redis_server_start(&server, true, NULL) ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	redis_server_stop(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leases),  cmocka_unit_test(test_windows),
		cmocka_unit_test(test_strict),  cmocka_unit_test(test_replicas_are_counted),
		cmocka_unit_test(test_permits), cmocka_unit_test(test_a_server_that_stands_still),
	};

	if (!redis_is_installed()) {
		print_message("not run: there is no redis-server\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, start, stop);
}
