/* test_tls.c - TLS over a pair: handshakes, bytes in every cut, ends, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/reason.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "io/tls_ticket.h"
#include "tls_rig.h"

static struct authority ca, other_ca, leaf, guest, bad_guest, stranger;
static struct diags diags;
static struct arena arena;

static struct tls_server *server_of(const struct tls_server_conf *conf, uint32_t n)
{
	struct conf_list list = { n, (void *)(uintptr_t)conf };

	return tls_server_new(&list, 1u << PROTOCOL_HTTP1, (int64_t)time(NULL), &diags);
}

static struct tls_server *server(void)
{
	const struct tls_server_conf conf = { .cert = rig_path("leaf.pem"),
					      .key = rig_path("leaf.key") };
	struct tls_server *s = server_of(&conf, 1);

	assert_non_null(s);
	return s;
}

static struct tls_client *client_of(struct tls_client_conf conf)
{
	struct place at = { 0 };
	struct tls_client *c =
	    tls_client_new(&conf, 1u << PROTOCOL_HTTP1, at, (int64_t)time(NULL), &diags);

	assert_non_null(c);
	return c;
}

static struct tls_client *client(void)
{
	return client_of(
	    (struct tls_client_conf){ .ca = rig_path("ca.pem"), .verify = true, .resume = true });
}

/* A connection between the two, up to the end of the handshake. */
static void join(struct ends *e, struct tls_server *s, struct tls_client *c, const char *name,
		 struct tls_resume *r)
{
	const struct tls_target target = { .client = c, .name = name, .resume = r };

	ends_begin(e, s, &target);
	ends_turn(e);
}

static void assert_said(struct side *s, const char *text, size_t n)
{
	assert_int_equal(s->in.n, n);
	assert_memory_equal(s->in.p, text, n);
	s->in.n = 0;
}

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	rig_wall_s = 0;
	arena_fini(&arena);
	return 0;
}

/*---------------------------------------------------------------- bytes */

static void exchange(struct ends *e, const char *text, size_t n)
{
	side_say(&e->side[CLIENT], text, n);
	side_say(&e->side[SERVER], text, n);
	ends_turn(e);
	assert_said(&e->side[SERVER], text, n);
	assert_said(&e->side[CLIENT], text, n);
}

static void cut_into(size_t read_max, size_t recv_max, size_t send_max, size_t capacity, size_t n)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	const struct tls_target target = { .client = c, .name = "a.example" };
	char *text = malloc(n);
	struct ends e;

	for (size_t i = 0; i < n; i++)
		text[i] = (char)(i * 31 + i / 251);
	ends_begin(&e, s, &target);
	for (unsigned i = 0; i < 2; i++) {
		*pair_knobs(e.pair, i) = (struct pair_knobs){ .recv_max = recv_max,
							      .send_max = send_max,
							      .capacity = capacity };
		e.side[i].read_max = read_max;
	}
	ends_turn(&e);
	assert_true(e.side[SERVER].up && e.side[CLIENT].up);
	exchange(&e, text, n);
	exchange(&e, text, 1);
	ends_end(&e);
	free(text);
	tls_server_put(s);
	tls_client_put(c);
}

static void test_bytes_whole(void **state)
{
	(void)state;
	cut_into(0, 0, 0, PAIR_CAPACITY_MAX, 300);
	cut_into(0, 0, 0, PAIR_CAPACITY_MAX, 400000);
}

static void test_bytes_in_pieces(void **state)
{
	static const size_t sizes[] = { 1, 2, 3, 5, 6, 100, 1000, 16384, 16500 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t max = sizes[i];

		cut_into(0, max, 0, PAIR_CAPACITY_MAX, max < 100 ? 3000 : 70000);
		cut_into(0, 0, max, PAIR_CAPACITY_MAX, max < 100 ? 3000 : 70000);
		cut_into(0, max, max, max, max < 100 ? 3000 : 70000);
		cut_into(max, 0, 0, PAIR_CAPACITY_MAX, max < 100 ? 3000 : 70000);
	}
}

/* T2: what came in one piece with the end of the handshake, or behind a short read, is announced.
 */
