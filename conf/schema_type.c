/* schema_type.c - the scalar types of a field table, one row each. */
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "conf/schema_internal.h"
#include "conf/suggest.h"
#include "conf/suggest_value.h"
#include "conf/value.h"

/*----------------------------------------------------------------- parsing */

static const char *parse_bool(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	(void)l;
	(void)f;
	return value_bool(s, dst);
}

static const char *parse_u32(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	(void)l;
	(void)f;
	return value_u32(s, dst);
}

static const char *parse_duration(struct conf_load *l, const struct field *f, struct slice s,
				  void *dst)
{
	(void)l;
	(void)f;
	return value_duration(s, dst);
}

static const char *parse_rate(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	(void)l;
	(void)f;
	return value_rate(s, dst);
}

static const char *parse_bytes(struct conf_load *l, const struct field *f, struct slice s,
			       void *dst)
{
	(void)l;
	(void)f;
	return value_bytes(s, dst);
}

static const char *parse_share(struct conf_load *l, const struct field *f, struct slice s,
			       void *dst)
{
	(void)l;
	(void)f;
	return value_share(s, dst);
}

static const char *one_of(struct conf_load *l, const char *const *names)
{
	const char *list = names[0];

	for (size_t i = 1; list != NULL && names[i] != NULL; i++)
		list = arena_printf(l->diags->arena, "%s%s%s", list,
				    names[i + 1] == NULL ? " or " : ", ", names[i]);
	list = list == NULL ? NULL : arena_printf(l->diags->arena, "it is %s", list);
	if (list == NULL)
		diags_out_of_memory(l->diags);
	return list == NULL ? "it is none of those it can be" : list;
}

static int index_of(const char *const *names, struct slice s)
{
	for (int i = 0; names[i] != NULL; i++)
		if (slice_is(s, names[i]))
			return i;
	return -1;
}

static const char *wrong_length(struct conf_load *l, const char *which, uint64_t bytes)
{
	const char *why = arena_printf(l->diags->arena, "it has at %s %llu bytes", which,
				       (unsigned long long)bytes);

	if (why == NULL)
		diags_out_of_memory(l->diags);
	return why == NULL ? "its length is out of bounds" : why;
}

static const char *parse_string(struct conf_load *l, const struct field *f, struct slice s,
				void *dst)
{
	if (f->names != NULL && index_of(f->names, s) < 0)
		return one_of(l, f->names);
	if (s.n < f->min)
		return s.n == 0 ? "it is empty" : wrong_length(l, "least", f->min);
	if (f->max != 0 && s.n > f->max)
		return wrong_length(l, "most", f->max);
	*(const char **)dst = conf_strdup(l, s);
	return NULL;
}

static const char *parse_enum(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	int i = index_of(f->names, s);

	*(int *)dst = i < 0 ? 0 : i;
	return i < 0 ? one_of(l, f->names) : NULL;
}

static const char *parse_addr(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	const struct addr *a = dst;
	struct slice path = SLICE("unix:");

	(void)l;
	(void)f;
	if (slice_starts(s, path) && s.n > path.n + sizeof(a->u.un.sun_path) - 1)
		return "the path of a unix socket has at most 107 bytes";
	if (s.n > 0 && memchr(s.p, ',', s.n) != NULL)
		return "that is more than one address: several make a list, [:8080, :8081]";
	if (!addr_parse(s, dst))
		return "an address is a numeric one with a port from 1 to 65535, such as "
		       "127.0.0.1:8080, [::1]:8080 or :8080, or unix:/path";
	if (a->u.sa.sa_family != AF_UNIX && addr_port(a) == 0)
		return "a port is between 1 and 65535";
	return NULL;
}

static const char *parse_cidr(struct conf_load *l, const struct field *f, struct slice s, void *dst)
{
	(void)l;
	(void)f;
	return cidr_parse(s, dst) ? NULL
				  : "a network is written as 10.0.0.0/8, 2001:db8::/32 or 10.0.0.1";
}

