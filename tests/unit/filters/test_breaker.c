/* The filter behind `breaker`: what counts, who is refused, what outlives a reload, what is told of
 * it. */
#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "filters/breaker.h"
#include "policies.h"

#define START_NS (1000 * CLOCK_S)

static struct table_registry *tables;
static struct policies now; /* the policy in force */

static const struct filter_target targets[] = {
	{ "llm", "a:1", 1 },
	{ "llm", "b:2", 2 },
	{ "app", "c:3", 700001 },
};

static void add_targets(struct policies *p, unsigned n)
{
	for (uint8_t i = 0; i < p->chain.n; i++)
		for (unsigned k = 0; k < n; k++)
			assert_true(p->filter[i]->ops->target(p->filter[i], &targets[k]));
}

static void open_with(struct policies *p, const char *yaml, unsigned n)
{
	char text[1024];

	snprintf(text, sizeof(text), "policies:\n%s", yaml);
	policies_open(p, tables, text);
	add_targets(p, n);
}

static void begin(const char *policy)
{
	char text[512];

	snprintf(text, sizeof(text), "  guard: %s\n", policy);
	tables = policies_tables();
	open_with(&now, text, 3);
}

static void end(void)
{
	policies_close(&now);
	table_registry_free(tables);
}

/* One call with one try. */
struct tried {
	struct visit v;
	struct attempt a;
	struct verdict verdict;
};

static void try_begin(struct tried *t, const struct policies *p, uint32_t endpoint, uint64_t at_ns)
{
	visit_init(&t->v, "192.0.2.1", at_ns);
	assert_int_equal(visit_admit(&t->v, p).kind, V_PASS);
	t->a = (struct attempt){
		.endpoint = endpoint, .number = 1, .start_ns = at_ns, .asked_ns = at_ns
	};
	t->verdict = chain_attempt(&t->v.call, &t->a);
}

static void try_end(struct tried *t, const struct reason *why, uint16_t status, uint64_t at_ns)
{
	t->v.env.now_ns = at_ns;
	if (t->a.why == NULL) {
		t->a.why = why;
		t->a.status = status;
		t->a.head_ns = status != 0 && t->a.head_ns == 0 ? at_ns : t->a.head_ns;
	}
	chain_attempted(&t->v.call, &t->a);
	visit_done(&t->v);
}

/* A whole one; true: it was let go. */
static bool try_one(uint32_t endpoint, uint64_t at_ns, const struct reason *why, uint16_t status)
{
	struct tried t;

	try_begin(&t, &now, endpoint, at_ns);
	try_end(&t, why, status, at_ns);
	return t.verdict.kind == V_PASS;
}

static void fail_times(unsigned n, uint32_t endpoint, uint64_t at_ns)
{
	while (n-- > 0)
		assert_true(try_one(endpoint, at_ns, reason_connect_failed, 0));
}

static uint64_t shut_ns(uint32_t endpoint, uint64_t at_ns)
{
	struct visit v;
	uint64_t ns;

	visit_init(&v, "192.0.2.1", at_ns);
	visit_admit(&v, &now);
	ns = chain_shut(&v.call, endpoint);
	visit_done(&v);
	return ns;
}

/*------------------------------------------------------------------ counts */

