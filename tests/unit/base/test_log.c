/* The error log: levels, one line each, and a stderr that is full. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static int saved, out;

/* A pipe in the place of stderr. */
static int setup(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	saved = dup(STDERR_FILENO);
	dup2(p[1], STDERR_FILENO);
	close(p[1]);
	out = p[0];
	fcntl(out, F_SETFL, O_NONBLOCK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(out);
	log_set_level(LOG_INFO);
	return 0;
}

/* What was written since, behind the time; "" for nothing. */
static const char *written(void)
{
	static char text[8192];
	ssize_t n = read(out, text, sizeof(text) - 1);

	if (n <= 0)
		return "";
	text[n] = '\0';
	assert_true(n > 25);
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[23], 'Z');
	return text + 25;
}

static void test_levels(void **state)
{
	enum log_level l = LOG_INFO;

	(void)state;
	assert_false(log_level_parse("", &l));
	assert_false(log_level_parse("INFO", &l));
	assert_false(log_level_parse("warning", &l));
	assert_int_equal(l, LOG_INFO);
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
		assert_true(log_level_parse(log_level_name((enum log_level)i), &l));
		assert_int_equal(l, i);
	}
}

static void test_below_the_level(void **state)
{
	(void)state;
	log_debug("no");
	assert_string_equal(written(), "");
	log_set_level(LOG_ERROR);
	log_warn("no");
	assert_string_equal(written(), "");
	log_error("yes %d", 1);
	assert_string_equal(written(), "error yes 1\n");
	log_set_level(LOG_DEBUG);
	log_debug("yes");
	assert_string_equal(written(), "debug yes\n");
}

static void test_one_line_whatever_it_says(void **state)
{
	(void)state;
	log_info("a\nb\rc\033[31m\x7f\td");
	assert_string_equal(written(), "info a?b?c?[31m?\td\n");
}

static void test_a_long_line_is_cut(void **state)
{
	static char text[10000];
	const char *got;

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	log_info("%s", text);
	got = written();
	assert_in_range(strlen(got), 1900, 2048);
	assert_int_equal(got[strlen(got) - 1], '\n');
}

static char diverted[64];

static void keep(enum log_level level, const char *text)
{
	snprintf(diverted, sizeof(diverted), "%d %s", (int)level, text);
}

static void test_elsewhere(void **state)
{
	(void)state;
	log_divert(keep);
	log_debug("below the level");
	log_warn("a\n%d", 1);
	log_divert(NULL);
	assert_string_equal(diverted, "2 a?1");
	log_info("b");
	assert_string_equal(written(), "info b\n");
}

static void test_nobody_reads(void **state)
{
	uint64_t before = log_dropped();

	(void)state;
	for (int i = 0; i < 10000; i++)
		log_info("line %d", i); /* returns */
	assert_true(log_dropped() > before);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_levels),
		TEST(test_below_the_level),
		TEST(test_one_line_whatever_it_says),
		TEST(test_a_long_line_is_cut),
		TEST(test_elsewhere),
		TEST(test_nobody_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
