/* test_h1.c - the codec: what it tells and writes, however the input is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "calls.h"

/*---------------------------------------- cutting */

struct dialogue {
	const char *name, *in, *log, *out;
	uint8_t phase;
	void (*init)(struct rig *);
	size_t n; /* of `in`, when it holds NUL */
	bool eof;
};

/* Feeds in[0..n) cut at each of `cuts` (ascending), keeping what is left over as a connection does.
 */
static void feed_cut(struct rig *r, struct slice in, const size_t *cuts, size_t n_cuts)
{
	size_t from = 0;

	for (size_t i = 0; i <= n_cuts; i++) {
		size_t to = i < n_cuts ? cuts[i] : in.n;

		from += rig_feed(r, slice_of(in.p + from, to - from));
	}
}

static void check_dialogue(const struct dialogue *d, const size_t *cuts, size_t n_cuts)
{
	struct slice in = d->n > 0 ? slice_of(d->in, d->n) : slice_str(d->in);
	struct rig r;
	const char *log, *out;

	d->init(&r);
	feed_cut(&r, in, cuts, n_cuts);
	if (d->eof)
		rig_eof(&r);
	log = rig_log(&r);
	out = rig_out(&r);
	if (strcmp(log, d->log) != 0 || (d->out != NULL && strcmp(out, d->out) != 0) ||
	    r.h1.codec.phase != d->phase)
		print_error("%s (first cut %zu of %zu):\n%sphase %u\n%s\n", d->name,
			    n_cuts ? cuts[0] : 0, n_cuts, log, r.h1.codec.phase, out);
	assert_string_equal(log, d->log);
	if (d->out != NULL)
		assert_string_equal(out, d->out);
	assert_int_equal(r.h1.codec.phase, d->phase);
	rig_fini(&r);
}

/* Whole, cut in two at every place, and byte by byte. */
static void check_every_cut(const struct dialogue *d)
{
	size_t n = d->n > 0 ? d->n : strlen(d->in);
	size_t *all = malloc((n + 1) * sizeof(*all));

	check_dialogue(d, NULL, 0);
	for (size_t cut = 0; cut <= n; cut++)
		check_dialogue(d, &cut, 1);
	for (size_t i = 0; i < n; i++)
		all[i] = i;
	check_dialogue(d, all, n);
	free(all);
}

/*---------------------------------------- server dialogues */

#define OK       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define OK_CLOSE "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
#define OK_KEEP  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok"

