/* Concurrency policies from YAML to verdict: whole chains over calls, with workers that are told of
 * those that were let in; and random traces against a model of its own. */
#include "policies.h"

#include "filters/concurrency.h"
#include "filters/wait.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

enum { WORKERS = 2 };

static struct table_registry *tables;
static struct wakes wakes[WORKERS];

static void tell(struct wakes *w, bool own)
{
	(void)w, (void)own;
}

static int setup(void **state)
{
	(void)state;
	tables = table_registry_new();
	for (int i = 0; i < WORKERS; i++)
		wakes_init(&wakes[i], tell, NULL);
	return tables == NULL;
}

static int teardown(void **state)
{
	(void)state;
	table_registry_free(tables);
	for (int i = 0; i < WORKERS; i++)
		wakes_fini(&wakes[i]);
	return 0;
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

	g->last = v;
	g->resumed++;
}

static void guest_init(struct guest *g, unsigned worker, uint64_t now_ns)
{
	visit_init(&g->v, "10.0.0.1", now_ns);
	g->v.env.worker = worker;
	g->v.env.wakes = wakes;
	g->v.call.resume = on_resume;
	g->resumed = 0;
}

static struct verdict enter(struct guest *g, const struct policies *p)
{
	return g->last = visit_admit(&g->v, p);
}

static struct verdict come(struct guest *g, const struct policies *p, uint64_t now_ns)
{
	guest_init(g, 0, now_ns);
	return enter(g, p);
}

static void leave(struct guest *g, uint64_t now_ns)
{
	g->v.env.now_ns = now_ns;
	visit_done(&g->v);
}

static void run_wakes(void)
{
	for (int i = 0; i < WORKERS; i++)
		wakes_run(&wakes[i]);
}

struct shown {
	uint64_t v[FILTER_METRICS];
};

static void on_show(void *ctx, const struct filter_sample *s)
{
	((struct shown *)ctx)->v[s->metric] = s->value;
}

static uint64_t shown(const struct policies *p, enum filter_metric m)
{
	struct shown s = { { 0 } };

	p->filter[0]->ops->show(p->filter[0], on_show, &s);
	return s.v[m];
}

static void assert_at_rest(const struct policies *p)
{
	assert_int_equal(shown(p, SHOW_CONCURRENCY), 0);
	assert_int_equal(shown(p, SHOW_QUEUE_LENGTH), 0);
	assert_int_equal(shown(p, SHOW_KEYS), 0);
}

static uint64_t waits_counted(const struct policies *p)
{
	struct stat_sum sum = { 0 };

	assert_true(filter_stats_waits(p->filter[0]->stats, &sum));
	return sum.n;
}

/*----------------------------------------------------------- configuration */

static void assert_refused(const char *yaml, const char *code, const char *words)
{
	struct policies p;

	policies_load(&p, tables, yaml);
	assert_false(p.ok);
	if (policies_finding(&p, code, words) == NULL) {
		for (const struct diag *d = p.diags.first; d != NULL; d = d->next)
			fprintf(stderr, "%s %s\n", d->code, d->message);
		fail_msg("no %s \"%s\" for %s", code, words, yaml);
	}
	policies_close(&p);
}

static void test_what_is_no_concurrency_policy(void **state)
{
	(void)state;
	assert_refused("policies: { a: { concurrency: 0 } }", "E016", "between 1 and 1000000");
	assert_refused("policies: { a: { concurrency: 1000001 } }", "E016", "between 1");
	assert_refused("policies: { a: { concurrency: many } }", "E015", "number, auto");
	assert_refused("policies: { a: { concurrency: [1] } }", "E015", "number, auto");
	assert_refused("policies: { a: { concurrency: 5, burst: 5 } }", "E012", "burst");
	assert_refused("policies: { a: { concurrency: 5, rate: 5/s } }", "E019", "of one kind");
	assert_refused("policies: { a: { concurrency: auto, key: client.ip } }", "E019",
		       "cannot have a key");
	assert_refused("policies: { a: { concurrency: auto, min: 9, max: 8 } }", "E019",
		       "above `max`");
	assert_refused("policies: { a: { concurrency: auto, min: 0 } }", "E016", "");
	assert_refused("policies: { a: { concurrency: 1, queue: 0 } }", "E016", "");
	assert_refused("policies: { a: { concurrency: 1, queue: { wait: 1s } } }", "E013", "size");
	assert_refused("policies: { a: { concurrency: 1, queue: { size: 1, wait: 1 } } }", "E015",
		       "");
	assert_refused("policies: { a: { concurrency: 1, queue: { size: 1, wait: 2h } } }", "E016",
		       "");
	assert_refused("policies: { a: { concurrency: 1, queue: { size: 1, order: random } } }",
		       "E015", "");
	assert_refused("policies: { a: { concurrency: 1, queue: { size: 1, priority: urgent } } }",
		       "E015", "`urgent` is not known");
	assert_refused(
	    "policies: { a: { concurrency: 1, queue: { size: 1, priority: [host, path] } "
	    "} }",
	    "E019", "one value");
	assert_refused("policies: { a: { concurrency: 1, key: client.ip, overrides: [{ match: ten, "
		       "concurrency: 2 }] } }",
		       "E019", "not an address");
	assert_refused("policies: { a: { concurrency: 1, key: client.ip, overrides: [{ match: "
		       "10.0.0.0/8, concurrency: auto }] } }",
		       "E019", "a number or `unlimited`");
	assert_refused("policies: { a: { concurrency: 1, overrides: [{ match: a, concurrency: 2 }] "
		       "} }",
		       "E019", "without a `key`");
}

