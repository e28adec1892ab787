/* request.c - what clients say: requests in all their forms, and things that are none. */
#include <stdio.h>
#include <string.h>

#include "handshake.h"
#include "sim.h"
#include "wire2.h"

static const char *const place_names[] = {
	[PLACE_APP] = "app",         [PLACE_LIMITED] = "limited", [PLACE_SMALL] = "small",
	[PLACE_NOWHERE] = "nowhere", [PLACE_TUNNEL] = "tunnel",   [PLACE_FRESH] = "fresh",
	[PLACE_HELD] = "held",
};

static const char *const methods[] = { "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS" };

/*---------------------------------------------------------------- malformed ones */

/* A whole head that no strict server takes, but for the request line, the Host and the end. */
static const char *const bad_fields[] = {
	"Host: other\r\n",
	"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
	"Content-Length: 3\r\nContent-Length: 4\r\n",
	"Content-Length: +3\r\n",
	"Content-Length: 3, 3, 4\r\n",
	"Content-Length: 99999999999999999999999\r\n",
	"Transfer-Encoding: gzip, chunked\r\n",
	"Transfer-Encoding: chunked, chunked\r\n",
	"X-Bad : space\r\n",
	"X-Bad: fold\r\n  ed\r\n",
	": nameless\r\n",
	"X-Bad: control\x01\r\n",
	"X-Bad: bare\rreturn\r\n",
	"X-Bad: bare feed\nX-Other: 1\r\n",
	"no colon at all\r\n",
};

/* Whole texts; %s is the target. */
static const char *const bad_texts[] = {
	"GET %s HTTP/1.1\r\n\r\n",
	"GET %s HTTP/2.0\r\nHost: sim\r\n\r\n",
	"GET %s HTTP/1.1 \r\nHost: sim\r\n\r\n",
	"GET  %s HTTP/1.1\r\nHost: sim\r\n\r\n",
	"GET %s HTTP/1.1\nHost: sim\n\n",
	"G\tT %s HTTP/1.1\r\nHost: sim\r\n\r\n",
	"CONNECT sim:80 HTTP/1.1\r\nHost: sim:80\r\nX-Sim-Path: %s\r\n\r\n",
	"\x16\x03\x01%s\r\n\r\n",
	"GET /../..%s HTTP/1.1\r\nHost: sim\r\n\r\n",
};

static void put_bad_fields(struct sim *sim, struct buf *out, const struct request *r)
{
	size_t n = sizeof(bad_fields) / sizeof(bad_fields[0]);

	buf_printf(out, "%s %s HTTP/1.1\r\nHost: sim\r\nX-Sim-Request: %u\r\n", r->method,
		   r->target, r->id);
	buf_puts(out, bad_fields[dice_below(&sim->dice, n)]);
	buf_puts(out, "\r\n");
}

static void put_bad_text(struct sim *sim, struct buf *out, const struct request *r)
{
	const char *text =
	    bad_texts[dice_below(&sim->dice, sizeof(bad_texts) / sizeof(bad_texts[0]))];
	const char *at = strstr(text, "%s");

	buf_put(out, text, (size_t)(at - text));
	buf_puts(out, r->target);
	buf_puts(out, at + 2);
}

/* More than 16 KiB of head, which may come to no end. */
static void put_huge(struct sim *sim, struct buf *out, const struct request *r)
{
	bool target = dice_chance(&sim->dice, 300);

	buf_printf(out, "GET %s", r->target);
	for (unsigned i = 0; target && i < 20000; i++)
		buf_putc(out, 'x');
	buf_printf(out, " HTTP/1.1\r\nHost: sim\r\nX-Sim-Request: %u\r\n", r->id);
	for (unsigned i = 0; !target && i < 400; i++)
		buf_printf(out, "X-Huge-%u: %060u\r\n", i, i);
	if (dice_chance(&sim->dice, 500))
		buf_puts(out, "\r\n");
}

static void put_malformed(struct sim *sim, struct buf *out, const struct request *r)
{
	static void (*const kinds[])(struct sim *, struct buf *, const struct request *) = {
		put_bad_fields, put_bad_text, put_bad_fields, put_bad_text, put_huge
	};

	kinds[dice_below(&sim->dice, sizeof(kinds) / sizeof(kinds[0]))](sim, out, r);
}

/*---------------------------------------------------------------- well-formed ones */

