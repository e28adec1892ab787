/* The admin listener's door and pages. */
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
	assert_string_equal(f->reply.www_authenticate, "Bearer");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		head_set(h, F_AUTHORIZATION, slice_str(bad[i]));
		assert_int_equal(status_for(f, h), 401);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		head_set(h, F_AUTHORIZATION, slice_str(good[i]));
		assert_int_equal(status_for(f, h), 200);
	}
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
	check_json(fixture_ask(f, &admin_service, fixture_head(f, "/health")));
	stats_listener_put(f->registries.stats, odd);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_hosts_that_are_not_ours),
		TEST(test_hosts_that_are),
		TEST(test_token),
		TEST(test_pages_that_are_not),
		TEST(test_config_hides_secrets),
		TEST(test_config_etag),
		TEST(test_health),
		TEST(test_health_after_a_failed_reload),
		TEST(test_health_before_listening),
		TEST(test_health_while_draining),
		TEST(test_stats_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
