/* limit.c - limit_req and limit_conn as policies, with nginx's own arithmetic.
 *
 * nginx counts thousandths of a call: 10r/m are 166 thousandths a second.  Its burst is what may come beyond the first call,
 * so a bucket holds one more.  What is beyond `delay` waits its turn, at most `burst` of them: a bucket of delay + 1, behind
 * which burst - delay calls may be owed.  Calls whose key is empty are not counted.  A zone is shared by all who name it, and
 * so is a policy; with other numbers it is another policy of the same pool.  Several limits are decided together, when a call
 * comes (`charge: arrival`), in whole milliseconds (`algorithm: leaky-bucket`). */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "nginx-compat/internal.h"

enum { STATE_BYTES = 128, MAX_KEYS_DEFAULT = 100000, MAX_KEYS_MOST = 10000000 };

/* One limit_req or limit_conn. */
struct limit {
	struct import *im;
	const struct site *site;
	const struct directive *block;
	struct directive *at, *zone_at;
	struct slice zone;
	uint64_t keys;
	struct key key;
};

static bool cut_prefix(struct slice word, const char *prefix, struct slice *rest)
{
	struct slice p = slice_str(prefix);

	if (!slice_starts(word, p))
		return false;
	*rest = slice_of(word.p + p.n, word.n - p.n);
	return true;
}

static bool wrong(const struct limit *l, const struct directive *d, struct slice word)
{
	return tree_wrong(l->im->tree, d->file, d->end_line, "invalid parameter \"%.*s\"",
			  SLICE_FMT(word));
}

/*-------------------------------------------------------------------- zones */

static bool zone_is(const struct directive *d, struct slice name, struct slice *size)
{
	for (uint32_t i = 1; i < d->n; i++) {
		struct slice rest;

		if (cut_prefix(d->word[i], "zone=", &rest) &&
		    slice_eq(slice_cut(&rest, ':'), name)) {
			*size = rest;
			return true;
		}
	}
	return false;
}

/* False: there is none, which was said. */
static bool find_zone(struct limit *l, const char *kind)
{
	struct slice size = { 0 };
	uint64_t bytes = 0;

	DIRECTIVE_EACH (d, l->im->http)
		if (directive_is(d, kind) && zone_is(d, l->zone, &size))
			l->zone_at = d;
	if (l->zone_at != NULL) {
		if (!value_size(size, &bytes))
			return tree_wrong(l->im->tree, l->zone_at->file, l->zone_at->end_line,
					  "invalid zone size \"zone=%.*s:%.*s\"",
					  SLICE_FMT(l->zone), SLICE_FMT(size));
		l->keys = bytes / STATE_BYTES;
		return true;
	}
	if (!l->im->fragment)
		return tree_wrong(l->im->tree, NULL, 0, "zero size shared memory zone \"%.*s\"",
				  SLICE_FMT(l->zone));
	judge(l->im, l->at, LOST, "the zone `%.*s` is not in this fragment", SLICE_FMT(l->zone));
	return false;
}

/* NULL: nothing of it is written. */
static bool read_key(struct limit *l)
{
	key_read(l->im, l->site, l->zone_at->word[1].p, &l->key);
	if (l->key.why != NULL) {
		judge(l->im, l->zone_at, LOST, "%s", l->key.why);
		judge(l->im, l->at, LOST, "%s", l->key.why);
		return false;
	}
	judge(l->im, l->zone_at, EXACT, NULL);
	for (uint32_t i = 2; i < l->zone_at->n; i++)
		if (slice_is(l->zone_at->word[i], "sync"))
			judge(l->im, l->zone_at, ADAPTED,
			      "each instance counts by itself; see `store: redis`");
	if (l->key.nothing)
		judge(l->im, l->at, NOT_NEEDED, "its key is empty");
	return !l->key.nothing;
}

/*--------------------------------------------------------------------- text */

/* `limited` stands for the limit of the policy, `unlimited` for none. */
static void put_overrides(struct buf *b, const char *text, const char *unlimited,
			  const char *limited)
{
	buf_puts(b, ", overrides: [");
	for (; *text != '\0'; text++) {
		if (*text == KEY_UNLIMITED)
			buf_puts(b, unlimited);
		else if (*text == KEY_LIMITED)
			buf_puts(b, limited);
		else
			buf_putc(b, *text);
	}
	buf_putc(b, ']');
}

static void put_key(const struct limit *l, struct buf *b)
{
	uint64_t keys = l->keys > MAX_KEYS_MOST ? MAX_KEYS_MOST : l->keys;

	if (l->key.yaml == NULL)
		return;
	buf_printf(b, ", key: %s", l->key.yaml);
	if (l->key.may_miss)
		buf_puts(b, ", missing: skip");
	if (keys > MAX_KEYS_DEFAULT)
		buf_printf(b, ", max_keys: %" PRIu64, keys);
}

