/* What the upstream is told of the client: claims first, then what is written in their place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/log.h"
#include "core/forward.h"
#include "core/trace.h"

#define TRACE    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define TRACE_ID "0af7651916cd43dd8448eb211c80319c"

struct fixture {
	struct arena arena;
	struct client_ip_conf conf;
	struct cidr trust;
	struct addr peer;
	struct forward_worker worker;
	struct head head;
	struct forward_context fc;
};

/* A peer at `peer`; 10.0.0.0/8 is trusted. */
static struct fixture *fixture_new(const char *peer)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	arena_init(&f->arena, NULL);
	assert_true(cidr_parse(slice_str("10.0.0.0/8"), &f->trust));
	f->conf = (struct client_ip_conf){ .trust = { .n = 1, .item = &f->trust },
					   .header = "x-forwarded-for" };
	assert_true(addr_parse(slice_str(peer), &f->peer));
	forward_worker_seed(&f->worker, 1);
	head_init(&f->head, &f->arena);
	f->head.minor = 1;
	f->head.authority = slice_str("example.com");
	f->fc = (struct forward_context){ .conf = &f->conf,
					  .peer = &f->peer,
					  .scheme = SLICE("http"),
					  .worker = &f->worker,
					  .arena = &f->arena };
	return f;
}

static void fixture_free(struct fixture *f)
{
	arena_fini(&f->arena);
	free(f);
}

static void has(struct fixture *f, const char *name, const char *value)
{
	struct slice n = slice_str(name);
	enum field_id id = field_lookup(n);

	if (id == F_OTHER)
		assert_true(head_add_name(&f->head, n, slice_str(value)));
	else
		assert_true(head_add(&f->head, id, slice_str(value)));
}

static void prepare(struct fixture *f)
{
	assert_true(forward_prepare(&f->head, &f->fc));
}

/* There is one such field, with this value; NULL: there is none. */
static void expect(struct fixture *f, const char *name, const char *value)
{
	enum field_id id = field_lookup(slice_str(name));
	const struct header *found = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < f->head.n; i++) {
		const struct header *h = &f->head.fields[i];

		if (h->id == F_REMOVED || h->id != id || !slice_ieq(h->name, slice_str(name)))
			continue;
		found = h;
		n++;
	}
	assert_int_equal(n, value != NULL);
	if (value != NULL && !slice_is(found->value, value))
		fail_msg("%s: expected \"%s\", got \"%.*s\"", name, value, SLICE_FMT(found->value));
}

static void test_untrusted_claims_are_replaced(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	has(f, "x-forwarded-for", "6.6.6.6");
	has(f, "X-Forwarded-For", "7.7.7.7");
	has(f, "x-forwarded-proto", "https");
	has(f, "x-forwarded-host", "evil");
	has(f, "x-forwarded-port", "443");
	has(f, "X-Forwarded-Prefix", "/admin");
	has(f, "forwarded", "for=6.6.6.6");
	has(f, "x-real-ip", "6.6.6.6");
	has(f, "x-forwarded", "left alone");
	has(f, "accept", "text/html");
	prepare(f);
	expect(f, "X-Forwarded-For", "1.2.3.4");
	expect(f, "X-Forwarded-Proto", "http");
	expect(f, "X-Forwarded-Host", "example.com");
	expect(f, "X-Forwarded-Port", NULL);
	expect(f, "X-Forwarded-Prefix", NULL);
	expect(f, "Forwarded", "for=1.2.3.4;host=example.com;proto=http");
	expect(f, "X-Real-IP", "1.2.3.4");
	expect(f, "x-forwarded", "left alone");
	expect(f, "Accept", "text/html");
	fixture_free(f);
}

static void test_nothing_claimed(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	f->head.authority = slice_of(NULL, 0);
	prepare(f);
	expect(f, "X-Forwarded-For", "1.2.3.4");
	expect(f, "X-Forwarded-Proto", "http");
	expect(f, "X-Forwarded-Host", NULL);
	expect(f, "Forwarded", "for=1.2.3.4;proto=http");
	expect(f, "X-Real-IP", "1.2.3.4");
	expect(f, "Via", "1.1 weir");
	fixture_free(f);
}

static void test_untrusted_host_is_not_kept_without_our_own(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	f->head.authority = slice_of(NULL, 0);
	has(f, "x-forwarded-host", "evil");
	prepare(f);
	expect(f, "X-Forwarded-Host", NULL);
	fixture_free(f);
}

