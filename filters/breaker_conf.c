/* breaker_conf.c - what a breaker policy may be told. */
#include "filters/breaker_conf.h"

#include <string.h>

#include "base/clock.h"
#include "conf/value.h"
#include "filters/breaker.h"

enum { CONSECUTIVE_MAX = 1000000, PROBES_MAX = 1000 };

/*---------------------------------------------------------------- failures */

struct failure_row {
	const char *name;
	uint8_t classes;
	uint16_t first, last; /* statuses; 0: none */
	bool usual;           /* without `failures` */
};

static const struct failure_row failure_rows[] = {
	{ "5xx", 0, 500, 599, true },
	{ "timeout", FAILURE_TIMEOUT, 0, 0, true },
	{ "connect", FAILURE_CONNECT, 0, 0, true },
	{ "reset", FAILURE_RESET, 0, 0, true },
	{ "408", 0, 408, 408, false },
	{ "425", 0, 425, 425, false },
	{ "429", 0, 429, 429, false },
	{ "500", 0, 500, 500, false },
	{ "502", 0, 502, 502, false },
	{ "503", 0, 503, 503, false },
	{ "504", 0, 504, 504, false },
	{ "529", 0, 529, 529, false },
};

enum { FAILURE_ROWS = sizeof(failure_rows) / sizeof(failure_rows[0]) };

static const char *const failure_names[] = { "5xx", "timeout", "connect", "reset", "408",
					     "425", "429",     "500",     "502",   "503",
					     "504", "529",     NULL };
_Static_assert(sizeof(failure_names) / sizeof(failure_names[0]) == FAILURE_ROWS + 1,
	       "a row without its name");

static void take_row(struct failure_set *f, const struct failure_row *row)
{
	f->classes |= row->classes;
	for (unsigned s = row->first; s != 0 && s <= row->last; s++)
		f->status[s - FAILURE_STATUS_FIRST] = true;
}

static bool is_listed(const struct conf_list *names, const char *name)
{
	const char *const *item = names->item;

	for (uint32_t i = 0; i < names->n; i++)
		if (strcmp(item[i], name) == 0)
			return true;
	return false;
}

void failure_set_init(struct failure_set *f, const struct conf_list *failures)
{
	*f = (struct failure_set){ .classes = 0 };
	for (size_t i = 0; i < FAILURE_ROWS; i++) {
		const struct failure_row *row = &failure_rows[i];

		if (failures->n == 0 ? row->usual : is_listed(failures, row->name))
			take_row(f, row);
	}
}

/*------------------------------------------------------------------ schema */

static const char *const per_names[] = {
	[PER_ENDPOINT] = "endpoint", [PER_UPSTREAM] = "upstream", NULL
};

/* NULL, or what is wrong with it. */
static const char *parse_limit(struct slice text, struct breaker_limit *out)
{
	static const char neither[] =
	    "it is a number of failures in a row, such as 5, or a share, such as 50%";

	*out = (struct breaker_limit){ 0 };
	if (text.n == 0)
		return neither;
	if (text.p[text.n - 1] == '%') {
		if (value_share(text, &out->share_ppm) != NULL || out->share_ppm == 0)
			return "a share is above 0%, and at most 100%";
	} else if (value_u32(text, &out->consecutive) != NULL) {
		return neither;
	} else if (out->consecutive == 0 || out->consecutive > CONSECUTIVE_MAX) {
		return "a number of failures is between 1 and 1000000";
	}
	return NULL;
}

static bool limit_parse(struct conf_load *load, const struct node *node, void *dst)
{
	struct slice text = node->kind == NODE_SCALAR ? node->text : slice_of(NULL, 0);
	const char *wrong = parse_limit(text, dst);

	if (wrong == NULL)
		return true;
	diag_error(load->diags, node->at, "E015", "`breaker`: %s", wrong)->path =
	    arena_printf(load->arena, "%s.breaker", load->path);
	return false;
}

static void limit_dump(const void *src, struct buf *b)
{
	const struct breaker_limit *l = src;
	char text[16];

	if (l->consecutive != 0)
		buf_u64(b, l->consecutive);
	if (l->share_ppm != 0) {
		value_print_share(l->share_ppm, text);
		buf_puts(b, text);
	}
}

static const struct custom_ops limit_custom = {
	.parse = limit_parse,
	.dump = limit_dump,
	.json_schema = "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000},"
		       "{\"type\":\"string\",\"pattern\":\"^[0-9]+(\\\\.[0-9]+)?%$\"}]}",
	.what = "a number of failures in a row, or a share such as `50%`",
};

static bool slow_check(struct conf_load *load, const struct node *map, void *conf)
{
	struct slow_conf *c = conf;

	if (c->share_ppm == 0)
		c->share_ppm = BREAKER_PPM / 2;
	if (c->over_ns != 0 || c->first_byte_ns != 0)
		return true;
	diag_error(load->diags, map->at, "E013",
		   "what is slow? `over` (until the last byte) or `first_byte` is needed")
	    ->path = load->path;
	return false;
}

