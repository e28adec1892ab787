/* The cache of tokens: what it holds, for how long, and who frees it. */
#include "forge.h"

#include <stdlib.h>

#include "auth/cache.h"

static struct token *make(uint64_t until_ns)
{
	struct token *t = calloc(1, sizeof(*t));

	t->refs = 1;
	t->until_ns = until_ns;
	t->bytes = sizeof(*t);
	return t;
}

static const uint8_t *digest(uint32_t set, uint8_t n)
{
	static uint8_t d[CACHE_DIGEST_BYTES];

	memcpy(d, &set, sizeof(set));
	d[31] = n;
	return d;
}

static bool has(struct token_cache *c, uint32_t set, uint8_t n, uint64_t now)
{
	struct token *t = token_cache_get(c, digest(set, n), now);

	token_put(t);
	return t != NULL;
}

static void add(struct token_cache *c, uint32_t set, uint8_t n, uint64_t until_ns)
{
	struct token *t = make(until_ns);

	token_cache_add(c, digest(set, n), t);
	token_put(t);
}

static void test_none(void **state)
{
	struct token_cache *c = token_cache_new(0);

	(void)state;
	assert_null(c);
	add(c, 0, 1, 100);
	assert_false(has(c, 0, 1, 1));
	token_cache_free(c);
}

static void test_it_ends_with_its_token(void **state)
{
	struct token_cache *c = token_cache_new(16);

	(void)state;
	add(c, 3, 1, 100);
	assert_true(has(c, 3, 1, 99));
	assert_false(has(c, 3, 2, 99));
	assert_false(has(c, 3, 1, 100));
	assert_false(has(c, 3, 1, 99)); /* it was let go */
	token_cache_free(c);
}

static void test_the_least_used_gives_way(void **state)
{
	struct token_cache *c = token_cache_new(16);

	(void)state;
	for (uint8_t i = 0; i < 4; i++)
		add(c, 1, i, 100);
	add(c, 2, 0, 100);
	assert_true(has(c, 1, 0, 1));
	add(c, 1, 4, 100);
	assert_true(has(c, 1, 0, 1));
	assert_false(has(c, 1, 1, 1));
	assert_true(has(c, 1, 4, 1));
	assert_true(has(c, 2, 0, 1));
	token_cache_free(c);
}

static void test_calls_hold_what_has_given_way(void **state)
{
	struct token_cache *c = token_cache_new(4);
	struct token *t;

	(void)state;
	add(c, 0, 0, 100);
	t = token_cache_get(c, digest(0, 0), 1);
	for (uint8_t i = 1; i < 9; i++)
		add(c, 0, i, 100);
	assert_int_equal(t->refs, 1);
	token_put(t);
	token_cache_free(c);
}

static void test_large_ones_are_not_kept(void **state)
{
	struct token_cache *c = token_cache_new(4);
	struct token *t = make(100);

	(void)state;
	t->bytes = CACHE_TOKEN_MAX + 1;
	token_cache_add(c, digest(0, 0), t);
	token_put(t);
	assert_false(has(c, 0, 0, 1));
	token_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_it_ends_with_its_token),
		cmocka_unit_test(test_the_least_used_gives_way),
		cmocka_unit_test(test_calls_hold_what_has_given_way),
		cmocka_unit_test(test_large_ones_are_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
