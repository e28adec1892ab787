/* service_call.c - a request to the probes or admin listener: its body is gathered, the service
 * asked, the reply sent.
 *
 * A body has as long to come as a head has, and a reply as long to be taken as any answer: else a
 * few idlers would keep the probes from being heard.
 *
 *   GATHERING -> ask -+------------------------> reply -> end
 *                     +-> control's task --------^
 *                     +-> events, one after the other, until the client goes
 *
 * A call whose client goes while control has its task forgets the task, not the other way round. */
#include "core/service_call.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/reason.h"
#include "base/stat.h"
#include "core/control.h"
#include "core/service.h"
#include "core/worker.h"

enum { SERVICE_BODY_MAX = 64 * 1024 };

/* Whether a client that follows events is still there is looked at this often; every so manieth
 * time it is sent something, so that proxies between do not hang up. */
#define STREAM_LOOK_NS CLOCK_S
enum { STREAM_LOOKS_A_BEAT = 15 };

/* A task that control has. */
struct asked {
	struct task_message message; /* first */
	struct service_call *call;   /* NULL: gone */
};

struct service_call {
	struct worker *worker;
	const struct service *service;
	struct conn *conn;
	struct stream *stream;
	struct head *req;
	struct arena arena;
	struct buf body;
	struct service_reply reply;
	bool answered;
	bool next_turn;          /* it is whole, and its turn is the loop's next */
	struct asked *asked;     /* control has it */
	struct list stream_link; /* worker.streams */
	struct list link;        /* worker.service_calls */
	uint64_t since_ns;       /* its body is awaited, or its answer is under way */
	bool streaming;
	unsigned looks;
	uint64_t seq;   /* of the next event */
	bool caught_up; /* what was before its time is not missed */
	struct timer timer;
	struct deferred grave;
};

static void on_timer(struct timer *);

static struct arena *on_arena(void *user, struct stream *s)
{
	struct conn *c = user;
	struct worker_listener *wl = c->owner;
	struct service_call *sc = calloc(1, sizeof(*sc));

	(void)s;
	c->data = sc;
	if (sc == NULL)
		return NULL;
	sc->worker = wl->worker;
	sc->service = wl->slot->service;
	arena_init(&sc->arena, &wl->worker->loop.pool);
	timer_init(&sc->timer, on_timer);
	list_init(&sc->stream_link);
	list_init(&sc->link);
	return &sc->arena;
}

static void on_grave(struct deferred *d)
{
	struct service_call *sc = LIST_ENTRY(d, struct service_call, grave);

	buf_fini(&sc->body);
	buf_fini(&sc->reply.body);
	arena_fini(&sc->arena);
	free(sc);
}

static void end_call(struct service_call *sc)
{
	if (sc->asked != NULL)
		sc->asked->call = NULL;
	if (sc->streaming) {
		sc->streaming = false;
		list_remove(&sc->stream_link);
		atomic_fetch_sub(&sc->worker->shared->streams, 1);
	}
	list_remove(&sc->link);
	timer_fini(&sc->worker->loop.timers, &sc->timer);
	loop_defer(&sc->worker->loop, &sc->grave, on_grave);
}

static bool set_deadline(struct service_call *sc, uint64_t ns)
{
	struct loop *loop = &sc->worker->loop;

	return timer_set(&loop->timers, &sc->timer, loop->now_ns + ns);
}

/* Something begins that may take its time. */
static void begin_part(struct service_call *sc)
{
	list_remove(&sc->link);
	list_push_back(&sc->worker->service_calls, &sc->link);
	sc->since_ns = sc->worker->loop.now_ns;
}

struct conn *service_call_slowest(const struct worker_listener *wl)
{
	struct loop *loop = &wl->worker->loop;

	LIST_EACH (n, &wl->worker->service_calls) {
		struct service_call *sc = LIST_ENTRY(n, struct service_call, link);

		if (sc->conn->owner == wl && !sc->conn->closing && !sc->streaming &&
		    sc->asked == NULL && loop->now_ns - sc->since_ns >= SERVICE_SLOW_NS)
			return sc->conn;
	}
	return NULL;
}

static bool add(struct head *h, const char *name, const char *value)
{
	return value == NULL || head_add_name(h, slice_str(name), slice_str(value));
}

static bool add_wait(struct head *h, unsigned s)
{
	return s == 0 || (head_add_u64(h, F_RETRY_AFTER, s) &&
			  head_add_u64(h, F_RETRY_AFTER_MS, UINT64_C(1000) * s));
}

