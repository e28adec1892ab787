/* pool.c - idle upstream connections. */
#include "upstream/pool.h"

#include "base/reason.h"

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

bool pool_is_full(const struct endpoint *ep, unsigned w, const struct cluster_conf *conf)
{
	return conf->max_connections != 0 && ep->worker[w].connections >= conf->max_connections;
}

struct conn *pool_connect(struct loop *loop, struct endpoint *ep, unsigned w,
			  const struct cluster *cl, const struct conn_events *on, void *owner,
			  const struct codec_limits *limits)
{
	struct endpoint_worker *cell = &ep->worker[w];
	const struct tls_target tls = { .client = ep->peer == NULL ? NULL : cl->tls,
					.name = ep->peer,
					.resume = &cell->resume };
	struct addr addr;
	struct conn *c;

	if (pool_is_full(ep, w, cl->conf))
		return NULL;
	if (!endpoint_addr(ep, &cell->turn, &addr))
		return NULL;
	c = conn_connect(loop, &addr, &tls, on, owner, limits);
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

void pool_put(struct conn *c, struct endpoint *ep, unsigned w, const struct cluster_conf *conf)
{
	struct endpoint_worker *cell = &ep->worker[w];

	if (cell->idle_count >= conf->keepalive || c->eof || c->broken ||
	    atomic_load_explicit(&ep->health.order, memory_order_relaxed) == ENDPOINT_DOWN ||
	    !conn_set_timer(c, c->loop->now_ns + conf->keepalive_timeout_ns)) {
		pool_discard(c);
		return;
	}
	c->on = &idle_events;
	c->owner = NULL;
	c->used = true;
	list_push_front(&cell->idle, &c->pool_link);
	add(&cell->idle_count, 1);
}

void pool_clear(struct endpoint *ep, unsigned w)
{
	LIST_EACH (n, &ep->worker[w].idle)
		conn_close(LIST_ENTRY(n, struct conn, pool_link), NULL);
}
