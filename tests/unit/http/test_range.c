/* Which parts of a representation are wanted, and whether any of it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/arena.h"
#include "http/date.h"
#include "http/range.h"

#define AGE  "Sat, 21 Nov 2026 06:00:00 GMT"
#define WAS  "Sat, 21 Nov 2026 05:59:59 GMT"
#define WILL "Sat, 21 Nov 2026 06:00:01 GMT"
#define TAG  "\"6a-3e8\""

static const struct validator thing = { .etag = SLICE(TAG),
					.modified_s = INT64_C(1795240800),
					.size = 1000 };

/*---------------------------------------------------------------- ranges */

struct range_row {
	const char *value, *want; /* "" all, "416", "0-8 990-999" */
	uint64_t size;
};

static const struct range_row range_rows[] = {
	{ "", "", 1000 },
	{ "bytes", "", 1000 },
	{ "bytes=", "", 1000 },
	{ "lines=0-8", "", 1000 },
	{ "bytes=alpha", "416", 1000 },
	{ "bytes=10-alpha", "416", 1000 },
	{ "bytes=10", "416", 1000 },
	{ "bytes=10-11 12-", "416", 1000 },
	{ "bytes=10-11;", "416", 1000 },
	{ "bytes=-", "416", 1000 },
	{ "bytes=--1", "416", 1000 },
	{ "bytes=+1-2", "416", 1000 },
	{ "bytes=0x1-2", "416", 1000 },
	{ "bytes=0-8,", "416", 1000 },
	{ "bytes=,0-8", "416", 1000 },
	{ "bytes=1000-", "416", 1000 },
	{ "bytes=100000-", "416", 1000 },
	{ "bytes=5-3", "416", 1000 },
	{ "bytes=-0", "416", 1000 },
	{ "bytes=9223372036854775808-", "416", 1000 },
	{ "bytes=0-9223372036854775808", "416", 1000 },
	{ "bytes=99999999999999999999999999-", "416", 1000 },
	{ "bytes=-99999999999999999999999999", "416", 1000 },
	{ "bytes=0-9223372036854775807", "0-999", 1000 },
	{ "bytes=9223372036854775807-", "416", 1000 },
	{ "bytes=-9223372036854775807", "0-999", 1000 },
	{ "bytes=0-", "", 0 },
	{ "bytes=-5", "", 0 },
	{ "bytes=1-", "416", 0 },
	{ "bytes=0-0", "0-0", 1000 },
	{ "bytes=0-8", "0-8", 1000 },
	{ "BYTES=0-8", "0-8", 1000 },
	{ "bytes= 0 - 8 ", "0-8", 1000 },
	{ "bytes=-10", "990-999", 1000 },
	{ "bytes=990-", "990-999", 1000 },
	{ "bytes=990-1990", "990-999", 1000 },
	{ "bytes=-2000", "0-999", 1000 },
	{ "bytes=0-9, -10, 10-19", "0-9 990-999 10-19", 1000 },
	{ "bytes=0-9, 100000-, 10-19", "0-9 10-19", 1000 },
	{ "bytes=0-10001, 0-0", "", 1000 },
	{ "bytes=0-599,400-999", "", 1000 },
	{ "bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,"
	  "0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0",
	  "", 1000 },
};

static void write_ranges(char *out, size_t n, enum range_answer answer, const struct ranges *r)
{
	size_t at = 0;

	snprintf(out, n, "%s", answer == RANGE_NONE ? "416" : "");
	for (uint32_t i = 0; answer == RANGE_PART && i < r->n; i++)
		at += (size_t)snprintf(out + at, n - at, "%s%u-%u", i > 0 ? " " : "",
				       (unsigned)r->item[i].at,
				       (unsigned)(r->item[i].at + r->item[i].n - 1));
}

static void test_ranges(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(range_rows) / sizeof(range_rows[0]); i++) {
		const struct range_row *row = &range_rows[i];
		struct ranges ranges;
		char got[200];

		write_ranges(got, sizeof(got),
			     range_parse(slice_str(row->value), row->size, &ranges), &ranges);
		if (strcmp(got, row->want) != 0)
			fail_msg("%s of %u: %s, not %s", row->value, (unsigned)row->size, got,
				 row->want);
	}
}

/*---------------------------------------------------------------- preconditions */

enum { FIELDS_MAX = 3 };

struct request_row {
	const char *field[FIELDS_MAX], *value[FIELDS_MAX];
	uint16_t want; /* 200, 206, 304, 412, 416 */
};

