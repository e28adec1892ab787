/* What a route does to a call: texts with values in them, what goes upstream, answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/reason.h"
#include "core/action.h"
#include "core/route.h"
#include "core/target.h"

/* A route of one's own making, and a call that takes it. */
struct fixture {
	struct arena arena;
	struct diags diags;
	struct config config;
	struct route_conf conf;
	struct route route;
	struct head req;
	struct call call;
	struct template_values values;
	struct set_conf set[4];
	struct edit_conf edit[2];
};

static void set_up(struct fixture *f, const char *match)
{
	*f = (struct fixture){ .conf = { .match = { .path = match }, .name = "r" } };
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	f->route = (struct route){ .conf = &f->conf, .name = "r" };
	head_init(&f->req, &f->arena);
	f->req.path = slice_str("/");
	f->call = (struct call){ .req = &f->req, .arena = &f->arena, .route = "r" };
	f->values = (struct template_values){ .call = &f->call,
					      .match = &f->route.match,
					      .scheme = SLICE("https"),
					      .request_id = SLICE("id-1"),
					      .port = 8443 };
}

static void tear_down(struct fixture *f)
{
	arena_fini(&f->arena);
}

static bool prepare(struct fixture *f)
{
	return route_prepare(&f->route, &f->arena, &f->diags) &&
	       action_prepare(&f->route, &f->config, &f->arena, &f->diags);
}

static void ask(struct fixture *f, const char *path, const char *query)
{
	f->req.path = slice_str(path);
	f->req.query = slice_str(query);
	f->req.authority = slice_str("Example.com:8443");
	f->call.path = route_path(&f->req, SLASHES_KEEP, &f->arena);
	assert_true(ip_parse(slice_str("10.1.2.3"), &f->call.client));
}

static void expect_text(struct slice got, const char *want)
{
	if (!slice_is(got, want))
		fail_msg("\"%.*s\" is not \"%s\"", SLICE_FMT(got), want);
}

static struct set_conf field(const char *name, const char *value)
{
	return (struct set_conf){ .name = { .name = name }, .value = value };
}

/*---------------------------------------------------------------- texts */

static void expect_filled(const char *text, enum template_form form, const char *want)
{
	struct fixture f;
	struct template t;
	struct slice got;

	set_up(&f, "~ ^/u/([^/]*)/?(?<tail>.*)$");
	f.route.conf = &f.conf;
	assert_true(prepare(&f));
	ask(&f, "/u/a%20b/c", "q=1%0d%0a2&r=%3C%22&s=50%25&t=1%26role%3Da%2Bb%23/?;");
	assert_true(head_add_name(&f.req, slice_str("X-A"), slice_str("v<1>")));
	assert_true(template_parse(&t, text, false, &f.route.match, "`x`", (struct place){ 0 },
				   &f.arena, &f.diags));
	assert_true(template_fill(&t, &f.values, form, &got));
	expect_text(got, want);
	tear_down(&f);
}

static void test_texts_without_values(void **state)
{
	(void)state;
	expect_filled("", TEMPLATE_TEXT, "");
	expect_filled("plain", TEMPLATE_TEXT, "plain");
	expect_filled("{\"a\":{\"b\":1}}", TEMPLATE_JSON, "{\"a\":{\"b\":1}}");
	expect_filled("a { color: red } {}", TEMPLATE_TEXT, "a { color: red } {}");
	expect_filled("{host", TEMPLATE_TEXT, "{host");
	expect_filled("{{host}", TEMPLATE_TEXT, "{host}");
	expect_filled("{{{host}", TEMPLATE_TEXT, "{{host}");
	expect_filled("{{nothing}{{", TEMPLATE_TEXT, "{nothing}{{");
}

static void test_texts_with_values(void **state)
{
	(void)state;
	expect_filled("{client.ip}", TEMPLATE_TEXT, "10.1.2.3");
	expect_filled("{scheme}://{host}:{server.port}{uri}", TEMPLATE_URI,
		      "https://example.com:8443/u/a%20b/"
		      "c?q=1%0d%0a2&r=%3C%22&s=50%25&t=1%26role%3Da%2Bb%23/?;");
	expect_filled("{authority}|{path}|{query.s}|{route}", TEMPLATE_TEXT,
		      "Example.com:8443|/u/a%20b/c|50%|r");
	expect_filled("{match.1}+{match.2}+{match.tail}", TEMPLATE_PATH, "a%20b+c+c");
	expect_filled("{match.0}", TEMPLATE_TEXT, "/u/a%20b/c");
	expect_filled("<{header.x-a}{header.x-b}{cookie.c}>", TEMPLATE_TEXT, "<v<1>>");
	expect_filled("{request_id}", TEMPLATE_FIELD, "id-1");
	expect_filled("{tls.san}{upstream}", TEMPLATE_FIELD, "");
}

