/* A route made of hostile texts, asked about hostile calls: what comes of it never ends the place
 * it is put into, and what goes upstream is a path as a client may send it.
 *
 * The input: lines `match.path`, `rewrite.path`, `location`, `host`, `rewrite.pattern`, then the
 * request's path, query, authority and a field's value; missing ones are empty. */
#include <stdlib.h>

#include "base/check.h"
#include "core/action.h"
#include "core/route.h"
#include "core/target.h"

enum { MATCH, PATH, TO, HOST, PATTERN, ASKED, QUERY, AUTHORITY, VALUE, TEXTS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *next_line(struct slice *rest, struct arena *arena)
{
	struct slice line = arena_copy(arena, slice_cut(rest, '\n'));

	CHECK(line.p != NULL);
	return line.p;
}

static void check_text(struct slice s, bool uri, bool path)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		CHECK((c >= ' ' || c == '\t') && c != 0x7f);
		CHECK(!uri || (c > ' ' && c < 0x7f));
		CHECK(!path || (c != '?' && c != '#'));
	}
}

/* As the field tables let them by. */
static bool is_plain(const char *text, bool uri, bool path)
{
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f || (uri && (unsigned char)*c > '~') ||
		    (uri && *c == ' ') || *c == '#' || (path && *c == '?'))
			return false;
	return *text != '\0';
}

static void ask(const struct route *r, const char *const *text, struct arena *arena)
{
	struct head req, answer;
	struct call call = { .req = &req, .arena = arena, .route = "r" };
	struct template_values v = { .call = &call, .match = &r->match, .scheme = SLICE("http") };
	struct slice body, field = SLICE("x-a");
	struct target t;

	head_init(&req, arena);
	req.path = slice_str(text[ASKED]);
	req.query = slice_str(text[QUERY]);
	req.authority = slice_str(text[AUTHORITY]);
	call.path = route_path(&req, SLASHES_KEEP, arena);
	if (call.path.p == NULL || !is_plain(text[ASKED], true, true) ||
	    !is_plain(text[QUERY], true, false) || !is_plain(text[VALUE], false, false))
		return;
	CHECK(head_add_name(&req, field, slice_str(text[VALUE])));
	if (target_make(r, &v, &t) == NULL) {
		check_text(t.path, true, true);
		CHECK(slice_is(t.path, "*") || route_normal(t.path, arena).p != NULL);
		check_text(t.query, true, false);
	}
	head_init(&answer, arena);
	CHECK(action_respond(r->respond, &v, &answer, &body));
	for (uint16_t i = 0; i < answer.n; i++)
		check_text(answer.fields[i].value, answer.fields[i].id == F_LOCATION, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of((const char *)data, size);
	struct route_conf conf = { .name = "r" };
	struct config config = { .version = 1 };
	struct route route = { .conf = &conf, .name = "r" };
	const char *text[TEXTS];
	struct arena arena;
	struct diags diags;

	if (size > 4096 || memchr(data, 0, size) != NULL)
		return 0;
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	for (int i = 0; i < TEXTS; i++)
		text[i] = next_line(&rest, &arena);
	conf.match.path = text[MATCH];
	conf.respond = (struct respond_conf){
		.present = true, .status = 301, .location.text = text[TO], .body.text = text[TO]
	};
	conf.rewrite = (struct rewrite_conf){ .present = true, .path.text = text[PATH] };
	conf.rewrite.query.text = text[TO];
	conf.rewrite.pattern = text[PATTERN][0] == '\0' ? NULL : text[PATTERN];
	conf.host.text = text[HOST][0] == '\0' ? NULL : text[HOST];
	if (is_plain(text[PATH], true, true) && is_plain(text[TO], true, false) &&
	    route_prepare(&route, &arena, &diags) &&
	    action_prepare(&route, &config, &arena, &diags))
		ask(&route, text, &arena);
	arena_fini(&arena);
	return 0;
}
