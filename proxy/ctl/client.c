/* client.c - HTTP/1.0, so that the end of an answer is the end of its connection. */
#include "ctl/client.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/cli_internal.h"

/*------------------------------------------------------------------- whom */

static bool complain(const char *what, const char *text)
{
	fprintf(stderr, "weir: %s: %s\n", what, text);
	return false;
}

static bool resolve(struct client *c, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(host, port, &hints, &found);

	if (rc != 0)
		return complain(host, gai_strerror(rc));
	for (const struct addrinfo *a = found; a != NULL && c->n < CLIENT_ADDRS_MAX;
	     a = a->ai_next) {
		c->addr[c->n] = (struct addr){ .len = a->ai_addrlen };
		memcpy(&c->addr[c->n++].u, a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(found);
	return true;
}

static bool init_unix(struct client *c, const char *text)
{
	snprintf(c->host, sizeof(c->host), "localhost");
	c->n = 1;
	return addr_parse(slice_str(text), &c->addr[0]) ||
	       complain(text, "no such unix socket can be");
}

/* [http://]host:port[/] */
static bool init_admin(struct client *c, const char *text)
{
	struct slice rest = slice_str(text), http = SLICE("http://"), host, port;
	char host_text[256], port_text[16];
	const char *colon;
	struct ip ip;

	if (strncmp(text, "unix:", 5) == 0)
		return init_unix(c, text);
	if (slice_starts(rest, http))
		rest = slice_of(rest.p + http.n, rest.n - http.n);
	if (rest.n > 0 && rest.p[rest.n - 1] == '/')
		rest.n--;
	colon = rest.n == 0 ? NULL : memrchr(rest.p, ':', rest.n);
	if (colon == NULL || rest.n >= sizeof(c->host) || memchr(rest.p, '/', rest.n) != NULL)
		return complain(text, "an admin listener is http://HOST:PORT or unix:/PATH");
	host = slice_of(rest.p, (size_t)(colon - rest.p));
	port = slice_of(colon + 1, rest.n - host.n - 1);
	snprintf(c->host, sizeof(c->host), "%.*s", SLICE_FMT(rest));
	if (host.n > 2 && host.p[0] == '[')
		host = slice_of(host.p + 1, host.n - 2);
	snprintf(host_text, sizeof(host_text), "%.*s", SLICE_FMT(host));
	/* an admin listener has no name (rebinding), however it was found */
	c->named = !ip_parse(host, &ip);
	snprintf(port_text, sizeof(port_text), "%.*s", SLICE_FMT(port));
	return resolve(c, host_text, port_text);
}

/* A listener on all addresses is asked on this machine's own. */
static void init_addr(struct client *c, const struct addr *a)
{
	static const struct ip none;
	struct ip ip = addr_ip(a);
	bool any = memcmp(&ip, &none, sizeof(ip)) == 0 ||
		   (a->u.sa.sa_family == AF_INET && a->u.in.sin_addr.s_addr == 0);
	char text[ADDR_TEXT_MAX];

	c->n = 1;
	c->addr[0] = *a;
	snprintf(c->host, sizeof(c->host), "localhost");
	if (a->u.sa.sa_family == AF_UNIX || !any)
		return;
	snprintf(text, sizeof(text), a->u.sa.sa_family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u",
		 addr_port(a));
	addr_parse(slice_str(text), &c->addr[0]);
}

static bool set_token(struct client *c, struct slice token)
{
	if (token.n >= sizeof(c->token) || (token.n > 0 && memchr(token.p, '\n', token.n) != NULL))
		return complain("token", "it is one line of at most 4096 bytes");
	memcpy(c->token, token.p, token.n);
	c->token[token.n] = '\0';
	return true;
}

static bool init_config(struct client *c, const char *path, bool address)
{
	struct cli_load l;
	bool ok = false;

	cli_load_begin(&l, path);
	if (l.config == NULL)
		cli_print_findings(&l, DIAG_HUMAN, false, "nothing was asked");
	else if (!l.config->admin.present)
		complain(path, "it has no `admin` to ask");
	else
		ok = true;
	if (ok && address)
		init_addr(c, &l.config->admin.addr);
	if (ok && l.config->admin.token != NULL)
		ok = set_token(c, slice_str(l.config->admin.token));
	cli_load_end(&l);
	return ok;
}

static bool read_token(struct client *c, const char *path)
{
	char text[sizeof(c->token) + 1];
	FILE *f = fopen(path, "re");
	size_t n;

	if (f == NULL)
		return complain(path, strerror(errno));
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (n > 0 && text[n - 1] == '\n')
		n--;
	return set_token(c, slice_of(text, n));
}

/* An empty variable is none. */
static const char *from_environment(const char *name)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? NULL : value;
}

static void show_whom(struct client *c)
{
	char text[ADDR_TEXT_MAX];

	if (c->named) {
		snprintf(c->shown, sizeof(c->shown), "%s", c->host);
		return;
	}
	addr_format(&c->addr[0], text);
	snprintf(c->shown, sizeof(c->shown), "%s", text);
}

bool client_init(struct client *c, const struct client_options *o)
{
	const char *admin =
	    o->admin != NULL || o->config != NULL ? o->admin : from_environment("WEIR_ADMIN");
	const char *token = from_environment("WEIR_ADMIN_TOKEN");
	const char *config =
	    o->config != NULL ? o->config : CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE;

	memset(c, 0, sizeof(*c));
	if ((admin == NULL || o->config != NULL) && !init_config(c, config, admin == NULL))
		return false;
	if (admin != NULL && !init_admin(c, admin))
		return false;
	show_whom(c);
	if (o->token_file != NULL)
		return read_token(c, o->token_file);
	return token == NULL || set_token(c, slice_str(token));
}

/*-------------------------------------------------------------------- ask */

static bool send_request(const struct client *c, int fd, const char *method, const char *target,
			 struct slice body)
{
	struct buf b = { 0 };
	bool ok;

	buf_printf(&b,
		   "%s %s HTTP/1.0\r\nHost: %s\r\nAccept: application/json, text/event-stream\r\n",
		   method, target, c->named ? "localhost" : c->host);
	if (c->token[0] != '\0')
		buf_printf(&b, "Authorization: Bearer %s\r\n", c->token);
	if (strcmp(method, "GET") != 0)
		buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.n);
	buf_puts(&b, "\r\n");
	buf_put(&b, body.p, body.n);
	ok = !b.oom && cli_send_all(fd, b.p, b.n);
	explicit_bzero(b.p, b.n);
	buf_fini(&b);
	return ok;
}

