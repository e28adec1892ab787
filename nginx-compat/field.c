/* field.c - what the upstream is told: proxy_set_header.
 *
 * Weir tells who calls by itself (X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-Id); fields with a value that is known
 * beforehand are `set`; what a client sends is passed on. */
#include <string.h>
#include <strings.h>

#include "nginx-compat/internal.h"

/* What Weir does anyway; names in lower case.  `value` NULL: any. */
struct own_field {
	const char *name, *value;
	enum fate verdict;
	const char *why;
};

static const struct own_field own_fields[] = {
	{ "host", "$host", EXACT, NULL },
	{ "host", "$http_host", EXACT, NULL },
	{ "host", "$host:$server_port", EXACT, NULL },
	{ "host", NULL, LOST, "the upstream sees the Host of the client" },
	{ "x-real-ip", "$remote_addr", EXACT, NULL },
	{ "x-real-ip", "$realip_remote_addr", ADAPTED, "it is the client's" },
	{ "x-forwarded-for", "$remote_addr", EXACT, NULL },
	{ "x-forwarded-for", "$proxy_add_x_forwarded_for", ADAPTED,
	  "what the client claims is passed on only where `client_ip` trusts it" },
	{ "x-forwarded-proto", "$scheme", EXACT, NULL },
	{ "x-forwarded-proto", "$http_x_forwarded_proto", ADAPTED,
	  "what the client claims is passed on only where `client_ip` trusts it" },
	{ "x-forwarded-host", "$host", EXACT, NULL },
	{ "x-forwarded-host", "$http_host", EXACT, NULL },
	{ "x-request-id", "$request_id", ADAPTED, "one that the client sends is kept" },
	{ "forwarded", NULL, ADAPTED, "Weir writes it itself" },
	{ "connection", NULL, NOT_NEEDED, NULL },
	{ "upgrade", "$http_upgrade", EXACT, NULL },
	{ "upgrade", NULL, LOST, "only the client says it" },
	{ "content-length", NULL, LOST, "Weir writes it itself" },
	{ "transfer-encoding", NULL, LOST, "Weir writes it itself" },
	{ "te", NULL, LOST, "Weir writes it itself" },
	{ "expect", NULL, LOST, "Weir writes it itself" },
	{ "trailer", NULL, LOST, "Weir writes it itself" },
	{ "keep-alive", NULL, LOST, "Weir writes it itself" },
	{ "proxy-connection", NULL, LOST, "Weir writes it itself" },
};

static const struct own_field *find_own(const struct directive *d)
{
	for (size_t i = 0; i < sizeof(own_fields) / sizeof(own_fields[0]); i++)
		if (strcasecmp(d->word[1].p, own_fields[i].name) == 0 &&
		    (own_fields[i].value == NULL || slice_is(d->word[2], own_fields[i].value)))
			return &own_fields[i];
	return NULL;
}

/* The variable of the field itself: `proxy_set_header X-A $http_x_a`. */
static bool is_itself(const struct directive *d)
{
	static const struct slice http = SLICE("http_");
	struct slice v = variable_alone(d->word[2].p), name = d->word[1];

	if (v.p == NULL || !slice_starts(v, http) || v.n - http.n != name.n)
		return false;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i] == '-' ? '_' : name.p[i];

		if (strncasecmp(&c, v.p + http.n + i, 1) != 0)
			return false;
	}
	return true;
}

static void put_constant(struct import *im, const struct directive *block, struct directive *d,
			 struct buf *set)
{
	const char *value = variable_expand(im, block, d->word[2].p);

	if (d->word[2].n == 0) {
		judge(im, d, LOST, "fields of the client cannot be taken off");
	} else if (value == NULL) {
		judge(im, d, LOST, "`%s` is not known beforehand", d->word[2].p);
	} else {
		judge(im, d, EXACT, NULL);
		buf_printf(set, "      %s: %s", text_yaml(im, d->word[1].p), text_yaml(im, value));
		text_end(im, set, d);
	}
}

static void write_field(struct import *im, const struct directive *block, struct directive *d,
			struct buf *set)
{
	const struct own_field *own = find_own(d);

	if (own != NULL)
		judge(im, d, own->verdict, own->why == NULL ? NULL : "%s", own->why);
	else if (is_itself(d))
		judge(im, d, NOT_NEEDED, NULL);
	else
		put_constant(im, block, d, set);
}

void fields_write(struct import *im, const struct directive *block, const struct target *t,
		  struct directive *pass, struct buf *out)
{
	bool upgrade = false, host = false;
	struct buf set = { 0 };

	for (struct directive *d = block_find(block, "proxy_set_header"); d != NULL;
	     d = block_next(d)) {
		upgrade |= strcasecmp(d->word[1].p, "upgrade") == 0 &&
			   slice_is(d->word[2], "$http_upgrade");
		host |= strcasecmp(d->word[1].p, "host") == 0;
		write_field(im, block, d, &set);
	}
	if (!host)
		judge(im, pass, ADAPTED, "the upstream sees the Host of the client, not `%s`",
		      t->host);
	if (set.n > 0)
		buf_printf(out, "    set:\n%s", text_buf(im, &set));
	buf_fini(&set);
	if (upgrade)
		buf_puts(out, "    upgrade: true\n");
}
