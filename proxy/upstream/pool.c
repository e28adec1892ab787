/* pool.c - idle upstream connections. */
#include "upstream/pool.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/reason.h"

#define EXCESS_NS (100 * CLOCK_MS)

static struct endpoint_worker *cell_of(struct conn *c)
{
	return c->data;
}

/* Cells have one writer: a load and a store are enough. */
static void add(_Atomic uint32_t *cell, int by)
{
	uint32_t v = atomic_load_explicit(cell, memory_order_relaxed);

	atomic_store_explicit(cell, v + (uint32_t)by, memory_order_relaxed);
}

/* The last touch of the endpoint: control frees one that nobody uses once it reads 0 here, so all
 * before must be seen before. */
void pool_closed(struct conn *c)
{
	_Atomic uint32_t *n = &cell_of(c)->connections;

	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) - 1,
			      memory_order_release);
}

static void on_discarded_closed(struct conn *c, const struct reason *why)
{
	(void)why;
	pool_closed(c);
}

static void on_discarded_timeout(struct conn *c)
{
	conn_close(c, NULL);
}

/* conn_end has taken it off the list already. */
static void on_idle_closed(struct conn *c, const struct reason *why)
{
	(void)why;
	add(&cell_of(c)->idle_count, -1);
	pool_closed(c);
}

static const struct conn_events idle_events = { .timeout = on_discarded_timeout,
						.closed = on_idle_closed };
static const struct conn_events discarded_events = { .timeout = on_discarded_timeout,
						     .closed = on_discarded_closed };

/* The newest idle one of this trust; `quiet`: of which nothing has been heard since. */
static struct conn *newest(struct endpoint_worker *cell, uint64_t trust, bool quiet)
{
	while (!list_empty(&cell->idle)) {
		struct conn *c = LIST_ENTRY(cell->idle.next, struct conn, pool_link);

		if (tls_trust_of(c->transport) == trust && (!quiet || conn_is_quiet(c)))
			return c;
		conn_close(c, NULL);
	}
	return NULL;
}

static uint64_t trust_of(const struct endpoint *ep, const struct cluster *cl)
{
	return ep->peer == NULL ? 0 : tls_client_trust(cl->tls);
}

struct conn *pool_take(struct endpoint *ep, unsigned w, const struct cluster *cl, bool quiet,
		       const struct conn_events *on, void *owner)
{
	struct endpoint_worker *cell = &ep->worker[w];
	struct conn *c = newest(cell, trust_of(ep, cl), quiet);

	if (c == NULL)
		return NULL;
	list_remove(&c->pool_link);
	add(&cell->idle_count, -1);
	conn_set_timer(c, 0);
	c->on = on;
	c->owner = owner;
	return c;
}

static enum conn_protocol protocol_of(const struct endpoint *ep, const struct cluster *cl)
{
	return endpoint_protocol(ep, (enum http_choice)cl->conf->http2);
}

bool pool_shares(const struct endpoint *ep, const struct cluster *cl)
{
	return protocol_of(ep, cl) != CONN_HTTP1;
}

bool pool_is_full(const struct endpoint *ep, unsigned w, const struct cluster_conf *conf)
{
	return conf->max_connections != 0 && ep->worker[w].connections >= conf->max_connections;
}

struct conn *pool_connect(struct loop *loop, struct endpoint *ep, unsigned w,
			  const struct cluster *cl, enum conn_protocol protocol,
			  const struct conn_events *on, void *owner,
			  const struct codec_limits *limits)
{
	struct endpoint_worker *cell = &ep->worker[w];
	const struct tls_target tls = { .client = ep->peer == NULL ? NULL : cl->tls,
					.name = ep->peer,
					.resume = &cell->resume,
					.http1_only = protocol == CONN_HTTP1 };
	struct addr addr;
	struct conn *c;

	if (pool_is_full(ep, w, cl->conf))
		return NULL;
	if (!endpoint_addr(ep, &cell->turn, &addr))
		return NULL;
	loop->source = cl->conf->source == NULL || addr.u.sa.sa_family == AF_UNIX
			   ? NULL
			   : &cl->conf->source_addr;
	c = conn_connect(loop, &addr, &tls, protocol, on, owner, limits);
	loop->source = NULL;
	if (c == NULL)
		return NULL;
	c->data = cell;
	add(&cell->connections, 1);
	return c;
}

void pool_discard(struct conn *c)
{
	c->on = &discarded_events;
	c->owner = NULL;
	conn_finish(c);
}

/* Answers that come together leave more idle than is kept, and the calls that follow would open them
 * again: those beyond the bound have a moment. */
