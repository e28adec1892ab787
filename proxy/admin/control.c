/* control.c - what is asked of the control thread, and what it was told last. */
#include "admin/control.h"

#include <stdio.h>

#include "admin/order.h"
#include "admin/page.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/stat.h"

#define ORDER_TIME_MAX (30 * 24 * 3600 * CLOCK_S)

static void ask(const struct service_request *req, struct service_reply *reply,
		struct control_task task, service_page *then)
{
	reply->has_task = true;
	reply->task = task;
	snprintf(reply->task.who, sizeof(reply->task.who), "%s", req->who);
	reply->then = then;
}

static void put_left(struct buf *b, const struct process_view *view, uint64_t until_ns)
{
	buf_puts(b, ",\"left\":");
	stat_print_seconds(b, until_ns > view->now_ns ? until_ns - view->now_ns : 0);
}

static struct buf *begin_json(struct service_reply *reply)
{
	reply->status = 200;
	reply->content_type = "application/json";
	return &reply->body;
}

/*------------------------------------------------------------------ reload */

static const struct field no_fields[] = { { .key = NULL } };
static const struct schema empty_order = { .name = "order", .size = 1, .fields = no_fields };

void reload_order(const struct process_view *view, const struct service_request *req,
		  struct service_reply *reply)
{
	struct arena arena;
	char nothing;

	(void)view;
	arena_init(&arena, NULL);
	if (order_read(req, &empty_order, "a reload takes no body, or {}", &arena, &nothing, reply))
		ask(req, reply, (struct control_task){ .kind = TASK_RELOAD }, NULL);
	arena_fini(&arena);
}

/*------------------------------------------------------------------- drain */

void drain_show(const struct process_view *view, const struct service_request *req,
		struct service_reply *reply)
{
	bool ordered = atomic_load(&view->orders->drained);
	struct buf *b = begin_json(reply);

	(void)req;
	buf_printf(b, "{\"draining\":%s,\"by\":\"%s\"", view->draining ? "true" : "false",
		   ordered          ? "order"
		   : view->draining ? "shutdown"
				    : "nobody");
	put_left(b, view, atomic_load(&view->orders->drain_until_ns));
	buf_puts(b, "}\n");
}

struct drain_conf {
	uint64_t for_ns;
};

static const struct field drain_fields[] = {
	{ .key = "for",
	  .type = C_DURATION,
	  .offset = offsetof(struct drain_conf, for_ns),
	  .min = CLOCK_S,
	  .max = ORDER_TIME_MAX,
	  .doc = "For how long; until DELETE when not given." },
	{ .key = NULL },
};

static const struct schema drain_order = {
	.name = "drain order",
	.size = sizeof(struct drain_conf),
	.fields = drain_fields,
};

void drain_begin(const struct process_view *view, const struct service_request *req,
		 struct service_reply *reply)
{
	struct drain_conf conf = { 0 };
	struct arena arena;

	(void)view;
	arena_init(&arena, NULL);
	if (order_read(req, &drain_order, "the body is to be {\"for\":\"10m\"}, or nothing", &arena,
		       &conf, reply))
		ask(req, reply, (struct control_task){ .kind = TASK_DRAIN, .for_ns = conf.for_ns },
		    drain_show);
	arena_fini(&arena);
}

void drain_end(const struct process_view *view, const struct service_request *req,
	       struct service_reply *reply)
{
	(void)view;
	ask(req, reply, (struct control_task){ .kind = TASK_UNDRAIN }, drain_show);
}

/*--------------------------------------------------------------- log level */

void level_show(const struct process_view *view, const struct service_request *req,
		struct service_reply *reply)
{
	enum log_level configured = (enum log_level)view->policy->config->log.level;
	struct buf *b = begin_json(reply);

	(void)req;
	buf_printf(b, "{\"level\":\"%s\",\"configured\":\"%s\",\"forced\":%s",
		   log_level_name(log_get_level()), log_level_name(configured),
		   atomic_load(&view->orders->level_forced) ? "true" : "false");
	put_left(b, view, atomic_load(&view->orders->level_until_ns));
	buf_puts(b, "}\n");
}

