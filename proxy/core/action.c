/* action.c - what a route does to a call beside sending it on; see action.h. */
#include "core/action.h"

#include "base/reason.h"
#include "core/files.h"
#include "core/reroute.h"
#include "core/route.h"
#include "core/target.h"
#include "http/scan.h"

/*---------------------------------------------------------------- making ready */

struct maker {
	struct route *route; /* NULL: it is about answers of any */
	const struct config *config;
	struct arena *arena;
	struct diags *diags;
	uint8_t time; /* enum template_time */
};

static const struct template_match no_match;

/* For texts that are made once there is an answer. */
static struct maker in_answers(const struct maker *m)
{
	struct maker late = *m;

	late.time = AT_ANSWER;
	return late;
}

static const struct template_match *match_of(const struct maker *m)
{
	return m->route == NULL ? &no_match : &m->route->match;
}

/* What texts may ask for that are made then. */
static struct template_match match_then(const struct maker *m)
{
	struct template_match match = *match_of(m);

	match.time = m->time;
	return match;
}

static void *make(const struct maker *m, size_t n)
{
	void *p = arena_zalloc(m->arena, n);

	if (p == NULL)
		diags_out_of_memory(m->diags);
	return p;
}

static bool make_field(const struct maker *m, struct field_edit *f, const struct set_conf *set)
{
	const char *what = arena_printf(m->arena, "`%s`", set->name.name);
	struct template_match match = match_then(m);

	f->name = slice_str(set->name.name);
	f->id = (uint8_t)field_lookup(f->name);
	if (what == NULL) {
		diags_out_of_memory(m->diags);
		return false;
	}
	return template_parse(&f->value, set->value, set->literal, &match, what, set->at, m->arena,
			      m->diags);
}

static bool make_fields(const struct maker *m, const struct conf_list *list, uint32_t *n,
			const struct field_edit **out)
{
	const struct set_conf *set = list->item;
	struct field_edit *f = list->n == 0 ? NULL : make(m, list->n * sizeof(*f));
	bool ok = true;

	*n = 0;
	*out = f;
	for (uint32_t i = 0; f != NULL && i < list->n; i++, (*n)++)
		ok = make_field(m, &f[i], &set[i]) && ok;
	return ok && *n == list->n;
}

static bool make_names(const struct maker *m, const struct conf_list *list, uint32_t *n,
		       const struct field_edit **out)
{
	const char *const *name = list->item;
	struct field_edit *f = list->n == 0 ? NULL : make(m, list->n * sizeof(*f));

	*out = f;
	for (*n = 0; f != NULL && *n < list->n; (*n)++) {
		f[*n].name = slice_str(name[*n]);
		f[*n].id = (uint8_t)field_lookup(f[*n].name);
	}
	return *n == list->n;
}

/* `match` NULL: the route's. */
static bool make_text(const struct maker *m, struct template *t, bool *has,
		      const struct text_conf *conf, const struct template_match *match,
		      const char *what)
{
	struct template_match own = match_then(m);

	*has = conf->text != NULL;
	return conf->text == NULL ||
	       template_parse(t, conf->text, conf->literal, match != NULL ? match : &own, what,
			      conf->at, m->arena, m->diags);
}

static const struct pattern *make_expression(const struct maker *m, const char *text,
					     struct place at)
{
	const struct pattern *p = NULL;
	const char *wrong = "a regular expression begins with `~`, as in `match.path`";

	if (pattern_is(text))
		p = pattern_compile(text, false, m->arena, &wrong);
	if (p == NULL && wrong != NULL)
		diag_error(m->diags, at, "E015", "`pattern`: %s", wrong);
	else if (p == NULL)
		diags_out_of_memory(m->diags);
	return p;
}

