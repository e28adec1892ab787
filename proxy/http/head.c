/* head.c - heads: the tables of names, the field vector, hop-by-hop fields, paths in normal form.
 */
#include "http/head.h"

#include "base/put.h"
#include "http/scan.h"

/*---------------------------------------- names */

const uint8_t field_flags[FIELD_COUNT] = {
#define F(id, name, flags) [F_##id] = (flags),
#include "http/field.def"
#undef F
};

const struct slice field_names[FIELD_COUNT] = {
#define F(id, name, flags) [F_##id] = SLICE(name),
#include "http/field.def"
#undef F
};

const uint8_t method_flags[METHOD_COUNT] = {
#define M(id, flags) [METHOD_##id] = (flags),
#include "http/method.def"
#undef M
};

const struct slice method_names[METHOD_COUNT] = {
	[METHOD_OTHER] = SLICE("_OTHER"),
#define M(id, flags) [METHOD_##id] = SLICE(#id),
#include "http/method.def"
#undef M
};

enum { FIELD_SLOTS = 128 };

/* Open addressing; filled before main, so that a row in field.def is all that a new name takes. */
static uint8_t field_slots[FIELD_SLOTS];

_Static_assert(FIELD_COUNT * 2 < FIELD_SLOTS, "the table of field names is too full");

static unsigned field_hash(struct slice name)
{
	unsigned h = (unsigned)name.n * 7;

	h += char_lower(name.p[0]) * 3u;
	h += char_lower(name.p[name.n / 2]) * 11u;
	h += char_lower(name.p[name.n - 1]);
	return h % FIELD_SLOTS;
}

__attribute__((constructor)) static void field_slots_fill(void)
{
	for (unsigned id = F_REMOVED + 1; id < FIELD_COUNT; id++) {
		unsigned at = field_hash(field_names[id]);

		while (field_slots[at] != F_OTHER)
			at = (at + 1) % FIELD_SLOTS;
		field_slots[at] = (uint8_t)id;
	}
}

static bool name_eq(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (a.p[i] != b.p[i] && char_lower(a.p[i]) != char_lower(b.p[i]))
			return false;
	return true;
}

enum field_id field_lookup(struct slice name)
{
	unsigned at;

	if (name.n == 0)
		return F_OTHER;
	for (at = field_hash(name); field_slots[at] != F_OTHER; at = (at + 1) % FIELD_SLOTS)
		if (name_eq(field_names[field_slots[at]], name))
			return (enum field_id)field_slots[at];
	return F_OTHER;
}

enum method_id method_lookup(struct slice name)
{
	for (unsigned id = METHOD_OTHER + 1; id < METHOD_COUNT; id++)
		if (slice_eq(method_names[id], name))
			return (enum method_id)id;
	return METHOD_OTHER;
}

static const struct slice phrases[] = {
#define S(code, text) [code] = SLICE(text),
#include "http/status.def"
#undef S
};

struct slice status_phrase(uint16_t status)
{
	bool known = status < sizeof(phrases) / sizeof(phrases[0]) && phrases[status].p != NULL;

	return known ? phrases[status] : slice_of("", 0);
}

/*---------------------------------------- the field vector */

enum { FIELDS_FIRST = 24 };

void head_init(struct head *h, struct arena *a)
{
	*h = (struct head){ .arena = a };
}

static bool head_grow(struct head *h)
{
	uint32_t cap = h->cap == 0 ? FIELDS_FIRST : h->cap * 2u;
	struct header *fields;

	if (h->cap == UINT16_MAX)
		return false;
	if (cap > UINT16_MAX)
		cap = UINT16_MAX;
	fields = arena_alloc(h->arena, cap * sizeof(*fields));
	if (fields == NULL)
		return false;
	if (h->n > 0)
		memcpy(fields, h->fields, h->n * sizeof(*fields));
	h->fields = fields;
	h->cap = (uint16_t)cap;
	return true;
}

static bool head_append(struct head *h, uint8_t id, struct slice name, struct slice value)
{
	if (h->n == h->cap && !head_grow(h))
		return false;
	h->fields[h->n++] = (struct header){ .name = name, .value = value, .id = id };
	return true;
}

