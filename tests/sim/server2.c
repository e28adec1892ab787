/* server2.c - an upstream's connection of HTTP/2: answers several requests at once, or does not.
 *
 * A stream that is refused (REFUSED_STREAM), or that lies above the last of GOAWAY, has not arrived;
 * everything else has, and what Weir makes of it is its own risk.  Whatever ends before END_STREAM
 * is cut, be it by RST_STREAM, by silence or by the end of the connection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hear.h"
#include "io/conn.h"
#include "sim.h"
#include "wire2.h"

enum ending { KEEPS, CLOSES, RESETS, HANGS, RESETS_STREAM, ENDS_SHORT };

enum { WHIMS_MAX = 20 };

struct serving {
	struct wire2_stream s; /* first */
	struct server2 *server;
	struct heard_request heard;
	bool over; /* the request */
	bool refused, early, silent, deaf, tunnel;
	uint64_t due_ns; /* of the answer; 0: none is */
	struct answer *answer;
	enum ending ending;
};

struct server2 {
	struct actor actor; /* first */
	struct site *site;
	struct wire2 wire;
	struct server_pace pace;
	unsigned whims, late, calls;
	enum { STAYS, WARNS, LEAVES } going; /* GOAWAY: none, the first of two, the last */
	bool slams;                          /* goes away under the next call */
	bool doomed, doom_reset;
	uint64_t credit_ns, leave_ns;
};

static void server_end(struct server2 *s, bool reset, const char *why)
{
	struct list *l;

	sim_trace(s->actor.sim, "server %u: %s", s->actor.number, why);
	actor_close(&s->actor, reset);
	while ((l = list_pop_front(&s->wire.streams)) != NULL) {
		struct serving *k =
		    (struct serving *)(void *)LIST_ENTRY(l, struct wire2_stream, link);

		nghttp2_session_set_stream_user_data(s->wire.session, k->s.id, NULL);
		wire2_stream_fini(&k->s);
		free(k);
	}
	wire2_fini(&s->wire);
	free(s);
}

static struct serving *serving_of(struct wire2_stream *s)
{
	return (struct serving *)(void *)s;
}

static struct serving *serving_of_link(struct list *l)
{
	return serving_of(LIST_ENTRY(l, struct wire2_stream, link));
}

/* The connection ends, once the present step is over. */
static void doom(struct server2 *s, bool reset)
{
	s->doomed = true;
	s->doom_reset = reset;
}

static unsigned count_open(const struct server2 *s)
{
	unsigned n = 0;

	LIST_EACH (l, &s->wire.streams)
		n += !serving_of_link(l)->s.closed;
	return n;
}

/*---------------------------------------------------------------- answers */

/* Heads that no client takes. */
static const char *const garbage[][3] = {
	{ NULL, "x-sim", "1" },
	{ "abc", "x-sim", "1" },
	{ "099", "x-sim", "1" },
	{ "1000", "x-sim", "1" },
	{ "101", "x-sim", "1" },
	{ "200", "connection", "close" },
	{ "200", "transfer-encoding", "chunked" },
	{ "200", "X-Upper", "1" },
	{ "200", "x bad", "1" },
	{ "200", "x-bad", "line\r\nx-other: 1" },
	{ "200", "x-bad\r\nx-other", "1" },
	{ "200", ":status", "200" },
	{ "200", ":sim", "1" },
	{ "200", "content-length", "-1" },
	{ "200", "content-length", "99999999999999999999999" },
};

