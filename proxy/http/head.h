/* head.h - a request or response head: pseudo fields and a field vector.
 *
 * Everything lies in one arena (the call's); slices point into it.  A field is
 * removed by marking it, so positions stay stable while one walks the vector. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

/* Field names the code asks for; recognised once, while parsing. */
enum field_id {
	F_OTHER = 0,
	F_REMOVED, /* taken out by head_remove */
#define F(id, name, flags) F_##id,
#include "http/field.def"
#undef F
	FIELD_COUNT
};

enum field_flag {
	FIELD_HOP = 1 << 0, /* hop-by-hop: never forwarded (RFC 9110 section 7.6.1)           */
	FIELD_PROTECTED = 1 << 1, /* Connection may not nominate it: framing or routing needs it */
	FIELD_SINGLE = 1 << 2, /* at most once (RFC 9110 section 5.3 exceptions are not marked) */
};

enum method_id {
	METHOD_OTHER = 0,
#define M(id, flags) METHOD_##id,
#include "http/method.def"
#undef M
	METHOD_COUNT
};

enum method_flag {
	METHOD_SAFE = 1 << 0,       /* RFC 9110 section 9.2.1 */
	METHOD_IDEMPOTENT = 1 << 1, /* RFC 9110 section 9.2.2 */
};

/* How the body is delimited (RFC 9112 section 6.3). */
enum body_kind {
	BODY_NONE,
	BODY_LENGTH,
	BODY_CHUNKED,
	BODY_CLOSE, /* responses only: until the connection closes */
	BODY_TUNNEL /* after 101: raw bytes both ways */
};

struct header {
	struct slice name, value;
	uint8_t id; /* enum field_id */
};

struct head {
	struct arena *arena;

	/* requests */
	uint8_t method_id;
	struct slice method;
	struct slice target;    /* as it came */
	struct slice authority; /* of the absolute form, else of Host; may be empty in 1.0 */
	struct slice path;      /* as it came, without the query; "*" for OPTIONS * */
	struct slice query;     /* behind the first '?', p == NULL: no '?' */
	bool expect_continue;
	bool as_10; /* it goes out as HTTP/1.0, unless its body is chunked */
	bool rerouted; /* it is not what the client asked for: a route has sent the call on */

	/* responses */
	uint16_t status;
	struct slice phrase; /* p == NULL: the usual one for status */

	/* both */
	uint8_t minor; /* HTTP/1.minor: 0 or 1; of HTTP/2: 1 */
	bool h2;       /* it came as HTTP/2 */
	/* enum body_kind.  Of an answer to HEAD and of 304: BODY_LENGTH is what GET would have had,
	 * none comes; whether one comes is what `end` says beside the head. */
	uint8_t body;
	uint64_t length; /* BODY_LENGTH, bytes */
	bool keep_alive;
	bool upgrade; /* Connection nominates Upgrade, and Upgrade is there; requests: and it is to
			 be heeded */
	struct header *fields;
	uint16_t n, cap;
};

extern const uint8_t field_flags[FIELD_COUNT];
extern const struct slice field_names[FIELD_COUNT];
extern const uint8_t method_flags[METHOD_COUNT];
extern const struct slice method_names[METHOD_COUNT]; /* METHOD_OTHER is "_OTHER" */

/* Case-insensitive; F_OTHER when unknown.  O(1). */
enum field_id field_lookup(struct slice name);
/* Case-sensitive (RFC 9110 section 9.1). */
enum method_id method_lookup(struct slice name);

void head_init(struct head *, struct arena *);
/* NULL when absent.  The first such field. */
const struct header *head_find(const struct head *, enum field_id);
const struct header *head_find_name(const struct head *, struct slice name);
/* Appends; the slices must outlive the head (head_add_copy copies the value).
 * False when memory is out. */
bool head_add(struct head *, enum field_id, struct slice value);
bool head_add_name(struct head *, struct slice name, struct slice value);
bool head_add_copy(struct head *, enum field_id, struct slice value);
bool head_add_u64(struct head *, enum field_id, uint64_t value);
void head_remove(struct head *, enum field_id);
void head_remove_name(struct head *, struct slice name);
/* Removes all and appends one. */
bool head_set(struct head *, enum field_id, struct slice value);
bool head_set_name(struct head *, struct slice name, struct slice value);

/* Removes fields that differ from `name` by `_` for `-` only: to an application that reads them as
 * CGI does they are the same. */
void head_remove_alike(struct head *, struct slice name);
/* Removes fields whose names hold more than letters, digits and hyphens. */
void head_remove_odd(struct head *, bool underscores_may_stay);

/* Takes out Connection, what it nominates (but never a FIELD_PROTECTED one) and
 * every FIELD_HOP field (RFC 9110 section 7.6.1).  `keep_upgrade` leaves Upgrade in:
 * the codec writes the Connection that goes with it. */
void head_strip_hop_by_hop(struct head *, bool keep_upgrade);

/* The next element of a comma-separated list (RFC 9110 section 5.6.1), trimmed, empty ones skipped;
 * n == 0: no more. */
struct slice list_next(struct slice *rest);

/* Whether one of these fields, which hold lists, has this item (case-insensitive). */
bool head_lists(const struct head *, enum field_id, struct slice item);

/* The usual reason phrase (RFC 9110 section 15); empty when there is none. */
struct slice status_phrase(uint16_t status);

/* What %2F is: no slash; nor is it taken, and %5C neither; or one. */
enum slash_rule { SLASHES_KEEP, SLASHES_REJECT, SLASHES_DECODE };

/* The path in normal form, for matching only (the path goes on as it came): what may stand in a
 * segment (RFC 3986 section 3.3) stands there as it is, all else as %XX in upper case, so that no
 * rule is passed by with an escape; empty segments are merged, "." and ".." resolved (section
 * 6.2.2).  In the arena, or `path` itself where it is in normal form; p == NULL: the path climbs
 * above the root, holds a malformed or NUL escape or does not begin with "/", or memory is out. */
struct slice head_normal_path(struct slice path, struct arena *);
/* The same where escaped slashes have another rule than SLASHES_KEEP. */
struct slice head_normal_path_by(struct slice path, enum slash_rule, struct arena *);

#endif
