/* The live view, of two looks that are written down here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "ctl/top.h"

static struct arena arena;

static const struct json *stats(double now, unsigned ok, unsigned denied)
{
	const char *wrong = NULL;
	struct buf b = { .arena = &arena };
	const struct json *j;

	buf_printf(&b,
		   "{\"version\":\"1\",\"draining\":true,\"start_time\":10,\"now\":%.1f,"
		   "\"config\":{\"generation\":3,\"last_reload_ok\":false},\"routes\":[{\"route\":"
		   "\"chat\","
		   "\"in_flight\":2,\"duration\":{\"p50\":0.0005,\"p99\":1.5},\"requests\":["
		   "{\"method\":\"GET\",\"code\":200,\"count\":%u},{\"method\":\"GET\",\"code\":"
		   "429,\"count\":%u}]}],"
		   "\"upstreams\":[{\"upstream\":\"app\",\"endpoints\":[{\"endpoint\":\"a:1\","
		   "\"state\":\"up\","
		   "\"weight\":1,\"active\":0,\"idle\":4,\"ok\":%u,\"failed\":0}]}]}",
		   now, ok, denied, ok);
	j = json_read_long(slice_of(b.p, b.n), &arena, &wrong);
	assert_non_null(j);
	return j;
}

static const struct json *object(const char *text)
{
	const char *wrong;
	const struct json *j = json_read(slice_str(text), &arena, &wrong);

	assert_non_null(j);
	return j;
}

static char *render(const struct look *before, const struct look *now)
{
	struct buf b = { .arena = &arena };

	top_render(before, now, false, &b);
	buf_putc(&b, '\0');
	assert_false(b.oom);
	return b.p;
}

static void test_nothing_is_known(void **state)
{
	const struct look before = { NULL },
			  now = { object("{}"), object("[]"), object("{\"breakers\":7}") };

	(void)state;
	assert_non_null(strstr(render(&before, &now), "weir"));
}

static void test_rates_come_with_the_second_look(void **state)
{
	const struct look none = { NULL }, now = { stats(20, 100, 0), object("{}"), object("{}") };
	char *text = render(&none, &now);

	(void)state;
	assert_non_null(strstr(text, "chat         -      -"));
	assert_non_null(strstr(text, "up 00:00:10"));
	assert_non_null(strstr(text, "LAST RELOAD FAILED"));
	assert_non_null(strstr(text, "DRAINING"));
}

static void test_rates(void **state)
{
	const struct look before = { stats(20, 100, 0), object("{}"), object("{}") };
	const struct look now = { stats(22, 300, 5), object("{}"), object("{}") };
	char *text = render(&before, &now);

	(void)state;
	assert_non_null(strstr(text, "chat       102    2.5      0"));
	assert_non_null(strstr(text, "500us  1.50s"));
	assert_non_null(
	    strstr(text, "app       a:1       up          1       0     4   100         0"));
}

/* A Weir that was started anew between the looks. */
static void test_counters_that_fell(void **state)
{
	const struct look before = { stats(20, 100, 0), object("{}"), object("{}") };
	const struct look now = { stats(22, 3, 0), object("{}"), object("{}") };

	(void)state;
	assert_non_null(strstr(render(&before, &now), "chat         0      0"));
}

static void test_keys_and_policies(void **state)
{
	const struct look before = { stats(20, 0, 0),
				     object("{\"limits\":[{\"policy\":\"p\",\"deny\":1}]}"),
				     object("{}") };
	const struct look now = {
		stats(22, 0, 0),
		object(
		    "{\"limits\":[{\"policy\":\"p\",\"kind\":\"rate\",\"deny\":21,\"window\":12.4,"
		    "\"top\":[{\"hash\":\"0123456789abcdef\",\"refused\":20}]}]}"),
		object("{\"breakers\":[{\"policy\":\"g\",\"upstream\":\"app\",\"endpoint\":null,"
		       "\"state\":\"open\","
		       "\"forced\":true,\"left\":60}]}")
	};
	char *text = render(&before, &now);

	(void)state;
	assert_non_null(strstr(text, "p       rate          0         10"));
	assert_non_null(strstr(text, "0123456789abcdef  p            20          12s"));
	assert_non_null(strstr(text, "g       app       all       open   by order"));
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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_is_known),
		TEST(test_rates_come_with_the_second_look),
		TEST(test_rates),
		TEST(test_counters_that_fell),
		TEST(test_keys_and_policies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
