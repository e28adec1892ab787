/* client.c - calls: where they go, and what answers and refusals make of them. */
#include "redis/client.h"

#include <stdlib.h>

#include "base/check.h"
#include "redis/client_internal.h"

const char *const redis_result_names[REDIS_RESULTS] = {
	[REDIS_OK] = "ok",
	[REDIS_REFUSED] = "refused",
	[REDIS_TIMEOUT] = "timeout",
	[REDIS_NOT_SENT] = "not_sent",
};

/*-------------------------------------------------------------------- nodes */

uint64_t client_random(struct redis_client *c)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return c->random;
}

static void on_changed(void *owner, struct redis_node *n)
{
	struct redis_client *c = owner;
	bool up = redis_node_is_up(n);

	c->n_up = up ? c->n_up + 1 : c->n_up - 1;
	if (up)
		stat_add(&c->stats.nodes_up, 1);
	else
		stat_sub(&c->stats.nodes_up, 1);
	if (c->closing)
		return;
	if (up && c->n_up == 1)
		c->on->up(c->owner);
	else if (!up && c->n_up == 0)
		c->on->down(c->owner);
}

static void on_ready(void *owner, struct redis_node *n)
{
	struct redis_client *c = owner;

	(void)n;
	if (c->o.cluster)
		cluster_refresh_soon(c);
	c->on->node(c->owner);
}

static bool on_failed(void *owner, struct redis_node *n)
{
	struct redis_client *c = owner;

	(void)n;
	stat_add(&c->stats.failures, 1);
	if (c->closing)
		return true;
	if (c->o.cluster)
		cluster_refresh_soon(c);
	if (c->o.master == NULL)
		return false;
	sentinel_ask(c);
	return true;
}

static const struct redis_node_events node_events = { .changed = on_changed,
						      .ready = on_ready,
						      .failed = on_failed };

struct redis_node *client_node(struct redis_client *c, const struct redis_place *place)
{
	struct redis_node *n;

	for (unsigned i = 0; i < c->n_nodes; i++)
		if (redis_place_eq(&c->node[i]->place, place)) {
			redis_node_start(c->node[i]);
			return c->node[i];
		}
	if (c->n_nodes == REDIS_NODES_MAX)
		return NULL;
	n = calloc(1, sizeof(*n));
	if (n == NULL)
		return NULL;
	redis_node_init(n, &c->manner, &node_events, c, place, client_random(c));
	c->node[c->n_nodes++] = n;
	redis_node_start(n);
	return n;
}

unsigned client_node_index(const struct redis_client *c, const struct redis_node *n)
{
	unsigned i = 0;

	while (i < c->n_nodes && c->node[i] != n)
		i++;
	return i;
}

/*-------------------------------------------------------------------- calls */

static void finish(struct redis_call *k, enum redis_outcome o, const struct sync_reply *reply,
		   enum redis_result result)
{
	stat_add(&k->client->stats.results[result], 1);
	k->done(k, o, reply);
}

static void on_done(struct redis_command *, enum redis_outcome, const struct resp *);

static bool encode(struct redis_call *k, struct buf *b)
{
	b->n = 0;
	if (k->asking)
		resp_put_words(b, "ASKING", NULL);
	script_call_put(&k->script, k->whole, b);
	if (!b->oom)
		return true;
	buf_fini(b);
	*b = (struct buf){ .p = NULL };
	return false;
}

static bool send_to(struct redis_call *k, struct redis_node *n)
{
	struct redis_client *c = k->client;
	uint64_t now = c->manner.loop->now_ns;

	if (n == NULL || !redis_node_is_ready(n) || !encode(k, &c->scratch))
		return false;
	k->node = n;
	k->sent_ns = now;
	k->command = (struct redis_command){ .deadline_ns = now + redis_node_timeout_ns(n),
					     .skip = k->asking,
					     .done = on_done };
	return redis_node_put(n, &k->command, slice_of(c->scratch.p, c->scratch.n));
}

static void send_again(struct redis_call *k, struct redis_node *n)
{
	if (!send_to(k, n))
		finish(k, REDIS_NOT_DONE, NULL, REDIS_REFUSED);
}

static void on_unknown_script(struct redis_call *k)
{
	if (k->whole) {
		finish(k, REDIS_NOT_DONE, NULL, REDIS_REFUSED);
		return;
	}
	k->whole = true;
	stat_add(&k->client->stats.whole_scripts, 1);
	send_again(k, k->node);
}