const struct header *head_find(const struct head *h, enum field_id id)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->fields[i].id == id)
			return &h->fields[i];
	return NULL;
}

static bool is_other_named(const struct header *f, struct slice name)
{
	return f->id == F_OTHER && name_eq(f->name, name);
}

const struct header *head_find_name(const struct head *h, struct slice name)
{
	enum field_id id = field_lookup(name);

	if (id != F_OTHER)
		return head_find(h, id);
	for (unsigned i = 0; i < h->n; i++)
		if (is_other_named(&h->fields[i], name))
			return &h->fields[i];
	return NULL;
}

bool head_add(struct head *h, enum field_id id, struct slice value)
{
	return head_append(h, (uint8_t)id, field_names[id], value);
}

bool head_add_name(struct head *h, struct slice name, struct slice value)
{
	return head_append(h, (uint8_t)field_lookup(name), name, value);
}

bool head_add_copy(struct head *h, enum field_id id, struct slice value)
{
	struct slice copy = arena_copy(h->arena, value);

	return copy.p != NULL && head_add(h, id, copy);
}

bool head_add_u64(struct head *h, enum field_id id, uint64_t value)
{
	char *text = arena_alloc(h->arena, PUT_U64_MAX);

	return text != NULL &&
	       head_add(h, id, slice_of(text, (size_t)(put_u64(text, value) - text)));
}

void head_remove(struct head *h, enum field_id id)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->fields[i].id == id)
			h->fields[i].id = F_REMOVED;
}

void head_remove_name(struct head *h, struct slice name)
{
	enum field_id id = field_lookup(name);

	if (id != F_OTHER) {
		head_remove(h, id);
		return;
	}
	for (unsigned i = 0; i < h->n; i++)
		if (is_other_named(&h->fields[i], name))
			h->fields[i].id = F_REMOVED;
}

bool head_set(struct head *h, enum field_id id, struct slice value)
{
	head_remove(h, id);
	return head_add(h, id, value);
}

bool head_set_name(struct head *h, struct slice name, struct slice value)
{
	head_remove_name(h, name);
	return head_add_name(h, name, value);
}

static bool name_alike(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (char_lower(a.p[i]) != char_lower(b.p[i]) && !(a.p[i] == '_' && b.p[i] == '-'))
			return false;
	return true;
}

void head_remove_alike(struct head *h, struct slice name)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->fields[i].id == F_OTHER && name_alike(h->fields[i].name, name))
			h->fields[i].id = F_REMOVED;
}

static bool name_is_plain(struct slice name, bool underscores)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = char_lower(name.p[i]);

		if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' &&
		    !(c == '_' && underscores))
			return false;
	}
	return true;
}

void head_remove_odd(struct head *h, bool underscores_may_stay)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->fields[i].id == F_OTHER &&
		    !name_is_plain(h->fields[i].name, underscores_may_stay))
			h->fields[i].id = F_REMOVED;
}

/*---------------------------------------- hop-by-hop fields */

struct slice list_next(struct slice *rest)
{
	while (rest->n > 0) {
		struct slice item = slice_trim(slice_cut(rest, ','));

		if (item.n > 0)
			return item;
	}
	return slice_of(NULL, 0);
}

bool head_lists(const struct head *h, enum field_id id, struct slice item)
{
	for (uint16_t i = 0; i < h->n; i++) {
		struct slice list = h->fields[i].value, one;

		while (h->fields[i].id == id && (one = list_next(&list)).n > 0)
			if (slice_ieq(one, item))
				return true;
	}
	return false;
}

static void strip_nominated(struct head *h, struct slice list)
{
	struct slice name;

	while ((name = list_next(&list)).n > 0) {
		enum field_id id = field_lookup(name);

		if (id == F_OTHER)
			head_remove_name(h, name);
		else if (!(field_flags[id] & (FIELD_PROTECTED | FIELD_HOP)))
			head_remove(h, id);
	}
}

