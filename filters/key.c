/* key.c - key specifications: one table of sources, each a parser of its argument and a reader of
 * its value. */
#include "filters/key.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "conf/suggest.h"
#include "conf/value.h"
#include "filters/identity.h"

enum {
	SCRATCH_BYTES = KEY_SCRATCH_BYTES,
	INLINE_BYTES = 64, /* longer values go in as their own hash */
};

/* Where a value that has to be made is put; values that stand somewhere already are borrowed. */
struct scratch {
	char p[SCRATCH_BYTES];
};

struct key_source {
	const char *name;   /* "client.ip"; with a dot at the end: an argument follows */
	const char *syntax; /* as the list of sources shows it */
	bool free_choice;   /* anyone can put anything there */
	unsigned identity;  /* enum identity_kind: what has to be verified first; 0: nothing */
	/* NULL, or what is wrong with the argument.  A NULL parser: none is allowed, or any will
	 * do. */
	const char *(*parse)(struct slice arg, struct key_part *);
	/* False: the call does not have it. */
	bool (*read)(const struct key_part *, const struct call *, struct scratch *,
		     struct slice *);
	/* The form in which a value of the configuration has to be compared; NULL: as it is. */
	struct slice (*normal)(struct slice, struct scratch *);
};

/*--------------------------------------------------------------- arguments */

static bool is_token(struct slice s)
{
	static const char chars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || strchr(chars, s.p[i]) == NULL)
			return false;
	return s.n > 0;
}

static const char *parse_header(struct slice arg, struct key_part *part)
{
	if (!is_token(arg))
		return "is not the name of a header";
	part->field = (uint8_t)field_lookup(arg);
	return NULL;
}

static const char *parse_token(struct slice arg, struct key_part *part)
{
	(void)part;
	return is_token(arg) ? NULL : "is not a name";
}

static const char *parse_any(struct slice arg, struct key_part *part)
{
	(void)part;
	return arg.n > 0 ? NULL : "lacks what follows the dot";
}

static bool parse_bits(struct slice s, uint32_t max, uint8_t *bits)
{
	uint32_t n;

	if (value_u32(s, &n) != NULL || n > max)
		return false;
	*bits = (uint8_t)n;
	return true;
}

/* "" or "/24/48" */
static const char *parse_client_ip(struct slice arg, struct key_part *part)
{
	struct slice v4;

	part->v4 = 32;
	part->v6 = 64;
	if (arg.n == 0)
		return NULL;
	slice_cut(&arg, '/');
	v4 = slice_cut(&arg, '/');
	if (!parse_bits(v4, 32, &part->v4) || !parse_bits(arg, 128, &part->v6))
		return "takes two prefix lengths, for IPv4 and IPv6: client.ip/24/48";
	return NULL;
}

/*------------------------------------------------------------------ values */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Takes one character of a query off *s, decoded (application/x-www-form-urlencoded); malformed
 * escapes stand for themselves. */
static char query_char(struct slice *s)
{
	int hi, lo;
	char c = s->p[0];

	if (c == '%' && s->n >= 3 && (hi = hex_digit(s->p[1])) >= 0 &&
	    (lo = hex_digit(s->p[2])) >= 0) {
		s->p += 3;
		s->n -= 3;
		return (char)(hi << 4 | lo);
	}
	s->p++;
	s->n--;
	return c == '+' ? ' ' : c;
}

static bool query_name_is(struct slice raw, struct slice name)
{
	size_t i = 0;

	while (raw.n > 0)
		if (query_char(&raw) != (i < name.n ? name.p[i] : '\0') || ++i > name.n)
			return false;
	return i == name.n;
}

/* One value has one bucket, however it is escaped; one too long to decode is taken as it is. */
static struct slice query_value(struct slice raw, struct scratch *scratch)
{
	size_t n = 0;

	if (raw.n > SCRATCH_BYTES)
		return raw;
	while (raw.n > 0)
		scratch->p[n++] = query_char(&raw);
	return slice_of(scratch->p, n);
}

