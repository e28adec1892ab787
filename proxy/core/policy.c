/* policy.c - from configuration to something that serves: the prepare of a reload, for all that is
 * not a socket. */
#include "core/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "core/action.h"
#include "core/authenticate.h"
#include "core/hash_key.h"
#include "core/route.h"
#include "core/tls_set.h"
#include "core/values.h"
#include "filters/registry.h"

enum { POLICY_MAGIC = 0x504f4c49 };

#define RESOLVE_TIMEOUT_NS (3 * CLOCK_S)

static void set_limits(struct policy *p)
{
	const struct limits_conf *l = &p->config->limits;

	p->codec_limits = (struct codec_limits){ .head_bytes = (uint32_t)l->header_bytes,
						 .target_bytes = (uint32_t)l->target_bytes,
						 .headers = (uint16_t)l->headers,
						 .bare_lf = l->bare_lf,
						 .loose_host = l->loose_host,
						 .no_half_close = !l->half_close };
}

static bool open_filters(struct policy *p, struct registries *r, struct diags *diags)
{
	const struct conf_list *list = &p->config->policies;

	p->filter = arena_zalloc(&p->arena, (list->n + 1) * sizeof(struct filter *));
	if (p->filter == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < list->n; i++) {
		const struct conf_variant *v = (const struct conf_variant *)list->item + i;

		p->filter[i] = filter_open(v, r->tables, diags);
		if (p->filter[i] == NULL)
			return false;
		p->n_filters++;
	}
	return true;
}

static uint64_t left_of(uint64_t deadline_ns)
{
	uint64_t now = clock_mono_ns();

	return now < deadline_ns ? deadline_ns - now : 1;
}

static bool open_clusters(struct policy *p, struct registries *r, struct diags *diags)
{
	const struct conf_list *list = &p->config->upstreams;
	uint64_t deadline_ns = clock_mono_ns() + RESOLVE_TIMEOUT_NS; /* of all names together */

	p->cluster = arena_zalloc(&p->arena, (list->n + 1) * sizeof(struct cluster *));
	if (p->cluster == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < list->n; i++) {
		const struct cluster_conf *conf = (const struct cluster_conf *)list->item + i;

		p->cluster[i] =
		    cluster_open(r->upstreams, conf, &p->arena, left_of(deadline_ns), diags);
		if (p->cluster[i] == NULL)
			return false;
		p->n_clusters++;
		if (!hash_key_open(p->cluster[i], &p->arena, diags))
			return false;
	}
	return true;
}

static struct cluster *find_cluster(const struct policy *p, const char *name)
{
	for (uint32_t i = 0; i < p->n_clusters; i++)
		if (strcmp(p->cluster[i]->name, name) == 0)
			return p->cluster[i];
	return NULL;
}

static const struct filter *find_filter(const struct policy *p, const char *name)
{
	for (uint32_t i = 0; i < p->n_filters; i++)
		if (strcmp(p->filter[i]->name, name) == 0)
			return p->filter[i];
	return NULL;
}

static void make_chain(struct policy *p, struct route *route)
{
	const struct conf_list *use = &route->conf->use;

	CHECK(use->n <= CHAIN_MAX); /* config_load has looked */
	for (uint32_t i = 0; i < use->n; i++) {
		const struct use_conf *u = (const struct use_conf *)use->item + i;

		route->chain.filter[i] = find_filter(p, u->name);
		CHECK(route->chain.filter[i] != NULL); /* config_load has looked */
	}
	route->chain.n = (uint8_t)use->n;
	chain_layout(&route->chain);
}

