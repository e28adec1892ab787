/* policies.h - policies from YAML text, and calls to put through them, for the tests of filters. */
#ifndef TESTS_FILTERS_POLICIES_H
#define TESTS_FILTERS_POLICIES_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "filters/registry.h"
#include "filters/stats.h"
#include "filters/table.h"

struct policies_conf {
	struct conf_list list; /* of struct conf_variant */
};

static const struct field policies_fields[] = {
	{ .key = "policies",
	  .type = C_NAMED,
	  .offset = offsetof(struct policies_conf, list),
	  .sub = &policy_schema },
	{ .key = NULL },
};

static const struct schema policies_schema = {
	.name = "file",
	.size = sizeof(struct policies_conf),
	.fields = policies_fields,
};

/* One load of a file: its policies as a chain in the order of the file. */
struct policies {
	struct arena arena;
	struct diags diags;
	struct table_registry *tables;
	struct policies_conf conf;
	struct filter *filter[CHAIN_MAX];
	struct chain chain;
	bool ok;
};

static inline void policies_load(struct policies *p, struct table_registry *tables,
				 const char *yaml)
{
	struct conf_load load = { .arena = &p->arena, .diags = &p->diags, .path = "" };
	const struct conf_variant *v;
	struct node *root;

	memset(p, 0, sizeof(*p));
	p->tables = tables;
	arena_init(&p->arena, NULL);
	diags_init(&p->diags, &p->arena);
	root = node_read_text("weir.yaml", slice_str(yaml), &p->arena, &p->diags);
	p->ok = root != NULL && schema_load(&load, &policies_schema, root, &p->conf);
	v = p->conf.list.item;
	for (uint32_t i = 0; p->ok && i < p->conf.list.n; i++) {
		p->filter[i] = filter_open(&v[i], tables, &p->diags);
		p->ok = p->filter[i] != NULL;
		p->chain.filter[i] = p->filter[i];
		p->chain.n++;
	}
	if (p->ok)
		chain_layout(&p->chain);
}

static inline void policies_close(struct policies *p)
{
	for (uint8_t i = 0; i < p->chain.n; i++)
		filter_close(p->filter[i], p->tables);
	arena_fini(&p->arena);
}

static inline void policies_open(struct policies *p, struct table_registry *tables,
				 const char *yaml)
{
	policies_load(p, tables, yaml);
	for (const struct diag *d = p->ok ? NULL : p->diags.first; d != NULL; d = d->next)
		fprintf(stderr, "%u:%u %s %s\n", d->at.line, d->at.column, d->code, d->message);
	assert_true(p->ok);
}

/* Loads text that must not be accepted and says whether a finding has this code and these words. */
static inline const struct diag *policies_finding(struct policies *p, const char *code,
						  const char *words)
{
	for (const struct diag *d = p->diags.first; d != NULL; d = d->next)
		if (strcmp(d->code, code) == 0 && strstr(d->message, words) != NULL)
			return d;
	return NULL;
}

/* The clock of the registry: a reload comes at the time of the last visit. */
static _Atomic uint64_t policies_now_ns;

static inline uint64_t policies_clock(void)
{
	return policies_now_ns;
}

static inline struct table_registry *policies_tables(void)
{
	struct table_registry *r = table_registry_new();

	assert_non_null(r);
	table_registry_set_clock(r, policies_clock);
	return r;
}

/* A call as the exchange makes one. */
struct visit {
	struct env env;
	struct arena arena;
	struct head req;
	struct call call;
	max_align_t mem[256];
};

static inline void visit_init(struct visit *v, const char *client, uint64_t now_ns)
{
	memset(v, 0, sizeof(*v));
	policies_now_ns = now_ns;
	v->env = (struct env){ .now_ns = now_ns };
	arena_init(&v->arena, NULL);
	head_init(&v->req, &v->arena);
	v->req.method = slice_str("GET");
	v->req.method_id = METHOD_GET;
	v->req.authority = slice_str("example.com");
	v->req.path = slice_str("/");
	v->call = (struct call){ .env = &v->env,
				 .req = &v->req,
				 .arena = &v->arena,
				 .route = "app",
				 .upstream = "app" };
	v->call.path = slice_str("/");
	if (client != NULL)
		assert_true(ip_parse(slice_str(client), &v->call.client));
}

static inline void visit_header(struct visit *v, const char *name, const char *value)
{
	enum field_id id = field_lookup(slice_str(name));

	if (id != F_OTHER)
		assert_true(head_add(&v->req, id, slice_str(value)));
	else
		assert_true(head_add_name(&v->req, slice_str(name), slice_str(value)));
}

static inline struct verdict visit_admit(struct visit *v, const struct policies *p)
{
	assert_true(p->chain.mem_size <= sizeof(v->mem));
	chain_begin(&p->chain, &v->call, v->mem);
	return chain_admit(&v->call);
}

static inline void visit_done(struct visit *v)
{
	chain_done(&v->call);
	arena_fini(&v->arena);
}

/* One whole call of this client at this time. */
static inline struct verdict visit(const struct policies *p, const char *client, uint64_t now_ns)
{
	struct visit v;
	struct verdict verdict;

	visit_init(&v, client, now_ns);
	verdict = visit_admit(&v, p);
	visit_done(&v);
	return verdict;
}

/* How many calls of this client pass at this time, before the first that does not. */
static inline unsigned visits_passed(const struct policies *p, const char *client, uint64_t now_ns)
{
	unsigned n = 0;

	while (n < 10000 && visit(p, client, now_ns).kind == V_PASS)
		n++;
	return n;
}

#endif
