/* field.c - what the upstream is told: proxy_set_header.
 *
 * The upstream is told what nginx tells it and no more (`forwarded: false`); fields are `set`; what a client sends is passed
 * on. */
#include <ctype.h>
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

/* With $proxy_host and $proxy_port put in their place. */
static const char *with_target(struct import *im, const char *text, const struct target *t)
{
	static const char host[] = "$proxy_host", port[] = "$proxy_port";
	const char *at = strstr(text, host), *colon = strrchr(t->host, ':');

	if (at != NULL)
		return with_target(im,
				   text_printf(im, "%.*s%s%s", (int)(at - text), text,
					       t->proxy_host, at + sizeof(host) - 1),
				   t);
	at = strstr(text, port);
	if (at == NULL)
		return text;
	colon = colon == NULL || strchr(colon, ']') != NULL ? (t->tls ? ":443" : ":80") : colon;
	return with_target(
	    im,
	    text_printf(im, "%.*s%s%s", (int)(at - text), text, colon + 1, at + sizeof(port) - 1),
	    t);
}

static void put_phrase(struct import *im, const struct site *site, const struct directive *block,
		       struct directive *d, const struct target *t, struct buf *set)
{
	const char *value =
	    variable_phrase(im, site, block, with_target(im, d->word[2].p, t), false);

	if (value == NULL) {
		judge(im, d, LOST, "`%s` is not known to Weir", d->word[2].p);
		return;
	}
	judge(im, d, EXACT, NULL);
	buf_printf(set, "      %s: %s", text_yaml(im, d->word[1].p), text_yaml(im, value));
	text_end(im, set, d);
}

/* A Host that would never be one is none of Weir's: calls would be refused with 400. */
static bool is_host(const char *value)
{
	static const char *const known[] = { "host}",   "authority}", "server.",
					     "header.", "match.",     "client.ip}" };
	bool ok = *value != '\0';

	for (const char *c = value; ok && *c != '\0'; c++) {
		if (*c != '{') {
			ok = isalnum((unsigned char)*c) || strchr("-._:[]", *c) != NULL;
			continue;
		}
		ok = false;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			ok |= strncmp(c + 1, known[i], strlen(known[i])) == 0;
		c += strcspn(c, "}");
	}
	return ok;
}

/* What nginx sends: the address as proxy_pass has it, unless something else is said. */
static void put_host(struct import *im, const struct site *site, const struct directive *block,
		     struct directive *d, const struct target *t, struct buf *out)
{
	const char *value =
	    d == NULL ? t->proxy_host
		      : variable_phrase(im, site, block, with_target(im, d->word[2].p, t), false);

	if (d != NULL && value == NULL)
		judge(im, d, LOST,
		      "`%s` is not known to Weir: the upstream sees the Host of the client",
		      d->word[2].p);
	else if (d != NULL && !is_host(value))
		judge(im, d, LOST, "`%s` is no host: the upstream sees the Host of the client",
		      d->word[2].p);
	else if (d != NULL)
		judge(im, d, EXACT, NULL);
	if (value == NULL || (d != NULL && !is_host(value)) || strcmp(value, "{authority}") == 0)
		return; /* as it came */
	buf_printf(out, "    host: %s", text_yaml(im, value));
	text_end(im, out, d);
}

/* Of one that stands there already. */
static bool is_second(const struct directive *block, const struct directive *d)
{
	const struct directive *before = block_find(block, "proxy_set_header");

	for (; before != NULL && before != d; before = block_next(before))
		if (slice_ieq(before->word[1], d->word[1]))
			return true;
	return false;
}

static void write_field(struct import *im, const struct site *site, const struct directive *block,
			struct directive *d, const struct target *t, struct buf *set)
{
	const struct own_field *own = find_own(d);

	if (own != NULL && slice_is(slice_str(own->name), "content-length") && d->word[2].n == 0 &&
	    !request_has_body(block))
		judge(im, d, EXACT, NULL);
	else if (own != NULL)
		judge(im, d, own->verdict, own->why == NULL ? NULL : "%s", own->why);
	else if (is_itself(d) && block_is_on(block, "proxy_pass_request_headers", true))
		judge(im, d, NOT_NEEDED, NULL);
	else if (is_second(block, d))
		judge(im, d, LOST, "the field is set once");
	else
		put_phrase(im, site, block, d, t, set);
}

void fields_write(struct import *im, const struct site *site, const struct directive *block,
		  const struct target *t, struct buf *out)
{
	struct directive *host = NULL;
	bool upgrade = false;
	struct buf set = { 0 };

	for (struct directive *d = block_find(block, "proxy_set_header"); d != NULL;
	     d = block_next(d)) {
		upgrade |= strcasecmp(d->word[1].p, "upgrade") == 0 &&
			   slice_is(d->word[2], "$http_upgrade");
		if (strcasecmp(d->word[1].p, "host") == 0)
			host = d;
		else
			write_field(im, site, block, d, t, &set);
	}
	put_host(im, site, block, host, t, out);
	buf_puts(out, "    forwarded: false\n");
	if (set.n > 0)
		buf_printf(out, "    set:\n%s", text_buf(im, &set));
	buf_fini(&set);
	if (upgrade)
		buf_puts(out, "    upgrade: true\n");
}
