/* service_call.c - a request to the probes or admin listener: its body is gathered, the service
 * asked, the reply sent.
 *
 * A body has as long to come as a head has, and a reply as long to be taken as any answer: else a
 * few idlers would keep the probes from being heard. */
#include "core/service_call.h"

#include <stdlib.h>

#include "base/addr.h"
#include "base/reason.h"
#include "core/service.h"
#include "core/worker.h"

enum { SERVICE_BODY_MAX = 64 * 1024 };

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
	timer_fini(&sc->worker->loop.timers, &sc->timer);
	loop_defer(&sc->worker->loop, &sc->grave, on_grave);
}

static bool set_deadline(struct service_call *sc, uint64_t ns)
{
	struct loop *loop = &sc->worker->loop;

	return timer_set(&loop->timers, &sc->timer, loop->now_ns + ns);
}

static bool add(struct head *h, const char *name, const char *value)
{
	return value == NULL || head_add_name(h, slice_str(name), slice_str(value));
}

static void send_reply(struct service_call *sc)
{
	struct service_reply *r = &sc->reply;
	struct head *h = arena_alloc(&sc->arena, sizeof(*h));
	bool ok = h != NULL && !r->body.oom && set_deadline(sc, sc->worker->times.write_ns);
	bool end = r->status == 304;

	sc->answered = true;
	if (ok) {
		head_init(h, &sc->arena);
		h->status = r->status;
		h->body = end ? BODY_NONE : BODY_LENGTH;
		h->length = r->body.n;
		h->keep_alive = true;
		ok = head_add(h, F_DATE, worker_date(sc->worker)) &&
		     add(h, "Content-Type", r->content_type) && add(h, "ETag", r->etag) &&
		     add(h, "Allow", r->allow) && add(h, "WWW-Authenticate", r->www_authenticate) &&
		     add(h, "Cache-Control", "no-store") &&
		     sc->stream->ops->head(sc->stream, h, end);
	}
	if (!ok) {
		sc->stream->ops->reset(sc->stream, reason_out_of_memory);
		end_call(sc);
		return;
	}
	if (!end)
		sc->stream->ops->body(sc->stream, slice_of(r->body.p, r->body.n), true);
}

static void ask(struct service_call *sc)
{
	struct worker *w = sc->worker;
	struct shared *sh = w->shared;
	struct process_view view = {
		.policy = w->use->policy,
		.stats = sh->stats,
		.workers = sh->workers,
		.reload = &sh->reload,
		.ready = atomic_load(&sh->ready),
		.draining = atomic_load(&sh->draining),
		.start_wall_ns = sh->start_wall_ns,
		.now_wall_ns = w->loop.wall_ns,
		.now_ns = w->loop.now_ns,
		.policies = atomic_load(&sh->policies),
		.access_lines_dropped = access_log_dropped(sh->log) + log_files_dropped(sh->logs),
		.redis = sh->redis,
	};
	struct service_request req = {
		.head = sc->req,
		.path = sc->req->path,
		.query = sc->req->query,
		.body = slice_of(sc->body.p, sc->body.n),
		.loopback = addr_is_loopback(&sc->conn->peer),
	};

	sc->service->handle(&view, &req, &sc->reply);
	send_reply(sc);
}

static void refuse(struct service_call *sc, const struct reason *why)
{
	sc->reply.status = why->status;
	sc->reply.content_type = "text/plain; charset=utf-8";
	buf_printf(&sc->reply.body, "%s\n", why->text);
	conn_last(sc->conn);
	send_reply(sc);
}

static void on_timer(struct timer *t)
{
	struct service_call *sc = LIST_ENTRY(t, struct service_call, timer);

	if (!sc->answered) {
		refuse(sc, reason_body_timeout);
		return;
	}
	sc->stream->ops->reset(sc->stream, reason_client_stalled);
	end_call(sc);
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct service_call *sc = owner;

	if (sc->answered)
		return;
	if (sc->body.n + s.n > SERVICE_BODY_MAX) {
		refuse(sc, reason_body_too_large);
		return;
	}
	buf_put(&sc->body, s.p, s.n);
	if (end)
		ask(sc);
}

static void on_trailers(void *owner, struct head *h)
{
	(void)h;
	on_body(owner, slice_of(NULL, 0), true);
}

static void on_room(void *owner)
{
	(void)owner;
}

static void on_bad(void *owner, const struct reason *why)
{
	struct service_call *sc = owner;

	if (!sc->answered)
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

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	struct service_call *sc = attach(user, s, head);

	if (end)
		ask(sc);
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
