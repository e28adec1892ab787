/* test_h1_loose.c - heads whose lines end with LF alone: only where they may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reason.h"
#include "http/h1_internal.h"

struct row {
	const char *text;
	size_t n; /* 0: strlen */
	int64_t strict, loose;
};

#define HEAD   "GET / HTTP/1.0\nHost: a\n"
#define ROW(t) t, sizeof(t) - 1

static const struct row rows[] = {
	{ ROW("GET / HTTP/1.0\nHost: a\0\n\n"), -1, -1 },
	{ ROW("GET / HTTP/1.0\nHost: \ra\n\n"), -1, -1 },
	{ ROW("GET / HTTP/1.0\rHost: a\n\n"), -1, -1 },
	{ ROW(HEAD), -1, 0 },
	{ ROW(HEAD "\r"), -1, 0 },
	{ ROW(HEAD "\n"), -1, 24 },
	{ ROW(HEAD "\r\n"), -1, 25 },
	{ ROW(HEAD "\nbody"), -1, 24 },
	{ ROW("GET / HTTP/1.0\r\nHost: a\n\r\n"), -1, 26 },
	{ ROW("GET / HTTP/1.0\r\nHost: a\r\n\n"), -1, 26 },
	{ ROW("GET / HTTP/1.0\r\nHost: a\r\n\r\n"), 27, 27 },
};

static int64_t end_of(const struct row *r, bool bare_lf)
{
	struct codec_limits limits = {
		.head_bytes = 64, .target_bytes = 64, .headers = 10, .bare_lf = bare_lf
	};
	const struct reason *why = NULL;
	size_t seen = 0;
	int64_t n = 0;

	/* byte by byte: the verdict is the same however they come */
	for (size_t have = 1; have <= r->n && n == 0; have++)
		n = h1_loose_head_end(slice_of(r->text, have), &seen, &limits, &why);
	return n;
}

static void test_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(end_of(&rows[i], false), rows[i].strict);
		assert_int_equal(end_of(&rows[i], true), rows[i].loose);
	}
}

static void test_too_large(void **state)
{
	char text[80];
	struct row r = { text, sizeof(text), 0, 0 };

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, HEAD, strlen(HEAD));
	assert_int_equal(end_of(&r, true), -1);
}

static void test_text(void **state)
{
	struct slice head = slice_str("A\nB\r\n\n");

	(void)state;
	assert_true(h1_loose_text(&head));
	assert_true(slice_is(head, "A\r\nB\r\n\r\n"));
	free((char *)head.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
