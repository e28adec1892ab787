/* What becomes of lines: the YAML, the classes, the statuses; and twenty whole configurations. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/file.h"
#include "core/config.h"
#include "nginx-compat/import.h"

struct fixture {
	struct arena arena;
	struct import_result result;
};

static int setup(void **state)
{
	struct fixture *f = test_calloc(1, sizeof(*f));

	arena_init(&f->arena, NULL);
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

static void import(struct fixture *f, const char *text)
{
	import_text(&f->arena, "nginx.conf", slice_str(text), NULL, &f->result);
}

static bool yaml_has(const struct fixture *f, const char *text)
{
	return f->result.yaml.p != NULL && strstr(f->result.yaml.p, text) != NULL;
}

static char *report_of(struct fixture *f)
{
	struct buf b = { .arena = &f->arena };

	import_report_text(&f->result, &b);
	buf_putc(&b, '\0');
	return b.p;
}

#define LIMITED(zone, use)                                                \
	zone "\nserver { listen 80; server_name s.org; location / { " use \
	     " proxy_pass http://127.0.0.1:1; proxy_set_header Host $host; } }"
#define IP "limit_req_zone $binary_remote_addr zone=z:1m rate="

/* What stands in the result, or, with a `!` before it, does not; then what the report says. */
struct row {
	const char *text, *yaml, *report;
};

