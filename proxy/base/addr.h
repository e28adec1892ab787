/* addr.h - socket addresses and IP networks as values. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/slice.h"

/* An IPv6 address; IPv4 is held v4-mapped (RFC 4291 section 2.5.5.2). */
struct ip {
	uint8_t b[16];
};

struct cidr {
	struct ip ip;
	uint8_t bits; /* of the 128; a v4 /8 is 104 */
};

struct addr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} u;
};

enum { ADDR_TEXT_MAX = 128, IP_TEXT_MAX = 46 };

/* A numeric address with a port: "127.0.0.1:80" "[::1]:80" ":80" (all v4 and v6
 * addresses) "*:80" or "unix:/path".  False: not one of these (a DNS name, say). */
bool addr_parse(struct slice text, struct addr *);
/* A socket address of the family the IP has; a v4-mapped one becomes AF_INET. */
void addr_make(struct addr *, const struct ip *, uint16_t port);
/* The inverse of addr_parse; a v4-mapped address prints as v4. */
void addr_format(const struct addr *, char out[ADDR_TEXT_MAX]);
bool addr_eq(const struct addr *, const struct addr *);
bool addr_is_loopback(const struct addr *); /* unix sockets count as loopback */
struct ip addr_ip(const struct addr *);     /* all zero for unix sockets */
uint16_t addr_port(const struct addr *);

/* "10.0.0.1" or "2001:db8::1" (brackets allowed round v6); no port, no zone. */
bool ip_parse(struct slice text, struct ip *);
void ip_format(const struct ip *, char out[IP_TEXT_MAX]);
bool ip_is_v4(const struct ip *);
/* Keeps the leading bits (0..128), clears the rest. */
struct ip ip_mask(const struct ip *, unsigned bits);

/* "10.0.0.0/8" "::1" "10.0.0.1"; false if malformed. */
bool cidr_parse(struct slice text, struct cidr *);
bool cidr_match(const struct cidr *, const struct ip *);

#endif
