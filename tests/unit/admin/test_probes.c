/* /live, /ready, /metrics, and nothing else. */
#include "fixture.h"

static void check_status(struct fixture *f, const char *path, unsigned status)
{
	fixture_ask(f, &probes_service, fixture_head(f, path));
	assert_int_equal(f->reply.status, status);
}

static void test_nothing_else(void **state)
{
	static const char *const paths[] = { "/",       "/live/",     "/ready2", "/config",
					     "/health", "/metrics/x", "*",       "",
					     "/LIVE",   "//live" };

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		check_status(*state, paths[i], 404);
}

static void test_only_read(void **state)
{
	static const enum method_id methods[] = { METHOD_POST, METHOD_PUT, METHOD_DELETE,
						  METHOD_OTHER, METHOD_OPTIONS };
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		struct head *h = fixture_head(f, "/metrics");

		h->method_id = (uint8_t)methods[i];
		fixture_ask(f, &probes_service, h);
		assert_int_equal(f->reply.status, 405);
		assert_string_equal(f->reply.allow, "GET, HEAD");
	}
}

static void test_life_cycle(void **state)
{
	struct fixture *f = *state;

	f->view.ready = false;
	check_status(f, "/live", 200);
	check_status(f, "/ready", 503);
	f->view.ready = true;
	check_status(f, "/ready", 200);
	f->view.draining = true;
	check_status(f, "/ready", 503);
	check_status(f, "/live", 200);
}

static void test_head(void **state)
{
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/live");

	h->method_id = METHOD_HEAD;
	assert_string_equal(fixture_ask(f, &probes_service, h), "live\n");
	assert_int_equal(f->reply.status, 200);
}

static void test_any_host_may_ask(void **state)
{
	struct fixture *f = *state;
	struct head *h = fixture_head(f, "/ready");

	h->authority = slice_str("10.1.2.3.pod.cluster.local");
	assert_string_equal(fixture_ask(f, &probes_service, h), "ready\n");
}

static void test_metrics_say_what_they_are(void **state)
{
	struct fixture *f = *state;

	fixture_ask(f, &probes_service, fixture_head(f, "/metrics"));
	assert_int_equal(f->reply.status, 200);
	assert_string_equal(f->reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_else),     TEST(test_only_read),
		TEST(test_life_cycle),       TEST(test_head),
		TEST(test_any_host_may_ask), TEST(test_metrics_say_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