/* T4 */
static void test_values_stay_in_their_place(void **state)
{
	(void)state;
	expect_filled("{query.q}", TEMPLATE_FIELD, "1%0D%0A2");
	expect_filled("{query.q}", TEMPLATE_URI, "1%0D%0A2");
	expect_filled("{query.s}", TEMPLATE_URI, "50%25");
	expect_filled("id={query.t}&role=user", TEMPLATE_URI,
		      "id=1%26role%3Da%2Bb%23/%3F%3B&role=user");
	expect_filled("\"{query.r}{query.q}\"", TEMPLATE_JSON, "\"<\\\"1\\r\\n2\"");
	expect_filled("<b>{query.r}</b>", TEMPLATE_HTML, "<b>&lt;&quot;</b>");
	expect_filled("/{query.r}{uri}", TEMPLATE_PATH,
		      "/%3C%22/u/a%20b/c%3Fq=1%0d%0a2&r=%3C%22&s=50%25&t=1%26role%3Da%2Bb%23/%3F;");
}

static void test_secrets_are_text(void **state)
{
	struct fixture f;
	struct template t;

	(void)state;
	set_up(&f, NULL);
	assert_true(template_parse(&t, "{host}{no}", true, &f.route.match, "`x`",
				   (struct place){ 0 }, &f.arena, &f.diags));
	assert_int_equal(t.n, 0);
	expect_text(t.fixed, "{host}{no}");
	tear_down(&f);
}

static void expect_unknown(const char *match, const char *text, const char *says)
{
	struct fixture f;
	struct template t;

	set_up(&f, match);
	assert_true(prepare(&f));
	assert_false(template_parse(&t, text, false, &f.route.match, "`x`", (struct place){ 0 },
				    &f.arena, &f.diags));
	assert_int_equal(f.diags.errors, 1);
	if (strstr(f.diags.first->message, says) == NULL)
		fail_msg("expected \"%s\", got \"%s\"", says, f.diags.first->message);
	tear_down(&f);
}

static void test_unknown_values(void **state)
{
	char many[400] = "";

	(void)state;
	expect_unknown(NULL, "a{hots}", "`{hots}` is not known");
	expect_unknown(NULL, "{header.}", "`{header.}` is not known");
	expect_unknown(NULL, "{jwt.sub}", "is told by `auth.headers`");
	expect_unknown(NULL, "{match.1}", "the route has none");
	expect_unknown("/x", "{match.rest}", "ends with a star");
	expect_unknown("~ ^/(x)", "{match.2}", "is no group");
	expect_unknown("~ ^/(x)", "{match.name}", "is no group");
	for (int i = 0; i < 40; i++)
		strcat(many, "{host}.");
	expect_unknown(NULL, many, "more than 32 values");
}

static void test_long_texts_are_empty(void **state)
{
	static char value[TEMPLATE_MAX / 2 + 1];
	struct fixture f;
	struct template t;
	struct slice got;

	(void)state;
	set_up(&f, NULL);
	memset(value, 'x', sizeof(value) - 1);
	assert_true(head_add_name(&f.req, slice_str("X-A"), slice_str(value)));
	assert_true(template_parse(&t, "{header.x-a}{header.x-a}{header.x-a}", false,
				   &f.route.match, "`x`", (struct place){ 0 }, &f.arena, &f.diags));
	assert_true(template_fill(&t, &f.values, TEMPLATE_FIELD, &got));
	assert_int_equal(got.n, 0);
	tear_down(&f);
}

/*---------------------------------------------------------------- what goes upstream */

struct wanted {
	const char *match, *prefix, *path, *pattern, *query, *host;
};

#define W(...) ((struct wanted){ __VA_ARGS__ })