static bool read_query(const struct key_part *part, const struct call *call,
		       struct scratch *scratch, struct slice *out)
{
	struct slice rest = call->req->query;

	while (rest.n > 0) {
		struct slice value = slice_cut(&rest, '&');
		struct slice name = slice_cut(&value, '=');

		if (!query_name_is(name, part->name))
			continue;
		*out = query_value(value, scratch);
		return out->n > 0;
	}
	return false;
}

static bool find_cookie(struct slice list, struct slice name, struct slice *out)
{
	while (list.n > 0) {
		struct slice value = slice_trim(slice_cut(&list, ';'));

		if (!slice_eq(slice_cut(&value, '='), name))
			continue;
		*out = value;
		return value.n > 0;
	}
	return false;
}

static bool read_cookie(const struct key_part *part, const struct call *call,
			struct scratch *scratch, struct slice *out)
{
	const struct head *h = call->req;

	(void)scratch;
	for (uint16_t i = 0; i < h->n; i++)
		if (h->fields[i].id == F_COOKIE && find_cookie(h->fields[i].value, part->name, out))
			return true;
	return false;
}

static bool read_header(const struct key_part *part, const struct call *call,
			struct scratch *scratch, struct slice *out)
{
	const struct header *h = part->field != F_OTHER ? head_find(call->req, part->field)
							: head_find_name(call->req, part->name);

	(void)scratch;
	if (h != NULL)
		*out = h->value;
	return h != NULL && out->n > 0;
}

static bool read_client_ip(const struct key_part *part, const struct call *call,
			   struct scratch *scratch, struct slice *out)
{
	static const struct ip none;
	struct ip ip;

	if (memcmp(&call->client, &none, sizeof(none)) == 0)
		return false;
	ip = ip_mask(&call->client, ip_is_v4(&call->client) ? 96U + part->v4 : part->v6);
	memcpy(scratch->p, ip.b, sizeof(ip.b));
	*out = slice_of(scratch->p, sizeof(ip.b));
	return true;
}

/* Lower case, without the port and the dot of a fully qualified name. */
static struct slice normal_host(struct slice host, struct scratch *scratch)
{
	const char *colon = host.n > 0 ? memrchr(host.p, ':', host.n) : NULL;

	if (colon != NULL && memchr(colon, ']', host.n - (size_t)(colon - host.p)) == NULL)
		host.n = (size_t)(colon - host.p);
	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n > SCRATCH_BYTES)
		return host;
	for (size_t i = 0; i < host.n; i++)
		scratch->p[i] = lower(host.p[i]);
	return slice_of(scratch->p, host.n);
}

static bool read_host(const struct key_part *part, const struct call *call, struct scratch *scratch,
		      struct slice *out)
{
	(void)part;
	*out = normal_host(call->req->authority, scratch);
	return out->n > 0;
}

static bool read_path(const struct key_part *part, const struct call *call, struct scratch *scratch,
		      struct slice *out)
{
	(void)part, (void)scratch;
	*out = call->path;
	return out->n > 0;
}

static bool read_method(const struct key_part *part, const struct call *call,
			struct scratch *scratch, struct slice *out)
{
	(void)part, (void)scratch;
	*out = call->req->method;
	return out->n > 0;
}

static bool read_route(const struct key_part *part, const struct call *call,
		       struct scratch *scratch, struct slice *out)
{
	(void)part, (void)scratch;
	*out = slice_str(call->route);
	return out->n > 0;
}

static bool read_tls_san(const struct key_part *part, const struct call *call,
			 struct scratch *scratch, struct slice *out)
{
	(void)part, (void)scratch;
	*out = call->tls_san;
	return out->n > 0;
}

static bool read_claim(const struct key_part *part, const struct call *call,
		       struct scratch *scratch, struct slice *out)
{
	(void)scratch;
	return identity_claim(call->who, part->name, out);
}

static bool read_api_key(const struct key_part *part, const struct call *call,
			 struct scratch *scratch, struct slice *out)
{
	(void)part, (void)scratch;
	if (call->who != NULL)
		*out = call->who->api_key;
	return call->who != NULL && out->n > 0;
}