static const struct request_row request_rows[] = {
	{ { NULL }, { NULL }, 200 },
	{ { "If-Match" }, { "\"foo\"" }, 412 },
	{ { "If-Match" }, { "W/" TAG }, 412 },
	{ { "If-Match" }, { "" }, 412 },
	{ { "If-Match" }, { TAG }, 200 },
	{ { "If-Match" }, { "*" }, 200 },
	{ { "If-Match" }, { "\"a\", \"b,c\", \t" TAG " , \"d\"" }, 200 },
	{ { "If-Match" }, { "\"a" TAG }, 412 },
	{ { "If-Unmodified-Since" }, { WAS }, 412 },
	{ { "If-Unmodified-Since" }, { "soon" }, 412 },
	{ { "If-Unmodified-Since" }, { AGE }, 200 },
	{ { "If-Unmodified-Since" }, { WILL }, 200 },
	{ { "If-Unmodified-Since", "If-Match" }, { AGE, "\"foo\"" }, 412 },
	{ { "If-None-Match" }, { "\"foo\"" }, 200 },
	{ { "If-None-Match" }, { TAG }, 304 },
	{ { "If-None-Match" }, { "W/" TAG }, 304 },
	{ { "If-None-Match" }, { "*" }, 304 },
	{ { "If-None-Match" }, { "\"foo\", \"bar\", " TAG " , \"baz\"" }, 304 },
	{ { "If-None-Match" }, { "foo, " TAG }, 304 },
	{ { "If-Modified-Since" }, { AGE }, 304 },
	{ { "If-Modified-Since" }, { "Saturday, 21-Nov-26 06:00:00 GMT" }, 304 },
	{ { "If-Modified-Since" }, { "Sat Nov 21 06:00:00 2026" }, 304 },
	{ { "If-Modified-Since" }, { WAS }, 200 },
	{ { "If-Modified-Since" }, { WILL }, 200 },
	{ { "If-Modified-Since" }, { "" }, 200 },
	{ { "If-Modified-Since", "If-None-Match" }, { AGE, "\"foo\"" }, 200 },
	{ { "If-Modified-Since", "If-None-Match" }, { WAS, TAG }, 200 },
	{ { "If-Modified-Since", "If-None-Match" }, { AGE, TAG }, 304 },
	{ { "If-Match", "If-None-Match" }, { "\"foo\"", TAG }, 412 },
	{ { "Range" }, { "bytes=0-8" }, 206 },
	{ { "Range" }, { "bytes=1000-" }, 416 },
	{ { "Range", "If-Range" }, { "bytes=0-8", TAG }, 206 },
	{ { "Range", "If-Range" }, { "bytes=0-8", "\"foo\"" }, 200 },
	{ { "Range", "If-Range" }, { "bytes=0-8", "W/" TAG }, 200 },
	{ { "Range", "If-Range" }, { "bytes=0-8", AGE }, 206 },
	{ { "Range", "If-Range" }, { "bytes=0-8", WILL }, 200 },
	{ { "Range", "If-Range" }, { "bytes=1000-", "\"foo\"" }, 200 },
	{ { "Range", "If-None-Match" }, { "bytes=0-8", TAG }, 304 },
};

static uint16_t ask(const struct request_row *row, struct arena *arena)
{
	static const uint16_t of_range[] = {
		[RANGE_ALL] = 200, [RANGE_PART] = 206, [RANGE_NONE] = 416
	};
	struct ranges ranges;
	struct head h;
	uint16_t status;

	head_init(&h, arena);
	for (unsigned i = 0; i < FIELDS_MAX && row->field[i] != NULL; i++)
		assert_true(head_add_name(&h, slice_str(row->field[i]), slice_str(row->value[i])));
	status = precondition_status(&h, &thing);
	return status != 0 ? status : of_range[range_of(&h, &thing, &ranges)];
}

static void test_requests(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(request_rows) / sizeof(request_rows[0]); i++) {
		const struct request_row *row = &request_rows[i];
		struct arena arena;
		uint16_t got;

		arena_init(&arena, NULL);
		got = ask(row, &arena);
		arena_fini(&arena);
		if (got != row->want)
			fail_msg("%zu, %s: %u, not %u", i, row->field[0], got, row->want);
	}
}

static void test_since(void **state)
{
	static const struct {
		const char *value;
		enum since_rule since;
		uint16_t want;
	} rows[] = { { AGE, SINCE_BEFORE, 304 }, { WILL, SINCE_BEFORE, 304 },
		     { WAS, SINCE_BEFORE, 0 },   { "soon", SINCE_BEFORE, 0 },
		     { AGE, SINCE_OFF, 0 },      { WILL, SINCE_EXACT, 0 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct validator v = thing;
		struct arena arena;
		struct head h;

		v.since = rows[i].since;
		arena_init(&arena, NULL);
		head_init(&h, &arena);
		assert_true(
		    head_add_name(&h, slice_str("If-Modified-Since"), slice_str(rows[i].value)));
		assert_int_equal(precondition_status(&h, &v), rows[i].want);
		arena_fini(&arena);
	}
}

static void test_dates(void **state)
{
	char text[DATE_BYTES];
	int64_t s;

	(void)state;
	assert_true(slice_is(date_put(text, thing.modified_s), AGE));
	assert_true(slice_is(date_put(text, 0), "Thu, 01 Jan 1970 00:00:00 GMT"));
	assert_int_equal(date_put(text, INT64_MAX).n, 0);
	assert_true(date_parse(slice_str(AGE), &s));
	assert_int_equal(s, thing.modified_s);
	assert_false(date_parse(slice_str("Mon, 01 Jan 1900 00:00:00 GMT"), &s));
	assert_false(date_parse(slice_str(AGE " and more"), &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_since),
		cmocka_unit_test(test_dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
