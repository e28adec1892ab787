/* retry_conf.c - what a retry policy may be told. */
#include "base/clock.h"
#include "conf/value.h"
#include "filters/retry.h"

enum { RETRIES_MAX = 10, PERCENT_MIN = 50, PERCENT_MAX = 99 };

static const char *const when_names[] = { "connect", "refused", "reset", "cut", "malformed",
					  "timeout", "5xx",     "403",   "404", "408",
					  "425",     "429",     "500",   "502", "503",
					  "504",     NULL };
static const char *const method_choice[] = { "GET",     "HEAD",  "POST",  "PUT", "DELETE",
					     "OPTIONS", "TRACE", "PATCH", NULL };

static bool retry_check(struct conf_load *load, const struct node *map, void *conf)
{
	const struct retry_conf *c = conf;
	const struct node *n = node_get(map, "backoff");

	if (c->backoff.base_ns <= c->backoff.max_ns)
		return true;
	diag_error(load->diags, n == NULL ? map->at : n->at, "E019",
		   "`backoff`: the base is longer than the max")
	    ->path = arena_printf(load->arena, "%s.backoff", load->path);
	return false;
}

#define AT(member) offsetof(struct backoff_conf, member)
static const struct field backoff_fields[] = {
	{ .key = "base",
	  .type = C_DURATION,
	  .offset = AT(base_ns),
	  .dflt = "25ms",
	  .max = 60 * CLOCK_S,
	  .doc = "The longest wait before the first retry; it doubles with each one more." },
	{ .key = "max",
	  .type = C_DURATION,
	  .offset = AT(max_ns),
	  .dflt = "250ms",
	  .max = 300 * CLOCK_S,
	  .doc = "The longest wait of all. An upstream that asks for a longer one (Retry-After) is "
		 "not tried again." },
	{ .key = NULL },
};
#undef AT

static const struct schema backoff_schema = {
	.name = "backoff",
	.size = sizeof(struct backoff_conf),
	.fields = backoff_fields,
};

static bool after_parse(struct conf_load *load, const struct node *node, void *dst)
{
	struct hedge_after *a = dst;
	struct slice text = node->kind == NODE_SCALAR ? node->text : slice_of(NULL, 0);

	*a = (struct hedge_after){ .percent = 0 };
	if (text.n > 1 && text.p[0] == 'p' &&
	    value_u32(slice_of(text.p + 1, text.n - 1), &a->percent) == NULL &&
	    a->percent >= PERCENT_MIN && a->percent <= PERCENT_MAX)
		return true;
	a->percent = 0;
	if (text.n > 0 && value_duration(text, &a->ns) == NULL && a->ns >= CLOCK_MS &&
	    a->ns <= 3600 * CLOCK_S)
		return true;
	diag_error(load->diags, node->at, "E015",
		   "`after`: it is a percentile from p%d to p%d, or a duration from 1ms to 1h",
		   PERCENT_MIN, PERCENT_MAX);
	return false;
}

static void after_dump(const void *src, struct buf *out)
{
	const struct hedge_after *a = src;
	char text[32];

	if (a->percent != 0) {
		buf_printf(out, "p%u", a->percent);
	} else if (a->ns != 0) {
		value_print_duration(a->ns, text);
		buf_puts(out, text);
	}
}

static const struct custom_ops after_custom = {
	.parse = after_parse,
	.dump = after_dump,
	.json_schema = "{\"type\":\"string\"}",
	.what = "a percentile from `p50` to `p99`, or a duration such as 250ms, 1ms to 1h",
};

#define AT(member) offsetof(struct hedge_conf, member)
static const struct field hedge_fields[] = {
	{ .key = "after",
	  .type = C_CUSTOM,
	  .flags = C_REQUIRED,
	  .offset = AT(after),
	  .custom = &after_custom,
	  .doc = "How long a first try may go unanswered before there is another beside it. A "
		 "percentile is learned from the policy's own calls." },
	{ .key = "budget",
	  .type = C_SHARE,
	  .offset = AT(budget_ppm),
	  .dflt = "5%",
	  .max = 1000000,
	  .doc = "Such tries at most, as a share of the calls of the last ten seconds." },
	{ .key = NULL },
};
#undef AT

