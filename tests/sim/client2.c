/* client2.c - a client connection of HTTP/2: asks several things at once, reads the answers,
 * misbehaves.
 *
 * A call may be refused unseen (RST_STREAM with REFUSED_STREAM, or above the last of GOAWAY): then it
 * has reached nobody, and is asked again where that can be.  Faults are those of client.c, by the
 * connection, and by the stream: reset at a random moment, or a window that opens late.  A client
 * without one must be served within GIVE_UP_NS, whatever the upstreams do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "hear.h"
#include "sim.h"
#include "wire2.h"

enum { CALLS_MAX = 24, TRIES_MAX = 20, WHIMS_MAX = 20 };

#define GIVE_UP_NS (2000 * CLOCK_S)

enum client_fault {
	WELL_BEHAVED,
	RESETS_WHEN_SENT, /* so many bytes */
	CLOSES_WHEN_SENT,
	RESETS_WHEN_GOT,
	CLOSES_WHEN_GOT,
	STOPS_READING, /* when it got so many */
	STOPS_SENDING, /* when it has sent so many */
	CLIENT_FAULTS
};

struct asking {
	struct wire2_stream s; /* first */
	struct client2 *client;
	struct request *r;
	struct heard_answer heard;
	struct fields *fields;
	bool end; /* the head is all there is to ask */
	bool bad_trailer;
	uint64_t say_n;    /* what is sent of the body; less than is declared: it breaks off */
	uint64_t ask_ns;   /* 0: is asked */
	uint64_t reset_ns; /* 0: never */
	uint64_t go_ns;    /* the body goes without having been asked for */
	unsigned tries;
	bool answered, lost;
};

struct client2 {
	struct actor actor; /* first */
	struct wire2 wire;
	struct asking call[CALLS_MAX];
	unsigned n;
	size_t send_max, recv_max;
	uint64_t send_gap_ns;
	uint64_t got;
	enum client_fault fault;
	uint64_t fault_at;
	unsigned whims, late; /* per mille: of windows that open late */
	bool deaf, mute, half_closes, half_closed, leaving;
	uint64_t credit_ns, close_ns, give_up_ns;
};

static bool is_over(const struct asking *k)
{
	return k->lost || (k->answered && (k->s.closed || k->s.said));
}

static unsigned count_over(const struct client2 *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++)
		n += is_over(&c->call[i]);
	return n;
}

static unsigned count_answered(const struct client2 *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n; i++)
		n += c->call[i].answered;
	return n;
}

static void client_free(struct client2 *c)
{
	wire2_fini(&c->wire);
	for (unsigned i = 0; i < c->n; i++) {
		wire2_stream_fini(&c->call[i].s);
		free(c->call[i].fields);
	}
	free(c);
}

static void client_end(struct client2 *c, bool reset, const char *why)
{
	struct sim *sim = c->actor.sim;
	unsigned answered = count_answered(c);

	sim_trace(sim, "client %u: %s (%u of %u answered)", c->actor.number, why, answered, c->n);
	if (sim->weather.calm && answered < c->n)
		sim_fail("client %u: %s with %u of %u answers", c->actor.number, why, answered,
			 c->n);
	sim->ledger.unanswered += c->n - answered;
	sim->clients--;
	actor_close(&c->actor, reset);
	client_free(c);
}

/*---------------------------------------------------------------- answers */

static struct asking *asking_of(struct wire2_stream *s)
{
	return (struct asking *)(void *)s;
}

static void on_head(struct wire2_stream *s, const struct wire_head *h, bool end)
{
	struct asking *k = asking_of(s);
	struct sim *sim = s->wire->sim;

	(void)end;
	sim_trace(sim, "client %u: request %u: %u", k->r->client, k->r->id, h->status);
	k->heard.request = k->r;
	if (h->status >= 200) {
		hear_answer_head(sim, &k->heard, h);
		if (k->r->place == PLACE_TUNNEL && h->status < 300) {
			sim->ledger.tunnels++;
			wire2_go_on(s, UINT64_MAX);
		}
		return;
	}
	hear_interim(&k->heard, h);
	if (h->status == 100 && k->r->expects) {
		wire2_go_on(s, UINT64_MAX);
		k->go_ns = 0;
	}
}

static void on_body(struct wire2_stream *s, const char *p, size_t n)
{
	struct asking *k = asking_of(s);

	k->client->got += n;
	hear_answer_body(&k->heard, p, n);
}

