/* test_listener.c - a listener that cannot be watched: nothing of it is left to close again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/listener.h"

static void on_accept(struct listener *l, int fd, const struct addr *peer)
{
	(void)l, (void)fd, (void)peer;
	fail();
}

/* A file is always ready: the kernel watches none (epoll_ctl(2), EPERM). */
static void test_nothing_is_left_of_one_that_failed(void **state)
{
	char path[] = "/tmp/weir-listener-XXXXXX";
	int fd = mkstemp(path);
	struct loop loop;
	struct listener l;

	(void)state;
	assert_true(fd >= 0);
	unlink(path);
	assert_true(loop_init(&loop, true));
	assert_false(listener_open(&l, &loop, fd, on_accept, NULL));
	assert_null(l.event);
	assert_int_equal(l.fd, -1);
	assert_int_equal(close(fd), -1);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_left_of_one_that_failed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