static void put_garbage(struct serving *k)
{
	static struct fields f;
	struct sim *sim = k->server->actor.sim;
	size_t i = dice_below(&sim->dice, sizeof(garbage) / sizeof(garbage[0]));

	k->answer->spoiled = true;
	k->ending = HANGS;
	if (dice_chance(&sim->dice, 100)) { /* no frame at all */
		wire2_spoil(&k->server->wire, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
		return;
	}
	fields_init(&f);
	if (garbage[i][0] != NULL)
		fields_add(&f, ":status", garbage[i][0]);
	fields_add(&f, garbage[i][1], garbage[i][2]);
	wire2_answer(&k->s, &f, dice_chance(&sim->dice, 500));
}

/* Where an answer breaks off, and how.  Of one with a length all bytes are a whole one, to readers of
 * HTTP/1. */
static void spoil(struct serving *k, bool sized)
{
	struct dice *d = &k->server->actor.sim->dice;
	uint64_t at = dice_below(d, k->s.body_n + !sized);

	k->answer->spoiled = true;
	k->s.stop_at = at;
	k->ending = (enum ending)dice_between(d, CLOSES, RESETS_STREAM);
}

/* Its END_STREAM comes before its length is full. */
static void cut_short(struct serving *k)
{
	k->answer->spoiled = true;
	k->ending = ENDS_SHORT;
	k->s.body_n = dice_below(&k->server->actor.sim->dice, k->s.body_n);
}

static void draw_answer(struct serving *k, unsigned *status, bool *sized)
{
	static const unsigned statuses[] = { 200, 200, 200, 200, 201, 204, 304, 404, 500, 503 };
	struct server2 *s = k->server;
	struct dice *d = &s->actor.sim->dice;
	struct answer *a = k->answer;
	bool trails = dice_chance(d, 300);

	*sized = dice_chance(d, 500);
	*status = statuses[dice_below(d, sizeof(statuses) / sizeof(statuses[0]))];
	if (site_is_down(s->actor.sim, s->site) ||
	    (k->heard.request->place == PLACE_TUNNEL && *status < 400))
		*status = 503;
	a->status = *status;
	a->no_body =
	    strcmp(k->heard.request->method, "HEAD") == 0 || a->status == 204 || a->status == 304;
	a->body_n = a->status == 204 ? 0 : ledger_size(d, 8000);
	a->trailers = trails && !a->no_body && !*sized;
}

/* RFC 8441 section 5: what HTTP/1 calls 101. */
static void put_switch(struct serving *k)
{
	static struct fields f;
	struct dice *d = &k->server->actor.sim->dice;
	struct answer *a = k->answer;

	a->status = 101;
	a->body_n = dice_spread(d, 200000);
	k->tunnel = true;
	k->s.number = ANSWER_STREAM + a->id;
	k->s.body_n = a->body_n;
	fields_init(&f);
	fields_add(&f, ":status", "200");
	fields_add_number(&f, "x-sim-answer", a->id);
	if (dice_chance(d, k->server->actor.sim->weather.serve_fault / 2))
		spoil(k, false);
	wire2_answer(&k->s, &f, false);
}

static void put_answer(struct serving *k)
{
	static struct fields f;
	struct dice *d = &k->server->actor.sim->dice;
	unsigned status;
	bool sized, end;

	draw_answer(k, &status, &sized);
	fields_init(&f);
	fields_add_number(&f, ":status", status);
	fields_add_number(&f, "x-sim-answer", k->answer->id);
	k->answer->sized = sized && status != 204;
	if (k->answer->sized)
		fields_add_number(&f, "content-length", k->answer->body_n);
	k->s.number = ANSWER_STREAM + k->answer->id;
	k->s.body_n = k->answer->no_body ? 0 : k->answer->body_n;
	k->s.trailer = k->answer->trailers ? k->answer->id : 0;
	end = k->answer->no_body || (k->s.body_n == 0 && k->s.trailer == 0 && dice_chance(d, 500));
	if (!end && (!sized || k->s.body_n > 0) &&
	    dice_chance(d, k->server->actor.sim->weather.serve_fault / 2))
		spoil(k, sized);
	else if (!end && sized && k->s.body_n > 0 &&
		 dice_chance(d, k->server->actor.sim->weather.serve_fault / 8))
		cut_short(k);
	wire2_answer(&k->s, &f, end);
}

static void begin_answer(struct serving *k)
{
	struct sim *sim = k->server->actor.sim;
	struct request *r = k->heard.request;

	k->due_ns = 0;
	k->answer = ledger_answer(&sim->ledger, r);
	if (dice_chance(&sim->dice, sim->weather.serve_fault / 3))
		put_garbage(k);
	else if (r->place == PLACE_TUNNEL && (sim->weather.calm || dice_chance(&sim->dice, 800)))
		put_switch(k);
	else
		put_answer(k);
	sim_trace(sim, "server %u: request %u gets answer %u: %u, %llu bytes, ending %d%s",
		  k->server->actor.number, r->id, k->answer->id, k->answer->status,
		  (unsigned long long)k->answer->body_n, k->ending,
		  k->answer->spoiled ? ", spoiled" : "");
}

/* An answer that breaks off has got there. */
static void break_off(struct serving *k)
{
	static const uint32_t codes[] = { NGHTTP2_INTERNAL_ERROR, NGHTTP2_CANCEL, NGHTTP2_NO_ERROR,
					  NGHTTP2_REFUSED_STREAM, NGHTTP2_ENHANCE_YOUR_CALM };
	struct dice *d = &k->server->actor.sim->dice;
	enum ending ending = k->ending;

	if (k->s.stop_at == UINT64_MAX || k->s.body_at < k->s.stop_at || k->s.closed)
		return;
	k->ending = HANGS; /* once */
	if (ending == RESETS_STREAM) {
		uint32_t code = codes[dice_below(d, sizeof(codes) / sizeof(codes[0]))];

		/* that would be a lie, with no head out */
		if (code == NGHTTP2_REFUSED_STREAM && k->s.body_at == 0)
			code = NGHTTP2_CANCEL;
		wire2_reset(&k->s, code);
	} else if (ending != HANGS) {
		doom(k->server, ending == RESETS);
	}
}

/*---------------------------------------------------------------- requests */

static void answer_soon(struct serving *k)
{
	struct sim *sim = k->server->actor.sim;
	bool slow = dice_chance(&sim->dice, sim->weather.slow);

	k->due_ns = sim->now_ns + 1 + dice_spread(&sim->dice, slow ? 20 * CLOCK_S : 20 * CLOCK_MS);
}

static void send_interim(struct serving *k, unsigned status)
{
	k->heard.request->interims_sent++;
	wire2_interim(&k->s, status);
}

static void draw_conduct(struct serving *k)
{
	struct sim *sim = k->server->actor.sim;
	struct dice *d = &sim->dice;
	unsigned fault = sim->weather.serve_fault;

	k->early = dice_chance(d, fault / 2) || k->heard.request->place == PLACE_TUNNEL;
	k->silent = dice_chance(d, fault / 5);
	k->deaf = dice_chance(d, fault / 5);
	if (k->heard.request->expects && (sim->weather.calm || dice_chance(d, 700)))
		send_interim(k, 100);
	else if (dice_chance(d, 50))
		send_interim(k, 103);
	if (k->early && !k->silent)
		answer_soon(k);
}

/* What Weir has said may not have come: who is not waited for any more. */
static bool is_behind(const struct actor *a)
{
	const struct conn *c;

	if (!pair_is_open(a->pair, 0) || pair_unread(a->pair, 1) > 0)
		return true;
	c = pair_end(a->pair, 0)->owner;
	return c->out_n > c->out_at;
}

/* Weir waits for the rest of their answers. */
static unsigned count_held(const struct actor *a)
{
	const struct server2 *s = (const struct server2 *)(const void *)a;
	unsigned there = 0;

	if (s->wire.going || is_behind(a))
		return 0;
	LIST_EACH (l, &s->wire.streams) {
		const struct serving *k = serving_of_link(l);
		const struct request *r = k->heard.request;

		there += r != NULL && r->place == PLACE_HELD && !k->s.closed &&
			 (k->answer == NULL || !k->answer->complete);
	}
	return there;
}

static struct wire2_stream *on_open(struct wire2 *w)
{
	struct server2 *s = w->owner;
	struct serving *k = sim_alloc(sizeof(*k));

	k->server = s;
	s->calls++;
	wire2_stream_init(w, &k->s);
	return &k->s;
}

static void on_head(struct wire2_stream *stream, const struct wire_head *h, bool end)
{
	struct serving *k = serving_of(stream);
	struct server2 *s = k->server;
	struct sim *sim = s->actor.sim;
	struct request *r = hear_find(sim, h);

	(void)end;
	if (dice_chance(&sim->dice, sim->weather.serve_fault / 3)) {
		sim_trace(sim, "server %u: refuses request %u", s->actor.number, r->id);
		k->refused = true;
		wire2_reset(stream, NGHTTP2_REFUSED_STREAM);
		return;
	}
	sim_trace(sim, "server %u (%s): request %u on stream %d", s->actor.number, s->site->text,
		  r->id, stream->id);
	ledger_arrival(sim, r);
	hear_request_head(&k->heard, r, h);
	draw_conduct(k);
}

static void on_body(struct wire2_stream *stream, const char *p, size_t n)
{
	struct serving *k = serving_of(stream);

	if (!k->refused)
		hear_request_body(&k->heard, p, n);
}

static void on_end(struct wire2_stream *stream, const struct wire_head *trailers)
{
	struct serving *k = serving_of(stream);

	if (k->refused)
		return;
	if (k->heard.request->place != PLACE_TUNNEL || (k->tunnel && !k->answer->spoiled))
		hear_request_end(&k->heard, trailers);
	k->over = true;
	if (!k->early && !k->silent && k->answer == NULL && k->due_ns == 0)
		answer_soon(k);
}

static void on_said(struct wire2_stream *stream)
{
	struct serving *k = serving_of(stream);

	if (k->answer != NULL && !k->answer->spoiled)
		k->answer->complete = true;
}

static void on_closed(struct wire2_stream *stream, uint32_t code)
{
	struct serving *k = serving_of(stream);

	k->due_ns = 0;
	sim_trace(k->server->actor.sim, "server %u: stream %d closed, %s", k->server->actor.number,
		  stream->id, nghttp2_http2_strerror(code));
}

static const struct wire2_events server_events = {
	.open = on_open,
	.head = on_head,
	.body = on_body,
	.end = on_end,
	.said = on_said,
	.closed = on_closed,
};

/*---------------------------------------------------------------- whims and goodbyes */

static void change_window(struct server2 *s)
{
	struct dice *d = &s->actor.sim->dice;
	nghttp2_settings_entry e = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };

	e.value = (uint32_t)dice_between(d, s->actor.sim->weather.calm ? 1000 : 100, 100000);
	wire2_settings(&s->wire, &e, 1);
}

