/* ctl.c - the commands behind `weir ctl`. */
#include "ctl/ctl_internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "ctl/pick.h"

/*----------------------------------------------------------------- reading */

static const struct slice nothing = { .p = "", .n = 0 };

static int plain_command(int argc, char **argv, const char *method, const char *target,
			 ctl_view *view)
{
	struct cli_words none = { 0 };
	struct ctl c = { 0 };
	const struct cli_option options[] = { CTL_OPTIONS(c), { 0 } };

	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	return ctl_show(&c, method, target, nothing, view);
}

static int ctl_reload(int argc, char **argv, const struct cli_host *host)
{
	(void)host;
	return plain_command(argc, argv, "POST", "/reload", view_reload);
}

static int ctl_undrain(int argc, char **argv, const struct cli_host *host)
{
	(void)host;
	return plain_command(argc, argv, "DELETE", "/drain", view_drain);
}

static int ctl_config(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	struct ctl c = { 0 };
	const struct cli_option options[] = { CTL_OPTIONS(c), { 0 } };

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	return ctl_show(&c, "GET", c.json ? "/config?format=json" : "/config", nothing, NULL);
}

static void put_both(struct buf *out, struct slice health, struct slice stats)
{
	buf_puts(out, "{\"health\":");
	buf_put(out, health.p, slice_trim(health).n);
	buf_puts(out, ",\"stats\":");
	buf_put(out, stats.p, slice_trim(stats).n);
	buf_puts(out, "}\n");
}

static int show_status(struct ctl *c)
{
	struct slice health = ctl_ask(c, "GET", "/health", nothing);
	struct slice stats = health.p == NULL ? health : ctl_ask(c, "GET", "/stats.json", nothing);
	const struct json *h = ctl_read(c, stats.p == NULL ? stats : health);
	const struct json *s = h == NULL ? NULL : ctl_read(c, stats);
	struct buf out = { 0 };

	if (s == NULL)
		return STATUS_FAILED;
	if (c->json)
		put_both(&out, health, stats);
	else
		view_status(c, h, s, &out);
	return cli_put(stdout, &out,
		       slice_is(pick_text(h, "status"), "unhealthy") ? STATUS_FAILED : STATUS_OK);
}

static int ctl_status(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	struct ctl c = { 0 };
	const struct cli_option options[] = { CTL_OPTIONS(c), { 0 } };
	int status;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	status = ctl_begin(&c) ? show_status(&c) : STATUS_FAILED;
	ctl_end(&c);
	return status;
}

/*-------------------------------------------------------------- paths, bodies */

/* What goes into a path or a body, until it was asked. */
struct order {
	struct buf path, body;
};

static void path_begin(struct order *o, const char *page)
{
	*o = (struct order){ .path = { 0 } };
	buf_puts(&o->path, page);
}

static void path_part(struct order *o, const char *part)
{
	buf_putc(&o->path, '/');
	client_escape(&o->path, slice_str(part));
}

static void body_text(struct order *o, const char *key, const char *value)
{
	if (value == NULL)
		return;
	buf_putc(&o->body, o->body.n == 0 ? '{' : ',');
	buf_json_string(&o->body, slice_str(key));
	buf_putc(&o->body, ':');
	buf_json_string(&o->body, slice_str(value));
}

static int give(struct ctl *c, struct order *o, const char *method, ctl_view *view)
{
	int status = STATUS_FAILED;

	if (o->body.n > 0)
		buf_putc(&o->body, '}');
	if (o->path.oom || o->body.oom)
		fputs("weir: out of memory\n", stderr);
	else
		status = ctl_show(c, method, o->path.p,
				  slice_of(o->body.n > 0 ? o->body.p : "", o->body.n), view);
	buf_fini(&o->path);
	buf_fini(&o->body);
	return status;
}

/*------------------------------------------------------------------ limits */

static int ctl_limits(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = 1 };
	const char *top = NULL;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--top", &top }, CTL_OPTIONS(c), { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	path_begin(&o, "/limits");
	if (words.n > 0)
		path_part(&o, words.word[0]);
	if (top != NULL) {
		buf_puts(&o.path, "?top=");
		client_escape(&o.path, slice_str(top));
	}
	return give(&c, &o, "GET", words.n > 0 ? view_limit : view_limits);
}

