/* Rates with `store: redis`, from YAML to verdict: calls on workers, and a carrier that answers them when told to, or
 * from a thread of its own.  The last word is always the same: what is charged there is what was let in here. */
#include "policies.h"

#include <pthread.h>
#include <stdatomic.h>

#include "filters/sharing.h"
#include "filters/wait.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define T  (1000 * S)

enum { WORKERS = 2 };

static struct table_registry *tables;
static struct shared_limits *shared;
static struct sharing sharing;
static struct wakes wakes[WORKERS];
static _Atomic uint64_t now;

static void tell(struct wakes *w, bool own)
{
	(void)w, (void)own;
}

static void on_wake(void *owner)
{
	(void)owner;
}

static int setup(void **state)
{
	struct shared_options o = { .space = "t",
				    .salt = SLICE("salt"),
				    .sidecar = "side1",
				    .now_ns = T,
				    .random = 3,
				    .wake = on_wake,
				    .settled = on_wake };

	(void)state;
	now = T;
	tables = policies_tables();
	shared = shared_new(&o);
	assert_non_null(shared);
	sharing =
	    (struct sharing){ .limits = shared, .overshoot_ppm = 50000, .timeout_ns = 20 * MS };
	table_registry_share(tables, &sharing);
	for (unsigned i = 0; i < WORKERS; i++)
		wakes_init(&wakes[i], tell, NULL);
	shared_up(shared, now);
	return 0;
}

/* Not after a failure: what it left behind is not to be asked for. */
static void end(void)
{
	table_registry_free(tables);
	shared_free(shared);
	for (unsigned i = 0; i < WORKERS; i++)
		wakes_fini(&wakes[i]);
}

/*------------------------------------------------------------------- calls */

/* A call that lasts until it is told to end. */
struct guest {
	struct visit v; /* first */
	struct verdict last;
	unsigned resumed;
};

static void on_resume(struct call *c, struct verdict v)
{
	struct guest *g = (struct guest *)(void *)((char *)c - offsetof(struct visit, call));

	g->last = v.kind == V_PASS ? chain_admit(c) : v;
	g->resumed++;
}

static void guest_init(struct guest *g, unsigned worker)
{
	visit_init(&g->v, "10.0.0.1", now);
	g->v.env.worker = worker;
	g->v.env.wakes = wakes;
	g->v.call.resume = on_resume;
	g->resumed = 0;
}

static struct verdict come(struct guest *g, const struct policies *p)
{
	guest_init(g, 0);
	return g->last = visit_admit(&g->v, p);
}

static struct verdict come_with(struct guest *g, const struct policies *p, const char *name,
				const char *value)
{
	guest_init(g, 0);
	visit_header(&g->v, name, value);
	return g->last = visit_admit(&g->v, p);
}

static void go(struct guest *g)
{
	g->v.env.now_ns = now;
	visit_done(&g->v);
}

static struct verdict be_late(struct guest *g)
{
	g->v.env.now_ns = now;
	return g->last = chain_late(&g->v.call);
}

/*----------------------------------------------------------------- carrier */

/* What the last sync said, in the last words of a script's call. */
struct told {
	struct shared_key *key; /* NULL: there was nothing */
	long long owed, least, want;
};

/* Buckets and windows end with these three. */
static struct told hear(void)
{
	struct script_call call;
	struct told t = { .key = shared_next(shared, now, &call) };
	long long number[32];
	unsigned n = 0;
	const char *at = call.text, *end = call.text + call.n;

	while (t.key != NULL && at < end) {
		const char *line = memchr(at, '\n', (size_t)(end - at));
		size_t bytes = strtoul(at + 1, NULL, 10);

		number[n++ % 32] = strtoll(line + 1, NULL, 10);
		at = line + 1 + bytes + 2;
	}
	if (t.key == NULL)
		return t;
	assert_true(n >= 3);
	t.owed = number[n - 3];
	t.least = number[n - 2];
	t.want = number[n - 1];
	return t;
}

