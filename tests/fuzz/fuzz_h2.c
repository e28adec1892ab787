/* fuzz_h2.c - the HTTP/2 codecs over any bytes, with owners that pause, answer, reset and do
 * nothing at random.
 *
 * The first four bytes are the seed of every choice, bit 0 of the fifth says which role; a server
 * whose sixth byte is even gets the preface and SETTINGS for nothing.  Held to: each stream hears
 * gone once, or nothing after its reset; windows bound what is held; and a request that is let in
 * reads the same once it is written as HTTP/1. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/reason.h"
#include "http/h1.h"
#include "http/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS = 300 };

struct fuzz_call {
	struct stream *stream;
	struct arena arena;
	bool used, gone, answered, ended, client, tunnel;
};

struct peer {
	struct h2 h2;
	struct arena scratch;
	struct fuzz_call call[CALLS];
	unsigned n;
	size_t put, kicks;
	void *retired[4096];
	unsigned n_retired;
};

static struct h2_limits h2_limits;
static const struct codec_limits limits = {
	.head_bytes = 8192, .target_bytes = 1024, .headers = 60, .h2 = &h2_limits
};
static const struct codec_limits wider = { .head_bytes = 32768,
					   .target_bytes = 4096,
					   .headers = 90 };

static uint32_t seed;
static struct peer *peer;

static uint32_t draw(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % below;
}

/*---------------------------------------- what it says */

static struct slice some_bytes(void)
{
	static char bytes[100000];

	return slice_of(bytes, draw(8) == 0 ? draw(sizeof(bytes)) : draw(300));
}

/* RFC 8441: what the other protocol says, and perhaps its end. */
static void tunnel(struct fuzz_call *c)
{
	c->stream->ops->body(c->stream, some_bytes(), draw(3) == 0);
}

static void switch_over(struct fuzz_call *c)
{
	struct head h;

	head_init(&h, &c->arena);
	h.status = 101;
	h.upgrade = true;
	if (!c->stream->ops->head(c->stream, &h, false))
		return;
	c->answered = true;
	tunnel(c);
}

static void answer(struct fuzz_call *c)
{
	static const uint16_t statuses[] = { 100, 200, 200, 200, 204, 304, 404 };
	static const uint8_t bodies[] = { BODY_LENGTH, BODY_CHUNKED, BODY_NONE };
	struct slice body = some_bytes();
	struct head h;

	head_init(&h, &c->arena);
	h.status = statuses[draw(7)];
	h.body = bodies[draw(3)];
	h.length = body.n;
	CHECK(head_add_name(&h, slice_str("X-Y"), slice_str("z")));
	if (!c->stream->ops->head(c->stream, &h, h.body == BODY_NONE && h.status >= 200))
		return;
	if (h.status < 200)
		return;
	c->answered = true;
	if (h.body == BODY_NONE)
		return;
	c->stream->ops->body(c->stream, body, h.body == BODY_LENGTH);
	if (h.body == BODY_LENGTH)
		return;
	head_init(&h, &c->arena);
	CHECK(head_add_name(&h, slice_str("T"), slice_str("1")));
	if (draw(2) == 0)
		c->stream->ops->trailers(c->stream, &h);
	else
		c->stream->ops->body(c->stream, slice_of(NULL, 0), draw(4) != 0);
}

/* Any op may be called inside any event. */
static void act(struct fuzz_call *c)
{
	if (c->stream == NULL)
		return;
	switch (draw(8)) {
	case 0:
		c->stream->ops->pause(c->stream, true);
		break;
	case 1:
	case 2:
	case 3:
		c->stream->ops->pause(c->stream, false);
		break;
	case 4:
	case 5:
		if (!c->answered && !c->client && c->tunnel && draw(2) == 0)
			switch_over(c);
		else if (!c->answered && !c->client)
			answer(c);
		break;
	case 6:
		if (draw(4) == 0) {
			struct stream *s = c->stream;

			c->stream = NULL;
			c->gone = true;
			s->ops->reset(s, reason_cut);
		}
		break;
	default:
		break;
	}
}

static void act_on_any(void)
{
	if (peer->n > 0 && draw(2) == 0)
		act(&peer->call[draw(peer->n)]);
}

/*---------------------------------------- what it hears */

static void on_head(void *owner, struct head *h, bool end)
{
	struct fuzz_call *c = owner;

	CHECK(!c->gone && !c->ended && h->status >= 100 && (h->status != 101 || c->tunnel));
	c->ended = end;
	if (h->status == 101)
		tunnel(c);
	act(c);
	act_on_any();
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct fuzz_call *c = owner;
	volatile char last;

	CHECK(!c->gone && !c->ended && !c->stream->paused);
	if (s.n > 0)
		last = s.p[s.n - 1];
	(void)last;
	c->ended = end;
	act(c);
	act_on_any();
}

