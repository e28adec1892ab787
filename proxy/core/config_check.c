/* config_check.c - what no table can say: names that must exist, addresses that clash, routes that
 * hide others. */
#include <stdio.h>
#include <string.h>

#include "conf/suggest.h"
#include "conf/value.h"
#include "core/action.h"
#include "core/authenticate.h"
#include "core/config.h"
#include "core/hash_key.h"
#include "core/route.h"
#include "core/values.h"
#include "filters/filter.h"
#include "filters/key.h"
#include "filters/retry.h"
#include "filters/scope.h"
#include "filters/sharing.h"
#include "http/scan.h"

enum { NAME_MAX_BYTES = 64 };

struct checker {
	struct config *config;
	bool whole;    /* the tables made no findings: everything is filled in */
	bool unsalted; /* that was said */
	struct arena *arena;
	struct diags *diags;
};

static struct cluster_conf *cluster_at(const struct config *c, uint32_t i)
{
	return (struct cluster_conf *)c->upstreams.item + i;
}

static struct conf_variant *policy_at(const struct config *c, uint32_t i)
{
	return (struct conf_variant *)c->policies.item + i;
}

static struct route_conf *route_at(const struct config *c, uint32_t i)
{
	return (struct route_conf *)c->routes.item + i;
}

static struct use_conf *use_at(const struct route_conf *r, uint32_t i)
{
	return (struct use_conf *)r->use.item + i;
}

static bool same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/*------------------------------------------------------------------- names */

static bool has_upstream(const struct config *c, const char *name)
{
	for (uint32_t i = 0; i < c->upstreams.n; i++)
		if (same(cluster_at(c, i)->name.name, name))
			return true;
	return false;
}

static bool has_policy(const struct config *c, const char *name)
{
	for (uint32_t i = 0; i < c->policies.n; i++)
		if (same(policy_at(c, i)->name.name, name))
			return true;
	return false;
}

/* "there are: app llm"; NULL when there are none or memory is out. */
static const char *list_names(struct checker *k, const char *what, struct suggest *s,
			      bool upstreams)
{
	const struct config *c = k->config;
	uint32_t n = upstreams ? c->upstreams.n : c->policies.n;
	struct buf b = { 0 };
	const char *text = NULL;

	buf_printf(&b, "%s:", what);
	for (uint32_t i = 0; i < n; i++) {
		const char *name =
		    upstreams ? cluster_at(c, i)->name.name : policy_at(c, i)->name.name;

		if (name == NULL)
			continue;
		suggest_offer(s, name);
		if (i < 20)
			buf_printf(&b, " %s", name);
	}
	if (n > 20)
		buf_puts(&b, " ...");
	if (n > 0 && !b.oom)
		text = arena_strdup(k->diags->arena, b.p);
	buf_fini(&b);
	return text;
}

static void unknown_name(struct checker *k, struct place at, const char *name, bool upstream)
{
	struct suggest s;
	const char *help;
	struct diag *d;

	suggest_begin(&s, slice_str(name));
	help = list_names(k, upstream ? "upstreams" : "policies", &s, upstream);
	d = diag_error(k->diags, at, "E017", "there is no %s `%s`",
		       upstream ? "upstream" : "policy", name);
	d->suggestion = s.best;
	d->help = help;
}

static void check_uses(struct checker *k, const struct route_conf *r)
{
	if (r->use.n > CHAIN_MAX && use_at(r, CHAIN_MAX)->at.line != 0)
		diag_error(k->diags, use_at(r, CHAIN_MAX)->at, "E016",
			   "a route uses at most %d policies, not %u", CHAIN_MAX, r->use.n);
	for (uint32_t i = 0; i < r->use.n; i++) {
		const struct use_conf *use = use_at(r, i);

		if (use->name == NULL || use->at.line == 0)
			continue;
		/* without a single policy the section may be what is wrong, and was said */
		if ((k->whole || k->config->policies.n > 0) && !has_policy(k->config, use->name))
			unknown_name(k, use->at, use->name, false);
		for (uint32_t j = 0; j < i; j++) {
			if (!same(use->name, use_at(r, j)->name))
				continue;
			diag_error(k->diags, use->at, "E008", "the policy `%s` is used twice here",
				   use->name);
			break;
		}
	}
}

static bool has_route(const struct config *c, const char *name)
{
	for (uint32_t i = 0; i < c->routes.n; i++)
		if (same(route_at(c, i)->name, name))
			return true;
	return false;
}

