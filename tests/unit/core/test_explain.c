/* Explanations of whole configurations: what is wrong with a request, which route, which policy,
 * what is left; and many calls on virtual time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/explain.h"
#include "filters/stats.h"
#include "upstream/resolve.h"

static struct env env;

static uint64_t now(void)
{
	return env.now_ns;
}

struct fixture {
	struct registries registries;
	struct policy *policy;
	struct arena arena;
	struct explain e;
	struct buf text;
};

static const char head[] = "version: 1\n"
			   "listen: 127.0.0.1:18080\n"
			   "client_ip: { trust: [10.0.0.0/8] }\n"
			   "upstreams:\n"
			   "  app: 127.0.0.1:13000\n"
			   "  pair: { endpoints: [ \"127.0.0.1:13001\", \"127.0.0.1:13002\" ] }\n";

static const char plain[] =
    "policies:\n"
    "  wide: { rate: 100/s, burst: 200, key: client.ip }\n"
    "  narrow: { rate: 1/s, burst: 2, key: header.x-tenant, missing: deny }\n"
    "  trial: { rate: 1/h, burst: 1, shadow: true }\n"
    "routes:\n"
    "  - { name: health, match: { path: /healthz }, to: app }\n"
    "  - { name: post, match: { path: /v1/*, methods: [POST] }, to: app }\n"
    "  - { name: other, match: { hosts: [other.example] }, to: app }\n"
    "  - { name: rest, to: pair, max_body: 1KiB, use: [wide, narrow, trial] }\n";

static void open_yaml(struct fixture *f, const char *rest)
{
	char path[] = "explain_XXXXXX.yaml";
	int fd = mkstemps(path, 5);
	struct arena arena, diag_arena;
	struct config *config;
	struct diags diags;

	memset(f, 0, sizeof(*f));
	env =
	    (struct env){ .now_ns = 1000 * CLOCK_S, .wall_ns = UINT64_C(86400) * 20000 * CLOCK_S };
	f->registries = (struct registries){ .tables = table_registry_new(),
					     .upstreams = upstream_registry_new(),
					     .stats = stats_new(1) };
	table_registry_set_clock(f->registries.tables, now);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, head, strlen(head)), strlen(head));
	assert_int_equal(write(fd, rest, strlen(rest)), strlen(rest));
	close(fd);
	arena_init(&arena, NULL);
	arena_init(&diag_arena, NULL);
	diags_init(&diags, &diag_arena);
	config = config_load(path, &arena, &diags);
	for (const struct diag *d = diags.first; d != NULL; d = d->next)
		if (d->severity == DIAG_ERROR)
			fprintf(stderr, "%u: %s\n", d->at.line, d->message);
	assert_non_null(config);
	f->policy = policy_open(path, config, arena, &f->registries, &diags);
	unlink(path);
	assert_non_null(f->policy);
	arena_fini(&diag_arena);
	arena_init(&f->arena, NULL);
	explain_follow(f->policy, &env);
}

static void close_yaml(struct fixture *f)
{
	buf_fini(&f->text);
	arena_fini(&f->arena);
	policy_close(f->policy, &f->registries);
	table_registry_free(f->registries.tables);
	upstream_registry_free(f->registries.upstreams);
	stats_free(f->registries.stats);
}

/* "name: value" or NULL. */
static const char *find_from(struct fixture *f, const char *method, const char *target,
			     const char *field, const char *client)
{
	struct explain_request r = { .method = slice_str(method),
				     .target = slice_str(target),
				     .client = slice_str(client) };

	if (field != NULL) {
		struct slice value = slice_str(field), name = slice_cut(&value, ':');

		r.field[r.n++] = (struct explain_field){ name, slice_trim(value) };
	}
	return explain_find(f->policy, &env, &r, &f->arena, &f->e);
}

static void find(struct fixture *f, const char *method, const char *target, const char *field)
{
	assert_null(find_from(f, method, target, field, NULL));
}

static const char *text_of(struct fixture *f, const struct explain_repeat *r)
{
	buf_fini(&f->text);
	explain_text(&f->e, r, &f->text);
	assert_false(f->text.oom);
	return f->text.p;
}

static void assert_says(struct fixture *f, const struct explain_repeat *r, const char *words)
{
	if (strstr(text_of(f, r), words) == NULL)
		fail_msg("`%s` is not in:\n%s", words, f->text.p);
}

/*---------------------------------------------------------------- requests */

static void test_what_cannot_be_asked(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	assert_non_null(find_from(&f, "GET", "", NULL, NULL));
	assert_non_null(find_from(&f, "GET", "/a\r\nx: y", NULL, NULL));
	assert_non_null(find_from(&f, "GET", "/", "x: a\nb", NULL));
	assert_non_null(find_from(&f, "GET", "/", NULL, "here"));
	close_yaml(&f);
}