static bool send_head(struct service_call *sc, bool end)
{
	struct service_reply *r = &sc->reply;
	struct head *h = arena_alloc(&sc->arena, sizeof(*h));

	if (h == NULL)
		return false;
	head_init(h, &sc->arena);
	h->status = r->status;
	h->body = end ? BODY_NONE : r->streams ? BODY_CHUNKED : BODY_LENGTH;
	h->length = r->body.n;
	h->keep_alive = true;
	return head_add(h, F_DATE, worker_date(sc->worker)) &&
	       add(h, "Content-Type", r->content_type) && add(h, "ETag", r->etag) &&
	       add(h, "Allow", r->allow) && add(h, "WWW-Authenticate", r->www_authenticate) &&
	       add_wait(h, r->retry_after_s) &&
	       add(h, "Content-Security-Policy", r->content_security_policy) &&
	       add(h, "X-Content-Type-Options", "nosniff") && add(h, "Cache-Control", "no-store") &&
	       sc->stream->ops->head(sc->stream, h, end);
}

static void give_up(struct service_call *sc, const struct reason *why)
{
	sc->stream->ops->reset(sc->stream, why);
	end_call(sc);
}

static void send_reply(struct service_call *sc)
{
	struct service_reply *r = &sc->reply;
	uint64_t ns = r->streams ? STREAM_LOOK_NS : sc->worker->times.write_ns;
	bool end = r->status == 304;

	sc->answered = true;
	begin_part(sc);
	if (r->body.oom || !set_deadline(sc, ns) || !send_head(sc, end)) {
		give_up(sc, reason_out_of_memory);
		return;
	}
	if (r->streams)
		conn_last(sc->conn);
	if (!end && (r->body.n > 0 || !r->streams))
		sc->stream->ops->body(sc->stream, slice_of(r->body.p, r->body.n), !r->streams);
}

/*------------------------------------------------------------------ events */

/* Server-sent events (HTML standard, section 9.2.6). */
static void put_event(struct buf *b, const struct event *e)
{
	buf_printf(b, "id: %llu\ndata: ", (unsigned long long)e->seq);
	event_json(b, e);
	buf_puts(b, "\n\n");
}

/* Bytes that the connection borrows until it has flushed (S3). */
struct chunk {
	struct deferred grave;
	struct buf text;
};

static void on_chunk_sent(struct deferred *d)
{
	struct chunk *c = LIST_ENTRY(d, struct chunk, grave);

	buf_fini(&c->text);
	free(c);
}

static void put_chunk(struct service_call *sc, struct buf *text)
{
	struct chunk *c = text->oom ? NULL : calloc(1, sizeof(*c));

	if (c == NULL) { /* these are lost to this client */
		buf_fini(text);
		return;
	}
	c->text = *text;
	sc->stream->ops->body(sc->stream, slice_of(text->p, text->n), false);
	loop_defer(&sc->worker->loop, &c->grave, on_chunk_sent);
}

/* A comment of the stream; programs see it by the numbers. */
static void tell_missed(struct service_call *sc, struct buf *b, uint64_t n)
{
	buf_printf(b, ": %llu events were missed\n\n", (unsigned long long)n);
	atomic_fetch_add_explicit(&sc->worker->shared->events_missed, n, memory_order_relaxed);
}

/* As far as the client takes them, until the stream is full, so that it says when there is room
 * again.  What gives way in the ring meanwhile the client does not get, and is told so. */
static void send_events(struct service_call *sc)
{
	struct buf b = { 0 };
	struct event e;

	for (;;) {
		uint64_t wanted = sc->seq;

		if (sc->stream->queued + b.n > STREAM_HIGH_WATER || !events_next(&sc->seq, &e))
			break;
		if (sc->caught_up && e.seq > wanted)
			tell_missed(sc, &b, e.seq - wanted);
		sc->caught_up = true;
		put_event(&b, &e);
	}
	if (b.n > 0)
		put_chunk(sc, &b);
}

void service_call_send_events(struct worker *w)
{
	LIST_EACH (n, &w->streams)
		send_events(LIST_ENTRY(n, struct service_call, stream_link));
}

static void begin_stream(struct service_call *sc)
{
	struct worker *w = sc->worker;

	sc->streaming = true;
	sc->seq = sc->reply.stream_from;
	list_push_back(&w->streams, &sc->stream_link);
	atomic_fetch_add(&w->shared->streams, 1);
	send_reply(sc);
	if (sc->streaming)
		send_events(sc);
}

