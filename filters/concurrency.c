/* concurrency.c - the filter behind `concurrency`.
 *
 * admit takes a slot and done gives it back, however the call ends (F7); so a streamed answer holds
 * it to its last byte.  With a queue, a call that finds none free waits for one.  Slots and lines
 * are in slots.c, what `auto` learns in gradient.c; what all replicas count together (`store: redis`) in
 * concurrency_shared.c.
 *
 * auto learns from the time between a call's slot and its answer's head: how long a body then takes
 * is its reader's affair.  Only what says something of the upstream's pace counts: answers to a
 * first try, not refusals (429) nor failures (5xx), which can be quick; and time-outs.  Requests
 * with a long body, or one of unknown length, take as long as their senders do. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "conf/value.h"
#include "filters/concurrency_internal.h"
#include "filters/limit_fields.h"
#include "filters/stats.h"

enum {
	CAP_MAX = 1000000,
	AUTO_MIN = 4,
	AUTO_MAX = 256,
	URGENCY_DEFAULT = 3,
	SHORT_BODY_BYTES = 64 * 1024,
};

/* Of one that waits; in its arena. */
struct queued {
	struct waiter waiter; /* first; and first in that, struct woken and struct wait */
	const struct filter *filter;
	const struct call *call;
};

/*----------------------------------------------------------- configuration */

static struct diag *find_fault(struct conf_load *load, const struct node *map, const char *key,
			       const char *code, const char *text)
{
	const struct node *n = node_get(map, key);
	struct diag *d = diag_error(load->diags, n == NULL ? map->at : n->at, code, "%s", text);

	d->path = arena_printf(load->arena, "%s.%s", load->path, key);
	return d;
}

static bool check_auto(struct conf_load *load, const struct node *map, struct concurrency_conf *c)
{
	if (c->cap.kind != CAP_AUTO) {
		const char *given = c->min != 0 ? "min" : c->max != 0 ? "max" : NULL;

		if (given != NULL)
			diag_warning(load->diags, node_get(map, given)->at, "W107",
				     "`%s` means nothing without `concurrency: auto`", given);
		return true;
	}
	c->max = c->max != 0 ? c->max : c->min > AUTO_MAX ? c->min : AUTO_MAX;
	c->min = c->min != 0 ? c->min : c->max < AUTO_MIN ? c->max : AUTO_MIN;
	if (c->key.n > 0) {
		find_fault(load, map, "key", "E019",
			   "`concurrency: auto` learns one limit, and cannot have a key");
		return false;
	}
	if (c->min <= c->max)
		return true;
	find_fault(load, map, "min", "E019", "`min` is above `max`");
	return false;
}

static bool concurrency_check(struct conf_load *load, const struct node *map, void *conf)
{
	struct concurrency_conf *c = conf;
	bool ok = check_auto(load, map, c);

	ok = scope_check_missing(load, map, &c->key, &c->missing) && ok;
	scope_warn(load, map, &c->key, c->missing);
	ok = sharing_check(load, map, &c->sharing) && ok;
	if (c->sharing.store == STORE_REDIS && c->cap.kind == CAP_AUTO) {
		find_fault(
		    load, map, "store", "E019",
		    "`concurrency: auto` learns the limit of one replica: with `store: redis` it "
		    "is a number");
		ok = false;
	}
	if (c->pool != NULL &&
	    (c->queue.size > 0 || c->cap.kind == CAP_AUTO || c->sharing.store == STORE_REDIS)) {
		find_fault(load, map, "pool", "E019",
			   "policies of a `pool` have no `queue`, no `concurrency: auto` and no "
			   "`store: redis`");
		ok = false;
	}
	if (c->queue.priority.n > 1) {
		find_fault(load, map, "queue", "E019", "`priority` is one value, not several");
		ok = false;
	}
	return scope_check_overrides(load, map, &c->key, &c->overrides,
				     sizeof(struct concurrency_override)) &&
	       ok;
}

