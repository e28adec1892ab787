/* cli_explain.c - explain: what a configuration makes of a request.
 *
 * The policy is opened as a start would open it, but nothing listens, connects or looks names up,
 * and the clocks stand still, or are moved by --repeat. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/value.h"
#include "core/cli_internal.h"
#include "core/explain.h"
#include "upstream/resolve.h"

struct arguments {
	const char *config, *method, *host, *client, *repeat, *answer, *format, *request;
	const char *field[EXPLAIN_FIELDS_MAX];
	struct cli_list fields;
};

/* A day, so that no time is none. */
static struct env virtual_env = { .now_ns = 86400 * CLOCK_S };

static uint64_t virtual_now(void)
{
	return virtual_env.now_ns;
}

static uint64_t last_midnight(void)
{
	uint64_t now = clock_wall_ns();

	return now - now % (86400 * CLOCK_S);
}

/*---------------------------------------------------------------- arguments */

static bool is_separator(char c)
{
	return c == ' ' || c == '\t';
}

/* "POST http://host/path" */
static bool read_target(struct explain_request *r, const char *text)
{
	static const struct slice schemes[] = { SLICE("http://"), SLICE("https://") };
	struct slice rest = slice_trim(slice_str(text)), word = slice_cut(&rest, ' ');

	if (rest.p != NULL && r->method.n > 0)
		return false;
	if (rest.p != NULL)
		r->method = word;
	r->target = rest.p != NULL ? slice_trim(rest) : word;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		struct slice t = r->target;
		size_t n;

		if (!slice_starts(t, schemes[i]))
			continue;
		t = slice_of(t.p + schemes[i].n, t.n - schemes[i].n);
		for (n = 0; n < t.n && t.p[n] != '/' && t.p[n] != '?'; n++)
			;
		if (r->host.n == 0)
			r->host = slice_of(t.p, n);
		r->target = n < t.n ? slice_of(t.p + n, t.n - n) : slice_str("/");
	}
	return true;
}

static bool read_field(struct explain_request *r, const char *text)
{
	struct slice value = slice_str(text), name = slice_cut(&value, ':');

	if (name.n == 0 || value.p == NULL || is_separator(name.p[name.n - 1]))
		return false;
	r->field[r->n++] = (struct explain_field){ .name = name, .value = slice_trim(value) };
	return true;
}

static int read_request(const struct arguments *a, struct explain_request *r)
{
	*r = (struct explain_request){ .wall_ns = clock_wall_ns(),
				       .method = slice_str(a->method),
				       .host = slice_str(a->host),
				       .client = slice_str(a->client) };
	if (!read_target(r, a->request))
		return cli_usage_error("the method is given twice: `%s` and --method", a->request);
	for (unsigned i = 0; i < a->fields.n; i++)
		if (!read_field(r, a->field[i]))
			return cli_usage_error("a field is 'name: value', not `%s`", a->field[i]);
	return STATUS_OK;
}

static int read_repeat(const char *text, struct explain_repeat *r)
{
	struct slice interval = slice_str(text), count = slice_cut(&interval, '@');
	uint32_t n;

	if (value_u32(count, &n) != NULL || n == 0 || interval.p == NULL ||
	    value_duration(interval, &r->interval_ns) != NULL)
		return cli_usage_error("a repetition is N@INTERVAL, such as 250@50ms, not `%s`",
				       text);
	if (n > EXPLAIN_REPEAT_MAX)
		return cli_usage_error("at most %d calls are repeated", EXPLAIN_REPEAT_MAX);
	r->n = n;
	return STATUS_OK;
}

static int read_answer(const char *text, struct explain_repeat *r)
{
	struct slice takes = slice_str(text), status = slice_cut(&takes, '@');
	uint32_t n;

	if (value_u32(status, &n) != NULL || n < 200 || n > 599 ||
	    (takes.p != NULL && value_duration(takes, &r->takes_ns) != NULL))
		return cli_usage_error("an answer is STATUS@DURATION, such as 503@20ms, not `%s`",
				       text);
	r->status = (uint16_t)n;
	return STATUS_OK;
}

/*---------------------------------------------------------------- the policy */

/* One address for every name: nobody connects to it. */
static int look_up(void *user, const char *host, struct ip *out, unsigned max, const char **why)
{
	(void)user, (void)host, (void)max, (void)why;
	return ip_parse(slice_str("0.0.0.0"), out) ? 1 : -1;
}

struct opened {
	struct registries registries;
	struct policy *policy;
};

static bool open_registries(struct registries *r)
{
	static const struct resolver_lookup nobody = { .run = look_up };

	r->tables = table_registry_new();
	r->upstreams = upstream_registry_new_with(&nobody);
	r->stats = stats_new(1);
	if (r->tables == NULL || r->upstreams == NULL || r->stats == NULL)
		return false;
	table_registry_set_clock(r->tables, virtual_now);
	return true;
}

