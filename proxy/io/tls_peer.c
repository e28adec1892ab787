/* tls_peer.c - the name by which a verified client is known. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "io/tls_internal.h"

/* In order of preference: what names a workload (SPIFFE), a host, a person. */
static const int kinds[] = { GEN_URI, GEN_DNS, GEN_EMAIL };

/* Printable ASCII, no blanks: nobody's name can look like another's. */
static char *copy_of(const ASN1_IA5STRING *s)
{
	const unsigned char *p = ASN1_STRING_get0_data(s);
	int n = ASN1_STRING_length(s);

	for (int i = 0; i < n; i++)
		if (p[i] <= ' ' || p[i] >= 0x7F)
			return NULL;
	return n > 0 ? strndup((const char *)p, (size_t)n) : NULL;
}

static char *first_of(const GENERAL_NAMES *names, int kind)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == kind)
			return copy_of(name->d.ia5);
	}
	return NULL;
}

char *tls_name_of_peer(SSL *ssl)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	GENERAL_NAMES *names = NULL;
	char *found = NULL;

	if (cert != NULL && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE &&
	    SSL_get_verify_result(ssl) == X509_V_OK)
		names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	for (size_t i = 0; found == NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		found = first_of(names, kinds[i]);
	GENERAL_NAMES_free(names);
	ERR_clear_error();
	return found;
}
