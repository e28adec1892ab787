/* The rate policy from YAML to verdict: whole chains over calls on the stack. */
#include "policies.h"

#define S UINT64_C(1000000000)

static struct table_registry *tables;

static int setup(void **state)
{
	(void)state;
	tables = policies_tables();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	table_registry_free(tables);
	return 0;
}

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

static void assert_warned(const char *yaml, const char *code, const char *words)
{
	struct policies p;

	policies_open(&p, tables, yaml);
	assert_int_equal(p.diags.errors, 0);
	if (words == NULL)
		assert_int_equal(p.diags.warnings, 0);
	else
		assert_non_null(policies_finding(&p, code, words));
	policies_close(&p);
}

/*---------------------------------------------------------- configuration */

static void test_what_is_no_rate_policy(void **state)
{
	(void)state;
	assert_refused("policies: { a: { burst: 5 } }", "E013", "of which kind");
	assert_refused("policies: { a: { rat: 5/s } }", "E012", "unknown key `rat`");
	assert_refused("policies: { a: 5/s }", "E014", "mapping");
	assert_refused("policies: { a: { rate: 5/s, brust: 9 } }", "E012", "brust");
	assert_refused("policies: { a: { rate: 5/s, store: memcached } }", "E015",
		       "local or redis");
	assert_refused("policies: { a: { rate: 5/s, share: strict } }", "E019", "store: redis");
	assert_refused("policies: { a: { rate: 5/s, wait: 1s, store: redis } }", "E019", "delayed");
	assert_refused("policies: { a: { rate: 5/1001ns, algorithm: fixed-window, store: redis } }",
		       "E016", "whole microseconds");
	assert_refused("policies: { a: { rate: 16777213/d, burst: 1000000, store: redis } }",
		       "E016", "too long to fill");
	assert_refused("policies: { a: { rate: 5/s, algorithm: leaky } }", "E015",
		       "token-bucket, sliding-window, fixed-window or leaky-bucket");
	assert_refused("policies: { a: { rate: 5/s, burst: 0 } }", "E016", "");
	assert_refused("policies: { a: { rate: 5/s, max_keys: 0 } }", "E016", "");
	assert_refused("policies: { a: { rate: 5/s, missing: maybe, key: host } }", "E015", "");
	assert_refused("policies: { a: { rate: 999999937/s } }", "E016", "too fine");
	assert_refused("policies: { a: { rate: 1/365d, burst: 4000000000 } }", "E016",
		       "years to fill");
}

static void test_what_is_no_key(void **state)
{
	struct policies p;
	const struct diag *d;

	(void)state;
	assert_refused("policies: { a: { rate: 5/s, key: json.model } }", "E015",
		       "`json.model` is not known");
	assert_refused("policies: { a: { rate: 5/s, key: jwt. } }", "E015",
		       "lacks what follows the dot");
	assert_refused("policies: { a: { rate: 5/s, key: api_key.hash } }", "E015",
		       "`api_key.hash` is not known");
	assert_refused("policies: { a: { rate: 5/s, key: host, missing: challenge } }", "E019",
		       "for keys that have to be verified");
	assert_refused("policies: { a: { rate: 5/s, key: header. } }", "E015",
		       "not the name of a header");
	assert_refused("policies: { a: { rate: 5/s, key: 'header.a b' } }", "E015",
		       "not the name of a header");
	assert_refused("policies: { a: { rate: 5/s, key: client.ip/24 } }", "E015",
		       "two prefix lengths");
	assert_refused("policies: { a: { rate: 5/s, key: client.ip/33/64 } }", "E015",
		       "two prefix lengths");
	assert_refused("policies: { a: { rate: 5/s, key: client.ip/24/129 } }", "E015",
		       "two prefix lengths");
	assert_refused("policies: { a: { rate: 5/s, key: client.ip/24/48/1 } }", "E015",
		       "two prefix lengths");
	assert_refused("policies: { a: { rate: 5/s, key: [] } }", "E011", "empty");
	assert_refused("policies: { a: { rate: 5/s, key: { a: b } } }", "E014", "");
	assert_refused("policies: { a: { rate: 5/s, key: [a, b, c, d, e, f, g, h, i] } }", "E016",
		       "at most 8");
	policies_load(&p, tables, "policies: { a: { rate: 5/s, key: clinet.ip } }");
	d = policies_finding(&p, "E015", "clinet.ip");
	assert_non_null(d);
	assert_string_equal(d->suggestion, "client.ip");
	assert_non_null(strstr(d->help, "header.NAME"));
	policies_close(&p);
}

static void test_overrides_that_match_nothing(void **state)
{
	(void)state;
	assert_refused(
	    "policies: { a: { rate: 5/s, overrides: [{ match: 10.0.0.0/8, rate: 1/s }] } }", "E019",
	    "without a `key`");
	assert_refused("policies: { a: { rate: 5/s, key: client.ip, overrides: [{ match: ten, "
		       "rate: 1/s }] } }",
		       "E019", "not an address");
	assert_refused("policies: { a: { rate: 5/s, key: [host, path], overrides: [{ match: x, "
		       "rate: 1/s }] } }",
		       "E019", "compound");
	assert_refused("policies: { a: { rate: 5/s, key: [client.ip, path], overrides: [{ match: "
		       "x, rate: 1/s }] } }",
		       "E019", "only a network");
	assert_refused("policies: { a: { rate: 5/s, key: host, overrides: [{ match: x }] } }",
		       "E013", "rate");
}

