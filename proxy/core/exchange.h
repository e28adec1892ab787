/* exchange.h - one client request from head to last byte.  The state machine is at the top of
 * exchange.c. */
#ifndef CORE_EXCHANGE_H
#define CORE_EXCHANGE_H

#include "base/timer.h"
#include "core/worker.h"
#include "filters/filter.h"
#include "http/stream.h"

enum exchange_state {
	X_NEW,
	X_ADMITTING,
	X_COLLECTING,
	X_CONNECTING,
	X_AWAITING,
	X_BACKOFF,
	X_RELAYING,
	X_REPLYING,
	X_OVER
};

/* relay.c: one direction of the data path. */
struct pump {
	struct stream *src, *dst; /* dst NULL: bytes are dropped */
	const uint64_t *now_ns;   /* the loop's */
	uint64_t bytes;
	uint64_t held_since_ns, held_ns; /* before that */
	bool held;                       /* dst was full: src is paused */
	bool ended;
};

/* leg.c: one try of one endpoint. */
struct leg {
	struct attempt attempt;
	struct exchange *x;
	struct cluster_member *member;
	struct conn *conn;     /* NULL: none, or given back; of HTTP/2: shared with others */
	struct leg_wait *wait; /* NULL: it does not wait for a shared connection */
	struct stream *stream; /* NULL until connected, and once it is gone */
	uint64_t start_ns, last_ns;
	uint64_t late_ns; /* until its head has come: when it is given up; 0: never */
	uint64_t in_bytes, out_bytes; /* of its stream, once that is gone */
	uint32_t addresses_left;
	bool open;    /* counted by endpoint_begin */
	bool waits;   /* counted by endpoint_wait */
	bool reused;  /* over a kept-alive connection */
	bool sent;    /* a byte of the request may have reached the endpoint */
	bool heard;   /* a head has come */
	bool final;   /* and says that no other try is wanted */
	bool hurried; /* it was out of a time that its client has set: no fault of the endpoint's */
	bool told;    /* filters know how it went */
	bool dropped; /* it has an answer, which gives way to another try */
	bool at_once; /* its connect failed before it began */
	int error;    /* what the system calls the failure, for logs; 0: not known */
	struct try_note *note; /* NULL: nobody wants it */
	struct trace_try *span; /* NULL: the call is not traced, or the try is over */
};

/* What texts can tell of a try; in the call's arena, where somebody wants it (route.watched). */
struct try_note {
	struct try_note *next;
	const char *address;
	uint16_t status; /* as logs have it: 502, 504 of one that failed; 0: none */
	uint64_t start_ns;
	uint64_t connect_ns, head_ns,
	    whole_ns; /* since then; UINT64_MAX: it did not come to that */
	uint64_t in_bytes, out_bytes, body_bytes;
	const struct head *head; /* of its answer; NULL: none came */
};

struct auth_result;
struct respond;
struct serving;
struct target;
struct template_values;
struct call_trace;

struct exchange {
	uint32_t magic;
	uint8_t state; /* enum exchange_state */
	struct call call;
	struct worker *worker;
	struct policy_use *use;
	const struct route *route;
	struct conn *conn;     /* the client's; NULL once it is gone */
	struct stream *client; /* NULL once it is gone */
	struct head *req, *resp;
	struct head *came; /* what the client asked for, where req is something else; else NULL */
	struct head
	    *plain; /* req before upstreams are told of the client; NULL: nobody will ask for it */
	struct target *redirect; /* what goes upstream in place of what req says; NULL: req */
	struct arena arena;
	struct auth_result *auth; /* NULL: nothing was looked at */
	struct cluster *cluster;  /* where it goes: the route's, or its fallback */
	struct leg *leg;          /* the newest */
	struct leg *rival;        /* an older one that is unanswered, too; else NULL */
	struct leg first;
	struct member_set tried;
	const struct endpoint *failed_at; /* the try that the next one is made for, until it begins; else NULL */
	struct pump up, down;
	struct arena kept_arena;
	uint64_t awaited; /* bytes that the worker counts as held for it (collect.c) */
	struct list kept; /* of struct kept: the request's body so far, while it may go out again */
	uint64_t queued_since_ns; /* a filter has it wait since then; 0: none */
	size_t queued_seen;       /* of the client's stream, when the timer last looked */
	bool request_ended, admitted;
	bool budget_spent; /* a retry would have been due, but for its budget: clients shall not
			      retry in its place */
	bool elsewhere;    /* no endpoint is to be asked twice */
	bool grpc;         /* it is a call of gRPC (grpc.h) */
	bool hurried; /* the client has set the call's deadline, and may have set it to anything */
	bool handed;  /* in place of an error */
	bool malformed; /* what the client sends: no upstream gets any of it */
	uint16_t handed_status;   /* of what is answered then; 0: as it is */
	bool continued;           /* the upstream's 100 was passed on */
	bool tunnel, half_closed; /* one side of the tunnel has ended */
	struct serving *serving; /* serve.c: a file's bytes are its answer; NULL: none are */
	struct slice tunnel_key; /* tunnel.c; p NULL: there is none */
	struct timer timer;
	struct call_record record;
	struct call_trace *trace; /* NULL: it is not traced */
	/* For texts: the request as it came (NULL: nobody asks), tries, and what has gone over the
	 * client's stream. */
	const struct head *asked;
	struct try_note *tries, *last_try;
	uint64_t in_bytes, out_bytes, head_bytes;
	bool pipelined;
	struct list link;
	struct deferred grave;
};

