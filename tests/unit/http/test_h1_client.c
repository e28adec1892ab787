/* test_h1_client.c - the client role: requests as written, and when a connection may be used again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "calls.h"

static void a_client_tunnel_ends_one_half_at_a_time(void **state)
{
	struct rig r;

	(void)state;
	init_client_upgrade(&r);
	rig_feed(
	    &r, slice_str("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhi"));
	rig_log(&r);
	rig_out(&r);
	rig_eof(&r);
	rig_eof(&r);
	assert_string_equal(rig_log(&r), "body  end\n");
	body_of(&r, "up", true);
	assert_true(r.h1.codec.shut);
	rig_drain(&r);
	assert_string_equal(rig_out(&r), "up");
	assert_string_equal(rig_log(&r), "gone -\n");
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

/*---------------------------------------- requests, as written */

struct asked {
	const char *method, *path, *query, *authority;
	uint8_t body;
	uint64_t length;
	const char *text; /* NULL: head with end */
	const char *out;
};

static const struct asked asked[] = {
	{ "GET", "/", NULL, "a", BODY_NONE, 0, NULL, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" },
	{ "GET", "/", "", "", BODY_NONE, 0, NULL, "GET /? HTTP/1.1\r\nHost: \r\nX: y\r\n\r\n" },
	{ "OPTIONS", "*", NULL, "a", BODY_NONE, 0, NULL,
	  "OPTIONS * HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" },
	{ "POST", "/", NULL, "a", BODY_NONE, 0, NULL,
	  "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 0\r\n\r\n" },
	{ "PUT", "/", NULL, "a", BODY_NONE, 0, NULL,
	  "PUT / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 0\r\n\r\n" },
	{ "DELETE", "/", NULL, "a", BODY_NONE, 0, NULL,
	  "DELETE / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n" },
	{ "POST", "/", NULL, "a", BODY_LENGTH, 3, "abc",
	  "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 3\r\n\r\nabc" },
	{ "POST", "/", NULL, "a", BODY_LENGTH, 0, "",
	  "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nContent-Length: 0\r\n\r\n" },
	{ "POST", "/", NULL, "a", BODY_CHUNKED, 0, "abc",
	  "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nTransfer-Encoding: "
	  "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" },
};

static void fill_request(struct rig *r, struct head *h, const struct asked *a)
{
	static const char *const never[] = { "Host",           "Connection",        "Keep-Alive",
					     "Content-Length", "Transfer-Encoding", "Upgrade" };

	head_init(h, &r->arena);
	h->method = slice_str(a->method);
	h->method_id = (uint8_t)method_lookup(h->method);
	h->path = slice_str(a->path);
	h->query = slice_str(a->query);
	h->authority = slice_str(a->authority);
	h->body = a->body;
	h->length = a->length;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_true(head_add_name(h, slice_str(never[i]), slice_str("z")));
	assert_true(head_add_name(h, slice_str("X"), slice_str("y")));
}

static void requests_are_written_canonically(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		struct stream *s;
		struct head h;
		struct rig r;

		rig_init_client(&r);
		s = rig_open(&r);
		assert_int_equal(r.h1.codec.phase, CODEC_HEAD);
		fill_request(&r, &h, &asked[i]);
		assert_true(s->ops->head(s, &h, asked[i].text == NULL));
		if (asked[i].text != NULL)
			s->ops->body(s, slice_str(asked[i].text), true);
		rig_drain(&r);
		assert_string_equal(rig_out(&r), asked[i].out);
		rig_feed(&r, slice_str("HTTP/1.1 204 X\r\n\r\n"));
		assert_true(h1_reusable(&r.h1));
		rig_fini(&r);
	}
}

/*---------------------------------------- use of upstream connections */

static void open_again(struct rig *r, const struct reason *why)
{
	assert_null(why);
	r->on_gone = NULL;
	assert_true(h1_reusable(&r->h1));
	send_request(r, "GET", NULL);
}

static void a_connection_can_be_used_again_within_gone(void **state)
{
	struct rig r;

	(void)state;
	init_client_get(&r);
	r.on_gone = open_again;
	rig_feed(&r, slice_str("HTTP/1.1 204 X\r\n\r\n"));
	assert_non_null(r.stream);
	assert_int_equal(r.h1.codec.phase, CODEC_HEAD);
	rig_feed(&r, slice_str("HTTP/1.1 304 X\r\n\r\n"));
	assert_null(r.stream);
	assert_true(h1_reusable(&r.h1));
	assert_string_equal(rig_out(&r), ASKED ASKED);
	rig_fini(&r);
}

