/* test_h2_flow.c - the HTTP/2 server codec over time: windows and back-pressure, floods, bounds,
 * goodbyes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "h2_rig.h"
#include "http/h2_internal.h"

static char xs[200 * 1024];

static struct slice many(size_t n)
{
	memset(xs, 'x', sizeof(xs));
	CHECK(n <= sizeof(xs));
	return slice_of(xs, n);
}

/* An answer without a length to call n, and no body yet. */
static struct stream *begin_answer(struct h2_rig *r, unsigned n)
{
	struct call2 *c = &r->calls[n];
	struct head h;

	head_init(&h, &c->arena);
	h.status = 200;
	h.body = BODY_CHUNKED;
	assert_true(c->stream->ops->head(c->stream, &h, false));
	return c->stream;
}

static void init_manual(struct h2_rig *r)
{
	rig2_server(r);
	r->answers = false;
	r->quiet_bodies = true;
}

/*---------------------------------------- output and the peer's windows */

static void a_body_waits_for_the_streams_window(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "settings 4=10\nheaders 1 end " GET2);
	rig2_out(&r);
	s = begin_answer(&r, 1);
	s->ops->body(s, slice_str("0123456789abcdef"), false);
	assert_string_equal(rig2_out(&r), "headers 1 :status=200\ndata 1 0123456789\n");
	rig2_drain(&r);
	assert_int_equal(s->queued, 6);
	rig2_say(&r, "window 1 4");
	assert_string_equal(rig2_out(&r), "data 1 abcd\n");
	s->ops->body(s, slice_str("ghi"), true);
	assert_string_equal(rig2_out(&r), "");
	rig2_say(&r, "settings 4=1000");
	assert_string_equal(rig2_out(&r), "settings ack\ndata 1 end efghi\n");
	assert_string_equal(rig2_log(&r), "request 1 GET / @a none end Host=a\ngone 1 -\n");
	rig2_fini(&r);
}

/* Section 6.9.2: a window may become negative. */
static void a_window_may_become_negative(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "settings 4=10\nheaders 1 end " GET2);
	s = begin_answer(&r, 1);
	s->ops->body(s, slice_str("0123456789ab"), false);
	rig2_say(&r, "settings 4=0");
	rig2_out(&r);
	rig2_say(&r, "window 1 10");
	assert_string_equal(rig2_out(&r), "");
	rig2_say(&r, "window 1 1");
	assert_string_equal(rig2_out(&r), "data 1 a\n");
	rig2_fini(&r);
}

/* Section 6.9.1; streams take turns. */
static void a_body_waits_for_the_connections_window(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "settings 4=1000000\nheaders 1 end " GET2 "\nheaders 3 end " GET2);
	for (unsigned i = 1; i <= 2; i++)
		begin_answer(&r, i);
	r.calls[1].stream->ops->body(r.calls[1].stream, many(60000), false);
	r.calls[2].stream->ops->body(r.calls[2].stream, many(60000), false);
	rig2_drain(&r);
	assert_int_equal(r.calls[1].stream->queued, 0);
	assert_int_equal(r.calls[2].stream->queued, 60000 - 5535);
	r.calls[1].stream->ops->body(r.calls[1].stream, many(20000), true);
	rig2_out(&r);
	rig2_say(&r, "window 0 50000");
	assert_string_equal(rig2_out(&r),
			    "data 3 16384 bytes\ndata 1 16384 bytes\ndata 3 16384 bytes\n"
			    "data 1 848 bytes\n");
	rig2_say(&r, "window 0 50000");
	assert_string_equal(rig2_out(&r),
			    "data 3 16384 bytes\ndata 1 end 2768 bytes\ndata 3 5313 bytes\n");
	rig2_fini(&r);
}

static void room_is_told_when_the_socket_takes_more(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "settings 4=1000000\nwindow 0 1000000\nheaders 1 end " GET2);
	s = begin_answer(&r, 1);
	r.stuck = true;
	s->ops->body(s, many(70000), false);
	assert_true(s->queued > STREAM_HIGH_WATER);
	r.h2.codec.ops->drained(&r.h2.codec, 20000);
	assert_int_equal(s->queued, 20000);
	assert_int_equal(r.calls[1].rooms, 0);
	r.h2.codec.ops->drained(&r.h2.codec, 10000);
	assert_int_equal(r.calls[1].rooms, 1);
	r.h2.codec.ops->drained(&r.h2.codec, 0);
	assert_int_equal(s->queued, 0);
	assert_int_equal(r.calls[1].rooms, 1);
	rig2_fini(&r);
}

