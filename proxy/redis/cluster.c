/* cluster.c - a cluster's table of slots, kept by CLUSTER SLOTS and by what nodes say of each other (R3). */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "redis/client_internal.h"

#define REFRESH_LEAST_NS CLOCK_S
#define REFRESH_MOST_NS  (60 * CLOCK_S)
#define REFRESH_WAIT_NS  CLOCK_S /* of its answer */

static void set_timer(struct redis_client *c, uint64_t at_ns)
{
	struct timer *t = &c->cluster.timer;

	if (t->deadline_ns != 0 && t->deadline_ns <= at_ns)
		return;
	if (!timer_set(&c->manner.loop->timers, t, at_ns))
		log_error("out of memory: the redis cluster's table is not kept");
}

void cluster_refresh_soon(struct redis_client *c)
{
	struct cluster *k = &c->cluster;
	uint64_t now = c->manner.loop->now_ns, earliest = k->asked_ns + REFRESH_LEAST_NS;

	if (!k->under_way && !c->closing)
		set_timer(c, k->asked_ns == 0 || earliest < now ? now : earliest);
}

/*------------------------------------------------------------------- answers */

/* A host of "" is that of who said it. */
static struct redis_node *node_of(struct redis_client *c, struct slice host, uint16_t port,
				  const struct redis_node *from)
{
	struct redis_place place = { .port = port };

	if (host.n == 0 && from->place.is_unix)
		return NULL;
	snprintf(place.host, sizeof(place.host), "%.*s",
		 host.n == 0 ? (int)strlen(from->place.host) : (int)host.n,
		 host.n == 0 ? from->place.host : host.p);
	return client_node(c, &place);
}

static void take_range(void *arg, const struct slot_range *r)
{
	struct redis_client *c = arg;
	struct redis_node *n = node_of(c, r->host, r->port, c->cluster.asked);
	uint8_t index = n == NULL ? NO_NODE : (uint8_t)client_node_index(c, n);

	if (n != NULL)
		n->listed = true;
	for (unsigned slot = r->first; slot <= r->last; slot++)
		c->cluster.slot[slot] = index;
}

static void forget_slots_of(struct cluster *k, unsigned index, unsigned moved)
{
	for (unsigned i = 0; i < CLUSTER_SLOTS; i++)
		if (k->slot[i] == index)
			k->slot[i] = NO_NODE;
		else if (k->slot[i] == moved)
			k->slot[i] = (uint8_t)index;
}

/* Nodes that have no slots any more, unless the file names them. */
static void drop_unlisted(struct redis_client *c)
{
	for (unsigned i = c->n_nodes; i-- > 0;) {
		struct redis_node *n = c->node[i];
		bool named = false;

		for (unsigned k = 0; k < c->o.n_places; k++)
			named = named || redis_place_eq(&n->place, &c->o.place[k]);
		if (n->listed || named || redis_link_under_way(n->link) > 0)
			continue;
		redis_node_stop(n);
		c->node[i] = c->node[--c->n_nodes];
		forget_slots_of(&c->cluster, i, c->n_nodes);
		free(n);
	}
}

static void take_table(struct redis_client *c, const struct resp *r)
{
	struct cluster *k = &c->cluster;

	for (unsigned i = 0; i < c->n_nodes; i++)
		c->node[i]->listed = false;
	memset(k->slot, NO_NODE, sizeof(k->slot));
	if (slots_read(r, take_range, c))
		drop_unlisted(c);
	else
		log_warn("redis: an answer to CLUSTER SLOTS is malformed");
}

/* Calls find their way by MOVED: who may not ask, or asks one that is no cluster, goes on. */
static void on_no_table(struct redis_client *c, struct slice error)
{
	const struct refusal *r = refusal_of(error);

	if (r->answer == REFUSAL_LATER || r->answer == REFUSAL_CLOSE) {
		redis_node_refused(c->cluster.asked, r, error);
		return;
	}
	if (!c->cluster.complained)
		log_warn("redis: the cluster does not tell its slots: %.*s",
			 (int)(error.n < 120 ? error.n : 120), error.p);
	c->cluster.complained = true;
}

static void on_table(struct redis_command *m, enum redis_outcome o, const struct resp *r)
{
	struct redis_client *c = LIST_ENTRY(m, struct redis_client, cluster.refresh);
	uint64_t now = c->manner.loop->now_ns;

	c->cluster.under_way = false;
	if (c->closing)
		return;
	if (o == REDIS_REPLY && r->type != RESP_ERROR) {
		c->cluster.complained = false;
		redis_node_answered(c->cluster.asked, now - c->cluster.asked_ns);
		take_table(c, r);
		set_timer(c, now + REFRESH_MOST_NS);
		return;
	}
	if (o == REDIS_REPLY)
		on_no_table(c, r->text);
	cluster_refresh_soon(c);
}

/*------------------------------------------------------------------ questions */

/* Another one each time: one that is cut off from the others does not know. */
static struct redis_node *any_ready(struct redis_client *c)
{
	unsigned from = c->n_nodes == 0 ? 0 : (unsigned)(client_random(c) % c->n_nodes);

	for (unsigned i = 0; i < c->n_nodes; i++) {
		struct redis_node *n = c->node[(from + i) % c->n_nodes];

		if (redis_node_is_ready(n))
			return n;
	}
	return NULL;
}

static void refresh(struct redis_client *c)
{
	struct cluster *k = &c->cluster;
	uint64_t now = c->manner.loop->now_ns;
	struct redis_node *n = any_ready(c);
	struct buf b = { .p = NULL };

	k->asked_ns = now;
	if (n == NULL) /* one that becomes ready says so */
		return;
	k->asked = n;
	k->refresh = (struct redis_command){ .deadline_ns = now + REFRESH_WAIT_NS,
					     .reply_max = RESP_BYTES_TABLE,
					     .done = on_table };
	resp_put_words(&b, "CLUSTER", "SLOTS", NULL);
	k->under_way = !b.oom && redis_node_put(n, &k->refresh, slice_of(b.p, b.n));
	buf_fini(&b);
	if (!k->under_way)
		set_timer(c, now + REFRESH_LEAST_NS);
}

static void on_timer(struct timer *t)
{
	struct redis_client *c = LIST_ENTRY(t, struct redis_client, cluster.timer);

	if (!c->closing && !c->cluster.under_way)
		refresh(c);
}

struct redis_node *cluster_route(struct redis_client *c, uint16_t slot)
{
	uint8_t index = c->cluster.slot[slot];

	if (index < c->n_nodes)
		return c->node[index];
	cluster_refresh_soon(c);
	return any_ready(c); /* it knows who has it */
}

struct redis_node *cluster_redirect(struct redis_client *c, struct slice error,
				    const struct redis_node *from, bool moved)
{
	struct redirect to;
	struct redis_node *n;

	if (!redirect_parse(error, &to))
		return NULL;
	n = node_of(c, slice_str(to.host), to.port, from);
	if (moved && n != NULL) {
		c->cluster.slot[to.slot] = (uint8_t)client_node_index(c, n);
		cluster_refresh_soon(c);
	}
	return n;
}

void cluster_init(struct redis_client *c)
{
	memset(c->cluster.slot, NO_NODE, sizeof(c->cluster.slot));
	timer_init(&c->cluster.timer, on_timer);
}

void cluster_fini(struct redis_client *c)
{
	timer_fini(&c->manner.loop->timers, &c->cluster.timer);
}