static void check_pages(struct checker *k, const struct conf_list *pages)
{
	const struct page_conf *page = pages->item;

	for (uint32_t i = 0; i < pages->n; i++)
		if (page[i].route != NULL && !has_route(k->config, page[i].route))
			diag_error(k->diags, page[i].route_at, "E017", "there is no route `%s`",
				   page[i].route);
}

static void check_references(struct checker *k)
{
	const struct config *c = k->config;

	check_pages(k, &c->errors);
	for (uint32_t i = 0; i < c->routes.n; i++) {
		const struct route_conf *r = route_at(c, i);

		check_uses(k, r);
		/* without a single upstream something may be wrong with the section, and was said */
		if (r->to != NULL && r->to_at.line != 0 && (k->whole || c->upstreams.n > 0) &&
		    !has_upstream(c, r->to))
			unknown_name(k, r->to_at, r->to, true);
		check_pages(k, &r->errors);
		if (r->fallback != NULL && (k->whole || c->upstreams.n > 0) &&
		    !has_upstream(c, r->fallback))
			unknown_name(k, r->fallback_at, r->fallback, true);
	}
}

static bool is_used(const struct config *c, const char *name, bool upstream)
{
	for (uint32_t i = 0; i < c->routes.n; i++) {
		const struct route_conf *r = route_at(c, i);

		if (upstream && (same(r->to, name) || same(r->fallback, name)))
			return true;
		for (uint32_t j = 0; !upstream && j < r->use.n; j++)
			if (same(use_at(r, j)->name, name))
				return true;
	}
	return false;
}

static void check_unused(struct checker *k)
{
	const struct config *c = k->config;

	for (uint32_t i = 0; i < c->upstreams.n; i++) {
		const struct conf_name *name = &cluster_at(c, i)->name;

		if (!is_used(c, name->name, true))
			diag_warning(k->diags, name->at, "W101",
				     "no route goes to the upstream `%s`", name->name);
	}
	for (uint32_t i = 0; i < c->policies.n; i++) {
		const struct conf_name *name = &policy_at(c, i)->name;

		if (!is_used(c, name->name, false))
			diag_warning(k->diags, name->at, "W101", "no route uses the policy `%s`",
				     name->name);
	}
}

/* Names go into metrics, logs and header fields. */
static bool is_plain(char c)
{
	return c > ' ' && c < 0x7F && strchr("\"\\,;`", c) == NULL;
}

static void check_name(struct checker *k, struct place at, const char *what, const char *name)
{
	size_t n = name == NULL ? 1 : strlen(name), plain = 0;

	if (name == NULL)
		return;
	while (plain < n && is_plain(name[plain]))
		plain++;
	if (plain < n || n == 0)
		diag_error(
		    k->diags, at, "E015",
		    "the name of %s takes printable ASCII without spaces, quotes, \\ , and ;",
		    what);
	else if (n > NAME_MAX_BYTES)
		diag_error(k->diags, at, "E016", "the name of %s has at most %d characters", what,
			   NAME_MAX_BYTES);
}

static void check_names(struct checker *k)
{
	const struct config *c = k->config;

	for (uint32_t i = 0; i < c->upstreams.n; i++)
		check_name(k, cluster_at(c, i)->name.at, "an upstream",
			   cluster_at(c, i)->name.name);
	for (uint32_t i = 0; i < c->policies.n; i++)
		check_name(k, policy_at(c, i)->name.at, "a policy", policy_at(c, i)->name.name);
	for (uint32_t i = 0; i < c->routes.n; i++)
		if (route_at(c, i)->name != NULL)
			check_name(k, route_at(c, i)->at, "a route", route_at(c, i)->name);
}

/*------------------------------------------------------------------ routes */

static const struct route_conf *find_route(const struct config *c, const char *name, uint32_t but)
{
	for (uint32_t i = 0; i < c->routes.n; i++)
		if (i != but && same(route_at(c, i)->name, name))
			return route_at(c, i);
	return NULL;
}

static void check_route_names(struct checker *k)
{
	const struct config *c = k->config;

	for (uint32_t i = 0; i < c->routes.n; i++) {
		const struct route_conf *r = route_at(c, i);

		for (uint32_t j = 0; j < i && r->name != NULL; j++) {
			const struct route_conf *twin = route_at(c, j);

			if (!same(r->name, twin->name))
				continue;
			diag_error(k->diags, r->at, "E008",
				   "a second route `%s`: the first is at %s:%u:%u", r->name,
				   twin->at.file, twin->at.line, twin->at.column);
			break;
		}
	}
}

