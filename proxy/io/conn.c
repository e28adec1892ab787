/* conn.c - a connection.
 *
 * What comes in:   recv into loop->in -> codec.feed -> what it left is saved
 * What goes out:   codec.put -> conn_out.c -> one writev at the settle
 *
 * Everything that may end a connection only marks it (`broken`, the codec's phase) and makes it
 * dirty; conn_settle looks at the marks and acts, so no frame below an event ever sees its
 * connection die. */
#include "io/conn.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/reason.h"
#include "io/conn_internal.h"
#include "io/proxy_protocol.h"

enum {
	LEFT_OVER_MAX = 65536, /* bytes kept unparsed (or a head), beyond which reading stops */
	LINGER_READS = 64,     /* reads at most of one linger: a bound on what is drained */
};

enum prelude {
	PRELUDE_PROXY = 1 << 0,
	PRELUDE_CHOICE = 1 << 1, /* of HTTP: by what comes first, or by TLS */
	PRELUDE_HTTP2 = 1 << 2,  /* of an upstream: TLS must agree on it */
};

/*---------------------------------------------------------------- input */

void conn_mark_dirty(struct conn *c)
{
	if (c->dirty || c->closing)
		return;
	c->dirty = true;
	list_push_back(&c->loop->dirty, &c->dirty_link);
}

static struct codec *codec_of(struct conn *c)
{
	return &c->codec;
}

/* Replaces what is left over. */
static bool save_left_over(struct conn *c, struct slice left)
{
	if (left.n > c->in_cap) {
		char *in = malloc(left.n);

		if (in == NULL)
			return false;
		free(c->in);
		c->in = in;
		c->in_cap = (uint32_t)left.n;
	}
	if (left.n > 0) {
		memmove(c->in, left.p, left.n);
	} else {
		free(c->in);
		c->in = NULL;
		c->in_cap = 0;
	}
	c->in_n = (uint32_t)left.n;
	return true;
}

/* Takes a PROXY header off the front; false: more must come, or the connection is done for. */
static bool take_proxy_header(struct conn *c, struct slice *in)
{
	struct proxy_info info;
	int used = proxy_protocol_parse(*in, &info);

	if (used < 0)
		c->broken = true;
	if (used <= 0)
		return false;
	if (info.has_source)
		c->peer = info.source;
	c->prelude &= (uint8_t)~PRELUDE_PROXY;
	*in = slice_of(in->p + used, in->n - (size_t)used);
	return true;
}

bool conn_speak(struct conn *c, enum conn_protocol protocol)
{
	struct codec *k = &c->codec;
	const struct codec_events *events = k->events;
	const struct codec_limits *limits = k->limits;
	bool last = c->h1.last;

	c->prelude &= (uint8_t)~PRELUDE_CHOICE;
	if (protocol == CONN_EITHER)
		c->prelude |= PRELUDE_CHOICE;
	if (protocol != CONN_HTTP2)
		return true;
	k->ops->fini(k);
	if (h2_server_init(&c->h2, &conn_io, c, events, c, limits)) {
		if (last)
			k->ops->last(k);
		return true;
	}
	h1_server_init(&c->h1, &conn_io, c, events, c, limits); /* whom the end may be told */
	c->broken = true;
	conn_mark_dirty(c);
	return false;
}

/* RFC 9113 section 3.3; false: that is not decided yet, or the connection is done for. */
static bool take_choice(struct conn *c, struct slice in)
{
	size_t n = in.n < h2_preface.n ? in.n : h2_preface.n;
	bool same = memcmp(in.p, h2_preface.p, n) == 0;

	if (same && n < h2_preface.n)
		return false;
	return conn_speak(c, same ? CONN_HTTP2 : CONN_HTTP1);
}

static void on_ready(void *owner, unsigned wants);

/* From here the handshake is the transport's, and looks like a connect under way.  `early`: what
 * was read behind the PROXY header. */
static void start_tls(struct conn *c, struct slice early)
{
	struct transport *t = tls_accept(c->loop, c->transport, c->tls, early);

	tls_server_put(c->tls);
	c->tls = NULL;
	conn_mark_dirty(c);
	if (t == NULL) {
		c->broken = true;
		return;
	}
	c->transport = t;
	t->owner = c;
	t->on_ready = on_ready;
	c->connecting = true;
	c->wants = 0;
	if (!conn_set_timer(c, c->loop->now_ns + c->times->handshake_ns))
		c->broken = true;
}

