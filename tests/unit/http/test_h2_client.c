/* test_h2_client.c - the HTTP/2 client codec: requests as written, answers, what is refused, who
 * may go again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "h2_rig.h"

static struct stream *open_call(struct h2_rig *r)
{
	struct call2 *c = rig2_call(r);
	struct stream *s = h2_client_open(&r->h2, &c->arena);

	assert_non_null(s);
	rig2_attach(r, s);
	return s;
}

static void fill(struct h2_rig *r, struct head *h, const char *method, uint8_t body,
		 uint64_t length)
{
	head_init(h, &r->calls[r->n_calls].arena);
	h->method = slice_str(method);
	h->method_id = (uint8_t)method_lookup(h->method);
	h->path = slice_str("/p");
	h->query = slice_str("q=1");
	h->authority = slice_str("up:80");
	h->body = body;
	h->length = length;
}

static struct stream *ask(struct h2_rig *r, const char *method)
{
	struct stream *s = open_call(r);
	struct head h;

	fill(r, &h, method, BODY_NONE, 0);
	assert_true(s->ops->head(s, &h, true));
	rig2_drain(r);
	return s;
}

#define ASKED2(id, method)                    \
	"headers " #id " end :method=" method \
	" :scheme=http :authority=up:80 :path=/p?q=1 te=trailers\n"

static void init_asked(struct h2_rig *r, const char *method)
{
	rig2_init(r, true);
	ask(r, method);
	rig2_out(r);
	rig2_say(r, "settings 3=100\nsettings-ack");
	rig2_out(r);
	rig2_log(r);
}

/*---------------------------------------- requests */

/* Sections 3.4 and 8.3.1. */
static void the_preface_and_a_request(void **state)
{
	struct h2_rig r;

	(void)state;
	rig2_init(&r, true);
	assert_string_equal(rig2_out(&r), "");
	ask(&r, "GET");
	assert_string_equal(
	    rig2_out(&r), "preface\nsettings 2=0 4=65536 6=4096\nwindow 983041\n" ASKED2(1, "GET"));
	ask(&r, "DELETE");
	assert_string_equal(rig2_out(&r), ASKED2(3, "DELETE"));
	rig2_fini(&r);
}

static void fields_that_http2_has_not_stay_here(void **state)
{
	static const char *const never[] = { "Connection",      "Keep-Alive", "Transfer-Encoding",
					     "Upgrade",         "Host",       "TE",
					     "Proxy-Connection" };
	struct h2_rig r;
	struct stream *s;
	struct head h;

	(void)state;
	rig2_init(&r, true);
	s = open_call(&r);
	fill(&r, &h, "POST", BODY_LENGTH, 3);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_true(head_add_name(&h, slice_str(never[i]), slice_str("x")));
	assert_true(head_add_name(&h, slice_str("X-Key"), slice_str(" v ")));
	assert_true(s->ops->head(s, &h, false));
	s->ops->body(s, slice_str("abc"), true);
	assert_non_null(strstr(rig2_out(&r),
			       "headers 1 :method=POST :scheme=http :authority=up:80 :path=/p?q=1 "
			       "x-key=v content-length=3 te=trailers\ndata 1 end abc\n"));
	rig2_fini(&r);
}

/*---------------------------------------- answers */

struct answered {
	const char *method, *in, *log;
};

