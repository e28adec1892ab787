/* explain.c - asks the routes and the policies of one request, and takes nothing.
 *
 * The request is written down as a client would send it and read by the parser that reads clients:
 * what would be refused for its form is refused here. */
#include "core/reroute.h"
#include "core/explain.h"

#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "conf/value.h"
#include "core/action.h"
#include "core/client_ip.h"
#include "core/exchange.h"
#include "core/file_answer.h"
#include "core/values.h"
#include "filters/key.h"
#include "filters/scope.h"
#include "http/h1.h"

static const char out_of_memory[] = "out of memory";

/*---------------------------------------------------------------- the request */

/* Nothing of it may end a line, or a field would become two. */
static bool is_line(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
			return false;
	return true;
}

static bool says_host(const struct explain_request *r)
{
	static const struct slice host = SLICE("host");

	for (uint32_t i = 0; i < r->n; i++)
		if (slice_ieq(r->field[i].name, host))
			return true;
	return false;
}

static void put_line(struct buf *b, struct slice name, const char *between, struct slice value)
{
	buf_put(b, name.p, name.n);
	buf_puts(b, between);
	buf_put(b, value.p, value.n);
}

static struct slice write_head(const struct explain_request *r, struct arena *arena)
{
	static const struct slice get = SLICE("GET"), host = SLICE("Host"),
				  local = SLICE("localhost");
	struct buf b = { .p = NULL };
	struct slice text = { .p = NULL };

	put_line(&b, r->method.n > 0 ? r->method : get, " ", r->target);
	buf_puts(&b, " HTTP/1.1\r\n");
	if (!says_host(r)) {
		put_line(&b, host, ": ", r->host.n > 0 ? r->host : local);
		buf_puts(&b, "\r\n");
	}
	for (uint32_t i = 0; i < r->n; i++) {
		put_line(&b, r->field[i].name, ": ", r->field[i].value);
		buf_puts(&b, "\r\n");
	}
	buf_puts(&b, "\r\n");
	if (!b.oom)
		text = arena_copy(arena, slice_of(b.p, b.n));
	buf_fini(&b);
	return text;
}

static const char *check_request(const struct explain_request *r)
{
	bool ok = is_line(r->method) && is_line(r->target) && is_line(r->host);

	for (uint32_t i = 0; i < r->n; i++)
		ok = ok && is_line(r->field[i].name) && is_line(r->field[i].value);
	if (!ok)
		return "a line break or NUL cannot be part of a request";
	return r->target.n == 0 ? "the path is missing" : NULL;
}

static const char *read_request(struct explain *e, const struct explain_request *r)
{
	const struct codec_limits *limits = &e->policy->codec_limits;
	const char *wrong = check_request(r);
	struct slice text;
	size_t seen = 0;

	if (wrong != NULL)
		return wrong;
	text = write_head(r, e->arena);
	e->head = arena_zalloc(e->arena, sizeof(*e->head));
	if (text.p == NULL || e->head == NULL)
		return out_of_memory;
	head_init(e->head, e->arena);
	e->head->method = r->method;
	e->head->target = r->target;
	if (h1_head_end(text, &seen, limits, &e->why) < 0)
		return NULL;
	e->why = h1_parse_request(text, limits, e->head);
	return NULL;
}

static const char *find_client(struct explain *e, const struct explain_request *r)
{
	static const struct slice local = SLICE("127.0.0.1");
	struct addr peer;

	if (!ip_parse(r->client.n > 0 ? r->client : local, &e->peer))
		return "the client is an IP address, such as 10.0.0.9";
	addr_make(&peer, &e->peer, 0);
	e->client = e->peer;
	if (e->why == NULL)
		e->client = client_ip_find(&e->policy->config->client_ip, &peer, e->head);
	return NULL;
}

/*---------------------------------------------------------------- the route */

/* The listener of the port that the request names; else the first. */
static const struct listen_conf *listener_of(const struct explain *e)
{
	const struct listen_conf *all = e->policy->config->listen.item;
	struct slice host = e->head->authority;
	const char *colon = host.n == 0 ? NULL : memrchr(host.p, ':', host.n);
	uint32_t port;

	if (colon == NULL ||
	    value_u32(slice_of(colon + 1, (size_t)(host.p + host.n - colon - 1)), &port) != NULL)
		return &all[0];
	for (uint32_t i = 0; i < e->policy->config->listen.n; i++)
		if (addr_port(&all[i].addr) == port)
			return &all[i];
	return &all[0];
}

static bool on_value(const struct call *call, struct slice name, struct slice *out)
{
	const struct explain *e = LIST_ENTRY((struct call *)(uintptr_t)call, struct explain, call);

	return values_read(e->policy->values, &e->values, name, out);
}

