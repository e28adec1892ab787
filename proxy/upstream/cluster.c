/* cluster.c - clusters as they are configured, and the endpoints that outlive them.
 *
 * An endpoint: made by the first cluster that names it -> used (refs > 0) -> left (refs == 0, its
 * last connections are still open; a new cluster may take it up again) -> freed by the next sweep
 * that finds it without connections. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "upstream/address.h"
#include "upstream/balance.h"
#include "upstream/checker.h"
#include "upstream/rendezvous.h"
#include "upstream/resolve.h"
#include "upstream/upstream.h"

enum { ENDPOINT_MAGIC = 0x656e6470 };

/*---------------------------------------------------------------- configuration */

static bool check_endpoint(struct conf_load *load, const struct node *node, void *conf)
{
	const struct node *addr = node->kind == NODE_MAP ? node_get(node, "addr") : node;
	struct endpoint_conf *e = conf;
	struct endpoint_address parsed;
	const char *wrong;

	e->at = addr != NULL ? addr->at : node->at;
	if (e->addr == NULL)
		return true; /* required: that finding is there already */
	wrong = endpoint_address_parse(slice_str(e->addr), &parsed);
	if (wrong != NULL)
		diag_error(load->diags, e->at, "E015", "bad endpoint `%s`: %s", e->addr, wrong)
		    ->path = load->path;
	return wrong == NULL;
}

static const struct field endpoint_fields[] = {
	{ .key = "addr",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct endpoint_conf, addr),
	  .doc = "Where it listens: `host:port`, `127.0.0.1:80`, `[::1]:80` or `unix:/path`, each "
		 "also behind "
		 "`http://`; behind `https://` it is spoken to over TLS, see `tls`. A name is "
		 "looked up again and again, see `resolve`." },
	{ .key = "weight",
	  .type = C_U32,
	  .offset = offsetof(struct endpoint_conf, weight),
	  .dflt = "1",
	  .min = 1,
	  .max = 1000,
	  .doc = "Its share of the calls, relative to the other endpoints." },
	{ .key = "backup",
	  .type = C_BOOL,
	  .offset = offsetof(struct endpoint_conf, backup),
	  .dflt = "false",
	  .doc = "Whether it is used only when no other endpoint can be." },
	{ .key = "down",
	  .type = C_BOOL,
	  .offset = offsetof(struct endpoint_conf, down),
	  .dflt = "false",
	  .doc = "Whether it takes no calls; in choices by key its place is kept." },
	{ .key = "max_calls",
	  .type = C_U32,
	  .offset = offsetof(struct endpoint_conf, max_calls),
	  .dflt = "0",
	  .doc = "Calls under way there at most, of each worker: with so many it is passed over; "
		 "0: no bound." },
	{ .key = "eject_after",
	  .type = C_U32,
	  .offset = offsetof(struct endpoint_conf, eject_after),
	  .dflt = "0",
	  .doc = "So many failures (no connection, no answer, a malformed one, or one with 429 or "
		 "5xx that was dropped for another try) with less than `eject_for` between them, "
		 "and it is passed over for `eject_for`; then one call is its trial. Each worker "
		 "counts for itself; the only endpoint of an upstream is never passed over. 0: "
		 "never." },
	{ .key = "eject_for",
	  .type = C_DURATION,
	  .offset = offsetof(struct endpoint_conf, eject_for_ns),
	  .dflt = "10s",
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "See `eject_after`." },
	{ .key = "hash_as",
	  .type = C_STRING,
	  .offset = offsetof(struct endpoint_conf, hash_as),
	  .min = 1,
	  .max = 255,
	  .doc = "With `lb: ketama-hash`: what its places on the ring are made of; not given: its "
		 "address." },
	{ .key = NULL },
};

static const struct schema endpoint_schema = {
	.name = "endpoint",
	.size = sizeof(struct endpoint_conf),
	.fields = endpoint_fields,
	.scalar = "addr",
	.check = check_endpoint,
};

static bool check_doubles(struct conf_load *load, const struct cluster_conf *c)
{
	const struct endpoint_conf *e = c->endpoints.item;
	struct endpoint_address a, b;
	bool ok = true;

	for (uint32_t i = 0; i < c->endpoints.n; i++) {
		if (e[i].addr == NULL || endpoint_address_parse(slice_str(e[i].addr), &a) != NULL)
			continue;
		for (uint32_t j = 0; j < i; j++) {
			if (e[j].addr == NULL ||
			    endpoint_address_parse(slice_str(e[j].addr), &b) != NULL ||
			    strcmp(a.text, b.text) != 0)
				continue;
			diag_error(load->diags, e[i].at, "E018",
				   "endpoint `%s` is listed twice, first on line %u; use `weight` "
				   "to give it more calls",
				   e[i].addr, e[j].at.line)
			    ->path = load->path;
			ok = false;
			break;
		}
	}
	return ok;
}

