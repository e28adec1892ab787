/* The grammar, contexts and numbers of arguments; the same table is put before the real nginx where there is one. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "nginx-compat/read.h"
#include "nginx-compat/table.h"

#define NGINX "/usr/sbin/nginx"

struct odd {
	const char *text, *wrong; /* in nginx's words; NULL: accepted */
};

#define HTTP(text) "events {}\nhttp {\n" text "\n}\n"

static const struct odd odds[] = {
	{ HTTP(""), NULL },
	{ "events {}", NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 'a;b{c}'; }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 a\\;b; }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 \"a\\\"b\"; }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 a${host}b; }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 'it'x; }"), "unexpected \"x\" in" },
	{ HTTP("server { listen 127.0.0.1:18999; if ($host = \"a\"){ return 200; } }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; if ($host = \"a\") { return 200; } }"), NULL },
	{ HTTP("# only { a comment }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 a#b; }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; location ~ \\.a{1,3}$ { } }"),
	  "unknown directive \"1,3}$\"" },
	{ HTTP("server { listen 127.0.0.1:18999; location ~ \"\\.a{1,3}$\" { } }"), NULL },
	{ HTTP("sendfile on"), "unexpected \"}\" in" },
	{ HTTP("sendfile\non;"), NULL },
	{ HTTP("sendfile \"on\";"), NULL },
	{ HTTP("sendfile maybe;"), "invalid value \"maybe\" in \"sendfile\" directive" },
	{ HTTP("sendfile;"), "invalid number of arguments in \"sendfile\" directive in" },
	{ HTTP("sendfile on off;"), "invalid number of arguments in \"sendfile\" directive in" },
	{ HTTP("limit_req zone=a;"), "zero size shared memory zone" },
	{ HTTP("limit_req;"), "invalid number of arguments in \"limit_req\" directive in" },
	{ HTTP("listen 80;"), "\"listen\" directive is not allowed here in" },
	{ HTTP("server { server { } }"), "\"server\" directive is not allowed here in" },
	{ HTTP("server { worker_processes 1; }"),
	  "\"worker_processes\" directive is not allowed here in" },
	{ HTTP("server { location / { upstream a { } } }"),
	  "\"upstream\" directive is not allowed here in" },
	{ HTTP("server;"), "directive \"server\" has no opening \"{\" in" },
	{ HTTP("sendfile { }"), "directive \"sendfile\" is not terminated by \";\" in" },
	{ HTTP("}"), "unexpected \"}\" in" },
	{ HTTP(";"), "unexpected \";\" in" },
	{ HTTP("{ }"), "unexpected \"{\" in" },
	{ HTTP("sendfile on; }"), "unexpected \"}\" in" },
	{ "events {}\nhttp {\n", "unexpected end of file, expecting \"}\" in" },
	{ "events {}\nhttp {\nsendfile on", "unexpected end of file, expecting \";\" or \"}\" in" },
	{ "events {}\nhttp {\nsendfile 'on",
	  "unexpected end of file, expecting \";\" or \"}\" in" },
	{ "events {}\nhttp {\nsendfile }", "unexpected \"}\" in" },
	{ "events {}\nhttp {\nsendfile on}\n}", "unexpected \"}\" in" },
	{ "\xEF\xBB\xBF"
	  "events {}\n",
	  "unknown directive" },
	{ "events {}\r\nhttp {\r\n}\r\n", NULL },
	{ HTTP("map $host $a { default 1; b 2; }"), NULL },
	{ HTTP("types { text/plain txt; }"), NULL },
	{ HTTP("upstream a { server 127.0.0.1:1; keepalive 4; }"), NULL },
	{ HTTP("upstream a { proxy_pass http://b; }"),
	  "\"proxy_pass\" directive is not allowed here in" },
	{ HTTP("server { listen 127.0.0.1:18999; location / { proxy_pass http://127.0.0.1:1; "
	       "limit_except GET { deny all; } } }"),
	  NULL },
	{ HTTP("server { limit_except GET { deny all; } }"),
	  "\"limit_except\" directive is not allowed here in" },
	{ HTTP("server { if ($host) { if ($uri) { } } }"),
	  "\"if\" directive is not allowed here in" },
	{ HTTP("include nothing-*.conf;"), NULL },
	{ HTTP("include nothing.conf;"), "nothing.conf\" failed (" },
	{ HTTP("include;"), "invalid number of arguments in \"include\" directive in" },
	{ HTTP("no_such_thing on;"), "unknown directive \"no_such_thing\"" },
	{ HTTP("client_max_body_size 1m;"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; return 200 ${; }"), "invalid variable name" },
	{ HTTP("server { listen 127.0.0.1:18999; location /a{ } location /b${c}{ } }"), NULL },
	{ HTTP("server { listen 127.0.0.1:18999; error_page 404 '/a b'; }"), NULL },
	{ HTTP("proxy_set_header A \"\";"), NULL },
	{ HTTP("proxy_set_header A;"),
	  "invalid number of arguments in \"proxy_set_header\" directive in" },
};

enum { ODDS = sizeof(odds) / sizeof(odds[0]) };

static char folder[] = "/tmp/weir-nginx-XXXXXX";

static const char *beside(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(beside(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool has_unknown(const struct directive *parent)
{
	DIRECTIVE_EACH (d, parent)
		if (d->verdict == UNKNOWN || has_unknown(d))
			return true;
	return false;
}

/* NULL: accepted. */
static const char *our_word(struct tree *t, const char *path)
{
	read_file(t, path);
	if (!table_check(t, NULL))
		return t->wrong;
	return has_unknown(&t->root) ? "unknown directive" : NULL;
}

/* What the real nginx says into `out`; its exit status. */
static int nginx_says(const char *path, char *out, size_t size)
{
	int fd[2], status;
	size_t n = 0;
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		close(fd[0]);
		execl(NGINX, "nginx", "-t", "-p", folder, "-c", path, "-g",
		      "error_log stderr; pid nginx.pid;", (char *)NULL);
		_exit(127);
	}
	close(fd[1]);
	while ((got = read(fd[0], out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(fd[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A file that only values keep nginx from: what stands behind `zone=` is not of the grammar. */
static bool is_of_values(const struct odd *o)
{
	return o->wrong != NULL && (strstr(o->wrong, "shared memory") != NULL ||
				    strstr(o->wrong, "variable name") != NULL);
}

static void test_odd_inputs(void **state)
{
	(void)state;
	for (int i = 0; i < ODDS; i++) {
		struct arena arena;
		const char *word;
		struct tree t;

		arena_init(&arena, NULL);
		tree_init(&t, &arena);
		write_file("nginx.conf", odds[i].text);
		word = our_word(&t, beside("nginx.conf"));
		if (odds[i].wrong == NULL || is_of_values(&odds[i])) {
			if (word != NULL)
				fail_msg("%s\nis refused: %s", odds[i].text, word);
		} else if (word == NULL || (strstr(word, odds[i].wrong) == NULL &&
					    strcmp(word, "unknown directive") != 0)) {
			fail_msg("%s\nsays %s, not %s", odds[i].text, word, odds[i].wrong);
		}
		arena_fini(&arena);
	}
}

static void test_nginx_agrees(void **state)
{
	static char says[65536];

	(void)state;
	if (access(NGINX, X_OK) != 0)
		skip();
	for (int i = 0; i < ODDS; i++) {
		int status;

		write_file("nginx.conf", odds[i].text);
		status = nginx_says(beside("nginx.conf"), says, sizeof(says));
		if ((status == 0) != (odds[i].wrong == NULL) ||
		    (odds[i].wrong != NULL && strstr(says, odds[i].wrong) == NULL))
			fail_msg("%s\nnginx says (%d): %s", odds[i].text, status, says);
	}
}

/* Where nginx and we point is the same line. */
static void test_same_line(void **state)
{
	static char says[65536];
	char *at;
	struct arena arena;
	struct tree t;

	(void)state;
	if (access(NGINX, X_OK) != 0)
		skip();
	arena_init(&arena, NULL);
	tree_init(&t, &arena);
	write_file("nginx.conf", "events {}\nhttp {\n  # one\n  sendfile\n\n  on off\n;\n}\n");
	assert_true(read_file(&t, beside("nginx.conf")));
	assert_false(table_check(&t, NULL));
	nginx_says(beside("nginx.conf"), says, sizeof(says));
	at = strstr(says, t.wrong);
	if (at == NULL)
		fail_msg("%s\nis not in %s", t.wrong, says);
	arena_fini(&arena);
}

/*----------------------------------------------------------------- our own */

struct fixture {
	struct arena arena;
	struct tree tree;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	arena_init(&f->arena, NULL);
	tree_init(&f->tree, &f->arena);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_fini(&f->arena);
	test_free(f);
	return 0;
}

static bool reads(struct fixture *f, const char *text)
{
	read_text(&f->tree, "nginx.conf", "", slice_str(text));
	return table_check(&f->tree, NULL);
}

static const struct directive *walk(const struct directive *d, const char *const *names)
{
	for (; *names != NULL && d != NULL; names++) {
		const struct directive *child = d->first;

		while (child != NULL && !directive_is(child, *names))
			child = child->next;
		d = child;
	}
	return d;
}

#define WALK(f, ...) walk(&(f)->tree.root, (const char *const[]){ __VA_ARGS__, NULL })

static void test_words(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	assert_true(
	    reads(f, "events {}\nhttp {\n log_format x 'a\\'b' \"c\\n\\d\"\n e\\ f ${g}h '';\n}"));
	d = WALK(f, "http", "log_format");
	assert_non_null(d);
	assert_int_equal(d->n, 7);
	assert_string_equal(d->word[2].p, "a'b");
	assert_string_equal(d->word[3].p, "c\n\\d");
	assert_string_equal(d->word[4].p, "e\\ f");
	assert_string_equal(d->word[5].p, "${g}h");
	assert_string_equal(d->word[6].p, "");
	assert_int_equal(d->line, 3);
	assert_int_equal(d->end_line, 4);
}

static void test_fragments(void **state)
{
	struct fixture *f = *state;

	assert_true(reads(f, "location / { proxy_pass http://a; }"));
	assert_non_null(WALK(f, "http", "server", "location", "proxy_pass"));
}

static void test_fragment_of_an_upstream(void **state)
{
	struct fixture *f = *state;

	assert_true(reads(f, "least_conn; server a:1 weight=2; server b:1;"));
	assert_non_null(WALK(f, "http", "upstream", "least_conn"));
}

static void test_fragment_of_http(void **state)
{
	struct fixture *f = *state;

	assert_true(reads(f, "upstream a { server b:1; }\nserver { listen 80; }"));
	assert_non_null(WALK(f, "http", "upstream", "server"));
}

static void test_dump(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	assert_true(reads(
	    f, "nginx: the configuration file /e/nginx.conf syntax is ok\n"
	       "# configuration file /e/nginx.conf:\nevents {}\nhttp {\n include c.d/*.conf;\n}\n\n"
	       "# configuration file /e/c.d/a.conf:\n# a\nserver {\n listen 81;\n}\n\n"));
	d = WALK(f, "http", "server", "listen");
	assert_non_null(d);
	assert_string_equal(d->file, "/e/c.d/a.conf");
	assert_int_equal(d->line, 3);
}

static void test_crossplane(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	assert_true(reads(
	    f,
	    "{\"status\":\"ok\",\"errors\":[],\"config\":[{\"file\":\"/e/nginx.conf\",\"parsed\":["
	    "{\"directive\":\"events\",\"line\":1,\"args\":[],\"block\":[]},"
	    "{\"directive\":\"http\",\"line\":2,\"args\":[],\"block\":["
	    "{\"directive\":\"include\",\"line\":3,\"args\":[\"a.conf\"],\"includes\":[1]}]}]},"
	    "{\"file\":\"/e/a.conf\",\"parsed\":[{\"directive\":\"server\",\"line\":1,\"args\":[],"
	    "\"block\":[{\"directive\":\"listen\",\"line\":7,\"args\":[\"80\"]}]}]}]}"));
	d = WALK(f, "http", "server", "listen");
	assert_non_null(d);
	assert_string_equal(d->file, "/e/a.conf");
	assert_int_equal(d->line, 7);
}

static void test_crossplane_that_includes_itself(void **state)
{
	struct fixture *f = *state;

	assert_false(reads(
	    f, "{\"config\":[{\"file\":\"a\",\"parsed\":["
	       "{\"directive\":\"include\",\"line\":3,\"args\":[\"a\"],\"includes\":[0]}]}]}"));
	assert_non_null(strstr(f->tree.wrong, "included by what it includes"));
}

static void test_cycle(void **state)
{
	struct fixture *f = *state;

	write_file("nginx.conf", "include nginx.conf;\n");
	assert_false(read_file(&f->tree, beside("nginx.conf")));
	assert_non_null(strstr(f->tree.wrong, "too deeply"));
}

static void test_includes(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	mkdir(beside("c.d"), 0700);
	write_file("c.d/a.conf", "server { listen 81; }\n");
	write_file("c.d/b.conf", "server { listen 82; }\n");
	write_file("nginx.conf", "events {}\nhttp { include c.d/*.conf; }\n");
	assert_true(read_file(&f->tree, beside("nginx.conf")) && table_check(&f->tree, NULL));
	d = WALK(f, "http", "server");
	assert_non_null(d);
	assert_string_equal(d->next->first->word[1].p, "82");
}

static void test_deep(void **state)
{
	struct fixture *f = *state;
	char text[8 * TREE_DEPTH_MAX + 64] = "";

	for (int i = 0; i <= TREE_DEPTH_MAX; i++)
		strcat(text, "a {");
	assert_false(read_text(&f->tree, "x", "", slice_str(text)));
	assert_non_null(strstr(f->tree.wrong, "nested too deeply"));
}

static void test_lua(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	assert_true(reads(f, "location / {\n access_by_lua_block {\n  local a = \"}\" -- }\n  if a "
			     "then b = { 1 } end\n }\n"
			     " proxy_pass http://a;\n}"));
	d = WALK(f, "http", "server", "location", "proxy_pass");
	assert_non_null(d);
	assert_int_equal(d->line, 6);
}

static void test_unknown_has_a_neighbour(void **state)
{
	struct fixture *f = *state;
	const struct directive *d;

	assert_true(reads(f, "location / { proxy_pas http://a; }"));
	d = WALK(f, "http", "server", "location", "proxy_pas");
	assert_non_null(d);
	assert_int_equal(d->verdict, UNKNOWN);
	assert_string_equal(d->why, "did you mean `proxy_pass`?");
}

static void test_versions(void **state)
{
	struct fixture *f = *state;

	assert_true(read_text(&f->tree, "x", "", slice_str("server { http2 on; }")));
	assert_true(table_check(&f->tree, "1.22.1"));
	assert_int_equal(WALK(f, "http", "server", "http2")->verdict, UNKNOWN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_odd_inputs),
		TEST(test_nginx_agrees),
		TEST(test_same_line),
		TEST(test_words),
		TEST(test_fragments),
		TEST(test_fragment_of_an_upstream),
		TEST(test_fragment_of_http),
		TEST(test_dump),
		TEST(test_crossplane),
		TEST(test_crossplane_that_includes_itself),
		TEST(test_cycle),
		TEST(test_includes),
		TEST(test_deep),
		TEST(test_lua),
		TEST(test_unknown_has_a_neighbour),
		TEST(test_versions),
	};

	if (mkdtemp(folder) == NULL)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
