/* test_conn.c - a server connection over a pair: what becomes of calls at its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reason.h"
#include "io/conn.h"
#include "io/pair.h"

struct bench {
	struct loop loop;
	struct arena arena;
	struct pair *pair;
	struct conn *conn;
	unsigned calls, closed;
};

static struct arena *on_arena(void *user, struct stream *s)
{
	struct bench *b = ((struct conn *)user)->owner;

	(void)s;
	arena_init(&b->arena, &b->loop.pool);
	return &b->arena;
}

static void on_gone(void *owner, const struct reason *why)
{
	struct bench *b = owner;

	(void)why;
	arena_fini(&b->arena);
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	static const struct stream_events events = { .gone = on_gone };
	struct bench *b = ((struct conn *)user)->owner;
	struct head answer;

	assert_true(end);
	b->calls++;
	s->on = &events;
	s->owner = b;
	head_init(&answer, head->arena);
	answer.status = 204;
	answer.keep_alive = true;
	assert_true(s->ops->head(s, &answer, true));
}

static void on_closed(struct conn *c, const struct reason *why)
{
	struct bench *b = c->owner;

	(void)why;
	b->closed++;
}

static const struct codec_events codec_events = { .arena = on_arena, .request = on_request };
static const struct conn_events conn_events = { .closed = on_closed };
static const struct codec_limits limits = { .head_bytes = 1024, .target_bytes = 64, .headers = 9 };
static const struct conn_times times = { 1000, 1000, 1000, 1000 };

static void begin(struct bench *b)
{
	static const struct addr peer = { .u.sa.sa_family = AF_UNIX };

	*b = (struct bench){ .calls = 0 };
	assert_true(loop_init(&b->loop, false));
	b->pair = pair_new(&b->loop, NULL);
	assert_non_null(b->pair);
	loop_enter(&b->loop);
	b->conn = conn_accept(&b->loop, pair_end(b->pair, 0), &peer, false, CONN_HTTP1, &conn_events, b,
			      &codec_events, &limits, &times);
	assert_non_null(b->conn);
	loop_settle(&b->loop);
}

/* After its last answer Weir's side lingers until the client has hung up. */
static void end(struct bench *b)
{
	struct transport *client = pair_end(b->pair, 1);

	assert_false(pair_was_reset(b->pair, 1));
	client->ops->half_close(client);
	pair_deliver(b->pair, 0);
	assert_int_equal(b->closed, 1);
	client->ops->close(client, false);
	loop_fini(&b->loop);
}

static void ask(struct bench *b)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
	struct iovec v = { .iov_base = (void *)(uintptr_t)text, .iov_len = sizeof(text) - 1 };
	struct transport *client = pair_end(b->pair, 1);

	assert_int_equal(client->ops->writev(client, &v, 1), (ssize_t)v.iov_len);
}

static void last(struct bench *b)
{
	loop_enter(&b->loop);
	conn_last(b->conn);
	loop_settle(&b->loop);
}

static void an_idle_one_closes_at_once(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	ask(&b);
	pair_deliver(b.pair, 0);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.closed, 0);
	last(&b);
	end(&b);
}

static void a_call_that_came_unread_is_answered_first(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	ask(&b);
	pair_deliver(b.pair, 0);
	ask(&b);
	last(&b);
	assert_int_equal(b.closed, 0);
	pair_deliver(b.pair, 0);
	assert_int_equal(b.calls, 2);
	end(&b);
}

static void a_new_one_has_its_first_call(void **state)
{
	struct bench b;

	(void)state;
	begin(&b);
	last(&b);
	assert_int_equal(b.closed, 0);
	ask(&b);
	pair_deliver(b.pair, 0);
	assert_int_equal(b.calls, 1);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_one_closes_at_once),
		cmocka_unit_test(a_call_that_came_unread_is_answered_first),
		cmocka_unit_test(a_new_one_has_its_first_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