static void test_what_does_not_go_together(void **state)
{
	(void)state;
	assert_refused("policies: { a: { rate: [1/s, 2/s] } }", "E019", "the same time");
	assert_refused("policies: { a: { rate: [1/s, unlimited] } }", "E019", "stands alone");
	assert_refused("policies: { a: { rate: [1/s, 2/m, 3/h, 4/d, 5/2d] } }", "E016",
		       "at most 4");
	assert_refused("policies: { a: { rate: [] } }", "E013", "");
	assert_refused("policies: { a: { rate: [1/s, 2/m], burst: 5 } }", "E019",
		       "as many bursts as rates");
	assert_refused("policies: { a: { rate: 1/s, burst: [5, 6] } }", "E019",
		       "as many bursts as rates");
	assert_refused("policies: { a: { rate: 1/s, burst: 2, algorithm: fixed-window } }", "E019",
		       "no `burst`");
	assert_refused("policies: { a: { rate: 1/s, wait: 1s, algorithm: sliding-window } }",
		       "E019", "only the token-bucket");
	assert_refused("policies: { a: { rate: 1/s, queue: 5 } }", "E019", "needs a `wait`");
	assert_refused("policies: { a: { rate: [1/s, 5/m], wait: 1s } }", "E019", "by one rate");
	assert_refused("policies: { a: { rate: 1/s, wait: 2h } }", "E016", "");
	assert_refused("policies: { a: { rate: 1/s, burst: 4, cost: 5 } }", "E019",
		       "a cost of 5 never passes");
	assert_refused("policies: { a: { rate: 4/m, cost: 5, algorithm: fixed-window } }", "E019",
		       "never passes");
	assert_refused("policies: { a: { rate: 1/s, enforce: 10% } }", "E019", "without a `key`");
	assert_refused("policies: { a: { rate: 1/s, key: host, enforce: 0% } }", "E016", "");
	assert_refused("policies: { a: { rate: 100000000/s, algorithm: sliding-window } }", "E016",
		       "too large for windows");
	assert_refused("policies: { a: { rate: 1/s, key: host, overrides: [{ match: x, rate: "
		       "[1/s, 1/1s] }] } }",
		       "E019", "the same time");
	assert_refused("policies: { a: { rate: 9/s, key: host, cost: 9, overrides: [{ match: x, "
		       "rate: 1/s, burst: 8 }] } }",
		       "E019", "never passes");
}

static void test_what_is_no_cost(void **state)
{
	struct policies p;

	(void)state;
	assert_refused("policies: { a: { rate: 5/s, cost: 0 } }", "E015", "at least 1");
	assert_refused("policies: { a: { rate: 5/s, cost: -1 } }", "E015", "");
	assert_refused("policies: { a: { rate: 5/s, cost: 1.5 } }", "E015", "");
	assert_refused("policies: { a: { rate: 5/s, cost: header. } }", "E015", "");
	assert_refused("policies: { a: { rate: 5/s, cost: 'header.a b' } }", "E015", "");
	assert_refused("policies: { a: { rate: 5/s, cost: [1, 2] } }", "E014", "");
	policies_load(&p, tables, "policies: { a: { rate: 5/s, cost: x-cost } }");
	assert_string_equal(policies_finding(&p, "E015", "cost")->suggestion, "header.x-cost");
	policies_close(&p);
}

static void test_warnings(void **state)
{
	(void)state;
	assert_warned("policies: { a: { rate: 100/s, burst: 99 } }", "W103", "below one second");
	assert_warned("policies: { a: { rate: 100/s, burst: 100 } }", NULL, NULL);
	assert_warned("policies: { a: { rate: 6/m, burst: 1 } }", NULL, NULL);
	assert_warned("policies: { a: { rate: 5/s, key: header.x-tenant } }", "W104",
		      "`header.x-tenant`");
	assert_warned("policies: { a: { rate: 5/s, key: [client.ip, query.k] } }", "W104",
		      "`query.k`");
	assert_warned("policies: { a: { rate: 5/s, key: cookie.sid } }", "W104", "`cookie.sid`");
	assert_warned("policies: { a: { rate: 5/s, key: client.ip } }", NULL, NULL);
	assert_warned("policies: { a: { rate: 5/s, missing: deny } }", "W107", "`missing`");
	assert_warned("policies: { a: { rate: unlimited, burst: 5 } }", "W107", "burst");
}

/*-------------------------------------------------------------- decisions */

static void test_burst_then_rate(void **state)
{
	struct policies p;
	struct verdict v;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 4/s, burst: 10, key: client.ip } }");
	assert_int_equal(visits_passed(&p, "10.0.0.1", 5 * S), 10);
	v = visit(&p, "10.0.0.1", 5 * S);
	assert_int_equal(v.kind, V_DENY);
	assert_ptr_equal(v.why, reason_rate_limited);
	assert_int_equal(v.ms, 250);
	assert_int_equal(visits_passed(&p, "10.0.0.2", 5 * S), 10);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 5 * S + S / 4 - 1), 0);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 5 * S + S / 4), 1);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 60 * S), 10);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 31);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_DENY), 6);
	policies_close(&p);
}

