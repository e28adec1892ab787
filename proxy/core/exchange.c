/* exchange.c - one client request from head to last byte.
 *
 *            request head
 *                 |
 *   NEW ----> ADMITTING --pass--> CONNECTING --connected--> AWAITING --head--> RELAYING --> OVER
 *    |            |                 |   ^                       |                             ^
 *    |            |                 |   |    (at once)          |                             |
 *    |           deny            failed +---- BACKOFF <-failed, or an answer that is not kept |
 *    |            |                 |                           |                             |
 *    +--bad-->  REPLYING <----------+---------------------------+----- last byte written -----+
 *
 * A route's own answer comes of ADMITTING, and a page in place of an upstream's error of AWAITING;
 * they, too, are REPLYING.
 *
 * A route may await the request's body behind ADMITTING (COLLECTING, collect.c).
 *
 * NEW and ADMITTING are in admission.c, the tries from CONNECTING on in leg.c, and what comes of
 * each (RELAYING, BACKOFF, REPLYING) in try_result.c.
 *
 * One timer; its meaning is the state: a filter's delay or the end of its queue's patience, the
 * connect, the answer's head (or a silent body), the backoff, idleness either way; and in every
 * state the total, and while a try has no answer the time of that try.
 *
 * AWAITING may have a second try beside the first (hedge): the first good head is passed on, and
 * the other try is cut; when one fails, the other goes on alone.
 *
 *  X1  A call is answered once: exchange_reply and the head of an answer check it.
 *  X2  The client's stream says gone once; that, and nothing else, ends the exchange.
 *  X3  The request body stays paused until the chain has let the call in and an endpoint takes it.
 */
#include "core/exchange.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/action.h"
#include "core/authenticate.h"
#include "core/event_log.h"
#include "core/grpc.h"
#include "core/serve.h"
#include "core/trace.h"

enum {
	SPARE_MAX = 256,
	TRIM_AFTER = 1024, /* calls beyond those at once */
};

#define TRIM_EVERY_NS (1 * CLOCK_S)

/* How long one side of a tunnel may be silent after the other has ended: it may have gone for good.
 */
#define HALF_CLOSED_NS (2 * CLOCK_S)

/*---------------------------------------------------------------- birth and death */

static void on_timer(struct timer *);

/* Spare ones keep their place among the timers: a new call's deadline then costs a store. */
static struct exchange *exchange_new(struct worker *w)
{
	struct list *n = list_pop_front(&w->spare);
	struct exchange *x;

	if (n != NULL) {
		struct timer timer;

		x = LIST_ENTRY(n, struct exchange, link);
		w->n_spare--;
		timer = x->timer;
		*x = (struct exchange){ .timer = timer };
	} else {
		x = calloc(1, sizeof(*x));
		if (x == NULL)
			return NULL;
		timer_init(&x->timer, on_timer);
	}
	x->magic = EXCHANGE_MAGIC;
	x->worker = w;
	x->leg = &x->first;
	arena_init(&x->arena, &w->loop.pool);
	arena_init(&x->kept_arena, &w->loop.pool);
	list_init(&x->kept);
	list_push_back(&w->exchanges, &x->link);
	w->n_exchanges++;
	return x;
}

/* After a flood of calls the heap is full of holes between the connections that stay.  At rest the
 * kernel gets them back. */
static void return_memory(struct worker *w)
{
	if (w->n_exchanges > 0 || w->surplus < TRIM_AFTER || w->loop.now_ns < w->trim_ns)
		return;
	w->surplus = 0;
	w->trim_ns = w->loop.now_ns + TRIM_EVERY_NS;
	malloc_trim(0);
}

static void exchange_free(struct exchange *x)
{
	struct worker *w = x->worker;

	arena_fini(&x->arena);
	arena_fini(&x->kept_arena);
	list_remove(&x->link);
	x->magic = 0;
	timer_clear(&x->timer);
	if (w->n_spare < SPARE_MAX) {
		/* a spare one's place in the heap names this very timer: it must not move while it
		 * lies there */
		list_push_front(&w->spare, &x->link);
		w->n_spare++;
		return;
	}
	timer_fini(&w->loop.timers, &x->timer);
	free(x);
	w->surplus++;
	return_memory(w);
}