static void change_streams(struct server2 *s)
{
	nghttp2_settings_entry e = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0 };

	e.value = (uint32_t)dice_between(&s->actor.sim->dice, 1, 20);
	if (!s->actor.sim->weather.calm)
		wire2_settings(&s->wire, &e, 1);
}

static void ping(struct server2 *s)
{
	(void)nghttp2_submit_ping(s->wire.session, NGHTTP2_FLAG_NONE, NULL);
}

static void have_a_whim(struct server2 *s)
{
	static void (*const whims[])(struct server2 *) = { change_window, change_streams, ping };
	struct dice *d = &s->actor.sim->dice;

	if (s->whims >= WHIMS_MAX || !dice_chance(d, 50))
		return;
	s->whims++;
	whims[dice_below(d, 3)](s);
}

/* Of all that has arrived. */
static int32_t newest(const struct server2 *s)
{
	int32_t id = 0;

	LIST_EACH (l, &s->wire.streams)
		if (serving_of_link(l)->s.id > id)
			id = serving_of_link(l)->s.id;
	return id;
}

/* In one step or in two: first that there will be an end, then which call was the last. */
static void say_goodbye(struct server2 *s)
{
	struct sim *sim = s->actor.sim;
	int32_t last = newest(s);
	bool angry = s->going == STAYS && dice_chance(&sim->dice, 200);

	s->leave_ns = sim->now_ns + 1 + dice_spread(&sim->dice, CLOCK_S);
	if (s->going == STAYS && !angry && dice_chance(&sim->dice, 500)) {
		s->going = WARNS;
		(void)nghttp2_submit_shutdown_notice(s->wire.session);
		return;
	}
	sim_trace(sim, "server %u: GOAWAY, last %d", s->actor.number, last);
	s->going = LEAVES;
	s->wire.spoilt = s->wire.spoilt || angry; /* what it says of Weir is not so */
	(void)nghttp2_submit_goaway(s->wire.session, NGHTTP2_FLAG_NONE, last,
				    angry ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_NO_ERROR, NULL, 0);
	wire2_fill_all(&s->wire);
}

