/* authenticate.c - between a call and auth/auth.h.
 *
 * A verified token is held by its worker's cache and by the calls that came with it; both live
 * under one policy_use, so that a reload, which may bring other keys, begins with an empty cache
 * and takes nothing from calls under way. */
#include "core/authenticate.h"

#include "core/exchange.h"
#include "filters/scope.h"
#include "http/scan.h"

enum { NONE = 2 /* in auth_names */ };

/*---------------------------------------------------------------- what a route wants */

static const struct conf_variant *find_policy(const struct config *c, const char *name)
{
	const struct conf_variant *v = c->policies.item;

	for (uint32_t i = 0; i < c->policies.n; i++)
		if (v[i].name.name != NULL && strcmp(v[i].name.name, name) == 0)
			return &v[i];
	return NULL;
}

static void add_policies(const struct config *c, const struct route_conf *r,
			 struct scope_wants *wants)
{
	const struct use_conf *use = r->use.item;

	for (uint32_t i = 0; i < r->use.n; i++) {
		const struct conf_variant *v = find_policy(c, use[i].name);

		if (v != NULL)
			scope_wants(v->schema, v->conf, wants);
	}
}

/* What the endpoint is chosen by. */
static unsigned hash_reads(const struct config *c, const char *upstream)
{
	static const struct slice claim = SLICE("jwt.");
	const struct cluster_conf *cluster = c->upstreams.item;
	unsigned reads = 0;

	for (uint32_t i = 0; upstream != NULL && i < c->upstreams.n; i++) {
		const struct hash_conf *hash = cluster[i].hash.item;

		for (uint32_t k = 0; k < cluster[i].hash.n; k++) {
			if (strcmp(cluster[i].name.name, upstream) != 0)
				continue;
			if (slice_starts(slice_str(hash[k].key), claim))
				reads |= IDENTITY_JWT;
			else if (strcmp(hash[k].key, "api_key") == 0)
				reads |= IDENTITY_API_KEY;
		}
	}
	return reads;
}

static unsigned configured(const struct config *c)
{
	return (c->auth.jwt.jwks != NULL ? IDENTITY_JWT : 0u) |
	       (c->auth.api_key.from.header != NULL ? IDENTITY_API_KEY : 0u);
}

static unsigned named(const struct route_conf *r, bool *none)
{
	static const unsigned kind[] = { IDENTITY_JWT, IDENTITY_API_KEY, 0 };
	const char *const *name = r->auth.item;
	unsigned kinds = 0;

	*none = false;
	for (uint32_t i = 0; i < r->auth.n; i++) {
		unsigned k = 0;

		while (auth_names[k] != NULL && strcmp(auth_names[k], name[i]) != 0)
			k++;
		kinds |= auth_names[k] == NULL ? 0 : kind[k];
		*none = *none || k == NONE;
	}
	return kinds;
}

static struct scope_wants wants_of(const struct config *c, const struct route_conf *r)
{
	struct scope_wants wants = { .reads = 0 };

	add_policies(c, r, &wants);
	wants.reads |= hash_reads(c, r->to) | hash_reads(c, r->fallback);
	wants.binds |= hash_reads(c, r->to) | hash_reads(c, r->fallback);
	return wants;
}

struct auth_rule auth_rule_of(const struct config *c, const struct route_conf *r)
{
	struct scope_wants wants = wants_of(c, r);
	bool none;
	unsigned any = named(r, &none), all = r->auth.n > 0 ? 0 : wants.demands;

	if (none)
		return (struct auth_rule){ .looks = 0 };
	return (struct auth_rule){ .looks = (uint8_t)((any | wants.reads) & configured(c)),
				   .binds = (uint8_t)(any | wants.binds),
				   .all = (uint8_t)all,
				   .any = (uint8_t)any };
}

/*---------------------------------------------------------------- findings */

static bool lacks(const struct config *c, struct diags *diags, struct place at, const char *who,
		  unsigned kinds)
{
	unsigned missing = kinds & ~configured(c);
	struct diag *d;

	if (missing == 0)
		return false;
	d = diag_error(diags, at, "E019", "%s needs `auth.%s`, which is not configured", who,
		       missing & IDENTITY_JWT ? "jwt" : "api_key");
	d->help = missing & IDENTITY_JWT
		      ? "auth: { jwt: { jwks: FILE, issuer: ..., audience: ... } }"
		      : "auth: { api_key: { header: x-api-key } }";
	return true;
}

