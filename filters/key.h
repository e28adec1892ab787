/* key.h - what a limit counts by: "client.ip", "header.x-tenant", or a list of such.
 *
 * A specification is parsed once; each call's values become one 64-bit fingerprint (SipHash with
 * the key of this process), and nothing else of them is stored, logged or sent anywhere.  Each
 * value is hashed behind its length, so that ("ab", "c") and
 * ("a", "bc") differ. */
#ifndef FILTERS_KEY_H
#define FILTERS_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/schema.h"
#include "filters/filter.h"

enum { KEY_PARTS_MAX = 8, KEY_SCRATCH_BYTES = 1024 };

struct key_source; /* one row of the table in key.c */

struct key_part {
	const struct key_source *source;
	struct slice name; /* of the header, ...; or the constant */
	uint8_t field;     /* header: enum field_id, F_OTHER: by name */
	uint8_t v4, v6;    /* client.ip: prefix lengths */
};

struct key_spec { /* zeroed: no key, one bucket for all */
	uint32_t n;
	struct key_part part[KEY_PARTS_MAX];
	const char *text; /* canonical; "" or NULL without parts */
};

/* A scalar, or a list of scalars, into a struct key_spec. */
extern const struct custom_ops key_custom;

/* False: the call lacks one of the parts. */
bool key_fingerprint(const struct key_spec *, const struct call *, uint64_t *out);
/* The same in every process, so no secret: for what replicas are to choose alike, not for limits. */
bool key_fingerprint_everywhere(const struct key_spec *, const struct call *, uint64_t *out);
/* The values themselves, in the form in which they are compared: for who hashes them otherwise. */
struct key_values {
	unsigned n; /* 1 or more: of no key, and of one that the call lacks, an empty one */
	struct slice part[KEY_PARTS_MAX];
	char scratch[KEY_PARTS_MAX][KEY_SCRATCH_BYTES];
};
void key_values(const struct key_spec *, const struct call *, struct key_values *);
/* What calls without the key share. */
uint64_t key_fingerprint_missing(void);
/* Of a value written in the configuration; the specification has one part. */
uint64_t key_fingerprint_value(const struct key_spec *, struct slice value);

/* Of a value for each part, as people write it (parts that are constant take none): what key_fingerprint finds for a
 * call with these.  Where a part is the client's address, *client becomes it.  False: there are more or fewer than it
 * takes, or one is no address. */
bool key_fingerprint_text(const struct key_spec *, const struct slice *value, unsigned n,
			  struct ip *client, uint64_t *out);
/* The value itself, of a specification of one part; it lies in the call or in `scratch`.  False:
 * the call lacks it. */
bool key_value(const struct key_spec *, const struct call *, char scratch[static KEY_SCRATCH_BYTES],
	       struct slice *out);

/* "client.ip = 10.0.0.9, header.x-tenant = acme": for eyes that may see the values.  They are as
 * they came: control characters are the caller's to escape. */
void key_describe(const struct key_spec *, const struct call *, struct buf *);

/* Of part i the NAME of value.NAME; p NULL: it is none. */
struct slice key_value_name(const struct key_spec *, uint32_t i);
bool key_has_client_ip(const struct key_spec *);
/* It reads the client's certificate. */
bool key_has_tls_san(const struct key_spec *);
/* What has to be verified before calls have this key: a set of enum identity_kind. */
unsigned key_identity(const struct key_spec *);
/* A part that any client can set as it likes, as text ("header.x-tenant"); p == NULL: none. */
struct slice key_free_choice(const struct key_spec *, char out[static 128]);

#endif
