/* What of a call is gRPC's own, as functions. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "core/grpc.h"

static struct arena arena;

static struct head *head_with(const char *name, const char *value)
{
	struct head *h = arena_zalloc(&arena, sizeof(*h));

	head_init(h, &arena);
	h->h2 = true;
	h->method_id = METHOD_POST;
	if (name != NULL)
		assert_true(head_add_name(h, slice_str(name), slice_str(value)));
	return h;
}

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void only_its_content_type_makes_a_call(void **state)
{
	static const char *const are[] = { "application/grpc", "application/grpc+proto",
					   "Application/gRPC;charset=x" };
	static const char *const are_not[] = { "application/grpc-web", "application/grp", "",
					       "application/json", "application/grpcx" };
	struct head *h;

	(void)state;
	for (size_t i = 0; i < sizeof(are) / sizeof(are[0]); i++)
		assert_true(grpc_is_call(head_with("content-type", are[i])));
	for (size_t i = 0; i < sizeof(are_not) / sizeof(are_not[0]); i++)
		assert_false(grpc_is_call(head_with("content-type", are_not[i])));
	assert_false(grpc_is_call(head_with(NULL, NULL)));
	h = head_with("content-type", "application/grpc");
	h->h2 = false;
	assert_false(grpc_is_call(h));
	h = head_with("content-type", "application/grpc");
	h->method_id = METHOD_GET;
	assert_false(grpc_is_call(h));
}

static void timeouts_that_are_none(void **state)
{
	static const char *const bad[] = { "",    "1",    "S",   "-1S",  "+1S",        "1s",
					   "1 S", "1.5S", "1SS", "0x1S", "123456789S", "1S " };
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(grpc_timeout(head_with("grpc-timeout", bad[i]), &ns));
}

static void timeouts(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} rows[] = {
		{ "1n", 1 },
		{ "0S", 0 },
		{ "20u", 20000 },
		{ "100m", 100 * CLOCK_MS },
		{ "5S", 5 * CLOCK_S },
		{ "2M", 120 * CLOCK_S },
		{ "1H", 3600 * CLOCK_S },
		{ "99999999m", UINT64_C(99999999) * CLOCK_MS },
		{ "99999999H", UINT64_MAX },
	};
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_true(grpc_timeout(head_with("grpc-timeout", rows[i].text), &ns));
		assert_int_equal(ns, rows[i].ns);
	}
	assert_true(grpc_timeout(head_with(NULL, NULL), &ns));
	assert_true(ns == UINT64_MAX);
}

/* In the finest unit that eight digits hold; never longer than it is. */
static void what_is_left_is_said(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "0n" },
		{ 99999999, "99999999n" },
		{ 100000000, "100000u" },
		{ 1500 * CLOCK_MS, "1500000u" },
		{ 100 * CLOCK_S, "100000m" },
		{ UINT64_C(200000) * CLOCK_S, "200000S" },
		{ UINT64_MAX, "5124095H" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct head *h = head_with("grpc-timeout", "7S");
		struct slice name = SLICE("grpc-timeout");

		assert_true(grpc_set_timeout(h, rows[i].ns));
		assert_string_equal(arena_printf(&arena, "%.*s",
						 (int)head_find_name(h, name)->value.n,
						 head_find_name(h, name)->value.p),
				    rows[i].text);
	}
}

static void codes_and_how_they_are_judged(void **state)
{
	(void)state;
	assert_int_equal(grpc_code(head_with(NULL, NULL)), GRPC_NONE);
	assert_int_equal(grpc_code(head_with("grpc-status", "0")), GRPC_OK);
	assert_int_equal(grpc_code(head_with("grpc-status", "14")), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_code(head_with("grpc-status", "17")), GRPC_UNKNOWN);
	assert_int_equal(grpc_code(head_with("grpc-status", "x")), GRPC_UNKNOWN);
	assert_int_equal(grpc_code(head_with("grpc-status", "")), GRPC_UNKNOWN);
	assert_int_equal(grpc_judge(200, GRPC_NONE), 200);
	assert_int_equal(grpc_judge(200, GRPC_OK), 200);
	assert_int_equal(grpc_judge(503, GRPC_NONE), 503);
	assert_int_equal(grpc_judge(200, GRPC_UNAVAILABLE), 503);
	assert_int_equal(grpc_judge(200, GRPC_RESOURCE_EXHAUSTED), 429);
	assert_int_equal(grpc_judge(200, GRPC_DEADLINE_EXCEEDED), 504);
	assert_int_equal(grpc_judge(200, GRPC_INTERNAL), 500);
	assert_int_equal(grpc_judge(200, GRPC_NOT_FOUND), 200);
	assert_int_equal(grpc_judge(200, GRPC_UNIMPLEMENTED), 200);
}

static void pushback(void **state)
{
	uint64_t ms = 7;

	(void)state;
	assert_int_equal(grpc_pushback(head_with(NULL, NULL), &ms), PUSHBACK_NONE);
	assert_int_equal(ms, 7);
	assert_int_equal(grpc_pushback(head_with("grpc-retry-pushback-ms", "250"), &ms),
			 PUSHBACK_MS);
	assert_int_equal(ms, 250);
	assert_int_equal(grpc_pushback(head_with("grpc-retry-pushback-ms", "-1"), &ms),
			 PUSHBACK_NEVER);
	assert_int_equal(grpc_pushback(head_with("grpc-retry-pushback-ms", "soon"), &ms),
			 PUSHBACK_NEVER);
	assert_int_equal(grpc_pushback(head_with("grpc-retry-pushback-ms", ""), &ms),
			 PUSHBACK_NEVER);
	assert_int_equal(grpc_pushback(head_with("grpc-retry-pushback-ms", "1234567890"), &ms),
			 PUSHBACK_NEVER);
}

static void refusals(void **state)
{
	(void)state;
	assert_int_equal(grpc_refusal(429, true), GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(grpc_refusal(503, true), GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(grpc_refusal(503, false), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_refusal(502, false), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_refusal(504, false), GRPC_DEADLINE_EXCEEDED);
	assert_int_equal(grpc_refusal(401, false), GRPC_UNAUTHENTICATED);
	assert_int_equal(grpc_refusal(403, false), GRPC_PERMISSION_DENIED);
	assert_int_equal(grpc_refusal(404, false), GRPC_UNIMPLEMENTED);
	assert_int_equal(grpc_refusal(400, false), GRPC_INTERNAL);
	assert_int_equal(grpc_refusal(413, false), GRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(grpc_refusal(418, false), GRPC_UNKNOWN);
}

static void messages_are_percent_encoded(void **state)
{
	struct buf b = { .arena = &arena };
	struct slice s = SLICE("50% of \xc3\xa9\n~ ");

	(void)state;
	grpc_put_message(&b, s);
	buf_putc(&b, '\0');
	assert_string_equal(b.p, "50%25 of %C3%A9%0A~ ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_its_content_type_makes_a_call),
		cmocka_unit_test(timeouts_that_are_none),
		cmocka_unit_test(timeouts),
		cmocka_unit_test(what_is_left_is_said),
		cmocka_unit_test(codes_and_how_they_are_judged),
		cmocka_unit_test(pushback),
		cmocka_unit_test(refusals),
		cmocka_unit_test(messages_are_percent_encoded),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
