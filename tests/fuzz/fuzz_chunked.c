/* fuzz_chunked.c - chunked bodies: the same data and the same end, whole or byte by byte. */
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "http/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct codec_limits limits = { .head_bytes = 512, .target_bytes = 64, .headers = 10 };

struct walk {
	struct chunked chunked;
	struct buf data;
	enum chunked_event last;
	size_t used;
};

/* Takes what it can of in[0..n). */
static void walk_to(struct walk *w, struct slice in, size_t n)
{
	struct slice piece = slice_of(in.p + w->used, n - w->used), data;

	if (w->last != CHUNKED_MORE)
		return;
	do {
		w->last = chunked_step(&w->chunked, &piece, &data, &limits);
		if (w->last == CHUNKED_DATA || w->last == CHUNKED_TRAILERS)
			buf_put(&w->data, data.p, data.n);
	} while (w->last == CHUNKED_DATA);
	w->used = n - piece.n;
}

static void check_trailers(struct slice text)
{
	struct arena arena;
	struct head h;

	arena_init(&arena, NULL);
	head_init(&h, &arena);
	if (h1_parse_trailers(text, &limits, &h) == NULL)
		for (unsigned i = 0; i < h.n; i++)
			CHECK(h.fields[i].id == F_OTHER || h.fields[i].id == F_REMOVED);
	arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of((const char *)data, size);
	struct walk whole = { .used = 0 }, slow = { .used = 0 };

	chunked_init(&whole.chunked);
	chunked_init(&slow.chunked);
	walk_to(&whole, in, size);
	for (size_t n = 0; n <= size; n++)
		walk_to(&slow, in, n);
	CHECK(whole.last == slow.last);
	if (whole.last != CHUNKED_BAD)
		CHECK(whole.used == slow.used);
	CHECK(whole.data.n == slow.data.n);
	CHECK(whole.data.n == 0 || memcmp(whole.data.p, slow.data.p, whole.data.n) == 0);
	check_trailers(in);
	buf_fini(&whole.data);
	buf_fini(&slow.data);
	return 0;
}