static void credit_all(struct server2 *s)
{
	s->credit_ns = 0;
	LIST_EACH (l, &s->wire.streams)
		if (!serving_of_link(l)->deaf)
			wire2_credit(&serving_of_link(l)->s);
}

static void credit(struct server2 *s)
{
	struct sim *sim = s->actor.sim;

	if (s->credit_ns != 0)
		return;
	if (dice_chance(&sim->dice, s->late))
		s->credit_ns = sim->now_ns + 1 +
			       dice_spread(&sim->dice, sim->weather.calm ? 5 * CLOCK_MS : CLOCK_S);
	else
		credit_all(s);
}

/*---------------------------------------------------------------- reading and writing */

/* True: the server is gone. */
static bool feed(struct server2 *s, const char *p, size_t n)
{
	unsigned calls = s->calls;

	if (s->slams && count_open(s) == 0) {
		server_end(s, dice_chance(&s->actor.sim->dice, 500), "goes away under a call");
		return true;
	}
	wire2_feed(&s->wire, p, n);
	credit(s);
	if (s->calls == calls)
		return false;
	crowd_arrival(s->actor.sim); /* what is reset already was read, too */
	s->slams = dice_chance(&s->actor.sim->dice, s->actor.sim->weather.serve_fault / 5);
	return false;
}