static void test_default_burst(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 30/s, key: const.a }, b: { rate: 6/m, key: const.b "
		      "}, c: { rate: 15/10s } }");
	for (int i = 0; i < 3; i++) {
		static const unsigned expected[] = { 30, 1, 1 };
		struct policies one = p;

		one.chain.n = 1;
		one.chain.filter[0] = p.filter[i];
		assert_int_equal(visits_passed(&one, NULL, S), expected[i]);
	}
	policies_close(&p);
}

static void test_unlimited(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: unlimited } }");
	assert_int_equal(visits_passed(&p, NULL, S), 10000);
	policies_close(&p);
}

static struct verdict visit_with(const struct policies *p, const char *header, const char *value)
{
	struct visit v;
	struct verdict verdict;

	visit_init(&v, "10.0.0.1", S);
	if (header != NULL)
		visit_header(&v, header, value);
	verdict = visit_admit(&v, p);
	visit_done(&v);
	return verdict;
}

static void test_missing_share(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/m, key: header.x-tenant } }");
	assert_int_equal(visit_with(&p, "X-Tenant", "a").kind, V_PASS);
	assert_int_equal(visit_with(&p, "X-Tenant", "a").kind, V_DENY);
	assert_int_equal(visit_with(&p, NULL, NULL).kind, V_PASS);
	assert_int_equal(visit_with(&p, NULL, NULL).kind, V_DENY);
	assert_int_equal(visit_with(&p, "X-Tenant", "").kind, V_DENY);
	assert_int_equal(visit_with(&p, "X-Tenant", "b").kind, V_PASS);
	policies_close(&p);
}

static void test_missing_skip(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/m, key: header.x-tenant, missing: skip } }");
	for (int i = 0; i < 3; i++)
		assert_int_equal(visit_with(&p, NULL, NULL).kind, V_PASS);
	assert_int_equal(visit_with(&p, "X-Tenant", "a").kind, V_PASS);
	assert_int_equal(visit_with(&p, "X-Tenant", "a").kind, V_DENY);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SKIP), 3);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 1);
	policies_close(&p);
}

static void test_missing_deny(void **state)
{
	struct policies p;
	struct visit v;
	struct verdict verdict;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/m, key: header.x-tenant, missing: deny }, b: { "
		      "rate: 1/h } }");
	assert_int_equal(visit_with(&p, "X-Tenant", "a").kind, V_PASS);
	visit_init(&v, "10.0.0.1", S);
	verdict = visit_admit(&v, &p);
	assert_int_equal(verdict.kind, V_DENY);
	assert_ptr_equal(verdict.why, reason_missing_key);
	assert_int_equal(verdict.ms, 0); /* coming back later would not help */
	assert_string_equal(v.call.out.limit.policy, "a");
	visit_done(&v);
	policies_close(&p);
}

static void test_overrides(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies:\n"
		      "  a:\n"
		      "    rate: 2/m\n"
		      "    burst: 2\n"
		      "    key: client.ip\n"
		      "    overrides:\n"
		      "      - { match: 10.20.0.1, rate: 1/m, burst: 3 }\n"
		      "      - { match: 10.20.0.0/16, rate: unlimited }\n"
		      "      - { match: '2001:db8::/32', rate: 5/s }\n");
	assert_int_equal(visits_passed(&p, "10.0.0.1", S), 2);
	assert_int_equal(visits_passed(&p, "10.20.0.1", S), 3);
	assert_int_equal(visits_passed(&p, "10.20.0.2", S), 10000);
	assert_int_equal(visits_passed(&p, "2001:db8::1", S), 5);
	assert_int_equal(visits_passed(&p, "2001:db8::2", S), 0); /* the same /64 */
	policies_close(&p);
}

static void test_override_of_a_value(void **state)
{
	struct policies p;
	int n = 0;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/m, key: header.x-tenant, overrides: { match: gold, "
		      "rate: 7/s } } }");
	while (visit_with(&p, "X-Tenant", "gold").kind == V_PASS)
		n++;
	assert_int_equal(n, 7);
	assert_int_equal(visit_with(&p, "X-Tenant", "lead").kind, V_PASS);
	assert_int_equal(visit_with(&p, "X-Tenant", "lead").kind, V_DENY);
	policies_close(&p);
}

static void test_shadow_refuses_nothing(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/m, shadow: true }, b: { rate: 9/m, burst: 9 } }");
	for (int i = 0; i < 5; i++)
		assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 1);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SHADOW_DENY), 4);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_DENY), 0);
	visit_init(&v, NULL, S);
	visit_admit(&v, &p);
	assert_string_equal(v.call.out.limit.policy, "b");
	assert_int_equal(v.call.out.limit.remaining, 3);
	visit_done(&v);
	policies_close(&p);
}

/* Several limits are decided together. */
static void test_refused_by_one_has_paid_none(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 10/m, burst: 10 }, b: { rate: 1/m, burst: 2, key: "
		      "client.ip } }");
	assert_int_equal(visits_passed(&p, "10.0.0.1", S), 2);
	for (int i = 0; i < 100; i++)
		assert_int_equal(visit(&p, "10.0.0.1", S).kind, V_DENY);
	for (int i = 0; i < 4; i++) {
		char client[16];

		snprintf(client, sizeof(client), "10.0.1.%d", i);
		assert_int_equal(visits_passed(&p, client, S), 2);
	}
	assert_int_equal(visits_passed(&p, "10.0.2.1", S), 0);
	policies_close(&p);
}

