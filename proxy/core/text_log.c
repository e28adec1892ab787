/* text_log.c - access logs of lines of text; see text_log.h. */
#include "core/text_log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/access_log.h"
#include "core/condition.h"
#include "core/exchange.h"

enum { LOG_FILES_MAX = 64 };

struct log_file {
	unsigned refs;
	char *path;
	struct access_log *log;
	struct list link;
};

struct log_files {
	struct list list;
	unsigned workers, n;
	uint64_t buffer_bytes;
	_Atomic uint64_t dropped; /* lines, of all files */
};

/*---------------------------------------------------------------- files */

struct log_files *log_files_new(unsigned workers, uint64_t buffer_bytes)
{
	struct log_files *files = calloc(1, sizeof(*files));

	if (files == NULL)
		return NULL;
	list_init(&files->list);
	files->workers = workers;
	files->buffer_bytes = buffer_bytes;
	return files;
}

void log_files_free(struct log_files *files)
{
	CHECK(files == NULL || list_empty(&files->list));
	free(files);
}

void log_files_reopen(struct log_files *files)
{
	LIST_EACH (n, &files->list)
		access_log_reopen(LIST_ENTRY(n, struct log_file, link)->log);
}

void log_files_finish(struct log_files *files)
{
	LIST_EACH (n, &files->list)
		access_log_finish(LIST_ENTRY(n, struct log_file, link)->log);
}

uint64_t log_files_dropped(const struct log_files *files)
{
	return files == NULL ? 0 : atomic_load_explicit(&files->dropped, memory_order_relaxed);
}

static struct log_file *find_file(struct log_files *files, const char *path)
{
	LIST_EACH (n, &files->list) {
		struct log_file *f = LIST_ENTRY(n, struct log_file, link);

		if (strcmp(f->path, path) == 0)
			return f;
	}
	return NULL;
}

/* NULL after a finding. */
static struct log_file *open_file(struct log_files *files, const char *path, struct diags *diags)
{
	struct log_file *f = calloc(1, sizeof(*f));

	if (f != NULL)
		f->path = strdup(path);
	if (f == NULL || f->path == NULL) {
		free(f);
		diags_out_of_memory(diags);
		return NULL;
	}
	f->log =
	    access_log_open_text(path, files->buffer_bytes, files->workers, &files->dropped, diags);
	if (f->log == NULL) {
		free(f->path);
		free(f);
		return NULL;
	}
	list_push_back(&files->list, &f->link);
	files->n++;
	return f;
}

static struct log_file *get_file(struct log_files *files, const char *path, struct place at,
				 struct diags *diags)
{
	struct log_file *f = find_file(files, path);

	if (f == NULL && files->n >= LOG_FILES_MAX) {
		diag_error(diags, at, "E016", "at most %d files are logged to", LOG_FILES_MAX);
		return NULL;
	}
	if (f == NULL)
		f = open_file(files, path, diags);
	if (f != NULL)
		f->refs++;
	return f;
}

/* All that are to be closed are told so first: who waits for one that is stuck has waited for the
 * others, too. */
static void put_file(struct log_file *f)
{
	if (f != NULL && --f->refs == 0)
		access_log_finish(f->log);
}

static void close_unused(struct log_files *files)
{
	LIST_EACH (n, &files->list) {
		struct log_file *f = LIST_ENTRY(n, struct log_file, link);

		if (f->refs > 0)
			continue;
		list_remove(&f->link);
		files->n--;
		access_log_close(f->log);
		free(f->path);
		free(f);
	}
}

/*---------------------------------------------------------------- logs */

static bool prepare(struct text_log *t, const struct text_log_conf *conf, struct arena *arena,
		    struct diags *diags)
{
	static const enum template_form forms[] = {
		[LOG_ESCAPE_TEXT] = TEMPLATE_LOG,
		[LOG_ESCAPE_JSON] = TEMPLATE_LOG_JSON,
		[LOG_ESCAPE_NONE] = TEMPLATE_LOG_PLAIN,
	};
	static const struct template_match at_end = { .time = AT_END };

	t->conf = conf;
	t->form = forms[conf->escape];
	return template_parse(&t->format, conf->format.text, conf->format.literal, &at_end,
			      "`format`", conf->format.at, arena, diags) &&
	       conditions_prepare_then(&conf->when, &t->when, AT_END, arena, diags);
}

static bool open_events(struct text_logs *logs, const struct config *config,
			struct log_files *files, struct arena *arena, struct diags *diags)
{
	const struct conf_list *list = &config->log.events;
	const struct event_log_conf *conf = list->item;

