/* tls_set.h - what the listeners and upstreams of a configuration need for TLS: certificates and
 * the like, by file. Control thread. */
#ifndef CORE_TLS_SET_H
#define CORE_TLS_SET_H

#include "core/config.h"

/* One for each listener of the configuration, NULL for those that are plain, in the arena.  NULL
 * after error findings; nothing is left open then. */
struct tls_server **tls_set_open(const struct config *, struct arena *, struct diags *);
void tls_set_close(const struct config *, struct tls_server **);
/* Reads all that is named, those of upstreams too, and forgets it: for `weir check`. */
void tls_set_check(const struct config *, struct diags *);
/* Visits what is in the files, where it is named; of those that cannot be used, nothing. */
void tls_set_certificates(const struct config *,
			  void (*visit)(void *arg, const struct tls_certificate *, struct place at),
			  void *arg);
/* Visits every file that is named. */
void tls_set_files(const struct config *, void (*visit)(void *arg, const char *path), void *arg);

#endif
