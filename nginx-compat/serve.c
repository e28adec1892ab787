/* serve.c - an nginx.conf is read, taken to the background if it says so, and served; and read again by each reload.
 *
 *   serve_run: import, error log -> fork (`daemon on`) -> control_run: load, bind, serve -> ready: the parent goes
 *
 * The process that is told about in the pid file is the one that serves; with `daemon on` the one that was started goes with 0
 * once all is bound, or with 1 when it cannot be. */
#include "nginx-compat/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/config.h"
#include "nginx-compat/internal.h"
#include "nginx-compat/log_words.h"
#include "nginx-compat/table.h"
#include "nginx-compat/told.h"

enum { FOREVER_DAYS = 3650 };

/* Between load and report, both of one turn of the control thread. */
struct served {
	const struct serving *how;
	struct slice yaml;  /* in the memory of the findings */
	const char *folder; /* of the main file */
	char error_log[4096];
	int parent; /* a pipe to who waits; -1: nobody */
	/* Of the first configuration: they stay. */
	bool known;
	uint32_t workers;
	char pid_file[4096];
};

/*----------------------------------------------------------------- what is wrong */

/* Of themselves they do nothing; what would need them is lost itself. */
static const char *const idle[] = { "root", "index" };

static bool is_idle(const struct directive *d)
{
	for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
		if (directive_is(d, idle[i]))
			return d->rule != NULL && d->rule->verdict == LOST;
	return false;
}

/* What is inside comes first: a block may be lost because of it. */
static const struct directive *first_lost(const struct directive *parent)
{
	DIRECTIVE_EACH (d, parent) {
		const struct directive *inside = first_lost(d);

		if (inside != NULL)
			return inside;
		if (d->line > 0 && !is_idle(d) &&
		    (d->verdict == LOST || d->verdict == CLOSES || d->verdict == UNKNOWN))
			return d;
	}
	return NULL;
}

const char *serve_wrong(struct arena *arena, const struct import_result *r, const char **hint)
{
	const struct directive *d;
	const char *text;

	*hint = NULL;
	if (r->wrong != NULL)
		return r->wrong;
	d = first_lost(&r->tree->root);
	if (d == NULL)
		return r->yaml.p == NULL ? "there is nothing to serve" : NULL;
	if (d->file == tree_command_line)
		text = arena_printf(arena, "unknown directive \"%s\" in %s", d->word[0].p, d->file);
	else
		text = arena_printf(arena, "unknown directive \"%s\" in %s:%u", d->word[0].p,
				    d->file, d->end_line);
	if (d->why != NULL)
		*hint = arena_printf(arena, "\"%s\" cannot be had: %s", d->word[0].p, d->why);
	return text == NULL ? "out of memory" : text;
}

/*----------------------------------------------------------------- what holds */

static const char *under(struct arena *arena, const char *prefix, const char *path)
{
	if (path == NULL)
		return NULL;
	return arena_printf(arena, "%s%s", *path == '/' ? "" : prefix, path);
}

static const char *word_of(const struct tree *t, const char *name)
{
	const struct directive *d = block_own(&t->root, name);

	return d != NULL && d->n > 1 ? d->word[1].p : NULL;
}

const char *serve_pid_file(struct arena *arena, const struct serving *s, const struct tree *t)
{
	const char *path = word_of(t, "pid");

	return under(arena, s->start.prefix, path != NULL ? path : s->pid_file);
}

const char *serve_error_log(struct arena *arena, const struct serving *s, const struct tree *t)
{
	const char *path = word_of(t, "error_log");

	if (path != NULL && (strcmp(path, "stderr") == 0 || strncmp(path, "syslog:", 7) == 0 ||
			     strncmp(path, "memory:", 7) == 0))
		return NULL;
	return under(arena, s->start.prefix, path != NULL ? path : s->start.error_log);
}

static bool is_off(const struct tree *t, const char *name)
{
	const char *value = word_of(t, name);

	return value != NULL && strcasecmp(value, "off") == 0;
}

static uint64_t drain_ns(const struct tree *t)
{
	const char *text = word_of(t, "worker_shutdown_timeout");
	uint64_t ns;

	return text != NULL && value_time(slice_str(text), &ns) && ns > 0
		   ? ns
		   : FOREVER_DAYS * 86400 * CLOCK_S;
}

/*----------------------------------------------------------------- loading */

