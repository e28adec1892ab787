/* quota_view.h - what the kinds of quota have in common: how large a state is, and what there is to
 * say of one after a decision. */
#ifndef FILTERS_QUOTA_VIEW_H
#define FILTERS_QUOTA_VIEW_H

#include <stdint.h>

/* Of one key; 0: nothing was ever taken.  Aligned as all else that calls have in their arenas. */
__extension__ typedef unsigned __int128 quota_state __attribute__((aligned(8)));

enum { QUOTA_STATE_BITS = 84 };

#define QUOTA_NEVER UINT64_MAX

struct quota_view {
	uint64_t remaining; /* calls of cost 1 that would pass now, at once */
	uint64_t wait_ns;   /* until the refused cost would pass; 0: it passed; QUOTA_NEVER: it is
			       more than there ever is */
	uint64_t delay_ns;  /* it passed, but not before that */
	uint64_t full_ns;   /* until the key is at rest again, rounded up */
	uint64_t window;    /* number of the window that was charged; 0: it was no window */
	quota_state state;  /* as the take has left it */
};

#endif