/* Of 10/h. */
static void answer(const struct told *t, uint64_t granted, uint64_t left, uint64_t retry_ms)
{
	struct sync_reply r = { .granted = granted,
				.left = left,
				.retry_us = retry_ms * 1000,
				.reset_us = left < 10 ? (10 - left) * 360 * 1000000 : 0 };

	assert_non_null(t->key);
	shared_reply(shared, now, t->key, &r);
}

/* All that is wanted is granted; how much was charged. */
static long long grant_all(void)
{
	struct told t;
	long long charged = 0;

	while ((t = hear()).key != NULL) {
		charged += t.owed + t.want;
		answer(&t, (uint64_t)t.want, 50, 0);
	}
	return charged;
}

static void open_all(struct policies *p, const char *yaml)
{
	struct env env = { .now_ns = now };

	policies_open(p, tables, yaml);
	for (uint8_t i = 0; i < p->chain.n; i++)
		if (p->filter[i]->ops->in_force != NULL)
			p->filter[i]->ops->in_force(p->filter[i], &env);
}

static uint64_t shown(const struct policies *p, enum filter_metric metric);

#define STRICT "{ rate: 10/h, burst: 10, store: redis, share: strict }"

/*------------------------------------------------------------------- waits */

static void test_an_answer_ends_the_wait(void **state)
{
	struct policies p;
	struct guest a, b, c, d;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	assert_int_equal(come(&a, &p).kind, V_PENDING);
	assert_int_equal(a.last.ms, 10); /* half the timeout */
	assert_int_equal(come(&b, &p).kind, V_PENDING);
	assert_int_equal(come(&c, &p).kind, V_PENDING);
	t = hear();
	assert_int_equal(t.owed, 0);
	assert_int_equal(t.want, 3);
	answer(&t, 2, 0, 5000);
	assert_int_equal(a.resumed + b.resumed + c.resumed, 0); /* not on the carrier's thread */
	wakes_run(&wakes[0]);
	assert_int_equal(a.last.kind, V_PASS);
	assert_int_equal(b.last.kind, V_PASS);
	assert_int_equal(c.last.kind, V_DENY);
	assert_ptr_equal(c.last.why, reason_rate_limited);
	assert_in_range(c.last.ms, 5000, 6000);
	assert_int_equal(c.v.call.out.limit.limit, 10);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 2);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_DENY), 1);
	assert_int_equal(come(&d, &p).kind, V_DENY); /* it is known */
	go(&a);
	go(&b);
	go(&c);
	go(&d);
	assert_null(hear().key);
	policies_close(&p);
	end();
}

/* Without an answer in time it is decided as without Redis; the answer is for others then. */
static void test_late(void **state)
{
	struct policies p;
	struct guest a, b;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	t = hear();
	now += 10 * MS;
	assert_int_equal(be_late(&a).kind, V_PASS); /* the one token of who is new */
	assert_int_equal(come(&b, &p).kind, V_DENY);
	assert_int_equal(shown(&p, SHOW_FALLBACKS), 2);
	answer(&t, 1, 9, 0);
	wakes_run(&wakes[0]);
	assert_int_equal(a.resumed, 0);
	t = hear();
	assert_int_equal(t.owed, 0); /* what was granted then pays for it */
	assert_int_equal(t.want, 0);
	go(&a);
	go(&b);
	policies_close(&p);
	end();
}

/* It was answered, and its worker's timer is there before its wakes. */
static void test_late_when_the_answer_is_on_its_way(void **state)
{
	struct policies p;
	struct guest a, b;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	come(&b, &p);
	t = hear();
	answer(&t, 1, 0, 5000);
	assert_int_equal(be_late(&a).kind, V_PASS);
	assert_int_equal(be_late(&b).kind, V_DENY);
	assert_in_range(b.last.ms, 5000, 6000);
	wakes_run(&wakes[0]);
	assert_int_equal(a.resumed + b.resumed, 0);
	assert_int_equal(shown(&p, SHOW_FALLBACKS), 0);
	go(&a);
	go(&b);
	policies_close(&p);
	end();
}

