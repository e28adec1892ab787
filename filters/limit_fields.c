/* limit_fields.c - writes RateLimit, RateLimit-Policy and X-RateLimit-*. */
#include "filters/limit_fields.h"

#include <inttypes.h>

enum { NAME_MAX_BYTES = 128 };

/* Integers of structured fields end here (RFC 8941 section 3.3.1). */
#define SF_INTEGER_MAX UINT64_C(999999999999999)

static const struct slice field_ratelimit = SLICE("RateLimit"),
			  field_policy = SLICE("RateLimit-Policy"),
			  field_x[] = { SLICE("X-RateLimit-Limit"), SLICE("X-RateLimit-Remaining"),
					SLICE("X-RateLimit-Reset") };

static uint64_t sf_integer(uint64_t v)
{
	return v < SF_INTEGER_MAX ? v : SF_INTEGER_MAX;
}

/* A string of RFC 8941 section 3.3.3: printable ASCII; what is not becomes "_". */
static void sf_string(const char *s, char out[static 2 * NAME_MAX_BYTES + 3])
{
	char *at = out;

	*at++ = '"';
	for (size_t i = 0; s[i] != '\0' && i < NAME_MAX_BYTES; i++) {
		if (s[i] == '"' || s[i] == '\\')
			*at++ = '\\';
		*at++ = s[i] >= ' ' && s[i] <= '~' ? s[i] : '_';
	}
	*at++ = '"';
	*at = '\0';
}

/* Puts a member in front of those that are there: respond runs from the last policy to the first.
 */
static void prepend(struct head *h, struct slice name, const char *member)
{
	const struct header *found = head_find_name(h, name);
	const char *list;

	if (member == NULL)
		return;
	if (found == NULL) {
		head_add_name(h, name, slice_str(member));
		return;
	}
	list = arena_printf(h->arena, "%s, %.*s", member, SLICE_FMT(found->value));
	if (list != NULL)
		h->fields[found - h->fields].value = slice_str(list);
}

static bool upstream_speaks(const struct call *c, const struct head *h)
{
	for (int i = 0; i < 3 && !c->limit_shown; i++)
		if (head_find_name(h, field_x[i]) != NULL)
			return true;
	return false;
}

/* Of a refusal, the one that refused is told: it comes first. */
static bool is_nearer(const struct call *c, const struct limit_view *v)
{
	return c->denier == CHAIN_MAX && v->remaining < c->limit_shown_remaining;
}

static void set_x_fields(struct call *c, struct head *h, const struct limit_view *v)
{
	const uint64_t value[] = { v->quota, v->remaining, v->reset_s };

	if (upstream_speaks(c, h) || (c->limit_shown && !is_nearer(c, v)))
		return;
	for (int i = 0; i < 3; i++) {
		const char *text = arena_printf(h->arena, "%" PRIu64, value[i]);

		if (text != NULL)
			head_set_name(h, field_x[i], slice_str(text));
	}
	c->limit_shown = true;
	c->limit_shown_remaining = v->remaining;
}

/* "per-key";q=600;w=60, or with a quota unit (section 3.1.2 of the draft) and no window. */
static const char *policy_member(struct head *h, const char *name, const struct limit_view *v)
{
	if (v->unit != NULL)
		return arena_printf(h->arena, "%s;q=%" PRIu64 ";qu=\"%s\"", name,
				    sf_integer(v->quota), v->unit);
	return arena_printf(h->arena, "%s;q=%" PRIu64 ";w=%" PRIu64, name, sf_integer(v->quota),
			    sf_integer(v->window_s));
}

/* A refusal's Retry-After is not to be earlier than a reset beside it (the draft): of limits that let
 * the call in, no more of the time is told. */
static uint64_t reset_of(const struct call *c, const struct head *h, const struct limit_view *v)
{
	static const struct slice name = SLICE("Retry-After");
	const struct header *found = c->out.denied ? head_find_name(h, name) : NULL;
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
	char name[2 * NAME_MAX_BYTES + 3];

	shown.reset_s = reset_of(c, h, view);
	sf_string(v->policy, name);
	prepend(h, field_policy, policy_member(h, name, v));
	prepend(h, field_ratelimit,
		arena_printf(h->arena, "%s;r=%" PRIu64 ";t=%" PRIu64, name,
			     sf_integer(v->remaining), sf_integer(v->reset_s)));
	set_x_fields(c, h, v);
}