static const struct field hash_fields[] = {
	{ .key = "key",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct hash_conf, key),
	  .at = offsetof(struct hash_conf, at),
	  .min = 1,
	  .max = 256,
	  .doc = "A key as policies have it: `client.ip`, `header.NAME`, `cookie.NAME`, ..." },
	{ .key = NULL },
};

static const struct schema hash_schema = {
	.name = "hash",
	.size = sizeof(struct hash_conf),
	.fields = hash_fields,
	.scalar = "key",
};

static const char *const lb_names[] = { [LB_ROUND_ROBIN] = "round-robin",
					[LB_LEAST_REQUESTS] = "least-requests",
					[LB_P2C_EWMA] = "p2c-ewma",
					[LB_RING_HASH] = "ring-hash",
					[LB_CRC32_HASH] = "crc32-hash",
					[LB_KETAMA_HASH] = "ketama-hash",
					[LB_ADDRESS_HASH] = "address-hash",
					[LB_RANDOM] = "random",
					NULL };

static bool check_hash(struct conf_load *load, const struct node *node,
		       const struct cluster_conf *c)
{
	const struct node *lb = node->kind == NODE_MAP ? node_get(node, "lb") : NULL;
	const struct node *spill = node->kind == NODE_MAP ? node_get(node, "spill") : NULL;
	bool by_text = c->lb == LB_CRC32_HASH || c->lb == LB_KETAMA_HASH;
	struct diag *d;

	if (c->lb == LB_RING_HASH && c->hash.n == 0) {
		d = diag_error(load->diags, lb->at, "E013",
			       "`lb: ring-hash` needs `hash`: what an endpoint is chosen by");
		d->help = "for example `hash: client.ip`, `hash: header.x-user` or a list of such";
	} else if (by_text && c->hash.n != 1) {
		d = diag_error(load->diags, lb->at, "E013",
			       "`lb: %s` needs `hash`: a text that an endpoint is chosen by",
			       lb_names[c->lb]);
		d->help = "for example `hash: \"{client.ip}\"` or `hash: \"{uri}\"`";
	} else if (by_text && c->spill_ppm == 0) {
		return true;
	} else if (c->lb != LB_RING_HASH && (c->hash.n > 0 || c->spill_ppm > 0)) {
		d = diag_error(load->diags, c->hash.n > 0 ? c->hash_at : spill->at, "E018",
			       "`%s` means something with `lb: ring-hash` only",
			       c->hash.n > 0 ? "hash" : "spill");
	} else {
		return true;
	}
	d->path = load->path;
	return false;
}

static bool check_source(struct conf_load *load, struct cluster_conf *c)
{
	struct ip ip;

	if (c->source == NULL)
		return true;
	if (!ip_parse(slice_str(c->source), &ip)) {
		diag_error(load->diags, c->source_at, "E015",
			   "`source` is an address of this machine, without a port");
		return false;
	}
	addr_make(&c->source_addr, &ip, 0);
	return true;
}

static bool check_cluster(struct conf_load *load, const struct node *node, void *conf)
{
	struct cluster_conf *c = conf;
	bool ok = check_hash(load, node, c);

	ok = check_source(load, c) && ok;

	if (c->endpoints.n > CLUSTER_ENDPOINTS_MAX) {
		diag_error(load->diags, node->at, "E016",
			   "an upstream has at most %d endpoints, this one %u",
			   CLUSTER_ENDPOINTS_MAX, c->endpoints.n)
		    ->path = load->path;
		return false;
	}
	return check_doubles(load, c) && ok;
}

static const char *const http_names[] = {
	[HTTP_1] = "false", [HTTP_2] = "true", [HTTP_AUTO] = "auto", NULL
};

