/* rig.h - a loop under virtual time, and servers at the other ends of pairs that say what a test has them say. */
#ifndef REDIS_RIG_H
#define REDIS_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/loop.h"
#include "io/pair.h"

enum { RIG_PAIRS_MAX = 64, RIG_TEXT_MAX = 65536 };

struct rig_server {
	struct pair *pair;
	uint16_t port; /* that was asked for */
	bool open;     /* the server's end */
	bool accepted;
};

static struct loop rig_loop;
static uint64_t rig_now;
static struct rig_server rig_server[RIG_PAIRS_MAX];
static unsigned rig_pairs;
static bool rig_no_descriptors;

static uint64_t rig_clock(struct loop *loop)
{
	(void)loop;
	return rig_now;
}

static void rig_ignore(void *owner, unsigned ready)
{
	(void)owner, (void)ready;
}

static struct transport *rig_connect(struct loop *loop, const struct addr *addr)
{
	struct pair *p;

	assert_true(rig_pairs < RIG_PAIRS_MAX);
	if (rig_no_descriptors)
		return NULL;
	p = pair_new_connecting(loop, NULL);
	rig_server[rig_pairs++] =
	    (struct rig_server){ .pair = p, .port = addr_port(addr), .open = true };
	pair_end(p, 1)->on_ready = rig_ignore;
	return pair_end(p, 0);
}

static void rig_begin(void)
{
	rig_now = 1000 * CLOCK_S;
	rig_pairs = 0;
	rig_no_descriptors = false;
	assert_true(loop_init(&rig_loop, false));
	rig_loop.read_clock = rig_clock;
	rig_loop.connect = rig_connect;
}

/* What stands between loop_enter and loop_settle. */
static void rig_enter(void)
{
	rig_loop.in_turn = false;
	loop_enter(&rig_loop);
}

static void rig_leave(void)
{
	loop_settle(&rig_loop);
	rig_loop.in_turn = false;
}

__attribute__((unused)) static void rig_pass(uint64_t ns)
{
	rig_now += ns;
	rig_enter();
	loop_run_timers(&rig_loop);
	rig_leave();
}

/* The client's end, as long as it wants something that it can have. */
static void rig_turn(unsigned i)
{
	for (unsigned n = 0; n < 100 && pair_is_open(rig_server[i].pair, 0) &&
			     pair_ready(rig_server[i].pair, 0) != 0;
	     n++) {
		rig_loop.in_turn = false;
		pair_deliver(rig_server[i].pair, 0);
		rig_loop.in_turn = false;
		if (!rig_server[i].open)
			break;
	}
}

__attribute__((unused)) static void rig_accept(unsigned i)
{
	rig_server[i].accepted = true;
	pair_accept(rig_server[i].pair);
	rig_turn(i);
}

/* What the client has written since. */
__attribute__((unused)) static const char *rig_heard(unsigned i)
{
	static char text[RIG_TEXT_MAX];
	struct transport *t = pair_end(rig_server[i].pair, 1);
	ssize_t n = t->ops->recv(t, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

__attribute__((unused)) static void rig_say_bytes(unsigned i, const char *text, size_t n)
{
	struct transport *t = pair_end(rig_server[i].pair, 1);
	struct iovec v = { .iov_base = (void *)(uintptr_t)text, .iov_len = n };

	assert_int_equal(t->ops->writev(t, &v, 1), (ssize_t)n);
	rig_turn(i);
}

__attribute__((unused)) static void rig_say(unsigned i, const char *text)
{
	rig_say_bytes(i, text, strlen(text));
}

/* The server hangs up, or does not take the connection. */
__attribute__((unused)) static void rig_cut(unsigned i)
{
	struct transport *t = pair_end(rig_server[i].pair, 1);
	bool client_open = pair_is_open(rig_server[i].pair, 0);

	rig_server[i].open = false;
	if (rig_server[i].accepted)
		t->ops->close(t, true);
	else
		pair_refuse(rig_server[i].pair);
	if (client_open) {
		rig_loop.in_turn = false;
		pair_deliver(rig_server[i].pair, 0);
		rig_loop.in_turn = false;
	}
}

__attribute__((unused)) static bool rig_is_open(unsigned i)
{
	return pair_is_open(rig_server[i].pair, 0);
}

static void rig_end(void)
{
	rig_enter();
	rig_leave();
	for (unsigned i = 0; i < rig_pairs; i++)
		if (rig_server[i].open)
			pair_end(rig_server[i].pair, 1)
			    ->ops->close(pair_end(rig_server[i].pair, 1), false);
	loop_fini(&rig_loop);
}

#endif