static void test_what_is_a_failure(void **state)
{
	static const struct {
		const char *failures;
		enum reason_index why;
		uint16_t status;
		bool opens;
	} rows[] = {
		{ "", REASON_connect_failed, 0, true },
		{ "", REASON_connect_timeout, 0, true },
		{ "", REASON_upstream_reset, 0, true },
		{ "", REASON_upstream_malformed, 0, true },
		{ "", REASON_upstream_truncated, 200, true },
		{ "", REASON_first_byte_timeout, 0, true },
		{ "", REASON_try_timeout, 0, true },
		{ "", REASON_idle_timeout, 200, true },
		{ "", REASON_ok, 500, true },
		{ "", REASON_ok, 529, true },
		{ "", REASON_ok, 200, false },
		{ "", REASON_ok, 404, false },
		{ "", REASON_ok, 429, false },
		{ "", REASON_upstream_stale, 0, false },
		{ "", REASON_client_abort, 0, false },
		{ "", REASON_client_abort, 503, false },
		{ "", REASON_body_timeout, 0, false },
		{ "", REASON_upstream_full, 0, false },
		{ "", REASON_out_of_memory, 0, false },
		{ "", REASON_draining, 0, false },
		{ "", REASON_cut, 200, false },
		{ "", REASON_total_timeout, 0, false },
		{ ", failures: [429, 503]", REASON_ok, 429, true },
		{ ", failures: [429, 503]", REASON_ok, 503, true },
		{ ", failures: [429, 503]", REASON_ok, 500, false },
		{ ", failures: [429, 503]", REASON_connect_failed, 0, false },
		{ ", failures: [429, 503]", REASON_upstream_truncated, 503, true },
		{ ", failures: [connect]", REASON_connect_timeout, 0, true },
		{ ", failures: [connect]", REASON_try_timeout, 0, false },
		{ ", failures: [timeout]", REASON_connect_timeout, 0, true },
		{ ", failures: [timeout]", REASON_connect_failed, 0, false },
		{ ", failures: reset", REASON_upstream_malformed, 0, true },
		{ ", failures: reset", REASON_ok, 500, false },
		{ ", failures: [5xx]", REASON_upstream_reset, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char policy[128];

		snprintf(policy, sizeof(policy), "{ breaker: 1%s }", rows[i].failures);
		begin(policy);
		assert_true(try_one(1, START_NS, &reason_table[rows[i].why], rows[i].status));
		if ((shut_ns(1, START_NS) > 0) != rows[i].opens)
			fail_msg("row %zu: %s %u", i, reason_table[rows[i].why].token,
				 rows[i].status);
		end();
	}
}

static void test_what_is_neither_does_not_end_a_row(void **state)
{
	(void)state;
	begin("{ breaker: 2 }");
	fail_times(1, 1, START_NS);
	assert_true(try_one(1, START_NS, reason_client_abort, 0));
	fail_times(1, 1, START_NS);
	assert_true(shut_ns(1, START_NS) > 0);
	end();
	begin("{ breaker: 2 }");
	fail_times(1, 1, START_NS);
	assert_true(try_one(1, START_NS, reason_ok, 429)); /* it lives */
	fail_times(1, 1, START_NS);
	assert_int_equal(shut_ns(1, START_NS), 0);
	end();
}

/* The time of the whole call is up: whose fault that is depends on what it waited for. */
static void test_the_calls_own_time_out(void **state)
{
	static const struct {
		bool asked;
		uint64_t head_ns;
		uint8_t number;
		bool opens;
	} rows[] = {
		{ true, 0, 1, true },
		{ false, 0, 1, false },       /* its own request was not there yet */
		{ true, START_NS, 1, false }, /* a long answer */
		{ true, 0, 2, false },        /* the tries before had the time */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct tried t;

		begin("{ breaker: 1 }");
		try_begin(&t, &now, 1, START_NS);
		t.a.asked = rows[i].asked;
		t.a.head_ns = rows[i].head_ns;
		if (rows[i].number == 2) { /* the first was given up */
			t.a.why = reason_client_abort;
			chain_attempted(&t.v.call, &t.a);
			t.a = (struct attempt){ .endpoint = 1, .number = 2, .asked = true };
			assert_int_equal(chain_attempt(&t.v.call, &t.a).kind, V_PASS);
		}
		try_end(&t, reason_total_timeout, 0, START_NS + CLOCK_S);
		assert_int_equal(shut_ns(1, START_NS + CLOCK_S) > 0, rows[i].opens);
		end();
	}
}

static void test_nothing_counts_while_shutting_down(void **state)
{
	struct tried t;

	(void)state;
	begin("{ breaker: 1 }");
	try_begin(&t, &now, 1, START_NS);
	t.a.excused = true;
	try_end(&t, reason_connect_failed, 0, START_NS);
	assert_int_equal(shut_ns(1, START_NS), 0);
	end();
}

static void test_share_of_the_window(void **state)
{
	(void)state;
	begin("{ breaker: 50%, min_requests: 4, window: 10s }");
	fail_times(2, 1, START_NS);
	assert_true(try_one(1, START_NS, reason_ok, 200));
	assert_int_equal(shut_ns(1, START_NS), 0);
	assert_true(try_one(1, START_NS + CLOCK_S, reason_ok, 200));
	assert_true(shut_ns(1, START_NS + CLOCK_S) > 0);
	end();
}

/* Begins at the start, its head comes at `head_ns`, its end at `end_ns`. */
static bool opens_after(const char *slow, uint16_t status, uint64_t head_ns, uint64_t end_ns)
{
	char policy[128];
	struct tried t;
	bool opens;

	snprintf(policy, sizeof(policy), "{ breaker: 9, min_requests: 1, slow: %s }", slow);
	begin(policy);
	try_begin(&t, &now, 1, START_NS);
	t.a.head_ns = START_NS + head_ns;
	try_end(&t, reason_ok, status, START_NS + end_ns);
	opens = shut_ns(1, START_NS + end_ns) > 0;
	end();
	return opens;
}

static void test_slow_calls(void **state)
{
	(void)state;
	assert_true(opens_after("{ over: 20s }", 200, CLOCK_S, 20 * CLOCK_S + 1));
	assert_false(opens_after("{ over: 20s }", 200, CLOCK_S, 20 * CLOCK_S));
	assert_true(opens_after("20s", 200, CLOCK_S, 30 * CLOCK_S));
	assert_true(opens_after("{ first_byte: 5s }", 200, 5 * CLOCK_S + 1, 6 * CLOCK_S));
	assert_false(opens_after("{ first_byte: 5s }", 200, 5 * CLOCK_S, 600 * CLOCK_S));
	assert_true(opens_after("{ over: 9s, first_byte: 5s }", 404, 6 * CLOCK_S, 6 * CLOCK_S));
	assert_false(opens_after("{ over: 20s }", 101, CLOCK_S, 3600 * CLOCK_S));
}

/* Uploads and downloads are as slow as clients are. */
static void test_slow_clients(void **state)
{
	static const struct {
		uint64_t asked_s, head_s, end_s, held_s; /* 0: not asked */
		bool opens;
	} rows[] = {
		{ 1, 5, 30, 0, true },   { 10, 11, 11, 0, false }, { 10, 16, 16, 0, true },
		{ 1, 2, 30, 20, false }, { 1, 2, 30, 8, true },    { 0, 2, 30, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t end_ns = START_NS + rows[i].end_s * CLOCK_S;
		struct tried t;

		begin("{ breaker: 9, min_requests: 1, slow: { over: 20s, first_byte: 5s } }");
		try_begin(&t, &now, 1, START_NS);
		t.a.asked_ns = rows[i].asked_s == 0 ? 0 : START_NS + rows[i].asked_s * CLOCK_S;
		t.a.head_ns = START_NS + rows[i].head_s * CLOCK_S;
		t.a.held_ns = rows[i].held_s * CLOCK_S;
		try_end(&t, reason_ok, 200, end_ns);
		assert_int_equal(shut_ns(1, end_ns) > 0, rows[i].opens);
		end();
	}
}

static void test_who_went_away_was_not_slow(void **state)
{
	struct tried t;

	(void)state;
	begin("{ breaker: 9, min_requests: 1, slow: { over: 1s, first_byte: 1s } }");
	try_begin(&t, &now, 1, START_NS);
	try_end(&t, reason_client_abort, 200, START_NS + 60 * CLOCK_S);
	assert_int_equal(shut_ns(1, START_NS + 60 * CLOCK_S), 0);
	end();
}

/*---------------------------------------------------------------- refusals */

static void test_a_refusal_says_when_to_come_back(void **state)
{
	struct tried t;
	uint64_t shut;

	(void)state;
	begin("{ breaker: 3, open_for: 10s }");
	fail_times(3, 1, START_NS);
	shut = shut_ns(1, START_NS);
	assert_true(shut >= 8 * CLOCK_S && shut <= 12 * CLOCK_S);
	try_begin(&t, &now, 1, START_NS + CLOCK_S);
	assert_int_equal(t.verdict.kind, V_DENY);
	assert_ptr_equal(t.verdict.why, reason_breaker_open);
	assert_int_equal(t.verdict.ms, (shut - CLOCK_S + CLOCK_MS - 1) / CLOCK_MS);
	assert_true(t.v.call.out.denied);
	assert_string_equal(t.v.call.out.limit.policy, "guard");
	try_end(&t, NULL, 0, START_NS + CLOCK_S);
	assert_true(try_one(1, START_NS + shut, reason_ok, 200));
	assert_true(try_one(1, START_NS + shut, reason_ok, 200));
	end();
}

static void test_half_open(void **state)
{
	uint64_t at = START_NS + 20 * CLOCK_S;
	struct tried probe[2], more;

	(void)state;
	begin("{ breaker: 1, probes: 2 }");
	fail_times(1, 1, START_NS);
	try_begin(&probe[0], &now, 1, at);
	assert_int_equal(shut_ns(1, at), 0);
	try_begin(&probe[1], &now, 1, at);
	try_begin(&more, &now, 1, at);
	assert_int_equal(more.verdict.kind, V_DENY);
	assert_int_equal(more.verdict.ms, 1000);
	try_end(&more, NULL, 0, at);
	try_end(&probe[0], reason_client_abort, 0, at); /* its place is free again */
	assert_int_equal(shut_ns(1, at), 0);
	try_begin(&probe[0], &now, 1, at);
	try_end(&probe[0], reason_ok, 200, at);
	assert_true(shut_ns(1, at) > 0);
	try_end(&probe[1], reason_ok, 200, at);
	assert_int_equal(shut_ns(1, at), 0);
	end();
}

static void respond(struct tried *t, uint16_t status, uint64_t at_ns)
{
	struct head h;

	t->v.env.now_ns = t->a.head_ns = at_ns;
	head_init(&h, &t->v.arena);
	h.status = status;
	chain_respond(&t->v.call, &h);
}

/* An answer that is streamed for minutes does not keep the others out. */
static void test_a_probe_is_well_when_its_answer_begins(void **state)
{
	uint64_t at = START_NS + 20 * CLOCK_S;
	struct tried t;

	(void)state;
	begin("{ breaker: 1, open_for: 10s }");
	fail_times(1, 1, START_NS);
	try_begin(&t, &now, 1, at);
	assert_true(shut_ns(1, at) > 0);
	respond(&t, 200, at);
	assert_int_equal(shut_ns(1, at), 0);
	try_end(&t, reason_upstream_truncated, 200, at + 60 * CLOCK_S);
	assert_true(shut_ns(1, at + 60 * CLOCK_S) > 0);
	end();
}

static void test_but_not_when_it_is_slow_already(void **state)
{
	static const char *const policies[] = {
		"{ breaker: 1, slow: { over: 1s }, min_requests: 9 }",
		"{ breaker: 1, slow: { first_byte: 1s }, min_requests: 9 }",
	};
	uint64_t at = START_NS + 20 * CLOCK_S;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct tried t;

		begin(policies[i]);
		fail_times(1, 1, START_NS);
		try_begin(&t, &now, 1, at);
		respond(&t, 200, at + 2 * CLOCK_S);
		assert_true(shut_ns(1, at + 2 * CLOCK_S) > 0);
		try_end(&t, reason_ok, 200, at + 2 * CLOCK_S);
		assert_true(shut_ns(1, at + 2 * CLOCK_S) > 0);
		end();
	}
}

static void test_retry_after_lengthens(void **state)
{
	struct tried t;

	(void)state;
	begin("{ breaker: 1, open_for: 10s, max_open: 1m }");
	try_begin(&t, &now, 1, START_NS);
	t.a.retry_after_ms = 45000;
	try_end(&t, reason_ok, 503, START_NS);
	assert_int_equal(shut_ns(1, START_NS), 45 * CLOCK_S);
	end();
	begin("{ breaker: 1, open_for: 10s, max_open: 1m }");
	try_begin(&t, &now, 1, START_NS);
	t.a.retry_after_ms = 86400000;
	try_end(&t, reason_ok, 503, START_NS);
	assert_int_equal(shut_ns(1, START_NS), 60 * CLOCK_S);
	end();
}

/*------------------------------------------------------------------- whose */

static void test_per_endpoint(void **state)
{
	(void)state;
	begin("{ breaker: 2 }");
	fail_times(2, 1, START_NS);
	assert_true(shut_ns(1, START_NS) > 0);
	assert_int_equal(shut_ns(2, START_NS), 0);
	assert_true(try_one(2, START_NS, reason_ok, 200));
	assert_int_equal(shut_ns(700001, START_NS), 0);
	assert_int_equal(shut_ns(3, START_NS), 0); /* not told of: not looked at */
	assert_true(try_one(3, START_NS, reason_connect_failed, 0));
	end();
}

static void test_per_upstream(void **state)
{
	(void)state;
	begin("{ breaker: 2, per: upstream }");
	fail_times(1, 1, START_NS);
	fail_times(1, 2, START_NS);
	assert_true(shut_ns(1, START_NS) > 0);
	assert_true(shut_ns(2, START_NS) > 0);
	assert_int_equal(shut_ns(700001, START_NS), 0);
	end();
}

static void test_many_endpoints(void **state)
{
	char name[300][8];

	(void)state;
	begin("{ breaker: 1 }");
	for (uint32_t i = 0; i < 300; i++) {
		struct filter_target t = { "many", name[i], 1000 + i * 1024 };

		snprintf(name[i], sizeof(name[i]), "e:%u", i);
		assert_true(now.filter[0]->ops->target(now.filter[0], &t));
	}
	for (uint32_t i = 0; i < 300; i += 3)
		fail_times(1, 1000 + i * 1024, START_NS);
	for (uint32_t i = 0; i < 300; i++)
		assert_int_equal(shut_ns(1000 + i * 1024, START_NS) > 0, i % 3 == 0);
	end();
}

/* A try that a filter further on denies was none: a probe's place is free again. */
static void test_a_probe_that_a_later_filter_denies(void **state)
{
	uint64_t at = START_NS + 15 * CLOCK_S;
	struct breaker_order force = { .upstream = slice_str("llm"), .mode = BREAKER_FORCED_OPEN };
	struct tried t;

	(void)state;
	tables = policies_tables();
	open_with(&now, "  first: { breaker: 1 }\n  second: { breaker: 1 }\n", 3);
	fail_times(1, 1, START_NS);
	assert_int_equal(breaker_obey(now.filter[1], START_NS, &force), 2);
	for (unsigned i = 0; i < 5; i++) {
		try_begin(&t, &now, 1, at);
		assert_int_equal(t.verdict.kind, V_DENY);
		assert_string_equal(t.v.call.out.limit.policy, "second");
		try_end(&t, NULL, 0, at);
	}
	force.mode = BREAKER_CLOSED;
	assert_int_equal(breaker_obey(now.filter[1], at, &force), 2);
	assert_true(try_one(1, at, reason_ok, 200));
	assert_int_equal(shut_ns(1, at), 0);
	end();
}

static void test_shadow_refuses_nothing(void **state)
{
	struct tried t;

	(void)state;
	begin("{ breaker: 2, shadow: true }");
	fail_times(2, 1, START_NS);
	assert_int_equal(shut_ns(1, START_NS), 0);
	try_begin(&t, &now, 1, START_NS);
	assert_int_equal(t.verdict.kind, V_PASS);
	assert_null(t.v.call.out.limit.policy);
	try_end(&t, reason_ok, 200, START_NS);
	assert_int_equal(filter_stats_read(now.filter[0]->stats, DECISION_SHADOW_DENY), 1);
	end();
}

/* A refusal is no answer: whoever was admitted before it gets its token back. */
static void test_a_refused_call_has_paid_nothing(void **state)
{
	(void)state;
	tables = policies_tables();
	policies_open(&now, tables,
		      "policies:\n  rate: { rate: 1/m, burst: 3 }\n  guard: { breaker: 1 }\n");
	assert_true(now.filter[1]->ops->target(now.filter[1], &targets[0]));
	fail_times(1, 1, START_NS);
	for (unsigned i = 0; i < 10; i++)
		assert_false(try_one(1, START_NS, NULL, 0));
	end();
}

/*------------------------------------------------------------------ orders */

static unsigned n_views;
static struct breaker_view views[8];

static void on_view(void *ctx, const struct breaker_view *v)
{
	(void)ctx;
	views[n_views++] = *v;
}

static void look(uint64_t at_ns)
{
	n_views = 0;
	breaker_each(now.filter[0], at_ns, on_view, NULL);
}

static void test_orders(void **state)
{
	struct breaker_order o = { .upstream = slice_str("llm"),
				   .endpoint = slice_str("a:1"),
				   .mode = BREAKER_FORCED_OPEN,
				   .for_ns = 60 * CLOCK_S };

	(void)state;
	begin("{ breaker: 1, open_for: 10s }");
	assert_int_equal(breaker_obey(now.filter[0], START_NS, &o), 1);
	assert_int_equal(shut_ns(1, START_NS), 60 * CLOCK_S);
	assert_int_equal(shut_ns(2, START_NS), 0);
	look(START_NS + CLOCK_S);
	assert_int_equal(n_views, 3);
	assert_string_equal(views[0].state, "open");
	assert_true(views[0].forced);
	assert_int_equal(views[0].left_ns, 59 * CLOCK_S);
	assert_string_equal(views[1].state, "closed");
	look(START_NS + 60 * CLOCK_S);
	assert_string_equal(views[0].state, "half_open");
	o.mode = BREAKER_FORCED_CLOSED;
	assert_int_equal(breaker_obey(now.filter[0], START_NS, &o), 1);
	fail_times(10, 1, START_NS);
	o.mode = BREAKER_CLOSED;
	assert_int_equal(breaker_obey(now.filter[0], START_NS, &o), 1);
	fail_times(1, 1, START_NS);
	assert_true(shut_ns(1, START_NS) > 0);
	o.endpoint = slice_str("z:1");
	assert_int_equal(breaker_obey(now.filter[0], START_NS, &o), 0);
	end();
}

/*----------------------------------------------------------------- reloads */

static void reload(const char *policy, unsigned n_targets)
{
	struct policies before = now;
	char text[512];

	snprintf(text, sizeof(text), "  guard: %s\n", policy);
	open_with(&now, text, n_targets);
	policies_close(&before);
}

static void test_a_reload_keeps_it(void **state)
{
	(void)state;
	begin("{ breaker: 3 }");
	fail_times(3, 1, START_NS);
	fail_times(2, 2, START_NS);
	reload("{ breaker: 3, open_for: 1s, probes: 5 }", 3);
	assert_true(shut_ns(1, START_NS + 7 * CLOCK_S) > 0);
	fail_times(1, 2, START_NS);
	assert_true(shut_ns(2, START_NS) > 0); /* by the old count, for the new time */
	assert_true(shut_ns(2, START_NS) <= 1200 * CLOCK_MS);
	end();
}

static void test_endpoints_that_vanish_are_forgotten(void **state)
{
	(void)state;
	begin("{ breaker: 1 }");
	fail_times(1, 1, START_NS);
	fail_times(1, 2, START_NS);
	reload("{ breaker: 1 }", 1);
	assert_true(shut_ns(1, START_NS) > 0);
	assert_int_equal(shut_ns(2, START_NS), 0);
	reload("{ breaker: 1 }", 2);
	assert_true(shut_ns(1, START_NS) > 0);
	assert_int_equal(shut_ns(2, START_NS), 0);
	assert_true(try_one(2, START_NS, reason_ok, 200));
	end();
}

/* Successes did not count, and do now: from the first. */
static void test_a_new_rule_counts_at_once(void **state)
{
	struct tried t;

	(void)state;
	begin("{ breaker: 5 }");
	assert_true(try_one(1, START_NS, reason_connect_failed, 0));
	assert_true(try_one(1, START_NS, reason_ok, 200));
	reload("{ breaker: 5, slow: 1s, min_requests: 2 }", 3);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(shut_ns(1, START_NS), 0);
		try_begin(&t, &now, 1, START_NS);
		try_end(&t, reason_ok, 200, START_NS + 2 * CLOCK_S);
	}
	assert_true(shut_ns(1, START_NS + 2 * CLOCK_S) > 0);
	end();
}

