/* Spans as text: the protobuf JSON mapping as OTLP has it, whatever the call holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "core/span_json.h"

#define ID "0af7651916cd43dd8448eb211c80319c"

static struct arena arena;
static struct buf out;
static struct call_trace trace;
static struct head req;
static struct call_record record;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, NULL);
	head_init(&req, &arena);
	req.method_id = METHOD_POST;
	req.method = slice_str("POST");
	req.path = slice_str("/v1/chat");
	req.authority = slice_str("[::1]:8080");
	req.minor = 1;
	trace = (struct call_trace){ .span_id = 0xab,
				     .flags = TRACE_SAMPLED,
				     .scheme = slice_str("https") };
	traceparent_write(trace.text, ID, 7, 1);
	record = (struct call_record){ .req = &req,
				       .route_name = "chat",
				       .status = 200,
				       .why = reason_ok,
				       .start_wall_ns = UINT64_C(1769903999123456789),
				       .start_ns = 5000,
				       .end_ns = 5000 + 1500 };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	buf_fini(&out);
	out = (struct buf){ 0 };
	arena_fini(&arena);
	return 0;
}

static const struct json *read_back(void)
{
	const char *wrong = NULL;
	const struct json *v;

	assert_false(out.oom);
	assert_true(out.n < SPAN_JSON_MAX);
	assert_null(memchr(out.p, '\n', out.n));
	v = json_read_long(slice_of(out.p, out.n), &arena, &wrong);
	if (v == NULL)
		fail_msg("%s: %.*s", wrong, (int)out.n, out.p);
	return v;
}

static const struct json *call(void)
{
	out.n = 0;
	span_json_call(&out, &trace, &record);
	return read_back();
}

static void expect(const struct json *v, const char *key, enum json_kind kind, const char *text)
{
	const struct json *m = json_get(v, key);

	if (text == NULL) {
		assert_null(m);
		return;
	}
	assert_non_null(m);
	assert_int_equal(m->kind, kind);
	if (!slice_is(m->text, text))
		fail_msg("%s: %.*s is not %s", key, (int)m->text.n, m->text.p, text);
}

/* NULL: there is none. */
static const struct json *attribute(const struct json *span, const char *key)
{
	for (const struct json *a = json_get(span, "attributes")->first; a != NULL; a = a->next)
		if (slice_is(json_get(a, "key")->text, key))
			return json_get(a, "value");
	return NULL;
}

static void expect_error(uint16_t status, const struct reason *why, const char *type,
			 const char *code)
{
	const struct json *v;

	record.status = status;
	record.why = why;
	v = call();
	expect(json_get(v, "status"), "code", JSON_WORD, code);
	if (type == NULL)
		assert_null(attribute(v, "error.type"));
	else
		expect(attribute(v, "error.type"), "stringValue", JSON_STRING, type);
}

/* Semantic conventions for HTTP servers: 4xx are the client's. */
static void test_errors_of_calls(void **state)
{
	(void)state;
	expect_error(503, reason_breaker_open, "503", "2");
	expect_error(502, reason_upstream_reset, "502", "2");
	expect_error(200, reason_upstream_truncated, "upstream_truncated", "2");
	expect_error(429, reason_rate_limited, NULL, "0");
	expect_error(404, reason_ok, NULL, "0");
	expect_error(0, reason_client_abort, NULL, "0");
	expect_error(200, reason_ok, NULL, "0");
}

static void test_a_call_without_a_head(void **state)
{
	const struct json *v;

	(void)state;
	record.req = NULL;
	record.route_name = NULL;
	v = call();
	expect(v, "name", JSON_STRING, "HTTP");
	assert_null(attribute(v, "url.path"));
}

static void test_odd_bytes(void **state)
{
	static char path[20000];

	(void)state;
	memset(path, 1, sizeof(path));
	memcpy(path, "/\"\\\xff\xc3\n\xf0\x9f", 8);
	req.path = req.authority = slice_of(path, sizeof(path));
	req.method_id = METHOD_OTHER;
	req.method = slice_of(path, 300);
	trace.state = slice_of(path, 513);
	record.route_name = "a\"b";
	assert_true(head_add(&req, F_USER_AGENT, slice_of(path, 5000)));
	expect(call(), "name", JSON_STRING, "HTTP a\"b");
	expect(call(), "traceState", JSON_STRING, NULL); /* longer than all pass on */
}

/* opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding": ids are hex, 64-bit integers strings,
 * enums numbers, keys in lowerCamelCase. */
