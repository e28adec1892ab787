/* proxy_protocol.c - the PROXY protocol, versions 1 and 2. */
#include "io/proxy_protocol.h"

#include <string.h>

/*---------------------------------------------------------------- version 1: a line */

static const struct slice v1_start = SLICE("PROXY ");

/* 0..65535 in decimal, without leading zeros. */
static bool parse_port(struct slice s, uint16_t *port)
{
	uint32_t v = 0;

	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		v = v * 10 + (uint32_t)(s.p[i] - '0');
	}
	*port = (uint16_t)v;
	return v <= 65535;
}

/* An address of the family that the line says; IPv6 without brackets. */
static bool parse_ip(struct slice s, bool v6, struct ip *ip)
{
	if (s.n == 0 || s.p[0] == '[' || (memchr(s.p, ':', s.n) != NULL) != v6)
		return false;
	return ip_parse(s, ip);
}

/* "SRC DST SPORT DPORT" with single spaces. */
static bool parse_v1_addresses(struct slice rest, bool v6, struct proxy_info *out)
{
	struct slice from = slice_cut(&rest, ' '), to = slice_cut(&rest, ' ');
	struct slice from_port = slice_cut(&rest, ' ');
	uint16_t from_number, to_number;
	struct ip from_ip, to_ip;

	if (!parse_ip(from, v6, &from_ip) || !parse_ip(to, v6, &to_ip) ||
	    !parse_port(from_port, &from_number) || !parse_port(rest, &to_number))
		return false;
	addr_make(&out->source, &from_ip, from_number);
	addr_make(&out->destination, &to_ip, to_number);
	return true;
}

static bool parse_v1_line(struct slice line, struct proxy_info *out)
{
	struct slice rest = slice_of(line.p + v1_start.n, line.n - v1_start.n);
	struct slice family = slice_cut(&rest, ' ');

	if (slice_is(family, "UNKNOWN")) /* what follows is to be ignored */
		return true;
	out->has_source = true;
	if (slice_is(family, "TCP4"))
		return parse_v1_addresses(rest, false, out);
	return slice_is(family, "TCP6") && parse_v1_addresses(rest, true, out);
}

static int parse_v1(struct slice in, struct proxy_info *out)
{
	size_t within = in.n < PROXY_V1_MAX_BYTES ? in.n : PROXY_V1_MAX_BYTES;
	const char *cr = memchr(in.p, '\r', within);
	size_t n;

	if (cr == NULL || cr + 1 == in.p + within)
		return within == PROXY_V1_MAX_BYTES ? -1 : 0;
	n = (size_t)(cr - in.p);
	if (cr[1] != '\n' || n < v1_start.n || !parse_v1_line(slice_of(in.p, n), out))
		return -1;
	return (int)n + 2;
}

/*---------------------------------------------------------------- version 2: binary */

enum { V2_HEADER_BYTES = 16, V2_UNIX_PATH_BYTES = 108 };

static const struct slice v2_signature = SLICE("\r\n\r\n\0\r\nQUIT\n");

static struct addr v4_at(const char *ip, const char *port)
{
	struct addr a = { .len = sizeof(a.u.in) };

	a.u.in.sin_family = AF_INET;
	memcpy(&a.u.in.sin_addr, ip, 4);
	memcpy(&a.u.in.sin_port, port, 2);
	return a;
}

/* Through addr_make, so that a v4-mapped address is the same value as the IPv4 one. */
static struct addr v6_at(const char *bytes, const char *port)
{
	struct addr a;
	struct ip ip;

	memcpy(ip.b, bytes, 16);
	addr_make(&a, &ip, (uint16_t)((unsigned char)port[0] << 8 | (unsigned char)port[1]));
	return a;
}

static struct addr unix_at(const char *path)
{
	struct addr a = { .len = sizeof(a.u.un) };

	a.u.un.sun_family = AF_UNIX;
	memcpy(a.u.un.sun_path, path, sizeof(a.u.un.sun_path) - 1); /* the last byte stays NUL */
	return a;
}

static void take_v4(const char *p, struct proxy_info *out)
{
	out->source = v4_at(p, p + 8);
	out->destination = v4_at(p + 4, p + 10);
}

static void take_v6(const char *p, struct proxy_info *out)
{
	out->source = v6_at(p, p + 32);
	out->destination = v6_at(p + 16, p + 34);
}

static void take_unix(const char *p, struct proxy_info *out)
{
	out->source = unix_at(p);
	out->destination = unix_at(p + V2_UNIX_PATH_BYTES);
}

/* By address family, the upper half of byte 13. */
static const struct {
	size_t bytes;
	void (*take)(const char *, struct proxy_info *);
} families[] = {
	[0] = { 0, NULL }, /* UNSPEC */
	[1] = { 12, take_v4 },
	[2] = { 36, take_v6 },
	[3] = { 2 * V2_UNIX_PATH_BYTES, take_unix },
};

enum { FAMILIES = sizeof(families) / sizeof(families[0]) };
enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { PROTOCOL_UNSPEC, PROTOCOL_STREAM, PROTOCOL_DATAGRAM };

/* `n` bytes of addresses and TLVs follow at p; all of them are there. */
static bool parse_v2_addresses(unsigned family, unsigned protocol, const char *p, size_t n,
			       struct proxy_info *out)
{
	if (family >= FAMILIES || protocol > PROTOCOL_DATAGRAM || n < families[family].bytes)
		return false;
	out->has_source = families[family].take != NULL && protocol == PROTOCOL_STREAM;
	if (out->has_source)
		families[family].take(p, out);
	return true;
}

static int parse_v2(struct slice in, struct proxy_info *out)
{
	const unsigned char *b = (const unsigned char *)in.p;
	size_t n;

	if (in.n > 12 && b[12] != COMMAND_LOCAL && b[12] != COMMAND_PROXY)
		return -1;
	if (in.n < V2_HEADER_BYTES)
		return 0;
	n = (size_t)b[14] << 8 | b[15];
	if (n > PROXY_PROTOCOL_MAX_BYTES - V2_HEADER_BYTES)
		return -1;
	if (in.n < V2_HEADER_BYTES + n)
		return 0;
	/* behind LOCAL all is to be ignored, the family too */
	if (b[12] == COMMAND_PROXY &&
	    !parse_v2_addresses(b[13] >> 4, b[13] & 15, in.p + V2_HEADER_BYTES, n, out))
		return -1;
	return (int)(V2_HEADER_BYTES + n);
}

/*---------------------------------------------------------------- either */

/* Whether `in` begins as `start` does, as far as both go. */
static bool agrees(struct slice in, struct slice start)
{
	return memcmp(in.p, start.p, in.n < start.n ? in.n : start.n) == 0;
}

int proxy_protocol_parse(struct slice in, struct proxy_info *out)
{
	*out = (struct proxy_info){ .has_source = false };
	if (in.n == 0)
		return 0;
	if (agrees(in, v1_start))
		return parse_v1(in, out);
	return agrees(in, v2_signature) ? parse_v2(in, out) : -1;
}