static void test_the_client_goes_while_it_waits(void **state)
{
	struct policies p;
	struct guest a, b;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	come(&b, &p);
	t = hear();
	go(&a); /* before the answer */
	answer(&t, 2, 8, 0);
	go(&b); /* after it, before its wake */
	wakes_run(&wakes[0]);
	assert_int_equal(a.resumed + b.resumed, 0);
	t = hear();
	assert_int_equal(t.owed, -2);
	answer(&t, 0, 10, 0);
	assert_null(hear().key);
	policies_close(&p);
	end();
}

/* Answered and refused: there is nothing to give back. */
static void test_the_client_goes_after_a_refusal(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	t = hear();
	answer(&t, 0, 0, 5000);
	go(&a);
	assert_null(hear().key);
	policies_close(&p);
	end();
}

/*----------------------------------------------------------- several limits */

static void test_a_later_refusal_gives_back(void **state)
{
	struct policies p;
	struct guest a, b;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT ", q: { rate: 1/h, burst: 1 }, r: " STRICT " }");
	come(&a, &p);
	t = hear();
	answer(&t, 1, 9, 0);
	wakes_run(&wakes[0]); /* and on to r */
	assert_int_equal(a.last.kind, V_PENDING);
	t = hear();
	answer(&t, 1, 9, 0);
	wakes_run(&wakes[0]);
	assert_int_equal(a.last.kind, V_PASS);
	go(&a);
	/* q refuses, and outlasts a wait for p: nobody waits in vain */
	assert_int_equal(come(&b, &p).kind, V_DENY);
	assert_string_equal(b.v.call.out.limit.policy, "q");
	go(&b);
	assert_null(hear().key);
	policies_close(&p);
	end();
}

static void test_a_later_shared_refusal_gives_back(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT ", r: " STRICT " }");
	come(&a, &p);
	t = hear();
	answer(&t, 1, 9, 0);
	wakes_run(&wakes[0]);
	t = hear();
	answer(&t, 0, 0, 5000);
	wakes_run(&wakes[0]);
	assert_int_equal(a.last.kind, V_DENY);
	assert_string_equal(a.v.call.out.limit.policy, "r");
	go(&a);
	t = hear();
	assert_int_equal(t.owed, -1);
	answer(&t, 0, 10, 0);
	policies_close(&p);
	end();
}

/* The one that refuses is told, with what is left of it. */
static void test_several_rates(void **state)
{
	struct policies p;
	struct guest a;
	struct told t[2];

	(void)state;
	open_all(&p, "policies: { p: { rate: [5/h, 100/d], burst: [5, 100], store: redis, share: "
		     "strict } }");
	come(&a, &p);
	t[0] = hear();
	t[1] = hear();
	assert_true(t[0].key != t[1].key);
	answer(&t[0], 1, 4, 0);
	assert_int_equal(a.resumed, 0);
	shared_reply(
	    shared, now, t[1].key,
	    &(struct sync_reply){ .retry_us = 5000000, .reset_us = 86400 * UINT64_C(1000000) });
	wakes_run(&wakes[0]);
	assert_int_equal(a.last.kind, V_DENY);
	assert_int_equal(a.v.call.out.limit.limit, 100);
	assert_int_equal(a.v.call.out.limit.remaining, 0);
	go(&a);
	t[0] = hear();
	assert_int_equal(t[0].owed, -1);
	policies_close(&p);
	answer(&t[0], 0, 5, 0); /* the policy is gone */
	end();
}

static void test_overrides_count_apart(void **state)
{
	struct policies p;
	struct guest a, b, c;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: { rate: 10/h, burst: 10, key: header.x-user, store: redis, "
		     "share: strict, "
		     "overrides: [{ match: ann, rate: 5/h, burst: 5 }, { match: root, rate: "
		     "unlimited }] } }");
	assert_int_equal(come_with(&a, &p, "x-user", "root").kind, V_PASS);
	assert_int_equal(come_with(&b, &p, "x-user", "ann").kind, V_PENDING);
	assert_int_equal(come_with(&c, &p, "x-user", "bob").kind, V_PENDING);
	t = hear();
	answer(&t, 1, 4, 0);
	t = hear();
	answer(&t, 1, 9, 0);
	assert_null(hear().key);
	wakes_run(&wakes[0]);
	assert_int_equal(b.v.call.out.limit.limit, 5);
	assert_int_equal(c.v.call.out.limit.limit, 10);
	go(&a);
	go(&b);
	go(&c);
	policies_close(&p);
	end();
}

