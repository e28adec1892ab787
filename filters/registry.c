/* registry.c - one row per kind of filter.  To add one: its ops here and its schema in `variants`.
 */
#include "filters/registry.h"

#include <stdlib.h>

#include "base/check.h"
#include "conf/suggest.h"
#include "filters/breaker.h"
#include "filters/concurrency.h"
#include "filters/rate.h"
#include "filters/retry.h"
#include "filters/table.h"

static const struct filter_ops *const kinds[] = {
	&rate_ops,
	&concurrency_ops,
	&breaker_ops,
	&retry_ops,
};

static const struct schema *const variants[] = {
	&rate_schema,
	&concurrency_schema,
	&breaker_schema,
	&retry_schema,
	NULL,
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

_Static_assert(sizeof(variants) / sizeof(variants[0]) == KINDS + 1, "a kind without its schema");

static const char *list_kinds(struct arena *arena)
{
	const char *text = "a policy is of the kind that one of these keys names:";

	for (size_t i = 0; i < KINDS && text != NULL; i++)
		text = arena_printf(arena, "%s %s", text, kinds[i]->name);
	return text;
}

static const char *nearest_kind(struct slice word)
{
	struct suggest s;

	suggest_begin(&s, word);
	for (size_t i = 0; i < KINDS; i++)
		suggest_offer(&s, kinds[i]->name);
	return s.best;
}

static void no_kind(struct conf_load *load, const struct node *node)
{
	struct diag *d;

	for (const struct node *n = node->first; n != NULL; n = n->next) {
		const char *meant = nearest_kind(n->key);

		if (meant == NULL)
			continue;
		d = diag_error(load->diags, n->key_at, "E012", "unknown key `%.*s` in a policy",
			       SLICE_FMT(n->key));
		d->suggestion = meant;
		d->help = list_kinds(load->arena);
		return;
	}
	d = diag_error(load->diags, node->at, "E013",
		       "no key of this policy says of which kind it is");
	d->help = list_kinds(load->arena);
}

static const struct schema *choose_kind(struct conf_load *load, const struct node *node)
{
	const struct filter_ops *found = NULL;

	if (node->kind != NODE_MAP) {
		struct diag *d = diag_error(load->diags, node->at, "E014", "a policy is a mapping");

		d->help = list_kinds(load->arena);
		return NULL;
	}
	for (size_t i = 0; i < KINDS; i++) {
		const struct node *n = node_get(node, kinds[i]->name);

		if (n == NULL)
			continue;
		if (found != NULL) {
			diag_error(load->diags, n->key_at, "E019",
				   "one policy is of one kind: `%s` or `%s`", found->name,
				   kinds[i]->name);
			return NULL;
		}
		found = kinds[i];
	}
	if (found == NULL)
		no_kind(load, node);
	return found == NULL ? NULL : found->schema;
}

const struct schema policy_schema = {
	.name = "policy",
	.variant = choose_kind,
	.variants = variants,
};

const struct filter_ops *registry_find(const struct schema *schema)
{
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i]->schema == schema)
			return kinds[i];
	return NULL;
}

struct filter *filter_open(const struct conf_variant *v, struct table_registry *tables,
			   struct diags *diags)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (f != NULL) {
		f->ops = registry_find(v->schema);
		CHECK(f->ops != NULL);
		f->name = v->name.name;
		f->conf = v->conf;
		f->shadow = ((const struct policy_conf *)v->conf)->shadow;
		f->status = (uint16_t)((const struct policy_conf *)v->conf)->status;
		f->stats = table_stats_get(tables, f->name);
	}
	if (f == NULL || f->stats == NULL) {
		diag_error(diags, v->name.at, "E099", "out of memory");
		free(f);
		return NULL;
	}
	if (f->ops->open != NULL && !f->ops->open(f, tables, diags, v->name.at)) {
		table_stats_put(tables, f->stats);
		free(f);
		return NULL;
	}
	return f;
}

void filter_close(struct filter *f, struct table_registry *tables)
{
	if (f == NULL)
		return;
	if (f->ops->close != NULL)
		f->ops->close(f);
	table_stats_put(tables, f->stats);
	free(f);
}