static bool find_values(struct explain *e)
{
	static const struct template_match no_match;
	const struct listen_conf *listen = listener_of(e);
	char *text = arena_alloc(e->arena, ADDR_TEXT_MAX);

	if (text == NULL)
		return false;
	addr_format(&listen->addr, text);
	e->call.req = e->head;
	e->call.arena = e->arena;
	e->call.client = e->client;
	e->call.value = on_value;
	e->values = (struct template_values){
		.call = &e->call,
		.match = &no_match,
		.scheme = slice_str(listen->tls.n > 0 ? "https" : "http"),
		.port = addr_port(&listen->addr),
		.address = text,
	};
	return true;
}

/* One round through the routes. */
static void ask_routes(struct explain *e)
{
	e->n_routes = 0;
	e->route = NULL;
	while (e->route == NULL && e->n_routes < e->policy->n_routes) {
		struct explain_route *er = &e->routes[e->n_routes];

		er->route = &e->policy->route[e->n_routes++];
		er->why_not = route_differs(er->route, e->head, e->call.path, &e->values);
		if (er->why_not == ROUTE_TAKES)
			e->route = er->route;
		if (er->why_not == ROUTE_TOO_HARD)
			break;
	}
	if (e->route != NULL)
		e->values.match = &e->route->match;
	else if (e->n_routes > 0 && e->routes[e->n_routes - 1].why_not == ROUTE_TOO_HARD)
		e->why = reason_path_too_hard;
	else
		e->why = reason_no_route;
}

/* What the last round asked for is shown. */
static bool follow(struct explain *e)
{
	for (unsigned i = 0; e->route != NULL && e->route->reroute != NULL; i++) {
		struct head *h = reroute_head(e->route->reroute, &e->values);

		if (h == NULL || i == REROUTES_MAX) {
			e->why = h == NULL ? reason_bad_request : reason_rerouted_too_often;
			return true;
		}
		if (e->values.came == NULL)
			e->values.came = e->head;
		e->head = h;
		e->call.req = h;
		e->call.path = route_path(h, policy_slashes(e->policy), e->arena);
		if (e->call.path.p == NULL)
			return false;
		ask_routes(e);
	}
	return true;
}

static bool find_route(struct explain *e)
{
	struct slice path = route_path(e->head, policy_slashes(e->policy), e->arena);

	if (path.p == NULL) {
		e->why = reason_bad_request;
		return true;
	}
	e->call.path = path;
	e->routes = arena_zalloc(e->arena, (e->policy->n_routes + 1) * sizeof(*e->routes));
	if (e->routes == NULL || !find_values(e))
		return false;
	ask_routes(e);
	if (!follow(e))
		return false;
	if (e->route != NULL && e->why == NULL)
		e->why = route_refuses(e->route, e->head);
	return true;
}

static bool begin_call(struct explain *e, const struct env *env)
{
	struct call *c = &e->call;
	void *mem = arena_alloc(e->arena, e->route->chain.mem_size + 1);

	if (mem == NULL)
		return false;
	c->env = env;
	c->req = e->head;
	c->arena = e->arena;
	c->client = e->client;
	c->route = e->route->name;
	c->upstream = e->route->cluster == NULL ? NULL : e->route->cluster->name;
	c->resendable = true;
	if (e->route->conf->timeout.total_ns != 0)
		c->deadline_ns = env->now_ns + e->route->conf->timeout.total_ns;
	chain_begin(&e->route->chain, c, mem);
	return true;
}

/*---------------------------------------------------------------- who calls */

/* By a worker of its own, which knows no token: nothing is changed for those that serve.  When a
 * policy has refused the call by then, it is asked all the same: what is behind it reads it. */
static bool ask_credentials(struct explain *e, uint64_t wall_ns)
{
	const struct auth_rule *rule = &e->route->auth;
	struct auth_worker *w;
	struct arena scratch;
	bool ok;

	if (rule->looks == 0)
		return true;
	w = auth_worker_new(e->policy->auth);
	if (w == NULL)
		return false;
	arena_init(&scratch, NULL);
	auth_check(w, rule, e->head, wall_ns, &scratch, &e->auth);
	arena_fini(&scratch);
	ok = auth_detach(&e->auth, e->arena);
	auth_worker_free(w);
	e->call.who = &e->auth.who;
	if (e->denier == NULL)
		e->why = e->auth.why;
	return ok;
}

/*---------------------------------------------------------------- policies */

static const void *part_of(const struct filter *f, const struct field *field)
{
	return (const char *)f->conf + field->offset;
}

