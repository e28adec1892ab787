/* top.h - two looks at a Weir, and what happened between them. */
#ifndef CTL_TOP_H
#define CTL_TOP_H

#include "base/buf.h"
#include "base/json.h"

/* One look: /stats.json, /limits?top, /breakers. */
struct look {
	const struct json *stats, *limits, *breakers;
};

/* What `weir ctl top` shows; `before` may be empty: then nothing is said of rates. */
void top_render(const struct look *before, const struct look *now, bool colour, struct buf *out);

#endif