static bool override_check(struct conf_load *load, const struct node *map, void *conf)
{
	const struct concurrency_override *o = conf;

	if (o->cap.kind != CAP_AUTO)
		return true;
	find_fault(load, map, "concurrency", "E019", "an override is a number or `unlimited`");
	return false;
}

static const struct {
	const char *word;
	enum cap_kind kind;
} cap_words[] = { { "auto", CAP_AUTO }, { "unlimited", CAP_UNLIMITED } };

static bool cap_parse(struct conf_load *load, const struct node *node, void *dst)
{
	struct cap_conf *cap = dst;

	*cap = (struct cap_conf){ .kind = CAP_NUMBER };
	for (size_t i = 0; node->kind == NODE_SCALAR && i < 2; i++) {
		if (!slice_is(node->text, cap_words[i].word))
			continue;
		cap->kind = cap_words[i].kind;
		return true;
	}
	if (node->kind != NODE_SCALAR || value_u32(node->text, &cap->number) != NULL) {
		diag_error(load->diags, node->at, "E015",
			   "`concurrency`: it is a number, auto or unlimited");
		return false;
	}
	if (cap->number >= 1 && cap->number <= CAP_MAX)
		return true;
	diag_error(load->diags, node->at, "E016", "`concurrency` is between 1 and %d", CAP_MAX);
	return false;
}

static void cap_dump(const void *src, struct buf *out)
{
	const struct cap_conf *cap = src;

	if (cap->kind == CAP_NUMBER)
		buf_u64(out, cap->number);
	else
		buf_puts(out, cap_words[cap->kind == CAP_UNLIMITED].word);
}

#define CAP_SCHEMA(words)                                          \
	"{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,"         \
	"\"maximum\":1000000},{\"type\":\"string\",\"pattern\":\"" \
	"^(" words ")$|^[0-9]+$|[$][{]\"}]}"

static const struct custom_ops cap_custom = {
	.parse = cap_parse,
	.dump = cap_dump,
	.json_schema = CAP_SCHEMA("auto|unlimited"),
	.what = "a number from 1 to 1000000, `auto` or `unlimited`",
};

static const struct custom_ops override_cap_custom = {
	.parse = cap_parse,
	.dump = cap_dump,
	.json_schema = CAP_SCHEMA("unlimited"),
	.what = "a number from 1 to 1000000, or `unlimited`",
};

#define AT(member) offsetof(struct concurrency_override, member)
static const struct field override_fields[] = {
	{ .key = "match",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = AT(match),
	  .doc = "A network or address, if the key has client.ip; else a value of the key." },
	{ .key = "concurrency",
	  .type = C_CUSTOM,
	  .flags = C_REQUIRED,
	  .offset = AT(cap),
	  .custom = &override_cap_custom,
	  .doc = "How many calls of each of these keys may be under way." },
	{ .key = NULL },
};
#undef AT

static const struct schema override_schema = {
	.name = "concurrency override",
	.size = sizeof(struct concurrency_override),
	.fields = override_fields,
	.check = override_check,
};

static const char *const order_names[] = {
	[QUEUE_FIFO] = "fifo",
	[QUEUE_LIFO] = "lifo",
	NULL,
};

#define AT(member) offsetof(struct queue_conf, member)
static const struct field queue_fields[] = {
	{ .key = "size",
	  .type = C_U32,
	  .flags = C_REQUIRED,
	  .offset = AT(size),
	  .min = 1,
	  .max = 1000000,
	  .doc = "How many calls may wait, of each key where there is one. When one more comes, "
		 "the one that would be served last is refused." },
	{ .key = "wait",
	  .type = C_DURATION,
	  .offset = AT(wait_ns),
	  .dflt = "1s",
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "How long a call may wait before it is refused." },
	{ .key = "order",
	  .type = C_ENUM,
	  .offset = AT(order),
	  .dflt = "fifo",
	  .names = order_names,
	  .doc =
	      "Who is next: the one that came first, or last. Under overload the newest have the "
	      "best chance that somebody still waits for the answer." },
	{ .key = "priority",
	  .type = C_CUSTOM,
	  .offset = AT(priority),
	  .custom = &key_custom,
	  .doc = "Where a call says how urgent it is, as header.priority: `u=0` (first) to `u=7` "
		 "(RFC 9218), or the digit alone; 3 when it does not say. The more urgent are "
		 "served first, whatever the order." },
	{ .key = NULL },
};
#undef AT

