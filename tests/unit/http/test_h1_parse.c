/* test_h1_parse.c - message heads: everything that must be refused, then what is understood. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "request_rows.h"
#include "rig.h"

/*---------------------------------------- requests: refused */

static const struct reason *parse_request(const struct row *row, struct head *h, struct arena *a)
{
	struct slice text = row->n > 0 ? slice_of(row->text, row->n) : slice_str(row->text);
	const struct reason *why = NULL;
	size_t seen = 0;
	int64_t end;

	head_init(h, a);
	end = h1_head_end(text, &seen, &rig_limits, &why);
	if (end < 0)
		return why;
	assert_int_equal(end, text.n);
	/* a copy of just this size: a read beyond it is one a sanitizer sees */
	text = arena_copy(a, text);
	return h1_parse_request(text, &rig_limits, h);
}

static void bad_requests_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_requests) / sizeof(bad_requests[0]); i++) {
		const struct row *row = &bad_requests[i];
		const struct reason *why;
		struct arena a;
		struct head h;

		arena_init(&a, NULL);
		if (i == 0) { /* an empty line is the codec's to skip: it is no head */
			head_init(&h, &a);
			why = h1_parse_request(slice_str(row->text), &rig_limits, &h);
		} else {
			why = parse_request(row, &h, &a);
		}
		if (why == NULL || strcmp(why->token, row->want) != 0)
			fail_msg("row %zu: %s, not %s:\n%s", i, why == NULL ? "taken" : why->token,
				 row->want, row->text);
		arena_fini(&a);
	}
	assert_true(sizeof(bad_requests) / sizeof(bad_requests[0]) >= 150);
}

/*---------------------------------------- requests: taken */

static void expect_head(struct head *h, const char *want, const char *text)
{
	struct rig r;
	const char *got;

	rig_init(&r);
	rig_log_head(&r, h, h->status == 0 && h->body == BODY_NONE);
	got = rig_log(&r);
	if (strncmp(got, want, strlen(want)) != 0 || got[strlen(want)] != '\n')
		fail_msg("%s is\n%snot\n%s", text, got, want);
	arena_fini(&r.arena);
	arena_fini(&r.scratch);
	buf_fini(&r.log);
}

static void good_requests_are_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good_requests) / sizeof(good_requests[0]); i++) {
		const struct reason *why;
		struct arena a;
		struct head h;

		arena_init(&a, NULL);
		why = parse_request(&good_requests[i], &h, &a);
		if (why != NULL)
			fail_msg("%s: %s", good_requests[i].text, why->token);
		expect_head(&h, good_requests[i].want, good_requests[i].text);
		arena_fini(&a);
	}
}

static void an_absolute_target_may_have_another_host_where_it_is_said(void **state)
{
	static const char text[] = "GET http://b/x HTTP/1.1" E "Host: a:8" E E;
	struct codec_limits loose = rig_limits;
	struct arena a;
	struct head h;

	(void)state;
	loose.loose_host = true;
	arena_init(&a, NULL);
	head_init(&h, &a);
	assert_ptr_equal(h1_parse_request(slice_str(text), &rig_limits, &h), reason_bad_host);
	head_init(&h, &a);
	assert_null(h1_parse_request(slice_str(text), &loose, &h));
	assert_true(slice_is(h.authority, "b"));
	arena_fini(&a);
}

static void a_refused_head_says_what_was_understood(void **state)
{
	static const struct row row = { "DELETE /x?y HTTP/1.1" E "Host: a b" E E, "" };
	struct arena a;
	struct head h;

	(void)state;
	arena_init(&a, NULL);
	assert_ptr_equal(parse_request(&row, &h, &a), reason_bad_host);
	assert_int_equal(h.method_id, METHOD_DELETE);
	assert_true(slice_is(h.target, "/x?y"));
	arena_fini(&a);
}

/*---------------------------------------- bounds */

static struct slice fill(char *text, size_t size, const char *start, char c, const char *end)
{
	size_t ns = strlen(start), ne = strlen(end);

	memset(text, c, size);
	memcpy(text, start, ns);
	memcpy(text + size - ne, end, ne);
	return slice_of(text, size);
}