static bool check_uses(const struct config *c, const struct route_conf *r, bool none,
		       struct diags *diags)
{
	const struct use_conf *use = r->use.item;
	bool ok = true;

	for (uint32_t i = 0; i < r->use.n; i++) {
		const struct conf_variant *v = find_policy(c, use[i].name);
		struct scope_wants wants = { .reads = 0 };

		if (v == NULL)
			continue;
		scope_wants(v->schema, v->conf, &wants);
		if (none && wants.demands != 0)
			diag_error(diags, use[i].at, "E019",
				   "`%s` would refuse every call: with `auth: none` nothing is "
				   "verified, and its key is never there",
				   use[i].name)
			    ->help = "`missing: share` or `missing: skip` in the policy";
		else if (none && wants.reads != 0)
			diag_warning(diags, use[i].at, "W107",
				     "the key of `%s` is never there: nothing is verified on a "
				     "route with `auth: none`",
				     use[i].name);
		else
			ok = !lacks(c, diags, v->name.at, "the key of this policy", wants.reads) &&
			     ok;
	}
	return ok;
}

static const struct header_conf *identity_header(const struct config *c, const char *name)
{
	const struct header_conf *h = c->auth.headers.item;
	const char *a, *b;

	for (uint32_t i = 0; i < c->auth.headers.n; i++) {
		for (a = h[i].alike, b = name; *a != '\0'; a++, b++)
			if (char_lower(*a) != char_lower(*b == '_' ? '-' : *b))
				break;
		if (*a == '\0' && *b == '\0')
			return &h[i];
	}
	return NULL;
}

/* What tells who calls would tell what stands in the file. */
static void check_sets(const struct config *c, const struct route_conf *r, struct diags *diags)
{
	const struct set_conf *set = r->set.item;

	for (uint32_t i = 0; i < r->set.n; i++)
		if (identity_header(c, set[i].name.name) != NULL)
			diag_error(diags, set[i].name.at, "E019",
				   "`%s` is set by `auth.headers`, to what was verified",
				   set[i].name.name)
			    ->help = "another name here, or none in `auth.headers`";
}

static void check_route(const struct config *c, const struct route_conf *r, struct diags *diags)
{
	struct auth_rule rule = auth_rule_of(c, r);
	bool none;
	unsigned kinds = named(r, &none);

	check_sets(c, r, diags);
	if (none && r->auth.n > 1)
		diag_error(diags, r->auth_at, "E019", "`auth: none` stands alone");
	if (!check_uses(c, r, none, diags) || lacks(c, diags, r->auth_at, "this route", kinds))
		return;
	if ((rule.all & IDENTITY_JWT) && (rule.all & IDENTITY_API_KEY) &&
	    auth_is_shared(&c->auth) && c->auth.api_key.allow.n > 0)
		diag_error(diags, r->at, "E019",
			   "the policies of `%s` want a token and an API key, and both come in the "
			   "same field",
			   r->name)
		    ->help = "`auth: [jwt, api_key]` on the route: either will do";
}

/* Who configures it believes that something is guarded by it. */
static void warn_of_idle(const struct config *c, struct diags *diags)
{
	unsigned looks = 0;

	for (uint32_t i = 0; i < c->routes.n; i++)
		looks |= auth_rule_of(c, (const struct route_conf *)c->routes.item + i).looks;
	looks = configured(c) & ~looks;
	if (diags->errors > 0 || looks == 0)
		return;
	diag_warning(diags, looks & IDENTITY_JWT ? c->auth.jwt.at : c->auth.api_key.at, "W107",
		     "no route looks at `auth.%s`: nobody needs one",
		     looks & IDENTITY_JWT ? "jwt" : "api_key")
	    ->help = "`auth: jwt` or `auth: api_key` on a route, or a policy with such a key";
}

