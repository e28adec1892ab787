/* test_chunked.c - the chunked coding: what is refused, what is taken, however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/h1.h"

static const struct codec_limits limits = { .head_bytes = 256, .target_bytes = 64, .headers = 10 };

/* Result of a walk: the data, then how it stopped. */
static void walk(struct slice in, const size_t *cuts, size_t n_cuts, struct buf *log)
{
	struct chunked c;
	size_t from = 0;
	enum chunked_event e = CHUNKED_MORE;

	chunked_init(&c);
	for (size_t i = 0; i <= n_cuts && e == CHUNKED_MORE; i++) {
		size_t n = (i < n_cuts ? cuts[i] : in.n) - from;
		char *copy = malloc(n + 1);
		struct slice piece = slice_of(copy, n), data;

		memcpy(copy, in.p + from, n);
		do {
			e = chunked_step(&c, &piece, &data, &limits);
			if (e == CHUNKED_DATA)
				buf_put(log, data.p, data.n);
		} while (e == CHUNKED_DATA);
		if (e == CHUNKED_TRAILERS) {
			buf_puts(log, "|trailers:");
			buf_put(log, data.p, data.n);
		}
		from += n - piece.n;
		free(copy);
	}
	buf_printf(log, "|%s", e == CHUNKED_BAD ? "bad" : e == CHUNKED_MORE ? "more" : "end");
	if (e == CHUNKED_END || e == CHUNKED_TRAILERS)
		buf_printf(log, "+%zu", in.n - from);
}

static void check_walk(struct slice in, const size_t *cuts, size_t n_cuts, const char *want)
{
	struct buf log = { .p = NULL };

	walk(in, cuts, n_cuts, &log);
	buf_putc(&log, '\0');
	if (strcmp(log.p, want) != 0)
		fail_msg("%.*s (cut at %zu): %s, not %s", SLICE_FMT(in), n_cuts ? cuts[0] : 0,
			 log.p, want);
	buf_fini(&log);
}

static void check(const char *text, const char *want)
{
	struct slice in = slice_str(text);
	size_t all[1024];

	assert_true(in.n < 1024);
	check_walk(in, NULL, 0, want);
	for (size_t cut = 0; cut <= in.n; cut++)
		check_walk(in, &cut, 1, want);
	for (size_t i = 0; i < in.n; i++)
		all[i] = i;
	check_walk(in, all, in.n, want);
}

static const struct {
	const char *text, *want;
} rows[] = {
	/* sizes */
	{ "x", "|bad" },
	{ "\r\n", "|bad" },
	{ " 5\r\nhello\r\n", "|bad" },
	{ "-5\r\nhello", "|bad" },
	{ "+5\r\nhello", "|bad" },
	{ "0x5\r\nhello", "|bad" },
	{ "5h\r\nhello", "|bad" },
	{ "5 \r\nhello", "|bad" },
	{ "5\t\r\nhello", "|bad" },
	{ "5\nhello", "|bad" },
	{ "5\rhello", "|bad" },
	{ "5\r\rhello", "|bad" },
	{ "5\v\r\nhello", "|bad" },
	{ "5_0\r\nhello", "|bad" },
	{ "5,5\r\nhello", "|bad" },
	{ "5.\r\nhello", "|bad" },
	{ "ffffffffffffffff\r\n", "|bad" },
	{ "10000000000000000\r\n", "|bad" },
	{ "fffffffffffffffff\r\n", "|bad" },
	{ "0000000000000000\r\n", "|bad" },
	{ "\xb5\r\nhello", "|bad" },
	/* data */
	{ "5\r\nhelloX\r\n", "hello|bad" },
	{ "5\r\nhello\n0\r\n\r\n", "hello|bad" },
	{ "5\r\nhello\rx", "hello|bad" },
	{ "5\r\nhello\r\r\n", "hello|bad" },
	{ "4\r\nhello\r\n0\r\n\r\n", "hell|bad" },
	{ "6\r\nhello\r\n0\r\n\r\n", "hello\r|bad" },
	/* extensions */
	{ "5;\r\nhello", "|bad" },
	{ "5;a=\r\nhello", "|bad" },
	{ "5;=b\r\nhello", "|bad" },
	{ "5;a b\r\nhello", "|bad" },
	{ "5;a=b c\r\nhello", "|bad" },
	{ "5;a;\r\nhello", "|bad" },
	{ "5;a=\"b\r\nhello", "|bad" },
	{ "5;a=\"b\n\"\r\nhello", "|bad" },
	{ "5;a=\"b\"c\r\nhello", "|bad" },
	{ "5;a=\"\\\r\"\r\nhello", "|bad" },
	{ "5;a\nhello", "|bad" },
	{ "5;a\rhello", "|bad" },
	{ "5;\x01\r\nhello", "|bad" },
	{ "5;a=\x7f\r\nhello", "|bad" },
	{ "5 ;a \r\nhello", "|bad" },
	/* trailers */
	{ "0\r\n\n", "|bad" },
	{ "0\r\n\rx", "|bad" },
	{ "0\r\na: b\n\r\n", "|bad" },
	{ "0\r\na: b\r\r\n", "|bad" },
	/* unfinished */
	{ "", "|more" },
	{ "5", "|more" },
	{ "5\r", "|more" },
	{ "5\r\n", "|more" },
	{ "5\r\nhel", "hel|more" },
	{ "5\r\nhello", "hello|more" },
	{ "5\r\nhello\r\n", "hello|more" },
	{ "0\r\n", "|more" },
	{ "0\r\n\r", "|more" },
	{ "0\r\na: b\r\n", "|more" },
	/* whole */
	{ "0\r\n\r\n", "|end+0" },
	{ "000\r\n\r\nGET", "|end+3" },
	{ "5\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "00005\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789|end+0" },
	{ "5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello|end+0" },
	{ "5 ; a = b ;c\t=\t\"d;e\\\"\\\\\xff\"\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "5;f=0a;0=f\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "2\r\n\r\n\r\n0\r\n\r\n", "\r\n|end+0" },
	{ "0\r\na: b\r\n\r\n", "|trailers:a: b\r\n\r\n|end+0" },
	{ "1\r\nx\r\n0\r\na: b\r\nc:d\r\n\r\nmore", "x|trailers:a: b\r\nc:d\r\n\r\n|end+4" },
};

static void bodies_are_taken_or_refused_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check(rows[i].text, rows[i].want);
}

