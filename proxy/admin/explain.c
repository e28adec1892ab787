/* explain.c - POST /explain.
 *
 * It changes nothing, but it is a POST: what is asked about may be secret (a key in a header), and
 * belongs into no URL.  Nor does the answer hold the values of keys. */
#include "admin/explain.h"

#include "admin/page.h"
#include "base/json.h"
#include "core/explain.h"

static const char too_many[] = "there are too many headers";

static const char *add_field(struct explain_request *r, struct slice name, const struct json *value)
{
	if (value->kind != JSON_STRING)
		return "the value of a header is a string, or a list of strings";
	if (r->n == EXPLAIN_FIELDS_MAX)
		return too_many;
	r->field[r->n++] = (struct explain_field){ .name = name, .value = value->text };
	return NULL;
}

static const char *add_fields(struct explain_request *r, const struct json *headers)
{
	const char *wrong = NULL;

	if (headers->kind != JSON_OBJECT)
		return "`headers` is an object: {\"name\": \"value\"}";
	for (const struct json *h = headers->first; h != NULL && wrong == NULL; h = h->next) {
		const struct json *one = h->kind == JSON_LIST ? h->first : h;

		if (h->kind != JSON_LIST)
			wrong = add_field(r, h->key, one);
		for (; h->kind == JSON_LIST && one != NULL && wrong == NULL; one = one->next)
			wrong = add_field(r, h->key, one);
	}
	return wrong;
}

static const char *set_member(struct explain_request *r, const struct json *v)
{
	const struct {
		const char *key;
		struct slice *value;
	} rows[] = { { "path", &r->target },
		     { "method", &r->method },
		     { "host", &r->host },
		     { "client", &r->client } };

	if (slice_is(v->key, "headers"))
		return add_fields(r, v);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!slice_is(v->key, rows[i].key))
			continue;
		*rows[i].value = v->text;
		return v->kind == JSON_STRING ? NULL : "path, method, host and client are strings";
	}
	return "a request has path, method, host, client and headers, and nothing else";
}

static const char *read_request(struct slice body, struct arena *arena, struct explain_request *r)
{
	const char *wrong;
	const struct json *v = json_read(body, arena, &wrong);

	if (v == NULL)
		return wrong;
	if (v->kind != JSON_OBJECT)
		return "the body is to be an object: {\"path\": \"/\"}";
	for (const struct json *m = v->first; m != NULL && wrong == NULL; m = m->next)
		wrong = set_member(r, m);
	return wrong;
}

void explain_show(const struct process_view *view, const struct service_request *req,
		  struct service_reply *reply)
{
	const struct env env = { .now_ns = view->now_ns, .wall_ns = view->now_wall_ns };
	struct explain_request r = { .n = 0 };
	struct arena arena;
	struct explain e;
	const char *wrong;

	arena_init(&arena, NULL);
	wrong = read_request(req->body, &arena, &r);
	if (wrong == NULL)
		wrong = explain_find(view->policy, &env, &r, &arena, &e);
	if (wrong != NULL) {
		page_text(reply, 400, wrong);
	} else {
		reply->status = 200;
		reply->content_type = "application/json";
		explain_json(&e, NULL, false, &reply->body);
	}
	arena_fini(&arena);
}
