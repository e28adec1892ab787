/* production.c - a checklist for a configuration that is to meet strangers: a table of checks, each of which finds one
 * kind of thing and has a code of its own.
 *
 * Laws
 *  P1  A check says only what the configuration itself shows.  What a sensible one may well say is no finding:
 *      listeners without TLS (behind a mesh or an ingress), routes without a deadline (streams), health paths
 *      without a limit.
 *  P2  Whatever a check finds can be meant: `accept` takes each code. */
#include "core/production.h"

#include <string.h>

#include "base/clock.h"
#include "conf/value.h"
#include "core/collector.h"
#include "core/tls_set.h"
#include "filters/breaker.h"
#include "filters/concurrency.h"
#include "filters/rate.h"
#include "filters/retry.h"

enum {
	DAY_SECONDS = 24 * 3600,
	SECRET_BYTES = 16, /* fewer can be tried out */
	V4_WIDE = 96 + 8,  /* of the 128: wider than any network of one's own */
	V6_WIDE = 7,       /* fc00::/7 is the widest of those */
};

struct review {
	const struct config *config;
	const char *code;
	uint64_t grace_ns;
	struct diags *diags;
};

static const struct conf_variant *policy_at(const struct review *r, uint32_t i)
{
	return (const struct conf_variant *)r->config->policies.item + i;
}

static const struct route_conf *route_at(const struct review *r, uint32_t i)
{
	return (const struct route_conf *)r->config->routes.item + i;
}

static const struct listen_conf *listener_at(const struct review *r, uint32_t i)
{
	return (const struct listen_conf *)r->config->listen.item + i;
}

static const struct conf_variant *policy_named(const struct review *r, const char *name)
{
	for (uint32_t i = 0; i < r->config->policies.n; i++)
		if (strcmp(policy_at(r, i)->name.name, name) == 0)
			return policy_at(r, i);
	return NULL;
}

static const struct conf_variant *policy_of(const struct review *r, const struct route_conf *route,
					    uint32_t i)
{
	return policy_named(r, ((const struct use_conf *)route->use.item)[i].name);
}

/* NULL: policies of its kind have none. */
static const struct key_spec *key_of(const struct conf_variant *p)
{
	const struct field *f = schema_field(p->schema, "key");

	if (f == NULL || f->custom != &key_custom)
		return NULL;
	return (const void *)((const char *)p->conf + f->offset);
}

static bool is_by_address(const struct conf_variant *p)
{
	const struct key_spec *key = key_of(p);

	return key != NULL && key_has_client_ip(key);
}

/* A host as urls have it is this machine. */
static bool is_here(const char *host)
{
	struct addr a;
	struct ip ip;

	if (strcmp(host, "localhost") == 0)
		return true;
	if (!ip_parse(slice_str(host), &ip))
		return false;
	addr_make(&a, &ip, 0);
	return addr_is_loopback(&a);
}

/*------------------------------------------------------------------- admin */

static void admin_in_the_clear(struct review *r)
{
	const struct admin_conf *a = &r->config->admin;
	struct diag *d;

	if (!a->present || addr_is_loopback(&a->addr) || a->token == NULL)
		return; /* without a token: W105, always */
	d = diag_warning(
	    r->diags, a->at, r->code,
	    "the token of the admin interface crosses the network in the clear%s",
	    a->anonymous == ANONYMOUS_READ ? ", and whoever can connect may read, without it" : "");
	d->path = "admin";
	d->help = "listen on 127.0.0.1 or unix:/path, and come by ssh or kubectl port-forward";
}

static void guessable_token(struct review *r)
{
	const struct admin_conf *a = &r->config->admin;
	struct diag *d;

	if (!a->present || a->token == NULL || strlen(a->token) >= SECRET_BYTES)
		return;
	d = diag_warning(r->diags, a->at, r->code,
			 "the token of the admin interface is short enough to be guessed");
	d->path = "admin.token";
	d->help = "16 characters or more: `openssl rand -hex 16` makes one";
}

/*----------------------------------------------------------- whose address */

