/* test_pid_file.c - orders to the process whose number a file holds. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pid_file.h"

static const struct pid_order orders[] = {
	{ "stop", SIGUSR1, SIGUSR2 },
	{ "look", SIGUSR1, 0 },
	{ NULL, 0, 0 },
};

static char path[] = "/tmp/weir-pid-XXXXXX";

static enum pid_answer tell(const char *text, const char *order, struct pid_told *t)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	return pid_file_tell(path, pid_order_find(orders, order), t);
}

static void test_what_is_no_order(void **state)
{
	(void)state;
	assert_null(pid_order_find(orders, "halt"));
	assert_null(pid_order_find(orders, ""));
}

static void test_no_file(void **state)
{
	struct pid_told t;

	(void)state;
	assert_int_equal(pid_file_tell("/nonexistent/x", orders, &t), PID_NO_FILE);
	assert_int_equal(errno, ENOENT);
}

/* Nor is anybody told who has no number of his own: kill(2) takes 0 and -1 for many. */
static void test_what_is_no_number(void **state)
{
	static const char *const texts[] = {
		"",           "\n", "x",  "-1", "0",
		"0\n",        " 7", "7 ", "7x", "99999999999999999999999999999",
		"4294967296",
	};
	struct pid_told t;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(tell(texts[i], "stop", &t), PID_NO_NUMBER);
		assert_memory_equal(t.text, texts[i], strcspn(texts[i], "\n"));
	}
}

static void test_nobody_is_there(void **state)
{
	struct pid_told t;

	(void)state;
	assert_int_equal(tell("2147483647\n", "stop", &t), PID_NOT_TOLD);
	assert_int_equal(errno, ESRCH);
	assert_int_equal(t.pid, 2147483647);
	assert_int_equal(t.signal, SIGUSR1);
}

static int heard[3];
static unsigned n_heard;

static void on_signal(int signal)
{
	heard[n_heard++] = signal;
}

static void test_the_signals(void **state)
{
	struct pid_told t;
	char text[32];

	(void)state;
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	snprintf(text, sizeof(text), "%d\r\n", (int)getpid());
	assert_int_equal(tell(text, "look", &t), PID_TOLD);
	assert_int_equal(tell(text, "stop", &t), PID_TOLD);
	assert_int_equal(n_heard, 3);
	assert_int_equal(heard[0] + heard[1] + heard[2], 2 * SIGUSR1 + SIGUSR2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_order),  cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_what_is_no_number), cmocka_unit_test(test_nobody_is_there),
		cmocka_unit_test(test_the_signals),
	};
	int failed, fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