/* A hash, as a list of keys may have it. */
static struct slice normal_hash(struct slice hash, struct scratch *scratch)
{
	static const struct slice prefix = SLICE("sha256:");

	if (slice_starts(hash, prefix))
		hash = slice_of(hash.p + prefix.n, hash.n - prefix.n);
	if (hash.n > SCRATCH_BYTES)
		return hash;
	for (size_t i = 0; i < hash.n; i++)
		scratch->p[i] = lower(hash.p[i]);
	return slice_of(scratch->p, hash.n);
}

static bool read_upstream(const struct key_part *part, const struct call *call,
			  struct scratch *scratch, struct slice *out)
{
	(void)part, (void)scratch;
	*out = slice_str(call->upstream);
	return out->n > 0;
}

static bool read_value(const struct key_part *part, const struct call *call,
		       struct scratch *scratch, struct slice *out)
{
	(void)scratch;
	return call->value != NULL && call->value(call, part->name, out);
}

static bool read_const(const struct key_part *part, const struct call *call,
		       struct scratch *scratch, struct slice *out)
{
	(void)call, (void)scratch;
	*out = part->name;
	return true;
}

/*----------------------------------------------------------------- sources */

static const struct key_source sources[] = {
	{ .name = "client.ip",
	  .syntax = "client.ip[/v4/v6]",
	  .parse = parse_client_ip,
	  .read = read_client_ip },
	{ .name = "header.",
	  .syntax = "header.NAME",
	  .parse = parse_header,
	  .read = read_header,
	  .free_choice = true },
	{ .name = "query.",
	  .syntax = "query.NAME",
	  .parse = parse_any,
	  .read = read_query,
	  .free_choice = true },
	{ .name = "cookie.",
	  .syntax = "cookie.NAME",
	  .parse = parse_token,
	  .read = read_cookie,
	  .free_choice = true },
	{ .name = "jwt.",
	  .syntax = "jwt.CLAIM",
	  .parse = parse_any,
	  .read = read_claim,
	  .identity = IDENTITY_JWT },
	{ .name = "api_key",
	  .syntax = "api_key",
	  .read = read_api_key,
	  .normal = normal_hash,
	  .identity = IDENTITY_API_KEY },
	{ .name = "tls.san", .syntax = "tls.san", .read = read_tls_san },
	{ .name = "host", .syntax = "host", .read = read_host, .normal = normal_host },
	{ .name = "path", .syntax = "path", .read = read_path },
	{ .name = "method", .syntax = "method", .read = read_method },
	{ .name = "route", .syntax = "route", .read = read_route },
	{ .name = "upstream", .syntax = "upstream", .read = read_upstream },
	{ .name = "value.", .syntax = "value.NAME", .parse = parse_any, .read = read_value },
	{ .name = "const.", .syntax = "const.x", .parse = parse_any, .read = read_const },
};

enum { SOURCES = sizeof(sources) / sizeof(sources[0]) };

static bool takes_argument(const struct key_source *s)
{
	return s->name[strlen(s->name) - 1] == '.';
}

static bool source_matches(const struct key_source *s, struct slice text)
{
	struct slice name = slice_str(s->name);

	if (!slice_starts(text, name))
		return false;
	if (takes_argument(s) || text.n == name.n)
		return true;
	return s->parse != NULL && text.p[name.n] == '/';
}

static const struct key_source *source_find(struct slice text)
{
	for (size_t i = 0; i < SOURCES; i++)
		if (source_matches(&sources[i], text))
			return &sources[i];
	return NULL;
}

/*----------------------------------------------------------------- parsing */

static struct diag *bad_part(struct conf_load *load, const struct node *node, const char *what)
{
	struct diag *d =
	    diag_error(load->diags, node->at, "E015", "key `%.*s` %s", SLICE_FMT(node->text), what);
	struct buf b = { .p = NULL };

	buf_puts(&b, "a key is one of, or a list of:");
	for (size_t i = 0; i < SOURCES; i++)
		buf_printf(&b, " %s", sources[i].syntax);
	if (!b.oom)
		d->help = arena_strdup(load->arena, b.p);
	buf_fini(&b);
	return d;
}