static void nothing_is_taken_after_a_fault(void **state)
{
	struct slice in = slice_str("x5\r\nhello\r\n"), data;
	struct chunked c;

	(void)state;
	chunked_init(&c);
	assert_int_equal(chunked_step(&c, &in, &data, &limits), CHUNKED_BAD);
	in = slice_str("5\r\nhello");
	assert_int_equal(chunked_step(&c, &in, &data, &limits), CHUNKED_BAD);
}

static void feed_many(struct chunked *c, const char *text, int n, enum chunked_event *e)
{
	struct slice data;

	for (int i = 0; i < n && *e != CHUNKED_BAD; i++) {
		struct slice in = slice_str(text);

		do
			*e = chunked_step(c, &in, &data, &limits);
		while (*e == CHUNKED_DATA);
	}
}

static void extensions_are_bounded_for_the_whole_body(void **state)
{
	enum chunked_event e = CHUNKED_MORE;
	struct chunked c;

	(void)state;
	/* one endless extension */
	chunked_init(&c);
	feed_many(&c, "5;a", 1, &e);
	feed_many(&c, "a", 16 * 1024 - 2, &e);
	assert_int_equal(e, CHUNKED_MORE);
	feed_many(&c, "a", 1, &e);
	assert_int_equal(e, CHUNKED_BAD);
	/* many small ones */
	e = CHUNKED_MORE;
	chunked_init(&c);
	feed_many(&c, "1;abcdefgh\r\nx\r\n", 1820, &e);
	assert_int_equal(e, CHUNKED_MORE);
	feed_many(&c, "1;abcdefgh\r\nx\r\n", 1, &e);
	assert_int_equal(e, CHUNKED_BAD);
	/* any number of chunks without */
	e = CHUNKED_MORE;
	chunked_init(&c);
	feed_many(&c, "1\r\nx\r\n", 100000, &e);
	assert_int_equal(e, CHUNKED_MORE);
}

static void trailers_are_bounded(void **state)
{
	struct slice in, data;
	struct chunked c;
	char text[400] = "0\r\na: ";

	(void)state;
	memset(text + 6, 'x', sizeof(text) - 6);
	chunked_init(&c);
	in = slice_of(text, 3 + limits.head_bytes - 1);
	assert_int_equal(chunked_step(&c, &in, &data, &limits), CHUNKED_MORE);
	in = slice_of(text + 3, limits.head_bytes);
	assert_int_equal(chunked_step(&c, &in, &data, &limits), CHUNKED_BAD);
}

static void a_large_chunk_needs_no_memory(void **state)
{
	struct slice in = slice_str("fffffffffffffff\r\nx"), data;
	struct chunked c;

	(void)state;
	chunked_init(&c);
	assert_int_equal(chunked_step(&c, &in, &data, &limits), CHUNKED_DATA);
	assert_true(slice_is(data, "x"));
	assert_true(c.left == UINT64_C(0xffffffffffffffe));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_are_taken_or_refused_however_cut),
		cmocka_unit_test(nothing_is_taken_after_a_fault),
		cmocka_unit_test(extensions_are_bounded_for_the_whole_body),
		cmocka_unit_test(trailers_are_bounded),
		cmocka_unit_test(a_large_chunk_needs_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
