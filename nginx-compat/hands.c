/* hands.c - nginx's options, and what is done without serving: -t, -T, -s, -v, -V.
 *
 * Without -p, files are where nginx's own packages have them; with it, under PREFIX, as when nginx was built from its sources. */
#include "nginx-compat/hands.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/authenticate.h"
#include "core/cli_internal.h"
#include "core/config.h"
#include "core/pid_file.h"
#include "core/tls_set.h"
#include "nginx-compat/internal.h"
#include "nginx-compat/modules.h"
#include "nginx-compat/serve.h"
#include "nginx-compat/table.h"
#include "nginx-compat/told.h"

struct wishes {
	const char *conf, *prefix, *directives, *error_log, *signal;
	bool test, dump, quiet, version, whole_version, help;
};

/*----------------------------------------------------------------- options */

struct option {
	char letter;
	size_t at;
	const char *missing; /* NULL: it is a switch */
};

#define AT(member) offsetof(struct wishes, member)
static const struct option options[] = {
	{ '?', AT(help), NULL },
	{ 'h', AT(help), NULL },
	{ 'v', AT(version), NULL },
	{ 'V', AT(whole_version), NULL },
	{ 't', AT(test), NULL },
	{ 'T', AT(dump), NULL },
	{ 'q', AT(quiet), NULL },
	{ 'p', AT(prefix), "requires directory name" },
	{ 'e', AT(error_log), "requires file name" },
	{ 'c', AT(conf), "requires file name" },
	{ 'g', AT(directives), "requires parameter" },
	{ 's', AT(signal), "requires parameter" },
};
#undef AT

static const struct option *find_option(char letter)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].letter == letter)
			return &options[i];
	return NULL;
}

/* One argument: switches, and at its end perhaps one that takes a value, there or in the next.  False: it was said what is
 * wrong. */
static bool take(struct wishes *w, int argc, char **argv, int *i)
{
	for (const char *c = argv[*i] + 1; *c != '\0'; c++) {
		const struct option *o = find_option(*c);
		const char *value = c + 1;

		if (o == NULL) {
			fprintf(stderr, "nginx: invalid option: \"%c\"\n", *c);
			return false;
		}
		if (o->missing == NULL) {
			*(bool *)((char *)w + o->at) = true;
			continue;
		}
		if (*value == '\0')
			value = *i + 1 < argc ? argv[++*i] : "";
		if (*value == '\0') {
			fprintf(stderr, "nginx: option \"-%c\" %s\n", *c, o->missing);
			return false;
		}
		*(const char **)((char *)w + o->at) = value;
		return true;
	}
	return true;
}

static bool parse(struct wishes *w, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			fprintf(stderr, "nginx: invalid option: \"%s\"\n", argv[i]);
			return false;
		}
		if (!take(w, argc, argv, &i))
			return false;
	}
	w->version |= w->whole_version || w->help;
	w->test |= w->dump;
	return true;
}

/*----------------------------------------------------------------- about itself */

static const char usage[] =
    "Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]\n"
    "             [-e filename] [-c filename] [-g directives]\n\n"
    "Options:\n"
    "  -?,-h         : this help\n"
    "  -v            : show version and exit\n"
    "  -V            : show version and configure options then exit\n"
    "  -t            : test configuration and exit\n"
    "  -T            : test configuration, dump it and exit\n"
    "  -q            : suppress non-error messages during configuration testing\n"
    "  -s signal     : send signal to a master process: stop, quit, reopen, reload\n"
    "  -p prefix     : set prefix path (default: /etc/nginx/)\n"
    "  -e filename   : set error log file (default: /var/log/nginx/error.log)\n"
    "  -c filename   : set configuration file (default: /etc/nginx/nginx.conf)\n"
    "  -g directives : set global directives out of configuration file\n\n";

