/* route.c - which route a request takes.
 *
 * The route table is walked in order, since the first match wins; what can be known beforehand
 * (lower case, lengths, a set of methods) is known beforehand, and the host of the request is
 * brought into form once, when the first route asks. */
#include "core/route.h"

#include <string.h>

#include "base/reason.h"
#include "core/action.h"
#include "core/condition.h"
#include "core/files.h"
#include "core/forward.h"
#include "http/head.h"

enum { HOST_MAX = 255 };

enum host_kind { HOST_EXACT, HOST_BELOW, HOST_BEGINS, HOST_PATTERN };

struct host_matcher {
	enum host_kind kind;
	/* lower case; of a wildcard without its star: ".example.com", "example."; of a pattern as it
	 * is written */
	struct slice text;
	const struct pattern *pattern;
};

enum path_kind { PATH_ANY, PATH_EXACT, PATH_PREFIX, PATH_PATTERN };

struct route_matcher {
	uint32_t n_hosts;
	struct host_matcher *host;
	enum path_kind path_kind;
	struct slice
	    path; /* normal form; of a prefix without its star; of a pattern as it is written */
	const struct pattern *pattern;
	bool any_method; /* from anyone */
	bool every;      /* the same, from those who may send it */
	enum match_from from;
	uint32_t methods; /* bit i: enum method_id i */
	uint32_t n_others;
	struct slice *other; /* methods that have no number */
	uint32_t n_when;
	const struct condition *when;
	bool needs_file; /* it takes calls only for which there is one */
};

/*---------------------------------------------------------------- making ready */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static struct diag *bad_match(struct diags *diags, const struct route *r, struct place at,
			      const char *key, const char *value, const char *wrong)
{
	return diag_error(diags, at, "E015", "route `%s`: bad %s `%s`: %s", r->name, key, value,
			  wrong);
}

static const char *host_wrong(struct slice host, enum host_kind kind)
{
	if (host.n <= (kind != HOST_EXACT ? 1u : 0u) || host.n > HOST_MAX)
		return "a host has 1 to 255 characters";
	for (size_t i = 0; i < host.n; i++)
		if ((unsigned char)host.p[i] <= ' ' || strchr("*/?#@,", host.p[i]) != NULL)
			return "a host is a name, `*.` and a name, or a name and `.*`";
	if (host.p[0] == '[')
		return host.p[host.n - 1] == ']' ? NULL : "a host has no port";
	return memchr(host.p, ':', host.n) != NULL ? "a host has no port" : NULL;
}

/* Takes the star off. */
static enum host_kind host_kind(struct slice *host)
{
	const char *p = host->p;
	size_t n = host->n;

	if (n > 2 && p[0] == '*' && p[1] == '.') {
		*host = slice_of(p + 1, n - 1);
		return HOST_BELOW;
	}
	if (n > 2 && p[n - 1] == '*' && p[n - 2] == '.' && p[0] != '.') {
		*host = slice_of(p, n - 1);
		return HOST_BEGINS;
	}
	return HOST_EXACT;
}