/* One that clients may reach through something else that speaks HTTP: who ends TLS is who they connect to. */
static bool may_be_behind(const struct listen_conf *l)
{
	return l->tls.n == 0 && !l->proxy_protocol;
}

static void nobody_trusted(struct review *r)
{
	bool behind = false;
	struct diag *d;

	for (uint32_t i = 0; i < r->config->listen.n; i++)
		behind = behind || may_be_behind(listener_at(r, i));
	if (!behind || r->config->client_ip.trust.n > 0)
		return;
	for (uint32_t i = 0; i < r->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(r, i);

		if (!is_by_address(p))
			continue;
		d = diag_warning(r->diags, p->name.at, r->code,
				 "behind a proxy or load balancer all clients are one to `%s`: "
				 "nobody's word about their addresses is taken",
				 p->name.name);
		d->path = "client_ip.trust";
		d->help = "`client_ip: { trust: [NETWORK] }`, of what stands in front; nothing "
			  "does: `accept: [W202]`";
		return; /* once is enough */
	}
}

static bool is_wide(const struct cidr *c)
{
	return ip_is_v4(&c->ip) && c->bits >= 96 ? c->bits < V4_WIDE : c->bits < V6_WIDE;
}

static void everybody_trusted(struct review *r)
{
	const struct client_ip_conf *c = &r->config->client_ip;
	const struct cidr *trust = c->trust.item;
	bool open = false, wide = false;
	struct diag *d;

	for (uint32_t i = 0; i < r->config->listen.n; i++)
		open = open || !addr_is_loopback(&listener_at(r, i)->addr);
	for (uint32_t i = 0; i < c->trust.n; i++)
		wide = wide || is_wide(&trust[i]);
	if (!open || !wide)
		return;
	d = diag_warning(r->diags, c->trust_at, r->code,
			 "any client may claim any address, and so pass every limit by client.ip");
	d->path = "client_ip.trust";
	d->help = "name the networks of the proxies in front, no others";
}

/*------------------------------------------------------------------ limits */

static bool is_limit(const struct conf_variant *p)
{
	if (p->schema == &rate_schema) {
		const struct conf_list *rates = &((const struct rate_conf *)p->conf)->rate;

		return rates->n > 0 && !((const struct rate *)rates->item)->unlimited;
	}
	return p->schema == &concurrency_schema &&
	       ((const struct concurrency_conf *)p->conf)->cap.kind != CAP_UNLIMITED;
}

static bool is_limited(const struct review *r, const struct route_conf *route)
{
	for (uint32_t i = 0; i < route->use.n; i++) {
		const struct conf_variant *p = policy_of(r, route, i);

		if (p != NULL && is_limit(p))
			return true;
	}
	return false;
}

/* What kubelets and load balancers ask for; a limit here would make a healthy app look sick. */
static bool is_health_path(const char *path)
{
	static const char *const usual[] = { "/healthz", "/health", "/livez",   "/live",
					     "/readyz",  "/ready",  "/startupz" };

	for (size_t i = 0; path != NULL && i < sizeof(usual) / sizeof(*usual); i++)
		if (strcmp(path, usual[i]) == 0)
			return true;
	return false;
}

static void unlimited_routes(struct review *r)
{
	for (uint32_t i = 0; i < r->config->routes.n; i++) {
		const struct route_conf *route = route_at(r, i);
		struct diag *d;

		if (route->to == NULL || route->match.from == FROM_NAME ||
		    is_health_path(route->match.path) || is_limited(r, route))
			continue; /* those asked by name alone: limited where the call came in */
		d = diag_warning(r->diags, route->at, r->code,
				 "the route `%s` lets everybody send all they can to `%s`",
				 route->name, route->to);
		d->help = "`use` a policy with `rate` or `concurrency`";
	}
}

static void shadow_left_on(struct review *r)
{
	for (uint32_t i = 0; i < r->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(r, i);

		if (((const struct policy_conf *)p->conf)->shadow)
			diag_warning(r->diags, p->name.at, r->code,
				     "the policy `%s` refuses nobody: it is only tried out",
				     p->name.name)
			    ->help = "take `shadow` out, or make it real by and by with `enforce`";
	}
}

