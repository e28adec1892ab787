/* redis_set.h - the one connection of a process to Redis, behind the policies that count there.
 *
 *  D1  Made once, at the start: a reload that changes how Redis is reached is refused, and says that it needs a
 *      restart.  Policies of all configurations alive count in the same place.
 *  D2  Names are looked up by a resolver of its own, on its own thread; nobody waits for it.
 *  D3  It is stopped before the workers it wakes are freed, and freed after the last policy. */
#ifndef CORE_REDIS_SET_H
#define CORE_REDIS_SET_H

#include "core/config.h"
#include "filters/sharing.h"
#include "filters/wait.h"
#include "redis/carrier.h"

struct redis_set;

/* NULL after a finding.  Nothing of the configuration is kept. */
struct redis_set *redis_set_open(const struct redis_conf *, struct wakes *, unsigned workers,
				 struct diags *);
/* For policies, by table_registry_share. */
void redis_set_sharing(const struct redis_set *, struct sharing *);
/* Connects, and waits until it is there, at most connect_timeout.  False: its thread could not be started. */
bool redis_set_start(struct redis_set *);
void redis_set_stop(struct redis_set *); /* NULL is fine, as below */
void redis_set_close(struct redis_set *);

/* Any thread, once it was started. */
const struct redis_stats *redis_set_stats(const struct redis_set *);
void redis_set_gauge(const struct redis_set *, struct shared_gauge *);

#endif