static void test_what_is_held_is_announced(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	e.side[SERVER].paused = true;
	side_want(&e.side[SERVER]);
	side_say(&e.side[CLIENT], "one", 3);
	ends_turn(&e);
	side_say(&e.side[CLIENT], "two", 3);
	ends_turn(&e);
	assert_int_equal(e.side[SERVER].in.n, 0);
	e.side[SERVER].paused = false;
	e.side[SERVER].read_max = 2;
	side_want(&e.side[SERVER]);
	ends_turn(&e);
	assert_said(&e.side[SERVER], "onetwo", 6);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

static void test_early_bytes(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	const struct tls_target target = { .client = c, .name = "a.example" };
	char hello[4096];
	ssize_t n;
	struct ends e;

	(void)state;
	ends_begin(&e, NULL, &target);
	pair_deliver(e.pair, CLIENT); /* it connects, and says hello */
	n = pair_end(e.pair, SERVER)->ops->recv(pair_end(e.pair, SERVER), hello, sizeof(hello));
	assert_true(n > 100);
	loop_enter(&e.side[SERVER].loop);
	side_begin(&e.side[SERVER], tls_accept(&e.side[SERVER].loop, pair_end(e.pair, SERVER), s,
					       slice_of(hello, (size_t)n)));
	loop_settle(&e.side[SERVER].loop);
	ends_turn(&e);
	assert_true(e.side[SERVER].up && e.side[CLIENT].up);
	exchange(&e, "x", 1);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/*---------------------------------------------------------------- ends */

static void test_close_is_an_end(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	side_say(&e.side[CLIENT], "bye", 3);
	ends_turn(&e);
	side_hang_up(&e.side[CLIENT], false);
	ends_turn(&e);
	assert_said(&e.side[SERVER], "bye", 3);
	assert_int_equal(e.side[SERVER].end, 0);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/* T1: the socket below ends in order, but the peer has not said that it does. */
static void test_truncation_is_none(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	side_say(&e.side[CLIENT], "by", 2);
	ends_turn(&e);
	pair_end(e.pair, CLIENT)->ops->half_close(pair_end(e.pair, CLIENT));
	ends_turn(&e);
	assert_said(&e.side[SERVER], "by", 2);
	assert_int_equal(e.side[SERVER].end, TRANSPORT_BROKEN);
	assert_false(e.side[SERVER].t->ops->intact(e.side[SERVER].t));
	side_hang_up(&e.side[CLIENT], true);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

static void test_half_close(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	e.side[CLIENT].t->ops->half_close(e.side[CLIENT].t);
	ends_turn(&e);
	assert_int_equal(e.side[SERVER].end, 0);
	side_say(&e.side[SERVER], "more", 4);
	ends_turn(&e);
	assert_said(&e.side[CLIENT], "more", 4);
	side_hang_up(&e.side[SERVER], false);
	ends_turn(&e);
	assert_int_equal(e.side[CLIENT].end, 0);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

static void test_half_close_into_a_full_socket(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	pair_knobs(e.pair, SERVER)->capacity = 0; /* the server's side takes nothing */
	e.side[CLIENT].t->ops->half_close(e.side[CLIENT].t);
	ends_turn(&e);
	assert_int_equal(e.side[SERVER].end, 1);
	pair_knobs(e.pair, SERVER)->capacity = 1024;
	ends_turn(&e);
	assert_int_equal(e.side[SERVER].end, 0);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

static void test_garbage_in_the_middle(void **state)
{
	static char garbage[] = "this is no record at all";
	struct iovec v = { garbage, sizeof(garbage) };
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	pair_end(e.pair, CLIENT)->ops->writev(pair_end(e.pair, CLIENT), &v, 1);
	ends_turn(&e);
	assert_int_equal(e.side[SERVER].end, TRANSPORT_BROKEN);
	assert_int_equal(ERR_peek_error(), 0);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/* Tickets that come behind the handshake are no word of the peer's. */
static void test_quiet(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct transport *t;
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	t = e.side[CLIENT].t;
	assert_true(t->ops->quiet(t));
	e.side[CLIENT].paused = true;
	side_want(&e.side[CLIENT]);
	side_say(&e.side[SERVER], "x", 1);
	ends_turn(&e);
	assert_false(t->ops->quiet(t));
	e.side[CLIENT].paused = false;
	side_want(&e.side[CLIENT]);
	loop_settle(&e.side[CLIENT].loop);
	ends_turn(&e);
	assert_said(&e.side[CLIENT], "x", 1);
	assert_true(t->ops->quiet(t));
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/*---------------------------------------------------------------- who may connect */

static void expect_both(struct tls_server *s, struct tls_client *c, const char *name,
			bool server_up, bool client_up)
{
	struct ends e;

	join(&e, s, c, name, NULL);
	assert_int_equal(e.side[SERVER].up, server_up);
	assert_int_equal(e.side[CLIENT].up, client_up);
	if (!client_up)
		assert_ptr_equal(e.side[CLIENT].why, reason_tls_failed);
	if (!server_up)
		assert_ptr_equal(e.side[SERVER].why, reason_handshake_failed);
	assert_int_equal(ERR_peek_error(), 0);
	ends_end(&e);
	tls_client_put(c);
}

static void test_names(void **state)
{
	struct tls_server *s = server();

	(void)state;
	expect_both(s, client(), "a.example", true, true);
	expect_both(s, client(), "127.0.0.1", true, true);
	expect_both(s, client(), "b.example", false, false);
	expect_both(s, client(), "127.0.0.2", false, false);
	expect_both(
	    s, client_of((struct tls_client_conf){ .ca = rig_path("other.pem"), .verify = true }),
	    "a.example", false, false);
	expect_both(s, client_of((struct tls_client_conf){ .verify = false, .resume = true }),
		    "b.example", true, true);
	expect_both(s,
		    client_of((struct tls_client_conf){ .ca = rig_path("ca.pem"),
							.verify = true,
							.resume = true,
							.server_name = "a.example" }),
		    "b.example", true, true);
	tls_server_put(s);
}

static struct tls_client *client_with(const char *cert)
{
	char file[32];

	snprintf(file, sizeof(file), "%s.pem", cert);
	return client_of((struct tls_client_conf){
	    .ca = rig_path("ca.pem"), .verify = true, .resume = true, .cert = rig_path(file) });
}

/* TLS 1.3: the client is done before the server has seen its certificate; it hears of it when it
 * reads. */
static void expect_guest(struct tls_server *s, struct tls_client *c, const char *name)
{
	bool welcome = name != NULL;
	struct ends e;

	join(&e, s, c, "a.example", NULL);
	assert_int_equal(e.side[SERVER].up, welcome);
	if (welcome)
		assert_true(slice_is(tls_peer_name(e.side[SERVER].t), name));
	if (!welcome) {
		side_hang_up(&e.side[SERVER], false);
		ends_turn(&e);
		assert_int_equal(e.side[CLIENT].end, TRANSPORT_BROKEN);
	}
	ends_end(&e);
	tls_client_put(c);
}

static void test_client_certificates(void **state)
{
	struct tls_server_conf conf = { .cert = rig_path("leaf.pem"),
					.key = rig_path("leaf.key"),
					.client_ca = rig_path("ca.pem") };
	struct tls_server *s = server_of(&conf, 1);

	(void)state;
	expect_guest(s, client_with("guest"), "spiffe://rig/guest");
	expect_guest(s, client_with("bad_guest"), "bad");
	expect_guest(s, client_with("stranger"), NULL);
	expect_guest(s, client(), NULL);
	tls_server_put(s);
	conf.client_auth = TLS_CLIENT_AUTH_OPTIONAL;
	s = server_of(&conf, 1);
	expect_guest(s, client_with("guest"), "spiffe://rig/guest");
	expect_guest(s, client_with("stranger"), NULL);
	expect_guest(s, client(), "");
	tls_server_put(s);
	conf.crl = rig_write_list("crl.pem", &ca, &bad_guest, 86400);
	s = server_of(&conf, 1);
	expect_guest(s, client_with("guest"), "spiffe://rig/guest");
	expect_guest(s, client_with("bad_guest"), NULL);
	tls_server_put(s);
}

/*---------------------------------------------------------------- which certificate */

static void expect_certificate(struct tls_server *s, const char *name, const struct authority *want)
{
	struct tls_client *c =
	    client_of((struct tls_client_conf){ .ca = rig_path("both.pem"), .verify = true });
	struct ends e;

	join(&e, s, c, name, NULL);
	assert_int_equal(e.side[CLIENT].up, want != NULL);
	ends_end(&e);
	tls_client_put(c);
}

static void test_certificates_by_name(void **state)
{
	struct authority b =
	    rig_make((struct wish){ .name = "DNS:*.b.example", .by = &ca, .curve = "P-384" });
	const struct tls_server_conf conf[] = {
		{ .cert = rig_path("leaf.pem"), .key = rig_path("leaf.key") },
		{ .cert = rig_write("b.pem", &b, &b) },
	};
	struct tls_server *s = server_of(conf, 2);

	(void)state;
	assert_non_null(s);
	rig_write("both.pem", &ca, NULL);
	expect_certificate(s, "a.example", &leaf);
	expect_certificate(s, "x.b.example", &b);
	expect_certificate(s, "X.B.Example", &b);
	expect_certificate(s, "x.y.b.example", NULL);
	expect_certificate(s, "b.example", NULL);
	expect_certificate(s, "127.0.0.1", &leaf); /* no name is sent */
	tls_server_put(s);
	rig_free(&b);
}

/*---------------------------------------------------------------- which protocol */

static void expect_protocol(unsigned ours, unsigned theirs, bool up, uint8_t protocol)
{
	const struct tls_server_conf conf = { .cert = rig_path("leaf.pem"),
					      .key = rig_path("leaf.key") };
	const struct tls_client_conf lax = { .verify = false, .resume = true };
	struct conf_list list = { 1, (void *)(uintptr_t)&conf };
	struct tls_server *s = tls_server_new(&list, ours, (int64_t)time(NULL), &diags);
	struct tls_client *c =
	    tls_client_new(&lax, theirs, (struct place){ 0 }, (int64_t)time(NULL), &diags);
	struct ends e;

	join(&e, s, c, "a.example", NULL);
	assert_int_equal(e.side[SERVER].up, up);
	if (up) {
		assert_int_equal(e.side[SERVER].t->protocol, protocol);
		assert_int_equal(e.side[CLIENT].t->protocol, protocol);
	}
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/* What both speak; of that, the newest. */
static void test_protocols(void **state)
{
	const unsigned h1 = 1u << PROTOCOL_HTTP1, h2 = 1u << PROTOCOL_HTTP2;

	(void)state;
	expect_protocol(h1, h1, true, PROTOCOL_HTTP1);
	expect_protocol(h1, h1 | h2, true, PROTOCOL_HTTP1);
	expect_protocol(h1 | h2, h1, true, PROTOCOL_HTTP1);
	expect_protocol(h1 | h2, h1 | h2, true, PROTOCOL_HTTP2);
	expect_protocol(h1, h2, false, 0);
}

/*---------------------------------------------------------------- sessions */

static bool resumed(struct tls_server *s, struct tls_client *c, struct tls_resume *r,
		    struct tls_tickets *tickets, uint64_t now_ns)
{
	const struct tls_target target = { .client = c, .name = "a.example", .resume = r };
	struct ends e;
	bool yes;

	ends_begin(&e, s, &target);
	e.side[SERVER].loop.tickets = tickets;
	e.side[SERVER].loop.now_ns = now_ns;
	ends_turn(&e);
	assert_true(e.side[SERVER].up && e.side[CLIENT].up);
	yes = tls_is_resumed(e.side[CLIENT].t);
	assert_int_equal(yes, tls_is_resumed(e.side[SERVER].t));
	ends_end(&e);
	return yes;
}

static void test_resumption(void **state)
{
	static const uint8_t secret[TLS_TICKET_KEY_BYTES] = { 1, 2, 3 };
	const struct tls_server_conf strict = { .cert = rig_path("leaf.pem"),
						.key = rig_path("leaf.key"),
						.client_ca = rig_path("ca.pem"),
						.client_auth = TLS_CLIENT_AUTH_OPTIONAL };
	struct tls_server *s = server(), *again = server(), *asks = server_of(&strict, 1);
	struct tls_client *c = client(), *lax = client_of((struct tls_client_conf){
					     .verify = false, .resume = true });
	struct tls_client *never =
	    client_of((struct tls_client_conf){ .ca = rig_path("ca.pem"), .verify = true });
	struct tls_tickets one, two;
	struct tls_resume r = { .session = NULL };

	(void)state;
	tls_tickets_init(&one, secret, 0);
	tls_tickets_init(&two, secret, 0); /* another thread's */
	assert_false(resumed(s, c, &r, &one, 1));
	assert_true(resumed(s, c, &r, &one, 1));
	assert_true(resumed(s, c, &r, &two, 1));
	assert_true(resumed(again, c, &r, &one, 1)); /* a reload */
	assert_false(resumed(asks, c, &r, &one, 1)); /* another rule for clients */
	assert_true(resumed(asks, c, &r, &one, 1));
	assert_false(resumed(s, lax, &r, &one, 1)); /* another rule for servers */
	assert_true(resumed(s, lax, &r, &one, 1));
	assert_false(resumed(s, c, &r, &one, 1));
	assert_false(resumed(s, never, &r, &one, 1));
	assert_true(resumed(s, c, &r, &one, 1)); /* the other's is still there */
	tls_resume_fini(&r);
	tls_client_put(never);
	tls_server_put(s);
	tls_server_put(again);
	tls_server_put(asks);
	tls_client_put(c);
	tls_client_put(lax);
}

/* However often a session was taken up and renewed meanwhile: certificates expire and are revoked.
 */
static void test_who_was_verified_is_not_for_ever(void **state)
{
	static const uint8_t secret[TLS_TICKET_KEY_BYTES] = { 1 };
	const struct tls_server_conf asks = { .cert = rig_path("leaf.pem"),
					      .key = rig_path("leaf.key"),
					      .client_ca = rig_path("ca.pem") };
	const int64_t start = (int64_t)time(NULL), half = TLS_TICKET_LIFE_S / 2;
	struct tls_server *s = server_of(&asks, 1);
	struct tls_client *c = client_of((struct tls_client_conf){ .ca = rig_path("ca.pem"),
								   .verify = true,
								   .resume = true,
								   .cert = rig_path("guest.pem") });
	struct tls_tickets tickets;
	struct tls_resume r = { .session = NULL };

	(void)state;
	tls_tickets_init(&tickets, secret, 0);
	rig_wall_s = start;
	assert_false(resumed(s, c, &r, &tickets, 1));
	rig_wall_s = start + half;
	assert_true(resumed(s, c, &r, &tickets, 1));
	rig_wall_s = start + 2 * half;
	assert_false(resumed(s, c, &r, &tickets, 1)); /* the client asks the server */
	r.until_s = INT64_MAX;
	rig_wall_s = start + 3 * half;
	assert_true(resumed(s, c, &r, &tickets, 1));
	rig_wall_s = start + 4 * half;
	assert_false(resumed(s, c, &r, &tickets, 1)); /* the server asks the client */
	tls_resume_fini(&r);
	tls_server_put(s);
	tls_client_put(c);
}

/*---------------------------------------------------------------- what is no text */

/* A client by hand: OpenSSL over memory, beside the raw end of the pair. */
struct by_hand {
	SSL_CTX *ctx;
	SSL *ssl;
	struct ends ends;
};

static void hand_over(struct by_hand *h)
{
	struct transport *raw = pair_end(h->ends.pair, CLIENT);
	char piece[16384];
	struct iovec v = { piece, 0 };
	int n;
	ssize_t got;

	while ((n = BIO_read(SSL_get_wbio(h->ssl), piece, sizeof(piece))) > 0) {
		v.iov_len = (size_t)n;
		assert_int_equal(raw->ops->writev(raw, &v, 1), n);
	}
	ends_turn(&h->ends);
	while ((got = raw->ops->recv(raw, piece, sizeof(piece))) > 0)
		assert_int_equal(BIO_write(SSL_get_rbio(h->ssl), piece, (int)got), got);
}

/* `name` to ask for, `algorithms` of signatures; each may be NULL. */
static void by_hand_begin(struct by_hand *h, struct tls_server *s, const char *name,
			  const char *algorithms)
{
	ends_begin(&h->ends, s, NULL);
	h->ctx = SSL_CTX_new(TLS_client_method());
	if (algorithms != NULL)
		assert_int_equal(SSL_CTX_set1_sigalgs_list(h->ctx, algorithms), 1);
	h->ssl = SSL_new(h->ctx);
	SSL_set_bio(h->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (name != NULL)
		SSL_set_tlsext_host_name(h->ssl, name);
	for (unsigned i = 0; i < 9 && SSL_connect(h->ssl) != 1; i++)
		hand_over(h);
	hand_over(h);
	assert_true(h->ends.side[SERVER].up);
}

static void by_hand_end(struct by_hand *h)
{
	struct transport *raw = pair_end(h->ends.pair, CLIENT);

	raw->ops->close(raw, false);
	ends_end(&h->ends);
	SSL_free(h->ssl);
	SSL_CTX_free(h->ctx);
	ERR_clear_error();
}

static void update_keys(struct by_hand *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(SSL_key_update(h->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(h->ssl), 1);
	}
}

static void test_key_updates(void **state)
{
	struct tls_server *s = server();
	struct by_hand h;

	(void)state;
	by_hand_begin(&h, s, NULL, NULL);
	for (unsigned i = 0; i < 20; i++) {
		update_keys(&h, 60);
		assert_int_equal(SSL_write(h.ssl, "text", 4), 4);
		hand_over(&h);
		assert_said(&h.ends.side[SERVER], "text", 4);
	}
	assert_int_equal(h.ends.side[SERVER].end, 1);
	for (unsigned i = 0; i < 7; i++) {
		update_keys(&h, 10);
		hand_over(&h);
	}
	assert_int_equal(h.ends.side[SERVER].end, TRANSPORT_BROKEN);
	assert_int_equal(ERR_peek_error(), 0);
	by_hand_end(&h);
	tls_server_put(s);
}

static void expect_shown(struct tls_server *s, const char *name, const char *algorithms,
			 const struct authority *want)
{
	struct by_hand h;

	by_hand_begin(&h, s, name, algorithms);
	assert_int_equal(X509_cmp(SSL_get0_peer_certificate(h.ssl), want->cert), 0);
	by_hand_end(&h);
}

/* For one name, with keys of two kinds: what the client can verify. */
static void test_pairs(void **state)
{
	static const char all[] = "ECDSA+SHA256:RSA-PSS+SHA256:RSA+SHA256";
	struct authority b =
	    rig_make((struct wish){ .name = "DNS:b.example,DNS:c.example", .by = &ca });
	struct authority rsa = rig_make(
	    (struct wish){ .name = "DNS:C.example,DNS:b.example,DNS:d.example", .rsa = true });
	const struct tls_server_conf conf[] = {
		{ .cert = rig_path("leaf.pem"), .key = rig_path("leaf.key") },
		{ .cert = rig_write("ec.pem", &b, &b) },
		{ .cert = rig_write("rsa.pem", &rsa, &rsa) },
	};
	struct tls_server *s = server_of(conf, 3);

	(void)state;
	assert_non_null(s);
	expect_shown(s, "b.example", all, &b);
	expect_shown(s, "b.example", "ECDSA+SHA256", &b);
	expect_shown(s, "b.example", "RSA-PSS+SHA256:RSA+SHA256", &rsa);
	expect_shown(s, "d.example", all, &rsa);
	expect_shown(s, "a.example", all, &leaf);
	expect_shown(s, "b.example.", NULL, &b); /* some write the name out to the root */
	expect_shown(s, ".", NULL, &leaf);
	expect_shown(s, "127.0.0.1", NULL, &leaf);
	tls_server_put(s);
	rig_free(&b);
	rig_free(&rsa);
}

/* Whoever is named is trusted: an authority that another one has signed, too. */
static void test_an_intermediate_authority(void **state)
{
	struct authority middle = rig_make((struct wish){ .by = &ca });
	struct authority b = rig_make((struct wish){ .name = "DNS:b.example", .by = &middle });
	const struct tls_server_conf conf = { .cert = rig_write("b.pem", &b, &b),
					      .client_ca = rig_write("middle.pem", &middle, NULL) };
	struct tls_server *s = server_of(&conf, 1);
	struct tls_client *c = client_of((struct tls_client_conf){
	    .ca = rig_path("middle.pem"), .verify = true, .cert = rig_path("b.pem") });
	struct ends e;

	(void)state;
	assert_non_null(s);
	join(&e, s, c, "b.example", NULL);
	assert_true(e.side[CLIENT].up && e.side[SERVER].up);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
	rig_free(&middle);
	rig_free(&b);
}

/* RFC 9525 section 2: what stands in the subject is no name of a host. */
static void test_a_subject_is_no_name(void **state)
{
	struct authority b = rig_make((struct wish){ .name = "email:a@b.example", .by = &ca });
	const struct tls_server_conf conf = { .cert = rig_write("b.pem", &b, &b) };
	struct tls_server *s = server_of(&conf, 1);
	struct tls_client *c = client();
	char name[64];
	struct ends e;

	(void)state;
	X509_NAME_get_text_by_NID(X509_get_subject_name(b.cert), NID_commonName, name,
				  sizeof(name));
	join(&e, s, c, name, NULL);
	assert_false(e.side[CLIENT].up);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
	rig_free(&b);
}

/* What the peer said before it hung up on what we write is heard. */
static void test_a_last_word(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	struct iovec v = { (void *)(uintptr_t) "more", 4 };
	struct side *side;
	struct ends e;

	(void)state;
	join(&e, s, c, "a.example", NULL);
	side = &e.side[CLIENT];
	side->paused = true;
	side_want(side);
	side_say(&e.side[SERVER], "too large", 9);
	ends_turn(&e);
	side_hang_up(&e.side[SERVER], true);
	assert_int_equal(side->t->ops->writev(side->t, &v, 1), TRANSPORT_BROKEN);
	assert_int_equal(side->t->ops->writev(side->t, &v, 1), TRANSPORT_BROKEN);
	side->paused = false;
	side_want(side);
	loop_settle(&side->loop);
	ends_turn(&e);
	assert_said(side, "too large", 9);
	ends_end(&e);
	tls_server_put(s);
	tls_client_put(c);
}

/*---------------------------------------------------------------- what is no TLS */

static void say_raw(const char *text, size_t n, char *answer, size_t room)
{
	struct tls_server *s = server();
	struct iovec v = { (void *)(uintptr_t)text, n };
	struct transport *raw;
	struct ends e;
	ssize_t got;

	ends_begin(&e, s, NULL);
	raw = pair_end(e.pair, CLIENT);
	raw->ops->writev(raw, &v, 1);
	ends_turn(&e);
	assert_true(e.side[SERVER].failed);
	assert_ptr_equal(e.side[SERVER].why, reason_handshake_failed);
	assert_int_equal(ERR_peek_error(), 0);
	got = raw->ops->recv(raw, answer, room - 1);
	answer[got > 0 ? got : 0] = '\0';
	raw->ops->close(raw, false);
	ends_end(&e);
	tls_server_put(s);
}

static void test_no_tls(void **state)
{
	char answer[512];

	(void)state;
	say_raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 28, answer, sizeof(answer));
	assert_memory_equal(answer, "HTTP/1.1 400 ", 13);
	say_raw("\x16\x03\x01\xff\xff garbage", 13, answer, sizeof(answer));
	say_raw("SSH-2.0-OpenSSH\r\n", 17, answer, sizeof(answer));
	assert_int_not_equal(answer[0], 'H');
}

/* Wherever the first flight is cut, the handshake is no success, and no wait for ever. */
static void test_hello_cut_anywhere(void **state)
{
	struct tls_server *s = server();
	struct tls_client *c = client();
	const struct tls_target target = { .client = c, .name = "a.example" };

	(void)state;
	for (size_t cut = 0; cut < 250; cut += 7) {
		struct ends e;

		ends_begin(&e, s, &target);
		pair_knobs(e.pair, SERVER)->capacity = cut;
		pair_deliver(e.pair, CLIENT);
		side_hang_up(&e.side[CLIENT], false);
		ends_turn(&e);
		assert_true(e.side[SERVER].failed);
		ends_end(&e);
	}
	tls_server_put(s);
	tls_client_put(c);
}

/*---------------------------------------------------------------- what is no configuration */

static void expect_finding(struct tls_server_conf conf, const char *text)
{
	struct tls_server *s;
	struct diag *d;

	tear_down(NULL);
	set_up(NULL);
	s = server_of(&conf, 1);
	assert_int_equal(s == NULL, diags.errors > 0);
	d = diags.first;
	if (text == NULL)
		assert_null(d);
	else if (d == NULL || strstr(d->message, text) == NULL)
		fail_msg("%s, not: %s", d == NULL ? "nothing" : d->message, text);
	assert_int_equal(ERR_peek_error(), 0);
	tls_server_put(s);
}

static const char *make_leaf(const char *file, long from_s, long to_s)
{
	struct authority a =
	    rig_make((struct wish){ .name = "DNS:x", .by = &ca, .from_s = from_s, .to_s = to_s });
	const char *path = rig_write(file, &a, &a);

	rig_free(&a);
	return path;
}

static void test_findings(void **state)
{
	const char *cert = rig_path("leaf.pem"), *key = rig_path("leaf.key"),
		   *ca_path = rig_path("ca.pem");
	const char *text = rig_path("text");
	FILE *f = fopen(text, "we");

	(void)state;
	fputs("no PEM at all\n", f);
	fclose(f);
	expect_finding((struct tls_server_conf){ .cert = cert, .key = key }, NULL);
	expect_finding((struct tls_server_conf){ .cert = rig_path("nowhere") }, "No such file");
	expect_finding((struct tls_server_conf){ .cert = "/tmp" }, "it is a folder");
	expect_finding((struct tls_server_conf){ .cert = text }, "none in it, in PEM");
	expect_finding((struct tls_server_conf){ .cert = cert, .key = text }, "none in it, in PEM");
	expect_finding((struct tls_server_conf){ .cert = cert, .key = ca_path },
		       "none in it, in PEM");
	expect_finding((struct tls_server_conf){ .cert = cert, .key = rig_path("ca.key") },
		       "not that of the certificate");
	expect_finding((struct tls_server_conf){ .cert = cert, .key = key, .client_ca = text },
		       "no certificate in it");
	expect_finding(
	    (struct tls_server_conf){
		.cert = cert, .key = key, .client_ca = ca_path, .crl = ca_path },
	    "none in it, in PEM");
	expect_finding(
	    (struct tls_server_conf){ .cert = cert,
				      .key = key,
				      .client_ca = ca_path,
				      .crl = rig_write_list("old.crl", &ca, NULL, -3600) },
	    "every client would be refused");
	expect_finding((struct tls_server_conf){ .cert = make_leaf("old.pem", -7200, -3600) },
		       "it expired on");
	expect_finding((struct tls_server_conf){ .cert = make_leaf("new.pem", 3600, 7200) },
		       "not valid before");
	expect_finding(
	    (struct tls_server_conf){ .cert = make_leaf("soon.pem", -3600, 5L * 86400 + 60) },
	    "in 5 days");
	assert_int_equal(diags.errors, 0);
	assert_int_equal(diags.warnings, 1);
}

/* A file that is being written, say: what stands behind the first is not passed over. */
static const char *cut_short(const char *file, const char *path)
{
	char *text = malloc(100000);
	FILE *f = fopen(path, "re");
	size_t n = fread(text, 1, 100000, f);
	const char *out = rig_path(file);

	fclose(f);
	f = fopen(out, "we");
	fwrite(text, 1, n, f);
	fwrite(text, 1, n / 2, f);
	fclose(f);
	free(text);
	return out;
}

static void test_files_that_are_cut_short(void **state)
{
	const char *cert = rig_path("leaf.pem"), *key = rig_path("leaf.key");
	const char *list = rig_write_list("cut.crl", &ca, NULL, 3600);

	(void)state;
	expect_finding((struct tls_server_conf){ .cert = cut_short("cut.pem", cert), .key = key },
		       "cut short");
	expect_finding(
	    (struct tls_server_conf){
		.cert = cert, .key = key, .client_ca = cut_short("cut.pem", rig_path("ca.pem")) },
	    "cut short");
	expect_finding((struct tls_server_conf){ .cert = cert,
						 .key = key,
						 .client_ca = rig_path("ca.pem"),
						 .crl = cut_short("cut2.crl", list) },
		       "cut short");
	expect_finding(
	    (struct tls_server_conf){ .cert = cert, .key = key, .ciphers = "ECDHE-NOTHING" },
	    "no cipher match");
	expect_finding(
	    (struct tls_server_conf){ .cert = cert, .key = key, .ciphers = "HIGH:!aNULL" }, NULL);
}

static void test_encrypted_key(void **state)
{
	const char *path = rig_path("secret.key");
	FILE *f = fopen(path, "we");

	(void)state;
	PEM_write_PKCS8PrivateKey(f, leaf.key, EVP_aes_128_cbc(), "word", 4, NULL, NULL);
	fclose(f);
	expect_finding((struct tls_server_conf){ .cert = rig_path("leaf.pem"), .key = path },
		       "it is encrypted");
}

/*---------------------------------------------------------------- all of it */

static int make_all(void **state)
{
	(void)state;
	ca = rig_make((struct wish){ .name = NULL });
	other_ca = rig_make((struct wish){ .name = NULL });
	leaf = rig_make((struct wish){ .name = "DNS:a.example,IP:127.0.0.1", .by = &ca });
	guest = rig_make((struct wish){ .name = "DNS:guest,URI:spiffe://rig/guest", .by = &ca });
	bad_guest = rig_make((struct wish){ .name = "DNS:bad", .by = &ca });
	stranger = rig_make((struct wish){ .name = "DNS:stranger", .by = &other_ca });
	rig_write("ca.pem", &ca, NULL);
	rig_write("ca.key", NULL, &ca);
	rig_write("other.pem", &other_ca, NULL);
	rig_write("leaf.pem", &leaf, NULL);
	rig_write("leaf.key", NULL, &leaf);
	rig_write("guest.pem", &guest, &guest);
	rig_write("bad_guest.pem", &bad_guest, &bad_guest);
	rig_write("stranger.pem", &stranger, &stranger);
	return 0;
}

static int free_all(void **state)
{
	struct authority *all[] = { &ca, &other_ca, &leaf, &guest, &bad_guest, &stranger };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		rig_free(all[i]);
	rig_remove();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bytes_whole),
		TEST(test_bytes_in_pieces),
		TEST(test_what_is_held_is_announced),
		TEST(test_early_bytes),
		TEST(test_close_is_an_end),
		TEST(test_truncation_is_none),
		TEST(test_half_close),
		TEST(test_half_close_into_a_full_socket),
		TEST(test_garbage_in_the_middle),
		TEST(test_quiet),
		TEST(test_names),
		TEST(test_client_certificates),
		TEST(test_certificates_by_name),
		TEST(test_protocols),
		TEST(test_resumption),
		TEST(test_who_was_verified_is_not_for_ever),
		TEST(test_key_updates),
		TEST(test_pairs),
		TEST(test_an_intermediate_authority),
		TEST(test_a_subject_is_no_name),
		TEST(test_a_last_word),
		TEST(test_no_tls),
		TEST(test_hello_cut_anywhere),
		TEST(test_findings),
		TEST(test_files_that_are_cut_short),
		TEST(test_encrypted_key),
	};

	return cmocka_run_group_tests(tests, make_all, free_all);
}
