/* server.c - the upstreams: take connections or do not, answer or do not.
 *
 * A connection answers one request after another; a second one before the answer to the first is
 * out is a failure of Weir's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "handshake.h"
#include "hear.h"
#include "sim.h"
#include "wire.h"

enum server_ending { KEEPS, CLOSES, RESETS, HANGS };

enum server_state { CONNECTING, REFUSING, SERVING };

struct server {
	struct actor actor; /* first */
	struct site *site;
	enum server_state state;
	struct wire in;
	struct server_pace pace;
	bool greeted; /* which HTTP it is to be is known */
	/* the request under way */
	struct heard_request heard; /* no request: idle */
	bool request_over, early, silent, slams, deaf;
	bool due; /* the answer, at actor.at_ns */
	bool tunnel, half_closed;
	char key[HANDSHAKE_MAX]; /* of WebSocket's handshake; empty: of none */
	/* the answer */
	struct answer *answer;
	struct buf out;
	size_t sent, cut_at;
	bool until_close;
	enum server_ending ending;
};

static struct server *server_of(struct actor *a)
{
	return (struct server *)(void *)a;
}

static void server_free(struct server *s)
{
	wire_fini(&s->in);
	buf_fini(&s->out);
	free(s);
}

static void server_end(struct server *s, bool reset, const char *why)
{
	sim_trace(s->actor.sim, "server %u: %s", s->actor.number, why);
	if (s->actor.transport != NULL)
		actor_close(&s->actor, reset);
	server_free(s);
}

/*---------------------------------------------------------------- answers */

static const char *const garbage[] = {
	"HTTP/1.1 abc OK\r\n\r\n",
	"HTTP/3.0 200 OK\r\n\r\n",
	"SSH-2.0-OpenSSH\r\n\r\n",
	"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-Bad : 1\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-Fold: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
	"HTTP/1.1 099 Low\r\n\r\n",
	"\r\n\r\n\r\n\r\n\r\n\r\n",
};

static void put_garbage(struct sim *sim, struct server *s)
{
	if (dice_chance(&sim->dice, 100) &&
	    strcmp(s->heard.request->method, "HEAD") !=
		0) { /* good until it is too late for another answer */
		s->answer->status = 200;
		buf_printf(&s->out,
			   "HTTP/1.1 200 OK\r\nX-Sim-Answer: %u\r\nTransfer-Encoding: "
			   "chunked\r\n\r\nnonsense\r\n",
			   s->answer->id);
	} else {
		buf_puts(&s->out,
			 garbage[dice_below(&sim->dice, sizeof(garbage) / sizeof(garbage[0]))]);
	}
	s->ending = (enum server_ending)dice_between(&sim->dice, CLOSES, HANGS);
}

static void put_body(struct server *s, uint64_t at, size_t n)
{
	if (!buf_reserve(&s->out, n))
		sim_fail("the simulation itself is out of memory");
	ledger_body(s->out.p + s->out.n, ANSWER_STREAM + s->answer->id, at, n);
	s->out.n += n;
}

static void put_chunks(struct sim *sim, struct server *s)
{
	struct answer *a = s->answer;

	for (uint64_t at = 0; at < a->body_n;) {
		uint64_t n = 1 + dice_spread(&sim->dice, 30000);

		n = n > a->body_n - at ? a->body_n - at : n;
		buf_printf(&s->out, "%llx\r\n", (unsigned long long)n);
		put_body(s, at, n);
		buf_puts(&s->out, "\r\n");
		at += n;
	}
	if (a->trailers)
		buf_printf(&s->out, "0\r\nX-Sim-Trailer: %u\r\n\r\n", a->id);
	else
		buf_puts(&s->out, "0\r\n\r\n");
}

/* With the body's framing: 0 length, 1 chunked, 2 until close. */
static void put_framed(struct sim *sim, struct server *s, unsigned framing)
{
	struct answer *a = s->answer;

	if (framing == 1)
		buf_puts(&s->out, "Transfer-Encoding: chunked\r\n");
	else if (framing == 0 && a->status != 204)
		buf_printf(&s->out, "Content-Length: %llu\r\n", (unsigned long long)a->body_n);
	buf_puts(&s->out, "\r\n");
	if (a->no_body)
		return;
	s->until_close = framing == 2;
	if (framing == 1)
		put_chunks(sim, s);
	else
		put_body(s, 0, a->body_n);
}

