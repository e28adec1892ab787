/* limits.c - policies and their keys. */
#include "admin/limits.h"

#include <string.h>

#include "admin/page.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stat.h"
#include "filters/key.h"
#include "filters/stats.h"
#include "filters/top.h"

enum { TOP_DEFAULT = 10, TOP_MAX = 1024 };

static const char bad_top[] = "`top` is a number from 1 to 1024";
static const char nobody[] = "no policy of that name has a limit";

/*---------------------------------------------------------------- policies */

static bool has_limit(const struct filter *f)
{
	return f->ops->key != NULL;
}

static void put_sample(void *ctx, const struct filter_sample *s)
{
	static const char *const name[FILTER_METRICS] = {
		[SHOW_KEYS] = "keys",
		[SHOW_KEY_EVICTIONS] = "evictions",
		[SHOW_QUEUE_LENGTH] = "queued",
		[SHOW_CONCURRENCY] = "in_use",
		[SHOW_CONCURRENCY_LIMIT] = "limit",
	};

	if (name[s->metric] != NULL)
		buf_printf(ctx, ",\"%s\":%llu", name[s->metric], (unsigned long long)s->value);
}

static bool is_shared(const struct filter *f)
{
	return f->ops->is_shared != NULL && f->ops->is_shared(f);
}

/* All but the end of the object. */
static void put_policy(struct buf *b, const struct filter *f)
{
	const struct key_spec *key = f->ops->key(f);

	buf_puts(b, "{\"policy\":");
	buf_json_string(b, slice_str(f->name));
	buf_printf(b, ",\"kind\":\"%s\",\"key\":", f->ops->name);
	buf_json_string(b, slice_str(key->text == NULL ? "" : key->text));
	buf_printf(b, ",\"shadow\":%s,\"shared\":%s,\"resettable\":%s",
		   f->shadow ? "true" : "false", is_shared(f) ? "true" : "false",
		   f->ops->reset_key != NULL && !is_shared(f) ? "true" : "false");
	for (unsigned d = 0; d < DECISION_COUNT; d++)
		buf_printf(b, ",\"%s\":%llu", decision_names[d],
			   (unsigned long long)filter_stats_read(f->stats, (enum decision)d));
	if (f->ops->show != NULL)
		f->ops->show(f, put_sample, b);
}

static void put_top(struct buf *b, const struct process_view *view, const struct filter *f,
		    uint32_t max)
{
	struct top_key top[TOP_MAX];
	uint64_t since_ns;
	uint32_t n = filter_stats_top(f->stats, view->now_ns, top, max, &since_ns);

	buf_puts(b, ",\"window\":");
	stat_print_seconds(b, view->now_ns - since_ns);
	buf_puts(b, ",\"top\":[");
	for (uint32_t i = 0; i < n; i++)
		buf_printf(b, "%s{\"hash\":\"%016llx\",\"refused\":%llu,\"error\":%llu}",
			   i == 0 ? "" : ",", (unsigned long long)top[i].key,
			   (unsigned long long)top[i].n, (unsigned long long)top[i].error);
	buf_puts(b, "]");
}

/* What stands behind /limits/; *key: it goes on with /key. */
static const struct filter *find_policy(const struct process_view *view, struct slice path,
					struct arena *arena, bool *key)
{
	struct slice rest = slice_of(path.p + strlen("/limits/"), path.n - strlen("/limits/"));
	struct slice name = page_decode(slice_cut(&rest, '/'), arena);

	*key = rest.p != NULL && slice_is(rest, "key");
	if (name.p == NULL || (rest.p != NULL && !*key))
		return NULL;
	for (uint32_t i = 0; i < view->policy->n_filters; i++)
		if (has_limit(view->policy->filter[i]) &&
		    slice_is(name, view->policy->filter[i]->name))
			return view->policy->filter[i];
	return NULL;
}

/* False: it is none. */
static bool read_top(struct slice text, uint32_t *top)
{
	uint32_t n = 0;

	*top = TOP_DEFAULT;
	if (text.p == NULL)
		return true;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9' || n > TOP_MAX)
			return false;
		n = n * 10 + (uint32_t)(text.p[i] - '0');
	}
	*top = n;
	return n > 0 && n <= TOP_MAX;
}

void limits_show(const struct process_view *view, const struct service_request *req,
		 struct service_reply *reply)
{
	struct slice wanted = page_query(req, "top");
	unsigned n = 0;
	uint32_t top;

	if (!read_top(wanted, &top)) {
		page_text(reply, 400, bad_top);
		return;
	}
	reply->status = 200;
	reply->content_type = "application/json";
	buf_puts(&reply->body, "{\"limits\":[");
	for (uint32_t i = 0; i < view->policy->n_filters; i++) {
		if (!has_limit(view->policy->filter[i]))
			continue;
		buf_puts(&reply->body, n++ == 0 ? "" : ",");
		put_policy(&reply->body, view->policy->filter[i]);
		if (wanted.p != NULL)
			put_top(&reply->body, view, view->policy->filter[i], top);
		buf_putc(&reply->body, '}');
	}
	buf_puts(&reply->body, "]}\n");
}

/*--------------------------------------------------------------------- keys */

static bool read_hash(struct slice text, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < text.n; i++) {
		const char *digits = "0123456789abcdef", *at = strchr(digits, text.p[i]);

		if (at == NULL || *at == '\0')
			return false;
		*out = *out << 4 | (uint64_t)(at - digits);
	}
	return text.n == 16;
}