	logs->event = arena_zalloc(arena, (list->n + 1) * sizeof(*logs->event));
	if (logs->event == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (; logs->n_events < list->n; logs->n_events++) {
		struct event_log *e = &logs->event[logs->n_events];

		e->conf = &conf[logs->n_events];
		if (files == NULL)
			continue;
		e->file = get_file(files, e->conf->path, e->conf->path_at, diags);
		if (e->file == NULL)
			return false;
	}
	return true;
}

bool text_logs_open(struct text_logs *logs, const struct config *config, struct log_files *files,
		    struct arena *arena, struct diags *diags)
{
	const struct conf_list *list = &config->log.text;
	const struct text_log_conf *conf = list->item;
	bool ok = true;

	*logs = (struct text_logs){ .n = 0 };
	logs->item = arena_zalloc(arena, (list->n + 1) * sizeof(*logs->item));
	if (logs->item == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (; logs->n < list->n && ok; logs->n++) {
		struct text_log *t = &logs->item[logs->n];

		ok = prepare(t, &conf[logs->n], arena, diags);
		if (ok && files != NULL) {
			t->file = get_file(files, t->conf->path, t->conf->path_at, diags);
			ok = t->file != NULL;
		}
	}
	return ok && open_events(logs, config, files, arena, diags) &&
	       log_choice_make(&logs->dflt, logs, &config->log.use, config->log.use_at, arena,
			       diags);
}

void text_logs_close(struct text_logs *logs, struct log_files *files)
{
	for (uint32_t i = 0; i < logs->n; i++)
		put_file(logs->item[i].file);
	for (uint32_t i = 0; i < logs->n_events; i++)
		put_file(logs->event[i].file);
	if (files != NULL)
		close_unused(files);
	logs->n = logs->n_events = 0;
}

static const struct text_log *find_log(const struct text_logs *logs, const char *name)
{
	for (uint32_t i = 0; i < logs->n; i++)
		if (strcmp(logs->item[i].conf->name.name, name) == 0)
			return &logs->item[i];
	return NULL;
}

static const struct event_log *find_events(const struct text_logs *logs, const char *name)
{
	for (uint32_t i = 0; i < logs->n_events; i++)
		if (strcmp(logs->event[i].conf->name.name, name) == 0)
			return &logs->event[i];
	return NULL;
}

static bool choose(struct log_choice *c, const struct text_logs *logs, const char *name,
		   struct place at, struct diags *diags)
{
	const struct text_log *t = find_log(logs, name);
	const struct event_log *e = find_events(logs, name);

	if (t != NULL)
		c->text[c->n++] = t;
	if (e != NULL)
		c->event[c->n_events++] = e;
	if (strcmp(name, "access") == 0)
		c->access = true;
	if (t != NULL || e != NULL || strcmp(name, "access") == 0 || strcmp(name, "none") == 0)
		return true;
	diag_error(diags, at, "E017",
		   "there is no log `%s`: those of `log.text` and `log.events` have names", name)
	    ->help = "`access` is the one of `log.access`, `none` stands alone";
	return false;
}

static void choose_all(struct log_choice *c, const struct text_logs *logs)
{
	c->access = true;
	for (uint32_t i = 0; i < logs->n; i++)
		c->text[c->n++] = &logs->item[i];
	for (uint32_t i = 0; i < logs->n_events; i++)
		c->event[c->n_events++] = &logs->event[i];
}

bool log_choice_make(struct log_choice *c, const struct text_logs *logs,
		     const struct conf_list *names, struct place at, struct arena *arena,
		     struct diags *diags)
{
	const char *const *name = names->item;
	size_t most = logs->n + logs->n_events + names->n + 1;
	bool ok = true;

	*c = logs->dflt;
	if (names->n == 0 && logs->dflt.text != NULL)
		return true;
	*c = (struct log_choice){ .access = false };
	c->text = arena_zalloc(arena, most * sizeof(*c->text));
	c->event = arena_zalloc(arena, most * sizeof(*c->event));
	if (c->text == NULL || c->event == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	if (names->n == 0)
		choose_all(c, logs);
	for (uint32_t i = 0; i < names->n; i++)
		ok = choose(c, logs, name[i], at, diags) && ok;
	return ok;
}

/*---------------------------------------------------------------- lines */

void log_file_put(struct log_file *f, unsigned w, struct slice line)
{
	access_log_put(f->log, w, line);
}

static void write_line(struct exchange *x, const struct text_log *t,
		       const struct template_values *v)
{
	struct worker *w = x->worker;
	struct slice line;

	if (t->file == NULL || conditions_hold(t->when, t->conf->when.n, v) != PATTERN_YES ||
	    !template_fill(&t->format, v, t->form, &line))
		return;
	access_log_put(t->file->log, w->index, line);
}

void text_log_write(struct exchange *x, const struct log_choice *choice)
{
	struct template_values v;

	exchange_values(x, &v);
	if (x->asked != NULL)
		x->call.req = x->asked;
	for (uint32_t i = 0; i < choice->n; i++)
		write_line(x, choice->text[i], &v);
}
