/* health.c - the state of an endpoint from its checks, and how checks are configured. */
#include "upstream/health.h"

#include <stdio.h>

#include "base/clock.h"
#include "conf/value.h"

const char *const check_result_names[CHECK_RESULTS] = {
	[CHECK_OK] = "ok",           [CHECK_STATUS] = "status",   [CHECK_BODY] = "body",
	[CHECK_TIMEOUT] = "timeout", [CHECK_CONNECT] = "connect", [CHECK_TLS] = "tls",
	[CHECK_BROKEN] = "broken",   [CHECK_ADDRESS] = "address",
};

const char *const check_result_texts[CHECK_RESULTS] = {
	[CHECK_OK] = "ok",
	[CHECK_STATUS] = "another status than expected",
	[CHECK_BODY] = "the answer does not hold the expected text",
	[CHECK_TIMEOUT] = "no answer in time",
	[CHECK_CONNECT] = "could not connect",
	[CHECK_TLS] = "the TLS handshake failed",
	[CHECK_BROKEN] = "the answer broke off or is malformed",
	[CHECK_ADDRESS] = "the name has no address",
};

static void count(uint32_t *n)
{
	if (*n < UINT32_MAX)
		++*n;
}

bool health_count(struct health_state *h, uint32_t fall, uint32_t rise, bool ok)
{
	bool was = h->down, first = !h->known;

	h->known = true;
	count(ok ? &h->passed : &h->failed);
	*(ok ? &h->failed : &h->passed) = 0;
	if (h->down ? h->passed >= rise : !ok && (first || h->failed >= fall))
		h->down = !was;
	return h->down != was;
}

/*---------------------------------------------------------------- sets of statuses */

bool status_set_has(const struct status_set *s, uint16_t status)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (status >= s->range[i].low && status <= s->range[i].high)
			return true;
	return false;
}

static bool parse_status(struct slice s, uint16_t *out)
{
	uint32_t v;

	if (value_u32(s, &v) != NULL || v < 100 || v > 599)
		return false;
	*out = (uint16_t)v;
	return true;
}

static const char *suggest_range(struct conf_load *load, struct slice s)
{
	/* 2xx, as many write it */
	if (s.n == 3 && s.p[0] >= '1' && s.p[0] <= '5' && (s.p[1] | 0x20) == 'x' &&
	    (s.p[2] | 0x20) == 'x')
		return arena_printf(load->diags->arena, "%c00-%c99", s.p[0], s.p[0]);
	return NULL;
}

static bool parse_range(struct conf_load *load, const struct node *node, struct status_set *set)
{
	struct slice high = node->text, low;
	struct diag *d;

	if (set->n == STATUS_RANGES_MAX) {
		diag_error(load->diags, node->at, "E016", "`status` takes at most %d ranges",
			   STATUS_RANGES_MAX)
		    ->path = load->path;
		return false;
	}
	low = slice_trim(slice_cut(&high, '-'));
	high = high.p == NULL ? low : slice_trim(high);
	if (node->kind == NODE_SCALAR && parse_status(low, &set->range[set->n].low) &&
	    parse_status(high, &set->range[set->n].high) &&
	    set->range[set->n].low <= set->range[set->n].high) {
		set->n++;
		return true;
	}
	d = diag_error(load->diags, node->at, "E015",
		       "`%.*s` is no status: one from 100 to 599, such as 200, or a range, such as "
		       "200-399",
		       SLICE_FMT(node->text));
	d->path = load->path;
	d->suggestion = suggest_range(load, node->text);
	return false;
}

static bool parse_statuses(struct conf_load *load, const struct node *node, void *dst)
{
	bool ok = true;

	*(struct status_set *)dst = (struct status_set){ .n = 0 };
	if (node->kind != NODE_LIST)
		return parse_range(load, node, dst);
	if (node->first == NULL)
		diag_error(load->diags, node->at, "E013", "at least one status is needed")->path =
		    load->path;
	for (const struct node *n = node->first; n != NULL && ok; n = n->next)
		ok = parse_range(load, n, dst);
	return ok && node->first != NULL;
}

static void dump_statuses(const void *src, struct buf *out)
{
	const struct status_set *s = src;

	if (s->n != 1)
		buf_putc(out, '[');
	for (uint32_t i = 0; i < s->n; i++) {
		buf_printf(out, i == 0 ? "%u" : ", %u", s->range[i].low);
		if (s->range[i].high != s->range[i].low)
			buf_printf(out, "-%u", s->range[i].high);
	}
	if (s->n != 1)
		buf_putc(out, ']');
}

