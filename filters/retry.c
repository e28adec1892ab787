/* retry.c - the filter behind `retry`.  What it may be told is in retry_conf.c, the budget's
 * arithmetic is in budget.c, the percentile's in quantile.c; the tries are made by whoever asks. */
#include "filters/retry.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/budget.h"
#include "filters/quantile.h"
#include "filters/state.h"

enum {
	RESERVE_PER_S = 3,
	PPM_OF_PERCENT = 10000,
	WHOLE_PPM = 1000000,
	STATUS_FIRST = 400,
	STATUS_LAST = 599,
};

/* What `when` may name. */
enum failure { REFUSED, CONNECT_TIMEOUT, CUT, MALFORMED, TIMEOUT, FAILURES };

struct when_row {
	const char *name;
	uint8_t failures;     /* bit: enum failure */
	uint16_t first, last; /* statuses; 0: none */
};

static const struct when_row when_rows[] = {
	{ "connect", 1 << REFUSED | 1 << CONNECT_TIMEOUT, 0, 0 },
	{ "refused", 1 << REFUSED, 0, 0 },
	{ "reset", 1 << CUT | 1 << MALFORMED, 0, 0 },
	{ "cut", 1 << CUT, 0, 0 },
	{ "malformed", 1 << MALFORMED, 0, 0 },
	{ "timeout", 1 << TIMEOUT, 0, 0 },
	{ "5xx", 0, 500, 599 },
	{ "403", 0, 403, 403 },
	{ "404", 0, 404, 404 },
	{ "408", 0, 408, 408 },
	{ "425", 0, 425, 425 },
	{ "429", 0, 429, 429 },
	{ "500", 0, 500, 500 },
	{ "502", 0, 502, 502 },
	{ "503", 0, 503, 503 },
	{ "504", 0, 504, 504 },
};

enum { WHEN_ROWS = sizeof(when_rows) / sizeof(when_rows[0]) };

struct pace {
	struct quantile until_head;
} __attribute__((aligned(64)));

/* Found again across reloads (state.h). */
struct ledger {
	struct budget retries, hedges;
	struct pace pace[BUDGET_WORKERS]; /* each its worker's */
};

/* filter->state */
struct retrier {
	struct table_registry *registry;
	struct ledger *ledger;
	struct budget_rule retry_rule, hedge_rule;
	uint8_t failures; /* bit: enum failure */
	bool status[STATUS_LAST - STATUS_FIRST + 1];
	uint32_t methods; /* bit: method_id */
	_Atomic uint64_t draws;
};

/* Of one call. */
struct tries {
	uint32_t retries;
	uint64_t paced_ns; /* when the first try began, if it says something of the pace; or 0 */
	uint64_t start_ns; /* of the call */
	uint64_t gone_ns;  /* by then the client waits no more; 0: it does not say */
};

/*---------------------------------------------------------- open and close */

static void destroy_ledger(void *object)
{
	struct ledger *l = object;

	budget_fini(&l->hedges);
	budget_fini(&l->retries);
	free(l);
}

static void *make_ledger(void)
{
	struct ledger *l = aligned_alloc(64, sizeof(*l));

	if (l == NULL)
		return NULL;
	memset(l->pace, 0, sizeof(l->pace));
	if (budget_init(&l->retries)) {
		if (budget_init(&l->hedges))
			return l;
		budget_fini(&l->retries);
	}
	free(l);
	return NULL;
}

static const struct state_kind ledger_kind = { .make = make_ledger, .destroy = destroy_ledger };

static void take_row(struct retrier *r, const struct when_row *row)
{
	r->failures |= row->failures;
	for (unsigned s = row->first; s != 0 && s <= row->last; s++)
		r->status[s - STATUS_FIRST] = true;
}

static void take_when(struct retrier *r, const struct conf_list *when)
{
	const char *const *name = when->item;

	if (when->n == 0)
		r->failures = 1 << REFUSED | 1 << CONNECT_TIMEOUT;
	for (uint32_t i = 0; i < when->n; i++)
		for (size_t k = 0; k < WHEN_ROWS; k++)
			if (strcmp(name[i], when_rows[k].name) == 0)
				take_row(r, &when_rows[k]);
}

