/* pair.c - two transports joined in memory. */
#include "io/pair.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct pair_end {
	struct transport transport; /* first */
	struct pair *pair;
	struct loop *loop;
	struct pair_knobs knobs;
	unsigned side;
	unsigned wants;
	char *in; /* what has come for this end: a ring of PAIR_CAPACITY_MAX */
	size_t at, n;
	bool open;
	bool in_ended; /* the other end sends no more */
	bool reset;
	bool changed; /* since on_ready was last called: what WANT_HANGUP is about */
};

enum connect_state { CONNECTED, CONNECTING, REFUSED };

struct pair {
	struct pair_end end[2];
	enum connect_state connect;
	struct list link;
};

static struct pair_end *end_of(struct transport *t)
{
	return (struct pair_end *)(void *)t;
}

static struct pair_end *other(const struct pair_end *e)
{
	return &e->pair->end[1 - e->side];
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*---------------------------------------------------------------- the queue */

static size_t room(const struct pair_end *e)
{
	return e->n < e->knobs.capacity ? e->knobs.capacity - e->n : 0;
}

static void queue_put(struct pair_end *e, const char *p, size_t n)
{
	size_t to = (e->at + e->n) % PAIR_CAPACITY_MAX;
	size_t first = least(n, PAIR_CAPACITY_MAX - to);

	memcpy(e->in + to, p, first);
	memcpy(e->in, p + first, n - first);
	e->n += n;
	e->changed = true;
}

static void queue_take(struct pair_end *e, char *p, size_t n)
{
	size_t first = least(n, PAIR_CAPACITY_MAX - e->at);

	memcpy(p, e->in + e->at, first);
	memcpy(p + first, e->in, n - first);
	e->at = (e->at + n) % PAIR_CAPACITY_MAX;
	e->n -= n;
}

/*---------------------------------------------------------------- operations */

static void meet_reset(struct pair_end *e)
{
	e->reset = true;
	e->changed = true;
	if (e->knobs.reset_drops)
		e->n = 0;
}

static ssize_t pair_recv(struct transport *t, void *p, size_t n)
{
	struct pair_end *e = end_of(t);

	CHECK(e->open);
	if (e->pair->connect == CONNECTING)
		return TRANSPORT_AGAIN;
	if (e->pair->connect == REFUSED)
		return TRANSPORT_BROKEN;
	if (e->n == 0 && e->reset)
		return TRANSPORT_BROKEN;
	if (e->n == 0)
		return e->in_ended ? 0 : TRANSPORT_AGAIN;
	n = least(n, e->n);
	if (e->knobs.recv_max != 0)
		n = least(n, e->knobs.recv_max);
	queue_take(e, p, n);
	return (ssize_t)n;
}

/* Bytes for a closed end vanish, and the sender hears of it at its next call. */
static ssize_t send_to_nobody(struct pair_end *e, const struct iovec *iov, int n)
{
	ssize_t all = 0;

	for (int i = 0; i < n; i++)
		all += (ssize_t)iov[i].iov_len;
	meet_reset(e);
	return all;
}

static ssize_t pair_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct pair_end *e = end_of(t), *to = other(e);
	size_t most, sent = 0;

	CHECK(e->open);
	if (e->reset || e->pair->connect == REFUSED)
		return TRANSPORT_BROKEN;
	if (e->pair->connect == CONNECTING)
		return TRANSPORT_AGAIN;
	CHECK(!to->in_ended);
	if (!to->open)
		return send_to_nobody(e, iov, n);
	most = e->knobs.send_max != 0 ? least(e->knobs.send_max, room(to)) : room(to);
	if (most == 0)
		return TRANSPORT_AGAIN;
	for (int i = 0; i < n && sent < most; i++) {
		size_t some = least(iov[i].iov_len, most - sent);

		queue_put(to, iov[i].iov_base, some);
		sent += some;
	}
	return (ssize_t)sent;
}

static void pair_want(struct transport *t, unsigned wants)
{
	struct pair_end *e = end_of(t);

	CHECK(e->open);
	/* asking anew for changes brings one, as epoll does */
	if ((wants & WANT_HANGUP) && !(e->wants & WANT_HANGUP))
		e->changed = true;
	e->wants = wants;
}

static void pair_half_close(struct transport *t)
{
	struct pair_end *to = other(end_of(t));

	to->in_ended = true;
	to->changed = true;
}

static bool pair_intact(struct transport *t)
{
	const struct pair_end *e = end_of(t);

	return e->pair->connect == CONNECTED && !e->reset;
}

