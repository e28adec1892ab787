/* test_schema.c - a field table of its own: loading, bounds, short forms, variants, dump,
 * difference, documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"
#include "conf/schema.h"
#include "conf/yaml_text.h"

struct door {
	const char *name;
	uint32_t width;
	struct place at, width_at;
};

struct room {
	struct conf_name name;
	uint64_t since_ns;
	struct conf_list doors;
};

struct cat {
	uint32_t lives;
};

struct dog {
	struct rate barks;
};

struct house {
	bool lit;
	uint32_t floors;
	uint64_t age_ns, bytes;
	uint32_t share;
	struct rate rate;
	const char *street, *key, *motto;
	int colour;
	struct addr addr;
	struct cidr net;
	struct door gate;
	struct conf_list words, rooms, pets, numbers;
	const struct conf_secrets *secrets;
};

static bool check_door(struct conf_load *l, const struct node *n, void *conf)
{
	const struct door *d = conf;

	if (d->width != 13)
		return true;
	diag_error(l->diags, n->at, "E019", "thirteen");
	return false;
}

static const struct field door_fields[] = {
	{ .key = "name",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct door, name),
	  .min = 1,
	  .max = 8 },
	{ .key = "width",
	  .type = C_U32,
	  .offset = offsetof(struct door, width),
	  .at = offsetof(struct door, width_at),
	  .dflt = "80",
	  .min = 10,
	  .max = 200 },
	{ .key = NULL },
};

static const struct schema door_schema = { .name = "door",
					   .size = sizeof(struct door),
					   .fields = door_fields,
					   .at = offsetof(struct door, at),
					   .scalar = "name",
					   .check = check_door };

static const struct field room_fields[] = {
	{ .key = "since",
	  .type = C_DURATION,
	  .offset = offsetof(struct room, since_ns),
	  .dflt = "1d" },
	{ .key = "doors",
	  .type = C_LIST,
	  .offset = offsetof(struct room, doors),
	  .sub = &door_schema },
	{ .key = NULL },
};

static const struct schema room_schema = {
	.name = "room", .size = sizeof(struct room), .fields = room_fields, .scalar = "doors"
};

static const struct field cat_fields[] = {
	{ .key = "lives",
	  .type = C_U32,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct cat, lives),
	  .max = 9 },
	{ .key = NULL },
};
static const struct field dog_fields[] = {
	{ .key = "barks",
	  .type = C_RATE,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct dog, barks) },
	{ .key = NULL },
};
static const struct schema cat_schema = { .name = "cat",
					  .size = sizeof(struct cat),
					  .fields = cat_fields };
static const struct schema dog_schema = { .name = "dog",
					  .size = sizeof(struct dog),
					  .fields = dog_fields };
static const struct schema *const pets[] = { &cat_schema, &dog_schema, NULL };

static const struct schema *choose_pet(struct conf_load *l, const struct node *n)
{
	if (node_get(n, "lives") != NULL)
		return &cat_schema;
	if (node_get(n, "barks") != NULL)
		return &dog_schema;
	diag_error(l->diags, n->at, "E013", "neither cat nor dog");
	return NULL;
}

static const struct schema pet_schema = { .name = "pet", .variant = choose_pet, .variants = pets };

static bool parse_upper(struct conf_load *l, const struct node *n, void *dst)
{
	char *copy = conf_strdup(l, n->text);

	if (n->kind != NODE_SCALAR || slice_is(n->text, "silent"))
		return false;
	for (char *c = copy; c != NULL && *c != '\0'; c++)
		*c = (char)(*c & ~0x20);
	*(const char **)dst = copy;
	return copy != NULL;
}

static void dump_upper(const void *src, struct buf *out)
{
	const char *s = *(const char *const *)src;

	if (s != NULL)
		yaml_put_string(out, slice_str(s));
}

static const struct custom_ops upper = { .parse = parse_upper,
					 .dump = dump_upper,
					 .json_schema = "{\"type\":\"string\"}" };

static const char *const colours[] = { "red", "green", NULL };

#define AT(member) offsetof(struct house, member)

static const struct field house_fields[] = {
	{ .key = "lit", .type = C_BOOL, .offset = AT(lit), .dflt = "true" },
	{ .key = "floors",
	  .type = C_U32,
	  .flags = C_RESTART,
	  .offset = AT(floors),
	  .dflt = "2",
	  .min = 1 },
	{ .key = "age", .type = C_DURATION, .offset = AT(age_ns), .max = UINT64_C(60000000000) },
	{ .key = "bytes", .type = C_BYTES, .offset = AT(bytes), .dflt = "1KiB" },
	{ .key = "share", .type = C_SHARE, .offset = AT(share), .dflt = "50%" },
	{ .key = "rate", .type = C_RATE, .offset = AT(rate) },
	{ .key = "street", .type = C_STRING, .offset = AT(street) },
	{ .key = "key", .type = C_STRING, .flags = C_SECRET, .offset = AT(key) },
	{ .key = "colour",
	  .type = C_ENUM,
	  .offset = AT(colour),
	  .dflt = "green",
	  .names = colours },
	{ .key = "addr", .type = C_ADDR, .offset = AT(addr) },
	{ .key = "net", .type = C_CIDR, .offset = AT(net) },
	{ .key = "gate", .type = C_MAP, .offset = AT(gate), .sub = &door_schema },
	{ .key = "words", .type = C_LIST, .offset = AT(words), .item = C_STRING, .dflt = "[a, b]" },
	{ .key = "numbers", .type = C_LIST, .offset = AT(numbers), .item = C_U32, .max = 5 },
	{ .key = "rooms", .type = C_NAMED, .offset = AT(rooms), .sub = &room_schema },
	{ .key = "pets", .type = C_NAMED, .offset = AT(pets), .sub = &pet_schema },
	{ .key = "motto", .type = C_CUSTOM, .offset = AT(motto), .custom = &upper },
	{ .key = NULL },
};

static const struct schema house_schema = { .name = "house",
					    .size = sizeof(struct house),
					    .fields = house_fields,
					    .secrets_at = AT(secrets) };

struct fixture {
	struct arena arena;
	struct diags diags;
	struct house house;
	struct buf out;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_fini(&f->arena);
	buf_fini(&f->out);
	free(f);
	return 0;
}

static bool load(struct fixture *f, const char *text)
{
	struct conf_load l = { .arena = &f->arena, .diags = &f->diags };
	const struct node *n;

	diags_init(&f->diags, &f->arena);
	n = node_read_text("t.yaml", arena_copy(&f->arena, slice_str(text)), &f->arena, &f->diags);
	assert_non_null(n);
	return schema_load(&l, &house_schema, n, &f->house);
}

/* How many findings, the first of which has this code and path. */
static void expect(void **state, const char *text, unsigned errors, const char *code,
		   const char *path)
{
	struct fixture *f = *state;

	if (load(f, text) || f->diags.errors != errors || strcmp(f->diags.first->code, code) != 0)
		fail_msg("%s: %u findings, first %s", text, f->diags.errors,
			 f->diags.first == NULL ? "none" : f->diags.first->code);
	if (path != NULL)
		assert_string_equal(f->diags.first->path, path);
}

