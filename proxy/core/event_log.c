/* event_log.c - what befell calls; see event_log.h. */
#include "core/event_log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/exchange.h"
#include "core/target.h"

enum { LINE_BYTES = 2048 };

const char *const event_level_names[] = { "debug", "info",  "notice", "warn", "error",
					  "crit",  "alert", "emerg",  NULL };

/*---------------------------------------------------------------- words */

static const struct event_words own_words = {
	.rate_refused = { "refused by policy {policy}: rate limit exceeded, excess {excess}",
			  "would be refused by policy {policy}: rate limit exceeded, excess "
			  "{excess}" },
	.rate_delayed = { "delayed by policy {policy}, excess {excess}",
			  "would be delayed by policy {policy}, excess {excess}" },
	.concurrency_refused = { "refused by policy {policy}: too many calls are under way",
				 "would be refused by policy {policy}: too many calls are under "
				 "way" },
	.nowhere = "no endpoint of the upstream can be tried",
	.disabled = "the endpoint is passed over from here: {reason}",
	.broken = "the upstream broke the connection ({error}) while {phase}",
	.connect_at_once = "could not connect to the upstream ({error})",
};

static const struct event_words *words = &own_words;

void event_words_use(const struct event_words *w)
{
	words = w;
}

struct event {
	struct exchange *x;
	enum event_level level;
	const char *text; /* NULL: Weir's own of the reason */
	bool plain;       /* nothing in it is to be replaced */
	const char *policy, *phase;
	const struct reason *why;
	uint64_t excess, bytes;
	int error;             /* 0: none is known */
	const struct leg *leg; /* NULL: none */
};

static const char *pick(const char *theirs, const char *own)
{
	return theirs != NULL ? theirs : own;
}

/*---------------------------------------------------------------- lines */

struct line {
	char text[LINE_BYTES];
	size_t n;
};

static void put(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->n, sizeof(l->text) - l->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->n += (size_t)n;
	if (l->n >= sizeof(l->text))
		l->n = sizeof(l->text) - 1;
}

static void put_address(struct line *l, const struct endpoint *ep)
{
	char addr[ADDR_TEXT_MAX];

	if (ep->host == NULL)
		addr_format(&ep->fixed, addr);
	put(l, "%s", ep->host == NULL ? addr : ep->authority);
}

static void put_name(struct line *l, const struct event *e, struct slice name)
{
	if (slice_is(name, "excess"))
		put(l, "%" PRIu64 ".%03" PRIu64, e->excess / 1000, e->excess % 1000);
	else if (slice_is(name, "policy") && e->policy != NULL)
		put(l, "%s", e->policy);
	else if (slice_is(name, "error") && e->error != 0)
		put(l, "%d: %s", e->error, strerror(e->error));
	else if (slice_is(name, "error"))
		put(l, "not told why");
	else if (slice_is(name, "phase") && e->phase != NULL)
		put(l, "%s", e->phase);
	else if (slice_is(name, "address") && e->leg != NULL)
		put_address(l, e->leg->member->endpoint);
	else if (slice_is(name, "bytes"))
		put(l, "%" PRIu64, e->bytes);
	else if (slice_is(name, "reason") && e->why != NULL)
		put(l, "%s", e->why->text);
}

static void put_words(struct line *l, const struct event *e)
{
	const char *at = e->text;

	if (at == NULL) {
		put(l, "%s", e->why->text);
		if (e->error != 0)
			put(l, " (%d: %s)", e->error, strerror(e->error));
		if (e->phase != NULL)
			put(l, " while %s", e->phase);
		return;
	}
	if (e->plain) {
		put(l, "%s", at);
		return;
	}
	while (*at != '\0') {
		size_t n = strcspn(at, "{"), name;

		put(l, "%.*s", (int)n, at);
		at += n;
		if (*at == '\0')
			return;
		name = strcspn(at, "}");
		put_name(l, e, slice_of(at + 1, name - 1));
		at += name + 1;
	}
}

static void put_client(struct line *l, const struct exchange *x)
{
	static const struct ip none;
	char ip[IP_TEXT_MAX];

	if (memcmp(&x->call.client, &none, sizeof(none)) == 0) {
		put(l, ", client: unix:");
		return;
	}
	ip_format(&x->call.client, ip);
	put(l, ", client: %s", ip);
}