/*------------------------------------------------------------------- costs */

static void test_costs(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p,
		 "policies: { p: { rate: 10/h, burst: 10, cost: header.x-cost, store: redis } }");
	assert_int_equal(come_with(&a, &p, "x-cost", "11").kind, V_DENY);
	assert_int_equal(a.last.ms, VERDICT_NEVER_MS);
	go(&a);
	assert_int_equal(come_with(&a, &p, "x-cost", "99999999999999999999").kind, V_DENY);
	assert_int_equal(a.last.ms, VERDICT_NEVER_MS);
	go(&a);
	assert_null(hear().key);
	assert_int_equal(come_with(&a, &p, "x-cost", "7").kind, V_PENDING);
	t = hear();
	assert_int_equal(t.least, 7);
	answer(&t, 0, 6, 360000);
	wakes_run(&wakes[0]);
	assert_int_equal(a.last.kind, V_DENY);
	go(&a);
	assert_int_equal(come_with(&a, &p, "x-cost", "9").kind, V_DENY); /* two more: 720 s later */
	assert_in_range(a.last.ms, 720000 + 1, 1080000 + 100);
	go(&a);
	assert_int_equal(come_with(&a, &p, "x-cost", "6").kind, V_PENDING);
	go(&a);
	t = hear();
	if (t.key != NULL)
		answer(&t, 0, 6, 0);
	policies_close(&p);
	end();
}

/*------------------------------------------------- those that do not wait */

static struct verdict try_once(struct guest *g, uint8_t number, const struct reason *why)
{
	struct attempt a = { .number = number };
	struct verdict v;

	g->v.env.now_ns = now;
	v = chain_attempt(&g->v.call, &a);
	if (a.why == NULL)
		a.why = why;
	chain_attempted(&g->v.call, &a);
	g->v.call.out.attempts = number;
	return v;
}

#define RETRIES                                                                                  \
	"policies: { p: { rate: 10/h, burst: 10, store: redis, share: strict, charge: attempt, " \
	"on_error: deny } }"

static void test_retries_pay(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, RETRIES);
	come(&a, &p);
	t = hear();
	answer(&t, 1, 1, 0);
	wakes_run(&wakes[0]);
	assert_int_equal(try_once(&a, 1, reason_upstream_reset).kind, V_PASS);
	assert_null(hear().key);
	assert_int_equal(try_once(&a, 2, reason_upstream_reset).kind,
			 V_PASS); /* at once: one is left */
	t = hear();
	assert_int_equal(t.owed, 1);
	answer(&t, 0, 0, 5000);
	assert_int_equal(try_once(&a, 3, reason_upstream_reset).kind, V_DENY);
	assert_int_equal(shown(&p, SHOW_FALLBACKS), 0);
	go(&a);
	policies_close(&p);
	end();
}

/* With Redis gone a refusal says so, as of a first try. */
static void test_a_retry_without_redis(void **state)
{
	struct policies p;
	struct guest a;
	struct verdict v;
	struct told t;

	(void)state;
	open_all(&p, RETRIES);
	come(&a, &p);
	t = hear();
	answer(&t, 1, 5, 0);
	wakes_run(&wakes[0]);
	shared_down(shared, now);
	try_once(&a, 1, reason_upstream_reset);
	v = try_once(&a, 2, reason_upstream_reset);
	assert_int_equal(v.kind, V_DENY);
	assert_ptr_equal(v.why, reason_store_unavailable);
	assert_int_equal(v.ms, 1000);
	go(&a);
	policies_close(&p);
	end();
}

