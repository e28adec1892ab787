/* exchange.c - one client request from head to last byte.
 *
 *            request head
 *                 |
 *   NEW ----> ADMITTING --pass--> CONNECTING --connected--> AWAITING --head--> RELAYING --> OVER
 *    |            |                 |    ^                     |                              ^
 *    |           deny           failed   +--- another try -----+                              |
 *    |            |                 |                          |                              |
 *    +--bad-->  REPLYING <----------+--------------------------+------ last byte written -----+
 *
 * One timer; its meaning is the state: a filter's delay, the connect, the answer's head (or a
 * silent body), idleness either way; and in every state the total.
 *
 *  X1  A call is answered once: exchange_reply and the head of an answer check it.
 *  X2  The client's stream says gone once; that, and nothing else, ends the exchange.
 *  X3  The request body stays paused until the chain has let the call in and an endpoint takes it.
 */
#include "core/exchange.h"

#include <malloc.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/client_ip.h"
#include "core/route.h"

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
	arena_init(&x->arena, &w->loop.pool);
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
	buf_fini(&x->replay);
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

static void on_grave(struct deferred *d)
{
	exchange_free(LIST_ENTRY(d, struct exchange, grave));
}

static void fill_record(struct exchange *x, const struct reason *why)
{
	struct call_record *r = &x->record;
	struct worker *w = x->worker;
	const struct addr *peer = x->conn != NULL ? &x->conn->peer : NULL;

	r->req = x->req;
	r->resp = x->resp;
	r->why = why;
	r->client = x->call.client;
	if (peer != NULL) {
		r->client_port = addr_port(peer);
		r->client_is_unix = peer->u.sa.sa_family == AF_UNIX;
	}
	r->end_ns = w->loop.read_clock(&w->loop);
	r->bytes_in = x->up.bytes;
	r->bytes_out = x->down.bytes;
	r->attempts = x->call.out.attempts;
	if (x->call.out.attempts > 0) {
		r->upstream = x->route->cluster->name;
		r->endpoint = x->leg.member->endpoint->text;
	}
	r->denied = x->call.out.denied;
	r->limit = x->call.out.limit;
	r->overhead_ns = r->end_ns - r->start_ns;
	r->overhead_ns -= r->upstream_ns < r->overhead_ns ? r->upstream_ns : r->overhead_ns;
	r->overhead_ns -= r->queued_ns < r->overhead_ns ? r->queued_ns : r->overhead_ns;
}

/* The client's stream is gone: the one end of every call. */
void exchange_end(struct exchange *x, const struct reason *why)
{
	struct worker *w = x->worker;

	CHECK(x->state != X_OVER);
	x->client = NULL;
	leg_abort(&x->leg, ENDPOINT_ABORTED, why);
	if (x->call.out.why == NULL || why != reason_ok)
		x->call.out.why = why;
	x->call.out.status = x->record.status;
	fill_record(x, x->call.out.why);
	if (x->admitted)
		chain_done(&x->call);
	if (x->use != NULL)
		stats_call_end(x->record.route, w->index, &x->record);
	access_log_write(w->shared->log, w->index, &x->record);
	if (x->use != NULL)
		worker_use_put(w, x->use);
	x->state = X_OVER;
	timer_clear(&x->timer);
	w->n_exchanges--;
	loop_defer(&w->loop, &x->grave, on_grave);
}

void exchange_cut_all(struct worker *w, const struct reason *why)
{
	LIST_EACH (n, &w->exchanges) {
		struct exchange *x = LIST_ENTRY(n, struct exchange, link);
		struct stream *s = x->client;

		if (x->state == X_OVER || s == NULL)
			continue;
		s->ops->reset(s, why);
		exchange_end(x, why);
	}
}

/*---------------------------------------------------------------- the timer */

void exchange_set_deadline(struct exchange *x, uint64_t ns)
{
	uint64_t now = x->worker->loop.now_ns, at = ns == 0 ? 0 : now + ns;

	if (x->total_deadline_ns != 0 && (at == 0 || at > x->total_deadline_ns))
		at = x->total_deadline_ns;
	if (at == 0)
		timer_clear(&x->timer);
	else if (!timer_set(&x->worker->loop.timers, &x->timer, at))
		log_error("out of memory: a time-out is lost");
}