static void on_trailers(void *owner, struct head *h)
{
	struct fuzz_call *c = owner;

	(void)h;
	CHECK(!c->gone && !c->ended);
	c->ended = true;
	act(c);
}

static void on_room(void *owner)
{
	struct fuzz_call *c = owner;

	CHECK(!c->gone && c->stream->queued < STREAM_LOW_WATER);
	act_on_any();
}

static void on_bad(void *owner, const struct reason *why)
{
	struct fuzz_call *c = owner;

	CHECK(!c->gone && !c->answered && why->status >= 400);
	c->ended = true;
	act(c);
}

static void on_gone(void *owner, const struct reason *why)
{
	struct fuzz_call *c = owner;

	(void)why;
	CHECK(!c->gone);
	c->gone = true;
	c->stream = NULL;
	act_on_any();
}

static const struct stream_events stream_events = {
	.head = on_head,
	.body = on_body,
	.trailers = on_trailers,
	.room = on_room,
	.bad = on_bad,
	.gone = on_gone,
};

static struct fuzz_call *new_call(void)
{
	struct fuzz_call *c;

	if (peer->n == CALLS)
		return NULL;
	c = &peer->call[peer->n];
	if (!c->used)
		arena_init(&c->arena, NULL);
	c->used = true;
	return c;
}

static struct arena *on_arena(void *user, struct stream *s)
{
	struct fuzz_call *c = draw(50) == 0 ? NULL : new_call();

	(void)user, (void)s;
	return c == NULL ? NULL : &c->arena;
}

static struct fuzz_call *attach(struct stream *s)
{
	struct fuzz_call *c = &peer->call[peer->n++];

	c->stream = s;
	s->on = &stream_events;
	s->owner = c;
	return c;
}

/* No way to say in HTTP/2 what HTTP/1 would read as something else. */
static void check_as_http1(const struct head *head)
{
	struct h1_framing f = { .body = head->body, .length = head->length };
	struct head copy = *head, back;
	const struct reason *why;
	struct arena a;
	char *text;
	size_t n;

	arena_init(&a, NULL);
	copy.fields = arena_alloc(&a, (head->n + 1u) * sizeof(*copy.fields));
	memcpy(copy.fields, head->fields, head->n * sizeof(*copy.fields));
	head_strip_hop_by_hop(&copy, head->upgrade);
	f.connection = head->upgrade ? H1_UPGRADE : H1_SAYS_NOTHING;
	text = arena_alloc(&a, h1_head_bound(&copy));
	n = h1_write_request(text, &copy, &f);
	head_init(&back, &a);
	why = h1_parse_request(slice_of(text, n), &wider, &back);
	CHECK(why == NULL);
	CHECK(slice_eq(back.method, head->method) && slice_eq(back.path, head->path));
	CHECK(slice_eq(back.query, head->query) && slice_eq(back.authority, head->authority));
	CHECK(back.body == head->body && back.length == head->length);
	CHECK(back.keep_alive && back.upgrade == head->upgrade);
	arena_fini(&a);
}

static void on_request(void *user, struct stream *s, struct head *head, bool end)
{
	struct fuzz_call *c = attach(s);

	(void)user;
	check_as_http1(head);
	c->tunnel = head->upgrade;
	c->ended = end && !c->tunnel;
	act(c);
	act_on_any();
}

static void on_bad_request(void *user, struct stream *s, struct head *head,
			   const struct reason *why)
{
	struct fuzz_call *c = attach(s);

	(void)user, (void)head;
	CHECK(why->status >= 400);
	c->ended = true;
	answer(c);
}

static const struct codec_events events = { .arena = on_arena,
					    .request = on_request,
					    .bad_request = on_bad_request };

/*---------------------------------------- the connection */

static char *io_reserve(void *conn, size_t n)
{
	(void)conn;
	return draw(500) == 0 ? NULL : arena_alloc(&peer->scratch, n);
}

static void io_put(void *conn, struct slice s)
{
	volatile char last;

	(void)conn;
	CHECK(s.n > 0);
	last = s.p[s.n - 1];
	(void)last;
	peer->put += s.n;
}

static void io_kick(void *conn)
{
	(void)conn;
	peer->kicks++;
}

static void io_free_later(void *conn, void *p)
{
	(void)conn;
	CHECK(peer->n_retired < 4096);
	peer->retired[peer->n_retired++] = p;
}

static uint64_t io_now_ns(void *conn)
{
	(void)conn;
	return 1;
}

