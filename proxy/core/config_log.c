/* config_log.c - the field table of access logs of text. */
#include <string.h>

#include "core/config.h"
#include "core/event_log.h"

static const char *const escape_names[] = {
	[LOG_ESCAPE_TEXT] = "text", [LOG_ESCAPE_JSON] = "json", [LOG_ESCAPE_NONE] = "none", NULL
};

/* What readers of logs expect where nothing else is said. */
static const char combined[] =
    "{client.ip} - {user} [{time.local}] \"{request}\" {status} {response.body_bytes} "
    "\"{header.referer}\" \"{header.user-agent}\"";

static bool is_name(const char *name)
{
	return strcmp(name, "none") != 0 && strcmp(name, "access") != 0;
}

static bool check_path(struct conf_load *l, const char *path, struct place at)
{
	if (strcmp(path, "stdout") == 0 || strcmp(path, "stderr") == 0 || strchr(path, '/') != NULL)
		return true;
	diag_error(l->diags, at, "E015",
		   "`path`: it is stdout, stderr or the path of a file, with a `/` in it");
	return false;
}

static bool check_text_log(struct conf_load *l, const struct node *n, void *conf)
{
	struct text_log_conf *t = conf;
	const struct node *format = node_get(n, "format");

	if (t->format.text == NULL)
		t->format.text = combined;
	t->format.literal = format != NULL && format->secret;
	if (!is_name(t->name.name))
		diag_error(l->diags, n->key_at, "E015", "no log is called `%s`", t->name.name);
	else if (!check_path(l, t->path, t->path_at))
		return false;
	else if (strpbrk(t->format.text, "\r\n") != NULL)
		diag_error(l->diags, t->format.at, "E015", "`format` is one line");
	else
		return true;
	return false;
}

static const struct field text_log_fields[] = {
	{ .key = "path",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct text_log_conf, path),
	  .at = offsetof(struct text_log_conf, path_at),
	  .min = 1,
	  .max = 4096,
	  .doc = "A file, `stdout` or `stderr`; several logs may share one. USR1 opens it anew." },
	{ .key = "format",
	  .type = C_STRING,
	  .offset = offsetof(struct text_log_conf, format.text),
	  .at = offsetof(struct text_log_conf, format.at),
	  .min = 1,
	  .max = 16384,
	  .doc =
	      "The line, in which values of the call are put as in texts of routes, and of its "
	      "end: "
	      "`{status}`, `{duration}` (s), `{response.bytes}`, `{response.body_bytes}`, "
	      "`{response.header.NAME}`, `{request.bytes}`, `{limit.rate}`, `{limit.concurrency}`; "
	      "of each try, joined by `, `: `{upstream.address}`, `{upstream.status}`, "
	      "`{upstream.connect}`, `{upstream.first_byte}`, `{upstream.duration}`, "
	      "`{upstream.received}`, `{upstream.sent}`, `{upstream.body}`; of the last try "
	      "`{upstream.header.NAME}`. Not given: client, user, time, request, status, bytes of "
	      "the "
	      "body, Referer and User-Agent, as most servers log them. Fields of the request are "
	      "as the client sent them." },
	{ .key = "escape",
	  .type = C_ENUM,
	  .offset = offsetof(struct text_log_conf, escape),
	  .dflt = "text",
	  .names = escape_names,
	  .doc =
	      "What becomes of values: `text`: `-` for what is not there, quotes, backslashes and "
	      "all but plain ASCII as `\\xXX`; `json`: as within strings of JSON; `none`: they "
	      "stand as they are, and who sends them may forge lines." },
	{ .key = "when",
	  .type = C_NAMED,
	  .offset = offsetof(struct text_log_conf, when),
	  .sub = &when_schema,
	  .doc =
	      "Which calls, by values that are known when they end: as `match.when` of routes. A "
	      "name with braces is a text, such as `{query.a}{query.b}`." },
	{ .key = NULL },
};

const struct schema text_log_schema = {
	.name = "text log",
	.size = sizeof(struct text_log_conf),
	.fields = text_log_fields,
	.check = check_text_log,
};

static bool check_event_log(struct conf_load *l, const struct node *n, void *conf)
{
	const struct event_log_conf *e = conf;

	if (!is_name(e->name.name))
		diag_error(l->diags, n->key_at, "E015", "no log is called `%s`", e->name.name);
	return is_name(e->name.name) && check_path(l, e->path, e->path_at);
}

static const struct field event_log_fields[] = {
	{ .key = "path",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct event_log_conf, path),
	  .at = offsetof(struct event_log_conf, path_at),
	  .min = 1,
	  .max = 4096,
	  .doc = "A file, `stdout` or `stderr`; several logs may share one. USR1 opens it anew." },
	{ .key = "level",
	  .type = C_ENUM,
	  .offset = offsetof(struct event_log_conf, level),
	  .dflt = "error",
	  .names = event_level_names,
	  .doc = "The least that is told." },
	{ .key = "label",
	  .type = C_STRING,
	  .offset = offsetof(struct event_log_conf, label),
	  .max = 256,
	  .doc = "What lines say behind `server:`. Not given: they name the route." },
	{ .key = NULL },
};

const struct schema event_log_schema = {
	.name = "event log",
	.size = sizeof(struct event_log_conf),
	.fields = event_log_fields,
	.check = check_event_log,
	.scalar = "path",
};

static const struct field log_level_fields[] = {
	{ .key = "rate",
	  .type = C_ENUM,
	  .offset = offsetof(struct log_level_conf, rate),
	  .dflt = "error",
	  .names = event_level_names,
	  .doc = "Of rates; delays are told one level lower." },
	{ .key = "concurrency",
	  .type = C_ENUM,
	  .offset = offsetof(struct log_level_conf, concurrency),
	  .dflt = "error",
	  .names = event_level_names,
	  .doc = "Of bounds on how many are under way." },
	{ .key = NULL },
};

const struct schema log_level_schema = {
	.name = "log_level section",
	.size = sizeof(struct log_level_conf),
	.fields = log_level_fields,
};