/* The values of all parameters of that name; more than KEY_PARTS_MAX: there are too many, or one is malformed. */
static unsigned read_values(struct slice query, struct arena *arena, struct slice *out)
{
	unsigned n = 0;

	while (query.p != NULL && query.n > 0) {
		struct slice value = slice_cut(&query, '&');
		struct slice key = slice_cut(&value, '=');

		if (!slice_is(key, "value"))
			continue;
		if (n == KEY_PARTS_MAX)
			return KEY_PARTS_MAX + 1;
		out[n] = page_decode(value, arena);
		if (out[n++].p == NULL)
			return KEY_PARTS_MAX + 1;
	}
	return n;
}

/* NULL, or what is wrong. */
static const char *read_key(const struct filter *f, const struct service_request *req,
			    struct arena *arena, struct filter_key *k)
{
	const struct key_spec *spec = f->ops->key(f);
	struct slice hash = page_query(req, "hash"), value[KEY_PARTS_MAX];
	unsigned n = read_values(req->query, arena, value);

	if (n > KEY_PARTS_MAX)
		return "a `value` is malformed, or there are too many";
	if (hash.p != NULL)
		return n > 0                      ? "either `hash` or `value`"
		       : read_hash(hash, &k->key) ? NULL
						  : "`hash` is 16 hex digits, as in key.hash";
	if (spec->n == 0)
		return n == 0 ? NULL : "the policy has no key";
	return key_fingerprint_text(spec, value, n, &k->client, &k->key)
		   ? NULL
		   : "which key: ?hash=..., or one ?value=... for each part of the policy's key";
}

static void show_key(const struct filter *f, const struct filter_key *k, const char *who,
		     struct service_reply *reply)
{
	struct limit_info info = { .policy = NULL };

	(void)who;
	if (f->ops->look_key == NULL || !f->ops->look_key(f, k, &info)) {
		page_text(reply, 409,
			  is_shared(f) ? "all replicas count that key together: what they count is "
					 "seen in Redis alone"
				       : "that key is not limited");
		return;
	}
	reply->status = 200;
	reply->content_type = "application/json";
	buf_puts(&reply->body, "{\"policy\":");
	buf_json_string(&reply->body, slice_str(f->name));
	buf_printf(&reply->body,
		   ",\"hash\":\"%016llx\",\"limit\":%llu,\"remaining\":%llu,\"reset\":",
		   (unsigned long long)k->key, (unsigned long long)info.limit,
		   (unsigned long long)info.remaining);
	stat_print_seconds(&reply->body, info.reset_ms * CLOCK_MS);
	buf_printf(&reply->body, ",\"shared\":%s}\n", is_shared(f) ? "true" : "false");
}

/* NULL, or why none of its keys can be. */
static const char *why_no_reset(const struct filter *f)
{
	if (f->ops->reset_key == NULL)
		return "what such a policy counts comes back by itself";
	if (is_shared(f))
		return "all replicas count that key together, so none can begin it anew alone: "
		       "give "
		       "it an `overrides` entry with another rate, and reload; or wait";
	return NULL;
}

static void reset_key(const struct filter *f, const struct filter_key *k, const char *who,
		      struct service_reply *reply)
{
	const char *wrong = why_no_reset(f);

	if (wrong != NULL) {
		page_text(reply, 409, wrong);
		return;
	}
	if (f->ops->reset_key(f, k))
		log_info("limit %s: key %016llx is reset, by order of %s", f->name,
			 (unsigned long long)k->key, who);
	show_key(f, k, who, reply);
}

typedef void key_page(const struct filter *, const struct filter_key *, const char *who,
		      struct service_reply *);

static void with_key(const struct process_view *view, const struct service_request *req,
		     const struct filter *f, struct arena *arena, key_page *page,
		     struct service_reply *reply)
{
	const struct env env = { .now_ns = view->now_ns, .wall_ns = view->now_wall_ns };
	struct filter_key k = { .env = &env };
	const char *wrong = read_key(f, req, arena, &k);

	if (wrong != NULL)
		page_text(reply, 400, wrong);
	else
		page(f, &k, req->who, reply);
}

static void show_policy(const struct process_view *view, const struct service_request *req,
			const struct filter *f, struct service_reply *reply)
{
	uint32_t top;

	if (!read_top(page_query(req, "top"), &top)) {
		page_text(reply, 400, bad_top);
		return;
	}
	reply->status = 200;
	reply->content_type = "application/json";
	put_policy(&reply->body, f);
	put_top(&reply->body, view, f, top);
	buf_puts(&reply->body, "}\n");
}

void limit_show(const struct process_view *view, const struct service_request *req,
		struct service_reply *reply)
{
	const struct filter *f;
	struct arena arena;
	bool key;

	arena_init(&arena, NULL);
	f = find_policy(view, req->path, &arena, &key);
	if (f == NULL)
		page_text(reply, 404, nobody);
	else if (key)
		with_key(view, req, f, &arena, show_key, reply);
	else
		show_policy(view, req, f, reply);
	arena_fini(&arena);
}

void limit_reset(const struct process_view *view, const struct service_request *req,
		 struct service_reply *reply)
{
	const struct filter *f;
	struct arena arena;
	bool key;

	arena_init(&arena, NULL);
	f = find_policy(view, req->path, &arena, &key);
	if (f == NULL)
		page_text(reply, 404, nobody);
	else
		with_key(view, req, f, &arena, reset_key, reply);
	arena_fini(&arena);
}