/* The verdict on the first n bytes that have one; *at is their number. */
static const struct reason *verdict(struct slice in, size_t step, const struct codec_limits *limits,
				    int64_t *end)
{
	const struct reason *why = NULL;
	size_t seen = 0;

	for (size_t n = step < in.n ? step : in.n;; n = n + step < in.n ? n + step : in.n) {
		*end = h1_head_end(slice_of(in.p, n), &seen, limits, &why);
		if (*end != 0 || n == in.n)
			return *end < 0 ? why : NULL;
	}
}

static void expect_verdict(struct slice in, const struct codec_limits *limits,
			   const struct reason *want, int64_t want_end)
{
	static const size_t steps[] = { 1, 2, 7, 63, 1000, 1 << 20 };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int64_t end;
		const struct reason *why = verdict(in, steps[i], limits, &end);

		if (why != want || end != want_end)
			fail_msg("in steps of %zu: %s, %lld", steps[i],
				 why == NULL ? "-" : why->token, (long long)end);
	}
}

static void heads_are_bounded(void **state)
{
	const struct codec_limits limits = { .head_bytes = 1000,
					     .target_bytes = 200,
					     .headers = 3 };
	char text[4000];

	(void)state;
	/* an endless head; one of just the size, and one byte more */
	expect_verdict(fill(text, 4000, L H "x: ", 'x', ""), &limits, reason_head_too_large, -1);
	expect_verdict(fill(text, 1000, L H "x: ", 'x', E E), &limits, NULL, 1000);
	expect_verdict(fill(text, 1001, L H "x: ", 'x', E E), &limits, reason_head_too_large, -1);
	expect_verdict(fill(text, 999, L H "x: ", 'x', ""), &limits, NULL, 0);
	expect_verdict(fill(text, 1000, L H "x: ", 'x', ""), &limits, reason_head_too_large, -1);
	/* an endless request line, or method */
	expect_verdict(fill(text, 4000, "GET /", 'x', ""), &limits, reason_target_too_long, -1);
	expect_verdict(fill(text, 4000, "", 'x', ""), &limits, reason_target_too_long, -1);
	expect_verdict(fill(text, 263, "GET /", 'x', ""), &limits, NULL, 0);
	expect_verdict(fill(text, 264, "GET /", 'x', ""), &limits, reason_target_too_long, -1);
	expect_verdict(fill(text, 270, "GET /", 'x', " HTTP/1.1" E H E), &limits, NULL, 270);
	/* the faults that come first */
	expect_verdict(fill(text, 2000, "GET /\n", 'x', ""), &limits, reason_bad_request, -1);
	expect_verdict(fill(text, 2000, L "\n", 'x', ""), &limits, reason_bad_request, -1);
	/* what follows a head is not looked at */
	expect_verdict(fill(text, 2000, L H E, '\0', ""), &limits, NULL, sizeof(L H E) - 1);
}

static void a_bound_on_the_line_beyond_that_on_the_head(void **state)
{
	const struct codec_limits limits = { .head_bytes = 100,
					     .target_bytes = 2000,
					     .headers = 3 };
	char text[4000];

	(void)state;
	expect_verdict(fill(text, 4000, "GET /", 'x', ""), &limits, reason_target_too_long, -1);
	expect_verdict(fill(text, 4000, L, 'x', ""), &limits, reason_head_too_large, -1);
}

static const struct reason *parse_within(struct slice text, const struct codec_limits *limits)
{
	const struct reason *why;
	struct arena a;
	struct head h;

	arena_init(&a, NULL);
	head_init(&h, &a);
	why = h1_parse_request(arena_copy(&a, text), limits, &h);
	arena_fini(&a);
	return why;
}

