/* admission.c - from a request's head to its first try, or to what it is refused for: the states
 * NEW and ADMITTING of exchange.c.
 *
 * The route is found, the chain is asked (and, in its midst, who calls), and when all have let the
 * call in, its head becomes what the upstream is told. */
#include "core/exchange.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "core/action.h"
#include "core/authenticate.h"
#include "core/client_ip.h"
#include "core/event_log.h"
#include "core/grpc.h"
#include "core/reroute.h"
#include "core/route.h"
#include "core/target.h"
#include "core/values.h"

/*---------------------------------------------------------------- what the upstream is told */

/* Tells the upstream of the client, by `how`, and takes note of the ids. */
static bool tell_of_client(struct exchange *x, bool (*how)(struct head *, struct forward_context *))
{
	struct forward_context fc = {
		.conf = &x->use->policy->config->client_ip,
		.peer = &x->conn->peer,
		.scheme = slice_str(x->conn->secure ? "https" : "http"),
		.worker = &x->worker->forward,
		.arena = &x->arena,
		.tracing = x->use->policy->tracing,
		.trace = x->trace,
	};

	if (!how(x->req, &fc))
		return false;
	x->record.request_id = fc.request_id;
	x->record.trace_id = fc.trace_id;
	x->trace = fc.trace;
	return true;
}

static bool forward(struct exchange *x)
{
	struct template_values values;
	struct head *req = x->req;

	req->upgrade = req->upgrade && x->route->conf->upgrade;
	head_strip_hop_by_hop(req, req->upgrade);
	if (!tell_of_client(x, x->route->conf->forwarded ? forward_prepare : forward_take_note) ||
	    !authenticate_tell(x, req))
		return false;
	if (x->route->n_set == 0 && x->route->conf->client_fields)
		return true;
	exchange_values(x, &values);
	return action_set_fields(x->route, &values, req);
}

void exchange_identify(struct exchange *x)
{
	bool logged = x->use->policy->config->log.fields.n > 0;

	if (logged && x->admitted)
		(void)forward(x);
	else if (x->route == NULL || x->route->conf->forwarded)
		(void)tell_of_client(x, logged ? forward_prepare : forward_identify);
	else
		(void)tell_of_client(x, forward_take_note);
}

/*---------------------------------------------------------------- asking the chain */

void exchange_end_queueing(struct exchange *x)
{
	if (x->queued_since_ns != 0)
		x->record.queued_ns += x->worker->loop.now_ns - x->queued_since_ns;
	x->queued_since_ns = 0;
}

/* A client that came back after a limit's wait would meet the breaker then. */
static uint64_t longest_wait(struct exchange *x, struct verdict v)
{
	uint64_t shut_ms;

	if (!(v.why->flags & R_SHED) || x->route->fallback != NULL || x->cluster == NULL)
		return v.ms;
	shut_ms = leg_shut_ms(x);
	return shut_ms > v.ms ? shut_ms : v.ms;
}

/* Another path or host for the upstream: what goes there is a copy, the call keeps what it has. */
static const struct reason *redirect(struct exchange *x)
{
	struct template_values values;
	struct target target;
	const struct reason *why;

	exchange_values(x, &values);
	why = target_make(x->route, &values, &target);
	x->redirect = why != NULL ? NULL : arena_alloc(&x->arena, sizeof(*x->redirect));
	if (x->redirect == NULL)
		return why != NULL ? why : reason_out_of_memory;
	*x->redirect = target;
	return NULL;
}

/* Pages for errors may send it on as it came. */
static bool keep_plain(struct exchange *x)
{
	if (x->route->pages == NULL || !x->route->pages->hands || x->handed)
		return true;
	x->plain = reroute_copy(x->req, &x->arena);
	return x->plain != NULL;
}

static void begin_tries(struct exchange *x)
{
	if (!collect_begin(x))
		leg_start(x, TRY);
}