void exchange_touch(struct exchange *x)
{
	const struct timeout_conf *t;

	if (x->state != X_AWAITING && x->state != X_RELAYING)
		return;
	t = &x->route->conf->timeout;
	if (x->state == X_AWAITING && x->request_ended)
		exchange_set_deadline(x, t->first_byte_ns != 0 ? t->first_byte_ns : t->idle_ns);
	else if (x->down.held || (x->down.ended && !x->tunnel))
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

static void cut(struct exchange *x, const struct reason *why)
{
	struct stream *s = x->client;

	leg_abort(&x->leg, why->flags & R_FAILURE ? ENDPOINT_FAILED : ENDPOINT_ABORTED, why);
	s->ops->reset(s, why);
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

static void admit(struct exchange *x);

static void on_timer(struct timer *t)
{
	struct exchange *x = LIST_ENTRY(t, struct exchange, timer);
	struct loop *loop = &x->worker->loop;
	bool total = x->total_deadline_ns != 0 && loop->now_ns >= x->total_deadline_ns;

	CHECK_MAGIC(x, EXCHANGE_MAGIC);
	switch (x->state) {
	case X_ADMITTING:
		if (total)
			exchange_reply(x, reason_total_timeout, 0);
		else
			admit(x);
		return;
	case X_CONNECTING:
	case X_AWAITING: {
		const struct reason *why = total                      ? reason_total_timeout
					   : x->state == X_CONNECTING ? reason_connect_timeout
								      : awaiting_reason(x);

		leg_abort(&x->leg, why->flags & R_FAILURE ? ENDPOINT_FAILED : ENDPOINT_ABORTED,
			  why);
		if (why == reason_connect_timeout)
			exchange_on_leg_failed(x, why);
		else
			exchange_reply(x, why, 0);
		return;
	}
	case X_RELAYING:
		if (!total && client_progresses(x))
			return;
		if (!total && x->half_closed) {
			cut(x, reason_ok);
			return;
		}
		cut(x, total                   ? reason_total_timeout
		       : x->client->queued > 0 ? reason_client_stalled
					       : reason_idle_timeout);
		return;
	case X_REPLYING:
		cut(x, reason_client_stalled);
		return;
	default:
		return;
	}
}

/*---------------------------------------------------------------- admission */

/* A local answer: from a filter's denial, a failed try, or the request itself. */
static bool forward(struct exchange *);

void exchange_reply(struct exchange *x, const struct reason *why, uint64_t retry_after_ms)
{
	CHECK(x->state != X_REPLYING && x->state != X_OVER && x->resp == NULL);
	leg_abort(&x->leg, ENDPOINT_ABORTED, why);
	x->state = X_REPLYING;
	x->up.dst = NULL;
	x->call.out.why = why;
	x->total_deadline_ns = 0; /* it was for the upstream's answer */
	exchange_set_deadline(x, x->worker->times.write_ns);
	if (x->admitted && x->record.request_id.p == NULL)
		(void)forward(
		    x); /* for its request id and trace id, which the reply and the log carry */
	reply_send(x, why, retry_after_ms);
}

static bool forward(struct exchange *x)
{
	struct worker *w = x->worker;
	const struct route_conf *conf = x->route->conf;
	struct head *req = x->req;
	struct forward_context fc = {
		.conf = &x->use->policy->config->client_ip,
		.peer = &x->conn->peer,
		.scheme = SLICE("http"),
		.worker = &w->forward,
		.arena = &x->arena,
	};

	req->upgrade = req->upgrade && conf->upgrade;
	head_strip_hop_by_hop(req, req->upgrade);
	if (!forward_prepare(req, &fc))
		return false;
	x->record.request_id = fc.request_id;
	x->record.trace_id = fc.trace_id;
	for (uint32_t i = 0; i < conf->set.n; i++) {
		const struct set_conf *set = (const struct set_conf *)conf->set.item + i;

		head_remove_alike(req, slice_str(set->name.name));
		if (!head_set_name(req, slice_str(set->name.name), slice_str(set->value)))
			return false;
	}
	return true;
}

static void admit(struct exchange *x)
{
	struct verdict v;

	x->worker->env.now_ns = x->worker->loop.now_ns;
	x->worker->env.wall_ns = x->worker->loop.wall_ns;
	v = chain_admit(&x->call);
	switch (v.kind) {
	case V_DENY:
		exchange_reply(x, v.why, v.ms);
		return;
	case V_DELAY:
		x->record.queued_ns += v.ms * CLOCK_MS;
		exchange_set_deadline(x, v.ms * CLOCK_MS);
		return;
	case V_PENDING:
		exchange_set_deadline(x, 0);
		return;
	default:
		break;
	}
	if (forward(x))
		leg_start(x, false);
	else
		exchange_reply(x, reason_out_of_memory, 1000);
}

static const struct route *find_route(struct exchange *x)
{
	static const struct slice root = SLICE("/");
	struct slice path =
	    slice_is(x->req->path, "*") ? root : head_normal_path(x->req->path, &x->arena);

	x->call.path = path;
	return path.p == NULL ? NULL : route_match(x->use->policy, x->req, path);
}

static void begin_record(struct exchange *x)
{
	struct worker *w = x->worker;

	x->record = (struct call_record){
		.start_ns = w->loop.now_ns,
		.start_wall_ns = w->loop.wall_ns,
		.req = x->req,
		.route = x->use->policy->no_route,
	};
}

static bool begin_call(struct exchange *x)
{
	struct worker *w = x->worker;
	struct call *call = &x->call;
	void *mem = arena_alloc(&x->arena, x->route->chain.mem_size + 1);

	if (mem == NULL)
		return false;
	call->env = &w->env;
	call->req = x->req;
	call->arena = &x->arena;
	call->route = x->route->name;
	call->upstream = x->route->cluster->name;
	chain_begin(&x->route->chain, call, mem);
	x->admitted = true;
	x->state = X_ADMITTING;
	if (x->route->conf->timeout.total_ns != 0)
		x->total_deadline_ns = w->loop.now_ns + x->route->conf->timeout.total_ns;
	return true;
}

static void exchange_begin(struct exchange *x)
{
	const struct client_ip_conf *client_ip = &x->use->policy->config->client_ip;
	const struct reason *why = NULL;

	x->call.client = client_ip_find(client_ip, &x->conn->peer, x->req);
	x->route = find_route(x);
	if (x->route != NULL) {
		x->record.route = x->route->stats;
		x->record.route_name = x->route->name;
	}
	stats_call_begin(x->record.route, x->worker->index);
	if (x->call.path.p == NULL)
		why = reason_bad_request;
	else if (x->route == NULL)
		why = reason_no_route;
	else if (x->req->method_id == METHOD_TRACE) /* it would show the fields we set */
		why = reason_trace_refused;
	else if (x->req->method_id == METHOD_OPTIONS && !forward_count_hop(x->req))
		why = reason_max_forwards;
	else if (x->req->body == BODY_LENGTH && x->req->length > x->route->conf->max_body)
		why = reason_body_too_large;
	else if (!begin_call(x))
		why = reason_out_of_memory;
	if (why != NULL)
		exchange_reply(x, why, 0);
	else
		admit(x);
}

/*---------------------------------------------------------------- the client's stream */

/* Keeps what was sent, so that a dead kept-alive connection costs the client nothing. */
static void keep_for_replay(struct exchange *x, struct slice s)
{
	if (!x->replayable)
		return;
	if (x->replay.n + s.n > REPLAY_MAX_BYTES) {
		buf_fini(&x->replay);
		x->replayable = false;
		return;
	}
	buf_put(&x->replay, s.p, s.n);
	x->replayable = !x->replay.oom;
}

static void on_client_body(void *owner, struct slice s, bool end)
{
	struct exchange *x = owner;

	x->request_ended = end;
	if (x->route != NULL && !x->tunnel && x->up.bytes + s.n > x->route->conf->max_body) {
		x->request_ended = false;
		if (x->state == X_AWAITING)
			exchange_reply(x, reason_body_too_large, 0);
		else if (x->state == X_RELAYING)
			cut(x, reason_body_too_large);
		return;
	}
	x->half_closed = x->half_closed || (x->tunnel && end);
	keep_for_replay(x, s);
	pump_body(&x->up, s, end);
	exchange_touch(x);
}

/* What the head may not claim, nor have beside what the route sets, the trailers may not either:
 * some applications merge them. */
static void sift_trailers(const struct exchange *x, struct head *h)
{
	const struct conf_list *set = &x->route->conf->set;

	head_strip_hop_by_hop(h, false);
	forward_sift_trailers(h);
	for (uint32_t i = 0; i < set->n; i++)
		head_remove_alike(h, slice_str(((const struct set_conf *)set->item)[i].name.name));
}

static void on_client_trailers(void *owner, struct head *h)
{
	struct exchange *x = owner;

	x->request_ended = true;
	x->replayable = false; /* trailers are not kept */
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
}

static void on_client_bad(void *owner, const struct reason *why)
{
	struct exchange *x = owner;

	if (x->resp != NULL)
		cut(x, why);
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
	s->on = &client_events;
	s->owner = x;
	begin_record(x);
	return x;
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	struct conn *c = user;
	struct exchange *x = attach(c, s, head);

	x->request_ended = end;
	x->replayable = method_flags[head->method_id] & METHOD_IDEMPOTENT;
	/* from the first moment, be it that new connections are still taken: who goes elsewhere now
	 * has no call under way when idle ones are closed */
	if (exchange_is_draining(x))
		conn_last(c);
	exchange_begin(x);
}

static void on_bad_request(void *user, struct stream *s, struct head *head,
			   const struct reason *why)
{
	struct exchange *x = attach(user, s, head);
	struct conn *c = user;

	x->call.client = addr_ip(&c->peer);
	stats_call_begin(x->record.route, x->worker->index);
	exchange_reply(x, why, 0);
}

const struct codec_events exchange_codec_events = {
	.arena = on_arena,
	.request = on_request,
	.bad_request = on_bad_request,
};

/*---------------------------------------------------------------- what the leg says */

/* Via by the version received; Date where there is none (RFC 9110 sections 7.6.3 and 6.6.1). */
static bool add_fields(struct exchange *x, struct head *h)
{
	static const struct slice v10 = SLICE("1.0 weir"), v11 = SLICE("1.1 weir");

	return head_add(h, F_VIA, h->minor == 0 ? v10 : v11) &&
	       (head_find(h, F_DATE) != NULL || head_add(h, F_DATE, worker_date(x->worker)));
}

static bool send_head(struct exchange *x, struct head *h, bool end)
{
	/* beside 101, what an upstream would switch to is of interest in a 426 only (RFC 9110
	 * section 15.5.22) */
	h->upgrade = h->upgrade && (h->status == 101 || h->status == 426);
	head_strip_hop_by_hop(h, h->upgrade);
	if (h->status >= 200) {
		if (!add_fields(x, h))
			return false;
		chain_respond(&x->call, h);
	}
	return x->client->ops->head(x->client, h, end);
}

void exchange_on_head(struct exchange *x, struct head *h, bool end)
{
	struct worker *w = x->worker;

	if (h->status < 200 && h->status != 101) {
		exchange_touch(x);
		x->continued = x->continued || h->status == 100;
		if (x->req->minor > 0 && !send_head(x, h, false))
			cut(x, reason_out_of_memory);
		return;
	}
	x->resp = h;
	x->state = X_RELAYING;
	x->tunnel = h->status == 101;
	x->record.status = h->status;
	x->record.head_sent_ns = w->loop.now_ns;
	x->call.out.status = h->status;
	x->call.out.why = reason_ok;
	buf_fini(&x->replay);
	x->replayable = false;
	pump_init(&x->down, x->leg.stream, x->client);
	if (!send_head(x, h, end)) {
		cut(x, reason_out_of_memory);
		return;
	}
	exchange_touch(x);
	if (x->tunnel)
		x->client->ops->pause(x->client, false);
}

/* The app beside us may be gone already, and rightly so: its failures are no news. */
bool exchange_is_draining(const struct exchange *x)
{
	return atomic_load_explicit(&x->worker->shared->draining, memory_order_relaxed);
}

/* A try that never reached its endpoint may go to another; one over a kept-alive connection that
 * had died may go again when the method says that twice is as good as once, or nothing was sent. */
void exchange_on_leg_failed(struct exchange *x, const struct reason *why)
{
	bool again = false, fresh = false;

	if (exchange_is_draining(x) && (why->flags & R_FAILURE)) {
		conn_last(x->conn);
		exchange_reply(x, reason_draining, 1000);
		return;
	}
	if (why->flags & R_UNSENT) {
		again = x->call.out.attempts < 8 &&
			cluster_pick(x->route->cluster, x->worker->index, x->tried) != NULL;
	} else if (why == reason_upstream_stale && x->replayable) {
		again = fresh = true;
		x->tried = 0;
	}
	if (again) {
		/* X3; what came meanwhile would be kept within bounds only, trailers not at all */
		if (!x->request_ended)
			x->client->ops->pause(x->client, true);
		leg_start(x, fresh);
		return;
	}
	exchange_reply(x, why == reason_upstream_stale ? reason_upstream_reset : why,
		       why->flags & R_SHED ? 1000 : 0);
}

void exchange_on_answer_cut(struct exchange *x, const struct reason *why)
{
	cut(x, why == reason_upstream_reset ? reason_upstream_truncated : why);
}
