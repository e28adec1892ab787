/* The checker on a loop that the test turns: how many at once, when, and what orders do.  What
 * answers are worth is tested end to end and in the simulation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "io/loop.h"
#include "io/pair.h"
#include "upstream/checker.h"

enum { ENDPOINTS_MAX = 256, UPSTREAMS_MAX = 4 };

/* Everything of one test. */
struct ward {
	struct loop loop; /* first */
	uint64_t now_ns;
	struct upstream_registry *registry;
	struct arena arena;
	struct diags diags;
	struct endpoint_conf endpoint[UPSTREAMS_MAX][ENDPOINTS_MAX];
	struct cluster_conf conf[UPSTREAMS_MAX];
	struct cluster *cluster[UPSTREAMS_MAX];
	uint32_t clusters;
	struct list pairs;
	unsigned connects, last_port;
	bool refuses;
	uint64_t first_ns, last_ns;
};

static uint64_t read_clock(struct loop *loop)
{
	return ((struct ward *)(void *)loop)->now_ns;
}

static void never(void *owner, unsigned ready)
{
	(void)owner, (void)ready;
}

/* Nobody answers, unless the test does. */
static struct transport *connect_to(struct loop *loop, const struct addr *addr)
{
	struct ward *w = (struct ward *)(void *)loop;
	struct pair *p;

	w->connects++;
	w->last_port = addr_port(addr);
	w->first_ns = w->first_ns == 0 ? w->now_ns : w->first_ns;
	w->last_ns = w->now_ns;
	if (w->refuses)
		return NULL;
	p = pair_new_connecting(loop, NULL);
	assert_non_null(p);
	pair_end(p, 1)->on_ready = never;
	list_push_back(&w->pairs, pair_link(p));
	return pair_end(p, 0);
}

static struct ward *ward_new(void)
{
	struct ward *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_true(loop_init(&w->loop, false));
	w->loop.read_clock = read_clock;
	w->loop.connect = connect_to;
	w->now_ns = 100 * CLOCK_S;
	list_init(&w->pairs);
	arena_init(&w->arena, NULL);
	diags_init(&w->diags, &w->arena);
	w->registry = upstream_registry_new();
	assert_non_null(w->registry);
	upstreams_check_on(w->registry, &w->loop, 1);
	log_set_level(LOG_ERROR + 1);
	return w;
}

/* n endpoints that are asked for `path`. */
static void add(struct ward *w, const char *name, const char *path, uint32_t n)
{
	uint32_t k = w->clusters++;
	struct cluster_conf *c = &w->conf[k];

	*c = (struct cluster_conf){ .name.name = name,
				    .endpoints = { .n = n, .item = w->endpoint[k] } };
	for (uint32_t i = 0; i < n; i++)
		w->endpoint[k][i] =
		    (struct endpoint_conf){ .addr = arena_printf(&w->arena, "10.0.0.1:%u", i + 1),
					    .weight = 1 };
	if (path != NULL)
		c->health = (struct health_conf){ .path = path,
						  .every_ns = 5 * CLOCK_S,
						  .timeout_ns = CLOCK_S,
						  .fall = 2,
						  .rise = 2 };
	w->cluster[k] = cluster_open(w->registry, c, &w->arena, 0, &w->diags);
	assert_non_null(w->cluster[k]);
}

static void follow(struct ward *w)
{
	upstreams_follow(w->registry, w->cluster, w->clusters);
	w->loop.in_turn = false;
	upstreams_check(w->registry);
}

/* Closes what Weir has closed; how many are left. */
static unsigned open_pairs(struct ward *w)
{
	unsigned n = 0;

	LIST_EACH (link, &w->pairs) {
		struct pair *p = pair_of_link(link);

		if (pair_is_open(p, 0))
			n++;
		else
			pair_end(p, 1)->ops->close(pair_end(p, 1), false);
	}
	return n;
}

