/* tls_conf.c - the field tables of `tls:`, on listeners and on upstreams. */
#include "io/tls_context.h"

static const char *const version_names[] = { [TLS_1_2] = "1.2", [TLS_1_3] = "1.3", NULL };
static const char *const client_auth_names[] = {
	[TLS_CLIENT_AUTH_REQUIRED] = "required", [TLS_CLIENT_AUTH_OPTIONAL] = "optional", NULL
};

#define CIPHERS_DOC                                                                              \
	"What TLS 1.2 may use, best first, as `openssl ciphers` takes it; those of TLS 1.3 are " \
	"always there. Not given: ECDHE with AES-GCM or ChaCha20-Poly1305."

/*---------------------------------------------------------------- listeners */

static bool needs_client_ca(struct conf_load *l, struct place at, const char *key)
{
	if (at.line == 0)
		return true;
	diag_error(l->diags, at, "E019", "`%s` means something beside `client_ca` only", key)
	    ->path = l->path;
	return false;
}

static bool check_server(struct conf_load *l, const struct node *n, void *conf)
{
	const struct tls_server_conf *c = conf;
	bool ok;

	(void)n;
	if (c->client_ca != NULL)
		return true;
	ok = needs_client_ca(l, c->crl_at, "crl");
	return needs_client_ca(l, c->client_auth_at, "client_auth") && ok;
}

static const struct field server_fields[] = {
	{ .key = "cert",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct tls_server_conf, cert),
	  .at = offsetof(struct tls_server_conf, cert_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with the certificate and, behind it, those that lead to its root (PEM). "
		 "Read again with "
		 "every reload, and when it changes with `--watch`." },
	{ .key = "key",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_server_conf, key),
	  .at = offsetof(struct tls_server_conf, key_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with its private key (PEM, not encrypted). Not given: it stands in the "
		 "file of `cert`." },
	{ .key = "client_ca",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_server_conf, client_ca),
	  .at = offsetof(struct tls_server_conf, client_ca_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with the certificates that those of clients must lead to (PEM). Not "
		 "given: clients are not "
		 "asked for one." },
	{ .key = "client_auth",
	  .type = C_ENUM,
	  .offset = offsetof(struct tls_server_conf, client_auth),
	  .at = offsetof(struct tls_server_conf, client_auth_at),
	  .dflt = "required",
	  .names = client_auth_names,
	  .doc = "With `client_ca`: whether a client may come without a certificate. One that does "
		 "not verify is "
		 "refused either way." },
	{ .key = "crl",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_server_conf, crl),
	  .at = offsetof(struct tls_server_conf, crl_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "With `client_ca`: the file with the revocation lists, one of each authority on "
		 "the way (PEM)." },
	{ .key = "min_version",
	  .type = C_ENUM,
	  .offset = offsetof(struct tls_server_conf, min_version),
	  .at = offsetof(struct tls_server_conf, min_version_at),
	  .dflt = "1.2",
	  .names = version_names,
	  .doc = "The oldest version of TLS that is spoken." },
	{ .key = "ciphers",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_server_conf, ciphers),
	  .at = offsetof(struct tls_server_conf, ciphers_at),
	  .min = 1,
	  .max = 4095,
	  .doc = CIPHERS_DOC },
	{ .key = NULL },
};

const struct schema tls_server_schema = {
	.name = "tls section of a listener",
	.size = sizeof(struct tls_server_conf),
	.fields = server_fields,
	.at = offsetof(struct tls_server_conf, at),
	.check = check_server,
};

/* Which certificate it is, the client chooses: who it must be is not for it to choose. */
bool tls_server_check(const struct conf_list *certs, struct diags *diags)
{
	bool ok = true;

	for (uint32_t i = 1; i < certs->n; i++) {
		const struct tls_server_conf *c = (const struct tls_server_conf *)certs->item + i;
		const struct place *at = c->client_ca != NULL          ? &c->client_ca_at
					 : c->min_version_at.line != 0 ? &c->min_version_at
					 : c->ciphers != NULL          ? &c->ciphers_at
								       : NULL;

		if (at == NULL)
			continue;
		diag_error(diags, *at, "E019",
			   "of several certificates only the first says this, for all of them: "
			   "else clients could "
			   "choose by the name that they ask for");
		ok = false;
	}
	return ok;
}

