/* number.h - what several need of whole numbers. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H

#include <stdint.h>

#include "base/slice.h"

/* One to five decimal digits and nothing else, at most `max`. */
bool number_parse(struct slice, unsigned max, unsigned *out);
/* The greatest that divides both; of 0 and b: b. */
uint64_t number_common_divisor(uint64_t a, uint64_t b);

#endif