static void draw_body(struct sim *sim, struct request *r)
{
	struct dice *d = &sim->dice;

	if (strcmp(r->method, "POST") != 0 && strcmp(r->method, "PUT") != 0 && !dice_chance(d, 50))
		return;
	r->body_n = ledger_size(d, 6000);
	r->chunked = !r->is_1_0 && dice_chance(d, 400);
	r->trailers = r->chunked && dice_chance(d, 300);
	r->expects = !r->is_1_0 && r->body_n > 0 && dice_chance(d, 200);
	r->incomplete = r->chunked && dice_chance(d, sim->weather.malformed);
}

static void draw_request(struct sim *sim, struct request *r, bool last)
{
	static const enum destination places[] = { PLACE_APP,     PLACE_APP,     PLACE_APP,
						   PLACE_LIMITED, PLACE_LIMITED, PLACE_SMALL,
						   PLACE_FRESH,   PLACE_NOWHERE, PLACE_TUNNEL,
						   PLACE_HELD,    PLACE_HELD,    PLACE_HELD };
	struct dice *d = &sim->dice;

	r->method = methods[dice_below(d, sizeof(methods) / sizeof(methods[0]))];
	r->place = places[dice_below(d, sizeof(places) / sizeof(places[0]))];
	/* the answer may have to end with the connection */
	r->is_1_0 = dice_chance(d, 100) && (last || !sim->weather.calm);
	r->key = (unsigned)dice_below(d, KEYS);
	if (sim->weather.flood && dice_chance(d, 900)) {
		r->method = "GET";
		r->place = dice_chance(d, 500) ? PLACE_LIMITED : PLACE_HELD;
		r->key = 0;
	}
	if (sim->weather.calm && (r->place == PLACE_NOWHERE || r->place == PLACE_FRESH))
		r->place = PLACE_APP; /* there, every call is answered by an upstream */
	if (r->place == PLACE_TUNNEL) {
		r->method = "GET";
		r->is_1_0 = false;
	} else {
		draw_body(sim, r);
	}
	if (r->place == PLACE_SMALL && (sim->weather.calm || dice_chance(d, 500)))
		r->body_n %= 1024;
	r->expects = r->expects && r->body_n > 0;
	snprintf(r->target, sizeof(r->target), "/%s/%u%s", place_names[r->place], r->id,
		 dice_chance(d, 200) ? "?q=1&r=%20" : "");
}

/* HTTP/2 has but one protocol to change to. */
static void put_upgrade(struct sim *sim, struct buf *out, const struct request *r)
{
	char key[HANDSHAKE_MAX];

	buf_puts(out, "Connection: Upgrade\r\nUpgrade: ");
	if (sim->upstream_speech == SPEAKS_1) {
		buf_puts(out, "sim\r\n");
		return;
	}
	handshake_key(r->id, key);
	buf_printf(out, "websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", key);
}

static void put_connection(struct sim *sim, struct buf *out, const struct request *r, bool last)
{
	if (r->place == PLACE_TUNNEL)
		put_upgrade(sim, out, r);
	else if (last && !r->is_1_0 && dice_chance(&sim->dice, 300))
		buf_puts(out, "Connection: close\r\n");
	else if (r->is_1_0 && !last)
		buf_puts(out, "Connection: keep-alive\r\n");
	else if (!r->is_1_0 && dice_chance(&sim->dice, 100))
		buf_puts(out, "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n");
}

static void put_head(struct sim *sim, struct buf *out, const struct request *r, bool last)
{
	bool absolute = !r->is_1_0 && dice_chance(&sim->dice, 50);

	if (dice_chance(&sim->dice, 20))
		buf_puts(out, "\r\n"); /* RFC 9112 section 2.2 */
	buf_printf(out, "%s %s%s HTTP/1.%u\r\nHost: sim\r\nX-Sim-Request: %u\r\n", r->method,
		   absolute ? "http://sim" : "", r->target, r->is_1_0 ? 0 : 1, r->id);
	if (r->key > 0)
		buf_printf(out, "X-Sim-Key: %u\r\n", r->key);
	if (r->place == PLACE_HELD && dice_chance(&sim->dice, 500)) {
		unsigned urgency = (unsigned)dice_below(&sim->dice, 9);

		buf_printf(out, "Priority: u=%u\r\n", urgency);
	}
	put_connection(sim, out, r, last);
	if (r->expects)
		buf_puts(out, "Expect: 100-continue\r\n");
	if (r->chunked)
		buf_puts(out, "Transfer-Encoding: chunked\r\n");
	else if (r->place != PLACE_TUNNEL && (r->body_n > 0 || strcmp(r->method, "POST") == 0))
		buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)r->body_n);
	buf_puts(out, "\r\n");
}

