/* test_node.c - YAML into nodes: places, bounds, variables, anchors, includes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/node.h"

struct fixture {
	struct arena arena;
	struct diags diags;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	*state = f;
	return f == NULL;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_fini(&f->arena);
	free(f);
	return 0;
}

static const struct node *read_text(void **state, const char *text)
{
	struct fixture *f = *state;

	return node_read_text("t.yaml", slice_str(text), &f->arena, &f->diags);
}

/* The first finding; a fresh set of findings for each text. */
static const struct diag *finding(void **state, const char *text, size_t n)
{
	struct fixture *f = *state;

	diags_init(&f->diags, &f->arena);
	node_read_text("t.yaml", slice_of(text, n), &f->arena, &f->diags);
	if (f->diags.first == NULL)
		fail_msg("nothing is wrong with: %.*s", (int)n, text);
	return f->diags.first;
}

#define assert_finding(text, expected, at_line, at_column)                      \
	do {                                                                    \
		const struct diag *d_ = finding(state, text, sizeof(text) - 1); \
		assert_string_equal(d_->code, expected);                        \
		assert_int_equal(d_->at.line, at_line);                         \
		assert_int_equal(d_->at.column, at_column);                     \
	} while (0)

static void test_wrong_files(void **state)
{
	assert_finding("a: \0b\n", "E002", 1, 4);
	assert_finding("a: b\nc: \xC3\x28\n", "E002", 2, 4);
	assert_finding("\xFF\xFE"
		       "a",
		       "E002", 1, 1);
	assert_finding("a: \x01\n", "E002", 1, 4);
	assert_finding("a: \"\\0\"\n", "E002", 1, 4);
	assert_finding("a:\n\tb: 1\n", "E004", 2, 1);
	assert_finding("a:\n  \tb: 1\n", "E004", 2, 3);
	assert_finding("a: 1\n---\nb: 2\n", "E005", 2, 1);
	assert_finding("a: 1\n...\nb: 2\n", "E005", 3, 1);
	assert_finding("", "E011", 0, 0);
	assert_finding("# x\n", "E011", 0, 0);
	assert_finding("a: {\n", "E003", 2, 1);
	assert_finding("a: b: c\n", "E003", 1, 5);
	assert_finding("a: 1\na: 2\n", "E008", 2, 1);
	assert_finding("a: *x\n", "E007", 1, 4);
	assert_finding("a: &x [*x]\n", "E007", 1, 8);
	assert_finding("a: !x b\n", "E007", 1, 4);
	assert_finding("a: { <<: [1] }\n", "E007", 1, 6);
	assert_finding("? {a: b}\n: c\n", "E014", 1, 3);
	assert_finding("'': c\n", "E014", 1, 1);
	assert_finding("include: x\n", "E010", 1, 1);
	assert_finding("&a x: 1\n", "E007", 1, 1);
}

static void test_places_are_in_bytes(void **state)
{
	const struct node *root = read_text(state, "\xEF\xBB\xBF"
						   "é: 1\nb:\n  - { ü: 'x y', c: 3 }\n");
	const struct node *item;

	assert_non_null(root);
	assert_int_equal(root->first->key_at.column, 1);
	assert_int_equal(root->first->key_at.end_column, 3);
	assert_int_equal(root->first->at.column, 5);
	item = node_item(node_get(root, "b"), 0);
	assert_int_equal(item->at.line, 3);
	assert_int_equal(item->at.column, 5);
	item = node_get(item, "c");
	assert_int_equal(item->key_at.column, 18);
	assert_int_equal(item->at.column, 21);
	assert_int_equal(item->at.end_column, 22);
	assert_string_equal(item->at.file, "t.yaml");
}

static void test_kinds(void **state)
{
	const struct node *root = read_text(
	    state,
	    "a:\nb: ~\nc: null\nd: 'null'\ne: \"\"\nf: []\ng: {}\nh: true\ni: |\n  x\n  y\n");

	assert_non_null(root);
	assert_int_equal(node_get(root, "a")->kind, NODE_NULL);
	assert_int_equal(node_get(root, "b")->kind, NODE_NULL);
	assert_int_equal(node_get(root, "c")->kind, NODE_NULL);
	assert_int_equal(node_get(root, "d")->kind, NODE_SCALAR);
	assert_true(node_get(root, "d")->quoted);
	assert_int_equal(node_get(root, "e")->kind, NODE_SCALAR);
	assert_int_equal(node_get(root, "f")->kind, NODE_LIST);
	assert_int_equal(node_get(root, "g")->kind, NODE_MAP);
	assert_false(node_get(root, "h")->quoted);
	assert_string_equal(node_get(root, "i")->text.p, "x\ny\n");
	assert_null(node_get(root, "z"));
	assert_null(node_get(node_get(root, "f"), "z"));
	assert_null(node_item(node_get(root, "f"), 0));
	assert_ptr_equal(node_item(node_get(root, "h"), 0), node_get(root, "h"));
}