static bool make_replacements(const struct maker *m, const struct conf_list *list, uint32_t *n,
			      const struct replace_edit **out)
{
	const struct replace_conf *conf = list->item;
	struct replace_edit *r = list->n == 0 ? NULL : make(m, list->n * sizeof(*r));
	bool ok = true, has;

	*out = r;
	for (*n = 0; r != NULL && *n < list->n; (*n)++, r++, conf++) {
		r->name = slice_str(conf->name.name);
		r->id = (uint8_t)field_lookup(r->name);
		r->match.time = m->time;
		r->match.pattern = make_expression(m, conf->pattern, conf->pattern_at);
		ok = r->match.pattern != NULL &&
		     make_text(m, &r->with, &has, &conf->with, &r->match, "`with`") && ok;
	}
	return ok && *n == list->n;
}

static bool tells_later(const struct field_edit *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (f[i].value.known >= AT_ANSWER)
			return true;
	return false;
}

bool answer_edits_watch(const struct answer_edits *edits)
{
	for (uint32_t i = 0; edits != NULL && i < edits->n; i++) {
		const struct answer_edit *e = &edits->item[i];

		if (tells_later(e->set, e->n_set) || tells_later(e->add, e->n_add))
			return true;
		for (uint32_t k = 0; k < e->n_replace; k++)
			if (e->replace[k].with.known >= AT_ANSWER)
				return true;
	}
	return false;
}

bool error_pages_watch(const struct error_pages *pages)
{
	for (uint32_t i = 0; pages != NULL && i < pages->n; i++) {
		const struct respond *r = pages->item[i].respond;

		if (pages->item[i].hands) /* that route may tell of the tries */
			return true;
		if (r == NULL)
			continue;
		if (r->body.known >= AT_ANSWER || r->location.known >= AT_ANSWER ||
		    tells_later(r->field, r->n))
			return true;
	}
	return false;
}

static bool make_answers(const struct maker *maker, const struct conf_list *list,
			 const struct answer_edits **out)
{
	const struct maker late = in_answers(maker), *m = &late;
	const struct edit_conf *conf = list->item;
	struct answer_edits *all = list->n == 0 ? NULL : make(m, sizeof(*all));
	struct answer_edit *e = all == NULL ? NULL : make(m, list->n * sizeof(*e));
	bool ok = true;

	*out = NULL;
	for (uint32_t i = 0; e != NULL && i < list->n; i++) {
		e[i].success = conf[i].when == EDIT_SUCCESS;
		ok = make_fields(m, &conf[i].set, &e[i].n_set, &e[i].set) && ok;
		ok = make_fields(m, &conf[i].add, &e[i].n_add, &e[i].add) && ok;
		ok = make_names(m, &conf[i].remove, &e[i].n_remove, &e[i].remove) && ok;
		ok = make_replacements(m, &conf[i].replace, &e[i].n_replace, &e[i].replace) && ok;
	}
	if (e != NULL) {
		*all = (struct answer_edits){ .n = list->n, .item = e };
		*out = all;
	}
	return ok && (list->n == 0 || e != NULL);
}

/* In a body of that type. */
static enum template_form form_of(struct slice type)
{
	static const struct slice html = SLICE("text/html"), json = SLICE("application/json"),
				  more_json = SLICE("+json");

	type = slice_trim(slice_cut(&type, ';'));
	if (slice_ieq(type, html))
		return TEMPLATE_HTML;
	if (slice_ieq(type, json) ||
	    (type.n > more_json.n &&
	     slice_ieq(slice_of(type.p + type.n - more_json.n, more_json.n), more_json)))
		return TEMPLATE_JSON;
	return TEMPLATE_TEXT;
}

static bool make_files(const struct maker *m, const struct respond_conf *conf,
		       const struct files **out)
{
	const struct conf_list *own = conf->types.n > 0 ? &conf->types : &m->config->types;
	const struct media_types *types;
	struct files *f;

	if (conf->file == NULL && conf->files == NULL)
		return true;
	f = make(m, sizeof(*f));
	types = media_types_prepare(own, m->arena, m->diags);
	*out = f;
	return f != NULL && types != NULL &&
	       files_prepare(f, conf, match_of(m), types, m->arena, m->diags);
}