static const struct field cluster_fields[] = {
	{ .key = "endpoints",
	  .type = C_LIST,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct cluster_conf, endpoints),
	  .sub = &endpoint_schema,
	  .doc = "Where calls go: one address, or a list of addresses or mappings." },
	{ .key = "lb",
	  .type = C_ENUM,
	  .offset = offsetof(struct cluster_conf, lb),
	  .dflt = "round-robin",
	  .names = lb_names,
	  .doc =
	      "How an endpoint is chosen: in weighted turn; the one with the fewest calls under "
	      "way for its weight; of two at random the one that answers faster and has less "
	      "under way (failures and 429 count as slow); or always the same for the same "
	      "`hash`, in three ways: `crc32-hash` and `ketama-hash` as clients of memcached and "
	      "other proxies do, by a text. `address-hash` goes by the client's network (/24 of "
	      "IPv4), `random` by weight alone. Each worker goes by what it sees itself." },
	{ .key = "hash",
	  .type = C_LIST,
	  .offset = offsetof(struct cluster_conf, hash),
	  .at = offsetof(struct cluster_conf, hash_at),
	  .sub = &hash_schema,
	  .doc = "For `ring-hash`: the key, or list of keys, of a call that decides where it goes; "
		 "calls without it go anywhere. For `crc32-hash` and `ketama-hash`: a text such as "
		 "`{uri}`." },
	{ .key = "spill",
	  .type = C_SHARE,
	  .offset = offsetof(struct cluster_conf, spill_ppm),
	  .doc = "For `ring-hash`: an endpoint that would carry so much more than its share of the "
		 "calls under way passes them to the next of the key. Not given: no bound." },
	{ .key = "slow_start",
	  .type = C_DURATION,
	  .offset = offsetof(struct cluster_conf, slow_start_ns),
	  .dflt = "0s",
	  .max = 3600 * CLOCK_S,
	  .doc = "How long the weight of an endpoint grows, from a tenth, after it became healthy "
		 "or was added by a reload." },
	{ .key = "health",
	  .type = C_MAP,
	  .offset = offsetof(struct cluster_conf, health),
	  .sub = &health_schema,
	  .doc = "Whether endpoints are asked how they are; unhealthy ones are passed over while "
		 "there is a healthy one. Not given: all are taken for healthy." },
	{ .key = "tls",
	  .type = C_MAP,
	  .offset = offsetof(struct cluster_conf, tls),
	  .at = offsetof(struct cluster_conf, tls_at),
	  .sub = &tls_client_schema,
	  .doc = "How endpoints behind `https://` are spoken to, and what they must prove." },
	{ .key = "connect_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct cluster_conf, connect_timeout_ns),
	  .dflt = "1s",
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc =
	      "How long a connection may take to be made, TLS handshake and all; then the answer "
	      "is 504." },
	{ .key = "http2",
	  .type = C_ENUM,
	  .offset = offsetof(struct cluster_conf, http2),
	  .dflt = "false",
	  .names = http_names,
	  .doc = "Whether the endpoints are spoken to in HTTP/2, many calls over one connection: "
		 "gRPC servers, for one. `true`: in nothing else; without TLS that is known "
		 "beforehand. `auto`: as each agrees behind `https://`, else in HTTP/1." },
	{ .key = "http_1_0",
	  .type = C_BOOL,
	  .offset = offsetof(struct cluster_conf, http_1_0),
	  .dflt = "false",
	  .doc = "Whether calls go out as HTTP/1.0, for servers that answer those otherwise; not "
		 "those whose body's length is not known, nor WebSockets." },
	{ .key = "keepalive",
	  .type = C_U32,
	  .offset = offsetof(struct cluster_conf, keepalive),
	  .dflt = "64",
	  .max = 65536,
	  .doc =
	      "Idle connections kept for each endpoint by each worker; those beyond it are closed "
	      "after 100ms without a call. 0: none, a connection a call." },
	{ .key = "keepalive_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct cluster_conf, keepalive_timeout_ns),
	  .dflt = "60s",
	  .min = CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "How long an idle connection is kept. Should be less than what the endpoint "
		 "allows (65 to 75 s with "
		 "most servers), so that no call meets a connection that is just being closed." },
	{ .key = "max_connections",
	  .type = C_U32,
	  .offset = offsetof(struct cluster_conf, max_connections),
	  .dflt = "0",
	  .doc = "Connections to each endpoint by each worker, idle ones included; 0: no bound." },
	{ .key = "unavailable",
	  .type = C_U32,
	  .offset = offsetof(struct cluster_conf, unavailable),
	  .min = 400,
	  .max = 599,
	  .doc = "The status of the answer while no endpoint takes a call, in place of 503." },
	{ .key = "resolve",
	  .type = C_DURATION,
	  .offset = offsetof(struct cluster_conf, resolve_ns),
	  .dflt = "30s",
	  .min = CLOCK_S,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "How often names are looked up again. When that fails the last addresses stay in "
		 "use." },
	{ .key = "source",
	  .type = C_STRING,
	  .offset = offsetof(struct cluster_conf, source),
	  .at = offsetof(struct cluster_conf, source_at),
	  .min = 2,
	  .max = 64,
	  .doc = "The address of this machine from which its endpoints are called, those of the "
		 "same family; the others cannot be reached then. Health checks come from "
		 "wherever the system says, as calls do when it is not given." },
	{ .key = NULL },
};