static int connect_to(const struct addr *a, unsigned timeout_s)
{
	struct timeval limit = { .tv_sec = timeout_s };
	int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, &a->u.sa, a->len) == 0)
		return fd;
	close(fd);
	return -1;
}

/* A name may be of ::1 first and of 127.0.0.1 then, and Weir at one of them. */
static int open_connection(const struct client *c, unsigned timeout_s)
{
	int fd = -1;

	for (unsigned i = 0; fd < 0 && i < c->n; i++)
		fd = connect_to(&c->addr[i], timeout_s);
	return fd;
}

/* What there is so far, and what becomes of the rest. */
struct reading {
	struct client_answer *answer;
	size_t length; /* of the body, SIZE_MAX: to the end of the connection */
	bool headed;
	bool (*see)(void *arg, struct slice);
	void *arg;
	const char *wrong;
};

static void read_field(struct reading *r, struct slice line)
{
	struct slice length = SLICE("content-length"), type = SLICE("content-type");
	struct slice value = line, name = slice_cut(&value, ':');
	struct slice json = SLICE("application/json");

	value = slice_trim(value);
	if (slice_ieq(name, type))
		r->answer->json = slice_starts(value, json);
	else if (slice_ieq(name, length))
		r->length = strtoul(value.p, NULL, 10); /* a line ends behind it */
}

