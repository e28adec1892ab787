/* test_tcp.c - connects that fail at once, and whose fault it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>

#include "io/loop.h"
#include "io/transport.h"

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_true(addr_parse(slice_str(text), &a));
	return a;
}

static void of_what_there_is_only_so_much(void **state)
{
	static const int wants[] = { EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL };
	static const int others[] = { 0, EAGAIN, ECONNREFUSED, ENETUNREACH, ENOENT, EACCES };

	(void)state;
	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++)
		assert_true(tcp_is_want(wants[i]));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(tcp_is_want(others[i]));
}

static void check_fails(struct loop *loop, const char *to, int error, bool want)
{
	struct addr addr = addr_of(to);

	loop->connect_want = !want;
	assert_null(tcp_connect(loop, &addr));
	assert_int_equal(loop->connect_error, error);
	assert_int_equal(loop->connect_want, want);
}

static void whose_fault_it_is(void **state)
{
	struct addr nowhere = addr_of("192.0.2.1:0");
	struct loop loop;

	(void)state;
	assert_true(loop_init(&loop, true));
	check_fails(&loop, "unix:/nonexistent/socket", ENOENT, false);
	loop.connect_bound = 1;
	check_fails(&loop, "127.0.0.1:1", EMFILE, true);
	loop.connect_bound = 0;
	loop.source = &nowhere; /* a mistake: it does not pass */
	check_fails(&loop, "127.0.0.1:1", EADDRNOTAVAIL, false);
	loop.source = NULL;
	loop_fini(&loop);
}

/* IPv6 addresses of a machine that has none: that its ports are used up is said by the same errno. */
static void where_it_cannot_come_from(void **state)
{
	struct addr six = addr_of("[::1]:1");
	struct loop loop;

	(void)state;
	if (unshare(CLONE_NEWNET) != 0) /* in which the loopback interface is down */
		skip();
	assert_true(loop_init(&loop, true));
	loop.connect_want = true;
	assert_null(tcp_connect(&loop, &six));
	assert_true(loop.connect_error == EADDRNOTAVAIL || loop.connect_error == ENETUNREACH);
	assert_false(loop.connect_want);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_what_there_is_only_so_much),
		cmocka_unit_test(whose_fault_it_is),
		cmocka_unit_test(where_it_cannot_come_from), /* the last: it leaves the network */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