static uint64_t idle_time(const struct endpoint_worker *cell, const struct cluster_conf *conf)
{
	if (conf->keepalive == 0)
		return 0;
	if (cell->idle_count < conf->keepalive || conf->keepalive_timeout_ns < EXCESS_NS)
		return conf->keepalive_timeout_ns;
	return EXCESS_NS;
}

void pool_put(struct conn *c, struct endpoint *ep, unsigned w, const struct cluster_conf *conf)
{
	struct endpoint_worker *cell = &ep->worker[w];
	uint64_t ns = idle_time(cell, conf);

	if (ns == 0 || c->eof || c->broken ||
	    atomic_load_explicit(&ep->health.order, memory_order_relaxed) == ENDPOINT_DOWN ||
	    !conn_set_timer(c, c->loop->now_ns + ns)) {
		pool_discard(c);
		return;
	}
	c->on = &idle_events;
	c->owner = NULL;
	c->used = true;
	list_push_front(&cell->idle, &c->pool_link);
	add(&cell->idle_count, 1);
}

/*---------------------------------------------------------------- connections of HTTP/2 */

/* Many calls at once; it stays in its endpoint's list until it is closed. */
struct shared {
	struct list link;
	struct conn *conn;
	struct list waiters; /* while it is being made */
	uint32_t n_waiters;
	bool idle; /* counted as such */
};

static void set_idle(struct shared *s, bool idle)
{
	if (s->idle != idle)
		add(&cell_of(s->conn)->idle_count, idle ? 1 : -1);
	s->idle = idle;
}

/* For a call more. */
static struct conn *take_up(struct shared *s)
{
	set_idle(s, false);
	conn_set_timer(s->conn, 0);
	return s->conn;
}

/* What they hear may free what they waited for. */
static void take_waiters(struct shared *s, struct list *to)
{
	struct list *n;

	list_init(to);
	while ((n = list_pop_front(&s->waiters)) != NULL) {
		LIST_ENTRY(n, struct pool_waiter, link)->of = NULL;
		list_push_back(to, n);
	}
}

/* It was agreed to speak HTTP/1: it is the first waiter's alone, and the others are told to make
 * their own. */
static void fall_to_one(struct shared *s)
{
	struct conn *c = s->conn;
	struct list waiters, *n;
	struct pool_waiter *w;

	cell_of(c)->plain = true;
	list_remove(&s->link);
	take_waiters(s, &waiters);
	free(s);
	n = list_pop_front(&waiters);
	if (n == NULL) {
		pool_discard(c);
		return;
	}
	w = LIST_ENTRY(n, struct pool_waiter, link);
	w->ready(w, c);
	while ((n = list_pop_front(&waiters)) != NULL) {
		w = LIST_ENTRY(n, struct pool_waiter, link);
		w->again(w);
	}
}

static void on_shared_connected(struct conn *c)
{
	struct shared *s = c->owner;
	struct list waiters, *n;

	if (!c->codec.multiplexed) {
		fall_to_one(s);
		return;
	}
	cell_of(c)->plain = false;
	if (cell_of(c)->streams > 0)
		h2_client_presume(&c->h2, cell_of(c)->streams);
	take_waiters(s, &waiters);
	s->n_waiters = 0;
	while ((n = list_pop_front(&waiters)) != NULL) {
		struct pool_waiter *w = LIST_ENTRY(n, struct pool_waiter, link);

		if (conn_room(c) > 0)
			w->ready(w, take_up(s));
		else
			w->again(w);
	}
}

static void on_shared_closed(struct conn *c, const struct reason *why)
{
	struct shared *s = c->owner;
	struct list waiters, *n;

	set_idle(s, false);
	list_remove(&s->link);
	take_waiters(s, &waiters);
	free(s);
	pool_closed(c);
	while ((n = list_pop_front(&waiters)) != NULL) {
		struct pool_waiter *w = LIST_ENTRY(n, struct pool_waiter, link);

		w->failed(w, why != NULL ? why : reason_connect_failed);
	}
}

static const struct conn_events shared_events = { .connected = on_shared_connected,
						  .timeout = on_discarded_timeout,
						  .closed = on_shared_closed };

static bool is_usable(const struct shared *s, uint64_t trust, bool quiet)
{
	const struct conn *c = s->conn;

	if (c->connecting || conn_room(c) == 0 || tls_trust_of(c->transport) != trust)
		return false;
	return !quiet || !s->idle || conn_is_quiet(c);
}

struct conn *pool_share(struct endpoint *ep, unsigned w, const struct cluster *cl, bool quiet)
{
	uint64_t trust = trust_of(ep, cl);