void exchange_fini_spare(struct worker *w)
{
	struct list *n;

	while ((n = list_pop_front(&w->spare)) != NULL) {
		struct exchange *x = LIST_ENTRY(n, struct exchange, link);

		timer_fini(&w->loop.timers, &x->timer);
		free(x);
	}
	w->n_spare = 0;
}

/* All that was put is written: only now nothing of the policy is borrowed by a connection. */
static void on_grave(struct deferred *d)
{
	struct exchange *x = LIST_ENTRY(d, struct exchange, grave);

	if (x->use != NULL)
		worker_use_put(x->worker, x->use);
	exchange_free(x);
}

/* What is logged: what upstreams are told, of what the client asked for. */
static struct head *asked_for(struct exchange *x)
{
	struct head *h = x->came;

	if (h == NULL)
		return x->req;
	h->fields = x->req->fields;
	h->n = x->req->n;
	h->cap = x->req->cap;
	return h;
}

/* Of a client behind others only its address is known. */
static uint16_t client_port(const struct addr *peer, const struct ip *client)
{
	struct ip own = addr_ip(peer);

	return memcmp(&own, client, sizeof(own)) == 0 ? addr_port(peer) : 0;
}

static void fill_record(struct exchange *x, const struct reason *why)
{
	struct call_record *r = &x->record;
	struct worker *w = x->worker;
	const struct addr *peer = x->conn != NULL ? &x->conn->peer : NULL;

	r->req = asked_for(x);
	r->resp = x->resp;
	r->why = why;
	exchange_end_queueing(x);
	r->client = x->call.client;
	if (peer != NULL) {
		r->client_port = client_port(peer, &r->client);
		r->client_is_unix = peer->u.sa.sa_family == AF_UNIX;
	}
	r->end_ns = w->loop.read_clock(&w->loop);
	r->bytes_in = x->up.bytes;
	r->bytes_out = x->down.bytes;
	r->attempts = x->call.out.attempts;
	if (x->call.out.attempts > 0) {
		r->upstream = x->cluster->name;
		r->endpoint = x->leg->member->endpoint->text;
	}
	r->denied = x->call.out.denied;
	r->limit = x->call.out.limit;
	r->shadow = x->call.out.shadow;
	r->overhead_ns = r->end_ns - r->start_ns;
	r->overhead_ns -= r->upstream_ns < r->overhead_ns ? r->upstream_ns : r->overhead_ns;
	r->overhead_ns -= r->queued_ns < r->overhead_ns ? r->queued_ns : r->overhead_ns;
	r->overhead_ns -= r->backoff_ns < r->overhead_ns ? r->backoff_ns : r->overhead_ns;
}

static void log_call(struct exchange *x)
{
	const struct log_choice *choice = x->route != NULL ? &x->route->log
					  : x->use != NULL ? &x->use->policy->logs.dflt
							   : NULL;

	if (choice == NULL || choice->access)
		access_log_write(x->worker->shared->log, x->worker->index, &x->record);
	if (choice != NULL && choice->n > 0)
		text_log_write(x, choice);
}

static void exchange_note_bytes(struct exchange *x)
{
	x->in_bytes = x->client->in_bytes;
	x->out_bytes = x->client->out_bytes;
	x->pipelined = x->client->pipelined;
}

void exchange_reset(struct exchange *x, const struct reason *why)
{
	struct stream *s = x->client;

	exchange_note_bytes(x);
	x->client = NULL; /* of HTTP/2 it is freed */
	s->ops->reset(s, why);
}

/* The client's stream is gone: the one end of every call. */
void exchange_end(struct exchange *x, const struct reason *why)
{
	struct worker *w = x->worker;

	CHECK(x->state != X_OVER);
	if (x->client != NULL)
		exchange_note_bytes(x);
	x->client = NULL;
	legs_abort(x, ENDPOINT_ABORTED, why);
	if (x->call.out.why == NULL || why != reason_ok)
		x->call.out.why = why;
	x->call.out.status = x->record.status;
	fill_record(x, x->call.out.why);
	if (x->admitted)
		chain_done(exchange_call(x));
	authenticate_end(x);
	if (x->serving != NULL)
		serve_end(x);
	collect_forget(x);
	if (x->use != NULL)
		stats_call_end(x->record.route, w->index, &x->record);
	if (x->use != NULL && x->use->policy->tracing != NULL && x->record.trace_id.n == 0)
		trace_late(x);
	log_call(x);
	if (x->use != NULL && x->use->policy->tracing != NULL)
		trace_end(x);
	x->state = X_OVER;
	timer_clear(&x->timer);
	w->n_exchanges--;
	loop_defer(&w->loop, &x->grave, on_grave);
}