static void targets_and_fields_are_bounded(void **state)
{
	const struct codec_limits limits = { .head_bytes = 1000,
					     .target_bytes = 200,
					     .headers = 3 };
	char text[4000];

	(void)state;
	assert_null(parse_within(
	    fill(text, 4 + 200 + 9 + 2 + 9 + 2, "GET /", 'x', " HTTP/1.1" E H E), &limits));
	assert_ptr_equal(
	    parse_within(fill(text, 4 + 201 + 9 + 2 + 9 + 2, "GET /", 'x', " HTTP/1.1" E H E),
			 &limits),
	    reason_target_too_long);
	assert_null(parse_within(slice_str(L H "a:" E "b:" E E), &limits));
	assert_ptr_equal(parse_within(slice_str(L H "a:" E "b:" E "c:" E E), &limits),
			 reason_head_too_large);
	assert_ptr_equal(parse_within(fill(text, 1001, L H "x: ", 'x', E E), &limits),
			 reason_head_too_large);
}

static void nominations_are_bounded(void **state)
{
	const struct codec_limits limits = { .head_bytes = 8000,
					     .target_bytes = 200,
					     .headers = 100 };
	char text[4000] = L H "Connection: ";

	(void)state;
	for (int i = 0; i < 64; i++)
		strcat(text, "a,");
	strcat(text, E E);
	assert_null(parse_within(slice_str(text), &limits));
	text[strlen(text) - 4] = '\0';
	strcat(text, ",a" E E);
	assert_ptr_equal(parse_within(slice_str(text), &limits), reason_bad_field);
}

static void text_that_is_no_head_is_refused(void **state)
{
	static const char *const texts[] = {
		"",    "\r\n", "\r\n\r\n",  "G", "GET", L, "GET / HTTP/1.1\r\n\n",
		L "x", L "x:", L "x: y\r\n"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_non_null(parse_within(slice_str(texts[i]), &rig_limits));
}

/*---------------------------------------- responses */

#define R "HTTP/1.1 200 OK\r\n"

static const struct row bad_responses[] = {
	{ E E, "upstream_malformed" },
	{ "HTTP/1.1" E E, "upstream_malformed" },
	{ "HTTP/1.1 " E E, "upstream_malformed" },
	{ "HTTP/1.1 20" E E, "upstream_malformed" },
	{ "HTTP/1.1 2000" E E, "upstream_malformed" },
	{ "HTTP/1.1  200" E E, "upstream_malformed" },
	{ "HTTP/1.1\t200" E E, "upstream_malformed" },
	{ " HTTP/1.1 200 OK" E E, "upstream_malformed" },
	{ "http/1.1 200 OK" E E, "upstream_malformed" },
	{ "HTTP/2.0 200 OK" E E, "upstream_malformed" },
	{ "HTTP/0.9 200 OK" E E, "upstream_malformed" },
	{ "HTTP/11 200 OK" E E, "upstream_malformed" },
	{ "ICY 200 OK" E E, "upstream_malformed" },
	{ "HTTP/1.1 099 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 000 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 600 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 999 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 2x0 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 +20 X" E E, "upstream_malformed" },
	{ "HTTP/1.1 200\tOK" E E, "upstream_malformed" },
	{ "HTTP/1.1 200 O\x01K" E E, "upstream_malformed" },
	{ "HTTP/1.1 200 OK\n\n", "upstream_malformed" },
	{ R "x: y\n" E, "upstream_malformed" },
	{ R "x : y" E E, "upstream_malformed" },
	{ R " x: y" E E, "upstream_malformed" },
	{ R "x: y" E " z" E E, "upstream_malformed" },
	{ R "x" E E, "upstream_malformed" },
	{ R "x: \x0b" E E, "upstream_malformed" },
	{ R CL "5" E CL "5" E E, "upstream_malformed" },
	{ R CL "5, 5" E E, "upstream_malformed" },
	{ R CL "-1" E E, "upstream_malformed" },
	{ R CL "" E E, "upstream_malformed" },
	{ R CL "5" E TE "chunked" E E, "upstream_malformed" },
	{ R TE "chunked" E CL "5" E E, "upstream_malformed" },
	{ R TE "gzip, chunked" E E, "upstream_malformed" },
	{ R TE "identity" E E, "upstream_malformed" },
	{ R TE "chunked" E TE "chunked" E E, "upstream_malformed" },
	{ "HTTP/1.0 200 OK" E TE "chunked" E E, "upstream_malformed" },
	{ "HTTP/1.1 204 X" E CL "5" E TE "chunked" E E, "upstream_malformed" },
};

static const struct reason *parse_response(const char *text, enum method_id method, struct head *h,
					   struct arena *a)
{
	struct slice in = slice_str(text);
	const struct reason *why = NULL;
	size_t seen = 0;

	head_init(h, a);
	if (h1_head_end(in, &seen, &rig_limits, &why) < 0)
		return h1_response_fault(why);
	return h1_parse_response(arena_copy(a, in), &rig_limits, method, h);
}

static void bad_responses_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_responses) / sizeof(bad_responses[0]); i++) {
		const struct reason *why;
		struct arena a;
		struct head h;

		arena_init(&a, NULL);
		why = parse_response(bad_responses[i].text, METHOD_GET, &h, &a);
		if (why == NULL || strcmp(why->token, bad_responses[i].want) != 0)
			fail_msg("row %zu: %s:\n%s", i, why == NULL ? "taken" : why->token,
				 bad_responses[i].text);
		arena_fini(&a);
	}
}