static const struct schema hedge_schema = {
	.name = "hedge",
	.size = sizeof(struct hedge_conf),
	.fields = hedge_fields,
	.scalar = "after",
};

#define AT(member) offsetof(struct retry_conf, member)
static const struct field retry_fields[] = {
	{ .key = "retry",
	  .type = C_U32,
	  .flags = C_REQUIRED,
	  .offset = AT(retries),
	  .max = RETRIES_MAX,
	  .doc = "How many more tries after the first. 0: none, not even of a call that could not "
		 "connect." },
	{ .key = "when",
	  .type = C_LIST,
	  .item = C_STRING,
	  .offset = AT(when),
	  .names = when_names,
	  .doc =
	      "What is tried again: connect (refused: all but those that were not in time, which are "
	      "of timeout, too), reset (cut: a head that does not come or is cut short, and "
	      "malformed, which may be told apart), timeout, 5xx, or one status. Only connect when "
	      "not given." },
	{ .key = "methods",
	  .type = C_LIST,
	  .item = C_STRING,
	  .offset = AT(methods),
	  .names = method_choice,
	  .doc = "Methods that may be sent twice: the idempotent ones when not given. A call of "
		 "which nothing was sent may always be tried again." },
	{ .key = "backoff",
	  .type = C_MAP,
	  .offset = AT(backoff),
	  .sub = &backoff_schema,
	  .doc = "The wait before a retry, drawn at random between nothing and the longest." },
	{ .key = "budget",
	  .type = C_SHARE,
	  .offset = AT(budget_ppm),
	  .dflt = "20%",
	  .max = 1000000,
	  .doc =
	      "Retries at most, as a share of the calls of the last ten seconds; 3/s are allowed "
	      "besides. A client's own retries count. 100%: no bound but `retry`." },
	{ .key = "per_try",
	  .type = C_DURATION,
	  .offset = AT(per_try_ns),
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "How long one try may take until its answer begins, once the whole request has "
		 "come; no bound when not given." },
	{ .key = "within",
	  .type = C_DURATION,
	  .offset = AT(within_ns),
	  .min = CLOCK_MS,
	  .max = 24 * 3600 * CLOCK_S,
	  .doc = "How long after the call was let in another try may begin; no bound when not "
		 "given." },
	{ .key = "elsewhere",
	  .type = C_BOOL,
	  .offset = AT(elsewhere),
	  .dflt = "false",
	  .doc =
	      "Whether only endpoints that the call has not been to are tried: when none is left, "
	      "or none of them takes calls, the upstream counts as unavailable." },
	{ .key = "heed_retry_after",
	  .type = C_BOOL,
	  .offset = AT(heed),
	  .dflt = "true",
	  .doc =
	      "Whether an upstream that says Retry-After is given that time, or not tried again." },
	{ .key = "body",
	  .type = C_BYTES,
	  .offset = AT(body),
	  .dflt = "64KiB",
	  .max = 16 * 1024 * 1024,
	  .doc = "How much of a request's body is kept for another try; a call with more is not "
		 "tried again." },
	{ .key = "hedge",
	  .type = C_MAP,
	  .offset = AT(hedge),
	  .sub = &hedge_schema,
	  .doc = "One more try beside a first one that takes long; the first answer to come is "
		 "passed on, the other try is cut. Only calls without a body whose method is "
		 "idempotent and among `methods`; not when absent." },
	POLICY_FIELDS(struct retry_conf),
	{ .key = NULL },
};
#undef AT

const struct schema retry_schema = {
	.name = "retry policy",
	.size = sizeof(struct retry_conf),
	.fields = retry_fields,
	.check = retry_check,
};