void exchange_cut_all(struct worker *w, const struct reason *why)
{
	LIST_EACH (n, &w->exchanges) {
		struct exchange *x = LIST_ENTRY(n, struct exchange, link);

		if (x->state == X_OVER || x->client == NULL)
			continue;
		exchange_reset(x, why);
		exchange_end(x, why);
	}
}

/*---------------------------------------------------------------- the timer */

/* 0: never. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static bool is_past(const struct exchange *x, uint64_t deadline_ns)
{
	return deadline_ns != 0 && x->worker->loop.now_ns >= deadline_ns;
}

static uint64_t after(const struct exchange *x, uint64_t ns)
{
	return ns == 0 ? 0 : x->worker->loop.now_ns + ns;
}

static void set_timer(struct exchange *x, uint64_t at)
{
	at = earlier(at, x->call.deadline_ns);
	if (at == 0)
		timer_clear(&x->timer);
	else if (!timer_set(&x->worker->loop.timers, &x->timer, at))
		log_error("out of memory: a time-out is lost");
}

void exchange_rearm(struct exchange *x)
{
	uint64_t at = x->leg->late_ns;

	at = earlier(at, x->rival != NULL ? x->rival->late_ns : x->leg->attempt.hedge_ns);
	set_timer(x, at);
}

void exchange_set_deadline(struct exchange *x, uint64_t ns)
{
	set_timer(x, after(x, ns));
}

void exchange_set_late(struct exchange *x, struct leg *l, uint64_t ns)
{
	l->late_ns = earlier(after(x, ns), x->request_ended ? l->attempt.deadline_ns : 0);
	exchange_rearm(x);
}

void exchange_await(struct exchange *x, struct leg *l)
{
	const struct timeout_conf *t = &x->route->conf->timeout;

	exchange_set_late(
	    x, l, x->request_ended && t->first_byte_ns != 0 ? t->first_byte_ns : t->idle_ns);
}

void exchange_touch(struct exchange *x)
{
	const struct timeout_conf *t;

	if (x->state == X_AWAITING)
		exchange_await(x, x->leg);
	if (x->state != X_RELAYING)
		return;
	t = &x->route->conf->timeout;
	if (x->down.held || (x->down.ended && !x->tunnel))
		exchange_set_deadline(x, x->worker->times.write_ns);
	else if (x->half_closed)
		exchange_set_deadline(x, HALF_CLOSED_NS);
	else
		exchange_set_deadline(x, t->idle_ns);
}

/* Who is to blame for the silence of a request on its way up. */
static const struct reason *awaiting_reason(const struct exchange *x)
{
	bool awaits_100 = x->req->expect_continue && !x->continued && x->up.bytes == 0;

	if (x->request_ended || awaits_100)
		return reason_first_byte_timeout;
	return x->up.held ? reason_idle_timeout : reason_body_timeout;
}

void exchange_cut(struct exchange *x, const struct reason *why)
{
	legs_abort(x, why->flags & R_FAILURE ? ENDPOINT_FAILED : ENDPOINT_ABORTED, why);
	exchange_reset(x, why);
	exchange_end(x, why);
}

/* A slow reader is not a stalled one: what waits for it has become less since the last look. */
static bool client_progresses(struct exchange *x)
{
	size_t queued = x->client->queued;
	bool progress = queued > 0 && queued != x->queued_seen;

	x->queued_seen = queued;
	if (progress)
		exchange_touch(x);
	return progress;
}