static void go_up(struct exchange *x)
{
	const struct reason *why = NULL;

	if (x->route->rewrite != NULL)
		why = redirect(x);
	if (why == NULL && !(keep_plain(x) && forward(x) && collect_own(x)))
		why = reason_out_of_memory;
	if (why == NULL)
		begin_tries(x);
	else
		exchange_reply(x, why, why == reason_out_of_memory ? 1000 : 0);
}

void exchange_go_on(struct exchange *x)
{
	if (x->route->respond != NULL)
		exchange_respond(x);
	else
		go_up(x);
}

/* What the chain answered when it was last asked; `asked` to the end if it was PASS. */
static void on_answer_of_chain(struct exchange *x, struct verdict v)
{
	switch (v.kind) {
	case V_DENY:
		exchange_reply(x, v.why, longest_wait(x, v));
		return;
	case V_DELAY:
	case V_PENDING:
		x->queued_since_ns = x->worker->loop.now_ns;
		exchange_set_deadline(x, v.kind == V_DELAY ? v.ns : v.ms * CLOCK_MS);
		return;
	default:
		break;
	}
	exchange_go_on(x);
}

static void admit(struct exchange *x)
{
	exchange_end_queueing(x);
	on_answer_of_chain(x, chain_admit(exchange_call(x)));
}

/* What one filter answered after a wait: the others are still to be asked. */
static void on_verdict(struct exchange *x, struct verdict v)
{
	if (v.kind == V_PASS)
		admit(x);
	else
		on_answer_of_chain(x, v);
}

static void on_resume(struct call *call, struct verdict v)
{
	struct exchange *x = LIST_ENTRY(call, struct exchange, call);

	CHECK_MAGIC(x, EXCHANGE_MAGIC);
	exchange_call(x);
	on_verdict(x, v);
}

static const struct reason *on_prove(struct call *call)
{
	return authenticate(LIST_ENTRY(call, struct exchange, call));
}

static bool on_value(const struct call *call, struct slice name, struct slice *out)
{
	struct exchange *x = LIST_ENTRY((struct call *)(uintptr_t)call, struct exchange, call);
	struct template_values values;

	exchange_values(x, &values);
	return values_read(x->use->policy->values, &values, name, out);
}

void exchange_go_on_admitting(struct exchange *x)
{
	if (x->call.wait != NULL)
		on_verdict(x, chain_late(exchange_call(x)));
	else
		admit(x);
}

/*---------------------------------------------------------------- the beginning */

static const struct route *find_route(struct exchange *x, bool *too_hard)
{
	struct slice path = route_path(x->req, policy_slashes(x->use->policy), &x->arena);
	const struct policy *policy = x->use->policy;
	struct template_values values;

	x->call.path = path;
	if (!policy->conditions)
		return route_match(policy, x->req, path, NULL, too_hard);
	exchange_values(x, &values);
	return route_match(policy, x->req, path, &values, too_hard);
}

/* What filters keep of a call is of any type: an arena alone does not align for all of them. */
static void *chain_memory(struct arena *arena, size_t n)
{
	const uintptr_t align = alignof(max_align_t);
	char *p = arena_alloc(arena, n + align);

	return p == NULL ? NULL : p + (-(uintptr_t)p & (align - 1));
}

/* The route's total, or what the client of gRPC gives the call, whichever is shorter. */
static void set_total(struct exchange *x, uint64_t asked_ns)
{
	uint64_t total_ns = x->route->conf->timeout.total_ns;

	x->hurried = asked_ns != UINT64_MAX && (total_ns == 0 || asked_ns < total_ns);
	if (x->hurried)
		total_ns = asked_ns;
	if (total_ns != 0)
		x->call.deadline_ns = x->worker->loop.now_ns + total_ns;
}

static void on_tell(struct call *call, const struct filter *f, struct verdict v, uint64_t excess)
{
	event_limit(LIST_ENTRY(call, struct exchange, call), f, v, excess);
}

