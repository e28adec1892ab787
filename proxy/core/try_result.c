/* try_result.c - what comes of a try: its answer is passed on, dropped for another try or replaced
 * by a page; or it has failed, and the call is tried again, elsewhere, or answered from here.
 *
 * leg.c calls in, a try at a time; the states are those at the top of exchange.c.
 *
 *  T1  Once the head of an answer has been passed on, there is no other try.
 *  T2  Whether there is one is the chain's word (chain_again), but for tries that no endpoint has
 *      looked at: nothing was sent, it was refused unseen, or the kept-alive connection was dead.
 */
#include "base/clock.h"
#include "core/action.h"
#include "core/exchange.h"
#include "core/grpc.h"
#include "core/tunnel.h"

enum { UNSENT_TRIES = 8 }; /* of a call that nobody but us retries, while nothing of it is sent */

/* Via by the version received; Date where there is none (RFC 9110 sections 7.6.3 and 6.6.1). */
static bool add_fields(struct exchange *x, struct head *h)
{
	return (!x->route->conf->forwarded || head_add(h, F_VIA, head_via(h))) &&
	       (head_find(h, F_DATE) != NULL || head_add(h, F_DATE, worker_date(x->worker)));
}

/* What an SDK obeys before all else; an upstream's own word stands. */
static bool say_budget_is_spent(struct head *h)
{
	static const struct slice no = SLICE("false");

	return head_find(h, F_X_SHOULD_RETRY) != NULL || head_add(h, F_X_SHOULD_RETRY, no);
}

static bool send_head(struct exchange *x, struct head *h, bool end)
{
	/* beside 101, what an upstream would switch to is of interest in a 426 only (RFC 9110
	 * section 15.5.22) */
	h->upgrade = h->upgrade && (h->status == 101 || h->status == 426);
	head_strip_hop_by_hop(h, h->upgrade);
	if (h->status >= 200) {
		exchange_set_status(x, h);
		if (!add_fields(x, h) || (x->budget_spent && !say_budget_is_spent(h)))
			return false;
	}
	if (h->status >= 200 || h->status == 101)
		chain_respond(exchange_call(x), h);
	if (h->status >= 200 && !exchange_edit_answer(x, h))
		return false;
	if (!x->client->ops->head(x->client, h, end))
		return false;
	x->head_bytes = x->client->out_bytes;
	return true;
}

static void try_again(struct exchange *x, uint64_t ms, enum try_kind kind)
{
	x->failed_at = x->leg->member->endpoint;
	/* X3; what came meanwhile would be kept within bounds only, trailers not at all */
	if (!x->request_ended)
		x->client->ops->pause(x->client, true);
	if (ms == 0) {
		leg_start(x, kind);
		return;
	}
	x->state = X_BACKOFF;
	x->record.backoff_ns += ms * CLOCK_MS;
	exchange_set_deadline(x, ms * CLOCK_MS);
}

/* Whether any endpoint would be let take one more try. */
static bool is_last_try(struct exchange *x)
{
	bool has_fallback = x->route->fallback != NULL && x->cluster != x->route->fallback;

	x->call.repeat = false;
	/* what shuts an endpoint that there is not shuts those of the fallback, too */
	return has_fallback ? chain_shut(exchange_call(x), NO_ENDPOINT) > 0 : leg_shut_ms(x) > 0;
}

static struct again ask_again(struct exchange *x)
{
	struct again again;

	x->leg->attempt.last = is_last_try(x);
	again = chain_again(exchange_call(x), &x->leg->attempt);
	stats_again(x->record.route, x->worker->index, again.label);
	x->budget_spent = again.label == AGAIN_NO_BUDGET;
	x->elsewhere = again.elsewhere;
	return again;
}

static bool may_be_retried(uint16_t status)
{
	return status >= 400;
}

/* An answer that a filter would rather not pass on, as long as there may be a better one. */
static bool answer_is_dropped(struct exchange *x)
{
	struct leg *l = x->leg;
	struct again again;

	if (!may_be_retried(l->attempt.status) || l->final || !chain_retries(x->call.chain))
		return false;
	leg_tell(l); /* a breaker may open by it, and forbid another */
	again = ask_again(x);
	if (!again.yes)
		return false;
	l->dropped = true;
	leg_abort(l, ENDPOINT_OK, reason_ok);
	try_again(x, again.ms, TRY);
	return true;
}

/* Whether it switches to a protocol that the client has offered (RFC 9110 section 7.8). */
static bool upgrade_is_asked(const struct head *req, const struct head *h)
{
	const struct header *to = head_find(h, F_UPGRADE);
	struct slice list = to == NULL ? slice_of(NULL, 0) : to->value, protocol;

	while ((protocol = list_next(&list)).n > 0)
		if (!head_lists(req, F_UPGRADE, protocol))
			return false;
	return to != NULL && req->upgrade;
}

/* Whether the answer may be passed on to who has asked for a change of protocol, or has not.  To
 * extended CONNECT any 2xx would be the tunnel (RFC 8441 section 5). */
static bool switches_well(struct exchange *x, struct head *h)
{
	if (h->status == 101)
		return upgrade_is_asked(x->req, h) &&
		       tunnel_switch(x, h, x->leg->conn->codec.multiplexed);
	return !(x->req->h2 && x->req->upgrade && h->status < 300);
}

