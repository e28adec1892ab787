/* key_points.c - keys to endpoints by CRC-32, ketama and addresses; see key_points.h. */
#include "upstream/key_points.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
	POINTS = 160,
	CRC_SHIFT = 16,
	CRC_MASK = 0x7fff,
	ADDRESS_FACTOR = 113,
	ADDRESS_MODULUS = 6271
};

static uint32_t crc32_add(uint32_t crc, const void *p, size_t n)
{
	static const uint32_t nibble[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
					     0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
					     0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
					     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		crc ^= b[i];
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return crc;
}

uint32_t crc32_of(struct slice s)
{
	return ~crc32_add(UINT32_MAX, s.p, s.n);
}

uint32_t crc32_key(struct slice key, uint32_t n)
{
	uint32_t crc = UINT32_MAX;
	char text[16];

	if (n > 0)
		crc = crc32_add(crc, text, (size_t)snprintf(text, sizeof(text), "%u", n));
	return ~crc32_add(crc, key.p, key.n) >> CRC_SHIFT & CRC_MASK;
}

uint32_t address_key(const struct ip *ip, uint32_t hash)
{
	static const struct ip none;
	bool v4 = ip_is_v4(ip) || memcmp(ip, &none, sizeof(none)) == 0;
	const uint8_t *b = v4 ? ip->b + 12 : ip->b;

	for (unsigned i = 0; i < (v4 ? 3 : sizeof(ip->b)); i++)
		hash = (hash * ADDRESS_FACTOR + b[i]) % ADDRESS_MODULUS;
	return hash;
}

/*------------------------------------------------------------------- ketama */

/* Host, a zero byte and the port, if it is one of digits; of a unix socket the path. */
static uint32_t begin_points(const char *name)
{
	size_t n = strlen(name), digits = 0, host;
	uint32_t crc = UINT32_MAX;

	if (strncasecmp(name, "unix:", 5) == 0) {
		crc = crc32_add(crc, name + 5, n - 5);
		return crc32_add(crc, "", 1);
	}
	while (digits < n && name[n - digits - 1] >= '0' && name[n - digits - 1] <= '9')
		digits++;
	host = digits < n && name[n - digits - 1] == ':' ? n - digits - 1 : n;
	crc = crc32_add(crc, name, host);
	crc = crc32_add(crc, "", 1);
	return host == n ? crc : crc32_add(crc, name + host + 1, digits);
}

static struct ketama_point *put_points(struct ketama_point *at, uint32_t member, uint32_t base,
				       uint32_t n)
{
	uint32_t hash = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t before[4] = { (uint8_t)hash, (uint8_t)(hash >> 8), (uint8_t)(hash >> 16),
				      (uint8_t)(hash >> 24) };

		hash = ~crc32_add(base, before, sizeof(before));
		*at++ = (struct ketama_point){ .hash = hash, .member = member };
	}
	return at;
}

static int compare(const void *a, const void *b)
{
	const struct ketama_point *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->member < y->member ? -1 : x->member > y->member;
}

bool ketama_open(struct cluster *c, struct arena *arena)
{
	const struct endpoint_conf *conf = c->conf->endpoints.item;
	struct ketama_point *at;
	size_t n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += c->member[i].backup ? 0 : (size_t)c->member[i].weight * POINTS;
	c->point = at = arena_zalloc(arena, (n + 1) * sizeof(*at));
	if (at == NULL)
		return false;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct cluster_member *m = &c->member[i];
		const char *name =
		    conf[i].hash_as != NULL ? conf[i].hash_as : m->endpoint->authority;

		if (!m->backup)
			at = put_points(at, i, begin_points(name), m->weight * POINTS);
	}
	qsort(c->point, n, sizeof(*at), compare);
	c->n_points = n > 0;
	for (size_t i = 1; i < n; i++)
		if (c->point[i].hash != c->point[c->n_points - 1].hash)
			c->point[c->n_points++] = c->point[i];
	c->n_points += c->n_points == 0; /* only backups: the point of zeros is never used */
	return true;
}

uint32_t ketama_find(const struct cluster *c, struct slice key)
{
	uint32_t hash = crc32_of(key), low = 0, high = c->n_points;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (c->point[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
