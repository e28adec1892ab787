/* tls_rig.h - certificates made on the spot, and two ends of TLS over a pair that turns by itself.
 */
#ifndef TLS_RIG_H
#define TLS_RIG_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/pair.h"
#include "io/tls.h"

/*---------------------------------------------------------------- certificates */

struct authority {
	EVP_PKEY *key;
	X509 *cert;
};

/* What a certificate is to be. */
struct wish {
	const char *name;           /* "DNS:a.example,IP:127.0.0.1"; NULL: an authority */
	long from_s, to_s;          /* from now; 0 and 0: a year */
	const struct authority *by; /* NULL: itself */
	const char *curve;          /* NULL: P-256 */
	bool rsa;
};

static char rig_folder[] = "/tmp/tls_rig_XXXXXX";

static const char *rig_path(const char *file)
{
	static char path[64][256];
	static unsigned next;
	char *p = path[next++ % 64];

	if (strchr(rig_folder, 'X') != NULL && strstr(rig_folder, "XXXXXX") != NULL)
		assert_non_null(mkdtemp(rig_folder));
	snprintf(p, 256, "%s/%s", rig_folder, file);
	return p;
}

static void rig_remove(void)
{
	char command[300];

	snprintf(command, sizeof(command), "rm -rf '%s'", rig_folder);
	assert_int_equal(system(command), 0);
}

static void rig_extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(e);
	X509_add_ext(cert, e, -1);
	X509_EXTENSION_free(e);
}

static struct authority rig_make(struct wish w)
{
	static long serial = 1;
	struct authority a = { w.rsa ? EVP_RSA_gen(2048)
				     : EVP_EC_gen(w.curve != NULL ? w.curve : "P-256"),
			       X509_new() };
	X509_NAME *subject = X509_get_subject_name(a.cert);
	char common[32];

	snprintf(common, sizeof(common), "rig %ld", serial);
	X509_set_version(a.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(a.cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(a.cert), w.from_s != 0 ? w.from_s : -3600);
	X509_gmtime_adj(X509_getm_notAfter(a.cert), w.to_s != 0 ? w.to_s : 365L * 86400);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (unsigned char *)common, -1, -1, 0);
	X509_set_issuer_name(a.cert, w.by != NULL ? X509_get_subject_name(w.by->cert) : subject);
	X509_set_pubkey(a.cert, a.key);
	rig_extend(a.cert, NID_basic_constraints, w.name == NULL ? "critical,CA:TRUE" : "CA:FALSE");
	if (w.name != NULL)
		rig_extend(a.cert, NID_subject_alt_name, w.name);
	assert_true(X509_sign(a.cert, w.by != NULL ? w.by->key : a.key, EVP_sha256()) > 0);
	return a;
}

static void rig_free(struct authority *a)
{
	EVP_PKEY_free(a->key);
	X509_free(a->cert);
}

static const char *rig_write(const char *file, const struct authority *cert,
			     const struct authority *key)
{
	const char *path = rig_path(file);
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	if (cert != NULL)
		PEM_write_X509(f, cert->cert);
	if (key != NULL)
		PEM_write_PrivateKey(f, key->key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	return path;
}

/* A list of `by` with one certificate on it; NULL: an empty one. */
static const char *rig_write_list(const char *file, const struct authority *by,
				  const struct authority *revoked, long to_s)
{
	const char *path = rig_path(file);
	X509_CRL *list = X509_CRL_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, -7200), *to = X509_gmtime_adj(NULL, to_s);
	FILE *f = fopen(path, "we");

	X509_CRL_set_version(list, 1);
	X509_CRL_set_issuer_name(list, X509_get_subject_name(by->cert));
	X509_CRL_set1_lastUpdate(list, from);
	X509_CRL_set1_nextUpdate(list, to);
	if (revoked != NULL) {
		X509_REVOKED *r = X509_REVOKED_new();

		X509_REVOKED_set_serialNumber(r, X509_get_serialNumber(revoked->cert));
		X509_REVOKED_set_revocationDate(r, from);
		X509_CRL_add0_revoked(list, r);
	}
	X509_CRL_sign(list, by->key, EVP_sha256());
	assert_non_null(f);
	PEM_write_X509_CRL(f, list);
	fclose(f);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
	X509_CRL_free(list);
	return path;
}

/*---------------------------------------------------------------- both ends */

enum { SERVER, CLIENT };

struct side {
	struct loop loop;
	struct transport *t;
	bool up, failed; /* the handshake has ended */
	const struct reason *why;
	struct buf in;
	ssize_t end;     /* what recv said at last: 0, or TRANSPORT_BROKEN; 1: nothing yet */
	const char *out; /* to be sent */
	size_t out_n;
	size_t read_max; /* by one recv */
	bool paused;
	unsigned reads;
};

