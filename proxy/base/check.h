/* check.h - assertions that stay on in release, and magic numbers at doors. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdint.h>

/* Prints where and what to stderr and aborts.  Never returns. */
_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

/* `p` is not NULL and its member `magic` holds `number`. */
#define CHECK_MAGIC(ptr, number) CHECK((ptr) != NULL && (ptr)->magic == (number))

#endif
