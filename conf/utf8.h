/* utf8.h - one character at a time (RFC 3629). */
#ifndef CONF_UTF8_H
#define CONF_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length in bytes (1..4) of the character at p, and the character itself; 0: malformed, overlong, a surrogate,
 * or cut short by the end at p + n. */
size_t utf8_decode(const char *p, size_t n, uint32_t *character);
/* All n bytes are such characters. */
bool utf8_is_valid(const char *p, size_t n);
/* What YAML lets stand unescaped (YAML 1.1, production c-printable), the byte order mark excepted. */
bool utf8_is_printable(uint32_t character);

#endif