/*--------------------------------------------------------------- variables */

static const char *expanded(void **state, const char *value)
{
	struct fixture *f = *state;
	char text[256];
	const struct node *root;

	diags_init(&f->diags, &f->arena);
	snprintf(text, sizeof(text), "a: \"%s\"\n", value);
	root =
	    node_read_text("t.yaml", arena_copy(&f->arena, slice_str(text)), &f->arena, &f->diags);
	assert_non_null(root);
	return root->first->broken ? NULL : root->first->text.p;
}

static void test_variables(void **state)
{
	setenv("WT_SET", "va${WT_SET}$$l", 1);
	setenv("WT_EMPTY", "", 1);
	setenv("WT_BAD", "\xFF", 1);
	unsetenv("WT_UNSET");
	assert_string_equal(expanded(state, "${WT_SET}"), "va${WT_SET}$$l"); /* never again */
	assert_string_equal(expanded(state, "<${WT_EMPTY}>"), "<>");
	assert_string_equal(expanded(state, "${WT_UNSET:-d e}"), "d e");
	assert_string_equal(expanded(state, "${WT_EMPTY:-d}"), "d");
	assert_string_equal(expanded(state, "${WT_UNSET:-}"), "");
	assert_string_equal(expanded(state, "$$"), "$");
	assert_string_equal(expanded(state, "$${WT_SET}"), "${WT_SET}");
	assert_string_equal(expanded(state, "a$b$ $"), "a$b$ $");
	assert_string_equal(expanded(state, "$$$$x"), "$$x");
	assert_null(expanded(state, "${WT_UNSET}"));
	assert_null(expanded(state, "${WT_BAD}"));
	assert_null(expanded(state, "${}"));
	assert_null(expanded(state, "${1}"));
	assert_null(expanded(state, "${a b}"));
	assert_null(expanded(state, "${WT_SET:+x}"));
	assert_null(expanded(state, "${WT_SET-x}"));
	assert_null(expanded(state, "${WT_SET"));
	assert_null(expanded(state, "${file:}"));
	assert_null(expanded(state, "${file:/nonexistent}"));
	assert_null(expanded(state, "${file:/tmp}"));
	assert_null(expanded(state, "${file:/dev/zero}"));
}

static void test_each_wrong_variable_has_its_place(void **state)
{
	struct fixture *f = *state;
	const struct diag *d;

	unsetenv("WT_UNSET");
	read_text(state, "k: \"x ${WT_UNSET} ${WT_UNSET} ${}\"\n");
	assert_int_equal(f->diags.errors, 3);
	d = f->diags.first;
	assert_int_equal(d->at.column, 7);
	assert_int_equal(d->next->at.column, 19);
	assert_int_equal(d->next->next->at.column, 31);
	assert_int_equal(d->next->next->at.end_column, 34);
}

static void test_keys_hold_no_variables(void **state)
{
	const struct node *root = read_text(state, "\"${A}\": 1\n");

	assert_string_equal(root->first->key.p, "${A}");
}

static void test_a_variable_may_be_a_boolean(void **state)
{
	const struct node *root;

	setenv("WT_BOOL", "true", 1);
	root = read_text(state, "{ a: \"${WT_BOOL}\" }\n");
	assert_false(root->first->quoted);
}

/*---------------------------------------------------------- anchors, merges */