static void test_warnings(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { concurrency: 5, min: 1 }, b: { concurrency: 5, key: "
		      "header.x, missing: deny }, c: { concurrency: 5, missing: skip } }");
	assert_non_null(policies_finding(&p, "W107", "`min`"));
	assert_non_null(policies_finding(&p, "W104", "`header.x`"));
	assert_non_null(policies_finding(&p, "W107", "`missing`"));
	policies_close(&p);
}

static void test_bounds_of_auto(void **state)
{
	static const struct {
		const char *yaml;
		uint32_t min, max;
	} rows[] = {
		{ "policies: { a: { concurrency: auto } }", 4, 256 },
		{ "policies: { a: { concurrency: auto, min: 300 } }", 300, 300 },
		{ "policies: { a: { concurrency: auto, max: 2 } }", 2, 2 },
		{ "policies: { a: { concurrency: auto, min: 1, max: 9 } }", 1, 9 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct concurrency_conf *c;
		struct policies p;

		policies_open(&p, tables, rows[i].yaml);
		c = p.filter[0]->conf;
		assert_int_equal(c->min, rows[i].min);
		assert_int_equal(c->max, rows[i].max);
		policies_close(&p);
	}
}

static void test_urgency(void **state)
{
	static const struct {
		const char *text;
		unsigned urgency;
	} rows[] = {
		{ "", 3 },        { "u=0", 0 },     { "u=7", 7 },     { "u=8", 3 },
		{ "u=-1", 3 },    { "u=10", 3 },    { "i", 3 },       { "u=1, i", 1 },
		{ "i, u=5", 5 },  { "u=1,u=6", 6 }, { "u=1,u=9", 1 }, { "0", 0 },
		{ " 6 ", 6 },     { "9", 3 },       { "10", 3 },      { "high", 3 },
		{ "u=2;x=1", 2 }, { "U=1", 3 },     { "u", 3 },       { "u=", 3 },
		{ "1;q=2", 1 },   { "iu=1", 3 },    { ",,u=4,", 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (concurrency_urgency(slice_str(rows[i].text)) != rows[i].urgency)
			fail_msg("\"%s\" is %u", rows[i].text,
				 concurrency_urgency(slice_str(rows[i].text)));
}

/*--------------------------------------------------------------- the limit */

static void test_held_until_done(void **state)
{
	struct guest a, b, c;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 2 } }");
	assert_int_equal(come(&a, &p, S).kind, V_PASS);
	assert_int_equal(come(&b, &p, S).kind, V_PASS);
	assert_int_equal(come(&c, &p, S).kind, V_DENY);
	assert_ptr_equal(c.last.why, reason_concurrency_full);
	assert_int_equal(c.last.ms, 1000);
	assert_string_equal(c.v.call.out.limit.policy, "p");
	assert_int_equal(c.v.call.out.limit.limit, 2);
	leave(&c, S);
	assert_int_equal(come(&c, &p, S).kind, V_DENY);
	leave(&c, S);
	assert_int_equal(shown(&p, SHOW_CONCURRENCY), 2);
	assert_int_equal(shown(&p, SHOW_CONCURRENCY_LIMIT), 2);
	leave(&a, 2 * S);
	assert_int_equal(come(&c, &p, 2 * S).kind, V_PASS);
	leave(&b, 2 * S);
	leave(&c, 3 * S);
	assert_at_rest(&p);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 3);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_DENY), 2);
	policies_close(&p);
}

static void test_a_slot_comes_back_when_a_later_filter_denies(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1 }, r: { rate: 1/m, burst: 1 } }");
	assert_int_equal(visit(&p, "10.0.0.1", S).kind, V_PASS);
	assert_ptr_equal(visit(&p, "10.0.0.1", S).why, reason_rate_limited);
	assert_ptr_equal(visit(&p, "10.0.0.1", S).why, reason_rate_limited);
	assert_at_rest(&p);
	policies_close(&p);
}

static void test_peek_lengthens_the_wait(void **state)
{
	struct guest a, b;
	struct policies p, later;

	(void)state;
	policies_open(&p, tables,
		      "policies: { r: { rate: 10/s, burst: 1 }, p: { concurrency: 1 } }");
	later = p;
	later.chain.n = 1;
	later.chain.filter[0] = p.filter[1];
	assert_int_equal(come(&a, &p, S).kind, V_PASS);
	/* 100 ms until a token is there, but the slot has been held for 30 s */
	assert_int_equal(come(&b, &p, S + 1).kind, V_DENY);
	assert_int_equal(b.last.ms, 1000);
	leave(&b, S);
	assert_int_equal(come(&b, &later, 31 * S).kind, V_DENY);
	assert_int_equal(b.last.ms, 30001);
	leave(&b, 31 * S);
	leave(&a, 31 * S);
	policies_close(&p);
}

