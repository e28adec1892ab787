/* date.h - dates of HTTP (RFC 9110 section 5.6.7); pure. */
#ifndef HTTP_DATE_H
#define HTTP_DATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { DATE_BYTES = 30 }; /* with the NUL behind it */

/* All three forms; seconds since 1970.  False: it is none, or one before 1970. */
bool date_parse(struct slice, int64_t *s);
/* The form that is sent; a year of more than four digits has none: "". */
struct slice date_put(char out[DATE_BYTES], int64_t s);

#endif
