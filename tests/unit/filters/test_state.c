/* Objects with an identity. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/state.h"

static unsigned made, destroyed;
static bool no_memory;

static void *make(void)
{
	made++;
	return no_memory ? NULL : malloc(1);
}

static void destroy(void *object)
{
	destroyed++;
	free(object);
}

static const struct state_kind kind = { .make = make, .destroy = destroy };
static const struct state_kind other_kind = { .make = make, .destroy = destroy };

static struct table_id id_of(const char *policy, const char *key)
{
	return (struct table_id){ .policy = policy, .kind = "k", .key = key, .store = "local" };
}

static void test_found_again(void **state)
{
	struct table_registry *r = table_registry_new();
	struct table_id id = id_of("a", "x");
	void *first = state_get(r, &id, &kind), *second = state_get(r, &id, &kind);

	(void)state;
	assert_non_null(first);
	assert_ptr_equal(first, second);
	assert_int_equal(made, 1);
	state_put(r, first);
	assert_int_equal(destroyed, 0);
	state_put(r, second);
	assert_int_equal(destroyed, 1);
	table_registry_free(r);
}

static void test_told_apart(void **state)
{
	struct table_registry *r = table_registry_new();
	struct table_id id[] = { id_of("a", "x"), id_of("a", "y"), id_of("ak", "x"),
				 id_of("a", "") };
	void *object[5];

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		object[i] = state_get(r, &id[i], &kind);
		for (size_t j = 0; j < i; j++)
			assert_ptr_not_equal(object[i], object[j]);
	}
	object[4] = state_get(r, &id[0], &other_kind);
	assert_ptr_not_equal(object[4], object[0]);
	for (size_t i = 0; i < 5; i++)
		state_put(r, object[i]);
	state_put(r, NULL);
	table_registry_free(r);
}

static void test_out_of_memory(void **state)
{
	struct table_registry *r = table_registry_new();
	struct table_id id = id_of("a", "x");

	(void)state;
	no_memory = true;
	assert_null(state_get(r, &id, &kind));
	no_memory = false;
	table_registry_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_again),
		cmocka_unit_test(test_told_apart),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