void exchange_note_grpc(struct exchange *x, const struct head *h)
{
	uint8_t code = x->grpc ? grpc_code(h) : GRPC_NONE;

	if (code == GRPC_NONE)
		return;
	x->record.grpc_said = true;
	x->record.grpc_code = code;
}

/* An upstream's error may have a page in its place: of the rest of it nothing is wanted. */
static bool answer_is_replaced(struct exchange *x, const struct head *h)
{
	const struct error_pages *pages = exchange_pages(x);
	const struct respond *page;

	if (pages == NULL || h->status < 300 || x->grpc)
		return false;
	if (pages->hands && exchange_hand_on(x, reason_ok, h->status, PAGE_UPSTREAM))
		return true;
	page = action_page(pages, h->status, PAGE_UPSTREAM);
	if (page == NULL)
		return false;
	x->call.judged = x->leg->attempt.status;
	leg_abort(x->leg, ENDPOINT_OK, reason_ok);
	x->state = X_REPLYING;
	x->call.out.why = reason_ok;
	x->call.deadline_ns = 0;
	exchange_set_deadline(x, x->worker->times.write_ns);
	exchange_drop_kept(x);
	reply_page(x, page, h);
	return true;
}

void exchange_on_head(struct exchange *x, struct head *h, bool end)
{
	struct worker *w = x->worker;

	if (h->status < 200 && h->status != 101) {
		exchange_touch(x);
		x->continued = x->continued || h->status == 100;
		if (x->req->minor > 0 && !send_head(x, h, false))
			exchange_cut(x, reason_out_of_memory);
		return;
	}
	if (!switches_well(x, h)) {
		leg_abort(x->leg, ENDPOINT_FAILED, reason_upstream_malformed);
		exchange_on_leg_failed(x, reason_upstream_malformed);
		return;
	}
	if (answer_is_dropped(x) || answer_is_replaced(x, h))
		return;
	x->resp = h;
	x->call.judged = x->leg->attempt.status;
	exchange_note_grpc(x, h);
	x->state = X_RELAYING;
	x->tunnel = h->status == 101;
	x->record.status = x->tunnel && x->req->h2 ? 200 : h->status;
	x->record.head_sent_ns = w->loop.now_ns;
	x->call.out.status = x->record.status;
	x->call.out.why = reason_ok;
	exchange_drop_kept(x);
	pump_init(&x->down, x->leg->stream, x->client, &w->loop.now_ns);
	if (!send_head(x, h, end)) {
		exchange_cut(x, reason_out_of_memory);
		return;
	}
	exchange_touch(x);
	if (x->tunnel)
		x->client->ops->pause(x->client, false);
}

/* A bad gateway says when to come back if a breaker has opened for it. */
static uint64_t wait_after_failure(struct exchange *x, const struct reason *why)
{
	if (why->flags & R_SHED)
		return CLOCK_S / CLOCK_MS;
	return why->status == 502 ? leg_shut_ms(x) : 0;
}

/* A try that never reached its endpoint may go to another; one over a kept-alive connection that
 * had died may go again when the method says that twice is as good as once, or nothing was sent. */
void exchange_on_leg_failed(struct exchange *x, const struct reason *why)
{
	struct again again = { .yes = false };
	enum try_kind kind = TRY;

	if (exchange_is_draining(x) && (why->flags & R_FAILURE)) {
		conn_last(x->conn);
		exchange_reply(x, reason_draining, 1000);
		return;
	}
	if (why == reason_upstream_stale && exchange_is_replayable(x)) {
		again.yes = true;
		kind = TRY_FRESH;
		x->tried = (struct member_set){ 0 };
	} else if (why == reason_upstream_refused && x->call.resendable &&
		   x->call.out.attempts < UNSENT_TRIES) {
		again.yes = true;
		kind = TRY_REPEAT;
		x->tried = (struct member_set){ 0 };
	} else if (chain_retries(x->call.chain)) {
		again = ask_again(x);
	} else if ((why->flags & R_UNSENT) && x->call.resendable) {
		kind = TRY_REPEAT;
		again.yes = x->call.out.attempts < UNSENT_TRIES &&
			    cluster_has_untried(x->cluster, &x->tried);
	}
	if (again.yes)
		try_again(x, again.ms, kind);
	else
		exchange_reply(x, why == reason_upstream_stale ? reason_upstream_reset : why,
			       wait_after_failure(x, why));
}

void exchange_on_no_endpoint(struct exchange *x, const struct reason *why, uint64_t ms)
{
	struct cluster *fallback = x->route->fallback;

	if (fallback == NULL || x->cluster == fallback ||
	    (why != reason_breaker_open && why != reason_no_endpoint)) {
		if (why == reason_no_endpoint && x->cluster->conf->unavailable != 0) {
			x->call.out.status = (uint16_t)x->cluster->conf->unavailable;
			ms = 0;
		}
		exchange_reply(x, why, ms);
		return;
	}
	x->cluster = fallback;
	x->call.upstream = fallback->name;
	if (why == reason_breaker_open)
		chain_undeny(&x->call);
	x->tried = (struct member_set){ 0 };
	leg_start(x, TRY);
}

void exchange_on_answer_cut(struct exchange *x, const struct reason *why)
{
	exchange_cut(x, why == reason_upstream_reset ? reason_upstream_truncated : why);
}