/* "api.example.com/v1/x", and "-2" behind it if that is taken; such a name is one that could be
 * given. */
static char *make_name(struct checker *k, const char *host, const char *path, unsigned n)
{
	char tail[16] = "", *name;
	size_t room = NAME_MAX_BYTES;

	if (n > 1)
		room -= (size_t)snprintf(tail, sizeof(tail), "-%u", n);
	name = arena_printf(k->arena, "%s%s", host, path);
	if (name != NULL && strlen(name) > room)
		name[room] = '\0';
	if (name != NULL && n > 1)
		name = arena_printf(k->arena, "%s%s", name, tail);
	for (char *c = name; c != NULL && *c != '\0'; c++)
		if (!is_plain(*c))
			*c = '_';
	return name;
}

static void name_route(struct checker *k, uint32_t index)
{
	struct route_conf *r = route_at(k->config, index);
	const char *host = r->match.hosts.n == 0 ? "" : *(const char *const *)r->match.hosts.item;
	const char *path = r->match.path == NULL ? "/*" : r->match.path;
	const char *name = make_name(k, host, path, 1);

	for (unsigned n = 2; name != NULL && find_route(k->config, name, index) != NULL; n++)
		name = make_name(k, host, path, n);
	if (name == NULL)
		diags_out_of_memory(k->diags);
	r->name = name;
}

static void name_routes(struct checker *k)
{
	for (uint32_t i = 0; i < k->config->routes.n; i++)
		if (route_at(k->config, i)->name == NULL)
			name_route(k, i);
}

static void check_hidden(struct checker *k, const struct route *routes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t j = 0; j < i; j++) {
			if (!route_hides(&routes[j], &routes[i]))
				continue;
			diag_warning(
			    k->diags, routes[i].conf->at, "W102",
			    "the route `%s` is never reached: `%s` on line %u takes all its calls",
			    routes[i].name, routes[j].name, routes[j].conf->at.line);
			break;
		}
	}
}

static void check_matches(struct checker *k)
{
	const struct config *c = k->config;
	struct arena scratch;
	struct route *routes;
	struct action_defaults defaults;
	bool ok = action_prepare_defaults(c, &defaults, k->arena, k->diags);

	arena_init(&scratch, NULL);
	routes = arena_zalloc(&scratch, c->routes.n * sizeof(*routes));
	for (uint32_t i = 0; routes != NULL && i < c->routes.n; i++) {
		routes[i].conf = route_at(c, i);
		routes[i].name = routes[i].conf->name;
		ok = route_prepare(&routes[i], &scratch, k->diags) &&
		     action_prepare(&routes[i], c, &scratch, k->diags) && ok;
	}
	if (routes == NULL)
		diags_out_of_memory(k->diags);
	else if (ok && k->diags->errors == 0)
		check_hidden(k, routes, c->routes.n);
	arena_fini(&scratch);
}

static void check_logs(struct checker *k)
{
	const struct config *c = k->config;
	struct arena scratch;
	struct text_logs logs;
	bool ok;

	arena_init(&scratch, NULL);
	ok = text_logs_open(&logs, c, NULL, &scratch, k->diags);
	for (uint32_t i = 0; ok && i < c->routes.n; i++) {
		const struct route_conf *r = route_at(c, i);
		struct log_choice choice;

		log_choice_make(&choice, &logs, &r->log, r->log_at, &scratch, k->diags);
	}
	text_logs_close(&logs, NULL);
	arena_fini(&scratch);
}

/*--------------------------------------------------------------- addresses */

struct bound {
	const struct addr *addr;
	struct place at;
	const char *what;
};

static bool is_wildcard(const struct addr *a)
{
	static const uint8_t any6[16] = { 0 };
	struct ip ip = addr_ip(a);

	if (a->u.sa.sa_family == AF_UNIX)
		return false;
	return ip_is_v4(&ip) ? a->u.in.sin_addr.s_addr == 0 : memcmp(ip.b, any6, 16) == 0;
}

bool config_addr_clash(const struct addr *a, const struct addr *b)
{
	if (a->u.sa.sa_family == AF_UNIX || b->u.sa.sa_family == AF_UNIX)
		return a->u.sa.sa_family == b->u.sa.sa_family && addr_eq(a, b);
	if (addr_port(a) != addr_port(b) || addr_port(a) == 0)
		return false;
	return addr_eq(a, b) || is_wildcard(a) || is_wildcard(b);
}

