/* test_chunked.c - the chunked coding: what is refused, what is taken, however it is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "http/h1.h"

#include "chunked_rows.h"

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

static void bodies_are_taken_or_refused_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(chunked_rows) / sizeof(chunked_rows[0]); i++)
		check(chunked_rows[i].text, chunked_rows[i].want);
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