/* S1: gone(NULL) when all is written, not before. */
static void gone_comes_when_all_is_written(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	rig2_log(&r);
	r.stuck = true;
	rig2_answer(&r.calls[1], 200, "ok");
	rig2_feed(&r, slice_of(NULL, 0));
	assert_string_equal(rig2_log(&r), "");
	r.h2.codec.ops->drained(&r.h2.codec, 1);
	assert_string_equal(rig2_log(&r), "");
	r.h2.codec.ops->drained(&r.h2.codec, 0);
	assert_string_equal(rig2_log(&r), "gone 1 -\n");
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	rig2_fini(&r);
}

static void large_heads_go_out_in_several_frames(void **state)
{
	struct h2_rig r;
	struct head h;
	struct stream *s;
	char value[40000];

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	rig2_out(&r);
	s = r.calls[1].stream;
	memset(value, '~', sizeof(value)); /* of no use to Huffman */
	head_init(&h, &r.calls[1].arena);
	h.status = 200;
	assert_true(head_add_name(&h, slice_str("X-Large"), slice_of(value, sizeof(value))));
	assert_true(s->ops->head(s, &h, true));
	const char *out = rig2_out(&r);

	assert_non_null(strstr(out, "headers 1 end open"));
	assert_non_null(strstr(out, "cont 1 open"));
	assert_non_null(strstr(out, " x-large=~~~"));
	rig2_fini(&r);
}

/* Section 8.2: names in lower case, none that speak of the connection. */
static void answers_say_what_http2_may(void **state)
{
	struct h2_rig r;
	struct head h;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	rig2_out(&r);
	s = r.calls[1].stream;
	head_init(&h, &r.calls[1].arena);
	h.status = 103;
	assert_true(head_add_name(&h, slice_str("Link"), slice_str("</x>")));
	assert_true(s->ops->head(s, &h, false));
	head_init(&h, &r.calls[1].arena);
	h.status = 200;
	h.body = BODY_CLOSE;
	assert_true(head_add_name(&h, slice_str("Connection"), slice_str("close")));
	assert_true(head_add_name(&h, slice_str("Keep-Alive"), slice_str("1")));
	assert_true(head_add_name(&h, slice_str("Transfer-Encoding"), slice_str("chunked")));
	assert_true(head_add_name(&h, slice_str("Upgrade"), slice_str("x")));
	assert_true(head_add_name(&h, slice_str("Content-Length"), slice_str("7")));
	assert_true(head_add_name(&h, slice_str("SERVER"), slice_str("y")));
	assert_true(head_add_name(&h, slice_str("X-Mixed"), slice_str("Z")));
	assert_true(s->ops->head(s, &h, false));
	s->ops->body(s, slice_str("b"), false);
	head_init(&h, &r.calls[1].arena);
	assert_true(head_add_name(&h, slice_str("Grpc-Status"), slice_str("0")));
	s->ops->trailers(s, &h);
	assert_string_equal(rig2_out(&r), "headers 1 :status=103 link=</x>\n"
					  "headers 1 :status=200 server=y x-mixed=Z\ndata 1 b\n"
					  "headers 1 end grpc-status=0\n");
	rig2_fini(&r);
}

static void trailers_wait_behind_the_body(void **state)
{
	struct h2_rig r;
	struct stream *s;
	struct head h;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "settings 4=2\nheaders 1 end " GET2);
	s = begin_answer(&r, 1);
	s->ops->body(s, slice_str("abc"), false);
	head_init(&h, &r.calls[1].arena);
	assert_true(head_add_name(&h, slice_str("t"), slice_str("1")));
	s->ops->trailers(s, &h);
	rig2_out(&r);
	rig2_say(&r, "window 1 1");
	assert_string_equal(rig2_out(&r), "data 1 c\nheaders 1 end t=1\n");
	rig2_fini(&r);
}

struct bodiless {
	const char *request;
	uint16_t status;
	uint8_t body;
	uint64_t length;
	bool end;
	const char *out;
};