static void test_a_client_that_goes_away_has_paid(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/m } }");
	visit_init(&v, NULL, S);
	assert_int_equal(visit_admit(&v, &p).kind, V_PASS);
	visit_done(&v); /* no answer was made */
	assert_int_equal(visit(&p, NULL, S).kind, V_DENY);
	policies_close(&p);
}

static void test_the_longest_wait_and_the_first_name(void **state)
{
	struct policies p;
	struct visit v;
	struct verdict verdict;

	(void)state;
	policies_open(&p, tables,
		      "policies:\n"
		      "  a: { rate: 1/s, burst: 1 }\n"
		      "  b: { rate: 1/h, burst: 1 }\n"
		      "  c: { rate: 1/d, burst: 1, shadow: true }\n"
		      "  d: { rate: 1/m, burst: 1 }\n");
	assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	visit_init(&v, NULL, S + S / 2);
	verdict = visit_admit(&v, &p);
	assert_int_equal(verdict.kind, V_DENY);
	assert_string_equal(v.call.out.limit.policy, "a");
	assert_int_equal(verdict.ms, 3599500);
	visit_done(&v);
	policies_close(&p);
}

static void test_the_limit_that_is_nearest_is_told(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 9/s }, b: { rate: 3/s }, c: { rate: 5/s } }");
	visit_init(&v, NULL, S);
	assert_int_equal(visit_admit(&v, &p).kind, V_PASS);
	assert_string_equal(v.call.out.limit.policy, "b");
	assert_int_equal(v.call.out.limit.limit, 3);
	assert_int_equal(v.call.out.limit.remaining, 2);
	assert_int_equal(v.call.out.limit.reset_ms, 334);
	visit_done(&v);
	policies_close(&p);
}

/*---------------------------------------------------------------- windows */

static void test_windows(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 4/10s, algorithm: fixed-window, key: client.ip } }");
	assert_int_equal(visits_passed(&p, "10.0.0.1", 15 * S), 4);
	assert_int_equal(visit(&p, "10.0.0.1", 15 * S).ms, 5000);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 20 * S - 1), 0);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 20 * S), 4);
	policies_close(&p);
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 4/10s, algorithm: sliding-window, key: client.ip } }");
	assert_int_equal(visits_passed(&p, "10.0.0.1", 35 * S), 4);
	assert_int_equal(visit(&p, "10.0.0.1", 35 * S).ms, 7500);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 45 * S), 2);
	policies_close(&p);
}

static struct verdict visit_at_wall(const struct policies *p, uint64_t now, uint64_t wall)
{
	struct visit v;
	struct verdict verdict;

	visit_init(&v, "10.0.0.1", now);
	v.env.wall_ns = wall;
	verdict = visit_admit(&v, p);
	visit_done(&v);
	return verdict;
}

/* The window at hand lasts until it ends by the new time, and is filled by nothing else. */
static void test_a_wall_clock_that_is_set(void **state)
{
	const uint64_t day = 86400 * S, noon = 20000 * day + day / 2;
	const uint64_t midnight =
	    20 * S + day / 2 - 20 * S; /* of the clock that went 100 days back */
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/d, algorithm: fixed-window } }");
	assert_int_equal(visit_at_wall(&p, 10 * S, noon + 10 * S).kind, V_PASS);
	assert_int_equal(visit_at_wall(&p, 10 * S, noon + 10 * S).ms, (day / 2 - 10 * S) / 1000000);
	/* an hour back, and 100 days: */
	assert_int_equal(visit_at_wall(&p, 15 * S, noon + 15 * S - 3600 * S).ms,
			 (day / 2 + 3600 * S - 15 * S) / 1000000);
	assert_int_equal(visit_at_wall(&p, 20 * S, noon + 20 * S - 100 * day).ms,
			 (day / 2 - 20 * S) / 1000000);
	/* by the wall, it is midnight then */
	assert_int_equal(visit_at_wall(&p, midnight - 1, noon + midnight - 1 - 100 * day).kind,
			 V_DENY);
	assert_int_equal(visit_at_wall(&p, midnight, noon + midnight - 100 * day).kind, V_PASS);
	/* an hour forward is an hour less to wait */
	assert_int_equal(
	    visit_at_wall(&p, midnight + 5 * S, noon + midnight + 5 * S - 100 * day + 3600 * S).ms,
	    (day - 3600 * S - 5 * S) / 1000000);
	/* a year forward is another day */
	assert_int_equal(visit_at_wall(&p, midnight + 9 * S, noon + 365 * day).kind, V_PASS);
	policies_close(&p);
}

/* One worker has read the new time, and the other has not. */
static void test_a_wall_clock_that_only_some_have_read(void **state)
{
	const uint64_t wall = 1000000 * S;
	struct policies p;
	unsigned passed = 0;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 10/s, algorithm: fixed-window } }");
	visit_at_wall(&p, 10 * S, wall - 10 * S);
	for (uint64_t i = 0; i < 100; i++)
		passed += visit_at_wall(&p, 20 * S + i, wall + i % 2 * 500 * S).kind == V_PASS;
	assert_int_equal(passed, 1 + 10); /* the second of them has the window of then */
	policies_close(&p);
}

static void test_a_wall_clock_that_trembles(void **state)
{
	const uint64_t wall = 1000000 * S - 5000000;
	struct policies p;
	unsigned passed = 0;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 10/s, algorithm: fixed-window } }");
	for (int i = 0; i < 1000; i++)
		passed += visit_at_wall(&p, S + (uint64_t)i, wall + (uint64_t)(i * 7919 % 10000000))
			      .kind == V_PASS;
	assert_int_equal(passed, 10);
	policies_close(&p);
}