static bool make_respond(const struct maker *m, const struct respond_conf *conf,
			 const struct respond **out)
{
	static const struct slice plain = SLICE("text/plain; charset=utf-8");
	struct respond *r = make(m, sizeof(*r));
	bool ok;

	*out = r;
	if (r == NULL)
		return false;
	r->status = (uint16_t)conf->status;
	r->content_type = conf->content_type == NULL ? plain : slice_str(conf->content_type);
	r->body_form = form_of(r->content_type);
	ok = make_files(m, conf, &r->files);
	ok = make_text(m, &r->body, &r->has_body, &conf->body, NULL, "`body`") && ok;
	ok =
	    make_text(m, &r->location, &r->has_location, &conf->location, NULL, "`location`") && ok;
	return make_fields(m, &conf->headers, &r->n, &r->field) && ok;
}

/* "404" or "5xx" */
static void mark_statuses(struct error_page *page, const struct conf_list *on)
{
	const char *const *text = on->item;

	for (uint32_t i = 0; i < on->n; i++) {
		unsigned n = 100, at = (unsigned)(text[i][0] - '3') * 100;

		if (text[i][1] != 'x') {
			at += (unsigned)(text[i][1] - '0') * 10 + (unsigned)(text[i][2] - '0');
			n = 1;
		}
		for (; n > 0; n--, at++)
			page->on[at / 64] |= UINT64_C(1) << at % 64;
	}
}

static bool make_page(const struct maker *m, const struct page_conf *conf, struct error_page *page)
{
	const struct maker late = in_answers(m);

	mark_statuses(page, &conf->when);
	page->from = (enum page_of)conf->from;
	page->name = conf->route;
	page->status = (uint16_t)conf->respond.status;
	page->hands = conf->route != NULL || conf->path.text != NULL;
	return make_text(&late, &page->path, &page->has_path, &conf->path, NULL, "`path`") &&
	       make_respond(&late, &conf->respond, &page->respond);
}

/* Those of the route, and behind them those of all routes. */
static bool make_pages(const struct maker *m, const struct conf_list *list,
		       const struct conf_list *more, const struct error_pages **out)
{
	const struct page_conf *conf = list->item, *last = more->item;
	uint32_t n = list->n + more->n;
	struct error_pages *all = n == 0 ? NULL : make(m, sizeof(*all));
	struct error_page *page = all == NULL ? NULL : make(m, n * sizeof(*page));
	bool ok = true;

	*out = NULL;
	if (page == NULL)
		return n == 0;
	*all = (struct error_pages){ .n = n, .item = page };
	for (uint32_t i = 0; i < n; i++) {
		ok = make_page(m, i < list->n ? &conf[i] : &last[i - list->n], &page[i]) && ok;
		all->hands = all->hands || page[i].hands;
	}
	*out = all;
	return ok;
}

void action_link(const struct error_pages *pages, const struct route *routes, uint32_t n)
{
	for (uint32_t i = 0; pages != NULL && i < pages->n; i++)
		for (uint32_t k = 0; pages->item[i].name != NULL && k < n; k++)
			if (strcmp(routes[k].name, pages->item[i].name) == 0)
				pages->item[i].route = &routes[k];
}

static bool make_reroute(const struct maker *m, const struct reroute_conf *c)
{
	struct reroute *r = make(m, sizeof(*r));
	bool has;

	m->route->reroute = r;
	return r != NULL && make_text(m, &r->path, &has, &c->path, NULL, "`path`") &&
	       make_text(m, &r->query, &r->has_query, &c->query, NULL, "`query`");
}

static bool make_pattern(const struct maker *m, struct rewrite *w, const struct rewrite_conf *conf)
{
	w->match = m->route->match;
	if (conf->pattern == NULL)
		return true;
	w->pattern = w->match.pattern = make_expression(m, conf->pattern, conf->pattern_at);
	return w->pattern != NULL;
}

