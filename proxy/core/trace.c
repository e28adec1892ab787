/* trace.c - see trace.h. */
#include "core/trace.h"

#include "base/put.h"
#include "core/exchange.h"
#include "core/span_json.h"
#include "core/target.h"
#include "core/tracing.h"

static uint64_t new_id(struct exchange *x)
{
	uint64_t id = 0;

	while (id == 0)
		forward_random(&x->worker->forward, (uint8_t *)&id, sizeof(id));
	return id;
}

/*---------------------------------------------------------------- tries */

static enum trace_kind kind_of(const struct leg *l)
{
	const struct exchange *x = l->x;

	if (x->route->fallback != NULL && x->cluster == x->route->fallback)
		return TRACE_FALLBACK;
	if (l->attempt.beside)
		return TRACE_HEDGE;
	if (l->attempt.number <= 1)
		return TRACE_FIRST;
	return x->call.repeat ? TRACE_REPEAT : TRACE_RETRY;
}

/* As far as memory goes: a call is not worse off for a span that is missing. */
void trace_try_begin(struct leg *l)
{
	struct exchange *x = l->x;
	const struct endpoint *ep = l->member->endpoint;
	struct call_trace *t = x->trace;
	struct trace_try *y = t == NULL ? NULL : arena_zalloc(&x->arena, sizeof(*y));

	if (y == NULL)
		return;
	*y = (struct trace_try){
		.span_id = new_id(x),
		.start_ns = x->worker->loop.now_ns,
		.upstream = x->cluster->name,
		.authority = ep->authority,
		.path = x->redirect != NULL ? x->redirect->path : x->req->path,
		.method = x->redirect != NULL ? x->redirect->method : x->req->method,
		.tls = ep->peer != NULL,
		.local = ep->host == NULL && ep->fixed.u.sa.sa_family == AF_UNIX,
		.number = (uint8_t)l->attempt.number,
		.kind = kind_of(l),
	};
	if (t->last == NULL)
		t->tries = y;
	else
		t->last->next = y;
	t->last = y;
	l->span = y;
}

/* The field's value is the call's own, and is on the wire before the next try changes it. */
void trace_try_tell(struct leg *l)
{
	if (l->span == NULL)
		return;
	put_hex64(l->x->trace->text + PARENT_ID_AT, l->span->span_id);
	l->span->reused = l->reused;
}

void trace_try_head(struct leg *l, uint16_t status)
{
	if (l->span != NULL)
		l->span->status = status;
}

void trace_try_end(struct leg *l, const struct reason *why)
{
	if (l->span == NULL)
		return;
	l->span->end_ns = l->x->worker->loop.now_ns;
	l->span->why = why;
	l->span = NULL;
}

/*---------------------------------------------------------------- the end */

void trace_late(struct exchange *x)
{
	char id[TRACE_ID_BYTES];
	uint64_t last = new_id(x);
	struct call_trace *t = NULL;

	if (traceparent_is_chosen(x->use->policy->tracing->ratio, last))
		t = arena_zalloc(&x->arena, sizeof(*t));
	if (t == NULL)
		return;
	t->span_id = new_id(x);
	t->flags = TRACE_SAMPLED;
	put_hex64(put_hex64(id, new_id(x)), last);
	traceparent_write(t->text, id, t->span_id, t->flags);
	x->trace = t;
	x->record.trace_id = slice_of(t->text + TRACE_ID_AT, TRACE_ID_BYTES);
}

static void put_all(struct exchange *x, const struct call_trace *t)
{
	struct tracing *tracing = x->worker->shared->tracing;
	unsigned w = x->worker->index;
	struct buf *b = tracing_text(tracing, w);

	x->worker->has_spans = true;
	for (const struct trace_try *y = t->tries; y != NULL; y = y->next) {
		span_json_try(b, t, y, &x->record);
		tracing_put(tracing, w);
	}
	span_json_call(b, t, &x->record);
	tracing_put(tracing, w);
}

void trace_end(struct exchange *x)
{
	if (x->trace != NULL && x->worker->shared->tracing != NULL)
		put_all(x, x->trace);
}
