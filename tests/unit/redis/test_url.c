/* Urls of Redis servers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "redis/url.h"

static void test_bad_ones(void **state)
{
	static const char *const bad[] = {
		"",
		"redis:6379",
		"http://redis:6379",
		"redis://",
		"redis://:6379",
		"redis://host:0",
		"redis://host:65536",
		"redis://host:x",
		"redis://host:",
		"redis://host/x",
		"redis://host/65536",
		"redis://host/0/1",
		"redis://user@host",
		"redis://user:@host",
		"redis://:%zz@host",
		"redis://:%00@host",
		"redis://:a%4@host",
		"redis://ho st",
		"redis://[::1",
		"redis://[::1]x:1",
		"redis://::1",
		"unix:redis.sock",
		"unix:",
		"unix:/a?b=1",
		"unix:/a?db=x",
		"unix:user@/a",
	};
	struct redis_url u;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (redis_url_parse(slice_str(bad[i]), &u) == NULL)
			fail_msg("taken: %s", bad[i]);
}

static struct redis_url good(const char *text)
{
	struct redis_url u;
	const char *wrong = redis_url_parse(slice_str(text), &u);

	if (wrong != NULL)
		fail_msg("%s: %s", text, wrong);
	return u;
}

static void test_good_ones(void **state)
{
	struct redis_url u = good("redis://redis");
	char text[REDIS_PLACE_TEXT_MAX];

	(void)state;
	assert_string_equal(u.place.host, "redis");
	assert_int_equal(u.place.port, 6379);
	assert_false(u.tls);
	assert_string_equal(u.password, "");
	u = good("rediss://side:p%40ss:w%2Frd@redis.example.com:6380/12");
	assert_true(u.tls);
	assert_string_equal(u.user, "side");
	assert_string_equal(u.password, "p@ss:w/rd");
	assert_int_equal(u.place.port, 6380);
	assert_int_equal(u.database, 12);
	u = good("REDIS://:pw@[2001:db8::1]:7000/");
	assert_string_equal(u.user, "");
	assert_string_equal(u.password, "pw");
	assert_string_equal(u.place.host, "2001:db8::1");
	redis_place_format(&u.place, text);
	assert_string_equal(text, "[2001:db8::1]:7000");
	u = good("redis://:a@b@host");
	assert_string_equal(u.password, "a@b");
}

static void test_unix_sockets(void **state)
{
	struct redis_url u = good("unix:/run/redis.sock"), v;
	char text[REDIS_PLACE_TEXT_MAX];

	(void)state;
	assert_true(u.place.is_unix);
	redis_place_format(&u.place, text);
	assert_string_equal(text, "unix:/run/redis.sock");
	v = good("unix:side:pw@/run/redis.sock?db=4");
	assert_string_equal(v.user, "side");
	assert_string_equal(v.password, "pw");
	assert_int_equal(v.database, 4);
	assert_true(redis_place_eq(&u.place, &v.place));
	v = good("redis://run");
	assert_false(redis_place_eq(&u.place, &v.place));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_ones),
		cmocka_unit_test(test_good_ones),
		cmocka_unit_test(test_unix_sockets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
