/* leg.c - one try of one endpoint: choose, connect, send, hear.
 *
 *   leg_start -> (idle connection) ----------------> leg_send -> head -> body -> gone
 *             -> (new connection)  -> on_connected -> leg_send
 *
 * Two may be under way beside each other until the first answer (leg_hedge).
 *
 * A leg ends once: leg_finish (the answer is whole), leg_abort (we gave it up) or leg_fail (it
 * broke). */
#include <errno.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/reason.h"
#include "core/exchange.h"
#include "core/action.h"
#include "core/event_log.h"
#include "core/grpc.h"
#include "core/hash_key.h"
#include "core/target.h"
#include "core/template.h"
#include "core/trace.h"
#include "core/tunnel.h"
#include "http/retry_after.h"
#include "upstream/pool.h"

/* In the call's arena. */
struct leg_wait {
	struct pool_waiter waiter;
	struct leg *leg;
};

/*---------------------------------------------------------------- notes */

static struct try_note *note_new(struct exchange *x, const char *address)
{
	struct try_note *n = arena_zalloc(&x->arena, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->address = address;
	n->start_ns = x->worker->loop.now_ns;
	n->connect_ns = n->head_ns = n->whole_ns = UINT64_MAX;
	if (x->last_try == NULL)
		x->tries = n;
	else
		x->last_try->next = n;
	x->last_try = n;
	return n;
}

static void note_begin(struct leg *l)
{
	const struct endpoint *ep = l->member->endpoint;

	l->note = note_new(l->x, ep->peer == NULL ? ep->text : ep->authority);
}

/* A name may stand for several addresses. */
static void note_connected(struct leg *l)
{
	char text[ADDR_TEXT_MAX];
	const char *copy;

	addr_format(&l->conn->peer, text);
	copy = arena_strdup(&l->x->arena, text);
	if (copy != NULL)
		l->note->address = copy;
	l->note->connect_ns = l->x->worker->loop.now_ns - l->note->start_ns;
}

/* Its stream is about to go. */
static void note_stream(struct leg *l)
{
	if (l->stream == NULL)
		return;
	l->in_bytes = l->stream->in_bytes;
	l->out_bytes = l->stream->out_bytes;
	if (l->note == NULL)
		return;
	l->note->in_bytes = l->in_bytes;
	l->note->out_bytes = l->out_bytes;
}

static void note_head(struct leg *l, const struct head *h)
{
	l->note->head = h;
	l->note->status = h->status;
	l->note->head_ns = l->last_ns - l->note->start_ns;
}

static uint64_t body_bytes(const struct leg *l)
{
	return l == l->x->leg && l->heard ? l->x->down.bytes : 0;
}

static void note_end(struct leg *l, const struct reason *why)
{
	struct try_note *n = l->note;

	n->whole_ns = l->x->worker->loop.now_ns - n->start_ns;
	n->body_bytes = body_bytes(l);
	if (n->status == 0 && (why->flags & R_FAILURE))
		n->status = why->status == 504 ? 504 : 502;
}

/*---------------------------------------------------------------- ends */

/* What the balancer is to know of a try that was not answered. */
static void tell_unanswered(struct leg *l, enum endpoint_result result)
{
	struct exchange *x = l->x;
	uint64_t now_ns = x->worker->loop.now_ns;

	if (!l->heard && !l->attempt.excused && result != ENDPOINT_OK)
		cluster_heard(x->cluster, x->worker->index, l->member, now_ns, now_ns - l->start_ns,
			      result == ENDPOINT_FAILED ? HEARD_FAILURE : HEARD_NOTHING);
}

static bool is_failure(uint16_t status)
{
	return status == 429 || status >= 500;
}

/* A fast refusal is not a fast answer. */
static void tell_answered(struct leg *l, uint16_t status)
{
	/* how long a request takes to come is its sender's affair */
	uint64_t from_ns = l->attempt.asked_ns != 0 ? l->attempt.asked_ns : l->start_ns;

	cluster_heard(l->x->cluster, l->x->worker->index, l->member, l->last_ns,
		      l->last_ns - from_ns, is_failure(status) ? HEARD_FAILURE : HEARD_ANSWER);
}

static struct leg *other(const struct leg *l)
{
	return l == l->x->leg ? l->x->rival : l->x->leg;
}

/* What passed while this was the oldest: no time is counted twice. */
static uint64_t time_of(const struct leg *l)
{
	const struct leg *o = other(l);

	if (o == NULL)
		return (l->sent ? l->last_ns : l->x->worker->loop.now_ns) - l->start_ns;
	return l == l->x->rival ? o->start_ns - l->start_ns : 0;
}

static bool is_excused(const struct leg *l)
{
	return l->hurried || exchange_is_draining(l->x);
}

void leg_tell(struct leg *l)
{
	l->told = true;
	l->attempt.why = reason_ok;
	l->attempt.excused = is_excused(l);
	l->attempt.held_ns = pump_held_ns(&l->x->down);
	chain_attempted(exchange_call(l->x), &l->attempt);
}

/* Whether its endpoint has failed for who may pass it over: an answer that is passed on is none of
 * it, whatever it says and however it ends. */
static bool is_ejectable(const struct leg *l, enum endpoint_result result)
{
	return l->dropped ? is_failure(l->attempt.status) : result == ENDPOINT_FAILED && !l->heard;
}

/* One that never left says nothing of its endpoint: neither that it fails nor that it is well. */
static bool is_ejected_by(struct leg *l, enum endpoint_result result, const struct reason *why)
{
	struct exchange *x = l->x;
	bool failed = is_ejectable(l, result);

	if (!x->cluster->bounded || (!failed && (!l->sent || (why->flags & R_UNSENT))))
		return false;
	return cluster_tried(x->cluster, x->worker->index, l->member, x->worker->loop.now_ns,
			     failed);
}

/* A try that fails may be the one for which its endpoint is passed over from here. */
static void tell_chain(struct leg *l, const struct reason *why)
{
	struct call *call = exchange_call(l->x);
	bool heard = l->x->route->log.n_events > 0, open;

	if (l->told)
		return;
	open = heard && chain_shut(call, l->attempt.endpoint) == 0;
	chain_attempted(call, &l->attempt);
	if (open && chain_shut(call, l->attempt.endpoint) > 0)
		event_disabled(l, why);
}

/* It is about the connection no more. */
static void end_wait(struct leg *l)
{
	if (l->waits)
		endpoint_wait(l->member->endpoint, l->x->worker->index, -1);
	l->waits = false;
}

/* It follows one that failed. */
static void count_retry(struct leg *l)
{
	struct endpoint *ep = l->member->endpoint;
	struct exchange *x = l->x;

	if (x->failed_at == NULL)
		return;
	endpoint_add(ep, x->worker->index, ENDPOINT_RETRIES, 1);
	if (x->failed_at != ep)
		endpoint_add(ep, x->worker->index, ENDPOINT_REDISPATCHES, 1);
	x->failed_at = NULL;
}

static void count_try(struct leg *l, enum endpoint_result result)
{
	struct endpoint *ep = l->member->endpoint;
	unsigned w = l->x->worker->index;

	end_wait(l);
	endpoint_add(ep, w, ENDPOINT_BYTES_OUT, l->out_bytes);
	endpoint_add(ep, w, ENDPOINT_BYTES_IN, l->in_bytes != 0 ? l->in_bytes : body_bytes(l));
	if (result == ENDPOINT_FAILED && !l->sent)
		endpoint_add(ep, w, ENDPOINT_UNREACHED, 1);
	endpoint_end(ep, w, result);
}

static void leg_close(struct leg *l, enum endpoint_result result, const struct reason *why)
{
	struct exchange *x = l->x;

	CHECK(l->open);
	l->open = false;
	if (l->note != NULL)
		note_end(l, why);
	l->attempt.why = why;
	l->attempt.excused = is_excused(l);
	l->attempt.asked = l->sent && x->request_ended && !x->up.held;
	if (l->attempt.excused && result == ENDPOINT_FAILED)
		result = ENDPOINT_ABORTED;
	tell_unanswered(l, result);
	count_try(l, result);
	stats_attempt(x->worker->shared->stats, x->worker->index, x->cluster->name,
		      x->worker->loop.now_ns - l->start_ns);
	l->attempt.held_ns = pump_held_ns(&x->down);
	event_try(l, why);
	trace_try_end(l, why);
	tell_chain(l, why);
	if (is_ejected_by(l, result, why) && x->cluster->n > 1)
		event_disabled(l, why);
	x->record.upstream_ns += time_of(l);
	x->up.dst = NULL;
	x->down.src = NULL;
}

/* Its stream is over, in order or not: of the connection the leg hears no more. */
static void leave_conn(struct leg *l, struct conn *c, bool reusable)
{
	struct exchange *x = l->x;

	if (c->codec.multiplexed)
		pool_release(c, l->member->endpoint, x->cluster->conf);
	else if (reusable && h1_reusable(&c->h1))
		pool_put(c, l->member->endpoint, x->worker->index, x->cluster->conf);
	else
		pool_discard(c);
}

/* The whole answer has come. */
static void leg_finish(struct leg *l)
{
	struct conn *c = l->conn;

	note_stream(l);
	l->stream = NULL;
	l->conn = NULL;
	leg_close(l, ENDPOINT_OK, reason_ok);
	leave_conn(l, c, true);
}

void leg_abort(struct leg *l, enum endpoint_result result, const struct reason *why)
{
	struct conn *c = l->conn;

	if (!l->open)
		return;
	note_stream(l);
	if (l->stream != NULL)
		l->stream->ops->reset(l->stream, why);
	if (l->wait != NULL)
		pool_unwait(&l->wait->waiter);
	l->wait = NULL;
	l->stream = NULL;
	l->conn = NULL;
	if (c != NULL)
		leave_conn(l, c, false);
	leg_close(l, result, why);
}

bool leg_gives_way(struct leg *l)
{
	struct exchange *x = l->x;

	if (x->rival == NULL)
		return false;
	x->leg = other(l);
	x->rival = NULL;
	exchange_rearm(x);
	return true;
}

void legs_abort(struct exchange *x, enum endpoint_result result, const struct reason *why)
{
	if (x->rival != NULL)
		leg_abort(x->rival, result, why);
	x->rival = NULL;
	leg_abort(x->leg, result, why);
}

static void leg_fail(struct leg *l, const struct reason *why)
{
	struct exchange *x = l->x;
	bool heard = l->heard, failed;

	/* a kept-alive connection that dies under its next call before a word of answer says
	 * nothing of the endpoint */
	if (l->reused && !heard && why == reason_upstream_reset)
		why = reason_upstream_stale;
	failed = (why->flags & R_FAILURE) && why != reason_upstream_stale;
	leg_close(l, failed ? ENDPOINT_FAILED : ENDPOINT_ABORTED, why);
	if (heard)
		exchange_on_answer_cut(x, why);
	else if (!leg_gives_way(l))
		exchange_on_leg_failed(x, why);
}

/*---------------------------------------------------------------- what its stream says */

/* Of two tries, the one that has a good answer first goes on alone; so does the one whose rival has
 * a bad one. */
static bool wins(struct leg *l, uint16_t status)
{
	struct leg *loser;

	if (l->x->rival == NULL)
		return true;
	if (status < 200)
		return false;
	loser = is_failure(status) ? l : other(l);
	if (loser == l)
		leg_abort(l, ENDPOINT_OK, reason_ok);
	else
		leg_abort(loser, ENDPOINT_ABORTED, reason_hedged);
	leg_gives_way(loser);
	return loser != l;
}

/* What gRPC says of how it went, in a head or in trailers.  That a client was in too much of a
 * hurry is nobody's fault. */
static void judge_grpc(struct leg *l, const struct head *h)
{
	uint8_t code = grpc_code(h);

	l->hurried = code == GRPC_DEADLINE_EXCEEDED && l->x->hurried;
	if (!l->hurried)
		l->attempt.status = grpc_judge(l->attempt.status, code);
	if (grpc_pushback(h, &l->attempt.retry_after_ms) == PUSHBACK_NEVER)
		l->final = true;
}

static void take_answer(struct leg *l, const struct head *h)
{
	l->heard = true;
	l->attempt.status = h->status;
	l->attempt.head_ns = l->last_ns;
	trace_try_head(l, h->status);
	if (l->note != NULL)
		note_head(l, h);
	if (h->status >= 400)
		(void)retry_after_ms(h, l->x->worker->loop.wall_ns, &l->attempt.retry_after_ms);
	if (l->x->grpc)
		judge_grpc(l, h);
	tell_answered(l, l->attempt.status);
}

static void on_head(void *owner, struct head *h, bool end)
{
	struct leg *l = owner;
	uint16_t status = h->status;

	l->last_ns = l->x->worker->loop.now_ns;
	if (status >= 200 || status == 101) {
		take_answer(l, h);
		status = l->attempt.status;
	}
	if (wins(l, status))
		exchange_on_head(l->x, h, end);
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct leg *l = owner;

	l->last_ns = l->x->worker->loop.now_ns;
	l->x->half_closed = l->x->half_closed || (l->x->tunnel && end);
	pump_body(&l->x->down, s, end);
	exchange_touch(l->x);
}

static void on_trailers(void *owner, struct head *h)
{
	struct leg *l = owner;

	l->last_ns = l->x->worker->loop.now_ns;
	head_strip_hop_by_hop(h, false);
	if (l->x->grpc) {
		judge_grpc(l, h);
		exchange_note_grpc(l->x, h);
	}
	pump_trailers(&l->x->down, h);
	exchange_touch(l->x);
}

static void on_room(void *owner)
{
	struct leg *l = owner;

	if (l->heard)
		exchange_touch(l->x);
	else
		exchange_await(l->x, l);
	if (l == l->x->leg)
		pump_room(&l->x->up);
}

static bool goes_on(const struct conn *c)
{
	return c->codec.multiplexed && !c->closing && !c->broken && !c->eof &&
	       c->codec.phase < CODEC_CLOSED;
}

static void on_gone(void *owner, const struct reason *why)
{
	struct leg *l = owner;

	if (why == NULL) {
		leg_finish(l);
		return;
	}
	note_stream(l);
	if (l->conn != NULL && l->conn->transport != NULL)
		l->error = l->conn->transport->error;
	l->stream = NULL;
	/* a stream that is reset over a connection that goes on was not met by a dead one */
	l->reused = l->reused && !(l->conn != NULL && goes_on(l->conn));
	if (l->conn != NULL)
		leave_conn(l, l->conn, false);
	l->conn = NULL;
	leg_fail(l, why);
}

static const struct stream_events leg_stream_events = {
	.head = on_head,
	.body = on_body,
	.trailers = on_trailers,
	.room = on_room,
	.gone = on_gone,
};

/*---------------------------------------------------------------- sending */

static void send_body_so_far(struct leg *l)
{
	struct exchange *x = l->x;

	x->up.bytes = x->call.resendable ? x->call.body_bytes : 0;
	if (exchange_has_own_body(x)) {
		if (x->redirect->body.n > 0)
			l->stream->ops->body(l->stream, x->redirect->body, true);
		return;
	}
	LIST_EACH (n, &x->kept)
		l->stream->ops->body(l->stream, LIST_ENTRY(n, struct kept, link)->s,
				     x->request_ended && n->next == &x->kept);
	if (list_empty(&x->kept) && x->request_ended && x->req->body != BODY_NONE)
		l->stream->ops->body(l->stream, slice_of(NULL, 0), true);
}

/* A 1.0 request may come without Host, but goes on as 1.1: to whom it is sent, then. */
static struct slice own_authority(const struct endpoint *ep)
{
	static const struct slice local = SLICE("localhost");