static void expect_target(struct wanted w, const char *path, const char *query, const char *want)
{
	struct fixture f;
	struct target t;
	struct buf b = { 0 };

	set_up(&f, w.match);
	f.conf.rewrite = (struct rewrite_conf){ .present = true,
						.prefix = w.prefix,
						.pattern = w.pattern,
						.path.text = w.path,
						.query.text = w.query };
	f.conf.host.text = w.host;
	assert_true(prepare(&f));
	ask(&f, path, query);
	assert_null(target_make(&f.route, &f.values, &t));
	buf_put(&b, t.path.p, t.path.n);
	if (t.query.p != NULL)
		buf_putc(&b, '?');
	buf_put(&b, t.query.p, t.query.n);
	buf_putc(&b, '@');
	buf_put(&b, t.authority.p, t.authority.n);
	expect_text(slice_of(b.p, b.n), want);
	buf_fini(&b);
	tear_down(&f);
}

static void test_targets(void **state)
{
	(void)state;
	expect_target(W("/api/*", "/v1/"), "/api/x/y", "q", "/v1/x/y?q@Example.com:8443");
	expect_target(W("/api/*", "/v1"), "/api//x", NULL, "/v1/x@Example.com:8443");
	expect_target(W("/api/*", "/"), "/api/", NULL, "/@Example.com:8443");
	expect_target(W("/api*", "/v1"), "/api2/x", NULL, "/v12/x@Example.com:8443");
	expect_target(W(NULL, "/in"), "/x%2Fy", NULL, "/in/x%2Fy@Example.com:8443");
	expect_target(W("/a/*", .path = "/b{match.rest}"), "/a/c", NULL, "/bc@Example.com:8443");
	expect_target(W(NULL, .path = "/one"), "/a/c", "q=1", "/one?q=1@Example.com:8443");
	expect_target(W("~ ^/(.)/(.*)$", .path = "/{match.2}/{match.1}"), "/a/b/c", NULL,
		      "/b/c/a@Example.com:8443");
	expect_target(W("/p/*", .path = "/q/{match.1}", .pattern = "~ ^/p/([0-9]+)$"), "/p/12",
		      NULL, "/q/12@Example.com:8443");
	expect_target(W("/p/*", .path = "/q/{match.1}", .pattern = "~ ^/p/([0-9]+)$"), "/p/./x",
		      NULL, "/p/./x@Example.com:8443");
	expect_target(W(NULL, .query = "a={query.b}&{query}"), "/", "b=%26",
		      "/?a=%26&b=%26@Example.com:8443");
	expect_target(W(NULL, .query = "id=1&{query}"), "/", NULL, "/?id=1@Example.com:8443");
	expect_target(W(NULL, .query = "{query}&id=1"), "/", NULL, "/?id=1@Example.com:8443");
	expect_target(W(NULL, .path = "/y", .pattern = "~ ^/x", .query = "id=1"), "/z", "q",
		      "/z?q@Example.com:8443");
	expect_target(W(NULL, "/in", .query = "a"), "*", NULL, "*@Example.com:8443");
	expect_target(W(NULL, .query = ""), "/", "b=1", "/@Example.com:8443");
	expect_target(W(NULL, .path = "/x", .host = "in.{host}"), "/", NULL, "/x@in.example.com");
	expect_target(W(NULL, .path = "/x", .host = "upstream"), "/", NULL, "/x@Example.com:8443");
}

