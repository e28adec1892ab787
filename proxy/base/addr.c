/* addr.c - parsing and printing of addresses. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

static const uint8_t v4_prefix[12] = { [10] = 0xFF, [11] = 0xFF };

static bool parse_unix(struct slice path, struct addr *a)
{
	if (path.n == 0 || path.n >= sizeof(a->u.un.sun_path))
		return false;
	*a = (struct addr){ .len = sizeof(a->u.un) };
	a->u.un.sun_family = AF_UNIX;
	memcpy(a->u.un.sun_path, path.p, path.n);
	return true;
}

void addr_make(struct addr *a, const struct ip *ip, uint16_t port)
{
	*a = (struct addr){ 0 };
	if (ip_is_v4(ip)) {
		a->len = sizeof(a->u.in);
		a->u.in.sin_family = AF_INET;
		a->u.in.sin_port = htons(port);
		memcpy(&a->u.in.sin_addr, ip->b + 12, 4);
		return;
	}
	a->len = sizeof(a->u.in6);
	a->u.in6.sin6_family = AF_INET6;
	a->u.in6.sin6_port = htons(port);
	memcpy(&a->u.in6.sin6_addr, ip->b, 16);
}

bool addr_parse(struct slice text, struct addr *a)
{
	struct slice unix_prefix = SLICE("unix:"), host;
	struct ip ip = { { 0 } };
	const char *colon;
	unsigned port;

	if (slice_starts(text, unix_prefix))
		return parse_unix(slice_of(text.p + 5, text.n - 5), a);
	colon = text.n == 0 ? NULL : memrchr(text.p, ':', text.n);
	if (colon == NULL)
		return false;
	host = slice_of(text.p, (size_t)(colon - text.p));
	if (!number_parse(slice_of(colon + 1, text.n - host.n - 1), 65535, &port))
		return false;
	if (host.n != 0 && !slice_is(host, "*")) {
		if (host.p[0] != '[' && memchr(host.p, ':', host.n) != NULL)
			return false; /* "::1:80" could mean two things */
		if (!ip_parse(host, &ip))
			return false;
	}
	addr_make(a, &ip, (uint16_t)port);
	return true;
}

void addr_format(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char text[IP_TEXT_MAX];
	struct ip ip;

	if (a->u.sa.sa_family == AF_UNIX) {
		snprintf(out, ADDR_TEXT_MAX, "unix:%s",
			 a->len > sizeof(sa_family_t) ? a->u.un.sun_path : "");
		return;
	}
	ip = addr_ip(a);
	ip_format(&ip, text);
	snprintf(out, ADDR_TEXT_MAX, ip_is_v4(&ip) ? "%s:%u" : "[%s]:%u", text, addr_port(a));
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	struct ip x, y;

	if (a->u.sa.sa_family != b->u.sa.sa_family)
		return false;
	if (a->u.sa.sa_family == AF_UNIX)
		return strncmp(a->u.un.sun_path, b->u.un.sun_path, sizeof(a->u.un.sun_path)) == 0;
	x = addr_ip(a);
	y = addr_ip(b);
	return memcmp(&x, &y, sizeof(x)) == 0 && addr_port(a) == addr_port(b);
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t v6_loopback[16] = { [15] = 1 };
	struct ip ip;

	if (a->u.sa.sa_family == AF_UNIX)
		return true;
	ip = addr_ip(a);
	return ip_is_v4(&ip) ? ip.b[12] == 127 : memcmp(ip.b, v6_loopback, 16) == 0;
}

struct ip addr_ip(const struct addr *a)
{
	struct ip ip = { { 0 } };

	if (a->u.sa.sa_family == AF_INET) {
		memcpy(ip.b, v4_prefix, 12);
		memcpy(ip.b + 12, &a->u.in.sin_addr, 4);
	} else if (a->u.sa.sa_family == AF_INET6) {
		memcpy(ip.b, &a->u.in6.sin6_addr, 16);
	}
	return ip;
}

uint16_t addr_port(const struct addr *a)
{
	if (a->u.sa.sa_family == AF_INET)
		return ntohs(a->u.in.sin_port);
	return a->u.sa.sa_family == AF_INET6 ? ntohs(a->u.in6.sin6_port) : 0;
}

bool ip_is_v4(const struct ip *ip)
{
	return memcmp(ip->b, v4_prefix, 12) == 0;
}

bool ip_parse(struct slice s, struct ip *ip)
{
	char text[INET6_ADDRSTRLEN];

	if (s.n >= 2 && s.p[0] == '[' && s.p[s.n - 1] == ']') {
		s = slice_of(s.p + 1, s.n - 2);
		if (memchr(s.p, ':', s.n) == NULL)
			return false;
	}
	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n) != NULL)
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	memcpy(ip->b, v4_prefix, 12);
	return inet_pton(AF_INET, text, ip->b + 12) == 1 || inet_pton(AF_INET6, text, ip->b) == 1;
}

void ip_format(const struct ip *ip, char out[IP_TEXT_MAX])
{
	if (ip_is_v4(ip))
		inet_ntop(AF_INET, ip->b + 12, out, IP_TEXT_MAX);
	else
		inet_ntop(AF_INET6, ip->b, out, IP_TEXT_MAX);
}

struct ip ip_mask(const struct ip *ip, unsigned bits)
{
	struct ip out = { { 0 } };
	unsigned whole = bits / 8;

	memcpy(out.b, ip->b, whole > 16 ? 16 : whole);
	if (whole < 16 && bits % 8 != 0)
		out.b[whole] = (uint8_t)(ip->b[whole] & (0xFF00 >> (bits % 8)));
	return out;
}

bool cidr_parse(struct slice s, struct cidr *c)
{
	struct slice host = slice_cut(&s, '/');
	unsigned bits = 128, width;

	if (!ip_parse(host, &c->ip))
		return false;
	width = ip_is_v4(&c->ip) ? 32 : 128;
	bits = width;
	if (s.p != NULL && !number_parse(s, width, &bits))
		return false;
	c->bits = (uint8_t)(bits + 128 - width);
	c->ip = ip_mask(&c->ip, c->bits);
	return true;
}

bool cidr_match(const struct cidr *c, const struct ip *ip)
{
	struct ip m = ip_mask(ip, c->bits);

	return memcmp(&m, &c->ip, sizeof(m)) == 0;
}
