/* collect.c - a route with `await_body`: the request's body is awaited before an upstream is asked.
 *
 *   ADMITTING --let in--> COLLECTING --all of it, or as much as is awaited--> CONNECTING
 *
 * With limits.awaited held for all calls of a worker no more is awaited, nor when memory is short.
 *
 * So a slow sender holds no connection of the upstream's, and the upstream is told the length of a
 * body whose sender did not say it.  What came is kept as for another try (exchange.c). */
#include "core/exchange.h"

#include "base/clock.h"
#include "core/target.h"

/* More than one read brings: what is kept never has to be given up before the upstream has it. */
enum { SLACK = 1024 * 1024 };

static bool say_continue(struct exchange *x)
{
	struct head *h = arena_alloc(&x->arena, sizeof(*h));

	if (h == NULL)
		return false;
	head_init(h, &x->arena);
	h->status = 100;
	x->continued = true;
	return x->client->ops->head(x->client, h, false);
}

bool exchange_has_own_body(const struct exchange *x)
{
	return x->redirect != NULL && x->redirect->body.p != NULL && !x->grpc;
}

/* No upstream sees that it is waited for. */
bool collect_own(struct exchange *x)
{
	struct head *req = x->req;

	if (!exchange_has_own_body(x) || !req->expect_continue)
		return true;
	req->expect_continue = false;
	head_remove(req, F_EXPECT);
	return say_continue(x);
}

bool collect_begin(struct exchange *x)
{
	uint64_t most = x->route->conf->await_body;
	struct head *req = x->req;

	if (most == 0 || x->request_ended || req->upgrade || x->grpc || req->body == BODY_NONE ||
	    (req->body == BODY_LENGTH && req->length > most) || x->call.body_bytes > 0)
		return false;
	if (x->call.keep_body < most + SLACK)
		x->call.keep_body = most + SLACK;
	x->state = X_COLLECTING;
	exchange_set_deadline(x, x->route->conf->timeout.idle_ns);
	if (req->expect_continue && !say_continue(x)) {
		exchange_reply(x, reason_out_of_memory, 1000);
		return true;
	}
	req->expect_continue = false;
	head_remove(req, F_EXPECT);
	x->client->ops->pause(x->client, false);
	return true;
}

void collect_forget(struct exchange *x)
{
	x->worker->awaited_bytes -= x->awaited;
	x->awaited = 0;
}

/* Whether all calls together hold as much as they may: where memory is bounded, all workers no more
 * than a quarter of it, as bodies come faster than anybody looks how much is left. */
static bool is_full(struct exchange *x)
{
	struct worker *w = x->worker;
	uint64_t limit = atomic_load_explicit(&w->shared->memory.limit_bytes, memory_order_relaxed);

	if (x->call.body_bytes > x->awaited) {
		w->awaited_bytes += x->call.body_bytes - x->awaited;
		x->awaited = x->call.body_bytes;
	}
	if (w->awaited_bytes < x->use->policy->config->limits.awaited_bytes &&
	    (limit == 0 || w->awaited_bytes < limit / 4 / w->shared->workers) &&
	    !worker_is_short(w))
		return false;
	x->call.keep_body = x->call.body_bytes + SLACK;
	return true;
}

void collect_more(struct exchange *x, bool end)
{
	const struct route_conf *conf = x->route->conf;
	bool full = is_full(x);

	if (x->call.body_bytes > conf->max_body) {
		exchange_reply(x, reason_body_too_large, 0);
	} else if (!x->call.resendable) {
		exchange_reply(x, reason_out_of_memory, 1000);
	} else if (!end && !full && x->call.body_bytes < conf->await_body) {
		exchange_set_deadline(x, conf->timeout.idle_ns);
	} else {
		if (end && x->req->body == BODY_CHUNKED) {
			x->req->body = BODY_LENGTH;
			x->req->length = x->call.body_bytes;
		}
		if (!end)
			x->client->ops->pause(x->client, true);
		leg_start(x, TRY);
	}
}
