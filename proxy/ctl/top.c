/* top.c - the live view: looks every so often, and shows what has changed.
 *
 * It ends with q, a signal, or when Weir does not answer; the terminal is as it was then. */
#include "ctl/top.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/ctl_internal.h"
#include "ctl/pick.h"
#include "ctl/term.h"

enum { INTERVAL_MIN_MS = 200, INTERVAL_MAX_MS = 60000 };

/*--------------------------------------------------------------------- rates */

/* Between the looks; 0: not known. */
static double span_of(const struct look *before, const struct look *now)
{
	return before->stats == NULL
		   ? 0
		   : pick_number(now->stats, "now") - pick_number(before->stats, "now");
}

/* Of a list, the object whose member of that name says so. */
static const struct json *find(const struct json *list, const char *key, struct slice name)
{
	for (; list != NULL; list = list->next)
		if (slice_eq(pick_text(list, key), name))
			return list;
	return NULL;
}

static void cell_rate(struct table *t, double before, double now, double span)
{
	double rate = span > 0 && now >= before ? (now - before) / span : 0;

	if (span <= 0)
		table_printf(t, "-");
	else
		table_printf(t, rate < 10 && rate > 0 ? "%.1f" : "%.0f", rate);
}

static void cell_ms(struct table *t, double seconds)
{
	struct buf b = { 0 };

	put_time(&b, seconds);
	table_cell(t, slice_of(b.p, b.n));
	buf_fini(&b);
}

/*------------------------------------------------------------------- sections */

enum { CALLS, REFUSED_429, REFUSED_503, FAILED_5XX, SUMS };

static void sum_route(const struct json *route, double sum[static SUMS])
{
	for (int i = 0; i < SUMS; i++)
		sum[i] = 0;
	for (const struct json *r = pick_first(route, "requests"); r != NULL; r = r->next) {
		double n = pick_number(r, "count");
		int code = (int)pick_number(r, "code");

		sum[CALLS] += n;
		if (code == 429)
			sum[REFUSED_429] += n;
		else if (code == 503)
			sum[REFUSED_503] += n;
		else if (code >= 500 && code < 600)
			sum[FAILED_5XX] += n;
	}
}

static void put_routes(const struct look *before, const struct look *now, bool colour,
		       struct buf *out)
{
	double span = span_of(before, now);
	struct table t;

	table_begin(&t, "ROUTE >CALLS/S >429/S >503/S >OTHER-5XX/S >IN-FLIGHT >P50 >P99", colour);
	for (const struct json *r = pick_first(now->stats, "routes"); r != NULL; r = r->next) {
		double a[SUMS], b[SUMS];

		sum_route(find(pick_first(before->stats, "routes"), "route", pick_text(r, "route")),
			  a);
		sum_route(r, b);
		table_cell(&t, pick_text(r, "route"));
		for (int i = 0; i < SUMS; i++)
			cell_rate(&t, a[i], b[i], span);
		table_cell(&t, pick_text(r, "in_flight"));
		cell_ms(&t, pick_number(pick_object(r, "duration"), "p50"));
		cell_ms(&t, pick_number(pick_object(r, "duration"), "p99"));
	}
	table_end(&t, out);
	buf_putc(out, '\n');
}

static void put_policies(const struct look *before, const struct look *now, bool colour,
			 struct buf *out)
{
	static const char *const decisions[] = { "allow", "deny", "shadow_deny" };
	double span = span_of(before, now);
	struct table t;

	table_begin(&t, "POLICY KIND >ALLOWED/S >REFUSED/S >SHADOW/S >KEYS >IN-USE >LIMIT >QUEUED",
		    colour);
	for (const struct json *p = pick_first(now->limits, "limits"); p != NULL; p = p->next) {
		const struct json *was =
		    find(pick_first(before->limits, "limits"), "policy", pick_text(p, "policy"));

		table_cell(&t, pick_text(p, "policy"));
		table_cell(&t, pick_text(p, "kind"));
		for (int i = 0; i < 3; i++)
			cell_rate(&t, pick_number(was, decisions[i]), pick_number(p, decisions[i]),
				  span);
		table_cell(&t, pick_text(p, "keys"));
		table_cell(&t, pick_text(p, "in_use"));
		table_cell(&t, pick_text(p, "limit"));
		table_cell(&t, pick_text(p, "queued"));
	}
	table_end(&t, out);
	buf_putc(out, '\n');
}