/* True: the server is gone. */
static bool read_some(struct server2 *s)
{
	static char buffer[64 * 1024];
	size_t most = s->pace.recv_max != 0 ? s->pace.recv_max : sizeof(buffer);
	ssize_t n = actor_recv(&s->actor, buffer, most);

	if (n == TRANSPORT_AGAIN)
		return false;
	if (n > 0)
		return feed(s, buffer, (size_t)n);
	server_end(s, false, n < 0 ? "reset by Weir" : "closed by Weir");
	return true;
}

/* True: the server is gone. */
static bool write_some(struct server2 *s)
{
	struct wire2 *w = &s->wire;

	if (!actor_send(&s->actor, &w->out, &w->sent, w->out.n, s->pace.send_max)) {
		server_end(s, false, "writes to nobody");
		return true;
	}
	wire2_told(w);
	return false;
}

static void earlier(uint64_t *at, uint64_t then)
{
	if (then != 0 && (*at == 0 || then < *at))
		*at = then;
}

static void set_times(struct server2 *s)
{
	uint64_t at = 0;

	earlier(&at, s->credit_ns);
	earlier(&at, s->leave_ns);
	LIST_EACH (l, &s->wire.streams)
		earlier(&at, serving_of_link(l)->due_ns);
	s->actor.at_ns = at;
}