/* A try that another filter refuses was none. */
static void test_a_try_that_was_none_is_given_back(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, RETRIES);
	come(&a, &p);
	t = hear();
	answer(&t, 1, 5, 0);
	wakes_run(&wakes[0]);
	try_once(&a, 1, reason_upstream_reset);
	assert_int_equal(try_once(&a, 2, reason_upstream_full).kind, V_PASS);
	t = hear();
	if (t.key != NULL) { /* it was not told yet: there is nothing to tell */
		assert_int_equal(t.owed, 0);
		answer(&t, 0, 5, 0);
	}
	go(&a);
	policies_close(&p);
	end();
}

static void test_a_trial_waits_for_nothing(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;
	unsigned i;

	(void)state;
	open_all(&p, "policies: { p: { rate: 10/h, burst: 10, store: redis, share: strict, shadow: "
		     "true } }");
	for (i = 0; i < 3; i++) {
		assert_int_equal(come(&a, &p).kind, V_PASS);
		go(&a);
		t = hear();
		assert_int_equal(t.owed, 1);
		answer(&t, 0, i < 2 ? 5 : 0, 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(come(&a, &p).kind, V_PASS);
		go(&a);
	}
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 3);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SHADOW_DENY), 4);
	assert_int_equal(shown(&p, SHOW_FALLBACKS), 0);
	policies_close(&p);
	end();
}

/* A share of the keys waits, and is refused; the others are tried. */
static void test_enforced_for_a_share(void **state)
{
	struct policies p;
	unsigned waited = 0, passed = 0;

	(void)state;
	open_all(&p, "policies: { p: { rate: 10/h, burst: 10, key: header.x-user, store: redis, "
		     "share: strict, "
		     "enforce: 50% } }");
	for (unsigned i = 0; i < 64; i++) {
		struct guest a;
		char user[8];

		snprintf(user, sizeof(user), "u%u", i);
		come_with(&a, &p, "x-user", user);
		waited += a.last.kind == V_PENDING;
		passed += a.last.kind == V_PASS;
		go(&a);
	}
	assert_int_equal(waited + passed, 64);
	assert_in_range(waited, 16, 48);
	grant_all();
	policies_close(&p);
	end();
}

/* A rate before it has the call wait for longer than this one refuses: it is asked at once. */
static void test_nobody_waits_to_be_refused(void **state)
{
	struct policies p;
	struct guest a, b, c;
	struct told t;

	(void)state;
	open_all(&p, "policies: { slow: { rate: 1/s, burst: 1, wait: 5s }, p: " STRICT " }");
	come(&a, &p);
	t = hear();
	answer(&t, 1, 0, 0);
	wakes_run(&wakes[0]);
	assert_int_equal(come(&b, &p).kind, V_DELAY);
	go(&b);
	now += S;
	come(&b, &p);
	t = hear();
	answer(&t, 0, 0, 60000);
	wakes_run(&wakes[0]);
	assert_int_equal(b.last.kind, V_DENY);
	assert_int_equal(come(&c, &p).kind, V_DENY);
	assert_in_range(c.last.ms, 60000, 61000);
	go(&a);
	go(&b);
	go(&c);
	policies_close(&p);
	end();
}

/*----------------------------------------------------------- without Redis */

struct tally {
	enum filter_metric metric;
	uint64_t value;
	const char *state;
};

static void on_sample(void *ctx, const struct filter_sample *s)
{
	struct tally *t = ctx;

	if (s->metric != t->metric)
		return;
	t->value += s->value;
	t->state = s->state;
}

static uint64_t shown(const struct policies *p, enum filter_metric metric)
{
	struct tally t = { .metric = metric };

	p->filter[0]->ops->show(p->filter[0], on_sample, &t);
	return t.value;
}