bool site_is_down(const struct sim *sim, const struct site *site)
{
	return site->flap_ns != 0 && sim->now_ns / site->flap_ns % 2 == 1;
}

static void put_answer(struct sim *sim, struct server *s)
{
	static const unsigned statuses[] = { 200, 200, 200, 200, 201, 204, 304, 404, 500, 503 };
	struct answer *a = s->answer;
	struct dice *d = &sim->dice;
	unsigned framing = (unsigned)dice_below(d, 3);

	a->status = statuses[dice_below(d, sizeof(statuses) / sizeof(statuses[0]))];
	if (site_is_down(sim, s->site))
		a->status = 503;
	a->no_body =
	    strcmp(s->heard.request->method, "HEAD") == 0 || a->status == 204 || a->status == 304;
	a->body_n = a->status == 204 ? 0 : ledger_size(d, 8000);
	if (a->status == 204 || (a->status == 304 && framing == 1))
		framing = 0;
	a->trailers = framing == 1 && dice_chance(d, 300);
	buf_printf(&s->out, "HTTP/1.1 %u Whatever\r\nX-Sim-Answer: %u\r\n", a->status, a->id);
	if (framing == 2 && !a->no_body) {
		s->ending = CLOSES;
	} else if (dice_chance(d, 150)) {
		buf_puts(&s->out, "Connection: close\r\n");
		s->ending = CLOSES;
	} else if (dice_chance(d, 100)) {
		buf_puts(&s->out, "Connection: X-Hop\r\nX-Hop: 1\r\n");
	}
	put_framed(sim, s, framing);
}

