/* Arenas: alignment, large requests, recycling, and sizes nobody can have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"

static void test_impossible_sizes(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, NULL);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 7));
	assert_null(arena_alloc(&a, SIZE_MAX / 2 + 1));
	assert_non_null(arena_alloc(&a, 1)); /* still usable */
	arena_fini(&a);
}

static void test_empty(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, NULL);
	arena_fini(&a);
	arena_fini(&a);
	assert_non_null(arena_alloc(&a, 0));
	arena_fini(&a);
}

static void test_alignment_and_independence(void **state)
{
	struct arena a;
	unsigned char *p[500];

	(void)state;
	arena_init(&a, NULL);
	for (size_t i = 0; i < 500; i++) {
		p[i] = arena_alloc(&a, i);
		assert_int_equal((uintptr_t)p[i] % 8, 0);
		memset(p[i], (int)(i % 256), i);
	}
	for (size_t i = 0; i < 500; i++)
		for (size_t k = 0; k < i; k++)
			assert_int_equal(p[i][k], i % 256);
	arena_fini(&a);
	assert_int_equal(a.bytes, 0);
}

static void test_a_large_request_leaves_the_block_in_use(void **state)
{
	struct arena a;
	char *first, *second;

	(void)state;
	arena_init(&a, NULL);
	first = arena_alloc(&a, 8);
	memset(arena_alloc(&a, 100000), 1, 100000);
	second = arena_alloc(&a, 8);
	assert_ptr_equal(second, first + 8);
	assert_int_equal(a.bytes, ARENA_BLOCK_BYTES + 100000 + 16);
	arena_fini(&a);
	memset(arena_alloc(&a, 10000), 1, 10000); /* as the first of all */
	memset(arena_alloc(&a, 64), 1, 64);
	arena_fini(&a);
}

static void test_pool_recycles_up_to_its_bound(void **state)
{
	struct arena_pool pool;
	struct arena a;

	(void)state;
	arena_pool_init(&pool, 2);
	arena_init(&a, &pool);
	for (int i = 0; i < 5; i++)
		arena_alloc(&a, 4000);
	arena_alloc(&a, 9000); /* too large for the pool */
	arena_fini(&a);
	assert_int_equal(pool.count, 2);
	arena_alloc(&a, 10);
	assert_int_equal(pool.count, 1);
	arena_fini(&a);
	assert_int_equal(pool.count, 2);
	arena_pool_fini(&pool);
	assert_int_equal(pool.count, 0);
}

static void test_recycled_memory_is_zeroed_on_demand(void **state)
{
	struct arena_pool pool;
	struct arena a;
	unsigned char *p;

	(void)state;
	arena_pool_init(&pool, 1);
	arena_init(&a, &pool);
	memset(arena_alloc(&a, 1000), 0xAA, 1000);
	arena_fini(&a);
	p = arena_zalloc(&a, 1000);
	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(p[i], 0);
	arena_fini(&a);
	arena_pool_fini(&pool);
}

static void test_text(void **state)
{
	struct arena a;
	struct slice s;

	(void)state;
	arena_init(&a, NULL);
	s = arena_copy(&a, slice_of("ab\0cd", 5));
	assert_int_equal(s.n, 5);
	assert_memory_equal(s.p, "ab\0cd", 6);
	assert_string_equal(arena_copy(&a, slice_of(NULL, 0)).p, "");
	assert_string_equal(arena_strdup(&a, "weir"), "weir");
	assert_string_equal(arena_printf(&a, "%s-%05d", "x", 42), "x-00042");
	assert_int_equal(strlen(arena_printf(&a, "%9000d", 1)), 9000);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_impossible_sizes),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_alignment_and_independence),
		cmocka_unit_test(test_a_large_request_leaves_the_block_in_use),
		cmocka_unit_test(test_pool_recycles_up_to_its_bound),
		cmocka_unit_test(test_recycled_memory_is_zeroed_on_demand),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