static void test_keys_are_counted_by_themselves(void **state)
{
	struct guest a, b, c, d;
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1, key: client.ip, overrides: [ { match: "
		      "10.9.0.0/16, concurrency: 2 }, { match: 10.8.0.1, concurrency: unlimited } "
		      "] } }");
	assert_int_equal(come(&a, &p, S).kind, V_PASS);
	assert_int_equal(come(&b, &p, S).kind, V_DENY);
	assert_ptr_equal(b.last.why, reason_concurrency_limited);
	leave(&b, S);
	for (int i = 0; i < 3; i++) {
		struct guest *g[] = { &b, &c, &d };

		guest_init(g[i], 0, S);
		assert_true(ip_parse(slice_str("10.9.1.1"), &g[i]->v.call.client));
		assert_int_equal(enter(g[i], &p).kind, i < 2 ? V_PASS : V_DENY);
	}
	assert_int_equal(shown(&p, SHOW_KEYS), 2);
	leave(&d, S);
	guest_init(&d, 0, S);
	assert_true(ip_parse(slice_str("10.8.0.1"), &d.v.call.client));
	assert_int_equal(enter(&d, &p).kind, V_PASS);
	leave(&a, S);
	leave(&b, S);
	leave(&c, S);
	leave(&d, S);
	assert_at_rest(&p);
	policies_close(&p);
}

static void test_a_look_takes_nothing(void **state)
{
	struct limit_info info;
	struct guest a, b;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 2, key: client.ip } }");
	guest_init(&b, 0, S);
	assert_true(p.filter[0]->ops->look(p.filter[0], &b.v.call, &info));
	assert_int_equal(info.limit, 2);
	assert_int_equal(info.remaining, 2);
	assert_at_rest(&p);
	come(&a, &p, S);
	assert_true(p.filter[0]->ops->look(p.filter[0], &b.v.call, &info));
	assert_int_equal(info.remaining, 1);
	arena_fini(&b.v.arena);
	leave(&a, S);
	assert_at_rest(&p);
	policies_close(&p);
}

static void test_missing_keys(void **state)
{
	static const struct {
		const char *missing;
		enum verdict_kind first, second;
	} rows[] = { { "share", V_PASS, V_DENY },
		     { "skip", V_PASS, V_PASS },
		     { "deny", V_DENY, V_DENY } };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct guest a, b;
		struct policies p;
		char yaml[128];

		snprintf(yaml, sizeof(yaml),
			 "policies: { p: { concurrency: 1, key: cookie.sid, missing: %s } }",
			 rows[i].missing);
		policies_open(&p, tables, yaml);
		assert_int_equal(come(&a, &p, S).kind, rows[i].first);
		assert_int_equal(come(&b, &p, S).kind, rows[i].second);
		if (rows[i].first == V_DENY)
			assert_ptr_equal(a.last.why, reason_missing_key);
		leave(&a, S);
		leave(&b, S);
		assert_at_rest(&p);
		policies_close(&p);
	}
}

static void set_ip(struct guest *g, unsigned n)
{
	char text[32];

	snprintf(text, sizeof(text), "10.%u.%u.%u", n >> 16 & 255, n >> 8 & 255, n & 255);
	assert_true(ip_parse(slice_str(text), &g->v.call.client));
}

static void test_no_room_for_one_more_key(void **state)
{
	struct guest g[4];
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 5, key: client.ip, max_keys: 3 } }");
	for (unsigned i = 0; i < 4; i++) {
		guest_init(&g[i], 0, S);
		set_ip(&g[i], i);
		assert_int_equal(enter(&g[i], &p).kind, i < 3 ? V_PASS : V_DENY);
	}
	assert_int_equal(shown(&p, SHOW_KEYS), 3);
	leave(&g[3], S);
	leave(&g[0], S);
	guest_init(&g[3], 0, S);
	set_ip(&g[3], 3);
	assert_int_equal(enter(&g[3], &p).kind, V_PASS);
	for (unsigned i = 1; i < 4; i++)
		leave(&g[i], S);
	assert_at_rest(&p);
	policies_close(&p);
}

/* An idle key takes nothing: far more keys than there is room for may come one after the other, and
 * as many as were asked for at once. */
static void test_many_keys(void **state)
{
	enum { KEYS = 5000 };
	struct guest *g = calloc(KEYS, sizeof(*g));
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1, key: client.ip, max_keys: 5000 } }");
	for (unsigned i = 0; i < 100000; i++) {
		guest_init(&g[0], 0, S);
		set_ip(&g[0], i);
		assert_int_equal(enter(&g[0], &p).kind, V_PASS);
		leave(&g[0], S);
	}
	assert_at_rest(&p);
	for (unsigned i = 0; i < KEYS; i++) {
		guest_init(&g[i], 0, S);
		set_ip(&g[i], i);
		assert_int_equal(enter(&g[i], &p).kind, V_PASS);
	}
	assert_int_equal(shown(&p, SHOW_KEYS), KEYS);
	for (unsigned i = 0; i < KEYS; i++)
		leave(&g[i], S);
	assert_at_rest(&p);
	policies_close(&p);
	free(g);
}

