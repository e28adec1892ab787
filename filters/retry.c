/* retry.c - the filter behind `retry`.  The budget's arithmetic is in budget.c; the tries are made
 * by whoever asks. */
#include "filters/retry.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/budget.h"
#include "filters/state.h"

enum {
	RETRIES_MAX = 10,
	RESERVE_PER_S = 3,
	STATUS_FIRST = 400,
	STATUS_LAST = 599,
};

/* What `when` may name. */
enum failure { CONNECT, RESET, TIMEOUT, FAILURES };

struct when_row {
	const char *name;
	uint8_t failures;     /* bit: enum failure */
	uint16_t first, last; /* statuses; 0: none */
};

static const struct when_row when_rows[] = {
	{ "connect", 1 << CONNECT, 0, 0 },
	{ "reset", 1 << RESET, 0, 0 },
	{ "timeout", 1 << TIMEOUT, 0, 0 },
	{ "5xx", 0, 500, 599 },
	{ "408", 0, 408, 408 },
	{ "425", 0, 425, 425 },
	{ "429", 0, 429, 429 },
	{ "500", 0, 500, 500 },
	{ "502", 0, 502, 502 },
	{ "503", 0, 503, 503 },
	{ "504", 0, 504, 504 },
};

enum { WHEN_ROWS = sizeof(when_rows) / sizeof(when_rows[0]) };

static const char *const when_names[] = { "connect", "reset", "timeout", "5xx", "408", "425",
					  "429",     "500",   "502",     "503", "504", NULL };
static const char *const method_choice[] = { "GET",     "HEAD",  "POST",  "PUT", "DELETE",
					     "OPTIONS", "TRACE", "PATCH", NULL };

/* filter->state */
struct retrier {
	struct table_registry *registry;
	struct budget *budget;
	struct budget_rule rule;
	uint8_t failures; /* bit: enum failure */
	bool status[STATUS_LAST - STATUS_FIRST + 1];
	uint32_t methods; /* bit: method_id */
	_Atomic uint64_t draws;
};

/* Of one call. */
struct tries {
	uint32_t retries;
};

/*----------------------------------------------------------- configuration */

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
	  .min = CLOCK_MS,
	  .max = 60 * CLOCK_S,
	  .doc = "The longest wait before the first retry; it doubles with each one more." },
	{ .key = "max",
	  .type = C_DURATION,
	  .offset = AT(max_ns),
	  .dflt = "250ms",
	  .min = CLOCK_MS,
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

#define AT(member) offsetof(struct retry_conf, member)
static const struct field retry_fields[] = {
	{ .key = "retry",
	  .type = C_U32,
	  .flags = C_REQUIRED,
	  .offset = AT(retries),
	  .min = 1,
	  .max = RETRIES_MAX,
	  .doc = "How many more tries after the first." },
	{ .key = "when",
	  .type = C_LIST,
	  .item = C_STRING,
	  .offset = AT(when),
	  .names = when_names,
	  .doc =
	      "What is tried again: connect, reset, timeout, 5xx, or one status. Only connect when "
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
	      "besides. A client's own retries count." },
	{ .key = "per_try",
	  .type = C_DURATION,
	  .offset = AT(per_try_ns),
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "How long one try may take until its answer begins; no bound when not given." },
	{ .key = "body",
	  .type = C_BYTES,
	  .offset = AT(body),
	  .dflt = "64KiB",
	  .max = 16 * 1024 * 1024,
	  .doc = "How much of a request's body is kept for another try; a call with more is not "
		 "tried again." },
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

/*---------------------------------------------------------- open and close */

static void *make_budget(void)
{
	struct budget *b = aligned_alloc(64, sizeof(*b));

	if (b != NULL && !budget_init(b)) {
		free(b);
		return NULL;
	}
	return b;
}

static void destroy_budget(void *object)
{
	budget_fini(object);
	free(object);
}

static const struct state_kind budget_kind = { .make = make_budget, .destroy = destroy_budget };

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
		r->failures = 1 << CONNECT;
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
		r->budget = state_get(registry, &id, &budget_kind);
	}
	if (r == NULL || r->budget == NULL) {
		diag_error(diags, at, "E099", "out of memory for the policy `%s`", f->name);
		free(r);
		return false;
	}
	budget_rule_init(&r->rule, c->budget_ppm, RESERVE_PER_S);
	take_when(r, &c->when);
	take_methods(r, &c->methods);
	f->state = r;
	return true;
}

