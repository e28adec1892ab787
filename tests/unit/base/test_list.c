/* Lists: order, removal while walking, and unlinked nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/list.h"

struct item {
	int number;
	struct list link;
};

static int number_of(const struct list *n)
{
	return LIST_ENTRY(n, const struct item, link)->number;
}

static void test_an_unlinked_node(void **state)
{
	struct item a;

	(void)state;
	list_init(&a.link);
	assert_true(list_empty(&a.link));
	list_remove(&a.link);
	list_remove(&a.link);
	assert_true(list_empty(&a.link));
}

static void test_order(void **state)
{
	struct list head;
	struct item items[4] = {
		{ .number = 0 }, { .number = 1 }, { .number = 2 }, { .number = 3 }
	};
	int expected = 0;

	(void)state;
	list_init(&head);
	assert_null(list_pop_front(&head));
	list_push_back(&head, &items[1].link);
	list_push_back(&head, &items[2].link);
	list_push_front(&head, &items[0].link);
	list_push_back(&head, &items[3].link);
	LIST_EACH(n, &head)
	{
		assert_int_equal(number_of(n), expected);
		expected++;
	}
	for (int i = 0; i < 4; i++) {
		struct list *n = list_pop_front(&head);

		assert_int_equal(number_of(n), i);
		assert_true(list_empty(n));
	}
	assert_true(list_empty(&head));
}

static void test_removal_while_walking(void **state)
{
	struct list head;
	struct item items[10];
	int left = 0;

	(void)state;
	list_init(&head);
	for (int i = 0; i < 10; i++) {
		items[i].number = i;
		list_push_back(&head, &items[i].link);
	}
	LIST_EACH(n, &head)
	{
		if (number_of(n) % 2 == 0)
			list_remove(n);
	}
	LIST_EACH(n, &head)
	{
		assert_int_equal(number_of(n), 2 * left + 1);
		left++;
	}
	assert_int_equal(left, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_unlinked_node),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_removal_while_walking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