static const struct schema queue_schema = {
	.name = "queue",
	.size = sizeof(struct queue_conf),
	.fields = queue_fields,
	.scalar = "size",
};

#define AT(member) offsetof(struct concurrency_conf, member)
static const struct field concurrency_fields[] = {
	{ .key = "concurrency",
	  .type = C_CUSTOM,
	  .flags = C_REQUIRED,
	  .offset = AT(cap),
	  .custom = &cap_custom,
	  .doc = "How many calls may be under way at once, from their admission to the last byte "
		 "of their answers; beyond it 503, or 429 with a key. `auto` learns it from how "
		 "long answers take to begin." },
	{ .key = "min",
	  .type = C_U32,
	  .offset = AT(min),
	  .min = 1,
	  .max = CAP_MAX,
	  .doc = "The least that auto allows; 4 when not given." },
	{ .key = "max",
	  .type = C_U32,
	  .offset = AT(max),
	  .min = 1,
	  .max = CAP_MAX,
	  .doc = "The most that auto allows; 256 when not given." },
	{ .key = "key",
	  .type = C_CUSTOM,
	  .offset = AT(key),
	  .custom = &key_custom,
	  .doc = "What is counted by itself: client.ip[/v4/v6] header.NAME query.NAME cookie.NAME "
		 "jwt.CLAIM api_key tls.san host path method route upstream value.NAME const.x, or "
		 "a list of "
		 "them; without one, all calls are counted together." },
	{ .key = "missing",
	  .type = C_ENUM,
	  .offset = AT(missing),
	  .dflt = "share",
	  .names = missing_names,
	  .doc = "Calls that lack the key are counted together, skip the policy, or are denied "
		 "(403). challenge: a call that proves nothing is answered with 401 first; it is "
		 "the default where the key has jwt.CLAIM or api_key in it." },
	{ .key = "overrides",
	  .type = C_LIST,
	  .offset = AT(overrides),
	  .sub = &override_schema,
	  .doc = "Other limits for some keys; the first match wins." },
	{ .key = "max_keys",
	  .type = C_U32,
	  .offset = AT(max_keys),
	  .dflt = "100000",
	  .min = 1,
	  .max = 10000000,
	  .doc = "How many keys may have calls under way at once; 64 bytes each. Calls of one more "
		 "are refused. With `store: redis` up to 500 bytes each." },
	{ .key = "pool",
	  .type = C_STRING,
	  .offset = AT(pool),
	  .min = 1,
	  .max = 64,
	  .doc = "A name: policies with the same `pool` and `key` count the same calls, each up to "
		 "its own limit. Not given: the policy counts by itself." },
	{ .key = "queue",
	  .type = C_MAP,
	  .offset = AT(queue),
	  .sub = &queue_schema,
	  .doc = "Calls beyond the limit wait here; none do when it is not given." },
	SHARING_STORE_FIELD(struct concurrency_conf),
	SHARING_ASK_FIELDS(struct concurrency_conf),
	POLICY_STATUS_FIELD(struct concurrency_conf),
	POLICY_FIELDS(struct concurrency_conf),
	{ .key = NULL },
};
#undef AT

const struct schema concurrency_schema = {
	.name = "concurrency policy",
	.size = sizeof(struct concurrency_conf),
	.fields = concurrency_fields,
	.check = concurrency_check,
};

/*---------------------------------------------------------- open and close */

static uint32_t cap_number(const struct cap_conf *cap)
{
	return cap->kind == CAP_NUMBER ? cap->number : SLOTS_UNLIMITED;
}