static void test_on_error(void **state)
{
	static const struct {
		const char *mode;
		enum verdict_kind second;
	} row[] = { { "local", V_DENY }, { "allow", V_PASS }, { "deny", V_DENY } };

	(void)state;
	shared_down(shared, now);
	for (unsigned i = 0; i < 3; i++) {
		struct policies p;
		struct guest a, b;
		char yaml[160];

		snprintf(yaml, sizeof(yaml),
			 "policies: { p%u: { rate: 10/h, burst: 10, store: redis, on_error: %s } }",
			 i, row[i].mode);
		open_all(&p, yaml);
		assert_int_equal(come(&a, &p).kind, i == 2 ? V_DENY : V_PASS);
		assert_int_equal(come(&b, &p).kind, row[i].second);
		if (i == 0) { /* the rate of one replica: a token in six minutes */
			assert_ptr_equal(b.last.why, reason_rate_limited);
			assert_int_equal(b.last.ms, 360000);
		} else if (i == 2) {
			assert_ptr_equal(b.last.why, reason_store_unavailable);
		}
		assert_int_equal(shown(&p, SHOW_FALLBACKS), 2);
		go(&a);
		go(&b);
		policies_close(&p);
	}
	end();
}

/* Of who waited when it went, and is late: the reason of on_error. */
static void test_late_and_denied(void **state)
{
	struct policies p;
	struct guest a;

	(void)state;
	open_all(&p, "policies: { p: { rate: 10/h, burst: 10, store: redis, share: strict, "
		     "on_error: deny } }");
	come(&a, &p);
	shared_down(shared, now);
	assert_int_equal(be_late(&a).kind, V_DENY);
	assert_ptr_equal(a.last.why, reason_store_unavailable);
	assert_int_equal(shown(&p, SHOW_FALLBACKS), 1);
	go(&a);
	policies_close(&p);
	end();
}

/*----------------------------------------------------------------- reloads */

static void test_a_reload_finds_its_counts(void **state)
{
	struct policies p, q;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	t = hear();
	answer(&t, 0, 0, 360000);
	wakes_run(&wakes[0]);
	go(&a);
	/* loaded, and not in force: as before */
	policies_open(&q, tables,
		      "policies: { p: { rate: 20/h, burst: 10, store: redis, share: strict } }");
	assert_int_equal(come(&a, &q).kind, V_DENY);
	go(&a);
	policies_close(&q);
	open_all(&q, "policies: { p: { rate: 20/h, burst: 10, store: redis, share: strict } }");
	policies_close(&p);
	assert_int_equal(come(&a, &q).kind, V_PENDING); /* the refusal was of another limit */
	go(&a);
	policies_close(&q);
	end();
}

/* To another key, another way of counting, another store: another limit each, and calls end with what they began. */
static void test_a_reload_to_another_limit(void **state)
{
	static const char *const next[] = {
		"policies: { p: { rate: 10/h, burst: 10, key: path, store: redis, share: strict } "
		"}",
		"policies: { p: { rate: 10/h, algorithm: sliding-window, store: redis, share: "
		"strict } }",
		"policies: { p: { rate: 10/h, algorithm: fixed-window, store: redis, share: strict "
		"} }",
		"policies: { p: { rate: 10/h, burst: 10 } }",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(next) / sizeof(next[0]); i++) {
		struct policies p, q;
		struct guest a, b;
		struct told t, u;

		open_all(&p, "policies: { p: " STRICT " }");
		come(&a, &p);
		t = hear();
		open_all(&q, next[i]);
		assert_int_equal(come(&b, &q).kind, i < 3 ? V_PENDING : V_PASS);
		u.key = NULL;
		if (i < 2) {
			u = hear();
			assert_true(u.key != t.key);
		}
		answer(&t, 1, 9, 0);
		wakes_run(&wakes[0]);
		assert_int_equal(a.last.kind, V_PASS);
		go(&a);
		policies_close(&p);
		go(&b);
		if (u.key != NULL)
			answer(&u, 0, 9, 0);
		policies_close(&q);
	}
	end();
}

/* What is under way comes back to nobody. */
static void test_a_policy_goes_while_it_is_asked_for(void **state)
{
	struct policies p;
	struct guest a;
	struct told t;

	(void)state;
	open_all(&p, "policies: { p: " STRICT " }");
	come(&a, &p);
	t = hear();
	go(&a);
	policies_close(&p);
	answer(&t, 1, 9, 0);
	assert_null(hear().key);
	end();
}

