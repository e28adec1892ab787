/* policy.h - an immutable snapshot of everything configured, ready to serve.
 *
 * Made and freed by the control thread; workers only read it.  Routes, chains and clusters live in its arena; tables,
 * endpoints and statistics are adopted by identity and outlive it. */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include <stdint.h>

#include "auth/auth.h"
#include "base/arena.h"
#include "core/config.h"
#include "core/stats.h"
#include "core/template.h"
#include "core/text_log.h"
#include "filters/filter.h"
#include "filters/table.h"
#include "http/codec.h"
#include "upstream/upstream.h"

struct route {
	const struct route_conf *conf;
	const char *name;
	struct cluster *cluster;  /* NULL: it answers by itself */
	struct cluster *fallback; /* NULL: none */
	struct chain chain;
	struct auth_rule auth;
	struct route_stats *stats; /* by name, kept across reloads */
	const struct route_matcher *matcher; /* route_prepare */
	struct template_match match;         /* the same */
	/* action_prepare: */
	uint32_t n_set;
	const struct field_edit *set;       /* of the request that goes upstream */
	const struct respond *respond;      /* NULL: it goes upstream */
	const struct reroute *reroute;      /* NULL: the same */
	const struct rewrite *rewrite;      /* NULL: path, query and host go on as they came */
	const struct answer_edits *answers; /* NULL: they go on as they are */
	const struct error_pages *pages;    /* NULL: errors, too */
	struct log_choice log;              /* of what becomes of its calls */
	bool watched;                       /* texts tell of its tries: they are taken note of */
};

struct policy {
	uint32_t magic;
	uint64_t generation; /* 1, 2, ... */
	unsigned holders;    /* workers; control only */
	struct arena arena;
	const struct config *config;
	char hash[65];
	char path[256]; /* of the file */
	struct codec_limits codec_limits;
	bool upgrades; /* on some route */
	bool conditions; /* the same */
	uint32_t n_routes, n_clusters, n_filters;
	struct tls_server **tls;  /* of each listener; NULL: plain */
	struct auth *auth;        /* NULL: none is configured */
	struct route *route;      /* in order: the first match wins */
	struct cluster **cluster;
	const struct values *values;
	struct filter **filter;   /* in the order of the file */
	struct route_stats *no_route; /* calls that matched none */
	const struct answer_edits *answers; /* of what they are answered; NULL: as it is */
	const struct error_pages *pages;    /* the same */
	struct text_logs logs;
	const struct tracing_conf *tracing; /* NULL: no call is traced */
};

/* What outlives policies. */
struct registries {
	struct table_registry *tables;
	struct upstream_registry *upstreams;
	struct stats *stats;
	struct log_files *logs; /* NULL: there are no logs of text */
};

/* load + prepare of DESIGN section 7: everything that can fail.  NULL after errors. */
struct policy *policy_open(const char *path, struct config *, struct arena, struct registries *, struct diags *);
void policy_close(struct policy *, struct registries *);

/* What escaped slashes are to its routes. */
static inline enum slash_rule policy_slashes(const struct policy *p)
{
	return (enum slash_rule)p->config->limits.escaped_slashes;
}

#endif