static void bytes_nobody_asked_for_end_the_connection(void **state)
{
	struct rig r;

	(void)state;
	/* with the answer */
	init_client_get(&r);
	rig_feed(&r, slice_str("HTTP/1.1 204 X\r\n\r\nx"));
	assert_false(h1_reusable(&r.h1));
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_log(&r);
	rig_fini(&r);
	/* after it */
	init_client_get(&r);
	rig_feed(&r, slice_str("HTTP/1.1 204 X\r\n\r\n"));
	assert_true(h1_reusable(&r.h1));
	rig_feed(&r, slice_str("H"));
	assert_false(h1_reusable(&r.h1));
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
	/* before the request */
	rig_init_client(&r);
	rig_open(&r);
	rig_feed(&r, slice_str("HTTP/1.1 408 X\r\n\r\n"));
	assert_string_equal(rig_log(&r), "gone upstream_reset\n");
	rig_fini(&r);
}

static void an_answer_before_the_end_of_the_request_spends_the_connection(void **state)
{
	static const struct asked post = { "POST", "/", NULL, "a", BODY_LENGTH, 5, "", "" };
	struct head h;
	struct rig r;

	(void)state;
	rig_init_client(&r);
	rig_open(&r);
	fill_request(&r, &h, &post);
	assert_true(r.stream->ops->head(r.stream, &h, false));
	body_of(&r, "he", false);
	rig_drain(&r);
	rig_feed(&r, slice_str("HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n"));
	assert_string_equal(rig_log(&r),
			    "head 413 X 1.1 body=1:0 keep end Content-Length=0\ngone -\n");
	assert_false(h1_reusable(&r.h1));
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void idle_connections_close_quietly(void **state)
{
	struct rig r;

	(void)state;
	rig_init_client(&r);
	rig_eof(&r);
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	assert_false(h1_reusable(&r.h1));
	rig_fini(&r);
	/* a stream that was never used leaves the connection as it was */
	rig_init_client(&r);
	rig_open(&r);
	r.stream->ops->reset(r.stream, reason_client_abort);
	assert_true(h1_reusable(&r.h1));
	assert_int_equal(r.h1.codec.phase, CODEC_IDLE);
	rig_fini(&r);
	/* one that was used does not */
	init_client_get(&r);
	r.stream->ops->reset(r.stream, reason_client_abort);
	assert_false(h1_reusable(&r.h1));
	assert_int_equal(r.h1.codec.phase, CODEC_CLOSED);
	rig_fini(&r);
}

static void a_paused_answer_waits(void **state)
{
	const char *answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
	struct rig r;
	size_t used;

	(void)state;
	init_client_get(&r);
	pause_of(&r, true);
	used = rig_feed(&r, slice_str(answer));
	assert_int_equal(used, strlen(answer) - 3);
	assert_false(r.h1.codec.ops->wants_read(&r.h1.codec));
	rig_eof(&r); /* held back with what came before it */
	rig_log(&r);
	pause_of(&r, false);
	rig_feed(&r, slice_str("abc"));
	assert_string_equal(rig_log(&r), "body abc end\ngone -\n");
	assert_false(h1_reusable(&r.h1));
	rig_fini(&r);
	/* until close */
	init_client_get(&r);
	rig_feed(&r, slice_str("HTTP/1.1 200 OK\r\n\r\nabc"));
	pause_of(&r, true);
	rig_eof(&r);
	rig_log(&r);
	pause_of(&r, false);
	rig_feed(&r, slice_of("", 0));
	assert_string_equal(rig_log(&r), "body  end\ngone -\n");
	rig_fini(&r);
}

static void endless_interim_heads_are_malformed(void **state)
{
	struct rig r;

	(void)state;
	init_client_get(&r);
	for (int i = 0; i < 100; i++)
		rig_feed(&r, slice_str("HTTP/1.1 102 X\r\n\r\n"));
	assert_non_null(r.stream);
	rig_feed(&r, slice_str("HTTP/1.1 102 X\r\n\r\n"));
	assert_null(r.stream);
	assert_non_null(strstr(rig_log(&r), "gone upstream_malformed\n"));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_tunnel_ends_one_half_at_a_time),
		cmocka_unit_test(requests_are_written_canonically),
		cmocka_unit_test(a_connection_can_be_used_again_within_gone),
		cmocka_unit_test(bytes_nobody_asked_for_end_the_connection),
		cmocka_unit_test(an_answer_before_the_end_of_the_request_spends_the_connection),
		cmocka_unit_test(idle_connections_close_quietly),
		cmocka_unit_test(a_paused_answer_waits),
		cmocka_unit_test(endless_interim_heads_are_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