static void check_bound(struct checker *k, const struct bound *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		char text[ADDR_TEXT_MAX];

		if (!config_addr_clash(b[n].addr, b[i].addr))
			continue;
		addr_format(b[n].addr, text);
		diag_error(k->diags, b[n].at, "E018", "%s is taken by %s at %s:%u:%u", text,
			   b[i].what, b[i].at.file, b[i].at.line, b[i].at.column);
		return;
	}
}

static void check_addresses(struct checker *k)
{
	const struct config *c = k->config;
	const struct listen_conf *listen = c->listen.item;
	struct arena scratch;
	struct bound *b;
	uint32_t n = 0;

	arena_init(&scratch, NULL);
	b = arena_zalloc(&scratch, (c->listen.n + 2) * sizeof(*b));
	if (b == NULL) {
		diags_out_of_memory(k->diags);
		return;
	}
	for (uint32_t i = 0; i < c->listen.n; i++)
		b[n++] = (struct bound){ &listen[i].addr, listen[i].at, "the listener" };
	if (c->probes.present)
		b[n++] = (struct bound){ &c->probes.addr, c->probes.at, "the probes" };
	if (c->admin.present)
		b[n++] = (struct bound){ &c->admin.addr, c->admin.at, "the admin interface" };
	for (uint32_t i = 0; i < n; i++)
		check_bound(k, b, i);
	arena_fini(&scratch);
}

/*--------------------------------------------------------------- time-outs */

static const struct retry_conf *retry_named(const struct config *c, const char *name)
{
	for (uint32_t i = 0; i < c->policies.n; i++)
		if (policy_at(c, i)->schema == &retry_schema &&
		    same(policy_at(c, i)->name.name, name))
			return policy_at(c, i)->conf;
	return NULL;
}

/* All tries of a call together can take longer than the call may. */
static void check_tries(struct checker *k, const struct route_conf *r, const struct use_conf *use)
{
	const struct retry_conf *retry = retry_named(k->config, use->name);
	char tries[32], total[32];
	uint64_t ns;

	if (retry == NULL || r->timeout.total_ns == 0)
		return;
	ns = (retry->retries + 1) * retry->per_try_ns;
	if (ns <= r->timeout.total_ns)
		return;
	value_print_duration(ns, tries);
	value_print_duration(r->timeout.total_ns, total);
	diag_warning(k->diags, use->at, "W109",
		     "the tries of `%s` can take %s together, and the call no more than %s",
		     use->name, tries, total)
	    ->help = "a shorter `per_try`, fewer retries, or a longer total";
}

static void check_timeouts(struct checker *k)
{
	for (uint32_t i = 0; i < k->config->routes.n; i++) {
		const struct route_conf *r = route_at(k->config, i);

		for (uint32_t j = 0; j < r->use.n; j++)
			check_tries(k, r, use_at(r, j));
	}
}

static void check_hashes(struct checker *k)
{
	for (uint32_t i = 0; i < k->config->upstreams.n; i++)
		hash_key_check(cluster_at(k->config, i), k->arena, k->diags);
}

/* A name of a key is a digest of an address or of what else tells who calls: there are few enough of them to try. */
static void check_salt(struct checker *k, const struct conf_variant *p)
{
	const struct redis_conf *redis = &k->config->redis;
	const struct field *f = schema_field(p->schema, "key");
	struct diag *d;

	if (f == NULL || f->custom != &key_custom ||
	    ((const struct key_spec *)(const void *)((const char *)p->conf + f->offset))->n == 0)
		return;
	if (redis->n_places == 0 || redis->salt != NULL || redis->password != NULL || k->unsalted)
		return;
	k->unsalted = true;
	d = diag_warning(k->diags, redis->at, "W115",
			 "who reads the names of keys in redis can find out whose they are, as of "
			 "`%s`: they are hashed without a secret",
			 p->name.name);
	d->path = "redis";
	d->help = "set `salt`, the same in all replicas";
}