/*--------------------------------------------------------- several at once */

static void test_several_rates(void **state)
{
	struct policies p;
	struct verdict v;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: [300/m, 10/s], key: client.ip, headers: true } }");
	for (uint64_t s = 0; s < 30; s++)
		assert_int_equal(visits_passed(&p, "10.0.0.1", (100 + s) * S), 10);
	for (uint64_t s = 30; s < 60; s++) /* 300 and 5/s were there, and 10/s were taken */
		visits_passed(&p, "10.0.0.1", (100 + s) * S);
	assert_int_equal(visits_passed(&p, "10.0.0.1", 160 * S), 5);
	v = visit(&p, "10.0.0.1", 160 * S);
	assert_int_equal(v.kind, V_DENY);
	assert_int_equal(v.ms, 200); /* the longer one: a tenth would do for the other */
	assert_int_equal(visits_passed(&p, "10.0.0.2", 160 * S), 10);
	policies_close(&p);
}

/* Whoever is refused by the second has not paid the first, nor the other way round. */
static void test_several_rates_are_decided_together(void **state)
{
	static const char *const algorithms[] = { "token-bucket", "fixed-window",
						  "sliding-window" };

	(void)state;
	for (int a = 0; a < 3; a++) {
		struct policies p;
		char yaml[128];

		snprintf(yaml, sizeof(yaml), "policies: { a: { rate: [2/m, 3/h], algorithm: %s } }",
			 algorithms[a]);
		policies_open(&p, tables, yaml);
		assert_int_equal(visits_passed(&p, NULL, 7200 * S), 2);
		for (int i = 0; i < 50; i++)
			assert_int_equal(visit(&p, NULL, 7201 * S).kind, V_DENY);
		assert_int_equal(visits_passed(&p, NULL, 7320 * S), 1);
		assert_in_range(visit(&p, NULL, 7320 * S).ms, 1000000, 7200000);
		for (int i = 0; i < 50; i++)
			assert_int_equal(visit(&p, NULL, 7320 * S).kind, V_DENY);
		assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 3);
		policies_close(&p);
	}
}

static uint64_t gauge_keys;

static void take_keys(void *ctx, const struct filter_sample *s)
{
	(void)ctx;
	if (s->metric == SHOW_KEYS)
		gauge_keys = s->value;
}

static void test_keys_are_counted_once(void **state)
{
	struct policies p;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: [1/m, 2/h, 3/d], key: client.ip, max_keys: 1000000 } }");
	for (int i = 0; i < 100; i++) { /* so much room that no two evict each other */
		char client[16];

		snprintf(client, sizeof(client), "10.0.1.%d", i);
		visit(&p, client, S);
	}
	p.filter[0]->ops->show(p.filter[0], take_keys, NULL);
	assert_int_equal(gauge_keys, 100);
	policies_close(&p);
}

static void test_lists_come_change_and_go(void **state)
{
	struct policies p[2];

	(void)state;
	policies_open(&p[0], tables, "policies: { a: { rate: 10/m, burst: 10, key: client.ip } }");
	for (int i = 0; i < 5; i++)
		visit(&p[0], "10.0.0.1", S);
	policies_open(&p[1], tables,
		      "policies: { a: { rate: [2/h, 10/m], burst: [2, 10], key: client.ip } }");
	policies_close(&p[0]);
	assert_int_equal(visits_passed(&p[1], "10.0.0.1", S), 2); /* the new one is at rest */
	policies_open(&p[0], tables,
		      "policies: { a: { rate: [4/h, 10/m], burst: [4, 10], key: client.ip } }");
	policies_close(&p[1]);
	assert_int_equal(visits_passed(&p[0], "10.0.0.1", S), 0);
	assert_int_equal(visits_passed(&p[0], "10.0.0.1", S + 900 * S), 1);
	policies_open(&p[1], tables,
		      "policies: { a: { rate: 10/h, burst: 10, key: client.ip, overrides: [{ "
		      "match: 10.0.0.1, rate: [1/h, 6/d], burst: [2, 6] }] } }");
	policies_close(&p[0]);
	assert_int_equal(visits_passed(&p[1], "10.0.0.1", S + 900 * S), 0);
	assert_int_equal(visits_passed(&p[1], "10.0.0.2", S + 900 * S), 10);
	policies_close(&p[1]);
}

/*------------------------------------------------------------------- costs */

static struct verdict visit_costing(const struct policies *p, const char *cost, uint64_t now,
				    uint64_t *left)
{
	struct visit v;
	struct verdict verdict;

	visit_init(&v, "10.0.0.1", now);
	if (cost != NULL)
		visit_header(&v, "X-Cost", cost);
	verdict = visit_admit(&v, p);
	*left = v.call.out.limit.remaining;
	visit_done(&v);
	return verdict;
}