static void on_end(struct wire2_stream *s, const struct wire_head *trailers)
{
	struct asking *k = asking_of(s);

	hear_answer_end(&k->heard, trailers);
	sim_trace(s->wire->sim, "client %u: request %u is answered", k->r->client, k->r->id);
	k->answered = true;
	k->go_ns = 0;
}

static void on_said(struct wire2_stream *s)
{
	struct asking *k = asking_of(s);

	k->r->said = k->say_n == k->r->body_n && !k->bad_trailer;
	k->go_ns = 0;
}

/* It was not looked at.  True: and is asked again. */
static bool is_to_ask_again(struct asking *k)
{
	struct client2 *c = k->client;

	if (k->r->arrivals > 0)
		sim_fail("request %u: refused as if unseen, and it reached an upstream", k->r->id);
	if (c->wire.going || c->leaving || ++k->tries > TRIES_MAX)
		return false;
	k->ask_ns = c->actor.sim->now_ns + 1 + dice_spread(&c->actor.sim->dice, 10 * CLOCK_MS);
	return true;
}

static void on_closed(struct wire2_stream *s, uint32_t code)
{
	struct asking *k = asking_of(s);
	struct sim *sim = s->wire->sim;

	k->go_ns = k->reset_ns = 0;
	if (k->answered)
		return;
	sim_trace(sim, "client %u: request %u: stream closed, %s", k->r->client, k->r->id,
		  nghttp2_http2_strerror(code));
	if (!s->we_reset && code == NGHTTP2_REFUSED_STREAM && !s->headed && is_to_ask_again(k))
		return;
	k->lost = true;
	sim->ledger.cut_answers += s->headed;
	if (sim->weather.calm)
		sim_fail("request %u: the stream ends with %s", k->r->id,
			 nghttp2_http2_strerror(code));
}

static const struct wire2_events client_events = {
	.head = on_head,
	.body = on_body,
	.end = on_end,
	.said = on_said,
	.closed = on_closed,
};

/*---------------------------------------------------------------- requests */