/* What only a start can change. */
static void hold(struct served *s, struct config *c)
{
	bool workers = s->known && s->workers != c->workers;
	bool pid = s->known && strcmp(s->pid_file, c->pid_file == NULL ? "" : c->pid_file) != 0;

	if (workers || pid)
		told_log("warn", "\"%s\" changes with the next start",
			 workers ? "worker_processes" : "pid");
	if (!s->known) {
		s->workers = c->workers;
		snprintf(s->pid_file, sizeof(s->pid_file), "%s",
			 c->pid_file == NULL ? "" : c->pid_file);
	}
	s->known = true;
	c->workers = s->workers;
	c->pid_file = *s->pid_file == '\0' ? NULL : s->pid_file;
}

static struct config *keep(struct served *s, const struct import_result *r, struct arena *arena,
			   struct diags *diags)
{
	struct slice text = arena_copy(arena, r->yaml);
	struct config *c;
	const char *log;

	s->yaml = arena_copy(diags->arena, r->yaml);
	if (text.p == NULL || s->yaml.p == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	c = config_load_text("weir.yaml", text, arena, diags);
	if (c == NULL)
		return NULL;
	c->pid_file = serve_pid_file(arena, s->how, r->tree);
	hold(s, c);
	c->shutdown.delay_ns = 0;
	c->shutdown.drain_ns = drain_ns(r->tree);
	log = serve_error_log(arena, s->how, r->tree);
	snprintf(s->error_log, sizeof(s->error_log), "%s", log == NULL ? "" : log);
	return c;
}

static struct config *load(void *arg, struct arena *arena, struct diags *diags)
{
	struct served *s = arg;
	struct config *c = NULL;
	struct import_result r;
	const char *wrong, *hint;
	struct arena own;

	s->yaml = slice_of(NULL, 0);
	arena_init(&own, NULL);
	import_serve(&own, s->how->conf, &s->how->start, &r);
	wrong = serve_wrong(&own, &r, &hint);
	if (wrong != NULL)
		diag_error(diags, (struct place){ 0 }, "E001", "%s", wrong)->help =
		    hint == NULL ? NULL : arena_strdup(diags->arena, hint);
	else
		c = keep(s, &r, arena, diags);
	arena_fini(&own);
	return c;
}

/*----------------------------------------------------------------- findings */

static struct slice line_of(struct slice text, uint32_t n)
{
	struct slice line = slice_of("", 0);

	for (uint32_t i = 0; i < n && text.n > 0; i++)
		line = slice_cut(&text, '\n');
	return line;
}

/* "nginx.conf:22" of the line of YAML, or of the nearest before it that names one. */
static struct slice origin_of(struct slice yaml, uint32_t line)
{
	static const char mark[] = " # ";