static const struct answered answers[] = {
	{ "GET", "headers 1 :status=200 x=y\ndata 1 end ok",
	  "head 1 200 chunked x=y\nbody 1 ok end\ngone 1 -\n" },
	{ "GET", "headers 1 :status=200 content-length=2\ndata 1 o\ndata 1 end k",
	  "head 1 200 length:2 Content-Length=2\nbody 1 ok end\ngone 1 -\n" },
	{ "GET", "headers 1 end :status=200", "head 1 200 none end\ngone 1 -\n" },
	{ "GET", "headers 1 end :status=204 content-length=0",
	  "head 1 204 none end Content-Length=0\ngone 1 -\n" },
	{ "GET", "headers 1 end :status=304 content-length=9",
	  "head 1 304 length:9 end Content-Length=9\ngone 1 -\n" },
	{ "HEAD", "headers 1 end :status=200 content-length=9",
	  "head 1 200 length:9 end Content-Length=9\ngone 1 -\n" },
	{ "HEAD", "headers 1 :status=200 content-length=9\ndata 1 end",
	  "head 1 200 length:9 Content-Length=9\nbody 1 end\ngone 1 -\n" },
	{ "GET", "headers 1 :status=103 x=y\nheaders 1 end :status=200",
	  "head 1 103 none x=y\nhead 1 200 none end\ngone 1 -\n" },
	{ "GET", "headers 1 :status=200\ndata 1 a\nheaders 1 end grpc-status=0",
	  "head 1 200 chunked\nbody 1 a\ntrailers 1  grpc-status=0\ngone 1 -\n" },
	/* 8.1.1, 8.2, 8.3.2 */
	{ "GET", "headers 1 end x=y", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=2000", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=099", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 :status=101", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=100", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 :status=200", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 :path=/", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 connection=close", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 X=y", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 x=a\rb", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 end :status=200 content-length=1", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 :status=200 content-length=1\ndata 1 end ab",
	  "head 1 200 length:1 Content-Length=1\ngone 1 upstream_malformed\n" },
	{ "GET", "headers 1 :status=200 content-length=3\ndata 1 end ab",
	  "head 1 200 length:3 Content-Length=3\ngone 1 upstream_malformed\n" },
	{ "HEAD", "headers 1 :status=200\ndata 1 end a",
	  "head 1 200 none\ngone 1 upstream_malformed\n" },
	{ "GET", "data 1 end a", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 1 :status=200\nheaders 1 x=y",
	  "head 1 200 chunked\ngone 1 upstream_malformed\n" },
	/* 5.4.2, 7 */
	{ "GET", "rst 1 7", "gone 1 upstream_refused\n" },
	{ "GET", "rst 1 8", "gone 1 upstream_reset\n" },
	{ "GET", "headers 1 :status=200\nrst 1 7",
	  "head 1 200 chunked\ngone 1 upstream_truncated\n" },
	/* 6.8 */
	{ "GET", "goaway 0 0", "gone 1 upstream_refused\n" },
	{ "GET", "goaway 1 0\nheaders 1 end :status=200", "head 1 200 none end\ngone 1 -\n" },
	/* what no server does */
	{ "GET", "headers 3 end :status=200", "gone 1 upstream_malformed\n" },
	{ "GET", "headers 2 end :status=200", "gone 1 upstream_malformed\n" },
	{ "GET", "frame 5 4 1 00000002", "gone 1 upstream_malformed\n" },
	{ "GET", "settings 2=1", "gone 1 upstream_malformed\n" },
};

static void answer_as_cut(const struct answered *a, size_t step)
{
	struct buf in = { .p = NULL };
	struct h2_rig r;
	size_t used = 0, have = 0;
	const char *log;

	init_asked(&r, a->method);
	script(&in, a->in);
	while (have < in.n) {
		have = have + step < in.n ? have + step : in.n;
		used += rig2_feed(&r, slice_of(in.p + used, have - used));
	}
	log = rig2_log(&r);
	if (strcmp(log, a->log) != 0)
		printf("%s: %s\n", a->method, a->in);
	assert_string_equal(log, a->log);
	buf_fini(&in);
	rig2_fini(&r);
}

static void answers_are_taken_or_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		answer_as_cut(&answers[i], 1);
		answer_as_cut(&answers[i], 7);
		answer_as_cut(&answers[i], 1 << 20);
	}
}

/* An answer may be over before its request is: the rest of that is of no use. */
static void an_early_answer_ends_the_request(void **state)
{
	struct h2_rig r;
	struct stream *s;
	struct head h;

	(void)state;
	rig2_init(&r, true);
	s = open_call(&r);
	fill(&r, &h, "POST", BODY_CHUNKED, 0);
	assert_true(s->ops->head(s, &h, false));
	s->ops->body(s, slice_str("abc"), false);
	rig2_say(&r, "settings");
	rig2_out(&r);
	rig2_say(&r, "headers 1 end :status=413");
	assert_string_equal(rig2_log(&r), "head 1 413 none end\ngone 1 -\n");
	assert_string_equal(rig2_out(&r), "rst 1 8\n");
	assert_int_equal(h2_client_room(&r.h2), 100);
	rig2_fini(&r);
}

/*---------------------------------------- the connection */

static void room_is_what_the_peer_allows(void **state)
{
	struct h2_rig r;

	(void)state;
	rig2_init(&r, true);
	assert_int_equal(h2_client_room(&r.h2), 100);
	ask(&r, "GET");
	rig2_say(&r, "settings 3=2");
	assert_int_equal(h2_client_room(&r.h2), 1);
	ask(&r, "GET");
	assert_int_equal(h2_client_room(&r.h2), 0);
	rig2_say(&r, "headers 1 end :status=200");
	assert_int_equal(h2_client_room(&r.h2), 1);
	rig2_say(&r, "goaway 3 0");
	assert_int_equal(h2_client_room(&r.h2), 0);
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_say(&r, "headers 3 end :status=200");
	assert_int_equal(r.h2.codec.phase, CODEC_CLOSED);
	rig2_fini(&r);
}

/* Many say that there is no bound: 2^30 - 1, 2^31 - 1 and 2^32 - 1 are all in use. */
static void no_peer_allows_too_much(void **state)
{
	static const char *const some[] = { "1025", "0x3fffffff", "0x40000000", "0x7fffffff",
					    "0xffffffff" };

	(void)state;
	for (size_t i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		struct h2_rig r;
		char say[50];

		init_asked(&r, "GET");
		snprintf(say, sizeof(say), "settings 3=%s", some[i]);
		rig2_say(&r, say);
		for (unsigned n = 1; n < 1024; n++) {
			assert_int_equal(h2_client_room(&r.h2), 1024 - n);
			ask(&r, "GET");
		}
		assert_int_equal(h2_client_room(&r.h2), 0);
		rig2_fini(&r);
	}
}