/* The status, unless it is Weir's own, and whether it is a trial. */
static void put_rest(const struct limit *l, const char *kind, unsigned usual, struct buf *b)
{
	struct directive *status = block_find(l->block, text_printf(l->im, "%s_status", kind));
	struct directive *dry = block_find(l->block, text_printf(l->im, "%s_dry_run", kind));
	uint64_t n = 503;

	if (status != NULL && (!value_number(status->word[1], 599, &n) || n < 400)) {
		tree_wrong(l->im->tree, status->file, status->end_line,
			   "value must be between 400 and 599");
		return;
	}
	if (status != NULL && n == 444)
		judge(l->im, status, ADAPTED,
		      "the answer has this status; nginx closes the connection without one");
	else if (status != NULL)
		judge(l->im, status, EXACT, NULL);
	if (n != usual)
		buf_printf(b, ", status: %" PRIu64, n);
	if (dry == NULL || strcasecmp(dry->word[1].p, "on") != 0)
		return;
	judge(l->im, dry, EXACT, NULL);
	buf_puts(b, ", shadow: true");
}

static bool names_zone(const struct directive *d, struct slice zone)
{
	struct slice rest;

	if (directive_is(d, "limit_conn"))
		return d->n > 1 && slice_eq(d->word[1], zone);
	for (uint32_t i = 1; directive_is(d, "limit_req") && i < d->n; i++)
		if (cut_prefix(d->word[i], "zone=", &rest))
			return slice_eq(rest, zone);
	return false;
}

/* What may be another policy of the same zone: another use of it, or another status or trial. */
static unsigned count_uses(const struct limit *l, const struct directive *block)
{
	const char *kind = l->at->word[0].p;
	unsigned n = 0;

	DIRECTIVE_EACH (d, block) {
		n += directive_is(d, kind) && names_zone(d, l->zone);
		n += block->parent != NULL &&
		     (directive_is(d, text_printf(l->im, "%s_status", kind)) ||
		      directive_is(d, text_printf(l->im, "%s_dry_run", kind)));
		n += count_uses(l, d);
	}
	return n;
}

static void put_pool(struct limit *l, struct buf *b)
{
	if (count_uses(l, l->im->http) < 2)
		return;
	buf_printf(b, ", pool: %s",
		   text_yaml(l->im, text_printf(l->im, "%.*s%s%s", SLICE_FMT(l->zone),
						l->key.per_site ? "-" : "",
						l->key.per_site ? l->site->first_name : "")));
}

static void finish(struct limit *l, const char *tail, struct buf *body, struct buf *use)
{
	struct import *im = l->im;
	const char *text, *name, *wanted;
	bool is_new;

	wanted = text_printf(im, "%.*s%s%s%s", SLICE_FMT(l->zone), tail, l->key.per_site ? "-" : "",
			     l->key.per_site ? l->site->first_name : "");
	text = text_buf(im, body);
	name = text_made(im, &im->policy, wanted, text, &is_new);
	if (is_new) {
		buf_printf(&im->policies, "  %s: { %s }", name, text);
		text_end(im, &im->policies, l->at);
	}
	judge(im, l->at, EXACT, NULL);
	buf_printf(use, "%s%s", use->n > 0 ? ", " : "", name);
}

/*---------------------------------------------------------------- limit_req */

struct request_limit {
	uint64_t burst, delay, milli; /* thousandths of a call a second */
	const char *rate;
};

static bool read_rate(struct limit *l, struct request_limit *r)
{
	struct slice rest, word = slice_str("");
	uint64_t n = 1, scale = 1;

	for (uint32_t i = 1; i < l->zone_at->n; i++)
		if (cut_prefix(l->zone_at->word[i], "rate=", &rest))
			word = l->zone_at->word[i];
	if (word.n > 0) {
		cut_prefix(word, "rate=", &rest);
		if (rest.n > 3 && memcmp(rest.p + rest.n - 3, "r/m", 3) == 0)
			scale = 60;
		else if (rest.n <= 3 || memcmp(rest.p + rest.n - 3, "r/s", 3) != 0)
			return tree_wrong(l->im->tree, l->zone_at->file, l->zone_at->end_line,
					  "invalid rate \"%s\"", word.p);
		if (!value_number(slice_of(rest.p, rest.n - 3), 1000000, &n) || n == 0)
			return tree_wrong(l->im->tree, l->zone_at->file, l->zone_at->end_line,
					  "invalid rate \"%s\"", word.p);
	}
	r->milli = n * 1000 / scale;
	if (scale == 1)
		r->rate = text_printf(l->im, "%" PRIu64 "/s", n);
	else if (n * 1000 % 60 == 0)
		r->rate = text_printf(l->im, "%" PRIu64 "/m", n);
	else
		r->rate = text_printf(l->im, "%" PRIu64 "/1000s", r->milli);
	return true;
}