struct ends {
	struct pair *pair;
	struct side side[2];
};

static void side_want(struct side *s)
{
	unsigned wants = 0;

	if (!s->up && !s->failed)
		wants = WANT_WRITE;
	else if (!s->failed)
		wants =
		    (s->end == 1 && !s->paused ? WANT_READ : 0) | (s->out_n > 0 ? WANT_WRITE : 0);
	s->t->ops->want(s->t, wants);
}

static void side_read(struct side *s)
{
	char piece[65536];
	size_t most = s->read_max != 0 ? s->read_max : sizeof(piece);
	ssize_t n = s->t->ops->recv(s->t, piece, most);

	s->reads++;
	if (n > 0)
		buf_put(&s->in, piece, (size_t)n);
	else if (n != TRANSPORT_AGAIN)
		s->end = n;
}

/* In two pieces, as a head and a body are, from an address of its own each time. */
static void side_write(struct side *s)
{
	char *copy = malloc(s->out_n);
	size_t first = s->out_n < 10 ? s->out_n : 10;
	struct iovec v[2] = { { copy, first }, { copy + first, s->out_n - first } };
	ssize_t n;

	memcpy(copy, s->out, s->out_n);
	n = s->t->ops->writev(s->t, v, v[1].iov_len > 0 ? 2 : 1);
	free(copy);
	if (n == TRANSPORT_BROKEN)
		s->out_n = 0;
	if (n <= 0)
		return;
	s->out += n;
	s->out_n -= (size_t)n;
}

static void side_ready(void *owner, unsigned ready)
{
	struct side *s = owner;

	if (!s->up && !s->failed) {
		assert_int_equal(ready, WANT_WRITE);
		s->up = s->t->ops->intact(s->t);
		s->failed = !s->up;
		s->why = s->t->why;
	} else {
		if ((ready & WANT_READ) && s->end == 1)
			side_read(s);
		if ((ready & WANT_WRITE) && s->out_n > 0)
			side_write(s);
	}
	side_want(s);
}

static void ends_turn(struct ends *e)
{
	for (unsigned idle = 0, turns = 0; idle < 2; turns++) {
		unsigned side = turns % 2;

		assert_true(turns < 4000000);
		if (pair_ready(e->pair, side) == 0) {
			idle++;
			continue;
		}
		idle = 0;
		pair_deliver(e->pair, side);
	}
}

static void side_begin(struct side *s, struct transport *t)
{
	assert_non_null(t);
	s->t = t;
	s->end = 1;
	t->owner = s;
	t->on_ready = side_ready;
	side_want(s);
}

static int64_t rig_wall_s; /* what the wall clock says to connections to come; 0: what it is */

static uint64_t stand_still(struct loop *loop)
{
	return loop->now_ns;
}

/* A NULL server or client: that end is left raw. */
static void ends_begin(struct ends *e, struct tls_server *server, const struct tls_target *target)
{
	*e = (struct ends){ .pair = NULL };
	for (unsigned i = 0; i < 2; i++) {
		assert_true(loop_init(&e->side[i].loop, false));
		loop_enter(&e->side[i].loop);
		if (rig_wall_s == 0)
			continue;
		e->side[i].loop.read_clock = stand_still;
		e->side[i].loop.wall_ns = (uint64_t)rig_wall_s * UINT64_C(1000000000);
	}
	e->pair = pair_new(&e->side[SERVER].loop, &e->side[CLIENT].loop);
	assert_non_null(e->pair);
	if (server != NULL)
		side_begin(&e->side[SERVER],
			   tls_accept(&e->side[SERVER].loop, pair_end(e->pair, SERVER), server,
				      slice_of(NULL, 0)));
	if (target != NULL)
		side_begin(&e->side[CLIENT],
			   tls_connect(&e->side[CLIENT].loop, pair_end(e->pair, CLIENT), target));
	for (unsigned i = 0; i < 2; i++)
		loop_settle(&e->side[i].loop);
}

static void side_hang_up(struct side *s, bool reset)
{
	if (s->t != NULL)
		s->t->ops->close(s->t, reset);
	s->t = NULL;
}

static void ends_end(struct ends *e)
{
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &e->side[i];

		if (s->t != NULL)
			side_hang_up(s, false);
		loop_settle(&s->loop);
		buf_fini(&s->in);
		loop_fini(&s->loop);
	}
}

static void side_say(struct side *s, const char *text, size_t n)
{
	s->out = text;
	s->out_n = n;
	side_want(s);
	loop_settle(&s->loop);
}

#endif