static void test_shadow_counts_and_does_not_hold(void **state)
{
	struct guest a, b, c;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 1, queue: 5, shadow: true } }");
	assert_int_equal(come(&a, &p, S).kind, V_PASS);
	assert_int_equal(come(&b, &p, S).kind, V_PASS);
	assert_int_equal(come(&c, &p, S).kind, V_PASS);
	assert_int_equal(shown(&p, SHOW_CONCURRENCY), 1);
	assert_int_equal(shown(&p, SHOW_QUEUE_LENGTH), 0);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SHADOW_DENY), 2);
	leave(&b, S);
	leave(&a, S);
	leave(&c, S);
	assert_at_rest(&p);
	policies_close(&p);
}

/*------------------------------------------------------------- the refusal */

static const char *field(const struct head *h, const char *name)
{
	const struct header *f = head_find_name(h, slice_str(name));
	static char text[256];

	if (f == NULL)
		return NULL;
	snprintf(text, sizeof(text), "%.*s", SLICE_FMT(f->value));
	return text;
}

static void test_what_a_refusal_carries(void **state)
{
	struct guest a, b;
	struct policies p;
	struct head h;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 1, key: client.ip } }");
	come(&a, &p, S);
	come(&b, &p, 5 * S);
	assert_int_equal(b.last.ms, 4001);
	head_init(&h, &b.v.arena);
	chain_respond(&b.v.call, &h);
	assert_string_equal(field(&h, "RateLimit-Policy"), "\"p\";q=1;qu=\"concurrent-requests\"");
	assert_string_equal(field(&h, "RateLimit"), "\"p\";r=0;t=5");
	assert_string_equal(field(&h, "X-RateLimit-Limit"), "1");
	leave(&b, 5 * S);
	head_init(&h, &a.v.arena);
	chain_respond(&a.v.call, &h);
	assert_null(field(&h, "RateLimit"));
	leave(&a, 5 * S);
	policies_close(&p);
	policies_open(&p, tables, "policies: { p: { concurrency: 1 } }");
	come(&a, &p, S);
	come(&b, &p, S);
	head_init(&h, &b.v.arena);
	chain_respond(&b.v.call, &h);
	assert_null(field(&h, "RateLimit"));
	assert_null(field(&h, "X-RateLimit-Limit"));
	leave(&b, S);
	leave(&a, S);
	policies_close(&p);
}

static void test_how_long_to_stay_away(void **state)
{
	struct guest g[4], late;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 4, queue: 1 } }");
	for (int i = 0; i < 4; i++) /* 8 s each, so one slot every 2 s */
		come(&g[i], &p, S);
	for (int i = 0; i < 4; i++)
		leave(&g[i], 9 * S);
	for (int i = 0; i < 4; i++)
		come(&g[i], &p, 9 * S);
	come(&late, &p, 9 * S);
	assert_int_equal(late.last.kind, V_PENDING);
	leave(&late, 9 * S);
	assert_in_range(late.v.call.out.limit.reset_ms, 2000, 2001);
	for (int i = 0; i < 4; i++)
		leave(&g[i], 9 * S);
	assert_at_rest(&p);
	policies_close(&p);
}

/*--------------------------------------------------------------- the queue */

static void test_served_when_one_ends(void **state)
{
	struct guest a, b, c;
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1, queue: { size: 1, wait: 1500us } } }");
	assert_int_equal(come(&a, &p, S).kind, V_PASS);
	assert_int_equal(come(&b, &p, S).kind, V_PENDING);
	assert_int_equal(b.last.ms, 2);
	assert_int_equal(come(&c, &p, S).kind, V_DENY);
	assert_ptr_equal(c.last.why, reason_concurrency_full);
	leave(&c, S);
	assert_int_equal(shown(&p, SHOW_QUEUE_LENGTH), 1);
	leave(&a, 2 * S);
	assert_int_equal(b.resumed, 0); /* not from inside a hook (F6) */
	assert_int_equal(shown(&p, SHOW_CONCURRENCY), 1);
	assert_int_equal(come(&c, &p, 2 * S).kind, V_PENDING); /* b has the slot */
	b.v.env.now_ns = 2 * S;
	run_wakes();
	assert_int_equal(b.resumed, 1);
	assert_int_equal(b.last.kind, V_PASS);
	assert_int_equal(chain_admit(&b.v.call).kind, V_PASS);
	leave(&b, 3 * S);
	run_wakes();
	assert_int_equal(c.resumed, 1);
	leave(&c, 3 * S);
	assert_at_rest(&p);
	assert_int_equal(waits_counted(&p), 2);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 3);
	policies_close(&p);
}