static bool read_request_words(struct limit *l, struct request_limit *r)
{
	for (uint32_t i = 1; i < l->at->n; i++) {
		struct slice word = l->at->word[i], rest;

		if (cut_prefix(word, "zone=", &rest))
			l->zone = rest;
		else if (slice_is(word, "nodelay"))
			r->delay = UINT64_MAX;
		else if (cut_prefix(word, "burst=", &rest)) {
			if (!value_number(rest, 1000000, &r->burst))
				return tree_wrong(l->im->tree, l->at->file, l->at->end_line,
						  "invalid burst value \"%s\"", word.p);
		} else if (cut_prefix(word, "delay=", &rest)) {
			if (!value_number(rest, 1000000, &r->delay))
				return tree_wrong(l->im->tree, l->at->file, l->at->end_line,
						  "invalid delay value \"%s\"", word.p);
		} else {
			return wrong(l, l->at, word);
		}
	}
	return true;
}

/* How long the last one that may wait has to. */
static bool put_bucket(struct limit *l, const struct request_limit *r, struct buf *b)
{
	uint64_t waiting, ms;

	if (r->delay >= r->burst) {
		buf_printf(b, "burst: %" PRIu64, r->burst + 1);
		return true;
	}
	waiting = r->burst - r->delay;
	ms = (waiting * 1000000 + r->milli - 1) / r->milli;
	if (ms > 3600000) {
		judge(l->im, l->at, LOST, "calls would wait for more than an hour");
		return false;
	}
	buf_printf(b, "burst: %" PRIu64 ", wait: %s, queue: %" PRIu64, r->delay + 1,
		   time_text(l->im, ms * (CLOCK_S / 1000)), waiting);
	return true;
}

static void write_request_limit(struct limit *l, struct buf *use)
{
	struct request_limit r = { 0 };
	struct buf bucket = { 0 }, body = { 0 };
	const char *numbers;

	if (!read_request_words(l, &r) || !find_zone(l, "limit_req_zone") || !read_key(l) ||
	    !read_rate(l, &r) || !put_bucket(l, &r, &bucket))
		return;
	numbers = text_printf(l->im, "rate: %s, %s", r.rate, text_buf(l->im, &bucket));
	buf_puts(&body, numbers);
	put_key(l, &body);
	buf_puts(&body, ", algorithm: leaky-bucket, charge: arrival");
	put_pool(l, &body);
	if (l->key.overrides != NULL)
		put_overrides(&body, l->key.overrides, "rate: unlimited",
			      text_printf(l->im, "rate: %s, burst: %" PRIu64, r.rate,
					  (r.delay >= r.burst ? r.burst : r.delay) + 1));
	put_rest(l, "limit_req", 429, &body);
	finish(l, "", &body, use);
}

/*--------------------------------------------------------------- limit_conn */

static void write_connection_limit(struct limit *l, struct buf *use)
{
	struct buf body = { 0 };
	uint64_t n;

	l->zone = l->at->word[1];
	if (!value_number(l->at->word[2], 65535, &n) || n == 0) {
		tree_wrong(l->im->tree, l->at->file, l->at->end_line,
			   "invalid number of connections \"%s\"", l->at->word[2].p);
		return;
	}
	if (!find_zone(l, "limit_conn_zone") || !read_key(l))
		return;
	buf_printf(&body, "concurrency: %" PRIu64, n);
	put_key(l, &body);
	put_pool(l, &body);
	if (l->key.overrides != NULL)
		put_overrides(&body, l->key.overrides, "concurrency: unlimited",
			      text_printf(l->im, "concurrency: %" PRIu64, n));
	put_rest(l, "limit_conn", l->key.yaml == NULL ? 503 : 429, &body);
	finish(l, block_own(l->im->http, "limit_req_zone") != NULL ? "-at-once" : "", &body, use);
}

/*--------------------------------------------------------------------- both */

static struct slice zone_of(const struct directive *d)
{
	struct slice rest = d->n > 1 ? d->word[1] : slice_of("", 0);

	for (uint32_t i = 1; directive_is(d, "limit_req") && i < d->n; i++)
		if (cut_prefix(d->word[i], "zone=", &rest))
			break;
	return rest;
}

static bool is_twice(struct import *im, const struct directive *d)
{
	for (const struct directive *n = block_next(d); n != NULL; n = block_next(n))
		if (slice_eq(zone_of(n), zone_of(d)))
			return !tree_wrong(im->tree, n->file, n->end_line,
					   "\"%s\" directive is duplicate", n->word[0].p);
	return false;
}

static void write_all(struct import *im, const struct site *site, const struct directive *block,
		      const char *kind, struct buf *use)
{
	for (struct directive *d = block_find(block, kind); d != NULL; d = block_next(d)) {
		struct limit l = { .im = im, .site = site, .block = block, .at = d };

		if (is_twice(im, d))
			return;
		if (strcmp(kind, "limit_req") == 0)
			write_request_limit(&l, use);
		else
			write_connection_limit(&l, use);
	}
}

void limits_write(struct import *im, const struct site *site, const struct directive *block,
		  struct buf *use)
{
	write_all(im, site, block, "limit_req", use);
	write_all(im, site, block, "limit_conn", use);
}
