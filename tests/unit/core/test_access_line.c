/* Lines: whatever comes in, one line of valid JSON goes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "conf/utf8.h"
#include "core/access_line.h"

static struct arena arena;
static struct access_line_rules rules;
static char line[ACCESS_LINE_MAX + 1];

static const char *const fields[] = { "x-tenant", "authorization", "cookie" };
static const char *const redact[] = { "Authorization", "x-api-key" };

static int setup(void **state)
{
	struct log_conf conf = {
		.fields = { .n = 3, .item = (void *)(uintptr_t)fields },
		.redact = { .n = 2, .item = (void *)(uintptr_t)redact },
	};

	(void)state;
	arena_init(&arena, NULL);
	assert_true(access_line_rules_init(&rules, &conf, &arena));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static struct head *head_new(void)
{
	struct head *h = arena_zalloc(&arena, sizeof(*h));

	head_init(h, &arena);
	h->method_id = METHOD_POST;
	h->method = slice_str("POST");
	h->path = slice_str("/v1/chat");
	h->authority = slice_str("api.example.com:8080");
	h->minor = 1;
	return h;
}

static struct call_record record_new(const struct head *req)
{
	struct call_record r = { .req = req,
				 .route_name = "chat",
				 .status = 200,
				 .why = reason_ok,
				 .client_port = 4711,
				 .start_wall_ns = UINT64_C(1769903999123456789),
				 .start_ns = 5,
				 .end_ns = 5 + UINT64_C(1002003999),
				 .bytes_in = 17,
				 .bytes_out = 4096,
				 .attempts = 1,
				 .upstream = "llm",
				 .endpoint = "127.0.0.1:3000",
				 .request_id = SLICE("req-1"),
				 .trace_id = SLICE("4bf92f3577b34da6a3ce929d0e0e4736") };

	assert_true(ip_parse(slice_str("10.0.0.9"), &r.client));
	return r;
}

static const char *format(const struct call_record *r)
{
	static struct access_line_clock clock;
	size_t n = access_line_format(&rules, &clock, r, line);

	assert_true(n <= ACCESS_LINE_MAX);
	line[n] = '\0';
	assert_int_equal(line[n - 1], '\n');
	return line;
}

/* Enough of RFC 8259 for flat objects with strings, numbers and lists of strings. */
static const char *skip_string(const char *p)
{
	uint32_t c;

	assert_int_equal(*p++, '"');
	while (*p != '"') {
		size_t n = utf8_decode(p, strlen(p), &c);

		assert_true(n > 0);
		assert_true(c >= 0x20);
		if (c == '\\') {
			assert_non_null(strchr("\"\\nrtu", p[1]));
			n = p[1] == 'u' ? 6 : 2;
		}
		p += n;
	}
	return p + 1;
}

static const char *skip_value(const char *p)
{
	if (*p == '"')
		return skip_string(p);
	if (*p == '[') {
		p = skip_string(p + 1);
		assert_int_equal(*p, ']');
		return p + 1;
	}
	assert_true(*p >= '0' && *p <= '9');
	return p + strspn(p, "0123456789.");
}

static void check_json(const char *p)
{
	assert_int_equal(*p++, '{');
	for (;;) {
		p = skip_string(p);
		assert_int_equal(*p++, ':');
		p = skip_value(p);
		if (*p != ',')
			break;
		p++;
	}
	assert_string_equal(p, "}\n");
}

static void test_a_whole_line(void **state)
{
	struct head *req = head_new();
	struct call_record r = record_new(req);

	(void)state;
	head_add(req, F_USER_AGENT, slice_str("curl/8"));
	r.queued_ns = 1500;
	r.upstream_ns = 999999999;
	assert_string_equal(
	    format(&r),
	    "{\"timestamp\":\"2026-01-31T23:59:59.123456Z\",\"http.request.method\":\"POST\","
	    "\"url.path\":\"/v1/chat\",\"network.protocol.version\":\"1.1\","
	    "\"server.address\":\"api.example.com\",\"server.port\":8080,"
	    "\"user_agent.original\":\"curl/8\",\"http.route\":\"chat\","
	    "\"http.response.status_code\":200,\"client.address\":\"10.0.0.9\",\"client.port\":"
	    "4711,"
	    "\"http.request.body.size\":17,\"http.response.body.size\":4096,\"duration\":1.002003,"
	    "\"duration.queue\":0.000001,\"duration.upstream\":0.999999,\"outcome\":\"ok\","
	    "\"reason\":\"ok\",\"upstream\":\"llm\",\"upstream.endpoint\":\"127.0.0.1:3000\","
	    "\"attempts\":1,\"request_id\":\"req-1\","
	    "\"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}\n");
	check_json(line);
}

static void test_nothing_understood(void **state)
{
	struct head empty = { 0 };
	struct call_record r = {
		.req = &empty, .why = reason_bad_request, .status = 400, .client_is_unix = true
	};

	(void)state;
	check_json(format(&r));
	assert_non_null(strstr(line, "\"client.address\":\"unix\""));
	assert_non_null(strstr(line, "\"outcome\":\"refused\",\"reason\":\"bad_request\""));
	assert_null(strstr(line, "http.request.method"));
	r.req = NULL;
	r.status = 0;
	check_json(format(&r));
	assert_null(strstr(line, "status_code"));
}