static void test_trusted_is_appended_to(void **state)
{
	struct fixture *f = fixture_new("10.0.0.1:5");

	(void)state;
	has(f, "x-forwarded-for", "6.6.6.6");
	has(f, "x-forwarded-for", "");
	has(f, "x-forwarded-for", "1.2.3.4, 10.0.0.2");
	has(f, "x-forwarded-proto", "https");
	has(f, "x-forwarded-host", "public.example");
	has(f, "x-forwarded-port", "443");
	has(f, "forwarded", "for=1.2.3.4");
	has(f, "x-real-ip", "6.6.6.6");
	prepare(f);
	expect(f, "X-Forwarded-For", "6.6.6.6, 1.2.3.4, 10.0.0.2, 10.0.0.1");
	expect(f, "X-Forwarded-Proto", "https");
	expect(f, "X-Forwarded-Host", "public.example");
	expect(f, "X-Forwarded-Port", "443");
	expect(f, "Forwarded", "for=1.2.3.4, for=10.0.0.1;host=example.com;proto=http");
	expect(f, "X-Real-IP", "1.2.3.4");
	fixture_free(f);
}

static void test_trusted_that_says_nothing(void **state)
{
	struct fixture *f = fixture_new("10.0.0.1:5");

	(void)state;
	has(f, "x-forwarded-proto", "");
	prepare(f);
	expect(f, "X-Forwarded-For", "10.0.0.1");
	expect(f, "X-Forwarded-Proto", "http");
	expect(f, "X-Forwarded-Host", "example.com");
	expect(f, "X-Real-IP", "10.0.0.1");
	fixture_free(f);
}

static void test_unix_peer(void **state)
{
	struct fixture *f = fixture_new("unix:/run/weir.sock");

	(void)state;
	has(f, "x-forwarded-for", "1.2.3.4");
	prepare(f);
	expect(f, "X-Forwarded-For", "1.2.3.4");
	expect(f, "Forwarded", "for=unknown;host=example.com;proto=http");
	expect(f, "X-Real-IP", "1.2.3.4");
	fixture_free(f);

	f = fixture_new("unix:/run/weir.sock");
	f->conf.trust.n = 0;
	has(f, "x-forwarded-for", "1.2.3.4");
	has(f, "x-real-ip", "1.2.3.4");
	prepare(f);
	expect(f, "X-Forwarded-For", NULL);
	expect(f, "X-Real-IP", NULL);
	fixture_free(f);
}

static void test_host_is_quoted(void **state)
{
	static const char *const cases[][2] = {
		{ "example.com:8080", "for=1.2.3.4;host=\"example.com:8080\";proto=http" },
		{ "[::1]:80", "for=1.2.3.4;host=\"[::1]:80\";proto=http" },
		{ "a\",for=6.6.6.6;b=\"\\",
		  "for=1.2.3.4;host=\"a\\\",for=6.6.6.6;b=\\\"\\\\\";proto=http" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = fixture_new("1.2.3.4:5");

		f->head.authority = slice_str(cases[i][0]);
		prepare(f);
		expect(f, "Forwarded", cases[i][1]);
		fixture_free(f);
	}
}

/* Our printer against the system's. */
static void test_addresses(void **state)
{
	static const char *const ips[] = {
		"0.0.0.0",
		"9.10.99.100",
		"255.255.255.255",
		"::1",
		"1::",
		"2001:db8::1",
		"1:2:3:4:5:6:7:8",
		"1:0:3:4:5:6:7:8",
		"1:0:0:4:0:0:0:8",
		"1:0:0:4:5:0:0:8",
		"0:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7:0",
		"::3:4:5:6:7:8",
		"1:2:3:4:5:6::",
		"fe80::abcd:ef01:2345:6789",
		"::2:0:0:0:0",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ips) / sizeof(ips[0]); i++) {
		struct fixture *f = fixture_new("1.2.3.4:5");
		char text[IP_TEXT_MAX], forwarded[128];
		struct ip ip;

		assert_true(ip_parse(slice_str(ips[i]), &ip));
		addr_make(&f->peer, &ip, 5);
		ip_format(&ip, text);
		prepare(f);
		expect(f, "X-Forwarded-For", text);
		snprintf(forwarded, sizeof(forwarded),
			 ip_is_v4(&ip) ? "for=%s;host=example.com;proto=http"
				       : "for=\"[%s]\";host=example.com;proto=http",
			 text);
		expect(f, "Forwarded", forwarded);
		fixture_free(f);
	}
}

