/* range.c - ranges and preconditions; see range.h. */
#include "http/range.h"

#include "http/date.h"

/*---------------------------------------------------------------- ranges */

static bool is_digit(struct slice s)
{
	return s.n > 0 && s.p[0] >= '0' && s.p[0] <= '9';
}

static void step(struct slice *s, size_t n)
{
	*s = slice_of(s->p + n, s->n - n);
}

static void skip_spaces(struct slice *s)
{
	while (s->n > 0 && s->p[0] == ' ')
		step(s, 1);
}

/* At least one digit; false: there is none, or no such number. */
static bool take_number(struct slice *s, uint64_t *n)
{
	if (!is_digit(*s))
		return false;
	for (*n = 0; is_digit(*s); step(s, 1)) {
		unsigned digit = (unsigned)(s->p[0] - '0');

		if (*n > ((uint64_t)INT64_MAX - digit) / 10)
			return false;
		*n = *n * 10 + digit;
	}
	skip_spaces(s);
	return true;
}

static bool take_dash(struct slice *s)
{
	if (s->n == 0 || s->p[0] != '-')
		return false;
	step(s, 1);
	return true;
}

/* "a-b", "a-", "-n" as [at, end); false: it is none of these. */
static bool take_range(struct slice *s, uint64_t size, uint64_t *at, uint64_t *end)
{
	uint64_t n;

	skip_spaces(s);
	if (take_dash(s)) {
		*end = size;
		if (!take_number(s, &n))
			return false;
		*at = n < size ? size - n : 0;
		return true;
	}
	if (!take_number(s, at) || !take_dash(s))
		return false;
	skip_spaces(s);
	*end = size;
	if (!is_digit(*s))
		return true;
	if (!take_number(s, &n))
		return false;
	*end = n < size ? n + 1 : size;
	return true;
}

/* An empty one at the beginning is as good as none at all. */
static enum range_answer take_ranges(struct slice s, uint64_t size, struct ranges *out)
{
	uint64_t sum = 0, at = 0, end = 0;

	for (;;) {
		if (!take_range(&s, size, &at, &end) || (s.n > 0 && s.p[0] != ','))
			return RANGE_NONE;
		if (at >= end && at == 0)
			return RANGE_ALL;
		if (at < end) {
			if (out->n == RANGES_MAX || end - at > size - sum)
				return RANGE_ALL;
			sum += end - at;
			out->item[out->n++] = (struct range){ .at = at, .n = end - at };
		}
		if (s.n == 0)
			return out->n > 0 ? RANGE_PART : RANGE_NONE;
		step(&s, 1);
	}
}

enum range_answer range_parse(struct slice value, uint64_t size, struct ranges *out)
{
	static const struct slice unit = SLICE("bytes=");

	out->n = 0;
	if (value.n <= unit.n || !slice_ieq(slice_of(value.p, unit.n), unit))
		return RANGE_ALL;
	step(&value, unit.n);
	return take_ranges(value, size, out);
}

static struct slice find(const struct head *req, const char *name)
{
	const struct header *f = head_find_name(req, slice_str(name));

	return f == NULL ? slice_of(NULL, 0) : f->value;
}

/* RFC 9110 section 13.1.5. */
static bool range_is_meant(const struct head *req, const struct validator *v)
{
	struct slice is = find(req, "If-Range");
	int64_t s;

	if (is.n < 2)
		return true;
	if (is.p[is.n - 1] == '"')
		return slice_eq(is, v->etag);
	return date_parse(is, &s) && s == v->modified_s;
}

enum range_answer range_of(const struct head *req, const struct validator *v, struct ranges *out)
{
	struct slice value = find(req, "Range");

	out->n = 0;
	if (value.n == 0 || !range_is_meant(req, v))
		return RANGE_ALL;
	return range_parse(value, v->size, out);
}

/*---------------------------------------------------------------- preconditions */

static struct slice take_etag(struct slice *list)
{
	const char *close;
	struct slice tag;
	size_t weak;

	while (list->n > 0 && strchr(" \t,", list->p[0]) != NULL)
		step(list, 1);
	weak = list->n >= 2 && list->p[0] == 'W' && list->p[1] == '/' ? 2 : 0;
	close = list->n > weak && list->p[weak] == '"'
		    ? memchr(list->p + weak + 1, '"', list->n - weak - 1)
		    : NULL;
	if (close == NULL)
		close = list->n == 0 ? NULL : memchr(list->p, ',', list->n);
	tag = close == NULL ? *list : slice_of(list->p, (size_t)(close + 1 - list->p));
	step(list, tag.n);
	return tag;
}

/* `weak`: W/"x" will do for "x". */
static bool etag_is_listed(struct slice list, struct slice etag, bool weak)
{
	if (slice_is(list, "*"))
		return true;
	while (list.n > 0) {
		struct slice tag = take_etag(&list);

		if (weak && tag.n > 2 && tag.p[0] == 'W' && tag.p[1] == '/')
			step(&tag, 2);
		if (slice_eq(tag, etag))
			return true;
	}
	return false;
}

static bool is_changed(const struct head *req, const struct validator *v)
{
	struct slice date = find(req, "If-Unmodified-Since"), tags = find(req, "If-Match");
	int64_t s;

	if (date.p != NULL && !(date_parse(date, &s) && s >= v->modified_s))
		return true;
	return tags.p != NULL && !etag_is_listed(tags, v->etag, false);
}

static bool is_since(struct slice date, const struct validator *v)
{
	int64_t s;

	if (v->since == SINCE_OFF || !date_parse(date, &s))
		return false;
	return v->since == SINCE_BEFORE ? s >= v->modified_s : s == v->modified_s;
}

uint16_t precondition_status(const struct head *req, const struct validator *v)
{
	struct slice date = find(req, "If-Modified-Since"), tags = find(req, "If-None-Match");

	if (is_changed(req, v))
		return 412;
	if (date.p == NULL && tags.p == NULL)
		return 0;
	if (date.p != NULL && !is_since(date, v))
		return 0;
	return tags.p == NULL || etag_is_listed(tags, v->etag, true) ? 304 : 0;
}