static uint32_t max_keys_of(const struct conf_variant *p)
{
	if (p->schema == &rate_schema)
		return ((const struct rate_conf *)p->conf)->max_keys;
	if (p->schema == &concurrency_schema)
		return ((const struct concurrency_conf *)p->conf)->max_keys;
	return UINT32_MAX;
}

/* As many clients as may be connected can each be a key of its own. */
static void small_tables(struct review *r)
{
	uint32_t clients = r->config->limits.connections;

	for (uint32_t i = 0; i < r->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(r, i);

		if (!is_by_address(p) || max_keys_of(p) >= clients)
			continue;
		diag_warning(r->diags, p->name.at, r->code,
			     "`%s` keeps %u keys, and %u clients may be connected: %s",
			     p->name.name, max_keys_of(p), clients,
			     p->schema == &rate_schema
				 ? "those it forgets begin anew, so that it lets more in"
				 : "those it has no room for are refused")
		    ->help =
		    "a larger `max_keys` (some 20 to 64 bytes each), or fewer `limits.connections`";
	}
}

/*--------------------------------------------------------------- time-outs */

static void calls_that_hang(struct review *r)
{
	const uint64_t hour = 3600 * CLOCK_S;
	char text[32];

	for (uint32_t i = 0; i < r->config->routes.n; i++) {
		const struct route_conf *route = route_at(r, i);
		struct diag *d;

		if (route->to == NULL || route->timeout.total_ns != 0 ||
		    route->timeout.idle_ns <= hour)
			continue;
		value_print_duration(route->timeout.idle_ns, text);
		d = diag_warning(
		    r->diags, route->at, r->code,
		    "a call of the route `%s` of which nothing comes any more is held for %s",
		    route->name, text);
		d->help = "a `timeout.idle` of an hour or less, or a `timeout.total`";
	}
}

static void slow_clients(struct review *r)
{
	const struct limits_conf *l = &r->config->limits;
	const struct {
		const char *key;
		uint64_t ns, most_s;
	} bounds[] = {
		{ "limits.header_timeout", l->header_timeout_ns, 60 },
		{ "limits.handshake_timeout", l->handshake_timeout_ns, 60 },
		{ "limits.write_timeout", l->write_timeout_ns, 600 },
		{ "limits.idle_timeout", l->idle_timeout_ns, 3600 },
	};

	for (size_t i = 0; i < sizeof(bounds) / sizeof(*bounds); i++) {
		char is[32], most[32];

		if (bounds[i].ns <= bounds[i].most_s * CLOCK_S)
			continue;
		value_print_duration(bounds[i].ns, is);
		value_print_duration(bounds[i].most_s * CLOCK_S, most);
		diag_warning(r->diags, l->at, r->code,
			     "`%s` is %s: a few clients that do nothing hold all connections",
			     bounds[i].key, is)
		    ->help = arena_printf(r->diags->arena, "%s or less", most);
	}
}

static void short_grace(struct review *r)
{
	const struct shutdown_conf *s = &r->config->shutdown;
	char ours[32], theirs[32];
	struct diag *d;

	if (r->grace_ns == 0 || s->delay_ns + s->drain_ns < r->grace_ns)
		return;
	value_print_duration(s->delay_ns + s->drain_ns, ours);
	value_print_duration(r->grace_ns, theirs);
	d = diag_warning(
	    r->diags, s->at, r->code,
	    "a shutdown may take %s (delay and drain), and the process is killed after %s", ours,
	    theirs);
	d->path = "shutdown";
	d->help = "a shorter `drain`, or more terminationGracePeriodSeconds or TimeoutStopSec";
}

/*------------------------------------------------------------ certificates */

static void certificate_expires(void *arg, const struct tls_certificate *c, struct place at)
{
	int64_t left = c->not_after_s - (int64_t)(clock_wall_ns() / CLOCK_S);
	struct review *r = arg;

	if (left < TLS_EXPIRY_WARNING_DAYS * DAY_SECONDS ||
	    left >= PRODUCTION_EXPIRY_DAYS * DAY_SECONDS)
		return; /* sooner: W110, always */
	diag_warning(r->diags, at, r->code, "certificate `%s`: it expires in %d days", c->path,
		     (int)(left / DAY_SECONDS))
	    ->help =
	    "renew it; the files are read again with a reload, and by themselves with --watch";
}