static const struct key_spec *key_of(const struct filter *f)
{
	const struct field *field = schema_field(f->ops->schema, "key");

	return field == NULL || field->custom != &key_custom ? NULL : part_of(f, field);
}

static int missing_of(const struct filter *f)
{
	const struct field *field = schema_field(f->ops->schema, "missing");

	return field == NULL || field->names != missing_names ? MISSING_SHARE
							      : *(const int *)part_of(f, field);
}

/* Terminals obey control characters. */
static const char *printable(struct arena *arena, const struct buf *b)
{
	struct slice copy = b->oom ? slice_of(NULL, 0) : arena_copy(arena, slice_of(b->p, b->n));
	char *p = (char *)(uintptr_t)copy.p;

	for (size_t i = 0; i < copy.n; i++)
		if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
			p[i] = '?';
	return p;
}

static bool find_key(struct explain *e, struct explain_policy *p)
{
	const struct key_spec *key = key_of(p->filter);
	struct buf text = { .p = NULL };

	if (key == NULL || key->n == 0)
		return true;
	key_describe(key, &e->call, &text);
	p->key = printable(e->arena, &text);
	buf_fini(&text);
	(void)scope_find(key, missing_of(p->filter), &e->call, &p->key_hash);
	return p->key != NULL;
}

static uint64_t ms_up(uint64_t ns)
{
	return ns / CLOCK_MS + (ns % CLOCK_MS != 0);
}

/* Asked of each endpoint, and of nothing else. */
static bool is_of_endpoints(const struct filter *f)
{
	return f->ops->shut != NULL && f->ops->peek == NULL;
}

/* A policy that shuts endpoints refuses when it has shut all of them. */
static void ask_about_endpoints(struct explain *e, struct explain_policy *p)
{
	const struct cluster *cl = e->route->cluster;
	uint64_t shortest = UINT64_MAX;

	for (uint32_t i = 0; cl != NULL && i < cl->n; i++) {
		uint64_t ns = p->filter->ops->shut(p->filter, &e->call, cl->member[i].endpoint->id);

		if (ns == 0)
			p->open++;
		else
			p->shut++;
		shortest = ns < shortest ? ns : shortest;
	}
	if (p->open == 0 && p->shut > 0)
		p->verdict = verdict_deny(reason_breaker_open, ms_up(shortest));
}

static bool ask_policy(struct explain *e, struct explain_policy *p)
{
	const struct filter_ops *ops = p->filter->ops;

	p->verdict = ops->peek == NULL ? verdict_pass() : ops->peek(p->filter, &e->call);
	if (is_of_endpoints(p->filter))
		ask_about_endpoints(e, p);
	p->knows = ops->look != NULL && ops->look(p->filter, &e->call, &p->limit);
	return find_key(e, p);
}

/* As the chain has it: the first to refuse does, and tells the longest wait of those behind it,
 * but of none that is asked when it is known who calls, if it was before that. */
static void weigh(struct explain *e, const struct explain_policy *p, bool told)
{
	const struct verdict *v = &p->verdict;
	bool says_when;

	if (p->filter->shadow || v->trial)
		return;
	if (v->kind == V_DELAY && e->denier == NULL)
		e->delay_ms += v->ms;
	if (v->kind != V_DENY || is_of_endpoints(p->filter))
		return; /* endpoints are asked about later, and there may be a fallback */
	says_when = (v->why->flags & R_SHED) != 0;
	if (e->denier == NULL) {
		e->denier = p->filter;
		e->why = v->why;
		e->retry_after_ms = v->ms;
	} else if (told && says_when && (e->why->flags & R_SHED) && v->ms > e->retry_after_ms) {
		e->retry_after_ms = v->ms;
	}
}

static bool ask_policies(struct explain *e, uint32_t end)
{
	bool told = e->denier == NULL || e->route->auth.looks == 0;

	for (; e->n_policies < end; e->n_policies++) {
		struct explain_policy *p = &e->policies[e->n_policies];

		p->filter = e->route->chain.filter[e->n_policies];
		p->asked = e->denier == NULL;
		if (!ask_policy(e, p))
			return false;
		weigh(e, p, told || end == e->route->chain.prove_at);
	}
	return true;
}

/* Who calls is asked where the chain has it (filter.h, F10). */
static bool ask_chain(struct explain *e, uint64_t wall_ns)
{
	const struct chain *ch = &e->route->chain;

	e->policies = arena_zalloc(e->arena, (ch->n + 1u) * sizeof(*e->policies));
	if (e->policies == NULL || !ask_policies(e, ch->prove_at) || !ask_credentials(e, wall_ns))
		return false;
	return e->auth.why != NULL || ask_policies(e, ch->n);
}

/*---------------------------------------------------------------- where it goes */

