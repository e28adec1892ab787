/* RESP2: what a server may send, cut anywhere, and what it may not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/resp.h"

static enum resp_result feed(struct resp_reader *r, const char *text, const struct resp **reply)
{
	assert_true(resp_reader_feed(r, slice_str(text)));
	return resp_reader_next(r, RESP_BYTES_SMALL, reply);
}

static void test_bad_bytes_break_it(void **state)
{
	static const char *const bad[] = { "hello\r\n", "$x\r\n",  "*1\r\n?\r\n",
					   ":12x\r\n",  "*-7\r\n", "$-2\r\n" };
	const struct resp *reply;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct resp_reader *r = resp_reader_new();

		if (feed(r, bad[i], &reply) != RESP_BROKEN)
			fail_msg("taken: %s", bad[i]);
		assert_false(resp_reader_feed(r, slice_str(":1\r\n")));
		assert_int_equal(resp_reader_next(r, 100, &reply), RESP_BROKEN);
		resp_reader_free(r);
	}
}

/* An announced size makes nothing large, and what comes is cut off. */
static void test_too_much_breaks_it(void **state)
{
	struct resp_reader *r = resp_reader_new();
	const struct resp *reply;
	char much[4096];

	(void)state;
	memset(much, 'x', sizeof(much));
	assert_int_equal(feed(r, "$1000000000\r\n", &reply), RESP_MORE);
	for (unsigned i = 0; i < 15; i++) {
		assert_true(resp_reader_feed(r, slice_of(much, sizeof(much))));
		assert_int_equal(resp_reader_next(r, RESP_BYTES_SMALL, &reply), RESP_MORE);
	}
	assert_true(resp_reader_feed(r, slice_of(much, sizeof(much))));
	assert_int_equal(resp_reader_next(r, RESP_BYTES_SMALL, &reply), RESP_BROKEN);
	resp_reader_free(r);

	r = resp_reader_new();
	assert_int_equal(feed(r, "*1000000000\r\n", &reply), RESP_BROKEN);
	resp_reader_free(r);

	r = resp_reader_new();
	assert_int_equal(feed(r, "*2\r\n*60000\r\n", &reply), RESP_MORE);
	for (unsigned i = 0; i < 60000; i++)
		assert_true(resp_reader_feed(r, slice_str(":1\r\n")));
	assert_true(resp_reader_feed(r, slice_str("*60000\r\n")));
	assert_int_equal(resp_reader_next(r, RESP_BYTES_TABLE, &reply), RESP_BROKEN);
	resp_reader_free(r);
}

static void test_too_deep_breaks_it(void **state)
{
	struct resp_reader *r = resp_reader_new();
	const struct resp *reply;

	(void)state;
	assert_int_equal(
	    feed(r, "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", &reply),
	    RESP_BROKEN);
	resp_reader_free(r);
}

static void check_all(const struct resp *r)
{
	assert_int_equal(r->type, RESP_ARRAY);
	assert_int_equal(r->n, 6);
	assert_int_equal(r->item[0].type, RESP_INTEGER);
	assert_int_equal(r->item[0].integer, -7);
	assert_true(slice_is(r->item[1].text, "a\r\nb"));
	assert_int_equal(r->item[2].type, RESP_NIL);
	assert_true(resp_is(&r->item[3], "ok"));
	assert_int_equal(r->item[4].type, RESP_ERROR);
	assert_false(resp_is(&r->item[4], "BUSY now"));
	assert_int_equal(r->item[5].n, 2);
	assert_int_equal(r->item[5].item[1].integer, 9007199254740992);
}

static void test_all_kinds_cut_anywhere(void **state)
{
	static const char text[] = "*6\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n+OK\r\n-BUSY now\r\n"
				   "*2\r\n*0\r\n:9007199254740992\r\n+after\r\n";
	size_t n = sizeof(text) - 1, whole = n - strlen("+after\r\n");
	const struct resp *reply;

	(void)state;
	for (size_t cut = 0; cut < whole; cut++) {
		struct resp_reader *r = resp_reader_new();

		assert_true(resp_reader_feed(r, slice_of(text, cut)));
		assert_int_equal(resp_reader_next(r, 200, &reply), RESP_MORE);
		assert_true(resp_reader_feed(r, slice_of(text + cut, n - cut)));
		assert_int_equal(resp_reader_next(r, 200, &reply), RESP_REPLY);
		check_all(reply);
		assert_int_equal(resp_reader_next(r, 200, &reply), RESP_REPLY);
		assert_true(resp_is(reply, "after"));
		assert_int_equal(resp_reader_next(r, 200, &reply), RESP_MORE);
		resp_reader_free(r);
	}
}

/* Replies that were given out do not count against the next one. */
static void test_many_small_replies(void **state)
{
	struct resp_reader *r = resp_reader_new();
	const struct resp *reply;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(feed(r, "$5\r\nhello\r\n:1\r\n", &reply), RESP_REPLY);
		assert_int_equal(resp_reader_next(r, 32, &reply), RESP_REPLY);
		assert_int_equal(reply->integer, 1);
		assert_int_equal(resp_reader_next(r, 32, &reply), RESP_MORE);
	}
	resp_reader_free(r);
}

static void test_commands(void **state)
{
	struct slice word[] = { SLICE("SET"), SLICE("a\r\nb"), SLICE("") };
	struct buf b = { .p = NULL };

	(void)state;
	resp_put(&b, word, 3);
	resp_put_words(&b, "PING", NULL);
	assert_string_equal(b.p,
			    "*3\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_bytes_break_it),
		cmocka_unit_test(test_too_much_breaks_it),
		cmocka_unit_test(test_too_deep_breaks_it),
		cmocka_unit_test(test_all_kinds_cut_anywhere),
		cmocka_unit_test(test_many_small_replies),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