	return ep->host == NULL && ep->fixed.u.sa.sa_family == AF_UNIX ? local
								       : slice_str(ep->authority);
}

/* The upstream need not work for longer than anybody waits. */
static bool say_time_left(struct exchange *x)
{
	uint64_t now_ns = x->worker->loop.now_ns, until_ns = x->call.deadline_ns;

	if (!x->grpc || until_ns == 0)
		return true;
	return grpc_set_timeout(x->req, until_ns > now_ns ? until_ns - now_ns : 1);
}

/* By another path, or to another host, than the client asked for.  It may have to outlive this
 * try's stream (stream.h, S3). */
static const struct head *redirected(struct leg *l)
{
	struct exchange *x = l->x;
	struct head *h = arena_alloc(&x->arena, sizeof(*h));

	if (h == NULL)
		return NULL;
	*h = *x->req;
	h->path = x->redirect->path;
	h->query = x->redirect->query;
	h->method = x->redirect->method;
	h->method_id = (uint8_t)method_lookup(h->method);
	if (exchange_has_own_body(x)) {
		h->length = x->redirect->body.n;
		h->body = h->length > 0 ? BODY_LENGTH : BODY_NONE;
	}
	if (x->route->rewrite->host_from == HOST_OF_UPSTREAM)
		h->authority = own_authority(l->member->endpoint);
	else if (x->route->rewrite->host_from == HOST_OF_TEXT)
		h->authority = x->redirect->authority;
	return h;
}

static bool leg_send_head(struct leg *l, bool end)
{
	const struct head *h;

	if (l->stream == NULL)
		return false;
	l->stream->on = &leg_stream_events;
	l->stream->owner = l;
	if (!say_time_left(l->x))
		return false;
	trace_try_tell(l);
	l->x->req->as_10 = l->x->cluster->conf->http_1_0;
	h = l->x->redirect == NULL ? l->x->req : redirected(l);
	return h != NULL && l->stream->ops->head(l->stream, h, end);
}

/* The call, too: no other try would fare better. */
static void leg_give_up(struct leg *l, const struct reason *why)
{
	struct exchange *x = l->x;

	leg_abort(l, ENDPOINT_ABORTED, why);
	exchange_reply(x, why, why == reason_out_of_memory ? 1000 : 0);
}

static void leg_send(struct leg *l)
{
	struct exchange *x = l->x;
	bool own = exchange_has_own_body(x), end = x->req->body == BODY_NONE;
	const struct reason *why = NULL;

	end_wait(l);
	if (l->note != NULL)
		note_connected(l);
	if (x->req->authority.n == 0)
		x->req->authority = own_authority(l->member->endpoint);
	if (x->req->upgrade)
		why = tunnel_ask(x, l->conn->codec.multiplexed);
	if (why != NULL) {
		leg_give_up(l, why);
		return;
	}
	l->stream = conn_open(l->conn, &x->arena);
	if (x->cluster->conf->keepalive == 0 && !l->conn->codec.multiplexed)
		conn_last(l->conn);
	l->sent = true;
	l->last_ns = x->worker->loop.now_ns;
	x->state = X_AWAITING;
	pump_init(&x->up, x->client, own ? NULL : l->stream, &x->worker->loop.now_ns);
	if (!leg_send_head(l, own ? x->redirect->body.n == 0 : end)) {
		leg_give_up(l, reason_out_of_memory);
		return;
	}
	send_body_so_far(l);
	exchange_await(x, l);
	if (!end && !x->request_ended)
		x->client->ops->pause(x->client, false);
}

static bool leg_connect(struct leg *);

/* Why it has come to no connection: what we are out of says nothing of the endpoint. */
static const struct reason *unconnected(const struct leg *l)
{
	bool want = l->at_once && l->x->worker->loop.connect_want;

	return want ? reason_no_descriptor : reason_connect_failed;
}

static void on_connected(struct conn *c)
{
	leg_send(c->owner);
}

static void on_closed(struct conn *c, const struct reason *why)
{
	struct leg *l = c->owner;

	pool_closed(c);
	if (l->conn != c)
		return; /* its stream has told already */
	l->conn = NULL;
	l->error = c->error;
	if (l->sent || !leg_connect(l))
		leg_fail(l, why != NULL ? why : unconnected(l));
}

static void on_timeout(struct conn *c)
{
	(void)c; /* the exchange keeps the time of a leg */
}

static const struct conn_events leg_conn_events = {
	.connected = on_connected,
	.timeout = on_timeout,
	.closed = on_closed,
};

/*---------------------------------------------------------------- shared connections */

static void on_shared_ready(struct pool_waiter *w, struct conn *c)
{
	struct leg *l = LIST_ENTRY(w, struct leg_wait, waiter)->leg;

	l->wait = NULL;
	l->conn = c;
	if (!c->codec.multiplexed) {
		c->on = &leg_conn_events;
		c->owner = l;
	}
	leg_send(l);
}

static void on_shared_again(struct pool_waiter *w)
{
	struct leg *l = LIST_ENTRY(w, struct leg_wait, waiter)->leg;

	l->wait = NULL;
	l->addresses_left++; /* it was not tried */
	if (!leg_connect(l))
		leg_fail(l, unconnected(l));
}

static void on_shared_failed(struct pool_waiter *w, const struct reason *why)
{
	struct leg *l = LIST_ENTRY(w, struct leg_wait, waiter)->leg;

	l->wait = NULL;
	if (!leg_connect(l))
		leg_fail(l, why);
}

static bool leg_await_shared(struct leg *l)
{
	struct exchange *x = l->x;
	struct leg_wait *wait = arena_alloc(&x->arena, sizeof(*wait));

	if (wait == NULL)
		return false;
	*wait = (struct leg_wait){
		.waiter = { .ready = on_shared_ready,
			    .again = on_shared_again,
			    .failed = on_shared_failed },
		.leg = l,
	};
	list_init(&wait->waiter.link);
	if (!pool_await(&x->worker->loop, l->member->endpoint, x->worker->index, x->cluster,
			&x->worker->upstream_limits, &wait->waiter))
		return false;
	l->wait = wait;
	return true;
}

/* Of those who choose, few take extended CONNECT, but all of them HTTP/1's upgrade. */
static bool leg_shares(const struct leg *l)
{
	const struct exchange *x = l->x;

	return x->cluster->conf->http2 != HTTP_1 && pool_shares(l->member->endpoint, x->cluster) &&
	       !(x->req->upgrade && x->cluster->conf->http2 == HTTP_AUTO);
}

/* Others may hold what it needs, and not need it. */
static bool frees_descriptors(struct worker *w)
{
	int error = w->loop.connect_error;

	return (error == EMFILE || error == ENFILE) && worker_close_idle(w);
}

/* A name with several addresses is tried at each of them. */
static bool leg_connect(struct leg *l)
{
	struct exchange *x = l->x;
	struct worker *w = x->worker;
	struct endpoint *ep = l->member->endpoint;
	uint64_t connect_ns = x->cluster->conf->connect_timeout_ns;

	if (x->rival == NULL)
		x->state = X_CONNECTING;
	w->loop.connect_error = 0;
	w->loop.connect_want = false;
	while (l->conn == NULL && l->wait == NULL && l->addresses_left > 0) {
		l->addresses_left--;
		if (leg_shares(l))
			(void)leg_await_shared(l);
		else
			l->conn = pool_connect(&w->loop, ep, w->index, x->cluster, CONN_HTTP1,
					       &leg_conn_events, l, &w->upstream_limits);
		if (l->conn == NULL && l->wait == NULL && frees_descriptors(w))
			l->addresses_left++; /* once more */
	}
	if (l->conn == NULL && l->wait == NULL) {
		l->at_once = l->error == 0;
		l->error = l->at_once ? w->loop.connect_error : l->error;
		return false;
	}
	exchange_set_late(x, l, connect_ns);
	return true;
}

static uint32_t index_of(const struct cluster *cl, const struct cluster_member *m)
{
	return (uint32_t)(m - cl->member);
}

/* Adds those to the pick's tried that filters shut; the one that is shut for the shortest time, or
 * `shut`, which is shut for `shortest`. */
static struct cluster_member *skip_shut(struct exchange *x, struct pick *pick,
					struct cluster_member *shut, uint64_t shortest)
{
	struct cluster *cl = x->cluster;