static bool asks_for_certificates(const struct config *c)
{
	const struct listen_conf *listen = c->listen.item;

	for (uint32_t i = 0; i < c->listen.n; i++)
		for (uint32_t k = 0; k < listen[i].tls.n; k++)
			if (((const struct tls_server_conf *)listen[i].tls.item)[k].client_ca !=
			    NULL)
				return true;
	return false;
}

static void warn_of_certificate(struct diags *diags, struct place at, const char *what)
{
	diag_warning(diags, at, "W107",
		     "%s is never there: no listener asks clients for certificates", what)
	    ->help = "`client_ca` in the `tls` of a listener";
}

static void warn_of_certificates(const struct config *c, struct diags *diags)
{
	const struct header_conf *h = c->auth.headers.item;
	const struct conf_variant *v = c->policies.item;

	if (asks_for_certificates(c))
		return;
	for (uint32_t i = 0; i < c->auth.headers.n; i++)
		if (h[i].source == HEADER_TLS_SAN)
			warn_of_certificate(diags, h[i].name.at, "`tls.san`");
	for (uint32_t i = 0; i < c->policies.n; i++)
		if (scope_reads_certificate(v[i].schema, v[i].conf))
			warn_of_certificate(diags, v[i].name.at, "the key of this policy");
}

void auth_rules_check(const struct config *c, struct diags *diags)
{
	const struct cluster_conf *cluster = c->upstreams.item;

	for (uint32_t i = 0; i < c->upstreams.n; i++)
		lacks(c, diags, cluster[i].hash_at, "the hash of this upstream",
		      hash_reads(c, cluster[i].name.name));
	for (uint32_t i = 0; i < c->routes.n; i++)
		check_route(c, (const struct route_conf *)c->routes.item + i, diags);
	warn_of_idle(c, diags);
	warn_of_certificates(c, diags);
}

void auth_check_files(const struct config *c, struct diags *diags)
{
	struct arena scratch;
	bool ok;

	arena_init(&scratch, NULL);
	auth_close(auth_open(&c->auth, &scratch, diags, &ok));
	arena_fini(&scratch);
}

/*---------------------------------------------------------------- a call */

static struct auth_worker *worker_of(struct exchange *x)
{
	if (x->use->auth == NULL)
		x->use->auth = auth_worker_new(x->use->policy->auth);
	return x->use->auth;
}

static void count(struct exchange *x)
{
	struct stats *stats = x->worker->shared->stats;
	const struct auth_result *r = x->auth;

	for (unsigned m = 0; m < AUTH_METHODS; m++)
		if (r->looked & 1u << m)
			stats_auth(stats, x->worker->index, (enum auth_method)m,
				   (enum auth_outcome)r->outcome[m]);
	if (r->cached != AUTH_NOT_CACHED)
		stats_auth_cached(stats, x->worker->index, r->cached == AUTH_HIT);
}

const struct reason *authenticate(struct exchange *x)
{
	const struct auth_rule *rule = &x->route->auth;
	struct auth_worker *w;
	struct arena scratch;

	w = worker_of(x);
	x->auth = arena_zalloc(&x->arena, sizeof(*x->auth));
	if (w == NULL || x->auth == NULL)
		return reason_out_of_memory;
	arena_init(&scratch, &x->worker->loop.pool);
	auth_check(w, rule, x->req, x->worker->loop.wall_ns, &scratch, x->auth);
	arena_fini(&scratch);
	count(x);
	x->call.who = &x->auth->who;
	return x->auth->why;
}

void authenticate_end(struct exchange *x)
{
	if (x->auth != NULL)
		auth_release(x->auth);
}

bool authenticate_tell(struct exchange *x, struct head *h)
{
	const struct auth_conf *conf = &x->use->policy->config->auth;

	if (conf->headers.n == 0)
		return true;
	auth_strip(conf, h);
	return auth_set(conf, x->call.who, x->call.tls_san, h);
}

struct slice authenticate_challenge(struct exchange *x)
{
	static const struct auth_result nothing;

	if (x->route == NULL || x->route->auth.looks == 0)
		return slice_of(NULL, 0);
	return auth_challenge(x->use->policy->auth, &x->route->auth,
			      x->auth != NULL ? x->auth : &nothing, &x->arena);
}

const char *authenticate_text(const struct exchange *x)
{
	return x->auth == NULL ? "" : auth_text(x->auth);
}