/*-------------------------------------------------------------- suggestions */

static const char *suggest_bool(struct conf_load *l, const struct field *f, struct slice s)
{
	static const char *const yes[] = { "yes", "on", "true", "y", "1", NULL };
	static const char *const no[] = { "no", "off", "false", "n", "0", NULL };

	(void)l;
	(void)f;
	for (int i = 0; yes[i] != NULL; i++)
		if (slice_ieq(s, slice_str(yes[i])))
			return "true";
	for (int i = 0; no[i] != NULL; i++)
		if (slice_ieq(s, slice_str(no[i])))
			return "false";
	return NULL;
}

/* NULL when there is none, or memory is out: that is no loss. */
static const char *suggest_by(struct conf_load *l, struct slice s,
			      bool (*find)(struct slice, char out[SUGGEST_VALUE_MAX]))
{
	char text[SUGGEST_VALUE_MAX];

	return find(s, text) ? arena_strdup(l->diags->arena, text) : NULL;
}

static const char *suggest_u32(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)f;
	return suggest_by(l, s, suggest_value_u32);
}

static const char *suggest_duration(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)f;
	return suggest_by(l, s, suggest_value_duration);
}

static const char *suggest_rate(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)f;
	return suggest_by(l, s, suggest_value_rate);
}

static const char *suggest_bytes(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)f;
	return suggest_by(l, s, suggest_value_bytes);
}

static const char *suggest_addr(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)f;
	return suggest_by(l, s, suggest_value_addr);
}

static const char *suggest_share(struct conf_load *l, const struct field *f, struct slice s)
{
	uint32_t n;

	(void)f;
	return value_u32(s, &n) == NULL && n <= 100 ? arena_printf(l->diags->arena, "%u%%", n)
						    : NULL;
}

static const char *suggest_name(struct conf_load *l, const struct field *f, struct slice s)
{
	(void)l;
	return f->names == NULL ? NULL : suggest_among(s, f->names);
}

/*---------------------------------------------------------------- printing */

static void print_bool(const struct field *f, const void *src, struct buf *out)
{
	(void)f;
	buf_puts(out, *(const bool *)src ? "true" : "false");
}

static void print_u32(const struct field *f, const void *src, struct buf *out)
{
	(void)f;
	buf_u64(out, *(const uint32_t *)src);
}

static void print_duration(const struct field *f, const void *src, struct buf *out)
{
	char text[32];

	(void)f;
	value_print_duration(*(const uint64_t *)src, text);
	buf_puts(out, text);
}

static void print_rate(const struct field *f, const void *src, struct buf *out)
{
	char text[VALUE_RATE_MAX];

	(void)f;
	value_print_rate(src, text);
	buf_puts(out, text);
}

static void print_bytes(const struct field *f, const void *src, struct buf *out)
{
	char text[32];

	(void)f;
	value_print_bytes(*(const uint64_t *)src, text);
	buf_puts(out, text);
}

static void print_share(const struct field *f, const void *src, struct buf *out)
{
	char text[16];

	(void)f;
	value_print_share(*(const uint32_t *)src, text);
	buf_puts(out, text);
}

static void print_string(const struct field *f, const void *src, struct buf *out)
{
	const char *s = *(const char *const *)src;

	(void)f;
	if (s != NULL)
		buf_puts(out, s);
}

static void print_enum(const struct field *f, const void *src, struct buf *out)
{
	buf_puts(out, f->names[*(const int *)src]);
}

static void print_addr(const struct field *f, const void *src, struct buf *out)
{
	char text[ADDR_TEXT_MAX];

	(void)f;
	addr_format(src, text);
	buf_puts(out, text);
}

static void print_cidr(const struct field *f, const void *src, struct buf *out)
{
	const struct cidr *c = src;
	char text[IP_TEXT_MAX];

	(void)f;
	ip_format(&c->ip, text);
	buf_puts(out, text);
	if (c->bits != 128)
		buf_printf(out, "/%d", ip_is_v4(&c->ip) && c->bits >= 96 ? c->bits - 96 : c->bits);
}