/* Nobody who follows events has anything more to say: the end of what it says is its end. */
static void look_after(struct service_call *sc)
{
	bool beat = ++sc->looks % STREAM_LOOKS_A_BEAT == 0;

	if (sc->conn->eof || (beat && sc->stream->queued > 0) || !set_deadline(sc, STREAM_LOOK_NS))
		give_up(sc, reason_client_stalled);
	else if (beat)
		sc->stream->ops->body(sc->stream, slice_str(":\n\n"), false);
}

/*---------------------------------------------------------------- the answer */

/* Who gives orders is worth knowing afterwards. */
static void tell_who(const struct service_call *sc, char out[static SERVICE_WHO_MAX])
{
	const struct transport *t = sc->conn->transport;
	bool same_host = sc->conn->peer.u.sa.sa_family == AF_UNIX;
	uid_t uid;
	pid_t pid;

	if (!same_host)
		addr_format(&sc->conn->peer, out);
	else if (t->ops->process != NULL && t->ops->process(t, &uid, &pid))
		snprintf(out, SERVICE_WHO_MAX, "uid %u (process %d)", (unsigned)uid, (int)pid);
	else
		snprintf(out, SERVICE_WHO_MAX, "a unix socket");
}

static void call_page(struct service_call *sc, service_page *page)
{
	struct worker *w = sc->worker;
	struct shared *sh = w->shared;
	struct process_view view = {
		.policy = w->use->policy,
		.stats = sh->stats,
		.workers = sh->workers,
		.reload = &sh->reload,
		.ready = atomic_load(&sh->ready),
		.draining = atomic_load(&sh->draining) || atomic_load(&sh->orders.drained),
		.orders = &sh->orders,
		.budgets = &sh->budgets,
		.denials = &sh->denials,
		.streams = atomic_load(&sh->streams),
		.events_missed = atomic_load_explicit(&sh->events_missed, memory_order_relaxed),
		.start_wall_ns = sh->start_wall_ns,
		.now_wall_ns = w->loop.wall_ns,
		.now_ns = w->loop.now_ns,
		.policies = atomic_load(&sh->policies),
		.access_lines_dropped = access_log_dropped(sh->log) + log_files_dropped(sh->logs),
		.redis = sh->redis,
		.tracing = sh->tracing,
		.memory = &sh->memory,
	};
	char who[SERVICE_WHO_MAX];
	struct service_request req = {
		.head = sc->req,
		.who = who,
		.path = sc->req->path,
		.query = sc->req->query,
		.body = slice_of(sc->body.p, sc->body.n),
		.loopback = addr_is_loopback(&sc->conn->peer),
	};

	tell_who(sc, who);
	page(&view, &req, &sc->reply);
}

/*---------------------------------------------------------- control's tasks */

/* After what control did, or could not do. */
static void take_result(struct service_call *sc, struct control_task *task)
{
	service_page *then = sc->reply.then;

	buf_fini(&sc->reply.body);
	sc->reply = (struct service_reply){ .status = task->status };
	if (task->status == 200 && then != NULL) {
		buf_fini(&task->body);
		call_page(sc, then);
		return;
	}
	sc->reply.content_type = "application/json";
	sc->reply.body = task->body;
}

static void on_task_done(void *worker, struct message *m)
{
	struct asked *asked = LIST_ENTRY(m, struct asked, message.message);
	struct service_call *sc = asked->call;

	(void)worker;
	if (sc != NULL) {
		sc->asked = NULL;
		take_result(sc, &asked->message.task);
		send_reply(sc);
	} else {
		buf_fini(&asked->message.task.body);
	}
	free(asked);
}

static void ask_control(struct service_call *sc)
{
	struct asked *asked = calloc(1, sizeof(*asked));

	if (asked == NULL) {
		if (sc->reply.task.kind == TASK_RELOAD)
			atomic_store(&sc->worker->shared->orders.reloading, false);
		give_up(sc, reason_out_of_memory);
		return;
	}
	asked->call = sc;
	asked->message.message.run = control_task_run;
	asked->message.task = sc->reply.task;
	asked->message.back = &sc->worker->mailbox;
	asked->message.done = on_task_done;
	sc->asked = asked;
	timer_clear(&sc->timer); /* it may take as long as names take */
	mailbox_post(sc->worker->shared->control, &asked->message.message);
}