/* nginx says it on stderr. */
static int print_about(const struct wishes *w)
{
	struct buf out = { 0 };

	buf_printf(&out, "nginx version: nginx/%s (weir %s)\n", NGINX_VERSION, WEIR_VERSION);
	if (w->help)
		buf_puts(&out, usage);
	if (w->whole_version) {
		buf_printf(&out, "built with %s\nTLS SNI support enabled\n", tls_library());
		buf_puts(&out,
			 "configure arguments: --prefix=/etc/nginx "
			 "--conf-path=/etc/nginx/nginx.conf "
			 "--error-log-path=/var/log/nginx/error.log --pid-path=/run/nginx.pid");
		modules_words(&out);
		buf_putc(&out, '\n');
	}
	return cli_put(stderr, &out, 0);
}

/*----------------------------------------------------------------- -s */

static const struct pid_order orders[] = {
	{ "stop", SIGTERM, 0 },  { "quit", SIGQUIT, 0 }, { "reopen", SIGUSR1, 0 },
	{ "reload", SIGHUP, 0 }, { NULL, 0, 0 },
};

static int send_order(const char *pid_file, const struct pid_order *o)
{
	const char *path = pid_file == NULL ? "" : pid_file;
	struct pid_told t;

	switch (pid_file_tell(path, o, &t)) {
	case PID_NO_FILE:
		told("error", "open() \"%s\" failed (%d: %s)", path, errno, strerror(errno));
		return 1;
	case PID_NO_NUMBER:
		told("error", "invalid PID number \"%s\" in \"%s\"", t.text, path);
		return 1;
	case PID_NOT_TOLD:
		told("alert", "kill(%d, %d) failed (%d: %s)", (int)t.pid, t.signal, errno,
		     strerror(errno));
		return 1;
	case PID_TOLD:
		break;
	}
	return 0;
}

/*----------------------------------------------------------------- -t */

static void dump_files(const struct tree *t)
{
	for (const struct tree_file *f = t->first_file; f != NULL; f = f->next) {
		bool seen = f->name == tree_command_line;

		for (const struct tree_file *b = t->first_file; b != f; b = b->next)
			seen = seen || strcmp(b->name, f->name) == 0;
		if (!seen)
			printf("# configuration file %s:\n%.*s\n", f->name, SLICE_FMT(f->text));
	}
	fflush(stdout);
}

/* What is served in another way than nginx would. */
static void warn_adapted(const struct directive *parent)
{
	DIRECTIVE_EACH (d, parent) {
		if (d->verdict == ADAPTED && d->why != NULL && d->line > 0)
			told("warn", "\"%s\" is served in another way: %s in %s:%u", d->word[0].p,
			     d->why, d->file, d->line);
		warn_adapted(d);
	}
}

/* Files that the configuration names. */
static bool check_files(const struct import_result *r)
{
	struct arena arena, findings;
	struct diags diags;
	struct config *c;

	arena_init(&arena, NULL);
	arena_init(&findings, NULL);
	diags_init(&diags, &findings);
	c = config_load_text("weir.yaml", r->yaml, &arena, &diags);
	if (c != NULL) {
		tls_set_check(c, &diags);
		auth_check_files(c, &diags);
	}
	for (const struct diag *d = diags.first; d != NULL; d = d->next)
		if (d->severity == DIAG_ERROR)
			told("emerg", "%s", d->message);
	arena_fini(&findings);
	arena_fini(&arena);
	return diags.errors == 0;
}

static int finish_test(const struct serving *s, const struct wishes *w,
		       const struct import_result *r)
{
	if (!w->quiet)
		warn_adapted(&r->tree->root);
	if (!w->quiet)
		fprintf(stderr, "nginx: the configuration file %s syntax is ok\n", s->conf);
	if (!check_files(r)) {
		fprintf(stderr, "nginx: configuration file %s test failed\n", s->conf);
		return 1;
	}
	if (!w->quiet)
		fprintf(stderr, "nginx: configuration file %s test is successful\n", s->conf);
	if (w->dump)
		dump_files(r->tree);
	return 0;
}