static void answers_without_bodies(void **state)
{
	static const struct bodiless some[] = {
		{ "HEAD", 200, BODY_LENGTH, 9, false,
		  "headers 1 end :status=200 content-length=9\n" },
		{ "HEAD", 200, BODY_CHUNKED, 0, true, "headers 1 end :status=200\n" },
		{ "GET", 204, BODY_NONE, 0, true, "headers 1 end :status=204\n" },
		{ "GET", 204, BODY_LENGTH, 0, false, "headers 1 end :status=204\n" },
		{ "GET", 304, BODY_LENGTH, 9, true,
		  "headers 1 end :status=304 content-length=9\n" },
		{ "GET", 200, BODY_NONE, 0, true, "headers 1 end :status=200\n" },
		{ "GET", 200, BODY_LENGTH, 0, true,
		  "headers 1 end :status=200 content-length=0\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		char say[200];
		struct stream *s;
		struct h2_rig r;
		struct head h;

		init_manual(&r);
		snprintf(say, sizeof(say),
			 "headers 1 end :method=%s :scheme=http :path=/ :authority=a",
			 some[i].request);
		rig2_say(&r, say);
		rig2_out(&r);
		s = r.calls[1].stream;
		head_init(&h, &r.calls[1].arena);
		h.status = some[i].status;
		h.body = some[i].body;
		h.length = some[i].length;
		assert_true(s->ops->head(s, &h, some[i].end));
		if (!some[i].end)
			s->ops->body(s, slice_str("dropped"), true);
		assert_string_equal(rig2_out(&r), some[i].out);
		rig2_drain(&r);
		assert_null(r.calls[1].stream);
		rig2_fini(&r);
	}
}

/* A body that ends too early must not look complete. */
static void a_short_answer_is_reset(void **state)
{
	struct h2_rig r;
	struct stream *s;
	struct head h;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	rig2_out(&r);
	rig2_log(&r);
	s = r.calls[1].stream;
	head_init(&h, &r.calls[1].arena);
	h.status = 200;
	h.body = BODY_LENGTH;
	h.length = 5;
	assert_true(s->ops->head(s, &h, false));
	s->ops->body(s, slice_str("abc"), true);
	rig2_feed(&r, slice_of(NULL, 0));
	assert_string_equal(rig2_out(&r), "headers 1 :status=200 content-length=5\nrst 1 2\n");
	assert_string_equal(rig2_log(&r), "gone 1 upstream_truncated\n");
	rig2_fini(&r);
}

/*---------------------------------------- input and our windows */

static void a_paused_body_is_held_within_its_window(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2 "\nxs 1 65536");
	s = r.calls[1].stream;
	assert_int_equal(r.calls[1].bytes, 0);
	assert_string_equal(rig2_out(&r), ""); /* no window opens */
	s->ops->pause(s, false);
	assert_int_equal(r.calls[1].bytes, 0); /* S5 */
	rig2_feed(&r, slice_of(NULL, 0));
	assert_int_equal(r.calls[1].bytes, 65536);
	assert_string_equal(rig2_out(&r), "window 1 65536\n");
	rig2_say(&r, "data 1 end z");
	assert_int_equal(r.calls[1].bytes, 65537);
	rig2_fini(&r);
}

/* What is given back goes by the windows that the peer was told of, not by those of a reload. */
static void larger_windows_of_a_reload_are_not_waited_for(void **state)
{
	struct h2_limits larger = h2_default_limits;
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	larger.stream_window *= 4;
	larger.conn_window *= 4;
	r.h2.s->limits = &larger;
	rig2_say(&r, "headers 1 " POST2);
	r.calls[1].stream->ops->pause(r.calls[1].stream, false);
	rig2_say(&r, "xs 1 32768");
	assert_string_equal(rig2_out(&r), "window 1 32768\n");
	for (unsigned i = 1; i < 15; i++)
		rig2_say(&r, "xs 1 32768");
	rig2_out(&r);
	rig2_say(&r, "xs 1 32768");
	assert_string_equal(rig2_out(&r), "window 524288\nwindow 1 32768\n");
	rig2_fini(&r);
}

/* Nor are streams refused that it was told it may open. */
static void fewer_streams_of_a_reload_refuse_none(void **state)
{
	struct h2_limits fewer = h2_default_limits;
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	fewer.streams = 1;
	r.h2.s->limits = &fewer;
	rig2_say(&r, "headers 1 end " GET2 "\nheaders 3 end " GET2);
	assert_string_equal(rig2_out(&r), "");
	assert_int_equal(h2_streams(&r.h2), 2);
	rig2_fini(&r);
}

static void more_than_the_window_is_an_error(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2 "\nxs 1 65536\nheaders 3 end " GET2 "\ndata 1 x");
	assert_string_equal(rig2_log(&r),
			    "request 1 POST / @a chunked Host=a\nrequest 2 GET / @a none end "
			    "Host=a\ngone 1 client_fault\n");
	assert_string_equal(rig2_out(&r), "rst 1 3\n");
	rig2_fini(&r);
}

