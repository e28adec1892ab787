/* The admin listener's door and pages. */
#include "base/event.h"
#include "fixture.h"

static unsigned status_for(struct fixture *f, struct head *h)
{
	fixture_ask(f, &admin_service, h);
	return f->reply.status;
}

static void test_hosts_that_are_not_ours(void **state)
{
	static const char *const hosts[] = { "evil.example",
					     "evil.example:19901",
					     "",
					     "127.0.0.1.evil.net",
					     "localhost.evil.net",
					     "::1",
					     "[localhost]",
					     ":19901",
					     "127.0.0.1@evil.net" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct head *h = fixture_head(f, "/stats.json");

		h->authority = slice_str(hosts[i]);
		assert_int_equal(status_for(f, h), 421);
		assert_null(strstr(f->reply.body.p, "sha256"));
	}
}

static void test_hosts_that_are(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "127.0.0.1:19901", "localhost:1",
					     "LOCALHOST", "[::1]:19901",     "[::1]",
					     "10.1.2.3:9" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		struct head *h = fixture_head(f, "/stats.json");

		h->authority = slice_str(hosts[i]);
		assert_int_equal(status_for(f, h), 200);
	}
}

static void test_the_dashboard_needs_no_token(void **state)
{
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/");

	head_remove(h, F_AUTHORIZATION);
	assert_int_equal(status_for(f, h), 200);
	assert_non_null(strstr(f->reply.content_security_policy, "default-src 'none'; "));
	assert_null(strstr(f->reply.content_security_policy, "unsafe"));
	assert_true(f->reply.body.n < 60 * 1024);
	h = fixture_head(f, "/");
	h->authority = slice_str("evil.example");
	assert_int_equal(status_for(f, h), 421);
	h = fixture_head(f, "/nothing");
	assert_int_equal(status_for(f, h), 404);
	h = fixture_head(f, "/");
	h->method_id = METHOD_POST;
	assert_int_equal(status_for(f, h), 405);
	head_remove(h, F_AUTHORIZATION);
	assert_int_equal(status_for(f, h), 401);
}

static void test_token(void **state)
{
	static const char *const bad[] = {
		"Bearer sesamf", "Bearer sesam", "Bearer sesamesesame", "Bearer ", "Bearer",
		"Basic sesame",  "sesame",       "Bearer sesame x",     ""
	};
	static const char *const good[] = { "Bearer sesame", "bearer  sesame", " BEARER sesame " };
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/stats.json");

	head_remove(h, F_AUTHORIZATION);
	assert_int_equal(status_for(f, h), 401);
	assert_string_equal(f->reply.www_authenticate, "Bearer realm=\"weir\"");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		head_set(h, F_AUTHORIZATION, slice_str(bad[i]));
		assert_int_equal(status_for(f, h), 401);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		head_set(h, F_AUTHORIZATION, slice_str(good[i]));
		assert_int_equal(status_for(f, h), 200);
	}
}

static void test_a_budget(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(status_for(f, fixture_head(f, "/breakers")), 200);
	assert_int_equal(status_for(f, fixture_head(f, "/breakers")), 429);
	assert_int_equal(f->reply.retry_after_s, 1);
	f->view.now_ns += CLOCK_MS;
	assert_int_equal(status_for(f, fixture_head(f, "/breakers")), 200);
	assert_int_equal(status_for(f, fixture_head(f, "/breakers")), 429);
	assert_int_equal(f->budgets.admin.refused, 2);
	fixture_ask(f, &probes_service, fixture_head(f, "/ready"));
	assert_int_equal(f->reply.status, 200);
}

static void test_pages_that_are_not(void **state)
{
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/config");

	assert_int_equal(status_for(f, fixture_head(f, "/secrets")), 404);
	h->method_id = METHOD_DELETE;
	assert_int_equal(status_for(f, h), 405);
	assert_string_equal(f->reply.allow, "GET, HEAD");
}

static void test_config_hides_secrets(void **state)
{
	struct fixture *f = *state;
	const char *text = fixture_ask(f, &admin_service, fixture_head(f, "/config"));

	assert_int_equal(f->reply.status, 200);
	assert_null(strstr(text, "sesame"));
	assert_non_null(strstr(text, "<redacted>"));
	assert_non_null(strstr(text, "per-client"));
}