static void put_upstream(struct line *l, const struct event *e)
{
	const struct exchange *x = e->x;
	const struct head *req = x->req;
	const struct slice path = x->redirect != NULL ? x->redirect->path : req->path;
	const struct slice query = x->redirect != NULL ? x->redirect->query : req->query;
	char addr[ADDR_TEXT_MAX];
	const char *where = x->cluster->name;
	const struct endpoint *ep = e->leg == NULL ? NULL : e->leg->member->endpoint;

	if (ep != NULL && ep->host == NULL) {
		addr_format(&ep->fixed, addr);
		where = addr;
	} else if (ep != NULL) {
		where = ep->authority;
	}
	put(l, ", upstream: \"%s://%s%s%.*s%s%.*s\"",
	    ep != NULL && ep->peer != NULL ? "https" : "http", where,
	    ep != NULL && strncmp(where, "unix:", 5) == 0 ? ":" : "", SLICE_FMT(path),
	    query.p != NULL ? "?" : "", SLICE_FMT(query));
}

static void put_facts(struct line *l, const struct event *e, const char *label)
{
	const struct exchange *x = e->x;
	const struct head *req = x->asked != NULL ? x->asked : x->req;

	put_client(l, x);
	if (label != NULL)
		put(l, ", server: %s", label);
	else if (x->route != NULL)
		put(l, ", route: %s", x->route->name);
	if (req == NULL || req->method.n == 0)
		return;
	put(l, ", request: \"%.*s %.*s HTTP/%s\"", SLICE_FMT(req->method), SLICE_FMT(req->target),
	    req->h2           ? "2.0"
	    : req->minor == 0 ? "1.0"
			      : "1.1");
	if (e->leg != NULL || e->phase != NULL)
		put_upstream(l, e);
	if (req->authority.n > 0)
		put(l, ", host: \"%.*s\"", SLICE_FMT(req->authority));
}

static void put_head(struct line *l, const struct event *e)
{
	static _Thread_local uint64_t second;
	static _Thread_local char when[32];
	static _Thread_local long tid;
	uint64_t s = e->x->worker->loop.wall_ns / CLOCK_S;
	time_t t = (time_t)s;
	struct tm tm;

	if (second != s || when[0] == '\0') {
		localtime_r(&t, &tm);
		strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &tm);
		second = s;
	}
	if (tid == 0)
		tid = syscall(SYS_gettid);
	put(l, "%s [%s] %d#%ld: *%" PRIu64 " ", when, event_level_names[e->level], (int)getpid(),
	    tid, e->x->conn->serial);
}

static void write_to(const struct event *e, const struct event_log *log)
{
	struct line l;

	if (log->file == NULL || (int)e->level < log->conf->level)
		return;
	l.n = 0;
	put_head(&l, e);
	put_words(&l, e);
	put_facts(&l, e, log->conf->label);
	for (size_t i = 0; i < l.n; i++)
		if ((unsigned char)l.text[i] < ' ' || l.text[i] == 0x7f)
			l.text[i] = '?';
	log_file_put(log->file, e->x->worker->index, slice_of(l.text, l.n));
}

static const struct log_choice *choice_of(const struct exchange *x)
{
	return x->route != NULL ? &x->route->log : &x->use->policy->logs.dflt;
}

static bool is_heard(const struct exchange *x)
{
	return choice_of(x)->n_events > 0;
}

static void write_event(const struct event *e)
{
	const struct log_choice *c = choice_of(e->x);

	for (uint32_t i = 0; i < c->n_events; i++)
		write_to(e, c->event[i]);
}

/*---------------------------------------------------------------- limits */

/* A delay is news of one level less than a refusal. */
static enum event_level limit_level(const struct exchange *x, bool rate, bool delay)
{
	int level = x->route == NULL ? EVENT_ERROR
		    : rate           ? x->route->conf->log_level.rate
				     : x->route->conf->log_level.concurrency;

	return (enum event_level)(delay && level > EVENT_INFO ? level - 1 : level);
}