static bool pair_quiet(struct transport *t)
{
	const struct pair_end *e = end_of(t);

	return pair_intact(t) && e->n == 0 && !e->in_ended;
}

static void pair_free(struct pair *p)
{
	free(p->end[0].in);
	free(p->end[1].in);
	list_remove(&p->link);
	free(p);
}

static void pair_close(struct transport *t, bool reset)
{
	struct pair_end *e = end_of(t), *o = other(e);

	CHECK(e->open);
	e->open = false;
	if (!o->open) {
		pair_free(e->pair);
		return;
	}
	if (reset || e->n > 0)
		meet_reset(o);
	else
		pair_half_close(t);
}

static const struct transport_ops pair_ops = {
	.recv = pair_recv,
	.writev = pair_writev,
	.want = pair_want,
	.half_close = pair_half_close,
	.intact = pair_intact,
	.quiet = pair_quiet,
	.close = pair_close,
};

/*---------------------------------------------------------------- both ends */

struct pair *pair_new(struct loop *of_0, struct loop *of_1)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	list_init(&p->link);
	for (unsigned side = 0; side < 2; side++) {
		struct pair_end *e = &p->end[side];

		e->transport.ops = &pair_ops;
		e->pair = p;
		e->side = side;
		e->loop = side == 0 ? of_0 : of_1;
		e->open = true;
		e->knobs.capacity = PAIR_CAPACITY_MAX;
		e->in = malloc(PAIR_CAPACITY_MAX);
	}
	if (p->end[0].in == NULL || p->end[1].in == NULL) {
		pair_free(p);
		return NULL;
	}
	return p;
}

struct pair *pair_new_connecting(struct loop *of_0, struct loop *of_1)
{
	struct pair *p = pair_new(of_0, of_1);

	if (p != NULL)
		p->connect = CONNECTING;
	return p;
}

void pair_accept(struct pair *p)
{
	CHECK(p->connect == CONNECTING);
	p->connect = CONNECTED;
}

void pair_refuse(struct pair *p)
{
	CHECK(p->connect == CONNECTING);
	p->connect = REFUSED;
	p->end[1].open = false;
	if (!p->end[0].open)
		pair_free(p);
}

struct transport *pair_end(struct pair *p, unsigned side)
{
	return &p->end[side].transport;
}

struct pair_knobs *pair_knobs(struct pair *p, unsigned side)
{
	return &p->end[side].knobs;
}

static bool is_writable(const struct pair_end *e)
{
	const struct pair_end *to = other(e);

	return e->pair->connect != CONNECTING && (e->reset || !to->open || room(to) > 0);
}

unsigned pair_ready(const struct pair *p, unsigned side)
{
	const struct pair_end *e = &p->end[side];
	bool readable = p->connect != CONNECTING && (e->n > 0 || e->in_ended || e->reset);
	unsigned ready = 0;

	if (!e->open)
		return 0;
	if ((e->wants & WANT_READ) && readable)
		ready |= WANT_READ;
	if ((e->wants & WANT_HANGUP) && e->changed && readable)
		ready |= WANT_HANGUP;
	if ((e->wants & WANT_WRITE) && is_writable(e))
		ready |= WANT_WRITE;
	return ready;
}

static void deliver(struct pair_end *e, unsigned ready)
{
	struct loop *loop = e->loop;

	if (loop != NULL)
		loop_enter(loop);
	e->transport.on_ready(e->transport.owner, ready);
	if (loop != NULL)
		loop_settle(loop);
}

void pair_deliver(struct pair *p, unsigned side)
{
	unsigned ready = pair_ready(p, side);

	if (ready == 0)
		return;
	p->end[side].changed = false;
	deliver(&p->end[side], ready);
}

void pair_deliver_spurious(struct pair *p, unsigned side)
{
	struct pair_end *e = &p->end[side];

	if (e->open && (e->wants & WANT_READ))
		deliver(e, WANT_READ);
}

struct list *pair_link(struct pair *p)
{
	return &p->link;
}

struct pair *pair_of_link(struct list *n)
{
	return LIST_ENTRY(n, struct pair, link);
}

bool pair_is_open(const struct pair *p, unsigned side)
{
	return p->end[side].open;
}

bool pair_was_reset(const struct pair *p, unsigned side)
{
	return p->end[side].reset;
}

size_t pair_unread(const struct pair *p, unsigned side)
{
	return p->end[side].n;
}
