/* script.c - questions into words, answers into numbers. */
#include "store/script.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/number.h"

/*---------------------------------------------------------------- questions */

static void add(struct script_call *c, const char *text, size_t n)
{
	size_t room = sizeof(c->text) - c->n;
	int used = snprintf(c->text + c->n, room, "$%zu\r\n%.*s\r\n", n, (int)n, text);

	CHECK(used > 0 && (size_t)used < room); /* all that is added here is bounded */
	c->n = (uint16_t)(c->n + used);
	c->args++;
}

static void add_number(struct script_call *c, int64_t v)
{
	char text[24];

	add(c, text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v));
}

static int64_t cut(uint64_t v)
{
	return v < (uint64_t)SCRIPT_NUMBER_MAX ? (int64_t)v : SCRIPT_NUMBER_MAX;
}

static void begin(struct script_call *c, const struct script *s, const struct key_name *key)
{
	*c = (struct script_call){ .script = s };
	add(c, key->text, key->n);
	c->key_n = key->n;
	c->key_at = (uint8_t)(c->n - 2 - key->n);
}

struct slice script_call_key(const struct script_call *c)
{
	return slice_of(c->text + c->key_at, c->key_n);
}

static void add_sync(struct script_call *c, const struct sync *s)
{
	add_number(c, s->owed);
	add_number(c, cut(s->least));
	add_number(c, cut(s->want));
}

void script_call_put(const struct script_call *c, bool whole, struct buf *out)
{
	const char *what = whole ? c->script->body : c->script->sha1;

	buf_printf(out, "*%u\r\n%s\r\n$%zu\r\n", c->args + 3u,
		   whole ? "$4\r\nEVAL" : "$7\r\nEVALSHA", strlen(what));
	buf_puts(out, what);
	buf_puts(out, "\r\n$1\r\n1\r\n");
	buf_put(out, c->text, c->n);
}

/* Room for a debt of the same size, and a product more. */
static bool has_room(const struct bucket_share *b)
{
	return b->period_us <= (uint64_t)SCRIPT_NUMBER_MAX / 4 / b->burst &&
	       b->count < (uint64_t)SCRIPT_NUMBER_MAX / 4;
}

const char *bucket_share_init(struct bucket_share *b, uint64_t count, uint64_t period_us,
			      uint64_t burst)
{
	uint64_t common = number_common_divisor(count, period_us);

	*b = (struct bucket_share){ period_us / common, count / common, burst };
	while (!has_room(b) && b->count > UINT64_C(1) << 30 && b->period_us > UINT64_C(1) << 30) {
		b->count = (b->count + 1) / 2;
		b->period_us = (b->period_us + 1) / 2;
	}
	return has_room(b) ? NULL
			   : "the bucket takes too long to fill: choose a smaller burst, or a "
			     "simpler rate";
}

void script_call_bucket(struct script_call *c, const struct key_name *key,
			const struct bucket_share *b, const struct sync *s)
{
	begin(c, &script_bucket, key);
	add_number(c, cut(b->period_us));
	add_number(c, cut(b->count));
	add_number(c, cut(b->burst));
	add_sync(c, s);
}

void script_call_window(struct script_call *c, const struct key_name *key, uint64_t period_us,
			bool sliding, uint64_t limit, const struct sync *s)
{
	begin(c, &script_window, key);
	add_number(c, cut(period_us));
	add_number(c, sliding);
	add_number(c, cut(limit));
	add_sync(c, s);
}

void script_call_budget(struct script_call *c, const struct key_name *key,
			const struct budget_settle *s)
{
	begin(c, &script_budget, key);
	add_number(c, cut(s->length_us));
	add_number(c, s->offset_us);
	add_number(c, cut(s->limit));
	add(c, s->sidecar, strlen(s->sidecar));
	add_number(c, cut(s->seq));
	add_sync(c, &s->sync);
	if (s->count.known)
		add_number(c, s->count.window);
	else
		add(c, "", 0);
	add(c, s->count.name, s->count.known ? strlen(s->count.name) : 0);
	add_number(c, cut(s->own));
}

void script_call_permits(struct script_call *c, const struct key_name *key, uint64_t cap,
			 const char *sidecar, uint64_t need, uint64_t want, uint64_t hold_us,
			 uint64_t waits)
{
	begin(c, &script_permits, key);
	add_number(c, cut(cap));
	add(c, sidecar, strlen(sidecar));
	add_number(c, cut(need));
	add_number(c, cut(want));
	add_number(c, cut(hold_us));
	add_number(c, cut(waits));
}

void script_call_peers(struct script_call *c, const struct key_name *key, const char *sidecar,
		       uint64_t hold_us)
{
	begin(c, &script_peers, key);
	add(c, sidecar, strlen(sidecar));
	add_number(c, cut(hold_us));
}

/*------------------------------------------------------------------ answers */

static bool read_count(const struct resp *r, struct budget_count *count)
{
	const struct resp *window = &r->item[4], *name = &r->item[5];

	if (window->type != RESP_INTEGER || name->type != RESP_STRING ||
	    name->text.n > BUDGET_COUNT_MAX)
		return false;
	count->known = true;
	count->window = window->integer;
	memcpy(count->name, name->text.p, name->text.n);
	count->name[name->text.n] = '\0';
	return true;
}

static bool is_number(const struct resp *r, int64_t least)
{
	return r->type == RESP_INTEGER && r->integer >= least && r->integer <= SCRIPT_NUMBER_MAX;
}

bool sync_reply_read(const struct script *s, const struct resp *r, struct sync_reply *out)
{
	uint32_t n = s == &script_budget ? 7 : 4;

	*out = (struct sync_reply){ .granted = 0 };
	if (r->type != RESP_ARRAY || r->n != n)
		return false;
	if (!is_number(&r->item[0], 0) || !is_number(&r->item[1], 0) ||
	    !is_number(&r->item[2], -1) || !is_number(&r->item[3], 0))
		return false;
	out->granted = (uint64_t)r->item[0].integer;
	out->left = (uint64_t)r->item[1].integer;
	out->retry_us = r->item[2].integer < 0 ? SYNC_NEVER : (uint64_t)r->item[2].integer;
	out->reset_us = (uint64_t)r->item[3].integer;
	if (n == 4)
		return true;
	if (!is_number(&r->item[6], 0) || !read_count(r, &out->count))
		return false;
	out->used = (uint64_t)r->item[6].integer;
	return true;
}
