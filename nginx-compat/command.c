/* command.c - `weir import-nginx`: what comes in, what goes where, and the exit status.
 *
 * 0: nothing is lost.  3: something is, or is not known; the YAML is written nevertheless.  1: it cannot be read, nothing is
 * left to serve, or --strict and something is lost: then nothing is written. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/cli_internal.h"
#include "nginx-compat/import.h"

struct wanted {
	const char *path, *out, *report, *version;
	bool strict;
};

static bool is_version(const char *v)
{
	return v == NULL || (*v >= '0' && *v <= '9' && strspn(v, "0123456789.") == strlen(v));
}

static bool parse(int argc, char **argv, struct wanted *w, int *status)
{
	struct cli_words words = { .max = 1 };
	const struct cli_option options[] = { { 'o', "--output", &w->out, NULL },
					      { 0, "--report", &w->report, NULL },
					      { 0, "--strict", NULL, &w->strict },
					      { 0, "--nginx-version", &w->version, NULL },
					      { 0 } };

	*status = STATUS_USAGE;
	if (!cli_parse(argc, argv, options, &words))
		return false;
	w->path = words.n > 0 ? words.word[0] : "/etc/nginx/nginx.conf";
	if (w->report != NULL && strcmp(w->report, "json") != 0 && strcmp(w->report, "text") != 0)
		*status = cli_usage_error("the report is text or json, not `%s`", w->report);
	else if (!is_version(w->version))
		*status =
		    cli_usage_error("a version of nginx is such as 1.22.1, not `%s`", w->version);
	else
		return true;
	return false;
}

static int status_of(const struct import_result *r, const struct wanted *w)
{
	bool lost = r->count[LOST] + r->count[UNKNOWN] > 0;

	if (r->wrong != NULL || r->yaml.p == NULL || (lost && w->strict))
		return STATUS_FAILED;
	return lost ? STATUS_WARNINGS : STATUS_OK;
}

static bool write_yaml(const struct import_result *r, const struct wanted *w)
{
	bool to_stdout = w->out == NULL || strcmp(w->out, "-") == 0, ok;
	FILE *f = to_stdout ? stdout : fopen(w->out, "w");

	ok = f != NULL && fwrite(r->yaml.p, 1, r->yaml.n, f) == r->yaml.n;
	if (f != NULL)
		ok = (to_stdout ? fflush(f) : fclose(f)) == 0 && ok;
	if (!ok)
		fprintf(stderr, "weir: cannot write %s: %s\n", to_stdout ? "the output" : w->out,
			strerror(errno));
	return ok;
}

/* Where the YAML does not go. */
static int put_report(const struct import_result *r, const struct wanted *w, int status)
{
	FILE *out =
	    w->out == NULL || strcmp(w->out, "-") == 0 || r->wrong != NULL ? stderr : stdout;
	struct buf report = { 0 };

	if (w->report != NULL && strcmp(w->report, "json") == 0)
		import_report_json(r, &report);
	else
		import_report_text(r, &report);
	return cli_put(out, &report, status);
}

int import_command(int argc, char **argv, const struct cli_host *host)
{
	struct wanted w = { 0 };
	struct import_result r;
	struct arena arena;
	int status;

	(void)host;
	if (!parse(argc, argv, &w, &status))
		return status;
	arena_init(&arena, NULL);
	import_file(&arena, w.path, w.version, &r);
	status = status_of(&r, &w);
	if (status != STATUS_FAILED && !write_yaml(&r, &w))
		status = STATUS_FAILED;
	status = put_report(&r, &w, status);
	arena_fini(&arena);
	return status;
}