#define AT(member) offsetof(struct slow_conf, member)
static const struct field slow_fields[] = {
	{ .key = "over",
	  .type = C_DURATION,
	  .offset = AT(over_ns),
	  .min = CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "A try is slow when its answer's last byte comes later than this." },
	{ .key = "first_byte",
	  .type = C_DURATION,
	  .offset = AT(first_byte_ns),
	  .min = CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "A try is slow when its answer's head comes later than this: what to use for "
		 "answers that are streamed." },
	{ .key = "share",
	  .type = C_SHARE,
	  .offset = AT(share_ppm),
	  .min = 1,
	  .max = BREAKER_PPM,
	  .doc = "It opens when this share of the window's tries was slow; 50% when not given." },
	{ .key = NULL },
};
#undef AT

static const struct schema slow_schema = {
	.name = "slow",
	.size = sizeof(struct slow_conf),
	.fields = slow_fields,
	.scalar = "over",
	.check = slow_check,
};

static void warn_unused(struct conf_load *load, const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	if (n != NULL)
		diag_warning(load->diags, n->at, "W107",
			     "`%s` means nothing for a number of failures in a row without `slow`",
			     key)
		    ->path = arena_printf(load->arena, "%s.%s", load->path, key);
}

static bool breaker_check(struct conf_load *load, const struct node *map, void *conf)
{
	const struct breaker_conf *c = conf;
	const struct node *n = node_get(map, "max_open");

	if (c->limit.share_ppm == 0 && c->slow.share_ppm == 0) {
		warn_unused(load, map, "window");
		warn_unused(load, map, "min_requests");
	}
	if (c->open_for_ns <= c->max_open_ns)
		return true;
	if (n == NULL)
		n = node_get(map, "open_for");
	diag_error(load->diags, n == NULL ? map->at : n->at, "E019",
		   "`open_for` is longer than `max_open`")
	    ->path = load->path;
	return false;
}

#define AT(member) offsetof(struct breaker_conf, member)
static const struct field breaker_fields[] = {
	{ .key = "breaker",
	  .type = C_CUSTOM,
	  .flags = C_REQUIRED,
	  .offset = AT(limit),
	  .custom = &limit_custom,
	  .doc = "It opens after so many failures in a row, or when this share of the window's "
		 "tries has failed." },
	{ .key = "window",
	  .type = C_DURATION,
	  .offset = AT(window_ns),
	  .dflt = "10s",
	  .min = 100 * CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "Over which shares are counted; it slides by a tenth of itself." },
	{ .key = "min_requests",
	  .type = C_U32,
	  .offset = AT(min_requests),
	  .dflt = "20",
	  .min = 1,
	  .max = 1000000,
	  .doc = "With fewer tries in the window than this, no share opens it." },
	{ .key = "failures",
	  .type = C_LIST,
	  .item = C_STRING,
	  .offset = AT(failures),
	  .names = failure_names,
	  .doc = "What is a failure: connect, reset (a malformed answer too), timeout, 5xx, or one "
		 "status; the first four when not given. Other answers are successes, 429 among "
		 "them; a try that the client gave up is neither." },
	{ .key = "slow",
	  .type = C_MAP,
	  .offset = AT(slow),
	  .sub = &slow_schema,
	  .doc = "Which tries are slow, and how many of them open it as well." },
	{ .key = "open_for",
	  .type = C_DURATION,
	  .offset = AT(open_for_ns),
	  .dflt = "10s",
	  .min = 100 * CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "How long nothing is sent, give or take a fifth by chance. It doubles each time a "
		 "probe fails, and when it opens again before it was closed for as long as it had "
		 "been open." },
	{ .key = "max_open",
	  .type = C_DURATION,
	  .offset = AT(max_open_ns),
	  .dflt = "5m",
	  .min = 100 * CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "The longest that doubling makes of it, and how much of an upstream's Retry-After "
		 "is believed: that can only lengthen the open time." },
	{ .key = "probes",
	  .type = C_U32,
	  .offset = AT(probes),
	  .dflt = "1",
	  .min = 1,
	  .max = PROBES_MAX,
	  .doc =
	      "How many calls are let through after that to see: it closes when all of them were "
	      "answered, and opens when one fails." },
	{ .key = "per",
	  .type = C_ENUM,
	  .offset = AT(per),
	  .dflt = "endpoint",
	  .names = per_names,
	  .doc = "What has a breaker of its own: each endpoint (calls go to the others), or the "
		 "upstream." },
	POLICY_FIELDS(struct breaker_conf),
	{ .key = NULL },
};
#undef AT

const struct schema breaker_schema = {
	.name = "breaker policy",
	.size = sizeof(struct breaker_conf),
	.fields = breaker_fields,
	.check = breaker_check,
};