static void test_findings(void **state)
{
	expect(state, "{ flors: 1, streeet: 2 }", 2, "E012", NULL);
	expect(state, "{ lit: }", 1, "E011", NULL);
	expect(state, "{ words: [a, ~] }", 1, "E011", "words");
	expect(state, "{ rooms: { a: ~ } }", 1, "E011", "rooms.a");
	expect(state, "{ gate: {} }", 1, "E013", "gate");
	expect(state, "{ rooms: { a: { doors: [x, {}] } } }", 1, "E013", "rooms.a.doors[1]");
	expect(state, "{ lit: [true] }", 1, "E014", "lit");
	expect(state, "{ words: { a: b } }", 1, "E014", "words");
	expect(state, "{ rooms: [a] }", 1, "E014", "rooms");
	expect(state, "{ gate: [a] }", 1, "E014", "gate");
	expect(state, "{ pets: { tom: 3 } }", 1, "E014", "pets.tom");
	expect(state, "{ lit: 'true' }", 1, "E015", "lit");
	expect(state, "{ age: 5 }", 1, "E015", "age");
	expect(state, "{ colour: blue }", 1, "E015", "colour");
	expect(state, "{ gate: '' }", 1, "E015", "gate.name");
	expect(state, "{ gate: muchtoolong }", 1, "E015", "gate.name");
	expect(state, "{ floors: 0 }", 1, "E016", "floors");
	expect(state, "{ age: 61s }", 1, "E016", "age");
	expect(state, "{ numbers: [5, 6, 7] }", 2, "E016", "numbers");
	expect(state, "{ gate: { name: a, width: 201 } }", 1, "E016", "gate.width");
	expect(state, "{ gate: { name: a, width: 13 } }", 1, "E019", "gate");
	expect(state, "{ pets: { tom: { lives: 10 }, ben: { legs: 4 } } }", 2, "E016",
	       "pets.tom.lives");
	expect(state, "{ motto: silent }", 1, "E015", "motto");
	expect(state, "[a]", 1, "E014", NULL);
	expect(state, "~", 1, "E011", NULL);
}