/* RFC 8441 section 3: once Weir has said that it takes extended CONNECT. */
static bool may_tunnel(const struct client2 *c)
{
	return nghttp2_session_get_remote_settings(c->wire.session,
						   NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

static void ask(struct asking *k)
{
	struct client2 *c = k->client;
	struct wire2_stream *s = &k->s;

	k->ask_ns = 0;
	if (k->r->place == PLACE_TUNNEL && !may_tunnel(c) && ++k->tries < 10000) {
		k->ask_ns = c->actor.sim->now_ns + CLOCK_MS;
		return;
	}
	if (c->wire.going || c->mute || c->half_closed || c->leaving) {
		k->lost = true;
		return;
	}
	wire2_stream_fini(s);
	wire2_stream_init(&c->wire, s);
	s->number = REQUEST_STREAM + k->r->id;
	s->body_n = k->say_n;
	s->stop_at = k->r->expects || k->r->place == PLACE_TUNNEL ? 0 : UINT64_MAX;
	s->trailer = k->r->trailers ? k->r->id : 0;
	s->bad_trailer = k->bad_trailer;
	if (k->r->expects)
		k->go_ns =
		    c->actor.sim->now_ns + dice_between(&c->actor.sim->dice, CLOCK_MS, 2 * CLOCK_S);
	wire2_ask(&c->wire, s, k->fields, k->end);
	sim_trace(c->actor.sim, "client %u: asks request %u on stream %d", c->actor.number,
		  k->r->id, s->id);
}

/* It is not wanted any more. */
static void give_up_call(struct asking *k)
{
	static const uint32_t codes[] = { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR,
					  NGHTTP2_INTERNAL_ERROR };

	k->reset_ns = 0;
	if (k->s.id == 0 || k->s.closed)
		return;
	sim_trace(k->client->actor.sim, "client %u: resets request %u", k->r->client, k->r->id);
	wire2_reset(&k->s, codes[dice_below(&k->client->actor.sim->dice, 3)]);
}

static void act_on_call(struct asking *k, uint64_t now)
{
	if (k->ask_ns != 0 && now >= k->ask_ns)
		ask(k);
	if (k->go_ns != 0 && now >= k->go_ns) {
		k->go_ns = 0;
		wire2_go_on(&k->s, UINT64_MAX);
	}
	if (k->reset_ns != 0 && now >= k->reset_ns)
		give_up_call(k);
}

/*---------------------------------------------------------------- whims */

static void change_window(struct client2 *c)
{
	struct dice *d = &c->actor.sim->dice;
	bool tiny = dice_chance(d, 300);
	uint32_t window =
	    tiny ? (uint32_t)dice_between(d, c->actor.sim->weather.calm ? 1000 : 100, 3000)
		 : (uint32_t)dice_between(d, 3000, 200000);
	nghttp2_settings_entry e = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window };

	wire2_settings(&c->wire, &e, 1);
}

static void change_table(struct client2 *c)
{
	nghttp2_settings_entry e = { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0 };

	e.value = (uint32_t)dice_spread(&c->actor.sim->dice, 10000);
	wire2_settings(&c->wire, &e, 1);
}

static void ping(struct client2 *c)
{
	(void)nghttp2_submit_ping(c->wire.session, NGHTTP2_FLAG_NONE, NULL);
}

static void have_a_whim(struct client2 *c)
{
	static void (*const whims[])(struct client2 *) = { change_window, change_table, ping };
	struct dice *d = &c->actor.sim->dice;

	if (c->whims >= WHIMS_MAX || !dice_chance(d, 50))
		return;
	c->whims++;
	whims[dice_below(d, 3)](c);
}

static void credit_all(struct client2 *c)
{
	c->credit_ns = 0;
	for (unsigned i = 0; i < c->n; i++)
		if (c->call[i].s.id != 0)
			wire2_credit(&c->call[i].s);
}

/* The windows open at once, or after a while. */
static void credit(struct client2 *c)
{
	struct sim *sim = c->actor.sim;

	if (c->credit_ns != 0)
		return;
	if (dice_chance(&sim->dice, c->late))
		c->credit_ns =
		    sim->now_ns + 1 +
		    dice_spread(&sim->dice, sim->weather.calm ? 5 * CLOCK_MS : 2 * CLOCK_S);
	else
		credit_all(c);
}

/*---------------------------------------------------------------- reading and writing */

/* True: the client is gone. */
static bool read_some(struct client2 *c)
{
	static char buffer[64 * 1024];
	ssize_t n = c->deaf ? TRANSPORT_AGAIN
			    : actor_recv(&c->actor, buffer,
					 c->recv_max != 0 ? c->recv_max : sizeof(buffer));

	if (n == TRANSPORT_AGAIN)
		return false;
	if (n <= 0) {
		client_end(c, false, n < 0 ? "reset by Weir" : "closed by Weir");
		return true;
	}
	c->got += (uint64_t)n;
	wire2_feed(&c->wire, buffer, (size_t)n);
	credit(c);
	return false;
}

/* Of `out`. */
static size_t send_limit(const struct client2 *c)
{
	const struct wire2 *w = &c->wire;
	uint64_t begin = w->made - w->out.n;
	bool by_bytes = c->fault == RESETS_WHEN_SENT || c->fault == CLOSES_WHEN_SENT ||
			c->fault == STOPS_SENDING;

	if (c->mute || c->half_closed)
		return w->sent;
	if (!by_bytes || c->fault_at >= w->made)
		return w->out.n;
	return c->fault_at > begin + w->sent ? (size_t)(c->fault_at - begin) : w->sent;
}

static void write_some(struct client2 *c)
{
	struct wire2 *w = &c->wire;

	if (!actor_send(&c->actor, &w->out, &w->sent, send_limit(c), c->send_max))
		c->mute = true; /* what has come may still be read */
	wire2_told(w);
}

/* True: the client is gone. */
static bool commit_fault(struct client2 *c)
{
	bool sent = wire2_sent(&c->wire) >= c->fault_at, got = c->got >= c->fault_at;

	if ((c->fault == RESETS_WHEN_SENT || c->fault == CLOSES_WHEN_SENT) && sent) {
		client_end(c, c->fault == RESETS_WHEN_SENT, "goes away while sending");
		return true;
	}
	if ((c->fault == RESETS_WHEN_GOT || c->fault == CLOSES_WHEN_GOT) && got) {
		client_end(c, c->fault == RESETS_WHEN_GOT, "goes away while reading");
		return true;
	}
	c->deaf = c->deaf || (c->fault == STOPS_READING && got);
	c->mute = c->mute || (c->fault == STOPS_SENDING && sent);
	if ((c->deaf || c->mute) && c->close_ns == 0)
		c->close_ns = c->actor.sim->now_ns + 100 * CLOCK_S;
	return false;
}

/* All is asked: the sending side is shut down. */
static void half_close(struct client2 *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (!c->call[i].s.said && !is_over(&c->call[i]))
			return;
	if (!c->half_closes || c->half_closed || c->mute || c->wire.sent < c->wire.out.n)
		return;
	c->half_closed = true;
	sim_trace(c->actor.sim, "client %u: half-closes", c->actor.number);
	c->actor.transport->ops->half_close(c->actor.transport);
}

static void earlier(uint64_t *at, uint64_t then)
{
	if (then != 0 && then < *at)
		*at = then;
}

static void set_times(struct client2 *c)
{
	struct sim *sim = c->actor.sim;
	uint64_t at = c->give_up_ns;

	if (count_over(c) == c->n && c->close_ns == 0)
		c->close_ns = sim->now_ns + 1 + dice_spread(&sim->dice, 100 * CLOCK_S);
	earlier(&at, c->close_ns);
	earlier(&at, c->credit_ns);
	for (unsigned i = 0; i < c->n; i++) {
		earlier(&at, c->call[i].ask_ns);
		earlier(&at, c->call[i].reset_ns);
		earlier(&at, c->call[i].go_ns);
	}
	c->actor.at_ns = at;
}

static void settle(struct client2 *c)
{
	if (commit_fault(c))
		return;
	if (!c->mute && !c->half_closed)
		wire2_fill(&c->wire);
	half_close(c);
	set_times(c);
	actor_want(&c->actor, !c->deaf, send_limit(c) > c->wire.sent);
}

static void on_step(void *owner, unsigned ready)
{
	struct client2 *c = owner;
	struct sim *sim = c->actor.sim;
	uint64_t before = wire2_sent(&c->wire) + c->got;
	bool slow;

	if ((ready & WANT_READ) && read_some(c))
		return;
	if (ready & WANT_WRITE)
		write_some(c);
	have_a_whim(c);
	slow = wire2_sent(&c->wire) + c->got > before;
	c->actor.wake_ns = slow ? sim->now_ns + dice_between(&sim->dice, 0, c->send_gap_ns) : 0;
	settle(c);
}

/* With a word, or without. */
static void leave(struct client2 *c)
{
	if (c->leaving || c->mute || c->half_closed || dice_chance(&c->actor.sim->dice, 500)) {
		client_end(c, c->deaf, "closes");
		return;
	}
	c->leaving = true;
	(void)nghttp2_submit_goaway(c->wire.session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL,
				    0);
	c->close_ns = c->actor.sim->now_ns + 1 + dice_spread(&c->actor.sim->dice, CLOCK_S);
	settle(c);
}

static void on_time(struct actor *a)
{
	struct client2 *c = (struct client2 *)(void *)a;
	uint64_t now = a->sim->now_ns;

	if (now >= c->give_up_ns) {
		if (c->fault == WELL_BEHAVED && a->sim->weather.no_memory == 0)
			sim_fail("client %u waits in vain: %u of %u over", a->number, count_over(c),
				 c->n);
		client_end(c, true, "gives up");
		return;
	}
	if (c->close_ns != 0 && now >= c->close_ns) {
		leave(c);
		return;
	}
	if (c->credit_ns != 0 && now >= c->credit_ns)
		credit_all(c);
	for (unsigned i = 0; i < c->n; i++)
		act_on_call(&c->call[i], now);
	settle(c);
}

/*---------------------------------------------------------------- birth */

static void draw_breaks(struct asking *k, struct sim *sim)
{
	struct dice *d = &sim->dice;

	k->say_n = k->r->body_n;
	if (dice_chance(d, sim->weather.client_fault / 2))
		k->reset_ns = k->ask_ns + 1 + dice_spread(d, 2 * CLOCK_S);
	if (!k->r->incomplete)
		return;
	if (k->r->body_n > 0 && dice_chance(d, 500)) { /* less than it says */
		k->r->chunked = k->r->trailers = false;
		fields_add_number(k->fields, "content-length", k->r->body_n);
		k->say_n = dice_below(d, k->r->body_n);
	} else {
		k->r->trailers = k->bad_trailer = true;
	}
}

static void draw_calls(struct client2 *c, struct sim *sim)
{
	struct dice *d = &sim->dice;
	bool together = dice_chance(d, 500);

	c->n = 1 + (unsigned)dice_spread(d, CALLS_MAX - 1);
	for (unsigned i = 0; i < c->n; i++) {
		struct asking *k = &c->call[i];

		k->client = c;
		k->fields = sim_alloc(sizeof(*k->fields));
		k->r = request_make2(sim, c->actor.number, k->fields, &k->end);
		k->ask_ns = sim->now_ns + 1 + dice_spread(d, together ? 1000000 : 3 * CLOCK_S);
		draw_breaks(k, sim);
		wire2_stream_init(&c->wire, &k->s);
		sim_trace(sim, "client %u: request %u: %s %s, %llu bytes%s%s%s%s", c->actor.number,
			  k->r->id, k->r->method, k->r->target, (unsigned long long)k->r->body_n,
			  k->r->chunked ? ", no length" : "", k->r->expects ? ", expects" : "",
			  k->r->malformed ? ", malformed" : "",
			  k->r->incomplete ? ", broken body" : "");
	}
}

static uint64_t all_bytes(const struct client2 *c)
{
	uint64_t n = 100;

	for (unsigned i = 0; i < c->n; i++)
		n += 100 + c->call[i].say_n;
	return n;
}

static void draw_manners(struct client2 *c, struct sim *sim)
{
	struct dice *d = &sim->dice;
	uint64_t all = all_bytes(c);

	c->half_closes = !sim->weather.calm && dice_chance(d, 50);
	c->late = dice_chance(d, 300) ? 500 : 0;
	c->wire.pads = dice_chance(d, 200) ? 300 : 0;
	c->wire.frame_most = dice_chance(d, 300) ? 1 + dice_spread(d, 5000) : 16384;
	if (dice_chance(d, sim->weather.slow)) {
		c->send_max = dice_between(d, 100, 2000);
		c->recv_max = dice_between(d, 100, 2000);
		c->send_gap_ns = dice_spread(d, 20 * CLOCK_MS);
	} else if (dice_chance(d, 300)) {
		c->send_max = dice_between(d, 100, 60000);
	}
	if (!dice_chance(d, sim->weather.client_fault))
		return;
	c->fault = (enum client_fault)dice_between(d, 1, CLIENT_FAULTS - 1);
	c->fault_at = dice_chance(d, 500) ? dice_spread(d, all) : dice_below(d, all);
	sim_trace(sim, "client %u: fault %d at byte %llu", c->actor.number, c->fault,
		  (unsigned long long)c->fault_at);
}

/* What it says of itself at first. */
static void greet(struct client2 *c, struct sim *sim)
{
	struct dice *d = &sim->dice;
	nghttp2_settings_entry e[2] = { { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 } };
	bool tiny = dice_chance(d, 200), large = dice_chance(d, 300);
	size_t n = 1;

	if (tiny || large) {
		uint64_t least = !tiny ? 65536 : sim->weather.calm ? 2000 : 100;
		uint64_t most = tiny ? 5000 : 1000000;

		e[n].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
		e[n++].value = (uint32_t)dice_between(d, least, most);
	}
	if (!sim->weather.calm && dice_chance(d, 50)) { /* takes no body at all: Weir must end it */
		e[1].settings_id = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
		e[1].value = 0;
		n = 2;
	}
	wire2_settings(&c->wire, e, n);
	if (large)
		(void)nghttp2_session_set_local_window_size(c->wire.session, NGHTTP2_FLAG_NONE, 0,
							    1000000);
}

void client2_start(struct sim *sim, struct worker_listener *wl, struct pair *pair)
{
	struct client2 *c = sim_alloc(sizeof(*c));

	actor_init(&c->actor, sim, pair, on_step, on_time);
	sim->clients++;
	wire2_init(&c->wire, sim, true, "a client", &client_events, c);
	if (wl->slot->proxy_protocol)
		wire2_begin(&c->wire, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 80\r\n");
	draw_calls(c, sim);
	draw_manners(c, sim);
	greet(c, sim);
	c->give_up_ns = sim->now_ns + GIVE_UP_NS;
	client_accept(sim, wl, pair);
	settle(c);
}
