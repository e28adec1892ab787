/* What answers tell of limits. */
#include "policies.h"

#define S UINT64_C(1000000000)

static struct table_registry *tables;

static int setup(void **state)
{
	(void)state;
	tables = policies_tables();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	table_registry_free(tables);
	return 0;
}

/* A visit at the moment of its answer. */
struct answer {
	struct visit v;
	struct head head;
	struct verdict verdict;
};

static void answer_init(struct answer *a, const struct policies *p, const char *client,
			uint64_t now)
{
	visit_init(&a->v, client, now);
	head_init(&a->head, &a->v.arena);
	a->verdict = visit_admit(&a->v, p);
}

static void upstream_says(struct answer *a, const char *name, const char *value)
{
	assert_true(head_add_name(&a->head, slice_str(name), slice_str(value)));
}

static void assert_field(const struct answer *a, const char *name, const char *value)
{
	const struct header *h = head_find_name(&a->head, slice_str(name));

	if (value == NULL) {
		assert_null(h);
		return;
	}
	assert_non_null(h);
	if (!slice_is(h->value, value))
		fail_msg("%s: %.*s, expected %s", name, SLICE_FMT(h->value), value);
}

static unsigned count_fields(const struct answer *a)
{
	unsigned n = 0;

	for (uint16_t i = 0; i < a->head.n; i++)
		n += a->head.fields[i].id != F_REMOVED;
	return n;
}

static void assert_x_fields(const struct answer *a, const char *limit, const char *remaining,
			    const char *reset)
{
	assert_field(a, "X-RateLimit-Limit", limit);
	assert_field(a, "X-RateLimit-Remaining", remaining);
	assert_field(a, "X-RateLimit-Reset", reset);
}

static void test_a_refusal(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(&p, tables,
		      "policies: { per-client: { rate: 100/m, burst: 150, key: client.ip } }");
	visits_passed(&p, "10.0.0.1", S);
	answer_init(&a, &p, "10.0.0.1", S);
	assert_int_equal(a.verdict.kind, V_DENY);
	chain_respond(&a.v.call, &a.head);
	assert_field(&a, "RateLimit-Policy", "\"per-client\";q=150;w=90");
	assert_field(&a, "RateLimit", "\"per-client\";r=0;t=1"); /* not after Retry-After */
	assert_x_fields(&a, "150", "0", "1");
	visit_done(&a.v);
	policies_close(&p);
}

static void test_an_admitted_call_tells_nothing(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(&p, tables, "policies: { a: { rate: 5/s } }");
	answer_init(&a, &p, NULL, S);
	chain_respond(&a.v.call, &a.head);
	assert_int_equal(count_fields(&a), 0);
	visit_done(&a.v);
	policies_close(&p);
}

static void test_an_admitted_call_with_headers(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(&p, tables,
		      "policies: { a: { rate: 2/m, burst: 5, headers: true }, b: { rate: 1/s, "
		      "shadow: true, headers: true } }");
	answer_init(&a, &p, NULL, S);
	chain_respond(&a.v.call, &a.head);
	assert_field(&a, "RateLimit-Policy", "\"a\";q=5;w=150");
	assert_field(&a, "RateLimit", "\"a\";r=4;t=30");
	assert_x_fields(&a, "5", "4", "30");
	assert_int_equal(count_fields(&a), 5);
	visit_done(&a.v);
	policies_close(&p);
}

static void test_several_policies_make_one_list(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(&p, tables,
		      "policies:\n"
		      "  a: { rate: 9/s, headers: true }\n"
		      "  b: { rate: 3/s, headers: true }\n"
		      "  c: { rate: 5/s, headers: true }\n"
		      "  d: { rate: 1/s }\n");
	answer_init(&a, &p, NULL, S);
	chain_respond(&a.v.call, &a.head);
	assert_field(&a, "RateLimit-Policy", "\"a\";q=9;w=1, \"b\";q=3;w=1, \"c\";q=5;w=1");
	assert_field(&a, "RateLimit", "\"a\";r=8;t=1, \"b\";r=2;t=1, \"c\";r=4;t=1");
	assert_x_fields(&a, "3", "2", "1"); /* the nearest of those that tell */
	assert_int_equal(count_fields(&a), 5);
	visit_done(&a.v);
	policies_close(&p);
}

