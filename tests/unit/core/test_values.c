/* Values of the configuration's own: what they are of a call, and what is no value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/values.h"

#define BASE                                                                                      \
	"listen: 127.0.0.1:1\nupstreams: { a: 127.0.0.1:2 }\nroutes: [{ to: a, set: { x: \"%s\" " \
	"} }]\n"

static void load(struct arena *arena, struct diags *diags, const char *text, const char *values,
		 struct config **config)
{
	char yaml[2000];

	snprintf(yaml, sizeof(yaml), BASE "%s", text, values);
	arena_init(arena, NULL);
	diags_init(diags, arena);
	*config = config_load_text("weir.yaml", arena_copy(arena, slice_str(yaml)), arena, diags);
}

static void assert_wrong(const char *text, const char *values, const char *words)
{
	struct config *config;
	struct arena arena;
	struct diags diags;

	load(&arena, &diags, text, values, &config);
	if (diags.errors == 0 || strstr(diags.first->message, words) == NULL)
		fail_msg("%s: %s", values, diags.errors == 0 ? "no error" : diags.first->message);
	arena_fini(&arena);
}

static void test_what_is_no_value(void **state)
{
	(void)state;
	assert_wrong("{value.x}", "values: { y: a }", "none of `values`");
	assert_wrong("{value.x}", "", "none of `values`");
	assert_wrong("", "values: { y: '{value.z}', z: a }", "none of `values` that stand before");
	assert_wrong("",
		     "values: { a: x, b: '{value.a}{value.a}', c: '{value.b}{value.b}', d: '{value.c}{value.c}', "
		     "e: '{value.d}{value.d}', f: '{value.e}{value.e}', g: '{value.f}{value.f}', "
		     "h: '{value.g}{value.g}', i: '{value.h}{value.h}' }",
		     "more than 256 values would have to be read for one `i`");
	assert_wrong("", "values: { y: '{value.y}' }", "none of `values`");
	assert_wrong("", "values: { y: '{client.pi}' }", "is not known");
	assert_wrong("", "values: { 'a b': x }", "the name of a value");
	assert_wrong("", "values: { y: { map: [{ match: a, value: b }] } }", "of");
	assert_wrong("", "values: { y: { of: a, map: [{ match: '~ (', value: b }] } }", "`match`");
	assert_wrong("",
		     "values: { y: { of: a, map: [{ match: [a, '~ (b)'], value: '{match.1}' }] } }",
		     "asks for a regular expression");
	assert_wrong("", "values: { y: { of: a, by: address, map: [{ match: ten, value: b }] } }",
		     "an address");
	assert_wrong(
	    "",
	    "values: { y: { of: a, split: [{ share: 60%, value: a }, { share: 60%, value: b }] } }",
	    "more than the whole");
	assert_wrong("", "policies: { p: { rate: 1000/s, key: value.z } }\nvalues: { y: a }",
		     "there is no value `z`");
}

/* Of the call that the test makes, value `y`. */
static void assert_is(const char *values, const char *client, const char *path,
		      const char *expected)
{
	static const struct template_match no_match;
	struct config *config;
	struct arena arena;
	struct diags diags;
	struct head head;
	struct call call = { .req = &head, .arena = &arena };
	struct template_values v = { .call = &call, .match = &no_match };
	const struct values *made;
	struct slice out = { .p = "", .n = 0 };

	load(&arena, &diags, "{value.y}", values, &config);
	if (config == NULL)
		fail_msg("%s: %s", values, diags.first->message);
	head_init(&head, &arena);
	head.path = call.path = slice_str(path);
	assert_true(ip_parse(slice_str(client), &call.client));
	made = values_prepare(config, &arena, &diags);
	assert_non_null(made);
	if (values_read(made, &v, slice_str("y"), &out) != (expected[0] != '\0') ||
	    !slice_is(out, expected))
		fail_msg("%s of %s: %.*s, not %s", values, path, SLICE_FMT(out), expected);
	assert_false(values_read(made, &v, slice_str("none"), &out));
	arena_fini(&arena);
}

#define MAP(more) "values: { y: { of: '{path}'" more " } }"
#define NETS                                                                           \
	"values: { y: { of: '{client.ip}', by: address, default: out, map: [{ match: " \
	"10.1.0.0/16, value: "                                                         \
	"part }, { match: [10.0.0.0/8, '2001:db8::/32'], value: in }] } }"

static void test_what_values_are(void **state)
{
	(void)state;
	assert_is("values: { y: '{client.ip}{path}' }", "10.0.0.1", "/a", "10.0.0.1/a");
	assert_is("values: { y: '' }", "10.0.0.1", "/a", "");
	assert_is(MAP(", map: [{ match: [/a, /b], value: one }], default: '{client.ip}'"),
		  "1.2.3.4", "/b", "one");
	assert_is(MAP(", map: [{ match: /a, value: one }], default: '{client.ip}'"), "1.2.3.4",
		  "/A", "1.2.3.4");
	assert_is(MAP(", map: [{ match: /a, value: one }]"), "1.2.3.4", "/A", "");
	assert_is(MAP(", map: [{ match: /a, value: one }], caseless: true"), "1.2.3.4", "/A",
		  "one");
	assert_is(MAP(", map: [{ match: '~ ^/u/([0-9]+)', value: '<{match.1}>' }]"), "1.2.3.4",
		  "/u/17", "<17>");
	assert_is(MAP(", map: [{ match: '~ ^/u/(?<id>[0-9]+)', value: '{match.id}' }]"), "1.2.3.4",
		  "/u/17x", "17");
	assert_is(NETS, "10.1.2.3", "/", "part");
	assert_is(NETS, "10.2.2.3", "/", "in");
	assert_is(NETS, "2001:db8::1", "/", "in");
	assert_is(NETS, "11.2.2.3", "/", "out");
	assert_is("values: { x: { of: '{path}', map: [{ match: /a, value: k }] }, y: { of: "
		  "'{value.x}', map: "
		  "[{ match: k, value: done }] } }",
		  "1.2.3.4", "/b", "");
}

/* The hash of texts whose values are known. */
static void test_shares(void **state)
{
	(void)state;
	assert_int_equal(values_hash(slice_str("")), 0);
	assert_int_equal(values_hash(slice_str("a")), 0x92685f5e);
	assert_is(MAP(", split: [{ share: 50%, value: a }], default: b"), "1.2.3.4", "a", "b");
	assert_is(MAP(", split: [{ share: 60%, value: a }], default: b"), "1.2.3.4", "a", "a");
	assert_is(MAP(", split: [{ share: 50%, value: a }, { share: 50%, value: c }], default: b"),
		  "1.2.3.4", "a", "c");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_value),
		cmocka_unit_test(test_what_values_are),
		cmocka_unit_test(test_shares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