/* Lets time pass; the most that were under way at once. */
static unsigned pass(struct ward *w, uint64_t ns)
{
	uint64_t until_ns = w->now_ns + ns;
	unsigned most = 0, n;

	for (;;) {
		uint64_t next = timers_next(&w->loop.timers);

		if (next == 0 || next > until_ns)
			break;
		if (next > w->now_ns)
			w->now_ns = next;
		w->loop.in_turn = false;
		loop_enter(&w->loop);
		loop_run_timers(&w->loop);
		loop_settle(&w->loop);
		n = open_pairs(w);
		most = n > most ? n : most;
	}
	w->now_ns = until_ns;
	return most;
}

static void ward_free(struct ward *w)
{
	for (uint32_t i = 0; i < w->clusters; i++)
		cluster_close(w->registry, w->cluster[i]);
	w->loop.in_turn = false;
	upstream_registry_free(w->registry);
	assert_int_equal(open_pairs(w), 0);
	loop_fini(&w->loop);
	arena_fini(&w->arena);
	free(w);
}

static const struct endpoint_health *health(const struct ward *w, uint32_t k, uint32_t i)
{
	return &w->cluster[k]->member[i].endpoint->health;
}

static void test_one_is_asked_at_once(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", "/health", 1);
	pass(w, 10 * CLOCK_S);
	assert_int_equal(w->connects, 0); /* it is not in force yet */
	follow(w);
	pass(w, 2 * CLOCK_MS);
	assert_int_equal(w->connects, 1);
	ward_free(w);
}

static void test_without_health_nobody_is_asked(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", NULL, 3);
	follow(w);
	pass(w, 60 * CLOCK_S);
	assert_int_equal(w->connects, 0);
	assert_false(health(w, 0, 0)->checked);
	ward_free(w);
}

/* A thousand, none of which answers: bounded in number and in time, and all have their turn. */
static void test_many_are_spread_and_bounded(void **state)
{
	static const char *const names[] = { "a", "b", "c", "d" };
	struct ward *w = ward_new();
	unsigned most;

	(void)state;
	for (int k = 0; k < UPSTREAMS_MAX; k++)
		add(w, names[k], "/health", 250);
	follow(w);
	most = pass(w, 100 * CLOCK_MS);
	assert_in_range(w->connects, 60, 150); /* a thousand in a second */
	most = pass(w, 5900 * CLOCK_MS);
	assert_int_equal(most, CHECKS_AT_ONCE);
	for (uint32_t k = 0; k < UPSTREAMS_MAX; k++)
		for (uint32_t i = 0; i < 250; i++)
			assert_true(health(w, k, i)->results[CHECK_TIMEOUT] >= 1 &&
				    health(w, k, i)->down);
	ward_free(w);
}

static void test_the_pace(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", "/health", 1);
	follow(w);
	pass(w, 5000 * CLOCK_S);
	assert_in_range(w->connects, 980, 1020);
	ward_free(w);
}

static void test_refused_ones_keep_the_pace(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	w->refuses = true;
	add(w, "app", "/health", 2);
	follow(w);
	pass(w, 500 * CLOCK_S);
	assert_in_range(w->connects, 190, 210);
	assert_true(health(w, 0, 1)->down);
	assert_int_equal(health(w, 0, 1)->results[CHECK_CONNECT], health(w, 0, 1)->failed);
	ward_free(w);
}

static void test_a_check_under_way_ends_with_its_rule(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", "/health", 1);
	follow(w);
	pass(w, 100 * CLOCK_MS);
	assert_int_equal(open_pairs(w), 1);
	upstreams_follow(w->registry, NULL, 0);
	assert_false(check_is_idle(w->cluster[0]->member[0].endpoint->check));
	w->loop.in_turn = false;
	upstreams_check(w->registry);
	assert_true(check_is_idle(w->cluster[0]->member[0].endpoint->check));
	assert_int_equal(open_pairs(w), 0);
	assert_false(health(w, 0, 0)->checked);
	pass(w, 60 * CLOCK_S);
	assert_int_equal(w->connects, 1);
	ward_free(w);
}