static bool open_route(struct policy *p, struct route *route, const struct route_conf *conf,
		       struct registries *r, struct diags *diags)
{
	route->conf = conf;
	p->upgrades = p->upgrades || conf->upgrade;
	p->conditions = p->conditions || conf->match.when.n > 0 ||
			(conf->respond.otherwise != NULL &&
			 strcmp(conf->respond.otherwise, "next") == 0);
	route->name = conf->name;
	route->cluster = conf->to == NULL ? NULL : find_cluster(p, conf->to);
	route->fallback = conf->fallback == NULL ? NULL : find_cluster(p, conf->fallback);
	CHECK(route->cluster != NULL || conf->respond.present || conf->reroute.present); /* config_load has looked */
	route->stats = stats_route_get(r->stats, conf->name);
	if (route->stats == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	p->n_routes++;
	route->auth = auth_rule_of(p->config, conf);
	make_chain(p, route);
	if (!route_prepare(route, &p->arena, diags) ||
	    !action_prepare(route, p->config, &p->arena, diags))
		return false;
	if (!log_choice_make(&route->log, &p->logs, &conf->log, conf->log_at, &p->arena, diags))
		return false;
	route->watched = answer_edits_watch(route->answers) || error_pages_watch(route->pages) ||
			 route->log.n > 0;
	return true;
}

static bool open_routes(struct policy *p, struct registries *r, struct diags *diags)
{
	const struct conf_list *list = &p->config->routes;

	p->no_route = stats_route_get(r->stats, "_none");
	p->route = arena_zalloc(&p->arena, (list->n + 1) * sizeof(struct route));
	if (p->no_route == NULL || p->route == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < list->n; i++)
		if (!open_route(p, &p->route[i], (const struct route_conf *)list->item + i, r,
				diags))
			return false;
	return true;
}

static bool add_targets(struct filter *f, const struct cluster *c)
{
	for (uint32_t i = 0; c != NULL && i < c->n; i++) {
		const struct endpoint *e = c->member[i].endpoint;
		struct filter_target t = { .upstream = c->name, .endpoint = e->text, .id = e->id };

		if (!f->ops->target(f, &t))
			return false;
	}
	return true;
}

static bool uses(const struct route *route, const struct filter *f)
{
	for (uint8_t i = 0; i < route->chain.n; i++)
		if (route->chain.filter[i] == f)
			return true;
	return false;
}

/* Tells filters which endpoints they will be asked about. */
static bool add_all_targets(struct policy *p, struct diags *diags)
{
	for (uint32_t i = 0; i < p->n_filters; i++) {
		struct filter *f = p->filter[i];

		for (uint32_t k = 0; f->ops->target != NULL && k < p->n_routes; k++) {
			const struct route *r = &p->route[k];

			if (!uses(r, f) ||
			    (add_targets(f, r->cluster) && add_targets(f, r->fallback)))
				continue;
			diags_out_of_memory(diags);
			return false;
		}
	}
	return true;
}

static bool open_defaults(struct policy *p, struct diags *diags)
{
	struct action_defaults d;
	bool ok = action_prepare_defaults(p->config, &d, &p->arena, diags);

	p->answers = d.answers;
	p->pages = d.pages;
	action_link(p->pages, p->route, p->n_routes);
	for (uint32_t i = 0; i < p->n_routes; i++)
		action_link(p->route[i].pages, p->route, p->n_routes);
	return ok;
}

struct policy *policy_open(const char *path, struct config *config, struct arena arena,
			   struct registries *r, struct diags *diags)
{
	struct policy *p = calloc(1, sizeof(*p));
	bool ok;

	if (p == NULL) {
		diags_out_of_memory(diags);
		arena_fini(&arena);
		return NULL;
	}
	p->magic = POLICY_MAGIC;
	p->arena = arena;
	p->config = config;
	p->tracing = config->tracing.endpoint != NULL ? &config->tracing : NULL;
	snprintf(p->path, sizeof(p->path), "%s", path);
	config_hash(config, p->hash);
	set_limits(p);
	p->tls = tls_set_open(config, &p->arena, diags);
	p->auth = auth_open(&config->auth, &p->arena, diags, &ok);
	p->values = values_prepare(config, &p->arena, diags);
	if (p->tls != NULL && ok && p->values != NULL &&
	    text_logs_open(&p->logs, config, r->logs, &p->arena, diags) &&
	    open_clusters(p, r, diags) && open_filters(p, r, diags) && open_routes(p, r, diags) &&
	    add_all_targets(p, diags) && open_defaults(p, diags))
		return p;
	policy_close(p, r);
	return NULL;
}

void policy_close(struct policy *p, struct registries *r)
{
	CHECK_MAGIC(p, POLICY_MAGIC);
	p->magic = 0;
	for (uint32_t i = 0; i < p->n_routes; i++)
		stats_route_put(r->stats, p->route[i].stats);
	if (p->no_route != NULL)
		stats_route_put(r->stats, p->no_route);
	for (uint32_t i = 0; i < p->n_filters; i++)
		filter_close(p->filter[i], r->tables);
	for (uint32_t i = 0; i < p->n_clusters; i++)
		cluster_close(r->upstreams, p->cluster[i]);
	text_logs_close(&p->logs, r->logs);
	tls_set_close(p->config, p->tls);
	auth_close(p->auth);
	arena_fini(&p->arena);
	free(p);
}