/* What is to be shared, and by what. */
static void check_sharing(struct checker *k)
{
	const struct redis_conf *redis = &k->config->redis;

	for (uint32_t i = 0; i < k->config->policies.n; i++) {
		const struct conf_variant *p = policy_at(k->config, i);
		const struct sharing_conf *s = sharing_of(p->schema, p->conf);

		if (s == NULL || s->store != STORE_REDIS)
			continue;
		check_salt(k, p);
		if (redis->n_places == 0)
			diag_error(k->diags, s->at, "E017",
				   "the policy `%s` is counted in redis, and there is no `redis` "
				   "section that says where that is",
				   p->name.name);
		else if (s->wait_ns > redis->timeout_ns)
			diag_error(
			    k->diags, s->at, "E016",
			    "the `store_wait` of `%s` is longer than the timeout of `redis`: "
			    "no call waits longer than that",
			    p->name.name);
	}
}

static void check_admin_reach(struct checker *k)
{
	const struct admin_conf *admin = &k->config->admin;

	if (admin->present && admin->token == NULL && !addr_is_loopback(&admin->addr))
		diag_warning(
		    k->diags, admin->at, "W105",
		    "the admin interface can be reached from other machines, without a token")
		    ->help = "listen on 127.0.0.1 or unix:/path, or set `token`";
}

static bool is_redacted(const struct log_conf *log, const char *name)
{
	const char *const *redact = log->redact.item;

	for (uint32_t i = 0; i < log->redact.n; i++)
		if (strcasecmp(redact[i], name) == 0)
			return true;
	return false;
}

/* Where credentials stand, the access log shows nothing, be it that it was asked to. */
static void redact_credentials(struct checker *k)
{
	const struct auth_conf *auth = &k->config->auth;
	const char *const names[] = { auth->jwt.from.header, auth->api_key.from.header };
	struct log_conf *log = &k->config->log;

	for (unsigned i = 0; i < 2; i++) {
		const char **list;
		char *name;

		if (names[i] == NULL || is_redacted(log, names[i]) ||
		    (i == 0 && auth->jwt.jwks == NULL))
			continue;
		list = arena_zalloc(k->arena, (log->redact.n + 1) * sizeof(*list));
		name = arena_strdup(k->arena, names[i]);
		if (list == NULL || name == NULL) {
			diags_out_of_memory(k->diags);
			return;
		}
		for (char *c = name; *c != '\0'; c++)
			*c = (char)char_lower(*c);
		if (log->redact.n > 0)
			memcpy(list, log->redact.item, log->redact.n * sizeof(*list));
		list[log->redact.n++] = name;
		log->redact.item = list;
	}
}

/*------------------------------------------------------------------ values */

static bool known_value(const void *of, struct slice name)
{
	return values_known(of, name);
}

/* From here on texts are held to the names there are. */
static void check_values(struct checker *k)
{
	struct arena scratch;

	arena_init(&scratch, NULL);
	(void)values_prepare(k->config, &scratch, k->diags);
	arena_fini(&scratch);
	k->diags->values = (struct diag_names){ .known = known_value, .of = k->config };
	for (uint32_t i = 0; i < k->config->policies.n; i++) {
		const struct conf_variant *v = policy_at(k->config, i);
		struct slice name = scope_unknown_value(v->schema, v->conf, known_value, k->config);

		if (name.p != NULL)
			diag_error(k->diags, v->name.at, "E017",
				   "policy `%s`: there is no value `%.*s` (`values`)", v->name.name,
				   SLICE_FMT(name));
	}
	for (uint32_t i = 0; i < k->config->upstreams.n; i++) {
		const struct cluster_conf *c = cluster_at(k->config, i);
		struct slice name = scope_unknown_value(&cluster_schema, c, known_value, k->config);

		if (name.p != NULL)
			diag_error(k->diags, c->name.at, "E017",
				   "upstream `%s`: there is no value `%.*s` (`values`)",
				   c->name.name, SLICE_FMT(name));
	}
}

void config_check(struct config *c, bool whole, struct arena *arena, struct diags *diags)
{
	struct checker k = { .config = c, .whole = whole, .arena = arena, .diags = diags };

	check_references(&k);
	check_names(&k);
	check_route_names(&k);
	if (!whole)
		return;
	name_routes(&k);
	check_values(&k);
	check_matches(&k);
	check_logs(&k);
	diags->values = (struct diag_names){ .known = NULL };
	check_addresses(&k);
	check_hashes(&k);
	check_sharing(&k);
	redact_credentials(&k);
	if (diags->errors == 0)
		auth_rules_check(c, diags);
	if (diags->errors > 0)
		return; /* a name misspelt would look like a name unused */
	check_unused(&k);
	check_timeouts(&k);
	check_admin_reach(&k);
}
