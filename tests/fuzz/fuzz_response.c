/* fuzz_response.c - response heads: no byte too far, one verdict however the bytes come, and what
 * is understood survives being written and read again.  The first byte chooses the request's
 * method.  Lines that end with LF alone are read as the strict reader reads them with CRLF. */
#include <stdlib.h>

#include "base/check.h"
#include "base/reason.h"
#include "http/h1_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct codec_limits limits = { .head_bytes = 2048,
					    .target_bytes = 512,
					    .headers = 40 };
static const struct codec_limits loose = {
	.head_bytes = 2048, .target_bytes = 512, .headers = 40, .bare_lf = true
};
static const struct codec_limits wider = { .head_bytes = 8192,
					   .target_bytes = 4096,
					   .headers = 60 };

static int64_t end_bytewise(struct slice in, const struct reason **why)
{
	size_t seen = 0;

	for (size_t n = 1; n <= in.n; n++) {
		int64_t end = h1_head_end(slice_of(in.p, n), &seen, &limits, why);

		if (end != 0)
			return end;
	}
	return 0;
}

static void check_head(const struct head *h, enum method_id method)
{
	bool bodiless = h->status < 200 || h->status == 204;

	CHECK(h->status >= 100 && h->status <= 599 && h->n <= limits.headers);
	CHECK(!bodiless || h->body == BODY_NONE || h->body == BODY_TUNNEL);
	CHECK(h->body != BODY_CLOSE || !h->keep_alive);
	CHECK(h->body == BODY_LENGTH || h->length == 0);
	if (method == METHOD_HEAD || h->status == 304)
		CHECK(h->body != BODY_CHUNKED && h->body != BODY_CLOSE);
}

static void check_rewritten(struct head *h, enum method_id method)
{
	struct h1_framing f = { .body = h->body, .length = h->length };
	struct head again;
	char *out = arena_alloc(h->arena, h1_head_bound(h));
	size_t n = h1_write_response(out, h, &f);

	CHECK(n <= h1_head_bound(h));
	head_init(&again, h->arena);
	CHECK(h1_parse_response(slice_of(out, n), &wider, method, &again) == NULL);
	CHECK(again.status == h->status && slice_eq(again.phrase, h->phrase));
	CHECK(again.body == h->body && again.length == h->length);
}

static int64_t loose_end_bytewise(struct slice in)
{
	const struct reason *why = NULL;
	size_t seen = 0;

	for (size_t n = 1; n <= in.n; n++) {
		int64_t end = h1_loose_head_end(slice_of(in.p, n), &seen, &loose, &why);

		if (end != 0)
			return end;
	}
	return 0;
}

static void check_loose(struct slice in, int64_t strict, enum method_id method)
{
	const struct reason *why = NULL;
	size_t seen = 0, again = 0;
	int64_t end = h1_loose_head_end(in, &seen, &loose, &why);
	struct arena arena;
	struct head head;

	CHECK(end == loose_end_bytewise(in));
	CHECK(strict <= 0 || (end == strict && seen == (size_t)end));
	if (end <= 0 || seen == (size_t)end)
		return;
	in.n = (size_t)end;
	CHECK(h1_loose_text(&in));
	CHECK(in.p[0] == '\r' || h1_head_end(in, &again, &wider, &why) == (int64_t)in.n);
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	if (h1_parse_response(in, &limits, method, &head) == NULL) {
		check_head(&head, method);
		check_rewritten(&head, method);
	}
	arena_fini(&arena);
	free((char *)in.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct reason *why = NULL, *why_bytewise = NULL;
	enum method_id method;
	struct slice in;
	size_t seen = 0;
	struct arena arena;
	struct head head;
	int64_t end;

	if (size < 2)
		return 0;
	method = (enum method_id)(data[0] % METHOD_COUNT);
	in = slice_of((const char *)data + 1, size - 1);
	end = h1_head_end(in, &seen, &limits, &why);
	CHECK(end == end_bytewise(in, &why_bytewise) && why == why_bytewise);
	check_loose(in, end, method);
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	if (end > 0)
		in.n = (size_t)end;
	if (h1_parse_response(in, &limits, method, &head) == NULL) {
		check_head(&head, method);
		check_rewritten(&head, method);
	}
	arena_fini(&arena);
	return 0;
}