static void test_requests_that_no_client_may_send(void **state)
{
	static const struct {
		const char *method, *target, *field;
		const struct reason *const *why;
	} rows[] = {
		{ "GET", "/a b", NULL, &reason_bad_request },
		{ "G(T", "/", NULL, &reason_bad_request },
		{ "GET", "/../x", NULL, &reason_bad_request },
		{ "GET", "/", "bad name: x", &reason_bad_field },
		{ "GET", "/", "Host: a@b", &reason_bad_host },
		{ "CONNECT", "h:1", NULL, &reason_connect_refused },
		{ "TRACE", "/", NULL, &reason_trace_refused },
		{ "PUT", "/", "Content-Length: 1025", &reason_body_too_large },
		{ "OPTIONS", "/", "Max-Forwards: 0", &reason_max_forwards },
	};
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		find(&f, rows[i].method, rows[i].target, rows[i].field);
		if (f.e.why == NULL || f.e.why->status != (*rows[i].why)->status)
			fail_msg("%s %s: %s", rows[i].method, rows[i].target,
				 f.e.why == NULL ? "passes" : f.e.why->token);
		text_of(&f, NULL);
		buf_fini(&f.text);
		explain_json(&f.e, NULL, true, &f.text);
	}
	close_yaml(&f);
}

/*---------------------------------------------------------------- routes */

static void test_routes(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	find(&f, "GET", "/v1/x", "x-tenant: a");
	assert_int_equal(f.e.n_routes, 4);
	assert_int_equal(f.e.routes[0].why_not, ROUTE_PATH);
	assert_int_equal(f.e.routes[1].why_not, ROUTE_METHOD);
	assert_int_equal(f.e.routes[2].why_not, ROUTE_HOST);
	assert_int_equal(f.e.routes[3].why_not, ROUTE_TAKES);
	assert_says(&f, NULL, "no: its path is /healthz");
	assert_says(&f, NULL, "no: its methods are POST");
	assert_says(&f, NULL, "no: its hosts are other.example");
	assert_says(&f, NULL, "yes: path /*");
	assert_says(&f, NULL, "goes on to upstream pair");
	assert_says(&f, NULL, "127.0.0.1:13002");
	close_yaml(&f);
}

static void test_no_route(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, "routes: [ { match: { path: /a }, to: app } ]\n");
	find(&f, "GET", "/b", NULL);
	assert_ptr_equal(f.e.why, reason_no_route);
	assert_says(&f, NULL, "404 no_route");
	find(&f, "GET", "/a", NULL);
	assert_null(f.e.why);
	assert_says(&f, NULL, "the route is not limited");
	close_yaml(&f);
}

static void test_client(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	assert_null(find_from(&f, NULL, "/", "X-Forwarded-For: 192.0.2.7", "10.1.1.1"));
	assert_says(&f, NULL, "from 192.0.2.7 by way of 10.1.1.1");
	assert_null(find_from(&f, NULL, "/", "X-Forwarded-For: 192.0.2.7", "192.0.2.1"));
	assert_says(&f, NULL, "from 192.0.2.1\n");
	close_yaml(&f);
}

/*---------------------------------------------------------------- policies */

static void test_policies_take_nothing(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	for (int i = 0; i < 10; i++) {
		find(&f, "GET", "/", "x-tenant: acme");
		assert_null(f.e.why);
		assert_int_equal(f.e.policies[1].limit.remaining, 2);
	}
	assert_says(&f, NULL, "header.x-tenant = acme");
	assert_says(&f, NULL, "2 of 2 left now");
	assert_int_equal(filter_stats_read(f.policy->filter[1]->stats, DECISION_ALLOW), 0);
	close_yaml(&f);
}

static void test_who_refuses(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	find(&f, "GET", "/", NULL);
	assert_ptr_equal(f.e.why, reason_missing_key);
	assert_string_equal(f.e.denier->name, "narrow");
	assert_true(f.e.policies[1].asked);
	assert_false(f.e.policies[2].asked);
	assert_says(&f, NULL, "403 missing_key");
	assert_says(&f, NULL, "(not asked any more)");
	close_yaml(&f);
}

static void test_slots_at_rest(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, "policies: { p: { concurrency: 2 } }\nroutes: [ { to: app, use: p } ]\n");
	for (int i = 0; i < 3; i++) {
		find(&f, "GET", "/", NULL);
		assert_null(f.e.why);
	}
	close_yaml(&f);
}

static void test_control_characters_stay_out_of_terminals(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, "policies: { p: { rate: 1/s, key: query.k } }\n"
		      "routes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/?k=a%1b%5B2Jb", NULL);
	assert_says(&f, NULL, "query.k = a?[2Jb");
	close_yaml(&f);
}

static void test_json_without_values(void **state)
{
	struct fixture f;

	(void)state;
	open_yaml(&f, plain);
	find(&f, "GET", "/", "x-tenant: acme");
	explain_json(&f.e, NULL, false, &f.text);
	assert_null(strstr(f.text.p, "acme"));
	assert_non_null(strstr(f.text.p, "\"key_hash\":\""));
	assert_non_null(strstr(f.text.p, "\"remaining\":2"));
	close_yaml(&f);
}