static struct slots_rule rule_of(const struct concurrency_conf *c)
{
	return (struct slots_rule){
		.cap = cap_number(&c->cap),
		.adapts = c->cap.kind == CAP_AUTO,
		.gradient = { .min = c->min, .max = c->max },
		.queue_size = c->queue.size,
		.newest_first = c->queue.order == QUEUE_LIFO,
		.keys = c->key.n == 0 ? 0 : c->max_keys,
	};
}

static void limiter_free(struct limiter *l)
{
	if (l->sharing != NULL)
		concurrency_shared_close(l);
	slots_close(l->registry, l->slots);
	free(l);
}

static bool open_slots(const struct filter *f, struct limiter *l)
{
	const struct concurrency_conf *c = f->conf;
	struct table_id id = { .policy = c->pool != NULL ? c->pool : f->name,
			       .kind = c->pool != NULL ? "pool" : f->ops->name,
			       .key = c->key.text == NULL ? "" : c->key.text,
			       .store = "local" };

	l->slots = slots_open(l->registry, &id, &l->rule);
	return l->slots != NULL;
}

static struct limiter *limiter_new(const struct filter *f, struct table_registry *registry)
{
	const struct concurrency_conf *c = f->conf;
	const struct concurrency_override *o = c->overrides.item;
	struct limiter *l = calloc(1, sizeof(*l) + c->overrides.n * sizeof(l->override[0]));

	if (l == NULL)
		return NULL;
	l->registry = registry;
	l->rule = rule_of(c);
	l->n_overrides = c->overrides.n;
	for (uint32_t i = 0; i < l->n_overrides; i++) {
		scope_match_init(&l->override[i].match, &c->key, o[i].match);
		l->override[i].cap = cap_number(&o[i].cap);
	}
	if (c->sharing.store == STORE_REDIS && table_registry_sharing(registry)->limits != NULL)
		l->sharing = table_registry_sharing(registry);
	if ((c->queue.size == 0 || filter_stats_open_waits(f->stats)) &&
	    (l->sharing != NULL || open_slots(f, l)))
		return l;
	free(l);
	return NULL;
}

static bool concurrency_open(struct filter *f, struct table_registry *registry, struct diags *diags,
			     struct place at)
{
	struct limiter *l = limiter_new(f, registry);

	f->pool = ((const struct concurrency_conf *)f->conf)->pool;
	if (l == NULL) {
		diag_error(diags, at, "E099", "out of memory for policy `%s`", f->name);
		return false;
	}
	if (l->sharing != NULL && !concurrency_shared_open(f, l, diags, at)) {
		limiter_free(l);
		return false;
	}
	f->state = l;
	return true;
}

static void concurrency_close(struct filter *f)
{
	limiter_free(f->state);
	f->state = NULL;
}

/*--------------------------------------------------------------- decisions */

static uint32_t choose_cap(void *ctx, uint64_t key, const struct ip *client)
{
	const struct limiter *l = ctx;

	for (uint32_t i = 0; i < l->n_overrides; i++)
		if (scope_matches(&l->override[i].match, client, key))
			return l->override[i].cap;
	return l->rule.cap;
}

static void concurrency_in_force(const struct filter *f, const struct env *env)
{
	struct limiter *l = f->state;

	if (l->sharing != NULL)
		concurrency_shared_enforce(f);
	else
		slots_enforce(l->slots, &l->rule, env, choose_cap, l);
}

/* PASS: what to ask the slots; else the verdict. */
static struct verdict make_ask(const struct filter *f, const struct call *call,
			       struct slots_ask *ask)
{
	const struct concurrency_conf *c = f->conf;
	struct limiter *l = f->state;
	struct verdict v = verdict_pass();

	*ask = (struct slots_ask){ .env = call->env,
				   .serial = l->rule.serial,
				   .cap = l->rule.cap,
				   .pooled = c->pool != NULL };
	if (c->key.n > 0)
		v = scope_find(&c->key, c->missing, call, &ask->key);
	if (v.kind == V_PASS && l->n_overrides > 0)
		ask->cap = choose_cap(l, ask->key, &call->client);
	return v;
}