	for (uint32_t i = 0; i < cl->n; i++) {
		struct cluster_member *m = &cl->member[i];
		uint64_t ns;

		if (member_set_has(&pick->tried, i))
			continue;
		ns = chain_shut(&x->call, m->endpoint->id);
		if (ns == 0)
			continue;
		member_set_add(&pick->tried, i);
		if (ns >= shortest || !endpoint_is_up(m->endpoint))
			continue;
		shortest = ns;
		shut = m;
	}
	return shut;
}

/* Empty: memory is out, or the call lacks all of it. */
static struct slice hash_text_of(struct exchange *x)
{
	struct template_values values;
	struct slice text = slice_of(NULL, 0);

	exchange_values(x, &values);
	if (!template_fill(x->cluster->hash_text, &values, TEMPLATE_TEXT, &text))
		return slice_of(NULL, 0);
	return text;
}

/* One that no filter shuts, skipping those in `tried`; else, in *shut, the one that is shut for the
 * shortest time. */
static struct cluster_member *pick_open(struct exchange *x, const struct member_set *tried,
					struct cluster_member **shut)
{
	struct pick pick = { .tried = *tried, .now_ns = x->worker->loop.now_ns };
	struct cluster_member *m;
	uint64_t ns;

	*shut = NULL;
	pick.hashed = hash_key_of(x->cluster, exchange_call(x), &pick.hash);
	if (x->cluster->hash_text != NULL)
		pick.key = hash_text_of(x);
	if (x->cluster->conf->lb == LB_ADDRESS_HASH)
		pick.client = x->call.client;
	m = cluster_pick(x->cluster, x->worker->index, &pick);
	ns = m == NULL ? 0 : chain_shut(&x->call, m->endpoint->id);
	if (ns == 0)
		return m;
	*shut = skip_shut(x, &pick, m, ns);
	member_set_add(&pick.tried, index_of(x->cluster, m));
	return cluster_pick(x->cluster, x->worker->index, &pick);
}

/* UINT64_MAX: there is none. */
static uint64_t shortest_shut_ns(struct exchange *x, bool only_up)
{
	uint64_t shortest = UINT64_MAX;

	for (uint32_t i = 0; i < x->cluster->n; i++) {
		const struct endpoint *e = x->cluster->member[i].endpoint;
		uint64_t ns;

		if (only_up && !endpoint_is_up(e))
			continue;
		ns = chain_shut(exchange_call(x), e->id);
		shortest = ns < shortest ? ns : shortest;
	}
	return shortest;
}

uint64_t leg_shut_ms(struct exchange *x)
{
	uint64_t shortest = shortest_shut_ns(x, true);

	if (shortest == UINT64_MAX) /* when none is up, those that are down are used */
		shortest = shortest_shut_ns(x, false);
	return shortest == UINT64_MAX ? 0 : shortest / CLOCK_MS + (shortest % CLOCK_MS != 0);
}

/* Those that were tried already come again when no other is left; and one that is shut when all
 * are, for its filter to say so. */
static bool leg_choose(struct leg *l, struct exchange *x)
{
	struct cluster_member *shut, *m = pick_open(x, &x->tried, &shut);

	if (m == NULL && !x->elsewhere && !member_set_is_empty(&x->tried)) {
		x->tried = (struct member_set){ 0 };
		m = pick_open(x, &x->tried, &shut);
	}
	if (m == NULL)
		m = shut;
	if (m == NULL)
		return false;
	member_set_add(&x->tried, index_of(x->cluster, m));
	*l = (struct leg){ .x = x, .member = m, .start_ns = x->worker->loop.now_ns };
	l->attempt.start_ns = l->start_ns;
	l->attempt.asked_ns = x->request_ended ? l->start_ns : 0;
	l->attempt.endpoint = m->endpoint->id;
	l->attempt.number = ++x->call.out.attempts;
	l->attempt.beside = x->rival != NULL;
	l->addresses_left = endpoint_addr_count(m->endpoint);
	return true;
}

/* PASS: the leg has an endpoint, and the filters let it go there.  One that was open a moment ago
 * may be shut by now, by another worker's doing: then there may be others. */
static struct verdict leg_choose_and_ask(struct leg *l, struct exchange *x, enum try_kind kind)
{
	struct verdict v = verdict_deny(reason_no_endpoint, 1000);
	struct cluster_member *shut;