void conn_expect_tls(struct conn *c, struct tls_server *server)
{
	c->tls = tls_server_get(server);
	c->unsecured = true;
	if (!(c->prelude & PRELUDE_PROXY))
		start_tls(c, slice_of(NULL, 0));
}

static void feed_codec(struct conn *c, struct slice *in)
{
	struct codec *k = codec_of(c);

	do {
		size_t used;

		c->kicked = false;
		used = k->ops->feed(k, *in);
		CHECK(used <= in->n);
		*in = slice_of(in->p + used, in->n - used);
	} while (c->kicked && in->n > 0 && !c->broken && k->phase < CODEC_CLOSED);
}

/* Feeds until the codec has enough; a kick from inside (a body let go at once) goes on without
 * saving. */
static void feed(struct conn *c, struct slice in)
{
	struct codec *k = codec_of(c);

	c->feeding = true;
	if ((c->prelude & PRELUDE_PROXY) && !take_proxy_header(c, &in)) {
		/* more must come */
	} else if (c->tls != NULL) {
		start_tls(c, in);
		in.n = 0;
	} else if (!(c->prelude & PRELUDE_CHOICE) || take_choice(c, in)) {
		feed_codec(c, &in);
	}
	c->feeding = false;
	if (k->phase >= CODEC_CLOSED)
		in.n = 0;
	if (!save_left_over(c, in))
		c->broken = true;
	conn_mark_dirty(c);
}

/* Offers what was left over once more, from the scratch memory. */
static void feed_left_over(struct conn *c)
{
	struct slice in = slice_of(c->loop->in, c->in_n);

	conn_flush_all(c->loop); /* others may have borrowed from the scratch */
	memcpy(c->loop->in, c->in, c->in_n);
	feed(c, in);
}

/* The codec is on the stack while it tells of what was written, or of the end, too. */
static void leave_codec(struct conn *c)
{
	c->feeding = false;
	if (c->kicked || c->broken)
		conn_mark_dirty(c);
}

static void on_eof(struct conn *c)
{
	c->eof = true;
	c->broken = c->broken || (c->prelude & PRELUDE_PROXY);
	conn_mark_dirty(c);
}

static void drain(struct conn *c)
{
	for (int i = 0; i < LINGER_READS; i++) {
		ssize_t n = c->transport->ops->recv(c->transport, c->loop->in, LOOP_READ_BYTES);

		if (n == TRANSPORT_AGAIN)
			return;
		if (n <= 0) {
			c->eof = true;
			c->broken = c->broken || n < 0;
			conn_mark_dirty(c);
			return;
		}
	}
}

static void on_readable(struct conn *c)
{
	struct loop *loop = c->loop;
	size_t have = c->in_n;
	ssize_t n;

	if (c->half_closed && codec_of(c)->phase == CODEC_LINGER) {
		drain(c);
		return;
	}
	CHECK(have + LOOP_READ_BYTES <= LOOP_IN_BYTES);
	n = c->transport->ops->recv(c->transport, loop->in + have, LOOP_READ_BYTES);
	if (n == TRANSPORT_AGAIN)
		return;
	if (n == TRANSPORT_BROKEN || (n == 0 && c->mute)) {
		/* the failed write may have used up the error: this end of stream is none in order
		 */
		c->broken = true;
		conn_mark_dirty(c);
	} else if (n == 0) {
		if (!c->eof)
			on_eof(c);
	} else {
		if (have > 0)
			memcpy(loop->in, c->in, have);
		feed(c, slice_of(loop->in, have + (size_t)n));
	}
}

/*---------------------------------------------------------------- life */

static void on_grave(struct deferred *d)
{
	struct conn *c = LIST_ENTRY(d, struct conn, grave);

	free(c->in);
	free(c->out);
	c->magic = 0;
	free(c);
}