static void test_costs(void **state)
{
	static const struct {
		const char *says;
		uint64_t left;
	} rows[] = { { NULL, 99 }, { "5", 94 },  { "0", 93 },   { "", 92 }, { "-5", 91 },
		     { "5x", 90 }, { " 5", 89 }, { "1.5", 88 }, { "88", 0 } };
	struct policies p;
	struct verdict v;
	uint64_t left;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/h, burst: 100, cost: header.x-cost } }");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(visit_costing(&p, rows[i].says, S, &left).kind, V_PASS);
		assert_int_equal(left, rows[i].left);
	}
	v = visit_costing(&p, "3", S, &left);
	assert_int_equal(v.kind, V_DENY);
	assert_int_equal(v.ms, 3 * 3600 * 1000);
	assert_true(visit_costing(&p, "101", S, &left).ms >= VERDICT_NEVER_MS);
	assert_true(visit_costing(&p, "99999999999999999999999", S, &left).ms >= VERDICT_NEVER_MS);
	policies_close(&p);
}

static void test_a_cost_makes_room_in_the_bucket(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/s, cost: 5 } }");
	assert_int_equal(visits_passed(&p, NULL, S), 1);
	assert_int_equal(visit(&p, NULL, S).ms, 5000);
	policies_close(&p);
}

static void test_a_cost_comes_back_whole(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 9/h, cost: 3, algorithm: sliding-window }, b: { "
		      "rate: 1/d } }");
	for (int i = 0; i < 20; i++)
		visit(&p, NULL, 7200 * S);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 20);
	assert_int_equal(filter_stats_read(p.filter[1]->stats, DECISION_ALLOW), 1);
	policies_close(&p);
}

/*------------------------------------------------------------------ trials */

static void test_a_share_is_enforced(void **state)
{
	struct policies p;
	unsigned refused = 0;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/h, key: client.ip, shadow: true, enforce: 25% } }");
	for (int i = 0; i < 1000; i++) {
		char client[16];
		enum verdict_kind second;

		snprintf(client, sizeof(client), "10.1.%d.%d", i / 250, i % 250);
		assert_int_equal(visit(&p, client, S).kind, V_PASS);
		second = visit(&p, client, S).kind;
		refused += second == V_DENY;
		for (int again = 0; again < 3; again++)
			assert_int_equal(visit(&p, client, S).kind, second);
	}
	assert_in_range(refused, 200, 300);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 1000);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_DENY), 4 * refused);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SHADOW_DENY),
			 4 * (1000 - refused));
	policies_close(&p);
}

/* Neither its name nor its wait is told, and those behind it are asked. */
static void test_a_trial_is_no_limit(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 1/d, key: client.ip, enforce: 0.0001% }, b: { rate: 3/h, "
	    "burst: 3 } }");
	for (int i = 0; i < 3; i++)
		assert_int_equal(visit(&p, "10.0.0.1", S).kind, V_PASS);
	visit_init(&v, "10.0.0.1", S);
	assert_int_equal(visit_admit(&v, &p).ms, 1200 * 1000);
	assert_string_equal(v.call.out.limit.policy, "b");
	visit_done(&v);
	policies_close(&p);
}

/*------------------------------------------------------------------ delays */

static struct verdict delayed_visit(struct visit *v, const struct policies *p, uint64_t now)
{
	visit_init(v, "10.0.0.1", now);
	return visit_admit(v, p);
}

/* The call goes on when its turn has come. */
static void end_at(struct visit *v, uint64_t now)
{
	v->env.now_ns = now;
	visit_done(v);
}

static void test_delays(void **state)
{
	struct policies p;
	struct visit v[5];
	struct verdict verdict;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 3/s, burst: 1, wait: 2s, queue: 3 } }");
	for (uint64_t i = 0; i < 4; i++) {
		verdict = delayed_visit(&v[i], &p, S);
		assert_int_equal(verdict.kind, i == 0 ? V_PASS : V_DELAY);
		assert_int_equal(verdict.ns, (i * S + 2) / 3);
		assert_int_equal(verdict.ms, (i * 1000 + 2) / 3);
	}
	verdict = delayed_visit(&v[4], &p, S);
	assert_int_equal(verdict.kind, V_DENY);
	assert_int_equal(verdict.ms, 334);
	for (int i = 0; i < 5; i++)
		end_at(&v[i], 2 * S);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 4);
	policies_close(&p);
}

static void test_who_leaves_the_end_of_the_queue_gives_its_place_back(void **state)
{
	struct policies p;
	struct visit v[4];

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/s, burst: 1, wait: 9s } }");
	for (int i = 0; i < 4; i++)
		delayed_visit(&v[i], &p, S);
	end_at(&v[3], S); /* the last one */
	assert_int_equal(delayed_visit(&v[3], &p, S).ms, 3000);
	end_at(&v[1], S); /* its turn passes unused */
	assert_int_equal(delayed_visit(&v[1], &p, S).ms, 4000);
	for (int i = 0; i < 4; i++)
		end_at(&v[i], 20 * S);
	policies_close(&p);
}

/* After its turn a client has paid, and a trial or a shadow reserves nothing for the future. */
static void test_delays_that_are_over(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/h, burst: 1, wait: 1h } }");
	assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	assert_int_equal(delayed_visit(&v, &p, 2 * S).ms, 3599000);
	end_at(&v, 3601 * S);
	assert_int_equal(delayed_visit(&v, &p, 3601 * S).ms, 3600000);
	end_at(&v, 3601 * S);
	policies_close(&p);
	policies_open(&p, tables,
		      "policies: { b: { rate: 1/s, burst: 1, wait: 9s, shadow: true } }");
	for (int i = 0; i < 5; i++)
		assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	policies_close(&p);
}