static void put_bytes(struct buf *out, const struct request *r, uint64_t at, size_t n)
{
	if (!buf_reserve(out, n))
		sim_fail("the simulation itself is out of memory");
	ledger_body(out->p + out->n, REQUEST_STREAM + r->id, at, n);
	out->n += n;
}

static void put_chunks(struct sim *sim, struct buf *out, const struct request *r)
{
	static const char *const breaks[] = { "x\r\n",
					      "\r\n",
					      "5\rx",
					      "-1\r\n",
					      "FFFFFFFFFFFFFFFFF\r\n",
					      "0\r\nbad trailer\r\n\r\n",
					      "0\n\n" };
	uint64_t break_at = r->incomplete ? dice_below(&sim->dice, r->body_n + 1) : UINT64_MAX;

	for (uint64_t at = 0; at < r->body_n;) {
		uint64_t n = 1 + dice_spread(&sim->dice, 20000);

		if (at >= break_at)
			break;
		n = n > r->body_n - at ? r->body_n - at : n;
		buf_printf(out, dice_chance(&sim->dice, 50) ? "%llX;ext=\"a b\"\r\n" : "%llx\r\n",
			   (unsigned long long)n);
		put_bytes(out, r, at, n);
		buf_puts(out, "\r\n");
		at += n;
	}
	if (r->incomplete)
		buf_puts(out, breaks[dice_below(&sim->dice, sizeof(breaks) / sizeof(breaks[0]))]);
	else if (r->trailers)
		buf_printf(out, "0\r\nX-Sim-Trailer: %u\r\n\r\n", r->id);
	else
		buf_puts(out, "0\r\n\r\n");
}

struct request *request_make(struct sim *sim, unsigned client, bool last, struct buf *out,
			     size_t *head_end)
{
	struct request *r = ledger_request(&sim->ledger);

	r->client = client;
	draw_request(sim, r, last);
	r->malformed = last && dice_chance(&sim->dice, sim->weather.malformed);
	if (r->malformed) {
		r->method = "GET";
		r->chunked = r->expects = r->incomplete = false;
		r->body_n = 0;
		r->place = r->place == PLACE_TUNNEL ? PLACE_APP : r->place;
		put_malformed(sim, out, r);
		*head_end = out->n;
		return r;
	}
	if (!last && r->place == PLACE_TUNNEL) {
		r->place = PLACE_APP;
		snprintf(r->target, sizeof(r->target), "/app/%u", r->id);
	}
	put_head(sim, out, r, last);
	*head_end = out->n;
	if (r->place == PLACE_TUNNEL)
		r->body_n = dice_spread(&sim->dice, 200000); /* once it is one */
	else if (r->chunked)
		put_chunks(sim, out, r);
	else
		put_bytes(out, r, 0, r->body_n);
	return r;
}

/*---------------------------------------------------------------- in HTTP/2 */

/* What no strict server takes: a field more, in front of the others if it is a pseudo one. */
static const char *const bad_fields2[][2] = {
	{ "connection", "close" },
	{ "transfer-encoding", "chunked" },
	{ "upgrade", "sim" },
	{ "keep-alive", "timeout=1" },
	{ "te", "gzip" },
	{ "X-Upper", "1" },
	{ "x bad", "1" },
	{ "", "nameless" },
	{ "x-bad", "line\r\nx-other: 1" },
	{ "x-bad", "feed\n" },
	{ "x-bad", "return\r" },
	{ "x-bad\r\nx-other", "1" },
	{ "x-bad:", "1" },
	{ "host", "other" },
	{ "content-length", "3, 4" },
	{ "content-length", "+3" },
	{ "content-length", "99999999999999999999999" },
	{ ":method", "GET" },
	{ ":path", "/app/1" },
	{ ":scheme", "http" },
	{ ":authority", "sim" },
	{ ":status", "200" },
	{ ":sim", "1" },
};

/* Which pseudo fields there are, of the four; and their values. */
static const struct {
	const char *method, *scheme, *authority, *before, *path;
} bad_starts2[] = {
	{ NULL, "http", "sim", "", "" },      { "GET", NULL, "sim", "", "" },
	{ "GET", "http", "sim", "", NULL },   { "GET", "http", "sim", "", "" },
	{ "G T", "http", "sim", "/app", "" }, { "CONNECT", NULL, "sim:80", "", NULL },
	{ "GET", "http", "sim", "app", "" },  { "GET", "http", "sim", "/..", "/.." },
	{ "GET", "http", "a b", "/app", "" }, { "GET", "http", "sim", "/app\n", "" },
};