static void close_all(struct opened *o)
{
	if (o->policy != NULL)
		policy_close(o->policy, &o->registries);
	if (o->registries.tables != NULL)
		table_registry_free(o->registries.tables);
	if (o->registries.upstreams != NULL)
		upstream_registry_free(o->registries.upstreams);
	if (o->registries.stats != NULL)
		stats_free(o->registries.stats);
}

/* Takes over the memory of the load. */
static int open_policy(struct opened *o, struct cli_load *l)
{
	struct arena arena = l->arena;

	if (!open_registries(&o->registries)) {
		fputs("weir: out of memory\n", stderr);
		return STATUS_FAILED;
	}
	arena_init(&l->arena, NULL);
	o->policy = policy_open(l->path, l->config, arena, &o->registries, &l->diags);
	if (o->policy != NULL) {
		explain_follow(o->policy, &virtual_env);
		return STATUS_OK;
	}
	l->config = NULL;
	return cli_print_findings(l, DIAG_HUMAN, false, "nothing was explained");
}

/*---------------------------------------------------------------- explain */

static int explain(const struct opened *o, const struct explain_request *r,
		   struct explain_repeat *repeat, bool json)
{
	struct explain_repeat *done = NULL;
	struct buf text = { .p = NULL };
	struct arena arena;
	struct explain e;
	const char *wrong;
	int status = STATUS_OK;

	arena_init(&arena, NULL);
	wrong = explain_find(o->policy, &virtual_env, r, &arena, &e);
	if (wrong == NULL && repeat->n > 0 && e.n_policies + e.to.open + e.auth.looked > 0) {
		wrong = explain_repeat(&e, &virtual_env, repeat);
		done = repeat;
	}
	if (wrong != NULL)
		status = cli_usage_error("%s", wrong);
	else if (json)
		explain_json(&e, done, true, &text);
	else
		explain_text(&e, done, &text);
	status = cli_put(stdout, &text, status);
	arena_fini(&arena);
	return status;
}

static int load_and_explain(const struct arguments *a, struct explain_repeat *repeat, bool json)
{
	struct opened o = { .policy = NULL };
	struct explain_request r;
	struct cli_load l;
	int status = read_request(a, &r);

	if (status != STATUS_OK)
		return status;
	virtual_env.wall_ns = last_midnight();
	log_set_level(LOG_ERROR); /* breakers tell of every change */
	cli_load_begin(&l, a->config != NULL ? a->config : CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE);
	if (l.config == NULL)
		status = cli_print_findings(&l, DIAG_HUMAN, false, "nothing was explained");
	else
		status = open_policy(&o, &l);
	if (status == STATUS_OK)
		status = explain(&o, &r, repeat, json);
	close_all(&o);
	cli_load_end(&l);
	return status;
}

static int read_options(const struct arguments *a, struct explain_repeat *repeat)
{
	if (a->request == NULL)
		return cli_usage_error("explain needs a path, such as /v1/chat/completions");
	if (a->format != NULL && strcmp(a->format, "text") != 0 && strcmp(a->format, "json") != 0)
		return cli_usage_error("the format is text or json, not `%s`", a->format);
	if (a->answer != NULL && a->repeat == NULL)
		return cli_usage_error("`--answer` needs `--repeat` beside it");
	if (a->repeat != NULL && read_repeat(a->repeat, repeat) != STATUS_OK)
		return STATUS_USAGE;
	return a->answer == NULL ? STATUS_OK : read_answer(a->answer, repeat);
}

int cli_explain(int argc, char **argv, const struct cli_host *host)
{
	struct arguments a = { .config = NULL };
	struct explain_repeat repeat = { .status = 200 };
	struct cli_words words = { .max = 1 };
	const struct cli_option options[] = { { 'c', "--config", &a.config, .values = CLI_FILE },
					      { 0, "--method", &a.method, NULL, NULL },
					      { 0, "--host", &a.host, NULL, NULL },
					      { 'H', "--header", NULL, NULL, &a.fields },
					      { 0, "--client", &a.client, NULL, NULL },
					      { 0, "--from", &a.client, NULL, NULL },
					      { 0, "--repeat", &a.repeat, NULL, NULL },
					      { 0, "--answer", &a.answer, NULL, NULL },
					      { 0, "--format", &a.format, .values = "text json" },
					      { 0 } };

	(void)host;
	a.fields = (struct cli_list){ .max = EXPLAIN_FIELDS_MAX, .item = a.field };
	if (!cli_parse(argc, argv, options, &words))
		return STATUS_USAGE;
	a.request = words.n > 0 ? words.word[0] : NULL;
	if (read_options(&a, &repeat) != STATUS_OK)
		return STATUS_USAGE;
	return load_and_explain(&a, &repeat, a.format != NULL && strcmp(a.format, "json") == 0);
}