/* The check sees only what was read without a finding. */
static void test_check_comes_last(void **state)
{
	expect(state, "{ gate: { name: a, width: 13, x: 1 } }", 1, "E012", NULL);
}

static void test_values(void **state)
{
	struct fixture *f = *state;
	const struct house *h = &f->house;
	const struct room *rooms;
	const struct conf_variant *pet;
	const struct door *doors;

	assert_true(load(
	    f, "lit: false\nage: 5s\nrate: 5/10s\naddr: ':80'\nnet: 10.0.0.0/8\ngate: front\n"
	       "words: one\nrooms:\n  hall: [a, { name: b, width: 90 }]\n  attic: { since: 2d }\n"
	       "pets: { tom: { lives: 9 }, rex: { barks: 1/m } }\n"));
	assert_false(h->lit);
	assert_int_equal(h->floors, 2);
	assert_int_equal(h->bytes, 1024);
	assert_int_equal(h->share, 500000);
	assert_int_equal(h->colour, 1);
	assert_int_equal(h->rate.count, 5);
	assert_string_equal(h->gate.name, "front");
	assert_int_equal(h->gate.width, 80);
	assert_int_equal(h->gate.at.line, 6);
	assert_int_equal(h->words.n, 1);
	rooms = h->rooms.item;
	assert_string_equal(rooms[0].name.name, "hall");
	assert_int_equal(rooms[0].name.at.line, 9);
	assert_int_equal(rooms[0].doors.n, 2);
	doors = rooms[0].doors.item;
	assert_int_equal(doors[1].width, 90);
	assert_int_equal(doors[1].width_at.column, 31);
	assert_true(rooms[1].since_ns == UINT64_C(172800000000000));
	pet = h->pets.item;
	assert_ptr_equal(pet[0].schema, &cat_schema);
	assert_ptr_equal(pet[1].schema, &dog_schema);
	assert_int_equal(((const struct cat *)pet[0].conf)->lives, 9);
}

static void test_dump(void **state)
{
	struct fixture *f = *state;
	struct buf again = { 0 };

	assert_true(load(f, "{ motto: up, key: k, gate: a, street: '12', rooms: { r: x, e: {} }, "
			    "pets: { t: { lives: 1 } }, age: 0s }"));
	schema_dump_yaml(&house_schema, &f->house, &f->out);
	assert_string_equal(
	    f->out.p,
	    "lit: true\nfloors: 2\nbytes: 1KiB\nshare: 50%\nstreet: \"12\"\n"
	    "key: \"<redacted>\"\ncolour: green\ngate:\n  name: a\n  width: 80\n"
	    "words: [a, b]\nrooms:\n  r:\n    since: 1d\n    doors:\n      - name: x\n"
	    "        width: 80\n  e:\n    since: 1d\npets:\n  t:\n    lives: 1\nmotto: UP\n");
	assert_true(load(f, f->out.p));
	schema_dump_yaml(&house_schema, &f->house, &again);
	assert_string_equal(f->out.p, again.p);
	again.n = 0;
	schema_dump_json(&house_schema, &f->house, &again);
	assert_non_null(strstr(again.p, "\"street\": \"12\""));
	assert_non_null(strstr(again.p, "\"floors\": 2,"));
	assert_non_null(strstr(again.p, "\"lit\": true,"));
	assert_non_null(strstr(again.p, "\"words\": [\n    \"a\",\n    \"b\"\n  ]"));
	buf_fini(&again);
}