static void try_is_late(struct exchange *x, struct leg *l)
{
	bool late = x->request_ended && is_past(x, l->attempt.deadline_ns);
	const struct reason *why = late       ? reason_try_timeout
				   : !l->sent ? reason_connect_timeout
					      : awaiting_reason(x);

	leg_abort(l, why->flags & R_FAILURE ? ENDPOINT_FAILED : ENDPOINT_ABORTED, why);
	if (leg_gives_way(l))
		return;
	if (why->flags & R_FAILURE)
		exchange_on_leg_failed(x, why);
	else
		exchange_reply(x, why, 0);
}

/* One more try beside the one that has gone unanswered for so long: asked once. */
static bool hedge(struct exchange *x)
{
	struct again again;

	if (x->rival != NULL || !is_past(x, x->leg->attempt.hedge_ns))
		return false;
	x->leg->attempt.hedge_ns = 0;
	x->call.repeat = false;
	if (exchange_is_draining(x) || leg_shut_ms(x) > 0)
		return false;
	again = chain_again(exchange_call(x), &x->leg->attempt);
	if (again.yes && !leg_hedge(x))
		return false;
	stats_again(x->record.route, x->worker->index, again.label);
	return again.yes;
}

static void unanswered(struct exchange *x)
{
	if (x->rival != NULL && is_past(x, x->rival->late_ns))
		try_is_late(x, x->rival);
	else if (is_past(x, x->leg->late_ns))
		try_is_late(x, x->leg);
	else if (!hedge(x))
		exchange_rearm(x);
}

static void relaying_is_late(struct exchange *x)
{
	if (client_progresses(x))
		return;
	exchange_cut(x, x->half_closed          ? reason_ok
			: x->client->queued > 0 ? reason_client_stalled
						: reason_idle_timeout);
}

static void total_is_over(struct exchange *x, const struct reason *why)
{
	if (x->state == X_RELAYING)
		exchange_cut(x, why);
	else
		exchange_reply(x, why, 0);
}

/* What a client takes of a file may take long. */
static void replying_is_late(struct exchange *x)
{
	if (serve_on_timer(x))
		return;
	if (x->serving != NULL && client_progresses(x))
		exchange_set_deadline(x, x->worker->times.write_ns);
	else
		exchange_cut(x, reason_client_stalled);
}

static void on_timer(struct timer *t)
{
	struct exchange *x = LIST_ENTRY(t, struct exchange, timer);

	CHECK_MAGIC(x, EXCHANGE_MAGIC);
	if (is_past(x, x->call.deadline_ns)) {
		total_is_over(x, x->hurried ? reason_deadline_exceeded : reason_total_timeout);
		return;
	}
	switch (x->state) {
	case X_ADMITTING:
		exchange_go_on_admitting(x);
		return;
	case X_CONNECTING:
	case X_AWAITING:
		unanswered(x);
		return;
	case X_COLLECTING:
		exchange_reply(x, reason_body_timeout, 0);
		return;
	case X_BACKOFF:
		leg_start(x, TRY);
		return;
	case X_RELAYING:
		relaying_is_late(x);
		return;
	case X_REPLYING:
		replying_is_late(x);
		return;
	default:
		return;
	}
}

/* The app beside us may be gone already, and rightly so: its failures are no news. */
bool exchange_is_draining(const struct exchange *x)
{
	return atomic_load_explicit(&x->worker->shared->draining, memory_order_relaxed);
}

/*---------------------------------------------------------------- answers of our own */

static uint16_t exchange_status(const struct exchange *x, const struct reason *why)
{
	return x->call.out.status != 0 ? x->call.out.status
				       : reply_status(x->route, x->call.path, why);
}

/* A local answer: from a filter's denial, a failed try, or the request itself. */
void exchange_reply(struct exchange *x, const struct reason *why, uint64_t retry_after_ms)
{
	CHECK(x->state != X_REPLYING && x->state != X_OVER && x->resp == NULL);
	if (exchange_pages(x) != NULL && exchange_pages(x)->hands &&
	    exchange_hand_on(x, why, exchange_status(x, why), PAGE_WEIR))
		return;
	event_refused(x, why);
	legs_abort(x, ENDPOINT_ABORTED, why);
	if (x->state == X_ADMITTING)
		chain_leave(exchange_call(x));
	x->state = X_REPLYING;
	x->up.dst = NULL;
	x->call.out.why = why;
	x->call.deadline_ns = 0; /* it was for the upstream's answer */
	exchange_set_deadline(x, x->worker->times.write_ns);
	if ((x->admitted || !x->malformed) && x->record.request_id.p == NULL)
		exchange_identify(x);
	reply_send(x, why, retry_after_ms);
}

