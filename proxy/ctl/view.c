/* view.c - answers in words and columns. */
#include "ctl/ctl_internal.h"
#include "ctl/pick.h"

/*--------------------------------------------------------------------- parts */

void put_span(struct buf *b, double seconds)
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;

	if (s >= 86400)
		buf_printf(b, "%llud ", s / 86400);
	buf_printf(b, "%02llu:%02llu:%02llu", s / 3600 % 24, s / 60 % 60, s % 60);
}

void put_time(struct buf *b, double s)
{
	if (s <= 0)
		buf_puts(b, "-");
	else if (s < 0.001)
		buf_printf(b, "%.0fus", s * 1e6);
	else if (s < 1)
		buf_printf(b, "%.1fms", s * 1e3);
	else if (s < 100)
		buf_printf(b, "%.2fs", s);
	else
		put_span(b, s);
}

static void cell_time(struct table *t, double s)
{
	struct buf b = { 0 };

	put_time(&b, s);
	table_cell(t, slice_of(b.p, b.n));
	buf_fini(&b);
}

static void cell_number(struct table *t, const struct json *o, const char *key)
{
	table_cell(t, pick_text(o, key));
}

/* "812B" "4.7K" "1.2G". */
static void cell_bytes(struct table *t, const struct json *o, const char *key)
{
	double n = pick_number(o, key);
	unsigned unit = 0;

	for (; n >= 1024 && unit < 4; unit++)
		n /= 1024;
	table_printf(t, "%.*f%c", unit == 0 ? 0 : 1, n, "BKMGT"[unit]);
}

static void line(struct buf *out, const char *name, struct slice value)
{
	buf_printf(out, "%-14s ", name);
	put_plain(out, value);
	buf_putc(out, '\n');
}

/*-------------------------------------------------------------------- status */

/* Calls of a route by the first digit of their status; 0: 429, 1: 503. */
static void count_codes(const struct json *route, double by[static 6])
{
	for (int i = 0; i < 6; i++)
		by[i] = 0;
	for (const struct json *r = pick_first(route, "requests"); r != NULL; r = r->next) {
		int code = (int)pick_number(r, "code");

		by[code == 429                     ? 0
		   : code == 503                   ? 1
		   : code / 100 >= 2 && code < 600 ? code / 100
						   : 5] += pick_number(r, "count");
	}
}

static void put_routes(const struct ctl *c, const struct json *stats, struct buf *out)
{
	struct table t;

	table_begin(&t, "ROUTE >IN-FLIGHT >2XX >3XX >4XX >429 >5XX >503 >P50 >P99", c->colour);
	for (const struct json *r = pick_first(stats, "routes"); r != NULL; r = r->next) {
		static const int order[] = { 2, 3, 4, 0, 5, 1 };
		double by[6];

		count_codes(r, by);
		table_cell(&t, pick_text(r, "route"));
		cell_number(&t, r, "in_flight");
		for (int i = 0; i < 6; i++)
			table_printf(&t, "%.0f", by[order[i]]);
		cell_time(&t, pick_number(pick_object(r, "duration"), "p50"));
		cell_time(&t, pick_number(pick_object(r, "duration"), "p99"));
	}
	table_end(&t, out);
}

static void put_checks(const struct ctl *c, const struct json *health, struct buf *out)
{
	struct table t;

	table_begin(&t, "CHECK STATE SAYS", c->colour);
	for (const struct json *k = pick_first(health, "checks"); k != NULL; k = k->next) {
		table_cell(&t, pick_text(k, "name"));
		table_cell(&t, pick_text(k, "status"));
		table_cell(&t, pick_text(k, "message"));
	}
	table_end(&t, out);
}

void view_status(const struct ctl *c, const struct json *health, const struct json *stats,
		 struct buf *out)
{
	const struct json *config = pick_object(stats, "config");
	struct slice hash = pick_text(config, "sha256");
	double active = 0;

	buf_puts(out, "weir ");
	put_plain(out, pick_text(health, "version"));
	buf_puts(out, " is ");
	put_plain(out, pick_text(health, "status"));
	buf_puts(out, pick_true(stats, "draining") ? ", draining, up " : ", up ");
	put_span(out, pick_number(health, "uptime"));
	buf_printf(out, "\n\n%-14s ", "configuration");
	put_plain(out, slice_of(hash.p, hash.n < 12 ? hash.n : 12));
	buf_printf(out, ", generation %.0f, last reload %s\n", pick_number(config, "generation"),
		   pick_true(config, "last_reload_ok") ? "took effect" : "FAILED");
	for (const struct json *l = pick_first(stats, "listeners"); l != NULL; l = l->next)
		active += pick_number(l, "active");
	buf_printf(out, "%-14s %.0f open\n%-14s %.0f\n\n", "connections", active, "workers",
		   pick_number(stats, "workers"));
	put_checks(c, health, out);
	buf_putc(out, '\n');
	put_routes(c, stats, out);
}

/*-------------------------------------------------------------------- limits */

