/* table_internal.h - the registry, between table.c and state.c. */
#ifndef FILTERS_TABLE_INTERNAL_H
#define FILTERS_TABLE_INTERNAL_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "filters/sharing.h"

struct table_registry {
	uint32_t magic;
	uint64_t serial; /* of the latest use */
	uint64_t (*clock)(void), (*wall)(void);
	struct list tables, stats, states;
	struct sharing sharing;
	_Atomic uint32_t top_keys;
};

#endif