enum { EXCHANGE_MAGIC = 0x45584348, REPLAY_MAX_BYTES = 64 * 1024 };

/* A piece of the request's body.  It never moves: the connection borrows it. */
struct kept {
	struct list link;
	struct slice s;
};

/* The server side of the codec: connections of proxying listeners. `user` is the conn; its owner a
 * worker_listener. */
extern const struct codec_events exchange_codec_events;

/* Cuts every call under way (end of the drain). */
void exchange_cut_all(struct worker *, const struct reason *);
void exchange_fini_spare(struct worker *);

/*---- between exchange.c, admission.c, leg.c, try_result.c, call_value.c, relay.c and reply.c */

/* Its head is there: it is refused, or asks the chain, and goes on to its first try. */
void exchange_begin(struct exchange *);
/* A delay is over, or a wait has lasted too long. */
void exchange_go_on_admitting(struct exchange *);
/* Its route sends it on: to the one where it ends.  Not NULL: it cannot go on. */
const struct reason *exchange_follow(struct exchange *);
/* What another route answers, in place of this error: whether there is one, and the call goes on. */
bool exchange_hand_on(struct exchange *, const struct reason *, uint16_t status, enum page_of from);
/* The call is made ready for a route whose policies are not asked. */
bool exchange_begin_free(struct exchange *);
/* All have let it in. */
void exchange_go_on(struct exchange *);
/* It waits for no filter any more. */
void exchange_end_queueing(struct exchange *);
/* A call that goes nowhere has its ids, too: the reply and the log carry them.  Where the log shows
 * fields, they are as an upstream would have seen them: not as the client claims. */
void exchange_identify(struct exchange *);
/* Answers from here; the leg, if any, is given up. */
void exchange_reply(struct exchange *, const struct reason *, uint64_t retry_after_ms);
/* Answers what the route says. */
void exchange_respond(struct exchange *);
/* It is answered by what its route says from here. */
void exchange_begin_own(struct exchange *);
/* Ends it in the midst of an answer. */
void exchange_cut(struct exchange *, const struct reason *);
/* The call, for texts that say something of it. */
void exchange_values(struct exchange *, struct template_values *);
/* NULL: errors are answered as they are. */
static inline const struct error_pages *exchange_pages(const struct exchange *x)
{
	return x->route != NULL ? x->route->pages : x->use->policy->pages;
}

/* A text of the route goes upstream; what comes of the client's body is dropped. */
bool exchange_has_own_body(const struct exchange *);
/* The route's last word on the head of an answer; false: memory is out. */
bool exchange_apply_edits(struct exchange *, const struct answer_edits *, struct head *);
static inline bool exchange_edit_answer(struct exchange *x, struct head *h)
{
	const struct answer_edits *edits =
	    x->route != NULL ? x->route->answers : x->use->policy->answers;

	return edits == NULL || exchange_apply_edits(x, edits, h);
}
/* Gives the client's stream up; exchange_end follows. */
void exchange_reset(struct exchange *, const struct reason *);
/* The client's stream is gone, or was reset: the one end of every call. */
void exchange_end(struct exchange *, const struct reason *);
/* The call, for the chain: with the time as it is now. */
static inline struct call *exchange_call(struct exchange *x)
{
	x->worker->env.now_ns = x->worker->loop.now_ns;
	x->worker->env.wall_ns = x->worker->loop.wall_ns;
	return &x->call;
}

