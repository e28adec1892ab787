/* test_pair.c - two transports joined in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/pair.h"

struct owner {
	unsigned calls, ready;
};

static void on_ready(void *owner, unsigned ready)
{
	struct owner *o = owner;

	o->calls++;
	o->ready = ready;
}

static struct transport *end(struct pair *p, unsigned side, struct owner *o)
{
	struct transport *t = pair_end(p, side);

	t->owner = o;
	t->on_ready = on_ready;
	return t;
}

static ssize_t put(struct transport *t, const char *text)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };

	return t->ops->writev(t, &v, 1);
}

static void refused_is_writable_and_not_connected(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new_connecting(NULL, NULL);
	struct transport *a = end(p, 0, &o);

	(void)state;
	a->ops->want(a, WANT_WRITE);
	assert_int_equal(pair_ready(p, 0), 0);
	pair_refuse(p);
	pair_deliver(p, 0);
	assert_int_equal(o.ready, WANT_WRITE);
	assert_false(a->ops->intact(a));
	a->ops->close(a, true);
}

static void accepted_is_connected(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new_connecting(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);

	(void)state;
	assert_int_equal(put(a, "x"), TRANSPORT_AGAIN);
	pair_accept(p);
	assert_true(a->ops->intact(a));
	assert_int_equal(put(a, "x"), 1);
	a->ops->close(a, false);
	b->ops->close(b, false);
}

static void full_is_not_writable(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);
	char got[8];

	(void)state;
	pair_knobs(p, 1)->capacity = 3;
	a->ops->want(a, WANT_WRITE);
	assert_int_equal(put(a, "abcdef"), 3);
	assert_int_equal(put(a, "def"), TRANSPORT_AGAIN);
	assert_int_equal(pair_ready(p, 0), 0);
	pair_knobs(p, 1)->recv_max = 2;
	assert_int_equal(b->ops->recv(b, got, sizeof(got)), 2);
	assert_memory_equal(got, "ab", 2);
	assert_int_equal(pair_ready(p, 0), WANT_WRITE);
	a->ops->close(a, true);
	b->ops->close(b, false);
}

static void half_close_comes_behind_the_bytes(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);
	char got[8];

	(void)state;
	put(a, "x");
	a->ops->half_close(a);
	assert_int_equal(b->ops->recv(b, got, sizeof(got)), 1);
	assert_int_equal(b->ops->recv(b, got, sizeof(got)), 0);
	assert_int_equal(put(b, "y"), 1);
	assert_int_equal(a->ops->recv(a, got, sizeof(got)), 1);
	b->ops->close(b, false);
	a->ops->close(a, false);
}

static void close_with_bytes_unread_resets(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);
	char got[8];

	(void)state;
	put(b, "waits for a");
	put(a, "waits for b");
	pair_knobs(p, 0)->reset_drops = true;
	b->ops->close(b, false);
	assert_true(pair_was_reset(p, 0));
	assert_int_equal(a->ops->recv(a, got, sizeof(got)), TRANSPORT_BROKEN);
	assert_int_equal(put(a, "x"), TRANSPORT_BROKEN);
	a->ops->close(a, false);
}

static void write_to_a_closed_end_resets(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);
	char got[8];

	(void)state;
	b->ops->close(b, false);
	assert_int_equal(a->ops->recv(a, got, sizeof(got)), 0);
	assert_int_equal(put(a, "x"), 1);
	assert_int_equal(put(a, "x"), TRANSPORT_BROKEN);
	a->ops->close(a, false);
}

static void hangup_tells_of_changes_only(void **state)
{
	struct owner o = { 0 };
	struct pair *p = pair_new(NULL, NULL);
	struct transport *a = end(p, 0, &o), *b = end(p, 1, &o);

	(void)state;
	b->ops->half_close(b);
	a->ops->want(a, WANT_HANGUP);
	pair_deliver(p, 0);
	assert_int_equal(pair_ready(p, 0), 0);
	b->ops->close(b, true);
	assert_int_equal(pair_ready(p, 0), WANT_HANGUP);
	a->ops->close(a, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refused_is_writable_and_not_connected),
		cmocka_unit_test(full_is_not_writable),
		cmocka_unit_test(close_with_bytes_unread_resets),
		cmocka_unit_test(write_to_a_closed_end_resets),
		cmocka_unit_test(hangup_tells_of_changes_only),
		cmocka_unit_test(accepted_is_connected),
		cmocka_unit_test(half_close_comes_behind_the_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