static void test_a_wait_that_is_over(void **state)
{
	struct guest a, b;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 1, queue: 1, key: client.ip } }");
	come(&a, &p, S);
	come(&b, &p, S);
	b.v.env.now_ns = 2 * S;
	b.last = chain_late(&b.v.call);
	assert_int_equal(b.last.kind, V_DENY);
	assert_ptr_equal(b.last.why, reason_concurrency_limited);
	assert_string_equal(b.v.call.out.limit.policy, "p");
	assert_int_equal(shown(&p, SHOW_QUEUE_LENGTH), 0);
	leave(&b, 2 * S);
	leave(&a, 2 * S);
	assert_at_rest(&p);
	assert_int_equal(waits_counted(&p), 1);
	policies_close(&p);
}

/* Let in, and gone or late before it heard of it: the slot goes on to the next. */
static void test_gone_between_let_in_and_told(void **state)
{
	struct guest a, b, c, d;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 1, queue: 5 } }");
	come(&a, &p, S);
	come(&b, &p, S);
	come(&c, &p, S);
	come(&d, &p, S);
	leave(&a, S);
	leave(&b, S);
	assert_int_equal(chain_late(&c.v.call).kind, V_DENY);
	leave(&c, S);
	run_wakes();
	assert_int_equal(b.resumed + c.resumed, 0);
	assert_int_equal(d.resumed, 1);
	leave(&d, S);
	assert_at_rest(&p);
	policies_close(&p);
}

static void test_another_workers_call_is_let_in(void **state)
{
	struct guest a, b;
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: 1, queue: 5 } }");
	come(&a, &p, S);
	guest_init(&b, 1, S);
	assert_int_equal(enter(&b, &p).kind, V_PENDING);
	leave(&a, S);
	wakes_run(&wakes[0]);
	assert_int_equal(b.resumed, 0);
	wakes_run(&wakes[1]);
	assert_int_equal(b.resumed, 1);
	leave(&b, S);
	assert_at_rest(&p);
	policies_close(&p);
}

static struct verdict come_urgent(struct guest *g, const struct policies *p, const char *priority)
{
	guest_init(g, 0, S);
	if (priority != NULL)
		visit_header(&g->v, "priority", priority);
	return enter(g, p);
}

static void test_order(void **state)
{
	static const struct {
		const char *order;
		unsigned turn[4]; /* who is served first, ... */
	} rows[] = { { "fifo", { 3, 0, 1, 2 } }, { "lifo", { 3, 1, 0, 2 } } };

	(void)state;
	for (int r = 0; r < 2; r++) {
		struct guest a, w[4], *holder = &a;
		struct policies p;
		char yaml[160];

		snprintf(yaml, sizeof(yaml),
			 "policies: { p: { concurrency: 1, queue: { size: 4, order: %s, priority: "
			 "header.priority } } }",
			 rows[r].order);
		policies_open(&p, tables, yaml);
		come(&a, &p, S);
		come_urgent(&w[0], &p, NULL);
		come_urgent(&w[1], &p, "u=3");
		come_urgent(&w[2], &p, "u=5, i");
		come_urgent(&w[3], &p, "1");
		for (int i = 0; i < 4; i++) {
			leave(holder, S);
			run_wakes();
			holder = &w[rows[r].turn[i]];
			assert_int_equal(holder->resumed, 1);
			assert_int_equal(shown(&p, SHOW_QUEUE_LENGTH), 3 - i);
		}
		leave(holder, S);
		assert_at_rest(&p);
		policies_close(&p);
	}
}

static void test_who_gives_way_in_a_full_queue(void **state)
{
	struct guest a, w[4];
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1, queue: { size: 2, priority: "
		      "header.priority } } }");
	come(&a, &p, S);
	come_urgent(&w[0], &p, "u=5");
	come_urgent(&w[1], &p, "u=5");
	assert_int_equal(come_urgent(&w[2], &p, "u=5").kind, V_DENY);
	leave(&w[2], S);
	assert_int_equal(come_urgent(&w[2], &p, "u=2").kind, V_PENDING);
	run_wakes();
	assert_int_equal(w[1].resumed, 1); /* the younger of the two */
	assert_int_equal(w[1].last.kind, V_DENY);
	assert_ptr_equal(w[1].last.why, reason_concurrency_full);
	leave(&w[1], S);
	assert_int_equal(come_urgent(&w[3], &p, "u=7").kind, V_DENY);
	leave(&w[3], S);
	assert_int_equal(shown(&p, SHOW_QUEUE_LENGTH), 2);
	leave(&w[0], S);
	leave(&w[2], S);
	leave(&a, S);
	assert_at_rest(&p);
	policies_close(&p);
}

static void test_newest_first_turns_the_oldest_away(void **state)
{
	struct guest a, b, c;
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { p: { concurrency: 1, queue: { size: 1, order: lifo } } }");
	come(&a, &p, S);
	assert_int_equal(come(&b, &p, S).kind, V_PENDING);
	assert_int_equal(come(&c, &p, S).kind, V_PENDING);
	run_wakes();
	assert_int_equal(b.last.kind, V_DENY);
	leave(&b, S);
	leave(&a, S);
	run_wakes();
	assert_int_equal(c.last.kind, V_PASS);
	leave(&c, S);
	assert_at_rest(&p);
	policies_close(&p);
}

/*----------------------------------------------------------------- reloads */

