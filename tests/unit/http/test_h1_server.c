/* test_h1_server.c - the server role: answers as written, pauses, unwanted bodies, ends, tunnels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "calls.h"

/*---------------------------------------- answers, as written */

struct answer {
	const char *request;
	uint16_t status;
	uint8_t body;
	uint64_t length;
	const char *text; /* NULL: head with end */
	const char *out;
	uint8_t phase;
	bool upgrade;
};

#define S200       "HTTP/1.1 200 OK\r\nX: y\r\n"
#define GET10      "GET / HTTP/1.0\r\n\r\n"
#define GET10_KEEP "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
#define HEAD_      "HEAD / HTTP/1.1\r\n" HOST "\r\n"
#define CLOSE      "Connection: close\r\n"

static const struct answer answers[] = {
	{ GET, 200, BODY_LENGTH, 3, "abc", S200 "Content-Length: 3\r\n\r\nabc", CODEC_IDLE },
	{ GET, 200, BODY_LENGTH, 0, NULL, S200 "Content-Length: 0\r\n\r\n", CODEC_IDLE },
	{ GET, 200, BODY_NONE, 0, NULL, S200 "Content-Length: 0\r\n\r\n", CODEC_IDLE },
	{ GET, 200, BODY_CHUNKED, 0, NULL, S200 "Content-Length: 0\r\n\r\n", CODEC_IDLE },
	{ GET, 200, BODY_CHUNKED, 0, "abc",
	  S200 "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", CODEC_IDLE },
	{ GET, 200, BODY_CHUNKED, 0, "", S200 "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	  CODEC_IDLE },
	{ GET, 200, BODY_CLOSE, 0, "abc",
	  S200 "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", CODEC_IDLE },
	{ GET10, 200, BODY_CHUNKED, 0, "abc", S200 CLOSE "\r\nabc", CODEC_CLOSED },
	{ GET10, 200, BODY_CLOSE, 0, "abc", S200 CLOSE "\r\nabc", CODEC_CLOSED },
	{ GET10_KEEP, 200, BODY_CLOSE, 0, "abc", S200 CLOSE "\r\nabc", CODEC_CLOSED },
	{ GET10_KEEP, 200, BODY_LENGTH, 3, "abc",
	  S200 "Content-Length: 3\r\nConnection: keep-alive\r\n\r\nabc", CODEC_IDLE },
	{ HEAD_, 200, BODY_LENGTH, 3, NULL, S200 "Content-Length: 3\r\n\r\n", CODEC_IDLE },
	{ HEAD_, 200, BODY_LENGTH, 3, "abc", S200 "Content-Length: 3\r\n\r\n", CODEC_IDLE },
	{ HEAD_, 200, BODY_NONE, 0, NULL, S200 "\r\n", CODEC_IDLE },
	{ HEAD_, 200, BODY_CHUNKED, 0, "abc", S200 "\r\n", CODEC_IDLE },
	{ GET, 204, BODY_LENGTH, 0, NULL, "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", CODEC_IDLE },
	{ GET, 304, BODY_LENGTH, 9, NULL,
	  "HTTP/1.1 304 Not Modified\r\nX: y\r\nContent-Length: 9\r\n\r\n", CODEC_IDLE },
	{ GET, 304, BODY_NONE, 0, NULL, "HTTP/1.1 304 Not Modified\r\nX: y\r\n\r\n", CODEC_IDLE },
	{ GET, 299, BODY_NONE, 0, NULL, "HTTP/1.1 299 \r\nX: y\r\nContent-Length: 0\r\n\r\n",
	  CODEC_IDLE },
	{ GET, 426, BODY_NONE, 0, NULL,
	  "HTTP/1.1 426 Upgrade Required\r\nX: y\r\nContent-Length: 0\r\nConnection: "
	  "upgrade\r\nUpgrade: websocket\r\n\r\n",
	  CODEC_IDLE, true },
};

/* With fields that the codec must not copy. */
static void fill_answer(struct rig *r, struct head *h, const struct answer *a)
{
	static const char *const never[] = { "Connection", "keep-alive", "Content-Length",
					     "Transfer-Encoding" };

	head_init(h, &r->arena);
	h->status = a->status;
	h->body = a->body;
	h->length = a->length;
	h->upgrade = a->upgrade;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_true(head_add_name(h, slice_str(never[i]), slice_str("77")));
	assert_true(head_add_name(h, slice_str("X"), slice_str("y")));
	assert_true(head_add(h, F_SERVER, slice_str("gone")));
	head_remove(h, F_SERVER);
	assert_true(head_add(h, F_UPGRADE, slice_str("websocket")));
}

static void answers_are_framed_for_the_peer(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		const struct answer *a = &answers[i];
		struct stream *s;
		struct head h;
		struct rig r;

		rig_init_server(&r);
		rig_feed(&r, slice_str(a->request));
		s = r.stream;
		fill_answer(&r, &h, a);
		assert_true(s->ops->head(s, &h, a->text == NULL));
		if (a->text != NULL)
			s->ops->body(s, slice_str(a->text), true);
		rig_drain(&r);
		assert_string_equal(rig_out(&r), a->out);
		assert_int_equal(r.h1.codec.phase, a->phase);
		assert_false(r.h1.codec.cut);
		rig_fini(&r);
	}
}

