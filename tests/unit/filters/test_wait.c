/* Waits that others settle: told once, settled once, taken back in between; from other threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filters/stats.h"
#include "filters/wait.h"

enum { WORKERS = 2 };

static unsigned told_own, told_other;

static void tell(struct wakes *w, bool own)
{
	(void)w;
	if (own)
		told_own++;
	else
		told_other++;
}

/* A call in a chain of one filter, which lets it wait. */
struct waiting {
	struct woken woken; /* first */
	struct env env;
	struct filter filter;
	struct chain chain;
	struct call call;
	unsigned settled, resumed, left;
	enum verdict_kind kind;
};

static void on_leave(struct wait *w)
{
	((struct waiting *)(void *)w)->left++;
}

static void on_settle(struct woken *k)
{
	struct waiting *w = (struct waiting *)(void *)k;

	assert_int_equal(w->resumed, w->settled);
	w->settled++;
}

static void on_resume(struct call *c, struct verdict v)
{
	struct waiting *w = (struct waiting *)(void *)((char *)c - offsetof(struct waiting, call));

	w->resumed++;
	w->kind = v.kind;
}

static struct verdict let_wait(const struct filter *f, struct call *c, void *mem)
{
	struct waiting *w = (struct waiting *)(void *)((char *)c - offsetof(struct waiting, call));

	(void)f, (void)mem;
	wait_begin(&w->woken.wait, c, on_leave, verdict_deny(reason_rate_limited, 7));
	return verdict_pending(100);
}

static const struct filter_ops ops = { .name = "lets-wait", .admit = let_wait };

static void begin(struct waiting *w, unsigned worker)
{
	memset(w, 0, sizeof(*w));
	w->env.worker = worker;
	w->filter = (struct filter){ .ops = &ops, .name = "p" };
	w->chain = (struct chain){ .n = 1, .filter = { &w->filter } };
	w->call = (struct call){ .env = &w->env, .resume = on_resume };
	w->woken.on_settle = on_settle;
	chain_layout(&w->chain);
	chain_begin(&w->chain, &w->call, NULL);
	assert_int_equal(chain_admit(&w->call).kind, V_PENDING);
}

static struct wakes wakes[WORKERS];

static int setup(void **state)
{
	(void)state;
	told_own = told_other = 0;
	for (int i = 0; i < WORKERS; i++)
		wakes_init(&wakes[i], tell, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < WORKERS; i++)
		wakes_fini(&wakes[i]);
	return 0;
}

static void test_told_once_settled_once(void **state)
{
	struct env here = { .worker = 0, .wakes = wakes };
	struct waiting a, b;

	(void)state;
	begin(&a, 0);
	begin(&b, 0);
	wakes_put(&wakes[0], &a.woken, verdict_pass());
	wakes_tell(&here, 1);
	wakes_put(&wakes[0], &b.woken, verdict_deny(reason_rate_limited, 1));
	wakes_tell(&here, 1);
	assert_int_equal(told_own, 1);
	assert_int_equal(a.resumed + b.resumed, 0);
	wakes_run(&wakes[0]);
	assert_int_equal(a.settled, 1);
	assert_int_equal(a.resumed, 1);
	assert_int_equal(a.kind, V_PASS);
	assert_int_equal(b.resumed, 1);
	assert_int_equal(b.kind, V_DENY);
	wakes_run(&wakes[0]);
	assert_int_equal(a.resumed + b.resumed, 2);
	chain_done(&a.call);
	chain_done(&b.call);
	assert_int_equal(a.left + b.left, 0);
}

static void test_the_right_worker_is_told(void **state)
{
	struct env here = { .worker = 0, .wakes = wakes };
	struct waiting a, b;

	(void)state;
	begin(&a, 0);
	begin(&b, 1);
	wakes_put(&wakes[0], &a.woken, verdict_pass());
	wakes_put(&wakes[1], &b.woken, verdict_pass());
	wakes_tell(&here, 1 | 2);
	assert_int_equal(told_own, 1);
	assert_int_equal(told_other, 1);
	wakes_run(&wakes[1]);
	assert_int_equal(a.resumed, 0);
	assert_int_equal(b.resumed, 1);
	wakes_run(&wakes[0]);
	chain_done(&a.call);
	chain_done(&b.call);
}

static void test_taken_back(void **state)
{
	struct env here = { .worker = 0, .wakes = wakes };
	struct waiting a, b;

	(void)state;
	begin(&a, 0);
	begin(&b, 0);
	wakes_put(&wakes[0], &a.woken, verdict_pass());
	wakes_put(&wakes[0], &b.woken, verdict_pass());
	wakes_tell(&here, 1);
	wakes_take_back(&wakes[0], &a.woken);
	wakes_run(&wakes[0]);
	assert_int_equal(a.resumed, 0);
	assert_int_equal(b.resumed, 1);
	chain_done(&a.call);
	assert_int_equal(a.left, 1);
	chain_done(&b.call);
}

static void test_nobody_is_told_of_nothing(void **state)
{
	struct env here = { .worker = 1, .wakes = wakes };
	struct waiting a;

	(void)state;
	begin(&a, 0);
	wakes_put(&wakes[0], &a.woken, verdict_pass());
	wakes_take_back(&wakes[0], &a.woken);
	wakes_tell(&here, 1);
	assert_int_equal(told_own + told_other, 0);
	chain_done(&a.call);
}

/* Another thread lets calls in while this one runs them: all of them go on, once. */
enum { MANY = 2000 };

static struct waiting many[MANY];
static atomic_uint mail;

static void tell_by_mail(struct wakes *w, bool own)
{
	(void)w;
	assert_false(own);
	assert_int_equal(atomic_fetch_add(&mail, 1), 0);
}

static void *let_them_in(void *arg)
{
	struct env there = { .worker = 1, .wakes = wakes };

	(void)arg;
	for (int i = 0; i < MANY; i++) {
		wakes_put(&wakes[0], &many[i].woken, verdict_pass());
		wakes_tell(&there, 1);
	}
	return NULL;
}

static void test_from_another_thread(void **state)
{
	pthread_t thread;
	unsigned resumed = 0;

	(void)state;
	for (int i = 0; i < MANY; i++)
		begin(&many[i], 0);
	wakes[0].tell = tell_by_mail;
	assert_int_equal(pthread_create(&thread, NULL, let_them_in, NULL), 0);
	while (resumed < MANY) {
		unsigned one = 1;

		if (!atomic_compare_exchange_strong(&mail, &one, 0))
			continue;
		wakes_run(&wakes[0]);
		for (resumed = 0; resumed < MANY && many[resumed].resumed == 1;)
			resumed++;
	}
	pthread_join(thread, NULL);
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(many[i].resumed, 1);
		chain_done(&many[i].call);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_told_once_settled_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_right_worker_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nobody_is_told_of_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_another_thread, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