void head_strip_hop_by_hop(struct head *h, bool keep_upgrade)
{
	for (unsigned i = 0; i < h->n; i++) {
		uint8_t id = h->fields[i].id;

		if (!(field_flags[id] & FIELD_HOP) || (id == F_UPGRADE && keep_upgrade))
			continue;
		if (id == F_CONNECTION)
			strip_nominated(h, h->fields[i].value);
		h->fields[i].id = F_REMOVED;
	}
}

/*---------------------------------------- paths */

/* What may stand in a segment as it is. */
static inline bool is_plain(char c)
{
	return char_is(c, CH_HOST | CH_SEGMENT);
}

/* Whether there is nothing to do: no escape, nothing to escape, no empty segment, none that begins
 * with a dot. */
static bool path_is_normal(struct slice path)
{
	for (size_t i = 0; i < path.n; i++) {
		if (is_plain(path.p[i]))
			continue;
		if (path.p[i] != '/')
			return false;
		if (i + 1 < path.n && (path.p[i + 1] == '/' || path.p[i + 1] == '.'))
			return false;
	}
	return true;
}

static char *put_byte(char *o, unsigned char c)
{
	static const char digits[] = "0123456789ABCDEF";

	if (is_plain((char)c)) {
		*o++ = (char)c;
		return o;
	}
	*o++ = '%';
	*o++ = digits[c >> 4];
	*o++ = digits[c & 15];
	return o;
}

/* The byte that an escape stands for; 0: malformed, or NUL. */
static unsigned char escaped_byte(const char *p, size_t n)
{
	if (n < 3 || !char_is(p[1], CH_HEX) || !char_is(p[2], CH_HEX))
		return 0;
	return (unsigned char)(char_hex(p[1]) << 4 | char_hex(p[2]));
}

/* Each character as the normal form has it.  The length; -1: malformed, NUL, or not to be. */
static ptrdiff_t path_decode(struct slice path, enum slash_rule rule, char *out)
{
	char *o = out;

	for (size_t i = 0; i < path.n; i++) {
		unsigned char c = (unsigned char)path.p[i];

		if (c == '%') {
			c = escaped_byte(path.p + i, path.n - i);
			i += 2;
			if (c == 0 || (rule == SLASHES_REJECT && (c == '/' || c == '\\')))
				return -1;
			if (c == '/' && rule == SLASHES_DECODE) {
				*o++ = '/';
				continue;
			}
		} else if (c == '/') {
			*o++ = '/';
			continue;
		}
		o = put_byte(o, c);
	}
	return o - out;
}

/* How long it may become. */
static size_t decoded_room(struct slice path)
{
	size_t n = path.n;

	for (size_t i = 0; i < path.n; i++)
		n += is_plain(path.p[i]) || path.p[i] == '/' || path.p[i] == '%' ? 0 : 2;
	return n;
}

/* Merges and resolves segments in place; *n is the new length.  False: above the root.  What is
 * written always ends with the "/" before the segment under way. */
static bool path_resolve(char *p, size_t *n)
{
	struct slice rest = slice_of(p + 1, *n - 1);
	size_t out = 1;

	while (rest.p != NULL) {
		struct slice seg = slice_cut(&rest, '/');

		if (slice_is(seg, "..")) {
			if (out == 1)
				return false;
			for (out--; p[out - 1] != '/';)
				out--;
		} else if (seg.n > 0 && !slice_is(seg, ".")) {
			memmove(p + out, seg.p, seg.n);
			out += seg.n;
			if (rest.p != NULL)
				p[out++] = '/';
		}
	}
	*n = out;
	return true;
}

struct slice head_normal_path(struct slice path, struct arena *a)
{
	return head_normal_path_by(path, SLASHES_KEEP, a);
}

struct slice head_normal_path_by(struct slice path, enum slash_rule rule, struct arena *a)
{
	static const struct slice none = { .p = NULL, .n = 0 };
	ptrdiff_t len;
	size_t n;
	char *p;

	if (path.n == 0 || path.p[0] != '/')
		return none;
	if (path_is_normal(path))
		return path;
	p = arena_alloc(a, decoded_room(path));
	if (p == NULL)
		return none;
	len = path_decode(path, rule, p);
	if (len < 0)
		return none;
	n = (size_t)len;
	return path_resolve(p, &n) ? slice_of(p, n) : none;
}