static void chunks_large_and_small_are_whole(void **state)
{
	static const size_t sizes[] = { 1, 9, 10, 15, 16, 17, 511, 512, 513, 4096, 70000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *text = malloc(sizes[i]), size_line[32];
		const char *out;
		struct rig r;

		memset(text, 'x', sizes[i]);
		begin_get(&r, GET);
		head_of(&r, 200, BODY_CHUNKED, 0, false);
		rig_drain(&r);
		rig_out(&r);
		r.stream->ops->body(r.stream, slice_of(text, sizes[i]), false);
		r.stream->ops->body(r.stream, slice_of(NULL, 0), false);
		r.stream->ops->body(r.stream, slice_of(NULL, 0), true);
		rig_drain(&r);
		snprintf(size_line, sizeof(size_line), "%zx\r\n", sizes[i]);
		assert_int_equal(r.out.n, strlen(size_line) + sizes[i] + 2 + 5);
		out = rig_out(&r);
		assert_memory_equal(out, size_line, strlen(size_line));
		assert_memory_equal(out + strlen(size_line), text, sizes[i]);
		assert_string_equal(out + strlen(size_line) + sizes[i], "\r\n0\r\n\r\n");
		rig_fini(&r);
		free(text);
	}
}

static void trailers_go_where_they_can(void **state)
{
	static const struct {
		const char *request;
		uint8_t body;
		const char *out;
	} rows[] = {
		{ GET, BODY_CHUNKED, "1\r\nx\r\n0\r\nt: u\r\n\r\n" },
		{ GET, BODY_LENGTH, "x" },
		{ GET10, BODY_CHUNKED, "x" },
		{ HEAD_, BODY_CHUNKED, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct head t;
		struct rig r;

		begin_get(&r, rows[i].request);
		head_of(&r, 200, rows[i].body, 1, false);
		rig_out(&r);
		body_of(&r, "x", false);
		head_init(&t, &r.arena);
		assert_true(head_add_name(&t, slice_str("t"), slice_str("u")));
		r.stream->ops->trailers(r.stream, &t);
		rig_drain(&r);
		rig_feed(&r, slice_of("", 0));
		assert_string_equal(rig_out(&r), rows[i].out);
		assert_string_equal(rig_log(&r), "gone -\n");
		rig_fini(&r);
	}
}

static void interim_answers_come_first(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r,
		  "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n");
	head_of(&r, 100, BODY_NONE, 0, false);
	head_of(&r, 103, BODY_NONE, 0, false);
	assert_string_equal(rig_out(&r),
			    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
	pause_of(&r, false);
	rig_feed(&r, slice_str("x"));
	head_of(&r, 200, BODY_NONE, 0, true);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "body x end\ngone -\n");
	assert_int_equal(r.h1.codec.phase, CODEC_IDLE);
	rig_fini(&r);
	/* an old client would not understand */
	begin_get(&r, GET10);
	head_of(&r, 100, BODY_NONE, 0, false);
	assert_string_equal(rig_out(&r), "");
	rig_fini(&r);
}

