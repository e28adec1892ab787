/* traffic.c - the callers, who come at random and leave with an answer, and the upstream. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auto.h"
#include "base/check.h"
#include "io/pair.h"
#include "sim.h"
#include "wire.h"

/* Above 0, at most 1. */
static double draw(struct dice *d)
{
	return ((double)(dice_next(d) >> 11) + 1) / 9007199254740992.0;
}

static void send_text(struct transport *t, const char *text)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };

	if (t->ops->writev(t, &v, 1) != (ssize_t)v.iov_len)
		sim_fail("a short text was not taken whole");
}

/* False: the other side has ended. */
static bool read_into(struct transport *t, struct wire *w)
{
	static char buffer[64 * 1024];
	ssize_t n = t->ops->recv(t, buffer, sizeof(buffer));

	if (n > 0)
		wire_feed(w, buffer, (size_t)n);
	return n > 0 || n == TRANSPORT_AGAIN;
}

static struct transport *outer_end(struct pair *p, void *owner, void (*on_ready)(void *, unsigned))
{
	struct transport *t = pair_end(p, 1);

	t->owner = owner;
	t->on_ready = on_ready;
	t->ops->want(t, WANT_READ);
	return t;
}

static void on_body(struct wire *w, const char *p, size_t n)
{
	(void)w, (void)p, (void)n;
}

/*---------------------------------------------------------------- callers */

struct caller {
	struct house *house;
	struct list link; /* idle */
	struct transport *transport;
	struct wire in;
	uint64_t asked_ns;
	unsigned status;
	bool last;
};

static void caller_end(struct caller *c)
{
	list_remove(&c->link);
	c->house->connections--;
	c->transport->ops->close(c->transport, false);
	wire_fini(&c->in);
	free(c);
}

static enum wire_state on_answer_head(struct wire *w, const struct wire_head *h)
{
	struct caller *c = w->owner;

	c->status = h->status;
	c->last = !h->keep_alive;
	return wire_body_state(w, h, false);
}

static void on_answer(struct wire *w, const struct wire_head *trailers)
{
	struct caller *c = w->owner;
	struct seen *s = &c->house->seen;

	(void)trailers;
	if (c->status == 200) {
		s->good++;
		stat_hist_add(&s->latency, c->house->now_ns - c->asked_ns);
	} else if (c->status == 503) {
		s->refused++;
	} else {
		sim_fail("an answer %u", c->status);
	}
	if (c->last)
		sim_fail("an answer %u that ends the connection", c->status);
	list_push_back(&c->house->idle, &c->link);
}

static const struct wire_events answer_events = { .head = on_answer_head,
						  .body = on_body,
						  .end = on_answer };

static void on_caller_ready(void *owner, unsigned ready)
{
	struct caller *c = owner;

	(void)ready;
	if (!read_into(c->transport, &c->in))
		sim_fail("a caller is cut off");
}

static struct caller *caller_new(struct house *h)
{
	struct worker_listener *wl = h->wl[h->connections % AUTO_WORKERS];
	struct loop *loop = &wl->worker->loop;
	struct pair *pair = pair_new(loop, NULL);
	struct caller *c = sim_alloc(sizeof(*c));
	struct addr peer;

	CHECK(addr_parse((struct slice)SLICE("10.1.1.1:999"), &peer));
	list_push_back(&h->pairs, pair_link(pair));
	list_init(&c->link);
	c->house = h;
	c->transport = outer_end(pair, c, on_caller_ready);
	wire_init(&c->in, true, "a caller", &answer_events, c);
	h->connections++;
	loop_enter(loop);
	atomic_fetch_add(&h->shared.connections, 1);
	CHECK(worker_accept(wl, pair_end(pair, 0), &peer));
	loop_settle(loop);
	return c;
}

static void call(struct house *h)
{
	struct list *n = list_pop_front(&h->idle);
	struct caller *c = n != NULL ? LIST_ENTRY(n, struct caller, link) : caller_new(h);

	c->asked_ns = h->now_ns;
	send_text(c->transport, "GET / HTTP/1.1\r\nHost: sim\r\n\r\n");
}

/*---------------------------------------------------------------- the upstream */

struct server {
	struct house *house;
	struct list link; /* serving or waiting */
	struct transport *transport;
	struct wire in;
	uint64_t due_ns;
};

/* The mean is 1. */
static double draw_noise(struct house *h)
{
	double sum = -6;

	switch (h->noise) {
	case NOISE_LOG_NORMAL: /* twelve throws are nearly a normal one */
		for (int i = 0; i < 12; i++)
			sum += draw(&h->dice);
		return exp(0.5 * sum - 0.125);
	case NOISE_OUTLIERS:
		return (dice_chance(&h->dice, 50) ? 10 : 1) / 1.45;
	default:
		return 1;
	}
}

static void serve_next(struct house *h)
{
	while (h->busy < h->capacity && !list_empty(&h->waiting)) {
		struct server *s = LIST_ENTRY(list_pop_front(&h->waiting), struct server, link);

		h->busy++;
		s->due_ns = h->now_ns + (uint64_t)(h->service_ns * draw_noise(h)) + 1;
		list_push_back(&h->serving, &s->link);
	}
}

static void answer(struct server *s)
{
	list_remove(&s->link);
	s->house->busy--;
	send_text(s->transport, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

static enum wire_state on_request_head(struct wire *w, const struct wire_head *h)
{
	return wire_body_state(w, h, false);
}

static void on_request(struct wire *w, const struct wire_head *trailers)
{
	struct server *s = w->owner;

	(void)trailers;
	list_push_back(&s->house->waiting, &s->link);
	serve_next(s->house);
}

static const struct wire_events request_events = { .head = on_request_head,
						   .body = on_body,
						   .end = on_request };

static void on_server_ready(void *owner, unsigned ready)
{
	struct server *s = owner;

	(void)ready;
	if (read_into(s->transport, &s->in))
		return;
	s->transport->ops->close(s->transport, false);
	list_remove(&s->link);
	wire_fini(&s->in);
	free(s);
}

struct transport *upstream_connect(struct loop *loop, const struct addr *addr)
{
	struct pair *pair = pair_new_connecting(loop, NULL);
	struct server *s = sim_alloc(sizeof(*s));

	(void)addr;
	s->house = house_of(loop);
	list_push_back(&s->house->pairs, pair_link(pair));
	list_init(&s->link);
	s->transport = outer_end(pair, s, on_server_ready);
	wire_init(&s->in, false, "the upstream", &request_events, s);
	pair_accept(pair);
	return pair_end(pair, 0);
}

/*---------------------------------------------------------------- time */

uint64_t traffic_next(const struct house *h)
{
	uint64_t next = h->next_call_ns;

	LIST_EACH (n, &h->serving) {
		uint64_t due_ns = LIST_ENTRY(n, struct server, link)->due_ns;

		next = due_ns < next ? due_ns : next;
	}
	return next;
}

static void plan_call(struct house *h)
{
	h->next_call_ns += (uint64_t)(-log(draw(&h->dice)) / h->offered_per_s * 1e9) + 1;
}

void traffic_run(struct house *h)
{
	LIST_EACH (n, &h->serving) {
		struct server *s = LIST_ENTRY(n, struct server, link);

		if (s->due_ns <= h->now_ns)
			answer(s);
	}
	serve_next(h);
	for (; h->next_call_ns <= h->now_ns; plan_call(h))
		call(h);
}

void traffic_close(struct house *h)
{
	LIST_EACH (n, &h->idle)
		caller_end(LIST_ENTRY(n, struct caller, link));
}
