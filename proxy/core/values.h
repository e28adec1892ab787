/* values.h - texts of the configuration's own that say something of a call: what limits count by, what goes into header fields,
 * what routes are chosen by.
 *
 *	values:
 *	  caller: "{client.ip}{header.x-tenant}"
 *	  plan: { of: "{header.x-api-key}", map: [{ match: [k1, "~ ^gold-"], value: gold }], default: free }
 *	  limited: { of: "{client.ip}", by: address, map: [{ match: 10.0.0.0/8, value: "" }], default: "{client.ip}" }
 *	  version: { of: "{client.ip}", split: [{ share: 10%, value: new }], default: old }
 *
 * {value.NAME} in texts, value.NAME as a key and in `when`.
 *
 * Laws
 *  V1  A value may be made of those that stand before it, so there is no circle.
 *  V2  Of a map the first entry that matches counts; of a regular expression that asks too much of a text, none knows.
 *  V3  An empty value is none: a key that is lacking.
 *  V4  Shares are of the text, by MurmurHash2: the same everywhere and always, and the same as those of nginx. */
#ifndef CORE_VALUES_H
#define CORE_VALUES_H

#include "core/config.h"
#include "core/template.h"

struct values;

/* NULL after findings, or when memory is out, which is one. */
const struct values *values_prepare(const struct config *, struct arena *, struct diags *);
/* In the call's arena.  False: it is empty, or there is none of this name. */
bool values_read(const struct values *, const struct template_values *, struct slice name,
		 struct slice *out);
/* Whether there is one of this name: the names that keys ask for are checked by it. */
bool values_known(const struct config *, struct slice name);
/* The 32-bit hash of Austin Appleby's that shares are made by, of seed 0. */
uint32_t values_hash(struct slice);

#endif