static const struct dialogue server_dialogues[] = {
	{ "get", GET, "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n", OK, CODEC_IDLE,
	  init_answering },
	{ "leading empty lines", "\r\n\r\n" GET,
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n", OK, CODEC_IDLE,
	  init_answering },
	{ "pipelining", GET "HEAD /2?q HTTP/1.1\r\n" HOST "\r\n" GET,
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n"
	  "request HEAD /2?q @a 1.1 body=0:0 keep end Host=a\ngone -\n"
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n",
	  OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" OK, CODEC_IDLE, init_answering },
	{ "length", "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello" GET,
	  "request POST /p @a 1.1 body=1:5 keep Host=a Content-Length=5\nbody hello end\ngone -\n"
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n",
	  OK OK, CODEC_IDLE, init_answering },
	{ "length 0", "POST /p HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
	  "request POST /p @a 1.1 body=1:0 keep end Host=a Content-Length=0\ngone -\n", OK,
	  CODEC_IDLE, init_answering },
	{ "chunked",
	  "POST /p HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=\"b;\\\"\"\r\n "
	  "world\r\n0\r\n\r\n" GET,
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\nbody hello world "
	  "end\ngone -\n"
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n",
	  OK OK, CODEC_IDLE, init_answering },
	{ "trailers",
	  "POST /p HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\ngrpc-status: 0\r\nContent-Length: "
	  "7\r\nHost: b\r\nx: y\r\n\r\n" GET,
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\nbody x\ntrailers "
	  "grpc-status=0 x=y\ngone -\n"
	  "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n",
	  OK OK, CODEC_IDLE, init_answering },
	{ "forbidden trailers only",
	  "POST /p HTTP/1.1\r\n" HOST
	  "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 7\r\n\r\n",
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\nbody x end\ngone "
	  "-\n",
	  OK, CODEC_IDLE, init_answering },
	{ "bad chunk",
	  "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n" GET,
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\nbody x\nbad "
	  "bad_chunk\ngone -\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\nConnection: close\r\n\r\nbad_chunk",
	  CODEC_LINGER, init_answering },
	{ "bad trailer",
	  "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nx : y\r\n\r\n",
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\nbad "
	  "bad_field\ngone -\n",
	  NULL, CODEC_LINGER, init_answering },
	{ "1.0", "GET / HTTP/1.0\r\n\r\n", "request GET / @ 1.0 body=0:0 end\ngone -\n", OK_CLOSE,
	  CODEC_CLOSED, init_answering },
	{ "1.0 keep-alive",
	  "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
	  "request GET / @ 1.0 body=0:0 keep end Connection=Keep-Alive\ngone -\n"
	  "request GET / @ 1.0 body=0:0 end\ngone -\n",
	  OK_KEEP OK_CLOSE, CODEC_CLOSED, init_answering },
	{ "close", "GET / HTTP/1.1\r\n" HOST "Connection: x, close\r\n\r\n",
	  "request GET / @a 1.1 body=0:0 end Host=a Connection=x, close\ngone -\n", OK_CLOSE,
	  CODEC_CLOSED, init_answering },
	{ "absolute form", "GET http://A:80/x?y HTTP/1.1\r\n" HOST "\r\n",
	  "request GET /x?y @A:80 1.1 body=0:0 keep end Host=a\ngone -\n", OK, CODEC_IDLE,
	  init_answering },
	{ "options *", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n",
	  "request OPTIONS * @a 1.1 body=0:0 keep end Host=a\ngone -\n", OK, CODEC_IDLE,
	  init_answering },
	{ "refused", "GET / HTTP/1.1\r\nHost : a\r\n\r\n" GET, "refused bad_field GET /\ngone -\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\nConnection: close\r\n\r\nbad_field",
	  CODEC_LINGER, init_answering },
	{ "refused HEAD", "HEAD /x HTTP/1.1\r\n\r\n", "refused bad_host HEAD /x\ngone -\n",
	  "HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\nConnection: close\r\n\r\n",
	  CODEC_LINGER, init_answering },
	{ "bare LF", "GET /x HTTP/1.1\r\nHost: a\nx: y\r\n\r\n",
	  "refused bad_request GET /x\ngone -\n", NULL, CODEC_LINGER, init_answering },
	{ "NUL", "GET /x HTTP/1.1\r\nHost: a\0\r\n\r\n", "refused bad_request GET /x\ngone -\n",
	  NULL, CODEC_LINGER, init_answering, 28 },
	{ "too many empty lines", "\r\n\r\n\r\n\r\n\r\n" GET, "refused bad_request  \ngone -\n",
	  NULL, CODEC_LINGER, init_answering },
	{ "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "refused bad_version PRI *\ngone -\n",
	  "HTTP/1.1 505 HTTP Version Not Supported\r\nContent-Length: 11\r\nConnection: "
	  "close\r\n\r\nbad_version",
	  CODEC_LINGER, init_answering },
	{ "eof at rest", GET, "request GET / @a 1.1 body=0:0 keep end Host=a\ngone -\n", OK,
	  CODEC_CLOSED, init_answering, .eof = true },
	{ "eof in a head", "GET / HT", "", "", CODEC_CLOSED, init_answering, .eof = true },
	{ "eof in a body", "POST /p HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel",
	  "request POST /p @a 1.1 body=1:5 keep Host=a Content-Length=5\nbody hel\ngone "
	  "client_abort\n",
	  "", CODEC_CLOSED, init_answering, .eof = true },
	{ "eof in a trailer",
	  "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n",
	  "request POST /p @a 1.1 body=2:0 keep Host=a Transfer-Encoding=chunked\ngone "
	  "client_abort\n",
	  "", CODEC_CLOSED, init_answering, .eof = true },
};

static void server_tells_the_same_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(server_dialogues) / sizeof(server_dialogues[0]); i++)
		check_every_cut(&server_dialogues[i]);
}

/*---------------------------------------- client dialogues */

