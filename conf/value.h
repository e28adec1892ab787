/* value.h - the scalars of the configuration, as pure functions.
 *
 * Each returns NULL and fills *out, or says what is wrong: a sentence without the value itself. */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include <stdint.h>

#include "base/slice.h"
#include "conf/schema.h"

const char *value_duration(struct slice, uint64_t *ns);  /* "1h30m" "250ms" "2d" "1.5s"; a bare number is an error */
const char *value_rate(struct slice, struct rate *);     /* "100/s" "5/10s" "600/m" "unlimited" */
const char *value_bytes(struct slice, uint64_t *bytes);  /* "64KiB" "1MiB" "512" "512B" */
const char *value_share(struct slice, uint32_t *ppm);    /* "50%" "0.5%" */
const char *value_u32(struct slice, uint32_t *);
const char *value_bool(struct slice, bool *);            /* true | false */

/* What is said of a number that does not fit: the same string, not only the same text. */
extern const char value_too_large[];

enum { VALUE_RATE_MAX = 56 }; /* twenty digits, a slash, and the longest duration */

void value_print_duration(uint64_t ns, char out[32]);    /* shortest form that parses back to the same */
void value_print_rate(const struct rate *, char out[VALUE_RATE_MAX]);
void value_print_bytes(uint64_t bytes, char out[32]);
void value_print_share(uint32_t ppm, char out[16]);

#endif