static void come_into_force(struct policies *p, uint64_t now_ns)
{
	struct env env = { .now_ns = now_ns, .worker = 1, .wakes = wakes };

	for (uint8_t i = 0; i < p->chain.n; i++)
		if (p->filter[i]->ops->in_force != NULL)
			p->filter[i]->ops->in_force(p->filter[i], &env);
}

static void test_a_raised_limit_lets_in(void **state)
{
	struct policies old, new_;
	struct guest a, b, c;

	(void)state;
	policies_open(&old, tables, "policies: { p: { concurrency: 1, queue: 5 } }");
	come(&a, &old, S);
	come(&b, &old, S);
	come(&c, &old, S);
	policies_open(&new_, tables, "policies: { p: { concurrency: 2, queue: 5 } }");
	run_wakes();
	assert_int_equal(b.resumed, 0); /* loaded is not in force */
	come_into_force(&new_, S);
	run_wakes();
	assert_int_equal(b.resumed, 1);
	assert_int_equal(c.resumed, 0);
	assert_int_equal(shown(&new_, SHOW_CONCURRENCY), 2);
	leave(&a, S); /* begun under the old: given back to both */
	run_wakes();
	assert_int_equal(c.resumed, 1);
	leave(&b, S);
	leave(&c, S);
	policies_close(&old);
	assert_at_rest(&new_);
	policies_close(&new_);
}

static void test_a_lowered_limit_takes_effect_at_once(void **state)
{
	struct policies old, new_;
	struct guest g[4];

	(void)state;
	policies_open(&old, tables, "policies: { p: { concurrency: 3 } }");
	for (int i = 0; i < 3; i++)
		come(&g[i], &old, S);
	policies_open(&new_, tables, "policies: { p: { concurrency: 1 } }");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(come(&g[3], &new_, S).kind, V_DENY);
		leave(&g[3], S);
		assert_int_equal(come(&g[3], &old, S).kind, V_DENY); /* another worker's */
		leave(&g[3], S);
		leave(&g[i], S);
	}
	assert_int_equal(come(&g[3], &new_, S).kind, V_PASS);
	policies_close(&old);
	leave(&g[3], S);
	assert_at_rest(&new_);
	policies_close(&new_);
}

static void test_a_policy_that_never_comes_into_force(void **state)
{
	struct policies old, bad;
	struct guest a, b;

	(void)state;
	policies_open(&old, tables, "policies: { p: { concurrency: 1, queue: 5 } }");
	come(&a, &old, S);
	come(&b, &old, S);
	policies_open(&bad, tables, "policies: { p: { concurrency: 9 } }");
	policies_close(&bad);
	run_wakes();
	assert_int_equal(b.resumed, 0);
	assert_int_equal(shown(&old, SHOW_QUEUE_LENGTH), 1);
	leave(&a, S);
	run_wakes();
	assert_int_equal(b.resumed, 1);
	leave(&b, S);
	policies_close(&old);
}

static void test_another_kind_of_key_is_another_limit(void **state)
{
	struct policies old, new_;
	struct guest a, b;

	(void)state;
	policies_open(&old, tables, "policies: { p: { concurrency: 1, key: client.ip } }");
	come(&a, &old, S);
	policies_open(&new_, tables, "policies: { p: { concurrency: 1, key: path } }");
	assert_int_equal(come(&b, &new_, S).kind, V_PASS);
	leave(&a, S);
	policies_close(&old);
	assert_int_equal(shown(&new_, SHOW_CONCURRENCY), 1);
	leave(&b, S);
	assert_at_rest(&new_);
	policies_close(&new_);
}

static void test_overrides_change_for_those_who_wait(void **state)
{
	struct policies old, new_;
	struct guest a, b;

	(void)state;
	policies_open(&old, tables,
		      "policies: { p: { concurrency: 1, queue: 5, key: client.ip } }");
	come(&a, &old, S);
	come(&b, &old, S);
	policies_open(&new_, tables,
		      "policies: { p: { concurrency: 1, queue: 5, key: client.ip, overrides: [{ "
		      "match: 10.0.0.0/24, concurrency: 2 }] } }");
	come_into_force(&new_, S);
	run_wakes();
	assert_int_equal(b.resumed, 1);
	leave(&a, S);
	leave(&b, S);
	policies_close(&old);
	assert_at_rest(&new_);
	policies_close(&new_);
}

static void test_more_and_fewer_keys(void **state)
{
	static const char *const yaml[] = {
		"policies: { p: { concurrency: 1, key: client.ip, max_keys: 2 } }",
		"policies: { p: { concurrency: 1, key: client.ip, max_keys: 4000 } }",
		"policies: { p: { concurrency: 1, key: client.ip, max_keys: 3 } }",
	};
	static const unsigned room[] = { 2, 4000, 3 };
	struct guest *g = calloc(4001, sizeof(*g));
	struct policies p[3];

	(void)state;
	for (int r = 0; r < 3; r++) {
		policies_open(&p[r], tables, yaml[r]);
		for (unsigned i = 0; i <= room[r]; i++) {
			guest_init(&g[i], 0, S);
			set_ip(&g[i], i);
			assert_int_equal(enter(&g[i], &p[r]).kind, i < room[r] ? V_PASS : V_DENY);
		}
		for (unsigned i = 0; i <= room[r]; i++)
			leave(&g[i], S);
		assert_at_rest(&p[r]);
	}
	for (int r = 0; r < 3; r++)
		policies_close(&p[r]);
	free(g);
}