static const struct row limits[] = {
	{ LIMITED(IP "10r/s;", "limit_req zone=z;"),
	  "z: { rate: 10/s, burst: 1, key: client.ip/32/128, algorithm: leaky-bucket, charge: "
	  "arrival, status: 503 }",
	  " 0 lost" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z; location /x { limit_req zone=z burst=9; "
			       "proxy_pass http://127.0.0.1:1; }"),
	  "pool: z, status: 503 }", " 0 adapted" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z burst=5 nodelay;"), "rate: 10/s, burst: 6, key",
	  " 0 lost" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z burst=5;"), "burst: 1, wait: 500ms, queue: 5,",
	  " 0 lost" },
	{ LIMITED(IP "5r/s;", "limit_req zone=z burst=12 delay=8;"),
	  "burst: 9, wait: 800ms, queue: 4,", " 0 lost" },
	{ LIMITED(IP "5r/s;", "limit_req zone=z burst=12 delay=12;"), "burst: 13, key", " 0 lost" },
	{ LIMITED(IP "30r/m;", "limit_req zone=z;"), "rate: 30/m,", " 0 lost" },
	{ LIMITED(IP "10r/m;", "limit_req zone=z;"), "rate: 166/1000s,", " 0 lost" },
	{ LIMITED(IP "10r/m;", "limit_req zone=z burst=2;"), "burst: 1, wait: 12s49ms, queue: 2,",
	  " 0 lost" },
	{ LIMITED(IP "1r/m;", "limit_req zone=z burst=100;"), "!wait:",
	  "wait for more than an hour" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z; limit_req_status 429;"), "!status: ", " 0 lost" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z; limit_req_dry_run on;"), "shadow: true",
	  " 0 lost" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z; limit_req_dry_run off;"), "!shadow", " 0 lost" },
	{ LIMITED("limit_req_zone $http_x_key zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "key: header.x-key, missing: skip", " 0 lost" },
	{ LIMITED("limit_req_zone $arg_user zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "key: query.user, missing: skip", " 0 lost" },
	{ LIMITED("limit_req_zone $binary_remote_addr$uri zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "key: [client.ip/32/128, path]", " 0 lost" },
	{ LIMITED("limit_req_zone $binary_remote_addr$http_a zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "key: \"{client.ip}{header.a}\"", " 0 lost" },
	{ LIMITED("limit_req_zone $request_uri zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "key: value.key, missing: skip", " 0 lost" },
	{ LIMITED("limit_req_zone $no_such zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "!rate:", "no key like `$no_such`" },
	{ LIMITED("limit_req_zone $server_name zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "z-s.org: { rate: 1/s, burst: 1, algorithm: leaky-bucket", " 0 lost" },
	{ LIMITED("limit_req_zone all zone=z:1m rate=1r/s;", "limit_req zone=z;"),
	  "z: { rate: 1/s, burst: 1, algorithm: leaky-bucket", " 0 lost" },
	{ LIMITED("limit_req_zone $binary_remote_addr zone=z:20m rate=10r/s;", "limit_req zone=z;"),
	  "max_keys: 163840", " 0 lost" },
	{ LIMITED("limit_conn_zone $binary_remote_addr zone=z:1m;", "limit_conn z 3;"),
	  "z: { concurrency: 3, key: client.ip/32/128, status: 503 }", " 0 lost" },
	{ LIMITED("limit_conn_zone $server_name zone=z:1m;", "limit_conn z 3;"),
	  "z-s.org: { concurrency: 3 }", " 0 lost" },
	{ LIMITED("map $http_a $k { default $binary_remote_addr; x \"\"; } limit_req_zone $k "
		  "zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "k: { of: \"{header.a}\", caseless: true, map: [{ match: x, value: \"\" }], default: "
	  "\"{client.ip}\" }",
	  " 0 lost" },
	{ LIMITED("geo $k { default b; 1.2.3.4 x; proxy 1.1.1.1; } limit_req_zone $k zone=z:1m "
		  "rate=1r/s;",
		  "limit_req zone=z;"),
	  "forwarded: { trust: [1.1.1.1], nearest: true }", " 0 lost" },
	{ LIMITED("geo $k { default b; 1.2.3.x x; } limit_req_zone $k zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "!rate:", "is no network" },
	{ LIMITED("split_clients $binary_remote_addr $k { 10% a; * \"\"; } limit_req_zone $k "
		  "zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "!rate:", "use $remote_addr" },
	{ LIMITED("map $http_a $k { default $http_a; free \"\"; } limit_req_zone $k zone=z:1m "
		  "rate=1r/s;",
		  "limit_req zone=z;"),
	  "map: [{ match: free, value: \"\" }]", " 0 lost" },
	{ LIMITED("map $k $k { default $k; free \"\"; } limit_req_zone $k zone=z:1m rate=1r/s;",
		  "limit_req zone=z;"),
	  "!rate:", "lost: limit_req zone=z" },
	{ LIMITED("geo $g { default 0; 10.0.0.0/8 1; 10.1.0.0/16 0; } map $g $k { 0 \"\"; 1 "
		  "$binary_remote_addr; } limit_req_zone $k zone=z:1m rate=1r/s;",
		  "limit_req zone=z burst=3 nodelay;"),
	  "overrides: [{ match: 10.1.0.0/16, rate: unlimited }, { match: 10.0.0.0/8, rate: 1/s, "
	  "burst: 4 }, { match: 0.0.0.0/0, rate: unlimited }, { match: \"::/0\", rate: unlimited "
	  "}]",
	  " 0 lost" },
	{ LIMITED(IP "10r/x;", "limit_req zone=z;"), NULL,
	  "invalid rate \"rate=10r/x\" in nginx.conf:1" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z burst=x;"), NULL,
	  "invalid burst value \"burst=x\" in nginx.conf:2" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z blah;"), NULL,
	  "invalid parameter \"blah\" in nginx.conf:2" },
	{ LIMITED(IP "10r/s;", "limit_req zone=z; limit_req zone=z;"), NULL,
	  "\"limit_req\" directive is duplicate in nginx.conf:2" },
	{ LIMITED("", "limit_req zone=z;"), "!rate:", "not in this fragment" },
};

#define SERVER(lines) \
	"server { listen 80; server_name s.org; proxy_set_header Host $host; " lines " }"
#define PASS "proxy_pass http://127.0.0.1:1; "

static const struct row routes[] = {
	{ SERVER("location /x/ { " PASS "}"), "match: { path: /x/* }", " 0 lost" },
	{ SERVER("location /x { " PASS "}"), "match: { path: /x* }", " 0 lost" },
	{ SERVER("location = /x { " PASS "}"), "match: { path: /x }", " 0 lost" },
	{ SERVER("location =/x { " PASS "}"), "match: { path: /x }", " 0 lost" },
	{ SERVER("location '/a b%/' { " PASS "}"), "path: /a%20b%25/*", " 0 lost" },
	{ SERVER("location / { " PASS "auth_basic on; }"), NULL, "nothing is left to serve" },
	{ SERVER("location / { " PASS "} location /a/ { " PASS "auth_basic x; }"),
	  "path: /a/* } # nginx.conf:1\n    respond: 501", "lost: location /a/" },
	{ SERVER("auth_basic x; location / { " PASS "auth_basic off; }"), "to: 127.0.0.1-1",
	  "1 lost" },
	{ SERVER("location / { " PASS "allow all; }"), "to: 127.0.0.1-1", " 0 lost" },
	{ SERVER("deny 10.0.0.1; location / { " PASS "}"),
	  "when: { client.ip: [10.0.0.1] } } # nginx.conf:1\n    respond: { status: 403",
	  " 0 lost" },
	{ SERVER("location / { " PASS "allow 10.0.0.0/8; deny 10.1.0.0/16; allow ::1; deny all; }"),
	  "client.ip: [10.1.0.0/16] } } # nginx.conf:1\n    respond: { status: 403", " 0 lost" },
	{ SERVER("location / { " PASS "allow unix:; deny all; }"), NULL,
	  "only networks are known" },
	{ SERVER("deny 10.0.0.1; location / { " PASS "allow all; }"), "!status: 403", " 0 lost" },
	{ SERVER("return 403; location / { " PASS "}"), "    respond: 403 #", " 0 lost" },
	{ SERVER("return 444;"), "close: true", " 0 lost" },
	{ SERVER("return 301 https://$host$request_uri;"),
	  "respond: { status: 301, location: \"https://{host}{uri}\" }", " 0 lost" },
	{ SERVER("return https://$server_name$uri$is_args$args;"),
	  "status: 302, location: \"https://s.org{uri}\"", " 0 lost" },
	{ SERVER("return 200 '{\"a\":\"{b}\"}';"), "{{b}", " 0 lost" },
	{ SERVER("return 200 $ssl_client_s_dn;"), NULL, "lost: return" },
	{ SERVER("location / { if ($http_x) { return 403; } return 200 a; }"),
	  "when: { header.x: \"~ ^(?!0$$)\" } } # nginx.conf:1\n    respond: 403", " 0 lost" },
	{ SERVER("location / { if ($http_x = a) { return 403; } " PASS "}"),
	  "when: { header.x: a }", " 0 lost" },
	{ SERVER("location / { if ($http_x = \"\") { return 403; } " PASS "}"),
	  "when: { header.x: \"\" }", " 0 lost" },
	{ SERVER("location / { if ($http_x != \"a b\") { return 403; } " PASS "}"),
	  "when: { header.x: [\"\", \"~ ^(?!\\\\Qa b\\\\E$$)\"] }", " 0 lost" },
	{ SERVER("location / { if ($http_x ~* (a|b)) { return 403; } " PASS "}"),
	  "when: { header.x: \"~* (a|b)\" }", " 0 lost" },
	{ SERVER("location / { if ($request_method !~ ^(GET|HEAD)$ ) { return 405; } " PASS "}"),
	  "when: { method: [\"\", \"~ ^(?!.*(?:^(GET|HEAD)$$))\"] }", " 0 lost" },
	{ SERVER("location / { if ($remote_addr = 10.0.0.1) { return 444; } " PASS "}"),
	  "when: { client.ip: 10.0.0.1 }", " 0 lost" },
	{ SERVER("location / { if ($remote_addr ~ ^10) { return 403; } " PASS "}"), NULL,
	  "lost: if (" },
	{ SERVER("location / { if ($scheme = http) { return 301 https://$host$request_uri; } " PASS
		 "}"),
	  "when: { scheme: http }", " 0 lost" },
	{ SERVER("location / { if (-f $request_filename) { return 403; } " PASS "}"), NULL,
	  "lost: if (" },
	{ SERVER("location / { if ($http_x) { set $a 1; return 403; } " PASS "}"), NULL,
	  "lost: if (" },
	{ SERVER("rewrite ^ https://a.org permanent; location / { " PASS "}"),
	  "status: 301, location: \"https://a.org?{query}\"", " 0 lost" },
	{ SERVER("if ($http_x) { return 403; } location / { " PASS "}"), "respond: 403",
	  " 0 lost" },
	{ SERVER("if ($ssl_client_s_dn) { return 403; } location / { " PASS "}"), NULL,
	  "nothing is left" },
	{ SERVER("if ($ssl_client_s_dn) { return 301 /y; } location / { " PASS "}"),
	  "to: 127.0.0.1-1", "lost: if (" },
	{ SERVER("location / { " PASS "access_by_lua_block { ngx.exit(403) } }"), NULL,
	  "runs no scripts" },
	{ SERVER("location / { " PASS "limit_except GET { deny all; } }"), "methods: [GET, HEAD]",
	  " 0 lost" },
	{ SERVER("location / { " PASS "} location /i/ { internal; " PASS "}"), "respond: 404",
	  " 0 lost" },
	{ SERVER("location / { " PASS "} location /a/ { proxy_pass http://a/b/; }"),
	  "rewrite: { prefix: /b/ }", " 0 lost" },
	{ SERVER("location = /a { proxy_pass http://a/b; }"), "rewrite: { path: /b }", " 0 lost" },
	{ SERVER("location /a/ { proxy_pass http://a/b; }"),
	  "rewrite: { path: \"/b{match.rest}\" }", " 0 lost" },
	{ SERVER("location /a { proxy_pass http://a/b/; }"), "rewrite: { prefix: /b/ }",
	  "where nginx doubles a slash there is one" },
	{ SERVER("location /a/ { proxy_pass \"http://a/%20b/{c}/\"; }"),
	  "rewrite: { prefix: /%20b/%7Bc%7D/ }", " 0 lost" },
	{ SERVER("location /a/ { rewrite ^/a/(.*)$ /$1 break; proxy_pass http://a/b/; }"),
	  "rewrite: { pattern: \"~ ^/a/(.*)$$\", path: \"/{match.1}\" }", " 0 lost" },
	{ SERVER("location /a/ { rewrite ^/a/b(.*)$ /$1 break; proxy_pass http://a/b/; }"), NULL,
	  "where `rewrite` may find nothing, is not known" },
	{ SERVER("location /a/ { proxy_pass http://a; } location ~ ^/a { return 403; }"),
	  "  - match: { path: /a, when: { query: \"*\" } } # nginx.conf:1\n"
	  "    respond: { status: 301, location: \"{scheme}://{host}/a/?{query}\" } # "
	  "nginx.conf:1\n"
	  "  - match: { path: /a } # nginx.conf:1\n"
	  "    respond: { status: 301, location: \"{scheme}://{host}/a/\" } # nginx.conf:1\n"
	  "  - match: { path: \"~ ^/a\" }",
	  " 0 lost" },
	{ SERVER("location /a/ { proxy_pass http://a; } location /a { return 403; }"),
	  "!status: 301", " 0 lost" },
	{ SERVER("location /a/ { return 403; }"), "!status: 301", " 0 lost" },
	{ SERVER("location /a/ { " PASS "location ~* \\.x$ { deny all; } location ^~ /a/n/ { " PASS
		 "} } location /a/b/ { " PASS "} location ~ ^/a { return 404; }"),
	  "{ path: \"~* \\\\.x$$\", when: { path: \"~ ^(?!\\\\Q/a/n/\\\\E)(?!\\\\Q/a/b/\\\\E)"
	  "\\\\Q/a/\\\\E\" } } # nginx.conf:1\n    respond: { status: 403, tell: access forbidden "
	  "by rule }\n",
	  " 0 lost" },
	{ SERVER("location ~ \\.php$ { " PASS "location ~ ^/no { deny all; } }"),
	  "{ path: \"~ ^/no\", when: { path: \"~ \\\\.php$$\" } } # nginx.conf:1\n    respond: "
	  "{ status: 403",
	  " 0 lost" },
	{ SERVER("location / { " PASS "proxy_set_header A b; proxy_set_header a c; }"),
	  "      A: b # nginx.conf:1\n", "lost: proxy_set_header a c (the field is set once)" },
	{ SERVER("location = /a/ { " PASS "} location / { " PASS "}"),
	  "respond: { status: 301, location: \"{scheme}://{host}/a/\" }", " 0 lost" },
	{ SERVER("location = /a/ { " PASS "} location /a/ { " PASS "}"),
	  "respond: { status: 301, location: \"{scheme}://{host}/a/\" }", " 0 lost" },
	{ SERVER("location /a/ { rewrite ^/a/b /c break; if ($arg_x) { return 403; } " PASS "}"),
	  NULL, "lost: if (" },
	{ SERVER("location /a/ { rewrite ^/a/(.*)$ /$1 break; add_header A $uri; " PASS "}"),
	  "!{path}", "lost: add_header A $uri" },
	{ SERVER("location ^~ /a { " PASS "} location /a/b { " PASS "} location ~ x { " PASS "}"),
	  "{ path: /a*, when: { path: \"~ ^(?!\\\\Q/a/b\\\\E)\" } }", " 0 lost" },
	{ SERVER("location /a { " PASS "location ^~ /a/b { " PASS "} } location ~ x { " PASS "}"),
	  "path: \"~ x\" } # nginx.conf:1\n    to", " 0 lost" },
	{ SERVER("location ^~ /a/ { if ($uri ~ x) { return 403; } " PASS "} location /a/b { " PASS
		 "} location ~ y { deny all; }"),
	  "path: /a/b*",
	  "adapted: location /a/b (below a `^~`: regular expressions are not asked)" },
	{ SERVER("add_header X \"${host\"; location / { " PASS "}"), NULL,
	  "the closing bracket in \"host\" variable is missing" },
	{ SERVER("add_header X a$; location / { " PASS "}"), NULL, "invalid variable name" },
	{ SERVER("add_header A b c; location / { " PASS "}"), NULL, "invalid parameter \"c\"" },
	{ SERVER("return 1000; location / { " PASS "}"), NULL, "invalid return code \"1000\"" },
	{ SERVER("return /x; location / { " PASS "}"), NULL, "invalid return code \"/x\"" },
	{ SERVER("rewrite ^x /y foo; location / { " PASS "}"), NULL, "invalid parameter \"foo\"" },
	{ SERVER("error_page 200 /x; location / { " PASS "}"), NULL,
	  "value \"200\" must be between 300 and 599" },
	{ SERVER("if $host = a { return 403; } location / { " PASS "}"), NULL,
	  "invalid condition \"$host\"" },
	{ SERVER("limit_req_status 700; location / { " PASS "}"), NULL,
	  "value must be between 400 and 599" },
	{ SERVER("proxy_http_version 3; location / { " PASS "}"), NULL, "invalid value \"3\"" },
	{ SERVER("server_name ~(; location / { " PASS "}"), NULL, "pcre2_compile() failed: " },
	{ SERVER("listen 80; location / { " PASS "}"), NULL, "a duplicate listen 80" },
	{ SERVER("client_max_body_size 1; client_max_body_size 2; location / { " PASS "}"), NULL,
	  "\"client_max_body_size\" directive is duplicate" },
	{ "limit_req_zone $uri zone=a:1k rate=1r/s; " SERVER("location / { " PASS "}"), NULL,
	  "zone \"zone=a:1k\" is too small" },
	{ "limit_req_zone $uri zone=a:1m rate=0r/s; " SERVER("location / { " PASS "}"), NULL,
	  "invalid rate \"rate=0r/s\"" },
	{ "limit_req_zone $uri zone=a:1m rate=1r/s; limit_req_zone $host zone=a:1m "
	  "rate=1r/s; " SERVER("location / { " PASS "}"),
	  NULL, "limit_req_zone \"a\" is already bound to key \"$uri\"" },
	{ "map $host $x { a 1; A 2; } " SERVER("location / { " PASS "}"), NULL,
	  "conflicting parameter \"" },
	{ "map $host $x { default 1; default 2; } " SERVER("location / { " PASS "}"), NULL,
	  "duplicate default map parameter" },
	{ "upstream u { server a; } upstream u { server a; } " SERVER("location / { " PASS "}"),
	  NULL, "duplicate upstream \"u\"" },
	{ "server { listen 80 default_server; } server { listen 80 default_server; } " SERVER(
	      "location / { " PASS "}"),
	  NULL, "a duplicate default server for 80" },
	{ SERVER("location / { " PASS "add_header X \"a\nb\"; }"), "!a\n",
	  "no field holds the end of a line" },
	{ SERVER("location /a { " PASS "location /b { " PASS "} }"), NULL,
	  "location \"/b\" is outside location \"/a\" in nginx.conf:1" },
	{ SERVER("location = /a { " PASS "location /a/b { " PASS "} }"), NULL,
	  "location \"/a/b\" cannot be inside the exact location \"/a\" in nginx.conf:1" },
	{ SERVER("location / { " PASS "} location /i { internal; return 200 x; }"),
	  "path: /i*, from: route } # nginx.conf:1\n    respond: { status: 200, body: x",
	  " 0 lost" },
	{ SERVER("location / { " PASS "deny 10.0.0.1; add_header A b always; }"),
	  "respond: { status: 403, tell: access forbidden by rule }\n    response:\n      - { add: "
	  "{ A: b } }",
	  " 0 lost" },
	{ SERVER("location / { " PASS "proxy_set_header Host \"\"; }"),
	  "!host:", "is no host: the upstream sees the Host of the client" },
	{ SERVER("location / { " PASS "proxy_set_header Host $request_uri; }"),
	  "!host:", "is no host: the upstream sees the Host of the client" },
	{ "server { listen 80; location / { " PASS "} } server { listen 80; server_name \"\"; "
	  "return 444; }",
	  "path: /* }", "calls without a Host go to the default server" },
	{ SERVER("location / { proxy_pass http://a/?x=y; }"), NULL, "known only without a query" },
	{ SERVER("location /a/ { rewrite ^/a/(.*)$ /$1 break; proxy_pass http://a; }"),
	  "path: \"/{match.1}\"", " 0 lost" },
	{ SERVER("location /a/ { rewrite ^/a/(.*)$ /$1 last; proxy_pass http://a; }"),
	  "reroute: { path: \"/{match.1}\" }", " 0 lost" },
	{ SERVER("location / { " PASS "} location ~ \\.x$ { " PASS "}"), "path: \"~ \\\\.x$$\"",
	  " 0 lost" },
	{ SERVER("location / { " PASS
		 "add_header A b; add_header A c always; proxy_hide_header D; }"),
	  "      - { when: success, add: { A: b } } # nginx.conf:1\n      - { add: { A: c } }",
	  " 0 lost" },
	{ SERVER("location / { " PASS "add_header A $upstream_cache_status; }"),
	  "!A: ", "lost: add_header" },
	{ SERVER("location /a/ { proxy_pass http://a/a/; }"), "rewrite: { prefix: /a/ }",
	  " 0 lost" },
	{ SERVER("location / { proxy_pass http://$x; }"), NULL, "not known beforehand" },
	{ SERVER("set $x a:1; location / { proxy_pass http://$x; }"), "- a:1", " 0 lost" },
	{ SERVER("location / { proxy_pass ftp://x; }"), NULL,
	  "invalid URL prefix in nginx.conf:1" },
	{ SERVER("location / { " PASS "} location / { " PASS "}"), NULL,
	  "duplicate location \"/\" in nginx.conf:1" },
	{ SERVER("location / { try_files $uri @a; } location @a { " PASS "}"), "to: 127.0.0.1-1",
	  "all calls go to @a" },
	{ SERVER("root /w; location / { try_files $uri @a; } location @a { " PASS "}"),
	  "otherwise: next", " 0 lost" },
	{ SERVER("root /w; location / { try_files $uri $uri/ =404; }"),
	  "try: [\"{path}\", \"{path}/\"], otherwise: \"404\"", " 0 lost" },
	{ SERVER("root /w; location / { try_files $uri /index.html; }"), "otherwise: /index.html",
	  " 0 lost" },
	{ SERVER("root /w; location / { try_files $uri /x.php?$args; } location ~ php$ { " PASS
		 "}"),
	  "reroute: { path: /x.php }", " 0 lost" },
	{ SERVER("root /w; location / { try_files $uri /a; } location = /a { return 403; }"),
	  "reroute: { path: /a, query: \"\" }", " 0 lost" },
	{ SERVER("root /w; location / { deny all; try_files $uri /a; } location = /a { " PASS "}"),
	  "respond: 501", "lost: try_files" },
	{ SERVER("root /w; index a.php a.html; location / { } location ~ php$ { " PASS "}"),
	  "index: [a.html]", "`a.php` is for another location" },
	{ SERVER("root /w; location / { } location = /index.html { " PASS "}"), "index: [\".\"]",
	  "not needed" },
	{ SERVER("gzip on; root /w; location / { }"), "files: /w", "lost: gzip on" },
	{ SERVER("root /w; location / { } location /s { stub_status; }"), "respond: 501",
	  "lost: location /s" },
	{ SERVER("location /x/ { alias /a/b/; }"), "files: /a/b,", " 0 lost" },
	{ SERVER("location /x/ { alias /a/b/; }"), "rewrite: { prefix: / }", " 0 lost" },
	{ SERVER("location /x { alias /a/b; }"), "rewrite: { prefix: /b }", " 0 lost" },
	{ SERVER("location / { " PASS "} location /x/ { alias /a/b; }"), "respond: 501",
	  "lost: alias /a/b" },
	{ SERVER("location = /x.txt { alias /a/b; types { text/x txt; } }"),
	  "file: /a/b, content_type: text/x", " 0 lost" },
	{ SERVER("location ~ ^/u/(.+)$ { alias /h/$1/p; }"), "path: \"/{match.1}/p\"", " 0 lost" },
	{ SERVER("location / { root /srv/$host/www; }"), "path: \"/{host}/www{path}\"", " 0 lost" },
	{ SERVER("location /x { " PASS "} location / { root /srv/$unknown; }"), "respond: 501",
	  "lost: root" },
	{ SERVER("root /w; types { } default_type a/b; location / { }"), "types: { html: a/b }",
	  " 0 lost" },
	{ SERVER("location / { " PASS "client_max_body_size 0; }"), "max_body: 1TiB", " 0 lost" },
	{ SERVER("location / { " PASS "client_max_body_size x; }"), NULL,
	  "\"client_max_body_size\" directive invalid value in nginx.conf:1" },
	{ SERVER("location / { " PASS "proxy_read_timeout 1h30m; }"), "idle: 1h30m", " 0 lost" },
	{ SERVER("location / { " PASS "proxy_read_timeout 500ms; }"), "idle: 500ms", " 0 lost" },
	{ "server { listen 80; location / { proxy_set_header X-A b; proxy_set_header Host "
	  "$host; " PASS "} }",
	  "      X-A: b", " 0 lost" },
	{ "server { listen 80; location / { " PASS "} }", "    host: 127.0.0.1:1", " 0 lost" },
	{ "server { listen 80; location / { proxy_set_header Host $host; " PASS "} }",
	  "    host: \"{host}\"", " 0 lost" },
	{ "server { listen 80; location / { proxy_set_header Host $http_host; " PASS "} }",
	  "!host:", " 0 lost" },
	{ "server { listen 80; location / { proxy_set_header A \"\"; " PASS "} }", "      A: \"\"",
	  " 0 lost" },
	{ SERVER("location / { proxy_pass https://a; }"), "accept: [W111]", " 0 lost" },
	{ "upstream u { server a; server b backup; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "retry: 1, when: [connect, cut, timeout]", " 0 lost" },
	{ "upstream u { server a; server b; } " SERVER(
	      "location / { proxy_pass http://u; proxy_next_upstream error; }"),
	  "retry: 1, when: [refused, cut]", " 0 lost" },
	{ "server { listen 80; add_header A $realip_remote_addr; location / { " PASS "} }", "{peer.ip}",
	  " 0 lost" },
	{ "server { listen 80 proxy_protocol; location / { add_header A $realip_remote_addr; " PASS
	  "} }",
	  "!{peer.ip}", "add_header" },
	{ "upstream u { server a; } " SERVER("location / { proxy_pass http://u; }"), "!retry",
	  " 0 lost" },
	{ "upstream u { server a; server b; } " SERVER(
	      "location / { proxy_pass http://u; proxy_next_upstream off; }"),
	  "retry: 0", " 0 lost" },
	{ "upstream u { server a max_fails=0; server b max_fails=0; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "!eject_after", " 0 lost" },
	{ "upstream u { server a max_fails=3 fail_timeout=5 max_conns=7; server b down; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "{ addr: a:80, max_calls: 7, eject_after: 3, eject_for: 5s }", " 0 lost" },
	{ "upstream u { hash $arg_k$uri; server a; server b down; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "lb: crc32-hash", " 0 lost, 0 unknown" },
	{ "upstream u { hash $args consistent; server a; server b:80; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "eject_for: 10s, hash_as: a }", " 0 lost" },
	{ "upstream u { ip_hash; server a; server b; } " SERVER(
	      "location / { proxy_pass http://u; }"),
	  "lb: address-hash", " 0 adapted, " },
	{ SERVER("location / { proxy_set_header X-F $proxy_add_x_forwarded_for; " PASS "}"),
	  "X-F: \"{forwarded_for}\"", " 0 adapted, " },
	{ SERVER("location / { proxy_set_header X-P $proxy_host:$proxy_port; " PASS "}"),
	  "X-P: 127.0.0.1:1:1", " 0 adapted, " },
	{ "upstream u { server a; server a; } " SERVER("location / { proxy_pass http://u; }"),
	  "weight: 2", " 0 lost" },
	{ "upstream u { server a wight=2; } " SERVER("location / { proxy_pass http://u; }"), NULL,
	  "invalid parameter \"wight=2\" in nginx.conf:1" },
	{ "server { listen 80; server_name a.org; location / { " PASS
	  "} } server { listen 81; server_name b.org; location / { " PASS "} }",
	  "when: { server.port: \"81\" }", " 0 lost" },
	{ "server { listen 127.0.0.1:80; location / { " PASS
	  "} } server { listen 127.0.0.2:80; location / { " PASS "} }",
	  "!127.0.0.2", "lost: listen 127.0.0.2:80" },
	{ "server { listen 80; server_name ~^a; location / { proxy_pass http://a; } } server { "
	  "listen 80; server_name m.*; location / { proxy_pass http://b; } } server { listen 80 "
	  "default_server; location / { proxy_pass http://c; } }",
	  "http://b/\", with: \"{match.1}/\" } } } # nginx.conf:1\n"
	  "  - match: { hosts: [\"~ ^a\"] }",
	  " 0 lost" },
	{ "server { listen 80; server_name a.org; location / { " PASS
	  "} } server { listen 80; server_name *.b.org; location / { " PASS "} } "
	  "server { listen 80; server_name x.b.org; location / { proxy_pass http://c; } }",
	  "hosts: [x.b.org] } # nginx.conf:1\n    to: c", " 0 lost" },
	{ SERVER("location / { " PASS "} listen [::]:80;"), "addr: \":80\"", " 0 lost" },
	{ SERVER("location / { " PASS "} listen 81 quic;"), "0.0.0.0:80", "lost: listen 81 quic" },
	{ SERVER("location / { " PASS "} listen 81 blah;"), NULL,
	  "invalid parameter \"blah\" in nginx.conf:1" },
	{ SERVER("location / { " PASS "} grpc_pas x;"), "to: 127.0.0.1-1",
	  "unknown: grpc_pas x (did you mean `grpc_pass`?)" },
	{ SERVER("location / { " PASS "auth_ldap x; }"), NULL, "unknown: auth_ldap x" },
	{ SERVER("location / { " PASS "auth_ldap off; }"), "to: 127.0.0.1-1",
	  "unknown: auth_ldap off" },
	{ SERVER("location / { " PASS "}")
	      SERVER("server_name t.org; set_real_ip_from 10.0.0.0/8; location / { " PASS "}"),
	  "!client_ip", "adapted: set_real_ip_from 10.0.0.0/8 (one for all servers" },
	{ SERVER("set_real_ip_from 10.0.0.0/8; location / { " PASS "real_ip_header X-A; }"),
	  "header: x-real-ip", "lost: real_ip_header X-A (one for all locations" },
	{ SERVER("listen 82 ssl; ssl_certificate /a; ssl_certificate_key /b; location / { " PASS
		 "}") SERVER("listen 83 ssl; ssl_certificate /c; ssl_certificate_key /d; "
			     "location / { " PASS "}"),
	  "0.0.0.0:83 # nginx.conf:1\n    http2: false\n    field_names: plain\n    tls:\n        "
	  "- { cert: /c, key: /d }",
	  " 0 lost" },
	{ "upstream u { server a; } " SERVER("proxy_ssl_session_reuse off; location / { "
					     "proxy_ssl_server_name on; proxy_pass https://u; }"),
	  "server_name: u, resume: false", " 0 adapted, " },
	{ "pid a.pid; http { " SERVER("location / { " PASS "}") " }", "!pid_file",
	  "adapted: pid a.pid" },
	{ "http { } http { }", NULL, "\"http\" directive is duplicate in nginx.conf:1" },
	{ "", NULL, "nothing is left to serve" },
	{ "events { }", NULL, "nothing is left to serve" },
};

static void check_rows(struct fixture *f, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		const char *report;
		bool ok;

		import(f, r->text);
		report = report_of(f);
		if (r->yaml == NULL)
			ok = f->result.yaml.p == NULL;
		else if (r->yaml[0] == '!')
			ok = f->result.yaml.p != NULL && !yaml_has(f, r->yaml + 1);
		else
			ok = yaml_has(f, r->yaml);
		if (!ok || strstr(report, r->report) == NULL)
			fail_msg("%s\nbecomes\n%s\n%s", r->text,
				 f->result.yaml.p == NULL ? "nothing" : f->result.yaml.p, report);
	}
}

static void test_limits(void **state)
{
	check_rows(*state, limits, sizeof(limits) / sizeof(limits[0]));
}

static void test_routes(void **state)
{
	check_rows(*state, routes, sizeof(routes) / sizeof(routes[0]));
}

/*------------------------------------------------------------------- whole */

static const char folder[] = TESTS_DIR "/unit/nginx/configs/";

/* YAML and report as NAME.out has them; without the folder, which is another one elsewhere. */
static char *whole_of(struct fixture *f)
{
	struct buf b = { .arena = &f->arena }, out = { .arena = &f->arena };

	import_report_text(&f->result, &b);
	buf_printf(&b, "\n%s", f->result.yaml.p == NULL ? "" : f->result.yaml.p);
	buf_putc(&b, '\0');
	for (const char *p = b.p; *p != '\0';) {
		if (strncmp(p, folder, sizeof(folder) - 1) == 0)
			p += sizeof(folder) - 1;
		else
			buf_putc(&out, *p++);
	}
	buf_putc(&out, '\0');
	return out.p;
}

static void compare(struct fixture *f, const char *path, const char *got)
{
	const char *why;
	struct slice want = { 0 };
	FILE *out;

	if (getenv("UPDATE_EXPECTED") != NULL) {
		out = fopen(path, "w");
		assert_non_null(out);
		fputs(got, out);
		fclose(out);
	}
	if (!file_read(path, FILE_REGULAR, 1 << 20, &f->arena, &want, NULL, &why) ||
	    !slice_is(want, got))
		fail_msg("%s: expected\n%.*s\nbut it is\n%s", path, SLICE_FMT(want), got);
}

static void check_strict(struct fixture *f, const char *path)
{
	struct diags diags;

	diags_init(&diags, &f->arena);
	if (config_load_text("weir.yaml", f->result.yaml, &f->arena, &diags) == NULL ||
	    diags.warnings > 0)
		fail_msg("%s: the result has %u errors and %u warnings", path, diags.errors,
			 diags.warnings);
}

static void check_whole(struct fixture *f, const char *name)
{
	const char *path = arena_printf(&f->arena, "%s%s", folder, name);

	import_file(&f->arena, path, NULL, &f->result);
	if (f->result.wrong != NULL || f->result.yaml.p == NULL || f->result.count[UNKNOWN] > 0)
		fail_msg("%s: %s", name, report_of(f));
	check_strict(f, path);
	compare(f, arena_printf(&f->arena, "%.*s.out", (int)(strlen(path) - 5), path), whole_of(f));
}

static void test_whole_configurations(void **state)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL) {
		size_t length = strlen(e->d_name);

		if (length < 6 || strcmp(e->d_name + length - 5, ".conf") != 0 ||
		    e->d_name[0] > '9')
			continue;
		check_whole(*state, e->d_name);
		n++;
	}
	closedir(d);
	assert_true(n >= 20);
}

static void test_json(void **state)
{
	struct fixture *f = *state;
	struct buf b = { .arena = &f->arena };

	import(f, SERVER("location / { " PASS "proxy_cache \"a\\\"b\"; }"));
	import_report_json(&f->result, &b);
	buf_putc(&b, '\0');
	assert_non_null(strstr(b.p, "{\"file\": \"nginx.conf\", \"line\": 1, \"directive\": "
				    "\"proxy_cache\", \"args\": [\"a\\\"b\"], "
				    "\"class\": \"lost\", \"why\": \"Weir caches nothing\"}"));
	assert_non_null(strstr(b.p, "\"error\": null"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_limits),
		TEST(test_routes),
		TEST(test_whole_configurations),
		TEST(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