static void test_hostile_text(void **state)
{
	struct head *req = head_new();
	struct call_record r = record_new(req);

	(void)state;
	req->method_id = METHOD_OTHER;
	req->method = slice_str("BR\"EW");
	req->path = slice_of("/\"\\\n\r\t\0\x01\x7f\xc3\xa4\xff\xed\xa0\x80", 15);
	req->authority = slice_str("[::1]");
	r.request_id = slice_str("a\",\"admin\":\"true");
	check_json(format(&r));
	assert_non_null(strstr(line, "\"http.request.method\":\"_OTHER\","
				     "\"http.request.method_original\":\"BR\\\"EW\""));
	assert_non_null(strstr(line,
			       "\"url.path\":\"/\\\"\\\\\\n\\r\\t\\u0000\\u0001\\u007f\xc3\xa4"
			       "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""));
	assert_non_null(strstr(line, "\"server.address\":\"::1\""));
	assert_null(strstr(line, "server.port"));
	assert_null(strstr(line, "\"admin\":"));
}

static void test_ports_that_are_none(void **state)
{
	static const char *const bad[] = { "h:", "h:x1", "h:0080", "h:123456", "[::1]" };
	struct head *req = head_new();
	struct call_record r = record_new(req);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		req->authority = slice_str(bad[i]);
		check_json(format(&r));
		assert_null(strstr(line, "server.port"));
	}
}

static void test_everything_at_its_longest(void **state)
{
	static char long_text[65536];
	struct head *req = head_new();
	struct call_record r = record_new(req);
	char *configured = long_text + sizeof(long_text) - 4096;

	(void)state;
	memset(long_text, 1, sizeof(long_text) - 1);
	req->method_id = METHOD_OTHER;
	req->method = req->path = slice_str(long_text);
	req->authority = slice_str(long_text);
	head_add(req, F_USER_AGENT, slice_str(long_text));
	for (size_t i = 0; i < 3; i++)
		head_add_name(req, slice_str(fields[i]), slice_str(long_text));
	r.client_port = UINT16_MAX;
	assert_true(
	    ip_parse(slice_str("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255"), &r.client));
	r.route_name = r.upstream = r.endpoint = r.limit.policy = configured;
	r.request_id = r.trace_id = slice_str(long_text);
	r.limit.key_hash = r.limit.limit = r.limit.remaining = UINT64_MAX;
	r.end_ns = r.queued_ns = r.upstream_ns = r.bytes_in = r.bytes_out = UINT64_MAX;
	r.retry_after_ms = UINT64_MAX;
	r.status = 65535;
	r.attempts = 255;
	check_json(format(&r));
	assert_non_null(strstr(line, "...\""));
}

static void test_cut_between_characters(void **state)
{
	static char text[8192];
	struct head *req = head_new();
	struct call_record r = record_new(req);

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa4", 2);
	for (size_t from = 0; from < 4; from++) {
		req->path = slice_of(text + 2 * from, 8000);
		check_json(format(&r));
		req->path = slice_of("xy\xf0\x9f\x98\x80", 2 + from);
		check_json(format(&r));
	}
}

static void test_redaction(void **state)
{
	struct head *req = head_new();
	struct call_record r = record_new(req);

	(void)state;
	head_add(req, F_AUTHORIZATION, slice_str("Bearer sesame"));
	head_add_name(req, slice_str("X-Tenant"), slice_str("acme \"inc\""));
	req->query = slice_str("key=sesame");
	check_json(format(&r));
	assert_non_null(strstr(line, "\"http.request.header.authorization\":[\"<redacted>\"]"));
	assert_non_null(strstr(line, "\"http.request.header.x-tenant\":[\"acme \\\"inc\\\"\"]"));
	assert_null(strstr(line, "http.request.header.cookie"));
	assert_null(strstr(line, "sesame"));
}

static void test_a_denial(void **state)
{
	struct call_record r = record_new(head_new());

	(void)state;
	r.status = 429;
	r.why = reason_rate_limited;
	r.denied = true;
	r.limit = (struct limit_info){ .policy = "per-client", .key_hash = 0xbeef, .limit = 200 };
	r.retry_after_ms = 1250;
	r.attempts = 0;
	r.upstream = r.endpoint = NULL;
	check_json(format(&r));
	assert_non_null(strstr(line, "\"outcome\":\"denied\",\"reason\":\"rate_limited\","
				     "\"policy\":\"per-client\",\"key.hash\":\"000000000000beef\","
				     "\"limit\":200,\"remaining\":0,\"retry_after\":1.250,"
				     "\"attempts\":0"));
}

static void test_outcomes(void **state)
{
	static const struct {
		enum reason_index why;
		const char *outcome;
	} rows[] = {
		{ REASON_connect_failed, "\"failed\"" },
		{ REASON_total_timeout, "\"failed\"" },
		{ REASON_client_abort, "\"aborted\"" },
		{ REASON_client_stalled, "\"aborted\"" },
		{ REASON_cut, "\"aborted\"" },
		{ REASON_no_route, "\"refused\"" },
		{ REASON_no_endpoint, "\"refused\"" },
		{ REASON_upstream_truncated, "\"failed\"" },
	};
	struct call_record r = record_new(head_new());

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r.why = &reason_table[rows[i].why];
		check_json(format(&r));
		assert_non_null(strstr(line, rows[i].outcome));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_understood, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports_that_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_everything_at_its_longest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cut_between_characters, setup, teardown),
		cmocka_unit_test_setup_teardown(test_redaction, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_whole_line, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_denial, setup, teardown),
		cmocka_unit_test_setup_teardown(test_outcomes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
