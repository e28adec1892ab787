/* The text of /metrics: what is there from the start, what is counted, and what promtool thinks of
 * it. */
#include "fixture.h"

static const char *page(struct fixture *f)
{
	return fixture_ask(f, &probes_service, fixture_head(f, "/metrics"));
}

static bool has_line(const char *text, const char *line)
{
	size_t n = strlen(line);

	for (const char *p = text; (p = strstr(p, line)) != NULL; p++)
		if ((p == text || p[-1] == '\n') && p[n] == '\n')
			return true;
	return false;
}

#define assert_line(text, line)                        \
	do {                                           \
		if (!has_line(text, line))             \
			fail_msg("no line: %s", line); \
	} while (0)

/* 0 when promtool is not installed. */
static int ask_promtool(const char *text)
{
	FILE *p = popen("command -v promtool >/dev/null || { cat >/dev/null; exit 0; }; "
			"promtool check metrics 2>&1 | { ! grep . ; }",
			"w");

	assert_non_null(p);
	fputs(text, p);
	return pclose(p);
}

static void test_known_series_are_there_from_the_start(void **state)
{
	static const char *const lines[] = {
		"weir_config_last_reload_successful 1",
		"weir_config_reloads_total{result=\"failure\"} 0",
		"weir_draining 0",
		"weir_connections_active{listener=\"127.0.0.1:18080\"} 0",
		"weir_connections_refused_total{listener=\"127.0.0.1:18080\",reason=\"overload\"} "
		"0",
		"weir_requests_total{route=\"chat\",method=\"POST\",code=\"200\"} 0",
		"weir_requests_total{route=\"_none\",method=\"GET\",code=\"404\"} 0",
		"weir_requests_in_flight{route=\"chat\"} 0",
		"weir_request_duration_seconds_bucket{route=\"chat\",le=\"300\"} 0",
		"weir_request_duration_seconds_count{route=\"chat\"} 0",
		"weir_rejections_total{route=\"chat\",policy=\"per-client\",reason=\"rate_"
		"limited\"} 0",
		"weir_rejections_total{route=\"chat\",policy=\"\",reason=\"no_endpoint\"} 0",
		"weir_rejections_total{route=\"_none\",policy=\"\",reason=\"no_route\"} 0",
		"weir_client_aborts_total{route=\"chat\"} 0",
		"weir_limit_decisions_total{policy=\"per-client\",decision=\"shadow_deny\"} 0",
		"weir_limit_keys{policy=\"per-client\"} 0",
		"weir_limit_refused_keys{policy=\"per-client\"} 0",
		"weir_events_total{level=\"warn\"} 0",
		"weir_event_streams 0",
		"weir_events_missed_total 0",
		"weir_admin_requests_refused_total{listener=\"admin\"} 0",
		"weir_admin_denied_total{reason=\"wrong_token\"} 0",
		"weir_rejections_total{route=\"chat\",policy=\"guard\",reason=\"breaker_open\"} 0",
		"weir_breaker_state{policy=\"guard\",upstream=\"pair\",endpoint=\"127.0.0.1:"
		"13002\","
		"state=\"closed\"} 1",
		"weir_breaker_state{policy=\"guard\",upstream=\"pair\",endpoint=\"127.0.0.1:"
		"13002\","
		"state=\"half_open\"} 0",
		"weir_breaker_transitions_total{policy=\"guard\",upstream=\"pair\",to=\"open\"} 0",
		"weir_breaker_forced{policy=\"guard\",upstream=\"pair\"} 0",
		"weir_limit_key_evictions_total{policy=\"per-client\"} 0",
		"weir_upstream_attempts_total{upstream=\"pair\",endpoint=\"127.0.0.1:13002\","
		"result=\"failed\"} 0",
		"weir_upstream_attempt_duration_seconds_count{upstream=\"app\"} 0",
		"weir_upstream_connections{upstream=\"app\",endpoint=\"127.0.0.1:13000\",state="
		"\"idle\"} "
		"0",
		"weir_upstream_endpoint_up{upstream=\"app\",endpoint=\"127.0.0.1:13000\"} 1",
		"weir_log_lines_dropped_total 0",
		"weir_otlp_spans_total{result=\"sent\"} 0",
		"weir_otlp_spans_total{result=\"dropped\"} 0",
		"weir_overhead_seconds_count 0",
		"weir_loop_lag_seconds_count 0",
		"process_start_time_seconds 1700000000",
	};
	const char *text = page(*state);

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_line(text, lines[i]);
	assert_non_null(strstr(text, "weir_build_info{version=\"" WEIR_VERSION "\""));
	assert_non_null(strstr(text, "weir_config_info{sha256=\""));
	assert_non_null(strstr(text, "process_resident_memory_bytes "));
}

static void test_labels_are_escaped(void **state)
{
	struct fixture *f = *state;
	struct listener_stats *odd =
	    stats_listener_get(f->registries.stats, "unix:/run/a\"b\\c\nd");
	const char *text = page(f);

	assert_line(text, "weir_connections_total{listener=\"unix:/run/a\\\"b\\\\c\\nd\"} 0");
	assert_int_equal(ask_promtool(text), 0);
	stats_listener_put(f->registries.stats, odd);
}