	LIST_EACH (n, &ep->worker[w].shared) {
		struct shared *s = LIST_ENTRY(n, struct shared, link);

		if (!is_usable(s, trust, quiet))
			continue;
		return take_up(s);
	}
	return NULL;
}

/* One that is being made, and has room for one more by what we know of the endpoint, which is
 * little. */
static struct shared *nascent(struct endpoint_worker *cell, uint64_t trust)
{
	LIST_EACH (n, &cell->shared) {
		struct shared *s = LIST_ENTRY(n, struct shared, link);
		uint32_t room = conn_room(s->conn);

		if (s->conn->prelude != 0 && cell->plain)
			room = 1;
		if (cell->streams > 0 && cell->streams < room)
			room = cell->streams;
		if (s->conn->connecting && s->n_waiters < room &&
		    tls_trust_of(s->conn->transport) == trust)
			return s;
	}
	return NULL;
}

static struct shared *make_shared(struct loop *loop, struct endpoint *ep, unsigned w,
				  const struct cluster *cl, const struct codec_limits *limits)
{
	struct shared *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	list_init(&s->waiters);
	s->conn = pool_connect(loop, ep, w, cl, protocol_of(ep, cl), &shared_events, s,
			       limits);
	if (s->conn == NULL) {
		free(s);
		return NULL;
	}
	list_push_back(&ep->worker[w].shared, &s->link);
	return s;
}

bool pool_await(struct loop *loop, struct endpoint *ep, unsigned w, const struct cluster *cl,
		const struct codec_limits *limits, struct pool_waiter *waiter)
{
	struct shared *s = nascent(&ep->worker[w], trust_of(ep, cl));

	if (s == NULL)
		s = make_shared(loop, ep, w, cl, limits);
	if (s == NULL)
		return false;
	s->n_waiters++;
	waiter->of = s;
	list_push_back(&s->waiters, &waiter->link);
	return true;
}

/* A new connection is used before it has said what it takes: by what another one said. */
static void learn_bound(struct conn *c)
{
	uint32_t bound = h2_client_bound(&c->h2);

	if (bound > 0)
		cell_of(c)->streams = bound;
}

/* Nobody keeps the time of a connection that is being made but those who wait for it. */
void pool_unwait(struct pool_waiter *waiter)
{
	struct shared *s = waiter->of;

	list_remove(&waiter->link);
	waiter->of = NULL;
	if (s == NULL)
		return;
	s->n_waiters--;
	if (list_empty(&s->waiters))
		conn_close(s->conn, NULL);
}

void pool_release(struct conn *c, struct endpoint *ep, const struct cluster_conf *conf)
{
	struct shared *s = c->owner;

	c->used = true;
	if (c->closing)
		return;
	learn_bound(c);
	if (c->codec.phase >= CODEC_CLOSED || h2_streams(&c->h2) > 0)
		return;
	if (conn_room(c) > 0 && cell_of(c)->idle_count < conf->keepalive &&
	    atomic_load_explicit(&ep->health.order, memory_order_relaxed) != ENDPOINT_DOWN &&
	    conn_set_timer(c, c->loop->now_ns + conf->keepalive_timeout_ns))
		set_idle(s, true);
	else
		conn_finish(c);
}

/* No more calls; those under way end in peace, and so do those that wait for one to be made. */
static void clear_shared(struct list *list)
{
	LIST_EACH (n, list) {
		struct conn *c = LIST_ENTRY(n, struct shared, link)->conn;

		if (c->connecting)
			continue;
		if (h2_streams(&c->h2) == 0)
			conn_close(c, NULL);
		else
			conn_last(c);
	}
}

void pool_clear(struct endpoint *ep, unsigned w)
{
	LIST_EACH (n, &ep->worker[w].idle)
		conn_close(LIST_ENTRY(n, struct conn, pool_link), NULL);
	clear_shared(&ep->worker[w].shared);
}

bool pool_close_idle(struct endpoint *ep, unsigned w)
{
	bool any = false;

	LIST_EACH (n, &ep->worker[w].idle) {
		struct conn *c = LIST_ENTRY(n, struct conn, pool_link);

		if (c->feeding) /* what it has just brought is why this is called */
			continue;
		conn_close(c, NULL);
		any = true;
	}
	LIST_EACH (n, &ep->worker[w].shared) {
		struct shared *s = LIST_ENTRY(n, struct shared, link);

		if (!s->idle || s->conn->feeding)
			continue;
		conn_close(s->conn, NULL);
		any = true;
	}
	return any;
}
