/* reason.def: what every row must hold, so that nobody needs to look at single rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/reason.h"

static void test_every_row(void **state)
{
	(void)state;
	for (unsigned i = 0; i < REASON_COUNT; i++) {
		const struct reason *r = &reason_table[i];

		assert_int_equal(r->index, i);
		assert_true(r->text[0] != '\0');
		assert_int_equal(strspn(r->token, "abcdefghijklmnopqrstuvwxyz_"), strlen(r->token));
		/* an answer of ours has a status, nothing else does */
		assert_int_equal(r->status != 0, (r->flags & R_LOCAL) != 0);
		assert_true(r->status == 0 ||
			    (r->status == 204 || (r->status >= 400 && r->status < 600)));
		/* what may be tried again was never sent; what says when to come back is 429 or 503
		 */
		if (r->flags & R_SHED)
			assert_true(r->status == 429 || r->status == 503);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(r->token, reason_table[k].token);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_ptr_equal(reason_ok, &reason_table[REASON_ok]);
	assert_string_equal(reason_rate_limited->token, "rate_limited");
	assert_int_equal(reason_rate_limited->status, 429);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_row),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