static const struct filter_ops *its_ops;
static unsigned looks;

static void look(const struct filter *f, filter_emit *emit, void *ctx)
{
	looks++;
	its_ops->show(f, emit, ctx);
}

/* To count keys takes a while, in which no call goes on. */
static void test_policies_are_looked_at_once(void **state)
{
	struct fixture *f = *state;
	struct filter_ops ops;
	struct filter *filter = f->policy->filter[0];

	its_ops = filter->ops;
	ops = *its_ops;
	ops.show = look;
	filter->ops = &ops;
	assert_line(page(f), "weir_limit_keys{policy=\"per-client\"} 0");
	filter->ops = its_ops;
	assert_int_equal(looks, 1);
}

static void test_calls_show_up_once(void **state)
{
	struct fixture *f = *state;
	const char *text;

	fixture_call(f, 0, 0, 200, reason_ok);
	fixture_call(f, 0, 1, 200, reason_ok);
	fixture_call(f, 0, 1, 429, reason_rate_limited);
	fixture_call(f, 0, 0, 0, reason_client_abort);
	stats_attempt(f->registries.stats, 1, "pair", CLOCK_MS);
	stats_conn_open(f->listener, 0);
	text = page(f);
	assert_line(text, "weir_requests_total{route=\"chat\",method=\"GET\",code=\"200\"} 2");
	assert_line(text, "weir_requests_total{route=\"chat\",method=\"GET\",code=\"429\"} 1");
	assert_line(text, "weir_requests_total{route=\"chat\",method=\"GET\",code=\"0\"} 1");
	assert_line(text, "weir_rejections_total{route=\"chat\",policy=\"per-client\","
			  "reason=\"rate_limited\"} 1");
	assert_line(text, "weir_client_aborts_total{route=\"chat\"} 1");
	assert_line(text, "weir_request_bytes_total{route=\"chat\"} 20");
	assert_line(text, "weir_response_bytes_total{route=\"chat\"} 28");
	assert_line(text, "weir_request_duration_seconds_bucket{route=\"chat\",le=\"0.0025\"} 0");
	assert_line(text, "weir_request_duration_seconds_bucket{route=\"chat\",le=\"0.005\"} 4");
	assert_line(text, "weir_overhead_seconds_bucket{le=\"0.00005\"} 4");
	assert_line(text, "weir_upstream_attempt_duration_seconds_count{upstream=\"pair\"} 1");
	assert_line(text, "weir_connections_active{listener=\"127.0.0.1:18080\"} 1");
	assert_int_equal(ask_promtool(text), 0);
}

/* Checks that each sample's name and labels are its own; returns how many samples there are. */
static size_t count_samples(const char *text)
{
	static const char *seen[4096];
	static size_t length[4096];
	size_t n = 0;

	for (const char *p = text, *end; *p != '\0'; p = end + 1) {
		const char *space;

		end = strchr(p, '\n');
		space = memrchr(p, ' ', (size_t)(end - p));
		if (*p == '#')
			continue;
		assert_non_null(space);
		for (size_t i = 0; i < n; i++)
			assert_false(length[i] == (size_t)(space - p) &&
				     memcmp(seen[i], p, length[i]) == 0);
		seen[n] = p;
		length[n++] = (size_t)(space - p);
	}
	return n;
}

/* Two samples of one series would make Prometheus drop the whole page. */
static void test_no_series_twice(void **state)
{
	struct fixture *f = *state;
	const char *text;

	for (unsigned status = 200; status < 210; status++)
		fixture_call(f, 1, status % 2, status, reason_ok);
	fixture_call(f, 1, 0, 429, reason_rate_limited);
	fixture_call(f, 1, 1, 429, reason_rate_limited);
	fixture_call(f, 1, 1, 503, reason_no_endpoint);
	text = page(f);
	assert_true(count_samples(text) > 100);
	assert_int_equal(ask_promtool(text), 0);
}

/* A route that a reload took away is shown for as long as calls hold it; names and labels stay
 * bounded. */
static void test_after_a_reload(void **state)
{
	struct fixture *f = *state;
	struct policy *old = f->policy;
	const char *text;

	fixture_call(f, 0, 0, 200, reason_ok);
	f->policy = fixture_policy(f, "version: 1\nlisten: 127.0.0.1:18080\n"
				      "upstreams: { app: 127.0.0.1:13000 }\n"
				      "routes: [ { name: new, match: { path: /* }, to: app } ]\n");
	f->view.policy = f->policy;
	text = page(f);
	assert_line(text, "weir_requests_total{route=\"chat\",method=\"GET\",code=\"200\"} 1");
	assert_line(text, "weir_requests_in_flight{route=\"new\"} 0");
	assert_int_equal(ask_promtool(text), 0);
	policy_close(old, &f->registries);
	assert_null(strstr(page(f), "route=\"chat\""));
}

static void test_promtool_on_an_idle_process(void **state)
{
	assert_int_equal(ask_promtool(page(*state)), 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_known_series_are_there_from_the_start),
		TEST(test_labels_are_escaped),
		TEST(test_policies_are_looked_at_once),
		TEST(test_calls_show_up_once),
		TEST(test_no_series_twice),
		TEST(test_after_a_reload),
		TEST(test_promtool_on_an_idle_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