/* What stands before the star of /x/<star> ends with a slash, and so does what takes its place. */
static bool end_with_slash(const struct maker *m, struct slice prefix, struct slice *out)
{
	struct slice from = slice_str(m->route->conf->match.path);
	bool slash = from.n < 2 || from.p[from.n - 2] == '/';
	char *p = make(m, prefix.n + 2);

	if (p == NULL)
		return false;
	memcpy(p, prefix.p, prefix.n);
	if (slash && p[prefix.n - 1] != '/')
		p[prefix.n++] = '/';
	*out = slice_of(p, prefix.n);
	return true;
}

static bool make_prefix(const struct maker *m, struct rewrite *w, const struct rewrite_conf *conf)
{
	if (conf->prefix == NULL)
		return true;
	if (!m->route->match.rest) {
		diag_error(
		    m->diags, conf->prefix_at, "E019",
		    "`prefix` replaces what stands before the star of `match.path`, and there "
		    "is none");
		return false;
	}
	return end_with_slash(m, slice_str(conf->prefix), &w->prefix);
}

static bool make_host(const struct maker *m, struct rewrite *w, const struct text_conf *conf)
{
	struct slice text = slice_str(conf->text);
	bool has;

	if (conf->text == NULL || slice_is(text, "client"))
		return true;
	w->host_from = slice_is(text, "upstream") ? HOST_OF_UPSTREAM : HOST_OF_TEXT;
	return w->host_from == HOST_OF_UPSTREAM ||
	       make_text(m, &w->host, &has, conf, NULL, "`host`");
}

static bool make_rewrite(const struct maker *m, const struct route_conf *conf)
{
	const struct rewrite_conf *c = &conf->rewrite;
	struct rewrite *w = make(m, sizeof(*w));
	bool ok;

	if (w == NULL)
		return false;
	ok = make_pattern(m, w, c) && make_prefix(m, w, c);
	ok = ok && make_text(m, &w->path, &w->has_path, &c->path, &w->match, "`path`");
	ok = ok && make_text(m, &w->query, &w->has_query, &c->query, &w->match, "`query`");
	ok = make_host(m, w, &conf->host) && ok;
	ok = make_text(m, &w->body, &w->has_body, &conf->body, NULL, "`body`") && ok;
	if (c->method != NULL)
		w->method = slice_str(c->method);
	if (ok && w->host_from == HOST_OF_TEXT && w->host.n == 0 &&
	    !target_is_authority(w->host.fixed)) {
		diag_error(m->diags, conf->host.at, "E015",
			   "`host` is `client`, `upstream`, or a name with or without a port");
		ok = false;
	}
	if (ok && w->has_path && w->path.n == 0 && w->path.fixed.p[0] != '/') {
		diag_error(m->diags, c->path.at, "E015", "`path`: a path begins with /");
		ok = false;
	}
	m->route->rewrite = w;
	return ok;
}

bool action_prepare(struct route *r, const struct config *config, struct arena *arena,
		    struct diags *diags)
{
	const struct route_conf *conf = r->conf;
	const struct maker m = { .route = r, .config = config, .arena = arena, .diags = diags };
	const struct maker late = in_answers(&m);
	bool edits = conf->response.n > 0, ok;

	ok = make_fields(&m, &conf->set, &r->n_set, &r->set);
	ok = make_answers(&m, edits ? &conf->response : &config->response, &r->answers) && ok;
	ok = make_pages(&m, &conf->errors, &config->errors, &r->pages) && ok;
	if (conf->reroute.present)
		ok = make_reroute(&m, &conf->reroute) && ok;
	if (conf->respond.present)
		ok = make_respond(&late, &conf->respond, &r->respond) && ok;
	if (conf->rewrite.present || conf->body.text != NULL ||
	    (conf->host.text != NULL && !slice_is(slice_str(conf->host.text), "client")))
		ok = make_rewrite(&m, conf) && ok;
	return ok;
}

