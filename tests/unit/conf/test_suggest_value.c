/* test_suggest_value.c - notations of other programs, and what they were meant to be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "conf/suggest_value.h"

struct row {
	const char *written, *meant; /* NULL: nothing comes to mind */
};

static void expect(const struct row *rows, bool (*find)(struct slice, char out[SUGGEST_VALUE_MAX]))
{
	char out[SUGGEST_VALUE_MAX];

	for (; rows->written != NULL; rows++) {
		bool found = find(slice_str(rows->written), out);

		if (found != (rows->meant != NULL))
			fail_msg("`%s` is %s", rows->written, found ? out : "nothing");
		if (found)
			assert_string_equal(out, rows->meant);
	}
}

static void test_nothing_comes_to_mind(void **state)
{
	static const struct row none[] = {
		{ "", NULL },         { " ", NULL }, { "x", NULL },   { "/", NULL },
		{ ".", NULL },        { "-", NULL }, { "per", NULL }, { "req", NULL },
		{ "1 fathom", NULL }, { NULL },
	};

	(void)state;
	expect(none, suggest_value_duration);
	expect(none, suggest_value_rate);
	expect(none, suggest_value_bytes);
	expect(none, suggest_value_u32);
}

static void test_durations(void **state)
{
	static const struct row rows[] = {
		{ "10 seconds", "10s" },
		{ "10", "10s" },
		{ "5 min", "5m" },
		{ "1hour 30 min", "1h30m" },
		{ "250 MSEC", "250ms" },
		{ "1.5 s", "1.5s" },
		{ "10 s 5", NULL },
		{ "-5s", NULL },
		{ "5 min 1 hour", NULL },
		{ "1w", NULL },
		{ "1.2.3s", NULL },
		{ "99999999999d", NULL },
		{ NULL },
	};

	(void)state;
	expect(rows, suggest_value_duration);
}

static void test_rates(void **state)
{
	static const struct row rows[] = {
		{ "100", "100/s" },
		{ "100/sec", "100/s" },
		{ "100/10", "100/10s" },
		{ "100 / s", "100/s" },
		{ "100rps", "100/s" },
		{ "100 rpm", "100/m" },
		{ "100r/s", "100/s" },
		{ "100 req/s", "100/s" },
		{ "5 per minute", "5/m" },
		{ "5 calls per day", "5/d" },
		{ "3 per 10 seconds", "3/10s" },
		{ "0.5/s", "30/m" },
		{ "1.5/10s", "9/m" },
		{ "0.001/s", NULL },
		{ "2.0/s", "2/s" },
		{ "100/parsec", NULL },
		{ "0/s", NULL },
		{ "-5/s", NULL },
		{ "1/0s", NULL },
		{ "0.1.2/s", NULL },
		{ "0.5/0s", NULL },
		{ NULL },
	};

	(void)state;
	expect(rows, suggest_value_rate);
}

static void test_sizes_and_numbers(void **state)
{
	static const struct row sizes[] = {
		{ "10m", "10MiB" },  { "32 KB", "32KiB" },  { "1.5GB", "1.5GiB" },
		{ "5 bytes", "5B" }, { "10", NULL },        { "m", NULL },
		{ "10 MB x", NULL }, { "99999999t", NULL }, { NULL },
	};
	static const struct row numbers[] = {
		{ "1_000", "1000" },
		{ "+5", "5" },
		{ "007", "7" },
		{ "10k", "10000" },
		{ "2M", "2000000" },
		{ "0", "0" },
		{ "1e3", NULL },
		{ "0x10", NULL },
		{ "-5", NULL },
		{ "5.0", NULL },
		{ "99999999999999999", NULL },
		{ "9999999999999k", NULL },
		{ NULL },
	};

	(void)state;
	expect(sizes, suggest_value_bytes);
	expect(numbers, suggest_value_u32);
}

static void test_addresses(void **state)
{
	static const struct row rows[] = {
		{ "8080", ":8080" },
		{ "localhost:80", "127.0.0.1:80" },
		{ "::1:8080", "[::1]:8080" },
		{ "/run/x.sock", "unix:/run/x.sock" },
		{ "http://127.0.0.1:80/", "127.0.0.1:80" },
		{ "http://[::1]:80", "[::1]:80" },
		{ "", NULL },
		{ "/", NULL },
		{ "http://", NULL },
		{ "example.com:80", NULL },
		{ "127.0.0.1:0", NULL },
		{ "127.0.0.1", NULL },
		{ "70000", NULL },
		{ "0", NULL },
		{ "::", NULL },
		{ NULL },
	};

	(void)state;
	expect(rows, suggest_value_addr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_comes_to_mind),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_sizes_and_numbers),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
