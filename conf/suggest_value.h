/* suggest_value.h - what a value in another program's notation was meant to be.
 *
 * "10 seconds" is 10s, "100 req/sec" and "100rps" are 100/s, "10 MB" is 10MiB, "1_000" is 1000.  False: nothing comes to
 * mind.  What is suggested is always a value that can be read. */
#ifndef CONF_SUGGEST_VALUE_H
#define CONF_SUGGEST_VALUE_H

#include <stdbool.h>

#include "base/slice.h"

enum { SUGGEST_VALUE_MAX = 64 };

bool suggest_value_duration(struct slice, char out[SUGGEST_VALUE_MAX]);
bool suggest_value_rate(struct slice, char out[SUGGEST_VALUE_MAX]);
bool suggest_value_bytes(struct slice, char out[SUGGEST_VALUE_MAX]);
bool suggest_value_u32(struct slice, char out[SUGGEST_VALUE_MAX]);
bool suggest_value_addr(struct slice, char out[SUGGEST_VALUE_MAX]);

#endif