static const struct {
	enum method_id method;
	const char *text, *want;
} good_responses[] = {
	{ METHOD_GET, R E, "200 OK 1.1 body=3:0" },
	{ METHOD_GET, "HTTP/1.1 200 " E E, "200  1.1 body=3:0" },
	{ METHOD_GET, "HTTP/1.1 200" E E, "200  1.1 body=3:0" },
	{ METHOD_GET, "HTTP/1.1 599 a\tb \xe9!" E E, "599 a\\x09b \\xe9! 1.1 body=3:0" },
	{ METHOD_GET, "HTTP/1.0 200 OK" E CL "3" E E, "200 OK 1.0 body=1:3 Content-Length=3" },
	{ METHOD_GET, "HTTP/1.0 200 OK" E CL "3" E "Connection: keep-alive" E E,
	  "200 OK 1.0 body=1:3 keep Content-Length=3 Connection=keep-alive" },
	{ METHOD_GET, "HTTP/1.9 200 OK" E CL "3" E E, "200 OK 1.1 body=1:3 keep Content-Length=3" },
	{ METHOD_GET, R CL "3" E "Connection: close" E E,
	  "200 OK 1.1 body=1:3 Content-Length=3 Connection=close" },
	{ METHOD_GET, R TE "chunked" E E, "200 OK 1.1 body=2:0 keep Transfer-Encoding=chunked" },
	{ METHOD_GET, R "Host: a" E "Host: b" E CL "0" E E,
	  "200 OK 1.1 body=1:0 keep Host=a Host=b Content-Length=0" },
	{ METHOD_HEAD, R CL "3" E E, "200 OK 1.1 body=1:3 keep Content-Length=3" },
	{ METHOD_HEAD, R TE "chunked" E E, "200 OK 1.1 body=0:0 keep Transfer-Encoding=chunked" },
	{ METHOD_HEAD, R E, "200 OK 1.1 body=0:0 keep" },
	{ METHOD_GET, "HTTP/1.1 304 N" E CL "3" E E, "304 N 1.1 body=1:3 keep Content-Length=3" },
	{ METHOD_GET, "HTTP/1.1 304 N" E E, "304 N 1.1 body=0:0 keep" },
	{ METHOD_GET, "HTTP/1.1 204 N" E E, "204 N 1.1 body=0:0 keep" },
	{ METHOD_GET, "HTTP/1.1 204 N" E CL "0" E E, "204 N 1.1 body=0:0 keep Content-Length=0" },
	{ METHOD_GET, "HTTP/1.1 204 N" E CL "3" E E, "204 N 1.1 body=0:0 Content-Length=3" },
	{ METHOD_GET, "HTTP/1.1 204 N" E TE "chunked" E E,
	  "204 N 1.1 body=0:0 Transfer-Encoding=chunked" },
	{ METHOD_GET, "HTTP/1.1 100 C" E E, "100 C 1.1 body=0:0 keep" },
	{ METHOD_GET, "HTTP/1.1 101 S" E "Connection: upgrade" E "Upgrade: websocket" E E,
	  "101 S 1.1 body=4:0 keep upgrade Connection=upgrade Upgrade=websocket" },
	{ METHOD_GET, "HTTP/1.1 101 S" E "Connection: upgrade" E "Upgrade: h2c" E E,
	  "101 S 1.1 body=4:0 keep Connection=upgrade Upgrade=h2c" },
};

