/* internal.h - what the translators share.
 *
 *   block.c     what holds for a block: its own directives, and those it inherits
 *   verdict.c   what becomes of a directive
 *   value.c     times and sizes as nginx writes them
 *   text.c      names, places, lines of YAML
 *   site.c      servers, what they listen on, what they are called; which of them can be had together
 *   form.c      how a location says which paths it takes
 *   location.c  the locations of a server, in the order in which Weir asks routes
 *   variable.c  what $x is: a text, a condition, a constant
 *   lookup.c    map, geo and split_clients as values
 *   set.c       set, by itself and in an `if`
 *   choice.c    a proxy_pass that goes by a variable
 *   exempt.c    map and geo: keys that are empty for some
 *   key.c       what a key of limits is
 *   limit.c     limit_req and limit_conn
 *   cluster.c   upstream, proxy_next_upstream, proxy_ssl_*
 *   static.c    root, alias, index, try_files, types
 *   request.c   proxy_method, proxy_set_body, proxy_pass_request_*
 *   field.c     proxy_set_header
 *   when.c      `if` as a condition of a route
 *   answer.c    return, add_header, proxy_hide_header, expires
 *   error.c     error_page, and the pages that nginx has of its own
 *   rewrite.c   rewrites that send a call elsewhere
 *   redirect.c  what redirects and cookies say: proxy_redirect, proxy_cookie_*
 *   route.c     a location becomes routes
 *   closed.c    what keeps a location from being let in
 *   log.c       access_log, log_format, error_log
 *   top.c       listeners, TLS, limits
 *   import.c    all of it in order
 *
 * Calls go one way: variable.c is below set.c and lookup.c, error.c below route.c.  What those below ask of those above goes
 * by `above` of the import. */
#ifndef NGINX_COMPAT_INTERNAL_H
#define NGINX_COMPAT_INTERNAL_H

#include "base/buf.h"
#include "core/template.h"
#include "nginx-compat/tree.h"

/* A policy or an upstream that was written: by what it says, so that the same is written once. */
struct made {
	const char *wanted, *body, *name;
	struct made *next;
};

struct site;
struct import;
struct import_start;

enum { SET_CHOICES_MAX = 16 };

/* What those below ask of those above: what variables are that `set`, map, geo and split_clients make, and the route that a
 * named location becomes.  Said where it is made. */
struct import_above {
	bool (*made_by_set)(struct import *, const struct site *, const struct directive *block,
			    struct slice variable, const char **text);
	uint32_t (*choices)(struct import *, const struct directive *block, struct slice variable,
			    const char *may[SET_CHOICES_MAX]);
	const char *(*made_by_lookup)(struct import *, const struct site *, struct slice variable);
	const char *(*named_route)(struct import *, const struct site *, const char *name);
};

struct import {
	struct arena *arena;
	struct tree *tree;
	const struct import_above *above;
	const char *folder;               /* of the main file, with its slash; cut off names */
	const char *prefix;               /* of nginx, with its slash; NULL: not known */
	bool serve;                       /* it is to be started at once, as nginx would be */
	const struct import_start *start; /* how; NULL: it is not */
	struct directive *http;           /* NULL: there is none */
	bool fragment;
	struct buf top, values, upstreams, policies, routes;
	struct made *value, *policy, *upstream, *log, *named;
	struct buf logs, events; /* of text */
	const char *log_default; /* what the first server logs to; NULL: nobody has asked */
	bool logs_json;          /* somewhere the access log is Weir's own */
	bool serves_files;       /* some location does */
	bool unverified;         /* an upstream is not verified */
	unsigned lookups, sets;  /* under way */
	unsigned walking,
	    walks; /* of set.c: under way, and for the question that was asked first */
	const struct directive *before; /* the line of `set` that is read; NULL: none */
	unsigned n_routes;              /* that lead somewhere */
	uint32_t n_sites;
	struct site *site;
	const struct site *first; /* whose settings hold where Weir has one for all */
	const char *when; /* what tells the listeners at hand from others; NULL: nothing has to */
};

/*------------------------------------------------------------------ block.c */

