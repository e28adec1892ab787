/* client_ip.c - whose call it is.
 *
 * A forwarder appends the address it was called from, so the list is read from its end: each
 * trusted address vouches for the one to its left. */
#include "core/client_ip.h"

enum { HOPS_MAX = 64 }; /* addresses looked at; a longer list is somebody playing */

static bool is_trusted(const struct client_ip_conf *conf, const struct ip *ip)
{
	const struct cidr *cidr = conf->trust.item;

	for (uint32_t i = 0; i < conf->trust.n; i++)
		if (cidr_match(&cidr[i], ip))
			return true;
	return false;
}

bool client_ip_trusted(const struct client_ip_conf *conf, const struct addr *peer)
{
	struct ip ip;

	if (conf->trust.n == 0 || peer->u.sa.sa_family == AF_UNIX)
		return conf->trust.n > 0;
	ip = addr_ip(peer);
	return is_trusted(conf, &ip);
}

/* "10.0.0.1" "10.0.0.1:80" "2001:db8::1" "[2001:db8::1]" "[2001:db8::1]:80" */
static bool parse_node(struct slice s, struct ip *ip)
{
	const char *close, *colon;

	if (s.n > 0 && s.p[0] == '[') {
		close = memchr(s.p, ']', s.n);
		if (close == NULL)
			return false;
		return ip_parse(slice_of(s.p, (size_t)(close + 1 - s.p)), ip);
	}
	colon = s.n == 0 ? NULL : memchr(s.p, ':', s.n);
	if (colon != NULL && memchr(s.p, '.', (size_t)(colon - s.p)) != NULL)
		s.n = (size_t)(colon - s.p);
	return ip_parse(s, ip);
}

static struct slice unquote(struct slice s)
{
	s = slice_trim(s);
	if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
		s = slice_of(s.p + 1, s.n - 2);
	return s;
}

/* slice_cut at the first `c` outside of quoted strings (RFC 9110 section 5.6.4). */
static struct slice cut_unquoted(struct slice *rest, char c)
{
	struct slice all = *rest;
	bool quoted = false;

	for (size_t i = 0; i < all.n; i++) {
		if (all.p[i] == '"') {
			quoted = !quoted;
		} else if (all.p[i] == '\\' && quoted) {
			i++;
		} else if (all.p[i] == c && !quoted) {
			*rest = slice_of(all.p + i + 1, all.n - i - 1);
			return slice_of(all.p, i);
		}
	}
	*rest = slice_of(NULL, 0);
	return all;
}

/* The `for` of one forwarded-element (RFC 7239 section 4); empty when there is none. */
static struct slice element_for(struct slice element)
{
	static const struct slice name = SLICE("for");

	while (element.p != NULL) {
		struct slice value = cut_unquoted(&element, ';'), key = slice_cut(&value, '=');

		if (slice_ieq(slice_trim(key), name))
			return unquote(value);
	}
	return slice_of(NULL, 0);
}

/* Whether the quote at p[i] has an odd number of backslashes in front. */
static bool is_escaped(const char *p, size_t i)
{
	size_t n = 0;

	while (n < i && p[i - n - 1] == '\\')
		n++;
	return n % 2 == 1;
}

/* Cuts the last element off a list; with `quotes`, a comma in a quoted string divides nothing: a
 * Host that a forwarder quotes may hold anything. */
static struct slice cut_last(struct slice *list, bool quotes)
{
	struct slice all = *list;
	bool quoted = false;

	for (size_t i = all.n; i > 0; i--) {
		char c = all.p[i - 1];

		if (c == '"' && quotes && !(quoted && is_escaped(all.p, i - 1)))
			quoted = !quoted;
		if (c != ',' || quoted)
			continue;
		list->n = i - 1;
		return slice_of(all.p + i, all.n - i);
	}
	*list = slice_of(NULL, 0);
	return all;
}

struct walk {
	const struct client_ip_conf *conf;
	bool forwarded; /* RFC 7239 instead of X-Forwarded-For */
	unsigned hops;
	struct ip ip; /* the best so far */
};

/* True: `ip` is the answer. */
static bool walk_list(struct walk *w, struct slice list)
{
	while (list.p != NULL) {
		struct slice element = slice_trim(cut_last(&list, w->forwarded));
		struct ip ip;

		if (element.n == 0)
			continue; /* empty list elements are ignored (RFC 9110 section 5.6.1.2) */
		if (!parse_node(w->forwarded ? element_for(element) : element, &ip))
			return true;
		w->ip = ip;
		if (w->conf->nearest || ++w->hops >= HOPS_MAX || !is_trusted(w->conf, &ip))
			return true;
	}
	return false;
}

static bool is_it(const struct header *h, enum field_id id, struct slice name)
{
	return h->id == id && (id != F_OTHER || slice_ieq(h->name, name));
}

static struct ip told(const struct client_ip_conf *conf, struct ip by, const struct head *head)
{
	struct walk w = { .conf = conf, .ip = by };
	struct slice name = slice_str(conf->header != NULL ? conf->header : "x-forwarded-for");
	enum field_id id = field_lookup(name);

	w.forwarded = id == F_FORWARDED;
	for (unsigned i = head->n; i > 0; i--)
		if (is_it(&head->fields[i - 1], id, name) &&
		    walk_list(&w, head->fields[i - 1].value))
			break;
	return w.ip;
}

struct ip client_ip_told(const struct client_ip_conf *conf, const struct ip *by,
			 const struct head *head)
{
	return is_trusted(conf, by) ? told(conf, *by, head) : *by;
}

struct ip client_ip_find(const struct client_ip_conf *conf, const struct addr *peer,
			 const struct head *head)
{
	return client_ip_trusted(conf, peer) ? told(conf, addr_ip(peer), head) : addr_ip(peer);
}
