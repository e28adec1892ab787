/* The filter behind `retry`: which failures are tried again, and what forbids it. */
#include "base/clock.h"
#include "policies.h"

static struct table_registry *tables;
static struct policies policies;
static struct visit guest;

static struct call *begin(const char *policy)
{
	char text[512];

	snprintf(text, sizeof(text), "policies:\n  again: %s\n", policy);
	tables = table_registry_new();
	policies_open(&policies, tables, text);
	visit_init(&guest, "192.0.2.1", 1000 * CLOCK_S);
	guest.call.resendable = true;
	chain_begin(&policies.chain, &guest.call, guest.mem);
	return &guest.call;
}

static void end(void)
{
	chain_done(&guest.call);
	arena_fini(&guest.arena);
	policies_close(&policies);
	table_registry_free(tables);
}

static struct again failed(const struct reason *why)
{
	struct attempt a = { .number = 1, .why = why };

	return chain_again(&guest.call, &a);
}

static struct again answered(uint16_t status, uint64_t retry_after_ms)
{
	struct attempt a = { .number = 1, .status = status, .retry_after_ms = retry_after_ms };

	return chain_again(&guest.call, &a);
}

static void test_when(void **state)
{
	static const struct {
		const char *when;
		enum reason_index why; /* ok: answered */
		uint16_t status;
		enum again_label label;
	} rows[] = {
		{ "[connect]", REASON_connect_failed, 0, AGAIN_CONNECT },
		{ "[connect]", REASON_connect_timeout, 0, AGAIN_CONNECT },
		{ "[refused]", REASON_connect_failed, 0, AGAIN_CONNECT },
		{ "[refused]", REASON_tls_failed, 0, AGAIN_CONNECT },
		{ "[refused]", REASON_connect_timeout, 0, AGAIN_NONE },
		{ "[refused, timeout]", REASON_connect_timeout, 0, AGAIN_TIMEOUT },
		{ "[timeout]", REASON_connect_timeout, 0, AGAIN_TIMEOUT },
		{ "[timeout]", REASON_first_byte_timeout, 0, AGAIN_TIMEOUT },
		{ "[timeout]", REASON_try_timeout, 0, AGAIN_TIMEOUT },
		{ "[timeout]", REASON_connect_failed, 0, AGAIN_NONE },
		{ "[reset]", REASON_upstream_reset, 0, AGAIN_RESET },
		{ "[reset]", REASON_upstream_malformed, 0, AGAIN_RESET },
		{ "[reset]", REASON_upstream_truncated, 0, AGAIN_RESET },
		{ "[reset]", REASON_connect_failed, 0, AGAIN_NONE },
		{ "[5xx]", REASON_ok, 500, AGAIN_STATUS },
		{ "[5xx]", REASON_ok, 599, AGAIN_STATUS },
		{ "[5xx]", REASON_ok, 600, AGAIN_NONE },
		{ "[5xx]", REASON_ok, 429, AGAIN_NONE },
		{ "[429, 503]", REASON_ok, 429, AGAIN_STATUS },
		{ "[429, 503]", REASON_ok, 503, AGAIN_STATUS },
		{ "[429, 503]", REASON_ok, 502, AGAIN_NONE },
		{ "[429, 503]", REASON_ok, 404, AGAIN_NONE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char policy[64];
		struct again g;

		snprintf(policy, sizeof(policy), "{ retry: 1, when: %s }", rows[i].when);
		chain_admit(begin(policy));
		g = rows[i].why != REASON_ok ? failed(&reason_table[rows[i].why])
					     : answered(rows[i].status, 0);
		assert_int_equal(g.label, rows[i].label);
		assert_int_equal(g.yes, rows[i].label != AGAIN_NONE);
		end();
	}
}

static void test_only_connect_when_nothing_is_said(void **state)
{
	(void)state;
	chain_admit(begin("{ retry: 1 }"));
	assert_int_equal(failed(reason_upstream_reset).label, AGAIN_NONE);
	assert_true(failed(reason_connect_failed).yes);
	end();
}

static void test_as_often_as_it_says(void **state)
{
	(void)state;
	chain_admit(begin("{ retry: 2, when: 503 }"));
	assert_true(answered(503, 0).yes);
	assert_true(answered(503, 0).yes);
	assert_int_equal(answered(503, 0).label, AGAIN_NO_MORE);
	end();
}

static void test_what_may_be_sent_twice(void **state)
{
	struct call *c = begin("{ retry: 9, when: [connect, reset, 503] }");

	(void)state;
	guest.req.method_id = METHOD_POST;
	chain_admit(c);
	assert_int_equal(c->keep_body, 0);
	assert_int_equal(answered(503, 0).label, AGAIN_NO_METHOD);
	assert_int_equal(failed(reason_upstream_reset).label, AGAIN_NO_METHOD);
	assert_true(failed(reason_connect_failed).yes);
	guest.req.method_id = METHOD_PUT;
	assert_true(answered(503, 0).yes);
	c->resendable = false;
	assert_int_equal(answered(503, 0).label, AGAIN_NO_BODY);
	assert_int_equal(failed(reason_connect_failed).label, AGAIN_NO_BODY);
	end();
}

static void test_methods_and_what_is_kept(void **state)
{
	struct call *c = begin("{ retry: 9, when: 503, methods: [POST], body: 1KiB }");

	(void)state;
	guest.req.method_id = METHOD_POST;
	chain_admit(c);
	assert_int_equal(c->keep_body, 1024);
	assert_true(answered(503, 0).yes);
	guest.req.method_id = METHOD_GET;
	assert_int_equal(answered(503, 0).label, AGAIN_NO_METHOD);
	end();
}

static void test_full_jitter(void **state)
{
	uint64_t longest[10] = { 0 }, shortest[10];
	static const uint64_t cap[10] = { 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000 };

	(void)state;
	memset(shortest, 0xff, sizeof(shortest));
	chain_admit(
	    begin("{ retry: 10, when: 503, budget: 100%, backoff: { base: 100ms, max: 1s } }"));
	for (unsigned round = 0; round < 300; round++) {
		guest.env.now_ns += 100 * CLOCK_S;
		memset(guest.mem, 0, sizeof(guest.mem));
		for (unsigned i = 0; i < 10; i++) {
			struct again g = answered(503, 0);

			assert_true(g.yes && g.ms <= cap[i]);
			longest[i] = g.ms > longest[i] ? g.ms : longest[i];
			shortest[i] = g.ms < shortest[i] ? g.ms : shortest[i];
		}
	}
	for (unsigned i = 0; i < 10; i++) {
		assert_true(longest[i] > cap[i] * 9 / 10);
		assert_true(shortest[i] < cap[i] / 10);
	}
	end();
}

static void test_retry_after(void **state)
{
	(void)state;
	chain_admit(begin("{ retry: 9, when: 503, backoff: { base: 1ms, max: 2s } }"));
	assert_int_equal(answered(503, 2000).ms, 2000);
	assert_int_equal(answered(503, 2001).label, AGAIN_RETRY_AFTER);
	end();
}

static void test_the_deadline(void **state)
{
	struct call *c = begin("{ retry: 9, when: 503, backoff: { base: 1ms, max: 2s } }");

	(void)state;
	chain_admit(c);
	c->deadline_ns = guest.env.now_ns + CLOCK_S;
	assert_true(answered(503, 999).yes);
	assert_int_equal(answered(503, 1000).label, AGAIN_NO_TIME);
	end();
}

static void test_per_try(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c = begin("{ retry: 1, per_try: 2s }");

	(void)state;
	chain_admit(c);
	chain_attempt(c, &a);
	assert_int_equal(a.deadline_ns, guest.env.now_ns + 2 * CLOCK_S);
	a.why = reason_ok;
	chain_attempted(c, &a);
	end();
}

static void test_the_budget_outlives_a_reload(void **state)
{
	struct policies next;
	unsigned n = 0;

	(void)state;
	chain_admit(begin("{ retry: 10, when: 503, budget: 0% }"));
	for (unsigned i = 0; i < 10; i++)
		assert_true(answered(503, 0).yes);
	policies_open(&next, tables,
		      "policies:\n  again: { retry: 10, when: 503, budget: 0%, body: 1KiB }\n");
	chain_done(&guest.call);
	policies_close(&policies);
	policies = next;
	for (unsigned call = 0; call < 5; call++) {
		chain_begin(&policies.chain, &guest.call, guest.mem);
		chain_admit(&guest.call);
		while (answered(503, 0).yes)
			n++;
		if (call < 4)
			chain_done(&guest.call);
	}
	assert_int_equal(n, 20); /* of thirty from rest */
	end();
}

static void test_clients_retries(void **state)
{
	static const struct {
		const char *name, *value;
		bool charged;
	} rows[] = {
		{ "x-stainless-retry-count", "1", true },
		{ "X-Stainless-Retry-Count", "0", false },
		{ "x-stainless-retry-count", "two", false },
		{ "x-stainless-retry-count", "99999999999", false },
		{ "x-envoy-attempt-count", "1", false },
		{ "x-envoy-attempt-count", "2", true },
		{ "grpc-previous-rpc-attempts", "1", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct call *c = begin("{ retry: 10, when: 503, budget: 99% }");
		unsigned n = 0;

		assert_true(
		    head_add_name(&guest.req, slice_str(rows[i].name), slice_str(rows[i].value)));
		for (unsigned k = 0; k < 20; k++) {
			chain_admit(c);
			chain_done(c);
			chain_begin(&policies.chain, c, guest.mem);
		}
		for (unsigned k = 0; k < 10; k++) {
			while (answered(503, 0).yes)
				n++;
			memset(guest.mem, 0, sizeof(guest.mem));
		}
		assert_int_equal(n, rows[i].charged ? 30 : 49);
		end();
	}
}

/*----------------------------------------------------------------- hedging */

/* The next call of the policy is let in; when its first try would get another beside it, from now.
 */
static uint64_t hedge_after_ns(void)
{
	struct attempt a = { .number = 1 };

	chain_done(&guest.call);
	chain_begin(&policies.chain, &guest.call, guest.mem);
	chain_admit(&guest.call);
	chain_attempt(&guest.call, &a);
	return a.hedge_ns == 0 ? 0 : a.hedge_ns - guest.env.now_ns;
}

static void answered_in(uint64_t ns, uint16_t status)
{
	struct head h = { .status = status };

	guest.env.now_ns += ns;
	chain_respond(&guest.call, &h);
}

static struct again unanswered(void)
{
	struct attempt a = { .number = 1 };

	return chain_again(&guest.call, &a);
}

static void test_which_calls_are_hedged(void **state)
{
	(void)state;
	chain_admit(begin("{ retry: 1, methods: [GET, POST], hedge: 200ms }"));
	assert_int_equal(hedge_after_ns(), 200 * CLOCK_MS);
	guest.req.method_id = METHOD_POST; /* may be retried, for all the policy cares */
	assert_int_equal(hedge_after_ns(), 0);
	guest.req.method_id = METHOD_DELETE; /* idempotent, but not among those of the policy */
	assert_int_equal(hedge_after_ns(), 0);
	guest.req.method_id = METHOD_GET;
	guest.req.body = BODY_LENGTH;
	assert_int_equal(hedge_after_ns(), 0);
	guest.req.body = BODY_NONE;
	guest.req.upgrade = true;
	assert_int_equal(hedge_after_ns(), 0);
	guest.req.upgrade = false;
	assert_int_equal(hedge_after_ns(), 200 * CLOCK_MS);
	end();
}

static void test_only_a_first_try_is_hedged(void **state)
{
	struct attempt second = { .number = 2 };

	(void)state;
	chain_admit(begin("{ retry: 1, hedge: 200ms }"));
	chain_attempt(&guest.call, &second);
	assert_int_equal(second.hedge_ns, 0);
	end();
}

static void test_a_percentile_is_learned(void **state)
{
	(void)state;
	chain_admit(begin("{ retry: 1, hedge: { after: p95 } }"));
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(hedge_after_ns(), 0);
		answered_in((i % 10 == 0 ? 50 : 10) * CLOCK_MS, 200);
	}
	for (unsigned i = 0; i < 1000; i++) {
		(void)hedge_after_ns();
		answered_in((i % 10 == 0 ? 50 : 10) * CLOCK_MS, 200);
	}
	assert_in_range(hedge_after_ns(), 40 * CLOCK_MS, 60 * CLOCK_MS);
	for (unsigned i = 0; i < 1000; i++) { /* quick failures are no quick answers */
		answered_in(CLOCK_MS, i % 2 ? 503 : 429);
		(void)hedge_after_ns();
	}
	assert_in_range(hedge_after_ns(), 40 * CLOCK_MS, 60 * CLOCK_MS);
	end();
}

/* Every call that takes longer is hedged, and counts as long as its first try is waited for. */
static void test_hedged_calls_count(void **state)
{
	unsigned hedged = 0;

	(void)state;
	chain_admit(begin("{ retry: 1, hedge: p90 }"));
	for (unsigned i = 0; i < 5000; i++) {
		uint64_t ns = (10 + i * 37 % 91) * CLOCK_MS, after_ns = hedge_after_ns();
		struct attempt second = { .number = 2, .beside = true };

		if (after_ns != 0 && ns > after_ns) {
			chain_attempt(&guest.call, &second);
			hedged += i >= 1000;
		}
		answered_in(ns, 200);
	}
	assert_in_range(hedged, 300, 500); /* a tenth of 4000 */
	end();
}

static void test_hedges_have_a_budget_of_their_own(void **state)
{
	unsigned n = 0;

	(void)state;
	chain_admit(
	    begin("{ retry: 9, when: 503, budget: 0%, hedge: { after: 1ms, budget: 10% } }"));
	for (unsigned i = 0; i < 99; i++)
		(void)hedge_after_ns();
	while (unanswered().yes)
		n++;
	assert_int_equal(n, 10);
	assert_int_equal(unanswered().label, AGAIN_NO_HEDGE);
	assert_true(answered(503, 0).yes); /* of what retries have in reserve */
	guest.env.now_ns += 11 * CLOCK_S;
	assert_false(unanswered().yes);
	end();
}

static void test_bad_hedges(void **state)
{
	static const struct {
		const char *policy, *code;
	} rows[] = {
		{ "{ retry: 1, hedge: p49 }", "E015" },
		{ "{ retry: 1, hedge: p100 }", "E015" },
		{ "{ retry: 1, hedge: p }", "E015" },
		{ "{ retry: 1, hedge: 95% }", "E015" },
		{ "{ retry: 1, hedge: 0s }", "E015" },
		{ "{ retry: 1, hedge: 2h }", "E015" },
		{ "{ retry: 1, hedge: { after: [p95] } }", "E015" },
		{ "{ retry: 1, hedge: { budget: 5% } }", "E013" },
		{ "{ retry: 1, hedge: { after: p95, budget: 101% } }", "E015" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[256];

		snprintf(text, sizeof(text), "policies:\n  again: %s\n", rows[i].policy);
		tables = table_registry_new();
		policies_load(&policies, tables, text);
		assert_false(policies.ok);
		assert_string_equal(policies.diags.first->code, rows[i].code);
		policies_close(&policies);
		table_registry_free(tables);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_only_connect_when_nothing_is_said),
		cmocka_unit_test(test_as_often_as_it_says),
		cmocka_unit_test(test_what_may_be_sent_twice),
		cmocka_unit_test(test_methods_and_what_is_kept),
		cmocka_unit_test(test_full_jitter),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_the_deadline),
		cmocka_unit_test(test_per_try),
		cmocka_unit_test(test_the_budget_outlives_a_reload),
		cmocka_unit_test(test_clients_retries),
		cmocka_unit_test(test_which_calls_are_hedged),
		cmocka_unit_test(test_only_a_first_try_is_hedged),
		cmocka_unit_test(test_a_percentile_is_learned),
		cmocka_unit_test(test_hedged_calls_count),
		cmocka_unit_test(test_hedges_have_a_budget_of_their_own),
		cmocka_unit_test(test_bad_hedges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