static void test_no_delay_beyond_the_calls_own_time(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/s, burst: 1, wait: 9s } }");
	assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	visit_init(&v, NULL, S);
	v.call.deadline_ns = S + S / 4;
	assert_int_equal(visit_admit(&v, &p).kind, V_DENY);
	visit_done(&v);
	assert_int_equal(delayed_visit(&v, &p, S).ms, 1000); /* it took no place */
	end_at(&v, S);
	policies_close(&p);
}

static void test_refused_after_a_delay_has_paid_none(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 1/s, burst: 1, wait: 9s }, b: { rate: 1/s } }");
	assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	assert_int_equal(delayed_visit(&v, &p, S).ms, 1000);
	v.env.now_ns = 2 * S - 1; /* too early by a hair, for b */
	assert_int_equal(chain_admit(&v.call).kind, V_DENY);
	visit_done(&v);
	assert_int_equal(visit(&p, NULL, 2 * S).kind, V_PASS);
	policies_close(&p);
}

static void test_nobody_is_delayed_in_vain(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 1/s, burst: 1, wait: 9s }, b: { rate: 1/h, key: path } }");
	assert_int_equal(visit(&p, NULL, S).kind, V_PASS);
	visit_init(&v, NULL, S);
	assert_int_equal(visit_admit(&v, &p).kind, V_DENY); /* by b, at once */
	assert_ptr_equal(v.call.out.limit.policy, p.filter[1]->name);
	visit_done(&v);
	visit_init(&v, NULL, S);
	v.call.path = slice_str("/other");
	assert_int_equal(visit_admit(&v, &p).ms, 1000); /* the first turn is free */
	visit_done(&v);
	policies_close(&p);
}

/*---------------------------------------------------------------- attempts */

static struct verdict try_again(struct visit *v, uint8_t number, const struct reason *why)
{
	struct attempt a = { .number = number };
	struct verdict verdict = chain_attempt(&v->call, &a);

	if (verdict.kind != V_DENY)
		a.why = why;
	chain_attempted(&v->call, &a);
	return verdict;
}

static void test_every_attempt_pays(void **state)
{
	struct policies p;
	struct visit v;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 1/m, burst: 3, charge: attempt } }");
	visit_init(&v, NULL, S);
	assert_int_equal(visit_admit(&v, &p).kind, V_PASS);
	assert_int_equal(try_again(&v, 1, reason_upstream_reset).kind, V_PASS);
	assert_int_equal(try_again(&v, 2, reason_breaker_open).kind, V_PASS); /* not made: free */
	assert_int_equal(try_again(&v, 3, reason_upstream_reset).kind, V_PASS);
	assert_int_equal(try_again(&v, 4, reason_upstream_reset).kind, V_PASS);
	assert_int_equal(try_again(&v, 5, reason_upstream_reset).kind, V_DENY);
	visit_done(&v);
	assert_int_equal(visits_passed(&p, NULL, S), 0);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_ALLOW), 4);
	assert_int_equal(filter_stats_read(p.filter[0]->stats, DECISION_SKIP), 0);
	policies_close(&p);
}

/*----------------------------------------------------------------- reload */

static void test_reload_keeps_buckets(void **state)
{
	struct policies old, new;

	(void)state;
	policies_open(&old, tables, "policies: { a: { rate: 1/m, burst: 10, key: client.ip } }");
	for (int i = 0; i < 6; i++)
		assert_int_equal(visit(&old, "10.0.0.1", S).kind, V_PASS);
	policies_open(&new, tables, "policies: { a: { rate: 7/m, burst: 20, key: client.ip } }");
	policies_close(&old);
	assert_int_equal(visits_passed(&new, "10.0.0.1", S), 8); /* 4 of 10 left */
	assert_int_equal(visits_passed(&new, "10.0.0.2", S), 20);
	assert_int_equal(filter_stats_read(new.filter[0]->stats, DECISION_ALLOW), 34);
	policies_close(&new);
}

static void test_a_reload_that_fails_changes_nothing(void **state)
{
	struct policies old, new;

	(void)state;
	policies_open(&old, tables,
		      "policies: { a: { rate: 1/m, burst: 10, key: client.ip, max_keys: 1000 } }");
	for (int i = 0; i < 6; i++)
		visit(&old, "10.0.0.1", S);
	policies_open(&new, tables,
		      "policies: { a: { rate: 7/h, burst: 20, key: client.ip, max_keys: 2000 } }");
	policies_close(&new);
	assert_int_equal(visits_passed(&old, "10.0.0.1", S), 4);
	assert_int_equal(visits_passed(&old, "10.0.0.1", S + 60 * S), 1);
	policies_close(&old);
}

static void test_old_and_new_policy_share_the_bucket(void **state)
{
	struct policies old, new;

	(void)state;
	policies_now_ns = S;
	policies_open(&old, tables, "policies: { a: { rate: 1/m, burst: 10 } }");
	policies_open(&new, tables, "policies: { a: { rate: 7/m, burst: 20 } }");
	for (int i = 0; i < 5; i++) { /* the first takes a tenth, all others a twentieth */
		assert_int_equal(visit(&old, NULL, S).kind, V_PASS);
		assert_int_equal(visit(&new, NULL, S).kind, V_PASS);
	}
	assert_int_equal(visits_passed(&new, NULL, S), 9);
	assert_int_equal(visit(&old, NULL, S).kind, V_DENY);
	policies_close(&old);
	policies_close(&new);
}