/* Those of many clients share a connection: who does not read stops nobody else. */
static void paused_answers_stop_nobody(void **state)
{
	struct h2_rig r;
	char say[100];

	(void)state;
	rig2_init(&r, true);
	r.quiet_bodies = true;
	for (unsigned i = 0; i < 90; i++) {
		struct stream *s = ask(&r, "GET");

		s->ops->pause(s, i < 89);
	}
	rig2_say(&r, "settings\nsettings-ack");
	for (unsigned i = 0; i < 90; i++) {
		snprintf(say, sizeof(say), "headers %u :status=200\nxs %u 65536", 2 * i + 1,
			 2 * i + 1);
		rig2_say(&r, say);
	}
	assert_int_equal(r.calls[90].bytes, 65536);
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	rig2_fini(&r);
}

/* They wait for the settings, which may say that there is no room for them. */
static void tunnels_keep_to_the_room_that_the_settings_leave(void **state)
{
	struct h2_rig r;
	struct head h[2];

	(void)state;
	rig2_init(&r, true);
	ask(&r, "GET");
	for (unsigned i = 0; i < 2; i++) {
		struct stream *s = open_call(&r);

		fill(&r, &h[i], "GET", BODY_NONE, 0);
		h[i].upgrade = true;
		assert_true(head_add_name(&h[i], slice_str("Upgrade"), slice_str("websocket")));
		assert_true(s->ops->head(s, &h[i], true));
	}
	rig2_out(&r);
	rig2_say(&r, "settings 3=2 8=1");
	assert_non_null(strstr(rig2_out(&r), "headers 3 :method=CONNECT :protocol=websocket"));
	assert_string_equal(rig2_log(&r), "gone 2 upstream_refused\n");
	rig2_fini(&r);
}

static void the_end_of_the_input_ends_what_is_unanswered(void **state)
{
	struct h2_rig r;
	struct stream *held;

	(void)state;
	rig2_init(&r, true);
	held = ask(&r, "GET");
	ask(&r, "GET");
	held->ops->pause(held, true);
	rig2_say(&r, "settings\nheaders 1 :status=200\ndata 1 end all");
	rig2_log(&r);
	r.h2.codec.ops->eof(&r.h2.codec);
	assert_string_equal(rig2_log(&r), "gone 2 upstream_reset\n");
	assert_int_equal(r.h2.codec.phase, CODEC_BUSY);
	held->ops->pause(held, false);
	rig2_feed(&r, slice_of(NULL, 0));
	assert_string_equal(rig2_log(&r), "body 1 all end\ngone 1 -\n");
	assert_int_equal(r.h2.codec.phase, CODEC_CLOSED);
	rig2_fini(&r);
}

/* It is not waited for: nobody keeps the time of an upstream that lingers. */
static void one_that_breaks_the_rules_is_closed_at_once(void **state)
{
	struct h2_rig r;

	(void)state;
	init_asked(&r, "GET");
	rig2_say(&r, "ping 12345678\ndata 0 x");
	assert_int_equal(r.h2.codec.phase, CODEC_CLOSED);
	rig2_fini(&r);
}

static void a_reset_says_cancel_and_the_others_go_on(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	init_asked(&r, "GET");
	s = ask(&r, "GET");
	rig2_out(&r);
	s->ops->reset(s, reason_client_abort);
	assert_string_equal(rig2_out(&r), "rst 3 8\n");
	rig2_say(&r, "headers 3 end :status=200\nheaders 1 end :status=200");
	assert_string_equal(rig2_log(&r), "head 1 200 none end\ngone 1 -\n");
	rig2_fini(&r);
}

static void one_that_was_never_used_leaves_no_trace(void **state)
{
	struct h2_rig r;
	struct stream *s;

	(void)state;
	rig2_init(&r, true);
	s = open_call(&r);
	s->ops->reset(s, reason_client_abort);
	assert_string_equal(rig2_out(&r), "");
	ask(&r, "GET");
	assert_non_null(strstr(rig2_out(&r), ASKED2(1, "GET")));
	rig2_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_preface_and_a_request),
		cmocka_unit_test(fields_that_http2_has_not_stay_here),
		cmocka_unit_test(answers_are_taken_or_refused),
		cmocka_unit_test(an_early_answer_ends_the_request),
		cmocka_unit_test(room_is_what_the_peer_allows),
		cmocka_unit_test(no_peer_allows_too_much),
		cmocka_unit_test(paused_answers_stop_nobody),
		cmocka_unit_test(tunnels_keep_to_the_room_that_the_settings_leave),
		cmocka_unit_test(the_end_of_the_input_ends_what_is_unanswered),
		cmocka_unit_test(one_that_breaks_the_rules_is_closed_at_once),
		cmocka_unit_test(a_reset_says_cancel_and_the_others_go_on),
		cmocka_unit_test(one_that_was_never_used_leaves_no_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