static const char *prepare_name(struct host_matcher *m, struct slice host, struct arena *arena)
{
	const char *wrong;
	char *text;

	m->kind = host_kind(&host);
	if (m->kind != HOST_BEGINS && host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	wrong = host_wrong(host, m->kind);
	text = wrong == NULL ? arena_alloc(arena, host.n) : NULL;
	if (text == NULL)
		return wrong != NULL ? wrong : "out of memory";
	for (size_t i = 0; i < host.n; i++)
		text[i] = lower(host.p[i]);
	m->text = slice_of(text, host.n);
	return NULL;
}

static const char *prepare_pattern(const struct pattern **out, const char *conf, bool caseless,
				   struct arena *arena)
{
	const char *wrong;

	*out = pattern_compile(conf, caseless, arena, &wrong);
	if (*out != NULL)
		return NULL;
	return wrong != NULL ? wrong : "out of memory";
}

static bool prepare_host(struct host_matcher *m, const struct route *r, const char *conf,
			 struct arena *arena, struct diags *diags)
{
	const char *wrong;

	if (pattern_is(conf)) {
		m->kind = HOST_PATTERN;
		m->text = slice_str(conf);
		wrong = prepare_pattern(&m->pattern, conf, true, arena);
	} else {
		wrong = prepare_name(m, slice_str(conf), arena);
	}
	if (wrong != NULL)
		bad_match(diags, r, r->conf->match.hosts_at, "host", conf, wrong);
	return wrong == NULL;
}

static bool prepare_hosts(struct route_matcher *m, const struct route *r, struct arena *arena,
			  struct diags *diags)
{
	const struct conf_list *hosts = &r->conf->match.hosts;
	const char *const *item = hosts->item;
	bool ok = true;

	m->n_hosts = hosts->n;
	m->host = arena_zalloc(arena, (hosts->n + 1) * sizeof(*m->host));
	if (m->host == NULL)
		return false;
	for (uint32_t i = 0; i < hosts->n; i++)
		ok = prepare_host(&m->host[i], r, item[i], arena, diags) && ok;
	return ok;
}

static const char *prepare_plain(struct route_matcher *m, struct slice path, struct arena *arena)
{
	m->path_kind = PATH_EXACT;
	if (path.n > 1 && path.p[path.n - 1] == '*') {
		m->path_kind = PATH_PREFIX;
		path.n--;
	}
	if (path.n == 0 || path.p[0] != '/')
		return "a path begins with /";
	if (memchr(path.p, '*', path.n) != NULL)
		return "a star can only stand at the end: /x/*";
	if (memchr(path.p, '?', path.n) != NULL || memchr(path.p, '#', path.n) != NULL)
		return "the query takes no part in matching";
	m->path = head_normal_path(path, arena);
	return m->path.p == NULL ? "it climbs above the root or holds a malformed escape" : NULL;
}

static bool prepare_path(struct route_matcher *m, const struct route *r, struct arena *arena,
			 struct diags *diags)
{
	struct slice path = slice_str(r->conf->match.path);
	const char *wrong;

	m->path_kind = PATH_ANY;
	if (path.p == NULL || slice_is(path, "/*"))
		return true;
	if (pattern_is(path.p)) {
		m->path_kind = PATH_PATTERN;
		m->path = path;
		wrong = prepare_pattern(&m->pattern, path.p, false, arena);
	} else {
		wrong = prepare_plain(m, path, arena);
	}
	if (wrong != NULL)
		bad_match(diags, r, r->conf->match.path_at, "path", r->conf->match.path, wrong);
	return wrong == NULL;
}

static bool prepare_methods(struct route_matcher *m, const struct route *r, struct arena *arena)
{
	const struct conf_list *methods = &r->conf->match.methods;
	const char *const *item = methods->item;

	m->from = (enum match_from)r->conf->match.from;
	m->every = methods->n == 0;
	m->any_method = m->every && m->from == FROM_ANY;
	m->other = arena_zalloc(arena, (methods->n + 1) * sizeof(*m->other));
	if (m->other == NULL)
		return false;
	for (uint32_t i = 0; i < methods->n; i++) {
		struct slice name = slice_str(item[i]);
		enum method_id id = method_lookup(name);

		if (id == METHOD_OTHER)
			m->other[m->n_others++] = name;
		else
			m->methods |= UINT32_C(1) << id;
	}
	return true;
}

bool route_prepare(struct route *r, struct arena *arena, struct diags *diags)
{
	struct route_matcher *m = arena_zalloc(arena, sizeof(*m));
	unsigned errors = diags->errors;
	bool ok;

	if (m != NULL) {
		ok = prepare_hosts(m, r, arena, diags);
		ok = prepare_path(m, r, arena, diags) && ok;
		ok = prepare_methods(m, r, arena) && ok;
		m->needs_file = r->conf->respond.otherwise != NULL &&
				strcmp(r->conf->respond.otherwise, "next") == 0;
		m->n_when = r->conf->match.when.n;
		if (m->n_when > 0)
			ok = conditions_prepare(&r->conf->match.when, &m->when, arena, diags) && ok;
		r->matcher = m;
		r->match =
		    (struct template_match){ .pattern = m->pattern,
					     .rest = m->path_kind == PATH_PREFIX ||
						     m->path_kind == PATH_ANY,
					     .rest_at = m->path_kind == PATH_ANY ? 1 : m->path.n };
		if (ok)
			return true;
	}
	if (diags->errors == errors)
		diags_out_of_memory(diags);
	return false;
}

/*---------------------------------------------------------------- paths */

/* How long what stands at p is that some upstreams take for a slash; 0: it is none. */
static size_t slash_length(const char *p, size_t n)
{
	if (n > 0 && (*p == '/' || *p == '\\'))
		return 1;
	return n >= 3 && (memcmp(p, "%2F", 3) == 0 || memcmp(p, "%5C", 3) == 0) ? 3 : 0;
}

/* In normal form no segment is "..": what looks like one is one to others only. */
static inline bool hides_dots(struct slice path)
{
	const char *p = path.p, *end = p + path.n;

	while (p != NULL && (p = memmem(p, (size_t)(end - p), "..", 2)) != NULL) {
		bool begins = p[-1] == '/' || p[-1] == '\\' ||
			      (p - path.p >= 3 && slash_length(p - 3, 3) == 3);

		p += 2;
		if (begins && (p == end || *p == ';' || slash_length(p, (size_t)(end - p)) > 0))
			return true;
	}
	return false;
}

static struct slice normal_by(struct slice path, enum slash_rule rule, struct arena *arena)
{
	static const struct slice none = { .p = NULL };

	path = head_normal_path_by(path, rule, arena);
	return path.p != NULL && hides_dots(path) ? none : path;
}

struct slice route_normal(struct slice path, struct arena *arena)
{
	return normal_by(path, SLASHES_KEEP, arena);
}

struct slice route_path(const struct head *req, enum slash_rule rule, struct arena *arena)
{
	static const struct slice root = SLICE("/");

	return slice_is(req->path, "*") ? root : normal_by(req->path, rule, arena);
}

/*---------------------------------------------------------------- matching */

/* Of one request; the host is brought into form when it is first asked for. */
struct asked {
	const struct head *req;
	struct slice path;
	bool host_ready;
	bool too_hard; /* a pattern could not tell */
	size_t host_n; /* 0: none, or too long to match any */
	char host[HOST_MAX];
};

static struct slice without_port(struct slice authority)
{
	const char *colon;

	if (authority.n > 0 && authority.p[0] == '[') {
		const char *close = memchr(authority.p, ']', authority.n);

		return close == NULL ? authority
				     : slice_of(authority.p, (size_t)(close + 1 - authority.p));
	}
	colon = authority.n == 0 ? NULL : memchr(authority.p, ':', authority.n);
	return colon == NULL ? authority : slice_of(authority.p, (size_t)(colon - authority.p));
}

static void host_make_ready(struct asked *a)
{
	struct slice host = without_port(a->req->authority);

	if (host.n > 1 && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n > sizeof(a->host))
		host.n = 0;
	for (size_t i = 0; i < host.n; i++)
		a->host[i] = lower(host.p[i]);
	a->host_n = host.n;
	a->host_ready = true;
}

static bool pattern_holds(const struct pattern *p, struct slice text, struct asked *a)
{
	enum pattern_answer answer = pattern_match(p, text, NULL);

	a->too_hard = a->too_hard || answer == PATTERN_TOO_HARD;
	return answer == PATTERN_YES;
}

static bool host_holds(const struct host_matcher *m, struct asked *a)
{
	size_t n = a->host_n, skip = n - m->text.n;

	switch (m->kind) {
	case HOST_EXACT:
		return n == m->text.n && memcmp(a->host, m->text.p, n) == 0;
	case HOST_BELOW:
		return n > m->text.n && memcmp(a->host + skip, m->text.p, m->text.n) == 0;
	case HOST_BEGINS:
		return n > m->text.n && memcmp(a->host, m->text.p, m->text.n) == 0;
	default:
		return pattern_holds(m->pattern, slice_of(a->host, n), a);
	}
}

static bool hosts_hold(const struct route_matcher *m, struct asked *a)
{
	if (m->n_hosts == 0)
		return true;
	if (!a->host_ready)
		host_make_ready(a);
	for (uint32_t i = 0; i < m->n_hosts; i++)
		if (a->host_n > 0 && host_holds(&m->host[i], a))
			return true;
	return false;
}

static inline bool plain_path_holds(const struct route_matcher *m, struct slice path)
{
	if (m->path_kind == PATH_EXACT)
		return slice_eq(path, m->path);
	return m->path_kind == PATH_ANY || slice_starts(path, m->path);
}

static bool path_holds(const struct route_matcher *m, struct asked *a)
{
	if (m->path_kind == PATH_PATTERN)
		return pattern_holds(m->pattern, a->path, a);
	return plain_path_holds(m, a->path);
}

/* By name a route is not sought here. */
static bool from_holds(const struct route_matcher *m, const struct head *req)
{
	return m->from == FROM_ANY || m->from == (req->rerouted ? FROM_ROUTE : FROM_CLIENT);
}

static bool method_holds(const struct route_matcher *m, const struct head *req)
{
	if (m->any_method)
		return true;
	if (!from_holds(m, req))
		return false;
	if (m->every)
		return true;
	if (req->method_id != METHOD_OTHER)
		return (m->methods >> req->method_id & 1) != 0;
	for (uint32_t i = 0; i < m->n_others; i++)
		if (slice_eq(m->other[i], req->method))
			return true;
	return false;
}

static bool conditions_met(const struct route_matcher *m, const struct template_values *v,
			   struct asked *a)
{
	enum pattern_answer answer = conditions_hold(m->when, m->n_when, v);

	a->too_hard = a->too_hard || answer == PATTERN_TOO_HARD;
	return answer == PATTERN_YES;
}

static bool has_file(const struct route *r, const struct template_values *v)
{
	return files_have(r->respond->files, r, v);
}

const struct route *route_match(const struct policy *p, const struct head *req, struct slice path,
				const struct template_values *v, bool *too_hard)
{
	struct asked a;

	*too_hard = false;
	if (path.p == NULL)
		return NULL;
	a.req = req;
	a.path = path;
	a.too_hard = false;
	a.host_ready =
	    false; /* the buffer stays as it is: clearing it would cost more than matching */
	for (uint32_t i = 0; i < p->n_routes && !a.too_hard; i++) {
		const struct route_matcher *m = p->route[i].matcher;

		/* what costs least goes first, but a path that is sought in */
		if (m->path_kind != PATH_PATTERN && !plain_path_holds(m, a.path))
			continue;
		if (!method_holds(m, req) || !hosts_hold(m, &a))
			continue;
		if (m->n_when > 0 && !conditions_met(m, v, &a))
			continue;
		if (m->path_kind == PATH_PATTERN && !pattern_holds(m->pattern, a.path, &a))
			continue;
		if (!m->needs_file || has_file(&p->route[i], v))
			return &p->route[i];
	}
	*too_hard = a.too_hard;
	return NULL;
}

enum route_part route_differs(const struct route *r, const struct head *req, struct slice path,
			      const struct template_values *v)
{
	struct asked a = { .req = req, .path = path };
	enum route_part part = ROUTE_TAKES;

	if (!method_holds(r->matcher, req))
		part = ROUTE_METHOD;
	else if (!hosts_hold(r->matcher, &a))
		part = ROUTE_HOST;
	else if (r->matcher->n_when > 0 && !conditions_met(r->matcher, v, &a))
		part = ROUTE_WHEN;
	if ((part == ROUTE_TAKES || r->matcher->path_kind != PATH_PATTERN) &&
	    !path_holds(r->matcher, &a))
		part = ROUTE_PATH;
	if (part == ROUTE_TAKES && r->matcher->needs_file && !has_file(r, v))
		part = ROUTE_FILE;
	return a.too_hard ? ROUTE_TOO_HARD : part;
}

const struct reason *route_refuses(const struct route *r, struct head *req)
{
	if (req->method_id == METHOD_TRACE) /* it would show the fields we set */
		return reason_trace_refused;
	if (req->method_id == METHOD_OPTIONS && !forward_count_hop(req))
		return reason_max_forwards;
	if (req->h2 && req->upgrade && !r->conf->upgrade) /* it is nothing without the change */
		return reason_upgrade_refused;
	if (req->body == BODY_LENGTH && req->length > r->conf->max_body)
		return reason_body_too_large;
	return NULL;
}

/*---------------------------------------------------------------- hiding */

static bool host_covers(const struct host_matcher *a, const struct host_matcher *b)
{
	if (a->kind == b->kind && slice_eq(a->text, b->text))
		return true;
	if (b->kind == HOST_PATTERN || (b->kind == HOST_BELOW && a->kind != HOST_BELOW) ||
	    (b->kind == HOST_BEGINS && a->kind != HOST_BEGINS))
		return false;
	if (b->text.n <= a->text.n)
		return false;
	if (a->kind == HOST_BELOW)
		return memcmp(b->text.p + b->text.n - a->text.n, a->text.p, a->text.n) == 0;
	return a->kind == HOST_BEGINS && memcmp(b->text.p, a->text.p, a->text.n) == 0;
}

static bool hosts_cover(const struct route_matcher *a, const struct route_matcher *b)
{
	if (a->n_hosts == 0)
		return true;
	for (uint32_t i = 0; i < b->n_hosts; i++) {
		bool covered = false;

		for (uint32_t j = 0; j < a->n_hosts; j++)
			covered = covered || host_covers(&a->host[j], &b->host[i]);
		if (!covered)
			return false;
	}
	return b->n_hosts > 0;
}

static bool path_covers(const struct route_matcher *a, const struct route_matcher *b)
{
	if (a->path_kind == PATH_ANY)
		return true;
	if (a->path_kind == PATH_EXACT || a->path_kind == PATH_PATTERN)
		return b->path_kind == a->path_kind && slice_eq(a->path, b->path);
	return b->path_kind != PATH_ANY && b->path_kind != PATH_PATTERN &&
	       slice_starts(b->path, a->path);
}

static bool methods_cover(const struct route_matcher *a, const struct route_matcher *b)
{
	if (a->any_method)
		return true;
	if (a->from != FROM_ANY && a->from != b->from)
		return false;
	if (a->every)
		return true;
	if (b->every || (b->methods & ~a->methods) != 0)
		return false;
	for (uint32_t i = 0; i < b->n_others; i++) {
		bool covered = false;

		for (uint32_t j = 0; j < a->n_others; j++)
			covered = covered || slice_eq(a->other[j], b->other[i]);
		if (!covered)
			return false;
	}
	return true;
}

bool route_hides(const struct route *earlier, const struct route *later)
{
	const struct route_matcher *a = earlier->matcher, *b = later->matcher;

	if (b->from == FROM_NAME) /* nobody seeks it */
		return false;
	if (a->needs_file)
		return false;
	if (a->n_when > 0 && !conditions_same(&earlier->conf->match.when, &later->conf->match.when))
		return false;
	return hosts_cover(a, b) && path_covers(a, b) && methods_cover(a, b);
}