/* One that nobody reads does not stop the others, until too much is held by all. */
static void the_connections_window_opens_while_streams_are_paused(void **state)
{
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i < 16; i++) {
		snprintf(say, sizeof(say), "headers %u " POST2 "\nxs %u 65536", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_string_equal(rig2_out(&r), "window 524288\nwindow 524288\n");
	for (unsigned i = 16; i < 32; i++) {
		snprintf(say, sizeof(say), "headers %u " POST2 "\nxs %u 65536", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_string_equal(rig2_out(&r), ""); /* 2 MiB are held: no more */
	rig2_say(&r, "headers 101 " POST2 "\nxs 101 1");
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	assert_string_equal(rig2_out(&r), "goaway 101 3\n");
	rig2_fini(&r);
}

static void the_connections_window_opens_again_with_what_is_read(void **state)
{
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(say, sizeof(say), "headers %u " POST2 "\nxs %u 65536", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	rig2_out(&r);
	for (unsigned i = 1; i <= 16; i++)
		r.calls[i].stream->ops->pause(r.calls[i].stream, false);
	rig2_feed(&r, slice_of(NULL, 0));
	assert_non_null(strstr(rig2_out(&r), "window 1048576\n"));
	assert_int_equal(r.calls[16].bytes, 65536);
	rig2_fini(&r);
}

/* Its peer can send nothing then that would be a reason to look again. */
static void the_connections_window_opens_again_with_what_is_dropped(void **state)
{
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i < 32; i++) {
		snprintf(say, sizeof(say), "headers %u " POST2 "\nxs %u 65536", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	rig2_out(&r);
	for (unsigned i = 1; i <= 8; i++)
		r.calls[i].stream->ops->reset(r.calls[i].stream, reason_client_stalled);
	rig2_say(&r,
		 "rst 17 8\nrst 19 8\nrst 21 8\nrst 23 8\nrst 25 8\nrst 27 8\nrst 29 8\nrst 31 8");
	assert_non_null(strstr(rig2_out(&r), "window 1048576\n"));
	rig2_say(&r, "headers 101 " POST2 "\nxs 101 65536");
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_fini(&r);
}

/* A reload changes what new connections are told; this one's peer goes by what it was told. */
static void what_the_peer_was_told_holds(void **state)
{
	static const uint32_t others[] = { 1024, 1024 * 1024 };

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct h2_limits limits = h2_default_limits;
		struct codec_limits all = h2_rig_limits;
		struct h2_rig r;

		all.h2 = &limits;
		rig2_server_within(&r, &all);
		r.answers = false;
		r.quiet_bodies = true;
		limits.stream_window = others[i];
		limits.conn_window = 64 * others[i];
		rig2_say(&r, "headers 1 " POST2);
		r.calls[1].stream->ops->pause(r.calls[1].stream, false);
		rig2_say(&r, "xs 1 65536\nheaders 3 " POST2 "\nxs 3 65536");
		assert_string_equal(rig2_out(&r), "window 1 32768\nwindow 1 32768\n");
		rig2_fini(&r);
	}
}

/* Padding counts, too (section 6.9.1), and is given back at once. */
static void padding_is_given_back(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2);
	rig2_out(&r);
	for (unsigned i = 0; i < 200; i++)
		rig2_say(&r, "data 1 pad=255 x");
	assert_string_equal(rig2_out(&r), "window 1 32768\n");
	rig2_fini(&r);
}

static void pause_again(struct call2 *c, struct slice s, bool end)
{
	(void)s;
	if (!end)
		c->stream->ops->pause(c->stream, true);
}

static void trailers_that_came_while_paused_wait(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	r.on_body = pause_again;
	rig2_say(&r, "headers 1 " POST2 "\ndata 1 abc\nheaders 1 end t=1");
	rig2_log(&r);
	r.calls[1].stream->ops->pause(r.calls[1].stream, false);
	rig2_feed(&r, slice_of(NULL, 0));
	assert_int_equal(r.calls[1].bytes, 3);
	assert_string_equal(rig2_log(&r), "");
	r.calls[1].stream->ops->pause(r.calls[1].stream, false);
	rig2_feed(&r, slice_of(NULL, 0));
	assert_string_equal(rig2_log(&r), "trailers 1  t=1\n");
	rig2_fini(&r);
}

/* A POST whose answer came early. */
static void answer_early(struct h2_rig *r, const char *post, uint16_t status, const char *out)
{
	init_manual(r);
	rig2_say(r, post);
	rig2_log(r);
	rig2_answer(&r->calls[1], status, "no");
	rig2_drain(r);
	assert_string_equal(rig2_out(r), out);
	assert_string_equal(rig2_log(r), "gone 1 -\n");
}

#define EARLY(status) "headers 1 :status=" #status " content-length=2\ndata 1 end no\n"

/* Section 8.1: after a complete answer the rest of the request is not wanted. */
static void an_early_success_ends_the_request(void **state)
{
	struct h2_rig r;

	(void)state;
	answer_early(&r, "headers 1 " POST2 "\ndata 1 abc", 200, EARLY(200) "rst 1 0\n");
	rig2_say(&r, "data 1 more\nheaders 1 end t=1\nheaders 3 end " GET2);
	assert_string_equal(rig2_log(&r), "request 2 GET / @a none end Host=a\n");
	rig2_fini(&r);
	answer_early(&r, "headers 1 " POST2 " content-length=70000", 200, EARLY(200) "rst 1 0\n");
	rig2_fini(&r);
	answer_early(&r, "headers 1 " POST2 " content-length=7", 200, EARLY(200));
	rig2_fini(&r);
}

static void a_refused_request_may_end_itself(void **state)
{
	static const char *const ends[] = { "data 1 end more", "headers 1 end t=1", "data 1 end",
					    "rst 1 8" };
	struct h2_rig r;

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		answer_early(&r, "headers 1 " POST2 "\ndata 1 abc", 429, EARLY(429));
		assert_int_equal(r.h2.codec.phase, CODEC_HEAD);
		rig2_say(&r, "data 1 more");
		rig2_say(&r, ends[i]);
		assert_string_equal(rig2_out(&r), "");
		assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
		rig2_say(&r, "data 1 x"); /* nor is it open after its end */
		assert_string_equal(rig2_out(&r), "goaway 1 5\n");
		rig2_fini(&r);
	}
}

static void its_end_may_come_with_what_is_half_read(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2);
	rig2_feed(&r, slice_of("\0\0\4\0\1\0\0\0\1ab", 11));
	rig2_answer(&r.calls[1], 429, "no");
	rig2_drain(&r);
	rig2_feed(&r, slice_of("cd", 2));
	assert_string_equal(rig2_out(&r), EARLY(429));
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	rig2_fini(&r);
}

static void a_refused_request_gets_windows_to_a_bound(void **state)
{
	struct h2_rig r;
	unsigned rounds = 0;

	(void)state;
	answer_early(&r, "headers 1 " POST2, 413, EARLY(413));
	while (strstr(rig2_out(&r), "rst 1 0") == NULL && rounds++ < 200)
		rig2_say(&r, "xs 1 16384\nxs 1 16384\nxs 1 16384");
	assert_in_range(rounds, 80, 90); /* 4 MiB */
	rig2_say(&r, "data 1 late");
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	rig2_fini(&r);
}

static void a_refused_request_has_its_time(void **state)
{
	struct h2_rig r;

	(void)state;
	answer_early(&r, "headers 1 " POST2, 413, EARLY(413));
	r.now_ns += 1900 * CLOCK_MS;
	rig2_say(&r, "data 1 a");
	assert_string_equal(rig2_out(&r), "");
	r.now_ns += 100 * CLOCK_MS;
	rig2_say(&r, "data 1 a");
	assert_string_equal(rig2_out(&r), "rst 1 0\n");
	rig2_fini(&r);
	/* where nothing comes at all, it is the connection's */
	answer_early(&r, "headers 1 " POST2, 413, EARLY(413));
	(r.h2.codec.ops->fail)(&r.h2.codec, reason_head_timeout);
	assert_string_equal(rig2_out(&r), "rst 1 0\n");
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	rig2_fini(&r);
}

static void refused_requests_give_way_to_new_ones(void **state)
{
	struct h2_rig r;
	char text[128];

	(void)state;
	init_manual(&r);
	for (unsigned i = 1; i <= 100; i++) {
		snprintf(text, sizeof(text), "headers %u " POST2, 2 * i - 1);
		rig2_say(&r, text);
		rig2_answer(&r.calls[i], 429, "no");
		rig2_drain(&r);
	}
	assert_null(strstr(rig2_out(&r), "rst"));
	rig2_say(&r, "headers 201 end " GET2);
	assert_string_equal(rig2_out(&r), "rst 1 0\n");
	rig2_fini(&r);
}

/*---------------------------------------- floods */

static void say_often(struct h2_rig *r, unsigned n, const char *text)
{
	struct buf in = { .p = NULL };

	for (unsigned i = 0; i < n; i++)
		script(&in, text);
	rig2_feed(r, slice_of(in.p, in.n));
	buf_fini(&in);
}

struct flood {
	const char *frame, *name;
	enum h2_flood kind;
};

static void floods_end_the_connection(void **state)
{
	static const struct flood some[] = {
		{ "ping 12345678", "flood pings\n", H2_FLOOD_PINGS },
		{ "settings 4=100", "flood settings\n", H2_FLOOD_SETTINGS },
		{ "priority 1", "flood others\n", H2_FLOOD_OTHERS },
		{ "frame 99 0 0 ", "flood others\n", H2_FLOOD_OTHERS },
		{ "window 0 1", "flood updates\n", H2_FLOOD_UPDATES },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		unsigned most =
		    h2_default_limits.flood[some[i].kind] - (some[i].kind == H2_FLOOD_SETTINGS);
		struct h2_rig r;

		rig2_server(&r);
		say_often(&r, most, some[i].frame);
		assert_string_equal(rig2_log(&r), "");
		r.now_ns += UINT64_C(10000000000); /* a new count begins */
		say_often(&r, h2_default_limits.flood[some[i].kind], some[i].frame);
		assert_string_equal(rig2_log(&r), "");
		rig2_out(&r);
		rig2_say(&r, some[i].frame);
		assert_string_equal(rig2_log(&r), some[i].name);
		assert_string_equal(rig2_out(&r), "goaway 0 11\n");
		assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
		rig2_fini(&r);
	}
}

/* Windows that open and bandwidth that is measured are no flood: both come of what was sent. */
static void what_an_answer_explains_is_no_flood(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	rig2_log(&r);
	s = begin_answer(&r, 1);
	for (unsigned i = 0; i < 1000; i++) {
		s->ops->body(s, slice_str("x"), false);
		rig2_drain(&r);
		rig2_say(&r, "window 0 1\nwindow 1 1\nwindow 0 1\nping 12345678\nping 12345678");
	}
	assert_string_equal(rig2_log(&r), "");
	rig2_fini(&r);
}

/* Whoever sends PINGs and reads no answer is not read any more. */
static void a_backlog_stops_reading(void **state)
{
	struct h2_rig r;
	struct codec *k = &r.h2.codec;

	(void)state;
	init_manual(&r);
	k->ops->drained(k, 1024 * 1024);
	assert_true(k->ops->wants_read(k));
	k->ops->drained(k, 1024 * 1024 + 1);
	assert_false(k->ops->wants_read(k));
	k->ops->drained(k, 0);
	assert_true(k->ops->wants_read(k));
	rig2_fini(&r);
}

/* CVE-2023-44487. */
static void rapid_resets_end_the_connection(void **state)
{
	unsigned most = h2_default_limits.flood[H2_FLOOD_RESETS];
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i <= most; i++) {
		assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
		snprintf(say, sizeof(say), "headers %u end " GET2 "\nrst %u 8", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	assert_non_null(strstr(rig2_log(&r), "flood resets\ngone 401 client_flood\n"));
	rig2_fini(&r);
}

/* The server as the one who resets (CVE-2025-8671) is no way around. */
static void resets_that_a_client_brings_about_count_too(void **state)
{
	unsigned most = h2_default_limits.flood[H2_FLOOD_RESETS];
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i <= most; i++) {
		snprintf(say, sizeof(say), "headers %u end " GET2 "\nwindow %u 0", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	assert_non_null(strstr(rig2_log(&r), "flood resets\n"));
	rig2_fini(&r);
}

/* CVE-2019-9518. */
static void empty_frames_end_the_connection(void **state)
{
	struct h2_rig r;

	(void)state;
	rig2_server(&r);
	rig2_say(&r, "headers 1 " POST2);
	say_often(&r, 501, "data 1");
	assert_string_equal(
	    rig2_log(&r), "request 1 POST / @a chunked Host=a\nflood empty\ngone 1 client_flood\n");
	rig2_fini(&r);
}

/* CVE-2024-27316. */
static void endless_heads_end_the_connection(void **state)
{
	struct buf in = { .p = NULL };
	struct h2_rig r;

	(void)state;
	rig2_server(&r);
	script(&in, "headers 1 open " GET2);
	for (unsigned i = 0; i < 16; i++)
		script(&in, "cont 1 open");
	assert_int_equal(rig2_feed(&r, slice_of(in.p, in.n)), 0);
	assert_string_equal(rig2_log(&r), "");
	script(&in, "cont 1 open");
	assert_int_equal(rig2_feed(&r, slice_of(in.p, in.n)), in.n);
	assert_string_equal(rig2_log(&r), "flood head_frames\n");
	assert_string_equal(rig2_out(&r), "goaway 0 11\n");
	rig2_fini(&r);

	/* few frames, many bytes */
	in.n = 0;
	rig2_server(&r);
	script(&in, "frame 1 0 1 ");
	for (unsigned i = 0; i < 3; i++)
		put_frame(&in, 9, 0, 1, many(16384).p, 16384);
	assert_int_equal(rig2_feed(&r, slice_of(in.p, in.n)), in.n);
	assert_string_equal(rig2_log(&r), "flood head_frames\n");
	buf_fini(&in);
	rig2_fini(&r);
}

/* One call's fault is not the connection's: as long as it ends, it is decoded. */
static void large_heads_are_refused_alone(void **state)
{
	struct buf in = { .p = NULL }, block = { .p = NULL };
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2);
	put_literal(&block, slice_str("x"), many(30000));
	put_frame(&in, 1, 1, 3, block.p, 16384);
	put_frame(&in, 9, 4, 3, block.p + 16384, block.n - 16384);
	rig2_feed(&r, slice_of(in.p, in.n));
	assert_non_null(strstr(rig2_log(&r), "refused 2 head_too_large\n"));
	rig2_say(&r, "data 1 end abc");
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_fini(&r);
	buf_fini(&in);
	buf_fini(&block);
}

/* A small field in the table, named a thousand times: it is counted while it is decoded. */
static void header_bombs_are_refused(void **state)
{
	struct buf in = { .p = NULL }, block = { .p = NULL };
	struct h2_rig r;

	(void)state;
	rig2_server(&r);
	buf_putc(&block, 0x40); /* with indexing */
	put_string(&block, slice_str("bomb"));
	put_string(&block, many(3000));
	for (unsigned i = 0; i < 5000; i++)
		buf_putc(&block, (char)(0x80 | 62));
	put_frame(&in, 1, 5, 1, block.p, block.n);
	rig2_feed(&r, slice_of(in.p, in.n));
	assert_string_equal(rig2_log(&r), "refused 1 head_too_large\ngone 1 -\n");
	assert_string_equal(rig2_out(&r),
			    "headers 1 :status=431 content-length=2\ndata 1 end no\n");
	rig2_fini(&r);
	buf_fini(&in);
	buf_fini(&block);
}

/*---------------------------------------- bounds */

static void heads_are_bounded_as_those_of_http1(void **state)
{
	struct h2_rig r;
	struct buf in = { .p = NULL }, block = { .p = NULL };

	(void)state;
	rig2_server(&r);
	put_literal(&block, slice_str(":method"), slice_str("GET"));
	put_literal(&block, slice_str(":scheme"), slice_str("http"));
	put_literal(&block, slice_str(":authority"), slice_str("a"));
	put_literal(&block, slice_str(":path"), slice_str("/"));
	for (unsigned i = 0; i < 101; i++)
		put_literal(&block, slice_str("x"), slice_str("y"));
	put_frame(&in, 1, 5, 1, block.p, block.n);
	rig2_feed(&r, slice_of(in.p, in.n));
	assert_string_equal(rig2_log(&r), "refused 1 head_too_large\ngone 1 -\n");
	in.n = block.n = 0;
	put_literal(&block, slice_str(":method"), slice_str("GET"));
	put_literal(&block, slice_str(":path"), many(1025));
	put_frame(&in, 1, 5, 3, block.p, block.n);
	rig2_feed(&r, slice_of(in.p, in.n));
	assert_string_equal(rig2_log(&r), "refused 2 target_too_long\ngone 2 -\n");
	rig2_fini(&r);
	buf_fini(&in);
	buf_fini(&block);
}

/* Section 5.1.2. */
static void too_many_streams_are_refused(void **state)
{
	struct h2_rig r;
	char say[200];

	(void)state;
	init_manual(&r);
	for (unsigned i = 0; i < 101; i++) {
		snprintf(say, sizeof(say), "headers %u end " GET2, 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_string_equal(rig2_out(&r), "rst 201 7\n");
	assert_int_equal(r.n_calls, 100);
	rig2_answer(&r.calls[7], 200, "ok");
	rig2_drain(&r);
	rig2_out(&r);
	rig2_say(&r, "data 201 late\nheaders 203 end " GET2);
	assert_int_equal(r.n_calls, 101);
	assert_string_equal(rig2_out(&r), "");
	rig2_fini(&r);
}

/*---------------------------------------- ends */

/* Section 6.8: what was sent before the client could know is served. */
static void goodbyes_lose_no_call(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2);
	r.h2.codec.ops->last(&r.h2.codec);
	r.h2.codec.ops->last(&r.h2.codec);
	assert_string_equal(rig2_out(&r), "goaway 2147483647 0\nping lastcall\n");
	rig2_say(&r, "headers 3 end " GET2 "\npong lastcall\nheaders 5 end " GET2);
	assert_string_equal(rig2_out(&r), "goaway 3 0\n");
	rig2_answer(&r.calls[1], 200, "ok");
	rig2_drain(&r);
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_answer(&r.calls[2], 200, "ok");
	rig2_drain(&r);
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	assert_int_equal(r.n_calls, 2);
	rig2_fini(&r);
}

static void an_idle_connection_says_goodbye_too(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	r.h2.codec.ops->last(&r.h2.codec);
	assert_int_equal(r.h2.codec.phase, CODEC_HEAD);
	rig2_out(&r);
	rig2_say(&r, "pong lastcall");
	assert_string_equal(rig2_out(&r), "goaway 0 0\n");
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	rig2_fini(&r);
}

/* A half-close behind whole requests is no abort. */
static void the_end_of_the_input(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2 "\nheaders 3 " POST2);
	rig2_log(&r);
	r.h2.codec.ops->eof(&r.h2.codec);
	assert_string_equal(rig2_log(&r), "gone 2 client_abort\n");
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_answer(&r.calls[1], 200, "ok");
	rig2_drain(&r);
	assert_string_equal(rig2_log(&r), "gone 1 -\n");
	assert_int_equal(r.h2.codec.phase, CODEC_CLOSED);
	rig2_fini(&r);
}

static void a_broken_connection_ends_every_stream(void **state)
{
	struct h2_rig r;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 end " GET2 "\nheaders 3 " POST2 "\ndata 3 x");
	rig2_log(&r);
	(r.h2.codec.ops->fail)(&r.h2.codec, reason_cut);
	assert_string_equal(rig2_log(&r), "gone 1 cut\ngone 2 cut\n");
	rig2_fini(&r);
}

static void a_reset_forgets_the_owner(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_manual(&r);
	rig2_say(&r, "headers 1 " POST2 "\ndata 1 x");
	rig2_log(&r);
	rig2_out(&r);
	s = r.calls[1].stream;
	s->ops->reset(s, reason_upstream_truncated);
	rig2_say(&r, "data 1 y\ndata 1 end");
	assert_string_equal(rig2_log(&r), "");
	assert_string_equal(rig2_out(&r), "rst 1 2\n");
	assert_int_equal(r.h2.codec.phase, CODEC_IDLE);
	rig2_fini(&r);
}

static void what_is_no_preface_is_refused(void **state)
{
	struct h2_rig r;

	(void)state;
	rig2_init(&r, false);
	rig2_feed(&r, slice_str("PRI * HTTP/2.0\r\n\r\nSX"));
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	assert_string_equal(rig2_out(&r),
			    "settings 3=100 4=65536 6=4096\nwindow 983041\ngoaway 0 1\n");
	rig2_fini(&r);
	/* Section 3.4: SETTINGS come first */
	rig2_init(&r, false);
	rig2_feed(&r, h2_preface);
	rig2_say(&r, "ping 12345678");
	assert_int_equal(r.h2.codec.phase, CODEC_LINGER);
	rig2_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_body_waits_for_the_streams_window),
		cmocka_unit_test(a_window_may_become_negative),
		cmocka_unit_test(a_body_waits_for_the_connections_window),
		cmocka_unit_test(room_is_told_when_the_socket_takes_more),
		cmocka_unit_test(gone_comes_when_all_is_written),
		cmocka_unit_test(large_heads_go_out_in_several_frames),
		cmocka_unit_test(answers_say_what_http2_may),
		cmocka_unit_test(trailers_wait_behind_the_body),
		cmocka_unit_test(answers_without_bodies),
		cmocka_unit_test(a_short_answer_is_reset),
		cmocka_unit_test(a_paused_body_is_held_within_its_window),
		cmocka_unit_test(larger_windows_of_a_reload_are_not_waited_for),
		cmocka_unit_test(fewer_streams_of_a_reload_refuse_none),
		cmocka_unit_test(more_than_the_window_is_an_error),
		cmocka_unit_test(the_connections_window_opens_while_streams_are_paused),
		cmocka_unit_test(the_connections_window_opens_again_with_what_is_read),
		cmocka_unit_test(the_connections_window_opens_again_with_what_is_dropped),
		cmocka_unit_test(what_the_peer_was_told_holds),
		cmocka_unit_test(padding_is_given_back),
		cmocka_unit_test(trailers_that_came_while_paused_wait),
		cmocka_unit_test(an_early_success_ends_the_request),
		cmocka_unit_test(a_refused_request_may_end_itself),
		cmocka_unit_test(its_end_may_come_with_what_is_half_read),
		cmocka_unit_test(a_refused_request_gets_windows_to_a_bound),
		cmocka_unit_test(a_refused_request_has_its_time),
		cmocka_unit_test(refused_requests_give_way_to_new_ones),
		cmocka_unit_test(floods_end_the_connection),
		cmocka_unit_test(what_an_answer_explains_is_no_flood),
		cmocka_unit_test(a_backlog_stops_reading),
		cmocka_unit_test(rapid_resets_end_the_connection),
		cmocka_unit_test(resets_that_a_client_brings_about_count_too),
		cmocka_unit_test(empty_frames_end_the_connection),
		cmocka_unit_test(endless_heads_end_the_connection),
		cmocka_unit_test(large_heads_are_refused_alone),
		cmocka_unit_test(header_bombs_are_refused),
		cmocka_unit_test(heads_are_bounded_as_those_of_http1),
		cmocka_unit_test(too_many_streams_are_refused),
		cmocka_unit_test(goodbyes_lose_no_call),
		cmocka_unit_test(an_idle_connection_says_goodbye_too),
		cmocka_unit_test(the_end_of_the_input),
		cmocka_unit_test(a_broken_connection_ends_every_stream),
		cmocka_unit_test(a_reset_forgets_the_owner),
		cmocka_unit_test(what_is_no_preface_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
