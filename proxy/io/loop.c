/* loop.c - the turning of one thread. */
#include "io/loop.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "io/conn.h"
#include "io/conn_internal.h"

static uint64_t system_clock(struct loop *loop)
{
	(void)loop;
	return clock_mono_ns();
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;

	(void)fd, (void)what;
	loop->tick_at = 0;
	loop_enter(loop);
	loop_run_timers(loop);
	loop_settle(loop);
}

static bool init_base(struct loop *loop)
{
	struct event_config *config = event_config_new();

	if (config == NULL)
		return false;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_NO_CACHE_TIME);
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (loop->base == NULL)
		return false;
	loop->tick = event_new(loop->base, -1, 0, on_tick, loop);
	return loop->tick != NULL;
}

bool loop_init(struct loop *loop, bool real)
{
	*loop = (struct loop){ .read_clock = system_clock, .connect = tcp_connect };
	list_init(&loop->gathers);
	list_init(&loop->held);
	list_init(&loop->dirty);
	list_init(&loop->conns);
	list_init(&loop->dead);
	timers_init(&loop->timers);
	arena_pool_init(&loop->pool, LOOP_POOL_BLOCKS);
	loop->in = malloc(LOOP_IN_BYTES);
	loop->out = malloc(LOOP_OUT_BYTES);
	if (loop->in == NULL || loop->out == NULL || (real && !init_base(loop))) {
		loop_fini(loop);
		return false;
	}
	return true;
}

void loop_fini(struct loop *loop)
{
	CHECK(list_empty(&loop->conns));
	conn_gathers_free(loop);
	if (loop->tick != NULL)
		event_free(loop->tick);
	if (loop->base != NULL)
		event_base_free(loop->base);
	timers_fini(&loop->timers);
	arena_pool_fini(&loop->pool);
	free(loop->in);
	free(loop->out);
	*loop = (struct loop){ 0 };
}

void loop_enter(struct loop *loop)
{
	uint64_t now;

	if (loop->in_turn)
		return;
	loop->in_turn = true;
	now = loop->read_clock(loop);
	/* the wall clock is derived, and set right once a second, to save a reading each turn */
	if (loop->wall_ns == 0 || now / CLOCK_S != loop->now_ns / CLOCK_S)
		loop->wall_ns = clock_wall_ns();
	else
		loop->wall_ns += now - loop->now_ns;
	loop->now_ns = now;
}

void loop_run_timers(struct loop *loop)
{
	timers_run(&loop->timers, loop->now_ns);
}

/* Keeps the tick no later than the first timer; an early tick does no harm. */
static void set_tick(struct loop *loop)
{
	uint64_t next = timers_next(&loop->timers);
	struct timeval tv;
	uint64_t left_us;

	if (loop->tick == NULL || next == 0 || (loop->tick_at != 0 && loop->tick_at <= next))
		return;
	left_us = next > loop->now_ns ? (next - loop->now_ns + 999) / 1000 : 0;
	tv.tv_sec = (time_t)(left_us / 1000000);
	tv.tv_usec = (suseconds_t)(left_us % 1000000);
	event_add(loop->tick, &tv);
	loop->tick_at = next;
}

static void run_deferred(struct deferred *d)
{
	d->run(d);
}

void loop_free_later(struct loop *loop, void *memory)
{
	memcpy(memory, &loop->retired, sizeof(void *));
	loop->retired = memory;
}

static void free_retired(struct loop *loop)
{
	while (loop->retired != NULL) {
		void *memory = loop->retired;

		memcpy(&loop->retired, memory, sizeof(void *));
		free(memory);
	}
}

void loop_settle(struct loop *loop)
{
	struct list *n;

	CHECK(!loop->settling);
	loop->settling = true;
	do {
		while ((n = list_pop_front(&loop->dirty)) != NULL)
			conn_settle(LIST_ENTRY(n, struct conn, dirty_link));
		/* may write, or let calls go on that waited for what has just ended */
		n = list_pop_front(&loop->dead);
		if (n != NULL)
			run_deferred(LIST_ENTRY(n, struct deferred, link));
	} while (n != NULL);
	CHECK(list_empty(&loop->dirty) && list_empty(&loop->gathers));
	loop->out_used = loop->out_last = 0;
	if (loop->retired != NULL)
		free_retired(loop);
	loop->settling = false;
	set_tick(loop);
}

void loop_end_turn(struct loop *loop)
{
	if (list_empty(&loop->held))
		return;
	loop->holds = false;
	conn_flush_held(loop);
	loop_settle(loop);
	loop->holds = true;
}

void loop_run(struct loop *loop, void (*after_turn)(struct loop *))
{
	loop->holds = true;
	while (!loop->stop) {
		event_base_loop(loop->base, EVLOOP_ONCE);
		loop_end_turn(loop);
		if (loop->in_turn)
			loop->lag_ns = loop->read_clock(loop) - loop->now_ns;
		loop->in_turn = false;
		after_turn(loop);
	}
}

void loop_defer(struct loop *loop, struct deferred *d, void (*run)(struct deferred *))
{
	d->run = run;
	list_push_back(&loop->dead, &d->link);
}

char *loop_reserve(struct loop *loop, size_t n)
{
	char *p;

	if (n > LOOP_OUT_BYTES)
		return NULL;
	if (loop->out_used > 0 && loop->out_used + n > LOOP_OUT_TURN_BYTES) {
		conn_flush_all(loop);
		loop->out_used = 0;
	}
	p = loop->out + loop->out_used;
	loop->out_last = loop->out_used;
	loop->out_used += n;
	return p;
}

bool loop_is_last(const struct loop *loop, const char *end)
{
	return end > loop->out + loop->out_last && end <= loop->out + loop->out_used;
}

void loop_use(struct loop *loop, const char *end)
{
	size_t used = (size_t)(end - loop->out);

	if (used > loop->out_used)
		loop->out_used = used;
}
