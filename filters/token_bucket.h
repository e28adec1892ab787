/* token_bucket.h - policies with `rate`: so many calls per period and key, saved up to a burst. */
#ifndef FILTERS_TOKEN_BUCKET_H
#define FILTERS_TOKEN_BUCKET_H

#include "filters/filter.h"
#include "filters/scope.h"

struct override_conf {
	const char *match; /* a network where the key has client.ip, else the key's value */
	struct rate rate;
	uint32_t burst; /* 0 until checked */
};

struct token_bucket_conf {
	struct policy_conf policy; /* first */
	struct rate rate;
	uint32_t burst; /* 0 until checked */
	struct key_spec key;
	int missing;                /* enum missing */
	struct conf_list overrides; /* of struct override_conf; the first match wins */
	uint32_t max_keys;
	bool headers; /* RateLimit fields on admitted calls too */
};

extern const struct schema token_bucket_schema;
extern const struct filter_ops token_bucket_ops;

#endif