/* Of "headr.x-tenant" only "headr." is compared; the rest comes along. */
static const char *nearest(struct arena *arena, struct slice text)
{
	struct slice stem = text, rest;
	struct suggest whole, part;

	slice_cut(&stem, '.');
	rest = stem;
	stem = slice_of(text.p, text.n - rest.n);
	suggest_begin(&whole, text);
	suggest_begin(&part, stem);
	for (size_t i = 0; i < SOURCES; i++)
		suggest_offer(takes_argument(&sources[i]) ? &part : &whole, sources[i].name);
	if (slice_is(text, "ip"))
		return "client.ip";
	if (whole.best == NULL && part.best != NULL && rest.n > 0)
		return arena_printf(arena, "%s%.*s", part.best, SLICE_FMT(rest));
	return whole.best;
}

static bool parse_part(struct conf_load *load, const struct node *node, struct key_part *part)
{
	const struct key_source *s;
	const char *wrong = NULL;
	struct slice text;

	if (node->kind != NODE_SCALAR) {
		diag_error(load->diags, node->at, "E014", "a key is a word, or a list of words");
		return false;
	}
	s = source_find(node->text);
	if (s == NULL) {
		bad_part(load, node, "is not known")->suggestion = nearest(load->arena, node->text);
		return false;
	}
	text = arena_copy(load->arena, node->text); /* the tree goes before the key */
	if (text.p == NULL) {
		diags_out_of_memory(load->diags);
		return false;
	}
	part->source = s;
	part->name = slice_of(text.p + strlen(s->name), text.n - strlen(s->name));
	if (s->parse != NULL)
		wrong = s->parse(part->name, part);
	if (wrong != NULL)
		bad_part(load, node, wrong);
	return wrong == NULL;
}

static void print_part(struct buf *b, const struct key_part *part)
{
	buf_puts(b, part->source->name);
	if (part->source->read == read_header) {
		for (size_t i = 0; i < part->name.n; i++)
			buf_putc(b, lower(part->name.p[i]));
	} else if (part->source->read == read_client_ip) {
		if (part->v4 != 32 || part->v6 != 64)
			buf_printf(b, "/%u/%u", part->v4, part->v6);
	} else {
		buf_put(b, part->name.p, part->name.n);
	}
}

static bool set_text(struct conf_load *load, struct key_spec *spec)
{
	struct buf b = { .p = NULL };

	for (uint32_t i = 0; i < spec->n; i++) {
		if (i > 0)
			buf_putc(&b, ',');
		print_part(&b, &spec->part[i]);
	}
	spec->text = b.oom || b.n == 0 ? NULL : arena_strdup(load->arena, b.p);
	buf_fini(&b);
	if (spec->text == NULL)
		diags_out_of_memory(load->diags);
	return spec->text != NULL;
}

static bool parse_list(struct conf_load *load, const struct node *list, struct key_spec *spec)
{
	bool ok = true;

	for (const struct node *n = list->first; n != NULL; n = n->next) {
		if (spec->n == KEY_PARTS_MAX) {
			diag_error(load->diags, n->at, "E016", "a key has at most %d parts",
				   KEY_PARTS_MAX);
			return false;
		}
		ok &= parse_part(load, n, &spec->part[spec->n++]);
	}
	if (list->first == NULL) {
		diag_error(load->diags, list->at, "E011", "an empty list is no key");
		return false;
	}
	return ok;
}

static bool key_parse(struct conf_load *load, const struct node *node, void *dst)
{
	struct key_spec *spec = dst;
	bool ok;

	*spec = (struct key_spec){ .n = 0 };
	if (node->kind == NODE_LIST) {
		ok = parse_list(load, node, spec);
	} else {
		spec->n = 1;
		ok = parse_part(load, node, &spec->part[0]);
	}
	return ok && set_text(load, spec);
}

static void dump_part(struct buf *out, const struct key_part *part)
{
	struct buf b = { .p = NULL };

	print_part(&b, part);
	buf_json_string(out, slice_of(b.p, b.n));
	out->oom |= b.oom;
	buf_fini(&b);
}

