/* What calls leave behind, and how readers sum it up. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/stats.h"

static struct head req = { .method_id = METHOD_GET };

static struct call_record record_of(unsigned status, const struct reason *why)
{
	return (struct call_record){ .req = &req,
				     .status = (uint16_t)status,
				     .why = why,
				     .start_ns = 1000,
				     .end_ns = 1000 + 4000000,
				     .head_sent_ns = 1000 + 2000000,
				     .overhead_ns = 30000,
				     .bytes_in = 10,
				     .bytes_out = 200 };
}

struct tally {
	unsigned rows;
	uint64_t n, other;
	unsigned status;
	enum method_id method;
	char policy[32];
	const struct reason *why;
};

static void on_request(void *arg, enum method_id method, unsigned status, uint64_t n)
{
	struct tally *t = arg;

	t->rows++;
	t->n += n;
	t->method = method;
	t->status = status;
	if (status == STATUS_OTHER)
		t->other += n;
}

static void on_rejection(void *arg, const char *policy, const struct reason *why, uint64_t n)
{
	struct tally *t = arg;

	t->rows++;
	t->n += n;
	t->why = why;
	snprintf(t->policy, sizeof(t->policy), "%s", policy);
	if (why == NULL)
		t->other += n;
}

static void on_name(void *arg, const struct route_stats *r)
{
	struct tally *t = arg;

	t->rows++;
	snprintf(t->policy, sizeof(t->policy), "%s", route_stats_name(r));
}

static void on_upstream(void *arg, const char *name, const struct stat_sum *sum)
{
	struct tally *t = arg;

	t->rows++;
	t->n += sum->n;
	if (strcmp(name, "_OTHER") == 0)
		t->other += sum->n;
}

static void test_a_call_is_counted_once(void **state)
{
	struct stats *s = stats_new(2);
	struct route_stats *r = stats_route_get(s, "app");
	struct call_record record = record_of(200, reason_ok);
	struct tally t = { 0 };
	struct stat_sum sum;

	(void)state;
	stats_call_begin(r, 1);
	assert_int_equal(route_stats_read(r, ROUTE_IN_FLIGHT), 1);
	stats_call_end(r, 1, &record);
	assert_int_equal(route_stats_read(r, ROUTE_IN_FLIGHT), 0);
	assert_int_equal(route_stats_read(r, ROUTE_BYTES_IN), 10);
	assert_int_equal(route_stats_read(r, ROUTE_BYTES_OUT), 200);
	assert_int_equal(route_stats_read(r, ROUTE_ABORTS), 0);
	route_stats_requests(r, on_request, &t);
	assert_int_equal(t.rows, 1);
	assert_int_equal(t.method, METHOD_GET);
	assert_int_equal(t.status, 200);
	route_stats_duration(r, &sum);
	assert_int_equal(sum.sum_ns, 4000000);
	route_stats_start(r, &sum);
	assert_int_equal(sum.sum_ns, 2000000);
	stats_overhead(s, &sum);
	assert_int_equal(sum.sum_ns, 30000);
	t = (struct tally){ 0 };
	route_stats_rejections(r, on_rejection, &t);
	assert_int_equal(t.rows, 0);
	stats_route_put(s, r);
	stats_free(s);
}

static void test_nothing_sent_and_aborted(void **state)
{
	struct stats *s = stats_new(1);
	struct route_stats *r = stats_route_get(s, "app");
	struct call_record record = record_of(0, reason_client_abort);
	struct tally t = { 0 };
	struct stat_sum sum;

	(void)state;
	record.head_sent_ns = 0;
	record.overhead_ns = UINT64_MAX;
	record.end_ns = 5; /* before its start: counts as no time */
	record.req = NULL;
	stats_call_begin(r, 0);
	stats_call_end(r, 0, &record);
	assert_int_equal(route_stats_read(r, ROUTE_ABORTS), 1);
	route_stats_start(r, &sum);
	assert_int_equal(sum.n, 0);
	stats_overhead(s, &sum);
	assert_int_equal(sum.n, 0);
	route_stats_duration(r, &sum);
	assert_int_equal(sum.n, 1);
	assert_int_equal(sum.sum_ns, 0);
	route_stats_requests(r, on_request, &t);
	assert_int_equal(t.method, METHOD_OTHER);
	assert_int_equal(t.status, 0);
	stats_free(s);
}

