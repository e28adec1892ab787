/* url.c - addresses of Redis servers. */
#include "redis/url.h"

#include <stdio.h>

#include "base/number.h"

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(struct slice s, char out[REDIS_SECRET_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			if (i + 2 >= s.n || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0)
				return false;
			c = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
			i += 2;
		}
		if (c == '\0' || n == REDIS_SECRET_MAX)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	return true;
}

static const char *parse_user(struct slice s, struct redis_url *out)
{
	struct slice user = s, password = { NULL, 0 };
	const char *colon = s.n > 0 ? memchr(s.p, ':', s.n) : NULL;

	if (colon == NULL)
		return "a password stands behind a colon: redis://:PASSWORD@host";
	user.n = (size_t)(colon - s.p);
	password = slice_of(colon + 1, s.n - user.n - 1);
	if (!decode(user, out->user) || !decode(password, out->password))
		return "user and password have at most 512 bytes each, and %XX for bytes that mean "
		       "something "
		       "in a url";
	if (password.n == 0)
		return "there is a user without a password";
	return NULL;
}

/* Cuts "user:password@" off, if it is there. */
static const char *cut_user(struct slice *s, struct redis_url *out)
{
	const char *at = s->n > 0 ? memrchr(s->p, '@', s->n) : NULL;
	struct slice user;

	if (at == NULL)
		return NULL;
	user = slice_of(s->p, (size_t)(at - s->p));
	*s = slice_of(at + 1, s->n - user.n - 1);
	return parse_user(user, out);
}

static bool is_host(struct slice s)
{
	if (s.n == 0 || s.n > REDIS_HOST_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool ok = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			  c == '.' || c == '-' || c == '_' || c == ':';

		if (!ok)
			return false;
	}
	return true;
}

const char *redis_place_parse(struct slice s, uint16_t default_port, struct redis_place *out)
{
	struct slice host = s, port = { NULL, 0 };
	const char *close, *colon;
	uint32_t number = default_port;

	*out = (struct redis_place){ .port = default_port };
	close = s.n > 0 && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	colon = s.n > 0 ? memrchr(s.p, ':', s.n) : NULL;
	if (colon != NULL && (close == NULL || colon > close)) {
		host.n = (size_t)(colon - s.p);
		port = slice_of(colon + 1, s.n - host.n - 1);
		if (!number_parse(port, 65535, &number) || number == 0)
			return "the port is not a number from 1 to 65535";
	}
	if (close != NULL) {
		if (close + 1 != host.p + host.n)
			return "this is not a host";
		host = slice_of(host.p + 1, host.n - 2);
	} else if (host.n > 0 && memchr(host.p, ':', host.n) != NULL) {
		return "an IPv6 address stands in brackets: [::1]:6379";
	}
	if (!is_host(host))
		return host.n == 0 ? "there is no host" : "this is not a host";
	memcpy(out->host, host.p, host.n);
	out->port = (uint16_t)number;
	return NULL;
}

static const char *parse_database(struct slice s, struct redis_url *out)
{
	if (s.n > 0 && !number_parse(s, REDIS_DATABASES_MAX - 1, &out->database))
		return "the database is not a number from 0 to 65535";
	return NULL;
}

static const char *parse_unix(struct slice s, struct redis_url *out)
{
	static const struct slice db = SLICE("db=");
	struct slice path;
	char text[ADDR_TEXT_MAX];
	const char *slash = s.n > 0 && s.p[0] != '/' ? memmem(s.p, s.n, "@/", 2) : NULL;
	const char *wrong = NULL;

	if (slash != NULL)
		wrong = parse_user(slice_of(s.p, (size_t)(slash - s.p)), out);
	if (wrong != NULL)
		return wrong;
	if (slash != NULL)
		s = slice_of(slash + 1, s.n - (size_t)(slash - s.p) - 1);
	path = slice_cut(&s, '?');
	if (s.p != NULL && !slice_starts(s, db))
		return "behind the path of a unix socket only ?db=NUMBER may stand";
	if (path.n == 0 || path.p[0] != '/')
		return "unix: needs an absolute path";
	if (path.n + 6 > sizeof(text) || memchr(path.p, '\0', path.n) != NULL)
		return "the path of a unix socket has at most 107 bytes";
	snprintf(text, sizeof(text), "unix:%.*s", SLICE_FMT(path));
	if (!addr_parse(slice_str(text), &out->place.path))
		return "the path of a unix socket has at most 107 bytes";
	out->place.is_unix = true;
	return s.p == NULL ? NULL : parse_database(slice_of(s.p + db.n, s.n - db.n), out);
}

static bool cut_scheme(struct slice *s, const char *scheme)
{
	size_t n = strlen(scheme);

	if (s->n < n || strncasecmp(s->p, scheme, n) != 0)
		return false;
	*s = slice_of(s->p + n, s->n - n);
	return true;
}

const char *redis_url_parse(struct slice s, struct redis_url *out)
{
	struct slice rest, server;
	const char *wrong;

	*out = (struct redis_url){ .tls = false };
	if (cut_scheme(&s, "unix:"))
		return parse_unix(s, out);
	out->tls = cut_scheme(&s, "rediss://");
	if (!out->tls && !cut_scheme(&s, "redis://"))
		return "this is not redis://HOST, rediss://HOST or unix:/PATH";
	wrong = cut_user(&s, out);
	if (wrong != NULL)
		return wrong;
	rest = s;
	server = slice_cut(&rest, '/');
	wrong = redis_place_parse(server, REDIS_PORT, &out->place);
	return wrong != NULL ? wrong : parse_database(rest, out);
}

bool redis_place_eq(const struct redis_place *a, const struct redis_place *b)
{
	if (a->is_unix || b->is_unix)
		return a->is_unix && b->is_unix && addr_eq(&a->path, &b->path);
	return a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

void redis_place_format(const struct redis_place *p, char out[REDIS_PLACE_TEXT_MAX])
{
	char text[ADDR_TEXT_MAX];

	if (p->is_unix) {
		addr_format(&p->path, text);
		snprintf(out, REDIS_PLACE_TEXT_MAX, "%s", text);
	} else {
		snprintf(out, REDIS_PLACE_TEXT_MAX, strchr(p->host, ':') ? "[%s]:%u" : "%s:%u",
			 p->host, p->port);
	}
}