struct verdict concurrency_refusal(const struct filter *f, uint64_t ms)
{
	const struct concurrency_conf *c = f->conf;

	return verdict_deny(c->key.n > 0 ? reason_concurrency_limited : reason_concurrency_full,
			    ms);
}

uint8_t concurrency_urgency_of(const struct filter *f, const struct call *call)
{
	const struct concurrency_conf *c = f->conf;
	char scratch[KEY_SCRATCH_BYTES];
	struct slice value;

	if (c->queue.priority.n == 0 || !key_value(&c->queue.priority, call, scratch, &value))
		return URGENCY_DEFAULT;
	return concurrency_urgency(value);
}

static void count_wait(const struct queued *q)
{
	const struct env *env = q->call->env;
	uint64_t since_ns = q->waiter.since_ns;

	filter_stats_wait(q->filter->stats, env->worker,
			  env->now_ns > since_ns ? env->now_ns - since_ns : 0);
}

static void on_settle(struct woken *k)
{
	count_wait((const struct queued *)(const void *)k);
}

static void on_leave(struct wait *w)
{
	struct queued *q = (struct queued *)(void *)w;
	const struct limiter *l = q->filter->state;

	count_wait(q);
	slots_leave(l->slots, q->call->env, &q->waiter);
}

static struct verdict line_up(const struct filter *f, struct call *call, struct holder *h,
			      const struct slots_ask *ask)
{
	const struct concurrency_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct queued *q = arena_zalloc(call->arena, sizeof(*q));
	struct verdict late = concurrency_refusal(f, h->retry_ms);
	enum slots_answer answer;

	if (q == NULL)
		return late;
	q->filter = f;
	q->call = call;
	q->waiter.woken.on_settle = on_settle;
	q->waiter.slot = &h->slot;
	q->waiter.client = call->client;
	q->waiter.urgency = concurrency_urgency_of(f, call);
	q->waiter.worker = (uint8_t)call->env->worker;
	/* before another worker can let it in */
	wait_begin(&q->waiter.woken.wait, call, on_leave, late);
	answer = slots_wait(l->slots, ask, &q->waiter);
	if (answer == SLOTS_QUEUED)
		return verdict_pending((c->queue.wait_ns + CLOCK_MS - 1) / CLOCK_MS);
	wait_cancel(&q->waiter.woken.wait);
	return answer == SLOTS_TAKEN ? verdict_pass() : late;
}

static void fill_limit(const struct filter *f, const struct slots_ask *ask,
		       const struct slots_view *view, struct limit_info *out)
{
	*out = (struct limit_info){
		.policy = f->name,
		.key_hash = ask->key,
		.limit = view->cap,
		.remaining = view->cap > view->in_use ? view->cap - view->in_use : 0,
		.reset_ms = view->wait_ms,
	};
}

/* PASS: whom a call is counted with, by all replicas; no policy: it is unlimited. */
static struct verdict find_scoped(const struct filter *f, const struct call *call, struct scoped *s)
{
	const struct limiter *l = f->state;
	struct slots_ask ask;
	struct verdict v = make_ask(f, call, &ask);

	*s = (struct scoped){ .key = ask.key, .cap = ask.cap, .shared = l->shared };
	for (uint32_t i = 0; v.kind == V_PASS && i < l->n_overrides; i++) {
		if (!scope_matches(&l->override[i].match, &call->client, ask.key))
			continue;
		s->shared = l->override[i].shared;
		break;
	}
	return v;
}

static struct verdict admit_shared(const struct filter *f, struct call *call, struct holder *h)
{
	struct scoped s;
	struct verdict v = find_scoped(f, call, &s);

	call->out.limit.policy = v.kind == V_DENY ? f->name : NULL;
	return v.kind != V_PASS || s.shared == NULL ? v : concurrency_shared_take(f, call, h, &s);
}