static void settle(struct server2 *s)
{
	wire2_fill(&s->wire);
	LIST_EACH (l, &s->wire.streams)
		break_off(serving_of_link(l));
	wire2_fill(&s->wire);
	if (s->doomed && (s->doom_reset || s->wire.sent == s->wire.out.n)) {
		server_end(s, s->doom_reset, s->doom_reset ? "resets" : "closes");
		return;
	}
	set_times(s);
	actor_want(&s->actor, true, s->wire.sent < s->wire.out.n);
}

static void on_step(void *owner, unsigned ready)
{
	struct server2 *s = owner;
	struct sim *sim = s->actor.sim;

	if ((ready & WANT_READ) && read_some(s))
		return;
	if ((ready & WANT_WRITE) && write_some(s))
		return;
	have_a_whim(s);
	s->actor.wake_ns = sim->now_ns + dice_between(&sim->dice, 0, s->pace.gap_ns);
	settle(s);
}

static void leave(struct server2 *s)
{
	s->leave_ns = 0;
	if (s->going != LEAVES)
		say_goodbye(s);
	else if (count_open(s) == 0 || dice_chance(&s->actor.sim->dice, 200))
		doom(s, dice_chance(&s->actor.sim->dice, 300));
	else
		s->leave_ns = s->actor.sim->now_ns + CLOCK_S;
}

static void on_time(struct actor *a)
{
	struct server2 *s = (struct server2 *)(void *)a;
	uint64_t now = a->sim->now_ns;

	if (s->leave_ns != 0 && now >= s->leave_ns)
		leave(s);
	if (s->credit_ns != 0 && now >= s->credit_ns)
		credit_all(s);
	LIST_EACH (l, &s->wire.streams) {
		struct serving *k = serving_of_link(l);

		if (k->due_ns != 0 && now >= k->due_ns)
			begin_answer(k);
	}
	settle(s);
}

/*---------------------------------------------------------------- birth */

static void greet(struct server2 *s)
{
	struct sim *sim = s->actor.sim;
	struct dice *d = &sim->dice;
	nghttp2_settings_entry e[4];
	bool window = dice_chance(d, 300), large = dice_chance(d, 300);
	size_t n = 0;

	if (window) {
		e[n].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
		e[n++].value = (uint32_t)dice_between(d, sim->weather.calm ? 2000 : 100, 10000);
	}
	if (window && !sim->weather.calm && dice_chance(d, 100))
		e[0].value = 0; /* takes no body at all */
	if (!sim->weather.calm && dice_chance(d, 300)) {
		e[n].settings_id = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS;
		e[n++].value = (uint32_t)dice_between(d, 1, 10);
	}
	if (sim->weather.calm || dice_chance(d, 800)) {
		e[n].settings_id = NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL;
		e[n++].value = 1;
	}
	wire2_settings(&s->wire, e, n);
	if (large)
		(void)nghttp2_session_set_local_window_size(s->wire.session, NGHTTP2_FLAG_NONE, 0,
							    1000000);
}

static void draw_manners(struct server2 *s)
{
	struct sim *sim = s->actor.sim;
	struct dice *d = &sim->dice;

	s->late = dice_chance(d, 300) ? 500 : 0;
	s->wire.pads = dice_chance(d, 200) ? 300 : 0;
	s->wire.frame_most = dice_chance(d, 300) ? 1 + dice_spread(d, 5000) : 16384;
	s->slams = dice_chance(d, sim->weather.serve_fault / 10);
	if (dice_chance(d, sim->weather.serve_fault))
		s->leave_ns = sim->now_ns + 1 + dice_spread(d, 10 * CLOCK_S);
}

void server2_start(struct actor *former, struct site *site, const struct server_pace *pace,
		   const char *p, size_t n)
{
	struct server2 *s = sim_alloc(sizeof(*s));

	s->site = site;
	s->pace = *pace;
	actor_replace(&s->actor, former, on_step, on_time);
	s->actor.held = count_held;
	wire2_init(&s->wire, s->actor.sim, false, "an upstream", &server_events, s);
	draw_manners(s);
	greet(s);
	if (!feed(s, p, n))
		settle(s);
}