void exchange_begin_own(struct exchange *x)
{
	x->state = X_REPLYING;
	x->up.dst = NULL;
	x->call.out.why = reason_responded;
	x->call.deadline_ns = 0;
	exchange_set_deadline(x, x->worker->times.write_ns);
	exchange_identify(x);
}

/* An error without a word to it is one like others. */
static bool respond_is_handed_on(struct exchange *x, const struct respond *r)
{
	const struct error_pages *pages = exchange_pages(x);

	return pages != NULL && pages->hands && r->status >= 300 && !r->has_body &&
	       r->files == NULL && !r->has_location &&
	       exchange_hand_on(x, reason_responded, r->status, PAGE_WEIR);
}

/* Its policies have let it in, and it goes nowhere.  No client of gRPC reads files. */
void exchange_respond(struct exchange *x)
{
	const struct respond *r = x->route->respond;

	CHECK(x->state == X_ADMITTING && x->resp == NULL);
	if (x->route->conf->respond.tell != NULL)
		event_told(x, x->route->conf->respond.tell);
	if (respond_is_handed_on(x, r))
		return;
	if (r->files != NULL && (!x->grpc || r->status == 0)) {
		serve(x, r);
	} else if (r->status == 0) {
		exchange_cut(x, reason_dropped);
	} else {
		exchange_begin_own(x);
		reply_respond(x, r);
	}
}

bool exchange_apply_edits(struct exchange *x, const struct answer_edits *edits, struct head *h)
{
	struct template_values values;

	exchange_values(x, &values);
	return action_edit_answer(edits, &values, h);
}

/*---------------------------------------------------------------- the client's stream */

static void begin_record(struct exchange *x)
{
	struct worker *w = x->worker;

	x->record = (struct call_record){
		.start_ns = w->loop.now_ns,
		.start_wall_ns = w->loop.wall_ns,
		.req = x->req,
		.grpc = x->grpc,
		.route = x->use->policy->no_route,
	};
}

void exchange_drop_kept(struct exchange *x)
{
	x->call.resendable = false;
	list_init(&x->kept);
	arena_fini(&x->kept_arena);
	collect_forget(x);
}

/* Keeps what was sent, so that another try costs the client nothing. */
static void keep(struct exchange *x, struct slice s)
{
	struct kept *k = NULL;

	x->call.body_bytes += s.n;
	if (!x->call.resendable || s.n == 0 || exchange_has_own_body(x))
		return;
	if (x->call.body_bytes <= x->call.keep_body &&
	    !(x->state == X_AWAITING && worker_is_short(x->worker)))
		k = arena_alloc(&x->kept_arena, sizeof(*k));
	if (k != NULL)
		k->s = arena_copy(&x->kept_arena, s);
	if (k != NULL && k->s.p != NULL)
		list_push_back(&x->kept, &k->link);
	else
		exchange_drop_kept(x);
}

/* The whole request has come: from now on its answer is due. */
static void end_request(struct exchange *x)
{
	struct attempt *a = &x->leg->attempt;

	x->request_ended = true;
	if (!x->leg->open)
		return;
	a->asked_ns = x->worker->loop.now_ns;
	if (a->deadline_ns != 0)
		a->deadline_ns += a->asked_ns - a->start_ns;
}

static void on_client_body(void *owner, struct slice s, bool end)
{
	struct exchange *x = owner;

	if (x->route != NULL && !x->tunnel && x->state != X_COLLECTING &&
	    x->up.bytes + s.n > x->route->conf->max_body) {
		exchange_drop_kept(x); /* these bytes are in none of it */
		if (x->state == X_AWAITING)
			exchange_reply(x, reason_body_too_large, 0);
		else if (x->state == X_RELAYING)
			exchange_cut(x, reason_body_too_large);
		return;
	}
	if (end)
		end_request(x);
	x->half_closed = x->half_closed || (x->tunnel && end);
	keep(x, s);
	if (x->state == X_COLLECTING) {
		collect_more(x, end);
		return;
	}
	pump_body(&x->up, s, end);
	exchange_touch(x);
}