static void test_mapping(void **state)
{
	const struct json *v;

	(void)state;
	trace.parent_id = slice_str("b7ad6b7169203331");
	trace.state = slice_str("a=b");
	v = call();
	expect(v, "traceId", JSON_STRING, ID);
	expect(v, "spanId", JSON_STRING, "00000000000000ab");
	expect(v, "parentSpanId", JSON_STRING, "b7ad6b7169203331");
	expect(v, "traceState", JSON_STRING, "a=b");
	expect(v, "flags", JSON_WORD, "769");
	expect(v, "kind", JSON_WORD, "2");
	expect(v, "name", JSON_STRING, "POST chat");
	expect(v, "startTimeUnixNano", JSON_STRING, "1769903999123456789");
	expect(v, "endTimeUnixNano", JSON_STRING, "1769903999123458289");
	expect(attribute(v, "http.response.status_code"), "intValue", JSON_STRING, "200");
	expect(attribute(v, "server.address"), "stringValue", JSON_STRING, "::1");
	expect(attribute(v, "server.port"), "intValue", JSON_STRING, "8080");
	expect(attribute(v, "url.scheme"), "stringValue", JSON_STRING, "https");
}

static void test_a_root(void **state)
{
	const struct json *v;

	(void)state;
	v = call();
	expect(v, "parentSpanId", JSON_STRING, NULL);
	expect(v, "flags", JSON_WORD, "257");
}

static void test_policy(void **state)
{
	const struct json *v;

	(void)state;
	record.limit = (struct limit_info){ .policy = "per-client", .limit = 10, .key_hash = 0xf };
	record.denied = true;
	record.queued_ns = 1500000;
	record.retry_after_ms = 2500;
	v = call();
	expect(attribute(v, "weir.policy"), "stringValue", JSON_STRING, "per-client");
	expect(attribute(v, "weir.key.hash"), "stringValue", JSON_STRING, "000000000000000f");
	expect(attribute(v, "weir.denied"), "boolValue", JSON_WORD, "true");
	expect(attribute(v, "weir.queue.duration"), "doubleValue", JSON_WORD, "0.001500");
	expect(attribute(v, "weir.retry_after"), "doubleValue", JSON_WORD, "2.500000");
}

static struct trace_try try_new(void)
{
	return (struct trace_try){ .span_id = 0xcd,
				   .start_ns = 5100,
				   .end_ns = 5200,
				   .upstream = "app",
				   .authority = "10.0.0.1:80",
				   .path = slice_str("/v1/chat"),
				   .method = slice_str("POST"),
				   .number = 2,
				   .kind = TRACE_RETRY,
				   .status = 404,
				   .why = reason_ok };
}

static void test_tries(void **state)
{
	struct trace_try y = try_new();
	const struct json *v;

	(void)state;
	span_json_try(&out, &trace, &y, &record);
	v = read_back();
	expect(v, "kind", JSON_WORD, "3");
	expect(v, "name", JSON_STRING, "POST");
	expect(v, "parentSpanId", JSON_STRING, "00000000000000ab");
	expect(v, "startTimeUnixNano", JSON_STRING, "1769903999123456889");
	expect(json_get(v, "status"), "code", JSON_WORD, "2"); /* to a client, 4xx are errors */
	expect(attribute(v, "error.type"), "stringValue", JSON_STRING, "404");
	expect(attribute(v, "http.request.resend_count"), "intValue", JSON_STRING, "1");
	expect(attribute(v, "url.full"), "stringValue", JSON_STRING, "http://10.0.0.1:80/v1/chat");
	expect(attribute(v, "weir.attempt"), "stringValue", JSON_STRING, "retry");
}

static void test_tries_without_an_answer(void **state)
{
	struct trace_try y = try_new();
	const struct json *v;

	(void)state;
	y.status = 0;
	y.why = reason_connect_timeout;
	y.local = true;
	y.authority = "unix:/run/app";
	span_json_try(&out, &trace, &y, &record);
	v = read_back();
	expect(attribute(v, "error.type"), "stringValue", JSON_STRING, "connect_timeout");
	expect(attribute(v, "server.address"), "stringValue", JSON_STRING, "unix:/run/app");
	assert_null(attribute(v, "url.full"));
}

static void test_envelope(void **state)
{
	struct pair_conf more[] = { { .name.name = "a\"b", .value = "c" },
				    { .name.name = "host.name", .value = "mine" } };
	struct tracing_conf conf = { .service = "edge", .attributes = { .n = 2, .item = more } };
	const struct json *v;

	(void)state;
	span_json_head(&out, &conf);
	buf_puts(&out, "{},{}");
	buf_put(&out, span_json_tail.p, span_json_tail.n);
	v = json_get(read_back(), "resourceSpans")->first;
	assert_null(v->next);
	expect(attribute(json_get(v, "resource"), "service.name"), "stringValue", JSON_STRING,
	       "edge");
	expect(attribute(json_get(v, "resource"), "host.name"), "stringValue", JSON_STRING, "mine");
	expect(attribute(json_get(v, "resource"), "a\"b"), "stringValue", JSON_STRING, "c");
	v = json_get(v, "scopeSpans")->first;
	expect(json_get(v, "scope"), "name", JSON_STRING, "weir");
	assert_non_null(json_get(v, "spans")->first->next);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_errors_of_calls), TEST(test_a_call_without_a_head),
		TEST(test_odd_bytes),       TEST(test_mapping),
		TEST(test_a_root),          TEST(test_policy),
		TEST(test_tries),           TEST(test_tries_without_an_answer),
		TEST(test_envelope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