static bool begin_call(struct exchange *x, const struct chain *chain, uint64_t asked_ns)
{
	struct worker *w = x->worker;
	struct call *call = &x->call;
	void *mem = chain_memory(&x->arena, chain->mem_size);

	if (mem == NULL)
		return false;
	call->env = &w->env;
	call->req = x->req;
	call->arena = &x->arena;
	call->route = x->route->name;
	call->upstream = x->cluster == NULL ? NULL : x->cluster->name;
	call->resume = on_resume;
	call->prove = x->route->auth.looks != 0 ? on_prove : NULL;
	call->resendable = true;
	set_total(x, asked_ns);
	call->tell = x->route->log.n_events > 0 ? on_tell : NULL;
	chain_begin(chain, call, mem);
	/* HTTP/2 says of calls that it did not look at them: any may go again then */
	if ((method_flags[x->req->method_id] & METHOD_IDEMPOTENT) ||
	    (x->cluster != NULL && x->cluster->conf->http2) ||
	    (x->route->pages != NULL && x->route->pages->hands))
		call->keep_body = REPLAY_MAX_BYTES;
	x->admitted = true;
	x->state = X_ADMITTING;
	return true;
}

bool exchange_begin_free(struct exchange *x)
{
	static const struct chain none = { .n = 0 };

	x->call.deadline_ns = 0;
	if (!begin_call(x, &none, UINT64_MAX))
		return false;
	x->call.prove = NULL;
	return true;
}

/* The call may outlive the connection. */
static bool know_peer(struct exchange *x)
{
	struct slice name = tls_peer_name(x->conn->transport);

	if (name.n == 0)
		return true;
	x->call.tls_san = arena_copy(&x->arena, name);
	return x->call.tls_san.p != NULL;
}

static const struct reason *heed_timeout(const struct head *req, uint64_t *ns)
{
	if (!grpc_timeout(req, ns))
		return reason_bad_field;
	return *ns == 0 ? reason_deadline_exceeded : NULL;
}

/* As it came: what goes upstream is made of the other one.  NULL: memory is out. */
static const struct head *keep_head(struct exchange *x)
{
	struct head *h = arena_alloc(&x->arena, sizeof(*h));
	struct header *fields = arena_alloc(&x->arena, x->req->n * sizeof(*fields) + 1);

	if (h == NULL || fields == NULL)
		return NULL;
	*h = *x->req;
	if (h->n > 0)
		memcpy(fields, h->fields, h->n * sizeof(*fields));
	h->fields = fields;
	h->cap = h->n;
	return h;
}

static uint64_t wait_of(const struct exchange *x, const struct reason *why)
{
	const struct worker *w = x->worker;

	return why == reason_memory_short ? memory_wait_ms(&w->shared->memory, w->loop.now_ns) : 0;
}

void exchange_begin(struct exchange *x)
{
	const struct client_ip_conf *client_ip = &x->use->policy->config->client_ip;
	const struct reason *why = NULL;
	uint64_t asked_ns = UINT64_MAX;
	bool too_hard;

	x->call.value = x->use->policy->config->values.n > 0 ? on_value : NULL;
	x->call.client = client_ip_find(client_ip, &x->conn->peer, x->req);
	if (x->use->policy->logs.n > 0)
		x->asked = keep_head(x);
	x->route = find_route(x, &too_hard);
	if (x->route != NULL && x->route->reroute != NULL)
		why = exchange_follow(x);
	if (x->route != NULL) {
		x->cluster = x->route->cluster;
		x->record.route = x->route->stats;
		x->record.route_name = x->route->name;
	}
	stats_call_begin(x->record.route, x->worker->index);
	if (why != NULL)
		; /* it went round in circles */
	else if (worker_is_short(x->worker))
		why = reason_memory_short;
	else if (x->call.path.p == NULL)
		why = reason_bad_request;
	else if (too_hard)
		why = reason_path_too_hard;
	else if (x->route == NULL)
		why = reason_no_route;
	else
		why = route_refuses(x->route, x->req);
	if (why == NULL && x->grpc)
		why = heed_timeout(x->req, &asked_ns);
	if (why == NULL && !(know_peer(x) && begin_call(x, &x->route->chain, asked_ns)))
		why = reason_out_of_memory;
	if (why != NULL)
		exchange_reply(x, why, wait_of(x, why));
	else
		admit(x);
}