static int ctl_key(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = CLI_WORDS_MAX };
	const char *hash = NULL;
	bool reset = false;
	struct ctl c = { 0 };
	const struct cli_option options[] = {
		{ 0, "--hash", &hash }, { 0, "--reset", .flag = &reset }, CTL_OPTIONS(c), { 0 }
	};
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 0)
		return cli_usage_error("`key` needs a policy, and the value of a key or --hash");
	path_begin(&o, "/limits");
	path_part(&o, words.word[0]);
	buf_puts(&o.path, "/key");
	for (unsigned i = 1; i < words.n; i++) {
		buf_puts(&o.path, i == 1 ? "?value=" : "&value=");
		client_escape(&o.path, slice_str(words.word[i]));
	}
	if (hash != NULL) {
		buf_puts(&o.path, words.n == 1 ? "?hash=" : "&hash=");
		client_escape(&o.path, slice_str(hash));
	}
	return give(&c, &o, reset ? "DELETE" : "GET", view_key);
}

/*---------------------------------------------------- breakers and upstreams */

static int ctl_breaker(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = 4, .values = "open closed auto" };
	const char *span = NULL;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--for", &span }, CTL_OPTIONS(c), { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 0 && span == NULL)
		return ctl_show(&c, "GET", "/breakers", nothing, view_breakers);
	if (words.n < 3)
		return cli_usage_error(
		    "an order to a breaker: POLICY UPSTREAM [ENDPOINT] open|closed|auto");
	path_begin(&o, "/breakers");
	for (unsigned i = 0; i + 1 < words.n; i++)
		path_part(&o, words.word[i]);
	body_text(&o, "state", words.word[words.n - 1]);
	body_text(&o, "for", span);
	return give(&c, &o, "PUT", view_breakers);
}

static int ctl_upstream(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = 3, .values = "up drain down" };
	const char *weight = NULL;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--weight", &weight }, CTL_OPTIONS(c), { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 0 && weight == NULL)
		return ctl_show(&c, "GET", "/stats.json", nothing, view_upstreams);
	if (words.n < 2 || (words.n == 2 && weight == NULL))
		return cli_usage_error(
		    "an order to an endpoint: UPSTREAM ENDPOINT up|drain|down, or --weight N");
	path_begin(&o, "/upstreams");
	path_part(&o, words.word[0]);
	path_part(&o, words.word[1]);
	body_text(&o, "state", words.n > 2 ? words.word[2] : NULL);
	if (weight != NULL && strspn(weight, "0123456789") != strlen(weight)) {
		buf_fini(&o.path);
		buf_fini(&o.body);
		return cli_usage_error("a weight is a number, not `%s`", weight);
	}
	if (weight != NULL)
		buf_printf(&o.body, "%c\"weight\":%s", o.body.n == 0 ? '{' : ',', weight);
	return give(&c, &o, "PUT", view_endpoints);
}

/*----------------------------------------------------------- the process */

static int ctl_drain(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	const char *span = NULL;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--for", &span }, CTL_OPTIONS(c), { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	path_begin(&o, "/drain");
	body_text(&o, "for", span);
	return give(&c, &o, "POST", view_drain);
}

static int ctl_log_level(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = 1, .values = "debug info warn error auto" };
	const char *span = NULL;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--for", &span }, CTL_OPTIONS(c), { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 0 && span == NULL)
		return ctl_show(&c, "GET", "/log-level", nothing, view_level);
	if (words.n == 0)
		return cli_usage_error("`--for` needs a level: debug|info|warn|error");
	path_begin(&o, "/log-level");
	body_text(&o, "level", words.word[0]);
	body_text(&o, "for", span);
	return give(&c, &o, "PUT", view_level);
}

/*------------------------------------------------------------------ events */

struct following {
	const struct ctl *c;
	struct buf line; /* begun */
	struct arena arena;
};

