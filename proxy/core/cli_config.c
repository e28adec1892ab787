/* cli_config.c - commands that read configurations and serve nothing. */
#include <string.h>

#include "core/cli_internal.h"
#include "conf/value.h"
#include "core/authenticate.h"
#include "core/production.h"
#include "core/tls_set.h"

void cli_load_begin(struct cli_load *l, const char *path)
{
	*l = (struct cli_load){ .path = path };
	arena_init(&l->arena, NULL);
	arena_init(&l->diag_arena, NULL);
	diags_init(&l->diags, &l->diag_arena);
	l->config = config_load(path, &l->arena, &l->diags);
}

void cli_load_end(struct cli_load *l)
{
	arena_fini(&l->arena);
	arena_fini(&l->diag_arena);
}

int cli_print_findings(const struct cli_load *l, enum diag_format format, bool always,
		       const char *consequence)
{
	FILE *out = format == DIAG_HUMAN || format == DIAG_GCC ? stderr : stdout;
	int status = l->config == NULL ? STATUS_FAILED : STATUS_OK;
	struct buf text = { 0 };

	if (!always && l->diags.errors == 0 && l->diags.warnings == 0)
		return status;
	diags_print(&l->diags, format, l->path, consequence, cli_colour(out), &text);
	return cli_put(out, &text, status);
}

static const char *or_default(const char *path)
{
	return path != NULL ? path : CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE;
}

int cli_check(int argc, char **argv, const struct cli_host *host)
{
	const char *path = NULL, *form = NULL, *grace = NULL;
	enum diag_format format = DIAG_HUMAN;
	struct cli_words none = { 0 };
	bool strict = false, production = false;
	uint64_t grace_ns = 0;
	struct cli_load l;
	const struct cli_option options[] = { { 'c', "--config", &path, .values = CLI_FILE },
					      { 0, "--format", &form,
						.values = "human gcc json github" },
					      { 0, "--strict", NULL, &strict },
					      { 0, "--production", NULL, &production },
					      { 0, "--grace", &grace },
					      { 0 } };
	int status;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	if (grace != NULL && (!production || value_duration(slice_str(grace), &grace_ns) != NULL))
		return cli_usage_error("--grace is a duration such as 40s, beside --production");
	if (form != NULL && !diag_format_parse(form, &format))
		return cli_usage_error("the format is human, gcc, json or github, not `%s`", form);
	cli_load_begin(&l, or_default(path));
	if (l.config != NULL) {
		tls_set_check(l.config, &l.diags);
		auth_check_files(l.config, &l.diags);
	}
	if (l.diags.errors > 0)
		l.config = NULL;
	if (l.config != NULL && production)
		production_check(l.config, grace_ns, &l.diags);
	status = cli_print_findings(&l, format, true,
				    l.config != NULL ? "fine" : "it would not be loaded");
	if (status == STATUS_OK && strict && l.diags.warnings > 0)
		status = STATUS_WARNINGS;
	cli_load_end(&l);
	return status;
}

int cli_dump(int argc, char **argv, const struct cli_host *host)
{
	const char *path = NULL, *form = "yaml", *given = NULL;
	struct cli_words none = { 0 };
	struct buf text = { 0 };
	struct cli_load l;
	const struct cli_option options[] = { { 'c', "--config", &path, .values = CLI_FILE },
					      { 0, "--format", &given, .values = "yaml json" },
					      { 0 } };
	int status;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	form = given != NULL ? given : form;
	if (strcmp(form, "yaml") != 0 && strcmp(form, "json") != 0)
		return cli_usage_error("the format is yaml or json, not `%s`", form);
	cli_load_begin(&l, or_default(path));
	status = cli_print_findings(&l, DIAG_HUMAN, false, NULL);
	if (l.config != NULL && strcmp(form, "json") == 0)
		schema_dump_json(&config_schema, l.config, &text);
	else if (l.config != NULL)
		schema_dump_yaml(&config_schema, l.config, &text);
	status = cli_put(stdout, &text, status);
	cli_load_end(&l);
	return status;
}