bool action_prepare_defaults(const struct config *config, struct action_defaults *d,
			     struct arena *arena, struct diags *diags)
{
	const struct maker m = { .config = config, .arena = arena, .diags = diags };
	bool ok = make_answers(&m, &config->response, &d->answers);

	return make_pages(&m, &config->errors, &(struct conf_list){ 0 }, &d->pages) && ok;
}

/*---------------------------------------------------------------- fields */

bool answer_is_success(uint16_t status)
{
	static const uint16_t success[] = { 200, 201, 204, 206, 301, 302, 303, 304, 307, 308 };

	for (size_t i = 0; i < sizeof(success) / sizeof(success[0]); i++)
		if (success[i] == status)
			return true;
	return false;
}

static void remove_field(struct head *h, const struct field_edit *f)
{
	if (f->id != F_OTHER)
		head_remove(h, (enum field_id)f->id);
	else
		head_remove_name(h, f->name);
}

static bool add_field(struct head *h, const struct field_edit *f, struct slice value)
{
	if (value.n == 0)
		return true;
	return f->id != F_OTHER ? head_add(h, (enum field_id)f->id, value)
				: head_add_name(h, f->name, value);
}

/* Values first, for they may tell of what goes. */
static bool set_alone(const struct route *r, const struct template_values *v, struct head *req)
{
	struct slice *value = arena_alloc(v->call->arena, r->n_set * sizeof(*value) + 1);

	for (uint32_t i = 0; i < r->n_set; i++)
		if (value == NULL || !template_fill(&r->set[i].value, v, TEMPLATE_FIELD, &value[i]))
			return false;
	for (uint16_t i = 0; i < req->n; i++)
		if (req->fields[i].id != F_UPGRADE && req->fields[i].id != F_EXPECT)
			req->fields[i].id = F_REMOVED;
	for (uint32_t i = 0; i < r->n_set; i++)
		if (!add_field(req, &r->set[i], value[i]))
			return false;
	return value != NULL;
}

bool action_set_fields(const struct route *r, const struct template_values *v, struct head *req)
{
	if (!r->conf->client_fields)
		return set_alone(r, v, req);
	for (uint32_t i = 0; i < r->n_set; i++) {
		const struct field_edit *f = &r->set[i];
		struct slice value;

		if (!template_fill(&f->value, v, TEMPLATE_FIELD, &value))
			return false;
		head_remove_alike(req, f->name);
		remove_field(req, f);
		if (!add_field(req, f, value))
			return false;
	}
	return true;
}

/* The value with a text in place of the part that was found. */
static bool replace_part(const struct replace_edit *r, const struct template_values *v,
			 struct slice part, struct header *f)
{
	struct template_values own = *v;
	struct buf b = { .arena = v->call->arena };
	struct slice value = f->value, with;
	size_t before = (size_t)(part.p - value.p);

	own.match = &r->match;
	own.subject = value.n > 0 ? value : slice_of("", 0);
	if (!template_fill(&r->with, &own, TEMPLATE_FIELD, &with))
		return false;
	buf_put(&b, value.p, before);
	buf_put(&b, with.p, with.n);
	buf_put(&b, part.p + part.n, value.n - before - part.n);
	if (b.n == 0)
		f->id = F_REMOVED;
	f->value = slice_of(b.p, b.n);
	return !b.oom;
}

static bool replace_in(const struct replace_edit *r, const struct template_values *v,
		       struct head *h)
{
	for (uint16_t i = 0; i < h->n; i++) {
		struct header *f = &h->fields[i];
		struct pattern_found found;

		if (f->id != r->id || (f->id == F_OTHER && !slice_ieq(f->name, r->name)) ||
		    pattern_match(r->match.pattern, f->value, &found) != PATTERN_YES ||
		    found.group[0].p == NULL) /* \K behind its end */
			continue;
		if (!replace_part(r, v, found.group[0], f))
			return false;
	}
	return true;
}