static void put_switch(struct sim *sim, struct server *s)
{
	struct answer *a = s->answer;
	char accept[HANDSHAKE_MAX];

	a->status = 101;
	a->body_n = dice_spread(&sim->dice, 200000);
	buf_printf(
	    &s->out,
	    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nX-Sim-Answer: %u\r\n",
	    a->id);
	if (s->key[0] != '\0') {
		handshake_accept(s->key, accept);
		buf_printf(&s->out, "Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			   accept);
	} else {
		buf_puts(&s->out, "Upgrade: sim\r\n\r\n");
	}
	put_body(s, 0, a->body_n);
	s->tunnel = true;
	s->heard.got = 0;
	s->in.state = WIRE_RAW;
}

/* Where an answer breaks off, and how. */
static void spoil(struct sim *sim, struct server *s, size_t begin)
{
	struct dice *d = &sim->dice;

	s->answer->spoiled = true;
	s->cut_at = begin + dice_below(d, s->out.n - begin);
	s->ending = (enum server_ending)dice_between(d, CLOSES, HANGS);
	/* of what lasts until the close, a break in good order is none */
	if ((s->until_close || s->tunnel) && s->ending == CLOSES)
		s->ending = RESETS;
}

/* Who asks by HTTP/2 takes another answer for none. */
static bool switches(struct server *s)
{
	struct sim *sim = s->actor.sim;
	const struct request *r = s->heard.request;

	return r->place == PLACE_TUNNEL && s->request_over &&
	       (dice_chance(&sim->dice, 800) || (sim->weather.calm && r->is_2));
}

static void begin_answer(struct server *s)
{
	struct sim *sim = s->actor.sim;
	size_t begin = s->out.n;

	s->answer = ledger_answer(&sim->ledger, s->heard.request);
	s->ending = KEEPS;
	s->cut_at = SIZE_MAX;
	s->until_close = false;
	if (switches(s)) {
		put_switch(sim, s);
	} else if (dice_chance(&sim->dice, sim->weather.serve_fault / 3)) {
		s->answer->spoiled = true;
		put_garbage(sim, s);
	} else {
		put_answer(sim, s);
	}
	if (!s->answer->spoiled && dice_chance(&sim->dice, sim->weather.serve_fault / 2))
		spoil(sim, s, begin);
	sim_trace(sim, "server %u: request %u gets answer %u: %u, %llu bytes, ending %d%s",
		  s->actor.number, s->heard.request->id, s->answer->id, s->answer->status,
		  (unsigned long long)s->answer->body_n, s->ending,
		  s->answer->spoiled ? ", spoiled" : "");
}

/*---------------------------------------------------------------- requests */

static void send_interim(struct server *s, const char *line)
{
	s->heard.request->interims_sent++;
	buf_printf(&s->out, "HTTP/1.1 %s\r\nX-Sim-Interim: 1\r\n\r\n", line);
}

static void answer_soon(struct server *s)
{
	struct sim *sim = s->actor.sim;
	bool slow = dice_chance(&sim->dice, sim->weather.slow);

	s->due = true;
	s->actor.at_ns =
	    sim->now_ns + 1 + dice_spread(&sim->dice, slow ? 20 * CLOCK_S : 20 * CLOCK_MS);
}

static void draw_conduct(struct server *s)
{
	struct sim *sim = s->actor.sim;
	struct dice *d = &sim->dice;
	unsigned fault = sim->weather.serve_fault;

	s->early = dice_chance(d, fault / 2);
	s->silent = dice_chance(d, fault / 5);
	s->deaf = dice_chance(d, fault / 5);
	if (s->heard.request->expects && (sim->weather.calm || dice_chance(d, 700)))
		send_interim(s, "100 Continue");
	else if (dice_chance(d, 50))
		send_interim(s, "103 Early Hints");
	if (s->early && !s->silent)
		answer_soon(s);
}

/* Weir waits for the rest of an answer of it. */
static unsigned count_held(const struct actor *a)
{
	const struct server *s = (const struct server *)(const void *)a;
	const struct request *r = s->heard.request;

	return r != NULL && r->place == PLACE_HELD && (s->answer == NULL || !s->answer->complete) &&
	       pair_is_open(a->pair, 0);
}

static enum wire_state on_head(struct wire *w, const struct wire_head *h)
{
	struct server *s = w->owner;
	struct sim *sim = s->actor.sim;
	struct request *r;

	if (s->heard.request != NULL)
		sim_fail("server %u: another request before the answer", s->actor.number);
	r = hear_find(sim, h);
	s->request_over = false;
	s->answer = NULL;
	s->out.n = s->sent = 0;
	s->cut_at = SIZE_MAX;
	s->actor.at_ns = 0;
	s->due = false;
	sim_trace(sim, "server %u (%s): request %u", s->actor.number, s->site->text, r->id);
	ledger_arrival(sim, r);
	hear_request_head(&s->heard, r, h);
	if (!wire_field(h, "Sec-WebSocket-Key", s->key, sizeof(s->key)))
		s->key[0] = '\0';
	if (r->place == PLACE_HELD)
		crowd_arrival(sim);
	draw_conduct(s);
	return wire_body_state(w, h, false);
}

static void on_body(struct wire *w, const char *p, size_t n)
{
	hear_request_body(&((struct server *)w->owner)->heard, p, n);
}

static void go_idle(struct server *s);

static void on_end(struct wire *w, const struct wire_head *trailers)
{
	struct server *s = w->owner;

	if (s->heard.request->place != PLACE_TUNNEL || (s->tunnel && !s->answer->spoiled))
		hear_request_end(&s->heard, trailers);
	s->request_over = true;
	if (s->answer != NULL && s->answer->complete && s->ending == KEEPS && !s->tunnel)
		go_idle(s);
	else if (!s->early && !s->silent && s->answer == NULL && !s->due)
		answer_soon(s);
}

static const struct wire_events request_events = { .head = on_head,
						   .body = on_body,
						   .end = on_end };

/*---------------------------------------------------------------- reading and writing */

/* Between calls: keeps still, goes away after a while, goes away under the next call, or speaks
 * without being asked. */
static void go_idle(struct server *s)
{
	struct sim *sim = s->actor.sim;

	s->heard.request = NULL;
	if (!dice_chance(&sim->dice, sim->weather.serve_fault))
		return;
	s->slams = dice_chance(&sim->dice, 400);
	if (!s->slams)
		s->actor.at_ns = sim->now_ns + 1 + dice_spread(&sim->dice, 30 * CLOCK_S);
}

/* True: the server is gone. */
static bool on_eof(struct server *s, bool reset)
{
	if (!reset && s->tunnel && s->in.state == WIRE_RAW) {
		wire_eof(&s->in);
		if (!s->half_closed)
			return false; /* our half goes on */
	}
	server_end(s, false, reset ? "reset by Weir" : "closed by Weir");
	return true;
}

/* Weir says which HTTP it speaks.  True: it is HTTP/2, and another's from here. */
static bool greet(struct server *s, const char *p, size_t n)
{
	bool is_2 = n >= 3 && memcmp(p, "PRI", 3) == 0;
	enum speech speech = s->actor.sim->upstream_speech;

	if (speech != SPEAKS_BOTH && is_2 != (speech == SPEAKS_2))
		sim_fail("server %u hears %.*s", s->actor.number, (int)(n < 20 ? n : 20), p);
	s->greeted = true;
	if (!is_2)
		return false;
	server2_start(&s->actor, s->site, &s->pace, p, n);
	server_free(s);
	return true;
}

/* True: the server is gone. */
static bool read_some(struct server *s)
{
	static char buffer[64 * 1024];
	ssize_t n = actor_recv(&s->actor, buffer,
			       s->pace.recv_max != 0 ? s->pace.recv_max : sizeof(buffer));

	if (n == TRANSPORT_AGAIN)
		return false;
	if (n > 0 && s->slams && s->heard.request == NULL) {
		server_end(s, dice_chance(&s->actor.sim->dice, 500), "goes away under a call");
		return true;
	}
	if (n > 0 && !s->greeted && greet(s, buffer, (size_t)n))
		return true;
	if (n > 0) {
		wire_feed(&s->in, buffer, (size_t)n);
		return false;
	}
	return on_eof(s, n < 0);
}

/* All of the answer is out.  True: the server is gone. */
static bool finish(struct server *s)
{
	struct answer *a = s->answer;

	if (s->ending == HANGS)
		return false;
	if (!a->spoiled)
		a->complete = !s->until_close || pair_unread(s->actor.pair, 1) == 0;
	if (s->tunnel && !a->spoiled) {
		if (!s->half_closed) {
			s->half_closed = true;
			s->actor.transport->ops->half_close(s->actor.transport);
		}
		if (s->in.state != WIRE_OVER)
			return false;
		server_end(s, false, "the tunnel is over");
		return true;
	}
	if (s->ending != KEEPS) {
		server_end(s, s->ending == RESETS, s->ending == RESETS ? "resets" : "closes");
		return true;
	}
	if (s->heard.request != NULL && s->request_over)
		go_idle(s);
	return false;
}

static size_t send_limit(const struct server *s)
{
	return s->out.n < s->cut_at ? s->out.n : s->cut_at;
}

static bool wants_read(const struct server *s)
{
	bool over = s->tunnel && s->in.state == WIRE_OVER;

	return !over && !(s->deaf && s->heard.request != NULL && !s->request_over);
}

/* True: the server is gone. */
static bool write_some(struct server *s)
{
	bool was_out = s->answer != NULL && s->answer->complete;

	if (!s->half_closed &&
	    !actor_send(&s->actor, &s->out, &s->sent, send_limit(s), s->pace.send_max)) {
		server_end(s, false, "writes to nobody");
		return true;
	}
	if (s->answer == NULL || s->sent < send_limit(s) || (was_out && !s->tunnel))
		return false;
	return finish(s);
}

static void settle(struct server *s)
{
	/* who does not read must look up now and then to see that Weir is gone */
	if (!wants_read(s) && s->actor.at_ns == 0)
		s->actor.at_ns = s->actor.sim->now_ns + 50 * CLOCK_S;
	actor_want(&s->actor, wants_read(s), !s->half_closed && s->sent < send_limit(s));
}

static void on_step(void *owner, unsigned ready)
{
	struct server *s = owner;
	struct sim *sim = s->actor.sim;

	if ((ready & WANT_READ) && read_some(s))
		return;
	if (write_some(s))
		return;
	s->actor.wake_ns = sim->now_ns + dice_between(&sim->dice, 0, s->pace.gap_ns);
	settle(s);
}

static void on_connect_time(struct server *s)
{
	struct sim *sim = s->actor.sim;

	if (s->state == REFUSING || !pair_is_open(s->actor.pair, 0)) {
		list_remove(&s->actor.link);
		s->actor.transport = NULL;
		pair_refuse(s->actor.pair);
		server_end(s, false, "refuses");
		return;
	}
	pair_accept(s->actor.pair);
	s->state = SERVING;
	sim_trace(sim, "server %u (%s): connected", s->actor.number, s->site->text);
	settle(s);
}

static void on_time(struct actor *a)
{
	struct server *s = server_of(a);

	if (s->state != SERVING) {
		on_connect_time(s);
		return;
	}
	if (!pair_is_open(a->pair, 0) && !wants_read(s)) {
		server_end(s, true, "sees that Weir is gone");
		return;
	}
	if (s->heard.request == NULL) {
		if (dice_chance(&a->sim->dice, 700)) {
			server_end(s, dice_chance(&a->sim->dice, 300), "goes away while idle");
			return;
		}
		buf_puts(&s->out,
			 "HTTP/1.1 200 OK\r\nX-Sim-Unasked: 1\r\nContent-Length: 0\r\n\r\n");
		s->slams = true; /* or its next answer would be taken for that of another call */
	} else if (s->due) {
		s->due = false;
		begin_answer(s);
		if (write_some(s))
			return;
	}
	settle(s);
}

/*---------------------------------------------------------------- connections */

static struct site *find_site(struct sim *sim, const struct addr *addr)
{
	for (unsigned i = 0; i < SIM_SITES; i++)
		if (addr_eq(&sim->site[i].addr, addr))
			return &sim->site[i];
	sim_fail("a connection to nowhere");
}

static void draw_connect(struct server *s)
{
	struct sim *sim = s->actor.sim;
	struct dice *d = &sim->dice;
	bool fault = dice_chance(d, sim->weather.connect_fault);

	s->actor.at_ns = sim->now_ns + 1 + dice_spread(d, 5 * CLOCK_MS);
	if ((fault && dice_chance(d, 500)) || site_is_down(sim, s->site))
		s->state = REFUSING;
	else if (fault) /* longer than anybody waits, or perhaps not */
		s->actor.at_ns = sim->now_ns + dice_spread(d, 100 * CLOCK_S) + 1;
}

static void draw_pace(struct server *s)
{
	struct sim *sim = s->actor.sim;
	struct dice *d = &sim->dice;

	for (unsigned side = 0; side < 2; side++) {
		struct pair_knobs *k = pair_knobs(s->actor.pair, side);

		k->reset_drops = dice_chance(d, 500);
		if (dice_chance(d, 300))
			k->capacity = dice_between(d, 256, PAIR_CAPACITY_MAX);
		if (dice_chance(d, 200))
			k->recv_max = 100 + dice_spread(d, 2000);
	}
	if (dice_chance(d, sim->weather.slow)) {
		s->pace.send_max = dice_between(d, 100, 2000);
		s->pace.recv_max = dice_between(d, 100, 2000);
		s->pace.gap_ns = dice_spread(d, 20 * CLOCK_MS);
	} else if (dice_chance(d, 300)) {
		s->pace.send_max = dice_between(d, 100, 30000);
	}
}

struct transport *server_connect(struct loop *loop, const struct addr *addr)
{
	struct sim *sim = LIST_ENTRY(((struct worker *)loop->data)->shared, struct sim, shared);
	struct site *site = find_site(sim, addr);
	struct server *s;
	struct pair *pair;

	if (dice_chance(&sim->dice, sim->weather.connect_fault / 4))
		return NULL;
	pair = pair_new_connecting(loop, NULL);
	if (pair == NULL)
		return NULL;
	list_push_back(&sim->pairs, pair_link(pair));
	s = sim_alloc(sizeof(*s));
	s->site = site;
	s->cut_at = SIZE_MAX;
	actor_init(&s->actor, sim, pair, on_step, on_time);
	s->actor.held = count_held;
	wire_init(&s->in, false, "an upstream", &request_events, s);
	draw_connect(s);
	draw_pace(s);
	site->connections++;
	return pair_end(pair, 0);
}

void sites_init(struct sim *sim)
{
	for (unsigned i = 0; i < SIM_SITES; i++) {
		struct site *site = &sim->site[i];

		snprintf(site->text, sizeof(site->text), "10.9.0.%u:8000", i + 1);
		CHECK(addr_parse(slice_str(site->text), &site->addr));
		if (dice_chance(&sim->dice, sim->weather.flaps))
			site->flap_ns = dice_between(&sim->dice, 100 * CLOCK_MS, 5 * CLOCK_S);
	}
}