static bool read_head(struct reading *r)
{
	struct buf *b = &r->answer->body;
	const char *end = b->n == 0 ? NULL : memmem(b->p, b->n, "\r\n\r\n", 4);
	struct slice rest, line;

	if (end == NULL) {
		r->wrong = b->n > 65536 ? "what answers is no Weir" : NULL;
		return r->wrong == NULL;
	}
	rest = slice_of(b->p, (size_t)(end - b->p) + 2);
	line = slice_cut(&rest, '\n');
	if (line.n < 12 || sscanf(line.p, "HTTP/1.%*1[01] %3u", &r->answer->status) != 1) {
		r->wrong = "what answers is no HTTP server";
		return false;
	}
	while (rest.n > 0)
		read_field(r, slice_cut(&rest, '\n'));
	b->n -= (size_t)(end - b->p) + 4;
	memmove(b->p, end + 4, b->n);
	r->headed = true;
	return true;
}

/* False: enough, or too much. */
static bool take(struct reading *r, const char *p, size_t n)
{
	struct buf *b = &r->answer->body;

	buf_put(b, p, n);
	if (b->oom || b->n > CLIENT_ANSWER_MAX) {
		r->wrong = "the answer is too long";
		return false;
	}
	if (!r->headed && !read_head(r))
		return false;
	if (!r->headed || r->see == NULL || r->answer->status != 200 || b->n == 0)
		return true;
	n = b->n;
	b->n = 0;
	return r->see(r->arg, slice_of(b->p, n));
}

/* Whoever answers may keep the connection, whatever it was told. */
static bool is_whole(const struct reading *r)
{
	return r->headed && r->length != SIZE_MAX && r->answer->body.n >= r->length;
}

static bool read_answer(int fd, struct reading *r)
{
	char chunk[16384];
	ssize_t n;

	r->length = SIZE_MAX;
	do {
		n = recv(fd, chunk, sizeof(chunk), 0);
		if (n > 0 && !take(r, chunk, (size_t)n))
			return r->wrong == NULL;
	} while (n > 0 && !is_whole(r));
	if (n < 0 || !r->headed) {
		r->wrong = n == 0 ? "the connection ended without an answer"
			   : errno == EAGAIN || errno == EINTR ? "timed out"
							       : strerror(errno);
		return false;
	}
	if (r->length != SIZE_MAX && r->answer->body.n < r->length)
		r->wrong = "the answer is cut short";
	return r->wrong == NULL;
}

static bool exchange(const struct client *c, const char *method, const char *target,
		     struct slice body, unsigned timeout_s, struct reading *r, const char **wrong)
{
	int fd = open_connection(c, timeout_s);
	bool ok;

	*wrong = strerror(errno);
	if (fd < 0)
		return false;
	/* it may have answered and gone before it had read all: what it says counts */
	ok = send_request(c, fd, method, target, body) || errno == EPIPE;
	*wrong = strerror(errno);
	ok = ok && read_answer(fd, r);
	if (r->wrong != NULL)
		*wrong = r->wrong;
	close(fd);
	return ok;
}

bool client_ask(const struct client *c, const char *method, const char *target, struct slice body,
		unsigned timeout_s, struct client_answer *answer, const char **wrong)
{
	struct reading r = { .answer = answer };

	*answer = (struct client_answer){ .status = 0 };
	return exchange(c, method, target, body, timeout_s, &r, wrong);
}

bool client_follow(const struct client *c, const char *target, bool (*see)(void *arg, struct slice),
		   void *arg, struct client_answer *answer, const char **wrong)
{
	struct reading r = { .answer = answer, .see = see, .arg = arg };

	*answer = (struct client_answer){ .status = 0 };
	/* it sends something every fifteen seconds */
	return exchange(c, "GET", target, slice_of(NULL, 0), 60, &r, wrong);
}

void client_escape(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		    strchr("-._~", c) != NULL)
			buf_putc(b, (char)c);
		else
			buf_printf(b, "%%%02X", c);
	}
}
