/* sha256.h - SHA-256 (FIPS 180-4), for naming a configuration. */
#ifndef CONF_SHA256_H
#define CONF_SHA256_H

#include <stdint.h>

#include "base/slice.h"

enum { SHA256_BYTES = 32 };

void sha256(struct slice, uint8_t out[SHA256_BYTES]);

#endif
