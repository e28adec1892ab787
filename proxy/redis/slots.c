/* slots.c - slots by CRC16, and the table that CLUSTER SLOTS gives. */
#include "redis/slots.h"

static struct slice hashed_part(struct slice key)
{
	const char *open = key.n > 0 ? memchr(key.p, '{', key.n) : NULL, *close;
	size_t rest;

	if (open == NULL)
		return key;
	rest = key.n - (size_t)(open + 1 - key.p);
	close = rest > 0 ? memchr(open + 1, '}', rest) : NULL;
	if (close == NULL || close == open + 1)
		return key;
	return slice_of(open + 1, (size_t)(close - open - 1));
}

uint16_t slot_of(struct slice key)
{
	struct slice s = hashed_part(key);
	unsigned crc = 0;

	for (size_t i = 0; i < s.n; i++) {
		crc ^= (unsigned)(uint8_t)s.p[i] << 8;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = (crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1;
	}
	return (uint16_t)(crc & (CLUSTER_SLOTS - 1));
}

static bool is_in(const struct resp *r, int64_t least, int64_t most)
{
	return r->type == RESP_INTEGER && r->integer >= least && r->integer <= most;
}

/* [first, last, [host, port, ...], replicas ...]; a host that is not known is NIL. */
static bool read_range(const struct resp *r, struct slot_range *out)
{
	const struct resp *node;

	if (r->type != RESP_ARRAY || r->n < 3 || !is_in(&r->item[0], 0, CLUSTER_SLOTS - 1) ||
	    !is_in(&r->item[1], r->item[0].integer, CLUSTER_SLOTS - 1))
		return false;
	node = &r->item[2];
	if (node->type != RESP_ARRAY || node->n < 2 || !is_in(&node->item[1], 1, 65535))
		return false;
	if (node->item[0].type != RESP_STRING && node->item[0].type != RESP_NIL)
		return false;
	*out = (struct slot_range){ .first = (uint16_t)r->item[0].integer,
				    .last = (uint16_t)r->item[1].integer,
				    .host = node->item[0].text,
				    .port = (uint16_t)node->item[1].integer };
	return out->host.n <= REDIS_HOST_MAX;
}

bool slots_read(const struct resp *r, void (*visit)(void *arg, const struct slot_range *),
		void *arg)
{
	struct slot_range range;

	if (r->type != RESP_ARRAY)
		return false;
	for (uint32_t i = 0; i < r->n; i++) {
		if (!read_range(&r->item[i], &range))
			return false;
		visit(arg, &range);
	}
	return true;
}