/* A directive of the block itself; NULL: none. */
struct directive *block_own(const struct directive *block, const char *name);
/* Of the block, or else of the nearest around it that has one. */
struct directive *block_find(const struct directive *block, const char *name);
/* The next one of the same name in the same block. */
struct directive *block_next(const struct directive *);
/* block_find's first argument, or the text given. */
const char *block_word(const struct directive *block, const char *name, const char *dflt);
bool block_is_on(const struct directive *block, const char *name, bool dflt);

/*---------------------------------------------------------------- verdict.c */

/* The worst that was said of a directive stays.  `fmt` NULL: nothing is to be added. */
void judge(struct import *, struct directive *, enum fate, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What nobody spoke of. */
void judge_rest(struct import *);
/* Something inside a block that is lost: said of the block. */
bool is_inside_lost(const struct directive *);

/*------------------------------------------------------------------ value.c */

/* "1h30m" "500ms" "60"; false: it is none. */
bool value_time(struct slice, uint64_t *ns);
/* "8k" "1m" "1g" "0" */
bool value_size(struct slice, uint64_t *bytes);
bool value_number(struct slice, uint64_t max, uint64_t *out);
/* The time or size that holds for a block; false: there is none, or it cannot be read, which is an error. */
bool block_time(struct import *, const struct directive *block, const char *name, uint64_t *ns);
bool block_size(struct import *, const struct directive *block, const char *name, uint64_t *bytes);
/* A time that Weir takes: at least 1ms, at most `most_ns`. */
uint64_t time_within(struct import *, struct directive *, uint64_t ns, uint64_t most_ns);
/* "60s", "1MiB" in the arena. */
const char *time_text(struct import *, uint64_t ns);
const char *size_text(struct import *, uint64_t bytes);

/*------------------------------------------------------------------- text.c */

/* "conf.d/a.conf" */
const char *text_file(const struct import *, const char *file);
/* " # nginx.conf:22" and a line end; without a line of its own, the line end alone. */
void text_end(struct import *, struct buf *, const struct directive *);
/* A file that nginx would look for in the folder of its main file, as YAML. */
const char *text_path(struct import *, const char *);
/* A file that nginx would look for under its prefix: logs, pages. */
const char *text_prefixed(struct import *, const char *);
/* As a regular expression that finds it and nothing else. */
const char *text_quoted(struct import *, const char *);
/* A string as YAML. */
const char *text_yaml(struct import *, const char *);
const char *text_printf(struct import *, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A buffer in the arena, as text. */
const char *text_buf(struct import *, struct buf *);
/* The name of what says `body`: that of one that was made, or a new one like `wanted`.  *is_new: it is to be written. */
const char *text_made(struct import *, struct made **, const char *wanted, const char *body,
		      bool *is_new);
/* The name of a value of this body, which is written. */
const char *text_value(struct import *, const char *wanted, const char *body,
		       const struct directive *at);

/*------------------------------------------------------------------- site.c */

enum { LISTEN_TEXT_MAX = 160 };

struct listener {
	char addr[LISTEN_TEXT_MAX]; /* "0.0.0.0:80" "[::]:80" "unix:/x" */
	struct directive *at;
	bool is_default, ssl, http2, proxy_protocol;
	bool chosen;      /* it is written */
	uint64_t backlog; /* 0: not given */
};

enum { SITE_LISTENERS_MAX = 16, SITE_NAMES_MAX = 64 };

struct site {
	struct directive *at; /* the server */
	uint32_t n_listeners, n_names;
	struct listener listener[SITE_LISTENERS_MAX];
	const char *name[SITE_NAMES_MAX]; /* lower case: exact, or "*.x" */
	const char *first_name;           /* $server_name; "" when there is none */
	bool chosen;                      /* one of its listeners is written */
	bool in_group;                    /* of the listeners at hand */
};

void sites_read(struct import *);
/* For each site, in the order of routes: `hosts` is what stands behind `hosts:`, NULL: any. */
void sites_each(struct import *, void (*)(struct import *, const struct site *, const char *hosts));
/* Whether it serves what comes in there. */
bool site_listens(const struct site *, const char *addr);

/*------------------------------------------------------------------- form.c */

enum spot_kind { SPOT_EXACT, SPOT_PREFIX, SPOT_REGEX };

struct form {
	const char *sign;
	bool spot; /* else it is no path */
	enum spot_kind kind;
};

/* Of a location; *path: what stands behind the sign. */
const struct form *form_of(const struct directive *, struct slice *path);
bool form_is_regex(const struct directive *);
/* Whether the regular expression of a location has this group: "1", or a name. */
bool form_has_group(const struct directive *block, struct slice name);

/*--------------------------------------------------------------- location.c */

struct spot {
	enum spot_kind kind;
	struct slice path;   /* decoded, as nginx has it; or the regular expression */
	bool caseless, stop; /* ~* and ^~ */
	bool before;         /* the server's regular expressions are not asked */
	bool slash; /* of one that passes calls on: its path without the slash at its end */
	uint32_t order;
	struct directive *at; /* the location, or the server */
	/* Of a regular expression inside a location: that, and what else the path has to meet. */
	const struct directive *outer;
	struct slice around; /* n 0: it is a regular expression, too */
	const char *also;    /* NULL: nothing */
};

/* In order; a last one that takes all that is left. */
struct spot *locations_read(struct import *, const struct site *, uint32_t *n);
/* "@name" of a server; NULL: there is none. */
struct directive *location_named(const struct site *, const char *name);
/* The path of a route: "/x", percent-encoded. */
const char *location_path(struct import *, struct slice decoded);

/*--------------------------------------------------------------- variable.c */

/* With `set` put in its place; NULL: it holds something that is not known beforehand. */
const char *variable_expand(struct import *, const struct directive *block, const char *text);
/* The first one that may be more than one text; p NULL: there is none. */
struct slice variable_open(struct import *, const struct directive *block, const char *text);
/* With a text in its place. */
const char *variable_put(struct import *, const char *text, struct slice variable,
			 const char *with);
/* As conditions have it, "header.x"; NULL: there is no such value. */
const char *variable_name(struct import *, const struct directive *block, struct slice variable);
/* With values of the call: "https://$host$request_uri" as "https://{host}{uri}".  `groups`: $1 is {match.1}.  NULL: it holds
 * something that Weir cannot say. */
const char *variable_phrase(struct import *, const struct site *, const struct directive *block,
			    const char *text, bool groups);
/* The same of a text that is filled later. */
const char *variable_phrase_then(struct import *, const struct site *,
				 const struct directive *block, const char *text, bool groups,
				 enum template_time);
/* The name behind a `$` that is all the text; p NULL: it is something else. */
struct slice variable_alone(const char *text);

/* Takes a literal or a variable off; *variable: the name, or p NULL. */
struct slice variable_take(struct slice *, struct slice *variable);
/* Text that says the same in a phrase, whatever braces it has. */
void variable_literal(struct slice, struct buf *);

/*----------------------------------------------------------------- lookup.c */

/* The map, geo or split_clients that makes a variable; NULL: there is none. */
struct directive *lookup_block(const struct import *, const char *kind, struct slice variable);
/* The value that is what such a variable is, written; NULL: there is none, or it cannot be said, which was judged. */
const char *lookup_name(struct import *, const struct site *, struct slice variable);
/* The same of a text; NULL: it holds something that Weir cannot say. */
const char *lookup_text(struct import *, const struct site *, const char *wanted, const char *text,
			const struct directive *at);

/*-------------------------------------------------------------------- set.c */

/* Whether the variable is made by `set` where the block is; *text NULL: what it is cannot be said. */
bool set_phrase(struct import *, const struct site *, const struct directive *block,
		struct slice variable, const char **text);
/* All that it may be, as nginx has it; 0: that is not known beforehand. */
uint32_t set_choices(struct import *, const struct directive *block, struct slice variable,
		     const char *may[SET_CHOICES_MAX]);
/* Of a variable that is the call's own, so that what goes upstream would be another. */
bool set_is_of_call(const struct directive *);
/* Behind all else: nobody has asked for the others. */
void sets_judge(struct import *, const struct directive *block);
/* An `if` that does nothing else. */
bool set_alone(const struct directive *);

/*----------------------------------------------------------------- exempt.c */

/* A key made by map of a geo: where it is empty for some networks. */
struct exempt {
	struct directive *map, *geo;
	const char *key;       /* of all others, as nginx has it */
	const char *overrides; /* NULL: none */
};

/* False: the variable is not made so, or the others have different ones. */
bool exempt_read(struct import *, struct slice variable, struct exempt *);
/* It is said so. */
void exempt_judge(struct import *, const struct exempt *);

/*-------------------------------------------------------------------- key.c */

/* In overrides: what stands for no limit, and for the limit of the policy. */
enum { KEY_UNLIMITED = 1, KEY_LIMITED };

/* What a key of limits is. */
struct key {
	const char *why;       /* not NULL: it cannot be had, and why */
	bool nothing;          /* it is always empty: nothing is counted */
	const char *yaml;      /* NULL: one for all */
	bool may_miss;         /* calls without it are not counted */
	bool per_site;         /* another one for each $server_name */
	const char *overrides; /* lists of networks or values that are exempt; NULL: none */
};

void key_read(struct import *, const struct site *, const char *text, struct key *);
/*------------------------------------------------------------------ limit.c */

/* The names of the policies of a block, as `a, b`, into `use`. */
void limits_write(struct import *, const struct site *, const struct directive *block,
		  struct buf *use);

/*---------------------------------------------------------------- cluster.c */

struct target {
	const char *name;       /* of the upstream */
	const char *use;        /* policies, as ", a, b"; "" */
	const char *host;       /* the address as proxy_pass has it */
	const char *proxy_host; /* what nginx would send as Host */
	const char *uri;        /* behind the address; "" when there is none */
	const char *rewrite;    /* what stands in `rewrite:` of the route; "" */
	const char *method;     /* in place of the call's; NULL: its own */
	const char *sent;       /* what else the route says of what is sent, lines; "" */
	bool tls;
};

/* NULL, or why it cannot be had; `url`: what proxy_pass says, NULL: that is not known beforehand; `spot`: whose path the
 * URI takes the place of. */
const char *cluster_write(struct import *, const struct site *, const struct directive *block,
			  struct directive *pass, const char *url, const struct spot *,
			  struct target *);

/*----------------------------------------------------------------- choice.c */

enum { CHOICES_MAX = 16 };

/* A proxy_pass whose variable may be one of a few texts. */
struct choices {
	uint32_t n;
	const char *url[CHOICES_MAX];
	const char *when[CHOICES_MAX]; /* a condition of the route */
};

/* False: there are none, or they are not known beforehand. */
bool choices_read(struct import *, const struct directive *block, const char *text,
		  struct choices *);

/*---------------------------------------------------------------- request.c */

/* `method` and `sent` of the target.  NULL, or why they cannot be had. */
const char *request_read(struct import *, const struct site *, const struct directive *block,
			 struct target *);
/* Whether the upstream gets a body. */
bool request_has_body(const struct directive *block);

/*----------------------------------------------------------------- static.c */

/* What answers for files that are not there. */
struct elsewhere {
	struct directive *named; /* a location of calls for which there is no file; NULL: none */
	const struct spot *spot; /* the same, with another path */
	const char *path;
	bool query;            /* it keeps the query */
	const char *otherwise; /* "404", "/index.html", "next"; NULL: as it is */
};

/* Whether a location that neither passes calls on nor answers them serves files. */
bool static_serves(struct import *, const struct directive *block);
/* `respond:` and `rewrite:` of it.  NULL, or why it cannot be had. */
const char *static_write(struct import *, const struct site *, const struct spot *all, uint32_t n,
			 const struct spot *, struct elsewhere *, struct buf *out);
/* `types:` of all, if any were needed. */
void static_types(struct import *);

/*------------------------------------------------------------------ field.c */

/* `host:`, `set:` and `upgrade:` of a route. */
void fields_write(struct import *, const struct site *, const struct directive *block,
		  const struct target *, struct buf *out);

/*----------------------------------------------------------------- answer.c */

/* `respond:` of a `return`; false: it cannot be said, and nothing was written. */
bool answer_write(struct import *, const struct site *, const struct directive *block,
		  struct directive *, struct buf *out);
/* Whether answer_write could. */
bool answer_known(struct import *, const struct directive *block, const struct directive *);
/* What has an upstream behind it. */
struct proxied {
	const struct directive *pass;
	const struct spot *spot;
	const struct target *target;
};

/* `response:` of a route; NULL: there is no upstream. */
void answer_fields(struct import *, const struct site *, const struct directive *block,
		   const struct proxied *, struct buf *out);

/*------------------------------------------------------------------ error.c */

/* `errors:` of all routes. */
void errors_write_default(struct buf *);
/* Of one; "": it has none.  `proxied`: an upstream's errors may be meant, too. */
const char *errors_text(struct import *, const struct site *, const struct directive *block,
			bool proxied);

/*--------------------------------------------------------------- redirect.c */

/* What nginx puts before the path of a redirect: "{scheme}://{host}:8080"; "": nothing, NULL: it differs by listener. */
const char *redirect_origin(struct import *, const struct site *, const struct directive *block);
/* A Location as nginx would tell it; *same: it is for every call. */
const char *redirect_absolute(struct import *, const struct site *, const struct directive *block,
			      const char *text, bool *same);
/* Items of `response:`. */
void redirects_write(struct import *, const struct site *, const struct directive *block,
		     const struct directive *pass, const struct spot *, const struct target *,
		     struct buf *);
void cookies_write(struct import *, const struct site *, const struct directive *block,
		   struct buf *);

/*---------------------------------------------------------------- rewrite.c */

/* Whether it sends calls elsewhere by itself: it can be a route of its own. */
bool rewrite_known(struct import *, struct directive *);
/* `put`: a route for the paths in which the regular expression is found; `more`: another condition, NULL: none. */
/* The one that changes the path on its way up; its query NULL: it stays.  False: there is none, or *why it cannot be said. */
bool rewrite_break(struct import *, const struct directive *block, struct directive **,
		   const char **path, const char **query, const char **why);
/* Whether it changes the path, and the location stays. */
bool rewrite_breaks(const struct directive *);
/* Whether it takes every path of its location, or server. */
bool rewrite_takes_all(const struct directive *);
void rewrite_write(struct import *, const struct site *, struct directive *,
		   void (*put)(void *, const char *find, const char *more, const char *rest),
		   void *user);

/*------------------------------------------------------------------- when.c */

/* The `return` or `rewrite` of an `if` that can be said; NULL: it cannot. */
struct directive *when_return(struct import *, const struct directive *);
/* Its condition: "header.x: y". */
const char *when_text(struct import *, const struct directive *);

/* What it asks, "header.x", and for what, as YAML; *pattern: for a regular expression.  False: it cannot be said. */
bool when_asks(struct import *, const struct directive *, const char **name, const char **match,
	       bool *pattern);

/*----------------------------------------------------------------- closed.c */

/* NULL, or the directive without which a location is not let in. */
struct directive *closed_by(struct import *, const struct directive *block);
/* The `return` that answers all calls of a location, before anything else could; NULL: none. */
struct directive *closed_return(struct import *, const struct directive *block);
/* What of a block is a route of its own; NULL: nothing. */
struct directive *closed_step(const struct directive *block);
/* The first of the block's allow and deny; NULL: there are none. */
struct directive *closed_access(const struct directive *block);

/*------------------------------------------------------------------ route.c */

void routes_write(struct import *, const struct site *, const char *hosts);
/* The name of the route that a named location becomes, which is written; NULL: it cannot be had. */
const char *route_named(struct import *, const struct site *, const char *name);

/*-------------------------------------------------------------------- log.c */

/* `log:` of a route, where it is not the default. */
void log_line(struct import *, const struct site *, const struct directive *block, struct buf *out);
/* The section. */
void log_write(struct import *);

/*-------------------------------------------------------------------- top.c */

void top_write(struct import *);

#endif