static void put_top(const struct ctl *c, const struct json *limit, struct buf *out)
{
	struct table t;

	table_begin(&t, "POLICY KEY >REFUSED", c->colour);
	for (const struct json *k = pick_first(limit, "top"); k != NULL; k = k->next) {
		table_cell(&t, pick_text(limit, "policy"));
		table_cell(&t, pick_text(k, "hash"));
		table_cell(&t, pick_text(k, "refused"));
	}
	table_end(&t, out);
}

static void put_limits(const struct ctl *c, const struct json *first, bool one, struct buf *out)
{
	struct table t;

	table_begin(&t,
		    "POLICY KIND KEYED-BY >ALLOWED >REFUSED >SHADOW >SKIPPED >KEYS >IN-USE >QUEUED",
		    c->colour);
	for (const struct json *l = first; l != NULL; l = one ? NULL : l->next) {
		table_cell(&t, pick_text(l, "policy"));
		table_cell(&t, pick_text(l, "kind"));
		table_cell(&t, pick_text(l, "key"));
		cell_number(&t, l, "allow");
		cell_number(&t, l, "deny");
		cell_number(&t, l, "shadow_deny");
		cell_number(&t, l, "skip");
		cell_number(&t, l, "keys");
		cell_number(&t, l, "in_use");
		cell_number(&t, l, "queued");
	}
	table_end(&t, out);
}

void view_limits(const struct ctl *c, const struct json *root, struct buf *out)
{
	put_limits(c, pick_first(root, "limits"), false, out);
	for (const struct json *l = pick_first(root, "limits"); l != NULL; l = l->next) {
		if (pick_first(l, "top") == NULL)
			continue;
		buf_putc(out, '\n');
		put_top(c, l, out);
	}
}

void view_limit(const struct ctl *c, const struct json *root, struct buf *out)
{
	put_limits(c, root, true, out);
	if (pick_first(root, "top") == NULL)
		return;
	buf_puts(out, "\nRefused most in the last ");
	put_span(out, pick_number(root, "window"));
	buf_puts(out, ":\n");
	put_top(c, root, out);
}

void view_key(const struct ctl *c, const struct json *root, struct buf *out)
{
	(void)c;
	line(out, "policy", pick_text(root, "policy"));
	line(out, "key", pick_text(root, "hash"));
	buf_printf(out, "%-14s %.0f of %.0f\n", "left", pick_number(root, "remaining"),
		   pick_number(root, "limit"));
	buf_printf(out, "%-14s ", "all again in");
	put_time(out, pick_number(root, "reset"));
	buf_putc(out, '\n');
}

/*------------------------------------------------------ breakers, upstreams */

void view_breakers(const struct ctl *c, const struct json *root, struct buf *out)
{
	struct table t;

	table_begin(&t, "POLICY UPSTREAM ENDPOINT STATE FORCED >SINCE >LEFT >FAILED >OF >IN-A-ROW",
		    c->colour);
	for (const struct json *b = pick_first(root, "breakers"); b != NULL; b = b->next) {
		table_cell(&t, pick_text(b, "policy"));
		table_cell(&t, pick_text(b, "upstream"));
		table_cell(&t, slice_is(pick_text(b, "endpoint"), "null")
				   ? slice_str("all")
				   : pick_text(b, "endpoint"));
		table_cell(&t, pick_text(b, "state"));
		table_cell(&t, slice_str(pick_true(b, "forced") ? "by order" : "no"));
		cell_time(&t, pick_number(b, "since"));
		cell_time(&t, pick_number(b, "left"));
		cell_number(&t, b, "failures");
		cell_number(&t, b, "calls");
		cell_number(&t, b, "in_a_row");
	}
	table_end(&t, out);
}

void view_upstreams(const struct ctl *c, const struct json *root, struct buf *out)
{
	struct table t;

	table_begin(&t,
		    "UPSTREAM ENDPOINT STATE >WEIGHT BACKUP >ACTIVE >MOST >IDLE >OK >FAILED "
		    ">ABORTED >RETRIES >IN >OUT",
		    c->colour);
	for (const struct json *u = pick_first(root, "upstreams"); u != NULL; u = u->next)
		for (const struct json *e = pick_first(u, "endpoints"); e != NULL; e = e->next) {
			table_cell(&t, pick_text(u, "upstream"));
			table_cell(&t, pick_text(e, "endpoint"));
			table_cell(&t, pick_text(e, "state"));
			cell_number(&t, e, "weight");
			table_cell(&t, slice_str(pick_true(e, "backup") ? "backup" : "-"));
			cell_number(&t, e, "active");
			cell_number(&t, e, "active_most");
			cell_number(&t, e, "idle");
			cell_number(&t, e, "ok");
			cell_number(&t, e, "failed");
			cell_number(&t, e, "aborted");
			cell_number(&t, e, "retries");
			cell_bytes(&t, e, "request_bytes");
			cell_bytes(&t, e, "response_bytes");
		}
	table_end(&t, out);
}