static void test_codes_are_bounded(void **state)
{
	struct stats *s = stats_new(2);
	struct route_stats *r = stats_route_get(s, "app");
	struct tally t = { 0 };
	uint64_t calls = 0;

	(void)state;
	for (unsigned status = 100; status < 1200; status++) {
		struct call_record record = record_of(status, reason_ok);

		for (unsigned w = 0; w < 2; w++, calls++)
			stats_call_end(r, w, &record);
	}
	route_stats_requests(r, on_request, &t);
	assert_true(t.rows > 32);
	assert_true(t.rows <= 65);
	assert_true(t.other > 0);
	assert_int_equal(t.n, calls);
	stats_free(s);
}

static void test_rejections_own_their_names(void **state)
{
	struct stats *s = stats_new(2);
	struct route_stats *r = stats_route_get(s, "app");
	struct call_record record = record_of(429, reason_rate_limited);
	char name[16] = "per-client";
	struct tally t = { 0 };

	(void)state;
	record.denied = true;
	record.limit.policy = name;
	stats_call_end(r, 0, &record);
	snprintf(name, sizeof(name),
		 "per-key"); /* the same memory, another policy, after a reload */
	stats_call_end(r, 1, &record);
	route_stats_rejections(r, on_rejection, &t);
	assert_int_equal(t.rows, 2);
	assert_string_equal(t.policy, "per-key");
	assert_ptr_equal(t.why, reason_rate_limited);
	snprintf(name, sizeof(name), "per-client");
	stats_call_end(r, 1, &record);
	t = (struct tally){ 0 };
	route_stats_rejections(r, on_rejection, &t);
	assert_int_equal(t.rows, 2);
	assert_int_equal(t.n, 3);
	stats_free(s);
}

static void test_rejections_are_bounded(void **state)
{
	struct stats *s = stats_new(1);
	struct route_stats *r = stats_route_get(s, "app");
	struct tally t = { 0 };
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		struct call_record record = record_of(429, reason_rate_limited);

		snprintf(name, sizeof(name), "policy-%u", i);
		record.denied = true;
		record.limit.policy = name;
		stats_call_end(r, 0, &record);
	}
	route_stats_rejections(r, on_rejection, &t);
	assert_int_equal(t.n, 500);
	assert_true(t.rows <= 33);
	assert_string_equal(t.policy, "_OTHER");
	assert_true(t.other > 400);
	stats_free(s);
}

