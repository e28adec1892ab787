/* explain_print.c - an explanation in words, and as JSON. */
#include "core/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/action.h"
#include "filters/stats.h"

enum { RUNS_MAX = 20 }; /* lines of a repetition */

static uint64_t s_up(uint64_t ms)
{
	return ms / 1000 + (ms % 1000 != 0);
}

static bool is_never(uint64_t ms)
{
	return ms >= VERDICT_NEVER_MS;
}

/* Bytes that a client chose, for a terminal. */
static void put_plain(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_putc(b, (unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i]);
}

static void put_ms(struct buf *b, uint64_t ms)
{
	buf_printf(b, "%" PRIu64 ".%03u s", ms / 1000, (unsigned)(ms % 1000));
}

static void put_ip(struct buf *b, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	ip_format(ip, text);
	buf_puts(b, text);
}

static bool same_ip(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* "rate 100/s" */
static void put_rule(struct buf *b, const struct filter *f)
{
	buf_printf(b, "%s ", f->ops->name);
	schema_field_text(f->ops->schema, f->ops->name, f->conf, b);
}

/*---------------------------------------------------------------- decisions */

static bool is_trial(const struct explain_policy *p)
{
	return p->filter->shadow || p->verdict.trial;
}

static const char *decision_of(const struct explain_policy *p)
{
	static const char *const names[] = { [V_PASS] = "allow",
					     [V_DENY] = "deny",
					     [V_DELAY] = "delay",
					     [V_PENDING] = "wait",
					     [V_SKIP] = "skip" };

	if (is_trial(p) && p->verdict.kind == V_DENY)
		return "shadow_deny";
	return names[p->verdict.kind];
}

/*---------------------------------------------------------------- for people */

static void text_request(const struct explain *e, struct buf *b)
{
	put_plain(b, e->head->method);
	buf_putc(b, ' ');
	put_plain(b, e->head->target);
	buf_puts(b, " of ");
	put_plain(b, e->head->authority);
	buf_puts(b, ", from ");
	put_ip(b, &e->client);
	if (!same_ip(&e->client, &e->peer)) {
		buf_puts(b, " by way of ");
		put_ip(b, &e->peer);
	}
	buf_puts(b, "\n\n");
}

static void text_target(const struct explain *e, struct buf *b)
{
	enum host_from host = e->route->rewrite->host_from;

	buf_puts(b, ", as ");
	if (e->route->rewrite->method.p != NULL) {
		put_plain(b, e->target.method);
		buf_putc(b, ' ');
	}
	put_plain(b, e->target.path);
	if (e->target.query.p != NULL) {
		buf_putc(b, '?');
		put_plain(b, e->target.query);
	}
	buf_puts(b, " of ");
	if (host == HOST_OF_UPSTREAM)
		buf_puts(b, "the endpoint's own address");
	else
		put_plain(b, e->target.authority);
}

static void text_answer(const struct head *h, struct buf *b)
{
	if (h->status == 0) {
		buf_puts(b, "  is not answered: its connection is closed\n\n");
		return;
	}
	buf_printf(b, "  is answered by its route: %u", h->status);
	for (uint16_t i = 0; i < h->n; i++) {
		if (h->fields[i].id == F_REMOVED)
			continue;
		buf_puts(b, "\n    ");
		put_plain(b, h->fields[i].name);
		buf_puts(b, ": ");
		put_plain(b, h->fields[i].value);
	}
	buf_puts(b, "\n\n");
}

static void text_outcome(const struct explain *e, struct buf *b)
{
	if (e->why == NULL && e->answer != NULL) {
		text_answer(e->answer, b);
		return;
	}
	if (e->why == NULL) {
		buf_printf(b, "  goes on to upstream %s",
			   e->falls_back ? e->fallback.cluster->name : e->to.cluster->name);
		buf_puts(b, e->falls_back ? ", the fallback" : "");
		if (e->redirected)
			text_target(e, b);
		if (e->delay_ms > 0) {
			buf_puts(b, ", but not before ");
			put_ms(b, e->delay_ms);
			buf_puts(b, " from now");
		}
		buf_puts(b, "\n\n");
		return;
	}
	buf_printf(b, "  is answered here: %u %s, %s", e->status, e->why->token, e->why->text);
	if (e->denier != NULL)
		buf_printf(b, "\n  by policy %s", e->denier->name);
	if (is_never(e->retry_after_ms))
		buf_puts(b, "; no wait will help");
	else if (e->why->flags & R_SHED)
		buf_printf(b, "; Retry-After %" PRIu64 ", retry-after-ms %" PRIu64,
			   s_up(e->retry_after_ms), e->retry_after_ms);
	buf_puts(b, "\n\n");
}

static void put_list(struct buf *b, const char *what, const struct conf_list *list)
{
	const char *const *item = list->item;

	buf_puts(b, what);
	for (uint32_t i = 0; i < list->n; i++)
		buf_printf(b, "%s%s", i > 0 ? ", " : " ", item[i]);
}

static void text_route(const struct explain_route *er, struct buf *b)
{
	const struct match_conf *m = &er->route->conf->match;

	buf_printf(b, "  %-16s ", er->route->name);
	switch (er->why_not) {
	case ROUTE_TAKES:
		buf_printf(b, "yes: path %s", m->path != NULL ? m->path : "/*");
		if (m->methods.n > 0)
			put_list(b, ", methods", &m->methods);
		if (m->hosts.n > 0)
			put_list(b, ", hosts", &m->hosts);
		if (m->when.n > 0)
			buf_puts(b, ", and its conditions hold");
		break;
	case ROUTE_PATH:
		buf_printf(b, "no: its path is %s", m->path);
		break;
	case ROUTE_METHOD:
		put_list(b, "no: its methods are", &m->methods);
		break;
	case ROUTE_HOST:
		put_list(b, "no: its hosts are", &m->hosts);
		break;
	case ROUTE_WHEN:
		buf_puts(b, "no: it wants another");
		for (uint32_t i = 0; i < m->when.n; i++)
			buf_printf(b, "%s %s", i > 0 ? "," : "",
				   ((const struct when_conf *)m->when.item)[i].name.name);
		break;
	case ROUTE_FILE:
		buf_puts(b, "no: there is no file for it");
		break;
	case ROUTE_TOO_HARD:
		buf_puts(b, "takes too long to match: the call is refused");
		break;
	}
	buf_putc(b, '\n');
}

static void text_routes(const struct explain *e, struct buf *b)
{
	if (e->n_routes == 0)
		return;
	buf_puts(b, "routes: the first that takes it\n");
	for (uint32_t i = 0; i < e->n_routes; i++)
		text_route(&e->routes[i], b);
}

static void text_verdict(const struct explain_policy *p, struct buf *b)
{
	const struct verdict *v = &p->verdict;

	buf_puts(b, decision_of(p));
	if (v->kind == V_DENY) {
		buf_printf(b, " %u %s", v->why->status, v->why->token);
		if (is_never(v->ms))
			buf_puts(b, ", for ever");
		else if (v->why->flags & R_SHED) {
			buf_puts(b, " for ");
			put_ms(b, v->ms);
		}
	} else if (v->kind == V_DELAY || v->kind == V_PENDING) {
		buf_puts(b, v->kind == V_PENDING ? " up to " : " ");
		put_ms(b, v->ms);
	}
	if (!p->asked)
		buf_puts(b, " (not asked any more)");
	if (is_trial(p))
		buf_puts(b, " (shadow: refuses nothing)");
}

static void text_state(const struct explain_policy *p, struct buf *b)
{
	if (p->knows)
		buf_printf(b, "%22s%" PRIu64 " of %" PRIu64 " left now\n", "", p->limit.remaining,
			   p->limit.limit);
	if (p->open + p->shut > 0)
		buf_printf(b, "%22s%u of %u endpoints take calls\n", "", p->open,
			   p->open + p->shut);
	if (p->key != NULL)
		buf_printf(b, "%22skey %s (hash %016" PRIx64 ")\n", "", p->key, p->key_hash);
}

static void text_credentials(const struct explain *e, struct buf *b)
{
	if (e->auth.looked == 0)
		return;
	buf_puts(b, "who calls: what the route looks at");
	if (e->route->chain.prove_at > 0)
		buf_printf(b, ", behind %s, which pays for it",
			   e->route->chain.filter[e->route->chain.prove_at - 1]->name);
	buf_putc(b, '\n');
	for (unsigned m = 0; m < AUTH_METHODS; m++) {
		const struct auth_outcome_row *row = &auth_outcomes[e->auth.outcome[m]];

		if (!(e->auth.looked & 1u << m))
			continue;
		buf_printf(b, "  %-16s  %s%s%s\n", auth_method_names[m], row->name,
			   row->text[0] != '\0' ? ": " : "", row->text);
	}
}

static void text_policies(const struct explain *e, struct buf *b)
{
	if (e->route == NULL || (e->auth.why != NULL && e->n_policies == 0))
		return;
	buf_puts(b, e->n_policies > 0 ? "policies, in the order in which they are asked\n"
				      : "policies: none, the route is not limited\n");
	for (uint32_t i = 0; i < e->n_policies; i++) {
		const struct explain_policy *p = &e->policies[i];
		struct buf rule = { .p = NULL };

		put_rule(&rule, p->filter);
		buf_printf(b, "  %-16s  %-18s  ", p->filter->name, rule.p != NULL ? rule.p : "");
		b->oom |= rule.oom;
		buf_fini(&rule);
		text_verdict(p, b);
		buf_putc(b, '\n');
		text_state(p, b);
	}
}

static void text_cluster(const char *what, const struct explain_cluster *ec, struct buf *b)
{
	if (ec->cluster == NULL)
		return;
	buf_printf(b, "%s %s\n", what, ec->cluster->name);
	for (uint32_t i = 0; i < ec->cluster->n; i++) {
		const struct explain_endpoint *ee = &ec->endpoint[i];

		buf_printf(b, "  %-24s weight %u%s", ee->member->endpoint->text, ee->member->weight,
			   ee->member->backup ? ", backup" : "");
		if (strcmp(endpoint_state(ee->member->endpoint), "up") != 0)
			buf_printf(b, ", %s", endpoint_state(ee->member->endpoint));
		if (ee->shut_ms > 0) {
			buf_puts(b, ", shut by its breaker for ");
			put_ms(b, ee->shut_ms);
		}
		buf_putc(b, '\n');
	}
}

/*---------------------------------------------------------------- a repetition */

/* Calls in a row that ended the same way. */
struct stretch {
	uint64_t first, n;
	const struct explain_result *like;
	uint64_t wait_from, wait_to, retry_from, retry_to;
};

static bool ended_alike(const struct explain_result *a, const struct explain_result *b)
{
	return a->why == b->why && a->denier == b->denier && a->status == b->status &&
	       (a->wait_ms > 0) == (b->wait_ms > 0) &&
	       s_up(a->retry_after_ms) == s_up(b->retry_after_ms);
}

static void widen(uint64_t v, uint64_t *from, uint64_t *to)
{
	*from = v < *from ? v : *from;
	*to = v > *to ? v : *to;
}

static struct stretch stretch_from(const struct explain_repeat *r, uint64_t first)
{
	struct stretch s = { .first = first,
			     .like = &r->result[first],
			     .wait_from = UINT64_MAX,
			     .retry_from = UINT64_MAX };

	while (first + s.n < r->n && ended_alike(s.like, &r->result[first + s.n])) {
		const struct explain_result *res = &r->result[first + s.n];

		widen(res->wait_ms, &s.wait_from, &s.wait_to);
		widen(res->retry_after_ms, &s.retry_from, &s.retry_to);
		s.n++;
	}
	return s;
}

static void put_range_ms(struct buf *b, uint64_t from, uint64_t to)
{
	put_ms(b, from);
	if (from == to)
		return;
	buf_puts(b, " to ");
	put_ms(b, to);
}

static void text_stretch(const struct stretch *s, struct buf *b)
{
	const struct explain_result *res = s->like;
	char range[48];

	if (s->n == 1)
		snprintf(range, sizeof(range), "%" PRIu64, s->first + 1);
	else
		snprintf(range, sizeof(range), "%" PRIu64 "-%" PRIu64, s->first + 1,
			 s->first + s->n);
	buf_printf(b, "  %-16s %u", range, res->status);
	if (res->why != reason_ok && res->why != reason_responded)
		buf_printf(b, " %s", res->why->token);
	if (res->denier != NULL)
		buf_printf(b, " by %s", res->denier->name);
	if (is_never(res->retry_after_ms))
		buf_puts(b, ", no wait will help");
	else if (res->retry_after_ms > 0) {
		buf_printf(b, ", Retry-After %" PRIu64 ": ", s_up(res->retry_after_ms));
		put_range_ms(b, s->retry_from, s->retry_to);
	}
	if (res->wait_ms > 0) {
		buf_puts(b, ", after waiting ");
		put_range_ms(b, s->wait_from, s->wait_to);
	}
	buf_putc(b, '\n');
}

static void text_stretches(const struct explain_repeat *r, struct buf *b)
{
	unsigned lines = 0;
	uint64_t at = 0;

	while (at < r->n && lines < RUNS_MAX) {
		struct stretch s = stretch_from(r, at);

		text_stretch(&s, b);
		at += s.n;
		lines++;
	}
	if (at < r->n)
		buf_printf(b, "  %" PRIu64 "-%" PRIu64 "  and so on\n", at + 1, r->n);
}

static void text_counts(const struct explain *e, struct buf *b)
{
	for (uint32_t i = 0; i < e->n_policies; i++) {
		const struct filter *f = e->policies[i].filter;
		bool first = true;

		buf_printf(b, "  %-16s", f->name);
		for (int d = 0; d < DECISION_COUNT; d++) {
			uint64_t n = filter_stats_read(f->stats, (enum decision)d);

			if (n == 0)
				continue;
			buf_printf(b, "%s %s %" PRIu64, first ? "" : ",", decision_names[d], n);
			first = false;
		}
		buf_puts(b, first ? " never asked\n" : "\n");
	}
}

static void text_sums(const struct explain_repeat *r, struct buf *b)
{
	buf_printf(b, "admitted %" PRIu64 ", refused %" PRIu64, r->admitted, r->refused);
	if (r->first_refusal > 0) {
		buf_printf(b, " (the first: call %" PRIu64 ", at ", r->first_refusal);
		put_ms(b, (r->first_refusal - 1) * r->interval_ns / CLOCK_MS);
		buf_puts(b, ")");
	}
	if (r->failed > 0)
		buf_printf(b, ", failed %" PRIu64, r->failed);
	if (r->delayed > 0) {
		buf_printf(b, "; %" PRIu64 " waited, at most ", r->delayed);
		put_ms(b, r->longest_wait_ns / CLOCK_MS);
		buf_puts(b, ", on average ");
		put_ms(b, r->sum_wait_ns / r->delayed / CLOCK_MS);
	}
	buf_printf(b, "; tries %" PRIu64 "\n", r->tries);
}

static void text_repeat(const struct explain *e, const struct explain_repeat *r, struct buf *b)
{
	buf_printf(b, "\n%" PRIu64 " such calls, one every ", r->n);
	put_ms(b, r->interval_ns / CLOCK_MS);
	buf_printf(b, "; the upstream answers %u after ", r->status);
	put_ms(b, r->takes_ns / CLOCK_MS);
	buf_puts(b, "\n");
	text_stretches(r, b);
	text_sums(r, b);
	text_counts(e, b);
}

void explain_text(const struct explain *e, const struct explain_repeat *r, struct buf *b)
{
	text_request(e, b);
	text_outcome(e, b);
	text_routes(e, b);
	text_credentials(e, b);
	text_policies(e, b);
	text_cluster("upstream", &e->to, b);
	text_cluster("fallback", &e->fallback, b);
	if (r != NULL)
		text_repeat(e, r, b);
}

/*---------------------------------------------------------------- as JSON */

static void json_key(struct buf *b, const char *before, const char *key)
{
	buf_printf(b, "%s\"%s\":", before, key);
}

static void json_string(struct buf *b, const char *before, const char *key, struct slice value)
{
	json_key(b, before, key);
	if (value.p == NULL)
		buf_puts(b, "null");
	else
		buf_json_string(b, value);
}

static void json_number(struct buf *b, const char *before, const char *key, uint64_t n)
{
	json_key(b, before, key);
	buf_u64(b, n);
}

static void json_bool(struct buf *b, const char *before, const char *key, bool v)
{
	json_key(b, before, key);
	buf_puts(b, v ? "true" : "false");
}

/* Beyond what is ever said, there is nothing to say. */
static void json_ms(struct buf *b, const char *before, const char *key, uint64_t ms)
{
	if (is_never(ms)) {
		json_key(b, before, key);
		buf_puts(b, "null");
	} else {
		json_number(b, before, key, ms);
	}
}

static void json_request(const struct explain *e, struct buf *b)
{
	char client[IP_TEXT_MAX], peer[IP_TEXT_MAX];

	ip_format(&e->client, client);
	ip_format(&e->peer, peer);
	json_key(b, "{", "request");
	json_string(b, "{", "method", e->head->method);
	json_string(b, ",", "target", e->head->target);
	json_string(b, ",", "host", e->head->authority);
	json_string(b, ",", "client", slice_str(client));
	json_string(b, ",", "peer", slice_str(peer));
	buf_putc(b, '}');
}

static struct slice location_of(const struct head *h)
{
	const struct header *f = head_find(h, F_LOCATION);

	return f == NULL ? slice_of(NULL, 0) : f->value;
}

static void json_target(const struct explain *e, struct buf *b)
{
	bool own = e->route->rewrite->host_from == HOST_OF_UPSTREAM;

	json_string(b, ",", "upstream_path", e->target.path);
	json_string(b, ",", "upstream_query", e->target.query);
	json_string(b, ",", "upstream_host", own ? slice_of(NULL, 0) : e->target.authority);
}

static void json_outcome(const struct explain *e, struct buf *b)
{
	json_key(b, ",", "outcome");
	if (e->why == NULL && e->answer != NULL) {
		json_string(b, "{", "decision", slice_str("respond"));
		json_number(b, ",", "delay_ms", e->delay_ms);
		json_number(b, ",", "status", e->answer->status);
		json_string(b, ",", "location", location_of(e->answer));
	} else if (e->why == NULL) {
		json_string(b, "{", "decision", slice_str(e->delay_ms > 0 ? "delay" : "allow"));
		json_number(b, ",", "delay_ms", e->delay_ms);
		json_string(
		    b, ",", "upstream",
		    slice_str(e->falls_back ? e->fallback.cluster->name : e->to.cluster->name));
		if (e->redirected)
			json_target(e, b);
	} else {
		json_string(b, "{", "decision", slice_str("deny"));
		json_number(b, ",", "status", e->status);
		json_string(b, ",", "reason", slice_str(e->why->token));
		json_string(b, ",", "policy",
			    slice_str(e->denier == NULL ? NULL : e->denier->name));
		if (e->why->flags & R_SHED)
			json_ms(b, ",", "retry_after_ms", e->retry_after_ms);
	}
	buf_putc(b, '}');
}

static void json_routes(const struct explain *e, struct buf *b)
{
	static const char *const differs[] = {
		[ROUTE_PATH] = "path", [ROUTE_METHOD] = "method",     [ROUTE_HOST] = "host",
		[ROUTE_WHEN] = "when", [ROUTE_TOO_HARD] = "too_hard", [ROUTE_FILE] = "file",
	};

	json_string(b, ",", "route", slice_str(e->route == NULL ? NULL : e->route->name));
	json_key(b, ",", "routes");
	buf_putc(b, '[');
	for (uint32_t i = 0; i < e->n_routes; i++) {
		const struct explain_route *er = &e->routes[i];

		json_string(b, i > 0 ? ",{" : "{", "name", slice_str(er->route->name));
		json_bool(b, ",", "takes", er->why_not == ROUTE_TAKES);
		if (er->why_not != ROUTE_TAKES)
			json_string(b, ",", "differs", slice_str(differs[er->why_not]));
		buf_putc(b, '}');
	}
	buf_putc(b, ']');
}

static void json_credentials(const struct explain *e, struct buf *b)
{
	bool first = true;

	if (e->auth.looked == 0)
		return;
	json_key(b, ",", "auth");
	buf_putc(b, '{');
	for (unsigned m = 0; m < AUTH_METHODS; m++) {
		if (!(e->auth.looked & 1u << m))
			continue;
		json_string(b, first ? "" : ",", auth_method_names[m],
			    slice_str(auth_outcomes[e->auth.outcome[m]].name));
		first = false;
	}
	buf_putc(b, '}');
}

static void json_rule(const struct filter *f, struct buf *b)
{
	struct buf rule = { .p = NULL };

	schema_field_text(f->ops->schema, f->ops->name, f->conf, &rule);
	json_string(b, ",", "rule", slice_of(rule.p, rule.n));
	b->oom |= rule.oom;
	buf_fini(&rule);
}

static void json_policy(const struct explain_policy *p, bool values, struct buf *b)
{
	char hash[17];

	snprintf(hash, sizeof(hash), "%016" PRIx64, p->key_hash);
	json_string(b, "{", "name", slice_str(p->filter->name));
	json_string(b, ",", "kind", slice_str(p->filter->ops->name));
	json_rule(p->filter, b);
	json_bool(b, ",", "shadow", p->filter->shadow);
	json_bool(b, ",", "asked", p->asked);
	json_string(b, ",", "decision", slice_str(decision_of(p)));
	if (p->verdict.kind == V_DENY)
		json_string(b, ",", "reason", slice_str(p->verdict.why->token));
	if (p->verdict.kind != V_PASS && p->verdict.kind != V_SKIP)
		json_ms(b, ",", "wait_ms", p->verdict.ms);
	if (p->key != NULL)
		json_string(b, ",", "key_hash", slice_str(hash));
	if (p->key != NULL && values)
		json_string(b, ",", "key", slice_str(p->key));
	if (p->knows) {
		json_number(b, ",", "limit", p->limit.limit);
		json_number(b, ",", "remaining", p->limit.remaining);
		json_ms(b, ",", "reset_ms", p->limit.reset_ms);
	}
	if (p->open + p->shut > 0) {
		json_number(b, ",", "endpoints_open", p->open);
		json_number(b, ",", "endpoints_shut", p->shut);
	}
	buf_putc(b, '}');
}

static void json_cluster(const char *what, const struct explain_cluster *ec, struct buf *b)
{
	if (ec->cluster == NULL)
		return;
	json_key(b, ",", what);
	json_string(b, "{", "name", slice_str(ec->cluster->name));
	json_key(b, ",", "endpoints");
	buf_putc(b, '[');
	for (uint32_t i = 0; i < ec->cluster->n; i++) {
		const struct explain_endpoint *ee = &ec->endpoint[i];

		json_string(b, i > 0 ? ",{" : "{", "address",
			    slice_str(ee->member->endpoint->text));
		json_number(b, ",", "weight", ee->member->weight);
		json_bool(b, ",", "backup", ee->member->backup);
		json_string(b, ",", "state", slice_str(endpoint_state(ee->member->endpoint)));
		json_number(b, ",", "shut_ms", ee->shut_ms);
		buf_putc(b, '}');
	}
	buf_puts(b, "]}");
}

static void json_counts(const struct explain *e, struct buf *b)
{
	json_key(b, ",", "policies");
	buf_putc(b, '{');
	for (uint32_t i = 0; i < e->n_policies; i++) {
		const struct filter *f = e->policies[i].filter;

		buf_puts(b, i > 0 ? "," : "");
		buf_json_string(b, slice_str(f->name));
		for (int d = 0; d < DECISION_COUNT; d++)
			json_number(b, d > 0 ? "," : ":{", decision_names[d],
				    filter_stats_read(f->stats, (enum decision)d));
		buf_putc(b, '}');
	}
	buf_putc(b, '}');
}

static void json_stretches(const struct explain_repeat *r, struct buf *b)
{
	json_key(b, ",", "calls");
	buf_putc(b, '[');
	for (uint64_t at = 0; at < r->n;) {
		struct stretch s = stretch_from(r, at);

		json_number(b, at > 0 ? ",{" : "{", "first", s.first + 1);
		json_number(b, ",", "last", s.first + s.n);
		json_number(b, ",", "status", s.like->status);
		json_string(b, ",", "reason", slice_str(s.like->why->token));
		json_string(b, ",", "policy",
			    slice_str(s.like->denier == NULL ? NULL : s.like->denier->name));
		json_ms(b, ",", "retry_after_ms_max", s.retry_to);
		json_number(b, ",", "wait_ms_max", s.wait_to);
		buf_putc(b, '}');
		at += s.n;
	}
	buf_putc(b, ']');
}

static void json_repeat(const struct explain *e, const struct explain_repeat *r, struct buf *b)
{
	json_key(b, ",", "repeat");
	json_number(b, "{", "n", r->n);
	json_number(b, ",", "interval_ms", r->interval_ns / CLOCK_MS);
	json_number(b, ",", "admitted", r->admitted);
	json_number(b, ",", "refused", r->refused);
	json_number(b, ",", "failed", r->failed);
	json_number(b, ",", "tries", r->tries);
	json_number(b, ",", "first_refusal", r->first_refusal);
	json_number(b, ",", "delayed", r->delayed);
	json_number(b, ",", "longest_wait_ms", r->longest_wait_ns / CLOCK_MS);
	json_number(b, ",", "mean_wait_ms",
		    r->delayed == 0 ? 0 : r->sum_wait_ns / r->delayed / CLOCK_MS);
	json_counts(e, b);
	json_stretches(r, b);
	buf_putc(b, '}');
}

void explain_json(const struct explain *e, const struct explain_repeat *r, bool values,
		  struct buf *b)
{
	json_request(e, b);
	json_outcome(e, b);
	json_routes(e, b);
	json_credentials(e, b);
	json_key(b, ",", "policies");
	buf_putc(b, '[');
	for (uint32_t i = 0; i < e->n_policies; i++) {
		buf_puts(b, i > 0 ? "," : "");
		json_policy(&e->policies[i], values, b);
	}
	buf_putc(b, ']');
	json_cluster("upstream", &e->to, b);
	json_cluster("fallback", &e->fallback, b);
	if (r != NULL)
		json_repeat(e, r, b);
	buf_puts(b, "}\n");
}