static void print_event(struct following *f, struct slice text)
{
	const char *wrong;
	const struct json *e;
	struct buf out = { 0 };

	if (f->c->json) {
		buf_put(&out, text.p, text.n);
		buf_putc(&out, '\n');
	} else {
		arena_init(&f->arena, NULL);
		e = json_read(text, &f->arena, &wrong);
		if (e != NULL)
			view_events(f->c, e, &out);
		arena_fini(&f->arena);
	}
	cli_put(stdout, &out, STATUS_OK);
}

static bool on_piece(void *arg, struct slice piece)
{
	struct following *f = arg;
	struct slice data = SLICE("data: ");

	for (size_t i = 0; i < piece.n; i++) {
		if (piece.p[i] != '\n') {
			buf_putc(&f->line, piece.p[i]);
			continue;
		}
		if (f->line.n > data.n && memcmp(f->line.p, data.p, data.n) == 0)
			print_event(f, slice_of(f->line.p + data.n, f->line.n - data.n));
		f->line.n = 0;
	}
	return !ferror(stdout) && !f->line.oom;
}

static int follow(struct ctl *c, const char *target)
{
	struct following f = { .c = c };
	struct client_answer a;
	const char *wrong;
	int status = STATUS_FAILED;

	if (!client_follow(&c->client, target, on_piece, &f, &a, &wrong))
		fprintf(stderr, "weir: no more events from %s: %s\n", c->client.shown, wrong);
	else if (a.status != 200)
		ctl_print_refusal(c, &a);
	else
		status = STATUS_OK;
	buf_fini(&f.line);
	buf_fini(&a.body);
	return status;
}

static int ctl_events(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	const char *since = NULL;
	bool on = false;
	struct ctl c = { 0 };
	const struct cli_option options[] = {
		{ 'f', "--follow", .flag = &on }, { 0, "--since", &since }, CTL_OPTIONS(c), { 0 }
	};
	char target[128];
	int status;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	if (since != NULL && (strspn(since, "0123456789") != strlen(since) || strlen(since) > 18))
		return cli_usage_error("`--since` is the number of an event, not `%s`", since);
	snprintf(target, sizeof(target), "/events?since=%s%s", since == NULL ? "1" : since,
		 on ? "" : "&follow=false");
	if (!on)
		return ctl_show(&c, "GET", target, nothing, view_events);
	status = ctl_begin(&c) ? follow(&c, target) : STATUS_FAILED;
	ctl_end(&c);
	return status;
}

/*----------------------------------------------------------------- explain */

enum { FIELDS_MAX = 32 };

/* "NAME: VALUE" */
static bool body_field(struct order *o, const char *field, bool first)
{
	struct slice value = slice_str(field), name = slice_trim(slice_cut(&value, ':'));

	if (name.n == 0 || value.p == NULL)
		return false;
	buf_puts(&o->body, first ? ",\"headers\":{" : ",");
	buf_json_string(&o->body, name);
	buf_putc(&o->body, ':');
	buf_json_string(&o->body, slice_trim(value));
	return true;
}

static int ctl_explain(int argc, char **argv, const struct cli_host *host)
{
	const char *method = NULL, *name = NULL, *client = NULL, *field[FIELDS_MAX];
	struct cli_list fields = { .max = FIELDS_MAX, .item = field };
	struct cli_words words = { .max = 1 };
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--method", &method },
					      { 0, "--host", &name },
					      { 0, "--client", &client },
					      { 'H', "--header", .list = &fields },
					      CTL_OPTIONS(c),
					      { 0 } };
	struct order o;

	(void)host;
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	if (words.n == 0)
		return cli_usage_error("`explain` needs a path");
	path_begin(&o, "/explain");
	body_text(&o, "path", words.word[0]);
	body_text(&o, "method", method);
	body_text(&o, "host", name);
	body_text(&o, "client", client);
	for (unsigned i = 0; i < fields.n; i++) {
		if (body_field(&o, field[i], i == 0))
			continue;
		buf_fini(&o.path);
		buf_fini(&o.body);
		return cli_usage_error("a header is 'NAME: VALUE', not `%s`", field[i]);
	}
	buf_puts(&o.body, fields.n > 0 ? "}" : "");
	return give(&c, &o, "POST", view_tree);
}

/*---------------------------------------------------------------- the table */