/* One reload at a time: a storm of them would keep control from hearing anything else. */
static bool is_too_much(struct service_call *sc)
{
	struct service_reply *r = &sc->reply;

	if (r->task.kind != TASK_RELOAD ||
	    !atomic_exchange(&sc->worker->shared->orders.reloading, true))
		return false;
	*r = (struct service_reply){ .status = 409,
				     .content_type = "application/json",
				     .retry_after_s = 1 };
	buf_puts(&r->body, "{\"error\":\"a reload is under way\"}\n");
	return true;
}

static void answer(struct service_call *sc)
{
	if (sc->reply.has_task && !is_too_much(sc))
		ask_control(sc);
	else if (sc->reply.streams)
		begin_stream(sc);
	else
		send_reply(sc);
}

static void ask(struct service_call *sc)
{
	call_page(sc, sc->service->handle);
	answer(sc);
}

/* What a client sends without awaiting answers comes one a turn of the loop: calls go on
 * meanwhile, and what one answer took is free before the next. */
static void ask_in_turn(struct service_call *sc)
{
	sc->next_turn = sc->stream->pipelined && set_deadline(sc, 0);
	if (!sc->next_turn)
		ask(sc);
}

static void refuse(struct service_call *sc, const struct reason *why)
{
	sc->reply.status = why->status;
	sc->reply.content_type = "text/plain; charset=utf-8";
	/* CONNECT names no page, which could say what it takes */
	sc->reply.allow = why->status == 405 ? "GET, HEAD" : NULL;
	buf_printf(&sc->reply.body, "%s\n", why->text);
	conn_last(sc->conn);
	send_reply(sc);
}

static void on_timer(struct timer *t)
{
	struct service_call *sc = LIST_ENTRY(t, struct service_call, timer);

	if (!sc->answered && sc->next_turn)
		ask(sc);
	else if (!sc->answered)
		refuse(sc, reason_body_timeout);
	else if (sc->streaming)
		look_after(sc);
	else
		give_up(sc, reason_client_stalled);
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct service_call *sc = owner;

	if (sc->answered || sc->asked != NULL)
		return;
	if (sc->body.n + s.n > SERVICE_BODY_MAX) {
		refuse(sc, reason_body_too_large);
		return;
	}
	buf_put(&sc->body, s.p, s.n);
	if (end)
		ask_in_turn(sc);
}

static void on_trailers(void *owner, struct head *h)
{
	(void)h;
	on_body(owner, slice_of(NULL, 0), true);
}

static void on_room(void *owner)
{
	struct service_call *sc = owner;

	if (sc->streaming)
		send_events(sc);
}

static void on_bad(void *owner, const struct reason *why)
{
	struct service_call *sc = owner;

	if (!sc->answered && sc->asked == NULL)
		refuse(sc, why);
}

static void on_gone(void *owner, const struct reason *why)
{
	(void)why;
	end_call(owner);
}

static const struct stream_events call_events = {
	.body = on_body,
	.trailers = on_trailers,
	.room = on_room,
	.bad = on_bad,
	.gone = on_gone,
};

static struct service_call *attach(struct conn *c, struct stream *s, struct head *head)
{
	struct service_call *sc = c->data;

	c->data = NULL;
	sc->conn = c;
	sc->stream = s;
	sc->req = head;
	s->on = &call_events;
	s->owner = sc;
	begin_part(sc);
	return sc;
}

static bool send_continue(struct service_call *sc)
{
	struct head *h = arena_alloc(&sc->arena, sizeof(*h));

	if (h == NULL)
		return false;
	head_init(h, &sc->arena);
	h->status = 100;
	return sc->stream->ops->head(sc->stream, h, false);
}

/* Nobody is told to go on, or holds memory, who would be refused whatever the body is. */
static bool is_refused_unread(struct service_call *sc)
{
	if (sc->service->door != NULL)
		call_page(sc, sc->service->door);
	if (sc->reply.status == 0)
		return false;
	conn_last(sc->conn);
	send_reply(sc);
	return true;
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	struct service_call *sc = attach(user, s, head);

	if (end)
		ask_in_turn(sc);
	else if (is_refused_unread(sc))
		return;
	else if (!set_deadline(sc, sc->worker->times.header_ns) ||
		 (head->expect_continue && !send_continue(sc)))
		refuse(sc, reason_out_of_memory);
	else
		s->ops->pause(s, false);
}

static void on_bad_request(void *user, struct stream *s, struct head *head,
			   const struct reason *why)
{
	refuse(attach(user, s, head), why);
}

const struct codec_events service_codec_events = {
	.arena = on_arena,
	.request = on_request,
	.bad_request = on_bad_request,
};