/*------------------------------------------------------------------ bounds */

static uint64_t number_u32(const void *src)
{
	return *(const uint32_t *)src;
}

static uint64_t number_u64(const void *src)
{
	return *(const uint64_t *)src;
}

static void put_number_u32(uint64_t n, char out[32])
{
	snprintf(out, 32, "%u", (unsigned)n);
}

static void put_number_share(uint64_t n, char out[32])
{
	value_print_share((uint32_t)n, out);
}

const struct scalar_type scalar_types[C_TYPE_COUNT] = {
	[C_BOOL] = { .what = "true or false",
		     .size = sizeof(bool),
		     .parse = parse_bool,
		     .suggest = suggest_bool,
		     .print = print_bool,
		     .json_type = "\"boolean\",\"string\"",
		     .pattern = "[$][{]" },
	[C_U32] = { .what = "a whole number",
		    .size = sizeof(uint32_t),
		    .parse = parse_u32,
		    .suggest = suggest_u32,
		    .print = print_u32,
		    .number = number_u32,
		    .print_number = put_number_u32,
		    .most = UINT32_MAX,
		    .json_type = "\"integer\",\"string\"",
		    .pattern = "^[0-9]+$|[$][{]" },
	[C_DURATION] = { .what = "a duration such as 250ms or 1h30m",
			 .size = sizeof(uint64_t),
			 .parse = parse_duration,
			 .suggest = suggest_duration,
			 .print = print_duration,
			 .number = number_u64,
			 .print_number = value_print_duration,
			 .json_type = "\"string\"",
			 .pattern = "^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h|d))+$|[$][{]" },
	[C_RATE] = { .what = "a rate such as 100/s, 600/m or 5/10s",
		     .size = sizeof(struct rate),
		     .parse = parse_rate,
		     .suggest = suggest_rate,
		     .print = print_rate,
		     .json_type = "\"string\"",
		     .pattern =
			 "^[0-9]+/"
			 "([smhd]|([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h|d))+)$|^unlimited$|[$][{]" },
	[C_BYTES] = { .what = "a size such as 64KiB",
		      .size = sizeof(uint64_t),
		      .parse = parse_bytes,
		      .suggest = suggest_bytes,
		      .print = print_bytes,
		      .number = number_u64,
		      .print_number = value_print_bytes,
		      .json_type = "\"integer\",\"string\"",
		      .pattern = "^[0-9]+([.][0-9]+)?(B|KiB|MiB|GiB|TiB)?$|[$][{]" },
	[C_SHARE] = { .what = "a share such as 50%",
		      .size = sizeof(uint32_t),
		      .parse = parse_share,
		      .suggest = suggest_share,
		      .print = print_share,
		      .number = number_u32,
		      .print_number = put_number_share,
		      .json_type = "\"string\"",
		      .pattern = "^[0-9]+([.][0-9]+)?%$|[$][{]" },
	[C_STRING] = { .what = "text",
		       .size = sizeof(const char *),
		       .parse = parse_string,
		       .suggest = suggest_name,
		       .print = print_string,
		       .json_type = "\"string\",\"number\",\"boolean\"" },
	[C_ENUM] = { .what = "one of a few words",
		     .size = sizeof(int),
		     .parse = parse_enum,
		     .suggest = suggest_name,
		     .print = print_enum,
		     .json_type = "\"string\"" },
	[C_ADDR] = { .what = "an address such as 127.0.0.1:8080, :8080 or unix:/path",
		     .size = sizeof(struct addr),
		     .parse = parse_addr,
		     .suggest = suggest_addr,
		     .print = print_addr,
		     .json_type = "\"string\"" },
	[C_CIDR] = { .what = "a network such as 10.0.0.0/8",
		     .size = sizeof(struct cidr),
		     .parse = parse_cidr,
		     .print = print_cidr,
		     .json_type = "\"string\"" },
};