static struct verdict look_shared(const struct filter *f, const struct call *call,
				  struct limit_info *out)
{
	struct scoped s;
	struct verdict v = find_scoped(f, call, &s);

	out->policy = NULL;
	return v.kind != V_PASS || s.shared == NULL ? v : concurrency_shared_look(f, call, &s, out);
}

static struct verdict concurrency_admit(const struct filter *f, struct call *call, void *mem)
{
	struct limiter *l = f->state;
	struct holder *h = mem;
	struct slots_view view;
	struct slots_ask ask;
	struct verdict v;

	if (l->sharing != NULL)
		return admit_shared(f, call, h);
	v = make_ask(f, call, &ask);
	if (v.kind != V_PASS) {
		call->out.limit.policy = v.kind == V_DENY ? f->name : NULL;
		return v;
	}
	if (!slots_is_in_force(l->slots, l->rule.serial))
		concurrency_in_force(f, call->env);
	if (!slots_take(l->slots, &ask, &h->slot, &view)) {
		h->retry_ms = view.wait_ms;
		h->cap = view.cap;
		h->refused = true;
		v = l->rule.queue_size > 0 && !f->shadow ? line_up(f, call, h, &ask)
							 : concurrency_refusal(f, view.wait_ms);
	}
	fill_limit(f, &ask, &view, &call->out.limit);
	return v;
}

static bool concurrency_look(const struct filter *f, const struct call *call,
			     struct limit_info *out)
{
	struct limiter *l = f->state;
	struct slots_view view;
	struct slots_ask ask;

	if (l->sharing != NULL) {
		(void)look_shared(f, call, out);
		return out->policy != NULL;
	}
	if (make_ask(f, call, &ask).kind != V_PASS)
		return false;
	slots_peek(l->slots, &ask, &view);
	fill_limit(f, &ask, &view, out);
	return view.cap != SLOTS_UNLIMITED;
}

static const struct key_spec *concurrency_key(const struct filter *f)
{
	const struct concurrency_conf *c = f->conf;

	return &c->key;
}

static bool concurrency_is_shared(const struct filter *f)
{
	return ((const struct limiter *)f->state)->sharing != NULL;
}

static bool concurrency_look_key(const struct filter *f, const struct filter_key *k,
				 struct limit_info *out)
{
	struct limiter *l = f->state;
	struct slots_view view;
	struct slots_ask ask = { .env = k->env, .serial = l->rule.serial, .cap = l->rule.cap };

	if (l->sharing != NULL)
		return false;
	ask.key = k->key;
	if (l->n_overrides > 0)
		ask.cap = choose_cap(l, k->key, &k->client);
	slots_peek(l->slots, &ask, &view);
	fill_limit(f, &ask, &view, out);
	return view.cap != SLOTS_UNLIMITED;
}

static struct verdict concurrency_peek(const struct filter *f, const struct call *call)
{
	struct limiter *l = f->state;
	struct slots_view view;
	struct slots_ask ask;
	struct limit_info limit;
	struct verdict v;

	if (l->sharing != NULL)
		return look_shared(f, call, &limit);
	v = make_ask(f, call, &ask);
	if (v.kind != V_PASS || slots_peek(l->slots, &ask, &view) || view.queue)
		return v;
	return concurrency_refusal(f, view.wait_ms);
}

static void concurrency_done(const struct filter *f, struct call *call, void *mem)
{
	const struct limiter *l = f->state;
	struct holder *h = mem;

	if (l->sharing != NULL)
		concurrency_shared_give(call, h);
	else
		slots_give(l->slots, call->env, &h->slot);
}

/*--------------------------------------------------------- what answers tell */

/* With a key it is a quota of that client's, and said in its terms (quota unit of the draft);
 * without one, how full the house is, which is nobody's quota. */
static void tell_refused(const struct filter *f, struct call *call, const struct holder *h,
			 struct head *head)
{
	if (f->shadow || call->out.why != reason_concurrency_limited)
		return;
	limit_fields_add(call, head,
			 &(struct limit_view){
			     .policy = f->name,
			     .quota = h->cap,
			     .unit = "concurrent-requests",
			     .reset_s = (h->retry_ms + 999) / 1000,
			 });
}