static void test_the_denier_and_one_that_let_it_in(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 9/s, headers: true }, b: { rate: 1/m }, c: { rate: 1/h } }");
	visit(&p, NULL, S);
	answer_init(&a, &p, NULL, S);
	assert_int_equal(a.verdict.ms, 3600000);
	chain_respond(&a.v.call, &a.head);
	/* a call that b denies has not paid a */
	assert_field(&a, "RateLimit", "\"a\";r=8;t=1, \"b\";r=0;t=60");
	assert_x_fields(&a, "1", "0", "60");
	visit_done(&a.v);
	policies_close(&p);
}

static void test_what_the_upstream_says_stays(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 9/s, headers: true }, b: { rate: 8/s, headers: true } }");
	answer_init(&a, &p, NULL, S);
	upstream_says(&a, "x-ratelimit-remaining", "77");
	upstream_says(&a, "x-ratelimit-limit-requests", "78");
	upstream_says(&a, "anthropic-ratelimit-requests-remaining", "79");
	upstream_says(&a, "RateLimit", "\"theirs\";r=1;t=2");
	chain_respond(&a.v.call, &a.head);
	assert_x_fields(&a, NULL, "77", NULL);
	assert_field(&a, "x-ratelimit-limit-requests", "78");
	assert_field(&a, "anthropic-ratelimit-requests-remaining", "79");
	assert_field(&a, "RateLimit", "\"a\";r=8;t=1, \"b\";r=7;t=1, \"theirs\";r=1;t=2");
	visit_done(&a.v);
	policies_close(&p);
}

static void test_an_override_tells_its_own_numbers(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 9/s, key: client.ip, headers: true, overrides: ["
	    "{ match: 10.0.0.1, rate: 30/m, burst: 7 }, { match: 10.0.0.2, rate: unlimited }] } }");
	answer_init(&a, &p, "10.0.0.1", S);
	chain_respond(&a.v.call, &a.head);
	assert_field(&a, "RateLimit-Policy", "\"a\";q=7;w=14");
	visit_done(&a.v);
	answer_init(&a, &p, "10.0.0.2", S);
	chain_respond(&a.v.call, &a.head);
	assert_int_equal(count_fields(&a), 0);
	visit_done(&a.v);
	policies_close(&p);
}

static void test_a_missing_key_has_no_numbers(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 9/s, key: header.x, missing: deny, headers: true } }");
	answer_init(&a, &p, NULL, S);
	assert_ptr_equal(a.verdict.why, reason_missing_key);
	chain_respond(&a.v.call, &a.head);
	assert_int_equal(count_fields(&a), 0);
	visit_done(&a.v);
	policies_close(&p);
}

static void test_names_are_structured_strings(void **state)
{
	struct policies p;
	struct answer a;

	(void)state;
	policies_open(&p, tables,
		      "policies: { \"a\\\"b\\\\c\\xe9\\n\": { rate: 1/s, headers: true } }");
	answer_init(&a, &p, NULL, S);
	chain_respond(&a.v.call, &a.head);
	assert_field(&a, "RateLimit", "\"a\\\"b\\\\c___\";r=0;t=1");
	visit_done(&a.v);
	policies_close(&p);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refusal),
		cmocka_unit_test(test_an_admitted_call_tells_nothing),
		cmocka_unit_test(test_an_admitted_call_with_headers),
		cmocka_unit_test(test_several_policies_make_one_list),
		cmocka_unit_test(test_the_denier_and_one_that_let_it_in),
		cmocka_unit_test(test_what_the_upstream_says_stays),
		cmocka_unit_test(test_an_override_tells_its_own_numbers),
		cmocka_unit_test(test_a_missing_key_has_no_numbers),
		cmocka_unit_test(test_names_are_structured_strings),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
