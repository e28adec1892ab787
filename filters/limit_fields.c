/* limit_fields.c - writes RateLimit, RateLimit-Policy and X-RateLimit-*. */
#include "filters/limit_fields.h"

#include "base/put.h"

enum {
	NAME_MAX_BYTES = 128,
	STRING_MAX = 2 * NAME_MAX_BYTES + 2,
	PARAMETERS_MAX = 2 * PUT_U64_MAX + 16 /* of a member, but the unit */
};

/* Integers of structured fields end here (RFC 8941 section 3.3.1). */
#define SF_INTEGER_MAX UINT64_C(999999999999999)

static char *put_integer(char *at, uint64_t v)
{
	return put_u64(at, v < SF_INTEGER_MAX ? v : SF_INTEGER_MAX);
}

/* A string of RFC 8941 section 3.3.3: printable ASCII; what is not becomes "_". */
static char *put_string(char *at, const char *s)
{
	*at++ = '"';
	for (size_t i = 0; s[i] != '\0' && i < NAME_MAX_BYTES; i++) {
		if (s[i] == '"' || s[i] == '\\')
			*at++ = '\\';
		*at++ = s[i] >= ' ' && s[i] <= '~' ? s[i] : '_';
	}
	*at++ = '"';
	return at;
}

/* Puts a member in front of those that are there: respond runs from the last policy to the first.
 */
static void prepend(struct head *h, enum field_id id, struct slice member)
{
	const struct header *found = head_find(h, id);
	char *list;

	if (member.p == NULL)
		return;
	if (found == NULL) {
		head_add(h, id, member);
		return;
	}
	list = arena_alloc(h->arena, member.n + 2 + found->value.n);
	if (list == NULL)
		return;
	put_slice(PUT_LIT(put_slice(list, member), ", "), found->value);
	h->fields[found - h->fields].value = slice_of(list, member.n + 2 + found->value.n);
}

static bool upstream_speaks(const struct call *c, const struct head *h)
{
	return !c->limit_shown && (head_find(h, F_X_RATELIMIT_LIMIT) != NULL ||
				   head_find(h, F_X_RATELIMIT_REMAINING) != NULL ||
				   head_find(h, F_X_RATELIMIT_RESET) != NULL);
}

/* Of a refusal, the one that refused is told: it comes first. */
static bool is_nearer(const struct call *c, const struct limit_view *v)
{
	return c->denier == CHAIN_MAX && v->remaining < c->limit_shown_remaining;
}

static void set_number(struct head *h, enum field_id id, uint64_t v)
{
	head_remove(h, id);
	(void)head_add_u64(h, id, v);
}

static void set_x_fields(struct call *c, struct head *h, const struct limit_view *v)
{
	if (upstream_speaks(c, h) || (c->limit_shown && !is_nearer(c, v)))
		return;
	set_number(h, F_X_RATELIMIT_LIMIT, v->quota);
	set_number(h, F_X_RATELIMIT_REMAINING, v->remaining);
	set_number(h, F_X_RATELIMIT_RESET, v->reset_s);
	c->limit_shown = true;
	c->limit_shown_remaining = v->remaining;
}

/* "per-key";q=600;w=60, or with a quota unit (section 3.1.2 of the draft) and no window. */
static struct slice policy_member(struct head *h, struct slice name, const struct limit_view *v)
{
	struct slice unit = slice_str(v->unit);
	char *text = arena_alloc(h->arena, name.n + unit.n + PARAMETERS_MAX), *at = text;

	if (text == NULL)
		return slice_of(NULL, 0);
	at = put_integer(PUT_LIT(put_slice(at, name), ";q="), v->quota);
	if (unit.p != NULL)
		at = PUT_LIT(put_slice(PUT_LIT(at, ";qu=\""), unit), "\"");
	else
		at = put_integer(PUT_LIT(at, ";w="), v->window_s);
	return slice_of(text, (size_t)(at - text));
}

/* "per-key";r=50;t=30 */
static struct slice limit_member(struct head *h, struct slice name, const struct limit_view *v)
{
	char *text = arena_alloc(h->arena, name.n + PARAMETERS_MAX), *at = text;

	if (text == NULL)
		return slice_of(NULL, 0);
	at = put_integer(PUT_LIT(put_slice(at, name), ";r="), v->remaining);
	at = put_integer(PUT_LIT(at, ";t="), v->reset_s);
	return slice_of(text, (size_t)(at - text));
}

/* A refusal's Retry-After is not to be earlier than a reset beside it (the draft): of limits that
 * let the call in, no more of the time is told. */
static uint64_t reset_of(const struct call *c, const struct head *h, const struct limit_view *v)
{
	const struct header *found = c->out.denied ? head_find(h, F_RETRY_AFTER) : NULL;
	uint64_t s = 0;

	if (found == NULL)
		return v->reset_s;
	for (size_t i = 0; i < found->value.n; i++)
		s = s * 10 + (uint64_t)(found->value.p[i] - '0');
	return v->reset_s < s ? v->reset_s : s;
}

void limit_fields_add(struct call *c, struct head *h, const struct limit_view *view)
{
	struct limit_view shown = *view;
	const struct limit_view *v = &shown;
	char text[STRING_MAX];
	struct slice name = slice_of(text, (size_t)(put_string(text, v->policy) - text));

	shown.reset_s = reset_of(c, h, view);
	prepend(h, F_RATELIMIT_POLICY, policy_member(h, name, v));
	prepend(h, F_RATELIMIT, limit_member(h, name, v));
	set_x_fields(c, h, v);
}