static void test_via(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	f->head.minor = 0;
	has(f, "via", "1.1 edge");
	prepare(f);
	assert_true(slice_is(head_find(&f->head, F_VIA)->value, "1.1 edge"));
	assert_true(slice_is(f->head.fields[f->head.n - 1].value, "1.0 weir"));
	assert_int_equal(f->head.fields[f->head.n - 1].id, F_VIA);
	fixture_free(f);
}

/*---------------------------------------------------------------- X-Request-Id */

static bool is_hex32(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (strchr("0123456789abcdef", s.p[i]) == NULL)
			return false;
	return s.n == 32;
}

static void expect_request_id(const char *given, bool kept)
{
	struct fixture *f = fixture_new("1.2.3.4:5");
	char id[256];

	if (given != NULL)
		has(f, "x-request-id", given);
	prepare(f);
	snprintf(id, sizeof(id), "%.*s", SLICE_FMT(f->fc.request_id));
	expect(f, "X-Request-Id", id);
	if (kept)
		assert_string_equal(id, given);
	else
		assert_true(is_hex32(f->fc.request_id));
	fixture_free(f);
}

static void test_request_id(void **state)
{
	char longest[130];

	(void)state;
	expect_request_id(NULL, false);
	expect_request_id("", false);
	expect_request_id("a b", false);
	expect_request_id("a\tb", false);
	expect_request_id("\xc3\xa4", false);
	expect_request_id("a\x7f", false);
	memset(longest, 'x', sizeof(longest));
	longest[129] = '\0';
	expect_request_id(longest, false);
	longest[128] = '\0';
	expect_request_id(longest, true);
	expect_request_id("!", true);
	expect_request_id("8c1f7a64-3c4b~", true);
}

static void test_two_request_ids(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	has(f, "x-request-id", "a");
	has(f, "x-request-id", "b");
	prepare(f);
	assert_true(is_hex32(f->fc.request_id));
	assert_true(slice_eq(head_find(&f->head, F_X_REQUEST_ID)->value, f->fc.request_id));
	fixture_free(f);
}

/*---------------------------------------------------------------- traceparent */

static void expect_trace(const char *given, bool kept)
{
	struct fixture *f = fixture_new("1.2.3.4:5");
	char trace[64];

	if (given != NULL)
		has(f, "traceparent", given);
	has(f, "tracestate", "vendor=1");
	prepare(f);
	expect(f, "tracestate", kept ? "vendor=1" : NULL);
	assert_true(is_hex32(f->fc.trace_id));
	if (kept) {
		expect(f, "traceparent", given);
		assert_true(slice_is(f->fc.trace_id, TRACE_ID));
		fixture_free(f);
		return;
	}
	assert_false(slice_is(f->fc.trace_id, TRACE_ID));
	snprintf(trace, sizeof(trace), "%.*s",
		 SLICE_FMT(head_find(&f->head, F_TRACEPARENT)->value));
	assert_int_equal(strlen(trace), 55);
	assert_memory_equal(trace, "00-", 3);
	assert_memory_equal(trace + 3, f->fc.trace_id.p, 32);
	assert_int_equal(trace[35], '-');
	assert_string_equal(trace + 52, "-00");
	fixture_free(f);
}