static void key_dump(const void *src, struct buf *out)
{
	const struct key_spec *spec = src;

	if (spec->n == 0)
		return; /* absent: an empty list would not load again */
	if (spec->n != 1)
		buf_putc(out, '[');
	for (uint32_t i = 0; i < spec->n; i++) {
		if (i > 0)
			buf_puts(out, ", ");
		dump_part(out, &spec->part[i]);
	}
	if (spec->n != 1)
		buf_putc(out, ']');
}

#define PATTERN                                                      \
	"\"type\":\"string\",\"pattern\":\"^(client\\\\.ip(/[0-9]+/" \
	"[0-9]+)?|(header|query|cookie|const|value|jwt)\\\\..+|"     \
	"api_key|tls[.]san|host|path|method|route|upstream)$|[$][{]\""

const struct custom_ops key_custom = {
	.parse = key_parse,
	.dump = key_dump,
	.json_schema =
	    "{\"oneOf\":[{" PATTERN
	    "},{\"type\":\"array\",\"minItems\":1,\"maxItems\":8,\"items\":{" PATTERN "}}]}",
};

/*------------------------------------------------------------ fingerprints */

struct print {
	const struct hash_key *key;
	size_t n;
	char p[KEY_PARTS_MAX * (sizeof(uint32_t) + INLINE_BYTES)];
};

static void print_add(struct print *print, struct slice value)
{
	uint32_t n = (uint32_t)value.n;
	uint64_t hash;

	memcpy(print->p + print->n, &n, sizeof(n));
	print->n += sizeof(n);
	if (value.n > INLINE_BYTES) {
		hash = hash_siphash(print->key, value.p, value.n);
		value = slice_of((const char *)&hash, sizeof(hash));
	}
	memcpy(print->p + print->n, value.p, value.n);
	print->n += value.n;
}

static uint64_t print_hash(const struct print *print)
{
	return hash_siphash(print->key, print->p, print->n);
}

static bool fingerprint(const struct key_spec *spec, const struct call *call,
			const struct hash_key *key, uint64_t *out)
{
	struct print print;

	print.key = key;
	print.n = 0;
	for (uint32_t i = 0; i < spec->n; i++) {
		const struct key_part *part = &spec->part[i];
		struct scratch scratch;
		struct slice value;

		if (!part->source->read(part, call, &scratch, &value))
			return false;
		print_add(&print, value);
	}
	*out = print_hash(&print);
	return true;
}

bool key_fingerprint(const struct key_spec *spec, const struct call *call, uint64_t *out)
{
	return fingerprint(spec, call, hash_boot_key(), out);
}

bool key_fingerprint_everywhere(const struct key_spec *spec, const struct call *call, uint64_t *out)
{
	static const struct hash_key nobodys = { .k0 = 0, .k1 = 0 };

	return fingerprint(spec, call, &nobodys, out);
}

void key_values(const struct key_spec *spec, const struct call *call, struct key_values *out)
{
	out->n = spec->n;
	for (uint32_t i = 0; i < spec->n; i++) {
		const struct key_part *part = &spec->part[i];

		if (part->source->read(part, call, (struct scratch *)(void *)out->scratch[i],
				       &out->part[i]))
			continue;
		out->n = 0;
		break;
	}
	if (out->n > 0)
		return;
	out->n = 1;
	out->part[0] = slice_of("", 0);
}

bool key_value(const struct key_spec *spec, const struct call *call,
	       char scratch[static KEY_SCRATCH_BYTES], struct slice *out)
{
	const struct key_part *part = &spec->part[0];

	return part->source->read(part, call, (struct scratch *)(void *)scratch, out);
}

static void describe_ip(struct slice value, const struct key_part *part, struct buf *out)
{
	char text[IP_TEXT_MAX];
	struct ip ip;

	memcpy(ip.b, value.p, sizeof(ip.b));
	ip_format(&ip, text);
	buf_puts(out, text);
	if (ip_is_v4(&ip) ? part->v4 < 32 : part->v6 < 128)
		buf_printf(out, "/%u", ip_is_v4(&ip) ? part->v4 : part->v6);
}