/* A reload with the same rule is none to the checker: no check is cut off or comes early. */
static void test_the_same_rule_changes_nothing(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", "/health", 1);
	follow(w);
	pass(w, 100 * CLOCK_MS);
	add(w, "app", "/health", 1);
	upstreams_follow(w->registry, &w->cluster[1], 1);
	assert_false(check_is_idle(w->cluster[0]->member[0].endpoint->check));
	pass(w, 4 * CLOCK_S);
	assert_int_equal(w->connects, 1);
	assert_ptr_equal(w->cluster[0]->member[0].endpoint, w->cluster[1]->member[0].endpoint);
	assert_true(health(w, 1, 0)->down);
	ward_free(w);
}

static void test_another_rule_is_obeyed_at_once(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", "/health", 1);
	follow(w);
	pass(w, 2 * CLOCK_S);
	add(w, "app", "/ready", 1);
	upstreams_follow(w->registry, &w->cluster[1], 1);
	w->loop.in_turn = false;
	upstreams_check(w->registry);
	pass(w, 2 * CLOCK_MS);
	assert_int_equal(w->connects, 2);
	assert_true(health(w, 1, 0)->down); /* what was found stands */
	ward_free(w);
}

static void test_checks_rest_while_it_is_taken_out(void **state)
{
	struct ward *w = ward_new();
	struct endpoint *e;

	(void)state;
	add(w, "app", "/health", 1);
	e = w->cluster[0]->member[0].endpoint;
	endpoint_force(e, ENDPOINT_DOWN);
	follow(w);
	pass(w, 60 * CLOCK_S);
	assert_int_equal(w->connects, 0);
	endpoint_force(e, ENDPOINT_DRAIN);
	pass(w, 6 * CLOCK_S);
	assert_int_equal(w->connects, 1);
	ward_free(w);
}

static void test_who_joins_later_starts_slowly(void **state)
{
	struct ward *w = ward_new();

	(void)state;
	add(w, "app", NULL, 1);
	follow(w);
	assert_true(health(w, 0, 0)->warm_from_ns == 0);
	add(w, "app", NULL, 2);
	upstreams_follow(w->registry, &w->cluster[1], 1);
	assert_true(health(w, 1, 0)->warm_from_ns == 0);
	assert_true(health(w, 1, 1)->warm_from_ns != 0);
	ward_free(w);
}

static void test_an_order_ends_with_the_membership(void **state)
{
	struct ward *w = ward_new();
	struct endpoint *e;

	(void)state;
	add(w, "app", NULL, 2);
	follow(w);
	e = w->cluster[0]->member[1].endpoint;
	endpoint_force(e, ENDPOINT_DRAIN);
	follow(w);
	assert_string_equal(endpoint_state(e), "drain");
	add(w, "app", NULL, 1);
	upstreams_follow(w->registry, &w->cluster[1], 1);
	assert_string_equal(endpoint_state(e), "up");
	ward_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_is_asked_at_once),
		cmocka_unit_test(test_without_health_nobody_is_asked),
		cmocka_unit_test(test_many_are_spread_and_bounded),
		cmocka_unit_test(test_the_pace),
		cmocka_unit_test(test_refused_ones_keep_the_pace),
		cmocka_unit_test(test_a_check_under_way_ends_with_its_rule),
		cmocka_unit_test(test_the_same_rule_changes_nothing),
		cmocka_unit_test(test_another_rule_is_obeyed_at_once),
		cmocka_unit_test(test_checks_rest_while_it_is_taken_out),
		cmocka_unit_test(test_who_joins_later_starts_slowly),
		cmocka_unit_test(test_an_order_ends_with_the_membership),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
