/* Whatever a server sends: cut in pieces, it gives the same replies as in one, within the bounds; and no answer or
 * redirect that is read from them is out of range. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "store/refusal.h"
#include "store/resp.h"
#include "store/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { BOUND = 2048 };

static void walk(const struct resp *r, struct buf *seen, unsigned depth)
{
	CHECK(depth <= 9);
	buf_printf(seen, "%d %lld %.*s;", (int)r->type, (long long)r->integer, SLICE_FMT(r->text));
	for (uint32_t i = 0; i < r->n; i++)
		walk(&r->item[i], seen, depth + 1);
}

static void read_all_kinds(const struct resp *r)
{
	static const struct script *const scripts[] = { &script_bucket, &script_budget };
	struct sync_reply reply;
	struct redirect redirect;

	for (unsigned i = 0; i < 2; i++)
		if (sync_reply_read(scripts[i], r, &reply))
			CHECK(reply.granted <= (uint64_t)SCRIPT_NUMBER_MAX &&
			      strlen(reply.count.name) <= BUDGET_COUNT_MAX);
	if (r->type == RESP_ERROR && refusal_of(r->text)->answer == REFUSAL_MOVED &&
	    redirect_parse(r->text, &redirect))
		CHECK(redirect.slot < CLUSTER_SLOTS && redirect.port != 0);
}

/* All replies as text; *whole: nothing was out of bounds. */
static void read_all(const uint8_t *data, size_t n, size_t piece, struct buf *seen)
{
	struct resp_reader *reader = resp_reader_new();
	enum resp_result got = RESP_MORE;
	const struct resp *r;

	CHECK(reader != NULL);
	for (size_t at = 0; at < n && got != RESP_BROKEN; at += piece) {
		size_t some = n - at < piece ? n - at : piece;

		if (!resp_reader_feed(reader, slice_of((const char *)data + at, some)))
			break;
		while ((got = resp_reader_next(reader, BOUND, &r)) == RESP_REPLY) {
			walk(r, seen, 0);
			read_all_kinds(r);
		}
	}
	resp_reader_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf whole = { .p = NULL }, pieces = { .p = NULL };

	if (n >
	    BOUND) /* what is in one piece may hold more replies than the bound allows for one */
		return 0;
	read_all(data, n, n == 0 ? 1 : n, &whole);
	read_all(data, n, 3, &pieces);
	CHECK(whole.n == pieces.n && (whole.n == 0 || memcmp(whole.p, pieces.p, whole.n) == 0));
	buf_fini(&whole);
	buf_fini(&pieces);
	return 0;
}