static bool tells_pace(const struct call *call, uint16_t status)
{
	const struct head *req = call->req;

	if (call->out.why != reason_ok)
		return call->out.why != NULL && call->out.why->status == 504;
	if (req->body != BODY_NONE && (req->body != BODY_LENGTH || req->length > SHORT_BODY_BYTES))
		return false;
	return call->out.attempts == 1 && status < 500 && status != 429;
}

static void concurrency_respond(const struct filter *f, struct call *call, void *mem,
				struct head *head)
{
	const struct limiter *l = f->state;
	const struct holder *h = mem;
	uint64_t now_ns = call->env->now_ns;

	if (h->refused && h->slot.gate == NULL && h->permit == NULL)
		tell_refused(f, call, h, head);
	else if (h->slot.gate != NULL && l->rule.adapts && tells_pace(call, head->status))
		slots_sample(l->slots, call->env, &h->slot,
			     now_ns > h->slot.started_ns ? now_ns - h->slot.started_ns : 0);
}

static void concurrency_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	const struct limiter *l = f->state;
	struct slots_sum sum;
	struct filter_sample sample[] = {
		{ .metric = SHOW_CONCURRENCY },
		{ .metric = SHOW_QUEUE_LENGTH },
		{ .metric = SHOW_CONCURRENCY_LIMIT },
		{ .metric = SHOW_KEYS },
	};

	if (l->sharing != NULL) {
		concurrency_shared_show(f, emit, ctx);
		return;
	}
	slots_sum(l->slots, &sum);
	sample[0].value = sum.in_use;
	sample[1].value = sum.waiting;
	sample[2].value = l->rule.adapts ? sum.cap : l->rule.cap;
	sample[3].value = sum.keys;
	emit(ctx, &sample[0]);
	emit(ctx, &sample[1]);
	if (l->rule.adapts || l->rule.cap != SLOTS_UNLIMITED)
		emit(ctx, &sample[2]);
	if (l->rule.keys > 0)
		emit(ctx, &sample[3]);
}

/*---------------------------------------------------------------- priority */

/* One digit, and nothing but parameters behind it. */
static bool read_digit(struct slice s, uint8_t *out)
{
	if (s.n == 0 || s.p[0] < '0' || s.p[0] >= '0' + SLOTS_URGENCIES ||
	    (s.n > 1 && s.p[1] != ';' && s.p[1] != ' '))
		return false;
	*out = (uint8_t)(s.p[0] - '0');
	return true;
}

uint8_t concurrency_urgency(struct slice value)
{
	uint8_t urgency = URGENCY_DEFAULT;
	struct slice rest = slice_trim(value);

	if (read_digit(rest, &urgency))
		return urgency;
	while (rest.n > 0) {
		struct slice member = slice_trim(slice_cut(&rest, ','));

		/* of a member that comes twice, the last counts (RFC 8941 section 3.2) */
		if (member.n > 2 && member.p[0] == 'u' && member.p[1] == '=')
			(void)read_digit(slice_of(member.p + 2, member.n - 2), &urgency);
	}
	return urgency;
}

const struct filter_ops concurrency_ops = {
	.name = "concurrency",
	.family = FAMILY_CONCURRENCY,
	.schema = &concurrency_schema,
	.mem_size = sizeof(struct holder),
	.refusals = { REASON_concurrency_limited, REASON_concurrency_full, REASON_missing_key,
		      REASON_store_unavailable },
	.open = concurrency_open,
	.close = concurrency_close,
	.in_force = concurrency_in_force,
	.admit = concurrency_admit,
	.peek = concurrency_peek,
	.look = concurrency_look,
	.key = concurrency_key,
	.look_key = concurrency_look_key,
	.is_shared = concurrency_is_shared,
	.respond = concurrency_respond,
	.done = concurrency_done,
	.show = concurrency_show,
};