static void test_what_is_a_refusal(void **state)
{
	static const struct {
		enum reason_index why;
		bool denied, refusal;
	} rows[] = {
		{ REASON_ok, false, false },
		{ REASON_rate_limited, true, true },
		{ REASON_missing_key, true, true },
		{ REASON_no_route, false, true },
		{ REASON_bad_request, false, true },
		{ REASON_bad_version, false, true },
		{ REASON_no_endpoint, false, true },
		{ REASON_draining, false, true },
		{ REASON_connect_failed, false, false },
		{ REASON_total_timeout, false, false },
		{ REASON_client_abort, false, false },
		{ REASON_client_stalled, false, false },
		{ REASON_cut, false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct call_record record = record_of(500, &reason_table[rows[i].why]);

		record.denied = rows[i].denied;
		assert_int_equal(call_record_is_refusal(&record), rows[i].refusal);
	}
}

static void test_identity_outlives_a_reload(void **state)
{
	struct stats *s = stats_new(1);
	struct route_stats *old = stats_route_get(s, "app"), *next;
	struct call_record record = record_of(200, reason_ok);
	struct tally t = { 0 };

	(void)state;
	stats_call_end(old, 0, &record);
	next = stats_route_get(s, "app");
	assert_ptr_equal(old, next);
	stats_route_put(s, old);
	stats_each_route(s, on_name, &t);
	assert_int_equal(t.rows, 1);
	assert_int_equal(route_stats_read(next, ROUTE_BYTES_IN), 10);
	stats_route_put(s, next);
	t = (struct tally){ 0 };
	stats_each_route(s, on_name, &t);
	assert_int_equal(t.rows, 0);
	stats_free(s);
}

static void test_listener(void **state)
{
	struct stats *s = stats_new(3);
	struct listener_stats *l = stats_listener_get(s, "127.0.0.1:80");

	(void)state;
	for (unsigned w = 0; w < 3; w++)
		stats_conn_open(l, w);
	stats_conn_close(l, 1);
	stats_conn_refused(l, 2, reason_overload);
	assert_string_equal(listener_stats_name(l), "127.0.0.1:80");
	assert_int_equal(listener_stats_active(l), 2);
	assert_int_equal(listener_stats_total(l), 3);
	assert_int_equal(listener_stats_refused(l, reason_overload), 1);
	assert_int_equal(listener_stats_refused(l, reason_draining), 0);
	stats_listener_put(s, l);
	stats_free(s);
}

static void test_lag(void **state)
{
	struct stats *s = stats_new(2);
	struct stat_sum sum;

	(void)state;
	stats_loop_lag(s, 0, 1000);
	stats_loop_lag(s, 1, 2000);
	stats_lag(s, &sum);
	assert_int_equal(sum.n, 2);
	assert_int_equal(sum.sum_ns, 3000);
	stats_free(s);
}

static void test_attempts_by_upstream(void **state)
{
	struct stats *s = stats_new(2);
	struct tally t = { 0 };
	char name[16];

	(void)state;
	stats_attempt(s, 0, "app", 1000);
	stats_attempt(s, 1, "app", 1000);
	stats_attempt(s, 1, "llm", 1000);
	stats_each_upstream(s, on_upstream, &t);
	assert_int_equal(t.rows, 2);
	assert_int_equal(t.n, 3);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "u%u", i);
		stats_attempt(s, i % 2, name, 1000);
	}
	t = (struct tally){ 0 };
	stats_each_upstream(s, on_upstream, &t);
	assert_int_equal(t.n, 203);
	assert_true(t.rows <= 2 * 64 + 1);
	assert_true(t.other > 0);
	stats_free(s);
}

enum { CALLS = 20000 };

static void *write_calls(void *arg)
{
	struct route_stats *r = arg;
	char name[16];

	for (unsigned i = 0; i < CALLS; i++) {
		struct call_record record = record_of(200 + i % 90, reason_rate_limited);

		snprintf(name, sizeof(name), "p%u", i % 40);
		record.denied = true;
		record.limit.policy = name;
		stats_call_begin(r, 0);
		stats_call_end(r, 0, &record);
	}
	return NULL;
}

/* What a thread sanitizer has something to say about. */
static void test_reading_while_writing(void **state)
{
	struct stats *s = stats_new(1);
	struct route_stats *r = stats_route_get(s, "app");
	struct tally t = { 0 };
	uint64_t last = 0;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_calls, r), 0);
	do {
		t = (struct tally){ 0 };
		route_stats_requests(r, on_request, &t);
		assert_true(t.n >= last);
		last = t.n;
		t = (struct tally){ 0 };
		route_stats_rejections(r, on_rejection, &t);
		assert_true(t.n <= CALLS);
	} while (last < CALLS);
	pthread_join(thread, NULL);
	assert_int_equal(route_stats_read(r, ROUTE_IN_FLIGHT), 0);
	stats_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_call_is_counted_once),
		cmocka_unit_test(test_nothing_sent_and_aborted),
		cmocka_unit_test(test_codes_are_bounded),
		cmocka_unit_test(test_rejections_own_their_names),
		cmocka_unit_test(test_rejections_are_bounded),
		cmocka_unit_test(test_what_is_a_refusal),
		cmocka_unit_test(test_identity_outlives_a_reload),
		cmocka_unit_test(test_listener),
		cmocka_unit_test(test_lag),
		cmocka_unit_test(test_attempts_by_upstream),
		cmocka_unit_test(test_reading_while_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
