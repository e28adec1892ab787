/* production.h - what a configuration may say, and should not where strangers call: `weir check --production`. */
#ifndef CORE_PRODUCTION_H
#define CORE_PRODUCTION_H

#include "core/config.h"

enum { PRODUCTION_EXPIRY_DAYS = 30 };

/* Of a configuration that was loaded without errors: a warning (W201 and up) for each thing that it finds.  Reads the
 * files of certificates.  grace_ns: between TERM and KILL, as whoever starts the process has it; 0: not known. */
void production_check(const struct config *, uint64_t grace_ns, struct diags *);

#endif