void key_describe(const struct key_spec *spec, const struct call *call, struct buf *out)
{
	for (uint32_t i = 0; i < spec->n; i++) {
		const struct key_part *part = &spec->part[i];
		struct scratch scratch;
		struct slice value;

		if (i > 0)
			buf_puts(out, ", ");
		print_part(out, part);
		buf_puts(out, " = ");
		if (!part->source->read(part, call, &scratch, &value))
			buf_puts(out, "(none)");
		else if (part->source->read == read_client_ip)
			describe_ip(value, part, out);
		else
			buf_put(out, value.p, value.n);
	}
}

uint64_t key_fingerprint_missing(void)
{
	/* A length no value has. */
	struct print print = { .key = hash_boot_key(), .n = sizeof(uint32_t) };

	memset(print.p, 0xff, sizeof(uint32_t));
	return print_hash(&print);
}

uint64_t key_fingerprint_value(const struct key_spec *spec, struct slice value)
{
	const struct key_source *s = spec->part[0].source;
	struct print print;
	struct scratch scratch;

	print.key = hash_boot_key();
	print.n = 0;
	print_add(&print, s->normal == NULL ? value : s->normal(value, &scratch));
	return print_hash(&print);
}

/* Where the part takes no value, none is used up. */
static bool value_of_text(const struct key_part *part, const struct slice *text, unsigned n,
			  unsigned *used, struct call *stand_in, struct scratch *scratch,
			  struct slice *out)
{
	const struct key_source *s = part->source;

	if (s->read == read_const)
		return s->read(part, stand_in, scratch, out);
	if (*used == n)
		return false;
	*out = text[(*used)++];
	if (s->read == read_client_ip)
		return ip_parse(*out, &stand_in->client) && s->read(part, stand_in, scratch, out);
	if (s->normal != NULL)
		*out = s->normal(*out, scratch);
	return true;
}

bool key_fingerprint_text(const struct key_spec *spec, const struct slice *value, unsigned n,
			  struct ip *client, uint64_t *out)
{
	struct call stand_in = { .client = *client };
	struct scratch scratch[KEY_PARTS_MAX];
	struct print print;
	unsigned used = 0;

	print.key = hash_boot_key();
	print.n = 0;
	for (uint32_t i = 0; i < spec->n; i++) {
		struct slice part;

		if (!value_of_text(&spec->part[i], value, n, &used, &stand_in, &scratch[i], &part))
			return false;
		print_add(&print, part);
	}
	*client = stand_in.client;
	*out = print_hash(&print);
	return used == n;
}

unsigned key_identity(const struct key_spec *spec)
{
	unsigned kinds = 0;

	for (uint32_t i = 0; i < spec->n; i++)
		kinds |= spec->part[i].source->identity;
	return kinds;
}

struct slice key_value_name(const struct key_spec *spec, uint32_t i)
{
	return spec->part[i].source->read == read_value ? spec->part[i].name : slice_of(NULL, 0);
}

static bool has_source(const struct key_spec *spec,
		       bool (*read)(const struct key_part *, const struct call *, struct scratch *,
				    struct slice *))
{
	for (uint32_t i = 0; i < spec->n; i++)
		if (spec->part[i].source->read == read)
			return true;
	return false;
}

bool key_has_client_ip(const struct key_spec *spec)
{
	return has_source(spec, read_client_ip);
}

bool key_has_tls_san(const struct key_spec *spec)
{
	return has_source(spec, read_tls_san);
}

struct slice key_free_choice(const struct key_spec *spec, char out[static 128])
{
	for (uint32_t i = 0; i < spec->n; i++) {
		const struct key_part *part = &spec->part[i];
		int n;

		if (!part->source->free_choice)
			continue;
		n = snprintf(out, 128, "%s%.*s", part->source->name, SLICE_FMT(part->name));
		return slice_of(out, n < 128 ? (size_t)n : 127);
	}
	return (struct slice){ .p = NULL, .n = 0 };
}