/* Calls that end under the old policy count by the new one's limits. */
static void test_old_calls_under_a_new_rule(void **state)
{
	struct policies before;
	struct tried t;

	(void)state;
	begin("{ breaker: 5 }");
	before = now;
	try_begin(&t, &before, 1, START_NS);
	open_with(&now, "  guard: { breaker: 2 }\n", 3);
	fail_times(1, 1, START_NS);
	try_end(&t, reason_connect_failed, 0, START_NS);
	assert_true(shut_ns(1, START_NS) > 0);
	policies_close(&before);
	end();
}

/*----------------------------------------------------------------- numbers */

static char samples[2048];

static void on_sample(void *ctx, const struct filter_sample *s)
{
	size_t n = strlen(samples);

	(void)ctx;
	snprintf(samples + n, sizeof(samples) - n, "%d %s %s %s %llu\n", s->metric, s->upstream,
		 s->endpoint == NULL ? "-" : s->endpoint, s->state == NULL ? "-" : s->state,
		 (unsigned long long)s->value);
}

static bool shows(enum filter_metric metric, const char *rest)
{
	char line[128];

	samples[0] = '\0';
	now.filter[0]->ops->show(now.filter[0], on_sample, NULL);
	snprintf(line, sizeof(line), "%d %s\n", metric, rest);
	return strstr(samples, line) != NULL;
}