/*-------------------------------------------------------------------- auto */

static void test_auto_learns_from_answers(void **state)
{
	struct policies p;
	struct guest g[64];
	struct head h;
	unsigned n = 0, most = 0;

	(void)state;
	policies_open(&p, tables, "policies: { p: { concurrency: auto, max: 30 } }");
	come_into_force(&p, S);
	assert_int_equal(shown(&p, SHOW_CONCURRENCY_LIMIT), 20);
	for (unsigned round = 0; round < 200; round++) {
		uint64_t now = S + round * 100 * MS;

		for (n = 0; n < 64 && come(&g[n], &p, now).kind == V_PASS;)
			n++;
		most = n > most ? n : most;
		leave(&g[n], now);
		for (unsigned i = 0; i < n; i++) {
			g[i].v.env.now_ns = now + 50 * MS;
			g[i].v.call.out.why = reason_ok;
			g[i].v.call.out.attempts = 1;
			head_init(&h, &g[i].v.arena);
			h.status = 200;
			chain_respond(&g[i].v.call, &h);
			leave(&g[i], now + 60 * MS);
		}
	}
	assert_int_equal(most, 30);
	assert_int_equal(shown(&p, SHOW_CONCURRENCY_LIMIT), 30);
	policies_close(&p);
}

/*------------------------------------------------------------ random traces */

enum { GUESTS = 60, STEPS = 3000, TRACES = 300, KEYS = 3, POLICIES = 40 };

static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)((seed >> 33) % n);
}

enum fate { OUT, HOLDS, WAITS, TURNED_AWAY };

/* What the model knows of a guest; `told`: the guest knows of its fate as well. */
struct model_guest {
	enum fate fate;
	bool told;
	unsigned key, urgency, arrival;
};

static struct model {
	struct model_guest g[GUESTS];
	struct guest guest[GUESTS];
	unsigned cap[KEYS], size, arrivals;
	bool newest, keyed;
	struct policies policies[POLICIES];
	unsigned n_policies;
	bool in_force;
} m;

static unsigned model_count(unsigned key, enum fate fate)
{
	unsigned n = 0;

	for (int i = 0; i < GUESTS; i++)
		n += m.g[i].fate == fate && m.g[i].key == key;
	return n;
}

/* Whether a is served before b. */
static bool model_before(const struct model_guest *a, const struct model_guest *b)
{
	if (a->urgency != b->urgency)
		return a->urgency < b->urgency;
	return m.newest ? a->arrival > b->arrival : a->arrival < b->arrival;
}

static struct model_guest *model_end_of_line(unsigned key, bool first)
{
	struct model_guest *best = NULL;

	for (int i = 0; i < GUESTS; i++) {
		struct model_guest *g = &m.g[i];

		if (g->fate == WAITS && g->key == key &&
		    (best == NULL || model_before(g, best) == first))
			best = g;
	}
	return best;
}

static void model_let_in(unsigned key)
{
	while (model_count(key, HOLDS) < m.cap[key] && model_count(key, WAITS) > 0) {
		struct model_guest *g = model_end_of_line(key, true);

		g->fate = HOLDS;
		g->told = false;
	}
}

static void model_arrive(struct model_guest *g)
{
	unsigned key = g->key;

	g->arrival = ++m.arrivals;
	g->told = true;
	if (model_count(key, HOLDS) < m.cap[key]) {
		g->fate = HOLDS;
		return;
	}
	g->fate = m.size > 0 ? WAITS : TURNED_AWAY;
	if (m.size > 0 && model_count(key, WAITS) > m.size) {
		struct model_guest *last = model_end_of_line(key, false);

		last->fate = TURNED_AWAY;
		last->told = last == g;
	}
}

static void model_reload(void)
{
	struct policies *p = &m.policies[m.n_policies];
	unsigned cap = 1 + draw(4), other = 1 + draw(4);
	char yaml[512], queue[128] = "";
	bool newest = draw(2);
	unsigned size = draw(5);

	if (m.n_policies == POLICIES)
		return;
	if (size > 0)
		snprintf(queue, sizeof(queue),
			 ", queue: { size: %u, order: %s, priority: header.priority }", size,
			 newest ? "lifo" : "fifo");
	if (m.keyed)
		snprintf(yaml, sizeof(yaml),
			 "policies: { p: { concurrency: %u, key: cookie.k, max_keys: %u, "
			 "overrides: [{ match: k1, concurrency: %u }]%s } }",
			 cap, KEYS + draw(5000), other, queue);
	else
		snprintf(yaml, sizeof(yaml), "policies: { p: { concurrency: %u%s } }", cap, queue);
	policies_open(p, tables, yaml);
	m.n_policies++;
	m.size = size;
	m.newest = newest && size > 0;
	for (unsigned k = 0; k < KEYS; k++)
		m.cap[k] = m.keyed && k == 1 ? other : cap;
	come_into_force(p, S);
	for (unsigned k = 0; k < KEYS; k++)
		model_let_in(k);
}