/*---------------------------------------------------------------- repetitions */

static struct explain_repeat repeat(struct fixture *f, uint64_t n, uint64_t interval_ms,
				    uint16_t status, uint64_t takes_ms)
{
	struct explain_repeat r = { .n = n,
				    .interval_ns = interval_ms * CLOCK_MS,
				    .status = status,
				    .takes_ns = takes_ms * CLOCK_MS };

	assert_null(explain_repeat(&f->e, &env, &r));
	assert_int_equal(r.admitted + r.refused, n);
	return r;
}

static void test_a_burst_and_then_the_rate(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f, "policies: { p: { rate: 10/s, burst: 200 } }\n"
		      "routes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/", NULL);
	/* each call costs one and gains a half before the next: 200 - k / 2 are left for call k + 1
	 */
	r = repeat(&f, 500, 50, 200, 0);
	assert_int_equal(r.first_refusal, 400);
	assert_int_equal(r.refused, 51);
	assert_says(&f, &r, "  1-399            200\n");
	assert_says(&f, &r, "429 rate_limited by p, Retry-After 1: 0.050 s");
	assert_says(&f, &r, "admitted 449, refused 51 (the first: call 400, at 19.950 s)");
	assert_says(&f, &r, "p                allow 449, deny 51");
	close_yaml(&f);
}

static void test_shaping(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f, "policies: { p: { rate: 5/s, burst: 1, wait: 2s } }\n"
		      "routes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/", NULL);
	assert_int_equal(f.e.delay_ms, 0);
	/* the burst, and what 2 s of the rate are */
	r = repeat(&f, 20, 0, 200, 0);
	assert_int_equal(r.admitted, 11);
	assert_int_equal(r.delayed, 10);
	assert_int_equal(r.longest_wait_ns, 2 * CLOCK_S);
	env.now_ns -= CLOCK_S; /* the last of them is still to come */
	find(&f, "GET", "/", NULL);
	assert_int_equal(f.e.delay_ms, 1200);
	assert_says(&f, NULL, "but not before 1.200 s from now");
	assert_says(&f, NULL, "0 of 1 left now");
	close_yaml(&f);
}

static void test_what_takes_long_fills_slots(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f, "policies: { p: { concurrency: 2, queue: { size: 1, wait: 10s } } }\n"
		      "routes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/", NULL);
	/* two are let in, one waits for 1 s, the fourth finds all places taken */
	r = repeat(&f, 4, 0, 200, 1000);
	assert_int_equal(r.admitted, 3);
	assert_int_equal(r.delayed, 1);
	assert_int_equal(r.longest_wait_ns, CLOCK_S);
	assert_int_equal(r.first_refusal, 4);
	assert_int_equal(r.end_ns, 2 * CLOCK_S);
	assert_says(&f, &r, "after waiting 1.000 s");
	assert_says(&f, &r, "503 concurrency_full by p");
	close_yaml(&f);
}

static void test_failures_open_the_breaker(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f, "policies: { p: { breaker: 5, open_for: 10s } }\n"
		      "routes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/", NULL);
	r = repeat(&f, 10, 1, 500, 0);
	assert_int_equal(r.first_refusal, 6);
	assert_int_equal(r.tries, 5);
	assert_says(&f, &r, "503 breaker_open by p, Retry-After ");
	find(&f, "GET", "/", NULL);
	assert_ptr_equal(f.e.why, reason_breaker_open);
	assert_says(&f, NULL, "shut by its breaker for");
	close_yaml(&f);
}

static void test_retries_are_tries(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f,
		  "policies: { p: { retry: 2, when: [503] } }\nroutes: [ { to: app, use: p } ]\n");
	find(&f, "GET", "/", NULL);
	r = repeat(&f, 1, 0, 503, 5);
	assert_int_equal(r.tries, 3);
	close_yaml(&f);
}

static void test_time_outs(void **state)
{
	struct fixture f;
	struct explain_repeat r;

	(void)state;
	open_yaml(&f, "routes: [ { to: app, timeout: { total: 2s } } ]\n");
	find(&f, "GET", "/", NULL);
	r = repeat(&f, 3, 1, 200, 5000);
	assert_int_equal(r.failed, 3);
	assert_says(&f, &r, "504 total_timeout");
	close_yaml(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_cannot_be_asked),
		cmocka_unit_test(test_requests_that_no_client_may_send),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_client),
		cmocka_unit_test(test_policies_take_nothing),
		cmocka_unit_test(test_who_refuses),
		cmocka_unit_test(test_slots_at_rest),
		cmocka_unit_test(test_control_characters_stay_out_of_terminals),
		cmocka_unit_test(test_json_without_values),
		cmocka_unit_test(test_a_burst_and_then_the_rate),
		cmocka_unit_test(test_shaping),
		cmocka_unit_test(test_what_takes_long_fills_slots),
		cmocka_unit_test(test_failures_open_the_breaker),
		cmocka_unit_test(test_retries_are_tries),
		cmocka_unit_test(test_time_outs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