/*---------------------------------------- pauses and pipelines */

static void a_body_waits_for_the_owner(void **state)
{
	struct slice post =
	    slice_str("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello" GET);
	struct rig r;
	size_t used;

	(void)state;
	rig_init_server(&r);
	used = rig_feed(&r, post);
	assert_int_equal(used, post.n - 5 - strlen(GET));
	assert_true(r.stream->paused);
	assert_false(r.h1.codec.ops->wants_read(&r.h1.codec));
	assert_int_equal(rig_feed(&r, slice_str("hel")), 0);
	rig_log(&r);
	r.kicks = 0;
	pause_of(&r, false);
	assert_int_equal(r.kicks, 1);
	pause_of(&r, false);
	assert_int_equal(r.kicks, 1);
	assert_string_equal(rig_log(&r), ""); /* never from inside an op */
	assert_true(r.h1.codec.ops->wants_read(&r.h1.codec));
	assert_int_equal(rig_feed(&r, slice_str("hel")), 3);
	pause_of(&r, true);
	assert_int_equal(rig_feed(&r, slice_str("lo")), 0);
	pause_of(&r, false);
	assert_int_equal(rig_feed(&r, slice_str("lo" GET)), 2);
	assert_string_equal(rig_log(&r), "body hello end\n");
	assert_true(r.h1.codec.ops->wants_read(&r.h1.codec));
	/* the next one waits for the answer */
	assert_int_equal(rig_feed(&r, slice_str(GET)), 0);
	head_of(&r, 200, BODY_NONE, 0, true);
	r.kicks = 0;
	rig_drain(&r);
	assert_int_equal(r.kicks, 1);
	assert_int_equal(r.h1.codec.phase, CODEC_IDLE);
	assert_int_equal(rig_feed(&r, slice_str(GET)), strlen(GET));
	rig_fini(&r);
}

static void pause_inside(struct rig *r, struct slice s, bool end)
{
	(void)s;
	if (!end)
		pause_of(r, true);
}