/*----------------------------------------------------------------- threads */

/* Two workers and a carrier, each a thread: calls are answered, late, gone, refused by a limit behind, in all orders
 * that threads make of it. */

enum { ROUNDS = 3000 };

static _Atomic unsigned running;
static _Atomic long long let_in;
static struct policies common;

static unsigned roll(uint64_t *dice, unsigned n)
{
	*dice = *dice * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(*dice >> 33) % n;
}

static void end_wait(struct guest *g, uint64_t *dice)
{
	unsigned how = roll(dice, 4);

	while (g->last.kind == V_PENDING && how > 0) {
		unsigned seen = g->resumed;

		if (how == 1) {
			g->last = chain_late(&g->v.call);
			if (g->last.kind == V_PASS)
				g->last = chain_admit(&g->v.call);
			continue;
		}
		for (unsigned i = 0; i < 1000000 && g->resumed == seen; i++)
			wakes_run(&wakes[g->v.env.worker]);
		how = g->resumed == seen ? 1 : how;
	}
}

static void *work(void *arg)
{
	unsigned worker = (unsigned)(uintptr_t)arg;
	uint64_t dice = worker + 11;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct guest g;

		guest_init(&g, worker);
		g.last = visit_admit(&g.v, &common);
		end_wait(&g, &dice);
		if (g.last.kind == V_PASS)
			atomic_fetch_add(&let_in, 1);
		else
			now += 70 * MS; /* else a refusal stands */
		visit_done(&g.v);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Answers, refuses, and cannot; the bucket is so large and slow that nothing comes back by itself. */
static long long carry(uint64_t *dice)
{
	struct told t = hear();
	uint64_t granted;

	if (t.key == NULL)
		return 0;
	if (roll(dice, 8) == 0) {
		shared_refused(shared, now, t.key);
		return 0;
	}
	granted = t.want > 0 && roll(dice, 4) > 0 ? 1 + roll(dice, (unsigned)t.want) : 0;
	granted = granted < (uint64_t)t.least ? 0 : granted;
	answer(&t, granted, 500000, 0);
	return t.owed + (long long)granted;
}

static void test_threads(void **state)
{
	pthread_t thread[WORKERS];
	long long charged = 0;
	uint64_t dice = 5;

	(void)state;
	open_all(&common,
		 "policies: { p: { rate: 3600/h, burst: 1000000, store: redis, share: strict },"
		 "q: { rate: 1/h, burst: 100 } }");
	atomic_store(&running, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i), 0);
	while (atomic_load(&running) > 0)
		charged += carry(&dice);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(thread[i], NULL);
	shared_up(shared, now); /* what was refused last is told */
	charged += grant_all();
	assert_int_equal(atomic_load(&let_in), 100);
	assert_int_equal(charged, 100);
	policies_close(&common);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
		TEST(test_an_answer_ends_the_wait),
		TEST(test_late),
		TEST(test_late_when_the_answer_is_on_its_way),
		TEST(test_the_client_goes_while_it_waits),
		TEST(test_the_client_goes_after_a_refusal),
		TEST(test_a_later_refusal_gives_back),
		TEST(test_a_later_shared_refusal_gives_back),
		TEST(test_several_rates),
		TEST(test_overrides_count_apart),
		TEST(test_costs),
		TEST(test_retries_pay),
		TEST(test_a_retry_without_redis),
		TEST(test_a_try_that_was_none_is_given_back),
		TEST(test_a_trial_waits_for_nothing),
		TEST(test_enforced_for_a_share),
		TEST(test_nobody_waits_to_be_refused),
		TEST(test_on_error),
		TEST(test_late_and_denied),
		TEST(test_a_reload_finds_its_counts),
		TEST(test_a_reload_to_another_limit),
		TEST(test_a_policy_goes_while_it_is_asked_for),
		TEST(test_threads),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