static void conn_end(struct conn *c, const struct reason *why)
{
	struct codec *k = codec_of(c);
	bool reset;

	if (c->closing)
		return;
	if (c->feeding) { /* the codec is on the stack: the settle that follows ends it */
		c->broken = true;
		return;
	}
	if (conn_out_is_held(c))
		conn_out_write(c);
	if (c->dirty)
		list_remove(&c->dirty_link);
	c->closing = true;
	c->dirty = false;
	k->ops->fail(k, why != NULL ? why : reason_client_abort);
	reset = k->cut || c->broken || (why != NULL && c->times != NULL && conn_backlog(c) > 0);
	conn_out_free(c);
	timer_fini(&c->loop->timers, &c->timer);
	list_remove(&c->link);
	if (!list_empty(&c->pool_link))
		list_remove(&c->pool_link);
	k->ops->fini(k);
	c->error = c->transport->error;
	c->transport->ops->close(c->transport, reset);
	c->transport = NULL;
	tls_server_put(c->tls);
	if (c->on != NULL)
		c->on->closed(c, why);
	loop_defer(c->loop, &c->grave, on_grave);
}

void conn_close(struct conn *c, const struct reason *why)
{
	CHECK_MAGIC(c, CONN_MAGIC);
	conn_end(c, why);
}

void conn_drop(struct conn *c)
{
	CHECK_MAGIC(c, CONN_MAGIC);
	c->on = NULL;
	conn_end(c, reason_client_abort);
}

void conn_finish(struct conn *c)
{
	CHECK_MAGIC(c, CONN_MAGIC);
	codec_of(c)->phase = CODEC_CLOSED;
	conn_mark_dirty(c);
}

bool conn_is_quiet(const struct conn *c)
{
	return c->transport->ops->quiet(c->transport);
}

void conn_last(struct conn *c)
{
	struct codec *k = codec_of(c);

	if (c->closing)
		return;
	k->ops->last(k);
	/* one that has not had its first call yet may have it on the way, and another's next may
	 * have come unread: it is answered, then closed */
	if (k->phase == CODEC_IDLE && c->used && conn_is_quiet(c))
		k->phase = CODEC_CLOSED;
	conn_mark_dirty(c);
}

bool conn_set_timer(struct conn *c, uint64_t deadline_ns)
{
	if (deadline_ns == 0) {
		timer_clear(&c->timer);
		return true;
	}
	return timer_set(&c->loop->timers, &c->timer, deadline_ns);
}

/* A server connection's time is that of its codec's phase. */
static void set_phase_time(struct conn *c)
{
	const struct conn_times *t = c->times;
	uint8_t phase = codec_of(c)->phase;
	const uint64_t after[] = {
		[CODEC_IDLE] = t->idle_ns,    [CODEC_HEAD] = t->header_ns,   [CODEC_BUSY] = 0,
		[CODEC_CLOSED] = t->write_ns, [CODEC_LINGER] = t->linger_ns,
	};

	if (phase == c->timed_phase && !codec_of(c)->turned)
		return;
	c->used = c->used || codec_of(c)->turned;
	codec_of(c)->turned = false;
	c->timed_phase = phase;
	if (!conn_set_timer(c, after[phase] == 0 ? 0 : c->loop->now_ns + after[phase])) {
		c->broken = true;
		conn_mark_dirty(c);
	}
}

/* HTTP/2 says so first, lest a call be lost that is on its way. */
static void on_idle_over(struct conn *c)
{
	struct codec *k = codec_of(c);

	k->ops->last(k);
	if (k->phase == CODEC_IDLE)
		conn_end(c, NULL);
	else
		conn_mark_dirty(c);
}

static void on_timer(struct timer *timer)
{
	struct conn *c = LIST_ENTRY(timer, struct conn, timer);
	struct codec *k = codec_of(c);

	if (c->times == NULL) {
		c->on->timeout(c);
	} else if (c->connecting) {
		c->broken = true;
		conn_end(c, reason_handshake_timeout);
	} else if (k->phase == CODEC_HEAD) {
		k->ops->fail(k, reason_head_timeout);
		conn_mark_dirty(c);
	} else if (k->phase == CODEC_IDLE) {
		on_idle_over(c);
	} else {
		conn_end(c, reason_client_stalled);
	}
}

static bool has_room(struct conn *c)
{
	const struct codec *k = codec_of(c);
	size_t head_bytes = k->limits->head_bytes + (k->multiplexed ? H2_HEAD_MORE : 0);

	return c->in_n < LEFT_OVER_MAX || c->in_n < head_bytes;
}