static void test_another_key_is_another_table(void **state)
{
	struct policies old, new;

	(void)state;
	policies_open(&old, tables, "policies: { a: { rate: 1/m, key: client.ip } }");
	assert_int_equal(visits_passed(&old, "10.0.0.1", S), 1);
	policies_open(&new, tables, "policies: { a: { rate: 1/m, key: client.ip/24/48 } }");
	policies_close(&old);
	assert_int_equal(visits_passed(&new, "10.0.0.1", S), 1);
	assert_int_equal(visits_passed(&new, "10.0.0.2", S), 0);
	policies_close(&new);
}

/* An override that comes or goes rescales like any change of the rate. */
static void test_an_override_comes(void **state)
{
	struct policies old, new;

	(void)state;
	policies_open(&old, tables, "policies: { a: { rate: 10/m, burst: 10, key: client.ip } }");
	for (int i = 0; i < 5; i++)
		visit(&old, "10.0.0.1", S);
	policies_open(&new, tables,
		      "policies: { a: { rate: 10/m, burst: 10, key: client.ip, "
		      "overrides: [{ match: 10.0.0.1, rate: 1/h, burst: 4 }] } }");
	policies_close(&old);
	assert_int_equal(visits_passed(&new, "10.0.0.1", S), 2);
	policies_close(&new);
}

static void test_many_reloads_with_as_many_rates(void **state)
{
	struct policies p[2];
	unsigned passed;

	(void)state;
	policies_open(&p[0], tables, "policies: { a: { rate: 1/h, burst: 100, key: client.ip } }");
	passed = 0;
	for (int i = 1; i <= 1000; i++) {
		char yaml[128];

		passed += i <= 100 ? visit(&p[(i - 1) % 2], "10.0.0.1", S).kind == V_PASS : 0;
		snprintf(
		    yaml, sizeof(yaml),
		    "policies: { a: { rate: %d/100h, burst: 100, key: client.ip, max_keys: %d } }",
		    i, 1000 + i % 7 * 100);
		policies_open(&p[i % 2], tables, yaml);
		policies_close(&p[(i - 1) % 2]);
	}
	assert_in_range(passed, 99, 100); /* a share may be rounded up */
	assert_int_equal(visits_passed(&p[0], "10.0.0.1", S), 0);
	policies_close(&p[0]);
}

static void test_too_many_rates_at_once(void **state)
{
	struct buf yaml = { .p = NULL };

	(void)state;
	buf_puts(&yaml, "policies:\n  a:\n    rate: 1/s\n    key: header.x\n    overrides:\n");
	for (int i = 0; i < 300; i++)
		buf_printf(&yaml, "      - { match: k%d, rate: %d/m }\n", i, i + 1);
	assert_refused(yaml.p, "E016", "too many different rates");
	buf_fini(&yaml);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_rate_policy),
		cmocka_unit_test(test_what_is_no_key),
		cmocka_unit_test(test_overrides_that_match_nothing),
		cmocka_unit_test(test_what_does_not_go_together),
		cmocka_unit_test(test_what_is_no_cost),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_burst_then_rate),
		cmocka_unit_test(test_default_burst),
		cmocka_unit_test(test_unlimited),
		cmocka_unit_test(test_missing_share),
		cmocka_unit_test(test_missing_skip),
		cmocka_unit_test(test_missing_deny),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_override_of_a_value),
		cmocka_unit_test(test_shadow_refuses_nothing),
		cmocka_unit_test(test_refused_by_one_has_paid_none),
		cmocka_unit_test(test_a_client_that_goes_away_has_paid),
		cmocka_unit_test(test_the_longest_wait_and_the_first_name),
		cmocka_unit_test(test_the_limit_that_is_nearest_is_told),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_a_wall_clock_that_is_set),
		cmocka_unit_test(test_a_wall_clock_that_only_some_have_read),
		cmocka_unit_test(test_a_wall_clock_that_trembles),
		cmocka_unit_test(test_several_rates),
		cmocka_unit_test(test_several_rates_are_decided_together),
		cmocka_unit_test(test_keys_are_counted_once),
		cmocka_unit_test(test_lists_come_change_and_go),
		cmocka_unit_test(test_costs),
		cmocka_unit_test(test_a_cost_makes_room_in_the_bucket),
		cmocka_unit_test(test_a_cost_comes_back_whole),
		cmocka_unit_test(test_a_share_is_enforced),
		cmocka_unit_test(test_a_trial_is_no_limit),
		cmocka_unit_test(test_delays),
		cmocka_unit_test(test_who_leaves_the_end_of_the_queue_gives_its_place_back),
		cmocka_unit_test(test_delays_that_are_over),
		cmocka_unit_test(test_no_delay_beyond_the_calls_own_time),
		cmocka_unit_test(test_refused_after_a_delay_has_paid_none),
		cmocka_unit_test(test_nobody_is_delayed_in_vain),
		cmocka_unit_test(test_every_attempt_pays),
		cmocka_unit_test(test_reload_keeps_buckets),
		cmocka_unit_test(test_a_reload_that_fails_changes_nothing),
		cmocka_unit_test(test_old_and_new_policy_share_the_bucket),
		cmocka_unit_test(test_another_key_is_another_table),
		cmocka_unit_test(test_an_override_comes),
		cmocka_unit_test(test_many_reloads_with_as_many_rates),
		cmocka_unit_test(test_too_many_rates_at_once),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