	x->call.repeat = kind != TRY;
	for (uint32_t i = 0; i <= x->cluster->n && leg_choose(l, x); i++) {
		v = chain_attempt(exchange_call(x), &l->attempt);
		if (v.kind != V_DENY)
			return v;
		chain_attempted(&x->call, &l->attempt);
		x->call.out.attempts--; /* nothing was tried */
		if (v.why != reason_breaker_open || pick_open(x, &x->tried, &shut) == NULL)
			return v;
		chain_undeny(&x->call);
	}
	return v;
}

/* A connection that is there already. */
static struct conn *take_conn(struct leg *l)
{
	struct exchange *x = l->x;
	struct endpoint *ep = l->member->endpoint;
	unsigned w = x->worker->index;
	/* what cannot be sent again is worth a look at the connection */
	bool quiet = !exchange_is_replayable(x);
	struct conn *c = NULL;

	if (leg_shares(l))
		c = pool_share(ep, w, x->cluster, quiet);
	if (c != NULL || x->cluster->conf->http2 == HTTP_2)
		return c;
	return pool_take(ep, w, x->cluster, quiet, &leg_conn_events, l);
}

/* One with calls under way is none that has died of old age. */
static bool was_idle(const struct conn *c)
{
	return c != NULL && (!c->codec.multiplexed || h2_streams(&c->h2) == 0);
}

/* It has an endpoint, and may go there. */
static void leg_begin(struct leg *l, enum try_kind kind)
{
	struct exchange *x = l->x;
	struct endpoint *ep = l->member->endpoint;
	unsigned w = x->worker->index;

	endpoint_begin(ep, w);
	count_retry(l);
	l->open = true;
	if (x->route->watched)
		note_begin(l);
	trace_try_begin(l);
	if (kind != TRY_FRESH)
		l->conn = take_conn(l);
	l->reused = was_idle(l->conn);
	l->waits = l->conn == NULL;
	if (l->waits)
		endpoint_wait(ep, w, 1);
	if (l->conn != NULL)
		leg_send(l);
	else if (!leg_connect(l))
		leg_fail(l, pool_is_full(ep, w, x->cluster->conf) ? reason_upstream_full
								  : unconnected(l));
}

/* The whole upstream is what was tried, and none of it there. */
static void note_nowhere(struct exchange *x)
{
	struct try_note *n = note_new(x, x->cluster->name);

	if (n == NULL)
		return;
	n->status = 502;
	n->whole_ns = 0;
}

void leg_start(struct exchange *x, enum try_kind kind)
{
	struct verdict v = leg_choose_and_ask(x->leg, x, kind);

	if (v.kind == V_DENY && x->route->watched)
		note_nowhere(x);
	if (v.kind == V_DENY)
		event_nowhere(x);
	if (v.kind == V_DENY)
		exchange_on_no_endpoint(x, v.why, v.ms);
	else
		leg_begin(x->leg, kind);
}

bool leg_hedge(struct exchange *x)
{
	struct limit_info limit = x->call.out.limit;
	struct leg *l = arena_alloc(&x->arena, sizeof(*l));

	if (l == NULL)
		return false;
	x->rival = x->leg; /* so that what is asked knows of it */
	x->leg = l;
	if (leg_choose_and_ask(l, x, TRY).kind == V_DENY) {
		x->leg = x->rival;
		x->rival = NULL;
		x->call.out.limit = limit; /* the client is not told of it */
		x->call.out.status = 0;
		return false;
	}
	leg_begin(l, TRY);
	return true;
}