static void act_arrive(int i)
{
	static const char *const cookies[KEYS] = { "k=k0", "k=k1", "k=k2" };
	static const char *const priorities[] = { "u=0", "u=1", "u=2", "u=3",
						  "u=4", "u=5", "u=6", "u=7" };
	struct model_guest *g = &m.g[i];
	struct guest *guest = &m.guest[i];

	g->key = m.keyed ? draw(KEYS) : 0;
	g->urgency = m.size > 0 ? draw(8) : 3;
	guest_init(guest, draw(WORKERS), S);
	visit_header(&guest->v, "cookie", cookies[g->key]);
	visit_header(&guest->v, "priority", priorities[g->urgency]);
	model_arrive(g);
	enter(guest, &m.policies[m.n_policies - 1]);
}

static void act_leave(int i)
{
	struct model_guest *g = &m.g[i];
	enum fate was = g->fate;

	if (draw(2) == 0 && m.guest[i].v.call.wait != NULL)
		assert_int_equal(chain_late(&m.guest[i].v.call).kind, V_DENY);
	leave(&m.guest[i], S);
	g->fate = OUT;
	if (was == HOLDS)
		model_let_in(g->key);
}

static void check_guest(int i)
{
	struct model_guest *g = &m.g[i];
	struct guest *guest = &m.guest[i];
	enum verdict_kind expected[] = {
		[HOLDS] = V_PASS, [WAITS] = V_PENDING, [TURNED_AWAY] = V_DENY
	};

	if (g->fate == OUT)
		return;
	if (g->told && guest->last.kind != expected[g->fate])
		fail_msg("guest %d (key %u of %s, urgency %u, cap %u, queue %u) got %d, the model "
			 "says %d",
			 i, g->key, m.keyed ? "many" : "one", g->urgency, m.cap[g->key], m.size,
			 guest->last.kind, expected[g->fate]);
	if (!g->told)
		assert_int_equal(guest->last.kind, V_PENDING);
}

static void check_all(void)
{
	const struct policies *p = &m.policies[m.n_policies - 1];
	unsigned holds = 0, waits = 0;

	for (unsigned k = 0; k < KEYS; k++) {
		holds += model_count(k, HOLDS);
		waits += model_count(k, WAITS);
	}
	for (int i = 0; i < GUESTS; i++)
		check_guest(i);
	assert_int_equal(shown(p, SHOW_CONCURRENCY), holds);
	assert_int_equal(shown(p, SHOW_QUEUE_LENGTH), waits);
}

static void act_wake(unsigned worker)
{
	wakes_run(&wakes[worker]);
	for (int i = 0; i < GUESTS; i++)
		if (m.guest[i].v.env.worker == worker)
			m.g[i].told = true;
}

static void run_trace(unsigned number)
{
	memset(&m, 0, sizeof(m));
	seed = number;
	m.keyed = number % 2;
	model_reload();
	for (int step = 0; step < STEPS; step++) {
		int i = (int)draw(GUESTS);

		if (draw(100) == 0)
			model_reload();
		else if (draw(3) == 0)
			act_wake(draw(WORKERS));
		else if (m.g[i].fate == OUT && draw(3) > 0)
			act_arrive(i);
		else if (m.g[i].fate != OUT && draw(4) == 0)
			act_leave(i);
		check_all();
	}
	for (int i = 0; i < GUESTS; i++)
		if (m.g[i].fate != OUT)
			act_leave(i);
	assert_at_rest(&m.policies[m.n_policies - 1]);
	for (unsigned i = 0; i < m.n_policies; i++)
		policies_close(&m.policies[i]);
}

static void test_random_traces(void **state)
{
	(void)state;
	for (unsigned i = 0; i < TRACES; i++)
		run_trace(i);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_is_no_concurrency_policy),
		T(test_warnings),
		T(test_bounds_of_auto),
		T(test_urgency),
		T(test_held_until_done),
		T(test_a_slot_comes_back_when_a_later_filter_denies),
		T(test_peek_lengthens_the_wait),
		T(test_keys_are_counted_by_themselves),
		T(test_a_look_takes_nothing),
		T(test_missing_keys),
		T(test_no_room_for_one_more_key),
		T(test_many_keys),
		T(test_shadow_counts_and_does_not_hold),
		T(test_what_a_refusal_carries),
		T(test_how_long_to_stay_away),
		T(test_served_when_one_ends),
		T(test_a_wait_that_is_over),
		T(test_gone_between_let_in_and_told),
		T(test_another_workers_call_is_let_in),
		T(test_order),
		T(test_who_gives_way_in_a_full_queue),
		T(test_newest_first_turns_the_oldest_away),
		T(test_a_raised_limit_lets_in),
		T(test_a_lowered_limit_takes_effect_at_once),
		T(test_a_policy_that_never_comes_into_force),
		T(test_another_kind_of_key_is_another_limit),
		T(test_overrides_change_for_those_who_wait),
		T(test_more_and_fewer_keys),
		T(test_auto_learns_from_answers),
		T(test_random_traces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