/* -t, -T and -s: the configuration is read, nothing is served. */
static int look(const struct serving *s, const struct wishes *w, const struct pid_order *order)
{
	const char *wrong, *hint;
	struct import_result r;
	struct arena arena;
	int status = 1;

	arena_init(&arena, NULL);
	import_serve(&arena, s->conf, &s->start, &r);
	wrong = serve_wrong(&arena, &r, &hint);
	if (wrong != NULL)
		told("emerg", "%s", wrong);
	if (wrong != NULL && hint != NULL)
		told("notice", "%s", hint);
	if (wrong != NULL && order == NULL)
		fprintf(stderr, "nginx: configuration file %s test failed\n", s->conf);
	else if (wrong == NULL)
		status = order != NULL ? send_order(serve_pid_file(&arena, s, r.tree), order)
				       : finish_test(s, w, &r);
	arena_fini(&arena);
	return status;
}

/*----------------------------------------------------------------- whole */

enum { PATH_BYTES = 4096 };

/* Where nginx's packages have them, and where its sources do. */
struct places {
	const char *prefix, *conf, *pid_file, *error_log, *access_log;
};

static const struct places packaged = { "/etc/nginx/", "/etc/nginx/nginx.conf", "/run/nginx.pid",
					"/var/log/nginx/error.log", "/var/log/nginx/access.log" };
static const struct places built = { NULL, "conf/nginx.conf", "logs/nginx.pid", "logs/error.log",
				     "logs/access.log" };

static const char *under(char out[PATH_BYTES], const char *prefix, const char *path)
{
	snprintf(out, PATH_BYTES, "%s%s", *path == '/' ? "" : prefix, path);
	return out;
}

static void place(const struct wishes *w, struct serving *s)
{
	static char prefix[PATH_BYTES], conf[PATH_BYTES];
	const struct places *p = w->prefix == NULL ? &packaged : &built;

	snprintf(prefix, sizeof(prefix), "%s", w->prefix == NULL ? p->prefix : w->prefix);
	if (prefix[strlen(prefix) - 1] != '/' && strlen(prefix) + 1 < sizeof(prefix))
		strcat(prefix, "/");
	s->start = (struct import_start){ .prefix = prefix,
					  .directives = w->directives,
					  .access_log = p->access_log };
	s->conf = under(conf, prefix, w->conf != NULL ? w->conf : p->conf);
	s->pid_file = p->pid_file;
	s->start.error_log = w->error_log != NULL ? w->error_log : p->error_log;
}

static void open_log(const struct serving *s)
{
	char path[PATH_BYTES];
	const char *why;

	if (strcmp(s->start.error_log, "stderr") == 0)
		return;
	why = told_to(under(path, s->start.prefix, s->start.error_log));
	if (why != NULL)
		told("alert", "could not open error log file: %s", why);
}

int hands_main(int argc, char **argv, const struct cli_host *host)
{
	static struct serving serving; /* control keeps it */
	const struct pid_order *order = NULL;
	struct wishes w = { 0 };

	if (!parse(&w, argc, argv))
		return 1;
	if (w.version)
		return print_about(&w);
	if (w.signal != NULL && (order = pid_order_find(orders, w.signal)) == NULL) {
		fprintf(stderr, "nginx: invalid option: \"-s %s\"\n", w.signal);
		return 1;
	}
	place(&w, &serving);
	open_log(&serving);
	if (w.test || order != NULL)
		return look(&serving, &w, order);
	return serve_run(&serving, host);
}

int hands_run(const char *path, const struct cli_host *host)
{
	static struct serving serving; /* the same */
	static char prefix[PATH_BYTES];
	const char *slash = strrchr(path, '/');

	snprintf(prefix, sizeof(prefix), "%.*s", slash == NULL ? 2 : (int)(slash + 1 - path),
		 slash == NULL ? "./" : path);
	serving = (struct serving){ .conf = path,
				    .start = { .prefix = prefix, .access_log = "/dev/stdout" },
				    .foreground = true };
	return serve_run(&serving, host);
}