/* What is made is held to the rules of what comes. */
static void test_bad_targets(void **state)
{
	static const struct wanted bad[] = {
		{ .path = "{query.p}" },
		{ .path = "/a/{query.up}" },
		{ .path = "/a/{query.slash}" },
		{ .path =
		      "/a/b/c/{query.up}" }, /* what it leads to is a path, but not below this one */
		{ .path = "/a/{query.dots}/b" },
		{ .path = "/a/.{query.dot}" },
		{ .path = "/a", .host = "{query.p}" },
		{ .path = "/a", .host = "{header.none}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct fixture f;
		struct target t;

		set_up(&f, NULL);
		f.conf.rewrite = (struct rewrite_conf){ .present = true, .path.text = bad[i].path };
		f.conf.host.text = bad[i].host;
		assert_true(prepare(&f));
		ask(&f, "/x", "p=a/b&up=../../b&slash=..%5cb&dots=..&dot=.");
		assert_ptr_equal(target_make(&f.route, &f.values, &t), reason_bad_request);
		tear_down(&f);
	}
}

static void test_a_hard_pattern_ends_the_call(void **state)
{
	static char path[3002];
	struct fixture f;
	struct target t;

	(void)state;
	memset(path, 'a', sizeof(path) - 1);
	path[0] = '/';
	set_up(&f, NULL);
	f.conf.rewrite = (struct rewrite_conf){ .present = true,
						.path.text = "/x",
						.pattern = "~ ^/(a+)+[bc]$" };
	assert_true(prepare(&f));
	ask(&f, path, NULL);
	assert_ptr_equal(target_make(&f.route, &f.values, &t), reason_path_too_hard);
	tear_down(&f);
}

static void expect_refused(struct wanted w, const char *says)
{
	struct fixture f;

	set_up(&f, w.match);
	f.conf.rewrite = (struct rewrite_conf){
		.present = true, .prefix = w.prefix, .pattern = w.pattern, .path.text = w.path
	};
	f.conf.host.text = w.host;
	assert_false(prepare(&f));
	assert_int_equal(f.diags.errors, 1);
	if (strstr(f.diags.first->message, says) == NULL)
		fail_msg("expected \"%s\", got \"%s\"", says, f.diags.first->message);
	tear_down(&f);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused(W("/x", "/y"), "there is none");
	expect_refused(W("~ ^/x", "/y"), "there is none");
	expect_refused(W(NULL, .path = "/{match.1}"), "the route has none");
	expect_refused(W(NULL, .path = "/x", .pattern = "^/x"), "begins with `~`");
	expect_refused(W(NULL, .path = "/x", .pattern = "~ ("), "missing closing parenthesis");
	expect_refused(W(NULL, .path = "{{x}"), "begins with /");
	expect_refused(W(NULL, .path = "/x", .host = "a/b"), "a name with or without a port");
}

static void test_fields_of_requests(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f, NULL);
	f.set[0] = field("x-from", "{client.ip}");
	f.set[1] = field("x-gone", "");
	f.set[2] = field("x-lacks", "{header.none}");
	f.conf.set = (struct conf_list){ 3, f.set };
	assert_true(prepare(&f));
	ask(&f, "/", NULL);
	assert_true(head_add_name(&f.req, slice_str("X_From"), slice_str("1")));
	assert_true(head_add_name(&f.req, slice_str("X-Gone"), slice_str("1")));
	assert_true(head_add_name(&f.req, slice_str("X-Lacks"), slice_str("1")));
	assert_true(action_set_fields(&f.route, &f.values, &f.req));
	expect_text(head_find_name(&f.req, slice_str("x-from"))->value, "10.1.2.3");
	assert_null(head_find_name(&f.req, slice_str("x_from")));
	assert_null(head_find_name(&f.req, slice_str("x-gone")));
	assert_null(head_find_name(&f.req, slice_str("x-lacks")));
	tear_down(&f);
}

/*---------------------------------------------------------------- answers */

static const char *edited(struct fixture *f, uint16_t status, char out[static 200])
{
	struct head h;
	char *at = out;

	head_init(&h, &f->arena);
	h.status = status;
	assert_true(head_add(&h, F_SERVER, slice_str("s")));
	assert_true(head_add_name(&h, slice_str("X-A"), slice_str("old")));
	assert_true(head_add_name(&h, slice_str("x-a"), slice_str("old")));
	assert_true(action_edit_answer(f->route.answers, &f->values, &h));
	*at = '\0';
	for (uint16_t i = 0; i < h.n; i++)
		if (h.fields[i].id != F_REMOVED)
			at += sprintf(at, "%.*s=%.*s;", SLICE_FMT(h.fields[i].name),
				      SLICE_FMT(h.fields[i].value));
	return out;
}

static void test_fields_of_answers(void **state)
{
	const char *server = "Server";
	char out[200];
	struct fixture f;

	(void)state;
	set_up(&f, NULL);
	f.set[0] = field("x-a", "new {host}");
	f.set[1] = field("X-B", "1");
	f.edit[0] = (struct edit_conf){ .set = { 1, &f.set[0] }, .remove = { 1, &server } };
	f.edit[1] = (struct edit_conf){ .add = { 2, &f.set[0] }, .when = EDIT_SUCCESS };
	f.config.response = (struct conf_list){ 2, f.edit };
	assert_true(prepare(&f));
	ask(&f, "/", NULL);
	assert_string_equal(edited(&f, 404, out), "x-a=new example.com;");
	assert_string_equal(edited(&f, 206, out), "x-a=new example.com;x-a=new example.com;X-B=1;");
	tear_down(&f);
}