/*---------------------------------------------------------------- upstreams */

static bool check_client(struct conf_load *l, const struct node *n, void *conf)
{
	const struct tls_client_conf *c = conf;

	(void)n;
	if (c->key == NULL || c->cert != NULL)
		return true;
	diag_error(l->diags, c->key_at, "E019", "`key` means something beside `cert` only")->path =
	    l->path;
	return false;
}

static const struct field client_fields[] = {
	{ .key = "verify",
	  .type = C_BOOL,
	  .offset = offsetof(struct tls_client_conf, verify),
	  .at = offsetof(struct tls_client_conf, verify_at),
	  .dflt = "true",
	  .doc = "Whether an endpoint must prove that it is who it is taken for. Without it, "
		 "whoever stands between "
		 "reads and changes everything." },
	{ .key = "ca",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_client_conf, ca),
	  .at = offsetof(struct tls_client_conf, ca_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with the certificates that those of endpoints must lead to (PEM). Not "
		 "given: those that the "
		 "system trusts." },
	{ .key = "server_name",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_client_conf, server_name),
	  .min = 1,
	  .max = 253,
	  .doc = "The name to ask for and to verify. Not given: the host of the endpoint." },
	{ .key = "cert",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_client_conf, cert),
	  .at = offsetof(struct tls_client_conf, cert_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with the certificate to show to endpoints that ask for one (PEM)." },
	{ .key = "key",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_client_conf, key),
	  .at = offsetof(struct tls_client_conf, key_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with its private key (PEM, not encrypted). Not given: it stands in the "
		 "file of `cert`." },
	{ .key = "min_version",
	  .type = C_ENUM,
	  .offset = offsetof(struct tls_client_conf, min_version),
	  .dflt = "1.2",
	  .names = version_names,
	  .doc = "The oldest version of TLS that is spoken." },
	{ .key = "resume",
	  .type = C_BOOL,
	  .offset = offsetof(struct tls_client_conf, resume),
	  .dflt = "true",
	  .doc = "Whether a connection takes up the session of an earlier one, which saves time "
		 "and work." },
	{ .key = "common_name",
	  .type = C_BOOL,
	  .offset = offsetof(struct tls_client_conf, common_name),
	  .dflt = "false",
	  .doc = "Whether the common name of a certificate counts that names no host elsewhere, as "
		 "old ones do not." },
	{ .key = "ciphers",
	  .type = C_STRING,
	  .offset = offsetof(struct tls_client_conf, ciphers),
	  .at = offsetof(struct tls_client_conf, ciphers_at),
	  .min = 1,
	  .max = 4095,
	  .doc = CIPHERS_DOC },
	{ .key = NULL },
};

const struct schema tls_client_schema = {
	.name = "tls section of an upstream",
	.size = sizeof(struct tls_client_conf),
	.fields = client_fields,
	.at = offsetof(struct tls_client_conf, at),
	.check = check_client,
};

/*---------------------------------------------------------------- files */

static void visit_each(const char *const *path, unsigned n, void (*visit)(void *, const char *),
		       void *arg)
{
	for (unsigned i = 0; i < n; i++)
		if (path[i] != NULL)
			visit(arg, path[i]);
}

void tls_server_files(const struct tls_server_conf *c, void (*visit)(void *, const char *),
		      void *arg)
{
	const char *const path[] = { c->cert, c->key, c->client_ca, c->crl };

	visit_each(path, 4, visit, arg);
}

void tls_client_files(const struct tls_client_conf *c, void (*visit)(void *, const char *),
		      void *arg)
{
	const char *const path[] = { c->ca, c->cert, c->key };

	visit_each(path, 3, visit, arg);
}