static uint8_t wanted(struct conn *c)
{
	struct codec *k = codec_of(c);
	uint8_t wants = conn_backlog(c) > 0 || c->connecting ? WANT_WRITE : 0;

	if (c->connecting)
		return wants;
	if (!c->eof && k->phase == CODEC_LINGER && c->half_closed)
		return wants | WANT_READ;
	if (!c->eof && k->phase < CODEC_CLOSED && has_room(c) && k->ops->wants_read(k))
		return wants | WANT_READ;
	/* a client that resets is gone, whatever it had sent; an upstream that does may have
	 * answered in full */
	return c->times != NULL ? wants | WANT_HANGUP : wants;
}

static void half_close(struct conn *c)
{
	if (c->half_closed)
		return;
	c->half_closed = true;
	c->transport->ops->half_close(c->transport);
}

/* The codec is done: closes once all is written; or, cut, at once.  What an upstream has not taken
 * when its call is over is of no use to it. */
static void settle_close(struct conn *c)
{
	struct codec *k = codec_of(c);

	if (c->gather != NULL) /* what is held goes first */
		conn_mark_dirty(c);
	if ((c->gather != NULL || conn_backlog(c) > 0) && !k->cut && c->times != NULL)
		return;
	if (k->phase == CODEC_CLOSED || c->eof)
		conn_end(c, NULL);
	else
		half_close(c);
}

static void settle_kick(struct conn *c)
{
	struct codec *k = codec_of(c);

	if (!c->kicked || c->broken)
		return;
	c->kicked = false;
	if (k->phase >= CODEC_CLOSED)
		return;
	if (c->in_n > 0)
		feed_left_over(c);
	else
		feed(c, slice_of(c->loop->in, 0));
}

/* The end of the stream is told once what came before it has been taken (a paused body, pipelined
 * requests), and again to a codec that has come back to rest since. */
static void settle_eof(struct conn *c)
{
	struct codec *k = codec_of(c);

	if (!c->eof || c->kicked || k->phase >= CODEC_CLOSED)
		return;
	if (c->eof_told ? k->phase < CODEC_BUSY : c->in_n == 0 || k->ops->wants_read(k)) {
		c->eof_told = c->feeding = true;
		k->ops->eof(k);
		leave_codec(c);
	}
}

/* One look at all marks; events raised from here may make it dirty again. */
void conn_settle(struct conn *c)
{
	struct codec *k = codec_of(c);

	c->dirty = false;
	settle_kick(c);
	conn_out_settle(c);
	if (c->broken) {
		conn_end(c, c->times != NULL ? reason_client_abort : reason_upstream_reset);
		return;
	}
	if (c->wrote) {
		c->wrote = false;
		c->feeding = true;
		k->ops->drained(k, conn_unsent(c));
		leave_codec(c);
	}
	if (c->closing || c->dirty)
		return;
	settle_eof(c);
	if (k->shut && conn_backlog(c) == 0)
		half_close(c);
	if (k->phase >= CODEC_CLOSED)
		settle_close(c);
	if (c->closing)
		return;
	if (c->times != NULL)
		set_phase_time(c);
	if (wanted(c) != c->wants) {
		c->wants = wanted(c);
		c->transport->ops->want(c->transport, c->wants);
	}
}

/* The client's first head has its time from here.  Over TLS, HTTP/2 is spoken where both agreed to,
 * and only there (RFC 9113 section 3.2). */
static void on_secured(struct conn *c)
{
	c->unsecured = false;
	c->secure = true;
	if (c->prelude & PRELUDE_CHOICE)
		(void)conn_speak(c, c->transport->protocol == PROTOCOL_HTTP2 ? CONN_HTTP2
									     : CONN_HTTP1);
	if (!conn_set_timer(c, c->loop->now_ns + c->times->header_ns))
		c->broken = true;
}

static bool speak_h2_upstream(struct conn *c)
{
	const struct codec_limits *limits = c->codec.limits;

	if (h2_client_init(&c->h2, &conn_io, c, limits, c->secure))
		return true;
	h1_client_init(&c->h1, &conn_io, c, limits); /* whom its end may be told */
	return false;
}

/* What TLS has agreed on; NULL: that will do. */
static const struct reason *agree_upstream(struct conn *c)
{
	bool http2_only = c->prelude & PRELUDE_HTTP2;

	if (c->prelude == 0)
		return NULL;
	c->prelude = 0;
	if (c->transport->protocol != PROTOCOL_HTTP2)
		return http2_only ? reason_tls_failed : NULL;
	return speak_h2_upstream(c) ? NULL : reason_out_of_memory;
}