static const struct dialogue client_dialogues[] = {
	{ "length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
	  "head 200 OK 1.1 body=1:3 keep Content-Length=3\nbody abc end\ngone -\n", ASKED,
	  CODEC_IDLE, init_client_get },
	{ "length 0", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	  "head 200 OK 1.1 body=1:0 keep end Content-Length=0\ngone -\n", ASKED, CODEC_IDLE,
	  init_client_get },
	{ "chunked",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	  "Chunked\r\n\r\n3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\n\r\n",
	  "head 200 OK 1.1 body=2:0 keep Transfer-Encoding=Chunked\nbody abc0123456789 end\ngone "
	  "-\n",
	  ASKED, CODEC_IDLE, init_client_get },
	{ "trailers",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: u\r\n\r\n",
	  "head 200 OK 1.1 body=2:0 keep Transfer-Encoding=chunked\nbody abc\ntrailers t=u\ngone "
	  "-\n",
	  ASKED, CODEC_IDLE, init_client_get },
	{ "until close", "HTTP/1.1 200\r\n\r\nabc",
	  "head 200  1.1 body=3:0\nbody abc end\ngone -\n", ASKED, CODEC_CLOSED, init_client_get,
	  .eof = true },
	{ "until close, no end", "HTTP/1.0 200 OK\r\n\r\nabc",
	  "head 200 OK 1.0 body=3:0\nbody abc\n", ASKED, CODEC_BUSY, init_client_get },
	{ "1.0", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
	  "head 200 OK 1.0 body=1:1 Content-Length=1\nbody a end\ngone -\n", ASKED, CODEC_CLOSED,
	  init_client_get },
	{ "1.0 keep-alive",
	  "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na",
	  "head 200 OK 1.0 body=1:1 keep Content-Length=1 Connection=keep-alive\nbody a end\ngone "
	  "-\n",
	  ASKED, CODEC_IDLE, init_client_get },
	{ "close", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na",
	  "head 200 OK 1.1 body=1:1 Content-Length=1 Connection=close\nbody a end\ngone -\n", ASKED,
	  CODEC_CLOSED, init_client_get },
	{ "interim",
	  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No "
	  "Content\r\n\r\n",
	  "head 100 Continue 1.1 body=0:0 keep\nhead 103 Early Hints 1.1 body=0:0 keep Link=x\n"
	  "head 204 No Content 1.1 body=0:0 keep end\ngone -\n",
	  ASKED, CODEC_IDLE, init_client_get },
	{ "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
	  "head 304 Not Modified 1.1 body=1:9 keep end Content-Length=9\ngone -\n", ASKED,
	  CODEC_IDLE, init_client_get },
	{ "HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
	  "head 200 OK 1.1 body=1:9 keep end Content-Length=9\ngone -\n", ASKED_HEAD, CODEC_IDLE,
	  init_client_head },
	{ "HEAD chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	  "head 200 OK 1.1 body=0:0 keep end Transfer-Encoding=chunked\ngone -\n", ASKED_HEAD,
	  CODEC_IDLE, init_client_head },
	{ "upgrade",
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "
	  "websocket\r\n\r\n\x01\x02raw",
	  "head 101 Switching Protocols 1.1 body=4:0 keep upgrade Connection=Upgrade "
	  "Upgrade=websocket\n"
	  "body \\x01\\x02raw\n",
	  ASKED_UPGRADE, CODEC_BUSY, init_client_upgrade },
	{ "upgrade unasked",
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	  "gone upstream_malformed\n", ASKED, CODEC_CLOSED, init_client_get },
	{ "upgrade refused", "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n",
	  "head 400 No 1.1 body=1:0 keep end Content-Length=0\ngone -\n", ASKED_UPGRADE, CODEC_IDLE,
	  init_client_upgrade },
	{ "no answer", "", "gone upstream_reset\n", ASKED, CODEC_CLOSED, init_client_get,
	  .eof = true },
	{ "part of a head", "HTTP/1.1 20", "gone upstream_truncated\n", ASKED, CODEC_CLOSED,
	  init_client_get, .eof = true },
	{ "only an interim head", "HTTP/1.1 100 Continue\r\n\r\n",
	  "head 100 Continue 1.1 body=0:0 keep\ngone upstream_truncated\n", ASKED, CODEC_CLOSED,
	  init_client_get, .eof = true },
	{ "body cut short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
	  "head 200 OK 1.1 body=1:9 keep Content-Length=9\nbody abc\ngone upstream_truncated\n",
	  ASKED, CODEC_CLOSED, init_client_get, .eof = true },
	{ "chunked cut short",
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
	  "head 200 OK 1.1 body=2:0 keep Transfer-Encoding=chunked\nbody abc\ngone "
	  "upstream_truncated\n",
	  ASKED, CODEC_CLOSED, init_client_get, .eof = true },
	{ "bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n",
	  "head 200 OK 1.1 body=2:0 keep Transfer-Encoding=chunked\nbody abc\ngone "
	  "upstream_malformed\n",
	  ASKED, CODEC_CLOSED, init_client_get },
	{ "malformed", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
	  "gone upstream_malformed\n", ASKED, CODEC_CLOSED, init_client_get },
	{ "not HTTP", "SSH-2.0-x\n", "gone upstream_malformed\n", ASKED, CODEC_CLOSED,
	  init_client_get },
};

static void client_tells_the_same_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(client_dialogues) / sizeof(client_dialogues[0]); i++)
		check_every_cut(&client_dialogues[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(server_tells_the_same_however_cut),
		cmocka_unit_test(client_tells_the_same_however_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