void view_endpoints(const struct ctl *c, const struct json *root, struct buf *out)
{
	struct table t;

	table_begin(&t, "UPSTREAM ENDPOINT STATE >WEIGHT", c->colour);
	for (const struct json *e = pick_first(root, "endpoints"); e != NULL; e = e->next) {
		table_cell(&t, pick_text(e, "upstream"));
		table_cell(&t, pick_text(e, "endpoint"));
		table_cell(&t, pick_text(e, "state"));
		cell_number(&t, e, "weight");
	}
	table_end(&t, out);
}

/*--------------------------------------------------------------- the process */

static void put_left(const struct json *root, struct buf *out)
{
	double left = pick_number(root, "left");

	if (left > 0) {
		buf_puts(out, ", for ");
		put_span(out, left);
		buf_puts(out, " more");
	}
	buf_putc(out, '\n');
}

void view_drain(const struct ctl *c, const struct json *root, struct buf *out)
{
	(void)c;
	if (!pick_true(root, "draining"))
		buf_puts(out, "not draining");
	else
		buf_puts(out, slice_is(pick_text(root, "by"), "order")
				  ? "draining by order: not ready, connections are not kept"
				  : "shutting down");
	put_left(root, out);
}

void view_level(const struct ctl *c, const struct json *root, struct buf *out)
{
	(void)c;
	put_plain(out, pick_text(root, "level"));
	if (pick_true(root, "forced")) {
		buf_puts(out, ", by order (configured: ");
		put_plain(out, pick_text(root, "configured"));
		buf_putc(out, ')');
	}
	put_left(root, out);
}

static void put_finding(const struct json *d, struct buf *out)
{
	put_plain(out, pick_text(d, "file"));
	buf_printf(out, ":%.0f:%.0f: ", pick_number(d, "line"), pick_number(d, "column"));
	put_plain(out, pick_text(d, "severity"));
	buf_putc(out, '[');
	put_plain(out, pick_text(d, "code"));
	buf_puts(out, "]: ");
	put_plain(out, pick_text(d, "message"));
	buf_putc(out, '\n');
}

void view_reload(const struct ctl *c, const struct json *root, struct buf *out)
{
	bool ok = pick_true(root, "reloaded");

	(void)c;
	for (const struct json *d = pick_first(root, "diagnostics"); d != NULL; d = d->next)
		put_finding(d, out);
	for (const struct json *l = pick_first(root, "changes"); l != NULL; l = l->next) {
		buf_puts(out, "  ");
		put_plain(out, l->text);
		buf_putc(out, '\n');
	}
	if (ok && pick_first(root, "changes") == NULL)
		buf_puts(out, "  nothing has changed\n");
	buf_printf(out,
		   ok ? "reloaded: generation %.0f is in force\n"
		      : "not reloaded: generation %.0f stays in force\n",
		   pick_number(root, "generation"));
}

static void put_event(const struct json *e, struct buf *out)
{
	struct slice level = pick_text(e, "level");

	buf_printf(out, "%6.0f  ", pick_number(e, "seq"));
	put_plain(out, pick_text(e, "time"));
	buf_puts(out, "  ");
	put_plain(out, level);
	buf_printf(out, "%*s  ", level.n < 5 ? (int)(5 - level.n) : 0, "");
	put_plain(out, pick_text(e, "text"));
	buf_putc(out, '\n');
}

/* A list of them, or one. */
void view_events(const struct ctl *c, const struct json *root, struct buf *out)
{
	(void)c;
	if (json_get(root, "seq") != NULL)
		put_event(root, out);
	for (const struct json *e = pick_first(root, "events"); e != NULL; e = e->next)
		put_event(e, out);
}

/*---------------------------------------------------------------------- tree */

static void put_tree(const struct json *v, unsigned depth, struct buf *out);

static bool is_leaf(const struct json *v)
{
	return v->kind == JSON_WORD || v->kind == JSON_STRING || v->first == NULL;
}

static void put_member(const struct json *v, unsigned depth, bool item, struct buf *out)
{
	buf_printf(out, "%*s", (int)(2 * depth), "");
	if (item)
		buf_puts(out, is_leaf(v) ? "- " : "-");
	else
		put_plain(out, v->key);
	if (!item)
		buf_puts(out, is_leaf(v) ? ": " : ":");
	if (is_leaf(v)) {
		put_plain(out, v->kind == JSON_LIST || v->kind == JSON_OBJECT ? slice_str("none")
									      : v->text);
		buf_putc(out, '\n');
	} else {
		buf_putc(out, '\n');
		put_tree(v, depth + 1, out);
	}
}

static void put_tree(const struct json *v, unsigned depth, struct buf *out)
{
	for (const struct json *m = v->first; m != NULL; m = m->next)
		put_member(m, depth, v->kind == JSON_LIST, out);
}

void view_tree(const struct ctl *c, const struct json *root, struct buf *out)
{
	(void)c;
	put_tree(root, 0, out);
}
