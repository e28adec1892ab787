/* test_pool.c - connections of HTTP/2 that are being made, and those who wait for them. */
#include "members.h"

#include "base/reason.h"
#include "io/loop.h"
#include "io/pair.h"
#include "upstream/pool.h"

struct bench {
	struct loop loop; /* first */
	struct fixture *f;
	struct pair *pair; /* of the last connection */
	unsigned connects, ready, failed;
};

static const struct codec_limits limits = { .h2 = &h2_default_limits };

static void never(void *owner, unsigned ready)
{
	(void)owner, (void)ready;
}

static struct transport *connect_to(struct loop *loop, const struct addr *addr)
{
	struct bench *b = (struct bench *)(void *)loop;

	(void)addr;
	b->connects++;
	b->pair = pair_new_connecting(loop, NULL);
	assert_non_null(b->pair);
	pair_end(b->pair, 1)->on_ready = never;
	return pair_end(b->pair, 0);
}

struct waiting {
	struct pool_waiter waiter; /* first */
	struct bench *b;
};

static void on_ready(struct pool_waiter *w, struct conn *c)
{
	struct bench *b = ((struct waiting *)(void *)w)->b;

	b->ready++;
	pool_release(c, b->f->endpoint, &b->f->conf);
}

static void on_failed(struct pool_waiter *w, const struct reason *why)
{
	(void)why;
	((struct waiting *)(void *)w)->b->failed++;
}

static void begin(struct bench *b)
{
	*b = (struct bench){ .f = fixture_new(0, 1, NULL) };
	assert_true(loop_init(&b->loop, false));
	b->loop.connect = connect_to;
	b->f->conf.http2 = HTTP_2;
	b->f->conf.keepalive = 1;
	b->f->conf.keepalive_timeout_ns = 1000000;
	list_init(&b->f->endpoint->worker[0].idle);
	list_init(&b->f->endpoint->worker[0].shared);
	loop_enter(&b->loop);
}

static void end(struct bench *b)
{
	struct transport *upstream = pair_end(b->pair, 1);

	pool_clear(b->f->endpoint, 0);
	loop_settle(&b->loop);
	assert_int_equal(b->f->endpoint->worker[0].connections, 0);
	assert_int_equal(b->f->endpoint->worker[0].idle_count, 0);
	upstream->ops->close(upstream, false);
	loop_fini(&b->loop);
	fixture_free(b->f);
}

static void await(struct bench *b, struct waiting *w)
{
	*w = (struct waiting){ .waiter = { .ready = on_ready, .failed = on_failed }, .b = b };
	list_init(&w->waiter.link);
	assert_true(pool_await(&b->loop, b->f->endpoint, 0, &b->f->cluster, &limits, &w->waiter));
}

static void accept_it(struct bench *b)
{
	loop_settle(&b->loop);
	pair_accept(b->pair);
	pair_deliver(b->pair, 0);
	loop_enter(&b->loop);
}

/* Nobody would keep its time. */
static void one_that_nobody_waits_for_is_not_made(void **state)
{
	struct waiting first, second;
	struct bench b;

	(void)state;
	begin(&b);
	await(&b, &first);
	await(&b, &second);
	assert_int_equal(b.connects, 1);
	pool_unwait(&first.waiter);
	assert_int_equal(b.f->endpoint->worker[0].connections, 1);
	pool_unwait(&second.waiter);
	assert_int_equal(b.f->endpoint->worker[0].connections, 0);
	assert_int_equal(b.ready + b.failed, 0);
	end(&b);
}

static void all_who_wait_have_the_same(void **state)
{
	struct waiting some[3];
	struct bench b;

	(void)state;
	begin(&b);
	for (unsigned i = 0; i < 3; i++)
		await(&b, &some[i]);
	pool_unwait(&some[1].waiter);
	accept_it(&b);
	assert_int_equal(b.connects, 1);
	assert_int_equal(b.ready, 2);
	assert_int_equal(b.f->endpoint->worker[0].idle_count, 1);
	end(&b);
}

/* An older policy is let go while a call of another waits. */
static void who_waits_is_not_cleared_away(void **state)
{
	struct waiting one;
	struct bench b;

	(void)state;
	begin(&b);
	await(&b, &one);
	pool_clear(b.f->endpoint, 0);
	accept_it(&b);
	assert_int_equal(b.failed, 0);
	assert_int_equal(b.ready, 1);
	end(&b);
}

/* A descriptor is wanted: only what nobody uses goes. */
static void idle_ones_go_alone(void **state)
{
	struct waiting one;
	struct conn *c;
	struct bench b;

	(void)state;
	begin(&b);
	await(&b, &one);
	assert_false(pool_close_idle(b.f->endpoint, 0)); /* it is being made */
	accept_it(&b);
	c = pool_share(b.f->endpoint, 0, &b.f->cluster, false);
	assert_non_null(c);
	assert_false(pool_close_idle(b.f->endpoint, 0));
	pool_release(c, b.f->endpoint, &b.f->conf);
	assert_true(pool_close_idle(b.f->endpoint, 0));
	assert_int_equal(b.f->endpoint->worker[0].connections, 0);
	assert_false(pool_close_idle(b.f->endpoint, 0));
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_nobody_waits_for_is_not_made),
		cmocka_unit_test(all_who_wait_have_the_same),
		cmocka_unit_test(who_waits_is_not_cleared_away),
		cmocka_unit_test(idle_ones_go_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