static void certificates_expire(struct review *r)
{
	tls_set_certificates(r->config, certificate_expires, r);
}

/* Keys that are too short are refused by the loader. */
static void weak_ciphers(struct review *r)
{
	for (uint32_t i = 0; i < r->config->listen.n; i++) {
		const struct tls_server_conf *first = listener_at(r, i)->tls.item;
		char name[64];

		if (listener_at(r, i)->tls.n == 0 || first->ciphers == NULL ||
		    !tls_weak_cipher(first->ciphers, name))
			continue;
		diag_warning(
		    r->diags, first->ciphers_at, r->code,
		    "with `%s`, calls recorded today can be read by who has the key tomorrow", name)
		    ->help = "ECDHE alone, as when `ciphers` is not given";
	}
}

/*------------------------------------------------------------------- redis */

/* The first server, or sentinel, that is another machine; NULL: none. */
static const struct redis_place *far_redis(const struct redis_conf *c)
{
	for (unsigned i = 0; i < c->n_places; i++)
		if (!c->place[i].is_unix && !is_here(c->place[i].host))
			return &c->place[i];
	return NULL;
}

static void redis_in_the_clear(struct review *r)
{
	const struct redis_conf *c = &r->config->redis;
	const struct redis_place *far = far_redis(c);
	struct diag *d;

	if (far == NULL || c->use_tls)
		return;
	d = diag_warning(r->diags, c->at, r->code,
			 "what is said to redis at %s crosses the network in the clear%s",
			 far->host, c->password != NULL ? ", the password too" : "");
	d->path = "redis";
	d->help = "`rediss://`, or `sentinel.tls`, and `tls` for its authority";
}

static void redis_without_password(struct review *r)
{
	const struct redis_conf *c = &r->config->redis;
	const struct redis_place *far = far_redis(c);
	struct diag *d;

	if (far == NULL || c->password != NULL)
		return;
	d = diag_warning(
	    r->diags, c->at, r->code,
	    "whoever reaches redis at %s can set every limit back: it asks for no password",
	    far->host);
	d->path = "redis.password";
	d->help = "a user of its own with a password, allowed the keys of `namespace`";
}

static void outage_not_chosen(struct review *r)
{
	const struct redis_conf *c = &r->config->redis;

	if (c->n_places == 0 || c->on_error_at.line != 0)
		return;
	for (uint32_t i = 0; i < r->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(r, i);
		const struct sharing_conf *s = sharing_of(p->schema, p->conf);

		if (s == NULL || s->store != STORE_REDIS || s->on_error != 0)
			continue;
		diag_warning(r->diags, s->at, r->code,
			     "nobody has said what `%s` does while redis is away", p->name.name)
		    ->help = "`on_error`, here or in `redis`: local, allow or deny";
	}
}

/*--------------------------------------------------------------- upstreams */

static bool is_broken_off(const struct review *r, const char *upstream)
{
	for (uint32_t i = 0; i < r->config->routes.n; i++) {
		const struct route_conf *route = route_at(r, i);

		if (route->to == NULL || strcmp(route->to, upstream) != 0)
			continue;
		for (uint32_t k = 0; k < route->use.n; k++) {
			const struct conf_variant *p = policy_of(r, route, k);

			if (p != NULL && p->schema == &breaker_schema)
				return true;
		}
	}
	return false;
}

static bool ejects(const struct cluster_conf *c)
{
	const struct endpoint_conf *e = c->endpoints.item;

	for (uint32_t i = 0; i < c->endpoints.n; i++)
		if (e[i].eject_after > 0)
			return true;
	return false;
}