/* Of its own, a route has in place of those of all. */
static void test_whose_edits(void **state)
{
	char out[200];
	struct fixture f;

	(void)state;
	set_up(&f, NULL);
	f.set[0] = field("x-all", "1");
	f.set[1] = field("x-own", "1");
	f.edit[0] = (struct edit_conf){ .set = { 1, &f.set[0] } };
	f.edit[1] = (struct edit_conf){ .set = { 1, &f.set[1] } };
	f.config.response = (struct conf_list){ 1, &f.edit[0] };
	f.conf.response = (struct conf_list){ 1, &f.edit[1] };
	assert_true(prepare(&f));
	assert_string_equal(edited(&f, 200, out), "Server=s;X-A=old;x-a=old;x-own=1;");
	tear_down(&f);
}

static void test_what_success_is(void **state)
{
	static const uint16_t yes[] = { 200, 201, 204, 206, 301, 302, 303, 304, 307, 308 };
	unsigned n = 0;

	(void)state;
	for (uint16_t s = 100; s < 600; s++)
		n += answer_is_success(s);
	assert_int_equal(n, 10);
	for (size_t i = 0; i < 10; i++)
		assert_true(answer_is_success(yes[i]));
}

static void test_answers_of_its_own(void **state)
{
	struct fixture f;
	struct head h;
	struct slice body;

	(void)state;
	set_up(&f, NULL);
	f.set[0] = field("x-id", "{request_id}");
	f.conf.respond = (struct respond_conf){ .present = true,
						.status = 201,
						.body.text = "{\"path\":\"{path}\"}",
						.content_type = "application/problem+json; x",
						.location.text = "/made{path}",
						.headers = { 1, f.set } };
	assert_true(prepare(&f));
	ask(&f, "/a'b", NULL);
	head_init(&h, &f.arena);
	assert_true(action_respond(f.route.respond, &f.values, &h, &body));
	assert_int_equal(h.status, 201);
	assert_int_equal(h.length, body.n);
	expect_text(body, "{\"path\":\"/a'b\"}");
	expect_text(head_find(&h, F_LOCATION)->value, "/made/a'b");
	expect_text(head_find_name(&h, slice_str("x-id"))->value, "id-1");
	tear_down(&f);
}

/* No value may name the host that a client is sent to. */
static void test_redirects_stay_here(void **state)
{
	static const char *const rows[][2] = {
		{ "{uri}", "/evil.org/" },
		{ "/{query.to}", "/evil.org" },
		{ "{query.to}", "/evil.org" },
		{ "//cdn.org{path}", "//cdn.org/evil.org/" },
		{ "https://here.org{uri}", "https://here.org//evil.org/" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;
		struct head h;
		struct slice body, got;

		set_up(&f, NULL);
		f.conf.respond = (struct respond_conf){ .present = true,
							.status = 302,
							.location.text = rows[i][0] };
		assert_true(prepare(&f));
		ask(&f, "//evil.org/", i == 1 || i == 2 ? "to=//evil.org" : NULL);
		head_init(&h, &f.arena);
		assert_true(action_respond(f.route.respond, &f.values, &h, &body));
		got = head_find(&h, F_LOCATION)->value;
		expect_text(got, rows[i][1]);
		tear_down(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_values),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_texts_without_values),
		cmocka_unit_test(test_texts_with_values),
		cmocka_unit_test(test_values_stay_in_their_place),
		cmocka_unit_test(test_secrets_are_text),
		cmocka_unit_test(test_long_texts_are_empty),
		cmocka_unit_test(test_bad_targets),
		cmocka_unit_test(test_a_hard_pattern_ends_the_call),
		cmocka_unit_test(test_targets),
		cmocka_unit_test(test_fields_of_requests),
		cmocka_unit_test(test_fields_of_answers),
		cmocka_unit_test(test_whose_edits),
		cmocka_unit_test(test_what_success_is),
		cmocka_unit_test(test_answers_of_its_own),
		cmocka_unit_test(test_redirects_stay_here),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