/* What the head may not claim, nor have beside what the route sets, the trailers may not either:
 * some applications merge them. */
static void sift_trailers(const struct exchange *x, struct head *h)
{
	const struct route *r = x->route;

	head_strip_hop_by_hop(h, false);
	if (!r->conf->client_fields)
		h->n = 0;
	forward_sift_trailers(h);
	auth_strip(&x->use->policy->config->auth, h);
	for (uint32_t i = 0; i < r->n_set; i++)
		head_remove_alike(h, r->set[i].name);
}

static void on_client_trailers(void *owner, struct head *h)
{
	struct exchange *x = owner;

	end_request(x);
	if (x->state == X_COLLECTING) {
		collect_more(x, true);
		return;
	}
	exchange_drop_kept(x); /* trailers are not kept */
	if (x->up.dst == NULL)
		return;
	sift_trailers(x, h);
	pump_trailers(&x->up, h);
	exchange_touch(x);
}

static void on_client_room(void *owner)
{
	struct exchange *x = owner;

	if (x->state == X_RELAYING)
		exchange_touch(x);
	pump_room(&x->down);
	serve_on_room(x);
}

static void on_client_bad(void *owner, const struct reason *why)
{
	struct exchange *x = owner;

	x->malformed = true;
	if (x->resp != NULL)
		exchange_cut(x, why);
	else if (x->state != X_REPLYING)
		exchange_reply(x, why, 0);
}

static void on_client_gone(void *owner, const struct reason *why)
{
	struct exchange *x = owner;

	CHECK_MAGIC(x, EXCHANGE_MAGIC);
	exchange_end(x, why != NULL ? why : reason_ok);
}

static const struct stream_events client_events = {
	.body = on_client_body,
	.trailers = on_client_trailers,
	.room = on_client_room,
	.bad = on_client_bad,
	.gone = on_client_gone,
};

static struct arena *on_arena(void *user, struct stream *s)
{
	struct conn *c = user;
	struct worker_listener *wl = c->owner;
	struct exchange *x = exchange_new(wl->worker);

	(void)s;
	c->data = x;
	return x == NULL ? NULL : &x->arena;
}

static struct exchange *attach(struct conn *c, struct stream *s, struct head *head)
{
	struct exchange *x = c->data;

	c->data = NULL;
	x->conn = c;
	x->client = s;
	x->req = head;
	x->use = worker_use_get(x->worker);
	x->grpc = head != NULL && head->h2 && grpc_is_call(head);
	s->on = &client_events;
	s->owner = x;
	c->calls++;
	begin_record(x);
	return x;
}

/* By an operator's order: nothing else changes for the call. */
static bool is_passed_over(const struct exchange *x)
{
	return atomic_load_explicit(&x->worker->shared->orders.drained, memory_order_relaxed);
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	struct conn *c = user;
	struct exchange *x = attach(c, s, head);
	const struct worker_listener *wl = c->owner;

	if (wl->field_names != NAMES_ANY)
		head_remove_odd(head, wl->field_names == NAMES_UNDERSCORED);
	x->request_ended = end;
	/* from the first moment, be it that new connections are still taken: who goes elsewhere now
	 * has no call under way when idle ones are closed */
	if (exchange_is_draining(x) || is_passed_over(x))
		conn_last(c);
	exchange_begin(x);
}

static void on_bad_request(void *user, struct stream *s, struct head *head,
			   const struct reason *why)
{
	struct exchange *x = attach(user, s, head);
	struct conn *c = user;

	x->malformed = true;
	x->call.client = addr_ip(&c->peer);
	stats_call_begin(x->record.route, x->worker->index);
	exchange_reply(x, why, 0);
}

static void on_flood(void *user, unsigned kind)
{
	struct conn *c = user;
	struct worker_listener *wl = c->owner;

	stats_conn_flooded(wl->stats, wl->worker->index, (enum h2_flood)kind);
}

const struct codec_events exchange_codec_events = {
	.arena = on_arena,
	.request = on_request,
	.bad_request = on_bad_request,
	.flood = on_flood,
};