static void test_config_etag(void **state)
{
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/config");
	char list[256];

	fixture_ask(f, &admin_service, h);
	assert_int_equal(strlen(f->reply.etag), 66);
	head_add_name(h, slice_str("If-None-Match"), slice_str("\"other\""));
	assert_int_equal(status_for(f, h), 200);
	snprintf(list, sizeof(list), "\"other\", W/%s", f->reply.etag);
	head_set_name(h, slice_str("If-None-Match"), slice_str(list));
	assert_int_equal(status_for(f, h), 304);
	assert_int_equal(f->reply.body.n, 0);
	assert_non_null(f->reply.etag);
	head_set_name(h, slice_str("If-None-Match"), slice_str("*"));
	assert_int_equal(status_for(f, h), 304);
}

static void test_health(void **state)
{
	struct fixture *f = *state;
	const char *text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));

	assert_int_equal(f->reply.status, 200);
	assert_string_equal(f->reply.content_type, "application/json");
	assert_non_null(strstr(text, "{\"status\":\"healthy\""));
	assert_non_null(strstr(text, "\"uptime\":100"));
	assert_non_null(strstr(text, "{\"name\":\"upstream.pair\",\"status\":\"healthy\","
				     "\"message\":\"2 of 2 endpoints are up\""));
}

static void test_health_after_a_failed_reload(void **state)
{
	struct fixture *f = *state;
	const char *text;

	f->reload.last_ok = false;
	f->reload.failed_in_a_row = 3;
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	assert_int_equal(f->reply.status, 200);
	assert_non_null(strstr(text, "{\"status\":\"degraded\""));
	assert_non_null(strstr(text, "\"consecutive_failures\":3"));
}

static void test_health_before_listening(void **state)
{
	struct fixture *f = *state;

	f->view.ready = false;
	assert_non_null(strstr(fixture_ask(f, &admin_service, fixture_head(f, "/health")),
			       "{\"status\":\"unhealthy\""));
	assert_int_equal(f->reply.status, 503);
}

static void test_health_while_draining(void **state)
{
	struct fixture *f = *state;

	f->view.draining = true;
	f->view.ready = false;
	assert_non_null(strstr(fixture_ask(f, &admin_service, fixture_head(f, "/health")),
			       "{\"status\":\"degraded\""));
}

/* Brackets and quotes in balance, and no empty member: enough to catch a comma in the wrong place.
 */
static void check_json(const char *p)
{
	char open[64];
	size_t depth = 0;
	char last = '\0';

	for (; *p != '\0'; p++) {
		if (*p == '"') {
			assert_true(last == '\0' || strchr("{[,:", last) != NULL);
			for (p++; *p != '"'; p++)
				p += *p == '\\';
		} else if (*p == '{' || *p == '[') {
			assert_true(last == '\0' || strchr("{[,:", last) != NULL);
			open[depth++] = *p == '{' ? '}' : ']';
		} else if (*p == '}' || *p == ']') {
			assert_true(last != ',' && last != ':');
			assert_int_equal(open[--depth], *p);
		} else if (*p == ',' || *p == ':') {
			assert_true(strchr("{[,:", last) == NULL);
		}
		if (*p != '\n')
			last = *p;
	}
	assert_int_equal(depth, 0);
}

static void test_stats_json(void **state)
{
	struct fixture *f = *state;
	struct listener_stats *odd =
	    stats_listener_get(f->registries.stats, "unix:/run/a\"b\\c\nd");
	const char *text;

	check_json(fixture_ask(f, &admin_service, fixture_head(f, "/stats.json")));
	fixture_call(f, 0, 0, 200, reason_ok);
	fixture_call(f, 0, 1, 429, reason_rate_limited);
	fixture_call(f, 1, 1, 0, reason_client_abort);
	text = fixture_ask(f, &admin_service, fixture_head(f, "/stats.json"));
	check_json(text);
	assert_non_null(strstr(text, "\"listener\":\"unix:/run/a\\\"b\\\\c\\nd\""));
	assert_non_null(strstr(text, "{\"method\":\"GET\",\"code\":200,\"count\":1}"));
	assert_non_null(
	    strstr(text, "{\"policy\":\"per-client\",\"reason\":\"rate_limited\",\"count\":1}"));
	assert_non_null(strstr(text, "\"histograms\":{\"duration\":[["));
	assert_non_null(strstr(text, "\"admin\":{\"token\":true,"));
	check_json(fixture_ask(f, &admin_service, fixture_head(f, "/health")));
	stats_listener_put(f->registries.stats, odd);
}

/*---------------------------------------------------------------- breakers */

static struct head *order(struct fixture *f, const char *path, const char *body)
{
	struct head *h = fixture_head(f, path);

	h->method_id = METHOD_PUT;
	h->method = slice_str("PUT");
	head_add(h, F_CONTENT_TYPE, slice_str("application/json; charset=utf-8"));
	f->body = slice_str(body);
	return h;
}