const struct schema cluster_schema = {
	.name = "upstream",
	.size = sizeof(struct cluster_conf),
	.fields = cluster_fields,
	.scalar = "endpoints",
	.check = check_cluster,
};

/*---------------------------------------------------------------- endpoints */

struct upstream_registry {
	struct list endpoints;
	uint32_t last_id;
	struct resolver *resolver;
	struct checker *checker;
	bool followed; /* a policy has taken effect: what comes now comes to a running process */
};

static void endpoint_free(struct upstream_registry *r, struct endpoint *e)
{
	CHECK_MAGIC(e, ENDPOINT_MAGIC);
	list_remove(&e->link);
	if (e->addrs != NULL)
		resolver_remove(r->resolver, e->addrs);
	check_free(e->check);
	endpoint_addrs_free(e->addrs);
	free((char *)(uintptr_t)e->cluster);
	free((char *)(uintptr_t)e->text);
	free((char *)(uintptr_t)e->host);
	free((char *)(uintptr_t)e->peer);
	for (unsigned w = 0; w < WORKERS_MAX; w++)
		tls_resume_fini(&e->worker[w].resume);
	e->magic = 0;
	free(e);
}

/* The strings and the address set; what was made of them is endpoint_free's to free. */
static bool endpoint_fill(struct endpoint *e, const char *cluster, const struct endpoint_address *a)
{
	e->cluster = strdup(cluster);
	e->text = strdup(a->text);
	e->authority = e->text == NULL ? NULL : e->text + a->authority;
	e->peer = a->tls ? strdup(a->name) : NULL;
	e->fixed = a->fixed;
	if (a->named) {
		e->host = strdup(a->host);
		e->addrs = endpoint_addrs_new(a->port);
	}
	return e->cluster != NULL && e->text != NULL && (!a->tls || e->peer != NULL) &&
	       (!a->named || (e->host != NULL && e->addrs != NULL));
}

static struct endpoint *endpoint_new(struct upstream_registry *r, const char *cluster,
				     const struct endpoint_address *a)
{
	struct endpoint *e = aligned_alloc(_Alignof(struct endpoint), sizeof(*e));

	if (e == NULL)
		return NULL;
	memset(e, 0, sizeof(*e));
	e->magic = ENDPOINT_MAGIC;
	for (unsigned w = 0; w < WORKERS_MAX; w++) {
		list_init(&e->worker[w].idle);
		list_init(&e->worker[w].shared);
	}
	list_push_back(&r->endpoints, &e->link);
	if (!endpoint_fill(e, cluster, a)) {
		endpoint_free(r, e);
		return NULL;
	}
	e->id = ++r->last_id;
	return e;
}

static struct endpoint *endpoint_find(struct upstream_registry *r, const char *cluster,
				      const char *text)
{
	LIST_EACH (link, &r->endpoints) {
		struct endpoint *e = LIST_ENTRY(link, struct endpoint, link);

		if (strcmp(e->text, text) == 0 && strcmp(e->cluster, cluster) == 0)
			return e;
	}
	return NULL;
}

static struct endpoint *endpoint_get(struct upstream_registry *r, const struct cluster_conf *conf,
				     const struct endpoint_address *a)
{
	struct endpoint *e = endpoint_find(r, conf->name.name, a->text);

	if (e == NULL)
		e = endpoint_new(r, conf->name.name, a);
	if (e == NULL)
		return NULL;
	if (e->addrs != NULL &&
	    !resolver_add(r->resolver, e->addrs, e->host, e->cluster, conf->resolve_ns))
		return NULL; /* with refs as they were: the next sweep takes it */
	e->refs++;
	return e;
}

/*---------------------------------------------------------------- the registry */

