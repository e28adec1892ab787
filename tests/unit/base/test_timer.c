/* The laws of timer.h, one by one and against a model that knows every deadline. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/timer.h"

enum { TIMERS = 64, STEPS = 200000 };

/* What the model knows of a timer. */
struct probe {
	struct timer timer;
	uint64_t expected_ns; /* 0: none */
	unsigned fired;
};

static struct timers timers;
static struct probe probes[TIMERS];
static uint64_t now_ns;

static void on_probe(struct timer *t)
{
	struct probe *p = (struct probe *)(void *)t;

	assert_int_not_equal(p->expected_ns,
			     0); /* T1: once per timer_set, and T2: not after timer_clear */
	assert_true(p->expected_ns <= now_ns); /* T1: never before */
	assert_int_equal(t->deadline_ns, 0);
	p->expected_ns = 0;
	p->fired++;
}

static int setup(void **state)
{
	(void)state;
	timers_init(&timers);
	now_ns = 1000;
	memset(probes, 0, sizeof(probes));
	for (size_t i = 0; i < TIMERS; i++)
		timer_init(&probes[i].timer, on_probe);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	timers_fini(&timers);
	return 0;
}

static void set(struct probe *p, uint64_t deadline_ns)
{
	assert_true(timer_set(&timers, &p->timer, deadline_ns));
	p->expected_ns = deadline_ns;
}

static uint64_t run(uint64_t at_ns)
{
	now_ns = at_ns;
	return timers_run(&timers, at_ns);
}

static void test_nothing_to_do(void **state)
{
	(void)state;
	assert_int_equal(timers_next(&timers), 0);
	assert_int_equal(run(5000), 0);
	timer_clear(&probes[0].timer);
	timer_fini(&timers, &probes[0].timer);
	timer_fini(&timers, &probes[0].timer);
}

static void test_never_before_and_once(void **state)
{
	(void)state;
	set(&probes[0], 2000);
	assert_int_equal(run(1999), 2000);
	assert_int_equal(probes[0].fired, 0);
	assert_int_equal(run(2000), 0);
	assert_int_equal(probes[0].fired, 1);
	run(10000);
	assert_int_equal(probes[0].fired, 1);
}

static void test_later_is_lazy(void **state)
{
	(void)state;
	set(&probes[0], 2000);
	set(&probes[0], 3000);
	assert_int_equal(timers_next(&timers), 2000); /* early, as allowed */
	assert_int_equal(run(2500), 3000);
	assert_int_equal(probes[0].fired, 0);
	run(3000);
	assert_int_equal(probes[0].fired, 1);
}

static void test_earlier_takes_effect_at_once(void **state)
{
	(void)state;
	set(&probes[0], 9000);
	set(&probes[1], 5000);
	set(&probes[0], 2000);
	assert_int_equal(timers_next(&timers), 2000);
	assert_int_equal(run(2000), 5000);
	assert_int_equal(probes[0].fired, 1);
}

static void test_cleared_and_set_again(void **state)
{
	(void)state;
	set(&probes[0], 2000);
	timer_clear(&probes[0].timer);
	probes[0].expected_ns = 0;
	assert_int_equal(run(3000), 0);
	assert_int_equal(probes[0].fired, 0);
	set(&probes[0], 4000);
	timer_clear(&probes[0].timer);
	set(&probes[0], 3500);
	run(3500);
	assert_int_equal(probes[0].fired, 1);
}

static void test_fini_before_the_memory_goes(void **state)
{
	struct probe *gone = calloc(1, sizeof(*gone));

	(void)state;
	timer_init(&gone->timer, on_probe);
	set(gone, 2000);
	set(&probes[0], 1500);
	set(&probes[1], 2500);
	timer_fini(&timers, &gone->timer);
	free(gone);
	run(3000);
	assert_int_equal(probes[0].fired + probes[1].fired, 2);
}

static void on_again(struct timer *t)
{
	struct probe *p = (struct probe *)(void *)t;

	if (++p->fired < 5)
		assert_true(timer_set(&timers, t, now_ns + 10));
}

static void on_kill_next(struct timer *t)
{
	struct probe *p = (struct probe *)(void *)t;

	p->fired++;
	timer_fini(&timers, &p[1].timer);
}

static void test_setting_and_ending_inside_a_callback(void **state)
{
	(void)state;
	timer_init(&probes[0].timer, on_again);
	assert_true(timer_set(&timers, &probes[0].timer, 1010));
	for (uint64_t t = 1010; t < 1100; t++)
		run(t);
	assert_int_equal(probes[0].fired, 5);

	timer_init(&probes[1].timer, on_kill_next);
	assert_true(timer_set(&timers, &probes[1].timer, 2000));
	set(&probes[2], 2000);
	run(2000);
	assert_int_equal(probes[1].fired, 1);
	assert_int_equal(probes[2].fired, 0);
}

/* Nothing overdue is left behind, and the time to come back is never too late. */
static void check_model(uint64_t next_ns)
{
	for (size_t i = 0; i < TIMERS; i++) {
		if (probes[i].expected_ns == 0)
			continue;
		assert_true(probes[i].expected_ns > now_ns);
		assert_true(next_ns != 0 && next_ns <= probes[i].expected_ns);
	}
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void test_random_steps_against_a_model(void **state)
{
	uint64_t seed = 20260131;
	unsigned fired = 0;

	(void)state;
	for (int i = 0; i < STEPS; i++) {
		struct probe *p = &probes[next_random(&seed) % TIMERS];
		uint64_t far = next_random(&seed) % 1000;

		switch (next_random(&seed) % 8) {
		case 0:
			timer_clear(&p->timer);
			p->expected_ns = 0;
			break;
		case 1:
			timer_fini(&timers, &p->timer);
			p->expected_ns = 0;
			break;
		case 2:
		case 3:
			check_model(run(now_ns + far / 8));
			break;
		default:
			set(p, now_ns + 1 + far);
		}
	}
	check_model(run(now_ns + 5000));
	for (size_t i = 0; i < TIMERS; i++)
		fired += probes[i].fired;
	assert_true(fired > STEPS / 20);
	assert_int_equal(timers_next(&timers), 0);
}

static void test_many_timers_fire_in_order(void **state)
{
	static struct probe many[5000];
	uint64_t seed = 7;

	(void)state;
	for (size_t i = 0; i < 5000; i++) {
		timer_init(&many[i].timer, on_probe);
		set(&many[i], 2000 + next_random(&seed) % 100000);
	}
	for (uint64_t t; (t = timers_next(&timers)) != 0;)
		run(t); /* each at its own time: on_probe would see one that comes early */
	for (size_t i = 0; i < 5000; i++)
		assert_int_equal(many[i].fired, 1);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_to_do),
		TEST(test_never_before_and_once),
		TEST(test_later_is_lazy),
		TEST(test_earlier_takes_effect_at_once),
		TEST(test_cleared_and_set_again),
		TEST(test_fini_before_the_memory_goes),
		TEST(test_setting_and_ending_inside_a_callback),
		TEST(test_random_steps_against_a_model),
		TEST(test_many_timers_fire_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