static void on_connected(struct conn *c)
{
	const struct reason *why;

	if (!c->transport->ops->intact(c->transport)) {
		conn_end(c, c->transport->why != NULL ? c->transport->why : reason_connect_failed);
		return;
	}
	why = c->times == NULL ? agree_upstream(c) : NULL;
	if (why != NULL) {
		conn_end(c, why);
		return;
	}
	c->connecting = false;
	c->wants = UINT8_MAX; /* a transport that shook hands has not heard them yet */
	conn_mark_dirty(c);
	if (c->times != NULL)
		on_secured(c);
	c->on->connected(c);
}

static void on_ready(void *owner, unsigned wants)
{
	struct conn *c = owner;

	CHECK_MAGIC(c, CONN_MAGIC);
	if (c->closing)
		return;
	if (c->connecting) {
		on_connected(c);
		return;
	}
	if (wants & WANT_WRITE) {
		conn_out_write_backlog(c);
		conn_mark_dirty(c);
	}
	if ((wants & WANT_HANGUP) && !c->transport->ops->intact(c->transport)) {
		c->broken = true;
		conn_mark_dirty(c);
	}
	if ((wants & WANT_READ) && !c->broken)
		on_readable(c);
}

static struct conn *conn_new(struct loop *loop, struct transport *t, const struct conn_events *on,
			     void *owner)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		t->ops->close(t, true);
		return NULL;
	}
	c->magic = CONN_MAGIC;
	c->loop = loop;
	c->transport = t;
	c->on = on;
	c->owner = owner;
	timer_init(&c->timer, on_timer);
	list_init(&c->dirty_link);
	list_init(&c->pool_link);
	list_push_back(&loop->conns, &c->link);
	t->owner = c;
	t->on_ready = on_ready;
	conn_mark_dirty(c);
	return c;
}

struct conn *conn_accept(struct loop *loop, struct transport *t, const struct addr *peer,
			 bool proxy_header, enum conn_protocol protocol,
			 const struct conn_events *on, void *owner,
			 const struct codec_events *events, const struct codec_limits *limits,
			 const struct conn_times *times)
{
	struct conn *c = conn_new(loop, t, on, owner);

	if (c == NULL)
		return NULL;
	c->peer = *peer;
	c->prelude = proxy_header ? PRELUDE_PROXY : 0;
	c->times = times;
	c->timed_phase = CODEC_IDLE; /* the first head's time runs from the accept */
	h1_server_init(&c->h1, &conn_io, c, events, c, limits);
	(void)conn_speak(c, protocol);
	if (!conn_set_timer(c, loop->now_ns + times->header_ns))
		c->broken = true;
	return c;
}

struct stream *conn_open(struct conn *c, struct arena *arena)
{
	return c->codec.multiplexed ? h2_client_open(&c->h2, arena) : h1_client_open(&c->h1, arena);
}

uint32_t conn_room(const struct conn *c)
{
	if (c->closing || c->broken || c->eof || c->mute)
		return 0;
	return c->prelude != 0 ? c->codec.limits->h2->streams : h2_client_room(&c->h2);
}

static struct transport *connect_to(struct loop *loop, const struct addr *addr,
				    const struct tls_target *tls)
{
	struct transport *below = loop->connect(loop, addr), *t = below;

	if (below != NULL && tls != NULL && tls->client != NULL)
		t = tls_connect(loop, below, tls);
	if (below != NULL && t == NULL)
		below->ops->close(below, true);
	return t;
}

struct conn *conn_connect(struct loop *loop, const struct addr *addr, const struct tls_target *tls,
			  enum conn_protocol protocol, const struct conn_events *on, void *owner,
			  const struct codec_limits *limits)
{
	struct transport *t = connect_to(loop, addr, tls);
	struct conn *c;

	if (t == NULL)
		return NULL;
	c = conn_new(loop, t, on, owner);
	if (c == NULL)
		return NULL;
	c->peer = *addr;
	c->connecting = true;
	c->secure = tls != NULL && tls->client != NULL;
	h1_client_init(&c->h1, &conn_io, c, limits);
	if (c->secure) {
		c->prelude = protocol == CONN_HTTP2    ? PRELUDE_HTTP2
			     : protocol == CONN_EITHER ? PRELUDE_CHOICE
						       : 0;
	} else if (protocol == CONN_HTTP2 && !speak_h2_upstream(c)) {
		conn_drop(c);
		return NULL;
	}
	return c;
}