	for (; line > 0; line--) {
		struct slice text = line_of(yaml, line);
		const char *at = memmem(text.p, text.n, mark, strlen(mark));

		if (at != NULL && memchr(at, ':', (size_t)(text.p + text.n - at)) != NULL)
			return slice_of(at + strlen(mark),
					(size_t)(text.p + text.n - at) - strlen(mark));
	}
	return slice_of(NULL, 0);
}

static int errno_of(const char *text)
{
	for (int i = 1; i < 134; i++)
		if (strcmp(strerror(i), text) == 0)
			return i;
	return 0;
}

/* "cannot listen on ADDR: WHY", as nginx has it. */
static bool tell_bind(const struct diag *d)
{
	static const char start[] = "cannot listen on ";
	const char *addr = d->message + strlen(start), *why;

	if (strcmp(d->code, "E040") != 0 || strncmp(d->message, start, strlen(start)) != 0 ||
	    (why = strstr(addr, ": ")) == NULL)
		return false;
	told("emerg", "bind() to %.*s failed (%d: %s)", (int)(why - addr), addr, errno_of(why + 2),
	     why + 2);
	return true;
}

/* "the access log `FILE` cannot be opened: WHY", as nginx has it. */
static bool tell_open(const struct diag *d)
{
	static const char start[] = "the access log `", middle[] = "` cannot be opened: ";
	const char *path = d->message + strlen(start), *end;

	if (strcmp(d->code, "E018") != 0 || strncmp(d->message, start, strlen(start)) != 0 ||
	    (end = strstr(path, middle)) == NULL)
		return false;
	told("emerg", "open() \"%.*s\" failed (%d: %s)", (int)(end - path), path,
	     errno_of(end + strlen(middle)), end + strlen(middle));
	return true;
}

static void tell_error(const struct served *s, const struct diag *d)
{
	struct slice from = origin_of(s->yaml, d->at.line);

	if (from.p != NULL)
		told("emerg", "%s in %s%.*s", d->message, *from.p == '/' ? "" : s->folder,
		     SLICE_FMT(from));
	else
		told("emerg", "%s", d->message);
	if (d->help != NULL)
		told("notice", "%s", d->help);
}

static void report(void *arg, const struct diags *diags)
{
	struct served *s = arg;
	bool bound = true;

	for (const struct diag *d = diags->first; d != NULL; d = d->next) {
		if (d->severity != DIAG_ERROR)
			continue;
		if (tell_bind(d))
			bound = false;
		else if (!tell_open(d))
			tell_error(s, d);
	}
	if (!bound)
		told("emerg", "still could not bind()");
	if (diags->errors == 0 && s->error_log[0] != '\0')
		told_to(s->error_log);
}

/*----------------------------------------------------------------- the process */

static bool on_ready(void *arg)
{
	struct served *s = arg;

	if (s->pid_file[0] != '\0' && access(s->pid_file, R_OK) != 0) {
		told("emerg", "open() \"%s\" failed (%d: %s)", s->pid_file, errno, strerror(errno));
		return false;
	}
	told_alone();
	if (s->parent < 0)
		return true;
	(void)!write(s->parent, "", 1);
	close(s->parent);
	s->parent = -1;
	return true;
}

static void on_reopen(void *arg)
{
	(void)arg;
	told_reopen();
}

static void leave_terminal(void)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	umask(0);
	if (nowhere < 0)
		return;
	dup2(nowhere, STDIN_FILENO);
	dup2(nowhere, STDOUT_FILENO);
	close(nowhere);
}

/* The one that was started: what became of the other. */
static int wait_for(pid_t child, int from)
{
	char byte;
	int status;

	if (read(from, &byte, 1) == 1)
		return 0;
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return WEXITSTATUS(status);
	return 1;
}

/* In the process that goes on: true.  Else *status is what the other ends with. */
static bool go_to_background(struct served *s, int *status)
{
	int ends[2];
	pid_t child;

	*status = 1;
	if (pipe2(ends, O_CLOEXEC) != 0 || (child = fork()) < 0) {
		told("alert", "fork() failed (%d: %s)", errno, strerror(errno));
		return false;
	}
	if (child > 0) {
		close(ends[1]);
		*status = wait_for(child, ends[0]);
		return false;
	}
	close(ends[0]);
	s->parent = ends[1];
	leave_terminal();
	return true;
}

/* False: it cannot be started, and that was said. */
static bool look_first(struct served *s, bool *foreground)
{
	const char *wrong, *hint, *log;
	struct import_result r;
	struct arena arena;

	arena_init(&arena, NULL);
	import_serve(&arena, s->how->conf, &s->how->start, &r);
	wrong = serve_wrong(&arena, &r, &hint);
	if (wrong == NULL) {
		log = serve_error_log(&arena, s->how, r.tree);
		wrong = log == NULL ? NULL : told_to(log);
		*foreground = s->how->foreground || is_off(r.tree, "daemon");
		if (geteuid() == 0 && word_of(r.tree, "user") != NULL)
			told_log("warn", "\"user\" changes nothing: all is done by the user that "
					 "started it");
	}
	if (wrong != NULL)
		told("emerg", "%s", wrong);
	if (wrong != NULL && hint != NULL)
		told("notice", "%s", hint);
	arena_fini(&arena);
	return wrong == NULL;
}

static const char *folder_of(const char *path)
{
	static char folder[4096];
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 0 : (int)(slash + 1 - path), path);
	return folder;
}

int serve_run(const struct serving *how, const struct cli_host *host)
{
	static struct served served; /* control keeps them */
	static struct control_source source;
	static struct control_options options;
	bool foreground = true;
	int status;

	served = (struct served){ .how = how, .parent = -1, .folder = folder_of(how->conf) };
	source = (struct control_source){ &served, load, report, on_ready, on_reopen };
	options = (struct control_options){ .config_path = how->conf,
					    .source = &source,
					    .term_at_once = true };
	if (!look_first(&served, &foreground))
		return 1;
	if (!foreground && !go_to_background(&served, &status))
		return status;
	told_redirect();
	log_words_use();
	return control_run(&options, &host->services);
}