/*-------------------------------------------------------------------- diff */

static const struct conf_variant *find_policy(const struct config *c, const char *name)
{
	const struct conf_variant *p = c->policies.item;

	for (uint32_t i = 0; i < c->policies.n; i++)
		if (strcmp(p[i].name.name, name) == 0)
			return &p[i];
	return NULL;
}

/* Whether a field says the same in both; in neither counts as the same. */
static bool same_field(const struct conf_variant *a, const struct conf_variant *b, const char *key)
{
	struct buf x = { 0 }, y = { 0 };
	bool same;

	schema_field_text(a->schema, key, a->conf, &x);
	schema_field_text(b->schema, key, b->conf, &y);
	same = slice_eq(slice_of(x.p, x.n), slice_of(y.p, y.n));
	buf_fini(&x);
	buf_fini(&y);
	return same;
}

/* A table is found again by the name, kind and key of its policy; its rule may differ. */
static const char *fate(const struct conf_variant *old, const struct conf_variant *new)
{
	if (old == NULL)
		return "new";
	if (old->schema != new->schema)
		return "new: the kind changed";
	if (!same_field(old, new, "key"))
		return "new: the key changed";
	if (!same_field(old, new, "rate") || !same_field(old, new, "burst"))
		return "kept, each as full as it was";
	return "kept";
}

static void put_buckets(const struct config *old, const struct config *new, struct buf *out)
{
	const struct conf_variant *p = new->policies.item;

	for (uint32_t i = 0; i < new->policies.n; i++)
		buf_printf(out, "= buckets of %s: %s\n", p[i].name.name,
			   fate(find_policy(old, p[i].name.name), &p[i]));
}

int cli_diff(int argc, char **argv, const struct cli_host *host)
{
	static const struct cli_option options[] = { { 0 } };
	struct cli_words files = { .max = 2 };
	struct cli_load old, new;
	struct buf text = { 0 };
	unsigned restart = 0;
	int status;

	(void)host;
	if (!cli_parse(argc, argv, options, &files))
		return STATUS_USAGE;
	if (files.n != 2)
		return cli_usage_error("diff takes two files");
	cli_load_begin(&old, files.word[0]);
	cli_load_begin(&new, files.word[1]);
	status = cli_print_findings(&old, DIAG_HUMAN, false, NULL);
	if (cli_print_findings(&new, DIAG_HUMAN, false, NULL) != STATUS_OK)
		status = STATUS_FAILED;
	if (status == STATUS_OK) {
		if (schema_diff(&config_schema, old.config, new.config, &text, &restart) == 0)
			buf_puts(&text, "no changes\n");
		put_buckets(old.config, new.config, &text);
		if (restart > 0)
			buf_puts(&text,
				 "a reload would be refused: what needs a restart is marked\n");
	}
	status = cli_put(stdout, &text, status);
	cli_load_end(&old);
	cli_load_end(&new);
	return status;
}

/*--------------------------------------------------------------- documents */

static int print_document(int argc, char **argv, void (*make)(const struct schema *, struct buf *),
			  const char *heading)
{
	static const struct cli_option options[] = { { 0 } };
	struct cli_words none = { 0 };
	struct buf text = { 0 };

	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	buf_puts(&text, heading);
	make(&config_schema, &text);
	return cli_put(stdout, &text, STATUS_OK);
}

int cli_schema(int argc, char **argv, const struct cli_host *host)
{
	(void)host;
	return print_document(argc, argv, schema_json_schema, "");
}

int cli_reference(int argc, char **argv, const struct cli_host *host)
{
	(void)host;
	return print_document(argc, argv, schema_reference,
			      "# Reference of the configuration\n\n"
			      "Made by `weir reference` from the tables that the loader reads.\n");
}