static bool is_listed(const struct conf_list *names, struct slice name)
{
	const char *const *item = names->item;

	for (uint32_t i = 0; i < names->n; i++)
		if (slice_is(name, item[i]))
			return true;
	return false;
}

static void take_methods(struct retrier *r, const struct conf_list *methods)
{
	for (unsigned m = 0; m < METHOD_COUNT; m++)
		if (methods->n == 0 ? (method_flags[m] & METHOD_IDEMPOTENT) != 0
				    : is_listed(methods, method_names[m]))
			r->methods |= UINT32_C(1) << m;
}

static bool retry_open(struct filter *f, struct table_registry *registry, struct diags *diags,
		       struct place at)
{
	const struct retry_conf *c = f->conf;
	struct table_id id = {
		.policy = f->name, .kind = f->ops->name, .key = "", .store = "local"
	};
	struct retrier *r = calloc(1, sizeof(*r));

	if (r != NULL) {
		r->registry = registry;
		r->ledger = state_get(registry, &id, &ledger_kind);
	}
	if (r == NULL || r->ledger == NULL) {
		diag_error(diags, at, "E099", "out of memory for the policy `%s`", f->name);
		free(r);
		return false;
	}
	budget_rule_init(&r->retry_rule, c->budget_ppm, RESERVE_PER_S);
	budget_rule_init(&r->hedge_rule, c->hedge.budget_ppm, 0);
	take_when(r, &c->when);
	take_methods(r, &c->methods);
	f->state = r;
	return true;
}

static void retry_close(struct filter *f)
{
	struct retrier *r = f->state;

	state_put(r->registry, r->ledger);
	free(r);
	f->state = NULL;
}

/*--------------------------------------------------------------- decisions */

enum { NUMBER_DIGITS = 9 };

/* The whole number in this field, of what may be a fraction; 0: none that makes sense. */
static uint64_t number_in(const struct head *h, struct slice name)
{
	const struct header *f = head_find_name(h, name);
	struct slice text = f == NULL ? slice_of(NULL, 0) : f->value;
	struct slice whole = slice_cut(&text, '.');
	uint64_t n = 0;

	for (size_t i = 0; i < whole.n; i++) {
		if (whole.p[i] < '0' || whole.p[i] > '9' || i == NUMBER_DIGITS)
			return 0;
		n = n * 10 + (uint64_t)(whole.p[i] - '0');
	}
	return n;
}