static void test_traceparent(void **state)
{
	(void)state;
	expect_trace(NULL, false);
	expect_trace("", false);
	expect_trace("00-" TRACE_ID "-b7ad6b7169203331-0", false);
	expect_trace(TRACE "-x", false); /* version 00 ends there */
	expect_trace("ff-" TRACE_ID "-b7ad6b7169203331-01", false);
	expect_trace("0g-" TRACE_ID "-b7ad6b7169203331-01", false);
	expect_trace("00-00000000000000000000000000000000-b7ad6b7169203331-01", false);
	expect_trace("00-" TRACE_ID "-0000000000000000-01", false);
	expect_trace("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false);
	expect_trace("00-" TRACE_ID "_b7ad6b7169203331-01", false);
	expect_trace("00-" TRACE_ID "-b7ad6b7169203331-0x", false);
	expect_trace("01-" TRACE_ID "-b7ad6b7169203331-01x", false);
	expect_trace(TRACE, true);
	expect_trace("cc-" TRACE_ID "-b7ad6b7169203331-01", true);
	expect_trace("cc-" TRACE_ID "-b7ad6b7169203331-01-what-comes", true);
}

static void test_two_traceparents(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");

	(void)state;
	has(f, "traceparent", TRACE);
	has(f, "traceparent", TRACE);
	prepare(f);
	assert_false(slice_is(f->fc.trace_id, TRACE_ID));
	fixture_free(f);
}

/*---------------------------------------------------------------- calls that are recorded */

static const struct tracing_conf all_of_them = { .ratio = 1000000 }, none_of_them = { .ratio = 0 };

static void expect_recorded(struct fixture *f, bool yes)
{
	struct slice told = head_find(&f->head, F_TRACEPARENT)->value;

	assert_int_equal(f->fc.trace != NULL, yes);
	assert_memory_equal(told.p + 53, yes ? "01" : "00", 2);
	assert_memory_equal(told.p + 3, f->fc.trace_id.p, 32);
}

/* Who has a trace has decided; for others it is the ratio. */
static void test_who_is_recorded(void **state)
{
	static const struct {
		const char *given;
		const struct tracing_conf *by;
		bool yes;
	} cases[] = {
		{ NULL, NULL, false },
		{ NULL, &none_of_them, false },
		{ NULL, &all_of_them, true },
		{ "junk", &all_of_them, true },
		{ "00-" TRACE_ID "-b7ad6b7169203331-01", &none_of_them, true },
		{ "00-" TRACE_ID "-b7ad6b7169203331-00", &all_of_them, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture *f = fixture_new("1.2.3.4:5");

		if (cases[i].given != NULL)
			has(f, "traceparent", cases[i].given);
		f->fc.tracing = cases[i].by;
		prepare(f);
		expect_recorded(f, cases[i].yes);
		fixture_free(f);
	}
}

/* A page for an error is asked for by a head that is made anew. */
static void test_recorded_once(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5");
	struct call_trace *trace;

	(void)state;
	has(f, "traceparent", TRACE);
	has(f, "tracestate", "a=b");
	f->fc.tracing = &all_of_them;
	prepare(f);
	trace = f->fc.trace;
	assert_non_null(trace);
	assert_true(slice_is(trace->state, "a=b"));
	assert_true(slice_is(trace->parent_id, "b7ad6b7169203331"));
	assert_true(forward_identify(&f->head, &f->fc));
	assert_ptr_equal(f->fc.trace, trace);
	assert_true(slice_is(trace->parent_id, "b7ad6b7169203331"));
	expect_recorded(f, true);
	fixture_free(f);
}

static void test_random(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5"), *g = fixture_new("1.2.3.4:5"),
		       *h = fixture_new("1.2.3.4:5");

	(void)state;
	forward_worker_init(&h->worker);
	prepare(f);
	prepare(g);
	prepare(h);
	assert_true(slice_eq(f->fc.request_id, g->fc.request_id)); /* the same seed */
	assert_true(slice_eq(f->fc.trace_id, g->fc.trace_id));
	assert_false(slice_eq(f->fc.request_id, h->fc.request_id));
	assert_false(slice_eq(f->fc.request_id, f->fc.trace_id));
	fixture_free(f);
	fixture_free(g);
	fixture_free(h);
}

/* The ids are those that an upstream would have had; nothing is said of the client. */
static void test_ids_alone(void **state)
{
	struct fixture *f = fixture_new("1.2.3.4:5"), *g = fixture_new("1.2.3.4:5");

	(void)state;
	has(f, "x-real-ip", "6.6.6.6");
	assert_true(forward_identify(&f->head, &f->fc));
	prepare(g);
	assert_true(slice_eq(f->fc.request_id, g->fc.request_id)); /* the same seed */
	assert_true(slice_eq(f->fc.trace_id, g->fc.trace_id));
	expect(f, "X-Real-IP", "6.6.6.6");
	expect(f, "X-Forwarded-For", NULL);
	fixture_free(f);
	fixture_free(g);

	f = fixture_new("1.2.3.4:5");
	has(f, "x-request-id", "mine");
	has(f, "traceparent", TRACE);
	assert_true(forward_identify(&f->head, &f->fc));
	assert_true(slice_is(f->fc.request_id, "mine"));
	assert_true(slice_is(f->fc.trace_id, TRACE_ID));
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untrusted_claims_are_replaced),
		cmocka_unit_test(test_nothing_claimed),
		cmocka_unit_test(test_untrusted_host_is_not_kept_without_our_own),
		cmocka_unit_test(test_trusted_is_appended_to),
		cmocka_unit_test(test_trusted_that_says_nothing),
		cmocka_unit_test(test_unix_peer),
		cmocka_unit_test(test_host_is_quoted),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_via),
		cmocka_unit_test(test_request_id),
		cmocka_unit_test(test_two_request_ids),
		cmocka_unit_test(test_traceparent),
		cmocka_unit_test(test_two_traceparents),
		cmocka_unit_test(test_who_is_recorded),
		cmocka_unit_test(test_recorded_once),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ids_alone),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
