/* Events: what is kept of the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/event.h"

static void test_nothing_is_kept_while_closed(void **state)
{
	struct event e;
	uint64_t seq = 1;

	(void)state;
	events_add(LOG_INFO, 1, "lost");
	assert_false(events_next(&seq, &e));
}

static void test_the_oldest_give_way(void **state)
{
	struct event e;
	uint64_t first = events_end(), seq = first;
	char text[8];

	(void)state;
	assert_true(events_open(4));
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "%d", i);
		events_add(LOG_INFO, (uint64_t)i, text);
	}
	for (int i = 6; i < 10; i++) {
		assert_true(events_next(&seq, &e));
		assert_int_equal(e.seq, first + (uint64_t)i);
		assert_int_equal(e.text[0], '0' + i);
	}
	assert_false(events_next(&seq, &e));
	assert_int_equal(seq, events_end());
	events_close();
}

static void test_long_ones_are_cut(void **state)
{
	char text[1000];
	struct event e;
	uint64_t seq = events_end();

	(void)state;
	memset(text, 'x', sizeof(text));
	text[999] = '\0';
	assert_true(events_open(2));
	events_add(LOG_WARN, 1, text);
	assert_true(events_next(&seq, &e));
	assert_int_equal(strlen(e.text), EVENT_TEXT_BYTES - 1);
	events_close();
}

static void count(void *arg)
{
	++*(int *)arg;
}

static void test_log_lines_are_events(void **state)
{
	struct event e;
	uint64_t seq = events_end(), errors = events_count(LOG_ERROR);
	int told = 0;

	(void)state;
	assert_true(events_open(8));
	events_on_add(count, &told);
	log_set_level(LOG_ERROR);
	log_info("upstream %s: up\n", "app");
	log_debug("no event");
	log_set_level(LOG_INFO);
	assert_int_equal(told, 1);
	assert_true(events_next(&seq, &e));
	assert_string_equal(e.text, "upstream app: up?");
	assert_int_equal(e.level, LOG_INFO);
	assert_false(events_next(&seq, &e));
	assert_int_equal(events_count(LOG_ERROR), errors);
	events_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_kept_while_closed),
		cmocka_unit_test(test_the_oldest_give_way),
		cmocka_unit_test(test_long_ones_are_cut),
		cmocka_unit_test(test_log_lines_are_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