static void test_aliases_and_merges(void **state)
{
	const struct node *root =
	    read_text(state, "base: &b { x: 1, y: 2 }\nmore: &m { y: 3, z: 4 }\n"
			     "one: { <<: *b, x: 9 }\ntwo: { <<: [*m, *b] }\nlist: [*b, *m]\n"
			     "again: &b 5\nlast: *b\n");
	const struct node *one, *two;

	assert_non_null(root);
	one = node_get(root, "one");
	assert_string_equal(node_get(one, "x")->text.p, "9");
	assert_string_equal(node_get(one, "y")->text.p, "2");
	assert_null(node_get(one, "<<"));
	two = node_get(root, "two");
	assert_string_equal(node_get(two, "y")->text.p, "3");
	assert_string_equal(node_get(two, "x")->text.p, "1");
	assert_string_equal(node_get(two, "z")->text.p, "4");
	assert_int_equal(node_item(node_get(root, "list"), 1)->kind, NODE_MAP);
	assert_string_equal(node_get(root, "last")->text.p, "5");
	/* the place is where it was written */
	assert_int_equal(node_get(one, "y")->at.line, 1);
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	struct buf b = { 0 };

	/* as many as are allowed, one short of it, and one more */
	for (unsigned n = NODE_MAX - 2; n <= NODE_MAX - 1; n++) {
		struct arena arena;
		struct diags diags;

		arena_init(&arena, NULL);
		diags_init(&diags, &arena);
		b.n = 0;
		buf_puts(&b, "a: [");
		for (unsigned i = 0; i < n; i++)
			buf_puts(&b, "1,");
		buf_puts(&b, "]\n");
		if (n == NODE_MAX - 2)
			assert_non_null(node_read_text("t", slice_of(b.p, b.n), &arena, &diags));
		else
			assert_null(node_read_text("t", slice_of(b.p, b.n), &arena, &diags));
		arena_fini(&arena);
	}
	b.n = 0;
	buf_puts(&b, "a: ");
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, '[');
	assert_null(node_read_text("t", slice_of(b.p, b.n), &f->arena, &f->diags));
	assert_string_equal(f->diags.first->code, "E006");
	buf_fini(&b);
}

static void test_many_keys_are_fast(void **state)
{
	struct fixture *f = *state;
	struct buf b = { 0 };

	for (int i = 0; i < 90000; i++)
		buf_printf(&b, "k%d: 1\n", i);
	buf_puts(&b, "k0: 2\n");
	assert_non_null(node_read_text("t", slice_of(b.p, b.n), &f->arena, &f->diags));
	assert_int_equal(f->diags.errors, 1);
	buf_fini(&b);
}

/*---------------------------------------------------------------- includes */

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void test_includes(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/weir-node-XXXXXX", path[256];
	const struct node *root;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/d", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	put(dir, "d/b.yaml", "m: { b: 2 }\nl: [3]\ninclude: ../deeper.yaml\n");
	put(dir, "d/a.yaml", "m: { a: 1 }\nl: [2]\nonly: x\n");
	put(dir, "deeper.yaml", "m: { c: \"${file:secret}\" }\n");
	put(dir, "secret", "s\n\n");
	put(dir, "main.yaml", "include: [ 'd/*.yaml', 'none*.yaml' ]\nm: { z: 0 }\nl: [1]\n");
	snprintf(path, sizeof(path), "%s/main.yaml", dir);
	root = node_read_file(path, &f->arena, &f->diags);
	assert_non_null(root);
	assert_int_equal(f->diags.errors, 0);
	assert_null(node_get(root, "include"));
	assert_string_equal(node_item(node_get(root, "l"), 0)->text.p, "1");
	assert_string_equal(node_item(node_get(root, "l"), 1)->text.p, "2");
	assert_string_equal(node_item(node_get(root, "l"), 2)->text.p, "3");
	assert_string_equal(node_get(root, "only")->text.p, "x");
	assert_non_null(node_get(node_get(root, "m"), "a"));
	assert_non_null(node_get(node_get(root, "m"), "b"));
	assert_non_null(node_get(node_get(root, "m"), "z"));
	assert_string_equal(node_get(node_get(root, "m"), "c")->text.p, "s\n");
	assert_true(node_get(node_get(root, "m"), "c")->secret);
	assert_non_null(strstr(node_get(node_get(root, "m"), "b")->at.file, "/d/b.yaml"));
	put(dir, "deeper.yaml", "include: main.yaml\n");
	diags_init(&f->diags, &f->arena);
	assert_null(node_read_file(path, &f->arena, &f->diags));
	assert_string_equal(f->diags.first->code, "E010");
	snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_wrong_files),
		WITH(test_places_are_in_bytes),
		WITH(test_kinds),
		WITH(test_variables),
		WITH(test_each_wrong_variable_has_its_place),
		WITH(test_keys_hold_no_variables),
		WITH(test_a_variable_may_be_a_boolean),
		WITH(test_aliases_and_merges),
		WITH(test_bounds),
		WITH(test_many_keys_are_fast),
		WITH(test_includes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