static bool ask_cluster(struct explain *e, const struct cluster *cl, struct explain_cluster *ec)
{
	if (cl == NULL)
		return true;
	ec->cluster = cl;
	ec->endpoint = arena_zalloc(e->arena, (cl->n + 1) * sizeof(*ec->endpoint));
	if (ec->endpoint == NULL)
		return false;
	ec->shut_ms = UINT64_MAX;
	for (uint32_t i = 0; i < cl->n; i++) {
		struct explain_endpoint *ee = &ec->endpoint[i];

		ee->member = &cl->member[i];
		ee->shut_ms = ms_up(chain_shut(&e->call, ee->member->endpoint->id));
		ec->open += ee->shut_ms == 0;
		ec->shut_ms = ee->shut_ms < ec->shut_ms ? ee->shut_ms : ec->shut_ms;
	}
	return true;
}

/* What stands on this disk at this moment. */
static bool ask_file(struct explain *e)
{
	struct file_answer answer;
	uint16_t status;

	if (e->why != NULL)
		return true;
	e->why =
	    file_answer_make(e->route->respond, e->route, &e->values, e->answer, &answer, &status);
	if (answer.fd >= 0)
		close(answer.fd);
	return e->why != NULL || e->route->answers == NULL ||
	       action_edit_answer(e->route->answers, &e->values, e->answer);
}

static bool ask_action(struct explain *e)
{
	const struct template_values *v = &e->values;
	const struct route *r = e->route;
	struct slice body;

	if (r->respond != NULL) {
		e->answer = arena_zalloc(e->arena, sizeof(*e->answer));
		if (e->answer == NULL)
			return false;
		head_init(e->answer, e->arena);
		if (r->respond->files != NULL)
			return ask_file(e);
		return action_respond(r->respond, v, e->answer, &body) &&
		       (r->answers == NULL || action_edit_answer(r->answers, v, e->answer));
	}
	e->redirected = r->rewrite != NULL;
	if (e->redirected && e->why == NULL)
		e->why = target_make(r, v, &e->target);
	return e->why != reason_out_of_memory;
}

static const struct filter *who_shuts(const struct explain *e)
{
	for (uint32_t i = 0; i < e->n_policies; i++)
		if (e->policies[i].shut > 0 && e->policies[i].open == 0 &&
		    !e->policies[i].filter->shadow)
			return e->policies[i].filter;
	return NULL;
}

/* No policy refuses the call: some endpoint has to take it. */
static void choose_cluster(struct explain *e)
{
	if (e->to.open > 0)
		return;
	e->falls_back = e->fallback.open > 0;
	if (e->falls_back)
		return;
	e->why = reason_breaker_open;
	e->denier = who_shuts(e);
	e->retry_after_ms = e->to.shut_ms;
}

void explain_follow(const struct policy *p, const struct env *env)
{
	for (uint32_t i = 0; i < p->n_filters; i++)
		if (p->filter[i]->ops->in_force != NULL)
			p->filter[i]->ops->in_force(p->filter[i], env);
}

static const char *find(struct explain *e, const struct env *env, uint64_t wall_ns)
{
	if (!find_route(e))
		return out_of_memory;
	if (e->why != NULL)
		return NULL;
	if (!begin_call(e, env) || !ask_chain(e, wall_ns))
		return out_of_memory;
	if (e->auth.why != NULL)
		return NULL;
	if (!ask_action(e) || !ask_cluster(e, e->route->cluster, &e->to) ||
	    !ask_cluster(e, e->route->fallback, &e->fallback))
		return out_of_memory;
	if (e->why == NULL && e->answer == NULL)
		choose_cluster(e);
	return NULL;
}

uint16_t explain_status(const struct explain *e, uint16_t status)
{
	const struct error_pages *pages = e->route != NULL ? e->route->pages : e->policy->pages;
	const struct respond *page = pages == NULL ? NULL : action_page(pages, status, PAGE_WEIR);

	return page == NULL || page->status == 0 ? status : page->status;
}

const char *explain_find(const struct policy *policy, const struct env *env,
			 const struct explain_request *r, struct arena *arena, struct explain *e)
{
	const char *wrong;

	*e = (struct explain){ .policy = policy, .arena = arena };
	wrong = read_request(e, r);
	if (wrong == NULL)
		wrong = find_client(e, r);
	if (wrong == NULL && e->why == NULL)
		wrong = find(e, env, r->wall_ns != 0 ? r->wall_ns : env->wall_ns);
	if (e->why != NULL)
		e->status = e->denier != NULL && e->denier->status != 0
				? e->denier->status
				: reply_status(e->route, e->call.path, e->why);
	e->status = explain_status(e, e->status);
	return wrong;
}