static void retry_close(struct filter *f)
{
	struct retrier *r = f->state;

	state_put(r->registry, r->budget);
	free(r);
	f->state = NULL;
}

/*--------------------------------------------------------------- decisions */

static bool number_at_least(const struct head *h, struct slice name, uint64_t least)
{
	const struct header *f = head_find_name(h, name);
	uint64_t n = 0;

	if (f == NULL || f->value.n == 0 || f->value.n > 9)
		return false;
	for (size_t i = 0; i < f->value.n; i++) {
		if (f->value.p[i] < '0' || f->value.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(f->value.p[i] - '0');
	}
	return n >= least;
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
		if (number_at_least(h, rows[i].name, rows[i].least))
			return true;
	return false;
}

static bool method_allows(const struct retrier *r, const struct call *call)
{
	return r->methods >> call->req->method_id & 1;
}

static struct verdict retry_admit(const struct filter *f, struct call *call, void *mem)
{
	const struct retry_conf *c = f->conf;
	struct retrier *r = f->state;

	(void)mem;
	if (is_clients_retry(call->req))
		budget_charge(r->budget, call->env->now_ns);
	else
		budget_call(r->budget, call->env->worker, call->env->now_ns);
	if (method_allows(r, call) && call->keep_body < c->body)
		call->keep_body = c->body;
	return verdict_pass();
}

static struct verdict retry_attempt(const struct filter *f, struct call *call, void *mem,
				    struct attempt *a)
{
	const struct retry_conf *c = f->conf;
	uint64_t deadline_ns = call->env->now_ns + c->per_try_ns;

	(void)mem;
	if (c->per_try_ns != 0 && (a->deadline_ns == 0 || deadline_ns < a->deadline_ns))
		a->deadline_ns = deadline_ns;
	return verdict_skip();
}

static bool is_timeout(const struct reason *why)
{
	return why == reason_first_byte_timeout || why == reason_try_timeout ||
	       why == reason_idle_timeout || why == reason_connect_timeout;
}

/* What the policy calls this end of a try. */
static enum again_label failure_of(const struct retrier *r, const struct attempt *a)
{
	if (a->why == NULL)
		return a->status >= STATUS_FIRST && a->status <= STATUS_LAST &&
			       r->status[a->status - STATUS_FIRST]
			   ? AGAIN_STATUS
			   : AGAIN_NONE;
	if ((a->why == reason_connect_failed || a->why == reason_connect_timeout) &&
	    (r->failures & 1 << CONNECT))
		return AGAIN_CONNECT;
	if ((a->why == reason_upstream_reset || a->why == reason_upstream_stale) &&
	    (r->failures & 1 << RESET))
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
	return call->resendable ? AGAIN_NONE : AGAIN_NO_BODY;
}

static struct again no(enum again_label label)
{
	return (struct again){ .yes = false, .label = label };
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

	if (label == AGAIN_NONE)
		return no(AGAIN_NONE);
	why_not = forbidden(f, call, t, a);
	if (why_not != AGAIN_NONE)
		return no(why_not);
	if (ms > c->backoff.max_ns / CLOCK_MS)
		return no(AGAIN_RETRY_AFTER);
	if (ms == 0)
		ms = backoff_ms(&c->backoff, t->retries,
				mix(now_ns ^ atomic_fetch_add(&r->draws, 1) << 40));
	if (call->deadline_ns != 0 && now_ns + ms * CLOCK_MS >= call->deadline_ns)
		return no(AGAIN_NO_TIME);
	if (!budget_take(r->budget, &r->rule, now_ns))
		return no(AGAIN_NO_BUDGET);
	t->retries++;
	return (struct again){ .yes = true, .ms = ms, .label = label };
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
};
