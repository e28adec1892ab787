/* secure.c - TLS for the load generator. */
#include "secure.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "wire.h"

static SSL_CTX *context;
static SSL_SESSION *latest;
static bool resuming;

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(latest);
	latest = session;
	return 1;
}

void secure_start(bool resume)
{
	context = SSL_CTX_new(TLS_client_method());
	if (!context)
		die("no TLS");
	resuming = resume;
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, on_session);
}

struct secure *secure_open(int fd)
{
	SSL *ssl = SSL_new(context);
	if (!ssl || SSL_set_fd(ssl, fd) != 1)
		die("out of memory");
	/* a copy: OpenSSL takes a session of TLS 1.3 for used up once it was taken up */
	SSL_SESSION *copy = resuming && latest ? SSL_SESSION_dup(latest) : NULL;
	if (copy)
		SSL_set_session(ssl, copy);
	SSL_SESSION_free(copy);
	SSL_set_connect_state(ssl);
	return (struct secure *)ssl;
}

void secure_close(struct secure *s)
{
	SSL *ssl = (SSL *)s;
	if (!ssl)
		return;
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(ssl);
}

int secure_shake(struct secure *s)
{
	SSL *ssl = (SSL *)s;
	ERR_clear_error();
	int result = SSL_do_handshake(ssl), error = result == 1 ? 0 : SSL_get_error(ssl, result);
	if (result == 1)
		return 1;
	return error == SSL_ERROR_WANT_READ ? 0 : error == SSL_ERROR_WANT_WRITE ? 2 : -1;
}

static ssize_t result_of(SSL *ssl, int result)
{
	if (result > 0)
		return result;
	int error = SSL_get_error(ssl, result);
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
	return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

ssize_t secure_recv(struct secure *s, void *bytes, size_t size)
{
	ERR_clear_error();
	return result_of((SSL *)s, SSL_read((SSL *)s, bytes, (int)size));
}

ssize_t secure_send(struct secure *s, const void *bytes, size_t size)
{
	ERR_clear_error();
	return result_of((SSL *)s, SSL_write((SSL *)s, bytes, (int)size));
}