static void test_diff(void **state)
{
	struct fixture *f = *state;
	struct house old;
	unsigned restart;

	assert_true(load(f, "{ floors: 3, key: a, rooms: { r: x, gone: {} }, pets: { p: { lives: 1 "
			    "} }, words: [a] }"));
	old = f->house;
	assert_true(load(f, "{ key: b, street: s, rooms: { r: [x, z], new: {} }, pets: { p: { "
			    "barks: 1/s } }, words: [b] }"));
	assert_int_equal(schema_diff(&house_schema, &old, &f->house, &f->out, &restart), 8);
	assert_int_equal(restart, 1);
	assert_string_equal(f->out.p, "~ floors: 3 -> 2 (needs a restart)\n"
				      "+ street: s\n"
				      "~ key: <redacted> -> <redacted>\n"
				      "~ words: [a] -> [b]\n"
				      "+ rooms.r.doors[z]\n"
				      "+ rooms.new\n"
				      "- rooms.gone\n"
				      "~ pets.p: a cat -> a dog\n");
	f->out.n = 0;
	assert_int_equal(schema_diff_field(&house_schema, schema_field(&house_schema, "floors"),
					   &old, &f->house, &f->out, &restart),
			 1);
	assert_int_equal(restart, 1);
	assert_string_equal(f->out.p, "~ floors: 3 -> 2 (needs a restart)\n");
	assert_int_equal(schema_diff_field(&house_schema, schema_field(&house_schema, "street"),
					   &old, &f->house, &f->out, &restart),
			 1);
	assert_int_equal(restart, 0);
}

static void test_documents(void **state)
{
	struct fixture *f = *state;

	schema_reference(&house_schema, &f->out);
	assert_non_null(strstr(f->out.p, "## house\n"));
	assert_non_null(strstr(f->out.p, "| `gate` | [door](#door) |"));
	assert_non_null(strstr(f->out.p, "names, each with [cat](#cat) or [dog](#dog)"));
	assert_non_null(strstr(f->out.p, "| `width` | a whole number, 10 to 200 | `80` |"));
	assert_non_null(strstr(f->out.p, "| E012 | an unknown key |"));
	f->out.n = 0;
	schema_json_schema(&house_schema, &f->out);
	assert_non_null(strstr(f->out.p, "\"minimum\":10,\"maximum\":200"));
	assert_non_null(strstr(f->out.p, "\"additionalProperties\":false"));
}

static void test_quoting(void **state)
{
	static const struct {
		const char *text, *yaml;
	} cases[] = {
		{ "", "\"\"" },
		{ "plain", "plain" },
		{ "a b", "\"a b\"" },
		{ "true", "\"true\"" },
		{ "No", "\"No\"" },
		{ "null", "\"null\"" },
		{ "12", "\"12\"" },
		{ "1.5", "\"1.5\"" },
		{ "0x1F", "\"0x1F\"" },
		{ "1e3", "\"1e3\"" },
		{ "12:30", "\"12:30\"" },
		{ "127.0.0.1:80", "127.0.0.1:80" },
		{ "-x", "\"-x\"" },
		{ "a:", "\"a:\"" },
		{ "a: b", "\"a: b\"" },
		{ "a#b", "\"a#b\"" },
		{ "[a]", "\"[a]\"" },
		{ "*.x", "\"*.x\"" },
		{ "/v1/*", "/v1/*" },
		{ "50%", "50%" },
		{ "$x", "\"$$x\"" },
		{ "a\n", "\"a\\x0A\"" },
		{ "q\"\\", "\"q\\\"\\\\\"" },
		{ "\xC3\xA9", "\"\xC3\xA9\"" },
		{ "a:b", "a:b" },
		{ "y", "\"y\"" },
		{ "-", "\"-\"" },
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f->out.n = 0;
		yaml_put_string(&f->out, slice_str(cases[i].text));
		assert_string_equal(f->out.p, cases[i].yaml);
	}
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_findings), WITH(test_check_comes_last),
		WITH(test_values),   WITH(test_dump),
		WITH(test_diff),     WITH(test_documents),
		WITH(test_quoting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