void event_limit(struct exchange *x, const struct filter *f, struct verdict v, uint64_t excess)
{
	bool rate = f->ops->family == FAMILY_RATE, delay = v.kind == V_DELAY;
	bool trial = f->shadow || v.trial;
	struct event e = { .x = x,
			   .level = limit_level(x, rate, delay),
			   .policy = f->pool != NULL ? f->pool : f->name,
			   .excess = excess };

	if (!is_heard(x) || f->ops->family == FAMILY_NONE ||
	    (v.kind != V_DENY && !(rate && v.kind == V_DELAY)))
		return;
	if (!rate)
		e.text =
		    pick(words->concurrency_refused[trial], own_words.concurrency_refused[trial]);
	else if (delay)
		e.text = pick(words->rate_delayed[trial], own_words.rate_delayed[trial]);
	else
		e.text = pick(words->rate_refused[trial], own_words.rate_refused[trial]);
	write_event(&e);
}

/*---------------------------------------------------------------- tries */

static const char *phase_of(const struct leg *l, const struct reason *why)
{
	if (why == reason_tls_failed)
		return "SSL handshaking to upstream";
	if (!l->sent)
		return "connecting to upstream";
	if (l->heard)
		return "reading upstream";
	return l->x->request_ended ? "reading response header from upstream"
				   : "sending request to upstream";
}

/* The network's failures come and go; others do not, such as a socket that is not there. */
static bool is_of_the_net(int error)
{
	static const int errors[] = { 0,        EAGAIN,      ECONNREFUSED, ECONNRESET,
				      ENETDOWN, ENETUNREACH, EHOSTDOWN,    EHOSTUNREACH };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (error == errors[i])
			return true;
	return false;
}

static void tell_try(struct leg *l, const struct reason *why)
{
	struct event e = { .x = l->x,
			   .level = EVENT_ERROR,
			   .text = words->reason[why->index],
			   .why = why,
			   .error = l->error,
			   .phase = phase_of(l, why),
			   .leg = l };
	bool unconnected = why == reason_connect_failed || why == reason_no_descriptor;

	if (unconnected && l->at_once)
		e.level = is_of_the_net(l->error) ? EVENT_ERROR : EVENT_CRIT;
	if (unconnected && l->at_once)
		e.text = pick(words->connect_at_once, own_words.connect_at_once);
	if ((why == reason_upstream_reset || why == reason_upstream_truncated) && l->error != 0)
		e.text = pick(words->broken, own_words.broken);
	write_event(&e);
}

void event_try(struct leg *l, const struct reason *why)
{
	if (is_heard(l->x) && why->flags & R_FAILURE && why != reason_upstream_stale)
		tell_try(l, why);
}

void event_disabled(struct leg *l, const struct reason *why)
{
	struct event e = { .x = l->x,
			   .level = EVENT_WARN,
			   .text = pick(words->disabled, own_words.disabled),
			   .why = why,
			   .phase = phase_of(l, why),
			   .leg = l };

	write_event(&e);
}

void event_nowhere(struct exchange *x)
{
	struct event e = { .x = x,
			   .level = EVENT_ERROR,
			   .text = pick(words->nowhere, own_words.nowhere),
			   .phase = "connecting to upstream" };

	if (is_heard(x))
		write_event(&e);
}

/*---------------------------------------------------------------- requests */

void event_refused(struct exchange *x, const struct reason *why)
{
	struct event e = { .x = x,
			   .level = why == reason_body_too_large ? EVENT_ERROR : EVENT_INFO,
			   .text = words->reason[why->index],
			   .why = why };

	if (!is_heard(x) || why->status < 400 || why->status == 404 || why->status >= 500 ||
	    x->call.out.denied)
		return;
	if (why == reason_body_too_large && x->req != NULL && x->req->body == BODY_LENGTH) {
		e.text = words->body_announced;
		e.bytes = x->req->length;
	} else if (why == reason_body_too_large) {
		e.bytes = x->up.bytes;
	}
	write_event(&e);
}

void event_told(struct exchange *x, const char *text)
{
	struct event e = { .x = x, .level = EVENT_ERROR, .text = text, .plain = true };

	if (is_heard(x))
		write_event(&e);
}