static void unwatched_endpoints(struct review *r)
{
	const struct cluster_conf *c = r->config->upstreams.item;

	for (uint32_t i = 0; i < r->config->upstreams.n; i++) {
		if (c[i].endpoints.n < 2 || c[i].health.path != NULL || ejects(&c[i]) ||
		    is_broken_off(r, c[i].name.name))
			continue; /* a single one is all there is, sick or not */
		diag_warning(r->diags, c[i].name.at, r->code,
			     "an endpoint of `%s` that has died is sent its share of calls",
			     c[i].name.name)
		    ->help = "`health`, `eject_after`, or a policy with `breaker`";
	}
}

static void unbounded_retries(struct review *r)
{
	for (uint32_t i = 0; i < r->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(r, i);
		const struct retry_conf *retry = p->conf;

		if (p->schema == &retry_schema && retry->retries > 0 &&
		    retry->budget_ppm >= 1000000)
			diag_warning(r->diags, p->name.at, r->code,
				     "`%s` multiplies the calls to an app that fails by up to %u",
				     p->name.name, retry->retries + 1)
			    ->help = "a `budget`, such as 20%";
	}
}

/*---------------------------------------------------------------- what is told */

static void debug_log(struct review *r)
{
	const struct log_conf *l = &r->config->log;
	struct diag *d;

	if (l->level != LOG_DEBUG)
		return;
	d = diag_warning(r->diags, l->level_at, r->code,
			 "the log tells of every step: calls are slower, and the disk fills");
	d->path = "log.level";
	d->help = "`info`; for a while: `weir ctl log-level debug --for 10m`";
}

static void logged_credentials(struct review *r)
{
	static const char *const usual[] = { "authorization", "proxy-authorization", "cookie",
					     "x-api-key" };
	const struct log_conf *l = &r->config->log;
	const char *const *fields = l->fields.item, *const *redact = l->redact.item;

	for (uint32_t i = 0; i < l->fields.n; i++) {
		bool hidden = false, secret = false;

		for (size_t k = 0; k < sizeof(usual) / sizeof(*usual); k++)
			secret = secret || strcasecmp(fields[i], usual[k]) == 0;
		for (uint32_t k = 0; k < l->redact.n; k++)
			hidden = hidden || strcasecmp(fields[i], redact[k]) == 0;
		if (secret && !hidden)
			diag_warning(r->diags, l->fields_at, r->code,
				     "the access log shows the credentials in `%s`", fields[i])
			    ->help = "put it into `log.redact`, or take it out of `log.fields`";
	}
}

static void spans_in_the_clear(struct review *r)
{
	const struct tracing_conf *t = &r->config->tracing;
	struct collector_place place;
	struct diag *d;

	if (t->endpoint == NULL || collector_place_parse(slice_str(t->endpoint), &place) != NULL ||
	    place.address.tls || place.address.name[0] == '\0' || is_here(place.address.name))
		return;
	d = diag_warning(r->diags, t->endpoint_at, r->code,
			 "spans, with paths and addresses of clients, cross the network in the "
			 "clear");
	d->path = "tracing.endpoint";
	d->help = "`https://`, or a collector on this machine";
}

/*---------------------------------------------------------------- the list */

static const struct {
	const char *code; /* diag.def has its title */
	void (*find)(struct review *);
} checks[] = {
	{ "W201", admin_in_the_clear },
	{ "W202", nobody_trusted },
	{ "W203", everybody_trusted },
	{ "W204", unlimited_routes },
	{ "W205", calls_that_hang },
	{ "W206", slow_clients },
	{ "W207", shadow_left_on },
	{ "W208", certificates_expire },
	{ "W209", weak_ciphers },
	{ "W210", guessable_token },
	{ "W211", small_tables },
	{ "W212", redis_in_the_clear },
	{ "W213", redis_without_password },
	{ "W214", outage_not_chosen },
	{ "W215", unwatched_endpoints },
	{ "W216", unbounded_retries },
	{ "W217", debug_log },
	{ "W218", spans_in_the_clear },
	{ "W219", logged_credentials },
	{ "W220", short_grace },
};

void production_check(const struct config *c, uint64_t grace_ns, struct diags *diags)
{
	struct review r = { .config = c, .grace_ns = grace_ns, .diags = diags };

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
		r.code = checks[i].code;
		checks[i].find(&r);
	}
}
