/* Error replies: one row each. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "store/refusal.h"

static enum refusal_answer answer_of(const char *error)
{
	return refusal_of(slice_str(error))->answer;
}

/* Texts as Redis 7.0 has them. */
static void test_rows(void **state)
{
	(void)state;
	assert_int_equal(answer_of("NOSCRIPT No matching script. Please use EVAL."), REFUSAL_WHOLE);
	assert_int_equal(answer_of("MOVED 3999 127.0.0.1:6381"), REFUSAL_MOVED);
	assert_int_equal(answer_of("ASK 3999 127.0.0.1:6381"), REFUSAL_ASK);
	assert_int_equal(answer_of("TRYAGAIN Multiple keys request during rehashing of slot"),
			 REFUSAL_COMMAND);
	assert_int_equal(answer_of("CLUSTERDOWN Hash slot not served"), REFUSAL_LATER);
	assert_int_equal(answer_of("LOADING Redis is loading the dataset in memory"),
			 REFUSAL_LATER);
	assert_int_equal(answer_of("MASTERDOWN Link with MASTER is down"), REFUSAL_CLOSE);
	assert_int_equal(answer_of("BUSY Redis is busy running a script."), REFUSAL_LATER);
	assert_int_equal(answer_of("READONLY You can't write against a read only replica."),
			 REFUSAL_CLOSE);
	assert_int_equal(answer_of("OOM command not allowed when used memory > 'maxmemory'."),
			 REFUSAL_OPERATOR);
	assert_int_equal(answer_of("NOAUTH Authentication required."), REFUSAL_OPERATOR);
	assert_int_equal(answer_of("WRONGPASS invalid username-password pair"), REFUSAL_OPERATOR);
	assert_int_equal(answer_of("NOPERM this user has no permissions"), REFUSAL_OPERATOR);
	assert_int_equal(answer_of("EXECABORT Transaction discarded"), REFUSAL_COMMAND);
	assert_int_equal(answer_of("ERR unknown command"), REFUSAL_COMMAND);
	assert_int_equal(answer_of("ERR The user executing the script can't run this command or "
				   "subcommand script: 0c, on @user_script:3."),
			 REFUSAL_OPERATOR);
	assert_int_equal(answer_of("ERR Error running script (call to f_0c): @user_script:3: "
				   "@user_script: 3: -OOM command not allowed"),
			 REFUSAL_OPERATOR);
	assert_int_equal(answer_of("ERR Error running script: @user_script:3: -MOVED 1 a:1"),
			 REFUSAL_COMMAND); /* it ran */
	assert_int_equal(answer_of(""), REFUSAL_COMMAND);
	assert_null(refusal_of(slice_str("MOVEDX 1 a:1"))->word);
	for (unsigned i = 0; i < refusal_count(); i++)
		assert_int_equal(refusal_index(refusal_at(i)), i);
}

static void test_bad_redirects(void **state)
{
	static const char *const bad[] = { "MOVED",           "MOVED 1",
					   "MOVED 16384 a:1", "MOVED x a:1",
					   "MOVED 1 a",       "MOVED 1 a:",
					   "MOVED 1 a:0",     "MOVED 1 a:65536",
					   "MOVED -1 a:1",    "MOVED 1 a:99999999",
					   "MOVED  a:1" };
	struct redirect r;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (redirect_parse(slice_str(bad[i]), &r))
			fail_msg("taken: %s", bad[i]);
}

static void test_redirects(void **state)
{
	struct redirect r;

	(void)state;
	assert_true(redirect_parse(slice_str("MOVED 3999 127.0.0.1:6381"), &r));
	assert_int_equal(r.slot, 3999);
	assert_string_equal(r.host, "127.0.0.1");
	assert_int_equal(r.port, 6381);
	assert_true(redirect_parse(slice_str("ASK 16383 2001:db8::1:7000"), &r));
	assert_string_equal(r.host, "2001:db8::1");
	assert_true(redirect_parse(slice_str("MOVED 0 :7000"), &r));
	assert_string_equal(r.host, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_bad_redirects),
		cmocka_unit_test(test_redirects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