struct level_conf {
	int level;
	uint64_t for_ns;
};

static const char *const level_names[] = { "debug", "info", "warn", "error", "auto", NULL };
enum { LEVEL_AUTO = LOG_ERROR + 1 };

static const struct field level_fields[] = {
	{ .key = "level",
	  .type = C_ENUM,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct level_conf, level),
	  .names = level_names,
	  .doc = "What is logged from here on; auto: as configured." },
	{ .key = "for",
	  .type = C_DURATION,
	  .offset = offsetof(struct level_conf, for_ns),
	  .min = CLOCK_S,
	  .max = ORDER_TIME_MAX,
	  .doc = "For how long; until the next order when not given." },
	{ .key = NULL },
};

static const struct schema level_order = {
	.name = "log level order",
	.size = sizeof(struct level_conf),
	.fields = level_fields,
	.scalar = "level", /* "debug" */
};

void level_change(const struct process_view *view, const struct service_request *req,
		  struct service_reply *reply)
{
	struct level_conf conf = { 0 };
	struct arena arena;

	(void)view;
	arena_init(&arena, NULL);
	if (order_read(
		req, &level_order,
		"the body is to be {\"level\":\"debug|info|warn|error|auto\",\"for\":\"10m\"}",
		&arena, &conf, reply))
		ask(req, reply,
		    (struct control_task){
			.kind = TASK_LOG_LEVEL,
			.level = conf.level == LEVEL_AUTO ? -1 : conf.level,
			.for_ns = conf.for_ns,
		    },
		    level_show);
	arena_fini(&arena);
}

/*------------------------------------------------------------------ events */

static void list_events(uint64_t seq, struct service_reply *reply)
{
	struct buf *b = begin_json(reply);
	struct event e;
	bool more = false;

	buf_puts(b, "{\"events\":[");
	for (uint64_t end = events_end(); seq < end && events_next(&seq, &e) && e.seq < end;) {
		buf_puts(b, more ? "," : "");
		event_json(b, &e);
		more = true;
	}
	buf_puts(b, "]}\n");
}

/* False: there is something, and it is no number. */
static bool read_number(struct slice text, uint64_t *out)
{
	uint64_t n = 0;

	if (text.p == NULL)
		return true;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || i >= 18)
			return false;
		n = n * 10 + (uint64_t)(text.p[i] - '0');
	}
	*out = n;
	return text.n > 0;
}

/* Those who follow stay: orders need a connection, too. */
static uint32_t streams_bound(const struct admin_conf *c)
{
	return c->streams < c->connections ? c->streams : c->connections - 1;
}

void events_show(const struct process_view *view, const struct service_request *req,
		 struct service_reply *reply)
{
	struct slice name = SLICE("last-event-id");
	const struct header *last = head_find_name(req->head, name);
	struct slice since = page_query(req, "since"), follow = page_query(req, "follow");
	bool once = follow.p != NULL && slice_is(follow, "false");
	uint64_t seq = 1;

	/* beyond the end it is of a process that was here before: numbers begin at 1 in each */
	if (last != NULL && read_number(last->value, &seq) && ++seq > events_end())
		seq = 1;
	if (!read_number(since, &seq)) {
		page_text(reply, 400, "`since` is the number of an event");
	} else if (follow.p != NULL && !once && !slice_is(follow, "true")) {
		page_text(reply, 400, "`follow` is true or false");
	} else if (once) {
		list_events(seq, reply);
	} else if (req->head->method_id == METHOD_HEAD) {
		reply->status = 200;
		reply->content_type = "text/event-stream";
	} else if (!page_origin_is_ours(req->head)) {
		/* it could read none of it, but it would take the place of somebody who can */
		page_text(reply, 403, "a page of another origin may follow nothing here");
	} else if (view->streams >= streams_bound(&view->policy->config->admin)) {
		reply->retry_after_s = 10;
		page_text(reply, 503, "`admin.streams` callers follow the events already");
	} else {
		reply->status = 200;
		reply->content_type = "text/event-stream";
		reply->streams = true;
		reply->stream_from = seq;
	}
}
