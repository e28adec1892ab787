/* fuzz_certificate.c - files of certificates, keys, authorities and revocation lists, as the
 * configuration names them.
 *
 * The first byte says what the file is taken for.  Whatever
 * is in it: a context or a finding, never both, and nothing in OpenSSL's queue. */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "io/tls_context.h"
#include "io/transport.h"

enum { NOW_S = 1800000000 }; /* the corpus does not grow old */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_server(struct tls_server_conf conf, struct diags *diags)
{
	struct conf_list list = { 1, &conf };
	struct tls_server *s = tls_server_new(&list, 1u << PROTOCOL_HTTP1, NOW_S, diags);

	CHECK((s == NULL) == (diags->errors > 0));
	tls_server_put(s);
}

static void as_client(struct tls_client_conf conf, struct diags *diags)
{
	struct place at = { 0 };
	struct tls_client *c = tls_client_new(&conf, 1u << PROTOCOL_HTTP1, at, NOW_S, diags);

	CHECK((c == NULL) == (diags->errors > 0));
	tls_client_put(c);
}

static void take_for(char what, const char *path, struct diags *diags)
{
	if (what == 'a')
		as_server((struct tls_server_conf){ .cert = path, .client_ca = path }, diags);
	else if (what == 'r')
		as_server((struct tls_server_conf){ .cert = path, .client_ca = path, .crl = path },
			  diags);
	else if (what == 'c')
		as_client((struct tls_client_conf){ .verify = true, .ca = path, .cert = path },
			  diags);
	else
		as_server((struct tls_server_conf){ .cert = path }, diags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct arena arena;
	struct diags diags;
	char path[32];

	if (fd < 0)
		fd = memfd_create("certificate", MFD_CLOEXEC);
	if (size == 0 || fd < 0)
		return 0;
	CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, data + 1, size - 1, 0) == (ssize_t)(size - 1));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	take_for((char)data[0], path, &diags);
	CHECK(ERR_peek_error() == 0);
	arena_fini(&arena);
	return 0;
}