static const struct codec_io io = { .reserve = io_reserve,
				    .put = io_put,
				    .kick = io_kick,
				    .free_later = io_free_later,
				    .now_ns = io_now_ns };

static void settle(void)
{
	struct codec *k = &peer->h2.codec;
	size_t left = draw(3) == 0 ? draw((uint32_t)peer->put + 1) : 0;

	if (peer->put > 0)
		k->ops->drained(k, left);
	peer->put = left;
	for (unsigned i = 0; i < peer->n_retired; i++)
		free(peer->retired[i]);
	peer->n_retired = 0;
	arena_fini(&peer->scratch);
	arena_init(&peer->scratch, NULL);
}

static size_t feed(struct slice in)
{
	struct codec *k = &peer->h2.codec;
	size_t used = 0;
	unsigned turns = 0;

	do {
		char *copy = malloc(in.n - used + 1);

		memcpy(copy, in.p + used, in.n - used);
		peer->kicks = 0;
		used = k->phase < CODEC_CLOSED ? used + k->ops->feed(k, slice_of(copy, in.n - used))
					       : in.n;
		settle();
		free(copy);
	} while (peer->kicks > 0 && turns++ < 1000);
	return used;
}

static void feed_all(struct slice in)
{
	size_t used = 0, have = 0;

	while (have < in.n) {
		have += 1 + draw((uint32_t)(in.n - have));
		used += feed(slice_of(in.p + used, have - used));
		act_on_any();
		feed(slice_of(in.p + used, 0));
		if (draw(100) == 0)
			peer->h2.codec.ops->last(&peer->h2.codec);
	}
}

static void ask(void)
{
	static const struct slice get = SLICE("GET"), post = SLICE("POST"), path = SLICE("/p"),
				  host = SLICE("a");
	struct fuzz_call *c = new_call();
	struct stream *s;
	struct head *h;

	if (c == NULL || h2_client_room(&peer->h2) == 0)
		return;
	s = h2_client_open(&peer->h2, &c->arena);
	CHECK(s != NULL);
	c->client = true;
	attach(s);
	h = arena_alloc(&c->arena, sizeof(*h)); /* as it may wait for the peer's settings */
	CHECK(h != NULL);
	head_init(h, &c->arena);
	h->method = draw(2) == 0 ? get : post;
	h->method_id = (uint8_t)method_lookup(h->method);
	h->path = path;
	h->authority = host;
	h->body = h->method_id == METHOD_GET ? BODY_NONE : BODY_CHUNKED;
	c->tunnel = h->upgrade = h->body == BODY_NONE && draw(4) == 0;
	if (h->upgrade)
		CHECK(head_add(h, F_UPGRADE, slice_str("websocket")));
	if (!s->ops->head(s, h, h->body == BODY_NONE)) {
		s->ops->reset(s, reason_cut);
		c->stream = NULL;
		c->gone = true;
		return;
	}
	if (h->body == BODY_CHUNKED)
		s->ops->body(s, some_bytes(), draw(2) == 0);
}

static void begin(bool client, bool greeted)
{
	static const struct slice empty_settings = SLICE("\0\0\0\4\0\0\0\0\0"),
				  tunnel_settings = SLICE("\0\0\6\4\0\0\0\0\0\0\10\0\0\0\1");

	if (client) {
		CHECK(h2_client_init(&peer->h2, &io, peer, &limits, false));
		for (uint32_t i = 1 + draw(4); i > 0; i--)
			ask();
	} else {
		CHECK(h2_server_init(&peer->h2, &io, peer, &events, peer, &limits));
		if (greeted)
			feed(h2_preface);
	}
	if (greeted)
		feed(client && draw(2) == 0 ? tunnel_settings : empty_settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct codec *k;

	if (size < 6)
		return 0;
	memcpy(&seed, data, 4);
	seed |= 1;
	h2_limits = h2_default_limits;
	h2_limits.tunnels = true;
	peer = calloc(1, sizeof(*peer));
	CHECK(peer != NULL);
	k = &peer->h2.codec;
	arena_init(&peer->scratch, NULL);
	begin(data[4] & 1, !(data[5] & 1));
	feed_all(slice_of((const char *)data + 6, size - 6));
	if (k->phase < CODEC_CLOSED && draw(2) == 0)
		k->ops->eof(k);
	settle();
	k->ops->fail(k, reason_cut);
	for (unsigned i = 0; i < peer->n; i++)
		CHECK(peer->call[i].gone);
	settle();
	k->ops->fini(k);
	for (unsigned i = 0; i < CALLS; i++)
		if (peer->call[i].used)
			arena_fini(&peer->call[i].arena);
	arena_fini(&peer->scratch);
	free(peer);
	return 0;
}
