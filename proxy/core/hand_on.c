/* hand_on.c - a call that one route sends on to another: before any policy is asked (reroute), or in place of an error. */
#include "base/reason.h"
#include "core/exchange.h"
#include "core/reroute.h"
#include "core/route.h"

static void ask_for(struct exchange *x, struct head *h)
{
	if (x->came == NULL)
		x->came = x->req;
	x->req = h;
	x->call.req = h;
}

static const struct route *match(struct exchange *x, bool *too_hard)
{
	const struct policy *policy = x->use->policy;
	struct template_values values;

	x->call.path = route_path(x->req, policy_slashes(x->use->policy), &x->arena);
	exchange_values(x, &values);
	return route_match(policy, x->req, x->call.path, &values, too_hard);
}

const struct reason *exchange_follow(struct exchange *x)
{
	bool too_hard = false;

	for (unsigned i = 0; x->route != NULL && x->route->reroute != NULL; i++) {
		struct template_values values;
		struct head *h;

		if (i == REROUTES_MAX)
			return reason_rerouted_too_often;
		exchange_values(x, &values);
		h = reroute_head(x->route->reroute, &values);
		if (h == NULL)
			return reason_bad_request;
		ask_for(x, h);
		x->route = match(x, &too_hard);
		if (too_hard)
			return reason_path_too_hard;
	}
	return NULL;
}

/*---------------------------------------------------------------- errors */

/* Another call to an upstream is what is to be saved then: of what Weir answers itself there may be
 * a page. */
static bool is_to_save(const struct reason *why)
{
	return why == reason_memory_short || why == reason_out_of_memory || why == reason_draining;
}

/* Whether the body, as far as it goes there, can be sent once more. */
static bool can_be_sent(const struct exchange *x, const struct reason *why,
			const struct error_page *page, const struct route *to)
{
	if (to->cluster == NULL)
		return to->respond != NULL;
	if (x->malformed || is_to_save(why))
		return false;
	if (page->has_path)
		return x->request_ended;
	if (exchange_has_own_body(x) && x->call.body_bytes > 0)
		return false; /* what the client sent was not kept */
	return x->call.body_bytes <= to->conf->max_body && (!x->admitted || x->call.resendable);
}

/* The route of the page; NULL: there is none, and nothing has changed. */
static const struct route *find_page(struct exchange *x, const struct reason *why,
				     const struct error_page *page, struct head *h)
{
	struct head *req = x->req, *came = x->came;
	const struct route *from = x->route, *to = page->route;
	const struct head *call_req = x->call.req;
	struct slice path = x->call.path;
	bool too_hard = false;

	ask_for(x, h);
	if (to == NULL)
		to = match(x, &too_hard);
	if (page->has_path)
		x->call.path = route_path(x->req, policy_slashes(x->use->policy), &x->arena);
	x->route = to;
	if (to != NULL && exchange_follow(x) == NULL)
		to = x->route;
	if (to != NULL && to->reroute == NULL && can_be_sent(x, why, page, to))
		return to;
	x->req = req;
	x->came = came;
	x->route = from;
	x->call.req = call_req;
	x->call.path = path;
	return NULL;
}

/* What the policies of the first route had to see they have seen; the rest is none of theirs. */
static bool begin_again(struct exchange *x, const struct reason *why, uint16_t status)
{
	struct outcome out = x->call.out;

	if (x->state == X_ADMITTING)
		chain_leave(exchange_call(x));
	exchange_end_queueing(x);
	if (x->admitted) {
		x->call.out.why = why;
		x->call.out.status = status;
		chain_done(exchange_call(x));
		x->admitted = false;
	}
	if (!exchange_begin_free(x))
		return false;
	x->call.out.denied = out.denied;
	x->call.out.limit = out.limit;
	x->call.out.shadow = out.shadow;
	x->call.out.attempts = out.attempts;
	return true;
}

static void forget_kept(struct exchange *x)
{
	list_init(&x->kept);
	x->call.body_bytes = 0;
	x->call.resendable = true;
}

bool exchange_hand_on(struct exchange *x, const struct reason *why, uint16_t status,
		      enum page_of from)
{
	const struct error_pages *pages = exchange_pages(x);
	const struct error_page *page = pages == NULL ? NULL : action_hands(pages, status, from);
	struct template_values values;
	const struct route *to;
	struct head *h;

	if (page == NULL || x->handed || x->grpc || x->req == NULL || x->tunnel)
		return false;
	exchange_values(x, &values);
	h = reroute_error(page, x->plain != NULL ? x->plain : x->req, &values);
	if (h != NULL && x->record.request_id.n > 0 &&
	    !head_set(h, F_X_REQUEST_ID, x->record.request_id))
		h = NULL;
	to = h == NULL ? NULL : find_page(x, why, page, h);
	if (to == NULL)
		return false;
	legs_abort(x, from == PAGE_UPSTREAM ? ENDPOINT_OK : ENDPOINT_ABORTED, why);
	x->handed = true;
	x->handed_status = page->status;
	x->redirect = NULL;
	x->budget_spent = false;
	x->tried = (struct member_set){ 0 };
	x->failed_at = NULL;
	if (!begin_again(x, why, status)) {
		exchange_reply(x, reason_out_of_memory, 1000);
		return true;
	}
	if (to->cluster != NULL)
		x->cluster = to->cluster;
	if (page->has_path)
		forget_kept(x);
	if (!x->request_ended)
		x->client->ops->pause(x->client, true);
	exchange_go_on(x);
	return true;
}
