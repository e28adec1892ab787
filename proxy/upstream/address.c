/* address.c - where an endpoint is, as people write it. */
#include "upstream/address.h"

#include <stdio.h>
#include <string.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_label_byte(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '_';
}

static bool all_digits(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_digit(s.p[i]))
			return false;
	return s.n > 0;
}

static bool label_ok(struct slice label)
{
	if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++)
		if (!is_label_byte(label.p[i]))
			return false;
	return true;
}

/* RFC 1123 section 2.1, and underscores, which service names have. */
static const char *check_host(struct slice host)
{
	struct slice rest = host, label = { NULL, 0 };

	if (host.n > HOST_NAME_MAX_BYTES)
		return "the host name is longer than 253 characters";
	if (host.p[host.n - 1] == '.')
		rest.n--; /* a fully qualified name may end so */
	while (rest.n > 0) {
		bool more = memchr(rest.p, '.', rest.n) != NULL;

		label = slice_cut(&rest, '.');
		if (!label_ok(label) || (more && rest.n == 0))
			return "this is not a host name";
	}
	if (label.n == 0)
		return "this is not a host name";
	return all_digits(label) ? "this is not an IPv4 address" : NULL;
}

static const char *parse_port(struct slice s, uint16_t *port)
{
	unsigned v = 0;

	if (!all_digits(s) || s.n > 5)
		return "the port is not a number from 1 to 65535";
	for (size_t i = 0; i < s.n; i++)
		v = v * 10 + (unsigned)(s.p[i] - '0');
	*port = (uint16_t)v;
	return v == 0 || v > 65535 ? "the port is not a number from 1 to 65535" : NULL;
}

static const char *parse_unix(struct slice s, struct endpoint_address *out)
{
	if (s.n < 6 || s.p[5] != '/' || memchr(s.p, '\0', s.n) != NULL)
		return "unix: needs an absolute path";
	if (!addr_parse(s, &out->fixed))
		return "the path of a unix socket has at most 107 bytes";
	memcpy(out->text, s.p, s.n);
	return out->tls ? "there is no https:// to a unix socket" : NULL;
}

static const char *parse_host(struct slice host, struct endpoint_address *out)
{
	struct ip ip;
	const char *wrong;

	if (host.n == 0 || slice_is(host, "*"))
		return "an endpoint needs a host: 127.0.0.1:port for one on this machine";
	if (ip_parse(host, &ip)) {
		addr_make(&out->fixed, &ip, out->port);
		addr_format(&out->fixed, out->text + out->authority);
		ip_format(&ip, out->name);
		return NULL;
	}
	if (host.p[0] == '[')
		return "this is not an IPv6 address";
	wrong = check_host(host);
	if (wrong != NULL)
		return wrong;
	for (size_t i = 0; i < host.n; i++)
		out->host[i] =
		    (char)(host.p[i] | (host.p[i] >= 'A' && host.p[i] <= 'Z' ? 0x20 : 0));
	out->named = true;
	memcpy(out->name, out->host, host.n - (host.p[host.n - 1] == '.'));
	snprintf(out->text + out->authority, sizeof(out->text) - out->authority, "%s:%u", out->host,
		 out->port);
	return NULL;
}

static const char *parse_host_port(struct slice s, uint16_t default_port,
				   struct endpoint_address *out)
{
	const char *close = s.n > 0 && s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	struct slice host = s, port = { NULL, 0 };
	const char *wrong, *colon;

	colon = memchr(close != NULL ? close : s.p, ':', s.n - (close ? (size_t)(close - s.p) : 0));
	if (colon != NULL) {
		host.n = (size_t)(colon - s.p);
		port = slice_of(colon + 1, s.n - host.n - 1);
	}
	if (close == NULL && port.n > 0 && memchr(port.p, ':', port.n) != NULL)
		return "an IPv6 address stands in brackets: [::1]:80";
	out->port = default_port;
	if (colon == NULL && default_port == 0)
		return "an endpoint needs a port: host:port";
	wrong = colon != NULL ? parse_port(port, &out->port) : NULL;
	return wrong != NULL ? wrong : parse_host(host, out);
}

const char *endpoint_address_parse(struct slice s, struct endpoint_address *out)
{
	static const struct slice http = SLICE("http://"), https = SLICE("https://"),
				  unix_prefix = SLICE("unix:");
	uint16_t default_port = 0;

	*out = (struct endpoint_address){ .named = false };
	if (slice_ieq(slice_of(s.p, s.n < https.n ? s.n : https.n), https)) {
		s = slice_of(s.p + https.n, s.n - https.n);
		default_port = 443;
		out->tls = true;
		out->authority = (uint8_t)https.n;
		memcpy(out->text, https.p, https.n);
	} else if (slice_ieq(slice_of(s.p, s.n < http.n ? s.n : http.n), http)) {
		s = slice_of(s.p + http.n, s.n - http.n);
		default_port = 80;
	}
	if (s.p == NULL || s.n == 0)
		return "an endpoint needs an address: host:port or unix:/path";
	if (slice_starts(s, unix_prefix))
		return parse_unix(s, out);
	if (memmem(s.p, s.n, "://", 3) != NULL)
		return "an endpoint is host:port, http://host:port, https://host:port or "
		       "unix:/path";
	if (memchr(s.p, '/', s.n) != NULL)
		return "an endpoint has no path";
	return parse_host_port(s, default_port, out);
}