static void test_numbers(void **state)
{
	(void)state;
	begin("{ breaker: 1 }");
	assert_true(shows(SHOW_BREAKER_STATE, "llm a:1 closed 1"));
	assert_true(shows(SHOW_BREAKER_STATE, "llm a:1 open 0"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - open 0"));
	assert_true(shows(SHOW_BREAKER_FORCED, "app - - 0"));
	fail_times(1, 1, START_NS);
	fail_times(1, 2, START_NS);
	assert_true(shows(SHOW_BREAKER_STATE, "llm a:1 open 1"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - open 2"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "app - open 0"));
	reload("{ breaker: 1 }", 1);
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - open 2"));
	assert_true(try_one(1, START_NS + 20 * CLOCK_S, reason_ok, 200));
	assert_true(shows(SHOW_BREAKER_STATE, "llm a:1 closed 1"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - half_open 1"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - closed 1"));
	breaker_obey(
	    now.filter[0], START_NS,
	    &(struct breaker_order){ .upstream = slice_str("llm"), .mode = BREAKER_FORCED_CLOSED });
	assert_true(shows(SHOW_BREAKER_FORCED, "llm - - 1"));
	assert_true(shows(SHOW_BREAKER_TRANSITIONS, "llm - closed 1"));
	end();
}

/*----------------------------------------------------------------- threads */

enum { THREADS = 4, ROUNDS = 20000 };

static _Atomic unsigned let_go;

static void *hammer(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	uint64_t at = START_NS;

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct env env = { .now_ns = at, .worker = me };
		struct call call = { .env = &env };
		max_align_t mem[16];
		struct attempt a = { .endpoint = 1 + i % 2, .number = 1, .start_ns = at };

		chain_begin(&now.chain, &call, mem);
		at += CLOCK_MS;
		assert_int_equal(chain_admit(&call).kind, V_PASS);
		(void)chain_shut(&call, a.endpoint);
		if (chain_attempt(&call, &a).kind == V_PASS) {
			let_go++;
			a.why = (i / 100 + me) % 7 == 0 ? reason_connect_failed
				: i % 11 == 0           ? reason_client_abort
							: reason_ok;
			a.status = 200;
		}
		chain_attempted(&call, &a);
		chain_done(&call);
	}
	return NULL;
}

/* The lock, the gate and the places: for the thread sanitizer, and nothing may leak. */
static void test_shared_by_workers(void **state)
{
	pthread_t thread[THREADS];
	uint64_t after = START_NS + 10000 * CLOCK_S;

	(void)state;
	begin("{ breaker: 20%, min_requests: 10, window: 1s, open_for: 100ms, max_open: 200ms, "
	      "probes: 3 }");
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, hammer, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_true(let_go > 0 && let_go < THREADS * ROUNDS);
	for (unsigned i = 0; i < 3; i++) { /* whatever it is: three places, then closed */
		assert_true(try_one(1, after, reason_ok, 200));
		assert_true(try_one(2, after, reason_ok, 200));
	}
	assert_int_equal(shut_ns(1, after), 0);
	assert_true(shows(SHOW_BREAKER_STATE, "llm a:1 closed 1"));
	end();
}

/*----------------------------------------------------------- configuration */

static void test_bad_configurations(void **state)
{
	static const struct {
		const char *policy, *code, *words;
	} rows[] = {
		{ "{ breaker: 0 }", "E015", "between 1 and" },
		{ "{ breaker: 0% }", "E015", "above 0%" },
		{ "{ breaker: 101% }", "E015", "" },
		{ "{ breaker: often }", "E015", "a number of failures" },
		{ "{ breaker: [5] }", "E015", "a number of failures" },
		{ "{ breaker: 5, failures: [teapot] }", "E015", "it is 5xx" },
		{ "{ breaker: 5, open_for: 10m }", "E019", "longer than `max_open`" },
		{ "{ breaker: 5, slow: { share: 50% } }", "E013", "what is slow?" },
		{ "{ breaker: 5, probes: 0 }", "E016", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policies p;
		char text[256];

		tables = policies_tables();
		snprintf(text, sizeof(text), "policies:\n  guard: %s\n", rows[i].policy);
		policies_load(&p, tables, text);
		if (p.ok || policies_finding(&p, rows[i].code, rows[i].words) == NULL)
			fail_msg("row %zu: %s", i, rows[i].policy);
		policies_close(&p);
		table_registry_free(tables);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_a_failure),
		cmocka_unit_test(test_what_is_neither_does_not_end_a_row),
		cmocka_unit_test(test_the_calls_own_time_out),
		cmocka_unit_test(test_nothing_counts_while_shutting_down),
		cmocka_unit_test(test_share_of_the_window),
		cmocka_unit_test(test_slow_calls),
		cmocka_unit_test(test_slow_clients),
		cmocka_unit_test(test_who_went_away_was_not_slow),
		cmocka_unit_test(test_a_refusal_says_when_to_come_back),
		cmocka_unit_test(test_half_open),
		cmocka_unit_test(test_a_probe_is_well_when_its_answer_begins),
		cmocka_unit_test(test_but_not_when_it_is_slow_already),
		cmocka_unit_test(test_retry_after_lengthens),
		cmocka_unit_test(test_per_endpoint),
		cmocka_unit_test(test_per_upstream),
		cmocka_unit_test(test_many_endpoints),
		cmocka_unit_test(test_a_probe_that_a_later_filter_denies),
		cmocka_unit_test(test_shadow_refuses_nothing),
		cmocka_unit_test(test_a_refused_call_has_paid_nothing),
		cmocka_unit_test(test_orders),
		cmocka_unit_test(test_a_reload_keeps_it),
		cmocka_unit_test(test_endpoints_that_vanish_are_forgotten),
		cmocka_unit_test(test_a_new_rule_counts_at_once),
		cmocka_unit_test(test_old_calls_under_a_new_rule),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_shared_by_workers),
		cmocka_unit_test(test_bad_configurations),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
