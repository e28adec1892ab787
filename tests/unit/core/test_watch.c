/* test_watch.c - what counts as a change of the file, and when it is looked for. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/watch.h"

#define START CLOCK_S

static char dir[64], path[96], other[96];

static void put(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "watch_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/weir.yaml", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	put(path, "a");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(other);
	return rmdir(dir);
}

static void test_nothing_changed(void **state)
{
	struct watch w;

	(void)state;
	watch_init(&w, path, START);
	assert_true(w.fd >= 0);
	assert_true(w.look_ns == START + WATCH_SLOW_MS * CLOCK_MS);
	watch_on_event(&w, START); /* there is none */
	assert_true(w.look_ns == START + WATCH_SLOW_MS * CLOCK_MS);
	assert_false(watch_look(&w, w.look_ns));
	put(other, "x");
	watch_on_event(&w, START);
	assert_true(w.look_ns == START + WATCH_SETTLE_MS * CLOCK_MS);
	assert_false(watch_look(&w, w.look_ns));
	watch_fini(&w);
}

static void test_changes(void **state)
{
	struct watch w;

	(void)state;
	watch_init(&w, path, START);
	put(path, "longer");
	watch_on_event(&w, START);
	assert_true(w.look_ns == START + WATCH_SETTLE_MS * CLOCK_MS);
	assert_true(watch_look(&w, w.look_ns));
	assert_false(watch_look(&w, w.look_ns));
	put(other, "longer");
	assert_int_equal(rename(other, path), 0);
	assert_true(watch_look(&w, w.look_ns));
	assert_int_equal(unlink(path), 0);
	assert_false(watch_look(&w, w.look_ns)); /* away for a moment */
	put(path, "back again");
	assert_true(watch_look(&w, w.look_ns));
	watch_fini(&w);
}

/* Others matter too, as long as they are named. */
static void test_other_files(void **state)
{
	const char *const named[] = { other };
	struct watch w;

	(void)state;
	put(other, "a");
	watch_init(&w, path, START);
	put(other, "longer");
	assert_false(watch_look(&w, START));
	watch_follow(&w, named, 1);
	assert_false(watch_look(&w, START));
	put(other, "longer still");
	watch_follow(&w, named, 1); /* a reload meanwhile takes nothing away */
	assert_true(watch_look(&w, START));
	assert_false(watch_look(&w, START));
	watch_follow(&w, NULL, 0);
	put(other, "once more, longer");
	assert_false(watch_look(&w, START));
	watch_fini(&w);
}

/* Somebody else writes to the folder without end: the look is put off, but not for ever. */
static void test_a_busy_folder(void **state)
{
	uint64_t now = START;
	struct watch w;

	(void)state;
	watch_init(&w, path, now);
	put(path, "longer");
	for (int i = 0; i < 100 && now < w.look_ns; i++, now += WATCH_SETTLE_MS * CLOCK_MS / 2) {
		put(other, "x");
		watch_on_event(&w, now);
	}
	assert_true(now >= w.look_ns);
	assert_true(now <= START + WATCH_LATEST_MS * CLOCK_MS);
	assert_true(watch_look(&w, now));
	watch_fini(&w);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_changed),
		TEST(test_changes),
		TEST(test_other_files),
		TEST(test_a_busy_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