static void on_redirect(struct redis_call *k, struct slice error, bool moved)
{
	static const struct refusal alone = { "MOVED", REFUSAL_COMMAND, true,
					      "it is of a cluster, and `cluster` does not say so" };
	struct redis_client *c = k->client;
	struct redis_node *n = NULL;

	stat_add(&c->stats.redirects, 1);
	if (!c->o.cluster)
		redis_node_refused(k->node, &alone, error);
	else if (k->redirects++ < REDIRECTS_MAX)
		n = cluster_redirect(c, error, k->node, moved);
	k->asking = !moved;
	k->whole = false;
	send_again(k, n);
}

static void on_refused(struct redis_call *k, struct slice error)
{
	const struct refusal *r = refusal_of(error);

	switch (r->answer) {
	case REFUSAL_WHOLE:
		on_unknown_script(k);
		break;
	case REFUSAL_MOVED:
	case REFUSAL_ASK:
		on_redirect(k, error, r->answer == REFUSAL_MOVED);
		break;
	default:
		redis_node_refused(k->node, r, error);
		finish(k, REDIS_NOT_DONE, NULL, REDIS_REFUSED);
	}
}

static void on_answer(struct redis_call *k, const struct resp *r)
{
	uint64_t took = k->client->manner.loop->now_ns - k->sent_ns;
	struct sync_reply reply;

	redis_node_answered(k->node, took);
	stat_hist_add(&k->client->stats.took, took);
	if (sync_reply_read(k->script.script, r, &reply))
		finish(k, REDIS_REPLY, &reply, REDIS_OK);
	else
		finish(k, REDIS_UNKNOWN, NULL, REDIS_REFUSED);
}

static void on_done(struct redis_command *m, enum redis_outcome o, const struct resp *r)
{
	struct redis_call *k = LIST_ENTRY(m, struct redis_call, command);

	if (o == REDIS_REPLY && r->type == RESP_ERROR)
		on_refused(k, r->text);
	else if (o == REDIS_REPLY)
		on_answer(k, r);
	else
		finish(k, o, NULL, o == REDIS_UNKNOWN ? REDIS_TIMEOUT : REDIS_NOT_SENT);
}

static struct redis_node *route(struct redis_client *c, struct redis_call *k)
{
	if (!c->o.cluster)
		return c->n_nodes > 0 ? c->node[0] : NULL;
	k->slot = slot_of(script_call_key(&k->script));
	return cluster_route(c, k->slot);
}

void redis_client_call(struct redis_client *c, struct redis_call *k)
{
	k->client = c;
	k->redirects = 0;
	k->whole = k->asking = false;
	if (!send_to(k, route(c, k)))
		finish(k, REDIS_NOT_DONE, NULL, REDIS_NOT_SENT);
}

/*------------------------------------------------------------------- clients */

struct redis_client *redis_client_new(struct loop *loop, const struct redis_options *o,
				      const struct redis_events *on, void *owner)
{
	struct redis_client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->o = *o;
	c->on = on;
	c->owner = owner;
	c->random = o->random | 1;
	c->manner = (struct redis_manner){ .loop = loop,
					   .finder = o->finder,
					   .tls = o->tls,
					   .greeting = o->greeting,
					   .timeout_ns = o->timeout_ns,
					   .connect_timeout_ns = o->connect_timeout_ns };
	if (o->master != NULL)
		c->manner.greeting.role = ROLE_REQUIRED;
	if (o->tls != NULL)
		tls_client_get(o->tls);
	if (o->sentinel_tls != NULL)
		tls_client_get(o->sentinel_tls);
	cluster_init(c);
	sentinel_init(c);
	return c;
}

void redis_client_start(struct redis_client *c)
{
	unsigned n = c->o.cluster ? c->o.n_places : 1;

	CHECK(c->o.n_places >= 1 && c->o.n_places <= REDIS_PLACES_MAX);
	if (c->o.master != NULL) {
		sentinel_ask(c);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		client_node(c, &c->o.place[i]);
}

void redis_client_free(struct redis_client *c)
{
	if (c == NULL)
		return;
	c->closing = true;
	cluster_fini(c);
	sentinel_fini(c);
	for (unsigned i = 0; i < c->n_nodes; i++) {
		redis_node_stop(c->node[i]);
		free(c->node[i]);
	}
	tls_client_put(c->o.tls);
	tls_client_put(c->o.sentinel_tls);
	buf_fini(&c->scratch);
	free(c);
}

bool redis_client_is_up(const struct redis_client *c)
{
	return c->n_up > 0;
}

uint64_t redis_client_rtt_ns(const struct redis_client *c)
{
	uint64_t slowest = 0;

	for (unsigned i = 0; i < c->n_nodes; i++)
		if (redis_node_is_up(c->node[i]) && c->node[i]->rtt_ns > slowest)
			slowest = c->node[i]->rtt_ns;
	return slowest;
}

const struct redis_stats *redis_client_stats(const struct redis_client *c)
{
	return &c->stats;
}