static void a_pause_inside_an_event_holds(void **state)
{
	struct slice in =
	    slice_str("POST / HTTP/1.1\r\n" HOST
		      "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
	struct rig r;
	size_t used;

	(void)state;
	rig_init_server(&r);
	r.on_body = pause_inside;
	used = rig_feed(&r, in);
	rig_log(&r);
	for (int i = 0; i < 2; i++) {
		pause_of(&r, false);
		used += rig_feed(&r, slice_of(in.p + used, in.n - used));
		assert_true(r.stream->paused);
	}
	assert_string_equal(rig_log(&r), "body ab\n");
	pause_of(&r, false);
	used += rig_feed(&r, slice_of(in.p + used, in.n - used));
	assert_int_equal(used, in.n);
	assert_string_equal(rig_log(&r), "body  end\n");
	rig_fini(&r);
}

static void room_comes_at_low_water(void **state)
{
	char *text = malloc(STREAM_HIGH_WATER);
	struct rig r;

	(void)state;
	memset(text, 'x', STREAM_HIGH_WATER);
	begin_get(&r, GET);
	head_of(&r, 200, BODY_CLOSE, 0, false);
	r.h1.codec.ops->drained(&r.h1.codec, 0);
	r.stream->ops->body(r.stream, slice_of(text, STREAM_HIGH_WATER / 2), false);
	r.h1.codec.ops->drained(&r.h1.codec, 5);
	assert_int_equal(r.stream->queued, 5);
	assert_string_equal(rig_log(&r), "");
	r.stream->ops->body(r.stream, slice_of(text, STREAM_HIGH_WATER), false);
	assert_true(r.stream->queued > STREAM_HIGH_WATER);
	r.h1.codec.ops->drained(&r.h1.codec, STREAM_LOW_WATER);
	assert_string_equal(rig_log(&r), "");
	r.h1.codec.ops->drained(&r.h1.codec, STREAM_LOW_WATER - 1);
	r.h1.codec.ops->drained(&r.h1.codec, 0);
	assert_string_equal(rig_log(&r), "room\n");
	rig_fini(&r);
	free(text);
}

/*---------------------------------------- bodies that nobody wants */

struct unwanted {
	const char *request, *connection;
	uint8_t phase;    /* once the answer is written */
	bool interim;     /* 100 was sent */
	const char *rest; /* of the body, and the next request */
	const char *log;  /* what that gives */
};

#define POST(fields) "POST / HTTP/1.1\r\n" HOST fields "\r\n"
#define NEXT         "request GET / @a 1.1 body=0:0 keep end Host=a\n"

static const struct unwanted unwanted[] = {
	{ POST("Content-Length: 5\r\n"), "", CODEC_HEAD, false, "hello" GET, NEXT },
	{ POST("Content-Length: 65536\r\n"), "", CODEC_HEAD, false, "hello", "" },
	{ POST("Content-Length: 65537\r\n"), CLOSE, CODEC_LINGER, false, "hello", "" },
	{ POST("Transfer-Encoding: chunked\r\n"), CLOSE, CODEC_LINGER, false, "0\r\n\r\n" GET, "" },
	{ POST("Content-Length: 5\r\nExpect: 100-continue\r\n"), CLOSE, CODEC_LINGER, false,
	  "hello" GET, "" },
	{ POST("Content-Length: 5\r\nExpect: 100-continue\r\n"), "", CODEC_HEAD, true, "hello" GET,
	  NEXT },
	{ POST("Content-Length: 5\r\nConnection: close\r\n"), CLOSE, CODEC_LINGER, false,
	  "hello" GET, "" },
};

static void an_unwanted_body_is_dropped_or_ends_the_connection(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(unwanted) / sizeof(unwanted[0]); i++) {
		const struct unwanted *u = &unwanted[i];
		char want[200];
		struct rig r;

		begin_get(&r, u->request);
		if (u->interim)
			head_of(&r, 100, BODY_NONE, 0, false);
		rig_out(&r);
		head_of(&r, 429, BODY_LENGTH, 1, false);
		body_of(&r, "x", true);
		rig_drain(&r);
		snprintf(want, sizeof(want),
			 "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 1\r\n%s\r\nx",
			 u->connection);
		assert_string_equal(rig_out(&r), want);
		assert_string_equal(rig_log(&r), "gone -\n");
		assert_int_equal(r.h1.codec.phase, u->phase);
		rig_feed(&r, slice_str(u->rest));
		assert_string_equal(rig_log(&r), u->log);
		rig_fini(&r);
	}
}

static void a_body_dropped_before_the_answer_is_written_counts_too(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, POST("Content-Length: 5\r\n"));
	head_of(&r, 429, BODY_NONE, 0, true);
	r.kicks = 0;
	assert_int_equal(r.h1.codec.ops->feed(&r.h1.codec, slice_str("hello" GET)), 5);
	rig_drain(&r);
	assert_int_equal(r.h1.codec.phase, CODEC_IDLE);
	assert_true(r.kicks > 0);
	assert_string_equal(rig_log(&r), "gone -\n");
	rig_feed(&r, slice_str(GET));
	assert_string_equal(rig_log(&r), NEXT);
	rig_fini(&r);
}

static void an_early_answer_lets_the_upload_go_on(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, POST("Transfer-Encoding: chunked\r\n"));
	pause_of(&r, false);
	rig_feed(&r, slice_str("1\r\na\r\n"));
	head_of(&r, 200, BODY_CHUNKED, 0, false);
	assert_non_null(strstr(rig_out(&r), CLOSE)); /* it might end before the request does */
	body_of(&r, "x", false);
	rig_feed(&r, slice_str("1\r\nb\r\n0\r\n\r\n"));
	body_of(&r, "", true);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "body ab end\ngone -\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void a_broken_body_after_the_head_is_cut(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, POST("Transfer-Encoding: chunked\r\n"));
	pause_of(&r, false);
	head_of(&r, 200, BODY_CHUNKED, 0, false);
	rig_feed(&r, slice_str("zz"));
	assert_string_equal(rig_log(&r), "gone bad_chunk\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	assert_true(r.h1.codec.cut);
	rig_fini(&r);
}

