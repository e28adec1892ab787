/* micro_h1.c - nanoseconds per head parsed and written; a look, not a test. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/reason.h"
#include "http/h1.h"

enum { ROUNDS = 2000000 };

static const struct codec_limits limits = { .head_bytes = 32768,
					    .target_bytes = 8192,
					    .headers = 100 };

static const char request[] = "POST /v1/chat/completions?stream=true HTTP/1.1\r\n"
			      "Host: api.example.com\r\n"
			      "User-Agent: OpenAI/Python 1.40.0\r\n"
			      "Accept: application/json\r\n"
			      "Accept-Encoding: gzip, deflate\r\n"
			      "Connection: keep-alive\r\n"
			      "Content-Type: application/json\r\n"
			      "Authorization: Bearer sk-0123456789abcdef\r\n"
			      "X-Stainless-Retry-Count: 0\r\n"
			      "Content-Length: 220\r\n"
			      "\r\n";

static const char response[] = "HTTP/1.1 200 OK\r\n"
			       "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
			       "Server: app\r\n"
			       "Content-Type: application/json\r\n"
			       "Content-Length: 200\r\n"
			       "\r\n";

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct work {
	const char *name;
	struct slice text;
	void (*run)(struct slice text, struct arena *, struct head *);
};

static void find_end(struct slice text, struct arena *a, struct head *h)
{
	const struct reason *why;
	size_t seen = 0;

	(void)a;
	(void)h;
	if (h1_head_end(text, &seen, &limits, &why) != (int64_t)text.n)
		abort();
}

static void parse_request(struct slice text, struct arena *a, struct head *h)
{
	find_end(text, a, h);
	head_init(h, a);
	if (h1_parse_request(arena_copy(a, text), &limits, h) != NULL)
		abort();
}

static void parse_response(struct slice text, struct arena *a, struct head *h)
{
	find_end(text, a, h);
	head_init(h, a);
	if (h1_parse_response(arena_copy(a, text), &limits, METHOD_GET, h) != NULL)
		abort();
}

static void write_request(struct slice text, struct arena *a, struct head *h)
{
	const struct h1_framing f = { .body = BODY_LENGTH, .length = 220 };

	(void)text;
	if (h1_write_request(arena_alloc(a, h1_head_bound(h)), h, &f) == 0)
		abort();
}

static void write_response(struct slice text, struct arena *a, struct head *h)
{
	const struct h1_framing f = { .body = BODY_LENGTH, .length = 200 };

	(void)text;
	if (h1_write_response(arena_alloc(a, h1_head_bound(h)), h, &f) == 0)
		abort();
}

static void strip(struct slice text, struct arena *a, struct head *h)
{
	(void)text;
	(void)a;
	head_strip_hop_by_hop(h, false);
}

int main(void)
{
	const struct slice req = slice_str(request), resp = slice_str(response);
	const struct work works[] = {
		{ "find the end of a request", req, find_end },
		{ "parse a request", req, parse_request },
		{ "strip a request", req, strip },
		{ "write a request", req, write_request },
		{ "parse a response", resp, parse_response },
		{ "write a response", resp, write_response },
	};
	struct arena_pool pool;
	struct arena kept;
	struct head h;

	arena_pool_init(&pool, 16);
	arena_init(&kept, NULL);
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		double start;

		if (works[i].run == write_request || works[i].run == strip)
			parse_request(req, &kept, &h);
		if (works[i].run == write_response)
			parse_response(resp, &kept, &h);
		start = now_ns();
		for (int n = 0; n < ROUNDS; n++) {
			struct arena a;

			arena_init(&a, &pool);
			works[i].run(works[i].text, &a, &h);
			arena_fini(&a);
		}
		printf("%-28s %5zu bytes %7.1f ns\n", works[i].name, works[i].text.n,
		       (now_ns() - start) / ROUNDS);
	}
	arena_fini(&kept);
	arena_pool_fini(&pool);
	return 0;
}