static void good_responses_are_understood(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good_responses) / sizeof(good_responses[0]); i++) {
		const struct reason *why;
		struct arena a;
		struct head h;

		arena_init(&a, NULL);
		why = parse_response(good_responses[i].text, good_responses[i].method, &h, &a);
		if (why != NULL)
			fail_msg("%s: %s", good_responses[i].text, why->token);
		expect_head(&h, good_responses[i].want, good_responses[i].text);
		arena_fini(&a);
	}
}

static void a_response_head_too_large_has_its_own_reason(void **state)
{
	char text[8000];
	struct arena a;
	struct head h;

	(void)state;
	arena_init(&a, NULL);
	fill(text, sizeof(text), R "x: ", 'x', "");
	text[sizeof(text) - 1] = '\0';
	assert_ptr_equal(parse_response(text, METHOD_GET, &h, &a), reason_upstream_head_too_large);
	fill(text, sizeof(text), "HTTP/1.1 200 ", 'x', "");
	text[sizeof(text) - 1] = '\0';
	assert_ptr_equal(parse_response(text, METHOD_GET, &h, &a), reason_upstream_head_too_large);
	arena_fini(&a);
}

/*---------------------------------------- trailers */

static const struct row trailer_rows[] = {
	{ "", "bad_field" },
	{ "x: y", "bad_field" },
	{ "x: y" E, "bad_field" },
	{ "x : y" E E, "bad_field" },
	{ " x: y" E E, "bad_field" },
	{ "x: y" E " z" E E, "bad_field" },
	{ "x" E E, "bad_field" },
	{ "x: \x01" E E, "bad_field" },
	{ E, "" },
	{ "x: y" E "Grpc-Status: 0" E E, " x=y Grpc-Status=0" },
	{ "Content-Length: 5" E "transfer-encoding: chunked" E "HOST: a" E "Authorization: a" E
	  "Cookie: a" E "Set-Cookie: a" E "Content-Type: a" E "Content-Encoding: a" E
	  "Connection: a" E "TE: a" E "x: y" E "Trailer: a" E "Expect: a" E "Cache-Control: a" E
	  "Range: a" E "if-match: a" E "Vary: a" E "Max-Forwards: 1" E "Content-Range: a" E
	  "WWW-Authenticate: a" E "X-Forwarded-For: a" E E,
	  " x=y" },
};

static void trailers_are_sifted(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(trailer_rows) / sizeof(trailer_rows[0]); i++) {
		const struct reason *why;
		const char *got;
		struct rig r;
		struct head h;

		rig_init(&r);
		head_init(&h, &r.arena);
		why = h1_parse_trailers(arena_copy(&r.arena, slice_str(trailer_rows[i].text)),
					&rig_limits, &h);
		rig_log_fields(&r, &h);
		got = rig_log(&r);
		if (strcmp(why != NULL ? why->token : got, trailer_rows[i].want) != 0)
			fail_msg("row %zu: %s, %s", i, got, why != NULL ? why->token : "taken");
		arena_fini(&r.arena);
		buf_fini(&r.log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_requests_are_refused),
		cmocka_unit_test(good_requests_are_understood),
		cmocka_unit_test(an_absolute_target_may_have_another_host_where_it_is_said),
		cmocka_unit_test(a_refused_head_says_what_was_understood),
		cmocka_unit_test(heads_are_bounded),
		cmocka_unit_test(a_bound_on_the_line_beyond_that_on_the_head),
		cmocka_unit_test(targets_and_fields_are_bounded),
		cmocka_unit_test(nominations_are_bounded),
		cmocka_unit_test(text_that_is_no_head_is_refused),
		cmocka_unit_test(bad_responses_are_refused),
		cmocka_unit_test(good_responses_are_understood),
		cmocka_unit_test(a_response_head_too_large_has_its_own_reason),
		cmocka_unit_test(trailers_are_sifted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