static void put_keys(const struct look *now, bool colour, struct buf *out)
{
	bool any = false;
	struct table t;

	table_begin(&t, "REFUSED-MOST POLICY >REFUSED >IN-THE-LAST", colour);
	for (const struct json *p = pick_first(now->limits, "limits"); p != NULL; p = p->next)
		for (const struct json *k = pick_first(p, "top"); k != NULL; k = k->next) {
			table_cell(&t, pick_text(k, "hash"));
			table_cell(&t, pick_text(p, "policy"));
			table_cell(&t, pick_text(k, "refused"));
			table_printf(&t, "%.0fs", pick_number(p, "window"));
			any = true;
		}
	table_end(&t, out);
	buf_puts(out, any ? "\n" : "");
}

static void put_upstreams(const struct look *before, const struct look *now, bool colour,
			  struct buf *out)
{
	double span = span_of(before, now);
	struct table t;

	table_begin(&t, "UPSTREAM ENDPOINT STATE >WEIGHT >ACTIVE >IDLE >OK/S >FAILED/S", colour);
	for (const struct json *u = pick_first(now->stats, "upstreams"); u != NULL; u = u->next) {
		const struct json *was = find(pick_first(before->stats, "upstreams"), "upstream",
					      pick_text(u, "upstream"));

		for (const struct json *e = pick_first(u, "endpoints"); e != NULL; e = e->next) {
			const struct json *old = find(pick_first(was, "endpoints"), "endpoint",
						      pick_text(e, "endpoint"));

			table_cell(&t, pick_text(u, "upstream"));
			table_cell(&t, pick_text(e, "endpoint"));
			table_cell(&t, pick_text(e, "state"));
			table_cell(&t, pick_text(e, "weight"));
			table_cell(&t, pick_text(e, "active"));
			table_cell(&t, pick_text(e, "idle"));
			cell_rate(&t, pick_number(old, "ok"), pick_number(e, "ok"), span);
			cell_rate(&t, pick_number(old, "failed"), pick_number(e, "failed"), span);
		}
	}
	table_end(&t, out);
}

static void put_head(const struct look *now, struct buf *out)
{
	const struct json *config = pick_object(now->stats, "config");

	buf_puts(out, "weir ");
	put_plain(out, pick_text(now->stats, "version"));
	buf_puts(out, "  up ");
	put_span(out, pick_number(now->stats, "now") - pick_number(now->stats, "start_time"));
	buf_printf(out, "  generation %.0f%s%s  added latency p50 ",
		   pick_number(config, "generation"),
		   pick_true(config, "last_reload_ok") ? "" : "  LAST RELOAD FAILED",
		   pick_true(now->stats, "draining") ? "  DRAINING" : "");
	put_time(out, pick_number(pick_object(now->stats, "overhead"), "p50"));
	buf_puts(out, ", p99 ");
	put_time(out, pick_number(pick_object(now->stats, "overhead"), "p99"));
	buf_puts(out, "\n\n");
}

void top_render(const struct look *before, const struct look *now, bool colour, struct buf *out)
{
	const struct ctl c = { .colour = colour };

	put_head(now, out);
	put_routes(before, now, colour, out);
	put_policies(before, now, colour, out);
	put_keys(now, colour, out);
	if (pick_first(now->breakers, "breakers") != NULL) {
		view_breakers(&c, now->breakers, out);
		buf_putc(out, '\n');
	}
	put_upstreams(before, now, colour, out);
}

/*------------------------------------------------------------------- looking */

/* Each look has an arena of its own: the one before is needed once more. */
struct watch {
	struct ctl *c;
	struct arena arena[2];
	struct look look[2];
	struct slice text[3]; /* of the last look */
	unsigned now;
};

static bool look(struct watch *w)
{
	static const char *const target[] = { "/stats.json", "/limits?top=5", "/breakers" };
	const struct json *root[3];
	struct slice none = { .p = "", .n = 0 };
	unsigned next = 1 - w->now;

	arena_fini(&w->arena[next]);
	arena_init(&w->arena[next], NULL);
	w->c->arena = w->arena[next];
	for (unsigned i = 0; i < 3; i++) {
		w->text[i] = ctl_ask(w->c, "GET", target[i], none);
		root[i] = ctl_read(w->c, w->text[i]);
		if (root[i] == NULL)
			break;
	}
	w->arena[next] = w->c->arena;
	w->c->arena = (struct arena){ 0 };
	w->look[next] =
	    (struct look){ root[0], root[0] ? root[1] : NULL, root[0] && root[1] ? root[2] : NULL };
	w->now = next;
	return root[0] != NULL && root[1] != NULL && root[2] != NULL;
}