struct upstream_registry *upstream_registry_new_with(const struct resolver_lookup *lookup)
{
	struct upstream_registry *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	list_init(&r->endpoints);
	r->resolver = resolver_new(lookup);
	r->checker = checker_new();
	if (r->resolver == NULL || r->checker == NULL) {
		resolver_free(r->resolver);
		checker_free(r->checker);
		free(r);
		return NULL;
	}
	return r;
}

struct upstream_registry *upstream_registry_new(void)
{
	return upstream_registry_new_with(NULL);
}

/* Frees what nobody uses any more. */
static void registry_sweep(struct upstream_registry *r)
{
	LIST_EACH (link, &r->endpoints) {
		struct endpoint *e = LIST_ENTRY(link, struct endpoint, link);

		if (e->refs == 0 && endpoint_active(e) == 0 && endpoint_connections(e) == 0 &&
		    check_is_idle(e->check))
			endpoint_free(r, e);
	}
}

void upstream_registry_free(struct upstream_registry *r)
{
	if (r == NULL)
		return;
	upstreams_follow(r, NULL, 0); /* no more checks */
	checker_stop(r->checker);
	LIST_EACH (link, &r->endpoints)
		endpoint_free(r, LIST_ENTRY(link, struct endpoint, link));
	resolver_free(r->resolver);
	checker_free(r->checker);
	free(r);
}

/*---------------------------------------------------------------- what is in force */

static struct check_rule *rule_in_force(const struct endpoint *e, struct cluster *const *c,
					uint32_t n, bool *member)
{
	*member = false;
	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(c[i]->name, e->cluster) != 0)
			continue;
		for (uint32_t k = 0; k < c[i]->n; k++) {
			*member = c[i]->member[k].endpoint == e;
			if (*member)
				return c[i]->rule;
		}
	}
	return NULL;
}

/* Not at the start of the process: then all are as new, and nobody else could carry the calls. */
static void join(struct upstream_registry *r, struct endpoint *e, bool member)
{
	if (member && !e->in_force && r->followed)
		atomic_store_explicit(&e->health.warm_from_ns, clock_mono_ns(),
				      memory_order_relaxed);
	if (!member && e->in_force)
		endpoint_force(e, ENDPOINT_UP);
	e->in_force = member;
}

void upstreams_follow(struct upstream_registry *r, struct cluster *const *c, uint32_t n)
{
	LIST_EACH (link, &r->endpoints) {
		struct endpoint *e = LIST_ENTRY(link, struct endpoint, link);
		bool member;
		struct check_rule *rule = rule_in_force(e, c, n, &member);

		join(r, e, member);
		if (e->check != NULL)
			check_order(e->check, rule);
	}
	checker_wake(r->checker);
	r->followed = true;
}

void upstreams_check_on(struct upstream_registry *r, struct loop *loop, uint64_t seed)
{
	checker_use(r->checker, loop, seed);
}

void upstreams_check(struct upstream_registry *r)
{
	checker_obey(r->checker);
}

/*---------------------------------------------------------------- clusters */

static bool add_members(struct upstream_registry *r, struct cluster *c, struct diags *diags)
{
	const struct endpoint_conf *conf = c->conf->endpoints.item;

	for (uint32_t i = 0; i < c->conf->endpoints.n; i++) {
		struct endpoint_address a;
		const char *wrong = endpoint_address_parse(slice_str(conf[i].addr), &a);
		struct endpoint *e = wrong == NULL ? endpoint_get(r, c->conf, &a) : NULL;

		if (e == NULL) {
			diag_error(diags, conf[i].at, wrong != NULL ? "E015" : "E099",
				   "endpoint `%s`: %s", conf[i].addr,
				   wrong != NULL ? wrong : "out of memory");
			return false;
		}
		c->member[c->n++] =
		    (struct cluster_member){ .endpoint = e,
					     .weight = conf[i].weight != 0 ? conf[i].weight : 1,
					     .backup = conf[i].backup,
					     .down = conf[i].down,
					     .max_calls = conf[i].max_calls,
					     .eject_after = conf[i].eject_after,
					     .eject_for_ns = conf[i].eject_for_ns,
					     .seed = rendezvous_seed(slice_str(e->text)) };
	}
	return true;
}