static void test_breakers_are_listed(void **state)
{
	struct fixture *f = *state;
	const char *text = fixture_ask(f, &admin_service, fixture_head(f, "/breakers"));

	assert_int_equal(f->reply.status, 200);
	check_json(text);
	assert_non_null(strstr(text, "{\"policy\":\"guard\",\"upstream\":\"pair\",\"endpoint\":"
				     "\"127.0.0.1:13002\",\"state\":\"closed\",\"forced\":false,"
				     "\"left\":0,\"since\":null,"));
}

static void test_breakers_obey(void **state)
{
	struct fixture *f = *state;
	const char *text = fixture_ask(f, &admin_service,
				       order(f, "/breakers/guard/pair/127.0.0.1%3a13002",
					     "{\"state\":\"open\",\"for\":\"10m\"}"));

	assert_int_equal(f->reply.status, 200);
	check_json(text);
	assert_null(strstr(text, "13001"));
	assert_non_null(
	    strstr(text, "\"state\":\"open\",\"forced\":true,\"left\":600,\"since\":null,"));
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	check_json(text);
	assert_non_null(strstr(text, "{\"name\":\"breaker.guard\",\"status\":\"degraded\","
				     "\"message\":\"pair 127.0.0.1:13002 is forced open for 600 s "
				     "more\""));
	assert_int_equal(status_for(f, order(f, "/breakers/guard/pair", "{\"state\":\"closed\"}")),
			 200);
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	assert_non_null(strstr(text, "\"message\":\"2 of 2 forced closed\""));
	assert_int_equal(status_for(f, order(f, "/breakers/guard/pair", "{\"state\":\"auto\"}")),
			 200);
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	assert_non_null(strstr(text, "{\"status\":\"healthy\""));
}

