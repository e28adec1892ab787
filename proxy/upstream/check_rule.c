/* check_rule.c - what a check asks and expects: a copy of the configuration that outlives its
 * policy, because a check may be under way when the policy goes. */
#include "upstream/check_rule.h"

#include <stdlib.h>

#include "base/check.h"

static char *copy(const char *s, bool *ok)
{
	char *p = s == NULL ? NULL : strdup(s);

	*ok = *ok && (s == NULL || p != NULL);
	return p;
}

struct check_rule *check_rule_new(const struct health_conf *conf, enum http_choice http,
				  struct tls_client *tls)
{
	struct check_rule *r = calloc(1, sizeof(*r));
	bool ok = true;

	if (r == NULL)
		return NULL;
	r->refs = 1;
	r->conf = *conf;
	r->http = http;
	r->tls = tls == NULL ? NULL : tls_client_get(tls);
	r->conf.path = r->path = copy(conf->path, &ok);
	r->conf.body = r->body = copy(conf->body, &ok);
	r->conf.host = r->host = copy(conf->host, &ok);
	if (ok)
		return r;
	check_rule_put(r);
	return NULL;
}

struct check_rule *check_rule_get(struct check_rule *r)
{
	atomic_fetch_add(&r->refs, 1);
	return r;
}

void check_rule_put(struct check_rule *r)
{
	if (r == NULL || atomic_fetch_sub(&r->refs, 1) > 1)
		return;
	free(r->path);
	free(r->body);
	free(r->host);
	tls_client_put(r->tls);
	free(r);
}

static uint64_t trust_of(const struct check_rule *r)
{
	return r->tls == NULL ? 0 : tls_client_trust(r->tls);
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool check_rule_same(const struct check_rule *a, const struct check_rule *b)
{
	const struct health_conf *x, *y;

	if (a == NULL || b == NULL || a == b)
		return a == b;
	x = &a->conf;
	y = &b->conf;
	return same_text(x->path, y->path) && same_text(x->body, y->body) &&
	       same_text(x->host, y->host) && trust_of(a) == trust_of(b) && a->http == b->http &&
	       x->every_ns == y->every_ns && x->timeout_ns == y->timeout_ns && x->fall == y->fall &&
	       x->rise == y->rise && x->method == y->method && x->status.n == y->status.n &&
	       memcmp(x->status.range, y->status.range, x->status.n * sizeof(x->status.range[0])) ==
		   0;
}
