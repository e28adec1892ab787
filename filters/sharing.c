/* sharing.c - what a policy says of being shared. */
#include "filters/sharing.h"

#include <stdio.h>

#include "conf/sha256.h"
#include "filters/table.h"

enum { PARKED_MAX = 1024, DIGEST_BYTES = 8 };

const char *const store_names[] = { [STORE_LOCAL] = "local", [STORE_REDIS] = "redis", NULL };
const char *const share_names[] = { [SHARE_LEASE] = "lease", [SHARE_STRICT] = "strict", NULL };
const char *const sharing_on_error_names[] = { "default", [LEASE_LOCAL + 1] = "local",
					       [LEASE_ALLOW + 1] = "allow",
					       [LEASE_REFUSE + 1] = "deny", NULL };

static bool wrong(struct conf_load *load, const struct node *n, const char *key, const char *what)
{
	diag_error(load->diags, n->at, "E019", "`%s` %s", key, what)->path =
	    arena_printf(load->arena, "%s.%s", load->path, key);
	return false;
}

bool sharing_check(struct conf_load *load, const struct node *map, const struct sharing_conf *c)
{
	static const char *const keys[] = { "share", "overshoot", "peers", "store_wait",
					    "on_error" };
	bool ok = true;

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct node *n = node_get(map, keys[i]);

		if (n == NULL)
			continue;
		if (c->store != STORE_REDIS)
			ok = wrong(load, n, keys[i], "is for limits with `store: redis`");
		else if (i == 1 && c->share == SHARE_STRICT)
			ok = wrong(load, n, keys[i],
				   "means nothing with `share: strict`: it is exact");
	}
	return ok;
}

const struct sharing_conf *sharing_of(const struct schema *schema, const void *conf)
{
	const struct field *f = schema_field(schema, "store");

	return f == NULL || f->names != store_names
		   ? NULL
		   : (const struct sharing_conf *)(const void *)((const char *)conf + f->offset);
}

/* A trial has nobody wait: it is tried as a lease. */
void sharing_fill(const struct sharing_conf *c, const struct sharing *s, bool shadow,
		  struct shared_rule *r)
{
	r->on_error = c->on_error == 0 ? s->on_error : (enum lease_on_error)(c->on_error - 1);
	r->strict = c->share == SHARE_STRICT && !shadow;
	r->overshoot_ppm = c->overshoot_ppm != 0 ? c->overshoot_ppm : s->overshoot_ppm;
	r->peers = c->peers;
	r->parked_max = PARKED_MAX;
}

void sharing_name(const char *policy, const char *key, const char *match, uint64_t period_ns,
		  char out[SHARING_NAME_MAX])
{
	uint8_t digest[SHA256_BYTES];
	struct buf text = { .p = NULL };
	int n = snprintf(out, SHARING_NAME_MAX, "%s ", policy);

	buf_printf(&text, "%s\n%s\n", key == NULL ? "" : key, match);
	if (period_ns != 0)
		buf_u64(&text, period_ns);
	sha256(slice_of(text.p, text.n), digest);
	for (unsigned i = 0; i < DIGEST_BYTES && n < SHARING_NAME_MAX - 2; i++)
		n += snprintf(out + n, (size_t)(SHARING_NAME_MAX - n), "%02x", digest[i]);
	buf_fini(&text);
}

uint64_t sharing_wait_ms(const struct sharing_conf *c, const struct sharing *s)
{
	uint64_t ns = c->wait_ns != 0 ? c->wait_ns : s->timeout_ns / 2;

	return ns < CLOCK_MS ? 1 : ns / CLOCK_MS;
}