static void put_raw(const struct watch *w, struct buf *out)
{
	static const char *const name[] = { "stats", "limits", "breakers" };

	for (unsigned i = 0; i < 3; i++) {
		struct slice text = slice_trim(w->text[i]);

		buf_printf(out, "%c\"%s\":", i == 0 ? '{' : ',', name[i]);
		buf_put(out, text.p, text.n);
	}
	buf_puts(out, "}\n");
}

static void wait_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&t, NULL);
}

static int show_once(struct watch *w, unsigned ms)
{
	struct buf out = { 0 };

	if (!look(w))
		return STATUS_FAILED;
	if (!w->c->json) {
		wait_ms(ms);
		if (!look(w))
			return STATUS_FAILED;
		top_render(&w->look[1 - w->now], &w->look[w->now], w->c->colour, &out);
	} else {
		put_raw(w, &out);
	}
	return cli_put(stdout, &out, STATUS_OK);
}

static void draw(const struct watch *w, const struct term *term, bool paused, unsigned ms)
{
	struct buf out = { 0 };

	top_render(&w->look[1 - w->now], &w->look[w->now], w->c->colour, &out);
	buf_printf(&out, "\n%s every %u.%u s; q ends, space halts, + and - change that",
		   paused ? "HALTED," : "looking", ms / 1000, ms % 1000 / 100);
	if (!out.oom)
		term_draw(term, slice_of(out.p, out.n));
	buf_fini(&out);
}

static unsigned other_pace(unsigned ms, enum term_key key)
{
	if (key == TERM_SLOWER)
		ms = ms * 2 > INTERVAL_MAX_MS ? INTERVAL_MAX_MS : ms * 2;
	else if (key == TERM_FASTER)
		ms = ms / 2 < INTERVAL_MIN_MS ? INTERVAL_MIN_MS : ms / 2;
	return ms;
}

/* False: it ends; *answers: whether Weir did. */
static bool live(struct watch *w, struct term *term, unsigned *ms, bool *paused, bool *answers)
{
	enum term_key key;

	draw(w, term, *paused, *ms);
	key = term_wait(term, *paused ? -1 : (int)*ms);
	*ms = other_pace(*ms, key);
	if (key == TERM_PAUSE)
		*paused = !*paused;
	else if (key == TERM_NOTHING && !*paused)
		*answers = look(w);
	return key != TERM_QUIT && *answers;
}

static int show_live(struct watch *w, unsigned ms)
{
	bool paused = false, answers = look(w);
	struct term term;

	if (!answers || !term_open(&term))
		return answers ? show_once(w, ms) : STATUS_FAILED;
	while (live(w, &term, &ms, &paused, &answers))
		;
	term_close(&term);
	if (!answers) /* what was said went with the screen */
		fprintf(stderr, "weir: %s answers no more\n", w->c->client.shown);
	return answers ? STATUS_OK : STATUS_FAILED;
}

/* "2" "0.5" "2s" "500ms"; 0: it is none, or out of bounds. */
static unsigned read_interval(const char *text)
{
	char *end;
	double n = strtod(text, &end);

	n *= strcmp(end, "ms") == 0 ? 1 : 1000;
	if (end == text || (*end != '\0' && strcmp(end, "s") != 0 && strcmp(end, "ms") != 0) ||
	    !(n >= INTERVAL_MIN_MS && n <= INTERVAL_MAX_MS))
		return 0;
	return (unsigned)n;
}

int ctl_top(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	const char *interval = NULL;
	bool once = false;
	struct ctl c = { 0 };
	const struct cli_option options[] = { { 0, "--interval", &interval },
					      { 0, "--once", .flag = &once },
					      CTL_OPTIONS(c),
					      { 0 } };
	struct watch w = { .c = &c };
	unsigned ms;
	int status = STATUS_FAILED;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	ms = interval == NULL ? 2000 : read_interval(interval);
	if (ms == 0)
		return cli_usage_error("the interval is 0.2 to 60 seconds, not `%s`", interval);
	if (ctl_begin(&c))
		status = once || c.json ? show_once(&w, ms) : show_live(&w, ms);
	ctl_end(&c);
	arena_fini(&w.arena[0]);
	arena_fini(&w.arena[1]);
	return status;
}