#define STATUS_JSON                                                             \
	"\"type\":[\"integer\",\"string\"],\"pattern\":\"^[1-5][0-9][0-9]( *- " \
	"*[1-5][0-9][0-9])?$|[$][{]\""

static const struct custom_ops status_custom = {
	.parse = parse_statuses,
	.dump = dump_statuses,
	.json_schema =
	    "{\"oneOf\":[{" STATUS_JSON
	    "},{\"type\":\"array\",\"minItems\":1,\"maxItems\":8,\"items\":{" STATUS_JSON "}}]}",
	.what = "a status, a range such as 200-399, or a list of them",
};

/*---------------------------------------------------------------- fields */

const char *const health_methods[] = {
	[HEALTH_GET] = "GET", [HEALTH_HEAD] = "HEAD", [HEALTH_OPTIONS] = "OPTIONS", NULL
};

static bool is_visible(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}

static bool refuse(struct conf_load *load, const struct node *node, const char *key,
		   const char *suggestion, const char *says)
{
	const struct node *value = node->kind == NODE_MAP ? node_get(node, key) : node;
	struct diag *d =
	    diag_error(load->diags, value != NULL ? value->at : node->at, "E015", "%s", says);

	d->path = load->path;
	d->suggestion = suggestion;
	return false;
}

static bool check_health(struct conf_load *load, const struct node *node, void *conf)
{
	const struct health_conf *h = conf;
	bool ok = true;

	if (h->path[0] != '/')
		ok = refuse(load, node, "path",
			    is_visible(h->path) && strstr(h->path, "://") == NULL
				? arena_printf(load->diags->arena, "/%s", h->path)
				: NULL,
			    "the path of a health check begins with `/`");
	else if (!is_visible(h->path) || strchr(h->path, '#') != NULL)
		ok = refuse(load, node, "path", NULL,
			    "the path of a health check has no spaces, control characters or `#`");
	if (h->host != NULL && (!is_visible(h->host) || strpbrk(h->host, "/?#@") != NULL))
		ok = refuse(load, node, "host", NULL, "this is not a host, or a host and a port");
	if (h->body != NULL && h->method == HEALTH_HEAD)
		ok = refuse(load, node, "body", NULL,
			    "an answer to HEAD has no body: use `method: GET`");
	return ok;
}

static const struct field health_fields[] = {
	{ .key = "path",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct health_conf, path),
	  .min = 1,
	  .max = 2048,
	  .doc = "What is asked of each endpoint, with a query if need be: `/health`." },
	{ .key = "every",
	  .type = C_DURATION,
	  .offset = offsetof(struct health_conf, every_ns),
	  .dflt = "5s",
	  .min = 10 * CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "From the beginning of a check to that of the next, give or take a sixteenth; the "
		 "first comes at once." },
	{ .key = "timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct health_conf, timeout_ns),
	  .dflt = "1s",
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "How long a check may take in all, connecting included." },
	{ .key = "fall",
	  .type = C_U32,
	  .offset = offsetof(struct health_conf, fall),
	  .dflt = "3",
	  .min = 1,
	  .max = 1000,
	  .doc = "So many failures in a row make an endpoint unhealthy; of the very first check, "
		 "one does." },
	{ .key = "rise",
	  .type = C_U32,
	  .offset = offsetof(struct health_conf, rise),
	  .dflt = "2",
	  .min = 1,
	  .max = 1000,
	  .doc = "So many successes in a row make it healthy again." },
	{ .key = "status",
	  .type = C_CUSTOM,
	  .offset = offsetof(struct health_conf, status),
	  .dflt = "200-399",
	  .custom = &status_custom,
	  .doc = "The statuses that are a success." },
	{ .key = "body",
	  .type = C_STRING,
	  .offset = offsetof(struct health_conf, body),
	  .min = 1,
	  .max = HEALTH_BODY_MAX,
	  .doc = "A text that must stand in the first 64 KiB of the answer's body." },
	{ .key = "host",
	  .type = C_STRING,
	  .offset = offsetof(struct health_conf, host),
	  .min = 1,
	  .max = 255,
	  .doc = "The Host that is asked for; not given: the endpoint's address." },
	{ .key = "method",
	  .type = C_ENUM,
	  .offset = offsetof(struct health_conf, method),
	  .dflt = "GET",
	  .names = health_methods,
	  .doc = "How it is asked." },
	{ .key = NULL },
};

const struct schema health_schema = {
	.name = "health check",
	.size = sizeof(struct health_conf),
	.fields = health_fields,
	.scalar = "path",
	.check = check_health,
};