static void test_orders_that_make_no_sense(void **state)
{
	static const struct {
		const char *path, *body;
		unsigned status;
	} rows[] = {
		{ "/breakers/guard/pair", "", 400 },
		{ "/breakers/guard/pair", "{}", 400 },
		{ "/breakers/guard/pair", "state: open", 400 },
		{ "/breakers/guard/pair", "{\"state\":\"ajar\"}", 400 },
		{ "/breakers/guard/pair", "{\"state\":\"open\",\"for\":600}", 400 },
		{ "/breakers/guard/pair", "{\"state\":\"${file:/etc/hostname}\"}", 400 },
		{ "/breakers/guard/pair", "{\"state\":\"open\"", 400 },
		{ "/breakers/guard", "{\"state\":\"open\"}", 404 },
		{ "/breakers/guard/", "{\"state\":\"open\"}", 404 },
		{ "/breakers/per-client/pair", "{\"state\":\"open\"}", 404 },
		{ "/breakers/guard/app", "{\"state\":\"open\"}", 404 },
		{ "/breakers/guard/pair/", "{\"state\":\"open\"}", 404 },
		{ "/breakers/guard/pair/127.0.0.1:13003", "{\"state\":\"open\"}", 404 },
		{ "/breakers/guard/pair/127.0.0.1%3", "{\"state\":\"open\"}", 404 },
		{ "/breakers", "{\"state\":\"open\"}", 405 },
		{ "/health", "{\"state\":\"open\"}", 405 },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (status_for(f, order(f, rows[i].path, rows[i].body)) != rows[i].status)
			fail_msg("row %zu: %u", i, f->reply.status);
	assert_null(strstr(fixture_ask(f, &admin_service, fixture_head(f, "/breakers")), "true"));
}

static void test_endpoints_are_taken_out_and_back(void **state)
{
	struct fixture *f = *state;
	const char *path = "/upstreams/pair/127.0.0.1%3A13002";
	const char *text = fixture_ask(f, &admin_service, order(f, path, "{\"state\":\"drain\"}"));

	assert_int_equal(f->reply.status, 200);
	check_json(text);
	assert_string_equal(
	    text, "{\"endpoints\":[{\"upstream\":\"pair\",\"endpoint\":"
		  "\"127.0.0.1:13002\",\"state\":\"drain\",\"weight\":1,\"backup\":false}]}\n");
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	assert_non_null(strstr(text, "\"1 of 2 endpoints are up\""));
	assert_int_equal(status_for(f, order(f, "/upstreams/pair/127.0.0.1:13001",
					     "{\"state\":\"down\"}")),
			 200);
	text = fixture_ask(f, &admin_service, fixture_head(f, "/health"));
	assert_non_null(strstr(text, "{\"name\":\"upstream.pair\",\"status\":\"unhealthy\""));
	assert_non_null(strstr(text, "{\"status\":\"degraded\"")); /* there is another upstream */
	assert_int_equal(status_for(f, order(f, path, "{\"state\":\"up\"}")), 200);
	text = fixture_ask(f, &admin_service, fixture_head(f, "/upstreams"));
	check_json(text);
	assert_non_null(strstr(text, "13001\",\"state\":\"down\",\"weight\":1"));
	assert_non_null(strstr(text, "13002\",\"state\":\"up\",\"weight\":1"));
}

static void test_orders_to_endpoints_that_make_no_sense(void **state)
{
	static const char *const bodies[] = { "", "{}", "[]", "{\"state\":\"open\"}",
					      "{\"state\":true}", "{\"state\":\"up\",\"for\":\"1m\"}",
					      "{\"state\":\"up\"", "state: up" };
	static const char *const paths[] = { "/upstreams/", "/upstreams/pair", "/upstreams/pair/",
					     "/upstreams/app/127.0.0.1:13002",
					     "/upstreams/other/127.0.0.1:13002",
					     "/upstreams/pair/127.0.0.1%3" };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		assert_int_equal(
		    status_for(f, order(f, "/upstreams/pair/127.0.0.1:13002", bodies[i])), 400);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(status_for(f, order(f, paths[i], "{\"state\":\"up\"}")), 404);
	assert_int_equal(status_for(f, order(f, "/upstreams", "{\"state\":\"up\"}")), 405);
	assert_int_equal(status_for(f, fixture_head(f, "/upstreams/pair/127.0.0.1:13002")), 200);
}

/* A web page can send a form anywhere; it cannot send JSON, nor hide where it comes from. */
static void test_web_pages_change_nothing(void **state)
{
	static const char body[] = "{\"state\":\"open\"}", path[] = "/breakers/guard/pair";
	static const char *const origins[] = { "http://evil.example", "null", "",
					       "https://127.0.0.1:19901", "http://127.0.0.1" };
	static const char *const types[] = { "text/plain", "application/x-www-form-urlencoded",
					     "application/jsonp", "" };
	struct fixture *f = *state;
	struct head *h;

	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
		h = order(f, path, body);
		head_add_name(h, slice_str("Origin"), slice_str(origins[i]));
		assert_int_equal(status_for(f, h), 403);
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		h = order(f, path, body);
		head_set(h, F_CONTENT_TYPE, slice_str(types[i]));
		assert_int_equal(status_for(f, h), 415);
	}
	h = order(f, path, body);
	head_remove(h, F_AUTHORIZATION);
	assert_int_equal(status_for(f, h), 401);
	h = fixture_head(f, path);
	h->method_id = METHOD_POST;
	assert_int_equal(status_for(f, h), 405);
	assert_string_equal(f->reply.allow, "GET, HEAD, PUT");
	h = order(f, path, body);
	head_add_name(h, slice_str("Origin"), slice_str("http://127.0.0.1:19901"));
	assert_int_equal(status_for(f, h), 200);
}

static unsigned long long follows_from(struct fixture *f, const char *last)
{
	struct head *h = fixture_head(f, "/events");

	head_add_name(h, slice_str("Last-Event-ID"), slice_str(last));
	assert_int_equal(status_for(f, h), 200);
	assert_true(f->reply.streams);
	return f->reply.stream_from;
}

static void test_followers_of_a_process_that_is_gone(void **state)
{
	assert_true(events_open(4));
	events_add(LOG_INFO, 1, "one");
	events_add(LOG_INFO, 1, "two");
	assert_int_equal(follows_from(*state, "1"), 2);
	assert_int_equal(follows_from(*state, "2"), 3);
	assert_int_equal(follows_from(*state, "3"), 1);
	assert_int_equal(follows_from(*state, "999999999999999999"), 1);
	assert_int_equal(follows_from(*state, "x"), 1);
	events_close();
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_hosts_that_are_not_ours),
		TEST(test_hosts_that_are),
		TEST(test_the_dashboard_needs_no_token),
		TEST(test_token),
		TEST(test_a_budget),
		TEST(test_pages_that_are_not),
		TEST(test_config_hides_secrets),
		TEST(test_config_etag),
		TEST(test_health),
		TEST(test_health_after_a_failed_reload),
		TEST(test_health_before_listening),
		TEST(test_health_while_draining),
		TEST(test_stats_json),
		TEST(test_breakers_are_listed),
		TEST(test_breakers_obey),
		TEST(test_orders_that_make_no_sense),
		TEST(test_endpoints_are_taken_out_and_back),
		TEST(test_orders_to_endpoints_that_make_no_sense),
		TEST(test_web_pages_change_nothing),
		TEST(test_followers_of_a_process_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