/* All that checks will need, so that upstreams_follow cannot fail. */
static bool prepare_checks(struct upstream_registry *r, struct cluster *c, struct diags *diags)
{
	bool ok = true;

	if (c->conf->health.path == NULL)
		return true;
	c->rule = check_rule_new(&c->conf->health, (enum http_choice)c->conf->http2, c->tls);
	for (uint32_t i = 0; i < c->n && ok; i++) {
		struct endpoint *e = c->member[i].endpoint;

		if (e->check == NULL)
			e->check = check_new(r->checker, e);
		ok = e->check != NULL;
	}
	if (c->rule == NULL || !ok) {
		diag_error(diags, c->conf->name.at, "E099", "upstream `%s`: out of memory",
			   c->name);
		return false;
	}
	if (checker_start(r->checker))
		return true;
	diag_error(diags, c->conf->name.at, "E018",
		   "cannot start the thread that checks endpoints");
	return false;
}

/* Names that were never looked up are waited for, all together until the deadline. */
static bool resolve_members(struct upstream_registry *r, const struct cluster *c,
			    uint64_t timeout_ns, struct diags *diags)
{
	const struct endpoint_conf *conf = c->conf->endpoints.item;
	uint64_t deadline_ns = clock_mono_ns() + timeout_ns;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct endpoint *e = c->member[i].endpoint;

		if (e->addrs == NULL)
			continue;
		if (!resolver_start(r->resolver)) {
			diag_error(diags, conf[i].at, "E018",
				   "cannot start the thread that looks names up");
			return false;
		}
		resolver_wait(r->resolver, e->addrs, deadline_ns);
		if (endpoint_addrs_count(e->addrs) == 0)
			diag_warning(diags, conf[i].at, "W106",
				     "`%s` has no address yet: calls to it are answered with 503 "
				     "until it has",
				     e->host);
	}
	return true;
}

/* TLS is for who asks for it: an upstream without https:// reads no file. */
bool cluster_open_tls(const struct cluster_conf *conf, int64_t now_s, struct tls_client **client,
		      struct diags *diags)
{
	static const unsigned protocols[] = {
		[HTTP_1] = 1u << PROTOCOL_HTTP1,
		[HTTP_2] = 1u << PROTOCOL_HTTP2,
		[HTTP_AUTO] = 1u << PROTOCOL_HTTP1 | 1u << PROTOCOL_HTTP2,
	};
	const struct endpoint_conf *e = conf->endpoints.item;
	struct endpoint_address a;
	bool any = false;

	for (uint32_t i = 0; i < conf->endpoints.n; i++)
		any = any || (endpoint_address_parse(slice_str(e[i].addr), &a) == NULL && a.tls);
	*client =
	    any ? tls_client_new(&conf->tls, protocols[conf->http2], conf->name.at, now_s, diags)
		: NULL;
	if (!any && conf->tls_at.line != 0)
		diag_warning(diags, conf->tls_at, "W107",
			     "`tls` changes nothing: no endpoint stands behind https://");
	return !any || *client != NULL;
}

struct cluster *cluster_open(struct upstream_registry *r, const struct cluster_conf *conf,
			     struct arena *arena, uint64_t timeout_ns, struct diags *diags)
{
	struct cluster *c = arena_zalloc(arena, sizeof(*c));

	registry_sweep(r);
	if (c != NULL)
		c->member = arena_zalloc(arena, conf->endpoints.n * sizeof(*c->member));
	if (c == NULL || c->member == NULL) {
		diag_error(diags, conf->name.at, "E099", "upstream `%s`: out of memory",
			   conf->name.name);
		return NULL;
	}
	c->conf = conf;
	c->name = conf->name.name;
	if (!cluster_open_tls(conf, (int64_t)(clock_wall_ns() / CLOCK_S), &c->tls, diags) ||
	    !add_members(r, c, diags) || !prepare_checks(r, c, diags) ||
	    !resolve_members(r, c, timeout_ns, diags)) {
		cluster_close(r, c);
		return NULL;
	}
	if (!balance_open(c, arena)) {
		diag_error(diags, conf->name.at, "E099", "upstream `%s`: out of memory",
			   conf->name.name);
		cluster_close(r, c);
		return NULL;
	}
	return c;
}

void cluster_close(struct upstream_registry *r, struct cluster *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		struct endpoint *e = c->member[i].endpoint;

		CHECK_MAGIC(e, ENDPOINT_MAGIC);
		CHECK(e->refs > 0);
		e->refs--;
	}
	c->n = 0;
	check_rule_put(c->rule);
	c->rule = NULL;
	tls_client_put(c->tls);
	c->tls = NULL;
	registry_sweep(r);
}