static bool edit_answer(const struct answer_edit *e, const struct template_values *v,
			struct head *h)
{
	struct slice value;

	for (uint32_t i = 0; i < e->n_remove; i++)
		remove_field(h, &e->remove[i]);
	for (uint32_t i = 0; i < e->n_replace; i++)
		if (!replace_in(&e->replace[i], v, h))
			return false;
	for (uint32_t i = 0; i < e->n_set; i++) {
		if (!template_fill(&e->set[i].value, v, TEMPLATE_FIELD, &value))
			return false;
		remove_field(h, &e->set[i]);
		if (!add_field(h, &e->set[i], value))
			return false;
	}
	for (uint32_t i = 0; i < e->n_add; i++)
		if (!template_fill(&e->add[i].value, v, TEMPLATE_FIELD, &value) ||
		    !add_field(h, &e->add[i], value))
			return false;
	return true;
}

bool action_edit_answer(const struct answer_edits *all, const struct template_values *v,
			struct head *h)
{
	bool success = answer_is_success(h->status);

	for (uint32_t i = 0; i < all->n; i++)
		if ((success || !all->item[i].success) && !edit_answer(&all->item[i], v, h))
			return false;
	return true;
}

/*---------------------------------------------------------------- answers of its own */

/* What begins with two slashes names a host; a value must not, unless the text itself does. */
static struct slice without_host(const struct template *t, struct slice value)
{
	static const struct slice two = SLICE("//");

	while (!slice_starts(t->fixed, two) && slice_starts(value, two))
		value = slice_of(value.p + 1, value.n - 1);
	return value;
}

bool action_add_fields(const struct respond *r, const struct template_values *v, struct head *h)
{
	struct slice value;

	for (uint32_t i = 0; i < r->n; i++)
		if (!template_fill(&r->field[i].value, v, TEMPLATE_FIELD, &value) ||
		    !add_field(h, &r->field[i], value))
			return false;
	if (!r->has_location || r->files != NULL)
		return true;
	if (!template_fill(&r->location, v, TEMPLATE_URI, &value))
		return false;
	value = without_host(&r->location, value);
	return value.n == 0 || head_add(h, F_LOCATION, value);
}

static const struct error_page *find_page(const struct error_pages *pages, uint16_t status,
					  enum page_of from, bool hand)
{
	unsigned at = status - 300u;

	for (uint32_t i = 0; at < 300 && i < pages->n; i++) {
		const struct error_page *p = &pages->item[i];

		if ((p->on[at / 64] >> at % 64 & 1) != 0 && (hand || !p->hands) &&
		    (p->from == PAGE_ALL || p->from == from))
			return p;
	}
	return NULL;
}

const struct respond *action_page(const struct error_pages *pages, uint16_t status,
				  enum page_of from)
{
	const struct error_page *p = find_page(pages, status, from, false);

	return p == NULL ? NULL : p->respond;
}

const struct error_page *action_hands(const struct error_pages *pages, uint16_t status,
				      enum page_of from)
{
	const struct error_page *p = pages->hands ? find_page(pages, status, from, true) : NULL;

	return p != NULL && p->hands ? p : NULL;
}

/* Of a status that has none (RFC 9110 section 6.4.1). */
static bool is_bodiless(uint16_t status)
{
	return status == 204 || status == 304;
}

bool action_respond(const struct respond *r, const struct template_values *v, struct head *h,
		    struct slice *body)
{
	struct template_values own = *v;

	*body = slice_of("", 0);
	if (r->status != 0)
		h->status = r->status;
	own.status = h->status;
	v = &own;
	if (r->has_body && !template_fill(&r->body, v, r->body_form, body))
		return false;
	h->body = is_bodiless(h->status) ? BODY_NONE : BODY_LENGTH;
	h->length = body->n;
	if (r->has_body && !head_add(h, F_CONTENT_TYPE, r->content_type))
		return false;
	return action_add_fields(r, v, h);
}