/* Whether the client says that it has sent this before: the LLM SDKs, Envoy, gRPC. */
static bool is_clients_retry(const struct head *h)
{
	static const struct {
		struct slice name;
		uint64_t least;
	} rows[] = { { SLICE("x-stainless-retry-count"), 1 },
		     { SLICE("x-envoy-attempt-count"), 2 },
		     { SLICE("grpc-previous-rpc-attempts"), 1 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (number_in(h, rows[i].name) >= rows[i].least)
			return true;
	return false;
}

/* How long the client says that it waits for an answer; 0: it does not say. */
static uint64_t clients_patience_ns(const struct head *h)
{
	static const struct {
		struct slice name;
		uint64_t unit_ns;
	} rows[] = { { SLICE("x-stainless-timeout"), CLOCK_S },
		     { SLICE("x-stainless-read-timeout"), CLOCK_S },
		     { SLICE("x-envoy-expected-rq-timeout-ms"), CLOCK_MS } };
	uint64_t least = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t ns = number_in(h, rows[i].name) * rows[i].unit_ns;

		if (ns != 0 && (least == 0 || ns < least))
			least = ns;
	}
	return least;
}

static bool method_allows(const struct retrier *r, const struct call *call)
{
	return r->methods >> call->req->method_id & 1;
}

static bool hedges(const struct retry_conf *c)
{
	return c->hedge.after.percent != 0 || c->hedge.after.ns != 0;
}

static struct verdict retry_admit(const struct filter *f, struct call *call, void *mem)
{
	const struct retry_conf *c = f->conf;
	struct retrier *r = f->state;
	uint64_t patience_ns = clients_patience_ns(call->req);

	((struct tries *)mem)->start_ns = call->env->now_ns;
	if (patience_ns != 0)
		((struct tries *)mem)->gone_ns = call->env->now_ns + patience_ns;
	if (is_clients_retry(call->req)) {
		budget_charge(&r->ledger->retries, call->env->now_ns);
	} else {
		budget_call(&r->ledger->retries, call->env->worker, call->env->now_ns);
		if (hedges(c))
			budget_call(&r->ledger->hedges, call->env->worker, call->env->now_ns);
	}
	if (method_allows(r, call) && call->keep_body < c->body)
		call->keep_body = c->body;
	return verdict_pass();
}

static struct quantile *pace_of(const struct retrier *r, const struct call *call)
{
	return &r->ledger->pace[call->env->worker].until_head;
}

/* A body takes as long as its sender does, and what is switched to is one connection's affair. */
static bool may_hedge(const struct filter *f, const struct call *call)
{
	const struct head *req = call->req;

	return hedges(f->conf) && method_allows(f->state, call) &&
	       (method_flags[req->method_id] & METHOD_IDEMPOTENT) && req->body == BODY_NONE &&
	       !req->upgrade;
}

/* When the first try of a call gets another beside it; 0: not at all. */
static uint64_t hedge_at_ns(const struct filter *f, const struct call *call)
{
	const struct hedge_after *after = &((const struct retry_conf *)f->conf)->hedge.after;
	uint64_t ns = after->percent == 0 ? after->ns : quantile_ns(pace_of(f->state, call));

	return ns == 0 ? 0 : call->env->now_ns + ns;
}

static struct verdict retry_attempt(const struct filter *f, struct call *call, void *mem,
				    struct attempt *a)
{
	const struct retry_conf *c = f->conf;
	struct tries *t = mem;
	uint64_t deadline_ns = call->env->now_ns + c->per_try_ns;

	if (!a->beside)
		t->paced_ns = 0;
	if (a->number == 1 && may_hedge(f, call)) {
		t->paced_ns = call->env->now_ns;
		a->hedge_ns = hedge_at_ns(f, call);
	}
	if (c->per_try_ns != 0 && (a->deadline_ns == 0 || deadline_ns < a->deadline_ns))
		a->deadline_ns = deadline_ns;
	return verdict_skip();
}

static bool is_timeout(const struct reason *why)
{
	return why == reason_first_byte_timeout || why == reason_try_timeout ||
	       why == reason_idle_timeout || why == reason_connect_timeout;
}

/* It broke before it made an answer. */
static bool is_cut(const struct reason *why)
{
	return why == reason_upstream_reset || why == reason_upstream_stale ||
	       why == reason_upstream_truncated;
}

static bool is_malformed(const struct reason *why)
{
	return why == reason_upstream_malformed || why == reason_upstream_head_too_large;
}

/* What the policy calls this end of a try. */
static enum again_label failure_of(const struct retrier *r, const struct attempt *a)
{
	if (a->why == NULL || a->why == reason_ok)
		return a->status >= STATUS_FIRST && a->status <= STATUS_LAST &&
			       r->status[a->status - STATUS_FIRST]
			   ? AGAIN_STATUS
			   : AGAIN_NONE;
	if (((a->why == reason_connect_failed || a->why == reason_tls_failed) &&
	     (r->failures & 1 << REFUSED)) ||
	    (a->why == reason_connect_timeout && (r->failures & 1 << CONNECT_TIMEOUT)))
		return AGAIN_CONNECT;
	if ((is_cut(a->why) && (r->failures & 1 << CUT)) ||
	    (is_malformed(a->why) && (r->failures & 1 << MALFORMED)))
		return AGAIN_RESET;
	return is_timeout(a->why) && (r->failures & 1 << TIMEOUT) ? AGAIN_TIMEOUT : AGAIN_NONE;
}

/* splitmix64 (Steele, Lea, Flood 2014) of what differs from one retry to the next. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Full jitter: anything from nothing to the longest (Brooker, "Exponential Backoff And Jitter"). */
static uint64_t backoff_ms(const struct backoff_conf *b, uint32_t retries, uint64_t random)
{
	uint64_t longest = b->base_ns;

	for (uint32_t i = 0; i < retries && longest < b->max_ns; i++)
		longest *= 2;
	longest = longest < b->max_ns ? longest : b->max_ns;
	return random % (longest / CLOCK_MS + 1);
}

/* Why not, or AGAIN_NONE. */
static enum again_label forbidden(const struct filter *f, const struct call *call,
				  const struct tries *t, const struct attempt *a)
{
	const struct retry_conf *c = f->conf;
	bool sent = a->why == NULL || !(a->why->flags & R_UNSENT);

	if (t->retries >= c->retries)
		return AGAIN_NO_MORE;
	if (sent && !method_allows(f->state, call))
		return AGAIN_NO_METHOD;
	if (!call->resendable || call->body_bytes > c->body)
		return AGAIN_NO_BODY;
	return a->last ? AGAIN_REFUSED : AGAIN_NONE;
}

static struct again no(enum again_label label)
{
	return (struct again){ .yes = false, .label = label };
}

static bool is_past(uint64_t deadline_ns, uint64_t at_ns)
{
	return deadline_ns != 0 && at_ns >= deadline_ns;
}

/* A first try is under way, and has taken long. */
static struct again hedge_again(const struct retrier *r, const struct call *call)
{
	if (!budget_take(&r->ledger->hedges, &r->hedge_rule, call->env->now_ns))
		return no(AGAIN_NO_HEDGE);
	return (struct again){ .yes = true, .label = AGAIN_HEDGE };
}

static struct again retry_again(const struct filter *f, struct call *call, void *mem,
				const struct attempt *a)
{
	const struct retry_conf *c = f->conf;
	struct retrier *r = f->state;
	struct tries *t = mem;
	uint64_t now_ns = call->env->now_ns;
	enum again_label label = failure_of(r, a), why_not;
	uint64_t ms = a->retry_after_ms;

	if (a->why == NULL && a->status == 0)
		return hedge_again(r, call);
	if (label == AGAIN_NONE)
		return no(AGAIN_NONE);
	why_not = forbidden(f, call, t, a);
	if (why_not != AGAIN_NONE)
		return no(why_not);
	if (!c->heed)
		ms = 0;
	if (ms > c->backoff.max_ns / CLOCK_MS)
		return no(AGAIN_RETRY_AFTER);
	if (ms == 0)
		ms = backoff_ms(&c->backoff, t->retries,
				mix(now_ns ^ atomic_fetch_add(&r->draws, 1) << 40));
	if (is_past(call->deadline_ns, now_ns + ms * CLOCK_MS) ||
	    is_past(t->gone_ns, now_ns + ms * CLOCK_MS) ||
	    (c->within_ns != 0 && is_past(t->start_ns + c->within_ns, now_ns + ms * CLOCK_MS)))
		return no(AGAIN_NO_TIME);
	if (c->budget_ppm < WHOLE_PPM && !budget_take(&r->ledger->retries, &r->retry_rule, now_ns))
		return no(AGAIN_NO_BUDGET);
	t->retries++;
	return (struct again){ .yes = true, .ms = ms, .elsewhere = c->elsewhere, .label = label };
}

/* How long the first try was waited for, whichever answered in the end.  A failure can be quick:
 * then it says nothing. */
static void retry_respond(const struct filter *f, struct call *call, void *mem, struct head *h)
{
	const struct retry_conf *c = f->conf;
	const struct tries *t = mem;
	struct quantile *q = pace_of(f->state, call);
	uint64_t ns = call->env->now_ns - t->paced_ns;
	uint16_t status = call_judges(call, h);
	bool failure = status == 429 || status >= 500;

	if (t->paced_ns != 0 && t->retries == 0 && c->hedge.after.percent != 0 &&
	    (!failure || ns > quantile_ns(q)))
		quantile_add(q, c->hedge.after.percent * PPM_OF_PERCENT, ns);
}

const struct filter_ops retry_ops = {
	.name = "retry",
	.schema = &retry_schema,
	.mem_size = sizeof(struct tries),
	.open = retry_open,
	.close = retry_close,
	.admit = retry_admit,
	.attempt = retry_attempt,
	.again = retry_again,
	.respond = retry_respond,
};