/* Twice does no harm, and all that was sent so far is kept. */
static inline bool exchange_is_replayable(const struct exchange *x)
{
	return x->call.resendable && (method_flags[x->req->method_id] & METHOD_IDEMPOTENT);
}

/* The call can be sent no more: more of it is on its way than was to be kept, or an answer is. */
void exchange_drop_kept(struct exchange *);
/* The timer's next meaning: `ns` from now, 0: only the total. */
void exchange_set_deadline(struct exchange *, uint64_t ns);
/* The same while there are tries without an answer: this one is given up in `ns`, 0: whenever. */
void exchange_set_late(struct exchange *, struct leg *, uint64_t ns);
/* This one was sent, or more of it was: now its answer is due. */
void exchange_await(struct exchange *, struct leg *);
/* The set of tries has changed. */
void exchange_rearm(struct exchange *);
/* The shutdown has begun, be it that connections are accepted still. */
bool exchange_is_draining(const struct exchange *);
/* Bytes moved, either way. */
void exchange_touch(struct exchange *);

/* collect.c.  Let in, and before its first try; false: nothing is awaited. */
bool collect_begin(struct exchange *);
/* Where a text goes upstream: the client is told to send what will be dropped.  False: memory is out. */
bool collect_own(struct exchange *);
/* More of the body has come, and is kept. */
void collect_more(struct exchange *, bool end);
/* None of it is kept any more. */
void collect_forget(struct exchange *);

enum try_kind {
	TRY,        /* the first, or one that a policy asked for */
	TRY_REPEAT, /* nothing was sent: to another endpoint; or it was not looked at: to any */
	TRY_FRESH,  /* the connection was dead: over a new one */
};

void leg_start(struct exchange *, enum try_kind);
/* Another beside the one that is under way.  False: it may go nowhere. */
bool leg_hedge(struct exchange *);
void leg_abort(struct leg *, enum endpoint_result, const struct reason *);
/* Its answer has begun, and may be dropped for another try: what comes of it is known by now. */
void leg_tell(struct leg *);
/* The leg is closed: whether there is another, that goes on alone. */
bool leg_gives_way(struct leg *);
/* However many there are. */
void legs_abort(struct exchange *, enum endpoint_result, const struct reason *);
/* How long, in ms, filters shut every endpoint of the call's cluster; 0: one is open. */
uint64_t leg_shut_ms(struct exchange *);

/* try_result.c, for leg.c. */

/* No endpoint takes the call, for `ms`: the fallback may. */
void exchange_on_no_endpoint(struct exchange *, const struct reason *, uint64_t ms);
/* An upstream head has come (1xx or final). */
void exchange_on_head(struct exchange *, struct head *, bool end);
/* The try broke before its answer's head was passed on, and there is no other. */
void exchange_on_leg_failed(struct exchange *, const struct reason *);
/* The answer broke after its head was passed on: it must not look complete. */
void exchange_on_answer_cut(struct exchange *, const struct reason *);
/* A head or trailers of the answer that is passed on: what gRPC's log lines tell of it. */
void exchange_note_grpc(struct exchange *, const struct head *);

void pump_init(struct pump *, struct stream *src, struct stream *dst, const uint64_t *now_ns);
void pump_body(struct pump *, struct slice, bool end);
void pump_trailers(struct pump *, const struct head *);
void pump_room(struct pump *);
/* How long src was paused for dst, in all. */
uint64_t pump_held_ns(const struct pump *);

/* The status that a page for errors has for what its route answers. */
static inline void exchange_set_status(const struct exchange *x, struct head *h)
{
	if (x->handed_status == 0 || h->status == 304)
		return;
	if (h->status == 204) { /* it has a body now, be it an empty one */
		h->body = BODY_LENGTH;
		h->length = 0;
	}
	h->status = x->handed_status;
}

/* What a client that comes by this path is told for `why`; route may be NULL. */
uint16_t reply_status(const struct route *, struct slice path, const struct reason *why);
/* Writes the route's answer into the client stream. */
void reply_respond(struct exchange *, const struct respond *);
/* Writes a page in place of an upstream's answer. */
void reply_page(struct exchange *, const struct respond *, const struct head *answer);
/* Writes the head of an answer whose body is a file's, or which has none, and begins with that. */
void reply_file(struct exchange *, struct head *);
/* Writes the reply's head and body into the client stream. */
void reply_send(struct exchange *, const struct reason *, uint64_t retry_after_ms);

#endif