#define WHERE                                                                                 \
	"\n\n"                                                                                \
	"      --admin URL     whom to ask: http://HOST:PORT or unix:/PATH; else WEIR_ADMIN " \
	"says\n"                                                                              \
	"      --token-file F  what it says is the token; else WEIR_ADMIN_TOKEN\n"            \
	"  -c, --config FILE   a configuration that says both (" CLI_DEFAULT_PREFIX           \
	"/" CLI_DEFAULT_FILE ")\n"                                                            \
	"      --json          what came, for scripts"

static const struct cli_command commands[] = {
	{ "status", "weir ctl status [--json]",
	  "Says how it is: 0 when calls are answered, 1 when they are not, or nobody "
	  "answers." WHERE,
	  ctl_status },
	{ "top", "weir ctl top [--interval TIME] [--once] [--json]",
	  "Shows routes, policies, whom they refuse most, breakers and upstreams, live.\n\n"
	  "      --interval T    how often to look, in seconds (2)\n"
	  "      --once          look twice, print once, end\n\n"
	  "Keys: q ends, space halts and goes on, + and - change the interval." WHERE,
	  ctl_top },
	{ "limits", "weir ctl limits [POLICY] [--top N] [--json]",
	  "Says how policies decide, and whom they refuse most.\n\n"
	  "      --top N         how many keys (10); their hashes are those of the access "
	  "log" WHERE,
	  ctl_limits },
	{ "key", "weir ctl key POLICY (VALUE... | --hash HASH) [--reset] [--json]",
	  "Says how it stands with one key of a policy, or has it begin anew.\n\n"
	  "  VALUE               of each part of the policy's key, such as an address\n"
	  "      --hash HASH     in place of it: as `limits` and the access log show it\n"
	  "      --reset         it has all that it may have" WHERE,
	  ctl_key },
	{ "breaker", "weir ctl breaker [POLICY UPSTREAM [ENDPOINT] open|closed|auto [--for TIME]]",
	  "Shows the breakers, or forces one open or closed, or lets it go on by itself.\n\n"
	  "      --for TIME      such as 10m; until the next order when not given" WHERE,
	  ctl_breaker },
	{ "upstream", "weir ctl upstream [UPSTREAM ENDPOINT [up|drain|down] [--weight N]]",
	  "Shows the endpoints, or takes one out of service or back.\n\n"
	  "      --weight N      in place of the configured one; 0: that again" WHERE,
	  ctl_upstream },
	{ "drain", "weir ctl drain [--for TIME] [--json]",
	  "Has it be passed over: not ready, and no connection is kept; calls go on.\n\n"
	  "      --for TIME      such as 10m; until `undrain` when not given" WHERE,
	  ctl_drain },
	{ "undrain", "weir ctl undrain [--json]", "Ends that." WHERE, ctl_undrain },
	{ "reload", "weir ctl reload [--json]",
	  "Has it read its configuration again; says what has changed, or what is wrong." WHERE,
	  ctl_reload },
	{ "log-level", "weir ctl log-level [debug|info|warn|error|auto [--for TIME]]",
	  "Shows or sets what is logged; `auto` is as configured.\n\n"
	  "      --for TIME      such as 10m; until the next order when not given" WHERE,
	  ctl_log_level },
	{ "events", "weir ctl events [--follow] [--since N] [--json]",
	  "Shows what has happened lately.\n\n"
	  "  -f, --follow        and what happens from here on\n"
	  "      --since N       from that number on" WHERE,
	  ctl_events },
	{ "explain",
	  "weir ctl explain [--method M] [--host H] [-H 'NAME: VALUE']... [--client IP] PATH",
	  "Says what it would make of a request now, taking nothing.\n\n"
	  "      --method M      GET when not given\n"
	  "      --host H        localhost when not given\n"
	  "  -H, --header FIELD  a header field, 'x-api-key: k'; several times\n"
	  "      --client IP     whom it comes from, 127.0.0.1 when not given" WHERE,
	  ctl_explain },
	{ "config", "weir ctl config [--json]",
	  "Prints the configuration in force, without secrets, as YAML." WHERE, ctl_config },
	{ NULL, NULL, NULL, NULL },
};

const struct cli_command *ctl_commands(void)
{
	return commands;
}
