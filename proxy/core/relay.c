/* relay.c - the data path: bytes from one stream to another, as they come, no more than the other
 * takes. */
#include "core/exchange.h"

void pump_init(struct pump *p, struct stream *src, struct stream *dst, const uint64_t *now_ns)
{
	*p = (struct pump){ .src = src, .dst = dst, .now_ns = now_ns };
}

void pump_body(struct pump *p, struct slice s, bool end)
{
	p->bytes += s.n;
	p->ended = p->ended || end;
	if (p->dst == NULL)
		return;
	p->dst->ops->body(p->dst, s, end);
	if (!p->held && !end && p->src != NULL && p->dst->queued > STREAM_HIGH_WATER) {
		p->held = true;
		p->held_since_ns = *p->now_ns;
		p->src->ops->pause(p->src, true);
	}
}

void pump_trailers(struct pump *p, const struct head *trailers)
{
	p->ended = true;
	if (p->dst != NULL)
		p->dst->ops->trailers(p->dst, trailers);
}

void pump_room(struct pump *p)
{
	if (!p->held || p->src == NULL)
		return;
	p->held_ns = pump_held_ns(p);
	p->held = false;
	p->src->ops->pause(p->src, false);
}

uint64_t pump_held_ns(const struct pump *p)
{
	return p->held_ns + (p->held ? *p->now_ns - p->held_since_ns : 0);
}