/*---------------------------------------- ends */

static void the_last_answer_says_so(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	r.h1.codec.ops->last(&r.h1.codec);
	head_of(&r, 200, BODY_NONE, 0, true);
	rig_drain(&r);
	assert_non_null(strstr(rig_out(&r), CLOSE));
	assert_int_equal(r.h1.codec.phase, CODEC_LINGER);
	rig_fini(&r);
	/* too late for the head: the connection ends all the same */
	begin_get(&r, GET);
	head_of(&r, 200, BODY_CHUNKED, 0, false);
	r.h1.codec.ops->last(&r.h1.codec);
	body_of(&r, "", true);
	rig_drain(&r);
	assert_null(strstr(rig_out(&r), CLOSE));
	assert_int_equal(r.h1.codec.phase, CODEC_LINGER);
	rig_fini(&r);
}

static void a_half_close_is_no_abort(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "");
	head_of(&r, 200, BODY_NONE, 0, true);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "gone -\n");
	assert_non_null(strstr(rig_out(&r), CLOSE));
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void a_half_close_is_an_abort_where_it_is_said(void **state)
{
	const struct codec_limits strict = {
		.head_bytes = 4096, .target_bytes = 1024, .headers = 100, .no_half_close = true
	};
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	r.h1.codec.limits = &strict;
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "gone client_abort\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void pipelined_requests_before_a_half_close_are_answered(void **state)
{
	struct rig r;
	size_t used;

	(void)state;
	rig_init_server(&r);
	used = rig_feed(&r, slice_str(GET GET "GET /par"));
	assert_int_equal(used, strlen(GET));
	rig_eof(&r);
	head_of(&r, 200, BODY_NONE, 0, true);
	rig_drain(&r);
	assert_int_equal(r.h1.codec.phase, CODEC_IDLE);
	used = rig_feed(&r, slice_str(GET "GET /par"));
	assert_int_equal(used, strlen(GET));
	head_of(&r, 200, BODY_NONE, 0, true);
	rig_drain(&r);
	rig_feed(&r, slice_str("GET /par"));
	assert_string_equal(rig_log(&r), NEXT "gone -\n" NEXT "gone -\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void a_paused_body_before_a_half_close_is_taken(void **state)
{
	struct rig r;

	(void)state;
	rig_init_server(&r);
	rig_feed(&r, slice_str(POST("Content-Length: 5\r\n") "hello"));
	rig_eof(&r);
	pause_of(&r, false);
	rig_feed(&r, slice_str("hello"));
	assert_string_equal(
	    rig_log(&r),
	    "request POST / @a 1.1 body=1:5 keep Host=a Content-Length=5\nbody hello end\n");
	rig_fini(&r);
	/* but not what is less than all of it */
	rig_init_server(&r);
	rig_feed(&r, slice_str(POST("Content-Length: 5\r\n") "hell"));
	rig_eof(&r);
	rig_log(&r);
	pause_of(&r, false);
	rig_feed(&r, slice_str("hell"));
	assert_string_equal(rig_log(&r), "body hell\ngone client_abort\n");
	rig_fini(&r);
}

static void failure_ends_the_stream_once(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	rig_fail(&r, reason_client_abort);
	rig_fail(&r, reason_client_abort);
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "gone client_abort\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	assert_false(r.h1.codec.cut);
	rig_fini(&r);
	begin_get(&r, GET);
	head_of(&r, 200, BODY_LENGTH, 5, false);
	rig_fail(&r, reason_cut);
	assert_string_equal(rig_log(&r), "gone cut\n");
	assert_true(r.h1.codec.cut);
	rig_fini(&r);
}

static void a_slow_head_is_answered(void **state)
{
	struct rig r;

	(void)state;
	init_answering(&r);
	rig_feed(&r, slice_str("GET / HT"));
	assert_int_equal(r.h1.codec.phase, CODEC_HEAD);
	rig_fail(&r, reason_head_timeout);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "refused head_timeout  \ngone -\n");
	assert_non_null(strstr(rig_out(&r), "HTTP/1.1 408 "));
	assert_int_equal(r.h1.codec.phase, CODEC_LINGER);
	rig_fini(&r);
	/* at rest nobody is told */
	init_answering(&r);
	rig_fail(&r, reason_head_timeout);
	assert_string_equal(rig_log(&r), "");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void a_reset_stream_hears_nothing_more(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	head_of(&r, 200, BODY_CHUNKED, 0, false);
	r.kicks = 0;
	r.stream->ops->reset(r.stream, reason_client_stalled);
	assert_true(r.kicks > 0);
	rig_drain(&r);
	rig_feed(&r, slice_str(GET));
	rig_fail(&r, reason_cut);
	assert_string_equal(rig_log(&r), "");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	assert_true(r.h1.codec.cut); /* never made to look complete */
	assert_null(strstr(rig_out(&r), "0\r\n\r\n"));
	rig_fini(&r);
}

/* The end of a body that says how long it is shows by itself, and what came of it may be of use. */
static void what_came_of_a_framed_body_is_not_lost(void **state)
{
	static const uint8_t kinds[] = { BODY_CHUNKED, BODY_LENGTH, BODY_CLOSE };

	(void)state;
	for (size_t i = 0; i < sizeof(kinds); i++) {
		struct rig r;

		begin_get(&r, "GET / HTTP/1.0\r\nHost: a\r\n\r\n");
		r.h1.minor = kinds[i] == BODY_CLOSE ? 0 : 1;
		head_of(&r, 200, kinds[i] == BODY_LENGTH ? BODY_LENGTH : BODY_CHUNKED, 9, false);
		body_of(&r, "abc", false);
		r.stream->ops->reset(r.stream, reason_upstream_truncated);
		assert_int_equal(r.h1.codec.cut, kinds[i] == BODY_CLOSE);
		assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
		assert_non_null(strstr(rig_out(&r), "abc"));
		rig_fini(&r);
	}
}

static void a_body_shorter_than_said_is_cut(void **state)
{
	struct rig r;

	(void)state;
	begin_get(&r, GET);
	head_of(&r, 200, BODY_LENGTH, 5, false);
	body_of(&r, "abc", true);
	rig_drain(&r);
	rig_feed(&r, slice_of("", 0));
	assert_string_equal(rig_log(&r), "gone upstream_truncated\n");
	assert_true(r.h1.codec.cut);
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void memory_that_is_out_ends_one_call(void **state)
{
	struct rig r;
	struct head h;

	(void)state;
	/* no arena: nobody is there to be told */
	rig_init_server(&r);
	r.arena_fails = true;
	rig_feed(&r, slice_str(GET));
	assert_string_equal(rig_log(&r), "");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
	/* no room for the head: the op says so */
	begin_get(&r, GET);
	r.reserve_fails = true;
	head_init(&h, &r.arena);
	h.status = 200;
	assert_false(r.stream->ops->head(r.stream, &h, true));
	rig_fini(&r);
	/* no room for a chunk: told later */
	begin_get(&r, GET);
	head_of(&r, 200, BODY_CHUNKED, 0, false);
	r.reserve_fails = true;
	body_of(&r, "x", false);
	body_of(&r, "y", true);
	assert_string_equal(rig_log(&r), "");
	rig_feed(&r, slice_of("", 0));
	assert_string_equal(rig_log(&r), "gone out_of_memory\n");
	assert_true(r.h1.codec.cut);
	rig_fini(&r);
}

/*---------------------------------------- tunnels */

#define UPGRADE "GET /ws HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"

static void begin_tunnel(struct rig *r)
{
	begin_get(r, UPGRADE);
	assert_int_equal(rig_feed(r, slice_str("early")), 0);
	head_of(r, 101, BODY_TUNNEL, 0, false);
	assert_string_equal(rig_out(r),
			    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			    "Upgrade: websocket\r\n\r\n");
	rig_drain(r);
}

static void a_tunnel_carries_bytes_both_ways(void **state)
{
	struct rig r;

	(void)state;
	begin_tunnel(&r);
	assert_int_equal(rig_feed(&r, slice_str("early")), 5);
	rig_feed(&r, slice_str(GET));
	body_of(&r, "down", false);
	rig_drain(&r);
	assert_string_equal(rig_out(&r), "down");
	assert_string_equal(rig_log(&r), "body earlyGET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n\n");
	/* the client is done, the other half goes on */
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "body  end\n");
	rig_eof(&r);
	body_of(&r, "more", false);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "");
	assert_int_equal(r.h1.codec.phase, CODEC_BUSY);
	assert_false(r.h1.codec.shut);
	body_of(&r, "", true);
	assert_true(r.h1.codec.shut);
	rig_feed(&r, slice_of("", 0));
	assert_string_equal(rig_log(&r), "gone -\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	assert_false(r.h1.codec.cut);
	rig_fini(&r);
}

static void a_tunnel_ends_from_within_too(void **state)
{
	struct rig r;

	(void)state;
	begin_tunnel(&r);
	rig_feed(&r, slice_str("early"));
	body_of(&r, "bye", true);
	assert_true(r.h1.codec.shut);
	rig_drain(&r);
	assert_string_equal(rig_log(&r), "body early\n");
	rig_feed(&r, slice_str("x"));
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "body x end\ngone -\n");
	rig_fini(&r);
}

static void a_paused_tunnel_hears_its_end_later(void **state)
{
	struct rig r;

	(void)state;
	begin_tunnel(&r);
	pause_of(&r, true);
	rig_eof(&r);
	assert_int_equal(rig_feed(&r, slice_str("early")), 0);
	assert_string_equal(rig_log(&r), "");
	pause_of(&r, false);
	rig_feed(&r, slice_str("early"));
	assert_string_equal(rig_log(&r), "body early end\n");
	rig_fini(&r);
}

static void a_tunnel_must_be_asked_for(void **state)
{
	struct rig r;
	struct head h;

	(void)state;
	begin_get(&r, GET);
	head_init(&h, &r.arena);
	h.status = 101;
	assert_false(r.stream->ops->head(r.stream, &h, false));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_framed_for_the_peer),
		cmocka_unit_test(chunks_large_and_small_are_whole),
		cmocka_unit_test(trailers_go_where_they_can),
		cmocka_unit_test(interim_answers_come_first),
		cmocka_unit_test(a_body_waits_for_the_owner),
		cmocka_unit_test(a_pause_inside_an_event_holds),
		cmocka_unit_test(room_comes_at_low_water),
		cmocka_unit_test(an_unwanted_body_is_dropped_or_ends_the_connection),
		cmocka_unit_test(a_body_dropped_before_the_answer_is_written_counts_too),
		cmocka_unit_test(an_early_answer_lets_the_upload_go_on),
		cmocka_unit_test(a_broken_body_after_the_head_is_cut),
		cmocka_unit_test(the_last_answer_says_so),
		cmocka_unit_test(a_half_close_is_no_abort),
		cmocka_unit_test(a_half_close_is_an_abort_where_it_is_said),
		cmocka_unit_test(pipelined_requests_before_a_half_close_are_answered),
		cmocka_unit_test(a_paused_body_before_a_half_close_is_taken),
		cmocka_unit_test(failure_ends_the_stream_once),
		cmocka_unit_test(a_slow_head_is_answered),
		cmocka_unit_test(a_reset_stream_hears_nothing_more),
		cmocka_unit_test(what_came_of_a_framed_body_is_not_lost),
		cmocka_unit_test(a_body_shorter_than_said_is_cut),
		cmocka_unit_test(memory_that_is_out_ends_one_call),
		cmocka_unit_test(a_tunnel_carries_bytes_both_ways),
		cmocka_unit_test(a_tunnel_ends_from_within_too),
		cmocka_unit_test(a_paused_tunnel_hears_its_end_later),
		cmocka_unit_test(a_tunnel_must_be_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