static void put_start2(struct fields *f, const struct request *r)
{
	bool tunnel = r->place == PLACE_TUNNEL;

	fields_add(f, ":method", tunnel ? "CONNECT" : r->method);
	if (tunnel)
		fields_add(f, ":protocol", "websocket");
	fields_add(f, ":scheme", "http");
	fields_add(f, ":authority", "sim");
	fields_add(f, ":path", r->target);
}

static void put_bad_start2(struct sim *sim, struct fields *f)
{
	size_t i = dice_below(&sim->dice, sizeof(bad_starts2) / sizeof(bad_starts2[0]));
	char path[32];

	if (bad_starts2[i].method != NULL)
		fields_add(f, ":method", bad_starts2[i].method);
	if (bad_starts2[i].scheme != NULL)
		fields_add(f, ":scheme", bad_starts2[i].scheme);
	if (bad_starts2[i].authority != NULL)
		fields_add(f, ":authority", bad_starts2[i].authority);
	if (bad_starts2[i].path == NULL)
		return;
	snprintf(path, sizeof(path), "%s%s", bad_starts2[i].before, bad_starts2[i].path);
	fields_add(f, ":path", path);
}

static void put_bad_field2(struct sim *sim, struct fields *f, const struct request *r)
{
	size_t i = dice_below(&sim->dice, sizeof(bad_fields2) / sizeof(bad_fields2[0]));

	put_start2(f, r);
	if (dice_chance(&sim->dice, 30)) {
		fields_add_n(f, "x-bad", "nul\0byte", 8);
	} else {
		if (strcmp(bad_fields2[i][0], "content-length") == 0)
			fields_add(f, "content-length", "3");
		fields_add(f, bad_fields2[i][0], bad_fields2[i][1]);
	}
}

static void put_huge2(struct fields *f, const struct request *r)
{
	char value[80];

	put_start2(f, r);
	for (unsigned i = 0; i < 400; i++) {
		snprintf(value, sizeof(value), "%060u", i);
		fields_add(f, "x-huge", value);
	}
}

static void put_malformed2(struct sim *sim, struct fields *f, const struct request *r)
{
	uint64_t kind = dice_below(&sim->dice, 10);

	if (kind < 3)
		put_bad_start2(sim, f);
	else if (kind < 9)
		put_bad_field2(sim, f, r);
	else
		put_huge2(f, r);
	fields_add_number(f, "x-sim-request", r->id);
}

static void put_head2(struct sim *sim, struct fields *f, const struct request *r)
{
	put_start2(f, r);
	fields_add_number(f, "x-sim-request", r->id);
	if (r->key > 0)
		fields_add_number(f, "x-sim-key", r->key);
	if (r->place == PLACE_HELD && dice_chance(&sim->dice, 500)) {
		unsigned urgency = (unsigned)dice_below(&sim->dice, 9);
		char text[8];

		snprintf(text, sizeof(text), "u=%u", urgency);
		fields_add(f, "priority", text);
	}
	if (r->expects)
		fields_add(f, "expect", "100-continue");
	if (dice_chance(&sim->dice, 300))
		fields_add(f, "te", "trailers");
	if (dice_chance(&sim->dice, 100))
		fields_add(f, "cookie", "a=1");
	if (!r->chunked && r->body_n > 0)
		fields_add_number(f, "content-length", r->body_n);
}

struct request *request_make2(struct sim *sim, unsigned client, struct fields *f, bool *end)
{
	struct request *r = ledger_request(&sim->ledger);

	r->client = client;
	r->is_2 = true;
	draw_request(sim, r, true);
	r->is_1_0 = false;
	snprintf(r->target, sizeof(r->target), "/%s/%u", place_names[r->place], r->id);
	r->malformed = dice_chance(&sim->dice, sim->weather.malformed);
	fields_init(f);
	*end = true;
	if (r->malformed) {
		r->method = "GET";
		r->chunked = r->expects = r->incomplete = r->trailers = false;
		r->body_n = 0;
		r->place = r->place == PLACE_TUNNEL ? PLACE_APP : r->place;
		put_malformed2(sim, f, r);
		return r;
	}
	put_head2(sim, f, r);
	if (r->place == PLACE_TUNNEL) {
		r->body_n = dice_spread(&sim->dice, 200000); /* once it is one */
		*end = false;
		return r;
	}
	*end = r->body_n == 0 && !r->chunked;
	return r;
}
