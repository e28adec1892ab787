/* config_client_ip.c - who is believed about the client's address: of all calls, and of values. */
#include <string.h>

#include "core/config.h"
#include "http/scan.h"

static bool check_client_ip(struct conf_load *l, const struct node *n, void *conf)
{
	const struct client_ip_conf *c = conf;

	for (const char *h = c->header; *h != '\0'; h++) {
		if (char_is(*h, CH_TOKEN))
			continue;
		diag_error(
		    l->diags, node_get(n, "header")->at, "E015",
		    "`header`: it is the name of a field, such as x-forwarded-for, forwarded or "
		    "x-real-ip");
		return false;
	}
	if (c->trust.n == 0 && strcmp(c->header, "x-forwarded-for") != 0)
		diag_warning(l->diags, node_place(n), "W107",
			     "`client_ip` without `trust` changes nothing: nobody is believed");
	return true;
}

static const struct field client_ip_fields[] = {
	{ .key = "trust",
	  .type = C_LIST,
	  .offset = offsetof(struct client_ip_conf, trust),
	  .at = offsetof(struct client_ip_conf, trust_at),
	  .item = C_CIDR,
	  .doc = "Networks whose word about the client's address is taken. The client is then the "
		 "last "
		 "address named that is not among them." },
	{ .key = "header",
	  .type = C_STRING,
	  .offset = offsetof(struct client_ip_conf, header),
	  .dflt = "x-forwarded-for",
	  .min = 1,
	  .max = 128,
	  .doc = "The field in which they say it: x-forwarded-for, forwarded (RFC 7239), or "
		 "another that "
		 "holds addresses, such as x-real-ip." },
	{ .key = "nearest",
	  .type = C_BOOL,
	  .offset = offsetof(struct client_ip_conf, nearest),
	  .dflt = "false",
	  .doc = "Whether the last address named is the client's, even if it is trusted, too." },
	{ .key = NULL },
};

const struct schema client_ip_schema = {
	.name = "client_ip section",
	.size = sizeof(struct client_ip_conf),
	.fields = client_ip_fields,
	.check = check_client_ip,
};
