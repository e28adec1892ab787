/* fuzz_request.c - request heads: no byte too far, one verdict however the bytes come, and what is
 * understood survives being written and read again; and lines that end with LF alone lead to nothing
 * that the strict reader would not have had of the same text with CRLF. */
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
					   .target_bytes = 1024,
					   .headers = 60 };

/* Byte by byte, as the slowest client would. */
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

static int64_t loose_end_bytewise(struct slice in, const struct reason **why)
{
	size_t seen = 0;

	for (size_t n = 1; n <= in.n; n++) {
		int64_t end = h1_loose_head_end(slice_of(in.p, n), &seen, &loose, why);

		if (end != 0)
			return end;
	}
	return 0;
}

static void check_path(struct head *h)
{
	struct slice once = head_normal_path(h->path, h->arena);

	if (once.p != NULL)
		CHECK(slice_eq(head_normal_path(once, h->arena), once));
}

static bool is_same_field(const struct header *a, const struct header *b)
{
	return a->id == b->id && slice_eq(a->name, b->name) && slice_eq(a->value, b->value);
}

/* Fields that the head of a request keeps when it is written. */
static const struct header *next_kept(const struct head *h, unsigned *i)
{
	while (*i < h->n) {
		const struct header *f = &h->fields[(*i)++];

		if (f->id != F_REMOVED && f->id != F_HOST && f->id != F_CONTENT_LENGTH &&
		    f->id != F_TRANSFER_ENCODING && f->id != F_UPGRADE)
			return f;
	}
	return NULL;
}

static void check_same(const struct head *a, const struct head *b)
{
	const struct header *f, *g;
	unsigned i = 0, j = 0;

	CHECK(slice_eq(a->method, b->method) && a->method_id == b->method_id);
	CHECK(slice_eq(a->path, b->path) && slice_eq(a->query, b->query));
	CHECK((a->query.p == NULL) == (b->query.p == NULL));
	CHECK(slice_eq(a->authority, b->authority));
	CHECK(a->body == b->body && a->length == b->length);
	do {
		f = next_kept(a, &i);
		g = next_kept(b, &j);
		CHECK((f == NULL) == (g == NULL));
		CHECK(f == NULL || is_same_field(f, g));
	} while (f != NULL);
}

static void check_rewritten(struct head *h)
{
	struct h1_framing f = { .body = h->body, .length = h->length };
	struct head again;
	char *out;
	size_t n;

	head_strip_hop_by_hop(h, false);
	out = arena_alloc(h->arena, h1_head_bound(h));
	n = h1_write_request(out, h, &f);
	CHECK(n <= h1_head_bound(h));
	head_init(&again, h->arena);
	if (h->authority.n == 0)
		return; /* HTTP/1.0 without Host: what is written is refused, rightly */
	CHECK(h1_parse_request(slice_of(out, n), &wider, &again) == NULL);
	check_same(h, &again);
}

/* `strict`: where the strict reader sees the end, -1, or 0. */
static void check_loose(struct slice in, int64_t strict)
{
	const struct reason *why = NULL, *why_bytewise = NULL;
	size_t seen = 0, again = 0;
	int64_t end = h1_loose_head_end(in, &seen, &loose, &why);
	struct arena arena;
	struct head head;

	CHECK(end == loose_end_bytewise(in, &why_bytewise) && (end >= 0 || why == why_bytewise));
	CHECK(strict <= 0 || (end == strict && seen == (size_t)end));
	if (end <= 0 || seen == (size_t)end)
		return;
	in.n = (size_t)end;
	CHECK(h1_loose_text(&in));
	CHECK(in.p[0] == '\r' || h1_head_end(in, &again, &wider, &why) == (int64_t)in.n);
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	if (h1_parse_request(in, &limits, &head) == NULL) {
		check_path(&head);
		check_rewritten(&head);
	}
	arena_fini(&arena);
	free((char *)in.p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of((const char *)data, size);
	const struct reason *why = NULL, *why_bytewise = NULL;
	size_t seen = 0;
	struct arena arena;
	struct head head;
	int64_t end;

	if (size == 0)
		return 0;
	end = h1_head_end(in, &seen, &limits, &why);
	CHECK(end == end_bytewise(in, &why_bytewise) && why == why_bytewise);
	check_loose(in, end);
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	if (end > 0)
		in.n = (size_t)end;
	if (h1_parse_request(in, &limits, &head) == NULL) {
		CHECK(end > 0 && head.n <= limits.headers && head.target.n <= limits.target_bytes);
		check_path(&head);
		check_rewritten(&head);
	}
	arena_fini(&arena);
	return 0;
}
