/* test_conn.c - a server connection over a pair: what becomes of calls at its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reason.h"
#include "io/conn.h"
#include "io/conn_internal.h"
#include "io/pair.h"

struct bench {
	struct loop loop;
	struct arena arena;
	struct pair *pair;
	struct conn *conn;
	unsigned calls, gone, closed;
	bool flushes; /* in the middle of an answer */
	bool closes;  /* the connection, when its call ends unanswered */
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
	b->gone++;
	arena_fini(&b->arena);
	if (b->closes)
		conn_close(b->conn, NULL);
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	static const struct stream_events events = { .gone = on_gone };
	struct bench *b = ((struct conn *)user)->owner;
	struct head answer;

	assert_int_equal(end, !b->closes);
	b->calls++;
	s->on = &events;
	s->owner = b;
	if (b->closes)
		return;
	head_init(&answer, head->arena);
	answer.status = b->flushes ? 200 : 204;
	answer.keep_alive = true;
	assert_true(s->ops->head(s, &answer, !b->flushes));
	if (!b->flushes)
		return;
	conn_flush_all(&b->loop);
	s->ops->body(s, slice_str("answer"), true);
}

static void on_closed(struct conn *c, const struct reason *why)
{
	struct bench *b = c->owner;

	(void)why;
	b->closed++;
}

static const struct codec_events codec_events = { .arena = on_arena, .request = on_request };
static const struct conn_events conn_events = { .closed = on_closed };
static const struct codec_limits limits = {
	.head_bytes = 1024, .target_bytes = 64, .headers = 9, .h2 = &h2_default_limits
};
static const struct conn_times times = { 1000, 1000, 1000, 1000 };

static void begin_with(struct bench *b, enum conn_protocol protocol)
{
	static const struct addr peer = { .u.sa.sa_family = AF_UNIX };

	*b = (struct bench){ .calls = 0 };
	assert_true(loop_init(&b->loop, false));
	b->pair = pair_new(&b->loop, NULL);
	assert_non_null(b->pair);
	loop_enter(&b->loop);
	b->conn = conn_accept(&b->loop, pair_end(b->pair, 0), &peer, false, protocol, &conn_events, b,
			      &codec_events, &limits, &times);
	assert_non_null(b->conn);
	loop_settle(&b->loop);
}

static void begin(struct bench *b)
{
	begin_with(b, CONN_HTTP1);
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

/* By HTTP/2, with or without the end of the request. */
static void ask2(struct bench *b, bool end)
{
	char text[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
		      "\0\0\6\1\4\0\0\0\1\x82\x86\x84\x41\1a";
	struct iovec v = { .iov_base = text, .iov_len = sizeof(text) - 1 };
	struct transport *client = pair_end(b->pair, 1);

	if (end)
		text[24 + 9 + 4] |= 1;
	assert_int_equal(client->ops->writev(client, &v, 1), (ssize_t)v.iov_len);
	pair_deliver(b->pair, 0);
}

/* As when the last call of an old policy ends, and takes idle connections with it. */
static void one_may_be_closed_from_its_codec(void **state)
{
	struct transport *client;
	struct bench b;

	(void)state;
	begin_with(&b, CONN_HTTP2);
	b.closes = true;
	ask2(&b, false);
	client = pair_end(b.pair, 1);
	client->ops->half_close(client);
	pair_deliver(b.pair, 0);
	assert_int_equal(b.gone, 1);
	assert_int_equal(b.closed, 1);
	client->ops->close(client, false);
	loop_fini(&b.loop);
}

/* What is held to the end of the turn is not written, whatever went before it: nor is its stream
 * over. */
static void what_is_held_is_not_written(void **state)
{
	struct bench b;
	size_t unread;

	(void)state;
	begin_with(&b, CONN_HTTP2);
	b.loop.holds = b.flushes = true;
	ask2(&b, true);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.gone, 0);
	unread = pair_unread(b.pair, 1);
	loop_end_turn(&b.loop);
	assert_int_equal(pair_unread(b.pair, 1), unread + 9 + 6);
	assert_int_equal(b.gone, 1);
	end(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_one_closes_at_once),
		cmocka_unit_test(a_call_that_came_unread_is_answered_first),
		cmocka_unit_test(a_new_one_has_its_first_call),
		cmocka_unit_test(what_is_held_is_not_written),
		cmocka_unit_test(one_may_be_closed_from_its_codec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
